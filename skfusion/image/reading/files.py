"""A cell in, its bytes and the name of its format out; what is missing, what is bad.

Everything that can go wrong with a damaged or hostile file ends here, in words that
hold no path.
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

from skfusion._files import FileReadError, open_file

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


#: Images with more pixels are refused before they are decoded (Pillow's own limit).
MAX_PIXELS = 89_478_485
#: Planes of `MAX_PIXELS` that a volume may hold: 715 million voxels, 2.9 GB.
MAX_PLANES = 8

_HEAD_BYTES = 352
# what readers say of a file that ends too early
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
    # DICOM without its preamble begins with an element of group 2 or 8
    (b"\x02\x00\x00\x00", "DICOM"),
    (b"\x02\x00\x10\x00", "DICOM"),
    (b"\x08\x00\x00\x00", "DICOM"),
    (b"\x08\x00\x05\x00", "DICOM"),
    (b"\x08\x00\x08\x00", "DICOM"),
    (b"\x08\x00\x16\x00", "DICOM"),
)


class ImageReadError(FileReadError):
    """An image cannot be read; the message says why, never which file it was.

    Attributes
    ----------
    row : int or None
        Position of the image among the cells that were read, where there were several.

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
    >>> from skfusion.image.reading.files import is_missing
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


def is_folder(source: Any) -> bool:
    """Tell the path of a folder, which is read as a series."""
    if not isinstance(source, str | os.PathLike) or is_missing(source):
        return False
    try:
        return stat.S_ISDIR(os.stat(source).st_mode)
    except (OSError, ValueError):
        return False  # `opened` says what is wrong with it


@contextlib.contextmanager
def opened(source: Any) -> Iterator[io.BufferedIOBase]:
    """Give the bytes of a path, of bytes or of a file object, which is not moved."""
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
            raise ImageReadError("The file object is open as text; open it as 'rb'.")
        yield io.BytesIO(content)
    elif is_missing(source):
        raise ImageReadError("The cell is missing (None, NaN or an empty string).")
    else:
        raise TypeError(
            f"A cell of type {type(source).__name__} is no image; expected a path, "
            f"bytes, a file object, a PIL image or an array."
        )


def recognise(handle: io.BufferedIOBase) -> str:
    """Name the format that the first bytes ask for; the handle is not moved.

    Returns
    -------
    str
        ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"BMP"``, ``"WEBP"``, ``"DICOM"``,
        ``"NIfTI"`` or ``"gzip"``.

    Raises
    ------
    ImageReadError
        If the bytes are none of these.
    """
    start = handle.tell()
    head = handle.read(_HEAD_BYTES)
    handle.seek(start)
    if not head:
        raise ImageReadError("The image is empty (0 bytes).")
    if head[128:132] == b"DICM":  # first: the preamble may look like anything
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
        f"The content is no image: it {found}; expected DICOM, NIfTI, PNG, JPEG, TIFF, "
        f"BMP or WebP (the content counts, not the suffix)."
    )


def check_size(height: int, width: int, n_planes: int, max_pixels: int) -> None:
    """Refuse an image that is empty or too large, before it is decoded.

    Raises
    ------
    ImageReadError
        If a plane has more than `max_pixels` pixels, or all planes together more than
        eight times as many.
    """
    if min(height, width, n_planes) < 1:
        raise ImageReadError(
            f"The image holds no pixels: {n_planes} planes of {height} x {width}."
        )
    if height * width > max_pixels:
        raise ImageReadError(
            f"The image has {height} x {width} pixels, more than "
            f"max_pixels={max_pixels} (decompression bomb?); it was not decoded."
        )
    if height * width * n_planes > MAX_PLANES * max_pixels:
        raise ImageReadError(
            f"The volume has {n_planes} planes of {height} x {width} pixels, more than "
            f"{MAX_PLANES} times max_pixels={max_pixels} (decompression bomb?); it was "
            f"not decoded."
        )


@contextlib.contextmanager
def as_read_errors() -> Iterator[None]:
    """Turn what the reader of a format raises on damaged bytes into ImageReadError."""
    try:
        yield
    except (ImageReadError, MemoryError, ImportError):
        raise
    # hostile bytes raise almost anything in the readers (struct.error, IndexError ...),
    # and readers written in Rust panic, which is no Exception
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"
        if not isinstance(error, Exception) and not is_panic:
            raise
        if type(error).__name__.startswith("DecompressionBomb"):  # Pillow's
            raise ImageReadError(
                "The image has more pixels than PIL.Image.MAX_IMAGE_PIXELS allows "
                "(decompression bomb?); it was not decoded."
            ) from None
        words = str(error)
        if any(part in words for part in _CUT_OFF):
            raise ImageReadError("The image is truncated.") from None
        raise ImageReadError(
            f"The image is damaged: its reader failed with {type(error).__name__}."
        ) from None
