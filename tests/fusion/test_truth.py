"""Fusion against a cohort whose best possible AUROC is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, JointFusionClassifier, LateFusionClassifier
from skfusion.datasets import make_fusion_cohort

# three standard errors of an AUROC of 0.8 with 12,000 + 28,000 test rows
TOLERANCE = 0.008


def auroc(kind, cohort, test, **parameters):
    modalities = [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]
    model = kind(modalities, random_state=0, **parameters)
    model.fit(cohort.data, cohort.target)
    return roc_auc_score(test.target, model.predict_proba(test.data)[:, 1])


@pytest.mark.parametrize(
    ("correlation", "late", "early"), [(0.73, 0.781, 0.813), (0.0, 0.847, 0.847)]
)
@pytest.mark.long
def test_late_and_early_fusion_reach_their_optimum(correlation, late, early):
    cohort, test = (
        make_fusion_cohort(40_000, correlation=correlation, random_state=seed)
        for seed in (0, 1)
    )
    assert cohort.truth["late"] == pytest.approx(late, abs=5e-4)
    assert cohort.truth["joint"] == pytest.approx(early, abs=5e-4)
    members = LinearDiscriminantAnalysis()
    found_late = auroc(
        LateFusionClassifier, cohort, test, estimator=members, aggregation="stacking"
    )
    found_early = auroc(EarlyFusionClassifier, cohort, test, estimator=members)
    assert found_late == pytest.approx(late, abs=TOLERANCE)
    assert found_early == pytest.approx(early, abs=TOLERANCE)
    if correlation:
        assert found_early - found_late > 0.02
    else:
        assert abs(found_early - found_late) < 0.002


@pytest.mark.slow
def test_joint_fusion_sees_the_interaction_that_late_fusion_cannot():
    cohort, test = (
        make_fusion_cohort(20_000, correlation=0.73, random_state=seed)
        for seed in (0, 1)
    )
    found = auroc(
        JointFusionClassifier,
        cohort,
        test,
        max_epochs=20,
        batch_size=128,
        lr=1e-3,
        modality_dropout=0.0,
    )
    assert cohort.truth["late"] + 0.012 < found < cohort.truth["joint"] + TOLERANCE


def test_rows_of_a_patient_stay_together_in_every_strategy():
    cohort = make_fusion_cohort(
        400, rows_per_patient=4, patient_correlation=0.9, random_state=0
    )
    counts = np.unique(cohort.groups, return_counts=True)[1]
    assert set(counts) == {4}
    model = LateFusionClassifier(
        [
            ("image", StandardScaler(), cohort.image_columns),
            ("ehr", StandardScaler(), cohort.ehr_columns),
        ],
        aggregation="stacking",
        groups=cohort.group_column,
        random_state=0,
    ).fit(cohort.data, cohort.target)
    used = [column for _, _, columns in model.modalities_ for column in columns]
    assert cohort.group_column not in used
