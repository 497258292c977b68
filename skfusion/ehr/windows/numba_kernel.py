"""Statistics of codes in time windows, computed event by event with numba.

The results are bitwise identical to `skfusion.ehr.windows.kernel`. The operations, the
order of the events and the precision are the same, and the compiler must not reorder
them. This version avoids intermediate arrays. The module requires numba, so it is
imported only where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from skfusion.ehr.windows.kernel import STATISTICS, BandSums

__all__ = ["write_statistics"]


# Positions of the sums of a band or window, in the order of the fields of BandSums.
N, NEWEST, OLDEST, DAYS, SPLIT, N_VALUES = range(6)
V_LAST, V_FIRST, T_LAST, T_FIRST, V_MIN, V_MAX = range(6, 12)
V_MEAN, T_MEAN, M2_V, M2_T, CO_TV = range(12, 17)
N_SUMS = len(BandSums._fields)
PRESENT, COUNT, N_DAYS, LAST, FIRST, MEAN, MIN, MAX = range(8)
RANGE, STD, SLOPE, SINCE_LAST, SINCE_FIRST, DELTA = range(8, 14)
N_STATISTICS = len(STATISTICS)


def _compiled(function: Callable[..., Any]) -> Any:
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # No writable folder for the compilation cache.
        return numba.njit(nogil=True, error_model="numpy")(function)


@_compiled
def _sum_times(order, start, stop, is_oldest, ahead, day, sums):  # type: ignore[no-untyped-def]
    """Sum the times of the events of a band, from the oldest to the newest."""
    sums[N] = stop - start
    sums[NEWEST], sums[OLDEST] = ahead[order[stop - 1]], ahead[order[start]]
    if len(day) == 0:  # Calendar days are not needed.
        sums[DAYS] = sums[SPLIT] = 0
        return
    goes_on = not is_oldest and day[order[start]] == day[order[start - 1]]
    sums[DAYS], sums[SPLIT] = not goes_on, goes_on
    for i in range(start + 1, stop):
        sums[DAYS] += day[order[i]] != day[order[i - 1]]


@_compiled
def _sum_values(order, start, stop, ahead, value, sums):  # type: ignore[no-untyped-def]
    """Sum the values of the events of a band, from the oldest to the newest."""
    n = 0
    v_sum = t_sum = 0.0
    # Local variables, because array elements would be read again in each iteration.
    v = t = v_first = t_first = v_last = t_last = v_min = v_max = np.nan
    for i in range(start, stop):
        v, t = np.float64(value[order[i]]), -ahead[order[i]]
        if np.isnan(v):
            continue
        if n == 0:
            v_first, t_first, v_min, v_max = v, t, v, v
        v_min, v_max = min(v, v_min), max(v, v_max)
        v_last, t_last = v, t
        v_sum += v
        t_sum += t
        n += 1
    sums[V_FIRST], sums[T_FIRST] = v_first, t_first
    sums[V_LAST], sums[T_LAST] = v_last, t_last
    sums[V_MIN], sums[V_MAX] = v_min, v_max
    v_mean, t_mean = v_sum / max(n, 1), t_sum / max(n, 1)
    m2_v = m2_t = co_tv = 0.0
    for i in range(start, stop if n > 1 else start):
        v = np.float64(value[order[i]])
        if np.isnan(v):
            continue
        dv, dt = v - v_mean, -ahead[order[i]] - t_mean
        m2_v += dv * dv
        m2_t += dt * dt
        co_tv += dt * dv
    sums[N_VALUES], sums[V_MEAN], sums[T_MEAN] = n, v_mean, t_mean
    sums[M2_V], sums[M2_T], sums[CO_TV] = m2_v, m2_t, co_tv


@_compiled
def _join(sums, band):  # type: ignore[no-untyped-def]
    """Merge an earlier band into the sums of later ones, as in `join_bands`."""
    n_a, n_b = sums[N_VALUES], band[N_VALUES]
    if sums[N] == 0:
        for k in range(N_SUMS):
            sums[k] = band[k]
        return
    sums[N] += band[N]
    sums[DAYS] += band[DAYS]
    sums[SPLIT], sums[OLDEST] = band[SPLIT], band[OLDEST]
    if n_b == 0:
        return
    if n_a == 0:
        for k in range(N_VALUES, N_SUMS):
            sums[k] = band[k]
        return
    dv, dt = band[V_MEAN] - sums[V_MEAN], band[T_MEAN] - sums[T_MEAN]
    weight = n_a * n_b / (n_a + n_b)
    sums[M2_V] = band[M2_V] + (sums[M2_V] + dv * dv * weight)
    sums[M2_T] = band[M2_T] + (sums[M2_T] + dt * dt * weight)
    sums[CO_TV] = band[CO_TV] + (sums[CO_TV] + dt * dv * weight)
    share = n_b / (n_a + n_b)
    sums[V_MEAN] += dv * share
    sums[T_MEAN] += dt * share
    sums[N_VALUES] += n_b
    sums[V_FIRST], sums[T_FIRST] = band[V_FIRST], band[T_FIRST]
    sums[V_MIN] = min(sums[V_MIN], band[V_MIN])
    sums[V_MAX] = max(sums[V_MAX], band[V_MAX])


@_compiled
def _statistics(sums, shortest, found):  # type: ignore[no-untyped-def]
    """Compute the statistics of a window with events."""
    found[PRESENT], found[COUNT] = 1, sums[N]
    found[N_DAYS] = sums[DAYS] + sums[SPLIT]
    found[SINCE_LAST], found[SINCE_FIRST] = sums[NEWEST], sums[OLDEST]
    n = sums[N_VALUES]
    if n == 0:
        for k in (LAST, FIRST, MEAN, MIN, MAX, RANGE, STD, SLOPE, DELTA):
            found[k] = np.nan
        return
    found[LAST], found[FIRST], found[MEAN] = sums[V_LAST], sums[V_FIRST], sums[V_MEAN]
    found[MIN], found[MAX] = sums[V_MIN], sums[V_MAX]
    found[RANGE] = sums[V_MAX] - sums[V_MIN]
    found[DELTA] = sums[V_LAST] - sums[V_MEAN]
    found[STD] = found[SLOPE] = np.nan
    if n > 1:
        found[STD] = np.sqrt(sums[M2_V] / (n - 1))
        if sums[T_LAST] - sums[T_FIRST] >= shortest:
            found[SLOPE] = sums[CO_TV] / sums[M2_T]


@_compiled
def _write(values, kinds, columns, cells):  # type: ignore[no-untyped-def]
    """Write the known statistics that have a column."""
    for k in range(len(kinds)):
        value = values[kinds[k]]
        if columns[k] >= 0 and not np.isnan(value):
            cells[columns[k]] = value


@_compiled
def write_statistics(  # type: ignore[no-untyped-def]
    order, starts, pairs, events, windows, plan, target
):
    """Write the statistics of each pair and window into the target arrays."""
    # Unpacked once, because unpacking costs more than the sums of a pair.
    row, place_of, total_row = pairs
    band, ahead, day, value = events
    nested, shortest = windows
    kinds, place = plan
    matrix, totals = target
    n_windows = len(shortest)
    sums, joined, found = np.empty(N_SUMS), np.empty(N_SUMS), np.empty(N_STATISTICS)
    for p in range(len(row)):
        joined[N] = 0
        high = starts[p + 1]
        for w in range(n_windows):
            low = high
            while low > starts[p] and band[order[low - 1]] == w:
                low -= 1
            if not nested:
                joined[N] = 0
            if low < high:
                _sum_times(order, low, high, low == starts[p], ahead, day, sums)
                _sum_values(order, low, high, ahead, value, sums)
                _join(joined, sums)
                high = low
            if joined[N] == 0:
                continue
            r = total_row[p]
            totals[r, w] += joined[N]
            totals[r, n_windows + w] += 1
            totals[r, -1] = max(totals[r, -1], joined[OLDEST])
            if place_of[p] >= 0:
                _statistics(joined, shortest[w], found)
                _write(found, kinds, place[place_of[p], w], matrix[row[p]])
