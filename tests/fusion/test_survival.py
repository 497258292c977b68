"""Survival: checked times, curves and risks, against other libraries."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import xgboost
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.preprocessing import StandardScaler
from sksurv.ensemble import RandomSurvivalForest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import (
    as_integrated_brier_score_scorer,
    concordance_index_censored,
    integrated_brier_score,
)
from sksurv.util import Surv

from skfusion.datasets import make_fusion_cohort
from skfusion.fusion import TrainingSettings
from skfusion.fusion.survival import (
    SurvivalCurves,
    _BoostedLikelihood,
    check_survival,
)
from skfusion.survival import (
    EarlyFusionSurvival,
    JointFusionSurvival,
    LateFusionSurvival,
    XGBoostSurvival,
)


@pytest.fixture(scope="module")
def follow_up():
    """600 rows whose log hazard is known; 35 % are censored; times are tied."""
    cohort = make_fusion_cohort(
        600,
        task="regression",
        rows_per_patient=2,
        patient_correlation=0,
        random_state=0,
    )
    rng = np.random.default_rng(0)
    hazard = 1.5 * cohort.target
    time = rng.exponential(np.exp(-hazard))
    censoring = rng.exponential(2.0, len(time))
    days = np.ceil(np.minimum(time, censoring) * 50)
    cohort.y = Surv.from_arrays(time <= censoring, days)
    cohort.hazard = hazard
    cohort.modalities = [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]
    return cohort


def test_curves_equal_cox_and_breslow_of_scikit_survival(follow_up):
    risk, y = follow_up.hazard, check_survival(follow_up.y, "me")
    reference = CoxPHSurvivalAnalysis(ties="breslow").fit(risk[:, None], follow_up.y)
    curves = SurvivalCurves().fit(risk, y)
    assert curves.slope_ / curves.scale_ == pytest.approx(reference.coef_[0], rel=1e-3)
    times = reference.unique_times_
    expected = reference.predict_survival_function(risk[:, None], return_array=True)
    np.testing.assert_allclose(curves.predict(risk, times), expected, atol=1e-4)


def test_a_weight_of_two_is_the_row_twice(follow_up):
    risk, y = follow_up.hazard, check_survival(follow_up.y, "me")
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 3, len(y)).astype(float)
    twice = np.repeat(np.arange(len(y)), weight.astype(int))
    times = np.quantile(y["time"], [0.1, 0.5, 0.9])
    np.testing.assert_allclose(
        SurvivalCurves().fit(risk, y, weight).predict(risk, times),
        SurvivalCurves().fit(risk[twice], y[twice]).predict(risk, times),
        rtol=1e-9,
    )


def test_a_risk_that_orders_everything_keeps_a_finite_slope():
    y = check_survival(Surv.from_arrays(np.ones(50, bool), np.arange(50, 0, -1)), "me")
    curves = SurvivalCurves().fit(np.arange(50.0), y)
    assert 1 < curves.slope_ < 1000
    assert np.isfinite(curves.predict(np.arange(50.0), np.arange(60.0))).all()


@pytest.mark.parametrize("loss", ["cox", "aft"])
def test_boosting_orders_new_cases_nearly_as_well_as_the_truth(loss, follow_up):
    X = follow_up.data[follow_up.image_columns + follow_up.ehr_columns].to_numpy()
    X = np.column_stack([X, follow_up.hazard])
    model = XGBoostSurvival(loss, random_state=0).fit(X[:400], follow_up.y[:400])
    new = follow_up.y[400:]
    best = concordance_index_censored(new["event"], new["time"], follow_up.hazard[400:])
    found = model.score(X[400:], new)
    assert (
        found
        == concordance_index_censored(
            new["event"], new["time"], model.predict(X[400:])
        )[0]
    )
    assert best[0] - 0.05 < found
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))


def test_censored_times_are_not_events(follow_up):
    """Calling every time an event would change the trees."""
    X = follow_up.hazard[:, None]
    all_seen = follow_up.y.copy()
    all_seen["event"] = True
    for loss in ("cox", "aft"):
        right = XGBoostSurvival(loss, random_state=0).fit(X, follow_up.y).predict(X)
        wrong = XGBoostSurvival(loss, random_state=0).fit(X, all_seen).predict(X)
        assert np.abs(right - wrong).max() > 0.05


def weighted_rows(seed, *, n=400, is_tied=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    time = rng.exponential(np.exp(-1.2 * X[:, 0] - 1.2 * X[:, 2]))
    censoring = rng.exponential(2.0, n)
    y = np.empty(n, dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = time <= censoring, np.minimum(time, censoring)
    if is_tied:
        y["time"] = np.floor(y["time"] * 5)  # many times are 0
    return X, y, rng.integers(0, 5, n)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("loss", ["cox", "aft"])
def test_boosting_of_weighted_rows_is_that_of_repeated_rows(loss, is_tied, seed):
    X, y, weight = weighted_rows(seed, is_tied=is_tied)
    rows = np.repeat(np.arange(len(y)), weight)
    model = XGBoostSurvival(loss, subsample=1.0, n_estimators=50, random_state=0)
    repeated = model.fit(X[rows], y[rows]).predict(X)
    weighted = model.fit(X, y, sample_weight=weight.astype(float)).predict(X)
    np.testing.assert_allclose(weighted, repeated, rtol=0, atol=2e-6)
    assert np.abs(model.fit(X, y).predict(X) - repeated).max() > 0.1


@pytest.mark.parametrize("is_tied", [False, True])
def test_early_stopping_of_weighted_rows_is_that_of_repeated_rows(is_tied):
    X, y, weight = weighted_rows(3, is_tied=is_tied)
    rows = np.repeat(np.arange(300, 400), weight[300:])
    model = XGBoostSurvival(
        subsample=1.0, learning_rate=0.3, early_stopping_rounds=5, random_state=0
    )
    model.fit(
        X[:300],
        y[:300],
        eval_set=[(X[300:], y[300:])],
        sample_weight_eval_set=[weight[300:].astype(float)],
    )
    n_trees = model.booster_.num_boosted_rounds()
    found = model.predict(X)
    repeated = model.fit(X[:300], y[:300], eval_set=[(X[rows], y[rows])]).predict(X)
    assert 1 < n_trees < 200
    assert model.booster_.num_boosted_rounds() == n_trees
    np.testing.assert_array_equal(found, repeated)


def test_boosting_without_weights_and_ties_is_that_of_xgboost():
    X, y, _ = weighted_rows(4)
    found = XGBoostSurvival(n_estimators=50, random_state=0).fit(X, y).predict(X)
    data = xgboost.DMatrix(X, label=np.where(y["event"], y["time"], -y["time"]))
    seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    settings = {"learning_rate": 0.05, "max_depth": 4, "subsample": 0.8}
    settings |= {"colsample_bytree": 0.5, "seed": seed, "objective": "survival:cox"}
    expected = xgboost.train({**settings, "base_score": 1.0}, data, 50)
    expected = expected.predict(data, output_margin=True)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_boosting_minimises_the_weighted_partial_likelihood():
    """Its gradient and its loss are those of the definition, row by row."""
    X, y, weight = weighted_rows(5, n=40, is_tied=True)
    weight = weight * 0.7
    risk = X[:, 0]
    own = _BoostedLikelihood(check_survival(y, "me"), weight)

    def loss(risk):
        at_risk = y["time"][None, :] >= y["time"][:, None]
        total = np.log((at_risk * weight * np.exp(risk)).sum(axis=1))
        events = np.flatnonzero(y["event"] & (weight > 0))
        return float(weight[events] @ (total - risk)[events])

    n_events = weight[y["event"]].sum()
    assert own.metric(risk, None)[1] == pytest.approx(loss(risk) / n_events)
    gradient, hessian = own.derivatives(risk, None)
    step = 1e-6 * np.eye(len(y))
    expected = [(loss(risk + e) - loss(risk - e)) / 2e-6 for e in step]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert (hessian[weight > 0] > 0).all()
    far = own.derivatives(risk * 1e4, None)
    assert np.isfinite(far).all()


# as strong as the 200 small steps of the default, in a fifth of the time
FEW_TREES = XGBoostSurvival(n_estimators=40, learning_rate=0.25)


@pytest.fixture(params=[EarlyFusionSurvival, LateFusionSurvival, JointFusionSurvival])
def kind(request):
    return request.param


def build(kind, cohort, **parameters):
    settings = {"groups": "patient_id", "random_state": 0}
    if kind is not JointFusionSurvival:
        settings |= {"cv": 3, "estimator": FEW_TREES}
    return kind(cohort.modalities, **{**settings, **parameters})


@pytest.mark.slow
def test_fusion_orders_new_patients_and_its_curves_are_honest(kind, follow_up):
    X, y = follow_up.data, follow_up.y
    default = {} if kind is JointFusionSurvival else {"estimator": None}
    model = build(kind, follow_up, **default).fit(X[:450], y[:450])
    best = concordance_index_censored(
        y["event"][450:], y["time"][450:], follow_up.hazard[450:]
    )[0]
    assert 0.6 < model.score(X[450:], y[450:]) < best
    times = np.quantile(y["time"][450:], np.linspace(0.1, 0.8, 8))
    curves = model.predict_survival_function(X[450:], times)
    assert ((curves >= 0) & (curves <= 1)).all()
    assert (np.diff(curves, axis=1) <= 0).all()
    risk = model.predict(X[450:])
    # the curves tell the same order as the risks
    assert spearmanr(curves[:, 4], risk).statistic < -0.95
    everybody = np.tile(
        SurvivalCurves()
        .fit(np.zeros(450), check_survival(y[:450], "me"))
        .predict(np.zeros(1), times),
        (150, 1),
    )
    scores = [
        integrated_brier_score(y[:450], y[450:], shown, times)
        for shown in (curves, everybody)
    ]
    assert scores[0] < scores[1]


def test_out_of_fold_curves_are_less_sure_than_those_of_training_rows(follow_up):
    flat, steep = (
        build(EarlyFusionSurvival, follow_up, cv=cv).fit(follow_up.data, follow_up.y)
        for cv in (3, None)
    )
    assert flat._curves.slope_ / flat._curves.scale_ < (
        0.7 * steep._curves.slope_ / steep._curves.scale_
    )


@pytest.mark.slow
def test_absent_modalities_groups_and_cross_validation(kind, follow_up):
    X = follow_up.data.copy()
    X.loc[::5, follow_up.image_columns] = np.nan
    steps = {"max_epochs": 15, "batch_size": 64, "lr": 0.01}
    quick = steps if kind is JointFusionSurvival else {"cv": 2}
    model = build(kind, follow_up, **quick)
    scores = cross_val_score(
        model, X, follow_up.y, cv=GroupKFold(3), groups=follow_up.groups
    )
    assert (scores > 0.55).all()
    fitted = clone(model).fit(X, follow_up.y)
    nothing = X.iloc[[0]].copy()
    nothing.loc[:, follow_up.image_columns + follow_up.ehr_columns] = np.nan
    with pytest.warns(UserWarning, match="no modality at all"):
        risk = fitted.predict(nothing)
    everyone = fitted.predict(X)
    assert everyone.min() < risk[0] < everyone.max()
    again = clone(model).fit(X, follow_up.y)
    np.testing.assert_array_equal(again.predict(X), everyone)
    np.testing.assert_allclose(
        fitted.predict_encoded(fitted.encode_modalities(X)), everyone, rtol=1e-6
    )


def test_a_table_of_two_columns_is_taken(kind, follow_up):
    table = pd.DataFrame(
        {"died": follow_up.y["event"], "days": follow_up.y["time"]},
        index=follow_up.data.index,
    )
    quick = {"max_epochs": 2} if kind is JointFusionSurvival else {"cv": 2}
    by_table = build(kind, follow_up, **quick).fit(follow_up.data, table)
    by_array = build(kind, follow_up, **quick).fit(follow_up.data, follow_up.y)
    np.testing.assert_array_equal(
        by_table.predict(follow_up.data), by_array.predict(follow_up.data)
    )


def test_an_outcome_in_any_order_and_of_numbers(follow_up):
    y = follow_up.y
    names = y.dtype.names
    days, died = y[names[1]].astype(int), y[names[0]]
    expected = check_survival(y, "me")
    for other in (
        pd.DataFrame({"days": days, "died": died}),
        pd.DataFrame({"died": died.astype(int), "days": days}),
        pd.DataFrame({"days": pd.array(days, "Int64"), "died": died.astype(float)}),
        pd.DataFrame({"days": days, "died": pd.array(died, "boolean")}),
        pd.DataFrame({"days": days, "died": died.astype(object)}),
        np.rec.fromarrays([days, died.astype(np.uint8)], names="days,died"),
    ):
        np.testing.assert_array_equal(check_survival(other, "me"), expected)
    # 600 times of 1 and boolean events are no two candidates
    same = pd.DataFrame({"days": np.ones(len(y)), "died": died})
    assert check_survival(same, "me")["event"].sum() == died.sum()


def test_an_entry_time_is_refused(kind, follow_up):
    event, time = (follow_up.y[name] for name in follow_up.y.dtype.names)
    y = pd.DataFrame({"event": event, "entry": 0.0, "exit": time})
    with pytest.raises(ValueError, match="got 3 fields. An entry time .*not supported"):
        build(kind, follow_up).fit(follow_up.data, y)
    fields = [("event", bool), ("entry", float), ("exit", float)]
    records = np.array(list(y.itertuples(index=False)), dtype=fields)
    with pytest.raises(ValueError, match="An entry time .*not supported"):
        XGBoostSurvival().fit(np.zeros((len(y), 1)), records)


def test_functions_are_those_of_the_scorers_of_scikit_survival(kind, follow_up):
    X, y = follow_up.data, follow_up.y
    model = build(kind, follow_up, **({} if kind is JointFusionSurvival else {"cv": 2}))
    grid = np.quantile(y[y.dtype.names[1]], [0.1, 0.4, 0.8])
    scorer = as_integrated_brier_score_scorer(model, times=grid).fit(X, y)
    fitted = scorer.estimator_
    functions = fitted.predict_survival_function(X)
    for times in (grid, [0.0, 1.5, 1e6]):
        np.testing.assert_allclose(
            np.stack([function(times) for function in functions]),
            fitted.predict_survival_function(X, times=times),
            rtol=1e-6,
        )
    expected = integrated_brier_score(
        y, y, fitted.predict_survival_function(X, times=grid), grid
    )
    assert scorer.score(X, y) == pytest.approx(-expected)
    with pytest.raises(ValueError, match="finite numbers of 0 or more"):
        fitted.predict_survival_function(X[:2], times=[1.0, np.nan])


def test_events_and_censored_rows_on_the_first_day(kind, follow_up):
    y = follow_up.y.copy()
    first = np.arange(40)
    set_time(y, first, 0.0)
    model = build(kind, follow_up).fit(follow_up.data, y)
    share = 1 - y[y.dtype.names[0]][first].sum() / len(y)
    curves = model.predict_survival_function(follow_up.data, times=[0.0, 1.0])
    assert np.isfinite(curves).all()
    if kind is not JointFusionSurvival:  # whose hazards are constant in intervals
        assert curves[:, 0].mean() == pytest.approx(share, abs=0.02)
    assert np.isfinite(model.predict(follow_up.data)).all()


def test_the_only_censored_row_is_no_class(kind, follow_up):
    y = set_event(follow_up.y.copy(), True)
    set_event(y[7:8], False)
    model = build(kind, follow_up, **({} if kind is JointFusionSurvival else {"cv": 3}))
    assert np.isfinite(model.fit(follow_up.data, y).predict(follow_up.data)).all()
    set_event(y, False)
    set_event(y[7:8], True)
    if kind is not JointFusionSurvival:
        with pytest.raises(ValueError, match="the event has 1 patient only"):
            model.fit(follow_up.data, y)


def test_estimators_of_scikit_survival(follow_up):
    forest = RandomSurvivalForest(10, min_samples_leaf=10, random_state=0)
    model = build(EarlyFusionSurvival, follow_up, estimator=forest, cv=2)
    X, y = follow_up.data[:300], follow_up.y[:300]
    assert model.fit(X, y).score(X, y) > 0.7


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y["time"], "structured array.*got an array of dtype float64"),
        (
            lambda y: np.rec.fromarrays([y["time"], y["time"]], names="event,time"),
            "got the fields 'event' of dtype float64 and 'time'",
        ),
        (
            lambda y: pd.DataFrame({"event": y["event"], "time": y["event"]}),
            "Make the events boolean|of dtype bool",
        ),
        (lambda y: set_time(y, [3, 8], -1.0), r"2 of 600 times .* below 0.*\[3, 8\]"),
        (lambda y: set_time(y, [3], np.nan), "y contains NaN"),
        (lambda y: set_event(y, False), "all 600 rows of y are censored"),
    ],
)
def test_times_that_cannot_be_used(kind, change, words, follow_up):
    with pytest.raises(ValueError, match=words):
        build(kind, follow_up).fit(follow_up.data, change(follow_up.y.copy()))


@pytest.mark.parametrize("kind", [EarlyFusionSurvival, LateFusionSurvival])
def test_a_fold_without_events_says_so(kind, follow_up):
    y = set_event(follow_up.y.copy(), False)
    y["event"][:4] = True
    folds = [
        (np.arange(300, 600), np.arange(300)),
        (np.arange(300), np.arange(300, 600)),
    ]
    with pytest.raises(ValueError, match="missing from the training part"):
        build(kind, follow_up, cv=folds).fit(follow_up.data, y)


@pytest.mark.parametrize("n_patients", [1, 3])
def test_early_stopping_never_watches_rows_without_events(n_patients, follow_up):
    """Cox's loss is 0 there, in the first epoch as in the best."""
    y = set_event(follow_up.y.copy(), False)
    ill = np.unique(follow_up.groups)[:n_patients]
    y["event"][np.isin(follow_up.groups, ill)] = True
    for seed in range(3):
        model = build(JointFusionSurvival, follow_up, loss="cox", max_epochs=1)
        model.set_params(random_state=seed, training__validation_fraction=0.5)
        model.fit(follow_up.data, y)
        assert model.history_[0].get("valid_loss", 1) > 0


def set_time(y, rows, value):
    y["time"][rows] = value
    return y


def set_event(y, value):
    y["event"] = value
    return y


@pytest.mark.parametrize(
    "aggregation", ["mean", "weighted", "max", "min", "median", "rank", "stacking"]
)
@pytest.mark.long
def test_late_rules_combine_standardised_risks(aggregation, follow_up):
    X, y = follow_up.data, follow_up.y
    model = build(LateFusionSurvival, follow_up, aggregation=aggregation, cv=2)
    model.fit(X, y)
    risks = model.encode_modalities(X)
    for scale in model.calibrators_.values():
        assert scale.spread > 0
    fused = model.predict(X)
    image, ehr = risks["image"][:, 0], risks["ehr"][:, 0]
    expected = {
        "mean": lambda: (image + ehr) / 2,
        "weighted": lambda: np.column_stack([image, ehr]) @ model.weights_,
        "max": lambda: np.maximum(image, ehr),
        "min": lambda: np.minimum(image, ehr),
        "median": lambda: (image + ehr) / 2,
        "stacking": lambda: model.final_estimator_.predict(
            np.column_stack([image, ehr])
        ),
    }
    if aggregation in expected:
        np.testing.assert_allclose(fused, expected[aggregation]())
    alone = X.assign(**dict.fromkeys(follow_up.ehr_columns, np.nan))
    assert spearmanr(model.predict(alone), image).statistic > 0.999


def test_scales_are_learned_out_of_fold(follow_up):
    """Boosted trees spread the rows they were fitted on far more than new ones."""
    model = build(LateFusionSurvival, follow_up).fit(follow_up.data, follow_up.y)
    risk = model.encode_modalities(follow_up.data)["image"]
    assert risk.std() > 1.15  # in units of the out-of-fold spread


@pytest.mark.parametrize("weights", ["roc_auc", [1.0, 2.0, 3.0]])
def test_weights_that_are_no_use_for_risks(weights, follow_up):
    model = build(
        LateFusionSurvival, follow_up, aggregation="weighted", weights=weights
    )
    with pytest.raises(ValueError, match="weights must be"):
        model.fit(follow_up.data, follow_up.y)


@pytest.mark.parametrize("loss", ["hazard", "cox"])
@pytest.mark.parametrize("n_intervals", [1, 5])
@pytest.mark.long
def test_joint_losses_order_new_cases(loss, n_intervals, follow_up):
    X, y = follow_up.data, follow_up.y
    params = {"n_intervals": n_intervals} if loss == "hazard" else None
    model = build(
        JointFusionSurvival, follow_up, loss=loss, loss_params=params, batch_size=64
    ).fit(X[:450], y[:450])
    assert model.score(X[450:], y[450:]) > 0.6
    times = np.array([0.0, 1e9])
    curves = model.predict_survival_function(X[450:], times)
    np.testing.assert_allclose(curves[:, 0], 1)
    assert (curves[:, 1] < 1).all()


@pytest.mark.parametrize(
    "kind", [EarlyFusionSurvival, LateFusionSurvival, JointFusionSurvival]
)
@pytest.mark.slow
def test_survival_with_images_keeps_the_contract(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[::5, "scan"] = None
    y = np.zeros(48, dtype=[("event", bool), ("time", float)])
    y["event"] = np.arange(48) % 3 > 0
    y["time"] = 30 - 10 * cohort.y + np.arange(48) % 7
    trees = {"cv": 2, "estimator": FEW_TREES}
    # Five of the 48 rows would be too few to tell when to stop.
    network = {"max_epochs": 40, "training": TrainingSettings(validation_fraction=0.0)}
    settings = network if kind is JointFusionSurvival else trees
    model = make(kind, **settings).fit(X, y)
    risk = model.predict(X)
    assert model.score(X, y) > 0.7
    order = np.random.default_rng(0).permutation(48)
    np.testing.assert_allclose(model.predict(X.iloc[order]), risk[order], rtol=1e-4)
    np.testing.assert_allclose(model.predict(X.iloc[[7]]), risk[[7]], rtol=1e-4)
    restored = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(restored.predict(X), risk)
    times = np.array([15.0, 25.0])
    np.testing.assert_array_equal(
        restored.predict_survival_function(X, times),
        model.predict_survival_function(X, times),
    )
    again = clone(model).set_params(n_jobs=2 if kind is LateFusionSurvival else None)
    np.testing.assert_array_equal(again.fit(X, y).predict(X), risk)
    names = [name.partition("__")[0] for name in model.get_feature_names_out()]
    assert {"cxr", "ehr"} <= set(names)
    with pytest.raises(ValueError, match="drop|absent in"):
        make(kind, missing="error", **settings).fit(X, y)
