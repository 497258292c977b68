"""Metrics against scikit-learn's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as skm

from skfusion.evaluation.metrics import Predictions, resolve_metrics


def one(scoring, n_classes):
    (metric,) = resolve_metrics(scoring, n_classes)
    return metric


@pytest.fixture
def binary():
    rng = np.random.default_rng(0)
    y = np.where(rng.integers(0, 2, 60) == 1, "sick", "healthy")
    p = np.clip((y == "sick") * 0.3 + rng.uniform(0, 0.7, 60), 0.01, 0.99)
    classes = np.array(["healthy", "sick"])
    labels = classes[(p > 0.5).astype(int)]
    return Predictions(np.column_stack([1 - p, p]), labels), y, classes, p


def test_binary_scores_with_text_labels(binary):
    predictions, y, classes, p = binary
    truth = y == "sick"
    expected = {
        "roc_auc": skm.roc_auc_score(truth, p),
        "average_precision": skm.average_precision_score(truth, p),
        "brier": skm.brier_score_loss(truth, p),
        "log_loss": skm.log_loss(truth, p),
        "f1": skm.f1_score(truth, p > 0.5),
        "accuracy": skm.accuracy_score(truth, p > 0.5),
    }
    for metric in resolve_metrics(list(expected), 2):
        value = metric.score(predictions, None, y, classes)
        assert value == pytest.approx(expected[metric.name], abs=1e-12), metric.name
        assert metric.greater_is_better is (metric.name not in ("brier", "log_loss"))


def test_multiclass_defaults():
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 3, 90), rng.dirichlet([1, 1, 1], 90)
    classes = np.arange(3)
    values = {
        metric.name: metric.score(Predictions(p), None, y, classes)
        for metric in resolve_metrics(None, 3)
    }
    assert values == pytest.approx(
        {
            "roc_auc_ovr": skm.roc_auc_score(y, p, multi_class="ovr"),
            "average_precision": skm.average_precision_score(np.eye(3)[y], p),
            "brier": ((p - np.eye(3)[y]) ** 2).sum(1).mean(),
        }
    )
    assert one("roc_auc", 3).name == "roc_auc_ovr"


def test_regression_defaults():
    rng = np.random.default_rng(2)
    y, p = rng.normal(size=(2, 40))
    r2, mae = resolve_metrics(None, None)
    assert r2.score(Predictions(p), None, y, None) == pytest.approx(skm.r2_score(y, p))
    assert mae.score(Predictions(p), None, y, None) == pytest.approx(abs(y - p).mean())
    assert (r2.greater_is_better, mae.greater_is_better) == (True, False)
    assert (r2.highest, mae.lowest) == (1, 0)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("neg_brier_score", "brier"),
        ("neg_log_loss", "log_loss"),
        ("neg_mean_absolute_error", "mae"),
        ("neg_median_absolute_error", "median_absolute_error"),
    ],
)
def test_negated_scores_are_shown_as_losses(given, name):
    metric = one(given, None if "absolute" in given else 2)
    assert metric.name == name
    assert not metric.greater_is_better
    assert metric.heading.endswith("(lower is better)")


def test_negated_loss_is_positive():
    value = one("neg_median_absolute_error", None).score(
        Predictions(np.array([1.0, 2.0, 3.0])), None, np.array([1.0, 2.5, 5.0]), None
    )
    assert value == 0.5


def test_callables_see_the_users_labels(binary):
    predictions, y, classes, _ = binary

    def sensitivity(estimator, X, y):
        return np.mean(estimator.predict(X)[y == "sick"] == "sick")

    for scoring in (sensitivity, {"sensitivity": sensitivity}):
        metric = one(scoring, 2)
        assert metric.name == "sensitivity"
        assert metric.score(predictions, None, y, classes) == pytest.approx(
            skm.recall_score(y, predictions.labels, pos_label="sick")
        )
    scorer = {"recall": skm.make_scorer(skm.recall_score, pos_label="sick")}
    assert one(scorer, 2).score(predictions, None, y, classes) == pytest.approx(
        skm.recall_score(y, predictions.labels, pos_label="sick")
    )


@pytest.mark.parametrize(
    ("scoring", "n_classes", "message"),
    [
        ("auroc", 2, "neither a scorer of scikit-learn nor one of"),
        ("roc_uac", 2, "Did you mean 'roc_auc'"),
        ([], 2, "scoring is empty"),
        ("roc_auc", None, "requires classes, but the target is numeric"),
        ("brier", None, "requires classes"),
        ([len], 2, "callables in a dict"),
    ],
)
def test_bad_scoring(scoring, n_classes, message):
    with pytest.raises(ValueError, match=message):
        resolve_metrics(scoring, n_classes)


def test_values_as_text():
    auroc, mae = one("roc_auc", 2), one("mae", None)
    assert [auroc.text(v, signed=True) for v in (0.0124, -0.2, -0.0001, 0.0)] == [
        *("+0.012", "-0.200", "0.000", "0.000")
    ]
    assert mae.text(1234.5) == "1,234"
    assert mae.text(0.00123) == "0.00123"
    assert (auroc.clip(1.2), auroc.clip(-0.2), mae.clip(7.0)) == (1, 0, 7)
