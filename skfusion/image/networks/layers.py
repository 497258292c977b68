"""Truncation of a network at one of its layers."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from skfusion._validation import examples_of

__all__ = ["ENDS", "cut_at"]


#: Names of the end of a network: before and after its final layer.
ENDS = ("pool", "logits")
#: Names of stages, and the stride in pixels of their output.
STAGES = {"block1": 4, "block2": 8, "block3": 16, "block4": 32}


class _LayerTracer(fx.Tracer):
    """Tracer that does not enter the layer whose output is requested."""

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        is_wanted = qualified_name == self.layer
        return is_wanted or super().is_leaf_module(module, qualified_name)


def cut_at(module: nn.Module, layer: str, name: str, blank: Tensor) -> nn.Module:
    """Return the part of a module that computes the output of one of its layers.

    Parameters
    ----------
    module : torch.nn.Module
        In evaluation mode.
    layer : str
        ``"block1"`` to ``"block4"``, or the dotted name of a submodule.
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
        If the layer does not exist, or the network cannot be cut there.
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
        graph = _LayerTracer(layer).trace(module)
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
    return fx.GraphModule(module, graph)


def _last_at_stride(module: nn.Module, stage: str, name: str, blank: Tensor) -> str:
    """Return the name of the last layer with the output resolution of a stage."""
    wanted = -(-blank.shape[-1] // STAGES[stage])
    found: list[tuple[str, int]] = []

    def note(key: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == blank.ndim:
            found.append((key, output.shape[-1]))

    handles = [
        part.register_forward_hook(lambda _m, _i, out, key=key: note(key, out))
        for key, part in module.named_modules()
        if key
    ]
    try:
        with torch.inference_mode():
            module(blank)
    finally:
        for handle in handles:
            handle.remove()
    names = [key for key, size in found if size == wanted]
    if not names or wanted == 1:
        raise ValueError(
            f"{name} has no layer {stage!r}: none of its layers has an output of "
            f"{wanted} x {wanted} positions, which is a stride of {STAGES[stage]} for "
            f"{blank.shape[-1]} pixels. Pass the name of a submodule instead."
        )
    # Outermost modules only: a block can contain later layers of the same resolution.
    depth = min(key.count(".") for key in names)
    return [key for key in names if key.count(".") == depth][-1]
