"""Command ``skfusion cache``: stored embeddings, events and event features."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from skfusion.cli.console import show
from skfusion.store.embedding_store import EmbeddingStore, default_store_path
from skfusion.store.working_folders import remove_abandoned_temporary

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Show, clear, prune, merge or verify the store.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    OSError
        If the folder does not exist or the store cannot be used.
    """
    path = Path(arguments.path or default_store_path())
    n_abandoned = remove_abandoned_temporary()
    if n_abandoned:
        show(f"{n_abandoned} temporary folders of killed processes removed")
    removed = _event_cache(path, arguments.action) if path.is_dir() else []
    if arguments.path and not path.is_dir():
        raise FileNotFoundError(f"folder {arguments.path!r} does not exist")
    if not path.is_dir():
        show(f"{path}: the store is empty")
        return
    store = EmbeddingStore(path)
    lines = _ACTIONS[arguments.action](store, arguments)
    if store.info()["in_memory"]:  # A previous warning reports the cause.
        raise OSError(f"the store in {path} cannot be used and was not changed")
    for line in [*removed, *lines]:
        show(line)


def _info(store: EmbeddingStore, arguments: argparse.Namespace) -> list[str]:
    facts = store.info()
    segments = [f"segments:  {facts['segments']}"] * bool(facts["segments"])
    return [
        f"folder:    {store.path}",
        f"entries:   {facts['entries']}",
        f"size:      {_megabytes(facts['bytes'])}",
        *segments,
        f"computed:  {facts['computed']} since the store was created",
    ]


def _clear(store: EmbeddingStore, arguments: argparse.Namespace) -> list[str]:
    n_entries = store.info()["entries"]
    store.clear()
    return [f"{store.path}: {n_entries} embeddings removed"]


def _prune(store: EmbeddingStore, arguments: argparse.Namespace) -> list[str]:
    n_removed = store.prune(arguments.max_size)
    left = store.info()
    kept = f"{left['entries']} left ({_megabytes(left['bytes'])})"
    return [f"{store.path}: {n_removed} embeddings removed, {kept}"]


def _merge(store: EmbeddingStore, arguments: argparse.Namespace) -> list[str]:
    n_before, n_after = store.merge_segments()
    return [f"{store.path}: {n_before} segments merged into {n_after}"]


def _verify(store: EmbeddingStore, arguments: argparse.Namespace) -> list[str]:
    n_sound, n_damaged = store.verify_segments()
    moved = f", {n_damaged} damaged ones were moved aside" * bool(n_damaged)
    return [f"{store.path}: {n_sound} segments are sound{moved}"]


_ACTIONS: dict[str, Callable[[EmbeddingStore, argparse.Namespace], list[str]]] = {
    "info": _info,
    "clear": _clear,
    "prune": _prune,
    "merge": _merge,
    "verify": _verify,
}


def _event_cache(path: Path, action: str) -> list[str]:
    """Show or remove the events and event features below a cache folder."""
    from skfusion.ehr.events.folders import cached_folders, folder_size, take_away
    from skfusion.store.working_folders import remove_abandoned

    lines = []
    for kind, what in (("events", "event stores"), ("windows", "prepared features")):
        remove_abandoned(path / kind)
        folders, unfinished = cached_folders(path / kind)
        size = _megabytes(sum(map(folder_size, folders + unfinished)))
        being_written = f", {len(unfinished)} being written" * bool(unfinished)
        if action == "clear":
            size = _megabytes(sum(map(folder_size, folders)))
            for folder in folders:
                take_away(folder)
            if folders:
                lines.append(f"{path / kind}: {len(folders)} {what} removed ({size})")
            if unfinished:
                lines.append(f"{path / kind}: {len(unfinished)} left, being written")
        elif action == "info" or folders or unfinished:
            note = ", removed by 'skfusion cache clear' only" * (action == "prune")
            lines.append(
                f"{kind + ':':<10} {len(folders)} {what}{being_written}, {size}{note}"
            )
    return lines


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
