"""Bags (several vectors or images in a row) whose pooling is trained.

In the shapes, B is the number of bags, S the number of all their instances, K the
largest number of instances of a bag and F the number of features of an instance.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["BagBatch", "BagRows", "GatedAttention"]


class BagBatch:
    """Instances of a batch of bags, one bag after the other.

    Parameters
    ----------
    values : Tensor of shape (S, ...)
        The instances.
    counts : Tensor of int of shape (B,)
        Number of instances of each bag, 0 for an absent one.
    """

    def __init__(self, values: Tensor, counts: Tensor) -> None:
        self.values = values
        self.counts = counts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, here: Tensor) -> BagBatch:
        """Return the bags of a boolean mask."""
        kept = torch.repeat_interleave(here, self.counts)
        return BagBatch(self.values[kept], self.counts[here])

    def to(self, device: torch.device | str) -> BagBatch:
        """Return the bags on another device."""
        return BagBatch(self.values.to(device), self.counts.to(device))

    def mask(self) -> Tensor:
        """Return which places of padded bags have an instance (B, K)."""
        longest = int(self.counts.max()) if len(self.counts) else 0
        places = torch.arange(max(1, longest), device=self.counts.device)
        return places < self.counts[:, None]


class BagRows:
    """Bags of a cohort, from which batches are taken.

    Parameters
    ----------
    values : ndarray of shape (S, ...)
        The instances that are present, in the order of the rows.
    counts : ndarray of int of shape (n_rows,)
        Number of present instances of each row.
    places : ndarray of int of shape (S,)
        Position of each instance in its cell.
    sizes : ndarray of int of shape (n_rows,)
        Number of instances in each cell, including missing ones.
    """

    def __init__(
        self,
        values: np.ndarray,
        counts: np.ndarray,
        places: np.ndarray,
        sizes: np.ndarray,
    ) -> None:
        self.values = values
        self.counts = counts
        self.places = places
        self.sizes = sizes
        self._starts = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of rows, followed by the shape of an instance."""
        return (len(self), *self.values.shape[1:])

    def rows(self, index: np.ndarray) -> BagRows:
        """Return some of the rows."""
        chosen = self._instances(index)
        return BagRows(
            self.values[chosen],
            self.counts[index],
            self.places[chosen],
            self.sizes[index],
        )

    def astype(self, dtype: np.dtype) -> BagRows:
        """Return the bags in another precision."""
        values = self.values.astype(dtype, copy=False)
        return BagRows(values, self.counts, self.places, self.sizes)

    def fetch(self, rows: np.ndarray) -> BagBatch:
        """Return some rows as a batch."""
        values = torch.from_numpy(self.values[self._instances(rows)])
        return BagBatch(values, torch.from_numpy(self.counts[rows]))

    def split(self, flat: np.ndarray) -> list[np.ndarray]:
        """Return one value per instance as one array per row, NaN where missing."""
        result = []
        for start, count, size in zip(
            self._starts, self.counts, self.sizes, strict=True
        ):
            of_row = np.full(size, np.nan)
            chosen = slice(start, start + count)
            of_row[self.places[chosen]] = flat[chosen]
            result.append(of_row)
        return result

    def _instances(self, rows: np.ndarray) -> np.ndarray:
        parts: Sequence[np.ndarray] = [
            np.arange(self._starts[row], self._starts[row] + self.counts[row])
            for row in rows
        ]
        return np.concatenate([np.zeros(0, dtype=np.intp), *parts])


class GatedAttention(nn.Module):
    """Weighted mean of the instances of a bag, with weights that are learned.

    The weight of an instance is the softmax over its bag of a score, which is linear in
    the product of a tanh and a sigmoid layer [1]_.

    Parameters
    ----------
    n_features : int
        Number of features F of an instance.
    width : int
        Width of the two layers.

    References
    ----------
    .. [1] Ilse M, Tomczak J, Welling M (2018). Attention-based deep multiple instance
       learning. ICML, PMLR 80:2127-2136.
    """

    def __init__(self, n_features: int, width: int) -> None:
        super().__init__()
        self.content = nn.Linear(n_features, width)
        self.gate = nn.Linear(n_features, width)
        self.score = nn.Linear(width, 1, bias=False)

    def weights(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return the weights (B, K) of instances (S, F) that a mask (B, K) places.

        The weights of a bag sum to 1. Those of a bag without instances are 0.
        """
        gated = torch.tanh(self.content(features)) * torch.sigmoid(self.gate(features))
        scores = self.score(gated)[:, 0]
        # Not -inf, with which the gradient of an absent bag would be NaN.
        lowest = torch.finfo(scores.dtype).min
        padded = torch.full(mask.shape, lowest, dtype=scores.dtype, device=mask.device)
        padded[mask] = scores
        return torch.softmax(padded, dim=1) * mask

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted means (B, F), 0 for a bag without instances."""
        weights = self.weights(features, mask)
        padded = features.new_zeros(*mask.shape, features.shape[1])
        padded[mask] = features
        return (weights.to(features.dtype)[:, :, None] * padded).sum(dim=1)
