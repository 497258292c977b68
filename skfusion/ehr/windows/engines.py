"""Selection of the computing engine, and computation of features with numba."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import numpy as np

from skfusion._dependencies import require
from skfusion.ehr.point_in_time.visibility import WindowEvents, Windows
from skfusion.ehr.windows.kernel import STATISTICS, shortest_spans, sorted_keys
from skfusion.ehr.windows.output import Block, Totals
from skfusion.ehr.windows.plan import FeaturePlan

__all__ = ["ENGINES", "compiled_pairs", "uses_numba", "write_compiled"]


ENGINES = ("auto", "numpy", "numba")
ENOUGH = 5_000_000  # Events from which numba saves more time than its import takes.


def uses_numba(engine: str, n_events: int) -> bool:
    """Return whether to compute with numba.

    Parameters
    ----------
    engine : {"auto", "numpy", "numba"}
        "auto" uses numba for many events, if it is installed.
    n_events : int
        Number of events.

    Returns
    -------
    bool

    Raises
    ------
    ImportError
        If `engine` is "numba" and numba is not installed.
    """
    if engine == "numba":
        require("numba", "fast")
        return True
    is_worth_it = engine == "auto" and n_events >= ENOUGH
    return is_worth_it and importlib.util.find_spec("numba") is not None


def compiled_pairs(
    rows: slice,
    events: WindowEvents,
    windows: Windows,
    group: np.ndarray,
    plan: FeaturePlan,
) -> Block:
    """Compute the features of some rows with numba.

    Parameters
    ----------
    rows : slice
        Slice of the rows.
    events : WindowEvents
        Events visible to the rows.
    windows : Windows
        The windows.
    group : ndarray of int of shape (n_codes,)
        Position in `plan` of each code of the store, or -1.
    plan : FeaturePlan
        The features.

    Returns
    -------
    Block
    """
    pairs = _Pairs.of(events, len(group))
    chosen = group[pairs.code]
    kept = chosen >= 0
    shape = plan.place.shape[1:]
    value = np.full((kept.sum(), *shape), np.nan, dtype=np.float32)
    # Each row of the matrix is one pair, as if the plan had a single code.
    place = np.arange(shape[0] * shape[1], dtype=np.int32).reshape(1, *shape)
    where = np.cumsum(kept) - 1, np.where(kept, 0, -1)
    matrix = value.reshape(len(value), shape[0] * shape[1])
    totals = _compute(events, windows, plan, pairs, where, place, matrix)
    return Block(rows, pairs.row[kept], chosen[kept], value, totals)


def write_compiled(
    events: WindowEvents,
    windows: Windows,
    group: np.ndarray,
    plan: FeaturePlan,
    matrix: np.ndarray,
) -> None:
    """Compute the features of some rows with numba and write them into a matrix.

    Parameters
    ----------
    events, windows, group, plan
        As in `compiled_pairs`.
    matrix : ndarray of float32 of shape (n_rows, n_columns)
        Output matrix, to which known values are written.
    """
    pairs = _Pairs.of(events, len(group))
    where = pairs.row, group[pairs.code]
    totals = _compute(events, windows, plan, pairs, where, plan.place, matrix)
    if totals is not None:
        matrix[totals.row, plan.n_of_codes :] = totals.value


class _Pairs(NamedTuple):
    """Pairs of a row and a code with events, and the positions of these events."""

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
    plan: FeaturePlan,
    pairs: _Pairs,
    where: tuple[np.ndarray, np.ndarray],
    place: np.ndarray,
    matrix: np.ndarray,
) -> Totals | None:
    """Write the statistics of pairs at `where`, i.e. rows of `matrix` and `place`."""
    from skfusion.ehr.windows.numba_kernel import write_statistics

    if "n_days" not in plan.statistics:
        events = events._replace(day=events.day[:0])
    kinds = np.array([STATISTICS.index(name) for name in plan.statistics], dtype=int)
    is_first = np.diff(pairs.row, prepend=-1) > 0
    n_windows = len(windows.labels)
    totals = np.zeros((is_first.sum(), 2 * n_windows + 1))
    write_statistics(
        pairs.order,
        pairs.starts,
        (*where, np.cumsum(is_first) - 1),
        (events.band, events.ahead, events.day, events.value),
        (windows.nested, shortest_spans(windows.widths)),
        (kinds, place),
        (matrix, totals),
    )
    if not plan.totals:
        return None
    parts = np.split(totals, [n_windows, 2 * n_windows], axis=1)
    return Totals.of(plan.totals, pairs.row[is_first], *parts)
