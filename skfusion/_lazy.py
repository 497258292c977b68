"""Packages whose public names are imported on first use (PEP 562).

A class of a lower layer can have a method whose work a higher layer does. The lower
layer asks for a function by its name, and the package itself, which is above all
layers, says which module provides it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from skfusion._dependencies import TORCH_PACKAGES, is_installed, named_extra

__all__ = ["lazy_exports", "provide", "provided"]


# Packages whose modules import torch, which the extra "torch" installs.
_WITH_TORCH = (
    "skfusion.fusion.joint.",
    "skfusion.image.embedding.",
    "skfusion.image.networks.",
    "skfusion.inspection.images.",
)


def lazy_exports(
    package: str, exports: Mapping[str, Sequence[str]], submodules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the functions by which a package exports names of its modules lazily.

    Parameters
    ----------
    package : str
        Name of the package, ``__name__`` in its ``__init__.py``.
    exports : mapping of str to sequence of str
        Names to export, by the module that defines them. No name may be that of a
        submodule of the package, which it would hide.
    submodules : sequence of str, default=()
        Submodules that are imported on first use as well.

    Returns
    -------
    getattr_ : callable
        The ``__getattr__`` of the package.
    dir_ : callable
        Its ``__dir__``.
    names : list of str
        Its ``__all__``, sorted. Without torch, it lacks the names that need torch, so
        that ``from package import *`` gives all others.

    Notes
    -----
    Access to a name that needs torch raises an ImportError with the pip command if
    torch is not installed.

    Examples
    --------
    >>> from skfusion._lazy import lazy_exports
    >>> getattr_, dir_, names = lazy_exports("json", {"decimal": ["Decimal"]})
    >>> names, getattr_("Decimal")("0.1")
    (['Decimal'], Decimal('0.1'))
    """
    home = {name: module for module, names in exports.items() for name in names}

    def getattr_(name: str) -> Any:
        if name in home:
            with named_extra(TORCH_PACKAGES, "torch", f"{package}.{name}"):
                value = getattr(importlib.import_module(home[name]), name)
        elif name in submodules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home, *submodules})

    names = sorted(home)
    if not is_installed("torch"):
        names = [name for name in names if not home[name].startswith(_WITH_TORCH)]
    return getattr_, dir_, names


_PROVIDERS: dict[str, str] = {}


def provide(providers: Mapping[str, str]) -> None:
    """State the modules that define the functions which lower layers ask for.

    Parameters
    ----------
    providers : mapping of str to str
        Module by the name of the function. It is imported on first use.
    """
    _PROVIDERS.update(providers)


def provided(name: str) -> Callable[..., Any]:
    """Return a function that a higher layer provides.

    Parameters
    ----------
    name : str
        Name of the function.

    Returns
    -------
    callable

    Raises
    ------
    KeyError
        If no module provides the function.

    Examples
    --------
    >>> from skfusion._lazy import provide, provided
    >>> provide({"dumps": "json"})
    >>> provided("dumps")([1])
    '[1]'
    """
    function: Callable[..., Any] = getattr(
        importlib.import_module(_PROVIDERS[name]), name
    )
    return function
