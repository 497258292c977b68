"""Embeddings written to an array or a file of the user, part by part."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from skfusion._paths import expanded_path
from skfusion.exceptions import LostImagesWarning, warn_user
from skfusion.image.cells.column import cells_with_image

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
        If the array has another shape or dtype, or the file is one of the images.
    TypeError
        If `out` is neither a path nor an array.
    """
    _check_no_image(out, cells)
    values = _opened(out, (len(cells), width))
    n_unreadable = 0
    counts: Counter[tuple[type[Warning], str]] = Counter()
    for start in range(0, len(cells), ROWS):
        part = pd.Series(cells[start : start + ROWS], dtype=object, name=name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows = transform(part, start)
        values[start : start + len(part)] = rows
        counts.update({(w.category, str(w.message)) for w in caught})
        is_lost = cells_with_image(list(part)) & np.isnan(rows).all(axis=1)
        n_unreadable += int(is_lost.sum())
    _repeat(counts, n_unreadable, len(cells), name)
    if isinstance(values, np.memmap):
        values.flush()
    return values


def _check_no_image(out: Any, cells: list[Any]) -> None:
    """Check that the file is none of the images, which it would replace."""
    if not isinstance(out, str | os.PathLike) or not os.path.isfile(expanded_path(out)):
        return
    place = os.stat(expanded_path(out))
    for row, cell in enumerate(cells):
        for image in cell if isinstance(cell, list | tuple) else [cell]:
            if isinstance(image, str | os.PathLike) and _is_file(image, place):
                raise ValueError(
                    "ImageEmbedder: out is the file of an image (first at row position "
                    f"{row}), which it would replace. Name another file."
                )


def _is_file(path: str | os.PathLike[str], place: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), place)
    except (OSError, ValueError, TypeError):  # such as no path at all
        return False


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


def _repeat(
    counts: Counter[tuple[type[Warning], str]],
    n_unreadable: int,
    n_cells: int,
    name: object,
) -> None:
    """Issue the warnings of all parts once, those about lost images as one."""
    lost = [text for kind, text in counts if issubclass(kind, LostImagesWarning)]
    for category, text in counts:
        if not issubclass(category, LostImagesWarning):
            warn_user(text, category)
    if lost:
        place = "the image column" if name is None else f"column {name!r}"
        warn_user(
            f"ImageEmbedder: no image of {n_unreadable} of the {n_cells} cells of "
            f"{place} could be embedded. Their rows are NaN. First of {len(lost)} "
            f"messages on parts of {ROWS} cells: {lost[0]}",
            LostImagesWarning,
        )
