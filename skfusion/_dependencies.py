"""Optional packages: import one at its point of use, or say how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require"]


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra installs it.

    Parameters
    ----------
    module : str
        Dotted name of the module to import, e.g. ``"xgboost"``.
    extra : str
        The extra of skfusion that installs it, e.g. ``"xgboost"``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    ImportError
        If the package is not installed. The message holds the pip line.

    Examples
    --------
    >>> from skfusion._dependencies import require
    >>> require("numpy", "all").__name__
    'numpy'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is there; something that it needs is not
        raise ImportError(
            f"This needs the package {package!r}, which is not installed. "
            f'Install it with: pip install "skfusion[{extra}]"'
        ) from error
