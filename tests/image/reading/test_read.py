"""Sources, depth and scaling of what is read; what is missing; digests."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skfusion import read_image
from skfusion.image.reading.files import ImageReadError, is_missing
from skfusion.image.reading.intensity import as_floats
from skfusion.image.reading.read import MedicalImage, content_digest, read_bytes_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 7, 3), dtype=np.uint8)
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def encoded(image: Image.Image | np.ndarray, name: str, **options) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """Write a PNG by hand, for the kinds that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# ---------------------------------------------------------------- sources


def test_every_source_gives_the_same_image(tmp_path):
    content = encoded(COLOUR, "PNG")
    path = tmp_path / "image.txt"  # the suffix does not count
    path.write_bytes(content)
    with open(path, "rb") as handle:
        sources = {
            "str": str(path),
            "path": path,
            "bytes": content,
            "bytearray": bytearray(content),
            "memoryview": memoryview(content),
            "file": handle,
            "BytesIO": io.BytesIO(content),
            "PIL": Image.open(io.BytesIO(content)),
            "array": COLOUR,
        }
        for kind, source in sources.items():
            image = read_image(source)
            np.testing.assert_array_equal(
                image.array, COLOUR.astype(np.float32) / np.float32(255), err_msg=kind
            )
            assert image.array.dtype == np.float32
            assert image.array.flags.c_contiguous
            assert image.array.flags.writeable
            assert (image.axes, image.photometric, image.spacing) == (
                "YXC",
                "rgb",
                None,
            )


def test_a_file_object_is_read_from_and_left_at_its_position():
    handle = io.BytesIO(b"head" + encoded(GREY, "PNG"))
    handle.seek(4)
    assert read_image(handle).array.shape == GREY.shape
    assert handle.tell() == 4
    assert content_digest(handle) == content_digest(encoded(GREY, "PNG"))
    assert handle.tell() == 4


@pytest.mark.parametrize("name", ["PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_formats(name, pixels):
    options = {"lossless": True} if name == "WEBP" else {}
    image = read_image(encoded(pixels, name, **options), scaling="none")
    found = image.array
    if name == "WEBP" and pixels.ndim == 2:
        found = found[:, :, 0]  # WebP has no grey
    np.testing.assert_array_equal(found, pixels)
    assert image.metadata["format"] == name


def test_jpeg():
    smooth = np.linspace(0, 255, 64 * 48).reshape(64, 48).astype(np.uint8)
    image = read_image(encoded(smooth, "JPEG", quality=95))
    assert image.array.shape == (64, 48)
    assert np.abs(image.array * 255 - smooth).max() < 8


def test_a_medical_image_can_be_pickled():
    image = pickle.loads(pickle.dumps(read_image(GREY)))
    assert isinstance(image, MedicalImage)
    np.testing.assert_array_equal(image.array, read_image(GREY).array)
    with pytest.raises(AttributeError):
        image.axes = "XY"


# ---------------------------------------------------------------- depth and scaling


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"big_tiff": True}),
    ],
)
@pytest.mark.parametrize("bits", [12, 16])
def test_deep_ramps_keep_every_level(name, options, bits):
    ramp = RAMP if bits == 16 else RAMP[:16]
    content = encoded(ramp, name, **options)
    raw = read_image(content, scaling="none")
    np.testing.assert_array_equal(raw.array, ramp)
    assert raw.metadata["dtype"] == "uint16"
    scaled = read_image(content).array
    assert np.unique(scaled).size == 2**bits
    assert (scaled.min(), scaled.max()) == (0, 1)
    np.testing.assert_array_equal(np.argsort(scaled.ravel()), np.arange(ramp.size))


def test_big_endian_and_signed_and_float_tiffs():
    big = Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_image(big, scaling="none").array, RAMP)
    np.testing.assert_array_equal(
        read_image(encoded(big, "TIFF"), scaling="none").array, RAMP
    )
    deep = (np.arange(400, dtype=np.int32).reshape(20, 20) - 200) * 10_000
    image = read_image(encoded(deep, "TIFF"), scaling="none")
    np.testing.assert_array_equal(image.array, deep)
    floats = RNG.normal(size=(9, 5)).astype(np.float32) * 1000
    np.testing.assert_array_equal(
        read_image(encoded(floats, "TIFF"), scaling="none").array, floats
    )
    assert np.unique(read_image(encoded(floats, "TIFF")).array).size == 45


@pytest.mark.parametrize("pixels", [GREY, RAMP[:16]], ids=["8 bits", "16 bits"])
def test_tiffs_that_store_white_as_zero_are_inverted(pixels):
    content = encoded(pixels, "TIFF", tiffinfo={262: 0})
    tags = Image.open(io.BytesIO(content)).tag_v2
    assert tags[262] == 0
    (start,) = tags[273]
    in_file = np.frombuffer(content, pixels.dtype, pixels.size, start)
    np.testing.assert_array_equal(
        read_image(content, scaling="none").array.ravel(),
        np.iinfo(pixels.dtype).max - in_file.astype(np.int64),
    )


def test_sixteen_bit_colour_is_reduced_with_a_warning():
    values = RNG.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    with pytest.warns(UserWarning, match="read with 8 bits per channel"):
        image = read_image(png(5, 4, 16, 2, rows), scaling="none")
    assert np.abs(image.array - values / 257).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "auto", "by_type"),
    [
        (bool, (0, 1), (0, 1)),
        (np.uint8, (10 / 255, 110 / 255), (10 / 255, 110 / 255)),
        (np.uint16, (0, 1), (10 / 65535, 110 / 65535)),
        (np.int16, (0, 1), (32778 / 65535, 32878 / 65535)),
        (np.int32, (0, 1), ((2**31 + 10) / (2**32 - 1), (2**31 + 110) / (2**32 - 1))),
        (np.float32, (0, 1), (10, 110)),
        (np.float64, (0, 1), (10, 110)),
    ],
)
def test_scaling_of_each_type(dtype, auto, by_type):
    pixels = np.array([[10, 60], [35, 110]])
    if dtype is bool:
        pixels = np.array([[0, 1], [1, 0]])
    pixels = pixels.astype(dtype)

    def ends(scaling):
        array = read_image(pixels, scaling=scaling).array
        assert array.dtype == np.float32
        return array.min(), array.max()

    assert ends("auto") == pytest.approx(auto, rel=1e-6)
    assert ends("dtype") == pytest.approx(by_type, rel=1e-6)
    assert ends("minmax") == (0, 1)
    assert ends("none") == (pixels.min(), pixels.max())
    assert read_image(pixels).metadata["value_range"] == (pixels.min(), pixels.max())


def test_floats_in_the_unit_range_stay():
    pixels = np.array([[0.25, 0.5], [0.3, 0.75]])
    np.testing.assert_array_equal(read_image(pixels).array, pixels.astype(np.float32))


@pytest.mark.parametrize("scaling", ["auto", "dtype", "minmax", "none"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_constant_image_is_finite(scaling, dtype):
    array = read_image(np.full((3, 3), 7, dtype=dtype), scaling=scaling).array
    assert np.isfinite(array).all()
    assert np.unique(array).size == 1


def test_reading_does_not_change_the_array():
    pixels = np.array([[0.0, 1.0]], dtype=np.float32)
    read_image(pixels).array[:] = 5
    assert pixels.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.zeros((8, 8, 2)), "with 2 channels; expected 1"),
        (np.zeros((2, 5, 8, 8)), r"shape \(2, 5, 8, 8\).*channels last"),
        (np.zeros(8), r"shape \(8,\)"),
        (np.zeros((0, 8)), "has no pixels"),
        (np.array([[1.0, np.nan], [np.inf, 0.0]]), "2 NaN or infinite values of 4"),
        (np.array([[1j]]), "dtype complex128"),
        (np.array([["a"]]), "dtype <U1"),
        (np.array([[None]]), "dtype object"),
    ],
)
def test_arrays_that_are_no_image(array, match):
    with pytest.raises(ImageReadError, match=match):
        read_image(array)


def test_things_that_hold_no_image():
    for thing in (3, 2.5, ["a.png", "b.png"], {"file": "a.png"}):
        with pytest.raises(
            TypeError, match=f"type {type(thing).__name__} is not an image"
        ):
            read_image(thing)
        with pytest.raises(TypeError, match="is not an image"):
            content_digest(thing)
    for missing in (None, float("nan"), pd.NA, ""):
        with pytest.raises(ImageReadError, match="cell is missing"):
            read_image(missing)
        with pytest.raises(ImageReadError, match="cell is missing"):
            content_digest(missing, memo=str)
    with pytest.raises(ImageReadError, match="in text mode"):
        read_image(io.StringIO("text"))
    with pytest.raises(
        ValueError, match="scaling='log' is unknown; choose one of auto"
    ):
        read_image(GREY, scaling="log")


# ---------------------------------------------------------------- missing, digest


@pytest.mark.parametrize(
    ("cell", "missing"),
    [
        (None, True),
        (float("nan"), True),
        (np.float32("nan"), True),
        (pd.NA, True),
        (pd.NaT, True),
        (np.datetime64("NaT", "D"), True),
        ("", True),
        (" ", False),
        ("nan", False),
        (0, False),
        (b"", False),
        (Path("x"), False),
        ([None], False),
        (np.array([np.nan]), False),
        (np.array(np.nan), False),
        (Image.new("L", (1, 1)), False),
    ],
)
def test_is_missing(cell, missing):
    assert is_missing(cell) is missing


def test_digests_follow_the_content(tmp_path):
    content = encoded(GREY, "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(content)
    digest = content_digest(path)
    assert digest == content_digest(str(path)) == content_digest(content)
    assert len(digest) == 64
    cells = [
        content,
        content[:-1],
        GREY,
        GREY.T,
        GREY.astype(np.uint16),
        GREY.reshape(7, 12),
        GREY + 1,
        Image.fromarray(GREY),
        Image.fromarray(COLOUR),
    ]
    assert len({content_digest(cell) for cell in cells}) == len(cells)
    assert content_digest(GREY) == content_digest(np.asfortranarray(GREY))
    assert content_digest(Image.fromarray(GREY)) == content_digest(
        Image.fromarray(GREY)
    )
    assert content_digest(path, memo=lambda p: f"memo of {p.name}") == "memo of a.png"
    assert content_digest(GREY, memo=str) == content_digest(GREY)
    with pytest.raises(TypeError, match="array of objects"):
        content_digest(np.array([None]))


def test_digests_of_pil_images_follow_what_is_seen():
    first, second = Image.new("P", (2, 2)), Image.new("P", (2, 2))
    first.putpalette([1, 2, 3])
    second.putpalette([3, 2, 1])
    assert content_digest(first) != content_digest(second)
    turned = Image.fromarray(GREY)
    turned.getexif()[0x0112] = 6
    assert content_digest(turned) != content_digest(Image.fromarray(GREY))
    broken = Image.open(io.BytesIO(encoded(COLOUR, "PNG")[:200]))
    with pytest.raises(ImageReadError, match="is truncated"):
        content_digest(broken)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("quality", [30, 75, 95])
def test_the_fast_decoder_of_jpegs_gives_what_pillow_gives(monkeypatch, mode, quality):
    pytest.importorskip("simplejpeg")
    smooth = Image.fromarray(COLOUR).resize((97, 61)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(smooth, "JPEG", quality=quality, exif=exif)
    fast = read_image(content)
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    slow = read_image(content)
    np.testing.assert_array_equal(fast.array, slow.array)
    assert fast.metadata == slow.metadata


@pytest.mark.parametrize("scaling", ["auto", "dtype", "minmax", "none"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR, RAMP[:5]], ids=["L", "RGB", "I;16"])
def test_bytes_stay_bytes_where_that_says_the_same(scaling, pixels):
    kept = read_bytes_image(pixels, window=None, scaling=scaling)
    is_kept = pixels.dtype == np.uint8 and scaling in ("auto", "dtype")
    assert (kept.array.dtype == np.uint8) is is_kept
    expected = read_image(pixels, scaling=scaling).array
    np.testing.assert_array_equal(as_floats(kept.array), expected)


# ---------------------------------------------------------------- real images


def test_photographs_of_pad_ufes_20(skfusion_data):
    folder = skfusion_data / "pad_ufes_20_subset" / "images"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA holds no pad_ufes_20_subset")
    paths = sorted(folder.iterdir())
    assert paths
    for path in paths[::20]:
        image = read_image(path)
        assert image.photometric == "rgb"
        assert image.array.shape[2] == 3
        assert 0 <= image.array.min() < image.array.max() <= 1
