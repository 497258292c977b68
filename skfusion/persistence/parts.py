"""Parts of a model file beside the graph of its objects, as they are written and read.

Weights of networks, boosters and references to stores are no plain objects. Whoever
meets one while a model is taken apart gives its bytes to a `PartSink`. Whoever makes it
again asks a `PartSource`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from skfusion.persistence.archive import ModelFileError

__all__ = ["PartSink", "PartSource", "StoreChoice"]


@dataclass
class PartSink:
    """The parts of a file that is written.

    Attributes
    ----------
    parts : dict of str to bytes
        Content by name.
    facts : dict of str to list
        What the manifest tells of them, such as the encoders and stores.
    embed_weights : bool
        Whether the weights of named networks are written, too.
    tensors : tuple of str and dict of str to Tensor, or None
        Name and tensors of the part that is being filled.
    known_tensors : dict of tuple to tuple
        Part and key of each tensor that was written, by its content.
    """

    parts: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, list[Any]] = field(default_factory=dict)
    embed_weights: bool = False
    tensors: tuple[str, dict[str, Any]] | None = None
    known_tensors: dict[tuple[Any, ...], tuple[str, str]] = field(default_factory=dict)

    def new_name(self, folder: str, suffix: str) -> str:
        """Return the name of the next part in a folder, and reserve it."""
        number = sum(name.startswith(f"{folder}/") for name in self.parts)
        name = f"{folder}/{number:04d}{suffix}"
        self.parts[name] = b""
        return name

    def add(self, folder: str, suffix: str, content: bytes) -> str:
        """Add a part, and return its name."""
        name = self.new_name(folder, suffix)
        self.parts[name] = content
        return name

    def tell(self, kind: str, fact: Any) -> None:
        """Add a fact to the manifest, once."""
        known = self.facts.setdefault(kind, [])
        if fact not in known:
            known.append(fact)


@dataclass(frozen=True)
class StoreChoice:
    """Where the stores are that a model refers to.

    Attributes
    ----------
    embeddings : "default", path or EmbeddingStore
        Store of embeddings.
    folders : tuple of Path
        Folders in which a store of events is looked up.
    """

    embeddings: Any = "default"
    folders: tuple[Any, ...] = ()


@dataclass
class PartSource:
    """The parts of a file that is read.

    Attributes
    ----------
    read : callable
        Function from the name of a part to its bytes.
    stores : StoreChoice
        Where the stores are.
    absent_devices : set of str
        Devices of the model that are not on this machine.
    """

    read: Callable[[str], bytes]
    stores: StoreChoice = field(default_factory=StoreChoice)
    opened: dict[str, Any] = field(default_factory=dict)
    absent_devices: set[str] = field(default_factory=set)

    def part(self, name: Any, folder: str) -> bytes:
        """Return a part of a folder.

        Raises
        ------
        ModelFileError
            If the name is not that of a part in this folder.
        """
        if not isinstance(name, str) or not name.startswith(f"{folder}/"):
            raise ModelFileError(
                f"the file is refused: it refers to {name!r}, which is no part in "
                f"{folder}/."
            )
        return self.read(name)
