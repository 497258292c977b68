"""FHIR bulk exports, written here line by line, beside what each line says."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows
from skfusion.ehr import parse_values
from skfusion.ehr.sources import fhir, read_fhir

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
    assert found["code"] == "DIAGNOSIS//ICD10CM//J18.9"
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
    ("text", "zone", "end"),
    [
        ("2024-05-01", "UTC", "2024-05-02"),
        ("2024-05", "UTC", "2024-06-01"),
        ("2024", "UTC", "2025-01-01"),
        ("2024-05-01", "America/New_York", "2024-05-02 04:00"),
    ],
)
def test_dates_count_from_their_end(tmp_path, text, zone, end):
    found = one(tmp_path, observation("1-1", text), time_zone=zone)
    assert found["time"] == utc(end) - pd.Timedelta("1us")


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


def test_times_without_a_zone_are_of_the_place(tmp_path):
    made = observation("1-1", "2024-05-01T08:00:00")
    found = one(tmp_path, made, time_zone="America/New_York")
    assert found["time"] == utc("2024-05-01 12:00")


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


def test_conditions_of_which_nothing_says_when_they_were_known(tmp_path):
    made = resource("Condition", code=concept(SNOMED, "1"), onsetDateTime="2024-05-01")
    with pytest.warns(
        UserWarning, match="1 events of Condition without a recording time"
    ):
        one(tmp_path, made)


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
    monkeypatch.setattr(fhir, "_loads", json.loads)
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
@pytest.mark.parametrize("loads", [fhir._loads, json.loads])
def test_a_broken_line_is_named_and_nothing_is_kept(
    tmp_path, monkeypatch, broken, match, loads
):
    monkeypatch.setattr(fhir, "_loads", loads)
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
    monkeypatch.setattr(fhir, "LONGEST_LINE", 2000)
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
