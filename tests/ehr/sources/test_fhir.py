"""FHIR bulk exports, written here line by line, beside what each line says."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows, TabularEncoder
from skfusion.ehr import Demographics, parse_values
from skfusion.ehr.sources import fhir_files, read_fhir

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def concept(system: str, code: str) -> dict:
    return {"coding": [{"system": system, "code": code}]}


def resource(kind: str, subject: str | None = "p1", **elements) -> dict:
    made = {"resourceType": kind, **elements}
    if subject is not None:
        made["subject"] = {"reference": f"Patient/{subject}"}
    return made


def observation(code: str, time: str, category: str = "laboratory", **elements) -> dict:
    return resource(
        "Observation",
        status="final",
        category=[{"coding": [{"code": category}]}],
        code=concept(LOINC, code),
        effectiveDateTime=time,
        **elements,
    )


def write(folder, **files) -> None:
    for name, resources in files.items():
        text = "\n".join(json.dumps(part) for part in resources)
        (folder / f"{name}.ndjson").write_text(text + "\n")


def read(folder, **options) -> pd.DataFrame:
    return pd.concat(read_fhir(folder, **options), ignore_index=True)


def one(tmp_path, made: dict, **options) -> pd.Series:
    write(tmp_path, file=[made])
    events = read(tmp_path, **options)
    assert len(events) == 1
    return events.iloc[0]


def utc(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


# ---------------------------------------------------------------- each kind


def test_a_laboratory_value(tmp_path):
    found = one(
        tmp_path,
        observation(
            "718-7",
            "2024-05-01T08:00:00+02:00",
            issued="2024-05-01T09:30:00.123+02:00",
            valueQuantity={"value": 13.1, "unit": "g/dl", "code": "g/dL"},
        ),
    )
    assert found["subject_id"] == "p1"
    assert found["code"] == "LAB//LOINC//718-7"
    assert found["numeric_value"] == 13.1
    assert found["unit"] == "g/dL"
    assert found["time"] == utc("2024-05-01 06:00")
    assert found["available_time"] == utc("2024-05-01 07:30:00.123")


@pytest.mark.parametrize(
    ("value", "number", "text"),
    [
        ({"valueQuantity": {"value": 0.1, "comparator": "<"}}, None, "<0.1"),
        ({"valueInteger": 3}, 3.0, None),
        ({"valueBoolean": True}, 1.0, None),
        ({"valueString": "clear"}, None, "clear"),
        (
            {"valueCodeableConcept": concept(SNOMED, "10828004")},
            None,
            "SNOMED//10828004",
        ),
        ({}, None, None),
    ],
)
def test_values(tmp_path, value, number, text):
    found = one(tmp_path, observation("1-1", "2024-05-01T08:00:00Z", **value))
    assert (pd.isna(found["numeric_value"]) and number is None) or (
        found["numeric_value"] == number
    )
    assert (pd.isna(found["text_value"]) and text is None) or found[
        "text_value"
    ] == text


def test_components_are_events_and_their_panel_is_none(tmp_path):
    pressure = observation(
        "85354-9",
        "2024-05-01T08:00:00Z",
        "vital-signs",
        valueQuantity={},
        interpretation=[concept("http://hl7.org/fhir/v2/0078", "H")],
        component=[
            {"code": concept(LOINC, "8480-6"), "valueQuantity": {"value": 120}},
            {"code": concept(LOINC, "8462-4"), "valueQuantity": {"value": 80}},
        ],
    )
    write(tmp_path, file=[pressure])
    events = read(tmp_path).set_index("code")["numeric_value"]
    assert events.to_dict() == {"VITAL//LOINC//8480-6": 120, "VITAL//LOINC//8462-4": 80}


def test_vital_signs_without_a_category(tmp_path):
    pulse = observation("8867-4", "2024-05-01T08:00:00Z", "exam")
    assert one(tmp_path, pulse)["code"] == "VITAL//LOINC//8867-4"
    other = observation("1-1", "2024-05-01T08:00:00Z", "survey")
    assert one(tmp_path, other)["code"] == "OBSERVATION//LOINC//1-1"


def test_conditions_are_known_when_recorded(tmp_path):
    found = one(
        tmp_path,
        resource(
            "Condition",
            code=concept("http://hl7.org/fhir/sid/icd-10-cm", "J18.9"),
            onsetDateTime="2024-04-01T00:00:00Z",
            recordedDate="2024-05-02T10:00:00Z",
        ),
    )
    assert found["code"] == "DIAGNOSIS//ICD10CM//J189"
    assert found["time"] == utc("2024-04-01")
    assert found["available_time"] == utc("2024-05-02 10:00")


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (
            {"performedPeriod": {"start": "2024-05-01", "end": "2024-05-02T09:00:00Z"}},
            1,
        ),
        ({"occurrenceDateTime": "2024-05-02T09:00:00Z"}, 1),  # R5
    ],
)
def test_procedures(tmp_path, made, code):
    found = one(tmp_path, resource("Procedure", code=concept(SNOMED, "1"), **made))
    assert found["code"] == "PROCEDURE//SNOMED//1"
    assert found["time"] == utc("2024-05-02 09:00")


def request(**elements) -> dict:
    return resource("MedicationRequest", authoredOn="2024-05-01T08:00:00Z", **elements)


def test_where_medication_was_given(tmp_path):
    drug = {"medicationCodeableConcept": concept(RXNORM, "7052")}
    at = {"encounter": {"reference": "Encounter/e1"}}
    administered = resource(
        "MedicationAdministration",
        effectivePeriod={"start": "2024-05-01T08:00:00Z"},
        dosage={"dose": {"value": 2, "code": "mg"}},
        **drug,
    )
    encounter = resource("Encounter", id="e1", **{"class": {"code": "IMP"}})
    write(
        tmp_path,
        Encounter=[{**encounter, "period": {"start": "2024-05-01T00:00:00Z"}}],
        Medication=[
            {"resourceType": "Medication", "id": "m", "code": concept(RXNORM, "9")}
        ],
        MedicationAdministration=[administered],
        MedicationRequest=[
            request(**drug),
            request(**drug, **at),
            request(**drug, **at, category=[{"coding": [{"code": "outpatient"}]}]),
            request(medicationReference={"reference": "Medication/m"}),
            request(
                medicationReference={"reference": "#x"},
                contained=[{"id": "x", "code": concept(RXNORM, "8")}],
            ),
            request(medication={"concept": concept(RXNORM, "6")}),  # R5
        ],
    )
    events = read(tmp_path)
    codes = events["code"].tolist()
    assert codes.count("MEDICATION//INPATIENT//RxNorm//7052") == 2
    assert codes.count("MEDICATION//OUTPATIENT//RxNorm//7052") == 2
    for code in ("9", "8", "6"):
        assert f"MEDICATION//OUTPATIENT//RxNorm//{code}" in codes
    assert "VISIT//IMP" in codes
    given = events[events["unit"] == "mg"]
    assert given["numeric_value"].tolist() == [2.0]


def test_patients(tmp_path):
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "gender": "female",
        "birthDate": "1970-06-15",
        "deceasedDateTime": "2024-01-02T03:04:05Z",
        "name": [{"family": "Doe"}],
    }
    write(tmp_path, Patient=[patient])
    events = read(tmp_path).set_index("code")["time"]
    assert set(events.index) == {"GENDER//F", "MEDS_BIRTH", "MEDS_DEATH"}
    assert pd.isna(events["GENDER//F"])
    assert events["MEDS_DEATH"] == utc("2024-01-02 03:04:05")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2024-05-01", "2024-05-02"),
        ("2024-05", "2024-06-01"),
        ("2024", "2025-01-01"),
    ],
)
def test_dates_count_from_their_end(tmp_path, text, end):
    end = pd.Timestamp(end) - pd.Timedelta("1us")
    made = observation("1-1", text)
    assert one(tmp_path, made)["time"] == end.tz_localize("UTC")
    assert one(tmp_path, made, time_zone="UTC")["time"] == end.tz_localize("UTC")
    assert one(tmp_path, made, time_zone="America/New_York")["time"] == end


# ---------------------------------------------------------------- what is left out


def test_what_is_left_out_is_counted(tmp_path):
    good = observation("1-1", "2024-05-01T08:00:00Z")
    write(
        tmp_path,
        a=[
            good,
            {**good, "status": "entered-in-error"},
            {**good, "subject": None},
            {**good, "effectiveDateTime": None},
            {**good, "effectiveDateTime": "yesterday"},
            {**good, "code": {}},
        ],
        b=[
            resource("Condition", verificationStatus=concept("x", "refuted")),
            {"resourceType": "Claim"},
        ],
    )
    with pytest.warns(UserWarning, match="read_fhir") as caught:
        events = read(tmp_path)
    assert len(events) == 1
    said = " ".join(str(warning.message) for warning in caught)
    assert "Observation: dropped 4 of 5 rows: 1 have no subject" in said
    assert "2 have no time" in said
    assert "1 have no code" in said
    assert "dropped 2 resources that are retracted or not final: Obs" in said
    assert "dropped 1 resources of unsupported types: Claim 1" in said


SUSPECTED = concept("x", "provisional")


@pytest.mark.parametrize(
    "made",
    [
        {**observation("1-1", "2024-05-01T08:00:00Z"), "status": "preliminary"},
        resource("Condition", recordedDate="2024-05-01", verificationStatus=SUSPECTED),
        resource("Encounter", id="e", status="planned", period={"start": "2024-05-01"}),
        resource("MedicationRequest", authoredOn="2024-05-01", intent="plan"),
        resource("MedicationRequest", authoredOn="2024-05-01", doNotPerform=True),
        resource("Procedure", status="preparation", performedDateTime="2024-05-01"),
    ],
)
def test_what_is_not_final_is_counted(tmp_path, made):
    write(tmp_path, file=[made])
    kind = made["resourceType"]
    with pytest.warns(
        UserWarning, match=f"1 resources that are .* not final: {kind} 1"
    ):
        assert list(read_fhir(tmp_path)) == []


@pytest.mark.parametrize("reference", ["#p1", "Group/1", "https://x.org/Device/1"])
def test_subjects_are_patients(tmp_path, reference):
    made = observation("1-1", "2024-05-01T08:00:00Z")
    write(tmp_path, file=[{**made, "subject": {"reference": reference}}])
    with pytest.warns(UserWarning, match="dropped 1 of 1 rows: 1 have no subject"):
        assert list(read_fhir(tmp_path)) == []
    for known in ("https://x.org/Patient/7/_history/2", "urn:uuid:7"):
        found = one(tmp_path, {**made, "subject": {"reference": known}})
        assert found["subject_id"] == "7"


def test_what_was_known_at_a_time_that_cannot_be_read_is_left_out(tmp_path):
    made = observation("1-1", "2024-05-01T08:00:00Z", issued="2024-05-01T25:00:00Z")
    write(tmp_path, file=[made])
    with pytest.warns(UserWarning, match="1 have no time"):
        assert list(read_fhir(tmp_path)) == []


# ---------------------------------------------------------------- time zones


def written(folder, *times: str, **elements) -> None:
    write(folder, times=[observation("1-1", time, **elements) for time in times])


def test_local_times_of_one_zone_are_kept(tmp_path):
    written(
        tmp_path,
        *("2024-07-01T08:00:00-04:00", "2024-01-01T08:00:00.5-05:00", "2024-01-01"),
        *(
            "2024-01-01T09:00",
            "2024-07-01T08:00:00-0400",
            "2024-11-03T01:30:00-04:00",
            "2024-11-03T01:30:00-05:00",
        ),
        # In another zone, but not the time of an event.
        meta={"lastUpdated": "2024-07-01T12:00:00Z"},
    )
    found = read(tmp_path, time_zone="America/New_York")["time"]
    assert found.dt.tz is None
    local = (
        *("2024-07-01 08:00", "2024-01-01 08:00:00.5", "2024-01-01 23:59:59.999999"),
        *(
            "2024-01-01 09:00",
            "2024-07-01 08:00",
            "2024-11-03 01:30",
            "2024-11-03 01:30",
        ),
    )
    assert found.tolist() == [pd.Timestamp(time) for time in local]


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("other", ["2024-07-02T08:00:00-05:00", "2024-07-02T08:00:00Z"])
def test_times_of_another_zone_are_in_utc_with_a_warning(tmp_path, zone, other):
    if (zone, other[-1]) == ("UTC", "Z"):
        other = "2024-07-02T08:00:00+01:00"
    written(tmp_path, "2024-07-01T08:00:00-04:00", other, "2024-07-03")
    with pytest.warns(
        UserWarning, match=f"not that of time_zone '{zone}', for [12] of"
    ):
        found = read(tmp_path, time_zone=zone)["time"]
    assert found[0] == utc("2024-07-01 12:00")
    end = pd.Timestamp("2024-07-04", tz=zone) - pd.Timedelta("1us")
    assert found[2] == end


def test_dates_end_in_the_offset_of_the_other_times(tmp_path, tmp_path_factory):
    stores = tmp_path_factory.mktemp("stores")
    written(tmp_path, "2024-05-01", "2024-04-01T08:00:00-07:00")
    assert read(tmp_path)["time"][0] == utc("2024-05-02 06:59:59.999999")
    store = EventStore.from_fhir(tmp_path, stores / "store")
    X = pd.DataFrame({"subject_id": ["p1"], "index_time": [utc("2024-05-02 01:00")]})
    windows = EventWindows(
        store, windows=(None,), aggs=("count",), totals=(), min_subjects=1
    )
    assert windows.fit_transform(X).tolist() == [[1.0]]
    written(tmp_path, "2024-05-01T07:00", "2024-04-01T08:00:00+09:00")
    assert read(tmp_path)["time"][0] == utc("2024-04-30 22:00")


def test_dates_of_several_offsets_are_late_and_counted(tmp_path):
    offsets = ("2024-04-01T08:00:00-04:00", "2024-01-01T08:00:00-05:00")
    birth = {"resourceType": "Patient", "id": "p1", "birthDate": "1950-01-01"}
    written(tmp_path, *offsets)
    write(tmp_path, Patient=[birth])
    assert len(read(tmp_path)) == 3  # Without a warning.
    written(tmp_path, "2024-05-01", *offsets)
    with pytest.warns(
        UserWarning, match="got 1 times that are dates or have no time z"
    ):
        found = read(tmp_path)
    assert utc("2024-05-02 04:59:59.999999") in found["time"].tolist()


@pytest.mark.parametrize(
    ("text", "middle"),
    [
        ("2024", "2024-07-02 12:00"),
        ("2023", "2023-07-02 12:00"),
        ("2024-05", "2024-05-16 12:00"),
        ("2023-02", "2023-02-15 12:00"),
    ],
)
def test_births_of_a_year_or_month_are_in_its_middle(tmp_path, text, middle):
    birth = {"resourceType": "Patient", "id": "p1", "birthDate": text}
    assert one(tmp_path, birth)["time"] == utc(middle)
    local = one(tmp_path, birth, time_zone="Asia/Tokyo")["time"]
    assert local == pd.Timestamp(middle)


@pytest.mark.parametrize(
    ("born", "index", "days"),
    [("2024", "2024-05-10", 65), ("2024-05", "2024-05-10", 4.5)],
)
def test_an_infant_of_a_birth_year_has_an_age(tmp_path, born, index, days):
    birth = {"resourceType": "Patient", "id": "1", "birthDate": born}
    write(tmp_path, Patient=[birth])
    store = EventStore.from_fhir(tmp_path, tmp_path / "store")
    X = pd.DataFrame({"subject_id": ["1"], "index_time": [utc(index)]})
    encoder = TabularEncoder(scale=False)
    age = Demographics(store, encoder=encoder).fit_transform(X)[0, 0]
    assert age * 365.25 == pytest.approx(days)


# ---------------------------------------------------------------- code systems

MIMIC = "http://mimic.mit.edu/fhir/mimic/CodeSystem/"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"


@pytest.mark.parametrize(
    ("system", "code", "found"),
    [
        (MIMIC + "mimic-diagnosis-icd9", "E849", "ICD9CM//E849"),
        (MIMIC + "mimic-diagnosis-icd10", "E849", "ICD10CM//E849"),
        ("http://hl7.org/fhir/sid/icd-9", "250.00", "ICD9CM//25000"),
        ("https://hl7.org/fhir/sid/icd-10-cm/", "e11.9", "ICD10CM//E119"),
        ("http://hl7.org/fhir/sid/icd-10-us", "E11.9", "ICD10CM//E119"),
        ("http://hl7.org/fhir/sid/icd-9-cm/diagnosis", "250.00", "ICD9CM//25000"),
        ("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "E11.90", "ICD10GM//E1190"),
        ("http://fhir.de/CodeSystem/dimdi/icd-10-gm", "E11.90", "ICD10GM//E1190"),
        ("http://hl7.org/fhir/sid/icd-10-ca", "E11.9", "ICD10CA//E119"),
        ("http://hl7.org/fhir/sid/icd-10-am|12", "E11.9", "ICD10AM//E119"),
        ("urn:oid:2.16.840.1.113883.6.96", "44054006", "SNOMED//44054006"),
        ("urn:oid:2.16.840.1.113883.6.90", "E11.9", "ICD10CM//E119"),
        ("URN:OID:2.16.840.1.113883.6.3", "E11.9", "ICD10//E119"),
        ("https://snomed.info/sct", "1", "SNOMED//1"),
        ("http://snomed.info/sct/", "1", "SNOMED//1"),
        ("http://snomed.info/sct/731000124108/version/20240301", "1", "SNOMED//1"),
        ("https://www.nlm.nih.gov/research/umls/rxnorm/", "1", "RxNorm//1"),
        ("http://fhir.de/CodeSystem/bfarm/atc", "A10BA02", "ATC//A10BA02"),
        ("urn:oid:1.2.276.0.76.5.1", "1.2", "1.2.276.0.76.5.1//1.2"),
        ("http://terminology.hl7.org/CodeSystem/x-list", "1", "x-list//1"),
    ],
)
def test_spellings_of_code_systems(tmp_path, system, code, found):
    made = resource("Condition", code=concept(system, code), recordedDate="2024-05-01")
    assert one(tmp_path, made)["code"] == f"DIAGNOSIS//{found}"


def test_codes_of_unlike_lists_are_kept_apart(tmp_path):
    systems = (
        "http://hospital.example/analyser-1/items",
        "http://hospital.example/analyser-2/items",
        "urn:uuid:0b0b3c7e-5d3a-4a55-9d5b-0a8a2c1f3b11",
        "http://other.example/CodeSystem/local",
    )
    write(
        tmp_path,
        x=[
            {**observation("x", "2024-05-01T08:00:00Z"), "code": concept(system, "100")}
            for system in (*systems, systems[0].replace("http:", "https:") + "/")
        ],
    )
    codes = read(tmp_path)["code"].tolist()
    assert len(set(codes)) == 4
    assert codes[4] == codes[0]
    assert codes[0].startswith("LAB//items-")
    assert codes[3].startswith("LAB//local-")
    assert all(code.endswith("//100") for code in codes)


def test_codes_without_a_system_are_counted(tmp_path):
    made = observation("x", "2024-05-01T08:00:00Z")
    bare = {**made, "code": {"coding": [{"code": "100"}]}}
    named = {**made, "code": {"text": "CRP"}}
    write(tmp_path, x=[bare, named, made])
    with pytest.warns(UserWarning, match="got 2 events with a code without .*ion 2"):
        codes = read(tmp_path)["code"].tolist()
    assert codes == ["LAB//SOURCE//100", "LAB//SOURCE//CRP", "LAB//LOINC//x"]


def test_volumes_of_icd_9(tmp_path):
    system = "http://hl7.org/fhir/sid/icd-9-cm"
    made = resource(
        "Procedure", code=concept(system, "54.91"), performedDateTime="2024-05-01"
    )
    assert one(tmp_path, made)["code"] == "PROCEDURE//ICD9Proc//5491"


SEVERAL = [
    {"system": SNOMED, "code": "44054006"},
    {"system": ICD10CM, "code": "E11.9"},
    {"system": ICD10CM, "code": "E11.8"},
    {"system": "http://a.example/x", "code": "1"},
    {"code": "2"},
]


@pytest.mark.parametrize(
    ("systems", "code"),
    [
        ({}, "ICD10CM//E118"),
        ({"systems": ("SNOMED",)}, "SNOMED//44054006"),
        ({"systems": ["http://snomed.info/sct/", "ICD10CM"]}, "SNOMED//44054006"),
        ({"systems": ["http://a.example/x"]}, "x-787dfc//1"),
    ],
)
def test_the_order_of_codings_does_not_matter(tmp_path, systems, code):
    orders = (SEVERAL, SEVERAL[::-1], SEVERAL[2:] + SEVERAL[:2])
    made = {"recordedDate": "2024-05-01"}
    write(
        tmp_path, x=[resource("Condition", code={"coding": c}, **made) for c in orders]
    )
    assert set(read(tmp_path, **systems)["code"]) == {f"DIAGNOSIS//{code}"}


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"systems": "SNOMED"}, TypeError, "systems must be a sequence of names"),
        ({"systems": [1]}, TypeError, "systems must be a sequence of names"),
        ({"qualitative": "both"}, ValueError, r"qualitative must be one of \('text'"),
    ],
)
def test_bad_parameters(tmp_path, parameters, error, match):
    with pytest.raises(error, match=match):
        read_fhir(tmp_path, **parameters)


# ---------------------------------------------------------------- results

TIME = "2024-05-01T08:00:00Z"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
HL7 = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation"


def extension(code: str) -> dict:
    url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
    return {"extension": [{"url": url, "valueCode": code}]}


@pytest.mark.parametrize(
    "elements",
    [
        *(
            {"dataAbsentReason": concept(ABSENT, code)}
            for code in ("not-performed", "not-asked", "asked-declined", "error")
        ),
        {"dataAbsentReason": {"coding": [{"code": "unknown"}]}},
        {"dataAbsentReason": {"text": "patient left"}},
        {"dataAbsentReason": concept(ABSENT, "error"), "valueQuantity": {"value": 0}},
        {"valueCodeableConcept": concept(ABSENT, "not-performed")},
        {"valueQuantity": {"unit": "mg", "_value": extension("not-performed")}},
        {"_valueString": extension("asked-declined")},
    ],
)
def test_results_that_were_not_obtained(tmp_path, elements):
    made = observation("2345-7", TIME, **elements)
    cuff = observation(
        "85354-9",
        TIME,
        component=[
            {"code": concept(LOINC, "8480-6"), **elements},
            {"code": concept(LOINC, "8462-4"), "valueQuantity": {"value": 80}},
        ],
    )
    write(tmp_path, x=[made, cuff])
    with pytest.warns(UserWarning, match="2 of 3 rows: 2 have a result that was not o"):
        assert read(tmp_path)["code"].tolist() == ["LAB//LOINC//8462-4"]


@pytest.mark.parametrize("code", ["masked", "positive-infinity"])
def test_results_that_are_hidden_were_obtained(tmp_path, code):
    made = observation("1-1", TIME, dataAbsentReason=concept(ABSENT, code))
    assert pd.isna(one(tmp_path, made)["numeric_value"])


@pytest.mark.parametrize(
    ("elements", "text", "word"),
    [
        (
            {"valueCodeableConcept": concept(SNOMED, "10828004")},
            "SNOMED//10828004",
            "POSITIVE",
        ),
        (
            {"valueCodeableConcept": concept(LOINC, "LA11883-8")},
            "LOINC//LA11883-8",
            "NEGATIVE",
        ),
        (
            {
                "valueCodeableConcept": {
                    "coding": [
                        {"system": SNOMED, "code": "7", "display": "Not detected"}
                    ]
                }
            },
            "SNOMED//7",
            "NEGATIVE",
        ),
        (
            {"valueCodeableConcept": concept(SNOMED, "abc")},
            "SNOMED//abc",
            "ABC",
        ),
        (
            {"valueCodeableConcept": {"text": "weakly seen"}},
            "SOURCE//weakly seen",
            None,
        ),
        ({"valueString": "Neg."}, "Neg.", "NEGATIVE"),
        ({"valueString": "POSITIVE BY EIA"}, "POSITIVE BY EIA", None),
        ({"interpretation": [concept(HL7, "POS")]}, "POSITIVE", "POSITIVE"),
        ({"interpretation": [concept(HL7, "R")]}, "R", "R"),
        ({"interpretation": [{"text": "Nonreactive"}]}, "NEGATIVE", "NEGATIVE"),
    ],
)
def test_qualitative_results(tmp_path, elements, text, word):
    made = observation("1-1", TIME, **elements)
    found = one(tmp_path, made)
    assert (found["code"], found["text_value"]) == ("LAB//LOINC//1-1", text)
    found = one(tmp_path, made, qualitative="code")
    code = "LAB//LOINC//1-1" if word is None else f"LAB//LOINC//1-1//{word}"
    assert (found["code"], found["text_value"]) == (code, text)


@pytest.mark.parametrize(
    ("elements", "number", "unit", "text"),
    [
        (
            {"valueRange": {"low": {"value": 5, "unit": "/uL"}, "high": {"value": 10}}},
            *(None, "/uL", "5-10"),
        ),
        ({"valueRange": {"low": {"value": 5}}}, None, None, ">=5"),
        ({"valueRange": {"high": {"value": 2.5}}}, None, None, "<=2.5"),
        (
            {"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}},
            *(None, None, "1:128"),
        ),
        (
            {
                "valueRatio": {
                    "numerator": {"value": 30, "code": "mg"},
                    "denominator": {"value": 2, "code": "g"},
                }
            },
            *(15.0, "mg/g", None),
        ),
        ({"valueDateTime": "2024-05-01"}, None, None, "2024-05-01"),
        ({"valueTime": "08:30:00"}, None, None, "08:30:00"),
        ({"valueBoolean": False}, 0.0, None, None),
        (
            {"valueQuantity": {"value": 7, "code": "g"}, "interpretation": [
                concept(HL7, "H")]},
            *(7.0, "g", None),
        ),
    ],
)  # fmt: skip
def test_other_results(tmp_path, elements, number, unit, text):
    for qualitative in ("text", "code"):
        made = observation("1-1", TIME, **elements)
        found = one(tmp_path, made, qualitative=qualitative)
        expected = [number, unit, text]
        cells = found[["numeric_value", "unit", "text_value"]]
        assert [None if pd.isna(cell) else cell for cell in cells] == expected
        assert found["code"] == "LAB//LOINC//1-1"


# ---------------------------------------------------------------- medication


def mix(name: str, *parts: str, **elements) -> dict:
    items = [{"itemReference": {"reference": f"Medication/{part}"}} for part in parts]
    return {
        "resourceType": "Medication", "id": name, "ingredient": items, **elements
    }  # fmt: skip


def test_mixes_are_their_ingredients(tmp_path):
    names = [{"system": "http://hospital.example/drugs", "value": "A+B"}]
    reference = {"medicationReference": {"reference": "Medication/m"}}
    given = resource(
        "MedicationAdministration",
        effectiveDateTime=TIME,
        dosage={"dose": {"value": 100, "code": "mL"}},
        **reference,
    )
    simple = [
        {"resourceType": "Medication", "id": i, "code": concept(RXNORM, i)}
        for i in ("7", "8")
    ]
    write(
        tmp_path,
        a=[request(**reference), given, mix("m", "7", "8", "m", identifier=names)],
        b=simple,
    )
    events = read(tmp_path)
    assert events["code"].tolist() == [
        f"MEDICATION//{place}//RxNorm//{i}"
        for place in ("INPATIENT", "OUTPATIENT")
        for i in ("7", "8")
    ]
    assert events["numeric_value"].isna().all()


@pytest.mark.parametrize(
    ("made", "code"),
    [
        (mix("m", "unknown", identifier=[{"system": RXNORM, "value": "5"}]), "5"),
        ({"resourceType": "Medication", "id": "m",
          "identifier": [{"system": RXNORM, "value": "5"}]}, "5"),
        ({"resourceType": "Medication", "id": "m", "ingredient": [
            {"item": {"concept": concept(RXNORM, "6")}}]}, "6"),
        ({"resourceType": "Medication", "id": "m", "contained": [
            {"id": "x", "code": concept(RXNORM, "4")}], "ingredient": [
            {"itemReference": {"reference": "#x"}}]}, "4"),
    ],
)  # fmt: skip
def test_medications_without_a_code(tmp_path, made, code):
    asked = request(medicationReference={"reference": "Medication/m"})
    write(tmp_path, x=[asked, made])
    assert read(tmp_path)["code"].tolist() == [
        f"MEDICATION//OUTPATIENT//RxNorm//{code}"
    ]


def test_identifiers_count_if_their_system_is_preferred(tmp_path):
    made = {
        "resourceType": "Medication",
        "id": "m",
        "code": concept(MIMIC + "mimic-medication-ndc", "51079030020"),
        "identifier": [
            {"system": MIMIC + "mimic-medication-name", "value": "CloniDINE"},
            {"system": "http://hospital.example/ids", "value": "1"},
        ],
    }
    asked = request(medicationReference={"reference": "Medication/m"})
    write(tmp_path, x=[asked, made])
    start = "MEDICATION//OUTPATIENT//"
    assert read(tmp_path)["code"].tolist() == [f"{start}NDC//51079030020"]
    named = read(tmp_path, systems=["MIMIC"])["code"].tolist()
    assert named == [f"{start}MIMIC//CloniDINE"]


def test_an_infusion_is_given_from_its_start(tmp_path):
    made = resource(
        "MedicationAdministration",
        effectivePeriod={"start": TIME, "end": "2024-05-10T08:00:00Z"},
        medicationCodeableConcept=concept(RXNORM, "1"),
    )
    assert one(tmp_path, made)["time"] == utc("2024-05-01 08:00")


# ---------------------------------------------------------------- encounters


def test_codes_of_a_stay_are_known_at_its_end(tmp_path):
    at = {"encounter": {"reference": "Encounter/e1"}}
    period = {"start": "2024-05-01T08:00:00Z", "end": "2024-05-09T11:00:00Z"}
    stay = resource("Encounter", id="e1", period=period, **{"class": {"code": "IMP"}})
    code = {"code": concept(SNOMED, "1"), **at}
    began = "2024-05-01T09:00:00Z"
    # all in one file, what refers to the stay before it
    write(
        tmp_path,
        export=[
            resource("Condition", onsetDateTime=began, **code),
            resource("Procedure", performedDateTime=began, **code),
            resource("Condition", onsetDateTime=began, recordedDate=began, **code),
            request(medicationCodeableConcept=concept(RXNORM, "7052"), **at),
            stay,
        ],
    )
    events = read(tmp_path)
    known = events.groupby("code")["available_time"].agg(list)
    early, late = utc("2024-05-01 09:00"), utc("2024-05-09 11:00")
    assert known["DIAGNOSIS//SNOMED//1"] == [late, early]
    assert known["PROCEDURE//SNOMED//1"] == [late]
    assert "MEDICATION//INPATIENT//RxNorm//7052" in known


def stay(**elements) -> dict:
    return resource("Encounter", id="e", **{"class": {"code": "IMP"}}, **elements)


AT = {"encounter": {"reference": "Encounter/e"}}
ENDED = {"start": TIME, "end": "2024-05-05T08:00:00Z"}
UNDATED = [
    resource("Condition", code=concept(ICD10CM, "I10"), **AT),
    resource("Procedure", code=concept(SNOMED, "1"), **AT),
    resource("Observation", code=concept(LOINC, "1-1"), valueInteger=1, **AT),
]


@pytest.mark.parametrize("made", UNDATED)
def test_what_has_no_time_is_known_at_the_end_of_its_encounter(tmp_path, made):
    write(tmp_path, a=[made, stay(period=ENDED)])
    events = read(tmp_path)
    end = utc("2024-05-05 08:00")
    found = events[~events["code"].str.startswith("VISIT")]
    assert found[["time", "available_time"]].to_numpy().tolist() == [[end, end]]


@pytest.mark.parametrize("made", UNDATED)
def test_an_encounter_that_is_an_error_has_no_end(tmp_path, made):
    write(tmp_path, a=[made, stay(period=ENDED, status="entered-in-error")])
    with pytest.warns(UserWarning, match=r"1 have no time|1 .* retracted"):
        assert list(read_fhir(tmp_path)) == []


@pytest.mark.parametrize("made", UNDATED)
@pytest.mark.parametrize("there", [[], [stay(period={"start": TIME})]])
@pytest.mark.parametrize("refers", [True, False])
def test_what_has_no_time_and_no_ended_encounter_is_never_known(
    tmp_path, made, there, refers
):
    alone = {name: part for name, part in made.items() if refers or name != "encounter"}
    write(tmp_path, a=[alone, *there])
    kind = made["resourceType"]
    with pytest.warns(
        UserWarning, match=f"{kind}: dropped 1 of 1 rows: 1 have no time"
    ):
        parts = list(read_fhir(tmp_path))
    codes = [code for part in parts for code in part["code"]]
    assert codes == ["VISIT//IMP"] * len(there)


def test_what_was_recorded_at_an_unknown_time_is_left_out(tmp_path):
    condition = resource("Condition", code=concept(SNOMED, "1"), onsetDateTime=TIME)
    procedure = resource("Procedure", code=concept(SNOMED, "1"), performedDateTime=TIME)
    write(tmp_path, a=[condition, {**condition, **AT}, {**procedure, **AT}, procedure])
    with pytest.warns(UserWarning, match="no recording time") as caught:
        found = read(tmp_path)
    assert found["code"].tolist() == ["PROCEDURE//SNOMED//1"]
    assert [str(warning.message)[:45] for warning in caught] == [
        "read_fhir: Condition: dropped 2 of 2 rows: 2 ",
        "read_fhir: Procedure: dropped 1 of 2 rows: 1 ",
    ]


# ---------------------------------------------------------------- containers

PATIENT = {"resourceType": "Patient", "id": "1", "birthDate": "1950-01-01"}


def bundle(*resources: dict, **elements) -> dict:
    entries = [{"fullUrl": f"https://x.org/{i}", "resource": part}
               for i, part in enumerate(resources)]  # fmt: skip
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": entries,
        **elements,
    }


def test_bundles_documents_and_lines_say_the_same(tmp_path):
    made = [PATIENT, observation("1-1", TIME, valueInteger=1), stay(period=ENDED),
            UNDATED[0]]  # fmt: skip
    lines = "\n".join(map(json.dumps, made))
    pretty = json.dumps(bundle(*made), indent=2)
    files = {
        "x.ndjson": lines.encode(),
        "x.json": lines.encode(),
        "y.ndjson": json.dumps(bundle(*made)).encode(),
        "one.json": json.dumps(bundle(*made)).encode(),
        "y.json": pretty.encode(),
        "z.json.gz": gzip.compress(b"\xef\xbb\xbf" + pretty.encode()),
        "list.json": json.dumps(made, indent=1).encode(),
        "nested.json": json.dumps(bundle(bundle(*made)), indent=1).encode(),
    }
    whole = None
    for i, (name, content) in enumerate(files.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        (folder / name).write_bytes(content)
        found = read(folder)
        whole = found if whole is None else whole
        pd.testing.assert_frame_equal(found, whole)
    assert len(whole) == 5
    apart = tmp_path / "apart"
    apart.mkdir()
    for i, part in enumerate(made):
        (apart / f"{i}.json").write_text(json.dumps(part, indent=4))
    pd.testing.assert_frame_equal(read(apart), whole)


def test_references_inside_a_transaction(tmp_path):
    name = {"subject": {"reference": "urn:uuid:p-1"}}
    made = bundle()
    made["entry"] = [
        {"fullUrl": "urn:uuid:p-1", "resource": {**PATIENT, "id": "other"}},
        {"fullUrl": "urn:uuid:e-1", "resource": {
            **stay(period=ENDED), **name, "id": None}},
        {"fullUrl": "urn:uuid:c-1", "resource": {
            **UNDATED[0], **name, "encounter": {"reference": "urn:uuid:e-1"}}},
        {"request": {"method": "DELETE", "url": "Patient/9"}},
    ]  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps(made, indent=2))
    events = read(tmp_path)
    assert set(events["subject_id"]) == {"p-1"}
    assert "DIAGNOSIS//ICD10CM//I10" in events["code"].tolist()


def test_temporary_names_without_references_are_ignored(tmp_path):
    made = bundle({**PATIENT, "id": "p1"}, observation("1-1", TIME, valueInteger=1))
    made["entry"][0]["fullUrl"] = "urn:uuid:0b0b3c7e"
    (tmp_path / "x.json").write_text(json.dumps(made, indent=2))
    assert read(tmp_path)["subject_id"].tolist() == ["p1", "p1"]


def test_logs_and_strangers_are_skipped_and_counted(tmp_path):
    write(tmp_path, Patient=[PATIENT])
    kickoff = {"exportId": "x", "timestamp": TIME, "eventId": "kickoff"}
    manifest = {"transactionTime": TIME, "request": "x", "output": [], "error": []}
    write(tmp_path, log=[kickoff, kickoff], other=[kickoff])
    (tmp_path / "log.2.ndjson").write_text('{"cut of')
    (tmp_path / "export.json").write_text(json.dumps(manifest, indent=1))
    (tmp_path / "package.json").write_text('{\n"name": "x"}')
    (tmp_path / "minified.json").write_text('{"name": "x"}')
    match = "skipped 7 .*: items of a log or manifest 5, JSON documents that .* 2"
    with pytest.warns(UserWarning, match=match):
        assert read(tmp_path)["code"].tolist() == ["MEDS_BIRTH"]


def test_resources_in_a_file_with_the_name_of_a_log_are_read(tmp_path):
    write(tmp_path, log=[PATIENT], logistics=[PATIENT])
    assert len(read(tmp_path)) == 2
    (tmp_path / "logistics.ndjson").write_text('{"cut of')
    with pytest.raises(ValueError, match=r"line 1 of logistics\.ndjson is not JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{\n"resourceType": "Bundle", "Doe', r"the document of x\.json is not JSON"),
        ('{"resourceType": "Bundle",\n "entry": [{"resource": {"a": "Doe"}}]}',
         r"the document of x\.json is not a valid Bundle"),
        ('{"resourceType": "Bundle", "entry": "Doe"}',
         r"line 1 of x\.json is not a valid Bundle"),
        ('[{"resourceType": "Patient"}, {"resourceType": "Encounter", "class": "Doe"}]',
         r"resource 2 of x\.json is not a valid Encounter"),
    ],
)  # fmt: skip
def test_bad_documents_are_named_without_their_content(tmp_path, text, match):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=match) as caught:
        read(tmp_path)
    assert "Doe" not in str(caught.value)


def test_documents_that_are_too_large_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(fhir_files, "LONGEST_DOCUMENT", 2000)
    large = bundle(*[PATIENT] * 50)
    (tmp_path / "x.json").write_text(json.dumps(large, indent=1))
    write(tmp_path, Patient=[PATIENT])
    with pytest.warns(
        UserWarning, match="unsupported types: document of more than 1 G"
    ):
        assert len(read(tmp_path)) == 1


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    "elements", [{"subject": "Doe"}, {"valueQuantity": {"value": "Doe"}}]
)
def test_resources_of_another_shape_are_named_without_their_content(tmp_path, elements):
    made = observation("1-1", "2024-05-01T08:00:00Z")
    write(tmp_path, x=[made, made, {**made, **elements}])
    with pytest.raises(
        ValueError, match=r"line 3 of x\.ndjson is not a valid Obs"
    ) as caught:
        read(tmp_path)
    assert "Doe" not in str(caught.value)


def test_either_reader_of_json_will_do(tmp_path, monkeypatch):
    made = [
        observation(f"{i % 7}-ä", f"2024-05-01T08:{i:02d}:00Z", valueInteger=i)
        for i in range(50)
    ]
    write(tmp_path, x=made)
    first = read(tmp_path)
    monkeypatch.setattr(fhir_files, "_loads", json.loads)
    pd.testing.assert_frame_equal(read(tmp_path), first)


def test_chunks_folders_and_gzip_say_the_same(tmp_path):
    made = [
        observation(f"{i % 7}-1", f"2024-05-01T08:{i:02d}:00Z", valueInteger=i)
        for i in range(50)
    ]
    (tmp_path / "deep").mkdir()
    lines = "\n".join(json.dumps(part) for part in made).encode()
    (tmp_path / "deep" / "a.ndjson.gz").write_bytes(gzip.compress(lines))
    whole = read(tmp_path)
    parts = list(read_fhir(tmp_path, chunk_size=8))
    assert len(parts) == 7
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    expected = [json.loads(line)["valueInteger"] for line in lines.splitlines()]
    assert whole["numeric_value"].tolist() == expected
    pd.testing.assert_frame_equal(read([tmp_path / "deep" / "a.ndjson.gz"]), whole)


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ('{"resourceType": "Observation", "Doe', r"line 12 of x\.ndjson is not JSON"),
        ("[1, 2]", r"line 12 of x\.ndjson is not a FHIR resource"),
        ("\x00\xff", r"line 12 of x\.ndjson is not JSON"),
    ],
)
@pytest.mark.parametrize("loads", [fhir_files._loads, json.loads])
def test_a_broken_line_is_named_and_nothing_is_kept(
    tmp_path, monkeypatch, broken, match, loads
):
    monkeypatch.setattr(fhir_files, "_loads", loads)
    lines = [json.dumps(observation("1-1", "2024-05-01T08:00:00Z"))] * 20
    lines[5] = ""  # empty lines are allowed and counted
    lines[11] = broken
    source = tmp_path / "export"
    source.mkdir()
    (source / "x.ndjson").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=match) as caught:
        EventStore.from_fhir(source, tmp_path / "store", chunk_size=2)
    assert "Doe" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_other_bad_files(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="expected files with one resource per line .* got none"
    ):
        read_fhir(tmp_path)
    with pytest.raises(ValueError, match="time_zone must be a name .* got 'Mars'"):
        read_fhir(tmp_path, time_zone="Mars")
    line = json.dumps(observation("1-1", "2024-05-01T08:00:00Z")).encode()
    packed = gzip.compress(b"\n".join([line] * 500))
    (tmp_path / "x.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ValueError, match="damaged or truncated after line"):
        read(tmp_path)


def test_long_lines_are_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(fhir_files, "LONGEST_LINE", 2000)
    line = json.dumps(observation("1-1", "2024-05-01T08:00:00Z")).encode()
    assert len(line) < 2000
    attachment = b'{"resourceType": "Binary", "data": "' + b"A" * 9000 + b'"}'
    exact = line + b" " * (1999 - len(line))  # with its line end, as long as allowed
    content = b"\n".join([line, attachment, exact, line, attachment])
    (tmp_path / "x.ndjson.gz").write_bytes(gzip.compress(content))
    with pytest.warns(UserWarning, match="2 .*: line of more than 64 MB 2"):
        found = read(tmp_path)
    assert len(found) == 3


# ---------------------------------------------------------------- as a store


def test_windows_see_what_was_issued_before_the_index_time(tmp_path):
    value = {"valueQuantity": {"value": 3.0, "code": "mg/L"}}
    made = [
        observation(
            "1988-5", "2024-05-01T08:00:00Z", issued="2024-05-01T09:00:00Z", **value
        ),
        observation("1988-5", "2024-05-01T10:00:00Z", issued="2024-05-01T18:00:00Z"),
        observation(
            "1988-5",
            "2024-05-01T08:30:00Z",
            valueQuantity={"value": 5, "comparator": ">"},
        ),
    ]
    source = tmp_path / "export"
    source.mkdir()
    write(source, Observation=made)
    store = EventStore.from_fhir(source, tmp_path / "store").read_text(parse_values)
    X = pd.DataFrame({"subject_id": ["p1"], "index_time": [utc("2024-05-01 12:00")]})
    windows = EventWindows(
        store, windows=(None,), aggs=("count", "max"), min_subjects=1
    )
    found = windows.set_output(transform="pandas").fit_transform(X)
    name = "LAB//LOINC//1988-5__all__"
    assert found[f"{name}count"][0] == 2
    assert found[f"{name}max"][0] == 5
    assert np.isfinite(found.to_numpy()).all()


def named(code: dict, patient: str, **elements) -> dict:
    made = observation("718-7", "2024-05-01T08:00:00Z", **elements)
    made["valueQuantity"] = {"value": 13.1, "code": "g/dL"}
    return {**made, "code": code, "subject": {"reference": f"Patient/{patient}"}}


def coding(system: str, code: str, display: str | None = None) -> dict:
    made = {"system": system, "code": code}
    return made if display is None else {**made, "display": display}


def test_displays_are_the_names_of_codes(tmp_path):
    both = [coding(SNOMED, "38082009", "Hb"), coding(LOINC, "718-7", "Hemoglobin")]
    other = [coding(LOINC, "718-7", "Haemoglobin"), coding(SNOMED, "38082009")]
    write(
        tmp_path,
        file=[
            *(named({"coding": both}, f"p{i}") for i in range(3)),
            named({"coding": other, "text": "Hb of Mr. Smith"}, "p4"),
            named({"coding": [coding(LOINC, "2160-0")]}, "p4"),
            resource("Condition", recordedDate="2024-05-01", code={
                "coding": [coding(SNOMED, "44054006", "Type 2 diabetes")],
            }),
        ],
    )  # fmt: skip
    store = EventStore.from_fhir(tmp_path)
    assert store.labels.to_dict() == {
        "LAB//LOINC//718-7": "Hemoglobin",
        "DIAGNOSIS//SNOMED//44054006": "Type 2 diabetes",
    }
    preferred = EventStore.from_fhir(tmp_path, systems=["SNOMED"], labels={})
    assert preferred.labels["LAB//SNOMED//38082009"] == "Hb"


def test_a_text_is_a_name_only_if_it_is_of_several_patients(tmp_path):
    plain = [coding(LOINC, "718-7")]
    private = {"coding": [coding(LOINC, "2160-0")], "text": "creatinine of A. Jones"}
    write(
        tmp_path,
        file=[
            *(named({"coding": plain, "text": "Hemoglobin"}, p) for p in "ab"),
            *(named(private, "a") for _ in range(5)),
        ],
    )
    store = EventStore.from_fhir(tmp_path)
    assert store.labels.to_dict() == {"LAB//LOINC//718-7": "Hemoglobin"}


def test_answers_follow_the_display(tmp_path):
    made = named({"coding": [coding(LOINC, "94500-6", "SARS-CoV-2")]}, "a")
    del made["valueQuantity"]
    write(tmp_path, file=[{**made, "valueString": "Detected"}])
    store = EventStore.from_fhir(tmp_path, qualitative="code")
    assert store.labels.to_dict() == {
        "LAB//LOINC//94500-6//POSITIVE": "SARS-CoV-2: POSITIVE"
    }


def test_displays_of_the_demo(skfusion_data, tmp_path):
    folder = skfusion_data / "ehr" / "mimic4_demo_fhir"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no ehr/mimic4_demo_fhir")
    with pytest.warns(UserWarning, match="read_fhir"):
        store = EventStore.from_fhir(folder, tmp_path / "store")
    assert store.labels["VITAL//LOINC//8480-6"] == "Systolic blood pressure"
    named = store.report()["label"].notna()
    assert named[named.index.str.match("VITAL|DIAGNOSIS|OBSERVATION|PROCEDURE")].all()
