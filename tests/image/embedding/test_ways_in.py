"""One 8-bit image gives one embedding, however it comes in."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from skfusion import ImageEmbedder, read_image
from skfusion.exceptions import DataWarning
from skfusion.image.embedding.pixels import load_pixels
from skfusion.image.networks.preprocessing import Preprocessing
from skfusion.image.reading.intensity import as_stored_bytes
from skfusion.image.reading.read import MedicalImage

HALF = (0.5, 0.5, 0.5)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def picture(rng, channels, size=(150, 97)):
    """Return a smooth image with some noise, uint8."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    waves = 100 + 60 * np.sin(rows / 9) * np.cos(columns / 7)
    shape = (*size, channels) if channels > 1 else size
    noise = rng.normal(0, 20, shape)
    return np.clip(
        (waves[..., None] if channels > 1 else waves) + noise, 0, 255
    ).astype(np.uint8)


def encoded(pixels, format_):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format_)
    return content.getvalue()


def embedder(**parameters):
    # One image in a batch, because kernels round differently within larger ones.
    settings = {"weights": None, "input_size": 64, "batch_size": 1}
    return ImageEmbedder("resnet18", **settings, **parameters)


@pytest.mark.filterwarnings("ignore:.*random:UserWarning")
@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_way_in_gives_the_same_embedding(tmp_path, rng, channels, format_):
    content = encoded(picture(rng, channels), format_)
    path = tmp_path / "scan"
    path.write_bytes(content)
    image = read_image(path)
    stored = np.rint(image.array * 255).astype(np.uint8)
    tensor = torch.from_numpy(image.array)
    cells = {
        "path": path,
        "bytes": content,
        "uint8 array": stored,
        "array of read_image": image.array,
        "array divided by 255.0": stored / 255.0,
        "array times 1 / 255": stored.astype(np.float32) * np.float32(1 / 255),
        "tensor": tensor[None] if channels == 1 else tensor.movedim(-1, 0),
    }
    values = embedder().fit_transform(list(cells.values()))
    for name, value in zip(cells, values, strict=True):
        np.testing.assert_array_equal(value, values[0], err_msg=name)
    other = embedder().fit_transform([picture(rng, channels)])
    assert np.abs(other - values[0]).max() > 1e-3


@pytest.mark.filterwarnings("ignore:.*random:UserWarning")
def test_volumes_and_lists_of_planes_too(rng):
    volume = np.stack([picture(rng, 1) for _ in range(6)])
    floats = read_image(volume).array
    assert floats.dtype == np.float32
    cells = [volume, floats, list(volume), list(floats)]
    values = embedder().fit_transform(cells)
    np.testing.assert_array_equal(values[1], values[0])
    np.testing.assert_array_equal(values[3], values[2])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_networks_that_are_trained_on_pixels_too(tmp_path, rng, interpolation):
    preprocessing = Preprocessing(32, HALF, HALF, interpolation)
    path = tmp_path / "scan.png"
    path.write_bytes(encoded(picture(rng, 3), "PNG"))
    cells = [str(path), read_image(path).array]
    pixels = load_pixels(cells, preprocessing)[0].read([0, 1])
    torch.testing.assert_close(pixels[1], pixels[0], rtol=0, atol=0)
    batch = preprocessing([read_image(path)])[0]
    expected = preprocessing.normalise(pixels[0])
    torch.testing.assert_close(batch, expected, rtol=0, atol=0)


def grey(array):
    return MedicalImage(array, "YX", None, "grey", {}, None)


def test_other_floats_are_resized_as_they_are(rng):
    preprocessing = Preprocessing(32, HALF, HALF)
    exact = picture(rng, 1).astype(np.float32) / 255
    for changed in (exact + np.float32(1e-4), exact * 2 - 1, rng.random(exact.shape)):
        array = changed.astype(np.float32)
        array[-1, -1] = 0.1234
        expected = interpolate(
            torch.from_numpy(array)[None, None],
            (32, 32),
            mode="bilinear",
            antialias=True,
        )[0]
        torch.testing.assert_close(preprocessing.resize(grey(array)), expected)


def test_only_floats_of_bytes_become_bytes():
    levels = np.arange(256)
    for dtype in (np.float32, np.float64):
        found = as_stored_bytes((levels / 255).astype(dtype))
        assert found.dtype == np.uint8
        assert found.tolist() == levels.tolist()
    masks = as_stored_bytes(np.array([0.0, 1.0]))
    assert masks.tolist() == [0, 255]
    others = [
        *(levels.astype(float), -levels / 255, levels / 254, levels / 65535),
        *(np.array([0.0, np.nan]), np.array([0.0, np.inf]), np.array([256 / 255])),
        *(levels.astype(np.uint8), levels.astype(np.int16), np.empty((0, 3))),
    ]
    for other in others:
        assert as_stored_bytes(other) is other
    # One pixel between the grey levels, where only the whole image shows it.
    large = np.zeros((200, 200), dtype=np.float32)
    large[77, 33] = 0.5
    assert as_stored_bytes(large) is large


CT = np.linspace(-1000, 1000, 4096).reshape(64, 64).astype(np.int16)
IN_UNITS = {"window": {"window": "soft"}, "hounsfield": {"scaling": "hounsfield"}}


@pytest.mark.filterwarnings("ignore:.*random:UserWarning")
@pytest.mark.parametrize("intensity", IN_UNITS.values(), ids=IN_UNITS)
def test_scaling_an_array_of_read_image_again_warns(intensity):
    array = read_image(CT, **intensity).array
    for again in IN_UNITS.values():
        with pytest.warns(DataWarning, match="almost no contrast is left"):
            read_image(array, **again)
    with pytest.warns(DataWarning, match="as after scaling by read_image"):
        embedder(window=(40, 400)).fit_transform([array])
    np.testing.assert_array_equal(read_image(array).array, array)


def test_a_window_in_the_units_of_the_image_does_not_warn():
    for values in (CT, CT.astype(float), CT[:1] * 0.0):
        read_image(values, window=(40, 2500))
    read_image(np.linspace(0, 1, 64).reshape(8, 8), window=(0.5, 0.4))
