"""A table of cases in, the subjects and the ends of their windows out, checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from skfusion._durations import as_microseconds
from skfusion._validation import check_option, did_you_mean
from skfusion.ehr.events.store import EventStore

__all__ = [
    "EventTransformer",
    "Seen",
    "check_choices",
    "check_gap",
    "check_settings",
    "read_cases",
]


@dataclass(frozen=True)
class Cases:
    """Rows of a table of cases.

    Attributes
    ----------
    subject : ndarray of int of shape (n_rows,)
        Position of the subject in the store, -1 for one without events.
    end : ndarray of int64 of shape (n_rows,)
        Where its windows end, in microseconds since 1970.
    """

    subject: np.ndarray
    end: np.ndarray


# what every estimator of events lets choose
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
    """Check a table of cases against a store.

    Parameters
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cases.
    store : EventStore
        The events.
    subject, time : str
        Columns of `X`.
    gap : str or timedelta
        How long before the index time windows end.
    unknown_subject : {"error", "empty"}
        What becomes of subjects without events.
    owner : str
        Who asks, for messages.

    Returns
    -------
    Cases

    Raises
    ------
    ValueError
        If a column is missing, an index time is null, time zones are mixed, or a
        subject is unknown and must not be.
    TypeError
        If ids or times are of the wrong kind.
    """
    if not hasattr(X, "columns"):
        raise TypeError(
            f"{owner}: X must be a DataFrame with the columns {subject!r} and "
            f"{time!r}, got {type(X).__name__}."
        )
    names = list(X.columns)
    for column in (subject, time):
        if column not in names:
            raise ValueError(
                f"{owner}: X has no column {column!r}; it has {names}."
                f"{did_you_mean(column, list(map(str, names)))}"
            )
    ids = X[subject] if isinstance(X, pd.DataFrame) else pd.Series(X[subject].to_list())
    index_time = X[time] if isinstance(X, pd.DataFrame) else X[time].to_pandas()
    end = _ends(index_time, store, time, owner) - check_gap(gap, owner)
    return Cases(_places(ids, store, subject, unknown_subject, owner), end)


def check_choices(estimator: Any, choices: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise ValueError if a parameter is none of those that it may be."""
    for name, allowed in choices.items():
        check_option(getattr(estimator, name), name, allowed, type(estimator).__name__)


def check_settings(estimator: Any, **choices: tuple[Any, ...]) -> None:
    """Check the parameters of an estimator that chooses codes of events.

    Parameters
    ----------
    estimator : estimator
        With the parameters of `CHOICES`, ``min_subjects`` and ``max_codes``.
    **choices : tuple
        What further parameters may be.

    Raises
    ------
    ValueError
        If one makes no sense.
    """
    check_choices(estimator, {**CHOICES, **choices})
    for name in ("min_subjects", "max_codes"):
        value = getattr(estimator, name)
        if value is None and name == "max_codes":
            continue
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(
                f"{type(estimator).__name__}: {name} must be a whole number of at "
                f"least 1, got {value!r}."
            )


def check_gap(gap: Any, owner: str) -> int:
    """Return a gap in microseconds."""
    length = as_microseconds(gap)
    if length < 0:
        raise ValueError(
            f"{owner}: gap={gap!r} is negative, so that windows would end after the "
            "index time."
        )
    return length


def _ends(column: pd.Series, store: EventStore, name: str, owner: str) -> np.ndarray:
    null = column.isna().to_numpy()
    if null.any():
        raise ValueError(
            f"{owner}: column {name!r} is null in {null.sum()} of {len(null)} rows "
            f"(row positions {', '.join(map(str, np.flatnonzero(null)[:5]))}). Without "
            "an index time nothing says which events are past; drop these rows."
        )
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(
            f"{owner}: column {name!r} must hold times, got {column.dtype}. Convert "
            "it with pandas.to_datetime."
        )
    zone = column.dt.tz is not None
    if zone != store.has_time_zone:
        with_zone, without = "events", "index times"
        if zone:
            with_zone, without = without, with_zone
        raise ValueError(
            f"{owner}: the {with_zone} have a time zone and the {without} have none, "
            "so that hours may lie between them. Give both one."
        )
    if zone:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return column.to_numpy("datetime64[us]").view(np.int64)


def _places(
    ids: pd.Series, store: EventStore, name: str, unknown: str, owner: str
) -> np.ndarray:
    known = store.subjects
    if pd.api.types.is_integer_dtype(ids) != pd.api.types.is_integer_dtype(known):
        raise TypeError(
            f"{owner}: column {name!r} holds {ids.dtype}, the events have subjects of "
            f"{known.dtype}. Convert one of them, e.g. with astype(str)."
        )
    places = known.get_indexer(pd.Index(ids.astype(known.dtype)))
    missing = places < 0
    if missing.any() and unknown == "error":
        positions = ", ".join(map(str, np.flatnonzero(missing)[:5]))
        raise ValueError(
            f"{owner}: the subjects of {missing.sum()} of {len(missing)} rows have no "
            f"events (row positions {positions}; {name!r} is {ids.dtype}, subjects of "
            f"the events are {known.dtype}). Check that both are the same kind of id; "
            "if these subjects really have no events, pass unknown_subject='empty'."
        )
    return places


class Seen:
    """What rows were fitted with, as numbers that no id can be read off.

    Parameters
    ----------
    subject : ndarray of shape (n_rows,)
        Their subjects.
    end : ndarray of int64 of shape (n_rows,)
        Their ends.
    """

    def __init__(self, subject: Any, end: np.ndarray) -> None:
        subjects, rows = _hashes(subject, end)
        self._subjects, self._rows = np.unique(subjects), np.unique(rows)

    def warn_of_shared(self, subject: Any, end: np.ndarray, owner: str) -> None:
        """Warn where other rows are of the same subjects."""
        subjects, rows = _hashes(subject, end)
        shared = np.isin(subjects, self._subjects) & ~np.isin(rows, self._rows)
        if shared.any():
            warnings.warn(
                f"{owner}: {shared.sum()} of {len(shared)} rows are of subjects that "
                "it was fitted with, at other index times. If these rows are there to "
                "test a model, split by subject (groups, StratifiedGroupKFold); if "
                "they are new, pass shared_subjects='ignore'.",
                stacklevel=4,
            )


def _hashes(subject: Any, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    table = pd.DataFrame({"subject": np.asarray(subject), "end": end})
    return (
        pd.util.hash_pandas_object(table[["subject"]], index=False).to_numpy(),
        pd.util.hash_pandas_object(table, index=False).to_numpy(),
    )


class EventTransformer(TransformerMixin, BaseEstimator):
    """A transformer with the parameters ``subject``, ``time``, ``unknown_subject``."""

    subject: str
    time: str
    unknown_subject: str

    def _cases(self, X: Any, store: EventStore) -> Cases:
        """Check a table of cases; windows end by ``gap``, if there is one, earlier."""
        return read_cases(
            X,
            store,
            subject=self.subject,
            time=self.time,
            gap=getattr(self, "gap", "0h"),
            unknown_subject=self.unknown_subject,
            owner=type(self).__name__,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags
