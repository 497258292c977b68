"""skfusion: fuse medical images with EHR data, the scikit-learn way.

The public names are resolved on first use, so that ``import skfusion`` loads neither
torch nor xgboost nor shap. What a first study needs is here. The rest is exported by
`skfusion.fusion`, `skfusion.image`, `skfusion.text`, `skfusion.ehr`,
`skfusion.evaluation`, `skfusion.inspection`, `skfusion.persistence`,
`skfusion.survival`, `skfusion.feature_selection`, `skfusion.vectors`,
`skfusion.cohorts`, `skfusion.distributed` and
`skfusion.datasets`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports, provide

if TYPE_CHECKING:
    from skfusion.ehr.events.store import EventStore as EventStore
    from skfusion.ehr.tabular.encoder import TabularEncoder as TabularEncoder
    from skfusion.ehr.windows.event_windows import EventWindows as EventWindows
    from skfusion.evaluation.comparison.comparison import (
        compare_fusion as compare_fusion,
    )
    from skfusion.fusion.early.estimators import (
        EarlyFusionClassifier as EarlyFusionClassifier,
        EarlyFusionRegressor as EarlyFusionRegressor,
    )
    from skfusion.fusion.joint.estimators import (
        JointFusionClassifier as JointFusionClassifier,
        JointFusionRegressor as JointFusionRegressor,
    )
    from skfusion.fusion.late.estimators import (
        LateFusionClassifier as LateFusionClassifier,
        LateFusionRegressor as LateFusionRegressor,
    )
    from skfusion.image.embedding.embedder import ImageEmbedder as ImageEmbedder
    from skfusion.image.reading.read import read_image as read_image
    from skfusion.inspection.features.explain import (
        explain_features as explain_features,
    )
    from skfusion.inspection.images.saliency import explain_images as explain_images
    from skfusion.inspection.modalities.importance import (
        ModalityImportance as ModalityImportance,
    )
    from skfusion.persistence.model_file import (
        inspect_model as inspect_model,
        load as load,
        save as save,
    )
    from skfusion.store.embedding_store import EmbeddingStore as EmbeddingStore
    from skfusion.text.embedder import TextEmbedder as TextEmbedder
    from skfusion.vectors.columns import VectorColumns as VectorColumns
    from skfusion.vectors.reading import read_embeddings as read_embeddings

try:
    __version__ = version("skfusion")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

# The methods of a lower layer whose work a higher layer does.
provide({"importance_of_folds": "skfusion.inspection.modalities.fold_importance"})

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.events.store": ["EventStore"],
        "skfusion.ehr.tabular.encoder": ["TabularEncoder"],
        "skfusion.ehr.windows.event_windows": ["EventWindows"],
        "skfusion.evaluation.comparison.comparison": ["compare_fusion"],
        "skfusion.fusion.early.estimators": [
            "EarlyFusionClassifier",
            "EarlyFusionRegressor",
        ],
        "skfusion.fusion.joint.estimators": [
            "JointFusionClassifier",
            "JointFusionRegressor",
        ],
        "skfusion.fusion.late.estimators": [
            "LateFusionClassifier",
            "LateFusionRegressor",
        ],
        "skfusion.image.embedding.embedder": ["ImageEmbedder"],
        "skfusion.image.reading.read": ["read_image"],
        "skfusion.inspection.features.explain": ["explain_features"],
        "skfusion.inspection.images.saliency": ["explain_images"],
        "skfusion.inspection.modalities.importance": ["ModalityImportance"],
        "skfusion.persistence.model_file": ["inspect_model", "load", "save"],
        "skfusion.store.embedding_store": ["EmbeddingStore"],
        "skfusion.text.embedder": ["TextEmbedder"],
        "skfusion.vectors.columns": ["VectorColumns"],
        "skfusion.vectors.reading": ["read_embeddings"],
    },
    submodules=[
        "cohorts",
        "datasets",
        "ehr",
        "evaluation",
        "feature_selection",
        "fusion",
        "image",
        "inspection",
        "modality",
        "persistence",
        "store",
        "survival",
        "text",
        "vectors",
    ],
)
