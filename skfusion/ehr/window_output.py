"""Statistics of rows, codes and windows in, a dense or sparse matrix out.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse

from skfusion.ehr.window_plan import FeaturePlan

__all__ = ["Block", "DenseOutput", "SparseOutput", "warn_of_size"]

LARGE = 2**30  # bytes of a dense result that are worth a warning


def warn_of_size(n_rows: int, plan: FeaturePlan) -> None:
    """Warn where a dense result is large."""
    size = 4 * n_rows * len(plan.names)
    if size > LARGE:
        warnings.warn(
            f"EventWindows: {len(plan.place)} codes give {len(plan.names)} features, "
            f"for {n_rows} rows {size / 2**30:.1f} GiB. Raise min_subjects, pass "
            "max_codes, or output='sparse' with a learner that takes it.",
            stacklevel=3,
        )


class Block(NamedTuple):
    """Features of some neighbouring rows.

    Attributes
    ----------
    rows : slice
        Which rows.
    row, column : ndarray of int of shape (n_cells,)
        Places of what is known, ordered by row and then column; row 0 is the first of
        `rows`.
    value : ndarray of float32 of shape (n_cells,)
        What is known, and measured zeros with it.
    """

    rows: slice
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray


class DenseOutput:
    """A dense matrix: NaN where nothing is known, 0 where nothing is counted."""

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        empty = np.where(plan.is_count, np.float32(0), np.float32(np.nan))
        self._matrix = np.tile(empty, (n_rows, 1))

    def add(self, block: Block) -> None:
        """Write a block."""
        self._matrix[block.rows][block.row, block.column] = block.value

    def finish(self) -> np.ndarray:
        """Return the matrix."""
        return self._matrix


class SparseOutput:
    """A CSR matrix: what is not stored is unknown; a zero that is stored was measured.

    Its arrays grow in place, so that it is never there twice.
    """

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._shape = n_rows, len(plan.names)
        self._size = 0
        self._values = np.empty(0, dtype=np.float32)
        self._columns = np.empty(0, dtype=np.int32)
        self._counts = np.zeros(n_rows, dtype=np.int64)

    def add(self, block: Block) -> None:
        """Append a block, whose rows come after those of the blocks before."""
        n_rows = block.rows.stop - block.rows.start
        self._counts[block.rows] += np.bincount(block.row, minlength=n_rows)
        size = self._size + len(block.value)
        if size > len(self._values):
            room = size + size // 4
            self._values.resize(room, refcheck=False)
            self._columns.resize(room, refcheck=False)
        self._values[self._size : size] = block.value
        self._columns[self._size : size] = block.column
        self._size = size

    def finish(self) -> scipy.sparse.csr_array:
        """Return the matrix."""
        self._values.resize(self._size, refcheck=False)
        self._columns.resize(self._size, refcheck=False)
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        if self._size < np.iinfo(np.int32).max:
            starts = starts.astype(np.int32)
        parts = self._values, self._columns, starts
        return scipy.sparse.csr_array(parts, shape=self._shape)
