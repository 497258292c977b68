"""What joint fusion does: cohorts become the inputs of one network.

The network is in `skfusion.fusion.networks`, its training in
`skfusion.fusion.training`, the estimators in `skfusion.fusion.joint`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import effective_n_jobs
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.cohort import TrainingData
from skfusion.fusion.folds import validation_rows
from skfusion.fusion.inputs import BlockInput, ImageInput
from skfusion.fusion.learners import seeded
from skfusion.fusion.networks import JointNetwork, ModalityEncoder
from skfusion.fusion.training import (
    NetInputs,
    TrainingSettings,
    outputs_of,
    seeded_torch,
    torch_threads,
    train,
)
from skfusion.image.embedding import ImageEmbedder

__all__ = ["BaseJointFusion"]

JOINS = ("concat",)


class BaseJointFusion(BaseFusion):
    """Encode every modality, join the representations, train all together."""

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> BaseJointFusion:
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
            part.fit(data.X, data.y, data.sample_weight, data.groups)
        has_images = any(isinstance(part, ImageInput) for part in self._inputs)
        # Numbers alone are cheap enough to be computed as exactly as elsewhere.
        self._dtype = np.dtype(np.float32 if has_images else np.float64)
        inputs = self._encode_inputs(data.X)
        kept = self._usable_rows(inputs.presence)
        if len(kept) < len(inputs):
            data, inputs = data.rows(kept), inputs.rows(kept)
        varies = ~inputs.presence.all(axis=0)
        self._set_support(varies | (self.modality_dropout > 0))
        self._target.summarise(data.y, data.sample_weight)
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
        joined = self._run(
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
        encoded = self._run(self.network_.represent, inputs)  # (n, M, D)
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
        outputs = self._run(
            lambda batch, here: network.join(
                torch.where(here[:, :, None], batch["all"], network.tokens)
            ),
            inputs,
        )
        return self._finish(outputs, present)

    def _run(self, function: Callable[..., Tensor], inputs: NetInputs) -> np.ndarray:
        with torch_threads(effective_n_jobs(self.n_jobs)):
            return outputs_of(function, inputs)

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
            self._target.strata(data.y),
            data.groups,
            n_rows=len(data.y),
            random_state=int(split_seed),
            owner=type(self).__name__,
        )
        target = self._network_target(data.y, weight)
        with (
            torch_threads(effective_n_jobs(self.n_jobs)),
            seeded_torch(int(torch_seed)),
        ):
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
                functools.partial(_run_tail, encoder.backbone.eval()),
                NetInputs({"x": array}, np.ones((len(array), 1), dtype=bool)),
            )
            encoder.standardize.calibrate(torch.from_numpy(features))
            encoders[part.modality.name] = encoder
        network = JointNetwork(
            encoders,
            self.hidden_dims,
            self._target.n_outputs,
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
        return self._run(self.network_, inputs), inputs.presence

    def _finish(self, outputs: np.ndarray, presence: np.ndarray) -> np.ndarray:
        nothing = self._check_predictable(presence)
        values = self._from_network(outputs.astype(np.float64))
        values[nothing] = self._target.fallback
        return self._target.result(values)


def find_device(device: str) -> str:
    """Return the torch device to use: the one named, or the best that is there."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _run_tail(tail: torch.nn.Module, batch: dict[str, Tensor], _: Tensor) -> Tensor:
    return tail(batch["x"])
