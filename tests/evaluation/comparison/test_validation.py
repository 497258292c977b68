"""Final estimators and external validation: the fitted models on another cohort."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import linear, make_cohort, modalities
from scipy.optimize import brentq
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.preprocessing import FunctionTransformer

from skfusion import LateFusionClassifier, compare_fusion
from skfusion.evaluation import calibration_summary, delong_test
from skfusion.evaluation.comparison import scoring
from skfusion.evaluation.statistics.auroc import auroc_interval
from skfusion.exceptions import DataWarning, LeakageWarning
from skfusion.splits import inner_folds

ONCE = {"n_repeats": 1, "cv": 3, "scoring": "roc_auc", "random_state": 0}
ARMS = ["image in early", "ehr in early", "image in late", "ehr in late"]
ARMS += ["early", "late"]


@pytest.fixture(scope="module")
def cohort():
    return make_cohort(100, noise=0.8)


@pytest.fixture(scope="module")
def external():
    """Other patients, by other numbers, of whom fewer are sick."""
    X, y = make_cohort(90, noise=0.8, seed=1)
    X["patient_id"] += 1000
    keep = np.flatnonzero((y == 0) | (np.arange(180) % 3 > 0))
    return X.iloc[keep], y[keep]


@pytest.fixture(scope="module")
def result(cohort):
    X, y = cohort
    given = {"early": linear(), "late": LateFusionClassifier(modalities())}
    return compare_fusion(given, X, y, groups="patient_id", **ONCE)


@pytest.fixture(scope="module")
def validated(result, external):
    return result.validate(*external)


# -- final estimators ----------


@pytest.mark.parametrize("name", ARMS)
def test_final_estimators_are_fitted_on_all_rows(result, cohort, external, name):
    X, y = cohort
    model = result.final_estimator(name)
    kept = {"image": ["lesion"], "ehr": ["age"]}.get(name.split()[0], ["lesion", "age"])
    means = X[kept].mean(), X[kept].std(ddof=0)
    Z, new = ((table[kept] - means[0]) / means[1] for table in (X, external[0]))
    if "early" in name:
        by_hand = LogisticRegression().fit(Z.to_numpy(), y)
        expected = by_hand.predict_proba(new.to_numpy())[:, 1]
        found = model.predict_proba(external[0])[:, 1]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    else:
        late = LateFusionClassifier(modalities(), random_state=0)
        late.fit(X, y, groups=X["patient_id"].to_numpy())
        members = late.encode_modalities(external[0])
        if name == "late":
            expected = late.predict_proba(external[0])[:, 1]
        else:
            expected = members[name.split()[0]][:, 1]
        found = model.predict_proba(external[0])[:, 1]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_final_estimator_of_a_search_is_tuned_on_all_rows(cohort):
    X, y = cohort
    X = X[["lesion", "age"]]
    search = GridSearchCV(linear(), {"estimator__C": [1e-6, 1.0]}, cv=GroupKFold(2))
    given = {"tuned": search}
    settings = {**ONCE, "cv": 2, "baselines": None}
    result = compare_fusion(given, X, y, groups=np.arange(len(X)), **settings)
    assert result.final_estimator("tuned").best_params_ == {"estimator__C": 1.0}


def test_unknown_strategies_have_no_final_estimator(result):
    with pytest.raises(ValueError, match=r"'joint' is not one of the strategies \['im"):
        result.final_estimator("joint")


# -- another cohort ----------


def test_scores_and_differences_are_those_of_the_final_estimators(
    result, external, validated
):
    X, y = external
    ids = X["patient_id"].to_numpy()
    p = {n: result.final_estimator(n).predict_proba(X)[:, 1] for n in ARMS}
    for name in ARMS:
        np.testing.assert_allclose(validated.predictions_[name], p[name])
    for row in validated.scores_.to_dict("records"):
        limits = auroc_interval(y, p[row["strategy"]], groups=ids)
        assert row["estimate"] == pytest.approx(roc_auc_score(y, p[row["strategy"]]))
        assert (row["low"], row["high"]) == pytest.approx((limits.low, limits.high))
    assert len(validated.differences_) == 2 * 4
    for row in validated.differences_.to_dict("records"):
        expected = delong_test(y, p[row["strategy"]], p[row["reference"]], groups=ids)
        assert row["estimate"] == pytest.approx(expected.difference)
        assert row["p"] == pytest.approx(expected.pvalue)
    assert (validated.n_rows, validated.n_patients) == (len(X), len(np.unique(ids)))
    details = validated.verdict_.details
    assert "About these fitted models, on 90 patients that none of them saw" in details
    assert "(DeLong, clustered by patient)" in details
    assert validated.notes_ == []


def test_calibration_is_that_of_the_predictions(external, validated):
    X, y = external
    table = validated.calibration_.set_index(["strategy", "method"])
    assert len(table) == 3 * len(ARMS)
    for name in ARMS:
        p = validated.predictions_[name].to_numpy()
        expected = calibration_summary(y, p, groups=X["patient_id"].to_numpy())
        row = table.loc[(name, "none")]
        for part in ("intercept", "slope", "in_the_large", "observed_expected"):
            value = getattr(expected, part)
            found = row[part], row[f"{part}_low"], row[f"{part}_high"]
            assert found == pytest.approx((value.estimate, value.low, value.high))
        assert row["brier"] == pytest.approx(brier_score_loss(y, p))


def recalibrated(y, p, ids, *, slope):
    """Recalibrate on the other folds, each step by another algorithm."""
    odds = logit(p)
    numbers = pd.factorize(ids)[0]
    folds = inner_folds(5, y, numbers, n_rows=len(y), random_state=0, owner="test")
    again = np.empty(len(y))
    for train, test in folds:
        assert not set(numbers[train]) & set(numbers[test])
        if slope:
            model = LogisticRegression(C=1e10, tol=1e-8, max_iter=1000)
            model.fit(odds[train, None], y[train])
            again[test] = model.predict_proba(odds[test, None])[:, 1]
        else:
            shift = brentq(
                lambda a, rows=train: expit(odds[rows] + a).mean() - y[rows].mean(),
                *(-10, 10),
            )
            again[test] = expit(odds[test] + shift)
    return again


@pytest.mark.parametrize("method", ["intercept", "intercept and slope"])
def test_recalibration_is_cross_fitted(external, validated, method):
    X, y = external
    ids = X["patient_id"].to_numpy()
    table = validated.calibration_.set_index(["strategy", "method"])
    for name in ("early", "ehr in late"):
        p = validated.predictions_[name].to_numpy()
        again = recalibrated(y, p, ids, slope=method != "intercept")
        expected = calibration_summary(y, again, groups=ids)
        row = table.loc[(name, method)]
        assert row["slope"] == pytest.approx(expected.slope.estimate, abs=1e-3)
        assert row["in_the_large"] == pytest.approx(
            expected.in_the_large.estimate, abs=1e-3
        )
        assert row["brier"] == pytest.approx(brier_score_loss(y, again), abs=1e-4)
        assert abs(row["in_the_large"]) < 0.1
    before = table.xs("none", level="method")["in_the_large"]
    assert (before < -0.05).all()  # fewer are sick than in the comparison


@pytest.mark.slow
def test_patients_are_those_of_the_column_of_the_comparison(result, external):
    X, y = external
    by_name = result.validate(X, y, groups="patient_id")
    by_ids = result.validate(X, y, groups=X["patient_id"].to_numpy())
    found = result.validate(X, y)
    for other in (by_name, by_ids):
        pd.testing.assert_frame_equal(found.scores_, other.scores_)
        assert other.n_patients == found.n_patients == 90
    apart = result.validate(X, y, groups=np.arange(len(X)))
    assert apart.n_patients == len(X)
    assert not found.scores_["low"].equals(apart.scores_["low"])


def test_repeated_patients_of_another_column_are_found(result, external):
    X, y = external
    renamed = X.rename(columns={"patient_id": "subject_id"})
    with pytest.warns(DataWarning, match="'subject_id' looks like a patient id"):
        found = result.validate(renamed, y)
    assert found.n_patients == 90
    assert "subject_id" in found.notes_[0]


COPIES = {
    "as they are": lambda X: X,
    "other ids": lambda X: X.assign(patient_id=X["patient_id"] + 1000),
    "single precision": lambda X: X.astype({"lesion": "float32", "age": "float32"}),
    "other order": lambda X: X[["age", "patient_id", "lesion"]].iloc[::-1],
    "another column": lambda X: X.assign(ward="north"),
}


@pytest.mark.parametrize("way", COPIES)
def test_copies_of_training_rows_are_warned_of(result, cohort, external, way):
    X, y = cohort
    rows = np.arange(0, 60)
    mixed = pd.concat([COPIES[way](X.iloc[rows]), external[0]])
    truth = np.r_[y[rows][::-1] if way == "other order" else y[rows], external[1]]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = result.validate(mixed, truth)
    assert {warning.category for warning in caught} == {LeakageWarning}
    texts = [str(warning.message) for warning in caught]
    assert sum("60 of" in t and "external rows are copies" in t for t in texts) == 1
    assert any("60 of" in note and "copies" in note for note in found.notes_)
    assert "leak" in found.verdict_.details
    same_ids = sum("have the id of a patient" in text for text in texts)
    assert same_ids == (0 if way == "other ids" else 1)


def test_patients_of_the_comparison_are_warned_of(result, cohort, external):
    # The same patients, seen again: no row is a copy.
    X, y = external
    ids = cohort[0]["patient_id"].unique()[:10]
    X = X.assign(patient_id=np.r_[np.repeat(ids, 2), X["patient_id"].iloc[20:]])
    with pytest.warns(LeakageWarning, match="10 of .* external patients have the id"):
        found = result.validate(X, y)
    assert "have the id of a patient" in found.notes_[0]


def test_columns_that_are_not_there_are_named(cohort, external):
    X, y = cohort
    X = X.assign(crp=X["age"] ** 2)
    given = [modalities()[0], ("ehr", FunctionTransformer(), ["age", "crp"])]
    result = compare_fusion({"early": linear(given)}, X, y, groups="patient_id", **ONCE)
    with pytest.raises(ValueError, match="'crp'"):
        result.validate(*external)


def test_an_absent_modality_is_allowed_and_predicts_the_average(cohort, external):
    X, y = external
    late = LateFusionClassifier(modalities())
    result = compare_fusion({"late": late}, *cohort, groups="patient_id", **ONCE)
    X = X.copy()
    X.iloc[:40, 0] = np.nan
    found = result.validate(X, y)
    np.testing.assert_allclose(
        found.predictions_["image in late"].iloc[:40], cohort[1].mean()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda y: np.where(y == 1, 2, 0),
            "classes of the comp.*1 of them unknown",
        ),
        (lambda y: np.ones_like(y), "one class only"),
        (lambda y: y[:-1], "entries but X has"),
        (lambda y: np.where(np.arange(len(y)) == 3, np.nan, y), "NaN, missing"),
        (lambda y: np.arange(len(y)) % 3, "must have the 2 classes"),
    ],
)
def test_refused_outcomes(result, external, change, message):
    X, y = external
    with pytest.raises(ValueError, match=message):
        result.validate(X, change(y))


def test_claims_of_the_comparison_hold_for_the_validation(cohort, external):
    X, y = cohort
    given = {"early": linear(), "late": LateFusionClassifier(modalities())}
    result = compare_fusion(
        given, X, y, groups="patient_id", primary="late", margin=0.5, **ONCE
    )
    found = result.validate(*external)
    tests = found.tests_.set_index("strategy")
    assert tests.loc["early", "outcome"] == "secondary"
    assert tests.loc["late", "outcome"] in ("helps", "equivalent")


def test_gains_of_both_cohorts_stand_side_by_side(result, validated):
    gains = validated.gains_
    assert gains["strategy"].unique().tolist() == ["early", "late"]
    for row in gains.to_dict("records"):
        for name, table in (
            ("development", result.differences_),
            ("external", validated.differences_),
        ):
            own = table[
                (table["strategy"] == row["strategy"])
                & (table["reference"] == row["reference"])
            ].iloc[0]
            limits = (row[name], row[f"{name}_low"], row[f"{name}_high"])
            assert limits == (own["estimate"], own["low"], own["high"])
    assert str(gains["development"].round(3).iloc[0]) in str(validated)
    assert validated.verdict_.headline in str(validated)


def test_another_best_single_modality_is_told(result, external):
    X, y = external
    # The other modality of the references of the comparison is the better one here.
    known = result.tests_.set_index("strategy")["reference"]
    weak = {"image": "lesion", "ehr": "age"}[known["late"].split()[0]]
    X = X.copy()
    X[weak] = np.random.default_rng(0).normal(size=len(X))
    found = result.validate(X, y)
    gains = found.gains_.set_index(["strategy", "best_in"])
    assert gains.loc[("late", "comparison"), "reference"] == known["late"]
    here = found.tests_.set_index("strategy").loc["late", "reference"]
    assert gains.loc[("late", "external"), "reference"] == here != known["late"]
    assert "The best single modality of the comparison was another one" in (
        found.verdict_.details
    )


def test_positive_class_and_other_scores(cohort, external, monkeypatch):
    monkeypatch.setattr(scoring, "N_RESAMPLES", 100)
    X, y = cohort
    settings = {**ONCE, "scoring": ["average_precision", "brier"]}
    coded = np.where(y == 1, "cancer", "normal")
    result = compare_fusion(
        {"early": linear()},
        X,
        coded,
        groups="patient_id",
        pos_label="cancer",
        **settings,
    )
    truth = np.where(external[1] == 1, "cancer", "normal")
    found = result.validate(external[0], truth)
    p = found.predictions_["early"]
    assert roc_auc_score(external[1], p) > 0.6
    scores = found.scores_.set_index(["strategy", "metric"])["estimate"]
    assert scores["early", "brier"] == pytest.approx(((p - external[1]) ** 2).mean())
    table = found.calibration_.set_index(["strategy", "method"])
    assert table.loc[("early", "none"), "brier"] == pytest.approx(
        scores["early", "brier"]
    )


def test_other_outcomes_have_no_calibration(external, monkeypatch):
    monkeypatch.setattr(scoring, "N_RESAMPLES", 50)
    X, _ = make_cohort(80, per_patient=1)
    new, _ = make_cohort(60, per_patient=1, seed=4)
    three = (np.digitize(table.sum(axis=1), [-0.7, 0.7]) for table in (X, new))
    y, truth = three
    settings = {**ONCE, "baselines": None}
    result = compare_fusion({"early": linear()}, X, y, **settings)
    found = result.validate(new, truth)
    assert found.calibration_.empty
    assert found.scores_["estimate"].iloc[0] > 0.7
    labels = np.column_stack([X["lesion"] > 0, X["age"] > 0]).astype(int)
    result = compare_fusion({"early": linear()}, X, labels, **settings)
    truth = np.column_stack([new["lesion"] > 0, new["age"] > 0]).astype(int)
    found = result.validate(new, truth)
    assert found.scores_["estimate"].iloc[0] > 0.9
    assert found.verdict_.outcome == "untested"
    assert found.gains_.empty
    assert "untested" in str(found)
