"""Time zone of a FHIR export, and conversion of its times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd

from skfusion.exceptions import DataWarning, warn_user

__all__ = ["Clock", "Offsets", "as_zone", "to_times"]


# Elements whose times become times of events.
_ELEMENTS = (
    *("effectiveDateTime", "effectiveInstant", "issued", "start", "end", "authoredOn"),
    *("recordedDate", "recorded", "onsetDateTime", "performedDateTime"),
    *("occurrenceDateTime", "occurenceDateTime", "deceasedDateTime"),
    "started",  # of an ImagingStudy
)
_ELEMENT = re.compile(
    rf'"(?:{"|".join(_ELEMENTS)})"\s*:\s*"\d{{4}}-\d\d-\d\d$'.encode()
)
_LONGEST_ELEMENT = 80
_CLOCK = re.compile(rb'T\d\d:\d\d(?::\d\d(?:\.\d+)?)?([Zz]|[+-]\d\d:?\d\d)"')
_ZONE = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"
_DATE = r"^\d{4}(?:-\d{2}(?:-\d{2})?)?$"
_PARTIAL = r"^\d{4}(?:-\d{2})?$"


class Clock(NamedTuple):
    """Conversion of the times of an export."""

    zone: tzinfo  # Zone of dates, and of times without a zone.
    is_local: bool = False  # Whether local times are kept, without a zone.
    is_certain: bool = True  # Whether the zone is that of all times.


def as_zone(name: str | None) -> ZoneInfo | None:
    """Return a time zone by its name.

    Raises
    ------
    ValueError
        If there is no such zone.
    """
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):
        raise ValueError(
            "read_fhir: time_zone must be a name such as 'Europe/Berlin' or None, got "
            f"{name!r}."
        ) from None


class Offsets:
    """Offsets from UTC in the times of an export, as they are in the text.

    Parameters
    ----------
    zone : ZoneInfo or None
        Zone whose rules the offsets should follow. None only collects the offsets.

    Examples
    --------
    >>> from skfusion.ehr.sources.fhir_times import Offsets, as_zone
    >>> offsets = Offsets(as_zone("America/New_York"))
    >>> offsets.look(b'{"issued": "2024-07-01T08:00:00-04:00"}')
    >>> offsets.clock().is_local
    True
    """

    def __init__(self, zone: ZoneInfo | None) -> None:
        self._zone = zone
        self._offsets: set[bytes] = set()
        self._days: set[tuple[bytes, bytes]] = set()

    def look(self, text: bytes) -> None:
        """Add the offsets in the times of a line or document."""
        if self._zone is None and self._offsets.issuperset(_CLOCK.findall(text)):
            return
        for match in _CLOCK.finditer(text):
            start, offset = match.start(), match[1]
            day = text[max(start - 10, 0) : start], offset
            if (self._zone is None and offset in self._offsets) or day in self._days:
                continue
            if _ELEMENT.search(text, max(start - _LONGEST_ELEMENT, 0), start):
                self._offsets.add(offset)
                if self._zone is not None:
                    self._days.add(day)

    def clock(self) -> Clock:
        """Return the conversion, with a warning if the offsets are of another zone."""
        found = sorted({_offset(text) for text in self._offsets})
        if self._zone is None:
            # Of several offsets, a day ends last at the least one.
            zone = timezone(found[0]) if found else UTC
            return Clock(zone, is_certain=len(found) < 2)
        n_strange = sum(not _is_of(self._zone, *day) for day in self._days)
        if n_strange:
            warn_user(
                f"read_fhir: got times whose offset from UTC is not that of time_zone "
                f"{self._zone.key!r}, for {n_strange} of {len(self._days)} pairs of a "
                "day and an offset. Times are in UTC, and dates end at midnight of "
                "that zone. Pass the zone of the source, or None.",
                DataWarning,
            )
        return Clock(self._zone, is_local=self._zone.key != "UTC" and not n_strange)


def _offset(text: bytes) -> timedelta:
    if text in (b"Z", b"z"):
        return timedelta(0)
    size = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return -size if text.startswith(b"-") else size


def _is_of(zone: ZoneInfo, day: bytes, text: bytes) -> bool:
    """Return whether a zone has an offset at the beginning or the end of a day."""
    try:
        start = datetime.fromisoformat(day.decode()).replace(tzinfo=zone)
    except ValueError:  # An impossible date, which is counted elsewhere.
        return True
    end = start.replace(hour=23, minute=59)
    return _offset(text) in (start.utcoffset(), end.utcoffset())


def to_times(
    column: pd.Series, clock: Clock, births: pd.Series | None = None
) -> tuple[pd.Series, int]:
    """Convert FHIR times, with dates, months and years at their end.

    Parameters
    ----------
    column : Series of str
        Times as in FHIR, and nulls.
    clock : Clock
        Treatment of time zones.
    births : Series of bool or None, default=None
        Which times are births. Their months and years are at noon of the middle day.

    Returns
    -------
    times : Series of datetime64[us] or datetime64[us, UTC]
        The times, in UTC or without a zone if the clock is local. NaT for texts that
        are not times.
    n_assumed : int
        Number of times, apart from births, that depend on the zone of the clock.
    """
    texts = column.astype("string")
    is_date = texts.str.match(_DATE).fillna(False).astype(bool)
    has_zone = texts.str.contains(_ZONE, na=False) & ~is_date
    is_assumed = texts.notna() & ~has_zone
    if births is not None:
        is_assumed &= ~births
    found = _instants(texts.where(~is_date), has_zone, clock)
    if is_date.any():
        found = found.where(~is_date, _zoned(_ends(texts[is_date]), clock))
    if births is not None:
        is_partial = births & texts.str.match(_PARTIAL).fillna(False).astype(bool)
        if is_partial.any():
            middles = _middles(texts[is_partial])
            if not clock.is_local:
                middles = middles.dt.tz_localize("UTC")
            found = found.where(~is_partial, middles)
    return found, int(is_assumed.sum())


def _instants(texts: pd.Series, has_zone: pd.Series, clock: Clock) -> pd.Series:
    """Convert times with or without a zone."""
    if clock.is_local:
        return _parsed(texts.str.replace(_ZONE, "", regex=True))
    found = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
    found = found.astype("datetime64[us, UTC]")
    # FHIR forbids times without a zone. They are treated as local times, like dates.
    bare = texts.notna() & ~has_zone
    if bare.any():
        found = found.where(~bare, _zoned(_parsed(texts[bare]), clock))
    return found


def _parsed(texts: pd.Series) -> pd.Series:
    times = pd.to_datetime(texts, format="ISO8601", errors="coerce")
    return times.astype("datetime64[us]")


def _zoned(times: pd.Series, clock: Clock) -> pd.Series:
    if clock.is_local:
        return times
    local = times.dt.tz_localize(
        clock.zone, ambiguous=False, nonexistent="shift_forward"
    )
    return local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _intervals(texts: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the start of dates, months and years, and that of the next one."""
    lengths = texts.str.len()
    start = _parsed(texts)
    end = start + pd.Timedelta(1, "D")
    for length, step in ((7, pd.DateOffset(months=1)), (4, pd.DateOffset(years=1))):
        chosen = (lengths == length).to_numpy(dtype=bool)
        if chosen.any():
            end = end.where(~chosen, start + step)
    return start, end


def _ends(texts: pd.Series) -> pd.Series:
    return _intervals(texts)[1] - pd.Timedelta(1, "us")


def _middles(texts: pd.Series) -> pd.Series:
    start, end = _intervals(texts)
    middle = (start + (end - start) / 2).dt.normalize() + pd.Timedelta(12, "h")
    return middle.astype("datetime64[us]")
