"""Cases with a subject and an index time in, the events that each may see out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from skfusion._durations import as_duration, as_microseconds
from skfusion.ehr.events.columns import DAY, NO_TIME
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.point_in_time.cases import Cases

__all__ = [
    "Sight",
    "events_of",
    "first_times",
    "row_chunks",
    "search_within",
    "visible_events",
]

UNBOUNDED = np.iinfo(np.int64).max
MANY = 8  # windows from which on a binary search is faster than comparing with each
ALL = "all"  # the window without a beginning


@dataclass(frozen=True)
class Windows:
    """Windows that reach back from an end, ordered by length.

    Attributes
    ----------
    lengths : ndarray of int64 of shape (n_windows,)
        Their lengths in microseconds.
    labels : tuple of str
        Their names.
    nested : bool
        Whether each holds those before it, or they are bands beside one another.
    """

    lengths: np.ndarray
    labels: tuple[str, ...]
    nested: bool

    @classmethod
    def parse(cls, windows: Any, nested: bool) -> Windows:
        """Check what a user gave.

        Raises
        ------
        ValueError
            If there is none, one is no positive time, or two are the same.
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
                f"EventWindows: windows={windows!r} has the same length twice."
            )
        labels = [label for _, label in pairs]
        if not nested:
            labels[1:] = [f"{a}-{b}" for a, b in zip(labels, labels[1:], strict=False)]
        return cls(lengths, tuple(labels), nested)

    def union(self, other: Windows) -> Windows:
        """Return all windows of both, which must be nested.

        Raises
        ------
        ValueError
            If they are disjoint.
        """
        if not self.nested:
            raise ValueError(
                "EventWindows: where windows are disjoint, each depends on the others, "
                "so that they are prepared one setting at a time; pass windows=None."
            )
        labels = dict(zip(other.lengths.tolist(), other.labels, strict=True))
        labels |= dict(zip(self.lengths.tolist(), self.labels, strict=True))
        lengths = sorted(labels)
        names = tuple(labels[length] for length in lengths)
        return Windows(np.array(lengths, dtype=np.int64), names, self.nested)

    @property
    def days(self) -> np.ndarray:
        """Return the lengths in days, infinite for a whole history."""
        days = self.lengths / 86_400_000_000
        return np.where(self.lengths == UNBOUNDED, np.inf, days)

    @property
    def widths(self) -> np.ndarray:
        """Return how many days each one covers."""
        return self.days if self.nested else np.diff(self.days, prepend=0.0)

    def band(self, ahead: np.ndarray, closed: str) -> np.ndarray:
        """Return which band lies that many microseconds before the end."""
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
    """Events that some rows see, ordered by row and then time.

    Attributes
    ----------
    row : ndarray of int of shape (n_events,)
        Which row sees it. An event that several rows see is there several times.
    code : ndarray of int of shape (n_events,)
        What happened.
    band : ndarray of int of shape (n_events,)
        Between which windows' lengths it lies, 0 the nearest to the end.
    ahead : ndarray of float64 of shape (n_events,)
        Days from the event to the end.
    day : ndarray of int of shape (n_events,)
        Number of its calendar day.
    value : ndarray of float32 of shape (n_events,)
        The number, NaN for none.
    """

    row: np.ndarray
    code: np.ndarray
    band: np.ndarray
    ahead: np.ndarray
    day: np.ndarray
    value: np.ndarray


CHUNK = 100_000  # events at a time: what is made of them stays in the cache


@dataclass(frozen=True)
class Sight:
    """What may be seen of the events.

    Attributes
    ----------
    windows : Windows
        The windows.
    closed : str
        Whether what is available exactly at the end is seen ("right") or not ("left").
    codes : ndarray of bool of shape (n_codes,)
        Which codes.
    bounds : ndarray of float32 of shape (2, n_codes) or None
        What numbers are clipped to.
    days : bool
        Whether calendar days are needed.
    """

    windows: Windows
    closed: str
    codes: np.ndarray
    bounds: np.ndarray | None = None
    days: bool = True


def events_of(files: EventFiles, subject: np.ndarray) -> np.ndarray:
    """Return how many events the subject of each row has; 0 for -1."""
    return np.diff(files.offsets, append=files.offsets[-1])[subject]


def first_times(files: EventFiles, subject: np.ndarray) -> np.ndarray:
    """Return when the first event with a time of each row's subject was.

    Parameters
    ----------
    files : EventFiles
        The events.
    subject : ndarray of int of shape (n_rows,)
        Position of each row's subject; few enough that their events fit into memory.

    Returns
    -------
    ndarray of int64 of shape (n_rows,)
        `NO_TIME` for none.
    """
    subjects, owner = np.unique(subject, return_inverse=True)
    start, stop = files.offsets[subjects], files.offsets[subjects + 1]
    local = np.concatenate([[0], np.cumsum(stop - start)])
    time = files.take("time", start, stop)
    none = np.full(len(subjects), NO_TIME)
    place = search_within(time, local[:-1], local[1:], none, "right")
    first = np.append(time, NO_TIME)[np.where(place < local[1:], place, len(time))]
    return first[owner]


def row_chunks(files: EventFiles, subject: np.ndarray) -> Iterator[slice]:
    """Cut rows into chunks of about `CHUNK` events.

    Parameters
    ----------
    files : EventFiles
        The events.
    subject : ndarray of int of shape (n_rows,)
        Position of each row's subject, -1 for none.

    Yields
    ------
    slice
        Rows. Neighbouring rows of one subject are in one chunk.
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
    """Return the events that rows may see, some rows at a time.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        Rows, few enough that all events of their subjects fit into memory.
    sight : Sight
        What may be seen.

    Yields
    ------
    WindowEvents
        Of rows that were in none before; row 0 is the first one of `cases`.
    """
    known = cases.subject >= 0
    rows = np.flatnonzero(known)
    if not len(rows):
        return
    subjects, owner = np.unique(cases.subject[rows], return_inverse=True)
    start, stop = files.offsets[subjects], files.offsets[subjects + 1]
    local = np.concatenate([[0], np.cumsum(stop - start)])
    time = files.take("time", start, stop)
    end = cases.end[rows]
    low, high = _slices(time, local[owner], local[owner + 1], end, sight)
    columns = {"time": time}
    for name in ("code", "value", "available"):
        if name in files.columns:
            columns[name] = files.take(name, start, stop)
    total = np.cumsum(high - low)
    cuts = np.searchsorted(total, np.arange(CHUNK, total[-1] + CHUNK, CHUNK), "left")
    first = 0
    for cut in np.unique(np.minimum(cuts + 1, len(rows))):
        some = slice(first, int(cut))
        yield _events(columns, rows[some], end[some], low[some], high[some], sight)
        first = int(cut)


def _slices(
    time: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    end: np.ndarray,
    sight: Sight,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the events each row's longest window begins and ends."""
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
    """Search each target in its own sorted part of the times, all at once.

    Parameters
    ----------
    time : ndarray of shape (n_times,)
        Times, sorted in each part.
    low, high : ndarray of int of shape (n,)
        Where each target's part begins and ends.
    target : ndarray of shape (n,)
        What to search for.
    side : {"left", "right"}
        Before or behind what equals it, as in `numpy.searchsorted`.

    Returns
    -------
    ndarray of int of shape (n,)
        Places in `time`.
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
) -> WindowEvents:
    n_events = high - low
    before = np.cumsum(n_events) - n_events
    place = np.arange(n_events.sum()) + np.repeat(low - before, n_events)
    row = np.repeat(rows, n_events)
    ends = np.repeat(end, n_events)
    time, code = columns["time"][place], columns["code"][place]
    keep = sight.codes[code]
    if "available" in columns:
        # NO_TIME, known when it happened, is before any end
        known = columns["available"][place]
        keep &= known < ends if sight.closed == "left" else known <= ends
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
        time // DAY if sight.days else np.zeros(len(time), dtype=np.int64),
        value,
    )
