"""Command-line interface of skfusion.

The commands are ``demo``, ``compare``, ``explain``, ``predict``, ``audit``, ``advise``,
``embed`` and ``cache``. They call the public functions. A module with its packages is
imported only when its command runs. Exit codes are 0 (done), 1 (the run failed), 2
(wrong use, or problems in the table) and 130 (interrupted).
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Sequence

from skfusion.cli.allocator import keep_freed_memory
from skfusion.cli.console import fail, warnings_as_lines
from skfusion.cli.parser import make_parser
from skfusion.cli.problems import USER_ERRORS, ProblemsError, RunError

__all__ = ["main"]


DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


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
