"""What is claimed of a fusion, from given contrasts."""

from __future__ import annotations

import pytest

from skfusion.evaluation.comparison.inference import Claims, Contrast, judge_fusions
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.metrics import resolve_metrics

METRIC = resolve_metrics("roc_auc", 2)[0]
ARMS = [
    Strategy("image in late", "image", "single", None, "image", "late"),
    Strategy("ehr in late", "ehr", "single", None, "ehr", "late"),
    Strategy("ehr in trees", "ehr, trees", "single", None, "ehr", "trees"),
    Strategy("late", "late", "fusion", None),
]


def outcome(image, ehr, trees):
    """Return the outcome for (difference, p) of late fusion from each single."""
    found = dict(zip(ARMS[:3], (image, ehr, trees), strict=True))
    contrasts = {
        ("late", arm.name, "roc_auc"): Contrast(d, d - 0.1, d + 0.1, p, 0.02, 49)
        for arm, (d, p) in found.items()
    }
    scores = {arm.name: 0.8 - d for arm, (d, _) in found.items()} | {"late": 0.8}
    table = judge_fusions(ARMS, METRIC, scores, contrasts, Claims(), n_patients=200)
    return table["outcome"].item()


@pytest.mark.parametrize(
    ("trees", "expected"),
    [
        ((0.05, 0.01), "helps"),
        # Above the other learner in these data, which is no evidence against fusion.
        ((0.03, 0.2), "unclear"),
        ((0.0, 1.0), "unmatched"),
        ((-0.004, 0.8), "unmatched"),
        ((-0.1, 0.001), "unmatched"),
    ],
)
def test_another_learner_makes_the_difference_only_if_it_is_not_below(trees, expected):
    assert outcome((0.1, 0.001), (0.08, 0.004), trees) == expected


def test_worse_needs_a_single_of_the_same_learner():
    assert outcome((0.1, 0.5), (-0.05, 0.01), (-0.05, 0.01)) == "worse"
    assert outcome((0.1, 0.5), (0.01, 0.8), (-0.05, 0.01)) == "unclear"
