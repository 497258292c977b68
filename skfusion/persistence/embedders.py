"""Attributes of embedders that are written in another form: stores and weights."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from skfusion.persistence.stores import EmbeddingsReference

if TYPE_CHECKING:
    from skfusion.persistence.lowering import Lowering

__all__ = ["changed_attributes"]

_EMBEDDERS = {
    "ImageEmbedder": "skfusion.image.embedding.embedder",
    "TextEmbedder": "skfusion.text.embedder",
}


def changed_attributes(part: Any, lowering: Lowering) -> dict[str, Any]:
    """Return the attributes of an embedder that a file has in another form.

    A store is a reference without a path. The path of a file of weights is its name,
    because the weights are in the file of the model.

    Parameters
    ----------
    part : any
        An embedder. Other objects change nothing.
    lowering : Lowering
        The conversion that met it.
    """
    if not _is_a("ImageEmbedder", part) and not _is_a("TextEmbedder", part):
        return {}
    changed: dict[str, Any] = {}
    if isinstance(part.store, str | os.PathLike):
        lowering.sink.tell("stores", {"kind": "embeddings"})
        changed["store"] = EmbeddingsReference()
    if _is_a("TextEmbedder", part):
        _tell_text_encoder(part, lowering)
        return changed
    if hasattr(part, "fingerprint_"):
        from skfusion.persistence.networks import carried_weights

        with lowering.at(".backbone"):
            carried = carried_weights(part, lowering)
        if carried is not None:
            changed["_carried"] = carried
    if part.weights is not None and not part.weights_are_named:
        changed["weights"] = PurePath(part.weights).name
        if hasattr(part, "_network_of_fit"):
            first, _, *rest = part._network_of_fit
            changed["_network_of_fit"] = (first, changed["weights"], *rest)
    return changed


def _is_a(name: str, part: Any) -> bool:
    kind = getattr(sys.modules.get(_EMBEDDERS[name]), name, None)
    return kind is not None and isinstance(part, kind)


def _tell_text_encoder(part: Any, lowering: Lowering) -> None:
    if hasattr(part, "fingerprint_"):
        name = part.encoder if isinstance(part.encoder, str) else "a function"
        lowering.sink.tell(
            "encoders",
            {"kind": "text", "name": name, "fingerprint": part.fingerprint_},
        )
