"""Computation of window features from events, in chunks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import (
    Sight,
    WindowEvents,
    Windows,
    events_of,
    row_chunks,
    visible_events,
)
from skfusion.ehr.windows.engines import compiled_pairs, uses_numba, write_compiled
from skfusion.ehr.windows.kernel import (
    BandSums,
    join_bands,
    sum_bands,
    window_statistics,
)
from skfusion.ehr.windows.output import Block, Totals
from skfusion.ehr.windows.plan import FeaturePlan
from skfusion.ehr.windows.shared import Pairs, shared_pairs

__all__ = ["computed_features"]


def computed_features(
    files: EventFiles,
    cases: Cases,
    sight: Sight,
    group: np.ndarray,
    plan: FeaturePlan,
    *,
    engine: str,
    n_jobs: int | None,
    matrix: np.ndarray | None = None,
) -> Iterator[Block]:
    """Yield the features of all rows, in blocks of rows.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows.
    sight : Sight
        The visibility rules.
    group : ndarray of int of shape (n_codes,)
        Position in `plan` of each code of the store, or -1.
    plan : FeaturePlan
        The features.
    engine : {"auto", "numpy", "numba"}
        Implementation of the statistics.
    n_jobs : int or None
        Number of threads.
    matrix : ndarray of float32 of shape (n_rows, n_columns) or None, default=None
        Matrix to which numba writes known values directly. Only blocks of rows whose
        events are shared are yielded then.

    Yields
    ------
    Block
        Blocks in the order of the rows.
    """
    compiled = uses_numba(engine, events_of(files, cases.subject).sum())
    into = matrix if compiled else None
    work = partial(row_features, files, sight, group, plan, compiled, into)
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
    matrix: np.ndarray | None,
    rows: slice,
    cases: Cases,
) -> Iterator[Block]:
    """Yield the features of one chunk of rows.

    Parameters
    ----------
    files : EventFiles
        The events.
    sight : Sight
        The visibility rules.
    group : ndarray of int of shape (n_codes,)
        Position in `plan` of each code of the store, or -1.
    plan : FeaturePlan
        The features.
    compiled : bool
        Whether to compute with numba. The results are identical.
    matrix : ndarray of float32 of shape (n_all_rows, n_columns) or None
        Matrix to which numba writes directly. Only blocks of rows whose events are
        shared are yielded then.
    rows : slice
        Position of the rows in the result.
    cases : Cases
        The rows.

    Yields
    ------
    Block
    """
    shared = shared_pairs(files, cases, sight, plan)
    if shared is not None:
        for pairs in shared:
            yield _block(rows, pairs, group, plan)
        return
    for events in visible_events(files, cases, sight):
        if matrix is not None:
            write_compiled(events, sight.windows, group, plan, matrix[rows])
        elif compiled:
            yield compiled_pairs(rows, events, sight.windows, group, plan)
        else:
            yield _pairs(rows, events, sight.windows, group, plan)


def _pairs(
    rows: slice,
    events: WindowEvents,
    windows: Windows,
    group: np.ndarray,
    plan: FeaturePlan,
) -> Block:
    row, code, sums = sum_bands(events, len(group), len(windows.labels))
    if windows.nested:
        sums = join_bands(sums)
    chosen = group[code]
    kept = chosen >= 0
    parts = sums if kept.all() else BandSums(*(table[:, kept] for table in sums))
    values = window_statistics(parts, plan.statistics, windows.widths)
    totals = _totals(row, sums, plan) if plan.totals else None
    return Block(rows, row[kept], chosen[kept], values, totals)


def _block(rows: slice, pairs: Pairs, group: np.ndarray, plan: FeaturePlan) -> Block:
    chosen = group[pairs.code]
    kept = chosen >= 0
    totals = _totals(pairs.row, pairs.sums, plan) if plan.totals else None
    if kept.all():
        return Block(rows, pairs.row, chosen, pairs.value, totals)
    return Block(rows, pairs.row[kept], chosen[kept], pairs.value[kept], totals)


def _totals(row: np.ndarray, sums: BandSums, plan: FeaturePlan) -> Totals:
    """Return statistics over all codes of each row."""
    start = np.flatnonzero(np.diff(row, prepend=-1))
    count = np.add.reduceat(sums.n, start, axis=1)
    n_codes = np.add.reduceat((sums.n > 0).astype(float), start, axis=1)
    history = np.fmax.reduceat(np.fmax.reduce(sums.oldest), start)
    return Totals.of(plan.totals, row[start], count.T, n_codes.T, history[:, None])
