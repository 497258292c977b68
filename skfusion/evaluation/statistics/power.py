"""Differences that a study can detect, and numbers of patients for a gain.

The module depends only on numpy and scipy.
"""

from __future__ import annotations

import math

from scipy import stats

from skfusion._validation import check_number

__all__ = ["minimum_detectable_difference", "patients_for_gain"]


def minimum_detectable_difference(
    standard_error: float,
    df: float | None = None,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    r"""Compute the smallest true difference that a two-sided test is likely to find.

    The minimum detectable difference [1]_ depends on the standard error of the
    difference, not on the observed difference:

    .. math:: (t_{1 - \alpha/2} + t_{power}) \, se

    Parameters
    ----------
    standard_error : float
        Standard error of the difference.
    df : float or None, default=None
        Degrees of freedom of the t-test. None is a z-test.
    alpha : float, default=0.05
        Two-sided significance level. Divide it by the number of tests if several
        p-values are adjusted.
    power : float, default=0.8
        Probability to find the difference, from 0.5.

    Returns
    -------
    float
        In the unit of the standard error.

    Raises
    ------
    ValueError
        If a number is outside its range.

    Notes
    -----
    With degrees of freedom, the sum of two quantiles approximates the noncentral t
    distribution. The error is below 0.2 % at a power of 0.8 from 10 degrees of freedom.

    References
    ----------
    .. [1] Bloom HS (1995). Minimum detectable effects: a simple way to report the
       statistical power of experimental designs. Evaluation Review 19:547-556.

    Examples
    --------
    >>> from skfusion.evaluation import minimum_detectable_difference
    >>> round(minimum_detectable_difference(0.02), 4)
    0.056
    >>> round(minimum_detectable_difference(0.02, df=49, alpha=0.05 / 3), 4)
    0.0666
    """
    owner = "minimum_detectable_difference"
    check_number(standard_error, "standard_error", owner, low=0, exclude_low=True)
    if df is not None:
        check_number(df, "df", owner, low=1, also="None")
    check_number(
        alpha, "alpha", owner, low=0, high=1, exclude_low=True, exclude_high=True
    )
    check_number(power, "power", owner, low=0.5, high=1, exclude_high=True)
    of = stats.norm if df is None else stats.t(df)
    return float(of.ppf(1.0 - alpha / 2.0) + of.ppf(power)) * float(standard_error)


def patients_for_gain(n_patients: int, detectable: float, gain: float) -> int:
    """Compute how many patients are needed to detect a gain.

    The standard error shrinks with the square root of the number of patients, so the
    number is ``n_patients * (detectable / gain) ** 2``, rounded up [1]_.

    Parameters
    ----------
    n_patients : int
        Number of patients of the present study.
    detectable : float
        Its minimum detectable difference, from `minimum_detectable_difference`.
    gain : float
        Smallest gain of interest. It must be chosen before the study and never be the
        observed difference.

    Returns
    -------
    int
        Number of patients in the whole study, which is below `n_patients` for a gain
        above `detectable`.

    Raises
    ------
    ValueError
        If a number is not above 0.

    Notes
    -----
    The number is for patients like the present ones, at the same ratio of classes. It
    ignores that models are better if they are trained on more patients.

    References
    ----------
    .. [1] Bloom HS (1995). Minimum detectable effects: a simple way to report the
       statistical power of experimental designs. Evaluation Review 19:547-556.

    Examples
    --------
    >>> from skfusion.evaluation import patients_for_gain
    >>> patients_for_gain(200, detectable=0.056, gain=0.02)
    1568
    """
    owner = "patients_for_gain"
    check_number(n_patients, "n_patients", owner, low=1, integer=True)
    for name, value in (("detectable", detectable), ("gain", gain)):
        check_number(value, name, owner, low=0, exclude_low=True)
    needed = n_patients * (detectable / gain) ** 2
    # Rounding errors of a whole number do not make it one more.
    return math.ceil(needed * (1.0 - 1e-12))
