"""File in which a scan notes what it has read, so that it can be resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from skfusion._paths import expanded_path
from skfusion.cohorts.headers import Found, ImageHeader
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["ScanIndex"]


_KIND = "skfusion.cohorts.scan_images"
_VERSION = 1


class ScanIndex:
    """Headers that a scan has read, one line per file, which are only added.

    A scan that is killed leaves a last line that is cut off at most. It is removed when
    the scan is resumed. Use it as a context manager.

    Parameters
    ----------
    path : str, PathLike or None
        The file. None keeps nothing.
    root : str
        Folder of the scan, to which paths in the index are relative.
    patients : str
        What the ids of patients are, which must be the same when a scan is resumed.

    Raises
    ------
    ValueError
        If the file is no index, or of a scan with another folder or other patients.

    Warns
    -----
    DataWarning
        With the number of damaged lines, whose files are read again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfusion.cohorts.headers import Found
    >>> from skfusion.cohorts.scan_index import ScanIndex
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     place = Path(folder, "scan.jsonl")
    ...     with ScanIndex(place, "/scans", "id") as index:
    ...         index.add([Found("/scans/a.txt", 3, 1, None, "format no image")])
    ...     with ScanIndex(place, "/scans", "id") as index:
    ...         list(index.known)
    ['/scans/a.txt']
    """

    def __init__(self, path: Any, root: str, patients: str) -> None:
        self._path = None if path is None else expanded_path(path)
        self._root = root
        self._about = {
            "kind": _KIND,
            "version": _VERSION,
            "folder": root,
            "patients": patients,
        }
        self.known: dict[str, Found] = {}
        self._file: Any = None

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        is_new = not self._path.exists() or not self._path.stat().st_size
        if not is_new:
            self._read(self._path)
            _remove_torn_line(self._path)
        # It contains the ids of patients.
        number = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(number, "ab", buffering=0)
        if is_new:
            self._write(json.dumps(self._about))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def holds(self, path: str) -> bool:
        """Return whether a path is that of the index itself."""
        return self._path is not None and os.path.abspath(path) == str(self._path)

    def add(self, found: Iterable[Found]) -> None:
        """Note files that were read."""
        if self._file is None:
            return
        lines = []
        for one in found:
            name = os.path.relpath(one.path, self._root)
            lines.append(
                json.dumps([name, one.size, one.changed, one.header, one.reason])
            )
        self._write("\n".join(lines))

    def _write(self, text: str) -> None:
        self._file.write(f"{text}\n".encode())

    def _read(self, path: Path) -> None:
        # Lines are text of ASCII, since JSON escapes everything else.
        with path.open(encoding="ascii", errors="replace") as lines:
            self._check(next(lines))
            n_damaged = 0
            for line in lines:
                found = self._found(line)
                if found is not None:
                    self.known[found.path] = found
                elif line.endswith("\n") and line.strip():
                    n_damaged += 1  # not cut off by a kill
        if n_damaged:
            warn_user(
                f"scan_images: {n_damaged} lines of index are damaged. Their files are "
                "read again.",
                DataWarning,
            )

    def _found(self, line: str) -> Found | None:
        try:
            name, size, changed, header, reason = json.loads(line)
            if not isinstance(name, str) or not isinstance(reason, str):
                return None
            shaped = None if header is None else _as_header(header)
            place = os.path.join(self._root, name)
            return Found(place, int(size), int(changed), shaped, reason)
        except (ValueError, TypeError):
            return None

    def _check(self, line: str) -> None:
        try:
            about = json.loads(line)
        except ValueError:
            about = None
        if not isinstance(about, Mapping) or about.get("kind") != _KIND:
            raise ValueError(
                "scan_images: index must be a new file or that of an earlier scan, got "
                "a file with other content, which was not changed."
            )
        for name, what in (
            ("version", "version"),
            ("folder", "folder"),
            ("patients", "choice of patient="),
        ):
            if about.get(name) != self._about[name]:
                raise ValueError(
                    f"scan_images: index is of a scan with another {what}. Pass a new "
                    "file, or delete this one."
                )


def _remove_torn_line(path: Path) -> None:
    """Remove the end of a file after its last whole line, but not its only one."""
    content = path.read_bytes()
    if content.endswith(b"\n"):
        return
    with path.open("r+b") as file:
        if b"\n" in content:
            file.truncate(content.rindex(b"\n") + 1)
        else:
            file.write(content + b"\n")


def _as_header(cells: list[Any]) -> ImageHeader:
    *others, acquired = cells
    moment = None
    if acquired is not None:
        wall, zone = acquired
        moment = int(wall), None if zone is None else int(zone)
    header = ImageHeader._make([*others, moment])
    texts = header[: ImageHeader._fields.index("series_number")][1:]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return header._replace(rows=int(header.rows), columns=int(header.columns))
