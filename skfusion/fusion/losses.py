"""Loss functions of joint fusion and of the gated unit, in torch.

A row loss takes outputs (B, O) and a target. It returns one value per row (B,), which
is weighted afterwards. Cox's partial likelihood compares rows with each other.
It therefore takes the weights as an argument and returns one value.
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
    # For gamma < 1, the derivative of x ** gamma is infinite at 0.
    missed = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).tiny)
    return -(missed**gamma) * log_p


def hazard_loss(outputs: Tensor, target: Tensor) -> Tensor:
    r"""Return the negative log-likelihood (B,) of discrete-time survival.

    Parameters
    ----------
    outputs : Tensor of shape (B, K)
        Log-odds of the hazard in each of K intervals. The hazard is the probability of
        an event in the interval, given no earlier event.
    target : Tensor of shape (B, 2)
        Number of intervals survived completely, 0 to K, and whether the event occurred
        in the next one. With an event, the number is below K.

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
    r"""Return the negative log partial likelihood of a mini-batch, per row.

    The risk set of an event is taken within the batch. Larger batches therefore
    approximate the likelihood of the cohort better. A batch without an event gives 0.
    Memory grows with the number of rows, time with that of sorting them.

    Parameters
    ----------
    outputs : Tensor of shape (B, 1)
        Log of the relative hazard.
    target : Tensor of shape (B, 2)
        Time, and whether the row had the event (1) or was censored (0) at that time.
    weight : Tensor of shape (B,)
        Weights of the rows, above 0, with a mean of 1 over all training rows.
    ties : {"efron", "breslow"}, default="efron"
        Treatment of events at the same time. Weighted Efron ties share their mean
        weight, as in R's package survival.

    Returns
    -------
    Tensor of shape ()
        Loss, divided by the number of rows. The sum of the weights of the events of
        the batch would not do: events in a batch with few of them would count more.
    """
    if outputs.device.type == "mps":  # where torch before 2.9 has no logcumsumexp
        outputs, target, weight = outputs.cpu(), target.cpu(), weight.cpu()
    latest_first = torch.argsort(target[:, 0], descending=True, stable=True)
    risk = outputs[latest_first, 0]
    time, event = target[latest_first, 0], target[latest_first, 1] > 0
    weight = weight[latest_first]
    if not bool(event.any()):
        return 0.0 * risk.sum()
    # In logarithms, neither a large nor a small risk set overflows or underflows.
    log_summand = risk + torch.log(weight)
    _, moment, n_at = torch.unique_consecutive(
        time, return_inverse=True, return_counts=True
    )
    last_at = torch.cumsum(n_at, 0) - 1  # last row at risk, of each distinct time
    log_total = torch.logcumsumexp(log_summand, 0)[last_at][moment][event]
    weight, log_summand, risk = weight[event], log_summand[event], risk[event]
    share = weight
    if ties == "efron":
        _, moment, n_tied = torch.unique_consecutive(
            moment[event], return_inverse=True, return_counts=True
        )
        first = (torch.cumsum(n_tied, 0) - n_tied)[moment]
        earlier = torch.arange(len(weight), device=weight.device) - first
        # The part of the tied events that is no longer at risk, from 0 to below 1.
        gone = earlier.to(weight.dtype) / n_tied[moment].to(weight.dtype)
        sums = torch.zeros_like(n_tied, dtype=weight.dtype)
        of_ties = sums.index_add(0, moment, torch.exp(log_summand - log_total))
        log_total = log_total + torch.log1p(-gone * of_ties[moment])
        share = (sums.index_add(0, moment, weight) / n_tied)[moment]
    return (share * log_total - weight * risk).sum() / len(outputs)
