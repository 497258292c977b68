"""Values and trainings that are not finite are errors that say where and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    JointFusionRegressor,
)
from skfusion.exceptions import FallbackWarning
from skfusion.fusion import TorchEncoder, TrainingSettings
from skfusion.image import Preprocessing
from skfusion.survival import JointFusionSurvival

RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(60, 4)), columns=list("abcd"))
EVENTS = np.array(
    list(zip(RNG.random(60) < 0.5, RNG.random(60) + 0.1, strict=True)),
    dtype=[("event", bool), ("time", float)],
)
TARGETS = {
    JointFusionClassifier: np.arange(60) % 2,
    JointFusionRegressor: X["a"].to_numpy(),
    JointFusionSurvival: EVENTS,
}
TASKS = list(TARGETS)


def joint(kind=JointFusionClassifier, transformer=None, fraction=0.0, **parameters):
    transformer = FunctionTransformer() if transformer is None else transformer
    return kind(
        [("net", TorchEncoder(), ["a", "b"]), ("ehr", transformer, ["c", "d"])],
        training=TrainingSettings(validation_fraction=fraction),
        **{"max_epochs": 3, "random_state": 0, **parameters},
    )


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize(
    "transformer",
    [
        FunctionTransformer(),
        StandardScaler(),
        TorchEncoder(),
        make_pipeline(FunctionTransformer(), TorchEncoder()),
    ],
    ids=["passed on", "refused by scikit-learn", "encoder", "pipeline"],
)
def test_infinite_cells_are_named(kind, transformer):
    bad = X.copy()
    bad.loc[[3, 7], "d"] = -np.inf
    words = r"(?s)'ehr'.*Infinite values are in 'd' \(2 rows\), first .*\[3, 7\]"
    with pytest.raises(ValueError, match=words):
        joint(kind, transformer).fit(bad, TARGETS[kind])
    model = joint(kind, transformer).fit(X, TARGETS[kind])
    with pytest.raises(ValueError, match=words):
        model.predict(bad)


def test_infinity_that_a_transformer_makes_is_named_by_its_feature():
    def inverse(Z):
        with np.errstate(divide="ignore"):
            return 1 / np.asarray(Z)

    zero = X.copy()
    zero.loc[5, "c"] = 0.0
    names = FunctionTransformer(inverse, feature_names_out=lambda _, n: ["1/c", "1/d"])
    with pytest.raises(ValueError, match=r"feature\(s\) '1/c', first .*\[5\]"):
        joint(transformer=names).fit(zero, TARGETS[JointFusionClassifier])


def test_numbers_beyond_the_precision_of_the_network_are_infinite():
    large = X.copy()
    large.loc[5, "c"] = 1e39
    encoder = TorchEncoder(nn.Linear(2, 3))  # in float32, like the whole network
    model = joint().set_params(net=encoder)
    with pytest.raises(ValueError, match=r"in float32 in 1 .*'x0', .*\[5\]. Scale"):
        model.fit(large, TARGETS[JointFusionClassifier])


def test_infinity_in_early_fusion_is_placed_where_the_transformer_refuses_it():
    bad = X.copy()
    bad.loc[3, "d"] = np.inf
    model = EarlyFusionClassifier(
        [("x", StandardScaler(), ["a"]), ("ehr", StandardScaler(), ["c", "d"])]
    )
    with pytest.raises(ValueError, match=r"(?s)'ehr'.* 'd' \(1 rows\), .*\[3\]"):
        model.fit(bad, TARGETS[JointFusionClassifier])


def test_infinity_that_a_transformer_repairs_is_no_error():
    bad = X.copy()
    bad.loc[3, "d"] = np.inf
    repair = FunctionTransformer(lambda Z: np.nan_to_num(Z, posinf=9.0))
    model = joint(transformer=repair).fit(bad, TARGETS[JointFusionClassifier])
    assert np.isfinite(model.predict_proba(bad)).all()


@pytest.mark.parametrize("kind", [JointFusionClassifier, JointFusionRegressor])
@pytest.mark.parametrize("fraction", [0.0, 0.25])
@pytest.mark.parametrize("lr", [10.0, 1e6])
def test_a_training_that_ends_far_from_a_minimum(kind, fraction, lr):
    """The weights are finite, and the probabilities are 0 and 1."""
    model = joint(kind, fraction=fraction, lr=lr, max_epochs=3)
    with pytest.warns(FallbackWarning, match=r"did not converge: its loss .* Lower lr"):
        model.fit(X, TARGETS[kind])
    assert np.isfinite(model.predict(X).astype(float)).all()


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_a_learning_rate_that_is_too_large(kind, fraction):
    model = joint(kind, fraction=fraction, lr=1e200, max_epochs=4)
    with pytest.raises(ValueError, match=r"diverged.*epoch \d.*Lower lr \(now 1e\+200"):
        model.fit(X, TARGETS[kind])
    assert not hasattr(model, "network_")


class Explosive(nn.Module):
    """Its weights become infinite after some steps of training."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.n_left = n_steps

    def forward(self, x):
        if self.training:
            self.n_left -= 1
        return self.layer(x) * (torch.inf if self.n_left < 0 else 1.0)


def test_the_modality_and_the_epoch_of_a_divergence_are_named():
    torch.manual_seed(0)
    model = joint(batch_size=20).set_params(net=TorchEncoder(Explosive(4)))
    with pytest.raises(ValueError, match=r"epoch 2 of .*'net' \(20 of the 20 r"):
        model.fit(X, TARGETS[JointFusionClassifier])


class Logarithm(nn.Linear):
    """Its output is NaN where the linear function is negative."""

    def forward(self, x):
        return torch.log(super().forward(x))


def seeded_logarithm():
    torch.manual_seed(0)
    return Logarithm(2, 3)


def nan_weights():
    module = nn.Linear(2, 3)
    with torch.no_grad():
        module.weight[0, 0] = torch.nan
    return module


def test_rows_for_which_a_module_returns_nan_are_not_absent():
    encoder = TorchEncoder(seeded_logarithm())
    values = X[["a", "b"]].copy()
    values.iloc[1] = np.nan  # is absent
    with pytest.raises(ValueError, match=r"Logarithm returns NaN .* \d\d of 60 rows"):
        encoder.fit_transform(values)
    model = joint().set_params(net=encoder)
    with pytest.raises(ValueError, match=r"'net'.*Logarithm returns NaN .*position"):
        model.fit(X, TARGETS[JointFusionClassifier])
    early = EarlyFusionClassifier([("net", encoder, ["a", "b"])])
    with pytest.raises(ValueError, match=r"'net'.*Logarithm returns NaN .*position"):
        early.fit(X, TARGETS[JointFusionClassifier])


def test_weights_that_are_nan_before_the_training():
    model = joint().set_params(net=TorchEncoder(nan_weights()))
    with pytest.raises(ValueError, match="'net'.*Linear returns NaN .* 60 of 60 rows"):
        model.fit(X, TARGETS[JointFusionClassifier])
    scans = X.assign(scan=list(RNG.random((60, 16, 16))))
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.preprocessing = Preprocessing(16, (0.5,) * 3, (0.5,) * 3)
    with torch.no_grad():
        net[0].bias[0] = torch.nan
    embedder = ImageEmbedder(net, store=None, trainable="all")
    model = JointFusionClassifier([("scan", embedder, "scan")], random_state=0)
    with pytest.raises(ValueError, match=r"1 of \d+ weight .*before.*x_scan.*0.bias'"):
        model.fit(scans, TARGETS[JointFusionClassifier])


def test_a_training_that_breaks_off_keeps_the_best_validated_weights():
    torch.manual_seed(0)
    model = joint(fraction=0.25, batch_size=15, max_epochs=9)
    model.set_params(net=TorchEncoder(Explosive(3 * 3 + 1)))
    with pytest.warns(UserWarning, match=r"diverged in epoch 4 .*weights of epoch \d"):
        model.fit(X, TARGETS[JointFusionClassifier])
    assert model.n_epochs_ == 4
    for weights in model.network_.parameters():
        assert weights.isfinite().all()


def test_a_network_that_returns_infinity_for_rows_far_from_the_training_rows():
    encoder = TorchEncoder(nn.Linear(2, 3))  # in float32, like the whole network
    small = X * 1e-3
    model = joint(TASKS[1]).set_params(net=encoder).fit(small, X["a"])
    far = small.copy()
    far.loc[[2, 4], ["c", "d"]] = 3e38
    with pytest.raises(ValueError, match=r"2 of 60 rows, first .*\[2, 4\]"):
        model.predict(far)


@pytest.mark.parametrize("loss", ["hazard", "cox"])
def test_survival_in_which_all_events_have_weight_zero(loss):
    weights = (~EVENTS["event"]).astype(float)
    model = joint(JointFusionSurvival, StandardScaler(), loss=loss)
    n_left = int(weights.sum())
    with pytest.raises(ValueError, match=f"censored in the {n_left} rows with a sampl"):
        model.fit(X, EVENTS, sample_weight=weights)
    assert model.fit(X, EVENTS, sample_weight=1 - weights).predict(X).shape == (60,)
