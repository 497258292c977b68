"""scikit-learn's own checks, on every public estimator."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)
from sklearn.utils.validation import column_or_1d

import skfusion.fusion
from skfusion import EarlyFusionClassifier, EarlyFusionRegressor, TabularEncoder
from skfusion.survival import XGBoostSurvival

WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
XGBOOST = (
    "XGBoost bins and samples rows before it weighs them, so that a row of weight 2 is "
    "not the same as the row twice"
)
PRECISION = (
    "the check allows a difference of 1e-7, and XGBoost computes in float32, in which "
    "a weighted row and its copies differ by that much (test_survival.py)"
)
MINI_BATCHES = (
    "a row of weight 2 falls into one mini-batch, the row twice into two: the steps "
    "of stochastic gradient descent differ"
)
RELATIVE = (
    "weights are relative, so a penalty sees the number of rows, which is greater if "
    "rows are repeated"
)
OUT_OF_FOLD = (
    "fit_transform predicts out of fold, as TargetEncoder's does, so that it is not "
    "what fit and then transform give"
)
EXPECTED_FAILURES = {
    "EarlyFusionClassifier": dict.fromkeys(WEIGHTS, XGBOOST),
    "EarlyFusionRegressor": dict.fromkeys(WEIGHTS, XGBOOST),
    "EarlyFusionSurvival": dict.fromkeys(WEIGHTS, XGBOOST),
    "JointFusionSurvival": dict.fromkeys(WEIGHTS, MINI_BATCHES),
    "LateFusionClassifier": dict.fromkeys(WEIGHTS, RELATIVE),
    "LateFusionRegressor": dict.fromkeys(WEIGHTS, RELATIVE),
    "LateFusionSurvival": dict.fromkeys(WEIGHTS, XGBOOST),
    "ModelFeatures": {
        "check_transformer_data_not_an_array": OUT_OF_FOLD,
        "check_transformer_general": OUT_OF_FOLD,
    },
    "XGBoostSurvival": dict.fromkeys(WEIGHTS, PRECISION),
    "JointFusionClassifier": dict.fromkeys(WEIGHTS, MINI_BATCHES),
    "JointFusionRegressor": dict.fromkeys(WEIGHTS, MINI_BATCHES),
}
# What makes the checks quick; everything else is the default.
SMALL = {
    "JointFusionClassifier": {"max_epochs": 10},
    "JointFusionRegressor": {"max_epochs": 10},
    "EarlyFusionSurvival": {"cv": None},
    "GeneticSelector": {"population_size": 4, "n_generations": 2, "cv": 2},
    "JointFusionSurvival": {"max_epochs": 10},
    "LateFusionSurvival": {"cv": 2, "estimator": XGBoostSurvival(n_estimators=10)},
    # A sample of rows is another one where a row of weight 2 is there twice.
    "XGBoostSurvival": {"subsample": 1.0},
}
# All columns twice, because every join but concatenation wants two modalities.
TWICE = [(name, TabularEncoder(), slice(None)) for name in ("image", "ehr")]
EARLY_VARIANTS = (
    {"join": "pool"},
    {"join": "gated", "join_params": {"n_units": 2, "max_iter": 20}},
    {"balance": "scale"},
    {"balance": "replicate"},
)
FACES = (
    *("skfusion.ehr", "skfusion.feature_selection", "skfusion.fusion"),
    *("skfusion.image", "skfusion.inspection", "skfusion.survival"),
    "skfusion.text",
)
FUSION = [
    f"{strategy}Fusion{kind}"
    for strategy in ("Early", "Late", "Joint")
    for kind in ("Classifier", "Regressor", "Survival")
]


def public_estimators() -> list[type]:
    faces = map(import_module, FACES)
    public = [getattr(face, name) for face in faces for name in face.__all__]
    classes = {part for part in public if inspect.isclass(part)}
    estimators = [
        part
        for part in classes
        if issubclass(part, BaseEstimator) and hasattr(part, "fit")
    ]
    return sorted(estimators, key=lambda part: part.__name__)


def expected_failed_checks(estimator: BaseEstimator) -> dict[str, str]:
    if getattr(estimator, "modalities", None) is TWICE:
        return dict.fromkeys(WEIGHTS, RELATIVE)  # no XGBoost in there
    return EXPECTED_FAILURES.get(type(estimator).__name__, {})


class NumbersAsTimes:
    """Read the numbers of scikit-learn's checks as times to an event."""

    def fit(self, X, y=None, sample_weight=None, **groups):
        return super().fit(X, as_times(y), sample_weight, **groups)

    def score(self, X, y=None, sample_weight=None):
        return super().score(X, as_times(y), sample_weight)


def as_times(y):
    if y is None:
        return None
    numbers = column_or_1d(y, warn=True)
    if numbers.dtype.kind not in "fiu":
        numbers = np.unique(numbers, return_inverse=True)[1]
    times = np.empty(len(numbers), dtype=[("event", bool), ("time", float)])
    times["event"] = True
    times["time"] = numbers - numbers.min() + 1 if len(numbers) else numbers
    return times


def for_checks(kind: type) -> BaseEstimator:
    """Return an estimator that the checks can fit."""
    if kind.__name__.endswith("Survival"):
        kind = type(kind.__name__, (NumbersAsTimes, kind), {"__module__": __name__})
        globals()[kind.__name__] = kind  # so that it can be pickled
    return kind(**SMALL.get(kind.__name__, {}))


def early_variants() -> list[BaseEstimator]:
    """Return an early fusion with each join and balance, on a quick learner."""
    return [
        kind(TWICE, estimator=learner, **variant)
        for kind, learner in (
            (EarlyFusionClassifier, LogisticRegression()),
            (EarlyFusionRegressor, Ridge()),
        )
        for variant in EARLY_VARIANTS
    ]


def takes_tables(kind: type) -> bool:
    """Tell whether scikit-learn has checks for an estimator's kind of input."""
    return get_tags(kind()).input_tags.two_d_array


ESTIMATORS = {
    kind.__name__: for_checks(kind)
    for kind in public_estimators()
    if takes_tables(kind)
}


# TorchEncoder has random weights outside joint fusion, and says so.
@pytest.mark.filterwarnings("ignore:.*Nothing trains them here:UserWarning")
@parametrize_with_checks(
    ESTIMATORS.values(), expected_failed_checks=expected_failed_checks
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    early_variants(), expected_failed_checks=expected_failed_checks
)
def test_sklearn_check_of_variants_of_early_fusion(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        clone(ESTIMATORS["JointFusionSurvival"]).set_params(join=fusion, loss=loss)
        for fusion, loss in (
            *(("sum", "cox"), ("gated", "hazard"), ("low_rank", "cox")),
            *(("film", "hazard"), ("attention", "cox"), (("ehr",), "hazard")),
        )
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_check_of_every_join_for_survival(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", FUSION)
def test_the_whole_suite_runs(name):
    """Tags that do not fit would silently switch most checks off."""
    estimator = getattr(skfusion.fusion, name)()
    checks = list(estimator_checks_generator(estimator))
    # survival estimators have no type of their own, hence no checks for one
    assert len(checks) >= (50 if name.endswith("Survival") else 60)
    assert type(estimator) in public_estimators()


def test_only_images_texts_and_events_are_beyond_scikit_learns_checks():
    """They have tests of their own, which fit them to images, texts and events."""
    others = [kind.__name__ for kind in public_estimators() if not takes_tables(kind)]
    assert others == [
        *("Demographics", "EventGrid", "EventNotes", "EventWindows"),
        *("ImageEmbedder", "RadiomicsEncoder", "TextEmbedder"),
    ]


@pytest.mark.slow
def test_the_checks_that_scikit_learn_skips_by_default_run_too():
    """Those of other array libraries want a variable before scipy is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, __file__, "-k", "check_array_api"],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    n_estimators = sum(takes_tables(kind) for kind in public_estimators())
    n_estimators += len(early_variants())
    assert f"{n_estimators} passed" in result.stdout
    assert "skipped" not in result.stdout
