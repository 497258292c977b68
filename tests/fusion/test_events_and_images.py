"""Windows of events searched beside images, in this process and in others."""

from __future__ import annotations

import multiprocessing
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_validate
from sklearn.pipeline import Pipeline

pytest.importorskip("torch")
xgboost = pytest.importorskip("xgboost")

from skfusion import (  # noqa: E402
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    ImageEmbedder,
)

N = 60
KEYS = ["subject_id", "index_time"]
INDEX = pd.Timestamp("2026-06-01")


@pytest.fixture
def cohort(tmp_path):
    """Rows with images that say nothing, events whose old values say everything."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    X = pd.DataFrame({"subject_id": np.arange(N) // 2 * 2 + y, "index_time": INDEX})
    X["scan"] = list(rng.integers(0, 256, (N, 32, 32), dtype=np.uint8))
    who = X["subject_id"].unique()
    days = rng.uniform(1, 300, (len(who), 20))
    value = rng.normal(size=days.shape) + 4 * (days > 60) * (who % 2)[:, None]
    events = pd.DataFrame(
        {
            "subject_id": np.repeat(who, 20),
            "time": INDEX - pd.to_timedelta(days.ravel(), unit="D").floor("us"),
            "code": "LAB//crp",
            "numeric_value": value.ravel(),
        }
    )
    store = EventStore.from_frame(events, tmp_path / "events")
    windows = EventWindows(
        store, windows=("5d",), min_subjects=1, shared_subjects="ignore"
    )
    return X, y, windows, ImageEmbedder(input_size=32, store=str(tmp_path / "images"))


def as_fusion(windows, images):
    return EarlyFusionClassifier(
        [("scan", images, "scan"), ("ehr", windows, KEYS)],
        estimator=xgboost.XGBClassifier(n_estimators=20, n_jobs=1),
        groups="subject_id",
        random_state=0,
    )


def as_pipeline(windows, images):
    steps = [("ehr", windows, KEYS), ("scan", images, "scan")]
    learner = xgboost.XGBClassifier(n_estimators=20, n_jobs=1)
    return Pipeline([("features", ColumnTransformer(steps)), ("learner", learner)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "start"), [(as_fusion, ""), (as_pipeline, "features__")]
)
def test_a_search_over_windows_beside_images(cohort, kind, start):
    X, y, windows, images = cohort
    groups, folds = X["subject_id"], StratifiedGroupKFold(3)
    grid = {
        f"{start}ehr__windows": [("5d",), ("5d", None)],
        f"{start}ehr__aggs": [("count",), ("count", "mean", "last")],
    }
    model = kind(windows, images)
    found = [
        GridSearchCV(model, grid, cv=folds, scoring="roc_auc", n_jobs=n_jobs)
        .fit(X, y, groups=groups)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*found)
    assert np.isfinite(found[0]).all()
    assert found[0].argmax() == 3  # the whole history, with its values
    assert found[0][3] > 0.9
    scores = cross_validate(
        model, X, y, groups=groups, cv=folds, scoring=["roc_auc", "neg_brier_score"]
    )
    assert np.isfinite(scores["test_neg_brier_score"]).all()


def predict(content, X):
    return pickle.loads(content).predict_proba(X)


@pytest.mark.slow
def test_a_fitted_model_travels_to_a_new_process(cohort):
    X, y, windows, images = cohort
    model = as_fusion(windows.set_params(windows=(None,)), images).fit(X, y)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(predict, (pickle.dumps(model), X))
    np.testing.assert_array_equal(found, model.predict_proba(X))
