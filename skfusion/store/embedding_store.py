"""Persistent store of float32 arrays by key, shared by threads and processes.

A key must identify everything that its array depends on. `ImageEmbedder` derives its
keys from the image, the network and the preprocessing.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skfusion._paths import cache_folder, expanded_path, open_file
from skfusion._validation import check_number
from skfusion.exceptions import warn_user
from skfusion.store import tables
from skfusion.store.rows import portions
from skfusion.store.segments import MOST_BYTES
from skfusion.store.sqlite_file import StoreWarning, shared_database

__all__ = [
    "EmbeddingStore",
    "LeasedWork",
    "StoreWarning",
    "Work",
    "default_store_path",
    "missing_from",
    "resolve_store",
]


#: Function that takes arrays by key.
Receiver = Callable[[Mapping[str, Any]], None]

#: Longest time that arrays are kept in memory before a segment is written, which is
#: also the largest loss of work if a process is killed.
SEGMENT_SECONDS = 20.0


class EmbeddingStore:
    """On-disk cache of arrays, shared by clones, folds, threads and processes.

    The store is one sqlite file in a separate folder. Values are float32 with a
    checksum, so reading them cannot execute code. A damaged entry is treated as
    missing, with a warning. A damaged file is moved aside. Where the file system
    refuses the locks of sqlite, as many network disks do, the store writes immutable
    segments, with one warning. If no file can be written, it works in memory until
    the process ends, with one warning. A pickle of a store contains its path and
    settings only.

    Parameters
    ----------
    path : str or PathLike or None, default=None
        Folder of the store, created with mode 0700 if missing. Without `segments`, it
        must be on a local disk, because the locks of sqlite are not reliable on network
        file systems. None uses `default_store_path`.
    lease_seconds : float, default=60.0
        Lease duration in seconds without a heartbeat. A killed process on the same
        machine is detected immediately, in other cases its leases expire.
    poll_seconds : float, default=0.1
        Interval in seconds between checks for keys that another process computes.
    segments : bool, default=False
        Whether to write segments: files of up to 64 MB that are never changed, so that
        any number of machines can write to one network folder without locks. Processes
        then do not share the work, and each should get its own part of the images. If
        False, segments are only written where locks are refused. Segments in the folder
        are always read.

    Attributes
    ----------
    path : Path
        The absolute folder.

    Raises
    ------
    ValueError
        If the path is empty or contains a null character, or a number is out of range.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skfusion import EmbeddingStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     ask = lambda keys: {key: np.full(2, len(key)) for key in keys}
    ...     found = store.get_or_compute(["a", "bb"], ask)
    ...     found = store.get_or_compute(["a", "bb"], ask)
    ...     store.close()
    >>> found["bb"], store.path.is_absolute()
    (array([2., 2.], dtype=float32), True)
    """

    __module__ = "skfusion.store"

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        lease_seconds: float = 60.0,
        poll_seconds: float = 0.1,
        segments: bool = False,
    ) -> None:
        owner = "EmbeddingStore"
        check_number(lease_seconds, "lease_seconds", owner, low=0, exclude_low=True)
        check_number(poll_seconds, "poll_seconds", owner, low=0)
        if path is not None and not os.fspath(path):
            raise ValueError(
                "EmbeddingStore: the path is empty, e.g. of a variable that is not "
                "set. Pass a folder, or None for the default store."
            )
        folder = default_store_path() if path is None else expanded_path(path)
        if "\0" in str(folder):
            raise ValueError("EmbeddingStore: the path contains a null character.")
        self.path = folder
        self.lease_seconds = lease_seconds
        self.poll_seconds = poll_seconds
        self.segments = segments
        self._database = shared_database(self.path)
        if segments:
            self._database.use_segments()

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.path)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        settings = (self.lease_seconds, self.poll_seconds, self.segments)
        return _rebuilt, (str(self.path), *settings)

    def get_many(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the stored arrays of some keys.

        Parameters
        ----------
        keys : iterable of str
            Keys, in any order.

        Returns
        -------
        dict of str to ndarray
            The stored float32 arrays, without the keys that are not stored.
        """
        wanted = _checked_keys(keys)
        with self._database.remembered() as remembered:
            version = self._database.forget_if_changed()
            found = remembered.arrays(wanted)
            self._note_use(remembered.uses_to_note())
        rest = [key for key in wanted if key not in found]
        if rest:
            found |= self._read(rest, version)
        return {key: found[key] for key in wanted if key in found}

    def _read(self, wanted: list[str], version: int) -> dict[str, np.ndarray]:
        """Read stored arrays, and remember them if the file still has a version."""
        rows = self._database.run(partial(tables.select, keys=wanted))
        n_current = len(rows)
        if self._database.in_memory:
            rest = partial(
                tables.select, keys=set(wanted).difference(row[1] for row in rows)
            )
            rows = rows + (self._database.read_given_up_file(rest) or [])
        found: dict[str, np.ndarray] = {}
        damaged: list[tables.Row] = []
        for row in rows:
            array = tables.unpacked(row)
            if array is None:
                damaged.append(row)
            else:
                found[row[1]] = array
        self._note_use([row[0] for row in rows[:n_current]])
        if damaged:
            self._discard(damaged)
        if not self._database.in_memory:
            ids = {row[1]: row[0] for row in rows}
            with self._database.remembered() as remembered:
                if self._database.forget_if_changed() == version:
                    remembered.add_arrays({k: (ids[k], found[k]) for k in found})
        unknown = [key for key in wanted if key not in found]
        if unknown:
            found |= self._database.segments.get(unknown)
        return found

    def _note_use(self, ids: list[int]) -> None:
        if ids:
            note = partial(tables.note_use, ids=ids)
            self._database.attempt(note, write=True)

    def put_many(self, arrays: Mapping[str, Any]) -> None:
        """Store arrays as float32 in one transaction, replacing existing ones.

        Segments are not replaced, because a key identifies its array.

        Parameters
        ----------
        arrays : mapping of str to array-like
            Numeric arrays of any shape.

        Raises
        ------
        TypeError
            If a key is not a str or a value is not numeric.
        """
        packed = {key: tables.as_float32(arrays[key]) for key in _checked_keys(arrays)}
        self._put(packed)

    def get_or_compute(
        self,
        keys: Iterable[str],
        compute: Callable[[list[str]], Mapping[str, Any]],
        *,
        chunk_size: int = 64,
    ) -> dict[str, np.ndarray]:
        """Return stored arrays and compute the missing ones, each in one caller only.

        Concurrent callers with the same keys, in any thread or process, share the work
        (see `missing`).

        Parameters
        ----------
        keys : iterable of str
            Keys. Repeated keys are computed once.
        compute : callable
            Function of a list of keys that returns a mapping from key to numeric array.
            A key that it omits counts as failed and is neither stored nor returned. If
            it raises an exception, the leases are released and the exception
            propagates.
        chunk_size : int, default=64
            Maximum number of keys per lease.

        Returns
        -------
        dict of str to ndarray
            Float32 arrays, in the order of the keys.

        Raises
        ------
        ValueError
            If `chunk_size` is less than 1, or `compute` returns a key that was not
            requested.
        TypeError
            If a key is not a str, or `compute` does not return a mapping to numeric
            arrays.
        """
        keys = list(keys)
        with self.missing(keys, chunk_size=chunk_size) as work:
            for chunk in work:
                work.put(compute(chunk))
        return {key: work.found[key] for key in keys if key in work.found}

    @contextmanager
    def missing(
        self,
        keys: Iterable[str],
        *,
        chunk_size: int = 64,
        receive: Receiver | None = None,
    ) -> Iterator[LeasedWork]:
        """Look up stored arrays and lease the missing keys, chunk by chunk.

        Each key is computed by one caller only, in any thread or process: a chunk
        contains keys that are leased to this caller. The loop over the work waits for
        keys leased to others, and takes over keys leased to a killed process.

        Parameters
        ----------
        keys : iterable of str
            Keys. Repeated keys are computed once.
        chunk_size : int, default=64
            Maximum number of keys per lease.
        receive : callable or None, default=None
            Function that is called with each dict of arrays by key as they become
            known. They are then not kept in ``found``.

        Yields
        ------
        LeasedWork
            The attribute ``missing`` contains the keys that were not stored. Iteration
            yields chunks of keys, and ``put(arrays)`` stores the results of a chunk.
            The attribute ``found`` contains the arrays known so far. A key of a chunk
            that is not put counts as failed.

        Raises
        ------
        ValueError
            If `chunk_size` is less than 1.
        TypeError
            If a key is not a str.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> from skfusion import EmbeddingStore
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = EmbeddingStore(folder)
        ...     with store.missing(["a", "bb"], chunk_size=1) as work:
        ...         for keys in work:
        ...             work.put({key: np.full(2, len(key)) for key in keys})
        ...     with store.missing(["a", "bb", "c"]) as again:
        ...         print(again.missing)
        ...     store.close()
        ['c']
        """
        check_number(chunk_size, "chunk_size", "EmbeddingStore", low=1, integer=True)
        wanted = _checked_keys(keys)
        work = LeasedWork(self, wanted, chunk_size, receive)
        if not work.missing:
            yield work
            return
        with tables.heartbeat(self._database, work.owner, self.lease_seconds):
            try:
                yield work
            finally:
                if work.leased:
                    self._release(work.owner)
                self._write_segments(at_once=True)

    def digest_file(self, path: str | os.PathLike[str]) -> str:
        """Compute the digest of a file, or return the cached digest if unchanged.

        Parameters
        ----------
        path : str or PathLike
            An image file. Only a digest of its path is stored.

        Returns
        -------
        str
            SHA-256 of the bytes, 64 hexadecimal digits. It is cached by path, inode,
            size and the times of the last change. The digest of a file that changed in
            the last 2.5 seconds is not cached, because another change within one tick
            of the file system's clock could not be noticed.

        Raises
        ------
        FileReadError
            If the file is missing or cannot be read. It is a ValueError.
        """
        full = os.path.abspath(path)
        stamp = tables.stamp(path)
        with self._database.remembered() as remembered:
            known = remembered.digest(full, stamp)
        if known is not None:
            return known
        place = hashlib.sha256(os.fsencode(full)).hexdigest()
        look = partial(tables.select_digest, place=place, stamp=stamp)
        known = self._database.run(look)
        if known is None and self._database.in_memory:
            known = self._database.read_given_up_file(look)
        if known is None and stamp:
            known = self._digest_in_segments(f"\0{place} {stamp}")
        if known is not None and stamp:
            self._remember_digest(full, stamp, known)
            return known
        settled = tables.is_settled(stamp)
        with open_file(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # Unchanged while it was read, and not to be changed unnoticed.
        if settled and stamp == tables.stamp(path):
            note = partial(tables.note_digest, row=(place, stamp, digest))
            self._database.attempt(note, write=True)
            self._remember_digest(full, stamp, digest)
        return digest

    def remembered_digests(
        self, paths: Iterable[str | os.PathLike[str]]
    ) -> list[str | None]:
        """Return the digests of files that this process knows, without reading them.

        Parameters
        ----------
        paths : iterable of str or PathLike
            Image files.

        Returns
        -------
        list of str or None
            As in `digest_file`. None for a file that may have changed, or was not asked
            for in this process.
        """
        known: list[str | None] = []
        with self._database.remembered() as remembered:
            for path in paths:
                is_full = isinstance(path, str) and remembered.has_digest(path)
                full = str(path) if is_full else os.path.abspath(path)
                digest = None
                if is_full or remembered.has_digest(full):
                    digest = remembered.digest(full, tables.stamp(full))
                known.append(digest)
        return known

    def _remember_digest(self, full: str, stamp: str, digest: str) -> None:
        with self._database.remembered() as remembered:
            remembered.add_digest(full, stamp, digest)

    def info(self) -> dict[str, Any]:
        """Return the path and the statistics of the store.

        Returns
        -------
        dict
            ``path`` (str), ``entries`` (number of stored arrays), ``bytes`` (size of
            these arrays), ``computed`` (number of arrays ever put by all processes),
            ``segments`` (number of files of segments) and ``in_memory`` (True if
            nothing can be written). In memory, and where segments are written,
            ``computed`` is the number of this process.
        """
        n_entries, n_bytes, n_computed = self._database.run(tables.figures)
        n_more, n_more_bytes, n_segments = self._database.segments.figures()
        return {
            "path": str(self.path),
            "entries": n_entries + n_more,
            "bytes": n_bytes + n_more_bytes,
            "computed": n_computed,
            "segments": n_segments,
            "in_memory": self._database.loses_arrays,
        }

    def clear(self) -> None:
        """Remove all arrays, file digests and damaged files that were moved aside."""
        with self._database.remembered() as remembered:
            self._database.run(tables.delete_all, write=True)
            remembered.forget()  # what another thread reads meanwhile as well
        self._database.attempt(tables.shrink)
        self._database.segments.clear()
        for damaged in self.path.glob("*.corrupt-*"):
            damaged.unlink(missing_ok=True)

    def prune(self, max_bytes: int) -> int:
        """Remove the least recently used arrays until the rest fits `max_bytes`.

        The use of segments is not recorded. The oldest ones are removed as a whole,
        after the arrays of the file.

        Parameters
        ----------
        max_bytes : int
            Maximum total size of the arrays in bytes.

        Returns
        -------
        int
            The number of arrays removed.
        """
        check_number(max_bytes, "max_bytes", "EmbeddingStore", low=0)
        self._note_remembered_use()
        segments = self._database.segments
        left = max(max_bytes - segments.figures()[1], 0)
        oldest = partial(tables.delete_oldest, max_bytes=left)
        with self._database.remembered() as remembered:
            n_removed = self._database.run(oldest, write=True)
            remembered.forget_arrays()
        self._database.attempt(tables.shrink)
        left = max_bytes - self._database.run(tables.figures)[1]
        return n_removed + segments.prune(left)

    def merge_segments(self) -> tuple[int, int]:
        """Write small segments and repeated arrays again as few full segments.

        Other processes may read and write meanwhile. Do not merge in two processes at
        once, which would only repeat arrays.

        Returns
        -------
        tuple of int
            Numbers of segments before and after.
        """
        return self._database.segments.merge()

    def verify_segments(self) -> tuple[int, int]:
        """Read all segments, compare their SHA-256, and move damaged ones aside.

        Returns
        -------
        tuple of int
            Numbers of sound and of damaged segments.
        """
        verified = self._database.segments.verify()
        return verified.n_segments, verified.n_damaged

    def close(self) -> None:
        """Close the file, which the next use opens again."""
        self._note_remembered_use()
        self._database.close()

    def _note_remembered_use(self) -> None:
        with self._database.remembered() as remembered:
            ids = remembered.uses_to_note(now=True)
        self._note_use(ids)

    def _lease(self, keys: list[str], owner: str, limit: int) -> list[str]:
        """Lease up to `limit` keys that are neither stored nor leased by others."""
        take = partial(
            tables.take,
            keys=keys,
            owner=owner,
            limit=limit,
            lease_seconds=self.lease_seconds,
        )
        return self._database.run(take, write=True)

    def _release(self, owner: str) -> None:
        """Release all leases of an owner."""
        self._database.run(partial(tables.release, owner=owner), write=True)

    def _put(self, arrays: Mapping[str, np.ndarray], owner: str | None = None) -> None:
        """Store float32 arrays and end the leases of the owner."""
        rows = [(key, *tables.packed(key, array)) for key, array in arrays.items()]
        insert = partial(tables.insert, rows=rows, owner=owner)
        with self._database.remembered() as remembered:
            self._database.run(insert, write=True)
            remembered.forget_arrays(arrays)
        self._write_segments(at_once=owner is None)

    def _write_segments(self, *, at_once: bool) -> None:
        """Move arrays from memory to segments, if these are written and it is time."""
        database = self._database
        if not database.writes_segments:
            return
        is_due = time.monotonic() - database.segments.written > SEGMENT_SECONDS
        if at_once or is_due or database.run(tables.figures)[1] >= MOST_BYTES:
            database.run(self._move_to_segments, write=True)

    def _move_to_segments(self, connection: sqlite3.Connection) -> None:
        rows = tables.select_all(connection)
        arrays = {row[1]: tables.unpacked(row) for row in rows}
        for place, stamp, digest in tables.select_all_digests(connection):
            values = np.frombuffer(bytes.fromhex(digest), dtype=np.uint8)
            arrays[f"\0{place} {stamp}"] = values
        try:
            self._database.segments.write(
                {key: array for key, array in arrays.items() if array is not None}
            )
        except (OSError, ValueError) as error:
            self._database.writes_segments = False
            warn_user(
                f"Segments of the embedding store in {str(self.path)!r} cannot be "
                f"written ({error}). New embeddings are kept in memory and are lost "
                f"when this process ends.",
                StoreWarning,
            )
            return
        tables.delete_all(connection)

    def _digest_in_segments(self, key: str) -> str | None:
        found = self._database.segments.get([key], max_age=SEGMENT_SECONDS)
        return found[key].tobytes().hex() if key in found else None

    def _in_segments(self, keys: list[str]) -> dict[str, np.ndarray]:
        """Return the arrays of leased keys that another process has written."""
        database = self._database
        return database.segments.get(keys) if database.writes_segments else {}

    def _discard(self, rows: list[tables.Row]) -> None:
        with self._database.remembered() as remembered:
            self._database.run(partial(tables.delete_damaged, rows=rows), write=True)
            remembered.forget_arrays(row[1] for row in rows)
        warn_user(
            f"{len(rows)} damaged entries of the embedding store in "
            f"{str(self.path)!r} were discarded. They are computed again.",
            StoreWarning,
        )


class Work:
    """Keys to compute in one chunk, with their arrays, without a store.

    Attributes
    ----------
    missing : list of str
        The keys to compute.
    found : dict of str to ndarray
        The arrays known so far, unless a function receives them.
    """

    def __init__(self, keys: Iterable[str], receive: Receiver | None = None) -> None:
        self.missing = _checked_keys(keys)
        self.found: dict[str, np.ndarray] = {}
        self._receive: Receiver = receive or self.found.update

    def __iter__(self) -> Iterator[list[str]]:
        """Iterate over chunks of keys."""
        if self.missing:
            yield list(self.missing)

    def collect(self, arrays: Mapping[str, Any]) -> None:
        """Take some of the results of a chunk."""
        self.put(arrays)

    def put(self, arrays: Mapping[str, Any]) -> None:
        """Take the results of a chunk."""
        self._receive(arrays)


class LeasedWork(Work):
    """Keys missing from a store, in chunks that are leased to one caller.

    Created by `EmbeddingStore.missing`.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        keys: list[str],
        chunk_size: int,
        receive: Receiver | None,
    ) -> None:
        super().__init__([], receive)
        for part in portions(keys):
            known = store.get_many(part)
            self.missing += [key for key in part if key not in known]
            self._receive(known)
        self.owner = tables.new_owner()
        self.leased: list[str] = []
        self._store = store
        self._chunk_size = chunk_size
        self._pending = dict.fromkeys(self.missing)
        self._collected: dict[str, Any] = {}

    def __iter__(self) -> Iterator[list[str]]:
        """Iterate over chunks of leased keys, and wait for keys leased to others."""
        store = self._store
        while self._pending:
            pending = list(self._pending)
            self.leased = store._lease(pending, self.owner, self._chunk_size)
            if self.leased:
                known = store._in_segments(self.leased)
                self._settle(known, known)
                self.leased = [key for key in self.leased if key not in known]
                if not self.leased:
                    continue
                self._collected = {}
                yield list(self.leased)
                if self.leased:  # `put` was not called for this chunk
                    self.put(self._collected)
                continue
            is_new = False
            for part in portions(pending):
                arrays = store.get_many(part)
                self._settle(arrays, arrays)
                is_new |= bool(arrays)
            if not is_new:
                time.sleep(store.poll_seconds)

    def collect(self, arrays: Mapping[str, Any]) -> None:
        """Take some of the results of the last chunk, put when the loop goes on."""
        self._collected |= arrays

    def put(self, arrays: Mapping[str, Any]) -> None:
        """Store the results of the last chunk, and release its leases.

        Parameters
        ----------
        arrays : mapping of str to array-like
            Numeric arrays. Omitted keys of the chunk count as failed.

        Raises
        ------
        ValueError
            If a key is not in the chunk.
        TypeError
            If `arrays` is not a mapping to numeric arrays.
        """
        checked = tables.checked_result(arrays, self.leased)
        self._store._put(checked, self.owner)
        self._settle(self.leased, checked)
        self.leased = []

    def _settle(self, keys: Iterable[str], arrays: dict[str, np.ndarray]) -> None:
        for key in keys:
            del self._pending[key]
        self._receive(arrays)


@contextmanager
def missing_from(
    store: EmbeddingStore | None,
    keys: Iterable[str],
    *,
    chunk_size: int,
    receive: Receiver | None = None,
) -> Iterator[Work]:
    """Yield the work of `EmbeddingStore.missing`, or all keys if `store` is None."""
    if store is None:
        yield Work(keys, receive)
        return
    with store.missing(keys, chunk_size=chunk_size, receive=receive) as work:
        yield work


def default_store_path() -> Path:
    """Return the folder of the default store.

    Returns
    -------
    Path
        ``$SKFUSION_CACHE`` if it is set, else the folder ``skfusion`` among the user's
        caches: ``$XDG_CACHE_HOME`` or ``~/.cache`` (``~/Library/Caches`` on macOS,
        ``%LOCALAPPDATA%`` on Windows).

    Examples
    --------
    >>> from skfusion.store import default_store_path
    >>> default_store_path().is_absolute()
    True
    """
    return cache_folder()


def resolve_store(store: Any) -> EmbeddingStore | None:
    """Resolve the `store` parameter of an estimator to a store.

    Parameters
    ----------
    store : "default", str, PathLike, EmbeddingStore or None
        The default store, the folder of another store, a store, or no store.

    Returns
    -------
    EmbeddingStore or None
        None if embeddings are not stored.

    Raises
    ------
    TypeError
        If `store` is none of these.

    Examples
    --------
    >>> from skfusion.store.embedding_store import resolve_store
    >>> resolve_store(None) is None
    True
    """
    if store is None or isinstance(store, EmbeddingStore):
        return store
    if isinstance(store, str) and store == "default":
        return EmbeddingStore()
    if isinstance(store, str | os.PathLike):
        return EmbeddingStore(store)
    raise TypeError(
        f"store must be 'default', a folder, an EmbeddingStore or None, "
        f"got {type(store).__name__}."
    )


def _rebuilt(
    path: str, lease_seconds: float, poll_seconds: float, segments: bool = False
) -> EmbeddingStore:
    return EmbeddingStore(
        path,
        lease_seconds=lease_seconds,
        poll_seconds=poll_seconds,
        segments=segments,
    )


def _checked_keys(keys: Iterable[str]) -> list[str]:
    unique = list(dict.fromkeys(keys))
    for key in unique:
        if not isinstance(key, str):
            raise TypeError(f"Keys of the store must be str, got {type(key).__name__}.")
    return unique
