"""Where skfusion keeps what it computed, on every system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """Return the folder of everything that skfusion keeps for later.

    Returns
    -------
    Path
        ``$SKFUSION_CACHE`` if it is set, else the folder ``skfusion`` among the user's
        caches: ``$XDG_CACHE_HOME`` or ``~/.cache`` (``~/Library/Caches`` on macOS,
        ``%LOCALAPPDATA%`` on Windows).

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
