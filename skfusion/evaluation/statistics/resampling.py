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
]

# Fewer scores of folds give no test: their variance has too few degrees of freedom.
FEWEST_FOLDS = 5


@dataclass(frozen=True)
class Interval:
    """Estimate with its confidence interval.

    Attributes
    ----------
    estimate : float
        The estimate, such as the mean over the folds or an AUROC.
    low, high : float
        Limits of the confidence interval, NaN if they cannot be estimated.
    reason : str
        Why the limits are NaN. Empty if they are not.

    Examples
    --------
    >>> from skfusion.evaluation import Interval, corrected_resampled_interval
    >>> interval = corrected_resampled_interval([0.8, 0.9, 0.7], 80, 20)
    >>> isinstance(interval, Interval), round(interval.estimate, 2)
    (True, 0.8)
    """

    __module__ = "skfusion.evaluation"

    estimate: float
    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True)
class ResampledTest:
    """Result of a paired test of two strategies on the same folds.

    Attributes
    ----------
    difference : float
        Mean of ``a - b`` over the folds, weighted if weights were given.
    low, high : float
        Confidence interval of the difference.
    statistic : float
        The t statistic, with ``n_folds - 1`` degrees of freedom.
    pvalue : float
        Two-sided p-value, NaN if there is no test.
    n_folds : int
        Number of folds.
    standard_error : float
        Corrected standard error of the difference.
    df : int
        Degrees of freedom, ``n_folds - 1``.
    reason : str
        Why there is no test. Empty if there is one.

    Examples
    --------
    >>> from skfusion.evaluation import corrected_resampled_ttest
    >>> test = corrected_resampled_ttest([0.8, 0.9, 0.8], [0.7, 0.7, 0.7], 80, 20)
    >>> test.n_folds, round(test.difference, 3), test.reason[:28]
    (3, 0.133, 'There are 3 scores of folds.')
    """

    __module__ = "skfusion.evaluation"

    difference: float
    low: float
    high: float
    statistic: float
    pvalue: float
    n_folds: int
    standard_error: float
    df: int
    reason: str = ""


def corrected_resampled_interval(
    scores: Any,
    n_train: Any,
    n_test: Any,
    *,
    weights: Any = None,
    confidence_level: float = 0.95,
) -> Interval:
    r"""Compute a confidence interval of the mean score over the folds.

    The training sets of a cross-validation overlap, so the scores are correlated. The
    usual standard error of their mean is therefore too small. The correction of Nadeau
    and Bengio [1]_ replaces :math:`1/k` by :math:`1/k + n_{test}/n_{train}`:

    .. math:: se^2 = \left(\frac1k + \frac{n_{test}}{n_{train}}\right) s^2

    where :math:`s^2` is the sample variance of the k scores. The interval uses a t
    distribution with k - 1 degrees of freedom. With weights, the mean and the variance
    are weighted, and k is replaced by :math:`(\sum w)^2 / \sum w^2`.

    Parameters
    ----------
    scores : array-like of shape (n_folds,)
        One score per fold. For a repeated cross-validation, the folds of all
        repetitions.
    n_train, n_test : int or array-like of shape (n_folds,)
        Sizes of the training and test sets, in the units that were split. These are
        patients for grouped folds. The mean of the ratio is used, weighted by
        `weights`.
    weights : array-like of shape (n_folds,) or None, default=None
        Weights of the folds, such as their numbers of test patients. None gives all
        folds the same weight.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval.

    Returns
    -------
    Interval
        The limits are NaN, with a reason, if the score is the same in all folds.

    Raises
    ------
    ValueError
        If there are fewer than two scores, a score is not finite, or a size or weight
        is not positive.

    Notes
    -----
    The weighted variance is unbiased for weights that are inversely proportional to the
    variances of the scores. Equal weights give the formula above.

    The mean of the ratios is at least the ratio of the total sizes. Folds of unequal
    sizes therefore have a larger standard error. The correction assumes folds of
    similar sizes. It is not made for folds that are hospitals.

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
    quantile = _quantile(confidence_level, len(values), "corrected_resampled_interval")
    mean, error = _mean_and_error(values, n_train, n_test, weights)
    if error <= 1e-12 * np.abs(values).max():
        return Interval(
            mean,
            np.nan,
            np.nan,
            f"The score is the same in all {len(values)} folds, so its uncertainty "
            "cannot be estimated. Repeat the cross-validation with other folds.",
        )
    reach = quantile * error
    return Interval(mean, mean - reach, mean + reach)


def corrected_resampled_ttest(
    a: Any,
    b: Any,
    n_train: Any,
    n_test: Any,
    *,
    weights: Any = None,
    confidence_level: float = 0.95,
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
    weights : array-like of shape (n_folds,) or None, default=None
        Weights of the folds, such as their numbers of test patients. None gives all
        folds the same weight.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval of the difference.

    Returns
    -------
    ResampledTest
        Identical scores give a difference of 0 and p = 1. There is no test, and p is
        NaN, with fewer than 5 folds or if a non-zero difference is the same in every
        fold. `reason` says which. The second case is also warned of.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two folds, a score is not finite,
        or a size or weight is not positive.

    References
    ----------
    .. [1] Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine
       Learning 52:239-281.

    Examples
    --------
    >>> from skfusion.evaluation import corrected_resampled_ttest
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
    mean, error = _mean_and_error(differences, n_train, n_test, weights)
    reach = _quantile(confidence_level, n_folds, "corrected_resampled_ttest") * error
    # Equal differences can have a non-zero variance because of rounding errors.
    if error <= 1e-12 * max(np.abs(first).max(), np.abs(second).max()):
        return _without_variance(first, second, mean)
    reason = ""
    if n_folds < FEWEST_FOLDS:
        reason = (
            f"There are {n_folds} scores of folds. Fewer than {FEWEST_FOLDS} do not "
            "allow a test, because their variance is too uncertain. Repeat the "
            "cross-validation with other folds."
        )
    statistic = mean / error
    pvalue = np.nan if reason else 2.0 * float(stats.t.sf(abs(statistic), n_folds - 1))
    return ResampledTest(
        mean,
        mean - reach,
        mean + reach,
        statistic,
        pvalue,
        n_folds,
        error,
        n_folds - 1,
        reason,
    )


def _without_variance(
    first: np.ndarray, second: np.ndarray, mean: float
) -> ResampledTest:
    """Return the result for a difference that is the same in all folds."""
    n_folds = len(first)
    if np.allclose(first, second, rtol=1e-12, atol=0.0):
        return ResampledTest(0.0, 0.0, 0.0, 0.0, 1.0, n_folds, 0.0, n_folds - 1)
    reason = (
        f"The difference is the same in all {n_folds} folds, so its uncertainty cannot "
        "be estimated and p is NaN. Check the scores, and repeat the cross-validation "
        "with other folds."
    )
    warn_user(reason, RuntimeWarning)
    return ResampledTest(
        mean,
        np.nan,
        np.nan,
        float(np.copysign(np.inf, mean)),
        np.nan,
        n_folds,
        0.0,
        n_folds - 1,
        reason,
    )


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


def _mean_and_error(
    values: np.ndarray, n_train: Any, n_test: Any, weights: Any
) -> tuple[float, float]:
    """Return the weighted mean and its corrected standard error."""
    train = np.asarray(n_train, dtype=np.float64)
    test = np.asarray(n_test, dtype=np.float64)
    for name, sizes in (("n_train", train), ("n_test", test)):
        positive = (sizes > 0).all() and np.isfinite(sizes).all()
        if sizes.shape not in ((), values.shape) or not positive:
            raise ValueError(
                f"{name} must be one positive number, or one per fold: expected shape "
                f"() or {values.shape}, got shape {sizes.shape}."
            )
    ratios = np.broadcast_to(test / train, values.shape)
    if weights is None:
        ratio = float(ratios.mean())
        variance = (1.0 / len(values) + ratio) * values.var(ddof=1)
        return float(values.mean()), float(np.sqrt(variance))
    weight = _check_fold_weights(weights, values.shape)
    effective = weight.sum() ** 2 / (weight**2).sum()
    mean = float(np.average(values, weights=weight))
    spread = np.average((values - mean) ** 2, weights=weight)
    variance = spread * effective / (effective - 1.0)
    ratio = float(np.average(ratios, weights=weight))
    return mean, float(np.sqrt((1.0 / effective + ratio) * variance))


def _check_fold_weights(weights: Any, shape: tuple[int, ...]) -> np.ndarray:
    weight = np.asarray(weights, dtype=np.float64)
    if weight.shape != shape:
        raise ValueError(
            f"weights must have shape {shape}, one per fold, got shape {weight.shape}."
        )
    bad = np.flatnonzero(~((weight > 0) & np.isfinite(weight)))
    if len(bad):
        raise ValueError(
            f"weights must be positive numbers, but are not in {len(bad)} of "
            f"{len(weight)} folds, first in fold(s) {bad[:5].tolist()}. Leave a fold "
            "without test patients out of all arguments."
        )
    return weight / weight.max()


def _quantile(confidence_level: float, n_folds: int, owner: str) -> float:
    check_confidence_level(confidence_level, owner)
    return float(stats.t.ppf(0.5 + confidence_level / 2.0, n_folds - 1))
