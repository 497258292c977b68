"""Net benefit by loops, by scikit-learn and by published values."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from skfusion.evaluation.statistics.decision import (
    net_benefit,
    net_benefit_difference,
)


def random_cohort(rng):
    n_cases = int(rng.integers(10, 60))
    y = np.r_[0, 1, rng.integers(0, 2, n_cases - 2)]
    a, b = np.round(rng.uniform(size=(2, n_cases)), 1)  # with ties at the thresholds
    return y, a, b


def test_agrees_with_confusion_matrices_of_scikit_learn():
    rng = np.random.default_rng(9)
    for _ in range(10):
        y, p, _ = random_cohort(rng)
        tn, fp, fn, tp = confusion_matrix(y, p >= 0.3).ravel()
        expected = (tp - fp * 3 / 7) / (tn + fp + fn + tp)
        assert net_benefit(y, p, 0.3).model[0] == pytest.approx(expected, abs=1e-12)


def test_agrees_with_counts():
    rng = np.random.default_rng(0)
    thresholds = np.array([0.0, 0.1, 0.2, 0.5, 0.9])
    for _ in range(200):
        y, p, _ = random_cohort(rng)
        found = net_benefit(y, p, thresholds)
        share = rng.uniform(0.01, 0.9)
        moved = net_benefit(y, p, thresholds, prevalence=share)
        for j, t in enumerate(thresholds):
            pairs = list(zip(y.tolist(), (p >= t).tolist(), strict=True))
            tn, fp, fn, tp = (pairs.count(pair) for pair in product((0, 1), (0, 1)))
            odds = t / (1 - t)
            expected = tp / len(y) - fp / len(y) * odds
            assert found.model[j] == pytest.approx(expected, abs=1e-12)
            expected = share * tp / (tp + fn) - (1 - share) * fp / (fp + tn) * odds
            assert moved.model[j] == pytest.approx(expected, abs=1e-12)
            everyone = y.mean() - (1 - y.mean()) * odds
            assert found.treat_all[j] == pytest.approx(everyone, abs=1e-12)
        assert found.treat_none.tolist() == [0] * 5
        assert found.prevalence == pytest.approx(y.mean())
        assert moved.prevalence == share
        same = net_benefit(y, p, thresholds, prevalence=y.mean())
        np.testing.assert_allclose(same.model, found.model, atol=1e-12)


def test_treating_all_has_the_values_of_another_package():
    # dcurves at a prevalence of .3325 and thresholds of 10, 20 and 50 %
    y = np.r_[np.ones(133), np.zeros(267)]
    found = net_benefit(y, np.ones(400), [0.1, 0.2, 0.5])
    expected = [0.25833333, 0.165625, -0.335]
    np.testing.assert_allclose(found.treat_all, expected, atol=1e-8)
    np.testing.assert_allclose(found.model, expected, atol=1e-8)


def test_difference_is_that_of_the_net_benefits():
    rng = np.random.default_rng(1)
    thresholds = [0.05, 0.3, 0.7]
    for prevalence in (None, 0.1):
        y, a, b = random_cohort(rng)
        found = net_benefit_difference(
            y, a, b, thresholds, prevalence=prevalence, n_resamples=20, random_state=0
        )
        one = net_benefit(y, a, thresholds, prevalence=prevalence)
        other = net_benefit(y, b, thresholds, prevalence=prevalence)
        expected = one.model - other.model
        np.testing.assert_allclose(found.difference, expected, atol=1e-12)


@pytest.mark.parametrize("prevalence", [None, 0.2])
def test_band_agrees_with_a_loop_over_samples(prevalence):
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(30), 2)
    y = np.r_[1, 0, rng.integers(0, 2, 58)]
    a, b = rng.uniform(size=(2, 60))
    found = net_benefit_difference(
        *(y, a, b, [0.2, 0.5]),
        groups=groups,
        prevalence=prevalence,
        n_resamples=60,
        confidence_level=0.8,
        random_state=3,
    )
    state = np.random.RandomState(3)
    draws = []
    for _ in range(60):
        drawn = state.randint(30, size=30)
        rows = np.concatenate([[2 * k, 2 * k + 1] for k in drawn])
        one, other = (
            net_benefit(y[rows], p[rows], [0.2, 0.5], prevalence=prevalence).model
            for p in (a, b)
        )
        draws.append(one - other)
    low, high = np.quantile(draws, [0.1, 0.9], axis=0)
    np.testing.assert_allclose(found.low, low, atol=1e-12)
    np.testing.assert_allclose(found.high, high, atol=1e-12)
    assert (found.n_clusters, found.n_resamples, found.n_undefined) == (30, 60, 0)


def test_the_same_model_twice_does_not_differ():
    rng = np.random.default_rng(4)
    y, a, _ = random_cohort(rng)
    found = net_benefit_difference(y, a, a, [0.2, 0.5], n_resamples=20, random_state=0)
    assert found.difference.tolist() == found.low.tolist() == found.high.tolist()
    assert found.difference.tolist() == [0, 0]


@pytest.mark.filterwarnings("ignore:.*undefined in:UserWarning")
def test_samples_of_one_class_are_undefined_at_a_given_prevalence_only():
    y, p = np.r_[1, np.zeros(9)], np.linspace(0.9, 0, 10)
    given = net_benefit_difference(
        y, p, 1 - p, 0.5, prevalence=0.1, n_resamples=200, random_state=0
    )
    own = net_benefit_difference(y, p, 1 - p, 0.5, n_resamples=200, random_state=0)
    assert given.n_undefined == pytest.approx(200 * 0.9**10, rel=0.3)
    assert own.n_undefined == 0


@pytest.mark.slow
def test_coverage_of_the_band():
    rng = np.random.default_rng(5)
    big = 200_000

    def draw(n_patients):
        y = np.repeat(rng.random(n_patients) < 0.3, 2)
        risk = np.repeat(rng.normal(size=n_patients), 2) * 0.7
        a, b = 1 / (
            1 + np.exp(-(y * [[1.5], [0.8]] - 1 + risk + rng.normal(size=(2, len(y)))))
        )
        return y, a, b

    y, a, b = draw(big)
    truth = net_benefit(y, a, 0.3).model[0] - net_benefit(y, b, 0.3).model[0]
    covered = 0
    for seed in range(400):
        found = net_benefit_difference(
            *draw(150),
            0.3,
            groups=np.repeat(np.arange(150), 2),
            n_resamples=300,
            random_state=seed,
        )
        covered += found.low[0] <= truth <= found.high[0]
    assert 0.91 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": [0.1, 1.0, -0.1]}, r"2 of 3 are not, first at .*\[1, 2\]"),
        ({"thresholds": [np.nan]}, "from 0 and below 1, but 1 of 1"),
        ({"thresholds": []}, r"list of numbers, got shape \(0,\)"),
        ({"prevalence": 0}, "prevalence must be a number above 0 and below 1 or None"),
        ({"y": [0, 1, 2, 1]}, "got 3 distinct"),
        ({"y": [1, 1, 1, 1]}, "all 4 cases belong to one class"),
        ({"a": [0.1, 0.2, 1.2, -3]}, r"outside this range in 2 of 4 rows, .*\[2, 3\]"),
        ({"a": [0.1, 0.2, np.nan, 0.3]}, "NaN or infinite in 1 of 4"),
        ({"a": [0.1, 0.2]}, r"must have shape \(4,\)"),
    ],
)
def test_bad_input(changes, message):
    given = {"y": [0, 1, 0, 1], "a": [0.1, 0.2, 0.3, 0.4], "thresholds": 0.2} | changes
    y, a, thresholds = given.pop("y"), given.pop("a"), given.pop("thresholds")
    with pytest.raises(ValueError, match=message):
        net_benefit(y, a, thresholds, **given)
    with pytest.raises(ValueError, match=message):
        net_benefit_difference(y, a, [0.5] * 4, thresholds, **given)
