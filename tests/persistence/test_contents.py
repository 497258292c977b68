"""What models contain: odd values, networks, boosters, weights of backbones."""

from __future__ import annotations

import datetime
import enum
import functools
from collections import OrderedDict, defaultdict
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Bunch

pytest.importorskip("skops", reason="the extra persistence is not installed")

import skfusion  # noqa: E402
from skfusion.persistence import ModelFileError, UntrustedTypesError  # noqa: E402


def round_trip(value, tmp_path, trusted=()):
    """A value that was saved inside an estimator."""
    holder = FunctionTransformer(kw_args={"value": value}).fit([[1.0]])
    skfusion.save(holder, tmp_path / "holder.skfusion")
    loaded = skfusion.load(tmp_path / "holder.skfusion", trusted=trusted)
    return loaded.kw_args["value"]


TIME = pd.Timestamp("2024-03-01 08:30:00.123456789")
FRAME = pd.DataFrame(
    {
        "ä": [1, 2, 3],
        "text": ["a", None, "ü"],
        "when": [TIME, pd.NaT, TIME],
        "class": pd.Categorical(["x", "y", None], categories=["y", "x"], ordered=True),
        "gap": pd.array([1, None, 3], dtype="Int64"),
        7: [True, False, True],
    },
    index=pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, "a")], names=["i", None]),
)
VALUES = {
    "keys of bools": {False: 1.0, True: 2.0},
    "keys that are equal as text": {1: "number", "1": "text", None: "none"},
    "keys of tuples": {("a", 1): [1], ("b", 2.5): [2]},
    "keys of numpy": {np.int64(3): np.float32(0.1)},
    "ordered": OrderedDict([("b", 1), ("a", (1, 2))]),
    "default": defaultdict(list, {"a": [1]}),
    "bunch": Bunch(a=[1], b=(2,)),
    "tuples": (1, (2.5, None), [("x",)]),
    "sets": {1, "a", (1, 2)},
    "frozen": frozenset({"a", "b"}),
    "bytes": b"\x00\xff",
    "numbers": [1, -0.0, float("inf"), 10**30, True, None, 1e-320],
    "long list": list(range(50)),
    "long text": [f"ü{i}" for i in range(50)],
    "scalars": [np.float64(0.1), np.int8(-3), np.bool_(True), np.str_("ü")],
    "times of numpy": [np.datetime64("2024-01-01T05", "h"), np.timedelta64(3, "D")],
    "nested objects": np.array([[1, "a"], [None, 2.5]], dtype=object),
    "lists in an array": np.array([[1, 2], [3], None], dtype=object),
    "zero axes": np.array(3.5),
    "no elements": np.empty((0, 3), dtype=np.float32),
    "order of axes": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "records": np.array([(True, 2.5)], dtype=[("event", bool), ("time", float)]),
    "masked": np.ma.MaskedArray([1.0, 2.0], [False, True]),
    "sparse": sparse.csc_matrix(np.eye(3)),
    "sparse array": sparse.coo_array(np.eye(3)),
    "dtype": np.dtype("float32"),
    "dtypes of pandas": [pd.Int64Dtype(), pd.StringDtype()],
    "times": [TIME, TIME.tz_localize("Europe/Berlin"), pd.Timedelta("3D"), pd.NaT],
    "times of Python": [
        datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.UTC),
        datetime.date(2024, 1, 2),
        datetime.timedelta(days=3),
    ],
    "decimal": Decimal("0.1"),
    "slice": slice(1, None, 2),
    "frame": FRAME,
    "series": FRAME["when"],
    "index": pd.Index([3, 1], name="x"),
    "dates": pd.date_range("2024-01-01", periods=3, tz="UTC"),
    "range": pd.RangeIndex(3, 9, 2),
    "function": np.log1p,
    "class": dict,
    "partial": functools.partial(np.mean, axis=0),
}


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, pd.DataFrame):
        pd.testing.assert_frame_equal(found, expected)
    elif isinstance(expected, pd.Series):
        pd.testing.assert_series_equal(found, expected)
    elif isinstance(expected, pd.Index):
        pd.testing.assert_index_equal(found, expected, exact=True)
    elif sparse.issparse(expected):
        assert found.format == expected.format
        np.testing.assert_array_equal(found.toarray(), expected.toarray())
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.flags.f_contiguous == expected.flags.f_contiguous
        if expected.dtype == object:
            assert found.shape == expected.shape
            assert found.tolist() == expected.tolist()
        else:
            np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(map(repr, found)) == list(map(repr, expected))
        for a, b in zip(found.values(), expected.values(), strict=True):
            assert_same(a, b)
        assert getattr(found, "default_factory", 0) is getattr(
            expected, "default_factory", 0
        )
    elif isinstance(expected, functools.partial):
        assert (found.func, found.keywords) == (expected.func, expected.keywords)
    else:
        assert repr(found) == repr(expected)


@pytest.mark.parametrize("name", VALUES)
def test_value_comes_back_as_it_was(name, tmp_path):
    assert_same(round_trip(VALUES[name], tmp_path), VALUES[name])


def test_shared_objects_stay_shared(tmp_path):
    shared = {"weights": np.arange(3.0)}
    found = round_trip([shared, {"again": shared}], tmp_path)
    assert found[0] is found[1]["again"]
    size = (tmp_path / "holder.skfusion").stat().st_size
    round_trip([shared, *[{"again": shared}] * 20], tmp_path)
    assert (tmp_path / "holder.skfusion").stat().st_size < 3 * size


class Colour(enum.Enum):
    RED = 1


class Slotted:
    __slots__ = ("a", "b")


def test_classes_of_the_user_are_refused_by_name_and_can_be_trusted(tmp_path):
    slotted = Slotted()
    slotted.a = {1: [2]}
    for value in (Colour.RED, slotted):
        name = f"{type(value).__module__}.{type(value).__qualname__}"
        with pytest.raises(UntrustedTypesError) as refused:
            round_trip(value, tmp_path)
        assert refused.value.names == [name]
        found = round_trip(value, tmp_path, trusted=[name])
        assert type(found) is type(value)
    assert found.a == {1: [2]}
    assert not hasattr(found, "b")


def test_what_has_no_form_is_refused_with_its_place(tmp_path):
    circle: list = []
    circle.append(circle)

    def local(x):
        return x

    class Local:
        pass

    for value, words in (
        (circle, r"\(at kw_args\['value'\]\[0\]\): a list contains itself"),
        (local, "local of .* is defined inside a function"),
        (Local(), "Local of .* is defined inside a function"),
        ([iter([])], r"\(at kw_args\['value'\]\[0\]\): .*iterator"),
        (np.array([(1, [2])], dtype=[("a", int), ("b", object)]), "no fixed form"),
        ([].append, "append"),
    ):
        with pytest.raises(ModelFileError, match=words):
            round_trip(value, tmp_path)
        assert not (tmp_path / "holder.skfusion").exists()


# -- learners -------------------------------------------------------------------------


@pytest.fixture
def numbers():
    X = np.random.default_rng(0).normal(size=(80, 4))
    X[::7, 1] = np.nan
    return pd.DataFrame(X, columns=list("abcd")), (X[:, 0] > 0).astype(int)


MODALITIES = [("ab", "passthrough", ["a", "b"]), ("cd", "passthrough", ["c", "d"])]


def test_early_stopped_xgboost_predicts_with_its_best_iteration(numbers, tmp_path):
    xgboost = pytest.importorskip("xgboost")
    X, y = numbers
    learner = xgboost.XGBClassifier(
        n_estimators=200, early_stopping_rounds=2, learning_rate=1.0, n_jobs=1
    )
    model = skfusion.EarlyFusionClassifier(
        MODALITIES, estimator=learner, random_state=0
    ).fit(X, y)
    assert skfusion.save(model, tmp_path / "model.skfusion").untrusted == []
    loaded = skfusion.load(tmp_path / "model.skfusion")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    best = model.estimator_.best_iteration
    assert loaded.estimator_.best_iteration == best
    assert loaded.estimator_.get_booster().num_boosted_rounds() > best + 1


def test_lightgbm_is_text(numbers, tmp_path):
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    X, y = numbers
    learner = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1, n_jobs=1)
    model = skfusion.EarlyFusionClassifier(MODALITIES, estimator=learner).fit(X, y)
    assert skfusion.save(model, tmp_path / "model.skfusion").untrusted == []
    assert b"tree_sizes=" in (tmp_path / "model.skfusion").read_bytes()
    loaded = skfusion.load(tmp_path / "model.skfusion")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


# -- networks -------------------------------------------------------------------------


@pytest.fixture
def scans():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (24, 24), dtype=np.uint8) for _ in range(4)] + [None]


def network():
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    nn = torch.nn
    from skfusion.image import Preprocessing

    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    net.preprocessing = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
    return net.to(memory_format=torch.channels_last).eval()


def test_module_is_saved_with_its_weights_once(scans, tmp_path):
    embedder = skfusion.ImageEmbedder(network(), store=None).fit(scans)
    assert skfusion.save(embedder, tmp_path / "model.skfusion").untrusted == []
    loaded = skfusion.load(tmp_path / "model.skfusion")
    np.testing.assert_array_equal(loaded.transform(scans), embedder.transform(scans))
    assert loaded.fingerprint_ == embedder.fingerprint_
    assert loaded.backbone is not embedder.backbone
    assert loaded.backbone[0].weight.stride() == embedder.backbone[0].weight.stride()


def test_modules_that_are_code_are_refused(scans, tmp_path):
    import torch

    hooked = network()
    hooked[0].register_forward_hook(lambda *_: None)
    scripted = torch.fx.symbolic_trace(network())
    for net, words in (
        (hooked, r"has hooks \(_forward_hooks\)"),
        (scripted, "generated"),
    ):
        embedder = skfusion.ImageEmbedder(network(), store=None).fit(scans)
        embedder.backbone = net
        with pytest.raises(ModelFileError, match=words):
            skfusion.save(embedder, tmp_path / "model.skfusion")


def refuse(*_, **__):
    raise AssertionError("published weights were asked for")


def test_embedded_weights_need_no_package_of_weights(scans, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    from skfusion.image.networks import backbones
    from skfusion.image.networks.sources import efficientnet_lite

    embedder = skfusion.ImageEmbedder(input_size=32, store=None).fit(scans)
    expected = embedder.transform(scans)
    path = tmp_path / "model.skfusion"
    described = skfusion.save(embedder, path, embed_weights=True)
    assert described.encoders[0]["embedded"] is True
    monkeypatch.setattr(backbones, "_cache", {})
    usual = efficientnet_lite.load_lite

    def without_weights(weights, *args, **kwargs):
        return refuse() if weights is not None else usual(weights, *args, **kwargs)

    monkeypatch.setattr(backbones.pretrained, "load_lite", without_weights)
    loaded = skfusion.load(path)
    np.testing.assert_array_equal(loaded.transform(scans), expected)
    # Saved again, the weights are still in the file. A clone has none.
    skfusion.save(loaded, path)
    np.testing.assert_array_equal(skfusion.load(path).transform(scans), expected)
    with pytest.raises(AssertionError, match="were asked for"):
        loaded.set_params(layer="logits").build()
    plain = tmp_path / "plain.skfusion"
    monkeypatch.undo()
    assert skfusion.save(embedder, plain).size < path.stat().st_size / 10


def test_weights_of_a_file_are_in_the_file_of_the_model(scans, tmp_path):
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from skfusion.image.networks.sources import pretrained

    module, _ = pretrained.load("squeezenet1_1", None, 64, keep_final=True)
    weights = tmp_path / "weights.pt"
    torch.save(module.state_dict(), weights)
    embedder = skfusion.ImageEmbedder(
        "squeezenet1_1", weights=weights, input_size=64, store=None
    ).fit(scans)
    expected = embedder.transform(scans)
    path = tmp_path / "model.skfusion"
    described = skfusion.save(embedder, path)
    assert described.encoders[0]["embedded"] is True
    assert str(tmp_path).encode() not in path.read_bytes()
    weights.unlink()
    np.testing.assert_array_equal(skfusion.load(path).transform(scans), expected)


def test_other_weights_than_those_of_the_training_are_refused(
    scans, tmp_path, monkeypatch
):
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    from skfusion.image.networks import backbones

    model = skfusion.JointFusionClassifier(
        [
            ("scan", skfusion.ImageEmbedder(input_size=32, store=None), "scan"),
            ("age", "passthrough", ["age"]),
        ],
        max_epochs=1,
        random_state=0,
    )
    X = pd.DataFrame({"scan": scans * 4, "age": np.arange(20.0)})
    model.fit(X, np.arange(20) % 2)
    path = tmp_path / "model.skfusion"
    skfusion.save(model, path)
    loaded = skfusion.load(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    usual = backbones.pretrained.load

    def other_weights(*args, **kwargs):
        module, preprocessing = usual(*args, **kwargs)
        with torch.no_grad():
            next(module.parameters()).mul_(1.01)
        return module, preprocessing

    monkeypatch.setattr(backbones, "_cache", {})
    monkeypatch.setattr(backbones.pretrained, "load", other_weights)
    with pytest.raises(ValueError, match="have changed since fit"):
        skfusion.load(path)
