"""Containers of computed features: dense, sparse and pairwise outputs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse

from skfusion.ehr.windows.kernel import COUNTS
from skfusion.ehr.windows.plan import FeaturePlan
from skfusion.exceptions import warn_user

__all__ = [
    "Block",
    "DenseOutput",
    "PairOutput",
    "SparseOutput",
    "Totals",
    "warn_of_size",
]


LARGE = 2**30  # Size in bytes from which a dense result raises a warning.


def warn_of_size(n_rows: int, plan: FeaturePlan) -> None:
    """Warn if a dense result is large."""
    size = 4 * n_rows * len(plan.names)
    if size > LARGE:
        warn_user(
            f"EventWindows: got {len(plan.place)} codes with {len(plan.names)} "
            f"features, which need {size / 2**30:.1f} GiB for {n_rows} rows. Raise "
            "min_subjects, set max_codes, or use output='sparse' with an estimator "
            "that supports it.",
            UserWarning,
        )


class Totals(NamedTuple):
    """Statistics over all codes.

    Attributes
    ----------
    row : ndarray of int of shape (n_rows,)
        Rows that have events.
    value : ndarray of shape (n_rows, n_totals)
        The statistics. A count of 0 is treated as unknown.
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
        """Create totals from the selected statistics.

        Parameters
        ----------
        names : tuple of str
            Selected statistics among ``"count"``, ``"n_codes"`` and ``"history"``.
        row : ndarray of int of shape (n_rows,)
            The rows.
        count, n_codes : ndarray of shape (n_rows, n_windows)
            Number of events and of distinct codes in each window.
        history : ndarray of shape (n_rows, 1)
            Days since the oldest event.

        Returns
        -------
        Totals
        """
        all_ = {"count": count, "n_codes": n_codes, "history": history}
        return cls(row, np.concatenate([all_[name] for name in names], axis=1))


class Block(NamedTuple):
    """Features of consecutive rows, stored for pairs of a row and a code.

    Attributes
    ----------
    rows : slice
        Slice of the rows in the result.
    row, place : ndarray of int of shape (n_pairs,)
        The pairs, ordered by row. Row 0 is the first row of `rows`, and place 0 is the
        first code of the plan.
    value : ndarray of float32 of shape (n_pairs, n_windows, n_statistics)
        Statistics, NaN where the value is unknown or the count is zero.
    totals : Totals or None
        Statistics over all codes.
    """

    rows: slice
    row: np.ndarray
    place: np.ndarray
    value: np.ndarray
    totals: Totals | None

    def cells(self, plan: FeaturePlan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the row, column and value of each known cell, ordered by row."""
        columns = plan.place[self.place]
        known = ~np.isnan(self.value) & (columns >= 0)
        row = np.repeat(self.row, known.sum(axis=(1, 2)))
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
    """Dense matrix with NaN for unknown values and 0 for counts without events.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    plan : FeaturePlan
        The features.
    order : ndarray of int of shape (n_rows,) or None, default=None
        Row of the matrix of each row of the blocks. None takes them as they are.
    """

    def __init__(
        self, n_rows: int, plan: FeaturePlan, order: np.ndarray | None = None
    ) -> None:
        self._plan, self._order = plan, order
        self.matrix: np.ndarray = np.tile(plan.empty, (n_rows, 1))

    def _place(self, block: Block, row: np.ndarray) -> np.ndarray:
        """Return the rows of the matrix of some rows of a block."""
        place = row + block.rows.start
        return place if self._order is None else self._order[place]

    def add(self, block: Block) -> None:
        """Write the values of a block into the matrix."""
        matrix = self.matrix
        if not self._plan.is_regular:
            row, column, value = block.cells(self._plan)
            matrix[self._place(block, row), column] = value
            return
        # The columns of a code are consecutive, so a pair is written at once.
        plan, value = self._plan, block.value
        for k, name in enumerate(plan.statistics):
            if name in COUNTS:
                np.nan_to_num(value[:, :, k], copy=False)
        _write_items(
            matrix[:, : plan.n_of_codes],
            self._place(block, block.row),
            block.place,
            value.reshape(len(value), value.shape[1] * value.shape[2]),
        )
        if block.totals is not None:
            place = self._place(block, block.totals.row)
            matrix[place, plan.n_of_codes :] = block.totals.value

    def finish(self) -> np.ndarray:
        """Return the matrix."""
        return self.matrix


def _write_items(
    matrix: np.ndarray, row: np.ndarray, place: np.ndarray, values: np.ndarray
) -> None:
    """Write row i of `values` into row ``row[i]``, into group ``place[i]`` of columns.

    Each group has as many columns as `values`.
    """
    if not values.size:
        return
    # As one item of many bytes, which numpy copies several times faster.
    item = np.dtype((np.void, matrix.dtype.itemsize * values.shape[1]))
    items = matrix.view(item)
    written = np.ascontiguousarray(values, dtype=matrix.dtype).view(item)[:, 0]
    if items.flags.c_contiguous:
        items.reshape(-1)[row.astype(np.intp) * items.shape[1] + place] = written
    else:
        items[row, place] = written


class _Growing:
    """Array that grows in place, to avoid a second copy in memory."""

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
    """CSR matrix that stores known values only, including observed zeros.

    Parameters
    ----------
    n_rows, plan, order : any
        As in `DenseOutput`.
    """

    matrix = None  # A sparse output has no matrix for direct writes.

    def __init__(
        self, n_rows: int, plan: FeaturePlan, order: np.ndarray | None = None
    ) -> None:
        self._plan, self._order = plan, order
        self._shape = n_rows, len(plan.names)
        self._values, self._columns = _Growing(np.float32), _Growing(np.int32)
        self._counts = np.zeros(n_rows, dtype=np.int64)

    def add(self, block: Block) -> None:
        """Append a block, whose rows must follow those of earlier blocks."""
        row, column, value = block.cells(self._plan)
        n_rows = block.rows.stop - block.rows.start
        self._counts[block.rows] += np.bincount(row, minlength=n_rows)
        self._values.append(value)
        self._columns.append(column)

    def finish(self) -> scipy.sparse.csr_array:
        """Return the CSR array."""
        parts = self._values.finish(), self._columns.finish()
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        if len(parts[0]) < np.iinfo(np.int32).max:
            starts = starts.astype(np.int32)
        matrix = scipy.sparse.csr_array((*parts, starts), shape=self._shape)
        return matrix if self._order is None else matrix[np.argsort(self._order)]


class PairOutput:
    """Features of all pairs of a row and a code, ordered by row."""

    matrix = None  # This output has no matrix for direct writes.

    def __init__(self, n_rows: int, plan: FeaturePlan) -> None:
        self._counts = np.zeros(n_rows, dtype=np.int64)
        self._places = _Growing(np.int32)
        self._values = _Growing(np.float32, *plan.place.shape[1:])

    def add(self, block: Block) -> None:
        """Append a block, whose rows must follow those of earlier blocks."""
        n_rows = block.rows.stop - block.rows.start
        self._counts[block.rows] += np.bincount(block.row, minlength=n_rows)
        self._places.append(block.place)
        self._values.append(block.value)

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the row offsets, and the codes and values of the pairs."""
        starts = np.concatenate([[0], np.cumsum(self._counts)])
        return starts, self._places.finish(), self._values.finish()
