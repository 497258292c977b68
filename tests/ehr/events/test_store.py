from __future__ import annotations

import copy
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.base import clone

from skfusion import EventStore
from skfusion.ehr import CodeMap, Units, parse_values
from skfusion.ehr.events import reader, writer

NIGHT = pd.Timestamp("2024-03-01")
CODES = ("LAB//a", "LAB//b", "DIAGNOSIS//c")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def table(n=300, seed=0, ids=int):
    rng = np.random.default_rng(seed)
    minutes = rng.integers(1, 60 * 24 * 300, n)
    return pd.DataFrame(
        {
            "subject_id": pd.Series([ids(i) for i in rng.integers(0, 30, n)]),
            "time": NIGHT + pd.to_timedelta(minutes, unit="min"),
            "code": rng.choice(CODES, n),
            "numeric_value": rng.normal(size=n).astype(np.float32),
        }
    )


def in_order(frame):
    """Sort as the store does: subjects as they came, then time, ties as they came."""
    first = {s: i for i, s in enumerate(frame["subject_id"].unique())}
    order = np.lexsort((frame["time"], frame["subject_id"].map(first)))
    return frame.iloc[order].reset_index(drop=True)


def same(found, wanted):
    assert_frame_equal(found, wanted, check_dtype=False)


@pytest.mark.parametrize("ids", [int, str])
def test_events_come_back_sorted(ids):
    frame = table(ids=ids)
    store = EventStore.from_frame(frame)
    same(store.to_frame(), in_order(frame))
    wanted = [frame["subject_id"][3], frame["subject_id"][0], ids(99)]
    parts = [in_order(frame[frame["subject_id"] == s]) for s in wanted[:2]]
    same(store.of_subjects(wanted), pd.concat(parts, ignore_index=True))


def test_sorting_in_pieces_is_sorting(monkeypatch):
    frame = table(1000)
    whole = EventStore.from_frame(frame)
    monkeypatch.setattr(writer, "PIECE", 64)
    parts = EventStore.from_frame(frame.iloc[i : i + 90] for i in range(0, 1000, 90))
    assert parts.fingerprint == whole.fingerprint
    same(parts.to_frame(), in_order(frame))


def test_subjects_without_events_have_none():
    store = EventStore.from_frame(table())
    assert store.of_subjects([]).empty
    assert list(store.of_subjects([1234]).columns) == list(store.to_frame().columns)


def test_polars_is_read_as_pandas_is():
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    frame = table()
    other = EventStore.from_frame(polars.from_pandas(frame))
    assert other == EventStore.from_frame(frame)


def test_it_is_a_small_handle():
    store = EventStore.from_frame(table())
    assert clone(store) is store
    assert copy.deepcopy(store) is store
    content = pickle.dumps(store)
    assert len(content) < 2000
    assert pickle.loads(content) == store
    with pytest.raises(AttributeError, match="is immutable"):
        store.path = "elsewhere"


def test_the_folder_is_private_and_there_once(tmp_path):
    store = EventStore.from_frame(table())
    assert EventStore.from_frame(table()).path == store.path
    assert os.stat(store.path).st_mode & 0o077 == 0
    assert os.listdir(store.path.parent) == [store.path.name]
    chosen = EventStore.from_frame(table(), tmp_path / "mine")
    assert chosen.path == tmp_path / "mine"
    assert chosen == store
    with pytest.raises(ValueError, match="already contains other events"):
        EventStore.from_frame(table(seed=1), tmp_path / "mine")


def test_a_folder_of_something_else_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(ValueError, match="other content than events"):
        EventStore.from_frame(table(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "keep me"


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed"])
def test_damaged_files_are_noticed_and_written_again(damage):
    store = EventStore.from_frame(table())
    victim = store.path / "value.bin"
    content = bytearray(victim.read_bytes())
    if damage == "truncated":
        victim.write_bytes(content[:-4])
    elif damage == "changed":
        content[0] ^= 1
        victim.write_bytes(content)
    else:
        victim.unlink()
    with pytest.raises(ValueError, match="changed since they were written"):
        store.to_frame()
    again = EventStore.from_frame(table())
    same(again.to_frame(), in_order(table()))
    same(store.to_frame(), in_order(table()))


def test_a_copied_folder_is_the_same_store(tmp_path):
    store = EventStore.from_frame(table())
    shutil.copytree(store.path, tmp_path / "copy", copy_function=shutil.copyfile)
    copied = EventStore(tmp_path / "copy", store.fingerprint)
    same(copied.to_frame(), store.to_frame())


def test_another_store_at_the_path_is_an_error():
    store = EventStore.from_frame(table())
    with pytest.raises(ValueError, match="do not match the fingerprint of this store"):
        EventStore(store.path, "0" * 32)
    shutil.rmtree(store.path)
    with pytest.raises(FileNotFoundError, match="got a folder without events"):
        EventStore(store.path)


def test_an_iterator_that_breaks_leaves_nothing(tmp_path):
    def parts():
        yield table()
        raise ConnectionError("the database went away")

    with pytest.raises(ConnectionError, match="went away"):
        EventStore.from_frame(parts(), tmp_path / "events")
    assert os.listdir(tmp_path) == []


def test_dates_without_time_are_at_the_end_of_their_day():
    frame = pd.DataFrame(
        {
            "subject_id": 1,
            "time": [NIGHT, NIGHT, *(NIGHT + pd.to_timedelta([0, 1, 2], unit="h"))],
            "code": ["date", "date", "mixed", "mixed", "mixed"],
        }
    )
    store = EventStore.from_frame(frame)
    times = store.to_frame().groupby("code")["time"].min()
    assert times["date"] == NIGHT + pd.Timedelta("1D") - pd.Timedelta("1us")
    assert times["mixed"] == NIGHT
    assert store.report()["date_only"].to_dict() == {"date": True, "mixed": False}
    kept = EventStore.from_frame(frame, date_only=None)
    assert kept.to_frame()["time"].min() == NIGHT


def test_what_is_moved_stays_moved_once():
    frame = pd.DataFrame({"subject_id": [1], "time": [NIGHT], "code": ["date"]})
    store = EventStore.from_frame(frame)
    lagged = store.with_lags({"date": "1d"})
    assert lagged.to_frame()["time"][0] == store.to_frame()["time"][0]
    assert lagged.report()["date_only"].to_dict() == {"date": True}


def test_times_of_a_zone_are_kept_in_utc():
    frame = table()
    frame["time"] = frame["time"].dt.tz_localize("America/New_York", ambiguous=True)
    store = EventStore.from_frame(frame)
    assert store.has_time_zone
    found = store.to_frame()["time"]
    assert str(found.dt.tz) == "UTC"
    assert sorted(found) == sorted(frame["time"])


def test_lags_make_events_available_later():
    frame = table()
    frame["available_time"] = frame["time"].where(
        frame["code"] != "LAB//b", frame["time"] + pd.Timedelta("9D")
    )
    store = EventStore.from_frame(frame).with_lags({"LAB//": "2h", "LAB//b": "1d"})
    found = store.to_frame()
    lag = found["available_time"] - found["time"]
    wanted = {"LAB//a": "2h", "LAB//b": "9D", "DIAGNOSIS//c": "0h"}
    for code, expected in wanted.items():
        assert set(lag[found["code"] == code]) == {pd.Timedelta(expected)}
    with pytest.raises(
        ValueError, match="must not be negative.* not available before they happen"
    ):
        store.with_lags({"LAB//": "-1h"})


def test_a_lag_of_codes_that_the_store_does_not_have():
    frame = pd.DataFrame(
        {"subject_id": [1], "time": pd.to_datetime(["2024-01-01"]), "code": ["LAB//a"]}
    )
    store = EventStore.from_frame(frame)
    with pytest.warns(UserWarning, match=r"'LABS//' \(did you mean 'LAB//'\?\), so"):
        store.with_lags({"LABS//": "2h", "LAB//": "1h"})


def test_codes_are_mapped_to_one_to_several_and_to_none():
    frame = table()
    store = EventStore.from_frame(frame)
    by_table = store.map_codes({"LAB//a": ["x", "y"], "LAB//b": None})
    counts = by_table.report()["n_events"]
    before = frame["code"].value_counts()
    assert counts.to_dict() == {
        "x": before["LAB//a"],
        "y": before["LAB//a"],
        "DIAGNOSIS//c": before["DIAGNOSIS//c"],
    }
    upper = store.map_codes(lambda codes: codes.str.upper())
    assert upper.codes == [code.upper() for code in store.codes]


def test_a_code_map_groups_codes():
    groups = CodeMap.from_table(
        pd.DataFrame({"code": ["LAB//a", "LAB//a", "LAB//b"], "group": list("pqp")})
    )
    counts = EventStore.from_frame(table()).map_codes(groups).report()["n_events"]
    before = table()["code"].value_counts()
    assert counts["q"] == before["LAB//a"]
    assert counts["p"] == before["LAB//a"] + before["LAB//b"]


def test_units_are_converted():
    frame = table()
    frame["unit"] = np.where(frame["code"] == "LAB//a", "g/L", None)

    def to_milligrams(code, value, unit):
        grams = unit == "g/L"
        return pd.DataFrame(
            {
                "code": code,
                "numeric_value": value.where(~grams, value * 1000),
                "unit": unit.where(~grams, "mg/L"),
            }
        )

    found = EventStore.from_frame(frame).convert_units(to_milligrams)
    table_ = found.to_frame()
    wanted = in_order(frame)
    grams = (wanted["code"] == "LAB//a").to_numpy()
    factor = np.where(grams, 1000, 1)
    np.testing.assert_allclose(
        table_["numeric_value"], wanted["numeric_value"] * factor, rtol=1e-6
    )
    assert found.report().loc["LAB//a", "units"] == {"mg/L": grams.sum()}


def test_the_units_of_the_package_fit():
    frame = pd.DataFrame(
        {
            "subject_id": [1, 1],
            "time": [NIGHT + pd.Timedelta("1h")] * 2,
            "code": ["glucose", "glucose"],
            "numeric_value": [5.0, 90.0],
            "unit": ["mmol/L", "mg/dL"],
        }
    )
    units = Units({"glucose": "glucose"})
    found = EventStore.from_frame(frame).convert_units(units).to_frame()
    assert found["numeric_value"].tolist() == pytest.approx([90.0, 90.0], rel=0.01)


def test_units_are_reported_and_warned_of_once(monkeypatch):
    monkeypatch.setattr(reader, "PIECE", 3)
    frame = pd.DataFrame(
        {
            "subject_id": range(8),
            "time": NIGHT + pd.Timedelta("1h"),
            "code": ["glucose"] * 7 + ["other"],
            "numeric_value": [5.0, 90.0, 80.0, 1.0, 2.0, 1e7, 70.0, 1.0],
            "unit": ["mmol/L", "mg/dL", "mg/dL", "drops", "drops", "mg/dL", None, "x"],
        }
    )
    store, units = EventStore.from_frame(frame), Units({"glucose": "glucose"})
    report = store.report(units)
    wanted = units.report(frame["code"], frame["numeric_value"], frame["unit"])
    pd.testing.assert_frame_equal(report, wanted, check_dtype=False)
    message = "of 8 values, got 2 with an unknown unit .* and 1 implausible"
    with pytest.warns(UserWarning, match=message) as caught:
        found = store.convert_units(units)
    assert len(caught) == 1
    assert found.codes == ["glucose", "glucose//drops", "other"]


def test_numbers_are_read_out_of_text():
    frame = pd.DataFrame(
        {
            "subject_id": [1] * 4,
            "time": NIGHT + pd.to_timedelta([1, 2, 3, 4], unit="h"),
            "code": ["crp"] * 4,
            "numeric_value": [np.nan, np.nan, 3.0, np.nan],
            "text_value": ["<0.5", "negative", "7", None],
        }
    )
    found = EventStore.from_frame(frame).read_text(parse_values).to_frame()
    read = parse_values(frame["text_value"])["numeric_value"].to_numpy(np.float32)
    wanted = [read[0], read[1], 3.0, np.nan]
    np.testing.assert_array_equal(found["numeric_value"], np.float32(wanted))
    assert found["text_value"][0] == "<0.5"


def test_report_counts():
    frame = table()
    frame.loc[::3, "numeric_value"] = np.nan
    report = EventStore.from_frame(frame).report()
    by_code = frame.groupby("code")
    assert report["n_events"].to_dict() == by_code.size().to_dict()
    assert report["n_subjects"].to_dict() == by_code["subject_id"].nunique().to_dict()
    assert report["n_values"].to_dict() == by_code["numeric_value"].count().to_dict()


def test_events_without_time_are_said_and_can_be_kept_or_dropped():
    frame = table()
    frame.loc[[4, 7], "time"] = pd.NaT
    with pytest.raises(ValueError, match=r"2 of 300 events \(row positions 4, 7\)"):
        EventStore.from_frame(frame)
    assert len(EventStore.from_frame(frame, no_time="drop").to_frame()) == 298
    kept = EventStore.from_frame(frame, no_time="static").to_frame()
    assert kept["time"].isna().sum() == 2


def test_infinite_values_are_counted():
    frame = table()
    frame.loc[:2, "numeric_value"] = np.inf
    with pytest.warns(UserWarning, match="3 infinite values in 300 events"):
        store = EventStore.from_frame(frame)
    assert store.to_frame()["numeric_value"].isna().sum() == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"code": None}, ValueError, r"must have the columns \['code'\]"),
        ({"time": "2024-01-01"}, TypeError, "must contain times"),
        ({"numeric_value": "<0.1"}, TypeError, "text_value if it contains text"),
        ({"subject_id": 1.5}, TypeError, "integers or text"),
        ({"code": 7}, TypeError, "'code' must contain text"),
    ],
)
def test_what_cannot_be_events(change, error, message):
    frame = table()
    for name, value in change.items():
        frame = (
            frame.drop(columns=name) if value is None else frame.assign(**{name: value})
        )
    with pytest.raises(error, match=message):
        EventStore.from_frame(frame)


def test_null_codes_and_ids_are_said():
    frame = table()
    for name in ("code", "subject_id"):
        broken = frame.astype({name: object})
        broken.loc[5, name] = None
        with pytest.raises(
            ValueError, match=rf"null in '{name}' in .*row positions 5\)"
        ):
            EventStore.from_frame(broken)
    text = frame.astype({"subject_id": str})
    text.loc[5, "subject_id"] = "nan"  # as numpy writes it
    with pytest.raises(ValueError, match=r"null in 'subject_id' in .*positions 5\)"):
        EventStore.from_frame(text)


def test_kinds_must_not_change_between_parts():
    with pytest.raises(TypeError, match="either text or integer, got both"):
        EventStore.from_frame([table(), table(ids=str)])
    aware = table()
    aware["time"] = aware["time"].dt.tz_localize("UTC")
    with pytest.raises(ValueError, match="time zone in some events"):
        EventStore.from_frame([table(), aware])
    mixed = table().assign(available_time=aware["time"])
    with pytest.raises(ValueError, match="one of the columns"):
        EventStore.from_frame(mixed)


def test_no_events_and_no_table_are_errors():
    with pytest.raises(ValueError, match="events must have at least 1 row, got 0"):
        EventStore.from_frame(table().iloc[:0])
    with pytest.raises(TypeError, match="events must be a table"):
        EventStore.from_frame([{"subject_id": 1}])
    with pytest.raises(ValueError, match="no_time must be one of"):
        EventStore.from_frame(table(), no_time="keep")
