"""The contract of fusion estimators, kept by every join and balance of early fusion."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor
from skfusion.feature_selection import GiniSelector

VARIANTS = {
    "pool": {"join": "pool"},
    "max": {"join": "pool", "join_params": {"pooling": "max"}},
    "gated": {"join": "gated", "join_params": {"n_units": 4, "max_iter": 30}},
    "scale": {"balance": "scale"},
    "replicate": {"balance": "replicate"},
    "all": {
        "join": "gated",
        "join_params": {"n_units": 4, "max_iter": 30},
        "balance": "replicate",
    },
}
EACH_VARIANT = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
BOTH = pytest.mark.parametrize("kind", [EarlyFusionClassifier, EarlyFusionRegressor])


@pytest.fixture
def build(cohort, make):
    """Return a maker of early models whose two modalities have three features each."""
    name, embedder, column = cohort.modalities[0]
    modalities = [
        (name, make_pipeline(embedder, GiniSelector(3)), column),
        cohort.modalities[1],
    ]

    def model(kind, variant):
        return make(kind, modalities=modalities, **variant)

    return model


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


@BOTH
@EACH_VARIANT
def test_rows_are_predicted_each_for_itself(kind, variant, cohort, build):
    model = build(kind, variant).fit(cohort.X, cohort.y)
    whole = outputs(model, cohort.X)
    order = np.random.default_rng(1).permutation(len(cohort.y))
    found = outputs(model, cohort.X.iloc[order])
    np.testing.assert_allclose(found, whole[order], rtol=1e-5)
    reordered = cohort.X[["sex", "scan", "age"]].assign(site="a").iloc[[7]]
    np.testing.assert_allclose(outputs(model, reordered), whole[[7]], rtol=1e-5)


@pytest.mark.slow
@BOTH
@EACH_VARIANT
def test_same_seed_same_model_through_clone_and_pickle(kind, variant, cohort, build):
    first = build(kind, variant).fit(cohort.X, cohort.y)
    expected = outputs(first, cohort.X)
    again = clone(first).fit(cohort.X, cohort.y)
    np.testing.assert_array_equal(outputs(again, cohort.X), expected)
    restored = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(outputs(restored, cohort.X), expected)
    changed = build(kind, {}).set_params(**variant).fit(cohort.X, cohort.y)
    np.testing.assert_array_equal(outputs(changed, cohort.X), expected)


@EACH_VARIANT
def test_absent_modalities_are_borne_and_encoded(variant, cohort, build):
    X = cohort.X.copy()
    X.loc[::5, "scan"] = None
    X.loc[1::10, ["age", "sex"]] = [np.nan, None]
    model = build(EarlyFusionClassifier, variant).fit(X, cohort.y)
    assert model.supports_missing_ == {"cxr": True, "ehr": True}
    names = list(model.get_feature_names_out())
    assert names[-2:] == ["cxr__present", "ehr__present"]
    assert len(set(names)) == len(names) == model.transform(X).shape[1]
    encoded = model.encode_modalities(X)
    assert [block.shape[1] for block in encoded.values()] == [3, 3]
    np.testing.assert_allclose(
        model.predict_encoded(encoded), outputs(model, X), rtol=1e-6
    )
    for column in ("scan", ["age", "sex"]):
        gone = X.iloc[[2, 3]].copy()
        gone[column] = None
        assert np.isfinite(outputs(model, gone)).all()
    frame = model.set_output(transform="pandas").transform(X)
    assert list(frame.columns) == names


@EACH_VARIANT
def test_the_radius_of_the_disc_is_learned_with_and_without_the_record(
    variant, cohort, build
):
    """Discs of radius 5 and 10 are told apart; a join must not lose that."""
    train = np.arange(48) < 32
    model = build(EarlyFusionClassifier, variant)
    model.fit(cohort.X[train], cohort.y[train])
    for test in (cohort.X[~train], cohort.X[~train].assign(age=np.nan, sex=None)):
        assert roc_auc_score(cohort.y[~train], outputs(model, test)[:, 1]) > 0.9


@pytest.mark.slow
def test_a_search_over_joins_does_not_depend_on_processes(cohort, build):
    grid = {"join": ["pool", "gated"], "balance": [None, "scale"]}
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(
            build(EarlyFusionClassifier, {}),
            grid,
            cv=StratifiedGroupKFold(2),
            scoring="neg_log_loss",
            n_jobs=n_jobs,
        ).fit(cohort.X, cohort.y, groups=cohort.groups)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)
    assert len(set(scores[0])) > 2
