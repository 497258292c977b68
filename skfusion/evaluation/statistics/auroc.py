"""AUROCs of scores on the same cases: covariance, test and confidence intervals.

The module depends only on numpy and scipy, and on pandas for patient ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from skfusion._validation import check_confidence_level
from skfusion.evaluation.statistics.inputs import (
    as_numbers,
    check_outcome,
    check_patients,
    check_scores,
    need_both_classes,
    refuse_not_finite,
)
from skfusion.evaluation.statistics.resampling import Interval
from skfusion.exceptions import DataWarning, LeakageWarning, warn_user

__all__ = [
    "AurocEstimates",
    "DeLongTest",
    "auroc_interval",
    "cross_validated_auroc_interval",
    "delong_test",
    "estimate_aurocs",
]

# Least variance of an AUROC, as a share of that of a proportion of the cases of the
# rarer class, which is the largest that it can have. Found by simulation: see Notes of
# `auroc_interval`.
VARIANCE_FLOOR = 0.25


@dataclass(frozen=True)
class AurocEstimates:
    """AUROCs of several scores and their estimated covariance.

    Attributes
    ----------
    values : ndarray of shape (n_scores,)
        AUROC of each score.
    covariance : ndarray of shape (n_scores, n_scores)
        Estimated covariance of the AUROCs.
    n_clusters : int
        Number of patients, or of cases if no patient ids were given.

    Examples
    --------
    >>> from skfusion.evaluation import estimate_aurocs
    >>> found = estimate_aurocs([0, 0, 1, 1, 1], [[1, 3, 2, 4, 5], [5, 1, 2, 3, 4]])
    >>> found.values.round(3).tolist(), found.covariance.shape, found.n_clusters
    ([0.833, 0.5], (2, 2), 5)
    """

    __module__ = "skfusion.evaluation"

    values: np.ndarray
    covariance: np.ndarray
    n_clusters: int


@dataclass(frozen=True)
class DeLongTest:
    """Result of a paired test of two AUROCs on the same cases.

    Attributes
    ----------
    statistic : float
        The z statistic, NaN if the variance cannot be estimated.
    pvalue : float
        Two-sided p-value, NaN if the variance cannot be estimated.
    difference : float
        AUROC of `a` minus AUROC of `b`.
    interval : tuple of float
        Lower and upper limit of the confidence interval of the difference.
    standard_error : float
        Standard error of the difference.
    aurocs : tuple of float
        AUROCs of `a` and of `b`.
    n_clusters : int
        Number of patients, or of cases if no patient ids were given.
    reason : str
        Why there is no p-value. Empty if there is one.

    Examples
    --------
    >>> from skfusion.evaluation import delong_test
    >>> test = delong_test([0, 0, 1, 1], [1, 3, 2, 4], [1, 3, 2, 4])
    >>> test.difference, test.pvalue, test.aurocs
    (0.0, 1.0, (0.75, 0.75))
    """

    __module__ = "skfusion.evaluation"

    statistic: float
    pvalue: float
    difference: float
    interval: tuple[float, float]
    standard_error: float
    aurocs: tuple[float, float]
    n_clusters: int
    reason: str = ""


def estimate_aurocs(y: Any, scores: Any, groups: Any = None) -> AurocEstimates:
    r"""Estimate AUROCs of several scores on the same cases, and their covariance.

    The structural component of a case is the proportion of cases of the other class
    that its score ranks correctly. The covariance of the AUROCs is estimated from these
    components (DeLong [1]_). For clustered data, the components are first summed by
    patient (Obuchowski [2]_). With one case per patient, both estimates are equal. The
    components are computed from one sort of each score in :math:`O(n \log n)`, as in
    [3]_.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, L)
        Outcome, coded as 0 and 1 or as bool. Several classes or labels have one column
        each.
    scores : array-like of shape (n_scores, n) or (n_scores, n, L)
        Scores that increase with the probability of a positive case. With L columns,
        the AUROC is the mean over the columns (one-vs-rest).
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, every case is treated as a separate patient.

    Returns
    -------
    AurocEstimates

    Raises
    ------
    ValueError
        If the shapes are inconsistent, a value is missing or not finite, `y` is not
        coded as 0 and 1, a class is missing, or there are fewer than two patients.

    Warns
    -----
    DataWarning
        If only one patient has cases of a class. The covariance is then too small,
        because the variance within this class cannot be estimated.

    References
    ----------
    .. [1] DeLong ER, DeLong DM, Clarke-Pearson DL (1988). Comparing the areas under
       two or more correlated receiver operating characteristic curves. Biometrics
       44:837-845.
    .. [2] Obuchowski NA (1997). Nonparametric analysis of clustered ROC curve data.
       Biometrics 53:567-578.
    .. [3] Sun X, Xu W (2014). Fast implementation of DeLong's algorithm. IEEE Signal
       Processing Letters 21:1389-1393.

    Examples
    --------
    >>> from skfusion.evaluation import estimate_aurocs
    >>> found = estimate_aurocs([0, 0, 1, 1, 1], [[1, 3, 2, 4, 5], [5, 1, 2, 3, 4]])
    >>> found.values.round(3).tolist()
    [0.833, 0.5]
    >>> found.covariance.diagonal().round(4).tolist()
    [0.0556, 0.25]
    """
    owner = "estimate_aurocs"
    positive = check_outcome(y, owner, columns=True)
    table = as_numbers(scores, owner, "scores")
    if positive.ndim == 1:
        positive = positive[:, None]
        table = table[..., None] if table.ndim == 2 else table
    if table.ndim != 3 or not len(table) or table.shape[1:] != positive.shape:
        raise ValueError(
            "scores must have shape (n_scores, n) or (n_scores, n, L) for y of shape "
            f"(n,) or (n, L), got {np.shape(scores)} and {np.shape(y)}."
        )
    refuse_not_finite(table, owner, "scores", axis=1)
    need_both_classes(positive[:, 0] if positive.shape[1] == 1 else positive, owner)
    patient, n_clusters = check_patients(groups, len(positive), owner)
    parts = [
        _by_patient(
            positive[:, label],
            np.stack([_placements(positive[:, label], score) for score in part]),
            patient,
            n_clusters,
        )
        for label, part in enumerate(np.moveaxis(table, 2, 0))
    ]
    mean = _Components(
        np.mean([part.areas for part in parts], axis=0),
        np.mean([part.sums for part in parts], axis=0),
        (
            _n_patients(patient, np.any(positive, axis=1)),
            _n_patients(patient, np.any(~positive, axis=1)),
        ),
    )
    few = [part.n_patients for part in parts if min(part.n_patients) < 2]
    if few:
        warn_user(
            f"estimate_aurocs: {few[0][0]} patient(s) have positive cases and "
            f"{few[0][1]} have negative cases in {len(few)} of {len(parts)} column(s) "
            "of y. At least 2 of each are needed to estimate the covariance, which is "
            "too small here.",
            DataWarning,
        )
    return AurocEstimates(mean.areas, mean.covariance(), n_clusters)


def delong_test(
    y: Any,
    a: Any,
    b: Any,
    *,
    groups: Any = None,
    confidence_level: float = 0.95,
) -> DeLongTest:
    """Test whether two scores of the same cases have the same AUROC.

    The test of DeLong [1]_, or that of Obuchowski [2]_ if patients have several cases.
    It is about these two fixed scores on new patients from the same population. The
    models must not have been trained on the cases. For predictions from a
    cross-validation, use `corrected_resampled_ttest` on the scores of the folds.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    a, b : array-like of shape (n,)
        Scores that increase with the probability of a positive case.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, every case is treated as a separate patient.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval of the difference.

    Returns
    -------
    DeLongTest
        Scores that rank the cases identically give a difference of 0 and p = 1. If the
        variance is zero or cannot be estimated otherwise, p is NaN and `reason` says
        why.

    Raises
    ------
    ValueError
        If the lengths differ, a value is missing or not finite, `y` is not coded as 0
        and 1, a class is missing, or there are fewer than two patients.

    References
    ----------
    .. [1] DeLong ER, DeLong DM, Clarke-Pearson DL (1988). Comparing the areas under
       two or more correlated receiver operating characteristic curves. Biometrics
       44:837-845.
    .. [2] Obuchowski NA (1997). Nonparametric analysis of clustered ROC curve data.
       Biometrics 53:567-578.

    Examples
    --------
    >>> from skfusion.evaluation import delong_test
    >>> y = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> test = delong_test(y, [1, 2, 3, 5, 4, 6, 7, 8], [2, 1, 6, 5, 3, 4, 8, 7])
    >>> print(f"{test.difference:.3f}, p = {test.pvalue:.3f}")
    0.188, p = 0.268
    """
    owner = "delong_test"
    check_confidence_level(confidence_level, owner)
    positive = check_outcome(y, owner)
    scores = [
        check_scores(score, positive.shape, owner, name)
        for name, score in (("a", a), ("b", b))
    ]
    need_both_classes(positive, owner)
    patient, n_clusters = check_patients(groups, len(positive), owner)
    both = np.stack([_placements(positive, score) for score in scores])
    found = _by_patient(positive, both, patient, n_clusters)
    paired = _Components(
        found.areas[:1] - found.areas[1:],
        found.sums[..., :1] - found.sums[..., 1:],
        found.n_patients,
    )
    difference, variance = float(paired.areas[0]), float(paired.covariance()[0, 0])
    # Rounding errors of equal components are far below the least possible variance.
    if variance <= 1e-24 * np.trace(found.covariance()):
        z, error, interval, reason = _without_variance(
            scores, both, found.n_patients, confidence_level
        )
    elif min(found.n_patients) < 2:
        z, error, interval, reason = _no_test(_too_few(found.n_patients))
    else:
        error, reason = float(np.sqrt(variance)), ""
        z = difference / error
        reach = float(stats.norm.ppf(0.5 + confidence_level / 2.0)) * error
        interval = (max(difference - reach, -1.0), min(difference + reach, 1.0))
    return DeLongTest(
        statistic=z,
        pvalue=2.0 * float(stats.norm.sf(abs(z))),
        difference=difference,
        interval=interval,
        standard_error=error,
        aurocs=(float(found.areas[0]), float(found.areas[1])),
        n_clusters=n_clusters,
        reason=reason,
    )


# The z statistic, the standard error, the limits, and why there is no test.
_Tested = tuple[float, float, tuple[float, float], str]


def _no_test(reason: str) -> _Tested:
    return np.nan, np.nan, (np.nan, np.nan), reason


def _too_few(n_patients: tuple[int, int]) -> str:
    return (
        f"{n_patients[0]} patient(s) have positive cases and {n_patients[1]} have "
        "negative cases. The variance can be estimated from 2 of each or more."
    )


def _without_variance(
    scores: list[np.ndarray],
    placements: np.ndarray,
    n_patients: tuple[int, int],
    confidence_level: float,
) -> _Tested:
    """Return the result for a difference that has no variance."""
    first, second = placements
    alike = np.array_equal(*(stats.rankdata(score) for score in scores))
    if np.array_equal(first, second):
        reach = 0.0
        if not alike and first.min() == first.max() and first[0] in (0.0, 1.0):
            # Both separate the classes: each AUROC has its exact bound.
            reach = 1.0 - _bound_of_separation(min(n_patients), confidence_level)
        return 0.0, 0.0, (-reach, reach), ""
    if min(n_patients) < 2:
        return _no_test(_too_few(n_patients))
    return _no_test(
        "The two scores differ by the same amount in all patients, so the variance of "
        "the difference cannot be estimated."
    )


def auroc_interval(
    y: Any,
    score: Any,
    *,
    groups: Any = None,
    confidence_level: float = 0.95,
) -> Interval:
    r"""Compute a confidence interval of one AUROC.

    The limits are computed on the logit scale from the variance of DeLong, or that of
    Obuchowski [1]_ if patients have several cases. They lie between 0 and 1 and cover
    well near 1, where those of Wald do not [2]_.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    score : array-like of shape (n,)
        Scores that increase with the probability of a positive case.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, every case is treated as a separate patient.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If the lengths differ, a value is missing or not finite, `y` is not coded as 0
        and 1, a class is missing, or there are fewer than two patients.

    Notes
    -----
    Let A be the AUROC, r the number of patients with cases of the rarer class and n the
    effective number of cases of the rarer class. Without repeated cases, n is r. Else
    it is the number of cases divided by the design effect, and at least r.

    - The variance is at least :math:`A (1 - A) / (4 n)`. Few cases near an AUROC of 1
      often have a variance of nearly 0 by chance. :math:`A (1 - A) / n` is the largest
      variance that an AUROC can have.
    - At an AUROC of 1, the upper limit is 1 and the lower limit is
      :math:`(\alpha / 2)^{1 / r}`, that of Clopper and Pearson for r successes in r
      patients [3]_. At 0, the limits are reflected.
    - Elsewhere, the limits are never outside those of Clopper and Pearson for a
      proportion A of r patients. If patients have different numbers of cases, r is
      their effective number here. These limits alone are used if only one patient has
      cases of a class.

    The measured coverage of the 95 % interval at an AUROC of 0.95 is 97 to 98 % for 20
    and for 60 cases and 92 to 98 % for 200 cases. At an AUROC of 0.8 it is 93 to 98 %.
    Prevalences were 0.5 and 0.2, and scores of three distributions. With 4 to 20 cases
    per patient, the coverage is 92 to 98 %.

    References
    ----------
    .. [1] Obuchowski NA (1997). Nonparametric analysis of clustered ROC curve data.
       Biometrics 53:567-578.
    .. [2] Qin G, Hotilovac L (2008). Comparison of non-parametric confidence intervals
       for the area under the ROC curve of a continuous-scale diagnostic test.
       Statistical Methods in Medical Research 17:207-221.
    .. [3] Clopper CJ, Pearson ES (1934). The use of confidence or fiducial limits
       illustrated in the case of the binomial. Biometrika 26:404-413.

    Examples
    --------
    >>> from skfusion.evaluation import auroc_interval
    >>> interval = auroc_interval([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6])
    >>> print(f"{interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})")
    1.00 (0.29 to 1.00)
    """
    owner = "auroc_interval"
    check_confidence_level(confidence_level, owner)
    positive = check_outcome(y, owner)
    values = check_scores(score, positive.shape, owner, "score")
    need_both_classes(positive, owner)
    patient, n_clusters = check_patients(groups, len(positive), owner)
    placements = _placements(positive, values)
    found = _by_patient(positive, placements[None], patient, n_clusters)
    return _logit_limits(
        float(found.areas[0]),
        float(found.covariance()[0, 0]),
        _Sizes.of(positive, placements, patient, found),
        confidence_level,
    )


def cross_validated_auroc_interval(
    y: Any,
    scores: Any,
    folds: Any,
    *,
    groups: Any = None,
    confidence_level: float = 0.95,
) -> Interval:
    r"""Compute a confidence interval of the AUROC of a cross-validation.

    The AUROC is computed within each test fold, because models of different folds do
    not share a scale. The estimate is the mean over folds and repeats, weighted by the
    number of test patients [1]_. It is about models that are trained in this way on
    the training part of such folds, not about one fitted model.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    scores : array-like of shape (n_repeats, n) or (n,)
        Out-of-fold scores. They are ignored, and may be NaN, where a row was not
        predicted in the repeat.
    folds : array-like of int of shape (n_repeats, n) or (n,)
        Number of the test fold of each row, -1 or NaN if the row was not predicted in
        the repeat.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, every row is treated as a separate patient.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If the shapes differ, a score is missing or not finite in a test fold, `y` is
        not coded as 0 and 1, a test fold has cases of one class only, or a repeat has
        fewer than two folds.

    Warns
    -----
    DataWarning
        If rows are in no test fold. They are left out.
    LeakageWarning
        If a patient is in several test folds of a repeat, so that other rows of the
        patient were in the training set.

    Notes
    -----
    The placement of a case is the proportion of cases of the other class in its test
    fold that it ranks correctly, averaged over repeats. The variance of the AUROC is
    estimated from the placements as by `auroc_interval`, by patient, and multiplied by
    K / (K - 1) for K folds. The limits are those of `auroc_interval`, with the same
    least variance. If all folds have an AUROC of 1, the upper limit is 1.

    The measured coverage of the mean AUROC of models trained on the same number of
    cases is 93 to 96 % for stable models, with 5 folds and 5 repeats. It is 88 % for
    linear models of 40 columns and 100 cases, or of 8 columns and 60 cases.

    Differences between strategies are tested by `corrected_resampled_ttest`. The
    intervals of two strategies do not replace this test.

    References
    ----------
    .. [1] LeDell E, Petersen M, van der Laan M (2015). Computationally efficient
       confidence intervals for cross-validated area under the ROC curve estimates.
       Electronic Journal of Statistics 9:1583-1607.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import cross_validated_auroc_interval
    >>> rng = np.random.default_rng(0)
    >>> y = np.tile([0, 1], 50)
    >>> folds = np.repeat(np.arange(5), 20)
    >>> interval = cross_validated_auroc_interval(y, y + rng.normal(size=100), folds)
    >>> print(f"{interval.estimate:.2f} ({interval.low:.2f} to {interval.high:.2f})")
    0.82 (0.69 to 0.90)
    """
    owner = "cross_validated_auroc_interval"
    check_confidence_level(confidence_level, owner)
    positive = check_outcome(y, owner)
    need_both_classes(positive, owner)
    table, places = _check_folds(scores, folds, len(positive), owner)
    patient, _ = check_patients(groups, len(positive), owner)
    _warn_of_split_patients(places, patient)
    predicted = np.atleast_1d((places >= 0).any(axis=0))
    if not predicted.all():
        warn_user(
            f"{owner}: {(~predicted).sum()} of {len(predicted)} rows are in no test "
            "fold. They are left out.",
            DataWarning,
        )
    placements, area, n_folds = _placements_within_folds(
        positive, table, places, patient, owner
    )
    positive = positive[predicted]
    patient, n_clusters = check_patients(patient[predicted], len(positive), owner)
    placements = placements[predicted]
    found = _by_patient(positive, placements[None], patient, n_clusters)
    return _logit_limits(
        area,
        float(found.covariance()[0, 0]),
        _Sizes.of(positive, placements, patient, found),
        confidence_level,
        inflation=n_folds / (n_folds - 1),
    )


def _check_folds(
    scores: Any, folds: Any, n_rows: int, owner: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and numbers of folds, both of shape (n_repeats, n_rows)."""
    table = np.atleast_2d(as_numbers(scores, owner, "scores"))
    places = np.atleast_2d(as_numbers(folds, owner, "folds"))
    if table.shape != places.shape or table.ndim != 2 or table.shape[1] != n_rows:
        raise ValueError(
            f"{owner}: scores and folds must have shape (n_repeats, {n_rows}) for y of "
            f"length {n_rows}, got {table.shape} and {places.shape}."
        )
    places = np.where(np.isnan(places), -1.0, places)
    whole = np.isfinite(places) & (places == np.round(places)) & (places >= -1)
    if not whole.all():
        where = np.argwhere(~whole)[:5].tolist()
        raise ValueError(
            f"{owner}: folds must be integers from 0, or -1 for rows that were not "
            f"predicted, but {(~whole).sum()} of {whole.size} entries are not, first "
            f"at [repeat, row] {where}."
        )
    bad = (places >= 0) & ~np.isfinite(table)
    if bad.any():
        where = np.argwhere(bad)[:5].tolist()
        raise ValueError(
            f"{owner}: scores is NaN or infinite in {bad.sum()} of "
            f"{(places >= 0).sum()} places of test folds, first at [repeat, row] "
            f"{where}. Set folds to -1 for rows without a prediction."
        )
    return table, places.astype(np.int64)


def _warn_of_split_patients(places: np.ndarray, patient: np.ndarray) -> None:
    split: set[int] = set()
    for repeat in places:
        known = repeat >= 0
        pairs = np.unique(np.column_stack([patient[known], repeat[known]]), axis=0)
        numbers, counts = np.unique(pairs[:, 0], return_counts=True)
        split.update(numbers[counts > 1].tolist())
    if split:
        warn_user(
            f"cross_validated_auroc_interval: {len(split)} of {patient.max() + 1} "
            "patients are in several test folds of a repeat, so models were tested on "
            "patients of their training sets. Split by patient, for example with "
            "StratifiedGroupKFold.",
            LeakageWarning,
        )


def _placements_within_folds(
    positive: np.ndarray,
    table: np.ndarray,
    places: np.ndarray,
    patient: np.ndarray,
    owner: str,
) -> tuple[np.ndarray, float, int]:
    """Return the mean placement of each case, the mean AUROC and the number of folds.

    If the repeats differ in their number of folds, the smallest is returned, which
    gives the largest variance.
    """
    total, times = np.zeros(len(positive)), np.zeros(len(positive))
    areas, weights = [], []
    counts = [len(np.unique(repeat[repeat >= 0])) for repeat in places]
    if min(counts) < 2:
        raise ValueError(
            f"{owner}: repeat {int(np.argmin(counts))} has {min(counts)} test fold(s), "
            "expected at least 2. For one test set use auroc_interval."
        )
    for number, (score, repeat) in enumerate(zip(table, places, strict=True)):
        for fold in np.unique(repeat[repeat >= 0]):
            rows = np.flatnonzero(repeat == fold)
            side = positive[rows]
            if side.all() or not side.any():
                raise ValueError(
                    f"{owner}: all {len(rows)} rows of test fold {fold} of repeat "
                    f"{number} belong to one class, so its AUROC is undefined. Use "
                    "fewer folds, or folds that are stratified by the outcome."
                )
            found = _placements(side, score[rows])
            total[rows] += found
            times[rows] += 1
            areas.append(found[side].mean())
            weights.append(_n_patients(patient, rows))
    return (
        total / np.maximum(times, 1),
        float(np.average(areas, weights=weights)),
        min(counts),
    )


@dataclass(frozen=True)
class _Components:
    """Structural components of AUROCs: centred, over the class size, by patient."""

    areas: np.ndarray  # (n_scores,)
    sums: np.ndarray  # (2, n_patients, n_scores), of positive and of negative cases
    n_patients: tuple[int, int]  # with positive and with negative cases

    def covariance(self) -> np.ndarray:
        """Return the covariance of the AUROCs."""
        n_clusters = self.sums.shape[1]
        diseased, healthy = self.sums
        across = diseased.T @ healthy * (n_clusters / (n_clusters - 1))
        covariance: np.ndarray = across + across.T
        for part, count in zip(self.sums, self.n_patients, strict=True):
            # The factor is undefined if one patient only has cases of this class. The
            # count is then treated as two.
            covariance += part.T @ part * (count / max(count - 1, 1))
        return covariance


def _by_patient(
    positive: np.ndarray, placements: np.ndarray, patient: np.ndarray, n_clusters: int
) -> _Components:
    """Sum the placements of shape (n_scores, n) by patient."""
    sums = np.zeros((2, n_clusters, len(placements)))
    sides = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    single = n_clusters == len(patient)  # one case per patient, in any order
    areas = placements[:, sides[0]].mean(axis=1)
    for side, rows in enumerate(sides):
        for number, values in enumerate(placements[:, rows]):
            centred = (values - values.mean()) / len(rows)
            if single:
                sums[side, rows, number] = centred
            else:
                sums[side, :, number] = np.bincount(patient[rows], centred, n_clusters)
    n_patients = (_n_patients(patient, sides[0]), _n_patients(patient, sides[1]))
    return _Components(areas, sums, n_patients)


def _n_patients(patient: np.ndarray, rows: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(patient[rows])))


def _placements(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Return the proportion of the other class that each case is ranked right to.

    Ties count one half. One sort gives the numbers of both classes below each case.
    """
    order = np.argsort(score)
    ordered, diseased = score[order], positive[order]
    n_cases = len(score)
    n_positive = np.count_nonzero(positive)
    # Numbers up to the place of a case. The other class is not counted with itself.
    below: Any = np.cumsum(diseased)
    healthy: Any = np.arange(1, n_cases + 1) - below
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if len(starts) < n_cases - 1:
        # Half of a tie is the mean of the numbers before and after it.
        sizes = np.diff(starts, prepend=0, append=n_cases)
        after = below[np.append(starts, n_cases) - 1]
        below = np.repeat((after + np.append(0, after[:-1])) / 2, sizes)
        after = healthy[np.append(starts, n_cases) - 1]
        healthy = np.repeat((after + np.append(0, after[:-1])) / 2, sizes)
    placements = np.empty(n_cases)
    placements[order] = np.where(
        diseased, healthy / (n_cases - n_positive), 1.0 - below / n_positive
    )
    return placements


@dataclass(frozen=True)
class _Sizes:
    """Numbers of the rarer class that limit how certain an AUROC can be."""

    patients: int
    effective_patients: float
    effective_cases: float

    @classmethod
    def of(
        cls,
        positive: np.ndarray,
        placements: np.ndarray,
        patient: np.ndarray,
        found: _Components,
    ) -> _Sizes:
        """Count the patients and cases of one score.

        The effective number of patients is that of Kish: less than their number if few
        of them have most of the cases. The effective number of cases is their number
        over the design effect, which is the ratio of the variances with and without
        regard to patients.
        """
        rarer = min(found.n_patients)
        by_patient = [np.bincount(patient[rows]) for rows in (positive, ~positive)]
        n_cases = min(int(each.sum()) for each in by_patient)
        rows = np.arange(len(positive))
        single = _by_patient(positive, placements[None], rows, len(rows))
        plain = float(single.covariance()[0, 0])
        effect = n_cases / rarer  # of cases that are all alike
        if plain > 0.0:
            effect = float(np.clip(found.covariance()[0, 0] / plain, 1.0, effect))
        return cls(
            rarer,
            min(float(each.sum() ** 2 / (each**2).sum()) for each in by_patient),
            n_cases / effect,
        )


def _bound_of_separation(n_patients: int, confidence_level: float) -> float:
    """Return the lower limit of a proportion of 1 (Clopper and Pearson)."""
    return float((0.5 - confidence_level / 2.0) ** (1.0 / n_patients))


def _logit_limits(
    area: float,
    variance: float,
    sizes: _Sizes,
    confidence_level: float,
    inflation: float = 1.0,
) -> Interval:
    """Return limits of an AUROC, as `auroc_interval` documents."""
    tail = 0.5 - confidence_level / 2.0
    if area in (0.0, 1.0):
        bound = _bound_of_separation(sizes.patients, confidence_level)
        return Interval(area, bound, 1.0) if area else Interval(area, 0.0, 1.0 - bound)
    right = sizes.effective_patients / inflation * area
    wrong = sizes.effective_patients / inflation * (1.0 - area)
    low = float(stats.beta.ppf(tail, right, wrong + 1.0))
    high = float(stats.beta.ppf(1.0 - tail, right + 1.0, wrong))
    if sizes.patients >= 2:
        spread = area * (1.0 - area)
        least = VARIANCE_FLOOR * spread / sizes.effective_cases
        error = np.sqrt(max(variance * inflation, least))
        reach = float(stats.norm.ppf(1.0 - tail)) * error
        low = max(low, float(expit(logit(area) - reach / spread)))
        high = min(high, float(expit(logit(area) + reach / spread)))
    return Interval(area, low, high)
