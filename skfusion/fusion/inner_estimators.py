"""Estimators inside a fusion estimator: defaults, seeds, fit and predict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skfusion._dependencies import require
from skfusion.blocks import check_finite_block
from skfusion.fusion.survival import SurvivalTimes, XGBoostSurvival
from skfusion.fusion.targets import Numbers, Target, classifier_target
from skfusion.modality import Modality
from skfusion.pipelines import (
    accepted_metadata,
    fit_transform_steps,
    has_no_features,
    is_passthrough,
    is_sampler,
    resample,
    take_rows,
    transform_steps,
    unreadable_rows,
)

__all__ = [
    "accepts_nan",
    "default_learner",
    "default_member",
    "ends_in_predictor",
    "fit_learner",
    "scores_of",
    "seed",
    "seeded",
    "target_for",
]


def default_learner(task: str) -> Any:
    """Return the default learner of early fusion, XGBoost, which supports NaN.

    Parameters
    ----------
    task : {"classes", "numbers", "survival"}
        Kind of the target.
    """
    if task == "survival":
        return XGBoostSurvival()
    xgboost = require("xgboost", "xgboost")
    learner = xgboost.XGBRegressor if task == "numbers" else xgboost.XGBClassifier
    # The default is one thread, because waiting threads of XGBoost use the processor.
    # Two threads on a busy machine took 2.6 times the processor time without a gain.
    return learner(
        n_estimators=200,
        learning_rate=0.05,
        max_depth=4,
        subsample=0.8,
        colsample_bytree=0.5,
        # 64 bins were 2.0 and 2.8 times faster than 256 on the 1,280 embedding columns
        # of LIDC and PAD-UFES-20. The AUROC was the same (.950 and .912).
        max_bin=64,
        n_jobs=1,
    )


def default_member(task: str) -> Any:
    """Return the default learner of one modality in late fusion, a linear model.

    It supports missing values. The names of its steps, ``scale``, ``impute`` and
    ``model``, are public. For survival, the learner is XGBoost.

    Parameters
    ----------
    task : {"classes", "labels", "numbers", "survival"}
        Kind of the target.
    """
    if task == "survival":
        return XGBoostSurvival()
    linear: Any = Ridge(alpha=10.0)
    if task != "numbers":
        linear = LogisticRegression(C=0.01, max_iter=1000)
    # Missing values become 0, the mean after scaling, and an indicator is added.
    gaps = SimpleImputer(
        strategy="constant", fill_value=0, add_indicator=True, keep_empty_features=True
    )
    steps = [("scale", StandardScaler()), ("impute", gaps), ("model", linear)]
    return Pipeline(steps)


def target_for(estimator: Any, y: Any, owner: str) -> Target:
    """Return the target on which an estimator is to be fitted.

    Parameters
    ----------
    estimator : estimator or None
        A classifier or regressor. With None, the type of `y` decides: floats are
        numbers, and everything else is classes or labels. A structured `y` contains
        survival times.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Target, as passed by the user.
    owner : str
        Name of the estimator, for error messages.

    Returns
    -------
    Target
        Not yet encoded.

    Examples
    --------
    >>> from skfusion.fusion.inner_estimators import target_for
    >>> target_for(None, [0, 1, 1], "ModelFeatures").kind
    'classes'
    >>> target_for(None, [0.5, 1.0], "ModelFeatures").kind
    'numbers'
    """
    if np.asarray(y).dtype.names or isinstance(estimator, XGBoostSurvival):
        return SurvivalTimes(owner)
    if estimator is None:
        classes = np.asarray(y).dtype.kind != "f"
    else:
        classes = is_classifier(estimator)
    return classifier_target(y, owner) if classes else Numbers(owner)


def seed(estimator: Any, rng: np.random.RandomState) -> Any:
    """Set every ``random_state`` of an estimator that is None to an integer from `rng`.

    Seeds that the user has set are kept. The integers are drawn in the order of the
    sorted names, so that the same generator gives the same estimator.
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
    """Return whether an estimator predicts, so that no learner has to follow it."""
    if isinstance(estimator, Pipeline):
        return ends_in_predictor(estimator.steps[-1][1])
    kind = get_tags(estimator).estimator_type
    if kind in ("classifier", "regressor"):
        return hasattr(estimator, "predict")
    # Survival estimators have no estimator type. Clusterers have both methods.
    return hasattr(estimator, "predict") and not hasattr(estimator, "transform")


def accepts_nan(estimator: Any) -> bool:
    """Return whether the tags of an estimator allow NaN in its input."""
    return bool(get_tags(estimator).input_tags.allow_nan)


def fit_learner(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    *,
    sample_weight: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Any:
    """Fit an estimator with the weights and, if its `fit` accepts them, the groups.

    In a `Pipeline`, every step whose `fit` accepts weights or groups gets them. A row
    that the first step turns into NaN only, such as an unreadable image, is not passed
    to the following steps. A sampler of imbalanced-learn changes only the rows on which
    the following steps are fitted.

    Parameters
    ----------
    estimator : estimator
        The (cloned) estimator to fit.
    X : array-like of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,)
        Target.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights.
    groups : ndarray of shape (n_samples,) or None
        Patient ids, not passed if the estimator's `fit` has no such parameter.

    Returns
    -------
    estimator
        The fitted estimator.

    Raises
    ------
    TypeError
        If weights are given but the final estimator does not support them.
    ValueError
        If no row can be read, or a sampler creates rows without the weights or groups
        that a following step needs.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skfusion.fusion.inner_estimators import fit_learner
    >>> X, y = np.array([[0.0], [1.0], [1.0]]), np.array([0.0, 1.0, 3.0])
    >>> model = fit_learner(LinearRegression(), X, y, sample_weight=np.array([1, 1, 0]))
    >>> round(float(model.predict([[1.0]])[0]), 6)
    1.0
    """
    given = {"sample_weight": sample_weight, "groups": groups}
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        first, rest = _first_step(estimator)
        if is_sampler(first):
            X, y, part = resample(first, X, y, given)
            _check_groups_kept(first, rest, groups, part["groups"])
            fit_learner(rest, X, y, **part)
            return estimator
        Z = fit_transform_steps(first, X, y, given)
        if has_no_features(Z):  # The scores are NaN, as if the modality were absent.
            estimator.learned_nothing_ = True
            return estimator
        rows = np.flatnonzero(~unreadable_rows(Z))
        if len(rows) == 0:
            raise ValueError(
                f"{type(first).__name__} could read none of the {len(y)} rows, so "
                "there is nothing to learn from. Check the images of the modality."
            )
        part = {k: None if v is None else v[rows] for k, v in given.items()}
        if len(rest.steps) == 1:  # Before the learner, some of which accept infinity.
            check_finite_block(Z)
        fit_learner(rest, take_rows(Z, rows), y[rows], **part)
        if getattr(rest, "learned_nothing_", False):
            estimator.learned_nothing_ = True
        return estimator
    if isinstance(estimator, Pipeline):
        fit_learner(estimator.steps[0][1], X, y, **given)
        return estimator
    if sample_weight is not None and not has_fit_parameter(estimator, "sample_weight"):
        raise TypeError(
            f"{type(estimator).__name__} does not support sample_weight, so neither "
            "weights nor class_weight can be used with it. Choose another estimator or "
            "leave the weights out."
        )
    return estimator.fit(X, y, **accepted_metadata(estimator, given))


def _first_step(pipeline: Pipeline) -> tuple[Any, Pipeline]:
    first = pipeline.steps[0][1]
    if is_passthrough(first):
        first = FunctionTransformer()
    return first, Pipeline(pipeline.steps[1:])


def _check_groups_kept(
    sampler: Any, rest: Pipeline, before: np.ndarray | None, after: np.ndarray | None
) -> None:
    takers = [step for _, step in rest.steps if has_fit_parameter(step, "groups")]
    if before is not None and after is None and takers:
        raise ValueError(
            f"{type(sampler).__name__} creates new rows, which belong to no patient, "
            f"but the next step {type(takers[0]).__name__} needs patients (groups). "
            "Use a sampler that only selects rows, or put it inside that estimator."
        )


def scores_of(estimator: Any, X: Any, target: Target) -> np.ndarray:
    """Return the scores of a fitted learner in the form of its target.

    Parameters
    ----------
    estimator : estimator
        Fitted on an encoded target.
    X : array-like of shape (n_samples, n_features)
        Features.
    target : Target
        Target of the learner.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_outputs)
        NaN for rows that the first step of a `Pipeline` could not read.

    Raises
    ------
    TypeError
        If a classifier has no ``predict_proba``.
    """
    if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
        first, rest = _first_step(estimator)
        if is_sampler(first):
            return scores_of(rest, X, target)
        Z = transform_steps(first, X)
        scores = np.full((Z.shape[0], target.n_outputs), np.nan)
        if has_no_features(Z):
            return scores
        rows = np.flatnonzero(~unreadable_rows(Z))
        if len(rest.steps) == 1:
            check_finite_block(Z)
        if len(rows):
            scores[rows] = scores_of(rest, take_rows(Z, rows), target)
        return scores
    if isinstance(estimator, Pipeline):
        return scores_of(estimator.steps[0][1], X, target)
    return target.ask(estimator, X)
