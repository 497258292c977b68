"""Types of cells, and text among numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion.cli.tables.cells import as_dates, find_decimal, typed_column


def typed(*cells, decimal="."):
    return typed_column(pd.Series(list(cells), dtype=object, name="c"), decimal)


def counts(found):
    return {kind.split()[-1]: n for kind, n in found.kinds_of_odd.items()}


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (("61", " 48 ", "+5"), "number", [61, 48, 5]),
        (("6.5", "", "1e3"), "number", [6.5, np.nan, 1000]),
        (("-", "n/a", "7", "#DIV/0!", "1.#IND"), "number", [np.nan] * 2 + [7.0]),
        (("True", "false", ""), "boolean", [True, False, None]),
        (("f", "m\xa0", "None"), "text", ["f", "m", None]),
        # Codes: a zero that leads, and more digits than a float keeps.
        (("007", "12"), "text", ["007", "12"]),
        (("12345678901234567", "5"), "text", ["12345678901234567", "5"]),
        (("2A", "2B", "3A"), "text", ["2A", "2B", "3A"]),
        (("C34.1", "V45", "I10"), "text", ["C34.1", "V45", "I10"]),
        (("0-10", "10-20"), "text", ["0-10", "10-20"]),
    ],
)
def test_types(cells, kind, values):
    found = typed(*cells)
    assert found.kind == kind
    assert not found.odd.any()
    known = found.values.iloc[: len(values)]
    pd.testing.assert_series_equal(
        known.astype(object).where(known.notna(), None),
        pd.Series(values, dtype=object, name="c").where(pd.notna(values), None),
        check_dtype=False,
    )


@pytest.mark.parametrize(
    ("cells", "parsed", "kinds"),
    [
        (("63", "> 89", "<5", "≥ 70", "71"), [89, 5, 70], {">": 3}),
        (("3.1", "12,5", "4.0"), [12.5], {"comma": 1}),
        (("3", "1,200", "4"), [1200], {"thousands": 1}),
        (("3", "0,125", "4"), [0.125], {"comma": 1}),
        # "1,200" is 1200 or 1.2 where others have a decimal comma.
        (("3", "12,5", "1,200", "4"), [12.5, np.nan], {"comma": 1, "words": 1}),
        (("3", "5 mg", "4"), [5], {"number": 1}),
        (("3", "pending", "4"), [np.nan], {"words": 1}),
        (("3", "3 of 5", "4", "2020-01-01"), [np.nan] * 2, {"words": 2}),
    ],
)
def test_text_among_numbers(cells, parsed, kinds):
    found = typed(*cells)
    assert found.kind == "number"
    assert found.parsed[found.odd].tolist() == pytest.approx(parsed, nan_ok=True)
    assert found.values[found.odd].isna().all()
    assert counts(found) == kinds


@pytest.mark.parametrize("word", ["inf", "-Infinity", "1e999", "∞", "-1e151"])
def test_infinite_numbers(word):
    found = typed("1", word, "2")
    assert found.kind == "number"
    assert found.infinite.tolist() == [False, True, False]


def test_infinite_numbers_of_a_file_with_types():
    found = typed_column(pd.Series([1.0, np.inf, np.nan, -1e200]))
    assert found.infinite.tolist() == [False, True, False, True]


def test_numbers_and_text_in_the_cells_of_one_column():
    found = typed(61, "> 89", 48.5, None, np.nan)
    assert found.values.tolist() == pytest.approx(
        [61, *[np.nan], 48.5] + [np.nan] * 2, nan_ok=True
    )
    assert found.parsed[1] == 89


def test_decimal_commas():
    german = pd.DataFrame({"crp": ["12,5", "1.234,5", ""], "age": ["61", "7", "9"]})
    assert find_decimal(german, ";") == ","
    assert typed(*german["crp"], decimal=",").values.tolist()[:2] == [12.5, 1234.5]
    assert find_decimal(german, ",") == "."
    both = pd.DataFrame({"crp": ["12,5", "3,1"], "bmi": ["21.5", "24.0"]})
    assert find_decimal(both, ";") == "."
    thousands = pd.DataFrame({"cost": ["1,200", "12,000"]})
    assert find_decimal(thousands, "\t") == "."


@pytest.mark.parametrize(
    ("cells", "months", "is_ambiguous"),
    [
        (["2024-05-31", "2024-06-01 12:30"], [5, 6], False),
        (["31.05.2024", "01.06.2024"], [5, 6], False),
        (["05/31/2024", "06/01/2024"], [5, 6], False),
        (["31/05/2024", "01/06/2024"], [5, 6], False),
        (["05/06/2024", "01/06/2024"], None, True),
    ],
)
def test_dates(cells, months, is_ambiguous):
    dates, n_lost, ambiguous = as_dates(pd.Series(cells))
    assert ambiguous == is_ambiguous
    assert n_lost == 0
    if months is not None:
        assert dates.dt.month.tolist() == months


def test_the_order_of_ambiguous_dates_can_be_given():
    cells = pd.Series(["05/06/2024", None, "soon"])
    dates, n_lost, is_ambiguous = as_dates(cells, "day-first")
    assert (dates[0].day, dates[0].month) == (5, 6)
    assert (n_lost, is_ambiguous) == (1, False)
    assert as_dates(cells, "month-first")[0][0].month == 5
