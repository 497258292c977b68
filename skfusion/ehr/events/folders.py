"""Folders of events and features: moved into place whole, listed and measured."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from skfusion._paths import flush
from skfusion.store.working_folders import PREFIX, entries_below, working_name

__all__ = [
    "cached_folders",
    "folder_size",
    "names_in",
    "settle",
    "take_away",
]


FINGERPRINT = re.compile(r"[0-9a-f]{32}")
ATTEMPTS = 5  # Processes that write the same content at the same time.


def cached_folders(parent: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of events or features in a subfolder of the cache.

    Parameters
    ----------
    parent : Path
        Subfolder of the cache folder, which may not exist.

    Returns
    -------
    finished : list of Path
        Finished folders, including damaged ones.
    unfinished : list of Path
        Folders that another process is writing.
    """
    finished, unfinished = [], []
    for name in sorted(names_in(parent)):
        folder = parent / name
        if folder.is_symlink() or not folder.is_dir():
            continue
        if name.startswith(PREFIX):
            unfinished.append(folder)
        elif FINGERPRINT.fullmatch(name) or _is_ours(folder):
            finished.append(folder)
    return finished, unfinished


def _is_ours(folder: Path) -> bool:
    files = {name: os.path.splitext(name)[1] for name in names_in(folder)}
    has_manifest = files.keys() & {"events.json", "prepared.json"}
    return bool(has_manifest) and set(files.values()) <= {".json", ".bin", ".npy"}


def names_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder, none for a missing folder.

    A file that is no folder has its own name in it, which is that of no store.
    """
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        return {folder.name, ""}


def settle(work: Path, target: Path, is_there: Callable[[], bool]) -> None:
    """Move finished files to a target folder, unless they are already there.

    Parameters
    ----------
    work : Path
        Folder with the finished files.
    target : Path
        The target folder.
    is_there : callable
        Function that returns whether `target` has the same content, takes away a
        damaged folder, and raises an error for any other content.
    """
    is_flushed = False
    for attempt in range(ATTEMPTS):
        if is_there():
            return
        if not is_flushed:
            # Only once, because a second attempt would hide an error of the disk.
            _flush_all(work)
            is_flushed = True
        try:
            os.replace(work, target)
            break
        except OSError:
            # Another process may have written the same content in the meantime.
            if attempt == ATTEMPTS - 1 or not work.exists():
                raise
    flush(target.parent)


def _flush_all(folder: Path) -> None:
    """Flush a folder of files to the disk, before it appears under its name."""
    for file in folder.iterdir():
        flush(file)
    flush(folder)


def take_away(folder: Path) -> None:
    """Remove a folder, which is there whole for other processes or not at all."""
    aside = folder.parent / working_name()
    try:
        os.replace(folder, aside)
    except FileNotFoundError:
        return  # Another process was first.
    except OSError:  # A mounted folder, or Windows with an open file.
        aside = folder
    shutil.rmtree(aside, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Return the size of all files below a folder in bytes."""
    sizes = 0
    for file in entries_below(folder):
        try:
            sizes += file.lstat().st_size if not file.is_dir() else 0
        except OSError:  # Another process may remove files.
            continue
    return sizes
