from __future__ import annotations

import os
import tempfile

import numpy as np
import pandas as pd
import pytest

from skfusion.ehr.sources import read_mimic, read_omop

pytest.importorskip("duckdb")

PERSON = pd.DataFrame(
    {
        "person_id": [1, 2],
        "gender_concept_id": [8532, 8507],
        "gender_source_value": ["Frau Müller", "NA"],
        "year_of_birth": [1950, 1960],
        "race_concept_id": [8527, None],
    }
)


def subjects(folder, **parameters):
    chunks = list(read_omop(folder, **parameters))
    return sorted(set(pd.concat(chunks)["subject_id"]))


def write(folder, table=PERSON, name="person.csv", **parameters):
    folder.mkdir(exist_ok=True, parents=True)
    table.to_csv(folder / name, index=False, **parameters)
    return folder


@pytest.mark.parametrize("name", ["g*", "g?", "g[ab]", "**", "it's"])
def test_names_of_folders_are_no_patterns(tmp_path, name):
    neighbour = {"g*": "gX", "g?": "gX", "g[ab]": "ga", "**": "ab", "it's": "its"}[name]
    write(tmp_path / name)
    write(tmp_path / neighbour, PERSON.assign(person_id=[2, 9]))
    assert subjects(tmp_path / name) == [1, 2]
    assert subjects(tmp_path / neighbour) == [2, 9]


def test_folder_of_mimic_is_no_pattern(tmp_path):
    for name, person in (("m*", 1), ("mX", 9)):
        table = pd.DataFrame({"subject_id": [person], "gender": "F", "dod": [None]})
        years = {"anchor_age": 50, "anchor_year": 2150}
        write(tmp_path / name / "hosp", table.assign(**years), "patients.csv")
        stays = pd.DataFrame({"subject_id": [person], "hadm_id": 1, "dischtime": None})
        stays["deathtime"] = None
        write(tmp_path / name / "hosp", stays, "admissions.csv")
    events = pd.concat(read_mimic(tmp_path / "m*", tables=["patients"]))
    assert set(events["subject_id"]) == {1}


@pytest.mark.filterwarnings("ignore:.*did not read:UserWarning")
@pytest.mark.parametrize(
    "name",
    [
        "x\" AS SELECT 1; COPY (SELECT 42) TO '{place}'; --.csv",
        "person\" AS SELECT 1; COPY (SELECT 42) TO '{place}'; --.csv",
        "person'; COPY (SELECT 42) TO '{place}'; --.csv",
    ],
)
def test_sql_in_the_name_of_a_file_is_not_executed(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "cdm")
    try:
        write(folder, name=name.format(place="made"))
    except OSError:
        pytest.skip("the file system forbids the name")
    assert subjects(folder) == [1, 2]
    assert not (tmp_path / "made").exists()


def test_a_column_with_sql_in_its_name(tmp_path):
    strange = PERSON.assign(**{'x_id" , (SELECT 1) AS "y': 1, "z_id')": 2})
    assert subjects(write(tmp_path / "cdm", strange)) == [1, 2]


def test_duckdb_reads_only_the_tables(tmp_path):
    from skfusion.ehr.sources.duckdb_tables import DuckTables, FileLayout

    duckdb = pytest.importorskip("duckdb", minversion="1.2")
    folder = write(tmp_path / "cdm")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    (folder / "notes.csv").write_text("a\n1\n")
    layout = FileLayout(frozenset({"person"}))
    tables = DuckTables.of_folder(folder, "read_omop", 1000, layout)
    run = tables._connection.execute
    for query in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"SELECT * FROM read_csv('{folder}/notes.csv')",
        f"COPY (SELECT 1) TO '{folder}/made.csv'",
        f"COPY (SELECT 1) TO '{tmp_path}/made.csv'",
        "SET enable_external_access=true",
    ):
        with pytest.raises(duckdb.Error):
            run(query)
    tables.close()
    assert not (tmp_path / "made.csv").exists()


@pytest.mark.parametrize("word", ["NULL", "NA", "\\N", "null", "nan"])
def test_words_for_null_in_columns_of_numbers(tmp_path, word):
    folder = write(tmp_path / "cdm", na_rep=word)
    events = pd.concat(read_omop(folder))
    assert set(events["subject_id"]) == {1, 2}
    # In a column of text, the same word is a text.
    unknown = write(tmp_path / "texts", PERSON.assign(gender_concept_id=0))
    assert "GENDER//NA" in set(pd.concat(read_omop(unknown))["code"])


def test_words_for_null_in_mimic(tmp_path):
    patients = pd.DataFrame({"subject_id": [1], "gender": "F", "dod": [None]})
    patients = patients.assign(anchor_age=50, anchor_year=2150)
    write(tmp_path / "m", patients, "patients.csv", na_rep="NULL")
    stays = pd.DataFrame({"subject_id": [1], "hadm_id": [1], "deathtime": [None]})
    stays["dischtime"] = "2150-03-05 12:00:00"
    write(tmp_path / "m", stays, "admissions.csv", na_rep="NULL")
    labs = pd.DataFrame(
        {
            "subject_id": 1, "itemid": ["50912.0", "50912"], "value": ["NA", None],
            "charttime": "2150-03-01 11:00:00", "storetime": "2150-03-01 12:00:00",
            "valuenum": [None, 1.5],
        }
    )  # fmt: skip
    labs["valueuom"] = "mmol/L"
    write(tmp_path / "m", labs, "labevents.csv", na_rep="NULL")
    events = pd.concat(read_mimic(tmp_path / "m", tables=["patients", "labevents"]))
    assert "MEDS_DEATH" not in set(events["code"])
    found = events[events["code"] == "LAB//MIMIC//50912"]
    assert found["text_value"].fillna("").tolist() == ["NA", ""]
    assert found["numeric_value"].tolist()[1] == 1.5


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_dialects_are_recognised(tmp_path, separator, encoding):
    table = PERSON.assign(gender_concept_id=0)
    folder = write(tmp_path / "cdm", table, sep=separator, encoding=encoding)
    codes = set(pd.concat(read_omop(folder))["code"])
    assert "GENDER//Frau Müller" in codes


def test_other_encodings_and_delimiters_are_named(tmp_path):
    table = PERSON.assign(gender_concept_id=0)
    folder = write(tmp_path / "cdm", table, encoding="latin-1")
    with pytest.raises(ValueError, match="not encoded in UTF-8.*encoding=") as caught:
        list(read_omop(folder))
    assert "ller" not in str(caught.value)
    codes = set(pd.concat(read_omop(folder, encoding="latin-1"))["code"])
    assert "GENDER//Frau Müller" in codes
    with pytest.raises(ValueError, match="person.csv cannot be read as ascii"):
        list(read_omop(folder, encoding="ascii"))
    with pytest.raises(ValueError, match="encoding must be the name"):
        list(read_omop(folder, encoding="klingon"))
    with pytest.raises(ValueError, match="delimiter must be one character"):
        list(read_omop(folder, delimiter="; "))
    hats = write(tmp_path / "hats", table, name="person.csv.gz", sep="^")
    assert subjects(hats, delimiter="^") == [1, 2]


def test_part_files_are_one_table(tmp_path):
    for number, rows in enumerate((slice(0, 1), slice(1, 2))):
        part = tmp_path / "cdm" / "person"
        part.mkdir(parents=True, exist_ok=True)
        PERSON[rows].to_parquet(part / f"part-{number:05}.snappy.parquet")
    (part / "_SUCCESS").write_text("")
    (part / "._part-00000.parquet.crc").write_text("x")
    assert subjects(tmp_path / "cdm") == [1, 2]
    (part / "_delta_log").mkdir()
    with pytest.raises(ValueError, match="a Delta table, person"):
        subjects(tmp_path / "cdm")


def test_partitions_of_csv_are_one_table(tmp_path):
    for year in (1950, 1960):
        rows = PERSON[PERSON["year_of_birth"] == year]
        write(tmp_path / "cdm" / "PERSON" / f"part={year}", rows, "0001.csv")
    assert subjects(tmp_path / "cdm") == [1, 2]


@pytest.mark.filterwarnings("ignore:.*did not read:UserWarning")
def test_strangers_are_ignored_and_only_known_names_clash(tmp_path):
    folder = write(tmp_path / "cdm")
    for name in ("mimic-cxr-2.0.0-a.csv", "mimic-cxr-2.0.0-b.csv", "notes.csv.gz"):
        (folder / name).write_text("a\n1\n")
    write(folder / "death", name="mine.txt")  # a folder without part files
    assert subjects(folder) == [1, 2]
    PERSON.to_csv(folder / "person.csv.gz", index=False)
    with pytest.raises(ValueError, match=r"person.csv and person.csv.gz. Keep one"):
        subjects(folder)
    (folder / "person.csv.gz").unlink()
    write(folder / "backup")
    with pytest.raises(ValueError, match=r"'person', backup.person.csv and person.csv"):
        subjects(folder)


def test_a_table_that_cannot_be_opened_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    folder = write(tmp_path / "cdm")
    (folder / "death.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match="'death' cannot be read"):
        list(read_omop(folder))
    (folder / "death.parquet").unlink()
    (folder / "death.csv.gz").write_text("no gzip")
    with pytest.raises(ValueError, match="death.csv.gz cannot be read"):
        list(read_omop(folder))
    assert os.listdir(tmp_path / "tmp") == []


def test_ids_of_mimic_are_exact_or_an_error(tmp_path):
    big = 2**53 + 1
    stays = pd.DataFrame({"subject_id": [big], "hadm_id": [1], "deathtime": [None]})
    write(tmp_path / "m", stays.assign(dischtime=None), "admissions.csv")
    patients = pd.DataFrame({"gender": "F", "dod": [None] * 3, "anchor_age": 50})
    patients["anchor_year"] = 2150
    ids = [f"{big}.0", str(big - 1), None]
    write(tmp_path / "m", patients.assign(subject_id=ids), "patients.csv")
    with pytest.warns(UserWarning, match="2 have no subject"):
        events = pd.concat(read_mimic(tmp_path / "m", tables=["patients"]))
    assert set(events["subject_id"]) == {big, big - 1}
    write(tmp_path / "m", patients.assign(subject_id=["1", "2.5", "3"]), "patients.csv")
    with pytest.raises(ValueError, match="patients.subject_id: got cells that are not"):
        list(read_mimic(tmp_path / "m", tables=["patients"]))
    floats = patients.assign(subject_id=np.array([1, 2.0**60, 3]))
    (tmp_path / "m" / "patients.csv").unlink()
    floats.to_parquet(tmp_path / "m" / "patients.parquet")
    with pytest.raises(ValueError, match="too large for a float column"):
        list(read_mimic(tmp_path / "m", tables=["patients"]))


def test_links_to_files_and_folders(tmp_path, monkeypatch):
    (tmp_path / "cdm").mkdir()
    real = write(tmp_path / "elsewhere*", name="p.csv") / "p.csv"
    try:
        (tmp_path / "cdm" / "person.csv").symlink_to(real)
        (tmp_path / "link").symlink_to(tmp_path / "cdm")
    except OSError:
        pytest.skip("the file system has no links")
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path / "cdm", tmp_path / "link", "cdm", "link/../cdm"):
        assert subjects(folder) == [1, 2]
