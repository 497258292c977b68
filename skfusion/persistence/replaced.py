"""Attributes that are written in another form: stores, weights, digests of patients."""

from __future__ import annotations

import os
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from skfusion.persistence.stores import EmbeddingsReference

if TYPE_CHECKING:
    from skfusion.persistence.lowering import Lowering

__all__ = ["changed_attributes"]

_MODULES = {
    "ImageEmbedder": "skfusion.image.embedding.embedder",
    "Seen": "skfusion.ehr.point_in_time.cases",
    "TextEmbedder": "skfusion.text.embedder",
}


def changed_attributes(part: Any, lowering: Lowering) -> dict[str, Any]:
    """Return the attributes of an object that a file has in another form.

    A store is a reference without a path. The path of a file of weights is its name,
    because the weights are in the file of the model. Digests of training rows and of
    their patients are left out: whoever has a list of patients could find them.

    Parameters
    ----------
    part : any
        A part of a model. Most change nothing.
    lowering : Lowering
        The conversion that met it.
    """
    if getattr(part, "_training_rows", None) is not None:
        return {"_training_rows": None}
    if _is_a("Seen", part):
        nobody = np.empty(0, np.uint64)
        return {"_subjects": nobody, "_rows": nobody}
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
    kind = getattr(sys.modules.get(_MODULES[name]), name, None)
    return kind is not None and isinstance(part, kind)


def _tell_text_encoder(part: Any, lowering: Lowering) -> None:
    if hasattr(part, "fingerprint_"):
        name = part.encoder if isinstance(part.encoder, str) else "a function"
        lowering.sink.tell(
            "encoders",
            {"kind": "text", "name": name, "fingerprint": part.fingerprint_},
        )
