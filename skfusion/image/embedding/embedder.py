"""ImageEmbedder: a column of images in, one vector per image out."""

from __future__ import annotations

import numbers
import os
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skfusion._validation import check_option
from skfusion.image.cells.bags import Bags, check_bag_pooling, unpack
from skfusion.image.cells.column import as_cells, check_cells
from skfusion.image.cells.volumes import Reading
from skfusion.image.embedding.encode import encode_cells
from skfusion.image.embedding.pixels import PixelFile, load_pixels
from skfusion.image.networks.backbones import Backbone, build_backbone
from skfusion.image.networks.inference import check_engine, resolve_device
from skfusion.image.networks.preprocessing import Preprocessing, VolumePreprocessing
from skfusion.store.embedding_store import EmbeddingStore, resolve_store

__all__ = ["ImageEmbedder"]


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
        ``"resnet18"`` or ``"densenet121"``; ``"timm:..."``, ``"xrv:..."`` and
        ``"monai:..."`` where these packages are installed; or a module whose output is
        the embedding.
    weights : str, path or None, default="DEFAULT"
        ``"DEFAULT"``: the best published weights, or a module's own. A name of
        torchvision's weights, the path of a state dict, or None for random weights,
        the same ones every time.
    layer : str, default="pool"
        ``"pool"``: the input of the final classification layer; ``"logits"``: its
        output; ``"block1"`` to ``"block4"``: the stages at a stride of 4 to 32 pixels.
        Otherwise the name of a submodule. What has positions is pooled.
    pooling : {"mean", "max"}, default="mean"
        How positions or tokens of the layer's output are pooled.
    input_size : int or None, default=None
        Height and width in pixels to which the whole image is resized; None takes the
        size of the weights. A smaller one is faster.
    trainable : {"auto", "head", "last_block", "all"}, int or list of str, \
            default="auto"
        Part of the network that joint fusion trains: nothing (``"head"``), its last
        block, everything, a number of last blocks, or the layers below these names.
        ``"auto"`` is ``"last_block"``, and ``"all"`` for ``weights=None``. The part
        before it is run once per image and kept in the store. It has no effect on
        `transform`, on the store and in early and late fusion.
    scaling : str, default="auto"
        How intensities come to [0, 1], see `skfusion.read_image`.
    window : {"lung", "bone", "soft", "brain"}, (centre, width) or None, default=None
        Window of grey images in their own units, see `skfusion.read_image`.
    volume : {"slices", "3d"}, default="slices"
        Whether a volume is shown to a network for images slice by slice (2.5-D), or as
        a whole to a 3-D network: ``"r3d_18"`` and the like of torchvision, or a module
        that takes (B, 3, n_slices, H, W).
    n_slices : int or None, default=16
        Slices of a volume that are shown, None for all; of a 3-D network, the number
        that volumes are resized to.
    slice_selection : {"even", "largest"}, default="even"
        Evenly over the volume, or neighbours around the slice with the largest bright
        area.
    slice_pooling : {"mean", "max"} or int, default="mean"
        How the embeddings of slices are pooled; a number averages that many of the
        largest values of each feature.
    voxel_size : float or None, default=None
        Edge in mm of the cubes that volumes are resampled to first.
    bag_pooling : {"mean", "max", "recent"}, default="mean"
        How the embeddings of a cell with several images (a list) are pooled.
        ``"recent"`` takes pairs (image, time): the weight of an image halves with every
        `bag_half_life` that it is older than the last one in its cell.
    bag_half_life : str or timedelta, default="30D"
        Of ``bag_pooling="recent"``.
    bag_count : bool, default=False
        Whether the number of images in a cell is one more feature, ``"n_images"``.
    batch_size : int, default=32
        Images per forward pass, but no more than 4 on a CPU, where that is fastest.
    engine : {"torch", "openvino"}, default="torch"
        What computes on a processor. OpenVINO (extra ``openvino``) is faster; it takes
        some seconds to compile a network, and its embeddings are kept apart.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` is float32, on every device. ``"bfloat16"`` is faster where the
        hardware has it, and embeddings differ by a few percent.
    device : str or torch.device, default="auto"
        ``"auto"`` is CUDA where it is available, then MPS, else the CPU.
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
        trainable: Any = "auto",
        scaling: str = "auto",
        window: str | tuple[float, float] | None = None,
        volume: str = "slices",
        n_slices: int | None = 16,
        slice_selection: str = "even",
        slice_pooling: str | int = "mean",
        voxel_size: float | None = None,
        bag_pooling: str = "mean",
        bag_half_life: Any = "30D",
        bag_count: bool = False,
        batch_size: int = 32,
        engine: str = "torch",
        precision: str = "auto",
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
        self.trainable = trainable
        self.scaling = scaling
        self.window = window
        self.volume = volume
        self.n_slices = n_slices
        self.slice_selection = slice_selection
        self.slice_pooling = slice_pooling
        self.voxel_size = voxel_size
        self.bag_pooling = bag_pooling
        self.bag_half_life = bag_half_life
        self.bag_count = bag_count
        self.batch_size = batch_size
        self.engine = engine
        self.precision = precision
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
            array (n[, D], H, W[, C]). A cell is what `skfusion.read_image` takes, a
            list of those, or missing.
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
        self.n_features_out_ = backbone.n_features + bool(self.bag_count)
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
        values, counts = self._encode(X, backbone.module, backbone.preprocessing, key)
        if not self.bag_count:
            return values
        return np.column_stack([values, np.where(counts > 0, counts, np.nan)]).astype(
            np.float32
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the columns of the embedding.

        Parameters
        ----------
        input_features : ignored
            Present for the API.

        Returns
        -------
        ndarray of str objects
            ``"emb0"``, ``"emb1"``, ...; with `bag_count`, ``"n_images"`` last.
        """
        check_is_fitted(self, "n_features_out_")
        counted = ["n_images"] if self.bag_count else []
        n_values = self.n_features_out_ - len(counted)
        names = [f"emb{i}" for i in range(n_values)] + counted
        return np.array(names, dtype=object)

    def build(self) -> Backbone:
        """Build the network that the parameters describe.

        Returns
        -------
        Backbone
            Shared by all that ask for the same named backbone; do not train it in
            place, see `skfusion.image.networks.freezing.split_backbone`.
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

    def trainable_part(self) -> Any:
        """Return the part of the network that joint fusion trains.

        Returns
        -------
        {"head", "last_block", "all"}, int or list of str
            The parameter `trainable`, ``"auto"`` resolved.
        """
        if isinstance(self.trainable, str) and self.trainable == "auto":
            return "all" if self.weights is None else "last_block"
        return self.trainable

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags

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

    def _check_parameters(self) -> None:
        size: Any = self.batch_size
        is_integer = issubclass(type(size), numbers.Integral) and type(size) is not bool
        if not is_integer or size < 1:
            raise ValueError(
                f"ImageEmbedder: batch_size must be a positive integer, got {size!r}."
            )
        self.reading.check("ImageEmbedder")
        check_engine("ImageEmbedder", self.engine, self.precision)
        check_bag_pooling("ImageEmbedder", self.bag_pooling, self.bag_half_life)
        check_option(self.on_error, "on_error", ("raise", "missing"), "ImageEmbedder")
        resolve_device(self.device)
        resolve_store(self.store)
