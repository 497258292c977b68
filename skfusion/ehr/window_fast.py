"""The sums of `skfusion.ehr.window_kernel`, compiled by numba: the same bits, sooner.

Every sum runs over the same events in the same order, in double precision and without
rearranging, so that no digit depends on whether numba is installed.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import numpy as np

from skfusion._dependencies import require

__all__ = ["ENGINES", "compiled_sums", "uses_numba"]

ENGINES = ("auto", "numpy", "numba")
NAMES = (
    *("n_values", "v_last", "v_first", "t_last", "t_first", "v_min", "v_max"),
    *("v_mean", "t_mean", "m2_v", "m2_t", "co_tv"),
)
_ENOUGH = 200_000  # events that are worth the compiler's start


def uses_numba(engine: str, n_events: int) -> bool:
    """Tell whether an engine's sums are those of numba.

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
    is_worth_it = engine == "auto" and n_events >= _ENOUGH
    return is_worth_it and importlib.util.find_spec("numba") is not None


def compiled_sums(
    start: np.ndarray, stop: np.ndarray, time: np.ndarray, value: np.ndarray
) -> dict[str, np.ndarray]:
    """Sum up the numbers of each cell.

    Parameters
    ----------
    start, stop : ndarray of int of shape (n_cells,)
        Where the events of each cell begin and end.
    time : ndarray of float64 of shape (n_events,)
        Days, negative before the end.
    value : ndarray of float32 of shape (n_events,)
        The numbers, NaN for none.

    Returns
    -------
    dict from str to ndarray of shape (n_cells,)
        As the NumPy path gives it.
    """
    table = np.empty((len(NAMES), len(start)), dtype=np.float64)
    _loop()(start, stop, time, value, table)
    return dict(zip(NAMES, table, strict=True))


@lru_cache(maxsize=1)
def _loop() -> Any:
    numba = require("numba", "fast")
    return numba.njit(cache=True, nogil=True)(_sum_cells)


def _sum_cells(
    start: np.ndarray,
    stop: np.ndarray,
    time: np.ndarray,
    value: np.ndarray,
    table: np.ndarray,
) -> None:  # pragma: no cover - compiled
    for cell in range(len(start)):
        n = 0
        v_sum = t_sum = 0.0
        v_last = v_first = t_last = t_first = np.nan
        v_min = v_max = np.nan
        for i in range(start[cell], stop[cell]):
            v = np.float64(value[i])
            if np.isnan(v):
                continue
            if n == 0:
                v_first, t_first = v, time[i]
                v_min = v_max = v
            elif v < v_min:
                v_min = v
            elif v > v_max:
                v_max = v
            v_last, t_last = v, time[i]
            v_sum += v
            t_sum += time[i]
            n += 1
        divisor = max(n, 1)
        v_mean, t_mean = v_sum / divisor, t_sum / divisor
        m2_v = m2_t = co_tv = 0.0
        for i in range(start[cell], stop[cell]):
            v = np.float64(value[i])
            if np.isnan(v):
                continue
            dv, dt = v - v_mean, time[i] - t_mean
            m2_v += dv * dv
            m2_t += dt * dt
            co_tv += dt * dv
        table[0, cell] = n
        table[1, cell], table[2, cell] = v_last, v_first
        table[3, cell], table[4, cell] = t_last, t_first
        table[5, cell], table[6, cell] = v_min, v_max
        table[7, cell], table[8, cell] = v_mean, t_mean
        table[9, cell], table[10, cell], table[11, cell] = m2_v, m2_t, co_tv
