"""Radiomics beside formulas by hand; regions, units, absences, and no torch."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from dicom_files import plane, write_series
from scipy import special, stats
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skfusion import EarlyFusionClassifier, TabularEncoder
from skfusion.image import RadiomicsEncoder
from skfusion.image.radiomics import features
from skfusion.image.reading.files import ImageReadError

pytest.importorskip("skimage")

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 4096, (40, 50), dtype=np.uint16) for _ in range(4)]


def disc(radius: float, side: int = 81) -> np.ndarray:
    rows, columns = np.ogrid[:side, :side]
    centre = side // 2
    return (rows - centre) ** 2 + (columns - centre) ** 2 <= radius**2


def table(images, masks):
    return pd.DataFrame({"image": list(images), "mask": list(masks)})


def described(image, mask=None, **settings):
    X = [image] if mask is None else table([image], [mask])
    encoder = RadiomicsEncoder(**settings).fit(X)
    return pd.Series(encoder.transform(X)[0], encoder.get_feature_names_out())


def test_first_order_beside_scipy():
    image = IMAGES[0]
    found = described(image, features=("first_order",))
    values = image.ravel().astype(float)
    share = np.histogram(values, 32)[0] / values.size
    expected = {
        "mean": values.mean(),
        "std": values.std(),
        "min": values.min(),
        "p10": np.quantile(values, 0.1),
        "median": np.median(values),
        "p90": np.quantile(values, 0.9),
        "max": values.max(),
        "range": np.ptp(values),
        "iqr": stats.iqr(values),
        "mad": np.abs(values - values.mean()).mean(),
        "rms": np.sqrt((values**2).mean()),
        "skewness": stats.skew(values),
        "kurtosis": stats.kurtosis(values),
        "entropy": stats.entropy(share, base=2),
        "uniformity": (share**2).sum(),
    }
    assert list(found.index) == list(expected)
    np.testing.assert_allclose(found, list(expected.values()), rtol=1e-6)


def test_co_occurrence_of_haralicks_image():
    """The 4 x 4 image of Haralick et al. (1973), its matrices written out by hand."""
    image = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 2, 2, 2], [2, 2, 3, 3]])
    matrices = [
        [[4, 2, 1, 0], [2, 4, 0, 0], [1, 0, 6, 1], [0, 0, 1, 2]],  # 0 degrees
        [[4, 1, 0, 0], [1, 2, 2, 0], [0, 2, 4, 1], [0, 0, 1, 0]],  # 45
        [[6, 0, 2, 0], [0, 4, 2, 0], [2, 2, 2, 2], [0, 0, 2, 0]],  # 90
        [[2, 1, 3, 0], [1, 2, 1, 0], [3, 1, 0, 2], [0, 0, 2, 0]],  # 135
    ]
    expected: dict[str, list[float]] = {}
    i, j = np.indices((4, 4))
    for matrix in matrices:
        p = np.array(matrix) / np.sum(matrix)
        mean = (p * i).sum()
        spread = (p * (i - mean) ** 2).sum()
        values = {
            "contrast": (p * (i - j) ** 2).sum(),
            "dissimilarity": (p * abs(i - j)).sum(),
            "homogeneity": (p / (1 + (i - j) ** 2)).sum(),
            "asm": (p**2).sum(),
            "correlation": (p * (i - mean) * (j - mean)).sum() / spread,
            "entropy": stats.entropy(p.ravel(), base=2),
        }
        for name, value in values.items():
            expected.setdefault(name, []).append(value)
    found = described(image.astype(np.uint8), features=("texture",), n_levels=4)
    for name, values in expected.items():
        assert found[f"glcm_{name}"] == pytest.approx(np.mean(values)), name


@pytest.mark.parametrize("radius", [10, 25])
def test_the_shape_of_a_disc(radius):
    mask = disc(radius)
    found = described(RNG.random(mask.shape), mask, features=("shape",))
    assert found["area"] == mask.sum() == pytest.approx(np.pi * radius**2, rel=0.03)
    assert found["perimeter"] == pytest.approx(2 * np.pi * radius, rel=0.03)
    assert found["equivalent_diameter"] == pytest.approx(2 * radius, rel=0.03)
    assert found["major_axis"] == pytest.approx(found["minor_axis"])
    assert found["max_diameter"] == 2 * radius
    assert found["eccentricity"] == pytest.approx(0, abs=1e-6)
    assert found["solidity"] > 0.9
    assert found["circularity"] == pytest.approx(1, abs=0.04)
    assert found["n_parts"] == 1


def ellipse(axes, spacing, turn=0.0, shift=(0.3, 0.4)):
    """Mask of an ellipse with semi-axes in mm, its centre between the pixels."""
    half = [int(max(axes) / step) + 2 for step in spacing]
    rows, columns = (
        (np.arange(-size, size + 1) + moved) * step
        for size, moved, step in zip(half, shift, spacing, strict=True)
    )
    y, x = rows[:, None], columns[None]
    along, across = (
        x * np.cos(turn) + y * np.sin(turn),
        y * np.cos(turn) - x * np.sin(turn),
    )
    return (along / axes[0]) ** 2 + (across / axes[1]) ** 2 <= 1


def circumference(axes):
    longer, shorter = max(axes), min(axes)
    return 4 * longer * special.ellipe(1 - (shorter / longer) ** 2)


SPACINGS = [(1.0, 1.0), (0.4, 0.4), (2.0, 1.0), (1.0, 1.5), (0.7, 2.5), (5.0, 0.7)]


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("radius", [15, 40, 80])  # at least three of the longer sides
def test_the_perimeter_of_a_disc_is_that_of_the_circle(radius, spacing):
    found = features.shape(ellipse((radius, radius), spacing), spacing)
    tolerance = 0.004 + 0.04 * max(spacing) / radius
    assert found["perimeter"] == pytest.approx(2 * np.pi * radius, rel=tolerance)
    assert found["circularity"] == pytest.approx(1, abs=0.01 + 3 * tolerance)


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("turn", [0.0, 0.5, np.pi / 2, 2.0])
def test_the_perimeter_of_an_ellipse(turn, spacing):
    axes = (60, 25)
    found = features.shape(ellipse(axes, spacing, turn), spacing)
    tolerance = 0.012 + 0.1 * max(spacing) / min(axes)
    assert found["perimeter"] == pytest.approx(circumference(axes), rel=tolerance)


def test_the_perimeter_in_mm_scales_with_the_spacing_and_includes_holes():
    mask = ellipse((30, 20), (1.0, 1.0), 0.3)
    once, twice = (features.shape(mask, (s, s))["perimeter"] for s in (1.0, 2.5))
    assert twice == pytest.approx(2.5 * once)
    ring = disc(40, 91) & ~disc(20, 91)
    found = features.shape(ring, (1.0, 1.0))["perimeter"]
    assert found == pytest.approx(2 * np.pi * 60, rel=0.01)


def test_the_perimeter_does_not_depend_on_the_position_or_the_border():
    mask = ellipse((12, 7), (1.0, 1.0), 0.4)
    tight = mask[np.ix_(mask.any(axis=1), mask.any(axis=0))]  # up to the border
    for other in (tight, np.pad(tight, 9), tight[::-1], tight.T):
        found = features.shape(other, (1.0, 1.0))["perimeter"]
        assert found == pytest.approx(features.shape(mask, (1.0, 1.0))["perimeter"])


@pytest.mark.parametrize("seed", range(3))
def test_crofton_with_four_directions_beside_scikit_image(seed):
    measure = pytest.importorskip("skimage.measure")
    noise = np.random.default_rng(seed).random((30, 40)) > 0.4
    steps = [(0, 1), (1, 1), (1, 0), (1, -1)]
    found = features._perimeter(noise, (1.0, 1.0), steps)
    assert found == pytest.approx(measure.perimeter_crofton(noise, directions=4))


@pytest.mark.parametrize("rows", [1, 2, 30])
def test_the_perimeter_of_a_line(rows):
    """Regions as small as a pixel have a perimeter, and no division by zero."""
    found = features.shape(np.ones((rows, 1), dtype=bool), (1.0, 1.0))
    assert 0 < found["perimeter"] < 2 * (rows + 1)
    assert np.isfinite(found["circularity"])


def test_shapes_of_a_rectangle_of_two_parts_and_of_a_point():
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[5:9, 10:20] = 255
    found = described(RNG.random(mask.shape), mask, features=("shape",))
    assert found["extent"] == found["solidity"] == 1
    assert found["max_diameter"] == pytest.approx(np.hypot(3, 9))
    # of a uniform rectangle, the ellipse's axes are sqrt(16 / 12) of the sides
    assert found["major_axis"] == pytest.approx(10 * np.sqrt(16 / 12), rel=0.01)
    mask[25, 25] = 1
    found = described(RNG.random(mask.shape), mask, features=("shape",))
    assert found["n_parts"] == 2
    assert found["area"] == 41
    point = np.zeros((9, 9), dtype=bool)
    point[4, 4] = True
    found = described(RNG.random(point.shape), point)
    assert found["area"] == 1
    assert np.isnan(found["glcm_contrast"])


def test_shapes_in_mm(tmp_path):
    made = plane(1, 0.0, PixelSpacing=[0.5, 0.25])
    write_series(tmp_path / "x", [made], ["a"])
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[1:3, 1:4] = 1
    X = table([tmp_path / "x"], [mask])
    encoder = RadiomicsEncoder(features=("shape",), length="mm").fit(X)
    found = dict(
        zip(encoder.get_feature_names_out(), encoder.transform(X)[0], strict=True)
    )
    assert found["area"] == pytest.approx(6 * 0.5 * 0.25)
    by_hand = features.shape(mask > 0, (0.5, 0.25))  # rows, then columns
    assert found["perimeter"] == pytest.approx(by_hand["perimeter"])
    assert encoder.feature_units_["area"] == "mm^2"
    assert encoder.feature_units_["major_axis"] == "mm"
    with pytest.raises(ImageReadError, match="has no pixel spacing"):
        encoder.transform(table([IMAGES[0]], [IMAGES[0]]))


def test_what_lies_outside_the_region_does_not_count():
    mask = disc(9, 40)
    first, second = RNG.random((2, 40, 40))
    second[mask] = first[mask]
    rows = RadiomicsEncoder(features=("first_order", "shape")).fit_transform(
        table([first, second], [mask, mask])
    )
    np.testing.assert_array_equal(rows[0], rows[1])
    glcm = [
        features.texture(image, mask, 16)["glcm_contrast"] for image in (first, second)
    ]
    assert glcm[0] == glcm[1]


def test_texture_tells_stripes_from_noise_and_up_from_across():
    rows = np.zeros((40, 40))
    rows[::2] = 1
    noise = RNG.random((40, 40))
    found = {
        name: described(image, features=("texture",))
        for name, image in {"rows": rows, "columns": rows.T, "noise": noise}.items()
    }
    lbp = [key for key in found["rows"].index if key.startswith("lbp")]
    for values in found.values():
        assert values[lbp].sum() == pytest.approx(1)
    assert found["noise"]["glcm_entropy"] > 3 * found["rows"]["glcm_entropy"]
    slow = np.add.outer(np.sin(np.arange(40) / 4), np.zeros(40))
    across, along = (
        described(image, features=("texture",)).filter(like="hog_")
        for image in (slow, slow.T)
    )
    assert across.sum() == pytest.approx(1)
    assert across.to_numpy().argmax() != along.to_numpy().argmax()


def test_texture_does_not_depend_on_brightness():
    image = IMAGES[1].astype(np.float64)
    first, second = (
        described(values, features=("texture",)) for values in (image, image * 2 + 100)
    )
    np.testing.assert_allclose(first, second, rtol=1e-6)


def test_a_constant_image_has_no_gaps():
    found = described(np.full((20, 20), 7, dtype=np.uint8))
    assert found.notna().all()
    assert found["std"] == found["skewness"] == found["entropy"] == 0


def test_colours_and_luma():
    image = RNG.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    found = described(image, features=("colour", "first_order"))
    assert found["green_mean"] == pytest.approx(image[:, :, 1].mean())
    assert found["blue_std"] == pytest.approx(image[:, :, 2].std())
    luma = image @ [0.299, 0.587, 0.114]
    assert found["mean"] == pytest.approx(luma.mean(), rel=1e-5)
    grey = described(IMAGES[0], features=("colour",))
    assert grey.isna().all()


def test_of_a_volume_the_slice_with_the_largest_mask_counts():
    volume = RNG.random((5, 20, 20))
    mask = np.zeros(volume.shape, dtype=np.uint8)
    mask[1, 3:5, 3:5] = 1
    mask[3, 2:9, 2:9] = 1
    found = described(volume, mask, features=("first_order", "shape"))
    assert found["area"] == 49
    assert found["mean"] == pytest.approx(volume[3, 2:9, 2:9].mean())


# ---------------------------------------------------------------- as a transformer


def test_absent_images_and_masks():
    masks = [IMAGES[0] > 2000, None, IMAGES[2] > 2000, None]
    X = table([IMAGES[0], None, IMAGES[2], IMAGES[3]], masks)
    encoder = RadiomicsEncoder().fit(X)
    with pytest.warns(UserWarning, match="1 images have no mask in column 'mask'"):
        rows = encoder.transform(X)
    names = encoder.get_feature_names_out()
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[[0, 2]]).all()
    is_shape = np.isin(names, list(features.GROUPS["shape"]))
    assert np.isnan(rows[3, is_shape]).all()
    assert np.isfinite(rows[3, ~is_shape]).all()
    assert encoder.n_features_in_ == 2
    assert encoder.feature_names_in_.tolist() == ["image", "mask"]


@pytest.mark.parametrize(
    ("mask", "match"),
    [
        (np.zeros((40, 50), dtype=bool), "mask marks no pixel"),
        (np.ones((50, 40), dtype=bool), r"shape \(50, 40\) and the image \(40, 50\)"),
    ],
)
def test_masks_that_do_not_fit(mask, match):
    X = table([IMAGES[0], IMAGES[1]], [IMAGES[0] > 5, mask])
    with pytest.raises(
        ImageReadError, match=f"column 'image', row position 1: .*{match}"
    ):
        RadiomicsEncoder().fit_transform(X)
    with pytest.warns(UserWarning, match="1 of the 2 cells of column 'image'"):
        rows = RadiomicsEncoder(on_error="missing").fit_transform(X)
    assert np.isnan(rows[1]).all()


def test_jobs_clones_pickles_and_frames():
    encoder = RadiomicsEncoder().fit(IMAGES)
    rows = encoder.transform(IMAGES)
    assert "area" not in encoder.get_feature_names_out()
    for other in (
        clone(encoder).fit(IMAGES),
        pickle.loads(pickle.dumps(encoder)),
        clone(encoder).set_params(n_jobs=2).fit(IMAGES),
    ):
        np.testing.assert_array_equal(other.transform(IMAGES), rows)
    frame = encoder.set_output(transform="pandas").transform(
        pd.Series(IMAGES, index=list("wxyz"))
    )
    assert list(frame.columns) == list(encoder.get_feature_names_out())
    assert list(encoder.feature_units_) == list(frame.columns)


def test_inside_a_fusion():
    n = 20
    X = pd.DataFrame(
        {
            "image": [RNG.normal(size=(16, 16)) + i % 2 for i in range(n)],
            "age": RNG.normal(60, 9, n),
        }
    )
    y = np.arange(n) % 2
    model = EarlyFusionClassifier(
        [
            ("radiomics", RadiomicsEncoder(), "image"),
            ("ehr", TabularEncoder(), ["age"]),
        ],
        estimator=LogisticRegression(max_iter=2000),
    )
    assert model.fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"features": "texture"}, "features must be some of"),
        ({"features": ("texture", "wavelet")}, "features must be some of"),
        ({"features": ()}, "features must be some of"),
        ({"n_levels": 1}, "n_levels must be"),
        ({"length": "cm"}, "length must be one of"),
        ({"on_error": "skip"}, "on_error must be one of"),
        ({"window": "liver", "scaling": "auto"}, "window='liver' is unknown"),
    ],
)
def test_parameters_are_checked(settings, match):
    with pytest.raises(ValueError, match=f"RadiomicsEncoder: .*{match}"):
        RadiomicsEncoder(**settings).fit(IMAGES)


def test_bad_columns():
    encoder = RadiomicsEncoder().fit(IMAGES)
    with pytest.raises(ValueError, match="got 2 columns, expected 1 as in fit"):
        encoder.transform(table(IMAGES, IMAGES))
    with pytest.raises(ValueError, match="RadiomicsEncoder takes one column"):
        encoder.fit(pd.DataFrame({"a": IMAGES, "b": IMAGES, "c": IMAGES}))
    with pytest.raises(TypeError, match="RadiomicsEncoder: got float in column 'age'"):
        encoder.fit(pd.Series([1.0], name="age"))


@pytest.mark.long
def test_it_needs_no_torch():
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from skfusion.image import RadiomicsEncoder\n"
        "images = [np.eye(20), None]\n"
        "print(RadiomicsEncoder(n_jobs=2).fit_transform(images).shape)\n"
        "assert 'torch' not in sys.modules\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert found.stdout.strip() == "(2, 40)"


@pytest.mark.slow
def test_on_photographs_of_skin(skfusion_data):
    """Better than chance without any network, patients kept together."""
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from xgboost import XGBClassifier

    folder = skfusion_data / "pad_ufes_20_subset"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA holds no pad_ufes_20_subset")
    from skfusion.datasets import load_pad_ufes_20

    cohort = load_pad_ufes_20()
    model = make_pipeline(
        RadiomicsEncoder(features=("first_order", "texture", "colour")),
        XGBClassifier(n_estimators=100, max_depth=3, n_jobs=1, random_state=0),
    )
    scores = cross_val_score(
        model,
        cohort.data[cohort.image_columns[0]],
        cohort.target,
        groups=cohort.groups,
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
        scoring="roc_auc",
    )
    print(f"AUROC of radiomics alone: {scores.mean():.3f}")
    assert scores.mean() > 0.65
