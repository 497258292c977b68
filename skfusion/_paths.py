"""The folder of cached results, and files read and written without naming them.

Files are written as a whole: they appear when they are complete, or not at all.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

__all__ = [
    "FileReadError",
    "cache_folder",
    "expanded_path",
    "explain_missing",
    "flush",
    "open_file",
    "whole_file",
    "write_whole",
]


#: Beginning of the names of unfinished files.
UNFINISHED = ".skfusion-"
# Where folders, or files that are opened for reading, cannot be flushed.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EROFS)


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


@contextmanager
def whole_file(
    path: str | os.PathLike[str], *, is_private: bool = True, prefix: str = UNFINISHED
) -> Iterator[Path]:
    """Provide the path of a new file, which replaces a file if no error occurs.

    Parameters
    ----------
    path : str or PathLike
        The file that appears. A symbolic link stays, and the file that it names is
        replaced. A device or pipe is written as it is.
    is_private : bool, default=True
        Whether only the user may read the file. A file that is replaced passes its
        permissions on.
    prefix : str, default=".skfusion-"
        Beginning of the name of the unfinished file, which is in the same folder.

    Yields
    ------
    Path
        The empty file to write. It is removed after an error.

    Raises
    ------
    OSError
        If the file cannot be written. The message has no path, and the file that was
        there is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfusion._paths import whole_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "scores.csv")
    ...     _ = place.write_text("old")
    ...     try:
    ...         with whole_file(place) as unfinished:
    ...             _ = unfinished.write_text("half")
    ...             raise KeyError
    ...     except KeyError:
    ...         print(place.read_text(), len(list(Path(folder).iterdir())))
    old 1
    """
    with _without_path():
        place = Path(os.path.realpath(path))
        mode = _mode(place)
    if mode is not None and not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        yield place
        return
    unfinished = place.parent / f"{prefix}{uuid.uuid4().hex}"
    with _without_path():
        _check_replaceable(place, mode)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        os.close(os.open(unfinished, flags, 0o600 if is_private else 0o666))
    try:
        yield unfinished
        with _without_path():
            if mode is not None:
                os.chmod(unfinished, stat.S_IMODE(mode))
            flush(unfinished)
            os.replace(unfinished, place)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # the file is there, a power cut apart
        flush(place.parent)


def write_whole(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], object],
    *,
    is_private: bool = True,
    prefix: str = UNFINISHED,
) -> None:
    """Write a file, which replaces another one when it is complete.

    Parameters
    ----------
    path, is_private, prefix
        As in `whole_file`.
    write : callable
        Function that writes to a binary file.

    Raises
    ------
    OSError
        If the file cannot be written. The message has no path, and the file that was
        there is unchanged.

    Examples
    --------
    >>> import os
    >>> from skfusion._paths import write_whole
    >>> write_whole(os.devnull, lambda file: file.write(b"text"))
    """
    with (
        whole_file(path, is_private=is_private, prefix=prefix) as unfinished,
        _without_path(),
        open(unfinished, "wb") as file,
    ):
        write(file)


def flush(path: Path) -> None:
    """Flush a file or folder to the disk.

    Parameters
    ----------
    path : Path
        A file or folder, which need not be open.

    Raises
    ------
    OSError
        If the disk failed, such as by an error of input and output.
    """
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:  # Windows cannot open folders.
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(number)


def _mode(place: Path) -> int | None:
    try:
        return place.stat().st_mode
    except FileNotFoundError:
        return None


def _check_replaceable(place: Path, mode: int | None) -> None:
    if mode is None:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # A folder that may be written would let a protected file be replaced.
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is protected against writing")


@contextmanager
def _without_path() -> Iterator[None]:
    """Replace an error of the file system by one that names no path."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        reason = error.strerror or os.strerror(error.errno)
        # "from None": the cause would carry the path into the log
        raise OSError(
            error.errno,
            f"the file cannot be written ({reason}). What was there is unchanged",
        ) from None
