"""Columns without a value and sparse blocks in front of the default learners."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    SplineTransformer,
    StandardScaler,
)

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    EventStore,
    EventWindows,
    JointFusionClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.ehr import ObservedScaler
from skfusion.fusion import ModelFeatures
from skfusion.fusion.inner_estimators import BlockScaler, default_member

rng = np.random.default_rng(0)
Y = np.arange(80) % 2
X = pd.DataFrame(
    {
        "text": np.where(Y, "large effusion", "clear lung"),
        "ward": rng.choice(["a", "b", "c"], 80),
        "age": rng.normal(size=80) + Y,
        "empty": np.nan,
    }
)
AGE = ("age", FunctionTransformer(), ["age"])


@pytest.mark.parametrize(
    "model",
    [
        LateFusionClassifier(),
        LateFusionClassifier(aggregation="stacking"),
        LateFusionRegressor(aggregation="stacking"),
        EarlyFusionClassifier(),
        EarlyFusionClassifier(estimator=LogisticRegression()),
        EarlyFusionClassifier(join="gated"),
        JointFusionClassifier(max_epochs=1),
    ],
)
def test_a_column_without_any_value_is_silent(model):
    # Warnings are errors in the tests.
    modalities = [("labs", FunctionTransformer(), ["age", "empty"]), AGE]
    model = clone(model).set_params(modalities=modalities, random_state=0)
    model.fit(X, Y)
    later = X.assign(empty=5.0)
    if isinstance(model, LateFusionClassifier | LateFusionRegressor):
        # Nothing was learned of the column, so a value in it changes nothing.
        np.testing.assert_array_equal(
            model.transform(X)[:, 1], model.transform(later)[:, 1]
        )
    assert np.isfinite(model.predict(later)).all()


def test_ordinary_columns_are_scaled_as_by_scikit_learn():
    values = rng.normal(3, 2, size=(50, 4))
    values[::3, 1] = np.nan
    weights = rng.random(50)
    ours = BlockScaler().fit(values, sample_weight=weights)
    theirs = StandardScaler().fit(values, sample_weight=weights)
    np.testing.assert_array_equal(ours.transform(values), theirs.transform(values))


@pytest.mark.parametrize("sparse", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("task", ["classes", "numbers"])
def test_a_sparse_block_gives_the_model_of_the_dense_one(task, sparse):
    values = (rng.random((80, 20)) < 0.2) * rng.normal(size=(80, 20))
    y = (values.sum(axis=1) > 0).astype(int)
    fitted = [
        default_member(task).set_params(model__tol=1e-10).fit(block, y)
        for block in (values, sparse(values))
    ]
    np.testing.assert_allclose(
        fitted[0].predict(values), fitted[1].predict(sparse(values)), atol=1e-5
    )


@pytest.mark.parametrize("kind", [LateFusionClassifier, LateFusionRegressor])
@pytest.mark.parametrize(
    ("transformer", "columns"),
    [
        (TfidfVectorizer(), "text"),
        (CountVectorizer(), "text"),
        (OneHotEncoder(), ["ward"]),
        (OneHotEncoder(handle_unknown="ignore"), ["ward", "text"]),
        (SplineTransformer(sparse_output=True), ["age"]),
    ],
)
def test_default_members_accept_sparse_blocks(kind, transformer, columns):
    modalities = [("sparse", transformer, columns), AGE]
    predicted = kind(modalities, aggregation="stacking").fit(X, Y).predict(X)
    assert np.mean((predicted > 0.5) == Y) > 0.6


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, EarlyFusionRegressor])
def test_model_features_of_text_in_early_fusion(kind):
    text = make_pipeline(TfidfVectorizer(), ModelFeatures())
    model = kind([("text", text, "text"), AGE]).fit(X, Y)
    assert np.mean((model.predict(X) > 0.5) == Y) > 0.9


def test_several_labels_of_a_sparse_block():
    y = np.column_stack([Y, 1 - Y])
    model = LateFusionClassifier([("text", TfidfVectorizer(), "text"), AGE])
    assert (model.fit(X, y).predict(X) == y).mean() > 0.9


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_unstored_values_of_events_are_no_zeros(kind):
    events = pd.DataFrame(
        {
            "subject_id": range(80),
            "time": pd.Timestamp("2024-01-01 06:00"),
            "code": np.where(Y, "LAB//a", "LAB//b"),
            "numeric_value": 1.0 + Y,
        }
    )
    windows = EventWindows(EventStore.from_frame(events), output="sparse")
    cases = X.assign(subject_id=range(80), index_time=pd.Timestamp("2024-01-02"))
    keys = ["subject_id", "index_time"]
    with pytest.warns(UserWarning, match=r"'labs': EventWindows .* as 0"):
        kind([("labs", windows, keys), AGE]).fit(cases, Y)
    scaled = make_pipeline(windows, ObservedScaler())
    kind([("labs", scaled, keys), AGE]).fit(cases, Y)
