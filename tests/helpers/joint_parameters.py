"""Parameters of joint fusion from flat keywords, as tests write them."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from skfusion import ImageEmbedder
from skfusion.fusion import TrainingSettings

OF_TRAINING = set(TrainingSettings().get_params())


def joint_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Put settings of the training into `training`, `trainable` into the embedders."""
    own = {k: v for k, v in parameters.items() if k not in OF_TRAINING}
    training = {k: v for k, v in parameters.items() if k in OF_TRAINING}
    if training:
        own["training"] = TrainingSettings(**training)
    part = own.pop("trainable", None)
    if part is not None and not isinstance(own["modalities"], str):
        own["modalities"] = [
            (name, with_trainable(transformer, part), columns)
            for name, transformer, columns in own["modalities"]
        ]
    return own


def with_trainable(transformer: Any, part: Any) -> Any:
    if not isinstance(transformer, ImageEmbedder):
        return transformer
    return clone(transformer).set_params(trainable=part)
