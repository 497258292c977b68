"""Brier scores and concordance of predictions for censored times.

The module depends only on numpy, besides the outcomes of `skfusion.fusion.survival`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skfusion._validation import check_number, check_option
from skfusion.evaluation.statistics.inputs import check_scores
from skfusion.fusion.survival import check_survival, check_times, concordance

__all__ = [
    "KaplanMeier",
    "brier_scores",
    "censored_concordance",
    "check_probabilities",
    "integrated_brier_score",
]


METHODS = ("harrell", "uno")


class KaplanMeier:
    """Kaplan-Meier estimate of the distribution of the events, or of the censoring.

    At equal times, events come before censoring.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,)
        Fields ``event`` and ``time``.
    of_censoring : bool, default=False
        Whether to estimate the distribution of the censoring times.

    Attributes
    ----------
    times_ : ndarray of shape (n_times,)
        Distinct times of the outcome, rising.
    at_risk_ : ndarray of shape (n_times,)
        Number of rows at risk at each time.
    events_ : ndarray of shape (n_times,)
        Number of events (or censored rows) at each time.
    survival_ : ndarray of shape (n_times,)
        Probability of a later event (or censoring) than each time.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.statistics.survival_scores import KaplanMeier
    >>> y = np.array([(True, 1.0), (False, 1.0), (True, 2.0), (True, 3.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> KaplanMeier(y).at(np.array([0.5, 1.0, 2.5]))
    array([1.   , 0.75 , 0.375])
    """

    def __init__(self, y: np.ndarray, *, of_censoring: bool = False) -> None:
        self.times_, place = np.unique(y["time"], return_inverse=True)
        n_times = len(self.times_)
        rows = np.bincount(place, minlength=n_times)
        events = np.bincount(place[y["event"]], minlength=n_times)
        self.at_risk_ = np.cumsum(rows[::-1])[::-1]
        self.events_ = events
        if of_censoring:
            self.at_risk_ = self.at_risk_ - events
            self.events_ = rows - events
        # At the last time, perhaps no row is left that could be censored.
        at_risk = np.maximum(self.at_risk_, 1)
        self.survival_ = np.cumprod(1 - self.events_ / at_risk)

    def at(self, times: np.ndarray) -> np.ndarray:
        """Return the probability of a later event (or censoring) than each time."""
        place = np.searchsorted(self.times_, times, side="right")
        return np.r_[1.0, self.survival_][place]

    def before(self, times: np.ndarray) -> np.ndarray:
        """Return the probability of an event (or censoring) at each time or later."""
        place = np.searchsorted(self.times_, times, side="left")
        return np.r_[1.0, self.survival_][place]


def brier_scores(
    y: Any, survival: Any, times: Any, *, censoring: Any = None
) -> np.ndarray:
    r"""Compute the Brier score of survival curves at each of several times.

    The score at a time is the mean squared difference between the predicted probability
    of survival and the survival itself. Rows that are censored earlier have an unknown
    outcome. The other rows are weighted by the inverse probability of not being
    censored (Graf [1]_), which a Kaplan-Meier estimate gives:

    .. math::
        BS(t) = \frac1n \sum_i \left[ \frac{S_i(t)^2}{G(T_i-)}
        1(T_i \le t, e_i = 1) + \frac{(1 - S_i(t))^2}{G(t-)}
        1(T_i > t \text{ or } T_i = t, e_i = 0) \right]

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Events and times.
    survival : array-like of shape (n_samples, n_times)
        Predicted probability of survival at each time, as `predict_survival_function`
        returns.
    times : array-like of shape (n_times,)
        Times within the follow-up.
    censoring : structured array of shape (n_others,) or None, default=None
        Outcome of which the distribution of the censoring is estimated, e.g. that of
        the training set. None uses `y`.

    Returns
    -------
    ndarray of shape (n_times,)
        Lower is better. A constant prediction of 0.5 has 0.25 without censoring.

    Raises
    ------
    ValueError
        If the shapes are inconsistent, a probability is outside of [0, 1], or no row is
        followed up to a time.

    Notes
    -----
    A row that is censored at time t is known to survive t. The weights therefore use
    the probability of censoring before a time. With continuous times, this is the
    score of scikit-survival. With rounded times, scikit-survival uses the probability
    of censoring up to the time of an event, which gives events too much weight.

    The weights are right if the censoring does not depend on the features.

    References
    ----------
    .. [1] Graf E, Schmoor C, Sauerbrei W, Schumacher M (1999). Assessment and
       comparison of prognostic classification schemes for survival data. Statistics in
       Medicine 18:2529-2545.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import brier_scores
    >>> y = np.array([(True, 1.0), (False, 2.0), (True, 3.0), (True, 4.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> curves = [[0.5, 0.2], [0.9, 0.6], [0.8, 0.4], [0.9, 0.9]]
    >>> brier_scores(y, curves, [1.5, 3.5]).round(3)
    array([0.078, 0.074])
    """
    owner = "brier_scores"
    outcome = check_survival(y, owner)
    at = _check_grid(times, owner)
    curves = check_probabilities(survival, (len(outcome), len(at)), "survival", owner)
    known = outcome if censoring is None else check_survival(censoring, owner)
    free = KaplanMeier(known, of_censoring=True)
    event, time = outcome["event"][:, None], outcome["time"][:, None]
    had_event = event & (time <= at)
    survived = (time > at) | (~event & (time == at))
    of_event, of_time = free.before(time), free.before(at)
    lost = (of_time == 0) | (had_event & (of_event == 0)).any(axis=0)
    if lost.any():
        raise ValueError(
            f"{owner}: {lost.sum()} of {len(at)} times are after the end of the "
            "follow-up, at which every row is censored. Use times up to "
            f"{free.times_[-1]:g}."
        )
    safe = np.where(of_event > 0, of_event, 1.0)
    scores = had_event * curves**2 / safe + survived * (1 - curves) ** 2 / of_time
    return scores.mean(axis=0)


def integrated_brier_score(
    y: Any, survival: Any, times: Any, *, censoring: Any = None
) -> float:
    """Compute the mean over time of the Brier score of survival curves.

    The scores of `brier_scores` are integrated by the trapezoidal rule and divided by
    the length of the range of times.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Events and times.
    survival : array-like of shape (n_samples, n_times)
        Predicted probability of survival at each time.
    times : array-like of shape (n_times,)
        At least two rising times within the follow-up. The more times, the better the
        integral is approximated.
    censoring : structured array of shape (n_others,) or None, default=None
        Outcome of which the distribution of the censoring is estimated. None uses `y`.

    Returns
    -------
    float
        Lower is better.

    Raises
    ------
    ValueError
        If there are fewer than two times, or `brier_scores` raises an error.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import integrated_brier_score
    >>> y = np.array([(True, 1.0), (False, 2.0), (True, 3.0), (True, 4.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> curves = [[0.5, 0.2], [0.9, 0.6], [0.8, 0.4], [0.9, 0.9]]
    >>> round(integrated_brier_score(y, curves, [1.5, 3.5]), 4)
    0.0756
    """
    at = _check_grid(times, "integrated_brier_score")
    if len(at) < 2:
        raise ValueError(
            f"integrated_brier_score: times must be at least two, got {len(at)}. Use "
            "brier_scores for the score at one time."
        )
    scores = brier_scores(y, survival, at, censoring=censoring)
    return float(np.trapezoid(scores, at) / (at[-1] - at[0]))


def censored_concordance(
    y: Any,
    risk: Any,
    *,
    method: str = "harrell",
    tau: float | None = None,
    censoring: Any = None,
) -> float:
    r"""Compute the concordance of risks with censored times.

    Two rows are comparable if the earlier time is that of an event. The concordance is
    the share of comparable pairs in which the earlier event has the greater risk.
    Risks that differ by 1e-8 or less count one half.

    Parameters
    ----------
    y : structured array of shape (n_samples,)
        Events and times.
    risk : array-like of shape (n_samples,)
        Risks, greater where the event is expected sooner.
    method : {"harrell", "uno"}, default="harrell"
        All comparable pairs count the same in Harrell's index [1]_, whose value
        depends on the distribution of the censoring. Uno's index [2]_ weights each pair
        by :math:`1/G(T-)^2`, the inverse probability that the earlier event is seen, so
        that it estimates the same value under any independent censoring.
    tau : float or None, default=None
        Only events before this time count. None counts all events. Late events have
        large weights in Uno's index.
    censoring : structured array of shape (n_others,) or None, default=None
        Outcome of which Uno's index estimates the distribution of the censoring. None
        uses `y`.

    Returns
    -------
    float
        A random order has 0.5, a perfect order 1.

    Raises
    ------
    ValueError
        If a risk is not finite, no two rows are comparable, or a parameter is unknown.

    References
    ----------
    .. [1] Harrell FE, Lee KL, Mark DB (1996). Multivariable prognostic models.
       Statistics in Medicine 15:361-387.
    .. [2] Uno H, Cai T, Pencina MJ, D'Agostino RB, Wei LJ (2011). On the C-statistics
       for evaluating overall adequacy of risk prediction procedures with censored
       survival data. Statistics in Medicine 30:1105-1117.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import censored_concordance
    >>> y = np.array([(True, 1.0), (False, 2.0), (True, 3.0), (True, 4.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> censored_concordance(y, [0.9, 0.2, 0.3, 0.4])
    0.75
    >>> round(censored_concordance(y, [0.9, 0.2, 0.3, 0.4], method="uno"), 3)
    0.571
    """
    owner = "censored_concordance"
    check_option(method, "method", METHODS, owner)
    outcome = check_survival(y, owner)
    weight = np.ones(len(outcome))
    if method == "uno":
        known = outcome if censoring is None else check_survival(censoring, owner)
        seen = KaplanMeier(known, of_censoring=True).before(outcome["time"])
        counted = outcome["event"] & (True if tau is None else outcome["time"] < tau)
        lost = counted & (seen == 0)
        if lost.any():
            raise ValueError(
                f"{owner}: {lost.sum()} of {counted.sum()} events are after the last "
                "time of censoring=, where the probability that an event is seen is 0. "
                f"Set tau to {known['time'].max():g} or less."
            )
        weight = np.where(counted, 1 / np.where(seen > 0, seen, 1.0) ** 2, 0.0)
    elif censoring is not None:
        raise ValueError(
            f"{owner}: method='harrell' does not use censoring=. Omit it, or use "
            "method='uno'."
        )
    if tau is not None:
        check_number(tau, "tau", owner, low=0, exclude_low=True, also="None")
        weight = np.where(outcome["time"] < tau, weight, 0.0)
    return concordance(outcome, np.asarray(risk), event_weight=weight)


def _check_grid(times: Any, owner: str) -> np.ndarray:
    """Return rising times, and raise an error if they are not."""
    at = np.atleast_1d(check_times(times, owner))
    if at.ndim != 1 or not len(at) or (np.diff(at) <= 0).any():
        raise ValueError(
            f"{owner}: times must be a sequence of rising times without ties, got "
            f"{at.size} number(s) of shape {at.shape}. Use np.unique(times)."
        )
    return at


def check_probabilities(
    values: Any, shape: tuple[int, ...], name: str, owner: str
) -> np.ndarray:
    """Return probabilities as an array.

    Parameters
    ----------
    values : array-like of the given shape
        The probabilities.
    shape : tuple of int
        Expected shape.
    name, owner : str
        Name of the parameter and of the function, for the message.

    Returns
    -------
    ndarray of float64 of the given shape

    Raises
    ------
    ValueError
        If the shape is another, or a value is not a number of [0, 1].

    Examples
    --------
    >>> from skfusion.evaluation.statistics.survival_scores import check_probabilities
    >>> check_probabilities([0, 0.5], (2,), "risk", "calibration_at_time")
    array([0. , 0.5])
    """
    found = check_scores(values, shape, owner, name)
    # Rounding of a product of probabilities is not an error.
    wrong = (found < -1e-9) | (found > 1 + 1e-9)
    if wrong.any():
        raise ValueError(
            f"{owner}: {wrong.sum()} of {found.size} values of {name} are outside of "
            "[0, 1]. Expected probabilities. Pass the values of "
            "predict_survival_function, not risks of predict."
        )
    return np.clip(found, 0.0, 1.0)
