"""Files that appear when they are complete, or not at all."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["PREFIX", "flush", "whole_file", "write_whole"]

#: Beginning of the names of unfinished files.
PREFIX = ".skfusion-"
# Where folders, or files that are opened for reading, cannot be flushed.
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EROFS)


@contextmanager
def whole_file(
    path: str | os.PathLike[str], *, is_private: bool = True, prefix: str = PREFIX
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
    >>> from skfusion._whole_files import whole_file
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
    prefix: str = PREFIX,
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
    >>> from skfusion._whole_files import write_whole
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
