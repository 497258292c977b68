"""Backends of `EventWindows`: features from events or from prepared features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any, Protocol

import numpy as np

from skfusion.ehr.events.store import EventStore, as_store
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import Sight, Windows, row_chunks
from skfusion.ehr.point_in_time.vocabulary import count_subjects
from skfusion.ehr.windows.compute import computed_features
from skfusion.ehr.windows.output import Block, Totals
from skfusion.ehr.windows.plan import FeaturePlan
from skfusion.ehr.windows.prepared import PreparedFiles, PreparedPairs, PreparedWindows
from skfusion.exceptions import FallbackWarning, warn_user

__all__ = [
    "Source",
    "check_prepared",
    "check_unclipped",
    "chosen_features",
    "count_prepared",
    "open_source",
]


def count_prepared(
    files: PreparedFiles, cases: Cases, sight: Sight, **how: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Count the subjects in which each code is visible, as in `count_subjects`.

    Parameters
    ----------
    files : PreparedFiles
        The prepared features.
    cases : Cases
        The training rows.
    sight : Sight
        The visibility rules.
    **how
        Options ``engine`` and ``n_jobs`` for rows that were not prepared.

    Returns
    -------
    ndarray of int of shape (n_codes,)
        Number of subjects.
    ndarray of bool of shape (n_rows,)
        Rows without a visible event.
    """
    new = (files.places(cases) < 0) & (cases.subject >= 0)
    if new.any():
        warn_user(
            f"EventWindows: got {new.sum()} of {len(new)} training rows that were not "
            "prepared (another row or another gap). Their features are computed again "
            "in every fit. Prepare these rows too.",
            FallbackWarning,
        )
    choice = _Choice(files, sight)
    n_codes = len(sight.codes)
    order = np.argsort(cases.subject, kind="stable")
    found = np.zeros(n_codes, dtype=np.int64)
    no_events = np.ones(len(order), dtype=bool)
    subject, end = cases.subject[order], cases.end[order]
    for rows in row_chunks(files.store.files, subject):
        part = Cases(subject[rows], end[rows])
        pairs = files.pairs(part, **how)
        seen = _over_windows(np.logical_or, choice.seen(pairs))
        row, code = pairs.row[seen], choice.codes[pairs.place[seen]]
        if (np.diff(part.subject) == 0).any():  # subjects are sorted
            code = np.unique(part.subject[row] * n_codes + code) % n_codes
        found += np.bincount(code, minlength=n_codes)
        no_events[order[rows][row]] = False
    return found, no_events


def chosen_features(
    files: PreparedFiles,
    cases: Cases,
    sight: Sight,
    group: np.ndarray,
    plan: FeaturePlan,
    **how: Any,
) -> Iterator[Block]:
    """Yield selected prepared features in blocks of rows, as in `computed_features`.

    Parameters
    ----------
    files : PreparedFiles
        The prepared features.
    cases : Cases
        The rows.
    sight : Sight
        The visibility rules.
    group : ndarray of int of shape (n_codes,)
        Position in `plan` of each code of the store, or -1.
    plan : FeaturePlan
        The features.
    **how
        Options ``engine`` and ``n_jobs`` for rows that were not prepared.

    Yields
    ------
    Block
        Blocks in the order of the rows.

    Raises
    ------
    ValueError
        If a window or statistic was not prepared.
    """
    choice = _Choice(files, sight)
    for rows in row_chunks(files.store.files, cases.subject):
        part = Cases(cases.subject[rows], cases.end[rows])
        pairs = files.pairs(part, **how)
        place = group[choice.codes][pairs.place]
        kept = np.flatnonzero(place >= 0)
        value = choice.values(pairs, plan.statistics)
        if len(kept) < len(place):
            value = np.take(value, kept, axis=0)
        totals = choice.totals(pairs, plan.totals) if plan.totals else None
        yield Block(rows, pairs.row[kept], place[kept], value, totals)


def check_prepared(files: PreparedFiles, sight: Sight) -> None:
    """Raise a ValueError if visible events differ from those that were prepared.

    Parameters
    ----------
    files : PreparedFiles
        The prepared features.
    sight : Sight
        The visibility rules of the current parameters.
    """
    what = files.what
    n_left_out = (sight.codes & ~what.codes).sum()
    if what.closed != sight.closed:
        reason = f"got closed={sight.closed!r}, but {what.closed!r} was prepared"
    elif n_left_out:
        reason = f"got include and exclude with {n_left_out} codes not prepared"
    else:
        return
    raise ValueError(
        f"EventWindows: {reason}. Prepare with these parameters, or pass the events "
        "themselves (events=prepared.store)."
    )


def _window_places(prepared: Windows, wanted: Windows) -> np.ndarray:
    """Return the position of each window among the prepared windows."""
    there, asked = _extents(prepared), _extents(wanted)
    missing = [
        label
        for label, extent in zip(wanted.labels, asked, strict=True)
        if extent not in there
    ]
    if missing:
        kind = "nested" if prepared.nested else "disjoint"
        raise ValueError(
            f"EventWindows: got windows {missing} that were not prepared. Prepared are "
            f"the {kind} windows {list(prepared.labels)}. Prepare all windows of the "
            "search."
        )
    return np.array([there.index(extent) for extent in asked])


def _extents(windows: Windows) -> list[tuple[int | None, int]]:
    """Return the start and end of each window, which identify it."""
    ends = windows.lengths.tolist()
    begins = [None] * len(ends) if windows.nested else [0, *ends[:-1]]
    return list(zip(begins, ends, strict=True))


class _Choice:
    """Selection of prepared features for one setting.

    Attributes
    ----------
    codes : ndarray of int
        Position in the store of each prepared code.
    windows : ndarray of int
        Position among the prepared windows of each window of the setting.
    """

    def __init__(self, files: PreparedFiles, sight: Sight) -> None:
        self.codes = np.flatnonzero(files.what.codes)
        self.windows = _window_places(files.what.windows, sight.windows)
        self._statistics = files.plan.statistics
        self._allowed = sight.codes[self.codes]

    def kinds(self, names: Sequence[str]) -> np.ndarray:
        """Return the position of each statistic among the prepared statistics.

        Raises
        ------
        ValueError
            If a statistic was not prepared.
        """
        there = self._statistics
        missing = [name for name in names if name not in there]
        if missing:
            raise ValueError(
                f"EventWindows: got statistics {missing} that were not prepared. "
                f"Prepared are {list(there)}. Prepare all statistics of the search."
            )
        return np.array([there.index(name) for name in names], dtype=int)

    def seen(self, pairs: PreparedPairs) -> np.ndarray:
        """Return a mask of visible events, of shape (n_pairs, n_windows)."""
        count = self.values(pairs, ["count"])[:, :, 0]
        return (count > 0) & self._allowed[pairs.place][:, None]

    def values(self, pairs: PreparedPairs, names: Sequence[str]) -> np.ndarray:
        """Return statistics in the windows, of shape (n_pairs, n_windows, n_names)."""
        kinds = self.kinds(names)
        columns = (self.windows[:, None] * len(self._statistics) + kinds).ravel()
        # Flat and by `take`, which is several times faster than lists of positions.
        flat = pairs.value.reshape(len(pairs.row), math.prod(pairs.value.shape[1:]))
        found = np.take(flat, columns, axis=1)
        return found.reshape(len(flat), len(self.windows), len(kinds))

    def totals(self, pairs: PreparedPairs, names: tuple[str, ...]) -> Totals:
        """Return statistics over all visible codes of each row."""
        seen = self.seen(pairs)
        kept = np.flatnonzero(_over_windows(np.logical_or, seen))
        row, seen = pairs.row[kept], seen[kept]
        start = np.flatnonzero(np.diff(row, prepend=-1))
        found = self.values(pairs, ["count", "since_first"])[kept].astype(np.float64)
        count, oldest = found[:, :, 0], found[:, :, 1]
        count = np.where(seen, count, 0)
        oldest = _over_windows(np.fmax, oldest)
        return Totals.of(
            names,
            row[start],
            np.add.reduceat(count, start),
            np.add.reduceat(seen.astype(float), start),
            np.fmax.reduceat(oldest, start)[:, None],
        )


def _over_windows(function: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Return ``function.reduce(values, axis=1)``, which is slow for few columns."""
    return reduce(function, values.T)


class Source(Protocol):
    """Interface of the backends that provide features."""

    store: EventStore

    def count(self, cases: Cases, sight: Sight) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of subjects of each code, and the rows without events."""

    def features(
        self,
        cases: Cases,
        sight: Sight,
        group: np.ndarray,
        plan: FeaturePlan,
        matrix: np.ndarray | None,
    ) -> Iterator[Block]:
        """Yield features in blocks of rows, as in `computed_features`."""


class _Events:
    """Backend that computes features from events."""

    def __init__(self, store: EventStore, how: dict[str, Any]) -> None:
        self.store = store
        self._how = how

    def count(self, cases: Cases, sight: Sight) -> tuple[np.ndarray, np.ndarray]:
        return count_subjects(self.store.files, cases, sight)

    def features(
        self,
        cases: Cases,
        sight: Sight,
        group: np.ndarray,
        plan: FeaturePlan,
        matrix: np.ndarray | None,
    ) -> Iterator[Block]:
        files = self.store.files
        how = {**self._how, "matrix": matrix}
        return computed_features(files, cases, sight, group, plan, **how)


class _Prepared:
    """Backend that selects among prepared features."""

    def __init__(self, prepared: PreparedWindows, how: dict[str, Any]) -> None:
        self.store = prepared.store
        self._files = prepared.files
        self._how = how

    def count(self, cases: Cases, sight: Sight) -> tuple[np.ndarray, np.ndarray]:
        check_prepared(self._files, sight)
        return count_prepared(self._files, cases, sight, **self._how)

    def features(
        self,
        cases: Cases,
        sight: Sight,
        group: np.ndarray,
        plan: FeaturePlan,
        matrix: np.ndarray | None,
    ) -> Iterator[Block]:
        check_prepared(self._files, sight)
        return chosen_features(self._files, cases, sight, group, plan, **self._how)


def open_source(events: Any, *, clip: Any, engine: str, n_jobs: int | None) -> Source:
    """Return the backend for a store of events or for prepared features.

    Parameters
    ----------
    events : EventStore, PreparedWindows or path
        The events, the path of their store, or prepared features.
    clip : (float, float) or None
        Quantiles to which values are clipped.
    engine : {"auto", "numpy", "numba"}
        Implementation of the statistics.
    n_jobs : int or None
        Number of threads.

    Returns
    -------
    Source

    Raises
    ------
    TypeError
        If `events` is of another type.
    ValueError
        If `clip` is given with prepared features.
    """
    how = {"engine": engine, "n_jobs": n_jobs}
    if isinstance(events, PreparedWindows):
        check_unclipped(clip)
        return _Prepared(events, how)
    return _Events(as_store(events, "EventWindows"), how)


def check_unclipped(clip: Any) -> None:
    """Raise a ValueError if values of prepared features are to be clipped."""
    if clip is not None:
        raise ValueError(
            f"EventWindows: clip must be None for prepared windows, got {clip!r}. "
            "Clipping changes the values before they are summed, but prepared "
            "features are already summed. Pass clip=None, or the events themselves "
            "(events=prepared.store)."
        )
