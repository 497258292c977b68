"""Image processors of Hugging Face: their settings, and a comparison with them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skfusion.image.networks.preprocessing import Preprocessing
from skfusion.image.networks.statements.statement import (
    Statement,
    as_floats_of,
    as_size,
    edge_of,
    get,
    make_statement,
    note_on_crop,
)
from skfusion.image.reading.read import read_image

__all__ = ["notes_on_processor", "of_processor"]


_CONVNEXT_LARGE = 384  # from this size on, ConvNeXT images are not cropped
# Mean difference of the normalised pixels. Rounding to levels is below 0.005.
_TOLERANCE = 0.02


def of_processor(processor: Any, where: str, notes: list[str]) -> Statement:
    """Read an image processor of Hugging Face, or its settings.

    Parameters
    ----------
    processor : object or mapping
        The processor.
    where : str
        Name of the statement, for messages.
    notes : list of str
        Warnings. What is replaced is added.

    Returns
    -------
    Statement

    Raises
    ------
    ValueError
        If it is incomplete or has no equivalent.
    """
    for key in ("rescale_offset", "do_flip_channel_order"):
        if get(processor, (key,)):
            raise ValueError(
                f"{where} has {key}=True, which has no equivalent. Set a "
                "skfusion.image.Preprocessing with the resulting mean and std."
            )
    resample = get(processor, ("resample",))
    mean: Any = (0.0,)
    std: Any = (1.0,)
    if get(processor, ("do_normalize",)) is not False:
        mean, std = get(processor, ("image_mean",)), get(processor, ("image_std",))
        if mean is None or std is None:
            raise ValueError(f"{where} has no image_mean or no image_std.")
    # Its images are in [0, 255] before rescaling, those of skfusion in [0, 1].
    factor = 1.0
    if get(processor, ("do_rescale",)) is not False:
        factor = get(processor, ("rescale_factor",)) or 1 / 255
    mean, std = as_floats_of(mean, "mean", where), as_floats_of(std, "std", where)
    if get(processor, ("include_top",)):  # EfficientNet divides twice
        std = tuple(value**2 for value in std)
    scale = 255 * factor
    if abs(scale - 1) > 1e-6:
        mean = tuple(value / scale for value in mean)
        std = tuple(value / scale for value in std)
    interpolation = "bilinear" if resample is None else resample
    read = make_statement(None, mean, std, interpolation, where, notes)
    return _with_processor_size(read, processor, where, notes)


def _with_processor_size(
    read: Statement, processor: Any, where: str, notes: list[str]
) -> Statement:
    """Add the resizing of an image processor of Hugging Face."""
    crops = bool(get(processor, ("do_center_crop",)))
    size = get(processor, ("size",))
    target = get(processor, ("crop_size",)) if crops else size
    shortest, longest = get(size, ("shortest_edge",)), get(size, ("longest_edge",))
    keeps_ratio = shortest is not None and get(size, ("height",)) is None
    # A number is of releases before sizes had keys.
    if isinstance(size, numbers.Integral) and crops:
        keeps_ratio = get(processor, ("default_to_square",)) is not True
    read = replace(
        read,
        size=as_size(target, where),
        mode="crop" if keeps_ratio else "squash",
        options=_arithmetic_of(processor),
        refused=_refused_by_processor(processor, longest),
    )
    share = get(processor, ("crop_pct",))
    if keeps_ratio and share is not None and not crops:  # ConvNeXT
        if shortest < _CONVNEXT_LARGE:
            return replace(read, crop_pct=float(share))
        return replace(read, mode="squash")
    if get(processor, ("do_resize",)) is False:
        notes.append(
            f"{where} states do_resize=False. Images are resized to the input size."
        )
    elif crops and size is not None:
        return replace(read, edge=edge_of(size, where))
    elif keeps_ratio:
        notes.append(note_on_crop(where))
    return read


def _refused_by_processor(processor: Any, longest: Any) -> str:
    if longest is not None or get(get(processor, ("size",)), ("max_height",)):
        return "limits the longer edge of the image, which gives inputs of any shape."
    if get(processor, ("do_pad",)):
        return "pads the image at the right and at the bottom."
    return ""


def _arithmetic_of(processor: Any) -> dict[str, Any]:
    """Return what a processor of Hugging Face resizes with, and in which order."""
    name = type(processor).__name__
    if isinstance(processor, Mapping):
        name = str(processor.get("image_processor_type", ""))
    options: dict[str, Any] = {"clip": False, "crop_rounding": "down"}
    if name.startswith("DINOv3"):
        return options | {"rescale_first": True}
    stated = get(processor, ("backend",))
    of_class = isinstance(processor, Mapping) or name.endswith("Fast")
    is_torch = stated == "torchvision" if isinstance(stated, str) else of_class
    return options if is_torch else options | {"resampler": "pillow"}


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
