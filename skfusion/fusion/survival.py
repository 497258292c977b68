"""Survival analysis: targets, concordance, survival curves, Cox and XGBoost models.

A risk is a number that is greater if the event is expected sooner, as in
scikit-survival.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, assert_all_finite, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._dependencies import require
from skfusion._fitting.state import undone_on_failure
from skfusion._fitting.survival_steps import check_parts
from skfusion._validation import check_number, check_option, check_weights
from skfusion.exceptions import warn_user
from skfusion.fusion.targets import Target, last_step

__all__ = [
    "ConcordanceScore",
    "CoxRidge",
    "SurvivalCurves",
    "SurvivalFunction",
    "SurvivalFusion",
    "SurvivalTimes",
    "XGBoostSurvival",
    "as_functions",
    "check_survival",
    "check_times",
    "concordance",
]


SURVIVAL_DTYPE = np.dtype([("event", bool), ("time", np.float64)])
_FORM = (
    "a structured array with a field of events (boolean, or 0 and 1) and a field of "
    "times, as sksurv.util.Surv makes it, or a table of two such columns"
)
# Strata of fewer rows than the usual number of folds cannot be in every fold.
FEWEST_IN_STRATUM = 5


def check_survival(y: Any, owner: str) -> np.ndarray:
    """Check the outcome of a survival analysis.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,), or DataFrame with 2 columns
        First a boolean field, whether the event was observed. Then the time of the
        event or of the censoring, above 0.
    owner : str
        Name of the estimator, for error messages.

    Returns
    -------
    structured ndarray of shape (n_samples,)
        Array with the fields ``event`` (bool) and ``time`` (float64).

    Raises
    ------
    ValueError
        If `y` has another form, a time is below 0, or all rows are censored.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.fusion.survival import check_survival
    >>> y = pd.DataFrame({"died": [True, False], "days": [3, 9]})
    >>> check_survival(y, "LateFusionSurvival")
    array([( True, 3.), (False, 9.)], dtype=[('event', '?'), ('time', '<f8')])
    """
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    event, time = _event_and_time(y, owner)
    checked = np.empty(len(event), dtype=SURVIVAL_DTYPE)
    checked["event"], checked["time"] = event, time
    assert_all_finite(checked["time"], input_name="y")
    early = np.flatnonzero(checked["time"] < 0)
    if len(early):
        raise ValueError(
            f"{owner}: {len(early)} of {len(time)} times in y are below 0, first at "
            f"row position(s) {early[:5].tolist()}. Times count from the index time. "
            "Leave out cases whose event lies before it."
        )
    if not event.any():
        raise ValueError(
            f"{owner}: all {len(event)} rows of y are censored, so there is no event "
            "to learn from."
        )
    return checked


def _event_and_time(y: Any, owner: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the events and the times of an outcome, in whatever order it has them."""
    if isinstance(y, pd.DataFrame):
        columns = {name: y[name] for name in y.columns}
        n_columns = y.shape[1]
    else:
        y = np.asarray(y)
        columns = {name: pd.Series(y[name]) for name in y.dtype.names or ()}
        n_columns = len(columns)
    if n_columns != 2 or len(columns) != 2:
        found = f"{n_columns} fields" if n_columns else f"an array of dtype {y.dtype}"
        entry = " An entry time (left truncation) is not supported."
        more = entry if n_columns == 3 else ""
        raise ValueError(f"{owner}: y must be {_FORM}, got {found}.{more}")
    events = [name for name in columns if _has_words_of_events(columns[name])]
    if not events:
        events = [name for name in columns if _is_zero_or_one(columns[name])]
    others = [name for name in columns if name not in events]
    if len(events) != 1 or not pd.api.types.is_numeric_dtype(columns[others[0]]):
        listed = " and ".join(
            f"{name!r} of dtype {column.dtype}" for name, column in columns.items()
        )
        hint = "Make the events boolean." if len(events) == 2 else ""
        raise ValueError(
            f"{owner}: y must be {_FORM}, got the fields {listed}. {hint}".rstrip()
        )
    event, time = columns[events[0]], columns[others[0]]
    return event.to_numpy(dtype=bool), time.to_numpy(dtype=np.float64, na_value=np.nan)


def _has_words_of_events(column: pd.Series) -> bool:
    """Return whether a column consists of True and False."""
    return pd.api.types.infer_dtype(column, skipna=False) == "boolean"


def _is_zero_or_one(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and bool(column.isin([0, 1]).all())


def concordance(
    y: np.ndarray,
    risk: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    event_weight: np.ndarray | None = None,
) -> float:
    """Compute Harrell's concordance index.

    Two rows are comparable if the earlier time is that of an event. A row that is
    censored at the time of an event counts as later. Two events at the same time are
    not comparable. The index is the share of comparable pairs in which the earlier
    event has the greater risk. Risks that differ by 1e-8 or less are tied and count
    one half. This is the definition of scikit-survival's
    ``concordance_index_censored``.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,)
        Fields ``event`` and ``time``.
    risk : ndarray of shape (n_samples,)
        Risks, finite.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows, 0 or more. A pair counts with the product of its weights.
    event_weight : ndarray of shape (n_samples,) or None, default=None
        Further weights of the rows, 0 or more, that count where a row is the earlier
        event of a pair.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If `risk` has another shape than `y`, a risk is not finite, or no two rows are
        comparable.

    References
    ----------
    Harrell, Lee and Mark, Statistics in Medicine 15:361-387, 1996.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.survival import concordance
    >>> y = np.array([(True, 1.0), (True, 2.0), (False, 3.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> concordance(y, np.array([0.5, 0.5, 0.1]))
    0.8333333333333334
    """
    values, ranks = np.unique(_checked_risk(y, risk), return_inverse=True)
    first, stop = _ties(values, tolerance=1e-8)
    # Rows are sorted by falling time, and censored rows come first within a time. The
    # rows comparable with an event are all rows before the first event of its time.
    order = np.lexsort((y["event"], -y["time"]))
    weight = np.ones(len(y)) if sample_weight is None else sample_weight[order]
    ranks, rows = ranks[order], np.flatnonzero(y["event"][order])
    earlier = weight[rows]
    if event_weight is not None:
        earlier = earlier * event_weight[order][rows]
    times = y["time"][order][rows]
    is_new = np.r_[True, times[1:] != times[:-1]][: len(rows)]
    n_later = rows[is_new][np.cumsum(is_new) - 1]
    n_pairs = earlier @ np.r_[0.0, np.cumsum(weight)][n_later]
    if not n_pairs:
        raise ValueError(
            f"concordance: no two of the {len(y)} rows are comparable "
            f"({len(rows)} with an event). A comparable pair needs an event and a row "
            "with a later time. Use more rows."
        )
    lower = _weight_below(ranks, weight, n_later, first[ranks[rows]])
    not_higher = _weight_below(ranks, weight, n_later, stop[ranks[rows]])
    return float(earlier @ (lower + not_higher) / 2 / n_pairs)


def _checked_risk(y: np.ndarray, risk: np.ndarray) -> np.ndarray:
    risk = np.asarray(risk)
    if risk.shape != y.shape:
        raise ValueError(
            f"concordance: risk must have the shape {y.shape} of y, one number per "
            f"row, got {risk.shape}."
        )
    if risk.dtype.kind != "f":
        risk = risk.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(risk))
    if len(wrong):
        raise ValueError(
            f"concordance: {len(wrong)} of {len(risk)} risks are NaN or infinite, "
            f"first at row position(s) {wrong[:5].tolist()}. Expected finite risks. "
            "Leave out these rows, or predict them by another model."
        )
    return risk


def _ties(values: np.ndarray, *, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the first position tied with each of the sorted values, and the last + 1.

    The bisection compares the difference of two values, because ``values - tolerance``
    would be rounded.
    """
    positions = np.arange(len(values))
    low, high = np.zeros_like(positions), positions.copy()
    while (low < high).any():
        middle = (low + high) // 2
        tied = values - values[middle] <= tolerance
        low, high = np.where(tied, low, middle + 1), np.where(tied, middle, high)
    return high, np.searchsorted(high, positions, side="right")


def _weight_below(
    ranks: np.ndarray, weight: np.ndarray, length: np.ndarray, limit: np.ndarray
) -> np.ndarray:
    """Add the weights of the ranks below each limit among the first `length` ones.

    A wavelet matrix answers all queries together, bit by bit from the highest, in
    O(n log n).
    """
    start, stop = np.zeros_like(length), length
    total = np.zeros(len(length))
    for bit in reversed(range(int(max(ranks.max(), limit.max())).bit_length())):
        is_zero = (ranks >> bit) & 1 == 0
        zeros = np.r_[0, np.cumsum(is_zero)]
        of_zeros = np.r_[0.0, np.cumsum(np.where(is_zero, weight, 0.0))]
        takes_one = (limit >> bit) & 1 == 1
        total += np.where(takes_one, of_zeros[stop] - of_zeros[start], 0.0)
        # Rows whose bit is 0 move to the front. The others follow them.
        start, stop = (
            np.where(takes_one, zeros[-1] + i - zeros[i], zeros[i])
            for i in (start, stop)
        )
        ranks = np.r_[ranks[is_zero], ranks[~is_zero]]
        weight = np.r_[weight[is_zero], weight[~is_zero]]
    return total


class SurvivalTimes(Target):
    """Target of times to an event, some of them censored.

    Parameters
    ----------
    owner : str
        Name of the estimator, for error messages.
    """

    kind = "survival"
    n_outputs = 1

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def encode(self, y: Any) -> np.ndarray:
        """Return a structured array with the fields ``event`` and ``time``."""
        return check_survival(y, self.owner)

    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the risks."""
        return np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1, 1)

    def summarise(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Set the fallback to 0, which the estimators replace by the mean risk."""
        self.fallback = np.zeros(1)

    def check_learner(self, estimator: Any, where: str) -> None:
        """Raise an error for a learner of another kind, or with a step for numbers.

        A `Pipeline` is fitted step by step, and each step gets a target that it can
        use. Steps inside another estimator, such as a search, get the times.
        """
        super().check_learner(estimator, where)
        check_parts(last_step(estimator))

    def strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return the event indicator, or None if hardly any row is censored."""
        n_events = int(y["event"].sum())
        is_rare = len(y) - n_events < FEWEST_IN_STRATUM <= n_events
        return None if y["event"].all() or is_rare else y["event"].astype(np.int64)

    def names_of_strata(self) -> dict[int, str]:
        """Return the event, because rows that are censored teach nothing alone."""
        return {1: "the event"}

    def problem(self, y: np.ndarray) -> str | None:
        """Return a message if all times are censored, else None."""
        return None if y["event"].any() else "all times are censored"

    def result(self, scores: np.ndarray) -> np.ndarray:
        """Return one risk per row as a 1-D array."""
        return scores[:, 0]

    @property
    def output_names(self) -> list[str]:
        """Name of the only output, ``risk``."""
        return ["risk"]


class SurvivalFunction:
    """Survival probability of one case as a function of time.

    It has the attributes and the call of `sksurv.functions.StepFunction`, so that the
    metrics of scikit-survival use it.

    Parameters
    ----------
    x : ndarray of shape (n_points,)
        Rising times.
    y : ndarray of shape (n_points,)
        Probability that the event has not occurred by each time.
    constant_hazard : bool, default=False
        Whether the hazard is constant between the times. If False, the probability is.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.survival import SurvivalFunction
    >>> survival = SurvivalFunction(np.array([1.0, 3.0]), np.array([0.8, 0.5]))
    >>> survival([0, 1, 2, 9])
    array([1. , 0.8, 0.8, 0.5])
    >>> survival.domain
    (0.0, inf)
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, *, constant_hazard: bool = False
    ) -> None:
        self.x = x
        self.y = y
        self.constant_hazard = constant_hazard

    @property
    def domain(self) -> tuple[float, float]:
        """Times at which the function has a value. It is constant after the last."""
        return 0.0, np.inf

    def __call__(self, x: Any) -> Any:
        """Return the probability at one or several times."""
        times = check_times(x, type(self).__name__)
        if self.constant_hazard:
            with np.errstate(divide="ignore"):  # a probability of 0
                return np.exp(np.interp(times, self.x, np.log(self.y)))
        return np.r_[1.0, self.y][np.searchsorted(self.x, times, side="right")]

    def __repr__(self) -> str:
        """Return the number of times."""
        return f"SurvivalFunction({len(self.x)} times)"


def check_times(times: Any, owner: str) -> np.ndarray:
    """Return times of survival curves, and raise if one is not finite or below 0."""
    checked = np.asarray(times, dtype=np.float64)
    if not np.isfinite(checked).all() or (checked < 0).any():
        raise ValueError(
            f"{owner}: times must be finite numbers of 0 or more, counted from the "
            "index time."
        )
    return checked


def as_functions(x: np.ndarray, Y: np.ndarray, **options: Any) -> np.ndarray:
    """Return one `SurvivalFunction` per row of probabilities at the times `x`."""
    functions = np.empty(len(Y), dtype=object)
    for i, y in enumerate(Y):
        functions[i] = SurvivalFunction(x, y, **options)
    return functions


class SurvivalCurves:
    r"""Survival curves from risks, by Cox's model with the risk as its covariate.

    The slope :math:`\beta` maximises the partial likelihood, with Breslow's treatment
    of ties. The cumulative baseline hazard :math:`H_0` is Breslow's estimate. The
    survival curve is :math:`S(t) = \exp(-H_0(t) e^{\beta r})`.

    References
    ----------
    Cox, Journal of the Royal Statistical Society B 34:187-220, 1972; Breslow's
    contribution to its discussion, 216-217.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.survival import SurvivalCurves, check_survival
    >>> y = np.array([(True, 1.0), (True, 2.0), (False, 2.5), (True, 3.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> curves = SurvivalCurves().fit(np.zeros(4), y)
    >>> curves.predict(np.zeros(1), np.array([0.5, 1.0, 9.0])).round(3)
    array([[1.   , 0.779, 0.205]])
    """

    def fit(
        self, risk: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> SurvivalCurves:
        """Fit the slope and the baseline hazard.

        Parameters
        ----------
        risk : ndarray of shape (n_samples,)
            Risks, preferably out-of-fold.
        y : structured ndarray of shape (n_samples,)
            Fields ``event`` and ``time``.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the rows.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        used = weight > 0
        self.mean_ = float(np.average(risk[used], weights=weight[used]))
        deviation = (risk[used] - self.mean_) ** 2
        spread = np.sqrt(np.average(deviation, weights=weight[used]))
        self.scale_ = float(spread) if spread > 1e-12 else 1.0
        z, event, weight, _, last = self._sorted(risk, y, weight)
        self.slope_ = _partial_likelihood_slope(z, event * weight, weight, last)
        return self.fit_baseline(risk, y, sample_weight)

    def fit_baseline(
        self, risk: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> SurvivalCurves:
        """Fit the baseline hazard again, e.g. to more rows, and keep the slope.

        Parameters
        ----------
        risk, y, sample_weight
            As in `fit`.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        z, event, weight, times, last = self._sorted(risk, y, weight)
        at_risk = np.cumsum(weight * np.exp(self.slope_ * z))[last]
        events = np.add.reduceat(event * weight, np.r_[0, last[:-1] + 1])
        self.times_ = times[::-1]
        self.cumulative_hazard_ = np.cumsum((events / at_risk)[::-1])
        return self

    def _sorted(
        self, risk: np.ndarray, y: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Return standardised risks, events and weights by falling time.

        Rows of weight 0 are left out. The distinct times and the last position of each
        follow.
        """
        rows = np.flatnonzero(weight > 0)
        rows = rows[np.argsort(-y["time"][rows], kind="stable")]
        z = (risk[rows] - self.mean_) / self.scale_
        return z, y["event"][rows], weight[rows], *_last_of_equal(y["time"][rows])

    def predict(self, risk: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the survival probability (no event so far) at each time.

        Parameters
        ----------
        risk : ndarray of shape (n_samples,)
            Risks.
        times : ndarray of shape (n_times,)
            Times, in the unit of `y`. The curve is constant after the last time of the
            training data.

        Returns
        -------
        ndarray of shape (n_samples, n_times)
        """
        step = np.searchsorted(self.times_, times, side="right")
        hazard = np.r_[0.0, self.cumulative_hazard_][step]
        ratio = np.exp(self.slope_ * (risk - self.mean_) / self.scale_)
        return np.exp(-np.outer(ratio, hazard))


def _last_of_equal(descending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of a sorted array and the last position of each."""
    last = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True])
    return descending[last], last


def _partial_likelihood_slope(
    z: np.ndarray, event_weight: np.ndarray, weight: np.ndarray, last: np.ndarray
) -> float:
    """Maximise Cox's partial likelihood of one covariate by Newton's method."""
    # The rows are sorted by falling time, so a risk set is all rows up to a position.
    position = np.repeat(last, np.diff(np.r_[-1, last]))
    slope = 0.0
    for _ in range(50):
        relative = weight * np.exp(slope * z)
        total = np.cumsum(relative)[position]
        mean = np.cumsum(relative * z)[position] / total
        square = np.cumsum(relative * z**2)[position] / total
        gradient = float((event_weight * (z - mean)).sum())
        curvature = float((event_weight * (square - mean**2)).sum())
        # A ridge penalty of one hundredth of an event keeps the slope finite where the
        # risk orders all events perfectly.
        step = (gradient - 0.01 * slope) / (curvature + 0.01)
        slope += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-10:
            break
    return slope


class ConcordanceScore:
    """Mixin class of estimators of a risk, with the concordance as their score.

    Attributes
    ----------
    takes_survival_times : bool
        True, so that the estimator gets the times to an event inside a fusion.
    """

    takes_survival_times = True

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return Harrell's concordance of the predicted risks.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.
        y : structured array of shape (n_samples,)
            Events and times.
        sample_weight : None
            Not supported, present for API consistency.

        Returns
        -------
        float
            Concordance. A random order has 0.5, a perfect order 1.

        Raises
        ------
        ValueError
            If weights are given, or no two rows are comparable.
        """
        owner = type(self).__name__
        if sample_weight is not None:
            raise ValueError(
                f"{owner}: the concordance does not support sample_weight. Leave it "
                "out, or use a custom scorer."
            )
        truth = check_survival(y, owner)
        return concordance(truth, self.predict(X))  # type: ignore[attr-defined]


class SurvivalFusion(ConcordanceScore):
    """Mixin class of the survival fusion estimators, with their target and curves."""

    _target: Any
    _curves: SurvivalCurves

    def _new_target(self, y: Any) -> np.ndarray:
        self._target = SurvivalTimes(type(self).__name__)
        return self._target.encode(y)

    def _set_curves(
        self, risk: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
    ) -> None:
        self._curves = SurvivalCurves().fit(risk, y, sample_weight)
        self._target.fallback = np.array([self._curves.mean_])

    def predict_survival_function(self, X: Any, times: Any = None) -> np.ndarray:
        """Predict the survival probability (no event so far) at each time.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.
        times : array-like of shape (n_times,) or None, default=None
            Times from the index time, in the unit of `y`. None returns functions, as in
            scikit-survival.

        Returns
        -------
        ndarray of shape (n_samples, n_times) or (n_samples,)
            Probabilities in the form of `sksurv.metrics.brier_score`. Without `times`,
            one function of time per row, with the attributes ``x``, ``y`` and
            ``domain``.
        """
        risk = self.predict(X)  # type: ignore[attr-defined]
        if times is None:
            at = self._curves.times_
            return as_functions(at, self._curves.predict(risk, at))
        return self._curves.predict(risk, check_times(times, type(self).__name__))


class _PartialLikelihood:
    """Negative Cox partial log-likelihood of sorted rows with a ridge penalty.

    Sums over risk sets are stored as logarithms. The hazards of a feature that orders
    all events perfectly exceed the range of a float.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Features of the rows, sorted by falling time.
    event, time : ndarray of shape (n_samples,)
        Whether the event was observed, and the falling times.
    alpha : float
        Weight of the penalty.
    """

    def __init__(
        self, X: np.ndarray, event: np.ndarray, time: np.ndarray, alpha: float
    ) -> None:
        self.X = X - X.mean(axis=0)  # does not change the likelihood
        self.least = self.X.min(axis=0)
        with np.errstate(divide="ignore"):
            self.log_X = np.log(self.X - self.least)
        self.event = event.astype(np.float64)
        self.alpha = alpha
        # The risk set of a time is all rows up to the last one with this time.
        _, self.last = _last_of_equal(time)
        self.n_rows = np.diff(np.r_[-1, self.last])
        self.n_events = np.add.reduceat(self.event, np.r_[0, self.last[:-1] + 1])

    def loss(self, coef: np.ndarray) -> float:
        """Return the loss, summed over the events."""
        score = self.X @ coef
        log_total = np.logaddexp.accumulate(score)[self.last]
        likelihood = self.event @ score - self.n_events @ log_total
        return float(self.alpha / 2 * (coef @ coef) - likelihood)

    def derivatives(self, coef: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient (n_features,) and the Hessian of the loss."""
        score = self.X @ coef
        log_total = np.logaddexp.accumulate(score)[self.last]
        with np.errstate(divide="ignore"):  # times without an event
            log_jump = np.log(self.n_events) - log_total
        log_hazard = np.logaddexp.accumulate(log_jump[::-1])[::-1]
        expected = np.exp(score + np.repeat(log_hazard, self.n_rows))
        gradient = self.X.T @ (expected - self.event) + self.alpha * coef
        log_sum = np.logaddexp.accumulate(score[:, None] + self.log_X)[self.last]
        mean = np.exp(log_sum - log_total[:, None]) + self.least
        hessian = (self.X.T * expected) @ self.X - (mean.T * self.n_events) @ mean
        return gradient, hessian + self.alpha * np.eye(len(coef))

    def minimise(self) -> np.ndarray:
        """Return the coefficients, found by Newton's method with step halving."""
        coef = np.zeros(self.X.shape[1])
        loss = self.loss(coef)
        for _ in range(100):
            gradient, hessian = self.derivatives(coef)
            step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
            if abs(gradient @ step) < 1e-9 + 1e-12 * abs(loss):
                return np.asarray(coef - step)
            for size in 0.5 ** np.arange(40):
                shorter = coef - size * step
                new_loss = self.loss(shorter)
                if new_loss < loss:
                    break
            else:
                break
            coef, loss = shorter, new_loss
        warn_user(
            f"CoxRidge did not converge on {len(self.X)} rows with {len(coef)} "
            f"features. Standardise the features, or increase alpha, got {self.alpha}.",
            ConvergenceWarning,
        )
        return coef


class CoxRidge(ConcordanceScore, BaseEstimator):
    r"""Cox's proportional hazards model with a ridge penalty.

    Minimises
    :math:`-\ell(\beta) + \frac{\alpha}{2} \lVert\beta\rVert^2`, where
    :math:`\ell` is the partial log-likelihood [1]_, summed over the events, with
    Breslow's treatment of ties. The features are not scaled. The coefficients are
    those of ``sksurv.linear_model.CoxPHSurvivalAnalysis`` with the same `alpha`.

    Parameters
    ----------
    alpha : float, default=1e-3
        Weight of the penalty, 0 or more. A positive value keeps the coefficients finite
        if a feature orders all events perfectly.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features_in_,)
        Log hazard ratio per unit of each feature.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the features, if `X` has column names that are all strings.

    References
    ----------
    .. [1] Cox DR (1972). Regression models and life-tables. Journal of the Royal
       Statistical Society B 34:187-220.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.survival import CoxRidge
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> y = np.array([(True, 4.0), (True, 2.0), (False, 3.0), (True, 1.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> CoxRidge(alpha=1.0).fit(X, y).coef_.round(3)
    array([0.537])
    """

    def __init__(self, alpha: float = 1e-3) -> None:
        self.alpha = alpha

    @undone_on_failure
    def fit(self, X: Any, y: Any) -> CoxRidge:
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, finite.
        y : structured array of shape (n_samples,)
            A boolean field (event observed), then the times, above 0.

        Returns
        -------
        CoxRidge
            The fitted estimator.
        """
        owner = type(self).__name__
        check_number(self.alpha, "alpha", owner, low=0)
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        outcome = check_survival(y, owner)
        _check_n_rows(X, outcome, owner)
        order = np.argsort(-outcome["time"], kind="stable")
        event, time = outcome["event"][order], outcome["time"][order]
        likelihood = _PartialLikelihood(X[order], event, time, float(self.alpha))
        self.coef_ = likelihood.minimise()
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the risk, i.e. the log hazard ratio to a row of zeros.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, finite.

        Returns
        -------
        ndarray of shape (n_samples,)
            Risks, greater where the event is expected sooner.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.asarray(X @ self.coef_)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _check_n_rows(X: np.ndarray, y: np.ndarray, owner: str) -> None:
    if len(y) != len(X):
        raise ValueError(
            f"{owner}: X and y have inconsistent numbers of samples, got {len(X)} "
            f"and {len(y)}."
        )


LOSSES = ("cox", "aft")


class _BoostedLikelihood:
    """Negative Cox partial log-likelihood of weighted rows for XGBoost.

    The objective of XGBoost leaves the weights out of the risk sets, and omits a tied
    event from the risk of rows that come before it in the table.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,)
        Fields ``event`` and ``time``.
    weight : ndarray of shape (n_samples,)
        Weights of the rows, 0 or more.
    """

    def __init__(self, y: np.ndarray, weight: np.ndarray) -> None:
        rows = np.flatnonzero(weight > 0)
        self.order = rows[np.argsort(-y["time"][rows], kind="stable")]
        _, self.last = _last_of_equal(y["time"][self.order])
        self.n_rows = np.diff(np.r_[-1, self.last])
        self.weight = weight[self.order].astype(np.float64)
        self.event = self.weight * y["event"][self.order]
        starts = np.r_[0, self.last[:-1] + 1]
        self.events_at = np.add.reduceat(self.event, starts)

    def _risk(self, margin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log hazards and hazards by falling time, and the sums at risk."""
        score = margin[self.order].astype(np.float64)
        score -= score.max()
        hazard = np.exp(score)
        at_risk = np.cumsum(self.weight * hazard)[self.last]
        return score, hazard, np.maximum(at_risk, 1e-140)  # its square is no 0

    def derivatives(
        self, margin: np.ndarray, data: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient and the diagonal of the Hessian for each row.

        The Hessian is that of each of the rows which a weight stands for.
        """
        _, hazard, at_risk = self._risk(margin)

        def until(jumps: np.ndarray) -> np.ndarray:
            return np.repeat(np.cumsum(jumps[::-1])[::-1], self.n_rows)

        expected = hazard * until(self.events_at / at_risk)
        square = hazard**2 * until(self.events_at / at_risk**2)
        gradient, hessian = np.zeros((2, len(margin)))
        gradient[self.order] = self.weight * expected - self.event
        hessian[self.order] = self.weight * np.maximum(expected - square, 1e-16)
        return gradient, hessian

    def metric(self, margin: np.ndarray, data: Any) -> tuple[str, float]:
        """Return the loss per event, by which the fit stops early."""
        score, _, at_risk = self._risk(margin)
        loss = self.events_at @ np.log(at_risk) - self.event @ score
        return "cox-nloglik", float(loss / self.event.sum())


class XGBoostSurvival(ConcordanceScore, BaseEstimator):
    """XGBoost for censored times by Cox's model or accelerated failure time.

    It is the default learner of `EarlyFusionSurvival` and `LateFusionSurvival` and
    supports NaN. All rows are at risk from time 0 on, so delayed entry (left
    truncation) is not supported.

    Parameters
    ----------
    loss : {"cox", "aft"}, default="cox"
        Loss function: Cox's partial likelihood [1]_ with Breslow's treatment of ties,
        or the likelihood of an accelerated failure time model [2]_.
    n_estimators : int, default=200
        Number of trees.
    learning_rate : float, default=0.05
        Shrinkage of each tree.
    max_depth : int, default=4
        Maximum depth of the trees.
    subsample : float, default=0.8
        Fraction of the rows sampled for each tree.
    colsample_bytree : float, default=0.5
        Fraction of the columns sampled for each tree.
    aft_distribution : {"normal", "logistic", "extreme"}, default="normal"
        Distribution of the noise of the log time, for ``loss="aft"``.
    aft_scale : float, default=1.0
        Scale of the noise distribution.
    early_stopping_rounds : int or None, default=None
        Number of trees without a better loss on the rows of `eval_set` after which the
        fit stops. A fusion estimator passes these rows (``validation_fraction``).
    n_jobs : int or None, default=None
        Number of threads. None means 1.
    random_state : int, RandomState or None, default=None
        Seed of the samples of rows and columns.

    Attributes
    ----------
    booster_ : xgboost.Booster
        The fitted trees, up to the best one if the fit stopped early.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the features, if `X` has column names that are all strings.

    References
    ----------
    .. [1] Cox DR (1972). Regression models and life-tables. Journal of the Royal
       Statistical Society B 34:187-220.
    .. [2] Barnwal A, Cho H, Hocking T (2022). Survival regression with accelerated
       failure time model in XGBoost. Journal of Computational and Graphical
       Statistics 31:1292-1302.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.survival import XGBoostSurvival
    >>> X = np.arange(40.0)[:, None]
    >>> y = np.array([(True, 50 - x) for x in X[:, 0]],
    ...              dtype=[("event", bool), ("time", float)])
    >>> risk = XGBoostSurvival(n_estimators=20, random_state=0).fit(X, y).predict(X)
    >>> bool(risk[-1] > risk[0])
    True
    """

    __module__ = "skfusion.survival"

    def __init__(
        self,
        loss: str = "cox",
        *,
        n_estimators: int = 200,
        learning_rate: float = 0.05,
        max_depth: int = 4,
        subsample: float = 0.8,
        colsample_bytree: float = 0.5,
        aft_distribution: str = "normal",
        aft_scale: float = 1.0,
        early_stopping_rounds: int | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.loss = loss
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.max_depth = max_depth
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.aft_distribution = aft_distribution
        self.aft_scale = aft_scale
        self.early_stopping_rounds = early_stopping_rounds
        self.n_jobs = n_jobs
        self.random_state = random_state

    @undone_on_failure
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        eval_set: Any = None,
        sample_weight_eval_set: Any = None,
    ) -> XGBoostSurvival:
        """Fit the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, where NaN is a missing value.
        y : structured array of shape (n_samples,)
            A boolean field (event observed), then the times, 0 or more.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows. A row of weight 2 is the row twice, also in the risk
            sets of Cox's model.
        eval_set : list of one (X, y) or None, default=None
            Rows for validation, which `early_stopping_rounds` needs.
        sample_weight_eval_set : list of one array-like or None, default=None
            Weights of the rows of `eval_set`.

        Returns
        -------
        XGBoostSurvival
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is unknown, or `early_stopping_rounds` is set without
            `eval_set`.
        """
        owner = type(self).__name__
        check_option(self.loss, "loss", LOSSES, owner)
        xgboost = require("xgboost", "xgboost")
        X = validate_data(self, X, dtype="numeric", ensure_all_finite="allow-nan")
        data, likelihood = self._read(X, y, sample_weight)
        objective = likelihood.derivatives if self.loss == "cox" else None
        if self.early_stopping_rounds is None:
            self.booster_ = xgboost.train(
                self._settings(), data, self.n_estimators, obj=objective
            )
            return self
        check_number(
            self.early_stopping_rounds,
            "early_stopping_rounds",
            owner,
            low=1,
            integer=True,
            also="None",
        )
        if eval_set is None or len(eval_set) != 1:
            raise ValueError(
                f"{owner}: early_stopping_rounds={self.early_stopping_rounds} needs "
                "one set of rows for validation: fit(X, y, eval_set=[(X_val, y_val)])."
            )
        values = validate_data(
            self,
            eval_set[0][0],
            dtype="numeric",
            ensure_all_finite="allow-nan",
            reset=False,
        )
        weight = None if sample_weight_eval_set is None else sample_weight_eval_set[0]
        held_out, of_held_out = self._read(values, eval_set[0][1], weight)
        booster = xgboost.train(
            self._settings(),
            data,
            self.n_estimators,
            evals=[(held_out, "validation")],
            obj=objective,
            custom_metric=of_held_out.metric if self.loss == "cox" else None,
            early_stopping_rounds=int(self.early_stopping_rounds),
            verbose_eval=False,
        )
        self.booster_ = booster[: booster.best_iteration + 1]
        return self

    def _read(
        self, X: np.ndarray, y: Any, sample_weight: Any
    ) -> tuple[Any, _BoostedLikelihood]:
        """Return rows and outcomes in the form of XGBoost, and the loss of Cox."""
        owner = type(self).__name__
        outcome = check_survival(y, owner)
        _check_n_rows(X, outcome, owner)
        data = require("xgboost", "xgboost").DMatrix(X, nthread=self.n_jobs or 1)
        weight = np.ones(len(X))
        if sample_weight is not None:
            weight = check_weights(sample_weight, len(X), owner)
            data.set_weight(weight)
        likelihood = _BoostedLikelihood(outcome, weight)
        event, time = outcome["event"], outcome["time"]
        if self.loss == "cox":  # XGBoost marks censored times by a negative sign
            if (time == 0).any():  # which 0 has not, and the loss only knows the order
                time = np.unique(time, return_inverse=True)[1] + 1.0
            data.set_label(np.where(event, time, -time))
            return data, likelihood
        # An event at time 0 was before the first later time, by which it was seen.
        first = time[time > 0].min(initial=np.inf)
        if not np.isfinite(first):
            first = 1.0
        data.set_float_info("label_lower_bound", time)
        upper = np.where(time == 0, first, time)
        data.set_float_info("label_upper_bound", np.where(event, upper, np.inf))
        return data, likelihood

    def predict(self, X: Any) -> np.ndarray:
        """Predict the risk, i.e. the log hazard ratio or the negative log time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
            Risks, greater where the event is expected sooner.
        """
        check_is_fitted(self)
        X = validate_data(
            self, X, dtype="numeric", ensure_all_finite="allow-nan", reset=False
        )
        xgboost = require("xgboost", "xgboost")
        data = xgboost.DMatrix(X, nthread=self.n_jobs or 1)
        margin = self.booster_.predict(data, output_margin=True).astype(np.float64)
        return margin if self.loss == "cox" else -margin

    def _settings(self) -> dict[str, Any]:
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        aft = {
            "aft_loss_distribution": self.aft_distribution,
            "aft_loss_distribution_scale": self.aft_scale,
        }
        # The loss of Cox is computed here, and so is its value for early stopping.
        cox = {"base_score": 1.0, "disable_default_eval_metric": 1}
        return {
            **(aft if self.loss == "aft" else cox),
            "objective": f"survival:{self.loss}",
            "learning_rate": self.learning_rate,
            "max_depth": self.max_depth,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample_bytree,
            "nthread": self.n_jobs or 1,
            "seed": int(seed),
        }

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        return tags
