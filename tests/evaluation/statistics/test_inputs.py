"""Messages about outcomes, scores and patient ids."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion.evaluation.statistics.inputs import (
    check_outcome,
    check_patients,
    check_scores,
)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([-1, 1, 1], r"the 2 values -1 and 1\. Code .* such as \(y == 1\) if 1 is the"),
        (pd.Series(["cancer", "none"]).astype("category"), "'cancer' and 'none'"),
        ([5, 5, 5], r"1 distinct value\(s\) of type int64"),
        ([0, 1, np.inf], r"3 distinct value\(s\) of type float64"),
        (np.array([0, [1], {2}], dtype=object), "values of type object"),
        (["0", "1"], "the 2 values '0' and '1'"),
        ([[0, 1], [1, 0]], r"y must have shape \(n,\), got \(2, 2\)"),
        (1, r"y must have shape \(n,\), got \(\)"),
    ],
)
def test_codes_of_an_outcome(y, message):
    with pytest.raises(ValueError, match=message):
        check_outcome(y, "delong_test")


def test_values_of_many_rows_are_not_quoted():
    names = ["Ada", "Berta", "Clara"]
    with pytest.raises(ValueError, match="got 3 distinct") as caught:
        check_outcome(names, "delong_test")
    assert not any(name in str(caught.value) for name in names)
    for scores in (names, [1, "Ada", 2], [[1, 2], [3]]):
        with pytest.raises(ValueError, match="scores must be numbers") as caught:
            check_scores(scores, (3,), "delong_test")
        assert "Ada" not in str(caught.value)


def test_missing_values_of_columns_are_counted_by_row():
    y = np.array([[0.0, np.nan], [np.nan, np.nan], [1, 0]])
    with pytest.raises(ValueError, match=r"in 2 of 3 rows, .* \[0, 1\]"):
        check_outcome(y, "estimate_aurocs", columns=True)


@pytest.mark.parametrize(
    "groups",
    [
        ["a", "b", "a", "c"],
        [10, 3, 10, 7],
        pd.Series([1.5, 2.5, 1.5, 0], index=list("wxyz")),
        pd.array([1, 2, 1, 3], dtype="Int64"),
        np.array([1, "b", 1, (2, 3)], dtype=object),
    ],
)
def test_ids_of_any_kind_are_numbered(groups):
    numbers, n_patients = check_patients(groups, 4, "delong_test")
    assert numbers.tolist() == [0, 1, 0, 2]
    assert n_patients == 3


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
def test_a_missing_id_is_no_patient(missing):
    groups = ["a", missing, "b", missing]
    for given in (np.array(groups, dtype=object), groups, pd.Index(groups)):
        with pytest.raises(ValueError, match=r"missing in 2 of 4 rows, .* \[1, 3\]"):
            check_patients(given, 4, "delong_test")
