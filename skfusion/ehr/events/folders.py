"""Folders that are written aside, moved into place whole, and removed if abandoned."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from pathlib import Path
from typing import Any

__all__ = [
    "DamagedFolderError",
    "cached_folders",
    "folder_size",
    "new_working_folder",
    "put_into_place",
    "read_json",
    "remove_abandoned",
]


PREFIX = ".writing-"
# A folder of a process that is gone is kept for a while, because a clock may be wrong.
GRACE = 600.0  # Seconds since the last change, if the process is known to be gone.
LONGEST = 7 * 86_400.0  # Seconds, if nothing is known about the process.


class DamagedFolderError(ValueError):
    """A file of a folder that was written by skfusion cannot be parsed."""


def new_working_folder(parent: Path) -> Path:
    """Create a folder for unfinished files, and remove abandoned ones beside it.

    Parameters
    ----------
    parent : Path
        Parent folder. A missing folder is created for the user only.

    Returns
    -------
    Path
        The new folder. Its name contains the host and the process.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_abandoned(parent)
    name = f"{PREFIX}{_host()}-{os.getpid()}-{uuid.uuid4().hex}"
    folder = parent / name
    folder.mkdir(mode=0o700)
    return folder


def remove_abandoned(parent: Path) -> int:
    """Remove unfinished folders whose process is gone.

    Parameters
    ----------
    parent : Path
        Folder with the unfinished folders.

    Returns
    -------
    int
        Number of removed folders.
    """
    removed = 0
    for folder in parent.glob(f"{PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir() or not _is_abandoned(folder):
            continue
        shutil.rmtree(folder, ignore_errors=True)
        removed += not folder.exists()
    return removed


def cached_folders(parent: Path, *, unfinished: bool = False) -> list[Path]:
    """Return the folders of events or features in a subfolder of the cache.

    Parameters
    ----------
    parent : Path
        Subfolder of the cache folder, which may not exist.
    unfinished : bool, default=False
        Whether to include folders that another process is writing.

    Returns
    -------
    list of Path
    """
    if not parent.is_dir():
        return []
    return sorted(
        folder
        for folder in parent.iterdir()
        if folder.is_dir()
        and not folder.is_symlink()
        and (unfinished if folder.name.startswith(PREFIX) else _is_ours(folder))
    )


def _is_ours(folder: Path) -> bool:
    files = {file.name: file.suffix for file in folder.iterdir()}
    has_manifest = files.keys() & {"events.json", "prepared.json"}
    return bool(has_manifest) and set(files.values()) <= {".json", ".bin", ".npy"}


def put_into_place(folder: Path, target: Path) -> None:
    """Flush the files of a folder to the disk and move it to an empty place.

    Parameters
    ----------
    folder : Path
        Finished folder.
    target : Path
        Path that does not exist or is an empty folder.

    Raises
    ------
    OSError
        If `target` has any content, such as that of another process.
    """
    for file in folder.iterdir():
        _flush(file)
    _flush(folder)
    os.replace(folder, target)
    _flush(target.parent)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Return the object in a JSON file of a folder.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        Name of the class and the content for the message.

    Returns
    -------
    dict

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    DamagedFolderError
        If the file does not contain a JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        found = None
    if not isinstance(found, dict):
        raise DamagedFolderError(
            f"{what}: got a damaged file {path.name} in {path.parent}, which is no "
            "JSON object. Remove that folder and write it again."
        )
    return found


def folder_size(folder: Path) -> int:
    """Return the size of all files below a folder in bytes."""
    sizes = 0
    for file in folder.rglob("*"):
        try:
            sizes += file.lstat().st_size if not file.is_dir() else 0
        except OSError:  # Another process may remove files.
            continue
    return sizes


def _is_abandoned(folder: Path) -> bool:
    host, _, process = folder.name.removeprefix(PREFIX).partition("-")
    process = process.partition("-")[0]
    age = time.time() - _last_change(folder)
    if host != _host() or not process.isdigit():
        return age > LONGEST
    return age > GRACE and not _is_alive(int(process))


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return True
    if os.name == "nt":  # A signal would end the process there.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _last_change(folder: Path) -> float:
    changes = [0.0]
    for path in (folder, *folder.rglob("*")):
        try:
            changes.append(path.lstat().st_mtime)
        except OSError:
            continue
    return max(changes)


def _host() -> str:
    """Return a short digest of the name of the machine or container."""
    name = socket.gethostname().encode(errors="replace")
    return hashlib.blake2b(name, digest_size=4).hexdigest()


def _flush(path: Path) -> None:
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders.
        return
    try:
        os.fsync(number)
    except OSError:  # Some file systems do not support it for folders.
        pass
    finally:
        os.close(number)
