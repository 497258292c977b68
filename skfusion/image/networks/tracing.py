"""Tracing of networks by torch.fx without effects on other threads."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Collection
from typing import Any

from torch import fx, nn

from skfusion.image.networks.process_state import ForkSafeLock

__all__ = ["OwnThreadTracer", "loses_root_code", "trace"]


_lock = ForkSafeLock()


class OwnThreadTracer(fx.Tracer):
    """Tracer that records the calls of one thread only.

    `torch.fx` replaces ``nn.Module.__call__`` for the whole process while it traces.
    Networks that other threads run at that time must not be recorded.

    Parameters
    ----------
    whole : collection of torch.nn.Module, default=()
        Modules that are recorded as one call instead of being traced.

    Attributes
    ----------
    calls : list of (torch.nn.Module, int, int)
        Each module that was called, with the numbers of nodes before and after.
    """

    def __init__(self, whole: Collection[nn.Module] = ()) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._whole = {id(module) for module in whole}
        self.calls: list[tuple[nn.Module, int, int]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is recorded as one call."""
        is_whole = id(m) in self._whole
        return is_whole or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Record a call of a module, or run it if another thread calls it."""
        if threading.get_ident() != self._thread:
            return forward(*args, **kwargs)
        before = len(self.graph.nodes)
        result = super().call_module(m, forward, args, kwargs)
        self.calls.append((m, before, len(self.graph.nodes)))
        return result

    def getattr(
        self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]
    ) -> Any:
        """Record access to a parameter, or return it if another thread asks."""
        if threading.get_ident() != self._thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def trace(module: nn.Module, tracer: OwnThreadTracer | None = None) -> fx.Graph:
    """Trace a module, one thread at a time.

    Parameters
    ----------
    module : torch.nn.Module
        The network.
    tracer : OwnThreadTracer or None, default=None
        Tracer to use, created by the calling thread.

    Returns
    -------
    torch.fx.Graph
        The graph of ``type(module).forward``. Hooks of the module itself and a
        replaced ``forward`` are not part of it, see `loses_root_code`.

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.tracing import trace
    >>> [node.op for node in trace(nn.Sequential(nn.ReLU())).nodes]
    ['placeholder', 'call_module', 'output']
    """
    with _lock:
        tracer = tracer or OwnThreadTracer()
        return tracer.trace(module, concrete_args=_defaults(module))


def _defaults(module: nn.Module) -> dict[str, Any]:
    """Return the defaults of the optional arguments of a network's ``forward``.

    The images are the only argument that is given. As variables of the graph, a mask of
    None would take the branch of a given mask, and every block that gets it would
    depend on an input of the network.
    """
    parameters = list(inspect.signature(type(module).forward).parameters.values())
    return {
        parameter.name: parameter.default
        for parameter in parameters[2:]  # after the module and the images
        if isinstance(parameter.default, type(None) | bool | int | float | str)
    }


def loses_root_code(module: nn.Module) -> bool:
    """Return whether tracing ignores code of a module.

    Parameters
    ----------
    module : torch.nn.Module
        The network.

    Returns
    -------
    bool
        True if the module has hooks or an own attribute ``forward``.
    """
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return any(hooks) or "forward" in vars(module)
