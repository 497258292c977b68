"""Equivalence and non-inferiority against scipy, statsmodels and the limits."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy import stats

from skfusion.evaluation.statistics.equivalence import (
    equivalence_test,
    noninferiority_test,
)


def samples(n_samples=200):
    rng = np.random.default_rng(0)
    for _ in range(n_samples):
        values = rng.normal(rng.normal(0, 0.3), 1, int(rng.integers(5, 60)))
        yield values, values.mean(), stats.sem(values), float(rng.uniform(0.05, 1))


@pytest.mark.long
def test_agrees_with_two_one_sided_t_tests():
    for values, mean, error, margin in samples():
        below = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
        above = stats.ttest_1samp(values, margin, alternative="less").pvalue
        interval = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        found = equivalence_test(mean, error, len(values) - 1, margin=margin)
        assert found.pvalue_low == pytest.approx(below, abs=1e-12)
        assert found.pvalue_high == pytest.approx(above, abs=1e-12)
        assert found.pvalue == max(found.pvalue_low, found.pvalue_high)
        assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
        assert found.equivalent == (found.pvalue < 0.05)
        one = noninferiority_test(mean, error, len(values) - 1, margin=margin)
        assert one.pvalue == pytest.approx(below, abs=1e-12)
        assert one.noninferior == (one.pvalue < 0.05)
        assert (one.low, one.high) == (found.low, found.high)


def test_agrees_with_statsmodels():
    package = pytest.importorskip(
        "statsmodels.stats.weightstats", reason="statsmodels is an oracle here"
    )
    for values, mean, error, margin in samples(50):
        p, below, above = package.ttost_paired(
            values, np.zeros(len(values)), -margin, margin
        )
        found = equivalence_test(mean, error, len(values) - 1, margin=margin)
        assert found.pvalue == pytest.approx(p, abs=1e-12)
        assert found.pvalue_low == pytest.approx(below[1], abs=1e-12)
        assert found.pvalue_high == pytest.approx(above[1], abs=1e-12)


def test_normal_distribution_by_hand():
    # (0.5 + 2) / 1 and (0.5 - 2) / 1 standard errors
    found = equivalence_test(0.5, 1.0, margin=2.0)
    assert found.pvalue_low == pytest.approx(0.006209665, abs=1e-9)
    assert found.pvalue == pytest.approx(0.066807201, abs=1e-9)
    assert (found.low, found.high) == pytest.approx((-1.144853627, 2.144853627))
    assert not found.equivalent
    assert noninferiority_test(0.5, 1.0, margin=2.0).noninferior


@pytest.mark.parametrize("alpha", [0.025, 0.05, 0.1])
def test_decision_is_that_of_the_interval(alpha):
    for difference in np.linspace(-3, 3, 61):
        found = equivalence_test(difference, 0.7, 12, margin=2.0, alpha=alpha)
        assert found.equivalent == (found.pvalue < alpha)
        assert found.equivalent == (found.low > -2 and found.high < 2)
        one = noninferiority_test(difference, 0.7, 12, margin=2.0, alpha=alpha)
        assert one.noninferior == (one.pvalue < alpha) == (one.low > -2)


def test_without_a_standard_error_there_is_no_test():
    for test in (equivalence_test, noninferiority_test):
        found = test(0.0, 0.0, margin=0.1)
        assert np.isnan([found.pvalue, found.low, found.high]).all()
        assert found.reason.startswith("The standard error is 0")
    assert not equivalence_test(0.0, 0.0, margin=0.1).equivalent
    assert not noninferiority_test(0.0, 0.0, margin=0.1).noninferior


@pytest.mark.parametrize("test", [equivalence_test, noninferiority_test])
def test_margin_is_required_and_positive(test):
    parameter = inspect.signature(test).parameters["margin"]
    assert parameter.default is inspect.Parameter.empty
    for margin in (0, -0.1, np.nan, np.inf, None):
        with pytest.raises(ValueError, match="margin must be a number above 0"):
            test(0.0, 0.1, margin=margin)
    with pytest.raises(ValueError, match="difference must be a number, got nan"):
        test(np.nan, 0.1, margin=1)
    with pytest.raises(ValueError, match="standard_error must be a number of 0"):
        test(0.0, -0.1, margin=1)
    with pytest.raises(ValueError, match="alpha must be a number above 0 and below"):
        test(0.0, 0.1, margin=1, alpha=0.5)
    with pytest.raises(ValueError, match="df must be a number of 1 or more or None"):
        test(0.0, 0.1, 0, margin=1)
