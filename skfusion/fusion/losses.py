"""Losses of joint fusion: pure torch.

A row loss takes outputs (B, O) and a target, and returns one value per row (B,), which
is weighted afterwards. The partial likelihood of Cox compares rows with each other, so
it takes the weights itself and returns one value.
Read next: `skfusion.fusion.training`, which minimises them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from skfusion._validation import did_you_mean
from skfusion.fusion.networks import JointOutputs

__all__ = [
    "CoxLoss",
    "JointLoss",
    "RowMean",
    "build_loss",
    "cox_loss",
    "cross_entropy",
    "focal",
    "hazard_loss",
    "huber",
    "label_cross_entropy",
    "label_focal",
    "squared_error",
]

RowLoss = Callable[[Tensor, Tensor], Tensor]
BatchLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


def cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of log-odds (B, C) and class numbers (B,)."""
    return functional.cross_entropy(outputs, target, reduction="none")


def label_cross_entropy(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean over labels (B,) for log-odds (B, L) and indicators (B, L)."""
    losses = functional.binary_cross_entropy_with_logits(
        outputs, target.to(outputs.dtype), reduction="none"
    )
    return losses.mean(dim=1)


def squared_error(outputs: Tensor, target: Tensor) -> Tensor:
    """Return the mean over outputs (B,) for (B, K) and a target (B, K) or (B,)."""
    return ((outputs - target.reshape(outputs.shape)) ** 2).mean(dim=1)


def huber(outputs: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Return the mean over outputs (B,), linear beyond `delta` standard deviations."""
    losses = functional.huber_loss(
        outputs, target.reshape(outputs.shape), reduction="none", delta=delta
    )
    return losses.mean(dim=1)


def focal(outputs: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    r"""Return the focal loss (B,) of log-odds (B, C) and class numbers (B,).

    :math:`-(1 - p_t)^\gamma \log p_t`, where :math:`p_t` is the probability of the true
    class (Lin et al. 2017, equation 4). Its weight per class is the row weight.
    """
    log_p = functional.log_softmax(outputs, dim=1)
    log_p = log_p.gather(1, target[:, None])[:, 0]
    return _focus(log_p, gamma)


def label_focal(outputs: Tensor, target: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the focal loss (B,), mean over labels, of (B, L) and indicators."""
    sign = 2 * target.to(outputs.dtype) - 1
    return _focus(functional.logsigmoid(sign * outputs), gamma).mean(dim=1)


def _focus(log_p: Tensor, gamma: float) -> Tensor:
    # The slope of x ** gamma at 0 is infinite below gamma = 1.
    missed = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(missed**gamma) * log_p


def hazard_loss(outputs: Tensor, target: Tensor) -> Tensor:
    r"""Return minus the log-likelihood (B,) of survival in discrete time.

    Parameters
    ----------
    outputs : Tensor of shape (B, K)
        Log-odds of the hazard in each of K intervals: of an event in it, given that
        there was none before.
    target : Tensor of shape (B, 2)
        Number of intervals survived whole, 0 to K, and whether the event came in the
        next one (then below K).

    Returns
    -------
    Tensor of shape (B,)
        :math:`-\sum_{j < k} \log(1 - h_j) - e \log h_k` (Gensheimer & Narasimhan 2019,
        equation 3).
    """
    survived, event = target[:, 0].long(), target[:, 1].to(outputs.dtype)
    intervals = torch.arange(outputs.shape[1], device=outputs.device)
    before = intervals < survived[:, None]  # (B, K)
    here = (intervals == survived[:, None]) * event[:, None]
    losses = functional.softplus(outputs) * before
    return (losses + functional.softplus(-outputs) * here).sum(dim=1)


def cox_loss(
    outputs: Tensor, target: Tensor, weight: Tensor, ties: str = "efron"
) -> Tensor:
    r"""Return minus the log partial likelihood of a mini-batch, per event.

    The risk set of an event is taken within the batch, so larger batches come nearer to
    the likelihood of the cohort; a batch without an event gives 0. Memory grows with
    the square of the batch.

    Parameters
    ----------
    outputs : Tensor of shape (B, 1)
        Log of the relative hazard.
    target : Tensor of shape (B, 2)
        Time, and whether the event came then (1) or the row was censored (0).
    weight : Tensor of shape (B,)
        Weights of the rows, above 0.
    ties : {"efron", "breslow"}, default="efron"
        How events at one time are treated. Weighted Efron ties share their mean weight,
        as in R's package survival.

    Returns
    -------
    Tensor of shape ()
        Divided by the sum of the weights of the events.
    """
    risk, time, event = outputs[:, 0], target[:, 0], target[:, 1] > 0
    if not bool(event.any()):
        return 0.0 * risk.sum()
    at_risk = time[None, :] >= time[:, None]  # (B, B): who is at risk when i ends
    tied = (time[None, :] == time[:, None]) & event[None, :]
    # each row's own largest summand, so that no risk set underflows as a whole
    largest = risk[None, :].expand_as(at_risk).masked_fill(~at_risk, -torch.inf)
    top = largest.max(dim=1).values.detach()  # (B,)
    # rows that are not at risk may be larger than the top: never exponentiate them
    summands = torch.exp(largest - top[:, None]) * weight
    total = summands.sum(dim=1)
    share = weight
    if ties == "efron":
        n_tied = tied.sum(dim=1).clamp(min=1)
        order = torch.tril(tied, diagonal=-1).sum(dim=1)  # tied events before this one
        total = total - order / n_tied * (summands * tied).sum(dim=1)
        share = (weight * tied).sum(dim=1) / n_tied
    log_total = torch.log(total[event]) + top[event]
    losses = share[event] * log_total - weight[event] * risk[event]
    return losses.sum() / weight[event].sum()


class RowMean(nn.Module):
    """Weighted mean of a row loss.

    Parameters
    ----------
    row_loss : callable
        Outputs (B, O) and target in, one loss per row (B,) out.
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
                f"{tuple(weight.shape)}, but returned {tuple(losses.shape)}."
            )
        return (losses * weight).sum() / weight.sum()


class CoxLoss(nn.Module):
    """Minus the log partial likelihood of a batch, see `cox_loss`.

    Parameters
    ----------
    ties : {"efron", "breslow"}, default="efron"
        How events at one time are treated.
    """

    def __init__(self, ties: str = "efron") -> None:
        super().__init__()
        if ties not in ("efron", "breslow"):
            raise ValueError(f"ties must be 'efron' or 'breslow', got {ties!r}.")
        self.ties = ties

    def forward(self, outputs: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss of a batch."""
        return cox_loss(outputs, target, weight, self.ties)


class JointLoss(nn.Module):
    """Loss of the fused prediction, of each modality's own, of an auxiliary target.

    Parameters
    ----------
    task : callable
        Outputs, target and weights of a batch in, its loss out.
    auxiliary_loss : float, default=0.0
        What the sum of the single-modality losses is multiplied with. Each is the
        task's loss of one modality's own prediction, over the rows that have it
        (Kawahara et al. 2019).
    auxiliary_task : callable or None, default=None
        The loss of the auxiliary target, over the rows whose value is known.
    auxiliary_target_weight : float, default=0.0
        What that is multiplied with (Spasov et al. 2019).
    """

    def __init__(
        self,
        task: BatchLoss,
        auxiliary_loss: float = 0.0,
        auxiliary_task: BatchLoss | None = None,
        auxiliary_target_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.task = task
        self.auxiliary_loss = auxiliary_loss
        self.auxiliary_task = auxiliary_task
        self.auxiliary_target_weight = auxiliary_target_weight

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
            What `JointNetwork.outputs` returned.
        target : Tensor of shape (B, ...)
            The target of the task.
        weight : Tensor of shape (B,)
            Weights of the rows.
        present : Tensor of bool of shape (B, M)
            Which modality is there in which row.
        auxiliary : Tensor of shape (B,) or None, default=None
            The auxiliary target; NaN, or -1 for a class, where unknown.
        """
        loss = self.task(outputs.fused, target, weight)
        for single, there in zip(outputs.single, present.T, strict=False):
            if there.any():
                part = self.task(single[there], target[there], weight[there])
                loss = loss + self.auxiliary_loss * part
        if self.auxiliary_task is None or auxiliary is None:
            return loss
        numeric = auxiliary.is_floating_point()
        known = ~torch.isnan(auxiliary) if numeric else auxiliary >= 0
        if outputs.auxiliary is not None and known.any():
            part = self.auxiliary_task(
                outputs.auxiliary[known], auxiliary[known], weight[known]
            )
            loss = loss + self.auxiliary_target_weight * part
        return loss


# By kind of target: name, loss, its options. The first is what "auto" means.
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
    """Return the loss that a user chose for a kind of target.

    Parameters
    ----------
    loss : str or callable
        ``"auto"``, a name in `LOSSES`, or a row loss.
    params : mapping or None
        Options of the loss, numbers of 0 or more.
    kind : {"classes", "labels", "numbers", "survival"}
        The kind of target.
    owner : str
        Name of the estimator, for the messages.

    Returns
    -------
    torch.nn.Module
        Outputs, target and weights of a batch in, its loss out.

    Raises
    ------
    ValueError
        If there is no such loss or option, or the option has no such value.
    """
    options = dict(params or {})
    if callable(loss):
        return RowMean(functools.partial(loss, **options))
    known = LOSSES[kind]
    name = next(iter(known)) if loss == "auto" else loss
    if name not in known:
        raise ValueError(
            f"{owner}: loss={loss!r} is unknown here.{did_you_mean(loss, known)} It "
            f"must be 'auto', one of {tuple(known)}, or a callable (outputs, target) "
            "-> one value per row."
        )
    row_loss, allowed = known[name]
    for option, value in options.items():
        if option not in allowed:
            raise ValueError(
                f"{owner}: loss={loss!r} has no option {option!r} in loss_params."
                f"{did_you_mean(option, allowed)} It knows "
                f"{', '.join(allowed) or 'none'}."
            )
        if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise ValueError(
                f"{owner}: loss_params[{option!r}] must be a number of 0 or more, got "
                f"{value!r}."
            )
    if row_loss is cox_loss:
        return CoxLoss()
    if row_loss is hazard_loss:
        options = {}  # their number is the network's concern
    return RowMean(functools.partial(row_loss, **options))
