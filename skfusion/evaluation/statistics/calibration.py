"""Calibration of predicted probabilities: intercept, slope, ratio and curve.

The module depends only on numpy and scipy, and on pandas for patient ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from skfusion._validation import check_confidence_level, check_number
from skfusion.evaluation.statistics.bootstrap import patient_bootstrap
from skfusion.evaluation.statistics.inputs import (
    check_outcome,
    check_patients,
    check_probability,
    need_both_classes,
)

__all__ = [
    "CalibrationCurve",
    "CalibrationEstimate",
    "CalibrationSummary",
    "calibration_curve_data",
    "calibration_summary",
]

CLIP = 1e-6  # probabilities are at least this far from 0 and 1 on the logit scale
FEWEST_CASES = 100  # events and non-events of a calibration curve
MOST_STEPS = 100  # of Newton's method


@dataclass(frozen=True)
class CalibrationEstimate:
    """Estimate with its clustered standard error and confidence interval.

    Attributes
    ----------
    estimate : float
        The estimate, NaN if it does not exist.
    standard_error : float
        Its standard error. That of a ratio is on the logarithmic scale.
    low, high : float
        Limits of the confidence interval.

    Examples
    --------
    >>> from skfusion.evaluation import calibration_summary
    >>> found = calibration_summary([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    >>> slope = found.slope
    >>> slope.low < slope.estimate < slope.high
    True
    """

    __module__ = "skfusion.evaluation"

    estimate: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationSummary:
    """Calibration of predicted probabilities in the large and by slope.

    Attributes
    ----------
    intercept, slope : CalibrationEstimate
        Coefficients of the logistic regression of the outcome on the logit of the
        probability. They are 0 and 1 under good calibration. A slope below 1 means that
        the predictions are too extreme.
    in_the_large : CalibrationEstimate
        Intercept at a slope of 1. Above 0, the predicted risks are too low on average.
    observed_expected : CalibrationEstimate
        Ratio of the number of events to the sum of the probabilities. It is 1 under
        good calibration. Its standard error is that of the logarithm.
    n_cases, n_events : int
        Number of cases and of positive cases.
    n_clusters : int
        Number of patients, or of cases if no patient ids were given.
    n_clipped : int
        Number of probabilities that were moved to 1e-6 or 1 - 1e-6, because the logit
        of 0 and 1 is infinite.
    reason : str
        Why an estimate is NaN. Empty if none is.

    Examples
    --------
    >>> from skfusion.evaluation import calibration_summary
    >>> found = calibration_summary([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    >>> found.n_cases, found.n_events, round(found.observed_expected.estimate, 2)
    (6, 3, 1.07)
    """

    __module__ = "skfusion.evaluation"

    intercept: CalibrationEstimate
    slope: CalibrationEstimate
    in_the_large: CalibrationEstimate
    observed_expected: CalibrationEstimate
    n_cases: int
    n_events: int
    n_clusters: int
    n_clipped: int
    reason: str = ""


@dataclass(frozen=True)
class CalibrationCurve:
    """Observed proportions in bins of the predicted probability.

    Attributes
    ----------
    predicted : ndarray of shape (n_bins,)
        Mean predicted probability of each bin.
    observed : ndarray of shape (n_bins,)
        Proportion of positive cases of each bin.
    low, high : ndarray of shape (n_bins,)
        Limits of the pointwise confidence intervals of the observed proportions.
    n_cases, n_events : ndarray of int of shape (n_bins,)
        Number of cases and of positive cases of each bin.
    n_clusters : int
        Number of patients, or of cases if no patient ids were given.
    reason : str
        Why there is no curve, in which case the arrays are empty. Empty if there is
        one.

    Examples
    --------
    >>> from skfusion.evaluation import calibration_curve_data
    >>> curve = calibration_curve_data([0, 1], [0.2, 0.7])
    >>> curve.predicted.tolist(), curve.reason
    ([], '1 cases with events and 1 without, expected at least 100 of each.')
    """

    __module__ = "skfusion.evaluation"

    predicted: np.ndarray
    observed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_cases: np.ndarray
    n_events: np.ndarray
    n_clusters: int
    reason: str = ""


def calibration_summary(
    y: Any,
    probability: Any,
    *,
    groups: Any = None,
    confidence_level: float = 0.95,
) -> CalibrationSummary:
    r"""Estimate how well predicted probabilities are calibrated.

    The calibration intercept and slope come from a logistic regression of the outcome
    on the logit of the probability [1]_, calibration-in-the-large from the same model
    with a slope of 1, and the ratio of observed to expected events from the totals.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    probability : array-like of shape (n,)
        Predicted probabilities of the positive class, of cases that the model was not
        trained on.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, every case is treated as a separate patient.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence intervals.

    Returns
    -------
    CalibrationSummary
        The intercept and slope are NaN, with a reason, if they do not exist: for
        probabilities that are all equal or separate the classes.

    Raises
    ------
    ValueError
        If the lengths differ, a value is missing or outside its range, `y` is not coded
        as 0 and 1, a class is missing, or there are fewer than two patients.

    Notes
    -----
    Standard errors are from the sandwich estimator, clustered by patient, with the
    factor :math:`G / (G - 1) \cdot (n - 1) / (n - k)` (CR1) for G patients, n cases and
    k coefficients [2]_. The limits use the normal distribution. Those of the ratio are
    on the logarithmic scale, and its factor is :math:`G / (G - 1)`. The clipped
    probabilities are used for the logit only.

    References
    ----------
    .. [1] Van Calster B, McLernon DJ, van Smeden M, Wynants L, Steyerberg EW (2019).
       Calibration: the Achilles heel of predictive analytics. BMC Medicine 17:230.
    .. [2] Cameron AC, Miller DL (2015). A practitioner's guide to cluster-robust
       inference. Journal of Human Resources 50:317-372.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import calibration_summary
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.uniform(0.1, 0.9, 500)
    >>> y = rng.uniform(size=500) < risk
    >>> found = calibration_summary(y, risk)
    >>> print(f"{found.slope.estimate:.2f} ({found.slope.low:.2f} to "
    ...       f"{found.slope.high:.2f})")
    1.14 (0.92 to 1.37)
    """
    owner = "calibration_summary"
    check_confidence_level(confidence_level, owner)
    positive = check_outcome(y, owner)
    values = check_probability(probability, len(positive), owner)
    need_both_classes(positive, owner)
    patient, n_clusters = check_patients(groups, len(positive), owner)
    clipped = np.clip(values, CLIP, 1.0 - CLIP)
    odds = logit(clipped)
    outcome = positive.astype(np.float64)
    z = float(stats.norm.ppf(0.5 + confidence_level / 2.0))
    reasons = [_no_slope(positive, odds)]
    intercept = slope = in_the_large = _UNKNOWN
    if not reasons[0]:
        design = np.column_stack([np.ones(len(odds)), odds])
        found = _fit(outcome, design, np.zeros(len(odds)), patient, n_clusters)
        if found is None:
            reasons.append("The regression for the slope did not converge.")
        else:
            intercept, slope = (_wald(*pair, z) for pair in zip(*found, strict=True))
            if np.isnan(found[1]).any():
                reasons.append(
                    f"{n_clusters} patients are too few for standard errors of the "
                    "intercept and slope."
                )
    found = _fit(outcome, np.ones((len(odds), 1)), odds, patient, n_clusters)
    if found is None:
        reasons.append("The regression for calibration-in-the-large did not converge.")
    else:
        in_the_large = _wald(found[0][0], found[1][0], z)
    if not values.any():
        reasons.append("All probabilities are 0, so no event is expected.")
    return CalibrationSummary(
        intercept,
        slope,
        in_the_large,
        _observed_expected(outcome, values, patient, n_clusters, z),
        n_cases=len(positive),
        n_events=int(positive.sum()),
        n_clusters=n_clusters,
        n_clipped=int((clipped != values).sum()),
        reason=" ".join(filter(None, reasons)),
    )


_UNKNOWN = CalibrationEstimate(np.nan, np.nan, np.nan, np.nan)


def _wald(estimate: float, error: float, z: float) -> CalibrationEstimate:
    estimate, error = float(estimate), float(error)
    return CalibrationEstimate(
        estimate, error, estimate - z * error, estimate + z * error
    )


def _no_slope(positive: np.ndarray, odds: np.ndarray) -> str:
    """Return why a logistic regression has no finite slope, or an empty string."""
    events, others = odds[positive], odds[~positive]
    if odds.min() == odds.max():
        return "All probabilities are equal, so there is no intercept and slope."
    if others.max() <= events.min() or events.max() <= others.min():
        return (
            "The probabilities separate the classes, so the intercept and slope are "
            "infinite."
        )
    return ""


def _fit(
    outcome: np.ndarray,
    design: np.ndarray,
    offset: np.ndarray,
    patient: np.ndarray,
    n_clusters: int,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Fit a logistic regression, and return coefficients and clustered errors.

    None is returned if Newton's method does not converge.
    """
    n_cases, n_columns = design.shape
    coefficients = np.zeros(n_columns)
    level = _log_likelihood(outcome, offset)
    for _ in range(MOST_STEPS):
        risk = expit(design @ coefficients + offset)
        residuals = design * (outcome - risk)[:, None]
        hessian = (design * (risk * (1.0 - risk))[:, None]).T @ design
        if np.linalg.cond(hessian) > 1e15:
            return None
        step = np.linalg.solve(hessian, residuals.sum(axis=0))
        # Halve a step that overshoots. At the end, only rounding errors are left.
        for _ in range(50):
            link = design @ (coefficients + step) + offset
            if _log_likelihood(outcome, link) >= level - 1e-10 * abs(level):
                break
            step = step / 2.0
        coefficients = coefficients + step
        level = _log_likelihood(outcome, design @ coefficients + offset)
        if np.abs(step).max() <= 1e-10 * max(1.0, np.abs(coefficients).max()):
            break
    else:
        return None
    risk = expit(design @ coefficients + offset)
    residuals = design * (outcome - risk)[:, None]
    hessian = (design * (risk * (1.0 - risk))[:, None]).T @ design
    scores = np.column_stack(
        [np.bincount(patient, column, n_clusters) for column in residuals.T]
    )
    bread = np.linalg.inv(hessian)
    if n_clusters <= n_columns:  # the scores have a smaller rank than the coefficients
        return coefficients, np.full(n_columns, np.nan)
    factor = n_clusters / (n_clusters - 1) * (n_cases - 1) / (n_cases - n_columns)
    covariance = factor * bread @ (scores.T @ scores) @ bread
    return coefficients, np.sqrt(covariance.diagonal())


def _log_likelihood(outcome: np.ndarray, link: np.ndarray) -> float:
    return float((outcome * link - np.logaddexp(0.0, link)).sum())


def _observed_expected(
    outcome: np.ndarray,
    values: np.ndarray,
    patient: np.ndarray,
    n_clusters: int,
    z: float,
) -> CalibrationEstimate:
    """Return the ratio of events to expected events, by linearisation of its log."""
    observed, expected = outcome.sum(), values.sum()
    if expected == 0.0:
        return CalibrationEstimate(np.inf, np.nan, np.nan, np.nan)
    shares = np.bincount(patient, outcome / observed - values / expected, n_clusters)
    error = float(np.sqrt((shares**2).sum() * n_clusters / (n_clusters - 1)))
    ratio = float(observed / expected)
    return CalibrationEstimate(
        ratio,
        error,
        ratio * float(np.exp(-z * error)),
        ratio * float(np.exp(z * error)),
    )


def calibration_curve_data(
    y: Any,
    probability: Any,
    *,
    groups: Any = None,
    n_bins: int = 10,
    n_resamples: int = 2000,
    confidence_level: float = 0.95,
    random_state: Any = None,
) -> CalibrationCurve:
    """Compute a calibration curve in quantile bins, with a bootstrap band.

    A curve needs at least 100 events and 100 non-events [1]_. With fewer, the result
    has no curve and says so. Use `calibration_summary` then.

    Parameters
    ----------
    y : array-like of shape (n,)
        Outcome, coded as 0 and 1 or as bool.
    probability : array-like of shape (n,)
        Predicted probabilities of the positive class.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. Patients with events and patients with non-events are then counted
        and resampled, not cases.
    n_bins : int, default=10
        Number of bins with about the same number of cases. Equal probabilities are in
        one bin, which can leave fewer bins.
    n_resamples : int, default=2000
        Number of bootstrap samples. The bins remain the same in all samples.
    confidence_level : float, default=0.95
        Nominal coverage of the interval of each bin.
    random_state : int, RandomState or None, default=None
        Random state of the samples.

    Returns
    -------
    CalibrationCurve

    Raises
    ------
    ValueError
        If the lengths differ, a value is missing or outside its range, `y` is not coded
        as 0 and 1, a class is missing, or there are fewer than two patients.

    Notes
    -----
    A bin without events, or with events only, has the same proportion in all samples.
    Its limits are those of Clopper and Pearson for its number of patients.

    References
    ----------
    .. [1] Van Calster B, McLernon DJ, van Smeden M, Wynants L, Steyerberg EW (2019).
       Calibration: the Achilles heel of predictive analytics. BMC Medicine 17:230.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import calibration_curve_data
    >>> rng = np.random.default_rng(0)
    >>> risk = rng.uniform(size=500)
    >>> y = rng.uniform(size=500) < risk
    >>> curve = calibration_curve_data(
    ...     y, risk, n_bins=4, n_resamples=200, random_state=0)
    >>> curve.predicted.round(2).tolist(), curve.observed.round(2).tolist()
    ([0.14, 0.43, 0.66, 0.89], [0.14, 0.38, 0.67, 0.9])
    >>> calibration_curve_data(y[:100], risk[:100]).reason
    '54 cases with events and 46 without, expected at least 100 of each.'
    """
    owner = "calibration_curve_data"
    check_confidence_level(confidence_level, owner)
    check_number(n_bins, "n_bins", owner, low=2, integer=True)
    check_number(n_resamples, "n_resamples", owner, low=2, integer=True)
    positive = check_outcome(y, owner)
    values = check_probability(probability, len(positive), owner)
    need_both_classes(positive, owner)
    patient, n_clusters = check_patients(groups, len(positive), owner)
    events, others = (len(np.unique(patient[rows])) for rows in (positive, ~positive))
    if min(events, others) < FEWEST_CASES:
        none, counts = np.empty(0), np.empty(0, dtype=np.int64)
        unit = "cases" if groups is None else "patients"
        return CalibrationCurve(
            *(none, none, none, none, counts, counts),
            n_clusters=n_clusters,
            reason=f"{events} {unit} with events and {others} without, expected at "
            f"least {FEWEST_CASES} of each.",
        )
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    numbers, bins = np.unique(
        np.searchsorted(edges, values, side="left"), return_inverse=True
    )
    n_used = len(numbers)

    def shares(bins: np.ndarray, positive: np.ndarray) -> np.ndarray:
        cases = np.bincount(bins, minlength=n_used)
        return np.asarray(np.bincount(bins, positive, n_used) / cases)

    band = patient_bootstrap(
        shares,
        bins,
        positive,
        groups=patient,
        n_resamples=n_resamples,
        confidence_level=confidence_level,
        random_state=random_state,
    )
    cases = np.bincount(bins)
    within = np.array([len(np.unique(patient[bins == k])) for k in range(n_used)])
    reach = 1.0 - (0.5 - confidence_level / 2.0) ** (1.0 / within)
    return CalibrationCurve(
        predicted=np.bincount(bins, values) / cases,
        observed=band.estimate,
        low=np.where(band.estimate == 1.0, 1.0 - reach, band.low),
        high=np.where(band.estimate == 0.0, reach, band.high),
        n_cases=cases,
        n_events=np.bincount(bins, positive).astype(np.int64),
        n_clusters=n_clusters,
    )
