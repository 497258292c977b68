"""Files of models on other machines: paths, disks, devices, packages and dtypes."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import signal
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.preprocessing import FunctionTransformer

pytest.importorskip("skops", reason="the extra persistence is not installed")

from changed_files import Parts, with_graph  # noqa: E402

import skfusion  # noqa: E402
from skfusion.exceptions import DataWarning, FallbackWarning  # noqa: E402
from skfusion.persistence import ModelFileError  # noqa: E402


def holding(value):
    """The smallest model that holds a value."""
    return FunctionTransformer(kw_args={"value": value}).fit([[1.0]])


def late(X, **parameters):
    return skfusion.LateFusionClassifier(
        [("lab", "passthrough", ["a"]), ("who", skfusion.TabularEncoder(), ["b"])],
        random_state=0,
        **parameters,
    ).fit(X, np.arange(len(X)) % 2)


@pytest.fixture(scope="module")
def numbers():
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.integers(0, 9, 40), "b": rng.integers(0, 99, 40)})


# -- paths ----------------------------------------------------------------------------


@pytest.mark.parametrize("function", [skfusion.load, skfusion.inspect_model])
def test_what_is_no_path_of_a_file_is_refused_in_words(function, tmp_path):
    path = tmp_path / "modèle — 1.skfusion"
    skfusion.save(holding(1), str(path))
    name = function.__name__
    for wrong, words in [
        (os.fsencode(path), f"{name}: path must be a str or a Path, got bytes"),
        (path.read_bytes(), "Decode the path with os.fsdecode"),
        (io.BytesIO(path.read_bytes()), "got BytesIO. Pass the path of the file"),
        (None, "got NoneType"),
    ]:
        with pytest.raises(TypeError, match=words):
            function(wrong)
    for wrong, words in [("", "path is empty"), ("a\0b", "null character")]:
        with pytest.raises(ValueError, match=f"{name}: the path .*{words}|{words}"):
            function(wrong)
    with pytest.raises(ModelFileError, match="device or pipe"):
        function(os.devnull)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="device or pipe"):
        function(tmp_path / "pipe")  # nobody would ever write to it
    assert function(path) is not None


def test_places_that_cannot_be_written(tmp_path):
    model = holding(1)
    for wrong, words in [
        (b"model.skfusion", "save: path must be a str or a Path, got bytes"),
        (io.BytesIO(), "save: path must be .* got BytesIO"),
    ]:
        with pytest.raises(TypeError, match=words):
            skfusion.save(model, wrong)
    with pytest.raises(ModelFileError, match="device or pipe"):
        skfusion.save(model, os.devnull)
    if os.getuid():  # nothing is protected against root
        (tmp_path / "folder").mkdir(mode=0o500)
        with pytest.raises(PermissionError, match="cannot be written") as refused:
            skfusion.save(model, tmp_path / "folder" / "model.skfusion")
        assert str(tmp_path) not in str(refused.value)


def test_a_protected_file_or_folder_is_refused(tmp_path, monkeypatch):
    """As on a share: the operating system refuses, whoever runs the tests."""
    path = tmp_path / "model.skfusion"
    skfusion.save(holding(1), path)
    before = path.read_bytes()
    monkeypatch.setattr("skfusion._paths.os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="protected against writing"):
        skfusion.save(holding(2), path)
    monkeypatch.undo()

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("skfusion._paths.os.open", refuse)
    with pytest.raises(PermissionError, match="cannot be written .Perm") as refused:
        skfusion.save(holding(2), path)
    assert str(tmp_path) not in str(refused.value)
    monkeypatch.undo()
    assert path.read_bytes() == before
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match="cannot be read .Perm") as refused:
        skfusion.load(path)
    assert str(tmp_path) not in str(refused.value)


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.skfusion"
    skfusion.save(holding(1), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match="What was there is unchanged"):
            skfusion.save(holding(np.zeros(10_000)), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_replaced_file_keeps_its_link_and_its_permissions(tmp_path):
    (tmp_path / "v1.skfusion").write_bytes(b"old")
    (tmp_path / "v1.skfusion").chmod(0o640)
    (tmp_path / "current").symlink_to("v1.skfusion")
    skfusion.save(holding(1), tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert (tmp_path / "v1.skfusion").stat().st_mode & 0o777 == 0o640
    skfusion.load(tmp_path / "v1.skfusion")
    skfusion.save(holding(1), tmp_path / "new.skfusion")
    assert (tmp_path / "new.skfusion").stat().st_mode & 0o777 == 0o600


def test_models_are_saved_and_loaded_in_threads(tmp_path):
    failures = []

    def work(number):
        path = tmp_path / f"{number % 3}.skfusion"
        for _ in range(5):
            skfusion.save(holding(number % 3), path)
            found = skfusion.load(path).kw_args["value"]
            if found != number % 3:
                failures.append(found)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(os.listdir(tmp_path)) == 3


# -- limits ---------------------------------------------------------------------------


def test_too_many_parts_are_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "model.skfusion"
    model = holding([np.full(1, i) for i in range(30)])
    with pytest.raises(ModelFileError, match=r"save: the model has \d+ parts, more"):
        skfusion.save(model, path, max_members=20)
    assert not path.exists()
    skfusion.save(model, path, max_members=40)
    for function in (skfusion.load, skfusion.inspect_model):
        with pytest.raises(ModelFileError, match="more than max_members=20"):
            function(path, max_members=20)
        function(path, max_members=40)
    with pytest.raises(ValueError, match="save: max_members must be an integer"):
        skfusion.save(model, path, max_members="many")


def test_sparse_matrices_of_endless_axes_are_refused(tmp_path):
    endless = sparse.coo_array(([1.0], ([0], [2**40])), shape=(2, 2**41))
    with pytest.raises(
        ModelFileError, match="save: .*at kw_args.*: a sparse matrix has"
    ):
        skfusion.save(holding(endless), tmp_path / "model.skfusion")


# -- damaged content ------------------------------------------------------------------


def array_changed(change):
    """Change the first array of a graph for which `change` returns another one."""

    def changed(inner: Parts, schema: dict) -> None:
        for name, part in inner.items():
            if name.endswith(".npy"):
                array = change(np.load(io.BytesIO(part)))
                if array is not None:
                    buffer = io.BytesIO()
                    np.save(buffer, array)
                    inner[name] = buffer.getvalue()
                    return
        raise AssertionError

    return changed


def text_changed(old, new):
    def changed(inner: Parts, schema: dict) -> None:
        nodes = [schema]
        for node in nodes:
            if isinstance(node, dict):
                if node.get("content") == json.dumps(old):
                    node["content"] = json.dumps(new)
                    return
                nodes += node.values()
            elif isinstance(node, list):
                nodes += node
        raise AssertionError

    return changed


LABELS = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
DAMAGES = {
    "indices of a sparse matrix": (
        sparse.csr_matrix(np.eye(3)),
        array_changed(lambda a: a + 7 if a.dtype == np.int32 and len(a) == 3 else None),
    ),
    "sizes of a sparse matrix": (
        sparse.csc_array(np.eye(3)),
        array_changed(lambda a: a[:1] if a.dtype == float else None),
    ),
    "shape of a sparse matrix": (sparse.csr_array(np.eye(3)), text_changed(3, 2**63)),
    "endless sparse matrix": (sparse.csc_array(np.eye(3)), text_changed(3, 2**50)),
    "mask": (
        np.ma.MaskedArray([1.0, 2.0], [0, 1]),
        array_changed(lambda a: a[:0] if a.dtype == bool else None),
    ),
    "levels": (
        pd.Series([1, 2], LABELS),
        array_changed(lambda a: a[:0] if a.dtype == np.int64 else None),
    ),
    "codes": (
        pd.Series(pd.Categorical(["x", "y"])),
        array_changed(lambda a: a + 9 if a.dtype == np.int8 else None),
    ),
    "frequency": (pd.date_range("2026", periods=3), text_changed("D", "int64")),
    "time": (pd.Timedelta("3h").as_unit("us"), text_changed(10_800_000_000, "later")),
    "time zone": (
        pd.Timestamp("2026-01-01", tz="Europe/Berlin"),
        text_changed("Europe/Berlin", "Europe/Nowhere"),
    ),
    "dtype": (np.dtype("float32"), text_changed("float32", "float33")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_values_are_refused_as_a_damaged_file(damage, tmp_path):
    value, change = DAMAGES[damage]
    path = tmp_path / "model.skfusion"
    skfusion.save(holding(value), path)
    path.write_bytes(with_graph(path.read_bytes(), change))
    with pytest.raises(ModelFileError, match=r"the file is refused: .*"):
        skfusion.load(path)


def test_damaged_tensors_are_refused_as_a_damaged_file(tmp_path):
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    path = tmp_path / "model.skfusion"
    skfusion.save(holding(torch.ones(2, 3)), path)

    path.write_bytes(with_graph(path.read_bytes(), text_changed("00000", "00009")))
    with pytest.raises(ModelFileError, match="while a NetworkTensor was made again"):
        skfusion.load(path)


# -- other machines -------------------------------------------------------------------


def test_packages_that_are_not_installed_are_named(tmp_path):
    path = tmp_path / "model.skfusion"
    skfusion.save(holding({"learner": pd.Series([1.0])}), path)

    def elsewhere(inner: Parts, schema: dict) -> None:
        schema["content"]["content"]["check_inverse"] = {
            "__loader__": "TypeNode",
            "__module__": "radiology_kit.nets",
            "__class__": "Net",
        }

    path.write_bytes(with_graph(path.read_bytes(), elsewhere))
    described = skfusion.inspect_model(path)
    assert described.untrusted == ["radiology_kit.nets.Net"]
    assert "the package radiology_kit is not installed here" in described.problems[0]
    assert "refused here: the package radiology_kit" in str(described)
    with pytest.raises(ModelFileError, match="No module named 'radiology_kit'"):
        skfusion.load(path, trusted=["radiology_kit.nets.Net"])


@pytest.mark.parametrize("as_text", [True, False])
def test_a_device_that_is_absent_is_told_once(as_text, tmp_path):
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    rng = np.random.default_rng(0)
    scans = list(rng.integers(0, 256, (3, 24, 24), dtype=np.uint8))
    embedder = skfusion.ImageEmbedder(
        "resnet18", weights=None, input_size=32, store=None
    )
    with pytest.warns(UserWarning, match="random"):
        expected = embedder.fit_transform(scans)
    # As fitted on a machine with a hundred devices.
    embedder.device = "cuda:99" if as_text else torch.device("cuda", 99)
    path = tmp_path / "model.skfusion"
    model = holding([embedder, skfusion.ImageEmbedder(device=embedder.device)])
    skfusion.save(model, path)
    with pytest.warns(FallbackWarning, match="device=cuda:99, which this") as told:
        loaded = skfusion.load(path)
    assert len(told) == 1
    first, second = loaded.kw_args["value"]
    assert torch.device(first.device) == torch.device(second.device)
    assert torch.device(first.device) == torch.device("cpu")
    assert np.array_equal(first.transform(scans), expected)


# -- dtypes ---------------------------------------------------------------------------

DTYPES = {
    "numpy": {"a": "int64", "b": "int64"},
    "nullable": {"a": "Int64", "b": "UInt8"},
    "pyarrow": {"a": "int64[pyarrow]", "b": "double[pyarrow]"},
    "floats": {"a": "float64", "b": "Float64"},
    "narrow": {"a": "int8", "b": "float32"},
    "objects": {"a": "object", "b": "object"},
}


@pytest.mark.parametrize("trained", DTYPES)
def test_equal_numbers_are_the_same_in_every_dtype(trained, numbers, tmp_path):
    table = numbers.astype(DTYPES[trained])
    model = late(table)
    described = skfusion.save(model, tmp_path / "model.skfusion")
    expected = model.predict_proba(table)
    for dtypes in DTYPES.values():
        found = model.predict_proba(numbers.astype(dtypes))
        assert np.array_equal(found, expected)
    rows = [dict(row) for row in numbers.to_dict("records")]
    assert np.array_equal(model.predict_proba(described.to_frame(rows)), expected)
    if trained != "objects":
        assert [entry["kind"] for entry in described.columns] == ["number"] * 2


@pytest.mark.parametrize("dtype", ["int64", "Int64", "int64[pyarrow]", "uint8", "int8"])
def test_no_cast_changes_a_number(dtype, numbers, tmp_path):
    described = skfusion.save(
        late(numbers.astype({"a": dtype})), tmp_path / "model.skfusion"
    )
    assert described.to_frame([{"a": 3.0}, {"a": 7}])["a"].tolist() == [3, 7]
    large = 2**53 + 1
    for values, n_wrong in [([3.5, 2], 1), ([-1, 300, 2.5], 3 if "8" in dtype else 1)]:
        if dtype == "int8" and len(values) == 3:
            n_wrong = 2  # it holds -1
        with pytest.warns(DataWarning, match=f"'a': {n_wrong} of {len(values)} num"):
            found = described.to_frame([{"a": value} for value in values])
        assert found["a"].tolist() == values
    if "64" in dtype:
        found = described.to_frame([{"a": large}, {"a": None}])["a"]
        assert (found.iloc[0], bool(found.isna().iloc[1])) == (large, True)


def test_dates_need_a_time_zone_where_the_training_had_one(tmp_path):
    for zone, right, wrong in [
        (None, "2026-01-05", "2026-01-05T00:00+01:00"),
        ("Europe/Berlin", "2026-01-05T00:00+01:00", "2026-01-05"),
    ]:
        day = pd.Timestamp("2026-06-01", tz=zone)
        X = pd.DataFrame({"a": range(40), "now": day})
        X["seen"] = day - pd.to_timedelta(np.arange(40), unit="D")
        model = skfusion.LateFusionClassifier(
            [
                ("lab", "passthrough", ["a"]),
                ("when", skfusion.TabularEncoder(index_time="now"), ["seen", "now"]),
            ]
        ).fit(X, X["a"] > 19)
        described = skfusion.save(model, tmp_path / "model.skfusion")
        found = described.to_frame([{"seen": right}, {"seen": None}])["seen"]
        assert found.dtype == X["seen"].dtype
        assert found[0] == pd.Timestamp("2026-01-05", tz=zone)
        words = "with a time zone" if zone else "without a time zone"
        with pytest.raises(ValueError, match=words):
            described.to_frame([{"seen": wrong}])
