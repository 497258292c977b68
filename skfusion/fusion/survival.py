"""Survival: structured times in; checked times, risks and survival curves out.

A risk is any number that is greater the sooner the event is expected, as in
scikit-survival. `skfusion.fusion.survival` has the estimators.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, assert_all_finite, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._dependencies import require
from skfusion._validation import check_option, check_weights
from skfusion.fusion.targets import Target

__all__ = [
    "ConcordanceScore",
    "SurvivalCurves",
    "SurvivalFusion",
    "SurvivalTimes",
    "XGBoostSurvival",
    "check_survival",
    "concordance",
]


SURVIVAL_DTYPE = np.dtype([("event", bool), ("time", np.float64)])
_FORM = (
    "a structured array with a boolean field (was the event seen?) and then a field of "
    "times above 0, as sksurv.util.Surv makes it, or a table of two such columns"
)


def check_survival(y: Any, owner: str) -> np.ndarray:
    """Check the outcome of a survival analysis.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,), or DataFrame with 2 columns
        First a boolean: whether the event was seen; then the time of the event or of
        the censoring, above 0.
    owner : str
        Name of the estimator that asks, for the messages.

    Returns
    -------
    structured ndarray of shape (n_samples,)
        With the fields ``event`` (bool) and ``time`` (float64).

    Raises
    ------
    ValueError
        If `y` has another form, a time is 0 or less, or no event was seen at all.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.fusion.survival import check_survival
    >>> check_survival(pd.DataFrame({"died": [True, False], "days": [3, 9]}), "me")
    array([( True, 3.), (False, 9.)], dtype=[('event', '?'), ('time', '<f8')])
    """
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None.")
    names = list(y.columns) if isinstance(y, pd.DataFrame) else None
    if names is None:
        y = np.asarray(y)
        names = list(y.dtype.names or ())
    if len(names) != 2:
        found = f"{len(names)} fields" if names else f"an array of dtype {y.dtype}"
        raise ValueError(f"{owner}: y must be {_FORM}; got {found}.")
    event, time = np.asarray(y[names[0]]), np.asarray(y[names[1]])
    if event.dtype.kind != "b" or time.dtype.kind not in "fiu":
        raise ValueError(
            f"{owner}: y must be {_FORM}; got the field {names[0]!r} of dtype "
            f"{event.dtype} and then {names[1]!r} of dtype {time.dtype}."
        )
    checked = np.empty(len(event), dtype=SURVIVAL_DTYPE)
    checked["event"], checked["time"] = event, time
    assert_all_finite(checked["time"], input_name="y")
    early = np.flatnonzero(checked["time"] <= 0)
    if len(early):
        raise ValueError(
            f"{owner}: {len(early)} of {len(time)} times in y are 0 or less, first at "
            f"row position(s) {early[:5].tolist()}. Times count from the index time; "
            "leave out cases whose event lies before it."
        )
    if not event.any():
        raise ValueError(
            f"{owner}: all {len(event)} rows of y are censored, so there is no event "
            "to learn from."
        )
    return checked


def concordance(y: np.ndarray, risk: np.ndarray) -> float:
    """Return Harrell's concordance, as scikit-survival computes it.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,)
        Fields ``event`` and ``time``.
    risk : ndarray of shape (n_samples,)
        Risks.

    Returns
    -------
    float

    Raises
    ------
    ImportError
        If scikit-survival is not installed.
    """
    metrics = require("sksurv.metrics", "survival")
    return float(metrics.concordance_index_censored(y["event"], y["time"], risk)[0])


class SurvivalTimes(Target):
    """Times to an event, some of them censored.

    Parameters
    ----------
    owner : str
        Name of the estimator that asks, for the messages.
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
        """Start from a risk of 0; the estimators set the mean risk later."""
        self.fallback = np.zeros(1)

    def strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return who had the event, unless everybody had."""
        event = y["event"].astype(np.int64)
        return None if event.all() else event

    def problem(self, y: np.ndarray) -> str | None:
        """Say so where all times are censored."""
        return None if y["event"].any() else "all times are censored"

    def result(self, scores: np.ndarray) -> np.ndarray:
        """Return one risk per row as a 1-D array."""
        return scores[:, 0]

    @property
    def output_names(self) -> list[str]:
        """``risk``."""
        return ["risk"]


class SurvivalCurves:
    r"""Turn risks into survival curves: Cox's model with the risk as its covariate.

    The slope :math:`\beta` maximises the partial likelihood (Breslow's for ties), the
    cumulative baseline hazard is Breslow's estimate, and
    :math:`S(t) = \exp(-H_0(t) e^{\beta r})`.

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
        """Learn slope and baseline hazard.

        Parameters
        ----------
        risk : ndarray of shape (n_samples,)
            Risks, best those of rows that the model was not fitted on.
        y : structured ndarray of shape (n_samples,)
            Fields ``event`` and ``time``.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the rows.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        rows = weight > 0
        risk, y, weight = risk[rows], y[rows], weight[rows]
        self.mean_ = float(np.average(risk, weights=weight))
        spread = np.sqrt(np.average((risk - self.mean_) ** 2, weights=weight))
        self.scale_ = float(spread) if spread > 1e-12 else 1.0
        order = np.argsort(-y["time"], kind="stable")
        z = ((risk - self.mean_) / self.scale_)[order]
        event, weight = y["event"][order], weight[order]
        self.times_, last = _last_of_equal(y["time"][order])
        self.slope_ = _partial_likelihood_slope(z, event * weight, weight, last)
        at_risk = np.cumsum(weight * np.exp(self.slope_ * z))[last]
        events = np.add.reduceat(event * weight, np.r_[0, last[:-1] + 1])
        self.times_ = self.times_[::-1]
        self.cumulative_hazard_ = np.cumsum((events / at_risk)[::-1])
        return self

    def predict(self, risk: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Return the probability of no event by each time.

        Parameters
        ----------
        risk : ndarray of shape (n_samples,)
            Risks.
        times : ndarray of shape (n_times,)
            Times, in the unit of `y`. Beyond the last time that was seen, the curve
            stays where it was.

        Returns
        -------
        ndarray of shape (n_samples, n_times)
        """
        step = np.searchsorted(self.times_, times, side="right")
        hazard = np.r_[0.0, self.cumulative_hazard_][step]
        ratio = np.exp(self.slope_ * (risk - self.mean_) / self.scale_)
        return np.exp(-np.outer(ratio, hazard))


def _last_of_equal(descending: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values and the last position of each, of a sorted array."""
    last = np.flatnonzero(np.r_[descending[1:] != descending[:-1], True])
    return descending[last], last


def _partial_likelihood_slope(
    z: np.ndarray, event_weight: np.ndarray, weight: np.ndarray, last: np.ndarray
) -> float:
    """Maximise Cox's partial likelihood of one covariate by Newton's method."""
    # rows are sorted by falling time, so a risk set is all rows up to a position
    position = np.repeat(last, np.diff(np.r_[-1, last]))
    slope = 0.0
    for _ in range(50):
        relative = weight * np.exp(slope * z)
        total = np.cumsum(relative)[position]
        mean = np.cumsum(relative * z)[position] / total
        square = np.cumsum(relative * z**2)[position] / total
        gradient = float((event_weight * (z - mean)).sum())
        curvature = float((event_weight * (square - mean**2)).sum())
        # a ridge of one hundredth of an event keeps the slope finite where the risk
        # orders all events perfectly
        step = (gradient - 0.01 * slope) / (curvature + 0.01)
        slope += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-10:
            break
    return slope


class ConcordanceScore:
    """Mixin of everything that predicts a risk: its score is the concordance."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return Harrell's concordance of the predicted risks.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.
        y : structured array of shape (n_samples,)
            Events and times.
        sample_weight : None
            Present for API consistency; the concordance has no weights.

        Returns
        -------
        float
            0.5 is chance, 1 is perfect. scikit-survival computes it.

        Raises
        ------
        ValueError
            If weights are given.
        ImportError
            If scikit-survival is not installed.
        """
        owner = type(self).__name__
        if sample_weight is not None:
            raise ValueError(
                f"{owner}: the concordance takes no sample_weight. Leave it out, or "
                "use a scorer of your own."
            )
        truth = check_survival(y, owner)
        return concordance(truth, self.predict(X))  # type: ignore[attr-defined]


class SurvivalFusion(ConcordanceScore):
    """Mixin of the fusion estimators for survival: target and curves."""

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

    def predict_survival_function(self, X: Any, times: Any) -> np.ndarray:
        """Predict the probability of no event by each time.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.
        times : array-like of shape (n_times,)
            Times from the index time, in the unit of `y`.

        Returns
        -------
        ndarray of shape (n_samples, n_times)
            As `sksurv.metrics.brier_score` takes it.
        """
        risk = self.predict(X)  # type: ignore[attr-defined]
        return self._curves.predict(risk, np.asarray(times, dtype=np.float64))


LOSSES = ("cox", "aft")


class XGBoostSurvival(ConcordanceScore, BaseEstimator):
    """XGBoost for censored times: Cox's model, or accelerated failure time.

    The learner of `EarlyFusionSurvival` and `LateFusionSurvival`. It takes NaN.

    Parameters
    ----------
    loss : {"cox", "aft"}, default="cox"
        Cox's partial likelihood [1]_, or the likelihood of an accelerated failure
        time model [2]_.
    n_estimators : int, default=200
        Number of trees.
    learning_rate : float, default=0.05
        Shrinkage of each tree.
    max_depth : int, default=4
        Depth of the trees.
    subsample : float, default=0.8
        Share of the rows of each tree.
    colsample_bytree : float, default=0.5
        Share of the columns of each tree.
    aft_distribution : {"normal", "logistic", "extreme"}, default="normal"
        Noise of the logarithm of the time, for ``loss="aft"``.
    aft_scale : float, default=1.0
        Its scale.
    n_jobs : int or None, default=None
        Threads; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds the samples of rows and columns.

    Attributes
    ----------
    booster_ : xgboost.Booster
        The fitted trees.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names, if `X` had any.

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
        self.n_jobs = n_jobs
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> XGBoostSurvival:
        """Fit the trees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; NaN is a gap.
        y : structured array of shape (n_samples,)
            A boolean field (was the event seen?), then the times, above 0.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        XGBoostSurvival
            The fitted estimator.
        """
        owner = type(self).__name__
        check_option(self.loss, "loss", LOSSES, owner)
        xgboost = require("xgboost", "xgboost")
        X = validate_data(self, X, dtype="numeric", ensure_all_finite="allow-nan")
        outcome = check_survival(y, owner)
        if len(outcome) != len(X):
            raise ValueError(
                f"{owner}: X has {len(X)} rows but y has {len(outcome)}: inconsistent "
                "numbers of samples."
            )
        data = xgboost.DMatrix(X, nthread=self.n_jobs or 1)
        if sample_weight is not None:
            data.set_weight(check_weights(sample_weight, len(X), owner))
        event, time = outcome["event"], outcome["time"]
        if self.loss == "cox":  # XGBoost takes censored times as negative ones
            data.set_label(np.where(event, time, -time))
        else:
            data.set_float_info("label_lower_bound", time)
            data.set_float_info("label_upper_bound", np.where(event, time, np.inf))
        self.booster_ = xgboost.train(self._settings(), data, self.n_estimators)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predict the risk: the log hazard ratio, or minus the log time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
            Greater where the event is expected sooner.
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
        return {
            **(aft if self.loss == "aft" else {}),
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
