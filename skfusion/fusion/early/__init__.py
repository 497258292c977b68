"""Early fusion: one estimator on the joined features of all modalities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.fusion.early.estimators import (
        EarlyFusionClassifier as EarlyFusionClassifier,
        EarlyFusionRegressor as EarlyFusionRegressor,
        EarlyFusionSurvival as EarlyFusionSurvival,
    )
    from skfusion.fusion.early.model_features import ModelFeatures as ModelFeatures

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.fusion.early.estimators": [
            "EarlyFusionClassifier",
            "EarlyFusionRegressor",
            "EarlyFusionSurvival",
        ],
        "skfusion.fusion.early.model_features": ["ModelFeatures"],
    },
)
