"""Every task in every strategy: labels, several numbers, columns used twice."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    JointFusionClassifier,
    JointFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
    TabularEncoder,
)
from skfusion.datasets import make_fusion_cohort

CLASSIFIERS = (EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier)
REGRESSORS = (EarlyFusionRegressor, LateFusionRegressor, JointFusionRegressor)
LATE_RULES = ("mean", "weighted", "vote", "stacking")


@pytest.fixture(scope="module")
def numbers():
    """400 rows; the image tells the first number, the EHR the second."""
    cohort = make_fusion_cohort(400, rows_per_patient=2, random_state=0)
    X = cohort.data
    Y = np.column_stack(
        [
            X[cohort.image_columns[:10]].sum(axis=1),
            1000 * X[cohort.ehr_columns[:4]].sum(axis=1) + 5000,
        ]
    )
    modalities = [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]
    return X, Y, modalities


def fast(kind, modalities, **parameters):
    settings = {"groups": "patient_id", "random_state": 0}
    if kind.__name__.startswith("Joint"):
        settings["max_epochs"] = 25
    return kind(modalities, **{**settings, **parameters})


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_are_learned_each_for_itself(kind, numbers):
    X, Y, modalities = numbers
    labels = (np.median(Y, axis=0) < Y).astype(int)
    model = fast(kind, modalities).fit(X[:300], labels[:300])
    assert model.classes_.tolist() == [0, 1]
    proba = model.predict_proba(X[300:])
    assert proba.shape == (100, 2)
    for column in (0, 1):
        assert roc_auc_score(labels[300:, column], proba[:, column]) > 0.8
    np.testing.assert_array_equal(model.predict(X[300:]), proba > 0.5)
    encoded = model.encode_modalities(X[300:])
    np.testing.assert_allclose(model.predict_encoded(encoded), proba, atol=1e-6)


@pytest.mark.parametrize("kind", REGRESSORS)
def test_several_numbers_of_different_size(kind, numbers):
    X, Y, modalities = numbers
    model = fast(kind, modalities).fit(X[:300], Y[:300])
    predicted = model.predict(X[300:])
    assert predicted.shape == (100, 2)
    correlation = [np.corrcoef(predicted[:, k], Y[300:, k])[0, 1] for k in (0, 1)]
    assert min(correlation) > 0.65
    assert np.isfinite(model.score(X[300:], Y[300:]))


@pytest.mark.parametrize("aggregation", LATE_RULES)
def test_late_rules_on_labels_equal_one_fusion_per_label(aggregation, numbers):
    X, Y, modalities = numbers
    labels = (np.median(Y, axis=0) < Y).astype(int)
    weights = {"image": 3.0, "ehr": 1.0} if aggregation == "weighted" else None
    settings = {
        "aggregation": aggregation,
        "weights": weights,
        "cv": GroupKFold(4),
        "estimator": LogisticRegression(C=0.1),
    }
    together = fast(LateFusionClassifier, modalities, **settings).fit(X, labels)
    proba = together.predict_proba(X)
    for column in (0, 1):
        alone = fast(LateFusionClassifier, modalities, **settings)
        alone.fit(X, labels[:, column])
        expected = alone.predict_proba(X)[:, 1]
        if aggregation == "stacking":  # one meta-model sees the other label's members
            assert np.corrcoef(proba[:, column], expected)[0, 1] > 0.97
        else:
            np.testing.assert_allclose(proba[:, column], expected, atol=1e-12)


@pytest.mark.parametrize("aggregation", ["mean", "weighted", "stacking"])
def test_late_rules_on_numbers_do_not_depend_on_the_unit(aggregation, numbers):
    X, Y, modalities = numbers
    settings = {"aggregation": aggregation, "estimator": Ridge()}
    a, b = (
        fast(LateFusionRegressor, modalities, **settings).fit(X, Y * unit).predict(X)
        / unit
        for unit in (np.ones(2), np.array([1000.0, 0.001]))
    )
    np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02 * Y.std(axis=0).min())


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), RandomForestClassifier(20, random_state=0)]
)
def test_any_classifier_takes_labels_in_early_fusion(estimator, numbers):
    X, Y, modalities = numbers
    labels = (np.median(Y, axis=0) < Y).astype(int)
    model = fast(
        EarlyFusionClassifier, modalities, estimator=estimator, absence_copies=0.0
    )
    found = model.fit(X, labels).predict_proba(X)
    joined = model.transform(X)
    if isinstance(estimator, RandomForestClassifier):
        expected = estimator.fit(joined, labels).predict_proba(joined)
    else:
        expected = MultiOutputClassifier(estimator).fit(joined, labels)
        expected = expected.predict_proba(joined)
    np.testing.assert_allclose(found, np.column_stack([p[:, 1] for p in expected]))


def test_only_the_learner_of_a_pipeline_is_multiplied(numbers):
    X, Y, modalities = numbers
    labels = (np.median(Y, axis=0) < Y).astype(int)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    model = fast(EarlyFusionClassifier, modalities, estimator=pipeline).fit(X, labels)
    assert isinstance(model.estimator_.steps[-1][1], MultiOutputClassifier)
    assert isinstance(model.estimator_.steps[0][1], StandardScaler)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_with_absent_modalities_images_and_weights(kind, cohort, make):
    X = cohort.X.copy()
    X.loc[::5, "scan"] = None
    labels = np.column_stack([cohort.y, np.arange(48) % 3 == 0, 1 - cohort.y])
    model = make(kind, class_weight="balanced").fit(X, labels)
    assert model.predict(X).shape == (48, 3)
    out_of_fold = cross_val_predict(
        make(kind), X, labels, cv=GroupKFold(3), groups=cohort.groups
    )
    assert set(np.unique(out_of_fold)) <= {0, 1}
    assert len(model.get_feature_names_out()) == model.transform(X).shape[1]


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_labels_that_cannot_be_learned(kind, cohort, make):
    with pytest.raises(ValueError, match="all 2 labels .* nothing to classify"):
        make(kind).fit(cohort.X, np.tile([0, 1], (48, 1)))
    with pytest.raises(ValueError, match="indicator matrix of 0 and 1"):
        make(kind).fit(cohort.X, np.column_stack([cohort.y, np.arange(48) % 3]))


@pytest.mark.parametrize("kind", REGRESSORS)
def test_unknown_numbers_are_counted(kind, cohort, make):
    Y = np.column_stack([cohort.y, cohort.y]).astype(float)
    Y[[3, 5], 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN in 2 of 48 rows.*\[3, 5\]"):
        make(kind).fit(cohort.X, Y)


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_column_can_feed_two_modalities(kind, cohort, make):
    modalities = [
        *cohort.modalities,
        ("demographics", TabularEncoder(), ["age", "sex"]),
    ]
    model = make(kind, modalities=modalities).fit(cohort.X, cohort.y)
    assert model.n_features_in_ == cohort.X.shape[1]
    assert list(model.presence(cohort.X).columns) == ["cxr", "ehr", "demographics"]
    assert model.predict_proba(cohort.X).shape == (48, 2)
