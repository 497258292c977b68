"""Feature selection inside the `Pipeline` of a modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.fusion.selection.genetic import GeneticSelector as GeneticSelector
    from skfusion.fusion.selection.mrmr import MRMRSelector as MRMRSelector
    from skfusion.fusion.selection.univariate import GiniSelector as GiniSelector

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.fusion.selection.genetic": ["GeneticSelector"],
        "skfusion.fusion.selection.mrmr": ["MRMRSelector"],
        "skfusion.fusion.selection.univariate": ["GiniSelector"],
    },
)
