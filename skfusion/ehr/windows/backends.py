"""Events, or features prepared of them, in; counts and features of rows out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
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

__all__ = [
    "Source",
    "check_prepared",
    "chosen_features",
    "count_prepared",
    "open_source",
]


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
    choice = _Choice(files, sight)
    n_codes = len(sight.codes)
    order = np.argsort(cases.subject, kind="stable")
    found = np.zeros(n_codes, dtype=np.int64)
    blind = np.ones(len(order), dtype=bool)
    subject, end = cases.subject[order], cases.end[order]
    for rows in row_chunks(files.store.files, subject):
        part = Cases(subject[rows], end[rows])
        pairs = files.pairs(part, **how)
        seen = choice.seen(pairs).any(axis=1)
        row, code = pairs.row[seen], choice.codes[pairs.place[seen]]
        if len(np.unique(part.subject)) < len(part.subject):
            code = np.unique(part.subject[row] * n_codes + code) % n_codes
        found += np.bincount(code, minlength=n_codes)
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
    choice = _Choice(files, sight)
    kinds = choice.kinds(plan.statistics)
    for rows in row_chunks(files.store.files, cases.subject):
        part = Cases(cases.subject[rows], cases.end[rows])
        pairs = files.pairs(part, **how)
        place = group[choice.codes][pairs.place]
        kept = np.flatnonzero(place >= 0)
        value = pairs.value[kept][:, choice.windows][:, :, kinds]
        totals = choice.totals(pairs, plan.totals) if plan.totals else None
        yield Block(rows, pairs.row[kept], place[kept], value, totals)


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


class _Choice:
    """What a setting sees of what was prepared.

    Attributes
    ----------
    codes : ndarray of int
        Which code of the store each prepared one is.
    windows : ndarray of int
        Which of the prepared windows each one of the setting is.
    """

    def __init__(self, files: PreparedFiles, sight: Sight) -> None:
        self.codes = np.flatnonzero(files.what.codes)
        self.windows = _window_places(files.what.windows, sight.windows)
        self._statistics = files.plan.statistics
        self._allowed = sight.codes[self.codes]

    def kinds(self, names: Sequence[str]) -> np.ndarray:
        """Return which of the prepared statistics each one is.

        Raises
        ------
        ValueError
            If one was not prepared.
        """
        there = self._statistics
        missing = [name for name in names if name not in there]
        if missing:
            raise ValueError(
                f"EventWindows: the statistics {missing} were not prepared; prepared "
                f"are {list(there)}. Prepare all that a search tries."
            )
        return np.array([there.index(name) for name in names], dtype=int)

    def seen(self, pairs: PreparedPairs) -> np.ndarray:
        """Tell in which windows (n_pairs, n_windows) there are events."""
        count = pairs.value[:, self.windows, self._statistics.index("count")]
        return (count > 0) & self._allowed[pairs.place][:, None]

    def totals(self, pairs: PreparedPairs, names: tuple[str, ...]) -> Totals:
        """Sum up over all codes that may be seen."""
        seen = self.seen(pairs)
        kept = np.flatnonzero(seen.any(axis=1))
        row, seen = pairs.row[kept], seen[kept]
        start = np.flatnonzero(np.diff(row, prepend=-1))
        count, oldest = (
            pairs.value[kept][:, self.windows, kind].astype(np.float64)
            for kind in self.kinds(("count", "since_first"))
        )
        count = np.where(seen, count, 0)
        oldest = np.fmax.reduce(oldest, axis=1)
        return Totals.of(
            names,
            row[start],
            np.add.reduceat(count, start),
            np.add.reduceat(seen.astype(float), start),
            np.fmax.reduceat(oldest, start)[:, None],
        )


class Source(Protocol):
    """Where features come from."""

    store: EventStore

    def count(self, cases: Cases, sight: Sight) -> tuple[np.ndarray, np.ndarray]:
        """Count of how many subjects each code is seen, and which rows see none."""

    def features(
        self,
        cases: Cases,
        sight: Sight,
        group: np.ndarray,
        plan: FeaturePlan,
        matrix: np.ndarray | None,
    ) -> Iterator[Block]:
        """Return features, some rows at a time; see `computed_features`."""


class _Events:
    """Features are computed of the events."""

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
    """Features are chosen of those that were prepared."""

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
    """Return what to ask for features.

    Parameters
    ----------
    events : EventStore, PreparedWindows or path
        The events, the path of their store, or what was prepared of them.
    clip : (float, float) or None
        Quantiles that numbers are clipped to.
    engine : {"auto", "numpy", "numba"}
        What computes.
    n_jobs : int or None
        Threads.

    Returns
    -------
    Source

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If numbers are to be clipped and were summed up before.
    """
    how = {"engine": engine, "n_jobs": n_jobs}
    if isinstance(events, PreparedWindows):
        if clip is not None:
            raise ValueError(
                f"EventWindows: clip={clip!r} changes the numbers before they are "
                "summed up, which was done when they were prepared. Pass clip=None, "
                "or the events themselves (events=prepared.store)."
            )
        return _Prepared(events, how)
    return _Events(as_store(events, "EventWindows"), how)
