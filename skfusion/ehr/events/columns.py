"""Validation of event tables and their representation as columns of numbers."""

from __future__ import annotations

import datetime
import decimal
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._validation import NULL_WORDS, did_you_mean, refuse_unknown_table
from skfusion.exceptions import DataWarning, warn_user

__all__ = [
    "EventColumns",
    "LARGEST",
    "Labels",
    "NO_TIME",
    "as_ids",
    "as_labels",
    "as_microseconds_of",
    "as_pandas",
    "as_series",
    "as_values",
    "event_columns",
    "no_id",
]


NO_TIME = np.iinfo(np.int64).min  # The integer value of NaT.
DAY = 86_400_000_000  # A day in microseconds.
HOUR = 3_600_000_000  # An hour in microseconds.
QUARTER = 900_000_000  # A quarter of an hour in microseconds.
YEAR_9999 = np.datetime64("9999-01-01", "us").astype(np.int64)
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000}  # of the units that are coarser
FULL_HOUR, END_OF_DAY = 1, 2  # Values of a clock. Larger ones are of midnight.
# Differences and slopes of larger values would not fit into 32 bits.
LARGEST = 1e30
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
    clock : ndarray of uint8 of shape (n_events,)
        Whether the time may be a date, in the original time zone: 0 for a time, 1 for
        a full hour, 2 for the last microsecond of a day (a date that was moved), and
        for midnight the length of the day in quarters of an hour.
    available : ndarray of int64 of shape (n_events,) or None
        Time at which an event became available, `NO_TIME` for the event time.
    available_clock : ndarray of uint8 of shape (n_events,) or None
        The same as `clock` for `available`.
    unit, text : Labels or None
        Unit of the numeric value, and value as text.
    zone : str or None
        Name of the original time zone, or None for times without one. Times with a
        zone are converted to UTC.
    """

    subject: np.ndarray
    time: np.ndarray
    code: Labels
    value: np.ndarray
    clock: np.ndarray
    available: np.ndarray | None = None
    available_clock: np.ndarray | None = None
    unit: Labels | None = None
    text: Labels | None = None
    zone: str | None = None


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
    _refuse_repeated(frame)
    timeless = frame["time"].isna().to_numpy()
    if timeless.any() and no_time == "error":
        raise ValueError(
            f"EventStore: got null in 'time' in {_places(timeless, first_row)}. Pass "
            "no_time='static' for events that are always valid (they are kept, but are "
            "in no window), or no_time='drop'."
        )
    if no_time == "drop":
        frame = frame[~timeless]
    time = _times(frame["time"], "time")
    known = None
    if "available_time" in frame and frame["available_time"].notna().any():
        known = _times(frame["available_time"], "available_time")
        if frame["time"].notna().any() and (known.zone is None) != (time.zone is None):
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
        time.utc,
        code,
        _values(frame),
        time.clock,
        None if known is None else known.utc,
        None if known is None else known.clock,
        _optional(frame, "unit"),
        _optional(frame, "text_value"),
        time.zone,
    )


def _refuse_repeated(frame: pd.DataFrame) -> None:
    names = list(frame.columns)
    repeated = [name for name in (*REQUIRED, *OPTIONAL) if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"EventStore: events must have each column once, got {repeated[0]!r} "
            f"{names.count(repeated[0])} times. Rename or drop the others."
        )


def _places(mask: np.ndarray, first_row: int) -> str:
    places = ", ".join(str(p + first_row) for p in np.flatnonzero(mask)[:5])
    return f"{mask.sum()} of {len(mask)} events (row positions {places})"


def _optional(frame: pd.DataFrame, name: str) -> Labels | None:
    if name in frame and frame[name].notna().any():
        return as_labels(frame[name], name)
    return None


def _subjects(column: pd.Series, first_row: int) -> np.ndarray:
    null = no_id(column)
    if null.any():
        raise ValueError(
            f"EventStore: got null in 'subject_id' in {_places(null, first_row)}. Drop "
            "these events."
        )
    return as_ids(column, "subject_id", "EventStore")


def no_id(column: pd.Series) -> np.ndarray:
    """Return which cells are null, empty text, or a word such as "nan" for a null.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.events.columns import no_id
    >>> no_id(pd.Series(["7", None, "", "nan"])).tolist()
    [False, True, True, True]
    """
    null = column.isna()
    if not pd.api.types.is_numeric_dtype(column):
        null |= column.isin(NULL_WORDS)
    return null.to_numpy(bool)


def as_ids(column: pd.Series, name: str, owner: str) -> np.ndarray:
    """Return ids as 64-bit integers or text, converted only where this is exact.

    Parameters
    ----------
    column : Series of shape (n,)
        Ids without null: integers of any dtype, whole decimals, text, or categories of
        these.
    name, owner : str
        Names of the column and of the class for messages.

    Returns
    -------
    ndarray of int64 or of str objects of shape (n,)

    Raises
    ------
    TypeError
        If ids are of another type.
    ValueError
        If an integer does not fit into 64 bits.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if pd.api.types.is_integer_dtype(column):
        return _as_int64(column, name, owner)
    ids = column.astype(object).to_numpy()
    kind = pd.api.types.infer_dtype(ids, skipna=False)
    if kind in ("string", "empty"):
        return ids
    whole = kind == "decimal" and all(i.is_finite() and i == int(i) for i in ids)
    if kind == "integer" or whole:
        return _as_int64(pd.Series([int(i) for i in ids], dtype=object), name, owner)
    kinds = sorted({type(cell).__name__ for cell in ids})
    raise TypeError(
        f"{owner}: {name} must contain integers or text, got {column.dtype} "
        f"with {kinds}. Convert the column, e.g. with astype(str), in both the "
        "events and the cohort table."
    )


def _as_int64(column: pd.Series, name: str, owner: str) -> np.ndarray:
    """Return integers of any width as int64, if they fit."""
    if column.dtype == np.int64:
        return column.to_numpy()
    limits = np.iinfo(np.int64)
    fits = ((column >= limits.min) & (column <= limits.max)).to_numpy(dtype=bool)
    if not fits.all():
        raise ValueError(
            f"{owner}: got {(~fits).sum()} of {len(fits)} ids in {name!r} that do not "
            "fit into 64 bits with a sign. Convert the column with astype(str), in "
            "both the events and the cohort table."
        )
    return column.to_numpy(np.int64)


class _Times(NamedTuple):
    """Microseconds since 1970 in UTC, what the clock shows, and the time zone."""

    utc: np.ndarray
    clock: np.ndarray
    zone: str | None


def _times(column: pd.Series, name: str) -> _Times:
    zones: set[str] = set()
    local: pd.Series | None = None
    if column.dtype == object and len(column):
        column, zones, local = _objects_as_times(column, name)
    arrow = str(column.dtype)
    if arrow.startswith(("date32", "date64", "timestamp")):
        column = pd.Series(pd.to_datetime(column.astype(object)), index=column.index)
    if column.isna().all():
        utc, clock = np.full(len(column), NO_TIME), np.zeros(len(column), np.uint8)
        return _Times(utc, clock, _only_zone(zones or _zones_of(column)))
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise TypeError(
            f"EventStore: column {name!r} must contain times, got {column.dtype}. "
            "Convert it with pandas.to_datetime."
        )
    zones = zones or _zones_of(column)
    if not zones:
        naive = as_microseconds_of(column, name, "EventStore")
        return _Times(naive, _clock(naive, naive, None), None)
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None)
    zone = _only_zone(zones)
    wall = column.dt.tz_convert(zone).dt.tz_localize(None) if local is None else local
    walls = as_microseconds_of(wall, name, "EventStore")
    moments = as_microseconds_of(utc, name, "EventStore")
    days_of = zone if local is None else None
    return _Times(moments, _clock(walls, moments, days_of), zone)


def as_microseconds_of(column: pd.Series, name: str, owner: str) -> np.ndarray:
    """Return times without a time zone in microseconds since 1970.

    Parameters
    ----------
    column : Series of datetime64 of shape (n,)
        Times of any unit, NaT for unknown ones.
    name, owner : str
        Names of the column and of the class for messages.

    Returns
    -------
    ndarray of int64 of shape (n,)

    Raises
    ------
    ValueError
        If a time does not fit into 64 bits. numpy would wrap it around, or raise an
        error of its own since 2.5.
    """
    times = column.to_numpy()
    unit, _ = np.datetime_data(times.dtype)
    limit = np.iinfo(np.int64).max // _MICROSECONDS.get(unit, 1)
    numbers = times.view(np.int64)
    beyond = ((numbers > limit) | (numbers < -limit)) & ~np.isnat(times)
    if beyond.any():
        raise ValueError(
            f"{owner}: got {beyond.sum()} of {len(times)} times in {name!r} beyond "
            "the range of microseconds (about 290,000 years). Correct them, or drop "
            "these rows."
        )
    return times.astype("datetime64[us]").view(np.int64)


def _clock(wall: np.ndarray, utc: np.ndarray, zone: str | None) -> np.ndarray:
    """Return what the clock shows, as in `EventColumns`."""
    clock = ((wall % HOUR == 0) & (wall != NO_TIME)).astype(np.uint8)
    clock[wall % DAY == DAY - 1] = END_OF_DAY
    midnight = (wall % DAY == 0) & (wall != NO_TIME)
    length = np.full(midnight.sum(), DAY // QUARTER)
    # Zones are not defined in the year 9999, which stands for an unknown end.
    usual = wall[midnight] < YEAR_9999
    if zone is not None and usual.any():
        # A day on which the clock is changed is shorter or longer than 24 hours.
        starts = wall[midnight][usual]
        following = pd.DatetimeIndex((starts + DAY).view("datetime64[us]"))
        ends = following.tz_localize(zone, ambiguous=False, nonexistent="shift_forward")
        last = ends.tz_convert("UTC").tz_localize(None).to_numpy("datetime64[us]")
        days = last.view(np.int64) - utc[midnight][usual]
        length[usual] = -(-days // QUARTER)
    clock[midnight] = length
    return clock


def _zones_of(column: pd.Series) -> set[str]:
    zone = getattr(column.dt, "tz", None) if _is_datetime(column) else None
    return set() if zone is None else {_zone_name(zone)}


def _is_datetime(column: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(column)


def _zone_name(zone: Any) -> str:
    """Return a name of a time zone from which pandas can create it again."""
    names = getattr(zone, "key", None), getattr(zone, "zone", None), str(zone)
    for name in filter(None, names):
        try:
            pd.Timestamp(0, tz="UTC").tz_convert(name)
        except (ValueError, KeyError, TypeError, OSError):
            continue
        return str(name)
    offset = zone.utcoffset(None)
    return "UTC" if offset is None else str(datetime.timezone(offset))


def _only_zone(zones: set[str]) -> str | None:
    return None if not zones else zones.pop() if len(zones) == 1 else "UTC"


def _objects_as_times(
    column: pd.Series, name: str
) -> tuple[pd.Series, set[str], pd.Series | None]:
    """Return objects as times, the names of their zones, and local times if several."""
    kinds = set(column.dropna().map(type))
    if any(issubclass(kind, str) for kind in kinds) or not kinds:
        return column, set(), None
    zones = column.map(lambda cell: getattr(cell, "tzinfo", None))
    zoned = zones.notna() & column.notna()
    n_known = int(column.notna().sum())
    if 0 < zoned.sum() < n_known:
        raise ValueError(
            f"EventStore: got a time zone in {zoned.sum()} of the {n_known} times in "
            f"{name!r}, so that intervals may be wrong by hours. Set the time zone of "
            "all."
        )
    try:
        times = pd.to_datetime(column, utc=bool(zoned.any()))
    except (ValueError, TypeError, OverflowError):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise TypeError(
            f"EventStore: column {name!r} must contain times, got objects of the types "
            f"{found}, some of which are no times. Convert it with pandas.to_datetime."
        ) from None
    names = {_zone_name(zone) for zone in set(zones[zoned])}
    local = None
    if len(names) > 1:
        walls = column.map(lambda cell: cell.replace(tzinfo=None), na_action="ignore")
        local = pd.Series(pd.to_datetime(walls), index=column.index)
    return pd.Series(times, index=column.index), names, local


def _values(frame: pd.DataFrame) -> np.ndarray:
    if "numeric_value" not in frame:
        return np.full(len(frame), np.nan, dtype=np.float32)
    column = frame["numeric_value"]
    if column.dtype == object:
        try:
            column = column.map(_quiet)
        except OverflowError:  # pandas 2, at a whole number too large for a float
            cells = np.fromiter(map(_quiet, column), dtype=object, count=len(column))
            column = pd.Series(cells, column.index, dtype=object)
    if not pd.api.types.is_numeric_dtype(column) and column.notna().any():
        column = _decimals(column)
    if pd.api.types.is_complex_dtype(column):
        raise TypeError(
            "EventStore: column 'numeric_value' must contain real numbers, got "
            f"{column.dtype}. Select one part, e.g. with numpy.real."
        )
    values = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    return as_values(values, "EventStore")


def _decimals(column: pd.Series) -> pd.Series:
    """Return objects or categories that all are numbers as a numeric column."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    numbers = int, float, np.number, np.bool_, decimal.Decimal
    cells = column.dropna()
    wrong = ~cells.map(lambda cell: isinstance(cell, numbers))
    if wrong.any():
        kinds = sorted({type(cell).__name__ for cell in cells[wrong.to_numpy(bool)]})
        raise TypeError(
            "EventStore: column 'numeric_value' must contain numbers, got "
            f"{column.dtype} with {kinds} in {wrong.sum()} of {len(column)} events. "
            "Rename it to text_value if it contains text such as '<0.1', and parse it "
            "with EventStore.read_text(parse_values)."
        )
    return column.map(_as_float, na_action="ignore").astype(np.float64)


def _quiet(cell: Any) -> Any:
    """Return a cell, and NaN for a signalling NaN, which pandas cannot compare."""
    return np.nan if isinstance(cell, decimal.Decimal) and cell.is_snan() else cell


def _as_float(cell: Any) -> float:
    """Return a number as a float, infinite if it is too large."""
    try:
        return float(cell)
    except OverflowError:
        return np.inf if cell > 0 else -np.inf


def as_values(values: np.ndarray, owner: str) -> np.ndarray:
    """Return values as 32-bit numbers, with a gap for each that is too large.

    Parameters
    ----------
    values : ndarray of float64 of shape (n_events,)
        Numeric values, NaN for unknown ones.
    owner : str
        Name of the class for the warning.

    Returns
    -------
    ndarray of float32 of shape (n_events,)

    Warns
    -----
    DataWarning
        If values are infinite or beyond `LARGEST`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        too_large = np.abs(values) > LARGEST
        values = np.asarray(values).astype(np.float32)
    if too_large.any():
        warn_user(
            f"{owner}: got {too_large.sum()} infinite values in {len(values)} events, "
            f"or values beyond {LARGEST:.0e}. They are treated as missing.",
            DataWarning,
        )
        values[too_large] = np.nan
    return values


def as_labels(column: pd.Series, name: str) -> Labels:
    """Return a text column as integer codes and distinct words.

    Raises
    ------
    TypeError
        If the column contains values that are not text.
    """
    numbers: Any
    found: Any
    if isinstance(column.dtype, pd.CategoricalDtype):
        numbers, found = column.cat.codes.to_numpy(), column.cat.categories
    else:
        try:
            numbers, found = pd.factorize(column)
        except TypeError:  # Cells such as lists, which are refused below.
            numbers, found = np.zeros(0), column.dropna()
    words = list(found)
    wrong = sorted({type(word).__name__ for word in words if not isinstance(word, str)})
    if wrong:
        raise TypeError(
            f"EventStore: column {name!r} must contain text, got {column.dtype} with "
            f"{wrong}. Convert it with astype(str)."
        )
    return Labels(numbers.astype(np.int32), words)


def as_series(labels: Labels) -> pd.Series:
    """Return labels as a Series of text, with None for null."""
    words = np.array([*labels.words, None], dtype=object)
    return pd.Series(words[labels.numbers], dtype=object)
