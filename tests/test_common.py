"""scikit-learn's own checks, on every public estimator."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    estimator_checks_generator,
    parametrize_with_checks,
)

import skfusion

WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
XGBOOST = (
    "XGBoost bins and samples rows before it weighs them, so that a row of weight 2 is "
    "not the same as the row twice"
)
MINI_BATCHES = (
    "a row of weight 2 falls into one mini-batch, the row twice into two: the steps "
    "of stochastic gradient descent differ"
)
EXPECTED_FAILURES = {
    "EarlyFusionClassifier": dict.fromkeys(WEIGHTS, XGBOOST),
    "EarlyFusionRegressor": dict.fromkeys(WEIGHTS, XGBOOST),
    "JointFusionClassifier": dict.fromkeys(WEIGHTS, MINI_BATCHES),
    "JointFusionRegressor": dict.fromkeys(WEIGHTS, MINI_BATCHES),
}
FUSION = [
    f"{strategy}Fusion{kind}"
    for strategy in ("Early", "Late", "Joint")
    for kind in ("Classifier", "Regressor")
]


def public_estimators() -> list[type]:
    public = [getattr(skfusion, name) for name in skfusion.__all__]
    return [
        part
        for part in public
        if inspect.isclass(part) and issubclass(part, BaseEstimator)
    ]


def expected_failed_checks(estimator: BaseEstimator) -> dict[str, str]:
    return EXPECTED_FAILURES.get(type(estimator).__name__, {})


def takes_tables(kind: type) -> bool:
    """Tell whether scikit-learn has checks for an estimator's kind of input."""
    return get_tags(kind()).input_tags.two_d_array


@parametrize_with_checks(
    [kind() for kind in public_estimators() if takes_tables(kind)],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", FUSION)
def test_the_whole_suite_runs(name):
    """Tags that do not fit would silently switch most checks off."""
    estimator = getattr(skfusion, name)()
    checks = list(estimator_checks_generator(estimator))
    assert len(checks) >= 60
    assert type(estimator) in public_estimators()


def test_only_the_image_embedder_is_beyond_scikit_learns_checks():
    """It has checks of its own in tests/image/test_embedding.py."""
    others = [kind.__name__ for kind in public_estimators() if not takes_tables(kind)]
    assert others == ["ImageEmbedder"]


def test_the_checks_that_scikit_learn_skips_by_default_run_too():
    """Those of other array libraries want a variable before scipy is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [*command, __file__, "-k", "check_array_api"],
        env={**os.environ, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    n_estimators = sum(takes_tables(kind) for kind in public_estimators())
    assert f"{n_estimators} passed" in result.stdout
    assert "skipped" not in result.stdout
