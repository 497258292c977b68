"""Predicted probabilities as features: out of fold, patients kept together."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor
from skfusion.fusion import ModelFeatures

FOREST = RandomForestClassifier(20, min_samples_leaf=1, random_state=0)


def fingerprints(n_patients, seed, rows=4):
    """Return patients with a fingerprint that says nothing, and a weak lab value."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_patients), rows)
    y = rng.integers(0, 2, n_patients)[groups]
    X = pd.DataFrame(
        rng.normal(size=(n_patients, 5))[groups], columns=[f"p{i}" for i in range(5)]
    )
    X["lab"] = y + rng.normal(0, 1, len(y))
    return X, y, groups


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(90, 3)), columns=list("abc"))
    y = np.digitize(X["a"] + rng.normal(0, 0.5, 90), [-0.5, 0.5])
    return X, y, np.repeat(np.arange(30), 3)


@pytest.mark.parametrize("weighted", [False, True])
def test_training_rows_are_predicted_out_of_fold(data, weighted):
    X, y, groups = data
    cv = GroupKFold(5)
    learner = LogisticRegression()
    weights = np.linspace(0.1, 3, 90) if weighted else None
    features = ModelFeatures(learner, cv=cv)
    found = features.fit_transform(X, y, sample_weight=weights, groups=groups)
    params = {"sample_weight": weights} if weighted else {}
    expected = cross_val_predict(
        learner, X, y, cv=cv, groups=groups, params=params, method="predict_proba"
    )
    np.testing.assert_allclose(found, expected)
    whole = clone(learner).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(features.transform(X), whole.predict_proba(X))
    assert list(features.get_feature_names_out()) == ["proba_0", "proba_1", "proba_2"]
    again = clone(features).fit(X, y, sample_weight=weights).transform(X)
    np.testing.assert_array_equal(again, features.transform(X))


def test_two_classes_give_one_column_and_log_odds(data):
    X, y, groups = data
    named = np.where(y == 2, "ill", "fit")
    proba = ModelFeatures(LogisticRegression(), random_state=0)
    column = proba.fit_transform(X, named, groups=groups)
    assert column.shape == (90, 1)
    assert list(proba.classes_) == ["fit", "ill"]
    assert list(proba.get_feature_names_out()) == ["proba_ill"]
    odds = clone(proba).set_params(method="log_odds")
    found = odds.fit_transform(X, named, groups=groups)
    np.testing.assert_allclose(found, np.log(column / (1 - column)))
    assert list(odds.get_feature_names_out()) == ["log_odds_ill"]
    sure = ModelFeatures(FOREST, method="log_odds").fit(X, named)
    assert np.isfinite(sure.transform(X)).all()


def test_numbers_labels_and_times(data):
    X, y, _ = data
    number = ModelFeatures(Ridge(), random_state=0)
    assert number.fit_transform(X, X["a"] + 0.1).shape == (90, 1)
    assert list(number.get_feature_names_out()) == ["prediction"]
    several = ModelFeatures(random_state=0)
    assert several.fit_transform(X, X[["a", "b"]].to_numpy()).shape == (90, 2)
    labels = np.column_stack([y == 0, y == 2, X["b"] > 0]).astype(int)
    found = ModelFeatures(random_state=0).fit_transform(X, labels)
    assert found.shape == (90, 3)
    assert all(roc_auc_score(labels[:, j], found[:, j]) > 0.7 for j in range(3))
    times = np.empty(90, dtype=[("event", bool), ("time", float)])
    times["event"], times["time"] = True, np.exp(X["a"])
    risks = ModelFeatures(random_state=0)
    assert np.corrcoef(risks.fit_transform(X, times)[:, 0], X["a"])[0, 1] < -0.5


def test_rows_that_cannot_be_read_stay_nan(data):
    X, y, groups = data
    X.loc[::7] = np.nan

    features = ModelFeatures(make_pipeline(StandardScaler(), LogisticRegression()))
    found = features.set_params(random_state=0).fit_transform(X, y, groups=groups)
    np.testing.assert_array_equal(np.isnan(found[:, 0]), np.arange(90) % 7 == 0)
    np.testing.assert_array_equal(
        np.isnan(features.transform(X)[:, 0]), np.arange(90) % 7 == 0
    )
    readable = X.dropna()
    only = clone(features).fit(readable, y[readable.index])
    np.testing.assert_allclose(only.transform(readable), features.transform(readable))


def early(part, **parameters):
    """Return early fusion of the fingerprint, as `part` gives it, and the lab."""
    fingerprint = [f"p{i}" for i in range(5)]
    return EarlyFusionClassifier(
        [("image", part, fingerprint), ("ehr", StandardScaler(), ["lab"])],
        estimator=LogisticRegression(),
        random_state=0,
        **parameters,
    )


@pytest.mark.parametrize("routing", [False, True])
def test_patients_by_heart_mislead_unless_held_out_together(routing):
    X, y, groups = fingerprints(150, 0)
    test, answers, _ = fingerprints(500, 1)
    in_sample = make_pipeline(
        FunctionTransformer(), FunctionTransformer(lambda Z: heart.predict_proba(Z))
    )
    heart = clone(FOREST).fit(X.filter(regex="p"), y)
    parts = {
        "in_sample": (in_sample, None),
        "ungrouped": (ModelFeatures(FOREST, cv=3), None),
        "grouped": (ModelFeatures(FOREST, cv=3), groups),
        "grouped in a pipeline": (
            make_pipeline(FunctionTransformer(), ModelFeatures(FOREST, cv=3)),
            groups,
        ),
    }
    found = {}
    with sklearn.config_context(enable_metadata_routing=routing):
        for name, (part, patients) in parts.items():
            model = early(part).fit(X, y, groups=patients)
            found[name] = roc_auc_score(answers, model.predict_proba(test)[:, 1])
    best = roc_auc_score(answers, test["lab"])
    assert best > 0.74
    assert found["in_sample"] < best - 0.05
    assert found["ungrouped"] < best - 0.05
    assert found["grouped"] > best - 0.02
    assert found["grouped in a pipeline"] == found["grouped"]


@pytest.mark.long
def test_in_early_fusion_with_gaps_a_search_and_a_pickle(data):
    X, y, groups = data
    X.loc[::6, ["a", "b"]] = np.nan
    features = ModelFeatures(LogisticRegression())
    model = EarlyFusionClassifier(
        [("cxr", features, ["a", "b"]), ("ehr", StandardScaler(), ["c"])],
        random_state=0,
    )
    grid = {"cxr__estimator__C": [0.1, 1.0], "cxr__method": ["auto", "log_odds"]}
    search = GridSearchCV(model, grid, cv=GroupKFold(3)).fit(X, y, groups=groups)
    best = search.best_estimator_
    assert list(best.get_feature_names_out())[3:5] == ["ehr__c", "cxr__present"]
    assert np.isnan(best.transform(X)[::6, :3]).all()
    restored = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(restored.predict_proba(X), best.predict_proba(X))
    number = EarlyFusionRegressor(
        [("cxr", ModelFeatures(), ["a", "b"])], estimator=Ridge(), random_state=0
    )
    assert number.fit(X.dropna(), X["a"].dropna()).score(X.dropna(), X["a"].dropna())


def test_the_same_in_processes(data):
    X, y, groups = data
    found = [
        ModelFeatures(
            RandomForestClassifier(5), n_jobs=n_jobs, random_state=0
        ).fit_transform(X, y, groups=groups)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        (
            {"method": "predict"},
            ValueError,
            "target of classes.*: method must be one of",
        ),
        ({"estimator": Ridge(), "method": "log_odds"}, ValueError, "target of numbers"),
        ({"cv": 1}, ValueError, "cv=1 folds need at least 2"),
        ({"cv": "many"}, TypeError, "cv must be a number of folds"),
        ({"estimator": "forest"}, TypeError, "estimator"),
        ({"estimator": LinearSVC()}, TypeError, "CalibratedClassifierCV"),
    ],
)
def test_parameters_that_cannot_be(data, parameters, error, message):
    X, y, _ = data
    with pytest.raises(error, match=message):
        ModelFeatures(**parameters).fit_transform(X, y)


def test_targets_and_patients_that_do_not_fit(data):
    X, y, groups = data
    with pytest.raises(ValueError, match="requires y to be passed"):
        ModelFeatures().fit(X)
    with pytest.raises(ValueError, match="groups has 3 entries but X has 90"):
        ModelFeatures().fit_transform(X, y, groups=groups[:3])
    with pytest.raises(ValueError, match="cv=5 folds.*got 2 patients"):
        ModelFeatures().fit_transform(X, y, groups=np.arange(90) % 2)


def test_the_default_model_takes_gaps_and_knows_where_they_are():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    X = rng.normal(size=(200, 3))
    X[(y == 1) & (rng.random(200) < 0.7), 1] = np.nan  # absence says the most
    features = ModelFeatures(cv=3, random_state=0).fit_transform(X, y)
    assert roc_auc_score(y, features[:, -1]) > 0.8
