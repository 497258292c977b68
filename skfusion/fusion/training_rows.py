"""Digest of the training rows of a fusion, by which it recognises them later.

A digest holds no value of a patient: each row is a salted hash of 8 bytes for each of
its modalities.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from skfusion.modality import COPIES_ON_WRITE, Modality, select_columns

__all__ = ["TrainingRows", "digest_rows"]

# Which rows of a chunk have any cell, and the cells of each of these rows as bytes.
Chunk = tuple[np.ndarray, list[Any]]
# Bytes of the key of a row. Keys of 10 million different pairs of rows collide with a
# probability below 1e-12.
N_BYTES = 8
ROWS_OF_SALT = 100
# Rows that are copied as numbers at a time.
CHUNK_CELLS = 131_072  # that stay in the cache of a core
# Whole numbers above this one are not exact with 32 bits.
LARGEST_EXACT = 2.0**24
# At most this many elements of an array (image, volume, sequence) are read.
MOST_ELEMENTS = 65_536
# About the most bytes of the tables of a process whose keys are not computed yet.
MOST_POSTPONED_BYTES = 2**28
BYTES_OF_TEXT = 64  # assumed for a cell
# A modality tells rows apart if at least this share of its keys is unique.
DISTINCT = 0.98


class TrainingRows:
    """Keys of the training rows of a fusion.

    Most fits of a search never need the keys. They are therefore computed at their
    first use, or when the object is pickled. Until then the table is kept, unless its
    cells can change or the tables of a process become too large.

    Parameters
    ----------
    modalities : iterable of Modality
        The modalities of the fusion.
    frame : DataFrame of shape (n_rows, n_columns)
        Training rows with the columns of the modalities.

    Attributes
    ----------
    n_rows : int
        Number of training rows.
    """

    def __init__(self, modalities: Iterable[Modality], frame: pd.DataFrame) -> None:
        self.n_rows = len(frame)
        columns = [modality.columns for modality in modalities]
        self._digest: tuple[bytes, np.ndarray] | None = None
        self._postponed: tuple[list[tuple[Any, ...]], pd.DataFrame] | None = None
        size = _n_bytes(frame)
        if _cannot_change(frame) and size <= MOST_POSTPONED_BYTES:
            self._postponed = columns, frame
            _limit_postponed(self, size)
        else:
            self._digest = _digest_of(columns, frame)

    @property
    def salt(self) -> bytes:
        """Salt of the keys.

        It depends on the first rows only, so that two fits on the same rows are equal.
        """
        return self.digest()[0]

    @property
    def keys(self) -> np.ndarray:
        """Key of each modality in each row, of shape (n_rows, M), 0 where absent."""
        return self.digest()[1]

    def digest(self) -> tuple[bytes, np.ndarray]:
        """Return the salt and the keys, and release the table."""
        postponed = self._postponed
        if self._digest is None and postponed is not None:
            self._digest = _digest_of(*postponed)
        # Another thread that found the table has it in `postponed`.
        self._postponed = None
        _waiting.pop(id(self), None)
        assert self._digest is not None
        return self._digest

    def __getstate__(self) -> dict[str, Any]:
        """Return the keys and no value of a patient."""
        salt, keys = self.digest()
        return {"salt": salt, "keys": keys}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._digest = state["salt"], state["keys"]
        self._postponed = None
        self.n_rows = len(state["keys"])

    def found(self, modalities: Iterable[Modality], frame: pd.DataFrame) -> np.ndarray:
        """Return which rows are training rows.

        Parameters
        ----------
        modalities : iterable of Modality
            The modalities of the fusion.
        frame : DataFrame of shape (n, n_columns)
            Rows with the columns of the modalities.

        Returns
        -------
        ndarray of bool of shape (n,)
            A row is a training row if all its modalities are equal to those of a
            training row. It is also one if a modality whose values tell training rows
            apart is, so that a training row without one of its modalities is found.
        """
        keys = digest_rows(modalities, frame, self.salt)
        # numpy 2.0 compares by a table, which overflows at hashes of 64 bits.
        whole = np.isin(_joined(keys), _joined(self.keys), kind="sort")
        whole &= keys.any(axis=1)
        for own, theirs in zip(keys.T, self.keys.T, strict=True):
            present = theirs[theirs != 0]
            if len(present) and len(np.unique(present)) >= DISTINCT * len(present):
                whole |= (own != 0) & np.isin(own, present, kind="sort")
        return whole

    def repeated(self) -> float:
        """Return the share of the training rows that another training row equals."""
        if len(self.keys) == 0:
            return 0.0
        _, counts = np.unique(_joined(self.keys), return_counts=True)
        return float(counts[counts > 1].sum() / len(self.keys))


def digest_rows(
    modalities: Iterable[Modality], frame: pd.DataFrame, salt: bytes = b""
) -> np.ndarray:
    """Return the key of each modality in each row.

    Numbers are rounded to 32 bits, so that keys do not depend on the precision, and the
    type of a column has no influence. Images are recognised by their path or array.

    Parameters
    ----------
    modalities : iterable of Modality
        The modalities.
    frame : DataFrame of shape (n, n_columns)
        Rows with the columns of the modalities.
    salt : bytes, default=b""
        At most 16 bytes, with which the keys are hashed.

    Returns
    -------
    ndarray of uint64 of shape (n, M)
        0 where all cells of a modality are null.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.fusion.training_rows import digest_rows
    >>> from skfusion.modality import Modality, select_columns
    >>> X = pd.DataFrame({"age": [61.1, 48.0]})
    >>> ehr = [Modality("ehr", StandardScaler(), ("age",))]
    >>> bool((digest_rows(ehr, X) == digest_rows(ehr, X.astype("float32"))).all())
    True
    """
    keys = [
        _keys_of(_chunks(select_columns(frame, m.columns)), salt) for m in modalities
    ]
    return _as_columns(keys, len(frame))


def _digest_of(
    columns: Iterable[tuple[Any, ...]], frame: pd.DataFrame
) -> tuple[bytes, np.ndarray]:
    """Return the salt of the rows of a cohort and their keys."""
    chunks = [_chunks(select_columns(frame, labels)) for labels in columns]
    first = [next(of_modality) for of_modality in chunks]
    salt = _salt_of(first)
    keys = [
        _keys_of(chain([start], rest), salt)
        for start, rest in zip(first, chunks, strict=True)
    ]
    return salt, _as_columns(keys, len(frame))


def _cannot_change(frame: pd.DataFrame) -> bool:
    """Return whether later changes of the user's table leave this one as it is."""
    # Cells that are objects, e.g. arrays, can change in place.
    return COPIES_ON_WRITE and all(
        kind.kind != "O" or isinstance(kind, pd.StringDtype | pd.CategoricalDtype)
        for kind in set(frame.dtypes)
    )


def _n_bytes(frame: pd.DataFrame) -> int:
    """Return roughly how many bytes a table keeps, without looking at each column.

    Columns may be views of the larger table that they were selected from.
    """
    n_numbers = sum(isinstance(kind, np.dtype) for kind in frame.dtypes)
    texts = len(frame) * BYTES_OF_TEXT * (frame.shape[1] - n_numbers)
    first = frame.dtypes.drop_duplicates()
    roots = {}
    for label, kind in first.items():
        if isinstance(kind, np.dtype):
            array = frame[label].to_numpy()
            while isinstance(array.base, np.ndarray):
                array = array.base
            roots[id(array)] = array.nbytes
    return texts + max(8 * len(frame) * n_numbers, sum(roots.values()))


# What has postponed its keys, the oldest first, and the bytes of its table, by its id.
_waiting: dict[int, tuple[weakref.ref[TrainingRows], int]] = {}


def _limit_postponed(rows: TrainingRows, n_bytes: int) -> None:
    """Compute the oldest keys of the process while their tables are too large."""
    key = id(rows)
    _waiting[key] = weakref.ref(rows, lambda _: _waiting.pop(key, None)), n_bytes
    waiting = list(_waiting.values())
    total = sum(size for _, size in waiting)
    for reference, size in waiting:
        if total <= MOST_POSTPONED_BYTES:
            break
        known = reference()
        if known is not None:
            known.digest()
        total -= size


def _as_columns(keys: list[np.ndarray], n_rows: int) -> np.ndarray:
    return np.column_stack(keys) if keys else np.zeros((n_rows, 0), np.uint64)


def _salt_of(chunks: Iterable[Chunk]) -> bytes:
    """Return a salt that depends on the first rows of chunks."""
    digest = hashlib.blake2b(digest_size=16)
    for present, rows in chunks:
        first = rows[:ROWS_OF_SALT]
        digest.update(np.array([*map(len, first)], "<u8").tobytes())
        digest.update(present[:ROWS_OF_SALT].tobytes() + b"".join(first))
    return digest.digest()


def _chunks(cells: pd.DataFrame) -> Iterator[Chunk]:
    """Yield the rows of the columns of a modality, at least one chunk."""
    n_rows = max(1, CHUNK_CELLS // max(1, cells.shape[1]))
    if len(cells) <= n_rows:  # pandas takes long to select few rows
        yield _bytes_of_rows(cells)
        return
    for start in range(0, len(cells), n_rows):
        yield _bytes_of_rows(cells.iloc[start : start + n_rows])


def _keys_of(chunks: Iterable[Chunk], salt: bytes) -> np.ndarray:
    """Return one key for each row, which does not depend on the other rows."""
    # A copy of a salted state is made faster than a new one.
    salted = hashlib.blake2b(digest_size=N_BYTES, salt=salt).copy
    keys = []
    for present, rows in chunks:
        digests = []
        for row in rows:
            digest = salted()
            digest.update(row)
            digests.append(digest.digest())
        own = np.zeros(len(present), np.uint64)
        own[present] = np.maximum(np.frombuffer(b"".join(digests), "<u8"), 1)
        keys.append(own)
    return np.concatenate(keys)


def _bytes_of_rows(cells: pd.DataFrame) -> Chunk:
    """Return which rows have any cell, and the cells of these rows as bytes."""
    texts: list[list[bytes]] = []
    if all(isinstance(t, np.dtype) and t.kind in "biuf" for t in cells.dtypes):
        table = cells.to_numpy(np.float64)
    else:
        texts = [[] for _ in range(len(cells))]
        table = np.full(cells.shape, np.nan)
        for position in range(cells.shape[1]):
            table[:, position] = _numbers(cells.iloc[:, position], position, texts)
    rounded = _rounded(table)
    present = ~np.isnan(rounded).all(axis=1)
    if texts:
        present |= [bool(found) for found in texts]
    rows = np.flatnonzero(present).tolist()
    numbers = _bytes_of_numbers(table, rounded, rows)
    if not texts:
        return present, list(numbers)
    return present, [
        b"".join([own, *texts[row]]) for row, own in zip(rows, numbers, strict=True)
    ]


def _rounded(table: np.ndarray) -> np.ndarray:
    """Return numbers with 32 bits, row by row in memory, in one representation."""
    with np.errstate(over="ignore"):
        rounded = table.astype("<f4", order="C")
    rounded += np.float32(0.0)  # -0.0 is 0.0
    missing = np.isnan(rounded)
    if missing.any():
        rounded[missing] = np.nan
    return rounded


def _bytes_of_numbers(
    table: np.ndarray, rounded: np.ndarray, rows: list[int]
) -> Iterator[Any]:
    """Yield the numbers of rows, with 64 bits if they include large whole numbers.

    Large whole numbers are ids and dates, which 32 bits do not tell apart.
    """
    large = np.abs(rounded) >= LARGEST_EXACT
    exact = large.any(axis=1) if large.any() else np.zeros(len(table), dtype=bool)
    numbers = memoryview(rounded.tobytes())  # of which slices are made fast
    width = len(numbers) // max(1, len(table))
    for row in rows:
        if exact[row]:
            yield _exact_row(table[row], rounded[row])
        else:
            yield numbers[row * width : (row + 1) * width]


def _exact_row(numbers: np.ndarray, rounded: np.ndarray) -> bytes:
    is_whole = (np.abs(numbers) > LARGEST_EXACT) & (numbers == np.round(numbers))
    return np.where(is_whole, numbers, rounded.astype("<f8")).tobytes()


def _numbers(
    column: pd.Series, position: int, texts: list[list[bytes]]
) -> np.ndarray | list[float]:
    """Return the cells that are numbers, and NaN for others, added to `texts`."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "mM":
        unit = f"{'timedelta' if kind == 'm' else 'datetime'}64[ns]"
        ticks = column.to_numpy(unit).astype(np.int64).astype(np.float64)
        ticks[column.isna()] = np.nan
        return ticks
    if kind in "biuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    numbers = []
    # Iteration over a column of text converts each cell by itself.
    is_text = isinstance(column.dtype, pd.StringDtype)
    for row, cell in enumerate(column.tolist() if is_text else column):
        number, found = _number_or_bytes(cell)
        numbers.append(number)
        if found:
            texts[row].append(position.to_bytes(4, "little") + found)
    return numbers


def _number_or_bytes(cell: Any) -> tuple[float, bytes]:
    """Return the number that a cell is, or NaN and its bytes, none if it is null."""
    if type(cell) is str:  # most cells are texts
        return np.nan, _bytes_of(cell)
    if isinstance(cell, _NUMBERS):
        return float(cell), b""
    if isinstance(cell, (datetime.date, np.datetime64)):
        return float(pd.Timestamp(cell).value) if not pd.isna(cell) else np.nan, b""
    if cell is None or (pd.api.types.is_scalar(cell) and pd.isna(cell)):
        return np.nan, b""
    return np.nan, _bytes_of(cell)


_NUMBERS = (bool, int, float, np.bool_, np.number)


def _bytes_of(cell: Any) -> bytes:
    """Return the value of a cell as bytes, equal for equal values of any type."""
    if isinstance(cell, str):
        found = b"s" + cell.encode("utf-8", "surrogatepass")
    elif isinstance(cell, bytes):
        found = b"s" + cell
    elif isinstance(cell, os.PathLike):
        return _bytes_of(os.fspath(cell))
    elif isinstance(cell, _NUMBERS):
        found = b"n" + np.float32(cell).tobytes()
    elif isinstance(cell, dict):
        found = b"d" + b"".join(_bytes_of(part) for part in cell.items())
    elif isinstance(cell, (list, tuple)) and _is_vector(cell):
        found = _bytes_of_array(np.array(cell, dtype=np.float64))
    elif isinstance(cell, (list, tuple)):
        found = b"l" + b"".join(map(_bytes_of, cell))
    elif np.ndim(cell) > 0:  # an array, an image, a series
        found = _bytes_of_array(np.asarray(cell))
    else:  # its text could contain its address in memory
        found = b"o" + type(cell).__qualname__.encode()
    return len(found).to_bytes(8, "little") + found


def _is_vector(cell: list[Any] | tuple[Any, ...]) -> bool:
    return len(cell) > 0 and all(isinstance(part, _NUMBERS) for part in cell)


def _bytes_of_array(array: np.ndarray) -> bytes:
    shape = repr(array.shape).encode()
    flat = array.reshape(-1)
    flat = flat[:: max(1, len(flat) // MOST_ELEMENTS)]
    if array.dtype.kind in "biuf":
        return b"a" + shape + (flat.astype(np.float32) + np.float32(0)).tobytes()
    return b"a" + shape + b"".join(map(_bytes_of, flat.tolist()))


def _joined(keys: np.ndarray) -> np.ndarray:
    """Return one number for each row of keys, equal for equal rows."""
    joined = np.zeros(len(keys), np.uint64)
    for column in keys.T:  # a multiplicative hash, modulo 2**64
        joined = (joined ^ column) * np.uint64(0x9E3779B97F4A7C15)
        joined ^= joined >> np.uint64(29)
    return joined
