"""Folding of batch norms into the convolutions before them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.image.networks.outputs import relative_difference, run

__all__ = ["fold_batch_norms", "name_of"]


_TOLERANCE = 1e-4  # of a relative difference that is rounding in float32
# What a function may ask of a tensor without using its values.
_QUESTIONS = ("__get__", "dim", "size", "numel", "is_floating_point")


def fold_batch_norms(module: nn.Module, images: Tensor) -> nn.Module:
    """Fold each batch norm after a convolution into the weights of the convolution.

    A pair is found by running the network: the batch norm receives the very tensor that
    the convolution returned, and no other function uses this tensor. The result is
    compared with the network and dropped if it differs, with a warning.

    Parameters
    ----------
    module : torch.nn.Module
        Network in evaluation mode. It is not changed.
    images : torch.Tensor of shape (B, C[, D], H, W)
        Example input, on the device of the network.

    Returns
    -------
    torch.nn.Module
        A copy with the same output up to rounding (relative errors of about 1e-6).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skfusion.image.networks.folding import fold_batch_norms
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    >>> folded = fold_batch_norms(net, torch.rand(1, 3, 8, 8))
    >>> [type(part).__name__ for part in folded.children()]
    ['Conv2d', 'Identity']
    """
    folded = copy.deepcopy(module)
    norms = [part for part in folded.modules() if _may_be_folded(part, nn.BatchNorm2d)]
    if not norms:
        return folded
    pairs, expected = _watched_run(folded, images)
    if not pairs:
        return folded
    for norm, conv in pairs:
        _fold(folded, norm, conv)
    difference = _difference(run(folded, images), expected)
    if difference <= _TOLERANCE:
        return folded
    plain = copy.deepcopy(module)
    # The user has been warned of a network whose output changes with every call.
    if _difference(run(plain, images), run(plain, images)) <= _TOLERANCE:
        warn_user(
            f"The batch norms of the network {name_of(module)} are not folded into its "
            "convolutions, because its output would change (by "
            f"{difference:.1e} of its largest value). Inference is slower.",
            FallbackWarning,
        )
    return copy.deepcopy(module)


def name_of(module: nn.Module) -> str:
    """Return the class of a network, for messages, without wrappers of this package."""
    while type(module).__module__.startswith("skfusion.") and hasattr(module, "body"):
        module = module.body  # type: ignore[assignment]
    return type(module).__name__


def _difference(found: object, expected: object) -> float:
    if isinstance(found, Tensor) and isinstance(expected, Tensor):
        return relative_difference(found, expected)
    return float("inf")


def _may_be_folded(part: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a layer is of exactly a type, without code of the user."""
    hooks = (part._forward_hooks, part._forward_pre_hooks)
    if type(part) is not kind or any(hooks) or "forward" in vars(part):
        return False
    return not isinstance(part, nn.BatchNorm2d) or part.running_mean is not None


def _watched_run(
    module: nn.Module, images: Tensor
) -> tuple[list[tuple[nn.BatchNorm2d, nn.Conv2d]], Any]:
    """Run a network, and return its pairs of batch norm and convolution."""
    uses = _Uses()
    handles = []
    for part in list(module.modules()):
        if _may_be_folded(part, nn.BatchNorm2d):
            handles.append(part.register_forward_pre_hook(uses.enter_norm))
            handles.append(part.register_forward_hook(uses.leave_norm))
        elif _may_be_folded(part, nn.Conv2d):
            handles.append(part.register_forward_hook(uses.after_convolution))
    try:
        with uses:
            output = run(module, images)
    finally:
        for handle in handles:
            handle.remove()
    return uses.pairs(), output


class _Uses(TorchFunctionMode):
    """Record of what uses the outputs of convolutions, in the calling thread."""

    def __init__(self) -> None:
        super().__init__()
        # The outputs are kept, so that no other tensor receives their id.
        self._outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}
        self._normed: list[tuple[nn.BatchNorm2d, int]] = []
        self._calls: Counter[nn.Module] = Counter()
        self._used: set[int] = set()
        self._is_in_norm = False

    def after_convolution(self, conv: Any, _inputs: Any, output: Tensor) -> None:
        """Watch the output of a convolution."""
        self._calls[conv] += 1
        self._outputs[id(output)] = (conv, output)

    def enter_norm(self, norm: Any, inputs: tuple[Any, ...]) -> None:
        """Note which tensor a batch norm receives."""
        self._calls[norm] += 1
        self._is_in_norm = True
        if inputs and id(inputs[0]) in self._outputs:
            self._normed.append((norm, id(inputs[0])))

    def leave_norm(self, _norm: Any, _inputs: Any, _output: Any) -> None:
        """Watch functions again."""
        self._is_in_norm = False

    def pairs(self) -> list[tuple[nn.BatchNorm2d, nn.Conv2d]]:
        """Return the batch norms that alone use the output of a convolution."""
        n_norms = Counter(key for _, key in self._normed)
        found = [(norm, self._outputs[key][0], key) for norm, key in self._normed]
        return [
            (norm, conv)
            for norm, conv, key in found
            if self._calls[norm] == self._calls[conv] == n_norms[key] == 1
            and key not in self._used
        ]

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function and note which of the outputs it used."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        is_question = name in _QUESTIONS and not isinstance(result, Tensor)
        if not self._is_in_norm and not is_question:
            inputs = {id(tensor) for tensor in _tensors_in((args, kwargs))}
            self._used |= inputs & self._outputs.keys()
        return result


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors_in(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors_in(item)


def _fold(module: nn.Module, norm: nn.BatchNorm2d, conv: nn.Conv2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    conv.weight = nn.Parameter(weight.detach(), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach(), requires_grad=False)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if child is norm:
                setattr(parent, name, nn.Identity())
