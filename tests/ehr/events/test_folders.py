"""Folders of events and features: integrity, healing, races, leftovers and pickles."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skfusion import EventStore, EventWindows
from skfusion.ehr import with_events
from skfusion.ehr.events import folders
from skfusion.store import working_folders


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def table(value=1.0):
    return pd.DataFrame(
        {
            "subject_id": [1, 2] * 10,
            "time": pd.date_range("2020-01-01 01:10", periods=20, freq="7h"),
            "code": ["A", "B"] * 10,
            "numeric_value": value,
        }
    )


X = pd.DataFrame({"subject_id": [1, 2], "index_time": pd.Timestamp("2020-02-01")})


def change(path, edit):
    """Change a file without changing its size and its times."""
    state = path.stat()
    path.write_bytes(edit(path.read_bytes()))
    assert path.stat().st_size == state.st_size
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def swap_words(content):
    words = json.loads(content)
    words["words"]["code"] = words["words"]["code"][::-1]
    return json.dumps(words).encode()


def flip(content):
    return bytes([content[0] ^ 1]) + content[1:]


def test_words_of_another_store_are_noticed():
    store = EventStore.from_frame(table())
    words = store.path / "words.json"
    words.write_bytes(swap_words(words.read_bytes()))
    with pytest.raises(ValueError, match="changed since they were written"):
        EventStore(store.path, store.fingerprint).of_subjects([1])
    again = EventStore.from_frame(table())
    assert set(again.of_subjects([1])["code"]) == {"A"}


@pytest.mark.parametrize(
    ("name", "edit"), [("words.json", swap_words), ("value.bin", flip)]
)
def test_damage_that_leaves_no_trace_is_found_on_request(name, edit, tmp_path):
    store = EventStore.from_frame(table(), tmp_path / "store")
    store.verify()
    change(store.path / name, edit)
    with pytest.raises(ValueError, match="changed since they were written"):
        store.verify()
    again = EventStore.from_frame(table(), tmp_path / "store")
    again.verify()
    assert set(again.of_subjects([1])["code"]) == {"A"}
    assert again.to_frame()["numeric_value"].eq(1).all()


def test_prepared_features_are_verified_and_written_again():
    windows = EventWindows(EventStore.from_frame(table()), min_subjects=1)
    prepared = windows.prepare(X)
    wanted = prepared.fit_transform(X)
    change(prepared.events.path / "value.npy", lambda b: b[:-1] + bytes([b[-1] ^ 1]))
    with pytest.raises(ValueError, match="changed since they were written"):
        prepared.events.verify()
    np.testing.assert_array_equal(windows.prepare(X).fit_transform(X), wanted)
    (prepared.events.path / "value.npy").unlink()
    with pytest.raises(ValueError, match="changed since they were written"):
        prepared.fit(X)
    np.testing.assert_array_equal(windows.prepare(X).fit_transform(X), wanted)


DAMAGES = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "object": lambda content: b"{}",
    "list": lambda content: b"[]",
    "binary": lambda content: b"\xff\xfe\x00",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["events.json", "words.json"])
def test_damaged_descriptions_are_said_and_heal(name, damage, tmp_path):
    path = tmp_path / "store"
    store = EventStore.from_frame(table(), path)
    file = path / name
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match=r"EventStore: got (a damaged file|files in)"):
        EventStore(path).to_frame()
    healed = EventStore.from_frame(table(), path)
    assert healed == store
    healed.verify()


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_descriptions_of_features_heal(damage):
    windows = EventWindows(EventStore.from_frame(table()), min_subjects=1)
    handle = windows.prepare(X).events
    file = handle.path / "prepared.json"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="PreparedWindows: got a damaged file"):
        type(handle)(handle.path)
    assert windows.prepare(X).events == handle
    handle.verify()


def test_a_folder_without_its_description_is_written_again(tmp_path):
    store = EventStore.from_frame(table(), tmp_path / "store")
    (store.path / "events.json").unlink()
    assert EventStore.from_frame(table(), tmp_path / "store") == store


@pytest.mark.parametrize("kind", ["events", "windows"])
def test_another_process_that_is_first_is_no_error(kind, monkeypatch, tmp_path):
    store = EventStore.from_frame(table())
    windows = EventWindows(store, min_subjects=1)
    target = tmp_path / "target"

    def write():
        if kind == "events":
            return EventStore.from_frame(table(), target)
        return windows.prepare(X, path=target).events

    real = folders.os.replace

    def other_first(source, place):
        monkeypatch.setattr(folders.os, "replace", real)
        write()
        return real(source, place)

    monkeypatch.setattr(folders.os, "replace", other_first)
    write().verify()
    assert os.listdir(target.parent).count("target") == 1
    assert not list(target.parent.glob(".writing-*"))


def test_another_process_with_other_events_is_an_error(monkeypatch, tmp_path):
    real = folders.os.replace

    def other_first(source, place):
        monkeypatch.setattr(folders.os, "replace", real)
        EventStore.from_frame(table(2.0), tmp_path / "store")
        return real(source, place)

    monkeypatch.setattr(folders.os, "replace", other_first)
    with pytest.raises(ValueError, match="already contains other events"):
        EventStore.from_frame(table(), tmp_path / "store")


@pytest.mark.parametrize("kind", ["events", "windows"])
def test_all_files_are_on_the_disk_before_the_folder_appears(
    kind, monkeypatch, tmp_path
):
    windows = EventWindows(EventStore.from_frame(table()), min_subjects=1)
    target, flushed, there = tmp_path / "target", [], []
    real = os.fsync

    def flush(number):
        flushed.append(os.fstat(number).st_ino)
        there.append(target.exists())
        real(number)

    monkeypatch.setattr(folders.os, "fsync", flush)
    if kind == "events":
        EventStore.from_frame(table(), target)
    else:
        windows.prepare(X, path=target)
    files = [path.stat().st_ino for path in (*target.iterdir(), target)]
    assert set(files) <= set(flushed[:-1])
    assert flushed[-1] == tmp_path.stat().st_ino
    assert there == [False] * len(files) + [True]


@pytest.mark.parametrize(("number", "is_fatal"), [("EIO", True), ("EINVAL", False)])
def test_an_error_of_the_disk_is_no_finished_store(
    number, is_fatal, monkeypatch, tmp_path
):
    """A second flush of the same file would succeed, although its data are lost."""
    failures = [OSError(getattr(errno, number), "failed")]
    real = os.fsync

    def fail_once(descriptor):
        if failures:
            raise failures.pop()
        real(descriptor)

    monkeypatch.setattr(folders.os, "fsync", fail_once)
    if is_fatal:
        with pytest.raises(OSError, match="failed"):
            EventStore.from_frame(table(), tmp_path / "store")
        assert not os.listdir(tmp_path)
    EventStore.from_frame(table(), tmp_path / "store").verify()


def dead_process():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def leftover(parent, owner, age):
    folder = parent / f".writing-{owner}-{'0' * 32}"
    folder.mkdir(parents=True)
    (folder / "value.bin").write_bytes(b"1234")
    for path in (folder / "value.bin", folder):
        os.utime(path, (time.time() - age,) * 2)
    return folder


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("host", ["0a1b2c3d", "0a1b2c3d.4e5f6a7b"])
def test_leftovers_of_processes_that_are_gone_are_removed(host, tmp_path, monkeypatch):
    monkeypatch.setattr(working_folders, "_host", lambda: host)
    parent = tmp_path / "cache" / "events"
    hour, month = 3600, 30 * 86_400
    gone = leftover(parent, f"{host}-{dead_process()}", hour)
    old = leftover(parent, "0" * 32, month)  # As earlier versions named them.
    fresh = leftover(parent, f"{host[:8]}.00000000-{dead_process()}", 0)
    alive = leftover(parent, f"{host}-{os.getpid()}", month)
    elsewhere = leftover(parent, f"ffffffff-{dead_process()}", hour)
    store = EventStore.from_frame(table())
    assert not gone.exists()
    assert not old.exists()
    assert fresh.exists()
    assert alive.exists()
    assert elsewhere.exists()
    assert leftover(
        parent.parent / "windows", f"{host}-{dead_process()}", hour
    ).exists()
    EventWindows(store, min_subjects=1).prepare(X)
    assert not list((parent.parent / "windows").glob(".writing-*"))


@pytest.mark.parametrize("step", ["is_symlink", "is_dir", "_is_own"])
def test_a_folder_may_vanish_while_leftovers_are_looked_for(
    step, tmp_path, monkeypatch
):
    folder = leftover(tmp_path, "0" * 32, 0)
    where = working_folders if step == "_is_own" else Path
    answer = getattr(where, step)

    def then_gone(path):
        found = answer(path)
        if path == folder:
            shutil.rmtree(folder)
        return found

    monkeypatch.setattr(where, step, then_gone)
    assert working_folders.remove_abandoned(tmp_path) <= 1
    assert not folder.exists()
    assert folders.folder_size(folder) == 0


# Pickles


def fitted(store):
    return EventWindows(store, min_subjects=1).fit(X)


def test_a_pickle_loads_without_its_store(tmp_path):
    store = EventStore.from_frame(table(), tmp_path / "store")
    windows = fitted(store)
    wanted, content = windows.transform(X), pickle.dumps(windows)
    shutil.move(store.path, tmp_path / "elsewhere")
    loaded = pickle.loads(content)
    assert "missing" in repr(loaded.events)
    assert clone(loaded).events is loaded.events
    with pytest.raises(FileNotFoundError, match=r"with_events\(model, store\)"):
        loaded.transform(X)
    moved = EventStore(tmp_path / "elsewhere", store.fingerprint)
    np.testing.assert_array_equal(with_events(loaded, moved).transform(X), wanted)
    again = pickle.loads(content)
    EventStore.from_frame(table(), tmp_path / "store")  # Not yet there when loaded.
    np.testing.assert_array_equal(again.transform(X), wanted)


def test_a_pickle_finds_its_store_in_another_cache(tmp_path, monkeypatch):
    windows = fitted(EventStore.from_frame(table()))
    wanted, content = windows.transform(X), pickle.dumps(windows)
    shutil.move(tmp_path / "cache", tmp_path / "other")
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "other"))
    np.testing.assert_array_equal(pickle.loads(content).transform(X), wanted)


def test_a_pickle_finds_its_store_at_its_relative_path(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    windows = fitted(EventStore.from_frame(table(), "store"))
    wanted, content = windows.transform(X), pickle.dumps(windows)
    shutil.move("store", tmp_path / "there" / "store")
    monkeypatch.chdir(tmp_path / "there")
    np.testing.assert_array_equal(pickle.loads(content).transform(X), wanted)


def test_other_events_at_the_path_of_a_pickle_are_refused(tmp_path):
    store = EventStore.from_frame(table(), tmp_path / "store")
    content = pickle.dumps(fitted(store))
    shutil.rmtree(store.path)
    EventStore.from_frame(table(2.0), tmp_path / "store")
    with pytest.raises(ValueError, match="do not match the fingerprint"):
        pickle.loads(content).transform(X)


def test_pickles_of_prepared_features_load_without_them(tmp_path):
    prepared = EventWindows(EventStore.from_frame(table()), min_subjects=1).prepare(X)
    content = pickle.dumps(prepared)
    shutil.rmtree(prepared.events.path)
    loaded = pickle.loads(content)
    assert "missing" in repr(loaded.events)
    with pytest.raises(FileNotFoundError, match="Prepare them again"):
        loaded.fit(X)


def test_a_link_to_an_empty_folder_is_a_place(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    store = EventStore.from_frame(table(), tmp_path / "link")
    assert (Path(tmp_path) / "real" / "events.json").exists()
    assert len(store.to_frame()) == 20
