"""Steps that learn from `y` inside a survival fusion, and selectors on their own."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from imblearn.pipeline import make_pipeline as sampling_pipeline
from imblearn.under_sampling import RandomUnderSampler
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestRegressor
from sklearn.feature_selection import (
    RFE,
    SelectFromModel,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    chi2,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
)
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.nonparametric import nelson_aalen_estimator

from skfusion._fitting.survival_steps import martingale_residuals
from skfusion.feature_selection import GeneticSelector, GiniSelector, MRMRSelector
from skfusion.fusion import ModelFeatures
from skfusion.fusion.survival import CoxRidge, concordance
from skfusion.survival import (
    EarlyFusionSurvival,
    JointFusionSurvival,
    LateFusionSurvival,
)

COLUMNS = [f"x{i}" for i in range(8)]
BEST = 3


@pytest.fixture(scope="module")
def cohort():
    """300 rows in which one of eight columns matters, and half are censored."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 8)), columns=COLUMNS)
    return X, outcome(rng, -1.5 * X[f"x{BEST}"].to_numpy())


def outcome(rng, log_time):
    time = rng.exponential(np.exp(log_time))
    censoring = rng.exponential(1.0, len(time))
    y = np.empty(len(time), dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = time <= censoring, np.minimum(time, censoring)
    return y


class SurvivalSelector(TransformerMixin, BaseEstimator):
    """A selector of a user that reads the times."""

    takes_survival_times = True

    def fit(self, X, y):
        scores = [concordance(y, x) for x in np.asarray(X, dtype=float).T]
        self.best_ = int(np.argmax(np.abs(np.asarray(scores) - 0.5)))
        return self

    def transform(self, X):
        return np.asarray(X)[:, [self.best_]]


class Undeclared(SurvivalSelector):
    takes_survival_times = False


def concordance_scores(X, y):
    return np.array([abs(2 * concordance(y, x) - 1) for x in X.T])


concordance_scores.takes_survival_times = True

SELECTORS = {
    "gini": GiniSelector(2),
    "mrmr": MRMRSelector(2),
    "mrmr, neighbours": MRMRSelector(2, estimate="neighbors"),
    "genetic": GeneticSelector(
        n_features_to_select=2, population_size=10, n_generations=4
    ),
    "genetic, regressor": GeneticSelector(
        Ridge(), n_features_to_select=2, population_size=10, n_generations=4
    ),
    "genetic, scikit-survival": GeneticSelector(
        CoxPHSurvivalAnalysis(alpha=0.1),
        n_features_to_select=2,
        population_size=10,
        n_generations=4,
    ),
    "F": SelectKBest(f_regression, k=2),
    "information": SelectKBest(mutual_info_regression, k=2),
    "own function": SelectKBest(concordance_scores, k=2),
    "lasso": SelectFromModel(Lasso(alpha=0.05), max_features=2),
    "elimination": RFE(CoxPHSurvivalAnalysis(), n_features_to_select=2),
    "sequential": SequentialFeatureSelector(CoxRidge(), n_features_to_select=1, cv=2),
}


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_of_a_modality_find_the_column_that_matters(name, cohort):
    X, y = cohort
    model = EarlyFusionSurvival(
        [("a", SELECTORS[name], COLUMNS)],
        estimator=CoxRidge(),
        cv=None,
        random_state=0,
    ).fit(X, y)
    assert BEST in model.modalities_[0][1].get_support(indices=True)
    assert model.score(X, y) > 0.75


STEPS = {
    "select": SelectKBest(f_regression, k=1),
    "gini": GiniSelector(1),
    "forest": SelectFromModel(RandomForestRegressor(20), max_features=1),
    "declared": SurvivalSelector(),
    "model": ModelFeatures(CoxRidge()),
    "model of residuals": ModelFeatures(Ridge()),
    "model, default": ModelFeatures(cv=2),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("place", ["early", "early learner", "late", "joint"])
@pytest.mark.long
def test_steps_get_a_target_that_they_can_use(name, place, cohort):
    X, y = cohort
    steps = make_pipeline(StandardScaler(), STEPS[name])
    learner = make_pipeline(StandardScaler(), STEPS[name], CoxRidge())
    model = {
        "early": EarlyFusionSurvival(
            [("a", steps, COLUMNS)], estimator=CoxRidge(), cv=None, random_state=0
        ),
        "early learner": EarlyFusionSurvival(
            [("a", "passthrough", COLUMNS)], estimator=learner, cv=None, random_state=0
        ),
        "late": LateFusionSurvival([("a", learner, COLUMNS)], cv=2, random_state=0),
        "joint": JointFusionSurvival(
            [("a", steps, COLUMNS)], loss="cox", max_epochs=5, random_state=0
        ),
    }[place]
    assert model.fit(X, y).score(X, y) > 0.72


CLASSES = {
    "default of SelectKBest": SelectKBest(k=2),
    "mutual information": SelectKBest(partial(mutual_info_classif, random_state=0)),
    "chi2": make_pipeline(MinMaxScaler(), SelectPercentile(chi2)),
    "LDA": LinearDiscriminantAnalysis(),
    "from a classifier": SelectFromModel(LogisticRegression()),
    "genetic": GeneticSelector(LogisticRegression()),
}


@pytest.mark.parametrize("name", CLASSES)
def test_steps_for_classes_are_refused(name, cohort):
    model = EarlyFusionSurvival([("a", CLASSES[name], COLUMNS)], cv=None)
    with pytest.raises(ValueError, match="needs classes, but y contains times"):
        model.fit(*cohort)


@pytest.mark.long
def test_parts_that_need_different_targets_are_refused(cohort):
    union = FeatureUnion(
        [("times", GiniSelector(1)), ("numbers", SelectKBest(f_regression, k=1))]
    )
    model = EarlyFusionSurvival([("a", union, COLUMNS)], cv=None)
    with pytest.raises(ValueError, match="SelectKBest inside it learns from a number"):
        model.fit(*cohort)
    search = GridSearchCV(
        make_pipeline(SelectKBest(f_regression), CoxRidge()), {"selectkbest__k": [1]}
    )
    model = EarlyFusionSurvival([("a", "passthrough", COLUMNS)], estimator=search)
    with pytest.raises(ValueError, match="SelectKBest inside it learns from a number"):
        model.fit(*cohort)
    search.estimator = make_pipeline(GiniSelector(1), CoxRidge())
    search.param_grid = {"giniselector__n_features_to_select": [1, 2]}
    assert model.fit(*cohort).score(*cohort) > 0.75


def test_samplers_are_refused(cohort):
    learner = sampling_pipeline(RandomUnderSampler(), CoxRidge())
    model = EarlyFusionSurvival(
        [("a", "passthrough", COLUMNS)], estimator=learner, cv=None
    )
    with pytest.raises(ValueError, match="balances classes, but y contains times"):
        model.fit(*cohort)


def test_a_step_that_does_not_declare_itself_is_told_how(cohort):
    model = EarlyFusionSurvival([("a", Undeclared(), COLUMNS)], cv=None)
    with pytest.raises(IndexError) as caught:
        model.fit(*cohort)
    assert "takes_survival_times = True" in caught.value.__notes__[0]


# -- on their own ----------------------------------------------------------------------


def test_gini_of_times_is_the_concordance(cohort):
    X, y = cohort
    scores = GiniSelector(2).fit(X, y).scores_
    expected = [abs(2 * concordance(y, x) - 1) for x in X.to_numpy().T]
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    # of any scale, with gaps, and without a comparable pair
    table = np.column_stack([X["x3"] * 1e-12, X["x3"], X["x0"], np.zeros(len(X))])
    table[::2, 2] = np.nan
    table[y["event"], 3] = np.nan
    scores = GiniSelector(2).fit(table, y).scores_
    known = ~np.isnan(table[:, 2])
    assert scores[0] == scores[1] == pytest.approx(expected[3])
    gini = abs(2 * concordance(y[known], table[known, 2]) - 1)
    assert scores[2] == pytest.approx(gini)
    assert scores[3] == 0


@pytest.mark.parametrize("is_tied", [False, True])
def test_weights_of_selectors_are_repeated_rows(is_tied, cohort):
    X, y = cohort
    y = y.copy()
    if is_tied:
        y["time"] = np.ceil(y["time"] * 3)
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    rows = np.repeat(np.arange(len(X)), weight)
    weights = weight.astype(float)
    weighted = GiniSelector(2).fit(X, y, sample_weight=weights)
    repeated = GiniSelector(2).fit(X.iloc[rows], y[rows])
    np.testing.assert_allclose(weighted.scores_, repeated.scores_, rtol=1e-10)
    weighted = MRMRSelector(3).fit(X, y, sample_weight=weights)
    repeated = MRMRSelector(3).fit(X.iloc[rows], y[rows])
    np.testing.assert_allclose(weighted.relevance_, repeated.relevance_, rtol=1e-10)
    risk = X["x3"].to_numpy()
    assert concordance(y, risk, weights) == pytest.approx(
        concordance(y[rows], risk[rows]), rel=1e-12
    )


def test_mrmr_of_times_is_that_of_their_residuals(cohort):
    X, y = cohort
    found = MRMRSelector(4).fit(X, y)
    expected = MRMRSelector(4).fit(X, martingale_residuals(y))
    np.testing.assert_array_equal(found.order_, expected.order_)
    assert found.order_[0] == BEST


def test_residuals_are_those_of_nelson_and_aalen(cohort):
    _, y = cohort
    y = y.copy()
    y["time"] = np.ceil(y["time"] * 10)
    times, hazard = nelson_aalen_estimator(y["event"], y["time"])
    expected = y["event"] - hazard[np.searchsorted(times, y["time"])]
    np.testing.assert_allclose(martingale_residuals(y), expected, rtol=1e-12)
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    rows = np.repeat(np.arange(len(y)), weight)
    found = martingale_residuals(y, weight.astype(float))
    np.testing.assert_allclose(
        np.repeat(found, weight), martingale_residuals(y[rows]), atol=1e-12
    )
    assert weight @ found == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("selector", [GiniSelector(), MRMRSelector()])
def test_times_that_are_refused(selector, cohort):
    X, y = cohort
    wrong = y.copy()
    wrong["time"][4] = -1
    name = type(selector).__name__
    with pytest.raises(ValueError, match=f"{name}: 1 of 300 times in y are below 0"):
        selector.fit(X, wrong)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        selector.fit(X[:20], y)
