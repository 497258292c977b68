"""Names of the joined features in the parameters of the estimator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier, XGBRegressor

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor, explain_features

N = 150
rng = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "age": rng.normal(size=N),
        "hb[g/dl]": rng.normal(size=N),
        "hb_g/dl_": rng.normal(size=N),
        "size": rng.normal(size=N),
        "ward": rng.integers(0, 3, N).astype(float),
    }
)
Y = (X["age"] + rng.normal(size=N) > 0).astype(int).to_numpy()
PLAIN = FunctionTransformer(feature_names_out="one-to-one")
MODALITIES = [("ehr", PLAIN, ["age", "ward"]), ("scan", PLAIN, ["size"])]
SMALL = {"n_estimators": 20, "max_depth": 3}


def falls_with_age(model, columns=X):
    """Return whether the prediction falls in age everywhere."""
    ages = np.linspace(-2, 2, 15)
    rows = pd.concat([columns.iloc[[0]]] * len(ages), ignore_index=True)
    return (np.diff(model.predict_proba(rows.assign(age=ages))[:, 1]) <= 1e-9).all()


@pytest.mark.parametrize(
    "estimator",
    [
        XGBClassifier(monotone_constraints={"ehr__age": -1}, **SMALL),
        HistGradientBoostingClassifier(monotonic_cst={"ehr__age": -1}, max_iter=20),
        HistGradientBoostingClassifier(
            monotonic_cst={"ehr__age": -1}, categorical_features=["ehr__ward"]
        ),
        make_pipeline(
            StandardScaler().set_output(transform="pandas"),
            HistGradientBoostingClassifier(monotonic_cst={"ehr__age": -1}),
        ),
    ],
)
def test_constraints_by_name_hold(estimator):
    model = EarlyFusionClassifier(MODALITIES, estimator=estimator).fit(X, Y)
    assert falls_with_age(model)
    assert not falls_with_age(EarlyFusionClassifier(MODALITIES).fit(X, Y))
    first = model.estimator_
    first = first[0] if hasattr(first, "steps") else first
    assert first.feature_names_in_.tolist() == model.get_feature_names_out().tolist()


def test_the_default_takes_constraints_by_name():
    model = EarlyFusionClassifier(MODALITIES, random_state=0)
    model.set_params(estimator__monotone_constraints={"ehr__age": -1}).fit(X, Y)
    assert falls_with_age(model)


def test_interactions_by_name():
    y = X["age"] * X["size"] + X["ward"]
    alone = XGBRegressor(
        interaction_constraints=[["ehr__age", "ehr__ward"], ["scan__size"]], **SMALL
    )
    corners = pd.DataFrame(
        {"age": [-1.0, -1.0, 1.0, 1.0], "size": [-1.0, 1.0, -1.0, 1.0], "ward": 1.0}
    )
    excess = [
        float(fusion.predict(corners) @ [1, -1, -1, 1])
        for fusion in (
            EarlyFusionRegressor(MODALITIES, estimator=trees, absence_copies=0.0).fit(
                X, y
            )
            for trees in (alone, XGBRegressor(**SMALL))
        )
    ]
    assert abs(excess[0]) < 1e-4 < 0.5 < excess[1]


def test_characters_that_xgboost_forbids():
    modalities = [
        ("ehr", PLAIN, ["age", "hb[g/dl]", "hb_g/dl_"]),
        ("scan", PLAIN, ["size"]),
    ]
    trees = XGBClassifier(
        monotone_constraints={"ehr__age": -1, "ehr__hb[g/dl]": 1}, **SMALL
    )
    model = EarlyFusionClassifier(modalities, estimator=trees).fit(X, Y)
    assert falls_with_age(model)
    assert "ehr__hb[g/dl]" in model.get_feature_names_out()
    assert trees.monotone_constraints == {"ehr__age": -1, "ehr__hb[g/dl]": 1}
    assert len(set(model.estimator_.feature_names_in_)) == 6


def test_numbers_and_positions_are_passed_as_arrays():
    trees = XGBClassifier(monotone_constraints=(-1, 0, 0), **SMALL)
    model = EarlyFusionClassifier(MODALITIES, estimator=trees).fit(X, Y)
    assert falls_with_age(model)
    assert isinstance(model.estimator_input(X), np.ndarray)
    text = XGBClassifier(monotone_constraints="(-1,0,0)", **SMALL)
    model.set_params(estimator=text).fit(X, Y)
    assert isinstance(model.estimator_input(X), np.ndarray)


def test_an_unknown_name_is_named_by_the_library():
    trees = HistGradientBoostingClassifier(monotonic_cst={"ehr__agee": 1})
    with pytest.raises(ValueError, match="ehr__agee"):
        EarlyFusionClassifier(MODALITIES, estimator=trees).fit(X, Y)


@pytest.mark.parametrize(
    "columns", [["ehr__age"], make_column_selector(pattern="^ehr__age$")]
)
def test_a_column_transformer_selects_by_name(columns):
    picked = ColumnTransformer([("age", StandardScaler(), columns)])
    learner = make_pipeline(picked, LogisticRegression())
    model = EarlyFusionClassifier(MODALITIES, estimator=learner).fit(X, Y)
    expected = make_pipeline(StandardScaler(), LogisticRegression())
    expected.fit(X[["age"]], Y)
    np.testing.assert_allclose(
        model.predict_proba(X), expected.predict_proba(X[["age"]])
    )
    svm = make_pipeline(picked, LinearSVC())
    model = EarlyFusionClassifier(MODALITIES, estimator=svm).fit(X, Y)
    assert model.decision_function(X).shape == (N,)
    assert set(model.predict(X)) == {0, 1}


@pytest.mark.parametrize("by_config", [False, True])
def test_set_output_hands_frames_on_with_equal_predictions(by_config):
    plain = EarlyFusionClassifier(MODALITIES, random_state=0).fit(X, Y)
    named = EarlyFusionClassifier(MODALITIES, random_state=0)
    if by_config:
        with sklearn.config_context(transform_output="pandas"):
            named.fit(X, Y)
    else:
        named.set_output(transform="pandas").fit(X, Y)
    assert list(named.estimator_.feature_names_in_)[0] == "ehr__age"
    np.testing.assert_array_equal(plain.predict_proba(X), named.predict_proba(X))
    linear = EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression())
    first = linear.fit(X, Y).predict_proba(X)
    with sklearn.config_context(transform_output="pandas"):
        second = linear.fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(first, linear.predict_proba(X))
    np.testing.assert_array_equal(first, second)


def test_text_and_gaps_and_labels_with_names():
    table = X.assign(text=np.where(Y, "large effusion", "clear lung"))
    table.loc[::7, "text"] = None
    modalities = [*MODALITIES, ("note", TfidfVectorizer(), "text")]
    trees = HistGradientBoostingClassifier(monotonic_cst={"ehr__age": -1})
    model = EarlyFusionClassifier(modalities, estimator=trees)
    assert falls_with_age(model.fit(table, Y), table)
    y = np.column_stack([Y, 1 - Y])
    assert model.fit(table, y).predict_proba(table).shape == (N, 2)


def test_names_stop_early_and_are_searched():
    trees = XGBClassifier(
        monotone_constraints={"ehr__age": -1}, early_stopping_rounds=3, **SMALL
    )
    model = EarlyFusionClassifier(MODALITIES, estimator=trees, random_state=0)
    assert falls_with_age(model.fit(X, Y))
    grid = {"estimator__monotone_constraints": [None, {"ehr__age": -1}]}
    GridSearchCV(model, grid, cv=2).fit(X, Y)


@pytest.mark.parametrize(
    "estimator",
    [
        XGBClassifier(monotone_constraints={"ehr__age": -1}, **SMALL),
        HistGradientBoostingClassifier(monotonic_cst={"ehr__age": -1}, max_iter=20),
    ],
)
def test_features_with_names_are_explained(estimator):
    pytest.importorskip("shap")
    model = EarlyFusionClassifier(MODALITIES, estimator=estimator).fit(X, Y)
    found = explain_features(model, X.iloc[:5], background=X)
    assert found["ehr"].feature_names[:2] == ["age", "ward"]
    assert np.isfinite(found["ehr"].values).all()


def test_lightgbm_gets_names_with_characters_that_it_forbids():
    lightgbm = pytest.importorskip("lightgbm")
    modalities = [("ehr", PLAIN, ["age", "hb[g/dl]", "hb_g/dl_"]), MODALITIES[1]]
    trees = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
    model = EarlyFusionClassifier(modalities, estimator=trees)
    model.set_output(transform="pandas").fit(X, Y)
    assert "ehr__age" in model.estimator_.feature_names_in_
    assert set(model.predict(X)) == {0, 1}
