"""One arrangement for every orientation in which planes can be stored."""

from __future__ import annotations

import itertools

import nibabel
import numpy as np
import pytest
from dicom_files import as_bytes, dataset, write_series

from skfusion import read_image
from skfusion.image.reading.geometry import (
    affine_of_planes,
    radiological_orientation,
    slice_axis,
    spacing_of,
)

RNG = np.random.default_rng(0)
ANATOMY = RNG.integers(0, 4000, (7, 9, 11)).astype(np.int16)  # right, front, head
TO_RAS = np.diag([2.0, 1.5, 0.5, 1.0])
# The plane of acquisition by its anatomical axis, and what it looks like in radiology.
PLANES = {
    "axial": (2, lambda v: v[::-1, ::-1].transpose(2, 1, 0)),
    "sagittal": (0, lambda v: v[:, ::-1, ::-1].transpose(0, 2, 1)),
    "coronal": (1, lambda v: v[::-1, ::-1, ::-1].transpose(1, 2, 0)),
}


def stored(order: tuple[int, ...], flips: tuple[bool, ...]) -> tuple:
    """Store the anatomy along other axes, with the affine that says so."""
    change = np.eye(4)[:, [*order, 3]]
    values = ANATOMY.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            change[:, 3] += change[:, axis] * (values.shape[axis] - 1)
            change[:, axis] *= -1
            values = np.flip(values, axis)
    return np.ascontiguousarray(values), TO_RAS @ change


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
@pytest.mark.parametrize("flips", [*itertools.product([False, True], repeat=3)])
def test_every_storage_of_nifti_gives_one_array(order, flips):
    values, affine = stored(order, flips)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_dim_info(slice=order.index(1))  # coronal slices
    found = read_image(image.to_bytes(), scaling="none")
    np.testing.assert_array_equal(found.array, PLANES["coronal"][1](ANATOMY))
    assert found.spacing == (1.5, 0.5, 2.0)
    index = np.array([4, 2, 3, 1])
    place = found.affine @ index
    voxel = np.rint(np.linalg.inv(TO_RAS) @ place)[:3].astype(int)
    assert ANATOMY[tuple(voxel)] == found.array[tuple(index[:3])]


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("turned", range(8))
@pytest.mark.parametrize("backwards", [False, True])
def test_every_orientation_of_dicom_gives_the_array_of_nifti(
    tmp_path, plane, turned, backwards
):
    """Rows and columns exchanged or reversed, prone, mirrored, feet first."""
    through, shown = PLANES[plane]
    expected = shown(ANATOMY)
    down, across = (axis for axis in (2, 1, 0) if axis != through)
    if turned & 4:
        down, across = across, down
    steps = {axis: TO_RAS[axis, axis] for axis in range(3)}
    signs = {down: -1 if turned & 1 else 1, across: -1 if turned & 2 else 1}
    files = []
    for number in range(ANATOMY.shape[through]):
        pixels = np.take(ANATOMY, number, axis=through)
        pixels = pixels if down < across else pixels.T
        start = np.zeros(3)
        start[through] = number * steps[through]
        for axis, flipped in ((down, 0), (across, 1)):
            if signs[axis] < 0:
                pixels = np.flip(pixels, flipped)
                start[axis] = (ANATOMY.shape[axis] - 1) * steps[axis]
        made = dataset(np.ascontiguousarray(pixels), Modality="MR")
        lps = np.array([-1, -1, 1])
        cosines = np.zeros((2, 3))
        cosines[0, across], cosines[1, down] = signs[across], signs[down]
        made.ImageOrientationPatient = (cosines * lps).ravel().tolist()
        made.ImagePositionPatient = (start * lps).tolist()
        made.PixelSpacing = [steps[down], steps[across]]
        made.InstanceNumber = -number if backwards else number
        files.append(made)
    write_series(tmp_path / "x", files, [f"{i}" for i in range(len(files))])
    found = read_image(tmp_path / "x", scaling="none")
    np.testing.assert_array_equal(found.array, expected)
    np.testing.assert_allclose(
        found.affine @ [0, 0, 0, 1], place_of(found.array[0, 0, 0])
    )
    # a single slice has the arrangement of its series
    middle = read_image(as_bytes(files[2]), scaling="none")
    assert middle.axes == "YX"
    assert any(np.array_equal(middle.array, part) for part in expected)


def place_of(value: float) -> np.ndarray:
    """Return the place of a value, which occurs once."""
    places = np.argwhere(value == ANATOMY)
    assert len(places) == 1
    return TO_RAS @ [*places[0], 1]


def test_values_of_the_corner_are_unique():
    corners = ANATOMY[:: len(ANATOMY) - 1, ::8, ::10].ravel()
    assert all((value == ANATOMY).sum() == 1 for value in corners)


@pytest.mark.parametrize(
    ("steps", "stated", "expected"),
    [
        ((4.0, 0.5, 0.5), None, 0),  # thick slices, wherever they are stored
        ((0.5, 0.5, 4.0), 0, 2),  # even if the header says otherwise
        ((0.5, 0.5, 0.4), None, 2),  # thin slices
        ((1.0, 0.8, 1.0), None, 1),
        ((1.0, 1.0, 1.0), None, 2),  # isotropic: as stored
        ((1.0, 1.0, 1.0), 0, 0),
        ((1.2, 1.0, 1.0), 2, 2),
        ((0.0, 1.0, 1.0), None, 2),
    ],
)
def test_slice_axis(steps, stated, expected):
    affine = np.diag([*steps, 1.0])
    assert slice_axis(affine, stated, default=2) == expected


def test_oblique_planes_follow_the_closest_axes():
    angle = np.deg2rad(30)
    cosines = np.array([1, 0, 0, 0, np.cos(angle), np.sin(angle)])
    step = np.array([0, -np.sin(angle), np.cos(angle)]) * 3
    affine = affine_of_planes(cosines, np.zeros(3), step, (0.5, 0.25))
    assert radiological_orientation(affine, 0).is_identity
    assert spacing_of(affine) == pytest.approx((3.0, 0.5, 0.25))


def test_gantry_tilt_does_not_lengthen_the_distance_of_slices():
    angle = np.deg2rad(20)
    cosines = np.array([1, 0, 0, 0, np.cos(angle), -np.sin(angle)])
    affine = affine_of_planes(cosines, np.zeros(3), np.array([0, 0, 5.0]), (1, 1))
    assert spacing_of(affine)[0] == pytest.approx(5 * np.cos(angle))
