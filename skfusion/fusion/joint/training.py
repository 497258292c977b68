"""Training of a joint network with skorch.

Callbacks, schedulers and checkpoints of skorch can be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback
from skorch.helper import predefined_split
from skorch.utils import TeeGenerator
from torch import Tensor, nn

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.joint.callbacks import (
    EpochHook,
    StopIfWanted,
    Unfreezing,
    make_callbacks,
)
from skfusion.fusion.joint.data import Sample, _to_device
from skfusion.fusion.joint.network import JointNetwork, JointOutputs
from skfusion.fusion.joint.objective import JointLoss
from skfusion.fusion.losses import BatchLoss
from skfusion.fusion.torch_runtime import Precision

__all__ = [
    "TrainingPlan",
    "best_offsets",
    "rows_per_effective_row",
    "train",
    "warn_of_large_loss",
]


@dataclass(frozen=True)
class TrainingPlan:
    """Parameters of one training, except for the network, the rows and the loss.

    Attributes
    ----------
    encoder_rates : sequence of (list of str, float)
        Names of parameters of the network with a learning rate other than `lr`, and
        their rates.
    precision : Precision
        Precision and device of the training.
    unfreezing : Unfreezing or None
        Gradual unfreezing.
    callbacks : sequence of (str, callback) or callback
        Copies of the user's callbacks.
    hooks : sequence of (str, EpochHook)
        Hooks that are called before `callbacks` and can stop the training.
    owner : str
        Name of the estimator, used in messages.
    """

    max_epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    patience: int
    precision: Precision
    encoder_rates: Sequence[tuple[list[str], float]] = ()
    unfreezing: Unfreezing | None = None
    scheduler: Any = None
    gradient_clip: float | None = None
    callbacks: Sequence[Any] = ()
    hooks: Sequence[tuple[str, EpochHook]] = ()
    verbose: int = 0
    owner: str = "JointFusion"


@dataclass(frozen=True)
class _Divergence:
    """First step of a training whose loss is not finite.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    encodings : dict of str to str
        Modalities whose encoders return NaN or infinity for the batch, with the number
        of rows in words.
    """

    epoch: int
    encodings: dict[str, str]


# Steps of an epoch that the averaging of gradients leaves.
FEWEST_STEPS = 10


class _Rows(torch.utils.data.Dataset):
    """Dataset of rows that are fetched batch by batch."""

    def __init__(self, sample: Sample) -> None:
        self.inputs = sample.inputs
        self.y = torch.from_numpy(sample.y)
        self.weight = torch.from_numpy(sample.weight)
        extra = sample.auxiliary
        self.auxiliary = None if extra is None else torch.from_numpy(extra)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])

    def __getitems__(self, rows: list[int]) -> Any:
        index = np.asarray(rows)
        arrays, present = self.inputs.fetch(index)
        batch = {"inputs": arrays, "present": present, "weight": self.weight[index]}
        if self.auxiliary is not None:
            batch["auxiliary"] = self.auxiliary[index]
        return batch, self.y[index]


def _as_is(batch: Any) -> Any:
    return batch


class _Stopped(Exception):
    """Stop requested by a callback, which skorch signals by KeyboardInterrupt."""


class _Net(NeuralNet):
    """Net of skorch with the losses of joint fusion and a chosen precision."""

    def __init__(
        self,
        *args: Any,
        precision: Precision,
        encoder_rates: Sequence[tuple[list[str], float]],
        batches_per_step: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.precision = precision
        self.encoder_rates = encoder_rates
        self.batches_per_step = batches_per_step
        self._n_batches, self._batch = 0, 0
        self._scaler = precision.scaler()
        self.divergence: _Divergence | None = None
        self._modes: list[tuple[nn.Module, bool]] = []
        self._held_out: list[tuple[Tensor, Tensor, Tensor]] = []

    def get_params_for_optimizer(
        self, prefix: str, named_parameters: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Group the parameters by learning rate and by whether they decay."""
        named = dict(named_parameters)
        _, kwargs = super().get_params_for_optimizer(prefix, [])
        undecayed = _without_decay(self.module_)
        rates: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({name: named.pop(name) for name in names}, {"lr": rate})
            for names, rate in self.encoder_rates
        ]
        groups = []
        for part, options in [*rates, (named, {})]:
            decayed = [w for name, w in part.items() if name not in undecayed]
            others = [w for name, w in part.items() if name in undecayed]
            groups.append({"params": decayed, **options})
            if others:
                groups.append({"params": others, "weight_decay": 0.0, **options})
        return (groups,), kwargs

    def infer(self, x: dict[str, Any], **fit_params: Any) -> JointOutputs:
        x = _to_device(x, self.device)
        with self.precision.autocast():
            outputs = self.module_.outputs(x["inputs"], x["present"])
        return outputs if self.precision.dtype is None else outputs.float()

    def get_loss(
        self,
        y_pred: JointOutputs,
        y_true: Tensor,
        X: Any = None,
        training: bool = False,
    ) -> Tensor:
        rows = {name: part for name, part in X.items() if name != "inputs"}
        rows = _to_device(rows, self.device)
        y_true = y_true.to(y_pred.fused.device)
        if not training:  # early stopping monitors the task loss only
            self._held_out.append((y_pred.fused, y_true, rows["weight"]))
            return self.criterion_.task(*self._held_out[-1])
        return self.criterion_(y_pred, y_true, **rows)

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Add the gradient of one batch, and run a step if it is the last one for it.

        The step is skipped in float16 if a gradient overflows. Unlike the method of
        skorch, it does not support optimisers that compute the loss repeatedly in a
        step.
        """
        self._enter_training()
        place = self._batch % self.batches_per_step
        remaining = self._n_batches - self._batch
        self._batch += 1
        if place == 0:
            self.optimizer_.zero_grad()
        inputs, y = batch
        y_pred = self.infer(inputs, **fit_params)
        loss = self.get_loss(y_pred, y, X=inputs, training=True)
        scaler = self._scaler
        if scaler is None and not self._is_finite(loss, inputs):
            return {"loss": loss, "y_pred": y_pred}
        part = loss / min(self.batches_per_step, place + remaining)
        (part if scaler is None else scaler.scale(part)).backward()
        if remaining > 1 and place + 1 < self.batches_per_step:
            return {"loss": loss, "y_pred": y_pred}
        if scaler is not None:
            scaler.unscale_(self.optimizer_)
        self.notify(
            "on_grad_computed",
            named_parameters=TeeGenerator(self.get_all_learnable_params()),
            batch=batch,
            training=True,
        )
        if scaler is None:
            self.optimizer_.step()
        else:
            scaler.step(self.optimizer_)
            scaler.update()
        return {"loss": loss, "y_pred": y_pred}

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **kwargs: Any
    ) -> None:
        """Run one epoch, before which parts may have been frozen or unfrozen.

        The loss of a validation is that of all its rows together. A loss that compares
        rows would otherwise depend on which rows share a batch, i.e. on their order.
        """
        self._modes, self._held_out = [], []
        if training:
            self._n_batches, self._batch = len(iterator), 0
        super().run_single_epoch(iterator, training, prefix, step_fn, **kwargs)
        if not self._held_out:
            return
        parts = [torch.cat(part) for part in zip(*self._held_out, strict=True)]
        self._held_out = []
        with torch.no_grad():
            loss = self.criterion_.task(*parts).item()
        for batch in self.history[-1]["batches"]:
            if f"{prefix}_loss" in batch:  # from which skorch computes the mean
                batch[f"{prefix}_loss"] = loss

    def _enter_training(self) -> None:
        """Set the mode of every part, which callbacks and validation may change.

        A comparison with the modes at the first step of the epoch takes a tenth of the
        time of setting them.
        """
        modes = self._modes
        if modes and all(part.training == mode for part, mode in modes):
            return
        self.module_.train()
        self._modes = [(part, part.training) for part in self.module_.modules()]

    def _is_finite(self, loss: Tensor, inputs: dict[str, Any]) -> bool:
        """Return whether the loss of a step is finite, and note the first that is not.

        After it no step changes the weights, which are still finite.
        """
        if self.divergence is None and not torch.isfinite(loss):
            culprits = self.module_.not_finite(
                *_to_device((inputs["inputs"], inputs["present"]), self.device)
            )
            self.divergence = _Divergence(len(self.history), culprits)
        return self.divergence is None

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call the callbacks, and raise `_Stopped` if one of them requests a stop.

        The exception distinguishes the request from a KeyboardInterrupt of the user.
        """
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            raise _Stopped from error


def train(
    network: JointNetwork,
    fitted: Sample,
    held_out: Sample | None,
    plan: TrainingPlan,
    loss: JointLoss,
) -> list[dict[str, Any]]:
    """Train a network in place.

    Parameters
    ----------
    network : JointNetwork
        The network. Its parameters that require gradients are trained with AdamW.
    fitted : Sample
        The training rows.
    held_out : Sample or None
        The rows for early stopping. If given, the weights of the epoch with the
        smallest validation loss are kept.
    plan : TrainingPlan
        Other parameters of the training.
    loss : JointLoss
        Loss that is minimised. Early stopping monitors the task loss only.

    Returns
    -------
    list of dict
        One entry per epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``dur`` in s,
        and values recorded by callbacks.
    """
    callbacks = [
        *plan.hooks,
        *plan.callbacks,
        *make_callbacks(
            scheduler=plan.scheduler,
            gradient_clip=plan.gradient_clip,
            max_epochs=plan.max_epochs,
            patience=plan.patience,
            has_validation=held_out is not None,
            unfreezing=plan.unfreezing,
        ),
    ]
    if plan.hooks:
        callbacks.append(("joint_stop", StopIfWanted(plan.hooks)))
    callbacks.append(("joint_divergence", _StopAfterDivergence()))
    net = _Net(
        network,
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=plan.weight_decay,
        encoder_rates=plan.encoder_rates,
        batches_per_step=_batches_per_step(fitted.weight, plan.batch_size),
        lr=plan.lr,
        max_epochs=plan.max_epochs,
        batch_size=plan.batch_size,
        train_split=None if held_out is None else predefined_split(_Rows(held_out)),
        iterator_train__shuffle=True,
        iterator_train__drop_last=_must_drop(network, len(fitted), plan.batch_size),
        iterator_train__collate_fn=_as_is,
        iterator_valid__collate_fn=_as_is,
        callbacks=callbacks,
        device=plan.precision.device,
        precision=plan.precision,
        verbose=plan.verbose,
        # PrintLog formats its table in every epoch, even if it does not print it.
        **({} if plan.verbose else {"callbacks__print_log": None}),
    )
    _check_start(network, plan.owner)
    _fit(net, _Rows(fitted))
    network.to("cpu").eval()
    history = [
        {key: value for key, value in epoch.items() if _is_told(key)}
        for epoch in net.history
    ]
    _check_finite(network, history, net.divergence, plan)
    return history


def _check_start(network: JointNetwork, owner: str) -> None:
    """Check that the weights are finite before the training."""
    bad = [name for name, w in network.named_parameters() if not w.isfinite().all()]
    if bad:
        raise ValueError(
            f"{owner}: {len(bad)} of {len(list(network.parameters()))} weight tensors "
            f"contain NaN or infinity before the training, first {bad[0]!r}. Pass a "
            "network with finite weights."
        )


class _StopAfterDivergence(Callback):
    """Callback that ends the training after an epoch with a loss that is not finite.

    It is the last callback, so that the others see the end of the epoch.
    """

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        if net.divergence is not None:
            raise KeyboardInterrupt  # stops the training in skorch


def _check_finite(
    network: JointNetwork,
    history: Sequence[dict[str, Any]],
    divergence: _Divergence | None,
    plan: TrainingPlan,
) -> None:
    """Raise an error if a training has no finite result, or warn if it broke off.

    Raises
    ------
    ValueError
        If the loss was not finite and no weights before that were validated, or if the
        weights or all validation losses are not finite.
    """
    remedy = (
        f"Lower lr (now {plan.lr:g}), check the scale of the values, or limit the "
        "gradients with training=TrainingSettings(gradient_clip=1.0)."
    )
    validation = [epoch.get("valid_loss", np.nan) for epoch in history]
    valid = np.isfinite(validation)
    bad = [name for name, w in network.named_parameters() if not w.isfinite().all()]
    what = ""
    if divergence is not None:
        of = ", ".join(f"{name!r} ({n})" for name, n in divergence.encodings.items())
        what = (
            f"{plan.owner}: training diverged in epoch {divergence.epoch} of at most "
            f"{plan.max_epochs}: the loss is NaN or infinite"
            + (f", and so is the encoding of modality {of}" if of else "")
        )
        if divergence.epoch > 1 and valid.any() and not bad:
            best = history[int(np.nanargmin(np.where(valid, validation, np.nan)))]
            warn_user(
                f"{what}. The weights of epoch {best['epoch']} are used, which have "
                f"the smallest validation loss. {remedy}",
                FallbackWarning,
            )
            return
    elif bad:
        what = (
            f"{plan.owner}: training diverged: {len(bad)} of "
            f"{len(list(network.parameters()))} weight tensors contain NaN or infinity "
            f"after epoch {len(history)}, first {bad[0]!r}"
        )
    elif "valid_loss" in history[-1] and not valid.any():
        what = (
            f"{plan.owner}: the loss of the rows held out for early stopping is NaN or "
            f"infinite in all {len(history)} epochs"
        )
    if what:
        raise ValueError(f"{what}. {remedy}")


# The losses of the package are below 5 before the training: targets that are numbers
# have variance 1, and the probabilities of classes are equal.
LARGE_LOSS = 50.0


def warn_of_large_loss(history: Sequence[dict[str, Any]], plan: TrainingPlan) -> None:
    """Warn if the result of a training is finite and far worse than no training.

    Parameters
    ----------
    history : sequence of dict
        Losses of the epochs, of one of the losses of the package.
    plan : TrainingPlan
        Parameters of the training.
    """
    validation = [epoch.get("valid_loss", np.nan) for epoch in history]
    place = -1
    if np.isfinite(validation).any():
        place = int(np.nanargmin(validation))
    if history and history[place]["train_loss"] > LARGE_LOSS:
        warn_user(
            f"{plan.owner}: the training did not converge: its loss is "
            f"{history[place]['train_loss']:.3g} in epoch {history[place]['epoch']}, "
            "whose weights are used. The same prediction for all rows has a loss of "
            f"about 1. Lower lr (now {plan.lr:g}), train for more epochs, or limit the "
            "gradients with training=TrainingSettings(gradient_clip=1.0).",
            FallbackWarning,
        )


def _fit(net: NeuralNet, rows: _Rows) -> None:
    # net.fit would treat a KeyboardInterrupt of the user as the end of the training.
    net.initialize()
    net.notify("on_train_begin", X=rows, y=None)
    with suppress(_Stopped):
        net.fit_loop(rows, None)
    net.notify("on_train_end", X=rows, y=None)


def _batches_per_step(weight: np.ndarray, batch_size: int) -> int:
    """Return the number of batches whose gradients are averaged for one step.

    A few rows of great weight dominate the gradient of a batch, so that it is as noisy
    as that of fewer rows of equal weight (Kish's effective sample size). With balanced
    weights of a class of 2 %, a batch of 32 rows counts as much as 2.5 rows. More
    batches per step have the noise of `batch_size` rows of equal weight. There are
    still at least `FEWEST_STEPS` steps in an epoch.
    """
    n_batches = -(-len(weight) // batch_size)
    inflation = rows_per_effective_row(weight)
    return int(max(1, min(inflation, n_batches // FEWEST_STEPS)))


def rows_per_effective_row(weight: np.ndarray) -> float:
    """Return the number of rows divided by Kish's effective sample size."""
    return float((weight**2).mean() / weight.mean() ** 2)


def best_offsets(
    outputs: np.ndarray, target: np.ndarray, weight: np.ndarray, task: BatchLoss
) -> np.ndarray:
    """Return what, added to each output of all rows, minimises the loss.

    A penalty keeps the offsets finite where a label has one value only. It is that of a
    logistic regression with ``C=1``, which hardly moves any other offset. Rows whose
    outputs are not finite are left out, since they raise an error in prediction.

    Parameters
    ----------
    outputs : ndarray of shape (n_samples, n_outputs)
        Outputs of the network.
    target : ndarray of n_samples rows
        Target of the task.
    weight : ndarray of shape (n_samples,)
        Weights of the rows.
    task : callable
        Loss of the task, see `JointLoss`.

    Returns
    -------
    ndarray of float64 of shape (n_outputs,)
        Zeros if no finite offsets are found.
    """
    finite = np.isfinite(outputs).all(axis=1)
    outputs, target, weight = outputs[finite], target[finite], weight[finite]
    if not len(outputs):
        return np.zeros(outputs.shape[1])
    fixed = torch.from_numpy(outputs.astype(np.float64))
    goal = torch.from_numpy(target)
    if goal.is_floating_point():
        goal = goal.double()
    rows = torch.from_numpy(weight.astype(np.float64))
    offsets = torch.zeros(outputs.shape[1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([offsets], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        found = task(fixed + offsets, goal, rows)
        found = found + (offsets**2).sum() / (2 * len(rows))
        found.backward()
        return found

    search.step(loss)
    found = offsets.detach().numpy()
    return found if np.isfinite(found).all() else np.zeros_like(found)


def _must_drop(network: JointNetwork, n_rows: int, batch_size: int) -> bool:
    """Return whether the last batch has one row, which a batch norm rejects."""
    if n_rows % batch_size != 1 or n_rows == 1:
        return False
    network.train()
    return any(
        isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training
        for part in network.modules()
    )


_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)
# "types" are the tokens of the attention join, one vector per modality.
_TOKENS = ("token", "tokens", "cls_token", "class_token", "types")


def _without_decay(network: nn.Module) -> set[str]:
    """Return the names of the parameters that weight decay leaves as they are.

    Decay draws weights towards 0, which for a product with the inputs means less
    effect. For the shift of a bias, the scale of a norm or the vector of a token, 0 is
    an arbitrary value.
    """
    names = set()
    for prefix, part in network.named_modules():
        is_norm = isinstance(part, _NORMS)
        for name, weight in part.named_parameters(prefix, recurse=False):
            of = name.split(".")
            is_token = not {*_TOKENS}.isdisjoint(of[-2:])
            if is_norm or weight.ndim < 2 or is_token:
                names.add(name)
    return names


def _is_told(key: str) -> bool:
    return key != "batches" and not key.endswith(("_batch_count", "_best"))
