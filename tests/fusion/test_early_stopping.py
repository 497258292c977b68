"""Boosted trees that stop early inside a fusion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_selection import SelectKBest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier, XGBRegressor
from xgboost.callback import EarlyStopping as XGBoostStopping

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.fusion import ModelFeatures
from skfusion.survival import (
    EarlyFusionSurvival,
    LateFusionSurvival,
    XGBoostSurvival,
)

N = 160
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(N, 3)), columns=["a", "b", "noise"])
NUMBERS = X["a"].to_numpy() + 0.5 * rng.normal(size=N)
Y = (NUMBERS > 0).astype(int)
GROUPS = np.repeat(np.arange(N // 4), 4)
TIMES = np.array([(i % 4 > 0, np.exp(-t)) for i, t in enumerate(NUMBERS)], dtype="?,f8")
MODALITIES = [
    ("a", FunctionTransformer(), ["a"]),
    ("b", FunctionTransformer(), ["b", "noise"]),
]
FEW = {"n_estimators": 300, "learning_rate": 0.5, "n_jobs": 1}


class Watched(XGBClassifier):
    """XGBoost that stores the rows that it was given."""

    def fit(self, X, y, sample_weight=None, **arguments):
        self.seen_ = np.asarray(X), arguments
        return super().fit(X, y, sample_weight=sample_weight, **arguments)


def sides(model):
    """Return the values of column a on which the trees were fitted and evaluated."""
    fitted, arguments = model.seen_
    return fitted, np.asarray(arguments["eval_set"][0][0]), arguments


@pytest.mark.parametrize(
    "estimator",
    [
        XGBClassifier(early_stopping_rounds=3, **FEW),
        make_pipeline(StandardScaler(), XGBClassifier(early_stopping_rounds=3, **FEW)),
        make_pipeline(SelectKBest(k=2), XGBClassifier(early_stopping_rounds=3, **FEW)),
        XGBClassifier(callbacks=[XGBoostStopping(rounds=3)], **FEW),
    ],
)
def test_xgboost_stops_early_in_early_fusion(estimator):
    model = EarlyFusionClassifier(MODALITIES, estimator=estimator, random_state=0)
    model.fit(X, Y)
    trees = model.estimator_
    trees = trees[-1] if hasattr(trees, "steps") else trees
    assert trees.best_iteration < 100
    again = EarlyFusionClassifier(MODALITIES, estimator=estimator, random_state=0)
    np.testing.assert_array_equal(
        model.predict_proba(X), again.fit(X, Y).predict_proba(X)
    )


def test_the_parts_are_apart_by_patient_with_all_copies():
    trees = Watched(early_stopping_rounds=3, **FEW)
    model = EarlyFusionClassifier(
        MODALITIES, estimator=trees, absence_copies=0.5, random_state=1
    )
    model.fit(X, Y, groups=GROUPS)
    fitted, evaluated, arguments = sides(model.estimator_)
    assert len(fitted) + len(evaluated) == 3 * N
    assert 0.05 < len(evaluated) / (3 * N) < 0.2
    patient_of = {  # the trees get float32
        column: dict(zip(X[column].astype(np.float32), GROUPS, strict=True))
        for column in "ab"
    }
    patients = [
        {
            patient_of[column][value]
            for j, column in enumerate("ab")
            for value in part[:, j][~np.isnan(part[:, j])]
        }
        for part in (fitted, evaluated)
    ]
    assert not patients[0] & patients[1]
    assert len(patients[0] | patients[1]) == N // 4
    weights = arguments["sample_weight_eval_set"][0]
    assert set(weights) == {0.5, 1.0}
    assert (weights == 1).sum() * 3 == len(evaluated)


def test_copies_are_made_for_trees_that_stop_early():
    trees = Watched(early_stopping_rounds=3, **FEW)
    model = EarlyFusionClassifier(MODALITIES, estimator=trees, random_state=1)
    fitted, evaluated, _ = sides(model.fit(X, Y).estimator_)
    assert len(fitted) + len(evaluated) == 3 * N
    known = [set(part[:, 0][~np.isnan(part[:, 0])]) for part in (fitted, evaluated)]
    assert not known[0] & known[1]


def test_weights_and_classes_reach_the_validation_part():
    weights = rng.random(N) + 0.5
    trees = Watched(early_stopping_rounds=3, **FEW)
    model = EarlyFusionClassifier(
        MODALITIES, estimator=trees, absence_copies=0.0, class_weight={"yes": 10.0}
    )
    model.fit(X, np.array(["no", "yes"])[Y], sample_weight=weights)
    _, evaluated, arguments = sides(model.estimator_)
    weights = weights * np.where(Y, 10.0, 1.0)
    values = X["a"].astype(np.float32)  # as the trees get them
    expected = dict(zip(values, weights / weights.mean(), strict=True))
    np.testing.assert_allclose(
        arguments["sample_weight_eval_set"][0], [expected[a] for a in evaluated[:, 0]]
    )


@pytest.mark.parametrize("aggregation", ["mean", "stacking"])
def test_members_and_meta_models_stop_early(aggregation):
    trees = XGBClassifier(early_stopping_rounds=3, **FEW)
    model = LateFusionClassifier(
        MODALITIES,
        estimator=trees,
        aggregation=aggregation,
        final_estimator=trees if aggregation == "stacking" else None,
        cv=3,
        random_state=0,
    )
    model.fit(X, Y, groups=GROUPS)
    for _, member, _ in model.modalities_:
        assert member[-1].best_iteration < 100
    if aggregation == "stacking":
        assert model.final_estimator_.best_iteration < 100
    assert np.mean(model.predict(X) == Y) > 0.7


def test_members_hold_out_patients():
    member = make_pipeline(StandardScaler(), Watched(early_stopping_rounds=3, **FEW))
    modalities = [("a", member, ["a"]), MODALITIES[1]]
    model = LateFusionClassifier(modalities, random_state=0).fit(X, Y, groups=GROUPS)
    fitted, evaluated, _ = sides(model.modalities_[0][1][-1])
    scaler = model.modalities_[0][1][0]
    patient_of = dict(zip(X["a"].round(6), GROUPS, strict=True))
    first, second = (
        {patient_of[a] for a in scaler.inverse_transform(part)[:, 0].round(6)}
        for part in (fitted, evaluated)
    )
    assert not first & second
    # The steps before the trees are fitted without the held-out rows.
    assert fitted.mean() == pytest.approx(0, abs=1e-9)
    assert abs(evaluated.mean()) > 1e-3


@pytest.mark.parametrize("kind", [EarlyFusionRegressor, LateFusionRegressor])
@pytest.mark.parametrize("several", [False, True])
def test_regressors_stop_early(kind, several):
    y = np.column_stack([NUMBERS, -NUMBERS]) if several else NUMBERS
    trees = XGBRegressor(early_stopping_rounds=3, **FEW)
    model = kind(MODALITIES, estimator=trees, random_state=0).fit(X, y)
    assert np.corrcoef(model.predict(X).T, np.atleast_2d(y.T))[0, -1] ** 2 > 0.3


@pytest.mark.parametrize("loss", ["cox", "aft"])
@pytest.mark.parametrize("kind", [EarlyFusionSurvival, LateFusionSurvival])
def test_survival_trees_stop_early(kind, loss):
    trees = XGBoostSurvival(
        loss, n_estimators=300, learning_rate=0.5, early_stopping_rounds=3
    )
    model = kind(MODALITIES, estimator=trees, cv=2, random_state=0)
    model.fit(X, TIMES, groups=GROUPS)
    fitted = (
        model.estimator_ if kind is EarlyFusionSurvival else model.modalities_[0][1][-1]
    )
    assert fitted.booster_.num_boosted_rounds() < 100
    assert model.score(X, TIMES) > 0.6


def test_survival_trees_alone_ask_for_validation_rows():
    trees = XGBoostSurvival(early_stopping_rounds=3)
    with pytest.raises(ValueError, match="eval_set"):
        trees.fit(X, TIMES)
    trees.fit(X[:120], TIMES[:120], eval_set=[(X[120:], TIMES[120:])])
    assert trees.booster_.num_boosted_rounds() < 200


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_too_few_rows_are_told_and_fitted_without(kind):
    trees = XGBClassifier(early_stopping_rounds=3, n_estimators=7)
    model = kind(MODALITIES, estimator=trees, random_state=0)
    with pytest.warns(UserWarning, match="30 rows are too few"):
        model.fit(X[:30], Y[:30])
    fitted = (
        model.estimator_
        if kind is EarlyFusionClassifier
        else model.modalities_[0][1][-1]
    )
    assert fitted.get_booster().num_boosted_rounds() == 7


def test_a_fraction_of_0_switches_it_off():
    trees = XGBClassifier(early_stopping_rounds=3, n_estimators=7)
    model = EarlyFusionClassifier(MODALITIES, estimator=trees, validation_fraction=0)
    model.fit(X, Y)
    assert model.estimator_.get_booster().num_boosted_rounds() == 7
    assert trees.early_stopping_rounds == 3
    with pytest.raises(ValueError, match="validation_fraction"):
        model.set_params(validation_fraction=1.5).fit(X, Y)


@pytest.mark.parametrize(
    "outer",
    [
        GridSearchCV(XGBClassifier(early_stopping_rounds=3), {"max_depth": [2]}),
        CalibratedClassifierCV(XGBClassifier(early_stopping_rounds=3)),
    ],
)
@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_trees_inside_another_estimator_are_refused_in_words(kind, outer):
    with pytest.raises(ValueError, match=rf"{type(outer).__name__} passes none to it"):
        kind(MODALITIES, estimator=outer).fit(X, Y)


def test_a_search_over_the_fusion_is_the_remedy():
    trees = XGBClassifier(early_stopping_rounds=3, **FEW)
    model = EarlyFusionClassifier(MODALITIES, estimator=trees, random_state=0)
    search = GridSearchCV(model, {"estimator__max_depth": [1, 2]}, cv=2).fit(X, Y)
    assert search.best_score_ > 0.7


def test_model_features_stop_early():
    features = ModelFeatures(XGBClassifier(early_stopping_rounds=3, **FEW), cv=2)
    assert features.fit_transform(X, Y, groups=GROUPS).shape == (N, 1)
    assert features.estimator_.best_iteration < 100


def test_labels_stop_one_by_one():
    lightgbm = pytest.importorskip("lightgbm")
    trees = lightgbm.LGBMClassifier(early_stopping_round=3, verbose=-1, **FEW)
    y = np.column_stack([Y, X["b"] > 0]).astype(int)
    model = EarlyFusionClassifier(MODALITIES, estimator=trees, random_state=0)
    stopped = [one.best_iteration_ for one in model.fit(X, y).estimator_.estimators_]
    assert len(stopped) == 2
    assert max(stopped) < 100


@pytest.mark.parametrize("alias", ["early_stopping_round", "n_iter_no_change"])
@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_lightgbm_stops_early(kind, alias):
    lightgbm = pytest.importorskip("lightgbm")
    trees = lightgbm.LGBMClassifier(**{alias: 3}, verbose=-1, **FEW)
    model = kind(MODALITIES, estimator=trees, class_weight="balanced", random_state=0)
    model.fit(X, np.array(["no", "yes"])[Y], groups=GROUPS)
    fitted = (
        model.estimator_
        if kind is EarlyFusionClassifier
        else model.modalities_[0][1][-1]
    )
    assert 0 < fitted.best_iteration_ < 100
    with pytest.warns(UserWarning, match="too few"):
        model.fit(X[:30], Y[:30])


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_catboost_stops_early(kind):
    catboost = pytest.importorskip("catboost")
    trees = catboost.CatBoostClassifier(
        iterations=300,
        learning_rate=0.5,
        early_stopping_rounds=3,
        verbose=0,
        allow_writing_files=False,
    )
    model = kind(MODALITIES, estimator=trees, class_weight="balanced", random_state=0)
    model.fit(X, Y, groups=GROUPS)
    fitted = (
        model.estimator_
        if kind is EarlyFusionClassifier
        else model.modalities_[0][1][-1]
    )
    assert fitted.tree_count_ < 100


@pytest.mark.parametrize("weight", [None, "balanced"])
def test_catboost_stops_early_with_categories(weight):
    catboost = pytest.importorskip("catboost")
    rng = np.random.default_rng(0)
    table = X.assign(ward=np.where(rng.random(N) < 0.2 + 0.6 * Y, "A", "B"))
    trees = catboost.CatBoostClassifier(
        iterations=300,
        learning_rate=0.5,
        early_stopping_rounds=3,
        cat_features=("ward",),
        verbose=0,
        allow_writing_files=False,
    )
    members = [("a", trees, ["a", "ward"]), *MODALITIES[1:]]
    model = LateFusionClassifier(members, class_weight=weight, random_state=0)
    member = model.fit(table, Y, groups=GROUPS).modalities_[0][1]
    assert member.tree_count_ < 100
    assert member.feature_names_ == ["a", "ward"]
    assert member.feature_importances_[1] > 1  # per cent
