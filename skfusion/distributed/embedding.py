"""Embedding a column of images into a store, by several processes or machines."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from skfusion._progress import progress
from skfusion._validation import check_number
from skfusion.distributed.parts import mapped, repeat_warnings
from skfusion.exceptions import LostImagesWarning, warn_user
from skfusion.image.cells.column import as_cells, cells_with_image
from skfusion.image.reading.files import ImageReadError
from skfusion.store.embedding_store import resolve_store
from skfusion.text.cells import as_notes, note_cells
from skfusion.text.embedder import TextEmbedder

__all__ = ["EmbeddingRun", "PartResult", "embed", "embed_part"]


@dataclass(frozen=True)
class EmbeddingRun:
    """Counts and time of a call of `embed`.

    Attributes
    ----------
    n_cells : int
        Number of cells of the column.
    n_absent : int
        Number of cells without an image, or without a note.
    n_unreadable : int
        Number of cells of whose images none could be embedded, with
        ``on_error="missing"``.
    seconds : float
        Elapsed time.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skfusion import ImageEmbedder
    >>> from skfusion.distributed import embed
    >>> images = [np.zeros((40, 40), dtype=np.uint8), None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = embed(ImageEmbedder(input_size=32, store=folder), images)
    >>> run.n_cells, run.n_absent, run.n_unreadable
    (2, 1, 0)
    """

    n_cells: int
    n_absent: int
    n_unreadable: int
    seconds: float


class PartResult(NamedTuple):
    """Counts of cells, warnings (category, text), and messages about lost images."""

    n_absent: int
    n_unreadable: int
    warnings: list[tuple[type[Warning], str]]
    lost: list[str]


def embed(
    embedder: Any,
    cells: Any,
    client: Any = None,
    *,
    chunk_size: int = 1_000,
    verbose: int = 0,
) -> EmbeddingRun:
    """Embed a column of images into the store of an embedder.

    Afterwards, `embedder` and its clones find all embeddings in the store. A run that
    was interrupted goes on where it was, because stored images are not read again.

    Parameters
    ----------
    embedder : ImageEmbedder or TextEmbedder
        Transformer with a store that all workers can open. It need not be fitted. On
        several machines the store must be ``EmbeddingStore(folder, segments=True)`` in
        a shared folder.
    cells : one column of n images or notes
        As in ``embedder.fit``.
    client : distributed.Client or None, default=None
        Client of Dask. None uses the current client of this process, and works in this
        process if there is none. A worker with several threads shares one network.
    chunk_size : int, default=1000
        Number of cells of a part, which is what a killed worker loses at most.
    verbose : int, default=0
        If positive, show the progress with the time left on standard error.

    Returns
    -------
    EmbeddingRun
        Counts of the cells.

    Raises
    ------
    ValueError
        If the embedder has no store, or a parameter is invalid.
    ImageReadError
        If an image cannot be read and ``on_error="raise"``. What was embedded before
        is stored.

    Warns
    -----
    DataWarning
        If images cannot be read and ``on_error="missing"``, with their number.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skfusion import EmbeddingStore, ImageEmbedder
    >>> from skfusion.distributed import embed
    >>> images = [np.full((40, 40), level, dtype=np.uint8) for level in range(5)]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     run = embed(ImageEmbedder(input_size=32, store=store), [*images, None])
    ...     print(run.n_cells, run.n_absent, store.info()["computed"])
    ...     store.close()
    6 1 5
    """
    check_number(chunk_size, "chunk_size", "embed", low=1, integer=True)
    if resolve_store(getattr(embedder, "store", None)) is None:
        raise ValueError(
            "embed: the embedder has no store to embed into. Pass it "
            "store=EmbeddingStore(folder)."
        )
    start = time.monotonic()
    if isinstance(embedder, TextEmbedder):
        column, _ = note_cells(cells)
    else:
        column, _ = as_cells(cells, type(embedder).__name__)
    fitted = clone(embedder).set_params(verbose=0).fit(cells)
    parts = [
        (fitted, column[first : first + chunk_size], first)
        for first in range(0, len(column), chunk_size)
    ]
    results = []
    with progress(len(column), verbose=verbose, title="Embed", unit="cell") as advance:
        for number, result in mapped(embed_part, parts, client):
            results.append(result)
            advance(len(parts[number][1]))
    n_unreadable = sum(result.n_unreadable for result in results)
    n_absent = sum(result.n_absent for result in results)
    repeat_warnings(results)
    lost = [text for result in results for text in result.lost]
    if lost:
        warn_user(
            f"embed: no image of {n_unreadable} of the {len(column) - n_absent} cells "
            "with images could be embedded. They are treated as missing. First of "
            f"{len(lost)} messages on parts of {chunk_size} cells: {lost[0]}",
            LostImagesWarning,
        )
    seconds = time.monotonic() - start
    return EmbeddingRun(len(column), n_absent, n_unreadable, seconds)


def embed_part(embedder: Any, cells: Sequence[Any], first: int = 0) -> PartResult:
    """Embed a part of a column into the store of a fitted embedder.

    It can be pickled and mapped by any engine.

    Parameters
    ----------
    embedder : ImageEmbedder or TextEmbedder
        Fitted embedder with a store.
    cells : sequence of images or notes
        The part.
    first : int, default=0
        Row position of its first cell in the column, for messages.

    Returns
    -------
    PartResult
        Numbers of cells without an image and of unreadable cells, and the warnings.

    Raises
    ------
    ImageReadError
        If an image cannot be read and ``on_error="raise"``.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skfusion import EmbeddingStore, ImageEmbedder
    >>> from skfusion.distributed import embed_part
    >>> cells = [np.zeros((40, 40), dtype=np.uint8), None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     fitted = ImageEmbedder(input_size=32, store=store).fit(cells)
    ...     print(embed_part(fitted, cells).n_absent)
    ...     store.close()
    1
    """
    cells = list(cells)
    if isinstance(embedder, TextEmbedder):
        notes = as_notes(cells)
        has_image = notes.bags.counts(notes.presence) > 0
    else:
        has_image = cells_with_image(cells)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            values = embedder.transform(cells)
        except ImageReadError as error:
            error.add_note(f"Row positions are those of a part that starts at {first}.")
            raise
    is_embedded = ~np.isnan(np.asarray(values, dtype=np.float64)).all(axis=1)
    found = [(warning.category, str(warning.message)) for warning in caught]
    lost = [text for kind, text in found if issubclass(kind, LostImagesWarning)]
    others = [one for one in found if not issubclass(one[0], LostImagesWarning)]
    n_unreadable = int((has_image & ~is_embedded).sum())
    return PartResult(int((~has_image).sum()), n_unreadable, others, lost)
