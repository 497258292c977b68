"""Joint estimators with every join: what they learn, and whom the loss reaches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from joint_parameters import joint_parameters
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

from skfusion import (
    ImageEmbedder,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
)
from skfusion.fusion.joint.network import DirectEncoder
from skfusion.image import Preprocessing

NAMED = ("concat", "sum", "gated", "low_rank", "film", "attention")
NAMES = ("ct", "cxr", "labs", "vitals", "notes", "ecg", "demo")
N_FEATURES = 4


def xor_cohort(n_samples, n_modalities, seed):
    """Whether the first features of the first two modalities have the same sign."""
    rng = np.random.default_rng(seed)
    names = NAMES[:n_modalities]
    signs = rng.choice([-1, 1], size=(n_samples, n_modalities))
    values = rng.normal(size=(n_samples, n_modalities, N_FEATURES))
    values[:, :, 0] += 2.5 * signs
    columns = [f"{name}{i}" for name in names for i in range(N_FEATURES)]
    X = pd.DataFrame(values.reshape(n_samples, -1), columns=columns)
    modalities = [
        (name, StandardScaler(), [f"{name}{i}" for i in range(N_FEATURES)])
        for name in names
    ]
    return X, (signs[:, 0] == signs[:, 1]).astype(int), modalities


def nested(n_modalities):
    names = NAMES[:n_modalities]
    return (names[:2], *names[2:])


def joint(modalities, fusion, **parameters):
    fusion = nested(len(modalities)) if fusion == "nested" else fusion
    settings = {"modalities": modalities, "join": fusion, "random_state": 0}
    return JointFusionClassifier(**joint_parameters({**settings, **parameters}))


@pytest.mark.slow
@pytest.mark.parametrize("fusion", [*NAMED, "nested"])
def test_every_join_learns_what_no_modality_shows_alone(fusion):
    X, y, modalities = xor_cohort(600, 2, seed=0)
    fresh, actual, _ = xor_cohort(2000, 2, seed=1)
    quick = {} if fusion == "attention" else {"lr": 1e-2, "max_epochs": 12}
    model = joint(modalities, fusion, **quick).fit(X, y)
    assert model.score(fresh, actual) > 0.95


def test_a_mean_of_two_models_does_not_learn_it():
    X, y, modalities = xor_cohort(600, 2, seed=0)
    fresh, actual, _ = xor_cohort(2000, 2, seed=1)
    late = LateFusionClassifier(modalities, estimator=LogisticRegression())
    assert late.fit(X, y).score(fresh, actual) < 0.56


@pytest.mark.parametrize("n_modalities", [2, 3, 7])
@pytest.mark.parametrize("fusion", [*NAMED, "nested"])
def test_gradients_reach_every_encoder_and_move_it(fusion, n_modalities):
    X, y, modalities = xor_cohort(64, n_modalities, seed=0)
    start, later = (
        joint(
            modalities,
            fusion,
            hidden_dims=(8, 8),
            dropout=0.0,
            modality_dropout=0.0,
            validation_fraction=0.0,
            max_epochs=1,
            lr=lr,
        )
        .fit(X, y)
        .network_
        for lr in (0.0, 1e-2)
    )
    inputs = {
        name: torch.tensor(X.filter(regex=f"^{name}\\d").to_numpy())
        for name in NAMES[:n_modalities]
    }
    present = torch.ones(len(X), n_modalities, dtype=torch.bool)
    loss = nn.functional.cross_entropy(start(inputs, present), torch.tensor(y))
    loss.backward()
    moved = dict(later.named_parameters())
    for name, weights in start.named_parameters():
        if not name.startswith("tokens"):
            assert weights.grad.abs().sum() > 0, name
            assert not torch.equal(weights, moved[name]), name


class Mean(nn.Module):
    """A join of one's own, which minds who is present."""

    def __init__(self, n_modalities, width, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, representations, present):
        there = present[:, :, None].to(representations.dtype)
        return self.scale * (representations * there).sum(dim=1) / there.sum(dim=1)


def test_a_join_of_ones_own_is_given_the_presence():
    X, y, modalities = xor_cohort(200, 2, seed=0)
    gappy = X.copy()
    gappy.iloc[::4, :N_FEATURES] = np.nan
    settings = {"join_params": {"scale": 2.0}, "max_epochs": 2}
    model = joint(modalities, Mean, **settings).fit(gappy, y)
    encoded = model.encode_modalities(gappy)
    alone = 2 * encoded["cxr"][::4]
    np.testing.assert_allclose(model.transform(gappy)[::4], alone, atol=1e-12)


def test_film_modulates_the_modality_with_a_network(cohort, make):
    turned = cohort.modalities[::-1]
    model = make(
        JointFusionClassifier, modalities=turned, join="film", max_epochs=1
    ).fit(cohort.X, cohort.y)
    assert list(model.network_.widths) == ["ehr", "cxr"]
    assert model.network_.fuse.conditioned == 1
    model.set_params(join_params={"conditioned": "ehr"}).fit(cohort.X, cohort.y)
    assert model.network_.fuse.conditioned == 0


def test_type_two_lets_features_enter_as_they_are(cohort, make):
    settings = {"max_epochs": 2, "encoders": "networks", "trainable": "last_block"}
    model = make(JointFusionClassifier, **settings)
    model.fit(cohort.X, cohort.y)
    assert model.fusion_type_ == "II"
    ehr = model.network_.encoders["x_ehr"]
    assert isinstance(ehr, DirectEncoder)
    assert not list(ehr.parameters())
    encoded = model.encode_modalities(cohort.X)
    block = model.modalities_[1][1].transform(cohort.X[["age", "sex"]])
    spread = block.std(axis=0)
    np.testing.assert_allclose(
        encoded["ehr"], (block - block.mean(axis=0)) / spread, atol=1e-5
    )
    np.testing.assert_allclose(
        model.predict_encoded(encoded), model.predict_proba(cohort.X), atol=1e-6
    )
    repeated = model.set_params(join_params={"replicate": 3}).fit(cohort.X, cohort.y)
    columns = repeated.encode_modalities(cohort.X)["ehr"]
    np.testing.assert_array_equal(columns, np.tile(encoded["ehr"], 3))
    assert repeated.predict_encoded(repeated.encode_modalities(cohort.X)).shape[1] == 2
    every = make(JointFusionClassifier, encoders=["ehr", "cxr"], max_epochs=1)
    assert every.fit(cohort.X, cohort.y).fusion_type_ == "I"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"encoders": "images"}, "must be one of .'all', 'networks'. or a list"),
        ({"encoders": ["ehr"]}, "'cxr' brings a network"),
        ({"encoders": ["cxr", "ekg"]}, "'ekg', which is not a modality"),
        ({"encoders": "networks", "join": "gated"}, "cxr has 64, ehr has 3"),
        ({"join": ("cxr", "her")}, "Did you mean 'ehr'"),
        ({"join": "attention", "join_params": {"heads": 5}}, "does not divide"),
        ({"auxiliary_loss": -1.0}, "auxiliary_loss must be a number of 0 or more"),
        ({"loss": "huber"}, "loss must be one of .*got 'huber'"),
    ],
)
def test_choices_that_a_cohort_cannot_bear(cohort, make, parameters, words):
    with pytest.raises(ValueError, match=words):
        make(JointFusionClassifier, **parameters).fit(cohort.X, cohort.y)


def test_a_net_without_any_encoder_is_early_fusion():
    X, y, modalities = xor_cohort(60, 2, seed=0)
    with pytest.raises(ValueError, match="no modality has an encoder"):
        joint(modalities, "concat", encoders="networks").fit(X, y)


class Colours(nn.Module):
    """A net of one convolution."""

    preprocessing = Preprocessing(32, (0.5,) * 3, (0.25,) * 3)

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Conv2d(3, 6, 3)

    def forward(self, images):
        return torch.relu(self.layer(images)).mean(dim=(2, 3))


class Detached(Colours):
    """A net whose output the loss cannot be traced back from."""

    def forward(self, images):
        return super().forward(images).detach()


@pytest.mark.parametrize("fusion", [*NAMED, (("cxr", "ehr"),)], ids=str)
def test_gradients_reach_the_net_of_an_image(fusion, cohort, make, store_path):
    embedder = ImageEmbedder(Colours(), input_size=32, store=store_path)
    modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
    settings = {"trainable": "all", "max_epochs": 2, "hidden_dims": (8, 8)}
    model = make(
        JointFusionClassifier, modalities=modalities, join=fusion, **settings
    ).fit(cohort.X, cohort.y)
    tail = model.network_.encoders["x_cxr"].backbone
    before = Colours()
    assert all(
        not torch.equal(weights, original)
        for weights, original in zip(
            tail.parameters(), before.parameters(), strict=True
        )
    )


def test_an_encoder_that_returns_no_gradient(cohort, make, store_path):
    embedder = ImageEmbedder(Detached(), input_size=32, store=store_path)
    modalities = [("cxr", embedder, "scan"), cohort.modalities[1]]
    model = make(JointFusionClassifier, modalities=modalities, trainable="all")
    with pytest.raises(ValueError, match="'cxr'.* carries no gradient"):
        model.fit(cohort.X, cohort.y)


MINI_BATCHES = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "a row of weight 2 falls into one mini-batch, the row twice into two",
)


# "concat" is checked with the other estimators' defaults
@pytest.mark.slow
@parametrize_with_checks(
    [JointFusionClassifier(join="low_rank", auxiliary_loss=0.5, max_epochs=10)],
    expected_failed_checks=lambda _: MINI_BATCHES,
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        kind(join=fusion)
        for fusion in (*NAMED[1:], ("ehr",))
        for kind in (JointFusionClassifier, JointFusionRegressor)
    ],
    expected_failed_checks=lambda _: MINI_BATCHES,
)
def test_sklearn_check_of_every_join(estimator, check):
    check(estimator)
