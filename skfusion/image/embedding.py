"""ImageEmbedder: a column of images in, one vector per image out.

Read next: `skfusion.image.encoding`, which reads the images and runs the network, and
`skfusion.image.backbones`, which builds it.
"""

from __future__ import annotations

import numbers
import os
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skfusion.image.backbones import Backbone, build_backbone
from skfusion.image.column import as_cells, check_cells
from skfusion.image.encoding import encode_cells
from skfusion.image.inference import resolve_device
from skfusion.image.pixels import PixelFile, load_pixels
from skfusion.image.preprocessing import Preprocessing
from skfusion.image.reading import SCALINGS
from skfusion.image.store import EmbeddingStore, resolve_store

__all__ = ["ImageEmbedder", "encode_cells", "load_pixels"]


class ImageEmbedder(TransformerMixin, BaseEstimator):
    """Turn a column of images into embeddings of a pretrained network.

    Nothing is learned from the images: an embedding depends on its image and the
    parameters alone. It is computed once and kept in a store, which clones, folds,
    candidates of a search and processes share.

    Parameters
    ----------
    backbone : str or torch.nn.Module, default="efficientnet_lite0"
        The network. The default comes with ImageNet weights that are a package, so it
        needs no download. Any classification network of torchvision by name, e.g.
        ``"resnet18"`` or ``"densenet121"``, or a module whose output is the embedding.
    weights : str, path or None, default="DEFAULT"
        ``"DEFAULT"``: the best published weights, or a module's own. A name of
        torchvision's weights, the path of a state dict, or None for random weights,
        the same ones every time.
    layer : str, default="pool"
        ``"pool"``: the input of the final classification layer. Otherwise the name of
        a submodule whose output is pooled.
    pooling : {"mean", "max"}, default="mean"
        How positions or tokens of the layer's output are pooled.
    input_size : int or None, default=None
        Height and width in pixels to which the whole image is resized; None takes the
        size of the weights. A smaller one is faster.
    scaling : {"auto", "dtype", "minmax", "none"}, default="auto"
        How intensities come to [0, 1], see `skfusion.read_image`.
    batch_size : int, default=32
        Images per forward pass, but no more than 4 on a CPU, where that is fastest.
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where it is available, else the CPU.
    n_jobs : int or None, default=None
        Number of threads that read images while the network computes. None is 1
        outside a `joblib.parallel_config` context; more help where reading is slower
        than the network.
    store : "default", path, EmbeddingStore or None, default="default"
        Where embeddings are kept; None keeps none.
    on_error : {"raise", "missing"}, default="raise"
        ``"missing"`` treats unreadable images as absent, with a warning that counts
        them.
    verbose : int, default=0
        More than 0 shows the progress on standard error.

    Attributes
    ----------
    n_features_out_ : int
        Length of an embedding.
    fingerprint_ : str
        Digest of network, weights, layer, pooling and preprocessing.
    n_features_in_ : int
        Always 1: the column of images.
    feature_names_in_ : ndarray of shape (1,)
        Label of that column, if it was a string.

    See Also
    --------
    skfusion.EmbeddingStore : Where embeddings are kept.
    skfusion.JointFusionClassifier : Fine-tunes the backbone of an embedder.

    Notes
    -----
    Absent images (None, NaN, an empty string) give rows of NaN.

    A fitted embedder holds no weights, unless its backbone is a module: it builds the
    network again where it is used, and refuses to work if its fingerprint has changed.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import ImageEmbedder
    >>> images = [np.zeros((48, 64), dtype=np.uint8), None]
    >>> embedder = ImageEmbedder(input_size=32, store=None)
    >>> embedder.fit_transform(images).shape
    (2, 1280)
    >>> embedder.get_feature_names_out()[:2]
    array(['emb0', 'emb1'], dtype=object)
    """

    def __init__(
        self,
        backbone: str | nn.Module = "efficientnet_lite0",
        *,
        weights: str | os.PathLike[str] | None = "DEFAULT",
        layer: str = "pool",
        pooling: str = "mean",
        input_size: int | None = None,
        scaling: str = "auto",
        batch_size: int = 32,
        device: Any = "auto",
        n_jobs: int | None = None,
        store: str | os.PathLike[str] | EmbeddingStore | None = "default",
        on_error: str = "raise",
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.layer = layer
        self.pooling = pooling
        self.input_size = input_size
        self.scaling = scaling
        self.batch_size = batch_size
        self.device = device
        self.n_jobs = n_jobs
        self.store = store
        self.on_error = on_error
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the kinds of the cells; nothing is read or learned.

        Parameters
        ----------
        X : one column of n images
            A Series, a list, a frame or object array with one column, or a numeric
            array (n, H, W[, C]).
        y : ignored
            Present for the API.

        Returns
        -------
        self
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter is invalid, `X` is not one column or holds no image.
        TypeError
            If a cell is nothing that could hold an image, e.g. a number.
        """
        cells, name = as_cells(X)
        self._check_parameters()
        check_cells(cells, name)
        backbone = self.build()
        self.n_features_in_ = 1
        if isinstance(name, str):
            self.feature_names_in_ = np.array([name], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_out_ = backbone.n_features
        self.fingerprint_ = backbone.fingerprint
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed a column of images.

        Parameters
        ----------
        X : one column of n images
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, n_features_out_), float32
            NaN in the rows of absent images.

        Raises
        ------
        ImageReadError
            If an image cannot be read and ``on_error="raise"``.
        ValueError
            If the network is no longer the one of `fit`.
        """
        check_is_fitted(self, "fingerprint_")
        backbone = self.build()
        if backbone.fingerprint != self.fingerprint_:
            raise ValueError(
                "ImageEmbedder: the parameters or the weights of the backbone "
                f"{backbone.name} have changed since fit (fingerprint found: "
                f"{backbone.fingerprint[:8]}, expected: {self.fingerprint_[:8]}). "
                "Call fit again, and whatever was trained on its embeddings."
            )
        key = backbone.fingerprint
        return self._encode(X, backbone.module, backbone.preprocessing, key)[0]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the embedding.

        Parameters
        ----------
        input_features : ignored
            Present for the API.

        Returns
        -------
        ndarray of str objects
            ``"emb0"``, ``"emb1"``, ...
        """
        check_is_fitted(self, "n_features_out_")
        return np.array([f"emb{i}" for i in range(self.n_features_out_)], dtype=object)

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
        )

    def encode_with(
        self, X: Any, module: nn.Module, fingerprint: str, *, fold: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run another network, e.g. the trunk of a split backbone, over the images.

        Images are read, preprocessed, batched and stored as `transform` does.

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
        return self._encode(X, module, preprocessing, fingerprint, fold=fold)

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
        """
        cells, name = as_cells(X)
        return load_pixels(cells, self.build().preprocessing, **self._reading(name))

    def _encode(
        self,
        X: Any,
        module: nn.Module,
        preprocessing: Preprocessing,
        fingerprint: str,
        *,
        fold: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        cells, name = as_cells(X)
        return encode_cells(
            cells,
            module,
            preprocessing,
            fingerprint,
            store=resolve_store(self.store),
            batch_size=self.batch_size,
            device=self.device,
            verbose=self.verbose,
            fold=fold,
            **self._reading(name),
        )

    def _reading(self, name: object) -> dict[str, Any]:
        return {
            "scaling": self.scaling,
            "n_jobs": self.n_jobs,
            "on_error": self.on_error,
            "column": name,
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _check_parameters(self) -> None:
        size: Any = self.batch_size
        is_integer = issubclass(type(size), numbers.Integral) and type(size) is not bool
        if not is_integer or size < 1:
            raise ValueError(
                f"ImageEmbedder: batch_size must be a positive integer, found {size!r}."
            )
        for name, allowed in (
            ("scaling", SCALINGS),
            ("on_error", ("raise", "missing")),
        ):
            value: Any = getattr(self, name)
            if value not in allowed:
                raise ValueError(
                    f"ImageEmbedder: {name} must be one of {allowed}, found {value!r}."
                )
        resolve_device(self.device)
        resolve_store(self.store)
