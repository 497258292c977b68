"""Import of optional packages at their point of use."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = ["TORCH_PACKAGES", "is_installed", "loaded", "named_extra", "require"]

#: Packages of the extra ``torch``, which some modules of skfusion import at their top.
TORCH_PACKAGES = ("torch", "torchvision", "skorch", "safetensors")


def loaded(module: str, *names: str) -> tuple[Any, ...]:
    """Return members of a module, or none of them if it has not been imported.

    Nothing is then an instance of its classes, so that it need not be imported to ask
    for them. All learners of scikit-learn take longer to import than a prediction.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    *names : str
        Names of its members.

    Returns
    -------
    tuple

    Examples
    --------
    >>> from skfusion._dependencies import loaded
    >>> loaded("no_such_package", "Estimator")
    ()
    >>> isinstance(0.5, loaded("numbers", "Real"))
    True
    """
    found = sys.modules.get(module)
    return tuple(getattr(found, name) for name in names if hasattr(found, name))


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or raise an error that names its extra.

    Parameters
    ----------
    module : str
        Dotted name of the module to import, e.g. ``"xgboost"``.
    extra : str
        Extra of skfusion that installs the package, e.g. ``"xgboost"``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the package is not installed. The message contains the pip command.

    Examples
    --------
    >>> from skfusion._dependencies import require
    >>> require("numpy", "all").__name__
    'numpy'
    """
    # If one of its dependencies is absent, the package itself is installed.
    with named_extra([module.partition(".")[0]], extra):
        return importlib.import_module(module)


@contextmanager
def named_extra(
    packages: Collection[str], extra: str, needs: str = ""
) -> Iterator[None]:
    """Name the extra in the error of an import that finds one of some packages absent.

    Parameters
    ----------
    packages : collection of str
        Packages of the extra.
    extra : str
        Extra of skfusion that installs them.
    needs : str, default=""
        What needs the packages, for the message.

    Raises
    ------
    ImportError
        If one of the packages is not installed. The message contains the pip command.
        Other errors are not changed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in packages:
            raise
        what = (
            f"{needs} needs the package {package!r}"
            if needs
            else (f"The package {package!r} is required")
        )
        raise ImportError(
            f"{what}, but it is not installed. "
            f'Install it with: pip install "skfusion[{extra}]"',
            name=package,
        ) from error


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it.

    Parameters
    ----------
    package : str
        Name of a top-level package.

    Examples
    --------
    >>> from skfusion._dependencies import is_installed
    >>> is_installed("numpy"), is_installed("no_such_package")
    (True, False)
    """
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # blocked, or a module without a spec
        return False
