"""Arrays go into a matrix as they become known, and are not kept besides."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

from skfusion.store import remembered, rows as rows_module
from skfusion.store.embedding_store import EmbeddingStore, missing_from
from skfusion.store.rows import Rows, portions


def arrays(keys) -> dict[str, np.ndarray]:
    return {key: np.full(3, float(key), np.float32) for key in keys}


@pytest.fixture
def few(monkeypatch):
    """Two keys at a time; returns how many keys each look-up asks for."""
    monkeypatch.setattr(rows_module, "KEYS_AT_A_TIME", 2)
    asked, look_up = [], EmbeddingStore.get_many

    def get_many(self, keys):
        asked.append(len(list(keys)))
        return look_up(self, keys)

    monkeypatch.setattr(EmbeddingStore, "get_many", get_many)
    return asked


def test_rows_without_an_array_are_nan():
    rows = Rows(4, {"1": [3], "2": (0, 2)})
    rows.receive(arrays(["2"]))
    rows.receive({})
    found = rows.filled(lambda: (9,))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[[0, 2]], np.full((2, 3), 2.0))
    assert np.isnan(found[[1, 3]]).all()
    assert rows.filled(lambda: (9,)) is found
    assert Rows(2, {}).filled(lambda: (2, 5)).shape == (2, 2, 5)


def test_arrays_are_copied():
    rows, array = Rows(1, {"1": [0]}), np.ones(2)
    rows.receive({"1": array})
    array[:] = 7
    assert rows.filled(tuple).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("n_stored", [5, 4, 0])
def test_reading_looks_up_few_keys_at_a_time(tmp_path, few, n_stored):
    store, keys = EmbeddingStore(tmp_path), list("12345")
    store.put_many(arrays(keys[:n_stored]))
    rows = Rows(6, {key: [int(key)] for key in keys})
    assert rows.read(store) is (n_stored == 5)
    assert max(few) == 2
    if n_stored == 5:
        found = rows.filled(tuple)
        np.testing.assert_array_equal(found[1:, 0], [1, 2, 3, 4, 5])
        assert np.isnan(found[0]).all()


def test_portions_of_any_iterable(few):
    assert list(portions(iter("abcde"))) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(portions([])) == []


@pytest.mark.parametrize("has_store", [True, False])
def test_what_is_received_is_not_kept(tmp_path, few, has_store):
    store = EmbeddingStore(tmp_path) if has_store else None
    if store is not None:
        store.put_many(arrays("25"))
    received: list[str] = []
    with missing_from(store, list("12345"), chunk_size=2, receive=received.extend) as w:
        assert received == (["2", "5"] if has_store else [])
        assert w.missing == (list("134") if has_store else list("12345"))
        for keys in w:
            for key in keys:
                w.collect(arrays([key]))
        assert w.found == {}
    assert sorted(received) == list("12345")
    if store is not None:
        assert sorted(store.get_many(list("12345"))) == list("12345")
        assert max(few[:-1]) == 2


def test_collected_results_of_a_broken_chunk_are_not_stored(tmp_path):
    store = EmbeddingStore(tmp_path)
    received: list[str] = []

    def broken():
        with store.missing(list("123"), chunk_size=2, receive=received.extend) as work:
            for keys in work:
                work.collect(arrays(keys[:1]))
                if "3" in keys:
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list(store.get_many(list("123"))) == ["1"]
    assert received == ["1"]


def test_what_others_compute_is_received(tmp_path, few):
    store, keys = EmbeddingStore(tmp_path, poll_seconds=0.01), list("1234")
    received: list[str] = []
    leased, go_on = threading.Event(), threading.Event()

    def other():
        with EmbeddingStore(tmp_path).missing(keys, chunk_size=3) as work:
            for chunk in work:
                leased.set()
                go_on.wait(10)
                work.put(arrays(chunk))

    thread = threading.Thread(target=other)
    thread.start()
    assert leased.wait(10)
    with store.missing(keys, chunk_size=3, receive=received.extend) as work:
        for chunk in work:
            assert chunk == ["4"]
            work.put(arrays(chunk))
            go_on.set()
    thread.join()
    assert sorted(received) == keys
    assert received[0] == "4"


def test_the_memory_is_that_of_the_matrix(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "ARRAY_BYTES", 0)
    store, n_keys, width = EmbeddingStore(tmp_path), 16_000, 256
    keys = [str(number) for number in range(n_keys)]
    for start in range(0, n_keys, 1000):
        part = keys[start : start + 1000]
        store.put_many(dict.fromkeys(part, np.ones(width, np.float32)))
    rows = Rows(n_keys, {key: [int(key)] for key in keys})
    tracemalloc.start()
    try:
        assert rows.read(store)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    matrix = rows.filled(tuple)
    assert matrix.nbytes == 4 * n_keys * width
    assert peak < 1.5 * matrix.nbytes
