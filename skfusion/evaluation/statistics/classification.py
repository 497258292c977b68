"""Paired test of two classifications, decomposition of the Brier score, sample size.

The module depends only on numpy and scipy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import isotonic_regression

from skfusion._validation import check_number
from skfusion.evaluation.statistics.inputs import check_outcome, check_probability

__all__ = [
    "BrierDecomposition",
    "McNemarTest",
    "brier_decomposition",
    "mcnemar_test",
    "patients_for_model",
]


@dataclass(frozen=True)
class McNemarTest:
    """Result of McNemar's test of two classifications of the same cases.

    Attributes
    ----------
    only_a, only_b : int
        Number of cases that only `a`, or only `b`, classified correctly.
    difference : float
        Accuracy of `a` minus accuracy of `b`.
    pvalue : float
        Two-sided exact p-value, 1 if both classifications agree in all cases.
    midp : float
        Two-sided mid-p-value, which is less conservative.

    Examples
    --------
    >>> from skfusion.evaluation import mcnemar_test
    >>> test = mcnemar_test([1] * 4, [1, 1, 1, 1], [1, 0, 0, 0])
    >>> test.only_a, test.only_b, test.difference
    (3, 0, 0.75)
    """

    __module__ = "skfusion.evaluation"

    only_a: int
    only_b: int
    difference: float
    pvalue: float
    midp: float


@dataclass(frozen=True)
class BrierDecomposition:
    """Parts of the Brier score: miscalibration - discrimination + uncertainty.

    Attributes
    ----------
    brier : float
        Brier score.
    miscalibration : float
        Part that recalibration removes. It is 0 for calibrated probabilities.
    discrimination : float
        Part by which recalibrated probabilities are better than the prevalence.
    uncertainty : float
        Brier score of the prevalence.

    Examples
    --------
    >>> from skfusion.evaluation import brier_decomposition
    >>> parts = brier_decomposition([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5])
    >>> parts.brier, parts.discrimination, parts.uncertainty
    (0.25, 0.0, 0.25)
    """

    __module__ = "skfusion.evaluation"

    brier: float
    miscalibration: float
    discrimination: float
    uncertainty: float


def mcnemar_test(y: Any, a: Any, b: Any) -> McNemarTest:
    """Test whether two classifications of the same cases are equally often right.

    Only the cases that one of them got right count [1]_. The mid-p-value is that of
    Fagerland et al. [2]_.

    Parameters
    ----------
    y, a, b : array-like of shape (n,)
        Outcome and two classifications, coded as 0 and 1. Each case must be of another
        patient. For repeated patients use `patient_bootstrap`.

    Returns
    -------
    McNemarTest

    Raises
    ------
    ValueError
        If the lengths differ or a value is not 0 or 1.

    References
    ----------
    .. [1] McNemar Q (1947). Note on the sampling error of the difference between
       correlated proportions or percentages. Psychometrika 12:153-157.
    .. [2] Fagerland MW, Lydersen S, Laake P (2013). The McNemar test for binary
       matched-pairs data. BMC Medical Research Methodology 13:91.

    Examples
    --------
    >>> from skfusion.evaluation import mcnemar_test
    >>> found = mcnemar_test([1] * 10, [1] * 9 + [0], [1] * 3 + [0] * 7)
    >>> found.only_a, found.only_b, round(found.pvalue, 4), round(found.midp, 4)
    (6, 0, 0.0312, 0.0156)
    """
    owner = "mcnemar_test"
    outcome, first, second = (check_outcome(values, owner) for values in (y, a, b))
    if not len(outcome) == len(first) == len(second):
        raise ValueError(
            f"{owner}: y, a and b must have the same length, got {len(outcome)}, "
            f"{len(first)} and {len(second)}. Pass predictions of the same cases."
        )
    right_a, right_b = first == outcome, second == outcome
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n_differ, fewer = only_a + only_b, min(only_a, only_b)
    of = stats.binom(n_differ, 0.5)
    pvalue = min(1.0, 2.0 * float(of.cdf(fewer)))
    midp = 1.0
    if only_a != only_b:
        midp = 2.0 * float(of.cdf(fewer)) - float(of.pmf(fewer))
    return McNemarTest(
        only_a, only_b, float(right_a.mean() - right_b.mean()), pvalue, midp
    )


def brier_decomposition(y: Any, probability: Any) -> BrierDecomposition:
    """Decompose the Brier score by isotonic recalibration (CORP).

    The recalibrated probabilities are those of an isotonic regression, which needs no
    bins [1]_.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    probability : array-like of shape (n,)
        Predicted probabilities of the positive class.

    Returns
    -------
    BrierDecomposition

    Raises
    ------
    ValueError
        If the lengths differ, the outcome is not 0 or 1, or a probability is outside
        of [0, 1].

    References
    ----------
    .. [1] Dimitriadis T, Gneiting T, Jordan AI (2021). Stable reliability diagrams for
       probabilistic classifiers. PNAS 118:e2016191118.

    Examples
    --------
    >>> from skfusion.evaluation import brier_decomposition
    >>> found = brier_decomposition([0, 0, 1, 1], [0.1, 0.4, 0.3, 0.9])
    >>> round(found.brier, 4), round(found.miscalibration, 4)
    (0.1675, 0.0425)
    >>> round(found.discrimination, 4), found.uncertainty
    (0.125, 0.25)
    """
    owner = "brier_decomposition"
    outcome = check_outcome(y, owner).astype(np.float64)
    values = check_probability(probability, len(outcome), owner)
    # Cases of equal probability are one group of the regression.
    levels, places = np.unique(values, return_inverse=True)
    counts = np.bincount(places).astype(np.float64)
    shares = np.bincount(places, outcome) / counts
    fitted = isotonic_regression(shares, weights=counts).x[places]
    brier = float(np.mean((values - outcome) ** 2))
    recalibrated = float(np.mean((fitted - outcome) ** 2))
    uncertainty = float(outcome.mean() * (1.0 - outcome.mean()))
    return BrierDecomposition(
        brier, brier - recalibrated, uncertainty - recalibrated, uncertainty
    )


def patients_for_model(
    n_parameters: int,
    prevalence: float,
    r2_cox_snell: float,
    *,
    shrinkage: float = 0.9,
    optimism: float = 0.05,
    margin: float = 0.05,
) -> int:
    r"""Compute the smallest sample for a prediction model of a binary outcome.

    The largest of three numbers [1]_: for a uniform shrinkage of at least `shrinkage`,
    for an optimism of Nagelkerke's :math:`R^2` of at most `optimism`, and for an
    estimate of the prevalence within `margin`.

    Parameters
    ----------
    n_parameters : int
        Number of candidate parameters of the model.
    prevalence : float
        Share of positive cases, between 0 and 1.
    r2_cox_snell : float
        Anticipated :math:`R^2` of Cox and Snell, e.g. of an earlier study. If a study
        reports only the AUROC and the prevalence, it can be approximated by simulation
        [2]_. From Nagelkerke's :math:`R^2`, it follows by multiplication with the
        largest possible value for the prevalence.
    shrinkage : float, default=0.9
        Expected shrinkage factor.
    optimism : float, default=0.05
        Largest difference of apparent and adjusted :math:`R^2`.
    margin : float, default=0.05
        Half of the width of the 95% confidence interval of the prevalence.

    Returns
    -------
    int
        Number of patients.

    Raises
    ------
    ValueError
        If a number is out of range, or `r2_cox_snell` is above the largest possible
        value for the prevalence.

    References
    ----------
    .. [1] Riley RD, Ensor J, Snell KIE, et al. (2020). Calculating the sample size
       required for developing a clinical prediction model. BMJ 368:m441.
    .. [2] Riley RD, Van Calster B, Collins GS (2021). A note on estimating the
       Cox-Snell R2 from a reported C statistic (AUROC) to inform sample size
       calculations for developing a prediction model with a binary outcome.
       Statistics in Medicine 40:859-864.

    Examples
    --------
    >>> from skfusion.evaluation import patients_for_model
    >>> patients_for_model(24, 0.174, 0.288)
    662
    """
    owner = "patients_for_model"
    check_number(n_parameters, "n_parameters", owner, low=1, integer=True)
    for name, value in (
        *(("prevalence", prevalence), ("r2_cox_snell", r2_cox_snell)),
        *(("shrinkage", shrinkage), ("optimism", optimism), ("margin", margin)),
    ):
        limits = {"low": 0, "high": 1, "exclude_low": True, "exclude_high": True}
        check_number(value, name, owner, **limits)  # type: ignore[arg-type]
    log_null = prevalence * math.log(prevalence)
    log_null += (1.0 - prevalence) * math.log(1.0 - prevalence)
    largest = 1.0 - math.exp(2.0 * log_null)
    if r2_cox_snell >= largest:
        raise ValueError(
            f"{owner}: r2_cox_snell must be below {largest:.3f}, the largest possible "
            f"value for a prevalence of {prevalence}, got {r2_cox_snell}."
        )

    def for_shrinkage(factor: float) -> float:
        return n_parameters / ((factor - 1.0) * math.log(1.0 - r2_cox_snell / factor))

    needed = (
        for_shrinkage(shrinkage),
        for_shrinkage(r2_cox_snell / (r2_cox_snell + optimism * largest)),
        (1.96 / margin) ** 2 * prevalence * (1.0 - prevalence),
    )
    return math.ceil(max(needed))
