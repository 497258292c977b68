"""The folder of cached results, and files opened without naming them in errors."""

from __future__ import annotations

import os
import stat
import sys
from io import BufferedReader
from pathlib import Path

__all__ = ["FileReadError", "cache_folder", "open_file"]


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


class FileReadError(ValueError):
    """A file cannot be read. The message gives the reason and never the path."""


def open_file(
    path: str | os.PathLike[str],
    *,
    what: str = "file",
    error: type[FileReadError] = FileReadError,
) -> BufferedReader:
    """Open a regular file for reading bytes.

    Parameters
    ----------
    path : str or PathLike
        The file. Names of files often hold names of patients, so that neither the
        message nor its cause repeats the path.
    what : str, default="file"
        The kind of file, for the messages.
    error : type, default=FileReadError
        The class of the error.

    Returns
    -------
    file object

    Raises
    ------
    FileReadError
        If the file does not exist, is no regular file, or cannot be opened.

    Examples
    --------
    >>> from skfusion._paths import FileReadError, open_file
    >>> try:
    ...     open_file("no such file")
    ... except FileReadError as error:
    ...     print(error)
    The file does not exist.
    """
    # "from None": the cause would carry the path into the log
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise error(f"The {what} does not exist.") from None
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "not a valid path"
        raise error(f"The {what} cannot be reached: {reason}.") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        article = "an" if what[0] in "aeiou" else "a"
        raise error(f"The path is a {kind}, not {article} {what}.")
    try:
        return open(path, "rb")
    except OSError as cause:
        raise error(f"The {what} cannot be opened: {cause.strerror}.") from None
