"""Calibration against loops, scikit-learn and statsmodels; what does not exist."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from skfusion.evaluation.statistics.calibration import (
    calibration_curve_data,
    calibration_summary,
)


def random_cohort(rng, n_cases=None):
    n_cases = n_cases or int(rng.integers(40, 120))
    risk = expit(rng.normal(size=n_cases))
    y = (rng.random(n_cases) < expit(0.3 + 0.7 * logit(risk))).astype(int)
    y[np.argsort(risk)[[0, 1, -2, -1]]] = [0, 1, 0, 1]  # the classes overlap
    groups = rng.integers(0, n_cases // 3, n_cases) if rng.random() < 0.5 else None
    return y, risk, groups


def sandwich(y, design, risk, groups):
    """Clustered covariance of a logistic regression, term by term."""
    n, k = design.shape
    information = sum(
        p * (1 - p) * np.outer(x, x) for x, p in zip(design, risk, strict=True)
    )
    sums = {}
    for x, p, outcome, g in zip(design, risk, y, groups, strict=True):
        sums[g] = sums.get(g, 0) + (outcome - p) * x
    meat = sum(np.outer(s, s) for s in sums.values())
    factor = len(sums) / (len(sums) - 1) * (n - 1) / (n - k)
    inverse = np.linalg.inv(information)
    return factor * inverse @ meat @ inverse


def test_estimates_solve_their_equations_and_errors_are_by_the_formula():
    rng = np.random.default_rng(0)
    for _ in range(200):
        y, p, groups = random_cohort(rng)
        ids = np.arange(len(y)) if groups is None else groups
        found = calibration_summary(y, p, groups=groups)
        odds = np.array([math.log(value / (1 - value)) for value in p])
        design = np.column_stack([np.ones(len(y)), odds])
        risk = 1 / (
            1 + np.exp(-(found.intercept.estimate + found.slope.estimate * odds))
        )
        assert np.abs(design.T @ (y - risk)).max() < 1e-9
        errors = np.sqrt(np.diag(sandwich(y, design, risk, ids)))
        assert found.intercept.standard_error == pytest.approx(errors[0], rel=1e-9)
        assert found.slope.standard_error == pytest.approx(errors[1], rel=1e-9)
        risk = 1 / (1 + np.exp(-(found.in_the_large.estimate + odds)))
        assert abs((y - risk).sum()) < 1e-9
        error = np.sqrt(sandwich(y, design[:, :1], risk, ids)[0, 0])
        assert found.in_the_large.standard_error == pytest.approx(error, rel=1e-9)
        ratio = y.sum() / p.sum()
        assert found.observed_expected.estimate == pytest.approx(ratio, abs=1e-12)
        shares = {}
        for outcome, value, g in zip(y, p, ids, strict=True):
            shares[g] = shares.get(g, 0) + outcome / y.sum() - value / p.sum()
        n = len(shares)
        error = math.sqrt(n / (n - 1) * sum(s * s for s in shares.values()))
        oe = found.observed_expected
        assert oe.standard_error == pytest.approx(error, rel=1e-9)
        assert oe.high == pytest.approx(ratio * math.exp(1.959963984540054 * error))
        assert (found.n_cases, found.n_events) == (len(y), y.sum())
        assert (found.n_clusters, found.n_clipped, found.reason) == (n, 0, "")


def test_agrees_with_scikit_learn():
    rng = np.random.default_rng(1)
    for _ in range(20):
        y, p, _ = random_cohort(rng)
        model = LogisticRegression(C=1e300, tol=1e-10, max_iter=1000)
        model.fit(logit(p)[:, None], y)
        found = calibration_summary(y, p)
        assert found.slope.estimate == pytest.approx(model.coef_[0, 0], abs=1e-5)
        assert found.intercept.estimate == pytest.approx(model.intercept_[0], abs=1e-5)


def test_agrees_with_statsmodels():
    package = pytest.importorskip(
        "statsmodels.api", reason="statsmodels is an oracle here"
    )
    rng = np.random.default_rng(2)
    family = package.families.Binomial()
    for _ in range(40):
        y, p, groups = random_cohort(rng)
        ids = np.arange(len(y)) if groups is None else groups
        found = calibration_summary(y, p, groups=groups, confidence_level=0.9)
        design = package.add_constant(logit(p))
        settings = {
            "cov_type": "cluster",
            "cov_kwds": {"groups": np.unique(ids, return_inverse=True)[1]},
            "tol": 1e-14,
        }
        model = package.GLM(y, design, family=family).fit(**settings)
        for k, part in enumerate((found.intercept, found.slope)):
            assert part.estimate == pytest.approx(model.params[k], abs=1e-9)
            assert part.standard_error == pytest.approx(model.bse[k], rel=1e-8)
            limits = model.conf_int(0.1)[k]
            assert (part.low, part.high) == pytest.approx(tuple(limits), abs=1e-7)
        model = package.GLM(y, design[:, :1], family=family, offset=logit(p))
        model = model.fit(**settings)
        large = found.in_the_large
        assert large.estimate == pytest.approx(model.params[0], abs=1e-9)
        assert large.standard_error == pytest.approx(model.bse[0], rel=1e-8)


def test_recovers_the_truth():
    rng = np.random.default_rng(3)
    odds = rng.normal(size=40_000) * 1.5
    y = rng.random(40_000) < expit(odds)
    overfit = calibration_summary(y, expit(1.5 * odds))
    assert overfit.slope.estimate == pytest.approx(2 / 3, abs=0.03)
    shifted = calibration_summary(y, expit(odds - 0.5))
    assert shifted.in_the_large.estimate == pytest.approx(0.5, abs=0.04)
    assert shifted.slope.estimate == pytest.approx(1, abs=0.04)
    good = calibration_summary(y, expit(odds))
    assert good.observed_expected.low < 1 < good.observed_expected.high


def test_repeated_cases_are_no_new_patients():
    rng = np.random.default_rng(4)
    y, p, _ = random_cohort(rng, 80)
    once = calibration_summary(y, p)
    many = calibration_summary(
        np.repeat(y, 5), np.repeat(p, 5), groups=np.repeat(np.arange(80), 5)
    )
    for name in ("intercept", "slope", "in_the_large", "observed_expected"):
        one, other = getattr(once, name), getattr(many, name)
        assert other.estimate == pytest.approx(one.estimate, abs=1e-9)
        assert other.standard_error == pytest.approx(one.standard_error, rel=0.02)


def test_zeros_and_ones_are_clipped_and_counted():
    rng = np.random.default_rng(5)
    y, p, _ = random_cohort(rng, 100)
    p[:3], p[3] = 0, 1
    found = calibration_summary(y, p)
    clipped = p.copy()
    clipped[:3], clipped[3] = 1e-6, 1 - 1e-6
    expected = calibration_summary(y, clipped)
    assert (found.n_clipped, expected.n_clipped) == (4, 0)
    assert found.slope == expected.slope
    assert found.observed_expected.estimate == pytest.approx(y.sum() / p.sum())


@pytest.mark.parametrize(
    ("probability", "reason"),
    [
        (np.repeat([0.1, 0.8], 10) + np.linspace(0, 0.1, 20), "separate the classes"),
        (np.repeat([0.9, 0.2], 10), "separate the classes"),
        # quasi-complete: a tie at the border
        (np.r_[np.linspace(0.1, 0.5, 10), np.linspace(0.5, 0.9, 10)], "separate"),
        (np.full(20, 0.3), "All probabilities are equal"),
    ],
)
def test_a_slope_that_does_not_exist(probability, reason):
    found = calibration_summary(np.repeat([0, 1], 10), probability)
    for part in (found.slope, found.intercept):
        assert np.isnan([part.estimate, part.standard_error, part.low, part.high]).all()
    assert reason in found.reason
    assert np.isfinite(found.in_the_large.estimate)
    assert found.observed_expected.estimate == pytest.approx(10 / probability.sum())


def test_hard_cases_of_newtons_method():
    rng = np.random.default_rng(6)
    # nearly separated, extreme probabilities, one event among very many
    y = np.repeat([0, 1], 500)
    p = np.r_[np.full(499, 1e-9), 0.6, np.full(499, 1 - 1e-9), 0.4]
    found = calibration_summary(y, p)
    assert found.reason == ""
    risk = expit(
        found.intercept.estimate
        + found.slope.estimate * logit(np.clip(p, 1e-6, 1 - 1e-6))
    )
    assert abs((y - risk).sum()) < 1e-8
    y = np.r_[0, 1, np.zeros(3000)]
    p = np.r_[1e-3, 1e-5, rng.uniform(1e-7, 1e-2, 3000)]
    found = calibration_summary(y, p)
    assert found.reason == ""
    assert np.isfinite([found.slope.estimate, found.in_the_large.estimate]).all()


def test_two_patients_have_no_errors():
    y, p = [0, 1, 1, 0, 1, 0], [0.2, 0.5, 0.4, 0.6, 0.7, 0.3]
    found = calibration_summary(y, p, groups=[0, 0, 0, 1, 1, 1])
    assert np.isfinite(found.slope.estimate)
    assert np.isnan([found.slope.standard_error, found.slope.low]).all()
    assert found.reason.startswith("2 patients are too few")


def test_no_expected_event():
    found = calibration_summary([0, 1, 0, 0], np.zeros(4))
    assert found.observed_expected.estimate == np.inf
    assert found.n_clipped == 4
    assert "no event is expected" in found.reason


# ----------------------------------------------------------------------------- curve


def test_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(7)
    p = rng.uniform(size=700)
    y = rng.random(700) < p
    curve = calibration_curve_data(y, p, n_bins=7, n_resamples=50, random_state=0)
    observed, predicted = calibration_curve(y, p, n_bins=7, strategy="quantile")
    np.testing.assert_allclose(curve.observed, observed, atol=1e-12)
    np.testing.assert_allclose(curve.predicted, predicted, atol=1e-12)
    assert curve.n_cases.tolist() == [100] * 7
    assert curve.n_events.sum() == y.sum()
    assert curve.reason == ""


def test_band_is_by_patient():
    rng = np.random.default_rng(8)
    y = np.repeat(rng.random(400) < 0.5, 4)
    p = np.repeat(rng.uniform(size=400), 4)
    curve = calibration_curve_data(
        y,
        p,
        groups=np.repeat(np.arange(400), 4),
        n_bins=4,
        n_resamples=500,
        random_state=0,
    )
    rows = calibration_curve_data(y, p, n_bins=4, n_resamples=500, random_state=0)
    # about 100 patients in a bin
    expected = 2 * 1.96 * np.sqrt(curve.observed * (1 - curve.observed) / 100)
    np.testing.assert_allclose(curve.high - curve.low, expected, rtol=0.2)
    ratio = (curve.high - curve.low) / (rows.high - rows.low)
    np.testing.assert_allclose(ratio, 2, rtol=0.2)
    assert (curve.n_clusters, rows.n_clusters) == (400, 1600)


def test_a_bin_without_events_has_a_band():
    p = np.repeat([0.01, 0.4, 0.99], 200)
    y = np.r_[np.zeros(200), np.tile([0, 1], 100), np.ones(200)]
    curve = calibration_curve_data(y, p, n_bins=3, n_resamples=50, random_state=0)
    exact = stats.binomtest(0, 200).proportion_ci(method="exact").high
    assert (curve.observed[0], curve.low[0]) == (0, 0)
    assert curve.high[0] == pytest.approx(exact)
    assert (curve.observed[2], curve.high[2]) == (1, 1)
    assert curve.low[2] == pytest.approx(1 - exact)


def test_equal_probabilities_are_in_one_bin():
    rng = np.random.default_rng(9)
    p = rng.choice([0.2, 0.5, 0.8], 600)
    y = rng.random(600) < p
    curve = calibration_curve_data(y, p, n_resamples=20, random_state=0)
    np.testing.assert_allclose(curve.predicted, [0.2, 0.5, 0.8])
    assert curve.n_cases.tolist() == [(p == value).sum() for value in (0.2, 0.5, 0.8)]


@pytest.mark.parametrize(("n_events", "n_others"), [(99, 500), (500, 99), (5, 5)])
def test_too_few_cases_give_no_curve(n_events, n_others):
    y = np.repeat([1, 0], [n_events, n_others])
    curve = calibration_curve_data(y, np.linspace(0, 1, len(y)))
    assert f"{n_events} cases with events and {n_others} without" in curve.reason
    for name in ("predicted", "observed", "low", "high", "n_cases", "n_events"):
        assert getattr(curve, name).shape == (0,)


def test_patients_are_counted_if_they_have_several_cases():
    y, p = np.repeat([1, 0], 300), np.linspace(0, 1, 600)
    curve = calibration_curve_data(y, p, groups=np.arange(600) // 4)
    assert curve.reason.startswith("75 patients with events and 75 without")
    groups = np.arange(600) // 3
    full = calibration_curve_data(y, p, groups=groups, n_resamples=10)
    assert full.reason == ""


@pytest.mark.slow
def test_coverage_of_slope_and_intercept():
    rng = np.random.default_rng(10)
    groups = np.repeat(np.arange(80), 4)
    truth = {"slope": 1.0, "in_the_large": 0.0, "observed_expected": 1.0}
    covered = dict.fromkeys(truth, 0)
    for _ in range(1000):
        odds = np.repeat(rng.normal(size=80), 4) + rng.normal(size=320) - 0.5
        y = rng.random(320) < expit(odds)
        found = calibration_summary(y, expit(odds), groups=groups)
        for name, value in truth.items():
            part = getattr(found, name)
            covered[name] += part.low <= value <= part.high
    assert all(920 <= count <= 980 for count in covered.values()), covered


@pytest.mark.parametrize("function", [calibration_summary, calibration_curve_data])
@pytest.mark.parametrize(
    ("y", "probability", "settings", "message"),
    [
        ([0, 1, 0, 3], [0.1] * 4, {}, "got 3 distinct"),
        ([0, 1, 0, np.nan], [0.1] * 4, {}, r"y is missing in 1 of 4 .*\[3\]"),
        ([0, 0, 0, 0], [0.1] * 4, {}, "all 4 cases belong to one class"),
        ([0, 1, 0, 1], [0.1, 0.2, -0.5, 7], {}, r"outside this .* 2 of 4 .*\[2, 3\]"),
        ([0, 1, 0, 1], [0.1, 0.2, 0.3, np.nan], {}, "NaN or infinite in 1 of 4"),
        ([0, 1, 0, 1], [0.1, 0.2], {}, r"must have shape \(4,\)"),
        ([0, 1, 0, 1], [0.1] * 4, {"groups": ["a", "b", None, "c"]}, "groups is m"),
        ([0, 1, 0, 1], [0.1] * 4, {"confidence_level": 2}, "below 1, got 2"),
    ],
)  # fmt: skip
def test_bad_input(function, y, probability, settings, message):
    with pytest.raises(ValueError, match=message):
        function(y, probability, **settings)
