"""Opening of image cells, format detection, size limits and read errors.

Errors of damaged or malicious files are converted to `ImageReadError`, whose messages
do not contain paths.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from collections.abc import Iterator
from typing import Any

import pandas as pd

from skfusion._paths import FileReadError, open_file

__all__ = [
    "ImageReadError",
    "MAX_PIXELS",
    "as_read_errors",
    "check_size",
    "is_folder",
    "is_missing",
    "is_pil",
    "opened",
    "recognise",
]


#: Images with more pixels are rejected before decoding (the same limit as Pillow's).
MAX_PIXELS = 89_478_485
#: Maximum number of planes of `MAX_PIXELS` in a volume: 715 million voxels, 2.9 GB.
MAX_PLANES = 8

_HEAD_BYTES = 352
# Parts of the error messages of readers for truncated files.
_CUT_OFF = ("truncated", "less than expected", "Premature end")
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
    (b"\x1f\x8b", "gzip"),
    # DICOM files without a preamble begin with an element of group 2 or 8.
    (b"\x02\x00\x00\x00", "DICOM"),
    (b"\x02\x00\x10\x00", "DICOM"),
    (b"\x08\x00\x00\x00", "DICOM"),
    (b"\x08\x00\x05\x00", "DICOM"),
    (b"\x08\x00\x08\x00", "DICOM"),
    (b"\x08\x00\x16\x00", "DICOM"),
)


class ImageReadError(FileReadError):
    """Error for an image that cannot be read.

    The message contains the reason, but not the path of the file.

    Attributes
    ----------
    row : int or None
        Position of the image among the cells that were read, if there were several.

    Examples
    --------
    >>> from skfusion.image.reading.files import ImageReadError
    >>> from skfusion.image.reading.read import read_image
    >>> try:
    ...     read_image(b"")
    ... except ImageReadError as error:
    ...     print(error)
    The image is empty (0 bytes).
    """

    __module__ = "skfusion.image"

    row: int | None = None


def is_missing(cell: Any) -> bool:
    """Return whether a cell is missing: None, NaN, NA, NaT or an empty string.

    Parameters
    ----------
    cell : object
        A cell of an image column.

    Returns
    -------
    bool
        True if there is no image. An unreadable image does not count as missing.

    Examples
    --------
    >>> from skfusion.image.reading.files import is_missing
    >>> is_missing(None), is_missing(float("nan")), is_missing("scan.png")
    (True, True, False)
    """
    if isinstance(cell, str):
        return cell == ""
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def is_pil(source: Any) -> bool:
    """Return whether an object is a PIL image, without importing Pillow."""
    module = sys.modules.get("PIL.Image")  # imported if any PIL image exists
    return module is not None and isinstance(source, module.Image)


def is_folder(source: Any) -> bool:
    """Return whether an object is the path of a folder, which is read as a series."""
    if not isinstance(source, str | os.PathLike) or is_missing(source):
        return False
    try:
        return stat.S_ISDIR(os.stat(source).st_mode)
    except (OSError, ValueError):
        return False  # `opened` raises the error for an invalid path


@contextlib.contextmanager
def opened(source: Any) -> Iterator[io.BufferedIOBase]:
    """Open a path, bytes or a file object, whose position is restored, for reading."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike) and not is_missing(source):
        with open_file(source, what="image file", error=ImageReadError) as handle:
            yield handle
    elif hasattr(source, "read"):
        start = source.tell()
        content = source.read()
        source.seek(start)
        if not isinstance(content, bytes):
            raise ImageReadError("The file object is in text mode. Open it with 'rb'.")
        yield io.BytesIO(content)
    elif is_missing(source):
        raise ImageReadError("The cell is missing (None, NaN or an empty string).")
    else:
        raise TypeError(
            f"A cell of type {type(source).__name__} is not an image; expected a path, "
            f"bytes, a file object, a PIL image or an array."
        )


def recognise(handle: io.BufferedIOBase) -> str:
    """Detect the format from the first bytes, without moving the handle.

    Returns
    -------
    str
        ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"BMP"``, ``"WEBP"``, ``"DICOM"``,
        ``"NIfTI"`` or ``"gzip"``.

    Raises
    ------
    ImageReadError
        If the format is none of these.
    """
    start = handle.tell()
    head = handle.read(_HEAD_BYTES)
    handle.seek(start)
    if not head:
        raise ImageReadError("The image is empty (0 bytes).")
    if head[128:132] == b"DICM":  # first, because the preamble can contain any bytes
        return "DICOM"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIfTI"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    is_text = all(byte in b"\t\n\r\f" or byte >= 32 for byte in head)
    found = "looks like text" if is_text else "starts with unknown bytes"
    raise ImageReadError(
        f"The content is not an image: it {found}; expected DICOM, NIfTI, PNG, JPEG, "
        f"TIFF, BMP or WebP. The content determines the format, not the suffix."
    )


def check_size(height: int, width: int, n_planes: int, max_pixels: int) -> None:
    """Check before decoding that an image is neither empty nor too large.

    Raises
    ------
    ImageReadError
        If the image is empty, if a plane has more than `max_pixels` pixels, or if all
        planes together have more than eight times as many.
    """
    if min(height, width, n_planes) < 1:
        raise ImageReadError(
            f"The image has no pixels: {n_planes} planes of {height} x {width}."
        )
    if height * width > max_pixels:
        raise ImageReadError(
            f"The image has {height} x {width} pixels, more than "
            f"max_pixels={max_pixels} (decompression bomb?). It was not decoded."
        )
    if height * width * n_planes > MAX_PLANES * max_pixels:
        raise ImageReadError(
            f"The volume has {n_planes} planes of {height} x {width} pixels, more than "
            f"{MAX_PLANES} times max_pixels={max_pixels} (decompression bomb?). It was "
            f"not decoded."
        )


@contextlib.contextmanager
def as_read_errors() -> Iterator[None]:
    """Convert exceptions that a reader raises on damaged bytes to ImageReadError."""
    try:
        yield
    except (ImageReadError, MemoryError, ImportError):
        raise
    # Malicious bytes raise almost any exception in the readers (struct.error,
    # IndexError, ...). Readers written in Rust raise PanicException, which is not a
    # subclass of Exception.
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"
        if not isinstance(error, Exception) and not is_panic:
            raise
        if type(error).__name__.startswith("DecompressionBomb"):  # Pillow's
            raise ImageReadError(
                "The image has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows "
                "(decompression bomb?). It was not decoded."
            ) from None
        words = str(error)
        if any(part in words for part in _CUT_OFF):
            raise ImageReadError("The image is truncated.") from None
        raise ImageReadError(
            f"The image is damaged: its reader failed with {type(error).__name__}."
        ) from None
