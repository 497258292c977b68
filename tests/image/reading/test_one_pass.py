"""A series is read in one pass, into the memory of the result, with the same values.

The other way is that of single files: pydicom's pixels, and new arrays at every step.
"""

from __future__ import annotations

import gzip
import sys
import types
import warnings

import nibabel
import numpy as np
import pytest
from dicom_files import plane, write_series
from pydicom.data import get_testdata_file
from pydicom.uid import ImplicitVRLittleEndian

from skfusion import read_image
from skfusion.image.reading import nifti, series
from skfusion.image.reading.dicom import plain_pixels

SCALINGS = ("auto", "none", "minmax", "zscore", "percentile", "dtype", "hounsfield")


def pixels_of(number, dtype):
    rng = np.random.default_rng(number)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (4, 5), dtype=dtype, endpoint=True)


def slices_of(dtype="int16", n=4, **tags):
    made = []
    for number in range(n):
        pixels = pixels_of(number, np.dtype(dtype))
        part = plane(number, 2.5 * number)
        part.BitsAllocated = part.BitsStored = 8 * pixels.itemsize
        part.HighBit = part.BitsStored - 1
        part.PixelRepresentation = int(pixels.dtype.kind == "i")
        part.PixelData = pixels.tobytes()
        part["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
        for name, value in tags.items():
            setattr(part, name, value)
        made.append(part)
    return made


@pytest.fixture
def count(monkeypatch):
    """Count the slices whose pixels are read directly."""
    found = {"plain": 0, "other": 0}

    def counted(*arguments):
        stored = plain_pixels(*arguments)
        found["other" if stored is None else "plain"] += 1
        return stored

    monkeypatch.setattr(series, "plain_pixels", counted)
    return found


def the_other_way(monkeypatch, folder, **options):
    def new_volume(shape, dtype, affine, **_):
        return np.empty(shape, dtype=dtype), None

    with monkeypatch.context() as patch:
        patch.setattr(series, "plain_pixels", lambda *_: None)
        patch.setattr(series, "new_volume", new_volume)
        return read_image(folder, **options)


def check(monkeypatch, folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = read_image(folder, **options)
        expected = the_other_way(monkeypatch, folder, **options)
    assert found.array.dtype == np.float32
    assert found.array.flags.c_contiguous
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.metadata == expected.metadata
    assert (found.axes, found.spacing) == (expected.axes, expected.spacing)
    np.testing.assert_array_equal(found.affine, expected.affine)
    assert found.arrangement == expected.arrangement


HEADERS = {
    "rescaled": {},
    "as stored": {"RescaleIntercept": 0},
    "shares": {"RescaleSlope": 0.5},
    "inverse": {"PhotometricInterpretation": "MONOCHROME1"},
    "padded": {"PixelPaddingValue": 0, "RescaleIntercept": 3},
    "window": {"WindowCenter": 40, "WindowWidth": 400, "Modality": "MR"},
    "sagittal": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
    "upside down": {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]},
    "rows and columns": {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]},
    "12 bits": {"BitsStored": 12, "HighBit": 11},
    "1 bit": {"BitsStored": 1, "HighBit": 0},
}


@pytest.mark.parametrize(
    ("dtype", "header"),
    [
        *(("int16", header) for header in HEADERS),
        *(("uint16", header) for header in ("as stored", "padded", "12 bits")),
        *(("uint8", header) for header in ("as stored", "upside down")),
        *(("int32", header) for header in ("as stored", "sagittal")),
    ],
)
def test_values_are_those_of_single_files(tmp_path, monkeypatch, count, dtype, header):
    parts = slices_of(dtype, **HEADERS[header])
    if "ImageOrientationPatient" in HEADERS[header]:
        along = np.cross(
            *np.reshape(HEADERS[header]["ImageOrientationPatient"], (2, 3))
        )
        for number, part in enumerate(parts):
            part.ImagePositionPatient = list(map(float, 2.5 * number * along))
    if header == "padded":
        for part in parts[1:]:  # the first slice has none
            part.PixelData = bytes(8) + part.PixelData[8:]
    write_series(tmp_path / "x", parts, [*"dbca"])
    for scaling in SCALINGS:
        if scaling == "hounsfield" and header == "window":
            continue
        check(monkeypatch, tmp_path / "x", scaling=scaling)
    assert count["plain"] > 0 == count["other"]


def test_the_upper_bits_do_not_count(tmp_path, count):
    parts = slices_of("uint16", n=3, RescaleIntercept=0, BitsStored=12, HighBit=11)
    write_series(tmp_path / "x", parts, [*"abc"])
    array = read_image(tmp_path / "x", scaling="none").array
    stored = [pixels_of(number, np.dtype("uint16")) & 0xFFF for number in range(3)]
    np.testing.assert_array_equal(np.sort(array.ravel()), np.sort(np.ravel(stored)))
    assert count == {"plain": 3, "other": 0}


def test_implicit_headers_are_plain(tmp_path, monkeypatch, count):
    parts = slices_of()
    for part in parts:
        part.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    write_series(tmp_path / "x", parts, [*"abcd"])
    check(monkeypatch, tmp_path / "x")
    assert count == {"plain": 4, "other": 0}


@pytest.mark.parametrize(
    "change",
    [
        lambda part: setattr(part, "HighBit", 15) or setattr(part, "BitsStored", 12),
        lambda part: part.__delattr__("PixelRepresentation"),
        lambda part: part.compress("1.2.840.10008.1.2.5"),
    ],
    ids=["upper bits", "incomplete", "compressed"],
)
def test_what_is_not_plain_goes_the_other_way(tmp_path, monkeypatch, count, change):
    parts = slices_of("uint16")
    for part in parts[1:]:
        change(part)
    write_series(tmp_path / "x", parts, [*"abcd"])
    check(monkeypatch, tmp_path / "x")
    assert count["plain"] == 1
    assert count["other"] == 3


def test_slices_of_different_types(tmp_path, monkeypatch, count):
    parts = slices_of(n=4)
    for number, part in enumerate(parts):
        part.RescaleSlope = [1, 1, 0.37, 1][number]
        part.RescaleIntercept = [0, -1024, 0, 0][number]
    write_series(tmp_path / "x", parts, [*"abcd"])
    check(monkeypatch, tmp_path / "x", scaling="none")
    check(monkeypatch, tmp_path / "x", scaling="minmax")


def test_a_truncated_slice_is_an_error(tmp_path):
    write_series(tmp_path / "x", slices_of(), [*"abcd"])
    content = (tmp_path / "x" / "c").read_bytes()
    (tmp_path / "x" / "c").write_bytes(content[:-6])
    with pytest.raises(ValueError, match="truncated"):
        read_image(tmp_path / "x")


def test_real_slices(tmp_path, monkeypatch, count):
    content = get_testdata_file("CT_small.dcm", read=True)
    parts = []
    for number in range(3):
        content.ImagePositionPatient = [-158.1, -179.0, -75.7 + 5 * number]
        content.SOPInstanceUID = f"1.2.{number + 1}"
        content.save_as(tmp_path / f"IM{number}")
        parts.append(number)
    check(monkeypatch, tmp_path)
    assert count == {"plain": len(parts), "other": 0}


def test_the_pixels_of_arrays_are_not_overwritten():
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    kept = array.copy()
    read_image(array)
    np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", "int32"])
@pytest.mark.parametrize(
    "affine",
    [np.diag([-1, -1, 2, 1.0]), np.eye(4)[[1, 2, 0, 3]], np.eye(4)[[2, 0, 1, 3]]],
    ids=["axial", "sagittal", "coronal"],
)
def test_nifti_is_read_into_the_memory_of_the_result(
    tmp_path, monkeypatch, dtype, affine
):
    rng = np.random.default_rng(0)
    voxels = (100 * rng.normal(size=(5, 4, 3))).astype(dtype)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "x.nii.gz")
    for scaling in ("none", "minmax", "zscore", "dtype"):
        found = read_image(tmp_path / "x.nii.gz", scaling=scaling)
        with monkeypatch.context() as patch:
            patch.setattr(
                nifti,
                "new_volume",
                lambda shape, dtype, *_, **__: (np.empty(shape, dtype), None),
            )
            expected = read_image(tmp_path / "x.nii.gz", scaling=scaling)
        assert found.array.flags.c_contiguous
        np.testing.assert_array_equal(found.array, expected.array)
        np.testing.assert_array_equal(found.affine, expected.affine)
        assert found.metadata == expected.metadata


class StandInError(Exception):
    """The error of another library of gzip."""


def test_another_library_of_gzip(tmp_path, monkeypatch):
    """The package isal, or a stand-in where it is not installed."""
    path = tmp_path / "x.nii.gz"
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    expected = read_image(path).array
    opened = []

    class GzipFile(gzip.GzipFile):
        def read(self, size=-1):
            opened.append(size)
            if len(opened) > 4:
                raise StandInError
            return super().read(size)

    monkeypatch.setattr(nifti, "_has_isal", lambda: True)
    library = types.ModuleType("isal.igzip")
    library.GzipFile = GzipFile
    errors = types.ModuleType("isal.isal_zlib")
    errors.error = StandInError
    monkeypatch.setitem(sys.modules, "isal", types.ModuleType("isal"))
    monkeypatch.setitem(sys.modules, "isal.igzip", library)
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", errors)
    np.testing.assert_array_equal(read_image(path).array, expected)
    assert opened
    opened += [0] * 5
    with pytest.raises(ValueError, match="damaged"):
        read_image(path)
