"""What a process remembers of a store is what the store has, within bounds."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading

import numpy as np
import pytest
from PIL import Image

from skfusion.image.cells.volumes import Reading
from skfusion.image.embedding.lookup import look_up
from skfusion.store import (
    EmbeddingStore,
    remembered as remembered_module,
    sqlite_file,
    tables,
)
from skfusion.store.sqlite_file import _RECENT


def arrays(names, width=4):
    return {name: np.full(width, float(i)) for i, name in enumerate(names)}


@pytest.fixture
def no_reading(monkeypatch):
    """Return a function after which arrays are not read from the file."""

    def stop():
        def fail(*_, **__):
            raise AssertionError("read from the file")

        monkeypatch.setattr(tables, "select", fail)

    return stop


def elsewhere(store, statement, *values):
    """Change the file as another process does."""
    with sqlite3.connect(store._database.path) as connection:
        connection.execute(statement, values)
    connection.close()


def test_arrays_are_read_once_for_all_clones(tmp_path, no_reading):
    EmbeddingStore(tmp_path).put_many(arrays("ab"))
    first = EmbeddingStore(tmp_path).get_many(["a", "b", "c"])
    first["a"][:] = 9  # belongs to the caller
    again = pickle.loads(pickle.dumps(EmbeddingStore(tmp_path)))
    no_reading()
    found = again.get_many(["b", "a"])
    assert list(found) == ["b", "a"]
    np.testing.assert_array_equal(found["a"], np.zeros(4, np.float32))
    found["a"][:] = 9
    assert not again.get_many(["a"])["a"].any()
    with pytest.raises(AssertionError, match="read from the file"):
        again.get_many(["a", "d"])


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM arrays WHERE key = 'a'", ["b"]),
        ("DELETE FROM arrays", []),
        ("UPDATE usage SET used = 0", ["a", "b"]),
    ],
)
def test_changes_by_another_process_are_noticed(tmp_path, statement, expected):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("ab"))
    for _ in range(2):
        assert list(store.get_many("ab")) == ["a", "b"]
    elsewhere(store, statement)
    assert list(store.get_many("ab")) == expected


@pytest.mark.parametrize("is_before", [True, False])
def test_a_change_around_an_own_write_is_noticed(tmp_path, monkeypatch, is_before):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("ab"))
    assert list(store.get_many("ab")) == ["a", "b"]
    transact = sqlite_file._transact

    def raced(connection, operation):
        monkeypatch.setattr(sqlite_file, "_transact", transact)
        if is_before:
            elsewhere(store, "DELETE FROM arrays WHERE key = 'a'")
        result = transact(connection, operation)
        if not is_before:
            elsewhere(store, "DELETE FROM arrays WHERE key = 'a'")
        return result

    monkeypatch.setattr(sqlite_file, "_transact", raced)
    store.put_many(arrays("c"))
    assert list(store.get_many("abc")) == ["b", "c"]


@pytest.mark.parametrize("change", ["clear", "prune", "put_many"])
def test_what_a_thread_reads_during_a_change_is_not_remembered(
    tmp_path, monkeypatch, change
):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("a"))
    note_use = EmbeddingStore._note_use

    def changed(self, ids):  # between the reading and the remembering
        monkeypatch.setattr(EmbeddingStore, "_note_use", note_use)
        given = {"clear": (), "prune": (0,), "put_many": ({"a": [5.0]},)}[change]
        getattr(EmbeddingStore(tmp_path), change)(*given)

    monkeypatch.setattr(EmbeddingStore, "_note_use", changed)
    store.get_many("a")
    found = store.get_many("a")
    if change == "put_many":
        np.testing.assert_array_equal(found["a"], [5])
    else:
        assert found == {}


@pytest.mark.slow  # 8 s, a race of two processes
def test_processes_that_write_at_once_read_what_is_stored(tmp_path, launch, finish):
    folder = tmp_path / "store"
    other = launch(
        """
        store = EmbeddingStore(folder)
        place = signals / "number"
        for number in range(1, 2001):
            store.put_many({"k": [float(number)]})
            (signals / "part").write_text(str(number))
            os.replace(signals / "part", place)
        """,
        tmp_path,
        folder,
    )
    store, place, n_read, stale = EmbeddingStore(folder), tmp_path / "number", 0, 0
    while other.poll() is None:
        if not place.exists():
            continue
        least = int(place.read_text())
        stale += store.get_many(["k"])["k"][0] < least
        store.put_many({"own": [1.0]})
        n_read += 1
    finish(other)
    assert n_read > 100
    assert stale == 0


def test_damage_by_another_process_is_noticed(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("ab"))
    assert len(store.get_many("ab")) == 2
    elsewhere(store, "UPDATE arrays SET data = ? WHERE key = 'a'", b"\0" * 16 + b"x")
    with pytest.warns(UserWarning, match="1 damaged"):
        assert list(store.get_many("ab")) == ["b"]


def test_a_folder_that_was_removed_has_nothing(tmp_path):
    store = EmbeddingStore(tmp_path / "s")
    store.put_many(arrays("ab"))
    assert len(store.get_many("ab")) == 2
    for path in (tmp_path / "s").iterdir():
        path.unlink()
    assert store.get_many("ab") == {}


def test_own_changes_are_known(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("ab"))
    store.get_many("ab")
    store.put_many({"a": [7.0, 7.0]})
    np.testing.assert_array_equal(store.get_many(["a"])["a"], [7, 7])
    store.clear()
    assert store.get_many("ab") == {}


def test_repeated_uses_count_when_the_oldest_are_removed(tmp_path):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("abc"))
    for key in ("a", "b", "c", "a"):  # the last one is only remembered
        store.get_many([key])
    assert store.prune(32) == 1
    assert sorted(store.get_many("abc")) == ["a", "c"]


def test_repeated_uses_are_written_down_from_time_to_time(tmp_path, monkeypatch):
    store = EmbeddingStore(tmp_path)
    store.put_many(arrays("a"))
    noted = []
    note = tables.note_use
    monkeypatch.setattr(
        tables, "note_use", lambda c, ids: (noted.append(list(ids)), note(c, ids))
    )
    for _ in range(5):
        store.get_many(["a"])
    assert noted == [[1]]
    monkeypatch.setattr(remembered_module, "NOTE_SECONDS", 0)
    store.get_many(["a"])
    assert noted == [[1], [1]]


def test_arrays_and_digests_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered_module, "ARRAY_BYTES", 100)
    monkeypatch.setattr(remembered_module, "LARGEST", 40)
    monkeypatch.setattr(remembered_module, "N_DIGESTS", 3)
    store = EmbeddingStore(tmp_path)
    names = [f"k{i:02d}" for i in range(20)]
    store.put_many({**arrays(names), "large": np.zeros(11)})
    found = store.get_many([*names, "large"])
    assert len(found) == 21
    kept = store._database._remembered
    assert list(kept._arrays) == names[-6:]
    assert kept._n_bytes == 6 * 16
    for i in range(5):
        kept.add_digest(f"/{i}", "stamp", "digest")
    assert list(kept._digests) == ["/2", "/3", "/4"]
    kept.forget()
    assert kept._n_bytes == 0


def test_files_stay_open_between_stores_and_are_few(tmp_path, monkeypatch):
    n_opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *a, **k: (n_opened.append(1), connect(*a, **k))[1]
    )
    for _ in range(5):
        EmbeddingStore(tmp_path / "same").put_many(arrays("a"))
    assert len(n_opened) == 2  # the file, and the lock with which it is created
    databases = []
    for i in range(6):
        store = EmbeddingStore(tmp_path / str(i))
        store.put_many(arrays("a"))
        databases.append(store._database)
    assert len(_RECENT) <= 4
    assert databases[0] not in _RECENT
    assert databases[5] in _RECENT


def test_threads_remember_the_same(tmp_path):
    store = EmbeddingStore(tmp_path)
    names = [f"k{i}" for i in range(50)]
    store.put_many(arrays(names))
    wrong = []

    def read():
        for _ in range(20):
            found = store.get_many(names)
            wrong.extend(i for i, n in enumerate(names) if found[n][0] != i)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# digests of files


@pytest.fixture
def images(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SETTLING_SECONDS", 0)
    paths = []
    for i in range(4):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(np.full((4, 4), 40 * i, np.uint8)).save(paths[-1])
    return paths


def keys_of(cells, store):
    return list(look_up(cells, "f", store=store, reading=Reading()).rows_of.items())


def test_digests_are_remembered_until_a_file_changes(tmp_path, images, monkeypatch):
    store = EmbeddingStore(tmp_path / "s")
    assert store.remembered_digests(images) == [None] * 4
    wanted = [store.digest_file(path) for path in images]
    again = EmbeddingStore(tmp_path / "s")
    assert again.remembered_digests(map(str, images)) == wanted
    monkeypatch.chdir(tmp_path)
    assert again.remembered_digests(["1.png", "none.png", ""]) == [
        wanted[1],
        None,
        None,
    ]
    images[1].write_bytes(b"other bytes")
    images[2].unlink()
    assert again.remembered_digests(images) == [wanted[0], None, None, wanted[3]]
    assert again.digest_file(images[1]) != wanted[1]
    again.clear()
    assert again.remembered_digests(images) == [None] * 4


def test_a_file_that_may_change_unnoticed_is_not_remembered(tmp_path):
    store = EmbeddingStore(tmp_path / "s")
    (tmp_path / "new.png").write_bytes(b"bytes")
    store.digest_file(tmp_path / "new.png")
    assert store.remembered_digests([tmp_path / "new.png"]) == [None]


@pytest.mark.parametrize("kind", [str, lambda path: path, os.fspath])
def test_keys_are_in_the_order_of_the_rows(tmp_path, images, kind):
    cells = [kind(path) for path in images]
    cells += [np.zeros((3, 3), np.uint8), None, cells[1]]
    wanted = keys_of(cells, EmbeddingStore(tmp_path / "one"))
    store = EmbeddingStore(tmp_path / "two")
    keys_of([cells[3], cells[1]], store)  # these are remembered
    assert keys_of(cells, store) == wanted
    assert [rows for _, rows in wanted] == [[0], [1, 6], [2], [3], [4]]
    assert keys_of(cells, None) == wanted


def test_no_thread_is_started_for_one_job(tmp_path, images, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a thread")

    from skfusion.image.cells import column

    monkeypatch.setattr(column, "ThreadPoolExecutor", fail)
    store = EmbeddingStore(tmp_path / "s")
    assert len(keys_of(images, store)) == 4
    found = look_up(
        [*images, str(tmp_path / "none.png")],
        "f",
        store=store,
        reading=Reading(),
        on_error="missing",
    )
    assert list(found.images.failures) == [4]
