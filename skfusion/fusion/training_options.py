"""The parameters of joint fusion that concern training: checked, and made settings.

Read next: `skfusion.fusion.training`, which follows them.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import torch

from skfusion._validation import is_number
from skfusion.fusion.augmentation import batch_augmentation
from skfusion.fusion.schedules import EpochHook, Unfreezing, check_callbacks
from skfusion.fusion.training import PRECISIONS, Precision, TrainingSettings

__all__ = ["check_training", "network_dtype", "training_settings"]


def check_training(model: Any) -> None:
    """Refuse parameters that no training could follow, before anything is computed.

    Parameters
    ----------
    model : JointFusionClassifier or JointFusionRegressor
        Its parameters are looked at.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    TypeError
        If callbacks are none.
    """
    owner = type(model).__name__
    if not 0 <= model.validation_fraction < 1:
        raise ValueError(
            f"{owner}: validation_fraction must be at least 0 and below 1, got "
            f"{model.validation_fraction!r}."
        )
    for name in ("max_epochs", "batch_size", "patience"):
        if getattr(model, name) < 1:
            raise ValueError(
                f"{owner}: {name} must be 1 or more, got {getattr(model, name)!r}."
            )
    for name in ("lr", "encoder_lr_factor", "encoder_lr_decay", "weight_decay"):
        if not is_number(getattr(model, name)) or getattr(model, name) < 0:
            raise ValueError(
                f"{owner}: {name} must be a number of 0 or more, got "
                f"{getattr(model, name)!r}."
            )
    every = model.unfreeze_every
    if every is not None and (not isinstance(every, numbers.Integral) or every < 1):
        raise ValueError(
            f"{owner}: unfreeze_every must be None or a number of epochs from 1, got "
            f"{every!r}."
        )
    clip = model.gradient_clip
    if clip is not None and (not is_number(clip) or clip <= 0):
        raise ValueError(
            f"{owner}: gradient_clip must be None or a norm above 0, got {clip!r}."
        )
    if model.precision not in PRECISIONS:
        raise ValueError(
            f"{owner}: precision must be one of {PRECISIONS}, got {model.precision!r}."
        )
    _check_views(model, owner)
    check_callbacks(model.callbacks, model.scheduler, owner)


def _check_views(model: Any, owner: str) -> None:
    augment = batch_augmentation(model.augmentation, owner)
    views = model.test_time_views
    if not isinstance(views, numbers.Integral) or views < 0:
        raise ValueError(
            f"{owner}: test_time_views must be a number of views from 0, got {views!r}."
        )
    if views and augment is None:
        raise ValueError(
            f"{owner}: test_time_views={views} needs an augmentation, and there is "
            "none; pass augmentation='default' or one of your own."
        )


def training_settings(
    model: Any,
    parts: Sequence[Any],
    precision: Precision,
    hooks: Sequence[tuple[str, EpochHook]] = (),
) -> TrainingSettings:
    """Make the settings of one training.

    Parameters
    ----------
    model : JointFusionClassifier or JointFusionRegressor
        Its parameters have been checked.
    parts : sequence of BlockInput, ImageInput and the like
        One per modality, fitted.
    precision : Precision
        How and where to compute.
    hooks : sequence of (str, EpochHook), default=()
        Who is told of epochs beside the user's callbacks.

    Returns
    -------
    TrainingSettings
    """
    return TrainingSettings(
        max_epochs=model.max_epochs,
        batch_size=model.batch_size,
        lr=model.lr,
        weight_decay=model.weight_decay,
        patience=model.patience,
        precision=precision,
        encoder_rates=_encoder_rates(model, parts),
        unfreezing=_unfreezing(model.unfreeze_every, parts),
        scheduler=model.scheduler,
        gradient_clip=model.gradient_clip,
        callbacks=check_callbacks(
            model.callbacks, model.scheduler, type(model).__name__
        ),
        hooks=hooks,
        verbose=model.verbose,
    )


def _encoder_rates(model: Any, parts: Sequence[Any]) -> list[tuple[list[str], float]]:
    """Learning rate by block: the deeper into the encoder, the smaller."""
    rates = []
    for part in parts:
        rate = model.lr * part.lr_factor(model.encoder_lr_factor)
        for depth, block in enumerate(reversed(_blocks(part))):
            rates.append((block, rate * model.encoder_lr_decay**depth))
    return rates


def _unfreezing(every: int | None, parts: Sequence[Any]) -> Unfreezing | None:
    if every is None:
        return None
    stages = [
        [name for block in blocks for name in block]
        for blocks in zip_longest(
            *(reversed(_blocks(part)) for part in parts), fillvalue=[]
        )
    ]
    return Unfreezing(stages, int(every))


def _blocks(part: Any) -> list[list[str]]:
    """Names in the joint net of the blocks that are trained, the first one first."""
    prefix = f"encoders.x_{part.modality.name}.backbone."
    return [[prefix + name for name in block] for block in part.trainable_blocks()]


def network_dtype(
    parts: Sequence[Any], precision: str, device: torch.device
) -> torch.dtype:
    """Return the precision of a network's weights.

    Parameters
    ----------
    parts : sequence of BlockInput, ImageInput and the like
        One per modality, fitted.
    precision : str
        The user's choice.
    device : torch.device
        Where it is trained.

    Returns
    -------
    torch.dtype
        float64 where all is numbers: they are cheap enough to be computed as exactly
        as elsewhere. Else float32.
    """
    exact = all(part.dtype == "float64" for part in parts)
    if exact and precision in ("auto", "float32") and device.type != "mps":
        return torch.float64
    return torch.float32
