"""The data-quality report finds what was planted, and the known faults of real data."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.ehr.events.quality import quality_report

START = pd.Timestamp("2024-01-01 08:00")


def events(rows: list[tuple]) -> pd.DataFrame:
    names = ["subject_id", "time", "code", "numeric_value", "unit", "text_value"]
    return pd.DataFrame(rows, columns=names)


def findings(rows: list[tuple], **columns) -> dict[tuple[str, str], tuple[int, int]]:
    store = EventStore.from_frame(events(rows).assign(**columns))
    frame = store.quality().frame
    return {
        (table, reason): (n_rows, n_subjects)
        for table, reason, n_rows, n_subjects, _ in frame.itertuples(index=False)
    }


def test_planted_faults_are_found():
    crp = "LAB//LOINC//1988-5"
    ph = "LAB//LOINC//2744-1"
    found = findings(
        [
            (1, START, crp, 3.0, "mg/L", None),
            (1, START, crp, 3.0, "mg/L", None),  # a copy
            (1, START, crp, 4.0, "mg/L", None),
            (2, START, crp, 5.0, "mg/dL", None),
            (2, START, ph, 7.4, "N/A", None),
            (2, START, ph, 74.0, None, None),
            (2, START, "LAB//OMOP//0", np.nan, None, "N/A"),
            (2, START, "LAB//OMOP//0", 2.0, "drops", "pos"),
            (2, START + pd.Timedelta("40D"), "VISIT//IMP", np.nan, None, None),
            (2, START - pd.Timedelta("9D"), "MEDS_BIRTH", np.nan, None, None),
            (2, START - pd.Timedelta("20D"), "VISIT//IMP", np.nan, None, None),
            (2, START + pd.Timedelta("9D"), "MEDS_DEATH", np.nan, None, None),
        ]
    )
    expected = {
        ("LAB", "exact duplicates"): (1, 1),
        ("LAB", f"{crp} is in 2 units: mg/L 3, mg/dL 1"): (1, 1),
        ("LAB", "the unit is 'N/A'"): (1, 1),
        ("LAB", "the text is 'N/A'"): (1, 1),
        ("LAB", "the unit is not known"): (1, 1),
        ("LAB", f"{ph} is outside of plausible bounds"): (1, 1),
        ("LAB", "the code is of the source itself and of no vocabulary"): (2, 1),
        ("subjects", "no time of birth"): (1, 1),
        ("VISIT", "more than a day before the birth"): (1, 1),
        ("VISIT", "more than a day after the death"): (1, 1),
    }
    assert {key: found.get(key) for key in expected} == expected


def test_spellings_of_one_unit_are_one_unit():
    found = findings(
        [
            (1, START, "LAB//a", 3.0, "K/uL", None),
            (1, START, "LAB//a", 4.0, "10*9/L", None),
        ]
    )
    assert not any("units" in reason for _, reason in found)


def test_availability_and_dates():
    rows = [(n, START, "LAB//a", 1.0, None, None) for n in range(4)]
    late = [START + pd.Timedelta("1h"), None, None, START + pd.Timedelta("2h")]
    found = findings(rows, available_time=late)
    unknown = "no time of availability, so that the time of the event is used"
    assert found["LAB", unknown] == (2, 2)
    days = [(n, START.normalize(), "DX//a", 1.0, None, None) for n in range(4)]
    found = findings(days)
    assert found["DX", "a date without a time, moved to the end of its day"] == (4, 4)


def test_months_without_events():
    days = pd.date_range("2020-01-01", "2021-12-31", freq="3D")
    days = days[(days < "2020-06-01") | (days >= "2020-08-01")]
    rows = [(1, day + pd.Timedelta("9h"), "LAB//a", 1.0, None, None) for day in days]
    assert any("2 of 2" in r and "months without" in r for _, r in findings(rows))


def test_a_clean_store_and_a_large_one():
    rows = [
        (1, START - pd.Timedelta("900D"), "MEDS_BIRTH", np.nan, None, None),
        (1, START, "LAB//LOINC//1988-5", 1.0, "mg/L", None),
    ]
    clean = EventStore.from_frame(events(rows).assign(available_time=START))
    assert str(clean.quality()) == "2 events of 1 subjects. No findings."
    codes = [(f"LAB//{n}", unit) for n in range(60) for unit in "ab"]
    many = [(1, START, code, 1.0, unit, None) for code, unit in codes]
    text = str(EventStore.from_frame(events(many)).quality())
    assert len(text.splitlines()) <= 42
    assert "more findings in the frame" in text


def test_duplicates_across_parts(monkeypatch):
    monkeypatch.setattr("skfusion.ehr.events.quality._CHUNK", 3)
    rows = [(n // 5, START, "LAB//a", float(n // 2), None, None) for n in range(20)]
    whole = events(rows).duplicated().sum()
    assert findings(rows)["LAB", "exact duplicates"][0] == whole


def test_losses_of_reading_come_first():
    store = EventStore.from_frame(events([(1, START, "LAB//a", 1.0, None, None)]))
    report = quality_report(store.files, [("labevents", "have no time", 3, 2, 12)])
    first = report.frame.iloc[0]
    assert first.tolist() == ["labevents", "have no time", 3, 2, 0.25]


def test_real_mimic(skfusion_data, tmp_path):
    folder = skfusion_data / "ehr" / "mimic4_demo"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic4_demo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tables that are not read
        store = EventStore.from_mimic(folder, path=tmp_path / "store")
    frame = store.quality().frame
    n_copies = frame[frame["reason"] == "exact duplicates"]["n_rows"].sum()
    # 2,616 rows of the tables, of which one pair differs in its comments
    assert n_copies == 2615
    assert frame[frame["reason"] == "the unit is 'N/A'"]["n_rows"].sum() == 2161
    mchc = frame[
        frame["reason"].str.contains("LAB//MIMIC//51249) is in 2 units", regex=False)
    ]
    assert mchc["n_rows"].tolist() == [1205]
    assert list(frame.columns) == ["table", "reason", "n_rows", "n_subjects", "share"]
    assert frame["share"].between(0, 1).all()
    left_out = frame[frame["table"].isin(["labevents", "prescriptions"])]
    assert (left_out["n_rows"] > 0).all()
    again = EventStore(store.path).quality()
    pd.testing.assert_frame_equal(again.frame, frame)


def test_losses_of_a_source_are_kept_with_the_store(tmp_path):
    folder = tmp_path / "omop"
    folder.mkdir()
    person = {"person_id": [1, 2], "gender_concept_id": 8532, "year_of_birth": 1950}
    pd.DataFrame(person).to_csv(folder / "person.csv", index=False)
    death = {"person_id": [1, None], "death_date": ["2020-01-01", "2020-01-02"]}
    pd.DataFrame(death).to_csv(folder / "death.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the row without a person
        store = EventStore.from_omop(folder, path=tmp_path / "store")
    frame = EventStore(store.path).quality().frame
    lost = frame[frame["table"] == "death"]
    assert lost[["reason", "n_rows", "share"]].values.tolist() == [
        ["have no subject", 1, 0.5]
    ]
