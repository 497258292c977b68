"""Rows that mix the modalities of cases with those of background cases.

The rows of a chunk of cases are in memory once. From one coalition of modalities to the
next, only the modality that changes is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.inspection.models import FusionModel, JoinedRows, Parts, TableModel

__all__ = ["coalition_order", "mean_outputs", "most_rows", "take_part"]


# Boosted trees take half a millisecond per prediction, besides the time per row.
CHUNK_BYTES = 64 * 2**20
CHUNK_ROWS = 20_000


def mean_outputs(
    model: FusionModel | TableModel,
    parts: Parts,
    background: Parts,
    coalitions: np.ndarray,
    ask: Callable[[Any], np.ndarray],
) -> np.ndarray:
    """Average the output of a model over background values of withheld modalities.

    Parameters
    ----------
    model : FusionModel or TableModel
        The model.
    parts : dict of str to array of n rows
        The encoded modalities of the cases.
    background : dict of str to array of K rows
        The encoded modalities of the background cases.
    coalitions : ndarray of bool of shape (n_coalitions, M)
        The modalities that are taken from the case.
    ask : callable
        Maps encoded modalities, or `JoinedRows`, to outputs (n, C).

    Returns
    -------
    ndarray of float64 of shape (n_coalitions, n, C)
    """
    n_cases, n_background = (_n_rows(table) for table in (parts, background))
    own, other = model.join(parts), model.join(background)
    means: list[np.ndarray] = []
    widths = np.array([_width(parts[name]) for name in model.modalities])
    order = coalition_order(coalitions, widths)
    sources = parts.values() if own is None else [own.matrix]
    step = max(1, most_rows(sources) // n_background)
    for start in range(0, n_cases, step):
        rows = slice(start, min(start + step, n_cases))
        if own is None or other is None:
            mixture: Any = _mixed_parts(model, parts, background, rows)
        else:
            mixture = _mixed_matrix(model, own, other, rows)
        count = rows.stop - rows.start
        found = [None] * len(coalitions)
        for number in order:
            mixture.show(coalitions[number])
            outputs = ask(mixture.rows).reshape(count, n_background, -1)
            found[number] = outputs.mean(axis=1)
        means.append(np.array(found))
        del mixture  # before the next chunk is allocated
    return np.concatenate(means, axis=1)


def coalition_order(coalitions: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Order coalitions so that few columns change from one to the next.

    Parameters
    ----------
    coalitions : ndarray of bool of shape (n_coalitions, M)
        Distinct coalitions.
    widths : ndarray of int of shape (M,)
        Number of columns of each modality. Narrow ones change most often.

    Returns
    -------
    ndarray of int of shape (n_coalitions,)
        The order of a reflected Gray code. If all coalitions are given, exactly one
        modality changes at each step.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.modalities.withheld.mixing import coalition_order
    >>> sets = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=bool)
    >>> sets[coalition_order(sets, np.array([512, 40]))].astype(int).tolist()
    [[0, 0], [0, 1], [1, 1], [1, 0]]
    """
    widest_first = np.argsort(-widths, kind="stable")
    gray = coalitions[:, widest_first]
    # The rank of a word of a Gray code has the running parity of its bits as its bits.
    ranks = np.cumsum(gray, axis=1) % 2
    return np.lexsort(ranks.T[::-1])


def most_rows(sources: Iterable[Any]) -> int:
    """Return the number of mixed rows per chunk.

    Parameters
    ----------
    sources : iterable of ndarray or DataFrame of two dimensions
        Values of the cases.

    Returns
    -------
    int
    """
    row = sum(
        part.shape[1] * (part.dtype.itemsize if isinstance(part, np.ndarray) else 8)
        for part in sources
    )
    return min(CHUNK_ROWS, CHUNK_BYTES // max(1, row))


def take_part(part: Any, rows: np.ndarray) -> Any:
    """Return rows of the array or the DataFrame of a modality.

    Parameters
    ----------
    part : ndarray or DataFrame of n rows
        The modality.
    rows : ndarray of int
        Row positions.

    Returns
    -------
    ndarray or DataFrame
        A DataFrame has a new index.
    """
    if isinstance(part, np.ndarray):
        return part[rows]
    taken = part.take(rows)
    taken.index = pd.RangeIndex(len(taken))
    return taken


@dataclass
class _Columns:
    """Columns of mixed rows (n, K, width) with their values in the two sources."""

    mixed: np.ndarray
    own: np.ndarray
    other: np.ndarray

    def write(self, is_inside: bool) -> None:
        self.mixed[...] = self.own[:, None] if is_inside else self.other[None]


@dataclass
class _Frame:
    """Columns of a DataFrame, which are taken anew in the mixed rows."""

    rows: Parts
    name: str
    own: pd.DataFrame
    other: pd.DataFrame

    def write(self, is_inside: bool) -> None:
        n, K = len(self.own), len(self.other)
        if is_inside:
            taken = take_part(self.own, np.repeat(np.arange(n), K))
        else:
            taken = take_part(self.other, np.tile(np.arange(K), n))
        self.rows[self.name] = taken


class _Mixture:
    """Mixed rows, and the writers of each modality."""

    def __init__(self, rows: Any, writers: list[list[Any]]) -> None:
        self.rows = rows
        self._writers = writers
        self._shown: np.ndarray | None = None

    def show(self, members: np.ndarray) -> None:
        """Write the modalities that differ from those of the last coalition."""
        for j, is_inside in enumerate(members):
            if self._shown is None or self._shown[j] != is_inside:
                for writer in self._writers[j]:
                    writer.write(bool(is_inside))
        self._shown = members


def _mixed_matrix(
    model: FusionModel | TableModel, own: JoinedRows, other: JoinedRows, rows: slice
) -> _Mixture:
    n, K = rows.stop - rows.start, len(other)
    kind = np.result_type(own.matrix, other.matrix)
    matrix = np.empty((n, K, own.matrix.shape[1]), dtype=kind)
    presence = np.ones((n, K, own.presence.shape[1]), dtype=bool)
    some_absent = not (own.presence[rows].all() and other.presence.all())
    writers: list[list[Any]] = []
    for j, name in enumerate(model.modalities):
        pairs = [(matrix, own.matrix, other.matrix, part) for part in own.columns[name]]
        if some_absent:
            flag = slice(j, j + 1)
            pairs.append((presence, own.presence, other.presence, flag))
        writers.append(
            [
                _Columns(mixed[:, :, part], mine[rows, part], theirs[:, part])
                for mixed, mine, theirs, part in pairs
            ]
        )
    flat = JoinedRows(
        matrix.reshape(n * K, -1), presence.reshape(n * K, -1), own.columns
    )
    return _Mixture(flat, writers)


def _mixed_parts(
    model: FusionModel | TableModel, parts: Parts, background: Parts, rows: slice
) -> _Mixture:
    mixed: Parts = {}
    writers: list[list[Any]] = []
    for name in model.modalities:
        own, other = parts[name], background[name]
        if isinstance(own, pd.DataFrame):
            mixed[name] = None  # keeps the order of the modalities
            writers.append([_Frame(mixed, name, own.iloc[rows], other)])
            continue
        n, K = rows.stop - rows.start, len(other)
        block = np.empty((n, K, own.shape[1]), dtype=np.result_type(own, other))
        mixed[name] = block.reshape(n * K, -1)
        writers.append([_Columns(block, own[rows], other)])
    return _Mixture(mixed, writers)


def _n_rows(parts: Parts) -> int:
    return len(next(iter(parts.values())))


def _width(part: Any) -> int:
    return int(part.shape[1])
