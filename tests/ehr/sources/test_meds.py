from __future__ import annotations

import os

import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.ehr.sources import read_meds

pytest.importorskip("pyarrow")

EVENTS = pd.DataFrame(
    {
        "subject_id": [1, 1, 2],
        "time": pd.to_datetime(["2024-05-01 08:00", None, "2024-05-02 09:00"]),
        "code": ["LAB//a", "GENDER//F", "LAB//b"],
        "numeric_value": [1.0, None, 2.0],
        "hadm_id": [7, 8, 9],
    }
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "meds" / "data" / "train").mkdir(parents=True)
    for i in range(3):
        part = EVENTS.assign(subject_id=EVENTS["subject_id"] + 10 * i)
        part.to_parquet(tmp_path / "meds" / "data" / "train" / f"{i}.parquet")
    (tmp_path / "meds" / "metadata").mkdir()
    codes = pd.DataFrame({"code": ["LAB//a"]})
    codes.to_parquet(tmp_path / "meds" / "metadata" / "codes.parquet")
    return tmp_path / "meds"


def test_all_files_of_the_data_are_read(folder):
    events = pd.concat(read_meds(folder, chunk_size=2))
    assert sorted(events["subject_id"].unique()) == [1, 2, 11, 12, 21, 22]
    assert list(events.columns) == ["subject_id", "time", "code", "numeric_value"]
    store = EventStore.from_meds(folder, folder.parent / "store")
    assert len(store.to_frame()) == 9
    one = folder / "data" / "train" / "0.parquet"
    assert len(pd.concat(read_meds(one))) == 3


def test_a_file_that_is_cut_off_is_named_and_leaves_nothing(folder):
    victim = folder / "data" / "train" / "2.parquet"
    victim.write_bytes(victim.read_bytes()[:-40])
    target = folder.parent / "stores" / "store"
    with pytest.raises(ValueError, match=r"file 3 of 3 \(2.parquet\) is damaged"):
        EventStore.from_meds(folder, target)
    assert os.listdir(target.parent) == []


def test_missing_columns_and_files_are_said(folder, tmp_path):
    EVENTS.rename(columns={"time": "when"}).to_parquet(tmp_path / "events.parquet")
    with pytest.raises(ValueError, match=r"must have the columns \['time'\]"):
        list(read_meds(tmp_path / "events.parquet"))
    with pytest.raises(FileNotFoundError, match="without Parquet files"):
        list(read_meds(tmp_path / "nothing"))


def test_descriptions_are_the_names_of_codes(folder):
    codes = pd.DataFrame(
        {
            "code": ["LAB//a", "LAB//b", "LAB//none", "GENDER//F"],
            "description": ["Anion gap", "", "Of no event", None],
            "parent_codes": [["LOINC/1863-0"], [], [], []],
        }
    )
    codes.to_parquet(folder / "metadata" / "codes.parquet")
    for source in (folder, folder / "data", folder / "data" / "train" / "0.parquet"):
        store = EventStore.from_meds(source)
        assert store.labels.to_dict() == {"LAB//a": "Anion gap"}
    given = {"LAB//a": "Own name", "LAB//b": "B"}
    store = EventStore.from_meds(folder, labels=given)
    assert store.labels.to_dict() == {"LAB//a": "Own name", "LAB//b": "B"}


def test_names_that_cannot_be_read_are_said_and_the_events_are_read(folder):
    file = folder / "metadata" / "codes.parquet"
    file.write_bytes(b"PAR1 is not all of it")
    with pytest.warns(UserWarning, match="names of codes .* cannot be read"):
        store = EventStore.from_meds(folder)
    assert len(store.to_frame()) == 9
    assert store.labels.empty


def test_names_of_the_demo(skfusion_data, tmp_path):
    source = skfusion_data / "ehr" / "mimic4_demo_meds"
    if not source.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic4_demo_meds")
    store = EventStore.from_meds(source, tmp_path / "store")
    assert len(store.labels) == 820
    assert store.labels["DIAGNOSIS//ICD//10//E780"] == "Pure hypercholesterolemia"
