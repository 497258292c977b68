"""Performance game: contribution of each modality to a score on held-out cases.

All coalitions are evaluated with one fitted model. The confidence intervals therefore
describe the sampling of cases only.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from scipy.stats import norm

from skfusion.evaluation.statistics.auroc import auroc_interval, estimate_aurocs
from skfusion.inspection.modalities.coalitions import Cases, coalition_table
from skfusion.inspection.modalities.results import (
    ModalityScores,
    make_scores,
    without_one,
)
from skfusion.inspection.modalities.scoring import (
    Scoring,
    ask_for,
    least_error,
    logit_limits,
    percentile_interval,
    rarest_count,
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
    facts = {
        "presence": cases.presence.to_numpy(),
        "n_cases": len(cases),
        "n_patients": None if patients is None else len(np.unique(patients)),
    }
    if scoring.is_auroc:
        return auroc_scores(
            scoring, table, plan, names, patients, confidence_level, **facts
        )
    return bootstrap_scores(
        scoring,
        table,
        plan,
        names,
        patients,
        confidence_level,
        n_resamples,
        rng,
        **facts,
    )


def auroc_scores(
    scoring: Scoring,
    table: np.ndarray,
    plan: CoalitionPlan,
    modalities: tuple[str, ...],
    groups: Any,
    confidence_level: float,
    **facts: Any,
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
    **facts : any
        Counts of cases, as in `ModalityScores`.

    Returns
    -------
    ModalityScores

    Notes
    -----
    A standard error is at least that of `least_error`, so that no interval has a width
    of 0, and the limits are within the range that is possible. The measured coverage of
    the 95 % intervals of two modalities is 92 to 98 % for 60 and 200 cases, and 93 to
    100 % for 20 cases (AUROC 0.80 and 0.95, prevalence 0.2 and 0.5, 600 draws each).
    """
    positive = scoring.positive
    assert positive is not None  # noqa: S101 - true of AUROCs
    found = estimate_aurocs(
        positive, table[..., -1] if positive.ndim == 1 else table, groups
    )
    values, covariance = found.values.copy(), found.covariance.copy()
    values[0] = 0.5  # chance level, which is not estimated
    covariance[0] = covariance[:, 0] = 0.0
    patients = None if groups is None else np.unique(groups, return_inverse=True)[1]
    floor = least_error(scoring, values, slice(None), patients)

    def limits_of(weights: np.ndarray, most: float) -> tuple[np.ndarray, ...]:
        """Return limits and errors of weighted sums of the AUROCs."""
        # A variance of 0 can be rounded to a negative number. NaN is not sampled.
        variances = np.diag(weights @ covariance @ weights.T)
        errors = np.maximum(np.sqrt(np.maximum(variances, 0.0)), floor)
        middle = weights @ values
        reach = norm.ppf(0.5 + confidence_level / 2.0) * errors
        low, high = np.clip([middle - reach, middle + reach], -most, most)
        return low, high, errors

    n_players = len(modalities)
    *limits, errors = limits_of(plan.weights, 1.0 - 0.5 / n_players)
    low, high = _auroc_limits(scoring, table, found, groups, confidence_level)
    if n_players == 1:  # The contribution is the AUROC above chance.
        limits = [np.array([limits[-1] - 0.5]) for limits in (low, high)]
    *drop_limits, _ = limits_of(_drop_weights(plan), 1.0)
    if n_players == 1:
        drop_limits = limits
    return make_scores(
        "performance",
        scoring.name,
        modalities,
        plan,
        values,
        limits=(limits[0], limits[1]),
        drop_limits=(drop_limits[0], drop_limits[1]),
        set_limits=(low, high),
        errors=errors,
        method="DeLong" if groups is None else "Obuchowski, by patient",
        confidence_level=confidence_level,
        **facts,
    )


def _auroc_limits(
    scoring: Scoring,
    table: np.ndarray,
    found: Any,
    groups: Any,
    confidence_level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of the AUROC of each coalition, NaN for that of chance."""
    positive = scoring.positive
    assert positive is not None  # noqa: S101 - true of AUROCs
    patients = None if groups is None else np.unique(groups, return_inverse=True)[1]
    limits = [(np.nan, np.nan)]
    for k in range(1, len(table)):
        if positive.ndim == 1:
            interval = auroc_interval(
                positive,
                table[k, :, -1],
                groups=groups,
                confidence_level=confidence_level,
            )
            limits.append((interval.low, interval.high))
            continue
        limits.append(
            logit_limits(
                float(found.values[k]),
                float(np.sqrt(found.covariance[k, k])),
                rarest_count(scoring, slice(None), patients),
                confidence_level,
            )
        )
    low, high = np.array(limits).T
    return low, high


def _drop_weights(plan: CoalitionPlan) -> np.ndarray:
    """Return the weights (M, n_coalitions) of what each modality alone is worth."""
    weights = np.zeros(plan.weights.shape)
    weights[:, -1] = 1.0
    for player, place in enumerate(without_one(plan)):
        if place is None:  # not sampled
            weights[player] = np.nan
        else:
            weights[player, place] -= 1.0
    return weights


def bootstrap_scores(
    scoring: Scoring,
    table: np.ndarray,
    plan: CoalitionPlan,
    modalities: tuple[str, ...],
    groups: Any,
    confidence_level: float,
    n_resamples: int,
    rng: np.random.RandomState,
    **facts: Any,
) -> ModalityScores:
    """Compute Shapley values of any score, with bootstrap confidence intervals.

    Parameters
    ----------
    scoring, table, plan, modalities, groups, confidence_level, facts
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
    patients = None if groups is None else np.unique(groups, return_inverse=True)[1]
    floor = least_error(scoring, values, slice(None), patients)
    most = 1.0 if scoring.is_bounded else np.inf

    def limits_of(samples: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return percentiles, or limits of the smallest width around the estimate."""
        with warnings.catch_warnings():
            # The set without a modality was not sampled.
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            low, high = percentile_interval(samples, confidence_level)
        reach = norm.ppf(0.5 + confidence_level / 2.0) * floor
        narrow = ~(high - low > 1e-9 * reach)
        low = np.where(narrow, middle - reach, low)
        high = np.where(narrow, middle + reach, high)
        return tuple(np.clip([low, high], -most, most))

    weights = _drop_weights(plan)
    with np.errstate(invalid="ignore"):
        dropped = draws @ weights.T
    what = "cases" if groups is None else "patients"
    return make_scores(
        "performance",
        scoring.name,
        modalities,
        plan,
        values,
        limits=_pair(limits_of(drawn, plan.shapley(values))),
        drop_limits=_pair(limits_of(dropped, weights @ values)),
        set_limits=_pair(np.clip(limits_of(draws, values), *scoring.range)),
        errors=np.nanstd(drawn, axis=0, ddof=1),
        method=f"bootstrap over {what} ({n_resamples} samples)",
        confidence_level=confidence_level,
        **facts,
    )


def _pair(limits: Any) -> tuple[np.ndarray, np.ndarray]:
    low, high = limits
    return low, high
