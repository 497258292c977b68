"""Patients, copies and caveats: what was warned of stands in the result."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import LATE, linear, make_cohort, modalities
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion.evaluation.comparison.comparison import plan_comparison
from skfusion.exceptions import DataWarning, LeakageWarning

ONCE = {"n_repeats": 1, "scoring": "roc_auc", "random_state": 0}


def memorable(n_patients=60, per_patient=4, seed=0):
    """Patients with a place of their own and a random outcome."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), per_patient)
    places = rng.normal(size=(n_patients, 4))[patient]
    X = pd.DataFrame(places + 0.1 * rng.normal(size=places.shape), columns=list("abcd"))
    y = rng.permutation(np.arange(n_patients) % 2)[patient]
    order = rng.permutation(len(y))
    return X.iloc[order].reset_index(drop=True), y[order], patient[order]


def neighbours(**settings):
    """A learner that knows patients again."""
    pair = [
        ("image", StandardScaler(), ["a", "b"]),
        ("ehr", StandardScaler(), ["c", "d"]),
    ]
    return EarlyFusionClassifier(pair, estimator=KNeighborsClassifier(3), **settings)


def recorded(*arguments, call=compare_fusion, **settings):
    """Return the result and the warnings of a comparison."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return call(*arguments, **{**ONCE, **settings}), caught


# -- repeated ids ----------


@pytest.mark.parametrize(
    "column",
    [
        *("patient_id", "SUBJECT_ID", "PatientID", "Patient ID", "mrn", "study-id"),
        *("study", "Exam", "patientNumber", "Subject No.", "StudyInstanceUID"),
    ],
)
@pytest.mark.long
def test_repeated_ids_without_groups_are_grouped(column):
    X, y, patient = memorable()
    X[column] = [f"P{number}" for number in patient]
    result, (warning,) = recorded({"early": neighbours()}, X, y)
    text = str(warning.message)
    assert f"Column {column!r} looks like a patient id and repeats" in text
    assert "240 rows, 60 values" in text
    assert issubclass(warning.category, (LeakageWarning, DataWarning))
    assert warning.filename == __file__
    assert any(text in note for note in result.notes_)
    assert text in result.summary()
    assert result.cohort_["n_patients"] == 60
    for _, part in result.predictions_.groupby(patient[result.predictions_["row"]]):
        assert part["fold"].nunique() == 1
    assert (result.scores_["estimate"] < 0.75).all()
    assert result.verdict_.outcome != "helps"


def test_the_warning_stands_on_the_page(tmp_path):
    X, y, patient = memorable()
    X["patient_id"] = patient
    result, _ = recorded({"early": neighbours()}, X, y, cv=3)
    result.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "looks like a patient id and repeats" in page
    assert "grouped by patient" in page


def test_a_list_of_modalities_is_grouped_too():
    X, y = make_cohort(60)
    result, (warning,) = recorded(modalities(), X, y, strategies=LATE)
    assert "'patient_id' looks like a patient id" in str(warning.message)
    given = recorded(modalities(), X, y, strategies=LATE, groups="patient_id")
    pd.testing.assert_frame_equal(result.predictions_, given[0].predictions_)
    assert given[1] == []


def test_rows_can_be_declared_independent():
    X, y, patient = memorable()
    X["patient_id"] = patient
    groups = range(len(X))
    result, caught = recorded({"early": neighbours()}, X, y, groups=groups)
    assert caught == []
    assert result.cohort_["n_patients"] == 240
    assert result.scores_["estimate"].iloc[-1] > 0.9  # the leak that was asked for


def test_two_id_columns_that_repeat_are_refused():
    X, y, patient = memorable()
    X["mrn"], X["study_id"] = patient, patient // 2
    with pytest.raises(
        ValueError, match=r"\['mrn', 'study_id'\] look like ids and rep"
    ):
        compare_fusion({"early": neighbours()}, X, y, **ONCE)
    # One of them is the patient's, and the other a finer unit.
    X["patient_id"] = patient // 2
    result, caught = recorded({"early": neighbours()}, X, y)
    assert "'patient_id'" in str(caught[0].message)
    assert result.cohort_["n_patients"] == 30


def test_ids_that_do_not_repeat_are_no_groups():
    X, y, _ = memorable()
    X["patient_id"] = np.arange(len(X))
    plan, caught = recorded({"early": neighbours()}, X, y, call=plan_comparison)
    assert plan.study.groups is None
    assert caught == []


@pytest.mark.parametrize(
    "wrap",
    [
        lambda fusion: fusion,
        lambda fusion: make_pipeline("passthrough", fusion),
    ],
)
def test_estimators_of_a_dict_name_the_patients(wrap):
    X, y, patient = memorable()
    X["who"] = patient
    result, caught = recorded({"early": wrap(neighbours(groups="who"))}, X, y)
    assert caught == []
    assert result.cohort_["n_patients"] == 60
    assert result.scores_["estimate"].max() < 0.75


def test_estimators_that_name_different_patients_are_refused():
    X, y, patient = memorable()
    X["who"], X["house"] = patient, patient // 2
    given = {"a": neighbours(groups="who"), "b": neighbours(groups="house")}
    with pytest.raises(ValueError, match=r"name 2 different columns .*'house', 'who'"):
        compare_fusion(given, X, y, **ONCE)
    given["b"] = neighbours()
    plan = plan_comparison(given, X, y, **ONCE)
    assert plan.study.n_patients(np.arange(len(X))) == 60


# -- copies without ids ----------


@pytest.mark.parametrize("times", [2, 3])
def test_copies_of_rows_are_warned_of(times):
    X, y, _ = memorable(per_patient=1, n_patients=90)
    X, y = pd.concat([X] * times, ignore_index=True), np.tile(y, times)
    result, (warning,) = recorded({"early": neighbours()}, X, y)
    n = 90 * (times - 1)
    assert f"{n} of {90 * times} rows are copies of another row" in str(warning.message)
    assert warning.category is LeakageWarning
    assert any("copies of another row" in note for note in result.notes_)
    assert "copies of another row" in result.verdict_.details


def test_copies_that_differ_in_columns_of_no_modality():
    X, y, _ = memorable(per_patient=1, n_patients=60)
    X, y = pd.concat([X, X], ignore_index=True), np.tile(y, 2)
    X["row_number"] = np.arange(120)
    _, caught = recorded({"early": neighbours()}, X, y, call=plan_comparison)
    plan, _ = recorded({"early": neighbours()}, X, y, call=plan_comparison)
    assert caught == []
    assert ["60 of 120 rows are copies" in text for text, _ in plan.warnings] == [True]
    # With the patients, copies stay together.
    groups = np.tile(np.arange(60), 2)
    plan = plan_comparison({"early": neighbours()}, X, y, groups=groups, **ONCE)
    assert plan.warnings == []


def test_rows_of_a_few_categories_are_no_copies():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.integers(0, 3, size=(120, 4)), columns=list("abcd"))
    y = rng.integers(0, 2, 120)
    plan = plan_comparison({"early": neighbours()}, X, y, **ONCE)
    assert plan.warnings == []


# -- caveats ----------


def test_the_caveat_of_a_data_set_is_on_the_page(tmp_path):
    X, y = make_cohort(60, per_patient=1)
    X.attrs["caveat"] = "The outcome is an opinion of the readers."
    result = compare_fusion({"early": linear()}, X, y, cv=3, **ONCE)
    result.to_html(tmp_path / "report.html")
    assert X.attrs["caveat"] in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_caveat_of_a_data_set_is_repeated():
    X, y = make_cohort(60, per_patient=1)
    X.attrs["caveat"] = "The outcome is an opinion of the readers."
    result = compare_fusion({"early": linear()}, X, y, cv=3, **ONCE)
    assert result.notes_ == [X.attrs["caveat"]]
    assert X.attrs["caveat"] in result.summary()


def test_a_description_takes_the_place_of_the_caveat():
    X, y = make_cohort(60, per_patient=1)
    text = "Scans of one hospital, without follow-up."
    plan = plan_comparison({"early": linear()}, X, y, description=text, **ONCE)
    assert plan.notes == [text]
    X.attrs["caveat"] = "Another one."
    plan = plan_comparison({"early": linear()}, X, y, description=text, **ONCE)
    assert plan.notes == [text]
    plan = plan_comparison({"early": linear()}, X.iloc[:50], y[:50], **ONCE)
    assert plan.notes == ["Another one."]  # also of a part of the cohort
    array = X.to_numpy()
    given = [("image", StandardScaler(), [0]), ("ehr", StandardScaler(), [1])]
    assert plan_comparison({"early": linear(given)}, array, y, **ONCE).notes == []


# -- predictions that are none ----------


class Saying(ClassifierMixin, BaseEstimator):
    """Predict what a function of the first column says."""

    def __init__(self, says=None):
        self.says = says

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return self.says(np.asarray(X, dtype=np.float64)[:, 0])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def two(p):
    return np.column_stack([1 - p, p])


BAD = {
    "above 1": (lambda x: two(1.5 + 0 * x), r"outside of \[0, 1\] in 24 of 24 rows"),
    "below 0": (lambda x: two(x), r"outside of \[0, 1\] in \d+ of 24 rows"),
    "NaN": (
        lambda x: two(np.where(np.arange(len(x)) < 3, np.nan, 0.5)),
        "missing or infinite in 3 rows",
    ),
    "infinite": (lambda x: two(np.inf + 0 * x), "missing or infinite in 24 rows"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("settings", [{}, {"test": 0.2}])
def test_predictions_that_are_no_probabilities_are_refused(name, settings):
    X, y = make_cohort(120, per_patient=1)
    says, message = BAD[name]
    message = f"compare_fusion, 'saying', fold 1: .*{message}"
    with pytest.raises(ValueError, match=message):
        compare_fusion({"saying": Saying(says)}, X, y, **ONCE, **settings)


def test_members_and_fusions_with_such_predictions_are_refused():
    X, y = make_cohort(120, per_patient=1)
    model = Saying(lambda x: two(1.5 + 0 * x))
    late = LateFusionClassifier(modalities(), estimator=model)
    with pytest.raises(ValueError, match="0 and 1|probab"):
        compare_fusion({"late": late}, X, y, **ONCE)


def test_rounding_errors_of_probabilities_are_accepted():
    X, y = make_cohort(60, per_patient=1)
    model = Saying(lambda x: two(np.where(x > 0, 1 + 1e-12, -1e-12)))
    result = compare_fusion({"saying": clone(model)}, X, y, cv=3, **ONCE)
    assert result.scores_["estimate"].notna().all()
