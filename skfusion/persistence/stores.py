"""References to stores, which are not part of a model file.

A store of embeddings is a cache: a model that finds none computes the embeddings. A
store of events belongs to the patients of the training. A file refers to it by its
fingerprint, without its path.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from skfusion._paths import expanded_path
from skfusion.persistence.archive import ModelFileError
from skfusion.persistence.parts import PartSource, StoreChoice
from skfusion.persistence.stand_ins import StandIn
from skfusion.store.embedding_store import EmbeddingStore

if TYPE_CHECKING:
    from skfusion.persistence.lowering import Lowering

__all__ = ["EmbeddingsReference", "FolderReference", "choose_stores", "lowered"]

#: Environment variable that names stores, separated as in PATH.
VARIABLE = "SKFUSION_STORES"
#: Handles to folders, by the module that defines them.
_HANDLES = {
    "EventStore": "skfusion.ehr.events.store",
    "PreparedWindows": "skfusion.ehr.windows.prepared",
}


def choose_stores(given: Any) -> StoreChoice:
    """Return where the stores of a model are.

    Parameters
    ----------
    given : None, path, EmbeddingStore, EventStore or a list of these
        The parameter `store` of `skfusion.load`. None takes the folders that the
        environment variable ``SKFUSION_STORES`` names.

    Returns
    -------
    StoreChoice

    Raises
    ------
    TypeError
        If something else is given.

    Examples
    --------
    >>> from skfusion.persistence.stores import choose_stores
    >>> choose_stores(None).embeddings
    'default'
    """
    if given is None:
        named = os.environ.get(VARIABLE, "")
        given = [path for path in named.split(os.pathsep) if path]
    elif isinstance(given, str | os.PathLike) or not isinstance(given, Iterable):
        given = [given]
    embeddings: Any = "default"
    folders: list[Path] = []
    for one in given:
        if isinstance(one, EmbeddingStore):
            embeddings = one
        elif isinstance(one, str | os.PathLike):
            place = expanded_path(one)
            folders.append(place)
            if not _holds_events(place):
                # An open store, because opening one takes longer than reading a row.
                embeddings = EmbeddingStore(place)
        elif hasattr(one, "fingerprint") and hasattr(one, "path"):
            folders.append(Path(one.path))
        else:
            raise TypeError(
                "load: store must be a path, an EmbeddingStore, an EventStore or a "
                f"list of these, got {type(one).__name__}."
            )
    return StoreChoice(embeddings, tuple(folders))


def _holds_events(place: Path) -> bool:
    """Return whether a folder is one of events or contains such folders."""
    folders = [place, *place.glob("*")] if place.is_dir() else []
    names = ("events.json", "prepared.json")
    return any((folder / name).is_file() for folder in folders for name in names)


def lowered(part: Any, lowering: Lowering) -> StandIn | None:
    """Return the reference to a store, None for any other object.

    Parameters
    ----------
    part : any
        A part of a model.
    lowering : Lowering
        The conversion that met it.
    """
    if isinstance(part, EmbeddingStore):
        lowering.sink.tell("stores", {"kind": "embeddings"})
        return EmbeddingsReference()
    for name, module in _HANDLES.items():
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and type(part) is kind:
            fingerprint = str(part.fingerprint)
            lowering.sink.tell("stores", {"kind": name, "fingerprint": fingerprint})
            return FolderReference(name, fingerprint)
    return None


@dataclass
class EmbeddingsReference(StandIn):
    """A store of embeddings, which any other one can replace."""

    def restore(self, source: PartSource) -> Any:
        """Return the store that the user chose, or the name of the default one."""
        return source.stores.embeddings


@dataclass
class FolderReference(StandIn):
    """A folder of events or of prepared features, by its fingerprint."""

    needs_more_than_the_file: ClassVar[bool] = True

    kind: Any
    fingerprint: Any

    def restore(self, source: PartSource) -> Any:
        """Return a handle, whose folder is looked up when it is used."""
        if self.kind not in _HANDLES or not isinstance(self.fingerprint, str):
            raise ModelFileError("the file is refused: it refers to no known store.")
        handle = getattr(importlib.import_module(_HANDLES[self.kind]), self.kind)
        place = next(
            (found for found in self._places(source) if self._is_there(found, handle)),
            Path(f"store-{self.fingerprint[:8]}"),
        )
        return handle.at(str(place), self.fingerprint)

    def _places(self, source: PartSource) -> Iterable[Path]:
        for folder in source.stores.folders:
            yield folder
            if folder.is_dir():
                yield from sorted(child for child in folder.iterdir() if child.is_dir())

    def _is_there(self, place: Path, handle: Any) -> bool:
        if not (place / handle._manifest).is_file():
            return False
        try:
            return bool(handle(place).fingerprint == self.fingerprint)
        except (OSError, ValueError):  # DamagedFolderError is one.
            return False
