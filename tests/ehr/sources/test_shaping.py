from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from skfusion.ehr.sources.shaping import Losses, answer_of, as_ids, as_times

BIG = 2**53 + 1


@pytest.mark.parametrize(
    "cells",
    [
        [str(BIG), str(BIG - 1), None],
        [f"{BIG}.0", str(BIG - 1), None],
        [BIG, BIG - 1, None],
        [BIG, float(1), None],
        [Decimal(BIG), 7, None],
        [" -9223372036854775808", "9223372036854775807", None],
        [np.int64(BIG), "8e3", np.nan],
    ],
)
def test_ids_are_exact_beside_nulls(cells):
    found = as_ids(pd.Series(cells, dtype=object), "reader")
    assert found.dtype == "Int64"
    assert found.isna().tolist() == [False, False, True]
    assert found[:2].tolist() == [int(Decimal(str(cell))) for cell in cells[:2]]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([float(BIG), 1.0]),
        pd.Series(["10.5", None]),
        pd.Series(["ten", "1"]),
        pd.Series([str(2**63), "1"]),
        pd.Series(np.array([2**63, 1], dtype=np.uint64)),
        pd.Series([float("inf"), 1.0]),
        pd.Series([Decimal("1.5"), None]),
    ],
)
def test_ids_that_are_not_certain(column):
    with pytest.raises(ValueError, match=r"reader: got 1 of 2 cells .* positions 0 of"):
        as_ids(column, "reader")


def test_ids_of_float_columns_and_of_empty_ones():
    assert as_ids(pd.Series([10.0, np.nan]), "reader").tolist() == [10, pd.NA]
    assert as_ids(pd.Series([None, None], dtype=object), "reader").isna().all()
    assert len(as_ids(pd.Series([], dtype=object), "reader")) == 0


@pytest.mark.parametrize("cell", ["1", "03/04/2020", "2020-13-01", 5j])
def test_cells_that_are_not_times(cell):
    cells = pd.Series(["2020-01-01", cell], dtype=object)
    with pytest.raises(ValueError, match="got 1 of 2 cells that are not times"):
        as_times(cells, "reader")


def test_times_beyond_nanoseconds():
    cells = pd.Series(["9999-12-31", "1600-01-01T08:00:00", None])
    assert as_times(cells, "reader").dt.year.tolist()[:2] == [9999, 1600]


def test_counts_of_dropped_rows():
    counts: list = []
    losses = Losses("reader", "labs", counts)
    table = pd.DataFrame(
        {
            "subject_id": [1, 1, 2, None],
            "time": pd.to_datetime(["2024-05-01", None, None, "2024-05-01"]),
            "code": "a",
        }
    )
    for chunk in (table, table):
        losses.keep_events(chunk)
    with pytest.warns(UserWarning, match="labs: dropped 6 of 8 rows"):
        losses.warn()
    assert [row[:4] for row in counts] == [
        ("labs", "have no subject", 2, 0),
        ("labs", "have no time", 4, 2),
    ]
    assert counts == losses.rows()


def test_words_of_answers():
    assert answer_of(" POS ") == answer_of("Detected*") == "POSITIVE"
    assert answer_of("NEG.") == answer_of("not  detected") == "NEGATIVE"
    assert answer_of("position changed") is None
