"""NIfTI beside nibabel: canonical orientation, units, spacing, and bad files."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from dicom_files import plane, write_series

from skfusion import read_image
from skfusion.image.reading.files import ImageReadError

nibabel = pytest.importorskip("nibabel")
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform  # noqa: E402

RNG = np.random.default_rng(0)
VALUES = RNG.integers(-800, 3000, (3, 4, 5)).astype(np.int16)


def volume(codes: str = "RAS", values: np.ndarray = VALUES, kind=None):
    """Store the same anatomy along other axes."""
    affine = np.diag([0.5, 0.75, 2.0, 1.0])
    turn = ornt_transform(axcodes2ornt(tuple("RAS")), axcodes2ornt(tuple(codes)))
    stored = nibabel.apply_orientation(values, turn)
    affine = affine @ inv_ornt_aff(turn, values.shape)
    return (kind or nibabel.Nifti1Image)(stored, affine)


def as_bytes(image) -> bytes:
    return image.to_bytes()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "ASL"])
@pytest.mark.parametrize("compressed", [False, True], ids=["nii", "gz"])
def test_every_orientation_gives_the_same_volume(codes, compressed, tmp_path):
    image = volume(codes)
    content = as_bytes(image)
    path = tmp_path / "x.dat"
    path.write_bytes(gzip.compress(content) if compressed else content)
    found = read_image(path, scaling="none")
    canonical = nibabel.as_closest_canonical(image).get_fdata()
    np.testing.assert_array_equal(
        found.array, canonical[::-1, ::-1].transpose(2, 1, 0).astype(np.float32)
    )
    np.testing.assert_array_equal(canonical, VALUES)
    assert found.axes == "ZYX"
    assert found.spacing == (2.0, 0.75, 0.5)


def test_nifti_and_dicom_of_one_scan_agree(tmp_path):
    """A DICOM series converted as dcm2niix does: RAS of nibabel is LPS turned."""
    planes = [plane(number, 2.0 * number, PixelSpacing=[1, 1]) for number in range(3)]
    for made in planes:
        pixels = RNG.integers(0, 99, (4, 5)).astype(np.int16)
        made.PixelData = pixels.tobytes()
    write_series(tmp_path / "x", planes, list("abc"))
    series = read_image(tmp_path / "x", scaling="none")
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # columns to the left, rows to the back
    stored = series.array.transpose(2, 1, 0)
    converted = nibabel.Nifti1Image(stored, affine)
    found = read_image(as_bytes(converted), scaling="none")
    np.testing.assert_array_equal(found.array, series.array)
    assert found.spacing == series.spacing


def test_scaled_values_single_planes_and_nifti_2():
    image = volume(values=VALUES.astype(np.float64))
    image.header.set_data_dtype(np.int16)
    image.header.set_slope_inter(0.5, -7)
    content = as_bytes(image)
    found = read_image(content, scaling="none")
    expected = nibabel.Nifti1Image.from_bytes(content).get_fdata()
    np.testing.assert_allclose(found.array, expected[::-1, ::-1].transpose(2, 1, 0))
    flat = read_image(as_bytes(volume(values=VALUES[:, :, :1])))
    assert flat.axes == "YX"
    assert flat.spacing == (0.75, 0.5)
    second = read_image(as_bytes(volume(kind=nibabel.Nifti2Image)), scaling="none")
    first = read_image(as_bytes(volume()), scaling="none")
    np.testing.assert_array_equal(second.array, first.array)
    one = nibabel.Nifti1Image(VALUES[..., None], np.eye(4))
    assert read_image(as_bytes(one)).axes == "ZYX"


def header_only() -> bytes:
    return as_bytes(volume())[:350] + b"\0" * 2


def pair() -> bytes:
    content = bytearray(as_bytes(volume()))
    content[344:348] = b"ni1\0"
    return bytes(content)


def four() -> bytes:
    return as_bytes(nibabel.Nifti1Image(np.zeros((3, 4, 5, 6), np.int16), np.eye(4)))


def colours() -> bytes:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    return as_bytes(nibabel.Nifti1Image(np.zeros((3, 4, 5), kind), np.eye(4)))


def not_finite() -> bytes:
    values = np.zeros((3, 4, 5), np.float32)
    values[0, 0, 0] = np.nan
    return as_bytes(nibabel.Nifti1Image(values, np.eye(4)))


def large() -> bytes:
    """Claims 10^9 voxels that gzip would make of a few bytes."""
    content = bytearray(as_bytes(volume())[:352])
    content[40:48] = np.array([3, 2000, 2000, 2000], "<i2").tobytes()
    return gzip.compress(bytes(content) + bytes(10**6))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (four, r"shape \(3, 4, 5, 6\): its fourth dimension.*volume_index=0 to 5"),
        (header_only, "is truncated"),
        (lambda: as_bytes(volume())[:-20], "is truncated"),
        (lambda: gzip.compress(as_bytes(volume()))[:-30], "is truncated|damaged"),
        (
            lambda: gzip.compress(b"patient,age"),
            "compressed with gzip: .* looks like text",
        ),
        (lambda: b"\x1f\x8b" + bytes(500), "cannot be unpacked"),
        (pair, r"second file \(.hdr and .img\)"),
        (colours, "colours or complex"),
        (not_finite, "1 NaN or infinite values of 60"),
        (large, "2000 planes of 2000 x 2000 pixels, more than 8 times"),
    ],
)
def test_bad_nifti(make, match):
    with pytest.raises(ImageReadError, match=match):
        read_image(make())
