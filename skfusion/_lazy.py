"""Packages whose public names are imported on first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["lazy_exports"]


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
        Its ``__all__``, sorted.

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
            value = getattr(importlib.import_module(home[name]), name)
        elif name in submodules:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home, *submodules})

    return getattr_, dir_, sorted(home)
