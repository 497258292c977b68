"""What a modality brings to a joint net: an array to feed, and an encoder to train.

An `ImageEmbedder` gives a CNN of which the frozen trunk is run once per image and the
trainable tail becomes part of the net; a `TorchEncoder` gives its module; any other
transformer gives a block of features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from skfusion.blocks import ModalityBlocks, located_errors
from skfusion.fusion.joint.data import NetInputs, PixelRows
from skfusion.fusion.joint.encoders import TorchEncoder
from skfusion.fusion.torch_runtime import Precision
from skfusion.image.embedding.embedder import ImageEmbedder
from skfusion.image.networks.backbones import Backbone
from skfusion.image.networks.freezing import (
    SplitBackbone,
    parameter_groups,
    split_backbone,
)
from skfusion.modality import Modality, presence_mask
from skfusion.pipelines import transform_steps

__all__ = ["BlockInput", "ImageInput", "ModuleInput", "augmented", "make_input"]


def make_input(modality: Modality) -> BlockInput | ImageInput:
    """Choose what a modality brings to a joint net by its transformer.

    Parameters
    ----------
    modality : Modality
        The modality, unfitted.

    Returns
    -------
    BlockInput, ModuleInput or ImageInput
    """
    if isinstance(modality.transformer, ImageEmbedder):
        return ImageInput(modality)
    if isinstance(_last_step(modality.transformer), TorchEncoder):
        return ModuleInput(modality)
    return BlockInput(modality)


class BlockInput:
    """A modality that any transformer turns into a block of features.

    Parameters
    ----------
    modality : Modality
        The modality; `fit` replaces its transformer by a fitted clone.
    """

    #: Precision of what the net is fed.
    dtype = np.dtype(np.float64)
    #: Whether the net gets an encoder of it that is there without being asked for.
    brings_network = False
    #: Whether batch norms of that encoder follow the data in training.
    follows_data = False

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

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the tail's trainable parameters by block, in order."""
        return []

    def lr_factor(self, encoder_lr_factor: float) -> float:
        """Return what the learning rate of the tail is multiplied with."""
        return encoder_lr_factor


class ModuleInput(BlockInput):
    """A modality of numbers, whose `TorchEncoder` is trained.

    Parameters
    ----------
    modality : Modality
        The modality; its transformer is a `TorchEncoder`, or a `Pipeline` that ends in
        one. `fit` replaces it by a fitted clone.
    """

    brings_network = True

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
    ) -> None:
        """Fit the transformer on the rows that have the modality."""
        super().fit(X, y, sample_weight, groups)
        self.dtype = self._encoder.dtype
        self.follows_data = self._encoder.trainable == "all"

    def encode(self, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (n, d) of the module without NaN, and the rows that have it."""
        transformer, encoder = self.modality.transformer, self._encoder
        present = presence_mask([self.modality], X)[:, 0]
        rows = np.flatnonzero(present)
        block = np.zeros((len(X), encoder.n_features_in_), dtype=self.dtype)
        if len(rows) == 0:
            return block, present
        with located_errors(self.modality, rows):
            part = self.modality.select(X.iloc[rows])
            if isinstance(transformer, Pipeline) and len(transformer) > 1:
                part = transform_steps(transformer[:-1], part)
            values = encoder.prepare(part)
        present[rows] = ~np.isnan(values).any(axis=1)
        block[rows] = np.nan_to_num(values, copy=False, nan=0.0)
        return block, present

    def new_tail(self) -> nn.Module:
        """Return a copy of the module, to be trained."""
        return self._encoder.trainable_module()

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the tail's trainable parameters by block, in order."""
        return self._encoder.trainable_blocks()

    def lr_factor(self, encoder_lr_factor: float) -> float:
        """Return the encoder's own factor."""
        return self._encoder.lr_factor

    @property
    def _encoder(self) -> TorchEncoder:
        return _last_step(self.modality.transformer)


class ImageInput:
    """A modality of images, whose CNN is fine-tuned from a chosen depth.

    What lies before the first trainable parameter is run once per image and kept in
    the embedder's store; what lies behind becomes part of the joint net.

    Parameters
    ----------
    modality : Modality
        The modality; `fit` replaces its `ImageEmbedder` by a fitted clone.
    """

    dtype = np.dtype(np.float32)
    brings_network = True
    # A clinical cohort is too small to estimate batch norms again.
    follows_data = False

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

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

    def encode(self, X: pd.DataFrame) -> tuple[np.ndarray | PixelRows, np.ndarray]:
        """Return what the trainable tail is fed, and the rows that have it.

        Returns
        -------
        array : ndarray of float32 of shape (n, ...) or PixelRows
            Output of the frozen trunk, 0 where the image is absent; or pixels (3, H,
            W), read when they are asked for, where there is no trunk.
        presence : ndarray of bool of shape (n,)
        """
        backbone, split = self._parts()
        if split.trunk is None:
            return self._pixels(X, backbone.preprocessing.normalise)
        # The embedding itself is shared with early and late fusion. A trunk computes
        # layer by layer what it would as part of the net, to the last digit.
        is_whole = not split.fingerprint_suffix
        suffix = "" if is_whole else f"{split.fingerprint_suffix}, unfolded"
        with located_errors(self.modality, np.arange(len(X))):
            array, presence = self.modality.transformer.encode_with(
                X[self.modality.columns[0]],
                split.trunk,
                backbone.fingerprint + suffix,
                fold=is_whole,
            )
        return np.nan_to_num(array, copy=False, nan=0.0), presence

    def augmented(
        self,
        X: pd.DataFrame,
        presence: np.ndarray,
        augment: Callable[[Tensor], Tensor],
        precision: Precision,
    ) -> PixelRows:
        """Return what the tail is fed in training: changed anew whenever it is read.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            The rows to train on.
        presence : ndarray of bool of shape (n,)
            Which of them have a readable image.
        augment : callable
            From images (B, 3, H, W) to images (B, 3, H, W).
        precision : Precision
            How and where images are augmented and the trunk is run, in every epoch.
        """
        backbone, split = self._parts()
        device = precision.device
        trunk = None if split.trunk is None else copy.deepcopy(split.trunk).to(device)

        def prepare(images: Tensor) -> Tensor:
            with torch.no_grad():
                pixels = backbone.preprocessing.normalise(augment(images.to(device)))
                if trunk is None:
                    return pixels
                with precision.autocast():
                    return trunk(pixels).float()

        column = self.modality.columns[0]
        readable = X[[column]].astype(object).where(presence[:, None], None)
        return self._pixels(readable, prepare)[0]

    def new_tail(self) -> nn.Module:
        """Return a copy of the tail, to be trained."""
        return copy.deepcopy(self._parts()[1].tail)

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the tail's trainable parameters by block, in order."""
        backbone, split = self._parts()
        names = set(split.trainable)
        groups = parameter_groups(backbone.module).values()
        blocks = [[name for name in group if name in names] for group in groups]
        return [block for block in blocks if block]

    def lr_factor(self, encoder_lr_factor: float) -> float:
        """Return what the learning rate of the tail is multiplied with."""
        return encoder_lr_factor

    def _pixels(
        self, X: pd.DataFrame, prepare: Callable[[Tensor], Tensor]
    ) -> tuple[PixelRows, np.ndarray]:
        with located_errors(self.modality, np.arange(len(X))):
            pixels, presence = self.modality.transformer.read_pixels(
                X[self.modality.columns[0]]
            )
        return PixelRows(pixels, prepare), presence

    def _parts(self) -> tuple[Backbone, SplitBackbone]:
        # Rebuilt where it is needed rather than pickled with every fitted model: the
        # trunk is the same file of weights everywhere.
        if self._cached is None:
            backbone = self.modality.transformer.build()
            self._cached = (
                backbone,
                split_backbone(
                    backbone.module, self.modality.transformer.trainable_part()
                ),
            )
        return self._cached

    _cached: tuple[Backbone, SplitBackbone] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_cached"}


def augmented(
    parts: Sequence[Any],
    inputs: NetInputs,
    X: pd.DataFrame,
    augment: Callable[[Tensor], Tensor] | None,
    precision: Precision,
) -> NetInputs:
    """Replace the images by ones that change whenever they are read.

    Parameters
    ----------
    parts : sequence of BlockInput, ImageInput and the like
        One per modality, fitted.
    inputs : NetInputs of n rows
        What the network is given of these rows.
    X : DataFrame of shape (n, n_columns)
        The same rows of the cohort.
    augment : callable or None
        From images (B, 3, H, W) to images (B, 3, H, W); None leaves them as they are.
    precision : Precision
        How and where frozen trunks are run.

    Returns
    -------
    NetInputs
    """
    if augment is None:
        return inputs
    arrays = dict(inputs.arrays)
    for part, there in zip(parts, inputs.presence.T, strict=True):
        if isinstance(part, ImageInput):
            arrays[part.modality.name] = part.augmented(X, there, augment, precision)
    return replace(inputs, arrays=arrays)


def _last_step(transformer: Any) -> Any:
    return transformer[-1] if isinstance(transformer, Pipeline) else transformer
