"""Early, late and joint fusion estimators. Read next: `skfusion.fusion.base`."""

from __future__ import annotations

import importlib
from typing import Any

# on first use only: they load torch
_EXPORTS = {
    "GRUDEncoder": "skfusion.fusion.sequence_encoders",
    "ImageAugmentation": "skfusion.fusion.augmentation",
    "SequenceTransformer": "skfusion.fusion.sequence_encoders",
    "TorchEncoder": "skfusion.fusion.torch_encoder",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.fusion' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
