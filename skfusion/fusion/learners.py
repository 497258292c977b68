"""How a learner inside a fusion estimator is seeded, weighted, fitted and asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skfusion._dependencies import require
from skfusion.modality import Modality

__all__ = [
    "accepts_nan",
    "default_learner",
    "default_member",
    "ends_in_predictor",
    "fit_learner",
    "scores_of",
    "seed",
    "seeded",
]


def default_learner(*, classifier: bool, n_jobs: int | None) -> Any:
    """Return the learner of an early fusion: XGBoost, which takes NaN natively."""
    xgboost = require("xgboost", "xgboost")
    kind = xgboost.XGBClassifier if classifier else xgboost.XGBRegressor
    # One thread unless asked for more: XGBoost's threads spin, and two of them on a
    # busy machine cost 2.6 times the processor time for no gain.
    return kind(
        n_estimators=200,
        learning_rate=0.05,
        max_depth=4,
        subsample=0.8,
        colsample_bytree=0.5,
        n_jobs=n_jobs or 1,
    )


def default_member(*, classifier: bool) -> Any:
    """Return the learner of one modality in a late fusion: a linear model."""
    if classifier:
        return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    return make_pipeline(StandardScaler(), Ridge(alpha=10.0))


def seed(estimator: Any, rng: np.random.RandomState) -> Any:
    """Give every unset ``random_state`` in an estimator an integer from `rng`.

    What the user has set is kept; the order of draws is that of the sorted names, so
    that the same generator gives the same estimator.
    """
    params = estimator.get_params(deep=True)
    chosen = {}
    for name in sorted(params):
        if name.rpartition("__")[2] == "random_state" and params[name] is None:
            chosen[name] = int(rng.randint(np.iinfo(np.int32).max))
    if chosen:
        estimator.set_params(**chosen)
    return estimator


def seeded(modalities: list[Modality], rng: np.random.RandomState) -> list[Modality]:
    """Return the modalities with clones of their transformers, seeded in order."""
    return [
        replace(modality, transformer=seed(clone(modality.transformer), rng))
        for modality in modalities
    ]


def ends_in_predictor(estimator: Any) -> bool:
    """Tell whether an estimator predicts, so that it needs no learner behind it."""
    if isinstance(estimator, Pipeline):
        return ends_in_predictor(estimator.steps[-1][1])
    kind = get_tags(estimator).estimator_type
    return kind in ("classifier", "regressor") and hasattr(estimator, "predict")


def accepts_nan(estimator: Any) -> bool:
    """Tell whether an estimator's tags allow NaN in its input."""
    return bool(get_tags(estimator).input_tags.allow_nan)


def fit_learner(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    *,
    sample_weight: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Any:
    """Fit an estimator with the weights, and the groups if it knows them.

    Parameters
    ----------
    estimator : estimator
        The (cloned) estimator to fit; a `Pipeline` hands both to its last step.
    X : array-like of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,)
        Target.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights.
    groups : ndarray of shape (n_samples,) or None
        Patients; left out where the estimator's `fit` has no such parameter.

    Returns
    -------
    estimator
        The fitted estimator.

    Raises
    ------
    TypeError
        If weights are given but the estimator cannot take them.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import clone
from sklearn.linear_model import LinearRegression
    >>> from skfusion.fusion.learners import fit_learner
    >>> X, y = np.array([[0.0], [1.0], [1.0]]), np.array([0.0, 1.0, 3.0])
    >>> model = fit_learner(LinearRegression(), X, y, sample_weight=np.array([1, 1, 0]))
    >>> round(float(model.predict([[1.0]])[0]), 6)
    1.0
    """
    target, prefix = _last_step(estimator)
    keywords: dict[str, Any] = {}
    if sample_weight is not None:
        if not has_fit_parameter(target, "sample_weight"):
            raise TypeError(
                f"{type(target).__name__} does not support sample_weight, so neither "
                "weights nor class_weight can be used with it. Choose another "
                "estimator or leave the weights out."
            )
        keywords["sample_weight"] = sample_weight
    if groups is not None and has_fit_parameter(target, "groups"):
        keywords["groups"] = groups
    if prefix and get_config()["enable_metadata_routing"]:
        if keywords:
            target.set_fit_request(**dict.fromkeys(keywords, True))
        return estimator.fit(X, y, **keywords)
    return estimator.fit(X, y, **{prefix + name: keywords[name] for name in keywords})


def _last_step(estimator: Any) -> tuple[Any, str]:
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return estimator, prefix


def scores_of(estimator: Any, X: Any, n_classes: int | None) -> np.ndarray:
    """Ask a fitted member for probabilities, or for the prediction of a regressor.

    Parameters
    ----------
    estimator : estimator
        Fitted on class numbers ``0 ... n_classes - 1``, or a regressor.
    X : array-like of shape (n_samples, n_features)
        Features.
    n_classes : int or None
        Number of classes; None for a regressor.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes) or (n_samples, 1)

    Raises
    ------
    TypeError
        If a classifier has no ``predict_proba``.
    """
    if n_classes is None:
        return np.asarray(estimator.predict(X), dtype=np.float64).reshape(-1, 1)
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(_last_step(estimator)[0]).__name__} gives no probabilities, which "
            "fusion needs. Wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    return np.asarray(estimator.predict_proba(X), dtype=np.float64)

