"""What joint fusion promises of every join, for every task."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

from skfusion import JointFusionClassifier, JointFusionRegressor
from skfusion.survival import JointFusionSurvival

JOINS = (
    "concat",
    "sum",
    "gated",
    "low_rank",
    "film",
    "attention",
    (("ct", "cxr"), "labs"),
)
NAMES = ("ct", "cxr", "labs")
N_ROWS = 60


def times(signal):
    y = np.empty(len(signal), dtype=[("event", bool), ("time", float)])
    y["event"] = np.arange(len(signal)) % 3 > 0
    y["time"] = np.exp(-signal)
    return y


# kind, its target from a signal, its parameters
TASKS = {
    "binary": (JointFusionClassifier, lambda s: np.where(s > 0, "ill", "well"), {}),
    "multiclass": (JointFusionClassifier, lambda s: np.digitize(s, [-0.5, 0.5]), {}),
    "labels": (
        JointFusionClassifier,
        lambda s: np.column_stack([s > 0, np.abs(s) > 0.7, s > 0.5]).astype(int),
        {"loss": "focal"},
    ),
    "number": (JointFusionRegressor, lambda s: 100 * s, {"loss": "huber"}),
    "numbers": (JointFusionRegressor, lambda s: np.column_stack([s, -5 * s]), {}),
    "hazards": (JointFusionSurvival, times, {"loss_params": {"n_intervals": 4}}),
    "cox": (JointFusionSurvival, times, {"loss": "cox"}),
}


@pytest.fixture(scope="module")
def cohort():
    """60 rows of 30 patients, three modalities of two columns, one with gaps."""
    rng = np.random.default_rng(0)
    columns = [f"{name}{i}" for name in NAMES for i in range(2)]
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 6)), columns=columns)
    signal = X["ct0"].to_numpy() * np.sign(X["cxr0"].to_numpy())
    X.loc[::5, ["ct0", "ct1"]] = np.nan
    X["patient"] = np.repeat(np.arange(N_ROWS // 2), 2)
    return X, signal


def outputs(model, X):
    if isinstance(model, JointFusionClassifier):
        return model.predict_proba(X)
    if isinstance(model, JointFusionRegressor):
        return model.predict(X)
    at = np.array([0.5, 1.0, 2.0])
    return np.column_stack([model.predict(X), model.predict_survival_function(X, at)])


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fusion", JOINS, ids=str)
def test_every_join_keeps_the_contract_for_every_task(fusion, task, cohort):
    X, signal = cohort
    kind, target, parameters = TASKS[task]
    y = target(signal)
    modalities = [(name, StandardScaler(), [f"{name}0", f"{name}1"]) for name in NAMES]
    settings = {"join": fusion, "auxiliary_loss": 0.5, "max_epochs": 2, **parameters}
    model = kind(modalities, groups="patient", random_state=0, **settings).fit(X, y)
    assert "valid_loss" in model.history_[-1]
    whole = outputs(model, X)
    assert np.isfinite(whole).all()
    assert whole.std(axis=0).max() > 0

    # rows
    order = np.random.default_rng(1).permutation(N_ROWS)
    np.testing.assert_allclose(outputs(model, X.iloc[order]), whole[order], atol=1e-12)
    for rows in ([7], [3, 4, 5, 50]):  # row 5 lacks a modality
        np.testing.assert_allclose(
            outputs(model, X.iloc[rows]), whole[rows], rtol=1e-9, atol=1e-12
        )
    # columns
    turned = X[X.columns[::-1]].drop(columns="patient")
    np.testing.assert_array_equal(outputs(model, turned), whole)
    # copies; groups by a column and as an argument
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(model)), X), whole)
    again = clone(model).set_params(groups=None)
    again.fit(X.drop(columns="patient"), y, groups=X["patient"])
    np.testing.assert_array_equal(outputs(again, X), whole)
    # presence
    presence = model.presence(X)
    assert list(presence.columns) == list(NAMES)
    np.testing.assert_array_equal(presence["ct"], np.arange(N_ROWS) % 5 > 0)
    encoded = model.encode_modalities(X)
    assert np.isnan(encoded["ct"]).all(axis=1).sum() == N_ROWS // 5
    expected = whole[:, 0] if kind is JointFusionSurvival else whole
    np.testing.assert_allclose(model.predict_encoded(encoded), expected, rtol=1e-9)
    single = model.predict_modalities(X)
    assert np.isnan(single["ct"][::5]).all()
    assert np.isfinite(single["labs"]).all()
    assert model.supports_missing_ == dict.fromkeys(NAMES, True)
    assert model.transform(X).shape == (N_ROWS, len(model.get_feature_names_out()))
