"""Damaged folders give what was written, or an error, and are written again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from damages import contents, damage
from pandas.testing import assert_frame_equal

from skfusion import EventStore, EventWindows
from skfusion.ehr.events import sealing
from skfusion.ehr.events.sealing import DamagedFolderError
from skfusion.ehr.windows.prepared import PreparedWindows

pytestmark = pytest.mark.filterwarnings("ignore:EventWindows. left out")
# A few damages by default, and 200 of each seed when asked for.
SAMPLES = [
    (0, 30),
    *(pytest.param(seed, 200, marks=pytest.mark.slow) for seed in range(9)),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


def table(seed=0, n=240):
    """Events of people, of the same size for every seed, so that files are too."""
    rng = np.random.default_rng(seed)
    people = np.repeat([f"person {i:02d}" for i in rng.permutation(24)], n // 24)
    time = pd.Timestamp("2023-01-01 00:10") + pd.to_timedelta(
        rng.integers(0, 40_000, n), unit="min"
    )
    return pd.DataFrame(
        {
            "subject_id": people,
            "time": time,
            "available_time": time + pd.Timedelta("2h"),
            "code": rng.permutation(np.repeat(["LAB//a", "LAB//b", "DX//c"], n // 3)),
            "numeric_value": rng.normal(size=n),
            "unit": rng.permutation(np.repeat(["g", "mg"], n // 2)),
        }
    )


def written(path, seed=0):
    """Write a store as the readers of sources do, with further files."""
    dropped = [("person", f"reason {seed}", 1, 1, 3)]
    how = {"stays": [stays(seed)]}
    return EventStore._from_source(iter([table(seed)]), path, dropped, **how)


def stays(seed=0):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2023-01-01") + pd.to_timedelta(
        rng.integers(0, 400, 24), unit="D"
    )
    return pd.DataFrame(
        {
            "stay_id": [f"stay {i:02d}" for i in rng.permutation(24)],
            "subject_id": [f"person {i:02d}" for i in rng.permutation(24)],
            "start": start,
            "end": start + pd.Timedelta("3D"),
            "died": rng.random(24) < 0.5,
        }
    )


def is_whole(folder, whole, manifest):
    """Return whether a folder has the content that it had, apart from times."""

    def plain(files):
        try:
            about = json.loads(files[manifest])
            digests = {name: found[3] for name, found in about.pop("files").items()}
            about.pop("seal")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return {**files, manifest: (about, digests)}

    return plain(contents(folder)) == plain(whole)


@contextlib.contextmanager
def documented(owner, found):
    """Count whether the body ends well or with the error for a damaged folder."""
    try:
        yield
        found["right"] += 1
    except (ValueError, FileNotFoundError) as error:
        if f"{owner}: got" not in str(error):
            raise
        found["refused"] += 1


@pytest.mark.parametrize(("seed", "n_damages"), SAMPLES)
@pytest.mark.long
def test_damages_of_a_store(seed, n_damages, tmp_path):
    rng = np.random.default_rng(seed)
    path = tmp_path / "store"
    store = written(path)
    shutil.copytree(path, tmp_path / "kept")
    written(tmp_path / "other", seed=1)
    shutil.copytree(
        written(tmp_path / "once", seed=2).path, tmp_path / "once, with its times"
    )
    others = [tmp_path / name for name in ("kept", "other", "once, with its times")]
    wanted, whole = store.to_frame(), contents(path)
    all_stays = store.stays()
    of_one = wanted[wanted["subject_id"] == "person 03"].reset_index(drop=True)
    found = {"right": 0, "refused": 0}
    for case in range(n_damages):
        what = damage(path, others, rng)
        harmless = is_whole(path, whole, "events.json")
        for open_store in (lambda: store, lambda: EventStore(path, store.fingerprint)):
            with documented("EventStore", found):
                opened = open_store()
                read = opened.to_frame(), opened.of_subjects(["person 03"])
                assert_frame_equal(read[0], wanted, obj=f"{case}: {what}")
                assert_frame_equal(read[1], of_one, obj=f"{case}: {what}")
                assert_frame_equal(opened.stays(), all_stays, obj=f"{case}: {what}")
                if case % 10 == 0:
                    opened.quality()
                assert harmless, what
        if not harmless:
            with pytest.raises((ValueError, FileNotFoundError), match=": got"):
                store.verify()
        healed = written(path)
        healed.verify()
        assert healed == store
        assert_frame_equal(store.to_frame(), wanted, obj=f"{case}: healed")
        whole = contents(path)
    assert found["refused"] > 1.5 * n_damages
    assert not list(tmp_path.glob(".writing-*"))


X = pd.DataFrame(
    {
        "subject_id": [f"person {i:02d}" for i in range(24)],
        "index_time": pd.Timestamp("2023-01-20"),
    }
)


@pytest.mark.parametrize(("seed", "n_damages"), SAMPLES)
def test_damages_of_prepared_features(seed, n_damages, tmp_path):
    rng = np.random.default_rng(seed)
    how = {"min_subjects": 1, "shared_subjects": "ignore"}
    windows = EventWindows(written(tmp_path / "store"), **how)
    other = EventWindows(written(tmp_path / "other store", seed=1), **how)
    path = tmp_path / "prepared"
    model = windows.prepare(X, path=path).fit(X)
    handle, fingerprint = model.events, model.events.fingerprint
    shutil.copytree(path, tmp_path / "kept")
    other.prepare(X, path=tmp_path / "other")
    others = [tmp_path / "kept", tmp_path / "other"]
    wanted, whole = model.transform(X), contents(path)
    found = {"right": 0, "refused": 0}
    for case in range(n_damages):
        what = damage(path, others, rng)
        harmless = is_whole(path, whole, "prepared.json")
        for events in (lambda: handle, lambda: PreparedWindows(path, fingerprint)):
            with documented("PreparedWindows", found):
                result = model.set_params(events=events()).transform(X)
                np.testing.assert_array_equal(result, wanted, f"{case}: {what}")
                assert harmless, what
        if not harmless:
            with pytest.raises((ValueError, FileNotFoundError), match=": got"):
                handle.verify()
        healed = windows.prepare(X, path=path)
        healed.events.verify()
        np.testing.assert_array_equal(model.transform(X), wanted)
        whole = contents(path)
    assert found["refused"] > 1.5 * n_damages


def test_a_process_that_mapped_damaged_files_reads_the_healed_ones(tmp_path):
    """The maps of a process stay those of the files that another one replaced."""
    path = tmp_path / "store"
    store = written(path)
    wanted = store.to_frame()
    shutil.copytree(path, tmp_path / "healed")
    with open(path / "value.bin", "r+b") as file:  # The file that is mapped.
        file.write(b"\x01" * 64)
    with pytest.raises(DamagedFolderError):
        store.to_frame()
    shutil.rmtree(path)
    os.rename(tmp_path / "healed", path)
    assert_frame_equal(store.to_frame(), wanted)


def test_times_that_were_set_back_are_noticed_without_reading(tmp_path, monkeypatch):
    store = written(tmp_path / "store")
    victim = store.path / "value.bin"
    state, content = victim.stat(), bytearray(victim.read_bytes())
    content[5] ^= 1
    victim.write_bytes(content)
    os.utime(victim, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(DamagedFolderError, match="changed since they were written"):
        store.to_frame()


@pytest.mark.parametrize(
    "name",
    ["words.json", "offset.bin", "dropped.json", "stays.bin", "stay_words.json"],
)
def test_rot_of_ids_words_and_counts_is_noticed_without_a_trace(
    name, tmp_path, monkeypatch
):
    """What a disk changes itself leaves no time behind."""
    store = written(tmp_path / "store")
    known = {path: sealing._stamp(path) for path in store.path.iterdir()}
    monkeypatch.setattr(sealing, "_stamp", known.get)
    content = bytearray((store.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (store.path / name).write_bytes(content)
    opened = EventStore(store.path, store.fingerprint)
    with pytest.raises(DamagedFolderError, match=f"damaged file {name}"):
        opened.stays() if "stay" in name else opened.quality()
    with pytest.raises(DamagedFolderError):
        opened.verify()


def test_what_was_left_out_is_of_the_last_reading(tmp_path):
    """The same events of another source replace the counts, and only together."""
    path = tmp_path / "store"
    one = EventStore._from_source(iter([table()]), path, [("a", "reason", 1, 1, 9)])
    assert one.files.dropped == [["a", "reason", 1, 1, 9]]
    two = EventStore._from_source(iter([table()]), path, [("b", "reason", 2, 1, 9)])
    assert two == one
    assert one.files.dropped == two.files.dropped == [["b", "reason", 2, 1, 9]]
    assert EventStore.from_frame(table(), path).files.dropped == two.files.dropped
    assert {p.name for p in tmp_path.iterdir()} <= {"store", "cache"}


@pytest.mark.parametrize("name", ["words.json", "value.bin"])
def test_a_file_of_the_user_is_no_damaged_store(name, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("keep me")
    with pytest.raises(ValueError, match="other content than events"):
        EventStore.from_frame(table(), tmp_path / "mine")
    assert (tmp_path / "mine" / name).read_text() == "keep me"


@pytest.mark.parametrize("kind", [EventStore, PreparedWindows])
@pytest.mark.parametrize("path", ["a\0b", "", b"folder", 3, None, ["store"]])
def test_what_is_no_path_is_said(kind, path):
    with pytest.raises((TypeError, ValueError), match=f"{kind.__name__}: path must be"):
        kind(path)


@pytest.mark.parametrize("path", ["a\0b", "", 3])
def test_what_is_no_path_to_write_is_said(path, tmp_path):
    with pytest.raises((TypeError, ValueError), match="EventStore: path must be"):
        EventStore.from_frame(table(), path)
    windows = EventWindows(EventStore.from_frame(table()), min_subjects=1)
    with pytest.raises((TypeError, ValueError), match="EventWindows: path must be"):
        windows.prepare(X, path=path)
