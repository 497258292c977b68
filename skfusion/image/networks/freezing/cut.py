"""Split of a network into a frozen trunk and a trainable tail.

The trunk has the same output for an image in every epoch, fold and candidate, so its
output can be computed once and stored.
"""

from __future__ import annotations

import builtins
import copy
import itertools
import logging
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.image.networks.folding import name_of
from skfusion.image.networks.freezing.parts import Trainable, trainable_names
from skfusion.image.networks.freezing.replay import TOLERANCE, replayed_parts
from skfusion.image.networks.outputs import relative_difference, run
from skfusion.image.networks.tracing import OwnThreadTracer, loses_root_code, trace

__all__ = ["SplitBackbone", "split_backbone"]


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitBackbone:
    """Trunk and tail of a network, with ``tail(trunk(images)) == module(images)``.

    Attributes
    ----------
    trunk : torch.nn.Module or None
        The part before the first trainable parameter, in evaluation mode. With
        ``trainable="head"`` it is the original network, otherwise a copy. None if
        all parameters are trainable or if the network cannot be cut.
    tail : torch.nn.Module
        A copy of the remaining part in evaluation mode. Its input is the output of the
        trunk, or the images if there is no trunk. Frozen parameters do not require
        gradients. Modules after the cut remain modules, whose code follows their mode.
    fingerprint_suffix : str
        Identifier of the cut. The fingerprint of the network and this suffix together
        identify the outputs of the trunk. Empty if the trunk is the whole network.
    trainable, frozen : tuple of str
        Names of the tail's parameters that require gradients, and of those that do
        not.
    """

    trunk: nn.Module | None
    tail: nn.Module
    fingerprint_suffix: str
    trainable: tuple[str, ...]
    frozen: tuple[str, ...]


def split_backbone(
    module: nn.Module, trainable: Trainable, images: Tensor | None = None
) -> SplitBackbone:
    """Split a network at the last point before its first trainable parameter.

    The network is traced (`torch.fx`) in evaluation mode, and cut where a single
    tensor passes from the frozen part to the rest, besides values that are the same for
    all images. The modules after the cut are not traced, so that their dropout and
    stochastic depth follow the mode of the tail.

    A network that cannot be traced, or whose code asks for the mode after the cut, is
    cut at the call of a module: see `replayed_parts`. The parts of either cut are
    compared with the network. If there is none, the tail is the whole network, with a
    warning.

    Parameters
    ----------
    module : torch.nn.Module
        The network. It is not changed.
    trainable : {"head", "last_block", "all"}, int or list of str
        As in `trainable_names`.
    images : torch.Tensor of shape (B, C, H, W) or None, default=None
        Example input, for which the parts are compared with the network. None does not
        compare them.

    Returns
    -------
    SplitBackbone
        Trunk, tail and the names of their parameters. With ``"head"`` the trunk is
        the network itself and the tail is the identity.

    Raises
    ------
    ValueError, TypeError
        As in `trainable_names`.

    Warns
    -----
    FallbackWarning
        If the network has a frozen part but is not cut.

    Examples
    --------
    >>> import torch
    >>> from skfusion.image.networks.backbones import build_backbone
    >>> from skfusion.image.networks.freezing.cut import split_backbone
    >>> net = build_backbone(input_size=64).module
    >>> split = split_backbone(net, "last_block")
    >>> images = torch.rand(2, 3, 64, 64)
    >>> features = split.trunk(images)
    >>> features.shape
    torch.Size([2, 192, 2, 2])
    >>> torch.equal(split.tail(features), net(images))
    True
    """
    names = trainable_names(module, trainable)
    if not names:
        return SplitBackbone(_in_evaluation(module), nn.Identity(), "", (), ())
    tail = copy.deepcopy(module).eval()  # tracing may add constants to the module
    for name, parameter in tail.named_parameters():
        parameter.requires_grad_(name in names)
    found = _traced_parts(tail, names, module, images)
    parts = None if isinstance(found, str) else found
    share = _frozen_share(tail, names)
    if isinstance(found, str) and share:
        parts = _replayed(module, names, images)
        if parts is None:
            _warn_uncut(module, share, found)
    trunk, tail, suffix = parts or (None, tail, "")
    in_tail = [name for name, _ in tail.named_parameters()]
    return SplitBackbone(
        trunk,
        tail,
        suffix,
        trainable=tuple(name for name in in_tail if name in names),
        frozen=tuple(name for name in in_tail if name not in names),
    )


def _traced_parts(
    tail: nn.Module, names: set[str], module: nn.Module, images: Tensor | None
) -> tuple[nn.Module, nn.Module, str] | str:
    """Cut the graph of a network, or return why it cannot be cut."""
    found = _find_cut(tail, names, images)
    if isinstance(found, str):
        return found
    cut, constants = found
    trunk = fx.GraphModule(tail, _graph_until(cut)).eval()
    rest = fx.GraphModule(tail, _graph_after(cut, tail, constants)).eval()
    reason = _reason_against(trunk, rest, module, images)
    return reason or (trunk, rest, f":until {cut.name}")


def _replayed(
    module: nn.Module, names: set[str], images: Tensor | None
) -> tuple[nn.Module, nn.Module, str] | None:
    """Cut a network at the call of a module, with example images only."""
    if images is None:
        return None
    device = next((p.device for p in module.parameters()), images.device)
    network = copy.deepcopy(module).eval()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in names)
    parts = replayed_parts(network, names, images.to(device))
    if parts is None:
        return None
    trunk, tail, at = parts
    return trunk, tail, f":until the call of {at}"


def _frozen_share(module: nn.Module, names: set[str]) -> float:
    """Return the share of the parameters that is frozen before the first trained one.

    Parameters are registered in the order of computation in all common networks.
    """
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    before = itertools.takewhile(lambda name: name not in names, sizes)
    return sum(sizes[name] for name in before) / sum(sizes.values())


def _warn_uncut(module: nn.Module, share: float, reason: str) -> None:
    """Warn that the frozen part of a network is computed in every epoch."""
    warn_user(
        f"The network {name_of(module)} is not cut into a frozen trunk and a trainable "
        f"tail, because {reason}. Its frozen part, {share:.0%} of the parameters, is "
        "computed in each epoch instead of once, which is slower. The results are the "
        "same.",
        FallbackWarning,
    )


def _reason_against(
    trunk: nn.Module, tail: nn.Module, module: nn.Module, images: Tensor | None
) -> str:
    """Return why the parts of a network are not the whole, or an empty string."""
    if images is None:
        return ""
    device = next((p.device for p in module.parameters()), images.device)
    images = images.to(device)
    expected = run(_in_evaluation(module), images)
    try:
        found = run(tail, run(trunk, images))
    except Exception as error:  # traced code can raise any exception
        return f"its traced parts fail ({type(error).__name__})"
    difference = relative_difference(found, expected)
    if difference <= TOLERANCE:
        return ""
    return f"its traced parts give another output (by {difference:.1e} of the largest)"


def _in_evaluation(module: nn.Module) -> nn.Module:
    is_training = any(part.training for part in module.modules())
    return copy.deepcopy(module).eval() if is_training else module


def _find_cut(
    module: nn.Module, names: set[str], images: Tensor | None
) -> tuple[fx.Node, dict[str, Any]] | str:
    """Find the last node before training whose value is the only input of the rest.

    The rest may have further inputs that are the same for all images, such as the
    angles of rotary position embeddings. They are returned by the name of their node.
    The reason is returned if there is no such node.
    """
    if loses_root_code(module):
        return "torch.fx does not trace its replaced forward or its hooks"
    try:
        tracer = OwnThreadTracer()
        graph = trace(module, tracer)
        constants = _constants_of(graph, module, names, images)
        cut = _cut_of(graph, module, names, constants)
    except Exception as error:  # traced code can raise any exception
        logger.info("%s is not traced: %s", type(module).__name__, error)
        return f"torch.fx cannot trace its code ({type(error).__name__})"
    if cut is None:
        return "no single tensor passes from the frozen part to the rest"
    position = list(cut.graph.nodes).index(cut)
    first_calls: dict[nn.Module, int] = {}
    for part, before, _ in tracer.calls:
        first_calls.setdefault(part, before)
    whole = [part for part, first in first_calls.items() if first > position]
    cut = _cut_with_whole_modules(module, names, whole, constants) or cut
    if _depends_on_mode(cut, module, names, whole, constants):
        return "its code asks for its mode after the cut"
    return cut, constants


def _cut_with_whole_modules(
    module: nn.Module,
    names: set[str],
    whole: Sequence[nn.Module],
    constants: Mapping[str, Any],
) -> fx.Node | None:
    """Find the cut again in a graph in which the modules after it are calls."""
    try:
        return _cut_of(trace(module, OwnThreadTracer(whole)), module, names, constants)
    except Exception:  # other code uses more of a result than a tensor has
        return None


def _depends_on_mode(
    cut: fx.Node,
    module: nn.Module,
    names: set[str],
    whole: Sequence[nn.Module],
    constants: Mapping[str, Any],
) -> bool:
    """Return whether the graph after the cut is another one in training mode."""
    module.train()
    try:
        graph = trace(module, OwnThreadTracer(whole))
        training = _cut_of(graph, module, names, constants)
    except Exception:  # traced code can raise any exception
        return True
    finally:
        module.eval()
    (output,) = next(iter(reversed(graph.nodes))).args
    if not isinstance(output, fx.Node):
        return False  # additional outputs in training, e.g. for auxiliary losses
    if training is None:
        return True
    rests = [_graph_after(node, module, constants) for node in (cut, training)]
    return _signature(rests[0]) != _signature(rests[1])


def _signature(graph: fx.Graph) -> list[tuple[str, str, str]]:
    """Return the operations of a graph without the names of its nodes."""
    number = {node: i for i, node in enumerate(graph.nodes)}
    operations = []
    for node in graph.nodes:
        target = "" if node.op in ("placeholder", "output") else str(node.target)
        # Each trace gives its own name to a constant.
        target = "constant" if target.startswith("_tensor_constant") else target
        arguments = fx.map_arg((node.args, node.kwargs), lambda part: number[part])
        operations.append((node.op, target, repr(arguments)))
    return operations


def _constants_of(
    graph: fx.Graph, module: nn.Module, names: set[str], images: Tensor | None
) -> dict[str, Any]:
    """Return values before training that the rest needs and that no image changes.

    Without example images none is known. They are compared for two batches that differ
    in their pixels and their number.
    """
    nodes = list(graph.nodes)
    first = _first_trained(nodes, module, names)
    rest = set(nodes[first:])
    needed = [
        node
        for node in nodes[:first]
        if node.op not in ("placeholder", "get_attr") and rest.intersection(node.users)
    ]
    if images is None or len(needed) < 2:  # one value is the cut itself
        return {}
    device = next((p.device for p in module.parameters()), images.device)
    one = images[:1].to(device)
    runs = [
        _values_of(needed, graph, module, batch)
        for batch in (one, torch.cat([one.flip(-1) + 1, one]))
    ]
    return {
        name: value for name, value in runs[0].items() if _is_same(value, runs[1][name])
    }


def _values_of(
    wanted: Sequence[fx.Node], graph: fx.Graph, module: nn.Module, images: Tensor
) -> dict[str, Any]:
    """Return the values of some nodes, named by them, for a batch of images."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    last = max(list(graph.nodes).index(node) for node in wanted)
    for node in list(graph.nodes)[: last + 1]:
        copies[node] = part.node_copy(node, copies.__getitem__)
    part.output({node.name: copies[node] for node in wanted})
    with torch.no_grad():
        values: dict[str, Any] = fx.GraphModule(module, part).eval()(images)
    return values


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, bool | int | float | str | type(None)):
        return type(one) is type(other) and one == other
    return False


def _first_trained(nodes: Sequence[fx.Node], module: nn.Module, names: set[str]) -> int:
    """Return the position of the first node with a parameter that is trained."""
    wanted = {id(p) for name, p in module.named_parameters() if name in names}
    for i, node in enumerate(nodes):
        if any(id(parameter) in wanted for parameter in _parameters_of(node, module)):
            return i
    return len(nodes)


def _cut_of(
    graph: fx.Graph, module: nn.Module, names: set[str], constants: Mapping[str, Any]
) -> fx.Node | None:
    nodes = list(graph.nodes)
    position = {node: i for i, node in enumerate(nodes)}
    best, last_needed, has_parameters = None, -1, False
    for i, node in enumerate(nodes[: _first_trained(nodes, module, names)]):
        # A trunk without parameters, such as padding, is not worth storing.
        has_parameters = has_parameters or bool([*_parameters_of(node, module)])
        if node.op == "get_attr" or node.name in constants:
            continue  # the tail can contain it as well
        if last_needed <= i and has_parameters and _is_tensor(node):
            best = node
        last_needed = max([last_needed, *(position[user] for user in node.users)])
    return best


def _parameters_of(node: fx.Node, module: nn.Module) -> Iterator[nn.Parameter]:
    if node.op == "call_module":
        yield from module.get_submodule(str(node.target)).parameters()
    elif node.op == "get_attr":
        parent, _, name = str(node.target).rpartition(".")
        value = getattr(module.get_submodule(parent), name)
        if isinstance(value, nn.Parameter):
            yield value


def _is_tensor(node: fx.Node) -> bool:
    """Return whether a node is a feature map, not the input, a size or a tuple."""
    is_size = node.target in (builtins.getattr, operator.getitem, "size", "dim")
    is_tuple = any(user.target is operator.getitem for user in node.users)
    is_computed = node.op in ("call_module", "call_function", "call_method")
    return is_computed and bool(node.users) and not is_size and not is_tuple


def _graph_until(cut: fx.Node) -> fx.Graph:
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in cut.graph.nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
        if node is cut:
            break
    graph.output(copies[cut])
    return graph


def _graph_after(
    cut: fx.Node, module: nn.Module, constants: Mapping[str, Any]
) -> fx.Graph:
    graph = fx.Graph()
    copies: dict[fx.Node, Any] = {cut: graph.placeholder("features")}

    def copy_of(node: fx.Node) -> Any:
        if node in copies:
            return copies[node]
        value = constants.get(node.name)
        if isinstance(value, Tensor):
            name = f"_constant_{node.name}"
            module.register_buffer(name, value)
            copies[node] = graph.get_attr(name)
        elif node.name in constants:
            copies[node] = value
        else:  # a constant or parameter fetched before the cut
            copies[node] = graph.node_copy(node)
        return copies[node]

    nodes = list(cut.graph.nodes)
    for node in nodes[nodes.index(cut) + 1 :]:
        copies[node] = graph.node_copy(node, copy_of)
    return graph
