"""Command ``skfusion embed``: images of a table into a store, or a part of them."""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

import pandas as pd

from skfusion.cli.cohort import read_image_columns
from skfusion.cli.console import progress_level, say, show
from skfusion.cli.problems import RunError
from skfusion.cli.settings import read_settings
from skfusion.distributed import embed
from skfusion.image import ImageReadError
from skfusion.store.embedding_store import EmbeddingStore, resolve_store

__all__ = ["in_shard", "run"]


CHUNK = 256  # cells between two lines of progress


def run(arguments: argparse.Namespace) -> None:
    """Embed the images of a table, or those of one shard of it.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    ProblemsError
        If the table or a setting has a problem.
    RunError
        If an image cannot be read, or the store keeps nothing.
    """
    settings = read_settings(arguments, required=("table",))
    params = {
        key: value
        for key in ("backbone", "weights", "input_size", "engine", "n_jobs")
        if (value := getattr(arguments, key)) is not None
    }
    if arguments.store is not None or arguments.segments:
        # Without these options, the store of a modality in the file is kept.
        params["store"] = EmbeddingStore(arguments.store, segments=arguments.segments)
    shard = arguments.shard
    columns = read_image_columns(
        settings, lambda cells: None if shard is None else in_shard(cells, *shard)
    )
    what = "" if shard is None else f" of shard {shard[0]} of {shard[1]}"
    for column, (embedder, cells) in columns.items():
        if not cells.notna().any():
            show(f"{column}: no images{what}")
            continue
        embedder.set_params(**params)
        store = resolve_store(embedder.store)
        if store is None:
            raise ValueError(
                f"modality of column {column!r}: it has no store, use --store"
            )
        _check_keeps(store)
        _embed(embedder, cells, f"{column}{what}")
        _check_keeps(store)
        say(f"store: {store.path}")
        store.close()


def _check_keeps(store: EmbeddingStore) -> None:
    """Check that a store is on disk, because the command has no other result."""
    if store.path.exists() and not store.path.is_dir():
        raise NotADirectoryError(
            "the store is a file, expected a folder. Use --store FOLDER"
        )
    if store.info()["in_memory"]:  # A previous warning reports the cause.
        raise RunError("the store cannot be used, so no embedding was kept")


def _embed(embedder: Any, cells: pd.Series, title: str) -> None:
    try:
        done = embed(embedder, cells, chunk_size=CHUNK, verbose=progress_level())
    except ImageReadError as error:
        raise RunError(
            f"{error} With --unreadable-images absent, images that cannot be read "
            "count as absent."
        ) from error
    n_images = done.n_cells - done.n_absent - done.n_unreadable
    parts = [f"{n_images} of {done.n_cells} cells are embedded"]
    parts += [f"{done.n_absent} have no image"] * bool(done.n_absent)
    parts += [f"{done.n_unreadable} cannot be read"] * bool(done.n_unreadable)
    show(f"{title}: {', '.join(parts)} ({done.seconds:.0f} s)")


def in_shard(cells: pd.Series, shard: int, n_shards: int) -> pd.Series:
    """Return which cells belong to a shard, by the text of the cell alone.

    Equal cells belong to one shard, whatever the order of the table.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.embed import in_shard
    >>> cells = pd.Series([f"{i}.png" for i in range(100)])
    >>> int(sum(in_shard(cells, shard, 3).sum() for shard in (1, 2, 3)))
    100
    """

    def number(cell: Any) -> int:
        digest = hashlib.blake2b(str(cell).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") % n_shards

    return cells.map(number) == shard - 1
