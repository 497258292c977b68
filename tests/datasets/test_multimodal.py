from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score

from skfusion.datasets import make_multimodal_cohort

SEVEN = {
    "demographics": 4,
    "vitals": 6,
    "inpatient": 5,
    "outpatient": 5,
    "codes": 8,
    "labs": 9,
    "ct": 16,
}


def features(cohort, *names: str) -> np.ndarray:
    return np.hstack([cohort.data[cohort.columns[name]].to_numpy() for name in names])


def auroc(make, *names: str) -> float:
    train, test = make(1), make(2)
    model = LinearDiscriminantAnalysis().fit(features(train, *names), train.target)
    return roc_auc_score(test.target, model.decision_function(features(test, *names)))


@pytest.mark.long
def test_signals_are_as_large_as_documented():
    signal = {"mri": 1.2, "clinical": 0.6}

    def make(seed):
        return make_multimodal_cohort(
            20_000, {"mri": 93, "clinical": 5}, signal=signal, random_state=seed
        )

    for name, size in signal.items():
        assert auroc(make, name) == pytest.approx(norm.cdf(size / np.sqrt(2)), abs=0.01)
    both = np.sqrt(1.2**2 + 0.6**2)
    assert auroc(make, *signal) == pytest.approx(norm.cdf(both / np.sqrt(2)), abs=0.01)


@pytest.mark.parametrize("shape", [(32, 32), (12, 20), (16, 16, 3)])
def test_images_carry_their_signal_and_hardly_more_noise(shape):
    cohort = make_multimodal_cohort(
        6000, {"cxr": shape, "ehr": 1}, signal=1.5, random_state=0
    )
    images = np.stack(cohort.data["cxr"])
    assert images.dtype == np.uint8
    assert images.shape == (6000, *shape)
    middle = images[
        :, shape[0] // 4 : -(shape[0] // 4), shape[1] // 3 : -(shape[1] // 3)
    ]
    reached = roc_auc_score(cohort.target, middle.reshape(6000, -1).mean(axis=1))
    assert reached == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=0.015)


def test_seven_modalities():
    cohort = make_multimodal_cohort(50, SEVEN, random_state=0)
    assert list(cohort.columns) == list(SEVEN)
    assert {name: len(c) for name, c in cohort.columns.items()} == SEVEN
    assert cohort.data.shape == (50, 1 + sum(SEVEN.values()))
    assert cohort.ehr_columns == list(cohort.data.columns[1:])
    assert cohort.image_columns == []


def test_interaction_is_seen_by_no_modality_alone():
    def make(seed):
        return make_multimodal_cohort(
            8000, {"a": 4, "b": 4}, signal=0.0, interaction=2.0, random_state=seed
        )

    for names in (("a",), ("b",), ("a", "b")):
        assert auroc(make, *names) == pytest.approx(0.5, abs=0.02)
    cohort = make(1)
    # the pattern is on the last two of each block's four features
    product = features(cohort, "a")[:, 2:].sum(1) * features(cohort, "b")[:, 2:].sum(1)
    assert roc_auc_score(cohort.target, product) > 0.85


@pytest.mark.parametrize("share", [0.1, 0.91])
def test_prevalence_is_exact(share):
    target = make_multimodal_cohort(200, prevalence=share, random_state=0).target
    assert target.sum() == round(200 * share)


def test_classes_are_apart_by_the_signal():
    cohort = make_multimodal_cohort(
        30_000,
        {"a": 30},
        task="multiclass",
        n_outputs=4,
        prevalence=[1, 2, 3, 4],
        signal=2.0,
        random_state=0,
    )
    assert np.bincount(cohort.target).tolist() == [3000, 6000, 9000, 12000]
    x = features(cohort, "a")
    means = np.stack([x[cohort.target == k].mean(axis=0) for k in range(4)])
    for i in range(4):
        for j in range(i):
            assert np.linalg.norm(means[i] - means[j]) == pytest.approx(2.0, abs=0.1)


def test_labels_are_independent():
    cohort = make_multimodal_cohort(
        4000,
        {"a": 20, "b": 6},
        task="multilabel",
        n_outputs=3,
        prevalence=[0.1, 0.5, 0.3],
        random_state=0,
    )
    assert cohort.target.shape == (4000, 3)
    assert cohort.target.sum(axis=0).tolist() == [400, 2000, 1200]
    assert np.abs(np.corrcoef(cohort.target.T) - np.eye(3)).max() < 0.06
    x = features(cohort, "a")
    for k in range(3):
        own = roc_auc_score(cohort.target[:, k], x[:, 6 * k : 6 * k + 6].sum(axis=1))
        assert own == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.03)


@pytest.mark.parametrize("n_outputs", [None, 3])
def test_numbers(n_outputs):
    train, test = (
        make_multimodal_cohort(
            10_000,
            {"a": 30, "b": 3},
            task="regression",
            n_outputs=n_outputs,
            signal={"a": 1.5, "b": 0.0},
            random_state=seed,
        )
        for seed in (0, 1)
    )
    assert train.target.shape == ((10_000,) if n_outputs is None else (10_000, 3))
    model = LinearRegression().fit(features(train, "a"), train.target)
    reached = r2_score(test.target, model.predict(features(test, "a")))
    assert reached == pytest.approx(1.5**2 / (1 + 1.5**2), abs=0.02)
    nothing = LinearRegression().fit(features(train, "b"), train.target)
    assert nothing.score(features(test, "b"), test.target) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("censoring", [0.0, 0.3, 1.0])
def test_survival_times(censoring):
    cohort = make_multimodal_cohort(
        1000, {"a": 4}, task="survival", censoring=censoring, random_state=0
    )
    target = cohort.target
    assert target.dtype == np.dtype([("event", bool), ("time", np.float64)])
    assert (~target["event"]).sum() == round(1000 * censoring)
    assert (target["time"] > 0).all()


def test_survival_times_follow_the_documented_law():
    cohort = make_multimodal_cohort(
        20_000, {"a": 1}, task="survival", censoring=0.0, signal=50.0, random_state=0
    )
    # with so large a signal the feature is the log-hazard
    log_hazard = features(cohort, "a")[:, 0] / 50
    scaled = cohort.target["time"] * np.exp(log_hazard / 1.5)
    assert np.median(scaled) == pytest.approx(24, rel=0.03)
    # Weibull of shape 1.5: log(-log S) is a line of that slope in log(time)
    quarter, three = np.quantile(scaled, [0.25, 0.75])
    slope = np.log(np.log(4) / np.log(4 / 3)) / np.log(three / quarter)
    assert slope == pytest.approx(1.5, abs=0.05)


def test_patients_have_one_outcome_and_stay_together():
    for task in ("classification", "multilabel", "survival"):
        cohort = make_multimodal_cohort(
            101, {"a": 3, "i": (8, 8)}, task=task, rows_per_patient=4, random_state=0
        )
        assert len(np.unique(cohort.groups)) == 26
        assert (cohort.data["patient_id"] == cohort.groups).all()
        outcome = pd.DataFrame({"y": [str(row) for row in cohort.target]})
        assert (outcome.groupby(cohort.groups)["y"].nunique() == 1).all()


def test_categories_and_gaps():
    cohort = make_multimodal_cohort(
        90,
        {"clinical": 5, "photo": (8, 8, 3)},
        categorical={"clinical": 2},
        missing_rate={"photo": 0.5},
        random_state=0,
    )
    clinical = cohort.data[cohort.columns["clinical"]]
    assert [str(kind) for kind in clinical.dtypes] == ["float64"] * 3 + ["category"] * 2
    assert clinical.iloc[:, -1].value_counts().to_dict() == {
        "low": 30,
        "medium": 30,
        "high": 30,
    }
    assert cohort.data["photo"].isna().sum() == 45
    assert clinical.notna().all(axis=None)


def test_one_seed_one_cohort():
    first, again, other = (
        make_multimodal_cohort(40, missing_rate=0.2, rows_per_patient=2, random_state=s)
        for s in (3, 3, 4)
    )
    assert all(
        np.array_equal(a, b) if isinstance(a, np.ndarray) else a is b is None
        for a, b in zip(first.data["cxr"], again.data["cxr"], strict=True)
    )
    numbers = first.ehr_columns
    assert first.data[numbers].equals(again.data[numbers])
    assert not first.data[numbers].equals(other.data[numbers])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an integer of 1 or more"),
        ({"modalities": {}}, "modalities is empty"),
        ({"modalities": {"a": 0}}, "modality 'a' must be"),
        ({"modalities": {"a": (8,)}}, "modality 'a' must be"),
        ({"modalities": {"a": 3}, "interaction": 1.0}, "at least two modalities"),
        ({"task": "ranking"}, "task must be one of"),
        ({"n_outputs": 2}, "is not valid for task='classification'"),
        ({"task": "multiclass", "n_outputs": 2}, "is not valid for task='multiclass'"),
        ({"prevalence": 1.2}, "between 0 and 1"),
        ({"task": "multiclass", "prevalence": 0.3}, r"must be 3 share\(s\)"),
        ({"task": "multiclass", "prevalence": [1, 1, 0]}, "above 0"),
        ({"task": "survival", "prevalence": 0.3}, "prevalence is not valid"),
        ({"signal": {"pet": 1.0}}, r"signal has the keys \['pet'\]"),
        ({"categorical": {"cxr": 1}}, "is an image"),
        ({"categorical": {"clinical": 6}}, "5 wide"),
        ({"censoring": 1.1}, "censoring must be a number from 0 to 1"),
        ({"missing_rate": 0.9}, "leave rows without any modality"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_multimodal_cohort(**{"n_samples": 20, **parameters})
