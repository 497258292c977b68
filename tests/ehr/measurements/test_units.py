"""Units and values as text, against published factors and tables by hand."""

from __future__ import annotations

import zipfile

import numpy as np
import pandas as pd
import pytest

from skfusion.ehr.measurements.analytes import (
    ANALYTES,
    BASE_UNITS,
    UNIT_SPELLINGS,
    Analyte,
)
from skfusion.ehr.measurements.text_values import parse_values
from skfusion.ehr.measurements.units import Units, conversion, plain_unit


@pytest.mark.parametrize(
    ("analyte", "conventional", "si", "factor"),
    # conventional times factor is SI: the table of the AMA Manual of Style
    [
        ("glucose", "mg/dL", "mmol/L", 0.0555),
        ("creatinine", "mg/dL", "µmol/L", 88.4),
        ("urea_nitrogen", "mg/dL", "mmol/L", 0.357),
        ("bilirubin", "mg/dL", "umol/L", 17.104),
        ("calcium", "mg/dL", "mmol/L", 0.25),
        ("calcium", "mEq/L", "mmol/L", 0.5),
        ("magnesium", "mg/dL", "mmol/L", 0.4114),
        ("phosphate", "mg/dL", "mmol/L", 0.3229),
        ("sodium", "mEq/L", "mmol/L", 1.0),
        ("lactate", "mg/dL", "mmol/L", 0.111),
        ("cholesterol", "mg/dL", "mmol/L", 0.0259),
        ("triglycerides", "mg/dL", "mmol/L", 0.0113),
        ("uric_acid", "mg/dL", "umol/L", 59.485),
        ("hemoglobin", "g/dL", "mmol/L", 0.6206),
        ("hemoglobin", "g/dL", "g/L", 10.0),
        ("albumin", "g/dL", "g/L", 10.0),
        ("white_cells", "10*3/uL", "10^9/L", 1.0),
        ("white_cells", "/mm3", "10^9/L", 0.001),
        ("alanine_aminotransferase", "U/L", "ukat/L", 0.0167),
        ("carbon_dioxide_pressure", "mm Hg", "kPa", 0.133),
    ],
)
def test_factors_are_the_published_ones(analyte, conventional, si, factor):
    canonical = ANALYTES[analyte]
    conventional = conventional.replace("mm3", "mm^3")
    one, other = conversion(conventional, canonical), conversion(si, canonical)
    assert one[0] / other[0] == pytest.approx(factor, rel=0.01)


def test_conversions_with_a_zero_of_their_own():
    def convert(value, unit, analyte):
        factor, summand = conversion(unit, ANALYTES[analyte])
        return factor * value + summand

    assert convert(98.6, "°F", "temperature") == pytest.approx(37)
    assert convert(310.15, "K", "temperature") == pytest.approx(37)
    assert convert(53, "mmol/mol", "hemoglobin_a1c") == pytest.approx(7.0, abs=0.01)
    assert convert(70, "in", "height") == pytest.approx(177.8)
    assert convert(150, "lbs", "weight") == pytest.approx(68.04, abs=0.01)
    assert conversion("mmHg", ANALYTES["weight"]) is None
    assert conversion("mmol/L", Analyte("mg/dL")) is None  # of no known molar mass


@pytest.mark.parametrize("spelling", ["ng/mL FEU", "ng/ml feu", "ng/mlfeu"])
def test_conversions_of_an_own_analyte_are_found_in_any_spelling(spelling):
    dimer = Analyte("ng/mL", bounds=(0, 9000), conversions={spelling: (0.5, 0.0)})
    assert conversion("NG/ML  FEU", dimer) == (0.5, 0.0)
    code, value = pd.Series(["d", "d"]), pd.Series([800.0, 400.0])
    found = Units({"d": dimer})(code, value, pd.Series(["ng/mL FEU", "ng/mL"]))
    assert found["numeric_value"].tolist() == [400.0, 400.0]
    assert found["code"].tolist() == ["d", "d"]


def test_conversion_that_an_analyte_states_comes_first():
    own = Analyte("mg/dL", conversions={"g/L": (7.0, 1.0)})
    assert conversion("g/l", own) == (7.0, 1.0)


def test_every_canonical_unit_and_spelling_is_known():
    for analyte in ANALYTES.values():
        assert plain_unit(analyte.unit) in BASE_UNITS
        assert conversion(analyte.unit, analyte) == (1.0, 0.0)
        low, high = analyte.bounds or (0, 1)
        assert low < high
    assert set(UNIT_SPELLINGS.values()) <= set(BASE_UNITS)
    assert not set(UNIT_SPELLINGS) & set(BASE_UNITS)
    codes = [code for analyte in ANALYTES.values() for code in analyte.loinc]
    assert len(codes) == len(set(codes))


def loinc_check_digit(number):
    """Luhn's: every second digit from the right is doubled, then the digits added."""
    digits = [int(digit) for digit in reversed(number)]
    digits[::2] = [sum(divmod(2 * digit, 10)) for digit in digits[::2]]
    return -sum(digits) % 10


def test_loinc_codes_have_their_check_digit():
    for analyte in ANALYTES.values():
        for code in analyte.loinc:
            number, digit = code.split("-")
            assert loinc_check_digit(number) == int(digit), code


@pytest.fixture
def labs():
    table = pd.DataFrame(
        [
            ("crea", 1.0, "mg/dL"),
            ("crea", 88.4, "umol/L"),
            ("crea", 2.0, None),
            ("crea", 3.0, "drops"),
            ("crea", 900.0, "mg/dL"),
            ("crea", np.nan, "mg/dL"),
            ("other", 5.0, "mg/dL"),
        ],
        columns=["code", "value", "unit"],
        index=[9, 8, 7, 6, 5, 4, 3],
    )
    return [table[column] for column in table]


def test_unknown_units_are_kept_apart_and_counted(labs):
    units = Units({"crea": "creatinine"})
    with pytest.warns(
        UserWarning, match="values, got 1 .*split by unit.* and 1 implausible"
    ):
        result = units(*labs)
    expected = pd.DataFrame(
        {
            "code": ["crea"] * 3 + ["crea//drops", "crea", "crea", "other"],
            "numeric_value": [1.0, 1.0, 2.0, 3.0, np.nan, np.nan, 5.0],
            "unit": ["mg/dL"] * 3 + ["drops"] + ["mg/dL"] * 3,
        },
        index=labs[0].index,
    )
    pd.testing.assert_frame_equal(result, expected, check_dtype=False, rtol=1e-4)
    report = units.report(*labs)
    assert report.loc[("crea", "mg/dl")].to_dict() == {
        "n": 3,
        "canonical": 2,
        "converted": 0,
        "assumed": 0,
        "unknown": 0,
        "out of bounds": 1,
        "not listed": 0,
    }
    assert report["converted"].to_dict()[("crea", "umol/l")] == 1
    assert report["assumed"].to_dict()[("crea", "")] == 1
    assert report["not listed"].to_dict()[("other", "mg/dl")] == 1
    assert report["n"].sum() == 7


def test_what_a_user_may_want_instead(labs):
    units = Units(
        {"crea": "creatinine"}, on_unknown="gap", no_unit="split", bounds=False
    )
    with pytest.warns(UserWarning, match="2 with an unknown unit .set to NaN."):
        result = units(*labs)
    assert result["code"].tolist()[:4] == ["crea", "crea", "crea//no unit", "crea"]
    np.testing.assert_allclose(
        result["numeric_value"], [1, 1, 2, np.nan, 900, np.nan, 5], rtol=1e-4
    )
    with pytest.raises(ValueError, match="1 of 7 values .* first at position 3"):
        Units({"crea": "creatinine"}, on_unknown="error")(*labs)
    with pytest.raises(ValueError, match="got an unknown analyte 'kreatinin'"):
        Units({"crea": "kreatinin"})
    with pytest.raises(ValueError, match="on_unknown must be one of"):
        Units({}, on_unknown="keep")


def test_a_null_code_stays_one():
    code = pd.Series(["crea", None])
    units = Units({"crea": "creatinine"})
    result = units(code, pd.Series([88.4, 2.0]), pd.Series(["umol/L"] * 2))
    assert result["code"].isna().tolist() == [False, True]
    np.testing.assert_allclose(result["numeric_value"], [1, 2], rtol=1e-4)


def test_values_that_text_hides():
    cases = {
        "<0.1": (0.1, "<", ""),
        "< 0.1": (0.1, "<", ""),
        "LESS THAN 10": (10, "<", ""),
        "GREATER THAN 300": (300, ">", ""),
        ">=5": (5, ">=", ""),
        "≤ 2 mg/L": (2, "<=", "mg/L"),
        "12.5": (12.5, "", ""),
        "-3": (-3, "", ""),
        "1e3": (1000, "", ""),
        "1,200 mg/dL": (1200, "", "mg/dL"),
        ".5": (0.5, "", ""),
        "7%": (7, "", "%"),
        "5-10": (np.nan, "", ""),
        "5 - 10": (np.nan, "", ""),
        "NEGATIVE": (np.nan, "", ""),
        "1+": (np.nan, "", ""),
        "": (np.nan, "", ""),
    }
    result = parse_values(pd.Series(list(cases)))
    for row, expected in zip(
        result.itertuples(index=False), cases.values(), strict=True
    ):
        np.testing.assert_equal(tuple(row), expected)
    comma = parse_values(pd.Series(["0,5", "1.200,5", None]), decimal=",")
    np.testing.assert_equal(comma["numeric_value"].to_numpy(), [0.5, 1200.5, np.nan])
    pairs = parse_values(pd.Series(["120/80", "12:30", "2020-01-03"]))
    assert pairs["numeric_value"].isna().all()  # no single number
    with pytest.raises(ValueError, match="decimal must be"):
        parse_values(pd.Series(["1"]), decimal=" ")


def test_synthetic_hospital_has_no_unit_that_is_unknown(skfusion_data):
    archive = skfusion_data / "ehr" / "synthea27nj_omop" / "Synthea27Nj_5.4.zip"
    if not archive.exists():
        pytest.skip(f"no {archive.name}")
    with zipfile.ZipFile(archive) as tables, tables.open("MEASUREMENT.csv") as file:
        table = pd.read_csv(file, low_memory=False)
    report = Units.loinc().report(
        table["measurement_source_value"].astype(str),
        table["value_as_number"],
        table["unit_source_value"],
    )
    listed = report[report["not listed"] == 0]
    assert len(listed) >= 30
    assert listed["canonical"].sum() > 5000
    assert listed[["unknown", "out of bounds"]].to_numpy().sum() == 0
