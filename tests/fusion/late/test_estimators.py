"""Late fusion: rules, members of their own, out-of-fold and patient-grouped."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_val_predict,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

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


@pytest.mark.filterwarnings("ignore:.*as a patient id has:UserWarning")
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


@pytest.mark.long
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


def test_late_fusions_nest():
    """Three rules over the same three slices, then a vote with clinical models."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 240)
    X = pd.DataFrame(rng.normal(size=(240, 5)), columns=["s1", "s2", "s3", "e1", "e2"])
    X += 0.7 * y[:, None]
    X["patient_id"] = rng.integers(0, 80, 240)
    X.loc[::4, "s2"] = None  # a part inside an inner fusion
    X.loc[::6, ["s1", "s2", "s3"]] = None  # all of it
    slices = [(name, StandardScaler(), [name]) for name in ("s1", "s2", "s3")]
    members = [
        (rule, LateFusionClassifier(slices, aggregation=rule), ["s1", "s2", "s3"])
        for rule in ("max", "mean", "vote")
    ]
    images = LateFusionClassifier(members, aggregation="vote")
    model = LateFusionClassifier(
        [
            ("images", images, ["s1", "s2", "s3"]),
            ("e1", LogisticRegression(), ["e1"]),
            ("e2", LogisticRegression(), ["e2"]),
        ],
        aggregation="vote",
        groups="patient_id",
        random_state=0,
    ).fit(X, y)
    assert roc_auc_score(y, model.predict_proba(X)[:, 1]) > 0.65
    # by hand: the vote of a vote
    inner = model.modalities_[0][1]
    ballots = [inner.predict(X.loc[[5]])] + [
        part.predict(X.loc[[5], [name]]) for name, part, _ in model.modalities_[1:]
    ]
    assert model.predict(X.loc[[5]])[0] == round(float(np.mean(ballots)))
    assert "images__max__s1" in model.get_params()


@pytest.mark.filterwarnings("ignore:.*as a patient id has:UserWarning")
def test_groups_and_weights_reach_an_inner_late_fusion():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(30), 4)
    X = pd.DataFrame({"p1": patients, "p2": patients, "patient_id": patients})
    y = rng.integers(0, 2, len(X))
    inner = LateFusionClassifier(
        [("one", Recorder(), ["p1"]), ("two", Recorder(), ["p2"])],
        aggregation="stacking",
    )
    outer = LateFusionClassifier(
        [("inner", inner, ["p1", "p2"]), ("alone", Recorder(), ["p1"])],
        aggregation="stacking",
        groups="patient_id",
        random_state=0,
    )
    Recorder.log.clear()
    outer.fit(X, y)
    # 5 outer folds and the whole, 5 inner folds each for two members; then the outer
    # folds ask all three
    assert len(Recorder.log) == 6 * 5 * 2 + 5 * 3
    for fitted_on, asked_about in Recorder.log:
        assert not fitted_on & asked_about


def test_row_weights_reach_an_inner_late_fusion(table):
    X, y, _ = table
    inner = LateFusionClassifier(
        [(name, StandardScaler(), [name]) for name in "ab"],
        estimator=LogisticRegression(),
        aggregation="bayes",
    )
    model = LateFusionClassifier(
        [("ab", inner, ["a", "b"]), ("cd", LogisticRegression(), ["c", "d"])]
    )
    weights = np.where(y == 1, 3.0, 1.0)
    found = model.fit(X, y, sample_weight=weights).transform(X)[:, 0]
    alone = clone(inner).fit(X[["a", "b"]], y, sample_weight=weights)
    np.testing.assert_allclose(found, alone.predict_proba(X[["a", "b"]])[:, 1])


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


@pytest.mark.slow
def test_the_meta_model_can_be_searched(table):
    X, y, groups = table
    model = LateFusionClassifier(
        MODALITIES,
        aggregation="stacking",
        final_estimator=LogisticRegression(),
        random_state=0,
    )
    grid = {"final_estimator__C": [1e-4, 1.0], "aggregation": ["stacking", "mean"]}
    search = GridSearchCV(model, grid, cv=StratifiedGroupKFold(3)).fit(
        X, y, groups=groups
    )
    assert len(search.cv_results_["params"]) == 4
    small, large = (
        clone(model).set_params(final_estimator__C=C).fit(X, y, groups=groups)
        for C in (1e-4, 1.0)
    )
    sizes = [np.abs(m.final_estimator_.coef_).max() for m in (small, large)]
    assert sizes[0] < 0.1 * sizes[1]


def test_a_meta_model_that_takes_nan_needs_no_fill(table):
    X, y, _ = table
    X = X.copy()
    X.loc[::3, ["a", "b"]] = np.nan
    model = LateFusionClassifier(
        MODALITIES,
        aggregation="stacking",
        final_estimator=HistGradientBoostingClassifier(max_iter=20),
        cv=3,
        random_state=0,
    ).fit(X, y)
    assert model.final_estimator_.n_features_in_ == 2  # and no flag beside
    odds = logit(model.transform(X))
    assert np.isnan(odds[::3, 0]).all()
    expected = model.final_estimator_.predict_proba(odds)
    np.testing.assert_allclose(model.predict_proba(X), expected)
    # never absent in training: NaN would mean nothing to the meta-model
    gone = X.copy()
    gone[["c", "d"]] = np.nan
    assert np.isfinite(model.predict_proba(gone.iloc[1:2])).all()


def test_xgboost_as_meta_model():
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    X = pd.DataFrame(y[:, None] + rng.normal(size=(200, 3)), columns=list("abc"))
    X.loc[::4, "a"] = np.nan
    final = xgboost.XGBRegressor(n_estimators=20, n_jobs=1)
    model = LateFusionRegressor(
        [(name, LinearRegression(), [name]) for name in X],
        aggregation="stacking",
        final_estimator=final,
        random_state=0,
    ).fit(X, y)
    assert model.final_estimator_.n_features_in_ == 3
    np.testing.assert_allclose(
        model.predict(X), model.final_estimator_.predict(model.transform(X))
    )
    assert model.score(X, y) > 0.4
