"""Location of the cache folder on each operating system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder in which skfusion caches its results.

    Returns
    -------
    Path
        ``$SKFUSION_CACHE`` if it is set, else the folder ``skfusion`` in the user's
        cache folder. The latter is ``$XDG_CACHE_HOME`` or ``~/.cache``
        (``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows).

    Examples
    --------
    >>> from skfusion._paths import cache_folder
    >>> cache_folder().is_absolute()
    True
    """
    chosen = os.environ.get("SKFUSION_CACHE")
    if chosen:
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.abspath(os.path.expanduser(base))) / "skfusion"
