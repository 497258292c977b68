"""Patients and weights inside the estimators of a fusion, watched by a recording one.

No patient may be on both sides of an inner split, with scikit-learn's metadata routing
on and off, or a warning must count those who are.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import sklearn
from imblearn.pipeline import make_pipeline as make_sampling_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import (
    RFECV,
    SelectFromModel,
    SequentialFeatureSelector,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LassoCV,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeCV,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.exceptions import LeakageWarning
from skfusion.fusion import ModelFeatures

N_ROWS = 80
LOG: list[tuple[str, frozenset, object]] = []


class Recorder(ClassifierMixin, BaseEstimator):
    """Tree that records the rows it is fitted on and asked about."""

    def __init__(self, max_depth=2):
        self.max_depth = max_depth

    def fit(self, X, y, sample_weight=None):
        X = np.asarray(X)
        self.tree_ = DecisionTreeClassifier(max_depth=self.max_depth, random_state=0)
        self.tree_.fit(X, y, sample_weight=sample_weight)
        self.classes_ = self.tree_.classes_
        self.n_features_in_ = X.shape[1]
        self.feature_importances_ = self.tree_.feature_importances_
        self.rows_ = frozenset(X[:, 0])
        LOG.append(("fit", self.rows_, sample_weight))
        return self

    def predict_proba(self, X):
        X = np.asarray(X)
        LOG.append(("ask", self.rows_, frozenset(X[:, 0])))
        return self.tree_.predict_proba(X)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Unrouted(ClassifierMixin, BaseEstimator):
    """Meta-estimator that knows nothing of metadata routing."""

    def __init__(self, estimator=None):
        self.estimator = estimator

    def fit(self, X, y, **fit_params):
        self.estimator_ = clone(self.estimator).fit(X, y, **fit_params)
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X):
        return self.estimator_.predict_proba(X)

    def predict(self, X):
        return self.estimator_.predict(X)


rng = np.random.default_rng(0)
GROUPS = rng.permutation(np.repeat(np.arange(20), 4))
X = pd.DataFrame(
    {
        "a": rng.normal(size=N_ROWS),
        "b": rng.normal(size=N_ROWS),
        "ward": rng.choice(list("uvw"), N_ROWS),
    }
)
Y = (X["a"] + X["b"] + 0.5 * rng.normal(size=N_ROWS) > 0).to_numpy() * 1
WEIGHTS = np.where(Y, 3.0, 1.0)
PATIENT = {
    value: group
    for column in "ab"
    for value, group in zip(X[column], GROUPS, strict=True)
}
AS_IS = FunctionTransformer()
PLAIN = [("a", AS_IS, ["a"]), ("b", AS_IS, ["b"])]


def modalities_with(transformer):
    return [("a", transformer, ["a"]), ("b", AS_IS, ["b"])]


@pytest.fixture(autouse=True)
def _empty_log():
    LOG.clear()


def mixed_splits():
    """Count the held-out questions, and those that mix patients."""
    held_out = [
        (rows, asked)
        for kind, rows, asked in LOG
        if kind == "ask" and not rows <= asked and not asked <= rows
    ]
    mixed = [
        1
        for rows, asked in held_out
        if {PATIENT[v] for v in rows} & {PATIENT[v] for v in asked}
    ]
    return len(held_out), len(mixed)


COMPOSITIONS = {
    "calibrated": CalibratedClassifierCV(Recorder(), cv=5),
    "calibrated together": CalibratedClassifierCV(Recorder(), ensemble=False),
    "grid": GridSearchCV(Recorder(), {"max_depth": [1, 2]}, cv=4),
    "random": RandomizedSearchCV(Recorder(), {"max_depth": [1, 2]}, n_iter=1),
    "halving": HalvingGridSearchCV(
        Recorder(), {"max_depth": [1, 2]}, cv=3, min_resources=40
    ),
    "stacking": StackingClassifier(
        [("r", Recorder()), ("l", LogisticRegression())],
        final_estimator=CalibratedClassifierCV(LogisticRegression()),
    ),
    "threshold": TunedThresholdClassifierCV(Recorder()),
    "threshold on a share": TunedThresholdClassifierCV(Recorder(), cv=0.3),
    "grid of stacking of grid": GridSearchCV(
        StackingClassifier(
            [("r", Recorder()), ("g", GridSearchCV(Recorder(), {}, cv=3))],
            final_estimator=LogisticRegression(),
            cv=3,
        ),
        {},
        cv=3,
    ),
    "grid of calibrated": GridSearchCV(
        CalibratedClassifierCV(Recorder(), ensemble=False, cv=3), {}, cv=3
    ),
    "voting": VotingClassifier(
        [
            ("g", GridSearchCV(Recorder(), {}, scoring="roc_auc")),
            ("c", CalibratedClassifierCV(Recorder())),
        ],
        voting="soft",
    ),
    "bagging": BaggingClassifier(
        CalibratedClassifierCV(Recorder(), cv=2), n_estimators=2
    ),
    "grid of pipeline": GridSearchCV(
        make_pipeline(AS_IS, CalibratedClassifierCV(Recorder())), {}, cv=3
    ),
    "candidates": GridSearchCV(
        Pipeline([("t", AS_IS), ("m", Recorder())]),
        {"m": [Recorder(1), VotingClassifier([("r", Recorder())], voting="soft")]},
        cv=3,
    ),
    "candidates with folds": GridSearchCV(
        Pipeline([("t", AS_IS), ("m", CalibratedClassifierCV(Recorder(), cv=2))]),
        {"m": [CalibratedClassifierCV(Recorder(1), cv=c) for c in (2, 3)]},
        cv=3,
        error_score="raise",
    ),
    "candidate numbers of folds": GridSearchCV(
        CalibratedClassifierCV(Recorder()), {"cv": [2, 3]}, cv=3
    ),
    "elimination": make_pipeline(RFECV(Recorder(), cv=3), LogisticRegression()),
    "forward selection": make_pipeline(
        SequentialFeatureSelector(Recorder(), cv=3, n_features_to_select=1),
        LogisticRegression(),
    ),
    "one versus rest": OneVsRestClassifier(CalibratedClassifierCV(Recorder(), cv=3)),
    "given splitters": GridSearchCV(
        CalibratedClassifierCV(Recorder(), cv=GroupKFold(3)), {}, cv=GroupKFold(4)
    ),
    "search over boosting": GridSearchCV(
        AdaBoostClassifier(Recorder(), n_estimators=2), {}, cv=3
    ),
}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_no_patient_is_on_both_sides_of_an_inner_split(name, routing):
    model = EarlyFusionClassifier(PLAIN, estimator=COMPOSITIONS[name], random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, Y, groups=GROUPS)
        assert sklearn.get_config()["enable_metadata_routing"] is routing
    held_out, mixed = mixed_splits()
    assert held_out > 0
    assert mixed == 0


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_weights_reach_every_learner_inside_an_estimator(name, routing):
    model = EarlyFusionClassifier(PLAIN, estimator=COMPOSITIONS[name], random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, Y, groups=GROUPS, sample_weight=WEIGHTS)
    fits = [weights for kind, _, weights in LOG if kind == "fit"]
    assert fits
    assert all(weights is not None for weights in fits)
    assert mixed_splits()[1] == 0


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", ["grid", "stacking", "calibrated together"])
def test_members_of_late_fusion_are_split_by_patient(name, routing):
    model = LateFusionClassifier(
        [("a", AS_IS, ["a"]), ("b", LogisticRegression(), ["b"])],
        estimator=COMPOSITIONS[name],
        aggregation="stacking",
        cv=3,
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, Y, groups=GROUPS)
    held_out, mixed = mixed_splits()
    assert held_out > 5
    assert mixed == 0


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "transformer",
    [
        ColumnTransformer([("p", ModelFeatures(Recorder()), ["a"])]),
        FeatureUnion([("p", ModelFeatures(Recorder()))]),
        make_pipeline(FeatureUnion([("p", ModelFeatures(Recorder()))]), AS_IS),
        ColumnTransformer(
            [("p", make_pipeline(AS_IS, ModelFeatures(Recorder())), ["a"])]
        ),
    ],
)
def test_model_features_inside_transformers_get_patients(
    transformer, weighted, routing
):
    model = EarlyFusionClassifier(
        modalities_with(transformer), estimator=LogisticRegression()
    )
    weights = WEIGHTS if weighted else None
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, Y, groups=GROUPS, sample_weight=weights)
    held_out, mixed = mixed_splits()
    assert (held_out, mixed) == (5, 0)
    fits = [found for kind, _, found in LOG if kind == "fit"]
    assert all((found is not None) is weighted for found in fits)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    ("estimator", "shown"),
    [
        (GridSearchCV(Recorder(), {}, cv=KFold(4)), "GridSearchCV"),
        (
            AdaBoostClassifier(CalibratedClassifierCV(Recorder(), cv=3)),
            "CalibratedClassifierCV",
        ),
        (Unrouted(CalibratedClassifierCV(Recorder(), cv=3)), "CalibratedClassifierCV"),
        (
            VotingClassifier(
                [("s", StackingClassifier([("r", Recorder())], cv=KFold(3)))]
            ),
            "StackingClassifier",
        ),
        # The estimator of the search, a tree, takes no groups, so candidates get none.
        (
            GridSearchCV(
                BaggingClassifier(Recorder(), n_estimators=2),
                {"estimator": [CalibratedClassifierCV(Recorder(), cv=2)]},
                cv=3,
                error_score="raise",
            ),
            "CalibratedClassifierCV",
        ),
        (
            GridSearchCV(
                Pipeline([("m", Recorder())]),
                {
                    "m": [
                        GridSearchCV(
                            Pipeline([("k", Recorder())]),
                            {"k": [CalibratedClassifierCV(Recorder(), cv=2)]},
                            cv=2,
                        )
                    ]
                },
                cv=3,
                error_score="raise",
            ),
            r"CalibratedClassifierCV \(cv=2\), GridSearchCV",
        ),
    ],
)
def test_splits_of_rows_are_counted(estimator, shown, routing):
    model = EarlyFusionClassifier(PLAIN, estimator=estimator, random_state=0)
    with (
        sklearn.config_context(enable_metadata_routing=routing),
        pytest.warns(UserWarning, match=rf"\d+ of 20 patients have .* of {shown} \("),
    ):
        model.fit(X, Y, groups=GROUPS)
    assert mixed_splits()[1] > 0


@pytest.mark.parametrize("order", [1, -1])
def test_a_search_with_and_without_folds_among_its_candidates_counts(order):
    learners = [Recorder(), CalibratedClassifierCV(Recorder(), cv=3)][::order]
    search = GridSearchCV(
        Pipeline([("m", learners[0])]), {"m": learners}, cv=3, error_score="raise"
    )
    model = EarlyFusionClassifier(PLAIN, estimator=search, random_state=0)
    with pytest.warns(UserWarning, match=r"inner splits of CalibratedClassifierCV"):
        model.fit(X, Y, groups=GROUPS, sample_weight=WEIGHTS)
    assert all(weights is not None for kind, _, weights in LOG if kind == "fit")


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_own_scores_that_routing_refuses_are_replaced_by_their_metric(weights):
    # In scikit-learn 1.9, Pipeline.score fails with routing if its last step requests
    # no weights, as VotingClassifier does.
    voting = VotingClassifier([("r", Recorder())], voting="soft")
    scores = []
    for learner in (Recorder(), voting):
        search = GridSearchCV(
            make_pipeline(learner), {}, cv=GroupKFold(4), error_score="raise"
        )
        model = EarlyFusionClassifier(PLAIN, estimator=search, random_state=0)
        model.fit(X, Y, groups=GROUPS, sample_weight=weights)
        assert model.estimator_.scoring is None
        scores.append(model.estimator_.best_score_)
    assert scores[0] == pytest.approx(scores[1])


def test_count_is_that_of_the_patients_on_both_sides():
    order = np.argsort(GROUPS, kind="stable")
    cv = [(np.arange(42, 80), np.arange(42)), (np.arange(42), np.arange(42, 80))]
    model = EarlyFusionClassifier(PLAIN, estimator=GridSearchCV(Recorder(), {}, cv=cv))
    with pytest.warns(UserWarning, match=r"1 of 20 patients"):  # rows 40 to 43
        model.fit(X.iloc[order], Y[order], groups=GROUPS[order])


@pytest.mark.parametrize(
    ("estimator", "shown"),
    [
        (
            RandomForestClassifier(30, oob_score=True, random_state=0),
            "RandomForestClassifier \\(oob_score=True\\)",
        ),
        (
            RandomForestClassifier(30, oob_score=np.True_, random_state=0),
            "RandomForestClassifier \\(oob_score=True\\)",
        ),
        (
            VotingClassifier(
                [("g", GradientBoostingClassifier(n_iter_no_change=2, n_estimators=3))]
            ),
            "GradientBoostingClassifier \\(n_iter_no_change=2\\)",
        ),
    ],
)
def test_rows_held_out_without_folds_are_counted(estimator, shown):
    model = EarlyFusionClassifier(
        PLAIN, estimator=estimator, absence_copies=0, random_state=0
    )
    with pytest.warns(UserWarning, match=f"20 of 20 patients have .*{shown}"):
        model.fit(X, Y, groups=GROUPS)


class Blend(Unrouted):
    """Meta-estimator of a user with folds of its own."""

    def __init__(self, estimator=None, n_folds=5, splitter=None):
        super().__init__(estimator)
        self.n_folds = n_folds
        self.splitter = splitter

    def fit(self, X, y):
        X = np.asarray(X)
        for train, test in (self.splitter or KFold(self.n_folds)).split(X, y):
            clone(self.estimator).fit(X[train], y[train]).predict_proba(X[test])
        return super().fit(X, y)


class BlendByPatient(Blend):
    """The same, with folds of patients."""

    def fit(self, X, y, groups=None):
        X = np.asarray(X)
        for train, test in GroupKFold(self.n_folds).split(X, y, groups):
            clone(self.estimator).fit(X[train], y[train]).predict_proba(X[test])
        return Unrouted.fit(self, X, y)


@pytest.mark.parametrize("place", ["alone", "voting", "pipeline"])
@pytest.mark.parametrize(
    ("blend", "shown"),
    [
        (Blend(Recorder()), r"Blend \(n_folds=5\)"),
        (
            Blend(Recorder(), 0, splitter=KFold(3, shuffle=True, random_state=0)),
            r"Blend \(splitter=KFold\(.*\)\)",
        ),
    ],
)
def test_folds_under_other_names_than_cv_are_counted(blend, shown, place):
    estimator = {
        "alone": blend,
        "voting": VotingClassifier([("b", blend)], voting="soft"),
        "pipeline": make_pipeline(AS_IS, blend),
    }[place]
    model = EarlyFusionClassifier(PLAIN, estimator=estimator, random_state=0)
    with pytest.warns(LeakageWarning, match=f"20 of 20 patients have .* of {shown}"):
        model.fit(X, Y, groups=GROUPS)
    assert mixed_splits()[1] > 0


def test_own_folds_of_patients_are_not_counted():
    model = EarlyFusionClassifier(PLAIN, estimator=BlendByPatient(Recorder()))
    model.fit(X, Y, groups=GROUPS)
    held_out, mixed = mixed_splits()
    assert (held_out, mixed) == (5, 0)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_one_warning_names_the_modalities_whatever_the_number_of_workers(n_jobs):
    search = GridSearchCV(LogisticRegression(), {}, cv=KFold(4))
    model = LateFusionClassifier(
        PLAIN, estimator=search, aggregation="stacking", cv=3, n_jobs=n_jobs
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, Y, groups=GROUPS)
    (message,) = [str(warning.message) for warning in caught]
    assert message.startswith("In modality 'a' (and in 'b'): 20 of 20 patients")


def test_no_warning_where_every_patient_has_one_row():
    search = GridSearchCV(Recorder(), {}, cv=KFold(4))
    model = EarlyFusionClassifier(PLAIN, estimator=search)
    model.fit(X, Y, groups=np.arange(N_ROWS))
    assert mixed_splits()[0] == 4


# -- weights -------------------------------------------------------------------------


def mean_of(model):
    transformer = model.modalities_[0][1]
    while not isinstance(transformer, StandardScaler):
        if isinstance(transformer, Pipeline):
            transformer = transformer[-1]
        elif isinstance(transformer, ColumnTransformer):
            transformer = transformer.named_transformers_["p"]
        else:
            transformer = transformer["p"]
    return transformer.mean_[0]


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: make_pipeline(one),
        lambda one: FeatureUnion([("p", one)]),
        lambda one: ColumnTransformer([("p", one, ["a"])]),
        lambda one: ColumnTransformer(
            [("p", make_pipeline(FeatureUnion([("p", one)])), ["a"])]
        ),
    ],
)
@pytest.mark.parametrize("declined", [False, True])
def test_weights_reach_a_scaler_unless_declined(wrap, declined, routing):
    scaler = StandardScaler()
    if declined:
        with sklearn.config_context(enable_metadata_routing=True):
            scaler.set_fit_request(sample_weight=False)
    model = EarlyFusionClassifier(
        modalities_with(wrap(scaler)), estimator=LogisticRegression()
    )
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, Y, sample_weight=WEIGHTS)
    plain = X["a"].mean()
    weighted = np.average(X["a"], weights=WEIGHTS)
    assert abs(weighted - plain) > 0.1
    assert mean_of(model) == pytest.approx(plain if declined else weighted)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: GridSearchCV(one, {}, cv=3),
        lambda one: VotingClassifier([("r", one)]),
    ],
)
def test_a_learner_that_declines_weights_gets_none(wrap, routing):
    with sklearn.config_context(enable_metadata_routing=True):
        learner = Recorder().set_fit_request(sample_weight=False)
    model = EarlyFusionClassifier(PLAIN, estimator=wrap(learner), random_state=0)
    with sklearn.config_context(enable_metadata_routing=routing):
        model.fit(X, Y, sample_weight=WEIGHTS, groups=GROUPS)
    assert all(weights is None for kind, _, weights in LOG if kind == "fit")


@pytest.mark.parametrize(
    ("estimator", "culprit"),
    [
        (KNeighborsClassifier(), "KNeighborsClassifier does"),
        (
            GridSearchCV(KNeighborsClassifier(), {}, cv=3),
            "KNeighborsClassifier inside GridSearchCV does",
        ),
        (
            StackingClassifier(
                [("l", LogisticRegression()), ("k", KNeighborsClassifier())]
            ),
            "KNeighborsClassifier inside StackingClassifier does",
        ),
        (
            GridSearchCV(
                make_sampling_pipeline(RandomUnderSampler(), Recorder()), {}, cv=3
            ),
            "RandomUnderSampler inside GridSearchCV does",
        ),
    ],
)
def test_weights_that_cannot_arrive_are_refused_by_name(estimator, culprit):
    model = EarlyFusionClassifier(PLAIN, estimator=estimator, class_weight="balanced")
    with pytest.raises(TypeError, match=f"{culprit} not support sample_weight"):
        model.fit(X, Y)


def test_learners_that_a_calibration_fits_without_weights_are_named():
    model = EarlyFusionClassifier(
        PLAIN, estimator=CalibratedClassifierCV(KNeighborsClassifier())
    )
    with pytest.warns(UserWarning, match="KNeighborsClassifier inside Calibrated"):
        model.fit(X, Y, sample_weight=WEIGHTS)


@pytest.mark.parametrize("metadata", [{}, {"groups": GROUPS}])
def test_a_meta_estimator_without_routing_passes_weights_on(metadata):
    model = EarlyFusionClassifier(PLAIN, estimator=Unrouted(Recorder()))
    model.fit(X, Y, sample_weight=WEIGHTS, **metadata)
    assert [weights is not None for kind, _, weights in LOG if kind == "fit"] == [True]


def test_weights_that_a_column_transformer_cannot_pass_are_named():
    selector = SelectFromModel(
        AdaBoostClassifier(Recorder(), n_estimators=2), threshold=-1
    )
    both = ColumnTransformer([("s", selector, ["a"]), ("z", StandardScaler(), ["a"])])
    model = EarlyFusionClassifier(
        modalities_with(both), estimator=LogisticRegression(), random_state=0
    )
    with pytest.warns(UserWarning, match="StandardScaler.* inside ColumnTransformer"):
        model.fit(X, Y, sample_weight=WEIGHTS)


# -- samplers, target encoders, ridge regression ---------------------------------------


@pytest.mark.parametrize("routing", [False, True])
def test_splits_after_a_sampler_inside_a_search_are_counted(routing):
    search = GridSearchCV(
        make_sampling_pipeline(
            RandomUnderSampler(random_state=0), CalibratedClassifierCV(Recorder(), cv=2)
        ),
        {},
        cv=3,
        error_score="raise",
    )
    model = EarlyFusionClassifier(PLAIN, estimator=search, random_state=0)
    with (
        sklearn.config_context(enable_metadata_routing=routing),
        pytest.warns(UserWarning, match=r"inner splits of CalibratedClassifierCV"),
    ):
        model.fit(X, Y, groups=GROUPS)


TARGET_ENCODER = "TargetEncoder takes patients from scikit-learn 1.9 on"


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("wrapped", [False, True])
def test_target_encoder_is_fitted_with_whatever_is_known(
    wrapped, weights, groups, routing
):
    if groups is not None:
        pytest.importorskip("sklearn", "1.9", reason=TARGET_ENCODER)
    encoder, columns = TargetEncoder(), ["ward"]
    if wrapped:
        columns = ["ward", "a"]
        encoder = ColumnTransformer(
            [("t", encoder, ["ward"]), ("p", StandardScaler(), ["a"])]
        )
    modalities = [("ward", encoder, columns), ("b", AS_IS, ["b"])]

    def fitted():
        model = EarlyFusionClassifier(
            modalities, estimator=LogisticRegression(), random_state=0
        )
        with sklearn.config_context(enable_metadata_routing=routing):
            return model.fit(X, Y, sample_weight=weights, groups=groups)

    first = fitted()
    np.testing.assert_array_equal(first.predict_proba(X), fitted().predict_proba(X))
    if wrapped and weights is not None:
        assert mean_of(first) == pytest.approx(np.average(X["a"], weights=weights))


def test_target_encoder_holds_out_whole_patients():
    pytest.importorskip("sklearn", "1.9", reason=TARGET_ENCODER)
    # Each patient has one ward, so a ward is never known outside its patients.
    frame = X.assign(ward=[f"w{group}" for group in GROUPS])
    outcome = (GROUPS % 2).astype(int)
    model = EarlyFusionClassifier(
        [("ward", TargetEncoder(smooth=0.001), ["ward"]), ("b", AS_IS, ["b"])],
        estimator=Recorder(),
        random_state=0,
    )
    with pytest.warns(UserWarning, match="column 'ward' .* as a patient id has"):
        model.fit(frame, outcome, groups=GROUPS)
    ((_, encoded, _),) = [entry for entry in LOG if entry[0] == "fit"]
    assert len(encoded) <= 5  # the mean of each fold, not that of each patient
    assert model.predict_proba(frame).shape == (N_ROWS, 2)


@pytest.mark.parametrize("target", [X["a"] + 0.0, X[["a", "b"]] + 0.0])
@pytest.mark.parametrize(
    "estimator",
    [
        RidgeCV(),
        RidgeCV(alpha_per_target=True),
        TransformedTargetRegressor(RidgeCV()),
        StackingRegressor([("g", GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}))]),
    ],
)
def test_ridge_regression_chooses_its_penalty_by_patient(estimator, target):
    if target.ndim == 2 and isinstance(estimator, StackingRegressor):
        pytest.skip("stacking has one target")
    model = EarlyFusionRegressor(PLAIN, estimator=estimator, random_state=0)
    model.fit(X, target, groups=GROUPS, sample_weight=WEIGHTS)
    assert type(model.estimator_) is type(estimator)
    assert model.predict(X).shape == target.shape


def test_ridge_regression_by_leave_one_out_is_counted():
    model = EarlyFusionRegressor(PLAIN, estimator=RidgeCV(store_cv_results=True))
    with pytest.warns(UserWarning, match=r"20 of 20 patients .* RidgeCV \(cv=None\)"):
        model.fit(X, X["a"] + 0.0, groups=GROUPS)


def test_default_meta_model_of_two_outcomes_chooses_penalties_by_patient():
    model = LateFusionRegressor(PLAIN, aggregation="stacking", random_state=0)
    model.fit(X, X[["a", "b"]] + 0.0, groups=GROUPS)
    assert type(model.final_estimator_[-1]) is RidgeCV
    assert model.final_estimator_[-1].alpha_.shape == (2,)


@pytest.mark.parametrize(
    "estimator", [LogisticRegressionCV(l1_ratios=(0,), scoring="roc_auc", Cs=2)]
)
def test_linear_models_with_folds_take_weights_and_patients(estimator):
    estimator.set_params(use_legacy_attributes=False)
    model = EarlyFusionClassifier(PLAIN, estimator=estimator, random_state=0)
    model.fit(X, Y, groups=GROUPS, sample_weight=WEIGHTS)
    regressor = EarlyFusionRegressor(PLAIN, estimator=LassoCV(alphas=3))
    regressor.fit(X, X["a"] + 0.0, groups=GROUPS, sample_weight=WEIGHTS)


def test_too_few_patients_for_the_folds_are_counted():
    model = EarlyFusionClassifier(PLAIN, estimator=GridSearchCV(Recorder(), {}, cv=25))
    with pytest.raises(ValueError, match="cv=25 .* as many patients .*, got 20"):
        model.fit(X, Y, groups=GROUPS)


# -- what must stay as it is -----------------------------------------------------------


def test_estimators_of_the_user_are_unchanged():
    search = GridSearchCV(
        StackingClassifier(
            [("c", CalibratedClassifierCV(Recorder(), ensemble=False))],
            cv=KFold(3, shuffle=True),
            final_estimator=LogisticRegression(),
        ),
        {"c__cv": [2, 3]},
        cv=GroupKFold(3),
        scoring=["accuracy", "roc_auc"],
        refit="accuracy",
    )
    before = repr(search.get_params(deep=True))
    model = EarlyFusionClassifier(PLAIN, estimator=search, random_state=0)
    with pytest.warns(UserWarning, match="patients have rows on both sides"):
        model.fit(X, Y, groups=GROUPS, sample_weight=WEIGHTS)
    assert repr(search.get_params(deep=True)) == before
    assert not hasattr(search, "_metadata_request")
    assert not hasattr(search.estimator, "_metadata_request")
    assert search.estimator.cv.random_state is None


def test_fitted_estimators_look_as_given():
    search = GridSearchCV(
        StackingClassifier([("g", GridSearchCV(Recorder(), {}))]),
        {},
        cv=3,
        scoring="roc_auc",
    )
    model = EarlyFusionClassifier(PLAIN, estimator=search, random_state=0)
    fitted = model.fit(X, Y, groups=GROUPS, sample_weight=WEIGHTS).estimator_
    assert (fitted.cv, fitted.scoring) == (3, "roc_auc")
    assert type(fitted.estimator) is StackingClassifier
    assert type(fitted.best_estimator_) is StackingClassifier
    parts = [search_in := fitted.best_estimator_.estimators_[0]]
    parts += [search_in.best_estimator_, fitted.best_estimator_, fitted.estimator]
    assert not any(hasattr(part, "_metadata_request") for part in parts)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_fitted_estimators_request_what_the_user_stated(n_jobs):
    with sklearn.config_context(enable_metadata_routing=True):
        stated = LogisticRegression().set_score_request(sample_weight=False)
    search = GridSearchCV(CalibratedClassifierCV(stated, cv=3), {}, cv=3, n_jobs=n_jobs)
    model = EarlyFusionClassifier(PLAIN, estimator=search, random_state=0)
    model.fit(X, Y, groups=GROUPS, sample_weight=WEIGHTS)
    calibrated = model.estimator_.best_estimator_
    assert type(calibrated) is CalibratedClassifierCV
    for part in (calibrated, calibrated.calibrated_classifiers_[0].estimator):
        requests = part.get_metadata_routing()
        found = getattr(requests, "_self_request", requests) or requests
        assert found.fit.requests.get("groups") is None
        assert found.fit.requests["sample_weight"] is None
    assert requests.score.requests == {"sample_weight": False}


def test_frozen_estimators_are_left_alone():
    with sklearn.config_context(enable_metadata_routing=False):
        inner = CalibratedClassifierCV(Recorder(), cv=KFold(3))
        inner.fit(X[["a", "b"]].to_numpy(), Y)
        frozen = FrozenEstimator(inner)
        model = EarlyFusionClassifier(
            PLAIN, estimator=VotingClassifier([("f", frozen)])
        )
        model.fit(X, Y, groups=GROUPS)
    assert repr(inner.cv) == repr(KFold(3))
    assert not hasattr(inner, "_metadata_request")


@pytest.mark.parametrize("routing", [False, True])
def test_the_mode_of_routing_outlives_an_error(routing):
    class Failing(Recorder):
        def fit(self, X, y, sample_weight=None):
            assert sklearn.get_config()["enable_metadata_routing"] is True
            raise RuntimeError("on purpose")

    model = EarlyFusionClassifier(PLAIN, estimator=VotingClassifier([("f", Failing())]))
    with sklearn.config_context(enable_metadata_routing=routing):
        with pytest.raises(RuntimeError, match="on purpose"):
            model.fit(X, Y, sample_weight=WEIGHTS)
        assert sklearn.get_config()["enable_metadata_routing"] is routing


def test_threads_keep_their_own_mode():
    model = EarlyFusionClassifier(PLAIN, estimator=COMPOSITIONS["grid of calibrated"])

    def fit(routing):
        sklearn.set_config(enable_metadata_routing=routing)
        clone(model).fit(X, Y, groups=GROUPS)
        return sklearn.get_config()["enable_metadata_routing"]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fit, [True, False] * 3)) == [True, False] * 3
    assert sklearn.get_config()["enable_metadata_routing"] is False
    assert mixed_splits()[1] == 0


def test_workers_of_a_search_inside_get_patients():
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=GroupKFold(3))
    search = GridSearchCV(calibrated, {}, cv=3, n_jobs=2, error_score="raise")
    scores = [
        EarlyFusionClassifier(PLAIN, estimator=search.set_params(n_jobs=n_jobs))
        .fit(X, Y, groups=GROUPS)
        .estimator_.best_score_
        for n_jobs in (1, 2)
    ]
    assert scores[0] == scores[1]  # Without groups, GroupKFold raises an error.
