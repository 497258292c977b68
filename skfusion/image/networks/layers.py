"""Truncation of a network at one of its layers."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from skfusion._validation import examples_of
from skfusion.image.networks.outputs import relative_difference, run
from skfusion.image.networks.tracing import OwnThreadTracer, loses_root_code, trace

__all__ = ["ENDS", "cut_at"]


#: Names of the end of a network: before and after its final layer.
ENDS = ("pool", "logits")
#: Names of stages, and the stride in pixels of their output.
STAGES = {"block1": 4, "block2": 8, "block3": 16, "block4": 32}

_TOLERANCE = 1e-4  # of a relative difference that is rounding
_MOST_EXTRA_TOKENS = 8  # class, distillation and register tokens


class _LayerTracer(OwnThreadTracer):
    """Tracer that enters only the modules that contain the requested layer.

    The code of all others is kept, so that it follows their mode.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        contains_layer = self.layer.startswith(f"{qualified_name}.")
        return not contains_layer or super().is_leaf_module(module, qualified_name)


def cut_at(module: nn.Module, layer: str, name: str, blank: Tensor) -> nn.Module:
    """Return the part of a module that computes the output of one of its layers.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    layer : str
        ``"block1"`` to ``"block4"``, or the dotted name of a submodule. Transformers
        with tokens of one resolution have no such blocks.
    name : str
        Name of the network, for messages.
    blank : Tensor of shape (1, C[, D], H, W)
        Example input of the network.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ValueError
        If the layer does not exist, if the network cannot be cut there, or if the cut
        network does not compute the output of the layer.
    """
    names = [key for key, _ in module.named_modules() if key]
    if layer in STAGES and layer not in names:
        layer = _last_at_stride(module, layer, name, blank)
    if layer not in names:
        raise ValueError(
            f"{name} has no layer {layer!r}. Expected 'pool', 'logits', 'block1' to "
            f"'block4', or one of its {len(names)} submodules, e.g. "
            f"{examples_of(names, layer)}."
        )
    try:
        graph = trace(module, _LayerTracer(layer))
    except Exception as error:
        raise ValueError(
            f"{name} cannot be cut at layer={layer!r}, because its forward is not "
            f"traceable: {error}. Pass a module that ends at that layer."
        ) from error
    calls = [node for node in graph.nodes if node.target == layer]
    if not calls:
        raise ValueError(
            f"The forward of {name} does not call the layer {layer!r}. Choose another."
        )
    nodes = list(graph.nodes)
    for node in reversed(nodes[nodes.index(calls[-1]) + 1 :]):
        graph.erase_node(node)
    graph.output(calls[-1])
    cut = fx.GraphModule(module, graph)
    _check_equal(cut, module, layer, name, blank)
    return cut


def _check_equal(
    cut: nn.Module, module: nn.Module, layer: str, name: str, blank: Tensor
) -> None:
    """Compare a cut network with the output of the layer in the original one."""
    seen: list[Any] = []
    part = module.get_submodule(layer)
    # Copied, because the next layer may change it in place.
    handle = part.register_forward_hook(
        lambda _m, _i, output: seen.append(copy.deepcopy(output))
    )
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(blank.shape, generator=generator).to(blank.device)
    try:
        run(module, images)
    except Exception as error:  # the network raises any exception
        raise _failure(name, blank, error) from error
    finally:
        handle.remove()
    found = run(cut, images)
    is_tensor = bool(seen) and isinstance(seen[-1], Tensor)
    if not isinstance(found, Tensor) and not is_tensor:
        return  # refused later, with the types that are expected
    difference = relative_difference(found, seen[-1]) if is_tensor else math.inf
    if difference > _TOLERANCE:
        reason = (
            "it has a replaced forward or hooks, which torch.fx does not trace"
            if loses_root_code(module)
            else "torch.fx does not trace all that its forward does"
        )
        raise ValueError(
            f"{name} cannot be cut at layer={layer!r}: the cut network gives another "
            f"output than the layer (relative difference {difference:.1e}), because "
            f"{reason}. Pass a module that ends at that layer."
        )


def _failure(name: str, blank: Tensor, error: Exception) -> ValueError:
    return ValueError(
        f"The backbone {name} fails on an input of shape {tuple(blank.shape[1:])}: "
        f"{error}. Set input_size to the size that it expects."
    )


def _last_at_stride(module: nn.Module, stage: str, name: str, blank: Tensor) -> str:
    """Return the name of the last layer with the output resolution of a stage."""
    side = blank.shape[-1]
    wanted = -(-side // STAGES[stage])
    shapes = _shapes_of_layers(module, name, blank)
    doubled = dict(_shapes_at_twice_the_size(module, name, blank))
    names = []
    for key, shape in shapes:
        is_map = _is_map(shape, wanted, blank.ndim)
        if is_map and key in doubled:  # attention maps grow with the square
            larger = -(-2 * side // STAGES[stage])
            is_map = _is_map(doubled[key], larger, blank.ndim)
        if is_map:
            names.append(key)
    tokens = _token_layers(shapes, wanted)
    # The only map of a plain transformer is its patch projection, before all blocks.
    finished = [key for key, _ in shapes]
    is_plain_transformer = len(tokens) > len(names) and all(
        finished.index(key) < finished.index(tokens[0]) for key in names
    )
    if not names or wanted == 1 or is_plain_transformer:
        raise ValueError(_no_stage(name, stage, wanted, side, shapes))
    # Outermost modules only: a block can contain later layers of the same resolution.
    depth = min(key.count(".") for key in names)
    return [key for key in names if key.count(".") == depth][-1]


def _shapes_of_layers(
    module: nn.Module, name: str, blank: Tensor
) -> list[tuple[str, tuple[int, ...]]]:
    """Return the output shape of each layer, in the order of computation."""
    found: list[tuple[str, tuple[int, ...]]] = []

    def note(key: str, output: object) -> None:
        if isinstance(output, Tensor):
            found.append((key, tuple(output.shape)))

    handles = [
        part.register_forward_hook(lambda _m, _i, out, key=key: note(key, out))
        for key, part in module.named_modules()
        if key
    ]
    try:
        run(module, blank)
    except Exception as error:  # the network raises any exception
        raise _failure(name, blank, error) from error
    finally:
        for handle in handles:
            handle.remove()
    return found


def _shapes_at_twice_the_size(
    module: nn.Module, name: str, blank: Tensor
) -> list[tuple[str, tuple[int, ...]]]:
    large = blank.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    try:
        return _shapes_of_layers(module, name, large)
    except ValueError:  # a network for one size
        return []


def _is_map(shape: tuple[int, ...], side: int, ndim: int) -> bool:
    """Return whether both spatial axes have a length, before or after the channels."""
    if len(shape) != ndim or shape[0] != 1:
        return False
    return shape[-2:] == (side, side) or shape[-3:-1] == (side, side)


def _token_layers(shapes: list[tuple[str, tuple[int, ...]]], side: int) -> list[str]:
    """Return the layers with tokens (1, N, C) for the positions of a map."""
    counts = range(side**2, side**2 + _MOST_EXTRA_TOKENS + 1)
    return [k for k, s in shapes if len(s) == 3 and s[0] == 1 and s[1] in counts]


def _no_stage(
    name: str,
    stage: str,
    wanted: int,
    side: int,
    shapes: list[tuple[str, tuple[int, ...]]],
) -> str:
    """Say why a network has no such stage, and which layers it has."""
    message = (
        f"{name} has no layer {stage!r}: none of its layers has an output of "
        f"{wanted} x {wanted} positions, which is a stride of {STAGES[stage]} for "
        f"{side} pixels. "
    )
    tokens = [k for k, s in shapes if len(s) == 3 and s[0] == 1 and k[-1].isdigit()]
    stems = [key.rstrip("0123456789") for key in tokens]
    if not tokens:
        return message + "Pass the name of a submodule instead."
    repeated = max(stems, key=lambda stem: (stems.count(stem), -len(stem)))
    layers = [k for k, stem in zip(tokens, stems, strict=True) if stem == repeated]
    chosen = [layers[len(layers) * i // 4 - 1] for i in (1, 2, 3, 4)]
    return message + (
        "It is a transformer whose layers return tokens of one resolution. Pass the "
        f"name of a layer instead, e.g. {', '.join(dict.fromkeys(chosen))}."
    )
