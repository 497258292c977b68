"""Decoding of PNG, JPEG, JPEG 2000, BMP, GIF, WebP, AVIF and PGM images with Pillow.

Values are not clipped.
"""

from __future__ import annotations

import importlib
import io
import re
import threading
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.reading.files import (
    ImageReadError,
    as_read_errors,
    check_size,
)
from skfusion.image.reading.intensity import Decoded

__all__ = [
    "EXIF_ORIENTATION",
    "decode_pil",
    "decode_raster",
    "open_with_pillow",
    "stored_pil",
    "upright",
    "whole_pil",
]


_TIFF_SUBFILE, _TIFF_BITS, _TIFF_PHOTOMETRIC = 254, 258, 262
_REDUCED_OR_MASK = 0b101  # bits of NewSubfileType
EXIF_ORIENTATION = 0x0112


def decode_raster(
    handle: io.BufferedIOBase, name: str, max_pixels: int, *, as_stored: bool = False
) -> Decoded:
    """Decode an open file with the Pillow reader of one format.

    All other readers of Pillow stay disabled, in particular those that run an
    interpreter (PostScript). With `as_stored`, a palette is not applied.
    """
    if as_stored and name not in ("PNM", "JPEG 2000"):
        image = open_with_pillow(handle, name)
        check_size(image.size[1], image.size[0], 1, max_pixels)
        return stored_pil(image)
    special = {
        "PNG": _decode_png,
        "PNM": _decode_portable,
        "JPEG 2000": _decode_jpeg_2000,
        "AVIF": _decode_avif,
    }
    if name in special:
        return special[name](handle, max_pixels)
    image = open_with_pillow(handle, name)
    fast = _simplejpeg() if name == "JPEG" else None
    if fast is not None and image.mode in ("L", "RGB"):
        handle.seek(0)
        return decode_pil(image, max_pixels, lambda: fast(handle.read(), image.mode))
    return decode_pil(image, max_pixels)


_PILLOW_NAMES = {"PNM": "PPM", "JPEG 2000": "JPEG2000"}


def open_with_pillow(handle: io.BufferedIOBase, name: str) -> Any:
    """Open a file with one of Pillow's readers, without decoding it."""
    pillow = require("PIL.Image", "images")
    features = require("PIL.features", "images")
    # An older Pillow warns if it is asked for this feature alone.
    if name == "AVIF" and "avif" not in features.get_supported():
        raise ImageReadError(
            "AVIF images need Pillow 11.3 or newer with AVIF support. Update Pillow, "
            "or convert the image to PNG."
        )
    with as_read_errors():
        return pillow.open(handle, formats=[_PILLOW_NAMES.get(name, name)])


# The chunks of a PNG that determine its pixels, its animation and its orientation.
_PNG_CHUNKS = frozenset(
    (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")
)


def _decode_png(handle: io.BufferedIOBase, max_pixels: int) -> Decoded:
    start = handle.tell()
    try:
        return decode_pil(open_with_pillow(handle, "PNG"), max_pixels)
    except ImageReadError:
        # Pillow rejects text and colour profiles that are large or damaged, although
        # they do not change the pixels. A damaged image fails again.
        handle.seek(start)
        content = handle.read()
        bare = _without_ancillary_chunks(content)
        if bare is None:
            raise
    return decode_pil(open_with_pillow(io.BytesIO(bare), "PNG"), max_pixels)


def _without_ancillary_chunks(content: bytes) -> bytes | None:
    """Return a PNG without text and profiles, or None if there are none."""
    kept, place = [content[:8]], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 12 + length
        chunk = content[place:end]
        kind, checksum = chunk[4:8], int.from_bytes(chunk[-4:], "big")
        is_whole = end <= len(content) and zlib.crc32(chunk[4:-4]) == checksum
        if kind in _PNG_CHUNKS or (kind == b"eXIf" and is_whole):
            kept.append(chunk)
        place = end
    kept.append(content[place:] if place < len(content) else b"")
    bare = b"".join(kept)
    return None if len(bare) == len(content) else bare


_PORTABLE_HEAD = re.compile(
    rb"P[25](?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+\d+(?:\s|#[^\n]*\n)+(\d{1,5})\s"
)


def _decode_portable(handle: io.BufferedIOBase, max_pixels: int) -> Decoded:
    """Decode a PGM, PPM or PBM image with the stored values.

    Pillow stretches grey values from the largest value in the header to 8 or 16 bits.
    """
    start = handle.tell()
    found = _PORTABLE_HEAD.match(handle.read(4096))
    handle.seek(start)
    image = decode_pil(open_with_pillow(handle, "PNM"), max_pixels)
    if found is None or image.axes != "YX" or image.pixels.dtype == bool:
        return image
    largest = int(found[1])
    full = 255 if largest <= 255 else 65535
    if largest not in (0, full):
        dtype = np.uint8 if full == 255 else np.uint16
        stored = np.rint(image.pixels.astype(np.float64) * (largest / full))
        image.pixels = stored.astype(dtype)
        image.type_range = (0.0, float(largest))
    elif image.pixels.dtype != np.uint8:
        image.pixels = image.pixels.astype(np.uint16)
    return image


def _decode_jpeg_2000(handle: io.BufferedIOBase, max_pixels: int) -> Decoded:
    """Decode a JPEG 2000 image, with more than 8 bits by pylibjpeg-openjpeg.

    Pillow shifts signed values, and values of 9 to 15 bits, to 16 bits.
    """
    openjpeg = require("openjpeg", "images")
    image = open_with_pillow(handle, "JPEG 2000")
    with as_read_errors():
        width, height = image.size
        handle.seek(0)
        found = openjpeg.get_parameters(handle.read())
        bits, is_signed = int(found["precision"]), bool(found["is_signed"])
        n_channels = int(found["samples_per_pixel"])
        if bits <= 8 and not is_signed:
            handle.seek(0)
            return decode_pil(open_with_pillow(handle, "JPEG 2000"), max_pixels)
        check_size(height, width, 1, max_pixels, n_channels=n_channels)
        if n_channels not in (1, 3):
            raise ImageReadError(
                f"The JPEG 2000 image has {n_channels} channels of {bits} bits; "
                "expected 1 or 3. Convert it to PNG or TIFF."
            )
        handle.seek(0)
        pixels = np.ascontiguousarray(openjpeg.decode(handle.read()))
    low = -(2.0 ** (bits - 1)) if is_signed else 0.0
    return Decoded(
        pixels,
        "YX" if pixels.ndim == 2 else "YXC",
        type_range=(low, low + 2.0**bits - 1),
        metadata={"format": "JPEG2000", "mode": f"{bits} bits"},
    )


def _decode_avif(handle: io.BufferedIOBase, max_pixels: int) -> Decoded:
    start = handle.tell()
    head = handle.read(1 << 16)
    handle.seek(start)
    place = head.find(b"av1C")
    # AV1 configuration: bit 6 of the third byte means more than 8 bits per channel.
    if 0 <= place < len(head) - 7 and head[place + 6] & 0x40:
        _warn_reduced("An AVIF image with more than 8 bits per channel")
    return decode_pil(open_with_pillow(handle, "AVIF"), max_pixels)


def _warn_reduced(what: str) -> None:
    warn_user(
        f"{what} was read with 8 bits per channel, the limit of Pillow. Pass an array "
        "to keep all levels.",
        DataWarning,
    )


def _simplejpeg() -> Callable[[bytes, str], np.ndarray] | None:
    """Return simplejpeg's decoder if installed: bit-identical and twice as fast.

    It rejects truncated images, which Pillow reads if it is told to.
    """
    if require("PIL.ImageFile", "images").LOAD_TRUNCATED_IMAGES:
        return None
    try:
        simplejpeg = importlib.import_module("simplejpeg")
    except ImportError:
        return None

    def decode(content: bytes, mode: str) -> np.ndarray:
        pixels = simplejpeg.decode_jpeg(content, "GRAY" if mode == "L" else "RGB")
        return pixels[:, :, 0] if mode == "L" else pixels

    return decode


def decode_pil(
    image: Any, max_pixels: int, decode: Callable[[], np.ndarray] | None = None
) -> Decoded:
    """Decode a PIL image to upright grey, RGB or RGBA pixels after a size check.

    The pages of a TIFF become the planes of a volume. If `decode` is given, it
    replaces Pillow's decoder.
    """
    with as_read_errors():
        width, height = image.size
        # The further frames of an MPO (a JPEG variant) are previews of the first.
        n_pages = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        n_channels = len(image.getbands())
        check_size(height, width, n_pages, max_pixels, n_channels=n_channels)
        metadata = {"format": image.format or "PIL", "mode": image.mode}
        if n_pages > 1:
            return _volume(image, n_pages, metadata)
        reduced = image.mode in ("RGB", "RGBA", "CMYK") and any(
            ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
        )
        if decode is None:
            image.load()
        pixels = _pixels(image) if decode is None else decode()
        # Read after decoding: in a PNG, EXIF data can follow the pixels.
        metadata["orientation"] = image.getexif().get(EXIF_ORIENTATION, 1)
    if reduced:
        _warn_reduced("A colour image with 16 bits per channel")
    pixels = upright(pixels, metadata["orientation"])
    return Decoded(pixels, "YX" if pixels.ndim == 2 else "YXC", metadata=metadata)


def whole_pil(image: Any) -> Any:
    """Load the pixels of a PIL image that several threads may share.

    Pillow opens files lazily, and its loading is not safe in threads.
    """
    with _LOADING[id(image) % len(_LOADING)], as_read_errors():
        image.load()
    return image


_LOADING = [threading.RLock() for _ in range(64)]


def _volume(image: Any, n_pages: int, metadata: dict[str, Any]) -> Decoded:
    if image.format != "TIFF":
        raise ImageReadError(
            f"The image is an animation of {n_pages} frames, not a medical volume. "
            f"Store the frame to be used as a separate image."
        )
    pages = []
    with _LOADING[id(image) % len(_LOADING)]:  # `seek` changes the image
        for number in full_pages(image, n_pages):
            image.seek(number)
            image.load()
            pages.append(_pixels(image))
    pixels = np.stack(pages) if len(pages) > 1 else pages[0]
    axes = ("Z" if len(pages) > 1 else "") + "YX"
    has_colour = pixels.ndim == len(axes) + 1
    return Decoded(pixels, axes + ("C" if has_colour else ""), metadata=metadata)


def full_pages(image: Any, n_pages: int) -> list[int]:
    """Return the pages of a TIFF without reduced copies and masks of other pages.

    Raises
    ------
    ImageReadError
        If the pages differ in size or mode.
    """
    shapes, kept = set(), []
    for number in range(n_pages):
        image.seek(number)
        tags = getattr(image, "tag_v2", {})
        if number and int(tags.get(_TIFF_SUBFILE) or 0) & _REDUCED_OR_MASK:
            continue
        kept.append(number)
        shapes.add((image.size[1], image.size[0], image.mode))
    if len(shapes) > 1:
        listed = ", ".join(f"{h} x {w} ({mode})" for h, w, mode in sorted(shapes))
        raise ImageReadError(
            f"The {len(kept)} pages of the image do not form a volume: they differ "
            f"in size or mode ({listed}). Store the page to be used as a separate "
            "image."
        )
    return kept


#: Formats of Pillow that change values at edges.
LOSSY = ("JPEG", "MPO", "WEBP", "AVIF", "JPEG2000")


def stored_pil(image: Any) -> Decoded:
    """Decode the stored values of a PIL image: palette indices, and no inversion."""
    with as_read_errors():
        image.load()
        if image.mode not in ("1", "L", "P", "I", "F", "LA", "RGB", "RGBA", "PA") and (
            not image.mode.startswith("I;16")
        ):
            image = image.convert("RGB")
        stored = np.asarray(image)
        if image.mode in ("LA", "PA"):  # transparent pixels are background
            stored = np.where(stored[..., 1] > 0, stored[..., 0], 0)
        if getattr(image, "tag_v2", {}).get(_TIFF_PHOTOMETRIC) == 0:
            # Pillow inverts TIFFs that store white as 0, up to 8 bits per pixel.
            if image.mode == "1":
                stored = ~stored
            elif image.mode == "L":
                stored = 255 - stored
        stored = upright(stored, image.getexif().get(EXIF_ORIENTATION, 1))
    is_lossy = image.format in LOSSY or image.info.get("compression") == "jpeg"
    metadata = {
        "format": image.format or "PIL",
        "mode": image.mode,
        "unit": None,
        "lossy": is_lossy,
    }
    return Decoded(stored, "YX" if stored.ndim == 2 else "YXC", metadata=metadata)


def _pixels(image: Any) -> np.ndarray:
    mode = image.mode
    if mode == "I" and image.format == "PNG":  # 16-bit PNG in older versions of Pillow
        return np.asarray(image).astype(np.uint16)
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _white_is_high(np.asarray(image), image)
    if mode == "1":
        return np.asarray(image, dtype=bool)
    transparent = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBa")
    if transparent or mode == "RGBA":
        return np.asarray(_to_rgba(image))
    if mode in ("L", "RGB"):
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _to_rgba(image: Any) -> Any:
    # Pillow converts these two modes only via their non-premultiplied mode.
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    return image.convert("RGBA")


def _white_is_high(pixels: np.ndarray, image: Any) -> np.ndarray:
    """Invert deep TIFFs that store white as zero, which Pillow does not invert."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TIFF_PHOTOMETRIC) != 0:
        return pixels
    if pixels.dtype.kind == "u":
        return (2 ** tags[_TIFF_BITS][0] - 1 - pixels).astype(pixels.dtype)
    return -pixels


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (2 to 8) of an array whose first axes are Y and X."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
