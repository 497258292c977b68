"""Statistics of rows, codes and windows in, a dense or sparse matrix out."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse

from skfusion.ehr.windows.kernel import COUNTS
from skfusion.ehr.windows.plan import FeaturePlan

__all__ = [
    "Block",
    "DenseOutput",
    "PairOutput",
    "SparseOutput",
    "Totals",
    "warn_of_size",
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


class Totals(NamedTuple):
    """Statistics over all codes.

    Attributes
    ----------
    row : ndarray of int of shape (n_rows,)
        Rows that have events.
    value : ndarray of shape (n_rows, n_totals)
        The statistics; of a count 0 is not known.
    """

    row: np.ndarray
    value: np.ndarray

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        row: np.ndarray,
        count: np.ndarray,
        n_codes: np.ndarray,
        history: np.ndarray,
    ) -> Totals:
        """Take those that are asked for.

        Parameters
        ----------
        names : tuple of str
            Of ``"count"``, ``"n_codes"`` and ``"history"``.
        row : ndarray of int of shape (n_rows,)
            The rows.
        count, n_codes : ndarray of shape (n_rows, n_windows)
            How many events, and of how many codes, there are in each window.
        history : ndarray of shape (n_rows, 1)
            Days from the oldest event.

        Returns
        -------
        Totals
        """
        all_ = {"count": count, "n_codes": n_codes, "history": history}
        return cls(row, np.concatenate([all_[name] for name in names], axis=1))


class Block(NamedTuple):
    """Features of some neighbouring rows: of pairs of a row and a code.

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

    def cells(self, plan: FeaturePlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return row, column and value of what is known, ordered by row."""
        columns = plan.place[self.place]
        known = ~np.isnan(self.value) & (columns >= 0)
        row = np.repeat(self.row, known.reshape(len(known), -1).sum(axis=1))
        column, value = columns[known], self.value[known]
        if self.totals is None:
            return row, column, value
        total = self.totals.value
        is_known = total > 0
        if "history" in plan.totals:
            is_known[:, -1] = True
        place, extra = np.nonzero(is_known)
        row = np.concatenate([row, self.totals.row[place]])
        column = np.concatenate([column, extra + plan.n_of_codes])
        value = np.concatenate([value, total[is_known].astype(np.float32)])
        order = np.argsort(row, kind="stable")
        return row[order], column[order], value[order]


class DenseOutput:
    """A dense matrix: NaN where nothing is known, 0 where nothing is counted."""

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._plan = plan
        self.matrix: np.ndarray = np.tile(plan.empty, (n_rows, 1))

    def add(self, block: Block) -> None:
        """Write a block."""
        matrix = self.matrix[block.rows]
        if not self._plan.is_regular:
            row, column, value = block.cells(self._plan)
            matrix[row, column] = value
            return
        # all columns of a row and code at once, as they lie side by side
        plan, value = self._plan, block.value
        for k, name in enumerate(plan.statistics):
            if name in COUNTS:
                np.nan_to_num(value[:, :, k], copy=False)
        codes = matrix[:, : plan.n_of_codes].reshape(len(matrix), *plan.place.shape)
        codes[block.row, block.place] = value
        if block.totals is not None:
            matrix[block.totals.row, plan.n_of_codes :] = block.totals.value

    def finish(self) -> np.ndarray:
        """Return the matrix."""
        return self.matrix


class _Growing:
    """An array that grows in place, so that it is never there twice."""

    def __init__(self, dtype: type, *shape: int) -> None:
        self._values: np.ndarray = np.empty((0, *shape), dtype=dtype)
        self._size = 0

    def append(self, values: np.ndarray) -> None:
        size = self._size + len(values)
        if size > len(self._values):
            self._resize(size + size // 4)
        self._values[self._size : size] = values
        self._size = size

    def finish(self) -> np.ndarray:
        self._resize(self._size)
        return self._values

    def _resize(self, size: int) -> None:
        self._values.resize((size, *self._values.shape[1:]), refcheck=False)


class SparseOutput:
    """A CSR matrix: what is not stored is unknown, a stored zero was measured."""

    matrix = None  # there is none to write into

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._plan = plan
        self._shape = n_rows, len(plan.names)
        self._values, self._columns = _Growing(np.float32), _Growing(np.int32)
        self._counts = np.zeros(n_rows, dtype=np.int64)

    def add(self, block: Block) -> None:
        """Append a block, whose rows come after those of the blocks before."""
        row, column, value = block.cells(self._plan)
        n_rows = block.rows.stop - block.rows.start
        self._counts[block.rows] += np.bincount(row, minlength=n_rows)
        self._values.append(value)
        self._columns.append(column)

    def finish(self) -> scipy.sparse.csr_array:
        """Return the matrix."""
        parts = self._values.finish(), self._columns.finish()
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        if len(parts[0]) < np.iinfo(np.int32).max:
            starts = starts.astype(np.int32)
        return scipy.sparse.csr_array((*parts, starts), shape=self._shape)


class PairOutput:
    """All features of pairs of a row and a code, row after row."""

    matrix = None  # as above

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._counts = np.zeros(n_rows, dtype=np.int64)
        self._places = _Growing(np.int32)
        self._values = _Growing(np.float32, *plan.place.shape[1:])

    def add(self, block: Block) -> None:
        """Append a block, whose rows come after those of the blocks before."""
        n_rows = block.rows.stop - block.rows.start
        self._counts[block.rows] += np.bincount(block.row, minlength=n_rows)
        self._places.append(block.place)
        self._values.append(block.value)

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where rows begin and end, codes and values of the pairs."""
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        return starts, self._places.finish(), self._values.finish()
