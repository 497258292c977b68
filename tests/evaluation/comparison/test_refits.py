"""Absent modalities and fewer patients: the same models, refitted and tested again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import linear, make_cohort, modalities
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.metrics import roc_auc_score

from skfusion import EarlyFusionRegressor, LateFusionClassifier, compare_fusion
from skfusion.datasets import drop_modality
from skfusion.evaluation.comparison.analyses import refits

PARTS = {"image": ["lesion"], "ehr": ["age"]}


def compare(given=None, *, y=None, **kwargs):
    X, target = make_cohort(80)
    settings = {"groups": "patient_id", "n_repeats": 2, "cv": 3, "random_state": 0}
    settings |= {"scoring": "roc_auc"} | kwargs
    given = {
        "early": linear(absence_copies=1),
        "late": LateFusionClassifier(modalities()),
    }
    return X, target, compare_fusion(given, X, target, **settings)


@pytest.fixture(scope="module")
def study():
    return compare()


def fold_scores(table, name):
    """Mean AUROC over the test sets, weighted by patients."""
    parts = [part for _, part in table.groupby("fold")]
    scores = [roc_auc_score(part["y"], part[name]) for part in parts]
    return np.average(scores, weights=[part["group"].nunique() for part in parts])


# -- absent modalities ----------


@pytest.mark.long
def test_without_a_row_removed_the_models_predict_as_before(study):
    _, _, result = study
    found = result.missing_curve("image", [0, 0.001], n_repeats=1)
    assert len(found) == 2 * len(result.strategies_)
    np.testing.assert_allclose(found["change"], 0, atol=1e-12)
    first = result.predictions_[result.predictions_["repeat"] == 0]
    for row in found[found["rate"] == 0].to_dict("records"):
        expected = fold_scores(first, row["strategy"])
        assert row["estimate"] == pytest.approx(expected)
        assert row["low"] < row["estimate"] < row["high"]


def test_scores_are_those_of_models_fitted_on_the_folds(study):
    X, y, result = study
    curve = result.missing_curve("image", [0.5], n_repeats=2)
    first = result.predictions_[result.predictions_["repeat"] == 0]
    means = []
    for draw in range(2):
        table = drop_modality(
            X, {"image": 0.5}, modalities=PARTS, allow_empty=True, random_state=draw
        )
        part = first[["row", "fold", "group", "y"]].copy()
        for fold in range(3):
            test = part["fold"] == fold
            rows = part.loc[test, "row"]
            train = part.loc[~test, "row"]
            model = clone(LateFusionClassifier(modalities(), random_state=0))
            model.fit(X.iloc[train], y[train], groups=X["patient_id"].iloc[train])
            p = model.predict_proba(table.iloc[rows])[:, 1]
            part.loc[test, "late"] = p
        means.append(fold_scores(part, "late"))
    late = curve[curve["strategy"] == "late"].iloc[0]
    assert late["estimate"] == pytest.approx(np.mean(means))
    assert late["change"] == pytest.approx(np.mean(means) - fold_scores(first, "late"))
    assert late["change_low"] < late["change"] < late["change_high"]


def test_single_modalities_without_and_with_the_modality(study):
    _, _, result = study
    curve = result.missing_curve("image", [0, 1]).set_index(["strategy", "rate"])
    assert curve.loc[("image in late", 1), "estimate"] == 0.5
    assert curve.loc[("image in early", 1), "estimate"] == 0.5
    for name in ("ehr in late", "ehr in early"):
        rows = curve.loc[name]
        assert rows["estimate"].nunique() == 1
        assert (rows["change_high"] == 0).all()
    # without the image, a late fusion is its other member
    assert curve.loc[("late", 1), "estimate"] == pytest.approx(
        curve.loc[("ehr in late", 1), "estimate"]
    )
    assert (curve["reason"] == "").all()
    assert curve.loc[("late", 1), "change_high"] < 0


@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_mechanisms_are_those_of_drop_modality(study, mechanism):
    _, _, result = study
    curve = result.missing_curve("image", [0.5], mechanism, n_repeats=1)
    assert set(curve["mechanism"]) == {mechanism}
    other = result.missing_curve("image", [0.5], n_repeats=1)
    assert (curve["estimate"] != other["estimate"]).any()


@pytest.mark.long
def test_strategies_without_support_of_absence_have_a_reason():
    X, y = make_cohort(80)
    result = compare_fusion(
        {
            "never": linear(absence_copies=0),
            "strict": linear(missing="error"),
            "trees": HistGradientBoostingClassifier(max_iter=5),
            "late": LateFusionClassifier(modalities(), missing="error"),
        },
        X,
        y,
        groups="patient_id",
        cv=2,
        n_repeats=1,
        scoring="roc_auc",
        random_state=0,
    )
    curve = result.missing_curve("ehr", [0, 0.5], n_repeats=1)
    curve = curve.set_index(["strategy", "rate"])
    reasons = {
        "never": "the model was never trained with the modality absent: use late fu",
        "strict": "the model does not predict rows without the modality",
        "trees": "it is unknown whether the estimator supports absent modalities",
        "late": "the model does not predict rows without the modality",
    }
    told = " ".join(curve["reason"])
    assert "absence_copies=1.0" in told
    assert "missing='auto'" in told
    for name, reason in reasons.items():
        assert curve.loc[(name, 0.5), "reason"].startswith(reason)
        assert curve.loc[(name, 0.5), "absent"] == 0.5
        assert np.isnan(
            curve.loc[(name, 0.5), ["estimate", "change"]].astype(float)
        ).all()
        assert curve.loc[(name, 0), "estimate"] > 0.5
        assert curve.loc[(name, 0), "reason"] == ""


@pytest.mark.parametrize("dtype", ["float64", "Float64"])
def test_the_share_of_absent_rows_counts_those_that_were_absent_before(dtype):
    X, y = make_cohort(80)
    X["lesion"] = X["lesion"].astype(dtype)
    X.iloc[:32, X.columns.get_loc("lesion")] = None
    result = compare_fusion(
        # The remedy that the reason of the table names for early fusion.
        {"early": linear(absence_copies=1.0)},
        X,
        y,
        groups="patient_id",
        cv=2,
        n_repeats=1,
        scoring="roc_auc",
        random_state=0,
    )
    curve = result.missing_curve("image", [0, 0.5, 1], n_repeats=1)
    curve = curve[curve["strategy"] == "early"]
    assert curve["absent"].tolist() == pytest.approx([0.2, 0.6, 1.0])
    assert curve["estimate"].notna().all()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modality": "scan"}, r"one of \('image', 'ehr'\), got 'scan'"),
        ({"modality": "ehr", "rates": [0.5, 2]}, "rates"),
        ({"modality": "ehr", "n_repeats": 0}, "n_repeats"),
        ({"modality": "ehr", "mechanism": "mxar"}, "mechanism"),
        ({"modality": "ehr", "score": "f1"}, "score must be one of"),
        ({"modality": "ehr", "strategies": ["middle"]}, "not one of the strategies"),
    ],
)
def test_arguments_of_a_missing_curve_are_checked(study, given, message):
    with pytest.raises(ValueError, match=message):
        study[2].missing_curve(**given)


# -- fewer patients ----------


def test_all_patients_give_the_scores_of_the_comparison(study):
    _, _, result = study
    curve = result.learning_curve([1])
    first = result.predictions_[result.predictions_["repeat"] == 0]
    for row in curve.to_dict("records"):
        assert row["estimate"] == pytest.approx(fold_scores(first, row["strategy"]))
    sizes = result.folds_[result.folds_["repeat"] == 0].drop_duplicates("fold")
    assert (curve["n_train"] == sizes["patients_train"].mean()).all()


def test_fewer_patients_are_whole_patients_of_both_classes(study):
    _, _, result = study
    curve = result.learning_curve([0.1, 0.5, 1], strategies=["late", "ehr in late"])
    late = curve[curve["strategy"] == "late"]
    assert late["fraction"].tolist() == [0.1, 0.5, 1]
    n_all = late["n_train"].iloc[-1]
    np.testing.assert_allclose(
        late["n_train"], [0.1 * n_all, 0.5 * n_all, n_all], atol=1
    )
    assert late["estimate"].nunique() == 3
    assert late["estimate"].between(0.5, 1).all()
    again = result.learning_curve([0.1, 0.5, 1], strategies=["late", "ehr in late"])
    pd.testing.assert_frame_equal(curve, again)


def test_fits_that_fail_have_a_reason():
    X, y = make_cohort(60, per_patient=1)
    result = compare_fusion(
        {"stacking": LateFusionClassifier(modalities(), aggregation="stacking", cv=5)},
        X,
        y,
        cv=2,
        n_repeats=1,
        scoring="roc_auc",
        random_state=0,
    )
    curve = result.learning_curve([0.1, 1], strategies=["stacking"])
    assert curve["reason"].tolist() == ["a fit failed with ValueError", ""]
    assert np.isnan(curve["estimate"].iloc[0])
    assert curve["estimate"].iloc[1] > 0.5


def test_fractions_are_checked(study):
    with pytest.raises(ValueError, match="fractions"):
        study[2].learning_curve([0, 1])


def test_a_numeric_outcome_has_both_curves():
    X, _ = make_cohort(60, per_patient=1)
    y = X.sum(axis=1) + np.random.default_rng(0).normal(size=60)
    early = EarlyFusionRegressor(
        modalities(), estimator=LinearRegression(), absence_copies=1
    )
    result = compare_fusion({"early": early}, X, y, cv=3, n_repeats=1, random_state=0)
    found = result.missing_curve("ehr", [0, 1], score="mae").set_index(
        ["strategy", "rate"]
    )
    assert found.loc[("early", 1), "change"] > 0
    curve = result.learning_curve([0.5, 1], score="mae")
    assert curve["estimate"].notna().all()


@pytest.mark.parametrize("mechanism", ["mar", "mnar"])
def test_a_bad_driver_is_refused_before_the_fits(study, mechanism, monkeypatch):
    monkeypatch.setattr(refits, "fit_split", None)
    with pytest.raises(ValueError, match="'height' is not a column of X"):
        study[2].missing_curve("image", [0.5], mechanism, driver="height")


@pytest.mark.long
def test_processes_give_the_same_curves(study):
    _, _, result = study
    parallel = replace(result, context_=replace(result.context_, n_jobs=2))
    for curve in (
        lambda r: r.missing_curve("image", [0, 0.5], n_repeats=2),
        lambda r: r.learning_curve([0.5, 1]),
    ):
        pd.testing.assert_frame_equal(curve(parallel), curve(result))
