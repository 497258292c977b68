"""Some rows and the events in, their features out.

Read next: `skfusion.ehr.window_kernel`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from skfusion.ehr.event_files import EventFiles
from skfusion.ehr.window_fast import compiled_cells, uses_numba
from skfusion.ehr.window_kernel import (
    BandSums,
    WindowEvents,
    join_bands,
    sum_bands,
    window_statistics,
)
from skfusion.ehr.window_output import Block
from skfusion.ehr.window_plan import FeaturePlan, Windows
from skfusion.ehr.window_rows import Cases, Sight, events_of, row_chunks, visible_events

__all__ = ["computed_features", "with_totals"]


def computed_features(
    files: EventFiles,
    cases: Cases,
    sight: Sight,
    group: np.ndarray,
    plan: FeaturePlan,
    *,
    engine: str,
    n_jobs: int | None,
) -> Iterator[Block]:
    """Compute features, some rows at a time.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows.
    sight : Sight
        What they may see.
    group : ndarray of int of shape (n_codes,)
        Place in `plan` of each code of the store, -1 for none.
    plan : FeaturePlan
        The features.
    engine : {"auto", "numpy", "numba"}
        What computes.
    n_jobs : int or None
        Threads.

    Yields
    ------
    Block
        In the order of the rows.
    """
    compiled = uses_numba(engine, events_of(files, cases.subject).sum())
    work = partial(row_features, files, sight, group, plan, compiled)
    chunks = row_chunks(files, cases.subject)
    tasks = ((rows, Cases(cases.subject[rows], cases.end[rows])) for rows in chunks)
    if n_jobs in (None, 1):
        for task in tasks:
            yield from work(*task)
        return
    threads = Parallel(n_jobs, prefer="threads", return_as="generator")
    for blocks in threads(delayed(_listed)(work, *task) for task in tasks):
        yield from blocks


def _listed(work: Any, *task: Any) -> list[Block]:
    return list(work(*task))


def row_features(
    files: EventFiles,
    sight: Sight,
    group: np.ndarray,
    plan: FeaturePlan,
    compiled: bool,
    rows: slice,
    cases: Cases,
) -> Iterator[Block]:
    """Compute the features of some rows.

    Parameters
    ----------
    files : EventFiles
        The events.
    sight : Sight
        What may be seen.
    group : ndarray of int of shape (n_codes,)
        Place in `plan` of each code of the store, -1 for none.
    plan : FeaturePlan
        The features.
    compiled : bool
        Whether by numba; the numbers are the same.
    rows : slice
        Where in the result the rows are.
    cases : Cases
        The rows.

    Yields
    ------
    Block
    """
    for events in visible_events(files, cases, sight):
        if compiled:
            cells = compiled_cells(events, sight.windows, group, plan)
        else:
            cells = _cells(events, sight.windows, group, plan)
        yield Block(rows, *cells)


def _cells(
    events: WindowEvents, windows: Windows, group: np.ndarray, plan: FeaturePlan
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    row, code, sums = sum_bands(events, len(group), len(windows.labels))
    if windows.nested:
        sums = join_bands(sums)
    chosen = group[code]
    kept = chosen >= 0
    parts = sums if kept.all() else BandSums(*(table[:, kept] for table in sums))
    values = window_statistics(parts, plan.statistics, windows.widths)
    columns = plan.place[chosen[kept]]
    known = ~np.isnan(values) & (columns >= 0)
    per_pair = known.reshape(len(known), -1).sum(axis=1)
    cells = np.repeat(row[kept], per_pair), columns[known], values[known]
    if not plan.totals:
        return cells
    return with_totals(cells, *_totals(row, sums, plan), plan.n_of_codes)


def _totals(
    row: np.ndarray, sums: BandSums, plan: FeaturePlan
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows that have events, statistics over all codes, and which are known."""
    start = np.flatnonzero(np.diff(row, prepend=-1))
    tables = []
    if "count" in plan.totals:
        tables.append(np.add.reduceat(sums.n, start, axis=1))
    if "n_codes" in plan.totals:
        tables.append(np.add.reduceat((sums.n > 0).astype(float), start, axis=1))
    known = [table > 0 for table in tables]
    if "history" in plan.totals:
        tables.append(np.fmax.reduceat(np.fmax.reduce(sums.oldest), start)[None])
        known.append(np.ones((1, len(start)), dtype=bool))
    return row[start], np.concatenate(tables).T, np.concatenate(known).T


def with_totals(
    cells: tuple[np.ndarray, np.ndarray, np.ndarray],
    rows: np.ndarray,
    values: np.ndarray,
    known: np.ndarray,
    first_column: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put totals behind the other features of their rows.

    Parameters
    ----------
    cells : tuple of ndarray of shape (n_cells,)
        Row, column and value of what is known, ordered by row.
    rows : ndarray of int of shape (n_rows,)
        Rows that have totals.
    values : ndarray of shape (n_rows, n_totals)
        The totals.
    known : ndarray of bool of shape (n_rows, n_totals)
        Which are known.
    first_column : int
        The column of the first one.

    Returns
    -------
    row, column, value : ndarray
        Cells and totals, ordered by row.
    """
    place, column = np.nonzero(known)
    row = np.concatenate([cells[0], rows[place]])
    column = np.concatenate([cells[1], column + first_column])
    value = np.concatenate([cells[2], values[known].astype(np.float32)])
    order = np.argsort(row, kind="stable")
    return row[order], column[order], value[order]
