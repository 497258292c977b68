"""The folder of cached results, and files opened without naming them in errors."""

from __future__ import annotations

import os
import re
import stat
import sys
import unicodedata
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

__all__ = [
    "FileReadError",
    "cache_folder",
    "expanded_path",
    "explain_missing",
    "open_file",
]


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


def expanded_path(path: str | os.PathLike[str]) -> Path:
    """Return the absolute path, where ``~`` or ``~user`` begins a home directory.

    Parameters
    ----------
    path : str or PathLike
        The path. ``./~user`` is the folder of this name, unlike in
        `pathlib.Path.expanduser`, where ``./`` is lost. An unknown user is not
        replaced.

    Returns
    -------
    Path
        Absolute, because pandas, pyarrow and others would expand it again.

    Examples
    --------
    >>> from skfusion._paths import expanded_path
    >>> expanded_path("./~/data").parent.name
    '~'
    """
    return Path(os.path.abspath(os.path.expanduser(os.fspath(path))))


class FileReadError(ValueError):
    """A file cannot be read. The message gives the reason and never the path."""


def explain_missing(path: str | os.PathLike[str]) -> str:
    """Return why a path may name no file, as a sentence without the path.

    Parameters
    ----------
    path : str or PathLike
        Path of a file that does not exist.

    Returns
    -------
    str
        A sentence after a space, or ``""`` for an absolute path without a known
        mistake.

    Examples
    --------
    >>> from skfusion._paths import explain_missing
    >>> explain_missing("scans/1.dcm ")
    ' The path has leading or trailing white space.'
    >>> explain_missing("scans/1.dcm")
    ' Relative paths are looked up from the working directory.'
    >>> explain_missing("/scans/1.dcm")
    ''
    """
    text = os.fsdecode(path)
    found = next((reason for reason, holds in _MISTAKES if holds(text)), "")
    if not found and not os.path.isabs(text):
        found = "Relative paths are looked up from the working directory."
    return f" {found}" if found else ""


def _has_quotes(text: str) -> bool:
    inner = text.strip()
    return bool(inner) and (inner[0] in _QUOTES or inner[-1] in _QUOTES)


def _is_url(text: str) -> bool:
    inner = text.strip()
    is_drive = re.match(r"[A-Za-z]:[/\\]", inner)
    return not is_drive and re.match(r"[A-Za-z][\w+.-]*:/{1,3}[^/]", inner) is not None


def _leads_into_archive(text: str) -> bool:
    pattern = r"(.+?\.(?:zip|tar|tgz|tar\.gz|7z))[/\\!:]"
    inside = re.match(pattern, text.strip(), re.IGNORECASE)
    return inside is not None and not os.path.isdir(inside[1])


def _exists_otherwise_normalised(text: str) -> bool:
    return any(
        os.path.exists(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")
    )


_QUOTES = "\"'`\u2018\u2019\u201c\u201d\u201e\xab\xbb"
# What the path of a missing file shows, the most telling first.
_MISTAKES: tuple[tuple[str, Callable[[str], object]], ...] = (
    (
        "The path has leading or trailing white space.",
        lambda text: text != text.strip(),
    ),
    (
        "The path has invisible characters, such as a byte order mark.",
        lambda text: any(unicodedata.category(c) in ("Cc", "Cf") for c in text),
    ),
    ("The path has surrounding quotes.", _has_quotes),
    ("The path looks like a URL, not like the path of a file.", _is_url),
    (
        "'~' is not expanded to a home directory. Use os.path.expanduser.",
        lambda text: text.startswith("~"),
    ),
    (
        "Environment variables are not expanded. Use os.path.expandvars.",
        lambda text: re.search(r"\$\{?\w|%\w+%", text),
    ),
    (
        "The path leads into an archive. Unpack it, or pass a zipfile.Path.",
        _leads_into_archive,
    ),
    (
        "The path exists in another Unicode form. Use unicodedata.normalize.",
        _exists_otherwise_normalised,
    ),
    (
        "The path has backslashes, which separate folders on Windows only.",
        lambda text: os.sep == "/" and "\\" in text,
    ),
)


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
    The file does not exist. Relative paths are looked up from the working directory.
    """
    # "from None": the cause would carry the path into the log
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise error(f"The {what} does not exist.{explain_missing(path)}") from None
    except (OSError, ValueError) as cause:
        reason = getattr(cause, "strerror", None) or "not a valid path"
        why = explain_missing(path) if isinstance(cause, NotADirectoryError) else ""
        raise error(f"The {what} cannot be reached: {reason}.{why}") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        article = "an" if what[0] in "aeiou" else "a"
        raise error(f"The path is a {kind}, not {article} {what}.")
    try:
        return open(path, "rb")
    except OSError as cause:
        raise error(f"The {what} cannot be opened: {cause.strerror}.") from None
