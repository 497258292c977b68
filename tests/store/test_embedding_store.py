"""The store for one caller: what is kept, who may see it, how it is copied."""

from __future__ import annotations

import copy
import os
import pickle
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer

from skfusion._paths import FileReadError
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.read import content_digest
from skfusion.store import tables
from skfusion.store.embedding_store import (
    EmbeddingStore,
    default_store_path,
    missing_from,
    resolve_store,
)
from skfusion.store.tables import SETTLING_SECONDS

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def arrays(keys: list[str]) -> dict[str, np.ndarray]:
    return {key: np.full((2, 2), float(key)) for key in keys}


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
        "segments": 0,
        "in_memory": False,
    }


def test_more_keys_than_one_statement_takes(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays(names(2500)))
    found = store.get_many(reversed(names(2500)))
    assert list(found) == names(2500)[::-1]
    assert all(found[key][0, 0] == float(key) for key in found)


def test_each_key_is_computed_once_in_chunks(tmp_path, recorder):
    store, compute = EmbeddingStore(tmp_path), recorder()
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


def test_missing_gives_out_chunks_of_what_is_not_stored(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays(["1"]))
    chunks = []
    with store.missing(names(6), chunk_size=2) as work:
        assert work.missing == ["0", "2", "3", "4", "5"]
        assert list(work.found) == ["1"]
        for keys in work:
            chunks.append(keys)
            work.put(arrays(keys))
    assert chunks == [["0", "2"], ["3", "4"], ["5"]]
    assert sorted(work.found) == names(6)
    with store.missing(names(6)) as work:
        assert work.missing == list(work) == []
    assert store.info()["computed"] == 6


def test_a_chunk_that_is_not_put_counts_as_failed(tmp_path):
    store = EmbeddingStore(tmp_path)
    with store.missing(names(4), chunk_size=2) as work:
        for keys in work:
            if "0" not in keys:
                work.put(arrays(keys))
    assert sorted(work.found) == ["2", "3"]
    with store.missing(names(4)) as work:
        assert work.missing == ["0", "1"]


def test_leaving_the_loop_early_gives_the_leases_up(tmp_path, recorder):
    store = EmbeddingStore(tmp_path, lease_seconds=60)
    with store.missing(names(4), chunk_size=2) as work:
        for _ in work:
            break
    began = time.monotonic()
    assert len(store.get_or_compute(names(4), recorder())) == 4
    assert time.monotonic() - began < 10


def test_without_a_store_all_is_missing_and_comes_in_one_chunk():
    with missing_from(None, names(3), chunk_size=1) as work:
        for keys in work:
            assert keys == names(3)
            work.put(arrays(keys))
    assert list(work.found) == names(3)


def test_an_exception_gives_the_leases_up(tmp_path, recorder):
    store = EmbeddingStore(tmp_path, lease_seconds=60)

    def fail(keys):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.get_or_compute(names(3), fail)
    began = time.monotonic()
    assert len(store.get_or_compute(names(3), recorder())) == 3
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("result", "error", "match"),
    [
        ({"0": [1.0], "x": [1.0]}, ValueError, "returned 1 unknown keys"),
        ([[1.0]], TypeError, "must return a mapping"),
        ({"0": ["text"]}, TypeError, "numeric arrays, got dtype <U4"),
        ({"0": [1j]}, TypeError, "numeric arrays, got dtype complex128"),
    ],
)
def test_wrong_results_of_compute(tmp_path, result, error, match, recorder):
    store = EmbeddingStore(tmp_path)
    with pytest.raises(error, match=match):
        store.get_or_compute(["0"], lambda keys: result)
    assert store.info()["entries"] == 0
    assert len(store.get_or_compute(["0"], recorder())) == 1  # nothing stays claimed


def test_wrong_arguments(tmp_path, recorder):
    store = EmbeddingStore(tmp_path)
    with pytest.raises(TypeError, match="Keys of the store must be str, got int"):
        store.get_many([1])
    with pytest.raises(
        ValueError, match="chunk_size must be an integer of 1 or more, got 0"
    ):
        store.get_or_compute(["a"], recorder(), chunk_size=0)
    with pytest.raises(
        ValueError, match="max_bytes must be a number of 0 or more, got -1"
    ):
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
    with pytest.raises(FileReadError, match="The file does not exist"):
        store.digest_file(image)
    with pytest.raises(ImageReadError, match="The image file does not exist"):
        content_digest(image, store.digest_file)


class Times:
    """What os.stat answers, with other times."""

    def __init__(self, found: os.stat_result, times: Callable[[int], int]) -> None:
        self.found, self.times = found, times

    def __getattr__(self, name: str) -> int:
        value = getattr(self.found, name)
        return self.times(value) if name in ("st_mtime_ns", "st_ctime_ns") else value


def with_times(monkeypatch, times):
    stat = os.stat
    fake = SimpleNamespace(**vars(os))
    fake.stat = lambda path: Times(stat(path), times)
    monkeypatch.setattr(tables, "os", fake)


def test_two_changes_within_one_tick_of_the_clock_are_noticed(tmp_path, monkeypatch):
    """Times in whole seconds, as on ext2, FAT, HFS+ and some network disks."""
    with_times(monkeypatch, lambda t: t // 10**9 * 10**9)
    store, image = EmbeddingStore(tmp_path / "s"), tmp_path / "image"
    for number in range(20):
        for half in (b"a", b"b"):
            image.write_bytes(half * (number + 1))
            assert store.digest_file(image) == content_digest(half * (number + 1))


def test_another_file_of_the_same_times_is_noticed(tmp_path, monkeypatch):
    with_times(monkeypatch, lambda t: 10**18)  # of 2001
    store, image, other = EmbeddingStore(tmp_path / "s"), tmp_path / "a", tmp_path / "b"
    image.write_bytes(b"one")
    other.write_bytes(b"two")
    assert store.digest_file(image) == content_digest(b"one")
    os.replace(other, image)
    assert store.digest_file(image) == content_digest(b"two")


def test_files_are_settled_some_seconds_after_a_change():
    now = time.time_ns()
    old, new, future = (
        f"1 2 {now - int(seconds * 1e9)} {now - 10**12} 3" for seconds in (3, 1, -60)
    )
    assert [tables.is_settled(stamp) for stamp in (old, new, future, "")] == [
        *(True, False, False, False)
    ]


@pytest.mark.long
def test_unchanged_files_are_not_opened_again(tmp_path, launch, finish):
    image = tmp_path / "image.png"
    image.write_bytes(b"bytes of an image")
    time.sleep(SETTLING_SECONDS)  # the times of a file cannot all be set
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
    outputs = [finish(launch(script, tmp_path, tmp_path / "s")) for _ in range(2)]
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


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"path": ""}, "path is empty"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"lease_seconds": float("nan")}, "lease_seconds"),
        ({"poll_seconds": -1}, "poll_seconds"),
    ],
)
def test_parameters_of_a_store_are_checked(tmp_path, how, message):
    with pytest.raises(ValueError, match=f"EmbeddingStore: .*{message}"):
        EmbeddingStore(**{"path": tmp_path, **how})
