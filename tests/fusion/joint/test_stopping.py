"""Early stopping, gradual unfreezing, weight decay, and the rows that are held out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import (
    SelectFromModel,
    SelectKBest,
    VarianceThreshold,
    f_classif,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder
from skorch.callbacks import Callback
from torch import nn

from skfusion import JointFusionClassifier, TabularEncoder
from skfusion._fitting.pipelines import fit_transform_steps, may_use_target
from skfusion.feature_selection import GiniSelector
from skfusion.fusion import (
    GRUDEncoder,
    ModelFeatures,
    SequenceTransformer,
    TorchEncoder,
    TrainingSettings,
)
from skfusion.fusion.joint.training import _without_decay

N = 200
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(N, 4)), columns=list("abcd"))
Y = (X["a"] + RNG.normal(size=N) > 0).astype(int).to_numpy()
SCALED = ("v", StandardScaler(), ["c", "d"])


class Layers(nn.Sequential):
    """Three layers, which are unfrozen one by one."""

    def __init__(self, n_features):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(
                nn.Linear(n_features, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh()
            )
            self.append(nn.Linear(6, 6))


class Frozen(Callback):
    """Record how many weights of the encoder are trained, and the learning rate."""

    seen: list = []  # noqa: RUF012

    def on_train_begin(self, net, **kwargs):
        Frozen.seen = []

    def on_epoch_end(self, net, **kwargs):
        trained = sum(
            weight.requires_grad
            for name, weight in net.module_.named_parameters()
            if ".backbone." in name
        )
        Frozen.seen.append((trained, net.optimizer_.param_groups[-1]["lr"]))


def unfrozen(**settings):
    parts = [("u", TorchEncoder(Layers, trainable="all"), ["a", "b"]), SCALED]
    return JointFusionClassifier(
        parts,
        **{"max_epochs": 40, "lr": 0.05, "random_state": 0},
        training=TrainingSettings(callbacks=[("frozen", Frozen())], **settings),
    ).fit(X, Y)


# -- patience and unfreezing -----------------------------------------------------------


@pytest.mark.parametrize(("every", "patience"), [(10, 5), (8, 2), (3, 5)])
def test_training_does_not_stop_before_all_blocks_are_trained(every, patience):
    model = unfrozen(unfreeze_every=every, patience=patience)
    trained = [weights for weights, _ in Frozen.seen]
    assert trained[0] == 2
    assert trained[every] == 4
    assert trained[2 * every :] == [6] * (model.n_epochs_ - 2 * every)
    losses = [epoch["valid_loss"] for epoch in model.history_]
    first = 2 * every  # index of the first epoch with all blocks
    assert model.n_epochs_ >= first + patience
    # without the wait, training would have stopped in the first stages
    short = unfrozen(patience=patience)
    assert short.n_epochs_ < 2 * every or every == 3
    # from then on, patience counts as ever
    better = np.flatnonzero(np.minimum.accumulate([np.inf, *losses[:-1]]) > losses)
    last = max(int(better[-1]), first - 1)
    assert model.n_epochs_ == min(last + 1 + patience, 40)


def test_a_plateau_waits_for_the_last_block_too():
    model = unfrozen(unfreeze_every=10, patience=12, scheduler="plateau")
    rates = [rate for _, rate in Frozen.seen]
    assert rates[:20] == [0.05] * 20
    assert min(rates) < 0.04
    assert [epoch["event_lr"] for epoch in model.history_][:20] == [0.05] * 20


# -- weight decay ----------------------------------------------------------------------


def test_decay_acts_on_matrices_only():
    modules = {
        "convolution": nn.Conv2d(3, 4, 3),
        "batch norm": nn.BatchNorm2d(4),
        "layer norm": nn.LayerNorm((4, 5)),  # whose weight has two axes
        "recurrent": nn.GRU(4, 5),
        "decay rates": GRUDEncoder(18, 3),
        "sequence": SequenceTransformer(18, 3, width=8),
    }
    decayed = {
        key: [
            name
            for name, _ in module.named_parameters()
            if name not in _without_decay(module)
        ]
        for key, module in modules.items()
    }
    assert decayed["convolution"] == ["weight"]
    assert decayed["batch norm"] == decayed["layer norm"] == []
    assert decayed["recurrent"] == ["weight_ih_l0", "weight_hh_l0"]
    assert "summary" not in decayed["sequence"]
    assert not [
        name for name in decayed["sequence"] if "norm" in name or "bias" in name
    ]
    assert "embed.weight" in decayed["sequence"]


@pytest.mark.parametrize("join", ["concat", "attention", "low_rank", "film"])
def test_biases_and_tokens_do_not_decay_in_training(join):
    class Decayed(Callback):
        names: list = []  # noqa: RUF012

        def on_train_begin(self, net, **kwargs):
            of = {id(w): name for name, w in net.module_.named_parameters()}
            groups = net.optimizer_.param_groups
            found = [of[id(w)] for group in groups for w in group["params"]]
            assert sorted(found) == sorted(of.values())  # each of them once
            Decayed.names = [
                of[id(w)]
                for group in groups
                if group["weight_decay"]
                for w in group["params"]
            ]

    JointFusionClassifier(
        [("u", StandardScaler(), ["a", "b"]), SCALED],
        **{"join": join, "max_epochs": 1, "auxiliary_loss": 0.5},
        training=TrainingSettings(callbacks=[("decayed", Decayed())]),
    ).fit(X, Y)
    assert "encoders.x_u.project.1.weight" in Decayed.names
    assert "modality_heads.0.weight" in Decayed.names
    for word in ("bias", "token", "norm", "types"):
        assert not [name for name in Decayed.names if word in name]


# -- rows held out for early stopping --------------------------------------------------


class Means(TransformerMixin, BaseEstimator):
    """A transformer of a third party that learns from the target."""

    def fit(self, X, y=None):
        self.rows_ = len(X)
        self.means_ = [np.asarray(X)[y == label].mean(axis=0) for label in (0, 1)]
        return self

    def transform(self, X):
        return np.asarray(X) @ (self.means_[1] - self.means_[0])[:, None]

    def get_feature_names_out(self, input_features=None):
        return np.array(["score"])


@pytest.mark.parametrize(
    ("transformer", "uses"),
    [
        (StandardScaler(), False),
        (PCA(), False),
        (TabularEncoder(), False),
        (VarianceThreshold(), False),
        (make_pipeline(StandardScaler(), PCA()), False),
        (ColumnTransformer([("a", StandardScaler(), [0])]), False),
        (SelectKBest(), True),
        (SelectFromModel(LogisticRegression()), True),
        (LinearDiscriminantAnalysis(), True),
        (TargetEncoder(), True),
        (GiniSelector(), True),
        (ModelFeatures(LogisticRegression()), True),
        (ColumnTransformer([("a", make_pipeline(PCA(), SelectKBest()), [0])]), True),
        (Means(), True),
    ],
)
def test_transformers_that_may_use_the_target(transformer, uses):
    assert may_use_target(transformer) is uses


@pytest.mark.parametrize("as_frame", [False, True])
def test_steps_that_use_the_target_do_not_see_the_rows_held_out(as_frame):
    held_out = np.zeros(N, dtype=bool)
    held_out[RNG.permutation(N)[:60]] = True
    steps = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    if as_frame:
        steps.set_output(transform="pandas")
    wrong = np.where(held_out, 1 - Y, Y)
    found = fit_transform_steps(steps, X, wrong, {}, held_out)
    scaler = StandardScaler().fit(X)  # which does not use the target
    np.testing.assert_allclose(steps[0].mean_, scaler.mean_)
    fitted = scaler.transform(X[~held_out])
    alone = LinearDiscriminantAnalysis().fit(fitted, Y[~held_out])
    expected = alone.transform(scaler.transform(X))
    np.testing.assert_allclose(np.asarray(found), expected)
    if as_frame:
        assert list(found.index) == list(X.index)


@pytest.mark.parametrize(
    "step",
    [LinearDiscriminantAnalysis(), SelectKBest(f_classif, k=2), GiniSelector(2)]
    + [Means(), SelectFromModel(LogisticRegression(C=0.1))],
)
def test_early_stopping_is_not_deceived_by_noise(step):
    """Hundreds of columns of noise, from which a step picks what suits the target."""
    rng = np.random.default_rng(5)
    noise = pd.DataFrame(rng.normal(size=(120, 80))).add_prefix("x")
    y = np.tile([0, 1], 60)

    def stopping_loss(fraction):
        model = JointFusionClassifier(
            [("u", make_pipeline(StandardScaler(), step), list(noise))],
            **{"max_epochs": 15, "random_state": 0, "dropout": 0.0},
            training=TrainingSettings(validation_fraction=fraction),
        ).fit(noise, y)
        return min(epoch["valid_loss"] for epoch in model.history_)

    assert stopping_loss(0.3) > 0.66  # log 2 is 0.693


class Sizes(Callback):
    """Record the number of rows held out."""

    n_held_out = 0

    def on_epoch_end(self, net, dataset_valid=None, **kwargs):
        Sizes.n_held_out = len(dataset_valid)


class Reader(TransformerMixin, BaseEstimator):
    """A first step that cannot read the rows with large values."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.where(np.asarray(X)[:, [0]] > 1.5, np.nan, np.asarray(X))


def test_rows_that_cannot_be_read_leave_the_others_held_out():
    lost = (X["a"] > 1.5).to_numpy()
    assert 5 < lost.sum() < 40
    model = JointFusionClassifier(
        [("u", make_pipeline(Reader(), Means()), ["a", "b"])],
        **{"max_epochs": 2, "random_state": 0},
        training=TrainingSettings(callbacks=[("sizes", Sizes())]),
    )
    with pytest.warns(UserWarning, match=f"{lost.sum()} of {N} rows"):
        model.fit(X, Y)
    n_fitted = model.modalities_[0][1][-1].rows_
    assert n_fitted < N - lost.sum() - 15
    assert "valid_loss" in model.history_[-1]
    assert n_fitted + Sizes.n_held_out == N - lost.sum()
