"""Features of many rows of a subject, from sums that the rows share.

Rows of one subject see mostly the same events. A copy of its events for each row, as in
`visible_events`, takes rows times events. Here, the events are sorted once by subject,
code and time. Those that a row sees of a code follow one another, so that their number,
sum, ends and extremes are found from running totals and from minima of runs.

The features are bitwise those of `skfusion.ehr.windows.kernel`. Pairs of a row and a
code are left to the kernel where this is not known beforehand: if an event becomes
available after a later one, if sums of values round, or if a standard deviation or
slope is near the middle between two numbers of single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from skfusion.ehr.events.columns import DAY
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import (
    Sight,
    WindowEvents,
    WindowRanges,
    calendar_days,
    search_within,
    slices_of,
    window_ranges,
)
from skfusion.ehr.windows.exact_sums import ROUNDING, ExactSums, Moments
from skfusion.ehr.windows.kernel import (
    BandSums,
    join_bands,
    sorted_keys,
    sum_bands,
    window_statistics,
)
from skfusion.ehr.windows.plan import FeaturePlan

__all__ = ["Pairs", "shared_pairs"]

SHARED = 3  # Copies of an event from which shared sums are faster than the copies.
# Copies of events for each pair and band, below which the copies are faster.
FEWEST, FEWEST_WITH_MOMENTS = 4, 8
PAIRS = 100_000  # Pairs and bands at once, few enough to stay in cache.
WITH_MEANS = ("mean", "delta", "std", "slope")
WITH_MOMENTS = ("std", "slope")
WITH_EXTREMES = ("min", "max", "range", *WITH_MOMENTS)
# Statistics that need a field of `BandSums`.
NEEDED_BY = {
    "newest": ("since_last",),
    "oldest": ("since_first", *WITH_MOMENTS),
    "days": ("n_days",),
    "split": ("n_days",),
    "v_last": ("last", "delta"),
    "v_first": ("first",),
    "t_last": ("slope",),
    "t_first": ("slope",),
    "v_min": WITH_EXTREMES,
    "v_max": WITH_EXTREMES,
}
COPIES = 100_000  # Copies of events at once, for the pairs of the kernel.
FEW = 16 * ROUNDING  # Of the last operations of a statistic.


@dataclass(frozen=True)
class Pairs:
    """Features of pairs of a row and a code.

    Attributes
    ----------
    row, code : ndarray of int of shape (n_pairs,)
        The pairs, ordered by row and then code.
    sums : BandSums
        Sums over windows. What no feature of the plan needs may be left out.
    value : ndarray of float32 of shape (n_pairs, n_windows, n_statistics)
        Statistics of the plan, NaN where one is undefined.
    """

    row: np.ndarray
    code: np.ndarray
    sums: BandSums
    value: np.ndarray

    def only(self, pairs: np.ndarray) -> Pairs:
        """Return the features of some pairs."""
        sums = BandSums(*(table[:, pairs] for table in self.sums))
        return Pairs(self.row[pairs], self.code[pairs], sums, self.value[pairs])


def shared_pairs(
    files: EventFiles, cases: Cases, sight: Sight, plan: FeaturePlan
) -> Iterator[Pairs] | None:
    """Return the features of rows, or None if the rows share too few events.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows. All events of their subjects must fit in memory.
    sight : Sight
        The visibility rules.
    plan : FeaturePlan
        The features.

    Returns
    -------
    iterator of Pairs or None
        Features of consecutive rows.
    """
    rows = np.flatnonzero(cases.subject >= 0)
    subject, end = cases.subject[rows], cases.end[rows]
    if len(rows) < SHARED or np.unique(subject, return_counts=True)[1].max() < SHARED:
        return None
    ranges = window_ranges(files, subject, end, sight)
    n_copies = (ranges.high - ranges.low).sum()
    if n_copies < SHARED * (ranges.stop - ranges.start).sum():
        return None
    events = _GroupedEvents.read(files, ranges, sight)
    n_pairs = events.n_groups_of(ranges.owner).sum() * len(sight.windows.lengths)
    fewest = FEWEST_WITH_MOMENTS if _needs_moments(plan) else FEWEST
    if n_copies < fewest * n_pairs:
        return None  # Codes are rare, so that most pairs have few events.
    bounds = _window_bounds(files, ranges, end, sight)
    return _pieces(events, ranges.owner, rows, end, bounds, sight, plan)


def _needs_moments(plan: FeaturePlan) -> bool:
    return not set(plan.statistics).isdisjoint(WITH_MOMENTS)


def _window_bounds(
    files: EventFiles, ranges: WindowRanges, end: np.ndarray, sight: Sight
) -> np.ndarray:
    """Return where the windows of each row end and begin among the events by time.

    The result has the shape (n_windows + 1, n_rows). The first line is the common end.
    """
    time = files.take("time", ranges.start, ranges.stop)
    low, high = ranges.low, ranges.high
    begins = [
        search_within(time, low, high, end - length, sight.closed)
        for length in sight.windows.lengths[:-1]
    ]
    return np.stack([high, *begins, low])


def _pieces(
    events: _GroupedEvents,
    owner: np.ndarray,
    rows: np.ndarray,
    end: np.ndarray,
    bounds: np.ndarray,
    sight: Sight,
    plan: FeaturePlan,
) -> Iterator[Pairs]:
    """Yield the features of a few rows at a time."""
    if not len(events.start):
        return
    totals = None
    if set(plan.statistics) & set(WITH_MEANS):
        totals = ExactSums(events.value, events.time, events.start)
    n_bands = len(sight.windows.lengths)
    for some in slices_of(events.n_groups_of(owner) * n_bands, PAIRS):
        ends, places = end[some], bounds[:, some]
        ranges = _PairRanges.find(events, owner[some], ends, places, sight.closed)
        if len(ranges.row):
            yield _features(ranges, rows[some], events, totals, sight, plan)


@dataclass(frozen=True)
class _GroupedEvents:
    """Events of visible codes, ordered by subject, code and time.

    A group contains the events of one subject and code.

    Attributes
    ----------
    place_key : ndarray of int64 of shape (n_events,)
        Number of the group times `n_places`, plus the place among all events by time.
    n_places : int
        Number of events of all codes, plus one.
    time, value, day : ndarray of shape (n_events,)
        As in `WindowEvents`, but times in microseconds.
    known : ndarray of int64 of shape (n_events,) or None
        Time from which each event is available. None if it is always its time.
    start, code : ndarray of int of shape (n_groups,)
        First event and code of each group.
    first_group : ndarray of int of shape (n_subjects + 1,)
        First group of each subject.
    """

    place_key: np.ndarray
    n_places: int
    time: np.ndarray
    value: np.ndarray
    day: np.ndarray
    known: np.ndarray | None
    start: np.ndarray
    code: np.ndarray
    first_group: np.ndarray

    @classmethod
    def read(
        cls, files: EventFiles, ranges: WindowRanges, sight: Sight
    ) -> _GroupedEvents:
        """Read the events in the longest windows of some rows."""
        start, stop = ranges.start, ranges.stop
        code, n_codes = files.take("code", start, stop), len(sight.codes)
        n_places = len(code) + 1
        place = np.flatnonzero(sight.codes[code])
        owner = np.repeat(np.arange(len(start)), stop - start)[place]
        key, order = sorted_keys(owner, code[place], n_codes)
        place = place[order]
        is_first = np.diff(key, prepend=-1) > 0
        group_start = np.flatnonzero(is_first)
        owner, code = np.divmod(key[group_start], n_codes)
        group = np.cumsum(is_first) - 1
        time = files.take("time", start, stop)[place]
        value = files.take("value", start, stop)[place]
        if sight.bounds is not None:
            bounds = sight.bounds[:, code]
            value = np.clip(value, bounds[0][group], bounds[1][group])
        known = None
        if "available" in files.columns:
            known = np.maximum(files.take("available", start, stop)[place], time)
        return cls(
            place_key=group * n_places + place,
            n_places=n_places,
            time=time,
            value=value,
            day=calendar_days(time, files.zone_name) if sight.days else time[:0],
            known=known,
            start=group_start,
            code=code,
            first_group=np.searchsorted(owner, np.arange(len(start) + 1)),
        )

    def n_groups_of(self, subject: np.ndarray) -> np.ndarray:
        """Return the number of codes of the subject of each row."""
        return np.diff(self.first_group)[subject]

    @cached_property
    def group(self) -> np.ndarray:
        """Return the group of each event."""
        sizes = np.diff(self.start, append=len(self.time))
        return np.repeat(np.arange(len(self.start)), sizes)

    @cached_property
    def known_around(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the latest `known` of a group so far, and the earliest from there."""
        assert self.known is not None
        order = np.argsort(self.known, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first = self.group * len(order)  # so that totals begin again in each group
        latest = np.maximum.accumulate(first + rank) - first
        earliest = np.minimum.accumulate((first + rank)[::-1])[::-1] - first
        known = self.known[order]
        return known[latest], known[earliest]

    @cached_property
    def n_values(self) -> np.ndarray:
        """Return the number of values among the first 0, 1, 2 ... events."""
        return np.concatenate([[0], np.cumsum(~np.isnan(self.value))])

    @cached_property
    def nearest_values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the last event with a value so far, and the first one from there."""
        place = np.arange(len(self.value))
        unknown = np.isnan(self.value)
        last = np.maximum.accumulate(np.where(unknown, 0, place))
        later = np.where(unknown, len(place) - 1, place)[::-1]
        return last, np.minimum.accumulate(later)[::-1]

    @cached_property
    def n_days(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the events that begin a day, and their number so far."""
        begins = np.ones(len(self.time), dtype=bool)
        if len(self.day):
            begins[1:] = (self.day[1:] != self.day[:-1]) | (np.diff(self.group) > 0)
        else:
            begins[1:] = np.diff(self.group) > 0
        return begins, np.concatenate([[0], np.cumsum(begins)])


@dataclass(frozen=True)
class _PairRanges:
    """Ranges of events that rows see of a code.

    Attributes
    ----------
    row, group : ndarray of int of shape (n_pairs,)
        The pairs of a row and a group.
    end : ndarray of int64 of shape (n_pairs,)
        End of the windows.
    place : ndarray of int of shape (n_windows + 1, n_pairs)
        Events where the windows end and begin. The first line is the common end.
    stop : ndarray of int of shape (n_pairs,)
        End of the windows, if all events were available.
    is_apart : ndarray of bool of shape (n_pairs,)
        Whether events that are not available lie between those that are.
    """

    row: np.ndarray
    group: np.ndarray
    end: np.ndarray
    place: np.ndarray
    stop: np.ndarray
    is_apart: np.ndarray

    @classmethod
    def find(
        cls,
        events: _GroupedEvents,
        owner: np.ndarray,
        end: np.ndarray,
        bounds: np.ndarray,
        closed: str,
    ) -> _PairRanges:
        """Find the ranges of all codes of the subjects of rows that are not empty."""
        n_groups = events.n_groups_of(owner)
        row = np.repeat(np.arange(len(owner)), n_groups)
        shift = events.first_group[owner] - (np.cumsum(n_groups) - n_groups)
        group = np.arange(len(row)) + np.repeat(shift, n_groups)
        begin = events.start[group]
        first, least = group * events.n_places, events.place_key[begin]
        place = np.stack(
            [
                _search(events.place_key, first + line[row], begin, least)
                for line in bounds
            ]
        )
        kept = np.flatnonzero(place[0] > place[-1])
        row, group, place = row[kept], group[kept], place[:, kept]
        ends, stop = end[row], place[0]
        is_apart = np.zeros(len(row), dtype=bool)
        if events.known is not None:
            latest, earliest = events.known_around
            known = search_within(latest, place[-1], stop, ends, closed)
            late = np.flatnonzero(known < stop)
            after, limit = earliest[known[late]], ends[late]
            is_apart[late] = after < limit if closed == "left" else after <= limit
            place = np.minimum(place, known)
        return cls(row, group, ends, place, stop, is_apart)

    def without(self, pairs: np.ndarray) -> _PairRanges:
        """Return the ranges, of which those of some pairs are empty."""
        place = self.place.copy()
        place[:, pairs] = place[-1, pairs]
        return replace(self, place=place)


def _search(
    keys: np.ndarray, wanted: np.ndarray, begin: np.ndarray, least: np.ndarray
) -> np.ndarray:
    """Return the places of keys of groups, of which `least` at `begin` is the first.

    Windows of a whole history begin before any event, and need no search.
    """
    later = wanted > least
    if later.all():
        return np.searchsorted(keys, wanted)
    place = begin.copy()
    place[later] = np.searchsorted(keys, wanted[later])
    return place


def _features(
    ranges: _PairRanges,
    rows: np.ndarray,
    events: _GroupedEvents,
    totals: ExactSums | None,
    sight: Sight,
    plan: FeaturePlan,
) -> Pairs:
    """Return the features of the pairs of some rows."""
    windows, names = sight.windows, plan.statistics
    with_moments = _needs_moments(plan)
    left_over = ranges.is_apart
    if totals is not None:
        exact = totals.has_moments if with_moments else totals.is_exact
        left_over = left_over | ~exact[ranges.group]
    others = np.flatnonzero(left_over)
    near = ranges.without(others) if len(others) else ranges
    sums = _band_sums(near, events, totals, plan)
    for pairs, part in _by_kernel(ranges, others, events, sight):
        for table, cells in zip(sums, part, strict=True):
            table[:, pairs] = cells
    if windows.nested:
        sums = join_bands(sums)
    value = window_statistics(sums, names, windows.widths)
    if totals is not None and with_moments:
        low = near.place[1:]
        high = np.broadcast_to(near.place[0], low.shape)
        if not windows.nested:
            high = near.place[:-1]
        moments = totals.moments(low, high, near.group, sums.n_values)
        is_open = _put_moments(value, moments, sums, names, ~left_over)
        for pairs, again in _by_kernel(ranges, np.flatnonzero(is_open), events, sight):
            again = join_bands(again) if windows.nested else again
            value[pairs] = window_statistics(again, names, windows.widths)
    found = Pairs(rows[ranges.row], events.code[ranges.group], sums, value)
    kept = sums.n.any(axis=0)
    return found if kept.all() else found.only(np.flatnonzero(kept))


def _by_kernel(
    ranges: _PairRanges, pairs: np.ndarray, events: _GroupedEvents, sight: Sight
) -> Iterator[tuple[np.ndarray, BandSums]]:
    """Yield the sums over bands of some pairs, added event by event.

    Pairs without a visible event are left out.
    """
    low, n_events = ranges.place[-1, pairs], (ranges.stop - ranges.place[-1])[pairs]
    for some in slices_of(n_events, COPIES):
        n = n_events[some]
        place = np.arange(n.sum()) + np.repeat(low[some] - (np.cumsum(n) - n), n)
        pair = np.repeat(np.arange(some.start, some.stop), n)
        end = ranges.end[pairs][pair]
        if events.known is not None:
            known = events.known[place]
            kept = known < end if sight.closed == "left" else known <= end
            place, pair, end = place[kept], pair[kept], end[kept]
        if not len(place):
            continue
        ahead = end - events.time[place]
        copies = WindowEvents(
            row=pair,
            code=np.zeros(len(pair), dtype=np.int64),
            band=sight.windows.band(ahead, sight.closed),
            ahead=ahead / DAY,
            day=events.day[place] if len(events.day) else np.zeros_like(place),
            value=events.value[place],
        )
        found, _, sums = sum_bands(copies, 1, len(sight.windows.lengths))
        yield pairs[found], sums


def _band_sums(
    ranges: _PairRanges,
    events: _GroupedEvents,
    totals: ExactSums | None,
    plan: FeaturePlan,
) -> BandSums:
    """Return the sums over bands that do not depend on the order of the additions.

    Means without `totals`, squares, and what no feature needs are left out.
    """
    low, high = ranges.place[1:], ranges.place[:-1]
    n = high - low
    n_values = events.n_values[high] - events.n_values[low]
    divisor = np.maximum(n_values, 1)
    found = _ends(ranges, events, n_values)
    found |= {
        name: partial(_range_extremes, take, events.value, low, high)
        for name, take in (("v_min", np.fmin), ("v_max", np.fmax))
    }
    used = {*plan.statistics, *(["since_first"] if plan.totals else ())}
    return BandSums(
        n=n.astype(np.float64),
        n_values=n_values.astype(np.float64),
        **{
            name: np.full(n.shape, np.nan) if used.isdisjoint(NEEDED_BY[name]) else of()
            for name, of in found.items()
        },
        v_mean=np.zeros(n.shape)
        if totals is None
        else totals.values(low, high, ranges.group) / divisor,
        t_mean=np.zeros(n.shape),
        m2_v=np.zeros(n.shape),
        m2_t=np.ones(n.shape),  # a divisor
        co_tv=np.zeros(n.shape),
    )


def _ends(
    ranges: _PairRanges, events: _GroupedEvents, n_values: np.ndarray
) -> dict[str, Callable[[], np.ndarray]]:
    """Return functions for the fields of `BandSums` on first and last events."""
    low, high = ranges.place[1:], ranges.place[:-1]
    is_empty, is_unknown = low == high, n_values == 0
    first, last = np.where(is_empty, 0, low), np.where(is_empty, 0, high - 1)
    last_value, first_value = events.nearest_values

    def ahead(place: np.ndarray) -> np.ndarray:
        return (ranges.end - events.time[place]) / DAY

    def value(place: np.ndarray) -> np.ndarray:
        return np.where(is_unknown, np.nan, events.value[place].astype(np.float64))

    def counted_days(*, with_oldest: bool) -> np.ndarray:
        begins, n_begins = events.n_days
        goes_on = ~is_empty & ~begins[first]
        is_oldest = first == ranges.place[-1]
        if with_oldest:
            return n_begins[high] - n_begins[low] + (goes_on & is_oldest)
        return (goes_on & ~is_oldest).astype(np.float64)

    return {
        "newest": lambda: np.where(is_empty, np.nan, ahead(last)),
        "oldest": lambda: np.where(is_empty, np.nan, ahead(first)),
        "days": partial(counted_days, with_oldest=True),
        "split": partial(counted_days, with_oldest=False),
        "v_last": lambda: value(last_value[last]),
        "v_first": lambda: value(first_value[first]),
        "t_last": lambda: np.where(is_unknown, np.nan, -ahead(last_value[last])),
        "t_first": lambda: np.where(is_unknown, np.nan, -ahead(first_value[first])),
    }


def _range_extremes(
    extreme: np.ufunc, values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return the extremes of ranges of values, from those of runs of 1, 2, 4 ..."""
    _, level = np.frexp((high - low).astype(np.float64))
    found = np.full(low.shape, np.nan)
    runs = values
    for depth in range(int(level.max(initial=0))):
        if depth:
            step = 2 ** (depth - 1)
            runs = extreme(runs[:-step], runs[step:])
        some = level == depth + 1
        found[some] = extreme(runs[low[some]], runs[high[some] - 2**depth])
    return found


def _put_moments(
    value: np.ndarray,
    moments: Moments,
    sums: BandSums,
    names: tuple[str, ...],
    chosen: np.ndarray,
) -> np.ndarray:
    """Write standard deviations and slopes of pairs, and return which are undecided.

    Undecided are those whose bounds are not the same number of single precision.
    """
    n, n_bands = sums.n_values, len(sums.n)
    largest = np.fmax(np.abs(sums.v_min), np.abs(sums.v_max))
    error_v, error_t, error_c = moments.errors(n, largest, sums.oldest, n_bands)
    constant = sums.v_min == sums.v_max
    undecided = np.zeros(value.shape[0], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for k, name in enumerate(names):
            if name == "std":
                squares = moments.m2_v - error_v, moments.m2_v + error_v
                least, most = (np.sqrt(np.maximum(x, 0) / (n - 1)) for x in squares)
            elif name == "slope":
                least = moments.co_tv / moments.m2_t
                room = np.maximum(moments.m2_t - error_t, 0)
                error = (error_c + np.abs(least) * error_t) / room
                least, most = least - error, least + error
            else:
                continue
            least, most = least - FEW * np.abs(least), most + FEW * np.abs(most)
            bounds = [
                np.where(constant, 0, x).astype(np.float32) for x in (least, most)
            ]
            is_same = bounds[0].view(np.int32) == bounds[1].view(np.int32)
            wanted = ~np.isnan(value[:, :, k]) & chosen[:, None]
            value[:, :, k] = np.where(wanted, bounds[0].T, value[:, :, k])
            undecided |= (wanted & ~(is_same & np.isfinite(bounds[0])).T).any(axis=1)
    return undecided
