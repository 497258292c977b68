"""Adjusted p-values and the intersection-union test, by hand and by other packages."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from scipy import stats

from skfusion.evaluation.statistics.multiplicity import (
    holm_adjust,
    intersection_union,
)


def test_holm_hand_values():
    # sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, made monotone
    adjusted = holm_adjust([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
    np.testing.assert_allclose(holm_adjust([0.6, 0.9]), [1.0, 1.0])
    assert holm_adjust([]).shape == (0,)


def test_holm_rejects_what_the_sequential_procedure_rejects():
    rng = np.random.default_rng(2)
    for _ in range(200):
        p = rng.uniform(0, 0.1, size=5)
        rejected = np.zeros(5, dtype=bool)
        for step, i in enumerate(np.argsort(p)):
            if p[i] > 0.05 / (5 - step):
                break
            rejected[i] = True
        np.testing.assert_array_equal(holm_adjust(p) <= 0.05, rejected)


def test_holm_keeps_what_could_not_be_tested():
    adjusted = holm_adjust([0.02, np.nan])
    assert adjusted[0] == pytest.approx(0.04)
    assert np.isnan(adjusted[1])


def test_holm_bad_input():
    with pytest.raises(
        ValueError, match=r"between 0 and 1, got .* 1 of 2 entries, first"
    ):
        holm_adjust([0.5, 1.5])


@pytest.mark.long
def test_holm_agrees_with_statsmodels(monkeypatch):
    package = pytest.importorskip(
        "statsmodels.stats.multitest", reason="statsmodels is an oracle here"
    )
    # statsmodels collects garbage in each call, which takes most of the time.
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
    rng = np.random.default_rng(3)
    for _ in range(200):
        p = np.round(rng.uniform(size=rng.integers(1, 9)) ** 3, 2)  # with ties
        expected = package.multipletests(p, method="holm")[1]
        np.testing.assert_allclose(holm_adjust(p), expected, rtol=0, atol=1e-12)


def test_intersection_union_by_loops():
    rng = np.random.default_rng(4)
    for _ in range(200):
        shape = rng.integers(1, 5, 2)
        p, d = rng.uniform(size=shape), rng.normal(0.5, size=shape)
        p[rng.random(shape) < 0.1] = np.nan
        d[rng.random(shape) < 0.1] = 0
        expected = []
        for row, signs in zip(p.tolist(), d.tolist(), strict=True):
            one = max(
                1 if sign <= 0 else value
                for value, sign in zip(row, signs, strict=True)
            )
            expected.append(np.nan if np.isnan(row).any() else one)
        found = intersection_union(p, d)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(intersection_union(p.T, d.T, axis=0), expected)
        first = intersection_union(p[0], d[0])
        assert isinstance(first, float)
        np.testing.assert_equal(first, expected[0])


def test_intersection_union_of_a_difference_that_is_unknown():
    assert np.isnan(intersection_union([0.01, 0.02], [0.1, np.nan]))
    assert np.isnan(intersection_union([0.01, np.nan], [-0.1, 0.2]))


def test_size_of_the_intersection_union_test():
    # One of two differences is zero and the other large: 2.5 % in one direction.
    rng = np.random.default_rng(5)
    z = rng.normal(size=(20_000, 2)) + [0.0, 8.0]
    p = intersection_union(2 * stats.norm.sf(np.abs(z)), z)
    assert 0.021 < np.mean(p <= 0.05) < 0.029


@pytest.mark.parametrize(
    ("p", "d", "message"),
    [
        ([0.1], [1, 2], r"same shape, .* got \(1,\) and \(2,\)"),
        (0.1, 1, r"with an axis of tests, got \(\) and \(\)"),
        ([], [], r"no test along axis -1"),
        ([0.1, 2], [1, 1], r"outside this range in 1 of 2 entries, .* \[1\]"),
    ],
)
def test_intersection_union_bad_input(p, d, message):
    with pytest.raises(ValueError, match=message):
        intersection_union(p, d)
