"""Immutable handles to folders on disk, shared by clones, processes and pickles."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from skfusion._paths import cache_folder

__all__ = ["FolderHandle"]


class FolderHandle:
    """Immutable handle to a folder, identified by the fingerprint of its content.

    A pickle contains the path and the fingerprint only. It is loaded without reading
    the folder, which may be missing or elsewhere. The folder is looked up when it is
    used: at its absolute path, at the relative path that was given, and in the cache
    folder.
    """

    path: Path
    fingerprint: str
    given: str | None
    #: Name of the subfolder of the cache folder.
    _kind: str
    #: Name of the file that identifies a folder of this kind.
    _manifest: str

    def _point_to(self, path: Path, fingerprint: str, given: Any = None) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "fingerprint", fingerprint)
        is_relative = given is not None and not os.path.isabs(given)
        object.__setattr__(self, "given", os.fspath(given) if is_relative else None)

    def _folder(self) -> Path:
        """Return the folder, looking it up if it is no longer at its path."""
        if (self.path / self._manifest).exists():
            return self.path
        places = [cache_folder() / self._kind / self.fingerprint]
        if self.given is not None:
            places.insert(0, Path(os.path.abspath(self.given)))
        for place in places:
            if (place / self._manifest).exists():
                object.__setattr__(self, "path", place)
                break
        return self.path

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"{type(self).__name__} is immutable. Create a new one instead."
        )

    def __sklearn_clone__(self) -> Self:
        return self

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @classmethod
    def at(cls, path: str, fingerprint: str, given: str | None = None) -> Self:
        """Create a handle whose folder is read when it is used."""
        handle = cls.__new__(cls)
        handle._point_to(Path(path), fingerprint, given)
        return handle

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = type(self), str(self.path), self.fingerprint, self.given
        return _restored, arguments

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)


def _restored(
    kind: type[FolderHandle], path: str, fingerprint: str, given: str | None
) -> FolderHandle:
    """Return a handle from a pickle."""
    return kind.at(path, fingerprint, given)
