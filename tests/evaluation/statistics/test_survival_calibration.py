"""Calibration of survival curves: by formula, by other packages, in simulations."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from skfusion.evaluation import calibration_at_time, d_calibration
from skfusion.evaluation.statistics.survival_calibration import (
    _tail_of_weighted_squares,
)
from skfusion.evaluation.statistics.survival_scores import KaplanMeier
from skfusion.exceptions import DataWarning
from skfusion.fusion.survival import SurvivalFunction
from skfusion.survival import EarlyFusionSurvival

DTYPE = [("event", bool), ("time", float)]
CENSORING = {
    "none": lambda rng, n: np.full(n, np.inf),
    "administrative": lambda rng, n: np.ones(n),
    "uniform": lambda rng, n: rng.uniform(0, 2.5, n),
    "exponential": lambda rng, n: rng.exponential(0.5, n),
}


def outcome(event, time):
    y = np.empty(len(time), dtype=DTYPE)
    y["event"], y["time"] = event, time
    return y


def cohort(n, censoring, seed, *, rows=1, step=None):
    """Return the rates and outcomes of exponential times, `rows` rows per patient.

    The rows of a patient have the same rate and nearly the same time.
    """
    rng = np.random.default_rng(seed)
    rate = np.exp(np.repeat(rng.normal(size=n // rows), rows))
    shared = np.repeat(rng.normal(size=n // rows), rows)
    own = rng.normal(size=n)
    part = 0.0 if rows == 1 else 0.9
    unit = stats.norm.sf(part * shared + np.sqrt(1 - part**2) * own)
    time, last = -np.log(unit) / rate, CENSORING[censoring](rng, n)
    if step:
        time, last = np.ceil(time / step) * step, np.ceil(last / step) * step
    return rate, outcome(time <= last, np.minimum(time, last))


# ---------------------------------------------------------------- all times together


def counts_of_the_paper(y, survival, n_bins):
    """Haider et al. (2020), section 3.4 and appendix B.3, row by row."""
    counts = np.zeros(n_bins)
    for event, s in zip(y["event"], survival, strict=True):
        k = min(int(s * n_bins), n_bins - 1)
        if event:
            counts[k] += 1
        else:
            counts[k] += (s - k / n_bins) / s
            counts[:k] += 1 / n_bins / s
    return counts


@pytest.mark.parametrize("n_bins", [5, 10])
@pytest.mark.parametrize("censoring", CENSORING)
def test_counts_are_those_of_the_paper(censoring, n_bins):
    rate, y = cohort(200, censoring, 0)
    survival = np.exp(-rate * y["time"])
    found = d_calibration(y, survival, n_bins=n_bins)
    expected = counts_of_the_paper(y, survival, n_bins)
    np.testing.assert_allclose(found.table["observed"], expected, atol=1e-9)
    statistic = ((expected - 200 / n_bins) ** 2).sum() / (200 / n_bins)
    assert found.statistic == pytest.approx(statistic)
    assert found.table["observed"].sum() == pytest.approx(200)
    assert found.n_events == y["event"].sum()


def test_without_censoring_it_is_pearsons_test():
    rate, y = cohort(200, "none", 0)
    found = d_calibration(y, np.exp(-rate * y["time"]))
    counts = np.histogram(np.exp(-rate * y["time"]), np.linspace(0, 1, 11))[0]
    theirs = stats.chisquare(counts)
    assert found.statistic == pytest.approx(theirs.statistic)
    assert found.pvalue == pytest.approx(theirs.pvalue, abs=1e-8)
    np.testing.assert_allclose(found.weights, np.ones(9))


@pytest.mark.parametrize("weights", [[1.0] * 9, [2.0, 2.0], [3.0], [1, 0.5, 0.1, 1e-3]])
def test_distribution_of_the_statistic(weights):
    weights = np.array(weights)
    if len(set(weights)) == 1:
        for p in (0.9, 0.5, 0.05, 1e-4):
            value = weights[0] * stats.chi2.isf(p, len(weights))
            found = _tail_of_weighted_squares(value, weights)
            assert found == pytest.approx(p, rel=1e-4)
        return
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400_000, len(weights))) ** 2 @ weights
    for p in (0.9, 0.5, 0.05):
        found = _tail_of_weighted_squares(np.quantile(values, 1 - p), weights)
        assert found == pytest.approx(p, abs=0.003)


@pytest.mark.parametrize("censoring", CENSORING)
def test_covariance_for_a_calibrated_model_is_that_of_many_cohorts(censoring):
    observed, weights = [], []
    for seed in range(300):
        rate, y = cohort(200, censoring, seed)
        found = d_calibration(y, np.exp(-rate * y["time"]), n_bins=4)
        observed.append(found.table["observed"])
        weights.append(found.weights)
    covariance = np.cov(np.array(observed).T) / (200 / 4)
    by_simulation = np.linalg.eigvalsh(covariance)[:0:-1]
    np.testing.assert_allclose(np.mean(weights, axis=0), by_simulation, rtol=0.25)
    np.testing.assert_allclose(np.mean(observed, axis=0), 50, atol=2)


def rejections(censoring, n_seeds, *, rows=1, step=None, power=1.0, n=300):
    pvalues = []
    for seed in range(n_seeds):
        rate, y = cohort(n, censoring, seed, rows=rows, step=step)
        at = np.exp(-rate * y["time"] * power)
        before = np.exp(-rate * (y["time"] - (step or 0.0)) * power)
        patients = np.arange(n) // rows if rows > 1 else None
        pvalues.append(
            d_calibration(y, np.c_[before, at] if step else at, groups=patients).pvalue
        )
    return np.array(pvalues)


@pytest.mark.slow
@pytest.mark.parametrize("censoring", CENSORING)
def test_p_values_are_uniform_for_a_calibrated_model(censoring):
    pvalues = rejections(censoring, 1000)
    assert stats.kstest(pvalues, "uniform").pvalue > 0.001
    assert np.mean(pvalues < 0.05) == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("options", [{}, {"rows": 3}, {"step": 0.2}], ids=str)
@pytest.mark.long
def test_the_level_is_kept(options, censoring):
    """Several rows per patient, and curves with jumps, have another covariance."""
    pvalues = rejections(censoring, 300, **options)
    assert 0.01 <= np.mean(pvalues < 0.05) <= 0.09
    assert np.mean(pvalues) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("power", [0.7, 1.5])
def test_wrong_curves_are_found(power, censoring):
    assert np.mean(rejections(censoring, 50, power=power) < 0.05) > 0.6


def test_rounded_times_without_the_probability_before_them_look_wrong():
    rate, y = cohort(1000, "uniform", 0, step=0.4)
    at, before = np.exp(-rate * y["time"]), np.exp(-rate * (y["time"] - 0.4))
    assert d_calibration(y, at).pvalue < 1e-6
    assert d_calibration(y, np.c_[before, at]).pvalue > 0.05


def test_repeated_rows_of_patients_are_no_more_evidence():
    rate, y = cohort(200, "uniform", 0)
    survival = np.exp(-rate * y["time"] * 1.2)
    twice, patients = np.repeat(y, 2), np.repeat(np.arange(200), 2)
    once = d_calibration(y, survival)
    found = d_calibration(twice, np.repeat(survival, 2), groups=patients)
    assert found.n_clusters == once.n_clusters == 200
    assert found.pvalue == pytest.approx(once.pvalue, rel=0.5)
    assert d_calibration(twice, np.repeat(survival, 2)).pvalue < once.pvalue / 10


def cohort_of_features(n, seed):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    time = rng.exponential(np.exp(-X["a"] - X["b"]).to_numpy())
    last = rng.uniform(0, 2.5, n)
    return X, outcome(time <= last, np.minimum(time, last))


def test_takes_functions_of_this_package_and_of_scikit_survival():
    sksurv = pytest.importorskip("sksurv.linear_model", reason="an oracle here")
    X, y = cohort_of_features(200, 0)
    cox = sksurv.CoxPHSurvivalAnalysis().fit(X, y)
    functions = cox.predict_survival_function(X)
    at = np.array([f(t) for f, t in zip(functions, y["time"], strict=True)])
    before = [
        np.r_[1.0, f.y][np.searchsorted(f.x, t)]
        for f, t in zip(functions, y["time"], strict=True)
    ]
    expected = d_calibration(y, np.c_[before, at])
    assert d_calibration(y, functions).pvalue == pytest.approx(expected.pvalue)
    fusion = EarlyFusionSurvival(
        [("u", "passthrough", ["a"]), ("v", "passthrough", ["b"])],
        estimator=sksurv.CoxPHSurvivalAnalysis(),
    ).fit(X, y)
    new, of_new = cohort_of_features(300, 1)
    found = d_calibration(of_new, fusion.predict_survival_function(new))
    assert found.pvalue > 0.01
    curves = fusion.predict_survival_function(new)
    for curve in curves:
        curve.y = curve.y**2
    assert d_calibration(of_new, curves).pvalue < 1e-6


def test_an_event_at_time_zero():
    y = outcome([True, True, False], [0.0, 1.0, 2.0])
    curves = np.empty(3, dtype=object)
    curves[:] = [SurvivalFunction(np.array([0.0, 1.0]), np.array([0.6, 0.2]))] * 3
    found = d_calibration(y, curves, n_bins=5)
    # 0.2 to 0.6 of the second row, 0.6 to 1 of the first, 0 to 0.2 of the third
    np.testing.assert_allclose(found.table["observed"], [1, 0.5, 0.5, 0.5, 0.5])


def test_impossible_events():
    y = outcome([True, False, False], [1.0, 2.0, 3.0])
    assert d_calibration(y, np.ones(3)).pvalue == 0  # the model excluded the event
    late = d_calibration(y, np.array([0.5, 0.0, 0.0]))  # it excluded survival
    np.testing.assert_allclose(late.table["observed"].iloc[[0, 5]], [2, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_bins": 1}, "n_bins"),
        ({"survival": np.full(50, 1.5)}, "50 of 50 values of survival.*not risks"),
        ({"survival": np.full(50, np.nan)}, "survival is NaN or infinite in 50 of 50"),
        ({"survival": np.full(40, 0.5)}, r"shape \(50,\).*got shape \(40,\)"),
        ({"survival": np.full((50, 3), 0.5)}, r"shape \(50, 2\).*got shape \(50, 3\)"),
        ({"survival": np.tile([0.4, 0.5], (50, 1))}, "50 of 50 rows of survival rise"),
        ({"groups": np.zeros(50)}, "all 50 cases belong to one patient"),
        ({"groups": np.zeros(40)}, r"groups must have shape \(50,\)"),
        ({"groups": [None] * 2 + ["p"] * 48}, "groups is missing in 2 of 50"),
    ],
)
def test_what_is_refused(change, message):
    rate, y = cohort(50, "uniform", 0)
    given = {"survival": np.exp(-rate * y["time"])} | change
    with pytest.raises(ValueError, match=message):
        d_calibration(y, given.pop("survival"), **given)


# ------------------------------------------------------------------------ at one time


@pytest.mark.parametrize("step", [None, 0.25])
@pytest.mark.parametrize("censoring", CENSORING)
def test_groups_agree_with_scikit_survival(censoring, step):
    sksurv = pytest.importorskip("sksurv.nonparametric", reason="an oracle here")
    rate, y = cohort(300, censoring, 0, step=step)
    found = calibration_at_time(y, np.exp(-rate * 0.5), 0.5, n_groups=3)
    order = np.argsort(rate, kind="stable")
    rows = [order[:100], order[100:200], order[200:], np.arange(300)]
    ours = [*found.table.itertuples(index=False), found.observed]
    for members, mine in zip(rows, ours, strict=True):
        part = y[members]
        at, survival, limits = sksurv.kaplan_meier_estimator(
            part["event"], part["time"], conf_type="log-log"
        )
        place = np.searchsorted(at, 0.5, side="right") - 1
        observed = mine.estimate if len(members) == 300 else mine.observed
        assert observed == pytest.approx(1 - survival[place])
        assert mine.low == pytest.approx(1 - limits[1, place])
        assert mine.high == pytest.approx(1 - limits[0, place])
    assert found.table["n"].tolist() == [100, 100, 100]
    by_half = y["event"] & (y["time"] <= 0.5)
    assert found.table["events"].tolist() == [by_half[m].sum() for m in rows[:3]]
    assert found.n_events == by_half.sum()
    risk = 1 - np.exp(-rate * 0.5)
    np.testing.assert_allclose(
        found.table["predicted"], [risk[members].mean() for members in rows[:3]]
    )
    assert found.oe_ratio.estimate == pytest.approx(
        found.observed.estimate / risk.mean()
    )


def recalibrated(observed, risk):
    """Solve the estimating equations numerically: intercept alone, then with slope."""
    linear = np.log(-np.log1p(-risk))

    def residual(coef, slope):
        return observed - 1 + np.exp(-np.exp(coef + slope * linear))

    alone = optimize.brentq(lambda a: residual(a, 1.0).sum(), -5, 5)
    both = optimize.root(
        lambda c: np.c_[np.ones(len(risk)), linear].T @ residual(*c), [0.0, 1.0]
    )
    assert both.success
    return alone, both.x[1]


def test_without_censoring_the_events_are_regressed():
    rate, y = cohort(400, "none", 0)
    risk = -np.expm1(-0.3 * rate**1.4)
    event = y["time"] <= 0.5
    found = calibration_at_time(y, 1 - risk, 0.5)
    intercept, slope = recalibrated(event, risk)
    assert found.intercept.estimate == pytest.approx(intercept, abs=1e-7)
    assert found.slope.estimate == pytest.approx(slope, abs=1e-6)
    assert found.slope.high < 1  # too extreme by 1.4
    assert found.observed.estimate == pytest.approx(event.mean())


@pytest.mark.parametrize("step", [None, 0.25])
@pytest.mark.parametrize("censoring", CENSORING)
def test_pseudo_observations_are_nearly_those_of_leaving_a_row_out(censoring, step):
    rate, y = cohort(200, censoring, 0, step=step)
    risk, n = 1 - np.exp(-0.4 * rate), len(y)
    full = 1 - KaplanMeier(y).at(np.array(0.5))
    pseudo = np.array(
        [
            n * full - (n - 1) * (1 - KaplanMeier(np.delete(y, i)).at(0.5))
            for i in range(n)
        ]
    )

    intercept, slope = recalibrated(pseudo, risk)
    found = calibration_at_time(y, 1 - risk, 0.5, n_groups=2)
    assert found.intercept.estimate == pytest.approx(intercept, abs=0.01)
    assert found.slope.estimate == pytest.approx(slope, abs=0.02)


def test_limits_of_the_ratio_are_those_of_a_bootstrap():
    rate, y = cohort(600, "uniform", 0, rows=3)
    risk, patients = -np.expm1(-rate * 0.5), np.repeat(np.arange(200), 3)
    found = calibration_at_time(y, 1 - risk, 0.5, groups=patients).oe_ratio
    rng, ratios = np.random.default_rng(0), []
    for _ in range(500):
        rows = (3 * rng.integers(0, 200, (200, 1)) + np.arange(3)).ravel()
        observed = 1 - KaplanMeier(y[rows]).at(0.5)
        ratios.append(observed / risk[rows].mean())
    low, high = np.quantile(ratios, [0.025, 0.975])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.15 * width)
    assert found.high == pytest.approx(high, abs=0.15 * width)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("censoring", CENSORING)
def test_intervals_cover_the_truth(censoring, rows):
    n, covered = 600, []
    for seed in range(500):
        rate, y = cohort(n, censoring, seed, rows=rows)
        found = calibration_at_time(
            y, np.exp(-rate * 0.5), 0.5, groups=np.arange(n) // rows
        )
        truths = {"oe_ratio": 1.0, "intercept": 0.0, "slope": 1.0}
        parts = {name: getattr(found, name) for name in truths}
        covered.append(
            [part.low <= truths[name] <= part.high for name, part in parts.items()]
        )
    np.testing.assert_allclose(np.mean(covered, axis=0), 0.95, atol=0.035)


def test_repeated_rows_of_patients_have_the_same_limits():
    rate, y = cohort(200, "uniform", 0)
    survival = np.exp(-rate * 0.5)
    once = calibration_at_time(y, survival, 0.5)
    twice = calibration_at_time(
        np.repeat(y, 2),
        np.repeat(survival, 2),
        0.5,
        groups=np.repeat(np.arange(200), 2),
    )
    for name in ("observed", "oe_ratio", "intercept", "slope"):
        ours, theirs = getattr(once, name), getattr(twice, name)
        for part in ("estimate", "low", "high"):
            assert getattr(theirs, part) == pytest.approx(getattr(ours, part), abs=1e-8)
    limits = ["observed", "low", "high"]
    pd.testing.assert_frame_equal(once.table[limits], twice.table[limits])
    assert twice.n_clusters == 200
    alone = calibration_at_time(np.repeat(y, 2), np.repeat(survival, 2), 0.5)
    assert alone.slope.high < once.slope.high


def test_the_unit_of_time_and_the_order_of_rows_do_not_matter():
    rate, y = cohort(200, "uniform", 0)
    days, order = y.copy(), np.random.default_rng(0).permutation(200)
    days["time"] *= 365
    first = calibration_at_time(y, np.exp(-rate * 0.5), 0.5)
    second = calibration_at_time(
        days[order], np.exp(-rate * 0.5)[order][:, None], 0.5 * 365
    )
    pd.testing.assert_frame_equal(first.table, second.table)
    assert second.slope.estimate == pytest.approx(first.slope.estimate)


def test_equal_predictions_are_in_one_group():
    _, y = cohort(200, "uniform", 0)
    found = calibration_at_time(y, np.repeat([0.9, 0.5], 100), 0.5)
    assert found.table["n"].tolist() == [100, 100]
    assert np.isfinite(found.slope.estimate)
    constant = calibration_at_time(y, np.full(200, 0.5), 0.5)
    assert constant.table["n"].tolist() == [200]
    assert np.isnan(constant.slope.estimate)
    assert np.isfinite(constant.intercept.estimate)


def test_groups_without_events_have_an_exact_upper_limit():
    y = outcome([False] * 50 + [True] * 50, np.r_[np.full(50, 2.0), np.full(50, 0.5)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the predictions separate the events
        found = calibration_at_time(y, np.repeat([0.9, 0.1], 50), 1.0)
    low, high = found.table.to_dict("records")
    assert (low["observed"], low["low"]) == (0, 0)
    assert low["high"] == pytest.approx(stats.binomtest(0, 50).proportion_ci().high)
    assert (high["observed"], high["high"]) == (1, 1)
    assert high["low"] == pytest.approx(stats.binomtest(50, 50).proportion_ci().low)


def test_before_the_first_event_nothing_is_estimated():
    y = outcome([True] * 20, np.arange(1.0, 21.0))
    found = calibration_at_time(y, np.linspace(0.8, 0.9, 20), 0.5)
    assert found.oe_ratio.estimate == 0
    assert found.oe_ratio.high > 0
    assert np.isnan([found.intercept.estimate, found.slope.estimate]).all()


def test_warns_of_groups_that_are_not_followed_up():
    y = outcome([True, False] * 50, np.r_[np.full(50, 0.4), np.linspace(0.4, 2, 50)])
    with pytest.warns(DataWarning, match="no row of 1 of 2 groups"):
        found = calibration_at_time(y, np.repeat([0.9, 0.5], 50), 1.0, n_groups=2)
    assert found.table["observed"].isna().tolist() == [True, False]
    with pytest.raises(ValueError, match="no row is followed up to time=3.*is 2"):
        calibration_at_time(y, np.repeat([0.9, 0.5], 50), 3.0)


def test_warns_of_certain_risks():
    rate, y = cohort(200, "uniform", 0)
    survival = np.exp(-rate * 0.5)
    survival[:3] = [0, 1, 1]
    with pytest.warns(DataWarning, match="3 of 200 predicted risks are 0 or 1"):
        calibration_at_time(y, survival, 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": 0}, "time"),
        ({"time": np.nan}, "time"),
        ({"n_groups": 0}, "n_groups"),
        ({"confidence_level": 95}, "confidence_level"),
        ({"survival": np.full(50, -0.2)}, "50 of 50 values of survival.*not risks"),
        ({"survival": np.full((50, 2), 0.2)}, r"shape \(50, 1\).*got shape \(50, 2\)"),
        ({"groups": ["p"] * 50}, "one patient"),
    ],
)
def test_what_is_refused_at_a_time(change, message):
    rate, y = cohort(50, "uniform", 0)
    given = {"survival": np.exp(-rate * 0.5), "time": 0.5} | change
    with pytest.raises(ValueError, match=message):
        calibration_at_time(y, **given)
