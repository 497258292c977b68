"""Time windows before the index time, and the events visible in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from skfusion._durations import as_duration, as_microseconds
from skfusion.ehr.events.columns import DAY, NO_TIME
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.point_in_time.cases import Cases

__all__ = [
    "Sight",
    "WindowEvents",
    "WindowRanges",
    "calendar_days",
    "events_of",
    "first_times",
    "row_chunks",
    "search_within",
    "slices_of",
    "subject_order",
    "window_ranges",
    "visible_events",
]

UNBOUNDED = np.iinfo(np.int64).max
MANY = 8  # Number of windows from which a binary search is faster than comparisons.
ALL = "all"  # Label of the unbounded window.


@dataclass(frozen=True)
class Windows:
    """Time windows that end at the same time, ordered by length.

    Attributes
    ----------
    lengths : ndarray of int64 of shape (n_windows,)
        Lengths in microseconds.
    labels : tuple of str
        Names of the windows.
    nested : bool
        Whether each window contains the shorter ones. If False, windows are disjoint
        bands.
    """

    lengths: np.ndarray
    labels: tuple[str, ...]
    nested: bool

    @classmethod
    def parse(cls, windows: Any, nested: bool) -> Windows:
        """Validate and convert the parameter ``windows``.

        Raises
        ------
        ValueError
            If `windows` is empty, a length is not positive, or two lengths are equal.
        """
        if isinstance(windows, str) or not isinstance(windows, Sequence) or not windows:
            raise ValueError(
                "EventWindows: windows must be a tuple of lengths such as ('1d', "
                f"'30d', None), got {windows!r}."
            )
        pairs = sorted((_length(window), _label(window)) for window in windows)
        lengths = np.array([length for length, _ in pairs], dtype=np.int64)
        if len(np.unique(lengths)) < len(lengths):
            raise ValueError(
                f"EventWindows: got the same length twice in windows={windows!r}."
            )
        labels = [label for _, label in pairs]
        if not nested:
            labels[1:] = [f"{a}-{b}" for a, b in zip(labels, labels[1:], strict=False)]
        return cls(lengths, tuple(labels), nested)

    def union(self, other: Windows) -> Windows:
        """Return the union of two sets of nested windows.

        Raises
        ------
        ValueError
            If the windows are disjoint.
        """
        if not self.nested:
            raise ValueError(
                "EventWindows: disjoint windows depend on each other, so that they "
                "can only be prepared for one setting at a time. Pass windows=None."
            )
        labels = dict(zip(other.lengths.tolist(), other.labels, strict=True))
        labels |= dict(zip(self.lengths.tolist(), self.labels, strict=True))
        lengths = sorted(labels)
        names = tuple(labels[length] for length in lengths)
        return Windows(np.array(lengths, dtype=np.int64), names, self.nested)

    @property
    def days(self) -> np.ndarray:
        """Return the lengths in days, infinite for the whole history."""
        days = self.lengths / 86_400_000_000
        return np.where(self.lengths == UNBOUNDED, np.inf, days)

    @property
    def widths(self) -> np.ndarray:
        """Return the width of each window in days."""
        return self.days if self.nested else np.diff(self.days, prepend=0.0)

    def band(self, ahead: np.ndarray, closed: str) -> np.ndarray:
        """Return the index of the band that is `ahead` microseconds before the end."""
        if len(self.lengths) > MANY:
            side: Literal["left", "right"] = "left" if closed == "left" else "right"
            return np.searchsorted(self.lengths[:-1], ahead, side)
        band = np.zeros(len(ahead), dtype=np.intp)
        for length in self.lengths[:-1]:
            band += ahead > length if closed == "left" else ahead >= length
        return band


def _length(window: Any) -> int:
    if window is None:
        return int(UNBOUNDED)
    try:
        length = as_microseconds(window)
    except (ValueError, TypeError):
        length = 0
    if length <= 0:
        raise ValueError(
            f"EventWindows: window {window!r} must be a positive time such as '30d' "
            "or '6h', or None for the whole history."
        )
    return length


def _label(window: Any) -> str:
    if window is None:
        return ALL
    if isinstance(window, str):
        return window.strip()
    return as_duration(window).isoformat()


class WindowEvents(NamedTuple):
    """Events visible to some rows, ordered by row and then by time.

    Attributes
    ----------
    row : ndarray of int of shape (n_events,)
        Row of each event. An event visible to several rows is repeated for each.
    code : ndarray of int of shape (n_events,)
        Code number of each event.
    band : ndarray of int of shape (n_events,)
        Index of the band between consecutive window lengths, 0 for the latest.
    ahead : ndarray of float64 of shape (n_events,)
        Days from the event to the end.
    day : ndarray of int of shape (n_events,)
        Number of the calendar day in the time zone of the store.
    value : ndarray of float32 of shape (n_events,)
        Numeric value, or NaN.
    text : ndarray of int of shape (n_events,) or None
        Position of the text in the vocabulary of the store. Only with `Sight.texts`.
    """

    row: np.ndarray
    code: np.ndarray
    band: np.ndarray
    ahead: np.ndarray
    day: np.ndarray
    value: np.ndarray
    text: np.ndarray | None = None


CHUNK = 100_000  # Events in a chunk, few enough that intermediate arrays stay in cache.


@dataclass(frozen=True)
class Sight:
    """Point-in-time visibility: the rules that make an event visible to a row.

    Attributes
    ----------
    windows : Windows
        The windows.
    closed : str
        Whether an event available exactly at the end is visible ("right") or not
        ("left").
    codes : ndarray of bool of shape (n_codes,)
        Whether each code is visible.
    bounds : ndarray of float32 of shape (2, n_codes) or None
        Lower and upper bounds to which values are clipped.
    days : bool
        Whether calendar days are needed.
    texts : bool
        Whether texts are needed. Only events with a text are visible then.
    """

    windows: Windows
    closed: str
    codes: np.ndarray
    bounds: np.ndarray | None = None
    days: bool = True
    texts: bool = False


def events_of(files: EventFiles, subject: np.ndarray) -> np.ndarray:
    """Return the number of events of each row's subject, 0 for position -1."""
    return np.diff(files.offsets, append=files.offsets[-1])[subject]


def first_times(files: EventFiles, subject: np.ndarray) -> np.ndarray:
    """Return the time of the first event of each row's subject, ignoring static events.

    Parameters
    ----------
    files : EventFiles
        The events.
    subject : ndarray of int of shape (n_rows,)
        Position of each row's subject. The events of these subjects must fit in memory.

    Returns
    -------
    ndarray of int64 of shape (n_rows,)
        Times in microseconds, `NO_TIME` for a subject without timed events.
    """
    subjects, owner = np.unique(subject, return_inverse=True)
    start, stop = files.offsets[subjects], files.offsets[subjects + 1]
    local = np.concatenate([[0], np.cumsum(stop - start)])
    time = files.take("time", start, stop)
    none = np.full(len(subjects), NO_TIME)
    place = search_within(time, local[:-1], local[1:], none, "right")
    first = np.append(time, NO_TIME)[np.where(place < local[1:], place, len(time))]
    return first[owner]


def subject_order(subject: np.ndarray) -> np.ndarray | None:
    """Return an order in which the rows of a subject follow one another.

    Parameters
    ----------
    subject : ndarray of int of shape (n_rows,)
        Position of each row's subject.

    Returns
    -------
    ndarray of int of shape (n_rows,) or None
        None if they do so already.
    """
    n_runs = np.count_nonzero(np.diff(subject)) + min(len(subject), 1)
    if n_runs == len(np.unique(subject)):
        return None
    return np.argsort(subject, kind="stable")


def row_chunks(files: EventFiles, subject: np.ndarray) -> Iterator[slice]:
    """Split rows into chunks of about `CHUNK` events.

    Parameters
    ----------
    files : EventFiles
        The events.
    subject : ndarray of int of shape (n_rows,)
        Position of each row's subject, -1 for a subject without events.

    Yields
    ------
    slice
        Slice of rows. Consecutive rows of one subject are in one chunk.
    """
    n_events = events_of(files, subject)
    changes = np.ones(len(subject), dtype=bool)
    changes[1:] = subject[1:] != subject[:-1]
    loaded = np.cumsum(np.where(changes & (subject >= 0), n_events, 0))
    start = 0
    while start < len(subject):
        before = loaded[start - 1] if start else 0
        stop = int(np.searchsorted(loaded, before + CHUNK, "right"))
        stop = max(stop, start + 1)
        while stop < len(subject) and not changes[stop]:
            stop += 1
        yield slice(start, stop)
        start = stop


def visible_events(
    files: EventFiles, cases: Cases, sight: Sight
) -> Iterator[WindowEvents]:
    """Yield the events visible to the rows, in groups of rows.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows. All events of their subjects must fit in memory.
    sight : Sight
        The visibility rules.

    Yields
    ------
    WindowEvents
        Events of the next group of rows that has any. Row 0 is the first one of
        `cases`.
    """
    known = cases.subject >= 0
    rows = np.flatnonzero(known)
    if not len(rows):
        return
    end = cases.end[rows]
    ranges = window_ranges(files, cases.subject[rows], end, sight)
    low, high = ranges.low, ranges.high
    columns: dict[str, np.ndarray] = {}
    names = ("time", "code", "value", "available", *(("text",) if sight.texts else ()))
    for name in names:
        if name in files.columns:
            columns[name] = files.take(name, ranges.start, ranges.stop)
    for some in slices_of(high - low, CHUNK):
        parts = rows[some], end[some], low[some], high[some]
        found = _events(columns, *parts, sight, files.zone_name)
        if len(found.row):
            yield found


def slices_of(sizes: np.ndarray, limit: int) -> Iterator[slice]:
    """Yield consecutive slices of items, each of about `limit` in total size."""
    if not len(sizes):
        return
    total = np.cumsum(sizes)
    cuts = np.searchsorted(total, np.arange(limit, total[-1] + limit, limit), "left")
    first = 0
    for cut in np.unique(np.minimum(cuts + 1, len(sizes))).tolist():
        yield slice(first, cut)
        first = cut


class WindowRanges(NamedTuple):
    """Events in the longest window of some rows.

    Attributes
    ----------
    start, stop : ndarray of int of shape (n_subjects,)
        Positions in the store of the events of each subject that are in a window.
    owner : ndarray of int of shape (n_rows,)
        Number of the subject of each row.
    low, high : ndarray of int of shape (n_rows,)
        Range of the window of each row in the concatenated events of the subjects.
    """

    start: np.ndarray
    stop: np.ndarray
    owner: np.ndarray
    low: np.ndarray
    high: np.ndarray


def window_ranges(
    files: EventFiles, subject: np.ndarray, end: np.ndarray, sight: Sight
) -> WindowRanges:
    """Find the events in the longest window of each row.

    Parameters
    ----------
    files : EventFiles
        The events. The times of these subjects must fit in memory.
    subject : ndarray of int of shape (n_rows,)
        Position of the subject of each row, at least 0.
    end : ndarray of int64 of shape (n_rows,)
        End of the windows of each row.
    sight : Sight
        The visibility rules.

    Returns
    -------
    WindowRanges
        The part of a record that is in no window is left out.
    """
    subjects, owner = np.unique(subject, return_inverse=True)
    start, stop = files.offsets[subjects], files.offsets[subjects + 1]
    local = np.concatenate([[0], np.cumsum(stop - start)])
    time = files.take("time", start, stop)
    low, high = _slices(time, local[owner], local[owner + 1], end, sight)
    first, last = local[1:].copy(), local[:-1].copy()
    np.minimum.at(first, owner, low)
    np.maximum.at(last, owner, high)
    last = np.maximum(first, last)
    kept = np.concatenate([[0], np.cumsum(last - first)])
    shift = (kept[:-1] - first)[owner]
    start, stop = start + first - local[:-1], start + last - local[:-1]
    return WindowRanges(start, stop, owner, low + shift, high + shift)


def _slices(
    time: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    end: np.ndarray,
    sight: Sight,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the range of events in the longest window of each row."""
    longest = sight.windows.lengths[-1]
    side = sight.closed
    if longest == UNBOUNDED:
        low = search_within(time, start, stop, np.full(len(end), NO_TIME), "right")
    else:
        low = search_within(time, start, stop, end - longest, side)
    return low, search_within(time, low, stop, end, side)


def search_within(
    time: np.ndarray, low: np.ndarray, high: np.ndarray, target: np.ndarray, side: str
) -> np.ndarray:
    """Return the position of each target in a separate sorted part of the times.

    Parameters
    ----------
    time : ndarray of shape (n_times,)
        Times, sorted within each part.
    low, high : ndarray of int of shape (n,)
        Start and stop of the part of each target.
    target : ndarray of shape (n,)
        Values to search for.
    side : {"left", "right"}
        Side of equal values, as in `numpy.searchsorted`.

    Returns
    -------
    ndarray of int of shape (n,)
        Positions in `time`.
    """
    low, high = low.copy(), high.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        there = time[np.minimum(middle, len(time) - 1)]
        right = open_ & ((there < target) if side == "left" else (there <= target))
        low = np.where(right, middle + 1, low)
        high = np.where(open_ & ~right, middle, high)
    return low


def _events(
    columns: dict[str, np.ndarray],
    rows: np.ndarray,
    end: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    sight: Sight,
    zone: str | None,
) -> WindowEvents:
    n_events = high - low
    before = np.cumsum(n_events) - n_events
    place = np.arange(n_events.sum()) + np.repeat(low - before, n_events)
    row = np.repeat(rows, n_events)
    ends = np.repeat(end, n_events)
    time, code = columns["time"][place], columns["code"][place]
    keep = sight.codes[code]
    if "available" in columns:
        # NO_TIME, which means available at the event time, is before any end.
        known = columns["available"][place]
        keep &= known < ends if sight.closed == "left" else known <= ends
    if "text" in columns:
        keep &= columns["text"][place] >= 0
    if not keep.all():
        place, row, ends = place[keep], row[keep], ends[keep]
        time, code = time[keep], code[keep]
    ahead = ends - time
    value = columns["value"][place]
    if sight.bounds is not None:
        value = np.clip(value, sight.bounds[0][code], sight.bounds[1][code])
    return WindowEvents(
        row,
        code,
        sight.windows.band(ahead, sight.closed),
        ahead / DAY,
        calendar_days(time, zone) if sight.days else np.zeros(len(time), np.int64),
        value,
        columns["text"][place] if "text" in columns else None,
    )


def calendar_days(time: np.ndarray, zone: str | None) -> np.ndarray:
    """Return the number of the calendar day of each time in a time zone.

    Parameters
    ----------
    time : ndarray of int64 of shape (n_events,)
        Times in microseconds since 1970.
    zone : str or None
        Name of the time zone. None and ``"UTC"`` take the days of the times themselves.

    Returns
    -------
    ndarray of int64 of shape (n_events,)
    """
    if zone in (None, "UTC"):
        return time // DAY
    utc = pd.DatetimeIndex(time.view("datetime64[us]"), tz="UTC")
    local = utc.tz_convert(zone).tz_localize(None).to_numpy("datetime64[us]")
    return local.view(np.int64) // DAY
