"""Cells of a table that are images, and cells that are paths of files."""

from __future__ import annotations

import os
import re
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._image_cells.signatures import (
    HEAD_BYTES,
    has_image_suffix,
    holds_image,
)

__all__ = [
    "CellInspection",
    "cell_presence",
    "has_class",
    "inspect_cells",
    "is_image_cell",
    "is_url",
    "looks_like_path",
    "may_hold_objects",
    "spread",
]


N_CELLS_INSPECTED = 50
# A folder of a DICOM series has thousands of files, sometimes with a few others.
N_FILES_INSPECTED = 20
MOST_CHARACTERS = 4096  # of a path
# A column of file names has hardly a repeated one. A column of units or codes has many.
DISTINCT_SHARE = 0.9

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S")
_ABSOLUTE = re.compile(r"(?:/|~/|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\)[^/\\\s]")
_WITH_SUFFIX = re.compile(r"[^/\\]*[/\\].*\.[A-Za-z][A-Za-z0-9]{1,5}")
_FOLDERS = re.compile(
    r"(?=.*[^\W\d_])[^\s/\\]+(?:[/\\][^\s/\\]+)*[/\\][^\s/\\]*\d[^\s/\\]*"
)


@dataclass(frozen=True)
class CellInspection:
    """Counts of images and paths among the inspected cells of a column.

    Attributes
    ----------
    n_cells : int
        Number of inspected cells, none of which is missing.
    n_images : int
        Number of images among them.
    n_paths : int
        Number of other cells that are paths of files or folders.
    n_existing : int
        Number of these paths that exist.
    is_certain : bool
        Whether at least half of the cells can be nothing else than images and paths.
    """

    n_cells: int
    n_images: int = 0
    n_paths: int = 0
    n_existing: int = 0
    is_certain: bool = True

    @property
    def is_image_column(self) -> bool:
        """Whether at least half of the cells are images."""
        return self.n_images > 0 and 2 * self.n_images >= self.n_cells

    @property
    def has_paths(self) -> bool:
        """Whether any cell is an image or a path, which is not a category."""
        return self.n_images + self.n_paths > 0

    @property
    def description(self) -> str:
        """Counts of images and paths, as used in messages."""
        parts = []
        if self.n_images:
            parts.append(
                f"{self.n_images} of {self.n_cells} inspected cells are images"
            )
        if self.n_paths:
            others = "other " if self.n_images else ""
            parts.append(
                f"{self.n_paths} of {self.n_cells} inspected cells look like {others}"
                f"paths of files, of which {self.n_existing} exist"
            )
        return " and ".join(parts)


def is_image_cell(cell: Any) -> bool:
    """Return whether a cell is an image.

    Paths of files that exist, bytes and dicts are recognised by their content. A path
    that does not exist, or whose file is not recognised, is an image if it has the
    suffix of an image format, and so is a URL.

    Parameters
    ----------
    cell : object
        Cell of a table.

    Returns
    -------
    bool
        True for an image or for a bag (list) of images. Other images are arrays and
        tensors of two or more dimensions, images of Pillow and nibabel, datasets of
        pydicom, binary file objects, and dicts with the key ``"bytes"`` or ``"path"``.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.modality import is_image_cell
    >>> is_image_cell("scan_01.PNG"), is_image_cell(np.zeros((8, 8)))
    (True, True)
    >>> is_image_cell("female"), is_image_cell(np.zeros(8))
    (False, False)
    """
    if isinstance(cell, str):
        return _is_image_path(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return holds_image(_head_of_bytes(cell))
    if isinstance(cell, list | tuple) or _is_object_array(cell):
        parts = [_without_time(part) for part in cell]
        there = [part for part in parts if not _is_empty(part)]
        return len(there) > 0 and all(is_image_cell(part) for part in there)
    if isinstance(cell, dict):
        return any(is_image_cell(cell.get(key)) for key in ("bytes", "path"))
    if isinstance(cell, pd.DataFrame | pd.Series | type):
        return False
    if hasattr(cell, "ndim") and hasattr(cell, "shape"):  # array, tensor, ...
        return int(cell.ndim) >= 2
    if isinstance(cell, zipfile.Path):
        return _is_zip_member(cell)
    if isinstance(cell, os.PathLike):
        return _is_image_path(cell)
    return _is_image_object(cell)


def has_class(cell: Any, *names: str) -> bool:
    """Return whether an object is of a class, given as ``"package.Class"``.

    Packages that are not installed need not be imported for it. The package is the
    first part of the module that defines the class.

    Examples
    --------
    >>> import collections
    >>> from skfusion._image_cells.recognition import has_class
    >>> has_class(collections.Counter(), "collections.Counter")
    True
    """
    bases = {
        f"{c.__module__.partition('.')[0]}.{c.__name__}" for c in type(cell).__mro__
    }
    return not bases.isdisjoint(names)


def _is_image_object(cell: Any) -> bool:
    if has_class(
        cell, "PIL.Image", "pydicom.Dataset", "nibabel.SpatialImage", "fsspec.OpenFile"
    ):
        return True
    if hasattr(cell, "read") and hasattr(cell, "seek"):
        return not hasattr(cell, "encoding")  # that of text mode
    if has_class(cell, "upath.UPath"):  # remote: not opened for a guess
        return has_image_suffix(str(cell))
    interface = getattr(cell, "__array_interface__", None)
    return isinstance(interface, dict) and len(interface.get("shape", ())) >= 2


def _is_object_array(cell: Any) -> bool:
    return isinstance(cell, np.ndarray) and cell.dtype == object and cell.ndim == 1


def _without_time(part: Any) -> Any:
    """Return the image of a pair (image, time)."""
    if isinstance(part, tuple) and len(part) == 2:
        time = part[1]
        if isinstance(time, np.datetime64) or hasattr(time, "isoformat"):
            return part[0]
    return part


def _head_of_bytes(cell: bytes | bytearray | memoryview) -> bytes:
    try:
        return bytes(memoryview(cell).cast("B")[:HEAD_BYTES])
    except TypeError:  # a view that is not contiguous
        return b""


def _is_image_path(path: str | os.PathLike[str]) -> bool:
    text = _text_of(path)
    if text is None:
        return False
    if is_url(text):
        return has_image_suffix(text)
    mode = _mode_of(text)
    if stat.S_ISDIR(mode):
        return _holds_dicom(text)
    if stat.S_ISREG(mode) and holds_image(_head_of_file(text)):
        return True
    return has_image_suffix(text)


def _text_of(path: str | os.PathLike[str]) -> str | None:
    """Return a path as text, or None if it cannot be one."""
    try:
        text = os.fsdecode(path)
    except (TypeError, ValueError, NotImplementedError):
        return None
    fits = 0 < len(text) <= MOST_CHARACTERS and "\0" not in text and "\n" not in text
    return text if fits else None


def _mode_of(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):
        return 0


def _head_of_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _holds_dicom(folder: str) -> bool:
    """Return whether a folder holds images, which are read as a series."""
    try:
        with os.scandir(folder) as entries:
            n_files = 0
            for entry in entries:
                if n_files == N_FILES_INSPECTED:
                    break
                if entry.name.startswith(".") or not entry.is_file():
                    continue
                n_files += 1
                if holds_image(_head_of_file(entry.path)):
                    return True
    except OSError:
        pass
    return False


def _is_zip_member(path: zipfile.Path) -> bool:
    try:
        with path.open("rb") as file:
            return holds_image(file.read(HEAD_BYTES)) or has_image_suffix(path.name)
    except (OSError, ValueError, zipfile.BadZipFile):
        return has_image_suffix(path.name)


def is_url(text: str) -> bool:
    """Return whether a text is a URL, such as ``"s3://bucket/scan.dcm"``.

    Examples
    --------
    >>> from skfusion._image_cells.recognition import is_url
    >>> is_url("s3://bucket/scan.dcm"), is_url("C:/scans/scan.dcm")
    (True, False)
    """
    return _URL.match(text) is not None


def looks_like_path(text: str) -> bool:
    """Return whether a text can only be a path: absolute, a URL, or with a suffix.

    Examples
    --------
    >>> from skfusion._image_cells.recognition import looks_like_path
    >>> [looks_like_path(text) for text in ("/data/IM000", "b/Bericht 1.txt")]
    [True, True]
    >>> [looks_like_path(text) for text in ("mg/dL", "12/05/2020", "s/p CABG")]
    [False, False, False]
    """
    stripped = text.strip().strip("\"'")
    return bool(
        _URL.match(stripped)
        or _ABSOLUTE.match(stripped)
        or _WITH_SUFFIX.fullmatch(stripped)
    )


def may_hold_objects(column: Any) -> bool:
    """Return whether cells of a column can be text, lists or other objects.

    `column` is a `Series` or its dtype.
    """
    types = pd.api.types
    return not (
        types.is_numeric_dtype(column)
        or types.is_bool_dtype(column)
        or types.is_datetime64_any_dtype(column)
        or types.is_timedelta64_dtype(column)
    )


def inspect_cells(column: pd.Series) -> CellInspection:
    """Count images and paths among up to 50 cells that are spread over a column.

    Only the files of the inspected cells are opened. Relative paths are looked up from
    the working directory.

    Parameters
    ----------
    column : Series
        Column of a cohort.

    Returns
    -------
    CellInspection

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion._image_cells.recognition import inspect_cells
    >>> inspect_cells(pd.Series(["a.png", None, "b.png", "none"])).description
    '2 of 3 inspected cells are images'
    """
    if not may_hold_objects(column):
        return CellInspection(0)
    cells = list(_sample(column))
    others = [cell for cell in cells if not is_image_cell(cell)]
    texts = [str(cell) for cell in others if isinstance(cell, str | os.PathLike)]
    paths = [text for text in texts if looks_like_path(text)]
    n_certain = len(cells) - len(others) + len(paths)
    if len(texts) == len(cells) > len(paths) and _are_file_names(column, texts):
        paths = texts
    exist = [path for path in paths if _text_of(path) and _mode_of(path)]
    return CellInspection(
        len(cells),
        len(cells) - len(others),
        len(paths),
        len(exist),
        2 * max(n_certain, len(exist)) >= len(cells),
    )


def _sample(column: pd.Series) -> pd.Series:
    """Return up to 50 cells, spread over those that are not missing."""
    # A look at every cell is needed only if nearly all are empty.
    filled = spread(column[column.notna()], 4 * N_CELLS_INSPECTED)
    sample = filled[cell_presence(filled)]
    if len(sample) < min(len(filled), N_CELLS_INSPECTED):
        sample = column[cell_presence(column)]
    return spread(sample, N_CELLS_INSPECTED)


def spread(column: pd.Series, most: int) -> pd.Series:
    """Return up to `most` cells that are spread evenly over a column."""
    if len(column) <= most:
        return column
    return column.iloc[np.linspace(0, len(column) - 1, most).astype(np.intp)]


def _are_file_names(column: pd.Series, texts: list[str]) -> bool:
    """Return whether texts are relative paths without a suffix, nearly all distinct."""
    if not all(_FOLDERS.fullmatch(text.strip()) for text in texts):
        return False
    return column.nunique() >= DISTINCT_SHARE * int(column.notna().sum())


def cell_presence(column: pd.Series) -> np.ndarray:
    """Return which cells are not null, and neither empty text, bags nor vectors."""
    filled = column.notna().to_numpy()
    if may_hold_objects(column):
        # Iteration over a column of text converts each cell by itself.
        is_text = isinstance(column.dtype, pd.StringDtype)
        empty = [_is_empty(cell) for cell in (column.tolist() if is_text else column)]
        filled = filled & ~np.asarray(empty, dtype=bool)
    return np.asarray(filled, dtype=bool)


def _is_empty(cell: Any) -> bool:
    if isinstance(cell, str | bytes | bytearray):  # first, because most cells are text
        return len(cell) == 0
    if isinstance(cell, list | tuple):  # a bag, in which images can be missing
        return _all_missing(cell)
    if isinstance(cell, np.ndarray):
        if cell.dtype == object:
            return _all_missing(cell.ravel())
        is_vector = cell.ndim == 1 and cell.dtype.kind == "f"
        return cell.size == 0 or bool(is_vector and np.isnan(cell).all())
    if isinstance(cell, dict):  # an image of Hugging Face datasets
        given = [cell[key] for key in ("bytes", "path") if key in cell]
        return len(given) > 0 and all(part is None for part in given)
    return cell is None or bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def _all_missing(parts: Iterable[Any]) -> bool:
    return all(pd.api.types.is_scalar(part) and pd.isna(part) for part in parts)
