"""Matrices whose rows are filled as the arrays of a store become known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from skfusion.store.embedding_store import EmbeddingStore

__all__ = ["Rows", "portions"]

# Keys of which the arrays are in memory beside the matrix.
KEYS_AT_A_TIME = 1024


class Rows:
    """Matrix whose rows are the arrays of some keys.

    The arrays are copied into the matrix and not kept, so that the memory is that of
    the matrix.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    rows_of : mapping of str to sequence of int
        Rows of each key.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.store.rows import Rows
    >>> rows = Rows(3, {"a": [0, 2]})
    >>> rows.receive({"a": np.ones(2)})
    >>> rows.filled(lambda: (2,)).tolist()
    [[1.0, 1.0], [nan, nan], [1.0, 1.0]]
    """

    def __init__(self, n_rows: int, rows_of: Mapping[str, Sequence[int]]) -> None:
        self._n_rows = n_rows
        self._rows_of = rows_of
        self._values: np.ndarray | None = None

    def receive(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Copy the array of each key into its rows."""
        for key, array in arrays.items():
            if self._values is None:
                self._values = self._empty(array.shape)
            for row in self._rows_of[key]:
                self._values[row] = array

    def read(self, store: EmbeddingStore) -> bool:
        """Fill all rows from a store, and return whether no array was missing."""
        for keys in portions(self._rows_of):
            found = store.get_many(keys)
            if len(found) < len(keys):
                return False
            self.receive(found)
        return True

    def filled(self, shape: Callable[[], tuple[int, ...]]) -> np.ndarray:
        """Return the matrix.

        Parameters
        ----------
        shape : callable
            Function that returns the shape of an array, called if none was received.

        Returns
        -------
        ndarray of float32 of shape (n_rows, *shape)
            NaN in the rows that were not received.
        """
        return self._empty(shape()) if self._values is None else self._values

    def _empty(self, shape: tuple[int, ...]) -> np.ndarray:
        return np.full((self._n_rows, *shape), np.nan, dtype=np.float32)


def portions(keys: Iterable[str]) -> Iterator[list[str]]:
    """Yield keys, some at a time, of which the arrays need little memory.

    Parameters
    ----------
    keys : iterable of str
        Keys.

    Yields
    ------
    list of str

    Examples
    --------
    >>> from skfusion.store.rows import portions
    >>> [len(part) for part in portions(map(str, range(2500)))]
    [1024, 1024, 452]
    """
    left = iter(keys)
    while part := list(islice(left, KEYS_AT_A_TIME)):
        yield part
