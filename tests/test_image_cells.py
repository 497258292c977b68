"""Which cells are images: by content, whatever the names of files are."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from pathlib import Path

import dicom_files
import nibabel
import numpy as np
import pandas as pd
import PIL.Image
import polars as pl
import pydicom
import pytest
import torch
from PIL import features

from skfusion import EarlyFusionClassifier, TabularEncoder
from skfusion._image_cells import recognition
from skfusion._image_cells.recognition import inspect_cells, looks_like_path
from skfusion._image_cells.signatures import has_image_suffix, image_format
from skfusion.image.reading.files import ImageReadError, recognise
from skfusion.modality import infer_columns, infer_modality_columns, is_image_cell

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def dataset() -> pydicom.Dataset:
    return dicom_files.dataset(PIXELS)


def dicom() -> bytes:
    return dicom_files.as_bytes(dataset())


ELEMENTS = {
    "InstanceCreationDate": ("DA", "20240101"),
    "StudyDate": ("DA", "20240101"),
    "ImageType": ("CS", ["ORIGINAL", "PRIMARY"]),
    "SOPClassUID": ("UI", "1.2"),
}


def bare(first: str, *, implicit: bool) -> bytes:
    """DICOM that begins with an element of group 8, without preamble and meta."""
    header = dataset()
    del header.SOPClassUID, header.SOPInstanceUID
    setattr(header, first, ELEMENTS[first][1])
    content = io.BytesIO()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    pydicom.filewriter.write_dataset(_file(content, implicit), header)
    return content.getvalue()


def _file(content: io.BytesIO, implicit: bool):
    file = pydicom.filebase.DicomFileLike(content)
    file.is_little_endian, file.is_implicit_VR = True, implicit
    return file


def of_pillow(name: str, **options) -> bytes:
    content = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(content, name, **options)
    return content.getvalue()


def of_numpy() -> bytes:
    content = io.BytesIO()
    np.save(content, PIXELS)
    return content.getvalue()


def of_nibabel(kind: type, dtype: type = np.int16) -> bytes:
    volume = kind(PIXELS.reshape(4, 4, 4).astype(dtype), np.eye(4))
    return volume.to_bytes()


NRRD = b"NRRD0004\ntype: uint8\ndimension: 2\nsizes: 8 8\nencoding: raw\n\n"
MHA = b"ObjectType = Image\nNDims = 2\nDimSize = 8 8\nElementDataFile = LOCAL\n"
FILES = {
    "PNG": lambda: of_pillow("PNG"),
    "JPEG": lambda: of_pillow("JPEG"),
    "TIFF": lambda: of_pillow("TIFF"),
    "BigTIFF": lambda: of_pillow("TIFF", big_tiff=True),
    "BMP": lambda: of_pillow("BMP"),
    "WebP": lambda: of_pillow("WEBP"),
    "GIF": lambda: of_pillow("GIF"),
    "PGM": lambda: of_pillow("PPM"),
    "plain PGM": lambda: b"P2\n# by hand\n2 2\n9\n0 1 2 3\n",
    "JPEG 2000": lambda: of_pillow("JPEG2000"),
    "JPEG 2000 stream": lambda: of_pillow("JPEG2000", no_jp2=True),
    "AVIF": lambda: of_pillow("AVIF"),
    "NPY": of_numpy,
    "NIfTI": lambda: of_nibabel(nibabel.Nifti1Image),
    "NIfTI-2": lambda: of_nibabel(nibabel.Nifti2Image),
    "NIfTI gz": lambda: gzip.compress(of_nibabel(nibabel.Nifti1Image)),
    "MGH": lambda: of_nibabel(nibabel.MGHImage, np.float32),
    "MGZ": lambda: gzip.compress(of_nibabel(nibabel.MGHImage, np.uint8)),
    "NRRD": lambda: NRRD + PIXELS.tobytes(),
    "MHA": lambda: MHA + PIXELS.tobytes(),
    "DICOM": dicom,
    "DICOM gz": lambda: gzip.compress(dicom()),
    **{
        f"{first} {'implicit' if implicit else 'explicit'}": (
            lambda first=first, implicit=implicit: bare(first, implicit=implicit)
        )
        for first in ELEMENTS
        for implicit in (False, True)
    },
}
NEEDED = {"JPEG 2000": "jpg_2000", "JPEG 2000 stream": "jpg_2000", "AVIF": "avif"}


@pytest.fixture(params=FILES)
def content(request) -> bytes:
    wanted = NEEDED.get(request.param)
    if wanted and wanted not in features.get_supported():
        pytest.skip(f"Pillow without {NEEDED[request.param]}")
    return FILES[request.param]()


def test_every_format_by_its_content(content, tmp_path):
    folder = tmp_path / "Bilder Müller 1"
    folder.mkdir()
    path = folder / "IM 0001"  # without a suffix
    path.write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("IM0001", content)
    cells = [
        *(str(path), path, content, bytearray(content), memoryview(content)),
        *({"bytes": content, "path": None}, {"bytes": None, "path": str(path)}),
        *([str(path), None], [(content, pd.Timestamp("2024-01-01"))]),
        zipfile.Path(tmp_path / "a.zip", "IM0001"),
        np.array([content, content], dtype=object),
    ]
    assert [is_image_cell(cell) for cell in cells] == [True] * len(cells)


def test_what_the_reader_recognises_is_recognised_here(content):
    try:
        name = recognise(io.BytesIO(content))
    except ImageReadError:
        return  # not a format of the reader
    assert image_format(content[:352]) == name


def test_images_that_are_objects(tmp_path):
    volume = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))

    class Plot:
        __array_interface__ = PIXELS.__array_interface__

    cells = [
        *(PIXELS, torch.zeros(8, 8), torch.zeros(1, 8, 8), Plot()),
        *(PIL.Image.fromarray(PIXELS), dataset(), volume, io.BytesIO(b"")),
        *("https://x.org/a.png?size=2", "s3://bucket/a.nii.gz", "C:\\scans\\a.IMA"),
    ]
    assert [is_image_cell(cell) for cell in cells] == [True] * len(cells)


def test_cells_that_are_no_images(tmp_path):
    (tmp_path / "notes.txt").write_text("BMI 23.4, P5 nerve")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "table.csv").write_text("a,b")
    archive = tmp_path / "table.csv.gz"
    archive.write_bytes(gzip.compress(b"a,b\n1,2"))
    cells = [
        *("female", "", "no change\nof size.png", "a\0.png", ".png", 3.5, None),
        *(b"BMI 23.4", b"P5 nerve", b"", np.zeros(3), torch.zeros(3), np.float32(2)),
        *({"a": 1}, {"bytes": None, "path": None}, {"path": "report.txt"}, []),
        *([None], [0.5, 0.25], [["I10"]], pd.DataFrame({"a": [1]}), np.ndarray),
        *(str(tmp_path / "notes.txt"), str(tmp_path / "folder"), str(archive)),
        *("https://x.org/report", io.StringIO("text"), "x" * 10_000 + ".png"),
    ]
    found = [is_image_cell(cell) for cell in cells]
    assert found == [False] * len(cells)


def test_folders_of_a_series_are_images(tmp_path):
    for name in ("Serie 1", "series2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".DS_Store").write_bytes(b"x")
        (tmp_path / name / "IM1").write_bytes(dicom())
    cells = [str(tmp_path / "Serie 1"), str(tmp_path / "series2"), None]
    X = pd.DataFrame({"ct": cells, "age": [1.0, 2.0, 3.0]})
    assert infer_columns(X) == (["ct"], ["age"], [])


def test_suffixes_of_files_that_do_not_exist():
    names = (
        *("a.IMA", "a.dcm.gz", "a.mgz", "a.mgh", "a.jp2", "a.j2k", "a.jpx", "a.avif"),
        *("a.npy", "a.pgm", "a.ppm", "a.pnm", "a.mhd", "a.mha", "a.nrrd", "a.gif"),
        *("a.svs", "a.nii.gz", "Übersicht 1/Bild ä.PNG", "a.tif?x=1"),
    )
    assert [has_image_suffix(name) for name in names] == [*(True,) * 19, False]


# ------------------------------------------------------------------ columns


def test_files_without_a_suffix_from_a_table_of_excel(tmp_path, monkeypatch):
    """Semicolons, a byte order mark, umlauts and blanks, as Excel exports them."""
    folder = tmp_path / "Aufnahmen Köln"
    folder.mkdir()
    for number in range(4):
        (folder / f"IM {number}").write_bytes(dicom())
    table = tmp_path / "Kohorte.csv"
    lines = [f"Aufnahmen Köln/IM {number};{60 + number}" for number in range(4)]
    table.write_text("\n".join(["Röntgen;Alter", *lines]), encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path)
    X = pd.read_csv(table, sep=";")
    assert infer_columns(X) == (["Röntgen"], ["Alter"], [])
    with pytest.raises(ValueError, match=r"'Röntgen'.*4 of 4 inspected cells are imag"):
        TabularEncoder().fit(X)


def test_images_after_a_round_trip_through_parquet(tmp_path):
    cells = [{"bytes": of_pillow("PNG"), "path": None}, {"bytes": None, "path": None}]
    X = pd.DataFrame({"a": cells * 3, "b": [of_pillow("GIF"), None] * 3})
    X.to_parquet(tmp_path / "table.parquet")
    for options in ({}, {"dtype_backend": "pyarrow"}):
        again = pd.read_parquet(tmp_path / "table.parquet", **options)
        assert infer_columns(again) == (["a", "b"], [], [])
    assert infer_columns(X.astype({"b": object})) == (["a", "b"], [], [])


def test_categories_of_paths_are_images():
    X = pd.DataFrame({"scan": pd.Categorical(["a.png", "b.png", "a.png"])})
    assert infer_columns(X) == (["scan"], [], [])


@pytest.mark.parametrize(
    "cells",
    [
        ["/data/IM000", "/data/IM001"],
        ["s1/IM000", "s1/IM001"],
        [r"C:\data\IM000", r"C:\data\IM001"],
        [r"s1\IM000", r"s1\IM001"],
        ["~/a", "~/b", "~/a"],
        ["dicomweb://pacs/1", "dicomweb://pacs/2"],
        ["Köln 1/report one.txt", "Köln 1/report two.txt"],
        [Path("/data/IM000"), Path("/data/IM001")],
        ["/data/IM000", "none", "none", "none"],
    ],
    ids=str,
)
def test_paths_never_become_features(cells):
    X = pd.DataFrame({"scan": cells, "age": np.arange(len(cells))})
    with pytest.warns(UserWarning, match="'scan' is left out.*working directory"):
        found = infer_modality_columns(X, aside=(), estimator_name="compare_fusion")
    assert found == {"ehr": ("ehr", ["age"])}
    with pytest.warns(UserWarning, match="infer_columns: column 'scan' is left out"):
        assert infer_columns(X) == ([], ["age"], [])


def test_existing_files_that_are_no_images(tmp_path):
    for number in range(3):
        (tmp_path / f"report{number}").write_text("no effusion")
    X = pd.DataFrame({"report": [str(tmp_path / f"report{n}") for n in range(3)]})
    with pytest.warns(UserWarning, match="3 of 3 inspected cells.*of which 3 exist"):
        assert infer_columns(X) == ([], [], [])
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match="finds no column of images or vectors"),
    ):
        EarlyFusionClassifier().fit(X, [0, 1, 0])


def test_text_with_slashes_is_not_a_path():
    X = pd.DataFrame(
        {
            "unit": ["mg/dL", "g/L", "mg/dL"] * 4,
            "pressure": [f"{120 + i}/80" for i in range(12)],
            "date": [f"{i + 1:02}/05/2020" for i in range(12)],
            "note": [f"s/p CABG, BP 12{i}/80, w/o fever." for i in range(12)],
            "codes": ["E11/I10", "I10/E78"] * 6,
            "answer": ["n/a", "yes/no"] * 6,
        }
    )
    assert infer_columns(X) == ([], list(X.columns), [])
    assert not any(map(looks_like_path, X.to_numpy().ravel()))
    TabularEncoder().fit(X)


@pytest.mark.parametrize("place", [0, 20, 49])
def test_one_odd_cell_does_not_make_categories(place):
    cells = [f"scan{i}.png" for i in range(50)]
    cells.insert(place, "lost")
    X = pd.DataFrame({"scan": cells, "age": range(51)})
    with pytest.warns(UserWarning, match="1 of 50 inspected cells are not images"):
        assert infer_columns(X.iloc[:50]) == (["scan"], ["age"], [])


def test_fewer_images_than_half_are_left_out():
    X = pd.DataFrame({"scan": ["a.png", *["none"] * 9], "age": range(10)})
    with pytest.warns(UserWarning, match="1 of 10 inspected cells are images"):
        assert infer_columns(X) == ([], ["age"], [])
    with pytest.warns(UserWarning, match="'scan'.*1 of 10 inspected cells are images"):
        TabularEncoder().fit(X)


def test_only_inspected_cells_are_looked_up(monkeypatch):
    looked = []
    monkeypatch.setattr(recognition, "_mode_of", lambda path: looked.append(path) or 0)
    column = pd.Series([f"/scans/{i}.png" for i in range(100_000)])
    assert inspect_cells(column).n_images == recognition.N_CELLS_INSPECTED
    assert len(looked) == recognition.N_CELLS_INSPECTED
    assert looked[0] != looked[-1] == "/scans/99999.png"


def test_columns_with_another_role_are_not_looked_at():
    X = pd.DataFrame({"site": ["/a1", "/a2"], "age": [1, 2]})
    found = infer_modality_columns(X, aside=["site"], estimator_name="compare_fusion")
    assert found == {"ehr": ("ehr", ["age"])}


def test_lists_of_polars():
    png = of_pillow("PNG")
    X = pl.DataFrame({"scan": [["a.png", "b.png"], ["c.png"]], "raw": [png, None]})
    frame = pd.DataFrame({name: X[name].to_list() for name in X.columns})
    assert infer_columns(frame) == (["scan", "raw"], [], [])


def test_a_header_of_mgh_has_plausible_lengths():
    head = struct.pack(">6i", 1, 4, 4, 4, 1, 3)
    assert image_format(head) == "MGH"
    assert image_format(struct.pack(">6i", 1, 0, 4, 4, 1, 3)) is None
