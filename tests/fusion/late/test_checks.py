"""scikit-learn's own checks, on late fusions that learn something out of fold."""

from __future__ import annotations

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from skfusion import LateFusionClassifier, LateFusionRegressor

LONELY_CLASS = "one class has a single row, which no inner fold can hold out"
FEW_ROWS = "a class has fewer rows outside one fold than a calibration needs"
ONLY_ORDER = "weights move a threshold of ranks no further than past a class's last row"
RELATIVE = (
    "weights are relative, so a penalty sees the number of rows, which is greater if "
    "rows are repeated"
)
UNANIMOUS = "a vote of one member is unanimous: 0 or 1"
WEIGHTS = (
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
ONE_ROW_CLASSES = (
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_f_contiguous_array_estimator",
    "check_fit2d_predict1d",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
)


def expected_failed_checks(estimator):
    if estimator.aggregation == "bayes" or isinstance(estimator, LateFusionRegressor):
        return dict.fromkeys(WEIGHTS, RELATIVE)
    failed = dict.fromkeys(ONE_ROW_CLASSES, LONELY_CLASS)
    failed |= dict.fromkeys(WEIGHTS, RELATIVE)
    if estimator.aggregation == "rank":
        failed["check_class_weight_classifiers"] = ONLY_ORDER
    if estimator.aggregation == "weighted_vote":
        failed["check_classifiers_multilabel_output_format_predict_proba"] = UNANIMOUS
    if getattr(estimator, "calibration", None):
        failed["check_fit2d_1feature"] = FEW_ROWS
    return failed


@parametrize_with_checks(
    [LateFusionClassifier(aggregation="bayes")],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        LateFusionClassifier(
            aggregation="stacking",
            final_estimator=LogisticRegression(),
            calibration="sigmoid",
            final_calibration="temperature",
        ),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_check_of_calibrated_stacking(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        LateFusionClassifier(aggregation="weighted", weights="accuracy"),
        LateFusionClassifier(aggregation="weighted_vote"),
        LateFusionClassifier(aggregation="rank"),
        LateFusionRegressor(aggregation="median"),
        LateFusionRegressor(aggregation="weighted", weights="r2"),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_sklearn_check_of_more_rules(estimator, check):
    check(estimator)
