"""Base class of the joint fusion estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skfusion._fitting.pipelines import joined_warnings
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_number
from skfusion.blocks import check_finite_block, located_errors
from skfusion.cohort import TrainingData, column_of_role
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.inner_estimators import check_transformers, seeded
from skfusion.fusion.joint.augmentation import batch_augmentation
from skfusion.fusion.joint.bags import BagRows
from skfusion.fusion.joint.callbacks import (
    CallbackSupportMixin,
    EpochHook,
    FitReports,
    Unfreezing,
    check_callbacks,
    with_callbacks,
)
from skfusion.fusion.joint.data import NetInputs, Sample, outputs_of
from skfusion.fusion.joint.inputs import (
    ImageInput,
    augmented,
    brings_network,
    make_input,
)
from skfusion.fusion.joint.joins import check_join, joined_names, without_modalities
from skfusion.fusion.joint.network import (
    Architecture,
    JointNetwork,
    build_network,
    with_encoder,
)
from skfusion.fusion.joint.objective import AuxiliaryTarget, JointLoss, build_loss
from skfusion.fusion.joint.settings import TrainingSettings
from skfusion.fusion.joint.training import (
    TrainingPlan,
    best_offsets,
    rows_per_effective_row,
    train,
    warn_of_large_loss,
)
from skfusion.fusion.torch_runtime import (
    Precision,
    ordinary_modes,
    seeded_torch,
    torch_threads,
)
from skfusion.image.networks.backbones import Backbone
from skfusion.image.networks.inference import resolve_device
from skfusion.splits import validation_rows, validation_rows_left

__all__ = ["BaseJointFusion"]


class BaseJointFusion(CallbackSupportMixin, BaseFusion):
    """Base class of joint fusion, which trains encoders, join and head together."""

    _DEFAULTED = ("training",)
    _RENAMED = {
        "fusion": "join",
        "fusion_params": "join_params",
        "trainable": "ImageEmbedder(trainable=...)",
        **{
            name: f"training=TrainingSettings({name}=...)"
            for name in TrainingSettings().get_params()
            if name != "n_threads"
        },
    }

    @undone_on_failure
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> BaseJointFusion:
        """Fit the transformers, then train the encoders and the head together.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The cohort, one row per case.
        y : array-like of shape (n_samples,)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Sample weights in the loss. Rows of weight 0 are left out. Only the ratios
            of the weights count: they are scaled to a mean of 1.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids. They override the column named by the parameter `groups`.
            The split for early stopping keeps the rows of a patient on one side.

        Returns
        -------
        self
            The fitted estimator.
        """
        return self._fit(X, y, sample_weight, groups)

    @with_callbacks
    @ordinary_modes()
    def _fit(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> BaseJointFusion:
        self._check_training()
        device = resolve_device(self.device)
        architecture = Architecture.of(self)
        reports = FitReports(self, X, y, sample_weight)
        data = self._start_fit(X, y, sample_weight, groups)
        architecture = self._of_modalities_left(architecture)
        check_transformers(self._modalities, type(self).__name__)
        loss = build_loss(
            self.loss, self.loss_params, self._target.kind, type(self).__name__
        )
        if data.sample_weight is not None:
            data = data.rows(np.flatnonzero(data.sample_weight > 0))
            self._check_weighted(data)
        rng = check_random_state(self.random_state)
        self._inputs = [
            make_input(modality) for modality in seeded(self._modalities, rng)
        ]
        split_seed, torch_seed = rng.randint(np.iinfo(np.int32).max, size=2)
        # The transformers may use the target, so the rows for early stopping are held
        # out from them too.
        validation = validation_rows(
            self._settings.validation_fraction,
            self._target.strata(data.y),
            data.groups,
            n_rows=len(data.y),
            random_state=int(split_seed),
            owner=type(self).__name__,
        )
        self._fit_inputs(data, validation, device, architecture)
        inputs = self._encode_inputs(data.X)
        self._learned = np.array([part.learned for part in self._inputs])
        kept = self._usable_rows(inputs.presence, self._learned)
        if len(kept) < len(inputs):
            data, inputs = data.rows(kept), inputs.rows(kept)
            strata = self._target.strata(data.y)
            validation = validation_rows_left(validation, kept, strata)
        varies = ~inputs.presence.all(axis=0)
        self._set_support(varies | (self.modality_dropout > 0))
        self._target.summarise(data.y, data.sample_weight)
        self._fit_network(
            inputs,
            data,
            validation,
            architecture,
            loss,
            *(int(torch_seed), device, reports),
        )
        reports.end()
        return self

    def _of_modalities_left(self, architecture: Architecture) -> Architecture:
        """Leave dropped modalities out of the architecture, and check the join."""
        dropped = {name for name, gone in self._listed.items() if gone}
        encoders = architecture.encoders
        if not isinstance(encoders, str):
            encoders = [name for name in encoders if name not in dropped]
        join, params = without_modalities(
            architecture.join, architecture.join_params, dropped
        )
        names = [modality.name for modality in self._modalities]
        check_join(join, params, names, architecture.owner)
        return replace(architecture, join=join, join_params=params, encoders=encoders)

    def _check_weighted(self, data: TrainingData) -> None:
        """Check the rows whose weight is greater than 0, which a task may need."""

    def _fit_inputs(
        self,
        data: TrainingData,
        validation: np.ndarray,
        device: torch.device,
        architecture: Architecture,
    ) -> None:
        """Fit the transformer of each modality and set the fusion type."""
        held_out = np.isin(np.arange(len(data.y)), validation)
        encoded = with_encoder(architecture.encoders, self._inputs, architecture.owner)
        self.fusion_type_ = "I" if len(encoded) == len(self._inputs) else "II"
        with joined_warnings():
            self._inputs = Parallel(n_jobs=self.n_jobs)(
                delayed(_fit_input)(part, data, held_out) for part in self._inputs
            )
        dtype = self._network_dtype(device)
        self._dtype = np.dtype(str(dtype).removeprefix("torch."))
        self.modalities_ = with_transformers(
            [part.modality for part in self._inputs],
            lambda modality: modality.transformer,
        )

    def transform(self, X: Any) -> np.ndarray:
        """Return the joined representation, which is the input of the head.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        ndarray of shape (n_samples, n_joined)
            Output of the join, e.g. the concatenated representations. Learned tokens
            replace the representations of absent modalities.
        """
        joined = self._run(
            lambda network, batch, here: network.join(
                network.put_tokens(network.encode(batch), here), here
            ),
            self._read_inputs(X),
        )
        return joined.astype(np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the joined representation.

        Parameters
        ----------
        input_features : ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``modality__h0``, ``modality__h1`` ... for a concatenation, else
            ``joined0``, ``joined1`` ...
        """
        check_is_fitted(self, "modalities_")
        widths = self.network_.widths
        names = joined_names(self.join, widths, self._n_features_out)
        return np.asarray(names, dtype=object)

    def encode_modalities(self, X: Any) -> dict[str, np.ndarray]:
        """Return the representation of each modality.

        This is the expensive part of a prediction. `predict_encoded` computes the rest.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, width of the representation)
            Rows where the modality is absent are NaN.
        """
        inputs = self._read_inputs(X)
        network = self.network_
        encoded = self._run(
            lambda network, batch, _: torch.cat(network.encode(batch), 1), inputs
        )
        widths = list(network.widths.values())
        parts = np.split(encoded, np.cumsum(widths)[:-1], axis=1)
        for j, part in enumerate(parts):
            part[~inputs.presence[:, j]] = np.nan
        return dict(zip(network.widths, parts, strict=True))

    def predict_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from the representations that `encode_modalities` returned.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, width of the representation)
            One entry per modality. An all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Output of ``predict_proba`` (classifier) or ``predict`` (regressor).
        """
        check_is_fitted(self, "modalities_")
        network = self.network_
        parts = {name: np.asarray(Z[name], self._dtype) for name in network.widths}
        absent = [np.isnan(part).all(axis=1) for part in parts.values()]
        present = ~np.column_stack(absent)
        filled = {name: np.nan_to_num(part) for name, part in parts.items()}
        outputs = self._run(
            lambda network, batch, here: network.decide(list(batch.values()), here),
            NetInputs(filled, present),
        )
        return self._finish(outputs, present)

    def predict_modalities(self, X: Any) -> dict[str, np.ndarray]:
        """Predict from each modality alone, with the heads of the auxiliary losses.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_outputs) or (n_samples,)
            Output of ``predict_proba`` (classifier) or ``predict`` (regressor) from
            one modality. Rows in which it is absent are NaN.

        Raises
        ------
        ValueError
            If the model was fitted with ``auxiliary_loss=0``, without these heads.
        """
        inputs = self._read_inputs(X)
        network = self.network_
        if not network.modality_heads:
            raise ValueError(
                f"{type(self).__name__}: predict_modalities needs heads of single "
                "modalities, which auxiliary_loss=0 does not train. Fit with "
                "auxiliary_loss=1.0, for example."
            )
        outputs = self._run(
            lambda network, batch, _: torch.stack(
                network.predict_single(network.encode(batch)), dim=1
            ),
            inputs,
        )  # (n, M, O)
        predicted = {}
        for j, name in enumerate(network.widths):
            values = self._from_network(outputs[:, j].astype(np.float64))
            values[~inputs.presence[:, j]] = np.nan
            predicted[name] = self._target.result(values)
        return predicted

    def attention_weights(self, X: Any) -> dict[str, list[np.ndarray]]:
        """Return the weight of each image or vector of the bags of a cohort.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        dict of str to list of n_samples ndarrays
            One entry per modality with ``bag_pooling="attention"``. The array of a row
            has one weight per image or vector of its cell, in their order. They sum to
            1. A missing one has NaN.

        Raises
        ------
        ValueError
            If no modality has ``bag_pooling="attention"``.
        """
        inputs = self._encode_inputs(self._read_cohort(X))
        found = {}
        for name, array in inputs.arrays.items():
            if isinstance(array, BagRows):
                place = f"x_{name}"
                flat = self._run(
                    lambda network, batch, _, name=name, place=place: network.encoders[
                        place
                    ].weights(batch[name]),
                    inputs,
                )
                found[name] = array.split(flat)
        if not found:
            raise ValueError(
                f"{type(self).__name__}: no modality pools its bags by attention. Use "
                "ImageEmbedder(bag_pooling='attention') or "
                "VectorColumns(bag_pooling='attention')."
            )
        return found

    def _run(self, function: Callable[..., Tensor], inputs: NetInputs) -> np.ndarray:
        with ordinary_modes(), torch_threads(self._settings.n_threads):
            return outputs_of(
                self.network_, function, inputs, resolve_device(self.device)
            )

    # -- protocol for inspection --------------------------------------------------

    def network_modalities(self) -> list[str]:
        """Return the names of the modalities that bring a network, also before fit."""
        if hasattr(self, "_inputs"):
            return [p.modality.name for p in self._inputs if p.brings_network]
        return [name for name, part, _ in self.modalities if brings_network(part)]

    def encode_inputs(self, X: Any) -> NetInputs:
        """Return the inputs of the network for a cohort."""
        return self._encode_inputs(self._read_cohort(X))

    def image_network(self, name: str) -> tuple[Backbone, torch.nn.Module | None]:
        """Return the backbone of an image modality and its frozen trunk.

        Parameters
        ----------
        name : str
            Name of the modality.

        Returns
        -------
        backbone : Backbone
            The network of the `ImageEmbedder`, with its preprocessing.
        trunk : torch.nn.Module or None
            The part before the trainable tail. None if everything is trainable.

        Raises
        ------
        TypeError
            If the modality does not enter the network as images.
        """
        part = next(part for part in self._inputs if part.modality.name == name)
        if not isinstance(part, ImageInput):
            raise TypeError(
                f"Modality {name!r} of {type(self).__name__} is encoded before the "
                "network, so the network has no image input to explain."
            )
        if part.attends:
            raise TypeError(
                f"Modality {name!r} of {type(self).__name__} pools several images by "
                "attention, so that a row has no single image to explain. See "
                "attention_weights for the weight of each image."
            )
        backbone, split = part.parts()
        return backbone, split.trunk

    def score_outputs(self, outputs: Tensor) -> Tensor:
        """Return the outputs of the network on the scale of the prediction.

        Parameters
        ----------
        outputs : Tensor of shape (n_rows, n_outputs)
            Outputs of `network_`, in float64.

        Returns
        -------
        Tensor of shape (n_rows, n_scores)
            Logits of the classes or labels, predicted numbers, or a risk.
            Differentiable.
        """
        return outputs

    # -- parameters ---------------------------------------------------------------

    @property
    def _settings(self) -> TrainingSettings:
        return self._default_of("training") if self.training is None else self.training

    def _default_of(self, name: str) -> Any:
        return TrainingSettings()

    def _check_training(self) -> None:
        """Check the parameters of the training before anything is computed."""
        owner = type(self).__name__
        if not isinstance(self._settings, TrainingSettings):
            raise TypeError(
                f"{owner}: training must be a TrainingSettings or None, got "
                f"{type(self.training).__name__}."
            )
        for name in ("max_epochs", "batch_size"):
            check_number(getattr(self, name), name, owner, low=1, integer=True)
        check_number(self.lr, "lr", owner, low=0)
        self._settings.check(owner)

    # -- inputs -------------------------------------------------------------------

    @ordinary_modes()
    def _encode_inputs(self, X: pd.DataFrame) -> NetInputs:
        arrays, presence = {}, []
        with joined_warnings():
            for part in self._inputs:
                array, present = part.encode(X)
                if isinstance(array, np.ndarray):
                    with np.errstate(over="ignore"):  # refused with its place
                        array = array.astype(self._dtype, copy=False)
                    array = np.ascontiguousarray(array)
                    rows = np.arange(len(X))
                    with located_errors(part.modality, rows, X):
                        check_finite_block(array, part.feature_names, rows)
                elif isinstance(array, BagRows):
                    array = array.astype(self._dtype)
                arrays[part.modality.name] = array
                presence.append(present)
        return NetInputs(arrays, np.column_stack(presence))

    def _read_inputs(self, X: Any) -> NetInputs:
        inputs = self._encode_inputs(self._read_cohort(X))
        self._warn_untrained(inputs.presence)
        return inputs

    # -- the network --------------------------------------------------------------

    def _fit_network(
        self,
        inputs: NetInputs,
        data: TrainingData,
        validation: np.ndarray,
        architecture: Architecture,
        task: torch.nn.Module,
        torch_seed: int,
        device: torch.device,
        reports: FitReports,
    ) -> None:
        weight = data.sample_weight
        weight = np.ones(len(data.y)) if weight is None else weight
        fitted = np.setdiff1d(np.arange(len(data.y)), validation)
        auxiliary = self._encode_auxiliary(data)
        loss = self._joint_loss(
            task, auxiliary, fitted, inputs.presence[fitted], weight[fitted]
        )
        sample = Sample(
            inputs,
            self._network_target(data.y, weight),
            weight.astype(self._dtype),
            None if auxiliary is None else auxiliary.encoded,
        )
        light = not any(isinstance(part, ImageInput) for part in self._inputs)
        precision = Precision.resolve(self._settings.precision, device, is_light=light)
        settings = self._training_plan(precision, reports.hooks())
        with (
            torch_threads(self._settings.n_threads),
            seeded_torch(torch_seed),
        ):
            network = build_network(
                self._inputs,
                inputs,
                architecture,
                self._n_network_outputs(),
                0 if auxiliary is None else auxiliary.n_outputs,
                dtype=getattr(torch, self._dtype.name),
                device=device,
                sample_weight=data.sample_weight,
            )
            self._prepare_network(network)
            self.network_ = network
            self._n_features_out = network.n_joined
            self.history_ = train(
                network,
                self._augmented(sample.rows(fitted), data.X.iloc[fitted], precision),
                sample.rows(validation) if len(validation) else None,
                settings,
                loss,
            )
        if isinstance(self.loss, str):
            warn_of_large_loss(self.history_, settings)
        self.n_epochs_ = len(self.history_)
        self.callbacks_ = list(settings.callbacks)
        self._finish_fit(inputs, data, validation)

    def _network_dtype(self, device: torch.device) -> torch.dtype:
        """Return float64 if the inputs, the settings and the device allow it.

        Networks without images are cheap in float64. MPS does not support float64.
        """
        exact = all(part.dtype == "float64" for part in self._inputs)
        if (
            exact
            and self._settings.precision in ("auto", "float32")
            and device.type != "mps"
        ):
            return torch.float64
        return torch.float32

    def _training_plan(
        self, precision: Precision, hooks: Sequence[tuple[str, EpochHook]]
    ) -> TrainingPlan:
        return TrainingPlan(
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self._settings.weight_decay,
            patience=self._settings.patience,
            precision=precision,
            encoder_rates=self._encoder_rates(),
            unfreezing=self._unfreezing(),
            scheduler=self._settings.scheduler,
            gradient_clip=self._settings.gradient_clip,
            callbacks=check_callbacks(
                self._settings.callbacks, self._settings.scheduler, type(self).__name__
            ),
            hooks=hooks,
            verbose=self.verbose,
            owner=type(self).__name__,
        )

    def _encoder_rates(self) -> list[tuple[list[str], float]]:
        """Return the learning rate of each block, decreasing from output to input."""
        rates = []
        for part in self._inputs:
            rate = self.lr * part.lr_factor(self._settings.encoder_lr_factor)
            for depth, block in enumerate(reversed(_blocks(part))):
                rates.append((block, rate * self._settings.encoder_lr_decay**depth))
        return rates

    def _unfreezing(self) -> Unfreezing | None:
        if self._settings.unfreeze_every is None:
            return None
        stages = [
            [name for block in blocks for name in block]
            for blocks in zip_longest(
                *(reversed(_blocks(part)) for part in self._inputs), fillvalue=[]
            )
        ]
        unfreezing = Unfreezing(stages, int(self._settings.unfreeze_every))
        if unfreezing.last_step > self.max_epochs:
            n_trained = unfreezing.n_blocks(self.max_epochs)
            warn_user(
                f"{type(self).__name__}: unfreeze_every={unfreezing.every} and "
                f"max_epochs={self.max_epochs} train {n_trained} of the {len(stages)} "
                "blocks of an encoder that should be trained. The others keep their "
                f"weights. Set max_epochs to {unfreezing.last_step} or more, or lower "
                "unfreeze_every.",
                FallbackWarning,
            )
        return unfreezing

    def _augmented(
        self, sample: Sample, X: pd.DataFrame, precision: Precision
    ) -> Sample:
        """Return the training sample with images that are augmented in each epoch."""
        augment = batch_augmentation(self._settings.augmentation, type(self).__name__)
        return replace(
            sample, inputs=augmented(self._inputs, sample.inputs, X, augment, precision)
        )

    def _n_network_outputs(self) -> int:
        return self._target.n_outputs

    def _prepare_network(self, network: JointNetwork) -> None:
        """Change the initial weights of the network, which a task may need."""

    def _finish_fit(
        self, inputs: NetInputs, data: TrainingData, validation: np.ndarray
    ) -> None:
        """Fit the biases of the last layer where a few rows have most of the weight.

        A step then depends on few rows, e.g. of a rare class, and moves the biases more
        than anything else: the share of rows that are predicted to be of this class
        would differ between seeds.
        """
        weight = data.sample_weight
        if weight is None or not isinstance(self.loss, str):
            return
        if rows_per_effective_row(weight) < 2:
            return
        outputs = self._run(JointNetwork.__call__, inputs)
        name = type(self).__name__
        task = build_loss(self.loss, self.loss_params, self._target.kind, name)
        target = self._network_target(data.y, weight)
        offsets = best_offsets(outputs, target, weight, task)
        last: Any = self.network_.head[-1]
        with torch.no_grad():
            last.bias += torch.from_numpy(offsets).to(last.bias)

    def _encode_auxiliary(self, data: TrainingData) -> AuxiliaryTarget | None:
        if data.auxiliary is None:
            return None
        auxiliary = AuxiliaryTarget(data.auxiliary, type(self).__name__)
        if auxiliary.kind == "numbers":
            auxiliary.encoded = auxiliary.encoded.astype(self._dtype)
        return auxiliary

    def _joint_loss(
        self,
        task: torch.nn.Module,
        auxiliary: AuxiliaryTarget | None,
        fitted: np.ndarray,
        presence: np.ndarray,
        weight: np.ndarray,
    ) -> JointLoss:
        """Return the loss for training on some rows, with their presence and weight."""
        shares = np.average(presence, axis=0, weights=weight).tolist()
        if auxiliary is None:
            return JointLoss(task, self.auxiliary_loss, modality_shares=shares)
        return JointLoss(
            task,
            self.auxiliary_loss,
            build_loss("auto", None, auxiliary.kind, type(self).__name__),
            self._settings.auxiliary_target_weight,
            modality_shares=shares,
            auxiliary_share=float(np.average(auxiliary.known[fitted], weights=weight)),
        )

    def _set_aside(self, frame: pd.DataFrame, *, has_ids: bool) -> dict[str, Any]:
        aside = super()._set_aside(frame, has_ids=has_ids)
        if self.auxiliary_target is not None:
            aside["auxiliary_target"] = self._auxiliary_column(frame)
        return aside

    def _auxiliary_column(self, frame: pd.DataFrame) -> Any:
        return column_of_role(
            self.auxiliary_target, "auxiliary_target", frame, type(self).__name__
        )

    def _auxiliary_values(self, frame: pd.DataFrame) -> pd.Series | None:
        if self.auxiliary_target is None:
            return None
        column = frame[self._auxiliary_column(frame)]
        return pd.Series(column).reset_index(drop=True)

    def _test_time_views(
        self, inputs: NetInputs, X: pd.DataFrame
    ) -> Iterator[NetInputs]:
        """Yield the inputs with augmented images, once for each view.

        A view changes all images in the same way. The prediction for a row therefore
        does not depend on the other rows.
        """
        augment = batch_augmentation(self._settings.augmentation, type(self).__name__)
        if augment is None:
            return
        precision = Precision.resolve(
            "float32", resolve_device(self.device), is_light=False
        )
        for view in range(self._settings.test_time_views):
            change = _same_for_all(augment, view)
            yield augmented(self._inputs, inputs, X, change, precision)

    def _outputs(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        frame = self._read_cohort(X)
        inputs = self._encode_inputs(frame)
        self._warn_untrained(inputs.presence)
        views = [inputs, *self._test_time_views(inputs, frame)]
        outputs = [self._run(JointNetwork.__call__, view) for view in views]
        return np.mean(outputs, axis=0), inputs.presence

    def _finish(self, outputs: np.ndarray, presence: np.ndarray) -> np.ndarray:
        nothing = self._check_predictable(presence)
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=1) & ~nothing)
        if len(bad):
            raise ValueError(
                f"{type(self).__name__}: the network returns NaN or infinity for "
                f"{len(bad)} of {len(outputs)} rows, first at row position(s) "
                f"{bad[:5].tolist()}. Their values are too far from those of the "
                "training rows. Check their units, or scale or clip the columns."
            )
        values = self._from_network(outputs.astype(np.float64))
        values[nothing] = self._target.fallback
        return self._target.result(values)


def _fit_input(part: Any, data: TrainingData, held_out: np.ndarray) -> Any:
    part.fit(data.X, data.y, data.sample_weight, data.groups, held_out)
    return part if part.learned else part.absent()


def _blocks(part: Any) -> list[list[str]]:
    """Return the parameter names of the trainable blocks in the joint network.

    The block next to the input comes first.
    """
    prefix = f"encoders.x_{part.modality.name}.backbone."
    return [[prefix + name for name in block] for block in part.trainable_blocks()]


def _same_for_all(
    augment: Callable[[Tensor], Tensor], seed: int
) -> Callable[[Tensor], Tensor]:
    def change(images: Tensor) -> Tensor:
        changed = []
        for image in images:
            with seeded_torch(seed):
                changed.append(augment(image[None]))
        return torch.cat(changed)

    return change
