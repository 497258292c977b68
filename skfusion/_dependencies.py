"""Import of optional packages at their point of use."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["require"]


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
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise  # the package is installed, but one of its dependencies is not
        raise ImportError(
            f"The package {package!r} is required, but it is not installed. "
            f'Install it with: pip install "skfusion[{extra}]"'
        ) from error
