"""Late fusion: rules, members of their own, out-of-fold and patient-grouped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC

from skfusion import LateFusionClassifier, LateFusionRegressor


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 120)
    X = pd.DataFrame(rng.normal(size=(120, 4)) + 0.8 * y[:, None], columns=list("abcd"))
    return X, y, rng.integers(0, 40, 120)


MODALITIES = [
    ("ab", StandardScaler(), ["a", "b"]),
    ("cd", StandardScaler(), ["c", "d"]),
]


def test_mean_is_the_mean_of_the_members(table):
    X, y, _ = table
    learner = LogisticRegression(C=0.3)
    model = LateFusionClassifier(MODALITIES, estimator=learner).fit(X, y)
    parts = [
        make_pipeline(StandardScaler(), learner).fit(X[cols], y).predict_proba(X[cols])
        for cols in (["a", "b"], ["c", "d"])
    ]
    np.testing.assert_allclose(model.predict_proba(X), np.mean(parts, axis=0))
    np.testing.assert_allclose(model.transform(X), np.stack(parts, axis=1)[:, :, 1])


@pytest.mark.parametrize("weights", [{"ab": 3, "cd": 1}, [3, 1]])
def test_given_weights(table, weights):
    X, y, _ = table
    model = LateFusionClassifier(MODALITIES, aggregation="weighted", weights=weights)
    fused = model.fit(X, y).predict_proba(X)[:, 1]
    np.testing.assert_allclose(fused, model.transform(X) @ [0.75, 0.25])


def test_learned_weights_leave_out_noise():
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    X = pd.DataFrame(
        {"good": y + rng.normal(0, 0.3, 300), "noise": rng.normal(size=300)}
    )
    modalities = [(name, LinearRegression(), [name]) for name in X]
    model = LateFusionRegressor(modalities, aggregation="weighted", random_state=0)
    assert model.fit(X, y).weights_[0] > 0.95


def test_stacking_learns_from_out_of_fold_log_odds(table):
    X, y, groups = table
    learner = LogisticRegression()
    folds = list(StratifiedGroupKFold(4).split(X, y, groups))
    final = LogisticRegression(C=0.7)
    model = LateFusionClassifier(
        MODALITIES,
        estimator=learner,
        aggregation="stacking",
        cv=folds,
        final_estimator=final,
    ).fit(X, y, groups=groups)
    odds = [
        cross_val_predict(
            make_pipeline(StandardScaler(), learner),
            X[cols],
            y,
            cv=folds,
            method="decision_function",
        )
        for cols in (["a", "b"], ["c", "d"])
    ]
    expected = LogisticRegression(C=0.7).fit(np.column_stack(odds), y)
    np.testing.assert_allclose(model.final_estimator_.coef_, expected.coef_, rtol=1e-5)


def test_stacking_bears_absent_members(table):
    X, y, _ = table
    X = X.copy()
    X.loc[::3, ["a", "b"]] = np.nan
    model = LateFusionClassifier(MODALITIES, aggregation="stacking", random_state=0)
    model.fit(X, y)
    # log-odds of two members, and a flag for the one that is absent in places
    assert model.final_estimator_.n_features_in_ == 3
    assert np.isfinite(model.predict_proba(X)).all()


class Recorder(ClassifierMixin, BaseEstimator):
    """A classifier that writes down which patients it was fitted on and asked about.

    The first column of its input is the patient's number.
    """

    log: list = []

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = set(np.asarray(X)[:, 0])
        return self

    def predict_proba(self, X):
        Recorder.log.append((self.seen_, set(np.asarray(X)[:, 0])))
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, X):
        return self.classes_[np.zeros(len(X), dtype=int)]


@pytest.mark.parametrize("by", ["column", "argument"])
def test_no_patient_is_on_both_sides_of_any_fold(by):
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 4)
    X = pd.DataFrame({"p1": patients, "p2": patients, "patient_id": patients})
    y = rng.integers(0, 2, len(X))
    model = LateFusionClassifier(
        [("one", Recorder(), ["p1"]), ("two", Recorder(), ["p2"])],
        aggregation="stacking",
        groups="patient_id" if by == "column" else None,
        random_state=0,
    )
    Recorder.log.clear()
    outer = StratifiedGroupKFold(3).split(X, y, patients)
    for train, test in outer:
        if by == "column":
            model.fit(X.iloc[train], y[train])
        else:
            frame = X.drop(columns="patient_id")
            model.fit(frame.iloc[train], y[train], groups=patients[train])
        model.predict_proba(X.iloc[test])
    # per outer fold: 5 inner folds and one prediction, for 2 members each
    assert len(Recorder.log) == 3 * (5 + 1) * 2
    for fitted_on, asked_about in Recorder.log:
        assert fitted_on
        assert asked_about
        assert not fitted_on & asked_about


def fingerprint_cohort(seed: int):
    """Images that give away the patient but not the label, and a modest real signal."""
    rng = np.random.default_rng(seed)
    n_patients, n_rows = 150, 4
    label = rng.integers(0, 2, 2 * n_patients)
    patient = np.repeat(np.arange(2 * n_patients), n_rows)
    y = label[patient]
    identity = rng.normal(size=(2 * n_patients, 16))
    image = identity[patient] + rng.normal(0, 0.1, (len(y), 16))
    ehr = (0.9 * label + rng.normal(size=2 * n_patients))[patient][:, None]
    X = pd.DataFrame(
        np.hstack([image, ehr]), columns=[f"i{j}" for j in range(16)] + ["e"]
    )
    X["patient_id"] = patient
    # Rows of a patient lie apart, as they do in a table sorted by date.
    order = rng.permutation(len(y))
    return X.iloc[order], y[order], patient[order] < n_patients


def test_grouped_stacking_beats_row_wise_stacking_on_new_patients():
    gains = []
    images = [f"i{j}" for j in range(16)]
    for seed in range(5):
        X, y, is_old = fingerprint_cohort(seed)
        members = [
            ("image", KNeighborsClassifier(5), images),
            ("ehr", LogisticRegression(), ["e"]),
        ]
        ours = LateFusionClassifier(
            members, aggregation="stacking", groups="patient_id", random_state=0
        ).fit(X[is_old], y[is_old])
        theirs = StackingClassifier(
            [
                (
                    name,
                    make_pipeline(ColumnTransformer([(name, "passthrough", cols)]), m),
                )
                for name, m, cols in members
            ],
            cv=5,
        ).fit(X[is_old], y[is_old])
        scores = [
            roc_auc_score(y[~is_old], m.predict_proba(X[~is_old])[:, 1])
            for m in (ours, theirs)
        ]
        gains.append(scores[0] - scores[1])
    assert min(gains) > 0
    assert np.mean(gains) > 0.05


def test_each_modality_can_have_an_estimator_of_its_own(table):
    X, y, _ = table
    model = LateFusionClassifier(
        [
            ("ab", KNeighborsClassifier(), ["a", "b"]),
            ("cd", StandardScaler(), ["c", "d"]),
        ]
    ).fit(X, y)
    kinds = [type(member).__name__ for _, member, _ in model.modalities_]
    assert kinds == ["KNeighborsClassifier", "Pipeline"]
    assert "ab__n_neighbors" in model.get_params()


def test_late_fusions_nest(table):
    X, y, groups = table
    inner = LateFusionClassifier(
        [(name, StandardScaler(), [name]) for name in "ab"], aggregation="vote"
    )
    model = LateFusionClassifier(
        [("images", inner, ["a", "b"]), ("cd", StandardScaler(), ["c", "d"])],
        aggregation="stacking",
        random_state=0,
    ).fit(X, y, groups=groups)
    assert [name for name, _, _ in model.modalities_[0][1].modalities_] == ["a", "b"]
    assert model.score(X, y) > 0.6


def test_same_model_whatever_n_jobs(table):
    X, y, groups = table
    fused = [
        LateFusionClassifier(
            MODALITIES, aggregation="stacking", n_jobs=n_jobs, random_state=0
        )
        .fit(X, y, groups=groups)
        .predict_proba(X)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*fused)


def test_settings_that_make_no_sense(table):
    X, y, _ = table
    with pytest.raises(ValueError, match="aggregation must be one of.*got 'median'"):
        LateFusionClassifier(MODALITIES, aggregation="median").fit(X, y)
    with pytest.raises(ValueError, match="aggregation must be one of.*got 'vote'"):
        LateFusionRegressor(MODALITIES, aggregation="vote").fit(X, y)
    with pytest.raises(ValueError, match="has no use for them"):
        LateFusionClassifier(MODALITIES, weights=[1, 2]).fit(X, y)
    for weights, words in (
        ([1, 2, 3], "2 numbers"),
        ([-1, 2], "0 or more"),
        ({"ab": 1}, "name every modality once"),
    ):
        model = LateFusionClassifier(
            MODALITIES, aggregation="weighted", weights=weights
        )
        with pytest.raises(ValueError, match=words):
            model.fit(X, y)
    with pytest.raises(TypeError, match="LinearSVC gives no probabilities"):
        LateFusionClassifier(MODALITIES, estimator=LinearSVC()).fit(X, y).predict(X)
    with pytest.raises(
        TypeError, match="KNeighborsClassifier does not support sample_w"
    ):
        LateFusionClassifier(
            MODALITIES, estimator=KNeighborsClassifier(), class_weight="balanced"
        ).fit(X, y)


def test_a_class_that_a_member_never_sees(table):
    X, y, _ = table
    X = X.copy()
    X.loc[y == 1, ["a", "b"]] = np.nan
    with pytest.raises(ValueError, match="modality 'ab'.*of 2 classes only 1 are left"):
        LateFusionClassifier(MODALITIES).fit(X, y)


def test_members_see_their_own_columns_only(table):
    X, y, _ = table
    seen = []
    spy = FunctionTransformer(lambda frame: seen.append(list(frame.columns)) or frame)
    LateFusionClassifier([("ab", spy, ["a", "b"]), MODALITIES[1]]).fit(X, y)
    assert set(map(tuple, seen)) == {("a", "b")}
