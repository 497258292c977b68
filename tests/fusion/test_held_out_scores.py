"""Scores of rows that an estimator inside a fusion holds out itself, on noise.

They must stay at chance: neither the copies of a row with absent modalities nor the
other rows of a patient may be among the rows that the held-out rows are compared with.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFECV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfusion import EarlyFusionClassifier, EarlyFusionRegressor

N_ROWS = 240
COLUMNS = list("abcdefgh")
MODALITIES = [
    ("m", StandardScaler(), COLUMNS[:4]),
    ("n", StandardScaler(), COLUMNS[4:]),
]
rng = np.random.default_rng(3)
NOISE = pd.DataFrame(rng.normal(size=(N_ROWS, len(COLUMNS))), columns=COLUMNS)
LABELS = rng.permutation(np.tile([0, 1], N_ROWS // 2))
# Four almost equal rows of each patient, and one label.
PATIENTS = rng.permutation(np.repeat(np.arange(N_ROWS // 4), 4))
OF_PATIENTS = pd.DataFrame(
    rng.normal(size=(N_ROWS // 4, len(COLUMNS)))[PATIENTS], columns=COLUMNS
) + 0.01 * rng.normal(size=(N_ROWS, len(COLUMNS)))
LABELS_OF_PATIENTS = rng.permutation(np.tile([0, 1], N_ROWS // 8))[PATIENTS]

FOREST = RandomForestClassifier(25, random_state=0)
TREE = DecisionTreeClassifier(random_state=0)


def out_of_bag(model):
    return model.oob_score_


def best_score(search):
    return search.best_score_


def final_weight(stacking):
    """Return a score that is .5 if the meta-model does not trust its member."""
    return 0.5 + np.abs(stacking.final_estimator_.coef_).max() / 20


def of_elimination(pipeline):
    return max(pipeline[0].cv_results_["mean_test_score"])


OUT_OF_BAG = {
    "forest": (RandomForestClassifier(80, oob_score=True), out_of_bag),
    "extra trees": (
        ExtraTreesClassifier(80, bootstrap=True, oob_score=True),
        out_of_bag,
    ),
    "bagging": (BaggingClassifier(TREE, 80, oob_score=True), out_of_bag),
    "forest after scaling": (
        make_pipeline(StandardScaler(), RandomForestClassifier(80, oob_score=True)),
        lambda pipeline: pipeline[-1].oob_score_,
    ),
    "forest in voting": (
        VotingClassifier([("f", RandomForestClassifier(80, oob_score=True))]),
        lambda voting: voting.estimators_[0].oob_score_,
    ),
    "early stopping": (
        HistGradientBoostingClassifier(
            early_stopping=True, validation_fraction=0.5, scoring="accuracy", max_iter=5
        ),
        lambda model: model.validation_score_[-1],
    ),
}
SPLITS = {
    "grid": (GridSearchCV(FOREST, {}), best_score),
    "random": (RandomizedSearchCV(FOREST, {}, n_iter=1, cv=4), best_score),
    "halving": (
        HalvingGridSearchCV(FOREST, {"max_depth": [None]}, min_resources=200),
        best_score,
    ),
    "grid of voting": (GridSearchCV(VotingClassifier([("f", FOREST)]), {}), best_score),
    "candidates": (
        GridSearchCV(make_pipeline(FOREST), {"randomforestclassifier": [FOREST, TREE]}),
        best_score,
    ),
    "stacking": (
        StackingClassifier([("f", FOREST)], final_estimator=LogisticRegression()),
        final_weight,
    ),
    "elimination": (
        make_pipeline(RFECV(FOREST, step=4, cv=3), LogisticRegression()),
        of_elimination,
    ),
    "threshold": (
        TunedThresholdClassifierCV(FOREST, thresholds=3),
        best_score,
    ),
}
ALL = OUT_OF_BAG | SPLITS
QUICK = {"grid", "stacking", "candidates", "threshold"}
SOME_SLOW = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in SPLITS
]


def fitted(estimator, *, X=NOISE, y=LABELS, groups=None, **options):
    model = EarlyFusionClassifier(
        MODALITIES, estimator=estimator, random_state=0, **options
    )
    return model.fit(X, y, groups=groups).estimator_


@pytest.mark.parametrize("name", ALL)
@pytest.mark.slow
def test_copies_of_rows_leave_scores_of_noise_at_chance(name):
    estimator, score = ALL[name]
    assert abs(score(fitted(estimator)) - 0.5) < 0.12


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", SOME_SLOW)
def test_copies_that_were_asked_for_stay_with_their_row_if_patients_are_known(
    name, routing
):
    estimator, score = SPLITS[name]
    with sklearn.config_context(enable_metadata_routing=routing):
        model = fitted(estimator, groups=np.arange(N_ROWS), absence_copies=1.0)
    assert abs(score(model) - 0.5) < 0.12


@pytest.mark.parametrize("name", ["forest", "bagging", "grid", "stacking"])
def test_copies_that_were_asked_for_warn(name):
    estimator, score = ALL[name]
    with pytest.warns(UserWarning, match="two copies of 240 of 240 rows, .* holds"):
        model = fitted(estimator, absence_copies=1.0)
    assert score(model) > 0.62  # Without the warning, nobody would know.


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", SOME_SLOW)
def test_other_rows_of_a_patient_leave_scores_of_noise_at_chance(name, routing):
    estimator, score = SPLITS[name]
    cohort = {"X": OF_PATIENTS, "y": LABELS_OF_PATIENTS}
    with sklearn.config_context(enable_metadata_routing=routing):
        model = fitted(estimator, groups=PATIENTS, **cohort)
    assert score(model) < 0.68
    assert score(fitted(estimator, **cohort)) > 0.68  # What the groups prevent.


@pytest.mark.parametrize("name", OUT_OF_BAG)
def test_patients_on_both_sides_of_the_bag_are_counted(name):
    with pytest.warns(UserWarning, match="60 of 60 patients have rows on both sides"):
        fitted(
            OUT_OF_BAG[name][0], X=OF_PATIENTS, y=LABELS_OF_PATIENTS, groups=PATIENTS
        )


def test_copies_leave_the_out_of_bag_score_of_numbers_at_chance():
    numbers = np.random.default_rng(0).normal(size=N_ROWS)
    forest = RandomForestRegressor(80, oob_score=True)
    model = EarlyFusionRegressor(MODALITIES, estimator=forest, random_state=0)
    assert model.fit(NOISE, numbers).estimator_.oob_score_ < 0.1
    model.set_params(absence_copies=1.0)
    with pytest.warns(UserWarning, match="two copies of 240 of 240 rows"):
        assert model.fit(NOISE, numbers).estimator_.oob_score_ > 0.2
