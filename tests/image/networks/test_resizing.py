"""Squares from images of any shape: cropped, padded or squashed, and mapped back."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from skfusion import ImageEmbedder, JointFusionClassifier, read_image
from skfusion.image import Preprocessing
from skfusion.image.networks.resizing import centred, original_map, scaled_shape
from skfusion.image.reading.files import ImageReadError
from skfusion.inspection import explain_images

ONE = ((0.0,), (1.0,))


def marked(height, width):
    """An image whose left edge is white."""
    image = np.zeros((height, width), dtype=np.uint8)
    image[:, : max(width // 8, 1)] = 255
    return image


@pytest.mark.parametrize(
    ("shape", "mode", "expected"),
    [
        ((60, 91), "squash", (32, 32)),
        ((60, 91), "crop", (32, 48)),
        ((91, 60), "crop", (48, 32)),
        ((60, 91), "pad", (21, 32)),
        ((91, 60), "pad", (32, 21)),
        ((5, 5), "crop", (32, 32)),
        ((1, 1000), "pad", (1, 32)),
    ],
)
def test_shapes_before_the_crop(shape, mode, expected):
    assert scaled_shape(shape, 32, mode) == expected


def test_a_strip_is_refused_and_not_enlarged_to_gigabytes():
    with pytest.raises(ImageReadError, match="1000 times as long as wide"):
        scaled_shape((1000, 1), 224, "crop")
    strips = [np.zeros((2, 4000), np.uint8), np.zeros((40, 40), np.uint8)]
    embedder = ImageEmbedder(
        input_size=32, resize="crop", store=None, on_error="missing"
    )
    with pytest.warns(UserWarning, match="1 "):
        values = embedder.fit_transform(strips)
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1]).all()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("resampler", ["torch", "pillow"])
def test_what_each_mode_keeps(bits, resampler):
    pixels = marked(40, 80)
    image = read_image(pixels if bits == 8 else pixels.astype(np.uint16) * 257)
    found = {
        mode: Preprocessing(16, *ONE, resize_mode=mode, resampler=resampler)([image])[
            0, 0
        ]
        for mode in ("squash", "crop", "pad")
    }
    assert found["squash"][:, :2].min() > 0.85
    assert found["crop"].max() < 0.01  # the left quarter is lost
    assert found["pad"][:4].max() == found["pad"][12:].max() == 0
    assert found["pad"][4:12, :2].min() > 0.85


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_borders_have_the_stated_colour(dtype):
    grey = torch.ones(1, 2, 4).to(dtype)
    found = centred(grey, 4, (0.2, 0.4, 0.6))
    unit = 1.0 if dtype.is_floating_point else 255
    assert found.shape == (3, 4, 4)
    wanted = torch.tensor([0.2, 0.4, 0.6]) * unit
    torch.testing.assert_close(found[:, 0, 0].float(), wanted)
    assert torch.all(found[:, 1:3] == 1)


def test_a_margin_is_cropped_and_odd_positions_are_rounded():
    row = torch.arange(7.0)[None, None].expand(1, 7, 7)
    assert centred(row, 4)[0, 0].tolist() == [2, 3, 4, 5]  # 1.5 to even
    assert centred(row, 4, rounding="down")[0, 0].tolist() == [1, 2, 3, 4]


def test_only_what_is_not_default_is_in_the_text():
    assert repr(Preprocessing(8, *ONE)) == (
        "Preprocessing(input_size=8, mean=(0.0,), std=(1.0,), interpolation='bilinear')"
    )
    assert repr(Preprocessing(8, *ONE, resize_mode="pad")).endswith(
        "interpolation='bilinear', resize_mode='pad')"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize_mode": "fit"}, "resize_mode"),
        ({"resampler": "opencv"}, "resampler"),
        ({"crop_rounding": "up"}, "crop_rounding"),
        ({"resize_size": 0}, "resize_size"),
        ({"fill": (0.0, 0.1)}, "fill must be a tuple of one number or 1"),
        ({"fill": 0.5}, "fill must be a tuple of one number or 1, got 0.5"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing(8, *ONE, **settings)


def test_maps_lie_where_the_pixels_came_from():
    ramp = np.tile(np.arange(64, dtype=np.float32) / 64, (32, 1))
    image = read_image(ramp, scaling="none")
    for mode in ("squash", "crop", "pad"):
        preprocessing = Preprocessing(16, *ONE, resize_mode=mode)
        small = preprocessing.resize(image)[0]
        back = preprocessing.map_on_image(small, (32, 64)).numpy()
        inside = slice(20, 44) if mode == "crop" else slice(4, 60)
        np.testing.assert_allclose(back[4:-4, inside], ramp[4:-4, inside], atol=0.02)
        if mode == "crop":
            assert np.all(back[:, :14] == 0)
            assert np.all(back[:, 50:] == 0)


def test_a_map_of_a_padded_image_leaves_the_borders_out():
    values = torch.zeros(4, 4)
    values[0] = 1.0  # in the border
    values[1] = 2.0
    found = original_map(values, (2, 4), (2, 4))
    assert found.tolist() == [[2, 2, 2, 2], [0, 0, 0, 0]]


class Brightness(nn.Module):
    """Mean and maximum of an image."""

    def forward(self, images):
        return torch.cat([images.mean(dim=(2, 3)), images.amax(dim=(2, 3))], dim=1)


@pytest.mark.parametrize("mode", ["crop", "pad"])
def test_saliency_lies_on_the_place_of_the_finding(mode):
    """A map that is stretched over the image would be beside the finding."""
    net = Brightness()
    net.preprocessing = Preprocessing(16, (0.5,), (0.5,), resize_mode=mode)
    rng = np.random.default_rng(0)
    scans = rng.integers(0, 40, (20, 32, 64), dtype=np.uint8)
    scans[::2, 12:20, 36:44] = 250
    model = make_pipeline(ImageEmbedder(net, store=None), LogisticRegression())
    model.fit(list(scans), np.tile([1, 0], 10))
    found = explain_images(model, list(scans[:1]), method="occlusion", window=2)
    on_image = found.map_on_image(0)
    y, x = np.unravel_index(np.argmax(on_image), on_image.shape)
    assert 10 <= y < 22
    assert 34 <= x < 46


def test_joint_fusion_trains_on_cropped_pixels(tmp_path):
    rng = np.random.default_rng(0)
    cells = np.empty(16, dtype=object)
    cells[:] = list(rng.integers(0, 255, (16, 24, 40), dtype=np.uint8))
    X = pd.DataFrame({"scan": cells, "age": rng.normal(size=16)})
    embedder = ImageEmbedder(
        input_size=32, resize="pad", trainable="all", store=tmp_path / "store"
    )
    model = JointFusionClassifier(
        [("image", embedder, "scan"), ("ehr", "passthrough", ["age"])],
        max_epochs=1,
        random_state=0,
    ).fit(X, np.tile([0, 1], 8))
    assert np.isfinite(model.predict_proba(X)).all()


def test_each_mode_has_its_own_embeddings_in_the_store(tmp_path):
    image = [np.random.default_rng(0).integers(0, 255, (40, 64), dtype=np.uint8)]
    values = {
        mode: ImageEmbedder(input_size=32, resize=mode, store=tmp_path).fit_transform(
            image
        )
        for mode in ("auto", "squash", "crop", "pad")
    }
    np.testing.assert_array_equal(values["auto"], values["squash"])
    for one, other in (("squash", "crop"), ("crop", "pad"), ("pad", "squash")):
        assert not np.allclose(values[one], values[other])
