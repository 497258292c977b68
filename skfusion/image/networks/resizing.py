"""Geometry of resizing: from images of any shape to the square input of a network.

Libraries resize the whole image to a square, or keep its aspect ratio and crop or pad.
The rounding of lengths follows torchvision, transformers and timm, so that the result
is theirs to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError

__all__ = ["RESIZE_MODES", "centred", "original_map", "resized", "scaled_shape"]


RESIZE_MODES = ("squash", "crop", "pad")
# An image of another ratio than a scan's needs gigabytes when it is enlarged.
_MOST_EDGES = 100


def scaled_shape(shape: tuple[int, int], edge: int, mode: str) -> tuple[int, int]:
    """Return the height and width to which an image is resized before it is cropped.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    edge : int
        Length in pixels of both edges (``"squash"``), of the shorter edge (``"crop"``)
        or of the longer edge (``"pad"``).
    mode : {"squash", "crop", "pad"}
        Way of resizing.

    Returns
    -------
    (int, int)
        Height and width.

    Raises
    ------
    ImageReadError
        If the image is so narrow that its longer edge would have more than 100 times
        the length of the shorter one.

    Examples
    --------
    >>> from skfusion.image.networks.resizing import scaled_shape
    >>> scaled_shape((60, 91), 32, "crop"), scaled_shape((60, 91), 32, "pad")
    ((32, 48), (21, 32))
    """
    height, width = shape
    if mode == "squash":
        return edge, edge
    short, long = sorted(shape)
    if mode == "pad":
        ratio = long / edge
        return max(round(height / ratio), 1), max(round(width / ratio), 1)
    if long > _MOST_EDGES * short:
        raise ImageReadError(
            f"The image is {long / short:.0f} times as long as wide, at most "
            f"{_MOST_EDGES} is expected where the centre is cropped. Use "
            "resize='squash' or resize='pad'."
        )
    other = int(edge * long / short)
    return (edge, other) if height <= width else (other, edge)


def resized(
    pixels: Tensor, shape: tuple[int, int], interpolation: str, resampler: str
) -> Tensor:
    """Resize an image, with antialiasing except for ``"nearest"``.

    Parameters
    ----------
    pixels : torch.Tensor of shape (C, H, W)
        Bytes or floats.
    shape : (int, int)
        New height and width.
    interpolation : {"bilinear", "bicubic", "nearest"}
        Interpolation.
    resampler : {"torch", "pillow"}
        Library that resizes bytes. The two differ by one or two levels in a few of a
        thousand pixels.

    Returns
    -------
    torch.Tensor of shape (C, *shape)
        Bytes are rounded and clipped, floats are neither.
    """
    if tuple(pixels.shape[1:]) == shape:
        return pixels
    if resampler == "pillow" and not pixels.is_floating_point():
        return _resized_by_pillow(pixels, shape, interpolation)
    if interpolation == "nearest":
        return interpolate(pixels[None], shape, mode="nearest-exact")[0]
    return interpolate(pixels[None], shape, mode=interpolation, antialias=True)[0]


def _resized_by_pillow(
    pixels: Tensor, shape: tuple[int, int], interpolation: str
) -> Tensor:
    pillow = require("PIL.Image", "images")
    method = getattr(pillow.Resampling, interpolation.upper())
    planes = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    image = pillow.fromarray(np.ascontiguousarray(planes.numpy()))
    values = torch.from_numpy(np.array(image.resize(shape[::-1], method)))
    return values[None] if values.ndim == 2 else values.permute(2, 0, 1)


def centred(
    pixels: Tensor, size: int, fill: Sequence[float] = (0.0,), rounding: str = "nearest"
) -> Tensor:
    """Crop the centre of an image, or pad it, to a square.

    Parameters
    ----------
    pixels : torch.Tensor of shape (C, H, W)
        Bytes or floats.
    size : int
        Height and width of the square.
    fill : sequence of one or C floats, default=(0.0,)
        Value of the padding in [0, 1], also for bytes. A grey image becomes a colour
        image where the values of the channels differ.
    rounding : {"nearest", "down"}, default="nearest"
        Rounding of the position of the crop, ``"nearest"`` as in torchvision and
        ``"down"`` as in transformers.

    Returns
    -------
    torch.Tensor of shape (C, size, size)
    """
    height, width = pixels.shape[1:]
    if (height, width) == (size, size):
        return pixels
    if height < size or width < size:
        pixels = _padded(pixels, size, fill)
    top, left = (_start(length, size, rounding) for length in tuple(pixels.shape[1:]))
    return pixels[:, top : top + size, left : left + size]


def _start(length: int, size: int, rounding: str) -> int:
    half = max(length - size, 0) / 2
    return round(half) if rounding == "nearest" else int(half)


def _padded(pixels: Tensor, size: int, fill: Sequence[float]) -> Tensor:
    gaps = [max(size - length, 0) for length in tuple(pixels.shape[1:])]
    before = [gap // 2 for gap in gaps]
    sides = [before[1], gaps[1] - before[1], before[0], gaps[0] - before[0]]
    values = list(fill) if len(set(fill)) > 1 else [fill[0]] * len(pixels)
    if len(values) != len(pixels):
        pixels = pixels.expand(len(values), *pixels.shape[1:])
    if not pixels.is_floating_point():
        values = [round(255 * value) for value in values]
    channels = [
        pad(channel, sides, value=value)
        for channel, value in zip(pixels, values, strict=True)
    ]
    return torch.stack(channels)


def original_map(
    values: Tensor,
    shape: tuple[int, int],
    scaled: tuple[int, int],
    rounding: str = "nearest",
) -> Tensor:
    """Lay a map of the network's input on the original image.

    Parameters
    ----------
    values : torch.Tensor of shape (size, size)
        Map of the input of the network.
    shape : (int, int)
        Height and width of the original image.
    scaled : (int, int)
        Height and width of the resized image before it was cropped or padded, see
        `scaled_shape`.
    rounding : {"nearest", "down"}, default="nearest"
        As in `centred`.

    Returns
    -------
    torch.Tensor of shape `shape`
        The map, 0 where the image was cropped away.

    Examples
    --------
    >>> import torch
    >>> from skfusion.image.networks.resizing import original_map
    >>> original_map(torch.ones(2, 2), (2, 4), (2, 4))
    tensor([[0., 1., 1., 0.],
            [0., 1., 1., 0.]])
    """
    size = values.shape[0]
    canvas = torch.zeros(scaled, dtype=values.dtype)
    # What was padded is left out, what was cropped stays 0.
    (top, y), (left, x) = (_overlap(length, size, rounding) for length in scaled)
    height, width = (min(length, size) for length in scaled)
    canvas[y : y + height, x : x + width] = values[
        top : top + height, left : left + width
    ]
    return interpolate(canvas[None, None], shape, mode="bilinear")[0, 0]


def _overlap(length: int, size: int, rounding: str) -> tuple[int, int]:
    """Return where the common part starts in the input and in the resized image."""
    return max(size - length, 0) // 2, _start(length, size, rounding)
