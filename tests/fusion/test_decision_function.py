"""The decision function of the three strategies."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skfusion import EarlyFusionClassifier, JointFusionClassifier, LateFusionClassifier

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(90, 2)), columns=["a", "b"])
Y = np.array(["no", "yes"])[(X["a"] + 0.5 * rng.normal(size=90) > 0).astype(int)]
THREE = np.array(["low", "mid", "top"])[np.digitize(X["a"], [-0.4, 0.4])]
MODALITIES = [("a", FunctionTransformer(), ["a"]), ("b", FunctionTransformer(), ["b"])]


@pytest.mark.parametrize(
    "estimator",
    [
        LinearSVC(),
        RidgeClassifier(),
        make_pipeline(StandardScaler(), SVC()),
        LogisticRegression(),
    ],
)
@pytest.mark.parametrize("y", [Y, THREE])
def test_early_fusion_delegates(estimator, y):
    model = EarlyFusionClassifier(MODALITIES, estimator=estimator).fit(X, y)
    alone = estimator.fit(model.transform(X), y)
    expected = alone.decision_function(model.transform(X))
    np.testing.assert_allclose(model.decision_function(X), expected)
    assert expected.shape == ((90,) if y is Y else (90, 3))


def test_scorers_and_cross_validation_use_it():
    model = EarlyFusionClassifier(MODALITIES, estimator=LinearSVC())
    assert cross_val_score(model, X, Y, scoring="roc_auc").mean() > 0.8
    held_out = cross_val_predict(model, X, Y, method="decision_function")
    assert roc_auc_score(Y == "yes", held_out) > 0.8


def test_it_is_absent_where_there_is_none():
    assert not hasattr(EarlyFusionClassifier(MODALITIES), "decision_function")
    assert not hasattr(EarlyFusionClassifier(MODALITIES).fit(X, Y), "decision_function")
    for votes in ("vote", "weighted_vote", "rank"):
        late = LateFusionClassifier(MODALITIES, aggregation=votes)
        assert not hasattr(late, "decision_function")


@pytest.mark.parametrize("estimator", [LogisticRegression(), SVC(), LinearSVC()])
def test_signs_agree_with_the_prediction_without_any_modality(estimator):
    # Two thirds are "no". The estimators impute the means of the training rows.
    rows = np.r_[np.flatnonzero(Y == "no"), np.flatnonzero(Y == "yes")[:22]]
    model = EarlyFusionClassifier(MODALITIES, estimator=estimator)
    model.fit(X.iloc[rows], Y[rows])
    absent = X.iloc[:2] * np.nan
    with pytest.warns(UserWarning, match="no modality at all"):
        scores = model.decision_function(absent)
    with pytest.warns(UserWarning, match="no modality at all"):
        decided = model.predict(absent)
    np.testing.assert_array_equal(np.where(scores > 0, "yes", "no"), decided)


def test_absent_modalities_are_refused_as_in_predict():
    model = EarlyFusionClassifier(MODALITIES, estimator=LinearSVC(), missing="error")
    model.fit(X, Y)
    gaps = X.assign(b=np.nan)
    for ask in (model.predict, model.decision_function):
        with pytest.raises(ValueError, match="does not allow absent"):
            ask(gaps)


def test_a_fitted_classifier_in_another_order_is_reordered():
    class Reversed(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            super().fit(X, y)
            self.classes_ = self.classes_[::-1]
            self.coef_, self.intercept_ = -self.coef_, -self.intercept_
            return self

    plain = LogisticRegression().fit(X.to_numpy(), Y)
    frozen = FrozenEstimator(Reversed().fit(X.to_numpy(), Y))
    model = EarlyFusionClassifier(MODALITIES, estimator=frozen).fit(X, Y)
    expected = plain.decision_function(X.to_numpy())
    np.testing.assert_allclose(model.decision_function(X), expected)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X.to_numpy()))


@pytest.mark.parametrize(
    "model",
    [
        LateFusionClassifier(MODALITIES),
        LateFusionClassifier(MODALITIES, aggregation="stacking"),
        JointFusionClassifier(MODALITIES, max_epochs=2, random_state=0),
    ],
)
def test_logits_of_late_and_joint_fusion(model):
    proba = model.fit(X, Y).predict_proba(X)
    expected = np.log(proba[:, 1] / proba[:, 0])
    np.testing.assert_allclose(model.decision_function(X), expected)
    proba = model.fit(X, THREE).predict_proba(X)
    scores = model.decision_function(X)
    np.testing.assert_allclose(np.exp(scores), proba)
    labels = np.column_stack([Y == "yes", X["b"] > 0]).astype(int)
    proba = model.fit(X, labels).predict_proba(X)
    expected = np.log(proba / (1 - proba))
    np.testing.assert_allclose(model.decision_function(X), expected)


def test_certain_members_have_finite_logits():
    model = LateFusionClassifier(
        MODALITIES, estimator=HistGradientBoostingClassifier(), aggregation="product"
    ).fit(pd.concat([X] * 10), np.tile(Y, 10))
    assert np.isfinite(model.decision_function(X)).all()
    assert roc_auc_score(Y, model.decision_function(X)) == pytest.approx(
        roc_auc_score(Y, model.predict_proba(X)[:, 1]), abs=1e-9
    )
