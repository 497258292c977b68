"""Damage, full disks and folders that cannot be used lose no result."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from skfusion.store import sqlite_file, tables
from skfusion.store.embedding_store import EmbeddingStore
from skfusion.store.sqlite_file import Database, StoreWarning

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def arrays(keys: list[str]) -> dict[str, np.ndarray]:
    return {key: np.full((2, 2), float(key)) for key in keys}


def the_file(store: EmbeddingStore) -> Path:
    return next(store.path.glob("*.sqlite"))


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE arrays SET data = zeroblob(16) WHERE key = '3'",
        "UPDATE arrays SET data = zeroblob(3) WHERE key = '3'",
        "UPDATE arrays SET data = 'text' WHERE key = '3'",
        "UPDATE arrays SET shape = '4' WHERE key = '3'",
        "UPDATE arrays SET shape = x'ff' WHERE key = '3'",
        "UPDATE arrays SET checksum = 7 WHERE key = '3'",
        "UPDATE arrays SET (shape, checksum, data) = (SELECT shape, checksum, data"
        " FROM arrays WHERE key = '2') WHERE key = '3'",
    ],
    ids=["value", "length", "type", "shape", "shape-type", "checksum", "swapped"],
)
def test_a_damaged_entry_is_computed_again(tmp_path, damage, recorder):
    store, compute = EmbeddingStore(tmp_path), recorder()
    store.get_or_compute(names(5), compute)
    connection = sqlite3.connect(the_file(store))
    with connection:
        connection.execute(damage)
    connection.close()
    with pytest.warns(StoreWarning, match="1 damaged entries"):
        found = store.get_or_compute(names(5), compute)
    assert compute.asked == [*names(5), "3"]
    np.testing.assert_array_equal(found["3"], arrays(["3"])["3"])
    assert len(store.get_or_compute(names(5), compute)) == 5  # and no warning


@pytest.mark.parametrize(
    ("damage", "open_"),
    [
        ("text", False),
        ("text", True),
        ("header", False),  # who has the file open has its header in memory
        ("middle", False),
        ("middle", True),
        ("truncated", False),
        ("truncated", True),
    ],
)
def test_a_corrupt_file_is_moved_aside(tmp_path, damage, open_, recorder):
    store, compute = EmbeddingStore(tmp_path), recorder()
    store.put_many({key: np.zeros(1000) for key in names(300)})
    store.close()
    file = the_file(store)
    content = bytearray(file.read_bytes())
    assert len(content) > 10 * 16384
    if open_:
        store.get_many(["0"])
    if damage == "text":
        content[:] = b"this is no database\n" * 100
    elif damage == "header":
        content[:4096] = bytes(4096)
    elif damage == "middle":
        content[16384:] = bytes([0xA5]) * (len(content) - 16384)
    else:
        del content[5 * 16384 :]
    with open(file, "r+b") as handle:  # the same file, also for who has it open
        handle.write(content)
        handle.truncate(len(content))
    with pytest.warns(StoreWarning, match="was corrupt. It was moved aside") as caught:
        found = store.get_or_compute([*names(300), "301"], compute)
    assert sum("moved aside" in str(w.message) for w in caught) == 1
    assert len(found) == 301
    assert "301" in compute.asked
    assert len(list(tmp_path.glob("*.corrupt-*[0-9]"))) == 1
    assert not store.info()["in_memory"]
    assert len(EmbeddingStore(tmp_path).get_or_compute(names(300), compute)) == 300
    assert len(compute.asked) == 301


def test_a_store_that_is_deleted_in_use_starts_anew(tmp_path, recorder):
    store, compute = EmbeddingStore(tmp_path / "store"), recorder()
    store.get_or_compute(names(3), compute)
    shutil.rmtree(store.path)
    assert len(store.get_or_compute(names(3), compute)) == 3
    assert compute.asked == names(3) * 2
    assert store.info()["entries"] == 3
    assert the_file(store).exists()


# ---------------------------------------------------------------- memory, as a way out


@pytest.fixture
def check_memory_fallback(recorder) -> Callable[[Path], str]:
    def check(path: Path) -> str:
        compute = recorder()
        with pytest.warns(StoreWarning, match="kept in memory") as caught:
            found = EmbeddingStore(path).get_or_compute(names(5), compute, chunk_size=2)
        assert len(caught) == 1
        assert len(found) == 5
        other = EmbeddingStore(path)  # as a clone of the estimator would make
        assert len(other.get_or_compute(names(6), compute)) == 6
        assert compute.asked == names(6)
        info = other.info()
        assert (info["in_memory"], info["entries"], info["computed"]) == (True, 6, 6)
        assert other.prune(0) == 6
        return str(caught[0].message)

    return check


def test_a_folder_that_cannot_be_made(tmp_path, check_memory_fallback):
    (tmp_path / "file").write_text("in the way")
    message = check_memory_fallback(tmp_path / "file" / "store")
    assert "SKFUSION_CACHE" in message
    assert "Not a directory" in message


def test_a_file_where_the_folder_should_be(tmp_path, check_memory_fallback):
    (tmp_path / "file").write_text("in the way")
    check_memory_fallback(tmp_path / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_folder_where_nobody_can_write(check_memory_fallback):
    check_memory_fallback(Path("/proc/self/task"))


def test_a_file_of_another_schema_is_left_alone(tmp_path, check_memory_fallback):
    store = EmbeddingStore(tmp_path)
    store.put_many({"0": [1.0]})
    store.close()
    connection = sqlite3.connect(the_file(store))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "schema version 99" in check_memory_fallback(tmp_path)
    connection = sqlite3.connect(the_file(store))
    assert connection.execute("SELECT key FROM arrays").fetchall() == [("0",)]
    connection.close()


def test_threads_in_memory_share_the_work(tmp_path, recorder):
    (tmp_path / "file").write_text("in the way")
    compute, answers = recorder(seconds=0.02), []
    store = EmbeddingStore(tmp_path / "file" / "store", poll_seconds=0.01)
    with pytest.warns(StoreWarning, match="kept in memory"):
        store.info()

    def ask():
        answers.append(store.get_or_compute(names(30), compute, chunk_size=3))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(compute.asked) == sorted(names(30))
    assert [len(answer) for answer in answers] == [30] * 4


FULL = """
import resource, signal, warnings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = EmbeddingStore(folder)
store.put_many({f"old-{i}": np.full(1000, i) for i in range(50)})
size = max(path.stat().st_size for path in Path(folder).iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, size + 100_000))
def compute(keys):
    log(keys)
    return {key: np.full(1000, float(key)) for key in keys}
keys = [str(i) for i in range(300)]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found = store.get_or_compute(keys, compute, chunk_size=20)
    again = EmbeddingStore(folder).get_or_compute(keys, compute, chunk_size=20)
    old = store.get_many([f"old-{i}" for i in range(50)])
for answer in (found, again):
    assert all((answer[key] == float(key)).all() for key in keys)
assert [old[f"old-{i}"][0] for i in range(50)] == list(range(50))
assert store.info()["in_memory"]
print(len(caught), "kept in memory" in str(caught[0].message))
"""


@posix
@pytest.mark.long
def test_a_full_disk_loses_no_result(tmp_path, launch, finish):
    out = finish(launch(FULL, tmp_path, tmp_path / "store"))
    assert out == "1 True\n"
    log = (tmp_path / "log").read_text().split()
    assert Counter(log) == Counter(names(300))
    # what had been stored before the disk was full is sound
    store = EmbeddingStore(tmp_path / "store")
    assert len(store.get_many(f"old-{i}" for i in range(50))) == 50


READ_ONLY = """
import warnings
if os.geteuid() == 0:  # nothing is read-only to root
    os.setgid(65534)
    os.setuid(65534)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    def hook(event, arguments):
        assert event != "open" or not str(arguments[0]).endswith("image.png")
    sys.addaudithook(hook)
    print(EmbeddingStore(folder).digest_file(os.environ["IMAGE"])[:8])
    for _ in range(2):
        found = EmbeddingStore(folder).get_or_compute(["0", "1", "2", "3"], arrays)
        assert [found[key][0, 0] for key in found] == [0, 1, 2, 3]
print([str(warning.message)[:20] for warning in caught])
print(EmbeddingStore(folder).info()["computed"])
"""


@posix
@pytest.mark.long
def test_a_read_only_store_is_read_and_added_to_in_memory(monkeypatch, launch, finish):
    # not tmp_path: that is closed to other users, and root must become one
    base = Path(tempfile.mkdtemp())
    store = EmbeddingStore(base / "store")
    image = base / "image.png"
    image.write_bytes(b"abc")
    image.chmod(0o444)
    monkeypatch.setenv("IMAGE", str(image))
    try:
        store.put_many(arrays(["0", "1"]))
        time.sleep(tables.SETTLING_SECONDS)
        store.digest_file(image)
        store.close()
        base.chmod(0o755)
        the_file(store).chmod(0o444)
        (store.path / "embeddings.lock").chmod(0o444)
        store.path.chmod(0o555)
        out = finish(launch(READ_ONLY, base, store.path))
    finally:
        store.path.chmod(0o700)
        shutil.rmtree(base)
    assert out.splitlines() == ["ba7816bf", "['The embedding store ']", "2"]


def test_warnings_as_errors_do_not_break_the_store(tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = EmbeddingStore(tmp_path / "file" / "store")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(StoreWarning):
            store.put_many({"0": [1.0]})
        store.put_many({"0": [1.0]})
    assert len(store.get_many(["0"])) == 1


# ---------------------------------------------------------------- answers of sqlite


def without_shared_memory(monkeypatch, vfs: str) -> None:
    """Open files as on a network disk, where sqlite keeps another journal mode."""

    def connect(target, uri=False):
        name = f"file:{target}?vfs={vfs}" if isinstance(target, Path) else target
        return sqlite3.connect(
            name, isolation_level=None, check_same_thread=False, uri=True
        )

    monkeypatch.setattr(sqlite_file, "_connect", connect)


@posix
@pytest.mark.parametrize("vfs", ["unix-dotfile", "unix-none"])
def test_a_refused_write_ahead_log_is_noticed(tmp_path, monkeypatch, vfs):
    without_shared_memory(monkeypatch, vfs)
    store = EmbeddingStore(tmp_path / "s")
    with pytest.warns(StoreWarning, match="write-ahead log, journal mode 'delete'"):
        store.put_many(arrays(["1"]))
    assert (store.info()["in_memory"], store.info()["segments"]) == (False, 1)
    assert list(store.get_many(["1"])) == ["1"]


def test_a_file_of_another_journal_mode_gets_its_log_back(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays(["1"]))
    store.close()
    connection = sqlite3.connect(the_file(store))
    assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
    connection.close()
    assert list(store.get_many(["1"])) == ["1"]
    connection = sqlite3.connect(the_file(store))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    store.close()


# ---------------------------------------------------------------- closed connections

SCRIPT = """
import atexit, gc, sqlite3, sys, warnings
from pathlib import Path
opened, connect = [], sqlite3.connect
def remember(*arguments, **settings):
    opened.append(connect(*arguments, **settings))
    return opened[-1]
def is_open(connection):
    try:
        connection.total_changes
    except sqlite3.ProgrammingError:
        return False
    return True
@atexit.register  # runs after the exit functions of skfusion
def report():
    print("open at exit:", sum(map(is_open, opened)))
sqlite3.connect = remember
warnings.simplefilter("ignore")
import numpy as np
from skfusion.store import EmbeddingStore
folder, damage = Path(sys.argv[1]), sys.argv[2]
def use(store):
    store.get_or_compute(["a"], lambda keys: {key: np.ones(2) for key in keys})
store = EmbeddingStore(folder / "store")
use(store)
store.close()
for file in (folder / "store").iterdir():
    if damage == "all files" or (damage == "main file" and file.suffix == ".sqlite"):
        file.write_bytes(b"no database " * 100)
if damage == "version":
    other = connect(next((folder / "store").glob("*.sqlite")))
    other.execute("PRAGMA user_version = 99")
    other.close()
if damage == "no folder":
    (folder / "file").touch()
    store = EmbeddingStore(folder / "file" / "store")
use(store)
store.get_many(["a", "b"])
in_memory = store.info()["in_memory"]
store.close()
print("connections:", len(opened), "open:", sum(map(is_open, opened)), in_memory)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "in_memory"),
    [
        ("none", False),
        ("main file", False),
        ("all files", True),
        ("version", True),
        ("no folder", True),
    ],
)
def test_every_connection_is_closed(tmp_path, damage, in_memory):
    """Python 3.13 warns about connections that are collected without being closed."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), damage],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    before, after = found.stdout.splitlines()
    # memory stays until the end, because its arrays are nowhere else
    assert before.endswith(f"open: {int(in_memory)} {in_memory}")
    assert after == "open at exit: 0"
    assert "ResourceWarning" not in found.stderr


class WatchedConnection(sqlite3.Connection):
    """Connection that remembers whether it was closed before it was finalised."""

    ends: ClassVar[list[str]] = []
    end = "collected"

    def close(self):
        self.end = "closed"
        super().close()

    def __del__(self):
        self.ends.append(self.end)


def test_a_collected_database_closes_its_connection_first(tmp_path, monkeypatch):
    """The collector finalises the oldest object of a cycle first."""
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays(["0"]))
    store.close()
    prepared = [sqlite3.connect(the_file(store), factory=WatchedConnection)]
    monkeypatch.setattr(sqlite3, "connect", lambda *_, **__: prepared.pop())
    database = Database(tmp_path)
    database.itself = database
    assert database.run(lambda c: c.execute("SELECT key FROM arrays").fetchall())
    del database
    gc.collect()
    assert WatchedConnection.ends == ["closed"]


# ---------------------------------------------------------------- damaged small cells


def change(store: EmbeddingStore, statement: str, *values: object) -> None:
    store.close()
    connection = sqlite3.connect(the_file(store))
    with connection:
        connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    "owner", ["", "one|two", "{machine}|pid|9|x", "{machine}|9e99|9|x", b"\xff|\x00"]
)
def test_a_lease_of_a_damaged_owner_is_taken_over(tmp_path, recorder, owner):
    store, compute = EmbeddingStore(tmp_path, poll_seconds=0.01), recorder()
    store.put_many(arrays(["0"]))
    if isinstance(owner, str):
        owner = owner.format(machine=tables._machine())
    far = 4e9
    change(store, "INSERT INTO claims VALUES ('1', ?, ?)", owner, far)
    assert list(store.get_or_compute(["1"], compute)) == ["1"]
    assert compute.asked == ["1"]


@pytest.mark.parametrize("expires", [4e9, "never", b"\x01"])
def test_a_lease_of_another_machine_ends(tmp_path, recorder, expires):
    store = EmbeddingStore(tmp_path, poll_seconds=0.01, lease_seconds=0.2)
    compute = recorder()
    store.put_many(arrays(["0"]))
    owner = "elsewhere|1|1|x"
    change(store, "INSERT INTO claims VALUES ('1', ?, ?)", owner, expires)
    assert list(store.get_or_compute(["1"], compute)) == ["1"]


@pytest.mark.parametrize("size", ["text", b"\xff", -7, 1.5])
def test_a_damaged_size_is_measured_again(tmp_path, size):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays(names(4)))
    change(store, "UPDATE usage SET size = ? WHERE id = 2", size)
    assert isinstance(store.info()["bytes"], int)
    assert store.prune(32) == 2  # 16 bytes an array
    assert store.info()["bytes"] == 32


def test_a_missing_counter_and_a_damaged_digest(tmp_path):
    store = EmbeddingStore(tmp_path / "s")
    image = tmp_path / "image"
    image.write_bytes(b"bytes")
    right = store.digest_file(image)
    place = "path of the image"
    row = (place, "stamp", b"\x01")
    store._database.run(lambda c: tables.note_digest(c, row), write=True)
    find = lambda c: tables.select_digest(c, place, "stamp")  # noqa: E731
    assert store._database.run(find) is None
    change(store, "DELETE FROM counters")
    assert store.info()["computed"] == 0
    assert store.digest_file(image) == right


def test_a_path_that_no_file_can_have(tmp_path):
    with pytest.raises(ValueError, match="EmbeddingStore: the path contains a null"):
        EmbeddingStore(f"{tmp_path}/a\0b")
