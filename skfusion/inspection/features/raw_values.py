"""Cells of the table behind the features of a modality."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["raw_values"]


MISSING = "missing"


def raw_values(
    names: np.ndarray, inputs: np.ndarray, table: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells of the table for the features that are one column of it.

    A feature is one column if it has the name of the column, or that of the column and
    one of its categories, as the encoders of scikit-learn and of skfusion name them.
    A feature of a category has two values, which may be standardised, and the larger
    one where the column has the category.

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
        Numbers of the table, and 1 and 0 for a category. The inputs of features that
        are not one column.
    display : ndarray of object of shape (n_samples, n_features)
        The same, with the texts of the table for categories.

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
    if data.dtype.kind == "f":
        # Cells of the table are more precise than the single precision of some inputs.
        data = data.astype(np.float64)
    display = data.astype(object)
    columns = {str(column): table[column] for column in table.columns}
    columns = {name: cells for name, cells in columns.items() if _is_plain(cells)}
    there = table.notna().any(axis=1).to_numpy()
    # Learners that need numbers get means for a modality that is absent.
    given = np.where(there[:, None], data, np.nan)
    for j, name in enumerate(names):
        found = _cells_of(str(name), columns, given[:, j])
        if found is None and str(name).rpartition("__")[2] == "present":
            found = there.astype(float), np.where(there, "present", "absent")
        if found is not None:
            data[:, j], display[:, j] = found
    return data, display


def _cells_of(
    name: str, columns: dict[str, pd.Series], inputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the numbers and the texts of a feature, or None if it is no column."""
    for shown in _without_prefixes(name):
        if shown in columns:
            cells = columns[shown]
            numbers = _numbers(cells)
            texts = cells.map(_text).to_numpy()
            return (inputs, texts) if numbers is None else (numbers, numbers)
    for shown in _without_prefixes(name):
        # The longest name first: "sex_at_birth_f" is of "sex_at_birth", not of "sex".
        for label in sorted(columns, key=len, reverse=True):
            cells = columns[label]
            if shown in (f"{label}_{MISSING}", f"missingindicator_{label}"):
                there = cells.isna().to_numpy()
                if _is_flag(inputs, there):
                    return there.astype(float), np.where(there, MISSING, "observed")
            elif shown.startswith(f"{label}_"):
                there = _of_category(cells, shown.removeprefix(f"{label}_"))
                if _is_flag(inputs, there):
                    return there.astype(float), cells.map(_text).to_numpy()
    return None


def _without_prefixes(name: str) -> Iterator[str]:
    """Yield a name without the names of the transformers before it, such as num__."""
    yield name
    while "__" in name:
        name = name.partition("__")[2]
        yield name


def _of_category(cells: pd.Series, category: str) -> np.ndarray:
    """Return the cells that have a category, whose number may be written as a float."""
    texts = cells.map(_text).str.strip().str.casefold().str.removesuffix(".0")
    return (texts == category.strip().casefold().removesuffix(".0")).to_numpy()


def _is_flag(inputs: np.ndarray, there: np.ndarray) -> bool:
    """Return whether a feature has its larger of two values where a flag is true."""
    known = ~pd.isna(inputs)
    values, there = np.asarray(inputs)[known], there[known]
    distinct = np.unique(values)
    if len(distinct) == 2:
        return bool(((values == distinct[1]) == there).all())
    return len(distinct) < 2 and len(np.unique(there)) < 2


def _is_plain(cells: pd.Series) -> bool:
    """Return whether the cells are numbers, texts or truth values."""
    plain = (str, bool, int, float, np.generic)
    return all(isinstance(cell, plain) for cell in cells.dropna())


def _numbers(cells: pd.Series) -> np.ndarray | None:
    if cells.dropna().map(lambda cell: isinstance(cell, (bool, np.bool_))).any():
        return None  # shown as True and False
    try:
        return pd.to_numeric(cells).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError):  # texts
        return None


def _text(cell: Any) -> str:
    return MISSING if pd.isna(cell) else str(cell)
