"""Targets of the fusion estimators: encoding of `y`, strata, scores and fallback.

A `Target` represents one task. It checks and encodes `y` and returns the strata of the
rows. It also reads the scores of a fitted learner. Its fallback is the prediction of
rows without any modality. `Target.encode` is called first and sets the number of
outputs. `Target.summarise` then sets the fallback from the training rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import clone
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import Tags, assert_all_finite, get_tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from skfusion._fitting.pipelines import warn_of_modality
from skfusion._validation import first_unhashable
from skfusion.exceptions import DataWarning
from skfusion.fusion.early_stopping import check_stopping
from skfusion.fusion.estimator_kinds import (
    check_estimator_kind,
    frozen_classifiers,
    last_step,
    reads_labels,
)
from skfusion.fusion.per_output import ClassifierPerLabel, RegressorPerNumber

__all__ = [
    "Classes",
    "ClassifierTarget",
    "Labels",
    "Numbers",
    "RegressorTarget",
    "Target",
    "check_labels",
    "classifier_target",
    "last_step",
]


class Target(ABC):
    """Base class of one prediction task and its encoded target.

    Attributes
    ----------
    kind : {"classes", "labels", "numbers", "survival"}
        Mutually exclusive classes, labels that are not exclusive (multilabel
        indicator), one or more numbers, or times to an event.
    n_outputs : int
        Width of the scores: number of classes, labels or numbers, and 1 for a risk.
    fallback : ndarray of shape (n_outputs,)
        Prediction of rows without any modality, set by `summarise`.
    """

    kind: ClassVar[str]
    n_outputs: int
    fallback: np.ndarray

    @abstractmethod
    def encode(self, y: Any) -> np.ndarray:
        """Check `y` and return it in the form that learners need, one row per case."""

    @abstractmethod
    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the scores of a fitted learner, (n_samples, n_outputs)."""

    def summarise(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Set the fallback to the (weighted) mean of encoded `y`."""
        mean = np.average(y, axis=0, weights=sample_weight)
        self.fallback = np.atleast_1d(np.asarray(mean, dtype=np.float64))

    def strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return the classes that every training part must contain, or None.

        Folds keep the proportions of 1-D class numbers. The columns of a 2-D array are
        not stratified. Only the rows that are held out for early stopping leave both
        values of each column in the rest.
        """
        return None

    def names_of_strata(self) -> dict[int, str] | None:
        """Return the strata that every training part must contain, None for all."""
        return None

    def problem(self, y: np.ndarray) -> str | None:
        """Return the reason why no model can be fitted on encoded `y`, or None."""
        return None

    def adapt(self, estimator: Any) -> Any:
        """Return the estimator, wrapped if it does not support this kind of target."""
        return estimator

    def check_learner(self, estimator: Any, where: str) -> None:
        """Raise an error if an unfitted learner does not fit this kind of target.

        Parameters
        ----------
        estimator : estimator
            Learner that the user has passed, or a default one.
        where : str
            Beginning of the message: the fusion estimator and the modality.

        Raises
        ------
        ValueError
            If the learner is of another kind, was fitted on other classes, or stops
            early inside another estimator.
        """
        check_estimator_kind(estimator, self.kind, where)
        check_stopping(estimator, where)

    def to_learn(self, estimator: Any, y: np.ndarray) -> np.ndarray:
        """Return encoded `y` as an estimator reads it, i.e. unchanged by default."""
        return y

    def warn_of_constants(self, y: np.ndarray) -> None:
        """Warn about outputs of which nothing can be learned from `y`."""
        return

    def labels(self, y: np.ndarray) -> np.ndarray | None:
        """Return the labels of the user for encoded `y`, or None if it has none."""
        return None

    def result(self, scores: np.ndarray) -> np.ndarray:
        """Return scores (n_samples, n_outputs) in the shape of a public prediction."""
        return scores

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs that `informative` keeps."""
        return [str(i) for i in range(self.n_outputs)]

    def informative(self, scores: np.ndarray) -> np.ndarray:
        """Drop the outputs that follow from the others, along the last axis."""
        return scores


def classifier_target(y: Any, owner: str) -> Classes | Labels:
    """Return the target of a classifier, with labels for an indicator matrix.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Target, as passed by the user.
    owner : str
        Name of the estimator, for error messages.

    Returns
    -------
    Classes or Labels

    Raises
    ------
    ValueError
        If `y` contains neither classes nor labels.

    Examples
    --------
    >>> from skfusion.fusion.targets import classifier_target
    >>> classifier_target(["b", "a", "b"], "EarlyFusionClassifier").kind
    'classes'
    >>> classifier_target([[0, 1], [1, 1], [0, 0]], "EarlyFusionClassifier").kind
    'labels'
    """
    matrix = _several_columns(y)
    if matrix is None:
        return Classes(owner)
    if type_of_target(matrix) != "multilabel-indicator":
        raise ValueError(
            f"{owner}: y has {matrix.shape[1]} columns, so it must be an indicator "
            "matrix of 0 and 1 (one column per label), got "
            f"{type_of_target(matrix)!r}. Fit one model per column for several "
            "multiclass outcomes."
        )
    return Labels(owner, matrix.shape[1])


class Classes(Target):
    """Target of two or more mutually exclusive classes.

    Parameters
    ----------
    owner : str
        Name of the estimator, for error messages.
    """

    kind = "classes"

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def encode(self, y: Any) -> np.ndarray:
        """Return class numbers and store the class labels in ``classes``."""
        values = _valid_column(y, self.owner)
        check_classification_targets(values)
        encoder = LabelEncoder()
        numbers: np.ndarray = encoder.fit_transform(values)
        self.classes = encoder.classes_
        self.n_outputs = len(self.classes)
        if self.n_outputs < 2:
            raise ValueError(
                f"{self.owner}: y contains one class only, so there is nothing to "
                "classify. A classifier needs at least two classes."
            )
        return numbers

    def check_learner(self, estimator: Any, where: str) -> None:
        """Raise an error for a learner of another kind, or fitted on other classes."""
        super().check_learner(estimator, where)
        for frozen in frozen_classifiers(estimator):
            known = list(frozen.classes_)
            if not _same_labels(known, list(self.classes)):
                raise ValueError(
                    f"{where}: {_unlike(frozen, known, list(self.classes))} Map the "
                    "labels of y to those of the fitted classifier, or fit it again."
                )

    def to_learn(self, estimator: Any, y: np.ndarray) -> np.ndarray:
        """Return class numbers, or labels for an estimator that contains labels."""
        if self._has_numbers:
            return y
        return self.classes[y] if reads_labels(estimator) else y

    @property
    def _has_numbers(self) -> bool:
        """Whether the labels of the user are the class numbers."""
        classes = np.asarray(self.classes)
        is_whole = classes.dtype.kind in "iu"
        return is_whole and np.array_equal(classes, np.arange(len(classes)))

    def labels(self, y: np.ndarray) -> np.ndarray:
        """Return the labels of the user for class numbers."""
        return np.asarray(self.classes)[y]

    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of ``classes``.

        Raises
        ------
        ValueError
            If the estimator was fitted on other classes.
        """
        proba = np.asarray(_probabilities(estimator, X), dtype=np.float64)
        order = self.columns(estimator)
        if proba.ndim != 2 or proba.shape[1] != len(order):
            raise ValueError(
                f"{type(estimator).__name__} must predict one probability for each of "
                f"{len(order)} classes, got an array of shape {proba.shape}."
            )
        return proba if order == list(range(len(order))) else proba[:, order]

    def columns(self, estimator: Any) -> list[int]:
        """Return the column of each class in the output of a fitted estimator.

        Raises
        ------
        ValueError
            If the estimator was fitted on other classes.
        """
        numbers = list(range(self.n_outputs))
        known = getattr(estimator, "classes_", None)
        if known is None:
            return numbers
        found = list(known)
        if found == numbers and self._has_numbers:
            return numbers
        expected = list(self.classes) if reads_labels(estimator) else numbers
        if not _same_labels(found, expected):
            raise ValueError(_unlike(estimator, found, expected))
        return [found.index(label) for label in expected]

    def ordered(self, estimator: Any, scores: np.ndarray) -> np.ndarray:
        """Return a decision function with its columns in the order of ``classes``."""
        order = self.columns(estimator)
        if order == list(range(len(order))):
            return scores
        if scores.ndim == 1:
            return -scores
        if scores.shape[1] == len(order):
            return scores[:, order]
        raise ValueError(
            f"{type(last_step(estimator)).__name__} was fitted on the classes in "
            "another order, and its scores of pairs of classes cannot be reordered. "
            "Set decision_function_shape='ovr'."
        )

    def decisions(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the class numbers that a fitted classifier predicts.

        Raises
        ------
        ValueError
            If a prediction is not one of the classes.
        """
        predicted = np.asarray(estimator.predict(X)).ravel()
        labels = reads_labels(estimator)
        expected = list(self.classes) if labels else list(range(self.n_outputs))
        unknown = [label for label in np.unique(predicted) if label not in expected]
        if unknown:
            raise ValueError(_unlike(estimator, unknown, expected, verb="predicts"))
        return np.searchsorted(np.asarray(expected), predicted)

    def summarise(self, y: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Set the fallback to the (weighted) class frequencies."""
        shares = np.bincount(y, sample_weight, minlength=self.n_outputs)
        self.fallback = shares / shares.sum()

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Return the class numbers."""
        return y

    def problem(self, y: np.ndarray) -> str | None:
        """Return a message if a class is missing, else None."""
        n_left = len(np.unique(y))
        if n_left == self.n_outputs:
            return None
        return f"of {self.n_outputs} classes only {n_left} are left"

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the label of the most probable class, shape (n_samples,)."""
        return self.classes[scores.argmax(axis=1)]

    def logits(self, proba: np.ndarray) -> np.ndarray:
        """Return the decision function of probabilities (n_samples, n_classes).

        Its shape is that of scikit-learn: log-odds (n_samples,) of the second of two
        classes, or log-probabilities (n_samples, n_classes) of three or more.
        """
        logs = _safe_log(proba)
        return logs[:, 1] - logs[:, 0] if self.n_outputs == 2 else logs

    @property
    def output_names(self) -> list[str]:
        """Names of the classes, with two classes only that of the second."""
        names = [str(label) for label in self.classes]
        return names[1:] if self.n_outputs == 2 else names

    def informative(self, scores: np.ndarray) -> np.ndarray:
        """Keep the second of two probabilities, and all of three or more."""
        return scores[..., 1:] if self.n_outputs == 2 else scores


class Labels(Target):
    """Target of several binary labels that are not mutually exclusive.

    Parameters
    ----------
    owner : str
        Name of the estimator, for error messages.
    n_outputs : int
        Number of labels.
    """

    kind = "labels"

    def __init__(self, owner: str, n_outputs: int) -> None:
        self.owner = owner
        self.n_outputs = n_outputs
        self.classes = np.arange(n_outputs)

    def encode(self, y: Any) -> np.ndarray:
        """Return the indicator matrix as int64, and warn about constant labels."""
        values = np.asarray(_several_columns(y), dtype=np.int64)
        self.varies = np.ptp(values, axis=0) > 0
        self._first = values[0]
        if not self.varies.any():
            raise ValueError(
                f"{self.owner}: all {self.n_outputs} labels (columns of y) have one "
                "value in all rows, so there is nothing to classify."
            )
        constant = np.flatnonzero(~self.varies).tolist()
        if constant:
            warn_of_modality(
                "labels with one value",
                f"{self.owner}: {_shown_labels(constant)} (columns of y) have one "
                f"value in all {len(values)} rows. Their prediction is this value.",
                DataWarning,
            )
        return values

    def result(self, scores: np.ndarray) -> np.ndarray:
        """Return the probabilities, with the value of each constant label."""
        if self.varies.all():
            return scores
        return np.where(self.varies, scores, self._first)

    def warn_of_constants(self, y: np.ndarray) -> None:
        """Warn about labels with one value in the rows of a single fit only."""
        constant = np.flatnonzero(self.varies & (np.ptp(y, axis=0) == 0)).tolist()
        if constant:
            warn_of_modality(
                "constant labels",
                f"{self.owner}: {_shown_labels(constant)} (columns of y) have one "
                f"value in the {len(y)} rows on which a model is fitted. It predicts "
                "this value. Use fewer folds, or leave rare labels out.",
                DataWarning,
            )

    def adapt(self, estimator: Any) -> Any:
        """Wrap an estimator of a single label to fit one clone per label.

        A `MultiOutputClassifier` is replaced, which no label with one value can be in.
        """
        last = last_step(estimator)
        if type(last) is MultiOutputClassifier:
            return _with_last_step(estimator, _tolerant)
        tags = get_tags(last)
        several = not tags.target_tags.single_output  # e.g. a ClassifierChain
        if several or tags.classifier_tags.multi_label:
            return estimator
        return _with_last_step(estimator, ClassifierPerLabel)

    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the probability of each label."""
        given = _probabilities(estimator, X)
        if not isinstance(given, list):
            return np.asarray(given, dtype=np.float64)
        known = estimator.classes_  # one array per label
        columns = [
            np.asarray(proba)[:, list(classes).index(1)]
            if 1 in classes
            else np.zeros(len(proba))
            for proba, classes in zip(given, known, strict=True)
        ]
        return np.column_stack(columns).astype(np.float64)

    def strata(self, y: np.ndarray) -> np.ndarray:
        """Return the indicator matrix, which early stopping checks but folds do not."""
        return y

    def problem(self, y: np.ndarray) -> str | None:
        """Return a message if every label has one value only, else None."""
        if np.ptp(y, axis=0).any():
            return None
        return f"all {self.n_outputs} labels have one value only"

    def ordered(self, estimator: Any, scores: np.ndarray) -> np.ndarray:
        """Return a decision function (n_samples, n_labels) unchanged."""
        return scores

    def decisions(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the indicator matrix that a fitted classifier predicts."""
        return np.asarray(estimator.predict(X)).astype(np.int64)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the indicator matrix of the labels with a probability above 0.5."""
        return (scores > 0.5).astype(np.int64)

    def logits(self, proba: np.ndarray) -> np.ndarray:
        """Return the log-odds (n_samples, n_labels) of probabilities."""
        return _safe_log(proba) - _safe_log(1 - proba)


class Numbers(Target):
    """Target of one or several numbers (regression).

    Parameters
    ----------
    owner : str
        Name of the estimator, for error messages.
    """

    kind = "numbers"

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def encode(self, y: Any) -> np.ndarray:
        """Return floats, 1-D for one number and (n_samples, n_outputs) for several."""
        matrix = _several_columns(y)
        several = matrix is not None
        values = matrix if matrix is not None else _valid_column(y, self.owner)
        self.n_outputs = values.shape[1] if several else 1
        try:
            numbers = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{self.owner}: y must contain numbers, got {values.dtype}."
            ) from error
        if several:
            _check_known(pd.DataFrame(numbers).isna().any(axis=1), self.owner)
            assert_all_finite(numbers, input_name="y")
        return numbers

    def adapt(self, estimator: Any) -> Any:
        """Wrap an estimator with a single output to fit one clone per output."""
        last = last_step(estimator)
        if self.n_outputs == 1 or get_tags(last).target_tags.multi_output:
            return estimator
        return _with_last_step(estimator, RegressorPerNumber)

    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        """Return the predicted numbers."""
        predicted = np.asarray(estimator.predict(X), dtype=np.float64)
        return predicted.reshape(-1, self.n_outputs)

    def result(self, scores: np.ndarray) -> np.ndarray:
        """Return one number per row as a 1-D array."""
        return scores[:, 0] if self.n_outputs == 1 else scores

    @property
    def output_names(self) -> list[str]:
        """Names ``prediction``, or ``prediction0``, ``prediction1`` and so on."""
        if self.n_outputs == 1:
            return ["prediction"]
        return [f"prediction{i}" for i in range(self.n_outputs)]


class ClassifierTarget:
    """Mixin class of the classifiers, which sets their target and `classes_`."""

    _task = "classes"
    classes_: np.ndarray
    _target: Any

    def _new_target(self, y: Any) -> np.ndarray:
        self._target = classifier_target(y, type(self).__name__)
        encoded = self._target.encode(y)
        self.classes_ = self._target.classes
        return encoded

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.classifier_tags.multi_label = True
        return tags


class RegressorTarget:
    """Mixin class of the regressors, which sets their target."""

    _task = "numbers"
    _target: Any

    def _new_target(self, y: Any) -> np.ndarray:
        self._target = Numbers(type(self).__name__)
        return self._target.encode(y)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.target_tags.multi_output = True
        return tags


def _probabilities(estimator: Any, X: Any) -> Any:
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(estimator).__name__} has no predict_proba, but fusion needs "
            "probabilities. Wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    return estimator.predict_proba(X)


def _tolerant(estimator: MultiOutputClassifier) -> ClassifierPerLabel:
    return ClassifierPerLabel(estimator.estimator, n_jobs=estimator.n_jobs)


def _shown_labels(numbers: list[int]) -> str:
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"label(s) {numbers[:5]}{more}"


def _safe_log(probabilities: np.ndarray) -> np.ndarray:
    # Probabilities of 0 have no logarithm. Those below eps cannot be told from 1 - p.
    return np.log(np.clip(probabilities, np.finfo(np.float64).eps, None))


def _same_labels(found: list[Any], expected: list[Any]) -> bool:
    """Return whether two lists contain the same labels, in any order."""
    if any(isinstance(labels, np.ndarray) for labels in found):  # several outputs
        return False
    return len(found) == len(expected) and set(found) == set(expected)


def _unlike(
    estimator: Any, found: list[Any], expected: list[Any], verb: str = "was fitted on"
) -> str:
    def shown(labels: list[Any]) -> str:
        more = f" and {len(labels) - 6} more" if len(labels) > 6 else ""
        return ", ".join(str(label) for label in labels[:6]) + more

    return (
        f"{type(last_step(estimator)).__name__} {verb} the classes {shown(found)}, but "
        f"the classes of the fusion are {shown(expected)}."
    )


def _with_last_step(estimator: Any, wrapper: Any) -> Any:
    # Only the final step is wrapped, so that the steps before it are fitted once.
    if not isinstance(estimator, Pipeline):
        return wrapper(clone(estimator))
    name, last = estimator.steps[-1]
    return clone(estimator).set_params(**{name: _with_last_step(last, wrapper)})


def _several_columns(y: Any) -> np.ndarray | None:
    """Return a `y` of two or more columns as a dense array, else None."""
    dense = y.toarray() if scipy.sparse.issparse(y) else np.asarray(y)
    return dense if dense.ndim == 2 and dense.shape[1] > 1 else None


def _valid_column(y: Any, owner: str) -> np.ndarray:
    values = column_or_1d(y, warn=True)
    check_labels(values, owner)
    _check_known(pd.isna(pd.Series(values)), owner)
    if values.dtype.kind == "f":
        assert_all_finite(values, input_name="y")
    return values


def check_labels(values: np.ndarray, owner: str) -> None:
    """Check that no entry of `y` is a list or another object instead of a label.

    Raises
    ------
    TypeError
        If an entry cannot be compared with the others.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.targets import check_labels
    >>> check_labels(np.array(["benign", {"label": 1}]), "EarlyFusionClassifier")
    Traceback (most recent call last):
    TypeError: EarlyFusionClassifier: got dict in y, row position 1; expected ...
    """
    row = first_unhashable(values) if values.dtype == object else None
    if row is not None:
        raise TypeError(
            f"{owner}: got {type(values[row]).__name__} in y, row position {row}; "
            "expected one class or number per row. Use "
            "sklearn.preprocessing.MultiLabelBinarizer for several labels in a row."
        )


def _check_known(unknown: Any, owner: str) -> None:
    rows = np.flatnonzero(unknown)
    if len(rows):
        raise ValueError(
            f"{owner}: Input y contains NaN in {len(rows)} of {len(unknown)} rows, "
            f"first at row position(s) {rows[:5].tolist()}. Drop rows whose outcome "
            "is unknown."
        )
