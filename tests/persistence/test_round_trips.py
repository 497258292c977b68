"""Saved and loaded models predict the same, in another process and place."""

from __future__ import annotations

import io
import pickle
import pickletools
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("skops", reason="the extra persistence is not installed")
pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("xgboost", reason="the extra xgboost is not installed")

from saved_models import makers, predictions, table  # noqa: E402

import skfusion  # noqa: E402

HELPERS = Path(__file__).parents[1] / "helpers"
LOADING = """
import socket, sys
from pathlib import Path
import numpy as np

def refuse(*_, **__):
    raise OSError("no network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
sys.path.insert(0, {helpers!r})
from saved_models import predictions, table
import skfusion

folder = Path({folder!r})
found = {{}}
for path in sorted(folder.glob("*.skfusion")):
    model = skfusion.load(path, store=[folder / "embeddings", folder / "events"])
    found[path.stem] = predictions(model, table())
np.savez(folder / "found.npz", **found)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of the files, and the predictions of the fitted models."""
    folder = tmp_path_factory.mktemp("saved")
    X = table()
    expected = {}
    for name, fit in makers(folder).items():
        model = fit()
        description = skfusion.save(model, folder / f"{name}.skfusion")
        assert description.untrusted == []
        assert description.problems == []
        expected[name] = predictions(model, X)
    return folder, expected


def test_fresh_process_elsewhere_without_network_predicts_the_same_bits(
    saved, tmp_path, monkeypatch
):
    folder, expected = saved
    there = tmp_path / "elsewhere"
    there.mkdir()
    for path in folder.glob("*.skfusion"):
        shutil.copy(path, there)
    shutil.copytree(folder / "events", there / "events")
    # The embeddings are computed again.
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    code = LOADING.format(helpers=str(HELPERS), folder=str(there))
    hidden = folder.rename(folder.with_name("hidden"))
    try:
        subprocess.run([sys.executable, "-c", code], check=True)
    finally:
        hidden.rename(folder)
    found = np.load(there / "found.npz")
    assert set(found.files) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


# Text is no pickle, and has escapes that the parser of pickles warns of.
@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
def test_no_part_of_a_file_is_a_pickle(saved):
    folder, _ = saved
    seen = 0
    for path in folder.glob("*.skfusion"):
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        graph = io.BytesIO(parts["estimator.skops"])
        with zipfile.ZipFile(graph) as archive:
            parts |= {name: archive.read(name) for name in archive.namelist()}
        for name, content in parts.items():
            seen += 1
            assert not is_pickle(content), (path.name, name)
            if name.endswith(".npy"):
                np.load(io.BytesIO(content), allow_pickle=False)
    assert seen > 100


def is_pickle(content: bytes) -> bool:
    """Whether all of the bytes, up to a STOP at the end, are opcodes of pickle."""
    try:
        last = [code for code, _, _ in pickletools.genops(content)][-1]
    except (ValueError, IndexError, UnicodeDecodeError):
        return False
    return last.name == "STOP" and content.endswith(b".")


def test_scan_for_pickles_finds_one():
    assert is_pickle(pickle.dumps({"a": [1.5, None]}))
    assert is_pickle(pickle.dumps(np.arange(3), protocol=0))


def test_files_contain_no_path_and_no_digest_of_a_patient(saved):
    folder, _ = saved
    for path in folder.glob("*.skfusion"):
        content = path.read_bytes()
        assert str(folder).encode() not in content
    for name in ("early", "early_images", "joint_images"):
        model = skfusion.load(folder / f"{name}.skfusion")
        assert model.training_rows(table()) is None
        described = skfusion.inspect_model(folder / f"{name}.skfusion")
        assert described.training == {"n_rows": len(table())}


def test_same_model_gives_the_same_file(saved, tmp_path):
    folder, _ = saved
    for name in ("late_stacked", "joint_survival"):
        path = folder / f"{name}.skfusion"
        first = skfusion.inspect_model(path).sha256
        again = skfusion.save(skfusion.load(path), tmp_path / "again.skfusion")
        once_more = skfusion.save(
            skfusion.load(tmp_path / "again.skfusion"), tmp_path / "more.skfusion"
        )
        assert once_more.sha256 == again.sha256
        assert len(first) == 64


def test_description_needs_no_store_and_no_weights(saved, monkeypatch):
    folder, _ = saved
    monkeypatch.setenv("SKFUSION_CACHE", str(folder / "no_cache"))
    described = skfusion.inspect_model(folder / "joint_images.skfusion")
    assert described.kind == "skfusion.fusion.JointFusionClassifier"
    assert described.task == "classes"
    assert described.classes == [0, 1]
    kinds = {entry["name"]: entry["kind"] for entry in described.columns}
    assert kinds == {
        "scan": "image",
        "subject_id": "event key",
        "index_time": "event key",
    }
    assert {store["kind"] for store in described.stores} == {"embeddings", "EventStore"}
    assert described.encoders[0]["name"] == "efficientnet_lite0"
    assert described.encoders[0]["embedded"] is False
    assert "efficientnet_lite0" in str(described)
    assert not (folder / "no_cache").exists()


def test_a_model_without_its_events_says_how_to_give_them(saved, tmp_path, monkeypatch):
    folder, expected = saved
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))
    model = skfusion.load(folder / "early_images.skfusion", store=tmp_path)
    assert "missing" in repr(model.modalities[1][1].events)
    with pytest.raises(FileNotFoundError):
        model.predict_proba(table())
    store = skfusion.EventStore(folder / "events")
    with_events = skfusion.ehr.with_events(model, store)
    found = with_events.predict_proba(table())
    np.testing.assert_array_equal(found, expected["early_images"])
    # A parent folder, and the environment variable.
    monkeypatch.setenv("SKFUSION_STORES", str(folder))
    model = skfusion.load(folder / "early_images.skfusion")
    np.testing.assert_array_equal(
        model.predict_proba(table()), expected["early_images"]
    )


def test_stores_of_another_fingerprint_are_not_taken(saved, tmp_path):
    folder, _ = saved
    other = skfusion.EventStore.from_frame(
        pd.DataFrame(
            {"subject_id": [1], "time": [pd.Timestamp("2026-01-01")], "code": "A"}
        ),
        tmp_path / "other",
    )
    model = skfusion.load(folder / "early_images.skfusion", store=other)
    assert "missing" in repr(model.modalities[1][1].events)
    # A damaged store beside the right one does not prevent that it is found.
    Path(other.path, "events.json").write_text("{}", encoding="utf-8")
    shutil.copytree(folder / "events", tmp_path / "right")
    model = skfusion.load(folder / "early_images.skfusion", store=tmp_path)
    assert "missing" not in repr(model.modalities[1][1].events)


def test_new_file_replaces_the_old_one_only_when_complete(saved, tmp_path, monkeypatch):
    folder, _ = saved
    path = tmp_path / "model.skfusion"
    model = skfusion.load(folder / "late.skfusion")
    skfusion.save(model, path)
    before = path.read_bytes()
    model.forgotten_ = lambda: None
    with pytest.raises(skfusion.persistence.ModelFileError, match="forgotten_.*lambda"):
        skfusion.save(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o077 == 0
