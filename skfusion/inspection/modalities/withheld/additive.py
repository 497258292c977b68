"""Values of coalitions in closed form, for outputs that are sums over modalities.

The output of a linear model is a sum with one term per modality, and so is the value of
every coalition of modalities. The terms follow from one prediction per case and
modality, instead of one per case, coalition and background case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import linear_model
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.feature_selection import (
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    VarianceThreshold,
)
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import LinearSVC, LinearSVR

from skfusion._fitting.pipelines import is_passthrough
from skfusion.fusion.early.base import BaseEarlyFusion
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.fusion.per_output import ClassifierPerLabel, RegressorPerNumber
from skfusion.fusion.survival import CoxRidge
from skfusion.inspection.modalities.withheld.mixing import mean_outputs, take_part
from skfusion.inspection.models import (
    LARGEST_LOG_ODDS,
    FusionModel,
    Parts,
    Question,
    TableModel,
    same_predictions,
)
from skfusion.inspection.wrapped import WrappedFusion

__all__ = ["additive_values", "is_additive"]


# The types themselves, because a subclass may predict something else.
LOGISTIC = {
    linear_model.LogisticRegression,
    linear_model.LogisticRegressionCV,
    LinearDiscriminantAnalysis,
}
NUMERIC = {
    linear_model.ARDRegression,
    linear_model.BayesianRidge,
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.HuberRegressor,
    linear_model.Lars,
    linear_model.LarsCV,
    linear_model.Lasso,
    linear_model.LassoCV,
    linear_model.LassoLars,
    linear_model.LassoLarsCV,
    linear_model.LassoLarsIC,
    linear_model.LinearRegression,
    linear_model.MultiTaskElasticNet,
    linear_model.MultiTaskElasticNetCV,
    linear_model.MultiTaskLasso,
    linear_model.MultiTaskLassoCV,
    linear_model.QuantileRegressor,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.SGDRegressor,
    linear_model.TheilSenRegressor,
    CoxRidge,
    LinearSVR,
}
DECIDING = {
    linear_model.Perceptron,
    linear_model.RidgeClassifier,
    linear_model.RidgeClassifierCV,
    LinearSVC,
}
AFFINE = {
    MaxAbsScaler,
    RobustScaler,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    StandardScaler,
    VarianceThreshold,
}
COLUMNWISE = {
    KBinsDiscretizer,
    MinMaxScaler,  # may clip
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    SimpleImputer,
    SplineTransformer,
}
MIXING = {PCA, TruncatedSVD}

AVERAGES = ("mean", "weighted")

# Beyond rounding errors, a difference says that the model is not the sum it should be.
LARGEST_GAP = 1e-6


def additive_values(
    model: FusionModel | TableModel,
    parts: Parts,
    background: Parts,
    coalitions: np.ndarray,
    ask: Callable[[Any], np.ndarray],
    full: np.ndarray,
    other: np.ndarray,
) -> np.ndarray | None:
    """Compute the values of coalitions from the terms of the modalities, if possible.

    Parameters
    ----------
    model : FusionModel or TableModel
        The model.
    parts : dict of str to array of n rows
        The encoded modalities of the cases.
    background : dict of str to array of K rows
        The encoded modalities of the background cases.
    coalitions : ndarray of bool of shape (n_coalitions, M)
        The modalities that are taken from the case.
    ask : callable
        Maps encoded modalities to outputs (n, C).
    full, other : ndarray of shape (n, C) and (K, C)
        Outputs of the cases and of the background cases.

    Returns
    -------
    ndarray of float64 of shape (n_coalitions, n, C) or None
        The mean outputs over the background cases. None if the output is not known to
        be additive, if mixed rows may have no modality, or if log-odds may be clipped.
    """
    if not (isinstance(ask, Question) and is_additive(model, ask.scale)):
        return None
    if isinstance(model, FusionModel) and not _always_answers(model, parts, background):
        return None
    # f(x) = f(r) + sum of f(x_m, r of the others) - f(r), for any row r. Log-odds are
    # most exact in the middle.
    middle = np.abs(other).sum(axis=1).argmin()
    reference = {
        name: take_part(part, np.array([middle])) for name, part in background.items()
    }
    start = other[middle]
    alone = np.eye(len(model.modalities), dtype=bool)
    terms, means = (
        mean_outputs(model, rows, reference, alone, ask) - start
        for rows in (parts, background)
    )
    log_odds = ask.scale == "link" and _gives_log_odds(model)
    if log_odds and _may_be_clipped(start, np.concatenate([terms, means], axis=1)):
        return None
    for sums, outputs in ((terms, full), (means, other)):
        size = np.abs(outputs).max(axis=0)
        allowed = LARGEST_GAP * np.maximum(1.0, size)
        if log_odds:  # which are computed from rounded probabilities
            allowed += np.finfo(np.float64).eps * np.exp(size)
        if not (np.abs(start + sums.sum(axis=0) - outputs) <= allowed).all():
            return None
    joining = terms - means.mean(axis=1, keepdims=True)
    return other.mean(axis=0) + np.tensordot(coalitions.astype(float), joining, axes=1)


def is_additive(model: FusionModel | TableModel, scale: str) -> bool:
    """Return whether the output of a model is a sum of terms of single modalities.

    Parameters
    ----------
    model : FusionModel or TableModel
        The model.
    scale : {"link", "proba", "custom"}
        Scale of the output.

    Returns
    -------
    bool
        True for linear learners whose features each belong to one modality, and for
        late fusions that add numbers, probabilities or log-odds. False if it is not
        known.
    """
    if isinstance(model, WrappedFusion) or scale == "custom":
        return False
    if isinstance(model, TableModel):
        return _is_linear(model.estimator, _learners(model, scale))
    fusion = model.estimator
    if isinstance(fusion, BaseEarlyFusion):
        learners = _learners(model, scale)
        has_columns = fusion.joined_columns() is not None
        return has_columns and _is_linear(fusion.estimator_, learners)
    if not isinstance(fusion, BaseLateFusion) or hasattr(fusion, "final_calibrator_"):
        return False
    if fusion.aggregation == "stacking":
        final = getattr(fusion, "final_estimator_", None)
        return _is_linear(final, _learners(model, scale))
    if fusion.aggregation in ("bayes", "product"):
        return scale == "link" and _has_two_classes(model)
    if fusion.aggregation not in AVERAGES:
        return False
    return scale == "proba" or model.kind in ("numbers", "survival")


def _gives_log_odds(model: FusionModel | TableModel) -> bool:
    return model.kind in ("classes", "labels") and getattr(
        model, "has_probabilities", True
    )


def _learners(model: FusionModel | TableModel, scale: str) -> set[type]:
    """Return the learners whose output on a scale is a sum over their features."""
    if model.kind in ("numbers", "survival"):
        return NUMERIC
    if scale != "link":
        return set()
    if not getattr(model, "has_probabilities", True):
        return DECIDING
    return LOGISTIC if _has_two_classes(model) else set()


def _has_two_classes(model: FusionModel | TableModel) -> bool:
    if model.kind == "classes":
        return model.labels is not None and len(model.labels) == 2
    return model.kind == "labels"


def _is_linear(estimator: Any, learners: set[type]) -> bool:
    """Return whether an estimator is a linear learner behind columnwise steps."""
    within = same_predictions(estimator)
    if within is not None:
        return _is_linear(within, learners)
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps[:-1]]
        return _keeps_sums(steps) is not None and _is_linear(estimator[-1], learners)
    if type(estimator) in (ClassifierPerLabel, RegressorPerNumber):
        each = learners | {DummyClassifier}  # of labels with one value
        return all(_is_linear(single, each) for single in estimator.estimators_)
    if type(estimator) is linear_model.SGDClassifier:
        wanted = linear_model.LogisticRegression in learners
        return wanted and estimator.loss == "log_loss"
    return type(estimator) in learners


def _keeps_sums(steps: list[Any]) -> bool | None:
    """Return whether columns were mixed by steps, or None if they are not additive.

    A function of one column is additive in the modalities if the column is that of one
    modality. Behind a step that mixes columns, only affine functions are.
    """
    mixed = False
    for step in steps:
        if is_passthrough(step) or type(step) in AFFINE:
            continue
        if type(step) is FunctionTransformer and step.func is None:
            continue
        if type(step) is Pipeline:
            inside = _keeps_sums([inner for _, inner in step.steps])
        elif type(step) is ColumnTransformer:
            parts = [part for _, part, columns in step.transformers_ if part != "drop"]
            found = [_keeps_sums([part]) for part in parts]
            inside = None if None in found else any(found)
        elif type(step) in COLUMNWISE:
            inside = False
        else:
            inside = True if type(step) in MIXING else None
        affine = type(step) in MIXING
        if inside is None or (mixed and not affine):
            return None
        mixed = mixed or inside
    return mixed


def _may_be_clipped(start: np.ndarray, terms: np.ndarray) -> bool:
    """Return whether log-odds of mixed rows may be beyond those that are clipped."""
    lowest = start + terms.min(axis=1).sum(axis=0)
    highest = start + terms.max(axis=1).sum(axis=0)
    varies = terms.any(axis=(0, 1))  # a label with one value is clipped in every row
    largest = np.maximum(-lowest, highest)[varies].max(initial=0.0)
    return bool(largest > LARGEST_LOG_ODDS - 0.1)


def _always_answers(model: FusionModel, parts: Parts, background: Parts) -> bool:
    """Return whether every mixed row is answered by the same sum.

    A row without any modality has the average of the training data. An average of
    members is a sum with fixed weights only if all members are present.
    """
    tables = [
        np.unique(
            [~np.isnan(table[name]).all(axis=1) for name in model.modalities], axis=1
        ).T
        for table in (parts, background)
    ]
    everything = np.vstack(tables)
    if getattr(model.estimator, "aggregation", None) in AVERAGES:
        return bool(everything.all())
    shared = everything.astype(int) @ tables[1].T.astype(int)
    return bool((shared > 0).all())
