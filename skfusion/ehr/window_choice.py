"""A setting of EventWindows in, its features out of those that were prepared.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse

from skfusion.ehr.window_output import Block, Totals, with_totals
from skfusion.ehr.window_plan import FeaturePlan, Windows
from skfusion.ehr.window_prepared import PreparedFiles
from skfusion.ehr.window_rows import Cases, Sight, row_chunks

__all__ = ["check_prepared", "chosen_features", "count_prepared"]


def count_prepared(
    files: PreparedFiles, cases: Cases, sight: Sight, **how: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Count of how many subjects each code is seen; see `count_subjects`.

    Parameters
    ----------
    files : PreparedFiles
        What was prepared.
    cases : Cases
        The training rows.
    sight : Sight
        What they may see.
    **how
        ``engine`` and ``n_jobs``, for rows that were not prepared.

    Returns
    -------
    ndarray of int of shape (n_codes,)
        Number of subjects.
    ndarray of bool of shape (n_rows,)
        Which rows see nothing.
    """
    new = (files.places(cases) < 0) & (cases.subject >= 0)
    if new.any():
        warnings.warn(
            f"EventWindows: {new.sum()} of {len(new)} rows to fit are not among those "
            "that were prepared (another row, another gap); they are computed anew "
            "each time. Prepare these too.",
            stacklevel=4,
        )
    windows = _window_places(files.what.windows, sight.windows)
    counts = _columns(files, "count", windows, sight.codes)
    per_code = files.plan.place[:1].size
    code_of = np.repeat(np.flatnonzero(files.what.codes), per_code)
    n_codes = len(sight.codes)
    order = np.argsort(cases.subject, kind="stable")
    found = np.zeros(n_codes, dtype=np.int64)
    blind = np.ones(len(order), dtype=bool)
    subject, end = cases.subject[order], cases.end[order]
    for rows in row_chunks(files.store.files, subject):
        part = Cases(subject[rows], end[rows])
        table = files.features(part, **how)
        row, seen = _cells(table, counts >= 0)[:2]
        pairs = np.unique(part.subject[row] * n_codes + code_of[seen])
        found += np.bincount(pairs % n_codes, minlength=n_codes)
        blind[order[rows][row]] = False
    return found, blind


def chosen_features(
    files: PreparedFiles,
    cases: Cases,
    sight: Sight,
    group: np.ndarray,
    plan: FeaturePlan,
    **how: Any,
) -> Iterator[Block]:
    """Choose features, some rows at a time; see `computed_features`.

    Parameters
    ----------
    files : PreparedFiles
        What was prepared.
    cases : Cases
        The rows.
    sight : Sight
        What they may see.
    group : ndarray of int of shape (n_codes,)
        Place in `plan` of each code of the store, -1 for none.
    plan : FeaturePlan
        The features.
    **how
        ``engine`` and ``n_jobs``, for rows that were not prepared.

    Yields
    ------
    Block
        In the order of the rows.

    Raises
    ------
    ValueError
        If something is asked that was not prepared.
    """
    windows = _window_places(files.what.windows, sight.windows)
    column = _plan_columns(files, windows, group, plan)
    totals = _Totals(files, windows, sight, plan) if plan.totals else None
    for rows in row_chunks(files.store.files, cases.subject):
        part = Cases(cases.subject[rows], cases.end[rows])
        table = files.features(part, **how)
        row, place, value = _cells(table, column >= 0)
        block = Block(rows, row, column[place], value)
        if totals is not None:
            block = with_totals(block, totals.of(table), plan.n_of_codes)
        yield block


def check_prepared(files: PreparedFiles, sight: Sight) -> None:
    """Raise ValueError if a setting sees other events than were prepared.

    Parameters
    ----------
    files : PreparedFiles
        What was prepared.
    sight : Sight
        What a setting may see.
    """
    what = files.what
    n_left_out = (sight.codes & ~what.codes).sum()
    if what.closed != sight.closed:
        reason = f"closed={sight.closed!r}, prepared was {what.closed!r}"
    elif n_left_out:
        reason = f"include and exclude allow {n_left_out} codes that were left out"
    else:
        return
    raise ValueError(
        f"EventWindows: {reason}. Prepare with this setting, or pass the events "
        "themselves (events=prepared.store)."
    )


def _window_places(prepared: Windows, wanted: Windows) -> np.ndarray:
    """Return which of the prepared windows each one is."""
    there, asked = _extents(prepared), _extents(wanted)
    missing = [
        label
        for label, extent in zip(wanted.labels, asked, strict=True)
        if extent not in there
    ]
    if missing:
        kind = "nested" if prepared.nested else "disjoint"
        raise ValueError(
            f"EventWindows: the windows {missing} were not prepared; prepared are the "
            f"{kind} ones {list(prepared.labels)}. Prepare all that a search tries."
        )
    return np.array([there.index(extent) for extent in asked])


def _extents(windows: Windows) -> list[tuple[int | None, int]]:
    """Return where windows begin and end, which tells them apart."""
    ends = windows.lengths.tolist()
    begins = [None] * len(ends) if windows.nested else [0, *ends[:-1]]
    return list(zip(begins, ends, strict=True))


def _columns(
    files: PreparedFiles, name: str, windows: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    """Return, for each prepared column, of which of the windows it is a statistic."""
    result = np.full(len(files.plan.names), -1, dtype=np.int32)
    group = files.what.group[codes]
    k = files.plan.statistics.index(name)
    for place, w in enumerate(windows):
        result[files.plan.place[group, w, k]] = place
    return result


def _plan_columns(
    files: PreparedFiles, windows: np.ndarray, group: np.ndarray, plan: FeaturePlan
) -> np.ndarray:
    """Return the column in the plan of each prepared one, -1 for none."""
    there = files.plan.statistics
    missing = [name for name in plan.statistics if name not in there]
    if missing:
        raise ValueError(
            f"EventWindows: the statistics {missing} were not prepared; prepared are "
            f"{list(there)}. Prepare all that a search tries."
        )
    result = np.full(len(files.plan.names), -1, dtype=np.int32)
    chosen = group >= 0
    codes = files.what.group[chosen]
    kinds = np.array([there.index(name) for name in plan.statistics], dtype=int)
    result[files.plan.place[np.ix_(codes, windows, kinds)]] = plan.place[group[chosen]]
    return result


def _cells(
    table: scipy.sparse.csr_array, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, prepared column and value of what is stored in some columns."""
    kept = wanted[table.indices]
    row = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    return row[kept], table.indices[kept], table.data[kept]


class _Totals:
    """Statistics over all codes, made of those of each."""

    def __init__(
        self, files: PreparedFiles, windows: np.ndarray, sight: Sight, plan: FeaturePlan
    ) -> None:
        self._names = plan.totals
        self._n_windows = len(windows)
        self._counts = _columns(files, "count", windows, sight.codes)
        self._oldest = _columns(files, "since_first", windows, sight.codes)

    def of(self, table: scipy.sparse.csr_array) -> Totals:
        """Return the totals of the rows that have events."""
        row, place, value = _cells(table, self._counts >= 0)
        shape = table.shape[0], self._n_windows
        where = row * self._n_windows + self._counts[place]
        size = int(np.prod(shape))
        n = np.bincount(where, weights=value, minlength=size).reshape(shape)
        different = np.bincount(where, minlength=size).reshape(shape)
        oldest = np.full(shape[0], -np.inf)
        since, column, days = _cells(table, self._oldest >= 0)
        np.maximum.at(oldest, since, days)
        parts = {"count": n, "n_codes": different, "history": oldest[:, None]}
        values = np.hstack([parts[name] for name in self._names])
        rows = np.flatnonzero(np.isfinite(oldest))
        known = np.hstack([parts[name] > 0 for name in self._names])
        known[:, values.shape[1] - 1] |= "history" in self._names
        return Totals(rows, values[rows], known[rows])
