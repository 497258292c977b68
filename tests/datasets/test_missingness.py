from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import pointbiserialr
from sklearn.preprocessing import StandardScaler

from skfusion.datasets import drop_modality, make_fusion_cohort, make_multimodal_cohort

PARTS = {"image": "photo", "ehr": ["age", "stage"], "labs": ["crp"]}


def cohort(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    photos = np.empty(n, dtype=object)
    photos[:] = [np.full((2, 2), k, np.uint8) for k in rng.integers(0, 255, n)]
    return pd.DataFrame(
        {
            "patient_id": np.arange(n),
            "photo": photos,
            "age": rng.integers(20, 90, n),
            "stage": rng.choice(["i", "ii", "iii"], n),
            "crp": rng.normal(size=n),
        },
        index=rng.permutation(n),
    )


def gone(X: pd.DataFrame, columns: list[str]) -> np.ndarray:
    return X[columns].isna().all(axis=1).to_numpy()


def association(lost: np.ndarray, values) -> tuple[float, float]:
    result = pointbiserialr(lost, np.asarray(values, dtype=float))
    return float(result.statistic), float(result.pvalue)


@pytest.mark.parametrize("mechanism", ["mcar", "mar", "mnar"])
@pytest.mark.parametrize("rate", [0.0, 0.123, 0.5, 1.0])
def test_rates_are_exact_and_nothing_else_changes(mechanism, rate):
    X = cohort()
    before = X.copy()
    dropped = drop_modality(
        X, {"image": rate}, modalities=PARTS, mechanism=mechanism, random_state=0
    )
    assert gone(dropped, ["photo"]).sum() == round(rate * 400)
    others = [column for column in X if column != "photo"]
    pd.testing.assert_frame_equal(dropped[others], X[others])
    pd.testing.assert_frame_equal(X, before)
    kept = ~gone(dropped, ["photo"])
    assert all(
        a is b for a, b in zip(dropped["photo"][kept], X["photo"][kept], strict=True)
    )
    assert all(cell is None for cell in dropped["photo"][~kept])


def test_a_rate_counts_the_rows_that_have_the_modality():
    X = drop_modality(cohort(), {"labs": 0.5}, modalities=PARTS, random_state=0)
    again = drop_modality(X, {"labs": 0.25}, modalities=PARTS, random_state=1)
    assert gone(again, ["crp"]).sum() == 200 + 50
    assert gone(again, ["crp"])[gone(X, ["crp"])].all()


def test_mcar_depends_on_nothing():
    X = cohort(4000)
    y = np.random.default_rng(1).integers(0, 2, 4000)
    dropped = drop_modality(X, {"image": 0.3}, modalities=PARTS, random_state=0)
    lost = gone(dropped, ["photo"])
    brightness = [cell.mean() for cell in X["photo"]]
    for values in (X["age"], X["crp"], brightness, y):
        assert association(lost, values)[1] > 0.01


@pytest.mark.parametrize("strength", [1.0, -1.0])
def test_mar_depends_on_the_driver_and_on_nothing_else(strength):
    X = cohort(4000)
    dropped = drop_modality(
        X,
        {"image": 0.3},
        modalities=PARTS,
        mechanism="mar",
        driver="crp",
        strength=strength,
        random_state=0,
    )
    lost = gone(dropped, ["photo"])
    r, p = association(lost, X["crp"])
    assert r * strength > 0.2
    assert p < 1e-6
    assert association(lost, X["age"])[1] > 0.01
    assert association(lost, [cell.mean() for cell in X["photo"]])[1] > 0.01


@pytest.mark.slow
def test_the_odds_of_the_first_choice_are_as_documented():
    """One row of two is taken: the other odds are those of a logistic model."""
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0]})
    first = sum(
        drop_modality(
            X,
            {"a": 0.5},
            modalities={"a": ["a"], "b": ["b"]},
            mechanism="mar",
            driver="b",
            strength=1.0,
            random_state=seed,
        )["a"]
        .isna()
        .iloc[1]
        for seed in range(2000)
    )
    # the ranks are one standard deviation to either side, so the log-odds are 2
    assert first / 2000 == pytest.approx(1 / (1 + np.exp(-2)), abs=0.025)


def test_mar_chooses_the_fullest_column_of_numbers_that_stays():
    X = cohort(2000)
    X.loc[X.index[:50], "age"] = np.nan
    dropped = drop_modality(
        X, {"image": 0.5}, modalities=PARTS, mechanism="mar", random_state=0
    )
    lost = gone(dropped, ["photo"])
    assert association(lost, X["crp"])[0] > 0.2
    assert association(lost, X["age"].fillna(50))[1] > 0.01


@pytest.mark.parametrize("part", ["image", "labs"])
def test_mnar_depends_on_what_is_lost(part):
    X = cohort(3000)
    own = X["crp"] if part == "labs" else [cell.mean() for cell in X["photo"]]
    column = "crp" if part == "labs" else "photo"
    dropped = drop_modality(
        X, {part: 0.3}, modalities=PARTS, mechanism="mnar", random_state=0
    )
    r, p = association(gone(dropped, [column]), own)
    assert r > 0.2
    assert p < 1e-6


@pytest.mark.parametrize(
    "labels", [(0, 1), ("benign", "malignant"), (False, True)], ids=str
)
def test_mnar_by_the_outcome(labels):
    X = cohort(2000)
    y = np.random.default_rng(2).integers(0, 2, 2000)
    dropped = drop_modality(
        X,
        {"image": 0.3},
        modalities=PARTS,
        mechanism="mnar",
        y=np.asarray(labels)[y],
        random_state=0,
    )
    r, _ = association(gone(dropped, ["photo"]), y)
    assert r > 0.2


@pytest.mark.parametrize(
    "driver",
    [
        np.linspace(0, 1, 2000),
        pd.Series(pd.Categorical(np.repeat(["lo", "hi"], 1000), ["lo", "hi"], True)),
        [False] * 1000 + [True] * 1000,
    ],
    ids=["array", "ordered", "list"],
)
def test_a_driver_of_ones_own(driver):
    dropped = drop_modality(
        cohort(2000),
        {"image": 0.3},
        modalities=PARTS,
        mechanism="mar",
        driver=driver,
        random_state=0,
    )
    assert association(gone(dropped, ["photo"]), np.arange(2000))[0] > 0.2


def test_no_row_loses_everything():
    X = cohort(300)
    for seed in range(5):
        dropped = drop_modality(X, 2 / 3, modalities=PARTS, random_state=seed)
        lost = np.column_stack(
            [gone(dropped, c) for c in (["photo"], ["age", "stage"], ["crp"])]
        )
        assert lost.sum(axis=0).tolist() == [200, 200, 200]
        assert not lost.all(axis=1).any()


def test_no_row_loses_everything_where_some_had_little():
    X = cohort(300)
    X.loc[X.index[:100], "photo"] = None
    X.loc[X.index[:50], "crp"] = np.nan  # 50 rows have ehr alone
    dropped = drop_modality(X, 0.4, modalities=PARTS, random_state=0)
    lost = np.column_stack(
        [gone(dropped, c) for c in (["photo"], ["age", "stage"], ["crp"])]
    )
    assert lost.sum(axis=0).tolist() == [100 + 80, 120, 50 + 100]
    assert not lost.all(axis=1).any()
    assert not lost[:50, 1].any()


def test_columns_that_nobody_names_count_as_left():
    X = cohort(100)
    dropped = drop_modality(X, 1.0, modalities={"image": "photo"}, random_state=0)
    assert gone(dropped, ["photo"]).all()
    alone = X[["patient_id", "photo"]]
    with pytest.raises(ValueError, match="allow_empty=True"):
        drop_modality(alone, 0.1, modalities={"image": "photo"})
    emptied = drop_modality(
        alone, 0.1, modalities={"image": "photo"}, allow_empty=True, random_state=0
    )
    assert gone(emptied, ["photo"]).sum() == 10


def test_modalities_as_the_estimators_take_them():
    made = make_fusion_cohort(100, random_state=0)
    triples = [
        ("image", StandardScaler(), made.image_columns),
        ("ehr", "ignored", made.ehr_columns),
    ]
    as_dict = {"image": made.image_columns, "ehr": made.ehr_columns}
    first, second = (
        drop_modality(made.data, {"ehr": 0.2}, modalities=parts, random_state=0)
        for parts in (triples, as_dict)
    )
    pd.testing.assert_frame_equal(first, second)


def test_modalities_are_found():
    dropped = drop_modality(cohort(), {"photo": 0.25, "ehr": 0.5}, random_state=0)
    assert gone(dropped, ["photo"]).sum() == 100
    assert gone(dropped, ["age", "stage", "crp"]).sum() == 200
    assert dropped["patient_id"].notna().all()


def test_every_kind_of_column_takes_nulls():
    n = 8
    X = pd.DataFrame(
        {
            "float32": np.zeros(n, np.float32),
            "int": np.arange(n),
            "Int64": pd.array(np.arange(n), dtype="Int64"),
            "bool": np.arange(n) % 2 == 0,
            "text": list("abcdefgh"),
            "object": pd.Series([b"x"] * n, dtype=object),
            "category": pd.Categorical(list("aabbccdd")),
            "date": pd.date_range("2020-01-01", periods=n),
            "other": np.arange(n),
        }
    )
    names = [column for column in X if column != "other"]
    dropped = drop_modality(X, 0.5, modalities={"m": names}, random_state=0)
    assert dropped[names].isna().sum().tolist() == [4] * len(names)
    assert gone(dropped, names).sum() == 4
    expected = {"int": "float64", "bool": "boolean"}
    for name in names:
        assert dropped[name].dtype == expected.get(name, X[name].dtype)
    kept = ~gone(dropped, names)
    for name in names:
        assert dropped[name][kept].tolist() == X[name][kept].tolist()


def test_one_seed_one_result():
    X = cohort()
    first, again, other = (
        drop_modality(X, 0.3, modalities=PARTS, random_state=s) for s in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_survival_cohorts_lose_modalities_too():
    made = make_multimodal_cohort(60, {"a": 3, "b": 2}, task="survival", random_state=0)
    dropped = drop_modality(
        made.data,
        {"a": 0.5},
        modalities=made.columns,
        mechanism="mnar",
        y=made.target["time"],
        random_state=0,
    )
    assert association(gone(dropped, made.columns["a"]), made.target["time"])[0] > 0


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"rate": 1.5}, ValueError, "rate of 'image' must be a number from 0 to 1"),
        ({"rate": float("nan")}, ValueError, "must be a number from 0 to 1"),
        ({"rate": {"ct": 0.5}}, ValueError, r"rate has the unknown names \['ct'\]"),
        ({"mechanism": "random"}, ValueError, "mechanism must be one of"),
        ({"driver": "crp"}, ValueError, "completely at random"),
        ({"y": np.zeros(40)}, ValueError, "completely at random"),
        ({"mechanism": "mar", "y": np.zeros(40)}, ValueError, "mechanism='mnar'"),
        (
            {"mechanism": "mnar", "y": np.zeros(40), "driver": "crp"},
            ValueError,
            "got both driver and y",
        ),
        ({"mechanism": "mar", "driver": "weight"}, ValueError, "not a column of X"),
        ({"mechanism": "mar", "driver": "stage"}, TypeError, "which has no order"),
        ({"mechanism": "mar", "driver": np.zeros(3)}, ValueError, "has 3 values"),
        (
            {"mechanism": "mar", "driver": "crp", "rate": 0.1},
            ValueError,
            "belongs to the removed modality 'labs'",
        ),
        ({"mechanism": "mar", "rate": 0.1}, ValueError, "needs an observed driver"),
        ({"strength": np.inf}, ValueError, "strength must be a number"),
        ({"modalities": {"image": "ct"}}, ValueError, "needs column 'ct'"),
        ({"modalities": {}}, ValueError, "empty"),
        ({"rate": 0.9}, ValueError, "leave rows without any modality"),
        (
            {"modalities": {"image": "photo", "both": ["photo", "age"]}},
            ValueError,
            "belongs to",
        ),
    ],
)
def test_what_is_refused(parameters, error, message):
    given = {"rate": {"image": 0.5}, "modalities": PARTS, "random_state": 0}
    with pytest.raises(error, match=message):
        drop_modality(cohort(40), **{**given, **parameters})


def test_names_alone_have_nothing_to_depend_on():
    with pytest.raises(ValueError, match="no numbers or pixels"):
        drop_modality(
            cohort(40)[["stage", "crp"]],
            {"site": 0.5},
            modalities={"site": ["stage"], "labs": ["crp"]},
            mechanism="mnar",
        )


@pytest.mark.parametrize("X", [pl.DataFrame({"a": [1.0]}), np.zeros((3, 2))])
def test_other_tables_are_refused_with_a_remedy(X):
    with pytest.raises(TypeError, match=r"must be a pandas DataFrame.*to_pandas"):
        drop_modality(X, 0.5)
