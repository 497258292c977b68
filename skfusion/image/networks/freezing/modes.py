"""Training mode of the trained part of a network."""

from __future__ import annotations

from torch import nn

__all__ = ["enter_training"]


def enter_training(module: nn.Module, *, keep_statistics: bool) -> None:
    """Set training mode in the parts of a network that are trained.

    Frozen parts stay in evaluation mode: their dropout is off and their batch norms
    keep the running statistics. A part is frozen if none of its parameters requires a
    gradient. A layer without parameters, such as dropout, belongs to the parameters
    before it, in the order of registration.

    Parameters
    ----------
    module : torch.nn.Module
        The network. The modes of its submodules are changed.
    keep_statistics : bool
        Whether all batch norms keep their running statistics.

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.freezing.modes import enter_training
    >>> net = nn.Sequential(
    ...     nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 4), nn.Dropout()
    ... )
    >>> _ = net[0].requires_grad_(False)
    >>> enter_training(net, keep_statistics=False)
    >>> [part.training for part in net]
    [False, False, True, True]
    """
    module.train()
    first = next(module.parameters(), None)
    _leave_frozen(module, is_frozen=first is not None and not first.requires_grad)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and keep_statistics:
            part.eval()
        # cuDNN computes gradients through recurrent layers in training mode only.
        if isinstance(part, nn.RNNBase) and not part.dropout:
            part.train()


def _leave_frozen(module: nn.Module, *, is_frozen: bool) -> bool:
    """Set evaluation mode in frozen parts, and return whether the last one is frozen.

    `is_frozen` tells this of the parameters before the module.
    """
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if trained and any(trained) != all(trained):
        own = [p.requires_grad for p in module.parameters(recurse=False)]
        is_frozen = not own[-1] if own else is_frozen
        for part in module.children():
            is_frozen = _leave_frozen(part, is_frozen=is_frozen)
        return is_frozen
    if trained:
        is_frozen = not trained[0]
    if is_frozen:
        module.eval()
    return is_frozen
