"""Kinds of learners: classifier or regressor, and the labels that they are fitted on.

Learners are fitted on class numbers, because some libraries accept nothing else. A
learner whose parameters contain labels of the user, such as ``pos_label="dead"`` or
``class_weight={"dead": 5}``, is fitted on the labels themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from skfusion._dependencies import loaded
from skfusion._fitting.parameters import all_params

__all__ = [
    "check_estimator_kind",
    "frozen_classifiers",
    "has_method",
    "last_step",
    "estimators_inside",
    "reads_labels",
]


_KIND_OF_TASK = {
    "classes": "classifier",
    "labels": "classifier",
    "numbers": "regressor",
    "survival": "survival estimator",
}
_STACKING = ("StackingClassifier", "StackingRegressor")
# Estimators whose methods are those of the one that they wrap.
_DELEGATES = (
    GridSearchCV,
    RandomizedSearchCV,
    MultiOutputClassifier,
    MultiOutputRegressor,
)
# Libraries whose classifiers are fitted on class numbers only.
_ONLY_NUMBERS = ("xgboost", "skorch")


def last_step(estimator: Any) -> Any:
    """Return the final step of a `Pipeline`, or the estimator itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def has_method(estimator: Any, name: str) -> bool:
    """Return whether an estimator has a method once it is fitted.

    The stacking estimators of scikit-learn lack the methods of their default final
    estimator until they are fitted.

    Parameters
    ----------
    estimator : estimator
        Fitted or unfitted estimator.
    name : {"predict", "predict_proba"}
        Name of the method.

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.ensemble import StackingClassifier
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion.fusion.estimator_kinds import has_method
    >>> stacked = StackingClassifier([("linear", LogisticRegression())])
    >>> hasattr(stacked, "predict_proba"), has_method(stacked, "predict_proba")
    (False, True)
    """
    if hasattr(estimator, name):
        return True
    last = last_step(estimator)
    if isinstance(last, loaded("sklearn.ensemble", *_STACKING)):
        default = last.final_estimator is None
        return default and (name == "predict" or is_classifier(last))
    return isinstance(last, _DELEGATES) and has_method(last.estimator, name)


def check_estimator_kind(estimator: Any, task: str, where: str) -> None:
    """Raise an error if an estimator is of another kind than the task.

    The tags of the estimator tell its kind, so that a `Pipeline`, a search or a
    `FrozenEstimator` is of the kind of the estimator in it. An estimator without a kind
    is accepted if it has the method `predict`.

    Parameters
    ----------
    estimator : estimator
        Learner that the user has passed.
    task : {"classes", "labels", "numbers", "survival"}
        Kind of the target.
    where : str
        Beginning of the message, e.g. ``"EarlyFusionClassifier"``.

    Raises
    ------
    ValueError
        If the estimator is of another kind, or of no kind and without `predict`.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from skfusion.fusion.estimator_kinds import check_estimator_kind
    >>> check_estimator_kind(Ridge(), "classes", "EarlyFusionClassifier")
    Traceback (most recent call last):
    ...
    ValueError: EarlyFusionClassifier: The estimator Ridge should be a classifier, but \
it is a regressor.
    """
    wanted = _KIND_OF_TASK[task]
    tags = get_tags(estimator) if hasattr(estimator, "__sklearn_tags__") else None
    found = getattr(tags, "estimator_type", None)
    if found == wanted:
        return
    if found is None and hasattr(estimator, "predict"):
        return
    if task == "survival" and found == "regressor":  # such as IPCRidge
        return
    name = type(estimator).__name__
    inner = type(last_step(estimator)).__name__
    if inner != name:
        name = f"{name} (its last step is {inner})"
    article = "an" if (found or "x")[0] in "aeiou" else "a"
    but = f"it is {article} {found.replace('_', ' ')}" if found else "it has no predict"
    raise ValueError(f"{where}: The estimator {name} should be a {wanted}, but {but}.")


def estimators_inside(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and every estimator in its parameters."""
    yield estimator
    if not hasattr(estimator, "get_params"):
        return
    for value in all_params(estimator).values():
        if hasattr(value, "fit") and not isinstance(value, type):
            yield value
    if isinstance(estimator, FrozenEstimator):  # hides the parameters of its estimator
        yield from estimators_inside(estimator.estimator)


def frozen_classifiers(estimator: Any) -> list[Any]:
    """Return the fitted classifiers that `FrozenEstimator` wraps in an estimator."""
    return [
        nested.estimator
        for nested in estimators_inside(estimator)
        if isinstance(nested, FrozenEstimator) and hasattr(nested.estimator, "classes_")
    ]


def reads_labels(estimator: Any) -> bool:
    """Return whether a classifier has to be fitted on the labels of the user.

    This holds for a classifier that contains a fitted one, a ``pos_label``, a dict of
    class weights, or a scorer. It does not hold if it contains a classifier of a
    library that is fitted on class numbers only (XGBoost, skorch).

    Parameters
    ----------
    estimator : estimator
        Learner, fitted or not. Of a `Pipeline`, the last step counts.

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion.fusion.estimator_kinds import reads_labels
    >>> reads_labels(LogisticRegression(class_weight={"dead": 5}))
    True
    >>> reads_labels(LogisticRegression(class_weight="balanced"))
    False
    """
    estimator = last_step(estimator)
    if frozen_classifiers(estimator):
        return True
    if not hasattr(estimator, "get_params"):
        return False
    if any(_only_numbers(nested) for nested in estimators_inside(estimator)):
        return False
    return any(
        _contains_labels(name.rpartition("__")[2], value)
        for name, value in all_params(estimator).items()
    )


def _contains_labels(name: str, value: Any) -> bool:
    if name == "pos_label":
        return value is not None
    if name == "class_weight":
        return isinstance(value, (dict, list))
    if name in ("scoring", "scorer"):
        scorers: Iterable[Any] = value.values() if isinstance(value, dict) else [value]
        return any(callable(scorer) for scorer in scorers)
    return False


def _only_numbers(estimator: Any) -> bool:
    return any(
        kind.__module__.partition(".")[0] in _ONLY_NUMBERS
        for kind in type(estimator).__mro__
    )
