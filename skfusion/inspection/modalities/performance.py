"""The performance game: what each modality adds to a score on held-out cases.

Values of coalitions come from one fitted model, so that intervals are about the cases
alone.
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
    """Ask the model for every set of modalities, and score what it says.

    Parameters
    ----------
    cases : Cases
        The n held-out cases.
    plan : CoalitionPlan
        The sets.
    scoring : Scoring
        The score.
    patients : ndarray of int of shape (n,) or None
        Patients of the cases.
    confidence_level : float
        Coverage of the intervals.
    n_resamples : int
        Bootstrap draws, for scores other than the AUROC.
    rng : RandomState
        Draws them.

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
    """Play the game of AUROCs, with intervals from their covariance.

    Shapley values are linear in the AUROCs of the coalitions, so their covariance
    follows from that of the AUROCs without any resampling.

    Parameters
    ----------
    scoring : Scoring
        The AUROC and the outcome of n cases.
    table : ndarray of shape (n_coalitions, n, C)
        What is predicted from each set of modalities; the last column, or one a class.
    plan : CoalitionPlan
        The sets.
    modalities : tuple of str
        The modalities.
    groups : array-like of shape (n,) or None
        Patient ids.
    confidence_level : float
        Coverage of the intervals.

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
    values[0] = 0.5  # chance, known without any case
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
    """Play the game of any score, with bootstrap intervals over cases or patients.

    Parameters
    ----------
    scoring, table, plan, modalities, groups, confidence_level
        As in `auroc_scores`; the table has all outputs of the model.
    n_resamples : int
        Number of draws.
    rng : RandomState
        Draws cases, or whole patients.

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
        method=f"bootstrap of {what} ({n_resamples} draws)",
        confidence_level=confidence_level,
    )
