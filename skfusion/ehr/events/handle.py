"""Immutable handles to folders on disk, shared by clones, processes and pickles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

__all__ = ["FolderHandle"]


class FolderHandle:
    """Immutable handle to a folder, identified by the fingerprint of its content.

    A subclass takes ``(path, fingerprint)`` and rejects a folder of other content.
    """

    path: Path
    fingerprint: str

    def _point_to(self, path: Path, fingerprint: str) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "fingerprint", fingerprint)

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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self.path), self.fingerprint)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)
