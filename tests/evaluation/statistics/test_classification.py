"""McNemar's test, parts of the Brier score, and sizes of samples for models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression

from skfusion.evaluation import (
    brier_decomposition,
    mcnemar_test,
    patients_for_model,
)


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 200))
    return rng, rng.integers(0, 2, n)


@pytest.mark.parametrize("seed", range(20))
def test_mcnemar_is_the_binomial_test_of_the_cases_that_differ(seed):
    rng, y = random_case(seed)
    a, b = (np.where(rng.random(len(y)) < p, y, 1 - y) for p in (0.8, 0.7))
    found = mcnemar_test(y, a, b)
    table = [[0, 0], [0, 0]]
    for truth, first, second in zip(y, a, b, strict=True):
        table[int(first == truth)][int(second == truth)] += 1
    assert (found.only_a, found.only_b) == (table[1][0], table[0][1])
    exact = stats.binomtest(table[1][0], table[1][0] + table[0][1]).pvalue
    assert found.pvalue == pytest.approx(exact, rel=1e-12)
    assert found.difference == pytest.approx((a == y).mean() - (b == y).mean())
    assert found.midp <= found.pvalue


def test_mcnemar_agrees_with_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    rng, y = random_case(7)
    a, b = (np.where(rng.random(len(y)) < p, y, 1 - y) for p in (0.9, 0.6))
    found = mcnemar_test(y, a, b)
    counts = [[0, found.only_a], [found.only_b, 0]]
    assert found.pvalue == pytest.approx(tables.mcnemar(counts, exact=True).pvalue)


def test_equal_classifications_have_no_difference():
    found = mcnemar_test([0, 1, 1], [0, 1, 0], [0, 1, 0])
    assert (found.difference, found.pvalue, found.midp) == (0.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(20))
def test_parts_of_the_brier_score_by_scikit_learn(seed):
    rng, y = random_case(seed)
    p = np.round(np.clip(0.5 * y + 0.6 * rng.random(len(y)), 0, 1), 1)  # with ties
    found = brier_decomposition(y, p)
    fitted = IsotonicRegression().fit_transform(p, y)
    again = np.mean((fitted - y) ** 2)
    assert found.brier == pytest.approx(np.mean((p - y) ** 2))
    assert found.miscalibration == pytest.approx(found.brier - again, abs=1e-12)
    assert found.discrimination == pytest.approx(y.var() - again, abs=1e-12)
    total = found.miscalibration - found.discrimination + found.uncertainty
    assert total == pytest.approx(found.brier, abs=1e-12)
    assert found.miscalibration > -1e-12


def test_recalibrated_probabilities_are_calibrated():
    _, y = random_case(3)
    p = np.linspace(0, 1, len(y))
    fitted = IsotonicRegression().fit_transform(p, y)
    assert brier_decomposition(y, fitted).miscalibration == pytest.approx(0, abs=1e-12)


def test_size_of_a_sample_by_each_criterion():
    # the example of Riley et al.: 623, 662 and 221 patients
    assert patients_for_model(24, 0.174, 0.288) == 662
    assert patients_for_model(24, 0.174, 0.288, optimism=0.2) == 623
    loose = {"optimism": 0.9, "shrinkage": 0.4}
    assert patients_for_model(24, 0.174, 0.288, **loose) == 221


def test_more_parameters_need_more_patients():
    sizes = [patients_for_model(p, 0.1, 0.1) for p in (5, 10, 20)]
    assert sizes[1] == pytest.approx(2 * sizes[0], abs=2)
    assert sizes[2] == pytest.approx(4 * sizes[0], abs=4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patients_for_model(0, 0.2, 0.1), "n_parameters must be an integer"),
        (lambda: patients_for_model(5, 0.1, 0.9), "largest possible value"),
        (lambda: mcnemar_test([0, 1], [0, 1], [0]), "must have the same length"),
        (lambda: mcnemar_test([0, 1], [0, 2], [0, 1]), "must be coded as 0 and 1"),
        (lambda: brier_decomposition([0, 1], [0.1, math.nan]), "probability"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
