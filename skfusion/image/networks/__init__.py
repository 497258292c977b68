"""Image networks: backbones, weights, preprocessing, freezing and inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.image.networks.backbones import (
        Backbone as Backbone,
        build_backbone as build_backbone,
    )
    from skfusion.image.networks.preprocessing import (
        Preprocessing as Preprocessing,
        VolumePreprocessing as VolumePreprocessing,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.image.networks.backbones": ["Backbone", "build_backbone"],
        "skfusion.image.networks.preprocessing": [
            "Preprocessing",
            "VolumePreprocessing",
        ],
    },
)
