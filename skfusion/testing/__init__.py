"""Checks that an estimator keeps the contract of the fusion estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.testing.estimator_checks import (
        check_fusion_estimator as check_fusion_estimator,
        fusion_checks_generator as fusion_checks_generator,
        parametrize_with_fusion_checks as parametrize_with_fusion_checks,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.testing.estimator_checks": [
            "check_fusion_estimator",
            "fusion_checks_generator",
            "parametrize_with_fusion_checks",
        ],
    },
)
