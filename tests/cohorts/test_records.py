"""Images of MIMIC-CXR, OMOP and FHIR as tables of the one shape."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
from sqlite_connections import closed_connections, connect  # noqa: F401

from skfusion import EventStore
from skfusion.cohorts import (
    link_images,
    read_fhir_images,
    read_mimic_cxr,
    read_omop_images,
)
from skfusion.cohorts.image_table import COLUMNS, image_table
from skfusion.exceptions import DataWarning

METADATA = '''dicom_id,subject_id,study_id,PerformedProcedureStepDescription,\
ViewPosition,Rows,Columns,StudyDate,StudyTime
a-1,10000032,50414267,CHEST (PA AND LAT),PA,3056,2544,21800506,213014.531
a-2,10000032,50414267,CHEST (PA AND LAT),LATERAL,3056,2544,21800506,80556.875
b-1,10000764,57375967,,AP,2544,3056,21321015.0,3
c-1,18000001,58000000,"CHEST, ""PORTABLE""",,2544,3056,21321015,250000.0
c-2,18000001,58000000,,,2544,3056,,120000
'''
SPLIT = """dicom_id,study_id,subject_id,split
a-1,50414267,10000032,train
a-2,50414267,10000032,train
b-1,57375967,10000764,test
"""


def texts(times):
    return [None if pd.isna(time) else str(time) for time in times]


@pytest.fixture
def cxr(tmp_path):
    (tmp_path / "mimic-cxr-2.0.0-metadata.csv").write_text(METADATA)
    with gzip.open(tmp_path / "mimic-cxr-2.0.0-split.csv.gz", "wt") as file:
        file.write(SPLIT)
    for place in ("p10/p10000032/s50414267/a-1", "p18/p18000001/s58000000/c-1"):
        path = tmp_path / "files" / f"{place}.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
    return tmp_path


def test_times_of_mimic_cxr_get_their_zeros_back(cxr):
    with pytest.warns(DataWarning, match="1 times cannot be read.*1 images have no"):
        images = read_mimic_cxr(cxr, check_files=False)
    assert list(images.columns) == list(COLUMNS)
    assert texts(images["acquired"]) == [
        "2180-05-06 21:30:14.531000",
        "2180-05-06 08:05:56.875000",
        "2132-10-15 00:00:03",
        "2132-10-15 23:59:59.999999",
        None,
    ]
    assert images["patient"].tolist()[0] == 10000032
    assert images["patient"].dtype == "int64"
    assert images["view"].tolist() == ["PA", "LATERAL", "AP", None, None]
    assert images["split"].tolist() == ["train", "train", "test", None, None]
    assert images.loc[0, ["rows", "columns"]].tolist() == [3056, 2544]


def test_files_of_mimic_cxr_are_found(cxr):
    with pytest.warns(DataWarning, match="the files of 3 of 5 images do not exist"):
        images = read_mimic_cxr(cxr)
    assert images["path"].notna().tolist() == [True, False, False, True, False]
    assert images["path"][0].endswith("a-1.jpg")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (None, FileNotFoundError, "metadata"),
        (METADATA.replace("StudyTime", "Time"), ValueError, r"\['StudyTime'\]"),
        (METADATA.replace("10000764", "x"), ValueError, "1 of 5 cells"),
        (METADATA.replace("c-2", "c-1"), ValueError, "1 rows of the table of metadata"),
        (METADATA.replace("c-2", ""), ValueError, "1 of 5 rows .* no dicom_id"),
        ("", ValueError, "metadata.csv is no table of CSV"),
    ],
)
def test_a_broken_table_of_mimic_cxr(cxr, text, error, message):
    place = cxr / "mimic-cxr-2.0.0-metadata.csv"
    place.unlink() if text is None else place.write_text(text)
    with pytest.raises(error, match=message):
        read_mimic_cxr(cxr)


def test_repeated_rows_of_mimic_cxr_count_once(cxr):
    place = cxr / "mimic-cxr-2.0.0-metadata.csv"
    again = METADATA.splitlines()[3].replace("CHEST (PA AND LAT)", "CHEST")
    place.write_text(f"{METADATA}{again}\n".replace("AP,2544,", "AP,2544.5,"))
    with gzip.open(cxr / "mimic-cxr-2.0.0-split.csv.gz", "wt") as file:
        file.write(f"{SPLIT}a-2,50414267,10000032,train\n")
    with pytest.warns(DataWarning) as caught:
        images = read_mimic_cxr(cxr, check_files=False)
    told = " ".join(str(one.message) for one in caught)
    assert "1 rows repeat an image" in told
    assert "1 of 'rows' of 5 images are no whole numbers" in told
    assert images["split"].tolist() == ["train", "train", "test", None, None]
    with gzip.open(cxr / "mimic-cxr-2.0.0-split.csv.gz", "wt") as file:
        file.write(f"{SPLIT}a-2,50414267,10000032,test\n")
    with pytest.raises(ValueError, match="1 rows of the table of splits contradict"):
        read_mimic_cxr(cxr, check_files=False)


def test_numbers_that_cannot_be_read_are_counted():
    cells = {
        "series_number": [3, "4", 1.5, "x", None, pd.NA, " ", float("inf")],
        "rows": pd.Series([512.0] * 7 + [1e300]),
        "columns": pd.array([1, None] * 4, dtype="Int64"),
        "frames": pd.Series(["1", None] * 4, dtype="str"),
    }
    message = "read_fhir_images: 3 of 'series_number', 1 of 'rows' of 8 images are no"
    with pytest.warns(DataWarning, match=message):
        table = image_table(cells, 8, "read_fhir_images")
    assert table["series_number"].tolist() == [3, 4, *[pd.NA] * 6]
    assert table["rows"].tolist() == [512] * 7 + [pd.NA]
    assert table["frames"].tolist() == table["columns"].tolist() == [1, pd.NA] * 4


OCCURRENCES = pd.DataFrame(
    {
        "image_occurrence_id": [1, 2, 3],
        "person_id": [7, 7, 9],
        "procedure_occurrence_id": [1, 2, 3],
        "visit_occurrence_id": [None, 5, 6],
        "anatomic_site_concept_id": [4030, 0, None],
        "wadors_uri": [None, "https://pacs/3", None],
        "local_path": ["ct/7", None, "/cr/9.dcm"],
        "image_occurrence_date": ["2024-03-01", "2024-03-02", "2024-03-05"],
        "image_study_UID": ["1.2", "1.3", "1.4"],
        "image_series_UID": ["1.2.1", "1.3.1", "1.4.1"],
        "modality_concept_id": [901, 902, 903],
    }
)
CONCEPT = pd.DataFrame(
    {
        "concept_id": [901, 902, 4030],
        "concept_name": ["Computed Tomography", "Plain radiography", "Chest"],
        "concept_code": ["CT", "168537006", "51185008"],
        "vocabulary_id": ["DICOM", "SNOMED", "SNOMED"],
    }
)


def of_omop(kind, folder):
    if kind == "sqlite":
        database = connect()
        OCCURRENCES.to_sql("image_occurrence", database, index=False)
        CONCEPT.to_sql("concept", database, index=False)
        return database
    OCCURRENCES.to_csv(folder / "image_occurrence.csv", index=False)
    CONCEPT.to_csv(folder / "CONCEPT.csv", index=False, sep="\t")
    return folder


@pytest.mark.parametrize("kind", ["sqlite", "folder"])
def test_image_occurrences_of_omop(kind, tmp_path):
    pytest.importorskip("duckdb")
    with pytest.warns(DataWarning, match="1 of 3 images have a modality"):
        images = read_omop_images(of_omop(kind, tmp_path), folder="/data")
    assert list(images.columns) == list(COLUMNS)
    assert images["patient"].tolist() == [7, 7, 9]
    assert images["path"].tolist() == ["/data/ct/7", "https://pacs/3", "/cr/9.dcm"]
    assert images["modality"].tolist() == ["CT", "Plain radiography", None]
    assert images["body_part"].tolist() == ["Chest", None, None]
    assert images["series"].tolist() == ["1.2.1", "1.3.1", "1.4.1"]
    day_end = pd.Timestamp("2024-03-01 23:59:59.999999")
    assert images["acquired"][0] == day_end


def test_unknown_body_parts_of_omop_are_counted():
    pytest.importorskip("duckdb")
    database = connect()
    rows = OCCURRENCES.assign(
        anatomic_site_concept_id=[4030, 4031, 0], modality_concept_id=[901, 902, 0]
    )
    rows.to_sql("image_occurrence", database, index=False)
    CONCEPT.to_sql("concept", database, index=False)
    with pytest.warns(DataWarning, match="1 of 3 images have a body part") as warned:
        images = read_omop_images(database)
    assert images["body_part"].tolist() == ["Chest", None, None]
    assert "modality" not in str(warned[0].message)


def test_concepts_of_omop_without_a_name_are_not_known():
    pytest.importorskip("duckdb")
    database = connect()
    OCCURRENCES.to_sql("image_occurrence", database, index=False)
    unnamed = CONCEPT.astype({"concept_name": object, "concept_code": object})
    unnamed.loc[:1, ["concept_name", "concept_code"]] = None
    unnamed.to_sql("concept", database, index=False)
    with pytest.warns(DataWarning, match="3 of 3 images have a modality whose"):
        images = read_omop_images(database)
    assert images["modality"].tolist() == [None, None, None]


def test_gaps_and_odd_cells_of_omop(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    rows = pd.DataFrame(
        {
            "person_id": pd.array([7, None, 9], dtype="Int64"),
            "image_occurrence_date": ["2024-03-01", None, "2024-03-02"],
            "local_path": ["", r"C:\scans\ü.dcm", "ct"],
            "wadors_uri": [" ", None, "https://pacs"],
            "image_study_uid": [12.0, None, 13.0],
        }
    )
    database = duckdb.connect()
    database.register("given", rows)
    database.execute("create table image_occurrence as select * from given")
    message = (
        "of 3 images, 1 have no person_id, 1 have no readable date, 1 have no path"
    )
    with pytest.warns(DataWarning, match=message):
        images = read_omop_images(database, folder=tmp_path)
    place = str(tmp_path / "ct")
    assert images["path"].tolist() == [None, r"C:\scans\ü.dcm", place]
    assert images["study"].tolist() == ["12", None, "13"]
    database.close()


def test_dates_of_omop_in_a_zone(tmp_path):
    pytest.importorskip("duckdb")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        images = read_omop_images(
            of_omop("sqlite", tmp_path), time_zone="Europe/Berlin"
        )
    wanted = pd.Timestamp("2024-03-01 22:59:59.999999", tz="UTC")
    assert images["acquired"][0] == wanted


def test_a_database_without_images():
    database = connect()
    database.execute("create table person (person_id)")
    with pytest.raises(ValueError, match="image_occurrence"):
        read_omop_images(database)


def study(**changes):
    made = {
        "resourceType": "ImagingStudy",
        "id": "s1",
        "status": "available",
        "subject": {"reference": "Patient/p7"},
        "started": "2024-03-01T08:30:00-05:00",
        "identifier": [
            {"system": "http://hospital/accession", "value": "A1"},
            {"system": "urn:dicom:uid", "value": "urn:oid:1.2"},
        ],
        "series": [
            {
                "uid": "1.2.1",
                "number": 2,
                "modality": {"code": "CT"},
                "bodySite": {"code": "51185008", "display": "Thorax"},
                "laterality": {"code": "7771000"},
                "numberOfInstances": 28,
                "started": "2024-03-01T08:45:10.5-05:00",
            },
            {"uid": "1.2.2", "modality": {"code": "SR"}, "instance": [{"uid": "1"}]},
        ],
    }
    return made | changes


R5 = study(
    modality=[{"coding": [{"code": "CT"}]}],
    series=[
        {
            "uid": "1.2.1",
            "number": 2,
            "modality": {"coding": [{"code": "CT"}]},
            "bodySite": {"concept": {"coding": [{"display": "Thorax"}]}},
            "laterality": {"coding": [{"code": "7771000"}]},
            "numberOfInstances": 28,
            "started": "2024-03-01T08:45:10.5-05:00",
        },
        {"uid": "1.2.2", "modality": {"coding": [{"code": "SR"}]}, "instance": [{}]},
    ],
)
DSTU2 = study(
    subject=None,
    patient={"reference": "Patient/p7"},
    identifier=None,
    uid="urn:oid:1.2",
    status=None,
    series=[part | {"uid": f"urn:oid:{part['uid']}"} for part in study()["series"]],
)


@pytest.mark.parametrize("version", ["R4", "R5", "DSTU2", "bundle"])
def test_imaging_studies_of_all_versions(version, tmp_path):
    made = {"R4": study(), "R5": R5, "DSTU2": DSTU2}.get(version, study())
    if version == "bundle":
        entries = [{"resource": made}, {"resource": {"resourceType": "Patient"}}]
        made = {"resourceType": "Bundle", "entry": entries}
        (tmp_path / "bundle.json").write_text(json.dumps(made, indent=1))
    else:
        with gzip.open(tmp_path / "ImagingStudy.ndjson.gz", "wt") as file:
            file.write(json.dumps(made) + "\n")
    images = read_fhir_images(tmp_path, time_zone="America/New_York")
    assert list(images.columns) == list(COLUMNS)
    assert images["patient"].tolist() == ["p7", "p7"]
    assert images["study"].tolist() == ["1.2", "1.2"]
    assert images["series"].tolist() == ["1.2.1", "1.2.2"]
    assert images["modality"].tolist() == ["CT", "SR"]
    assert images["body_part"].tolist() == ["Thorax", None]
    assert images["instances"].tolist() == [28, 1]
    assert images["series_number"].tolist() == [2, pd.NA]
    # All offsets are those of New York, so that times are local as in the EventStore.
    assert texts(images["acquired"]) == [
        "2024-03-01 08:45:10.500000",
        "2024-03-01 08:30:00",
    ]


def write_lines(folder: Path, *resources) -> Path:
    text = "\n".join(map(json.dumps, resources))
    (folder / "export.ndjson").write_text(text)
    return folder


def test_times_of_images_are_of_the_kind_of_the_events(tmp_path):
    """An export with two zones is in UTC, for images as for events."""
    other = study(id="s2", started="2024-03-01T08:30:00+01:00", series=[])
    lab = {
        "resourceType": "Observation",
        "subject": {"reference": "Patient/p7"},
        "category": [{"coding": [{"code": "laboratory"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
        "effectiveDateTime": "2024-03-01T08:00:00-05:00",
        "valueQuantity": {"value": 13.1, "code": "g/dL"},
    }
    folder = write_lines(tmp_path, study(), other, lab)
    images = read_fhir_images(folder)
    assert images["acquired"].dt.tz is not None
    assert images["acquired"].max() == pd.Timestamp("2024-03-01 13:45:10.5", tz="UTC")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        store = EventStore.from_fhir(folder)
    assert store.has_time_zone


def test_what_is_left_out_of_an_export_is_counted(tmp_path):
    folder = write_lines(
        tmp_path,
        study(),
        study(status="entered-in-error"),
        study(status="registered"),
        study(subject={"reference": "Device/1"}),
        study(started=None, series=[{"uid": "1"}]),
    )
    with pytest.warns(DataWarning) as caught:
        images = read_fhir_images(folder)
    assert len(images) == 3
    assert len(caught) == 1
    for part in (
        "1 studies that are retracted",
        "1 studies that are registered",
        "1 studies without a patient",
        "1 series without a readable start",
    ):
        assert part in str(caught[0].message)


def test_a_resource_of_the_wrong_shape_is_located_and_not_quoted(tmp_path):
    folder = write_lines(tmp_path, study(), study(series={"uid": "Doe"}))
    with pytest.raises(ValueError, match="line 2 of export.ndjson") as caught:
        read_fhir_images(folder)
    assert "Doe" not in str(caught.value)


def test_a_series_of_an_export_that_is_listed_again(tmp_path):
    folder = write_lines(tmp_path, study(), study(), study(id="other", series=None))
    with pytest.warns(DataWarning, match=r"series that are listed again \(left out\)"):
        images = read_fhir_images(folder)
    once = read_fhir_images(write_lines(tmp_path, study()))
    assert images["series"].tolist() == [*once["series"], None]
    odd = study(series=[{"uid": "1.2", "number": [1]}])
    with pytest.raises(ValueError, match="line 1 of .* not a valid ImagingStudy"):
        read_fhir_images(write_lines(tmp_path, odd))


def test_a_date_of_an_export_is_the_end_of_its_day(tmp_path):
    folder = write_lines(tmp_path, study(started="2024-03-01", series=[]))
    images = read_fhir_images(folder, time_zone="America/New_York")
    assert images["acquired"].dt.tz_localize(None)[0].time().isoformat() in (
        "23:59:59.999999",
        "04:59:59.999999",
    )


def test_files_of_a_scan_are_joined_by_series(tmp_path):
    files = image_table(
        {
            "path": ["ct", "sr", "other"],
            "patient": ["MRN-1", "MRN-1", "MRN-2"],
            "series": ["1.2.1", "1.2.2", "9"],
            "rows": [512, 4, 4],
            "acquired": pd.Series([pd.Timestamp("2024-03-01 08:50")] * 3),
        },
        3,
        "scan_images",
    )
    folder = write_lines(
        tmp_path, study(), study(id="s3", series=[{"uid": "absent", "number": 1}])
    )
    with pytest.warns(DataWarning, match="no file for 1 of 3 series"):
        images = read_fhir_images(folder, files=files, time_zone="America/New_York")
    assert images["path"].tolist() == ["ct", "sr", None]
    assert images["patient"].tolist() == ["p7"] * 3  # as in the record
    assert images["rows"].tolist() == [512, 4, pd.NA]
    assert images["acquired"][0] == pd.Timestamp("2024-03-01 08:45:10.5")
    with pytest.raises(ValueError, match="'series'"):
        read_fhir_images(folder, files=files.drop(columns="series"))
    # As a scan is after a file of CSV.
    files["acquired"] = files["acquired"].astype(str)
    with pytest.warns(DataWarning, match="no file for 1 of 3 series"):
        again = read_fhir_images(folder, files=files, time_zone="America/New_York")
    pd.testing.assert_frame_equal(again, images)


def test_a_header_gives_the_time_of_a_date_of_omop():
    pytest.importorskip("duckdb")
    files = image_table(
        {
            "path": ["a", "b"],
            "series": ["1.2.1", "1.3.1"],
            "acquired": pd.Series(
                pd.to_datetime(["2024-03-01 08:50:00", "2024-04-09 08:50:00"])
            ),
        },
        2,
        "scan_images",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        images = read_omop_images(of_omop("sqlite", None), files=files)
    assert texts(images["acquired"])[:2] == [
        "2024-03-01 08:50:00",
        "2024-03-02 23:59:59.999999",  # of another day
    ]


@pytest.mark.filterwarnings("ignore::skfusion.exceptions.LeakageWarning")
@pytest.mark.filterwarnings("ignore::skfusion.exceptions.DataWarning")
def test_the_same_line_links_images_of_every_source(cxr, tmp_path):
    pytest.importorskip("duckdb")
    (tmp_path / "fhir").mkdir()
    with gzip.open(tmp_path / "fhir" / "x.ndjson.gz", "wt") as file:
        file.write(json.dumps(study()))
    tables = [
        read_mimic_cxr(cxr, check_files=False),
        read_omop_images(of_omop("sqlite", None)),
        read_fhir_images(tmp_path / "fhir", time_zone="America/New_York").assign(
            path=pd.Series(["ct", "sr"], dtype=object)
        ),
    ]
    dtypes = [table.drop(columns="patient").dtypes.to_dict() for table in tables]
    assert dtypes[0] == dtypes[1] == dtypes[2]
    for table in tables:
        cases = pd.DataFrame(
            {
                "patient": table["patient"].head(1),
                "index_time": table["acquired"].max() + pd.Timedelta("1D"),
            }
        )
        assert link_images(cases, table, on="patient")["image"].notna().all()
