"""Masks: stored values, one rule for background, and the same place as the image."""

from __future__ import annotations

import io
import warnings

import nibabel
import numpy as np
import pandas as pd
import pytest
from dicom_files import as_bytes, dataset, plane, write_series
from PIL import Image

from skfusion import read_image
from skfusion.image import RadiomicsEncoder
from skfusion.image.radiomics.masks import read_mask
from skfusion.image.reading.files import MAX_PIXELS, ImageReadError

Y, X = np.indices((60, 80))
DISC = (Y - 30) ** 2 + (X - 25) ** 2 < 180
GREY = np.where(DISC, 200, 20).astype(np.uint8)
IMAGE = read_image(GREY)


def marked(mask, image=IMAGE) -> np.ndarray:
    return read_mask(mask, image, max_pixels=MAX_PIXELS)


def encoded(values: np.ndarray, name: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, name, **options)
    return file.getvalue()


def palette(colours: list[int]) -> bytes:
    image = Image.fromarray(DISC.astype(np.uint8), mode=None).convert("P")
    image.putdata(DISC.astype(np.uint8).ravel().tolist())
    image.putpalette(colours + [0] * (768 - len(colours)))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


WHITE = (DISC * 255).astype(np.uint8)
EXACT = {
    "booleans": DISC,
    "labels": DISC.astype(np.int16) * 3,
    "PNG": encoded(WHITE, "PNG"),
    "1-bit TIFF": encoded(DISC, "TIFF"),
    "PIL": Image.fromarray(WHITE),
    "palette with a white background": palette([255, 255, 255, 200, 0, 0]),
    "palette with a black background": palette([0, 0, 0, 0, 200, 0]),
    "red": encoded(np.dstack([WHITE, WHITE * 0, WHITE * 0]), "PNG"),
    "transparent": encoded(np.dstack([WHITE * 0 + 9] * 3 + [WHITE]), "PNG"),
    "DICOM with padding 0": as_bytes(
        dataset(WHITE, Modality="MG", PixelPaddingValue=0)
    ),
    "DICOM with rescale": as_bytes(
        dataset(DISC.astype(np.uint16), RescaleSlope=2, RescaleIntercept=-1024)
    ),
    "DICOM with small values bright": as_bytes(
        dataset(DISC.astype(np.uint8), "MONOCHROME1", Modality="MG")
    ),
    "tensor": None,
}


@pytest.mark.parametrize("kind", EXACT)
def test_masks_mark_their_region(kind):
    mask = EXACT[kind]
    if kind == "tensor":
        mask = pytest.importorskip("torch").tensor(DISC)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(marked(mask), DISC)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_stored_values_of_tiffs(photometric, dtype):
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, (DISC * 255).astype(dtype), photometric=photometric)
    np.testing.assert_array_equal(marked(file.getvalue()), DISC)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("as_png", [False, True])
def test_smeared_masks_are_divided_in_the_middle(quality, as_png):
    content = encoded(WHITE, "JPEG", quality=quality)
    if as_png:  # as masks of Kvasir, which were JPEG once
        content = encoded(np.asarray(Image.open(io.BytesIO(content))), "PNG")
    with pytest.warns(UserWarning, match=r"mask has intermediate values.*divided at"):
        found = marked(content)
    assert (found != DISC).mean() < 0.01
    assert (found != DISC).sum() <= (0 if quality == 95 else 40)


def test_few_labels_are_not_noise():
    labels = DISC.astype(np.uint8) * 255
    labels[5, 5], labels[6, 6] = 1, 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert marked(labels).sum() == DISC.sum() + 2


@pytest.mark.parametrize(
    ("inside", "outside", "match"),
    [
        (1, -1, "negative values, which count as background"),
        (0, -1, r"smallest value \(-1\) counts as background"),
        (2, 1, r"smallest value \(1\) counts as background"),
        (-1000, -1024, r"smallest value \(-1024\)"),
    ],
)
def test_backgrounds_other_than_zero(inside, outside, match):
    mask = np.where(DISC, inside, outside).astype(np.int16)
    with pytest.warns(UserWarning, match=match):
        np.testing.assert_array_equal(marked(mask), DISC)


def test_a_mask_of_one_level():
    assert marked(np.ones(DISC.shape, np.uint8)).all()
    with pytest.raises(ImageReadError, match="marks no pixel"):
        marked(np.zeros(DISC.shape, np.uint8))
    with pytest.raises(
        ImageReadError, match=r"shape \(3, 3\) and the image \(60, 80\)"
    ):
        marked(np.ones((3, 3), np.uint8))


VOLUME = np.zeros((20, 30, 8), np.int16)
VOLUME[5:9, 15:20, 3] = 1
SCAN = (VOLUME * 100 + np.arange(8)).astype(np.int16)
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])
MOVED = np.array([[1, 0, 0, 9], [0, 1, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1.0]])


def nifti(values: np.ndarray, affine: np.ndarray) -> bytes:
    return nibabel.Nifti1Image(values, affine).to_bytes()


def test_masks_stored_along_other_axes_lie_on_their_image():
    image = read_image(nifti(SCAN, AFFINE), scaling="none")
    expected = image.array >= 100
    flipped = AFFINE @ np.array(
        [[-1, 0, 0, 19], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    for mask in (
        nifti(VOLUME, AFFINE),
        nifti(VOLUME[::-1], flipped),
        nifti(VOLUME.transpose(2, 0, 1), AFFINE[:, [2, 0, 1, 3]]),
        nibabel.Nifti1Image(VOLUME, AFFINE),
    ):
        np.testing.assert_array_equal(marked(mask, image), expected)


@pytest.mark.parametrize(
    "affine", [np.diag([2.0, 2.0, 4.0, 1.0]), MOVED, np.diag([-1.0, 1, 4, 1])]
)
def test_masks_at_another_place_are_refused(affine):
    image = read_image(nifti(SCAN, AFFINE))
    with pytest.raises(ImageReadError, match=r"mask lies up to [\d.]+ mm beside"):
        marked(nifti(VOLUME, affine), image)


def test_the_mask_of_a_prone_series(tmp_path):
    """The series is turned for display, and a NIfTI mask is at the same place."""
    planes, turned = [], [-1, 0, 0, 0, -1, 0]
    for number in range(8):
        made = plane(number, 4.0 * number, PixelSpacing=[1, 1], SliceThickness=4)
        made.Rows, made.Columns = 30, 20
        made.PixelData = np.ascontiguousarray(SCAN[:, :, number].T).tobytes()
        made.ImageOrientationPatient = turned
        made.ImagePositionPatient = [0.0, 0.0, 4.0 * number]
        planes.append(made)
    write_series(tmp_path / "x", planes, list("abcdefgh"))
    image = read_image(tmp_path / "x", scaling="none")
    expected = image.array >= 100 - 1024
    assert expected.sum() == VOLUME.sum()
    assert not image.arrangement.is_identity
    # the same place: LPS columns run to the right, rows to the front
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    np.testing.assert_array_equal(marked(nifti(VOLUME, affine), image), expected)
    with pytest.warns(UserWarning, match="rearranged alike"):
        found = marked(VOLUME.transpose(2, 1, 0), image)
    np.testing.assert_array_equal(found, expected)


def test_radiomics_of_a_smeared_mask_are_those_of_the_region():
    X = pd.DataFrame({"i": [GREY], "m": [encoded(WHITE, "JPEG", quality=75)]})
    encoder = RadiomicsEncoder().set_output(transform="pandas")
    with pytest.warns(UserWarning, match="intermediate values"):
        found = encoder.fit_transform(X).iloc[0]
    assert found["mean"] == pytest.approx(200, abs=3)
    assert found["area"] == pytest.approx(DISC.sum(), rel=0.03)
    assert found["n_parts"] == 1


def test_spacing_is_compared_where_the_place_is_unknown():
    film = as_bytes(dataset(GREY, Modality="DX", PixelSpacing=[0.2, 0.2]))
    other = as_bytes(dataset(WHITE, Modality="DX", PixelSpacing=[0.1, 0.1]))
    with pytest.raises(ImageReadError, match=r"0.1 x 0.1 mm and the image of 0.2"):
        marked(other, read_image(film))
