"""Events of some rows in, their features out, by code that numba compiled.

Read next: `skfusion.ehr.window_compiled`, the code.
"""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import numpy as np

from skfusion._dependencies import require
from skfusion.ehr.window_kernel import (
    STATISTICS,
    WindowEvents,
    shortest_spans,
    sorted_keys,
)
from skfusion.ehr.window_plan import FeaturePlan, Windows

__all__ = ["ENGINES", "compiled_cells", "uses_numba", "write_compiled"]

ENGINES = ("auto", "numpy", "numba")
ENOUGH = 5_000_000  # events at which numba saves more time than it takes to load


def uses_numba(engine: str, n_events: int) -> bool:
    """Tell whether an engine is numba.

    Parameters
    ----------
    engine : {"auto", "numpy", "numba"}
        "auto" takes numba for many events, where it is installed.
    n_events : int
        How many events there are.

    Returns
    -------
    bool

    Raises
    ------
    ImportError
        If numba is asked for and not installed.
    """
    if engine == "numba":
        require("numba", "fast")
        return True
    is_worth_it = engine == "auto" and n_events >= ENOUGH
    return is_worth_it and importlib.util.find_spec("numba") is not None


def compiled_cells(
    events: WindowEvents, windows: Windows, group: np.ndarray, plan: FeaturePlan
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the features of some rows.

    Parameters
    ----------
    events : WindowEvents
        What the rows see.
    windows : Windows
        The windows.
    group : ndarray of int of shape (n_codes,)
        Place in `plan` of each code of the store, -1 for none.
    plan : FeaturePlan
        The features.

    Returns
    -------
    row, column : ndarray of int of shape (n_cells,)
        Places of what is known, ordered by row.
    value : ndarray of float32 of shape (n_cells,)
        What is known.
    """
    pairs = _Pairs.of(events, len(group))
    n_totals = (_total_columns(plan, len(windows.labels)) >= 0).sum()
    most = (group[pairs.code] >= 0).sum() * plan.place[:1].size
    most += n_totals * (1 + np.count_nonzero(np.diff(pairs.row)))
    cells = [np.empty(most, dtype=kind) for kind in (np.int32, np.int32, np.float32)]
    nowhere = np.empty((0, 0), dtype=np.float32)
    size = _compute(events, windows, group, plan, pairs, (nowhere, *cells))
    row, column, value = (part[:size] for part in cells)
    return row, column, value


def write_compiled(
    events: WindowEvents,
    windows: Windows,
    group: np.ndarray,
    plan: FeaturePlan,
    matrix: np.ndarray,
) -> None:
    """Compute the features of some rows into a matrix.

    Parameters
    ----------
    events, windows, group, plan
        As in `compiled_cells`.
    matrix : ndarray of float32 of shape (n_rows, n_columns)
        Where what is known is written.
    """
    none = (np.empty(0, dtype=kind) for kind in (np.int32, np.int32, np.float32))
    pairs = _Pairs.of(events, len(group))
    _compute(events, windows, group, plan, pairs, (matrix, *none))


class _Pairs(NamedTuple):
    """Rows and codes that they have events of, and where these events are."""

    order: np.ndarray
    starts: np.ndarray
    row: np.ndarray
    code: np.ndarray

    @classmethod
    def of(cls, events: WindowEvents, n_codes: int) -> _Pairs:
        key, order = sorted_keys(events.row, events.code, n_codes)
        starts = np.flatnonzero(np.diff(key, prepend=-1))
        row, code = np.divmod(key[starts], n_codes)
        return cls(order, np.append(starts, len(key)), row, code)


def _compute(
    events: WindowEvents,
    windows: Windows,
    group: np.ndarray,
    plan: FeaturePlan,
    pairs: _Pairs,
    target: tuple[np.ndarray, ...],
) -> int:
    from skfusion.ehr.window_compiled import window_cells

    if "n_days" not in plan.statistics:
        events = events._replace(day=events.day[:0])
    kinds = np.array([STATISTICS.index(name) for name in plan.statistics], dtype=int)
    return window_cells(
        pairs.order,
        pairs.starts,
        (pairs.row, group[pairs.code]),
        events[2:],
        (windows.nested, shortest_spans(windows.widths)),
        (kinds, plan.place),
        _total_columns(plan, len(windows.labels)),
        target,
    )


def _total_columns(plan: FeaturePlan, n_windows: int) -> np.ndarray:
    """Return the columns of count and n_codes in each window, and of history."""
    columns = np.full(2 * n_windows + 1, -1)
    place = plan.n_of_codes
    parts = {
        "count": slice(0, n_windows),
        "n_codes": slice(n_windows, 2 * n_windows),
        "history": slice(2 * n_windows, None),
    }
    for name in plan.totals:
        n = len(columns[parts[name]])
        columns[parts[name]] = np.arange(place, place + n)
        place += n
    return columns
