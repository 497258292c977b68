"""Keys of the store: all that decides the output of a module, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import types
import warnings
import weakref
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.image import Preprocessing
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.description import describe_module, may_write_state

ROOT = Path(__file__).parents[3]
IMAGES = list(np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8))
GAIN = 1.0


class Net(nn.Module):
    """A network whose output depends on whatever is in `_setting`."""

    preprocessing = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)

    def __init__(self, setting=None):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 5, stride=3)
            self.norm = nn.BatchNorm2d(4)
        self._setting = setting

    def forward(self, images):
        return self.norm(self.conv(images)).mean(dim=(2, 3))

    def forward_features(self, images):
        return self.norm(self.conv(images)).amax(dim=(2, 3))


@dataclasses.dataclass
class Config:
    pooling: str = "mean"
    inner: object = None


class Kind(enum.Enum):
    MEAN = 1
    MAX = 2


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self._factor = factor

    def forward(self, weight):
        return weight * self._factor


def with_forward(net):
    net.forward = net.forward_features
    return net


def with_hook(net, factor):
    net.conv.register_forward_hook(lambda _m, _i, output: output * factor)
    return net


def with_pre_hook(net, factor):
    net.register_forward_pre_hook(functools.partial(scaled_inputs, factor))
    return net


def scaled_inputs(factor, _module, inputs):
    return (inputs[0] * factor,)


def parametrized(net, factor):
    parametrize.register_parametrization(net.conv, "weight", Scale(factor))
    return net


def with_buffer(net, value):
    net.register_buffer("shift", torch.tensor(value), persistent=False)
    return net


def cyclic(value):
    holder = {"value": value}
    holder["self"] = [holder]
    return holder


# Pairs of equal class, tensors and public attributes. The first is built twice.
PAIRS = {
    "lambda": lambda v: Net(lambda x: x * v),
    "lambda in a list": lambda v: Net([lambda x: x * v]),
    "dict": lambda v: Net({"how": v}),
    "dataclass": lambda v: Net(Config(inner={"v": v})),
    "object with slots": lambda v: Net(Slotted(v)),
    "namespace": lambda v: Net(types.SimpleNamespace(a=types.SimpleNamespace(b=v))),
    "enumeration": lambda v: Net(Kind.MEAN if v == 1 else Kind.MAX),
    "set": lambda v: Net({"a", f"b{v}"}),
    "array": lambda v: Net(np.array([v, 2])),
    "array of objects": lambda v: Net(np.array([v, "a"], dtype=object)),
    "tensor": lambda v: Net(torch.tensor([float(v)])),
    "partial": lambda v: Net(functools.partial(scaled_inputs, v)),
    "bound method": lambda v: Net(Slotted(v).__init__),
    "module in a list": lambda v: Net([Scale(v)]),
    "generator": lambda v: Net(np.random.default_rng(v)),
    "cycle": lambda v: Net(cyclic(v)),
    "weak reference": lambda v: Net(weakref.ref(CONFIGS[v])),
    "replaced forward": lambda v: with_forward(Net()) if v == 2 else Net(),
    "hook": lambda v: with_hook(Net(), v),
    "hook before": lambda v: with_pre_hook(Net(), v),
    "parametrization": lambda v: parametrized(Net(), v),
    "buffer that is not saved": lambda v: with_buffer(Net(), float(v)),
}
CONFIGS = {1: Config("mean"), 2: Config("max")}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_what_an_attribute_holds_is_in_the_fingerprint(pair):
    first, other, again = (build_backbone(pair(value)) for value in (1, 2, 1))
    assert first.fingerprint != other.fingerprint
    assert first.fingerprint == again.fingerprint
    assert not first.not_stored


def test_a_wrapper_is_never_answered_with_the_embedding_of_another(tmp_path):
    """The store must give what the network gives without it."""

    class Pick(Net):
        def forward(self, images):
            output = self.conv(images)
            reduce = output.mean if self._setting == "mean" else output.amax
            return reduce(dim=(2, 3))

    for how in ("mean", "max"):
        stored, plain = (
            ImageEmbedder(Pick(how), store=store).fit_transform(IMAGES)
            for store in (tmp_path, None)
        )
        np.testing.assert_array_equal(stored, plain)


def test_what_no_description_can_reach_changes_the_output_of_the_probe(monkeypatch):
    """A variable of an installed package: seen by its effect only."""
    from sklearn.utils import fixes

    monkeypatch.setattr(fixes, "skfusion_gain", 1.0, raising=False)

    class Reaching(Net):
        def forward(self, images):
            return super().forward(images) * vars(fixes)["skfusion_gain"]

    before = build_backbone(Reaching()).fingerprint
    assert build_backbone(Reaching()).fingerprint == before
    monkeypatch.setattr(fixes, "skfusion_gain", 1.01)
    assert build_backbone(Reaching()).fingerprint != before


class Global(Net):
    def forward(self, images):
        return super().forward(images) * gained(1.0)


def gained(value):
    return value * GAIN


def test_variables_that_functions_read_are_described(monkeypatch):
    before = build_backbone(Global()).fingerprint
    monkeypatch.setitem(globals(), "GAIN", 1.0 + 1e-7)  # below the steps of the probe
    assert build_backbone(Global()).fingerprint != before


def test_a_method_that_is_replaced_changes_the_fingerprint(monkeypatch):
    before = build_backbone(Net()).fingerprint
    monkeypatch.setattr(Net, "unused", lambda self: 1, raising=False)
    assert build_backbone(Net()).fingerprint != before


# ---------------------------------------------------------------- not a function


class Dropping(Net):
    def forward(self, images):
        return nn.functional.dropout(super().forward(images), training=True)


class Counting(Net):
    calls = 0

    def forward(self, images):
        self.calls += 1
        return super().forward(images) + self.calls


class Batched(Net):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Dropping, "each call"), (Counting, "each call"), (Batched, "another batch")],
)
def test_what_is_no_function_of_the_image_is_not_stored(tmp_path, kind, reason):
    store = EmbeddingStore(tmp_path)
    embedder = ImageEmbedder(kind(), store=store)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        embedder.fit(IMAGES)
    first, second = (str(warning.message) for warning in caught)
    assert reason in first
    assert "not reproducible" in first
    assert "not stored" in second
    embedder.transform(IMAGES)  # and does not say that the network has changed
    assert store.info()["entries"] == 0


class Noting(Net):
    """Counts its calls and keeps a table, without an effect on its output."""

    def __init__(self):
        super().__init__()
        self.calls, self.sizes = 0, {}
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, images):
        self.calls += 1
        self.seen += len(images)
        self.sizes.setdefault(images.shape[-1], torch.ones(images.shape[-1]))
        return super().forward(images)


def test_a_diary_of_the_network_is_no_change(tmp_path):
    net = Noting().eval()
    embedder = ImageEmbedder(net, store=tmp_path).fit(IMAGES)
    first = embedder.transform(IMAGES)
    for _ in range(2):
        net(torch.zeros(1, 3, 30, 30))
    np.testing.assert_array_equal(embedder.transform(IMAGES), first)
    with torch.no_grad():
        net.conv.weight += 1e-3
    with pytest.raises(ValueError, match="changed since fit"):
        embedder.transform(IMAGES)


def test_building_leaves_the_module_and_the_generators_alone():
    net = Counting()
    torch.manual_seed(3)
    random_state = torch.get_rng_state()
    with pytest.warns(UserWarning, match="not reproducible"):
        build_backbone(net)
    assert net.calls == 0
    with pytest.warns(UserWarning, match="not reproducible"):
        build_backbone(Dropping())
    assert torch.equal(torch.get_rng_state(), random_state)


class Indescribable:
    """What neither pickle nor a look at the attributes explains."""

    def __reduce_ex__(self, protocol):
        raise TypeError("no")

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("thing", [Indescribable(), {"a": [Indescribable()]}])
def test_what_cannot_be_described_goes_without_the_store(tmp_path, thing):
    store = EmbeddingStore(tmp_path)
    embedder = ImageEmbedder(Net(thing), store=store)
    with pytest.warns(UserWarning, match=r"not stored.*_setting.*Indescribable"):
        embedder.fit(IMAGES)
    first = embedder.transform(IMAGES)
    np.testing.assert_array_equal(embedder.transform(IMAGES), first)
    assert store.info()["entries"] == 0
    ImageEmbedder(Net(thing), store=None).fit(IMAGES)  # nothing to say


def test_a_module_that_is_not_copied_is_named_where_it_is_in_training_mode():
    net = Net().train()
    net.forward = lambda images: net.norm(net.conv(images)).mean(dim=(2, 3))
    with pytest.warns(UserWarning, match=r"not one of its submodules.*Call eval\(\)"):
        assert build_backbone(net).not_stored
    assert not build_backbone(net.eval()).not_stored


# ---------------------------------------------------------------- other processes

SCRIPT = """
import dataclasses, functools, sys
import joblib, numpy as np, torch
from torch import nn
from skfusion import ImageEmbedder
from skfusion.image import Preprocessing

GAIN = 2.0

def gained(value):
    return value * GAIN

@dataclasses.dataclass
class Config:
    names: frozenset = frozenset({"a", "bb", "ccc", "dddd"})

class Net(nn.Module):
    factor = 3.0
    preprocessing = Preprocessing(64, (0.5,) * 3, (0.5,) * 3)
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2), nn.Flatten(), nn.Linear(64 * 15 * 15, 64))
        self._config = Config()
        self._finish = lambda output: output * len(self._config.names)
        self._table = {"names": {"x", "y", "zz"}, "numbers": np.arange(3)}
        self.body[0].register_forward_hook(lambda m, i, o: o + self.factor)
    @torch.no_grad()
    def forward(self, images):
        return self._finish(gained(self.body(images)))

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    image = [np.zeros((9, 9), np.uint8)]
    model = ImageEmbedder(Net(), store=None)
    here = model.fit(image).fingerprint_
    (there,) = joblib.Parallel(n_jobs=2)([joblib.delayed(model.fit)(image)])
    print(here, there.fingerprint_)
"""


@pytest.mark.slow
def test_fingerprints_are_equal_in_all_processes_and_with_all_threads(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    found = set()
    for threads, seed in (("1", "0"), ("3", "1")):
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        env |= {"OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, path, threads],
            capture_output=True,
            text=True,
            check=True,
            env=env,
        )
        found |= set(done.stdout.split())
    assert len(found) == 1


def test_copies_and_pickles_have_the_same_description():
    net = Net({"config": Config(), "set": {1, "a"}})
    before = describe_module(net)
    assert before.changes(describe_module(copy.deepcopy(net))) == set()
    pickled = pickle.loads(pickle.dumps(net))
    assert before.changes(describe_module(pickled)) == set()
    assert before.digest() == describe_module(net).digest()


def test_a_rounded_output_near_a_step_has_both_fingerprints(monkeypatch):
    """Another machine may round to the other one: that is not a change."""
    from skfusion.image.networks import backbones

    embedder = ImageEmbedder(Net(), store=None).fit(IMAGES)
    expected = embedder.transform(IMAGES)
    codes = backbones.codes_of
    monkeypatch.setattr(
        backbones, "codes_of", lambda output: [(0, *codes(output)[0]), (1, 2)]
    )
    backbone = embedder.build()
    assert len({backbone.fingerprint, *backbone.other_fingerprints}) == 4
    embedder.fingerprint_ = backbone.other_fingerprints[-1]
    np.testing.assert_array_equal(embedder.transform(IMAGES), expected)


# ---------------------------------------------------------------- state


class Assigning(nn.Module):
    def forward(self, images):
        global GAIN
        GAIN = 1.0
        return images


class Caching(nn.Module):
    def __init__(self):
        super().__init__()
        self.cache = {}

    def forward(self, images):
        self.cache[images.shape] = images
        return images


class Calling(nn.Module):
    def forward(self, images):
        return self.inner(images)

    def inner(self, images):
        setattr(self, "last", images)  # noqa: B010
        return images


class Local(nn.Module):
    def __init__(self):
        super().__init__()
        self.k = 2

    def forward(self, images):
        parts = {}
        parts["a"] = images
        images = images.clone()
        images[:, 0] = 1
        return parts["a"] + images * self.k

    def set_k(self, k):
        self.k = k


@pytest.mark.parametrize(
    ("module", "writes"),
    [(Assigning(), True), (Caching(), True), (Calling(), True), (Local(), False)],
)
def test_code_that_writes_to_what_threads_share(module, writes):
    assert may_write_state(module) == writes


@pytest.mark.slow
@pytest.mark.parametrize("keeps_in", ["attribute", "list"])
def test_threads_never_see_the_values_of_one_another(keeps_in):
    class Keeping(Net):
        def __init__(self):
            super().__init__()
            self.kept = []

        def forward(self, images):
            if keeps_in == "list":
                self.kept.clear()
                self.kept.append(self.conv(images))
                threading.Event().wait(0.001)
                return self.kept[0].mean(dim=(2, 3))
            self.last = self.conv(images)
            threading.Event().wait(0.001)
            return self.last.mean(dim=(2, 3))

    embedder = ImageEmbedder(Keeping(), store=None).fit(IMAGES)
    expected = embedder.transform(IMAGES)
    calls = [joblib.delayed(embedder.transform)(IMAGES[i % 3 :]) for i in range(48)]
    found = joblib.Parallel(n_jobs=8, backend="threading")(calls)
    for i, rows in enumerate(found):
        np.testing.assert_allclose(rows, expected[i % 3 :], rtol=1e-4, atol=1e-6)
