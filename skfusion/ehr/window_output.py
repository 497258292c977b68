"""Statistics of rows, codes and windows in, a dense or sparse matrix out.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse

from skfusion.ehr.window_kernel import COUNTS
from skfusion.ehr.window_plan import FeaturePlan

__all__ = [
    "Block",
    "DenseOutput",
    "PairBlock",
    "SparseOutput",
    "Totals",
    "warn_of_size",
    "with_totals",
]

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


class Totals(NamedTuple):
    """Statistics over all codes.

    Attributes
    ----------
    row : ndarray of int of shape (n_rows,)
        Rows that have events.
    value : ndarray of shape (n_rows, n_totals)
        The statistics.
    known : ndarray of bool of shape (n_rows, n_totals)
        Which are known; of a count 0 is not.
    """

    row: np.ndarray
    value: np.ndarray
    known: np.ndarray


class PairBlock(NamedTuple):
    """The same, of all statistics of some pairs of a row and a code.

    Attributes
    ----------
    rows : slice
        Which rows.
    row, place : ndarray of int of shape (n_pairs,)
        The pairs, ordered by row: row 0 is the first of `rows`, place 0 the first code
        of the plan.
    value : ndarray of float32 of shape (n_pairs, n_windows, n_statistics)
        NaN where nothing is known, or nothing counted.
    totals : Totals or None
        Those of the rows.
    """

    rows: slice
    row: np.ndarray
    place: np.ndarray
    value: np.ndarray
    totals: Totals | None

    def cells(self, plan: FeaturePlan) -> Block:
        """Return what is known and has a column, cell by cell."""
        columns = plan.place[self.place]
        known = ~np.isnan(self.value) & (columns >= 0)
        n_cells = known.reshape(len(known), -1).sum(axis=1)
        row = np.repeat(self.row, n_cells)
        block = Block(self.rows, row, columns[known], self.value[known])
        if self.totals is None:
            return block
        return with_totals(block, self.totals, plan.n_of_codes)


def with_totals(block: Block, totals: Totals, first_column: int) -> Block:
    """Put totals behind the other features of their rows.

    Parameters
    ----------
    block : Block
        Features.
    totals : Totals
        Totals of the same rows.
    first_column : int
        The column of the first one.

    Returns
    -------
    Block
    """
    place, column = np.nonzero(totals.known)
    row = np.concatenate([block.row, totals.row[place]])
    column = np.concatenate([block.column, column + first_column])
    known = totals.value[totals.known].astype(np.float32)
    value = np.concatenate([block.value, known])
    order = np.argsort(row, kind="stable")
    return Block(block.rows, row[order], column[order], value[order])


class DenseOutput:
    """A dense matrix: NaN where nothing is known, 0 where nothing is counted."""

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._plan = plan
        empty = np.where(plan.is_count, np.float32(0), np.float32(np.nan))
        self.matrix: np.ndarray = np.tile(empty, (n_rows, 1))

    def add(self, block: Block | PairBlock) -> None:
        """Write a block."""
        matrix = self.matrix[block.rows]
        if isinstance(block, PairBlock):
            if self._plan.is_regular:
                self._add_pairs(matrix, block)
                return
            block = block.cells(self._plan)
        matrix[block.row, block.column] = block.value

    def _add_pairs(self, matrix: np.ndarray, block: PairBlock) -> None:
        """Write all columns of a row and code at once, as they lie side by side."""
        plan, value = self._plan, block.value
        for k, name in enumerate(plan.statistics):
            if name in COUNTS:
                np.nan_to_num(value[:, :, k], copy=False)
        codes = matrix[:, : plan.n_of_codes].reshape(len(matrix), *plan.place.shape)
        codes[block.row, block.place] = value
        if block.totals is not None:  # of which those that are not known are 0
            matrix[block.totals.row, plan.n_of_codes :] = block.totals.value

    def finish(self) -> np.ndarray:
        """Return the matrix."""
        return self.matrix


class SparseOutput:
    """A CSR matrix: what is not stored is unknown; a zero that is stored was measured.

    Its arrays grow in place, so that it is never there twice.
    """

    matrix = None  # in which one could write

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._plan = plan
        self._shape = n_rows, len(plan.names)
        self._size = 0
        self._values = np.empty(0, dtype=np.float32)
        self._columns = np.empty(0, dtype=np.int32)
        self._counts = np.zeros(n_rows, dtype=np.int64)

    def add(self, block: Block | PairBlock) -> None:
        """Append a block, whose rows come after those of the blocks before."""
        if isinstance(block, PairBlock):
            block = block.cells(self._plan)
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
