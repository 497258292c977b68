"""Dates without time, time zones, and values in other wrappers."""

from __future__ import annotations

import datetime
import decimal
import warnings

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows

DAY = pd.Timestamp("2024-05-10")
MOMENT = pd.Timedelta(1, "us")
LAST = DAY + pd.Timedelta(1, "D") - MOMENT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def frame(times, **columns):
    return pd.DataFrame(
        {"subject_id": 1, "time": pd.to_datetime(times), "code": "DX", **columns}
    )


def count(store, index_time):
    X = pd.DataFrame({"subject_id": [1], "index_time": [pd.Timestamp(index_time)]})
    windows = EventWindows(store, windows=(None,), aggs=("count",), totals=())
    return windows.set_params(min_subjects=1).fit_transform(X).sum()


def test_one_time_does_not_make_dates_times():
    with pytest.warns(UserWarning, match="got 1 of 2 events of 1 codes at midnight"):
        store = EventStore.from_frame(frame(["2024-05-10 00:00", "2024-05-03 08:15"]))
    assert count(store, "2024-05-10 09:00") == 1
    assert store.to_frame()["time"].max() == LAST


def test_a_share_of_dates_is_moved_and_times_are_not():
    dates = pd.date_range("2024-01-01", periods=30)
    times = pd.date_range("2024-01-01 03:07", periods=270, freq="29h")
    with pytest.warns(UserWarning, match="got 30 of 300 events"):
        store = EventStore.from_frame(frame([*dates, *times]))
    found = set(store.to_frame()["time"])
    assert found == {*(dates + pd.Timedelta(1, "D") - MOMENT), *times}


@pytest.mark.parametrize("hours", [1, 4, 8])
def test_measurements_at_full_hours_keep_midnight(hours):
    times = pd.date_range("2024-01-01", periods=200, freq=f"{hours}h")
    store = EventStore.from_frame(frame(times))
    assert list(store.to_frame()["time"]) == list(times)


def test_midnight_can_be_a_date_by_order_and_none():
    times = pd.date_range("2024-01-01", periods=48, freq="1h")
    store = EventStore.from_frame(frame(times), date_only="midnight")
    assert (store.to_frame()["time"].dt.hour == 23).sum() == 4
    dates = pd.date_range("2024-01-01", periods=3)
    kept = EventStore.from_frame(frame(dates), date_only=None)
    assert list(kept.to_frame()["time"]) == list(dates)


def test_a_table_of_a_store_is_read_back_without_a_warning():
    store = EventStore.from_frame(frame(pd.date_range("2024-01-01", periods=3)))
    more = frame(pd.date_range("2024-02-01", periods=3))
    both = EventStore.from_frame(pd.concat([store.to_frame(), more]))
    assert (both.to_frame()["time"].dt.hour == 23).all()


def test_a_date_of_availability_is_known_at_its_end():
    table = frame(["2024-05-10 08:00"], available_time=[DAY])
    with pytest.warns(UserWarning, match="got 1 of 1 available times of 1 codes at mi"):
        store = EventStore.from_frame(table)
    assert store.to_frame()["available_time"][0] == LAST
    assert count(store, "2024-05-11 00:00") == 1
    with pytest.warns(UserWarning, match="none of them in at least"):
        assert count(store, "2024-05-10 09:00") == 0


def test_availability_at_once_moves_with_its_date():
    dates = pd.date_range("2024-05-01", periods=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = EventStore.from_frame(frame(dates, available_time=dates))
    found = store.to_frame()
    assert (found["available_time"] == found["time"]).all()
    assert (found["time"].dt.hour == 23).all()


def test_days_of_a_changed_clock_end_late():
    # On 27 October 2024 the day of Berlin has 25 hours, on 31 March 23.
    dates = pd.to_datetime(["2024-03-31", "2024-10-27"]).tz_localize("Europe/Berlin")
    found = EventStore.from_frame(frame(dates)).to_frame()["time"]
    ends = pd.to_datetime(["2024-04-01", "2024-10-28"]).tz_localize("Europe/Berlin")
    assert list(found) == list(ends - MOMENT)


def test_an_end_that_is_unknown_has_a_day():
    dates = pd.Series(np.array(["9999-12-31", "2020-01-01"], "datetime64[us]"))
    table = frame(["2024-05-01"] * 2).assign(time=dates.dt.tz_localize("Europe/Berlin"))
    assert len(EventStore.from_frame(table).to_frame()) == 2


@pytest.mark.parametrize("made", ["series", "objects"])
def test_calendar_days_are_local(made):
    local = pd.to_datetime(["2024-05-01 00:30", "2024-05-01 23:30"])
    local = local.tz_localize("Asia/Tokyo")
    column = pd.Series(local) if made == "series" else pd.Series(list(local), dtype="O")
    table = frame(["2024-05-01"] * 2).assign(time=column)
    X = pd.DataFrame({"subject_id": [1]})
    X["index_time"] = pd.Timestamp("2024-05-03", tz="Asia/Tokyo")
    store = EventStore.from_frame(table)
    days = EventWindows(windows=(None,), aggs=("n_days",), totals=(), min_subjects=1)

    def n_days(events):
        return days.set_params(events=events).fit_transform(X).item()

    assert n_days(store) == 1
    assert n_days(store.with_lags({"DX": "1h"})) == 1
    utc = EventStore.from_frame(
        table.assign(time=column.map(lambda t: t.tz_convert("UTC")))
    )
    assert n_days(utc) == 2
    assert n_days(utc.with_time_zone("Asia/Tokyo")) == 1
    named = EventStore.from_frame(utc.to_frame(), time_zone="Asia/Tokyo")
    assert n_days(named) == 1
    assert n_days(days.set_params(events=store).prepare(X).events) == 1


def test_zones_that_are_none_are_refused():
    aware = frame(["2024-05-01 08:00"]).assign(
        time=pd.to_datetime(["2024-05-01 08:00"]).tz_localize("UTC")
    )
    with pytest.raises(ValueError, match="time_zone must be a name such as"):
        EventStore.from_frame(aware, time_zone="Mars/Olympus")
    with pytest.raises(ValueError, match="must be None for times without a time zone"):
        EventStore.from_frame(frame(["2024-05-01 08:00"]), time_zone="Asia/Tokyo")


def test_objects_of_several_zones_are_one_time():
    mixed = [
        pd.Timestamp("2024-05-01 09:00", tz="Europe/Berlin"),
        pd.Timestamp("2024-05-01 09:00", tz="UTC"),
    ]
    table = frame(["2024-05-01"] * 2).assign(time=pd.Series(mixed, dtype=object))
    found = EventStore.from_frame(table).to_frame()["time"]
    assert sorted(found) == sorted(pd.to_datetime(mixed, utc=True))
    naive = pd.Series([mixed[0], pd.Timestamp("2024-05-01")], dtype=object)
    with pytest.raises(ValueError, match="a time zone in 1 of the 2 times in 'time'"):
        EventStore.from_frame(table.assign(time=naive))


IDS = [
    pd.Series([1, 2], dtype=object),
    pd.Series([np.int32(1), np.uint8(2)], dtype=object),
    pd.Series(pd.Categorical([1, 2])),
    pd.Series([decimal.Decimal("1"), decimal.Decimal("2.0")]),
    pd.Series([1, 2], dtype="Int64"),
    pd.Series([1, 2], dtype=np.uint64),
]


@pytest.mark.parametrize("ids", IDS, ids=lambda column: str(column.dtype))
def test_ids_in_other_wrappers_are_the_same_ids(ids):
    table = frame(["2024-05-10 08:00"] * 2)
    plain = EventStore.from_frame(table.assign(subject_id=[1, 2]))
    assert EventStore.from_frame(table.assign(subject_id=ids)) == plain
    X = pd.DataFrame({"subject_id": ids, "index_time": DAY + pd.Timedelta("9h")})
    windows = EventWindows(plain, min_subjects=1).fit(X)
    windows.transform(X.assign(subject_id=[1, 2]))  # The same rows: no warning.


def test_texts_of_numpy_are_text():
    table = frame(["2024-05-10 08:00"]).assign(code=[np.str_("DX")])
    table["subject_id"] = pd.Series([np.str_("a")], dtype=object)
    assert EventStore.from_frame(table).subjects.tolist() == ["a"]


@pytest.mark.parametrize(
    "ids", [[1.5, 2.0], [1, "a"], [2**63, 1], [decimal.Decimal("1.5"), 2], [[1], [2]]]
)
def test_ids_that_do_not_convert_exactly_are_refused(ids):
    column = pd.Series(ids, dtype=object)
    with pytest.raises((TypeError, ValueError), match="subject_id"):
        EventStore.from_frame(frame(["2024-05-10 08:00"] * 2, subject_id=column))


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([decimal.Decimal("1.5"), None]),
        pd.Series([1.5, None], dtype=object),
        pd.Series(pd.Categorical([1.5, None])),
        pd.Series([1.5, None], dtype="Float64"),
    ],
    ids=lambda column: str(column.dtype),
)
def test_numbers_in_other_wrappers_are_numbers(values):
    table = frame(["2024-05-10 08:00", "2024-05-10 09:00"], numeric_value=values)
    found = EventStore.from_frame(table).to_frame()["numeric_value"]
    np.testing.assert_array_equal(found, [1.5, np.nan])


CELLS = ["2024-05-10 08:00"] * 2


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (
            frame(CELLS, code=[["a"], ["b"]]),
            TypeError,
            "'code' must contain text.*list",
        ),
        (frame(CELLS, unit=[{}, None]), TypeError, "'unit' must contain text.*dict"),
        (frame(CELLS, time=[[1], [2]]), TypeError, "'time' must contain times.*list"),
        (frame(CELLS, numeric_value=[[1], 2]), TypeError, "list'. in 1 of 2 events"),
        (frame(CELLS, numeric_value=[1j, 2]), TypeError, "must contain real numbers"),
        (
            pd.concat([frame(CELLS), frame(CELLS)[["code"]]], axis=1),
            ValueError,
            "each column once, got 'code' 2 times",
        ),
    ],
)
def test_what_is_no_column_is_named(table, error, message):
    with pytest.raises(error, match=message):
        EventStore.from_frame(table)


def test_null_ids_of_rows_are_counted():
    store = EventStore.from_frame(frame(["2024-05-10 08:00"]))
    X = pd.DataFrame({"subject_id": pd.array([1, None], "Int64"), "index_time": LAST})
    with pytest.raises(ValueError, match=r"null in column 'subject_id' in 1 of 2 rows"):
        EventWindows(store, min_subjects=1).fit(X)


def test_dates_of_python_are_dates():
    table = frame(CELLS).assign(time=[datetime.date(2024, 5, 10)] * 2)
    assert EventStore.from_frame(table).to_frame()["time"][0] == LAST


def test_numbers_at_the_limit_are_gaps_and_no_feature_is_infinite():
    huge = [3e38, -3e38, 1e38, 2.0, 1e39, 5.0]
    times = pd.date_range("2024-05-01 08:15", periods=6, freq="7h")
    table = frame(times, numeric_value=huge)
    with pytest.warns(UserWarning, match="4 infinite values in 6 events, or values be"):
        store = EventStore.from_frame(table)
    X = pd.DataFrame({"subject_id": [1], "index_time": [LAST]})
    every = ("range", "std", "slope", "delta", "mean", "last", "min", "max")
    found = EventWindows(store, aggs=every, min_subjects=1).fit_transform(X)
    assert not np.isinf(found).any()
    large = EventStore.from_frame(table.assign(numeric_value=[1e30, -1e30] * 3))
    found = EventWindows(large, aggs=every, min_subjects=1).fit_transform(X)
    assert not np.isinf(found).any()
    assert np.nanmax(found) > 1e29


def test_conversions_beyond_the_limit_are_gaps():
    table = frame(["2024-05-10 08:00"], numeric_value=[2.0], text_value=["9"], unit="g")
    store = EventStore.from_frame(table)

    def grow(code, value, unit):
        return pd.DataFrame(
            {"code": code, "numeric_value": value * 1e300, "unit": unit}
        )

    with pytest.warns(UserWarning, match="1 infinite values"):
        assert store.convert_units(grow).to_frame()["numeric_value"].isna().all()
    bare = EventStore.from_frame(table.drop(columns="numeric_value"))
    with pytest.warns(UserWarning, match="1 infinite values"):
        found = bare.read_text(lambda texts: pd.DataFrame({"numeric_value": [np.inf]}))
    assert found.to_frame()["numeric_value"].isna().all()
