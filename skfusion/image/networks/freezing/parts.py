"""Blocks and layers of a network that are trained."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import nn

from skfusion._validation import examples_of

__all__ = ["Trainable", "parameter_blocks", "parameter_groups", "trainable_names"]

Trainable = str | int | Sequence[str]

# Modules of exactly these types only contain other modules. torch.fx replaces the
# parents of the layers that it keeps with nn.Module.
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Module)
_STACK_SHARE = 0.8


def parameter_blocks(module: nn.Module) -> list[str]:
    """List the blocks of a network in order, each by the name of its first part.

    A block is the repeated unit of the network, e.g. a residual block, a dense block
    or a transformer layer. It includes the single layers after it, such as a final norm
    or a convolution before the pooling. The layers before the first block count as one
    block. In a network without repeated units, every layer with a weight is a block,
    together with the norm after it.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Its submodules are used in the order of their registration, which
        is the order of computation in all common networks.

    Returns
    -------
    list of str
        Names of submodules or parameters, from first to last.

    Examples
    --------
    >>> from skfusion.image.networks.backbones import build_backbone
    >>> from skfusion.image.networks.freezing.parts import parameter_blocks
    >>> parameter_blocks(build_backbone("resnet18", weights=None).module)[-3:]
    ['layer3.1', 'layer4.0', 'layer4.1']
    """
    return list(parameter_groups(module))


def trainable_names(module: nn.Module, trainable: Trainable) -> set[str]:
    """Resolve `trainable` to the names of the trainable parameters.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    trainable : {"head", "last_block", "all"}, int or list of str
        ``"head"``: no parameter of the network, only the head after it. An int: the
        number of last blocks of `parameter_blocks`, 1 for ``"last_block"``. A list:
        the parameters with one of these names or in one of these submodules.

    Returns
    -------
    set of str
        Names as in ``module.named_parameters()``.

    Raises
    ------
    ValueError
        If a name matches no parameter, or if there are fewer blocks. The message lists
        the valid names.
    TypeError
        If `trainable` has another type.

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.freezing.parts import trainable_names
    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> sorted(trainable_names(net, "last_block"))
    ['2.bias', '2.weight']
    """
    if isinstance(trainable, str):
        if trainable == "head":
            return set()
        if trainable == "all":
            return {name for name, _ in module.named_parameters()}
        if trainable == "last_block":
            return _last_blocks(module, 1)
        raise ValueError(
            f"trainable={trainable!r} is unknown. Expected 'head', 'last_block', "
            "'all', a number of blocks, or a list of names of layers (a list even for "
            f"one name). Blocks: {', '.join(parameter_blocks(module))}."
        )
    given: Any = trainable  # may have another type than declared
    if issubclass(type(given), numbers.Integral) and type(given) is not bool:
        return _last_blocks(module, int(given))
    if isinstance(trainable, Iterable):
        return _named(module, list(trainable))
    raise TypeError(
        "trainable must be 'head', 'last_block', 'all', a number of blocks or a list "
        f"of names of layers, got {type(trainable).__name__}."
    )


def parameter_groups(module: nn.Module) -> dict[str, list[str]]:
    """Group the names of all parameters by block.

    Parameters
    ----------
    module : torch.nn.Module
        As in `parameter_blocks`.

    Returns
    -------
    dict of str to list of str
        Names of the parameters of each block, from first to last.

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.freezing.parts import parameter_groups
    >>> parameter_groups(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    {'0': ['0.weight', '0.bias'], '1': ['1.weight', '1.bias']}
    """
    units = list(_units(module, "", is_outer=True))
    # A block has at least two weights, unless the network is a chain of single layers.
    least = 2 if any(_n_weights(part) > 1 for _, part in units) else 1
    groups: dict[str, list[str]] = {}
    for name, part in units:
        if not groups or _n_weights(part) >= least:
            groups[name] = []
        block = groups[next(reversed(groups))]
        if isinstance(part, nn.Parameter):
            block.append(name)
        else:
            block.extend(f"{name}.{key}" for key, _ in part.named_parameters())
    return groups


def _units(
    module: nn.Module, prefix: str, *, is_outer: bool
) -> Iterator[tuple[str, Any]]:
    """Iterate over the units of blocks: modules and parameters outside of modules."""
    for name, parameter in module.named_parameters(recurse=False):
        yield prefix + name, parameter
    children = [
        (name, part)
        for name, part in module.named_children()
        if next(part.parameters(), None) is not None
    ]
    composites = [part for _, part in children if _n_weights(part) > 1]
    for name, part in children:
        # A module with nearly all weights of the network is a wrapper, not a block.
        is_wrapper = is_outer and len(composites) == 1 and part is composites[0]
        if type(part) in _CONTAINERS or is_wrapper or _is_stack(part):
            yield from _units(part, f"{prefix}{name}.", is_outer=is_wrapper)
        else:
            yield prefix + name, part


def _is_stack(module: nn.Module) -> bool:
    """Return whether most weights of a module are in a list of blocks of one type.

    Encoders of Hugging Face and stages of timm are such modules.
    """
    return any(
        len(blocks) > 1
        and len({type(block) for block in blocks}) == 1
        and _n_weights(blocks[0]) > 1
        and _n_weights(part) >= _STACK_SHARE * _n_weights(module)
        for part in module.children()
        if isinstance(part, nn.Sequential | nn.ModuleList)
        for blocks in [list(part)]
    )


def _n_weights(part: Any) -> int:
    """Count the parameters with more than one number per channel."""
    tensors = [part] if isinstance(part, nn.Parameter) else part.parameters()
    return sum(tensor.ndim > 1 for tensor in tensors)


def _last_blocks(module: nn.Module, n_blocks: int) -> set[str]:
    groups = parameter_groups(module)
    if not 0 <= n_blocks <= len(groups):
        raise ValueError(
            f"trainable={n_blocks}: the network has {len(groups)} blocks. Expected a "
            f"number from 0 to {len(groups)}. Blocks: {', '.join(groups)}."
        )
    chosen = list(groups.values())[len(groups) - n_blocks :]
    return {name for block in chosen for name in block}


def _named(module: nn.Module, prefixes: list[Any]) -> set[str]:
    names = [name for name, _ in module.named_parameters()]
    found: set[str] = set()
    for prefix in prefixes:
        if not isinstance(prefix, str):
            raise TypeError(
                f"trainable must list names of layers, got {type(prefix).__name__}."
            )
        matches = {n for n in names if n == prefix or n.startswith(f"{prefix}.")}
        if not matches:
            near = examples_of(names, prefix, n=3)
            raise ValueError(
                f"trainable: no parameter has the name {prefix!r} or is part of it. "
                f"The network has {len(names)} parameters, e.g. {near}, in the blocks "
                f"{', '.join(parameter_blocks(module))}."
            )
        found |= matches
    return found
