"""skfusion: fuse medical images with EHR data, the scikit-learn way.

The public names are resolved on first use, so that ``import skfusion`` loads neither
torch nor xgboost nor shap. Read next: `skfusion.modality`, the data contract.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("skfusion")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

# public name -> the module that defines it
_EXPORTS = {
    "ComorbidityEncoder": "skfusion.ehr.tabular.comorbidity_encoder",
    "EarlyFusionClassifier": "skfusion.fusion.early.estimators",
    "EarlyFusionRegressor": "skfusion.fusion.early.estimators",
    "EarlyFusionSurvival": "skfusion.fusion.early.estimators",
    "EmbeddingStore": "skfusion.store.embedding_store",
    "EventGrid": "skfusion.ehr.event_grid",
    "EventStore": "skfusion.ehr.events.store",
    "EventWindows": "skfusion.ehr.windows.event_windows",
    "FusionComparison": "skfusion.evaluation.comparison.results",
    "GeneticSelector": "skfusion.fusion.selection.genetic",
    "GiniSelector": "skfusion.fusion.selection.univariate",
    "ImageEmbedder": "skfusion.image.embedding.embedder",
    "ImageSaliency": "skfusion.inspection.images.saliency",
    "JointFusionClassifier": "skfusion.fusion.joint.estimators",
    "JointFusionRegressor": "skfusion.fusion.joint.estimators",
    "JointFusionSurvival": "skfusion.fusion.joint.estimators",
    "LateFusionClassifier": "skfusion.fusion.late.estimators",
    "LateFusionRegressor": "skfusion.fusion.late.estimators",
    "LateFusionSurvival": "skfusion.fusion.late.estimators",
    "LeakageAudit": "skfusion.ehr.audit",
    "ModalityDisplay": "skfusion.inspection.modalities.importance",
    "ModalityImportance": "skfusion.inspection.modalities.importance",
    "MRMRSelector": "skfusion.fusion.selection.mrmr",
    "ModalityScoresDisplay": "skfusion.inspection.plots.display",
    "ModelFeatures": "skfusion.fusion.early.model_features",
    "ObservedScaler": "skfusion.ehr.tabular.observed",
    "SaliencyDisplay": "skfusion.inspection.images.saliency",
    "RadiomicsEncoder": "skfusion.image.radiomics.encoder",
    "TabularEncoder": "skfusion.ehr.tabular.encoder",
    "TorchEncoder": "skfusion.fusion.joint.encoders",
    "XGBoostSurvival": "skfusion.fusion.survival",
    "compare_fusion": "skfusion.evaluation.comparison.comparison",
    "explain_features": "skfusion.inspection.features.explain",
    "explain_images": "skfusion.inspection.images.saliency",
    "read_image": "skfusion.image.reading.read",
}
_SUBPACKAGES = (
    "blocks",
    "datasets",
    "ehr",
    "evaluation",
    "fusion",
    "image",
    "inspection",
    "modality",
)

__all__ = sorted([*_EXPORTS, "datasets"])


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
    elif name in _SUBPACKAGES:
        value = importlib.import_module(f"skfusion.{name}")
    else:
        raise AttributeError(f"module 'skfusion' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, *_SUBPACKAGES})
