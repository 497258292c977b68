"""Input data of a joint network, and batched evaluation of the network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfusion.fusion.joint.bags import BagRows
from skfusion.image.embedding.pixels import PixelFile

__all__ = ["NetInputs", "PixelRows", "Sample"]


class PixelRows:
    """Images on disk that are read and prepared batch by batch.

    Parameters
    ----------
    pixels : PixelFile
        The images.
    prepare : callable
        Function from images (B, 3, H, W) on their own scale to inputs of the network.
    index : ndarray of int or None, default=None
        Positions of the images that form the rows. None uses all images.
    """

    def __init__(
        self,
        pixels: PixelFile,
        prepare: Callable[[Tensor], Tensor],
        index: np.ndarray | None = None,
    ) -> None:
        self.pixels = pixels
        self.prepare = prepare
        self.index = np.arange(len(pixels)) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, followed by the shape of an image."""
        return (len(self), *self.pixels.shape[1:])

    def rows(self, index: np.ndarray) -> PixelRows:
        """Return some of the rows without reading them."""
        return PixelRows(self.pixels, self.prepare, self.index[index])

    def fetch(self, rows: np.ndarray) -> Tensor:
        """Read and prepare some rows."""
        return self.prepare(self.pixels.read(self.index[rows]))


@dataclass(frozen=True)
class NetInputs:
    """Inputs of a joint network: one array per modality, and the presence.

    Attributes
    ----------
    arrays : dict of str to ndarray of shape (n_samples, ...), PixelRows or BagRows
        Finite values. Those in the rows of an absent modality are never used.
    presence : ndarray of bool of shape (n_samples, M)
        Presence of each modality in each row.
    """

    arrays: dict[str, np.ndarray | PixelRows | BagRows]
    presence: np.ndarray

    def rows(self, index: np.ndarray) -> NetInputs:
        """Return the inputs of some rows."""
        arrays = {
            name: array[index] if isinstance(array, np.ndarray) else array.rows(index)
            for name, array in self.arrays.items()
        }
        return NetInputs(arrays, self.presence[index])

    def fetch(self, rows: np.ndarray) -> tuple[dict[str, Any], Tensor]:
        """Return a batch as tensors: the arrays by name, and the presence."""
        batch = {
            name: torch.from_numpy(array[rows])
            if isinstance(array, np.ndarray)
            else array.fetch(rows)
            for name, array in self.arrays.items()
        }
        return batch, torch.from_numpy(self.presence[rows])

    def __len__(self) -> int:
        return len(self.presence)


@dataclass(frozen=True)
class Sample:
    """Rows for training or validation.

    Attributes
    ----------
    inputs : NetInputs
        Inputs of the network.
    y : ndarray of shape (n_samples, ...)
        Target in the form that the loss accepts, e.g. class numbers or an indicator
        matrix (int64), or standardised numbers.
    weight : ndarray of shape (n_samples,)
        Sample weights, greater than 0.
    auxiliary : ndarray of shape (n_samples,) or None
        Auxiliary target, as encoded by `AuxiliaryTarget`.
    """

    inputs: NetInputs
    y: np.ndarray
    weight: np.ndarray
    auxiliary: np.ndarray | None = None

    def rows(self, index: np.ndarray) -> Sample:
        """Return some of the rows."""
        extra = None if self.auxiliary is None else self.auxiliary[index]
        return Sample(self.inputs.rows(index), self.y[index], self.weight[index], extra)

    def __len__(self) -> int:
        return len(self.y)


PREDICTION_BATCH_SIZE = 256
MAP_BATCH_SIZE = 32  # smaller, as an image or feature map has thousands of values


def outputs_of(
    network: nn.Module,
    function: Callable[..., Tensor],
    inputs: NetInputs,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Evaluate a function of a network in batches and without gradients.

    Parameters
    ----------
    network : torch.nn.Module
        Network on the CPU and in evaluation mode. It is not moved.
    function : callable
        Function of the network, a dict of tensors and the presence tensor of a batch.
    inputs : NetInputs
        The rows.
    device : torch.device or str, default="cpu"
        Device of the computation.

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    device = torch.device(device)
    if device.type != "cpu":
        network = copy.deepcopy(network).to(device)
    has_maps = any(len(array.shape) > 2 for array in inputs.arrays.values())
    size = MAP_BATCH_SIZE if has_maps else PREDICTION_BATCH_SIZE
    parts = []
    with torch.inference_mode():
        for start in range(0, len(inputs), size):
            rows = np.arange(start, min(start + size, len(inputs)))
            batch, present = _to_device(inputs.fetch(rows), device)
            parts.append(function(network, batch, present).cpu().numpy())
    return np.concatenate(parts)


def _to_device(x: Any, device: Any) -> Any:
    if isinstance(x, dict):
        return {name: _to_device(value, device) for name, value in x.items()}
    if isinstance(x, tuple):
        return tuple(_to_device(value, device) for value in x)
    return x.to(device)
