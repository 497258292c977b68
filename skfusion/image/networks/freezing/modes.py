"""Training mode of the trained part of a network."""

from __future__ import annotations

from torch import nn

__all__ = ["enter_training"]


def enter_training(module: nn.Module, *, keep_statistics: bool) -> None:
    """Set training mode in the parts of a network that are trained.

    Frozen parts stay in evaluation mode: their dropout is off and their batch norms
    keep the running statistics. A part is frozen if none of its parameters requires a
    gradient. A layer without parameters, such as dropout, belongs to the module that
    contains it. Between a frozen and a trained part it is in training mode, because it
    regularises the input or the output of the trained part. At the beginning or the end
    of a module it belongs to the only part beside it, in the order of registration.

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
    [False, True, True, True]
    """
    module.train()
    _leave_frozen(module, before=None, after=None)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and keep_statistics:
            part.eval()
        # cuDNN computes gradients through recurrent layers in training mode only.
        if isinstance(part, nn.RNNBase) and not part.dropout:
            part.train()


def _leave_frozen(
    module: nn.Module, *, before: bool | None, after: bool | None
) -> None:
    """Set evaluation mode in the frozen parts of a module.

    `before` and `after` tell whether the parameters next to the module are trained.
    None stands for no parameter.
    """
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if not trained:
        beside = [neighbour for neighbour in (before, after) if neighbour is not None]
        if beside and not any(beside):
            module.eval()
        return
    if not any(trained):
        module.eval()
    if all(trained) or not any(trained):
        return
    children = list(module.children())
    flags = [[p.requires_grad for p in child.parameters()] for child in children]
    own = [p.requires_grad for p in module.parameters(recurse=False)]
    last = own[-1] if own else before
    for i, child in enumerate(children):
        following = next((found[0] for found in flags[i + 1 :] if found), after)
        _leave_frozen(child, before=last, after=following)
        last = flags[i][-1] if flags[i] else last
