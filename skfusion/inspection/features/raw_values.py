"""Cells of the table behind the features of a modality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["raw_values"]


def raw_values(
    names: np.ndarray, inputs: np.ndarray, table: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of the table for the features that are one column of it.

    A feature is one column if it has the name of the column, or that of the column and
    one of its categories, as the encoders of scikit-learn and of skfusion name them.

    Parameters
    ----------
    names : ndarray of str of shape (n_features,)
        Names of the features.
    inputs : ndarray of shape (n_samples, n_features)
        Values of the features, as the learner gets them.
    table : DataFrame of shape (n_samples, n_columns)
        The columns of the modality.

    Returns
    -------
    data : ndarray of shape (n_samples, n_features)
        Numbers of the table. The inputs where a cell is not a number, or a feature is
        not one column.
    display : ndarray of object of shape (n_samples, n_features)
        The same, with texts of the table.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion.inspection.features.raw_values import raw_values
    >>> table = pd.DataFrame({"age": [87, 50], "sex": ["f", "m"]})
    >>> inputs = np.array([[1.5, 1.0], [-0.4, 0.0]])
    >>> data, display = raw_values(np.array(["age", "sex_f"]), inputs, table)
    >>> data.tolist(), display.tolist()
    ([[87.0, 1.0], [50.0, 0.0]], [[87.0, 'f'], [50.0, 'm']])
    """
    data = np.array(inputs)
    display = data.astype(object)
    columns = {str(column): table[column] for column in table.columns}
    for j, name in enumerate(names):
        column, is_category = _column_of(str(name), columns, data[:, j])
        if column is None:
            if str(name).rpartition("__")[2] == "present" and _is_binary(data[:, j]):
                display[:, j] = np.where(data[:, j] == 1, "present", "absent")
            continue
        numbers = None if is_category else _numbers(column)
        if numbers is not None:
            data[:, j] = numbers
            display[:, j] = numbers
        else:
            display[:, j] = [_text(cell) for cell in column]
    return data, display


def _column_of(
    name: str, columns: dict[str, pd.Series], inputs: np.ndarray
) -> tuple[pd.Series | None, bool]:
    """Return the column of a feature, and whether the feature is a category of it."""
    for shown in _without_prefixes(name):
        column = columns.get(shown)
        if column is not None and _is_plain(column):
            return column, False
    if not _is_binary(inputs):
        return None, False
    for shown in _without_prefixes(name):
        # The longest name first: "sex_at_birth_f" is of "sex_at_birth", not of "sex".
        for label in sorted(columns, key=len, reverse=True):
            category = shown.removeprefix(f"{label}_")
            if category != shown and _has_category(columns[label], category, inputs):
                return columns[label], True
    return None, False


def _without_prefixes(name: str) -> Iterator[str]:
    """Yield a name without the names of the transformers before it, such as num__."""
    yield name
    while "__" in name:
        name = name.partition("__")[2]
        yield name


def _has_category(column: pd.Series, category: str, inputs: np.ndarray) -> bool:
    """Return whether a feature is 1 where, and only where, a column has a category."""
    if not _is_plain(column):
        return False
    texts = column.map(_text).str.casefold().to_numpy()
    numbers = {f"{category}.0".casefold(), category.casefold()}
    if isinstance(category, str) and category.endswith(".0"):
        numbers.add(category[:-2])
    there = np.isin(texts, list(numbers))
    # A case without the modality has no input.
    known = ~np.isnan(inputs)
    return bool((there[known] == (inputs[known] == 1)).all())


def _is_binary(inputs: np.ndarray) -> bool:
    known = inputs[~np.isnan(inputs)] if inputs.dtype.kind == "f" else inputs
    return bool(np.isin(known, (0, 1)).all())


def _is_plain(column: pd.Series) -> bool:
    """Return whether the cells are numbers, texts or truth values."""
    filled = column.dropna()
    plain = (str, bool, int, float, np.generic)
    return all(isinstance(cell, plain) for cell in filled)


def _numbers(column: pd.Series) -> np.ndarray | None:
    try:
        return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):  # texts
        return None


def _text(cell: Any) -> str:
    return "missing" if pd.isna(cell) else str(cell)
