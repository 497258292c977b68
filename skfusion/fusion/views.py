"""Changed images for training, other ones in every epoch, and for prediction, the same.

Read next: `skfusion.fusion.augmentation`, what is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from skfusion.fusion.augmentation import batch_augmentation
from skfusion.fusion.inputs import augmented
from skfusion.fusion.rows import NetInputs, Sample
from skfusion.fusion.seeding import find_device, seeded_torch
from skfusion.fusion.training import Precision

__all__ = ["augmented_sample", "test_time_views"]


def augmented_sample(
    model: Any,
    parts: Sequence[Any],
    sample: Sample,
    X: pd.DataFrame,
    precision: Precision,
) -> Sample:
    """Replace the images of a training sample by ones that change in each epoch.

    Parameters
    ----------
    model : joint fusion estimator
        Its `augmentation` is asked for.
    parts : sequence of BlockInput, ImageInput and the like
        One per modality, fitted.
    sample : Sample of n rows
        The rows to train on.
    X : DataFrame of shape (n, n_columns)
        The same rows of the cohort.
    precision : Precision
        How and where frozen trunks are run.

    Returns
    -------
    Sample
    """
    augment = batch_augmentation(model.augmentation, type(model).__name__)
    return replace(
        sample, inputs=augmented(parts, sample.inputs, X, augment, precision)
    )


def test_time_views(
    model: Any, parts: Sequence[Any], inputs: NetInputs, X: pd.DataFrame
) -> Iterator[NetInputs]:
    """Give the inputs with images changed, once for each view.

    A view changes every image in the same way, so that what is predicted of a row does
    not depend on the rows around it.

    Parameters
    ----------
    model : joint fusion estimator
        Its `augmentation` and `test_time_views` are asked for.
    parts, inputs, X
        As in `skfusion.fusion.inputs.augmented`.

    Yields
    ------
    NetInputs
    """
    augment = batch_augmentation(model.augmentation, type(model).__name__)
    if augment is None:
        return
    precision = Precision.resolve("float32", find_device(model.device), is_light=False)
    for view in range(model.test_time_views):
        change = _same_for_all(augment, view)
        yield augmented(parts, inputs, X, change, precision)


def _same_for_all(
    augment: Callable[[Tensor], Tensor], seed: int
) -> Callable[[Tensor], Tensor]:
    def change(images: Tensor) -> Tensor:
        changed = []
        for image in images:
            with seeded_torch(seed):
                changed.append(augment(image[None]))
        return torch.cat(changed)

    return change
