"""Features of rows, computed once into a folder; what a setting asks of them out.

A search over windows and statistics computes the same sums again in every fold. Here
they are kept for each row, as a row's features depend on its own events alone; what is
learned (which codes there are) stays in the folds.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skfusion._paths import cache_folder
from skfusion.ehr.events.handle import FolderHandle
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import Sight, Windows, search_within
from skfusion.ehr.windows.compute import computed_features
from skfusion.ehr.windows.kernel import STATISTICS
from skfusion.ehr.windows.output import PairOutput
from skfusion.ehr.windows.plan import FeaturePlan, check_statistics

__all__ = ["Preparation", "PreparedFiles", "PreparedPairs", "PreparedWindows"]


VERSION = b"2"  # of the arrays
ARRAYS = ("subject", "end", "start", "place", "value")
# of which all totals and the choice of codes are made
ALWAYS = ("count", "since_first")


class Preparation:
    """What is computed for every row: all that a search may choose of.

    Parameters
    ----------
    windows : Windows
        The windows.
    aggs : iterable of str
        The statistics; counts and the time since the first event are added.
    codes : ndarray of bool of shape (n_codes,)
        Which codes of the store.
    closed : str
        Which end of the windows is closed.
    """

    def __init__(self, windows: Windows, aggs: Any, codes: Any, closed: str) -> None:
        self.windows = windows
        self.aggs = check_statistics([*aggs, *ALWAYS], "aggs", STATISTICS)
        self.codes = np.asarray(codes, dtype=bool)
        self.closed = closed

    def as_json(self) -> str:
        """Return it as text."""
        windows = self.windows
        about = {
            "lengths": windows.lengths.tolist(),
            "labels": windows.labels,
            "nested": windows.nested,
            "aggs": self.aggs,
            "codes": np.flatnonzero(self.codes).tolist(),
            "n_codes": len(self.codes),
            "closed": self.closed,
        }
        return json.dumps(about)

    @classmethod
    def from_json(cls, text: str) -> Preparation:
        """Read it back."""
        about = json.loads(text)
        lengths = np.array(about["lengths"], dtype=np.int64)
        windows = Windows(lengths, tuple(about["labels"]), about["nested"])
        codes = np.zeros(about["n_codes"], dtype=bool)
        codes[about["codes"]] = True
        return cls(windows, about["aggs"], codes, about["closed"])

    def plan(self, codes: list[str]) -> FeaturePlan:
        """Return the columns, given all codes of the store."""
        chosen = [codes[i] for i in np.flatnonzero(self.codes)]
        return FeaturePlan(chosen, self.windows, self.aggs, None, ())

    @property
    def sight(self) -> Sight:
        """What rows may see."""
        days = "n_days" in self.aggs
        return Sight(self.windows, self.closed, self.codes, days=days)

    @property
    def group(self) -> np.ndarray:
        """Place of each code of the store among those computed, -1 for none."""
        return np.where(self.codes, np.cumsum(self.codes) - 1, -1)


class PreparedWindows(FolderHandle):
    """An immutable handle to features that `EventWindows.prepare` computed.

    Parameters
    ----------
    path : str or PathLike
        Folder that it wrote.
    fingerprint : str or None, default=None
        What it must be of; None takes it as it is.

    Attributes
    ----------
    path : Path
        The folder. It holds data of patients; remove it after the search.
    fingerprint : str
        Digest of the events, the rows and what was computed.

    Raises
    ------
    FileNotFoundError
        If there are none at `path`, or no events where they were.
    ValueError
        If they are others than `fingerprint` says, or the events changed.
    """

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: str | None = None
    ) -> None:
        place = Path(os.path.abspath(os.path.expanduser(path)))
        found = PreparedFiles(place).fingerprint
        if fingerprint is not None and fingerprint != found:
            raise ValueError(
                f"PreparedWindows: the features in {place} are not those that this "
                "was made with. Prepare them again."
            )
        self._point_to(place, found)

    @classmethod
    def write(
        cls,
        store: EventStore,
        cases: Cases,
        what: Preparation,
        path: str | os.PathLike[str] | None,
        **how: Any,
    ) -> PreparedWindows:
        """Compute features of rows, unless that was done before.

        Parameters
        ----------
        store : EventStore
            The events.
        cases : Cases
            The rows; the same row is computed once.
        what : Preparation
            The features.
        path : str or PathLike or None
            Folder to write; None takes one in the cache, named by the content.
        **how
            ``engine`` and ``n_jobs``.

        Returns
        -------
        PreparedWindows
        """
        rows = np.unique(np.stack([cases.subject, cases.end]), axis=1)
        rows = rows[:, rows[0] >= 0]
        digest = hashlib.blake2b(VERSION + store.fingerprint.encode(), digest_size=16)
        for part in (what.as_json().encode(), rows.tobytes()):
            digest.update(part)
        fingerprint = digest.hexdigest()
        folder = cache_folder() / "windows" / fingerprint
        folder = folder if path is None else Path(os.path.abspath(path))
        if (folder / "prepared.json").exists():
            return cls(folder, fingerprint)
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise ValueError(
                f"EventWindows: there is something else than prepared features at "
                f"{folder}. Choose another path."
            )
        single = Cases(*rows)
        plan = what.plan(store.codes)
        arrays = *rows, *_computed(store, single, what, plan, **how)
        about = {
            "fingerprint": fingerprint,
            "events": [str(store.path), store.fingerprint],
            "what": what.as_json(),
        }
        _write(folder, dict(zip(ARRAYS, arrays, strict=True)), about)
        _opened.cache_clear()  # another one may have been there before
        return cls(folder, fingerprint)

    @property
    def files(self) -> PreparedFiles:
        """Return the files, after a look at whether they changed."""
        files = _opened(self.path, self.fingerprint)
        files.check()
        return files

    @property
    def store(self) -> EventStore:
        """The events that they were computed of."""
        return self.files.store

    def __repr__(self) -> str:
        files = self.files
        return (
            f"PreparedWindows({files.n_rows:,} rows, {len(files.plan.names):,} "
            "features)"
        )


class PreparedPairs(NamedTuple):
    """What was prepared of rows and codes, ordered by row.

    Attributes
    ----------
    row : ndarray of int of shape (n_pairs,)
        Which row.
    place : ndarray of int of shape (n_pairs,)
        Which of the codes that were prepared.
    value : ndarray of float32 of shape (n_pairs, n_windows, n_statistics)
        NaN where nothing is known, or nothing counted.
    """

    row: np.ndarray
    place: np.ndarray
    value: np.ndarray


def _computed(
    store: EventStore,
    cases: Cases,
    what: Preparation,
    plan: FeaturePlan,
    **how: Any,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute where the pairs of each row begin and end, their codes and values."""
    output = PairOutput(len(cases.end), plan)
    for block in computed_features(
        store.files, cases, what.sight, what.group, plan, **how
    ):
        output.add(block)
    return output.finish()


def _write(folder: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write all or nothing."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    work = folder.parent / f".writing-{uuid.uuid4().hex}"
    work.mkdir(mode=0o700)
    try:
        for name, array in arrays.items():
            np.save(work / f"{name}.npy", array)
        about["stamps"] = _stamps(work)
        (work / "prepared.json").write_text(json.dumps(about), encoding="utf-8")
        try:
            os.replace(work, folder)
        except OSError:
            if not (folder / "prepared.json").exists():  # another process was faster
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _stamps(folder: Path) -> list[list[int]]:
    states = [(folder / f"{name}.npy").stat() for name in ARRAYS]
    return [[state.st_size, state.st_mtime_ns] for state in states]


class PreparedFiles:
    """Read a folder of prepared features.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            text = (folder / "prepared.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise FileNotFoundError(
                f"PreparedWindows: there are no prepared features in {folder}. Prepare "
                "them again with EventWindows.prepare."
            ) from None
        self._about = json.loads(text)
        self.fingerprint: str = self._about["fingerprint"]

    def check(self) -> None:
        """Raise ValueError if a file changed since it was written."""
        try:
            same = _stamps(self.folder) == self._about["stamps"]
        except FileNotFoundError:
            same = False
        if not same:
            raise ValueError(
                f"PreparedWindows: files in {self.folder} changed since they were "
                "written. Remove that folder and prepare them again."
            )

    @cached_property
    def store(self) -> EventStore:
        """The events."""
        return EventStore(*self._about["events"])

    @cached_property
    def what(self) -> Preparation:
        """What was computed."""
        return Preparation.from_json(self._about["what"])

    @cached_property
    def plan(self) -> FeaturePlan:
        """The columns."""
        return self.what.plan(self.store.codes)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            name: np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS
        }

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self._arrays["end"])

    def places(self, cases: Cases) -> np.ndarray:
        """Return where rows are in the table, -1 for those that are not."""
        subject, end = self._arrays["subject"], self._arrays["end"]
        if not len(end):
            return np.full(len(cases.end), -1)
        low = np.searchsorted(subject, cases.subject, "left")
        high = np.searchsorted(subject, cases.subject, "right")
        place = search_within(end, low, high, cases.end, "left")
        found = (place < high) & (end[np.minimum(place, len(end) - 1)] == cases.end)
        return np.where(found, place, -1)

    def pairs(self, cases: Cases, **how: Any) -> PreparedPairs:
        """Return what was prepared of rows; of those that are not there it is computed.

        Parameters
        ----------
        cases : Cases
            Rows.
        **how
            ``engine`` and ``n_jobs``.

        Returns
        -------
        PreparedPairs
        """
        place = self.places(cases)
        known, new = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
        start, stop = (self._arrays["start"][place[known] + i] for i in (0, 1))
        n_pairs = stop - start
        shift = np.repeat(start - (np.cumsum(n_pairs) - n_pairs), n_pairs)
        where = np.arange(n_pairs.sum()) + shift
        row = np.repeat(known, n_pairs)
        codes, values = (self._arrays[name][where] for name in ("place", "value"))
        if not (cases.subject[new] >= 0).any():
            return PreparedPairs(row, codes, values)
        rest = Cases(cases.subject[new], cases.end[new])
        starts, *others = _computed(self.store, rest, self.what, self.plan, **how)
        row = np.concatenate([row, np.repeat(new, np.diff(starts))])
        order = np.argsort(row, kind="stable")
        both = zip((codes, values), others, strict=True)
        codes, values = (np.concatenate(parts)[order] for parts in both)
        return PreparedPairs(row[order], codes, values)


@lru_cache(maxsize=32)
def _opened(path: Path, fingerprint: str) -> PreparedFiles:
    """Return the files of a handle, opened once in a process."""
    return PreparedFiles(path)
