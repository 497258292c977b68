"""Access to the sqlite file of a store by many processes and threads.

This module runs the transactions and handles damaged files, full disks and read-only
folders. If no file can be used, it falls back to memory.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.store.remembered import Remembered
from skfusion.store.segments import shared_segments
from skfusion.store.working_folders import make_private_folder

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, which always locks files
    fcntl = None

__all__ = ["Database", "StoreWarning", "shared_database"]


SCHEMA_VERSION = 1
BUSY_SECONDS = 60.0  # timeout for the transaction of another process
_LOCK_ERRORS = {
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_IOERR_LOCK,
    sqlite3.SQLITE_IOERR_UNLOCK,
    sqlite3.SQLITE_IOERR_RDLOCK,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK,
    sqlite3.SQLITE_IOERR_SHMOPEN,
    sqlite3.SQLITE_IOERR_SHMLOCK,
    sqlite3.SQLITE_IOERR_SHMMAP,
}

# "usage" is separate from "arrays", so that recording a use rewrites 16 bytes only.
_SCHEMA = (
    "CREATE TABLE arrays (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,"
    " shape TEXT NOT NULL, checksum BLOB NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE usage (id INTEGER PRIMARY KEY, used REAL NOT NULL,"
    " size INTEGER NOT NULL)",
    "CREATE TRIGGER array_gone AFTER DELETE ON arrays"
    " BEGIN DELETE FROM usage WHERE id = OLD.id; END",
    "CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL,"
    " expires REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE digests (path TEXT PRIMARY KEY, stamp TEXT NOT NULL,"
    " digest TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "INSERT INTO counters VALUES ('computed', 0)",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

# One lock for all stores of the process. Operations are short, and a fork can wait for
# all of them by acquiring a single lock.
_LOCK = threading.RLock()
_SHARED: weakref.WeakValueDictionary[Path, Database] = weakref.WeakValueDictionary()
_KEPT: list[Database] = []  # their arrays are only in memory
# Open connections. The garbage collector may finalise a connection before the database
# that would close it, which Python 3.13 warns about.
_OPEN: set[sqlite3.Connection] = set()
# Files stay open between the clones of an estimator, each of which has its own store.
# Windows does not remove folders with open files.
_RECENT: deque[Database] = deque(maxlen=0 if os.name == "nt" else 4)


class StoreWarning(FallbackWarning):
    """Warning that the embedding store is damaged or not writable.

    Results are not affected, but embeddings may be computed again.

    Examples
    --------
    >>> import warnings
    >>> from skfusion.store import StoreWarning
    >>> warnings.simplefilter("error", StoreWarning)
    """

    __module__ = "skfusion.store"


class LocksRefused(OSError):
    """The file system does not support the locks of sqlite."""


class Database:
    """Connection of this process to the sqlite file in one folder.

    Parameters
    ----------
    folder : Path
        Absolute folder of the file. It is created at the first use, accessible by its
        owner only.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"embeddings-v{SCHEMA_VERSION}.sqlite"
        self.segments = shared_segments(folder / "segments")
        self.writes_segments = False
        self._disk: sqlite3.Connection | None = None
        self._memory: sqlite3.Connection | None = None
        self._opened_in: int | None = None  # process that opened the file
        self._opened_file: tuple[int, int] | None = None  # device and inode
        self._remembered = Remembered()
        self._state: object = None  # of the file, after its last use

    def __del__(self) -> None:
        self.close()
        self.close_memory()

    @property
    def in_memory(self) -> bool:
        """Whether this process uses memory instead of the file until it ends."""
        return self._memory is not None

    @property
    def loses_arrays(self) -> bool:
        """Whether new arrays are lost when this process ends."""
        return self.in_memory and not self.writes_segments

    def use_segments(self) -> None:
        """Write segments instead of the file from now on, in this process."""
        with _LOCK:
            if self._memory is None:
                self.close()
                self._keep_in_memory()
            self.writes_segments = True

    def run(self, operation: Operation[T], *, write: bool = False) -> T:
        """Run an operation, as one immediate transaction if it writes.

        It may run again after a repair, so it must not change any other state than the
        database.
        """
        with _LOCK:
            problem: Exception | None = None
            for _ in range(3):
                try:
                    return self._transact(operation, write)
                except (sqlite3.Error, OSError) as error:
                    problem = error
                    if self._memory is not None:
                        raise
                    if not (_is_corrupt(error) and self._set_aside()):
                        break
            self._fall_back(problem)
            return self._transact(operation, write)

    def attempt(self, operation: Operation[T], *, write: bool = False) -> T | None:
        """Run an operation and return its result, or None if it fails."""
        with _LOCK:
            try:
                return self._transact(operation, write)
            except (sqlite3.Error, OSError):
                return None

    @contextlib.contextmanager
    def remembered(self) -> Iterator[Remembered]:
        """Hold the lock, and yield what this process remembers of the file."""
        with _LOCK:
            yield self._remembered

    def forget_if_changed(self) -> int:
        """Forget the arrays if the file has changed, other than by this process.

        Returns how often arrays were forgotten so far. What was read from the file may
        be remembered if this number is still the same afterwards.
        """
        with _LOCK:
            state = _file_state(self.path)
            if state != self._state:
                self._remembered.forget_arrays()
                self._state = state
            return self._remembered.n_forgotten

    def read_given_up_file(self, operation: Operation[T]) -> T | None:
        """Read from the file after the fallback to memory, or return None."""
        with _LOCK:
            try:
                if self._disk is None or self._opened_in != os.getpid():
                    self.close()
                    self._disk = self._open_read_only()
                    self._opened_in = os.getpid()
                return operation(self._disk)
            except (sqlite3.Error, OSError):
                return None

    def close(self) -> None:
        """Close the file, which the next operation opens again."""
        connection, self._disk = self._disk, None
        if connection is None:
            return
        if self._opened_in == os.getpid():
            _close(connection)
        # A connection inherited by a fork stays in `_OPEN`: closing it would break the
        # parent's one.

    def close_memory(self) -> None:
        """Discard the arrays in memory, which nothing uses any more."""
        if self._memory is not None:
            _close(self._memory)

    def _transact(self, operation: Operation[T], write: bool) -> T:
        connection = self._current()
        if not write:
            return operation(connection)
        version: list[int] = []

        def watched(connection: sqlite3.Connection) -> T:
            # From the start of the transaction on, no other process can commit.
            self.forget_if_changed()
            version.append(_data_version(connection))
            return operation(connection)

        result = _transact(connection, watched)
        state = _file_state(self.path)
        # Another process may have committed before the file was looked at.
        is_own = False
        with contextlib.suppress(sqlite3.Error):  # what was written is written
            is_own = [_data_version(connection)] == version
        self._state = state if is_own else None
        return result

    def _current(self) -> sqlite3.Connection:
        if self._memory is not None:
            return self._memory
        moved = self._opened_file != _file_identity(self.path)
        if self._disk is None or moved or self._opened_in != os.getpid():
            self.close()
            self._disk = self._open()
            self._opened_in = os.getpid()
        return self._disk

    def _open(self) -> sqlite3.Connection:
        make_private_folder(self.folder)
        _check_locks(self.folder)
        _make_private(self.path)
        self._opened_file = _file_identity(self.path)
        connection = _connect(self.path)
        try:
            if _schema_version(connection) != SCHEMA_VERSION:
                with self._exclusive():
                    _initialise(connection)
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            _close(connection)
            raise
        return connection

    def _open_read_only(self) -> sqlite3.Connection:
        uri = f"{self.path.as_uri()}?mode=ro"
        wal = self.path.with_name(f"{self.path.name}-wal")
        # sqlite cannot create its shared memory file in a read-only folder. The main
        # file is then complete, unless a write-ahead log exists.
        try:
            complete = wal.stat().st_size == 0
        except FileNotFoundError:
            complete = True
        for target in (uri, f"{uri}&immutable=1")[: 2 if complete else 1]:
            connection = _connect(target, uri=True)
            try:
                readable = _schema_version(connection) == SCHEMA_VERSION
            except sqlite3.Error:
                readable = False
            if readable:
                return connection
            _close(connection)
        raise OSError("the file cannot be read")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Prevent other processes from creating or replacing the file concurrently."""
        # A lock of sqlite is released when its process ends, on any platform.
        path = self.folder / "embeddings.lock"
        _make_private(path)
        lock = _connect(path)
        try:
            lock.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            _close(lock)

    def _set_aside(self) -> bool:
        """Move a corrupt file aside, once for all processes, and return the success."""
        self.close()
        name = (
            f"{self.path.name}.corrupt-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        )
        try:
            with self._exclusive():
                if not self.path.exists() or _is_healthy(self.path):
                    return True  # another process has already replaced the file
                for suffix in ("-wal", "-shm", ""):
                    with contextlib.suppress(FileNotFoundError):
                        os.replace(
                            f"{self.path}{suffix}", self.folder / (name + suffix)
                        )
        except (sqlite3.Error, OSError):
            return False
        warn_user(
            f"The embedding store file was corrupt. It was moved aside as {name!r} in "
            f"{str(self.folder)!r}, and a new one was started. Embeddings are computed "
            f"again.",
            StoreWarning,
        )
        return True

    def _keep_in_memory(self) -> None:
        self._remembered.forget_arrays()
        memory = _connect(":memory:")
        try:
            _initialise(memory)
        except BaseException:
            _close(memory)
            raise
        self._memory = memory
        _KEPT.append(self)

    def _fall_back(self, problem: Exception | None) -> None:
        self._keep_in_memory()
        reason = getattr(problem, "strerror", None) or str(problem)
        if _is_about_locks(problem) and self.segments.can_be_written():
            self.writes_segments = True
            warn_user(
                f"The file of the embedding store in {str(self.folder)!r} cannot be "
                f"shared ({reason}). New embeddings are written as segments, which "
                f"need no locks. Concurrent processes do not share the work; give each "
                f"its own part of the images ('skfusion embed --shard').",
                StoreWarning,
            )
            return
        warn_user(
            f"The embedding store in {str(self.folder)!r} cannot be used ({reason}). "
            f"New embeddings are kept in memory and are lost when this process ends. "
            f"Use a writable folder with free space on a local disk: store=<path>, or "
            f"the environment variable SKFUSION_CACHE.",
            StoreWarning,
        )


def shared_database(folder: Path) -> Database:
    """Return the shared `Database` of this process for a folder."""
    with _LOCK:
        database = _SHARED.get(folder)
        if database is None:
            database = _SHARED[folder] = Database(folder)
        if database in _RECENT:
            _RECENT.remove(database)
        _RECENT.append(database)
        return database


def _connect(target: Path | str, uri: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(
        target,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        uri=uri,
    )
    _OPEN.add(connection)
    return connection


def _close(connection: sqlite3.Connection) -> None:
    connection.close()
    _OPEN.discard(connection)


def _make_private(path: Path) -> None:
    """Create an empty file for its owner only, because sqlite would use the umask."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _transact(connection: sqlite3.Connection, operation: Operation[T]) -> T:
    connection.execute("BEGIN IMMEDIATE")
    try:
        result = operation(connection)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return result


def _initialise(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA page_size = 16384")  # 512 floats fit without slack
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")  # read by `_use_write_ahead_log`
    _transact(connection, _create_tables)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Check that a file has a write-ahead log.

    Where shared memory is not available (network file systems), sqlite raises no
    error but answers with the journal mode that it keeps.
    """
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise LocksRefused(
            f"its file system does not support sqlite's write-ahead log, journal mode "
            f"{mode!r} instead of 'wal'"
        )


def _check_locks(folder: Path) -> None:
    """Check that files can be locked, because sqlite would wait for such a lock."""
    if fcntl is None:
        return
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            reason = error.strerror or str(error)
            raise LocksRefused(
                f"its file system does not lock files: {reason}"
            ) from error


def _is_about_locks(problem: Exception | None) -> bool:
    if isinstance(problem, LocksRefused):
        return True
    code = getattr(problem, "sqlite_errorcode", None)
    return isinstance(problem, sqlite3.Error) and (
        code in _LOCK_ERRORS or "locking protocol" in str(problem)
    )


def _create_tables(connection: sqlite3.Connection) -> None:
    found = _schema_version(connection)
    if found == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
    elif found != SCHEMA_VERSION:
        raise OSError(f"schema version {found} found, {SCHEMA_VERSION} expected")


def _schema_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _data_version(connection: sqlite3.Connection) -> int:
    """Return a number that changes with the commits of other connections only."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _is_corrupt(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _is_healthy(path: Path) -> bool:
    connection = _connect(f"{path.as_uri()}?mode=rw", uri=True)
    try:
        return connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.DatabaseError as error:
        if _is_corrupt(error):
            return False
        raise
    finally:
        _close(connection)


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _file_state(path: Path) -> tuple[object, ...]:
    """Return what changes with the content of the file or of its log."""
    found: list[object] = []
    for name in (path, f"{path}-wal"):
        try:
            status = os.stat(name)
        except OSError:
            found.append(None)
        else:
            identity = status.st_dev, status.st_ino
            found.append((*identity, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _close_all() -> None:
    for database in list(_SHARED.values()):
        database.close()


def _close_at_exit() -> None:
    # Python 3.13 warns about connections that are not closed, also those to memory.
    with _LOCK:
        _close_all()
        for kept in _KEPT:
            kept.close_memory()


def _before_fork() -> None:
    # The locks of sqlite do not survive a fork, so all files must be closed before.
    _LOCK.acquire()
    _close_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_LOCK.release,
        after_in_child=_LOCK.release,
    )
atexit.register(_close_at_exit)
