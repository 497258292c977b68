"""Importance of estimators around fusions: calibrated, thresholded, frozen, voting."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    JointFusionClassifier,
    LateFusionClassifier,
    ModalityImportance,
    explain_features,
)
from skfusion.inspection.models import TableModel

MODALITIES = [
    ("image", StandardScaler(), ["a", "b"]),
    ("ehr", StandardScaler(), ["c", "d"]),
]
COLUMNS = {"image": ["a", "b"], "ehr": ["c", "d"]}


def cohort(n_rows=240, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_rows, 4)), columns=list("abcd"))
    X["pid"] = np.repeat(np.arange(n_rows // 2), 2)
    y = X["a"] + 0.7 * X["c"] + rng.normal(size=n_rows) > 0
    return X, y.to_numpy().astype(int)


def early(**options):
    given = {"estimator": LogisticRegression(), "absence_copies": 0, **options}
    return EarlyFusionClassifier(MODALITIES, groups="pid", **given)


def late():
    return LateFusionClassifier(MODALITIES, groups="pid")


X, y = cohort()
AROUND = {
    "calibrated early": lambda: CalibratedClassifierCV(early(), cv=3),
    "calibrated late": lambda: CalibratedClassifierCV(late(), cv=2, method="isotonic"),
    "calibrated joint": lambda: CalibratedClassifierCV(
        JointFusionClassifier(MODALITIES, groups="pid", max_epochs=2, random_state=0),
        cv=2,
    ),
    "without ensemble": lambda: CalibratedClassifierCV(early(), cv=3, ensemble=False),
    "prefit": lambda: CalibratedClassifierCV(FrozenEstimator(late().fit(X, y))),
    "tuned threshold": lambda: TunedThresholdClassifierCV(early(), cv=2),
    "fixed threshold": lambda: FixedThresholdClassifier(early(), threshold=0.7),
    "frozen": lambda: FrozenEstimator(early().fit(X[:160], y[:160])),
    "voting": lambda: VotingClassifier(
        [("early", early()), ("late", late())], voting="soft", weights=[2, 1]
    ),
    "stacked": lambda: StackingClassifier([("early", early()), ("late", late())], cv=2),
    "pipeline": lambda: make_pipeline(
        FunctionTransformer(lambda X: X.assign(a=2 * X["a"])),
        CalibratedClassifierCV(early(), cv=2),
    ),
    "search": lambda: GridSearchCV(CalibratedClassifierCV(late(), cv=2), {}, cv=2),
}


@pytest.mark.filterwarnings("ignore:.*equal to rows that the model was fitted on")
@pytest.mark.filterwarnings("ignore:The predicted probability is 0 or 1")
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.long
def test_the_game_is_that_of_the_whole_estimator(around):
    model = AROUND[around]().fit(X[:160], y[:160])
    found = ModalityImportance(
        model, background=X[:160], n_background=7, output="proba"
    )
    explained = found.explain(X[160:])
    np.testing.assert_allclose(
        explained.predictions, model.predict_proba(X[160:])[:, 1], atol=1e-6
    )
    assert explained.patients.max() == 39
    # the same as a model of the table, of which every mixed row is predicted
    table = X.drop(columns="pid")
    if around == "pipeline":  # which is asked for its columns by TableModel
        return
    oracle = ModalityImportance(
        model, modalities=COLUMNS, background=X[:160], n_background=7, output="proba"
    )
    expected = oracle.explain(X[160:])
    np.testing.assert_allclose(explained.values, expected.values, atol=1e-6)
    assert list(oracle.explain(table[160:], groups=X["pid"][160:]).modalities) == [
        "image",
        "ehr",
    ]
    scored = found.score(X[160:], y[160:])
    assert scored.method == "Obuchowski, by patient"
    assert scored.estimate.sum() > 0.1


def test_voting_regressor_and_modalities_of_one_member_only():
    target = X["a"] + X["c"] + X["d"]
    members = [
        ("both", EarlyFusionRegressor(MODALITIES, estimator=Ridge())),
        ("ehr", EarlyFusionRegressor(MODALITIES[1:], estimator=Ridge())),
    ]
    table = X.drop(columns="pid")
    model = VotingRegressor(members).fit(table[:160], target[:160])
    found = ModalityImportance(model, background=table[:160]).explain(table[160:])
    np.testing.assert_allclose(found.predictions, model.predict(table[160:]))
    assert found.modalities == ("image", "ehr")


def test_transformed_targets():
    table = X.drop(columns="pid")
    target = np.exp(table["a"] + table["c"])
    fusion = EarlyFusionRegressor(MODALITIES, estimator=Ridge())
    model = TransformedTargetRegressor(fusion, func=np.log, inverse_func=np.exp)
    model.fit(table[:160], target[:160])
    importance = ModalityImportance(model, background=table[:160])
    found = importance.explain(table[160:])
    np.testing.assert_allclose(found.predictions, model.predict(table[160:]))
    assert importance.refit(table, target, cv=2).coalition_scores["image + ehr"] > 0.8


@pytest.mark.parametrize("kind", [TunedThresholdClassifierCV, FixedThresholdClassifier])
def test_scores_of_labels_apply_the_threshold(kind):
    options = {"threshold": 0.85} if kind is FixedThresholdClassifier else {}
    model = kind(early(), pos_label=1, **options) if options else kind(early())
    model.fit(X[:160], y[:160])
    for modalities in (None, COLUMNS):
        importance = ModalityImportance(
            model, modalities=modalities, background=X[:160], n_background=5
        )
        found = importance.score(X[160:], y[160:], scoring="accuracy", n_resamples=20)
        assert found.coalition_scores["image + ehr"] == pytest.approx(
            accuracy_score(y[160:], model.predict(X[160:]))
        )


def test_training_rows_of_the_folds_of_a_calibration_are_known():
    model = CalibratedClassifierCV(early(), cv=3).fit(X[:160], y[:160])
    importance = ModalityImportance(model, background=X[:160])
    with pytest.warns(UserWarning, match="160 of 160 cases are equal to rows"):
        importance.explain(X[:160].astype({"a": "float32"}))
    assert (
        importance.report(X[160:], y[160:], cv=None, n_repeats=2).provenance.words
        == "new rows"
    )


def test_estimators_that_cannot_be_taken_apart_are_refused():
    bagged = BaggingClassifier(late(), n_estimators=2)
    bagged.estimators_, bagged.classes_ = [], np.array([0, 1])
    with pytest.raises(TypeError, match="BaggingClassifier inside it is no fusion"):
        ModalityImportance(bagged).explain(X)
    mixed = VotingClassifier(
        [("late", late()), ("plain", LogisticRegression())], voting="soft"
    ).fit(X, y)
    with pytest.raises(TypeError, match="LogisticRegression inside it is no fusion"):
        ModalityImportance(mixed).explain(X)
    hard = VotingClassifier([("late", late()), ("early", early())]).fit(
        X[:160], y[:160]
    )
    with pytest.raises(TypeError, match="no predict_proba. Use voting='soft'"):
        ModalityImportance(hard).explain(X[160:])


def test_a_dict_of_columns_leaves_out_what_no_fusion_uses():
    model = CalibratedClassifierCV(early(), cv=2).fit(X, y)
    _, table = TableModel(model, COLUMNS).read(X.assign(extra=1))
    assert list(table) == list("abcd")
    with pytest.raises(ValueError, match=r"2 of 4 columns of X are in no modality"):
        TableModel(model, {"image": ["a", "b"]}).read(X)


@pytest.mark.long
def test_more_than_eight_modalities():
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(60, 9)), columns=list("abcdefghi"))
    outcome = (wide.sum(axis=1) > 0).astype(int)
    triples = [(f"m{j}", StandardScaler(), [c]) for j, c in enumerate(wide)]
    model = EarlyFusionClassifier(triples, estimator=LogisticRegression())
    model.fit(wide[:40], outcome[:40])
    refused = ModalityImportance(model, n_background=3)
    with pytest.raises(ValueError, match=r"max_exact=8 modalities.*max_exact=9"):
        refused.explain(wide[40:])
    given = {"background": wide[:3], "n_background": 3}
    exact = ModalityImportance(model, **given, max_exact=9).explain(wide[40:])
    assert exact.standard_errors is None
    sampled = ModalityImportance(model, **given, n_permutations=60)
    difference = np.abs(sampled.explain(wide[40:]).values - exact.values)
    assert difference.max() < 1e-8  # an additive model: every order gives the same


def test_features_of_frozen_and_thresholded_fusions_are_explained():
    pytest.importorskip("shap")
    fusion = early().fit(X[:160], y[:160])
    expected = explain_features(fusion, X[160:170], background=X[:160])
    frozen = FrozenEstimator(fusion)
    for model in (frozen, FixedThresholdClassifier(frozen).fit(X[:160], y[:160])):
        found = explain_features(model, X[160:170], background=X[:160])
        np.testing.assert_array_equal(found["ehr"].values, expected["ehr"].values)


@pytest.mark.filterwarnings("ignore:The predicted probability is 0 or 1")
@pytest.mark.filterwarnings("ignore:.*equal to rows that the model was fitted on")
@pytest.mark.filterwarnings("ignore:.*absent in .* of .*never in the training data")
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.slow
def test_features_of_every_estimator_around_fusions_are_explained(around):
    pytest.importorskip("shap")
    model = AROUND[around]().fit(X[:160], y[:160])
    new = X[160:172].copy()
    new.loc[new.index[:2], COLUMNS["image"]] = np.nan
    given = {"background": X[:160], "n_background": 8}
    if around == "pipeline":
        with pytest.raises(ValueError, match="a step before a fusion changes"):
            explain_features(model, new, **given)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = explain_features(model, new, **given)
    # Mixed rows are no cases, whose absences would be warned of.
    assert not [w for w in caught if "absent in 2 of 12" not in str(w.message)]
    assert list(found) == ["image", "ehr"]
    ehr = found["ehr"]
    assert ehr.feature_names == COLUMNS["ehr"]
    assert ehr.output == "log-odds of 1"
    inside = around in ("frozen", "tuned threshold", "fixed threshold")
    if not inside:  # the model inside is explained in closed form
        assert found["image"].rows.tolist() == list(range(2, 12))
    total = ehr.base_values + ehr.values.sum(axis=1)
    np.testing.assert_allclose(expit(total), model.predict_proba(new)[:, 1], atol=1e-6)
    # By brute force: every mixed row is predicted by the whole estimator.
    by_columns = explain_features(model, new, method="columns", **given)["ehr"]
    oracle = explain_features(
        model, new, modalities={"ehr": COLUMNS["ehr"]}, method="columns", **given
    )["ehr"]
    np.testing.assert_allclose(by_columns.values, oracle.values, atol=1e-5)
    if not inside:
        np.testing.assert_array_equal(ehr.values, by_columns.values)
        with pytest.raises(ValueError, match="does not support the learner"):
            explain_features(model, new, method="linear", **given)
    explanation = ModalityImportance(model, **given).explain(new)
    record = explanation.features("ehr", method="columns", n_background=8)
    np.testing.assert_allclose(record.values, by_columns.values)


def test_features_of_numbers_classes_and_absent_modalities():
    pytest.importorskip("shap")
    target = X["a"] + X["c"] + X["d"]
    members = [
        ("one", EarlyFusionRegressor(MODALITIES, estimator=Ridge(), groups="pid")),
        ("two", EarlyFusionRegressor(MODALITIES[1:], estimator=Ridge(), groups="pid")),
    ]
    model = VotingRegressor(members).fit(X[:160], target[:160])
    found = explain_features(model, X[160:170], background=X[:160])["ehr"]
    total = found.base_values + found.values.sum(axis=1)
    np.testing.assert_allclose(total, model.predict(X[160:170]), atol=1e-8)
    assert found.output == "prediction (unit of y)"
    three = np.array(["a", "b", "c"])[y + (X["c"] > 0.5).to_numpy()]
    model = CalibratedClassifierCV(early(), cv=2).fit(X[:160], three[:160])
    found = explain_features(model, X[160:170], background=X[:160])["ehr"]
    assert found.output_names == ["a", "b", "c"]
    one = found[..., "b"]
    total = one.base_values + one.values.sum(axis=1)
    expected = model.predict_proba(X[160:170])[:, 1]
    np.testing.assert_allclose(expit(total), expected, atol=1e-6)
    gone = X[160:170].assign(**dict.fromkeys(COLUMNS["image"], np.nan))
    with pytest.raises(ValueError, match="'image' is absent in all 10 rows"):
        explain_features(model, gone, background=X[:160])
    with pytest.raises(ValueError, match="not a modality of CalibratedClassifierCV"):
        explain_features(model, X[160:170], modalities=["scan"])
    with pytest.raises(ValueError, match="which CalibratedClassifierCV is not"):
        ModalityImportance(model, background=X[:160]).explain(X[160:]).share(
            method="treeshap_sum"
        )
