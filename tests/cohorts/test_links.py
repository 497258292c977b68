"""Images of cases, against a search that looks at every pair."""

from __future__ import annotations

import datetime
import json
import re
import warnings
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from skfusion.cohorts import link_images, link_report
from skfusion.exceptions import DataWarning, LeakageWarning

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
        if key not in listed or entry > listed[key]:
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


EARLY = pd.Timestamp("2024-03-01 12:00")
NOON = pd.Timestamp("2024-03-02 12:00")


def linked(images, index_time=NOON, **how):
    cases = pd.DataFrame({"patient": [7], "index_time": [index_time]})
    table = pd.DataFrame({"patient": 7, **images})
    return link_images(cases, table, on="patient", **how)["image"].iloc[0]


@pytest.mark.parametrize(
    ("acquired", "found"),
    [
        (NOON, None),
        (NOON - pd.Timedelta("1us"), "a"),
        (pd.Timestamp("2024-03-02"), None),  # a date is the end of its day
        (pd.Timestamp("2024-03-01"), "a"),
        (datetime.date(2024, 3, 2), None),
        ("20240302", None),
        ("2024-03-02 11:59:59.999", "a"),
        (None, None),
    ],
)
def test_an_image_counts_before_the_index_time_only(acquired, found):
    assert linked({"path": ["a"], "acquired": [acquired]}) == found


def test_midnight_can_be_a_time():
    images = {"path": ["a"], "acquired": [pd.Timestamp("2024-03-02")]}
    assert linked(images, date_only=None) == "a"
    images = {"path": ["a"], "acquired": [datetime.date(2024, 3, 2)]}
    assert linked(images, date_only=None) is None


def test_a_date_as_index_time_is_the_start_of_its_day():
    images = {"path": ["a"], "acquired": [pd.Timestamp("2024-03-02 08:00")]}
    assert linked(images, datetime.date(2024, 3, 2)) is None
    assert linked(images, datetime.date(2024, 3, 3)) == "a"


def test_an_image_that_arrives_late_is_not_seen():
    images = {
        "path": ["early", "late"],
        "acquired": [NOON - pd.Timedelta(h, "h") for h in (3, 2)],
        "available": [NOON - pd.Timedelta("2h"), NOON],
    }
    assert linked(images) == "early"
    # A time of arrival before the acquisition is no reason to see it earlier.
    images["available"] = [pd.NaT, NOON - pd.Timedelta("2D")]
    images["acquired"][1] = NOON
    assert linked(images, reporting_delay="4h") is None


def test_ties_are_broken_by_series_number_then_path():
    images = {
        "path": ["z", "a", "b"],
        "acquired": [NOON - pd.Timedelta("1h")] * 3,
        "series_number": [None, 10, 9],
    }
    assert linked(images, select="all") == ["z", "b", "a"]
    assert linked(images) == "a"
    del images["series_number"]
    assert linked(images, select="first") == "a"


def test_rows_and_index_of_the_cases_are_kept():
    cases = pd.DataFrame(
        {"patient": ["b", "a", "b"], "index_time": [NOON] * 3, "age": [1, 2, 3]},
        index=["x", "x", "y"],
    )
    images = pd.DataFrame(
        {"patient": ["b"], "path": ["b.png"], "available": [NOON - pd.Timedelta("1D")]}
    )
    found = link_images(cases, images, "patient", column="ct")
    pd.testing.assert_frame_equal(found[cases.columns], cases)
    assert found["ct"].tolist() == ["b.png", None, "b.png"]
    assert "image" not in cases
    json.dumps(found.attrs)  # as a Parquet file stores them


def test_several_columns_of_images():
    cases = pd.DataFrame({"patient": [7], "index_time": [NOON]})
    images = pd.DataFrame(
        {"patient": [7], "path": ["a"], "available": [NOON - pd.Timedelta("1D")]}
    )
    both = link_images(cases, images, "patient", column="ct")
    both = link_images(both, images.head(0), "patient", column="mr")
    assert link_report(both, "ct").cases["linked"] == 1
    assert link_report(both, "mr").cases["no_image"] == 1
    with pytest.raises(ValueError, match="Set column"):
        link_report(both)
    with pytest.raises(ValueError, match="already"):
        link_images(both, images, "patient", column="ct")


def test_a_callable_selects_among_visible_images():
    images = {
        "path": ["a", "b", "c", "future"],
        "acquired": [NOON + pd.Timedelta(h, "h") for h in (-4, -3, -2, 2)],
        "view": ["PA", "LAT", "PA", "PA"],
    }
    seen = []

    def frontal(table):
        seen.extend(table["path"])
        return table[table["view"] == "PA"]

    assert linked(images, select=frontal) == ["a", "c"]
    assert seen == ["a", "b", "c"]
    assert linked(images, select=lambda table: table.iloc[1]) == "b"
    assert linked(images, select=lambda table: 2) == "c"
    assert linked(images, select=lambda table: [0, 2]) == ["a", "c"]
    assert linked(images, select=lambda table: table["view"] == "LAT") == ["b"]
    assert linked(images, select=lambda table: None) is None
    for wrong in (3, "a", [0, 0], -1):
        with pytest.raises(ValueError, match="select must return"):
            linked(images, select=lambda table, wrong=wrong: wrong)


def test_bags_have_times_if_asked_for():
    images = {"path": ["a"], "acquired": [NOON - pd.Timedelta("1h")]}
    bag = linked(images, select="all", with_times=True)
    assert bag == [("a", NOON - pd.Timedelta("1h"))]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_units_of_times_do_not_matter(unit):
    times = pd.Series([NOON - pd.Timedelta("1h")]).astype(f"datetime64[{unit}]")
    assert linked({"path": ["a"], "acquired": times}) == "a"


@pytest.mark.parametrize("of_images", [True, False])
def test_times_with_and_without_a_zone_need_a_zone(of_images):
    zoned, bare = NOON.tz_localize("UTC"), NOON
    acquired, index = (zoned, bare) if of_images else (bare, zoned)
    images = {"path": ["a"], "acquired": [acquired - pd.Timedelta("30min")]}
    with pytest.raises(ValueError, match="Set time_zone"):
        linked(images, index)
    # Noon in Berlin is 11:00 in UTC.
    assert linked(images, index, time_zone=BERLIN) == (None if of_images else "a")


def test_zones_are_compared_by_instant():
    acquired = pd.Timestamp("2024-03-02 16:59", tz="Asia/Kolkata")
    assert (
        linked({"path": ["a"], "acquired": [acquired]}, NOON.tz_localize("UTC")) == "a"
    )
    texts = {"path": ["a"], "acquired": ["2024-03-02T16:59:00+05:30"]}
    assert linked(texts, "2024-03-02T11:30:00Z") == "a"
    assert linked(texts, "2024-03-02T11:29:00Z") is None


def test_ids_of_different_kinds_are_refused():
    cases = pd.DataFrame({"patient": [7], "index_time": [NOON]})
    images = pd.DataFrame({"patient": ["7"], "path": ["a"], "available": [NOON]})
    with pytest.raises(TypeError, match="integers in 'patient' of cases and text"):
        link_images(cases, images, "patient")
    for dtype in (float, object):  # whole numbers are as integers
        images["patient"] = pd.Series([7.0], dtype=dtype)
        found = link_images(cases, images.assign(available=EARLY), "patient")
        assert found["image"].tolist() == ["a"]
    images["patient"] = [7.5]
    with pytest.raises(TypeError, match="integers or text"):
        link_images(cases, images, "patient")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"on": "subject"}, ValueError, "cases must have one column 'subject'"),
        ({"index_time": "when"}, ValueError, "'when'"),
        ({"select": "lst"}, ValueError, "Did you mean 'last'"),
        ({"window": "soon"}, ValueError, "window must be a duration"),
        ({"window": "-1d"}, ValueError, "must not be negative"),
        ({"reporting_delay": 5}, ValueError, "reporting_delay must be a duration"),
        ({"time_zone": "Berlin"}, ValueError, "time_zone"),
        ({"cases": [1]}, TypeError, "cases must be a DataFrame"),
        (
            {"images": pd.DataFrame({"patient": [7], "path": ["a"]})},
            ValueError,
            "'acquired' or 'available'",
        ),
    ],
)
def test_what_is_wrong_is_told(change, error, message):
    how = {
        "cases": pd.DataFrame({"patient": [7], "index_time": [NOON]}),
        "images": pd.DataFrame({"patient": [7], "path": ["a"], "available": [NOON]}),
        "on": "patient",
    }
    with pytest.raises(error, match=message):
        link_images(**{**how, **change})


def test_cells_that_are_no_times_are_not_quoted():
    with pytest.raises(TypeError, match="1 cells of 1") as caught:
        linked({"path": ["a"], "acquired": ["yesterday at noon"]})
    assert "noon" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_warnings_have_counts():
    cases = pd.DataFrame({"patient": [7, None], "index_time": [NOON] * 2})
    images = pd.DataFrame(
        {
            "patient": [7, 7, 8, None, 7],
            "path": ["a", "a", "a", "b", None],
            "acquired": [NOON - pd.Timedelta("1h")] * 5,
        }
    )
    with pytest.warns() as caught:
        found = link_images(cases, images, "patient")
    said = {one.category: str(one.message) for one in caught}
    assert len(said) == len(caught) == 2
    assert "2 of 5 images have no time of availability" in said[LeakageWarning]
    assert "1 paths are listed for several patients" in said[LeakageWarning]
    for part in (
        "1 without a patient",
        "1 without a path",
        "1 listed twice",
        "1 of 2 cases have no patient",
    ):
        assert part in said[DataWarning]
    assert found["image"].tolist() == ["a", None]
    with pytest.warns(DataWarning, match="same kind of id"):
        link_images(cases.head(1), images.iloc[2:3].assign(available=NOON), "patient")


def test_reasons_and_the_border_are_counted():
    cases = pd.DataFrame({"patient": range(1, 8), "index_time": [NOON] * 7})
    hours = {1: [-1], 2: [-0.5, 0.5], 3: [1], 4: [-100], 5: [None], 7: [-3, -2]}
    rows = [(p, f"{p}.{i}", h, i) for p, hs in hours.items() for i, h in enumerate(hs)]
    images = pd.DataFrame(rows, columns=["patient", "path", "hour", "study"])
    images["available"] = NOON + pd.to_timedelta(images.pop("hour"), "h")
    report = link_report(link_images(cases, images, "patient", window="2d"))
    assert report.cases == {
        "linked": 3,
        "no_key": 0,
        "no_image": 1,
        "unknown_time": 1,
        "too_late": 1,
        "too_early": 1,
        "not_selected": 0,
    }
    assert report.also == {
        "several": 1,
        "several_studies": 1,
        "near_before": 2,
        "near_after": 2,
    }
    text = str(report)
    assert "<10" in text
    assert " 3" not in text


def test_no_count_below_ten_is_printed():
    cases = pd.DataFrame({"patient": range(200), "index_time": [NOON] * 200})
    available = [NOON - pd.Timedelta("1D")] * 196
    images = pd.DataFrame(
        {
            "patient": range(196),
            "path": [f"{i}" for i in range(196)],
            "available": available,
        }
    )
    report = link_report(link_images(cases, images, "patient"))
    shown = set(report.to_frame()["count"])
    assert "<10" in shown
    assert "196" in shown  # images, all of which have a case
    table = report.to_frame().set_index("what")["count"]
    assert table["with an image"] == "withheld"
    assert report.cases["no_image"] == 4


def test_tables_of_polars_are_read():
    polars = pytest.importorskip("polars")
    cases = polars.DataFrame({"patient": [7], "index_time": [NOON]})
    images = polars.DataFrame(
        {"patient": [7], "path": ["a"], "available": [NOON - pd.Timedelta("1h")]}
    )
    assert link_images(cases, images, "patient")["image"].tolist() == ["a"]


@pytest.mark.parametrize("dtype", ["category", "string", "int32", "Int64"])
def test_dtypes_of_ids(dtype):
    ids = pd.Series(["7", "8"] if dtype in ("category", "string") else [7, 8])
    cases = pd.DataFrame({"patient": ids.astype(dtype), "index_time": [NOON] * 2})
    images = pd.DataFrame(
        {
            "patient": ids[::-1],
            "path": ["b", "a"],
            "available": [NOON - pd.Timedelta("1h")] * 2,
        }
    )
    assert link_images(cases, images, "patient")["image"].tolist() == ["a", "b"]


@pytest.mark.parametrize("delay", ["2h", pd.Timedelta("90min"), 0, "0h", None])
def test_a_delay_that_was_given_is_no_warning(delay):
    cases = pd.DataFrame({"patient": range(30), "index_time": [NOON] * 30})
    images = pd.DataFrame({"patient": range(30), "path": [f"{i}" for i in range(30)]})
    images["acquired"] = NOON - pd.Timedelta("3h")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = link_images(cases, images, "patient", reporting_delay=delay)
    assert [one.category for one in caught] == [LeakageWarning] * (delay is None)
    text = str(link_report(found))
    stated = "" if not delay else rf" \+ {re.escape(str(delay))}"
    assert re.search(rf"images  assumed available at acquisition{stated} +30", text)
    known = images.assign(available=images["acquired"])
    assert "assumed" not in str(link_report(link_images(cases, known, "patient")))


def test_a_report_of_other_rows_is_refused():
    cases = pd.DataFrame({"patient": [7, 8], "index_time": [NOON] * 2})
    images = pd.DataFrame({"patient": [7], "path": ["a"], "available": [EARLY]})
    found = link_images(cases, images, "patient")
    for table in (found[found["image"].notna()], found.head(1)):
        with pytest.raises(ValueError, match="has 1 rows, the report counts 2"):
            link_report(table)
    assert link_report(found[::-1].assign(age=50)).cases["linked"] == 1
    with pytest.raises(ValueError, match="LinkReport: min_cell must be an integer"):
        link_report(found, min_cell=-1)


@pytest.mark.parametrize("null", ["", "  ", "nan", "<NA>", "None"])
def test_text_of_a_null_is_no_patient(null):
    """Cases and images without a patient would be of one patient."""
    cases = pd.DataFrame({"patient": [null, "7 "], "index_time": [NOON] * 2})
    images = pd.DataFrame(
        {
            "patient": [null, "7"],
            "path": ["b", "a"],
            "available": [NOON - pd.Timedelta("1h")] * 2,
            "series_number": ["4", "IV"],
        }
    )
    with pytest.warns(DataWarning) as caught:
        found = link_images(cases, images, "patient")
    assert found["image"].tolist() == [None, "a"]
    told = " ".join(str(one.message) for one in caught)
    assert "1 of 2 cells of 'series_number' are no numbers" in told
    assert "1 without a patient" in told
    assert "1 of 2 cases have no patient" in told


def test_no_rows():
    cases = pd.DataFrame({"patient": [7], "index_time": [NOON]})
    images = pd.DataFrame({"patient": [7], "path": ["a"], "available": [NOON]})
    assert link_images(cases, images.head(0), "patient")["image"].tolist() == [None]
    assert len(link_images(cases.head(0), images, "patient")) == 0


def test_a_clock_that_is_put_back_never_shows_the_future():
    # 02:30 occurs twice in this night, in UTC at 00:30 and at 01:30.
    images = {"path": ["a"], "acquired": [pd.Timestamp("2024-10-27 02:30")]}
    index = pd.Timestamp("2024-10-27 01:00", tz="UTC")
    assert linked(images, index, time_zone=BERLIN) is None
    images["acquired"] = [pd.Timestamp("2024-10-27 00:59", tz="UTC")]
    assert linked(images, pd.Timestamp("2024-10-27 02:30"), time_zone=BERLIN) is None


def test_paths_may_be_objects():
    paths = pd.Series([Path("b.dcm"), Path("a.dcm")], dtype=object)
    images = {"path": paths, "acquired": [NOON - pd.Timedelta("1h")] * 2}
    assert linked(images) == Path("b.dcm")
    assert linked(images, select="all") == [Path("a.dcm"), Path("b.dcm")]
