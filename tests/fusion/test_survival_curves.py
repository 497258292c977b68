"""Mean survival curves against Kaplan and Meier, and against the true curve."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.preprocessing import StandardScaler
from sksurv.nonparametric import kaplan_meier_estimator

from skfusion.evaluation import calibration_at_time
from skfusion.fusion import TrainingSettings
from skfusion.fusion.joint import estimators as joint
from skfusion.fusion.survival import CoxRidge, SurvivalCurves, check_survival
from skfusion.survival import (
    EarlyFusionSurvival,
    JointFusionSurvival,
    LateFusionSurvival,
    XGBoostSurvival,
)

CENSORING = {
    "none": lambda rng, n: np.full(n, np.inf),
    "administrative": lambda rng, n: np.ones(n),
    "uniform": lambda rng, n: rng.uniform(0, 2.5, n),
    "exponential": lambda rng, n: rng.exponential(0.5, n),
}
MODALITIES = [
    ("u", StandardScaler(), ["a", "b"]),
    ("v", StandardScaler(), ["c", "d"]),
]
MODELS = {
    "early": (EarlyFusionSurvival, {"estimator": CoxRidge()}),
    "early, trees": (EarlyFusionSurvival, {}),
    "early, times": (EarlyFusionSurvival, {"estimator": XGBoostSurvival("aft")}),
    "late": (LateFusionSurvival, {}),
    "joint, hazards": (JointFusionSurvival, {}),
    "joint, Cox": (JointFusionSurvival, {"loss": "cox"}),
}


def outcome(time, censoring):
    y = np.empty(len(time), dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = time <= censoring, np.minimum(time, censoring)
    return y


def cohort(n, censoring, seed, *, shape=1.3, signal=0.7):
    """Times of a Weibull distribution whose hazard depends on one column of each."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 4)), columns=list("abcd"))
    unit = rng.exponential(size=n) * np.exp(-signal * (X["a"] + X["c"]).to_numpy())
    time = unit ** (1 / shape)
    return X, outcome(time, CENSORING[censoring](rng, n)), time


def kaplan_meier(y, times):
    at, survival = kaplan_meier_estimator(y["event"], y["time"])
    return np.r_[1.0, survival][np.searchsorted(at, times, side="right")]


def errors(model, censoring, seed, n=2000):
    """Return the mean curve minus the true one, and minus that of Kaplan and Meier."""
    kind, options = MODELS[model]
    X, y, _ = cohort(n, censoring, seed)
    new, _, true_times = cohort(10 * n, "none", seed + 1000)
    times = np.quantile(y["time"], [0.25, 0.5, 0.75])
    fitted = kind(MODALITIES, random_state=seed, **options).fit(X, y)
    truth = (true_times[:, None] > times).mean(axis=0)
    mean_new = fitted.predict_survival_function(new[:n], times).mean(axis=0)
    mean_own = fitted.predict_survival_function(X, times).mean(axis=0)
    return mean_new - truth, mean_own - kaplan_meier(y, times)


@pytest.mark.slow
@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("model", MODELS)
def test_mean_curves_are_true(model, censoring):
    found = [errors(model, censoring, seed) for seed in range(20)]
    bias = np.mean(found, axis=0)
    assert np.abs(bias).max() < 0.015, bias.round(3)


@pytest.mark.parametrize("loss", ["hazard", "cox"])
@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.slow
def test_mean_curves_of_joint_fusion_agree_with_kaplan_and_meier(censoring, loss):
    X, y, _ = cohort(1000, censoring, seed=1)
    model = JointFusionSurvival(
        MODALITIES, loss=loss, max_epochs=8, batch_size=64, random_state=0
    ).fit(X, y)
    times = np.quantile(y["time"], [0.25, 0.5, 0.75])
    found = model.predict_survival_function(X, times).mean(axis=0)
    np.testing.assert_allclose(found, kaplan_meier(y, times), rtol=0, atol=0.03)


@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5])
@pytest.mark.slow
def test_curves_of_a_net_with_dropout_are_not_too_close_together(dropout):
    """Dropout alone would give slopes of 1.4 to 3, and a mean curve that is too low."""
    X, y, _ = cohort(2000, "uniform", seed=5)
    new, of_new, _ = cohort(4000, "uniform", seed=505)
    model = JointFusionSurvival(
        MODALITIES, dropout=dropout, max_epochs=15, batch_size=64, random_state=0
    ).fit(X, y)
    times = np.quantile(y["time"], [0.25, 0.5, 0.75])
    curves = model.predict_survival_function(new, times)
    slopes = [
        calibration_at_time(of_new, curve, time).slope.estimate
        for curve, time in zip(curves.T, times, strict=True)
    ]
    np.testing.assert_allclose(slopes, 1.0, rtol=0, atol=0.2)
    own = model.predict_survival_function(X, times).mean(axis=0)
    np.testing.assert_allclose(own, kaplan_meier(y, times), rtol=0, atol=0.01)


def test_the_factor_of_the_outputs_keeps_the_order_of_the_risks(monkeypatch):
    X, y, _ = cohort(1000, "uniform", seed=3)
    new, of_new, _ = cohort(1000, "uniform", seed=4)
    options = {"max_epochs": 8, "batch_size": 64, "random_state": 0}
    model = JointFusionSurvival(MODALITIES, **options).fit(X, y)
    monkeypatch.setattr(joint, "_best_slope", lambda *arrays: 1.0)
    before = JointFusionSurvival(MODALITIES, **options).fit(X, y)
    assert spearmanr(model.predict(new), before.predict(new)).statistic > 0.999
    assert model.score(new, of_new) == pytest.approx(
        before.score(new, of_new), abs=0.002
    )
    assert np.std(model.predict(new)) > 1.1 * np.std(before.predict(new))


@pytest.mark.parametrize(
    "join", ["concat", "sum", "attention", "gated", "low_rank", "film"]
)
def test_the_network_itself_predicts_the_scaled_outputs(join):
    X, y, _ = cohort(300, "uniform", seed=3)
    X.loc[::5, ["c", "d"]] = np.nan
    model = JointFusionSurvival(MODALITIES, join=join, max_epochs=3, random_state=0)
    model.fit(X, y)
    # Neither the curves nor the biases can be improved by other offsets.
    target = model._in_interval_units(y["time"], y["event"])
    outputs = model._outputs(X)[0].astype(np.float64)
    offsets = joint._best_offsets(outputs, target, np.ones(300))
    np.testing.assert_allclose(offsets, 0, atol=1e-5)


def hazard_outputs(n=3000, n_intervals=4, seed=0):
    """Return outputs of the true model and its target, with exact times."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(n, 1)) + np.linspace(-2, 0, n_intervals)
    hazard = np.logaddexp(0, outputs)
    total = np.c_[np.zeros(n), np.cumsum(hazard, axis=1)]
    unit = rng.exponential(size=n)
    place = (unit[:, None] >= total[:, 1:]).sum(axis=1)
    event = place < n_intervals
    inside = np.minimum(place, n_intervals - 1)
    part = (unit - total[np.arange(n), inside]) / hazard[np.arange(n), inside]
    time = np.where(event, inside + part, n_intervals)
    return outputs, np.c_[time, np.where(event, inside, -1), np.zeros(n)]


@pytest.mark.parametrize("shrunk", [0.5, 1.0, 1.6])
def test_the_factor_of_shrunk_outputs_is_found(shrunk):
    outputs, target = hazard_outputs()
    weight = np.random.default_rng(1).uniform(1, 9, len(target))
    shift = np.array([0.3, -0.2, 0.0, 0.4])
    for weights in (np.ones(len(target)), weight, 1e-6 * weight):
        slope = joint._best_slope(shrunk * outputs + shift, target, weights)
        assert slope * shrunk == pytest.approx(1.0, abs=0.1)


def test_a_factor_of_rows_that_say_nothing_is_one():
    outputs, target = hazard_outputs(60)
    constant = np.zeros_like(outputs)
    assert joint._best_slope(constant, target, np.ones(60)) == pytest.approx(1.0)
    noise = 1e-3 * np.random.default_rng(1).normal(size=outputs.shape)
    assert joint._best_slope(noise, target, np.ones(60)) == pytest.approx(1, abs=0.1)
    assert joint._best_slope(np.full((60, 4), np.nan), target, np.ones(60)) == 1
    against = joint._best_slope(-outputs, target, np.ones(60))
    assert 0.1 <= against < 1  # never turns the order around


@pytest.mark.parametrize("kind", [EarlyFusionSurvival, LateFusionSurvival])
@pytest.mark.parametrize("learner", ["linear", "cox", "aft"])
@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.slow
def test_mean_curves_of_other_strategies_agree_too(censoring, learner, kind):
    X, y, _ = cohort(1000, censoring, seed=1)
    few = {"n_estimators": 20, "learning_rate": 0.2, "max_depth": 2}
    estimator = CoxRidge() if learner == "linear" else XGBoostSurvival(learner, **few)
    model = kind(MODALITIES, estimator=estimator, random_state=0).fit(X, y)
    times = np.quantile(y["time"], [0.25, 0.5, 0.75])
    # The learner knows its own rows too well, so the curves of other rows are honest.
    new = cohort(2000, "none", seed=2)[0]
    found = model.predict_survival_function(new, times).mean(axis=0)
    np.testing.assert_allclose(found, kaplan_meier(y, times), rtol=0, atol=0.04)


def blind(y, *, n_intervals=10, **options):
    """Return a joint fusion without anything to learn from, and its input."""
    X = pd.DataFrame({"constant": np.ones(len(y))})
    model = JointFusionSurvival(
        loss_params={"n_intervals": n_intervals},
        max_epochs=1,
        training=TrainingSettings(validation_fraction=0.0),
        random_state=0,
    )
    return model.fit(X, y, **options), X


@pytest.mark.slow
@pytest.mark.parametrize("n_intervals", [1, 10, 50])
@pytest.mark.parametrize("censoring", CENSORING)
def test_hazards_of_exponential_times_are_constant(censoring, n_intervals):
    """Without a signal each curve is exp(-t), also beyond the 90 % of the events."""
    _, y, _ = cohort(4000, censoring, seed=0, shape=1.0, signal=0.0)
    model, X = blind(y, n_intervals=n_intervals)
    times = np.quantile(y["time"], [0.25, 0.5, 0.75, 0.95])
    found = model.predict_survival_function(X, times)
    np.testing.assert_allclose(found[0], np.exp(-times), atol=0.025)
    np.testing.assert_allclose(found[0], kaplan_meier(y, times), atol=0.02)


@pytest.mark.parametrize("n_intervals", [3, 10, 100])
def test_rounded_times_give_the_curve_of_kaplan_and_meier(n_intervals):
    """Visits once a year: exp(-events / at risk) would be up to 0.06 too high."""
    rng = np.random.default_rng(0)
    visits = np.ceil(rng.exponential(2.0, 1000))
    y = outcome(visits, np.ceil(rng.uniform(0, 8, 1000)))
    model, X = blind(y, n_intervals=n_intervals)
    ends = np.array([1.0, 3.0])
    found = model.predict_survival_function(X.iloc[:1], ends)[0]
    if n_intervals > 3:  # one interval per year
        np.testing.assert_allclose(found, kaplan_meier(y, ends), atol=1e-6)
    np.testing.assert_allclose(found, kaplan_meier(y, ends), atol=0.02)


def test_hazards_do_not_depend_on_the_unit_of_time():
    _, y, _ = cohort(300, "exponential", seed=0)
    days = y.copy()
    days["time"] *= 365.25
    times = np.array([0.0, 0.2, 0.4, 3.0])
    in_years, X = blind(y)
    in_days, _ = blind(days)
    np.testing.assert_allclose(
        in_years.predict_survival_function(X.iloc[:1], times),
        in_days.predict_survival_function(X.iloc[:1], times * 365.25),
        rtol=1e-7,
    )
    assert in_days.predict(X)[0] == pytest.approx(365.25 * in_years.predict(X)[0])


def test_hazards_of_weighted_rows_are_those_of_repeated_rows():
    _, y, _ = cohort(200, "uniform", seed=0)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    times = np.quantile(y["time"], [0.0, 0.2, 0.5, 0.9])
    weighted, X = blind(y, sample_weight=weight.astype(float))
    repeated, _ = blind(np.repeat(y, weight))
    np.testing.assert_allclose(
        weighted.predict_survival_function(X.iloc[:1], times),
        repeated.predict_survival_function(X.iloc[:1], times),
        rtol=1e-7,
    )


def test_a_last_event_of_tiny_weight_is_in_the_last_interval():
    y = outcome(np.arange(1.0, 41.0), np.full(40, np.inf))
    weight = np.r_[np.full(39, 1e9), 1e-12]
    model, X = blind(y, sample_weight=weight)
    curve = model.predict_survival_function(X.iloc[:1], [20.0, 39.0, 50.0])[0]
    assert np.isfinite(curve).all()
    assert curve[0] == pytest.approx(19 / 39, abs=0.01)


def test_the_risk_is_the_mean_time_without_an_event():
    X, y, _ = cohort(300, "uniform", seed=0)
    model = JointFusionSurvival(MODALITIES, max_epochs=5, random_state=0).fit(X, y)
    last = y["time"][y["event"]].max()
    times = np.linspace(0, last, 20_001)
    curves = model.predict_survival_function(X[:5], times)
    expected = np.trapezoid(curves, times, axis=1)
    np.testing.assert_allclose(-model.predict(X[:5]), expected, rtol=1e-6)


def test_events_at_time_zero_are_in_the_first_interval():
    y = outcome(np.r_[np.zeros(30), np.arange(1.0, 71.0)], np.full(100, np.inf))
    model, X = blind(y)
    curve = model.predict_survival_function(X.iloc[:1], [0.0, 1.0, 20.0])[0]
    assert curve[0] == 1
    np.testing.assert_allclose(curve[1:], [0.69, 0.5], atol=0.02)
    y["time"] = 0
    y["event"][:50] = False
    model, X = blind(y)
    assert np.isfinite(model.predict_survival_function(X, [0.0, 1.0])).all()


@pytest.mark.parametrize("n_intervals", [0, 2.5, -1, True])
def test_numbers_of_intervals_that_are_refused(n_intervals):
    _, y, _ = cohort(50, "none", seed=0)
    with pytest.raises(ValueError, match="n_intervals.*must be an integer"):
        blind(y, n_intervals=n_intervals)


def test_a_baseline_of_more_rows_keeps_the_slope():
    X, y, _ = cohort(400, "uniform", seed=0)
    y = check_survival(y, "me")
    risk = (X["a"] + X["c"]).to_numpy()
    part = SurvivalCurves().fit(risk[:100], y[:100])
    slope = part.slope_ / part.scale_
    times = np.quantile(y["time"], [0.25, 0.5, 0.75])
    everybody = part.fit_baseline(risk, y).predict(risk, times).mean(axis=0)
    assert part.slope_ / part.scale_ == slope
    np.testing.assert_allclose(everybody, kaplan_meier(y, times), atol=0.01)
