"""AUROCs and their covariance: by brute force, by hand, and in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skfusion.evaluation.statistics.auroc import estimate_aurocs


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


def test_bad_input():
    with pytest.raises(ValueError, match="positive and negative cases, but all 4"):
        estimate_aurocs([1, 1, 1, 1], [[1, 2, 3, 4]])
    with pytest.raises(ValueError, match="belong to one patient"):
        estimate_aurocs([0, 1, 1], [[1, 2, 3]], ["a", "a", "a"])
    with pytest.raises(ValueError, match=r"got \(1, 3\) and \(2,\)"):
        estimate_aurocs([0, 1], [[1, 2, 3]])
