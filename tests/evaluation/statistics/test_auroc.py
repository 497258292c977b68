"""AUROCs, their covariance, test and limits: by brute force, by hand, simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from skfusion.evaluation.statistics.auroc import (
    auroc_interval,
    cross_validated_auroc_interval,
    delong_test,
    estimate_aurocs,
)
from skfusion.exceptions import DataWarning, LeakageWarning

# Albumin, total protein, K-G score and outcome of the 43 complete cases of DeLong,
# DeLong and Clarke-Pearson (1988), as in the documentation of SAS PROC LOGISTIC.
OVARIAN = """
    3.0 5.8 10 0   3.2 6.3 5 1   3.9 6.8 3 1   2.8 4.8 6 0   3.2 5.8 3 1
    0.9 4.0 5 0    2.5 5.7 8 0   1.6 5.6 5 1   3.8 5.7 5 1   3.7 6.7 6 1
    3.2 5.4 4 1    3.8 6.6 6 1   4.1 6.6 5 1   3.6 5.7 5 1   4.3 7.0 4 1
    3.6 6.7 4 0    2.3 4.4 6 1   4.2 7.6 4 0   4.0 6.6 6 0   3.5 5.8 6 1
    3.8 6.8 7 1    3.0 4.7 8 0   4.5 7.4 5 1   3.7 7.4 5 1   3.1 6.6 6 1
    4.1 8.2 6 1    4.3 7.0 5 1   4.3 6.5 4 1   3.2 5.1 5 1   2.6 4.7 6 1
    3.3 6.8 6 0    1.7 4.0 7 0   3.7 6.1 5 1   3.3 6.3 7 1   4.2 7.7 6 1
    3.5 6.2 5 1    2.9 5.7 9 0   2.1 4.8 7 1   2.8 6.2 8 0   4.0 7.0 7 1
    3.3 5.7 6 1    3.7 6.9 5 1   3.6 6.6 5 1
"""


def brute_force(y, scores, groups):
    """Obuchowski (1997), written down as in the paper, pair by pair."""
    y, groups = np.asarray(y, bool), np.asarray(groups)
    clusters = np.unique(groups)
    n_clusters, m, n = len(clusters), y.sum(), (~y).sum()
    areas, sums = [], []
    for score in np.asarray(scores, dtype=float):
        a, b = score[y][:, None], score[~y][None]
        psi = (a > b) + 0.5 * (a == b)
        area = psi.mean()
        v10, v01 = psi.mean(axis=1), psi.mean(axis=0)
        areas.append(area)
        sums.append(
            [
                (
                    (v10[groups[y] == c] - area).sum(),
                    (v01[groups[~y] == c] - area).sum(),
                )
                for c in clusters
            ]
        )
    with_m = len(np.unique(groups[y]))
    with_n = len(np.unique(groups[~y]))
    sums = np.array(sums)  # (scores, clusters, 2)
    covariance = np.zeros((len(areas), len(areas)))
    for p, first in enumerate(sums):
        for q, second in enumerate(sums):
            s10 = with_m / ((with_m - 1) * m) * (first[:, 0] * second[:, 0]).sum()
            s01 = with_n / ((with_n - 1) * n) * (first[:, 1] * second[:, 1]).sum()
            s11 = sum(
                n_clusters / (n_clusters - 1) * (x[:, 0] * z[:, 1]).sum()
                for x, z in ((first, second), (second, first))
            )
            covariance[p, q] = s10 / m + s01 / n + s11 / (m * n)
    return np.array(areas), covariance


def cohort(n_cases=80, n_scores=3, n_levels=12, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n_cases) < 0.4
    scores = rng.integers(0, n_levels, (n_scores, n_cases)) + 2 * y  # with ties
    return y, scores, rng.integers(0, 25, n_cases)


def test_agrees_with_the_formulas_pair_by_pair():
    y, scores, groups = cohort()
    for given in (groups, np.arange(len(y))):
        areas, covariance = brute_force(y, scores, given)
        found = estimate_aurocs(y, scores, given)
        np.testing.assert_allclose(found.values, areas, atol=1e-12)
        np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)
    np.testing.assert_allclose(
        found.values, [roc_auc_score(y, score) for score in scores], atol=1e-12
    )


def test_without_groups_every_case_is_a_patient():
    y, scores, _ = cohort()
    alone = estimate_aurocs(y, scores)
    numbered = estimate_aurocs(y, scores, np.arange(len(y)))
    np.testing.assert_allclose(alone.covariance, numbered.covariance, atol=1e-15)
    assert alone.n_clusters == len(y)


def test_ignores_a_monotone_change_of_a_score():
    y, scores, groups = cohort()
    both = np.stack([scores[0], np.exp(scores[0] / 3)])
    covariance = estimate_aurocs(y, both, groups).covariance
    difference = np.array([1, -1])
    assert difference @ covariance @ difference == pytest.approx(0, abs=1e-12)


def test_several_classes_against_the_rest():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 120)
    scores = rng.normal(size=(2, 120, 3))
    scores[0] += np.eye(3)[labels]
    found = estimate_aurocs(labels[:, None] == np.arange(3), scores)
    for score, value in zip(scores, found.values, strict=True):
        assert value == pytest.approx(
            np.mean([roc_auc_score(labels == k, score[:, k]) for k in range(3)])
        )


def test_standard_error_of_a_macro_auroc_is_that_of_the_bootstrap():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 300)
    score = rng.normal(size=(300, 3)) + np.eye(3)[labels]
    indicator = labels[:, None] == np.arange(3)
    found = estimate_aurocs(indicator, score[None])
    draws = [
        estimate_aurocs(indicator[rows], score[None, rows]).values[0]
        for rows in rng.integers(0, 300, (600, 300))
    ]
    error = np.sqrt(found.covariance[0, 0])
    assert error == pytest.approx(np.std(draws), rel=0.12)


def test_a_patient_with_many_cases_is_one_patient():
    # a quarter of the patients' spread must not shrink because each is seen 5 times
    rng = np.random.default_rng(2)
    y = np.repeat(rng.random(60) < 0.5, 5)
    score = np.repeat(rng.normal(size=60), 5) + 0.1 * rng.normal(size=300) + y
    rows = np.sqrt(estimate_aurocs(y, score[None]).covariance[0, 0])
    patients = np.sqrt(
        estimate_aurocs(y, score[None], np.repeat(np.arange(60), 5)).covariance[0, 0]
    )
    assert 1.8 < patients / rows < 2.6  # sqrt(5) if cases of a patient were the same


@pytest.mark.slow
def test_size_of_a_test_between_two_scores_of_repeated_cases():
    # 60 patients of 5 images, intra-class correlation 0.6; the scores are equally good
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(60), 5)
    rejected = np.zeros(2)
    for _ in range(1000):
        y = np.repeat(rng.random(60) < 0.5, 5)
        shared = np.repeat(rng.normal(size=(2, 60)), 5, axis=1) * 0.6**0.5
        scores = shared + 0.4**0.5 * rng.normal(size=(2, 300)) + y
        for j, given in enumerate((groups, None)):
            found = estimate_aurocs(y, scores, given)
            variance = np.array([1, -1]) @ found.covariance @ np.array([1, -1])
            z = (found.values[0] - found.values[1]) / np.sqrt(variance)
            rejected[j] += abs(z) > 1.96
    assert 0.03 <= rejected[0] / 1000 <= 0.07
    assert rejected[1] / 1000 > 0.15


def random_cohort(rng, n_scores=2):
    """Draw cases with ties, and with two patients of each class at least."""
    n_cases = int(rng.integers(8, 50))
    y = np.r_[0, 0, 1, 1, rng.integers(0, 2, n_cases - 4)]
    n_levels = int(rng.choice([3, 8, 1000]))
    scores = rng.integers(0, n_levels, (n_scores, n_cases)) + y
    groups = np.r_[-1, -2, -3, -4, rng.integers(0, n_cases // 2, n_cases - 4)]
    return y, scores, groups if rng.random() < 0.5 else None


def test_two_hundred_cohorts_agree_with_the_formulas():
    rng = np.random.default_rng(5)
    for _ in range(200):
        y, scores, groups = random_cohort(rng, 3)
        ids = np.arange(len(y)) if groups is None else groups
        areas, covariance = brute_force(y, scores, ids)
        found = estimate_aurocs(y, scores, groups)
        np.testing.assert_allclose(found.values, areas, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=1e-12)
        test = delong_test(y, scores[0], scores[1], groups=groups)
        error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        z = (areas[0] - areas[1]) / error
        assert test.standard_error == pytest.approx(error, rel=1e-9)
        assert test.statistic == pytest.approx(z, rel=1e-9, abs=1e-12)
        assert test.pvalue == pytest.approx(2 * stats.norm.cdf(-abs(z)), abs=1e-12)
        reach = 1.959963984540054 * error
        assert test.interval[0] == pytest.approx(max(areas[0] - areas[1] - reach, -1))
        assert test.interval[1] == pytest.approx(min(areas[0] - areas[1] + reach, 1))
        assert test.n_clusters == len(np.unique(ids))


def test_published_values_of_the_ovarian_data():
    table = np.array(OVARIAN.split(), dtype=float).reshape(43, 4)
    albumin, protein, kg, y = table.T
    kg = 10 - kg
    found = estimate_aurocs(y, [albumin, kg, protein])
    np.testing.assert_allclose(found.values, [0.7366, 0.7258, 0.6478], atol=5e-5)
    errors = np.sqrt(found.covariance.diagonal())
    np.testing.assert_allclose(errors, [0.0927, 0.1028, 0.1000], atol=5e-5)
    for score, chi2, p in ((albumin, 0.0127, 0.9102), (protein, 0.5554, 0.4561)):
        test = delong_test(y, score, kg)
        assert test.statistic**2 == pytest.approx(chi2, abs=5e-5)
        assert test.pvalue == pytest.approx(p, abs=5e-5)
    contrasts = np.array([[1, -1, 0], [0, -1, 1]])
    both = contrasts @ found.values
    covariance = contrasts @ found.covariance @ contrasts.T
    assert both @ np.linalg.solve(covariance, both) == pytest.approx(2.5340, abs=5e-5)


def test_agrees_with_another_package():
    package = pytest.importorskip("MLstatkit", reason="MLstatkit is an oracle here")
    rng = np.random.default_rng(6)
    for _ in range(20):
        y, scores, _ = random_cohort(rng)
        theirs = package.Delong_test(
            y, scores[0], scores[1], return_ci=False, return_auc=False
        )
        ours = delong_test(y, scores[0], scores[1])
        assert ours.statistic == pytest.approx(-theirs[0], rel=1e-9, abs=1e-12)
        assert ours.pvalue == pytest.approx(theirs[1], rel=1e-9)


@pytest.mark.parametrize(
    "change", [lambda s: s, lambda s: np.exp(s / 3), lambda s: s * 7]
)
def test_scores_that_rank_alike_do_not_differ(change):
    y, scores, groups = cohort()
    for given in (None, groups):
        test = delong_test(y, scores[0], change(scores[0]), groups=given)
        assert (test.difference, test.statistic, test.pvalue) == (0, 0, 1)
        assert test.interval == (0, 0)
        assert test.reason == ""


def test_swapped_scores_change_the_sign_only():
    y, scores, groups = cohort()
    one = delong_test(y, scores[0], scores[1], groups=groups, confidence_level=0.9)
    other = delong_test(y, scores[1], scores[0], groups=groups, confidence_level=0.9)
    assert one.pvalue == other.pvalue
    assert one.difference == -other.difference
    assert one.interval == (-other.interval[1], -other.interval[0])
    assert one.aurocs == other.aurocs[::-1]


def test_a_difference_without_variance_is_not_tested():
    y = np.repeat([0, 1], 5)
    test = delong_test(y, y, np.zeros(10))
    assert test.difference == 0.5
    assert np.isnan([test.pvalue, test.statistic, *test.interval]).all()
    assert "same amount in all patients" in test.reason


def test_one_patient_of_a_class_is_not_tested():
    y, score = np.r_[1, np.zeros(9)], np.arange(10.0)
    other = np.r_[8, 2:10, 1]
    test = delong_test(y, score, other)
    assert np.isnan([test.pvalue, *test.interval]).all()
    assert test.reason.startswith("1 patient(s) have positive cases and 9 have")
    # several cases of one patient are one patient as well
    y, groups = np.r_[1, 1, y], np.r_[0, 0, np.arange(10)]
    test = delong_test(y, np.r_[5, 3, score], np.r_[1, 4, other], groups=groups)
    assert test.reason.startswith("1 patient(s) have positive cases and 9 have")
    with pytest.warns(DataWarning, match=r"1 patient\(s\) have positive .* too small"):
        estimate_aurocs(y, [np.r_[5, 3, score]], groups)


def test_two_scores_that_separate_the_classes_have_a_bounded_difference():
    y = np.repeat([0, 1], [20, 10])
    a = np.arange(30)
    b = np.r_[np.arange(20)[::-1], 20:30]
    test = delong_test(y, a, b)
    assert (test.difference, test.pvalue) == (0, 1)
    reach = 1 - 0.025 ** (1 / 10)
    assert test.interval == pytest.approx((-reach, reach))
    assert delong_test(y, -a, -b).interval == test.interval
    assert delong_test(y, a, 2 * a).interval == (0, 0)


# ------------------------------------------------------------------------ intervals


def test_limits_on_the_logit_scale_by_hand():
    y, scores, groups = cohort(200)
    areas, covariance = brute_force(y, scores[:1], groups)
    area, variance = areas[0], covariance[0, 0]
    odds = np.log(area / (1 - area))
    reach = 1.959963984540054 * np.sqrt(variance) / (area * (1 - area))
    found = auroc_interval(y, scores[0], groups=groups)
    assert found.estimate == pytest.approx(area, abs=1e-12)
    assert found.low == pytest.approx(1 / (1 + np.exp(reach - odds)), abs=1e-12)
    assert found.high == pytest.approx(1 / (1 + np.exp(-reach - odds)), abs=1e-12)


def test_variance_is_a_quarter_of_that_of_a_proportion_at_least():
    # one of 10 x 100 pairs is wrong: DeLong's standard error is .001
    y = np.repeat([0, 1], [100, 10])
    score = np.r_[np.arange(99), 100.5, 100, 101:110]
    area = 1 - 1 / 1000
    error = np.sqrt(area * (1 - area) / 40) / (area * (1 - area))
    low = 1 / (1 + np.exp(1.959963984540054 * error - np.log(area / (1 - area))))
    clopper = stats.beta.ppf(0.025, 10 * area, 10 * (1 - area) + 1)
    found = auroc_interval(y, score)
    assert found.estimate == pytest.approx(area)
    assert found.low == pytest.approx(max(low, clopper))
    assert found.low < 0.75
    assert found.high < 1


@pytest.mark.parametrize(("n_positive", "n_negative"), [(2, 2), (10, 3), (1, 40)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_perfect_separation_has_an_exact_bound(n_positive, n_negative, level):
    y = np.repeat([1, 0], [n_positive, n_negative])
    bound = ((1 - level) / 2) ** (1 / min(n_positive, n_negative))
    right = auroc_interval(y, y, confidence_level=level)
    wrong = auroc_interval(y, 1 - y, confidence_level=level)
    assert (right.estimate, right.high) == (1, 1)
    assert right.low == pytest.approx(bound)
    assert (wrong.estimate, wrong.low) == (0, 0)
    assert wrong.high == pytest.approx(1 - bound)
    # five cases of a patient do not make it narrower
    many = auroc_interval(
        np.repeat(y, 5),
        np.repeat(y, 5),
        groups=np.repeat(np.arange(len(y)), 5),
        confidence_level=level,
    )
    assert many == right


def test_interval_is_never_of_no_width_and_within_the_range():
    rng = np.random.default_rng(7)
    for _ in range(200):
        y, scores, groups = random_cohort(rng, 1)
        score = scores[0] + rng.choice([0, 0, 3, 100]) * y
        for level in (0.01, 0.5, 0.95, 0.9999):
            found = auroc_interval(y, score, groups=groups, confidence_level=level)
            assert 0 <= found.low <= found.estimate <= found.high <= 1
            assert found.low < found.high
            assert level < 0.95 or found.high - found.low > 0.05
    equal = auroc_interval(np.repeat([0, 1], 50), np.ones(100))
    assert equal.estimate == 0.5
    assert equal.low < 0.45
    assert equal.high > 0.55


def test_least_variance_of_repeated_cases():
    # cases that are alike count once, independent cases count each
    rng = np.random.default_rng(20)
    y, groups = np.repeat(np.arange(40) % 2, 6), np.repeat(np.arange(40), 6)
    score = np.repeat(rng.normal(size=40), 6) + 2.5 * y
    once = auroc_interval(y[::6], score[::6])
    alike = auroc_interval(y, score, groups=groups)
    assert (alike.low, alike.high) == pytest.approx((once.low, once.high), abs=1e-9)
    score = rng.normal(size=240) + 2.5 * y
    single = auroc_interval(y, score)
    independent = auroc_interval(y, score, groups=groups)
    width = (independent.high - independent.low) / (single.high - single.low)
    assert 0.8 < width < 1.3


def test_limits_shrink_towards_the_bound_of_separation():
    # few positive cases among very many: no jump from AUROC 1 to just below 1
    y = np.repeat([0, 1], [20_000, 4])
    score = np.arange(20_004.0)
    perfect = auroc_interval(y, score)
    score[19_999] += 1.5  # one of 80,000 pairs
    almost = auroc_interval(y, score)
    assert almost.low == pytest.approx(perfect.low, abs=0.02)


def test_reversed_scores_and_classes_reflect_the_limits():
    y, scores, groups = cohort(60)
    one = auroc_interval(y, scores[0], groups=groups)
    for other in (
        auroc_interval(y, -scores[0], groups=groups),
        auroc_interval(~y, scores[0], groups=groups),
    ):
        assert (other.low, other.high) == pytest.approx((1 - one.high, 1 - one.low))


def coverage(rng, area, n_cases, prevalence, n_draws):
    """Return the share of intervals that cover, of binormal scores."""
    covered = 0
    for _ in range(n_draws):
        y = rng.random(n_cases) < prevalence
        if y.all() or not y.any():
            y[:2] = [True, False]
        score = rng.normal(size=n_cases) + y * np.sqrt(2) * stats.norm.ppf(area)
        found = auroc_interval(y, score)
        covered += found.low <= area <= found.high
    return covered / n_draws


def test_coverage_near_one_quick():
    rng = np.random.default_rng(8)
    assert 0.9 <= coverage(rng, 0.95, 20, 0.2, 300) <= 0.995
    assert 0.91 <= coverage(rng, 0.95, 60, 0.5, 300) <= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("prevalence", [0.5, 0.2])
@pytest.mark.parametrize(
    ("area", "n_cases", "least"),
    [(0.95, 20, 0.9), (0.95, 60, 0.92), (0.95, 200, 0.93)]
    + [(0.8, 20, 0.93), (0.8, 60, 0.93), (0.8, 200, 0.93), (0.99, 60, 0.92)],
)
def test_coverage(area, n_cases, least, prevalence):
    rng = np.random.default_rng(9)
    found = coverage(rng, area, n_cases, prevalence, 4000)
    assert least <= found <= 0.99 + 2 * 0.0016 * (area == 0.99)


@pytest.mark.slow
def test_coverage_of_repeated_cases():
    # 40 patients of 4 images each, intra-class correlation 0.6
    rng = np.random.default_rng(10)
    groups, area = np.repeat(np.arange(40), 4), 0.9
    covered = np.zeros(2)
    for _ in range(2000):
        y = np.repeat(rng.random(40) < 0.4, 4)
        shared = np.repeat(rng.normal(size=40), 4) * 0.6**0.5
        score = shared + 0.4**0.5 * rng.normal(size=160)
        score += y * np.sqrt(2) * stats.norm.ppf(area)
        for j, given in enumerate((groups, None)):
            found = auroc_interval(y, score, groups=given)
            covered[j] += found.low <= area <= found.high
    assert 0.92 <= covered[0] / 2000 <= 0.99
    assert covered[1] < covered[0] - 100


# --------------------------------------------------------------- cross-validation


def folds_of(rng, y, n_folds, n_repeats):
    """Stratified folds, with cases of both classes in each."""
    folds = np.empty((n_repeats, len(y)), dtype=int)
    for repeat in folds:
        for side in (0, 1):
            rows = rng.permutation(np.flatnonzero(y == side))
            repeat[rows] = np.arange(len(rows)) % n_folds
    return folds


def within_folds_by_loops(y, scores, folds, groups):
    """Estimate and variance, case by case."""
    n = len(y)
    sums, times = np.zeros(n), np.zeros(n)
    areas, weights = [], []
    for score, repeat in zip(scores, folds, strict=True):
        for fold in sorted(set(repeat.tolist()) - {-1}):
            rows = [i for i in range(n) if repeat[i] == fold]
            placements = []
            for i in rows:
                others = [j for j in rows if y[j] != y[i]]
                sign = 1 if y[i] else -1
                right = [
                    (sign * (score[i] - score[j]) > 0) + 0.5 * (score[i] == score[j])
                    for j in others
                ]
                sums[i] += np.mean(right)
                times[i] += 1
                if y[i]:
                    placements.append(np.mean(right))
            areas.append(np.mean(placements))
            weights.append(len({groups[i] for i in rows}))
    known = times > 0
    mean = sums[known] / times[known]
    y, groups = y[known], groups[known]
    parts = {g: [0.0, 0.0] for g in groups}
    for value, side, g in zip(mean, y, groups, strict=True):
        parts[g][side] += (value - mean[y == side].mean()) / (y == side).sum()
    n_all = len(parts)
    n_pos, n_neg = len(set(groups[y == 1])), len(set(groups[y == 0]))
    variance = sum(
        p**2 * n_pos / (n_pos - 1)
        + q**2 * n_neg / (n_neg - 1)
        + 2 * p * q * n_all / (n_all - 1)
        for q, p in parts.values()
    )
    k = min(len(set(repeat.tolist()) - {-1}) for repeat in folds)
    return np.average(areas, weights=weights), variance * k / (k - 1)


@pytest.mark.filterwarnings("ignore:.*several test folds:UserWarning")
def test_cross_validated_limits_agree_with_loops():
    rng = np.random.default_rng(11)
    for number in range(40):
        n_cases, n_repeats = int(rng.integers(60, 100)), int(rng.integers(1, 4))
        y = np.r_[np.zeros(20, int), np.ones(20, int)]
        y = np.r_[y, rng.integers(0, 2, n_cases - 40)]
        scores = rng.integers(0, 30, n_cases) + 8.0 * y
        scores = scores + rng.integers(0, 9, (n_repeats, n_cases))
        folds = folds_of(rng, y, 3, n_repeats)
        groups = np.arange(n_cases) // (1 + number % 2)
        area, variance = within_folds_by_loops(y, scores, folds, groups)
        odds, spread = np.log(area / (1 - area)), area * (1 - area)
        if number % 2 == 0:  # the design effect of repeated cases is tested elsewhere
            variance = max(variance, spread / 4 / min(y.sum(), (1 - y).sum()))
        reach = 1.959963984540054 * np.sqrt(variance) / spread
        found = cross_validated_auroc_interval(y, scores, folds, groups=groups)
        assert found.estimate == pytest.approx(area, abs=1e-12)
        assert found.low == pytest.approx(1 / (1 + np.exp(reach - odds)), abs=1e-12)
        assert found.high == pytest.approx(1 / (1 + np.exp(-reach - odds)), abs=1e-12)


def test_rows_that_were_not_predicted_are_left_out():
    rng = np.random.default_rng(12)
    y = np.tile([0, 1], 30)
    scores = y + rng.normal(size=(2, 60))
    folds = folds_of(rng, y, 3, 2)
    expected = cross_validated_auroc_interval(y[:50], scores[:, :50], folds[:, :50])
    scores[:, 50:], folds[:, 50:] = np.nan, -1
    with pytest.warns(DataWarning, match="10 of 60 rows are in no test fold"):
        found = cross_validated_auroc_interval(y, scores, folds)
    assert found == expected
    unknown = np.where(folds < 0, np.nan, folds)
    with pytest.warns(DataWarning, match="10 of 60 rows are in no test fold"):
        found = cross_validated_auroc_interval(y, scores, unknown)
    assert found == expected
    # a row that one repeat predicted is in the others' place
    folds[0, 50:], scores[0, 50:] = 0, 0.5
    assert cross_validated_auroc_interval(y, scores, folds) != expected


def test_a_shift_of_a_fold_does_not_matter():
    rng = np.random.default_rng(13)
    y = np.tile([0, 1], 50)
    scores, folds = y + rng.normal(size=100), folds_of(rng, y, 5, 1)[0]
    expected = cross_validated_auroc_interval(y, scores, folds)
    assert cross_validated_auroc_interval(y, scores + 100.0 * folds, folds) == expected
    assert roc_auc_score(y, scores + 100.0 * folds) < expected.low


def test_all_folds_that_separate_have_an_exact_bound():
    y, folds = np.tile([0, 1], 6), np.repeat([0, 1, 2], 4)
    found = cross_validated_auroc_interval(y, y, folds)
    assert (found.estimate, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 6))


def test_a_patient_in_two_test_folds_is_warned_of():
    y, folds = np.tile([0, 1], 6), np.repeat([0, 1, 2], 4)
    groups = np.r_[np.arange(11), 0]
    with pytest.warns(LeakageWarning, match="1 of 11 patients are in several"):
        cross_validated_auroc_interval(y, y, folds, groups=groups)


@pytest.mark.parametrize(
    ("scores", "folds", "message"),
    [
        (
            np.ones(5),
            np.zeros(6),
            r"shape \(n_repeats, 6\).* got \(1, 5\) and \(1, 6\)",
        ),
        (
            np.ones(6),
            np.zeros(6),
            r"repeat 0 has 1 test fold\(s\), expected at least 2",
        ),
        (np.ones(6), [0, 0, 0, 1, 1, 1], "test fold 0 of repeat 0 belong to one class"),
        (np.ones(6), [0, 1, 0.5, 0, -2, 1], r"2 of 6 .* not, first .*\[0, 2\]"),
        (
            [[1, 1, 1, 1, 1, np.nan]],
            [[0, 1, 0, 0, 1, 1]],
            r"infinite in 1 of 6 places of test folds, first at .* \[\[0, 5\]\]",
        ),
    ],
)
def test_bad_folds(scores, folds, message):
    with pytest.raises(ValueError, match=message):
        cross_validated_auroc_interval([0, 0, 0, 1, 1, 1], scores, folds)


@pytest.mark.slow
def test_coverage_of_the_limits_of_a_cross_validation():
    # The score is fixed, so each fold has the same true AUROC.
    rng = np.random.default_rng(14)
    for area, n_cases in ((0.8, 100), (0.95, 60)):
        covered = 0
        for _ in range(1000):
            y = (np.arange(n_cases) < 0.4 * n_cases).astype(int)
            score = rng.normal(size=n_cases) + y * np.sqrt(2) * stats.norm.ppf(area)
            folds = folds_of(rng, y, 5, 3)
            found = cross_validated_auroc_interval(y, [score] * 3, folds)
            covered += found.low <= area <= found.high
        assert 0.92 <= covered / 1000 <= 0.99


# ------------------------------------------------------------------------- bad input


def test_bad_input():
    with pytest.raises(ValueError, match="positive and negative cases, but all 4"):
        estimate_aurocs([1, 1, 1, 1], [[1, 2, 3, 4]])
    with pytest.raises(ValueError, match=r"in 1 of 2 column\(s\) of y"):
        estimate_aurocs([[1, 1], [1, 0]], np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="belong to one patient"):
        estimate_aurocs([0, 1, 1], [[1, 2, 3]], ["a", "a", "a"])
    with pytest.raises(ValueError, match=r"got \(1, 3\) and \(2,\)"):
        estimate_aurocs([0, 1], [[1, 2, 3]])
    with pytest.raises(ValueError, match="above 0 and below 1, got 95"):
        delong_test([0, 1], [1, 2], [2, 1], confidence_level=95)


CALLS = {
    "estimate_aurocs": lambda y, a, g=None: estimate_aurocs(y, [a], g),
    "delong_test": lambda y, a, g=None: delong_test(y, range(6), a, groups=g),
    "auroc_interval": lambda y, a, g=None: auroc_interval(y, a, groups=g),
    "cross_validated_auroc_interval": lambda y, a, g=None: (
        cross_validated_auroc_interval(y, a, [0, 0, 0, 1, 1, 1], groups=g)
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("y", "score", "groups", "message"),
    [
        ([0, 1, 0, 1, np.nan, np.nan], range(6), None, r"y is missing in 2 of 6 rows, "
         r"first at position\(s\) \[4, 5\]"),
        ([0, 1, 0, None, 1, 0], range(6), None, r"y is missing in 1 of 6 .*\[3\]"),
        (pd.array([0, 1, 0, 1, None, 1], dtype="Int64"), range(6), None, "is missing"),
        ([1, 2, 1, 2, 1, 2], range(6), None, r"got the 2 values 1 and 2\. Code .* 1"),
        (list("abcabc"), range(6), None, r"got 3 distinct value\(s\) of type <U1"),
        (["no", "yes"] * 3, range(6), None, r"'no' and 'yes'.*\(y == 'yes'\)"),
        ([0, 1, 0, 1, 0, 0.5], range(6), None, "got 3 distinct value"),
        ([0, 0, 0, 0, 0, 0], range(6), None, "all 6 cases belong to one class"),
        ([0, 1] * 3, [1, 2, np.nan, np.inf, 5, 6], None, "NaN or infinite in 2 of 6"),
        ([0, 1] * 3, ["secret"] * 6, None, "must be numbers"),
        ([0, 1] * 3, range(6), ["a", None, "b", "c", "d", np.nan], r"groups is missing "
         r"in 2 of 6 rows, first at position\(s\) \[1, 5\]"),
        ([0, 1] * 3, range(6), list("abcde"), r"groups must have shape \(6,\)"),
        ([0, 1] * 3, range(6), ["a"] * 6, "all 6 cases belong to one patient"),
        ([0, 1] * 3, range(5), None, "shape"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_everywhere(name, y, score, groups, message):
    if "infinite" in message and name.startswith("cross"):
        message = "infinite in 2 of 6 places"
    with pytest.raises(ValueError, match=message) as caught:
        CALLS[name](y, list(score), groups)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "y",
    [
        [False, True] * 3,
        np.array([0.0, 1.0] * 3),
        pd.Series([0, 1] * 3, index=range(10, 16), dtype="Int8"),
        pd.array([False, True] * 3, dtype="boolean"),
        np.array([0, True] * 3, dtype=object),
    ],
)
def test_ways_to_code_an_outcome(y):
    expected = auroc_interval([0, 1] * 3, [1, 2, 4, 3, 5, 6])
    assert auroc_interval(y, [1, 2, 4, 3, 5, 6]) == expected
