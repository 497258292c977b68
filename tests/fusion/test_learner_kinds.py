"""Learners of the wrong kind, fitted elsewhere, or with labels in their parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    LateFusionRegressor,
)
from skfusion.exceptions import LeakageWarning
from skfusion.fusion import ModelFeatures
from skfusion.survival import EarlyFusionSurvival

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(120, 2)), columns=["a", "b"])
NUMBERS = (X["a"] + 0.5 * rng.normal(size=120) > 0).astype(int).to_numpy()
LABELS = np.array(["alive", "dead"])[NUMBERS]
MODALITIES = [("a", StandardScaler(), ["a"]), ("b", StandardScaler(), ["b"])]


@pytest.mark.parametrize(
    "wrong",
    [
        Ridge(),
        make_pipeline(StandardScaler(), Ridge()),
        GridSearchCV(Ridge(), {"alpha": [1.0]}),
        FrozenEstimator(Ridge().fit(X[["a"]], NUMBERS)),
        StandardScaler(),
        make_pipeline(StandardScaler()),
        KMeans(2),
        IsolationForest(),
    ],
)
@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_only_classifiers_classify(kind, wrong):
    with pytest.raises(ValueError, match="should be a classifier, but it"):
        kind(MODALITIES, estimator=wrong).fit(X, NUMBERS)


def test_votes_of_a_regressor_are_no_classes():
    model = LateFusionClassifier(MODALITIES, estimator=Ridge(), aggregation="vote")
    with pytest.raises(ValueError, match="Ridge should be a classifier"):
        model.fit(X, NUMBERS)


@pytest.mark.parametrize(
    "wrong",
    [LogisticRegression(), make_pipeline(StandardScaler(), RandomForestClassifier())],
)
@pytest.mark.parametrize("kind", [EarlyFusionRegressor, LateFusionRegressor])
def test_only_regressors_predict_numbers(kind, wrong):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*should be a regressor"):
        kind(MODALITIES, estimator=wrong).fit(X, NUMBERS.astype(float))


def test_members_and_meta_models_are_checked_with_their_place():
    member = ("a", make_pipeline(StandardScaler(), Ridge()), ["a"])
    with pytest.raises(ValueError, match=r"modality 'a' .*Ridge.*be a classifier"):
        LateFusionClassifier([member, MODALITIES[1]]).fit(X, NUMBERS)
    stacked = LateFusionRegressor(
        MODALITIES, aggregation="stacking", final_estimator=LogisticRegression()
    )
    with pytest.raises(ValueError, match=r"final_estimator: .*should be a regressor"):
        stacked.fit(X, NUMBERS)
    y = np.array([(True, 1.0 + i) for i in range(120)], dtype="?,f8")
    with pytest.raises(ValueError, match="should be a survival estimator"):
        EarlyFusionSurvival(MODALITIES, estimator=LogisticRegression()).fit(X, y)
    with pytest.raises(ValueError, match="StandardScaler should be a regressor"):
        ModelFeatures(StandardScaler()).fit(X, NUMBERS)


def test_a_predictor_is_no_transformer():
    modalities = [("a", LogisticRegression(), ["a"]), MODALITIES[1]]
    with pytest.raises(TypeError, match=r"'a' needs a transformer.*ModelFeatures"):
        EarlyFusionClassifier(modalities).fit(X, NUMBERS)


@pytest.mark.parametrize(
    "ensemble",
    [
        VotingClassifier([("l", LogisticRegression())], voting="soft"),
        StackingClassifier([("l", LogisticRegression())]),
        make_pipeline(
            StandardScaler(), VotingClassifier([("l", LogisticRegression())])
        ),
    ],
)
def test_predictions_of_its_own_rows_are_no_features(ensemble):
    """The transform of these ensembles is not cross-fitted."""
    modalities = [("a", ensemble, ["a"]), MODALITIES[1]]
    with pytest.warns(LeakageWarning, match=r"'a': the features from .* ModelFeatures"):
        EarlyFusionClassifier(modalities, estimator=LogisticRegression()).fit(
            X, NUMBERS
        )


class Duck(LogisticRegression):
    """A classifier whose tags tell no kind."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = None
        return tags


def test_estimators_without_a_kind_are_accepted():
    found = EarlyFusionClassifier(MODALITIES, estimator=Duck()).fit(X, NUMBERS)
    known = EarlyFusionClassifier(MODALITIES, estimator=LogisticRegression())
    np.testing.assert_array_equal(
        found.predict_proba(X), known.fit(X, NUMBERS).predict_proba(X)
    )


# -- classifiers that were fitted before ----------------------------------------------


class Reordered(LogisticRegression):
    """A classifier whose classes are not sorted."""

    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)
        self.classes_ = self.classes_[::-1]
        return self

    def predict_proba(self, X):
        classes, self.classes_ = self.classes_, np.sort(self.classes_)
        proba = super().predict_proba(X)[:, ::-1]
        self.classes_ = classes
        return proba


@pytest.mark.parametrize("classifier", [LogisticRegression(), Reordered()])
@pytest.mark.parametrize("aggregation", ["mean", "stacking"])
def test_a_fitted_member_is_read_by_label(classifier, aggregation):
    fitted = classifier.fit(X[["a"]], LABELS)
    column = list(fitted.classes_).index("dead")
    expected = fitted.predict_proba(X[["a"]])[:, column]
    modalities = [("a", FrozenEstimator(fitted), ["a"]), MODALITIES[1]]
    model = LateFusionClassifier(modalities, aggregation=aggregation).fit(X, LABELS)
    np.testing.assert_allclose(model.transform(X)[:, 0], expected)


@pytest.mark.parametrize(
    "labels", [["benign", "malignant"], ["alive", "dead", "unknown"], [0, 1]]
)
def test_a_member_fitted_on_other_classes_is_refused(labels):
    y = np.array(labels)[np.arange(120) % len(labels)]
    frozen = FrozenEstimator(LogisticRegression().fit(X[["a"]], y))
    model = LateFusionClassifier([("a", frozen, ["a"]), MODALITIES[1]])
    with pytest.raises(ValueError, match=rf"classes {labels[0]}, .*alive, dead"):
        model.fit(X, LABELS)
    with pytest.raises(ValueError, match=r"of the fusion are alive, dead"):
        EarlyFusionClassifier(MODALITIES, estimator=frozen).fit(X, LABELS)


def test_numbers_of_a_fitted_member_are_labels_and_not_positions():
    frozen = FrozenEstimator(LogisticRegression().fit(X[["a"]], NUMBERS))
    model = LateFusionClassifier([("a", frozen, ["a"]), MODALITIES[1]])
    with pytest.raises(ValueError, match=r"classes 0, 1, .*are 1, 2"):
        model.fit(X, NUMBERS + 1)


def test_votes_and_decisions_of_a_fitted_classifier_are_read_by_label():
    fitted = LinearSVC().fit(X[["a"]], LABELS)
    modalities = [("a", FrozenEstimator(fitted), ["a"])]
    model = LateFusionClassifier(modalities, aggregation="vote").fit(X, LABELS)
    np.testing.assert_array_equal(model.predict(X), fitted.predict(X[["a"]]))


def test_a_fitted_classifier_is_calibrated_on_labels():
    fitted = LogisticRegression().fit(X[["a"]], LABELS)
    calibrated = CalibratedClassifierCV(FrozenEstimator(fitted))
    model = LateFusionClassifier([("a", calibrated, ["a"]), MODALITIES[1]])
    alone = CalibratedClassifierCV(FrozenEstimator(fitted)).fit(X[["a"]], LABELS)
    np.testing.assert_allclose(
        model.fit(X, LABELS).transform(X)[:, 0], alone.predict_proba(X[["a"]])[:, 1]
    )


# -- functions of the user see the labels of the user ---------------------------------


def true_deaths(truth, predicted):
    assert set(truth) <= {"alive", "dead"}
    return np.mean((truth == "dead") & (predicted == "dead"))


@pytest.mark.parametrize(
    "scorer", [make_scorer(true_deaths), make_scorer(f1_score, pos_label="dead")]
)
def test_scorers_of_weights_see_labels(scorer):
    model = LateFusionClassifier(MODALITIES, aggregation="weighted", weights=scorer)
    assert model.fit(X, LABELS).weights_[0] > 0.9


def test_a_scorer_as_a_function_sees_an_estimator_with_labels():
    def score(estimator, X, y):
        assert list(estimator.classes_) == ["alive", "dead"]
        return np.mean(estimator.predict(X) == y)

    model = LateFusionClassifier(MODALITIES, aggregation="weighted", weights=score)
    assert model.fit(X, LABELS).weights_[0] > 0.9


@pytest.mark.parametrize("name", ["f1", "neg_log_loss", "neg_brier_score"])
def test_scorers_by_name_do_not_depend_on_the_labels(name):
    weights = [
        LateFusionClassifier(MODALITIES, aggregation="weighted", weights=name)
        .fit(X, y)
        .weights_
        for y in (NUMBERS, LABELS)
    ]
    np.testing.assert_allclose(*weights, atol=0.01)


def test_two_labels_that_are_not_exclusive_can_be_scored():
    y = np.column_stack([NUMBERS, X["b"] > 0]).astype(int)
    model = LateFusionClassifier(MODALITIES, aggregation="weighted", weights="roc_auc")
    assert model.fit(X, y).weights_.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_class_weights_of_the_estimator_go_by_label(kind):
    # With the labels 1 and 2 as class numbers, the weight would go to the other class.
    found, expected = (
        kind(MODALITIES, estimator=LogisticRegression(class_weight={one: 20.0}))
        .fit(X, y)
        .predict_proba(X)
        for one, y in ((1, NUMBERS + 1), ("alive", LABELS))
    )
    np.testing.assert_allclose(found, expected)
    assert found[:, 0].mean() > 0.7


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_a_search_inside_scores_labels(kind):
    search = GridSearchCV(
        LogisticRegression(), {"C": [0.1, 1.0]}, scoring=make_scorer(true_deaths)
    )
    model = kind(MODALITIES, estimator=search).fit(X, LABELS)
    assert set(model.predict(X)) == {"alive", "dead"}


def test_a_splitter_sees_labels():
    seen = []

    class Halves:
        def split(self, X, y=None, groups=None):
            seen.extend(y)
            rows = np.arange(len(y))
            return [(rows[::2], rows[1::2]), (rows[1::2], rows[::2])]

        def get_n_splits(self, X=None, y=None, groups=None):
            return 2

    LateFusionClassifier(MODALITIES, aggregation="stacking", cv=Halves()).fit(X, LABELS)
    assert set(seen) == {"alive", "dead"}


@pytest.mark.parametrize(
    "stacked",
    [
        StackingClassifier([("linear", LogisticRegression())], cv=2),
        make_pipeline(
            StandardScaler(), StackingClassifier([("linear", LogisticRegression())])
        ),
        GridSearchCV(
            StackingClassifier([("linear", LogisticRegression())], cv=2),
            {"linear__C": [1.0]},
            cv=2,
        ),
    ],
)
def test_stacking_with_its_default_final_estimator_is_a_learner(stacked):
    model = LateFusionClassifier(MODALITIES, estimator=stacked).fit(X, LABELS)
    assert model.predict_proba(X).shape == (120, 2)
    member = LateFusionClassifier([("a", stacked, ["a"])]).fit(X, LABELS)
    fitted = member.modalities_[0][1]
    assert type(fitted) is type(stacked)
    np.testing.assert_allclose(member.predict_proba(X), fitted.predict_proba(X[["a"]]))
    final = LateFusionClassifier(
        MODALITIES, aggregation="stacking", final_estimator=stacked
    )
    assert final.fit(X, LABELS).score(X, LABELS) > 0.6


def test_stacking_of_several_numbers():
    stacked = StackingRegressor([("linear", Ridge())], cv=2)
    model = EarlyFusionRegressor(MODALITIES, estimator=stacked)
    assert model.fit(X, X.to_numpy()).score(X, X.to_numpy()) > 0.9
