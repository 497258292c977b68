"""Immutable segments: what is written, what is read by others, what goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from skfusion.exceptions import FallbackWarning
from skfusion.store import segments as module, sqlite_file
from skfusion.store.embedding_store import EmbeddingStore, StoreWarning
from skfusion.store.segments import SegmentFolder


def arrays(n: int, width: int = 3, start: int = 0) -> dict[str, np.ndarray]:
    return {
        f"key {i}": np.full(width, i, dtype=np.float32) for i in range(start, start + n)
    }


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def same(found, expected) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[key], expected[key]) for key in expected
    )


# ---------------------------------------------------------------- a folder of segments


@settings(max_examples=40, deadline=None)
@given(
    parts=st.lists(
        st.dictionaries(
            st.text(min_size=1, max_size=8),
            st.sampled_from([(), (0,), (1,), (5,), (2, 3), (1, 1, 2)]),
            max_size=6,
        ),
        max_size=4,
    ),
    merges=st.booleans(),
)
def test_what_is_written_is_read_by_another(tmp_path_factory, parts, merges):
    folder = tmp_path_factory.mktemp("s")
    writer, expected = SegmentFolder(folder), {}
    rng = np.random.default_rng(0)
    for part in parts:
        new = {
            key: expected.get(key, rng.normal(size=shape).astype(np.float32))
            for key, shape in part.items()
        }
        writer.write(new)
        expected |= new
    if merges:
        SegmentFolder(folder).merge()
    for reader in (writer, SegmentFolder(folder)):
        assert same(reader.get([*expected, "no such key"]), expected)
        n_arrays, n_bytes, _ = reader.figures()
        assert n_arrays == len(expected)
        assert n_bytes == sum(array.nbytes for array in expected.values())


def test_digests_that_agree_in_their_first_half(tmp_path, monkeypatch):
    def ids(keys):
        return np.array([[7, int(key)] for key in keys], dtype="<u8").reshape(-1, 2)

    monkeypatch.setattr(module, "_ids", ids)
    folder = SegmentFolder(tmp_path)
    folder.write({str(i): np.array([i], dtype=np.float32) for i in range(5)})
    found = folder.get(["4", "9", "0", "2"])
    assert {key: float(value[0]) for key, value in found.items()} == {
        "4": 4.0,
        "0": 0.0,
        "2": 2.0,
    }


def test_segments_have_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 1_000)
    folder = SegmentFolder(tmp_path)
    folder.write(arrays(10, width=100))  # rows of 400 bytes
    assert [path.stat().st_size for path in files(tmp_path)] == [128 + 832 + 32] * 5
    folder.write({"large": np.zeros(1_000, np.float32)})
    assert folder.get(["large"])["large"].shape == (1_000,)


def test_small_segments_and_repetitions_are_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 4_000)
    writers = [SegmentFolder(tmp_path) for _ in range(3)]
    for i in range(8):
        writers[i % 3].write(arrays(3, start=2 * i))  # one of three is a repetition
    reader = SegmentFolder(tmp_path)
    expected = arrays(17)
    assert same(reader.get(expected), expected)
    assert SegmentFolder(tmp_path).merge() == (8, 1)
    assert reader.get(["key 3"])["key 3"][0] == 3  # its segment has gone
    assert same(reader.get(expected), expected)
    assert SegmentFolder(tmp_path).merge() == (1, 1)
    assert reader.figures() == (17, 17 * 12, 1)


def test_a_full_segment_with_repetitions_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 120)
    folder = SegmentFolder(tmp_path)
    folder.write(arrays(10))
    folder.write(arrays(10))
    assert folder.merge() == (2, 1)
    assert same(folder.get(arrays(10)), arrays(10))


def damage_header(path: Path) -> None:
    path.write_bytes(b"x" + path.read_bytes()[1:])


def damage_row(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)


def damage_key(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[130] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [damage_header, damage_row, damage_key, truncate, empty]
)
def test_a_damaged_segment_is_moved_aside(tmp_path, damage):
    SegmentFolder(tmp_path).write(arrays(4))
    SegmentFolder(tmp_path).write(arrays(4, start=4))
    damage(files(tmp_path)[0])
    reader = SegmentFolder(tmp_path)
    with pytest.warns(FallbackWarning, match="is damaged") as caught:
        found = reader.get(arrays(8))
    assert len(caught) == 1
    assert same(found, arrays(4, start=4))
    assert len(files(tmp_path)) == 1
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1
    reader.clear()
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_copy_leaves_the_other(tmp_path):
    for _ in range(2):
        SegmentFolder(tmp_path).write(arrays(4))
    damage_row(files(tmp_path)[0])  # the one that is read first
    with pytest.warns(FallbackWarning, match="is damaged"):
        assert same(SegmentFolder(tmp_path).get(arrays(4)), arrays(4))


@pytest.mark.parametrize("is_known", [True, False])
def test_a_segment_that_cannot_be_read_now_is_left_alone(
    tmp_path, monkeypatch, is_known
):
    """Too many open files, or a server that is away, are no damage."""
    SegmentFolder(tmp_path).write(arrays(2))
    folder = SegmentFolder(tmp_path)
    if is_known:
        folder.figures()

    def busy(*_, **__):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patched:
        patched.setattr(module, "open", busy, raising=False)
        with pytest.warns(FallbackWarning, match="cannot be read now .Too many open"):
            assert folder.get(arrays(2)) == {}
        with pytest.warns(FallbackWarning, match="stays where it is"):
            assert folder.verify().n_damaged == 0
    assert same(folder.get(arrays(2)), arrays(2))
    assert list(tmp_path.glob("*.corrupt-*")) == []


def test_a_segment_that_vanishes_during_a_merge(tmp_path, monkeypatch):
    for start in (0, 2, 4):
        SegmentFolder(tmp_path).write(arrays(2, start=start))
    folder = SegmentFolder(tmp_path)
    mergeable = SegmentFolder._mergeable

    def merged_elsewhere(self):
        groups = mergeable(self)
        SegmentFolder(tmp_path).merge()
        return groups

    with monkeypatch.context() as patched:
        patched.setattr(folder, "_mergeable", lambda: merged_elsewhere(folder))
        assert folder.merge() == (3, 1)
    assert same(SegmentFolder(tmp_path).get(arrays(6)), arrays(6))


def test_verify_reads_all(tmp_path):
    for start in (0, 4, 8):
        SegmentFolder(tmp_path).write(arrays(4, start=start))
    damage_row(files(tmp_path)[1])
    with pytest.warns(FallbackWarning, match="is damaged"):
        verified = SegmentFolder(tmp_path).verify()
    assert (verified.n_segments, verified.n_arrays, verified.n_damaged) == (2, 8, 1)


def test_foreign_and_unfinished_files_are_left_alone(tmp_path):
    folder = SegmentFolder(tmp_path)
    folder.write(arrays(2))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".writing-1").write_text("of a living writer")
    old = tmp_path / ".writing-2"
    old.write_text("of a killed writer")
    os.utime(old, (time.time() - 200_000,) * 2)
    folder.merge()
    folder.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".writing-1",
        "notes.txt",
    ]


def test_only_the_owner_may_read(tmp_path):
    SegmentFolder(tmp_path / "segments").write(arrays(1))
    assert (tmp_path / "segments").stat().st_mode & 0o77 == 0
    assert files(tmp_path / "segments")[0].stat().st_mode & 0o77 == 0


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        SegmentFolder(tmp_path).write(arrays(2))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- stores with segments


def test_an_array_of_one_number_is_an_array(tmp_path):
    SegmentFolder(tmp_path).write({"a": np.array(3.0, dtype=np.float32)})
    found = SegmentFolder(tmp_path).get(["a"])["a"]
    assert isinstance(found, np.ndarray)
    assert (found.shape, float(found)) == ((), 3.0)


def test_a_store_of_segments(tmp_path, recorder):
    compute = recorder()
    store = EmbeddingStore(tmp_path, segments=True)
    keys = [str(i) for i in range(10)]
    found = store.get_or_compute(keys, compute, chunk_size=3)
    assert len(found) == 10
    assert len(compute.asked) == 10
    assert not list(tmp_path.glob("*.sqlite"))
    info = EmbeddingStore(tmp_path, segments=True).info()
    assert (info["entries"], info["segments"], info["in_memory"]) == (10, 1, False)
    assert same(store.get_or_compute(keys, compute), found)
    assert len(compute.asked) == 10


def test_a_store_without_segments_reads_them(tmp_path, launch, finish, recorder):
    script = """
    store = EmbeddingStore(folder, segments=True)
    store.put_many(arrays(["1", "2"]))
    """
    finish(launch(script, tmp_path, tmp_path))
    compute = recorder()
    store = EmbeddingStore(tmp_path)
    store.put_many({"3": np.full((2, 2), 3.0)})
    assert len(store.get_or_compute(["1", "2", "3", "4"], compute)) == 4
    assert compute.asked == ["4"]
    assert store.info()["entries"] == 4
    assert store.prune(50) == 1  # of 16 bytes each, from the file first
    assert store.prune(20) == 3  # the segment as a whole
    store.clear()
    assert store.info()["entries"] == 0


def test_a_store_of_segments_reads_the_file(tmp_path, launch, finish, recorder):
    script = "EmbeddingStore(folder).put_many(arrays(['1', '2']))"
    finish(launch(script, tmp_path, tmp_path))
    compute = recorder()
    store = EmbeddingStore(tmp_path, segments=True)
    assert len(store.get_or_compute(["1", "2", "3"], compute)) == 3
    assert compute.asked == ["3"]


@pytest.mark.long
def test_digests_of_files_are_kept_in_segments(tmp_path, launch, finish):
    image = tmp_path / "image.png"
    image.write_bytes(b"pixels")
    os.utime(image, (time.time() - 60,) * 2)
    while time.time_ns() - image.stat().st_ctime_ns < 2.6e9:
        time.sleep(0.1)  # the digest of a file that was just changed is not kept
    script = f"""
    store = EmbeddingStore(folder, segments=True)
    with store.missing(["1"]) as work:
        for keys in work:
            work.put(arrays(keys))
            print(store.digest_file({str(image)!r}))
    """
    digest = finish(launch(script, tmp_path, tmp_path / "s")).strip()
    script = f"""
    from skfusion.store import embedding_store
    embedding_store.open_file = None  # cannot be called
    print(EmbeddingStore(folder, segments=True).digest_file({str(image)!r}))
    """
    assert finish(launch(script, tmp_path, tmp_path / "s")).strip() == digest
    image.write_bytes(b"others")
    assert EmbeddingStore(tmp_path / "s").digest_file(image) != digest


def test_threads_share_the_work_of_segments(tmp_path, recorder):
    from concurrent.futures import ThreadPoolExecutor

    compute = recorder(seconds=0.01)
    store = EmbeddingStore(tmp_path, segments=True, poll_seconds=0.01)
    keys = [str(i) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(store.get_or_compute, keys, compute, chunk_size=2)
            for _ in range(4)
        ]
        assert all(len(job.result()) == 12 for job in jobs)
    assert sorted(compute.asked) == sorted(keys)


def test_segments_that_cannot_be_written_are_kept_in_memory(tmp_path, recorder):
    (tmp_path / "segments").write_text("in the way")
    compute = recorder()
    store = EmbeddingStore(tmp_path, segments=True)
    with pytest.warns(StoreWarning, match="kept in memory"):
        found = store.get_or_compute(["1", "2"], compute)
    assert same(store.get_or_compute(["1", "2"], compute), found)
    assert compute.asked == ["1", "2"]
    assert store.info()["in_memory"]


def test_a_store_of_segments_is_pickled(tmp_path):
    import pickle

    store = pickle.loads(pickle.dumps(EmbeddingStore(tmp_path, segments=True)))
    assert store.segments
    store.put_many({"a": [1.0]})
    assert len(files(tmp_path / "segments")) == 1


# ---------------------------------------------------------------- refused locks

WORKER = """
import os, sys, time, warnings
import numpy as np
from skfusion.store.embedding_store import EmbeddingStore
warnings.simplefilter("always")
{patch}
folder, log, shard, n_keys = sys.argv[1], sys.argv[2], int(sys.argv[3]), 2_000
def compute(keys):
    with open(log, "a") as file:
        file.write("".join(f"{{key}}\\n" for key in keys))
    time.sleep(0.05)
    return {{key: np.full(4, float(key)) for key in keys}}
from skfusion.store import embedding_store
embedding_store.SEGMENT_SECONDS = 0.3
keys = [str(i) for i in range(n_keys) if i % 4 == shard]
found = EmbeddingStore(folder).get_or_compute(keys, compute, chunk_size=25)
assert all((found[key] == float(key)).all() for key in keys)
"""
WITHOUT_LOCKS = """
import sqlite3
from pathlib import Path
from skfusion.store import sqlite_file
def connect(target, uri=False):
    name = f"file:{target}?vfs=unix-none" if isinstance(target, Path) else target
    return sqlite3.connect(
        name, isolation_level=None, check_same_thread=False, uri=True
    )
sqlite_file._connect = connect
"""
PROTOCOL = """
import sqlite3
from pathlib import Path
from skfusion.store import sqlite_file
usual = sqlite_file._connect
def connect(target, uri=False):
    if isinstance(target, Path) or str(target).startswith("file:"):
        raise sqlite3.OperationalError("locking protocol")
    return usual(target, uri)
sqlite_file._connect = connect
"""
ENOLCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
static int forward(const char *name, int fd, int command, void *argument) {
    if (command == F_SETLK || command == F_SETLKW || command == F_GETLK) {
        errno = ENOLCK;
        return -1;
    }
    int (*next)(int, int, ...) = dlsym(RTLD_NEXT, name);
    return next(fd, command, argument);
}
int fcntl(int fd, int command, ...) {
    va_list list; va_start(list, command);
    void *argument = va_arg(list, void *); va_end(list);
    return forward("fcntl", fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    va_list list; va_start(list, command);
    void *argument = va_arg(list, void *); va_end(list);
    return forward("fcntl64", fd, command, argument);
}
"""


def refused(how: str, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """Code and environment of a process whose file system refuses locks."""
    if how == "without locks":
        return WITHOUT_LOCKS, {}
    if how == "protocol":
        return PROTOCOL, {}
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    source, library = tmp_path / "nolock.c", tmp_path / "nolock.so"
    source.write_text(ENOLCK)
    command = [compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return "", {"LD_PRELOAD": str(library)}


@pytest.mark.skipif(sys.platform != "linux", reason="needs locks of Linux")
@pytest.mark.parametrize(
    "how",
    [
        "protocol",
        pytest.param("without locks", marks=pytest.mark.slow),
        pytest.param("no lock", marks=pytest.mark.slow),
    ],
)
@pytest.mark.long
def test_killed_processes_without_locks_lose_nothing(tmp_path, how):
    patch, environment = refused(how, tmp_path)
    root = str(Path(module.__file__).parents[2])
    script = WORKER.format(patch=patch)
    folder = tmp_path / "s"
    command = [sys.executable, "-c", script]

    def start(shard: int) -> subprocess.Popen:
        return subprocess.Popen(
            [
                *command,
                folder,
                tmp_path / f"log{shard}",
                str(shard),
            ],
            env={**os.environ, "PYTHONPATH": root, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    workers = [start(shard) for shard in range(4)]
    for shard in (1, 2):
        deadline = time.monotonic() + 60
        while not (tmp_path / f"log{shard}").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.4)
        workers[shard].send_signal(signal.SIGKILL)
        workers[shard].communicate()
        workers[shard] = start(shard)
    for worker in workers:
        _, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
        assert err.count("StoreWarning: The file of the embedding store") == 1
    store = EmbeddingStore(folder)
    keys = [str(i) for i in range(2_000)]
    found = store.get_many(keys)
    assert list(found) == keys
    assert all((array == float(key)).all() for key, array in found.items())
    rows = sum(
        len(module.Segment.opened(path)[1]) for path in files(folder / "segments")
    )
    assert rows == 2_000  # no image twice, also not by the processes started again
    for shard in (0, 3):  # these were not killed
        log = (tmp_path / f"log{shard}").read_text().split()
        assert len(log) == len(set(log)) == 500


def test_locks_of_files_are_tried(tmp_path, monkeypatch):
    class Refusing:
        LOCK_EX, LOCK_NB = 2, 4

        def lockf(self, *args):
            raise OSError(37, "No locks available")

    monkeypatch.setattr(sqlite_file, "fcntl", Refusing())
    monkeypatch.setattr(sqlite3, "SQLITE_BUSY", -1)
    store = EmbeddingStore(tmp_path)
    with pytest.warns(StoreWarning, match="No locks available.*segments"):
        store.put_many({"a": [1.0]})
    assert store.info()["segments"] == 1
