"""Interpretation of the output of a network: its tensor, its channels, its noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor, nn

from skfusion.image.networks.preprocessing import Preprocessing, VolumePreprocessing
from skfusion.image.networks.process_state import ordinary_modes

__all__ = [
    "Entry",
    "Pooled",
    "channels_are_last",
    "codes_of",
    "entry_of",
    "relative_difference",
    "run",
]


# Entries of the outputs of Hugging Face networks that are embeddings, best first.
_ENTRIES = ("image_embeds", "pooler_output", "last_hidden_state")
_FORMATS = {"NCHW": False, "NHWC": True, "NLC": True, "NCL": False}
_MOST_EXTRA_TOKENS = 8  # class, distillation and register tokens
_CODE_STEP = 1e-3
_N_PROJECTIONS = 4


class Pooled(nn.Module):
    """Network with pooling over positions (B, C[, D], H, W) or tokens (B, N, C).

    Parameters
    ----------
    body : torch.nn.Module
        The network.
    pooling : {"mean", "max"}
        Statistic of the positions.
    ndim : int
        Number of axes of the output of `body`.
    channels_last : bool
        Whether the last axis holds the channels, otherwise the second.
    """

    def __init__(
        self, body: nn.Module, pooling: str, *, ndim: int, channels_last: bool
    ) -> None:
        super().__init__()
        self.body = body
        self.pooling = pooling
        first = 1 if channels_last else 2
        self.dims = tuple(range(first, first + ndim - 2))

    def forward(self, images: Tensor) -> Tensor:
        """Return one vector (C,) per image."""
        pool = torch.mean if self.pooling == "mean" else torch.amax
        return pool(self.body(images), dim=self.dims)  # (B, C)


class Entry(nn.Module):
    """Network that returns one entry of the object that another network returns.

    Parameters
    ----------
    body : torch.nn.Module
        The network.
    key : str
        Name of the entry.
    is_item : bool, default=True
        Whether the object is a mapping. Otherwise the entry is an attribute.
    """

    def __init__(self, body: nn.Module, key: str, *, is_item: bool = True) -> None:
        super().__init__()
        self.body = body
        self.key = key
        self.is_item = is_item

    def forward(self, images: Tensor) -> Tensor:
        """Return the entry."""
        output = self.body(images)
        return output[self.key] if self.is_item else getattr(output, self.key)


def entry_of(output: object) -> str | None:
    """Return the entry of a Hugging Face ``ModelOutput`` that is an embedding.

    Other objects with attributes of these names are understood as well.

    Parameters
    ----------
    output : object
        Output of a network.

    Returns
    -------
    str or None
        ``"image_embeds"``, ``"pooler_output"`` or ``"last_hidden_state"``. None if the
        output is something else or has none of them.
    """
    if isinstance(output, Mapping):
        found = dict(output) if hasattr(output, "to_tuple") else {}
    else:
        found = {key: getattr(output, key, None) for key in _ENTRIES}
    return next((key for key in _ENTRIES if found.get(key) is not None), None)


def run(module: nn.Module, images: Tensor) -> Any:
    """Run a network without gradients in one thread, which always rounds equally."""
    torch.get_num_threads()  # must be initialised before it is limited
    one_thread = threadpool_limits(1, user_api="openmp")
    with ordinary_modes(), torch.inference_mode(), one_thread:
        return module(images)


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest expected value.

    Parameters
    ----------
    found, expected : torch.Tensor
        Outputs of two networks.

    Returns
    -------
    float
        Infinity if the shapes differ, or only one of the values is not finite.

    Examples
    --------
    >>> import torch
    >>> from skfusion.image.networks.outputs import relative_difference
    >>> relative_difference(torch.tensor([4.0, 1.0]), torch.tensor([4.0, 2.0]))
    0.25
    """
    if found.shape != expected.shape:
        return math.inf
    a, b = (tensor.detach().to("cpu", torch.float64) for tensor in (found, expected))
    both = torch.isfinite(a) & torch.isfinite(b)
    odd = ~both & ~((a == b) | (a.isnan() & b.isnan()))
    if odd.any():
        return math.inf
    difference = float((a - b)[both].abs().max()) if both.any() else 0.0
    scale = float(b[both].abs().max()) if both.any() else 0.0
    return difference / scale if scale else (math.inf if difference else 0.0)


def channels_are_last(
    module: nn.Module,
    shape: tuple[int, ...],
    preprocessing: Preprocessing | VolumePreprocessing,
    name: str,
) -> bool:
    """Find out whether the channels are the last axis of an output.

    The input is square, so the two axes of a map are of equal length. If the channels
    have the same length, the network is run at twice its input size, where only
    positions change.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Its attribute ``output_fmt`` (timm) is used where the shapes do not
        tell.
    shape : tuple of int
        Shape of its output for two images, of three to five axes.
    preprocessing : Preprocessing or VolumePreprocessing
        Preprocessing of the network, with its input size.
    name : str
        Name of the network, for the message.

    Returns
    -------
    bool
        True for tokens (B, N, C) and maps (B[, D], H, W, C).

    Raises
    ------
    ValueError
        If the channels of a map cannot be found.
    """
    fmt = getattr(module, "output_fmt", None)
    stated = _FORMATS.get(str(getattr(fmt, "value", fmt)))
    if len(shape) == 3:
        return _tokens_are_first(module, shape, preprocessing, stated)
    first, last = shape[-1] == shape[-2], shape[-2] == shape[-3]
    if first != last:
        return last
    changed = _changing_axes(module, shape, preprocessing)
    if (1 in changed) != (len(shape) - 1 in changed):
        return 1 in changed
    if stated is not None:
        return stated
    raise ValueError(
        f"The backbone {name} returns an output of shape {shape} for {shape[0]} "
        "images, in which the axis of the channels is not recognisable. Set the "
        "attribute output_fmt of the module to 'NCHW' or 'NHWC', or wrap the module so "
        "that it returns one vector per image."
    )


def _tokens_are_first(
    module: nn.Module,
    shape: tuple[int, ...],
    preprocessing: Preprocessing | VolumePreprocessing,
    stated: bool | None,
) -> bool:
    """Return whether an output (B, N, C) has tokens before channels, as documented."""
    side = preprocessing.input_size
    if stated is not None:
        return stated
    if _is_number_of_patches(shape[1], side) > _is_number_of_patches(shape[2], side):
        return True
    return _changing_axes(module, shape, preprocessing) != {2}


def _is_number_of_patches(length: int, side: int) -> bool:
    """Return whether a square image has as many patches, and a few other tokens."""
    for extra in range(_MOST_EXTRA_TOKENS + 1):
        root = math.isqrt(max(length - extra, 0))
        if root > 1 and root**2 == length - extra and side % root == 0:
            return True
    return False


def _changing_axes(
    module: nn.Module,
    shape: tuple[int, ...],
    preprocessing: Preprocessing | VolumePreprocessing,
) -> set[int]:
    """Return the axes of the output that are longer for larger images."""
    images = preprocessing.example(1, scale=2)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    try:
        output = run(module, images.to(device))
    except Exception:  # a network for one size raises any exception
        return set()
    if not isinstance(output, Tensor) or output.ndim != len(shape):
        return set()
    return {i for i in range(1, len(shape)) if output.shape[i] != shape[i]}


def codes_of(output: Tensor) -> list[tuple[int, ...]]:
    """Summarise an output in a few integers that rounding rarely changes.

    Parameters
    ----------
    output : torch.Tensor
        Output of a network for a fixed batch.

    Returns
    -------
    list of tuple of int
        The logarithm of the norm, and projections on fixed random directions relative
        to the norm, in steps of 0.001. A value near the middle between two steps has
        both of them.

    Examples
    --------
    >>> import torch
    >>> from skfusion.image.networks.outputs import codes_of
    >>> codes_of(torch.ones(2, 3)) == codes_of(torch.ones(2, 3) * (1 + 1e-6))
    True
    >>> codes_of(torch.ones(2, 3)) == codes_of(torch.ones(2, 3) * 1.01)
    False
    """
    values = output.detach().to("cpu", torch.float64).reshape(-1).numpy()
    norm = float(np.linalg.norm(values))
    if not math.isfinite(norm) or norm == 0:
        return [(int(np.isnan(values).sum()), int(np.isinf(values).sum()))]
    directions = np.random.RandomState(0).standard_normal((_N_PROJECTIONS, len(values)))
    numbers = [math.log(norm), *(directions @ (values / norm)).tolist()]
    return [_rounded(number / _CODE_STEP) for number in numbers]


def _rounded(number: float) -> tuple[int, ...]:
    """Return the nearest integer, and the next one if that is almost as near."""
    nearest = round(number)
    rest = number - nearest
    if abs(rest) < 0.45:
        return (nearest,)
    return (nearest, nearest + (1 if rest > 0 else -1))
