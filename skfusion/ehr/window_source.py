"""Events, or features prepared of them, in; counts and features of rows out.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from skfusion.ehr.events import EventStore, as_store
from skfusion.ehr.window_choice import check_prepared, chosen_features, count_prepared
from skfusion.ehr.window_features import computed_features
from skfusion.ehr.window_output import Block
from skfusion.ehr.window_plan import FeaturePlan
from skfusion.ehr.window_prepared import PreparedWindows
from skfusion.ehr.window_rows import Cases, Sight
from skfusion.ehr.window_vocabulary import count_subjects

__all__ = ["Source", "open_source"]


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
