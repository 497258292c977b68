"""Keys of the images of a column in a store, for which no network is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from skfusion.image.cells.column import ImageColumn
from skfusion.image.cells.volumes import Reading
from skfusion.image.networks.engines import engine_key
from skfusion.image.reading.read import content_digest
from skfusion.store.embedding_store import EmbeddingStore
from skfusion.store.rows import Rows

__all__ = ["Lookup", "look_up"]

_PATH = type(Path())  # not its subclasses for other file systems


@dataclass(frozen=True)
class Lookup:
    """Distinct images of a column and their keys.

    Attributes
    ----------
    images : ImageColumn
        The column, which has noted the unreadable images.
    rows_of : dict of str to list of int
        Rows of each distinct image, by its key in the store.
    """

    images: ImageColumn
    rows_of: dict[str, list[int]]

    def rows(self) -> Rows:
        """Return the matrix of the column, to be filled with the arrays of its keys."""
        return Rows(len(self.images.cells), self.rows_of)


def look_up(
    cells: Iterable[Any],
    fingerprint: str,
    *,
    store: EmbeddingStore | None,
    reading: Reading,
    n_jobs: int | None = None,
    on_error: str = "raise",
    column: object = None,
    engine: str = "torch",
    precision: str = "auto",
    fold: bool = True,
    positions: np.ndarray | None = None,
) -> Lookup:
    """Find the distinct images of a column and their keys in a store.

    Parameters
    ----------
    cells, fingerprint, store, reading, n_jobs, on_error, column : any
        As in `skfusion.image.embedding.encode.encode_cells`.
    engine, precision, fold, positions : any
        As in `skfusion.image.embedding.encode.encode_cells`.

    Returns
    -------
    Lookup

    Raises
    ------
    ImageReadError
        If a file cannot be read and `on_error` is ``"raise"``.
    """
    images = ImageColumn(cells, column, on_error, positions)
    arithmetic = engine_key(engine, precision) if fold else ""
    prefix = f"{fingerprint} {reading.key}{arithmetic}"
    memo = None if store is None else store.digest_file

    def digest(row: int) -> str:
        return content_digest(images.cells[row], memo)

    rows = images.present_rows()
    digests = {} if store is None else _remembered(images.cells, rows, store)
    others = [row for row in rows if row not in digests]
    # Nothing else happens meanwhile, so that one thread is the calling one.
    digests.update(
        images.read_ahead(digest, others, lambda row: [row], n_jobs, 256, alone=True)
    )
    rows_of: dict[str, list[int]] = {}
    for row in rows:  # in their order, because it decides which images are a batch
        if row in digests:
            rows_of.setdefault(f"{prefix} {digests[row]}", []).append(row)
    return Lookup(images, rows_of)


def _remembered(
    cells: list[Any], rows: list[int], store: EmbeddingStore
) -> dict[int, str]:
    """Return the digests that this process knows of files among some cells."""
    paths = {
        row: cells[row]
        for row in rows
        if isinstance(cells[row], str) or type(cells[row]) is _PATH
    }
    digests = store.remembered_digests(paths.values())
    return {
        row: digest
        for row, digest in zip(paths, digests, strict=True)
        if digest is not None
    }
