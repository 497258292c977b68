"""Vectors in cells, and cells of unknown types, which are never turned into text."""

from __future__ import annotations

import datetime
import decimal
import enum

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.blocks import ModalityBlocks
from skfusion.ehr import ComorbidityEncoder
from skfusion.modality import Modality

RNG = np.random.default_rng(0)
Y = np.arange(60) % 2
VECTORS = RNG.normal(size=(60, 4)) + 3 * Y[:, None]
FRAME = pd.DataFrame({"emb": list(VECTORS), "lab": RNG.normal(size=60)})


def names_of(cells, **options) -> list[str]:
    frame = pd.DataFrame({"x": pd.Series(cells, dtype=object)})
    encoder = TabularEncoder(min_frequency=None, **options).fit(frame)
    return encoder.get_feature_names_out().tolist()


def test_vectors_become_numbers():
    encoder = TabularEncoder(scale=False).fit(FRAME)
    assert encoder.kinds_["vector"] == ["emb"]
    names = ["lab", "emb_0", "emb_1", "emb_2", "emb_3"]
    assert encoder.get_feature_names_out().tolist() == names
    expected = np.column_stack([FRAME["lab"], VECTORS])
    np.testing.assert_array_equal(encoder.transform(FRAME), expected)
    scaled = TabularEncoder().fit_transform(FRAME)
    np.testing.assert_allclose(scaled.std(axis=0), 1)


CONTAINERS = {
    "lists": lambda v: pd.DataFrame({"emb": v.tolist()}),
    "tuples": lambda v: pd.DataFrame({"emb": [tuple(row) for row in v.tolist()]}),
    "arrays": lambda v: pd.DataFrame({"emb": list(v)}),
    "tensors": lambda v: pd.DataFrame({"emb": list(torch.tensor(v))}),
    "series": lambda v: pd.DataFrame({"emb": [pd.Series(row) for row in v]}),
    "polars list": lambda v: pl.DataFrame({"emb": v.tolist()}),
    "polars array": lambda v: pl.DataFrame({"emb": v}),
    "pyarrow": lambda v: pa.table({"emb": v.tolist()}),
    "pyarrow dtype": lambda v: pd.DataFrame(
        {"emb": pd.Series(v.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float64())))}
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_vectors_of_every_container(container):
    X = CONTAINERS[container](VECTORS)
    encoder = TabularEncoder(scale=False).fit(X)
    np.testing.assert_array_equal(encoder.transform(X), VECTORS)
    np.testing.assert_array_equal(encoder.transform(FRAME[["emb"]]), VECTORS)


def test_vectors_that_need_a_gradient():
    cells = np.empty(3, dtype=object)  # pandas converts a list of tensors
    for i, row in enumerate(torch.ones(3, 2, requires_grad=True)):
        cells[i] = row
    X = pd.DataFrame({"emb": cells})
    assert TabularEncoder(scale=False).fit_transform(X).tolist() == [[1.0, 1.0]] * 3


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_round_trip_through_parquet(tmp_path, backend):
    X = FRAME.assign(codes=[["I10", "E11"], ["I10"], []] * 20, numbers=[[1, 2]] * 60)
    X.loc[3, "emb"] = None
    X.to_parquet(tmp_path / "table.parquet")
    again = pd.read_parquet(tmp_path / "table.parquet", dtype_backend=backend)
    encoder, other = TabularEncoder().fit(X), TabularEncoder().fit(again)
    assert encoder.kinds_ == other.kinds_
    assert encoder.kinds_["multivalued"] == ["codes", "numbers"]
    np.testing.assert_array_equal(encoder.transform(X), other.transform(again))


def test_missing_vectors_and_elements():
    cells = [np.array([1.0, 2.0]), None, [], [3.0, None], [np.nan, np.nan]]
    X = pd.DataFrame({"emb": cells})
    kept = TabularEncoder(impute=None, scale=False).fit(X)
    assert list(kept.get_feature_names_out()) == ["emb_0", "emb_1", "emb_missing"]
    gone = [np.nan, np.nan, 1.0]
    expected = [[1.0, 2.0, 0.0], gone, gone, [3.0, np.nan, 0.0], gone]
    np.testing.assert_array_equal(kept.transform(X), expected)
    filled = TabularEncoder(scale=False).fit(X).transform(X)
    assert filled[:, :2].tolist() == [[1, 2], [1, 2], [1, 2], [3, 2], [1, 2]]


def test_vectors_of_other_lengths():
    X = FRAME[["emb"]].copy()
    X["emb"] = [row[:3] if i in (5, 9) else row for i, row in enumerate(VECTORS)]
    with pytest.raises(ValueError, match=r"'emb'.*4 \(58 cells\), 3 \(2 cells\)"):
        TabularEncoder().fit(X)
    encoder = TabularEncoder().fit(FRAME[["emb"]])
    with pytest.raises(ValueError, match=r"got 2 of 60 cells.* 3 \(2 cells\).*ion 5"):
        encoder.transform(X)
    for cells, found in (["a", "b"], "str"), ([1.0, 2.0], "float"):
        with pytest.raises(TypeError, match=f"in fit, got {found}.* at row position 0"):
            encoder.transform(pd.DataFrame({"emb": cells}))
    X["emb"] = [VECTORS[0], *(np.full(4, np.inf) for _ in range(59))]
    with pytest.raises(ValueError, match=r"infinity in vectors of column 'emb' in 59"):
        encoder.transform(X)
    with pytest.raises(ValueError, match="'x' has 1 vectors and 1 cells that are not"):
        names_of([[0.5, 1.5], 2.0])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([[4019, 2724], [4019]], ["x_2724", "x_4019"]),
        ([[4019, 2724], [4019, 2720]], ["x_2720", "x_2724", "x_4019"]),
        ([np.array([1, 2]), np.array([2, 3])], ["x_1", "x_2", "x_3"]),
        ([np.array(["a", "b"]), np.array(["b"])], ["x_a", "x_b"]),
        ([["a"], "b", None], ["x_missing", "x_a", "x_b"]),
        ([{"a"}, {"b", "a"}], ["x_a", "x_b"]),
        ([[1.0, 2.0], [1.0]], ["x_1", "x_2"]),
        ([[1.0, 2.0], [1.0, 3.0]], ["x_0", "x_1"]),
        ([[True, False], [False, False]], ["x_0", "x_1"]),
        ([[1, 2.5], [1, 2]], ["x_0", "x_1"]),
        ([np.array(1.5), np.array(2.5)], ["x"]),
        ([decimal.Decimal("1.5"), None], ["x", "x_missing"]),
    ],
    ids=range(12),
)
def test_codes_and_vectors(cells, expected):
    assert names_of(cells) == expected


class Sex(enum.Enum):
    F = 1


UNKNOWN = {
    "dict": ({"a": 1}, "json_normalize"),
    "object": (object(), "Convert them"),
    "bytes": (b"female", r"str\.decode"),
    "complex": (1 + 2j, "imaginary"),
    "Timedelta": (pd.Timedelta("1D"), "total_seconds"),
    "timedelta": (datetime.timedelta(1), "total_seconds"),
    "Period": (pd.Period("2024-01", freq="M"), "to_timestamp"),
    "list with dict": ([{"a": 1}], "json_normalize"),
    "list with list": ([[1, 2], [3]], "Convert them"),
    r"ndarray of shape \(8, 8\)": (np.zeros((8, 8)), "ImageEmbedder"),
    "type": (str, "Convert them"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize("options", [{}, {"text": ["x"]}, {"multivalued": {"x": "&"}}])
def test_cells_of_unknown_types_are_refused(kind, options):
    cell, remedy = UNKNOWN[kind]
    message = f"TabularEncoder: got {kind} in column 'x', row position 2: .*{remedy}"
    cells = ["a", None, cell]
    with pytest.raises(TypeError, match=message):
        names_of(cells, **options)
    fitted = TabularEncoder(**options).fit(pd.DataFrame({"x": ["a", "b", "c"]}))
    with pytest.raises(TypeError, match=message):
        fitted.transform(pd.DataFrame({"x": pd.Series(cells, dtype=object)}))


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        (pd.Categorical([b"f", b"m"]), "decode"),
    ],
)
def test_columns_of_unknown_dtypes(values, remedy):
    with pytest.raises(TypeError, match=remedy):
        TabularEncoder().fit(pd.DataFrame({"x": values}))


def test_complex_numbers():
    X = pd.DataFrame({"x": [1 + 2j, 3]})
    with pytest.raises(ValueError, match="complex numbers in column 'x'"):
        TabularEncoder().fit(X)
    encoder = TabularEncoder().fit(pd.DataFrame({"x": [1.0, 3]}))
    with pytest.raises(ValueError, match="was numeric in fit, got complex128"):
        encoder.transform(X)


def test_known_cells_of_categories():
    cells = [Sex.F, pd.Interval(0, 1), datetime.date(2024, 1, 2), True, "a", 3]
    assert len(names_of(cells)) == len(cells)


def test_lists_where_fit_had_categories():
    encoder = TabularEncoder(text=["note"]).fit(
        pd.DataFrame({"sex": ["f", "m"], "note": ["no change", "change"]})
    )
    for column in ("sex", "note"):
        X = pd.DataFrame({"sex": ["f", "m"], "note": ["a", "b"]}).astype(object)
        X.at[1, column] = ["f", "m"]
        with pytest.raises(TypeError, match=f"got list in column '{column}', row posi"):
            encoder.transform(X)


def test_the_row_of_the_cohort_is_named():
    X = pd.DataFrame({"a": [None, None, "x", {"b": 1}]})
    modality = Modality("ehr", TabularEncoder(), ("a",))
    with pytest.raises(TypeError, match="got dict in column 'a', row position 3:"):
        ModalityBlocks([modality]).fit_transform(X)


def test_weights_do_not_shift_the_row():
    X = pd.DataFrame({"a": ["x", "y", {"b": 1}]})
    with pytest.raises(TypeError, match="row position 2:"):
        TabularEncoder().fit(X, sample_weight=[0, 1, 1])


def test_codes_of_unknown_types():
    X = pd.DataFrame({"icd": ["I10", {"code": "I10"}]})
    with pytest.raises(TypeError, match="ComorbidityEncoder: got dict in column 'icd'"):
        ComorbidityEncoder().fit(X)


@pytest.mark.parametrize("strategy", ["early", "late", "joint"])
def test_auto_trains_on_vectors(strategy):
    fusion = {
        "early": EarlyFusionClassifier(estimator=LogisticRegression()),
        "late": LateFusionClassifier(estimator=LogisticRegression()),
        "joint": JointFusionClassifier(max_epochs=60, lr=0.05, random_state=0),
    }[strategy]
    fusion.fit(FRAME, Y)
    assert fusion.score(FRAME, Y) > 0.9  # the laboratory value alone is noise


# ------------------------------------------------------------------ labels


def test_other_labels_that_are_not_text():
    encoder = TabularEncoder().fit(pd.DataFrame(np.eye(3)[:, :2], columns=[1.5, 3]))
    with pytest.raises(ValueError, match=r"lacks 1 of the 2 columns.* such as 1\.5"):
        encoder.transform(pd.DataFrame(np.eye(2), columns=[3, 4]))
    assert encoder.transform(np.eye(2)).shape == (2, 2)
    tuples = pd.DataFrame(
        np.eye(3)[:, :2], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])
    )
    assert TabularEncoder().fit_transform(tuples).shape == (3, 2)
