"""TorchEncoder: frozen elsewhere, trained in joint fusion, its module never touched."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from joint_parameters import joint_parameters
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.fusion import TorchEncoder, TrainingSettings


class Recurrent(nn.Module):
    """The last state of a GRU over the columns."""

    def __init__(self, n_units: int = 6) -> None:
        super().__init__()
        self.cell = nn.GRU(1, n_units, batch_first=True)

    def forward(self, x):
        return self.cell(x[:, :, None])[1][-1]


def mlp(n_features: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(n_features, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)
    )


@pytest.fixture
def visits():
    """120 cases of six measurements; cases 5 and 6 lack all but the last."""
    rng = np.random.default_rng(0)
    X = rng.normal(5, 3, (120, 6))
    y = (X[:, 0] > X[:, 5]).astype(int)
    X[:, :5][rng.random((120, 5)) < 0.05] = np.nan
    X[[5, 6], :5] = np.nan
    return pd.DataFrame(X, columns=[f"v{i}" for i in range(6)]), y


def modalities(encoder):
    return [
        ("visits", encoder, [f"v{i}" for i in range(5)]),
        ("last", StandardScaler(), ["v5"]),
    ]


def joint(encoder, X, y, **parameters):
    settings = {"modalities": modalities(encoder), "max_epochs": 4, "random_state": 0}
    settings = joint_parameters({**settings, **parameters})
    return JointFusionClassifier(**settings).fit(X, y)


def test_values_are_standardised_and_gaps_filled_with_the_mean(visits):
    X = visits[0].drop(columns="v5")
    encoder = TorchEncoder(nn.Identity()).fit(X)
    expected = StandardScaler().fit_transform(X)
    expected[np.isnan(expected) & ~np.isnan(X).all(axis=1).to_numpy()[:, None]] = 0
    np.testing.assert_allclose(encoder.transform(X), expected, atol=1e-6)
    raw = TorchEncoder(nn.Identity(), standardize=False).fit(X).transform(X)
    gaps = X.isna().to_numpy() & ~np.isnan(raw)
    means = np.broadcast_to(X.mean().to_numpy(), X.shape)
    np.testing.assert_allclose(raw[gaps], means[gaps], rtol=1e-6)
    assert gaps.any()


def test_rows_without_a_value_are_absent(visits):
    X, _ = visits
    Z = TorchEncoder(Recurrent()).fit_transform(X.drop(columns="v5"))
    assert Z.shape == (120, 6)
    assert np.flatnonzero(np.isnan(Z).any(axis=1)).tolist() == [5, 6]


def test_the_layout_of_the_input_does_not_matter(visits):
    X, _ = visits
    rows, columns = (np.array(X, order=order) for order in "CF")
    encoder = TorchEncoder(mlp(6)).fit(rows)
    assert encoder.prepare(rows).flags.c_contiguous
    assert encoder.prepare(columns).flags.c_contiguous
    np.testing.assert_array_equal(encoder.prepare(rows), encoder.prepare(columns))


def test_the_module_is_copied_and_its_state_kept(visits):
    X, _ = visits
    module = mlp(6)
    before = copy.deepcopy(module.state_dict())
    encoder = TorchEncoder(module).fit(X)
    assert encoder.module_ is not module
    assert module.training
    with torch.inference_mode():
        expected = copy.deepcopy(module).eval()(torch.from_numpy(encoder.prepare(X)))
    np.testing.assert_array_equal(encoder.transform(X), expected.numpy())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_a_function_makes_the_module_from_the_number_of_columns(visits):
    X, _ = visits
    state = torch.get_rng_state()
    first, again, other = (
        TorchEncoder(mlp, random_state=seed).fit_transform(X) for seed in (0, 0, 1)
    )
    assert first.shape == (120, 4)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, equal_nan=True)
    assert torch.equal(torch.get_rng_state(), state)


def test_clone_and_pickle(visits):
    X, _ = visits
    encoder = TorchEncoder(Recurrent()).fit(X)
    copied = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(copied.transform(X), encoder.transform(X))
    np.testing.assert_array_equal(clone(encoder).fit_transform(X), encoder.transform(X))
    assert list(encoder.get_feature_names_out())[:2] == [
        "torchencoder0",
        "torchencoder1",
    ]


@pytest.mark.parametrize(
    ("parameters", "kind", "words"),
    [
        ({"module": 3}, TypeError, "must be a torch.nn.Module, a function"),
        ({"module": lambda n: n}, TypeError, r"module\(6\) returned int"),
        ({"module": nn.Linear(4, 2)}, ValueError, "Linear fails on rows of 6 columns"),
        ({"module": nn.GRU(6, 2)}, ValueError, "GRU turns 2 rows into tuple"),
        ({"module": nn.Unflatten(1, (1, 6))}, ValueError, r"into \(2, 1, 6\)"),
        ({"lr_factor": -1}, ValueError, "lr_factor must be a number of 0 or more"),
        ({"trainable": "some"}, ValueError, "trainable='some' is unknown"),
        ({"trainable": ["4"]}, ValueError, "no parameter has the name '4'"),
    ],
)
def test_bad_parameters_are_explained(visits, parameters, kind, words):
    with pytest.raises(kind, match=words):
        TorchEncoder(**parameters).fit(visits[0])


@pytest.mark.parametrize(
    ("trainable", "moved"),
    [
        ("all", {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"}),
        ("last_block", {"3.weight", "3.bias"}),
        (["0"], {"0.weight", "0.bias"}),
        ("head", set()),
    ],
)
def test_joint_fusion_trains_what_it_should(visits, trainable, moved):
    X, y = visits
    torch.manual_seed(0)
    module = mlp(5)
    model = joint(TorchEncoder(module, trainable=trainable), X, y)
    trained = dict(model.network_.encoders["x_visits"].backbone.named_parameters())
    assert moved == {
        name
        for name, parameter in module.named_parameters()
        if not torch.equal(parameter, trained[name])
    }
    assert moved == {name for name, p in trained.items() if p.requires_grad}


@pytest.mark.parametrize(
    ("trainable", "follows"), [("all", True), (["0"], False), (["1"], True)]
)
@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_batch_norms_follow_the_data_where_they_are_trained(visits, trainable, follows):
    X, y = visits
    # 97 rows leave a last batch of one row, of which no batch norm can learn
    encoder = TorchEncoder(mlp, trainable=trainable)
    model = joint(encoder, X[:97], y[:97], validation_fraction=0.0)
    mean = model.network_.encoders["x_visits"].backbone[1].running_mean
    assert bool(mean.any()) == follows


def test_a_module_that_lets_no_gradient_through(visits):
    class Detached(Recurrent):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(ValueError, match="'visits'.* carries no gradient"):
        joint(TorchEncoder(Detached(), trainable="all"), *visits)


def test_the_encoder_has_a_learning_rate_of_its_own(visits):
    X, y = visits
    torch.manual_seed(0)
    module = Recurrent()
    still = joint(TorchEncoder(module, lr_factor=0.0), X, y)
    kept = still.network_.encoders["x_visits"].backbone
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter, kept.get_parameter(name)), name


def test_precision_is_the_modules_own(visits):
    X, y = visits
    exact = joint(TorchEncoder(), X, y)
    assert exact.network_.head[1].weight.dtype == torch.float64
    single = joint(TorchEncoder(Recurrent()), X, y)
    assert {p.dtype for p in single.network_.parameters()} == {torch.float32}


def test_a_pipeline_may_end_in_an_encoder(visits):
    X, y = visits
    X = X.assign(v1=np.where(X["v1"] > 5, "high", "low"))
    steps = make_pipeline(TabularEncoder(), TorchEncoder(mlp, random_state=0))
    model = joint(steps, X, y)
    fitted = model.modalities_[0][1]
    trained = model.network_.encoders["x_visits"].backbone
    assert not torch.equal(trained[0].weight, fitted[-1].module_[0].weight)
    assert model.predict_proba(X).shape == (120, 2)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))


@pytest.mark.long
def test_joint_training_learns_what_frozen_random_features_do_not():
    """The order of visits matters: only a trained recurrent net can tell."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, 8)))
    y = np.abs(np.diff(X, axis=1)).max(axis=1)  # the greatest jump
    model = JointFusionRegressor(
        [("visits", TorchEncoder(Recurrent(24), random_state=0), list(range(8)))],
        max_epochs=35,
        lr=2e-2,
        training=TrainingSettings(patience=35),
        dropout=0.0,
        modality_dropout=0.0,
        random_state=0,
    )
    frozen = clone(model).set_params(visits__trainable="head")
    trained, frozen = (
        m.fit(X[:400], y[:400]).score(X[400:], y[400:]) for m in (model, frozen)
    )
    assert trained > 0.8
    assert trained > frozen + 0.15


@pytest.mark.parametrize("strategy", [EarlyFusionClassifier, LateFusionClassifier])
@pytest.mark.filterwarnings("ignore:.*are random:UserWarning")
def test_a_frozen_extractor_elsewhere(visits, strategy):
    X, y = visits
    encoder = TorchEncoder(mlp, random_state=0)
    learner = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model = strategy(modalities(encoder), estimator=learner, random_state=0)
    proba = model.fit(X, y).predict_proba(X)
    assert proba.shape == (120, 2)
    assert np.isfinite(proba).all()
