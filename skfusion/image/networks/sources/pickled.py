"""Whole networks in files, read without executing code.

`torch.save(network)` writes a pickle, which can contain calls of any function. Only the
classes of layers are accepted here, and the tensors are taken from their attributes.
"""

from __future__ import annotations

import codecs
import os
import pickle
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skfusion.image.networks.sources.weights import load_state, no_file

__all__ = ["load_pickled_network"]


def load_pickled_network(
    module: nn.Module,
    path: str | os.PathLike[str],
    name: str,
    kinds: Iterable[type],
    *,
    ignore: str | None = None,
) -> None:
    """Load the tensors of a network that was saved as a whole.

    Parameters
    ----------
    module : torch.nn.Module
        The network, changed in place.
    path : path
        A file with a network or a state dict, written by `torch.save`.
    name : str
        Name of the network, for messages.
    kinds : iterable of type
        Classes of the network and of its layers. Nothing else may be in the file,
        besides what a state dict contains, texts, numbers and arrays of numbers.
    ignore : str or None, default=None
        As in `skfusion.image.networks.sources.weights.load_weights_file`.

    Raises
    ------
    ValueError
        If the file contains anything else, or its tensors do not match the network.
    """
    try:
        found = _read(path, list(kinds))
        state = dict(_tensors_of(found)) if isinstance(found, nn.Module) else found
    except FileNotFoundError as error:
        raise no_file(path) from error
    except Exception as error:  # damaged pickles raise any exception
        raise ValueError(
            f"The weights file of {name} is damaged, or contains more than the layers "
            "of a network, in which case loading it could execute code. If you trust "
            "it, load it with its own package where this does no harm, save its "
            "tensors with torch.save(network.state_dict(), path), and pass "
            "weights=path."
        ) from error
    load_state(module, state, path, name, ignore=ignore)


def _read(path: str | os.PathLike[str], kinds: list[type]) -> Any:
    if zipfile.is_zipfile(path):
        # Before torch 2.6, sets are not allowed by default.
        with torch.serialization.safe_globals([*kinds, set, *_array_parts()]):
            return torch.load(path, map_location="cpu", weights_only=True)
    # In the format of torch before 1.6, weights_only=True refuses every network.
    reader = types.ModuleType("restricted_pickle")
    reader.__dict__.update(
        Unpickler=_restricted(kinds), load=_restricted_load, loads=_restricted_loads
    )
    with warnings.catch_warnings():  # the code of a class has changed since
        warnings.simplefilter("ignore")
        return torch.load(
            path, map_location="cpu", weights_only=False, pickle_module=reader
        )


def _array_parts() -> list[Any]:
    """Return what an array of numbers or texts in a file consists of."""
    dtypes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdU"}
    return [*_array_functions(), np.ndarray, np.dtype, *dtypes]


def _array_functions() -> list[Any]:
    """Return the functions that make an array or a number from its parts."""
    array: Any = np.zeros(1).__reduce__()[0]
    number: Any = np.float64(0).__reduce__()[0]
    # NumPy 2 has moved the functions. Files have the names of either release.
    return [
        _in_module(f"numpy.{core}.multiarray", function)
        for function in (array, number)
        for core in ("core", "_core")
    ]


def _in_module(module: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as one of another module, by which torch 2.5 allows it."""

    def same(*arguments: Any) -> Any:
        return function(*arguments)

    same.__module__ = module
    same.__name__ = same.__qualname__ = function.__name__
    return same


def _tensors_of(module: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Iterate over the tensors of a network by name, without calling its methods."""
    own = vars(module)
    passing = own.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for key, tensor in own[kind].items():
            if isinstance(tensor, Tensor) and key not in passing:
                yield f"{prefix}{key}", tensor.detach()
    for key, part in own["_modules"].items():
        if part is not None:
            yield from _tensors_of(part, f"{prefix}{key}.")


# -- files of torch before 1.6 ---------------------------------------------------------


def _no_backend() -> None:
    """Stand for an attribute of layers before torch 1.4."""


def _allowed(kinds: Iterable[type]) -> dict[str, Any]:
    """Return the objects that a file may name."""
    known: list[Any] = [
        *(torch._utils._rebuild_tensor, torch._utils._rebuild_tensor_v2),
        *(torch._utils._rebuild_parameter, OrderedDict, set, torch.Size, *kinds),
        np.ndarray,
        np.dtype,
        *_array_functions(),
    ]
    allowed = {f"{thing.__module__}.{thing.__qualname__}": thing for thing in known}
    return allowed | {
        "torch.nn.parameter.Parameter": nn.Parameter,
        "_codecs.encode": codecs.encode,  # bytes of arrays, as weights_only=True
        "torch.nn.backends.thnn._get_thnn_function_backend": _no_backend,
    }


_Unpickler: Any = vars(pickle)["_Unpickler"]  # the one in Python can be restricted


class _Restricted(_Unpickler):
    """Unpickler that names allowed objects only, and changes none of them."""

    allowed: dict[str, Any] = {}  # noqa: RUF012 - replaced in subclasses
    dispatch = dict(_Unpickler.dispatch)  # noqa: RUF012

    def find_class(self, module: str, name: str) -> Any:
        key = f"{module.replace('__builtin__', 'builtins')}.{name}"
        if key not in self.allowed:
            raise pickle.UnpicklingError(f"{key} is not a layer")
        return self.allowed[key]

    def load_build(self) -> None:
        # The state of a class or function would change it for the whole process.
        kinds = nn.Module | OrderedDict | np.ndarray | np.dtype
        if not isinstance(self.stack[-2], kinds):
            raise pickle.UnpicklingError("state of something else than a layer")
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def _restricted(kinds: Iterable[type]) -> type[_Restricted]:
    return type("_RestrictedTo", (_Restricted,), {"allowed": _allowed(kinds)})


def _restricted_load(file: Any, **options: Any) -> Any:
    return _Restricted(file, **options).load()


def _restricted_loads(data: bytes, **options: Any) -> Any:
    raise pickle.UnpicklingError("files of this format have no pickles in bytes")
