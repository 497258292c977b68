"""Folders whose manifest has the size, times and digest of every other file.

The manifest is sealed by a digest of its own. Sizes and times are compared at each use,
which is free. The time of the last change of status (ctime) is among them, because it
cannot be set back, as the modification time can. Digests are compared where a file is
read whole, where the times differ (such as in a copied folder), and on request.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

__all__ = ["DamagedFolderError", "SealedFolder", "folder_path", "parsed", "seal"]


LEAST_FILES = 3  # Of a folder that is recognised without its manifest.


class DamagedFolderError(ValueError):
    """A file of a folder that was written by skfusion is damaged."""


def folder_path(path: Any, owner: str) -> str:
    """Return the path of a folder with an expanded home directory.

    Parameters
    ----------
    path : str or PathLike
        The path.
    owner : str
        Name of the class for messages.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If `path` is of another type.
    ValueError
        If `path` is empty or contains a null character.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise TypeError(
            f"{owner}: path must be a str or a PathLike of one, got "
            f"{type(path).__name__}."
        )
    if not text or "\0" in text:
        raise ValueError(
            f"{owner}: path must be the path of a folder, got an empty text or one "
            "with a null character."
        )
    return os.path.expanduser(text)


def seal(folder: Path, manifest: str, about: dict[str, Any]) -> None:
    """Make the files of a folder private and write its manifest.

    Parameters
    ----------
    folder : Path
        Folder with files only.
    manifest : str
        Name of the manifest.
    about : dict
        Further content of the manifest.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        os.chmod(path, 0o600)  # Before the time of the change is read.
        files[path.name] = [*_stamp(path), _digest(path)]
    content = {**about, "files": files}
    content["seal"] = _seal_of(content)
    place = folder / manifest
    place.touch(mode=0o600)
    place.write_text(json.dumps(content), encoding="utf-8")


class SealedFolder:
    """Reader of a folder that was sealed.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or has no manifest.
    DamagedFolderError
        If the manifest is damaged, or of an earlier version.
    """

    #: Class of the handle, for messages.
    owner: ClassVar[str]
    manifest: ClassVar[str]
    #: Names of all files that such a folder may have besides the manifest.
    names: ClassVar[frozenset[str]]
    #: What is missing, and how it is written again, for messages.
    nothing: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened = self._manifest_stamp()
        self._about = self._read_manifest()
        self.fingerprint: str = self._about["fingerprint"]
        self._files: dict[str, list[Any]] = self._about["files"]
        self._stamps = {name: found[:3] for name, found in self._files.items()}

    @classmethod
    def may_have(cls, names: set[str]) -> bool:
        """Return whether a folder with these files is one of ours, if a damaged one.

        A single file with a name of ours, and no manifest, may be of the user.
        """
        is_ours = cls.manifest in names or len(names) >= LEAST_FILES
        return is_ours and names <= cls.names | {cls.manifest}

    def _read_manifest(self) -> dict[str, Any]:
        try:
            text = (self.folder / self.manifest).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"{self.owner}: got a folder without {self.nothing}, {self.folder}. "
                f"{self.remedy}"
            ) from None
        except IsADirectoryError:
            raise self.damage(self.manifest) from None
        about = parsed(text)
        if not about or about.pop("seal", None) != _seal_of(about):
            raise self.damage(self.manifest)
        return about

    def damage(self, name: str) -> DamagedFolderError:
        """Return the error for a damaged file."""
        return DamagedFolderError(
            f"{self.owner}: got a damaged file {name} in {self.folder}, or one of an "
            f"earlier version. {self.remedy}"
        )

    def holds(self, name: str) -> bool:
        """Return whether the manifest has a file of this name."""
        return name in self._files

    def read_whole(self, name: str) -> bytes:
        """Return the content of a file after comparing it with its digest.

        Raises
        ------
        DamagedFolderError
            If the file is missing, or its content differs.
        """
        try:
            content = (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise self.damage(name) from None
        if hashlib.sha256(content).hexdigest() != self._files[name][3]:
            raise self.damage(name)
        return content

    def has_changed(self) -> bool:
        """Return whether sizes or times differ from those when it was opened."""
        return self._now() != self._stamps or self._manifest_stamp() != self._opened

    def check(self) -> None:
        """Raise an error if a file changed since it was written."""
        if not self.is_whole():
            self._raise_changed()

    def verify(self) -> None:
        """Raise an error if the content is not as written, reading all of it."""
        if not self.is_intact():
            self._raise_changed()

    def _raise_changed(self) -> None:
        raise DamagedFolderError(
            f"{self.owner}: got files in {self.folder} that changed since they were "
            f"written, so that features would differ. {self.remedy}"
        )

    def is_whole(self) -> bool:
        """Return whether the files are unchanged since they were written."""
        now = self._now()
        if now == self._stamps:
            return True
        if now is None or any(
            now[name][0] != found[0] for name, found in self._files.items()
        ):
            return False
        # Copying a folder changes the times but not the content.
        if not self._is_as_written():
            return False
        self._stamps = now
        return True

    def is_intact(self) -> bool:
        """Return whether the content is as written, reading all of it."""
        try:
            again = self._read_manifest()
            there = {entry.name for entry in os.scandir(self.folder)}
        except (OSError, DamagedFolderError):
            return False
        if again != self._about or (there & self.names) - self._files.keys():
            return False
        return self._is_as_written()

    def _is_as_written(self) -> bool:
        try:
            return all(
                _digest(self.folder / name) == found[3]
                for name, found in self._files.items()
            )
        except OSError:
            return False

    def _manifest_stamp(self) -> list[int]:
        try:
            return _stamp(self.folder / self.manifest)
        except OSError:
            return []

    def _now(self) -> dict[str, list[int]] | None:
        try:
            return {name: _stamp(self.folder / name) for name in self._files}
        except OSError:
            return None


def parsed(text: bytes) -> dict[str, Any]:
    """Return the object in a JSON text, an empty one for any other content."""
    try:
        found = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _seal_of(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    state = path.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
