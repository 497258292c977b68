"""Tests of equivalence and of non-inferiority, with a margin that is declared.

The module depends only on numpy and scipy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from skfusion._validation import check_number

__all__ = [
    "EquivalenceTest",
    "NoninferiorityTest",
    "equivalence_test",
    "noninferiority_test",
]


@dataclass(frozen=True)
class EquivalenceTest:
    """Result of two one-sided tests of equivalence.

    Attributes
    ----------
    difference : float
        The observed difference.
    low, high : float
        Limits of the confidence interval of level ``1 - 2 * alpha``.
    pvalue : float
        The larger of the two one-sided p-values, NaN if there is no test.
    pvalue_low, pvalue_high : float
        One-sided p-values against a difference of ``-margin`` or less, and of `margin`
        or more.
    margin : float
        The declared margin.
    alpha : float
        One-sided significance level.
    equivalent : bool
        Whether the interval lies inside the margin. False if there is no test.
    reason : str
        Why there is no test. Empty if there is one.

    Examples
    --------
    >>> from skfusion.evaluation import equivalence_test
    >>> test = equivalence_test(0.01, 0.02, margin=0.03)
    >>> test.equivalent, round(test.pvalue, 3), test.margin
    (False, 0.159, 0.03)
    """

    __module__ = "skfusion.evaluation"

    difference: float
    low: float
    high: float
    pvalue: float
    pvalue_low: float
    pvalue_high: float
    margin: float
    alpha: float
    equivalent: bool
    reason: str = ""


@dataclass(frozen=True)
class NoninferiorityTest:
    """Result of a one-sided test of non-inferiority.

    Attributes
    ----------
    difference : float
        The observed difference.
    low, high : float
        Limits of the confidence interval of level ``1 - 2 * alpha``.
    pvalue : float
        One-sided p-value, NaN if there is no test.
    margin : float
        The declared margin.
    alpha : float
        One-sided significance level.
    noninferior : bool
        Whether the lower limit is above ``-margin``. False if there is no test.
    reason : str
        Why there is no test. Empty if there is one.

    Examples
    --------
    >>> from skfusion.evaluation import noninferiority_test
    >>> test = noninferiority_test(0.01, 0.02, margin=0.03)
    >>> test.noninferior, round(test.pvalue, 3), round(test.low, 3)
    (True, 0.023, -0.023)
    """

    __module__ = "skfusion.evaluation"

    difference: float
    low: float
    high: float
    pvalue: float
    margin: float
    alpha: float
    noninferior: bool
    reason: str = ""


def equivalence_test(
    difference: float,
    standard_error: float,
    df: float | None = None,
    *,
    margin: float,
    alpha: float = 0.05,
) -> EquivalenceTest:
    """Test whether a difference is smaller than a margin in either direction.

    Two one-sided tests (TOST [1]_). The difference is within the margin if both reject,
    which is the case if the confidence interval of level ``1 - 2 * alpha`` lies inside
    the margin. A large p-value of a test of difference does not show equivalence.

    Parameters
    ----------
    difference : float
        The observed difference.
    standard_error : float
        Its standard error. 0 gives no test.
    df : float or None, default=None
        Degrees of freedom of the t distribution. None is the normal distribution.
    margin : float
        Largest difference that does not matter. It must be chosen before the study.
    alpha : float, default=0.05
        One-sided significance level, below 0.5.

    Returns
    -------
    EquivalenceTest

    Raises
    ------
    ValueError
        If a number is outside its range.

    References
    ----------
    .. [1] Schuirmann DJ (1987). A comparison of the two one-sided tests procedure and
       the power approach for assessing the equivalence of average bioavailability.
       Journal of Pharmacokinetics and Biopharmaceutics 15:657-680.

    Examples
    --------
    >>> from skfusion.evaluation import equivalence_test
    >>> test = equivalence_test(0.004, 0.006, df=49, margin=0.02)
    >>> print(test.equivalent, f"{test.low:.3f} to {test.high:.3f}")
    True -0.006 to 0.014
    """
    _check("equivalence_test", difference, standard_error, df, margin, alpha)
    if standard_error == 0:
        nan = np.nan
        return EquivalenceTest(
            difference, nan, nan, nan, nan, nan, margin, alpha, False, _NO_VARIANCE
        )
    low, high = _limits(difference, standard_error, df, alpha)
    of = stats.norm if df is None else stats.t(df)
    below = float(of.sf((difference + margin) / standard_error))
    above = float(of.cdf((difference - margin) / standard_error))
    return EquivalenceTest(
        float(difference),
        low,
        high,
        max(below, above),
        below,
        above,
        float(margin),
        float(alpha),
        -margin < low and high < margin,
    )


def noninferiority_test(
    difference: float,
    standard_error: float,
    df: float | None = None,
    *,
    margin: float,
    alpha: float = 0.05,
) -> NoninferiorityTest:
    """Test whether a strategy is worse than another by less than a margin.

    A one-sided test against a difference of ``-margin`` [1]_. Non-inferiority is shown
    if the lower limit of the confidence interval of level ``1 - 2 * alpha`` is above
    ``-margin``.

    Parameters
    ----------
    difference : float
        The observed difference, new minus old strategy, positive if the new one is
        better. Change the sign for scores where less is better.
    standard_error : float
        Its standard error. 0 gives no test.
    df : float or None, default=None
        Degrees of freedom of the t distribution. None is the normal distribution.
    margin : float
        Largest loss that is accepted. It must be chosen before the study.
    alpha : float, default=0.05
        One-sided significance level, below 0.5. Regulators of drugs ask for 0.025.

    Returns
    -------
    NoninferiorityTest

    Raises
    ------
    ValueError
        If a number is outside its range.

    References
    ----------
    .. [1] Piaggio G, Elbourne DR, Pocock SJ, Evans SJW, Altman DG (2012). Reporting of
       noninferiority and equivalence randomized trials: extension of the CONSORT 2010
       statement. JAMA 308:2594-2604.

    Examples
    --------
    >>> from skfusion.evaluation import noninferiority_test
    >>> test = noninferiority_test(-0.004, 0.006, df=49, margin=0.02)
    >>> print(test.noninferior, f"p = {test.pvalue:.4f}")
    True p = 0.0052
    """
    _check("noninferiority_test", difference, standard_error, df, margin, alpha)
    if standard_error == 0:
        nan = np.nan
        return NoninferiorityTest(
            difference, nan, nan, nan, margin, alpha, False, _NO_VARIANCE
        )
    low, high = _limits(difference, standard_error, df, alpha)
    of = stats.norm if df is None else stats.t(df)
    return NoninferiorityTest(
        float(difference),
        low,
        high,
        float(of.sf((difference + margin) / standard_error)),
        float(margin),
        float(alpha),
        low > -margin,
    )


_NO_VARIANCE = (
    "The standard error is 0, so the uncertainty of the difference could not be "
    "estimated."
)


def _check(
    owner: str,
    difference: float,
    standard_error: float,
    df: float | None,
    margin: float,
    alpha: float,
) -> None:
    check_number(difference, "difference", owner)
    check_number(standard_error, "standard_error", owner, low=0)
    check_number(margin, "margin", owner, low=0, exclude_low=True)
    check_number(
        alpha, "alpha", owner, low=0, high=0.5, exclude_low=True, exclude_high=True
    )
    if df is not None:
        check_number(df, "df", owner, low=1, also="None")


def _limits(
    difference: float, standard_error: float, df: float | None, alpha: float
) -> tuple[float, float]:
    of = stats.norm if df is None else stats.t(df)
    reach = float(of.ppf(1.0 - alpha)) * standard_error
    return float(difference - reach), float(difference + reach)
