"""Weights of rows are relative: a factor of all of them has no effect."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.cohort import relative_weights
from skfusion.survival import (
    EarlyFusionSurvival,
    JointFusionSurvival,
    LateFusionSurvival,
    XGBoostSurvival,
)

N = 90
RNG = np.random.default_rng(0)
X = pd.DataFrame(RNG.normal(size=(N, 4)), columns=list("abcd"))
Z = X["a"] + X["c"] + RNG.normal(size=N)
CLASSES = np.digitize(Z, [0.0])
THREE = np.digitize(Z, [-0.7, 0.7])
LABELS = np.column_stack([CLASSES, X["b"] + RNG.normal(size=N) > 0]).astype(int)
TIMES = np.zeros(N, dtype=[("event", bool), ("time", float)])
TIMES["event"] = RNG.random(N) < 0.7
TIMES["time"] = np.exp(-Z)
WEIGHTS = RNG.uniform(0.2, 3.0, N)
WEIGHTS[::9] = 0.0
MODALITIES = [("u", StandardScaler(), ["a", "b"]), ("v", StandardScaler(), ["c", "d"])]
LINEAR = LogisticRegression()
SMALL = {"n_estimators": 5, "max_depth": 2}
QUICK = {"max_epochs": 3, "hidden_dims": (4,)}


def early(**parameters):
    return EarlyFusionClassifier(MODALITIES, **{"estimator": LINEAR, **parameters})


def late(**parameters):
    return LateFusionClassifier(
        MODALITIES, **{"estimator": LINEAR, "cv": 3, **parameters}
    )


MODELS = [
    (early(), CLASSES),
    (early(class_weight="balanced", absence_copies=0.5), THREE),
    (early(class_weight={0: 1.0, 1: 7.0}, balance="scale"), CLASSES),
    (early(join="pool", balance="replicate"), LABELS),
    (early(join="gated", join_params={"n_units": 2, "max_iter": 10}), CLASSES),
    (early(estimator=RandomForestClassifier(10)), CLASSES),
    (early(estimator=XGBClassifier(**SMALL)), CLASSES),
    (early(estimator=XGBClassifier(early_stopping_rounds=2, **SMALL)), CLASSES),
    (
        EarlyFusionSurvival(
            MODALITIES,
            **{"join": "gated", "join_params": {"n_units": 2, "max_iter": 10}},
            **{"estimator": XGBoostSurvival(**SMALL), "cv": None},
        ),
        TIMES,
    ),
    (EarlyFusionRegressor(MODALITIES).set_params(estimator__n_estimators=5), Z),
    (
        EarlyFusionSurvival(MODALITIES, estimator=XGBoostSurvival(**SMALL), cv=2),
        TIMES,
    ),
    *(
        (late(aggregation=rule), THREE)
        for rule in (
            *("mean", "max", "min", "median", "product", "bayes", "vote"),
            *("weighted", "weighted_vote", "rank", "stacking"),
        )
    ),
    *(
        (late(aggregation=rule, weights="accuracy"), CLASSES)
        for rule in ("weighted", "weighted_vote")
    ),
    *(
        (late(**{place: method}), y)
        for place in ("calibration", "final_calibration")
        for method in ("sigmoid", "isotonic", "temperature")
        for y in (CLASSES, LABELS)
    ),
    (late(aggregation="stacking", final_estimator=LogisticRegression(C=9.0)), LABELS),
    (late(class_weight="balanced", final_calibration="sigmoid"), LABELS),
    (late(estimator=None, aggregation="stacking", calibration="sigmoid"), CLASSES),
    *(
        (LateFusionRegressor(MODALITIES, aggregation=rule, cv=3), Z)
        for rule in ("mean", "median", "weighted", "stacking")
    ),
    *(
        (
            LateFusionSurvival(
                MODALITIES, estimator=XGBoostSurvival(**SMALL), aggregation=rule, cv=2
            ),
            TIMES,
        )
        for rule in ("mean", "rank")  # CoxRidge, which stacks, takes no weights
    ),
    (JointFusionClassifier(MODALITIES, class_weight="balanced", **QUICK), THREE),
    (JointFusionClassifier(MODALITIES, loss="focal", **QUICK), LABELS),
    (JointFusionRegressor(MODALITIES, auxiliary_loss=0.5, **QUICK), Z),
    (JointFusionSurvival(MODALITIES, loss="cox", **QUICK), TIMES),
    (JointFusionSurvival(MODALITIES, **QUICK), TIMES),
]


def outputs(model, y, weights):
    fitted = clone(model).set_params(random_state=0)
    fitted.fit(X, y, sample_weight=weights)
    if y.dtype.names:
        return fitted.predict_survival_function(X, [0.5, 1.0, 2.0])
    return getattr(fitted, "predict_proba", fitted.predict)(X)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "y"),
    MODELS,
    ids=lambda part: type(part).__name__ if hasattr(part, "get_params") else "",
)
def test_a_factor_of_all_weights_changes_nothing(model, y):
    expected = outputs(model, y, WEIGHTS)
    for factor in (1 / WEIGHTS.sum(), 1000 * np.pi):
        np.testing.assert_allclose(
            outputs(model, y, factor * WEIGHTS), expected, rtol=1e-7, atol=1e-9
        )


@pytest.mark.parametrize(
    ("model", "y"),
    [MODELS[0], (late(calibration="sigmoid", aggregation="rank"), CLASSES), MODELS[-3]],
)
def test_equal_weights_are_no_weights(model, y):
    expected = outputs(model, y, None)
    for weight in (1 / N, 0.1, 7.0):
        found = outputs(model, y, np.full(N, weight))
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("model", [early(), late(final_calibration="sigmoid")])
def test_a_factor_of_all_class_weights_changes_nothing(model):
    found = [
        outputs(clone(model).set_params(class_weight=weights), CLASSES, WEIGHTS)
        for weights in ({0: 1.0, 1: 30.0}, {0: 0.01, 1: 0.3})
    ]
    np.testing.assert_allclose(*found, rtol=1e-9)


def test_rows_of_weight_zero_do_not_count_in_the_mean():
    # Rows left out are no rows, however many they are.
    kept = WEIGHTS > 0
    model = early()
    found = outputs(model, CLASSES, WEIGHTS)
    alone = clone(model).set_params(random_state=0)
    alone.fit(X[kept], CLASSES[kept], sample_weight=WEIGHTS[kept])
    np.testing.assert_allclose(found, alone.predict_proba(X), rtol=1e-6)


def test_a_gated_unit_of_times_leaves_rows_of_weight_zero_out():
    kept = WEIGHTS > 0
    model = EarlyFusionSurvival(
        [(name, FunctionTransformer(), columns) for name, _, columns in MODALITIES],
        **{"join": "gated", "join_params": {"n_units": 2, "max_iter": 20}},
        **{"estimator": XGBoostSurvival(**SMALL), "cv": None},
        **{"absence_copies": 0.0, "random_state": 0},
    )
    alone = clone(model).fit(X[kept], TIMES[kept], sample_weight=WEIGHTS[kept])
    found = model.fit(X, TIMES, sample_weight=WEIGHTS).transform(X)
    np.testing.assert_allclose(found, alone.transform(X), atol=1e-5)


def test_inner_folds_keep_the_weights_of_the_whole():
    class Recorder(LogisticRegression):
        seen = []  # noqa: RUF012

        def fit(self, X, y, sample_weight=None):
            Recorder.seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    late(estimator=Recorder(), aggregation="stacking").fit(
        X, CLASSES, sample_weight=50 * WEIGHTS
    )
    expected = WEIGHTS / WEIGHTS[WEIGHTS > 0].mean()
    n_rows = len(expected)
    whole = [part for part in Recorder.seen if len(part) == n_rows]
    parts = [part for part in Recorder.seen if len(part) < n_rows]
    assert len(parts) == 6
    np.testing.assert_allclose(whole, [expected, expected])
    for part in parts:
        assert np.abs(part[:, None] - expected).min(axis=1).max() < 1e-8


@pytest.mark.parametrize("factor", [1e-300, 1e-3, 1.0, 3e5, 1e307])
def test_relative_weights_of_every_scale(factor):
    found = relative_weights(factor * WEIGHTS, "owner")
    assert found[WEIGHTS > 0].mean() == pytest.approx(1.0, abs=1e-9)
    np.testing.assert_array_equal(found == 0, WEIGHTS == 0)
    np.testing.assert_array_equal(found, relative_weights(WEIGHTS, "owner"))


def test_classes_of_weight_zero_may_leave_no_row():
    model = early(class_weight={1: 0.0})
    with pytest.raises(ValueError, match="EarlyFusionClassifier: no training row has"):
        model.fit(X, CLASSES, sample_weight=CLASSES)
