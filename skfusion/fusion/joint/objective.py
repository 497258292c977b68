"""Loss of joint fusion and encoding of the auxiliary target."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from torch import Tensor, nn

from skfusion._validation import check_number, check_option, did_you_mean
from skfusion.fusion.joint.network import JointOutputs
from skfusion.fusion.losses import (
    BatchLoss,
    RowLoss,
    cox_loss,
    cross_entropy,
    focal,
    hazard_loss,
    huber,
    label_cross_entropy,
    label_focal,
    squared_error,
)

__all__ = ["AuxiliaryTarget"]


class RowMean(nn.Module):
    """Mean over the rows of a batch of a loss per row times the weight of the row.

    The weights have a mean of 1 over all training rows. Division by the sum of the
    weights of a batch would undo them: a batch of common cases would count as much as
    one with rare cases.

    Parameters
    ----------
    row_loss : callable
        Function from outputs (B, O) and target to one loss per row (B,).
    """

    def __init__(self, row_loss: RowLoss) -> None:
        super().__init__()
        self.row_loss = row_loss

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of a batch."""
        losses = self.row_loss(outputs, target)
        if losses.shape != weight.shape:
            raise ValueError(
                "a loss must return one value per row, of shape "
                f"{tuple(weight.shape)}, got {tuple(losses.shape)}."
            )
        return (losses * weight).mean()


class CoxLoss(nn.Module):
    """Negative log partial likelihood of a batch, see `cox_loss`.

    Parameters
    ----------
    ties : {"efron", "breslow"}, default="efron"
        Method for tied event times.
    """

    def __init__(self, ties: str = "efron") -> None:
        super().__init__()
        check_option(ties, "ties", ("efron", "breslow"), "CoxLoss")
        self.ties = ties

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return cox_loss(outputs, target, weight, self.ties)


class JointLoss(nn.Module):
    """Weighted sum of the fused, the single-modality and the auxiliary target losses.

    Parameters
    ----------
    task : callable
        Function from outputs, target and weights of a batch to its loss.
    auxiliary_loss : float, default=0.0
        Weight of the sum of the single-modality losses. Each is the loss of the task
        for the prediction of one modality, over the rows with this modality (Kawahara
        et al. 2019).
    auxiliary_task : callable or None, default=None
        Loss of the auxiliary target, over the rows with a known value.
    auxiliary_target_weight : float, default=0.0
        Weight of the loss of the auxiliary target (Spasov et al. 2019).
    modality_shares : sequence of float or None, default=None
        Share of the training rows, by weight, that have each modality. The
        single-modality losses are means over these rows, whatever their number in a
        batch. None is 1 for each.
    auxiliary_share : float, default=1.0
        Share of the training rows with a known auxiliary target.
    """

    def __init__(
        self,
        task: BatchLoss,
        auxiliary_loss: float = 0.0,
        auxiliary_task: BatchLoss | None = None,
        auxiliary_target_weight: float = 0.0,
        modality_shares: Sequence[float] | None = None,
        auxiliary_share: float = 1.0,
    ) -> None:
        super().__init__()
        self.task = task
        self.auxiliary_loss = auxiliary_loss
        self.auxiliary_task = auxiliary_task
        self.auxiliary_target_weight = auxiliary_target_weight
        self.modality_shares = modality_shares
        self.auxiliary_share = auxiliary_share

    def forward(
        self,
        outputs: JointOutputs,
        target: Tensor,
        weight: Tensor,
        present: Tensor,
        auxiliary: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        outputs : JointOutputs
            Return value of `JointNetwork.outputs`.
        target : Tensor of shape (B, ...)
            Target of the task.
        weight : Tensor of shape (B,)
            Sample weights.
        present : Tensor of bool of shape (B, M)
            Presence of each modality in each row.
        auxiliary : Tensor of shape (B,) or None, default=None
            Auxiliary target. Unknown values are NaN, or -1 for classes.
        """
        loss = self.task(outputs.fused, target, weight)
        shares = self.modality_shares or [1.0] * present.shape[1]
        for single, there, share in zip(
            outputs.single, present.T, shares, strict=False
        ):
            if there.any():
                part = _part_of_mean(
                    self.task, single, target, weight, rows=there, share=share
                )
                loss = loss + self.auxiliary_loss * part
        if self.auxiliary_task is None or auxiliary is None:
            return loss
        numeric = auxiliary.is_floating_point()
        known = ~torch.isnan(auxiliary) if numeric else auxiliary >= 0
        if outputs.auxiliary is not None and known.any():
            part = _part_of_mean(
                self.auxiliary_task,
                *(outputs.auxiliary, auxiliary, weight),
                rows=known,
                share=self.auxiliary_share,
            )
            loss = loss + self.auxiliary_target_weight * part
        return loss


def _part_of_mean(
    task: BatchLoss,
    outputs: Tensor,
    target: Tensor,
    weight: Tensor,
    *,
    rows: Tensor,
    share: float,
) -> Tensor:
    """Return what some rows of a batch add to the mean over all such training rows.

    The mean of the results over the batches does not depend on the batch size. The
    mean over the rows of each batch would give a row without others more weight.
    """
    mean = task(outputs[rows], target[rows], weight[rows])
    return mean * (rows.sum() / (len(rows) * share))


# Name, function and options of each loss, by kind of target. "auto" is the first loss.
LOSSES: dict[str, dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]]] = {
    "classes": {"cross_entropy": (cross_entropy, ()), "focal": (focal, ("gamma",))},
    "labels": {
        "cross_entropy": (label_cross_entropy, ()),
        "focal": (label_focal, ("gamma",)),
    },
    "numbers": {"squared_error": (squared_error, ()), "huber": (huber, ("delta",))},
    "survival": {"hazard": (hazard_loss, ("n_intervals",)), "cox": (cox_loss, ())},
}


def build_loss(
    loss: Any, params: Mapping[str, Any] | None, kind: str, owner: str
) -> nn.Module:
    """Return the loss for a kind of target.

    Parameters
    ----------
    loss : str or callable
        ``"auto"``, a name in `LOSSES`, or a row loss.
    params : mapping or None
        Options of the loss, numbers of 0 or more.
    kind : {"classes", "labels", "numbers", "survival"}
        The kind of target.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    torch.nn.Module
        Module from outputs, target and weights of a batch to its loss.

    Raises
    ------
    ValueError
        If the loss, an option or its value is unknown.
    """
    options = dict(params or {})
    if callable(loss):
        return RowMean(functools.partial(loss, **options))
    known = LOSSES[kind]
    also = "a callable (outputs, target) -> one value per row"
    check_option(loss, "loss", ("auto", *known), owner, also=also)
    name = next(iter(known)) if loss == "auto" else loss
    row_loss, allowed = known[name]
    for option, value in options.items():
        if option not in allowed:
            raise ValueError(
                f"{owner}: loss={loss!r} has no option {option!r} in loss_params."
                f"{did_you_mean(option, allowed)} It knows "
                f"{', '.join(allowed) or 'none'}."
            )
        count = option == "n_intervals"
        check_number(
            value, f"loss_params[{option!r}]", owner, low=int(count), integer=count
        )
    if row_loss is cox_loss:
        return CoxLoss()
    if row_loss is hazard_loss:
        options = {}  # the number of intervals is the width of the outputs
    return RowMean(functools.partial(row_loss, **options))


class AuxiliaryTarget:
    """Encoded auxiliary target of classes or numbers, with unknown values.

    Text, categories, booleans and numbers with two distinct values are classes. Other
    numbers are regression targets.

    Parameters
    ----------
    values : Series of shape (n_samples,)
        The column in the training rows.
    owner : str
        Name of the estimator, used in error messages.

    Attributes
    ----------
    kind : {"classes", "numbers"}
        Kind of the target.
    n_outputs : int
        Number of classes, or 1 for numbers.
    encoded : ndarray of shape (n_samples,)
        Class numbers (int64, -1 where unknown), or standardised numbers (float64, NaN
        where unknown).
    known : ndarray of bool of shape (n_samples,)
        Whether the value is known.

    Raises
    ------
    ValueError
        If fewer than two distinct values are known, or a number is infinite.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.fusion.joint.objective import AuxiliaryTarget
    >>> values = pd.Series(["II", None, "I"], name="stage")
    >>> stage = AuxiliaryTarget(values, "JointFusionClassifier")
    >>> stage.kind, stage.n_outputs, stage.encoded.tolist()
    ('classes', 2, [1, -1, 0])
    """

    def __init__(self, values: pd.Series, owner: str) -> None:
        known = values.dropna()
        self.known = values.notna().to_numpy()
        n_values = known.nunique()
        if n_values < 2:
            raise ValueError(
                f"{owner}: auxiliary_target={values.name!r} has {n_values} distinct "
                f"value(s) in the {len(known)} of {len(values)} training rows with a "
                "value, expected 2 or more. Remove auxiliary_target."
            )
        numeric = is_numeric_dtype(values) and not is_bool_dtype(values)
        if numeric and n_values > 2:
            self.kind, self.n_outputs = "numbers", 1
            numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
            if np.isinf(numbers).any():
                raise ValueError(
                    f"{owner}: auxiliary_target={values.name!r} contains infinity in "
                    f"{np.isinf(numbers).sum()} of {len(values)} rows."
                )
            self.encoded = (numbers - np.nanmean(numbers)) / np.nanstd(numbers)
        else:
            self.kind, self.n_outputs = "classes", n_values
            classes = sorted(known.unique(), key=str)
            codes = pd.Categorical(values, categories=classes).codes
            self.encoded = np.asarray(codes, dtype=np.int64)
