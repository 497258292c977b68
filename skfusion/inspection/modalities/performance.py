"""Performance game: contribution of each modality to a score on held-out cases.

All coalitions are evaluated with one fitted model. The confidence intervals therefore
describe the sampling of cases only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import norm

from skfusion.evaluation.statistics.auroc import estimate_aurocs
from skfusion.inspection.modalities.coalitions import Cases, coalition_table
from skfusion.inspection.modalities.results import ModalityScores, make_scores
from skfusion.inspection.modalities.scoring import (
    Scoring,
    ask_for,
    percentile_interval,
    resampled_rows,
)
from skfusion.inspection.shapley import CoalitionPlan

__all__ = ["auroc_scores", "bootstrap_scores", "play_scores"]


def play_scores(
    cases: Cases,
    plan: CoalitionPlan,
    scoring: Scoring,
    patients: np.ndarray | None,
    confidence_level: float,
    n_resamples: int,
    rng: np.random.RandomState,
) -> ModalityScores:
    """Score the predictions from every coalition of modalities.

    Parameters
    ----------
    cases : Cases
        The n held-out cases.
    plan : CoalitionPlan
        The coalitions.
    scoring : Scoring
        The score.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case.
    confidence_level : float
        Confidence level of the intervals.
    n_resamples : int
        Number of bootstrap samples, for scores other than the AUROC.
    rng : RandomState
        Random state of the bootstrap.

    Returns
    -------
    ModalityScores
    """
    table = coalition_table(cases, plan, ask_for(cases.model, scoring))
    names = cases.model.modalities
    if scoring.is_auroc:
        return auroc_scores(scoring, table, plan, names, patients, confidence_level)
    return bootstrap_scores(
        scoring, table, plan, names, patients, confidence_level, n_resamples, rng
    )


def auroc_scores(
    scoring: Scoring,
    table: np.ndarray,
    plan: CoalitionPlan,
    modalities: tuple[str, ...],
    groups: Any,
    confidence_level: float,
) -> ModalityScores:
    """Compute Shapley values of the AUROC, with intervals from its covariance.

    Shapley values are linear in the AUROCs of the coalitions. Their covariance
    therefore follows from that of the AUROCs, without resampling.

    Parameters
    ----------
    scoring : Scoring
        The AUROC and the outcome of n cases.
    table : ndarray of shape (n_coalitions, n, C)
        Predictions from each coalition. The AUROC uses the last column, or one column
        per class.
    plan : CoalitionPlan
        The coalitions.
    modalities : tuple of str
        Names of the modalities.
    groups : array-like of shape (n,) or None
        Patient ids.
    confidence_level : float
        Confidence level of the intervals.

    Returns
    -------
    ModalityScores
    """
    positive = scoring.positive
    assert positive is not None  # noqa: S101 - true of AUROCs
    found = estimate_aurocs(
        positive, table[..., -1] if positive.ndim == 1 else table, groups
    )
    values, covariance = found.values.copy(), found.covariance.copy()
    values[0] = 0.5  # chance level, which is not estimated
    covariance[0] = covariance[:, 0] = 0.0
    estimate = plan.shapley(values)
    errors = np.sqrt(np.diag(plan.weights @ covariance @ plan.weights.T))
    method = "DeLong" if groups is None else "Obuchowski, by patient"
    reach = norm.ppf(0.5 + confidence_level / 2.0) * errors
    return make_scores(
        "performance",
        scoring.name,
        modalities,
        plan,
        values,
        limits=(estimate - reach, estimate + reach),
        errors=errors,
        method=method,
        confidence_level=confidence_level,
    )


def bootstrap_scores(
    scoring: Scoring,
    table: np.ndarray,
    plan: CoalitionPlan,
    modalities: tuple[str, ...],
    groups: Any,
    confidence_level: float,
    n_resamples: int,
    rng: np.random.RandomState,
) -> ModalityScores:
    """Compute Shapley values of any score, with bootstrap confidence intervals.

    Parameters
    ----------
    scoring, table, plan, modalities, groups, confidence_level
        As in `auroc_scores`. The table contains all outputs of the model.
    n_resamples : int
        Number of bootstrap samples.
    rng : RandomState
        Random state of the bootstrap, which resamples cases or whole patients.

    Returns
    -------
    ModalityScores
    """
    everything = np.arange(len(scoring.y))
    values = np.array([scoring.score(part, everything) for part in table])
    draws = np.array(
        [
            [scoring.score(part[rows], rows) for part in table]
            for rows in resampled_rows(len(everything), groups, n_resamples, rng)
        ]
    )
    drawn = plan.shapley(draws.T).T
    low, high = percentile_interval(drawn, confidence_level)
    what = "cases" if groups is None else "patients"
    return make_scores(
        "performance",
        scoring.name,
        modalities,
        plan,
        values,
        limits=(low, high),
        errors=np.nanstd(drawn, axis=0, ddof=1),
        method=f"bootstrap over {what} ({n_resamples} samples)",
        confidence_level=confidence_level,
    )
