"""What happens between the epochs of a training: skorch callbacks, from parameters."""

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
    "Unfreezing",
    "check_callbacks",
    "make_callbacks",
    "with_callbacks",
]


SCHEDULERS = ("cosine", "plateau")


class Unfreezing(Callback):
    """Begin with the last block of each encoder; unfreeze one more every few epochs.

    Parameters
    ----------
    blocks : sequence of list of str
        Names of parameters of the network, those to be trained from the start first.
    every : int
        Epochs between one block and the next.

    References
    ----------
    Howard J, Ruder S (2018). Universal language model fine-tuning for text
    classification. ACL.
    """

    def __init__(self, blocks: Sequence[Sequence[str]], every: int) -> None:
        self.blocks = blocks
        self.every = every

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Let the blocks require gradients whose time has come."""
        epoch = len(net.history) - 1
        self._set(net, 1 + epoch // self.every)

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Leave the network saying what of it was to be trained."""
        self._set(net, len(self.blocks))

    def _set(self, net: NeuralNet, n_blocks: int) -> None:
        parameters = dict(net.module_.named_parameters())
        for i, block in enumerate(self.blocks):
            for name in block:
                parameters[name].requires_grad_(i < n_blocks)


class EpochHook(Callback):
    """Call functions at the begin and the end of every epoch.

    Parameters
    ----------
    begin : callable
        Called with the net.
    end : callable
        Called with the net; training stops if it returns True, after the callbacks
        behind this one have been called.
    """

    def __init__(
        self, begin: Callable[[NeuralNet], Any], end: Callable[[NeuralNet], Any]
    ) -> None:
        self.begin = begin
        self.end = end
        self.wants_stop_ = False

    def on_epoch_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Call the one."""
        self.begin(net)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Call the other."""
        self.wants_stop_ = bool(self.end(net))


class StopIfWanted(Callback):
    """Stop training where an `EpochHook` asked for it; the last of all callbacks.

    Parameters
    ----------
    hooks : sequence of (str, EpochHook)
        Whom to ask.
    """

    def __init__(self, hooks: Sequence[tuple[str, EpochHook]]) -> None:
        self.hooks = hooks

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Stop as skorch's callbacks do."""
        if any(hook.wants_stop_ for _, hook in self.hooks):
            raise KeyboardInterrupt


def check_callbacks(callbacks: Any, scheduler: Any, owner: str) -> list[Any]:
    """Refuse what skorch could not run; return copies of the callbacks.

    Parameters
    ----------
    callbacks : None or list of skorch callbacks or of (str, callback)
        What the user passed.
    scheduler : None, {"cosine", "plateau"} or skorch.callbacks.LRScheduler
        What the user passed.
    owner : str
        Name of the estimator that asks, for the messages.

    Returns
    -------
    list of (str, callback) or callback
        Copies, so that another fit begins with what the user passed.

    Raises
    ------
    ValueError, TypeError
        If one is neither.
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
            f"{owner}: a callback cannot be copied ({error}), which every fit does so "
            "that it begins afresh. Open files and connections in the callback's "
            "on_train_begin."
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
    """Make the callbacks that parameters ask for.

    Parameters
    ----------
    scheduler : None, {"cosine", "plateau"} or skorch.callbacks.LRScheduler
        How the learning rates change over the epochs.
    gradient_clip : float or None
        Greatest norm of the gradient.
    max_epochs : int
        Most epochs.
    patience : int
        Epochs without a better validation loss before training stops.
    has_validation : bool
        Whether rows are held out.
    unfreezing : Unfreezing or None
        Gradual unfreezing.

    Returns
    -------
    list of (str, callback)
    """
    chosen: list[tuple[str, Callback]] = []
    if unfreezing is not None:
        chosen.append(("joint_unfreezing", unfreezing))
    if gradient_clip is not None:
        chosen.append(("joint_gradient_clip", GradientNormClipping(gradient_clip)))
    if scheduler is not None:
        chosen.append(
            (
                "joint_scheduler",
                _scheduler(scheduler, max_epochs, patience, has_validation),
            )
        )
    if has_validation:
        stopping = EarlyStopping(patience=patience, load_best=True, sink=_no_sink)
        chosen.append(("joint_early_stopping", stopping))
    return chosen


def _scheduler(
    scheduler: Any, max_epochs: int, patience: int, has_validation: bool
) -> LRScheduler:
    if isinstance(scheduler, LRScheduler):
        return copy.deepcopy(scheduler)
    if scheduler == "cosine":
        return LRScheduler(policy=CosineAnnealingLR, T_max=max_epochs)
    return LRScheduler(
        policy=ReduceLROnPlateau,
        monitor="valid_loss" if has_validation else "train_loss",
        # it must have had its chance before training stops early
        patience=max(patience // 2 - 1, 0),
    )


def _no_sink(message: str) -> None:
    """Swallow skorch's word on early stopping; the history tells."""


try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands where scikit-learn's mixin would; offers nothing."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method as it is."""
        return method


class FitReports:
    """Reports a fit to the callbacks that were set by `set_callbacks`.

    A fit begins here: one such object is made in each, under `with_callbacks`, which
    tells the callbacks when it has ended or failed.

    Parameters
    ----------
    model : JointFusionClassifier, JointFusionRegressor or JointFusionSurvival
        The estimator that is being fitted. What it needs to predict, but its network,
        must be set when the first epoch ends.
    X, y : any
        What `fit` was given.
    sample_weight : array-like of shape (n_samples,) or None
        Likewise.
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
        """Return the skorch callback that reports the epochs, if anyone listens."""
        if self._fit is None:
            return []
        return [("joint_progress", EpochHook(self._begin_epoch, self._end_epoch))]

    def end(self) -> None:
        """Report that the fit has ended."""
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
            # copied only where a callback wants to predict with it
            reconstruction_attributes=lambda: {
                "network_": copy.deepcopy(net.module_).to("cpu").eval()
            },
        )
