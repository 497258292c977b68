"""Numbers of the page and of the JSON, computed again from the predictions alone.

Nothing of skfusion computes here. The scores are those of scikit-learn, the intervals
of the differences follow the formula of Nadeau and Bengio, and Holm's adjustment its
text.
"""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion.evaluation.report.report import render

SCORES = {
    "roc_auc": roc_auc_score,
    "average_precision": average_precision_score,
    "brier": brier_score_loss,
}
N_PATIENTS = 150


@pytest.fixture(scope="module")
def result():
    rng = np.random.default_rng(5)
    X = pd.DataFrame(rng.normal(size=(400, 4)), columns=["a", "b", "c", "d"])
    X["patient_id"] = np.r_[np.arange(N_PATIENTS), rng.integers(0, N_PATIENTS, 250)]
    y = (X[["a", "c"]].sum(axis=1) + rng.normal(size=400) > 0).astype(int)
    parts = [
        ("ct", StandardScaler(), ["a", "b"]),
        ("ehr", StandardScaler(), ["c", "d"]),
    ]
    fusions = {
        "early": EarlyFusionClassifier(parts, estimator=LogisticRegression()),
        "late": LateFusionClassifier(parts, estimator=LogisticRegression()),
    }
    return compare_fusion(
        fusions,
        X,
        y,
        groups="patient_id",
        scoring=list(SCORES),
        cv=4,
        n_repeats=3,
        random_state=0,
    )


@pytest.fixture(scope="module")
def told(result):
    return json.loads(result.to_json())


@pytest.fixture(scope="module")
def folds(result):
    """Scores of each test set from the predictions, with the numbers of patients."""
    table = result.predictions_
    strategies = list(result.strategies_.index)
    rows = []
    for _, part in table.groupby(["repeat", "fold"]):
        n_test = part["group"].nunique()
        for name in strategies:
            found = {key: score(part["y"], part[name]) for key, score in SCORES.items()}
            rows.append({"strategy": name, "n_test": n_test, **found})
    return pd.DataFrame(rows)


def mean_of(folds, strategy, metric):
    part = folds[folds["strategy"] == strategy]
    return np.average(part[metric], weights=part["n_test"])


def paired(folds, strategy, reference, metric):
    """Return the mean difference, its standard error and its degrees of freedom."""
    one = folds[folds["strategy"] == strategy]
    gaps = (
        one[metric].to_numpy()
        - folds.loc[folds["strategy"] == reference, metric].to_numpy()
    )
    weights = one["n_test"].to_numpy(dtype=float)
    mean = np.average(gaps, weights=weights)
    size = weights.sum() ** 2 / (weights**2).sum()
    variance = np.average((gaps - mean) ** 2, weights=weights) * size / (size - 1)
    ratio = np.average(weights / (N_PATIENTS - weights), weights=weights)
    return mean, np.sqrt((1 / size + ratio) * variance), len(gaps) - 1


@pytest.mark.long
def test_scores(told, folds):
    assert len(told["scores"]) == 6 * len(SCORES)
    for row in told["scores"]:
        expected = mean_of(folds, row["strategy"], row["metric"])
        assert row["estimate"] == pytest.approx(expected, rel=0, abs=1e-9)


def test_differences_and_their_intervals(told, folds):
    for row in told["differences"]:
        pair = (row["strategy"], row["reference"])
        mean, error, df = paired(folds, *pair, row["metric"])
        reach = stats.t.ppf(0.975, df) * error
        found = [row["estimate"], row["low"], row["high"]]
        expected = [mean, mean - reach, mean + reach]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        if row["metric"] == "roc_auc":
            p = 2 * stats.t.sf(abs(mean / error), df)
            assert row["p"] == pytest.approx(p, rel=0, abs=1e-9)


def test_tests_over_all_singles_and_fusions(told, folds):
    singles = [row["strategy"] for row in told["strategies"] if row["single"]]
    raw = {}
    for row in told["tests"]:
        name = row["strategy"]
        best = max(singles, key=lambda single: mean_of(folds, single, "roc_auc"))
        assert mean_of(folds, row["reference"], "roc_auc") == pytest.approx(
            mean_of(folds, best, "roc_auc")
        )
        p_values = []
        for single in singles:
            mean, error, df = paired(folds, name, single, "roc_auc")
            p_values.append(min(1.0, 2 * stats.t.sf(mean / error, df)))
        raw[name] = max(p_values)
        assert row["p_helps"] == pytest.approx(raw[name], rel=0, abs=1e-9)
    lowest, highest = sorted(raw, key=raw.__getitem__)
    holm = {lowest: min(1.0, 2 * raw[lowest])}
    holm[highest] = max(holm[lowest], raw[highest])
    for row in told["tests"]:
        expected = holm[row["strategy"]]
        assert row["p_helps_holm"] == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.long
def test_the_page_prints_these_numbers(result, folds):
    page = render(result).partition("</style>")[2]
    text = " ".join(re.sub(r"<[^>]+>", " ", page.replace("<wbr>", "")).split())
    labels = result.strategies_["label"]
    for name in result.strategies_.index:
        row = re.escape(labels[name]) + r" (0\.\d{3}) "
        expected = mean_of(folds, name, "roc_auc")
        assert f"{expected:.3f}" in re.findall(row, text)
    for row in result.tests_.itertuples():
        mean, error, df = paired(folds, row.strategy, row.reference, "roc_auc")
        low, high = mean + np.array([-1, 1]) * stats.t.ppf(0.975, df) * error
        assert f"{mean:+.3f}".replace("-", "\N{MINUS SIGN}") in text
        assert f"{low:+.3f} to {high:+.3f}".replace("-", "\N{MINUS SIGN}") in text
