"""Table one: numbers as in tableone, one unit per patient, no small count disclosed."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import make_cohort, modalities
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionRegressor, compare_fusion
from skfusion.evaluation.comparison.analyses.table_one import (
    Strata,
    default_columns,
    table_one,
)
from skfusion.exceptions import DataWarning

COLUMNS = ["age", "crp", "stage", "sex"]
# tableone 0.9.6 with nonnormal=["crp"], on `made_up`.
TABLEONE = """
n |  |  | 120 | 72 | 48 |
age, mean (SD) |  | 11 | 54.6 (8.8) | 54.9 (8.8) | 54.2 (8.9) | -0.074
crp, median [Q1, Q3] |  | 0 | 4.4 [2.1, 9.3] | 4.5 [2.1, 9.5] | 4.4 [2.1, 8.3] | -0.029
stage, n (%) | I | 9 | 48 (43.2) | 27 (42.9) | 21 (43.8) | 0.098
stage, n (%) | II |  | 47 (42.3) | 26 (41.3) | 21 (43.8) |
stage, n (%) | III |  | 16 (14.4) | 10 (15.9) | 6 (12.5) |
sex, n (%) | f | 0 | 48 (40.0) | 29 (40.3) | 19 (39.6) | 0.014
sex, n (%) | m |  | 72 (60.0) | 43 (59.7) | 29 (60.4) |
"""


def made_up():
    k = np.arange(120)
    X = pd.DataFrame(
        {
            "age": np.round(40 + 30 * ((k * 104729) % 997) / 996, 3),
            "crp": np.round(np.exp(3 * ((k * 1299709) % 991) / 990), 3),
            "stage": np.array(["I", "II", "III"])[((k * 31) % 7) // 3],
            "sex": np.where((k * 17) % 5 < 2, "f", "m"),
        }
    )
    X.loc[k % 11 == 3, "age"] = np.nan
    X.loc[k % 13 == 4, "stage"] = None
    return X, ((k * 7919) % 13 < 5).astype(int)


def describe(X, y, *, groups=None, min_cell=10, **labels):
    strata = Strata.of(np.asarray(y), ["0", "1"], groups)
    variables = {name: X[name].reset_index(drop=True) for name in X}
    return table_one(variables, strata, labels, min_cell=min_cell)


def test_numbers_are_those_of_tableone():
    found = describe(*made_up(), min_cell=0)
    lines = [line.split("|") for line in TABLEONE.strip().splitlines()]
    expected = [[cell.strip() for cell in line] for line in lines]
    assert len(found) == len(expected)
    for row, cells in zip(found.to_dict("records"), expected, strict=True):
        assert row["variable"] == cells[0]
        if cells[0] != "n":
            assert row["level"] == cells[1]
        assert [row[name] for name in ("missing", "overall", "0", "1")] == cells[2:6]
        shown = "" if np.isnan(row["smd"]) else f"{row['smd']:.3f}"
        assert shown == cells[6]


def numbers_of(row):
    return [row[name] for name in ("missing", "overall", "0", "1")]


def test_small_counts_are_hidden_and_do_not_follow_from_others():
    found = describe(*made_up()).set_index(["variable", "level"])
    stage = found.loc["stage, n (%)"]
    # 9 are missing and 6 of class 1 have stage III
    assert stage.loc["I", "missing"] == "<10"
    assert stage.loc["III", "1"] == "<10"
    assert stage.loc["III", "overall"] == "withheld"
    assert stage["smd"].isna().all()
    visible = [cell.isdigit() for cell in stage["overall"].str.split(" ").str[0]]
    assert sum(visible) <= 1
    # percentages of all patients do not reveal how many are missing
    shown = [cell for cell in stage["0"] if cell[0].isdigit()]
    for cell in shown:
        n, percent = cell.rstrip(")").split(" (")
        assert percent == f"{100 * int(n) / 72:.1f}"


def small(text):
    n = text.split(" ")[0]
    return n.isdigit() and 0 < int(n) < 10


@pytest.mark.parametrize("seed", range(20))
def test_no_small_cell_can_be_computed(seed):
    """Solve what a reader knows: totals of columns, sums of rows, and bounds."""
    rng = np.random.default_rng(seed)
    n = 150
    shares = rng.dirichlet(np.full(4, 0.6))
    level = rng.choice(list("abcd"), n, p=shares)
    y = (rng.random(n) < 0.3).astype(int)
    X = pd.DataFrame({"v": level})
    found = describe(X, y).iloc[1:]
    truth = pd.crosstab(X["v"], y)
    sizes = [int((y == k).sum()) for k in (0, 1)]
    for column, total in [("overall", n), ("0", sizes[0]), ("1", sizes[1])]:
        texts = found[column].tolist()
        assert not any(map(small, texts))
        hidden = [k for k, text in enumerate(texts) if not text[0].isdigit()]
        if not hidden:
            continue
        known = sum(int(text.split(" ")[0]) for text in texts if text[0].isdigit())
        rest = total - known
        ranges = [
            range(1, 10) if texts[k] == "<10" else range(10, rest + 1) for k in hidden
        ]
        for place in [k for k, number in enumerate(hidden) if texts[number] == "<10"]:
            others = [r for k, r in enumerate(ranges) if k != place]
            least, most = sum(map(min, others)), sum(max(r, default=0) for r in others)
            possible = [v for v in range(1, 10) if least <= rest - v <= most]
            assert possible == list(range(1, 10))
    for row in found.to_dict("records"):
        cells = [row["0"], row["1"]]
        if any(not cell[0].isdigit() for cell in cells):
            assert not row["overall"][0].isdigit()
        else:
            assert row["overall"].split(" ")[0] == str(truth.loc[row["level"]].sum())


def test_a_class_of_few_patients_is_hidden_in_every_row():
    X, _ = made_up()
    y = (np.arange(120) < 6).astype(int)
    found = describe(X, y)
    assert numbers_of(found.iloc[0])[1:] == ["120", "withheld", "<10"]
    for row in found.iloc[1:].to_dict("records"):
        assert not any(map(small, numbers_of(row)))
        assert row["1"] in ("<10", "0", "withheld") or row["1"].startswith("0 ")
    ages = found[found["variable"] == "age, mean (SD)"].iloc[0]
    assert ages["overall"] == "withheld"


def test_a_patient_counts_once_and_has_the_event_of_any_row():
    X = pd.DataFrame({"age": np.repeat(np.arange(60.0), 2) + [0.0, 100.0] * 60})
    y = np.zeros(120, dtype=int)
    y[1:80:2] = 1  # in the second row of 40 patients
    found = describe(X, y, groups=np.repeat(np.arange(60), 2))
    assert found.iloc[0][["level", "overall", "0", "1"]].tolist() == [
        "patients",
        "60",
        "20",
        "40",
    ]
    assert found.iloc[1]["overall"] == "29.5 (17.5)"


def test_labels_decimals_and_infinite_values():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"ph": 7.4 + 0.01 * rng.normal(size=60)})
    X.loc[:14, "ph"] = np.inf
    found = describe(X, np.arange(60) % 2, ph="arterial pH").iloc[1]
    assert found["variable"] == "arterial pH, mean (SD)"
    assert found["missing"] == "15"
    assert found["overall"] == "7.4018 (0.0088)"


@pytest.fixture(scope="module")
def result():
    X, y = make_cohort()
    X["sex"] = np.where(X["patient_id"] % 2, "f", "m")
    return compare_fusion(
        modalities(),
        X,
        y,
        groups="patient_id",
        strategies=("single", "late"),
        cv=2,
        n_repeats=1,
        scoring="roc_auc",
        random_state=0,
    )


def test_columns_of_the_modalities_are_described(result):
    found = result.table_one()
    assert found["variable"].tolist() == ["n", "lesion, mean (SD)", "age, mean (SD)"]
    assert found["overall"].iloc[0] == "120"
    sex = result.table_one("sex", {"sex": "Sex"})
    assert sex["level"].tolist() == ["patients", "f", "m"]
    assert sex["variable"].tolist() == ["n", "Sex, n (%)", "Sex, n (%)"]
    arrays = result.table_one({"v": np.arange(240) // 2 % 2})
    assert arrays["level"].tolist() == ["patients", "0", "1"]


def test_columns_that_are_left_out_are_counted():
    X, y = make_cohort(per_patient=1)
    wide = pd.DataFrame(np.zeros((len(X), 31)), index=X.index).add_prefix("f")
    X = pd.concat([X, wide + np.arange(len(X))[:, None]], axis=1)
    result = compare_fusion(
        [
            ("image", StandardScaler(), list(wide.columns)),
            ("ehr", StandardScaler(), ["age"]),
        ],
        X,
        y,
        strategies=("single", "late"),
        cv=2,
        n_repeats=1,
        scoring="roc_auc",
        random_state=0,
    )
    with pytest.warns(DataWarning, match="31 columns of the modalities are left out"):
        found = result.table_one()
    assert found["variable"].tolist() == ["n", "age, mean (SD)"]
    with pytest.raises(ValueError, match="not columns of X"):
        result.table_one(["weight"])


def test_a_cohort_without_columns_to_describe_says_how_to_give_them():
    X, y = make_cohort(per_patient=1)
    wide = pd.DataFrame(np.zeros((len(X), 31)), index=X.index).add_prefix("f")
    context = SimpleNamespace(
        study=SimpleNamespace(X=wide.assign(age=X["age"]), id_column=None),
        modalities=[SimpleNamespace(columns=list(wide.columns))],
    )
    with (
        pytest.warns(DataWarning, match="31 columns"),
        pytest.raises(ValueError, match="no modality has a column.* of age and sex"),
    ):
        default_columns(context)


def test_a_numeric_outcome_has_no_classes():
    X, _ = make_cohort(60, per_patient=1)
    early = EarlyFusionRegressor(modalities(), estimator=LinearRegression())
    y = X.sum(axis=1)
    result = compare_fusion({"early": early}, X, y, cv=3, n_repeats=1, random_state=0)
    found = result.table_one(["age"])
    assert list(found.columns) == ["variable", "level", "missing", "overall", "smd"]
    assert found["level"].iloc[0] == "rows"
    assert found["smd"].isna().all()


def test_pairs_of_levels_are_all_described():
    for a, b in itertools.product([0, 12, 40], repeat=2):
        X = pd.DataFrame({"v": np.repeat(["x", "y", "z"], [a, b, 50])})
        y = np.arange(len(X)) % 2
        found = describe(X, y, min_cell=0)
        assert found["smd"].iloc[1:].notna().any() == bool(a + b)
