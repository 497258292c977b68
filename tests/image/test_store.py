"""The store under several processes, kills, damage and folders that cannot be used."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer

import skfusion
from skfusion.image.reading import ImageReadError, content_digest
from skfusion.image.store import (
    EmbeddingStore,
    StoreWarning,
    default_store_path,
    resolve_store,
)

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")

# What every process of these tests runs first: arguments are a folder for signals and
# the folder of the store. `compute` writes each key it is asked for into a log.
PREAMBLE = """
import os, sys, time
from pathlib import Path
import numpy as np
from skfusion.image.store import EmbeddingStore
signals, folder = Path(sys.argv[1]), sys.argv[2]
def log(keys):
    with open(signals / "log", "a") as file:
        file.write("".join(f"{key}\\n" for key in keys))
def arrays(keys):
    return {key: np.full((2, 2), float(key)) for key in keys}
def wait_for(name):
    while not (signals / name).exists():
        time.sleep(0.01)
"""


def start(script: str, signals: Path, folder: Path, **options) -> subprocess.Popen:
    root = str(Path(skfusion.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), signals, folder],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen) -> tuple[str, str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, err


@contextlib.contextmanager
def ended(process: subprocess.Popen) -> Iterator[subprocess.Popen]:
    """Make sure that a process which waits for ever does not outlive its test."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.01)


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def arrays(keys: list[str]) -> dict[str, np.ndarray]:
    return {key: np.full((2, 2), float(key), dtype=np.float32) for key in keys}


class Recorder:
    """A compute function that remembers what it was asked for."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        self.calls: list[int] = []
        self.seconds = seconds

    def __call__(self, keys: list[str]) -> dict[str, np.ndarray]:
        self.asked += keys
        self.calls.append(len(keys))
        time.sleep(self.seconds)
        return arrays(keys)


def the_file(store: EmbeddingStore) -> Path:
    return next(store.path.glob("*.sqlite"))


def size_on_disk(store: EmbeddingStore) -> int:
    return sum(path.stat().st_size for path in store.path.iterdir())


# ---------------------------------------------------------------- one caller


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        np.float32(1.5),
        np.zeros((0, 4), dtype=np.float32),
        np.array([np.nan, -np.inf, 1e-40], dtype=np.float32),
        np.arange(8, dtype=np.float32)[::2],
        np.arange(4, dtype=">f4"),
    ],
    ids=["3-D", "0-d", "empty", "special", "strided", "big-endian"],
)
def test_arrays_come_back_exactly(tmp_path, value):
    EmbeddingStore(tmp_path).put_many({"a": value})
    found = EmbeddingStore(tmp_path).get_many(["a", "absent"])
    assert list(found) == ["a"]
    np.testing.assert_array_equal(found["a"], value)
    assert found["a"].dtype == np.float32
    assert found["a"].shape == np.shape(value)
    found["a"][...] = 0  # writable: a caller may go on with it in place


def test_put_many_replaces_and_counts(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many({"a": [1.0], "b": [2.0, 3.0]})
    store.put_many({"a": [4.0, 5.0, 6.0]})
    assert store.get_many(["a"])["a"].tolist() == [4.0, 5.0, 6.0]
    info = store.info()
    assert info == {
        "path": str(tmp_path),
        "entries": 2,
        "bytes": 20,
        "computed": 3,
        "in_memory": False,
    }


def test_more_keys_than_one_statement_takes(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays(names(2500)))
    found = store.get_many(reversed(names(2500)))
    assert list(found) == names(2500)[::-1]
    assert all(found[key][0, 0] == float(key) for key in found)


def test_each_key_is_computed_once_in_chunks(tmp_path):
    store, compute = EmbeddingStore(tmp_path), Recorder()
    found = store.get_or_compute([*names(10), "3", "3"], compute, chunk_size=4)
    assert compute.calls == [4, 4, 2]
    assert list(found) == names(10)
    again = store.get_or_compute((key for key in names(12)), compute, chunk_size=4)
    assert compute.asked == names(12)
    assert list(again) == names(12)
    assert store.info()["computed"] == 12


def test_first_and_later_answers_are_the_same_bits(tmp_path):
    store = EmbeddingStore(tmp_path)
    value = np.random.default_rng(0).normal(size=7)  # float64
    first = store.get_or_compute(["a"], lambda keys: {"a": value})["a"]
    later = store.get_or_compute(["a"], lambda keys: {})["a"]
    assert first.dtype == later.dtype == np.float32
    np.testing.assert_array_equal(first, later)


def test_failed_keys_are_left_out_and_asked_again_next_time(tmp_path):
    store = EmbeddingStore(tmp_path)
    asked = []

    def compute(keys):
        asked.extend(keys)
        return arrays([key for key in keys if key != "1"])

    assert list(store.get_or_compute(names(3), compute)) == ["0", "2"]
    assert list(store.get_or_compute(names(3), compute)) == ["0", "2"]
    assert asked == ["0", "1", "2", "1"]


def test_an_exception_gives_the_claims_up(tmp_path):
    store = EmbeddingStore(tmp_path, lease_seconds=60)

    def fail(keys):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_or_compute(names(3), fail)
    began = time.monotonic()
    assert len(store.get_or_compute(names(3), Recorder())) == 3
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("result", "error", "match"),
    [
        ({"0": [1.0], "x": [1.0]}, ValueError, "1 keys that it was not asked for"),
        ([[1.0]], TypeError, "expected a mapping"),
        ({"0": ["text"]}, TypeError, "float32; got dtype <U4"),
        ({"0": [1j]}, TypeError, "float32; got dtype complex128"),
    ],
)
def test_wrong_results_of_compute(tmp_path, result, error, match):
    store = EmbeddingStore(tmp_path)
    with pytest.raises(error, match=match):
        store.get_or_compute(["0"], lambda keys: result)
    assert store.info()["entries"] == 0
    assert len(store.get_or_compute(["0"], Recorder())) == 1  # nothing stays claimed


def test_wrong_arguments(tmp_path):
    store = EmbeddingStore(tmp_path)
    with pytest.raises(TypeError, match="Keys of the store are str; got int"):
        store.get_many([1])
    with pytest.raises(ValueError, match="chunk_size=0 must be at least 1"):
        store.get_or_compute(["a"], Recorder(), chunk_size=0)
    with pytest.raises(ValueError, match="max_bytes=-1 must not be negative"):
        store.prune(-1)
    with pytest.raises(TypeError, match="got int"):
        resolve_store(3)


# ---------------------------------------------------------------- who may see it


@posix
def test_only_the_owner_may_read(tmp_path):
    store = EmbeddingStore(tmp_path / "new" / "store")
    store.put_many({"a": [1.0]})
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in store.path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_no_image_path_is_written_down(tmp_path):
    image = tmp_path / "Doe-Jane-1970.png"
    image.write_bytes(b"pixels")
    store = EmbeddingStore(tmp_path / "store")
    store.digest_file(image)
    store.close()
    for file in store.path.iterdir():
        assert b"Doe-Jane" not in file.read_bytes()


# ---------------------------------------------------------------- files' digests


def test_digest_follows_the_content(tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"one")
    store = EmbeddingStore(tmp_path / "store")
    first = store.digest_file(image)
    assert first == content_digest(b"one") == store.digest_file(str(image))
    before = image.stat()
    image.write_bytes(b"two")  # as long as before, and made to look as old
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert store.digest_file(image) == content_digest(b"two")
    image.unlink()
    with pytest.raises(ImageReadError, match="does not exist"):
        store.digest_file(image)


def test_unchanged_files_are_not_opened_again(tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(b"bytes of an image")
    script = """
    opened = []
    def hook(event, arguments):
        if event == "open" and str(arguments[0]).endswith("image.png"):
            opened.append(arguments[0])
    sys.addaudithook(hook)
    for _ in range(3):
        EmbeddingStore(folder).digest_file(signals / "image.png")
    print(len(opened))
    """
    outputs = [finish(start(script, tmp_path, tmp_path / "s"))[0] for _ in range(2)]
    assert outputs == ["1\n", "0\n"]


# ---------------------------------------------------------------- size


def test_prune_removes_what_was_used_least_recently(tmp_path):
    store = EmbeddingStore(tmp_path)
    for key in ("a", "b", "c"):
        store.put_many({key: np.zeros(10)})
        time.sleep(0.002)
    store.get_many(["a"])
    assert store.prune(100) == 1
    assert list(store.get_many(["a", "b", "c"])) == ["a", "c"]
    assert store.prune(100) == 0
    assert store.prune(0) == 2
    info = store.info()
    assert (info["entries"], info["bytes"], info["computed"]) == (0, 0, 3)


def test_prune_and_clear_give_the_space_back(tmp_path):
    store = EmbeddingStore(tmp_path)
    rng = np.random.default_rng(0)
    store.put_many({key: rng.normal(size=512) for key in names(1000)})
    assert size_on_disk(store) > 2_000_000
    store.prune(200_000)
    assert size_on_disk(store) < 600_000
    image = tmp_path / "image.png"
    image.write_bytes(b"x")
    store.digest_file(image)
    store.clear()
    assert size_on_disk(store) < 250_000
    assert store.info()["entries"] == 0
    assert store.info()["computed"] == 1000


# ---------------------------------------------------------------- copies


def test_pickle_and_copies_hold_the_path_only(tmp_path):
    store = EmbeddingStore(tmp_path, lease_seconds=7.0, poll_seconds=0.5)
    store.put_many({"a": np.zeros(10_000)})
    dumped = pickle.dumps(store)
    assert len(dumped) < 500
    for other in (pickle.loads(dumped), copy.deepcopy(store)):
        assert (other.path, other.lease_seconds, other.poll_seconds) == (
            tmp_path,
            7.0,
            0.5,
        )
        assert other.get_many(["a"])["a"].shape == (10_000,)


def test_an_estimator_with_a_store_can_be_cloned(tmp_path):
    transformer = FunctionTransformer(kw_args={"store": EmbeddingStore(tmp_path)})
    cloned = clone(transformer)
    cloned.kw_args["store"].put_many({"a": [1.0]})
    assert len(transformer.kw_args["store"].get_many(["a"])) == 1


def test_default_path(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "chosen"))
    assert default_store_path() == tmp_path / "chosen"
    assert EmbeddingStore().path == resolve_store("default").path
    assert EmbeddingStore().path == tmp_path / "chosen"
    monkeypatch.delenv("SKFUSION_CACHE")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert default_store_path() == tmp_path / "xdg" / "skfusion"
        monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_store_path().is_relative_to(Path.home())


def test_resolve_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = EmbeddingStore("here")
    assert store.path == tmp_path / "here"
    assert resolve_store(None) is None
    assert resolve_store(store) is store
    assert resolve_store("here").path == resolve_store(tmp_path / "here").path


# ---------------------------------------------------------------- many callers


def test_threads_share_the_work(tmp_path):
    compute = Recorder(seconds=0.02)
    answers = []

    def ask():
        store = EmbeddingStore(tmp_path, poll_seconds=0.01)
        answers.append(store.get_or_compute(names(60), compute, chunk_size=5))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(compute.asked) == sorted(names(60))
    assert [list(answer) for answer in answers] == [names(60)] * 6


MANY = """
def compute(keys):
    log(keys)
    time.sleep(0.03)
    return arrays(keys)
store = EmbeddingStore(folder, poll_seconds=0.02)
(signals / f"ready-{os.getpid()}").touch()
wait_for("go")
found = store.get_or_compute([str(i) for i in range(120)], compute, chunk_size=7)
assert list(found) == [str(i) for i in range(120)], len(found)
assert all((found[key] == float(key)).all() for key in found)
"""


def run_many(signals: Path, folder: Path, n: int) -> list[str]:
    processes = [start(MANY, signals, folder) for _ in range(n)]
    deadline = time.monotonic() + 60
    while len(list(signals.glob("ready-*"))) < n and time.monotonic() < deadline:
        time.sleep(0.01)
    (signals / "go").touch()
    for process in processes:
        finish(process)
    return (signals / "log").read_text().split()


def test_processes_compute_each_key_exactly_once(tmp_path):
    log = run_many(tmp_path, tmp_path / "store", 5)
    assert Counter(log) == Counter(names(120))
    store = EmbeddingStore(tmp_path / "store")
    assert store.info()["computed"] == 120
    connection = sqlite3.connect(the_file(store))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT COUNT(*) FROM claims").fetchall() == [(0,)]
    connection.close()


def test_processes_that_find_a_corrupt_file_replace_it_once(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    store.put_many({"x": [1.0]})
    store.close()
    the_file(store).write_bytes(b"no database" * 1000)
    log = run_many(tmp_path, store.path, 4)
    assert Counter(log) == Counter(names(120))
    assert len(list(store.path.glob("*.corrupt-*"))) == 1


HOLD = """
def compute(keys):
    log(keys)
    (signals / "claimed").touch()
    wait_for("never")
store = EmbeddingStore(folder, lease_seconds=float(os.environ["LEASE"]))
store.get_or_compute([str(i) for i in range(20)], compute, chunk_size=10)
"""


@posix
@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_claims_of_a_killed_process_are_taken_over_at_once(
    tmp_path, monkeypatch, reaped
):
    if not reaped and sys.platform != "linux":
        pytest.skip("only Linux tells a zombie")
    monkeypatch.setenv("LEASE", "600")
    with ended(start(HOLD, tmp_path, tmp_path / "store")) as process:
        wait_for(tmp_path / "claimed")
        process.send_signal(signal.SIGKILL)
        if reaped:
            process.wait(timeout=30)
        else:
            time.sleep(0.3)
        compute = Recorder()
        began = time.monotonic()
        store = EmbeddingStore(tmp_path / "store", poll_seconds=0.02)
        assert list(store.get_or_compute(names(20), compute)) == names(20)
        assert time.monotonic() - began < 20
    assert sorted(compute.asked) == sorted(names(20))


@posix
def test_claims_of_a_silent_process_are_taken_over_after_the_lease(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("LEASE", "1.5")
    with ended(start(HOLD, tmp_path, tmp_path / "store")) as process:
        wait_for(tmp_path / "claimed")
        store = EmbeddingStore(tmp_path / "store", poll_seconds=0.02)
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert list(store.get_or_compute(["0"], Recorder())) == ["0"]
        assert 0.4 < time.monotonic() - began < 20


@posix
def test_a_slow_process_that_shows_life_keeps_its_claims(tmp_path, monkeypatch):
    monkeypatch.setenv("LEASE", "0.6")
    with ended(start(HOLD, tmp_path, tmp_path / "store")) as process:
        wait_for(tmp_path / "claimed")
        compute = Recorder()
        store = EmbeddingStore(tmp_path / "store", poll_seconds=0.02)
        answers: list[dict[str, np.ndarray]] = []
        waiting = threading.Thread(
            target=lambda: answers.append(store.get_or_compute(["0", "19"], compute))
        )
        waiting.start()
        time.sleep(2.5)  # four leases
        assert compute.asked == ["19"]
        process.kill()
        waiting.join(timeout=30)
    assert compute.asked == ["19", "0"]
    assert list(answers[0]) == ["0", "19"]


@posix
def test_killed_writers_leave_a_sound_file(tmp_path):
    script = """
    store = EmbeddingStore(folder)
    n = 0
    while True:
        five = {f"{os.getpid()}-{i}": np.full(600, i) for i in range(n, n + 5)}
        store.put_many(five)
        n += 5
        (signals / f"wrote-{os.getpid()}").touch()
    """
    processes = [start(script, tmp_path, tmp_path / "store") for _ in range(3)]
    for process in processes:
        wait_for(tmp_path / f"wrote-{process.pid}")
        process.kill()
    for process in processes:
        process.communicate(timeout=30)
    store = EmbeddingStore(tmp_path / "store")
    n = store.info()["entries"]
    assert n > 0
    assert n % 5 == 0  # a transaction is there or not
    for process in processes:
        found = store.get_many(f"{process.pid}-{i}" for i in range(5))
        assert [found[key][0] for key in found] == [0, 1, 2, 3, 4]
    store.put_many({"a": [1.0]})


@posix
def test_forks_of_a_process_that_is_using_the_store(tmp_path):
    script = """
    import multiprocessing, threading
    store = EmbeddingStore(folder, poll_seconds=0.02)
    store.put_many(arrays(["0", "1"]))
    def compute(keys):
        log(keys)
        time.sleep(0.02)
        return arrays(keys)
    def ask(store):
        found = store.get_or_compute([str(i) for i in range(80)], compute, chunk_size=4)
        assert len(found) == 80
    busy = threading.Thread(target=ask, args=(store,))
    busy.start()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=ask, args=(store,)) for _ in range(4)]
    for child in children:
        child.start()
    ask(store)
    for child in children:
        child.join()
    busy.join()
    print([child.exitcode for child in children])
    """
    out, _ = finish(start(script, tmp_path, tmp_path / "store"))
    assert out == "[0, 0, 0, 0]\n"
    log = (tmp_path / "log").read_text().split()
    assert Counter(log) == Counter(names(80)[2:])
    connection = sqlite3.connect(the_file(EmbeddingStore(tmp_path / "store")))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


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
def test_a_damaged_entry_is_computed_again(tmp_path, damage):
    store, compute = EmbeddingStore(tmp_path), Recorder()
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
def test_a_corrupt_file_is_moved_aside(tmp_path, damage, open_):
    store, compute = EmbeddingStore(tmp_path), Recorder()
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


def test_a_store_that_is_deleted_in_use_starts_anew(tmp_path):
    store, compute = EmbeddingStore(tmp_path / "store"), Recorder()
    store.get_or_compute(names(3), compute)
    shutil.rmtree(store.path)
    assert len(store.get_or_compute(names(3), compute)) == 3
    assert compute.asked == names(3) * 2
    assert store.info()["entries"] == 3
    assert the_file(store).exists()


# ---------------------------------------------------------------- memory, as a way out


def check_memory_fallback(path: Path) -> str:
    compute = Recorder()
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


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    message = check_memory_fallback(tmp_path / "file" / "store")
    assert "SKFUSION_CACHE" in message
    assert "Not a directory" in message


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    check_memory_fallback(tmp_path / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_folder_where_nobody_can_write():
    check_memory_fallback(Path("/proc/self/task"))


def test_a_file_of_another_schema_is_left_alone(tmp_path):
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


def test_threads_in_memory_share_the_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    compute, answers = Recorder(seconds=0.02), []
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
def test_a_full_disk_loses_no_result(tmp_path):
    out, _ = finish(start(FULL, tmp_path, tmp_path / "store"))
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
def test_a_read_only_store_is_read_and_added_to_in_memory(monkeypatch):
    # not tmp_path: that is closed to other users, and root must become one
    base = Path(tempfile.mkdtemp())
    store = EmbeddingStore(base / "store")
    image = base / "image.png"
    image.write_bytes(b"abc")
    image.chmod(0o444)
    monkeypatch.setenv("IMAGE", str(image))
    try:
        store.put_many(arrays(["0", "1"]))
        store.digest_file(image)
        store.close()
        base.chmod(0o755)
        the_file(store).chmod(0o444)
        (store.path / "embeddings.lock").chmod(0o444)
        store.path.chmod(0o555)
        out, _ = finish(start(READ_ONLY, base, store.path))
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
