"""Every image file that other packages ship, beside what these packages read."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.pixels import apply_modality_lut, pixel_array

from skfusion import read_image
from skfusion.image.reading.files import ImageReadError

LARGEST = 5_000_000  # bytes
# Reasons that say what the file is, or what of it is wrong.
REASONS = (
    *("no pixel data", "DICOMDIR", "not an image", "lacks Rows", "truncated"),
    *("No installed decoder can read", "not numbers", "0 bytes", "volume_index"),
    *("NaN or infinite", "animation", "mosaic", "second file", "do not form a volume"),
    *("compressed with gzip", "CIFTI"),
)


def files_of(package: str, *inside: str) -> list[Path]:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent.joinpath(*inside)
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix not in (".py", ".pyc", ".pyi", ".txt", ".json", ".csv", ".so")
        and path.stat().st_size <= LARGEST
    ]


FOLDERS = {
    "pydicom": (files_of("pydicom", "data", "test_files"), 80),
    "pydicom-data": (files_of("data_store", "data"), 50),
    "nibabel": (files_of("nibabel", "tests") + files_of("nibabel", "nicom"), 7),
    "scikit-image": (files_of("skimage", "data"), 20),
}


@pytest.mark.parametrize("package", FOLDERS)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.long
def test_every_file_is_read_or_refused_with_the_reason(package):
    paths, least = FOLDERS[package]
    if not paths:
        pytest.skip(f"the files of {package} are not installed")
    n_read, unexplained = 0, []
    for path in paths:
        try:
            image = read_image(path, nan="min")
        except ImageReadError as error:
            if not any(reason in str(error) for reason in REASONS):
                unexplained.append(f"{path.name}: {error}")
        else:
            n_read += 1
            assert np.isfinite(image.array).all()
            assert image.array.dtype == np.float32
    assert not unexplained
    assert n_read >= least


def is_plain(dataset: pydicom.Dataset) -> bool:
    """Return whether pydicom's values are those that `read_image` should give."""
    return (
        dataset.get("SamplesPerPixel") == 1
        and dataset.get("PhotometricInterpretation") == "MONOCHROME2"
        and int(dataset.get("NumberOfFrames") or 1) == 1
        and dataset.get("PixelPaddingValue") is None
        and dataset.get("DoseGridScaling") is None
        and "SharedFunctionalGroupsSequence" not in dataset
    )


@pytest.mark.filterwarnings("ignore")
def test_grey_values_are_those_of_pydicom():
    n_compared = 0
    for path in FOLDERS["pydicom"][0] + FOLDERS["pydicom-data"][0]:
        try:
            dataset = pydicom.dcmread(path)
            if not is_plain(dataset):
                continue
            expected = apply_modality_lut(pixel_array(dataset), dataset)
            found = read_image(path, scaling="none")
        except Exception:  # what one of the two does not read is tested above
            continue
        orders = [found.array]
        if found.arrangement is not None and not found.arrangement.is_identity:
            orders = [found.array[::-1, ::-1], found.array[::-1], found.array[:, ::-1]]
        same = [
            np.allclose(order, expected.astype(np.float32), atol=5)
            for order in orders
            if order.shape == expected.shape
        ]
        assert any(same), path.name
        n_compared += 1
    assert n_compared >= 40


@pytest.mark.filterwarnings("ignore")
def test_voxels_of_nifti_are_those_of_nibabel():
    n_compared = 0
    for path in FOLDERS["nibabel"][0]:
        if not path.name.endswith((".nii", ".nii.gz", ".mgz", ".mgh")):
            continue
        image = nibabel.load(path)
        if isinstance(image, nibabel.Cifti2Image):
            with pytest.raises(ImageReadError, match="CIFTI"):
                read_image(path)
            continue
        values = image.get_fdata()
        for index in range(values.shape[3] if values.ndim > 3 else 1):
            volume = values[..., index] if values.ndim > 3 else values
            if not np.isfinite(volume).all():
                continue
            found = read_image(path, scaling="none", volume_index=index)
            # the value at every corner, by its place in the patient
            shape = (1, 1, 1, *found.array.shape)[-3:]
            array = found.array.reshape(shape)
            corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
            for corner in corners:
                place = found.affine @ [*corner, 1]
                voxel = np.rint(np.linalg.inv(image.affine) @ place)[:3].astype(int)
                assert volume[tuple(voxel)] == pytest.approx(
                    array[tuple(corner)], rel=1e-6
                )
            n_compared += 1
    assert n_compared >= 20


@pytest.mark.filterwarnings("ignore")
def test_pictures_are_those_of_scikit_image():
    io = pytest.importorskip("skimage.io")
    n_compared = 0
    for path in FOLDERS["scikit-image"][0]:
        if path.suffix not in (".png", ".tif", ".jpg", ".tiff"):
            continue
        try:
            found = read_image(path, scaling="none")
        except ImageReadError:
            continue
        expected = io.imread(path)
        if expected.ndim > 2 and expected.shape[-1] == 4:
            continue  # composited
        if expected.shape == found.array.shape:
            np.testing.assert_allclose(found.array, expected, atol=3)
            n_compared += 1
    assert n_compared >= 15


def test_the_files_are_read_without_raw_warnings_of_the_readers():
    """Their own warnings quote headers, which can contain names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in FOLDERS["pydicom"][0][:60]:
            try:
                read_image(path)
            except ImageReadError:
                continue
    origins = {Path(warning.filename).parent.name for warning in caught}
    assert "pydicom" not in origins
