"""Refits are those of all that was given, on the folds of a comparison."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, TargetEncoder

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    ModalityImportance,
)
from skfusion.evaluation import compare_fusion
from skfusion.fusion.restriction import restricted_to

MODALITIES = [
    ("image", StandardScaler(), ["a", "b"]),
    ("ehr", StandardScaler(), ["c", "d"]),
]


def cohort(n_rows=160, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_rows, 4)), columns=list("abcd"))
    margin = X["a"] + 0.7 * X["c"]
    y = np.where(rng.random(n_rows) < 1 / (1 + np.exp(-margin)), "yes", "no")
    return X, y


def early(**options):
    given = {"estimator": LogisticRegression(), "absence_copies": 0, **options}
    return EarlyFusionClassifier(MODALITIES, **given)


# -- the whole of what was given --------------------------------------------------


def test_a_supervised_step_before_a_fusion_sees_the_training_part_only():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "site": rng.choice([f"s{i}" for i in range(120)], 400),
            "a": rng.normal(size=400),
            "b": rng.normal(size=400),
        }
    )
    y = rng.integers(0, 2, 400)
    encoder = ColumnTransformer(
        [("te", TargetEncoder(smooth=1e-6), ["site"])],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    triples = [
        ("image", StandardScaler(), ["a"]),
        ("ehr", StandardScaler(), ["site", "b"]),
    ]
    fusion = EarlyFusionClassifier(
        triples, estimator=LogisticRegression(), absence_copies=0
    )
    model = Pipeline([("te", encoder), ("fusion", fusion)]).fit(X, y)
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(X, y))
    found = ModalityImportance(model).refit(X, y, cv=folds)
    assert found.coalition_scores["ehr"] < 0.6
    whole = cross_val_score(model, X, y, cv=folds, scoring="roc_auc")
    np.testing.assert_allclose(found.fold_scores["image + ehr"], whole)


def selected(y_informs=8):
    """A selection of columns by the outcome, among columns of noise."""
    rng = np.random.default_rng(1)
    X = pd.DataFrame(rng.normal(size=(90, 400))).rename(columns=lambda i: f"n{i}")
    return X, rng.integers(0, 2, 90)


@pytest.mark.long
def test_a_selection_by_the_outcome_is_made_again():
    X, y = selected()
    modalities = {"first": list(X.columns[:200]), "second": list(X.columns[200:])}
    model = make_pipeline(SelectKBest(k=10), LogisticRegression()).fit(X, y)
    found = ModalityImportance(model, modalities=modalities).refit(X, y)
    assert found.coalition_scores.max() < 0.7
    search = GridSearchCV(model, {"selectkbest__k": [5, 10]}, cv=2).fit(X, y)
    found = ModalityImportance(search, modalities=modalities).refit(X, y, cv=3)
    assert found.coalition_scores.max() < 0.75


class Recorded(LogisticRegression):
    """A learner that tells how many rows each of its fits has."""

    fits: list[int] = []

    def fit(self, X, y, sample_weight=None):
        Recorded.fits.append(len(X))
        return super().fit(X, y, sample_weight)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GridSearchCV, RandomizedSearchCV])
def test_searches_are_made_again_on_the_training_part(kind):
    X, y = cohort()
    grid = {"estimator__C": [0.01, 1.0], "image__with_std": [True, False]}
    more = {} if kind is GridSearchCV else {"n_iter": 4, "random_state": 0}
    search = kind(early(estimator=Recorded()), grid, cv=2, **more).fit(X, y)
    Recorded.fits.clear()
    found = ModalityImportance(search).refit(X, y, cv=4)
    assert max(Recorded.fits) == 120  # no fit has a row of the test part
    # 4 candidates with the image, 2 without it; two folds each and the best again
    assert len(Recorded.fits) == 4 * (2 * (4 * 2 + 1) + 2 * 2 + 1)
    folds = list(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y))
    whole = cross_val_score(search, X, y, cv=folds, scoring="roc_auc")
    np.testing.assert_allclose(found.fold_scores["image + ehr"], whole)


@pytest.mark.parametrize(
    "around",
    [
        lambda: CalibratedClassifierCV(early(), cv=3, ensemble=False),
        lambda: make_pipeline(FunctionTransformer(), early()),
        lambda: CalibratedClassifierCV(
            make_pipeline(FunctionTransformer(), early()), cv=2
        ),
    ],
)
def test_calibrated_and_nested_estimators_are_fitted_as_a_whole(around):
    X, y = cohort()
    model = around().fit(X, y)
    columns = {"image": ["a", "b"], "ehr": ["c", "d"]}
    folds = list(StratifiedKFold(3).split(X, y))
    given = None if isinstance(model, Pipeline) else columns
    found = ModalityImportance(model, modalities=given).refit(X, y, cv=folds)
    whole = cross_val_score(model, X, y, cv=folds, scoring="roc_auc")
    np.testing.assert_allclose(found.fold_scores["image + ehr"], whole)


def test_labels_of_a_threshold_are_those_that_are_scored():
    X, y = cohort()
    model = FixedThresholdClassifier(early(), threshold=0.9, pos_label="yes").fit(X, y)
    folds = list(StratifiedKFold(3).split(X, y))
    found = ModalityImportance(model).refit(X, y, cv=folds, scoring="accuracy")
    whole = cross_val_score(model, X, y, cv=folds, scoring="accuracy")
    np.testing.assert_allclose(found.fold_scores["image + ehr"], whole)


def test_frozen_estimators_are_refused():
    X, y = cohort()
    frozen = make_pipeline(FrozenEstimator(early().fit(X, y))).fit(X, y)
    with pytest.raises(ValueError, match="frozen fusion cannot be fitted"):
        ModalityImportance(frozen).refit(X, y, cv=2)


# -- the matched difference -------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("model", [early(), LateFusionClassifier(MODALITIES)])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("cv", [5, RepeatedStratifiedKFold(n_splits=3, n_repeats=2)])
def test_drop_one_is_the_difference_of_a_comparison(model, grouped, cv):
    X, y = cohort()
    if grouped and cv != 5:
        pytest.skip("repeated folds have no patients")
    X["pid"] = np.repeat(np.arange(80), 2) if grouped else np.arange(160)
    if grouped:
        model.set_params(groups="pid")
    model.fit(X, y)
    given = {"groups": "pid"} if grouped else {}
    found = ModalityImportance(model, random_state=7).refit(X, y, cv=cv, **given)
    compared = compare_fusion(
        {"whole": model, "ehr alone": restricted_to(model, ["ehr"])},
        X,
        y,
        cv=cv,
        n_repeats=1,
        scoring="roc_auc",
        random_state=7,
        **given,
    )
    table = compared.differences_.set_index("reference")
    row = table.loc["ehr in whole"]
    assert row["estimate"] == pytest.approx(table.loc["ehr alone", "estimate"])
    assert found.drop_one[0] == pytest.approx(row["estimate"], abs=1e-12)
    assert found.drop_one_low[0] == pytest.approx(row["low"], abs=1e-12)
    assert found.drop_one_high[0] == pytest.approx(row["high"], abs=1e-12)
    scores = compared.scores_.set_index("strategy").loc["ehr in whole"]
    of_set = found.subsets().loc["ehr"]
    assert of_set["score"] == pytest.approx(scores["estimate"], abs=1e-12)
    assert of_set["low_refits"] == pytest.approx(scores["low"], abs=1e-12)
    assert of_set["high_refits"] == pytest.approx(scores["high"], abs=1e-12)
    frame = found.drop_one_frame()
    assert list(frame) == ["estimate", "low_refits", "high_refits", "n_present"]
    by_fold = found.fold_scores["image + ehr"] - found.fold_scores["ehr"]
    # The mean is weighted by the patients of the test sets.
    sizes = None if cv == 5 else [len(test) for _, test in cv.split(X, y)]
    assert np.average(by_fold, weights=sizes) == pytest.approx(found.drop_one[0])


@pytest.mark.slow
def test_numbers_are_compared_on_the_same_folds():
    X, _ = cohort()
    y = X["a"].to_numpy() + 0.3 * X["c"].to_numpy()
    model = EarlyFusionRegressor(MODALITIES, estimator=Ridge()).fit(X, y)
    found = ModalityImportance(model, random_state=3).refit(X, y)
    compared = compare_fusion(
        {"whole": model, "image alone": restricted_to(model, ["image"])},
        *(X, y),
        scoring="r2",
        random_state=3,
        n_repeats=1,
    )
    row = compared.differences_.set_index("reference").loc["image alone"]
    assert found.drop_one[1] == pytest.approx(row["estimate"], abs=1e-12)
    assert found.drop_one_high[1] == pytest.approx(row["high"], abs=1e-12)


def test_perfect_refits_have_an_interval():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(40, 4)), columns=list("abcd"))
    y = np.arange(40) % 2
    X["a"] += 50 * y
    X["c"] += 50 * y
    found = ModalityImportance(early().fit(X, y)).refit(X, y)
    np.testing.assert_allclose(found.estimate, 0.25)
    assert (found.high - found.low > 0.02).all()
    assert (found.drop_one_high - found.drop_one_low > 0.02).all()
