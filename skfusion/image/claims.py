"""Claims on keys: which process computes what, and until when that is believed.

Functions of an open transaction, called by `skfusion.image.store` only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from skfusion.image.database import Database

__all__ = ["batches", "new_owner", "refresh", "release", "signs_of_life", "take"]

_BATCH = 500  # keys in one statement; sqlite takes 999 variables or more
_HAS_PROC = os.path.exists("/proc/self/stat")


def new_owner() -> str:
    """Name one caller: machine, process, start of the process, and a number."""
    pid = os.getpid()
    return f"{_machine()}|{pid}|{_started(pid)}|{uuid.uuid4().hex}"


def take(
    connection: sqlite3.Connection,
    keys: Sequence[str],
    owner: str,
    limit: int,
    lease_seconds: float,
) -> list[str]:
    """Claim up to `limit` keys that are neither stored nor claimed by somebody alive.

    Must run inside an immediate transaction: nobody else looks while we choose.
    """
    now = time.time()
    alive: dict[str, bool] = {}
    taken: list[str] = []
    for batch, marks in batches(keys):
        rows = connection.execute(f"SELECT key FROM arrays WHERE key IN {marks}", batch)
        busy = {key for (key,) in rows}
        rows = connection.execute(
            f"SELECT key, owner FROM claims WHERE key IN {marks} AND expires > ?",
            [*batch, now],
        )
        for key, other in rows:
            if other not in alive:
                alive[other] = _is_alive(other)
            if alive[other]:
                busy.add(key)
        taken += [key for key in batch if key not in busy]
        if len(taken) >= limit:
            break
    del taken[limit:]
    connection.executemany(
        "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)",
        [(key, owner, now + lease_seconds) for key in taken],
    )
    return taken


def refresh(connection: sqlite3.Connection, owner: str, lease_seconds: float) -> None:
    """Tell the others that the owner is still at work."""
    connection.execute(
        "UPDATE claims SET expires = ? WHERE owner = ?",
        (time.time() + lease_seconds, owner),
    )


def release(connection: sqlite3.Connection, owner: str) -> None:
    """Give up all claims of an owner."""
    connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))


@contextlib.contextmanager
def signs_of_life(
    database: Database, owner: str, lease_seconds: float
) -> Iterator[None]:
    """Renew the owner's claims from a thread, however long computing takes."""
    renew = partial(refresh, owner=owner, lease_seconds=lease_seconds)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(lease_seconds / 3):
            database.run(renew, write=True)

    thread = threading.Thread(target=beat, name="skfusion-claims", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def batches(keys: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """Cut keys into lists that fit one statement, each with its ``(?, ?, ...)``."""
    keys = list(keys)
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        yield batch, f"({', '.join('?' * len(batch))})"


def _machine() -> str:
    """Name what makes a process number unique: the host and its process namespace."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{socket.gethostname()}{namespace}".replace("|", "")


def _is_alive(owner: str) -> bool:
    """Say if an owner may still work; in doubt its lease decides, so yes."""
    machine, pid, started, _ = owner.split("|")
    return machine != _machine() or _started(int(pid)) == started


def _started(pid: int) -> str:
    """Give the start of a process, "gone" if it has ended, "running" if unknown."""
    if _HAS_PROC:
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return "gone"
        # the name in brackets may hold anything; state is field 3, start field 22
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
