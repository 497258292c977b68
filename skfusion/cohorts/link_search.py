"""Search for the images of each case between two times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pandas import NA

from skfusion.cohorts.instants import UNKNOWN

__all__ = ["Finder", "Seen", "count_before", "texts_of"]


#: Pairs of a case and an image that are compared at a time.
MOST_PAIRS = 4_000_000


@dataclass
class Seen:
    """Cases and images as numbers.

    Patients are numbers from 0, -1 if unknown. Times are in microseconds.
    """

    case_patient: np.ndarray
    index: np.ndarray
    patient: np.ndarray
    order: np.ndarray  # of the acquisition, or else the availability
    effective: np.ndarray  # from when on an image counts
    path: np.ndarray  # of objects
    text: np.ndarray  # the paths as text, "" for nothing
    series_number: np.ndarray
    study: np.ndarray | None
    usable: np.ndarray
    unused: dict[str, int]
    n_assumed: int
    n_shared: int
    has_zone: bool


class Finder:
    """Images of each case between two times.

    Attributes
    ----------
    rows : ndarray of int of shape (n_usable,)
        Positions of the images by patient, time, series number and path.
    start, stop : ndarray of int of shape (n_cases,)
        Range in `rows` of the images of a case that were acquired in its window.
    """

    def __init__(self, seen: Seen, window: int | None) -> None:
        self.seen = seen
        usable = np.flatnonzero(seen.usable)
        keys = seen.series_number, seen.order, seen.patient
        rows = usable[np.lexsort([key[usable] for key in keys])]
        self.rows = self._by_path(rows)
        self.has_key = (seen.case_patient >= 0) & (seen.index != UNKNOWN)
        self.effective = seen.effective[self.rows]
        lowest = np.full(len(seen.index), UNKNOWN + 1)
        if window is not None:
            lowest = np.maximum(seen.index, UNKNOWN + 1 + window) - window
        patient, order = seen.patient[self.rows], seen.order[self.rows]
        self.start = count_before(seen.case_patient, lowest, patient, order)
        self.stop = count_before(seen.case_patient, seen.index, patient, order)
        self.stop = np.where(self.has_key, self.stop, self.start)

    def _by_path(self, rows: np.ndarray) -> np.ndarray:
        """Order images by their path where everything else is equal."""
        seen = self.seen
        keys = [key[rows] for key in (seen.patient, seen.order, seen.series_number)]
        same = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
        tied = np.append(same, False) | np.insert(same, 0, False)
        if not tied.any():
            return rows
        group = np.cumsum(~np.insert(same, 0, False))[tied]
        rank = np.unique(seen.text[rows[tied]].astype(str), return_inverse=True)[1]
        rows = rows.copy()
        rows[tied] = rows[tied][np.lexsort((rank, group))]
        return rows

    def single(self, last: bool) -> np.ndarray:
        """Return the position in `rows` of the last or first image, -1 for none."""
        step = -1 if last else 1
        place = (self.stop - 1) if last else self.start.copy()
        open_ = np.flatnonzero(self.stop > self.start)
        found = np.full(len(place), -1, dtype=np.intp)
        while len(open_):
            at = place[open_]
            good = self.effective[at] < self.seen.index[open_]
            found[open_[good]] = at[good]
            open_ = open_[~good]
            place[open_] += step
            inside = (place[open_] >= self.start[open_]) & (
                place[open_] < self.stop[open_]
            )
            open_ = open_[inside]
        return found

    def pairs(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield cases and positions in `rows` of all images that they see, in parts."""
        sizes = self.stop - self.start
        ends = np.cumsum(sizes)
        n_parts = int(ends[-1] // MOST_PAIRS) + 1 if len(ends) else 0
        cuts = np.searchsorted(ends, MOST_PAIRS * np.arange(1, n_parts))
        for cases in np.split(np.arange(len(sizes)), cuts):
            n = sizes[cases]
            case = np.repeat(cases, n)
            shift = np.repeat(self.start[cases] - np.cumsum(n) + n, n)
            place = np.arange(len(case)) + shift
            good = self.effective[place] < self.seen.index[case]
            yield case[good], place[good]

    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the time from and to the nearest image of the patient, or -1."""
        seen = self.seen
        by_time = np.lexsort((self.effective, seen.patient[self.rows]))
        patient = seen.patient[self.rows][by_time]
        times = self.effective[by_time]
        after = count_before(seen.case_patient, seen.index, patient, times)
        found = []
        for place, sign in ((after - 1, 1), (after, -1)):
            inside = (place >= 0) & (place < len(times)) & self.has_key
            safe = np.where(inside, place, 0)
            if not len(times):
                found.append(np.full(len(place), -1))
                continue
            inside &= patient[safe] == seen.case_patient
            gap = sign * (seen.index - times[safe])
            found.append(np.where(inside, gap, -1))
        return found[0], found[1]


def count_before(
    wanted: np.ndarray, limit: np.ndarray, group: np.ndarray, time: np.ndarray
) -> np.ndarray:
    """Count the rows before each limit, in the order of their groups and times.

    Parameters
    ----------
    wanted, limit : ndarray of int of shape (n_limits,)
        Group and time of each limit.
    group, time : ndarray of int of shape (n_rows,)
        Group and time of each row, sorted.

    Returns
    -------
    ndarray of int of shape (n_limits,)
        Rows of smaller groups, and those of the group that are before the limit.
    """
    of_all, at = np.concatenate([wanted, group]), np.concatenate([limit, time])
    is_row = np.repeat([False, True], [len(wanted), len(group)])
    order = np.lexsort((is_row, at, of_all))
    found = np.empty(len(order), dtype=np.intp)
    found[order] = np.cumsum(is_row[order])
    return found[: len(wanted)]


def texts_of(paths: np.ndarray) -> np.ndarray:
    """Return paths as text, ``""`` for nulls."""
    texts = np.empty(len(paths), dtype=object)
    texts[:] = [
        path if isinstance(path, str) else _as_text(path) for path in paths.tolist()
    ]
    return texts


def _as_text(path: Any) -> str:
    if path is None or path is NA or (isinstance(path, float) and np.isnan(path)):
        return ""
    try:
        return os.fsdecode(path)
    except TypeError:
        return str(path)
