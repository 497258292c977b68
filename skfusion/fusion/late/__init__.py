"""Late fusion: one model per modality, and a rule that combines their predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.fusion.late.estimators import (
        LateFusionClassifier as LateFusionClassifier,
        LateFusionRegressor as LateFusionRegressor,
        LateFusionSurvival as LateFusionSurvival,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.fusion.late.estimators": [
            "LateFusionClassifier",
            "LateFusionRegressor",
            "LateFusionSurvival",
        ],
    },
)
