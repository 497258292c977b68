"""Description of everything that can decide the output of a module.

The description is text without addresses or orders of sets, so that it is equal in all
processes. It does not cover what Python cannot read, such as compiled code. Therefore
`skfusion.image.networks.backbones` adds the output for an example to its fingerprints.
"""

from __future__ import annotations

import dis
import enum
import functools
import hashlib
import os
import sys
import types
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

__all__ = ["Description", "describe_module", "may_write_state"]


_ATOMS = (bool, int, float, complex, str, bytes, range, slice)
_TORCH_ATOMS = (torch.dtype, torch.device, torch.layout, torch.memory_format)
_BOOKKEEPING = frozenset(vars(nn.Module()))
_CALLED = (types.FunctionType, types.MethodType, functools.partial, nn.Module)
_MAX_DEPTH = 60  # of nested objects, below Python's own limit
_LONG = 200  # characters above which a text is replaced with its digest
# An upgrade of these packages does not change the meaning of their names.
_KNOWN_BY_NAME = {"torch", "torchvision", "numpy", *sys.stdlib_module_names}
_CREATION = {"__init__", "__repr__", "__str__", "__eq__", "__hash__", "extra_repr"}


@dataclass(frozen=True)
class Description:
    """Text that identifies the function that a module computes.

    Attributes
    ----------
    lines : dict of str to str
        Text of each part: attributes, tensors, hooks, classes, and the variables that
        functions refer to.
    unknown : tuple of str
        Names of parts that cannot be described, with their types.
    foreign_training : tuple of str
        Classes of modules in training mode that are referred to but no submodules.
    """

    lines: dict[str, str]
    unknown: tuple[str, ...]
    foreign_training: tuple[str, ...]

    def digest(self, changing: Iterable[str] = ()) -> str:
        """Return the SHA-256 of the lines without those that a call changes."""
        left_out = set(changing)
        kept = [(k, v) for k, v in self.lines.items() if k not in left_out]
        return hashlib.sha256(repr(kept).encode()).hexdigest()

    def changes(self, other: Description) -> set[str]:
        """Return the names of the lines that differ between two descriptions."""
        names = self.lines.keys() | other.lines.keys()
        return {key for key in names if self.lines.get(key) != other.lines.get(key)}


def describe_module(module: nn.Module) -> Description:
    """Describe everything that can decide the output of a module.

    This includes the settings, tensors and hooks of all submodules, and the compiled
    code of classes and functions with the variables that they refer to. For installed
    packages, code is described, but not the variables of their modules. Functions of
    torch, torchvision, numpy and the standard library are described by their names.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    Description

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.description import describe_module
    >>> net = nn.Conv2d(3, 4, 1)
    >>> before = describe_module(net)
    >>> net._gain = 2.0
    >>> before.changes(describe_module(net))
    {'._gain'}
    """
    describer = _Describer(module)
    describer.describe()
    return Description(
        describer.lines,
        tuple(dict.fromkeys(describer.unknown)),
        tuple(dict.fromkeys(describer.foreign_training)),
    )


class _Describer:
    """Walk over the objects that a module refers to."""

    def __init__(self, root: nn.Module) -> None:
        self.lines: dict[str, str] = {}
        self.unknown: list[str] = []
        self.foreign_training: list[str] = []
        self._names = {id(part): name for name, part in root.named_modules()}
        # The objects are kept, so that no other object receives their address.
        self._known: dict[int, tuple[Any, str]] = {}
        self._open: dict[int, int] = {}
        self._place = ""
        # Classes and variables have lines of their own. The queue keeps nesting low.
        self._queue: deque[tuple[str, Any]] = deque()
        self._globals: set[tuple[str, str, int]] = set()
        self._root = root

    def describe(self) -> None:
        """Add the lines of the root and of everything that it refers to."""
        self._add_module("", self._root)
        while self._queue:
            self._add(*self._queue.popleft())

    # -- modules ------------------------------------------------------------------

    def _add_module(self, prefix: str, module: nn.Module) -> None:
        """Add the lines of a module and its submodules."""
        names = {id(part): name for name, part in module.named_modules()}
        for name, part in module.named_modules():
            key = f"{prefix}{name}"
            children = [(k, names.get(id(m))) for k, m in part._modules.items()]
            self._add(f"{key}:", f"{_name_of(type(part))} {children}")
            for attribute, value in self._settings(part):
                self._add(f"{key}.{attribute}", value)
            self._add_class(type(part))
        for name, tensor in module.named_parameters(remove_duplicate=False):
            self._add(f"{prefix}tensor {name}", tensor)
        for name, buffer in module.named_buffers(remove_duplicate=False):
            self._add(f"{prefix}tensor {name}", buffer)

    def _settings(self, part: nn.Module) -> Iterator[tuple[str, Any]]:
        """Iterate over what decides the output of one module, apart from tensors."""
        for kind in ("_forward_pre_hooks", "_forward_hooks"):
            with_keywords = getattr(part, f"{kind}_with_kwargs", {})
            hooks = getattr(part, kind, {}).items()
            found = [(hook, number in with_keywords) for number, hook in hooks]
            if found:
                yield kind, found
        if isinstance(part, torch.jit.ScriptModule):
            yield "code", getattr(part, "code", "")
            return
        for key, value in sorted(vars(part).items()):
            is_own = isinstance(part, fx.GraphModule) and key.startswith("_")
            if key not in _BOOKKEEPING and not is_own:
                yield key, value
        if isinstance(part, fx.GraphModule):
            yield "code", part.code
            nodes = part.graph.nodes
            yield "calls", [n.target for n in nodes if n.op == "call_function"]

    def _add(self, key: str, value: Any) -> None:
        """Add a line. A key that occurs several times keeps all of its texts."""
        place, self._place = self._place, key
        text = self._text(value)
        self._place = place
        self.lines[key] = f"{self.lines[key]}|{text}" if key in self.lines else text

    # -- values -------------------------------------------------------------------

    def _text(self, value: Any) -> str:
        if value is None or type(value) in _ATOMS or value is Ellipsis:
            return repr(value)
        key = id(value)
        if key in self._known:
            return self._known[key][1]
        if key in self._open:
            return f"<{len(self._open) - self._open[key]} levels up>"
        if len(self._open) >= _MAX_DEPTH:
            return self._not_understood(value)
        self._open[key] = len(self._open)
        try:
            text = self._compound(value)
        finally:
            del self._open[key]
        if len(text) > _LONG:
            text = hashlib.sha256(text.encode()).hexdigest()
        self._known[key] = (value, text)
        return text

    def _compound(self, value: Any) -> str:
        for kinds, describe in self._kinds():
            if isinstance(value, kinds):
                return describe(value)
        return self._instance(value)

    def _kinds(self) -> list[tuple[Any, Callable[[Any], str]]]:
        names = (types.ModuleType, types.BuiltinFunctionType, np.ufunc)
        return [
            (Tensor, self._tensor),
            (nn.Module, self._module),
            (enum.Enum, lambda v: f"{_name_of(type(v))}.{v.name}"),
            (np.ndarray, self._array),
            ((np.generic, np.dtype, *_TORCH_ATOMS), lambda v: f"{type(v)} {v!r}"),
            ((dict, types.MappingProxyType), self._dict),
            ((list, tuple, deque), self._sequence),
            ((set, frozenset), self._set),
            (type, self._class),
            (types.FunctionType, self._function),
            (types.MethodType, lambda v: self._texts("of", v.__func__, v.__self__)),
            (functools.partial, lambda v: self._texts(v.func, v.args, v.keywords)),
            ((staticmethod, classmethod), lambda v: self._texts(v.__func__)),
            (property, lambda v: self._texts(v.fget, v.fset)),
            (functools.cached_property, lambda v: self._texts(v.func)),
            (types.CodeType, self._code),
            (weakref.ReferenceType, lambda v: self._texts("weak", v())),
            (names, self._named),
        ]

    def _texts(self, *values: Any) -> str:
        return f"({', '.join(self._text(value) for value in values)})"

    def _tensor(self, tensor: Tensor) -> str:
        kind = f"{tensor.dtype} {tuple(tensor.shape)}"
        try:
            values = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
            content = values.reshape(-1).view(torch.uint8).numpy()
        except (RuntimeError, TypeError, NotImplementedError, ValueError):
            return self._not_understood(tensor)  # sparse, quantised, without storage
        return f"{kind} {hashlib.sha256(content.data).hexdigest()}"

    def _array(self, array: np.ndarray) -> str:
        if array.dtype.hasobject:
            return self._texts("array", array.shape, array.tolist())
        content = hashlib.sha256(array.tobytes()).hexdigest()
        return f"{array.dtype} {array.shape} {content}"

    def _module(self, module: nn.Module) -> str:
        if id(module) in self._names:
            return f"module {self._names[id(module)]!r}"
        # A module that is not a submodule, e.g. in a list or the closure of a lambda.
        if any(part.training for part in module.modules()):
            self.foreign_training.append(type(module).__name__)
        name = f"other {len(self._names)} "
        self._names |= {id(p): f"{name}{key}" for key, p in module.named_modules()}
        self._add_module(name, module)
        return f"module {name!r}"

    def _dict(self, value: Mapping[Any, Any]) -> str:
        items = sorted(self._texts(*item) for item in value.items())
        kind = _name_of(type(value))
        if type(value) is dict:
            return f"{kind} {items}"
        own = getattr(value, "__dict__", None)
        factory = getattr(value, "default_factory", None)
        return f"{kind} {items} {self._texts(factory, own)}"

    def _sequence(self, value: Iterable[Any]) -> str:
        return _name_of(type(value)) + self._texts(*value)

    def _set(self, value: Iterable[Any]) -> str:
        return f"{_name_of(type(value))} {sorted(self._text(item) for item in value)}"

    def _named(self, value: Any) -> str:
        owner = getattr(value, "__self__", None)  # of a bound method in C
        name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        name = f"{type(value).__name__} {getattr(value, '__module__', '')} {name}"
        is_bound = owner is not None and not isinstance(owner, types.ModuleType | type)
        return self._texts(name, owner) if is_bound else name

    def _instance(self, value: Any) -> str:
        kind = type(value)
        atom = next((a for a in _ATOMS if isinstance(value, a)), None)
        if atom is not None:
            return f"{_name_of(kind)} {atom.__repr__(value)}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                state = _state_of(value)
        except Exception:  # each class raises its own exceptions if it has no state
            return self._not_understood(value)
        self._add_class(kind)
        return f"{_name_of(kind)} {self._text(state)}"

    def _not_understood(self, value: Any) -> str:
        self.unknown.append(f"{self._place} ({_name_of(type(value))})")
        return f"<{_name_of(type(value))}>"

    # -- code ---------------------------------------------------------------------

    def _class(self, kind: type) -> str:
        self._add_class(kind)
        return f"class {_name_of(kind)}"

    def _add_class(self, kind: type) -> None:
        """Add a line for each method and attribute of a class and of its bases."""
        for base in kind.__mro__:
            top = base.__module__.partition(".")[0]
            key = id(base)
            if top in _KNOWN_BY_NAME or key in self._known:
                continue
            self._known[key] = (base, f"class {_name_of(base)}")
            is_installed = _is_installed(base.__module__)
            for name, value in sorted(vars(base).items()):
                if _is_behaviour(name, value, is_installed):
                    self._queue.append((f"class {_name_of(base)}.{name}", value))

    def _function(self, function: types.FunctionType) -> str:
        home = str(function.__globals__.get("__name__"))
        name = f"{home}.{function.__qualname__}"
        settings = self._texts(function.__defaults__, function.__kwdefaults__)
        is_known = home.partition(".")[0] in _KNOWN_BY_NAME
        is_installed = _is_installed(home)
        if is_known and not function.__closure__ and "<" not in name:
            return f"function {name} {settings}"
        code = function.__code__
        for variable, cell in zip(
            code.co_freevars, function.__closure__ or (), strict=True
        ):
            content = cell.cell_contents if _is_filled(cell) else "<empty>"
            # Decorators of packages hold the function of the user, and their own state.
            if not is_installed or isinstance(content, _CALLED):
                self._queue.append((f"variable {variable} of {name}", content))
        if not is_installed:
            self._add_globals(function, home)
        own = {k: v for k, v in vars(function).items() if k != "__wrapped__"}
        return f"function {name} {settings} {self._texts(code, own)}"

    def _add_globals(self, function: types.FunctionType, home: str) -> None:
        for name in sorted(_global_names(function.__code__)):
            key = (home, name, id(function.__globals__))
            if name in function.__globals__ and key not in self._globals:
                self._globals.add(key)
                value = function.__globals__[name]
                self._queue.append((f"variable {home}.{name}", value))

    def _code(self, code: types.CodeType) -> str:
        return self._texts(
            code.co_code,
            code.co_consts,
            code.co_names,
            code.co_freevars,
            code.co_exceptiontable,
            (code.co_argcount, code.co_kwonlyargcount, code.co_flags),
        )


def _state_of(value: Any) -> Any:
    """Return what an object consists of, by its attributes or as pickle sees it."""
    kind = type(value)
    is_plain = all(
        getattr(kind, name, None) is getattr(object, name, None)
        for name in ("__reduce_ex__", "__reduce__", "__getstate__")
    )
    if is_plain and hasattr(value, "__dict__"):
        slots = [s for base in kind.__mro__ for s in getattr(base, "__slots__", ())]
        found = {s: getattr(value, s) for s in slots if hasattr(value, s)}
        return found | vars(value)
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return f"{kind.__module__}.{reduced}"
    items = [list(part) for part in reduced[3:5] if part is not None]
    return [*reduced[:3], *items]


def _is_behaviour(name: str, value: object, is_installed: bool) -> bool:
    """Return whether an attribute of a class can decide the output of its objects."""
    if name in _CREATION or name == "_abc_impl":
        return False
    if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
        return False
    is_code = isinstance(value, types.FunctionType | property | staticmethod)
    is_code = is_code or isinstance(value, classmethod | functools.cached_property)
    return is_code or not (is_installed or name.startswith("__"))


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _global_names(code: types.CodeType) -> set[str]:
    """Return the names of the global variables that code reads."""
    loads = ("LOAD_GLOBAL", "LOAD_NAME")
    found = {str(i.argval) for i in dis.get_instructions(code) if i.opname in loads}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _global_names(constant)
    return found


def _is_installed(module_name: str) -> bool:
    """Return whether a module belongs to an installed package or to skfusion."""
    top = module_name.partition(".")[0]
    if top in _KNOWN_BY_NAME or top == "skfusion":
        return True
    if top in ("__main__", "__mp_main__"):  # a worker's own is in a package
        return False
    module = sys.modules.get(top)
    places = [getattr(module, "__file__", None) or "", *getattr(module, "__path__", ())]
    folders = {f for place in places for f in os.path.normpath(place).split(os.sep)}
    return bool(folders & {"site-packages", "dist-packages"})


# -- state ---------------------------------------------------------------------------

_WRITES = {"STORE_ATTR", "DELETE_ATTR", "STORE_GLOBAL", "DELETE_GLOBAL"}
_ITEM_WRITES = {"STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"}
_SHARED_LOADS = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_GLOBAL", "LOAD_DEREF"}


def may_write_state(module: nn.Module) -> bool:
    """Return whether a call of a module may write to anything but its own variables.

    The code that `forward` reaches by name is read, except for that of torch and
    torchvision. Changes by methods of other objects, such as ``list.append``, are not
    seen. Compare two descriptions for these.

    Parameters
    ----------
    module : torch.nn.Module

    Returns
    -------
    bool

    Examples
    --------
    >>> from torch import nn
    >>> from skfusion.image.networks.description import may_write_state
    >>> class Keeping(nn.Module):
    ...     def forward(self, images):
    ...         self.last = images.mean(dim=(2, 3))
    ...         return self.last
    >>> may_write_state(nn.Conv2d(3, 4, 1)), may_write_state(Keeping())
    (False, True)
    """
    seen: set[Any] = set()
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            return True
        hooks = [*part._forward_hooks.values(), *part._forward_pre_hooks.values()]
        reached: list[Any] = [*hooks, vars(part).get("forward")]
        if type(part).__module__.partition(".")[0] not in _KNOWN_BY_NAME:
            reached += [type(part).forward, type(part).__call__]
        if isinstance(part, fx.GraphModule):
            reached += [n.target for n in part.graph.nodes if n.op == "call_function"]
        for function in reached:
            if _writes(function, type(part), seen):
                return True
    return any(
        not isinstance(hook, types.FunctionType | types.MethodType | functools.partial)
        for part in module.modules()
        for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    )


def _writes(function: Any, owner: type, seen: set[Any]) -> bool:
    if isinstance(function, functools.partial):
        return _writes(function.func, owner, seen)
    if isinstance(function, types.MethodType):
        owner = type(function.__self__)
        function = function.__func__
    if isinstance(function, property):
        function = function.fget
    if not isinstance(function, types.FunctionType) or (function, owner) in seen:
        return False
    seen.add((function, owner))
    home = str(function.__globals__.get("__name__")).partition(".")[0]
    if home in _KNOWN_BY_NAME and not function.__closure__:
        return False
    if _code_writes(function.__code__):
        return True
    inner = [
        cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)
    ]
    for name in _all_names(function.__code__):
        inner += [getattr(owner, name, None), function.__globals__.get(name)]
    return any(_writes(item, owner, seen) for item in inner)


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _all_names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _all_names(constant)
    return found


def _code_writes(code: types.CodeType) -> bool:
    """Return whether code assigns to attributes, globals or items of either."""
    line, shared_on_line = None, False
    for step in dis.get_instructions(code):
        if step.positions is not None and step.positions.lineno != line:
            line, shared_on_line = step.positions.lineno, False
        shared_on_line = shared_on_line or step.opname in _SHARED_LOADS
        if step.opname in _WRITES or step.argval in ("setattr", "delattr"):
            return True
        if step.opname in _ITEM_WRITES and shared_on_line:
            return True
        if step.opname == "STORE_DEREF" and step.argval in code.co_freevars:
            return True
    return any(
        _code_writes(constant)
        for constant in code.co_consts
        if isinstance(constant, types.CodeType)
    )
