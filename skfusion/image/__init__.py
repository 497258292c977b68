"""Images: from a cell of a table to an embedding.

Importing this package loads neither torch nor Pillow nor pydicom.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> the module that defines it, imported on first use
_EXPORTS = {
    "EmbeddingStore": "skfusion.store.embedding_store",
    "ImageEmbedder": "skfusion.image.embedding.embedder",
    "ImageReadError": "skfusion.image.reading.files",
    "MedicalImage": "skfusion.image.reading.read",
    "RadiomicsEncoder": "skfusion.image.radiomics.encoder",
    "read_image": "skfusion.image.reading.read",
    "read_metadata": "skfusion.image.reading.metadata",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.image' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
