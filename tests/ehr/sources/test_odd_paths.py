"""Names of folders and files are no patterns, no SQL and no addresses."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_files import plane, write_series

from skfusion import EmbeddingStore, EventStore, read_image
from skfusion.cli.main import main
from skfusion.cli.tables.files import ReadOptions, read_raw
from skfusion.cli.tables.images import resolve_paths
from skfusion.datasets import pad_ufes
from skfusion.ehr.sources import read_omop

# A name, and that of a neighbour which it would match as a pattern.
NAMES = {
    "g*": "gX",
    "**": "ab",
    "g?": "gY",
    "g[ab]": "ga",
    "[!a]": "b",
    "{a,b}": "a",
    "it's": "its",
    'say "a"': "say a",
    "a; DROP TABLE person; --": "a",
    "Größe 1": "Groesse 1",
    "a%20b": "a b",
    "a#b": "a",
    "a?mode=ro": "a",
    "$HOME": "home",
    "~nobody": "nobody",
    " led": "led",
    "-rf": "rf",
    "a\\b": "b",
    "new\nline": "newline",
}
# Patterns, SQL and home directories for each reader, the rest when asked for.
FEW = ("g*", "[!a]", "it's", "a; DROP TABLE person; --", "~nobody")
SOME = [
    pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in NAMES
]
SQL = "x\" AS SELECT 1; COPY (SELECT 42) TO 'made'; --"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def folder_named(name):
    try:
        os.mkdir(name)
    except OSError:
        pytest.skip("the file system forbids the name")
    return name


def write_omop(folder, person):
    table = pd.DataFrame({"person_id": [person], "year_of_birth": 1950})
    table.assign(gender_concept_id=8507).to_csv(f"{folder}/person.csv", index=False)
    parts = f"{folder}/observation_period"
    os.mkdir(parts)
    period = table[["person_id"]].assign(observation_period_start_date="2020-01-01")
    period.to_csv(f"{parts}/part [1].csv", index=False)


def write_mimic(folder, person):
    os.mkdir(f"{folder}/hosp")
    patients = pd.DataFrame({"subject_id": [person], "gender": "F", "dod": None})
    patients.assign(anchor_age=50, anchor_year=2150).to_csv(
        f"{folder}/hosp/patients.csv", index=False
    )
    stays = pd.DataFrame({"subject_id": [person], "hadm_id": 1, "dischtime": None})
    stays.assign(deathtime=None).to_csv(f"{folder}/hosp/admissions.csv", index=False)


def write_fhir(folder, person):
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "subject": {"reference": f"Patient/{person}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "effectiveDateTime": "2024-05-01T08:00:00Z",
        "valueQuantity": {"value": 1.0, "unit": "g/dL"},
    }
    with open(f"{folder}/Observation.ndjson", "w") as file:
        file.write(json.dumps(observation) + "\n")


def write_meds(folder, person):
    os.mkdir(f"{folder}/data")
    time = pd.Timestamp("2024-05-01 08:10")
    events = pd.DataFrame({"subject_id": [person], "time": time, "code": "a"})
    events.to_parquet(f"{folder}/data/0.parquet")


SOURCES = {
    "omop": (write_omop, {}),
    "mimic": (write_mimic, {"tables": ["patients"]}),
    "fhir": (write_fhir, {}),
    "meds": (write_meds, {}),
}


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.filterwarnings("ignore:read_:UserWarning")
def test_a_reader_reads_the_folder_of_this_name(kind, name, here):
    pytest.importorskip("pyarrow" if kind == "meds" else "duckdb")
    write, how = SOURCES[kind]
    write(here / folder_named(name), 1)
    write(here / folder_named(NAMES[name]), 9)
    reader = getattr(EventStore, f"from_{kind}")
    for place in (here / name, os.path.join(".", name)):
        store = reader(place, here / f"store of {name}", **how)
        assert set(store.subjects.astype(str)) == {"1"}
    again = EventStore(here / f"store of {name}")
    assert len(again.to_frame()) == len(store.to_frame()) > 0


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.filterwarnings("ignore:read_:UserWarning")
def test_sql_in_names_of_files_is_not_executed(kind, here):
    pytest.importorskip("pyarrow" if kind == "meds" else "duckdb")
    write, how = SOURCES[kind]
    write(folder_named("source"), 1)
    ending = {"fhir": "ndjson", "meds": "parquet"}.get(kind, "csv")
    for folder in ("source", f"source/{SQL}"):
        if folder != "source":
            folder_named(folder)
        for name in (SQL, "person'; COPY (SELECT 42) TO 'made'; --"):
            path = os.path.join(folder, f"{name}.{ending}")
            if kind == "meds":
                write_meds_file(path)
            elif kind == "fhir":
                open(path, "w").close()
            else:
                pd.DataFrame({"a": [1]}).to_csv(path, index=False)
    store = getattr(EventStore, f"from_{kind}")("source", **how)
    assert set(store.subjects.astype(str)) <= {"1", "2"}
    assert not (here / "made").exists()


def write_meds_file(path):
    time = pd.Timestamp("2024-05-01 08:10")
    pd.DataFrame({"subject_id": [2], "time": time, "code": "b"}).to_parquet(path)


@pytest.mark.parametrize("name", SOME)
def test_images_and_series_are_of_the_folder_of_this_name(name):
    from PIL import Image

    for folder, grey in ((folder_named(name), 10), (folder_named(NAMES[name]), 90)):
        planes = [plane(number, float(number)) for number in range(3)]
        write_series(Path(folder, "series"), planes, ["a", "b*", "c?"])
        pixels = np.full((4, 4), grey, dtype=np.uint8)
        Image.fromarray(pixels).save(os.path.join(folder, "a.png"))
    series = read_image(os.path.join(".", name, "series"))
    assert series.array.shape[-3] == 3
    table = os.path.join(".", name, "cohort.csv")
    pd.DataFrame({"scan": ["a.png"], "age": [3]}).to_csv(table, index=False)
    cells = read_raw(table, ReadOptions()).frame["scan"]
    found = resolve_paths(cells, os.path.dirname(table))
    with Image.open(found[0]) as image:
        assert np.asarray(image).max() == 10


@pytest.mark.parametrize("name", SOME)
def test_stores_and_commands_take_the_folder_of_this_name(name, here, capsys):
    place = here / folder_named(name)
    folder_named(NAMES[name])
    store = EmbeddingStore(place)
    store.put_many({"a": np.zeros(3)})
    store.close()
    assert main(["cache", "info", f"--path={place}"]) == 0
    assert "entries:   1" in capsys.readouterr().out
    assert main(["cache", "clear", f"--path={place}"]) == 0
    assert "1 embeddings removed" in capsys.readouterr().out
    assert not os.listdir(NAMES[name])


@pytest.mark.parametrize("name", ["g*", "g[ab]", "it's", "Größe 1"])
def test_photos_are_of_the_folder_of_this_name(name, here):
    from PIL import Image

    for folder, grey in ((folder_named(name), 10), (folder_named(NAMES[name]), 90)):
        os.mkdir(f"{folder}/imgs_part_1")
        pixels = np.full((4, 4, 3), grey, dtype=np.uint8)
        Image.fromarray(pixels).save(f"{folder}/imgs_part_1/PAT_1.png")
    found = pad_ufes._find_photos(here / name, pd.Series(["PAT_1.png"]))
    with Image.open(found[0]) as image:
        assert np.asarray(image).max() == 10


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.filterwarnings("ignore:read_:UserWarning")
def test_links_to_files_are_followed_and_links_to_folders_are_not(kind, here):
    pytest.importorskip("pyarrow" if kind == "meds" else "duckdb")
    write, how = SOURCES[kind]
    write(folder_named("source"), 1)
    write(folder_named("elsewhere"), 9)
    try:
        os.symlink(here / "elsewhere", "source/link")
    except OSError:
        pytest.skip("the file system has no links")
    reader = getattr(EventStore, f"from_{kind}")
    assert set(reader("source", **how).subjects.astype(str)) == {"1"}
    for folder, _, names in os.walk("source"):
        for name in names:
            path = os.path.join(folder, name)
            other = os.path.join(here, path.replace("source", "elsewhere"))
            os.unlink(path)
            os.symlink(other, path)
    assert set(reader("source", **how).subjects.astype(str)) == {"9"}


def write_database(name, person, schema=None):
    duckdb = pytest.importorskip("duckdb")
    try:
        connection = duckdb.connect(os.path.abspath(name))
    except duckdb.Error:
        pytest.skip("the file system forbids the name")
    with connection:
        table = "person"
        if schema is not None:
            connection.execute(f"CREATE SCHEMA {schema}")
            table = f"{schema}.person"
        connection.execute(
            f"CREATE TABLE {table} AS SELECT {person} AS person_id, "
            "8507 AS gender_concept_id, 1950 AS year_of_birth"
        )


@pytest.mark.parametrize(
    "name", [*FEW, "md:a", "sqlite:a", "memory", "system", "main", "select"]
)
@pytest.mark.filterwarnings("ignore:read_:UserWarning")
def test_a_database_file_is_no_address_and_no_name_of_duckdb(name, here):
    """duckdb would download an extension for "md:a", and connect to a service."""
    write_database(f"{name}.duckdb", 1)
    for place in (f"./{name}.duckdb", here / f"{name}.duckdb"):
        store = EventStore.from_omop(place)
        assert store.subjects.tolist() == [1]


@pytest.mark.filterwarnings("ignore:read_:UserWarning")
def test_a_schema_of_a_database_file_is_found():
    write_database("x.duckdb", 3, schema="cdm")
    store = EventStore.from_omop("x.duckdb", schema="cdm")
    assert store.subjects.tolist() == [3]


def test_two_readers_of_one_database_file_do_not_disturb_each_other():
    write_database("x.duckdb", 1)
    one, two = read_omop("x.duckdb"), read_omop("x.duckdb")
    first = next(one), next(two)
    assert all(chunk["subject_id"].eq(1).all() for chunk in first)
    one.close(), two.close()
    assert os.listdir() == ["x.duckdb"]


@pytest.mark.parametrize("query", ["read_csv('{}')", "read_text('{}')", "'{}'"])
def test_a_view_of_a_database_file_reads_no_other_file(query, here):
    duckdb = pytest.importorskip("duckdb")
    write_omop(folder_named("elsewhere"), 9)
    source = query.format(here / "elsewhere" / "person.csv")
    with duckdb.connect("x.duckdb") as connection:
        connection.execute(f"CREATE VIEW person AS SELECT * FROM {source}")
    with pytest.raises(ValueError, match="table 'person' is a view of other files"):
        EventStore.from_omop("x.duckdb")


def test_a_file_of_another_database_downloads_no_extension():
    pytest.importorskip("duckdb")
    with sqlite3.connect("x.duckdb") as connection:
        connection.execute("CREATE TABLE person (person_id)")
    connection.close()
    with pytest.raises(ValueError, match="a file that duckdb cannot open"):
        EventStore.from_omop("x.duckdb")


@pytest.mark.filterwarnings("ignore:.*did not read:UserWarning")
def test_names_in_the_header_are_not_executed(here):
    pytest.importorskip("duckdb")
    write_omop(folder_named("source"), 1)
    for name in (SQL, "a, (SELECT 1)) FROM x; COPY (SELECT 42) TO 'made'; --_id"):
        table = pd.read_csv("source/person.csv")
        table[name.replace(",", ";")] = "text"
        table.to_csv("source/person.csv", index=False)
    assert EventStore.from_omop("source").subjects.tolist() == [1]
    assert not (here / "made").exists()


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("path", ["a\0b", "~no such user/a", "missing"])
def test_a_path_that_does_not_exist_is_said(kind, path):
    pytest.importorskip("pyarrow" if kind == "meds" else "duckdb")
    with pytest.raises((FileNotFoundError, ValueError), match=f"read_{kind}: "):
        getattr(EventStore, f"from_{kind}")(path)
