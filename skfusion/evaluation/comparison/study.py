"""Checked cohort of a comparison: task, outcome and patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from skfusion._validation import check_option
from skfusion.cohort import (
    as_pandas,
    check_groups,
    column_of_role,
    column_or_ids,
    repeated_ids,
)
from skfusion.evaluation.metrics import class_numbers
from skfusion.exceptions import DataWarning, LeakageWarning, warn_user
from skfusion.fusion.restriction import fusions_within
from skfusion.fusion.survival import check_survival
from skfusion.fusion.targets import check_labels
from skfusion.modality import names_patient

__all__ = [
    "Patients",
    "Study",
    "Task",
    "as_frame",
    "column_of_estimators",
    "find_patients",
    "find_task",
]


OWNER = "compare_fusion"
TASKS = ("auto", "classification", "regression", "survival")
# An integer target with more distinct values than this is treated as a regression.
MOST_CLASSES = 20


@dataclass(frozen=True)
class Task:
    """Kind of the outcome and the meaning of the columns of predictions.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel", "regression", "survival"}
        Kind of the task.
    classes : ndarray or None
        Class labels in the order of the columns of probabilities. With two classes, the
        second one is the positive class. None without classes.
    positive_is_known : bool
        Whether the positive class was declared, or is 1 or True.
    labels : list of str
        Names of the labels of a multilabel outcome.
    """

    kind: str
    classes: np.ndarray | None = None
    positive_is_known: bool = True
    labels: list[str] = field(default_factory=list)

    @property
    def strata_are_classes(self) -> bool:
        """Whether folds are stratified by the classes of the outcome."""
        return self.kind in ("binary", "multiclass")

    def strata(self, y: np.ndarray) -> np.ndarray | None:
        """Return the class number (or event) of each row, None without strata."""
        if self.kind == "survival":
            return y["event"].astype(np.int64)
        if self.classes is None or self.kind == "multilabel":
            return None
        return self.numbers(y)

    def numbers(self, y: np.ndarray) -> np.ndarray:
        """Return the position of each label in `classes`."""
        assert self.classes is not None
        return class_numbers(y, self.classes)

    def name_of(self, number: int) -> str:
        """Return the name of a stratum for messages."""
        if self.kind == "survival":
            return "cases with an event" if number else "censored cases"
        return f"class number {number}"


@dataclass(frozen=True)
class Study:
    """Checked cohort that all arms of a comparison share.

    Attributes
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        Cohort.
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Outcome. For a survival analysis, a structured array.
    task : Task
        Kind of the outcome.
    groups : ndarray of int of shape (n_samples,) or None
        Patient numbers, passed to estimators whose `fit` accepts groups.
    id_column : column label or None
        Column with the patient ids, None if they are not in a column.
    """

    X: pd.DataFrame
    y: np.ndarray
    task: Task
    groups: np.ndarray | None
    id_column: Any = None

    def n_patients(self, rows: np.ndarray) -> int:
        """Count the patients of rows, or the rows without patients."""
        return len(rows if self.groups is None else np.unique(self.groups[rows]))


def as_frame(X: Any, owner: str = OWNER) -> pd.DataFrame:
    """Return a cohort as a DataFrame with at least one row."""
    frame = as_pandas(X, owner)
    if frame is None:
        try:
            array = np.asarray(X)
            found = f"with {array.ndim} dimensions"
        except ValueError:  # a list of modalities, for example
            array, found = np.empty(0), "with rows of unequal form"
        if array.ndim != 2:
            raise TypeError(
                f"{owner}: X must be a table with one row per case (a DataFrame "
                f"or a 2-D array), got {type(X).__name__} {found}."
            )
        frame = pd.DataFrame(array)
    if len(frame) == 0:
        raise ValueError(f"{owner}: X has 0 rows.")
    return frame


# -- the outcome ----------------------------------------------------------------------


def find_task(
    y: Any,
    n_rows: int,
    task: str,
    given: Any,
    pos_label: Any,
    owner: str = OWNER,
) -> tuple[np.ndarray, Task]:
    """Check the outcome and determine the kind of the task.

    Parameters
    ----------
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Outcome.
    n_rows : int
        Number of rows of the cohort.
    task : {"auto", "classification", "regression", "survival"}
        Parameter of `compare_fusion`.
    given : list, "auto" or dict of estimators
        First parameter of `compare_fusion`. The estimators of a dict decide the task.
    pos_label : label or None
        Positive class of a binary outcome.
    owner : str, default="compare_fusion"
        Name of the function, used in messages.

    Returns
    -------
    y : ndarray
        Checked outcome.
    task : Task

    Raises
    ------
    ValueError, TypeError
        If the outcome is invalid or does not fit the estimators.
    """
    check_option(task, "task", TASKS, owner)
    kind = _declared_kind(task, given, owner)
    if kind is None and _has_event_times(y):
        kind = "survival"
    if kind == "survival":
        times = check_survival(y, owner)
        _check_length(times, n_rows, owner)
        return times, Task("survival")
    shape = np.shape(y)
    if len(shape) == 2 and shape[1] > 1:
        return _multilabel(y, n_rows, kind, owner)
    values = _one_column(y, n_rows, owner)
    if kind is None:
        kind = "classification" if _looks_like_classes(values) else "regression"
    if kind == "regression":
        if values.dtype.kind not in "biuf":
            raise ValueError(
                f"{owner}: y must be numeric for a regression, got dtype "
                f"{values.dtype}."
            )
        return values.astype(np.float64), Task("regression")
    return values, _classification(values, pos_label, owner)


def _declared_kind(task: str, given: Any, owner: str) -> str | None:
    """Return the kind of task that the user or the estimators declare."""
    if not (isinstance(given, Mapping) and given):
        return None if task == "auto" else task
    kinds = {_kind_of(name, part, owner) for name, part in given.items()}
    if len(kinds) > 1:
        raise ValueError(
            f"{owner}: the estimators must all be of one kind, classifiers, regressors "
            f"or survival models, got {sorted(kinds)}."
        )
    (kind,) = kinds
    if task not in ("auto", kind):
        raise ValueError(f"{owner}: task={task!r}, but the estimators are for {kind}.")
    return kind


def _kind_of(name: str, estimator: Any, owner: str) -> str:
    """Return the kind of task of an estimator of a dict."""
    if hasattr(estimator, "fit") and hasattr(estimator, "get_params"):
        parts = [estimator, *fusions_within(estimator).values()]
        if any(getattr(part, "takes_survival_times", False) for part in parts):
            return "survival"
        if is_classifier(estimator):
            return "classification"
        if is_regressor(estimator):
            return "regression"
    raise TypeError(
        f"{owner}: {name!r} must be a classifier, a regressor or a survival model, got "
        f"{type(estimator).__name__}."
    )


def _has_event_times(y: Any) -> bool:
    if isinstance(y, pd.DataFrame):
        return y.shape[1] == 2 and not y.isin([0, 1]).all(axis=None)
    return bool(np.asarray(y).dtype.names)


def _check_length(values: np.ndarray, n_rows: int, owner: str) -> None:
    if len(values) != n_rows:
        raise ValueError(
            f"{owner}: y has {len(values)} entries but X has {n_rows} rows. "
            "Pass one outcome per row."
        )


def _one_column(y: Any, n_rows: int, owner: str) -> np.ndarray:
    values = np.asarray(column_or_1d(y, warn=True))
    check_labels(values, owner)
    _check_length(values, n_rows, owner)
    unknown = pd.isna(pd.Series(values)).to_numpy()
    if values.dtype.kind == "f":
        unknown = unknown | np.isinf(values)
    rows = np.flatnonzero(unknown)
    if len(rows):
        raise ValueError(
            f"{owner}: y is NaN, missing or infinite in {len(rows)} of {n_rows} "
            f"rows, first at row position(s) {rows[:5].tolist()}. Remove rows with an "
            "unknown outcome."
        )
    return values


def _multilabel(
    y: Any, n_rows: int, kind: str | None, owner: str
) -> tuple[np.ndarray, Task]:
    table = pd.DataFrame(y)
    _check_length(table.to_numpy(), n_rows, owner)
    if kind == "regression" or not table.isin([0, 1]).all(axis=None):
        raise ValueError(
            f"{owner}: y must be one column of classes or numbers, a table of labels "
            "of 0 and 1, or events and times, got "
            f"{table.shape[1]} columns. Compare one outcome at a time."
        )
    values = table.to_numpy(dtype=np.int64)
    constant = np.flatnonzero(np.ptp(values, axis=0) == 0)
    if len(constant):
        raise ValueError(
            f"{owner}: {len(constant)} of {values.shape[1]} labels of y are the same "
            f"in all {n_rows} rows, first at column position(s) "
            f"{constant[:5].tolist()}. Leave them out."
        )
    names = [str(column) for column in table.columns]
    return values, Task("multilabel", np.array([0, 1]), labels=names)


def _looks_like_classes(y: np.ndarray) -> bool:
    if y.dtype.kind not in "biuf":
        return True
    few = len(np.unique(y)) <= MOST_CLASSES
    return few and type_of_target(y) in ("binary", "multiclass")


def _classification(y: np.ndarray, pos_label: Any, owner: str) -> Task:
    classes = np.unique(y)
    if len(classes) < 2:
        raise ValueError(
            f"{owner}: y contains one class only in all {len(y)} rows, so "
            "there is nothing to classify. Check the target column."
        )
    if len(classes) > 2:
        if pos_label is not None:
            raise ValueError(
                f"{owner}: pos_label={pos_label!r} needs an outcome of two classes, "
                f"got {len(classes)}. Leave it out."
            )
        return Task("multiclass", classes)
    if pos_label is None:
        return Task("binary", classes, _is_zero_and_one(classes))
    place = np.flatnonzero(classes == pos_label)
    if not len(place):
        raise ValueError(
            f"{owner}: pos_label={pos_label!r} is not a class of y. The classes are "
            f"{classes.tolist()}."
        )
    return Task("binary", classes[::-1] if place[0] == 0 else classes)


def _is_zero_and_one(classes: np.ndarray) -> bool:
    return classes.dtype.kind in "biuf" and set(classes.tolist()) == {0, 1}


# -- patients -------------------------------------------------------------------------


@dataclass(frozen=True)
class Patients:
    """Patients of a cohort.

    Attributes
    ----------
    column : column label or None
        Column with the patient ids.
    numbers : ndarray of int of shape (n_samples,) or None
        Number of the patient of each row.
    """

    column: Any
    numbers: np.ndarray | None


def find_patients(
    frame: pd.DataFrame, groups: Any, given: Any, owner: str = OWNER
) -> Patients:
    """Return the patients that the user, the estimators or the columns name.

    Parameters
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        Cohort.
    groups : column label, array-like of shape (n_samples,) or None
        Parameter of `compare_fusion`.
    given : list, "auto" or dict of estimators
        First parameter of `compare_fusion`.
    owner : str, default="compare_fusion"
        Name of the function, used in messages.

    Returns
    -------
    Patients

    Raises
    ------
    ValueError
        If an id is missing, or several columns look like ids and repeat.

    Warns
    -----
    DataWarning
        If a column was chosen because it looks like a patient id and repeats.
    """
    if groups is None:
        groups = column_of_estimators(given, owner)
    if groups is None:
        groups = _repeated_id(frame, owner)
    if groups is None:
        return Patients(None, None)
    column, ids = column_or_ids(groups)
    numbers = check_groups(ids, frame, column=column, owner=owner)
    if column is not None:
        column = column_of_role(column, "groups", frame, owner)
    return Patients(column, numbers)


def column_of_estimators(given: Any, owner: str) -> Any:
    """Return the column of patients that the estimators of a dict agree on.

    Parameters
    ----------
    given : list, "auto" or dict of estimators
        First parameter of `compare_fusion`.
    owner : str
        Name of the function, used in messages.

    Returns
    -------
    column label or None
        None if `given` is not a dict, or no estimator names a column.

    Raises
    ------
    ValueError
        If the estimators name different columns.
    """
    if not isinstance(given, Mapping):
        return None
    named = {
        fusion.groups
        for estimator in given.values()
        for fusion in fusions_within(estimator).values()
        if fusion.groups is not None
    }
    if len(named) > 1:
        raise ValueError(
            f"{owner}: the estimators name {len(named)} different columns as groups, "
            f"{sorted(map(str, named))}. Pass groups= with the column of patients."
        )
    return next(iter(named), None)


def _repeated_id(frame: pd.DataFrame, owner: str) -> Any:
    found = repeated_ids(frame)
    if not found:
        return None
    of_patients = [column for column in found if names_patient(column)]
    if len(found) > 1 and len(of_patients) != 1:
        raise ValueError(
            f"{owner}: the columns {found} look like ids and repeat, but no groups "
            "were given, so one patient could be on both sides of a split. Pass the "
            "column of patients, e.g. "
            f"groups={found[0]!r}, or groups=range(len(X)) if rows are independent."
        )
    column = (of_patients or found)[0]
    warn_user(
        f"{owner}: no groups were given. Column {column!r} looks like a patient id and "
        f"repeats ({len(frame)} rows, {frame[column].nunique()} values), so rows are "
        f"grouped by it. Pass groups={column!r}, or groups=range(len(X)) if rows are "
        "independent.",
        DataWarning,
    )
    return column


def warn_of_copies(frame: pd.DataFrame, columns: Iterable[Any]) -> None:
    """Warn of rows that are copies of another row, in a cohort without patients."""
    part = comparable_columns(frame, columns)
    n_copies = int(part.duplicated().sum())
    if n_copies and is_fine(part):
        warn_user(
            f"{OWNER}: {n_copies} of {len(frame)} rows are copies of another row in "
            "all columns of the modalities, but no groups were given, so copies can "
            "be on both sides of a split. Remove the copies, or pass groups=.",
            LeakageWarning,
        )


def comparable_columns(frame: pd.DataFrame, columns: Iterable[Any]) -> pd.DataFrame:
    """Return the columns whose cells can be compared, with numbers as float32."""
    part = frame[[c for c in dict.fromkeys(columns) if _is_comparable(frame[c])]]
    numeric = part.select_dtypes(["number", "bool"]).columns
    return part.astype(dict.fromkeys(numeric, np.float32))


def is_fine(part: pd.DataFrame) -> bool:
    """Return whether equal rows are copies: those of a few categories are chance."""
    distinct = part.drop_duplicates()
    finest = max((distinct[c].nunique() for c in distinct.columns), default=0)
    return finest > 0.5 * len(distinct)


def _is_comparable(column: pd.Series) -> bool:
    if column.ndim != 1:  # repeated label
        return False
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind not in ("mixed", "unknown-array")
