"""The order of attempts follows the guidelines, with reasons from the cohort."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from advised_cohorts import KINDS, two_modalities
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.datasets import make_multimodal_cohort
from skfusion.evaluation import advise


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_a_cohort_of_known_kind(kind):
    options, order = KINDS[kind]
    X, y, columns = two_modalities(**options)
    advice = advise(columns, X, y, groups="patient_id")
    assert advice.strategies == ["single", *order, "compare"]
    assert advice.order["rank"].tolist() == [1, 2, 3, 4, 5]


def reason_of(advice, strategy):
    return advice.order.set_index("strategy")["reason"][strategy]


@pytest.mark.long
def test_each_reason_is_of_this_cohort():
    def advice_of(kind):
        X, y, columns = two_modalities(**KINDS[kind][0])
        return advise(columns, X, y, groups="patient_id")

    missing = advice_of("often without a modality")
    assert re.search(r"3\d% of the rows lack a modality", reason_of(missing, "late"))
    assert any("complete cases would lose" in text for text in missing.cautions)
    small = advice_of("small")
    assert "There are 90 patients, " in reason_of(small, "late")
    assert "little to train encoders together" in reason_of(small, "joint")
    independent = advice_of("conditionally independent")
    assert "nearly independent" in reason_of(independent, "late")
    large = advice_of("large, complete, dependent")
    assert "1,200 patients" in reason_of(large, "joint")
    assert "are correlated" in reason_of(large, "early")
    medium = advice_of("complete, of medium size, dependent")
    assert "Every row has all modalities." in reason_of(medium, "early")


def test_no_winner_is_named():
    X, y, columns = two_modalities(90, shared=1.0)
    advice = advise(columns, X, y, groups="patient_id")
    for text in (str(advice), advice.to_markdown(), json.dumps(advice.to_dict())):
        assert "not a ranking" in text
        assert not re.search(
            r"\b(best|winner|optimal|superior|recommend)\b", text, re.I
        )
        assert "npj Digital Medicine 3:136, 2020" in text


def test_guidelines_name_their_source():
    X, y, columns = two_modalities(90)
    order = advise(columns, X, y, groups="patient_id").order.set_index("strategy")
    review = order.index[order["source"] == "Huang et al. 2020"]
    assert set(review) == {"early", "late", "joint"}
    assert order.loc[list(review), "guideline"].str.contains("Table 2").all()


def test_gaps_that_go_with_the_outcome_and_unequal_widths_are_cautions():
    X, y, columns = two_modalities(400, missing=0.1, missing_in_cases=0.2)
    rng = np.random.default_rng(0)
    for place in range(60):
        X[f"image_more_{place}"] = X["image_0"] * 0 + rng.normal(size=len(X))
    columns["image"] = [c for c in X if c.startswith("image")]
    cautions = " ".join(advise(columns, X, y, groups="patient_id").cautions)
    assert "Whether image is missing goes with the outcome" in cautions
    assert re.search(r"image has \d+ features and ehr has 5", cautions)
    assert "patients with the rarer outcome for" in cautions


@pytest.mark.long
def test_rows_of_a_patient_do_not_make_a_cohort_large():
    X, y, columns = two_modalities(90, shared=1.5, rows_per_patient=15)
    assert len(X) > 1_000
    advice = advise(columns, X, y, groups="patient_id")
    assert advice.strategies[1] == "late"
    rarer = min(X["patient_id"][y == side].nunique() for side in (0, 1))
    expected = f"{rarer} of 90 patients have at least one row of the rarer class."
    assert expected in reason_of(advice, "late")
    assert "rarer outcome" not in reason_of(advice, "late")
    with pytest.warns(UserWarning, match="advise: no groups were given"):
        again = advise(columns, X, y)
    assert again.strategies == advice.strategies


def test_patients_that_are_not_known_are_a_caution():
    X, y, columns = two_modalities(150)
    cautions = advise(columns, X.drop(columns="patient_id"), y).cautions
    assert any("No patients were given" in text for text in cautions)


def test_a_predictor_is_for_late_fusion_only():
    X, y, columns = two_modalities(300, shared=1.5)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    triples = [(name, model, part) for name, part in columns.items()]
    advice = advise(triples, X, y, groups="patient_id")
    assert advice.strategies == ["single", "late", "compare"]
    assert "end in a predictor" in reason_of(advice, "late")


@pytest.mark.long
def test_all_forms_of_modalities_give_the_same_order():
    X, y, columns = two_modalities(200, shared=1.5)
    triples = [(name, StandardScaler(), part) for name, part in columns.items()]
    early = EarlyFusionClassifier(triples, groups="patient_id")
    late = LateFusionClassifier(triples, groups="patient_id")
    forms = [triples, early, {"early": early, "late": late}]
    found = [advise(form, X, y, groups="patient_id").to_dict() for form in forms]
    assert found[0] == found[1] == found[2]
    by_name = advise(early, X, y)
    assert by_name.to_dict() == found[0]


def test_one_modality_is_refused():
    X, y, columns = two_modalities(90)
    with pytest.raises(ValueError, match="advise: 1 modality was given"):
        advise({"ehr": columns["ehr"]}, X, y, groups="patient_id")


def test_the_caveat_of_a_data_set_is_repeated():
    X, y, columns = two_modalities(90)
    X.attrs["caveat"] = "The outcome is an opinion."
    advice = advise(columns, X, y, groups="patient_id")
    assert "The outcome is an opinion." in advice.cautions


def test_no_small_count_is_printed():
    X, y, columns = two_modalities(90)
    X.loc[:3, columns["image"]] = np.nan
    y = np.zeros(90, dtype=int)
    y[::11] = 1
    advice = advise(columns, X, y, groups="patient_id")
    assert "<10 of them with the rarer outcome" in str(advice)
    assert "would lose <10 of 90 rows" in str(advice)
    text = str(advice)
    assert not re.search(r"(?<![\d.,<>=])[1-9] (of|rows|patients)\b", text), text


def test_survival_analyses_count_events():
    cohort = make_multimodal_cohort(
        300, {"mri": 4, "ehr": 3}, task="survival", censoring=0.1, random_state=0
    )
    advice = advise(cohort.columns, cohort.data, cohort.target, groups="patient_id")
    n_events = cohort.target["event"].sum()
    assert f"300 patients, {n_events} of them with an event" in str(advice)
    assert advice.strategies[1] == "early"  # few are censored, which makes none small
