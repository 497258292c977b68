"""Confidence intervals and paired tests for the scores of cross-validation folds.

The module depends only on numpy and scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from skfusion._validation import check_confidence_level
from skfusion.exceptions import warn_user

__all__ = [
    "Interval",
    "ResampledTest",
    "corrected_resampled_interval",
    "corrected_resampled_ttest",
    "holm_adjust",
]


@dataclass(frozen=True)
class Interval:
    """Estimate with its confidence interval.

    Attributes
    ----------
    estimate : float
        Mean over the folds.
    low, high : float
        Limits of the confidence interval.
    """

    __module__ = "skfusion.evaluation"

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class ResampledTest:
    """Result of a paired test of two strategies on the same folds.

    Attributes
    ----------
    difference : float
        Mean of ``a - b`` over the folds.
    low, high : float
        Confidence interval of the difference.
    statistic : float
        The t statistic, with ``n_folds - 1`` degrees of freedom.
    pvalue : float
        Two-sided p-value, NaN if the variance over the folds cannot be estimated.
    n_folds : int
        Number of folds.
    """

    __module__ = "skfusion.evaluation"

    difference: float
    low: float
    high: float
    statistic: float
    pvalue: float
    n_folds: int


def corrected_resampled_interval(
    scores: Any, n_train: Any, n_test: Any, *, confidence_level: float = 0.95
) -> Interval:
    r"""Compute a confidence interval of the mean score over the folds.

    The training sets of a cross-validation overlap, so the scores are correlated. The
    usual standard error of their mean is therefore too small. The correction of Nadeau
    and Bengio [1]_ replaces :math:`1/k` by :math:`1/k + n_{test}/n_{train}`:

    .. math:: se^2 = \left(\frac1k + \frac{n_{test}}{n_{train}}\right) s^2

    where :math:`s^2` is the sample variance of the k scores. The interval uses a t
    distribution with k - 1 degrees of freedom.

    Parameters
    ----------
    scores : array-like of shape (n_folds,)
        One score per fold. For a repeated cross-validation, the folds of all
        repetitions.
    n_train, n_test : int or array-like of shape (n_folds,)
        Sizes of the training and test sets, in the units that were split. These are
        patients for grouped folds. The mean of the ratio is used.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If there are fewer than two scores, a score is not finite, or a size is not
        positive.

    Notes
    -----
    The correction is a heuristic. It is mildly liberal for cross-validation with many
    repetitions. A held-out test set is better evidence for a claim in a paper.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine
       Learning 52:239-281.

    Examples
    --------
    >>> from skfusion.evaluation import corrected_resampled_interval
    >>> interval = corrected_resampled_interval([0.8, 0.9, 0.85, 0.95], 75, 25)
    >>> print(f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
    0.875 [0.718, 1.032]
    """
    values = _check_scores(scores, "scores")
    error = _corrected_error(values, n_train, n_test)
    reach = (
        _quantile(confidence_level, len(values), "corrected_resampled_interval") * error
    )
    mean = float(values.mean())
    return Interval(mean, mean - reach, mean + reach)


def corrected_resampled_ttest(
    a: Any, b: Any, n_train: Any, n_test: Any, *, confidence_level: float = 0.95
) -> ResampledTest:
    """Compute the corrected resampled t-test of two strategies on the same folds.

    This is a paired t-test on the differences per fold. It uses the standard error of
    `corrected_resampled_interval` [1]_.

    Parameters
    ----------
    a, b : array-like of shape (n_folds,)
        Scores of the two strategies, in the same order of folds.
    n_train, n_test : int or array-like of shape (n_folds,)
        Sizes of the training and test sets, in the units that were split.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval of the difference.

    Returns
    -------
    ResampledTest
        Identical scores give a difference of 0 and p = 1. A non-zero difference that is
        the same in every fold gives p = NaN and a warning, because the variance cannot
        be estimated.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two folds, a score is not finite,
        or a size is not positive.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine
       Learning 52:239-281.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.resampling import corrected_resampled_ttest
    >>> test = corrected_resampled_ttest(
    ...     [0.84, 0.86, 0.83, 0.87, 0.85], [0.80, 0.85, 0.80, 0.84, 0.81], 80, 20)
    >>> print(f"{test.difference:.3f}, p = {test.pvalue:.4f}")
    0.030, p = 0.0217
    """
    first, second = _check_scores(a, "a"), _check_scores(b, "b")
    if first.shape != second.shape:
        raise ValueError(
            f"a has {len(first)} scores and b has {len(second)}. A paired test needs "
            "one score per fold for each strategy, on the same folds."
        )
    differences = first - second
    n_folds = len(differences)
    mean = float(differences.mean())
    error = _corrected_error(differences, n_train, n_test)
    # Equal differences can have a non-zero variance because of rounding errors.
    if error <= 1e-12 * max(np.abs(first).max(), np.abs(second).max()):
        if np.allclose(first, second, rtol=1e-12, atol=0.0):
            return ResampledTest(0.0, 0.0, 0.0, 0.0, 1.0, n_folds)
        warn_user(
            f"The difference is the same in all {n_folds} folds, so its uncertainty "
            "cannot be estimated and p is NaN. Check the scores, and repeat the "
            "cross-validation with other folds.",
            RuntimeWarning,
        )
        return ResampledTest(
            mean, mean, mean, np.copysign(np.inf, mean), np.nan, n_folds
        )
    statistic = mean / error
    reach = _quantile(confidence_level, n_folds, "corrected_resampled_ttest") * error
    pvalue = 2.0 * float(stats.t.sf(abs(statistic), n_folds - 1))
    return ResampledTest(mean, mean - reach, mean + reach, statistic, pvalue, n_folds)


def holm_adjust(pvalues: Any) -> np.ndarray:
    """Adjust p-values for multiple testing by Holm's step-down method.

    The sorted p-values are multiplied by m, m - 1, ..., 1, made monotone and limited
    to 1 [1]_. The method controls the family-wise error rate under any dependence
    between the tests.

    Parameters
    ----------
    pvalues : array-like of shape (n_tests,)
        Unadjusted p-values. NaN remains NaN and is counted in the number of tests.

    Returns
    -------
    ndarray of float64 of shape (n_tests,)
        Adjusted p-values, in the order of `pvalues`.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1].

    References
    ----------
    .. [1] Holm S (1979). A simple sequentially rejective multiple test procedure.
       Scandinavian Journal of Statistics 6:65-70.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.resampling import holm_adjust
    >>> holm_adjust([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(pvalues, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"pvalues must be one-dimensional, got shape {values.shape}.")
    outside = np.flatnonzero((values < 0) | (values > 1))
    if len(outside):
        raise ValueError(
            "pvalues must be between 0 and 1, got values outside this range in "
            f"{len(outside)} of {len(values)} entries, first at position(s) "
            f"{outside[:5].tolist()}."
        )
    order = np.argsort(values)  # NaN is sorted last.
    factors = len(values) - np.arange(len(values))
    adjusted = np.full(len(values), np.nan)
    stepped = np.maximum.accumulate(values[order] * factors)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _check_scores(scores: Any, name: str) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"{name} must be a list of at least 2 scores, one per fold, got shape "
            f"{values.shape}. The variance cannot be estimated from one split."
        )
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{name} is not finite in {len(bad)} of {len(values)} folds, first in "
            f"fold(s) {bad[:5].tolist()}. A score that is undefined on a fold cannot "
            "be averaged. Check whether the test set of the fold has one class only."
        )
    return values


def _corrected_error(values: np.ndarray, n_train: Any, n_test: Any) -> float:
    train = np.asarray(n_train, dtype=np.float64)
    test = np.asarray(n_test, dtype=np.float64)
    for name, sizes in (("n_train", train), ("n_test", test)):
        if sizes.shape not in ((), values.shape) or not (sizes > 0).all():
            raise ValueError(
                f"{name} must be one positive number, or one per fold: expected shape "
                f"() or {values.shape}, got shape {sizes.shape}."
            )
    ratio = float(np.mean(test / train))
    return float(np.sqrt((1.0 / len(values) + ratio) * values.var(ddof=1)))


def _quantile(confidence_level: float, n_folds: int, owner: str) -> float:
    check_confidence_level(confidence_level, owner)
    return float(stats.t.ppf(0.5 + confidence_level / 2.0, n_folds - 1))
