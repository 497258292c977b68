"""Random weights that nothing trains are told once, wherever they are used."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    compare_fusion,
)
from skfusion.fusion import TorchEncoder
from skfusion.image import Preprocessing
from skfusion.image.networks.preprocessing import IMAGENET_MEAN, IMAGENET_STD

RANDOM = r"are random.*Nothing trains them here"


class Net(nn.Sequential):
    """A network of three weight layers that states its preprocessing."""

    preprocessing = Preprocessing(16, IMAGENET_MEAN, IMAGENET_STD)

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
    X["scan"] = list(rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8))
    return X, np.arange(40) % 2


def untrained(**parameters):
    settings = {"weights": None, "input_size": 32, "store": None, **parameters}
    return ImageEmbedder("resnet18", **settings)


def mlp(n_features):
    return nn.Sequential(nn.Linear(n_features, 4), nn.ReLU(), nn.Linear(4, 2))


def messages_of(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    return [str(warning.message) for warning in caught], result


def joint(transformer, columns):
    return JointFusionClassifier(
        [("net", transformer, columns), ("ehr", StandardScaler(), ["a"])],
        max_epochs=1,
        random_state=0,
    )


def trained_names(model):
    encoder = model.network_.encoders["x_net"]
    return {n for n, p in encoder.backbone.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("transformer", "columns"),
    [
        (untrained(), "scan"),
        (untrained(layer="block2"), "scan"),
        (TorchEncoder(), ["a", "b"]),
        (TorchEncoder(mlp), ["a", "b"]),
        (make_pipeline(FunctionTransformer(), TorchEncoder(mlp)), ["a", "b"]),
    ],
    ids=["named", "layer", "default module", "function", "pipeline"],
)
@pytest.mark.long
def test_random_features_warn_and_random_networks_that_are_trained_do_not(
    table, transformer, columns
):
    X, y = table
    with pytest.warns(UserWarning, match=RANDOM):
        clone(transformer).fit_transform(X[columns])
    triples = [("net", transformer, columns), ("ehr", StandardScaler(), ["a"])]
    for kind in (EarlyFusionClassifier, LateFusionClassifier):
        learner = LogisticRegression()
        model = kind(triples, estimator=learner, random_state=0)
        found, _ = messages_of(lambda model=model: model.fit(X, y))
        (message,) = [text for text in found if "random" in text]  # once
        assert "'net'" in message
    found, model = messages_of(lambda: joint(transformer, columns).fit(X, y))
    assert found == []
    backbone = model.network_.encoders["x_net"].backbone
    assert trained_names(model) == {name for name, _ in backbone.named_parameters()}


def test_weights_that_a_function_loads_are_not_random(table):
    X, _ = table
    torch.manual_seed(1)
    weights = mlp(2).state_dict()

    def loaded(n_features):
        net = mlp(n_features)
        net.load_state_dict(weights)
        return net

    def with_a_new_head(n_features):
        net = loaded(n_features)
        net[2].reset_parameters()
        return net

    assert messages_of(lambda: TorchEncoder(loaded).fit(X[["a", "b"]]))[0] == []
    with pytest.warns(UserWarning, match="2 of 4 weight tensors of the module"):
        TorchEncoder(with_a_new_head).fit(X[["a", "b"]])
    assert messages_of(lambda: TorchEncoder(mlp(2)).fit(X[["a", "b"]]))[0] == []


@pytest.mark.parametrize(
    ("transformer", "columns", "words"),
    [
        (untrained(trainable="last_block"), "scan", r"of its 60 weight tensors stay"),
        (untrained(trainable="head"), "scan", "60 of its 60 weight tensors stay so"),
        (TorchEncoder(mlp, trainable="head"), ["a", "b"], "4 of its 4 weight tensors"),
        (TorchEncoder(mlp, trainable=1), ["a", "b"], "2 of its 4 weight tensors stay"),
    ],
)
def test_random_weights_that_joint_fusion_freezes(table, transformer, columns, words):
    X, y = table
    found, _ = messages_of(lambda: joint(transformer, columns).fit(X, y))
    (message,) = found
    assert message.startswith("In modality 'net': the weights of the network")
    assert words.replace("\\", "") in message
    assert "trainable='all'" in message


def test_what_is_frozen_of_a_module_is_told_unless_it_was_chosen(table):
    X, y = table
    torch.manual_seed(0)
    net = Net()
    found, model = messages_of(
        lambda: joint(ImageEmbedder(net, store=None), "scan").fit(X, y)
    )
    (message,) = found
    assert "trains 2 of 6 weight tensors of the module Net" in message
    assert trained_names(model) == {"4.weight", "4.bias"}
    for trainable, n_trained in {"last_block": 2, "all": 6, "head": 0}.items():
        embedder = ImageEmbedder(net, store=None, trainable=trainable)
        found, model = messages_of(lambda e=embedder: joint(e, "scan").fit(X, y))
        assert found == []
        assert len(trained_names(model)) == n_trained


def test_published_weights_are_not_told(table):
    X, y = table
    embedder = ImageEmbedder(input_size=32, store=None)
    assert messages_of(lambda: joint(embedder, "scan").fit(X, y))[0] == []
    assert messages_of(lambda: embedder.fit_transform(X["scan"]))[0] == []


def test_what_the_owner_of_a_module_froze_stays_frozen(table):
    X, y = table
    torch.manual_seed(0)
    net = Net()
    net[4].requires_grad_(False)
    for trainable, expected in {
        "auto": set(),
        "all": {"0.weight", "0.bias", "2.weight", "2.bias"},
    }.items():
        embedder = ImageEmbedder(net, store=None, trainable=trainable)
        found, model = messages_of(lambda e=embedder: joint(e, "scan").fit(X, y))
        (message,) = found
        assert "2 of 6 weight tensors of the module Net stay frozen" in message
        assert trained_names(model) == expected
    embedder = ImageEmbedder(net, store=None, trainable=["4"])
    found, model = messages_of(lambda: joint(embedder, "scan").fit(X, y))
    assert found == []
    assert trained_names(model) == {"4.weight", "4.bias"}
    module = mlp(2)
    module[0].requires_grad_(False)
    found, model = messages_of(
        lambda: joint(TorchEncoder(module), ["a", "b"]).fit(X, y)
    )
    assert "2 of 4 weight tensors of the module Sequential stay frozen" in found[0]
    assert trained_names(model) == {"2.weight", "2.bias"}
    assert module[2].weight.requires_grad
    assert not module[0].weight.requires_grad


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_a_comparison_calls_untrained_networks_untrained(table):
    X, y = table
    modalities = [
        ("net", untrained(), "scan"),
        ("ehr", make_pipeline(FunctionTransformer(), TorchEncoder()), ["a", "b"]),
        ("own", TorchEncoder(mlp(2)), ["a", "b"]),
    ]
    result = compare_fusion(
        modalities, X, y, cv=2, strategies="single", scoring="roc_auc", random_state=0
    )
    kinds = {part["name"]: part["transformer"] for part in result.cohort_["modalities"]}
    assert kinds == {
        "net": "ImageEmbedder, untrained",
        "ehr": "Pipeline of an untrained TorchEncoder",
        "own": "TorchEncoder",
    }
