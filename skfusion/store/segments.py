"""Immutable files of arrays by key, for folders where sqlite cannot lock.

A writer puts a segment into the folder as a whole, and nobody changes it afterwards.
So no lock is needed on any file system, and equal keys in two segments are harmless,
because a key identifies its array.

A segment is a header of 128 bytes, the digests of the keys, the rows and the SHA-256
of all of it. Numbers are little-endian. The header has a magic number, the type of the
values, the number of rows, the number of dimensions of a row and their lengths.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import threading
import time
import uuid
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from skfusion._paths import write_whole
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.store.working_folders import make_private_folder

__all__ = ["MOST_BYTES", "SegmentFolder", "Verified", "shared_segments"]


MOST_BYTES = 64_000_000  # of the rows of a segment with several rows
MAGIC = b"skfseg01"
SUFFIX = ".segment"
UNFINISHED = ".writing-"
_HEADER = struct.Struct("<8s4sQI13I")  # magic, type, rows, dimensions, lengths
_HEADER_BYTES = 128
_MOST_DIMENSIONS = 13
_ID_BYTES = 16
_SUM_BYTES = 32
_TYPES: dict[bytes, np.dtype] = {b"<f4\0": np.dtype("<f4"), b"|u1\0": np.dtype("u1")}
_DAY = 86_400.0


class Damaged(Exception):
    """A segment is not what its writer wrote."""


class Verified(NamedTuple):
    """Counts of `SegmentFolder.verify`."""

    n_segments: int
    n_arrays: int
    n_bytes: int
    n_damaged: int


@dataclass
class Segment:
    """A file of arrays of one shape and type."""

    path: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    n_rows: int
    is_sound: bool = False  # its digest was compared
    rows: np.ndarray | None = field(default=None, repr=False)  # kept if they are small

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    @property
    def start(self) -> int:
        """Position of the first row in the file."""
        return _HEADER_BYTES + self.n_rows * _ID_BYTES

    @property
    def size(self) -> int:
        """Size of the whole file."""
        return self.start + self.n_rows * self.row_bytes + _SUM_BYTES

    @classmethod
    def opened(cls, path: Path) -> tuple[Segment, np.ndarray]:
        """Read the header of a file and the digests of its keys."""
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                raise Damaged
            magic, kind, n_rows, n_dimensions, *lengths = _HEADER.unpack_from(header)
            if magic != MAGIC or kind not in _TYPES or n_dimensions > _MOST_DIMENSIONS:
                raise Damaged
            shape = tuple(int(length) for length in lengths[:n_dimensions])
            segment = cls(path, _TYPES[bytes(kind)], shape, int(n_rows))
            if os.fstat(file.fileno()).st_size != segment.size:
                raise Damaged
            ids = np.frombuffer(file.read(n_rows * _ID_BYTES), dtype="<u8")
        return segment, ids.reshape(n_rows, 2)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return rows, after the digest of the whole file was compared once."""
        if self.rows is not None:
            return self.rows[rows]
        with open(self.path, "rb") as file:
            if not self.is_sound:
                content = file.read()
                _check_sum(content)
                self.is_sound = True
                if self.dtype.kind == "u":  # digests of files, asked for one by one
                    values = np.frombuffer(content[self.start : -_SUM_BYTES], "u1")
                    self.rows = values.reshape(self.n_rows, *self.shape)
                    return self.rows[rows]
            parts = []
            for row in rows.tolist():
                file.seek(self.start + row * self.row_bytes)
                parts.append(file.read(self.row_bytes))
        content = b"".join(parts)
        if len(content) != len(rows) * self.row_bytes:
            raise Damaged
        values = np.frombuffer(content, self.dtype).reshape(len(rows), *self.shape)
        return values.astype(self.dtype.newbyteorder("="))  # writable


class SegmentFolder:
    """Segments of one folder, as far as this process knows them.

    Parameters
    ----------
    folder : Path
        Folder of the segments. It is created by the first segment, accessible by its
        owner only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = time.monotonic()  # time of the last segment of this process
        self._lock = threading.RLock()
        self._forget()

    def _forget(self) -> None:
        self._segments: dict[str, Segment] = {}
        self._places: dict[str, np.ndarray] = {}  # digests of keys, by file name
        self._skipped: set[str] = set()  # damaged and not movable
        self._index: _Index | None = None
        self._listed = -np.inf

    def get(
        self, keys: Iterable[str], *, max_age: float = 0.0
    ) -> dict[str, np.ndarray]:
        """Return the stored arrays of some keys.

        Parameters
        ----------
        keys : iterable of str
            The keys.
        max_age : float, default=0.0
            Seconds for which a list of the folder is used again.

        Returns
        -------
        dict of str to ndarray
            Without the keys that no segment contains.
        """
        wanted = list(keys)
        found: dict[str, np.ndarray] = {}
        with self._lock:
            self._refresh(max_age)
            while wanted and self._segments:
                try:
                    found |= self._read(wanted)
                except _Changed as change:
                    found |= change.found
                    wanted = [key for key in wanted if key not in found]
                    continue
                break
        return found

    def write(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Write arrays to new segments.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            Arrays of float32 or uint8.

        Returns
        -------
        int
            Number of segments.

        Raises
        ------
        OSError
            If a file cannot be written. No part of it is left then.
        """
        with self._lock:
            n_segments = 0
            for (dtype, shape), names in _by_shape(arrays).items():
                ids = _ids(names)
                rows = np.stack([arrays[name] for name in names])
                for part in _parts(len(names), rows[:1].nbytes):
                    self._write_one(ids[part], rows[part].astype(dtype), shape)
                    n_segments += 1
            self.written = time.monotonic()
            return n_segments

    def figures(self) -> tuple[int, int, int]:
        """Return the numbers of distinct arrays, their bytes, and of segments."""
        with self._lock:
            self._refresh()
            index = self._indexed()
            floats = [s.dtype.kind == "f" for s in index.segments]
            keep = np.array(floats, dtype=bool)[index.segment]
            sizes = np.array([s.row_bytes for s in index.segments], dtype=np.int64)
            first = index.is_first() & keep
            n_bytes = int(sizes[index.segment[first]].sum()) if first.any() else 0
            return int(first.sum()), n_bytes, sum(floats)

    def clear(self) -> None:
        """Remove all segments, damaged ones and abandoned unfinished ones."""
        with self._lock:
            for path in self._files():
                path.unlink(missing_ok=True)
            self._remove_abandoned()
            self._forget()

    def prune(self, max_bytes: int) -> int:
        """Remove the oldest segments until the rest fits, and return their arrays."""
        with self._lock:
            before = self.figures()[0]
            excess = -max_bytes
            aged = []
            for segment in self._segments.values():
                with contextlib.suppress(OSError):
                    aged.append((segment.path.stat().st_mtime_ns, segment))
                    excess += segment.n_rows * segment.row_bytes
            for _, segment in sorted(aged, key=lambda pair: pair[0]):
                if excess <= 0:
                    break
                segment.path.unlink(missing_ok=True)
                excess -= segment.n_rows * segment.row_bytes
            return before - self.figures()[0]

    def merge(self) -> tuple[int, int]:
        """Write small segments and repeated arrays again as full segments.

        Damaged segments are moved aside first, with a warning.

        Returns
        -------
        tuple of int
            Numbers of segments before and after.
        """
        with self._lock:
            self._remove_abandoned()
            self.verify()
            before = len(self._segments)
            for group in self._mergeable():
                self._merge(group)
            self._refresh()
            return before, len(self._segments)

    def verify(self) -> Verified:
        """Compare the digest of each segment, and move damaged ones aside."""
        with self._lock:
            self._forget()
            self._refresh()
            n_damaged = len(self._skipped)
            n_arrays = n_bytes = 0
            for name, segment in list(self._segments.items()):
                try:
                    segment.read(np.arange(0))
                    n_arrays += segment.n_rows
                    n_bytes += segment.size
                except OSError as error:
                    self._leave_out(name, error)
                except Damaged:
                    self._set_aside(name)
                    n_damaged += 1
            return Verified(len(self._segments), n_arrays, n_bytes, n_damaged)

    def can_be_written(self) -> bool:
        """Return whether a file can be made and renamed in the folder."""
        name = f"{UNFINISHED}{uuid.uuid4().hex}"
        try:
            make_private_folder(self.folder)
            (self.folder / name).write_bytes(MAGIC)
            os.replace(self.folder / name, self.folder / f"{name}.probe")
            (self.folder / f"{name}.probe").unlink()
        except OSError:
            return False
        return True

    # -- reading ----------------------------------------------------------------------

    def _files(self) -> Iterator[Path]:
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) or ".corrupt-" in entry.name:
                    yield Path(entry.path)

    def _refresh(self, max_age: float = 0.0) -> None:
        """Note new segments, and forget those that were removed."""
        if time.monotonic() - self._listed < max_age:
            return
        paths = {path.name: path for path in self._files() if path.suffix == SUFFIX}
        for name in self._segments.keys() - paths.keys():
            self._drop(name)
        # In the order of their writing, so that repeated keys have one answer.
        for name in sorted(paths.keys() - self._segments.keys() - self._skipped):
            try:
                self._segments[name], self._places[name] = Segment.opened(paths[name])
                self._index = None
            except FileNotFoundError:
                continue  # merged in this moment
            except OSError as error:
                self._leave_out(name, error)
            except Damaged:
                self._set_aside(name)
        self._listed = time.monotonic()

    def _drop(self, name: str) -> None:
        self._segments.pop(name, None)
        self._places.pop(name, None)
        self._index = None

    def _indexed(self) -> _Index:
        if self._index is None:
            self._index = _Index.of(list(self._segments.values()), self._places)
        return self._index

    def _read(self, keys: list[str]) -> dict[str, np.ndarray]:
        index = self._indexed()
        where = index.find(_ids(keys))
        found: dict[str, np.ndarray] = {}
        order = np.argsort(index.segment[where[where >= 0]], kind="stable")
        positions = np.flatnonzero(where >= 0)[order]
        numbers = index.segment[where[positions]]
        for number in np.unique(numbers).tolist():
            mine = positions[numbers == number]
            segment = index.segments[number]
            try:
                values = segment.read(index.row[where[mine]])
            except FileNotFoundError:  # merged, its arrays are in a new segment
                self._drop(segment.path.name)
                self._refresh()
                raise _Changed(found) from None
            except OSError as error:
                self._leave_out(segment.path.name, error)
                raise _Changed(found) from None
            except Damaged:
                self._set_aside(segment.path.name)
                raise _Changed(found) from None
            for position, value in zip(mine.tolist(), values, strict=True):
                found[keys[position]] = np.asarray(value)  # of one number as well
        return found

    def _set_aside(self, name: str) -> None:
        self._drop(name)
        aside = f"{name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            os.replace(self.folder / name, self.folder / aside)
            done = f"It was moved aside as {aside!r}."
        except FileNotFoundError:
            return  # another process moved it
        except OSError:
            self._skipped.add(name)
            done = "It cannot be moved and is skipped."
        warn_user(
            f"The segment {name!r} of the embedding store in "
            f"{str(self.folder.parent)!r} is damaged. {done} Its embeddings are "
            f"computed again.",
            FallbackWarning,
        )

    def _leave_out(self, name: str, error: OSError) -> None:
        """Do without a segment for now, which may be sound.

        Other processes may be able to read it, and this one later: too many files may
        be open, or a server does not answer.
        """
        self._drop(name)
        if not isinstance(error, FileNotFoundError):
            warn_user(
                f"The segment {name!r} of the embedding store in "
                f"{str(self.folder.parent)!r} cannot be read now "
                f"({error.strerror or type(error).__name__}). It stays where it is. "
                "Its embeddings are computed again.",
                FallbackWarning,
            )

    # -- writing ----------------------------------------------------------------------

    def _write_one(
        self, ids: np.ndarray, rows: np.ndarray, shape: tuple[int, ...]
    ) -> None:
        make_private_folder(self.folder)
        kind = next(code for code, dtype in _TYPES.items() if dtype == rows.dtype)
        lengths = shape + (0,) * (_MOST_DIMENSIONS - len(shape))
        header = _HEADER.pack(MAGIC, kind, len(rows), len(shape), *lengths)
        parts = (
            header.ljust(_HEADER_BYTES, b"\0"),
            np.ascontiguousarray(ids, dtype="<u8").tobytes(),
            np.ascontiguousarray(rows).data,
        )
        name = f"{time.time_ns():016x}-{uuid.uuid4().hex}"
        place = self.folder / f"{name}{SUFFIX}"
        write_whole(place, lambda file: _write_summed(file, parts), prefix=UNFINISHED)

    def _mergeable(self) -> list[list[Segment]]:
        """Return the segments of each shape that are small or repeat arrays."""
        index = self._indexed()
        repeated = set(index.segment[~index.is_first()].tolist())
        groups: dict[tuple[str, tuple[int, ...]], list[Segment]] = defaultdict(list)
        for number, segment in enumerate(index.segments):
            is_small = segment.n_rows * segment.row_bytes < MOST_BYTES / 2
            if number in repeated or is_small:
                groups[segment.dtype.str, segment.shape].append(segment)
        numbers = {segment.path: i for i, segment in enumerate(index.segments)}
        return [
            group
            for group in groups.values()
            if len(group) > 1 or numbers[group[0].path] in repeated
        ]

    def _merge(self, group: list[Segment]) -> None:
        """Write the arrays of segments again, in parts, and remove the segments."""
        most = max(MOST_BYTES // max(group[0].row_bytes, 1), 1)
        index = self._indexed()
        is_first = index.is_first()
        numbers = {segment.path: i for i, segment in enumerate(index.segments)}
        ids: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        for segment in group:
            mine = is_first & (index.segment == numbers[segment.path])
            kept = np.sort(index.row[mine])
            try:
                rows.append(segment.read(kept))
            except FileNotFoundError:  # another process merges or prunes
                continue
            ids.append(self._places[segment.path.name][kept])
            while sum(map(len, rows)) >= most:
                all_ids, all_rows = np.concatenate(ids), np.concatenate(rows)
                self._write_one(all_ids[:most], all_rows[:most], segment.shape)
                ids, rows = [all_ids[most:]], [all_rows[most:]]
        if sum(map(len, rows)):
            self._write_one(np.concatenate(ids), np.concatenate(rows), group[0].shape)
        for segment in group:  # after their arrays are stored elsewhere
            segment.path.unlink(missing_ok=True)

    def _remove_abandoned(self) -> None:
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if not entry.name.startswith(UNFINISHED):
                    continue
                with contextlib.suppress(OSError):
                    if time.time() - entry.stat().st_mtime > _DAY:
                        os.unlink(entry.path)


class _Changed(Exception):
    """A segment went away while arrays were read; `found` are those read before."""

    def __init__(self, found: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.found = found


@dataclass
class _Index:
    """Places of all keys, sorted by their digests: 24 bytes for each."""

    segments: list[Segment]
    high: np.ndarray
    low: np.ndarray
    segment: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, segments: list[Segment], places: dict[str, np.ndarray]) -> _Index:
        """Sort the digests of the keys of all segments."""
        parts = [places[segment.path.name] for segment in segments]
        ids = np.concatenate([np.empty((0, 2), dtype=np.uint64), *parts])
        counts = [len(part) for part in parts]
        number = np.repeat(np.arange(len(parts), dtype=np.uint32), counts)
        row = np.concatenate(
            [np.empty(0, dtype=np.uint32)]
            + [np.arange(count, dtype=np.uint32) for count in counts]
        )
        order = np.lexsort([ids[:, 1], ids[:, 0]])
        return cls(segments, ids[order, 0], ids[order, 1], number[order], row[order])

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Return a place of each digest, or -1."""
        where = np.full(len(ids), -1, dtype=np.int64)
        if not len(self.high):
            return where
        place = np.searchsorted(self.high, ids[:, 0], side="left")
        searched = np.arange(len(ids))
        while len(searched):  # once, unless two digests agree in their first half
            inside = place < len(self.high)
            searched, place = searched[inside], place[inside]
            is_high = self.high[place] == ids[searched, 0]
            is_key = is_high & (self.low[place] == ids[searched, 1])
            where[searched[is_key]] = place[is_key]
            again = is_high & ~is_key
            searched, place = searched[again], place[again] + 1
        return where

    def is_first(self) -> np.ndarray:
        """Return which places are not repetitions of the place before."""
        if not len(self.high):
            return np.zeros(0, dtype=bool)
        differs = (np.diff(self.high) != 0) | (np.diff(self.low) != 0)
        return np.concatenate([[True], differs])


_SHARED_GUARD = threading.Lock()
_SHARED: weakref.WeakValueDictionary[Path, SegmentFolder] = (
    weakref.WeakValueDictionary()
)


def shared_segments(folder: Path) -> SegmentFolder:
    """Return the `SegmentFolder` of this process for a folder."""
    with _SHARED_GUARD:
        found = _SHARED.get(folder)
        if found is None:
            found = _SHARED[folder] = SegmentFolder(folder)
        return found


def _by_shape(
    arrays: Mapping[str, np.ndarray],
) -> dict[tuple[np.dtype, tuple[int, ...]], list[str]]:
    groups: dict[tuple[np.dtype, tuple[int, ...]], list[str]] = defaultdict(list)
    for key, array in arrays.items():
        if array.ndim > _MOST_DIMENSIONS:
            raise ValueError(
                f"A segment takes arrays of at most {_MOST_DIMENSIONS} dimensions, got "
                f"{array.ndim}."
            )
        dtype = np.dtype("u1") if array.dtype.kind == "u" else np.dtype("<f4")
        groups[dtype, array.shape].append(key)
    return groups


def _parts(n_rows: int, row_bytes: int) -> Iterator[slice]:
    step = max(MOST_BYTES // max(row_bytes, 1), 1)
    for start in range(0, n_rows, step):
        yield slice(start, start + step)


def _ids(keys: list[str]) -> np.ndarray:
    """Return digests of keys as pairs of integers."""
    digests = [
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        for key in keys
    ]
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(len(keys), 2)


def _check_sum(content: bytes) -> None:
    body = memoryview(content)[:-_SUM_BYTES]
    if hashlib.sha256(body).digest() != content[-_SUM_BYTES:]:
        raise Damaged


def _write_summed(file: BinaryIO, parts: Iterable[bytes | memoryview]) -> None:
    """Write the parts of a segment, and their checksum."""
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
        file.write(part)
    file.write(checksum.digest())


def _start_anew() -> None:
    # A thread of the parent may hold a lock that nobody releases in the child.
    for folder in list(_SHARED.values()):
        folder._lock = threading.RLock()
        folder._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
