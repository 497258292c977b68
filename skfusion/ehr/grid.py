"""Timed events in, a regular grid of time steps out: for encoders of sequences.

Read next: `skfusion.fusion.sequence_encoders`, which read such grids.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from skfusion.ehr.event_files import EventFiles
from skfusion.ehr.window_rows import Cases, Sight, row_chunks, visible_events

__all__ = ["CHANNELS", "GridEvents", "bin_events", "events_on_grids"]

CHANNELS = ("value", "observed", "since")
CHUNK = 512  # rows at a time, so that what is counted in 64 bit stays small


class GridEvents(NamedTuple):
    """Events that fall into the grids of some rows, in the order of time.

    Attributes
    ----------
    row : ndarray of int of shape (n_events,)
        Whose grid.
    step : ndarray of int of shape (n_events,)
        Which step of time, 0 the earliest.
    code : ndarray of int of shape (n_events,)
        Which code.
    value : ndarray of float of shape (n_events,)
        The number; NaN where the event has none.
    """

    row: np.ndarray
    step: np.ndarray
    code: np.ndarray
    value: np.ndarray


def events_on_grids(
    files: EventFiles, cases: Cases, sight: Sight, group: np.ndarray
) -> Iterator[tuple[int, GridEvents]]:
    """Return the events on the grids of some rows, some rows at a time.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows.
    sight : Sight
        What they may see; each band of its windows is a step of the grid.
    group : ndarray of int of shape (n_codes,)
        Place on the grid of each code of the store.

    Yields
    ------
    int
        Which row is row 0.
    GridEvents
        Of at most `CHUNK` rows.
    """
    last_step = len(sight.windows.lengths) - 1
    for rows in row_chunks(files, cases.subject):
        for start in range(rows.start, rows.stop, CHUNK):
            some = slice(start, min(start + CHUNK, rows.stop))
            part = Cases(cases.subject[some], cases.end[some])
            for seen in visible_events(files, part, sight):
                step = last_step - seen.band
                yield start, GridEvents(seen.row, step, group[seen.code], seen.value)


def bin_events(
    events: GridEvents,
    shape: tuple[int, int, int],
    aggregation: str = "mean",
    counted: np.ndarray | None = None,
) -> np.ndarray:
    """Put events on grids.

    Parameters
    ----------
    events : GridEvents
        The events.
    shape : (int, int, int)
        Number of rows, of steps T and of codes C.
    aggregation : {"mean", "last"}, default="mean"
        Which number stands for several of one code in one step.
    counted : ndarray of bool of shape (C,) or None, default=None
        Codes without numbers, of which the value is how many there were. Of the others
        an event without a number says nothing.

    Returns
    -------
    ndarray of float32 of shape (n_rows, T, 3, C)
        The value, 0 where there is none; whether there is one; for how many steps,
        as a share of T, there had been none before (0 in the first step).

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.grid import GridEvents, bin_events
    >>> events = GridEvents(*np.array([[0, 0], [0, 0], [0, 0]]), np.array([1.0, 3.0]))
    >>> bin_events(events, (1, 2, 1))[0, :, :, 0]
    array([[2. , 1. , 0. ],
           [0. , 0. , 0.5]], dtype=float32)
    """
    n_rows, n_steps, n_codes = shape
    if counted is None:
        counted = np.zeros(n_codes, dtype=bool)
    is_counted = counted[events.code]
    told = is_counted | ~np.isnan(events.value)
    row, step, code, value = (part[told] for part in events)
    value = np.where(is_counted[told], 1.0, value)
    cell = (row * n_steps + step) * n_codes + code
    size = n_rows * n_steps * n_codes
    number = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=value, minlength=size)
    averaged = total / np.maximum(number, 1)
    if aggregation == "last":
        averaged[cell] = value  # NumPy keeps the last of several
    counts = np.tile(counted, n_rows * n_steps)
    grid = np.zeros((n_rows, n_steps, len(CHANNELS), n_codes), dtype=np.float32)
    grid[:, :, 0] = np.where(counts, total, averaged).reshape(shape)
    grid[:, :, 1] = (number > 0).reshape(shape)
    for t in range(1, n_steps):
        before = grid[:, t - 1]
        grid[:, t, 2] = np.where(before[:, 1] > 0, 0.0, before[:, 2]) + 1 / n_steps
    return grid
