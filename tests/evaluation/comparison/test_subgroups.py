"""Scores in subgroups: their values, their limits, and that small counts are hidden."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import make_cohort, modalities
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from skfusion import compare_fusion
from skfusion.evaluation import estimate_aurocs
from skfusion.evaluation.comparison.analyses.held_out import held_out_sets
from skfusion.evaluation.comparison.analyses.jackknife import (
    patient_blocks,
    score_sets,
)
from skfusion.evaluation.comparison.analyses.levels import levels_of
from skfusion.evaluation.comparison.analyses.subgroups import Predicted, subgroup_table
from skfusion.evaluation.comparison.analyses.weighted_scores import SCORES
from skfusion.evaluation.metrics import resolve_metrics

SITE = np.array(["a", "b", "c"])[(np.arange(240) // 3) % 3]
# MetricFrame of fairlearn 0.15.0 with the functions of scikit-learn, on `on_one_set`.
FAIRLEARN = {
    "roc_auc": [0.632260101010101, 0.9614379084967319, 0.9427083333333333],
    "average_precision": [0.5540855054411467, 0.9449697988937587, 0.9284378579833424],
    "brier": [0.22188690988390125, 0.10803242490749383, 0.12878013532994873],
    "log_loss": [0.6276643952012946, 0.3753848455036697, 0.41638880439234544],
}


def on_one_set():
    """Predictions of one test set, made by arithmetic."""
    k = np.arange(240)
    y = ((k * 7919) % 13 < 5).astype(int)
    p = np.round(0.05 + 0.54 * ((k * 104729) % 997) / 996 + 0.27 * y, 6)
    return predictions(y, p)


def predictions(y, p, fold=0, group=-1, repeat=0):
    table = {"row": range(len(y)), "repeat": repeat, "fold": fold, "group": group}
    return pd.DataFrame(table | {"y": y, "a": p})


def subgroups(table, values, score="roc_auc", names=("a",), references=None, **kwargs):
    settings = {"design": "test", "n_folds": 1} | kwargs
    predicted = Predicted.of(
        table,
        list(names),
        references or {},
        resolve_metrics(score, 2)[0],
        SCORES["binary"][score],
        "1",
        settings,
    )
    return subgroup_table(predicted, {"v": pd.Series(values)}, min_cell=10)


@pytest.mark.parametrize("score", FAIRLEARN)
def test_scores_of_levels_are_those_of_fairlearn(score):
    found = subgroups(on_one_set(), SITE, score)
    assert found["level"].tolist() == ["a", "b", "c"]
    assert found["n_patients"].tolist() == [81, 81, 78]
    np.testing.assert_allclose(found["estimate"], FAIRLEARN[score], atol=1e-12)
    assert (found["low"] < found["estimate"]).all()
    assert (found["high"] > found["estimate"]).all()


def test_standard_errors_are_those_of_delong_and_obuchowski():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    scores = y + rng.normal(size=(2, 400)) + np.repeat(rng.normal(size=100), 4)
    for groups in (np.arange(400), np.repeat(np.arange(100), 4)):
        table = predictions(y, scores[0], group=groups).assign(b=scores[1])
        parts = []
        for name in ("a", "b"):
            # scores outside of [0, 1] would be clipped
            table[name] = 1 / (1 + np.exp(-table[name]))
            sets = held_out_sets(table, name, "1")
            blocks = patient_blocks([groups], 400)
            kwargs = {"equal_weights": False, "classes": True}
            parts.append(
                score_sets(sets, SCORES["binary"]["roc_auc"], *blocks, **kwargs)
            )
        expected = estimate_aurocs(y, scores, groups)
        for part, value, variance in zip(
            parts, expected.values, expected.covariance.diagonal(), strict=True
        ):
            assert part.estimate == pytest.approx(value)
            assert part.standard_error == pytest.approx(variance**0.5, rel=0.02)
        contrast = np.array([1, -1])
        variance = contrast @ expected.covariance @ contrast
        gain = parts[0] - parts[1]
        assert gain.standard_error == pytest.approx(variance**0.5, rel=0.02)


def test_blocks_give_nearly_the_same_error():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 1200)
    p = 1 / (1 + np.exp(-(y + rng.normal(size=1200))))
    sets = held_out_sets(predictions(y, p), "a", "1")
    blocks, n_blocks = patient_blocks([np.arange(1200)], 1200)
    assert n_blocks == 200
    assert np.bincount(blocks).tolist() == [6] * 200
    kwargs = {"equal_weights": False, "classes": True}
    score = SCORES["binary"]["roc_auc"]
    found = score_sets(sets, score, blocks, n_blocks, **kwargs)
    expected = estimate_aurocs(y, [p]).covariance[0, 0] ** 0.5
    assert found.standard_error == pytest.approx(expected, rel=0.15)


def test_interaction_of_two_levels_has_the_error_of_independent_differences():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 300)
    logits = y + rng.normal(size=(2, 300))
    p = 1 / (1 + np.exp(-logits))
    table = predictions(y, p[0]).assign(b=p[1])
    level = np.repeat(["x", "y"], 150)
    found = subgroups(table, level, names=("a", "b"), references={"a": "b"})
    fusion = found[found["strategy"] == "a"].set_index("level")
    first, second = fusion.loc["x"], fusion.loc["y"]
    assert fusion["reference"].tolist() == ["b", "b"]
    assert first["difference"] == pytest.approx(
        roc_auc_score(y[:150], p[0, :150]) - roc_auc_score(y[:150], p[1, :150])
    )
    gap = first["difference"] - second["difference"]
    assert first["interaction"] == pytest.approx(gap)
    assert second["interaction"] == pytest.approx(-gap)
    widths = [
        (row["difference_high"] - row["difference_low"]) for row in (first, second)
    ]
    width = first["interaction_high"] - first["interaction_low"]
    assert width == pytest.approx(np.hypot(*widths), rel=0.03)
    single = found[found["strategy"] == "b"]
    assert single[["difference", "interaction"]].isna().all(axis=None)


@pytest.fixture(scope="module")
def cohort():
    X, y = make_cohort()
    X["site"] = np.where(np.arange(len(X)) % 40 < 2, "small", "large")
    return X, y


@pytest.fixture(scope="module")
def result(cohort):
    return compare_fusion(
        modalities(),
        *cohort,
        groups="patient_id",
        strategies=("single", "late"),
        n_repeats=2,
        random_state=0,
    )


@pytest.mark.long
def test_one_level_has_the_scores_of_the_comparison(result, cohort):
    found = result.by_group({"all": np.zeros(len(cohort[0]))}, "brier")
    expected = result.to_frame()["brier"]
    for row in found.to_dict("records"):
        assert row["estimate"] == pytest.approx(
            expected.loc[row["strategy"], "estimate"]
        )
        limits = expected.loc[row["strategy"], ["low", "high"]]
        width = limits.iloc[1] - limits.iloc[0]
        assert row["high"] - row["low"] == pytest.approx(width, rel=0.5)
    assert found["level"].unique().tolist() == ["0"]


def test_scores_are_averaged_over_test_sets(result, cohort):
    X, _ = cohort
    found = result.by_group("age", "average_precision")
    codes, names = levels_of(X["age"].reset_index(drop=True), "age", "f")
    table = result.predictions_
    scores, weights = [], []
    for _, part in table[codes[table["row"]] == 0].groupby(["repeat", "fold"]):
        scores.append(average_precision_score(part["y"], part["late"]))
        weights.append(part["group"].nunique())
    row = found[(found["strategy"] == "late") & (found["level"] == names[0])].iloc[0]
    assert row["estimate"] == pytest.approx(np.average(scores, weights=weights))
    # both tables can be concatenated, and cells of small levels are empty
    assert set(found["variable"]) == {"age"}
    assert len(found) == 9


def test_small_levels_have_no_numbers(result):
    found = result.by_group("site").set_index(["level", "strategy"])
    small, large = found.loc[("small", "late")], found.loc[("large", "late")]
    assert np.isnan(small["estimate"])
    assert "fewer than 10 patients with" in small["reason"]
    assert small["n_patients"] == "<10"
    # 120 patients are known
    assert large["n_patients"] == large["n_events"] == "withheld"
    assert np.isfinite(large["estimate"])
    shown = result.by_group("site", min_cell=0).set_index(["level", "strategy"])
    assert shown.loc[("small", "late"), "n_patients"] == 6
    assert shown.loc[("small", "late"), "n_rows"] == 12


def test_events_do_not_follow_from_the_patients_without_one():
    y = np.repeat([1, 0, 1, 0], [40, 5, 40, 60])
    p = np.linspace(0.1, 0.9, len(y))
    found = subgroups(predictions(y, p), np.repeat(["x", "y"], [45, 100]))
    assert found["n_patients"].tolist() == [45, 100]
    assert found["n_events"].tolist() == ["withheld", "withheld"]


def test_patients_of_several_levels_are_counted():
    n = 60
    patient = np.repeat(np.arange(n), 2)
    y = np.tile([1, 0, 0, 1], n // 2)
    p = np.linspace(0.1, 0.9, 2 * n)
    # the first 20 patients have a row in each level, the others both in one
    region = np.where(np.arange(2 * n) < 40, np.arange(2 * n) % 2, patient % 2)
    found = subgroups(predictions(y, p, group=patient), np.array(["x", "y"])[region])
    assert found["n_patients"].tolist() == [40, 40]
    assert found["n_shared"].tolist() == [20, 20]
    once = subgroups(
        predictions(y, p, group=patient), np.array(["x", "y"])[patient % 2]
    )
    assert once["n_shared"].tolist() == [0, 0]
    few = np.where(np.arange(2 * n) < 6, np.arange(2 * n) % 2, patient % 2)
    found = subgroups(predictions(y, p, group=patient), np.array(["x", "y"])[few])
    assert found["n_shared"].tolist() == ["<10", "<10"]
    # all patients but a few are in both levels
    most = np.where(np.arange(2 * n) < 110, np.arange(2 * n) % 2, patient % 2)
    found = subgroups(predictions(y, p, group=patient), np.array(["x", "y"])[most])
    assert found["n_shared"].tolist() == ["withheld", "withheld"]


def test_missing_values_are_a_level(cohort, result):
    values = cohort[0]["age"].where(np.arange(240) % 3 > 0).to_numpy()
    found = result.by_group(pd.DataFrame({"age": values}))
    assert found["level"].iloc[-1] == "missing"
    assert found["n_rows"].iloc[-1] == 80
    counts = found.loc[found["strategy"] == "late", "n_rows"]
    assert counts.sum() == 240


def test_levels_of_numbers_and_categories():
    codes, names = levels_of(pd.Series(range(9)), "v", "f")
    assert codes.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert names == ["<= 2.67", "> 2.67 to 5.33", "> 5.33"]
    _, names = levels_of(pd.Series([0, 1, 1, 0]), "v", "f")
    assert names == ["0", "1"]
    codes, names = levels_of(
        pd.Series([1.0001, 1.0002, 1.0003] * 9 + [2, 3, 4]), "v", "f"
    )
    assert len(names) == len(set(names))
    order = pd.Series(pd.Categorical(["low", "high"], ["low", "high", "none"]))
    assert levels_of(order, "v", "f")[1] == ["low", "high"]
    codes, names = levels_of(pd.Series([True, False, None], dtype="boolean"), "v", "f")
    assert (codes.tolist(), names) == ([1, 0, 2], ["False", "True", "missing"])
    codes, names = levels_of(pd.Series([None, None], dtype=object), "v", "f")
    assert (codes.tolist(), names) == ([0, 0], ["missing"])


def test_log_loss_is_that_of_scikit_learn():
    y = np.repeat([0, 1], 40)
    p = np.tile([0.0, 0.2, 0.7, 1.0], 20)
    found = subgroups(predictions(y, p), np.zeros(80), "log_loss")
    expected = log_loss(y, np.column_stack([1 - p, p]))
    assert found["estimate"].iloc[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("columns", "score", "message"),
    [
        ("height", None, r"\['height'\] are not columns of X"),
        ([], None, "columns is empty"),
        ({"v": [1, 2]}, None, r"one value for each of the 240 rows .* shape \(2,\)"),
        ("patient_id", "f1", "score must be one of .*'roc_auc'.* got 'f1'"),
        ({"v": [f"n{k}" for k in range(240)]}, None, "240 levels, but 20 is the most"),
        ({"v": [[1]] * 240}, None, "one value for each"),
        (
            pd.DataFrame({"v": pd.Series([[1]] * 240, dtype=object)}),
            None,
            "cannot be levels",
        ),
    ],
)
def test_what_cannot_be_a_subgroup_is_refused(result, columns, score, message):
    with pytest.raises(ValueError, match=message):
        result.by_group(columns, score)


def test_a_numeric_outcome_has_subgroups():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(90, 2)), columns=["lesion", "age"])
    result = compare_fusion(
        modalities(),
        X,
        X.sum(axis=1) + rng.normal(size=90),
        strategies=("single", "late"),
        n_repeats=1,
        cv=3,
        random_state=0,
    )
    found = result.by_group("age", "mae")
    assert "n_events" not in found
    table = result.predictions_
    codes, _ = levels_of(X["age"], "age", "f")
    part = table[codes[table["row"]] == 0]
    errors = (part["y"] - part["late"]).abs()
    means = errors.groupby(part["fold"]).agg(["mean", "size"])
    expected = np.average(means["mean"], weights=means["size"])
    late = found[found["strategy"] == "late"].iloc[0]
    assert late["estimate"] == pytest.approx(expected)
    assert np.isfinite(late["interaction_low"])
    assert result.by_group("age")["metric"].unique().tolist() == ["r2"]
