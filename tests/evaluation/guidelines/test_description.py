"""Diagnostics of cohorts whose numbers are known."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from advised_cohorts import two_modalities
from scipy.stats import pearsonr
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skfusion import TabularEncoder
from skfusion.datasets import make_multimodal_cohort
from skfusion.evaluation import describe_cohort
from skfusion.evaluation.guidelines.association import associate
from skfusion.evaluation.guidelines.cases import Outcome
from skfusion.evaluation.guidelines.dependence import residual_correlation


def value_of(found, quantity):
    return found.summary.set_index("quantity")["value"][quantity]


def test_counts_are_those_of_the_cohort():
    X, y, columns = two_modalities(200, missing=0.3, rows_per_patient=2, seed=3)
    found = describe_cohort(columns, X, y, groups="patient_id")
    absent = X[columns["image"]].isna().all(axis=1).to_numpy()
    assert value_of(found, "rows") == "400"
    assert value_of(found, "patients") == "200"
    assert value_of(found, "rows a patient") == "2.00 on average"
    n_events = X["patient_id"][y == 1].nunique()
    expected = f"{y.sum()} rows ({100 * y.mean():.1f} %) of {n_events} patients"
    assert value_of(found, "rows of class 1") == expected
    image = found.modalities.set_index("modality").loc["image"]
    assert image["present"] == str((~absent).sum())
    assert image["rate_absent"] == f"{100 * y[absent].mean():.1f} %"
    groups = found.complete_cases.set_index("group")
    assert groups.loc["lost", "rows"] == str(absent.sum())
    assert groups.loc["lost", "rate"] == f"{100 * y[absent].mean():.1f} %"
    assert groups.loc["complete", "patients"] == str(X["patient_id"][~absent].nunique())


@pytest.mark.long
def test_absence_that_goes_with_the_outcome_has_a_small_p_value():
    def pvalue(in_cases):
        X, y, columns = two_modalities(400, missing=0.2, missing_in_cases=in_cases)
        found = describe_cohort(columns, X, y, groups="patient_id")
        return found.modalities.set_index("modality")["p_value"]["image"]

    assert pvalue(0.3) < 0.001
    X, y, columns = two_modalities(400, missing=0.2, missing_in_cases=0.3)
    found = describe_cohort(columns, X, y, groups="patient_id")
    lost = found.complete_cases.set_index("group")["p_value"]
    assert lost["lost"] < 0.001
    assert np.isnan(lost["complete"])
    assert pvalue(0.0) > 0.05


def test_rows_of_a_patient_are_one_observation_of_the_absence():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 10)
    by_patient, by_row = [], []
    for _ in range(200):
        outcome = Outcome("of class 1", np.repeat(rng.random(40) < 0.5, 10))
        absent = np.repeat(rng.random(40) < 0.4, 10).astype(float)
        by_patient.append(associate(outcome, absent, patients).pvalue)
        by_row.append(associate(outcome, absent, np.arange(400)).pvalue)
    assert np.mean(np.array(by_patient) < 0.05) <= 0.08
    assert np.mean(np.array(by_row) < 0.05) > 0.4


# -- widths ---------------------------------------------------------------------------


def test_widths_are_those_after_encoding():
    X, y, columns = two_modalities(120)
    X["stage"] = np.array(["I", "II", "III"])[np.arange(120) % 3]
    table = TabularEncoder()
    expected = table.fit_transform(X[["stage", "ehr_0"]]).shape[1]
    parts = [
        ("image", PCA(3), columns["image"]),
        ("ehr", TabularEncoder(), ["stage", "ehr_0"]),
        ("late", make_pipeline(PCA(2), LogisticRegression()), columns["image"]),
        ("bare", LogisticRegression(), columns["image"]),
    ]
    found = describe_cohort(parts, X, y, groups="patient_id")
    widths = found.modalities.set_index("modality")["n_features"].to_dict()
    assert widths == {"image": 3, "ehr": expected, "late": 2, "bare": None}
    assert found.modalities["reason"].tolist() == ["", "", "", "it is a predictor"]
    assert value_of(found, "features") == (
        f"{3 + expected + 2 + 12} or more, because a modality was not encoded"
    )


class Counting(TransformerMixin, BaseEstimator):
    """Encoder of images that counts the images that it encodes."""

    n_encoded = 0

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        Counting.n_encoded += len(X)
        return np.array([[cell.mean(), cell.std()] for cell in X])


def test_images_are_encoded_only_if_asked_for():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=80)})
    X["scan"] = list(rng.integers(0, 255, (80, 8, 8), dtype=np.uint8))
    y = np.arange(80) % 2
    parts = [("scan", Counting(), "scan"), ("a", TabularEncoder(), ["a"])]
    Counting.n_encoded = 0
    found = describe_cohort(parts, X, y, groups=np.arange(80), encode=False)
    assert Counting.n_encoded == 1  # for the width
    assert found.modalities["n_features"].tolist() == [2, 1]
    assert "encode=False" in found.dependence["reason"].iloc[0]
    found = describe_cohort(parts, X, y, groups=np.arange(80))
    assert Counting.n_encoded > 80
    assert found.dependence["reason"].iloc[0] == ""


class Refusing(Counting):
    """Encoder that fails with a message that names a patient."""

    def fit(self, X, y=None):
        raise RuntimeError("no scan of Mr Smith")


def test_an_encoder_that_fails_is_said_and_ends_nothing():
    X, y, columns = two_modalities(120)
    parts = [("image", Refusing(), columns["image"])]
    parts.append(("ehr", TabularEncoder(), columns["ehr"]))
    found = describe_cohort(parts, X, y, groups="patient_id")
    assert found.modalities["reason"].tolist() == [
        "it cannot be encoded (RuntimeError)",
        "",
    ]
    assert "image: it cannot be fitted" in found.dependence["reason"].iloc[0]
    assert "Smith" not in str(found) + json.dumps(found.to_dict())


# -- correlation within classes -------------------------------------------------------


@pytest.mark.long
def test_correlation_within_classes_and_not_between_them():
    X, y, columns = two_modalities(600, shared=0.0, seed=1)
    (none,) = describe_cohort(columns, X, y, groups="patient_id").dependence.to_dict(
        "records"
    )
    assert abs(none["correlation"]) < 0.12
    assert none["low"] < 0 < none["high"]
    assert none["p_value"] > 0.02
    X, y, columns = two_modalities(600, shared=1.5, seed=1)
    (some,) = describe_cohort(columns, X, y, groups="patient_id").dependence.to_dict(
        "records"
    )
    assert 0.35 < some["correlation"] < 0.65  # 1.5 / 2.5 less the noise of the learners
    assert some["p_value"] == 0.001


@pytest.mark.long
def test_the_null_of_the_correlation_holds_its_size():
    pvalues = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        strata = rng.integers(0, 2, 60)
        a, b = rng.normal(size=(2, 60, 1)) + 3 * strata[:, None]  # equal shifts
        pvalues.append(residual_correlation(a, b, strata, rng)[1])
    share = np.mean(np.array(pvalues) <= 0.05)
    assert 0.01 <= share <= 0.10


def test_the_correlation_is_that_of_pearson_within_one_class():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(80, 1))
    b = a + rng.normal(size=(80, 1))
    found, _ = residual_correlation(a, b, np.zeros(80), rng)
    assert found == pytest.approx(pearsonr(a[:, 0], b[:, 0])[0], abs=1e-9)
    shifted = np.arange(80) % 2
    again, _ = residual_correlation(
        a + 9 * shifted[:, None], b - 5 * shifted[:, None], shifted, rng
    )
    assert again == pytest.approx(
        np.corrcoef(
            (a - pd.DataFrame(a).groupby(shifted).transform("mean"))[0],
            (b - pd.DataFrame(b).groupby(shifted).transform("mean"))[0],
        )[0, 1],
        abs=1e-9,
    )


@pytest.mark.parametrize("task", ["multiclass", "regression", "survival", "multilabel"])
def test_other_outcomes(task):
    cohort = make_multimodal_cohort(
        200, {"mri": 4, "ehr": 3}, task=task, missing_rate={"mri": 0.2}, random_state=0
    )
    found = describe_cohort(cohort.columns, cohort.data, cohort.target, "patient_id")
    (pair,) = found.dependence.to_dict("records")
    if task in ("survival", "multilabel"):
        assert task in pair["reason"]
    else:
        assert abs(pair["correlation"]) < 0.3
    assert str(found)
    json.dumps(found.to_dict())


def test_too_few_patients_for_a_correlation_are_said():
    X, y, columns = two_modalities(24)
    (pair,) = describe_cohort(columns, X, y, groups="patient_id").dependence.to_dict(
        "records"
    )
    assert np.isnan(pair["correlation"])
    # Grouped folds, which scikit-learn 1.6 shuffles in another way, may fail earlier.
    assert re.search("(fewer than 20|too few) patients of a class", pair["reason"])


# -- what is printed ------------------------------------------------------------------


def test_no_small_count_and_no_rate_of_it_is_printed():
    X, y, columns = two_modalities(120, seed=5)
    y = (np.arange(120) < 15).astype(int)
    X.loc[[*range(4), *range(50, 80)], columns["image"]] = np.nan
    found = describe_cohort(columns, X, y, groups="patient_id")
    image = found.modalities.set_index("modality").loc["image"]
    assert image["absent"] == "34"
    assert image["rate_absent"] == "<29.4 %"  # 4 of 34
    X.loc[50:, columns["image"]] = 1.0
    found = describe_cohort(columns, X, y, groups="patient_id")
    image = found.modalities.set_index("modality").loc["image"]
    assert (image["absent"], image["present"]) == ("<10", ">110")
    assert image["rate_absent"] == "hidden"
    lost = found.complete_cases.set_index("group").loc["lost"]
    assert (lost["rows"], lost["rate"]) == ("<10", "hidden")
    for text in (str(found), json.dumps(found.to_dict())):
        assert not re.search(r"(?<![\d.,<>=])[1-9] (rows|patients)\b", text)


def test_the_description_as_text_and_dict():
    X, y, columns = two_modalities(120)
    found = describe_cohort(columns, X, y, groups="patient_id")
    text = str(found)
    for title in ("Cohort", "Modalities", "Correlation within classes of the outcome"):
        assert title in text.splitlines()
    again = json.loads(json.dumps(found.to_dict()))
    assert set(again) == {"summary", "modalities", "dependence", "complete_cases"}
    assert again["modalities"][0]["modality"] == "image"
    assert "<table" in found._repr_html_()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"encode": "all"}, "encode"),
        ({"min_cell": 0}, "min_cell"),
        ({"groups": "nobody"}, "describe_cohort: .*nobody"),
        ({"pos_label": 7}, "describe_cohort: pos_label=7"),
    ],
)
def test_errors_name_the_function(options, match):
    X, y, columns = two_modalities(60)
    with pytest.raises(ValueError, match=match):
        describe_cohort(columns, X, y, **{"groups": "patient_id", **options})
