"""Tables as they come: types, spellings and texts that an encoder has to understand."""

from __future__ import annotations

import datetime
import decimal
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from skfusion import EarlyFusionClassifier, TabularEncoder
from skfusion.ehr import ComorbidityEncoder

RNG = np.random.default_rng(0)
N = 300
CRP = RNG.gamma(2, 5, N).round(1)
DAYS = pd.date_range("2000-01-01", periods=N)


def names(encoder: TabularEncoder) -> list[str]:
    return list(encoder.get_feature_names_out())


@pytest.mark.parametrize(
    "durations",
    [
        pd.to_timedelta(["36h", "12h", None]),
        pd.Series(
            [datetime.timedelta(1.5), datetime.timedelta(0.5), None], dtype=object
        ),
        pd.Series(
            [np.timedelta64(36, "h"), np.timedelta64(12, "h"), None], dtype=object
        ),
    ],
)
def test_durations_are_days(durations):
    dtype = object if isinstance(durations, list) else None
    X = pd.DataFrame({"stay": pd.Series(durations, dtype=dtype)})
    encoder = TabularEncoder(scale=False, impute=None).fit(X)
    np.testing.assert_array_equal(encoder.transform(X)[:, 0], [1.5, 0.5, np.nan])
    assert encoder.summary_.loc["stay", "note"] == "durations, as days"


@pytest.mark.parametrize("as_objects", [False, True])
def test_periods_are_dates(as_objects):
    months = pd.Series(pd.period_range("2024-01", periods=2, freq="M"))
    months = months.astype(object) if as_objects else months
    X = pd.DataFrame({"month": months, "scan": pd.Timestamp("2024-02-11")})
    encoder = TabularEncoder(index_time="scan", scale=False).fit(X)
    assert encoder.transform(X).ravel().tolist() == [-41.0, -10.0]


def test_decimals_and_arrow_types_are_numbers():
    pa = pytest.importorskip("pyarrow")
    cells = [decimal.Decimal(f"{value}") for value in CRP]
    arrow = pd.Series(cells, dtype=pd.ArrowDtype(pa.decimal128(9, 1)))
    days = pd.Series(
        pd.to_timedelta(np.arange(N), unit="D"), dtype=pd.ArrowDtype(pa.duration("us"))
    )
    X = pd.DataFrame({"a": cells, "b": arrow, "c": days})
    found = TabularEncoder(scale=False).fit_transform(X)
    np.testing.assert_allclose(found, np.column_stack([CRP, CRP, np.arange(N)]))


def test_numbers_with_some_texts_are_numbers_with_a_warning():
    cells = [*CRP[:-4], "<0.5", "> 90", "unknown", " N/A "]
    X = pd.DataFrame({"crp": pd.Series(cells, dtype=object)})
    match = (
        r"'crp': 2 numbers as text \(2 with a comparator, of which the bound is used\) "
        "and 1 other texts, treated as missing and 1 words for missing values"
    )
    encoder = TabularEncoder(scale=False, impute=None)
    with pytest.warns(UserWarning, match=match):
        encoder.fit(X)
    with pytest.warns(UserWarning, match="texts that are not plain numbers"):
        found = encoder.transform(X)
    np.testing.assert_array_equal(found[-4:, 0], [0.5, 90, np.nan, np.nan])
    assert names(encoder) == ["crp", "crp_missing"]
    assert encoder.kinds_["number"] == ["crp"]
    assert "0.5" not in encoder.summary_.loc["crp", "note"]


def test_texts_of_ages_and_of_bounds_are_numbers():
    ages = [*map(str, range(20, 90)), "> 89", "unknown"]
    for name in ("age", "biomarker"):
        X = pd.DataFrame({name: ages})
        with pytest.warns(UserWarning, match="71 numbers as text"):
            encoder = TabularEncoder(scale=False).fit(X)
        with pytest.warns(UserWarning, match="not plain numbers"):
            assert encoder.transform(X)[-2, 0] == 89
        one = encoder.transform(pd.DataFrame({name: ["40"]}))
        assert one[0, 0] == 40


@pytest.mark.parametrize(
    ("cells", "what", "remedy"),
    [
        ([f"{value:.1f}" for value in CRP], "numbers", "parse_values"),
        (
            [f"{value:.1f}".replace(".", ",") for value in CRP],
            "numbers",
            "parse_values",
        ),
        ([f"{n} years" for n in range(60)], "numbers", "parse_values"),
        (
            pd.date_range("2000-01-01", periods=N).strftime("%Y-%m-%d"),
            "dates",
            "to_datet",
        ),
        (
            pd.date_range("2000-01-01", periods=N).strftime("%d.%m.%Y"),
            "dates",
            "to_datet",
        ),
    ],
)
def test_texts_that_are_probably_no_categories_are_pointed_out(cells, what, remedy):
    X = pd.DataFrame({"x": list(cells)})
    with pytest.warns(
        UserWarning, match=rf"'x': \d+ different texts.*{what}.*{remedy}"
    ):
        encoder = TabularEncoder().fit(X)
    assert encoder.kinds_["category"] == ["x"]
    assert what in encoder.summary_.loc["x", "note"]


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2", "3"] * 30,  # few levels
        [f"patient came with complaint {n}" for n in range(60)],
        [f"C{n}" for n in range(60)],
    ],
)
def test_categories_are_not_pointed_out(cells):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TabularEncoder().fit(pd.DataFrame({"x": cells}))


@pytest.mark.parametrize(
    ("train", "new"),
    [
        (pd.Categorical([0, 1, 2] * 20), [0.0, 1.0, np.nan, 2.0]),
        (["0", "1", "2"] * 20, [0, 1, None, 2]),
        ([0.0, 1.0, 2.0] * 20, ["0", "1.0", "", "2"]),
        (["00", "01", "02"] * 20, [0, 1, None, 2]),
        (["f", "F", "m"] * 20, ["F ", " f", None, "M"]),
        (["a", "b", None, "N/A"] * 20, [" A", "b", "n/a", "B"]),
    ],
)
def test_words_of_equal_value_are_equal(train, new):
    column = pd.Series(pd.Categorical(train) if isinstance(train, list) else train)
    encoder = TabularEncoder(min_frequency=None).fit(pd.DataFrame({"x": column}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = encoder.transform(pd.DataFrame({"x": pd.Series(new, dtype=object)}))
    words = [i for i, name in enumerate(names(encoder)) if not name.endswith("missing")]
    assert found[:, words].sum(axis=1).tolist() == [1, 1, 0, 1]


def test_words_for_booleans_are_booleans():
    encoder = TabularEncoder(impute=None).fit(pd.DataFrame({"x": [True, False] * 20}))
    new = pd.DataFrame({"x": ["true", "FALSE", None, "Yes", "0"]})
    np.testing.assert_array_equal(encoder.transform(new)[:, 0], [1, 0, np.nan, 1, 0])
    with pytest.warns(UserWarning, match="'x': 1 texts that are no booleans"):
        encoder.transform(pd.DataFrame({"x": ["maybe", "true"]}))


def test_spellings_are_merged_under_the_most_frequent():
    X = pd.DataFrame({"sex": ["F", "F ", "f", "M", "m", "m"] * 10})
    encoder = TabularEncoder().fit(X)
    assert names(encoder) == ["sex_F", "sex_m"]
    assert encoder.summary_.loc["sex", "note"] == "2 spellings merged"
    assert encoder.transform(X).sum(axis=0).tolist() == [30, 30]


def test_orders_and_multivalued_cells_match_by_value():
    X = pd.DataFrame({"stage": ["1", "2", "3"] * 10})
    encoder = TabularEncoder(orders={"stage": [1, 2, 3]}, scale=False).fit(X)
    assert encoder.transform(X[:3]).ravel().tolist() == [0, 1, 2]
    codes = pd.DataFrame({"x": [["1", "2"], ["2"], ["1"]]})
    hot = TabularEncoder(min_frequency=None).fit(codes)
    new = pd.DataFrame({"x": pd.Series([[1.0, 2], [2]], dtype=object)})
    assert hot.transform(new).tolist() == [[1, 1], [0, 1]]


def test_most_values_unseen_is_warned_of():
    train = pd.DataFrame({"site": ["a", "b"] * 20, "stage": ["I", "II"] * 20})
    encoder = TabularEncoder(orders={"stage": ["I", "II"]}).fit(train)
    new = pd.DataFrame({"site": ["x", "y", "a", None], "stage": ["3", "4", "5", None]})
    match = r"most values were not seen.*'site': 2 of 3 values; 'stage': 3 of 3 values"
    with pytest.warns(UserWarning, match=match):
        encoder.transform(new)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(new[:1].assign(stage="I"))  # one case, of a new site


@pytest.mark.parametrize("later", [["smoker"], [7.0], [["a"]], [None]])
@pytest.mark.parametrize("empty", [[None] * 3, [np.nan] * 3])
def test_a_column_that_was_empty_says_nothing_later(empty, later):
    train = pd.DataFrame({"age": [1.0, 2, 3], "remark": empty})
    encoder = TabularEncoder().fit(train)
    new = pd.DataFrame({"age": [1.0], "remark": pd.Series(later, dtype=object)})
    found = encoder.transform(new)
    assert found[0, names(encoder).index("remark")] == 0
    assert "no value in fit" in encoder.summary_.loc["remark", "note"]


def test_a_rare_remark_does_not_end_a_cross_validation():
    X = pd.DataFrame({"age": RNG.normal(60, 9, 60), "remark": pd.Series([None] * 60)})
    X["remark"] = X["remark"].astype(object)
    X.loc[3, "remark"] = "smoker"
    y = np.arange(60) % 2
    model = EarlyFusionClassifier(
        [("ehr", TabularEncoder(), ["age", "remark"])], estimator=LogisticRegression()
    )
    scores = cross_val_score(model, X, y, cv=5, error_score="raise")
    assert np.isfinite(scores).all()


def test_standardised_ages_are_no_error():
    scores = RNG.normal(0, 1, 50)
    encoder = TabularEncoder().fit(pd.DataFrame({"age": scores}))
    encoder.transform(pd.DataFrame({"age": [-2.0]}))
    years = TabularEncoder().fit(pd.DataFrame({"age": 60 + 9 * scores}))
    with pytest.raises(ValueError, match="negative ages"):
        years.transform(pd.DataFrame({"age": [-2.0]}))


def test_the_summary_has_a_line_for_each_column():
    X = pd.DataFrame(
        {
            "age": [61.0, 48, None, 70],
            "sex": ["f", "m", "f ", None],
            "stage": ["I", "II", "I", "I"],
            "codes": [["a", "b"], ["a"], [], None],
            "emb": list(np.eye(4)[:, :3]),
            "flag": [True, False, None, True],
            "nothing": [None] * 4,
            "day": pd.Timestamp("2020-01-01"),
            "scan": pd.Timestamp("2020-01-03"),
            "note": ["no effusion", "large effusion", None, "clear"],
        }
    )
    encoder = TabularEncoder(
        orders={"stage": ["I", "II"]}, index_time="scan", text=["note"]
    ).fit(X)
    summary = encoder.summary_
    assert list(summary.index) == list(X.columns)
    assert summary["kind"].tolist() == [
        *("number", "category", "ordered", "multivalued", "vector", "boolean"),
        *("number", "date", "index time", "text"),
    ]
    assert summary["features"].sum() == encoder.transform(X).shape[1]
    assert summary.loc["age", "missing"] == 0.25
    assert summary.loc["sex", "levels"] == 3
    assert summary.loc["sex", "note"] == ""
    assert summary.loc["scan", "features"] == 0


# ---------------------------------------------------------------- comorbidities


def scores(cells, **options) -> list[float]:
    X = pd.DataFrame({"icd": pd.Series(cells, dtype=object)})
    return ComorbidityEncoder(flags=False, **options).fit_transform(X).ravel().tolist()


@pytest.mark.parametrize(
    ("cells", "options", "match"),
    [
        (["I10, I50.9, C78.0"], {}, "1 contain a comma.*separator="),
        (["I10;I50.9"] * 3, {}, "3 contain a comma, semicolon"),
        (["428.0", "250.4"], {}, "2 look like version='icd9'"),
        (["I50.9", "C78.0"], {"version": "icd9"}, "2 look like version='icd10'"),
        (["heart failure", "cancer"], {}, "2 of 2 codes do not look like"),
    ],
)
def test_codes_of_another_form_are_pointed_out(cells, options, match):
    with pytest.warns(UserWarning, match=match):
        assert not any(scores(cells, **options))


def test_prefixes_are_ignored_and_numbers_refused():
    assert scores(["ICD10CM//I50.9", "DIAGNOSIS//ICD10CM//I509"]) == [1, 1]
    assert scores(["042", "070.32"], version="icd9") == [6, 1]
    with pytest.raises(TypeError, match=r"2 numbers in column 'icd'.*leading zeros"):
        scores([42.0, 70.32], version="icd9")


# ---------------------------------------------------------------- skrub


def test_the_table_vectorizer_of_skrub_is_a_modality():
    skrub = pytest.importorskip("skrub")
    X = pd.DataFrame(
        {
            "age": RNG.normal(60, 9, 80),
            "admission": pd.date_range("2020-01-01", periods=80).astype(str),
            "unit": RNG.choice(["cardiology", "surgery", "icu"], 80),
            "lab": RNG.normal(size=80),
        }
    )
    y = (X["lab"] + RNG.normal(0, 0.5, 80) > 0).astype(int)
    vectorizer = skrub.TableVectorizer(low_cardinality="drop", high_cardinality="drop")
    model = EarlyFusionClassifier(
        [
            ("notes", vectorizer, ["age", "admission", "unit"]),
            ("labs", TabularEncoder(), ["lab"]),
        ],
        random_state=0,
    )
    assert cross_val_score(model, X, y, cv=3, error_score="raise").mean() > 0.6
