"""Fits and predictions in threads give what they give alone, and leave torch alone."""

from __future__ import annotations

import multiprocessing
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
)
from skfusion.fusion import TorchEncoder
from skfusion.image import Preprocessing
from skfusion.image.networks import backbones
from skfusion.image.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD


def mlp(n_features: int) -> nn.Module:
    return nn.Sequential(nn.Linear(n_features, 6), nn.ReLU(), nn.Dropout(0.3))


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd"))
    return X, (X["a"] + X["c"] > 0).astype(int).to_numpy()


def joint(**parameters):
    return JointFusionClassifier(
        [("net", TorchEncoder(mlp), ["a", "b"]), ("ehr", StandardScaler(), ["c", "d"])],
        **{"max_epochs": 3, "random_state": 0, **parameters},
    )


def other_program() -> None:
    """Draw random numbers as another program in the process may do."""
    torch.manual_seed(random.randrange(1000))
    nn.Dropout()(torch.rand(7, 7))


@pytest.mark.parametrize(
    ("backend", "n_jobs"), [("threading", 4), ("loky", 2), ("multiprocessing", 2)]
)
@pytest.mark.long
def test_cross_validation_does_not_depend_on_the_backend(table, backend, n_jobs):
    X, y = table
    settings = {"cv": 3, "method": "predict_proba"}
    alone = cross_val_predict(joint(), X, y, **settings)
    other_program()
    with joblib.parallel_config(backend=backend):
        together = cross_val_predict(joint(), X, y, n_jobs=n_jobs, **settings)
    np.testing.assert_array_equal(alone, together)


@pytest.mark.long
def test_a_search_in_threads(table):
    X, y = table
    grid = {"dropout": [0.0, 0.5], "net__module": [mlp, None]}
    search = GridSearchCV(joint(), grid, cv=2, scoring="neg_log_loss")
    alone = clone(search).fit(X, y).cv_results_["mean_test_score"]
    with joblib.parallel_config(backend="threading"):
        threads = clone(search).set_params(n_jobs=4).fit(X, y)
    np.testing.assert_array_equal(alone, threads.cv_results_["mean_test_score"])


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.long
def test_late_fusion_with_joint_members(table, backend):
    X, y = table
    member = JointFusionClassifier(
        [("p", TorchEncoder(mlp), [0]), ("q", StandardScaler(), [1])],
        max_epochs=2,
        random_state=0,
    )
    late = LateFusionClassifier(
        [
            (name, make_pipeline(StandardScaler(), clone(member)), list(columns))
            for name, columns in {"first": "ab", "second": "cd", "third": "ac"}.items()
        ],
        random_state=0,
    )
    alone = clone(late).fit(X, y).predict_proba(X)
    with joblib.parallel_config(backend=backend):
        threads = clone(late).set_params(n_jobs=4 if backend == "threading" else 2)
        threads.fit(X, y)
    np.testing.assert_array_equal(alone, threads.predict_proba(X))


@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_an_encoder_as_a_transformer_in_a_pool_of_threads(table):
    X, _ = table

    def encode(seed):
        return TorchEncoder(mlp, random_state=seed).fit_transform(X)

    alone = [encode(seed) for seed in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for expected, found in zip(alone, pool.map(encode, range(6)), strict=True):
            np.testing.assert_array_equal(expected, found)


def test_the_settings_of_torch_and_the_states_of_generators_are_restored(table):
    X, y = table
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    try:

        def settings():
            return (
                torch.get_num_threads(),
                torch.are_deterministic_algorithms_enabled(),
                torch.get_default_dtype(),
                torch.is_grad_enabled(),
                torch.get_rng_state().tolist(),
                np.random.get_state()[1].tolist(),  # noqa: NPY002
                random.getstate(),
            )

        expected = settings()
        model = joint().fit(X, y)
        assert settings() == expected
        model.predict_proba(X)
        assert settings() == expected
        with joblib.parallel_config(backend="threading"):
            cross_val_predict(joint(), X, y, cv=3, n_jobs=3)
        assert settings() == expected
        with pytest.raises(ValueError, match="diverged"):
            joint(lr=1e30).fit(X, y)
        assert settings() == expected
        with ThreadPoolExecutor(1) as fresh:  # takes the number that was set last
            assert fresh.submit(torch.get_num_threads).result() == 2
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(before)


def test_a_thread_that_begins_during_a_fit_keeps_the_number_of_its_process(table):
    X, y = table
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    torch.ones(1).sum()
    found = []

    def fit():
        joint().fit(X, y)
        found.append(torch.get_num_threads())

    try:
        threads = [threading.Thread(target=fit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [3] * 4
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_same_seed_same_network_after_another_program(table):
    X, y = table
    first = joint().fit(X, y).predict_proba(X)
    other_program()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        second = joint(training=None).set_params(net__module=None).fit(X, y)
        other_program()
    finally:
        torch.set_default_dtype(default)
    plain = joint().set_params(net__module=None).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(second.predict_proba(X), plain)
    np.testing.assert_array_equal(joint().fit(X, y).predict_proba(X), first)


MODES = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_modes_that_the_caller_has_entered_have_no_effect(table, mode):
    X, y = table
    X = X.assign(scan=list(np.random.default_rng(0).random((60, 16, 16))))
    torch.manual_seed(0)
    modules = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)), Chain()
    features = [
        make_pipeline(StandardScaler(), TorchEncoder(mlp, random_state=0)),
        ImageEmbedder("resnet18", weights=None, input_size=32, store=None),
    ]

    def results():
        embedder = ImageEmbedder(modules[1], store=None, trainable="last_block")
        encoder = TorchEncoder(modules[0])
        parts = [("net", encoder, ["a", "b"]), ("scan", embedder, "scan")]
        model = JointFusionClassifier(parts, max_epochs=2, random_state=0)
        gated = EarlyFusionClassifier(
            [("p", StandardScaler(), ["a"]), ("q", StandardScaler(), ["b"])],
            estimator=LogisticRegression(),
            join="gated",
            random_state=0,
        )
        backbones._cache.clear()
        yield model.fit(X, y).predict_proba(X)
        yield gated.fit(X, y).predict_proba(X)
        for transformer, columns in zip(features, (["a", "b"], "scan"), strict=True):
            yield clone(transformer).fit_transform(X[columns])

    expected = list(results())
    with MODES[mode]():
        found = list(results())
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_predictions_during_fits_in_other_threads(table):
    X, y = table
    model = joint().fit(X, y)
    expected = model.predict_proba(X)
    is_over, wrong = threading.Event(), []

    def predict():
        while not is_over.is_set():
            if np.abs(model.predict_proba(X) - expected).max() > 1e-9:
                wrong.append(1)
        return True

    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(predict) for _ in range(3)]
        try:
            fits = [clone(model).fit(X, y).predict_proba(X) for _ in range(3)]
        finally:
            is_over.set()
        assert all(each.result() for each in busy)
    assert wrong == []
    for found in fits:
        np.testing.assert_array_equal(found, expected)


def _fit_in_child(X, y, queue):
    torch.set_num_threads(1)
    proba = joint().fit(X, y).predict_proba(X)
    queue.put((proba, torch.get_num_threads()))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_is_forked_during_a_fit_can_fit(table):
    """The child has a copy of every lock, but not the thread that would release it."""
    X, y = table
    expected = joint().fit(X, y).predict_proba(X)
    number = torch.get_num_threads()
    torch.set_num_threads(3)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    started, forked = threading.Event(), threading.Event()

    class Waiting(nn.Module):
        """Hold the training until the process has been forked."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            if self.training:
                started.set()
                forked.wait(60)
            return self.layer(x)

        def __deepcopy__(self, memo):
            copied = Waiting()
            copied.load_state_dict(self.state_dict())
            return copied

    busy = joint().set_params(net=TorchEncoder(Waiting()))
    holder = threading.Thread(target=busy.fit, args=(X, y))
    holder.start()
    try:
        assert started.wait(60)
        child = context.Process(target=_fit_in_child, args=(X, y, queue))
        child.start()
        found, number_in_child = queue.get(timeout=60)
    finally:
        torch.set_num_threads(number)
        forked.set()
        holder.join()
        child.join(60)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert number_in_child == 1


# -- predictions of one fitted model -----------------------------------------------


class Chain(nn.Sequential):
    """A small network of images that states its preprocessing."""

    preprocessing = Preprocessing(16, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


FUSIONS = {
    "early": (EarlyFusionClassifier, {"estimator": LogisticRegression()}),
    "late": (LateFusionClassifier, {}),
    "joint": (JointFusionClassifier, {"max_epochs": 2}),
}


def predict_in_threads(model, X, n_threads, n_calls):
    """Return the number of errors, and of calls with another result than alone."""
    expected = model.predict_proba(X)
    starts = [3 * (i % (len(X) // 3)) for i in range(n_calls)]
    errors, wrong, numbers = [], [], set()
    barrier = threading.Barrier(n_threads)

    def work(_):
        barrier.wait()
        for start in starts:
            try:
                found = model.predict_proba(X.iloc[start : start + 3])
            except Exception as error:  # any of them is a fault
                errors.append(repr(error))
                continue
            if not np.allclose(found, expected[start : start + 3], atol=1e-6):
                wrong.append(start)
        numbers.add(torch.get_num_threads())

    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(work, range(n_threads)))
    return errors, wrong, numbers


def check_threads(strategy, images, store, tmp_path, n_calls):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 4)), columns=list("abcd"))
    y = np.arange(30) % 2
    modalities = [("ehr", StandardScaler(), ["a", "b"])]
    if images:
        X["scan"] = list(rng.integers(0, 255, (30, 16, 16, 3), dtype=np.uint8))
        torch.manual_seed(0)
        folder = tmp_path / "store" if store else None
        embedder = ImageEmbedder(Chain().eval(), store=folder, trainable="last_block")
        modalities.append(("scan", embedder, "scan"))
    else:
        modalities.append(("more", TorchEncoder(nn.Linear(2, 3)), ["c", "d"]))
    kind, parameters = FUSIONS[strategy]
    model = kind(modalities, random_state=0, **parameters).fit(X, y)
    number = torch.get_num_threads()
    state = torch.get_rng_state()
    errors, wrong, numbers = predict_in_threads(model, X, 8, n_calls)
    assert (errors[:3], wrong[:3], numbers) == ([], [], {number})
    assert torch.get_num_threads() == number
    assert torch.equal(torch.get_rng_state(), state)


CASES = [
    (strategy, images, store)
    for strategy in FUSIONS
    for images, store in [(False, False), (True, False), (True, True)]
]


@pytest.mark.parametrize(("strategy", "images", "store"), CASES)
@pytest.mark.slow
def test_predictions_in_eight_threads(strategy, images, store, tmp_path):
    check_threads(strategy, images, store, tmp_path, n_calls=3)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "images", "store"), CASES)
def test_many_predictions_in_eight_threads(strategy, images, store, tmp_path):
    check_threads(strategy, images, store, tmp_path, n_calls=50)
