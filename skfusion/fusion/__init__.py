"""Early, late and joint fusion estimators."""

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
    from skfusion.fusion.joint.augmentation import (
        ImageAugmentation as ImageAugmentation,
    )
    from skfusion.fusion.joint.encoders import (
        GRUDEncoder as GRUDEncoder,
        SequenceTransformer as SequenceTransformer,
        TorchEncoder as TorchEncoder,
    )
    from skfusion.fusion.joint.estimators import (
        JointFusionClassifier as JointFusionClassifier,
        JointFusionRegressor as JointFusionRegressor,
        JointFusionSurvival as JointFusionSurvival,
    )
    from skfusion.fusion.joint.settings import TrainingSettings as TrainingSettings
    from skfusion.fusion.late.estimators import (
        LateFusionClassifier as LateFusionClassifier,
        LateFusionRegressor as LateFusionRegressor,
        LateFusionSurvival as LateFusionSurvival,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.fusion.early.estimators": [
            "EarlyFusionClassifier",
            "EarlyFusionRegressor",
            "EarlyFusionSurvival",
        ],
        "skfusion.fusion.early.model_features": ["ModelFeatures"],
        "skfusion.fusion.joint.augmentation": ["ImageAugmentation"],
        "skfusion.fusion.joint.encoders": [
            "GRUDEncoder",
            "SequenceTransformer",
            "TorchEncoder",
        ],
        "skfusion.fusion.joint.settings": ["TrainingSettings"],
        "skfusion.fusion.joint.estimators": [
            "JointFusionClassifier",
            "JointFusionRegressor",
            "JointFusionSurvival",
        ],
        "skfusion.fusion.late.estimators": [
            "LateFusionClassifier",
            "LateFusionRegressor",
            "LateFusionSurvival",
        ],
    },
    submodules=["early", "joint", "late", "selection"],
)
