"""Features of rows, computed once for a search and stored in a folder.

A search over windows and statistics would compute the same sums in every fold. They
are stored for each row, because the features of a row depend on its events only.
Learned attributes (the vocabulary of codes) are still learned in each fold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from skfusion._paths import cache_folder
from skfusion.ehr.events.folders import names_in, settle, take_away
from skfusion.ehr.events.handle import FolderHandle
from skfusion.ehr.events.sealing import (
    DamagedFolderError,
    SealedFolder,
    folder_path,
    seal,
)
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import Sight, Windows, search_within
from skfusion.ehr.windows.compute import computed_features
from skfusion.ehr.windows.kernel import STATISTICS
from skfusion.ehr.windows.output import PairOutput
from skfusion.ehr.windows.plan import FeaturePlan, check_statistics
from skfusion.store.working_folders import new_working_folder

__all__ = ["Preparation", "PreparedFiles", "PreparedPairs", "PreparedWindows"]


VERSION = b"3"  # Version of the file format.
MANIFEST = "prepared.json"
ARRAYS = ("subject", "end", "start", "place", "value")
# Statistics from which all totals and the vocabulary of codes are computed.
ALWAYS = ("count", "since_first")


class Preparation:
    """Specification of the features that are computed for every row.

    Parameters
    ----------
    windows : Windows
        The windows.
    aggs : iterable of str
        The statistics. Counts and the time since the first event are added.
    codes : ndarray of bool of shape (n_codes,)
        Which codes of the store are included.
    closed : str
        Closed side of the windows.
    """

    def __init__(self, windows: Windows, aggs: Any, codes: Any, closed: str) -> None:
        self.windows = windows
        self.aggs = check_statistics([*aggs, *ALWAYS], "aggs", STATISTICS)
        self.codes = np.asarray(codes, dtype=bool)
        self.closed = closed

    def as_json(self) -> str:
        """Return the specification as JSON text."""
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
        """Create a specification from JSON text."""
        about = json.loads(text)
        lengths = np.array(about["lengths"], dtype=np.int64)
        windows = Windows(lengths, tuple(about["labels"]), about["nested"])
        codes = np.zeros(about["n_codes"], dtype=bool)
        codes[about["codes"]] = True
        return cls(windows, about["aggs"], codes, about["closed"])

    def plan(self, codes: list[str]) -> FeaturePlan:
        """Return the feature plan, given all codes of the store."""
        chosen = [codes[i] for i in np.flatnonzero(self.codes)]
        return FeaturePlan(chosen, self.windows, self.aggs, None, ())

    @property
    def sight(self) -> Sight:
        """Return the visibility rules."""
        days = "n_days" in self.aggs
        return Sight(self.windows, self.closed, self.codes, days=days)

    @property
    def group(self) -> np.ndarray:
        """Return the position of each code of the store among the prepared, or -1."""
        return np.where(self.codes, np.cumsum(self.codes) - 1, -1)


class PreparedWindows(FolderHandle):
    """Immutable handle to the features computed by `EventWindows.prepare`.

    Parameters
    ----------
    path : str or PathLike
        Folder written by `EventWindows.prepare`.
    fingerprint : str or None, default=None
        Expected fingerprint. None accepts any content.

    Attributes
    ----------
    path : Path
        The folder. It contains patient data, so remove it after the search.
    fingerprint : str
        Digest of the events, the rows and the specification.

    Raises
    ------
    FileNotFoundError
        If `path` does not contain prepared features, or the event store is missing.
    ValueError
        If the features do not match `fingerprint`, or the events changed.
    """

    __module__ = "skfusion.ehr.windows"
    _kind = "windows"
    _manifest = MANIFEST

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: str | None = None
    ) -> None:
        given = folder_path(path, "PreparedWindows")
        place = Path(os.path.abspath(given))
        found = PreparedFiles(place).fingerprint
        _check_fingerprint(place, found, fingerprint)
        self._point_to(place, found, given)

    @classmethod
    def write(
        cls,
        store: EventStore,
        cases: Cases,
        what: Preparation,
        path: str | os.PathLike[str] | None,
        **how: Any,
    ) -> PreparedWindows:
        """Compute and store the features of rows, unless they are already stored.

        Parameters
        ----------
        store : EventStore
            The events.
        cases : Cases
            The rows. Duplicate rows are computed once.
        what : Preparation
            The specification of the features.
        path : str or PathLike or None
            Folder to write. None uses a cache folder named by the fingerprint.
        **how
            Options ``engine`` and ``n_jobs``.

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
        if path is not None:
            folder = Path(os.path.abspath(folder_path(path, "EventWindows")))
        folder = folder.resolve() if folder.is_symlink() else folder
        if _is_there(folder, fingerprint):
            return cls(folder, fingerprint)
        single = Cases(*rows)
        plan = what.plan(store.codes)
        arrays = *rows, *_computed(store, single, what, plan, **how)
        about = {
            "fingerprint": fingerprint,
            "events": [str(store.path), store.fingerprint, store.given],
            "what": what.as_json(),
        }
        _write(folder, dict(zip(ARRAYS, arrays, strict=True)), about)
        # The folder may have been opened before with other content.
        _opened.cache_clear()
        return cls(folder, fingerprint)

    @property
    def files(self) -> PreparedFiles:
        """Return the files, after checking that they are unchanged."""
        files = self._open()
        files.check()
        return files

    def _open(self) -> PreparedFiles:
        folder = self._folder()
        if not (folder / MANIFEST).exists():
            _opened.cache_clear()  # To say that the folder is missing.
        files = _opened(folder, self.fingerprint)
        if files.has_changed():
            # Another process may have written them again, and old ones may be mapped.
            _opened.cache_clear()
            files = _opened(folder, self.fingerprint)
        return files

    def verify(self) -> None:
        """Read all features and compare them with their digest.

        Raises
        ------
        ValueError
            If the features differ.
        FileNotFoundError
            If the folder does not exist.
        """
        self._open().verify()

    @property
    def store(self) -> EventStore:
        """Return the store of the events."""
        return self.files.store

    def __repr__(self) -> str:
        if not (self._folder() / MANIFEST).exists():
            return f"PreparedWindows(missing, fingerprint {self.fingerprint[:8]})"
        files = self.files
        return (
            f"PreparedWindows({files.n_rows:,} rows, {len(files.plan.names):,} "
            "features)"
        )


class PreparedPairs(NamedTuple):
    """Prepared features of pairs of a row and a code, ordered by row.

    Attributes
    ----------
    row : ndarray of int of shape (n_pairs,)
        Row of each pair.
    place : ndarray of int of shape (n_pairs,)
        Position of the code among the prepared codes.
    value : ndarray of float32 of shape (n_pairs, n_windows, n_statistics)
        Statistics, NaN where the value is unknown or the count is zero.
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
    """Return the pair offsets of each row, and the codes and values of the pairs."""
    output = PairOutput(len(cases.end), plan)
    for block in computed_features(
        store.files, cases, what.sight, what.group, plan, **how
    ):
        output.add(block)
    return output.finish()


def _write(folder: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Write the folder atomically."""
    work = new_working_folder(folder.parent)
    try:
        for name, array in arrays.items():
            np.save(work / f"{name}.npy", array)
        seal(work, MANIFEST, about)
        settle(work, folder, lambda: _is_there(folder, about["fingerprint"]))
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_there(folder: Path, fingerprint: str) -> bool:
    """Return whether the features are in a folder, emptying a damaged one.

    Raises
    ------
    ValueError
        If the folder has other content.
    """
    if not (names := names_in(folder)):
        return False
    if not PreparedFiles.may_have(names):
        raise ValueError(
            f"EventWindows: got a path with other content than prepared features, "
            f"{folder}. Choose another path."
        )
    try:
        existing = PreparedFiles(folder)
        if existing.is_intact():
            _check_fingerprint(folder, existing.fingerprint, fingerprint)
            return True
    except (FileNotFoundError, NotADirectoryError, DamagedFolderError):
        pass  # Damaged, or another process takes it away.
    take_away(folder)
    return False


def _check_fingerprint(place: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and wanted != found:
        raise ValueError(
            f"PreparedWindows: got features in {place} that do not match the "
            "fingerprint of this handle. Prepare them again."
        )


class PreparedFiles(SealedFolder):
    """Reader of a folder of prepared features.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If the folder does not contain prepared features.
    DamagedFolderError
        If the description of the features is damaged.
    """

    owner = "PreparedWindows"
    manifest = MANIFEST
    names = frozenset(f"{name}.npy" for name in ARRAYS)
    nothing = "prepared features"
    remedy = (
        "Prepare them again with EventWindows.prepare, or set the events themselves "
        "with set_params(events=store)."
    )

    @cached_property
    def store(self) -> EventStore:
        """Return the store of the events."""
        path, fingerprint, given = self._about["events"]
        return EventStore.at(path, fingerprint, given)

    @cached_property
    def what(self) -> Preparation:
        """Return the specification of the prepared features."""
        return Preparation.from_json(self._about["what"])

    @cached_property
    def plan(self) -> FeaturePlan:
        """Return the plan of the prepared features."""
        return self.what.plan(self.store.codes)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        for name in ("subject", "end", "start"):  # Whose features a row has.
            self.read_whole(f"{name}.npy")
        return {
            name: np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS
        }

    @property
    def n_rows(self) -> int:
        """Return the number of prepared rows."""
        return len(self._arrays["end"])

    def places(self, cases: Cases) -> np.ndarray:
        """Return the positions of rows in the prepared table, -1 for other rows."""
        subject, end = self._arrays["subject"], self._arrays["end"]
        if not len(end):
            return np.full(len(cases.end), -1)
        low = np.searchsorted(subject, cases.subject, "left")
        high = np.searchsorted(subject, cases.subject, "right")
        place = search_within(end, low, high, cases.end, "left")
        found = (place < high) & (end[np.minimum(place, len(end) - 1)] == cases.end)
        return np.where(found, place, -1)

    def pairs(self, cases: Cases, **how: Any) -> PreparedPairs:
        """Return the features of rows, computing those that were not prepared.

        Parameters
        ----------
        cases : Cases
            The rows.
        **how
            Options ``engine`` and ``n_jobs``.

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
        # By `take`, which is several times faster than an index on a memory map.
        codes, values = (
            np.take(np.asarray(self._arrays[name]), where, axis=0)
            for name in ("place", "value")
        )
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
    """Return the files of a handle, opened once per process."""
    files = PreparedFiles(path)
    _check_fingerprint(path, files.fingerprint, fingerprint)
    return files
