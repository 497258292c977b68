"""Sums over ranges of events as differences of running totals, without rounding.

A running total of floating-point numbers rounds at every step, so that a difference of
two totals is not the sum in between. Here, values and times are counted in whole units
of their group, and the totals are integers. Their differences are exact, also where a
total is beyond the range of its dtype, as long as the sum in between is not.

`skfusion.ehr.windows.kernel` adds events one by one, from the oldest to the newest, and
rounds. The sum of values is the same if no addition of the kernel rounds, which
`ExactSums.is_exact` tells. The sums of squares are not, but `Moments` bounds the
distance to those of the kernel: most features have the same float32 for every number
within the bound, and the others are computed by the kernel.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np

from skfusion.ehr.events.columns import DAY

__all__ = ["ExactSums", "Moments"]

ROUNDING = 2.0**-53  # Largest relative error of one operation in double precision.
LIMB = 22  # Bits of one half of an integer that is multiplied in two halves.
WHOLE = 2 * LIMB - 1  # Bits of such an integer with its sign.
MOST = 2**18  # Events in a group, of which products of halves are added up.
SAFETY = 2.0  # For products of rounding errors, which the bounds leave out.


class ExactSums:
    """Running totals of the values and times of events, in groups.

    Parameters
    ----------
    value : ndarray of float32 of shape (n_events,)
        Values, NaN where unknown.
    time : ndarray of int64 of shape (n_events,)
        Times in microseconds.
    starts : ndarray of int of shape (n_groups,)
        First event of each group. No group is empty.

    Attributes
    ----------
    is_exact : ndarray of bool of shape (n_groups,)
        Whether no sum of values of a group rounds in double precision, in any order.
    has_moments : ndarray of bool of shape (n_groups,)
        Whether the sums of squares of a group are known.
    """

    def __init__(self, value: np.ndarray, time: np.ndarray, starts: np.ndarray) -> None:
        sizes = np.diff(starts, append=len(value))
        self._group = np.repeat(np.arange(len(starts)), sizes)
        self._known = ~np.isnan(value)
        self._time, self._starts, self._sizes = time, starts, sizes
        filled = np.where(self._known, value, 0).astype(np.float64)
        self._unit = np.minimum.reduceat(_lowest_bits(filled), starts)
        # Powers of two, so that division and rounding to integers are exact.
        with np.errstate(over="ignore", invalid="ignore"):
            units = np.ldexp(filled, -self._unit[self._group])
            total = np.add.reduceat(np.abs(units), starts)
            self.is_exact = total < 2.0**52
        kept = self.is_exact[self._group]
        self._units: np.ndarray = np.where(kept, units, 0).astype(np.int64)
        self.has_moments = self.is_exact & (sizes <= MOST)
        self._sum = _totals(self._units)

    def values(
        self, low: np.ndarray, high: np.ndarray, group: np.ndarray
    ) -> np.ndarray:
        """Return the sums of the values of ranges of events.

        Parameters
        ----------
        low, high : ndarray of int of shape (n_windows, n_pairs)
            Range of events of each window and pair.
        group : ndarray of int of shape (n_pairs,)
            Group of each pair, which contains its events.

        Returns
        -------
        ndarray of float64 of shape (n_windows, n_pairs)
        """
        sums = self._sum[high] - self._sum[low]
        return np.ldexp(sums.astype(np.float64), self._unit[group])

    def moments(
        self, low: np.ndarray, high: np.ndarray, group: np.ndarray, n: np.ndarray
    ) -> Moments:
        """Return the sums of squared deviations of ranges of events.

        Parameters
        ----------
        low, high, group : ndarray
            As in `values`.
        n : ndarray of shape (n_windows, n_pairs)
            Number of known values of each range.

        Returns
        -------
        Moments
        """
        totals = self._of_products

        def between(sums: np.ndarray) -> np.ndarray:
            return (sums[high] - sums[low]).astype(np.float64)

        def product_sums(parts: tuple[np.ndarray, ...]) -> np.ndarray:
            high_part, middle, low_part = map(between, parts)
            found: np.ndarray = np.ldexp(high_part, 2 * LIMB) + np.ldexp(middle, LIMB)
            return found + low_part

        v_shift, t_shift = totals.v_shift, totals.t_shift
        v_unit = np.ldexp(1.0, (self._unit + v_shift)[group])
        t_unit = np.ldexp(1.0, t_shift[group]) / DAY
        v_sum, t_sum = between(totals.v) * v_unit, between(totals.t) * t_unit
        v_square = product_sums(totals.vv) * v_unit**2
        t_square = product_sums(totals.tt) * t_unit**2
        product = product_sums(totals.tv) * v_unit * t_unit
        n = np.maximum(n, 1)
        return Moments(
            m2_v=np.maximum(v_square - v_sum**2 / n, 0),
            m2_t=np.maximum(t_square - t_sum**2 / n, 0),
            co_tv=product - t_sum * v_sum / n,
            # What the conversions to floats and the differences round.
            own_v=64 * ROUNDING * v_square,
            own_t=64 * ROUNDING * t_square,
            cut_v=np.where(v_shift[group] > 0, v_unit, 0),
            cut_t=np.where(t_shift[group] > 0, t_unit, 0),
        )

    @cached_property
    def _of_products(self) -> _ProductTotals:
        """Return what `moments` needs for any ranges, 88 bytes per event."""
        v, v_shift = self._centred(self._units)
        t, t_shift = self._centred(self._time)
        return _ProductTotals(
            v_shift,
            t_shift,
            _totals(v),
            _totals(t),
            _product_totals(v, v),
            _product_totals(t, t),
            _product_totals(t, v),
        )

    def _centred(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers of at most `WHOLE` bits from the middle of their group.

        The last bits of greater ones are cut off, whose number is returned for each
        group. Numbers of unknown values are 0.
        """
        smallest = np.minimum.reduceat(numbers, self._starts)
        largest = np.maximum.reduceat(numbers, self._starts)
        middle = smallest + (largest - smallest) // 2
        _, bits = np.frexp((largest - smallest).astype(np.float64))
        shift = np.maximum(bits - WHOLE, 0).astype(np.int32)
        centred = (numbers - middle[self._group]) >> shift[self._group]
        return np.where(self._known, centred, 0), shift


class _ProductTotals(NamedTuple):
    """Running totals of centred values and times, and of their products.

    The shifts are the numbers of bits that are cut off in each group, see
    `ExactSums._centred`. The three totals of a product belong to 2**(2 * LIMB),
    2**LIMB and 1.
    """

    v_shift: np.ndarray
    t_shift: np.ndarray
    v: np.ndarray
    t: np.ndarray
    vv: tuple[np.ndarray, ...]
    tt: tuple[np.ndarray, ...]
    tv: tuple[np.ndarray, ...]


class Moments(NamedTuple):
    """Sums of squared deviations over windows, of shape (n_windows, n_pairs).

    ``m2_v`` and ``m2_t`` are sums of squared deviations of values and times (days), and
    ``co_tv`` is the sum of their products. ``own_v`` and ``own_t`` bound the error of
    the first two. ``cut_v`` and ``cut_t``, of shape (n_pairs,), bound what was cut off
    each value and time.
    """

    m2_v: np.ndarray
    m2_t: np.ndarray
    co_tv: np.ndarray
    own_v: np.ndarray
    own_t: np.ndarray
    cut_v: np.ndarray
    cut_t: np.ndarray

    def errors(
        self, n: np.ndarray, v_largest: np.ndarray, t_largest: np.ndarray, n_bands: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bound the distances of the sums of the kernel to these sums.

        The kernel subtracts rounded means, adds the squares of a band one by one, and
        merges the bands. The means err by a few roundings of the largest value, and, as
        times are not whole units there, by one for each time that is added.

        Parameters
        ----------
        n : ndarray of shape (n_windows, n_pairs)
            Number of values in each window.
        v_largest, t_largest : ndarray of shape (n_windows, n_pairs)
            Largest absolute value, and largest time before the end, in days.
        n_bands : int
            Number of bands that are merged at most.

        Returns
        -------
        tuple of ndarray of shape (n_windows, n_pairs)
            Bounds for ``m2_v``, ``m2_t`` and ``co_tv``.
        """
        few = 8 * n_bands
        v_error = (few + 2) * ROUNDING * v_largest + self.cut_v
        t_error = (n + few + 4) * ROUNDING * t_largest + self.cut_t
        m2_v, m2_t = self.m2_v + self.own_v, self.m2_t + self.own_t
        added = (n + few + 16) * ROUNDING

        def bound(one: np.ndarray, other: np.ndarray, both: np.ndarray) -> np.ndarray:
            return SAFETY * (added * both + few * (one + other))

        v_part, t_part = v_error * np.sqrt(n * m2_v), t_error * np.sqrt(n * m2_t)
        mixed = v_error * np.sqrt(n * m2_t) + t_error * np.sqrt(n * m2_v)
        both, own = np.sqrt(m2_v * m2_t), np.sqrt(self.own_v * self.own_t)
        return (
            bound(v_part, n * v_error**2, m2_v) + self.own_v,
            bound(t_part, n * t_error**2, m2_t) + self.own_t,
            bound(mixed, n * v_error * t_error, both) + own,
        )


def _totals(numbers: np.ndarray) -> np.ndarray:
    """Return the sums of the first 0, 1, 2 ... integers, modulo the range of int64."""
    return np.concatenate([[0], np.cumsum(numbers)])


def _lowest_bits(values: np.ndarray) -> np.ndarray:
    """Return the exponent of the last bit of numbers of single precision that is 1."""
    part, exponent = np.frexp(values)
    bits = np.ldexp(np.abs(part), 24).astype(np.int64)
    _, place = np.frexp((bits & -bits).astype(np.float64))
    return np.where(bits > 0, exponent + place - 25, 127).astype(np.int32)


def _product_totals(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return running totals of products of integers of at most `WHOLE` bits."""
    (a, b), (c, d) = _halves(one), _halves(other)
    return _totals(a * c), _totals(a * d + b * c), _totals(b * d)


def _halves(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split integers into the nearest multiple of ``2**LIMB``, and what is left."""
    first = (numbers + (1 << (LIMB - 1))) >> LIMB
    return first, numbers - (first << LIMB)
