"""Training of joint nets: arrays and a network in, a fitted network out.

Runs on skorch, so that its callbacks, schedulers and checkpoints can be used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping
from skorch.helper import predefined_split
from torch import Tensor

from skfusion.fusion.losses import JointLoss
from skfusion.fusion.networks import JointNetwork, JointOutputs

__all__ = [
    "NetInputs",
    "TrainingSettings",
    "outputs_of",
    "seeded_torch",
    "torch_threads",
    "train",
]

PREDICTION_BATCH_SIZE = 256


@dataclass(frozen=True)
class NetInputs:
    """What a joint net is given: one array per modality, and who has it.

    Attributes
    ----------
    arrays : dict of str to ndarray of shape (n_samples, ...)
        Finite everywhere; what stands in an absent row is never used.
    presence : ndarray of bool of shape (n_samples, M)
        Which modality is there in which row.
    """

    arrays: dict[str, np.ndarray]
    presence: np.ndarray

    def rows(self, index: np.ndarray) -> NetInputs:
        """Return the same inputs for some rows only."""
        return NetInputs(
            {name: array[index] for name, array in self.arrays.items()},
            self.presence[index],
        )

    def __len__(self) -> int:
        return len(self.presence)


@dataclass(frozen=True)
class TrainingSettings:
    """The parameters of `JointFusionClassifier` that concern training."""

    max_epochs: int
    batch_size: int
    lr: float
    encoder_lr_factor: float
    weight_decay: float
    patience: int
    device: str
    callbacks: Any
    verbose: int


class _Rows(torch.utils.data.Dataset):
    """Rows of a training set, fetched a batch at a time."""

    def __init__(
        self,
        inputs: NetInputs,
        y: np.ndarray,
        weight: np.ndarray,
        auxiliary: np.ndarray | None = None,
    ) -> None:
        self.arrays = {k: torch.from_numpy(v) for k, v in inputs.arrays.items()}
        self.presence = torch.from_numpy(inputs.presence)
        self.y = torch.from_numpy(y)
        self.weight = torch.from_numpy(weight)
        self.auxiliary = None if auxiliary is None else torch.from_numpy(auxiliary)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])

    def __getitems__(self, rows: list[int]) -> Any:
        batch = {
            "inputs": {name: array[rows] for name, array in self.arrays.items()},
            "present": self.presence[rows],
            "weight": self.weight[rows],
        }
        if self.auxiliary is not None:
            batch["auxiliary"] = self.auxiliary[rows]
        return batch, self.y[rows]


def _as_is(batch: Any) -> Any:
    return batch


class _Net(NeuralNet):
    """A skorch net with the losses of joint fusion, weighted by row."""

    def infer(self, x: dict[str, Any], **fit_params: Any) -> JointOutputs:
        x = _to_device(x, self.device)
        return self.module_.outputs(x["inputs"], x["present"])

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
        if not training:  # early stopping minds the task alone
            return self.criterion_.task(y_pred.fused, y_true, rows["weight"])
        return self.criterion_(y_pred, y_true, **rows)


def train(
    network: JointNetwork,
    inputs: NetInputs,
    y: np.ndarray,
    weight: np.ndarray,
    validation: np.ndarray,
    settings: TrainingSettings,
    loss: JointLoss,
    auxiliary: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Train a network in place.

    Parameters
    ----------
    network : JointNetwork
        The network; its parameters that require gradients are trained with AdamW.
    inputs : NetInputs
        Inputs of all rows.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Class numbers (int64), an indicator matrix of labels (int64, 2-D), or
        standardised numbers (2-D).
    weight : ndarray of shape (n_samples,)
        Weights of the rows, above 0.
    validation : ndarray of int
        Positions of the rows held out for early stopping; empty for none. With some,
        the weights of the epoch with the least validation loss are kept.
    settings : TrainingSettings
        The rest.
    loss : JointLoss
        What is minimised. Early stopping minds the loss of the task alone.
    auxiliary : ndarray of shape (n_samples,) or None, default=None
        An auxiliary target, as `AuxiliaryTarget` encodes it.

    Returns
    -------
    list of dict
        One entry per epoch: ``epoch``, ``train_loss``, ``valid_loss``, ``dur`` in s.
    """
    fitted = np.setdiff1d(np.arange(len(y)), validation)
    callbacks = list(settings.callbacks or [])
    held_out = None
    if len(validation):
        held_out = predefined_split(
            _Rows(inputs.rows(validation), y[validation], weight[validation])
        )
        callbacks.append(
            EarlyStopping(patience=settings.patience, load_best=True, sink=_no_sink)
        )
    net = _Net(
        network,
        criterion=loss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=settings.weight_decay,
        # the first pattern that matches a parameter decides
        optimizer__param_groups=[
            ("encoders.*.backbone.*", {"lr": settings.lr * settings.encoder_lr_factor})
        ],
        lr=settings.lr,
        max_epochs=settings.max_epochs,
        batch_size=settings.batch_size,
        train_split=held_out,
        iterator_train__shuffle=True,
        iterator_train__collate_fn=_as_is,
        iterator_valid__collate_fn=_as_is,
        callbacks=callbacks,
        device=settings.device,
        verbose=settings.verbose,
    )
    extra = None if auxiliary is None else auxiliary[fitted]
    rows = _Rows(inputs.rows(fitted), y[fitted], weight[fitted], extra)
    net.fit(rows, y=None)
    network.to("cpu").eval()
    kept = ("epoch", "train_loss", "valid_loss", "dur")
    return [{k: row[k] for k in kept if k in row} for row in net.history]


def _no_sink(message: str) -> None:
    """Swallow skorch's word on early stopping; the history tells."""


def outputs_of(function: Callable[..., Tensor], inputs: NetInputs) -> np.ndarray:
    """Run a function of a network over rows, in batches and without gradients.

    Parameters
    ----------
    function : callable
        Called with a dict of tensors and the presence tensor of a batch.
    inputs : NetInputs
        The rows.

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(inputs), PREDICTION_BATCH_SIZE):
            rows = slice(start, start + PREDICTION_BATCH_SIZE)
            batch = {k: torch.from_numpy(v[rows]) for k, v in inputs.arrays.items()}
            present = torch.from_numpy(inputs.presence[rows])
            parts.append(function(batch, present).numpy())
    return np.concatenate(parts)


@contextmanager
def seeded_torch(seed: int) -> Iterator[None]:
    """Seed torch, and restore the state of its generator afterwards.

    Parameters
    ----------
    seed : int
        Seed of initial weights, dropout and the order of the batches.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch use so many threads, and restore their number afterwards.

    The number decides in which order torch adds, and thus the last digits of what is
    trained: it must not depend on whether a fit runs in a worker process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _to_device(x: Any, device: str) -> Any:
    if isinstance(x, dict):
        return {name: _to_device(value, device) for name, value in x.items()}
    return x.to(device)
