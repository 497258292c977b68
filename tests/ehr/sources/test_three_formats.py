"""The same patients as tables, as FHIR and as MEDS (demo of MIMIC-IV, 100 patients).

The identifiers of FHIR (of patients, encounters and requests) are those of the tables,
so that events can be compared one by one. What agrees is asserted with its number. What
differs, and why:

- Times of FHIR are local times with the offset of New York. Without it they are those
  of the tables, except times that the change to summer time skips (one store time of
  outputs, and ends and starts of three inputs), which the export moved by an hour.
- Births: FHIR has a date within the birth year, the tables only the year.
- Deaths: FHIR has dates, the tables have the minute of deaths in hospital (15 of 31).
  The end of the day is later than the minute, so that nothing is known early. One of
  the 4 deaths of MEDS has the start of its day.
- Encounters: FHIR also has stays in the emergency department (222) and in the ICU
  (140). Classes of encounters are not the admission types of the tables.
- Conditions carry no date and are known at the end of their encounter, which is the
  discharge of the tables. 545 further ones are of the emergency department.
- Procedures of a stay (722): FHIR has the start of the day as their time, the reader of
  the tables the end of the day. They become available at discharge in both.
- Procedures of the ICU (1,468): FHIR has no store time. An event is the end of the
  procedure, available at the end of the ICU stay, later than in the tables.
- Outputs: the same events with the prefix OBSERVATION//, since the category of FHIR is
  none of laboratory and vital signs, among other charted items (15,280).
- Inputs: a drug with a period is at its start in both. Single doses (9,366) have the
  end time of the tables as their only time, usually a minute after the start. FHIR has
  no store time, so that an input is available when it happens.
- Requests: FHIR has the time of the order, the tables the start of the treatment. The
  class of many stays is ambulatory, so that their requests are OUTPATIENT. Requests of
  the pharmacy are the rows of the tables, with the names as identifiers of the
  medication. Orders without pharmacy (2,327) are no rows of the tables.
- FHIR has no laboratory and chart values. MEDS has them, with one result less of 17
  items of which the tables have a second one at the same time.
- MEDS has no time of availability. Diagnoses are at discharge as in the tables, and
  procedures at the start of their day, which is earlier than they are known.
"""

from __future__ import annotations

import gzip
import json
import warnings
from collections import Counter
from typing import NamedTuple

import pandas as pd
import pytest

from skfusion import EventStore, TabularEncoder
from skfusion.ehr import Demographics
from skfusion.ehr.sources import read_fhir, read_meds, read_mimic

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")

ZONE = "America/New_York"
DRUG = "MEDICATION//INPATIENT//MIMIC//"
ICD_PROCEDURES = ("PROCEDURE//ICD9Proc//", "PROCEDURE//ICD10PCS//")


class Formats(NamedTuple):
    tables: pd.DataFrame
    fhir: pd.DataFrame
    meds: pd.DataFrame
    ids: dict[str, int]  # Id of a patient in FHIR -> in the tables.


def resources(folder, name: str) -> list[dict]:
    with gzip.open(folder / f"{name}.ndjson.gz") as lines:
        return [json.loads(line) for line in lines]


def value_of(resource: dict) -> str:
    return resource["identifier"][0]["value"]


def known(events: pd.DataFrame) -> pd.DataFrame:
    """Fill the time of availability where it is the time of the event."""
    if "available_time" not in events:
        events["available_time"] = pd.NaT
    stated = events["available_time"].astype("datetime64[us]")
    return events.assign(available_time=stated.fillna(events["time"]))


@pytest.fixture(scope="module")
def folder(skfusion_data):
    return skfusion_data / "ehr"


@pytest.fixture(scope="module")
def formats(folder) -> Formats:
    export = folder / "mimic4_demo_fhir"
    patients = resources(export, "MimicPatient")
    ids = {patient["id"]: int(value_of(patient)) for patient in patients}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fhir = pd.concat(read_fhir(export, time_zone=ZONE, systems=["MIMIC"]))
    assert [str(warning.message)[:50] for warning in caught] == [
        "read_fhir: Observation: dropped 2170 of 38211 rows",
        "read_fhir: dropped 30276 resources of unsupported ",
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = pd.concat(read_mimic(folder / "mimic4_demo"))
    meds = pd.concat(read_meds(folder / "mimic4_demo_meds"))
    fhir["subject_id"] = fhir["subject_id"].map(ids)
    return Formats(known(tables), known(fhir), known(meds), ids)


def of(events: pd.DataFrame, *prefixes: str) -> pd.DataFrame:
    return events[events["code"].str.startswith(prefixes)]


def counted(events: pd.DataFrame, *columns: str) -> Counter:
    rows = events[["subject_id", *columns]].copy()
    if "numeric_value" in rows:
        rows["numeric_value"] = rows["numeric_value"].astype(float).round(6)
    return Counter(rows.itertuples(index=False, name=None))


def n_common(one: pd.DataFrame, other: pd.DataFrame, *columns: str) -> int:
    return (counted(one, *columns) & counted(other, *columns)).total()


def recoded(events: pd.DataFrame, old: str, new: str) -> pd.DataFrame:
    return events.assign(code=events["code"].str.replace(old, new, regex=True))


# ---------------------------------------------------------------- FHIR and the tables


def test_persons(formats):
    tables, fhir = formats.tables, formats.fhir
    assert n_common(of(fhir, "GENDER"), of(tables, "GENDER"), "code") == 100
    dead, died = of(fhir, "MEDS_DEATH"), of(tables, "MEDS_DEATH")
    assert len(dead) == len(died) == n_common(dead, died) == 31
    assert n_common(dead, died, "time") == 16
    late = dead.set_index("subject_id")["time"] - died.set_index("subject_id")["time"]
    assert late.between(pd.Timedelta(0), pd.Timedelta(1, "D")).all()


def test_ages_differ_by_less_than_a_year(formats, folder, tmp_path):
    X = of(formats.tables, "VISIT//")[["subject_id", "time"]]
    X = X.rename(columns={"time": "index_time"}).reset_index(drop=True)
    tables = {}
    for name in ("fhir", "tables"):
        events = getattr(formats, name)
        store = EventStore.from_frame(events, tmp_path / name, no_time="static")
        encoder = TabularEncoder(scale=False)
        made = Demographics(store, facts=("GENDER",), encoder=encoder)
        tables[name] = made.set_output(transform="pandas").fit_transform(X)
    assert tables["fhir"].shape == (275, 3)
    sexes = ["gender_F", "gender_M"]
    pd.testing.assert_frame_equal(tables["fhir"][sexes], tables["tables"][sexes])
    assert (tables["fhir"]["age"] - tables["tables"]["age"]).abs().max() < 1


def test_stays(formats, folder):
    tables, fhir = formats.tables, formats.fhir
    stays = resources(folder / "mimic4_demo_fhir", "MimicEncounter")
    admissions = pd.read_csv(
        folder / "mimic4_demo" / "hosp" / "admissions.csv.gz", dtype={"hadm_id": str}
    )
    found = {
        value_of(s): [s["period"][k][:19] for k in ("start", "end")] for s in stays
    }
    written = admissions[["admittime", "dischtime"]].replace(" ", "T", regex=True)
    assert found == dict(
        zip(admissions["hadm_id"], written.to_numpy().tolist(), strict=True)
    )
    assert n_common(of(fhir, "VISIT//"), of(tables, "VISIT//"), "time") == 275
    assert n_common(of(fhir, "VISIT_END//"), of(tables, "DISCHARGE//"), "time") == 275
    for here, there in (("VISIT//ACUTE", "ICU//"), ("VISIT_END//ACUTE", "ICU_END//")):
        part = of(fhir, here)
        assert len(part) == n_common(part, of(tables, there), "time") == 140


def test_diagnoses(formats):
    here, there = (of(e, "DIAGNOSIS//") for e in (formats.fhir, formats.tables))
    same = n_common(here, there, "code", "time", "available_time")
    assert (len(here), len(there), same) == (5051, 4506, 4506)


def test_procedures(formats):
    tables, fhir = formats.tables, formats.fhir
    here, there = of(fhir, *ICD_PROCEDURES), of(tables, *ICD_PROCEDURES)
    assert len(here) == len(there) == n_common(here, there, "code") == 722
    days = [e.assign(time=e["time"].dt.normalize()) for e in (here, there)]
    assert n_common(*days, "code", "time") == 722
    # On the day of discharge, the end of the day of the tables is the later one.
    assert n_common(here, there, "code", "available_time") == 700
    known_at = [e["available_time"].dt.normalize() for e in (here, there)]
    days = [
        e.assign(available_time=t) for e, t in zip((here, there), known_at, strict=True)
    ]
    assert n_common(*days, "code", "available_time") == 722
    care = [of(events, "PROCEDURE//MIMIC//") for events in (fhir, tables)]
    assert len(care[0]) == len(care[1]) == n_common(*care, "code") == 1468


def test_outputs(formats):
    here = of(formats.fhir, "OBSERVATION//MIMIC//")
    there = of(formats.tables, "OUTPUT//MIMIC//")
    there = recoded(there, "^OUTPUT", "OBSERVATION")
    assert len(there) == 9362
    columns = ("code", "time", "numeric_value", "unit")
    assert n_common(here, there, *columns) == 9362
    assert n_common(here, there, *columns, "available_time") == 9361


def test_inputs(formats, folder):
    inputs = pd.read_csv(
        folder / "mimic4_demo" / "icu" / "inputevents.csv.gz",
        usecols=["subject_id", "itemid", "starttime", "endtime"],
        parse_dates=["starttime", "endtime"],
    )
    codes = set(DRUG + inputs["itemid"].astype(str))
    here, there = (e[e["code"].isin(codes)] for e in (formats.fhir, formats.tables))
    assert len(here) == len(there) == n_common(here, there, "code") == 20404
    inputs["code"] = DRUG + inputs["itemid"].astype(str)
    given = counted(here, "code", "time")
    starts = counted(inputs.rename(columns={"starttime": "time"}), "code", "time")
    ends = counted(inputs.rename(columns={"endtime": "time"}), "code", "time")
    at_start = given & starts
    at_end = (given - starts) & ends
    assert (at_start.total(), at_end.total()) == (11188, 9213)


def test_requests(formats, folder):
    tables = folder / "mimic4_demo" / "hosp"
    requests = resources(folder / "mimic4_demo_fhir", "MimicMedicationRequest")
    orders: dict[str, list[dict]] = {"phid": [], "poe": []}
    for request in requests:
        kind = request["identifier"][0]["system"].rpartition("-")[2]
        orders[kind].append(request)
    pharmacy = pd.read_csv(tables / "pharmacy.csv.gz", dtype=str)
    entered = dict(zip(pharmacy["pharmacy_id"], pharmacy["entertime"], strict=True))
    assert len(orders["phid"]) == 15225
    for request in orders["phid"]:
        at = request["authoredOn"][:19].replace("T", " ")
        assert entered[value_of(request)] == at
    entries = pd.read_csv(tables / "poe.csv.gz", usecols=["poe_id"], dtype=str)
    assert {value_of(order) for order in orders["poe"]} <= set(entries["poe_id"])
    assert len(orders["poe"]) == 2327
    # Every row of the table is a drug of a request, mixes with each of their parts.
    drugs = of(recoded(formats.fhir, "OUTPATIENT", "INPATIENT"), DRUG)
    rows = of(formats.tables, DRUG)
    rows = rows[~rows["code"].str.fullmatch(DRUG + r"\d{6}")]
    assert len(rows) == n_common(drugs, rows, "code") == 18087


# ---------------------------------------------------------------- MEDS and the tables


@pytest.fixture(scope="module")
def twenty(formats) -> Formats:
    """The patients that all three have."""
    subjects = set(formats.meds["subject_id"])
    assert len(subjects) == 20
    parts = (events[events["subject_id"].isin(subjects)] for events in formats[:3])
    return Formats(*parts, formats.ids)


def test_persons_and_stays_of_meds(twenty):
    tables, meds = twenty.tables, twenty.meds
    for name, n in (("GENDER", 20), ("MEDS_DEATH", 4)):
        assert len(of(meds, name)) == n_common(of(meds, name), of(tables, name), "code")
        assert len(of(meds, name)) == n
    died = of(meds, "MEDS_DEATH"), of(tables, "MEDS_DEATH")
    assert n_common(*died, "time") == 3
    births = [of(e, "MEDS_BIRTH").set_index("subject_id")["time"].dt.year
              for e in (meds, tables, twenty.fhir)]  # fmt: skip
    for other in births[1:]:
        assert (births[0] == other.reindex(births[0].index)).all()
    for there, here, n in (
        ("HOSPITAL_ADMISSION", "VISIT//", 37),
        ("HOSPITAL_DISCHARGE", "DISCHARGE//", 37),
        ("ICU_ADMISSION", "ICU//", 27),
        ("ICU_DISCHARGE", "ICU_END//", 27),
    ):
        part = of(meds, there)
        assert len(part) == n_common(part, of(tables, here), "time") == n


def test_codes_of_meds(twenty):
    tables, fhir = twenty.tables, twenty.fhir
    meds = recoded(twenty.meds, "^DIAGNOSIS//ICD//9//", "DIAGNOSIS//ICD9CM//")
    meds = recoded(meds, "^DIAGNOSIS//ICD//10//", "DIAGNOSIS//ICD10CM//")
    meds = recoded(meds, "^PROCEDURE//ICD//9//", "PROCEDURE//ICD9Proc//")
    meds = recoded(meds, "^PROCEDURE//ICD//10//", "PROCEDURE//ICD10PCS//")
    meds = recoded(meds, "^SUBJECT_FLUID_OUTPUT//([0-9]+).*", r"OUTPUT//MIMIC//\1")
    diagnoses = of(meds, "DIAGNOSIS//")
    assert len(diagnoses) == n_common(diagnoses, tables, "code", "time") == 541
    assert n_common(diagnoses, fhir, "code", "time", "available_time") == 541
    procedures = of(meds, *ICD_PROCEDURES)
    assert len(procedures) == n_common(procedures, tables, "code") == 119
    assert n_common(procedures, fhir, "code", "time") == 119
    outputs = of(meds, "OUTPUT//")
    assert len(outputs) == n_common(outputs, tables, "code", "time") == 1354


def test_laboratory_of_meds(twenty):
    there = of(twenty.tables, "LAB//MIMIC//")
    here = recoded(of(twenty.meds, "LAB//"), r"^LAB//(\d+).*", r"LAB//MIMIC//\1")
    here = here[here["code"].isin(set(there["code"]))]
    assert (len(here), len(there)) == (11064, 11081)
    assert n_common(here, there, "code", "time") == 11064
    assert set(counted(here, "code", "time")) == set(counted(there, "code", "time"))
