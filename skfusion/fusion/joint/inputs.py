"""Inputs and trainable encoders that the modalities add to a joint network.

An `ImageEmbedder` adds a CNN. Its frozen trunk is run once per image, and its trainable
tail becomes part of the network. A `TorchEncoder` adds its module. Any other
transformer adds a block of features.
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

from skfusion._fitting.pipelines import (
    last_step,
    of_modality,
    transform_steps,
    warn_of_modality,
)
from skfusion.blocks import (
    ModalityBlocks,
    check_finite_block,
    located_errors,
    weighted_means,
)
from skfusion.exceptions import FallbackWarning
from skfusion.fusion.joint.bags import BagRows
from skfusion.fusion.joint.data import NetInputs, PixelRows
from skfusion.fusion.joint.encoders import TorchEncoder
from skfusion.fusion.torch_runtime import Precision
from skfusion.image.embedding.embedder import ImageEmbedder
from skfusion.image.networks.backbones import Backbone
from skfusion.image.networks.freezing.cut import SplitBackbone, split_backbone
from skfusion.image.networks.freezing.parts import parameter_groups, trainable_names
from skfusion.image.networks.freezing.untrained import (
    frozen_note,
    obeys_owner,
    trained_elsewhere,
)
from skfusion.modality import Modality, presence_mask
from skfusion.vectors.columns import VectorColumns

__all__ = [
    "BagInput",
    "BlockInput",
    "ImageInput",
    "ModuleInput",
    "VectorInput",
    "augmented",
    "brings_network",
    "make_input",
]


def make_input(modality: Modality) -> BlockInput | ImageInput:
    """Create the input of a joint network for the transformer of a modality.

    Parameters
    ----------
    modality : Modality
        The modality, unfitted.

    Returns
    -------
    BlockInput, ModuleInput or ImageInput
    """
    return _kind_of_input(modality.transformer)(modality)


def brings_network(transformer: Any) -> bool:
    """Return whether a transformer brings a network, which is always an encoder."""
    return _kind_of_input(transformer).brings_network


def _kind_of_input(transformer: Any) -> type[BlockInput | ImageInput]:
    if isinstance(transformer, ImageEmbedder):
        return ImageInput
    if isinstance(last_step(transformer), TorchEncoder):
        return ModuleInput
    if isinstance(transformer, VectorColumns):
        return BagInput if transformer.bag_pooling == "attention" else VectorInput
    return BlockInput


class BlockInput:
    """Input of a modality whose transformer returns a block of features.

    Parameters
    ----------
    modality : Modality
        The modality. `fit` replaces its transformer by a fitted clone.
    """

    #: Precision of the inputs of the network.
    dtype = np.dtype(np.float64)
    #: Whether the transformer brings a network, which is always an encoder.
    brings_network = False
    #: Whether batch norms in the trained part of this encoder follow the data.
    follows_data = False
    #: Whether anything was learned of the modality.
    learned = True

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        """Fit the transformer on the rows with the modality.

        Steps that may use the target are not fitted on the rows of the mask `held_out`.
        """
        self._blocks = ModalityBlocks([self.modality])
        blocks = self._blocks.fit_transform(X, y, sample_weight, groups, held_out)
        self.modality = self._blocks.modalities_[0]
        block = blocks.arrays[self.modality.name]
        self._means = weighted_means(block, sample_weight)
        self.n_features = block.shape[1]
        self.learned = self.n_features > 0

    @property
    def feature_names(self) -> Sequence[Any]:
        """Names of the features that `encode` returns."""
        return list(self._blocks.feature_names_[self.modality.name])

    def absent(self) -> BlockInput:
        """Return the input of a modality of which nothing was learned."""
        part = BlockInput(self.modality)
        part._blocks, part._means = self._blocks, np.zeros(1)
        # A network layer needs at least one input, which is always replaced.
        part.n_features, part.learned = 1, False
        return part

    def encode(self, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return imputed features (n, n_features) and the presence (n,)."""
        blocks = self._blocks.transform(X)
        block = blocks.arrays[self.modality.name]
        if not self.learned:
            return np.zeros((len(X), 1)), blocks.presence[:, 0]
        return np.where(np.isnan(block), self._means, block), blocks.presence[:, 0]

    def new_tail(self) -> nn.Module:
        """Return an identity, because features have no network."""
        return nn.Identity()

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the trainable parameters of the tail by block."""
        return []

    def lr_factor(self, encoder_lr_factor: float) -> float:
        """Return the factor of the learning rate for the tail."""
        return encoder_lr_factor


class VectorInput(BlockInput):
    """Input of a modality of vectors that exist already, in their own precision.

    Parameters
    ----------
    modality : Modality
        The modality. Its transformer is a `VectorColumns`. `fit` replaces it by a
        fitted clone.
    """

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        """Fit the transformer on the rows with the modality."""
        super().fit(X, y, sample_weight, groups, held_out)
        self.dtype = self.modality.transformer.dtype_


class BagInput(BlockInput):
    """Input of a modality of bags of vectors, whose pooling is trained.

    Parameters
    ----------
    modality : Modality
        The modality. Its transformer is a `VectorColumns` with
        ``bag_pooling="attention"``. `fit` replaces it by a fitted clone.
    """

    brings_network = True

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        """Find the length of the vectors, and the means of their elements."""
        rows = np.flatnonzero(presence_mask([self.modality], X)[:, 0])
        transformer = clone(self.modality.transformer)
        with located_errors(self.modality, rows, X):
            part = self.modality.select(X.iloc[rows])
            bags = transformer.fit(part, y).bags(part)
        self.modality = replace(self.modality, transformer=transformer)
        weight = None if sample_weight is None else sample_weight[rows][bags.rows]
        self._means = weighted_means(bags.values, weight)
        self.n_features = bags.values.shape[1]
        self.dtype = bags.values.dtype

    @property
    def feature_names(self) -> Sequence[Any]:
        """Names of the elements of a vector."""
        return list(self.modality.transformer.get_feature_names_out())

    def encode(self, X: pd.DataFrame) -> tuple[Any, np.ndarray]:
        """Return the bags of imputed vectors, and the presence (n,)."""
        rows = np.arange(len(X))
        with located_errors(self.modality, rows, X):
            bags = self.modality.transformer.bags(self.modality.select(X))
            values = np.where(np.isnan(bags.values), self._means, bags.values)
            check_finite_block(values, self.feature_names, bags.rows)
        counts = np.bincount(bags.rows, minlength=len(X))
        return BagRows(values, counts, bags.places, bags.sizes), counts > 0


class ModuleInput(BlockInput):
    """Input of a numeric modality whose `TorchEncoder` is trained.

    Parameters
    ----------
    modality : Modality
        The modality. Its transformer is a `TorchEncoder`, or a `Pipeline` that ends in
        one. `fit` replaces it by a fitted clone.
    """

    brings_network = True
    follows_data = True

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        """Fit the transformer on the rows with the modality."""
        with trained_elsewhere():
            super().fit(X, y, sample_weight, groups, held_out)
        if not self.learned:
            return
        self.dtype = self._encoder.dtype
        note = self._encoder.training_note()
        if note:
            with of_modality(self.modality.name):
                warn_of_modality("frozen weights", note, FallbackWarning)

    def encode(self, X: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return imputed inputs (n, d) of the module and the presence (n,)."""
        transformer, encoder = self.modality.transformer, self._encoder
        present = presence_mask([self.modality], X)[:, 0]
        rows = np.flatnonzero(present)
        block = np.zeros((len(X), encoder.n_features_in_), dtype=self.dtype)
        if len(rows) == 0:
            return block, present
        with located_errors(self.modality, rows, X):
            part = self.modality.select(X.iloc[rows])
            if isinstance(transformer, Pipeline) and len(transformer) > 1:
                part = transform_steps(transformer[:-1], part)
            values = encoder.prepare(part)
        present[rows] = ~np.isnan(values).any(axis=1)
        block[rows] = np.nan_to_num(values, copy=False, nan=0.0)
        return block, present

    @property
    def feature_names(self) -> Sequence[Any]:
        """Names of the inputs of the module."""
        encoder = self._encoder
        unnamed = [f"input {i}" for i in range(encoder.n_features_in_)]
        return list(getattr(encoder, "feature_names_in_", unnamed))

    def new_tail(self) -> nn.Module:
        """Return a copy of the module for training."""
        return self._encoder.trainable_module()

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the trainable parameters of the tail by block."""
        return self._encoder.trainable_blocks()

    def lr_factor(self, encoder_lr_factor: float) -> float:
        """Return the factor of the learning rate that the encoder defines."""
        return self._encoder.lr_factor

    @property
    def _encoder(self) -> TorchEncoder:
        return last_step(self.modality.transformer)


class ImageInput:
    """Input of a modality of images whose CNN is fine-tuned from a chosen depth.

    The layers before the first trainable parameter (trunk) are run once per image.
    Their output is kept in the embedder's store. The following layers (tail) become
    part of the joint network.

    Parameters
    ----------
    modality : Modality
        The modality. `fit` replaces its `ImageEmbedder` by a fitted clone.
    """

    dtype = np.dtype(np.float32)
    brings_network = True
    #: Whether anything was learned of the modality.
    learned = True
    #: The outputs of a trunk have no names.
    feature_names = ()

    def __init__(self, modality: Modality) -> None:
        self.modality = modality

    def fit(
        self,
        X: pd.DataFrame,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ) -> None:
        """Check the cells and split the backbone into trunk and tail."""
        embedder = clone(self.modality.transformer)
        with located_errors(self.modality, np.arange(len(X))):
            with trained_elsewhere():
                embedder.fit(self.modality.select(X), y)
            self.modality = replace(self.modality, transformer=embedder)
            backbone, split = self.parts()
            if split.trunk is None:
                self._refuse_attention("all of its layers are trained")
            note = self._training_note()
            if note:
                warn_of_modality("frozen weights", note, FallbackWarning)
        self.n_features = backbone.n_features

    @property
    def follows_data(self) -> bool:
        """Whether batch norms in the trained part follow the data in training.

        Clinical cohorts are too small to re-estimate those of published weights.
        """
        embedder = self.modality.transformer
        return embedder.is_untrained or not isinstance(embedder.backbone, str)

    def _training_note(self) -> str:
        embedder = self.modality.transformer
        backbone, split = self.parts()
        names = [name for name, _ in backbone.module.named_parameters()]
        chosen = trainable_names(backbone.module, embedder.trainable_part())
        is_module = not isinstance(embedder.backbone, str)
        is_auto = isinstance(embedder.trainable, str) and embedder.trainable == "auto"
        return frozen_note(
            backbone.name,
            names,
            split.trainable,
            embedder.trainable,
            kept=chosen - set(split.trainable),
            random=names if embedder.is_untrained else (),
            tell=is_module and is_auto,
        )

    @property
    def attends(self) -> bool:
        """Whether the images of a row are pooled by an attention that is trained."""
        return self.modality.transformer.bag_pooling == "attention"

    def _refuse_attention(self, why: str) -> None:
        if self.attends:
            raise ValueError(
                f"{self.modality.label}: bag_pooling='attention' needs images that are "
                f"run once through frozen layers, but {why}. Set trainable='head' or "
                "'last_block' and no augmentation, or bag_pooling='mean'."
            )

    def _bags(
        self, X: pd.DataFrame, trunk: nn.Module, fingerprint: str, fold: bool
    ) -> tuple[BagRows, np.ndarray]:
        """Return the outputs of the trunk for each image, and the presence."""
        values, there, bags = self.modality.transformer.encode_each(
            X[self.modality.columns[0]], trunk, fingerprint, fold=fold
        )
        counts = np.bincount(bags.rows[there], minlength=bags.n_rows)
        rows = BagRows(values[there], counts, bags.places[there], bags.sizes)
        return rows, counts > 0

    def encode(
        self, X: pd.DataFrame
    ) -> tuple[np.ndarray | PixelRows | BagRows, np.ndarray]:
        """Return the inputs of the trainable tail and the presence.

        Returns
        -------
        array : ndarray of float32 of shape (n, ...), PixelRows or BagRows
            Output of the frozen trunk, 0 where the image is absent. Without a trunk,
            pixels (3, H, W) that are read batch by batch. With an attention, the output
            for each image.
        presence : ndarray of bool of shape (n,)
            True where the image is present and readable.
        """
        backbone, split = self.parts()
        if split.trunk is None:
            return self._pixels(X, backbone.preprocessing.normalise)
        # A complete embedding is shared with early and late fusion. A partial trunk is
        # not folded, so that its output equals that of the whole network exactly.
        is_whole = not split.fingerprint_suffix
        suffix = "" if is_whole else f"{split.fingerprint_suffix}, unfolded"
        with located_errors(self.modality, np.arange(len(X))):
            if self.attends:
                known = backbone.fingerprint + suffix
                return self._bags(X, split.trunk, known, is_whole)
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
        """Return inputs of the tail that are augmented each time they are read.

        Parameters
        ----------
        X : DataFrame of shape (n, n_columns)
            The training rows.
        presence : ndarray of bool of shape (n,)
            Whether each row has a readable image.
        augment : callable
            Function from images (B, 3, H, W) to images (B, 3, H, W).
        precision : Precision
            Precision and device of the augmentation and of the trunk, which are run in
            each epoch.
        """
        self._refuse_attention("augmented images are run in each epoch")
        backbone, split = self.parts()
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
        """Return a copy of the tail for training."""
        return copy.deepcopy(self.parts()[1].tail)

    def trainable_blocks(self) -> list[list[str]]:
        """Return the names of the trainable parameters of the tail by block."""
        backbone, split = self.parts()
        names = set(split.trainable)
        groups = parameter_groups(backbone.module).values()
        blocks = [[name for name in group if name in names] for group in groups]
        return [block for block in blocks if block]

    def lr_factor(self, encoder_lr_factor: float) -> float:
        """Return the factor of the learning rate for the tail."""
        return encoder_lr_factor

    def _pixels(
        self, X: pd.DataFrame, prepare: Callable[[Tensor], Tensor]
    ) -> tuple[PixelRows, np.ndarray]:
        with located_errors(self.modality, np.arange(len(X))):
            pixels, presence = self.modality.transformer.read_pixels(
                X[self.modality.columns[0]]
            )
        return PixelRows(pixels, prepare), presence

    def parts(self) -> tuple[Backbone, SplitBackbone]:
        """Return the backbone and its frozen and trainable parts."""
        # The backbone is rebuilt on demand and not pickled with each fitted model,
        # because its trunk always has the same weights.
        if self._cached is None:
            backbone = self.modality.transformer.build_fitted()
            part = self.modality.transformer.trainable_part()
            if backbone.kept_frozen and obeys_owner(
                self.modality.transformer.trainable
            ):
                chosen = trainable_names(backbone.module, part)
                part = sorted(chosen - set(backbone.kept_frozen))
            self._cached = (
                backbone,
                split_backbone(
                    backbone.module, part, backbone.preprocessing.example(2)
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
    """Return inputs with images that are augmented each time they are read.

    Parameters
    ----------
    parts : sequence of BlockInput, ModuleInput or ImageInput
        Fitted input of each modality.
    inputs : NetInputs of n rows
        Inputs of the network for these rows.
    X : DataFrame of shape (n, n_columns)
        The same rows of the cohort.
    augment : callable or None
        Function from images (B, 3, H, W) to images (B, 3, H, W). None leaves the inputs
        unchanged.
    precision : Precision
        Precision and device of the frozen trunks.

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
