"""What scikit-learn's own callbacks are told of a training: its begin, epochs and end.

They exist from scikit-learn 1.9 on (`sklearn.callback`: progress bars, monitors);
before that, nobody is told.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from skorch import NeuralNet

from skfusion.fusion.schedules import EpochHook

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands where scikit-learn's mixin would; offers nothing."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "FitReports", "with_callbacks"]


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
