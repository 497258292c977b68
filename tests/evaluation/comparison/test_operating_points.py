"""Operating points: thresholds from other folds, rates by hand, limits by patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import make_cohort, modalities
from sklearn.metrics import confusion_matrix

from skfusion import compare_fusion
from skfusion.evaluation.comparison.analyses.held_out import held_out_sets
from skfusion.evaluation.comparison.analyses.operating_points import (
    find_rule,
    operating_table,
)


@pytest.fixture(scope="module")
def result():
    return compare()


def compare(**kwargs):
    X, y = make_cohort()
    X["site"] = X["patient_id"] % 3
    settings = {"groups": "patient_id", "strategies": ("single", "late")} | kwargs
    return compare_fusion(
        modalities(), X, y, **settings, random_state=0, scoring="roc_auc"
    )


def by_hand(y, p, rule, target):
    """Try every threshold."""
    cuts = np.append(np.unique(p), np.inf)
    called, positive = p >= cuts[:, None], y.to_numpy() == 1
    tp, fp = (called & positive).sum(axis=1), (called & ~positive).sum(axis=1)
    tn, fn = (~called & ~positive).sum(axis=1), (~called & positive).sum(axis=1)
    if rule == "sensitivity":
        return cuts[tp / (tp + fn) >= target][-1]
    if rule == "specificity":
        return cuts[tn / (tn + fp) >= target][0]
    costs = target * fn + fp
    best = cuts[costs == costs.min()]
    return best[np.argmin(np.abs(best - 1 / (1 + target)))]


@pytest.mark.parametrize(
    ("rule", "target"),
    [("sensitivity", 0.9), ("specificity", 0.8), ("cost", 3), ("sensitivity", 1)],
)
def test_thresholds_are_those_of_the_other_folds(rule, target):
    result = compare(n_repeats=2)
    found = result.operating_point(**{rule: target}).set_index("strategy")
    table = result.predictions_
    for name in result.strategies_.index:
        thresholds, called = [], np.zeros(len(table), dtype=bool)
        for (repeat, fold), part in table.groupby(["repeat", "fold"]):
            others = table[(table["repeat"] == repeat) & (table["fold"] != fold)]
            cut = by_hand(others["y"], others[name].to_numpy(), rule, target)
            thresholds.append(cut)
            called[part.index] = part[name] >= cut
        tn, fp, fn, tp = confusion_matrix(table["y"], called).ravel()
        row = found.loc[name]
        assert row["threshold"] == pytest.approx(np.median(thresholds))
        assert row["threshold_low"] == pytest.approx(min(thresholds))
        assert row["threshold_high"] == pytest.approx(max(thresholds))
        expected = {
            "sensitivity": tp / (tp + fn),
            "specificity": tn / (tn + fp),
            "ppv": tp / (tp + fp),
            "npv": tn / (tn + fn),
        }
        for rate, value in expected.items():
            assert row[rate] == pytest.approx(value)
            assert row[f"{rate}_low"] <= row[rate] <= row[f"{rate}_high"]
        assert (row["rule"], row["target"]) == (rule, target)
        assert row["n_patients"] == 120
        assert row["n_events"] == table.loc[table["y"] == 1, "group"].nunique()
        # the rates are of the rows, each counted once in n_rows
        assert (row["unit"], row["n_rows"]) == ("row", table["row"].nunique())
        assert row["n_event_rows"] == table.loc[table["y"] == 1, "row"].nunique()


def made_up(n_patients, per_patient, seed=0):
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_patients) % 2, per_patient)
    patient = np.repeat(np.arange(n_patients), per_patient)
    shift = np.repeat(rng.normal(size=n_patients), per_patient)
    table = {
        "row": range(len(y)),
        "repeat": 0,
        "fold": patient // 2 % 5,
        "group": patient,
        "y": y,
        "a": 1 / (1 + np.exp(-(y + shift))),
    }
    return pd.DataFrame(table)


def rates(table, rule, design="folds"):
    sets = held_out_sets(table, "a", "1")
    return operating_table(["a"], lambda _: sets, rule, design=design, seed=0).iloc[0]


def test_copies_of_the_rows_of_a_patient_add_no_certainty():
    rule = find_rule(0.8, None, None)
    once, often = (rates(made_up(80, k), rule) for k in (1, 5))
    for rate in ("sensitivity", "specificity", "ppv", "npv"):
        assert often[rate] == pytest.approx(once[rate])
        width, other = (
            row[f"{rate}_high"] - row[f"{rate}_low"] for row in (once, often)
        )
        assert other == pytest.approx(width, rel=0.02)


def test_rates_of_single_rows_are_those_of_patients():
    row = rates(made_up(40, 1), find_rule(0.8, None, None))
    assert (row["unit"], row["n_rows"], row["n_event_rows"]) == ("patient", 40, 20)
    unknown = rates(made_up(40, 1).assign(group=-1), find_rule(0.8, None, None))
    assert unknown["n_patients"] == unknown["n_rows"] == 40


def test_a_rate_of_one_is_not_certain():
    table = made_up(40, 1)
    table["a"] = 0.1 + 0.8 * table["y"]
    row = rates(table, find_rule(None, None, 1.0))
    assert row["sensitivity"] == row["specificity"] == 1
    assert row["sensitivity_low"] == pytest.approx(0.025 ** (1 / 20))
    assert row["sensitivity_high"] == 1


def test_a_rate_without_cases_has_a_reason():
    table = made_up(40, 1)
    table["a"] = 0.9 - 0.8 * table["y"]  # all negative cases above all positive ones
    row = rates(table, find_rule(None, 1.0, None))
    assert row["threshold"] == np.inf
    assert np.isnan(row["ppv"])
    assert row["reason"] == "no prediction is positive, so ppv is undefined"
    assert row["sensitivity"] == 0
    assert row["sensitivity_low"] == 0 < row["sensitivity_high"] < 0.2


def test_sites_have_thresholds_of_other_sites_and_no_limits():
    result = compare(sites="site")
    found = result.operating_point(cost=2)
    assert found["sensitivity"].between(0, 1).all()
    assert found[["sensitivity_low", "npv_high"]].isna().all(axis=None)


def test_one_test_set_is_refused():
    result = compare(test=0.4)
    with pytest.raises(ValueError, match="one test set. Use cross-validation"):
        result.operating_point(sensitivity=0.9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exactly one of sensitivity, specificity and cost, got none"),
        ({"sensitivity": 0.9, "cost": 2}, r"got \['sensitivity', 'cost'\]"),
        ({"sensitivity": 0}, "sensitivity"),
        ({"specificity": 1.2}, "specificity"),
        ({"cost": 0}, "cost"),
        ({"cost": "high"}, "cost"),
    ],
)
@pytest.mark.long
def test_rules_are_checked(result, given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        result.operating_point(**given)
