"""The bootstrap by patient: by loops, by scipy, by theory; undefined samples."""

from __future__ import annotations

import warnings
from inspect import signature

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from skfusion.evaluation.statistics.auroc import delong_test, estimate_aurocs
from skfusion.evaluation.statistics.bootstrap import patient_bootstrap, resampled_rows
from skfusion.exceptions import DataWarning


def test_agrees_with_loops_over_patients():
    rng = np.random.default_rng(0)
    for seed in range(20):
        groups = rng.permutation(np.repeat(list("abcdefgh"), rng.integers(1, 5, 8)))
        values = rng.normal(size=(len(groups), 2))
        found = patient_bootstrap(
            lambda x: x.mean(axis=0),
            values,
            groups=groups,
            n_resamples=99,
            confidence_level=0.9,
            random_state=seed,
        )
        state = np.random.RandomState(seed)
        patients = list(dict.fromkeys(groups.tolist()))
        means = []
        for _ in range(99):
            drawn = [patients[k] for k in state.randint(8, size=8)]
            rows = [i for p in drawn for i in range(len(groups)) if groups[i] == p]
            means.append(np.mean([values[i] for i in rows], axis=0))
        ordered = np.sort(means, axis=0)
        # of 99 samples, the 5 % and 95 % quantiles lie between two of them
        expected = [
            ordered[low] + (98 * q - low) * (ordered[low + 1] - ordered[low])
            for q, low in ((0.05, 4), (0.95, 93))
        ]
        np.testing.assert_allclose(found.low, expected[0], atol=1e-12)
        np.testing.assert_allclose(found.high, expected[1], atol=1e-12)
        np.testing.assert_allclose(found.estimate, values.mean(axis=0), atol=1e-15)
        error = np.std(means, axis=0, ddof=1)
        np.testing.assert_allclose(found.standard_error, error, atol=1e-12)
        assert (found.n_clusters, found.n_resamples) == (8, 99)
        assert found.n_undefined.tolist() == [0, 0]


def test_agrees_with_the_bootstrap_of_scipy():
    values = np.random.default_rng(1).exponential(size=80)
    options = {"n_resamples": 4000, "method": "percentile"}
    new = "rng" in signature(stats.bootstrap).parameters  # scipy 1.15
    theirs = stats.bootstrap(
        (values,), np.median, **options, **{"rng" if new else "random_state": 1}
    )
    ours = patient_bootstrap(np.median, values, n_resamples=4000, random_state=1)
    width = ours.high - ours.low
    interval = theirs.confidence_interval
    assert ours.low == pytest.approx(interval.low, abs=0.1 * width)
    assert ours.high == pytest.approx(interval.high, abs=0.1 * width)
    assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.1)
    assert isinstance(ours.estimate, float)
    assert ours.n_undefined == 0


def test_error_of_a_paired_difference_is_that_of_delong():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(100), 3)
    y = np.repeat(rng.random(100) < 0.5, 3)
    shared = np.repeat(rng.normal(size=100), 3)
    a, b = y + shared + rng.normal(size=(2, 300))

    def difference(y, a, b):
        areas = estimate_aurocs(y, [a, b]).values
        return areas[0] - areas[1]

    found = patient_bootstrap(
        difference, y, a, b, groups=groups, n_resamples=500, random_state=0
    )
    test = delong_test(y, a, b, groups=groups)
    assert found.estimate == pytest.approx(test.difference, abs=1e-12)
    assert found.standard_error == pytest.approx(test.standard_error, rel=0.15)
    same = patient_bootstrap(difference, y, a, a, n_resamples=20, random_state=0)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)


def test_patients_are_the_unit():
    values = np.repeat(np.random.default_rng(3).normal(size=40), 10)
    groups = np.repeat(np.arange(40), 10)
    rows = patient_bootstrap(np.mean, values, n_resamples=500, random_state=0)
    patients = patient_bootstrap(
        np.mean, values, groups=groups, n_resamples=500, random_state=0
    )
    ratio = patients.standard_error / rows.standard_error
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)
    assert (rows.n_clusters, patients.n_clusters) == (400, 40)


@pytest.mark.parametrize("statistic", [roc_auc_score, "raises", "not finite"])
def test_undefined_samples_are_counted(statistic):
    def area(y, score):
        if len(np.unique(y)) < 2:
            if statistic == "raises":
                raise ValueError("one class")
            return np.inf if statistic == "not finite" else roc_auc_score(y, score)
        return roc_auc_score(y, score)

    y, score = np.r_[1, 1, np.zeros(18)], np.arange(20) % 7
    with pytest.warns(DataWarning, match="undefined in .* of 200 bootstrap samples"):
        found = patient_bootstrap(area, y, score, n_resamples=200, random_state=0)
    draws = resampled_rows(20, None, 200, np.random.RandomState(0))
    one_class = sum(len(np.unique(y[rows])) < 2 for rows in draws)
    assert found.n_undefined == one_class
    assert one_class == pytest.approx(200 * 0.9**20, rel=0.3)
    assert np.isfinite([found.low, found.high]).all()


def test_few_undefined_samples_are_counted_without_a_warning():
    values = np.r_[np.ones(4), np.zeros(16)]

    def statistic(x):
        return np.array([x.mean(), np.nan if x.sum() < 1 else 1 / x.sum()])

    found = patient_bootstrap(statistic, values, n_resamples=300, random_state=0)
    assert found.n_undefined[0] == 0
    assert 0 < found.n_undefined[1] < 15


def test_a_statistic_that_is_never_defined_has_no_limits():
    calls = []

    def statistic(x):
        calls.append(x)
        return 1.0 if len(calls) == 1 else np.nan

    with pytest.warns(DataWarning, match="undefined in 30 of 30"):
        found = patient_bootstrap(statistic, np.arange(9), n_resamples=30)
    assert (found.estimate, found.n_undefined) == (1, 30)
    assert np.isnan([found.low, found.high, found.standard_error]).all()


def test_the_same_seed_gives_the_same_interval():
    x = np.arange(30.0)
    one, other, third = (
        patient_bootstrap(np.mean, x, n_resamples=50, random_state=seed)
        for seed in (0, np.random.RandomState(0), 1)
    )
    assert one == other
    assert one.low != third.low


def test_bad_input():
    y = np.arange(6.0)
    cases = [
        (lambda: patient_bootstrap(np.mean), r"same number of rows, got 0 array\(s\)"),
        (
            lambda: patient_bootstrap(np.mean, y, y[:5]),
            r"2 array\(s\) of \[6, 5\] rows",
        ),
        (
            lambda: patient_bootstrap(np.mean, y, groups=[1] * 6),
            "belong to one patient",
        ),
        (
            lambda: patient_bootstrap(np.mean, y, groups=[1] * 5),
            "groups must have shape",
        ),
        (
            lambda: patient_bootstrap(np.mean, y, groups=[1, None, 2, 3, 4, 5]),
            r"groups is missing in 1 of 6 rows, first at position\(s\) \[1\]",
        ),
        (lambda: patient_bootstrap(lambda x: np.nan, y), r"1 value\(s\) that are not"),
        (lambda: patient_bootstrap(lambda x: np.eye(2), y), r"got shape \(2, 2\)"),
        (
            lambda: patient_bootstrap(lambda x: np.unique(x), y),
            "the statistic has shape",
        ),
        (lambda: patient_bootstrap(np.mean, y, n_resamples=1), "n_resamples must be"),
        (lambda: patient_bootstrap(np.mean, y, confidence_level=95), "got 95"),
    ]
    for call, message in cases:
        with warnings.catch_warnings(), pytest.raises(ValueError, match=message):
            call()
