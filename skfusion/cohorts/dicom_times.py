"""Dates and times of DICOM (PS3.5 6.2: DA, TM and DT), as microseconds since 1970."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Callable

__all__ = ["Moment", "acquired_at", "date_time"]


#: Time in microseconds since 1970 as the clock shows it, and its offset from UTC in
#: minutes, None if it is not stated.
Moment = tuple[int, int | None]

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_CLOCK = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6})\d*)?)?)?")
_DATE_TIME = re.compile(r"(\d{4}(?:\d{2}(?:\d{2})?)?)([\d.]*?)([+-]\d{4})?")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")
_LONGEST_OFFSET = 14 * 60  # minutes, of PS3.3 C.12.1.1.8
# The first date that is given decides. Later steps of a study can be on another day.
_STEPS = ("Acquisition", "Content", "Series", "Study")


def acquired_at(text: Callable[[str], str]) -> Moment | None:
    """Return when an image was acquired.

    Parameters
    ----------
    text : callable
        Returns an attribute by its keyword, ``""`` if it is absent.

    Returns
    -------
    Moment or None
        The date and time of the acquisition, else of the content, series or study. A
        date without a readable time is the last microsecond of the day, and an hour
        without minutes that of the hour. None without a readable date.

    Examples
    --------
    >>> from skfusion.cohorts.dicom_times import acquired_at
    >>> header = {"StudyDate": "19700101", "StudyTime": "000001.5"}
    >>> acquired_at(lambda name: header.get(name, ""))
    (1500000, None)
    """
    zone = _offset(text("TimezoneOffsetFromUTC"))
    whole = text("AcquisitionDateTime")
    if whole:
        return date_time(whole, zone)
    for step in _STEPS:
        date = text(f"{step}Date")
        if date:
            found = _at(date, text(f"{step}Time"))
            return None if found is None else (found, zone)
    return None


def date_time(whole: str, zone: int | None = None) -> Moment | None:
    """Return the end of what a value of DT states, with its own offset or `zone`.

    Examples
    --------
    >>> from skfusion.cohorts.dicom_times import date_time
    >>> date_time("19700101000000.25+0100"), date_time("1970")
    ((250000, 60), (31535999999999, None))
    """
    match = _DATE_TIME.fullmatch(whole.strip())
    if match is None:
        return None
    date, clock, offset = match.groups()
    if offset is not None:
        zone = _offset(offset)
    year, month, day = int(date[:4]), int(date[4:6] or 12), date[6:8]
    if not 1 <= month <= 12 or year < 1:
        return None
    last = calendar.monthrange(year, month)[1]
    found = _at(f"{year:04}{month:02}{day or last:02}", clock if day else "")
    return None if found is None else (found, zone)


def _at(date: str, clock: str) -> int | None:
    match = _DATE.fullmatch(date.strip())
    if match is None:
        return None
    try:
        day = datetime.datetime(*map(int, match.groups()))  # type: ignore[arg-type]
    except ValueError:
        return None
    return (day + _since_midnight(clock) - _EPOCH) // _MICROSECOND


def _since_midnight(clock: str) -> datetime.timedelta:
    """Return the time of day, its end where the clock cannot be read."""
    match = _CLOCK.fullmatch(clock.strip())
    if match is not None:
        hour, minute, second = (int(part or 0) for part in match.groups()[:3])
        if hour < 24 and minute < 60 and second <= 60:
            if match[2] is None:
                return datetime.timedelta(hours=hour + 1) - _MICROSECOND
            fraction = int((match[4] or "").ljust(6, "0"))
            if second == 60:  # a leap second, which Python does not know
                second, fraction = 59, 999_999
            return datetime.timedelta(
                hours=hour, minutes=minute, seconds=second, microseconds=fraction
            )
    return datetime.timedelta(days=1) - _MICROSECOND


def _offset(text: str) -> int | None:
    """Return an offset from UTC in minutes, None if it is absent or impossible."""
    match = _OFFSET.fullmatch(text.strip())
    if match is None:
        return None
    minutes = 60 * int(match[2]) + int(match[3])
    if int(match[3]) > 59 or minutes > _LONGEST_OFFSET:
        return None
    return -minutes if match[1] == "-" else minutes
