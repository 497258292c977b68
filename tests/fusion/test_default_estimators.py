"""The parameters of default estimators are reached by name."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.survival import EarlyFusionSurvival, LateFusionSurvival

MODALITIES = [("a", StandardScaler(), ["x0", "x1"]), ("b", StandardScaler(), ["x2"])]


@pytest.fixture(scope="module")
def cohort():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 3)), columns=["x0", "x1", "x2"])
    return X, (X.x0 + X.x2 + rng.normal(size=120) > 0).astype(int).to_numpy()


def values(model, X, y):
    model = clone(model).set_params(random_state=0).fit(X, y)
    return (
        model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)
    )


@pytest.mark.parametrize(
    ("model", "params", "settings"),
    [
        (EarlyFusionClassifier(MODALITIES), {"estimator__max_depth": 4}, {}),
        (EarlyFusionRegressor(MODALITIES), {"estimator__max_depth": 4}, {}),
        (LateFusionClassifier(MODALITIES), {"estimator__model__C": 0.01}, {}),
        (LateFusionRegressor(MODALITIES), {"estimator__model__alpha": 10.0}, {}),
        (
            LateFusionClassifier(MODALITIES, aggregation="stacking", cv=3),
            {"final_estimator__C": 1.0},
            {},
        ),
    ],
    ids=["early", "early, numbers", "late", "late, numbers", "stacking"],
)
def test_the_default_by_name_is_the_default(cohort, model, params, settings):
    """Setting a parameter to its default value changes nothing."""
    X, y = cohort
    named = clone(model).set_params(**params)
    np.testing.assert_array_equal(values(named, X, y), values(model, X, y))
    other = {name: value * 3 for name, value in params.items()}
    changed = values(clone(model).set_params(**other), X, y)
    assert not np.allclose(changed, values(model, X, y))


def test_a_grid_search_sets_parameters_of_the_default(cohort):
    X, y = cohort
    grid = {"estimator__max_depth": [1, 3], "estimator__n_estimators": [5, 10]}
    search = GridSearchCV(EarlyFusionClassifier(MODALITIES, random_state=0), grid, cv=2)
    search.fit(X, y)
    best = search.best_estimator_
    assert best.estimator.max_depth == search.best_params_["estimator__max_depth"]
    assert best.estimator_.n_estimators in (5, 10)
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.predict_proba(X), best.predict_proba(X))


def test_a_grid_search_over_estimators_and_a_parameter_of_each(cohort):
    X, y = cohort
    grid = {
        "estimator": [None, RandomForestClassifier(5, random_state=0)],
        "estimator__max_depth": [2, 3],
    }
    search = GridSearchCV(EarlyFusionClassifier(MODALITIES, random_state=0), grid, cv=2)
    results = search.fit(X, y).cv_results_
    assert len(set(results["mean_test_score"].round(12))) > 1
    assert all(np.isfinite(results["mean_test_score"]))


def test_members_and_the_meta_model_are_searched_together(cohort):
    X, y = cohort
    model = LateFusionClassifier(
        MODALITIES, aggregation="stacking", cv=2, random_state=0
    )
    grid = {"estimator__model__C": [0.01, 1.0], "final_estimator__C": [0.1, 1.0]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    best = search.best_estimator_
    expected = search.best_params_["estimator__model__C"]
    assert expected == best.estimator.named_steps["model"].C
    assert search.best_params_["final_estimator__C"] == best.final_estimator_.C


def test_virtual_names_are_not_listed_and_none_goes_back():
    model = EarlyFusionClassifier(MODALITIES)
    assert model.get_params()["estimator"] is None
    assert not any(name.startswith("estimator__") for name in model.get_params())
    assert "XGB" not in repr(model)
    model.set_params(estimator__max_depth=7)
    assert model.get_params()["estimator__max_depth"] == 7
    assert clone(model).estimator.max_depth == 7
    assert model.set_params(estimator=None).estimator is None


@pytest.mark.parametrize(
    ("model", "wrong", "valid"),
    [
        (EarlyFusionClassifier(MODALITIES), "estimator__max_dept", "max_depth"),
        (LateFusionClassifier(MODALITIES), "estimator__C", "estimator__model__C"),
        (LateFusionRegressor(MODALITIES), "estimator__model__C", "model__alpha"),
        (LateFusionClassifier(MODALITIES), "final_estimator__alpha", "estimator__C"),
        (EarlyFusionSurvival(MODALITIES), "estimator__depth", "estimator__max_depth"),
        (LateFusionSurvival(MODALITIES), "estimator__depth", "estimator__max_depth"),
    ],
)
def test_a_wrong_name_lists_the_valid_ones_and_changes_nothing(model, wrong, valid):
    model = clone(model)
    before = model.get_params()
    with pytest.raises(ValueError, match=f"'{wrong}' is not a parameter of.*{valid}"):
        model.set_params(missing="error", **{wrong: 1})
    after = model.get_params()
    assert after["missing"] == before["missing"] == "auto"
    assert after["estimator"] is None


def test_fit_does_not_write_the_default(cohort):
    X, y = cohort
    model = LateFusionClassifier(MODALITIES, random_state=0).fit(X, y)
    assert model.estimator is None
    assert model.final_estimator is None


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_early_fusion_fits_modalities_in_workers(cohort, n_jobs):
    X, y = cohort
    expected = EarlyFusionClassifier(MODALITIES, random_state=0).fit(X, y)
    found = EarlyFusionClassifier(MODALITIES, random_state=0, n_jobs=n_jobs).fit(X, y)
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    assert found.estimator_.n_jobs == 1
