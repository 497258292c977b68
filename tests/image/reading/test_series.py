"""A folder is one volume, in the order of the body; what does not fit is said."""

from __future__ import annotations

import os

import numpy as np
import pytest
from dicom_files import as_bytes, dataset, plane, write_series

from skfusion import EmbeddingStore, read_image
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.read import content_digest

PLACES = [0.0, 2.5, 5.0, 7.5]
PLANES = [plane(number, place) for number, place in enumerate(PLACES)]
NAMES = ["c.dcm", "IM1", "b", "a.txt"]


def test_slices_are_sorted_by_place_whatever_their_names(tmp_path):
    for number, names in enumerate((NAMES, NAMES[::-1])):
        write_series(tmp_path / str(number), PLANES, names)
    first, second = (read_image(tmp_path / name, scaling="none") for name in "01")
    np.testing.assert_array_equal(first.array, second.array)
    assert first.axes == "ZYX"
    assert first.array[:, 0, 0].tolist() == [-1024, -1023, -1022, -1021]
    assert first.spacing == (2.5, 0.5, 0.25)
    assert first.metadata["n_missing_slices"] == 0
    assert content_digest(tmp_path / "0") == content_digest(tmp_path / "1")
    store = EmbeddingStore(tmp_path / "store")
    assert content_digest(tmp_path / "0", store.digest_file) == content_digest(
        tmp_path / "1"
    )
    (tmp_path / "1" / "b").unlink()
    assert content_digest(tmp_path / "0") != content_digest(tmp_path / "1")


def test_places_count_and_not_instance_numbers(tmp_path):
    planes = [
        plane(number, place, InstanceNumber=9 - number)
        for number, place in enumerate(PLACES)
    ]
    write_series(tmp_path / "x", planes, NAMES)
    array = read_image(tmp_path / "x", scaling="none").array
    assert array[:, 0, 0].tolist() == [-1024, -1023, -1022, -1021]


def test_oblique_slices_are_sorted_along_their_normal(tmp_path):
    turn = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]  # sagittal: the normal is -x
    planes = [
        plane(i, 0, ImageOrientationPatient=turn, ImagePositionPatient=[-3.0 * i, 5, 7])
        for i in range(3)
    ]
    write_series(tmp_path / "x", planes[::-1], NAMES[:3])
    image = read_image(tmp_path / "x", scaling="none")
    assert image.array[:, 0, 0].tolist() == [-1024, -1023, -1022]
    assert image.spacing == (3.0, 0.5, 0.25)


def test_gaps_and_repeated_slices_are_reported(tmp_path):
    places = [0.0, 1.0, 2.0, 3.0, 6.0]
    planes = [plane(number, place) for number, place in enumerate(places)]
    write_series(tmp_path / "x", [*planes, planes[1]], [*"abcde", "copy"])
    with pytest.warns(
        UserWarning,
        match="2 slices are missing between the 5 others and 1 slices are duplicates",
    ):
        image = read_image(tmp_path / "x")
    assert image.array.shape == (5, 4, 5)
    assert image.metadata["n_missing_slices"] == 2
    assert image.metadata["n_repeated_slices"] == 1


def test_other_files_are_passed_over(tmp_path):
    write_series(tmp_path / "x", PLANES, NAMES)
    (tmp_path / "x" / "notes.txt").write_text("for the eyes of Dr Doe")
    (tmp_path / "x" / "empty").write_bytes(b"")
    (tmp_path / "x" / "sub").mkdir()
    os.symlink(tmp_path / "x" / "loop", tmp_path / "x" / "loop")
    os.symlink(tmp_path / "x", tmp_path / "x" / "self")
    assert read_image(tmp_path / "x").array.shape == (4, 4, 5)
    assert len(content_digest(tmp_path / "x")) == 64


def test_without_places_the_numbers_count(tmp_path):
    planes = [plane(number, 0, InstanceNumber=4 - number) for number in range(3)]
    for made in planes:
        del made.ImagePositionPatient
    write_series(tmp_path / "x", planes, NAMES[:3])
    image = read_image(tmp_path / "x", scaling="none")
    assert image.axes == "TYX"
    assert image.array[:, 0, 0].tolist() == [-1022, -1023, -1024]
    assert image.spacing == (0.5, 0.25)


def test_one_file_is_an_image_and_rescale_may_differ(tmp_path):
    write_series(tmp_path / "one", PLANES[:1], NAMES[:1])
    assert read_image(tmp_path / "one").axes == "YX"
    planes = [plane(1, i, RescaleSlope=i + 0.5, RescaleIntercept=0) for i in range(3)]
    write_series(tmp_path / "x", planes, NAMES[:3])
    array = read_image(tmp_path / "x", scaling="none").array
    np.testing.assert_allclose(array[:, 0, 0], [0.5, 1.5, 2.5])


def mixed() -> list:
    mr = plane(9, 3.0, SeriesInstanceUID="1.2.3", Modality="MR")
    return [*PLANES, mr]


def other_shape() -> list:
    made = dataset(np.zeros((6, 5), dtype=np.int16))
    made.ImageOrientationPatient, made.ImagePositionPatient = (
        [1, 0, 0, 0, 1, 0],
        [0] * 3,
    )
    return [*PLANES, made]


def scout() -> list:
    return [*PLANES, plane(8, 0.0, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])]


def phases() -> list:
    late = [plane(number + 9, place) for number, place in enumerate(PLACES)]
    return [*PLANES, *late]


def unplaced() -> list:
    planes = [plane(1, 0.0) for _ in range(3)]
    for made in planes:
        del made.ImagePositionPatient
    return planes


def films() -> list:
    return [dataset(np.zeros((2, 4, 4), dtype=np.uint8)) for _ in range(2)]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (mixed, r"contains 2 series \(CT of 4 images, 4 x 5; MR of 1 images, 4 x 5\)"),
        (other_shape, r"differ in their sizes \(4 of 4 x 5, 1 of 6 x 5\)"),
        (scout, "1 of the 5 slices of the series are not parallel"),
        (
            phases,
            "8 slices of the series have only 4 distinct positions: .* several volumes",
        ),
        (unplaced, "3 of the 3 files .* no position in the patient and no unique"),
        (films, "2 files with 2 frames each.*volume_index=0 to 1"),
        (list, r"no DICOM image \(other files: 0\)"),
    ],
)
def test_what_is_no_volume(tmp_path, make, match):
    planes = make()
    write_series(tmp_path / "Doe", planes, [f"Doe{i}" for i in range(len(planes))])
    with pytest.raises(ImageReadError, match=match) as caught:
        read_image(tmp_path / "Doe")
    assert "Doe" not in str(caught.value)


def test_a_damaged_slice_is_not_left_out(tmp_path):
    write_series(tmp_path / "x", PLANES, NAMES)
    content = as_bytes(PLANES[2])
    (tmp_path / "x" / "b").write_bytes(content[:-11])
    with pytest.raises(ImageReadError, match="truncated"):
        read_image(tmp_path / "x")
