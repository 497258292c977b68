"""Fusion estimators for censored times, and gradient-boosted survival models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.fusion.early.estimators import (
        EarlyFusionSurvival as EarlyFusionSurvival,
    )
    from skfusion.fusion.joint.estimators import (
        JointFusionSurvival as JointFusionSurvival,
    )
    from skfusion.fusion.late.estimators import LateFusionSurvival as LateFusionSurvival
    from skfusion.fusion.survival import XGBoostSurvival as XGBoostSurvival

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.fusion.early.estimators": ["EarlyFusionSurvival"],
        "skfusion.fusion.joint.estimators": ["JointFusionSurvival"],
        "skfusion.fusion.late.estimators": ["LateFusionSurvival"],
        "skfusion.fusion.survival": ["XGBoostSurvival"],
    },
)
