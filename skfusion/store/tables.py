"""SQL operations on the tables of a store: arrays, usage, digests and leases.

The functions take an open connection and are used by `skfusion.store.embedding_store`
only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from skfusion.store.sqlite_file import Database

__all__ = [
    "Row",
    "SETTLING_SECONDS",
    "as_float32",
    "batches",
    "checked_result",
    "delete_all",
    "delete_damaged",
    "delete_oldest",
    "figures",
    "heartbeat",
    "insert",
    "is_settled",
    "new_owner",
    "note_digest",
    "note_use",
    "packed",
    "refresh",
    "release",
    "select",
    "select_all",
    "select_all_digests",
    "select_digest",
    "shrink",
    "stamp",
    "take",
    "unpacked",
]


Row = tuple[int, str, str, bytes, bytes]  # id, key, shape, checksum, data
#: The longest tick of a file system's clock (2 seconds of FAT), with a margin.
SETTLING_SECONDS = 2.5


def as_float32(value: Any) -> np.ndarray:
    """Copy a numeric value to a float32 array of the same shape."""
    array = np.asarray(value)
    if array.dtype.kind not in "buif":
        raise TypeError(f"The store requires numeric arrays, got dtype {array.dtype}.")
    return np.array(array, dtype=np.float32, order="C")


def checked_result(result: Any, asked: list[str]) -> dict[str, np.ndarray]:
    """Check the result of a compute function, and convert it to float32."""
    if not isinstance(result, Mapping):
        raise TypeError(
            f"compute must return a mapping from key to array, got "
            f"{type(result).__name__}."
        )
    n_strange = len(set(result).difference(asked))
    if n_strange:
        raise ValueError(
            f"compute returned {n_strange} unknown keys; expected only the "
            f"{len(asked)} keys that it was called with."
        )
    return {key: as_float32(result[key]) for key in asked if key in result}


def packed(key: str, array: np.ndarray) -> tuple[str, bytes, bytes]:
    """Serialise an array to its shape, checksum and data."""
    shape = ",".join(str(length) for length in array.shape)
    # Little-endian on every machine, because a disk can move to another machine.
    data = array.astype("<f4", copy=False).tobytes()
    return shape, _checksum(key, shape, data), data


def unpacked(row: Row) -> np.ndarray | None:
    """Return the array of a row, or None if the row is damaged."""
    _, key, shape, checksum, data = row
    try:
        if _checksum(key, shape, data) != checksum:
            return None
        lengths = tuple(int(length) for length in shape.split(",") if length)
        return np.frombuffer(data, dtype="<f4").reshape(lengths).astype(np.float32)
    except (TypeError, ValueError, AttributeError):
        return None  # damage can also change the type of a column


def _checksum(key: str, shape: str, data: bytes) -> bytes:
    digest = hashlib.blake2b(f"{key}|{shape}|".encode(), digest_size=16)
    digest.update(data)
    return digest.digest()


def select(connection: sqlite3.Connection, keys: Iterable[str]) -> list[Row]:
    """Fetch the rows of the stored keys."""
    rows: list[Row] = []
    for batch, marks in batches(keys):
        query = (
            f"SELECT id, key, shape, checksum, data FROM arrays WHERE key IN {marks}"
        )
        rows += connection.execute(query, batch).fetchall()
    return rows


def select_all(connection: sqlite3.Connection) -> list[Row]:
    """Fetch the rows of all stored keys."""
    query = "SELECT id, key, shape, checksum, data FROM arrays"
    return connection.execute(query).fetchall()


def insert(
    connection: sqlite3.Connection,
    rows: list[tuple[str, str, bytes, bytes]],
    owner: str | None,
) -> None:
    """Insert rows (key, shape, checksum, data), and release the owner's leases."""
    now = time.time()
    for row in rows:
        connection.execute("DELETE FROM arrays WHERE key = ?", row[:1])
        insert = "INSERT INTO arrays (key, shape, checksum, data) VALUES (?, ?, ?, ?)"
        new_id = connection.execute(insert, row).lastrowid
        connection.execute(
            "INSERT OR REPLACE INTO usage VALUES (?, ?, ?)", (new_id, now, len(row[3]))
        )
    connection.execute(
        "UPDATE counters SET value = value + ? WHERE name = 'computed'", (len(rows),)
    )
    if owner is not None:
        release(connection, owner)


def note_use(connection: sqlite3.Connection, ids: list[int]) -> None:
    """Record the current time as the last use of arrays."""
    now = time.time()
    statement = "UPDATE usage SET used = ? WHERE id = ?"
    connection.executemany(statement, [(now, row_id) for row_id in ids])


def delete_damaged(connection: sqlite3.Connection, rows: list[Row]) -> None:
    """Delete rows that are unchanged since they were read."""
    # Compares all columns, because another process may have replaced the array.
    connection.executemany(
        "DELETE FROM arrays WHERE id = ? AND key = ? AND shape IS ? AND checksum IS ?"
        " AND data IS ?",
        rows,
    )


def delete_oldest(connection: sqlite3.Connection, max_bytes: int) -> int:
    """Delete the least recently used arrays until the rest fits `max_bytes`."""
    # A damaged size can be text or bytes, which cannot be added up.
    connection.execute(
        "UPDATE usage SET size = IFNULL((SELECT LENGTH(data) FROM arrays WHERE"
        " arrays.id = usage.id), 0) WHERE TYPEOF(size) != 'integer' OR size < 0"
    )
    rows = connection.execute("SELECT id, size FROM usage ORDER BY used, id").fetchall()
    excess = sum(size for _, size in rows) - max_bytes
    removed: list[tuple[int]] = []
    for row_id, size in rows:
        if excess <= 0:
            break
        removed.append((row_id,))
        excess -= size
    connection.executemany("DELETE FROM arrays WHERE id = ?", removed)
    return len(removed)


def delete_all(connection: sqlite3.Connection) -> None:
    """Delete arrays and file digests, but not leases and counters."""
    connection.execute("DELETE FROM arrays")
    connection.execute("DELETE FROM digests")


def shrink(connection: sqlite3.Connection) -> None:
    """Return freed pages to the file system."""
    # execute() would run only the first step of this pragma, which frees one page.
    connection.executescript("PRAGMA incremental_vacuum")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def figures(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return the number of entries, their bytes, and the number of arrays ever put."""
    # Damage can change the type of a cell, or remove the counter.
    query = (
        "SELECT COUNT(*), IFNULL(SUM(CAST(size AS INTEGER)), 0), IFNULL((SELECT"
        " CAST(value AS INTEGER) FROM counters WHERE name = 'computed'), 0) FROM usage"
    )
    entries, size, computed = connection.execute(query).fetchone()
    return entries, size, computed


def select_digest(connection: sqlite3.Connection, place: str, stamp: str) -> str | None:
    """Return the digest of an unchanged file, or None."""
    query = "SELECT digest FROM digests WHERE path = ? AND stamp = ?"
    row = connection.execute(query, (place, stamp)).fetchone()
    is_digest = row is not None and _DIGEST.fullmatch(str(row[0]))
    return str(row[0]) if is_digest else None  # damage can change its type


def select_all_digests(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """Fetch all (digest of the path, stamp, digest of the content)."""
    query = "SELECT path, stamp, digest FROM digests"
    return connection.execute(query).fetchall()


def note_digest(connection: sqlite3.Connection, row: tuple[str, str, str]) -> None:
    """Store (digest of the path, stamp, digest of the content)."""
    connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", row)


def stamp(path: str | os.PathLike[str]) -> str:
    """Return what tells whether a file has changed, or "" if it cannot be cached.

    These are its device and inode, change times and size.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return ""
    return (
        f"{found.st_dev} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns} "
        f"{found.st_size}"
    )


def is_settled(stamp: str) -> bool:
    """Return whether a file was last changed long enough ago to trust its stamp.

    A file that is changed twice within one tick of the clock of its file system keeps
    its stamp. Times in the future do not settle.

    Parameters
    ----------
    stamp : str
        Stamp of the file, taken before it was read.

    Returns
    -------
    bool
    """
    if not stamp:
        return False
    _, _, modified, changed, _ = map(int, stamp.split())
    return time.time_ns() - max(modified, changed) >= SETTLING_SECONDS * 1e9


_DIGEST = re.compile(r"[0-9a-f]{64}")  # SHA-256
_BATCH = 500  # keys in one statement (sqlite accepts at least 999 variables)
_HAS_PROC = os.path.exists("/proc/self/stat")


def new_owner() -> str:
    """Return a new owner name: machine, process, process start and a number."""
    pid = os.getpid()
    return f"{_machine()}|{pid}|{_started(pid)}|{uuid.uuid4().hex}"


def take(
    connection: sqlite3.Connection,
    keys: Sequence[str],
    owner: str,
    limit: int,
    lease_seconds: float,
) -> list[str]:
    """Lease up to `limit` keys that are neither stored nor leased by a live owner.

    It must run inside an immediate transaction, so that no other process can lease the
    same keys.
    """
    now = time.time()
    alive: dict[str, bool] = {}
    taken: list[str] = []
    for batch, marks in batches(keys):
        rows = connection.execute(f"SELECT key FROM arrays WHERE key IN {marks}", batch)
        busy = {key for (key,) in rows}
        claims = connection.execute(
            f"SELECT key, owner, expires FROM claims WHERE key IN {marks}"
            " AND expires > ?",
            [*batch, now],
        ).fetchall()
        for key, other, expires in claims:
            if other not in alive:
                alive[other] = _is_alive(other)
            if alive[other]:
                busy.add(key)
                _limit_lease(connection, key, other, expires, now + lease_seconds)
        taken += [key for key in batch if key not in busy]
        if len(taken) >= limit:
            break
    del taken[limit:]
    connection.executemany(
        "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)",
        [(key, owner, now + lease_seconds) for key in taken],
    )
    return taken


def _limit_lease(
    connection: sqlite3.Connection, key: str, owner: str, expires: Any, latest: float
) -> None:
    """Let a lease of another machine expire, if its time is damaged or far away."""
    is_far = not isinstance(expires, int | float) or expires > latest
    if is_far and not owner.startswith(f"{_machine()}|"):
        connection.execute(
            "UPDATE claims SET expires = ? WHERE key = ? AND owner = ?",
            (latest, key, owner),
        )


def refresh(connection: sqlite3.Connection, owner: str, lease_seconds: float) -> None:
    """Renew the leases of an owner."""
    connection.execute(
        "UPDATE claims SET expires = ? WHERE owner = ?",
        (time.time() + lease_seconds, owner),
    )


def release(connection: sqlite3.Connection, owner: str) -> None:
    """Release all leases of an owner."""
    connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))


@contextlib.contextmanager
def heartbeat(database: Database, owner: str, lease_seconds: float) -> Iterator[None]:
    """Renew the leases of an owner in a background thread."""
    renew = partial(refresh, owner=owner, lease_seconds=lease_seconds)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(lease_seconds / 3):
            database.run(renew, write=True)

    thread = threading.Thread(target=beat, name="skfusion-leases", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def batches(keys: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """Split keys into lists that fit one statement, each with its ``(?, ?, ...)``."""
    keys = list(keys)
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        yield batch, f"({', '.join('?' * len(batch))})"


def _machine() -> str:
    """Return the host and process namespace, in which process ids are unique."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}{namespace}".replace("|", "")


def _is_alive(owner: str) -> bool:
    """Return whether an owner may be alive, True if unknown until its lease expires."""
    try:
        machine, pid, started, _ = owner.split("|")
        return machine != _machine() or _started(int(pid)) == started
    except (AttributeError, TypeError, ValueError, OverflowError):
        return False  # damaged: nobody renews or releases such a lease


def _started(pid: int) -> str:
    """Return the start of a process, "gone" if it has ended, "running" if unknown."""
    if _HAS_PROC:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return "gone"
        # The name in brackets can contain any text. State is field 3, start field 22.
        fields = status.rpartition(")")[2].split()
        return "gone" if fields[0] in "ZX" else fields[19]
    if os.name == "posix":
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return "gone"
        except OSError:
            return "running"
    return "running"
