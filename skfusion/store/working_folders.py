"""Folders for unfinished files with patient data, removed if their process is gone."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "PREFIX",
    "entries_below",
    "last_change",
    "make_private_folder",
    "new_working_folder",
    "remove_abandoned",
    "remove_abandoned_temporary",
    "temporary_folder",
    "working_name",
]


PREFIX = ".writing-"
TEMPORARY = "skfusion-temporary-"
NAME = re.compile(r"([0-9a-f]{8})(?:\.([0-9a-f]{8}))?-(\d+)-[0-9a-f]+")
# Without the identity of the system, a process number may be of another container, so
# that an unfinished folder is kept for a while.
GRACE = 600.0  # Seconds since the last change, if the process seems to be gone.
LONGEST = 7 * 86_400.0  # Seconds, if nothing is known about the process.


def make_private_folder(folder: Path) -> None:
    """Create a folder and its missing parents for the user only.

    Parameters
    ----------
    folder : Path
        The folder. An existing one is left as it is.
    """
    missing = []
    place = folder
    while not place.exists() and place != place.parent:
        missing.append(place)
        place = place.parent
    for place in reversed(missing):
        # `parents` of Path.mkdir would be readable for others.
        place.mkdir(mode=0o700, exist_ok=True)


def new_working_folder(parent: Path, *, prefix: str = PREFIX) -> Path:
    """Create a folder for unfinished files, and remove abandoned ones beside it.

    Parameters
    ----------
    parent : Path
        Parent folder. A missing folder is created for the user only.
    prefix : str, default=".writing-"
        Beginning of the name.

    Returns
    -------
    Path
        The new folder. Its name contains the system and the process.
    """
    make_private_folder(parent)
    remove_abandoned(parent, prefix=prefix)
    folder = parent / working_name(prefix)
    folder.mkdir(mode=0o700)
    return folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Provide a folder below that of temporary files, and remove abandoned ones.

    The folders of `tempfile` would be left behind by a process that is killed.

    Yields
    ------
    Path
        The folder, which is removed afterwards.
    """
    folder = new_working_folder(Path(tempfile.gettempdir()), prefix=TEMPORARY)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_temporary() -> int:
    """Remove folders of `temporary_folder` whose process is gone, and return how many.

    Returns
    -------
    int
        Number of removed folders.
    """
    return remove_abandoned(Path(tempfile.gettempdir()), prefix=TEMPORARY)


def working_name(prefix: str = PREFIX) -> str:
    """Return a new name of an unfinished folder of this process."""
    return f"{prefix}{_host()}-{os.getpid()}-{uuid.uuid4().hex}"


def remove_abandoned(parent: Path, *, prefix: str = PREFIX) -> int:
    """Remove unfinished folders whose process is gone.

    Parameters
    ----------
    parent : Path
        Folder with the unfinished folders.
    prefix : str, default=".writing-"
        Beginning of their names.

    Returns
    -------
    int
        Number of removed folders.
    """
    removed = 0
    try:
        names = [entry.name for entry in os.scandir(parent)]
    except OSError:
        return 0
    for folder in (parent / name for name in names if name.startswith(prefix)):
        if folder.is_symlink() or not folder.is_dir() or not _is_own(folder):
            continue
        if _is_abandoned(folder, prefix):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
    return removed


def _is_own(folder: Path) -> bool:
    """Return whether the folder is of this user, as others may share the parent.

    A folder that its process has moved or removed since it was listed is none.
    """
    if not hasattr(os, "getuid"):
        return True
    try:
        return folder.lstat().st_uid == os.getuid()
    except OSError:
        return False


def _is_abandoned(folder: Path, prefix: str) -> bool:
    parts = NAME.fullmatch(folder.name.removeprefix(prefix))
    if parts is None and prefix != PREFIX:
        return False  # Someone else's.
    age = time.time() - last_change(folder)
    host, _, system = _host().partition(".")
    if parts is None or parts[1] != host:
        return age > LONGEST
    if not system or parts[2] != system:
        # The number may be of another container, or of before the last start.
        return age > GRACE and (parts[2] is not None or not _is_alive(int(parts[3])))
    return not _is_alive(int(parts[3]))


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


def entries_below(folder: Path) -> Iterator[Path]:
    """Yield the files and folders below a folder that other processes may remove.

    `Path.rglob` raises an error where a folder is gone before it is listed.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place, name)


def last_change(folder: Path) -> float:
    """Return the time of the last change of a folder and of everything in it."""
    changes = [0.0]
    for path in (folder, *entries_below(folder)):
        try:
            changes.append(path.lstat().st_mtime)
        except OSError:
            continue
    return max(changes)


def _host() -> str:
    """Return short digests of the host, and of its start and space of processes.

    The second is missing where the operating system does not tell it.
    """
    host = _short(socket.gethostname())
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        space = os.readlink("/proc/self/ns/pid")
    except (OSError, ValueError):
        return host
    return f"{host}.{_short(start + space)}"


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=4).hexdigest()
