"""Patients are known at every entry point, whatever is around the fusion."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import EarlyFusionClassifier, ModalityImportance
from skfusion.exceptions import LeakageWarning
from skfusion.inspection import ModalityDisplay
from skfusion.inspection.modalities.patients import find_patients

MODALITIES = [
    ("image", StandardScaler(), ["c0", "c1", "c2", "c3"]),
    ("ehr", StandardScaler(), ["c4", "c5", "c6", "c7"]),
]


def null_cohort(n_patients=60, n_rows=4):
    """Rows that tell the patients apart, and outcomes by patient at random."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(n_patients, 8)), n_rows, axis=0)
    X = pd.DataFrame(centres + 0.1 * rng.normal(size=centres.shape))
    X = X.rename(columns=lambda i: f"c{i}")
    X["pid"] = np.repeat([f"P{i}" for i in range(n_patients)], n_rows)
    y = np.repeat(rng.permutation(np.arange(n_patients) % 2), n_rows)
    return X, y


def fusion(groups="pid"):
    return EarlyFusionClassifier(
        MODALITIES,
        estimator=KNeighborsClassifier(3),
        groups=groups,
        absence_copies=0,
    )


def renamed(frame):
    """A step that makes the column of patients."""
    return frame.rename(columns={"number": "pid"})


AROUND = {
    "fusion": lambda: fusion(),
    "pipeline": lambda: make_pipeline(FunctionTransformer(), fusion()),
    "search": lambda: GridSearchCV(fusion(), {"estimator__n_neighbors": [3]}, cv=2),
    "calibrated": lambda: CalibratedClassifierCV(fusion(), cv=2, method="sigmoid"),
    "search of a pipeline": lambda: GridSearchCV(
        make_pipeline(FunctionTransformer(), fusion()), {}, cv=2
    ),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.slow
def test_null_outcomes_are_not_predicted_by_refits(around):
    X, y = null_cohort()
    model = AROUND[around]().fit(X[:120], y[:120])
    importance = ModalityImportance(model, background=X[:120])
    found = importance.refit(X, y, cv=3)
    assert found.coalition_scores.max() < 0.72
    assert found.n_patients == 60
    if around != "fusion":
        return
    explicit = importance.refit(X, y, cv=3, groups="pid")
    pd.testing.assert_frame_equal(found.to_frame(), explicit.to_frame())
    ids = importance.refit(X.drop(columns="pid"), y, cv=3, groups=X["pid"].to_numpy())
    pd.testing.assert_frame_equal(found.to_frame(), ids.to_frame())


def test_intervals_and_shares_are_those_of_patients():
    X, y = null_cohort()
    importance = ModalityImportance(
        fusion().fit(X[:120], y[:120]), background=X[:120], output="proba"
    )
    own = importance.score(X[120:], y[120:])
    assert own.method == "Obuchowski, by patient"
    given = importance.score(X[120:], y[120:], groups="pid")
    np.testing.assert_array_equal(own.low, given.low)
    assert (own.n_patients, own.n_cases) == (30, 120)
    assert importance.explain(X[120:]).patients.max() == 29


@pytest.mark.long
def test_training_cases_of_a_report_have_their_patients():
    X, y = null_cohort()
    importance = ModalityImportance(
        fusion().fit(X[:120], y[:120]),
        background=X[:120],
        n_background=10,
        output="proba",
    )
    how = {"n_repeats": 2, "cv": 3}
    ids = X["pid"][120:].to_numpy()
    found = importance.report(
        X[120:], y[120:], groups=ids, train=(X[:120], y[:120]), **how
    )
    assert found.retrain.n_patients == 30
    assert found.retrain.coalition_scores.max() < 0.8
    other = X[:120].rename(columns={"pid": "number"})
    unknown = pytest.warns(LeakageWarning, match="'pid', which X does not have")
    with unknown, pytest.raises(ValueError, match="pid"):
        importance.refit(other, y[:120])
    given = importance.report(
        X[120:], y[120:], train=(other, y[:120], X["pid"][:120]), **how
    )
    pd.testing.assert_frame_equal(found.to_frame(), given.to_frame())
    named = other.assign(who=X["pid"])
    held_out = X[120:].assign(who=X["pid"])
    with_name = importance.report(
        held_out, y[120:], groups="who", train=(named, y[:120]), **how
    )
    pd.testing.assert_frame_equal(found.to_frame(), with_name.to_frame())


def test_patients_that_nobody_knows_are_warned_of():
    X, y = null_cohort()
    X = X.rename(columns={"pid": "patient_id"})
    with pytest.warns(LeakageWarning, match="looks like a patient id"):
        model = fusion(groups=None).fit(X[:120], y[:120])
    importance = ModalityImportance(
        model, background=X[:120], n_background=5, output="proba"
    )
    entries = [
        lambda: importance.explain(X[120:]),
        lambda: importance.score(X[120:], y[120:]),
        lambda: importance.refit(X, y, cv=2),
        lambda: importance.report(X[120:], y[120:], cv=None, n_repeats=2),
    ]
    for entry in entries:
        with pytest.warns(LeakageWarning, match="'patient_id' looks like a patient"):
            entry()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importance.score(X[120:], y[120:], groups="patient_id")
    report_warned = pytest.warns(LeakageWarning, match="looks like a patient id")
    with report_warned:
        report = importance.report(X[120:], y[120:], cv=None, n_repeats=2)
    assert any("looks like a patient id" in text for text in report.pitfalls)


def test_ids_of_fit_that_are_not_given_again_are_warned_of():
    X, y = null_cohort()
    ids, X = X["pid"].to_numpy(), X.drop(columns="pid")
    model = fusion(groups=None).fit(X[:120], y[:120], groups=ids[:120])
    importance = ModalityImportance(
        model, background=X[:120], n_background=5, output="proba"
    )
    with pytest.warns(LeakageWarning, match="fitted with patient ids, but no groups"):
        importance.score(X[120:], y[120:])
    importance.score(X[120:], y[120:], groups=ids[120:])


def test_columns_that_a_step_makes_and_positions():
    X, y = null_cohort()
    other = X.rename(columns={"pid": "number"})
    model = make_pipeline(FunctionTransformer(renamed), fusion()).fit(other, y)
    assert find_patients(None, other, model).numbers.max() == 59
    table = X.drop(columns="pid").assign(pid=np.repeat(np.arange(60), 4)).to_numpy()
    triples = [("image", StandardScaler(), [0, 1]), ("ehr", StandardScaler(), [4, 5])]
    model = EarlyFusionClassifier(triples, estimator=LogisticRegression(), groups=8)
    assert find_patients(None, table, model.fit(table, y)).numbers.max() == 59
    calibrated = CalibratedClassifierCV(fusion(), cv=2)
    assert find_patients(None, X, calibrated).numbers.max() == 59


def test_plain_models_with_a_column_of_ids():
    X, y = null_cohort()
    features = X.drop(columns="pid")
    plain = LogisticRegression().fit(features[:120], y[:120])
    columns = {"image": list(features.columns[:4]), "ehr": list(features.columns[4:])}
    without = ModalityImportance(plain, modalities=columns, background=features[:120])
    expected = without.score(features[120:], y[120:], groups=X["pid"][120:])
    for background in (X[:120], features[:120]):
        importance = ModalityImportance(
            plain, modalities=columns, background=background
        )
        found = importance.score(X[120:], y[120:], groups="pid")
        np.testing.assert_array_equal(found.low, expected.low)
        explained = importance.explain(X[120:], groups="pid")
        assert explained.patients.max() == 29
        report = importance.report(
            X[120:], y[120:], groups="pid", train=(X[:120], y[:120]), cv=2, n_repeats=2
        )
        assert report.retrain.n_patients == 30
    table = X.assign(pid=np.repeat(np.arange(60), 4)).to_numpy()
    places = {"image": [0, 1, 2, 3], "ehr": [4, 5, 6, 7]}
    array = LogisticRegression().fit(table[:120, :8], y[:120])
    importance = ModalityImportance(array, modalities=places, background=table[:120])
    found = importance.score(table[120:], y[120:], groups=8)
    np.testing.assert_allclose(found.low, expected.low)


def test_one_patient_can_be_explained_but_not_scored():
    X, y = null_cohort()
    y = np.resize([0, 1], len(y))
    importance = ModalityImportance(fusion().fit(X[:120], y[:120]), background=X[:120])
    assert len(importance.explain(X[120:124]).values) == 4
    with pytest.raises(ValueError, match="all 4 cases belong to one patient"):
        importance.score(X[120:124], y[120:124])


@pytest.mark.filterwarnings("ignore:The predicted probability is 0 or 1")
def test_displays_know_the_patients():
    pytest.importorskip("matplotlib")
    X, y = null_cohort()
    model = fusion().fit(X[:120], y[:120])
    given = {"background": X[:120], "n_background": 5}
    own = ModalityDisplay.from_estimator(model, X[120:], **given)
    assert own.explanation.patients.max() == 29
    other = X.rename(columns={"pid": "patient_id"})
    named = ModalityDisplay.from_estimator(
        fusion("patient_id").fit(other[:120], y[:120]),
        other[120:],
        groups="patient_id",
        **{**given, "background": other[:120]},
    )
    assert named.explanation.patients.max() == 29
