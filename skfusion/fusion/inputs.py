"""What a joint net is fed: one array per modality, made by a transformer or a trunk.

An `ImageEmbedder` gives a CNN of which the frozen trunk is run once per image and the
trainable tail becomes part of the net; any other transformer gives a block of features.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from torch import nn

from skfusion.blocks import ModalityBlocks, located_errors
from skfusion.image.backbones import Backbone
from skfusion.image.splitting import SplitBackbone, split_backbone
from skfusion.modality import Modality

__all__ = ["BlockInput", "ImageInput"]


class BlockInput:
    """A modality that any transformer turns into a block of features.

    Parameters
    ----------
    modality : Modality
        The modality; `fit` replaces its transformer by a fitted clone.
    """

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
    ) -> None:
        """Fit the transformer on the rows that have the modality."""
        self._blocks = ModalityBlocks([self.modality])
        blocks = self._blocks.fit_transform(X, y, sample_weight, groups)
        self.modality = self._blocks.modalities_[0]
        block = blocks.arrays[self.modality.name]
        known = ~np.isnan(block)
        totals = np.where(known, block, 0.0).sum(axis=0)
        self._means = totals / np.maximum(known.sum(axis=0), 1)
        self.n_features = block.shape[1]

    def encode(self, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return features (n, n_features) without NaN, and the rows that have them."""
        blocks = self._blocks.transform(X)
        block = blocks.arrays[self.modality.name]
        return np.where(np.isnan(block), self._means, block), blocks.presence[:, 0]

    def new_tail(self) -> nn.Module:
        """Return what comes before the projection: nothing."""
        return nn.Identity()


class ImageInput:
    """A modality of images, whose CNN is fine-tuned from a chosen depth.

    What lies before the first trainable parameter is run once per image and kept in
    the embedder's store; what lies behind becomes part of the joint net.

    Parameters
    ----------
    modality : Modality
        The modality; `fit` replaces its `ImageEmbedder` by a fitted clone.
    trainable : str, int or list of str
        What to train of the backbone.
    """

    def __init__(self, modality: Modality, trainable: Any) -> None:
        self.modality = modality
        self.trainable = trainable

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
    ) -> None:
        """Check the images and split the backbone."""
        embedder = clone(self.modality.transformer)
        with located_errors(self.modality, np.arange(len(X))):
            embedder.fit(self.modality.select(X), y)
        self.modality = replace(self.modality, transformer=embedder)
        backbone, _ = self._parts()
        self.n_features = backbone.n_features

    def encode(self, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return what the trainable tail is fed, and the rows that have it.

        Returns
        -------
        array : ndarray of float32 of shape (n, ...)
            Output of the frozen trunk, or pixels (n, 3, H, W) where there is none; 0
            where the image is absent.
        presence : ndarray of bool of shape (n,)
        """
        backbone, split = self._parts()
        with located_errors(self.modality, np.arange(len(X))):
            array, presence = self.modality.transformer.encode_with(
                X[self.modality.columns[0]],
                split.trunk,
                backbone.fingerprint + split.fingerprint_suffix,
            )
        return np.nan_to_num(array, copy=False, nan=0.0), presence

    def new_tail(self) -> nn.Module:
        """Return a copy of the tail, to be trained."""
        return copy.deepcopy(self._parts()[1].tail)

    def _parts(self) -> tuple[Backbone, SplitBackbone]:
        # Rebuilt where it is needed rather than pickled with every fitted model: the
        # trunk is the same file of weights everywhere.
        if self._cached is None:
            backbone = self.modality.transformer.build()
            self._cached = backbone, split_backbone(backbone.module, self.trainable)
        return self._cached

    _cached: tuple[Backbone, SplitBackbone] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_cached"}
