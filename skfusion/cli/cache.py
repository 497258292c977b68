"""Command ``skfusion cache``: stored embeddings, events and event features."""

from __future__ import annotations

import argparse
from pathlib import Path

from skfusion.cli.console import show

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Show, clear or prune the store.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    OSError
        If the folder does not exist or the store cannot be used.
    """
    from skfusion.store.embedding_store import EmbeddingStore, default_store_path
    from skfusion.store.working_folders import remove_abandoned_temporary

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
    facts = store.info()
    if arguments.action == "clear":
        store.clear()
    elif arguments.action == "prune":
        n_removed = store.prune(arguments.max_size)
    left = store.info()
    for line in removed:
        show(line)
    if left["in_memory"]:  # A previous warning reports the cause.
        raise OSError(f"the store in {path} cannot be used and was not changed")
    if arguments.action == "clear":
        show(f"{path}: {facts['entries']} embeddings removed")
    elif arguments.action == "prune":
        kept = f"{left['entries']} left ({_megabytes(left['bytes'])})"
        show(f"{path}: {n_removed} embeddings removed, {kept}")
    else:
        show(f"folder:    {path}")
        show(f"entries:   {facts['entries']}")
        show(f"size:      {_megabytes(facts['bytes'])}")
        show(f"computed:  {facts['computed']} since the store was created")


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
