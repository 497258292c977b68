"""Hand-over of weights and patients to an estimator and the estimators inside it.

Metadata routing is the only way by which scikit-learn passes groups through a search, a
`ColumnTransformer` or an ensemble, and it is off by default. A fusion knows the weights
and patients and which estimators accept them, so it fits its (cloned) estimators with
routing enabled and requests them where the user has stated nothing. The mode of
the user is not changed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from inspect import Parameter, signature
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    TransformerMixin,
    clone,
    is_classifier,
    is_regressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from skfusion._dependencies import loaded
from skfusion._fitting.modality_warnings import warn_of_modality
from skfusion._fitting.parameters import own_params
from skfusion._fitting.patient_folds import (
    PatientFolds,
    RoutedFolds,
    count_repeated,
    count_shared_patients,
    folds_of_patients,
    is_grouped,
    patient_splitter,
)
from skfusion.exceptions import FallbackWarning, LeakageWarning

__all__ = [
    "Part",
    "PatientSplits",
    "candidate_lists",
    "consumed",
    "fit_with_metadata",
    "holds_rows_out",
    "is_sampler",
    "nested_estimators",
    "own_folds",
    "supports_weights",
    "weightless_learners",
]

Metadata = dict[str, np.ndarray | None]
NAMES = ("sample_weight", "groups")
# HistGradientBoosting stops early by default above this number of rows.
AUTOMATIC_EARLY_STOPPING = 10_000
# Name of metadata by which it is found out what routing reaches.
PROBE = "probe_of_skfusion"
TREE_LIBRARIES = ("xgboost", "lightgbm", "catboost")
# Names of users for a number of folds. Estimators of scikit-learn have `cv`.
NUMBERS_OF_FOLDS = (
    *("n_folds", "n_splits", "n_cv", "n_cv_folds", "folds", "cv_folds", "k_folds"),
    *("inner_cv", "inner_folds", "cv_inner", "outer_cv", "outer_folds"),
)
SEARCH_SPACES = ("param_grid", "param_distributions", "search_spaces")


@dataclass(frozen=True)
class Part:
    """An estimator inside another one, or that one itself.

    Attributes
    ----------
    estimator : estimator
        The estimator.
    resampled : bool
        Whether a sampler before it changes its rows, so that metadata do not fit them.
    candidate : tuple of (search, str, estimator) or None
        The search of which it is, or is inside, a candidate for a parameter.
    """

    estimator: Any
    resampled: bool = False
    candidate: tuple[Any, str, Any] | None = None


def is_sampler(step: Any) -> bool:
    """Return whether a step is a sampler of imbalanced-learn.

    A sampler changes the rows in `fit` only and is skipped in prediction.
    """
    return hasattr(step, "fit_resample") and not isinstance(step, Pipeline)


# Types of most parameters, which contain no estimator.
_PLAIN = {type(None), bool, float, int, str}


def nested_estimators(estimator: Any) -> Iterator[Part]:
    """Yield an estimator and all unfitted estimators in its parameters.

    Parameters
    ----------
    estimator : estimator
        Its parameters may be estimators, or lists and dicts of them. A frozen estimator
        is not fitted, so neither it nor its parameters are yielded.

    Yields
    ------
    Part
        Estimators that keep patients together themselves, e.g. those of skfusion, are
        yielded, but not their parameters.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skfusion._fitting.metadata import nested_estimators
    >>> search = GridSearchCV(LogisticRegression(), {"C": [1.0]})
    >>> [type(part.estimator).__name__ for part in nested_estimators(search)]
    ['GridSearchCV', 'LogisticRegression']
    """
    yield from _walk(estimator, Part(None))


def _walk(value: Any, where: Part) -> Iterator[Part]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _walk(entry, where)
    elif _is_fitted_later(value):
        yield replace(where, estimator=value)
        if isinstance(value, Pipeline):
            for _, step in value.steps:
                yield from _walk(step, where)
                where = replace(where, resampled=where.resampled or is_sampler(step))
        elif not _groups_itself(value):
            yield from _walk_parameters(value, where)


def _walk_parameters(estimator: Any, where: Part) -> Iterator[Part]:
    for space, key in candidate_lists(estimator):
        for candidate in space[key]:
            found = (estimator, key, candidate)
            yield from _walk(candidate, replace(where, candidate=found))
    for name, parameter in own_params(estimator).items():
        if type(parameter) in _PLAIN or name in SEARCH_SPACES:
            continue
        if name != "final_estimator" or not getattr(estimator, "fits_final", False):
            yield from _walk(parameter, where)


def candidate_lists(search: Any) -> list[tuple[dict[str, Any], str]]:
    """Return where the candidates of a search are.

    Parameters
    ----------
    search : estimator
        A search, or an estimator without a space of parameters.

    Returns
    -------
    list of (dict, str)
        Each dict in its space, with each of its keys whose value is a list.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skfusion._fitting.metadata import candidate_lists
    >>> candidate_lists(GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}))
    [({'C': [1.0, 2.0]}, 'C')]
    """
    params = own_params(search)
    spaces: list[Any] = []
    for name in SEARCH_SPACES:
        given = params.get(name)
        spaces += given if isinstance(given, (list, tuple)) else [given]
    return [
        (space, key)
        for space in spaces
        if isinstance(space, dict)
        for key, values in space.items()
        if isinstance(values, (list, tuple))
    ]


def _is_fitted_later(value: Any) -> bool:
    """Return whether a value is an estimator that is not frozen."""
    return (
        not isinstance(value, (type, FrozenEstimator))
        and hasattr(value, "get_params")
        and hasattr(value, "fit")  # A kernel has none.
    )


def holds_rows_out(estimator: Any, n_rows: int | None = None) -> str | None:
    """Return which parameter makes an estimator hold out rows by itself.

    Parameters
    ----------
    estimator : estimator
        The estimator, without regard to nested estimators.
    n_rows : int or None, default=None
        Number of training rows, for early stopping that depends on it. With None, it is
        assumed that they are many.

    Returns
    -------
    str or None
        The parameter with its value, e.g. ``"oob_score=True"``.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skfusion._fitting.metadata import holds_rows_out
    >>> holds_rows_out(RandomForestClassifier(oob_score=True))
    'oob_score=True'
    >>> holds_rows_out(RandomForestClassifier())
    """
    params = own_params(estimator)
    if "oob_score" in params and params["oob_score"] is not False:
        oob = params["oob_score"]
        on = callable(oob) or (isinstance(oob, (bool, np.bool_)) and bool(oob))
        return "oob_score=True" if on else None
    # The fraction counts only where early stopping is on.
    if takes_validation_rows(estimator):
        return None  # It stops early on rows that are passed to `fit`.
    for name in ("early_stopping", "n_iter_no_change", "validation_fraction"):
        if name not in params:
            continue
        value = params[name]
        if isinstance(value, str):
            value = n_rows is None or n_rows > AUTOMATIC_EARLY_STOPPING
        return f"{name}={params[name]!r}" if value else None
    for name in ("early_stopping_rounds", "early_stopping_round", "train_split"):
        if params.get(name):
            shown = repr(params[name]) if np.isscalar(params[name]) else "..."
            return f"{name}={shown}"
    return None


def own_folds(estimator: Any) -> str | None:
    """Return the parameter with the folds of an estimator, if it is not `cv`.

    Parameters
    ----------
    estimator : estimator
        The estimator, without regard to nested estimators.

    Returns
    -------
    str or None
        A parameter whose value is a splitter, or whose name is that of a number of
        folds, e.g. ``"n_folds=5"``.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from skfusion._fitting.metadata import own_folds
    >>> class Blend(BaseEstimator):
    ...     def __init__(self, estimator=None, n_folds=5):
    ...         self.estimator, self.n_folds = estimator, n_folds
    >>> own_folds(Blend())
    'n_folds=5'
    """
    for name, value in own_params(estimator).items():
        if name == "cv":
            continue
        is_number = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if hasattr(value, "split") and hasattr(value, "get_n_splits"):
            return f"{name}={_short(value)}"
        if name in NUMBERS_OF_FOLDS and is_number and value > 1:
            return f"{name}={value}"
    return None


def takes_validation_rows(estimator: Any) -> bool:
    """Return whether an estimator stops early on rows that `fit` gets as `eval_set`.

    Parameters
    ----------
    estimator : estimator
        The estimator, without regard to nested estimators.

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion._fitting.metadata import takes_validation_rows
    >>> takes_validation_rows(LogisticRegression())
    False
    """
    known = library_of_trees(estimator) is not None
    return known or has_fit_parameter(estimator, "eval_set")


def library_of_trees(estimator: Any) -> str | None:
    """Return the library of boosted trees of which a class or a parent class is."""
    for kind in type(estimator).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in TREE_LIBRARIES:
            return name
    return None


def supports_weights(estimator: Any) -> bool:
    """Return whether weights reach every learner inside an estimator.

    Parameters
    ----------
    estimator : estimator
        A learner, a `Pipeline` that ends in one, or a meta-estimator.

    Returns
    -------
    bool

    See Also
    --------
    weightless_learners : The learners that weights do not reach.
    """
    return not weightless_learners(estimator)


def weightless_learners(estimator: Any) -> list[str]:
    """Return the learners because of which an estimator does not support weights.

    Parameters
    ----------
    estimator : estimator
        A learner, a `Pipeline` that ends in one, or a meta-estimator. A meta-estimator
        whose `fit` has no `sample_weight` in its signature supports weights if all
        learners inside it do.

    Returns
    -------
    list of str
        Names of classes. A sampler inside a meta-estimator is one of them, because its
        weights would not be those of the rows that it selects.

    Examples
    --------
    >>> from sklearn.ensemble import VotingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skfusion._fitting.metadata import weightless_learners
    >>> weightless_learners(VotingClassifier([("a", LogisticRegression())]))
    []
    >>> weightless_learners(VotingClassifier([("a", KNeighborsClassifier())]))
    ['KNeighborsClassifier']
    """
    if isinstance(estimator, Pipeline):
        return weightless_learners(estimator.steps[-1][1])
    if not hasattr(estimator, "fit") or has_fit_parameter(estimator, "sample_weight"):
        return []
    learners = _children(estimator) if _takes_any_keyword(estimator.fit) else []
    if not learners:
        return [_name(estimator)]
    samplers = [
        type(step).__name__
        for learner in learners
        if isinstance(learner, Pipeline)
        for _, step in learner.steps
        if is_sampler(step)
    ]
    return samplers + [name for one in learners for name in weightless_learners(one)]


def fit_with_metadata(
    estimator: Any,
    X: Any,
    y: Any,
    metadata: Metadata,
    *,
    method: str = "fit",
    arguments: dict[str, Any] | None = None,
) -> Any:
    """Fit an estimator with the weights and patients that it or its parts accept.

    The inner splits of the estimator and its parts keep each patient on one side where
    `cv` is None or a number, or a splitter that uses groups. A warning counts the
    patients with rows on both sides of any other inner split.

    Parameters
    ----------
    estimator : estimator
        The (cloned) estimator. It is fitted, and its parts may be changed.
    X, y : array-like of n_samples rows
        Training rows.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``.
    method : {"fit", "fit_transform"}, default="fit"
        Method to call.
    arguments : dict of str to any or None, default=None
        Further arguments of the method, passed to the estimator as they are.

    Returns
    -------
    any
        Result of the method.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GridSearchCV
    >>> from skfusion._fitting.metadata import fit_with_metadata
    >>> X, y, groups = np.zeros((12, 1)), np.tile([0, 1], 6), np.repeat(range(3), 4)
    >>> search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=3)
    >>> fitted = fit_with_metadata(search, X, y, {"groups": groups})
    >>> fitted.n_splits_
    3
    """
    given = {name: value for name, value in metadata.items() if value is not None}
    call = _HandOver(estimator, given, method, X, y)
    return call.run(arguments or {})


@contextmanager
def _as_estimator(candidate: tuple[Any, str, Any] | None) -> Iterator[None]:
    """Let the estimator of a search have one of its candidates."""
    if candidate is None:
        yield
        return
    search, key, value = candidate
    before = search.estimator
    try:
        search.estimator = clone(before).set_params(**{key: value})
        yield
    finally:
        search.estimator = before


class _HandOver:
    """One call of `fit` or `fit_transform` with weights and patients."""

    def __init__(
        self, estimator: Any, given: dict[str, np.ndarray], method: str, X: Any, y: Any
    ) -> None:
        self.estimator = estimator
        self.given = given
        self.method = method
        self.X = X
        self.y = y
        # Walked once: what else is changed for the fit contains no estimator.
        self.parts = list(nested_estimators(estimator))
        self.ungrouped: list[Part] = []
        self.before: dict[int, Any] = {}  # `cv` of the parts that are grouped
        self.is_changed = False  # besides `cv` and `scoring` of the outermost part

    def run(self, further: dict[str, Any]) -> Any:
        if "groups" in self.given and _replace_classes(self.parts):
            self.is_changed = True
            self.parts = list(nested_estimators(self.estimator))
        try:
            with self._own_folds():
                routed = bool(self.given) and self._prepare()
                with config_context(enable_metadata_routing=routed):
                    arguments = self._arguments(routed=routed)
                    self._warn_of_splits()
                    self._warn_of_weights(arguments, routed=routed)
                    return self._call({**arguments, **further})
        finally:
            if self.is_changed:
                _restore(self.estimator)

    # -- patients -----------------------------------------------------------------

    @contextmanager
    def _own_folds(self) -> Iterator[None]:
        """Give the outermost estimator its folds, because it gets these very rows."""
        estimator, groups = self.estimator, self.given.get("groups")
        before = own_params(estimator)
        if groups is not None and _splits(estimator) and not _groups_itself(estimator):
            folds = None
            if _accepts_splitter(estimator) and not _is_leave_one_out(estimator):
                folds = folds_of_patients(estimator, self.X, self.y, groups)
            if folds is None:
                self.ungrouped.append(Part(estimator))
            elif not isinstance(estimator, PatientSplits):
                estimator.set_params(cv=folds)
        try:
            yield
        finally:
            for name in {"cv", "scoring"} & set(before):
                setattr(estimator, name, before[name])

    def _prepare(self) -> bool:
        """Request the metadata in every part and return whether routing is possible."""
        parts = self.parts
        weighted = "sample_weight" in self.given
        if len(parts) == 1 or (
            weighted and not all(_can_request(part.estimator) for part in parts)
        ):
            self._leave(parts[1:])
            return False
        with config_context(enable_metadata_routing=True):
            try:
                get_routing_for_object(self.estimator)
            except (NotImplementedError, ValueError):
                # AdaBoost in scikit-learn 1.9; a subclass without an argument of `fit`
                # that its base class excludes from routing.
                self._leave(parts[1:])
                return False
            self.is_changed = True
            for part in parts:
                _request(part, weighted=weighted)
                if "groups" in self.given:
                    _group_search_space(part.estimator)
            if "groups" in self.given:
                for part in parts[1:]:
                    self._group(part)
                for part in parts:
                    self._check_candidates(part, weighted=weighted)
            for part in parts:
                _replace_own_score(part.estimator, weighted=weighted)
            return self._satisfy_target_encoders(parts[1:])

    def _leave(self, parts: list[Part]) -> None:
        self.ungrouped += [
            part
            for part in parts
            if _splits(part.estimator) and not _groups_itself(part.estimator)
        ]

    def _group(self, part: Part) -> None:
        """Make the splits of a nested estimator splits of patients."""
        estimator = part.estimator
        if _groups_itself(estimator) or not _splits(estimator):
            return
        usable = _accepts_splitter(estimator) and not _is_leave_one_out(estimator)
        splitter = patient_splitter(estimator) if usable else None
        reached = not part.resampled and self._reaches(part)
        if is_grouped(estimator.cv) and not part.resampled:
            return  # Without groups, it raises an error.
        if splitter is None or not reached:
            self.ungrouped.append(part)
            return
        self.before[id(estimator)] = estimator.cv
        if not isinstance(estimator, PatientSplits):
            if isinstance(splitter, PatientFolds):
                splitter.expects_groups = True
            estimator.set_params(cv=splitter)

    def _check_candidates(self, where: Part, *, weighted: bool) -> None:
        """Undo the grouping inside a search unless all candidates take groups.

        A search passes to every candidate what its `estimator` requests.
        """
        search = where.estimator
        if not candidate_lists(search) or (
            len(_consumed_by_candidates(search, "fit", "groups")) < 2
        ):
            return
        for part in nested_estimators(search):
            if part.estimator is not search and id(part.estimator) in self.before:
                _restore(part.estimator)
                part.estimator.cv = self.before.pop(id(part.estimator))
                for inner in nested_estimators(part.estimator):
                    resampled = where.resampled or part.resampled or inner.resampled
                    _request(replace(inner, resampled=resampled), weighted=weighted)
                self.ungrouped.append(part)

    def _reaches(self, part: Part) -> bool:
        """Return whether routing passes groups to the splits of a part."""
        estimator = part.estimator
        with _as_estimator(part.candidate):
            if isinstance(estimator, PatientSplits):
                requests = estimator._metadata_request
                estimator.set_fit_request(groups=PROBE)
                try:
                    return bool(consumed(self.estimator, self.method, [PROBE]))
                finally:
                    estimator._metadata_request = requests
            before = estimator.cv
            splitter = PatientFolds()
            splitter.set_split_request(groups=PROBE)
            try:
                estimator.cv = splitter
                return bool(consumed(self.estimator, self.method, [PROBE]))
            finally:
                estimator.cv = before

    def _satisfy_target_encoders(self, parts: list[Part]) -> bool:
        """Let the splitters of `TargetEncoder` request groups, which it cannot omit.

        Returns False if weights can only be routed by groups that are not known.
        """
        encoders = [
            part.estimator
            for part in parts
            if isinstance(part.estimator, TargetEncoder)
            and _accepts_splitter(part.estimator)
        ]
        if "groups" in self.given:
            encoders = [one for one in encoders if not is_grouped(one.cv)]
        elif encoders:
            splitters = [patient_splitter(one) or one.cv for one in encoders]
            for encoder in encoders:
                encoder.cv = 2
            if consumed(self.estimator, self.method, ["groups"]):
                for encoder, splitter in zip(encoders, splitters, strict=True):
                    encoder.cv = splitter
                return False  # Row numbers would pass for patients there.
            for encoder, splitter in zip(encoders, splitters, strict=True):
                encoder.cv = splitter
            n_rows = self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)
            self.given["groups"] = np.arange(n_rows)
        for encoder in encoders:
            encoder.cv = RoutedFolds(encoder.cv)
        return True

    def _warn_of_splits(self) -> None:
        groups = self.given.get("groups")
        if groups is None:
            return
        found: dict[str, int] = {}
        for part in self.ungrouped:
            shared = count_shared_patients(part.estimator, self.X, self.y, groups)
            name = f"{_name(part.estimator)} (cv={_short(part.estimator.cv)})"
            found[name] = max(shared, found.get(name, 0))
        for part in self.parts:
            if _groups_itself(part.estimator):
                continue
            held_out = holds_rows_out(part.estimator, len(groups))
            if not held_out and not has_fit_parameter(part.estimator, "groups"):
                held_out = own_folds(part.estimator)
            if held_out:
                name = f"{type(part.estimator).__name__} ({held_out})"
                found[name] = count_repeated(groups)
        found = {name: count for name, count in found.items() if count}
        if found:
            warn_of_modality(
                f"inner splits of {', '.join(sorted(found))}",
                f"{max(found.values())} of {len(np.unique(groups))} patients have "
                f"rows on both sides of the inner splits of {', '.join(found)}, so "
                "what it learns from the rows it holds out is too optimistic. Pass "
                "cv as a number or a group-aware splitter such as StratifiedGroupKFold "
                "where the estimator has a cv, or choose an estimator that holds out "
                "no rows.",
                LeakageWarning,
            )

    def _warn_of_weights(
        self, arguments: dict[str, np.ndarray], *, routed: bool
    ) -> None:
        """Name the parts that weights do not reach."""
        if "sample_weight" not in self.given:
            return
        inner = [
            part.estimator
            for part in self.parts
            if part.estimator is not self.estimator
        ]
        why = "do not support sample_weight"
        if "sample_weight" in arguments:
            names = {
                name
                for part in inner
                if _learns(part)
                for name in weightless_learners(part)
            }
        elif routed:  # All parts that accept weights were asked, or the user declined.
            return
        else:
            why = "get no sample_weight, because another part does not pass it on"
            names = {
                _name(part)
                for part in inner
                if has_fit_parameter(part, "sample_weight")
            }
        if names:
            warn_of_modality(
                f"no weights in {sorted(names)}",
                f"{', '.join(sorted(names))} inside {_name(self.estimator)} {why}, so "
                "they are fitted without weights.",
                FallbackWarning,
            )

    # -- the call -----------------------------------------------------------------

    def _arguments(self, *, routed: bool) -> dict[str, np.ndarray]:
        estimator, given = self.estimator, self.given
        arguments: dict[str, np.ndarray] = {}
        accepted = [name for name in given if has_fit_parameter(estimator, name)]
        if not accepted and not routed and "sample_weight" not in given:
            return arguments
        stated = _stated_requests(estimator, "fit")
        for name in given:
            request = stated.get(name)
            if request is False:
                continue
            value = given.get(request) if isinstance(request, str) else given[name]
            if name in accepted and value is not None:
                arguments[name] = value
        if routed:
            for name in consumed(estimator, self.method, list(given)):
                if name not in arguments and stated.get(name) is not False:
                    arguments[name] = given[name]
        elif (
            "sample_weight" in given
            and stated.get("sample_weight") is not False
            and self.method == "fit"
            and _passes_on(estimator)
            and supports_weights(estimator)
        ):
            arguments["sample_weight"] = given["sample_weight"]
        return arguments

    def _call(self, arguments: dict[str, np.ndarray]) -> Any:
        estimator = self.estimator
        if self.method == "fit":
            return estimator.fit(self.X, self.y, **arguments)
        if hasattr(estimator, "fit_transform") and all(
            _takes(estimator.fit_transform, name) for name in arguments
        ):
            return estimator.fit_transform(self.X, self.y, **arguments)
        return estimator.fit(self.X, self.y, **arguments).transform(self.X)


# -- stacking and calibration, which pass no groups to their splitter ----------------


class PatientSplits:
    """Mixin for meta-estimators whose splitter gets no groups by routing.

    Attributes
    ----------
    fits_final : bool
        Whether `fit` hands the metadata over to the final estimator.
    """

    __metadata_request__fit = {"groups": True}

    cv: Any
    estimators: list[tuple[str, Any]]
    final_estimator_: Any
    _metadata_request: Any
    set_fit_request: Callable[..., Any]
    _plain: type
    fits_final = False

    def get_metadata_routing(self) -> MetadataRouter:
        router: MetadataRouter = super().get_metadata_routing()  # type: ignore[misc]
        if router._self_request is None:
            router.add_self_request(self)
        return router

    @contextmanager
    def _split_by(self, X: Any, y: Any, groups: Any) -> Iterator[None]:
        before = self.cv
        folds = None
        if groups is not None:
            folds = folds_of_patients(self, X, y, np.asarray(groups))
        if folds is not None:
            self.cv = folds
        try:
            yield
        finally:
            self.cv = before


# Estimators of scikit-learn with a substitute in `patient_meta_estimators`.
_SUBSTITUTED = (
    "CalibratedClassifierCV",
    "RidgeCV",
    "StackingClassifier",
    "StackingRegressor",
)


def _substitute_of(kind: type) -> type[PatientSplits] | None:
    """Return the class whose `fit` passes groups to its splitter, if there is one."""
    is_known = kind.__module__.startswith("sklearn.") and kind.__name__ in _SUBSTITUTED
    if not is_known:
        return None
    # It imports all learners of scikit-learn, which takes longer than a prediction.
    substitutes = import_module("skfusion._fitting.patient_meta_estimators")
    found: type[PatientSplits] | None = substitutes.SUBSTITUTES.get(kind)
    return found


def _replace_classes(parts: list[Part]) -> bool:
    """Give estimators that pass no groups to their splitter a `fit` that does.

    Returns whether there are such estimators.
    """
    replaced = False
    for part in parts:
        kind = _substitute_of(type(part.estimator))
        if kind is None or part.resampled or not _splits(part.estimator):
            continue
        if kind._plain.__name__ == "RidgeCV" and (
            part.estimator.cv is not None
            or part.estimator.store_cv_results
            or not part.estimator.alpha_per_target
        ):
            continue  # Its `cv` is used as it is, or can be replaced.
        part.estimator.__class__ = kind
        replaced = True
    return replaced


def _restore(value: Any, seen: set[int] | None = None) -> None:
    """Remove what was changed for the fit from a fitted estimator and its parts."""
    seen = set() if seen is None else seen
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for entry in value:
            _restore(entry, seen)
        return
    fitted = isinstance(value, BaseEstimator) or hasattr(value, "calibrators")
    if not fitted or isinstance(value, FrozenEstimator) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, PatientSplits):
        value.__class__ = value._plain
    _withdraw(value)
    if _groups_itself(value):
        return
    for attribute in list(vars(value).values()):
        _restore(attribute, seen)


# -- metadata requests ---------------------------------------------------------------


class _OurRequests(dict[str, Any]):
    """Requests of a method for the fit in a fusion, which clones copy.

    Attributes
    ----------
    stated : dict or None
        Requests before. None if the instance had none, only its class.
    """

    stated: dict[str, Any] | None


_REQUESTING = (
    "fit",
    "partial_fit",
    "score",
    "predict",
    "predict_proba",
    "predict_log_proba",
    "decision_function",
    "transform",
)


def _stated_requests(estimator: Any, method: str) -> dict[str, Any]:
    """Return the requests of a method: None is not stated, True, False or an alias."""
    get_request = getattr(estimator, "_get_metadata_request", None)
    if get_request is None:
        return {}
    try:
        requests: dict[str, Any] = getattr(get_request(), method).requests
        return requests
    except ValueError:  # `RFECV` of scikit-learn 1.9 names an argument it has not.
        return {}


def _request(part: Part, *, weighted: bool) -> None:
    """Request weights and groups where the user has stated nothing."""
    estimator = part.estimator
    if not hasattr(estimator, "_get_metadata_request"):
        return
    known = "_metadata_request" in vars(estimator)
    for method in _REQUESTING:
        stated = _stated_requests(estimator, method)
        before = getattr(stated, "stated", stated if known else None)
        changed = False
        for name, request in stated.items():
            if name not in NAMES or (request is not None and not part.resampled):
                continue
            # After a sampler, weights are refused, and groups would be those of other
            # rows. `False` is no default: routers refuse even None then.
            if part.resampled and name == "sample_weight":
                continue
            trains = method in ("fit", "partial_fit", "score")
            wanted = {name: trains and not part.resampled}
            getattr(estimator, f"set_{method}_request")(**wanted)
            changed = True
        if changed:
            requests = getattr(estimator._metadata_request, method)
            requests._requests = _OurRequests(requests.requests)
            requests._requests.stated = before
    if weighted and _splits(estimator):
        scoring = _scoring(estimator)
        if scoring is not None:
            estimator.scoring = _weighted_scoring(scoring)


def _withdraw(estimator: Any) -> None:
    """Undo `_request`."""
    requests = vars(estimator).get("_metadata_request")
    for method in _REQUESTING if requests is not None else ():
        of_method = getattr(requests, method)
        if isinstance(of_method.requests, _OurRequests):
            if of_method.requests.stated is None:
                del estimator._metadata_request
                return
            of_method._requests = of_method.requests.stated


def _scoring(estimator: Any) -> Any:
    """Return the parameter `scoring`, or the scorer that None stands for."""
    params = own_params(estimator)
    if "scoring" not in params or params["scoring"] is not None:
        return params.get("scoring")
    if not hasattr(estimator, "_get_scorer"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That the default will change.
        scorer = estimator._get_scorer()
    # Otherwise the requests of the method `score` count.
    return scorer if hasattr(scorer, "set_score_request") else None


def _weighted_scoring(scoring: Any) -> Any:
    """Return scorers that request weights where the user has stated nothing."""
    if isinstance(scoring, dict):
        return {name: _weighted_scoring(one) for name, one in scoring.items()}
    if isinstance(scoring, (list, tuple, set)):
        return {name: _weighted_scoring(name) for name in scoring}
    try:
        scorer = get_scorer(scoring)
    except ValueError:  # The fit raises an error that lists the names.
        return scoring
    if not hasattr(scorer, "set_score_request"):
        return scorer
    if _stated_requests(scorer, "score").get("sample_weight") is None:
        scorer.set_score_request(sample_weight=_accepts_weights(scorer))
    return scorer


def _consumed_by_candidates(search: Any, method: str, name: str) -> set[bool]:
    """Return whether the estimator of a search and its candidates consume metadata."""
    found = {bool(consumed(search.estimator, method, [name]))}
    for space, key in candidate_lists(search):
        for value in space[key]:
            if _is_fitted_later(value):
                with _as_estimator((search, key, value)):
                    found.add(bool(consumed(search.estimator, method, [name])))
    return found


def _replace_own_score(search: Any, *, weighted: bool) -> None:
    """Replace `score`, which ``scoring=None`` calls, by its metric where it would fail.

    The `score` of an ensemble, e.g. `VotingClassifier`, requests no weights. That of a
    `Pipeline` which ends in it then fails with routing, even without weights. So does a
    search that passes weights to the `score` of some of its candidates only.
    """
    params = own_params(search)
    if params.get("scoring", "") is not None or "estimator" not in params:
        return
    scored = params["estimator"]
    weights = _consumed_by_candidates(search, "score", "sample_weight")
    if weights == {True} or (weights == {False} and not isinstance(scored, Pipeline)):
        return
    if is_classifier(scored) or is_regressor(scored):
        metric = "accuracy" if is_classifier(scored) else "r2"
        search.scoring = _weighted_scoring(metric) if weighted else metric


def _accepts_weights(scorer: Any) -> bool:
    metric = getattr(scorer, "_score_func", None)
    return metric is None or _takes(metric, "sample_weight")


def consumed(estimator: Any, method: str, names: list[str]) -> set[str]:
    """Return the metadata that an estimator or its parts request."""
    if method == "fit_transform" and (
        getattr(type(estimator), "fit_transform", TransformerMixin.fit_transform)
        is TransformerMixin.fit_transform
    ):
        method = "fit"
    return set(get_routing_for_object(estimator).consumes(method, names))


def _can_request(estimator: Any) -> bool:
    """Return whether routing passes weights to a learner that accepts them."""
    if has_fit_parameter(estimator, "sample_weight"):
        return hasattr(estimator, "set_fit_request")
    # A meta-estimator without routing passes any keyword on.
    return not _passes_on(estimator) or _is_router(estimator)


def _passes_on(estimator: Any) -> bool:
    return _takes_any_keyword(estimator.fit) and bool(_children(estimator))


def _is_router(estimator: Any) -> bool:
    method = getattr(type(estimator), "get_metadata_routing", None)
    return method is not getattr(BaseEstimator, "get_metadata_routing", None)


# -- properties of estimators --------------------------------------------------------


def _splits(estimator: Any) -> bool:
    params = own_params(estimator)
    return "cv" in params and not isinstance(params["cv"], (str, bool))


_requests_groups: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def _groups_itself(estimator: Any) -> bool:
    """Return whether the class of an estimator always requests groups in `fit`."""
    if isinstance(estimator, PatientSplits):
        return False
    kind = type(estimator)
    if kind not in _requests_groups:  # a look at each attribute of the class
        _requests_groups[kind] = any(
            value.get("groups") is True
            for base in kind.__mro__
            for name, value in vars(base).items()
            if name.endswith("__metadata_request__fit")
        )
    return _requests_groups[kind]


def _accepts_splitter(estimator: Any) -> bool:
    # `TargetEncoder` accepts only a number before scikit-learn 1.9.
    constraints = getattr(estimator, "_parameter_constraints", {})
    return "cv_object" in constraints.get("cv", ["cv_object"])


def _is_leave_one_out(estimator: Any) -> bool:
    """Return whether a ridge regression needs its leave-one-out splits."""
    ridges = loaded("sklearn.linear_model", "RidgeCV", "RidgeClassifierCV")
    if not isinstance(estimator, ridges) or isinstance(estimator, PatientSplits):
        return False
    per_target = getattr(estimator, "alpha_per_target", False)
    return estimator.cv is None and bool(estimator.store_cv_results or per_target)


def _children(estimator: Any) -> list[Any]:
    """Return the learners in the parameters of an estimator."""
    found: list[Any] = []
    values = list(own_params(estimator).values())
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values += value.values()
        elif isinstance(value, (list, tuple)):
            values += value
        elif (
            not isinstance(value, type)
            and hasattr(value, "get_params")
            and _learns(value)
        ):
            found.append(value)
    return found


def _learns(estimator: Any) -> bool:
    if not _is_fitted_later(estimator):
        return False
    if isinstance(estimator, Pipeline):
        return bool(estimator.steps) and hasattr(estimator.steps[-1][1], "predict")
    # Stacking without a final estimator has no `predict` before it is fitted.
    kind = get_tags(estimator).estimator_type
    return kind in ("classifier", "regressor") or hasattr(estimator, "predict")


def _takes(function: Callable[..., Any], name: str) -> bool:
    return name in signature(function).parameters or _takes_any_keyword(function)


def _takes_any_keyword(function: Callable[..., Any]) -> bool:
    kinds = {parameter.kind for parameter in signature(function).parameters.values()}
    return Parameter.VAR_KEYWORD in kinds


def _group_search_space(estimator: Any) -> None:
    """Replace numbers of folds among the candidates of a search."""
    for space, key in candidate_lists(estimator):
        if key.rpartition("__")[2] == "cv":
            space[key] = [_as_splitter(value, estimator) for value in space[key]]


def _as_splitter(value: Any, search: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        return value
    return PatientFolds(
        int(value), stratify=not is_regressor(search), expects_groups=True
    )


def _name(estimator: Any) -> str:
    return str(getattr(estimator, "_plain", type(estimator)).__name__)


def _short(cv: Any) -> str:
    cv = cv.cv if isinstance(cv, RoutedFolds) else cv
    return repr(cv) if cv is None or np.isscalar(cv) or hasattr(cv, "split") else "..."
