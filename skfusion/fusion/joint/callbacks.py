"""Callbacks of the training of a joint network, for skorch and scikit-learn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping, LRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

__all__ = [
    "CallbackSupportMixin",
    "EpochHook",
    "FitReports",
    "StopIfWanted",
    "Stopping",
    "Unfreezing",
    "check_callbacks",
    "make_callbacks",
    "with_callbacks",
]


SCHEDULERS = ("cosine", "plateau")


class Unfreezing(Callback):
    """Gradual unfreezing of the blocks of encoders.

    Training begins with the last block of each encoder. One more block is unfrozen
    after every few epochs.

    Parameters
    ----------
    blocks : sequence of list of str
        Names of parameters of the network by block, in the order of unfreezing.
    every : int
        Number of epochs between two blocks.

    References
    ----------
    Howard J, Ruder S (2018). Universal language model fine-tuning for text
    classification. ACL.
    """

    def __init__(self, blocks: Sequence[Sequence[str]], every: int) -> None:
        self.blocks = blocks
        self.every = every

    @property
    def last_step(self) -> int:
        """Number of the epoch, from 1, from which all blocks are trained."""
        return 1 + self.every * max(0, len(self.blocks) - 1)

    def n_blocks(self, epoch: int) -> int:
        """Return the number of blocks that are trained in an epoch, counted from 1."""
        return min(len(self.blocks), 1 + (epoch - 1) // self.every)

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Unfreeze the blocks that are due in this epoch."""
        self._set(net, self.n_blocks(len(net.history)))

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Mark the parameters of all blocks as trainable."""
        self._set(net, len(self.blocks))

    def _set(self, net: NeuralNet, n_blocks: int) -> None:
        parameters = dict(net.module_.named_parameters())
        for i, block in enumerate(self.blocks):
            for name in block:
                parameters[name].requires_grad_(i < n_blocks)


class Stopping(EarlyStopping):
    """Early stopping that keeps the weights of the epoch with the smallest loss.

    Any smaller loss is better. A threshold relative to the loss would take a greater
    loss for a better one where losses are negative, and an absolute one would depend on
    the scale of the loss.

    Parameters
    ----------
    patience : int
        Number of epochs without a better validation loss before training stops.
    first_epoch : int, default=1
        Number of the epoch, from 1, from which epochs without a better loss are
        counted. With gradual unfreezing, the losses before it are those of a network
        that is only trained in part.
    """

    def __init__(self, patience: int, first_epoch: int = 1) -> None:
        super().__init__(
            patience=patience,
            threshold=0.0,
            threshold_mode="abs",
            load_best=True,
            sink=_no_sink,
        )
        self.first_epoch = first_epoch

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Keep the weights if they are the best, and stop if patience has run out."""
        if len(net.history) < self.first_epoch:
            self.misses_ = -1  # to which an epoch that is not better adds 1
        super().on_epoch_end(net, **kwargs)


class Plateau(LRScheduler):
    """Division of the learning rates by 10 when the loss stops improving.

    Parameters
    ----------
    monitor : str
        Name of the loss.
    patience : int
        Number of epochs without a smaller loss before the rates are reduced.
    first_epoch : int, default=1
        As in `Stopping`. A rate that is reduced for the blocks that are trained first
        would be too small for those that follow.
    """

    def __init__(self, monitor: str, patience: int, first_epoch: int = 1) -> None:
        super().__init__(
            policy=ReduceLROnPlateau,
            monitor=monitor,
            patience=patience,
            # As in `Stopping`, any smaller loss is better, whatever its sign.
            threshold=0.0,
            threshold_mode="abs",
        )
        self.first_epoch = first_epoch

    @property
    def kwargs(self) -> dict[str, Any]:
        """Arguments of the scheduler of torch."""
        return {k: v for k, v in super().kwargs.items() if k != "first_epoch"}

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Compare the loss of the epoch with the smallest one so far."""
        if len(net.history) >= self.first_epoch:
            super().on_epoch_end(net, **kwargs)
        else:
            net.history.record(self.event_name, net.optimizer_.param_groups[0]["lr"])


class EpochHook(Callback):
    """Callback that calls functions at the beginning and the end of each epoch.

    Parameters
    ----------
    begin : callable
        Function that takes the net.
    end : callable
        Function that takes the net. If it returns True, training stops after the
        following callbacks have been called.
    """

    def __init__(
        self, begin: Callable[[NeuralNet], Any], end: Callable[[NeuralNet], Any]
    ) -> None:
        self.begin = begin
        self.end = end
        self.wants_stop_ = False

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Call `begin`."""
        self.begin(net)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Call `end` and record whether it requests a stop."""
        self.wants_stop_ = bool(self.end(net))


class StopIfWanted(Callback):
    """Callback that stops the training if an `EpochHook` has requested it.

    It must be the last of all callbacks.

    Parameters
    ----------
    hooks : sequence of (str, EpochHook)
        The hooks to check.
    """

    def __init__(self, hooks: Sequence[tuple[str, EpochHook]]) -> None:
        self.hooks = hooks

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Raise KeyboardInterrupt, which stops the training in skorch."""
        if any(hook.wants_stop_ for _, hook in self.hooks):
            raise KeyboardInterrupt


def check_callbacks(callbacks: Any, scheduler: Any, owner: str) -> list[Any]:
    """Check the callbacks and the scheduler, and return copies of the callbacks.

    Parameters
    ----------
    callbacks : None or list of skorch callbacks or of (str, callback)
        The user's callbacks.
    scheduler : None, {"cosine", "plateau"} or skorch.callbacks.LRScheduler
        The user's scheduler.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    list of (str, callback) or callback
        Copies, so that each fit starts from the callbacks that the user passed.

    Raises
    ------
    ValueError
        If the scheduler is of another kind.
    TypeError
        If a callback is not a skorch callback or cannot be copied.
    """
    known = scheduler is None or isinstance(scheduler, LRScheduler)
    if not known and not (isinstance(scheduler, str) and scheduler in SCHEDULERS):
        raise ValueError(
            f"{owner}: scheduler must be None, one of {SCHEDULERS} or a "
            f"skorch.callbacks.LRScheduler, got {scheduler!r}. Wrap a scheduler of "
            "torch: LRScheduler(policy=torch.optim.lr_scheduler.StepLR, step_size=10)."
        )
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise TypeError(
            f"{owner}: callbacks must be a list of (name, skorch callback), got "
            f"{type(callbacks).__name__}."
        )
    for entry in callbacks:
        callback = entry[1] if isinstance(entry, tuple) and len(entry) == 2 else entry
        kind = callback if isinstance(callback, type) else type(callback)
        if not issubclass(kind, Callback):
            raise TypeError(
                f"{owner}: callbacks must be a list of (name, skorch callback), got "
                f"{entry!r}. Derive its class from skorch.callbacks.Callback."
            )
    try:
        return [copy.deepcopy(entry) for entry in callbacks]
    except TypeError as error:
        raise TypeError(
            f"{owner}: a callback cannot be copied ({error}). Each fit copies the "
            "callbacks so that it starts from their initial state. Open files and "
            "connections in the callback's on_train_begin."
        ) from error


def make_callbacks(
    *,
    scheduler: Any,
    gradient_clip: float | None,
    max_epochs: int,
    patience: int,
    has_validation: bool,
    unfreezing: Unfreezing | None,
) -> list[tuple[str, Callback]]:
    """Create the callbacks that the parameters of the training describe.

    Parameters
    ----------
    scheduler : None, {"cosine", "plateau"} or skorch.callbacks.LRScheduler
        Schedule of the learning rates.
    gradient_clip : float or None
        Largest norm of the gradient.
    max_epochs : int
        Maximum number of epochs.
    patience : int
        Number of epochs without a better validation loss before training stops.
    has_validation : bool
        Whether rows are held out for validation.
    unfreezing : Unfreezing or None
        Gradual unfreezing.

    Returns
    -------
    list of (str, callback)
    """
    chosen: list[tuple[str, Callback]] = []
    first_epoch = 1 if unfreezing is None else unfreezing.last_step
    if unfreezing is not None:
        chosen.append(("joint_unfreezing", unfreezing))
    if gradient_clip is not None:
        chosen.append(("joint_gradient_clip", GradientNormClipping(gradient_clip)))
    if scheduler is not None:
        chosen.append(
            (
                "joint_scheduler",
                _scheduler(
                    scheduler, max_epochs, patience, has_validation, first_epoch
                ),
            )
        )
    if has_validation:
        chosen.append(("joint_early_stopping", Stopping(patience, first_epoch)))
    return chosen


def _scheduler(
    scheduler: Any,
    max_epochs: int,
    patience: int,
    has_validation: bool,
    first_epoch: int,
) -> LRScheduler:
    if isinstance(scheduler, LRScheduler):
        return copy.deepcopy(scheduler)
    if scheduler == "cosine":
        return LRScheduler(policy=CosineAnnealingLR, T_max=max_epochs)
    return Plateau(
        "valid_loss" if has_validation else "train_loss",
        # The learning rate must drop before early stopping ends the training.
        patience=max(patience // 2 - 1, 0),
        first_epoch=first_epoch,
    )


def _no_sink(message: str) -> None:
    """Discard the message of skorch on early stopping."""


try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Empty replacement for the mixin of scikit-learn 1.9."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method unchanged."""
        return method


class FitReports:
    """Reports of one fit to the callbacks that were set by `set_callbacks`.

    Each fit creates one object under `with_callbacks`, which notifies the callbacks
    when the fit has ended or failed.

    Parameters
    ----------
    model : JointFusionClassifier, JointFusionRegressor or JointFusionSurvival
        The estimator that is being fitted. Everything that it needs to predict, except
        its network, must be set when the first epoch ends.
    X, y : any
        Arguments of `fit`.
    sample_weight : array-like of shape (n_samples,) or None
        Argument of `fit`.
    """

    def __init__(self, model: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self.model = model
        self._task: Any = None
        self._told: dict[str, Any] = {"estimator": model, "X": X, "y": y}
        if sample_weight is not None:
            self._told["metadata"] = {"sample_weight": sample_weight}
        self._fit: Any = None
        if hasattr(model, "_init_callback_context"):
            self._fit = model._init_callback_context(max_subtasks=model.max_epochs)
            self._fit.call_on_fit_task_begin(**self._told)

    def hooks(self) -> list[tuple[str, EpochHook]]:
        """Return the skorch callback that reports the epochs, if it is needed."""
        if self._fit is None:
            return []
        return [("joint_progress", EpochHook(self._begin_epoch, self._end_epoch))]

    def end(self) -> None:
        """Report the end of the fit."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(
                **self._told, reconstruction_attributes=lambda: {}
            )

    def _begin_epoch(self, net: NeuralNet) -> None:
        self._task = self._fit.subcontext(task_name="epoch")
        self._task.call_on_fit_task_begin(**self._told)

    def _end_epoch(self, net: NeuralNet) -> bool:
        return self._task.call_on_fit_task_end(
            **self._told,
            # The network is copied only if a callback predicts with it.
            reconstruction_attributes=lambda: {
                "network_": copy.deepcopy(net.module_).to("cpu").eval()
            },
        )
