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
    r"""Return the negative log-likelihood (B,) of piecewise constant hazards.

    Time is counted in intervals, within which it passes linearly. The cumulative hazard
    of a complete interval is the softplus of its output, :math:`\lambda_j`. A row
    contributes in proportion to the time that it spent in each interval.

    Parameters
    ----------
    outputs : Tensor of shape (B, K)
        One output per interval.
    target : Tensor of shape (B, 3)
        Time, in intervals, up to which the row is known to have had no event, 0 to K.
        Then the number of the interval of the event, or -1 for a censored row. Then the
        length, in intervals, of the part of this interval in which the event occurred.
        0 is an event whose time is known exactly.

    Returns
    -------
    Tensor of shape (B,)
        :math:`\sum_j x_j \lambda_j - e \log \frac{1 - \exp(-d \lambda_k)}{d}` for the
        time :math:`x_j` in each interval and the length :math:`d` [1]_. The last term
        approaches :math:`\log \lambda_k` for :math:`d \to 0`. With complete intervals
        it is the likelihood of discrete times [2]_.

    References
    ----------
    .. [1] Friedman M (1982). Piecewise exponential models for survival data with
       covariates. Annals of Statistics 10:101-113.
    .. [2] Gensheimer MF, Narasimhan B (2019). A scalable discrete-time survival model
       for neural networks. PeerJ 7:e6257, equation 3.

    Examples
    --------
    >>> import torch
    >>> from skfusion.fusion.losses import hazard_loss
    >>> target = torch.tensor([[1.5, -1.0, 0.0], [1.5, 1.0, 0.0]])
    >>> hazard_loss(torch.zeros(2, 2), target)
    tensor([1.0397, 1.4062])
    """
    without_event, interval, length = target.unbind(dim=1)
    event = interval >= 0
    hazard = functional.softplus(outputs)
    intervals = torch.arange(
        outputs.shape[1], device=outputs.device, dtype=target.dtype
    )
    spent = (without_event[:, None] - intervals).clamp(0, 1)  # (B, K)
    place = torch.where(event, interval, 0).long()[:, None]
    of_event = outputs.gather(1, place)[:, 0]
    losses = (spent * hazard).sum(dim=1)
    density = _log_softplus(of_event) + _log_mean_survival(
        length * hazard.gather(1, place)[:, 0]
    )
    return torch.where(event, losses - density, losses)


def _log_softplus(x: Tensor) -> Tensor:
    # The softplus of a small number is its exponential and would underflow to 0.
    small = x < -15
    usual = torch.where(small, 0.0, x)
    return torch.where(small, x, torch.log(functional.softplus(usual)))


def _log_mean_survival(hazard: Tensor) -> Tensor:
    """Return the logarithm of ``(1 - exp(-hazard)) / hazard``, 0 for no hazard."""
    small = hazard < 1e-4
    usual = torch.where(small, 1.0, hazard)
    return torch.where(
        small, -hazard / 2, torch.log(-torch.expm1(-usual)) - torch.log(usual)
    )


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
