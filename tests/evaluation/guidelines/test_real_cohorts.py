"""Audit and advice of the real cohorts."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from skfusion.datasets import load_pad_ufes_20
from skfusion.evaluation import advise, audit_cohort, describe_cohort

INFORMATIVE_GAPS = {
    *("gender", "fitspatrick", "diameter_1", "diameter_2", "smoke", "drink"),
    *("pesticide", "background_father", "background_mother", "skin_cancer_history"),
    *("cancer_history", "has_piped_water", "has_sewage_system"),
}


@pytest.fixture
def raw(skfusion_data):
    path = skfusion_data / "pad_ufes_20_subset" / "data.csv"
    if not path.exists():
        pytest.skip("pad_ufes_20_subset is not in the folder of real data")
    return pd.read_csv(path)


def test_the_raw_table_of_pad_ufes_20_has_thirteen_gaps_and_biopsed(raw):
    y = raw.pop("malignant")
    X = raw.drop(columns=["image", "diagnostic"])
    audit = audit_cohort(X, y, groups="patient_id", cv=5)
    gaps = {
        column
        for one in audit.findings
        if one.check == "missing values tell the outcome"
        for column in one.columns
    }
    assert gaps == INFORMATIVE_GAPS
    (biopsed,) = [one for one in audit.findings if "biopsed" in one.columns]
    assert biopsed.check == "value determines the outcome"
    assert biopsed.n_rows == "378"
    # The numbers of the patients follow the diagnosis as well.
    ordered = {
        c for o in audit.findings if o.check.startswith("order") for c in o.columns
    }
    assert ordered == {"order of the rows", "patient_id", "lesion_id"}


def test_the_diagnosis_among_the_features_is_an_error(raw):
    y = raw.pop("malignant")
    audit = audit_cohort(raw.drop(columns="image"), y, groups="patient_id")
    assert [o.columns for o in audit.of_severity("error")] == [("diagnostic",)]


def test_the_clean_columns_of_pad_ufes_20_pass(raw, skfusion_data):
    lesions = load_pad_ufes_20(skfusion_data / "pad_ufes_20_subset")
    audit = audit_cohort(
        lesions.data, lesions.target, lesions.group_column, 5, modalities="auto"
    )
    assert audit.passed
    checks = {one.check for one in audit.findings}
    assert checks == {"order tells the outcome", "similar images"}
    named = {c for o in audit.findings for c in o.columns}
    assert not named & set(lesions.ehr_columns)


def test_advice_on_pad_ufes_20(raw, skfusion_data):
    lesions = load_pad_ufes_20(skfusion_data / "pad_ufes_20_subset")
    arguments = ("auto", lesions.data, lesions.target, lesions.group_column)
    advice = advise(*arguments, encode=False)
    assert advice.strategies == ["single", "early", "late", "joint", "compare"]
    assert any("pen marks" in text for text in advice.cautions)
    assert any("image has 1,280 features" in text for text in advice.cautions)
    found = describe_cohort(*arguments, encode=False)
    json.dumps(found.to_dict())
    assert found.summary.set_index("quantity")["value"]["patients"] == "647"
