"""Volumes: which slices are shown, how they are pooled, 3-D networks, resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dicom_files import plane, write_series
from sklearn.base import clone
from torch import nn

from skfusion import ImageEmbedder, read_image
from skfusion.image.cells.volumes import Reading, pool_slices, resample, select_slices
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.preprocessing import (
    KINETICS_MEAN,
    KINETICS_STD,
    Preprocessing,
    VolumePreprocessing,
)
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.read import MedicalImage

RNG = np.random.default_rng(0)
VOLUMES = [RNG.integers(0, 256, (depth, 20, 24), dtype=np.uint8) for depth in (7, 5, 1)]


class Flat(nn.Module):
    """Mean of each channel, and the corner: what a net saw can be told."""

    preprocessing = Preprocessing(224, (0.5,) * 3, (0.5,) * 3)

    def forward(self, x):
        return torch.stack([x.mean(dim=(1, 2, 3)), x[:, 0, 0, 0]], dim=1)


class Deep(nn.Module):
    """A net for volumes (B, 3, D, H, W)."""

    preprocessing = VolumePreprocessing(112, 4, KINETICS_MEAN, KINETICS_STD)

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


def embed(cells, **settings):
    settings = {"store": None, "input_size": 16, **settings}
    return ImageEmbedder(Flat(), **settings).fit_transform(cells)


@pytest.mark.parametrize(
    ("depth", "n", "chosen"),
    [
        (9, 3, [1, 4, 7]),
        (10, 4, [1, 3, 6, 8]),
        (3, 5, [0, 1, 2]),
        (6, None, [0, 1, 2, 3, 4, 5]),
        (5, 1, [2]),
    ],
)
def test_even_slices(depth, n, chosen):
    image = read_image(np.zeros((depth, 6, 6), dtype=np.uint8))
    assert select_slices(image, n).tolist() == chosen


@pytest.mark.parametrize(
    ("at", "chosen"), [(5, [4, 5, 6]), (0, [0, 1, 2]), (9, [7, 8, 9])]
)
def test_slices_around_the_largest_area(at, chosen):
    volume = np.zeros((10, 8, 8), dtype=np.uint8)
    volume[:, 3, 3] = 200
    volume[at, 2:6, 2:6] = 200
    assert select_slices(read_image(volume), 3, "largest").tolist() == chosen


@pytest.mark.parametrize("pooling", ["mean", "max", 2, 99])
def test_slices_are_pooled(pooling):
    values = RNG.normal(size=(6, 4))
    ordered = np.sort(values, axis=0)
    expected = {
        "mean": values.mean(axis=0),
        "max": values.max(axis=0),
        2: ordered[-2:].mean(axis=0),
        99: values.mean(axis=0),
    }
    np.testing.assert_allclose(pool_slices(values, pooling), expected[pooling])


@pytest.mark.parametrize("pooling", ["mean", "max", 3])
def test_a_volume_is_its_slices_pooled(pooling):
    rows = embed(VOLUMES, n_slices=4, slice_pooling=pooling)
    for row, volume in zip(rows, VOLUMES, strict=True):
        chosen = select_slices(read_image(volume), 4) if len(volume) > 1 else [0]
        single = embed([volume[i] for i in chosen])
        np.testing.assert_allclose(row, pool_slices(single, pooling), rtol=1e-5)


def test_a_series_on_disk_is_embedded_and_kept(tmp_path):
    planes = [plane(number, 2.0 * number) for number in range(5)]
    write_series(tmp_path / "a", planes, list("abcde"))
    write_series(tmp_path / "b", planes, list("edcba"))
    embedder = ImageEmbedder(
        Flat(), input_size=16, store=tmp_path / "store", window=(-1022, 8)
    )
    first = embedder.fit_transform([tmp_path / "a"])
    again = clone(embedder).fit(["x.png"]).transform([str(tmp_path / "b")])
    np.testing.assert_array_equal(first, again)
    other = clone(embedder).set_params(n_slices=2).fit_transform([tmp_path / "a"])
    lung = clone(embedder).set_params(window="lung").fit_transform([tmp_path / "a"])
    assert not np.array_equal(first, other) or not np.array_equal(first, lung)


def test_settings_that_show_other_pixels_have_other_keys():
    settings = [
        {},
        {"window": "lung"},
        {"window": (40.0, 400.0)},
        {"volume": "3d"},
        {"n_slices": 3},
        {"n_slices": None},
        {"slice_selection": "largest"},
        {"slice_pooling": "max"},
        {"slice_pooling": 3},
        {"voxel_size": 2.0},
        {"scaling": "minmax"},
    ]
    assert len({Reading(**part).key for part in settings}) == len(settings)
    assert Reading().key == "auto reading 3"  # what stores of this version hold


# ---------------------------------------------------------------- 3-D


def test_a_network_for_volumes_sees_the_whole():
    embedder = ImageEmbedder(Deep(), volume="3d", n_slices=4, input_size=12, store=None)
    rows = embedder.fit_transform([VOLUMES[0], None, VOLUMES[1]])
    assert rows.shape == (3, 4)
    assert np.isnan(rows[1]).all()
    preprocessing = VolumePreprocessing(
        12, 4, (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    )
    voxels = preprocessing([read_image(VOLUMES[1])])
    with torch.inference_mode():
        expected = Deep().eval()(voxels).mean(dim=(2, 3, 4))[0]
    np.testing.assert_allclose(rows[2], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ImageReadError, match="row position 1: .* single plane"):
        embedder.transform([VOLUMES[0], VOLUMES[2]])


@pytest.mark.long
def test_networks_of_torchvision_for_films():
    backbone = build_backbone("r3d_18", weights=None, input_size=32, depth=4)
    assert backbone.n_features == 512
    assert backbone.preprocessing.depth == 4
    with pytest.raises(ValueError, match="3-D .volume='3d'. networks of torchvision"):
        build_backbone("resnet18", weights=None, depth=4)
    with pytest.raises(ValueError, match="classification networks"):
        build_backbone("r3d_18", weights=None)
    with pytest.raises(ValueError, match="fails on volumes of shape"):
        build_backbone(nn.Conv2d(3, 2, 3), depth=4, input_size=8)


@pytest.mark.parametrize("depth", [3, 7, 12])
def test_the_number_of_slices_is_brought_to_the_depth(depth):
    ramp = np.linspace(0, 1, 7, dtype=np.float32)[:, None, None] * np.ones(
        (7, 9, 9), "f4"
    )
    found = VolumePreprocessing(9, depth, (0, 0, 0), (1, 1, 1))([read_image(ramp)])
    assert found.shape == (1, 3, depth, 9, 9)
    levels = found[0, 0, :, 0, 0].numpy()
    assert (np.diff(levels) >= 0).all()
    np.testing.assert_allclose(levels.mean(), 0.5, atol=1e-6)


# ---------------------------------------------------------------- resampling


def test_resampling_keeps_a_ramp_and_says_what_it_did():
    ramp = (np.arange(8, dtype=np.float32)[:, None, None] + 0.5) * np.ones(
        (8, 6, 10), "f4"
    )
    image = MedicalImage(ramp, "ZYX", (3.0, 0.5, 1.0), "grey")
    found = resample(image, 1.0)
    assert found.array.shape == (24, 3, 10)
    assert found.spacing == (1.0, 1.0, 1.0)
    inner = slice(2, -2)  # beyond the last slices there is nothing to interpolate
    expected = (np.arange(24) + 0.5) / 3
    np.testing.assert_allclose(found.array[inner, 0, 0], expected[inner], rtol=1e-5)


def test_resampling_agrees_with_torch():
    volume = RNG.random((9, 14, 11)).astype(np.float32)
    image = MedicalImage(volume, "ZYX", (1.0, 1.0, 1.0), "grey")
    found = resample(image, 1.7)
    _, rows, columns = found.array.shape
    flat = resample(MedicalImage(volume[:1], "ZYX", (1.7, 1.0, 1.0), "grey"), 1.7)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(volume[:1])[None],
        (rows, columns),
        mode="bilinear",
        antialias=True,
    )
    np.testing.assert_allclose(flat.array, expected[0].numpy(), rtol=1e-4)


@pytest.mark.parametrize(
    ("image", "size", "match"),
    [
        (MedicalImage(np.zeros((3, 4, 4)), "ZYX", None, "grey"), 1.0, "spacing None"),
        (MedicalImage(np.zeros((3, 4, 4)), "TYX", (1.0, 1.0), "grey"), 1.0, "axes TYX"),
        (
            MedicalImage(np.zeros((3, 4, 4)), "ZYX", (1.0, 1.0, 1.0), "grey"),
            0.001,
            "3000 x 4000 x 4000 voxels",
        ),
    ],
)
def test_volumes_that_cannot_be_resampled(image, size, match):
    with pytest.raises(ImageReadError, match=match):
        resample(image, size)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"volume": "2d"}, "volume must be one of"),
        ({"n_slices": 0}, "n_slices must be an integer of 1 or more"),
        ({"slice_pooling": "median"}, "slice_pooling must be"),
        ({"slice_pooling": 0}, "slice_pooling must be"),
        ({"slice_selection": "first"}, "slice_selection must be"),
        ({"voxel_size": -1}, "voxel_size must be"),
        ({"window": "liver"}, "window='liver' is unknown"),
        ({"volume": "3d", "n_slices": None}, "needs a number of slices"),
        ({"bag_pooling": "sum"}, "bag_pooling must be one of"),
        ({"bag_pooling": "recent", "bag_half_life": "0D"}, "longer than 0"),
    ],
)
def test_settings_are_checked_in_fit(settings, match):
    with pytest.raises(ValueError, match=f"ImageEmbedder: .*{match}"):
        ImageEmbedder(Flat(), store=None, **settings).fit(VOLUMES)
