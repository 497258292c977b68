"""Many callers: each key is computed once, whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from skfusion.store.embedding_store import EmbeddingStore

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX processes")


def names(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def arrays(keys: list[str]) -> dict[str, np.ndarray]:
    return {key: np.full((2, 2), float(key)) for key in keys}


def wait_for(path: Path, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.01)


def the_file(store: EmbeddingStore) -> Path:
    return next(store.path.glob("*.sqlite"))


# ---------------------------------------------------------------- many callers


def test_threads_share_the_work(tmp_path, recorder):
    compute = recorder(seconds=0.02)
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


@pytest.fixture
def run_many(launch, finish) -> Callable[[Path, Path, int], list[str]]:
    def run(signals: Path, folder: Path, n: int) -> list[str]:
        processes = [launch(MANY, signals, folder) for _ in range(n)]
        for process in processes:
            wait_for(signals / f"ready-{process.pid}")
        (signals / "go").touch()
        for process in processes:
            finish(process)
        return (signals / "log").read_text().split()

    return run


@pytest.mark.long
def test_processes_compute_each_key_exactly_once(tmp_path, run_many):
    log = run_many(tmp_path, tmp_path / "store", 5)
    assert Counter(log) == Counter(names(120))
    store = EmbeddingStore(tmp_path / "store")
    assert store.info()["computed"] == 120
    connection = sqlite3.connect(the_file(store))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT COUNT(*) FROM claims").fetchall() == [(0,)]
    connection.close()


@pytest.mark.slow
def test_processes_that_find_a_corrupt_file_replace_it_once(tmp_path, run_many):
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
@pytest.mark.long
def test_claims_of_a_killed_process_are_taken_over_at_once(
    tmp_path, monkeypatch, reaped, launch, recorder
):
    if not reaped and sys.platform != "linux":
        pytest.skip("only Linux tells a zombie")
    monkeypatch.setenv("LEASE", "600")
    process = launch(HOLD, tmp_path, tmp_path / "store")
    wait_for(tmp_path / "claimed")
    process.send_signal(signal.SIGKILL)
    if reaped:
        process.wait(timeout=30)
    else:
        time.sleep(0.3)
    compute = recorder()
    began = time.monotonic()
    store = EmbeddingStore(tmp_path / "store", poll_seconds=0.02)
    assert list(store.get_or_compute(names(20), compute)) == names(20)
    assert time.monotonic() - began < 20
    assert sorted(compute.asked) == sorted(names(20))


@posix
@pytest.mark.long
def test_claims_of_a_silent_process_are_taken_over_after_the_lease(
    tmp_path, monkeypatch, launch, recorder
):
    monkeypatch.setenv("LEASE", "1.5")
    process = launch(HOLD, tmp_path, tmp_path / "store")
    wait_for(tmp_path / "claimed")
    store = EmbeddingStore(tmp_path / "store", poll_seconds=0.02)
    process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert list(store.get_or_compute(["0"], recorder())) == ["0"]
    assert 0.4 < time.monotonic() - began < 20


@pytest.mark.slow
@posix
def test_a_slow_process_that_shows_life_keeps_its_claims(
    tmp_path, monkeypatch, launch, recorder
):
    monkeypatch.setenv("LEASE", "0.6")
    process = launch(HOLD, tmp_path, tmp_path / "store")
    wait_for(tmp_path / "claimed")
    compute = recorder()
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
@pytest.mark.long
def test_killed_writers_leave_a_sound_file(tmp_path, launch):
    script = """
    store = EmbeddingStore(folder)
    n = 0
    while True:
        five = {f"{os.getpid()}-{i}": np.full(600, i) for i in range(n, n + 5)}
        store.put_many(five)
        n += 5
        (signals / f"wrote-{os.getpid()}").touch()
    """
    processes = [launch(script, tmp_path, tmp_path / "store") for _ in range(3)]
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
@pytest.mark.long
def test_forks_of_a_process_that_is_using_the_store(tmp_path, launch, finish):
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
    out = finish(launch(script, tmp_path, tmp_path / "store"))
    assert out == "[0, 0, 0, 0]\n"
    log = (tmp_path / "log").read_text().split()
    assert Counter(log) == Counter(names(80)[2:])
    connection = sqlite3.connect(the_file(EmbeddingStore(tmp_path / "store")))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@posix
@pytest.mark.long
def test_a_parent_that_closes_does_not_cut_its_child_off(tmp_path, launch, finish):
    # sqlite's locks do not pass to a child: it must not go on with an open file
    script = """
    store = EmbeddingStore(folder)
    store.put_many(arrays(["0"]))
    child = os.fork()
    if child == 0:
        store.put_many(arrays(["1"]))
        (signals / "child-wrote").touch()
        wait_for("parent-closed")
        store.put_many(arrays(["2"]))
        os._exit(0)
    wait_for("child-wrote")
    store.close()
    (signals / "parent-closed").touch()
    os.waitpid(child, 0)
    print(list(store.get_many(["0", "1", "2"])))
    """
    out = finish(launch(script, tmp_path, tmp_path / "store"))
    assert out == "['0', '1', '2']\n"
