from __future__ import annotations

import warnings

import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.ehr.sources import read_mimic

pytest.importorskip("duckdb")
pytestmark = pytest.mark.filterwarnings("ignore:read_mimic. got no tables")

FOUR = {
    "hosp/patients": {
        "subject_id": [1, 2],
        "gender": ["F", "M"],
        "anchor_age": [60, 40],
        "anchor_year": [2150, 2160],
        "dod": [None, "2160-02-03"],
    },
    "hosp/admissions": {
        "subject_id": [1, 2],
        "hadm_id": [11, 12],
        "admittime": ["2150-03-01 10:00:00", "2160-02-01 09:00:00"],
        "dischtime": ["2150-03-05 12:00:00", "2160-02-03 18:00:00"],
        "deathtime": [None, "2160-02-03 17:30:00"],
        "admission_type": ["URGENT", "EW EMER."],
        "discharge_location": ["HOME", None],
        "race": ["WHITE", "ASIAN"],
    },
    "hosp/diagnoses_icd": {
        "subject_id": [1, 2],
        "hadm_id": [11, 12],
        "icd_code": ["4019 ", "I10"],
        "icd_version": [9, 10],
    },
    "hosp/labevents": {
        "subject_id": [1, 1],
        "itemid": [50912, 50912],
        "charttime": ["2150-03-01 11:00:00", "2150-03-02 06:00:00"],
        "storetime": ["2150-03-01 12:30:00", "2150-03-02 08:00:00"],
        "value": ["1.2", "<0.1"],
        "valuenum": [1.2, None],
        "valueuom": ["mg/dL", "mg/dL"],
    },
    "icu/icustays": {
        "subject_id": [2],
        "intime": ["2160-02-01 10:00:00"],
        "outtime": ["2160-02-02 10:00:00"],
        "first_careunit": ["MICU"],
        "last_careunit": ["SICU"],
    },
}


def write(folder, tables):
    for name, columns in tables.items():
        place = folder / f"{name}.csv.gz"
        place.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(columns).to_csv(place, index=False)
    return folder


@pytest.fixture
def four(tmp_path):
    return write(tmp_path / "mimiciv", FOUR)


def read(folder, **parameters):
    events = pd.concat(read_mimic(folder, **parameters), ignore_index=True)
    return events.set_index("code").sort_index()


def test_the_fourth_says_what_was_known_when(four):
    events = read(four)
    labs = events.loc["LAB//MIMIC//50912"]
    assert labs["numeric_value"].tolist()[0] == 1.2
    assert labs["text_value"].tolist()[1] == "<0.1"
    assert labs["available_time"].astype(str).str[:16].tolist() == [
        "2150-03-01 12:30",
        "2150-03-02 08:00",
    ]
    for code, time in (
        ("DIAGNOSIS//ICD9CM//4019", "2150-03-05 12:00"),
        ("DIAGNOSIS//ICD10CM//I10", "2160-02-03 18:00"),
        ("MEDS_DEATH", "2160-02-03 17:30"),
        ("ICU//MICU", "2160-02-01 10:00"),
        ("ICU_END//SICU", "2160-02-02 10:00"),
        ("DISCHARGE//HOME", "2150-03-05 12:00"),
    ):
        assert str(events.loc[code, "time"])[:16] == time
    births = events.loc["MEDS_BIRTH"]
    assert sorted(births["time"].dt.year) == [2090, 2120]
    assert len(events.loc[["GENDER//F", "GENDER//M"]]) == 2


def test_a_store_of_the_fourth(four, tmp_path):
    store = EventStore.from_mimic(four, tmp_path / "store", tables=["labevents"])
    assert store.codes == ["LAB//MIMIC//50912"]


THREE = {
    "PATIENTS": {
        "SUBJECT_ID": [1], "GENDER": ["F"], "DOB": ["2090-05-01 00:00:00"],
        "DOD": [None],
    },
    "ADMISSIONS": {
        "SUBJECT_ID": [1], "HADM_ID": [11],
        "ADMITTIME": ["2150-03-01 10:00:00"], "DISCHTIME": ["2150-03-05 12:00:00"],
        "DEATHTIME": [None], "ADMISSION_TYPE": ["URGENT"],
        "DISCHARGE_LOCATION": ["HOME"], "ETHNICITY": ["ASIAN"],
    },
    "D_LABITEMS": {"ITEMID": [50912, 1], "LOINC_CODE": ["2160-0", None]},
    "LABEVENTS": {
        "SUBJECT_ID": [1, 1, 1], "ITEMID": [50912, 50912, 1],
        "CHARTTIME": ["2150-03-01 11:00:00", "2150-03-02 06:00:00",
                      "2150-03-02 06:00:00"],
        "VALUE": ["1.2", "<0.1", "3"], "VALUENUM": [1.2, None, 3.0],
        "VALUEUOM": ["mg/dL", "mg/dL", None],
    },
    "CHARTEVENTS": {
        "SUBJECT_ID": [1, 1], "ITEMID": [220045, 227443],
        "CHARTTIME": ["2150-03-01 12:00:00", "2150-03-01 12:00:00"],
        "STORETIME": ["2150-03-01 12:20:00", "2150-03-01 13:00:00"],
        "VALUE": ["88", "alert"], "VALUENUM": [88.0, None], "VALUEUOM": ["bpm", None],
    },
    "INPUTEVENTS_CV": {
        "SUBJECT_ID": [1], "ITEMID": [30018], "CHARTTIME": ["2150-03-01 13:00:00"],
        "STORETIME": ["2150-03-01 14:00:00"], "AMOUNT": [250.0], "AMOUNTUOM": ["ml"],
    },
}  # fmt: skip


def test_laboratory_and_charts_of_the_third(tmp_path):
    events = read(write(tmp_path / "mimiciii", THREE))
    creatinine = events.loc["LAB//LOINC//2160-0"]
    assert creatinine["numeric_value"].tolist()[0] == 1.2
    assert creatinine["text_value"].tolist()[1] == "<0.1"
    assert creatinine["unit"].tolist() == ["mg/dL"] * 2
    assert events.loc["LAB//MIMIC//1", "numeric_value"] == 3.0
    for code, known in (
        ("VITAL//MIMIC//220045", "2150-03-01 12:20"),
        ("CHART//MIMIC//227443", "2150-03-01 13:00"),
        ("MEDICATION//INPATIENT//MIMIC//30018", "2150-03-01 14:00"),
    ):
        assert str(events.loc[code, "available_time"])[:16] == known
    assert events.loc["CHART//MIMIC//227443", "text_value"] == "alert"
    assert str(events.loc["RACE//ASIAN", "time"])[:16] == "2150-03-01 10:00"


def test_what_is_no_mimic(four, tmp_path):
    with pytest.raises(FileNotFoundError, match="got a missing folder"):
        list(read_mimic(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="got an unsupported table 'labs'"):
        list(read_mimic(four, tables=["labs"]))
    with pytest.raises(ValueError, match="a folder without the table 'omr'"):
        list(read_mimic(four, tables=["omr"]))
    neither = {**FOUR, "hosp/patients": {"subject_id": [1], "gender": ["F"]}}
    with pytest.raises(
        ValueError, match=r"'dob' \(MIMIC-III\) or 'anchor_age' \(MIMIC-IV\)"
    ):
        list(read_mimic(write(tmp_path / "neither", neither)))
    lacking = {**FOUR, "hosp/diagnoses_icd": {"subject_id": [1], "hadm_id": [11]}}
    with pytest.raises(
        ValueError, match=r"'diagnoses_icd' must have the columns \['icd_code'"
    ):
        list(read_mimic(write(tmp_path / "lacking", lacking)))


def test_the_third_has_the_rows_of_its_files(skfusion_data):
    folder = skfusion_data / "ehr" / "mimic3_demo"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic3_demo")
    stays = pd.read_csv(folder / "ADMISSIONS.csv.gz", dtype=str)["hadm_id"]
    for name, start in (
        ("diagnoses_icd", "DIAGNOSIS//ICD9CM//"),
        ("prescriptions", "MEDICATION//INPATIENT//"),
        ("outputevents", "OUTPUT//MIMIC//"),
    ):
        rows = pd.read_csv(folder / f"{name.upper()}.csv.gz", dtype=str)
        dated = {"prescriptions": "startdate", "outputevents": "charttime"}
        if name in dated:
            kept = rows[rows[dated[name]].notna()]
        else:  # when they were known is when the stay ended
            kept = rows[rows["hadm_id"].isin(stays)]
        lost = len(rows) - len(kept)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            events = pd.concat(read_mimic(folder, tables=[name]))
        assert len(events) == len(kept)
        assert any(f"dropped {lost} of" in str(w.message) for w in said) == (lost > 0)
        assert events["code"].str.startswith(start).all()
        assert set(events["subject_id"]) == set(kept["subject_id"].astype(int))


def three_with(folder, **tables):
    return write(folder, {**THREE, **tables})


def inputs(**columns):
    n = len(next(iter(columns.values())))
    start = "2150-03-01 11:00:00"
    table = {
        "SUBJECT_ID": [1] * n, "ITEMID": [221906] * n, "STARTTIME": [start] * n,
        "STORETIME": [start] * n, "AMOUNT": list(range(n)), "AMOUNTUOM": ["mg"] * n,
    }  # fmt: skip
    return {**table, **columns}


def test_rows_that_mimic_marks_as_wrong(tmp_path):
    status = ["FinishedRunning", "Rewritten", "rewritten ", "Stopped", "Paused"]
    charts = {
        **{name: column * 2 for name, column in THREE["CHARTEVENTS"].items()},
        "ERROR": [0, 1, None, "1.0"],
    }
    output = {
        "SUBJECT_ID": [1] * 3, "ITEMID": [40055] * 3, "VALUE": [10, 20, 30],
        "CHARTTIME": ["2150-03-01 12:00:00"] * 3, "VALUEUOM": ["ml"] * 3,
        "STORETIME": ["2150-03-01 12:00:00"] * 3, "ISERROR": [None, 1, 0],
    }  # fmt: skip
    folder = three_with(
        tmp_path,
        INPUTEVENTS_MV=inputs(
            STATUSDESCRIPTION=status, CANCELREASON=[0, 0, 0, 2, None]
        ),
        CHARTEVENTS=charts,
        OUTPUTEVENTS=output,
    )
    names = ["inputevents_mv", "chartevents", "outputevents"]
    counts: list = []
    with pytest.warns(UserWarning, match="are marked as rewritten") as said:
        events = read(folder, tables=names, dropped=counts)
    assert len(said) == 3
    reason = "are marked as rewritten, cancelled or wrong"
    assert [row[:4] for row in counts] == [
        ("chartevents", reason, 2, 1),
        ("inputevents_mv", reason, 3, 1),
        ("outputevents", reason, 1, 1),
    ]
    given = events.loc["MEDICATION//INPATIENT//MIMIC//221906", "numeric_value"]
    assert sorted(given) == [0, 4]
    assert sorted(events.loc["OUTPUT//MIMIC//40055", "numeric_value"]) == [10, 30]


def test_rows_of_the_demo_that_mimic_marks_as_wrong(skfusion_data):
    folder = skfusion_data / "ehr" / "mimic3_demo"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic3_demo")
    for name, n_wrong, n_rows in (
        ("inputevents_mv", 2_910, 13_224),
        ("procedureevents_mv", 26, 753),
    ):
        with pytest.warns(UserWarning, match=f"dropped {n_wrong} of {n_rows} rows"):
            events = read(folder, tables=[name])
        assert len(events) == n_rows - n_wrong
    assert (events.get("numeric_value", pd.Series(0.0)).fillna(0) >= 0).all()


def test_stays_are_joined_as_numbers_once_and_of_the_same_person(tmp_path):
    stays = {
        name: [*column, column[0]] for name, column in FOUR["hosp/admissions"].items()
    }
    stays["dischtime"][2] = "2150-03-04 12:00:00"  # repeats the first stay
    codes = {
        "subject_id": [1, 2, 2, 1],
        "hadm_id": ["11.0", "12", "11", "99"],
        "icd_code": ["4019", "I10", "I11", "I12"],
        "icd_version": [9, 10, 10, 10],
    }
    folder = write(
        tmp_path, {**FOUR, "hosp/admissions": stays, "hosp/diagnoses_icd": codes}
    )
    counts: list = []
    with pytest.warns(UserWarning, match="diagnoses|admissions") as said:
        events = read(folder, tables=["diagnoses_icd"], dropped=counts)
    assert "1 rows of admissions repeat another one" in str(said[0].message)
    assert [row[:4] for row in counts] == [
        ("diagnoses_icd", "have no stay in admissions", 2, 2)
    ]
    assert events["time"].astype(str).str[:16].to_dict() == {
        "DIAGNOSIS//ICD9CM//4019": "2150-03-05 12:00",
        "DIAGNOSIS//ICD10CM//I10": "2160-02-03 18:00",
    }


def test_laboratory_items_that_are_repeated_do_not_multiply_events(tmp_path):
    items = {"ITEMID": ["50912.0", 50912, 1], "LOINC_CODE": ["2160-0", "2160-0", None]}
    folder = three_with(tmp_path, D_LABITEMS=items)
    with pytest.warns(UserWarning, match="1 rows of d_labitems repeat another one"):
        events = read(folder, tables=["labevents"])
    assert len(events) == 3
    assert len(events.loc["LAB//LOINC//2160-0"]) == 2


def test_versions_of_icd_are_numbers(tmp_path):
    codes = {
        "subject_id": [1] * 4, "hadm_id": [11] * 4,
        "icd_code": ["E849", "I10", "J18", "K35"],
        "icd_version": ["9.0", "10", None, 11],
    }  # fmt: skip
    folder = write(tmp_path, {**FOUR, "hosp/diagnoses_icd": codes})
    with pytest.warns(
        UserWarning, match="dropped 2 of 4 rows: 2 have an unknown icd_v"
    ):
        events = read(folder, tables=["diagnoses_icd"])
    assert sorted(events.index) == [
        "DIAGNOSIS//ICD10CM//I10",
        "DIAGNOSIS//ICD9CM//E849",
    ]


@pytest.mark.parametrize("stay", ["99", None])
def test_procedures_of_unknown_stays_are_late(tmp_path, stay):
    codes = {
        "subject_id": [1, 1], "hadm_id": [11, stay], "chartdate": ["2150-03-02"] * 2,
        "icd_code": ["0016070", "0016071"], "icd_version": [10, 10],
    }  # fmt: skip
    folder = write(tmp_path, {**FOUR, "hosp/procedures_icd": codes})
    with pytest.warns(UserWarning, match="procedures_icd: 1 events have no store time"):
        events = read(folder, tables=["procedures_icd"])
    known = events.sort_index()["available_time"]
    assert known.dt.year.tolist() == [2150, 9999]
    with pytest.warns(UserWarning, match="which may be too early"):
        events = read(
            folder, tables=["procedures_icd"], unknown_availability="event_time"
        )
    assert events["available_time"].isna().tolist() == [False, True]


def test_results_without_a_store_time_are_late(tmp_path):
    labs = {**FOUR["hosp/labevents"], "storetime": [None, "2150-03-02 08:00:00"]}
    folder = write(tmp_path, {**FOUR, "hosp/labevents": labs})
    with pytest.warns(UserWarning, match="labevents: 1 events have no store time"):
        events = read(folder, tables=["labevents"])
    assert sorted(events["available_time"].dt.year) == [2150, 9999]


def test_results_in_comments(tmp_path):
    time = "2150-03-01 11:00:00"
    labs = {
        "subject_id": [1] * 6, "itemid": [51466] * 6, "charttime": [time] * 6,
        "storetime": [time] * 6, "valuenum": [None, None, None, None, None, 5.0],
        "value": ["POS", None, "___", None, None, "5"], "valueuom": [None] * 6,
        "comments": ["x", "NEG.", "Not detected", "___", "A long remark.", "NEG."],
    }  # fmt: skip
    folder = write(tmp_path, {**FOUR, "hosp/labevents": labs})
    texts = ["POS", "NEG.", "Not detected", "", "A long remark.", ""]
    events = read(folder, tables=["labevents"])
    assert events["text_value"].fillna("").tolist() == texts
    assert set(events.index) == {"LAB//MIMIC//51466"}
    coded = pd.concat(read_mimic(folder, tables=["labevents"], qualitative="code"))
    suffixes = coded["code"].str.removeprefix("LAB//MIMIC//51466").tolist()
    assert suffixes == ["//POSITIVE", "//NEGATIVE", "//NEGATIVE", "", "", ""]


def test_results_in_comments_of_the_demo(skfusion_data):
    folder = skfusion_data / "ehr" / "mimic4_demo"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic4_demo")
    with pytest.warns(UserWarning, match="labevents: 992 events have no store time"):
        events = read(folder, tables=["labevents"])
    assert len(events) == 107_727
    assert (events["text_value"] == "NEG.").sum() == 1_920
    with pytest.warns(UserWarning, match="labevents: 992 events"):
        coded = read(folder, tables=["labevents"], qualitative="code")
    assert coded.index.str.endswith("//NEGATIVE").sum() > 2_200
    assert len(coded) == 107_727


def test_missing_tables_are_named_once(four):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        list(read_mimic(four))
    (message,) = [str(w.message) for w in said]
    assert message.startswith("read_mimic: got no tables chartevents, drgcodes,")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(read_mimic(four, tables=["labevents"]))


def test_births_of_the_fourth_are_in_the_middle_of_the_year(four):
    births = read(four, tables=["patients"]).loc["MEDS_BIRTH", "time"]
    assert births.astype(str).str[5:10].tolist() == ["07-01", "07-01"]


NAMES_OF_FOUR = {
    "hosp/d_labitems": {
        "itemid": [50912, 50868],
        "label": ["Creatinine", "Anion Gap"],
        "fluid": ["Blood", "Blood"],
    },
    "hosp/d_icd_diagnoses": {
        "icd_code": ["4019", "I10 ", "I10", "A00"],
        "icd_version": [9, 10, 9, 10],
        "long_title": ["Hypertension, unspecified", "Primary hypertension", "no", "x"],
    },
    "icu/d_items": {
        "itemid": [226559, 220045, 225158, 221906],
        "label": ["Foley", " Heart Rate ", None, "Norepinephrine"],
    },
    "icu/outputevents": {
        "subject_id": [1], "itemid": [226559], "value": [10],
        "charttime": ["2150-03-01 12:00:00"], "storetime": ["2150-03-01 12:00:00"],
        "valueuom": ["mL"],
    },
    "hosp/hcpcsevents": {
        "subject_id": [1, 1], "hadm_id": [11, 11], "hcpcs_cd": ["G0378", "99219"],
        "chartdate": ["2150-03-01"] * 2,
        "short_description": ["Observation per hr", "Observation care"],
    },
    "hosp/drgcodes": {
        "subject_id": [1], "hadm_id": [11], "drg_type": ["APR"], "drg_code": ["194"],
        "description": ["HEART FAILURE"],
    },
}  # fmt: skip
EXPECTED_OF_FOUR = {
    "LAB//MIMIC//50912": "Creatinine",
    "DIAGNOSIS//ICD9CM//4019": "Hypertension, unspecified",
    "DIAGNOSIS//ICD10CM//I10": "Primary hypertension",
    "OUTPUT//MIMIC//226559": "Foley",
    "PROCEDURE//HCPCS//G0378": "Observation per hr",
    "PROCEDURE//HCPCS//99219": "Observation care",
    "DRG//APR//194": "HEART FAILURE",
}


@pytest.mark.parametrize("ending", ["csv.gz", "parquet"])
def test_names_of_the_dictionaries_of_the_fourth(tmp_path, ending):
    tables = {**FOUR, **NAMES_OF_FOUR}
    folder = write(tmp_path / "mimiciv", tables)
    if ending == "parquet":
        for name in NAMES_OF_FOUR:
            pd.DataFrame(tables[name]).to_parquet(folder / f"{name}.parquet")
            (folder / f"{name}.csv.gz").unlink()
    store = EventStore.from_mimic(folder, tmp_path / "store")
    assert store.labels.to_dict() == EXPECTED_OF_FOUR
    plain = EventStore.from_mimic(write(tmp_path / "plain", FOUR))
    assert plain.labels.empty
    assert set(plain.codes) < set(store.codes)


def test_a_dictionary_of_hcpcs_counts_before_descriptions_of_events(tmp_path):
    names = {
        "code": ["G0378"], "short_description": [None],
        "long_description": ["Hospital observation service, per hour"],
    }  # fmt: skip
    tables = {**FOUR, **NAMES_OF_FOUR, "hosp/d_hcpcs": names}
    store = EventStore.from_mimic(write(tmp_path / "a", tables))
    assert store.labels["PROCEDURE//HCPCS//G0378"] == names["long_description"][0]
    assert store.labels["PROCEDURE//HCPCS//99219"] == "Observation care"


def test_answers_follow_the_names(tmp_path):
    labs = {**FOUR["hosp/labevents"], "value": ["NEG.", "positive"]}
    labs["valuenum"] = [None, None]
    tables = {**FOUR, **NAMES_OF_FOUR, "hosp/labevents": labs}
    store = EventStore.from_mimic(write(tmp_path / "a", tables), qualitative="code")
    assert store.labels["LAB//MIMIC//50912//NEGATIVE"] == "Creatinine: NEGATIVE"
    assert store.labels["LAB//MIMIC//50912//POSITIVE"] == "Creatinine: POSITIVE"


def test_names_of_the_third(tmp_path):
    tables = {
        **THREE,
        "D_LABITEMS": {**THREE["D_LABITEMS"]},
        "D_ITEMS": {
            "ITEMID": [220045, 227443, 30018], "LABEL": ["HR", "Bicarbonate", "NaCl"],
        },
    }  # fmt: skip
    n_items = len(tables["D_LABITEMS"]["ITEMID"])
    tables["D_LABITEMS"]["LABEL"] = [f"Lab {i}" for i in range(n_items)]
    store = EventStore.from_mimic(write(tmp_path / "three", tables))
    assert store.labels["VITAL//MIMIC//220045"] == "HR"
    assert store.labels["CHART//MIMIC//227443"] == "Bicarbonate"
    assert store.labels["MEDICATION//INPATIENT//MIMIC//30018"] == "NaCl"
    assert store.labels["LAB//LOINC//2160-0"].startswith("Lab ")


@pytest.mark.parametrize("place", ["header", "end"])
def test_a_damaged_dictionary_is_said_and_events_are_read(tmp_path, place):
    folder = write(tmp_path / "four", {**FOUR, **NAMES_OF_FOUR})
    file = folder / "hosp" / "d_icd_diagnoses.csv.gz"
    content = file.read_bytes()
    file.write_bytes(b"no gzip" if place == "header" else content[:-30])
    with pytest.warns(UserWarning, match="no names") as said:
        store = EventStore.from_mimic(folder, tmp_path / "store")
    assert sum("no names" in str(w.message) for w in said) == 1
    assert "DIAGNOSIS//ICD10CM//I10" in store.codes
    assert "DIAGNOSIS//ICD10CM//I10" not in store.labels
    assert store.labels["OUTPUT//MIMIC//226559"] == "Foley"


def test_a_source_is_read_twice(four, tmp_path):
    first, again = (EventStore.from_mimic(four, tmp_path / "store") for _ in range(2))
    assert first == again
    assert first.path == again.path


def test_tables_without_events_are_in_the_quality_report(four, tmp_path):
    write(four, {"hosp/emar": {"subject_id": [1]}, "hosp/d_new": {"itemid": [1]}})
    parts = four / "hosp" / "poe"
    parts.mkdir()
    for number in range(2):
        (parts / f"part-{number}.csv").write_text("subject_id\n1\n" * 2)
    (four / "icu" / "caregiver.csv").write_text("caregiver_id\n1\n")
    sizes = {path.name: path.stat().st_size for path in four.rglob("*.csv*")}
    total = sum(sizes.values())
    shares = (2 * sizes["part-0.csv"] / total, sizes["emar.csv.gz"] / total)
    listed = r"poe \({:.1%}\), emar \({:.1%}\)\. Set".format(*shares)
    match = rf"did not read 2 tables with {sum(shares):.1%} of the bytes .*: {listed}"
    with pytest.warns(UserWarning, match=match):
        store = EventStore.from_mimic(four, tmp_path / "store")
    found = store.quality().frame.set_index("reason")["table"]
    assert "chartevents" in set(found["the source has no such table"])
    assert "labevents" not in set(found["the source has no such table"])
    assert set(found["the table was not read"]) == {"emar", "poe"}
    said = str(store.quality())
    assert "the table was not read: emar, poe\n" in said
    chosen = EventStore.from_mimic(four, tmp_path / "labs", tables=["labevents"])
    assert "emar" not in str(chosen.quality())


def test_names_and_tables_of_the_demo(skfusion_data, tmp_path):
    folder = skfusion_data / "ehr" / "mimic4_demo"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic4_demo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is left out is tested above
        store = EventStore.from_mimic(folder, tmp_path / "store")
    assert store.labels["LAB//MIMIC//50868"] == "Anion Gap"
    shares = store.report()["label"].notna().groupby(lambda code: code.split("//")[0])
    named = shares.mean()
    assert (named[["LAB", "DIAGNOSIS", "PROCEDURE", "OUTPUT", "DRG"]] == 1).all()
    assert set(store.labels.index) <= set(store.codes)
    found = store.quality().frame.set_index("reason")["table"]
    assert found["the source has no such table"] == "chartevents"
    assert {"emar", "transfers"} <= set(found["the table was not read"])
