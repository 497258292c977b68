"""Digests of files and arrays of a store that this process has used, within bounds.

The clones of an estimator in a search ask for the same images again and again. What is
remembered saves the database, the checksums and the conversions. The arrays are
forgotten when the file of the store changes otherwise than by this process, so that
what is remembered is in the file.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

__all__ = ["Remembered"]

ARRAY_BYTES = 64 * 2**20  # of all arrays
LARGEST = 64 * 2**10  # bytes of an array, because trunks have few and large ones
N_DIGESTS = 200_000
NOTE_SECONDS = 60.0  # interval in which repeated uses are written down


class Remembered:
    """Digests and arrays of one store. The caller holds the lock of the store.

    Attributes
    ----------
    n_forgotten : int
        How often `forget_arrays` was called.
    """

    def __init__(self) -> None:
        self.n_forgotten = 0
        self._digests: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._arrays: OrderedDict[str, tuple[int, np.ndarray]] = OrderedDict()
        self._n_bytes = 0
        self._used: set[int] = set()
        self._noted = time.monotonic()

    def has_digest(self, path: str) -> bool:
        """Return whether a digest of a file is known, also before a change of it."""
        return path in self._digests

    def digest(self, path: str, stamp: str) -> str | None:
        """Return the digest of an unchanged file, or None."""
        known = self._digests.get(path)
        if known is None or not stamp or known[0] != stamp:
            return None
        return known[1]

    def add_digest(self, path: str, stamp: str, digest: str) -> None:
        """Remember the digest of a file."""
        self._digests.pop(path, None)
        self._digests[path] = stamp, digest
        if len(self._digests) > N_DIGESTS:
            self._digests.popitem(last=False)

    def arrays(self, keys: Iterable[str]) -> dict[str, np.ndarray]:
        """Return copies of the remembered arrays of some keys, and note their use."""
        found: dict[str, np.ndarray] = {}
        for key in keys:
            known = self._arrays.get(key)
            if known is not None:
                self._used.add(known[0])
                found[key] = known[1].copy()
        return found

    def add_arrays(self, arrays: Mapping[str, tuple[int, np.ndarray]]) -> None:
        """Remember copies of arrays by key, each with its id in the file.

        The first ones are forgotten if there are too many.
        """
        self._drop(arrays)
        for key, (row_id, array) in arrays.items():
            if array.nbytes <= LARGEST:
                self._arrays[key] = row_id, array.copy()
                self._n_bytes += array.nbytes
        while self._n_bytes > ARRAY_BYTES:
            _, (_, array) = self._arrays.popitem(last=False)
            self._n_bytes -= array.nbytes

    def forget_arrays(self, keys: Iterable[str] | None = None) -> None:
        """Forget the arrays of some keys, or all arrays."""
        self.n_forgotten += 1
        if keys is None:
            self._arrays.clear()
            self._used.clear()
            self._n_bytes = 0
            return
        self._drop(keys)

    def _drop(self, keys: Iterable[str]) -> None:
        for key in keys:
            known = self._arrays.pop(key, None)
            if known is not None:
                self._n_bytes -= known[1].nbytes

    def forget(self) -> None:
        """Forget everything."""
        self._digests.clear()
        self.forget_arrays()

    def uses_to_note(self, *, now: bool = False) -> list[int]:
        """Return the ids of arrays used since the last note, if it is time for one."""
        if not now and time.monotonic() - self._noted < NOTE_SECONDS:
            return []
        used = sorted(self._used)
        self._used.clear()
        self._noted = time.monotonic()
        return used
