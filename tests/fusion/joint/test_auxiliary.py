"""Auxiliary losses of joint fusion: single modalities, and a second target."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from skfusion import JointFusionClassifier, JointFusionRegressor
from skfusion.datasets import make_fusion_cohort
from skfusion.fusion import TrainingSettings
from skfusion.fusion.joint.objective import AuxiliaryTarget

FUSIONS = (
    *("concat", "sum", "gated", "low_rank", "film", "attention"),
    (("image", "ehr"),),
)
# standard deviation of the AUROC of one modality over six training cohorts of 4,000
# rows and seeds: 0.0014 (image) and 0.0046 (EHR)
TRAINING_ERROR = 0.004
SLOW = [pytest.param(fusion, marks=pytest.mark.slow) for fusion in FUSIONS[1:5]]
SETTINGS = {"batch_size": 128, "random_state": 0}


def parts(cohort):
    return [
        ("image", StandardScaler(), cohort.image_columns),
        ("ehr", StandardScaler(), cohort.ehr_columns),
    ]


@pytest.fixture(scope="module")
def train():
    return make_fusion_cohort(4000, random_state=0)


@pytest.fixture(scope="module")
def test():
    return make_fusion_cohort(3000, random_state=1)


@pytest.fixture(scope="module")
def alone(train, test):
    """What a net of one modality says of the test rows."""
    scores = {}
    for part in parts(train):
        model = JointFusionClassifier([part], **SETTINGS)
        model.fit(train.data, train.target)
        scores[part[0]] = model.predict_proba(test.data)[:, 1]
    return scores


def paired_difference(y, first, second):
    """Return the difference of two AUROCs and its standard error (DeLong 1988)."""
    placements = []
    for scores in (first, second):
        above = scores[y == 1][:, None] > scores[y == 0]
        placements.append((above.mean(axis=1), above.mean(axis=0)))
    (cases, controls), (cases2, controls2) = placements
    variance = np.var(cases - cases2, ddof=1) / len(cases)
    variance += np.var(controls - controls2, ddof=1) / len(controls)
    return cases.mean() - cases2.mean(), variance**0.5


@pytest.mark.slow
@pytest.mark.parametrize("fusion", [FUSIONS[0], *SLOW, *FUSIONS[5:]], ids=str)
def test_without_a_modality_it_is_as_good_as_the_other_alone(
    fusion, train, test, alone
):
    model = JointFusionClassifier(
        parts(train), join=fusion, auxiliary_loss=1.0, **SETTINGS
    ).fit(train.data, train.target)
    single = model.predict_modalities(test.data)
    for gone, left in (("image", "ehr"), ("ehr", "image")):
        X = test.data.copy()
        X[getattr(test, f"{gone}_columns")] = np.nan
        for scores in (model.predict_proba(X)[:, 1], single[left][:, 1]):
            difference, error = paired_difference(test.target, scores, alone[left])
            assert difference > -2 * np.hypot(error, 2**0.5 * TRAINING_ERROR)
            # 0.5 is chance, and the standard error of an AUROC near it 0.011
            assert roc_auc_score(test.target, scores) > 0.5 + 5 * 0.011


def test_single_modalities_are_predicted_where_they_are(train):
    X = train.data.head(200).copy()
    X.loc[X.index[::10], train.image_columns] = np.nan
    model = JointFusionRegressor(parts(train), auxiliary_loss=0.5, max_epochs=2)
    model.fit(X, X[train.ehr_columns[0]])
    single = model.predict_modalities(X)
    assert np.flatnonzero(np.isnan(single["image"])).tolist() == list(range(0, 200, 10))
    assert np.isfinite(single["ehr"]).all()
    moved = X.copy()
    moved[train.image_columns] += 1
    np.testing.assert_array_equal(model.predict_modalities(moved)["ehr"], single["ehr"])
    assert model.predict_modalities(moved)["image"][1] != single["image"][1]
    plain = model.set_params(auxiliary_loss=0.0).fit(X, X[train.ehr_columns[0]])
    with pytest.raises(ValueError, match="auxiliary_loss=0 does not train"):
        plain.predict_modalities(X)


@pytest.fixture
def staged(train):
    X = train.data.head(300).copy()
    X["stage"] = pd.Series(
        np.where(X[train.image_columns[1]] > 0, "late", "early"), index=X.index
    ).mask(np.arange(300) % 7 == 0)
    return X


@pytest.mark.long
def test_auxiliary_target_is_learned_and_is_no_feature(train, staged):
    y = train.target[:300]
    settings = {"max_epochs": 20, "random_state": 0}
    whole = TrainingSettings(validation_fraction=0.0)
    plain = JointFusionClassifier(parts(train), training=whole, **settings).fit(
        staged, y
    )
    model = JointFusionClassifier(
        parts(train),
        auxiliary_target="stage",
        training=TrainingSettings(auxiliary_target_weight=5.0, validation_fraction=0.0),
        **settings,
    ).fit(staged, y)
    # without the column, and with wild values in it, the predictions are the same
    expected = model.predict_proba(staged)
    bare = staged.drop(columns="stage")
    np.testing.assert_array_equal(model.predict_proba(bare), expected)
    assert not np.array_equal(plain.predict_proba(bare), expected)
    joined = model.transform(bare)
    weights, bias = (
        w.detach().numpy() for w in model.network_.auxiliary_head.parameters()
    )
    stage = (joined @ weights.T + bias).argmax(axis=1)  # classes in sorted order
    known = staged["stage"].notna()
    assert (stage == (staged["stage"] == "late"))[known].mean() > 0.9


def test_auxiliary_target_left_out_with_modalities_auto(train, staged):
    model = JointFusionClassifier(auxiliary_target="stage", max_epochs=1)
    staged = staged.drop(columns=train.group_column)
    model.fit(staged, train.target[:300])
    assert "stage" not in [c for _, _, columns in model.modalities_ for c in columns]
    assert model.network_.auxiliary_head.out_features == 2
    staged["score"] = staged[train.image_columns[0]] * 100
    model.set_params(modalities=parts(train), auxiliary_target="score")
    model.fit(staged, train.target[:300])
    assert model.network_.auxiliary_head.out_features == 1


def test_rows_without_the_auxiliary_target_have_no_part_in_its_loss(train, staged):
    """What stands in their place, whatever the kind of gap, changes nothing."""
    y = train.target[:300]
    fitted = [
        JointFusionClassifier(
            parts(train), auxiliary_target="stage", max_epochs=2, random_state=0
        ).fit(staged.assign(stage=staged["stage"].astype(kind)), y)
        for kind in ("object", "category")
    ]
    first, second = (model.predict_proba(staged) for model in fitted)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("stagee", "auxiliary_target= names column 'stagee'.*'stage'"),
        ("constant", r"has 1 distinct value\(s\)"),
        ("infinite", "contains infinity in 1 of 300 rows"),
        ("image0", "is the auxiliary_target column and cannot be a feature"),
    ],
)
def test_auxiliary_targets_that_cannot_be_learned(train, staged, column, words):
    staged["constant"] = 1.0
    staged["infinite"] = np.r_[np.inf, np.arange(299)]
    column = train.image_columns[0] if column == "image0" else column
    model = JointFusionClassifier(parts(train), auxiliary_target=column)
    with pytest.raises(ValueError, match=words):
        model.fit(staged, train.target[:300])


@pytest.mark.parametrize(
    ("values", "kind", "encoded"),
    [
        (["b", None, "a"], "classes", [1, -1, 0]),
        ([True, False, True], "classes", [1, 0, 1]),
        ([0.0, 1.0, np.nan], "classes", [0, 1, -1]),
        ([1.0, 3.0, 2.0], "numbers", [-(1.5**0.5), 1.5**0.5, 0.0]),
    ],
)
def test_kind_of_an_auxiliary_target(values, kind, encoded):
    target = AuxiliaryTarget(pd.Series(values), "Net")
    assert target.kind == kind
    np.testing.assert_allclose(target.encoded, encoded)
