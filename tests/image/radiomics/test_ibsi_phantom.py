"""Radiomics of the digital phantom of the Image Biomarker Standardisation Initiative.

The phantom (5 x 4 x 4 voxels of 2 mm, designed by A. Zwanenburg, CC BY 4.0,
https://github.com/theibsi/data_sets) and the reference values are published by the
initiative: Zwanenburg et al., Radiology 2020;295:328-338, and the reference manual,
chapters "Image features" and "Reference data sets", https://ibsi.readthedocs.io.

The encoder describes planes. Of the texture features, the published values for the
aggregation "2D, averaged" therefore apply: the mean over slices and directions. Of the
shape features, only the volume by counting voxels is a sum over planes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion.image import RadiomicsEncoder

pytest.importorskip("skimage")

# Grey levels of the four slices, and the voxels outside the region ("." inside).
LEVELS = (
    ("14411", "14611", "41641", "44641"),
    ("14411", "11611", "11311", "44611"),
    ("14411", "11111", "11911", "11611"),
    ("14411", "11111", "11111", "11611"),
)
OUTSIDE = (
    (".....", ".....", ".....", "....."),
    (".....", ".....", "x....", "....."),
    ("...xx", ".....", "..x..", "....."),
    ("...xx", ".....", ".....", "....."),
)
PHANTOM = np.array([[list(row) for row in plane] for plane in LEVELS]).astype(np.int16)
REGION = np.array([[list(row) for row in plane] for plane in OUTSIDE]) == "."

# Published values, with the digits that are published.
FIRST_ORDER = {
    "mean": "2.15",
    "variance": "3.05",
    "skewness": "1.08",
    "kurtosis": "-0.355",
    "median": "1",
    "min": "1",
    "p10": "1",
    "p90": "4",
    "max": "6",
    "iqr": "3",
    "range": "5",
    "mad": "1.55",
    "rms": "2.77",
    "entropy": "1.27",  # discretised intensity entropy
    "uniformity": "0.512",  # discretised intensity uniformity
}
CO_OCCURRENCE = {  # 2D, averaged
    "glcm_contrast": "5.28",
    "glcm_dissimilarity": "1.42",
    "glcm_homogeneity": "0.619",  # inverse difference moment
    "glcm_asm": "0.368",  # angular second moment
    "glcm_correlation": "-0.0121",
    "glcm_entropy": "2.05",  # joint entropy
}
N_LEVELS = 6  # fixed bin number that leaves the phantom as it is


def described(planes, regions, **settings):
    """Features of several planes, one row each."""
    X = pd.DataFrame({"image": list(planes), "mask": list(regions)})
    encoder = RadiomicsEncoder(n_levels=N_LEVELS, **settings)
    return encoder.set_output(transform="pandas").fit_transform(X)


def assert_as_published(found, published):
    decimals = {name: len(text.partition(".")[2]) for name, text in published.items()}
    differences = {
        name: (found[name], text)
        for name, text in published.items()
        if round(float(found[name]), decimals[name]) != float(text)
    }
    assert not differences


def test_the_phantom_is_the_published_one():
    assert PHANTOM.shape == REGION.shape == (4, 4, 5)
    assert REGION.sum() == 74
    assert sorted(set(PHANTOM[REGION].tolist())) == [1, 3, 4, 6]  # 2 and 5 are absent
    # 567 is the published "intensity-based energy", the sum of squares
    assert (PHANTOM[REGION].astype(float) ** 2).sum() == 567


def test_first_order_as_published():
    # The order of the voxels does not count, so all slices form one image.
    image, region = np.hstack(list(PHANTOM)), np.hstack(list(REGION))
    found = described([image], [region], features=("first_order",)).loc[0]
    found["variance"] = found["std"] ** 2
    assert_as_published(found, FIRST_ORDER)


def test_co_occurrence_as_published():
    found = described(PHANTOM, REGION, features=("texture",)).mean()
    assert_as_published(found, CO_OCCURRENCE)


@pytest.mark.parametrize(
    "moved",
    [
        lambda volume: volume[:, ::-1],
        lambda volume: volume[:, :, ::-1],
        lambda volume: volume.swapaxes(1, 2),
        lambda volume: np.pad(volume, ((0, 0), (2, 3), (1, 4))),  # outside the region
    ],
    ids=["upside down", "mirrored", "transposed", "inside a larger image"],
)
def test_co_occurrence_does_not_depend_on_the_orientation(moved):
    found = described(moved(PHANTOM), moved(REGION), features=("texture",)).mean()
    assert_as_published(found, CO_OCCURRENCE)


@pytest.mark.parametrize(("scale", "shift"), [(1, 100), (40, -1000)])
def test_texture_of_rescaled_grey_levels_as_published(scale, shift):
    found = described(PHANTOM * scale + shift, REGION, features=("texture",)).mean()
    assert_as_published(found, CO_OCCURRENCE)


def test_volume_by_counting_voxels_as_published(tmp_path):
    """592 mm3: the areas of the slices in mm2 times 2 mm, from files with a spacing."""
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    paths = []
    for number, plane in enumerate(PHANTOM):
        paths.append(tmp_path / f"slice{number}.nii.gz")
        image = nibabel.Nifti1Image(plane.T[:, :, None], affine)  # (x, y, z)
        nibabel.save(image, paths[-1])
    # In which arrangement the reader gives a plane does not matter for its area, but
    # the mask must lie in the same one.
    masks = []
    for number, plane in enumerate(REGION):
        masks.append(tmp_path / f"mask{number}.nii.gz")
        image = nibabel.Nifti1Image(plane.T[:, :, None].astype(np.uint8), affine)
        nibabel.save(image, masks[-1])
    found = described(paths, masks, features=("first_order", "shape"), length="mm")
    assert found["area"].sum() * 2 == 592
    weights = REGION.sum(axis=(1, 2)) / REGION.sum()
    assert round(float((found["mean"] * weights).sum()), 2) == 2.15
