"""Calibration of members, against CalibratedClassifierCV on the same folds."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB

from skfusion.fusion.late.calibration import METHODS, Calibrator, cross_calibrate


def problem(n_classes: int, n_samples: int = 400):
    X, y = make_classification(
        n_samples,
        n_features=6,
        n_informative=4,
        n_classes=n_classes,
        flip_y=0.2,
        random_state=0,
    )
    weights = np.random.default_rng(0).uniform(0.2, 2.0, n_samples)
    return X, y, weights


# scikit-learn's sigmoid works on decisions, which are log-odds for two classes only
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("method", "member", "n_classes"),
    [
        ("sigmoid", LogisticRegression(), 2),
        ("isotonic", GaussianNB(), 2),
        ("isotonic", GaussianNB(), 3),
        ("temperature", LogisticRegression(), 2),
        ("temperature", LogisticRegression(), 3),
    ],
)
def test_same_as_scikit_learn(method, member, n_classes, weighted):
    if method == "temperature":
        pytest.importorskip("sklearn", "1.8", reason="scikit-learn 1.8 has it")
    X, y, weights = problem(n_classes)
    fit_weights = weights if weighted else None
    cv = StratifiedKFold(5)
    reference = CalibratedClassifierCV(member, method=method, cv=cv, ensemble=False)
    expected = reference.fit(X, y, sample_weight=fit_weights).predict_proba(X)
    out_of_fold = np.empty((len(y), n_classes))
    for train, test in cv.split(X, y):
        part = None if fit_weights is None else fit_weights[train]
        member.fit(X[train], y[train], sample_weight=part)
        out_of_fold[test] = member.predict_proba(X[test])
    calibrator = Calibrator(method).fit(out_of_fold, y, fit_weights)
    raw = member.fit(X, y, sample_weight=fit_weights).predict_proba(X)
    np.testing.assert_allclose(calibrator.predict(raw), expected, atol=2e-4)


def test_sigmoid_of_three_classes_is_one_against_the_rest():
    X, y, _ = problem(3)
    P = cross_val_predict(GaussianNB(), X, y, method="predict_proba")
    found = Calibrator("sigmoid").fit(P, y).predict(P)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    single = []
    for c in range(3):
        two = np.column_stack([1 - P[:, c], P[:, c]])
        hit = (y == c).astype(int)
        single.append(Calibrator("sigmoid").fit(two, hit).predict(two)[:, 1])
    single = np.column_stack(single)
    np.testing.assert_allclose(found, single / single.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("method", METHODS)
def test_labels_are_calibrated_one_by_one(method):
    X, y, weights = problem(2)
    Y = np.column_stack([y, X[:, 0] > 0.5]).astype(int)
    P = np.column_stack(
        [
            cross_val_predict(GaussianNB(), X, column, method="predict_proba")[:, 1]
            for column in Y.T
        ]
    )
    found = Calibrator(method).fit(P, Y, weights).predict(P)
    for c in range(2):
        two = np.column_stack([1 - P[:, c], P[:, c]])
        alone = Calibrator(method).fit(two, Y[:, c], weights).predict(two)
        np.testing.assert_allclose(found[:, c], alone[:, 1])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_weight_of_two_is_the_row_twice(method, n_classes):
    X, y, _ = problem(n_classes, 200)
    P = cross_val_predict(GaussianNB(), X, y, method="predict_proba")
    counts = np.arange(200) % 3
    weighted = Calibrator(method).fit(P, y, counts.astype(float))
    repeated = Calibrator(method).fit(P.repeat(counts, axis=0), y.repeat(counts))
    np.testing.assert_allclose(weighted.predict(P), repeated.predict(P), atol=1e-4)


def test_calibration_mends_what_it_can():
    """Log-odds of twice the size: the sigmoid and the temperature halve them."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, 20_000)
    truth = 1 / (1 + np.exp(-odds))
    y = (rng.random(20_000) < truth).astype(int)
    loud = 1 / (1 + np.exp(-2 * odds))
    P = np.column_stack([1 - loud, loud])
    for method in METHODS:
        found = Calibrator(method).fit(P, y).predict(P)[:, 1]
        assert np.abs(found - truth).mean() < 0.02
    assert np.abs(loud - truth).mean() > 0.08


def test_no_outcome_has_a_part_in_its_own_calibration():
    X, y, _ = problem(2)
    P = cross_val_predict(GaussianNB(), X, y, method="predict_proba")
    folds = list(StratifiedKFold(4).split(X, y))
    _, before = cross_calibrate("isotonic", P, y, folds, what="one")
    inside = folds[2][1]
    flipped = y.copy()
    flipped[inside] = 1 - flipped[inside]
    calibrator, after = cross_calibrate("isotonic", P, flipped, folds, what="one")
    np.testing.assert_array_equal(before[inside], after[inside])
    outside = folds[2][0]
    assert np.abs(before[outside] - after[outside]).max() > 0.05
    assert np.abs(calibrator.predict(P) - after).max() > 0.05


def test_absent_rows_teach_nothing_and_stay_absent():
    X, y, _ = problem(2)
    P = cross_val_predict(GaussianNB(), X, y, method="predict_proba")
    P[::3] = np.nan
    folds = list(StratifiedKFold(4).split(X, y))
    calibrator, crossed = cross_calibrate("sigmoid", P, y, folds, what="one")
    np.testing.assert_array_equal(np.isnan(crossed), np.isnan(P))
    has = ~np.isnan(P[:, 0])
    alone = Calibrator("sigmoid").fit(P[has], y[has])
    np.testing.assert_array_equal(calibrator.predict(P[has]), alone.predict(P[has]))


def test_too_few_rows_of_a_class():
    P = np.full((8, 2), 0.5)
    y = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    folds = [(np.arange(4, 8), np.arange(4)), (np.arange(4), np.arange(4, 8))]
    with pytest.raises(
        ValueError,
        match="calibration='sigmoid' of modality 'cxr', outside inner fold 1: 0 of 4 "
        r"row\(s\) has class number 1.*Use fewer folds",
    ):
        cross_calibrate("sigmoid", P, y, folds, what="modality 'cxr'")


@pytest.mark.parametrize("method", METHODS)
def test_labels_that_are_too_rare_stay_as_they_are(method):
    X, y, _ = problem(2)
    p = cross_val_predict(GaussianNB(), X, y, method="predict_proba")[:, 1]
    P = np.column_stack([p, p, p])
    rare = np.arange(len(y)) == 3
    calibrator = Calibrator(method).fit(P, np.column_stack([rare, y, ~rare]))
    assert calibrator.uncalibrated_.tolist() == [0, 2]
    found = calibrator.predict(P)
    np.testing.assert_array_equal(found[:, [0, 2]], P[:, [0, 2]])
    assert np.abs(found[:, 1] - p).max() > 1e-3
    weights = np.ones(len(y))
    weights[y == 1] = 0.0
    weighted = Calibrator(method).fit(P, np.column_stack([y, rare, y]), weights)
    assert weighted.uncalibrated_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("method", METHODS)
def test_calibrators_pickle(method):
    X, y, _ = problem(3)
    P = cross_val_predict(GaussianNB(), X, y, method="predict_proba")
    calibrator = Calibrator(method).fit(P, y)
    again = pickle.loads(pickle.dumps(calibrator))
    np.testing.assert_array_equal(again.predict(P), calibrator.predict(P))
