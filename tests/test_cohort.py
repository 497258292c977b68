"""Tables of other packages, labels of columns and ids of patients."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MaxAbsScaler, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    ImageEmbedder,
    TabularEncoder,
    compare_fusion,
)
from skfusion.cohort import as_pandas, check_groups
from skfusion.datasets import drop_modality
from skfusion.ehr import ComorbidityEncoder, ObservedScaler

Y = np.arange(40) % 2
FRAME = pd.DataFrame({"age": np.arange(40.0), "sex": ["f", "m"] * 20})


def table_of(module: str, name: str, **methods):
    """Stand-in of a table type of a package that is not installed."""
    kind = type(name, (), {"columns": ["age", "sex"], "shape": (40, 2), **methods})
    kind.__module__ = module
    kind.__len__ = lambda self: 40
    kind.__array__ = lambda self, *args, **kwargs: FRAME.to_numpy()
    return kind()


def method(self):
    return FRAME


TABLES = [
    (table_of("dask.dataframe.dask_expr._collection", "DataFrame"), ".compute()"),
    (table_of("dask_expr._collection", "DataFrame"), ".compute()"),
    (table_of("modin.pandas.dataframe", "DataFrame"), ".modin.to_pandas()"),
    (table_of("ibis.expr.types.relations", "Table"), ".to_pandas()"),
    (table_of("pyspark.sql.connect.dataframe", "DataFrame"), ".toPandas()"),
    (table_of("duckdb.duckdb", "DuckDBPyRelation"), ".df()"),
    (table_of("_duckdb", "DuckDBPyRelation", to_df=method), ".to_df()"),
    (table_of("vaex.dataframe", "DataFrameLocal"), ".to_pandas_df()"),
    (table_of("cudf.core.dataframe", "DataFrame"), ".to_pandas()"),
    (table_of("new_package.frame", "Frame", to_pandas=method), ".to_pandas()"),
    (pl.LazyFrame({"age": [1.0] * 40, "sex": ["f"] * 40}), ".collect()"),
]
EVENTS = pd.DataFrame(
    {"subject_id": [1], "time": pd.to_datetime(["2024-01-01"]), "code": ["LAB//a"]}
)
TAKERS = {
    "fusion": lambda X: EarlyFusionClassifier().fit(X, Y),
    "comparison": lambda X: compare_fusion("auto", X, Y),
    "tabular": lambda X: TabularEncoder().fit(X),
    "scaler": lambda X: ObservedScaler().fit(X),
    "comorbidity": lambda X: ComorbidityEncoder().fit(X),
    "images": lambda X: ImageEmbedder(store=None).fit(X),
    "missingness": lambda X: drop_modality(X, 0.1),
    "windows": lambda X: EventWindows(EventStore.from_frame(EVENTS)).fit(X),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("table", "remedy"), TABLES, ids=[type(t).__module__ for t, _ in TABLES]
)
def test_tables_of_other_packages_are_refused_by_name(table, remedy, taker):
    with pytest.raises(TypeError) as caught:
        TAKERS[taker](table)
    message = str(caught.value)
    assert f"{type(table).__module__}.{type(table).__qualname__}" in message
    assert remedy in message or taker == "missingness"


def test_events_of_a_table_that_is_not_in_memory():
    with pytest.raises(TypeError, match=r"EventStore: .*pyspark.*\.toPandas\(\)"):
        EventStore.from_frame(
            table_of("pyspark.sql", "DataFrame", collect=lambda self: [])
        )


def test_the_model_of_a_fusion_refuses_too():
    fitted = EarlyFusionClassifier().fit(FRAME, Y)
    with pytest.raises(TypeError, match=r"dask.*\.compute\(\)"):
        fitted.predict(TABLES[0][0])


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas])
def test_tables_of_polars_and_pyarrow_are_read(convert):
    table = convert(FRAME)
    names = TabularEncoder().fit(table).get_feature_names_out().tolist()
    assert names == ["age", "sex_f", "sex_m"]
    encoded = TabularEncoder().fit(FRAME).transform(table)
    np.testing.assert_array_equal(encoded, TabularEncoder().fit_transform(FRAME))
    expected = EarlyFusionClassifier(random_state=0).fit(FRAME, Y).predict_proba(FRAME)
    fitted = EarlyFusionClassifier(random_state=0).fit(table, Y)
    np.testing.assert_allclose(fitted.predict_proba(table), expected)


def test_extensions_of_pandas_are_read():
    kind = type("Frame", (pd.DataFrame,), {"compute": method})
    kind.__module__ = "geopandas.geodataframe"
    assert as_pandas(kind(FRAME)).equals(FRAME)


def test_batches_of_pyarrow_are_read():
    batch = pa.RecordBatch.from_pandas(FRAME)
    pd.testing.assert_frame_equal(as_pandas(batch), FRAME)


def test_an_image_column_of_pyarrow(tmp_path):
    table = pa.table({"scan": [str(tmp_path / "none.png"), None]})
    for column in (table, table["scan"]):
        with pytest.raises(ValueError, match="1 of the 1 cells"):
            ImageEmbedder(store=None).fit_transform(column)


@pytest.mark.parametrize("taker", ["fusion", "comparison", "tabular", "scaler"])
@pytest.mark.parametrize(
    ("records", "found", "remedy"),
    [
        (FRAME.to_dict("list"), "dict", "pandas.DataFrame"),
        (FRAME.to_dict("records"), "a list of dict", "pandas.DataFrame"),
        (
            table_of("xarray.core.dataset", "Dataset", to_dataframe=method),
            "xarray.core.dataset.Dataset",
            "X.to_dataframe",
        ),
        (
            table_of("xarray.core.dataarray", "DataArray", dtype=np.dtype(float)),
            "xarray.core.dataarray.DataArray",
            "X.to_pandas",
        ),
    ],
)
def test_named_values_that_are_no_table(records, found, remedy, taker):
    message = rf"or an array, got {found}. Convert it with {remedy}\("
    with pytest.raises(TypeError, match=message):
        TAKERS[taker](records)


def test_sparse_arrays_that_are_dictionaries_of_keys():
    dok = scipy.sparse.dok_array(np.eye(40))
    with pytest.raises(TypeError, match="[Ss]parse"):
        EarlyFusionClassifier().fit(dok, Y)


def test_arrow_tables_that_are_not_in_memory():
    table = pa.Table.from_pandas(FRAME)
    with pytest.raises(TypeError, match=r"RecordBatchReader.*\.read_all\(\)"):
        EarlyFusionClassifier().fit(table.to_reader(), Y)
    columns = EarlyFusionClassifier(random_state=0).fit(table, Y).feature_names_in_
    assert columns.tolist() == ["age", "sex"]


def test_columns_with_arrow_types():
    arrow = pa.Table.from_pandas(FRAME).to_pandas(types_mapper=pd.ArrowDtype)
    expected = EarlyFusionClassifier(random_state=0).fit(FRAME, Y).predict_proba(FRAME)
    found = EarlyFusionClassifier(random_state=0).fit(arrow, Y).predict_proba(arrow)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("fill", [np.nan, 1.0, 0.0])
@pytest.mark.parametrize("parts", [["age"], ["age", "dense"]])
@pytest.mark.filterwarnings("ignore:EarlyFusionClassifier. missing='auto' drops")
def test_sparse_columns(fill, parts):
    values = np.where(np.arange(40) % 3, np.arange(40.0), fill)
    dense = pd.DataFrame({"age": values, "dense": np.arange(40.0)})[parts]
    sparse = dense.assign(age=pd.arrays.SparseArray(values, fill_value=fill))
    modalities = [("ehr", MaxAbsScaler(), parts)]
    model = EarlyFusionClassifier(modalities, estimator=LogisticRegression())
    expected = model.fit(dense, Y).predict_proba(dense.dropna())
    with warnings.catch_warnings():
        # scikit-learn's, for frames of which some columns are sparse
        warnings.filterwarnings("ignore", "pandas.DataFrame with sparse columns")
        found = model.fit(sparse, Y).predict_proba(sparse[dense["age"].notna()])
    np.testing.assert_allclose(found, expected)


# ------------------------------------------------------------------ labels

REPEATED = pd.DataFrame(np.zeros((40, 3)), columns=["age", "crp", "age"])


@pytest.mark.parametrize("taker", [t for t in TAKERS if t not in ("images", "windows")])
def test_duplicate_labels_are_named(taker):
    with pytest.raises(ValueError, match=r"duplicate column labels.*named 'age'\. "):
        TAKERS[taker](REPEATED)


def test_duplicate_labels_in_comparisons_with_modalities():
    modalities = [("ehr", StandardScaler(), ["crp"])]
    with pytest.raises(ValueError, match="compare_fusion: X has duplicate column"):
        compare_fusion(modalities, REPEATED, Y)
    repeated = pa.table([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    with pytest.raises(ValueError, match="duplicate column labels.*'a'"):
        TabularEncoder().fit(repeated)


@pytest.mark.parametrize("label", [None, np.nan, pd.NA, pd.NaT])
def test_missing_labels_are_refused(label):
    X = pd.DataFrame(np.zeros((4, 2)), columns=pd.Index(["age", label], dtype=object))
    with pytest.raises(ValueError, match=r"missing column labels.*position\(s\) \[1\]"):
        TabularEncoder().fit(X)


# ------------------------------------------------------------------ ids


@pytest.mark.parametrize("bad", [["b"], {"id": 1}, {"b"}, np.array([1, 2])])
def test_ids_that_cannot_be_compared(bad):
    ids = pd.Series([*"abc", bad], dtype=object)
    X = pd.DataFrame({"ward": ids, "age": range(4)})
    message = rf"got {type(bad).__name__} in groups column 'ward', row position 3"
    with pytest.raises(TypeError, match=message):
        check_groups(None, X, column="ward", owner="EarlyFusionClassifier")
    with pytest.raises(TypeError, match="in groups, row position 3"):
        check_groups(ids, X, column=None, owner="EarlyFusionClassifier")
    modalities = [("ehr", StandardScaler(), ["age"])]
    with pytest.raises(TypeError, match="'ward', row position 3"):
        compare_fusion(modalities, X, [0, 1, 0, 1], groups="ward")


def test_lists_as_ids_that_are_not_groups():
    X = pd.DataFrame({"patient_id": [["a"], ["b"], ["a"]] * 4, "age": np.arange(12.0)})
    with (
        pytest.warns(UserWarning, match="12 rows, 2 values"),
        pytest.warns(UserWarning, match="leaves out the identifier"),
    ):
        EarlyFusionClassifier(estimator=LogisticRegression()).fit(X, Y[:12])


def test_lists_of_lists_as_groups():
    X = pd.DataFrame({"age": range(3)})
    with pytest.raises(TypeError, match="got list in groups, row position 0"):
        check_groups([["a", "b"], ["a"], ["b"]], X, column=None, owner="x")
    same = check_groups([["a"], ["b"], ["a"]], X, column=None, owner="x")
    assert same.tolist() == [0, 1, 0]


@pytest.mark.parametrize("null", [np.nan, None, pd.NA, pd.NaT])
@pytest.mark.parametrize("kind", [list, tuple, pd.Series, np.array])
def test_a_null_beside_text_is_no_patient(null, kind):
    # NumPy makes the text "nan" of NaN beside text.
    ids = kind(["a", null, "b", null])
    X = pd.DataFrame({"age": range(4)})
    with pytest.raises(ValueError, match=r"missing in 2 of 4 rows.*\[1, 3\]"):
        check_groups(ids, X, column=None, owner="x")


def test_ids_that_are_numbers_in_one_row_and_text_in_another():
    X = pd.DataFrame({"age": range(4), "ward": pd.Series([1, "1 ", 2.0, "b"])})
    for groups, column in (([1, "1", 2.0, "b"], None), (None, "ward")):
        with pytest.raises(ValueError, match="1 patient ids in groups"):
            check_groups(groups, X, column=column, owner="x")
    different = check_groups([1, "a", 1.0, 1.5], X, column=None, owner="x")
    assert different.tolist() == [0, 1, 0, 2]
