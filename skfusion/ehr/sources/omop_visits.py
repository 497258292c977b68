"""Visits of an OMOP database, to which clinical rows refer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from skfusion.ehr.sources.shaping import NEVER, later_of
from skfusion.exceptions import LeakageWarning, warn_user

__all__ = ["INPATIENT_ROOTS", "INPATIENT_VISITS", "VisitUse", "Visits"]


# Inpatient visit, emergency room visit, and both in one.
INPATIENT_ROOTS = (9201, 9203, 262)
# The roots and their descendants, for databases without their hierarchy. Emergency,
# observation and short stays are inpatient visits, as in the reader of FHIR.
INPATIENT_VISITS = frozenset(
    (
        *INPATIENT_ROOTS,
        8717,  # Inpatient hospital
        8870,  # Emergency room of a hospital
        8920,  # Comprehensive inpatient rehabilitation facility
        8971,  # Inpatient psychiatric facility
        32037,  # Intensive care
        581379,  # Inpatient critical care facility
        581381,  # Emergency room critical care facility
        581382,  # Inpatient intensive care facility
        581383,  # Inpatient cardiac care facility
        581384,  # Inpatient nursery
        581385,  # Observation room
    )
)


class Visits:
    """End and setting of each visit, found by its id and its person.

    Rows that repeat a visit are counted, and the one with the latest end is used. A
    visit takes 25 bytes of memory.

    Parameters
    ----------
    parts : iterable of DataFrame
        Columns ``visit``, ``person`` (integers, nullable), ``end`` (time) and
        ``inpatient`` (bool).

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.omop_visits import Visits
    >>> ends = pd.to_datetime(["2024-05-01", "2024-05-03"])
    >>> visits = Visits([pd.DataFrame({
    ...     "visit": pd.array([10, 10], "Int64"), "person": pd.array([1, 1], "Int64"),
    ...     "end": ends, "inpatient": [True, True]})])
    >>> visits.n_repeated
    1
    >>> place, _ = visits.find(pd.Series([10, 11]), pd.Series([1, 1]))
    >>> place.tolist()
    [0, -1]
    """

    def __init__(self, parts: Iterable[pd.DataFrame]) -> None:
        tables = [part.dropna(subset=["visit", "person"]) for part in parts]
        ids, persons, ends, inpatient = (
            np.concatenate([np.empty(0, kind), *columns])
            for kind, columns in (
                (np.int64, [part["visit"].to_numpy(np.int64) for part in tables]),
                (np.int64, [part["person"].to_numpy(np.int64) for part in tables]),
                (np.int64, [_microseconds(part["end"]) for part in tables]),
                (bool, [part["inpatient"].to_numpy(bool) for part in tables]),
            )
        )
        order = np.lexsort((inpatient, ends, persons, ids))  # No end sorts first.
        ids, persons = ids[order], persons[order]
        last = np.ones(len(ids), dtype=bool)
        last[:-1] = (ids[1:] != ids[:-1]) | (persons[1:] != persons[:-1])
        self.n_repeated = int((~last).sum())
        self._ids, self._persons = ids[last], persons[last]
        self._ends, self._inpatient = ends[order][last], inpatient[order][last]

    def __len__(self) -> int:
        return len(self._ids)

    def find(
        self, visits: pd.Series, persons: pd.Series
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the place of each visit, -1 if missing, and whether its id exists.

        A visit of another person exists, but is not found.
        """
        wanted = visits.fillna(0).to_numpy(np.int64)
        owner = persons.fillna(0).to_numpy(np.int64)
        has = (visits.notna() & persons.notna()).to_numpy(bool)
        place = np.full(len(wanted), -1)
        at = np.searchsorted(self._ids, wanted)
        exists = np.zeros(len(wanted), dtype=bool)
        rows = np.flatnonzero(has)
        while len(rows):  # More than once only if two persons share an id.
            rows = rows[at[rows] < len(self._ids)]
            rows = rows[self._ids[at[rows]] == wanted[rows]]
            exists[rows] = True
            same = self._persons[at[rows]] == owner[rows]
            place[rows[same]] = at[rows[same]]
            rows = rows[~same]
            at[rows] += 1
        return place, exists

    def ends(self, place: np.ndarray, like: pd.Series) -> pd.Series:
        """Return the ends of visits, null if unknown, with the type of other times."""
        known = np.append(self._ends, np.iinfo(np.int64).min)[place]
        times = pd.Series(known.view("M8[us]"), index=like.index)
        return times if like.dt.tz is None else times.dt.tz_localize("UTC")

    def inpatient(self, place: np.ndarray) -> np.ndarray:
        """Return whether visits are inpatient visits, False if unknown."""
        return np.append(self._inpatient, False)[place]

    def first_of_each(
        self, place: np.ndarray, ends: pd.Series, seen: np.ndarray
    ) -> np.ndarray:
        """Return which rows are the chosen ones of their visits, once for each.

        `seen` marks the visits of earlier chunks, and is updated. Rows without a place
        are kept.
        """
        chosen = self._ends[place] == _microseconds(ends) if len(self) else place < 0
        fresh = np.zeros(len(place), dtype=bool)
        rows = np.flatnonzero(chosen & (place >= 0))
        rows = rows[~seen[place[rows]]]
        fresh[rows[np.unique(place[rows], return_index=True)[1]]] = True
        seen[place[rows]] = True
        return fresh | (place < 0)


def _microseconds(times: pd.Series) -> np.ndarray:
    """Return times as integers, the lowest one for null."""
    if isinstance(times.dtype, pd.DatetimeTZDtype):
        times = times.dt.tz_convert("UTC").dt.tz_localize(None)
    return times.to_numpy("M8[us]").view(np.int64)


class Stays(NamedTuple):
    """Visits of the rows of a chunk."""

    place: np.ndarray
    is_named: np.ndarray


class VisitUse:
    """Visits of the rows of one table, with counts of references without a visit.

    Parameters
    ----------
    visits : Visits
        All visits.
    name : str
        Name of the table for the warning.
    unknown_end : {"never", "event_time"}
        When a code becomes available that is assigned at the end of a visit, if the
        visit is missing or has no end.
    """

    def __init__(self, visits: Visits, name: str, unknown_end: str) -> None:
        self._visits, self._name, self._unknown = visits, name, unknown_end
        self._n_named = self._n_missing = self._n_others = self._n_open = 0

    def of(self, visits: pd.Series, persons: pd.Series) -> Stays:
        """Return the visits of rows, and count those that are missing."""
        place, exists = self._visits.find(visits, persons)
        is_named = visits.notna().to_numpy(bool)
        self._n_named += int(is_named.sum())
        self._n_missing += int((is_named & ~exists).sum())
        self._n_others += int((exists & (place < 0)).sum())
        return Stays(place, is_named)

    def available(self, times: pd.Series, stays: Stays) -> pd.Series:
        """Return when codes that are assigned at the end of a visit are available."""
        ends = self._visits.ends(stays.place, times)
        is_open = (stays.place >= 0) & ends.isna().to_numpy()
        self._n_open += int(is_open.sum())
        known = later_of(times, ends)
        if self._unknown == "event_time":
            return known
        never = NEVER if times.dt.tz is None else NEVER.tz_localize("UTC")
        return known.mask(is_open | (stays.is_named & (stays.place < 0)), never)

    def inpatient(self, stays: Stays) -> np.ndarray:
        """Return whether rows are of an inpatient visit."""
        return self._visits.inpatient(stays.place)

    def warn(self, *, after_visit: bool) -> None:
        """Warn about references without a visit and visits without an end."""
        reasons = [
            f"{n:,} {what}"
            for n, what in (
                (self._n_missing, "are not in visit_occurrence"),
                (self._n_others, "are of another person"),
                (self._n_open if after_visit else 0, "have no end"),
            )
            if n
        ]
        if not reasons:
            return
        n_lost = self._n_missing + self._n_others
        n_lost += self._n_open if after_visit else 0
        effect = "The drugs of missing visits are treated as those of outpatients."
        if after_visit and self._unknown == "never":
            effect = (
                "The codes are in the store, but never become available. Set "
                "unknown_availability='event_time' to make them available when they "
                "happened."
            )
        elif after_visit:
            effect = (
                "The codes are available when they happened, which may be before they "
                "were assigned."
            )
        warn_user(
            f"read_omop: {self._name}: of {self._n_named:,} visit ids, "
            f"{', '.join(reasons)} ({n_lost / self._n_named:.0%}). {effect}",
            LeakageWarning,
        )
