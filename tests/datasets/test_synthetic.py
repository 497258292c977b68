from __future__ import annotations

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from skfusion.datasets import make_fusion_cohort

# image, EHR, late optimum, joint optimum: computed elsewhere, from the design alone
TABLE = {
    0.0: (0.832, 0.638, 0.847, 0.847),
    0.3: (0.787, 0.638, 0.808, 0.822),
    0.6: (0.767, 0.638, 0.791, 0.816),
    0.9: (0.755, 0.638, 0.781, 0.813),
}


@pytest.mark.parametrize("rho", TABLE)
def test_truth_against_the_published_table(rho: float) -> None:
    correlation = 3 * rho / (1 + 3 * rho)
    truth = make_fusion_cohort(10, correlation=correlation).truth
    assert list(truth) == ["image", "ehr", "late", "joint"]
    np.testing.assert_allclose(list(truth.values()), TABLE[rho], atol=5e-4)


def features(cohort) -> np.ndarray:
    return cohort.data[cohort.image_columns + cohort.ehr_columns].to_numpy()


@pytest.mark.parametrize("rows_per_patient", [1, 4])
@pytest.mark.parametrize("correlation", [0.0, 0.73])
def test_the_optimal_scores_reach_the_truth(
    correlation: float, rows_per_patient: int
) -> None:
    cohort = make_fusion_cohort(
        60_000,
        correlation=correlation,
        rows_per_patient=rows_per_patient,
        random_state=0,
    )
    for name, weights in cohort.weights.items():
        reached = roc_auc_score(cohort.target, features(cohort) @ weights)
        # standard error 0.002, 0.004 with four rows a patient: three of them
        assert reached == pytest.approx(
            cohort.truth[name], abs=0.006 * rows_per_patient**0.5
        )


def test_models_learn_the_truth_and_no_more() -> None:
    train, test = (
        make_fusion_cohort(40_000, correlation=0.73, random_state=seed)
        for seed in (1, 2)
    )
    image = slice(0, 40)
    ehr = slice(40, 48)
    x, x_test = features(train), features(test)
    own, own_test = [], []
    for name, part in (("image", image), ("ehr", ehr)):
        member = LinearDiscriminantAnalysis().fit(x[:, part], train.target)
        own.append(member.decision_function(x[:, part]))
        own_test.append(member.decision_function(x_test[:, part]))
        reached = roc_auc_score(test.target, own_test[-1])
        assert reached == pytest.approx(test.truth[name], abs=0.008)
    late = LinearDiscriminantAnalysis().fit(np.transpose(own), train.target)
    reached_late = roc_auc_score(
        test.target, late.decision_function(np.transpose(own_test))
    )
    joint = LinearDiscriminantAnalysis().fit(x, train.target)
    reached_joint = roc_auc_score(test.target, joint.decision_function(x_test))
    assert reached_late == pytest.approx(test.truth["late"], abs=0.008)
    assert reached_joint == pytest.approx(test.truth["joint"], abs=0.008)
    assert reached_joint - reached_late > 0.02


def test_no_late_weighting_beats_the_late_truth() -> None:
    cohort = make_fusion_cohort(60_000, correlation=0.73, random_state=3)
    scores = [features(cohort) @ cohort.weights[name] for name in ("image", "ehr")]
    angles = np.linspace(0, np.pi / 2, 19)
    reached = [
        roc_auc_score(cohort.target, np.cos(a) * scores[0] + np.sin(a) * scores[1])
        for a in angles
    ]
    assert max(reached) == pytest.approx(cohort.truth["late"], abs=0.006)


@pytest.mark.parametrize(
    ("task", "model", "metric"),
    [
        ("multiclass", LinearDiscriminantAnalysis(), accuracy_score),
        ("regression", LinearRegression(), r2_score),
    ],
)
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_other_tasks_reach_their_truth(task, model, metric, correlation) -> None:
    train, test = (
        make_fusion_cohort(
            30_000, task=task, correlation=correlation, random_state=seed
        )
        for seed in (4, 5)
    )
    assert test.truth_metric == metric.__name__.removesuffix("_score")
    for name, weights in test.weights.items():
        score = (features(train) @ weights)[:, None]
        model.fit(score, train.target)
        reached = metric(
            test.target, model.predict((features(test) @ weights)[:, None])
        )
        assert reached == pytest.approx(test.truth[name], abs=0.012)
    reached = metric(
        test.target, model.fit(features(train), train.target).predict(features(test))
    )
    assert reached == pytest.approx(test.truth["joint"], abs=0.012)


def test_within_class_correlation_is_the_one_asked_for() -> None:
    cohort = make_fusion_cohort(50_000, correlation=0.5, random_state=6)
    x = features(cohort)[cohort.target == 0]
    along_image = x[:, :10].sum(axis=1)
    along_ehr = x[:, 40:44].sum(axis=1)
    assert np.corrcoef(along_image, along_ehr)[0, 1] == pytest.approx(0.5, abs=0.015)
    assert abs(np.corrcoef(along_image, x[:, 44:].sum(axis=1))[0, 1]) < 0.02


def test_prevalence_and_patients() -> None:
    cohort = make_fusion_cohort(
        20_001, prevalence=0.2, rows_per_patient=3, random_state=7
    )
    assert cohort.target.mean() == pytest.approx(0.2, abs=0.02)
    frame = cohort.data[["patient_id"]].assign(y=cohort.target)
    assert (frame.groupby("patient_id")["y"].nunique() == 1).all()
    assert frame["patient_id"].nunique() == 6667
    assert (cohort.groups == frame["patient_id"]).all()


def test_rows_of_a_patient_share_what_was_asked_for() -> None:
    cohort = make_fusion_cohort(
        20_000, rows_per_patient=2, patient_correlation=0.8, random_state=8
    )
    useless = features(cohort)[:, 30]  # no shift and no nuisance
    pairs = useless.reshape(-1, 2)
    assert np.corrcoef(pairs.T)[0, 1] == pytest.approx(0.8, abs=0.02)
    assert useless.std() == pytest.approx(1, abs=0.02)


def test_missing_modalities_are_exact_and_never_both() -> None:
    cohort = make_fusion_cohort(
        1000, missing_rate={"image": 0.3, "ehr": 0.1}, random_state=9
    )
    image = cohort.data[cohort.image_columns].isna()
    ehr = cohort.data[cohort.ehr_columns].isna()
    assert (image.all(axis=1) == image.any(axis=1)).all()
    assert (image.all(axis=1).sum(), ehr.all(axis=1).sum()) == (300, 100)
    assert not (image.all(axis=1) & ehr.all(axis=1)).any()
    both = make_fusion_cohort(10, missing_rate=0.5, random_state=9).data.isna()
    assert both["image_00"].sum() == both["ehr_0"].sum() == 5


def test_images_hold_the_features() -> None:
    numbers = make_fusion_cohort(20_000, correlation=0.73, random_state=10)
    drawn = make_fusion_cohort(
        20_000, correlation=0.73, as_images=True, random_state=10
    )
    assert drawn.image_columns == ["image"]
    assert drawn.truth == numbers.truth
    tiles = np.stack(drawn.data["image"])[:, ::6, ::6].reshape(-1, 40)
    decoded = (tiles.astype(float) - 128) / 20
    original = numbers.data[numbers.image_columns].to_numpy()
    assert np.abs(decoded - original).max() < 0.03
    reached = roc_auc_score(drawn.target, decoded @ drawn.weights["image"][:40])
    assert reached == pytest.approx(drawn.truth["image"], abs=0.012)
    # every pixel of a tile is the same
    image = drawn.data["image"].iloc[0]
    assert image.shape == (30, 48)
    np.testing.assert_array_equal(
        image, image[::6, ::6].repeat(6, axis=0).repeat(6, axis=1)
    )


def test_missing_images_are_none() -> None:
    cohort = make_fusion_cohort(
        40, as_images=True, missing_rate={"image": 0.25}, random_state=11
    )
    cells = list(cohort.data["image"])
    assert sum(cell is None for cell in cells) == 10
    assert sum(isinstance(cell, np.ndarray) for cell in cells) == 30
    assert not cohort.data[cohort.ehr_columns].isna().any().any()


def test_one_seed_one_cohort() -> None:
    first, again, other = (
        make_fusion_cohort(50, missing_rate=0.2, rows_per_patient=2, random_state=s)
        for s in (0, 0, 1)
    )
    assert first.data.equals(again.data)
    assert (first.target == again.target).all()
    assert not first.data.equals(other.data)
    stream = np.random.RandomState(0)
    assert make_fusion_cohort(
        50, missing_rate=0.2, rows_per_patient=2, random_state=stream
    ).data.equals(first.data)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an integer of 1 or more"),
        ({"correlation": 1.0}, "correlation must be a number from 0 to 0.999999999"),
        ({"correlation": -0.1}, "correlation must be a number from 0 to 0.999999999"),
        ({"prevalence": 1.5}, "prevalence must be a number from 0 to 1"),
        ({"rows_per_patient": 0}, "rows_per_patient must be an integer of 1 or more"),
        ({"patient_correlation": float("nan")}, "patient_correlation must be"),
        ({"task": "survival"}, "task must be one of"),
        ({"missing_rate": 0.6}, "sum to 1.2"),
        (
            {"missing_rate": {"ehr": -0.1}},
            "missing_rate of 'ehr' must be a number from 0 to 1",
        ),
        ({"missing_rate": {"ct": 0.1}}, r"keys \['ct'\]"),
    ],
)
def test_parameters_out_of_range(parameters: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_fusion_cohort(**{"n_samples": 10, **parameters})
