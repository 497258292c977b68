"""What follows from paired differences: hand-made contrasts, outcomes by the rules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from skfusion.evaluation.comparison.inference import (
    Claims,
    Contrast,
    difference_table,
    judge_fusions,
    pairs_to_contrast,
)
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.metrics import resolve_metrics

AUROC, BRIER = resolve_metrics(["roc_auc", "brier"], 2)
NOT_TESTED = "there is one fold"


def contrast(estimate, p=None, *, error=0.01, df=49.0, reason=""):
    """A contrast with the p-value and interval of a t-test, or with the given p."""
    if p is None:
        p = 2 * stats.t.sf(abs(estimate) / error, df)
    reach = stats.t.ppf(0.975, df) * error
    return Contrast(
        estimate, estimate - reach, estimate + reach, p, error, df, reason=reason
    )


def arms_of(fusions, extra=()):
    """Each fusion with its matched image and record, and singles of other learners."""
    singles = [
        Strategy(f"{m} in {f}", f"{m} alone ({f})", "single", None, m, f)
        for f in fusions
        for m in ("image", "ehr")
    ]
    others = [Strategy(name, name, "single", None, name) for name in extra]
    return [*others, *singles, *(Strategy(f, f, "fusion", None) for f in fusions)]


def judged(contrasts, metric=AUROC, *, extra=(), n_patients=200, **claims):
    """Judge fusions by {fusion: {single: contrast}}."""
    arms = arms_of(contrasts, extra)
    # Singles of other fusions are beaten clearly.
    found = {
        (fusion, arm.name, metric.name): contrast(1.0, 1e-9)
        for fusion in contrasts
        for arm in arms
    }
    scores = {arm.name: 0.5 for arm in arms}
    for fusion, own in contrasts.items():
        for single, value in own.items():
            found[fusion, single, metric.name] = value
            # The better a single, the smaller the gain over it.
            scores[single] = 0.8 - value.estimate
    table = judge_fusions(
        arms, metric, scores, found, Claims(**claims), n_patients=n_patients
    )
    return table.set_index("strategy")


def early(image, ehr, **others):
    return {"early": {"image in early": image, "ehr in early": ehr, **others}}


def test_a_fusion_helps_if_it_is_above_each_single():
    row = judged(early(contrast(0.05), contrast(0.03))).loc["early"]
    assert row["outcome"] == "helps"
    assert row["reference"] == "ehr in early"  # the best single
    assert (row["estimate"], row["df"]) == (0.03, 49)
    assert row["p_helps"] == pytest.approx(2 * stats.t.sf(3, 49))
    assert row["p_helps_holm"] == row["p_helps"]
    assert row["n_matched"] == 2


@pytest.mark.parametrize(
    ("image", "ehr"),
    [
        (contrast(0.2), contrast(0.015)),  # one test does not reject
        (contrast(0.2), contrast(-0.015)),  # one difference is below 0
        (contrast(0.2, 1e-9), contrast(-0.001, 1e-9)),  # its p does not matter
        (contrast(0.2), contrast(0.0, 1.0, error=0.0)),  # identical
        (contrast(0.2), contrast(0.03, 0.0501)),
    ],
)
def test_one_single_that_is_not_beaten_is_enough(image, ehr):
    row = judged(early(image, ehr)).loc["early"]
    assert row["outcome"] != "helps"
    assert row["p_helps"] >= 0.05


def test_a_single_of_another_learner_counts():
    row = judged(
        early(contrast(0.05), contrast(0.04), forest=contrast(-0.01)),
        extra=("forest",),
    ).loc["early"]
    assert row["outcome"] == "unmatched"
    assert (row["p_helps"], row["reference"]) == (1.0, "forest")
    assert row["p_matched"] < 0.001
    row = judged(
        early(contrast(0.05), contrast(0.04), forest=contrast(0.03)),
        extra=("forest",),
    ).loc["early"]
    assert row["outcome"] == "helps"
    assert row["p_helps"] == pytest.approx(2 * stats.t.sf(3, 49))


def test_without_matched_singles_no_fusion_helps():
    arms = [
        Strategy("forest", "forest", "single", None, "ehr"),
        Strategy("early", "early", "fusion", None),
    ]
    found = {("early", "forest", "roc_auc"): contrast(0.1)}
    scores = {"forest": 0.7, "early": 0.8}
    row = judge_fusions(arms, AUROC, scores, found, Claims(), n_patients=100).iloc[0]
    assert row["outcome"] == "unmatched"
    assert row["n_matched"] == 0
    assert np.isnan(row["p_matched"])
    assert np.isnan(row["p_worse"])


def many(*ps, estimate=0.03):
    """Fusions whose two tests have the p-values."""
    return {
        f"f{k}": {
            f"image in f{k}": contrast(estimate, p / 2),
            f"ehr in f{k}": contrast(estimate, p),
        }
        for k, p in enumerate(ps)
    }


def test_fusions_are_adjusted_by_holm():
    table = judged(many(0.012, 0.02, 0.04))
    np.testing.assert_allclose(table["p_helps"], [0.012, 0.02, 0.04])
    np.testing.assert_allclose(table["p_helps_holm"], [0.036, 0.04, 0.04])
    assert table["outcome"].tolist() == ["helps"] * 3
    table = judged(many(0.03, 0.02, 0.04))
    np.testing.assert_allclose(table["p_helps_holm"], [0.06, 0.06, 0.06])
    assert table["outcome"].tolist() == ["unclear"] * 3


def test_the_primary_fusion_alone_is_tested_without_adjustment():
    table = judged(many(0.04, 0.001, 0.9), primary="f0")
    assert table.loc["f0", "p_helps_holm"] == pytest.approx(0.04)
    assert table["p_helps_holm"].isna().tolist() == [False, True, True]
    assert table["outcome"].tolist() == ["helps", "secondary", "secondary"]
    # The detectable difference is that of one test.
    of = stats.t(49)
    expected = (of.ppf(0.975) + of.ppf(0.8)) * 0.01
    assert table.loc["f0", "detectable"] == pytest.approx(expected)
    three = judged(many(0.04, 0.001, 0.9))
    expected = (of.ppf(1 - 0.025 / 3) + of.ppf(0.8)) * 0.01
    np.testing.assert_allclose(three["detectable"], expected)


def test_what_is_detectable_is_limited_by_the_least_certain_single():
    """A claim needs a gain over each single, not only over the best one."""
    of = stats.t(49)
    table = judged(
        early(contrast(0.05, error=0.02), contrast(0.01, error=0.002)),
        smallest_gain=0.03,
    )
    assert table.loc["early", "reference"] == "ehr in early"
    expected = (of.ppf(0.975) + of.ppf(0.8)) * 0.02
    assert table.loc["early", "detectable"] == pytest.approx(expected)
    assert table.loc["early", "n_needed"] == np.ceil(200 * (expected / 0.03) ** 2)
    table = judged(
        early(contrast(0.05, error=0.04), contrast(0.01, error=0.002)),
        smallest_gain=0.03,
    )
    assert table.loc["early", "outcome"] == "too few"


def test_worse_is_adjusted_over_singles_and_fusions():
    row = judged(early(contrast(0.01), contrast(-0.03, 0.02))).loc["early"]
    assert row["outcome"] == "worse"
    assert row["worse_than"] == "ehr in early"
    assert row["p_worse"] == pytest.approx(0.04)  # two singles
    row = judged(early(contrast(0.01), contrast(-0.03, 0.026))).loc["early"]
    assert row["outcome"] == "unclear"
    both = {
        name: {
            f"image in {name}": contrast(0.01),
            f"ehr in {name}": contrast(-0.03, p),
        }
        for name, p in (("early", 0.02), ("late", 0.001))
    }
    table = judged(both)
    np.testing.assert_allclose(table["p_worse_holm"], [0.04, 0.004])
    assert table["outcome"].tolist() == ["worse", "worse"]
    both["early"]["ehr in early"] = contrast(-0.03, 0.03)
    assert judged(both)["outcome"].tolist() == ["unclear", "worse"]


def test_worse_than_a_single_of_another_learner_is_no_outcome():
    row = judged(
        early(contrast(0.001), contrast(0.001), forest=contrast(-0.1)),
        extra=("forest",),
    ).loc["early"]
    assert row["outcome"] == "unclear"
    assert row["p_worse"] == 1.0
    assert row["worse_than"] == ""


def test_lower_is_better_for_a_loss():
    gain = judged(early(contrast(-0.03), contrast(-0.05)), BRIER).loc["early"]
    assert gain["outcome"] == "helps"
    loss = judged(early(contrast(0.05), contrast(0.03)), BRIER).loc["early"]
    assert loss["outcome"] == "worse"
    assert loss["worse_than"] == "image in early"
    row = judged(early(contrast(0.004), contrast(-0.001)), BRIER, margin=0.025)
    assert row.loc["early", "outcome"] == "equivalent"
    row = judged(early(contrast(0.015), contrast(0.015)), BRIER, margin=0.025)
    assert row.loc["early", "p_noninferior"] > 0.05
    row = judged(early(contrast(-0.015), contrast(-0.015)), BRIER, margin=0.025)
    assert row.loc["early", "outcome"] == "noninferior"


def test_identical_models_have_no_difference_and_p_of_one():
    same = contrast(0.0, 1.0, error=0.0)
    row = judged(early(same, same)).loc["early"]
    assert row["outcome"] == "unclear"
    assert row["p_helps"] == row["p_worse"] == 1.0
    assert np.isnan(row["detectable"])
    row = judged(early(same, same), margin=0.02, smallest_gain=0.01).loc["early"]
    assert row["outcome"] == "unclear"


def test_a_contrast_without_a_test_leaves_the_fusion_untested():
    missing = contrast(0.1, np.nan, reason=NOT_TESTED)
    row = judged(early(contrast(0.1), missing)).loc["early"]
    assert row["outcome"] == "untested"
    assert row["reason"] == NOT_TESTED
    assert np.isnan(row["p_helps"])


def test_too_few_patients_needs_a_declared_gain():
    weak = early(contrast(0.01), contrast(0.012))
    assert judged(weak).loc["early", "outcome"] == "unclear"
    row = judged(weak, smallest_gain=0.02, n_patients=200).loc["early"]
    assert row["outcome"] == "too few"
    expected = int(np.ceil(200 * (row["detectable"] / 0.02) ** 2))
    assert row["n_needed"] == expected
    # The gain could be found, and the number does not depend on the difference.
    row = judged(weak, smallest_gain=0.03).loc["early"]
    assert row["outcome"] == "unclear"
    other = judged(early(contrast(0.001), contrast(-0.005)), smallest_gain=0.03)
    assert other.loc["early", "n_needed"] == row["n_needed"]


def test_equivalence_and_noninferiority_need_a_declared_margin():
    row = judged(early(contrast(0.003), contrast(0.002))).loc["early"]
    assert row["outcome"] == "unclear"
    assert np.isnan(row["p_equivalent"])
    row = judged(early(contrast(0.003), contrast(0.002)), margin=0.02).loc["early"]
    assert row["outcome"] == "equivalent"
    # The 90 % interval is inside the margin.
    low, high = 0.002 + np.array([-1, 1]) * stats.t.ppf(0.95, 49) * 0.01
    assert -0.02 < low < high < 0.02
    row = judged(early(contrast(0.015), contrast(0.013)), margin=0.02).loc["early"]
    assert row["outcome"] == "noninferior"
    row = judged(early(contrast(-0.015), contrast(-0.013)), margin=0.02).loc["early"]
    assert row["outcome"] == "unclear"
    # What helps is not called equivalent, and what is worse neither.
    row = judged(early(contrast(0.03), contrast(0.03)), margin=0.5).loc["early"]
    assert row["outcome"] == "helps"
    row = judged(early(contrast(-0.03), contrast(-0.03)), margin=0.5).loc["early"]
    assert row["outcome"] == "worse"


def test_references_are_all_singles_and_the_own_fusions_without_a_modality():
    arms = arms_of(["early", "late"], extra=["forest"])
    for name in ("early", "late"):
        arms.append(Strategy(f"{name} without ehr", "", "without", None, "ehr", name))
    pairs = [(a.name, b.name, relation) for a, b, relation in pairs_to_contrast(arms)]
    assert pairs == [
        ("early", "forest", "other"),
        ("early", "image in early", "matched"),
        ("early", "ehr in early", "matched"),
        ("early", "image in late", "other"),
        ("early", "ehr in late", "other"),
        ("early", "early without ehr", "without"),
        ("late", "forest", "other"),
        ("late", "image in early", "other"),
        ("late", "ehr in early", "other"),
        ("late", "image in late", "matched"),
        ("late", "ehr in late", "matched"),
        ("late", "late without ehr", "without"),
    ]


def test_only_the_primary_score_has_p_values():
    arms = arms_of(["early"])
    found = {
        ("early", single, metric.name): contrast(0.03)
        for single in ("image in early", "ehr in early")
        for metric in (AUROC, BRIER)
    }
    table = difference_table(arms, [AUROC, BRIER], found)
    assert table["p"].notna().tolist() == [True, True, False, False]
    assert table["low"].notna().all()


def test_nothing_to_judge():
    arms = [Strategy("early", "early", "fusion", None)]
    assert judge_fusions(arms, AUROC, {}, {}, Claims(), n_patients=9).empty
    assert difference_table(arms, [AUROC], {}).empty
