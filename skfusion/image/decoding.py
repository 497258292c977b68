"""The bytes of an image file in, plain grey, RGB or RGBA pixels out, through Pillow.

Everything that a damaged or hostile file can do is caught here and said in words that
hold no path. Read next: `skfusion.image.reading`, which gives the pixels a meaning.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from skfusion._dependencies import require

__all__ = [
    "EXIF_ORIENTATION",
    "MAX_PIXELS",
    "ImageReadError",
    "as_read_errors",
    "decode_file",
    "decode_pil",
    "is_missing",
    "is_pil",
    "opened",
]

#: Images with more pixels are refused before they are decoded (Pillow's own limit).
MAX_PIXELS = 89_478_485

# first bytes of a file -> the only Pillow reader that may open it: formats with
# interpreters of their own (PostScript) or readers nobody asked for stay shut
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
)

_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
EXIF_ORIENTATION = 0x0112


class ImageReadError(ValueError):
    """An image cannot be read; the message says why, never which file it was.

    Attributes
    ----------
    row : int or None
        Position of the image among the cells that were read, where there were several.

    Examples
    --------
    >>> from skfusion.image.reading import ImageReadError, read_image
    >>> try:
    ...     read_image(b"")
    ... except ImageReadError as error:
    ...     print(error)
    The image is empty (0 bytes).
    """

    row: int | None = None


def is_missing(cell: Any) -> bool:
    """Tell whether a cell holds no image: None, NaN, NA, NaT or an empty string.

    Parameters
    ----------
    cell : object
        A cell of an image column.

    Returns
    -------
    bool
        True if there is no image. An unreadable image is not a missing one.

    Examples
    --------
    >>> from skfusion.image.reading import is_missing
    >>> is_missing(None), is_missing(float("nan")), is_missing("scan.png")
    (True, True, False)
    """
    if isinstance(cell, str):
        return cell == ""
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def is_pil(source: Any) -> bool:
    """Tell a PIL image without importing Pillow."""
    module = sys.modules.get("PIL.Image")  # nobody made a PIL image without it
    return module is not None and isinstance(source, module.Image)


@contextlib.contextmanager
def opened(source: Any) -> Iterator[io.BufferedIOBase]:
    """Give the bytes of a path, of bytes or of a file object, which is not moved."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike) and not is_missing(source):
        with _open_file(source) as handle:
            yield handle
    elif hasattr(source, "read"):
        start = source.tell()
        content = source.read()
        source.seek(start)
        if not isinstance(content, bytes):
            raise ImageReadError("The file object is open as text; open it as 'rb'.")
        yield io.BytesIO(content)
    elif is_missing(source):
        raise ImageReadError("The cell is missing (None, NaN or an empty string).")
    else:
        raise TypeError(
            f"A cell of type {type(source).__name__} is no image; expected a path, "
            f"bytes, a file object, a PIL image or an array. Several images in one "
            f"cell are not supported."
        )


def _open_file(path: Any) -> io.BufferedIOBase:
    # "from None": the cause would carry the path into the log
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ImageReadError("The image file does not exist.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise ImageReadError(f"The image file cannot be reached: {reason}.") from None
    if stat.S_ISDIR(mode):
        raise ImageReadError(
            "The path is a folder, not an image file; image series are not supported."
        )
    if not stat.S_ISREG(mode):
        raise ImageReadError("The path is a device or pipe, not an image file.")
    try:
        return open(path, "rb")
    except OSError as error:
        raise ImageReadError(
            f"The image file cannot be opened: {error.strerror}."
        ) from None


def _recognise(handle: io.BufferedIOBase) -> str:
    """Name the Pillow reader that the first bytes ask for."""
    head = handle.read(352)
    handle.seek(0)
    if not head:
        raise ImageReadError("The image is empty (0 bytes).")
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    found = "starts with unknown bytes"
    if head[128:132] == b"DICM":
        found = "is DICOM, which is not supported"
    elif head[344:348] in (b"n+1\0", b"ni1\0") or head[:2] == b"\x1f\x8b":
        found = "is NIfTI or compressed with gzip, which is not supported"
    elif all(byte in b"\t\n\r\f" or byte >= 32 for byte in head):
        found = "looks like text"
    raise ImageReadError(
        f"The content is no image: it {found}; expected PNG, JPEG, TIFF, BMP or WebP "
        f"(the content counts, not the suffix)."
    )


@contextlib.contextmanager
def as_read_errors() -> Iterator[None]:
    """Turn what Pillow raises on damaged bytes into ImageReadError."""
    pil = require("PIL.Image", "images")
    try:
        yield
    except (ImageReadError, MemoryError, ImportError):
        raise
    except (pil.DecompressionBombError, pil.DecompressionBombWarning):
        raise ImageReadError(
            "The image has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows "
            "(decompression bomb?); it was not decoded."
        ) from None
    # hostile bytes raise almost anything in the readers (struct.error, IndexError ...)
    except Exception as error:
        if "truncated" in str(error):
            raise ImageReadError("The image is truncated.") from None
        raise ImageReadError(
            f"The image is damaged: its reader failed with {type(error).__name__}."
        ) from None


def decode_file(
    handle: io.BufferedIOBase, max_pixels: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Decode an open file to plain pixels, by the format that its bytes name."""
    name = _recognise(handle)
    with as_read_errors():
        image = require("PIL.Image", "images").open(handle, formats=[name])
    return decode_pil(image, max_pixels)


def decode_pil(image: Any, max_pixels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Check the size, decode to upright grey, RGB or RGBA, say what was read."""
    with as_read_errors():
        width, height = image.size
        if width * height > max_pixels:
            raise ImageReadError(
                f"The image has {height} x {width} pixels, more than "
                f"max_pixels={max_pixels} (decompression bomb?); it was not decoded."
            )
        # MPO is a JPEG whose further frames are previews of the first
        frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        if frames > 1:
            raise ImageReadError(
                f"The image has {frames} pages; volumes and series are not supported. "
                f"Store the page to be used as an image of its own."
            )
        metadata = {"format": image.format or "PIL", "mode": image.mode}
        reduced = image.mode in ("RGB", "RGBA", "CMYK") and any(
            ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
        )
        image.load()
        metadata["orientation"] = image.getexif().get(EXIF_ORIENTATION, 1)
        pixels = _pixels(image)
    if reduced:
        warnings.warn(
            "A colour image with 16 bits per channel was read with 8 bits per channel, "
            "which is what Pillow decodes; pass an array to keep all levels.",
            UserWarning,
            stacklevel=3,
        )
    return _upright(pixels, metadata["orientation"]), metadata


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
    # Pillow converts these two only by way of the plain mode
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    return image.convert("RGBA")


def _white_is_high(pixels: np.ndarray, image: Any) -> np.ndarray:
    """Invert deep TIFFs that store white as zero; Pillow inverts only the others."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TIFF_PHOTOMETRIC) != 0:
        return pixels
    if pixels.dtype.kind == "u":
        return (2 ** tags[_TIFF_BITS][0] - 1 - pixels).astype(pixels.dtype)
    return -pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 2 to 8 are the mirrored and turned ones."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
