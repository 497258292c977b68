"""What can be a cell of an image column, and what is said of files that are missing."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from dicom_files import dataset

from skfusion import EarlyFusionClassifier, ImageEmbedder, TabularEncoder, read_image
from skfusion._paths import FileReadError, explain_missing, open_file
from skfusion.cli.tables.columns import Table
from skfusion.cli.tables.images import images_of, resolve_paths
from skfusion.image.cells.column import check_cells
from skfusion.image.reading.files import ImageReadError

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def picture(path: Path) -> str:
    PIL.Image.fromarray(PIXELS).save(path)
    return str(path)


def test_cells_that_can_be_images(tmp_path):
    picture(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "a.png")
    check_cells(
        [
            *("a.png", tmp_path / "a.png", b"x", bytearray(b"x"), memoryview(b"x")),
            *(PIXELS, torch.zeros(8, 8), PIL.Image.fromarray(PIXELS), dataset(PIXELS)),
            *({"bytes": b"x", "path": None}, {"path": "a.png"}, {"bytes": b"x"}),
            *(io.BytesIO(b"x"), zipfile.Path(tmp_path / "a.zip", "a.png"), None),
            nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)),
        ],
        "scan",
    )


@pytest.mark.parametrize(
    "cell",
    [
        *({"array": [1]}, {}, {1, 2}, 3, 2.5, True, np.int8(3), 1 + 2j, object()),
        *(pd.Timestamp("2024-01-01"), pd.DataFrame({"a": [1]}), str, pd.Series([1])),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_cells_that_cannot_be_images(cell):
    message = f"got {type(cell).__name__} in column 'scan', row position 1; expected"
    with pytest.raises(TypeError, match=message):
        check_cells(["a.png", cell], "scan")


def test_an_error_says_of_how_many_cells(tmp_path):
    whole = picture(tmp_path / "a.png")
    cells = [whole, None, "no/1.png", "no/2.png", Path("no/3.png"), "no/4.png"]
    X = pd.Series(cells, name="scan")
    with pytest.raises(ImageReadError) as caught:
        ImageEmbedder(store=None).fit_transform(X)
    message = str(caught.value)
    assert "In column 'scan', row position 2: The image file does not exist." in message
    assert "Relative paths are looked up from the working directory." in message
    assert "4 of the 5 cells of column 'scan' name no existing file." in message
    assert "no/" not in message


def test_counts_in_a_fusion_and_of_bags(tmp_path):
    bags = [["no/1.png", "no/2.png"], ["no/3.png"], None, ["no/4.png"]]
    X = pd.DataFrame({"scan": bags, "age": range(4)})
    modalities = [
        ("scan", ImageEmbedder(store=None), "scan"),
        ("ehr", TabularEncoder(), ["age"]),
    ]
    with pytest.raises(ImageReadError, match="4 of the 4 images of column 'scan' name"):
        EarlyFusionClassifier(modalities).fit(X, [0, 1, 0, 1])


def test_files_are_not_counted_for_a_damaged_one(tmp_path):
    (tmp_path / "a.png").write_bytes(b"not an image")
    with pytest.raises(ImageReadError, match="not an image") as caught:
        ImageEmbedder(store=None).fit_transform([str(tmp_path / "a.png"), None])
    assert "name no existing file" not in str(caught.value)


MISTAKES = {
    "scans/secret.png ": "white space",
    "\tscans/secret.png": "white space",
    "\ufeffscans/secret.png": "invisible characters",
    '"scans/secret.png"': "surrounding quotes",
    "\u201escans/secret.png\u201c": "surrounding quotes",
    "https://x.org/secret.png": "looks like a URL",
    "s3://bucket/secret.png": "looks like a URL",
    "file:///scans/secret.png": "looks like a URL",
    "file:/scans/secret.png": "looks like a URL",
    "~/secret.png": "'~' is not expanded",
    "$HOME/secret.png": "Environment variables",
    "%USERPROFILE%/secret.png": "Environment variables",
    "scans.zip/secret.dcm": "leads into an archive",
    "scans.tar.gz!/secret.dcm": "leads into an archive",
    "scans\\secret.png": "backslashes",
    "scans/secret.png": "Relative paths are looked up from the working directory",
}


@pytest.mark.parametrize("path", MISTAKES)
def test_a_missing_file_is_explained(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert MISTAKES[path] in explain_missing(path)
    with pytest.raises(FileReadError) as caught:
        open_file(path)
    assert MISTAKES[path] in str(caught.value)
    assert "secret" not in str(caught.value)


# White space around the cells of a table is removed.
OF_TABLES = [path for path in MISTAKES if "://" not in path and path == path.strip()]


@pytest.mark.parametrize("path", OF_TABLES)
def test_a_missing_file_of_the_command_line_is_explained(path, tmp_path):
    table = Table(pd.DataFrame({"scan": [path]}), ".", {}, is_text=True)
    images_of(table, "scan", tmp_path)
    message = table.findings.problems[0].text
    assert "secret" not in message
    assert "Relative paths are looked up from the folder of the table" in message
    assert "working directory" not in message
    assert MISTAKES[path] in message or path == "scans/secret.png"


def test_an_archive_that_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("scans.zip", "w") as archive:
        archive.writestr("secret.dcm", "x")
    with pytest.raises(ImageReadError, match="leads into an archive") as caught:
        read_image("scans.zip/secret.dcm")
    assert "secret" not in str(caught.value)


def test_a_folder_named_as_an_archive(tmp_path):
    (tmp_path / "scans.zip").mkdir()
    assert explain_missing(tmp_path / "scans.zip" / "a.dcm") == ""


def test_umlauts_in_another_form(tmp_path):
    names = [unicodedata.normalize(form, "Müller.png") for form in ("NFC", "NFD")]
    for name, other in (names, names[::-1]):
        path = tmp_path / name
        path.write_bytes(b"")
        if not (tmp_path / other).exists():  # some file systems know one form only
            assert "another Unicode form" in explain_missing(tmp_path / other)
        path.unlink()


def test_folders_and_urls_of_the_command_line(tmp_path):
    (tmp_path / "Serie 1").mkdir()
    cells = pd.Series(["Serie 1", "s3://bucket/a.png", None], name="scan")
    paths = resolve_paths(cells, tmp_path)
    assert paths.tolist() == [str(tmp_path / "Serie 1"), "s3://bucket/a.png", None]
