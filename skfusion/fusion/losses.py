"""Losses of joint fusion: pure torch.

A row loss takes outputs (B, O) and a target, and returns one value per row (B,), which
is weighted afterwards. The partial likelihood of Cox compares rows with each other, so
it takes the weights itself and returns one value.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
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
