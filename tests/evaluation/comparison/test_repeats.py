"""Repetitions that differ between strategies."""

from __future__ import annotations

import numpy as np
import pytest
from comparison_cohorts import linear, make_cohort, modalities, scores_of

from skfusion import LateFusionClassifier, compare_fusion

ONCE = {"groups": "patient_id", "cv": 3, "scoring": "roc_auc", "random_state": 0}


def arms():
    return {
        "early": linear(),
        "late": LateFusionClassifier(modalities(), random_state=0),
    }


@pytest.fixture(scope="module")
def result():
    X, y = make_cohort(60)
    return compare_fusion(arms(), X, y, n_repeats={"early": 2}, **ONCE)


@pytest.mark.long
def test_a_fusion_and_its_single_modalities_have_their_own_number(result):
    counts = result.strategies_["n_repeats"]
    early = result.strategies_["fusion"].eq("early") | (counts.index == "early")
    assert early.sum() == 3
    assert set(counts[early]) == {2}
    assert set(counts[~early]) == {10}


def test_each_difference_uses_the_repetitions_that_both_have(result):
    table = result.differences_
    (row,) = table[
        (table["strategy"] == "early") & table["reference"].str.startswith("image in l")
    ].to_dict("records")
    ours, theirs = scores_of(result, "early"), scores_of(result, row["reference"])
    assert (len(ours), len(theirs)) == (6, 30)
    folds = result.folds_
    n_test = folds.loc[folds["strategy"] == "early", "patients_test"].to_numpy()
    expected = np.average(ours - theirs[:6], weights=n_test)
    assert row["estimate"] == pytest.approx(expected)


def test_the_result_says_so(result):
    notes = " ".join(result.notes_)
    assert "Early and its single modalities use 2 repetitions, as declared." in notes


def test_names_and_numbers_are_checked():
    X, y = make_cohort(60)
    with pytest.raises(ValueError, match=r"n_repeats names \['joint'\].*'early', 'lat"):
        compare_fusion(arms(), X, y, n_repeats={"joint": 1}, **ONCE)
    with pytest.raises(ValueError, match="or a dict of these by strategy, got 0"):
        compare_fusion(arms(), X, y, n_repeats={"early": 0}, **ONCE)
