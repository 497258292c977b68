"""The cells of a column, shown to a network: what `ImageEmbedder` and joint nets share.

Read next: `skfusion.image.encoding` and `skfusion.image.bags`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from torch import nn

from skfusion.image.backbones import Backbone, build_backbone
from skfusion.image.bags import Bags, unpack
from skfusion.image.column import as_cells
from skfusion.image.encoding import encode_cells
from skfusion.image.pixels import PixelFile, load_pixels
from skfusion.image.preprocessing import Preprocessing, VolumePreprocessing
from skfusion.image.store import EmbeddingStore, resolve_store
from skfusion.image.volumes import Reading

__all__ = ["CellEncoder"]


class CellEncoder:
    """Runs networks over a column of images, as the parameters of an embedder say.

    The parameters are those of `skfusion.ImageEmbedder`.
    """

    backbone: str | nn.Module
    weights: str | os.PathLike[str] | None
    layer: str
    pooling: str
    input_size: int | None
    scaling: str
    window: str | tuple[float, float] | None
    volume: str
    n_slices: int | None
    slice_selection: str
    slice_pooling: str | int
    voxel_size: float | None
    bag_pooling: str
    bag_half_life: Any
    batch_size: int
    engine: str
    precision: str
    device: Any
    n_jobs: int | None
    store: str | os.PathLike[str] | EmbeddingStore | None
    on_error: str
    verbose: int

    def build(self) -> Backbone:
        """Build the network that the parameters describe.

        Returns
        -------
        Backbone
            Shared by all that ask for the same named backbone; do not train it in
            place, see `skfusion.image.splitting.split_backbone`.
        """
        return build_backbone(
            self.backbone,
            weights=self.weights,
            layer=self.layer,
            pooling=self.pooling,
            input_size=self.input_size,
            depth=self.n_slices if self.volume == "3d" else None,
        )

    @property
    def reading(self) -> Reading:
        """How a cell becomes what the network is shown."""
        return Reading(
            scaling=self.scaling,
            window=self.window,
            volume=self.volume,
            n_slices=self.n_slices,
            slice_selection=self.slice_selection,
            slice_pooling=self.slice_pooling,
            voxel_size=self.voxel_size,
        )

    def encode_with(
        self, X: Any, module: nn.Module, fingerprint: str, *, fold: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run another network, e.g. the trunk of a split backbone, over the images.

        Images are read, preprocessed, batched, stored and pooled as `transform` does:
        what a trunk makes of the slices of a volume, or of several views, is pooled
        where it is cut, as in multi-view networks (Su et al., ICCV 2015).

        Parameters
        ----------
        X : one column of n images
            As in `fit`.
        module : torch.nn.Module
            In evaluation mode, from (B, 3, H, W) to (B, *shape).
        fingerprint : str
            Identifies `module` and its preprocessing in the store.
        fold : bool, default=True
            Whether batch norms are folded into the convolutions before them, which is
            faster and rounds differently.

        Returns
        -------
        values : ndarray of shape (n, *shape), float32
            NaN in the rows of absent images.
        presence : ndarray of shape (n,), bool
            True where there is an image that could be read.
        """
        preprocessing = self.build().preprocessing
        values, counts = self._encode(X, module, preprocessing, fingerprint, fold=fold)
        return values, counts > 0

    def read_pixels(self, X: Any) -> tuple[PixelFile, np.ndarray]:
        """Read and resize the images themselves, for a network that is trained whole.

        Parameters
        ----------
        X : one column of n images
            As in `fit`.

        Returns
        -------
        pixels : PixelFile of n rows
            On disk, and not yet normalised (``build().preprocessing.normalise``).
        presence : ndarray of shape (n,), bool
            True where there is an image that could be read.

        Raises
        ------
        ValueError
            If a cell holds several images or a volume.
        """
        cells, name = as_cells(X)
        bags = unpack(cells)
        bags.check_single()
        preprocessing = self.build().preprocessing
        if isinstance(preprocessing, VolumePreprocessing):
            raise ValueError(
                "ImageEmbedder: a 3-D network (volume='3d') can be used frozen "
                "(trainable='head'), and not be trained whole."
            )
        return load_pixels(bags.images, preprocessing, **self._options(name, bags))

    def _encode(
        self,
        X: Any,
        module: nn.Module,
        preprocessing: Preprocessing | VolumePreprocessing,
        fingerprint: str,
        *,
        fold: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give one array per row, and the number of its images."""
        cells, name = as_cells(X)
        bags = unpack(cells)
        values, presence = encode_cells(
            bags.images,
            module,
            preprocessing,
            fingerprint,
            store=resolve_store(self.store),
            batch_size=self.batch_size,
            device=self.device,
            verbose=self.verbose,
            engine=self.engine,
            precision=self.precision,
            fold=fold,
            **self._options(name, bags),
        )
        counts = bags.counts(presence)
        pooled = bags.pool(values, presence, self.bag_pooling, self.bag_half_life)
        return pooled, counts

    def _options(self, name: object, bags: Bags) -> dict[str, Any]:
        return {
            "reading": self.reading,
            "n_jobs": self.n_jobs,
            "on_error": self.on_error,
            "column": name,
            "positions": bags.rows if bags.has_several else None,
        }
