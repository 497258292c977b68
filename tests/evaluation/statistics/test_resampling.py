"""Each statistic against hand values or an independent implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from skfusion.evaluation.statistics.resampling import (
    corrected_resampled_interval,
    corrected_resampled_ttest,
)

A = [0.84, 0.86, 0.83, 0.87, 0.85]
B = [0.80, 0.85, 0.80, 0.84, 0.81]


def test_ttest_hand_values():
    # differences .04 .01 .03 .03 .04: mean .03, sum of squares .0006, variance .00015
    se = math.sqrt((1 / 5 + 20 / 80) * 0.00015)
    test = corrected_resampled_ttest(A, B, 80, 20)
    assert test.difference == pytest.approx(0.03, abs=1e-12)
    assert test.statistic == pytest.approx(0.03 / se, rel=1e-12)
    # 2.7764451: the 97.5 % quantile of t with 4 degrees of freedom in any table
    assert test.low == pytest.approx(0.03 - 2.7764451 * se, abs=1e-8)
    assert test.high == pytest.approx(0.03 + 2.7764451 * se, abs=1e-8)
    assert test.n_folds == 5
    # closed form of the tail of t with 4 degrees of freedom
    t = test.statistic
    tail = 0.5 - 0.5 * t / math.sqrt(t * t + 4) * (1 + 2 / (t * t + 4))
    assert test.pvalue == pytest.approx(2 * tail, rel=1e-9)


def test_factor_of_repeated_folds_is_the_test_share_not_one_by_k():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=25), rng.normal(size=25)  # 5 x 5 folds
    test = corrected_resampled_ttest(a, b, 160, 40)
    se = test.difference / test.statistic
    assert se**2 == pytest.approx((1 / 25 + 0.25) * np.var(a - b, ddof=1), rel=1e-12)


def test_sizes_by_fold_enter_as_the_mean_ratio():
    train, test = [80, 90, 70, 80, 80], [20, 10, 30, 20, 20]
    ratio = np.mean([20 / 80, 10 / 90, 30 / 70, 20 / 80, 20 / 80])
    by_fold = corrected_resampled_ttest(A, B, train, test)
    assert by_fold.statistic == pytest.approx(
        0.03 / math.sqrt((1 / 5 + ratio) * 0.00015), rel=1e-12
    )


def test_without_correction_it_is_the_paired_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.1, 1, 12), rng.normal(size=12)
    ours = corrected_resampled_ttest(a, b, 1e15, 1)  # test share of nothing
    theirs = stats.ttest_rel(a, b)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-10)
    assert ours.pvalue == pytest.approx(theirs.pvalue, rel=1e-10)
    interval = theirs.confidence_interval(0.9)
    ours = corrected_resampled_ttest(a, b, 1e15, 1, confidence_level=0.9)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


def test_interval_is_that_of_the_test_against_zero():
    interval = corrected_resampled_interval(A, 80, 20)
    test = corrected_resampled_ttest(A, np.zeros(5), 80, 20)
    assert interval.estimate == pytest.approx(0.85)
    assert (interval.low, interval.high) == pytest.approx((test.low, test.high))


def test_swapping_swaps_the_sign_only():
    one, other = (
        corrected_resampled_ttest(A, B, 80, 20),
        corrected_resampled_ttest(B, A, 80, 20),
    )
    assert one.pvalue == other.pvalue
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_identical_scores_give_no_difference():
    test = corrected_resampled_ttest(A, A, 80, 20)
    assert (test.difference, test.low, test.high, test.pvalue) == (0, 0, 0, 1)


def test_constant_difference_cannot_be_tested():
    with pytest.warns(RuntimeWarning, match="same in all 5 folds"):
        test = corrected_resampled_ttest(np.add(B, 0.1), B, 80, 20)
    assert np.isnan(test.pvalue)
    assert test.reason.startswith("The difference is the same in all 5 folds")
    assert test.difference == pytest.approx(0.1)
    assert (test.standard_error, test.df) == (0, 4)
    assert np.isnan([test.low, test.high]).all()


def weighted_by_loops(values, weights, train, test):
    """Mean and corrected standard error, term by term."""
    total = sum(weights)
    mean = sum(w * x for w, x in zip(weights, values, strict=True)) / total
    squares = sum(w * (x - mean) ** 2 for w, x in zip(weights, values, strict=True))
    variance = squares / (total - sum(w * w for w in weights) / total)
    m = total**2 / sum(w * w for w in weights)
    ratio = sum(w * b / a for w, a, b in zip(weights, train, test, strict=True)) / total
    return mean, math.sqrt((1 / m + ratio) * variance)


def test_weights_agree_with_the_formula():
    rng = np.random.default_rng(4)
    for _ in range(200):
        k = int(rng.integers(5, 30))
        a, b = rng.normal(size=(2, k))
        test, train = rng.integers(5, 40, k), rng.integers(60, 200, k)
        weights = rng.uniform(0.1, 5, k)
        mean, error = weighted_by_loops(a - b, weights, train, test)
        found = corrected_resampled_ttest(a, b, train, test, weights=weights)
        assert found.difference == pytest.approx(mean, abs=1e-12)
        assert found.standard_error == pytest.approx(error, rel=1e-12)
        assert found.df == k - 1
        assert found.statistic == pytest.approx(mean / error, rel=1e-12)
        assert found.pvalue == pytest.approx(
            2 * stats.t.cdf(-abs(mean / error), k - 1), rel=1e-12
        )
        interval = corrected_resampled_interval(a - b, train, test, weights=weights)
        assert interval.estimate == pytest.approx(mean, abs=1e-12)
        assert (interval.low, interval.high) == pytest.approx((found.low, found.high))


def test_weighted_variance_is_that_of_statsmodels():
    package = pytest.importorskip(
        "statsmodels.stats.weightstats", reason="statsmodels is an oracle here"
    )
    rng = np.random.default_rng(5)
    values, weights = rng.normal(size=(2, 12))
    weights = np.exp(weights)
    # Frequency weights of mean 1 have its variance with another denominator.
    described = package.DescrStatsW(values, weights, ddof=0)
    m = weights.sum() ** 2 / (weights**2).sum()
    error = np.sqrt((1 / m + 0.25) * described.var * m / (m - 1))
    found = corrected_resampled_ttest(values, np.zeros(12), 80, 20, weights=weights)
    assert found.difference == pytest.approx(described.mean, rel=1e-12)
    assert found.standard_error == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("weight", [1, 0.01, 40.0, 1e200])
def test_equal_weights_are_no_weights(weight):
    sizes = ([80, 90, 70, 80, 80], [20, 10, 30, 20, 20])
    plain = corrected_resampled_ttest(A, B, *sizes)
    found = corrected_resampled_ttest(A, B, *sizes, weights=[weight] * 5)
    assert found.difference == pytest.approx(plain.difference, rel=1e-14)
    assert found.standard_error == pytest.approx(plain.standard_error, rel=1e-14)
    assert found.pvalue == pytest.approx(plain.pvalue, rel=1e-12)


def test_a_fold_of_hardly_any_weight_hardly_counts():
    few = corrected_resampled_ttest(
        [*A, 5.0], [*B, 0.0], 80, 20, weights=[1] * 5 + [1e-9]
    )
    plain = corrected_resampled_ttest(A, B, 80, 20)
    assert few.difference == pytest.approx(plain.difference, abs=1e-6)
    assert few.standard_error == pytest.approx(plain.standard_error, rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1], r"weights must have shape \(5,\), one per fold, got shape \(2,\)"),
        ([1, 0, -1, 1, 1], r"not in 2 of 5 folds, first in fold\(s\) \[1, 2\]"),
        ([1, np.nan, 1, 1, np.inf], r"not in 2 of 5 folds, first in .*\[1, 4\]"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        corrected_resampled_ttest(A, B, 80, 20, weights=weights)
    with pytest.raises(ValueError, match=message):
        corrected_resampled_interval(A, 80, 20, weights=weights)


@pytest.mark.parametrize("n_folds", [2, 3, 4])
def test_fewer_than_five_folds_are_not_tested(n_folds):
    test = corrected_resampled_ttest(A[:n_folds], B[:n_folds], 80, 20)
    assert np.isnan(test.pvalue)
    assert f"{n_folds} scores of folds. Fewer than 5" in test.reason
    assert test.low < test.difference < test.high
    assert corrected_resampled_ttest(A, B, 80, 20).reason == ""
    same = corrected_resampled_ttest(A[:n_folds], A[:n_folds], 80, 20)
    assert (same.pvalue, same.reason) == (1, "")


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("weights", [None, [1, 2, 3]])
def test_equal_scores_have_no_limits(score, weights):
    interval = corrected_resampled_interval([score] * 3, 2, 1, weights=weights)
    assert interval.reason.startswith("The score is the same in all 3 folds")
    assert interval.estimate == pytest.approx(score)
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize(
    ("scores", "train", "test", "message"),
    [
        ([0.5], 4, 1, "at least 2 scores"),
        ([0.5, np.nan], 4, 1, r"not finite in 1 of 2 folds, first in fold\(s\) \[1\]"),
        ([0.5, 0.6], 0, 1, "n_train must be one positive number"),
        ([0.5, 0.6], 4, [1, 1, 1], "n_test must be one positive number"),
    ],
)
def test_bad_scores(scores, train, test, message):
    with pytest.raises(ValueError, match=message):
        corrected_resampled_interval(scores, train, test)


def test_bad_pairs_and_levels():
    with pytest.raises(ValueError, match="a has 5 scores and b has 4"):
        corrected_resampled_ttest(A, B[:4], 80, 20)
    with pytest.raises(ValueError, match="a number above 0 and below 1, got 95"):
        corrected_resampled_interval(A, 80, 20, confidence_level=95)


def _fold_accuracies(X, y, folds):
    """Nearest class mean, one feature: accuracy on each fold."""
    scores = []
    for test in folds:
        train = np.ones(len(y), dtype=bool)
        train[test] = False
        low, high = X[train & (y == 0)].mean(), X[train & (y == 1)].mean()
        predicted = (X[test] > (low + high) / 2) == (high > low)
        scores.append(np.mean(predicted == y[test]))
    return scores


def test_error_rate_on_repeated_folds():
    # Two strategies that are equally good by construction, 5 x 5 folds.
    rng = np.random.default_rng(3)
    n_runs, n_rows = 300, 150
    plain = corrected = 0
    for _ in range(n_runs):
        y = rng.integers(0, 2, n_rows)
        first, second = y + rng.normal(size=(2, n_rows))
        folds = [
            part
            for _ in range(5)
            for part in np.array_split(rng.permutation(n_rows), 5)
        ]
        a, b = _fold_accuracies(first, y, folds), _fold_accuracies(second, y, folds)
        plain += stats.ttest_rel(a, b).pvalue < 0.05
        corrected += corrected_resampled_ttest(a, b, 120, 30).pvalue < 0.05
    assert plain / n_runs > 0.3
    assert corrected / n_runs < 0.12
