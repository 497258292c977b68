"""Freed memory that the command line keeps for its next arrays.

A network that is trained or applied allocates the same arrays in each step. The
allocator of glibc returns large ones to the system and gets them back as pages that the
kernel clears, which is up to a fifth of the time of a training. A command owns its
process, so that it may change this, unlike a library.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping

__all__ = ["keep_freed_memory"]


# Parameters of `mallopt` in malloc.h of glibc, and their names in the environment.
# Allocations are taken from the heap and not mapped one by one, and the heap is trimmed
# only if 2 GB at its end are free.
MMAP_MAX, TRIM_THRESHOLD = -4, -1
SETTINGS = {
    "MALLOC_MMAP_MAX_": (MMAP_MAX, 0),
    "MALLOC_TRIM_THRESHOLD_": (TRIM_THRESHOLD, 2**31 - 1),
}
# The user's own settings of the allocator, with which nothing is changed.
OWN = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory(environment: MutableMapping[str, str] | None = None) -> bool:
    """Keep freed memory in this process, and in the processes that it starts.

    Nothing is changed without glibc, or if the user has chosen an allocator or settings
    of it.

    Parameters
    ----------
    environment : mapping of str to str or None, default=None
        Environment variables of processes that are started. None is `os.environ`.

    Returns
    -------
    bool
        Whether the allocator was changed.

    Examples
    --------
    >>> from skfusion.cli.allocator import keep_freed_memory
    >>> keep_freed_memory({"MALLOC_ARENA_MAX": "2"})
    False
    """
    variables = os.environ if environment is None else environment
    if any(name.startswith(OWN) for name in variables):
        return False
    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return False
    done = [change(number, value) for number, value in SETTINGS.values()]
    if not all(done):
        return False
    # Workers of joblib are new processes, which read the settings when they start.
    variables.update({name: str(value) for name, (_, value) in SETTINGS.items()})
    return True
