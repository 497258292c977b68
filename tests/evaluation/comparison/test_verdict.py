"""Sentences of a verdict: the allowed ones, and none of the forbidden words."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest

from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.verdict import HEADLINES, Facts, judge
from skfusion.evaluation.metrics import resolve_metrics

AUROC, BRIER = resolve_metrics(["roc_auc", "brier"], 2)
N = r"[+\-]?\d[\d,.]*"
P = r"p (?:=|<) \d\.\d+"
NAME = r"[^.;:]+?"
LIMITS = rf"(?:{N} to {N}|no interval|{N} to {N} over \d+ sites, above 0 in \d+)"

# The sentences that a verdict may consist of, by the contract of the comparison.
SENTENCES = {
    "helps": (
        rf"By {NAME}, {NAME} is (?:above|below) each single modality in the same "
        rf"learner(?: and in the other learners)?; (?:above|below) the best of them, "
        rf"{NAME}, by {N} \({LIMITS}\)(?:; the least certain of these differences is "
        rf"from {NAME}, {N} \({LIMITS}\))?, {P}"
        r"(?: after Holm adjustment over \d fusions)?\."
    ),
    "also": rf"Also above each single modality: {NAME} \({P}\)(?:, {NAME} \({P}\))*\.",
    "unclear": (
        rf"By {NAME}, {NAME} minus {NAME}, the best single modality: {N} \({LIMITS}\)\."
    ),
    "not above": (
        rf"A claim that fusion helps requires a gain over each single modality: minus "
        rf"{NAME}, the difference is {N} \({LIMITS}\), {P}"
        rf"(?:; {P} after Holm adjustment over \d fusions)?\."
    ),
    "detectable": (
        rf"A gain smaller than {N} over each single modality had less than an 80% "
        rf"chance of being found with these {N} (?:patients|rows)\."
    ),
    "too few": (
        rf"To find a gain of {N} over each single modality takes about {N} "
        rf"(?:patients|rows) like these; here are {N}\."
    ),
    "worse": (
        rf"{NAME} is worse than {NAME}: in this learner, the other modalities changed "
        rf"{NAME} by {N} \({LIMITS}\), {P} after Holm adjustment\. At this number of "
        r"patients their columns cost more than they tell\. No statement about what "
        r"they hold\."
    ),
    "unmatched": (
        rf"By {NAME}, {NAME} is (?:above|below) its own single modalities but not "
        rf"(?:above|below) {NAME} \({N}, {LIMITS}\): the learner, not fusion, makes "
        r"the difference\."
    ),
    "unmatched, no own": (
        rf"By {NAME}, {NAME} is (?:above|below) each single modality of the "
        rf"comparison, but none of them is in the same learner, so the difference "
        rf"from {NAME} of {N} \({LIMITS}\) can be due to the learner\."
    ),
    "margin": (
        rf"Within the margin of {N} of {NAME} that was declared beforehand, {NAME} "
        rf"and {NAME} (?:are equivalent|differ by less in disfavour of fusion) "
        rf"\(difference {N}, 90% interval {N} to {N}\)\."
    ),
    "untested": rf"There is no test, because {NAME}\.",
    "nothing": (
        r"The test requires at least one fusion strategy and at least one single "
        r"modality in the comparison\."
    ),
    "about folds": (
        rf"About models trained in this way on about {N} (?:patients|rows) like these "
        r"\([^()]*folds[^()]*, Nadeau-Bengio\); not about other hospitals and not "
        r"about one fitted model\."
    ),
    "about a test set": (
        rf"About these fitted models, on {N} (?:patients|rows) that none of them saw "
        r"\((?:DeLong|bootstrap of patients)(?:, clustered by patient)?\)\."
    ),
    "about sites": (
        r"About models trained on the other sites and tested on one \([^()]*\)\. Each "
        r"site counts equally, and the range is not a confidence interval\."
    ),
}
FORBIDDEN = (
    "carries no information",
    "no such gain",
    "significant",
    "new patients",
    "improves",
    "as good as",
    "the same",
)


def parts_of(details):
    """Split the details of a verdict into allowed sentences, by name."""
    names, rest = [], details
    while rest:
        for name, pattern in SENTENCES.items():
            found = re.match(pattern, rest)
            if found:
                names.append(name)
                rest = rest[found.end() :].strip()
                break
        else:
            pytest.fail(f"not an allowed sentence: {rest!r}")
    return names


def check_verdict(verdict, kind="folds"):
    """Check a verdict against the allowed sentences and return their names."""
    text = verdict.text
    assert text.startswith(HEADLINES[verdict.outcome])
    for words in FORBIDDEN:
        if words == "the same":
            assert "the same" not in text.replace("the same learner", "")
        else:
            assert words not in text
    if kind != "test":
        assert "these fitted models" not in text
        assert "these models" not in text.lower()
    return parts_of(verdict.details)


ROW = {
    "strategy": "early",
    "reference": "ehr in early",
    "estimate": 0.012,
    "low": -0.021,
    "high": 0.045,
    "standard_error": 0.0164,
    "df": 49.0,
    "p_helps": 0.4,
    "p_matched": 0.4,
    "p_worse": 1.0,
    "worse_than": "",
    "n_matched": 2,
    "reason": "",
    "by_site": (),
    "p_helps_holm": 0.4,
    "p_matched_holm": 0.4,
    "p_worse_holm": 1.0,
    "detectable": 0.0469,
    "n_needed": 1100.0,
    "p_equivalent": np.nan,
    "p_noninferior": np.nan,
    "outcome": "unclear",
}
WORSE = {
    "outcome": "worse",
    "worse_than": "ehr in early",
    "estimate": -0.03,
    "p_worse_holm": 0.01,
}
LABELS = {
    "early": "early fusion",
    "late": "late fusion",
    "ehr in early": "ehr alone (early fusion)",
    "forest": "ehr in a forest",
}
DIFFERENCES = pd.DataFrame(
    [
        {
            "strategy": name,
            "reference": reference,
            "relation": "other" if reference == "forest" else "matched",
            "metric": metric,
            "estimate": -0.03,
            "low": -0.05,
            "high": -0.01,
            "p": 0.7 if metric == "roc_auc" else np.nan,
        }
        for name in ("early", "late")
        for reference in ("ehr in early", "forest")
        for metric in ("roc_auc", "brier")
    ]
)


def verdict_of(*rows, kind="folds", metric=AUROC, differences=DIFFERENCES, **facts):
    splits = {
        "folds": "10 x 5 folds by patient",
        "test": "a random test set of 30%, 60 patients that no model was trained on",
        "sites": "one of 6 sites held out at a time",
    }[kind]
    given = {
        "labels": LABELS,
        "n_patients": 1200,
        "n_trained": 960,
        "unit": "patients",
        "clustered": False,
        "has_delong": kind == "test" and metric is AUROC,
        "claims": Claims(smallest_gain=0.02, margin=0.02),
        **facts,
    }
    tests = pd.DataFrame([{**ROW, **row} for row in rows])
    verdict = judge(
        tests, differences, Facts(metric=metric, kind=kind, splits=splits, **given)
    )
    return verdict, check_verdict(verdict, kind)


ABOUT = {"folds": "about folds", "test": "about a test set", "sites": "about sites"}


@pytest.mark.parametrize("kind", ABOUT)
@pytest.mark.parametrize("metric", [AUROC, BRIER])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"outcome": "helps", "p_helps_holm": 0.002}, ["helps"]),
        ({}, ["unclear", "detectable"]),
        ({"detectable": np.nan}, ["unclear"]),
        ({"outcome": "too few"}, ["too few", "unclear", "detectable"]),
        (WORSE, ["worse"]),
        ({"outcome": "unmatched", "reference": "forest"}, ["unmatched", "detectable"]),
        (
            {"outcome": "unmatched", "n_matched": 0, "reference": "forest"},
            ["unmatched, no own", "detectable"],
        ),
        ({"outcome": "equivalent"}, ["margin"]),
        ({"outcome": "noninferior"}, ["margin"]),
        (
            {"outcome": "untested", "reason": "there is one fold", "low": np.nan},
            ["untested", "unclear"],
        ),
        ({"by_site": (0.1, -0.02, 0.03), "low": np.nan}, ["unclear", "detectable"]),
    ],
)
def test_sentences_of_one_fusion(row, expected, metric, kind):
    verdict, parts = verdict_of(row, metric=metric, kind=kind)
    assert verdict.outcome == {**ROW, **row}["outcome"]
    assert parts == [*expected, ABOUT[kind]]


OUTCOMES = [name for name in HEADLINES if name != "untested"]


@pytest.mark.parametrize("first", [*OUTCOMES, "untested", "secondary"])
@pytest.mark.parametrize("second", [*OUTCOMES, "untested"])
def test_sentences_of_two_fusions(first, second):
    rows = [
        {"outcome": first, "strategy": "early", "worse_than": "ehr in early"},
        {"outcome": second, "strategy": "late", "worse_than": "ehr in early"},
    ]
    for estimates in itertools.permutations([0.01, -0.02]):
        given = [
            {**row, "estimate": estimate}
            for row, estimate in zip(rows, estimates, strict=True)
        ]
        verdict, parts = verdict_of(*given)
        order = ["helps", "equivalent", "noninferior", "unmatched"]
        found = {first, second} - {"secondary"}
        leading = [name for name in order if name in found]
        if leading:
            expected = leading[0]
        elif found in ({"worse"}, {"untested"}):
            (expected,) = found
        else:
            expected = "too few" if "too few" in found else "unclear"
        assert verdict.outcome == expected
        if "worse" in found:  # the headline, or a sentence about this fusion
            assert "worse" in parts


def test_worse_is_a_headline_only_if_all_fusions_are():
    verdict, _ = verdict_of(WORSE, {**WORSE, "strategy": "late"})
    assert verdict.outcome == "worse"
    verdict, parts = verdict_of({"strategy": "late"}, WORSE)
    assert verdict.outcome == "unclear"
    assert parts == ["unclear", "detectable", "worse", "about folds"]
    assert verdict.details.startswith("By AUROC, late fusion minus")


def test_too_few_names_the_fusion_that_it_is_about():
    # A fusion that is identical to its single has no number of patients.
    same = {"estimate": 0.0, "detectable": np.nan, "n_needed": np.nan}
    few = {"strategy": "late", "outcome": "too few", "estimate": -0.01}
    verdict, parts = verdict_of(same, few)
    assert verdict.outcome == "too few"
    assert parts == ["too few", "unclear", "detectable", "about folds"]
    assert "about 1,100 patients" in verdict.details
    assert "late fusion minus" in verdict.details


@pytest.mark.parametrize("n_fusions", [1, 2])
def test_the_test_that_fails_is_named_if_the_interval_is_above_zero(n_fusions):
    above = {"low": 0.002, "high": 0.022, "p_helps_holm": 0.7}
    table = DIFFERENCES.assign(
        estimate=[0.012, 0.012, 0.05, 0.05] * 2, p=[0.03, np.nan, 0.7, np.nan] * 2
    )
    rows = [above, {"strategy": "late", "estimate": -0.01}][:n_fusions]
    verdict, parts = verdict_of(*rows, differences=table)
    assert parts == ["unclear", "not above", "detectable", "about folds"]
    assert "minus ehr in a forest, the difference is +0.050" in verdict.details
    assert ("after Holm adjustment over 2 fusions" in verdict.details) == (
        n_fusions == 2
    )
    # A difference below 0 fails whatever its p-value is.
    table["estimate"] = [-0.01, -0.01, 0.05, 0.05] * 2
    verdict, _ = verdict_of(*rows, differences=table)
    assert "minus ehr alone (early fusion), the difference is -0.010" in verdict.details


def test_gains_of_a_loss_are_told_as_gains():
    row = {"outcome": "helps", "estimate": -0.02, "low": -0.03, "high": -0.01}
    verdict, _ = verdict_of({**row, "p_helps_holm": 0.01}, metric=BRIER)
    assert "below the best of them" in verdict.details
    assert "by 0.020 (0.010 to 0.030), p = 0.010" in verdict.details


def test_holm_is_named_if_several_fusions_were_tested():
    helps = {"outcome": "helps", "p_helps_holm": 0.004}
    verdict, parts = verdict_of(helps, {**helps, "strategy": "late"})
    assert "p = 0.004 after Holm adjustment over 2 fusions" in verdict.details
    assert parts == ["helps", "also", "about folds"]
    primary = verdict_of(helps, {"outcome": "secondary", "strategy": "late"})[0]
    assert "Holm" not in primary.details


def test_other_learners_are_named_if_there_are_any():
    helps = {"outcome": "helps", "p_helps_holm": 0.004}
    assert "and in the other learners" in verdict_of(helps)[0].details
    matched = DIFFERENCES[DIFFERENCES["relation"] == "matched"]
    verdict, _ = verdict_of(helps, differences=matched)
    assert "other learners" not in verdict.details


def test_the_90_percent_interval_of_a_margin():
    verdict, _ = verdict_of({"outcome": "equivalent", "standard_error": 0.01})
    assert "90% interval -0.005 to +0.029" in verdict.details
    assert "margin of 0.020" in verdict.details


def test_clustered_patients_of_a_test_set_are_named():
    verdict, _ = verdict_of({}, kind="test", clustered=True)
    assert "(DeLong, clustered by patient)" in verdict.details
    verdict, _ = verdict_of({}, kind="test", metric=BRIER)
    assert "(bootstrap of patients)" in verdict.details


@pytest.mark.parametrize(
    ("reason", "clause"),
    [
        ("There are 2 scores of folds. Fewer than 5 do not allow it.", "there are 2 s"),
        ("5 sites are too few for a test, which needs 6", "5 sites are too few for"),
        ("", "a test is undefined"),
    ],
)
def test_reasons_are_the_end_of_a_sentence(reason, clause):
    verdict, parts = verdict_of({"outcome": "untested", "reason": reason})
    assert f"There is no test, because {clause}" in verdict.details
    assert parts == ["untested", "unclear", "about folds"]


def test_no_fusion_or_no_single():
    verdict = judge(
        pd.DataFrame(),
        DIFFERENCES.iloc[:0],
        Facts(AUROC, LABELS, "folds", 9, 7, "rows", "5 folds", False, Claims()),
    )
    assert verdict.outcome == "untested"
    assert check_verdict(verdict) == ["nothing"]
