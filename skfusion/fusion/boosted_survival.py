"""Gradient-boosted survival models behind scikit-survival's interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._dependencies import require
from skfusion._validation import check_weights
from skfusion.fusion.survival_target import ConcordanceScore, check_survival

__all__ = ["XGBoostSurvival"]

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
    >>> from skfusion import XGBoostSurvival
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
        if self.loss not in LOSSES:
            raise ValueError(f"{owner}: loss must be one of {LOSSES}: {self.loss!r}.")
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
