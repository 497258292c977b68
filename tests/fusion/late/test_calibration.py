"""Calibration of members and of the fused prediction, within the estimator."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    X = pd.DataFrame(rng.normal(size=(120, 4)) + 0.8 * y[:, None], columns=list("abcd"))
    return X, y, rng.integers(0, 40, 120)


MODALITIES = [
    ("ab", StandardScaler(), ["a", "b"]),
    ("cd", StandardScaler(), ["c", "d"]),
]


def test_calibration_within_the_estimator_is_that_of_scikit_learn(table):
    X, y, _ = table
    folds = list(StratifiedKFold(4).split(X, y))
    member = make_pipeline(StandardScaler(), LogisticRegression())
    model = LateFusionClassifier(
        [("ab", member, ["a", "b"]), ("cd", member, ["c", "d"])],
        calibration={"ab": "sigmoid"},
        cv=folds,
    ).fit(X, y)
    reference = CalibratedClassifierCV(member, cv=folds, ensemble=False)
    calibrated = reference.fit(X[["a", "b"]], y).predict_proba(X[["a", "b"]])[:, 1]
    plain = member.fit(X[["c", "d"]], y).predict_proba(X[["c", "d"]])[:, 1]
    np.testing.assert_allclose(
        model.transform(X), np.column_stack([calibrated, plain]), atol=1e-4
    )
    assert list(model.calibrators_) == ["ab"]
    encoded = model.predict_encoded(model.encode_modalities(X))
    np.testing.assert_array_equal(encoded, model.predict_proba(X))


def test_the_meta_model_learns_from_cross_fitted_calibrated_predictions(table):
    X, y, _ = table
    folds = list(StratifiedKFold(4).split(X, y))
    model = LateFusionClassifier(
        MODALITIES,
        estimator=GaussianNB(),
        aggregation="stacking",
        calibration="isotonic",
        cv=folds,
    ).fit(X, y)
    crossed = np.empty((120, 2))
    for j, cols in enumerate((["a", "b"], ["c", "d"])):
        p = cross_val_predict(
            make_pipeline(StandardScaler(), GaussianNB()),
            X[cols],
            y,
            cv=folds,
            method="predict_proba",
        )[:, 1]
        for train, test in folds:
            curve = IsotonicRegression(out_of_bounds="clip").fit(p[train], y[train])
            crossed[test, j] = curve.predict(p[test])
    odds = logit(np.clip(crossed, 1e-6, 1 - 1e-6))
    expected = LogisticRegression().fit(odds, y)
    np.testing.assert_allclose(model.final_estimator_.coef_, expected.coef_, rtol=1e-4)


def test_final_calibration_learns_from_combinations_of_the_other_folds(table):
    X, y, _ = table
    folds = list(StratifiedKFold(4).split(X, y))
    settings = {"aggregation": "stacking", "cv": folds}
    model = LateFusionClassifier(
        MODALITIES, final_calibration="isotonic", **settings
    ).fit(X, y)
    plain = LateFusionClassifier(MODALITIES, **settings).fit(X, y)
    odds = np.column_stack(
        [
            logit(
                cross_val_predict(
                    clone(member), X[cols], y, cv=folds, method="predict_proba"
                )[:, 1]
            )
            for _, member, cols in plain.modalities_
        ]
    )
    fused = cross_val_predict(
        LogisticRegression(), odds, y, cv=folds, method="predict_proba"
    )[:, 1]
    curve = IsotonicRegression(out_of_bounds="clip").fit(fused, y)
    expected = curve.predict(plain.predict_proba(X)[:, 1])
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], expected, atol=1e-6)


def test_calibrations_that_make_no_sense(table):
    X, y, _ = table
    for settings, words in (
        ({"calibration": "platt"}, "calibration of 'ab' must be None or one of"),
        ({"calibration": {"xy": "sigmoid"}}, r"names \['xy'\], but the modalities"),
        ({"final_calibration": "platt"}, "final_calibration must be None or one of"),
    ):
        with pytest.raises(ValueError, match=words):
            LateFusionClassifier(MODALITIES, **settings).fit(X, y)
    X, y = X.copy(), y.copy()
    # of those with modality ab, one row beside the fold that holds out the first half
    X.loc[y == 1, ["a", "b"]] = np.nan
    few = np.flatnonzero(y == 1)[[0, 1, -1]]
    X.loc[few, ["a", "b"]] = 0.5
    halves = [(np.arange(60, 120), np.arange(60)), (np.arange(60), np.arange(60, 120))]
    model = LateFusionClassifier(MODALITIES, calibration="sigmoid", cv=halves)
    with pytest.raises(
        ValueError,
        match=r"'sigmoid' of modality 'ab'.*inner fold 0: 1 of .* class number 1",
    ):
        model.fit(X, y)
