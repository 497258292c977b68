"""Statistics of events in windows, one row and one event at a time, in plain Python.

Written from the definitions in the docstring of `EventWindows`, not from its code.
"""

from __future__ import annotations

import datetime
import math
import statistics
import zoneinfo

HOUR = 3_600_000_000
DAY = 24 * HOUR


def oracle(events, end, near, far, closed, statistic, zone=None):
    """Return a statistic of (time, available, value) of one code, None for none.

    Times are microseconds, `events` in the order of the source. The window reaches from
    `far` before the end (None: from the beginning) to `near` before it. Calendar days
    are those of `zone`.
    """
    seen = [event for event in events if inside(event, end, near, far, closed)]
    seen.sort(key=lambda event: event[0])
    if not seen:
        return None
    numbers = [(time, value) for time, _, value in seen if not math.isnan(value)]
    values = [value for _, value in numbers]
    if statistic in ("present", "count"):
        return 1 if statistic == "present" else len(seen)
    if statistic == "n_days":
        return len({calendar_day(time, zone) for time, _, _ in seen})
    if statistic in ("since_last", "since_first"):
        time = seen[-1 if statistic == "since_last" else 0][0]
        return (end - time) / DAY
    if not values:
        return None
    width = 0 if far is None else far - near
    return of_numbers(numbers, values, width, statistic)


def calendar_day(time, zone):
    if zone is None:
        return time // DAY
    utc = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    moment = utc + datetime.timedelta(microseconds=time)
    return moment.astimezone(zoneinfo.ZoneInfo(zone)).date()


def of_numbers(numbers, values, width, statistic):
    simple = {
        "last": values[-1],
        "first": values[0],
        "mean": math.fsum(values) / len(values),
        "min": min(values),
        "max": max(values),
        "range": max(values) - min(values),
        "delta": values[-1] - math.fsum(values) / len(values),
    }
    if statistic in simple:
        return simple[statistic]
    if statistic == "std":
        return statistics.stdev(values) if len(values) > 1 else None
    span = numbers[-1][0] - numbers[0][0]
    if span < max(HOUR, 0.01 * width):
        return None
    return statistics.linear_regression(
        [(time - numbers[0][0]) / DAY for time, _ in numbers], values
    ).slope


def inside(event, end, near, far, closed):
    time, available, _ = event
    if time is None:
        return False
    if closed == "left":
        recent = far is None or time >= end - far
        return available < end and time < end - near and recent
    recent = far is None or time > end - far
    return available <= end and time <= end - near and recent
