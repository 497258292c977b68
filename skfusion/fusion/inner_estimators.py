"""Estimators inside a fusion estimator: defaults, seeds, fit and predict."""

from __future__ import annotations

from copy import copy as copy_of
from dataclasses import replace
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import has_fit_parameter

from skfusion._dependencies import loaded, require
from skfusion._fitting.metadata import (
    candidate_lists,
    fit_with_metadata,
    nested_estimators,
    weightless_learners,
)
from skfusion._fitting.parameters import all_params, own_params
from skfusion._fitting.patient_folds import (
    needs_seed,
    patient_splitter,
    seeded_splitter,
)
from skfusion._fitting.pipelines import (
    fit_transform_steps,
    has_no_features,
    is_passthrough,
    is_sampler,
    resample,
    take_rows,
    transform_steps,
    unreadable_rows,
    warn_of_modality,
)
from skfusion.blocks import as_numbers, check_finite_block
from skfusion.exceptions import (
    DataWarning,
    FallbackWarning,
    LeakageWarning,
    warn_user,
)
from skfusion.fusion.early_stopping import (
    EarlyStopping,
    Evaluation,
    evaluation_arguments,
    stops_early,
    without_stopping,
)
from skfusion.fusion.estimator_kinds import has_method, last_step
from skfusion.fusion.survival import SurvivalTimes, XGBoostSurvival
from skfusion.fusion.targets import Numbers, Target, classifier_target
from skfusion.modality import Modality

__all__ = [
    "BlockScaler",
    "accepts_nan",
    "check_transformers",
    "default_learner",
    "default_member",
    "ends_in_predictor",
    "fit_learner",
    "fit_on_target",
    "scores_of",
    "seed",
    "seeded",
    "takes_float32",
    "target_for",
    "warn_of_unstored_values",
    "with_enough_columns",
]

# Each tree of the default learner sees half of the columns, and at least these.
SHARE_OF_COLUMNS = 0.5
COLUMNS_PER_TREE = 16
SAMPLING = ("colsample_bytree", "subsample", "max_bin")

# Their `transform` gives the predictions of their members.
_ENSEMBLES = (
    "StackingClassifier",
    "StackingRegressor",
    "VotingClassifier",
    "VotingRegressor",
)


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
        colsample_bytree=SHARE_OF_COLUMNS,
        # 64 bins were 2.0 and 2.8 times faster than 256 on the 1,280 embedding columns
        # of LIDC and PAD-UFES-20. The AUROC was the same (.950 and .912).
        max_bin=64,
        n_jobs=1,
    )


def with_enough_columns(learner: Any, n_features: int, task: str) -> Any:
    """Let each tree of the default learner see at least 16 columns, or all of fewer.

    A tree that sees one of three columns cannot learn an interaction of two. A modality
    alone would then be weaker than the same columns beside other ones.

    Parameters
    ----------
    learner : estimator
        Any learner. One that samples rows and columns as the default does is changed.
    n_features : int
        Number of columns.
    task : {"classes", "numbers", "survival"}
        Kind of the target.

    Returns
    -------
    estimator
        The learner.

    Examples
    --------
    >>> from skfusion.fusion.inner_estimators import default_learner
    >>> from skfusion.fusion.inner_estimators import with_enough_columns
    >>> [with_enough_columns(default_learner("classes"), n, "classes").colsample_bytree
    ...  for n in (3, 20, 500)]
    [1.0, 0.8, 0.5]
    """
    if not type(learner).__name__.startswith("XGB"):
        return learner
    # Parameters of the default can be set by name, so it is not always the default.
    default, given = default_learner(task), learner.get_params()
    alike = [
        given.get(name) == value
        for name, value in default.get_params().items()
        if name in SAMPLING
    ]
    if type(learner) is not type(default) or not all(alike):
        return learner
    share = min(1.0, max(COLUMNS_PER_TREE / max(n_features, 1), SHARE_OF_COLUMNS))
    return learner.set_params(colsample_bytree=share)


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
    # Not at the top, because they import all learners of scikit-learn.
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge

    linear: Any = Ridge(alpha=10.0)
    if task != "numbers":
        linear = LogisticRegression(C=0.01, max_iter=1000)
    # Missing values become 0, the mean after scaling, and an indicator is added.
    gaps = SimpleImputer(
        strategy="constant", fill_value=0, add_indicator=True, keep_empty_features=True
    )
    steps = [("scale", BlockScaler()), ("impute", gaps), ("model", linear)]
    return Pipeline(steps)


class BlockScaler(StandardScaler):
    """Standardisation of the features of one modality, dense or sparse.

    It differs from `StandardScaler` in three cases. A column without any value stays
    without one, and numpy does not warn about it. Missing values of any kind, such as
    `pandas.NA`, are NaN. A sparse block is divided by the standard deviations and not
    centred, so that it stays sparse. A linear model with an intercept is the same with
    and without the means.

    Parameters
    ----------
    copy : bool, default=True
        Whether to copy the values before they are scaled.
    with_mean : bool, default=True
        Whether to centre the columns of a dense block.
    with_std : bool, default=True
        Whether to divide by the standard deviations.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.inner_estimators import BlockScaler
    >>> BlockScaler().fit_transform(np.array([[1.0, np.nan], [3.0, np.nan]]))
    array([[-1., nan],
           [ 1., nan]])
    """

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Update the means and standard deviations, ignoring missing values."""
        X = as_numbers(X)
        scaler = self._for(X)
        # The mean of no values is NaN, as for any column that was never observed.
        with np.errstate(divide="ignore", invalid="ignore"):
            StandardScaler.partial_fit(scaler, X, y, sample_weight)
        self.__dict__.update({**scaler.__dict__, "with_mean": self.with_mean})
        return self

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Return the scaled columns, sparse if `X` is sparse."""
        X = as_numbers(X)
        return StandardScaler.transform(self._for(X), X, copy)

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """Return the columns on their original scale."""
        return StandardScaler.inverse_transform(self._for(X), X, copy)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _for(self, X: Any) -> BlockScaler:
        """Return a scaler that does not centre a sparse block."""
        if not scipy.sparse.issparse(X) or not self.with_mean:
            return self
        scaler = copy_of(self)
        scaler.with_mean = False
        return scaler


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
    params = all_params(estimator)
    chosen = {}
    for name in sorted(params):
        if name.rpartition("__")[2] == "random_state" and params[name] is None:
            chosen[name] = int(rng.randint(np.iinfo(np.int32).max))
    if chosen:
        estimator.set_params(**chosen)
    for part in nested_estimators(estimator):
        _seed_outside_params(part.estimator, rng)
    return estimator


def _seed_outside_params(estimator: Any, rng: np.random.RandomState) -> None:
    """Seed a splitter of an estimator, and estimators in lists, e.g. candidates."""
    params = own_params(estimator)
    if params.get("random_state", 0) is None:
        estimator.set_params(random_state=int(rng.randint(np.iinfo(np.int32).max)))
    cv = params.get("cv")
    if isinstance(estimator, TargetEncoder) and params["random_state"] == "deprecated":
        cv = patient_splitter(estimator) or cv  # Its default folds are not seeded.
    if needs_seed(cv):
        estimator.cv = _seeded_split(cv, rng)
    # Estimators of users have splitters under other names.
    for name in sorted(set(params) - {"cv"}):
        if needs_seed(params[name]):
            estimator.set_params(**{name: _seeded_split(params[name], rng)})
    for space, key in candidate_lists(estimator):
        if key.rpartition("__")[2] == "cv":
            space[key] = [_seeded_split(value, rng) for value in space[key]]


def _seeded_split(cv: Any, rng: np.random.RandomState) -> Any:
    if not needs_seed(cv):
        return cv
    return seeded_splitter(cv, int(rng.randint(np.iinfo(np.int32).max)))


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
        return has_method(estimator, "predict")
    # Survival estimators have no estimator type. Clusterers have both methods.
    return hasattr(estimator, "predict") and not hasattr(estimator, "transform")


def check_transformers(modalities: list[Modality], owner: str) -> None:
    """Raise an error for a modality whose entry predicts and does not transform.

    Raises
    ------
    TypeError
        If an entry has no `transform`.

    Warns
    -----
    LeakageWarning
        If the features of a modality are predictions of the rows that the models were
        fitted on.
    """
    for modality in modalities:
        if isinstance(modality.transformer, str):  # "passthrough"
            continue
        _warn_of_own_predictions(modality, owner)
        last = last_step(modality.transformer)
        # The fit of a pipeline says where its samplers belong.
        if hasattr(modality.transformer, "transform") or is_sampler(last):
            continue
        name = type(last).__name__
        hint = "Use a transformer."
        if hasattr(modality.transformer, "predict"):
            hint = (
                f"Use late fusion, in which it is the model of the modality, or its "
                f"predictions as features: ModelFeatures({name}(...))."
            )
        raise TypeError(
            f"{owner}: modality {modality.name!r} needs a transformer, but {name} has "
            f"no transform. {hint}"
        )


def _warn_of_own_predictions(modality: Modality, owner: str) -> None:
    steps = [modality.transformer]
    if isinstance(modality.transformer, Pipeline):
        steps = [step for _, step in modality.transformer.steps]
    for step in steps:
        of_members = isinstance(step, loaded("sklearn.ensemble", *_ENSEMBLES))
        if of_members and getattr(step, "cv", None) != "prefit":
            name = type(step).__name__
            warn_user(
                f"{owner}: modality {modality.name!r}: the features from {name} are "
                "its predictions of the rows that it was fitted on, which are better "
                "than those of other rows. Use out-of-fold predictions: "
                f"ModelFeatures({name}(...)).",
                LeakageWarning,
            )


def warn_of_unstored_values(modality: Modality, owner: str) -> None:
    """Warn if a learner would read the unknown values of a sparse output as 0.

    `EventWindows` and `EventGrid` store only known values with ``output="sparse"``.
    """
    last = last_step(modality.transformer)
    if getattr(last, "output", None) == "sparse":
        warn_user(
            f"{owner}: modality {modality.name!r}: {type(last).__name__} does not "
            "store unknown values with output='sparse', and the learner reads them as "
            "0. Add ObservedScaler() as the next step, or set output='dense'.",
            DataWarning,
        )


def accepts_nan(estimator: Any) -> bool:
    """Return whether the tags of an estimator allow NaN in its input."""
    return bool(get_tags(estimator).input_tags.allow_nan)


# Learners that round their input to float32 before anything else.
_TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor")
_FORESTS = (
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "GradientBoostingClassifier",
    "GradientBoostingRegressor",
    "RandomForestClassifier",
    "RandomForestRegressor",
)


def takes_float32(estimator: Any) -> bool:
    """Return whether a learner rounds its input to float32, which it can then get.

    Parameters
    ----------
    estimator : estimator
        Learner of joined features.

    Returns
    -------
    bool
        True for XGBoost and for the trees and forests of scikit-learn.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion.fusion.inner_estimators import takes_float32
    >>> takes_float32(RandomForestClassifier()), takes_float32(LogisticRegression())
    (True, False)
    """
    known = loaded("sklearn.tree", *_TREES) + loaded("sklearn.ensemble", *_FORESTS)
    if isinstance(estimator, (*known, XGBoostSurvival)):
        return True
    kinds = type(estimator).__mro__
    return any(kind.__module__.partition(".")[0] == "xgboost" for kind in kinds)


def fit_learner(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    *,
    sample_weight: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    evaluation: Evaluation | None = None,
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
    evaluation : Evaluation or None, default=None
        Rows for validation of a learner that stops early, as input of the first step.

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
            fit_learner(rest, X, y, **part, evaluation=evaluation)
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
        fit_learner(
            rest,
            take_rows(Z, rows),
            y[rows],
            **part,
            evaluation=_after(first, evaluation),
        )
        if getattr(rest, "learned_nothing_", False):
            estimator.learned_nothing_ = True
        return estimator
    if isinstance(estimator, Pipeline):
        fit_learner(estimator.steps[0][1], X, y, **given, evaluation=evaluation)
        return estimator
    weightless = [] if sample_weight is None else weightless_learners(estimator)
    if weightless:
        owner = type(estimator).__name__
        names = ", ".join(dict.fromkeys(weightless))
        inside = "" if weightless == [owner] else f" inside {owner}"
        raise TypeError(
            f"{names}{inside} does not support sample_weight, so neither weights nor "
            "class_weight can be used with it. Choose another estimator or leave the "
            "weights out."
        )
    return fit_with_metadata(
        estimator, X, y, given, arguments=evaluation_arguments(estimator, evaluation)
    )


def fit_on_target(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    target: Target,
    *,
    sample_weight: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    stopping: EarlyStopping | None = None,
    sources: np.ndarray | None = None,
) -> Any:
    """Fit a learner on an encoded target, and hold out rows if it stops early.

    Parameters
    ----------
    estimator : estimator
        The (cloned) learner to fit.
    X : array-like of shape (n_samples, n_features)
        Features.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Encoded target.
    target : Target
        Target that encoded `y`.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights.
    groups : ndarray of shape (n_samples,) or None, default=None
        Patient ids.
    stopping : EarlyStopping or None, default=None
        Choice of the rows held out. None for a learner that does not stop early.
    sources : ndarray of int of shape (n_samples,) or None, default=None
        Position of the row of which each row is a copy, itself for an original. The
        originals come first. A copy is on the side of its original.

    Returns
    -------
    estimator
        The fitted estimator.

    Warns
    -----
    FallbackWarning
        If there are too few rows, patients or cases to hold some out. The learner is
        then fitted without early stopping.
    """
    target.warn_of_constants(y)
    read = target.to_learn(estimator, y)
    if stopping is None or not stops_early(estimator):
        return fit_learner(
            estimator, X, read, sample_weight=sample_weight, groups=groups
        )
    n_rows = len(y) if sources is None else int(sources.max()) + 1
    held_out = stopping.rows(
        target.strata(y[:n_rows]),
        None if groups is None else groups[:n_rows],
        n_rows=n_rows,
    )
    if len(held_out) == 0:
        if stopping.fraction > 0:
            _warn_of_no_stopping(estimator, n_rows, stopping.owner)
        return fit_learner(
            without_stopping(estimator),
            X,
            read,
            sample_weight=sample_weight,
            groups=groups,
        )
    aside = np.isin(np.arange(len(y)) if sources is None else sources, held_out)
    seen, unseen = np.flatnonzero(~aside), np.flatnonzero(aside)
    evaluation = Evaluation(
        take_rows(X, unseen),
        read[unseen],
        None if sample_weight is None else sample_weight[unseen],
    )
    return fit_learner(
        estimator,
        take_rows(X, seen),
        read[seen],
        sample_weight=None if sample_weight is None else sample_weight[seen],
        groups=None if groups is None else groups[seen],
        evaluation=evaluation,
    )


def _warn_of_no_stopping(estimator: Any, n_rows: int, owner: str) -> None:
    name = type(last_step(estimator)).__name__
    warn_of_modality(
        "no early stopping",
        f"{owner}: {n_rows} rows are too few to hold some out for the early stopping "
        f"of {name}, which is fitted without it. Pass 40 rows or more with enough "
        "patients and cases of each class, or set a number of trees.",
        FallbackWarning,
    )


def _after(step: Any, evaluation: Evaluation | None) -> Evaluation | None:
    """Return the rows for validation as the output of a fitted step."""
    if evaluation is None:
        return None
    Z = transform_steps(step, evaluation.X)
    rows = np.flatnonzero(~unreadable_rows(Z))
    weights = evaluation.sample_weight
    return Evaluation(
        take_rows(Z, rows),
        evaluation.y[rows],
        None if weights is None else weights[rows],
    )


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
