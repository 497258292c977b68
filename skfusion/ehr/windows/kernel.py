"""Statistics of codes in time windows, computed from events with NumPy.

Windows extend backwards from an end. Events are assigned to disjoint bands between
consecutive window lengths and summed there. The bands are then merged into nested
windows with numerically stable formulas. The results of a row depend only on its events
and their order, so that they are bitwise independent of the other rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skfusion._durations import HOUR
from skfusion.ehr.point_in_time.visibility import WindowEvents

__all__ = [
    "BandSums",
    "STATISTICS",
    "join_bands",
    "shortest_spans",
    "sorted_keys",
    "sum_bands",
    "window_statistics",
]


STATISTICS = (
    *("present", "count", "n_days", "last", "first", "mean", "min", "max"),
    *("range", "std", "slope", "since_last", "since_first", "delta"),
)
# Statistics that are 0, instead of unknown, without events.
COUNTS = ("present", "count", "n_days")


class BandSums(NamedTuple):
    """Sums over the events of each pair and band, of shape (n_bands, n_pairs).

    A pair is a row and a code with events in this row. ``n`` is the number of events.
    ``newest`` and ``oldest`` are days from the event to the end. ``days`` is the number
    of calendar days, and ``split`` is whether the oldest event shares its day with an
    earlier one. ``n_values`` is the number of events with a numeric value. ``t_`` are
    times (days, negative), ``v_`` are values, ``m2_`` are sums of squared deviations
    and ``co_tv`` is the sum of their products.
    """

    n: np.ndarray
    newest: np.ndarray
    oldest: np.ndarray
    days: np.ndarray
    split: np.ndarray
    n_values: np.ndarray
    v_last: np.ndarray
    v_first: np.ndarray
    t_last: np.ndarray
    t_first: np.ndarray
    v_min: np.ndarray
    v_max: np.ndarray
    v_mean: np.ndarray
    t_mean: np.ndarray
    m2_v: np.ndarray
    m2_t: np.ndarray
    co_tv: np.ndarray


def sum_bands(
    events: WindowEvents, n_codes: int, n_bands: int
) -> tuple[np.ndarray, np.ndarray, BandSums]:
    """Compute the sums over the events of each row, code and band.

    Parameters
    ----------
    events : WindowEvents
        The events.
    n_codes, n_bands : int
        Numbers of codes and of bands.

    Returns
    -------
    row, code : ndarray of int of shape (n_pairs,)
        The pairs, ordered by row and then code.
    BandSums
        The sums.
    """
    key, order = sorted_keys(events.row, events.code, n_codes)
    parts = (events.band, events.ahead, events.day, events.value)
    band, ahead, day, value = (part[order] for part in parts)
    new_pair = np.ones(len(key), dtype=bool)
    new_pair[1:] = key[1:] != key[:-1]
    new_cell = new_pair.copy()
    new_cell[1:] |= band[1:] != band[:-1]
    new_day = new_pair.copy()
    new_day[1:] |= day[1:] != day[:-1]
    start = np.flatnonzero(new_cell)
    stop = np.append(start, len(key))[1:]
    cell = np.cumsum(new_cell) - 1
    pairs = key[new_pair]
    place = band[start], np.cumsum(new_pair)[start] - 1
    shape = n_bands, len(pairs)

    def spread(values: np.ndarray, empty: float) -> np.ndarray:
        table = np.full(shape, empty, dtype=np.float64)
        table[place] = values
        return table

    sums = BandSums(
        n=spread(stop - start, 0),
        newest=spread(ahead[stop - 1], np.nan),
        oldest=spread(ahead[start], np.nan),
        days=spread(np.bincount(cell, weights=new_day), 0),
        split=spread(~new_day[start], 0),
        **{
            name: spread(values, 0 if name in ZERO_WHERE_EMPTY else np.nan)
            for name, values in _sum_values(cell, start, stop, -ahead, value).items()
        },
    )
    return pairs // n_codes, pairs % n_codes, sums


ZERO_WHERE_EMPTY = ("n_values", "v_mean", "t_mean", "m2_v", "m2_t", "co_tv")


def sorted_keys(
    row: np.ndarray, code: np.ndarray, n_codes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted keys that combine row and code, and their stable sorting order.

    Parameters
    ----------
    row, code : ndarray of int of shape (n_events,)
        Rows and codes.
    n_codes : int
        Number of codes.

    Returns
    -------
    key : ndarray of int64 of shape (n_events,)
        ``row * n_codes + code``, sorted.
    order : ndarray of int64 of shape (n_events,)
        Original position of each key.
    """
    key = row.astype(np.int64) * n_codes + code
    bits = max(len(key) - 1, 1).bit_length()
    if not len(key) or int(key.max()) >> (62 - bits):
        order = np.argsort(key, kind="stable")
        return key[order], order
    # Sorting packed integers is several times faster than argsort.
    packed = np.sort((key << bits) | np.arange(len(key)))
    return packed >> bits, packed & ((1 << bits) - 1)


def _sum_values(
    cell: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    time: np.ndarray,
    value: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return sums over the values of each cell, added from the oldest to the newest."""
    n_cells = len(start)
    known = ~np.isnan(value)
    first, last = start, stop - 1
    if not known.all():
        where = np.arange(len(value))
        last = np.maximum.accumulate(np.where(known, where, -1))[last]
        later = np.where(known, where, len(value))[::-1]
        first = np.minimum.accumulate(later)[::-1][start]
        cell, time_known, value_known = cell[known], time[known], value[known]
    else:
        time_known, value_known = time, value
    v = value_known.astype(np.float64)
    n = np.bincount(cell, minlength=n_cells)
    divisor = np.maximum(n, 1)

    def total(weights: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=weights, minlength=n_cells)

    v_mean, t_mean = total(v) / divisor, total(time_known) / divisor
    dv, dt = v - v_mean[cell], time_known - t_mean[cell]
    empty = n == 0
    ends = [np.where(empty, 0, place) for place in (last, first)]
    v_last, v_first = (np.where(empty, np.nan, value[place]) for place in ends)
    t_last, t_first = (np.where(empty, np.nan, time[place]) for place in ends)
    return {
        "n_values": n,
        "v_last": v_last,
        "v_first": v_first,
        "t_last": t_last,
        "t_first": t_first,
        "v_min": np.fmin.reduceat(value, start),
        "v_max": np.fmax.reduceat(value, start),
        "v_mean": v_mean,
        "t_mean": t_mean,
        "m2_v": total(dv * dv),
        "m2_t": total(dt * dt),
        "co_tv": total(dt * dv),
    }


def join_bands(sums: BandSums) -> BandSums:
    """Return sums over nested windows, each of which includes all later bands.

    Parameters
    ----------
    sums : BandSums
        Sums over disjoint bands, modified in place.

    Returns
    -------
    BandSums

    Notes
    -----
    Means and squared deviations are merged as in Chan, Golub & LeVeque (1983),
    Algorithms for computing the sample variance, The American Statistician 37:242-247.
    """
    n_bands = len(sums.n)
    for w in range(1, n_bands):
        _join_events(sums, w)
        _join_moments(sums, w)
        for table, nearer_first in (
            (sums.v_last, True),
            (sums.t_last, True),
            (sums.v_first, False),
            (sums.t_first, False),
        ):
            one, other = (table[w - 1], table[w])
            if not nearer_first:
                one, other = other, one
            table[w] = np.where(np.isnan(one), other, one)
        np.fmin(sums.v_min[w], sums.v_min[w - 1], out=sums.v_min[w])
        np.fmax(sums.v_max[w], sums.v_max[w - 1], out=sums.v_max[w])
    return sums


def _join_events(sums: BandSums, w: int) -> None:
    empty = sums.n[w] == 0
    # Both bands may contain events of the same day, which must be counted once.
    sums.days[w] += sums.days[w - 1]
    sums.split[w] = np.where(empty, sums.split[w - 1], sums.split[w])
    sums.oldest[w] = np.where(empty, sums.oldest[w - 1], sums.oldest[w])
    nearest = sums.newest[w - 1]
    sums.newest[w] = np.where(np.isnan(nearest), sums.newest[w], nearest)
    sums.n[w] += sums.n[w - 1]


def _join_moments(sums: BandSums, w: int) -> None:
    n_a, n_b = sums.n_values[w - 1], sums.n_values[w]
    n = n_a + n_b
    divisor = np.maximum(n, 1)
    dv = sums.v_mean[w] - sums.v_mean[w - 1]
    dt = sums.t_mean[w] - sums.t_mean[w - 1]
    weight = n_a * n_b / divisor
    sums.m2_v[w] += sums.m2_v[w - 1] + dv * dv * weight
    sums.m2_t[w] += sums.m2_t[w - 1] + dt * dt * weight
    sums.co_tv[w] += sums.co_tv[w - 1] + dt * dv * weight
    share = n_b / divisor
    sums.v_mean[w] = sums.v_mean[w - 1] + dv * share
    sums.t_mean[w] = sums.t_mean[w - 1] + dt * share
    sums.n_values[w] = n


def window_statistics(
    sums: BandSums, names: tuple[str, ...], spans: np.ndarray
) -> np.ndarray:
    """Return statistics of the events in windows.

    Parameters
    ----------
    sums : BandSums
        Sums over windows.
    names : tuple of str
        Statistics to compute, among `STATISTICS`.
    spans : ndarray of shape (n_windows,)
        Lengths of the windows in days, infinite for a whole history.

    Returns
    -------
    ndarray of float32 of shape (n_pairs, n_windows, n_statistics)
        NaN where a statistic is undefined.
    """
    seen = sums.n > 0
    result = np.empty((*sums.n.T.shape, len(names)), dtype=np.float32)
    for k, name in enumerate(names):
        result[:, :, k] = np.where(seen, _statistic(name, sums, spans), np.nan).T
    return result


def _statistic(name: str, sums: BandSums, spans: np.ndarray) -> np.ndarray:
    simple = {
        "count": sums.n,
        "present": sums.n > 0,
        "last": sums.v_last,
        "first": sums.v_first,
        "min": sums.v_min,
        "max": sums.v_max,
        "since_last": sums.newest,
        "since_first": sums.oldest,
    }
    if name in simple:
        return simple[name]
    if name == "n_days":
        return sums.days + sums.split
    if name == "range":
        return sums.v_max - sums.v_min
    if name == "slope":
        return _slope(sums, spans)
    mean = np.where(sums.n_values > 0, sums.v_mean, np.nan)
    if name == "mean":
        return mean
    if name == "delta":
        return sums.v_last - mean
    enough = sums.n_values > 1
    variance = sums.m2_v / np.maximum(sums.n_values - 1, 1)
    return np.where(enough, np.sqrt(variance), np.nan)


def shortest_spans(spans: np.ndarray) -> np.ndarray:
    """Return the minimum time span of values, in days, for which a slope is defined.

    Parameters
    ----------
    spans : ndarray of shape (n_windows,)
        Lengths of the windows in days, infinite for a whole history.

    Returns
    -------
    ndarray of float64 of shape (n_windows,)
    """
    return np.maximum(HOUR, 0.01 * np.where(np.isfinite(spans), spans, 0.0))


def _slope(sums: BandSums, spans: np.ndarray) -> np.ndarray:
    """Return the slope, or NaN where the times are too close to each other."""
    long = sums.t_last - sums.t_first >= shortest_spans(spans)[:, None]
    divisor = np.where(long, sums.m2_t, 1.0)
    return np.where(long, sums.co_tv / divisor, np.nan)
