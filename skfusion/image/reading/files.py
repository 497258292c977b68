"""Opening of image cells, format detection, size limits and read errors.

Errors of damaged or malicious files are converted to `ImageReadError`, whose messages
do not contain paths.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import stat
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from skfusion._dependencies import require
from skfusion._image_cells.recognition import is_url
from skfusion._image_cells.signatures import HEAD_BYTES, image_format, is_text
from skfusion._paths import FileReadError, open_file

__all__ = [
    "ImageReadError",
    "MAX_PIXELS",
    "as_memory_errors",
    "as_read_errors",
    "check_size",
    "is_folder",
    "is_missing",
    "is_pil",
    "opened",
    "recognise",
    "unwrapped",
]


#: Images with more pixels are rejected before decoding (the same limit as Pillow's).
MAX_PIXELS = 89_478_485
#: Maximum number of planes of `MAX_PIXELS` in a volume: 715 million voxels, 2.9 GB.
MAX_PLANES = 8

# Parts of the error messages of readers for truncated files.
_CUT_OFF = ("truncated", "less than expected", "Premature end")
#: Formats that are named in the error message: signatures, their position, name and
#: remedy.
_UNSUPPORTED: tuple[tuple[tuple[bytes, ...], int, str, str], ...] = (
    (
        (b"PK\x03\x04",),
        *(0, "a zip archive (or an NPZ file)"),
        "Unpack it, or pass zipfile.Path(archive, member).",
    ),
    (
        (b"\x89HDF\r\n\x1a\n",),
        *(0, "an HDF5 file (or MINC 2)"),
        "Read the array with h5py, or the image with nibabel, and pass it.",
    ),
    (
        (b"CDF\x01", b"CDF\x02"),
        *(
            0,
            "a MINC or netCDF file",
            "Load it with nibabel, and pass the image object.",
        ),
    ),
    (
        (b"MATLAB 5.0",),
        *(0, "a MATLAB file", "Read the array with scipy.io.loadmat, and pass it."),
    ),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        *(0, "a pickle", "Pickles can execute code and are not read. Pass the array."),
    ),
    ((b"%PDF",), 0, "a PDF document", "Export the page as PNG."),
    ((b"8BPS",), 0, "a Photoshop file", "Export it as PNG or TIFF."),
    ((b"v/1\x01",), 0, "an OpenEXR file", "Export it as TIFF."),
    (
        (b"PAR1",),
        *(0, "a Parquet table"),
        "Read it with pandas.read_parquet, and pass the column of images.",
    ),
    (
        (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"),
        *(4, "a HEIF image", "Convert it to JPEG or PNG."),
    ),
    (
        (b"ftypiso", b"ftypmp4", b"ftypM4V", b"ftypqt"),
        *(4, "a video", "Store the frame to be used as PNG."),
    ),
    (
        (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c"),
        *(0, "an Analyze 7.5 header without voxels"),
        "Convert the pair to NIfTI, e.g. with nibabel.",
    ),
)
# Reading of file objects moves their position, and threads can share an object.
_HANDLES = threading.Lock()


class ImageReadError(FileReadError):
    """Error for an image that cannot be read.

    The message contains the reason, but not the path of the file.

    Attributes
    ----------
    row : int or None
        Position of the image among the cells that were read, if there were several.

    Examples
    --------
    >>> from skfusion.image import ImageReadError
    >>> from skfusion import read_image
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

    A mapping with the keys ``"bytes"`` and ``"path"``, as in Hugging Face datasets, is
    missing if both of its values are.

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
    if _is_file_mapping(cell):
        return all(is_missing(part) for part in _file_parts(cell))
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


def _is_file_mapping(cell: Any) -> bool:
    return isinstance(cell, Mapping) and bool({"bytes", "path"} & set(cell))


def _file_parts(cell: Any) -> tuple[Any, Any]:
    return cell.get("bytes"), cell.get("path")


def unwrapped(source: Any) -> Any:
    """Return the bytes, or else the path, of a mapping with these keys.

    Other objects are returned unchanged. Hugging Face datasets store images as such
    mappings, and as the bytes only if the image was embedded in the file.
    """
    if not _is_file_mapping(source):
        return source
    content, path = _file_parts(source)
    return path if is_missing(content) else content


@contextlib.contextmanager
def opened(source: Any) -> Iterator[io.BufferedIOBase]:
    """Open an image cell for reading bytes.

    A cell is a path, a URL (of a scheme of fsspec), bytes, an object with the method
    ``read_bytes`` (e.g. `zipfile.Path`), or a file object, whose position is restored.
    """
    source = unwrapped(source)
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str) and is_url(source):
        yield io.BytesIO(_downloaded(source))
    elif isinstance(source, str | os.PathLike) and not is_missing(source):
        with open_file(source, what="image file", error=ImageReadError) as handle:
            yield handle
    elif hasattr(source, "read_bytes"):
        try:
            content = source.read_bytes()
        except Exception as error:  # of the file system behind it
            raise ImageReadError(
                f"The {type(source).__name__} cannot be read: {type(error).__name__}."
            ) from None
        yield io.BytesIO(content)
    elif hasattr(source, "read"):
        yield io.BytesIO(_content_of(source))
    elif is_missing(source):
        raise ImageReadError("The cell is missing (None, NaN or an empty string).")
    else:
        raise TypeError(
            f"A cell of type {type(source).__name__} is not an image; expected a path, "
            f"a URL, bytes, a file object, a dict with 'bytes' or 'path', an array or "
            f"tensor, a PIL image, a pydicom Dataset or a nibabel image."
        )


def _content_of(handle: Any) -> bytes:
    with _HANDLES:
        try:
            start = handle.tell()
            content = handle.read()
            handle.seek(start)
        except (OSError, ValueError) as error:  # closed, or not seekable
            raise ImageReadError(
                f"The file object cannot be read: {error}. Pass an open file that can "
                f"be read more than once, or bytes."
            ) from None
    if not isinstance(content, bytes):
        raise ImageReadError("The file object is in text mode. Open it with 'rb'.")
    return content


def _downloaded(url: str) -> bytes:
    """Read the content at a URL with fsspec, without the URL in error messages."""
    fsspec = require("fsspec", "remote")
    scheme = url.partition("://")[0]
    try:
        with fsspec.open(url, "rb") as handle:
            return handle.read()
    except ImportError as error:
        raise ImageReadError(
            f"URLs that begin with {scheme}:// need a package that is not installed "
            f"({error})."
        ) from None
    except FileNotFoundError:
        raise ImageReadError("There is no image at the URL.") from None
    except Exception as error:  # of the file systems of fsspec
        raise ImageReadError(
            f"The image at a URL ({scheme}://) cannot be read: {type(error).__name__}."
        ) from None


def recognise(handle: io.BufferedIOBase) -> str:
    """Detect the format from the first bytes, without moving the handle.

    Returns
    -------
    str
        A name of `skfusion._image_cells.signatures.image_format`, e.g. ``"PNG"``.

    Raises
    ------
    ImageReadError
        If the format is none of these.
    """
    start = handle.tell()
    head = handle.read(HEAD_BYTES)
    handle.seek(start)
    if not head:
        raise ImageReadError("The image is empty (0 bytes).")
    name = image_format(head)
    if name is not None:
        return name
    expected = (
        "expected DICOM, NIfTI, MGH, NRRD, MetaImage, NPY, PNG, JPEG, JPEG 2000, TIFF, "
        "BMP, GIF, WebP, AVIF or PGM. The content determines the format, not the "
        "suffix."
    )
    for signatures, place, what, remedy in _UNSUPPORTED:
        if head[place:].startswith(signatures):
            raise ImageReadError(
                f"The content is not an image: it is {what}; {expected} {remedy}"
            )
    found = "looks like text" if is_text(head) else "starts with unknown bytes"
    raise ImageReadError(f"The content is not an image: it {found}; {expected}")


def check_size(
    height: int, width: int, n_planes: int, max_pixels: int, *, n_channels: int = 1
) -> None:
    """Check before decoding that an image is neither empty nor too large.

    Raises
    ------
    ImageReadError
        If the image is empty, if a plane has more than `max_pixels` pixels, or if all
        planes and channels together have more than eight times as many values.
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
    if height * width * n_planes * n_channels > MAX_PLANES * max_pixels:
        channels = f" and {n_channels} channels" if n_channels > 1 else ""
        raise ImageReadError(
            f"The volume has {n_planes} planes of {height} x {width} pixels{channels}, "
            f"more than "
            f"{MAX_PLANES} times max_pixels={max_pixels} (decompression bomb?). It was "
            f"not decoded."
        )


@contextlib.contextmanager
def as_memory_errors() -> Iterator[None]:
    """Convert MemoryError to ImageReadError."""
    try:
        yield
    except MemoryError:
        raise ImageReadError(
            "The image needs more memory than is available. Use a machine with more "
            "memory, or store the image in a smaller size."
        ) from None


@contextlib.contextmanager
def as_read_errors() -> Iterator[None]:
    """Convert exceptions that a reader raises on damaged bytes to ImageReadError."""
    try:
        yield
    except (ImageReadError, ImportError, MemoryError):
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
        elements = _elements_in(words)
        if elements:
            raise ImageReadError(
                f"The DICOM header cannot be used: its reader failed with "
                f"{type(error).__name__} on {elements}. Correct or remove the "
                f"attribute."
            ) from None
        raise ImageReadError(
            f"The image is damaged: its reader failed with {type(error).__name__}."
        ) from None


def _elements_in(words: str) -> str:
    """Return the DICOM attributes that a message names, without anything else of it."""
    if "pydicom" not in sys.modules:
        return ""
    keywords = importlib.import_module("pydicom.datadict").keyword_dict
    found = [
        word for word in re.findall(r"[A-Z][A-Za-z0-9]{3,}", words) if word in keywords
    ]
    for group, element in re.findall(r"\(([0-9A-Fa-f]{4}), ?([0-9A-Fa-f]{4})\)", words):
        named = importlib.import_module("pydicom.datadict").keyword_for_tag(
            (int(group, 16), int(element, 16))
        )
        found += [named] if named else []
    return ", ".join(dict.fromkeys(found))
