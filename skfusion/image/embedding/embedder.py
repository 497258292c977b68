"""Transformer from image columns to embeddings of a pretrained network."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from skfusion._dependencies import TORCH_PACKAGES, named_extra
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_number, check_option
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.image.cells.bags import Bags, check_bag_pooling, unpack
from skfusion.image.cells.column import as_cells, check_cells
from skfusion.image.cells.volumes import Reading
from skfusion.image.embedding.lookup import Lookup, look_up
from skfusion.image.embedding.output import write_parts
from skfusion.image.networks.engines import check_engine
from skfusion.image.networks.freezing.untrained import warn_untrained
from skfusion.image.reading.read import ReadOptions
from skfusion.store.embedding_store import EmbeddingStore, resolve_store

# torch is imported where a network is used: a prediction from stored embeddings needs
# none, and the import takes longer than the prediction.
if TYPE_CHECKING:
    from torch import nn

    from skfusion.image.embedding.pixels import PixelFile
    from skfusion.image.networks.backbones import Backbone

__all__ = ["ImageEmbedder"]


class ImageEmbedder(TransformerMixin, BaseEstimator):
    """Transformer from images to embeddings of a pretrained network.

    Nothing is learned from the images. An embedding only depends on its image and on
    the parameters. It is computed once and kept in a store, which is shared by clones,
    folds, candidates of a search and processes.

    Parameters
    ----------
    backbone : str or torch.nn.Module, default="efficientnet_lite0"
        The network. The default has ImageNet weights from an installed package and
        needs no download. Names of torchvision select any of its classification
        networks, e.g. ``"resnet18"`` or ``"densenet121"``. ``"timm:..."``,
        ``"xrv:..."`` and ``"monai:..."`` require these packages. ``"hf:..."``,
        ``"timm:hf-hub:..."``, ``"timm:local-dir:..."`` and ``"open_clip:..."`` are
        encoders of a hub or a folder, see
        `skfusion.image.networks.backbones.build_backbone`. The output of a module
        must be the embedding. Its attribute ``preprocessing`` states how it expects
        images, e.g. a `skfusion.image.Preprocessing`.
    weights : str, path or None, default="DEFAULT"
        ``"DEFAULT"`` selects the best published weights, or those of the given module.
        Other values are a name of torchvision's weights or the path of a state dict.
        None creates random weights, which are always the same. No file of weights
        executes code when it is read.
    layer : str, default="pool"
        ``"pool"`` is the input of the final classification layer, ``"logits"`` its
        output. ``"block1"`` to ``"block4"`` are the stages at a stride of 4 to 32
        pixels, which plain vision transformers do not have. Other values are names of
        submodules. Outputs with positions are pooled.
    pooling : {"mean", "max", "cls", "cls+mean"}, default="mean"
        Pooling of the positions or tokens of the layer's output. ``"cls"`` is the class
        token of a vision transformer, ``"cls+mean"`` also the mean of its patch tokens,
        without register tokens.
    input_size : int or None, default=None
        Height and width in pixels of the input of the network. None uses the size of
        the weights. A smaller size is faster.
    resize : {"auto", "squash", "crop", "pad"}, default="auto"
        ``"auto"`` prepares images as the network was trained. Most encoders of timm and
        of hubs resize the shorter edge and crop the centre, which removes what is at
        the border. ``"squash"`` resizes the whole image to a square, as networks of
        torchvision do here by default. ``"crop"`` resizes the shorter edge and
        ``"pad"`` the longer edge, with borders.
    backbone_params : dict or None, default=None
        Further arguments for an encoder of timm, of a hub or of a folder.
    trainable : {"auto", "head", "last_block", "all"}, int or list of str, \
            default="auto"
        Part of the network that joint fusion trains: nothing (``"head"``), its last
        block, everything, a number of last blocks, or the layers below these names.
        ``"auto"`` is ``"last_block"``, and ``"all"`` for ``weights=None``. With
        ``"auto"`` and ``"all"``, parameters of a module that do not require gradients
        stay frozen. The layers before this part are run once per image, and their
        output is kept in the store. The parameter has no effect on `transform` or in
        early and late fusion.
    scaling : str, default="auto"
        Scaling of intensities to [0, 1], see `skfusion.read_image`.
    window : {"lung", "bone", "soft", "brain"}, (centre, width) or None, default=None
        Window of grey images in their own units, see `skfusion.read_image`.
    read_params : dict or None, default=None
        Further arguments of `skfusion.read_image`: ``"max_pixels"``, ``"nan"`` and
        ``"volume_index"``.
    volume : {"slices", "3d"}, default="slices"
        ``"slices"`` passes the slices of a volume to a 2-D network (2.5-D). ``"3d"``
        passes the whole volume to a 3-D network, e.g. ``"r3d_18"`` of torchvision or a
        module that takes (B, 3, n_slices, H, W).
    n_slices : int or None, default=16
        Number of slices of a volume that are used, None for all. For a 3-D network,
        the number of slices to which volumes are resized.
    slice_selection : {"even", "largest"}, default="even"
        ``"even"`` selects slices evenly over the volume. ``"largest"`` selects the
        neighbours of the slice with the largest bright area.
    slice_pooling : {"mean", "max"} or int, default="mean"
        Pooling of the embeddings of slices. A number averages that many of the largest
        values of each feature.
    voxel_size : float or None, default=None
        Edge in mm of the cubic voxels to which volumes are resampled first.
    bag_pooling : {"mean", "max", "recent", "attention"}, default="mean"
        Pooling of the embeddings of a cell with several images (a list). ``"recent"``
        takes pairs (image, time). The weight of an image halves with every
        `bag_half_life` before the last image of its cell. ``"attention"`` is a gated
        attention, which joint fusion trains. Early and late fusion refuse it.
    bag_half_life : str or timedelta, default="30D"
        Half-life of the weights for ``bag_pooling="recent"``.
    bag_count : bool, default=False
        Whether the number of images in a cell is added as the feature ``"n_images"``.
    batch_size : int, default=32
        Number of images per forward pass, at most 4 on a CPU, where this is fastest.
    engine : {"torch", "openvino"}, default="torch"
        Inference engine on a CPU. OpenVINO (extra ``openvino``) is faster, but takes
        some seconds to compile a network. Its float32 embeddings differ from those of
        torch by about 1e-6 of the largest value. They have the same fingerprint, but
        separate keys in the store, so that the two are never mixed. A difference of
        more than 1e-3 is an error. The commands ``skfusion compare`` and ``explain``
        choose an engine, unless ``--engine`` names one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        ``"auto"`` is float32 on every device. ``"bfloat16"`` is faster on hardware that
        supports it, and its embeddings differ by a few percent.
    device : str or torch.device, default="auto"
        ``"auto"`` selects CUDA, then MPS, then the CPU.
    n_jobs : int or None, default=None
        Number of threads that read images while the network computes. None is 1
        outside a `joblib.parallel_config` context. Use more threads if reading is
        slower than the network.
    store : "default", path, EmbeddingStore or None, default="default"
        Store of the embeddings. None stores nothing.
    on_error : {"raise", "missing"}, default="raise"
        ``"missing"`` treats unreadable images, and images for which the network does
        not return finite numbers, as absent, with a warning that gives their number.
    verbose : int, default=0
        If positive, show the progress on standard error.

    Attributes
    ----------
    n_features_out_ : int
        Length of an embedding.
    fingerprint_ : str
        Digest of network, weights, layer, pooling and preprocessing.
    n_features_in_ : int
        Always 1, the column of images.
    feature_names_in_ : ndarray of shape (1,)
        Label of the column, if it is a string.

    See Also
    --------
    skfusion.EmbeddingStore : Store of embeddings.
    skfusion.JointFusionClassifier : Estimator that fine-tunes the backbone.

    Warns
    -----
    FallbackWarning
        In `fit`, if a module does not state its preprocessing, or if its embeddings
        cannot be stored. Also if the weights are random and nothing trains them. In
        joint fusion, if random weights stay frozen, or if ``trainable="auto"`` freezes
        a part of a module.

    Notes
    -----
    The embedding of an absent image (None, NaN, an empty string) is NaN.

    In joint fusion, dropout is on in the trained part and off in the frozen part. The
    batch norms of the trained part follow the data, except in a named backbone with
    pretrained weights, where all of them keep their running statistics.

    A fitted embedder does not contain weights, unless its backbone is a module. It
    rebuilds the network when it is used, and raises an error if the fingerprint has
    changed. The fingerprint of a module covers everything that its forward refers to.
    Embeddings are not stored if the output of a module is not a function of the image
    (e.g. dropout outside of a layer), or if it contains something that cannot be part
    of the fingerprint.

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

    __module__ = "skfusion.image"

    def __init__(
        self,
        backbone: str | nn.Module = "efficientnet_lite0",
        *,
        weights: str | os.PathLike[str] | None = "DEFAULT",
        layer: str = "pool",
        pooling: str = "mean",
        input_size: int | None = None,
        resize: str = "auto",
        backbone_params: dict[str, Any] | None = None,
        trainable: Any = "auto",
        scaling: str = "auto",
        window: str | tuple[float, float] | None = None,
        read_params: dict[str, Any] | None = None,
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
        self.resize = resize
        self.backbone_params = backbone_params
        self.trainable = trainable
        self.scaling = scaling
        self.window = window
        self.read_params = read_params
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

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters and the types of the cells, without reading images.

        Parameters
        ----------
        X : one column of n images
            A Series, a list, a frame or object array with one column, or a numeric
            array (n[, D], H, W[, C]). A cell is an input of `skfusion.read_image`, a
            list of such inputs, or missing.
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        self
            The fitted embedder.

        Raises
        ------
        ValueError
            If a parameter is invalid, or `X` is not one column or contains no image.
        TypeError
            If a cell cannot be an image, e.g. a number.
        """
        cells, name = as_cells(X)
        self._check_parameters()
        check_cells(cells, name)
        if hasattr(self, "_carried"):
            del self._carried
        backbone = self.build()
        self._warn_of(backbone)
        if self.is_untrained:
            warn_untrained(
                f"ImageEmbedder: the weights of {backbone.name} are random "
                "(weights=None)."
            )
        self.n_features_in_ = 1
        if isinstance(name, str):
            self.feature_names_in_ = np.array([name], dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_out_ = backbone.n_features + bool(self.bag_count)
        self.fingerprint_ = backbone.fingerprint
        self._network_params = None if backbone.not_stored else self._describe()
        self._network_of_fit = self._network_options()
        return self

    def transform(self, X: Any, out: Any = None) -> np.ndarray:
        """Embed a column of images.

        Parameters
        ----------
        X : one column of n images
            As in `fit`.
        out : str, PathLike, ndarray of shape (n, n_features_out_) or None, default=None
            Where the embeddings are written, part by part, if they are too many for the
            memory: a file in the format NPY, which is replaced, or an array of float32.

        Returns
        -------
        ndarray of shape (n, n_features_out_), float32
            NaN in the rows of absent images. With `out`, it is that array, or the
            memory map of the file.

        Raises
        ------
        ImageReadError
            If an image cannot be read and ``on_error="raise"``.
        ValueError
            If the network has changed since `fit`, if its output for an image is not
            finite and ``on_error="raise"``, or if `out` has another shape or dtype.
        """
        check_is_fitted(self, "fingerprint_")
        if self.bag_pooling == "attention":  # refused before a network is run
            unpack([]).pool(np.zeros((0, 1)), np.zeros(0, bool), "attention", None)
        if out is None:
            return self._transform(X)
        cells, name = as_cells(X)
        return write_parts(self._transform, cells, name, out, self.n_features_out_)

    def _transform(self, X: Any, first: int = 0) -> np.ndarray:
        """Embed a column whose first cell is at a row position of the user's table."""
        lookup = self._look_up(X, first)
        store = resolve_store(self.store)
        if lookup is not None and store is not None:
            rows = lookup.rows()
            if rows.read(store):
                width = self.n_features_out_ - bool(self.bag_count)
                lookup.images.warn()
                values = rows.filled(lambda: (width,))
                presence = lookup.images.presence()
                return self._with_count(*self._pooled(X, values, presence))
        backbone = self.build_fitted()
        encoded, presence = self._encode_images(
            X,
            backbone.module,
            backbone,
            self.fingerprint_,
            fold=True,
            lookup=lookup,
            first=first,
        )
        return self._with_count(*self._pooled(X, encoded, presence))

    def _with_count(self, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
        if not self.bag_count:
            return values
        return np.column_stack([values, np.where(counts > 0, counts, np.nan)]).astype(
            np.float32
        )

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features of the embedding.

        Parameters
        ----------
        input_features : ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of str objects
            ``"emb0"``, ``"emb1"`` ... With `bag_count`, ``"n_images"`` is the last one.
        """
        check_is_fitted(self, "n_features_out_")
        counted = ["n_images"] if self.bag_count else []
        n_values = self.n_features_out_ - len(counted)
        return np.array([*_names_of_values(n_values), *counted], dtype=object)

    def build(self) -> Backbone:
        """Build the network that the parameters describe.

        Returns
        -------
        Backbone
            Network, shared by all callers with the same named backbone. Do not train
            it in place, see `skfusion.image.networks.freezing.cut.split_backbone`.
        """
        with named_extra(TORCH_PACKAGES, "torch", "ImageEmbedder"):
            from skfusion.image.networks.backbones import make_backbone

        # The weights of a file, see skfusion.save. Changed parameters need others.
        carried = getattr(self, "_carried", None)
        if carried is not None and self._network_of_fit == self._network_options():
            return carried
        return make_backbone(
            self.backbone,
            weights=self.weights,
            layer=self.layer,
            pooling=self.pooling,
            input_size=self.input_size,
            resize=self.resize,
            depth=self.n_slices if self.volume == "3d" else None,
            backbone_params=self.backbone_params,
        )

    def build_fitted(self) -> Backbone:
        """Build the network, which must be that of the fit.

        Returns
        -------
        Backbone
            As `build` returns it. For an embedder that was loaded from a file with its
            weights, the network of the file.

        Raises
        ------
        ValueError
            If the parameters or the weights have changed since `fit`.
        """
        check_is_fitted(self, "fingerprint_")
        backbone = self.build()
        known = (backbone.fingerprint, *backbone.other_fingerprints)
        if self.fingerprint_ not in known:
            raise ValueError(
                "ImageEmbedder: the parameters or the weights of the backbone "
                f"{backbone.name} have changed since fit (got fingerprint "
                f"{backbone.fingerprint[:8]}, expected {self.fingerprint_[:8]}). "
                "Fit the embedder again, and all models trained on its embeddings."
            )
        return backbone

    @property
    def weights_are_named(self) -> bool:
        """Whether the weights are published or random ones, and not in a file."""
        weights = self.weights
        return isinstance(weights, str | None) and not os.path.exists(weights or "")

    @property
    def is_untrained(self) -> bool:
        """Whether the network is known to have random weights."""
        return isinstance(self.backbone, str) and self.weights is None

    @property
    def reading(self) -> Reading:
        """Options for the conversion of a cell to inputs of the network."""
        return Reading(
            scaling=self.scaling,
            window=self.window,
            options=ReadOptions.from_params(self.read_params, "ImageEmbedder"),
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
            The parameter `trainable`, with ``"auto"`` resolved.
        """
        if isinstance(self.trainable, str) and self.trainable == "auto":
            return "all" if self.weights is None else "last_block"
        return self.trainable

    def encode_with(
        self, X: Any, module: nn.Module, fingerprint: str, *, fold: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Apply another network to the images, e.g. the trunk of a split backbone.

        Images are read, preprocessed, batched, stored and pooled as in `transform`. The
        outputs of a trunk for several slices or views are pooled at the cut, as in
        multi-view networks (Su et al., ICCV 2015).

        Parameters
        ----------
        X : one column of n images
            As in `fit`.
        module : torch.nn.Module
            Network in evaluation mode, from (B, 3, H, W) to (B, *shape).
        fingerprint : str
            Identifier of `module` and its preprocessing in the store.
        fold : bool, default=True
            Whether batch norms are folded into the preceding convolutions, which is
            faster and rounds differently.

        Returns
        -------
        values : ndarray of shape (n, *shape), float32
            NaN in the rows of absent images.
        presence : ndarray of shape (n,), bool
            True where the image is present and readable.
        """
        values, counts = self._encode(X, module, self.build(), fingerprint, fold=fold)
        return values, counts > 0

    def encode_each(
        self, X: Any, module: nn.Module, fingerprint: str, *, fold: bool = True
    ) -> tuple[np.ndarray, np.ndarray, Bags]:
        """Apply another network to the images, without pooling those of a cell.

        Parameters
        ----------
        X : one column of n images
            As in `fit`.
        module, fingerprint, fold : any
            As in `encode_with`.

        Returns
        -------
        values : ndarray of shape (n_images, *shape), float32
            NaN for absent images.
        presence : ndarray of shape (n_images,), bool
            True where the image is present and readable.
        bags : Bags
            The images and their rows.
        """
        values, presence = self._encode_images(
            X, module, self.build(), fingerprint, fold=fold
        )
        return values, presence, unpack(as_cells(X)[0])

    def read_pixels(self, X: Any) -> tuple[PixelFile, np.ndarray]:
        """Read and resize the images, for a network that is trained as a whole.

        Parameters
        ----------
        X : one column of n images
            As in `fit`.

        Returns
        -------
        pixels : PixelFile of n rows
            Images on disk, before ``build().preprocessing.normalise``.
        presence : ndarray of shape (n,), bool
            True where the image is present and readable.

        Raises
        ------
        ValueError
            If a cell contains several images or a volume.
        """
        cells, name = as_cells(X)
        bags = unpack(cells)
        bags.check_single()
        from skfusion.image.embedding.pixels import load_pixels
        from skfusion.image.networks.preprocessing import VolumePreprocessing

        preprocessing = self.build().preprocessing
        if isinstance(preprocessing, VolumePreprocessing):
            raise ValueError(
                "ImageEmbedder: a 3-D network (volume='3d') cannot be trained as a "
                "whole. Use it frozen (trainable='head')."
            )
        return load_pixels(bags.images, preprocessing, **self._options(name, bags))

    def __reduce_ex__(self, protocol: Any) -> Any:
        made = super().__reduce_ex__(protocol)
        if isinstance(self.backbone, str):
            return made
        # Torchvision must be prepared before a module of it is unpickled.
        from skfusion.image.networks._torchvision import new_instance

        return new_instance, (type(self),), *made[2:]

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
        backbone: Backbone,
        fingerprint: str,
        *,
        fold: bool,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return one array per row, and the number of images per row."""
        values, presence = self._encode_images(
            X, module, backbone, fingerprint, fold=fold
        )
        return self._pooled(X, values, presence)

    def _encode_images(
        self,
        X: Any,
        module: nn.Module,
        backbone: Backbone,
        fingerprint: str,
        *,
        fold: bool,
        lookup: Lookup | None = None,
        first: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return one array per image, and which images are present."""
        from skfusion.image.embedding.encode import encode_cells

        cells, name = as_cells(X)
        bags = unpack(cells)
        is_known = not backbone.not_stored
        return encode_cells(
            bags.images,
            module,
            backbone.preprocessing,
            fingerprint if is_known else "",
            store=resolve_store(self.store) if is_known else None,
            batch_size=self.batch_size,
            device=self.device,
            verbose=self.verbose,
            engine=self.engine,
            precision=self.precision,
            fold=fold,
            lookup=lookup,
            **self._options(name, bags, first),
        )

    def _pooled(
        self, X: Any, values: np.ndarray, presence: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return one array per row of arrays per image, and the number of images."""
        bags = unpack(as_cells(X)[0])
        counts = bags.counts(presence)
        pooled = bags.pool(values, presence, self.bag_pooling, self.bag_half_life)
        return pooled, counts

    def _look_up(self, X: Any, first: int = 0) -> Lookup | None:
        """Return the keys of the images, if the network is the one of the fit.

        Weights in a file and a module can change without a change of the parameters.
        They are None, and the network is built to compare its fingerprint.
        """
        store = resolve_store(self.store)
        known = getattr(self, "_network_params", None)
        if store is None or known is None or known != self._describe():
            return None
        cells, name = as_cells(X)
        bags = unpack(cells)
        return look_up(
            bags.images,
            self.fingerprint_,
            store=store,
            engine=self.engine,
            precision=self.precision,
            **self._options(name, bags, first),
        )

    def _describe(self) -> tuple[Any, ...] | None:
        """Return the parameters of a named network, None for a file or a module."""
        weights = self.weights
        if not isinstance(self.backbone, str) or not isinstance(weights, str | None):
            return None
        # "timm:local-dir:PATH" has its weights in a file, too.
        if any(map(os.path.exists, [weights or "", *self.backbone.split(":")[1:]])):
            return None
        depth = self.n_slices if self.volume == "3d" else None
        network = (self.backbone, weights, self.layer, self.pooling)
        size = (self.input_size, self.resize, depth)
        return (*network, *size, repr(self.backbone_params))

    def _network_options(self) -> tuple[Any, ...]:
        """Return the parameters that `build` passes on, to be compared."""
        depth = self.n_slices if self.volume == "3d" else None
        is_named = isinstance(self.backbone, str)
        names = str(self.backbone) if is_named else "", str(self.weights)
        params = repr(self.backbone_params)
        size = (self.input_size, self.resize, depth)
        return (*names, params, self.layer, self.pooling, *size)

    def _warn_of(self, backbone: Backbone) -> None:
        notes = list(backbone.notes)
        if backbone.not_stored and resolve_store(self.store) is not None:
            notes.append(
                f"ImageEmbedder: the embeddings are not stored, because "
                f"{backbone.not_stored}."
            )
        for note in notes:
            warn_user(note, FallbackWarning)

    def _options(self, name: object, bags: Bags, first: int = 0) -> dict[str, Any]:
        is_shifted = bags.has_several or first > 0
        return {
            "reading": self.reading,
            "n_jobs": self.n_jobs,
            "on_error": self.on_error,
            "column": name,
            "positions": bags.rows + first if is_shifted else None,
        }

    def _check_parameters(self) -> None:
        check_number(
            self.batch_size, "batch_size", "ImageEmbedder", low=1, integer=True
        )
        self.reading.check("ImageEmbedder")
        check_engine("ImageEmbedder", self.engine, self.precision)
        with named_extra(TORCH_PACKAGES, "torch", "ImageEmbedder"):
            from skfusion.image.networks.inference import resolve_device
        check_bag_pooling("ImageEmbedder", self.bag_pooling, self.bag_half_life)
        check_option(self.on_error, "on_error", ("raise", "missing"), "ImageEmbedder")
        resolve_device(self.device)
        resolve_store(self.store)


@lru_cache(maxsize=32)  # asked for several times in a fit
def _names_of_values(n_values: int) -> tuple[str, ...]:
    return tuple(f"emb{i}" for i in range(n_values))
