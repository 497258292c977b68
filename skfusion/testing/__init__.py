"""Checks that an estimator keeps the contract of the fusion estimators."""

from skfusion.testing.estimator_checks import (
    check_fusion_estimator,
    fusion_checks_generator,
    parametrize_with_fusion_checks,
)

__all__ = [
    "check_fusion_estimator",
    "fusion_checks_generator",
    "parametrize_with_fusion_checks",
]
