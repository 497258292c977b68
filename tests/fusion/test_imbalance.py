"""Samplers of imbalanced-learn work inside the folds, on training rows alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
from imblearn.combine import SMOTEENN
from imblearn.ensemble import (
    BalancedBaggingClassifier,
    BalancedRandomForestClassifier,
    EasyEnsembleClassifier,
    RUSBoostClassifier,
)
from imblearn.over_sampling import ADASYN, SMOTE, RandomOverSampler
from imblearn.pipeline import Pipeline as SamplingPipeline, make_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedGroupKFold,
    cross_val_predict,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion._fitting.pipelines import take_rows
from skfusion.datasets import make_multimodal_cohort


class Recorder(BaseEstimator):
    """Doubles every row, and keeps which ones it saw (by their first feature)."""

    seen: ClassVar[list[np.ndarray]] = []

    def fit_resample(self, X, y):
        self.seen.append(np.asarray(X)[:, 0].astype(int))
        twice = np.r_[np.arange(len(y)), np.arange(len(y))]
        return take_rows(X, twice), y[twice]


class Reader(TransformerMixin, BaseEstimator):
    """Cannot read cells above a bound: those rows come out as NaN."""

    def __init__(self, bound=1.0):
        self.bound = bound

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        X = np.array(X, dtype=float)
        X[X[:, 0] > self.bound] = np.nan
        return X


def cohort(n=240, **parameters):
    given = {"prevalence": 0.15, "random_state": 0}
    return make_multimodal_cohort(n, {"a": 5, "b": 4}, **{**given, **parameters})


def modalities(made, transformer=None):
    transformer = StandardScaler() if transformer is None else transformer
    return [(name, clone(transformer), made.columns[name]) for name in made.columns]


def numbered(made):
    """Return the cohort with the row's number as first column of each modality."""
    data = made.data.copy()
    for columns in made.columns.values():
        data[columns[0]] = np.arange(len(data))
    return data


SAMPLERS = [
    SMOTE(random_state=1),
    ADASYN(random_state=1),
    RandomOverSampler(random_state=1),
    RandomUnderSampler(random_state=1),
    SMOTEENN(random_state=1),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_early_fusion_is_the_same_pipeline_on_the_joined_features(sampler):
    made = cohort()
    pipeline = make_pipeline(StandardScaler(), sampler, LogisticRegression(C=0.1))
    model = EarlyFusionClassifier(
        modalities(made, FunctionTransformer()), estimator=pipeline
    )
    joined = made.data[made.ehr_columns].to_numpy()
    by_hand = clone(pipeline).fit(joined, made.target)
    np.testing.assert_allclose(
        model.fit(made.data, made.target).predict_proba(made.data),
        by_hand.predict_proba(joined),
    )


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
def test_late_fusion_is_the_mean_of_such_pipelines(sampler):
    made = cohort()
    learner = make_pipeline(sampler, LogisticRegression(C=0.1))
    model = LateFusionClassifier(modalities(made), estimator=learner)
    by_hand = [
        make_pipeline(StandardScaler(), *clone(learner).named_steps.values())
        .fit(made.data[columns], made.target)
        .predict_proba(made.data[columns])
        for columns in made.columns.values()
    ]
    np.testing.assert_allclose(
        model.fit(made.data, made.target).predict_proba(made.data),
        np.mean(by_hand, axis=0),
    )


@pytest.mark.parametrize(
    "model",
    [
        EarlyFusionClassifier(),
        LateFusionClassifier(),
        LateFusionClassifier(aggregation="stacking", cv=3, random_state=0),
    ],
    ids=["early", "mean", "stacking"],
)
def test_only_training_rows_are_resampled(model):
    made = cohort(rows_per_patient=2)
    data = numbered(made)
    learner = make_pipeline(Recorder(), StandardScaler(), LogisticRegression())
    model = clone(model).set_params(
        modalities=modalities(made, FunctionTransformer()), estimator=learner
    )
    outer = StratifiedGroupKFold(3)
    for train, test in outer.split(data, made.target, made.groups):
        Recorder.seen.clear()
        model.fit(data.iloc[train], made.target[train], groups=made.groups[train])
        calls = list(Recorder.seen)
        assert calls
        for rows in calls:
            assert set(rows) <= set(train)
            # no patient is half in a fold: what was held out is whole patients
            held_out = np.setdiff1d(train, rows)
            assert not set(made.groups[rows]) & set(made.groups[held_out])
        if getattr(model, "aggregation", None) == "stacking":
            assert sorted({len(rows) < len(train) for rows in calls}) == [False, True]
            assert len(calls) == 2 * (1 + 3)
        Recorder.seen.clear()
        model.predict_proba(data.iloc[test])
        assert Recorder.seen == []


def test_rows_that_cannot_be_read_are_kept_from_the_sampler():
    made = cohort()
    data = numbered(made)
    steps = [("read", Reader(199.0)), ("double", Recorder())]
    learner = SamplingPipeline([*steps, ("learn", DecisionTreeClassifier())])
    model = LateFusionClassifier(
        [
            ("a", learner, made.columns["a"]),
            ("b", StandardScaler(), made.columns["b"]),
        ],
    )
    Recorder.seen.clear()
    model.fit(data, made.target)
    assert [rows.tolist() for rows in Recorder.seen] == [list(range(200))]
    alone = LateFusionClassifier(modalities(made)[1:]).fit(data, made.target)
    later = data.iloc[200:]
    # where one member read nothing the other is asked alone
    np.testing.assert_allclose(model.predict_proba(later), alone.predict_proba(later))


def test_rows_without_a_modality_reach_a_sampler_imputed():
    made = cohort(missing_rate={"b": 0.25})
    for learner in (
        make_pipeline(SMOTE(), LogisticRegression()),
        make_pipeline(SimpleImputer(), StandardScaler(), SMOTE(), LogisticRegression()),
    ):
        model = EarlyFusionClassifier(
            modalities(made), estimator=learner, random_state=0
        ).fit(made.data, made.target)
        assert np.isfinite(model.predict_proba(made.data)).all()


def test_weights_follow_the_rows_that_a_sampler_chooses():
    made = cohort()
    weights = np.random.default_rng(0).uniform(0.5, 2, len(made.target))
    sampler = RandomUnderSampler(random_state=3)
    model = EarlyFusionClassifier(
        modalities(made, FunctionTransformer()),
        estimator=make_pipeline(sampler, LogisticRegression()),
    ).fit(made.data, made.target, sample_weight=weights)
    joined = made.data[made.ehr_columns].to_numpy()
    X, y = sampler.fit_resample(joined, made.target)
    relative = weights / weights.mean()
    by_hand = LogisticRegression().fit(X, y, relative[sampler.sample_indices_])
    np.testing.assert_allclose(
        model.predict_proba(made.data), by_hand.predict_proba(joined), rtol=1e-5
    )


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_new_rows_have_no_weight(kind):
    made = cohort()
    model = kind(
        modalities(made),
        estimator=make_pipeline(SMOTE(), LogisticRegression()),
        class_weight="balanced",
    )
    with pytest.raises(ValueError, match="SMOTE makes new rows, which have no weight"):
        model.fit(made.data, made.target)


def test_new_rows_belong_to_no_patient():
    made = cohort(rows_per_patient=2)
    nested = LateFusionClassifier(aggregation="stacking", random_state=0)
    for sampler, refused in ((SMOTE(), True), (RandomOverSampler(), False)):
        model = EarlyFusionClassifier(
            modalities(made), estimator=make_pipeline(sampler, nested), random_state=0
        )
        if refused:
            with pytest.raises(ValueError, match="belong to no patient"):
                model.fit(made.data, made.target, groups=made.groups)
        else:
            model.fit(made.data, made.target, groups=made.groups)


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
@pytest.mark.parametrize("pipeline", [Pipeline, SamplingPipeline])
def test_a_sampler_is_no_transformer(kind, pipeline):
    made = cohort()
    steps = pipeline([("scale", StandardScaler()), ("smote", SMOTE())])
    model = kind([("a", steps, made.columns["a"])], estimator=LogisticRegression())
    with pytest.raises(
        TypeError, match=r"'smote' \(SMOTE\).*before the final estimator"
    ):
        model.fit(made.data, made.target)


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
@pytest.mark.parametrize(
    "learner",
    [
        BalancedRandomForestClassifier(20),
        BalancedBaggingClassifier(n_estimators=5),
        EasyEnsembleClassifier(3),
        RUSBoostClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=5),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_ensembles_that_balance_themselves(kind, learner):
    made = cohort(signal=2.0)
    model = kind(modalities(made), estimator=learner, random_state=0)
    first, again = (
        clone(model).fit(made.data, made.target).predict_proba(made.data)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    assert recall_score(made.target, first.argmax(axis=1)) > 0.7


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_resampling_finds_more_of_the_rare_class(kind):
    made = cohort(600, prevalence=0.08, signal=1.5)
    recalls = {}
    for name, learner in {
        "plain": LogisticRegression(),
        "weights": LogisticRegression(class_weight="balanced"),
        "SMOTE": make_pipeline(SMOTE(), LogisticRegression()),
    }.items():
        model = kind(modalities(made), estimator=learner, random_state=0)
        predicted = cross_val_predict(model, made.data, made.target, cv=3)
        recalls[name] = recall_score(made.target, predicted)
    assert recalls["SMOTE"] > recalls["plain"] + 0.1
    assert recalls["SMOTE"] == pytest.approx(recalls["weights"], abs=0.15)


def test_samplers_are_tuned_like_anything_else():
    made = cohort()
    learner = make_pipeline(SMOTE(), LogisticRegression())
    model = EarlyFusionClassifier(modalities(made), estimator=learner, random_state=0)
    search = GridSearchCV(model, {"estimator__smote__k_neighbors": [2, 5]}, cv=2)
    search.fit(made.data, made.target)
    assert search.best_estimator_.estimator_.named_steps["smote"].n_features_in_ == 9
