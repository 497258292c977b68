"""Operating points: thresholds from other folds, and the rates that they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit, logit

from skfusion._validation import check_number
from skfusion.evaluation.comparison.analyses.held_out import (
    HeldOutSet,
    bootstrap_counts,
    n_patients_of,
)
from skfusion.evaluation.comparison.analyses.jackknife import Sizes

__all__ = ["Rule", "find_rule", "operating_table"]


OWNER = "FusionComparison.operating_point"
N_RESAMPLES = 200
# Least variance of a rate, as a share of that of a proportion of the patients.
VARIANCE_FLOOR = 0.25
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """Rule by which a threshold is chosen.

    Attributes
    ----------
    name : {"sensitivity", "specificity", "cost"}
        Quantity that is asked for.
    target : float
        Least sensitivity or specificity, or the ratio of costs.
    """

    name: str
    target: float

    def choose(
        self, positive: np.ndarray, negative: np.ndarray, cuts: np.ndarray
    ) -> np.ndarray:
        """Return the number of the chosen cut of each sample.

        Parameters
        ----------
        positive, negative : ndarray of shape (n_samples, n_cuts)
            Weights of the positive and negative cases from each cut on. The first cut
            is infinite, so that no case is above it.
        cuts : ndarray of shape (n_cuts,)
            Descending thresholds.

        Returns
        -------
        ndarray of int of shape (n_samples,)
        """
        # Scores without a case of the sample are not candidates.
        total = positive + negative
        is_candidate = np.diff(total, axis=1, prepend=-1.0) > 0
        hits = positive / np.maximum(positive[:, -1:], ROUNDING)
        alarms = negative / np.maximum(negative[:, -1:], ROUNDING)
        if self.name == "sensitivity":
            return (is_candidate & (hits >= self.target - ROUNDING)).argmax(axis=1)
        if self.name == "specificity":
            reached = is_candidate & (1.0 - alarms >= self.target - ROUNDING)
            return reached.shape[1] - 1 - reached[:, ::-1].argmax(axis=1)
        costs = self.target * (positive[:, -1:] - positive) + negative
        costs = np.where(is_candidate, costs, np.inf)
        best = costs <= costs.min(axis=1, keepdims=True) + ROUNDING
        # Of equal costs, the cut nearest to that of calibrated probabilities.
        distance = np.abs(np.minimum(cuts, 2.0) - 1.0 / (1.0 + self.target))
        return np.where(best, distance, np.inf).argmin(axis=1)


def find_rule(sensitivity: Any, specificity: Any, cost: Any) -> Rule:
    """Return the rule of the only argument that is given.

    Raises
    ------
    ValueError
        If not exactly one is given, or it is out of range.
    """
    given = {"sensitivity": sensitivity, "specificity": specificity, "cost": cost}
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) != 1:
        raise ValueError(
            f"{OWNER} needs exactly one of sensitivity, specificity and cost, got "
            f"{list(found) or 'none'}."
        )
    ((name, value),) = found.items()
    if name == "cost":
        check_number(value, name, OWNER, low=0, exclude_low=True)
    else:
        check_number(value, name, OWNER, low=0, high=1, exclude_low=True)
    return Rule(name, float(value))


def operating_table(
    names: Sequence[str],
    sets_of: Callable[[str], list[HeldOutSet]],
    rule: Rule,
    *,
    design: str,
    seed: int,
) -> pd.DataFrame:
    """Return the rates of several strategies, one row each.

    Parameters
    ----------
    names : sequence of str
        Strategies.
    sets_of : callable
        Function that returns the test sets of a strategy.
    rule : Rule
        Rule of the threshold.
    design : {"folds", "test", "sites"}
        Design of the comparison. Sites have no limits.
    seed : int
        Random state of the bootstrap.

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If there is one test set only.
    """
    if design == "test":
        raise ValueError(
            f"{OWNER} chooses thresholds on the other folds, but this comparison has "
            "one test set. Use cross-validation, or net_benefit(thresholds=) with "
            "thresholds that were declared before."
        )
    rows = [
        _row(name, sets_of(name), rule, has_limits=design != "sites", seed=seed)
        for name in names
    ]
    return pd.DataFrame(rows)


def _row(
    name: str, sets: Sequence[HeldOutSet], rule: Rule, *, has_limits: bool, seed: int
) -> dict[str, Any]:
    ones = np.ones((1, n_patients_of(sets)))
    tables, thresholds = _outcomes(sets, rule, ones)
    estimates = _rates(tables)[:, 0]
    errors = np.full(4, np.nan)
    if has_limits:
        drawn = [
            _rates(_outcomes(sets, rule, counts)[0])
            for counts in bootstrap_counts(sets, N_RESAMPLES, seed)
        ]
        spread = np.concatenate(drawn, axis=1)
        known = np.isfinite(spread).sum(axis=1) > 1
        errors[known] = np.nanstd(spread[known], axis=1, ddof=1)
    row: dict[str, Any] = {
        "strategy": name,
        "rule": rule.name,
        "target": rule.target,
        "threshold": float(np.median(thresholds)),
        "threshold_low": min(thresholds),
        "threshold_high": max(thresholds),
    }
    reasons = []
    fixed = _with_fixed_thresholds(sets, thresholds)
    for rate, estimate, error in zip(fixed, estimates, errors, strict=True):
        n_among, at_thresholds = fixed[rate]
        error = np.fmax(error, at_thresholds)
        low, high = _limits(estimate, error, n_among, has_limits=has_limits)
        row |= {rate: float(estimate), f"{rate}_low": low, f"{rate}_high": high}
        if np.isnan(estimate):
            side = "positive" if rate == "ppv" else "negative"
            reasons.append(f"no prediction is {side}, so {rate} is undefined")
    row |= _counts(sets) | {"reason": "; ".join(reasons)}
    return row


def _counts(sets: Sequence[HeldOutSet]) -> dict[str, Any]:
    """Return what the rates are of, with the numbers of rows and of patients."""
    sizes = Sizes.of(sets, classes=True)
    row = np.concatenate([part.row for part in sets])
    y = np.concatenate([part.y for part in sets])
    return {
        "unit": "patient" if sizes.n_rows == sizes.n_patients else "row",
        "n_rows": sizes.n_rows,
        "n_event_rows": len(np.unique(row[y == 1])),
        "n_patients": sizes.n_patients,
        "n_events": sizes.n_events,
    }


def _outcomes(
    sets: Sequence[HeldOutSet], rule: Rule, counts: np.ndarray
) -> tuple[np.ndarray, list[float]]:
    """Return true and false positives and negatives, and the thresholds.

    Parameters
    ----------
    sets : sequence of HeldOutSet
        Test sets of all repetitions.
    rule : Rule
        Rule of the threshold.
    counts : ndarray of shape (n_samples, n_patients)
        Weight of each patient in each sample.

    Returns
    -------
    tables : ndarray of shape (4, n_samples)
        Weights of true positives, false positives, false negatives, true negatives.
    thresholds : list of float
        Threshold of each test set for the first sample.
    """
    tables = np.zeros((4, len(counts)))
    samples = np.arange(len(counts))
    thresholds = []
    for repeat in sorted({part.repeat for part in sets}):
        own = [part for part in sets if part.repeat == repeat]
        cuts, totals = _totals(own, counts)
        everything = sum(totals)
        for total in totals:
            positive, negative = everything - total
            chosen = rule.choose(positive, negative, cuts)
            hits, alarms = total[:, samples, chosen]
            n_positive, n_negative = total[:, :, -1]
            tables += [hits, alarms, n_positive - hits, n_negative - alarms]
            thresholds.append(float(cuts[chosen[0]]))
    return tables, thresholds


def _totals(
    sets: Sequence[HeldOutSet], counts: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return descending cuts, and the weights of each test set from each cut on.

    The weights have shape (2, n_samples, n_cuts), for positive and negative cases.
    """
    scores = np.unique(np.concatenate([part.score for part in sets]))[::-1]
    cuts = np.append(np.inf, scores)
    found = []
    for part in sets:
        last = np.searchsorted(-part.score, -cuts, side="right")
        weights = counts[:, part.patient]
        both = np.stack([weights * part.y, weights * (1.0 - part.y)])
        summed = np.cumsum(both, axis=2)
        found.append(
            np.concatenate([np.zeros_like(summed[..., :1]), summed], 2)[..., last]
        )
    return cuts, found


def _rates(tables: np.ndarray) -> np.ndarray:
    """Return sensitivity, specificity, PPV and NPV of each sample, NaN of no case."""
    hits, alarms, missed, passed = tables
    pairs = [(hits, missed), (passed, alarms), (hits, alarms), (passed, missed)]
    return np.array(
        [
            np.where(a + b > 0, a / np.where(a + b > 0, a + b, 1.0), np.nan)
            for a, b in pairs
        ]
    )


def _with_fixed_thresholds(
    sets: Sequence[HeldOutSet], thresholds: Sequence[float]
) -> dict[str, tuple[int, float]]:
    """Return the number of patients of each rate, and its error at these thresholds.

    The error is that of a ratio of the hits and the cases of each patient.
    """
    in_order = sorted(sets, key=lambda part: part.repeat)
    patient = np.concatenate([part.patient for part in in_order])
    y = np.concatenate([part.y for part in in_order]) == 1
    called = np.concatenate(
        [part.score >= cut for part, cut in zip(in_order, thresholds, strict=True)]
    )
    pairs = {
        "sensitivity": (called, y),
        "specificity": (~called, ~y),
        "ppv": (y, called),
        "npv": (~y, ~called),
    }
    found = {}
    for rate, (hit, among) in pairs.items():
        owner = np.unique(patient[among], return_inverse=True)[1]
        cases = np.bincount(owner)
        hits = np.bincount(owner, weights=hit[among].astype(np.float64))
        n_patients, error = len(cases), np.nan
        if n_patients > 1:
            off = hits - hits.sum() / cases.sum() * cases
            error = np.sqrt((off**2).sum() * n_patients / (n_patients - 1))
            error /= cases.sum()
        found[rate] = n_patients, float(error)
    return found


def _limits(
    rate: float, error: float, n_patients: int, *, has_limits: bool
) -> tuple[float, float]:
    """Return limits on the logit scale, at 0 and 1 those of Clopper and Pearson."""
    if not has_limits or not n_patients or np.isnan(rate):
        return np.nan, np.nan
    if min(rate, 1.0 - rate) < ROUNDING:
        bound = float(0.025 ** (1.0 / n_patients))
        return (bound, 1.0) if rate > 0.5 else (0.0, 1.0 - bound)
    if n_patients < 2 or np.isnan(error):
        return np.nan, np.nan
    spread = rate * (1.0 - rate)
    least = np.sqrt(VARIANCE_FLOOR * spread / n_patients)
    reach = stats.t.ppf(0.975, n_patients - 1) * max(error, least) / spread
    middle = logit(rate)
    return float(expit(middle - reach)), float(expit(middle + reach))
