"""Joint fusion: end-to-end training of modality encoders and a prediction head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
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

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
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
    },
)
