"""Real DICOM series beside the NIfTI that dcm2niix makes of them."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import as_bytes, plane

from skfusion import ImageEmbedder, read_image
from skfusion.image import read_metadata
from skfusion.image.cells.volumes import resample
from skfusion.image.reading.header import Header, along_normal
from skfusion.image.reading.series import folder_files

PADDING = -1500  # of the CT, in HU
UNIFORM = [
    ("mr_t1_sagittal_supine", None, (35, 256, 256)),
    ("mr_t1_sagittal_left_side", None, (35, 256, 256)),
    *(("mr_enhanced_siemens", number, (6, 64, 64)) for number in range(4)),
]


@pytest.fixture
def root(skfusion_data) -> Path:
    folder = skfusion_data / "images" / "dicom_series"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA holds no images/dicom_series")
    return folder


@pytest.mark.parametrize(("name", "volume_index", "shape"), UNIFORM)
def test_series_and_nifti_are_one_scan(root, name, volume_index, shape):
    options = {"scaling": "none", "volume_index": volume_index}
    series = read_image(root / name, **options)
    converted = read_image(root / f"{name}.nii.gz", **options)
    assert series.array.shape == shape
    np.testing.assert_array_equal(series.array, converted.array)
    assert series.axes == converted.axes == "ZYX"
    np.testing.assert_allclose(series.spacing, converted.spacing, rtol=1e-5)
    np.testing.assert_allclose(series.affine, converted.affine, atol=1e-3)


def test_tilted_ct_with_two_steps(root):
    with pytest.warns(UserWarning, match=r"vary from 1\.08 to 7 mm .*slice_positions"):
        series = read_image(root / "ct_head_ge", scaling="none")
    converted = read_image(root / "ct_head_ge.nii.gz", scaling="none")
    padded = converted.array == PADDING
    assert series.array.shape == converted.array.shape == (28, 512, 512)
    assert padded.sum() == series.metadata["n_padded"] == 1_741_040
    np.testing.assert_array_equal(series.array[~padded], converted.array[~padded])
    assert (series.array[padded] == series.array[~padded].min()).all()
    assert series.metadata["unit"] == "HU"
    assert series.metadata["n_missing_slices"] == 0
    places = []
    for path in folder_files(root / "ct_head_ge"):
        found = Header(pydicom.dcmread(path, stop_before_pixels=True)).plane()
        places.append(along_normal(found[0], found[1]))
    expected = np.sort(places) - min(places)
    np.testing.assert_allclose(series.metadata["slice_positions"], expected)
    steps = np.diff(expected)
    assert (steps.round(1) == 4.0).sum() == (steps.round(1) == 7.0).sum() == 13


def test_ct_is_resampled_by_its_positions(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the steps vary
        image = read_image(root / "ct_head_ge")
    cubic = resample(image, 4.0)
    # 144 mm between the first and the last slice, and half a step beyond each
    assert cubic.spacing[0] == pytest.approx(4.0, rel=0.03)
    assert len(cubic.array) == pytest.approx((144.1 + (4 + 7) / 2) / 4, abs=1)


def test_unit_of_ct_in_nifti_is_asked_for(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the steps vary
        series = read_image(root / "ct_head_ge")
    with pytest.warns(UserWarning, match="probably a CT.*scaling='hounsfield'"):
        read_image(root / "ct_head_ge.nii.gz")
    converted = read_image(root / "ct_head_ge.nii.gz", scaling="hounsfield")
    shown = series.array > 0  # padding is black in the series
    np.testing.assert_array_equal(series.array[shown], converted.array[shown])


def test_both_formats_give_one_embedding(root):
    cells = [root / "mr_t1_sagittal_supine", root / "mr_t1_sagittal_supine.nii.gz"]
    embedder = ImageEmbedder(
        input_size=64, n_slices=4, store=None, scaling="percentile"
    )
    series, converted = embedder.fit_transform(cells)
    np.testing.assert_allclose(series, converted, rtol=1e-5, atol=1e-6)


def test_several_volumes_have_to_be_chosen(root):
    with pytest.raises(ValueError, match=r"4 files with 6 frames.*volume_index=0 to 3"):
        read_image(root / "mr_enhanced_siemens")
    with pytest.raises(ValueError, match=r"\(64, 64, 6, 4\).*volume_index=0 to 3"):
        read_image(root / "mr_enhanced_siemens.nii.gz")


def test_headers_of_enhanced_and_classic_files(root):
    found = read_metadata([root / "mr_enhanced_siemens", root / "ct_head_ge"])
    assert found["modality"].tolist() == ["MR", "CT"]
    assert found["echo_time"][0] == 30.0
    assert found["spacing_x"].tolist() == [3.375, 0.4882812]
    assert found["slice_thickness"].tolist() == [2.4, 4.0]


def write_phantom(folder: Path, cosines: list[float], step: list[float]) -> None:
    """Write six slices of an anatomy without symmetry, at an orientation."""
    folder.mkdir()
    z, y, x = np.indices((6, 24, 20))
    values = (100 * z + 7 * y + 3 * x + (x > 12) * 300).astype(np.int16)
    for number in range(6):
        made = plane(number, 0.0, Modality="MR", SliceThickness=3)
        made.Rows, made.Columns = 24, 20
        made.PixelData = values[number].tobytes()
        made.ImageOrientationPatient = cosines
        made.ImagePositionPatient = [10.0 + number * part for part in step]
        made.PixelSpacing = [0.9, 0.8]
        made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        made.PatientPosition = "FFS"
        made.SeriesNumber, made.InstanceNumber = 1, number + 1
        made.StudyInstanceUID = "1.2.3.4"
        (folder / f"{number}.dcm").write_bytes(as_bytes(made))


ANGLE = np.deg2rad(25)
PHANTOMS = {
    "oblique": (
        [1, 0, 0, 0, np.cos(ANGLE), np.sin(ANGLE)],
        [0, -3 * np.sin(ANGLE), 3 * np.cos(ANGLE)],
    ),
    # feet first: the slices come from head to foot, the columns from left to right
    "feet first": ([-1, 0, 0, 0, 1, 0], [0, 0, -3]),
}


@pytest.mark.parametrize("name", PHANTOMS)
def test_phantoms_are_read_as_their_conversion(tmp_path, name):
    converter = pytest.importorskip("dcm2niix")
    write_phantom(tmp_path / "in", *PHANTOMS[name])
    (tmp_path / "out").mkdir()
    subprocess.run(
        [converter.bin, "-f", "x", "-z", "n", "-o", tmp_path / "out", tmp_path / "in"],
        check=True,
        capture_output=True,
    )
    series = read_image(tmp_path / "in", scaling="none")
    path = tmp_path / "out" / "x.nii"
    converted = read_image(path, scaling="none")
    np.testing.assert_array_equal(series.array, converted.array)
    np.testing.assert_allclose(series.affine, converted.affine, atol=1e-4)
    # and by nibabel alone: the same value at the same place in the patient
    image = nibabel.load(path)
    to_voxels = np.linalg.inv(image.affine) @ series.affine
    for index in [(0, 0, 0), (5, 23, 19), (2, 20, 3)]:
        voxel = np.rint(to_voxels @ [*index, 1])[:3].astype(int)
        assert image.get_fdata()[tuple(voxel)] == series.array[index]
