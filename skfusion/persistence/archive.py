"""The zip file of a model: parts that are stored as they are, and nothing else.

A zip file has more degrees of freedom than a model needs: compression, links, names
that lead out of a folder, members of the same name, bytes between the members. All of
them are refused. Every byte of an accepted file is that of a part, of a header that
follows from the parts, or without effect.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from skfusion._paths import expanded_path, explain_missing, write_whole
from skfusion._validation import check_number

__all__ = [
    "Archive",
    "Limits",
    "ModelFileError",
    "archive_bytes",
    "check_members",
    "path_of_model",
    "write_archive",
]


_WRITTEN = (1980, 1, 1, 0, 0, 0)  # the same parts give the same file
_UNIX = 3
_MODE = stat.S_IFREG | 0o600
_UTF8 = 0x800
_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_LARGE_END = struct.Struct("<4sQ2H2L4Q")
_LOCAL_HEADER = 30
#: Bytes of the directory per member: its header, its name and the sizes of zip64.
_DIRECTORY_ENTRY = 46 + 512 + 32


class ModelFileError(ValueError):
    """A model cannot be saved, or a file is not accepted as a model.

    The message contains no path and no value of a patient.

    Examples
    --------
    >>> from skfusion.persistence import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """

    __module__ = "skfusion.persistence"


class Limits:
    """Largest number and size of the parts of a file.

    Parameters
    ----------
    max_members : int, default=10_000
        Largest number of parts.
    max_size : int, default=4 * 1024**3
        Largest size of the file in bytes.
    function : str, default="load"
        Name of the public function, for messages.
    """

    def __init__(
        self,
        max_members: int = 10_000,
        max_size: int = 4 * 1024**3,
        function: str = "load",
    ) -> None:
        check_number(max_members, "max_members", function, low=1, integer=True)
        check_number(max_size, "max_size", function, low=1, integer=True)
        self.max_members = max_members
        self.max_size = max_size


def check_members(n_members: int, limits: Limits) -> None:
    """Check the number of parts of a model before anything is written.

    Parameters
    ----------
    n_members : int
        Number of parts.
    limits : Limits
        Largest number of parts.

    Raises
    ------
    ModelFileError
        If there are more.
    """
    if n_members > limits.max_members:
        raise ModelFileError(
            f"save: the model has {n_members:,} parts, more than "
            f"max_members={limits.max_members:,}. Nothing was written. Raise "
            "max_members in save, inspect_model and load, or fit a model of fewer "
            "arrays, such as one with fewer members."
        )


def archive_bytes(parts: Mapping[str, bytes]) -> bytes:
    """Return the bytes of an archive.

    Parameters
    ----------
    parts : mapping of str to bytes
        Parts by name.

    Returns
    -------
    bytes

    Examples
    --------
    >>> from skfusion.persistence.archive import archive_bytes
    >>> archive_bytes({"a.txt": b"text"}) == archive_bytes({"a.txt": b"text"})
    True
    """
    buffer = io.BytesIO()
    _write(buffer, parts)
    return buffer.getvalue()


def _write(file: BinaryIO, parts: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            info = zipfile.ZipInfo(name, _WRITTEN)
            info.create_system = _UNIX
            info.external_attr = _MODE << 16
            archive.writestr(info, content)


def write_archive(path: str | os.PathLike[str], parts: Mapping[str, bytes]) -> None:
    """Write an archive, which replaces a file at once or not at all.

    Parameters
    ----------
    path : str or PathLike
        The file.
    parts : mapping of str to bytes
        Parts by name.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    IsADirectoryError
        If the path is a folder.
    """
    place = path_of_model(path, "save")
    if not place.parent.is_dir():
        raise FileNotFoundError(
            "save: the folder of the file does not exist. Create it first."
            + explain_missing(path)
        )
    if place.is_dir():
        raise IsADirectoryError(
            "save: the path is a folder, expected the path of a file, e.g. "
            "'model.skfusion'."
        )
    if place.exists() and not place.is_file():
        raise ModelFileError("save: the path is a device or pipe, expected a file.")
    write_whole(place, lambda file: _write(file, parts))


def path_of_model(path: Any, function: str, *, must_exist: bool = False) -> Path:
    """Return the absolute path of the file of a model.

    Parameters
    ----------
    path : str or PathLike
        The path that the user gave.
    function : str
        Name of the public function, for messages.
    must_exist : bool, default=False
        Whether there must be something at the path.

    Raises
    ------
    FileNotFoundError
        If there must be something, and is not.
    TypeError
        If it is no path, or a path of bytes.
    ValueError
        If it is empty or contains a null character.

    Examples
    --------
    >>> from skfusion.persistence.archive import path_of_model
    >>> path_of_model(b"model.skfusion", "load")
    Traceback (most recent call last):
        ...
    TypeError: load: path must be a str or a Path, got bytes. Decode the path with ...
    """
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str):
        remedy = ""
        if isinstance(given, bytes):
            remedy = " Decode the path with os.fsdecode."
        elif hasattr(given, "read") or hasattr(given, "write"):
            remedy = " Pass the path of the file, not the open file."
        raise TypeError(
            f"{function}: path must be a str or a Path, got {type(given).__name__}."
            + remedy
        )
    if not given or "\0" in given:
        what = "has a null character" if given else "is empty"
        raise ValueError(f"{function}: the path {what}, expected that of a file.")
    place = expanded_path(given)
    if must_exist and not os.path.exists(place):
        raise FileNotFoundError(
            "there is no file of a model at this path." + explain_missing(given)
        )
    return place


class Archive:
    """Archive that is read, with all of its structure checked.

    Parameters
    ----------
    file : Path or bytes
        The archive, or the absolute path to it.
    limits : Limits or None, default=None
        Largest number and size of the parts.
    what : str, default="the file"
        What is read, for messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the structure is not that of an archive of parts.

    Examples
    --------
    >>> from skfusion.persistence.archive import Archive, archive_bytes
    >>> with Archive(archive_bytes({"a.txt": b"text"})) as archive:
    ...     archive.names, archive.read("a.txt")
    (['a.txt'], b'text')
    """

    def __init__(
        self,
        file: Path | bytes,
        limits: Limits | None = None,
        what: str = "the file",
    ) -> None:
        self._what = what
        limits = limits or Limits()
        self._file: BinaryIO
        if isinstance(file, bytes):
            self._file = io.BytesIO(file)
        else:
            self._file = _opened(file)
        try:
            self._check_size(limits)
            try:
                self._zip = zipfile.ZipFile(self._file)
            except (zipfile.BadZipFile, ValueError, OverflowError, struct.error) as bad:
                raise self._error("its directory is damaged, or it is cut off") from bad
            except NotImplementedError as newer:
                raise self._error("a member asks for a newer kind of zip") from newer
            self._check_members(limits)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()

    @property
    def names(self) -> list[str]:
        """Names of the parts, in the order of the file."""
        return self._zip.namelist()

    def size(self, name: str) -> int:
        """Return the number of bytes of a part."""
        return self._zip.getinfo(name).file_size

    def read(self, name: str) -> bytes:
        """Return the bytes of a part, whose checksum is compared.

        Raises
        ------
        ModelFileError
            If the part does not exist, or its checksum differs.
        """
        if name not in self._zip.NameToInfo:
            raise self._error(f"the part {name!r} is missing")
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
            raise self._error(
                f"the bytes of the part {name!r} do not match their checksum, so the "
                "file was damaged or changed"
            ) from error

    # -- checks -------------------------------------------------------------------

    def _error(self, reason: str) -> ModelFileError:
        return ModelFileError(f"{self._what} is refused: {reason}.")

    def _check_size(self, limits: Limits) -> None:
        """Check size and number of members before the directory is read."""
        size = self._file.seek(0, io.SEEK_END)
        if size > limits.max_size:
            raise self._error(
                f"it has {size:,} bytes, more than max_size={limits.max_size:,}. "
                "Raise max_size if you trust where it comes from"
            )
        n_members, directory = self._directory(size)
        if n_members > limits.max_members:
            raise self._error(
                f"it has {n_members:,} members, more than "
                f"max_members={limits.max_members:,}. Raise max_members if you trust "
                "where it comes from"
            )
        if directory > n_members * _DIRECTORY_ENTRY:
            raise self._error(
                f"its directory has {directory:,} bytes for {n_members} members"
            )

    def _directory(self, size: int) -> tuple[int, int]:
        """Return the number of members and the bytes of the directory, as declared."""
        if size < _END.size:
            raise self._error("it is no zip file, or it is cut off")
        self._file.seek(0)
        start = self._file.read(4)
        self._file.seek(size - _END.size)
        mark, _, _, _, number, directory, offset, comment = _END.unpack(
            self._file.read(_END.size)
        )
        if start[:2] != b"PK" or mark != b"PK\5\6" or comment:
            raise self._error(
                "it is no zip file, it is cut off, or bytes were added to it"
            )
        if number == 0xFFFF or 0xFFFFFFFF in (directory, offset):
            return self._large_directory(size - _END.size)
        return number, directory

    def _large_directory(self, end: int) -> tuple[int, int]:
        """Return the declared numbers of a file with zip64 fields."""
        if end < _LOCATOR.size + _LARGE_END.size:
            raise self._error("its directory is damaged, or it is cut off")
        self._file.seek(end - _LOCATOR.size - _LARGE_END.size)
        fields = _LARGE_END.unpack(self._file.read(_LARGE_END.size))
        mark = self._file.read(4)
        if fields[0] != b"PK\6\6" or mark != b"PK\6\7":
            raise self._error("its directory is damaged, or it is cut off")
        return int(fields[7]), int(fields[8])

    def _check_members(self, limits: Limits) -> None:
        members = self._zip.infolist()
        if len(members) > limits.max_members:
            raise self._error(f"it has {len(members):,} members, not as it declares")
        seen: set[str] = set()
        for info in members:
            self._check_name(info)
            if info.filename.casefold() in seen:
                raise self._error(f"the member {info.filename!r} occurs twice")
            seen.add(info.filename.casefold())
            self._check_kind(info)
        place = 0
        for info in members:
            place = self._check_place(info, place)
        if place != self._zip.start_dir:
            raise self._error("it contains bytes that belong to no member")

    def _check_name(self, info: zipfile.ZipInfo) -> None:
        # The name as in the file: the module zipfile cuts it at a null character.
        name = info.orig_filename
        parts = name.split("/")
        if name.startswith("/") or name[1:2] == ":":
            raise self._error(f"the member {name!r} has an absolute path")
        if ".." in parts or "\\" in name:
            raise self._error(f"the name of the member {name!r} leads out of the file")
        if (
            not all(parts)
            or "." in parts
            or not name.isascii()
            or not name.isprintable()
            or len(name) > 200
        ):
            raise self._error(f"{name!r} is no name of a part")

    def _check_kind(self, info: zipfile.ZipInfo) -> None:
        name = info.filename
        if stat.S_ISLNK(info.external_attr >> 16):
            raise self._error(f"the member {name!r} is a symbolic link")
        if info.flag_bits & 0x1:
            raise self._error(f"the member {name!r} is encrypted")
        if info.compress_type != zipfile.ZIP_STORED:
            raise self._error(
                f"the member {name!r} is compressed. Parts of a model are stored as "
                "they are, so that none can grow when it is read"
            )
        if info.file_size != info.compress_size:
            raise self._error(
                f"the member {name!r} declares {info.file_size:,} bytes and has "
                f"{info.compress_size:,}"
            )
        written = (info.create_system, info.external_attr, info.date_time, info.comment)
        if (
            written != (_UNIX, _MODE << 16, _WRITTEN, b"")
            or info.flag_bits & ~_UTF8
            or info.internal_attr
            or info.volume
        ):
            raise self._error(
                f"the header of the member {name!r} is not one that skfusion.save "
                "writes. Copy the file as it is, without packing it again"
            )

    def _check_place(self, info: zipfile.ZipInfo, place: int) -> int:
        """Check that a member begins where the last one ends, and return its end."""
        name = info.filename
        if info.header_offset != place:
            raise self._error(
                f"the member {name!r} overlaps another one, or unknown bytes are "
                "before it"
            )
        self._file.seek(place)
        head = self._file.read(_LOCAL_HEADER)
        if len(head) < _LOCAL_HEADER:
            raise self._error("it is cut off")
        lengths = struct.unpack("<2H", head[-4:])
        head += self._file.read(sum(lengths))
        # Sizes above 4 GiB have a field of their own.
        if head != info.FileHeader(zip64=lengths[1] > 0):
            raise self._error(
                f"the two headers of the member {name!r} contradict each other"
            )
        end = place + len(head) + info.file_size
        if end > self._zip.start_dir:
            raise self._error(
                f"the member {name!r} declares {info.file_size:,} bytes, more than the "
                "file has"
            )
        return end


def _opened(place: Path) -> BinaryIO:
    try:
        mode = place.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(
                "the path is a folder, expected the file of a model that skfusion.save "
                "wrote."
            )
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise ModelFileError("the path is a device or pipe, expected a file.")
        return place.open("rb")
    except OSError as error:
        if error.errno is None:  # as above
            raise
        # "from None": the cause would carry the path into the log
        raise OSError(
            error.errno, f"the file of the model cannot be read ({error.strerror})"
        ) from None
