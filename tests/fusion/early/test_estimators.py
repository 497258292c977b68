"""Early fusion: the joined vector is what it says, and absent blocks are flagged."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor

MODALITIES = [("ab", StandardScaler(), ["a", "b"]), ("c", MinMaxScaler(), ["c"])]


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    X = pd.DataFrame(rng.normal(size=(100, 3)) + y[:, None], columns=list("abc"))
    return X, y


def test_equals_a_column_transformer_and_the_estimator(table):
    X, y = table
    model = EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression()).fit(X, y)
    expected = make_pipeline(ColumnTransformer(MODALITIES), LogisticRegression())
    expected.fit(X, y)
    np.testing.assert_allclose(model.transform(X), expected[0].transform(X))
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(X))
    assert list(model.get_feature_names_out()) == ["ab__a", "ab__b", "c__c"]


def test_absent_blocks_are_nan_and_flagged(table):
    X, y = table
    X.loc[:9, ["a", "b"]] = np.nan
    X.loc[20, "a"] = np.nan
    learner = HistGradientBoostingClassifier(max_iter=5)
    model = EarlyFusionClassifier(MODALITIES, estimator=learner).fit(X, y)
    assert list(model.get_feature_names_out())[-1] == "ab__present"
    joined = model.transform(X)
    assert np.isnan(joined[:10, :2]).all()
    np.testing.assert_array_equal(joined[:, 3], np.arange(100) >= 10)
    # a gap inside a block is no absence
    assert np.isnan(joined[20, 0])
    assert joined[20, 3] == 1


def test_gaps_are_filled_with_training_means_where_nan_is_not_taken(table):
    X, y = table
    X.loc[:9, ["a", "b"]] = np.nan
    model = EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression()).fit(X, y)
    # standardised on the present rows, so their mean is 0
    np.testing.assert_allclose(
        model.transform(X)[:10],
        [[0, 0, c, 0] for c in MinMaxScaler().fit_transform(X[["c"]])[:10, 0]],
        atol=1e-12,
    )


def test_the_presence_flag_carries_information():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    X = pd.DataFrame({"scan": rng.normal(size=400), "age": rng.normal(size=400)})
    X.loc[(y == 1) & (rng.random(400) < 0.8), "scan"] = np.nan
    modalities = [
        ("cxr", StandardScaler(), ["scan"]),
        ("ehr", StandardScaler(), ["age"]),
    ]
    model = EarlyFusionClassifier(modalities, estimator=LogisticRegression())
    assert model.fit(X, y).score(X, y) > 0.85


def test_the_default_is_xgboost_with_the_seed_and_one_thread(table):
    X, y = table
    first = EarlyFusionClassifier(MODALITIES, random_state=3).fit(X, y)
    assert type(first.estimator_).__name__ == "XGBClassifier"
    assert first.estimator_.n_jobs == 1
    second = EarlyFusionClassifier(MODALITIES, random_state=3).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))


def test_a_classifier_without_probabilities_still_predicts(table):
    X, y = table
    model = EarlyFusionClassifier(MODALITIES, estimator=LinearSVC()).fit(X, y)
    assert not hasattr(model, "predict_proba")
    assert model.score(X, y) > 0.75


def test_the_estimator_that_was_passed_stays_unfitted(table):
    X, y = table
    learner = LogisticRegression()
    scaler = StandardScaler()
    EarlyFusionClassifier([("ab", scaler, ["a", "b"])], estimator=learner).fit(X, y)
    assert not hasattr(learner, "coef_")
    assert not hasattr(scaler, "mean_")


def test_nested_parameters_are_set_by_modality(table):
    model = EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression())
    model.set_params(ab__with_mean=False, estimator__C=5.0, c=StandardScaler())
    assert model.get_params()["ab__with_mean"] is False
    assert model.get_params()["estimator__C"] == 5.0
    assert isinstance(model.modalities[1][1], StandardScaler)
    with pytest.raises(ValueError, match="Invalid parameter 'nothing'"):
        model.set_params(nothing=1)
    X, y = table
    assert model.fit(X, y).modalities_[0][1].mean_ is not None


def test_regression_matches_the_estimator(table):
    X, _ = table
    y = 2 * X["a"] - X["c"] + 1
    model = EarlyFusionRegressor(MODALITIES, estimator=LinearRegression()).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y)


def test_numpy_and_polars_give_what_pandas_gives(table):
    polars = pytest.importorskip("polars")
    X, y = table
    learner = LogisticRegression(tol=1e-10)
    by_pandas = EarlyFusionClassifier(MODALITIES, estimator=learner)
    expected = by_pandas.fit(X, y).predict_proba(X)
    frame = polars.DataFrame({name: X[name].to_list() for name in X})
    by_polars = EarlyFusionClassifier(MODALITIES, estimator=learner)
    by_polars.fit(frame, y)
    np.testing.assert_allclose(by_polars.predict_proba(frame), expected, rtol=1e-5)
    positions = [("ab", StandardScaler(), [0, 1]), ("c", MinMaxScaler(), [2])]
    by_numpy = EarlyFusionClassifier(positions, estimator=learner)
    by_numpy.fit(X.to_numpy(), y)
    np.testing.assert_allclose(
        by_numpy.predict_proba(X.to_numpy()), expected, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_row_is_the_same_beside_rows_with_gaps(table, dtype):
    # A matrix without missing values is not passed to the imputer.
    X, y = table
    X = X.astype(dtype)
    X.loc[3, "a"] = np.nan
    parts = [("ab", "passthrough", ["a", "b"]), ("c", "passthrough", ["c"])]
    model = EarlyFusionClassifier(parts, estimator=LogisticRegression()).fit(X, y)
    together = model.transform(X)
    assert np.isfinite(together).all()
    for rows in (slice(0, 3), slice(4, None), slice(9, 10)):
        alone = model.transform(X.iloc[rows])
        assert alone.dtype == together.dtype
        np.testing.assert_array_equal(alone, together[rows])
