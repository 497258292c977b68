"""Images: from a cell of a table to an embedding. Read next: `skfusion.image.reading`.

Importing this package loads neither torch nor Pillow nor pydicom.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> the module that defines it, imported on first use
_EXPORTS = {
    "EmbeddingStore": "skfusion.image.store",
    "ImageEmbedder": "skfusion.image.embedding",
    "ImageReadError": "skfusion.image.reading",
    "MedicalImage": "skfusion.image.reading",
    "RadiomicsEncoder": "skfusion.image.radiomics",
    "read_image": "skfusion.image.reading",
    "read_metadata": "skfusion.image.header",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.image' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
