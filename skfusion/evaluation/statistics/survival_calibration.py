"""Calibration of survival curves: over all times (D-calibration), and at one time.

The module depends on numpy, scipy and pandas, besides the outcomes of
`skfusion.fusion.survival`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from skfusion._validation import check_confidence_level, check_number
from skfusion.evaluation.statistics.inputs import check_patients
from skfusion.evaluation.statistics.resampling import Interval
from skfusion.evaluation.statistics.survival_scores import (
    KaplanMeier,
    check_probabilities,
)
from skfusion.exceptions import DataWarning, warn_user
from skfusion.fusion.survival import SURVIVAL_DTYPE, check_survival

__all__ = ["CalibrationAtTime", "DCalibration", "calibration_at_time", "d_calibration"]


# Jumps of the curves below this probability are rounding errors.
SMALLEST_JUMP = 1e-6
# Risks of 0 and 1 have no complementary log-log.
NEAREST_TO_CERTAIN = 1e-6
# Terms of the inversion of a characteristic function.
N_TERMS = 5_000


@dataclass(frozen=True)
class DCalibration:
    """Result of a test of the distribution of predicted survival probabilities.

    Attributes
    ----------
    table : DataFrame of shape (n_bins, 4)
        ``low`` and ``high`` limits of the bins of the survival probability, the
        ``observed`` number of rows and the ``expected`` one.
    statistic : float
        Pearson's chi-square statistic of the observed numbers.
    weights : ndarray of shape (n_bins - 1,)
        Weights of the squares of standard normal variables, of which the statistic is
        the sum if the model is calibrated. All 1 without censoring.
    pvalue : float
        Probability of this or a greater statistic for a calibrated model.
    n_events : int
        Number of rows with an event.
    n_clusters : int
        Number of patients, or of rows if no patient ids were given.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import d_calibration
    >>> y = np.zeros(100, dtype=[("event", bool), ("time", float)])
    >>> y["event"], y["time"] = True, np.random.default_rng(0).exponential(size=100)
    >>> found = d_calibration(y, np.exp(-y["time"]), n_bins=4)
    >>> found.table["expected"].tolist(), found.n_events
    ([25.0, 25.0, 25.0, 25.0], 100)
    """

    __module__ = "skfusion.evaluation"

    table: pd.DataFrame
    statistic: float
    weights: np.ndarray
    pvalue: float
    n_events: int
    n_clusters: int


@dataclass(frozen=True)
class CalibrationAtTime:
    """Predicted and observed risks of an event by a time.

    Attributes
    ----------
    time : float
        The time.
    table : DataFrame of shape (n_groups, 6)
        One row per group of rising predicted risk: number of rows ``n``, number of
        ``events`` by the time, mean ``predicted`` risk, ``observed`` risk
        (Kaplan-Meier) and its confidence limits ``low`` and ``high``. NaN where no row
        of a group is followed up to the time.
    predicted : float
        Mean predicted risk.
    observed : Interval
        Observed risk (Kaplan-Meier).
    oe_ratio : Interval
        Observed divided by mean predicted risk. 1 if calibrated in the large.
    intercept : Interval
        Difference of the complementary log-log of observed and predicted risk. 0 if
        calibrated in the large. NaN without events.
    slope : Interval
        Slope of the complementary log-log of the observed risk on that of the predicted
        one. 1 if calibrated, below 1 if the predictions are too extreme. NaN without
        events or if all predictions are equal.
    confidence_level : float
        Nominal coverage of the intervals.
    n_events : int
        Number of events by the time.
    n_clusters : int
        Number of patients, or of rows if no patient ids were given.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import calibration_at_time
    >>> rng = np.random.default_rng(0)
    >>> y = np.zeros(200, dtype=[("event", bool), ("time", float)])
    >>> y["event"], y["time"] = True, rng.exponential(size=200)
    >>> survival = np.exp(-rng.uniform(0.8, 1.2, 200))
    >>> found = calibration_at_time(y, survival, 1.0, n_groups=2)
    >>> found.table["n"].tolist(), found.n_events
    ([100, 100], 117)
    """

    __module__ = "skfusion.evaluation"

    time: float
    table: pd.DataFrame
    predicted: float
    observed: Interval
    oe_ratio: Interval
    intercept: Interval
    slope: Interval
    confidence_level: float
    n_events: int
    n_clusters: int


def d_calibration(
    y: Any, survival: Any, *, n_bins: int = 10, groups: Any = None
) -> DCalibration:
    r"""Test whether predicted survival curves are calibrated over all times.

    The predicted probability of survival at the time of the event is uniformly
    distributed if the curves are those of the cases [1]_. The rows are counted in bins
    of equal width. A row that is censored with a survival probability s is distributed
    over the bins below s in proportion to their width.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Events and times of cases that were not used to fit the model.
    survival : array-like of shape (n_samples,) or (n_samples, 2)
        Functions of time, one per row, as ``predict_survival_function(X)`` returns, or
        the predicted probability of survival at the time of each row. Two columns are
        the probability just before this time and at it, for curves with jumps.
    n_bins : int, default=10
        Number of bins.
    groups : array-like of shape (n_samples,) or None, default=None
        Patient ids. If None, every row is treated as a separate patient.

    Returns
    -------
    DCalibration

    Raises
    ------
    ValueError
        If the shapes are inconsistent, a value is not a probability, or there are fewer
        than two patients.

    Notes
    -----
    Under censoring, the observed numbers vary less than those of a multinomial
    distribution, so the p-values of a chi-square distribution with ``n_bins - 1``
    degrees of freedom are too large. Here, the statistic has the distribution of a
    weighted sum of squares of normal variables [2]_, which is computed by inversion of
    its characteristic function [3]_. The weights are eigenvalues of the covariance of
    the numbers under a calibrated model with the observed censoring. If patients have
    several rows or the curves have jumps, the covariance is estimated from the rows,
    summed by patient. Without censoring, the test is Pearson's.

    An event at a jump of the curve is distributed over the bins of the jump. With
    rounded times, the probability at the time of the event alone would be too low.

    A model that predicts the same curve for everyone can be perfectly calibrated. The
    test has little power against errors that cancel out over the cases.

    References
    ----------
    .. [1] Haider H, Hoehn B, Davis S, Greiner R (2020). Effective ways to build and
       evaluate individual survival distributions. Journal of Machine Learning Research
       21(85):1-63.
    .. [2] Rao JNK, Scott AJ (1984). On chi-squared tests for multiway contingency
       tables with cell proportions estimated from survey data. Annals of Statistics
       12:46-60.
    .. [3] Davies RB (1973). Numerical inversion of a characteristic function.
       Biometrika 60:415-417.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import d_calibration
    >>> rng = np.random.default_rng(0)
    >>> time, last = rng.exponential(size=(2, 500))
    >>> y = np.empty(500, dtype=[("event", bool), ("time", float)])
    >>> y["event"], y["time"] = time <= last, np.minimum(time, last)
    >>> right = d_calibration(y, np.exp(-y["time"]))
    >>> wrong = d_calibration(y, np.exp(-1.5 * y["time"]))
    >>> right.pvalue > 0.05, wrong.pvalue < 0.001
    (True, True)
    """
    owner = "d_calibration"
    check_number(n_bins, "n_bins", owner, low=2, integer=True)
    outcome = check_survival(y, owner)
    before, at = _bounds(outcome, survival, owner)
    patient, n_clusters = check_patients(groups, len(outcome), owner)
    n_rows, n_bins = len(outcome), int(n_bins)
    edges = np.linspace(0, 1, n_bins + 1)
    share = _shares(outcome["event"], before, at, edges)
    counts, expected = share.sum(axis=0), n_rows / n_bins
    statistic = float(((counts - expected) ** 2).sum() / expected)
    jumps = (before - at)[outcome["event"]].max() > SMALLEST_JUMP
    if n_clusters == n_rows and not jumps:
        covariance = n_rows * _covariance_of_shares(outcome["event"], at, n_bins)
    else:
        among = np.zeros((n_clusters, n_bins))
        np.add.at(among, patient, share - 1 / n_bins)
        covariance = among.T @ among
    # The numbers add up to that of the rows, so one eigenvalue is 0.
    weights = np.clip(np.linalg.eigvalsh(covariance / expected)[:0:-1], 0, None)
    pvalue = _tail_of_weighted_squares(statistic, weights)
    table = pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "observed": counts,
            "expected": np.full(n_bins, expected),
        }
    )
    n_events = int(outcome["event"].sum())
    return DCalibration(table, statistic, weights, pvalue, n_events, n_clusters)


def _tail_of_weighted_squares(value: float, weights: np.ndarray) -> float:
    """Return the probability that a weighted sum of normal squares exceeds a value."""
    used = weights[weights > 1e-6 * weights.max()]
    if not len(used):  # The model excludes any event in the follow-up.
        return float(value < 1e-9)
    if len(used) == 1:
        return float(stats.chi2.sf(value / used[0], 1))
    # The sum is below zero or beyond the period with a probability of about 1e-10.
    period = max(value, used.max() * stats.chi2.isf(1e-10, len(used)))
    place = np.arange(N_TERMS) + 0.5
    angle = 2 * np.pi / period * place
    twice = 2 * np.outer(angle, used)
    phase = np.arctan(twice).sum(axis=1) / 2 - angle * value
    size = np.exp(-np.log1p(twice**2).sum(axis=1) / 4)
    tail = 0.5 + (np.sin(phase) * size / place).sum() / np.pi
    return float(np.clip(tail, 0.0, 1.0))


def _bounds(y: np.ndarray, survival: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of survival just before each time of `y`, and at it."""
    values = np.asarray(survival)
    if values.dtype == object and values.shape == y.shape and callable(values[0]):
        # An event can only be at time 0 or later, so nobody is lost before it.
        pairs = [
            (float(curve(np.nextafter(t, 0.0))) if t > 0 else 1.0, float(curve(t)))
            for curve, t in zip(values, y["time"], strict=True)
        ]
        values = np.array(pairs)
    shape = (len(y), 2) if values.ndim == 2 else (len(y),)
    found = check_probabilities(values, shape, "survival", owner)
    if found.ndim == 1:
        return found, found
    before, at = found.T
    rising = before < at
    if rising.any():
        raise ValueError(
            f"{owner}: {rising.sum()} of {len(y)} rows of survival rise. The first "
            "column is the probability just before the time of the row, the second "
            "that at it, which cannot be greater."
        )
    return before, at


def _shares(
    event: np.ndarray, before: np.ndarray, at: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Return the share of each row in each bin, (n_samples, n_bins)."""
    low, high = np.where(event, at, 0.0), np.where(event, before, at)
    width = high - low
    inside = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    share = np.clip(inside, 0, None) / np.where(width > 0, width, 1.0)[:, None]
    # A width near 0 is a point, whose quotient would be a rounding error.
    points = np.flatnonzero(width <= SMALLEST_JUMP)
    place = np.minimum(at[points] * (len(edges) - 1), len(edges) - 2).astype(int)
    share[points] = 0.0
    share[points, place] = 1.0
    return share


def _covariance_of_shares(event: np.ndarray, at: np.ndarray, n_bins: int) -> np.ndarray:
    r"""Return the covariance of the shares of a row for a calibrated model.

    With :math:`v = 1 - s` as the time, the event of a calibrated model has the hazard
    :math:`1 / (1 - v)`. An event in bin j changes the expected share of this bin by
    :math:`(1 - b) / (1 - v)`, where b is the end of the bin, and that of each later bin
    by minus its width divided by :math:`1 - v`. The covariance is the integral of the
    products of these changes over the hazard, as long as a row is not censored.
    """
    lost = np.empty(len(at), dtype=SURVIVAL_DTYPE)
    lost["event"], lost["time"] = event, 1 - at
    free = KaplanMeier(lost, of_censoring=True)
    starts = np.arange(n_bins - 1) / n_bins
    end = starts[-1] + 1 / n_bins  # The last bin is certain once it is reached.
    points = np.unique(np.r_[starts, free.times_[free.times_ < end], end])
    weight = free.at(points[:-1]) * np.diff(1 / (1 - points))
    bins = np.searchsorted(starts, points[:-1], side="right") - 1
    total = np.bincount(bins, weight, minlength=n_bins - 1)
    change = -np.triu(np.ones((n_bins - 1, n_bins)), k=1) / n_bins
    change[np.arange(n_bins - 1), np.arange(n_bins - 1)] = 1 - (starts + 1 / n_bins)
    # The bins are in the order of v, i.e. of falling probability.
    return ((change * total[:, None]).T @ change)[::-1, ::-1]


def calibration_at_time(
    y: Any,
    survival: Any,
    time: float,
    *,
    n_groups: int = 5,
    groups: Any = None,
    confidence_level: float = 0.95,
) -> CalibrationAtTime:
    r"""Compare the predicted risks of an event by a time with the observed ones.

    The observed risk is estimated by Kaplan and Meier in groups of equal size of rising
    predicted risk, and in all cases.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Events and times of cases that were not used to fit the model.
    survival : array-like of shape (n_samples,) or (n_samples, 1)
        Predicted probability of survival at the time, e.g.
        ``predict_survival_function(X, [time])``.
    time : float
        Time within the follow-up, above 0.
    n_groups : int, default=5
        Number of groups. Equal predictions are in the same group, so there can be
        fewer.
    groups : array-like of shape (n_samples,) or None, default=None
        Patient ids. If None, every row is treated as a separate patient.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence intervals.

    Returns
    -------
    CalibrationAtTime

    Raises
    ------
    ValueError
        If the shapes are inconsistent, a value is not a probability, no row is followed
        up to the time, or there are fewer than two patients.

    Warns
    -----
    DataWarning
        If a group has no row that is followed up to the time, or risks are 0 or 1.
    ConvergenceWarning
        If the intercept or slope cannot be estimated.

    Notes
    -----
    The standard error of the Kaplan-Meier estimate is computed from the influence of
    each row, summed by patient. With one row per patient, it is Greenwood's. The limits
    are computed on the scale of the complementary log-log. Without any event, the
    upper limit is the exact binomial one for the patients that are followed up to the
    time. The limits of the ratio of observed and predicted risk are computed by the
    delta method, because both vary with the sample of patients.

    The intercept and slope are those of a regression of the pseudo-observations [1]_ of
    the event with the link :math:`\log(-\log(1 - p))`, as McLernon et al. [2]_
    recommend. The residuals are uncorrelated with the predictors, so the sums of
    observed and recalibrated risks are equal. Their standard errors are robust, by
    patient. Without censoring, the pseudo-observations are the events themselves.

    All estimates require that the censoring does not depend on the features. In the
    groups, it must not depend on other features than the predicted risk.

    References
    ----------
    .. [1] Andersen PK, Pohar Perme M (2010). Pseudo-observations in survival analysis.
       Statistical Methods in Medical Research 19:71-99.
    .. [2] McLernon DJ, Giardiello D, Van Calster B, et al. (2023). Assessing
       performance and clinical usefulness in prediction models with survival outcomes:
       practical guidance for Cox proportional hazards models. Annals of Internal
       Medicine 176:105-114.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import calibration_at_time
    >>> rng = np.random.default_rng(0)
    >>> rate = np.exp(rng.normal(size=1000))
    >>> time, last = rng.exponential(1 / rate), rng.exponential(size=1000)
    >>> y = np.empty(1000, dtype=[("event", bool), ("time", float)])
    >>> y["event"], y["time"] = time <= last, np.minimum(time, last)
    >>> found = calibration_at_time(y, np.exp(-rate * 0.5), 0.5)
    >>> found.table["n"].tolist()
    [200, 200, 200, 200, 200]
    >>> found.slope.low < 1 < found.slope.high
    True
    """
    owner = "calibration_at_time"
    check_number(time, "time", owner, low=0, exclude_low=True)
    check_number(n_groups, "n_groups", owner, low=1, integer=True)
    check_confidence_level(confidence_level, owner)
    outcome = check_survival(y, owner)
    n_rows = len(outcome)
    column = np.asarray(survival)
    shape = (n_rows, 1) if column.ndim == 2 else (n_rows,)
    column = check_probabilities(column, shape, "survival", owner).reshape(n_rows)
    risk = 1 - column
    patient, n_clusters = check_patients(groups, n_rows, owner)
    observed, influence = _observed_risk(outcome, time, patient, confidence_level)
    if np.isnan(observed.estimate):
        raise ValueError(
            f"{owner}: no row is followed up to time={time:g}. The last time in y is "
            f"{outcome['time'].max():g}. Use an earlier time."
        )
    # Infinitesimal jackknife of the Kaplan-Meier estimate.
    pseudo = observed.estimate + n_rows * influence
    intercept, slope = _recalibration(pseudo, column, patient, confidence_level)
    ratio = _ratio(observed, influence, risk, patient, confidence_level)
    table = _table_of_groups(
        outcome, risk, time, patient, int(n_groups), confidence_level
    )
    return CalibrationAtTime(
        float(time),
        table,
        float(risk.mean()),
        observed,
        ratio,
        intercept,
        slope,
        confidence_level,
        int(table["events"].sum()),
        n_clusters,
    )


def _ratio(
    observed: Interval,
    influence: np.ndarray,
    risk: np.ndarray,
    patient: np.ndarray,
    confidence_level: float,
) -> Interval:
    """Return observed divided by mean predicted risk, by the delta method.

    Both vary between samples of patients, and in the same direction.
    """
    predicted = float(risk.mean())
    if predicted == 0:
        return Interval(np.nan, np.nan, np.nan)
    estimate = observed.estimate / predicted
    if observed.estimate in (0.0, 1.0):
        return Interval(estimate, observed.low / predicted, observed.high / predicted)
    parts = influence / observed.estimate - (risk / predicted - 1) / len(risk)
    error = np.sqrt((np.bincount(patient, parts) ** 2).sum())
    reach = float(np.exp(stats.norm.ppf((1 + confidence_level) / 2) * error))
    return Interval(estimate, estimate / reach, estimate * reach)


def _table_of_groups(
    y: np.ndarray,
    risk: np.ndarray,
    time: float,
    patient: np.ndarray,
    n_groups: int,
    confidence_level: float,
) -> pd.DataFrame:
    """Return the table of `CalibrationAtTime`."""
    # The midpoint of equal predictions decides, so that they are in the same group.
    middle = (stats.rankdata(risk) - 0.5) / len(risk)
    number = np.minimum((middle * n_groups).astype(int), n_groups - 1)
    rows = []
    for group in np.unique(number):
        members = number == group
        found, _ = _observed_risk(y[members], time, patient[members], confidence_level)
        events = y["event"][members] & (y["time"][members] <= time)
        rows.append(
            {
                "n": int(members.sum()),
                "events": int(events.sum()),
                "predicted": float(risk[members].mean()),
                "observed": found.estimate,
                "low": found.low,
                "high": found.high,
            }
        )
    table = pd.DataFrame(rows)
    n_unknown = int(table["observed"].isna().sum())
    if n_unknown:
        warn_user(
            f"calibration_at_time: no row of {n_unknown} of {len(table)} groups of "
            f"predicted risk is followed up to time={time:g}, so their observed risk "
            "is unknown (NaN). Use an earlier time or fewer groups.",
            DataWarning,
        )
    return table


def _observed_risk(
    y: np.ndarray, time: float, patient: np.ndarray, confidence_level: float
) -> tuple[Interval, np.ndarray]:
    """Return the Kaplan-Meier risk by a time, and the influence of each row on it.

    The risk is NaN if no row is followed up to the time.
    """
    curve = KaplanMeier(y)
    survival = float(curve.at(np.array(time)))
    if survival > 0 and curve.times_[-1] < time:
        return Interval(np.nan, np.nan, np.nan), np.full(len(y), np.nan)
    tail = (1 - confidence_level) / 2
    if survival == 0:
        low = tail ** (1 / len(np.unique(patient)))
        return Interval(1.0, low, 1.0), np.zeros(len(y))
    used = curve.times_ <= time
    left = (curve.at_risk_ - curve.events_)[used]
    hazard = curve.events_[used] / curve.at_risk_[used]
    exposure = np.r_[0.0, np.cumsum(hazard / left)]
    stop = np.searchsorted(curve.times_[used], y["time"], side="right")
    had_event = y["event"] & (y["time"] <= time)
    jump = np.where(had_event, 1 / np.r_[1.0, left][stop], 0.0)
    influence = survival * (jump - exposure[stop])
    if survival == 1:
        n_followed = len(np.unique(patient[y["time"] >= time]))
        return Interval(0.0, 0.0, 1 - tail ** (1 / n_followed)), influence
    by_patient = np.bincount(np.unique(patient, return_inverse=True)[1], influence)
    error = np.sqrt((by_patient**2).sum()) / abs(survival * np.log(survival))
    reach = np.exp(stats.norm.ppf(1 - tail) * error)
    return (
        Interval(1 - survival, 1 - survival ** (1 / reach), 1 - survival**reach),
        influence,
    )


def _recalibration(
    pseudo: np.ndarray,
    survival: np.ndarray,
    patient: np.ndarray,
    confidence_level: float,
) -> tuple[Interval, Interval]:
    """Return the intercept for a slope of 1, and the slope with a free intercept."""
    unknown = Interval(np.nan, np.nan, np.nan)
    certain = (survival == 0) | (survival == 1)
    if certain.any():
        warn_user(
            f"calibration_at_time: {certain.sum()} of {len(survival)} predicted risks "
            f"are 0 or 1. They count as {NEAREST_TO_CERTAIN:g} from these for the "
            "intercept and slope.",
            DataWarning,
        )
        nearest = np.clip(survival, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN)
        survival = np.where(certain, nearest, survival)
    linear = np.log(-np.log(survival))
    ones = np.ones((len(survival), 1))
    z = float(stats.norm.ppf((1 + confidence_level) / 2))
    found = []
    for design, offset in (
        (ones, linear),
        (np.c_[linear - linear.mean(), ones], np.zeros(len(survival))),
    ):
        constant = design.shape[1] > 1 and np.ptp(linear) < 1e-9
        if constant or not 0 < pseudo.mean() < 1:
            found.append(unknown)
            continue
        coef, error = _complementary_log_log(design, offset, pseudo, patient)
        found.append(Interval(coef, coef - z * error, coef + z * error))
    intercept, slope = found
    n_failed = sum(np.isnan(part.estimate) for part in found if part is not unknown)
    if n_failed:
        warn_user(
            "calibration_at_time: the regression of the pseudo-observations did not "
            f"converge for {n_failed} of intercept and slope, which are NaN. There are "
            "too few events for the estimate, or the predictions separate them.",
            ConvergenceWarning,
        )
    return intercept, slope


def _complementary_log_log(
    design: np.ndarray, offset: np.ndarray, pseudo: np.ndarray, patient: np.ndarray
) -> tuple[float, float]:
    """Return the first coefficient of a regression, and its robust standard error.

    The estimating equations are the gradient of a convex function, whose minimum is
    found by Newton's method. Both numbers are NaN if it does not converge.
    """
    coef = np.zeros(design.shape[1])
    mean = np.clip(pseudo.mean(), 1e-6, 1 - 1e-6)
    coef[-1] = np.log(-np.log1p(-mean)) - offset.mean()
    for _ in range(100):
        hazard = np.exp(np.clip(design @ coef + offset, -20, 20))
        scores = design * (pseudo + np.expm1(-hazard))[:, None]
        information = (design * (hazard * np.exp(-hazard))[:, None]).T @ design
        try:
            step = np.linalg.solve(information, scores.sum(axis=0))
        except np.linalg.LinAlgError:
            break
        coef = coef + np.clip(step, -0.5, 0.5)
        if np.abs(step).max() < 1e-9:
            by_patient = np.zeros((patient.max() + 1, design.shape[1]))
            np.add.at(by_patient, patient, scores)
            bread = np.linalg.inv(information)
            covariance = bread @ (by_patient.T @ by_patient) @ bread
            return float(coef[0]), float(np.sqrt(covariance[0, 0]))
    return np.nan, np.nan
