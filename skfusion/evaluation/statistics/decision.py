"""Net benefit of predictions at decision thresholds, and differences between models.

The module depends only on numpy, and on pandas for patient ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skfusion._validation import check_number
from skfusion.evaluation.statistics.bootstrap import patient_bootstrap
from skfusion.evaluation.statistics.inputs import (
    as_numbers,
    check_outcome,
    check_probability,
    need_both_classes,
)

__all__ = [
    "NetBenefit",
    "NetBenefitDifference",
    "net_benefit",
    "net_benefit_difference",
]


@dataclass(frozen=True)
class NetBenefit:
    """Net benefit of a model, of treating all and of treating none.

    Attributes
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Probabilities from which a patient is treated.
    model : ndarray of shape (n_thresholds,)
        Net benefit of treating those whose probability is at least the threshold.
    treat_all, treat_none : ndarray of shape (n_thresholds,)
        Net benefit of the two strategies without a model.
    prevalence : float
        Prevalence of the outcome, that of the cases if none was given.

    Examples
    --------
    >>> from skfusion.evaluation import net_benefit
    >>> curve = net_benefit([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], [0.5])
    >>> curve.model.tolist(), curve.treat_all.tolist(), curve.treat_none.tolist()
    ([0.5], [0.0], [0.0])
    """

    __module__ = "skfusion.evaluation"

    thresholds: np.ndarray
    model: np.ndarray
    treat_all: np.ndarray
    treat_none: np.ndarray
    prevalence: float


@dataclass(frozen=True)
class NetBenefitDifference:
    """Difference in net benefit of two models, with a pointwise bootstrap band.

    Attributes
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Probabilities from which a patient is treated.
    difference : ndarray of shape (n_thresholds,)
        Net benefit of `a` minus net benefit of `b`.
    low, high : ndarray of shape (n_thresholds,)
        Limits of the pointwise confidence intervals.
    n_resamples : int
        Number of bootstrap samples.
    n_undefined : int
        Number of samples with one class only, which are left out. 0 without
        `prevalence`.
    n_clusters : int
        Number of patients, or of cases if no patient ids were given.

    Examples
    --------
    >>> from skfusion.evaluation import net_benefit_difference
    >>> found = net_benefit_difference(
    ...     [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], [0.5] * 4, [0.5], n_resamples=50,
    ...     random_state=0)
    >>> found.thresholds.tolist(), found.difference.tolist(), found.n_clusters
    ([0.5], [0.5], 4)
    """

    __module__ = "skfusion.evaluation"

    thresholds: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_resamples: int
    n_undefined: int
    n_clusters: int


def net_benefit(
    y: Any, probability: Any, thresholds: Any, *, prevalence: float | None = None
) -> NetBenefit:
    r"""Compute the net benefit of decisions by predicted probabilities.

    The net benefit [1]_ at a threshold t is the rate of true positives less the rate of
    false positives, weighted by the odds of the threshold:

    .. math:: \pi \, TPR - (1 - \pi) \, FPR \, \frac{t}{1 - t}

    where :math:`\pi` is the prevalence.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    probability : array-like of shape (n,)
        Predicted probabilities of the positive class. Cases from the threshold on are
        treated.
    thresholds : array-like of shape (n_thresholds,)
        Threshold probabilities, from 0 and below 1. Choose the range in which
        clinicians would decide before seeing the curve.
    prevalence : float or None, default=None
        Prevalence in the target population, for case-control samples. None takes that
        of the cases.

    Returns
    -------
    NetBenefit

    Raises
    ------
    ValueError
        If the lengths differ, a value is missing or outside its range, `y` is not coded
        as 0 and 1, or a class is missing.

    References
    ----------
    .. [1] Vickers AJ, Elkin EB (2006). Decision curve analysis: a novel method for
       evaluating prediction models. Medical Decision Making 26:565-574.

    Examples
    --------
    >>> from skfusion.evaluation import net_benefit
    >>> curve = net_benefit([0, 0, 0, 1], [0.1, 0.3, 0.2, 0.6], [0.2, 0.5])
    >>> curve.model.round(4).tolist(), curve.treat_all.round(4).tolist()
    ([0.125, 0.25], [0.0625, -0.5])
    """
    owner = "net_benefit"
    positive = check_outcome(y, owner)
    values = check_probability(probability, len(positive), owner)
    need_both_classes(positive, owner)
    cuts = _check_thresholds(thresholds, owner)
    share = _check_prevalence(prevalence, positive, owner)
    treated = values[:, None] >= cuts
    odds = cuts / (1.0 - cuts)
    sensitivity = treated[positive].mean(axis=0)
    false_alarms = treated[~positive].mean(axis=0)
    return NetBenefit(
        thresholds=cuts,
        model=share * sensitivity - (1.0 - share) * false_alarms * odds,
        treat_all=share - (1.0 - share) * odds,
        treat_none=np.zeros(len(cuts)),
        prevalence=share,
    )


def net_benefit_difference(
    y: Any,
    a: Any,
    b: Any,
    thresholds: Any,
    *,
    groups: Any = None,
    prevalence: float | None = None,
    n_resamples: int = 2000,
    confidence_level: float = 0.95,
    random_state: Any = None,
) -> NetBenefitDifference:
    """Compute the difference in net benefit of two models on the same cases.

    The band is the percentile interval at each threshold from a bootstrap of patients
    [1]_. It is pointwise, so it does not cover the whole curve at its level. There are
    no p-values: a difference along many thresholds is not one hypothesis.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    a, b : array-like of shape (n,)
        Predicted probabilities of the positive class of both models.
    thresholds : array-like of shape (n_thresholds,)
        Threshold probabilities, from 0 and below 1.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, single cases are resampled.
    prevalence : float or None, default=None
        Prevalence in the target population, for case-control samples. None takes that
        of each sample.
    n_resamples : int, default=2000
        Number of bootstrap samples.
    confidence_level : float, default=0.95
        Nominal coverage of the interval at each threshold.
    random_state : int, RandomState or None, default=None
        Random state of the samples.

    Returns
    -------
    NetBenefitDifference

    Raises
    ------
    ValueError
        If the lengths differ, a value is missing or outside its range, `y` is not coded
        as 0 and 1, a class is missing, or there are fewer than two patients.

    References
    ----------
    .. [1] Vickers AJ, Cronin AM, Elkin EB, Gonen M (2008). Extensions to decision curve
       analysis, a novel method for evaluating diagnostic tests, prediction models and
       molecular markers. BMC Medical Informatics and Decision Making 8:53.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import net_benefit_difference
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 200)
    >>> a, b = 0.5 + 0.4 * (y - 0.5) + rng.uniform(-0.2, 0.2, size=(2, 200))
    >>> found = net_benefit_difference(
    ...     y, a, 1 - b, [0.3, 0.5], n_resamples=200, random_state=0)
    >>> bool((found.low > 0).all())
    True
    """
    owner = "net_benefit_difference"
    positive = check_outcome(y, owner)
    first, second = (
        check_probability(values, len(positive), owner, name)
        for name, values in (("a", a), ("b", b))
    )
    need_both_classes(positive, owner)
    cuts = _check_thresholds(thresholds, owner)
    if prevalence is not None:
        _check_prevalence(prevalence, positive, owner)
    odds = cuts / (1.0 - cuts)
    # What each case adds: 1, 0 or -1 for treatment by a only, both or none, b only.
    changed = np.subtract(first[:, None] >= cuts, second[:, None] >= cuts, dtype=float)

    def gain(positive: np.ndarray, changed: np.ndarray) -> np.ndarray:
        n_positive = np.count_nonzero(positive)
        n_negative = len(positive) - n_positive
        if prevalence is None:
            share = float(n_positive / len(positive))
        elif n_positive and n_negative:
            share = prevalence
        else:  # a rate is unknown, which has a weight at a given prevalence
            return np.full(len(cuts), np.nan)
        among = changed[positive].sum(axis=0) / max(n_positive, 1)
        others = changed[~positive].sum(axis=0) / max(n_negative, 1)
        return np.asarray(share * among - (1.0 - share) * others * odds)

    found = patient_bootstrap(
        gain,
        positive,
        changed,
        groups=groups,
        n_resamples=n_resamples,
        confidence_level=confidence_level,
        random_state=random_state,
    )
    return NetBenefitDifference(
        thresholds=cuts,
        difference=found.estimate,
        low=found.low,
        high=found.high,
        n_resamples=n_resamples,
        n_undefined=int(found.n_undefined.max()),
        n_clusters=found.n_clusters,
    )


def _check_thresholds(thresholds: Any, owner: str) -> np.ndarray:
    cuts = np.atleast_1d(as_numbers(thresholds, owner, "thresholds"))
    if cuts.ndim != 1 or not len(cuts):
        raise ValueError(
            f"{owner}: thresholds must be a list of numbers, got shape {cuts.shape}."
        )
    bad = np.flatnonzero(~((cuts >= 0) & (cuts < 1)))
    if len(bad):
        raise ValueError(
            f"{owner}: thresholds must be from 0 and below 1, but {len(bad)} of "
            f"{len(cuts)} are not, first at position(s) {bad[:5].tolist()}."
        )
    return cuts


def _check_prevalence(
    prevalence: float | None, positive: np.ndarray, owner: str
) -> float:
    if prevalence is None:
        return float(positive.mean())
    check_number(
        prevalence,
        "prevalence",
        owner,
        low=0,
        high=1,
        exclude_low=True,
        exclude_high=True,
        also="None",
    )
    return float(prevalence)
