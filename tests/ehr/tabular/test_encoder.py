"""TabularEncoder, against tables worked out by hand."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler

from skfusion import TabularEncoder
from skfusion.ehr.tabular.columns import typical_values
from skfusion.exceptions import DataWarning


def encoded(encoder, frame):
    return encoder.set_output(transform="pandas").transform(frame)


@pytest.fixture
def frame():
    return pd.DataFrame(
        {
            "age": [40.0, 60.0, np.nan, 50.0],
            "smoker": pd.array([True, False, None, True], dtype="boolean"),
            "sex": ["f", "m", None, "f"],
            "born": pd.to_datetime(["2000-01-01", None, "2000-01-03", "1999-12-31"]),
            "scan": pd.to_datetime(["2000-01-11"] * 4),
        }
    )


def test_each_kind_of_column(frame):
    encoder = TabularEncoder(scale=False, index_time="scan").fit(frame)
    assert encoder.kinds_ == {
        "number": ["age"],
        "date": ["born"],
        "ordered": [],
        "boolean": ["smoker"],
        "vector": [],
        "category": ["sex"],
        "multivalued": [],
        "text": [],
    }
    expected = pd.DataFrame(
        {
            "age": [40.0, 60.0, 50.0, 50.0],
            "born_days": [-10.0, -10.0, -8.0, -11.0],
            "smoker": [1.0, 0.0, 1.0, 1.0],
            "age_missing": [0.0, 0.0, 1.0, 0.0],
            "born_missing": [0.0, 1.0, 0.0, 0.0],
            "smoker_missing": [0.0, 0.0, 1.0, 0.0],
            "sex_f": [1.0, 0.0, 0.0, 1.0],
            "sex_m": [0.0, 1.0, 0.0, 0.0],
            "sex_missing": [0.0, 0.0, 1.0, 0.0],
        }
    )
    pd.testing.assert_frame_equal(encoded(encoder, frame), expected)


def test_numbers_are_scaled_as_scikit_learn_does():
    X = np.random.default_rng(0).normal(3, 2, (50, 3))
    expected = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(TabularEncoder().fit_transform(X), expected)


def test_everything_is_learned_in_fit():
    train = pd.DataFrame({"crp": [1.0, 3.0, np.nan], "site": ["a", "b", "a"]})
    new = pd.DataFrame({"crp": [np.nan, 1000.0], "site": ["new", None]})
    encoder = TabularEncoder(scale=False).fit(train)
    table = encoded(encoder, new)
    assert table["crp"].tolist() == [1.0, 1000.0]
    assert table["crp_missing"].tolist() == [1.0, 0.0]
    assert table[["site_a", "site_b"]].to_numpy().tolist() == [[0, 0], [0, 0]]


def test_gaps_without_a_gap_in_training_are_filled_and_not_flagged():
    encoder = TabularEncoder(scale=False).fit(pd.DataFrame({"crp": [1.0, 3.0]}))
    table = encoded(encoder, pd.DataFrame({"crp": [np.nan]}))
    assert list(table.columns) == ["crp"]
    assert table.loc[0, "crp"] == 1.0


def test_nan_is_kept_on_request():
    X = pd.DataFrame({"crp": [1.0, np.nan, 3.0]})
    values = TabularEncoder(impute=None, missing_indicator=False).fit_transform(X)
    np.testing.assert_allclose(values[:, 0], [-1, np.nan, 1])


def test_mean_imputation_and_weights():
    X = pd.DataFrame({"crp": [0.0, 10.0, np.nan]})
    for weights, mean in ((None, 5.0), ([3.0, 1.0, 1.0], 2.5), ([1.0, 0.0, 1.0], 0.0)):
        encoder = TabularEncoder(impute="mean", scale=False)
        encoder.fit(X, sample_weight=weights)
        assert encoder.transform(X)[2, 0] == mean


def test_a_column_that_is_empty_in_training_says_nothing():
    X = pd.DataFrame({"crp": [1.0, 2.0], "never": [np.nan, np.nan], "none": [None] * 2})
    table = encoded(TabularEncoder().fit(X), X)
    assert (table[["never", "none"]] == 0).all(axis=None)
    assert (table[["never_missing", "none_missing"]] == 1).all(axis=None)


def test_rare_categories_are_merged_and_unseen_ones_join_them():
    X = pd.DataFrame({"site": ["a"] * 50 + ["b"] * 48 + ["c", "d"]})
    encoder = TabularEncoder(min_frequency=5).fit(X)
    assert list(encoder.get_feature_names_out()) == [
        "site_a",
        "site_b",
        "site_infrequent_sklearn",
    ]
    new = pd.DataFrame({"site": ["c", "unseen"]})
    assert encoder.transform(new).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_objects_that_hold_numbers_or_booleans_are_recognised():
    X = pd.DataFrame(
        {"n": [1, None, 2.5], "b": [True, None, False], "mixed": [1, "1", "x"]},
        dtype=object,
    )
    kinds = TabularEncoder().fit(X).kinds_
    assert kinds["number"] == ["n"]
    assert kinds["boolean"] == ["b"]
    assert kinds["category"] == ["mixed"]


def test_what_cannot_be_encoded_says_why(frame):
    with pytest.raises(ValueError, match="dates in column 'born'.*index_time="):
        TabularEncoder().fit(frame.drop(columns="scan"))
    with pytest.raises(
        ValueError, match="index_time='when', which is not among the 5 columns"
    ):
        TabularEncoder(index_time="when").fit(frame)
    with pytest.raises(ValueError, match="'sex' must contain dates"):
        TabularEncoder(index_time="sex").fit(frame)
    with pytest.raises(ValueError, match="impute must be"):
        TabularEncoder(impute="guess").fit(frame[["age"]])
    with pytest.raises(
        ValueError, match=r"infinity in column 'crp' in 1 row.*position 1"
    ):
        TabularEncoder().fit(pd.DataFrame({"crp": [1.0, np.inf]}))
    encoder = TabularEncoder().fit(frame[["age"]])
    with pytest.raises(ValueError, match="'age' was numeric in fit, got"):
        encoder.transform(pd.DataFrame({"age": ["forty"]}))


def test_ordered_categories_become_ranks():
    grades = pd.Categorical(
        ["low", "high", None, "mid"], categories=["low", "mid", "high"], ordered=True
    )
    X = pd.DataFrame({"grade": grades, "stage": ["II", "I", "X", "III"]})
    encoder = TabularEncoder(
        scale=False, orders={"stage": ["I", "II", "III"]}, impute=None
    )
    with pytest.warns(DataWarning, match=r"not in the order.*'stage': 1 of 4 values"):
        encoder.fit(X)
    table = encoded(encoder, X)
    assert encoder.kinds_["ordered"] == ["grade", "stage"]
    np.testing.assert_array_equal(table["grade"], [0, 2, np.nan, 1])
    np.testing.assert_array_equal(table["stage"], [1, 0, np.nan, 2])
    assert table["stage_missing"].tolist() == [0, 0, 1, 0]
    new = pd.DataFrame({"grade": ["high"], "stage": ["I"]})  # the order was learned
    assert encoded(encoder, new)["grade"].tolist() == [2]


def test_orders_and_bounds_that_are_no_order():
    X = pd.DataFrame({"stage": ["I", "II"] * 5, "age": np.arange(10.0)})
    for order in ({"I", "II"}, frozenset(["I", "II"]), "I, II"):
        with pytest.raises(TypeError, match=r"orders\['stage'\] must be a sequence"):
            TabularEncoder(orders={"stage": order}).fit(X)
    for bounds in ((9, 1), (1, 1), (np.nan, 5)):
        with pytest.raises(ValueError, match=r"bounds\['age'\] must be two increasing"):
            TabularEncoder(bounds={"age": bounds}).fit(X)


def test_an_order_of_the_only_column_that_most_later_values_are_not_in():
    X = pd.DataFrame({"stage": ["I", "II"] * 5})
    encoder = TabularEncoder(orders={"stage": ["I", "II"]}).fit(X)
    with pytest.warns(DataWarning, match=r"most values were not seen.*4 of 5 values"):
        encoder.transform(pd.DataFrame({"stage": ["1", "1", "2", "2", "I"]}))


def test_values_that_were_not_seen_are_found_by_cell():
    X = pd.DataFrame(
        {
            "site": ["A", "B", None] * 4,
            "stage": ["I", "II", "I"] * 4,
            "itch": ["True", "False", "UNK"] * 4,
            "age": np.arange(12.0),
        }
    )
    encoder = TabularEncoder(orders={"stage": ["I", "II"]}).fit(X)
    new = pd.DataFrame(
        {
            "site": ["a ", "C", None, "N/A"],
            "stage": ["II", "III", None, "I"],
            "itch": [True, "Yes", "unk", None],
            "age": [1.0, 999.0, np.nan, 3.0],
        },
        index=[7, 7, "x", None],
    )
    found = encoder.find_unseen(new)
    assert found.index.equals(new.index)
    assert found.to_dict("list") == {
        "site": [False, True, False, False],
        "itch": [False, True, False, False],
        "stage": [False, True, False, False],
    }
    assert TabularEncoder().fit(X[["age"]]).find_unseen(new[["age"]]).shape == (4, 0)


def test_unseen_ones_of_several_values_are_found():
    X = pd.DataFrame(
        {
            "icd": ["I10&E11", "E11", None, "J45", "E11"],
            "drugs": [["aspirin"], ["aspirin", 3], [], None, {"aspirin"}],
        }
    )
    encoder = TabularEncoder(multivalued={"icd": "&"}, min_frequency=3).fit(X)
    new = pd.DataFrame(
        {
            "icd": ["i10 & e11", "J45&J46", None, "n/a", " & "],
            "drugs": [["Aspirin", 3.0], {"heparin"}, [None], None, []],
        }
    )
    assert encoder.find_unseen(new).to_dict("list") == {
        "icd": [False, True, False, False, False],
        "drugs": [False, True, False, False, False],
    }


def test_cells_with_several_values():
    X = pd.DataFrame(
        {
            "icd": ["I10&E11", " E11 & E11 ", None, "J45", "E11"],
            "drugs": [["aspirin"], ["aspirin", "insulin"], [], None, {"aspirin"}],
        }
    )
    encoder = TabularEncoder(multivalued={"icd": "&"}, min_frequency=2).fit(X)
    table = encoded(encoder, X)
    expected = pd.DataFrame(
        {
            "icd_missing": [0.0, 0, 1, 0, 0],
            "drugs_missing": [0.0, 0, 0, 1, 0],
            "icd_E11": [1.0, 1, 0, 0, 1],
            "icd_infrequent": [1.0, 0, 0, 1, 0],
            "drugs_aspirin": [1.0, 1, 0, 0, 1],
            "drugs_infrequent": [0.0, 1, 0, 0, 0],
        }
    )
    pd.testing.assert_frame_equal(table, expected)
    new = pd.DataFrame({"icd": ["unseen&E11"], "drugs": [["unseen"]]})
    assert encoded(encoder, new).loc[0].tolist() == [0, 0, 1, 1, 0, 1]


def test_the_most_frequent_values_are_kept():
    X = pd.DataFrame({"icd": ["a&b&c", "b&c", "c&d", "c"]})
    for most, names in ((2, ["c", "infrequent"]), (4, ["a", "b", "c", "d"])):
        encoder = TabularEncoder(
            multivalued={"icd": "&"}, min_frequency=None, max_categories=most
        )
        encoder.fit(X)
        assert list(encoder.get_feature_names_out()) == [f"icd_{n}" for n in names]
    unseen = pd.DataFrame({"icd": ["new"]})
    assert encoder.transform(unseen).tolist() == [[0, 0, 0, 0]]


def test_texts_are_tfidf_weights():
    notes = ["no effusion", "large effusion", "no pneumothorax", None]
    X = pd.DataFrame({"note": notes, "age": [1.0, 2, 3, 4]})
    encoder = TabularEncoder(text=["note"], min_frequency=2).fit(X)
    table = encoded(encoder, X)
    filled = [note or "" for note in notes]
    vectors = TfidfVectorizer(vocabulary=["effusion", "no"]).fit_transform(filled)
    np.testing.assert_allclose(table[["note_effusion", "note_no"]], vectors.toarray())
    assert table["note_missing"].tolist() == [0, 0, 0, 1]
    rare = TabularEncoder(text=["note"], min_frequency=3).fit(X)
    assert list(rare.get_feature_names_out()) == ["age", "note_missing"]


def test_selective_indicators_need_the_target():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    X = pd.DataFrame({"tells": rng.normal(size=300), "not": rng.normal(size=300)})
    X.loc[(y == 1) & (rng.random(300) < 0.5), "tells"] = np.nan
    X.loc[rng.random(300) < 0.3, "not"] = np.nan
    encoder = TabularEncoder(missing_indicator="selective").fit(X, y)
    assert list(encoder.get_feature_names_out()) == ["tells", "not", "tells_missing"]
    with pytest.raises(ValueError, match="selective .* Pass y"):
        TabularEncoder(missing_indicator="selective").fit(X)


def test_implausible_numbers_become_gaps_and_are_counted():
    X = pd.DataFrame({"age": [40.0, -1.0, 999.0, 120.0], "crp": [1.0, 2, 3, np.nan]})
    encoder = TabularEncoder(
        scale=False, impute=None, bounds={"age": (0, 120), "crp": (0, 500)}
    )
    with pytest.warns(UserWarning, match=r"treated as missing \('age': 2\)"):
        encoder.fit(X)
    with pytest.warns(UserWarning, match="'age': 2"):
        table = encoded(encoder, X)
    np.testing.assert_array_equal(table["age"], [40, np.nan, np.nan, 120])
    assert table["age_missing"].tolist() == [0, 1, 1, 0]


def test_dates_as_objects_and_across_time_zones():
    day = datetime.date(2020, 1, 11)
    X = pd.DataFrame({"born": [datetime.date(2020, 1, 1), None], "scan": [day, day]})
    encoder = TabularEncoder(scale=False, index_time="scan").fit(X)
    assert encoded(encoder, X)["born_days"].tolist() == [-10, -10]
    utc = X.assign(scan=pd.to_datetime(X["scan"]).dt.tz_localize("UTC"))
    with pytest.raises(
        ValueError, match="'scan' with a time zone and column 'born' without"
    ):
        encoder.transform(utc)


def test_what_the_user_says_must_fit(frame):
    for parameters, message in (
        ({"orders": {"grade": [1, 2]}}, "orders='grade', which is not .* 5 columns"),
        ({"text": ["note"]}, "text='note', which is not among"),
        (
            {"bounds": {"sex": (0, 1)}},
            "'sex' is of kind category by .* got it in bounds",
        ),
        (
            {"text": ["sex"], "multivalued": {"sex": "&"}},
            "it in multivalued and text",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            TabularEncoder(index_time="scan", **parameters).fit(frame)


@pytest.mark.parametrize("name", ["age", "Age", "patient_age", "age_at_scan", "AGE"])
def test_negative_ages_are_refused(name):
    X = pd.DataFrame({name: [40.0, -3.0, 50.0, np.nan, -1.0]})
    message = r"negative ages in column .*, in 2 of 5 rows \(row positions 1, 4\)"
    with pytest.raises(ValueError, match=message) as caught:
        TabularEncoder().fit(X)
    assert "-3" not in str(caught.value)
    fitted = TabularEncoder().fit(X[:1])
    with pytest.raises(ValueError, match="negative ages in column .*, in 1 of 1 rows"):
        fitted.transform(X[1:2])
    with pytest.warns(
        UserWarning, match="outside their bounds were treated as missing"
    ):
        TabularEncoder(bounds={name: (0, 130)}).fit(X)
    TabularEncoder(bounds={name: (-np.inf, np.inf)}).fit(X)


@pytest.mark.parametrize("name", ["image", "stage", "age_gap", "usage", "agency", 0])
def test_other_columns_may_be_negative(name):
    X = pd.DataFrame({name: [1.0, -1.0]})
    assert TabularEncoder(scale=False).fit_transform(X).min() == -1


@pytest.mark.parametrize("n_rows", [1, 2, 7, 10])
def test_fill_values_are_those_of_numpy(n_rows):
    rng = np.random.default_rng(n_rows)
    values = rng.integers(-3, 4, (n_rows, 6)) / 2
    values[:, 1] = np.nan
    values[0, 2] = np.nan
    for weights in (np.ones(n_rows), rng.uniform(0.5, 2, n_rows)):
        found = typical_values(values, weights, np.zeros(6, dtype=bool))
        for column, value in zip(values.T, found, strict=True):
            known = ~np.isnan(column)
            wanted = 0.0
            if known.any():
                wanted = np.quantile(
                    column[known], 0.5, weights=weights[known], method="inverted_cdf"
                )
            assert value == wanted


@pytest.mark.parametrize("impute", ["median", "mean", None])
def test_scaling_is_that_of_the_standard_scaler(impute):
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(9, 3, (40, 3)), columns=list("abc"))
    table["n"] = rng.integers(0, 5, 40)
    table.loc[::9, "b"] = np.nan
    found = TabularEncoder(impute=impute, missing_indicator=None).fit(table)
    for part in (table, table[:1], table[5:7].astype("Float64")):
        values = part.to_numpy(float, na_value=np.nan)
        if impute is not None:
            values = np.where(np.isnan(values), found._fill, values)
        np.testing.assert_array_equal(
            found.transform(part), found._scaler.transform(values)
        )


def test_the_summary_is_a_table_of_its_own():
    encoder = TabularEncoder()
    assert not hasattr(encoder, "summary_")
    encoder.fit(pd.DataFrame({"age": [1.0, None], "sex": ["f", "m"]}))
    summary = encoder.summary_
    assert [
        str(kind) for kind in summary.dtypes[["missing", "levels", "features"]]
    ] == [
        "float64",
        "Int64",
        "int64",
    ]
    assert summary["levels"].isna().tolist() == [True, False]
    summary["kind"] = "changed"
    assert encoder.summary_["kind"].tolist() == ["number", "category"]
