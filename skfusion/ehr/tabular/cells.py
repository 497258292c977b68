"""Cells of a static table: known types, and vectors of numbers."""

from __future__ import annotations

import datetime
import decimal
import enum
import numbers
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from skfusion._image_cells.recognition import (
    cell_presence,
    has_class,
    is_image_cell,
    may_hold_objects,
)

__all__ = [
    "LARGEST",
    "LISTS",
    "NUMBERS",
    "as_float",
    "check_scalars",
    "holds_vectors",
    "known_cells",
    "refuse_extremes",
    "to_vectors",
]


#: The squares of larger numbers, and sums of these, would be infinite.
LARGEST = 1e150
NUMBERS = (numbers.Real, decimal.Decimal)
LISTS = (list, tuple, set, frozenset, np.ndarray)
_SCALARS = (
    *(str, np.bool_, np.datetime64, datetime.date, enum.Enum, pd.Interval),
    *NUMBERS,
    *(type(None), type(pd.NA), type(pd.NaT)),
)
_REMEDIES = {
    bytes: "Decode them, e.g. with .str.decode('utf-8').",
    datetime.timedelta: "Convert them to numbers with .dt.total_seconds().",
    np.timedelta64: "Convert them to numbers with .dt.total_seconds().",
    pd.Period: "Convert them to dates with .dt.to_timestamp().",
    complex: "Pass the real and the imaginary part as two columns.",
    np.complexfloating: "Pass the real and the imaginary part as two columns.",
    dict: "Make one column of each key, e.g. with pandas.json_normalize.",
}


def known_cells(column: pd.Series, owner: str) -> pd.Series:
    """Check that the cells of a column are of known types.

    Parameters
    ----------
    column : Series
        Column of a static table.
    owner : str
        Name of the estimator, used in messages.

    Returns
    -------
    Series
        The column, with 1-D arrays and tensors as NumPy arrays if they are numeric,
        else as lists.

    Raises
    ------
    TypeError
        If a cell is neither a number, a boolean, text, a date, an interval nor an enum
        member, nor a list, set or 1-D array of these.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.cells import known_cells
    >>> known_cells(pd.Series([{"a": 1}], name="labs"), "TabularEncoder")
    Traceback (most recent call last):
    TypeError: TabularEncoder: got dict in column 'labs', row position 0: expected ...
    """
    if not may_hold_objects(column) and not _is_of_times(column):
        return column
    if isinstance(column.dtype, pd.CategoricalDtype):
        known_cells(pd.Series(column.cat.categories, name=column.name), owner)
        return column
    cells = column.astype(object)
    types = set(map(type, cells))
    if all(issubclass(kind, _SCALARS) for kind in types):
        return column
    plain = np.empty(len(cells), dtype=object)
    for row, cell in enumerate(cells):
        plain[row] = _plain(cell, column.name, row, owner)
    return pd.Series(plain, index=column.index, name=column.name)


def _is_of_times(column: pd.Series) -> bool:
    return bool(pd.api.types.is_timedelta64_dtype(column))


def _plain(cell: Any, name: Any, row: int, owner: str) -> Any:
    if isinstance(cell, _SCALARS):
        return cell
    if has_class(cell, "torch.Tensor"):
        cell = cell.detach().cpu().numpy()
    elif hasattr(cell, "__array__") and not isinstance(cell, np.generic | pd.DataFrame):
        cell = np.asarray(cell)
    if isinstance(cell, np.ndarray) and cell.dtype.kind not in "biuf":
        cell = cell.tolist() if cell.ndim < 2 else cell
    if isinstance(cell, np.ndarray) and cell.ndim < 2:
        return cell if cell.ndim else cell.item()
    if isinstance(cell, LISTS) and not isinstance(cell, np.ndarray):
        parts = [type(part) for part in cell if not isinstance(part, _SCALARS)]
        if not parts:
            return cell
        raise _unknown(cell, name, row, owner, f"{type(cell).__name__} with", parts[0])
    raise _unknown(cell, name, row, owner, "", type(cell))


def _unknown(
    cell: Any, name: Any, row: int, owner: str, prefix: str, kind: type
) -> TypeError:
    what = f"{prefix} {kind.__name__}".strip()
    if isinstance(cell, np.ndarray):
        what += f" of shape {cell.shape}"
    if is_image_cell(cell):
        remedy = "Use ImageEmbedder for images."
    else:
        known = (_REMEDIES[base] for base in kind.__mro__ if base in _REMEDIES)
        remedy = next(known, "Convert them to numbers or text.")
    error = TypeError(
        f"{owner}: got {what} in column {name!r}, row position {row}: expected "
        "numbers, booleans, text, dates, lists of values or numeric vectors of one "
        f"length. {remedy} Or leave the column out."
    )
    error.row = row  # type: ignore[attr-defined]
    return error


def check_scalars(column: pd.Series, owner: str) -> None:
    """Check that no cell of a column of categories or texts is a list or a vector.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.cells import check_scalars
    >>> check_scalars(pd.Series(["f", ["m"]], name="sex"), "TabularEncoder")
    Traceback (most recent call last):
    TypeError: TabularEncoder: got list in column 'sex', row position 1: expected ...
    """
    if column.dtype != object:
        return
    if not any(issubclass(kind, LISTS) for kind in set(map(type, column))):
        return
    for row, cell in enumerate(column):
        if isinstance(cell, LISTS):
            error = TypeError(
                f"{owner}: got {type(cell).__name__} in column {column.name!r}, row "
                f"position {row}: expected one value, because the column is encoded "
                "as categories or text. Pass one value per cell."
            )
            error.row = row  # type: ignore[attr-defined]
            raise error


def holds_vectors(filled: pd.Series) -> bool:
    """Return whether the cells of a column are numeric vectors, and not codes.

    Vectors are floats (or booleans) of one length. Lists and arrays of integers are
    codes, and so are lists of integral floats of several lengths.

    Parameters
    ----------
    filled : Series
        Lists, tuples, sets and 1-D arrays.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the cells are vectors of several lengths.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.cells import holds_vectors
    >>> holds_vectors(pd.Series([[0.5, 1.0], [2.0, 3.5]]))
    True
    >>> holds_vectors(pd.Series([[4019, 2724], [25000, 4019]]))
    False
    """
    cells = [cell for cell in filled if len(cell)]
    if not cells or not all(map(_is_numeric, cells)) or not any(map(_is_float, cells)):
        return False
    lengths = Counter(map(len, cells))
    if len(lengths) == 1:
        return True
    if all(map(_is_integral, cells)):
        return False
    raise ValueError(
        f"TabularEncoder: column {filled.name!r} has vectors of several lengths: "
        f"{_counted(lengths)}. Expected one length. Correct the cells, set them to "
        "None, or leave the column out."
    )


def _is_numeric(cell: Any) -> bool:
    if isinstance(cell, np.ndarray):
        return True  # others are lists, see `known_cells`
    if isinstance(cell, set | frozenset):
        return False
    return all(
        isinstance(part, NUMBERS) or part is None or part is pd.NA for part in cell
    )


def _is_float(cell: Any) -> bool:
    if isinstance(cell, np.ndarray):
        return cell.dtype.kind in "fb"
    return any(
        isinstance(part, bool | np.bool_) or not isinstance(part, numbers.Integral)
        for part in cell
        if part is not None and part is not pd.NA
    )


def _is_integral(cell: Any) -> bool:
    values = _numbers_of(cell)
    return bool((np.isnan(values) | (values == np.rint(values))).all())


def _numbers_of(cell: Iterable[Any]) -> np.ndarray:
    if isinstance(cell, np.ndarray):
        return cell.astype(np.float64)
    return np.array(
        [np.nan if part is None or part is pd.NA else float(part) for part in cell]
    )


def _counted(lengths: Counter[int]) -> str:
    common = lengths.most_common(4)
    more = f" and {len(lengths) - 4} more" if len(lengths) > 4 else ""
    return ", ".join(f"{length} ({count} cells)" for length, count in common) + more


def as_float(cell: Any) -> float:
    """Return a number as a float: NaN for a null, infinity for a too large one."""
    try:
        return np.nan if pd.isna(cell) else float(cell)
    except OverflowError:
        return np.inf


def refuse_extremes(values: np.ndarray, where: str) -> None:
    """Raise a ValueError for numbers that are infinite or beyond `LARGEST`.

    Parameters
    ----------
    values : ndarray of float64 of shape (n_rows,) or (n_rows, n_numbers)
        The numbers, NaN where missing.
    where : str
        What contains them, for the message.
    """
    with np.errstate(invalid="ignore"):
        extreme = np.abs(values) > LARGEST
    rows = np.flatnonzero(extreme.any(axis=1) if values.ndim > 1 else extreme)
    if len(rows):
        is_infinite = np.isinf(values).any()
        what = "infinity" if is_infinite else f"numbers beyond {LARGEST:.0e}"
        raise ValueError(
            f"TabularEncoder: got {what} in {where} in {len(rows)} row(s), first at "
            f"row position {rows[0]}. Replace it by NaN or a bound."
        )


def to_vectors(column: pd.Series, length: int) -> np.ndarray:
    """Return a column of vectors as an array, with NaN for missing cells.

    Parameters
    ----------
    column : Series
        Vectors of numbers, whose missing elements are None or NaN.
    length : int
        Length of the vectors in `fit`.

    Returns
    -------
    ndarray of float64 of shape (n_rows, length)

    Raises
    ------
    ValueError
        If a vector has another length, or a number is infinite.
    TypeError
        If a cell is not a vector of numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.cells import to_vectors
    >>> to_vectors(pd.Series([[0.5, None], None]), 2)
    array([[0.5, nan],
           [nan, nan]])
    """
    values = np.full((len(column), length), np.nan)
    rows = np.flatnonzero(cell_presence(column))
    wrong: list[int] = []
    lengths: Counter[int] = Counter()
    for row in rows:
        cell = column.iloc[row]
        if not isinstance(cell, LISTS) or not _is_numeric(cell):
            error = TypeError(
                f"TabularEncoder: column {column.name!r} has vectors of {length} "
                f"numbers in fit, got {type(cell).__name__} at row position {row}: "
                "expected a vector of numbers."
            )
            error.row = int(row)  # type: ignore[attr-defined]
            raise error
        if len(cell) == length:
            values[row] = _numbers_of(cell)
        else:
            wrong.append(int(row))
            lengths[len(cell)] += 1
    if wrong:
        raise ValueError(
            f"TabularEncoder: column {column.name!r} has vectors of {length} numbers "
            f"in fit, got {len(wrong)} of {len(rows)} cells with other lengths: "
            f"{_counted(lengths)}, first at row position {wrong[0]}."
        )
    refuse_extremes(values, f"vectors of column {column.name!r}")
    return values
