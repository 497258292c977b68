"""The classes that ``aggregation="rank"`` predicts have the shares of the training."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier
from skfusion.fusion.late.aggregation import matching_offsets
from skfusion.fusion.late.combination import Combination
from skfusion.fusion.targets import classifier_target

MODALITIES = [("u", StandardScaler(), ["a", "b"]), ("v", StandardScaler(), ["c", "d"])]


@pytest.fixture(scope="module")
def table():
    """Two informative columns in two modalities, and their noisy sum."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(2000, 4)), columns=list("abcd"))
    return X, (X["a"] + X["c"] + rng.normal(scale=0.5, size=2000)).to_numpy()


def ranked(**parameters):
    settings = {"estimator": LogisticRegression(), "aggregation": "rank", "cv": 3}
    settings = {**settings, "random_state": 0, **parameters}
    return LateFusionClassifier(MODALITIES, **settings)


@pytest.mark.parametrize("share", [0.02, 0.06, 0.5, 0.9])
def test_as_many_are_called_positive_as_there_are(table, share):
    X, score = table
    y = (score > np.quantile(score, 1 - share)).astype(int)
    model = ranked().fit(X[:1000], y[:1000])
    predicted = model.predict(X[1000:])
    assert predicted.mean() == pytest.approx(share, abs=0.03)
    accuracy = (predicted == y[1000:]).mean()
    largest = model.classes_[model.predict_proba(X[1000:]).argmax(axis=1)]
    assert accuracy > 0.85
    if share < 0.1:  # the largest rank calls half of everybody positive
        assert largest.mean() > 0.4
    # a threshold only: whoever is called positive ranks above everybody else
    ranks = model.predict_proba(X[1000:])[:, 1]
    assert ranks[predicted == 1].min() > ranks[predicted == 0].max()


def test_several_classes_have_their_shares(table):
    X, score = table
    y = np.select([score > 2, score > 1.2, score > 0.3], ["d", "c", "b"], "a")
    model = ranked().fit(X[:1000], y[:1000])
    predicted = pd.Series(model.predict(X[1000:]))
    expected = pd.Series(y[:1000]).value_counts(normalize=True)
    found = predicted.value_counts(normalize=True).reindex(expected.index)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_each_label_has_its_share(table):
    X, score = table
    labels = [score > 2, score > 0, X["d"] > -1.5, np.ones(len(X), dtype=bool)]
    Y = np.column_stack(labels).astype(int)
    with pytest.warns(UserWarning, match="have one value"):
        model = ranked().fit(X[:1000], Y[:1000])
    np.testing.assert_allclose(
        model.predict(X[1000:]).mean(axis=0), Y[:1000].mean(axis=0), atol=0.05
    )
    assert model.predict(X[1000:])[:, 3].all()


def test_class_weights_move_the_threshold(table):
    X, score = table
    y = (score > np.quantile(score, 0.9)).astype(int)
    called = [
        ranked(class_weight=weight).fit(X[:1000], y[:1000]).predict(X[1000:]).mean()
        for weight in (None, {1: 3.0}, "balanced")
    ]
    assert called[0] < called[1] < called[2]
    assert called[2] > 1.5 * called[0]


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated_ranks_are_probabilities(table, method):
    X, score = table
    y = (score > np.quantile(score, 0.94)).astype(int)
    model = ranked(final_calibration=method).fit(X[:1000], y[:1000])
    proba = model.predict_proba(X[1000:])
    assert proba[:, 1].mean() == pytest.approx(0.06, abs=0.02)
    np.testing.assert_array_equal(model.predict(X[1000:]), proba.argmax(axis=1))


def test_a_temperature_cannot_make_probabilities_of_ranks(table):
    X, score = table
    y = (score > 0).astype(int)
    with pytest.raises(ValueError, match="'temperature' does not move .* of 0.5"):
        ranked(final_calibration="temperature").fit(X[:200], y[:200])
    ranked(calibration="temperature").fit(X[:200], y[:200])  # of the members


def test_a_row_without_modalities_gets_the_most_frequent_class(table):
    X, score = table
    X = X[:400].copy()
    y = np.select([score[:400] > 0.8, score[:400] > 0], ["c", "b"], "a")
    model = ranked().fit(X, y)
    X.iloc[:2] = np.nan
    X.iloc[2, :2] = np.nan  # one modality is left
    with pytest.warns(UserWarning, match="2 of 3 rows have no modality"):
        predicted = model.predict(X[:3])
    assert list(predicted[:2]) == ["a", "a"]
    np.testing.assert_array_equal(predicted[2:], model.predict(X[2:3]))


def test_other_rules_decide_by_the_largest_probability(table):
    X, score = table
    y = (score > np.quantile(score, 0.94)).astype(int)[:400]
    for rule in ("mean", "vote", "bayes"):
        model = ranked(aggregation=rule).fit(X[:400], y)
        largest = model.predict_proba(X[:400]).argmax(axis=1)
        np.testing.assert_array_equal(model.predict(X[:400]), largest)


def test_weights_are_repeated_rows():
    rng = np.random.default_rng(1)
    y = rng.permutation(np.repeat([0, 1, 2], [60, 20, 10]))
    P = rng.dirichlet([2, 1, 1], size=(90, 2)) + 0.3 * np.eye(3)[y][:, None]
    P = P / P.sum(axis=2, keepdims=True)
    weight = rng.integers(1, 4, 90)
    again = np.repeat(np.arange(90), weight)
    target = classifier_target(y, "LateFusionClassifier")
    target.encode(y)
    one = Combination("rank", target).fit(P, y, weight.astype(float))
    other = Combination("rank", target).fit(P[again], y[again])
    np.testing.assert_allclose(one.offsets_, other.offsets_, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_offsets_match_the_shares_without_ties(n_classes):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3000, n_classes)) * rng.uniform(0.2, 2, n_classes)
    shares = rng.dirichlet(np.ones(n_classes))
    offsets = matching_offsets(scores, shares)
    found = np.bincount((scores + offsets).argmax(axis=1), minlength=n_classes) / 3000
    np.testing.assert_allclose(found, shares, atol=0.002)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, []), (0.04, []), (0.1, [9]), (0.5, [7, 8, 9])]
)
def test_tied_scores_are_on_one_side(share, expected):
    second = np.array([0.1] * 7 + [0.6, 0.6, 0.9])
    scores = np.column_stack([1 - second, second])
    offsets = matching_offsets(scores, np.array([1 - share, share]))
    assert np.flatnonzero((scores + offsets).argmax(axis=1)).tolist() == expected
