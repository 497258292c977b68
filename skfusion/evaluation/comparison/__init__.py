"""Comparison of fusion strategies by cross-validation, `compare_fusion`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.evaluation.comparison.comparison import (
        compare_fusion as compare_fusion,
    )
    from skfusion.evaluation.comparison.results import (
        FusionComparison as FusionComparison,
        load_comparison as load_comparison,
    )
    from skfusion.evaluation.comparison.validation import (
        ExternalValidation as ExternalValidation,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.evaluation.comparison.comparison": ["compare_fusion"],
        "skfusion.evaluation.comparison.results": [
            "FusionComparison",
            "load_comparison",
        ],
        "skfusion.evaluation.comparison.validation": ["ExternalValidation"],
    },
)
