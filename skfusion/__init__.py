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
    "ComorbidityEncoder": "skfusion.ehr.comorbidity_encoder",
    "EarlyFusionClassifier": "skfusion.fusion.early",
    "EarlyFusionRegressor": "skfusion.fusion.early",
    "EarlyFusionSurvival": "skfusion.fusion.early_survival",
    "EmbeddingStore": "skfusion.image.store",
    "EventGrid": "skfusion.ehr.event_grid",
