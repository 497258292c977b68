"""Times of images and of cases on one clock, with dates at the end of their day."""

from __future__ import annotations

import datetime
import re
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from skfusion._durations import as_duration

__all__ = [
    "DAY",
    "UNKNOWN",
    "Instants",
    "check_time_zone",
    "duration_of",
    "instants_of",
]


UNKNOWN = np.iinfo(np.int64).min  # the integer value of NaT
DAY = 86_400_000_000  # in microseconds
MICRO: Any = "datetime64[us]"
_LONGEST_DATE = 10  # letters of 2024-05-01
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}([T ]\d.*)?")
_ZONE = re.compile(r"[T ].*(?:[Zz]|[+-]\d{2}:?(?:\d{2})?)")


class Instants(NamedTuple):
    """Times of a column.

    Attributes
    ----------
    numbers : ndarray of int64 of shape (n,)
        Microseconds since 1970, in UTC if the times have a time zone, `UNKNOWN` for
        nulls.
    has_zone : bool or None
        Whether the times have a time zone, None if no time is known.
    """

    numbers: np.ndarray
    has_zone: bool | None


def check_time_zone(name: str | None, owner: str) -> None:
    """Raise a ValueError if a name is not that of a time zone."""
    if name is None:
        return
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        raise ValueError(
            f"{owner}: time_zone must be a name such as 'Europe/Berlin' or None, got "
            f"{name!r}."
        ) from None


def duration_of(given: Any, name: str, owner: str) -> pd.Timedelta:
    """Return a parameter as a duration, of numbers 0 only.

    Raises
    ------
    ValueError
        If it is not a duration, or negative.
    """
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    try:
        if isinstance(given, bool) or (is_number and given != 0):
            raise ValueError
        length = as_duration(given)
    except (ValueError, TypeError):
        raise ValueError(
            f"{owner}: {name} must be a duration such as '24h' or '30d', got {given!r}."
        ) from None
    if length < pd.Timedelta(0):
        raise ValueError(f"{owner}: {name} must not be negative, got {given!r}.")
    return length


def instants_of(
    column: pd.Series,
    name: str,
    owner: str,
    *,
    time_zone: str | None = None,
    dates_end: bool = True,
    midnight_is_date: bool = True,
    late: bool = True,
) -> Instants:
    """Return the times of a column as numbers.

    Parameters
    ----------
    column : Series of shape (n,)
        Datetimes with or without a time zone, dates, or texts of ISO 8601. Cells may
        have different time zones.
    name, owner : str
        Names of the column and of the function for messages.
    time_zone : str or None, default=None
        Time zone of times without one.
    dates_end : bool, default=True
        Whether dates are moved to the end of their day. Otherwise they are at its
        start.
    midnight_is_date : bool, default=True
        Whether a time at midnight is a date. Cells that are dates, or texts of a date,
        are dates anyway.
    late : bool, default=True
        Whether a local time that occurs twice, or never, when the clock is changed, is
        the later of the two possible instants. Otherwise it is the earlier one.

    Returns
    -------
    Instants

    Raises
    ------
    TypeError
        If a cell is not a time.
    ValueError
        If some times have a time zone and others have none, without `time_zone`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohorts.instants import instants_of
    >>> times = pd.Series(["1970-01-01", "1970-01-01T00:00:01", None])
    >>> instants_of(times, "acquired", "link_images").numbers[:2]
    array([86399999999,     1000000])
    """
    if pd.api.types.is_datetime64_any_dtype(column):
        aware = np.full(len(column), column.dt.tz is not None)
        walls, offsets = _walls(column)
        is_date = np.zeros(len(column), dtype=bool)
    else:
        walls, offsets, aware, is_date = _of_objects(column, name, owner)
    known = walls != UNKNOWN
    has_offset = aware & known
    n_aware, n_known = int(has_offset.sum()), int(known.sum())
    if 0 < n_aware < n_known and time_zone is None:
        raise ValueError(
            f"{owner}: got a time zone in {n_aware} of {n_known} times in {name!r}, so "
            "that they cannot be ordered. Set time_zone to the zone of the others."
        )
    if dates_end:
        moved = known & (walls % DAY == 0) & (is_date | midnight_is_date)
        walls = np.where(moved, walls + DAY - 1, walls)
        zone = getattr(column.dtype, "tz", None)
        if zone is not None and moved.any():  # the day may not have 24 hours
            offsets[moved] = walls[moved] - _localized(walls[moved], zone, late)
    numbers = np.where(has_offset, walls - offsets, walls)
    local = known & ~has_offset
    if time_zone is not None and local.any():
        numbers[local] = _localized(walls[local], time_zone, late)
    has_zone = None if not n_known else bool(n_aware) or time_zone is not None
    return Instants(np.where(known, numbers, UNKNOWN), has_zone)


def _walls(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return what the clocks showed, and their offsets from UTC, in microseconds."""
    if column.dt.tz is None:
        walls = _microseconds(column)
        return walls, np.zeros(len(walls), dtype=np.int64)
    walls = _microseconds(column.dt.tz_localize(None))
    utc = _microseconds(column.dt.tz_convert("UTC").dt.tz_localize(None))
    return walls, np.where(walls == UNKNOWN, 0, walls - utc)


def _microseconds(times: pd.Series) -> np.ndarray:
    return times.astype(MICRO).to_numpy(MICRO).view(np.int64)


def _localized(walls: np.ndarray, time_zone: Any, late: bool) -> np.ndarray:
    times = pd.DatetimeIndex(walls.view(MICRO))
    aware = times.tz_localize(
        time_zone,
        ambiguous=np.full(len(times), not late),
        nonexistent="shift_forward" if late else "shift_backward",
    )
    found = aware.tz_convert("UTC").tz_localize(None).to_numpy(MICRO)
    return found.view(np.int64)


def _of_objects(
    column: pd.Series, name: str, owner: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return wall times, offsets, and whether there is a zone and only a date."""
    cells = column.astype(object)
    known = cells.notna()
    is_text = cells.map(lambda cell: isinstance(cell, str)) & known
    empty = is_text & (cells.where(is_text, "x").map(str.strip) == "")
    is_text, known = is_text & ~empty, known & ~empty
    is_time = cells.map(lambda cell: isinstance(cell, datetime.date | np.datetime64))
    wrong = int((known & ~is_text & ~is_time).sum())
    walls = np.full(len(column), UNKNOWN)
    offsets = np.zeros(len(column), dtype=np.int64)
    aware, is_date = np.zeros((2, len(column)), dtype=bool)
    texts = cells[is_text].map(str.strip)
    good = texts.map(lambda text: _ISO.fullmatch(text) is not None)
    wrong += int((~good).sum())
    places = np.flatnonzero(is_text.to_numpy(bool))[good.to_numpy(bool)]
    texts = texts[good]
    zoned = texts.map(lambda text: _ZONE.fullmatch(text[10:]) is not None)
    is_date[places] = texts.map(len).to_numpy(int) <= _LONGEST_DATE
    is_zoned = zoned.to_numpy(bool)
    for chosen, zone in ((~is_zoned, False), (is_zoned, True)):
        found, shift, n_bad = _parsed(texts[chosen], zone)
        walls[places[chosen]], offsets[places[chosen]] = found, shift
        aware[places[chosen]] = zone
        wrong += n_bad
    for place in np.flatnonzero((known & is_time).to_numpy(bool)):
        time = pd.Timestamp(cells.iloc[place])
        is_date[place] = not isinstance(cells.iloc[place], datetime.datetime)
        offset = time.utcoffset()
        walls[place] = (
            time.replace(tzinfo=None).to_datetime64().astype(MICRO).view("i8")
        )
        if offset is not None:
            offsets[place] = offset // datetime.timedelta(microseconds=1)
            aware[place] = True
    if wrong:
        raise TypeError(
            f"{owner}: column {name!r} must contain times, got {wrong} cells of "
            f"{len(column)} that are none. Expected datetimes, dates, or texts such as "
            "'2024-05-01 12:30:00'. Convert it with pandas.to_datetime."
        )
    return walls, offsets, aware, is_date


def _parsed(texts: pd.Series, zone: bool) -> tuple[np.ndarray, np.ndarray, int]:
    """Return wall times and offsets of texts, and how many are not times."""
    # Without their offset, the texts are what the clocks showed.
    bare = texts.str.replace(r"\s*(?:[Zz]|[+-]\d{2}:?(?:\d{2})?)$", "", regex=True)
    local = pd.to_datetime(
        bare if zone else texts, format="ISO8601", errors="coerce"
    ).astype(MICRO)
    walls = _microseconds(local)
    offsets = np.zeros(len(texts), dtype=np.int64)
    n_bad = int(local.isna().sum())
    if zone:
        utc = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
        n_bad = int((local.isna() | utc.isna()).sum())
        offsets = np.where(
            local.isna(), 0, walls - _microseconds(utc.dt.tz_localize(None))
        )
    return walls, offsets, n_bad
