"""Joint fusion: one network, whose loss reaches the encoder of every modality.

The network is in `skfusion.fusion.networks`, its training in
`skfusion.fusion.training`; here cohorts become their inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skfusion.fusion.base import (
    BaseFusion,
    ClassifierTarget,
    RegressorTarget,
    TrainingData,
    with_transformers,
)
from skfusion.fusion.folds import validation_rows
from skfusion.fusion.inputs import BlockInput, ImageInput
from skfusion.fusion.learners import seeded
from skfusion.fusion.networks import JointNetwork, ModalityEncoder
from skfusion.fusion.training import (
    NetInputs,
    TrainingSettings,
    outputs_of,
    seeded_torch,
    train,
)
from skfusion.image.embedding import ImageEmbedder

__all__ = ["JointFusionClassifier", "JointFusionRegressor"]

JOINS = ("concat",)


class _JointFusion(BaseFusion):
    """Encode every modality, join the representations, train all together."""

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> _JointFusion:
        """Fit the transformers, then train encoders and head together.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The cohort, one row per case.
        y : array-like of shape (n_samples,)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in the loss; rows of weight 0 are left out.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids; they override the column named by the parameter `groups`.
            The split for early stopping keeps a patient on one side.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_settings()
        data = self._start_fit(X, y, sample_weight, groups)
        if data.sample_weight is not None:
            data = data.rows(np.flatnonzero(data.sample_weight > 0))
        rng = check_random_state(self.random_state)
        self._inputs = [
            ImageInput(modality, self.trainable)
            if isinstance(modality.transformer, ImageEmbedder)
            else BlockInput(modality)
            for modality in seeded(self._modalities, rng)
        ]
        for part in self._inputs:
            part.fit(data.X, data.y, data.sample_weight)
        has_images = any(isinstance(part, ImageInput) for part in self._inputs)
        # Numbers alone are cheap enough to be computed as exactly as elsewhere.
        self._dtype = np.dtype(np.float32 if has_images else np.float64)
        inputs = self._encode_inputs(data.X)
        kept = self._usable_rows(inputs.presence)
        data, inputs = data.rows(kept), inputs.rows(kept)
        self._flagged = np.flatnonzero(~inputs.presence.all(axis=0))
        self._set_fallback(data)
        self._fit_network(inputs, data, rng)
        self.modalities_ = with_transformers(
            [part.modality for part in self._inputs],
            lambda modality: modality.transformer,
        )
        self._n_features_out = len(self._inputs) * self.hidden_dims[0]
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the joined representation, which the head of the network is given.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        ndarray of shape (n_samples, n_modalities * hidden_dims[0])
            The representations side by side, learned tokens where absent.
        """
        inputs = self._read_inputs(X)
        joined = outputs_of(
            lambda batch, present: self.network_.represent(batch, present).flatten(1),
            inputs,
        )
        return joined.astype(np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the joined representation.

        Parameters
        ----------
        input_features : ignored
            The names are known from `fit`.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``modality__h0``, ``modality__h1`` ...
        """
        check_is_fitted(self, "modalities_")
        width = self._n_features_out // len(self._inputs)
        return np.asarray(
            [f"{m.name}__h{i}" for m in self._modalities for i in range(width)],
            dtype=object,
        )

    def encode_modalities(self, X: Any) -> dict[str, np.ndarray]:
        """Return the representation of each modality, the costly half of a prediction.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, hidden_dims[0])
            Rows where the modality is absent are NaN.
        """
        inputs = self._read_inputs(X)
        encoded = outputs_of(self.network_.represent, inputs)  # (n, M, D)
        encoded[~inputs.presence] = np.nan
        return {m.name: encoded[:, j] for j, m in enumerate(self._modalities)}

    def predict_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from the representations that `encode_modalities` gave.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, hidden_dims[0])
            One entry per modality; an all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            What ``predict_proba`` (classifier) or ``predict`` (regressor) gives.
        """
        check_is_fitted(self, "modalities_")
        stacked = np.stack([np.asarray(Z[m.name]) for m in self._modalities], axis=1)
        present = ~np.isnan(stacked).all(axis=2)
        inputs = NetInputs({"all": np.nan_to_num(stacked)}, present)
        network = self.network_
        outputs = outputs_of(
            lambda batch, here: network.join(
                torch.where(here[:, :, None], batch["all"], network.tokens)
            ),
            inputs,
        )
        return self._finish(outputs, present)

    # -- inputs -------------------------------------------------------------------

    def _encode_inputs(self, X: pd.DataFrame) -> NetInputs:
        arrays, presence = {}, []
        for part in self._inputs:
            array, present = part.encode(X)
            array = np.ascontiguousarray(array.astype(self._dtype, copy=False))
            arrays[part.modality.name] = array
            presence.append(present)
        return NetInputs(arrays, np.column_stack(presence))

    def _read_inputs(self, X: Any) -> NetInputs:
        inputs = self._encode_inputs(self._read_cohort(X))
        if self.modality_dropout == 0:
            self._warn_untrained(inputs.presence)
        return inputs

    # -- the network --------------------------------------------------------------

    def _fit_network(
        self, inputs: NetInputs, data: TrainingData, rng: np.random.RandomState
    ) -> None:
        split_seed, torch_seed = rng.randint(np.iinfo(np.int32).max, size=2)
        weight = data.sample_weight
        weight = np.ones(len(data.y)) if weight is None else weight
        validation = validation_rows(
            self.validation_fraction,
            data.y,
            data.groups,
            classifier=self._is_classifier,
            random_state=int(split_seed),
            owner=type(self).__name__,
        )
        target = self._network_target(data.y, weight)
        is_deep = any(part.is_trained for part in self._inputs)
        # Small layers are faster in one thread, and then give the same weights in a
        # worker process as in the main one.
        with seeded_torch(int(torch_seed), None if is_deep else 1):
            self.network_ = self._new_network(inputs)
            self.history_ = train(
                self.network_,
                inputs,
                target,
                weight.astype(self._dtype),
                validation,
                self._settings(),
            )
        self.n_epochs_ = len(self.history_)

    def _new_network(self, inputs: NetInputs) -> JointNetwork:
        encoders = {}
        for j, part in enumerate(self._inputs):
            encoder = ModalityEncoder(
                part.n_features, self.hidden_dims[0], self.dropout, part.new_tail()
            )
            array = inputs.arrays[part.modality.name][inputs.presence[:, j]]
            features = outputs_of(
                lambda batch, _, tail=encoder.backbone.eval(): tail(batch["x"]),
                NetInputs({"x": array}, np.ones((len(array), 1), dtype=bool)),
            )
            encoder.standardize.calibrate(torch.from_numpy(features))
            encoders[part.modality.name] = encoder
        network = JointNetwork(
            encoders,
            self.hidden_dims,
            len(self._fallback) if self._is_classifier else 1,
            self.dropout,
            self.modality_dropout,
        )
        return network.double() if self._dtype == np.float64 else network

    def _settings(self) -> TrainingSettings:
        return TrainingSettings(
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            encoder_lr_factor=self.encoder_lr_factor,
            weight_decay=self.weight_decay,
            patience=self.patience,
            device=find_device(self.device),
            callbacks=self.callbacks,
            verbose=self.verbose,
        )

    def _check_settings(self) -> None:
        owner = type(self).__name__
        if self.fusion not in JOINS:
            raise ValueError(
                f"{owner}: fusion must be one of {JOINS}, got {self.fusion!r}."
            )
        widths = self.hidden_dims
        if not len(widths) or any(int(width) < 1 for width in widths):
            raise ValueError(
                f"{owner}: hidden_dims must be one or more positive numbers (width of "
                f"a representation, then of the head's layers), got {widths!r}."
            )
        for name in ("dropout", "modality_dropout", "validation_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(
                    f"{owner}: {name} must be at least 0 and below 1, got {value!r}."
                )
        for name in ("max_epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{owner}: {name} must be 1 or more, got {getattr(self, name)!r}."
                )

    def _outputs(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        inputs = self._read_inputs(X)
        return outputs_of(self.network_, inputs), inputs.presence

    def _finish(self, outputs: np.ndarray, presence: np.ndarray) -> np.ndarray:
        nothing = self._check_predictable(presence)
        values = self._from_network(outputs.astype(np.float64))
        values[nothing] = self._fallback
        return values


class JointFusionClassifier(ClassifierTarget, ClassifierMixin, _JointFusion):
    """Classify with one network, encoders fine-tuned together (joint fusion).

    Each modality has an encoder; their representations are concatenated and a head
    predicts from them. The loss is propagated back into every encoder, which is what
    sets joint fusion apart from early fusion [1]_. For images the encoder is the
    backbone of their `ImageEmbedder`, trained from a chosen depth; for anything else
    it is a layer on the transformer's features.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    fusion : {"concat"}, default="concat"
        How representations are joined.
    trainable : {"head", "last_block", "all"}, int or list of str, default="last_block"
        What is trained of an image backbone: nothing, its last block, everything, its
        last so many blocks, or the layers below these names. The part before it is
        run once per image and kept in the embedder's store.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each modality's representation, then of the head's hidden layers.
    dropout : float, default=0.2
        Share of features dropped before each layer in training.
    modality_dropout : float, default=0.1
        Share of present modalities hidden in training (one always stays), so that the
        learned token for an absent modality is worth something.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes in the loss.
    max_epochs : int, default=50
        Most passes over the training rows.
    batch_size : int, default=32
        Rows per step.
    lr : float, default=3e-3
        Learning rate of AdamW.
    encoder_lr_factor : float, default=0.1
        What the learning rate is multiplied with for the layers of a backbone.
    weight_decay : float, default=1e-2
        Weight decay of AdamW.
    validation_fraction : float, default=0.15
        Share of the rows (of the patients, where groups are given) held out to stop
        early and to choose the epoch; none are below 40 rows.
    patience : int, default=8
        Epochs without a better validation loss before training stops.
    device : str, default="auto"
        Torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
    callbacks : list of (str, skorch callback) or None, default=None
        More skorch callbacks, e.g. learning-rate schedulers and checkpoints.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: a learned token stands for it, an error, or its
        row is dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    random_state : int, RandomState or None, default=None
        Seeds initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        Not 0: print a line per epoch.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of every epoch.
    n_epochs_ : int
        Number of epochs trained.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionClassifier : One model on the joined features.
    LateFusionClassifier : One model per modality, predictions combined.

    Notes
    -----
    Without images everything is computed in float64, in one thread. With trained
    backbone layers torch uses its own number of threads, and its sums may differ in
    the last digits between numbers of threads; with the same number, the same
    `random_state` gives the same network.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import JointFusionClassifier
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = JointFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     max_epochs=5, random_state=0,
    ... ).fit(cohort.data, cohort.target)
    >>> model.transform(cohort.data).shape
    (400, 128)
    """

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        fusion: str = "concat",
        trainable: Any = "last_block",
        hidden_dims: Any = (64, 32),
        dropout: float = 0.2,
        modality_dropout: float = 0.1,
        class_weight: Any = None,
        max_epochs: int = 50,
        batch_size: int = 32,
        lr: float = 3e-3,
        encoder_lr_factor: float = 0.1,
        weight_decay: float = 1e-2,
        validation_fraction: float = 0.15,
        patience: int = 8,
        device: str = "auto",
        callbacks: Any = None,
        missing: str = "auto",
        groups: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.fusion = fusion
        self.trainable = trainable
        self.hidden_dims = hidden_dims
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.class_weight = class_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.encoder_lr_factor = encoder_lr_factor
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.callbacks = callbacks
        self.missing = missing
        self.groups = groups
        self.random_state = random_state
        self.verbose = verbose

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_classes)
        """
        return self._finish(*self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        proba = self.predict_proba(X)
        return self.classes_[proba.argmax(axis=1)]

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return y.astype(np.int64)

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return softmax(outputs, axis=1)


class JointFusionRegressor(RegressorTarget, RegressorMixin, _JointFusion):
    """Predict a number with one network, encoders fine-tuned together (joint fusion).

    Each modality has an encoder; their representations are concatenated and a head
    predicts from them. The loss is propagated back into every encoder, which is what
    sets joint fusion apart from early fusion [1]_. For images the encoder is the
    backbone of their `ImageEmbedder`, trained from a chosen depth; for anything else
    it is a layer on the transformer's features.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    fusion : {"concat"}, default="concat"
        How representations are joined.
    trainable : {"head", "last_block", "all"}, int or list of str, default="last_block"
        What is trained of an image backbone: nothing, its last block, everything, its
        last so many blocks, or the layers below these names. The part before it is
        run once per image and kept in the embedder's store.
    hidden_dims : tuple of int, default=(64, 32)
        Width of each modality's representation, then of the head's hidden layers.
    dropout : float, default=0.2
        Share of features dropped before each layer in training.
    modality_dropout : float, default=0.1
        Share of present modalities hidden in training (one always stays), so that the
        learned token for an absent modality is worth something.
    max_epochs : int, default=50
        Most passes over the training rows.
    batch_size : int, default=32
        Rows per step.
    lr : float, default=3e-3
        Learning rate of AdamW.
    encoder_lr_factor : float, default=0.1
        What the learning rate is multiplied with for the layers of a backbone.
    weight_decay : float, default=1e-2
        Weight decay of AdamW.
    validation_fraction : float, default=0.15
        Share of the rows (of the patients, where groups are given) held out to stop
        early and to choose the epoch; none are below 40 rows.
    patience : int, default=8
        Epochs without a better validation loss before training stops.
    device : str, default="auto"
        Torch device; ``"auto"`` takes CUDA, then MPS, then the CPU.
    callbacks : list of (str, skorch callback) or None, default=None
        More skorch callbacks, e.g. learning-rate schedulers and checkpoints.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: a learned token stands for it, an error, or its
        row is dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    random_state : int, RandomState or None, default=None
        Seeds initial weights, dropout, batches and the validation split.
    verbose : int, default=0
        Not 0: print a line per epoch.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    network_ : torch.nn.Module
        The trained network, on the CPU and in evaluation mode.
    history_ : list of dict
        Losses and duration (s) of every epoch.
    n_epochs_ : int
        Number of epochs trained.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionRegressor : One model on the joined features.
    LateFusionRegressor : One model per modality, predictions combined.

    Notes
    -----
    Without images everything is computed in float64, in one thread. With trained
    backbone layers torch uses its own number of threads, and its sums may differ in
    the last digits between numbers of threads; with the same number, the same
    `random_state` gives the same network.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import JointFusionRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> model = JointFusionRegressor(random_state=0).fit(X, X[:, 0] - X[:, 3])
    >>> model.score(X, X[:, 0] - X[:, 3]) > 0.9
    True
    """

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        fusion: str = "concat",
        trainable: Any = "last_block",
        hidden_dims: Any = (64, 32),
        dropout: float = 0.2,
        modality_dropout: float = 0.1,
        max_epochs: int = 50,
        batch_size: int = 32,
        lr: float = 3e-3,
        encoder_lr_factor: float = 0.1,
        weight_decay: float = 1e-2,
        validation_fraction: float = 0.15,
        patience: int = 8,
        device: str = "auto",
        callbacks: Any = None,
        missing: str = "auto",
        groups: str | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.fusion = fusion
        self.trainable = trainable
        self.hidden_dims = hidden_dims
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.encoder_lr_factor = encoder_lr_factor
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.device = device
        self.callbacks = callbacks
        self.missing = missing
        self.groups = groups
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> np.ndarray:
        """Predict the target of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
        """
        return self._finish(*self._outputs(X))

    def _network_target(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        # The loss is a squared error, whose size must not depend on the target's unit.
        self._center = np.average(y, weights=weight)
        spread = np.sqrt(np.average((y - self._center) ** 2, weights=weight))
        self._spread = spread if spread > 0 else 1.0
        return ((y - self._center) / self._spread).astype(self._dtype)

    def _from_network(self, outputs: np.ndarray) -> np.ndarray:
        return outputs[:, 0] * self._spread + self._center


def find_device(device: str) -> str:
    """Return the torch device to use: the one named, or the best that is there."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
