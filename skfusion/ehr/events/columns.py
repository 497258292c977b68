"""Validation of event tables and their representation as columns of numbers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._validation import did_you_mean, refuse_unknown_table

__all__ = [
    "EventColumns",
    "Labels",
    "NO_TIME",
    "as_labels",
    "as_pandas",
    "as_series",
    "event_columns",
]


NO_TIME = np.iinfo(np.int64).min  # The integer value of NaT.
DAY = 86_400_000_000  # A day in microseconds.
REQUIRED = ("subject_id", "time", "code")
OPTIONAL = ("numeric_value", "available_time", "unit", "text_value")


class Labels(NamedTuple):
    """Column of text as integer codes (-1 for null) and a list of distinct words."""

    numbers: np.ndarray
    words: list[str]


@dataclass(frozen=True)
class EventColumns:
    """Events as columns of numbers, with times in microseconds since 1970.

    Attributes
    ----------
    subject : ndarray of int64 or of str objects of shape (n_events,)
        Subject of each event.
    time : ndarray of int64 of shape (n_events,)
        Time of each event, `NO_TIME` for static events.
    code : Labels
        Code of each event.
    value : ndarray of float32 of shape (n_events,)
        Numeric value, or NaN.
    midnight : ndarray of bool of shape (n_events,)
        Whether the time is midnight in the original time zone.
    available : ndarray of int64 of shape (n_events,) or None
        Time at which an event became available, `NO_TIME` for the event time.
    unit, text : Labels or None
        Unit of the numeric value, and value as text.
    zone : bool
        Whether the original times had a time zone. They are then converted to UTC.
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
    """Return a table of pandas, polars or pyarrow as a pandas DataFrame.

    Raises
    ------
    TypeError
        If `frame` is not such a table.
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    if hasattr(frame, "collect") and hasattr(frame, "lazy"):  # polars' LazyFrame
        frame = frame.collect()
    refuse_unknown_table(frame, "EventStore")
    if not hasattr(frame, "to_pandas"):
        raise TypeError(
            "EventStore: events must be a table of pandas, polars or pyarrow, got "
            f"{type(frame).__name__}."
        )
    require("pyarrow", "ehr")
    return frame.to_pandas()


def event_columns(
    frame: pd.DataFrame, *, no_time: str = "error", first_row: int = 0
) -> EventColumns:
    """Validate a table of events and convert it to columns of numbers.

    Parameters
    ----------
    frame : DataFrame of shape (n_events, n_columns)
        Table with the MEDS columns ``subject_id``, ``time``, ``code``, and optionally
        ``numeric_value``, ``available_time``, ``unit``, ``text_value``. Other columns
        are ignored.
    no_time : {"error", "static", "drop"}, default="error"
        Treatment of events without time.
    first_row : int, default=0
        Position of the first row in the user's data, for messages.

    Returns
    -------
    EventColumns

    Raises
    ------
    ValueError
        If a column is missing, or an id, a code or (by default) a time is null.
    TypeError
        If a column has the wrong dtype.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        hint = "".join(did_you_mean(name, list(map(str, frame))) for name in missing)
        raise ValueError(
            f"EventStore: events must have the columns {missing}, got "
            f"{list(map(str, frame.columns))}.{hint} Rename the columns to the MEDS "
            f"names: {', '.join(REQUIRED)}, and optionally "
            f"{', '.join(OPTIONAL)}."
        )
    timeless = frame["time"].isna().to_numpy()
    if timeless.any() and no_time == "error":
        raise ValueError(
            f"EventStore: got null in 'time' in {_places(timeless, first_row)}. Pass "
            "no_time='static' for events that are always valid (they are kept, but are "
            "in no window), or no_time='drop'."
        )
    if no_time == "drop":
        frame = frame[~timeless]
    time, midnight, zone = _times(frame["time"], "time")
    available = None
    if "available_time" in frame and frame["available_time"].notna().any():
        available, _, other_zone = _times(frame["available_time"], "available_time")
        if other_zone != zone:
            raise ValueError(
                "EventStore: got a time zone in only one of the columns 'time' and "
                "'available_time', so that intervals may be wrong by hours. Set the "
                "time zone of both."
            )
    code = as_labels(frame["code"], "code")
    if (code.numbers < 0).any():
        raise ValueError(
            f"EventStore: got null in 'code' in {_places(code.numbers < 0, first_row)}."
            " Drop these events, or set their code."
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
            f"EventStore: got null in 'subject_id' in {_places(null, first_row)}. Drop "
            "these events."
        )
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(np.int64)
    ids = column.astype(object).to_numpy()
    kinds = {type(cell).__name__ for cell in pd.unique(ids)}
    if kinds <= {"str"}:
        return ids
    raise TypeError(
        f"EventStore: subject_id must contain integers or text, got {column.dtype} "
        f"with {sorted(kinds)}. Convert the column, e.g. with astype(str), in both the "
        "events and the cohort table."
    )


def _times(column: pd.Series, name: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return microseconds since 1970, a mask of midnights, and whether zoned."""
    if column.dtype == object and len(column):
        column = _objects_as_times(column)
    arrow = str(column.dtype)
    if arrow.startswith(("date32", "date64", "timestamp")):
        column = pd.Series(pd.to_datetime(column.astype(object)), index=column.index)
    if column.isna().all():
        return np.full(len(column), NO_TIME), np.zeros(len(column), bool), False
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(
            f"EventStore: column {name!r} must contain times, got {column.dtype}. "
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
            "EventStore: column 'numeric_value' must contain numbers, got "
            f"{column.dtype}. Rename it to text_value if it contains text such as "
            "'<0.1', and parse it with EventStore.read_text(parse_values)."
        )
    values = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        warnings.warn(
            f"EventStore: got {infinite.sum()} infinite values in {len(values)} "
            "events. They are treated as missing.",
            stacklevel=4,
        )
        values[infinite] = np.nan
    return values


def as_labels(column: pd.Series, name: str) -> Labels:
    """Return a text column as integer codes and distinct words.

    Raises
    ------
    TypeError
        If the column contains values that are not text.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        numbers, found = column.cat.codes.to_numpy(), column.cat.categories
    else:
        numbers, found = pd.factorize(column)
    words = list(found)
    if not all(isinstance(word, str) for word in words):
        raise TypeError(
            f"EventStore: column {name!r} must contain text, got {column.dtype}. "
            "Convert it with astype(str)."
        )
    return Labels(numbers.astype(np.int32), words)


def as_series(labels: Labels) -> pd.Series:
    """Return labels as a Series of text, with None for null."""
    words = np.array([*labels.words, None], dtype=object)
    return pd.Series(words[labels.numbers], dtype=object)
