"""Image columns: input validation, threaded reading and handling of read errors."""

from __future__ import annotations

import numbers
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from skfusion._image_cells.recognition import has_class, is_url
from skfusion._validation import check_option, refuse_unknown_table
from skfusion.exceptions import LostImagesWarning, warn_user
from skfusion.image.cells.bags import unpack
from skfusion.image.reading.files import ImageReadError, is_missing

__all__ = [
    "ImageColumn",
    "ahead",
    "as_cells",
    "cells_with_image",
    "check_cells",
]


T = TypeVar("T")
R = TypeVar("R")


def as_cells(X: Any, owner: str = "ImageEmbedder") -> tuple[list[Any], object]:
    """Return the cells of one column of images, and the label of the column."""
    if isinstance(X, str | bytes | os.PathLike):
        raise TypeError(
            f"{owner} takes a column of images, got a single path or image. "
            "Pass it in a list."
        )
    refuse_unknown_table(X, owner)
    if type(X).__module__.partition(".")[0] == "pyarrow":
        X = X.to_pandas()
    shape: Any = getattr(X, "shape", None)
    if hasattr(X, "columns"):  # a frame of pandas or polars
        if shape[1] != 1:
            raise ValueError(
                f"{owner} takes one column of images, got {shape[1]} columns. "
                "Use a separate encoder for each image column."
            )
        name = X.columns[0]
        return _listed(X[name]), name
    if isinstance(X, list | tuple) or (shape is not None and len(shape) == 1):
        return _listed(X), getattr(X, "name", None)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 1:
        return list(X[:, 0]), None
    if isinstance(X, np.ndarray) and X.ndim in (3, 4, 5):
        return list(X), None
    found = type(X).__name__ + ("" if shape is None else f" of shape {shape}")
    raise ValueError(
        f"{owner} takes one column of images: a Series, a list, a frame or array "
        f"with one column, or an array (n[, D], H, W[, C]); got {found}."
    )


def _listed(cells: Any) -> list[Any]:
    # Iteration over a Series of text converts each cell by itself.
    return cells.tolist() if isinstance(cells, pd.Series) else list(cells)


def check_cells(cells: list[Any], name: object, owner: str = "ImageEmbedder") -> None:
    """Check that a column contains images, and no cells of another kind."""
    place = "X" if name is None else f"column {name!r}"
    bags = unpack(cells)
    present = [i for i, cell in enumerate(bags.images) if not is_missing(cell)]
    if not present:
        raise ValueError(
            f"{owner}: all {len(cells)} cells of {place} are missing; expected "
            "at least one image. Check the column, or omit it."
        )
    for i in present:
        cell, row = bags.images[i], bags.rows[i]
        if not _can_be_image(cell):
            raise TypeError(
                f"{owner}: got {type(cell).__name__} in {place}, row position "
                f"{row}; expected an image: a path, bytes, an array, a tensor, a PIL "
                "or nibabel image, a pydicom dataset, a file object or a dict with "
                "'bytes' or 'path'."
            )


def cells_with_image(cells: list[Any]) -> np.ndarray:
    """Return which cells contain at least one image, as a bool array."""
    bags = unpack(cells)
    mask = np.zeros(len(cells), dtype=bool)
    mask[bags.rows[[not is_missing(image) for image in bags.images]]] = True
    return mask


def _can_be_image(cell: Any) -> bool:
    """Return whether a cell is of a type that can be read as an image."""
    if isinstance(cell, str | bytes | bytearray | memoryview | os.PathLike):
        return True
    if isinstance(cell, dict):  # of Hugging Face datasets
        return not {"bytes", "path"}.isdisjoint(cell)
    if isinstance(cell, bool | numbers.Number | list | tuple | set | frozenset):
        return False
    if isinstance(cell, pd.DataFrame | pd.Series | type):
        return False
    return (
        hasattr(cell, "read")
        or hasattr(cell, "open")  # zipfile.Path, fsspec.OpenFile, UPath
        or (hasattr(cell, "ndim") and hasattr(cell, "shape"))
        or hasattr(cell, "__array_interface__")
        or has_class(cell, "PIL.Image", "pydicom.Dataset", "nibabel.SpatialImage")
    )


class ImageColumn:
    """Cells of one image column, with the read errors of unreadable cells.

    `positions` are the row positions of the cells in the user's table. They differ
    from the positions of the cells if a row has several images.
    """

    def __init__(
        self,
        cells: Iterable[Any],
        name: object,
        on_error: str,
        positions: np.ndarray | None = None,
    ) -> None:
        check_option(on_error, "on_error", ("raise", "missing"), "ImageColumn")
        self.cells = list(cells)
        self.positions = np.arange(len(self.cells)) if positions is None else positions
        self.place = "the image column" if name is None else f"column {name!r}"
        self.on_error = on_error
        self.failures: dict[int, ImageReadError] = {}

    def present_rows(self) -> list[int]:
        """Return the rows with an image, without those that failed so far."""
        rows = (i for i, cell in enumerate(self.cells) if not is_missing(cell))
        return [row for row in rows if row not in self.failures]

    def presence(self) -> np.ndarray:
        """Return for each row whether it contains a readable image, as a bool array."""
        mask = np.zeros(len(self.cells), dtype=bool)
        mask[self.present_rows()] = True
        return mask

    def read_ahead(
        self,
        read: Callable[[T], R],
        items: Iterable[T],
        rows_of: Callable[[T], list[int]],
        n_jobs: int | None,
        n_ahead: int,
        *,
        alone: bool = False,
    ) -> Iterator[tuple[T, R]]:
        """Read items in threads, and skip the rows of failed items or raise.

        With `alone`, a single job reads in the calling thread, which has no other work.
        """
        n_workers = effective_n_jobs(n_jobs)
        if alone and n_workers == 1:
            pairs = _at_once(read, items)
        else:
            pairs = ahead(read, items, n_workers, n_ahead)
        for item, future in pairs:
            try:
                result = future.result()
            except (ImageReadError, TypeError) as error:
                self._fail(rows_of(item), error)
            else:
                yield item, result

    def _fail(self, rows: list[int], error: ImageReadError | TypeError) -> None:
        row = int(self.positions[rows[0]])
        where = f"{self.place}, row position {row}"
        if isinstance(error, TypeError):  # a wrong column, not a bad image
            raise TypeError(f"In {where}: {error}") from error
        if self.on_error == "raise":
            raised = ImageReadError(
                f"In {where}: {error}{self._count_absent(rows[0])} Replace the image, "
                "or pass on_error='missing' to treat unreadable images as missing."
            )
            raised.row = row
            raise raised from error
        self.failures |= dict.fromkeys(rows, error)

    def _count_absent(self, row: int) -> str:
        """Return how many cells name no existing file, if that of `row` does not."""
        # Only now, because a look at all files can take long.
        if not _names_no_file(self.cells[row]):
            return ""
        present = [cell for cell in self.cells if not is_missing(cell)]
        n_absent = sum(map(_names_no_file, present))
        what = "cells" if len(set(self.positions)) == len(self.cells) else "images"
        return (
            f" {n_absent} of the {len(present)} {what} of {self.place} name no "
            "existing file."
        )

    def warn(self) -> None:
        """Issue one warning with the number of unreadable images."""
        if not self.failures:
            return
        rows = self.positions[sorted(self.failures)].tolist()
        what = "cells" if len(set(self.positions)) == len(self.cells) else "images"
        first = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
        warn_user(
            f"{len(rows)} of the {len(self.cells)} {what} of {self.place} cannot be "
            f"read and are treated as missing (row positions {first}). "
            f"First error: {self.failures[min(self.failures)]}",
            LostImagesWarning,
        )


def _names_no_file(cell: Any) -> bool:
    if isinstance(cell, dict):
        cell = cell.get("path") if cell.get("bytes") is None else None
    if not isinstance(cell, str | os.PathLike) or is_missing(cell):
        return False
    try:
        path = os.fspath(cell)
    except (TypeError, ValueError, NotImplementedError):  # a remote path
        return False
    return not is_url(os.fsdecode(path)) and not os.path.exists(path)


def _at_once(
    function: Callable[[T], R], items: Iterable[T]
) -> Iterator[tuple[T, Future[R]]]:
    """Apply a function in the calling thread, with the results of `ahead`."""
    for item in items:
        future: Future[R] = Future()
        try:
            future.set_result(function(item))
        except Exception as error:
            future.set_exception(error)
        yield item, future


def ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    n_workers: int,
    n_ahead: int,
    *,
    one_core: bool = True,
) -> Iterator[tuple[T, Future[R]]]:
    """Apply a function in threads, in order, a bounded number of items ahead.

    With `one_core`, the OpenMP libraries use one thread in each worker thread. A single
    item is computed in the calling thread: a new one would have cold caches.
    """
    iterator = iter(items)
    first = list(islice(iterator, 2))
    if len(first) < 2:
        for item in first:
            yield item, _computed(function, item, one_core)
        return
    pool = ThreadPoolExecutor(
        n_workers, "skfusion", initializer=_use_one_core if one_core else None
    )
    try:
        pending: deque[tuple[T, Future[R]]] = deque()
        for item in chain(first, iterator):
            pending.append((item, pool.submit(function, item)))
            if len(pending) >= n_ahead:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _computed(function: Callable[[T], R], item: T, one_core: bool) -> Future[R]:
    """Return the result for an item, or its error, as a thread would."""
    future: Future[R] = Future()
    with _one_core() if one_core else nullcontext():
        try:
            future.set_result(function(item))
        except Exception as error:
            future.set_exception(error)
    return future


def _use_one_core() -> None:
    """Limit OpenMP to one thread in the calling thread, which ends afterwards."""
    _one_core()


def _one_core() -> AbstractContextManager[Any]:
    """Limit OpenMP to one thread in the calling thread.

    The limit applies only to the thread that sets it. torch's setting for the process
    and for other threads does not change, but must have been initialised before.
    """
    torch = sys.modules.get("torch")  # reading of images does not require torch
    if torch is not None:
        torch.get_num_threads()
    found: AbstractContextManager[Any] = _libraries(torch is not None).limit(
        limits=1, user_api="openmp"
    )
    return found


@cache
def _libraries(has_torch: bool) -> ThreadpoolController:
    """Return the libraries with threads, which takes longer to find than a row."""
    return ThreadpoolController()
