"""Stays in a store of events: what is kept, refused, found damaged and passed on."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows
from skfusion.ehr.events.stay_table import STAY_FILES


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def times(*texts):
    return pd.to_datetime(list(texts), format="ISO8601")


def events(subjects=(1, 2), **columns):
    made = pd.DataFrame(
        {
            "subject_id": subjects,
            "time": pd.Timestamp("2024-05-01 10:20"),
            "code": "LAB//a",
            "numeric_value": 1.0,
        }
    )
    return made.assign(**columns)


def stays(**columns):
    made = {
        "stay_id": [10, 11, 12],
        "subject_id": [1, 2, 2],
        "kind": ["hospital", "observation", "icu"],
        "start": times("2024-05-01 08:00", "2024-05-02 09:30", "2024-05-02 10:00"),
        "end": times("2024-05-04 12:00", "2024-05-03 09:00", "2024-05-02 22:00"),
        "parent_id": pd.array([None, None, 11], dtype="Int64"),
        "died": pd.array([True, False, None], dtype="boolean"),
        "discharged_to": ["died", "home", None],
        "source_kind": ["URGENT", "OBS", "MICU"],
        "source_discharge": ["DIED", "HOME", None],
    }
    return pd.DataFrame(made | columns)


def test_a_table_comes_back_as_it_was(tmp_path):
    given = stays()
    store = EventStore.from_frame(events(), tmp_path / "store", stays=given)
    found = store.stays()
    assert list(found["stay_id"]) == [10, 11, 12]
    assert found["stay_id"].dtype == found["subject_id"].dtype == np.int64
    assert found["start"].tolist() == given["start"].tolist()
    assert found["end"].tolist() == given["end"].tolist()
    assert found["parent_id"].isna().tolist() == [True, True, False]
    assert found["parent_id"][2] == 11
    assert found["died"].tolist() == [True, False, pd.NA]
    for name in ("kind", "source_kind"):
        assert found[name].tolist() == given[name].tolist()
    for name in ("discharged_to", "source_discharge"):
        assert found[name].dropna().tolist() == given[name].dropna().tolist()
        assert found[name].isna().tolist() == [False, False, True]


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63) + 1, 2**53 + 1])
def test_ids_of_64_bits_are_kept(edge):
    given = stays(stay_id=[edge, edge - 1, 12], parent_id=[None, None, edge])
    given["parent_id"] = pd.array([None, None, edge], dtype="Int64")
    found = EventStore.from_frame(events(), stays=given).stays()
    assert found["stay_id"].tolist()[0] == edge
    assert found["parent_id"][2] == edge


def test_ids_of_text_and_open_stays():
    given = stays(
        stay_id=["ä-1", "b", "c"],
        subject_id=["x", "y", "y"],
        parent_id=[None, None, "elsewhere"],
        end=times("2024-05-04 12:00", "2024-05-03 09:00", "2024-05-02 22:00"),
    )
    given.loc[1, "end"] = pd.NaT
    store = EventStore.from_frame(events(subjects=["x", "y"]), stays=given)
    found = store.stays()
    assert found["stay_id"].tolist() == ["ä-1", "b", "c"]
    assert found["parent_id"][2] == "elsewhere"
    assert found["end"].isna().tolist() == [False, True, False]


def test_only_the_first_four_columns_are_required():
    given = stays()[["stay_id", "subject_id", "start", "end"]]
    found = EventStore.from_frame(events(), stays=given).stays()
    assert found["kind"].tolist() == ["hospital"] * 3
    for name in ("died", "discharged_to", "parent_id", "source_kind"):
        assert found[name].isna().all()


def test_kinds_are_chosen_and_a_hospital_observes():
    store = EventStore.from_frame(events(), stays=stays())
    assert store.stays("hospital")["stay_id"].tolist() == [10, 11]
    assert store.stays("observation")["stay_id"].tolist() == [11]
    assert store.stays(["icu", "observation"])["stay_id"].tolist() == [11, 12]
    assert store.stays("emergency").empty
    with pytest.raises(ValueError, match="kind must be one of .*'hospitl'.*hospital"):
        store.stays("hospitl")


def test_a_store_without_stays_says_where_they_come_from():
    store = EventStore.from_frame(events())
    with pytest.raises(ValueError, match="without stays.*from_meds or from_frame"):
        store.stays()


def test_stays_are_no_part_of_the_features():
    X = pd.DataFrame({"subject_id": [1, 2], "index_time": pd.Timestamp("2024-05-03")})
    plain, full = (
        EventWindows(EventStore.from_frame(events(), stays=given), min_subjects=1)
        for given in (None, stays())
    )
    np.testing.assert_array_equal(plain.fit_transform(X), full.fit_transform(X))


def test_stays_are_a_part_of_the_identity():
    plain, full = (EventStore.from_frame(events(), stays=s) for s in (None, stays()))
    again = EventStore.from_frame(events(), stays=stays())
    other = EventStore.from_frame(events(), stays=stays(died=[False, False, None]))
    assert full == again
    assert full.path == again.path
    assert len({plain, full, other}) == 3
    assert other.stays()["died"].tolist() == [False, False, pd.NA]


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.with_lags({"LAB//": "2h"}),
        lambda store: store.map_codes({"LAB//a": "LAB//b"}),
        lambda store: store.read_text(lambda texts: pd.DataFrame()),
        lambda store: store.with_time_zone("Europe/Berlin"),
    ],
    ids=["lags", "codes", "text", "zone"],
)
def test_changed_stores_keep_the_stays(change):
    zoned = {name: stays()[name].dt.tz_localize("UTC") for name in ("start", "end")}
    made = events(time=pd.Timestamp("2024-05-01 10:20", tz="UTC"))
    store = EventStore.from_frame(made, stays=stays(**zoned))
    changed = change(store)
    pd.testing.assert_frame_equal(changed.stays(), store.stays())
    changed.verify()


def test_times_with_a_zone_are_moments():
    zoned = {
        name: stays()[name].dt.tz_localize("America/New_York")
        for name in ("start", "end")
    }
    made = events(time=pd.Timestamp("2024-05-01 10:20", tz="Europe/Berlin"))
    found = EventStore.from_frame(made, stays=stays(**zoned)).stays()
    assert found["start"][0] == pd.Timestamp("2024-05-01 12:00", tz="UTC")
    with pytest.raises(ValueError, match="time zone in only one of events and stays"):
        EventStore.from_frame(made, stays=stays())
    with pytest.raises(ValueError, match="time zone in only one of events and stays"):
        EventStore.from_frame(events(), stays=stays(**zoned))
    with pytest.raises(ValueError, match="only one of the columns 'start' and 'end'"):
        EventStore.from_frame(made, stays=stays(start=zoned["start"]))


BAD = {
    "repeated": ({"stay_id": [10, 12, 12]}, "1 of 3 stays with the id of another stay"),
    "end before start": (
        {"end": times("2024-04-30", "2024-05-03 09:00", "2024-05-02 22:00")},
        r"1 of 3 stays with an end before the start \(row positions 0\)",
    ),
    "no subject": (
        {"subject_id": pd.array([1, None, 2], dtype="Int64")},
        "1 of 3 stays with no subject_id",
    ),
    "text of a null": ({"subject_id": ["1", "nan", ""]}, "2 of 3 stays with no subj"),
    "no id": ({"stay_id": [None, "b", None]}, "2 of 3 stays with no stay_id"),
    "no start": (
        {"start": times("2024-05-01", "2024-05-01", None)},
        "1 of 3 stays with no start",
    ),
    "kind": (
        {"kind": ["ward", "icu", "icu"]},
        "kind of stays has 1 of 3 cells other than 'hospital'",
    ),
    "destination": (
        {"discharged_to": ["HOME", "home", None]},
        "discharged_to of stays has 1 of 3 cells other than .*source_discharge",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("columns", "message"), BAD.values(), ids=BAD)
def test_bad_stays_are_counted_and_nothing_is_written(tmp_path, columns, message):
    given = stays(**columns)
    if "stay_id" in columns:
        given["kind"], given["parent_id"] = "hospital", None
    with pytest.raises(ValueError, match=message):
        EventStore.from_frame(events(), tmp_path / "store", stays=given)
    assert not (tmp_path / "store").exists()


def test_types_are_named():
    with pytest.raises(TypeError, match="column 'end' of stays must contain times"):
        EventStore.from_frame(events(), stays=stays(end=["x", "y", "z"]))
    with pytest.raises(TypeError, match="text or integers in both the events and the"):
        EventStore.from_frame(events(), stays=stays(subject_id=["1", "2", "2"]))
    with pytest.raises(TypeError, match="died of stays must be True, False"):
        EventStore.from_frame(events(), stays=stays(died=["yes", "no", None]))
    with pytest.raises(ValueError, match=r"must have the columns \['stay_id'\]"):
        EventStore.from_frame(events(), stays=stays().rename(columns={"stay_id": "id"}))


def test_stays_of_strangers_are_counted():
    with pytest.warns(UserWarning, match="1 of 3 stays of subjects without events"):
        EventStore.from_frame(events(), stays=stays(subject_id=[1, 2, 3]))


def test_stays_may_be_numbered_by_patient():
    given = stays(stay_id=[1, 1, 1], parent_id=pd.array([None, None, 1], "Int64"))
    found = EventStore.from_frame(events(), stays=given).stays()
    assert found["subject_id"].tolist() == [1, 2, 2]
    assert found["stay_id"].tolist() == [1, 1, 1]


def test_the_same_id_of_a_part_and_of_a_whole_stay():
    given = stays(
        stay_id=[10, 10, 10],
        kind=["hospital", "icu", "icu"],
        parent_id=pd.array([None, None, 10], dtype="Int64"),
    )
    assert len(EventStore.from_frame(events(), stays=given).stays()) == 3


@pytest.mark.parametrize("name", STAY_FILES)
def test_damage_is_found_and_heals(tmp_path, name):
    store = EventStore.from_frame(events(), tmp_path / "store", stays=stays())
    file = tmp_path / "store" / name
    state = file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ValueError, match="changed since they were written"):
        store.verify()
    file.write_bytes(content[:-3])
    with pytest.raises(ValueError, match="changed since they were written"):
        store.stays()
    file.unlink()
    with pytest.raises(ValueError, match="changed since they were written"):
        store.stays()
    healed = EventStore.from_frame(events(), tmp_path / "store", stays=stays())
    assert len(healed.stays()) == 3
    healed.verify()


def test_a_copied_folder_and_a_pickle_keep_the_stays(tmp_path):
    store = EventStore.from_frame(events(), tmp_path / "store", stays=stays())
    shutil.copytree(tmp_path / "store", tmp_path / "copy", copy_function=shutil.copy)
    copied = EventStore(tmp_path / "copy", store.fingerprint)
    pd.testing.assert_frame_equal(copied.stays(), store.stays())
    sent = pickle.dumps(store)
    assert len(sent) < 500
    pd.testing.assert_frame_equal(pickle.loads(sent).stays(), store.stays())


def test_stores_without_stays_keep_their_folder(tmp_path):
    """A store of an earlier version has no key of stays in its description."""
    store = EventStore.from_frame(events(), tmp_path / "store")
    assert "stays" not in (tmp_path / "store" / "words.json").read_text()
    assert not {*STAY_FILES} & {path.name for path in store.path.iterdir()}
