"""Comparison of a stated preprocessing with the image processor that states it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skfusion.image.networks.preprocessing import Preprocessing
from skfusion.image.reading.read import read_image

__all__ = ["notes_on_processor"]


# Mean difference of the normalised pixels. Rounding to levels is below 0.005.
_TOLERANCE = 0.02


def notes_on_processor(
    processor: Any, preprocessing: Preprocessing, where: str
) -> list[str]:
    """Compare a preprocessing with a processor of Hugging Face on an image.

    The settings of a processor do not tell what its class does with them. Classes with
    steps of their own are noticed by their result.

    Parameters
    ----------
    processor : object
        The statement. Only callable image processors are compared.
    preprocessing : Preprocessing
        What has been read from it.
    where : str
        Name of the statement, for messages.

    Returns
    -------
    list of str
        A warning if the results differ, otherwise empty.
    """
    processor = getattr(processor, "image_processor", processor)
    if not (callable(processor) and hasattr(processor, "image_mean")):
        return []
    image = _picture(preprocessing.input_size)
    try:
        found = processor(images=[image], return_tensors="pt")["pixel_values"]
        found = torch.as_tensor(found).float()
    except Exception as error:  # processors of other arguments raise any exception
        return [
            f"{where} cannot be compared with its settings, because it fails on an "
            f"image ({type(error).__name__})."
        ]
    expected = preprocessing([read_image(image)])
    if found.ndim == 4 and found.shape[1:] == expected.shape[1:]:
        difference = float((found - expected).abs().mean())
        if difference <= _TOLERANCE:
            return []
        what = f"pixels that differ by {difference:.2g} of a standard deviation"
    else:
        what = f"an input of shape {tuple(found.shape[1:])}"
    return [
        f"The class {type(processor).__name__} of {where} does more than its settings "
        f"say: on an example, it gives {what}. The settings are used. If this "
        "matters, set the attribute preprocessing to a skfusion.image.Preprocessing."
    ]


def _picture(side: int) -> np.ndarray:
    """Return a smooth colour image (H, W, 3) of bytes that is wider than high."""
    height, width = side + side // 3 + 3, side + side // 2 + 5
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = [
        np.sin(x / side * 7) + np.cos(y / side * 5),
        np.sin((x + y) / side * 4),
        np.cos((x - 2 * y) / side * 3),
    ]
    return np.stack([np.rint(127 + 60 * wave).astype(np.uint8) for wave in waves], -1)
