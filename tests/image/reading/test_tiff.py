"""TIFFs over types, planes, channels, compressions and predictors, beside tifffile."""

from __future__ import annotations

import io
import itertools
import warnings

import numpy as np
import pytest
from PIL import Image

from skfusion import read_image
from skfusion.image.reading.files import ImageReadError

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
TYPES = [
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64"),
    *("int64", "float16", "float32", "float64"),
]
COMPRESSIONS = [None, "zlib", "lzw", "packbits", "lzma", "zstd"]


def tiff(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def values_of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    values = RNG.random(shape) * 250 - (125 if np.dtype(dtype).kind in "if" else 0)
    if np.dtype(dtype).itemsize > 1 and np.dtype(dtype).kind in "iu":
        values *= 200  # more than 8 bits
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.slow
def test_values_are_those_of_tifffile(dtype, compression):
    if compression not in (None, "zlib", "lzma", "packbits"):
        pytest.importorskip("imagecodecs")
    n_read = 0
    for planes, channels, predictor, separate, is_tiled in itertools.product(
        [1, 4], [1, 3], [False, True], [False, True], [False, True]
    ):
        big, tile = is_tiled, (16, 16) if is_tiled else None
        shape = (*((planes,) if planes > 1 else ()), 31, 17)
        shape += (channels,) if channels > 1 else ()
        values = values_of(dtype, shape)
        options = {"compression": compression, "bigtiff": big, "tile": tile}
        options["photometric"] = "rgb" if channels > 1 else "minisblack"
        stored = values
        if channels > 1:
            options["planarconfig"] = "separate" if separate else "contig"
            stored = np.moveaxis(values, -1, -3) if separate else values
        elif separate:
            continue
        if predictor:
            options["predictor"] = True
        try:
            content = tiff(stored, **options)
        except (ValueError, KeyError, NotImplementedError, RuntimeError):
            continue  # a combination that tifffile does not write
        if dtype == "bool" and channels > 1:
            with pytest.raises(ImageReadError, match="1 bit per channel"):
                read_image(content)
            continue
        found = read_image(content, scaling="none")
        np.testing.assert_array_equal(found.array, values.astype(np.float32))
        n_read += 1
    assert n_read >= 4


def test_planes_behind_a_single_page():
    stack = RNG.integers(0, 4096, (5, 40, 30)).astype(np.uint16)
    found = read_image(tiff(stack, imagej=True, truncate=True), scaling="none")
    np.testing.assert_array_equal(found.array, stack)
    assert found.axes == "ZYX"
    volumes = RNG.integers(0, 255, (3, 6, 8, 9)).astype(np.uint8)
    content = tiff(volumes, imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(ImageReadError, match="6 planes at 3 times.*volume_index=0 to"):
        read_image(content)
    found = read_image(content, scaling="none", volume_index=2)
    np.testing.assert_array_equal(found.array, volumes[2])
    film = tiff(volumes[:, 0], imagej=True, metadata={"axes": "TYX"})
    assert read_image(film).axes == "TYX"


def test_channels_that_are_not_colours_are_refused():
    for content, match in [
        (
            tiff(np.zeros((2, 8, 9), "u2"), ome=True, metadata={"axes": "CYX"}),
            "2 chann",
        ),
        (tiff(np.zeros((8, 9, 5), "u1"), planarconfig="contig"), "5 samples"),
        (tiff(np.zeros((8, 9), "c8")), "values of type complex64"),
    ]:
        with pytest.raises(ImageReadError, match=match):
            read_image(content)


def test_reduced_copies_are_not_planes():
    file = io.BytesIO()
    full = RNG.integers(0, 255, (40, 40)).astype(np.uint8)
    with tifffile.TiffWriter(file) as writer:
        writer.write(full)
        writer.write(full[::2, ::2], subfiletype=1)
    found = read_image(file.getvalue(), scaling="none")
    np.testing.assert_array_equal(found.array, full)


def test_whole_slides_are_refused_with_the_way_out():
    content = tiff(
        np.zeros((64, 64, 3), "u1"),
        tile=(16, 16),
        photometric="rgb",
        description="Aperio Image Library v11.2.1\r\n64x64|AppMag = 20",
        metadata=None,
    )
    with pytest.raises(ImageReadError, match="whole-slide image.*OpenSlide"):
        read_image(content)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "int16"])
def test_white_that_is_zero_is_inverted(dtype):
    values = values_of(dtype, (8, 9))
    dark = read_image(tiff(values, photometric="minisblack"), scaling="none").array
    light = read_image(tiff(values, photometric="miniswhite"), scaling="none").array
    assert np.corrcoef(dark.ravel(), light.ravel())[0, 1] == pytest.approx(-1)


def test_orientation_alpha_and_palettes():
    colours = RNG.integers(0, 65535, (8, 9, 4)).astype(np.uint16)
    content = tiff(colours, photometric="rgb", extrasamples=["unassalpha"])
    found = read_image(content, scaling="none")
    expected = np.rint(colours[..., :3] * (colours[..., 3:] / 65535))
    np.testing.assert_array_equal(found.array, expected)
    premultiplied = tiff(colours, photometric="rgb", extrasamples=["assocalpha"])
    np.testing.assert_array_equal(
        read_image(premultiplied, scaling="none").array, colours[..., :3]
    )
    grey = RNG.integers(0, 65535, (8, 9)).astype(np.int16)
    turned = tiff(grey, extratags=[(274, "H", 1, 6, True)])
    np.testing.assert_array_equal(
        read_image(turned, scaling="none").array, np.rot90(grey, -1)
    )


def test_a_decoder_that_is_not_installed_is_named(monkeypatch):
    pytest.importorskip("imagecodecs")
    content = tiff(values_of("int16", (40, 40)), compression="lzw")

    def fail(self):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(ImageReadError, match=r"\(LZW\).*pip install imagecodecs"):
        read_image(content)


def test_pages_of_pillow_and_of_tifffile_agree():
    pages = [RNG.integers(0, 255, (9, 8)).astype(np.uint8) for _ in range(3)]
    file = io.BytesIO()
    images = [Image.fromarray(page) for page in pages]
    images[0].save(file, "TIFF", save_all=True, append_images=images[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(file.getvalue(), scaling="none")
    np.testing.assert_array_equal(found.array, np.stack(pages))
