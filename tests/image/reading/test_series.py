"""A folder is one volume, in the order of the body; what does not fit is said."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
from dicom_files import as_bytes, dataset, plane, write_series

from skfusion import EmbeddingStore, read_image
from skfusion.image.cells.volumes import resample
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


def slices(places, thickness=None, **tags) -> list:
    """Slices at places, each with a value of its own."""
    made = [plane(number, place, **tags) for number, place in enumerate(places)]
    for part, value in zip(made, thickness or [None] * len(made), strict=True):
        if value is not None:
            part.SliceThickness = value
    return made


TWO_STEPS = [*np.arange(14) * 4.0, 53.1, *(60.1 + 7.0 * np.arange(13))]


@pytest.mark.parametrize(
    ("places", "thickness", "n_missing", "varies"),
    [
        (np.arange(9) * 2.0, None, 0, False),
        ([0, 2, 4, 8, 10, 12], None, 1, True),
        ([0, 2, 4, 6, 12, 14, 16], [2] * 7, 2, True),
        (TWO_STEPS, [4] * 14 + [7] * 14, 0, True),
        (TWO_STEPS, None, 0, True),
        # thin, then thick, of which the ratio of steps is a whole number
        ([*np.arange(10) * 2.5, *(27.5 + 5.0 * np.arange(10))], None, 0, True),
        # slices that overlap do not miss any
        ([0, 1, 2, 4, 5, 6], [4] * 6, 0, True),
        ([0, 3], None, 0, False),
    ],
)
def test_steps_that_vary_are_no_gaps(tmp_path, places, thickness, n_missing, varies):
    made = slices(places, thickness)
    write_series(tmp_path / "x", made, [f"{i:02}" for i in range(len(made))])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = read_image(tmp_path / "x")
    said = " ".join(str(warning.message) for warning in caught)
    assert image.metadata["n_missing_slices"] == n_missing
    assert ("missing between" in said) is (n_missing > 0)
    assert ("distances between slices vary" in said) is varies
    expected = np.asarray(places, dtype=float)
    np.testing.assert_allclose(image.metadata["slice_positions"], expected)


def test_resampling_uses_the_positions_of_slices(tmp_path):
    """A body whose values rise with the height, in thin and then thick slices."""
    places = [*np.arange(10) * 2.0, *(24.0 + 6.0 * np.arange(10))]
    made = slices(places, Modality="MR", PixelSpacing=[2, 2])
    for part, place in zip(made, places, strict=True):
        part.PixelData = np.full((4, 5), 10 * place, np.int16).tobytes()
    write_series(tmp_path / "x", made, [f"{i:02}" for i in range(20)])
    with pytest.warns(UserWarning, match="vary from 2 to 6 mm"):
        image = read_image(tmp_path / "x", scaling="none")
    cubic = resample(image, 2.0)
    assert cubic.spacing[0] == pytest.approx(2.0, rel=0.03)
    heights = (np.arange(len(cubic.array)) + 0.5) * cubic.spacing[0] - 1.0
    values = cubic.array[:, 0, 0] + 1024
    inside = (heights > 0) & (heights < places[-1])
    np.testing.assert_allclose(values[inside], 10 * heights[inside], atol=10)
    coarse = resample(image, 6.0)
    heights = (np.arange(len(coarse.array)) + 0.5) * coarse.spacing[0] - 1.0
    values = coarse.array[:, 0, 0] + 1024
    np.testing.assert_allclose(values[1:-1], 10 * heights[1:-1], atol=20)


def test_a_series_number_for_every_slice(tmp_path):
    made = slices(np.arange(5.0))
    for number, part in enumerate(made):
        part.SeriesInstanceUID = f"1.2.{number}"
    write_series(tmp_path / "x", made, list("abcde"))
    with pytest.warns(UserWarning, match="Each of the 5 slices.* series number of its"):
        assert read_image(tmp_path / "x").axes == "ZYX"
    for part in made[3:]:
        part.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    write_series(tmp_path / "y", made, list("abcde"))
    with pytest.raises(ImageReadError, match="contains 5 series"):
        read_image(tmp_path / "y")


def test_slice_locations_are_positions(tmp_path):
    made = slices([0.0] * 3)
    for number, part in enumerate(made):
        del part.ImagePositionPatient
        part.SliceLocation = -5.0 * number
    write_series(tmp_path / "x", made, list("abc"))
    image = read_image(tmp_path / "x", scaling="none")
    assert image.axes == "ZYX"
    assert image.spacing == (5.0, 0.5, 0.25)
    assert image.array[:, 0, 0].tolist() == [-1022, -1023, -1024]
    assert image.affine is None


def test_copies_under_new_names_are_dropped(tmp_path):
    made = [*slices(PLACES), *slices(PLACES)]
    write_series(tmp_path / "x", made, list("abcdefgh"))
    with pytest.warns(UserWarning, match="4 slices are duplicates"):
        image = read_image(tmp_path / "x")
    assert image.metadata["n_repeated_slices"] == 4


def test_phases_can_be_chosen(tmp_path):
    early, late = slices(PLACES), slices(PLACES)
    for part in late:
        part.PixelData = np.full((4, 5), 77, np.int16).tobytes()
        part.TemporalPositionIdentifier = 1
    for part in early:
        part.TemporalPositionIdentifier = 2
    write_series(tmp_path / "x", [*early, *late], list("abcdefgh"))
    first = read_image(tmp_path / "x", scaling="none", volume_index=0)
    assert (first.array == 77 - 1024).all()
    second = read_image(tmp_path / "x", scaling="none", volume_index=1)
    assert second.array[:, 0, 0].tolist() == [-1024, -1023, -1022, -1021]
    with pytest.raises(ImageReadError, match="volume_index=2 does not exist"):
        read_image(tmp_path / "x", volume_index=2)


def test_multi_frame_files_of_one_series(tmp_path):
    made = []
    for time in (2, 1):
        pixels = np.full((3, 4, 5), time, np.int16)
        made.append(dataset(pixels, Modality="MR", TemporalPositionIdentifier=time))
    write_series(tmp_path / "x", made, ["a", "b"])
    with pytest.raises(
        ImageReadError, match="2 files with 3 frames.*volume_index=0 to"
    ):
        read_image(tmp_path / "x")
    for index in range(2):
        image = read_image(tmp_path / "x", scaling="none", volume_index=index)
        assert (image.array == index + 1).all()


def test_the_subfolder_with_the_series_is_mentioned(tmp_path):
    (tmp_path / "Doe").mkdir()
    write_series(tmp_path / "Doe" / "ct", PLANES, NAMES)
    (tmp_path / "Doe" / "notes").mkdir()
    with pytest.raises(ImageReadError, match="in 1 of its 2 subfolders") as caught:
        read_image(tmp_path / "Doe")
    assert "Doe" not in str(caught.value)


def test_localizers_of_the_same_series_are_refused(tmp_path):
    scout = plane(9, 160.0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "x", [*PLANES, scout], list("abcde"))
    with pytest.raises(ImageReadError, match="1 of the 5 images .* localizers"):
        read_image(tmp_path / "x")


def test_hidden_files_do_not_change_the_digest(tmp_path):
    write_series(tmp_path / "x", PLANES, NAMES)
    before = content_digest(tmp_path / "x")
    for name in (".DS_Store", "._IM1", "Thumbs.db", "desktop.ini"):
        (tmp_path / "x" / name).write_bytes(b"x")
    assert content_digest(tmp_path / "x") == before
    assert read_image(tmp_path / "x").array.shape == (4, 4, 5)


def test_slices_of_which_some_have_a_position(tmp_path):
    made = slices(PLACES)
    del made[2].ImagePositionPatient
    write_series(tmp_path / "x", made, NAMES)
    with pytest.warns(UserWarning, match="1 of the 4 slices .* instance numbers"):
        assert read_image(tmp_path / "x").axes == "TYX"
