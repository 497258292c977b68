"""Cells, labels and ids that are no numbers, no classes or no patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
    LateFusionRegressor,
    compare_fusion,
)
from skfusion.fusion import ModelFeatures

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(40, 2)), columns=["a", "b"])
Y = np.arange(40) % 2
MODALITIES = [("a", StandardScaler(), ["a"]), ("b", StandardScaler(), ["b"])]
KINDS = [EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier]
SECRET = "Jane Doe"
UNUSABLE = {
    "list": [[SECRET]] * 40,
    "dict": [{"name": SECRET}] * 40,
    "set": [{SECRET}] * 40,
}


def cells(kind: str, *, first: int = 0) -> pd.Series:
    """Return numbers, then cells of a kind from a row on."""
    return pd.Series([1.0] * first + UNUSABLE[kind][first:], dtype=object)


@pytest.mark.parametrize("first", [0, 7])
@pytest.mark.parametrize("cell", list(UNUSABLE))
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_that_is_no_number_is_named_by_column_and_row(kind, cell, first):
    raw = [("a", FunctionTransformer(), ["b", "p"]), MODALITIES[0]]
    raw[1] = ("c", *raw[1][1:])
    with pytest.raises(TypeError) as caught:
        kind(raw).fit(X.assign(p=cells(cell, first=first)), Y)
    message = str(caught.value)
    assert f"got {cell} in feature 'p', row position {first}. The argument" in message
    assert "modality 'a'" in message
    assert SECRET not in message


@pytest.mark.parametrize("kind", KINDS)
def test_text_in_place_of_numbers_is_not_shown(kind):
    gaps = X.assign(p=SECRET)
    gaps.loc[:3, ["b", "p"]] = [np.nan, None]  # the modality is absent there
    raw = [("a", FunctionTransformer(), ["b", "p"]), ("c", *MODALITIES[0][1:])]
    with pytest.raises(TypeError, match="got str in feature 'p', row position 4") as e:
        kind(raw).fit(gaps, Y)
    assert SECRET not in str(e.value)


@pytest.mark.parametrize("gap", [pd.NA, None, np.nan, pd.NaT])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_missing_value_is_a_gap(kind, gap):
    table = X.assign(p=pd.Series([gap] * 40, dtype=object))
    quick = {"max_epochs": 1} if kind is JointFusionClassifier else {}
    model = kind(
        [("a", FunctionTransformer(), ["b", "p"]), ("c", StandardScaler(), ["a"])],
        random_state=0,
        **quick,
    ).fit(table, Y)
    assert np.isfinite(model.predict_proba(table)).all()
    expected = X.assign(p=np.nan)
    np.testing.assert_array_equal(
        model.predict_proba(table), model.predict_proba(expected)
    )


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "boolean"])
@pytest.mark.parametrize("kind", KINDS)
def test_nullable_columns_without_a_value(kind, dtype):
    table = X.assign(p=pd.array([pd.NA] * 40, dtype=dtype))
    quick = {"max_epochs": 1} if kind is JointFusionClassifier else {}
    raw = [("a", FunctionTransformer(), ["b", "p"]), ("c", StandardScaler(), ["a"])]
    model = kind(raw, random_state=0, **quick).fit(table, Y)
    assert np.isfinite(model.predict_proba(table)).all()


@pytest.mark.parametrize("cell", list(UNUSABLE))
@pytest.mark.parametrize("kind", [*KINDS, LateFusionRegressor])
def test_a_label_that_is_no_class(kind, cell):
    with pytest.raises(TypeError, match=f"got {cell} in y, row position 5; exp") as e:
        kind(MODALITIES).fit(X, cells(cell, first=5))
    assert SECRET not in str(e.value)


def test_a_label_that_is_no_class_in_comparisons_and_features():
    labels = cells("dict", first=2)
    models = {"early": EarlyFusionClassifier(MODALITIES)}
    with pytest.raises(TypeError, match="compare_fusion: got dict in y, row position"):
        compare_fusion(models, X, labels)
    with pytest.raises(TypeError, match="ModelFeatures: got dict in y, row position 2"):
        ModelFeatures(LogisticRegression()).fit(X, labels)


@pytest.mark.parametrize("ids", [pd.Series(range(40)), np.arange(40), ["a"], X])
@pytest.mark.parametrize("kind", KINDS)
def test_ids_in_place_of_the_name_of_their_column(kind, ids):
    with pytest.raises(TypeError, match=r"name of a column .* fit\(X, y, groups=...\)"):
        kind(MODALITIES, groups=ids).fit(X, Y)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_in_place_of_ids(kind):
    with pytest.raises(TypeError, match=rf"{kind.__name__}: got a str .* X\[name\]"):
        kind(MODALITIES).fit(X, Y, groups="a")
    with pytest.raises(ValueError, match=r"DataFrame of shape \(40, 2\) as groups"):
        kind(MODALITIES).fit(X, Y, groups=X)
    with pytest.raises(TypeError, match="ModelFeatures: got a str"):
        ModelFeatures(LogisticRegression()).fit(X, Y, groups="a")
