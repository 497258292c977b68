"""ROC and precision-recall curves of held-out predictions, with bands by patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion.evaluation.comparison.analyses.held_out import (
    HeldOutSet,
    bootstrap_counts,
    weighted_mean,
)
from skfusion.evaluation.comparison.analyses.weighted_scores import distinct_totals

__all__ = ["precision_recall_table", "roc_table"]


RATES = np.linspace(0.0, 1.0, 101)
N_RESAMPLES = 400
# A larger gap between two recalls is not a rounding error of their sums.
ROUNDING = 1e-9
# Least variance of a rate, as a share of that of a proportion of the events.
VARIANCE_FLOOR = 0.25

# Function of a test set and weights of shape (n_samples, n) that returns the curve of
# each sample, of shape (n_samples, n_points).
_Curve = Callable[[HeldOutSet, np.ndarray], np.ndarray]


def roc_table(
    sets: Sequence[HeldOutSet], *, equal_weights: bool, seed: int
) -> pd.DataFrame:
    """Return the mean ROC curve of test sets with a pointwise band.

    Parameters
    ----------
    sets : sequence of HeldOutSet
        Test sets of one strategy.
    equal_weights : bool
        Whether the test sets are sites, which count equally and have no band.
    seed : int
        Random state of the bootstrap.

    Returns
    -------
    DataFrame
        Columns ``false_positive_rate``, ``sensitivity``, ``low``, ``high``.
    """
    middle, low, high = _with_band(sets, _roc, equal_weights=equal_weights, seed=seed)
    if not equal_weights:
        low[-1] = high[-1] = 1.0  # all cases are positive at a rate of 1
        # The sensitivity does not fall, so a limit at one rate holds beyond it.
        low = np.maximum.accumulate(low)
        high = np.minimum.accumulate(high[::-1])[::-1]
    return pd.DataFrame(
        {
            "false_positive_rate": RATES,
            "sensitivity": middle,
            "low": low,
            "high": high,
        }
    )


def precision_recall_table(
    sets: Sequence[HeldOutSet], *, equal_weights: bool, seed: int
) -> pd.DataFrame:
    """Return the mean precision-recall curve of test sets with a pointwise band.

    Parameters
    ----------
    sets : sequence of HeldOutSet
        Test sets of one strategy.
    equal_weights : bool
        Whether the test sets are sites, which count equally and have no band.
    seed : int
        Random state of the bootstrap.

    Returns
    -------
    DataFrame
        Columns ``recall``, ``precision``, ``low``, ``high``, ``prevalence``.
    """
    middle, low, high = _with_band(
        sets, _precision, equal_weights=equal_weights, seed=seed
    )
    shares = [part.y.mean() for part in sets]
    return pd.DataFrame(
        {
            "recall": RATES[1:],
            "precision": middle,
            "low": low,
            "high": high,
            "prevalence": float(weighted_mean(shares, _weights(sets, equal_weights))),
        }
    )


def _weights(sets: Sequence[HeldOutSet], equal_weights: bool) -> np.ndarray:
    return np.array([1 if equal_weights else part.n_patients for part in sets])


def _with_band(
    sets: Sequence[HeldOutSet], curve: _Curve, *, equal_weights: bool, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mean curve and its pointwise limits from a bootstrap of patients."""
    weights = _weights(sets, equal_weights)
    middle = weighted_mean(
        [curve(part, np.ones((1, len(part.y))))[0] for part in sets], weights
    )
    if equal_weights:
        nothing = np.full(len(middle), np.nan)
        return middle, nothing, nothing.copy()
    draws = [
        weighted_mean([curve(part, counts[:, part.patient]) for part in sets], weights)
        for counts in bootstrap_counts(sets, N_RESAMPLES, seed)
    ]
    error = np.nanstd(np.concatenate(draws), axis=0, ddof=1)
    return middle, *_limits(sets, middle, error)


def _limits(
    sets: Sequence[HeldOutSet], middle: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return limits on the scale of the arcsine of the root, which contain the curve.

    Percentiles need not, because a bootstrap sample has fewer distinct cases. Limits on
    the scale of the logit are far too wide near 0 and 1. At 0 and 1, where a bootstrap
    shows no variation, the limits are those of Clopper and Pearson for the patients
    with an event.
    """
    events = np.concatenate([part.patient[part.y == 1] for part in sets])
    n_events = max(len(np.unique(events)), 1)
    bound = 0.025 ** (1.0 / n_events)
    inner = np.clip(middle, ROUNDING, 1.0 - ROUNDING)
    spread = inner * (1.0 - inner)
    error = np.maximum(error, np.sqrt(VARIANCE_FLOOR * spread / n_events))
    reach = norm.ppf(0.975) * error / (2.0 * np.sqrt(spread))
    angle = np.arcsin(np.sqrt(inner))
    low = np.sin(np.maximum(angle - reach, 0.0)) ** 2
    high = np.sin(np.minimum(angle + reach, np.pi / 2)) ** 2
    is_one, is_zero = middle > 1.0 - ROUNDING, middle < ROUNDING
    low = np.where(is_one, bound, np.where(is_zero, 0.0, low))
    high = np.where(is_zero, 1.0 - bound, np.where(is_one, 1.0, high))
    return low, high


def _roc(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
    """Return the sensitivity at each false positive rate, NaN without a class."""
    positive, negative = distinct_totals(part, weights)
    found = np.full((len(weights), len(RATES)), np.nan)
    for number, (hits, alarms) in enumerate(zip(positive, negative, strict=True)):
        if hits[-1] > 0 and alarms[-1] > 0:
            rates = np.append(0.0, alarms / alarms[-1])
            found[number] = np.interp(RATES, rates, np.append(0.0, hits / hits[-1]))
    return found


def _precision(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
    """Return the precision at each recall, NaN without a positive case."""
    positive, negative = distinct_totals(part, weights)
    found = np.full((len(weights), len(RATES) - 1), np.nan)
    for number, (hits, alarms) in enumerate(zip(positive, negative, strict=True)):
        if hits[-1] > 0:
            recall = hits / hits[-1]
            # The highest threshold with at least this recall.
            place = np.searchsorted(recall, RATES[1:] - ROUNDING)
            found[number] = hits[place] / (hits[place] + alarms[place])
    return found
