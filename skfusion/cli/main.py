"""Command-line interface of skfusion.

The commands are ``demo``, ``compare``, ``explain``, ``predict``, ``audit``, ``advise``,
``embed`` and ``cache``. They call the public functions. A module with its packages is
imported only when its command runs. Exit codes are 0 (done), 1 (the run failed), 2
(wrong use, or problems in the table) and 130 (interrupted).
"""

from __future__ import annotations

import ctypes
import importlib
import os
import traceback
from collections.abc import MutableMapping, Sequence

from skfusion.cli.console import fail, warnings_as_lines
from skfusion.cli.parser import make_parser
from skfusion.cli.problems import USER_ERRORS, ProblemsError, RunError

__all__ = ["keep_freed_memory", "main"]


DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command-line interface.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program name. None uses the arguments of the process,
        whose allocator is then set to keep freed memory.

    Returns
    -------
    int
        Exit code: 0 if done, 1 if the run failed, 2 after an error that the user can
        correct, such as wrong options or problems in the table, and 130 after an
        interrupt.

    Examples
    --------
    >>> from skfusion.cli.main import main
    >>> main(["cache", "prune", "--max-size", "2GB", "--path", "no/such/folder"])
    2
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.command is None:
        parser.print_help()
        return DONE
    if argv is None:  # the process is the command's own
        keep_freed_memory()
    try:
        with warnings_as_lines():
            importlib.import_module(f"skfusion.cli.{arguments.command}").run(arguments)
    except KeyboardInterrupt:
        fail("interrupted")
        return INTERRUPTED
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        return _report(error)
    return DONE


def keep_freed_memory(environment: MutableMapping[str, str] | None = None) -> bool:
    """Keep freed memory in this process, and in the processes that it starts.

    A network that is trained or applied allocates the same arrays in each step. The
    allocator of glibc returns large ones to the system, and gets them back as pages
    that the kernel clears, which can be a tenth of the time of a training. A command
    owns its process, and may change this. Nothing is changed without glibc, or if the
    user has chosen an allocator or settings of it.

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
    >>> from skfusion.cli.main import keep_freed_memory
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


def _report(error: Exception) -> int:
    """Print an error, and return the exit code."""
    if isinstance(error, ProblemsError):
        fail(str(error))
        return WRONG_USE
    text = " ".join(str(error).split())
    if isinstance(error, USER_ERRORS):
        fail(text)
        return WRONG_USE
    if isinstance(error, RunError):
        fail(text)
        return FAILED
    hint = "(run again with --debug to show the traceback)"
    fail(f"{type(error).__name__}: {text} {hint}")
    return FAILED
