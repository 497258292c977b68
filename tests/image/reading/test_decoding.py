"""Every mode of Pillow, every kind of bad file, and no path in a message."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import skfusion
from skfusion import read_image
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.read import content_digest

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


# ---------------------------------------------------------------- modes


def test_one_bit():
    bits = GREY > 127
    image = read_image(encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(image.array, bits.astype(np.float32))
    assert image.photometric == "grey"


def test_palette():
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([2, 0, 1])
    found = read_image(encoded(image, "PNG"), scaling="none")
    assert found.array.tolist() == [[[70, 80, 90], [10, 20, 30], [40, 50, 60]]]
    assert found.metadata["mode"] == "P"
    with_hole = read_image(encoded(image, "PNG", transparency=0), scaling="none")
    assert with_hole.array.tolist() == [[[70, 80, 90], [0, 0, 0], [40, 50, 60]]]
    assert with_hole.metadata["alpha"] == "composited"


@pytest.mark.parametrize("as_array", [True, False], ids=["array", "PNG"])
def test_alpha(as_array):
    pixels = np.full((1, 3, 4), 200, dtype=np.uint8)
    pixels[0, :, 3] = [255, 51, 0]
    image = read_image(pixels if as_array else encoded(pixels, "PNG"), scaling="none")
    assert image.array[0, :, 0].tolist() == [200, 40, 0]
    assert image.array.shape == (1, 3, 3)
    assert image.metadata["alpha"] == "composited"
    pixels[:, :, 3] = 255
    image = read_image(pixels if as_array else encoded(pixels, "PNG"), scaling="none")
    assert (image.array == 200).all()
    assert image.metadata["alpha"] == "opaque"


def test_alpha_of_floats_and_grey():
    pixels = np.array([[[0.5, 0.25, 1.0, 0.5]]])
    np.testing.assert_allclose(read_image(pixels).array, [[[0.25, 0.125, 0.5]]])
    image = Image.merge("LA", [Image.new("L", (2, 1), 100), Image.new("L", (2, 1))])
    image.putpixel((0, 0), (100, 255))
    found = read_image(encoded(image, "PNG"), scaling="none")
    assert found.array.tolist() == [[100, 0]]
    assert found.photometric == "grey"


@pytest.mark.parametrize("name", ["TIFF", "JPEG"])
def test_cmyk(name):
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # red
    red, green, blue = read_image(encoded(inks, name)).array[4, 4]
    assert red > 0.95
    assert max(green, blue) < 0.05


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "La", "RGBa", "PA", "RGBX"])
def test_rarer_modes_of_pillow(mode):
    image = read_image(Image.new(mode, (5, 4)))
    assert image.array.shape[:2] == (4, 5)
    assert np.isfinite(image.array).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("pixels", [GREY, COLOUR, RAMP[:5]], ids=["L", "RGB", "I;16"])
def test_exif_orientation_is_undone(orientation, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(pixels, "PNG", exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    image = read_image(content, scaling="none")
    np.testing.assert_array_equal(image.array, np.asarray(upright))
    assert image.metadata["orientation"] == orientation
    # an image that its owner has turned is not turned again
    np.testing.assert_array_equal(
        read_image(upright, scaling="none").array, np.asarray(upright)
    )


def test_a_senseless_orientation_turns_nothing():
    exif = Image.Exif()
    exif[0x0112] = 77
    image = read_image(encoded(GREY, "PNG", exif=exif), scaling="none")
    np.testing.assert_array_equal(image.array, GREY)


# ---------------------------------------------------------------- bad images


def large(name: str) -> bytes:
    return encoded(RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8), name)


BAD_CONTENT = {
    "empty": (b"", "empty .0 bytes"),
    "text": (b"patient,age\n1,63\n" * 20, "looks like text"),
    "zeros": (bytes(1000), "starts with unknown bytes"),
    "dicom": (bytes(128) + b"DICM" + bytes(500), "contains no pixel data"),
    "nifti": (bytes(344) + b"n+1\0" + bytes(50), "is damaged"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n" * 9, "looks like text"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "damaged|truncated"),
    "truncated PNG": (large("PNG")[:50_000], "is truncated"),
    "truncated JPEG": (large("JPEG")[:8_000], "is truncated"),
    "truncated TIFF": (large("TIFF")[:50_000], "truncated|damaged"),
    "bit rot": (large("PNG")[:40] + b"rotten bits" + large("PNG")[51:], "is damaged"),
    "bomb": (png(60_000, 60_000, 8, 0, b""), "decompression bomb"),
    "small bomb": (png(9_460, 9_460, 8, 0, b""), "decompression bomb"),
    "pages": (
        encoded(
            Image.new("L", (4, 4)),
            "TIFF",
            save_all=True,
            append_images=[Image.new("L", (5, 4))] * 2,
        ),
        r"3 pages .* differ in size or mode \(4 x 4 \(L\), 4 x 5 \(L\)\)",
    ),
}


@pytest.mark.parametrize("kind", BAD_CONTENT)
@pytest.mark.parametrize("in_file", [True, False], ids=["file", "bytes"])
def test_bad_content(tmp_path, kind, in_file):
    content, match = BAD_CONTENT[kind]
    source = content
    if in_file:
        source = tmp_path / "Doe-Jane.png"
        source.write_bytes(content)
    with pytest.raises(ImageReadError, match=match) as caught:
        read_image(source)
    assert "Doe" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_each_kind_of_bad_content_has_its_own_message():
    kinds = ["empty", "text", "truncated PNG", "bit rot", "bomb", "pages", "dicom"]
    messages = set()
    for kind in kinds:
        with pytest.raises(ImageReadError) as caught:
            read_image(BAD_CONTENT[kind][0])
        messages.add(str(caught.value))
    assert len(messages) == len(kinds)


def test_bad_paths(tmp_path):
    (tmp_path / "folder").mkdir()
    cases = {
        tmp_path / "Doe-absent.png": "does not exist",
        tmp_path / "folder": "folder contains no DICOM image",
        "Doe\0.png": "not a valid path",
        str(tmp_path / ("Doe" * 200)): "cannot be reached",
    }
    if os.path.exists("/dev/null"):
        cases["/dev/null"] = "device or pipe"
    for path, match in cases.items():
        with pytest.raises(ImageReadError, match=match) as caught:
            read_image(path)
        assert "Doe" not in str(caught.value)
        if path != tmp_path / "folder":  # an empty one has a digest, too
            with pytest.raises(ImageReadError, match=match):
                content_digest(path)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
@pytest.mark.long
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "Doe.png"
    path.write_bytes(encoded(GREY, "PNG"))
    path.chmod(0)
    script = (
        "import os, sys\n"
        "from PIL import Image\n"
        "from skfusion.image.reading.read import ImageReadError, read_image\n"
        "handle = os.open(sys.argv[1], os.O_RDONLY)\n"  # the folder is private
        "os.fchdir(handle)\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "try:\n    read_image('Doe.png')\n"
        "except ImageReadError as error:\n    print(error)\n"
    )
    root = str(Path(skfusion.__file__).parents[1])
    out = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Permission denied" in out
    assert "Doe" not in out


def test_the_size_is_checked_before_decoding():
    bomb = png(5_000, 5_000, 8, 0, b"")  # no pixel data: decoding would say truncated
    with pytest.raises(ImageReadError, match="truncated|damaged"):
        read_image(bomb)
    with pytest.raises(
        ImageReadError, match=r"5000 x 5000 pixels, more than max_pixels=1000 .*bomb"
    ):
        read_image(bomb, max_pixels=1000)
    with pytest.raises(ImageReadError, match="max_pixels=10"):
        read_image(Image.new("L", (100, 100)), max_pixels=10)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_no_cut_of_a_file_raises_anything_else(name):
    content = encoded(COLOUR, name)
    n_bad = 0
    for stop in range(1, len(content)):
        try:
            read_image(content[:stop])
        except ImageReadError:
            n_bad += 1
    assert n_bad > len(content) * 0.7  # what follows the pixels may be missing


@pytest.mark.filterwarnings("ignore:::PIL")  # of tags that the damage has hit
@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_no_damaged_byte_raises_anything_else(name):
    content = encoded(COLOUR, name)
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(256)
        try:
            image = read_image(bytes(damaged), max_pixels=10_000)
        except ImageReadError:
            continue
        assert image.array.ndim in (2, 3)
