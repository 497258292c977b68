"""Images of cases, against a search that looks at every pair."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from skfusion.cohorts import link_images, link_report

pytestmark = pytest.mark.filterwarnings(
    "ignore:link_images:skfusion.exceptions.DataWarning",
    "ignore:link_images:skfusion.exceptions.LeakageWarning",
)
DAY_END = pd.Timedelta("1D") - pd.Timedelta("1us")
BERLIN = "Europe/Berlin"
# Hours around the end of summer time, so that instants, ties and borders all occur.
HOURS = [pd.Timestamp("2024-10-26 20:00") + pd.Timedelta(h, "h") for h in range(14)]
DATES = [datetime.date(2024, 10, d) for d in (25, 26, 27)]


def at_end(cell, zone):
    """Return the time at which an image surely exists."""
    if cell is None:
        return None
    is_date = not isinstance(cell, datetime.datetime)
    time = pd.Timestamp(cell)
    wall = time.tz_localize(None) if time.tzinfo else time
    if is_date or wall == wall.normalize():
        wall = wall.normalize() + DAY_END
    elif time.tzinfo is not None:
        return time.tz_convert("UTC")
    if time.tzinfo is not None:
        wall = wall.tz_localize(time.tzinfo, ambiguous=False)
    elif zone is not None:
        wall = wall.tz_localize(zone, ambiguous=False, nonexistent="shift_forward")
    return wall if wall.tzinfo is None else wall.tz_convert("UTC")


def at_start(cell, zone):
    """Return the earliest time that an index time can mean."""
    if cell is None:
        return None
    time = pd.Timestamp(cell)
    if time.tzinfo is None and zone is not None:
        time = time.tz_localize(zone, ambiguous=True, nonexistent="shift_backward")
    return time if time.tzinfo is None else time.tz_convert("UTC")


def oracle(cases, images, window, delay, zone):
    """Return the paths that each case sees, in order, by looking at every pair."""
    listed = {}
    for row in images.to_dict("records"):
        if row["patient"] is None or row["path"] is None:
            continue
        acquired, available = (at_end(row[c], zone) for c in ("acquired", "available"))
        if acquired is None and available is None:
            continue
        order = available if acquired is None else acquired
        known = acquired + delay if available is None else available
        number = -1 if row["series_number"] is None else row["series_number"]
        entry = (max(order, known), order, number, row["path"])
        key = (row["patient"], row["path"])
        if key not in listed or entry[0] > listed[key][0]:
            listed[key] = entry
    found = []
    for row in cases.to_dict("records"):
        index = at_start(row["index_time"], zone)
        seen = [
            entry[1:]
            for (patient, _), entry in listed.items()
            if index is not None
            and patient == row["patient"]
            and entry[0] < index
            and (window is None or entry[1] >= index - window)
        ]
        found.append([path for *_, path in sorted(seen)])
    return found


def objects(values):
    return pd.Series(values, dtype=object)


@st.composite
def tables(draw, zoned):
    zones = ["UTC", BERLIN, "Asia/Kolkata"]

    def a_time(dates):
        cell = draw(st.sampled_from([None, *HOURS, *(DATES if dates else [])]))
        if not zoned or cell is None or cell in DATES:
            return cell
        zone = draw(st.sampled_from([None, *zones]))
        if zone is None:
            return cell
        return cell.tz_localize("UTC").tz_convert(zone)

    patients = st.sampled_from([None, 1, 1, 2, 3])
    n_cases, n_images = draw(st.integers(1, 5)), draw(st.integers(0, 14))
    cases = pd.DataFrame(
        {
            "patient": objects([draw(patients) for _ in range(n_cases)]),
            "index_time": objects([a_time(False) for _ in range(n_cases)]),
        },
        index=pd.Index(draw(st.permutations(range(n_cases)))),
    )
    names = [None, *"abcdefgh"]
    images = pd.DataFrame(
        {
            "patient": objects([draw(patients) for _ in range(n_images)]),
            "path": objects([draw(st.sampled_from(names)) for _ in range(n_images)]),
            "acquired": objects([a_time(True) for _ in range(n_images)]),
            "available": objects([a_time(True) for _ in range(n_images)]),
            "series_number": objects(
                [draw(st.sampled_from([None, 2, 10])) for _ in range(n_images)]
            ),
            "study": objects(
                draw(
                    st.lists(
                        st.sampled_from("st"), min_size=n_images, max_size=n_images
                    )
                )
            ),
        }
    )
    return cases, images


def check_against_oracle(cases, images, window, delay, zone):
    wanted = oracle(
        cases, images, window and pd.Timedelta(window), pd.Timedelta(delay), zone
    )
    how = {
        "on": "patient",
        "window": window,
        "reporting_delay": delay,
        "time_zone": zone,
    }
    bags = link_images(cases, images, select="all", **how)
    assert list(bags.index) == list(cases.index)
    assert [cell or [] for cell in bags["image"]] == wanted
    last = link_images(cases, images, **how)
    assert list(last["image"]) == [cell[-1] if cell else None for cell in wanted]
    first = link_images(cases, images, select="first", **how)
    assert list(first["image"]) == [cell[0] if cell else None for cell in wanted]
    report = link_report(bags)
    assert report.cases["linked"] == sum(map(bool, wanted))
    assert sum(report.cases.values()) == len(cases)
    assert sum(report.images.values()) == len(images)
    assert report.also["several"] == sum(len(cell) > 1 for cell in wanted)


@settings(max_examples=25, deadline=None)
@given(
    tables(zoned=False),
    st.sampled_from([None, "3h", "1D"]),
    st.sampled_from(["0h", "2h"]),
)
def test_links_are_those_of_a_search_over_all_pairs(pair, window, delay):
    check_against_oracle(*pair, window, delay, None)


@settings(max_examples=25, deadline=None)
@given(tables(zoned=True), st.sampled_from([None, "3h"]), st.sampled_from(["0h", "2h"]))
def test_links_are_those_of_a_search_by_instant(pair, window, delay):
    check_against_oracle(*pair, window, delay, BERLIN)
