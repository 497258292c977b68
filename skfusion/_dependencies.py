"""Import of optional packages at their point of use."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["TORCH_PACKAGES", "is_installed", "named_extra", "require"]

#: Packages of the extra ``torch``, which some modules of skfusion import at their top.
TORCH_PACKAGES = ("torch", "torchvision", "skorch", "safetensors")


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
