"""Model inspection: importance of modalities, features and image regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.inspection.features.explain import (
        explain_features as explain_features,
    )
    from skfusion.inspection.images.saliency import (
        ImageSaliency as ImageSaliency,
        SaliencyDisplay as SaliencyDisplay,
        explain_images as explain_images,
    )
    from skfusion.inspection.modalities.fold_importance import (
        FoldImportance as FoldImportance,
    )
    from skfusion.inspection.modalities.importance import (
        ModalityDisplay as ModalityDisplay,
        ModalityImportance as ModalityImportance,
    )
    from skfusion.inspection.modalities.report import ModalityReport as ModalityReport
    from skfusion.inspection.modalities.results import (
        ModalityExplanation as ModalityExplanation,
        ModalityScores as ModalityScores,
    )
    from skfusion.inspection.plots.display import (
        FoldImportanceDisplay as FoldImportanceDisplay,
        ModalityScoresDisplay as ModalityScoresDisplay,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.inspection.features.explain": ["explain_features"],
        "skfusion.inspection.images.saliency": [
            "ImageSaliency",
            "SaliencyDisplay",
            "explain_images",
        ],
        "skfusion.inspection.modalities.fold_importance": ["FoldImportance"],
        "skfusion.inspection.modalities.importance": [
            "ModalityDisplay",
            "ModalityImportance",
        ],
        "skfusion.inspection.modalities.report": ["ModalityReport"],
        "skfusion.inspection.modalities.results": [
            "ModalityExplanation",
            "ModalityScores",
        ],
        "skfusion.inspection.plots.display": [
            "FoldImportanceDisplay",
            "ModalityScoresDisplay",
        ],
    },
)
