"""Number of rows that see each event, without a copy of the event for each of them.

The rows of a subject are ordered by their ends. The windows of a later row begin and
end later, so that the rows whose window contains an event follow one another, and so do
those that end after the event was available.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import (
    Sight,
    row_chunks,
    search_within,
    window_ranges,
)

__all__ = ["Coverage", "coverage"]

BLOCK = 64  # Events of which the earliest availability is kept.


@dataclass(frozen=True)
class Coverage:
    """Events of some subjects, and the rows that see them.

    Attributes
    ----------
    subject : ndarray of int of shape (n_events,)
        Number of the subject of each event among these subjects.
    code : ndarray of int of shape (n_events,)
        Code number of each event.
    value : ndarray of float32 of shape (n_events,)
        Numeric value, or NaN.
    n_rows : ndarray of int of shape (n_events,)
        Number of rows that see each event, 0 for an event of a code that is not
        visible.
    rows : ndarray of int of shape (n_rows,)
        Positions of the rows of these subjects.
    sees : ndarray of bool of shape (n_rows,)
        Whether each of the rows sees an event.
    """

    subject: np.ndarray
    code: np.ndarray
    value: np.ndarray
    n_rows: np.ndarray
    rows: np.ndarray
    sees: np.ndarray


def coverage(files: EventFiles, cases: Cases, sight: Sight) -> Iterator[Coverage]:
    """Yield the events of some subjects at a time, with the rows that see them.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows.
    sight : Sight
        The visibility rules. The longest window counts, also of disjoint ones.

    Yields
    ------
    Coverage
        All rows of a subject are in one part. Memory is taken for the events of a part,
        not for pairs of events and rows.
    """
    order = np.lexsort((cases.end, cases.subject))
    order = order[cases.subject[order] >= 0]
    subject, end = cases.subject[order], cases.end[order]
    for chunk in row_chunks(files, subject):
        yield _covered(files, subject[chunk], end[chunk], sight, order[chunk])


def _covered(
    files: EventFiles,
    subject: np.ndarray,
    end: np.ndarray,
    sight: Sight,
    rows: np.ndarray,
) -> Coverage:
    """Return the coverage of the events of subjects by their rows, sorted by end."""
    ranges = window_ranges(files, subject, end, sight)
    low, high, start, stop = ranges.low, ranges.high, ranges.start, ranges.stop
    code = files.take("code", start, stop)
    is_visible = sight.codes[code]
    n_events = len(code)
    # The first row of the subject of each event, and the one after the last.
    row_starts = np.searchsorted(ranges.owner, np.arange(len(start)))
    row_stops = np.append(row_starts[1:], len(rows))
    event_owner = np.repeat(np.arange(len(start)), stop - start)
    place = np.arange(n_events)
    first = search_within(
        high, row_starts[event_owner], row_stops[event_owner], place, "right"
    )
    last = search_within(
        low, row_starts[event_owner], row_stops[event_owner], place, "right"
    )
    if "available" in files.columns:
        known = files.take("available", start, stop)
        side = "right" if sight.closed == "left" else "left"
        after = search_within(
            end, row_starts[event_owner], row_stops[event_owner], known, side
        )
        first = np.maximum(first, after)
        hidden = np.where(is_visible, known, np.iinfo(np.int64).max)
        earliest = _range_minima(hidden, low, high)
        sees = earliest < end if sight.closed == "left" else earliest <= end
    else:
        total = np.concatenate([[0], np.cumsum(is_visible)])
        sees = total[high] > total[low]
    n_rows = np.where(is_visible, np.maximum(last - first, 0), 0)
    value = files.take("value", start, stop)
    return Coverage(event_owner, code, value, n_rows, rows, sees & (high > low))


def _range_minima(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the minimum of each range of values, the largest integer if it is empty.

    Blocks of values have their minima, and those of runs of 1, 2, 4 ... blocks, so that
    a long range takes as long as a short one.
    """
    largest = np.iinfo(np.int64).max
    n_blocks = -(-len(values) // BLOCK)
    padded = np.full(n_blocks * BLOCK, largest)
    padded[: len(values)] = values
    blocks = padded.reshape(n_blocks, BLOCK)
    before = np.minimum.accumulate(blocks, axis=1).reshape(-1)
    after = np.minimum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    runs = [blocks.min(axis=1, initial=largest)]
    while 2 ** len(runs) <= n_blocks:
        step = 2 ** (len(runs) - 1)
        runs.append(np.minimum(runs[-1][:-step], runs[-1][step:]))
    found = np.full(len(low), largest)
    whole_low, whole_high = -(-low // BLOCK), high // BLOCK
    apart = (high > low) & (whole_low <= whole_high)
    some = np.flatnonzero(apart & (low % BLOCK > 0))
    found[some] = after[low[some]]
    some = np.flatnonzero(apart & (high % BLOCK > 0))
    found[some] = np.minimum(found[some], before[high[some] - 1])
    width = np.where(apart, whole_high - whole_low, 0)
    level = np.zeros(len(low), dtype=int)
    level[width > 0] = np.log2(width[width > 0]).astype(int)
    for depth, minima in enumerate(runs):
        some = np.flatnonzero((width > 0) & (level == depth))
        ends = whole_high[some] - 2**depth
        run = np.minimum(minima[whole_low[some]], minima[ends])
        found[some] = np.minimum(found[some], run)
    for i in np.flatnonzero((high > low) & ~apart).tolist():  # within one block
        found[i] = values[low[i] : high[i]].min()
    return found
