"""Embeddings written to an array or a file of the user, part by part."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from skfusion._paths import expanded_path
from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.cells.bags import unpack
from skfusion.image.cells.column import AS_MISSING
from skfusion.image.reading.files import is_missing

__all__ = ["write_parts"]


ROWS = 8_192  # rows of a part, which are in memory twice


def write_parts(
    transform: Callable[[Any, int], np.ndarray],
    cells: list[Any],
    name: object,
    out: Any,
    width: int,
) -> np.ndarray:
    """Write the rows of a transformation to `out`, and return it as an array.

    Parameters
    ----------
    transform : callable
        Function of some cells, as a Series, and the row position of the first one. It
        returns their embeddings.
    cells : list of n cells
        The column.
    name : object
        Label of the column.
    out : str, PathLike or ndarray of shape (n, width)
        A file in the format NPY, which is replaced, or an array of float32.
    width : int
        Number of columns.

    Returns
    -------
    ndarray of shape (n, width), float32
        `out`, or the memory map of the file.

    Raises
    ------
    ValueError
        If the array has another shape or dtype.
    TypeError
        If `out` is neither a path nor an array.
    """
    values = _opened(out, (len(cells), width))
    n_unreadable = 0
    found: dict[tuple[type[Warning], str], None] = {}  # in order
    for start in range(0, len(cells), ROWS):
        part = pd.Series(cells[start : start + ROWS], dtype=object, name=name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows = transform(part, start)
        values[start : start + len(part)] = rows
        n_absent = int((_with_image(part) & np.isnan(rows).all(axis=1)).sum())
        n_unreadable += n_absent
        for warning in caught:
            # Absent cells are counted over all parts. Without any, the absent images
            # are of cells with other images.
            if not (n_absent and AS_MISSING in str(warning.message)):
                found[warning.category, str(warning.message)] = None
    _repeat(found, n_unreadable, len(cells), name)
    if isinstance(values, np.memmap):
        values.flush()
    return values


def _opened(out: Any, shape: tuple[int, int]) -> np.ndarray:
    if isinstance(out, str | os.PathLike):
        path = expanded_path(out)
        if not shape[0]:  # an empty file cannot be mapped
            empty = np.empty(shape, dtype=np.float32)
            np.save(path, empty)
            return empty
        return np.lib.format.open_memmap(
            path, mode="w+", dtype=np.dtype(np.float32), shape=shape
        )
    if not isinstance(out, np.ndarray):
        raise TypeError(
            "ImageEmbedder: out must be the path of a .npy file or an array, got "
            f"{type(out).__name__}."
        )
    if out.shape != shape or out.dtype != np.float32 or not out.flags.writeable:
        raise ValueError(
            f"ImageEmbedder: out must be a writable array of float32 of shape {shape}, "
            f"got {out.dtype} of shape {out.shape}."
        )
    return out


def _with_image(part: pd.Series) -> np.ndarray:
    """Return which cells contain at least one image."""
    bags = unpack(list(part))
    mask = np.zeros(len(part), dtype=bool)
    mask[bags.rows[[not is_missing(image) for image in bags.images]]] = True
    return mask


def _repeat(
    found: Iterable[tuple[type[Warning], str]],
    n_unreadable: int,
    n_cells: int,
    name: object,
) -> None:
    """Issue the warnings of all parts once, and count the unreadable cells."""
    for category, text in found:
        warn_user(text, category)
    if n_unreadable:
        place = "the image column" if name is None else f"column {name!r}"
        warn_user(
            f"ImageEmbedder: no image of {n_unreadable} of the {n_cells} cells of "
            f"{place} could be embedded. Their rows are NaN.",
            DataWarning,
        )
