"""Messages of the command line, all of which are printed here.

Results go to standard output. Everything else goes to standard error.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from skfusion._paths import write_whole

__all__ = [
    "fail",
    "is_terminal",
    "progress_level",
    "say",
    "show",
    "warnings_as_lines",
    "write_json",
]

_CLEAR_LINE = "\r\x1b[K"  # of a progress line that is under way


def show(text: str) -> None:
    """Print a result to standard output."""
    print(text)


def say(text: str) -> None:
    """Print a remark to standard error."""
    start = _CLEAR_LINE if is_terminal() else ""
    print(f"{start}{text}", file=sys.stderr)


def fail(text: str) -> None:
    """Print an error to standard error."""
    say(f"skfusion: error: {text}")


def write_json(path: str | None, content: Any) -> None:
    """Write results to a JSON file, if there is a path, and say where it is."""
    if not path:
        return
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    write_whole(path, lambda file: file.write(text.encode("utf-8")), is_private=False)
    say(f"JSON: {Path(path).resolve()}")


def is_terminal() -> bool:
    """Return whether somebody reads standard error while it is written."""
    return bool(getattr(sys.stderr, "isatty", lambda: False)())


def progress_level() -> int:
    """Return the parameter `verbose`: 1 on a terminal, 0 in a pipe or a file."""
    return int(is_terminal())


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print each warning as one line without its source line."""

    def as_line(message: Any, category: type[Warning], *place: Any) -> None:
        say(f"skfusion: warning: {' '.join(str(message).split())}")

    usual = warnings.showwarning
    warnings.showwarning = as_line  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = usual
