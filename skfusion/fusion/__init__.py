"""Early, late and joint fusion estimators."""

from __future__ import annotations

import importlib
from typing import Any

# on first use only: they load torch
_EXPORTS = {
    "GRUDEncoder": "skfusion.fusion.joint.encoders",
    "ImageAugmentation": "skfusion.fusion.joint.augmentation",
    "SequenceTransformer": "skfusion.fusion.joint.encoders",
    "TorchEncoder": "skfusion.fusion.joint.encoders",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.fusion' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
