"""Cells that are numeric vectors, and bags (several vectors in one cell)."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._image_cells.recognition import (
    N_CELLS_INSPECTED,
    cell_presence,
    has_class,
    may_hold_objects,
    spread,
)
from skfusion._validation import is_null

__all__ = [
    "VectorBags",
    "are_float_vectors",
    "as_vectors",
    "has_elements",
    "holds_vectors",
    "stack_bags",
    "with_arrays",
]


@dataclass(frozen=True)
class VectorBags:
    """Vectors of a column and the cells that they are from.

    Attributes
    ----------
    values : ndarray of shape (n_vectors, length)
        The vectors that are present.
    rows : ndarray of int of shape (n_vectors,)
        Position of the cell of each vector, in ascending order.
    places : ndarray of int of shape (n_vectors,)
        Position of each vector in its cell.
    sizes : ndarray of int of shape (n_rows,)
        Number of vectors in each cell, including missing ones.
    """

    values: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    sizes: np.ndarray

    def pool(self, pooling: str) -> np.ndarray:
        """Return the ``"mean"`` or ``"max"`` of each cell, NaN without any vector."""
        pooled = np.full(
            (len(self.sizes), self.values.shape[1]), np.nan, dtype=self.values.dtype
        )
        starts = np.flatnonzero(np.diff(self.rows, prepend=-1))
        if len(starts) == 0:
            return pooled
        counts = np.diff(starts, append=len(self.rows))
        reduce = np.add if pooling == "mean" else np.maximum
        values = reduce.reduceat(self.values, starts, axis=0)
        if pooling == "mean" and (counts > 1).any():
            values = (values / counts[:, None]).astype(values.dtype)
        pooled[self.rows[starts]] = values
        return pooled


def as_vectors(cell: Any) -> np.ndarray | None:
    """Return the numbers of a cell, with NaN for missing ones.

    Parameters
    ----------
    cell : object
        Cell of a table that is not missing.

    Returns
    -------
    ndarray of shape (length,) or (n_vectors, length), or None
        A bag is 2-D, and its missing vectors are NaN. None if the cell is neither a
        vector of numbers nor a bag of vectors of one length.

    Examples
    --------
    >>> from skfusion.vectors.cells import as_vectors
    >>> as_vectors([0.5, None])
    array([0.5, nan])
    >>> as_vectors([[1, 2], None]).tolist()
    [[1.0, 2.0], [nan, nan]]
    >>> as_vectors(["0.5"]) is None
    True
    """
    if has_class(cell, "torch.Tensor"):
        cell = cell.detach().cpu().numpy()
    elif hasattr(cell, "__array__") and not isinstance(cell, np.ndarray):
        cell = np.asarray(cell)
    if isinstance(cell, np.ndarray) and cell.dtype.kind in "biuf":
        return cell if cell.ndim in (1, 2) else None
    if isinstance(cell, np.ndarray):
        cell = cell.tolist() if cell.ndim in (1, 2) else None
    if not isinstance(cell, list | tuple):
        return None
    if cell and isinstance(cell[0], float):  # most vectors, read without a look at all
        try:
            values = np.array(cell)
        except ValueError:
            return None
        if values.dtype.kind == "f" and values.ndim == 1:
            return values
    return _from_parts(cell)


def _from_parts(parts: Sequence[Any]) -> np.ndarray | None:
    if not any(map(has_elements, parts)):
        if not all(_is_null(part) or _is_number(part) for part in parts):
            return None
        if any(map(_is_null, parts)):
            return np.array([np.nan if _is_null(p) else float(p) for p in parts])
        values = np.array(parts)
        return values if values.dtype.kind in "biuf" else None
    vectors = [None if _is_null(part) else as_vectors(part) for part in parts]
    known = [vector for vector in vectors if vector is not None and vector.ndim == 1]
    n_null = sum(map(_is_null, parts))
    if len(known) + n_null < len(parts) or len({len(v) for v in known}) != 1:
        return None
    if n_null == 0:
        return np.stack(known)
    dtype = np.result_type(*known, np.float16)
    bag = np.full((len(parts), len(known[0])), np.nan, dtype=dtype)
    bag[[not _is_null(part) for part in parts]] = known
    return bag


def _is_number(part: Any) -> bool:
    return isinstance(part, (numbers.Real, np.bool_)) and not isinstance(part, complex)


def _is_null(part: Any) -> bool:
    return not has_elements(part) and is_null(part)


def has_elements(cell: Any) -> bool:
    """Return whether a cell is a list, a tuple, an array or a tensor.

    Examples
    --------
    >>> from skfusion.vectors.cells import has_elements
    >>> has_elements([0.5]), has_elements(0.5), has_elements("0.5")
    (True, False, False)
    """
    return isinstance(cell, list | tuple) or getattr(cell, "ndim", 0) > 0


def holds_vectors(column: pd.Series) -> bool:
    """Return whether at least half of the cells of a column are 1-D numeric vectors.

    Up to 50 cells that are not missing are inspected.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.vectors.cells import holds_vectors
    >>> holds_vectors(pd.Series([[4, 5], None])), holds_vectors(pd.Series(["a", "b"]))
    (True, False)
    """
    found, n_cells = _inspected(column)
    return len(found) > 0 and 2 * len(found) >= n_cells


def are_float_vectors(column: pd.Series) -> bool:
    """Return whether ``modalities="auto"`` takes a column for vectors.

    Lists and arrays of integers are codes, and so are lists of whole numbers of several
    lengths, as in `TabularEncoder`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.vectors.cells import are_float_vectors
    >>> are_float_vectors(pd.Series([[0.5, 1.0], None, [2.0, 3.5]]))
    True
    >>> are_float_vectors(pd.Series([[4019, 2724], [25000, 4019]]))
    False
    """
    found, n_cells = _inspected(column)
    if 2 * len(found) < n_cells or not any(v.dtype.kind in "fb" for v in found):
        return False
    if not all(map(_is_whole, found)):
        return True
    cells = column[cell_presence(column)]
    values = [_vector_of(cell) for cell in cells]
    known = [vector for vector in values if vector is not None]
    return len({len(vector) for vector in known}) == 1 or not all(map(_is_whole, known))


def _inspected(column: pd.Series) -> tuple[list[np.ndarray], int]:
    """Return the vectors among the inspected cells, and the number of these cells."""
    if not may_hold_objects(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return [], 0
    # Most columns are text, and most columns of vectors begin with one.
    filled = spread(column[column.notna()], 4 * N_CELLS_INSPECTED)
    cells = [cell for cell in filled if not isinstance(cell, str)]
    if not cells:
        return [], 0
    filled = spread(filled[cell_presence(filled)], N_CELLS_INSPECTED)
    vectors = [_vector_of(cell) for cell in filled]
    return [vector for vector in vectors if vector is not None], len(filled)


def _vector_of(cell: Any) -> np.ndarray | None:
    if isinstance(cell, str | bytes | dict | set | frozenset):
        return None
    values = as_vectors(cell)
    return values if values is not None and values.ndim == 1 and len(values) else None


def _is_whole(vector: np.ndarray) -> bool:
    if vector.dtype.kind == "b":
        return False
    return bool((np.isnan(vector) | (vector == np.rint(vector))).all())


def stack_bags(column: pd.Series, length: int | None, owner: str) -> VectorBags:
    """Return the vectors of a column.

    Parameters
    ----------
    column : Series of shape (n_rows,)
        Each cell is a vector, a bag of vectors, or missing.
    length : int or None
        Length of the vectors in `fit`. None takes the most frequent one.
    owner : str
        Name of the estimator, used in messages.

    Returns
    -------
    VectorBags
        Values of float32 if all cells are float32 or shorter floats, else of float64.

    Raises
    ------
    TypeError
        If a cell is neither a vector of numbers nor a bag of them.
    ValueError
        If a vector has another length.
    """
    rows = np.flatnonzero(cell_presence(column))
    cells = column.astype(object).to_numpy()[rows]
    found = [as_vectors(cell) for cell in cells]
    wrong = [i for i, values in enumerate(found) if values is None]
    if wrong:
        raise _not_numeric(cells, wrong, rows, column.name, owner)
    vectors = [values for values in found if values is not None]
    lengths = [values.shape[-1] for values in vectors]
    if length is None:
        length = Counter(lengths).most_common(1)[0][0] if lengths else 0
    others = [i for i, n in enumerate(lengths) if n != length]
    if others:
        raise _unequal(lengths, others, length, rows, column.name, owner)
    sizes = np.zeros(len(column), dtype=np.intp)
    counts = np.array([v.shape[0] if v.ndim == 2 else 1 for v in vectors], np.intp)
    sizes[rows] = counts
    narrow = all(v.dtype in (np.float32, np.float16) for v in vectors)
    values = np.empty((int(counts.sum()), length), np.float32 if narrow else np.float64)
    if vectors:
        np.concatenate([v.reshape(-1, length) for v in vectors], out=values)
    places = np.concatenate([np.arange(n) for n in counts] or [np.zeros(0, np.intp)])
    there = ~np.isnan(values).all(axis=1) if length else np.zeros(len(values), bool)
    # A copy of a wide table takes long, and most have no missing vector.
    kept = slice(None) if there.all() else there
    return VectorBags(values[kept], np.repeat(rows, counts)[kept], places[kept], sizes)


def _not_numeric(
    cells: np.ndarray, wrong: list[int], rows: np.ndarray, name: Any, owner: str
) -> TypeError:
    kinds = Counter(type(cells[i]).__name__ for i in wrong)
    listed = ", ".join(f"{kind} in {n}" for kind, n in kinds.most_common(4))
    row = int(rows[wrong[0]])
    remedy = "Correct the cells, or set them to None."
    if "str" in kinds:
        remedy += " A CSV file stores vectors as text, a Parquet file as numbers."
    error = TypeError(
        f"{owner}: got {listed} of {len(rows)} cells of column {name!r}, first at row "
        f"position {row}: expected vectors of numbers. {remedy}"
    )
    error.row = row  # type: ignore[attr-defined]
    return error


def _unequal(
    lengths: Iterable[int],
    others: list[int],
    length: int,
    rows: np.ndarray,
    name: Any,
    owner: str,
) -> ValueError:
    counts = Counter(lengths)
    del counts[length]
    common = counts.most_common(4)
    listed = ", ".join(f"{n} ({count} cells)" for n, count in common)
    more = f" and {len(counts) - 4} other lengths" if len(counts) > 4 else ""
    row = int(rows[others[0]])
    error = ValueError(
        f"{owner}: {len(others)} of {len(rows)} cells of column {name!r} have vectors "
        f"of another length than {length}: {listed}{more}, first at row position "
        f"{row}. Correct the cells, or set them to None."
    )
    error.row = row  # type: ignore[attr-defined]
    return error


def with_arrays(column: Any) -> Any:
    """Return a column of lists of floats as a column of arrays, and others unchanged.

    pandas and polars turn such lists into lists of Python's floats at each access,
    which takes long.

    Parameters
    ----------
    column : Series of pandas or polars
        A column of any kind.

    Returns
    -------
    Series of pandas, or `column` itself

    Examples
    --------
    >>> import polars as pl
    >>> from skfusion.vectors.cells import with_arrays
    >>> with_arrays(pl.Series("emb", [[0.5, None], None])).tolist()
    [array([0.5, nan]), None]
    """
    if isinstance(column, pd.Series):
        if not isinstance(column.dtype, pd.ArrowDtype):
            return column
        kind = column.dtype.pyarrow_dtype
        inner = str(getattr(kind, "value_type", ""))
        if inner not in ("float", "double", "halffloat"):
            return column
        cells = column.array.__arrow_array__().to_pandas()  # type: ignore[attr-defined]
        return pd.Series(cells.to_numpy(), column.index, object, column.name)
    element = getattr(column.dtype, "inner", None)
    if element is None or not element.is_float():
        return column
    cells = np.empty(len(column), dtype=object)
    for row, cell in enumerate(column):
        cells[row] = cell.to_numpy() if hasattr(cell, "to_numpy") else cell
    return pd.Series(cells, name=column.name)
