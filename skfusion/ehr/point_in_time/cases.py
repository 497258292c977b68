"""Cases of a cohort table, and validation shared by the estimators of events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from skfusion._durations import as_microseconds
from skfusion._fitting.pipelines import warn_of_modality
from skfusion._validation import (
    check_number,
    check_option,
    check_unique_labels,
    did_you_mean,
    is_number,
    refuse_unknown_table,
)
from skfusion.ehr.events.columns import as_ids, as_microseconds_of
from skfusion.ehr.events.store import EventStore
from skfusion.exceptions import LeakageWarning

__all__ = [
    "EventTransformer",
    "Seen",
    "check_choices",
    "check_gap",
    "check_settings",
    "ids_of",
    "read_cases",
]


@dataclass(frozen=True)
class Cases:
    """Rows of a cohort table with their subjects and window ends.

    Attributes
    ----------
    subject : ndarray of int of shape (n_rows,)
        Position of the subject in the store, -1 for a subject without events.
    end : ndarray of int64 of shape (n_rows,)
        End of the windows of each row, in microseconds since 1970.
    """

    subject: np.ndarray
    end: np.ndarray


# Options of the parameters that all estimators of events share.
CHOICES: dict[str, tuple[Any, ...]] = {
    "closed": ("left", "right"),
    "unknown_subject": ("error", "empty"),
    "shared_subjects": ("warn", "ignore"),
}


def read_cases(
    X: Any,
    store: EventStore,
    *,
    subject: str,
    time: str,
    gap: Any,
    unknown_subject: str,
    owner: str,
) -> Cases:
    """Validate a cohort table against an event store and return its cases.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cohort table.
    store : EventStore
        The events.
    subject, time : str
        Columns of `X` with the subject and the index time.
    gap : str or timedelta
        Time between the end of the windows and the index time.
    unknown_subject : {"error", "empty"}
        Treatment of subjects without events.
    owner : str
        Name of the estimator for messages.

    Returns
    -------
    Cases

    Raises
    ------
    ValueError
        If a column is missing, an index time is null, time zones are mixed, or
        subjects are unknown and ``unknown_subject="error"``.
    TypeError
        If `X` is not a DataFrame, or ids or times have the wrong dtype.
    """
    refuse_unknown_table(X, owner)
    if not hasattr(X, "columns"):
        raise TypeError(
            f"{owner}: X must be a DataFrame with the columns {subject!r} and "
            f"{time!r}, got {type(X).__name__}."
        )
    names = list(X.columns)
    check_unique_labels(names, owner)
    for column in (subject, time):
        if column not in names:
            raise ValueError(
                f"{owner}: X must have a column {column!r}, got {names}."
                f"{did_you_mean(column, list(map(str, names)))}"
            )
    ids = ids_of(X, subject, owner)
    index_time = X[time] if isinstance(X, pd.DataFrame) else X[time].to_pandas()
    end = _ends(index_time, store, time, owner) - check_gap(gap, owner)
    return Cases(_places(ids, store, subject, unknown_subject, owner), end)


def check_choices(estimator: Any, choices: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise a ValueError if a parameter is not among its options."""
    for name, allowed in choices.items():
        check_option(getattr(estimator, name), name, allowed, type(estimator).__name__)


def check_settings(estimator: Any, **choices: tuple[Any, ...]) -> None:
    """Validate the parameters of an estimator that selects codes of events.

    Parameters
    ----------
    estimator : estimator
        Estimator with the parameters of `CHOICES`, ``min_subjects`` and ``max_codes``.
    **choices : tuple
        Options of further parameters.

    Raises
    ------
    ValueError
        If a parameter is invalid.
    """
    check_choices(estimator, {**CHOICES, **choices})
    owner, least = type(estimator).__name__, estimator.min_subjects
    if is_number(least) and 0 < least < 1:
        pass  # A share of the subjects.
    else:
        check_number(least, "min_subjects", owner, low=1, integer=True)
    if estimator.max_codes is not None:
        check_number(estimator.max_codes, "max_codes", owner, low=1, integer=True)


def check_gap(gap: Any, owner: str) -> int:
    """Return a gap in microseconds."""
    length = as_microseconds(gap)
    if length < 0:
        raise ValueError(
            f"{owner}: gap must not be negative, got {gap!r}. Windows would end after "
            "the index time."
        )
    return length


def _ends(column: pd.Series, store: EventStore, name: str, owner: str) -> np.ndarray:
    null = column.isna().to_numpy()
    if null.any():
        raise ValueError(
            f"{owner}: got null in column {name!r} in {null.sum()} of {len(null)} rows "
            f"(row positions {', '.join(map(str, np.flatnonzero(null)[:5]))}). The "
            "index time determines which events are visible. Drop these rows."
        )
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(
            f"{owner}: column {name!r} must contain times, got {column.dtype}. Convert "
            "it with pandas.to_datetime."
        )
    zone = column.dt.tz is not None
    if zone != store.has_time_zone and store.has_times:
        with_zone, without = "events", "index times"
        if zone:
            with_zone, without = without, with_zone
        raise ValueError(
            f"{owner}: got {with_zone} with a time zone and {without} without one, so "
            "that intervals may be wrong by hours. Set the time zone of both."
        )
    if zone:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return as_microseconds_of(column, name, owner)


def ids_of(X: Any, subject: str, owner: str) -> np.ndarray:
    """Return the subjects of a cohort table as integers or text.

    Raises
    ------
    ValueError
        If a subject is null.
    TypeError
        If the subjects are of another type.
    """
    column = X[subject]
    if not isinstance(X, pd.DataFrame):
        column = pd.Series(column.to_list())
    null = column.isna().to_numpy()
    if null.any():
        raise ValueError(
            f"{owner}: got null in column {subject!r} in {null.sum()} of {len(null)} "
            f"rows (row positions {', '.join(map(str, np.flatnonzero(null)[:5]))}). "
            "Drop these rows, or set their subjects."
        )
    return as_ids(column, subject, owner)


def _places(
    ids: np.ndarray, store: EventStore, name: str, unknown: str, owner: str
) -> np.ndarray:
    known = store.subjects
    if (ids.dtype == np.int64) != pd.api.types.is_integer_dtype(known):
        found = "int64" if ids.dtype == np.int64 else "text"
        raise TypeError(
            f"{owner}: got {found} in column {name!r}, but the subjects of the "
            f"events are {known.dtype}. Convert one of them, e.g. with astype(str)."
        )
    places = known.get_indexer(pd.Index(ids, dtype=known.dtype))
    missing = places < 0
    if missing.any() and unknown == "error":
        positions = ", ".join(map(str, np.flatnonzero(missing)[:5]))
        raise ValueError(
            f"{owner}: got subjects without events in {missing.sum()} of "
            f"{len(missing)} rows (row positions {positions}). Check that the ids in "
            f"{name!r} and in the events ({known.dtype}) are the same kind of id. A "
            "fitted model reads the store that it was fitted with: to predict for "
            "subjects of another store, use skfusion.ehr.with_events(model, store). If "
            "these subjects really have no events, pass unknown_subject='empty'."
        )
    return places


class Seen:
    """Hashes of the training rows in place of their ids.

    They are not secret: whoever has a list of possible ids can compare their hashes.

    Parameters
    ----------
    subject : ndarray of shape (n_rows,)
        Subjects of the rows.
    end : ndarray of int64 of shape (n_rows,)
        Ends of the windows of the rows.
    """

    def __init__(self, subject: Any, end: np.ndarray) -> None:
        subjects, rows = _hashes(subject, end)
        self._subjects, self._rows = np.unique(subjects), np.unique(rows)

    def warn_of_shared(self, subject: Any, end: np.ndarray, owner: str) -> None:
        """Warn if other rows belong to subjects of the training rows."""
        subjects, rows = _hashes(subject, end)
        # numpy 2.0 compares by a table, which overflows at hashes of 64 bits.
        shared = np.isin(subjects, self._subjects, kind="sort")
        shared &= ~np.isin(rows, self._rows, kind="sort")
        if shared.any():
            warn_of_modality(
                "shared subjects",
                f"{owner}: got {shared.sum()} of {len(shared)} rows of subjects of "
                "the training rows, at other index times. If these rows test a model, "
                "split by subject (groups, StratifiedGroupKFold). If they are new "
                "cases to predict, pass shared_subjects='ignore'.",
                LeakageWarning,
            )


def _hashes(subject: Any, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = pd.DataFrame({"subject": np.asarray(subject), "end": end})
    return (
        pd.util.hash_pandas_object(table[["subject"]], index=False).to_numpy(),
        pd.util.hash_pandas_object(table, index=False).to_numpy(),
    )


class EventTransformer(TransformerMixin, BaseEstimator):
    """Base class of transformers that read a cohort table with subjects and times."""

    subject: str
    time: str
    unknown_subject: str

    def _cases(self, X: Any, store: EventStore) -> Cases:
        """Validate a cohort table and return its cases, using ``gap`` if defined."""
        return read_cases(
            X,
            store,
            subject=self.subject,
            time=self.time,
            gap=getattr(self, "gap", "0h"),
            unknown_subject=self.unknown_subject,
            owner=type(self).__name__,
        )

    def _training_cases(self, X: Any, store: EventStore) -> Cases:
        """Return the cases of a cohort table for `fit`, and record its columns."""
        validate_data(self, X, skip_check_array=True)
        cases = self._cases(X, store)
        if not len(cases.end):
            raise ValueError(
                f"{type(self).__name__}: X must have at least 1 row, got 0."
            )
        return cases

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
