"""A table of events as others have it in, checked columns of numbers out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._validation import did_you_mean

__all__ = [
    "EventColumns",
    "Labels",
    "NO_TIME",
    "as_labels",
    "as_pandas",
    "as_series",
    "event_columns",
]


NO_TIME = np.iinfo(np.int64).min  # what NaT is as a number
DAY = 86_400_000_000  # in microseconds
REQUIRED = ("subject_id", "time", "code")
OPTIONAL = ("numeric_value", "available_time", "unit", "text_value")


class Labels(NamedTuple):
    """A column of words: which one each event has, -1 for none, and the words."""

    numbers: np.ndarray
    words: list[str]


@dataclass(frozen=True)
class EventColumns:
    """Events as columns of numbers; times are microseconds since 1970.

    Attributes
    ----------
    subject : ndarray of int64 or of str objects of shape (n_events,)
        Whose events.
    time : ndarray of int64 of shape (n_events,)
        When; `NO_TIME` for what holds always.
    code : Labels
        What happened.
    value : ndarray of float32 of shape (n_events,)
        The number, NaN for none.
    midnight : ndarray of bool of shape (n_events,)
        Whether the time is the first moment of a day where it was written down.
    available : ndarray of int64 of shape (n_events,) or None
        When it was known; `NO_TIME` for when it happened.
    unit, text : Labels or None
        Unit of the number; the value as text.
    zone : bool
        Whether times had a time zone; they are in UTC then.
    """

    subject: np.ndarray
    time: np.ndarray
    code: Labels
    value: np.ndarray
    midnight: np.ndarray
    available: np.ndarray | None = None
    unit: Labels | None = None
    text: Labels | None = None
    zone: bool = False


def as_pandas(frame: Any) -> pd.DataFrame:
    """Return a table of pandas, polars or pyarrow as one of pandas.

    Raises
    ------
    TypeError
        If it is none of them.
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    if hasattr(frame, "collect"):  # a lazy one of polars
        frame = frame.collect()
    if not hasattr(frame, "to_pandas"):
        raise TypeError(
            "EventStore: expected a table of events (pandas, polars or pyarrow), got "
            f"{type(frame).__name__}."
        )
    require("pyarrow", "ehr")
    return frame.to_pandas()


def event_columns(
    frame: pd.DataFrame, *, no_time: str = "error", first_row: int = 0
) -> EventColumns:
    """Check a table of events and take its columns apart.

    Parameters
    ----------
    frame : DataFrame of shape (n_events, n_columns)
        With the columns of MEDS: ``subject_id``, ``time``, ``code``, and any of
        ``numeric_value``, ``available_time``, ``unit``, ``text_value``. Others are not
        looked at.
    no_time : {"error", "static", "drop"}, default="error"
        What becomes of events without time.
    first_row : int, default=0
        Position of the first row in what the user has, for messages.

    Returns
    -------
    EventColumns

    Raises
    ------
    ValueError
        If a column is missing, an id, a code or (by default) a time is null.
    TypeError
        If a column holds something else than it must.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        hint = "".join(did_you_mean(name, list(map(str, frame))) for name in missing)
        raise ValueError(
            f"EventStore: the events have no column {missing}; they have "
            f"{list(map(str, frame.columns))}.{hint} Rename yours to the names of "
            f"MEDS: {', '.join(REQUIRED)}, and, if you have them, "
            f"{', '.join(OPTIONAL)}."
        )
    timeless = frame["time"].isna().to_numpy()
    if timeless.any() and no_time == "error":
        raise ValueError(
            f"EventStore: {_places(timeless, first_row)} have no time. Pass "
            "no_time='static' if they hold always (they are kept, and are in no "
            "window), or no_time='drop'."
        )
    if no_time == "drop":
        frame = frame[~timeless]
    time, midnight, zone = _times(frame["time"], "time")
    available = None
    if "available_time" in frame and frame["available_time"].notna().any():
        available, _, other_zone = _times(frame["available_time"], "available_time")
        if other_zone != zone:
            raise ValueError(
                "EventStore: one of the columns 'time' and 'available_time' has a "
                "time zone, the other has none, so that hours may lie between them. "
                "Give both one."
            )
    code = as_labels(frame["code"], "code")
    if (code.numbers < 0).any():
        raise ValueError(
            f"EventStore: {_places(code.numbers < 0, first_row)} have no code. Drop "
            "them, or give them one."
        )
    return EventColumns(
        _subjects(frame["subject_id"], first_row),
        time,
        code,
        _values(frame),
        midnight,
        available,
        _optional(frame, "unit"),
        _optional(frame, "text_value"),
        zone,
    )


def _places(mask: np.ndarray, first_row: int) -> str:
    places = ", ".join(str(p + first_row) for p in np.flatnonzero(mask)[:5])
    return f"{mask.sum()} of {len(mask)} events (row positions {places})"


def _optional(frame: pd.DataFrame, name: str) -> Labels | None:
    if name in frame and frame[name].notna().any():
        return as_labels(frame[name], name)
    return None


def _subjects(column: pd.Series, first_row: int) -> np.ndarray:
    null = column.isna().to_numpy()
    if null.any():
        raise ValueError(
            f"EventStore: {_places(null, first_row)} have no subject_id. Drop them."
        )
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(np.int64)
    ids = column.astype(object).to_numpy()
    kinds = {type(cell).__name__ for cell in pd.unique(ids)}
    if kinds <= {"str"}:
        return ids
    raise TypeError(
        f"EventStore: subject_id must hold whole numbers or text, got {column.dtype} "
        f"with {sorted(kinds)}. Convert the column, e.g. with astype(str), in the "
        "events and in the table of cases alike."
    )


def _times(column: pd.Series, name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return microseconds since 1970, what is midnight, and whether in a time zone."""
    if column.dtype == object and len(column):
        column = _objects_as_times(column)
    arrow = str(column.dtype)
    if arrow.startswith(("date32", "date64", "timestamp")):
        column = pd.Series(pd.to_datetime(column.astype(object)), index=column.index)
    if column.isna().all():
        return np.full(len(column), NO_TIME), np.zeros(len(column), bool), False
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(
            f"EventStore: column {name!r} must hold times, got {column.dtype}. "
            "Convert it with pandas.to_datetime."
        )
    zone = column.dt.tz is not None
    there = column.dt.tz_localize(None) if zone else column
    wall = there.to_numpy("datetime64[us]").view(np.int64)
    midnight = (wall % DAY == 0) & (wall != NO_TIME)
    if not zone:
        return wall, midnight, False
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return utc.to_numpy("datetime64[us]").view(np.int64), midnight, True


def _objects_as_times(column: pd.Series) -> pd.Series:
    kinds = set(column.dropna().map(type))
    if any(issubclass(kind, str) for kind in kinds) or not kinds:
        return column
    return pd.Series(pd.to_datetime(column), index=column.index)


def _values(frame: pd.DataFrame) -> np.ndarray:
    if "numeric_value" not in frame:
        return np.full(len(frame), np.nan, dtype=np.float32)
    column = frame["numeric_value"]
    if not pd.api.types.is_numeric_dtype(column) and column.notna().any():
        raise TypeError(
            "EventStore: column 'numeric_value' must hold numbers, got "
            f"{column.dtype}. Call the column text_value if it holds text such as "
            "'<0.1', and read it with EventStore.read_text(parse_values)."
        )
    values = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        warnings.warn(
            f"EventStore: {infinite.sum()} of {len(values)} values are infinite; they "
            "are gaps now.",
            stacklevel=4,
        )
        values[infinite] = np.nan
    return values


def as_labels(column: pd.Series, name: str) -> Labels:
    """Give each different word of a column a number.

    Raises
    ------
    TypeError
        If it holds something else than text.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        numbers, found = column.cat.codes.to_numpy(), column.cat.categories
    else:
        numbers, found = pd.factorize(column)
    words = list(found)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(
            f"EventStore: column {name!r} must hold text, got {column.dtype}. "
            "Convert it with astype(str)."
        )
    return Labels(numbers.astype(np.int32), words)


def as_series(labels: Labels) -> pd.Series:
    """Return the words of a column, None where there is none."""
    words = np.array([*labels.words, None], dtype=object)
    return pd.Series(words[labels.numbers], dtype=object)
