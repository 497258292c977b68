"""ROC and precision-recall curves of a comparison: means, bands and their limits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import make_cohort, modalities
from sklearn.metrics import precision_recall_curve, roc_curve

from skfusion import compare_fusion
from skfusion.evaluation.comparison.analyses import held_out
from skfusion.evaluation.comparison.analyses.curves import (
    precision_recall_table,
    roc_table,
)
from skfusion.evaluation.comparison.analyses.held_out import held_out_sets


@pytest.fixture(scope="module")
def result():
    X, y = make_cohort()
    return compare_fusion(
        modalities(),
        X,
        y,
        groups="patient_id",
        strategies=("single", "late"),
        n_repeats=2,
        random_state=0,
    )


def predictions(y, score, fold=0, group=-1):
    table = {"row": range(len(y)), "repeat": 0, "fold": fold, "group": group, "y": y}
    return pd.DataFrame(table | {"a": score})


def test_roc_curve_is_the_mean_of_those_of_the_test_sets(result):
    table = result.predictions_
    curve = result.roc_curve("late")
    rates = curve["false_positive_rate"]
    assert rates.tolist() == np.linspace(0, 1, 101).tolist()
    found, weights = [], []
    for _, part in table.groupby(["repeat", "fold"]):
        fpr, tpr, _ = roc_curve(part["y"], part["late"], drop_intermediate=False)
        found.append(np.interp(rates, fpr, tpr))
        weights.append(part["group"].nunique())
    expected = np.average(found, axis=0, weights=weights)
    np.testing.assert_allclose(curve["sensitivity"], expected, atol=1e-12)
    assert (curve["low"] <= curve["sensitivity"] + 1e-12).all()
    assert (curve["high"] >= curve["sensitivity"] - 1e-12).all()
    assert (np.diff(curve["sensitivity"]) >= -1e-12).all()
    area = np.trapezoid(curve["sensitivity"], rates)
    assert area == pytest.approx(result.to_frame().loc["late"].iloc[0], abs=0.005)


def test_precision_is_that_of_the_highest_threshold_with_the_recall(result):
    table = result.predictions_
    curve = result.precision_recall_curve("late")
    found, weights = [], []
    for _, part in table.groupby(["repeat", "fold"]):
        precision, recall, _ = precision_recall_curve(part["y"], part["late"])
        # increasing thresholds: of those with the recall, the last is the highest
        found.append(
            [
                precision[:-1][recall[:-1] >= wanted - 1e-9][-1]
                for wanted in curve["recall"]
            ]
        )
        weights.append(part["group"].nunique())
    expected = np.average(found, axis=0, weights=weights)
    np.testing.assert_allclose(curve["precision"], expected, atol=1e-12)
    assert curve["prevalence"].nunique() == 1
    assert curve["prevalence"].iloc[0] == pytest.approx(table["y"].mean(), abs=0.01)
    average = result.to_frame().loc["late", ("average_precision", "estimate")]
    assert curve["precision"].mean() == pytest.approx(average, abs=0.01)


def test_band_is_by_patient():
    """Copies of the rows of a patient add nothing to what is known."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    score = np.clip(0.5 + 0.2 * (y - 0.5) + 0.2 * rng.normal(size=80), 0, 1)
    once = predictions(y, score)
    copies = pd.concat([once.assign(group=range(80))] * 4, ignore_index=True)
    copies["row"] = range(320)
    bands = []
    for table in (once, copies, copies.assign(group=-1)):
        found = roc_table(
            held_out_sets(table, "a", "1"), equal_weights=False, seed=0
        ).iloc[20:60]
        bands.append((found["high"] - found["low"]).mean())
    assert bands[1] == pytest.approx(bands[0], rel=0.05)
    assert bands[2] < 0.65 * bands[0]


@pytest.mark.parametrize("table", [roc_table, precision_recall_table])
def test_perfect_separation_is_not_certain(table):
    y = np.repeat([0, 1], 20)
    sets = held_out_sets(predictions(y, y * 0.8 + 0.1), "a", "1")
    found = table(sets, equal_weights=False, seed=0).iloc[:-1]
    assert (found.iloc[:, 1] == 1).all()
    assert (found["low"] < 0.84).all()
    assert (found["low"] > 0.83).all()
    assert (found["high"] == 1).all()


def test_ties_are_one_step():
    sets = held_out_sets(predictions([0, 1, 0, 1], [0.5] * 4), "a", "1")
    curve = roc_table(sets, equal_weights=False, seed=0)
    np.testing.assert_allclose(curve["sensitivity"], curve["false_positive_rate"])
    precision = precision_recall_table(sets, equal_weights=False, seed=0)
    assert (precision["precision"] == 0.5).all()


def test_sites_have_no_band():
    sets = held_out_sets(
        predictions([0, 1] * 10, np.linspace(0, 1, 20), fold=np.repeat([0, 1], 10)),
        "a",
        "1",
    )
    for table in (roc_table, precision_recall_table):
        found = table(sets, equal_weights=True, seed=0)
        assert found[["low", "high"]].isna().all(axis=None)
        assert found.iloc[:, 1].notna().all()


@pytest.mark.parametrize("method", ["roc_curve", "precision_recall_curve"])
def test_unknown_strategies_and_other_outcomes_are_refused(result, method):
    with pytest.raises(ValueError, match="'middle' is not one of the strategies"):
        getattr(result, method)("middle")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 2)), columns=["lesion", "age"])
    numbers = compare_fusion(
        modalities(),
        X,
        X.sum(axis=1) + rng.normal(size=60),
        strategies=("single", "late"),
        n_repeats=1,
        cv=3,
        random_state=0,
    )
    with pytest.raises(ValueError, match="two classes, but the outcome is regression"):
        getattr(numbers, method)("late")


@pytest.mark.parametrize("method", ["roc_curve", "operating_point", "by_group"])
def test_results_do_not_depend_on_the_memory(result, method, monkeypatch):
    argument = {"roc_curve": "late", "operating_point": 0.9, "by_group": "age"}[method]
    expected = getattr(result, method)(argument)
    monkeypatch.setattr(held_out, "MOST_WEIGHTS", 1000)
    pd.testing.assert_frame_equal(getattr(result, method)(argument), expected)
