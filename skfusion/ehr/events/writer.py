"""Writing of events into a folder of binary arrays, sorted by subject and time.

Each column is one file of fixed-width numbers, and text is stored as integer codes. An
offset of each subject allows reading the events of a few subjects only. Events may
arrive in any order, because they are sorted in pieces that fit in memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from skfusion.ehr.events.columns import (
    END_OF_DAY,
    FULL_HOUR,
    NO_TIME,
    QUARTER,
    EventColumns,
    Labels,
)
from skfusion.ehr.events.folders import names_in, settle, take_away
from skfusion.ehr.events.labels import labels_of_codes, write_labels
from skfusion.ehr.events.reader import (
    KINDS,
    MANIFEST,
    OFFSETS,
    WORDS,
    EventFiles,
    content_fingerprint,
)
from skfusion.ehr.events.sealing import DamagedFolderError, seal
from skfusion.ehr.events.stay_table import write_stays
from skfusion.exceptions import DataWarning, warn_user
from skfusion.store.working_folders import new_working_folder

__all__ = ["EventWriter"]


VERSION = 1
PIECE = 4_000_000  # Number of events sorted at a time.
# Columns that are needed until the events are sorted, with dtype and null value.
TEMPORARY = {"clock": (np.uint8, 0), "available_clock": (np.uint8, 0)}
RAW = {**KINDS, **TEMPORARY}
# A code has dates among its times if midnight is as frequent as all other full hours
# together, and is a part of the events or a number of them that is not due to chance.
LEAST_SHARE = 0.05
LEAST_NUMBER = 10
BY_CHANCE = 2 / 23  # Midnights for each other full hour that are no cause to warn.


class EventWriter:
    """Writer of events, in any order and any number of parts, into a folder.

    The target folder appears only in `finish`. An earlier error, or `discard`, removes
    all files. Use the writer in a ``with`` statement.

    Parameters
    ----------
    folder : Path
        Parent folder of the stores. A missing folder is created for the user only.
    date_only : {"end_of_day", "midnight", None}
        Which times at midnight are dates, as in `EventStore.from_frame`. They are moved
        to the last microsecond of their day.
    moved : iterable of str, default=()
        Codes of which events were already moved.
    zone : str or None, default=None
        Time zone of calendar days. None uses the zone of the times.
    labels : mapping, Series or None, default=None
        Names of codes, which are read in `finish`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        date_only: str | None,
        moved: Iterable[str] = (),
        zone: str | None = None,
        labels: Mapping[str, Any] | pd.Series | None = None,
    ) -> None:
        self._labels = labels
        self._date_only = date_only
        self._moved = set(moved)
        self._place = folder
        self._work = new_working_folder(folder)
        self._files: dict[str, BinaryIO] = {}
        self._words: dict[str, dict[str, int]] = {"code": {}, "unit": {}, "text": {}}
        self._subjects: dict[Any, int] = {}
        self._zone = zone
        self._zones: set[str | None] = set()
        # Events of each code at midnight, at other full hours, and in total.
        self._clocks = {name: np.zeros((3, 0), dtype=np.int64) for name in TEMPORARY}
        self._last = (-1, NO_TIME)
        self._sorted = True
        self.n_events = 0

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def discard(self) -> None:
        """Close the files and remove an unfinished folder."""
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._work, ignore_errors=True)

    def add(self, events: EventColumns) -> None:
        """Append events.

        Raises
        ------
        ValueError, TypeError
            If the type of ids or the use of time zones differs from earlier events.
        """
        if not len(events.time):
            return
        subject = self._number_subjects(events.subject)
        self._check_zone(events)
        code = self._number_words("code", events.code)
        self._look_at_order(subject, events.time)
        columns = {"subject": subject, "time": events.time, "code": code}
        columns["value"] = events.value.astype(np.float32, copy=False)
        if events.available is not None:
            columns["available"] = events.available
        for name, labels in (("unit", events.unit), ("text", events.text)):
            if labels is not None:
                columns[name] = self._number_words(name, labels)
        if self._date_only is not None:
            self._add_clocks(columns, events)
        for name in RAW:
            self._append(name, columns.get(name), len(subject))
        self.n_events += len(subject)

    def finish(
        self,
        path: Path | None = None,
        stays: pd.DataFrame | None = None,
        beside: Mapping[str, str] | None = None,
    ) -> tuple[Path, str]:
        """Sort the events and move them to the target folder.

        Parameters
        ----------
        path : Path or None, default=None
            The target folder. None uses a folder named by the content.
        stays : DataFrame or None, default=None
            The columns of `EventStore.stays`.
        beside : mapping of str to str or None, default=None
            Name, among `BESIDE`, -> text of further files. They replace those of a
            store of the same events.

        Returns
        -------
        Path
            Folder of the events.
        str
            Fingerprint of the content.

        Raises
        ------
        ValueError
            If there are no events, `path` already has other content, or the stays do
            not match the events.
        """
        if not self.n_events:
            raise ValueError("EventStore: events must have at least 1 row, got 0.")
        if stays is not None:
            self._check_stays(stays)
        for file in self._files.values():
            file.close()
        shifted = {name: self._has_dates(name) for name in TEMPORARY}
        offsets = np.zeros(len(self._subjects) + 1, dtype=np.int64)
        for part in self._raw("subject"):
            offsets[1:] += np.bincount(part, minlength=len(self._subjects))
        np.cumsum(offsets, out=offsets)
        if not self._sorted or any(mask.any() for mask in shifted.values()):
            self._sort(offsets, shifted)
        for name in ("subject", *TEMPORARY):
            (self._work / f"{name}.bin").unlink(missing_ok=True)
        offsets.tofile(self._work / OFFSETS)
        beside = beside or {}
        for name, text in beside.items():
            (self._work / name).write_text(text, encoding="utf-8")
        digest = None if stays is None else write_stays(self._work, stays)
        fingerprint = self._describe(shifted["clock"], digest)
        target = path or self._place / fingerprint
        settle(self._work, target, lambda: _is_there(target, fingerprint, beside))
        self._warn_of_dates(shifted)
        return target, fingerprint

    def _number_subjects(self, ids: np.ndarray) -> np.ndarray:
        numbers, different = pd.factorize(ids)
        known = next(iter(self._subjects), None)
        if known is not None and isinstance(known, str) != (different.dtype == object):
            raise TypeError(
                "EventStore: subject_id must be either text or integer, got both. "
                "Convert all events to one type."
            )
        table = [self._subjects.setdefault(i, len(self._subjects)) for i in different]
        return np.asarray(table, dtype=np.int32)[numbers]

    def _number_words(self, name: str, labels: Labels) -> np.ndarray:
        known = self._words[name]
        used = np.unique(labels.numbers)
        table = np.full(len(labels.words) + 1, -1, dtype=np.int32)
        for i in used[used >= 0]:
            table[i] = known.setdefault(labels.words[i], len(known))
        return table[labels.numbers]

    def _check_zone(self, events: EventColumns) -> None:
        if (events.time == NO_TIME).all():
            return
        self._zones.add(events.zone)
        if None in self._zones and len(self._zones) > 1:
            raise ValueError(
                "EventStore: got a time zone in some events and none in others, so "
                "that intervals may be wrong by hours. Set the time zone of all."
            )
        if self._zone is not None and events.zone is None:
            raise ValueError(
                f"EventStore: time_zone must be None for times without a time zone, "
                f"got {self._zone!r}. Set the time zone of the times, e.g. with "
                "Series.dt.tz_localize."
            )

    def _check_stays(self, stays: pd.DataFrame) -> None:
        """Check that ids and times of stays are of the same kind as those of events."""
        is_text = isinstance(next(iter(self._subjects)), str)
        if len(stays) and is_text == pd.api.types.is_integer_dtype(stays["subject_id"]):
            raise TypeError(
                "EventStore: subject_id must be text or integers in both the events "
                "and the stays, got text in one of them. Convert them to one type."
            )
        has_zone = stays["start"].dt.tz is not None
        if self._zones and has_zone != (None not in self._zones):
            raise ValueError(
                "EventStore: got a time zone in only one of events and stays, so that "
                "intervals may be wrong by hours. Set the time zone of both."
            )

    def _zone_name(self) -> str | None:
        """Return the time zone of calendar days."""
        zones = self._zones - {None}
        if self._zone is not None or not zones:
            return self._zone
        return next(iter(zones)) if len(zones) == 1 else "UTC"

    def _add_clocks(self, columns: dict[str, np.ndarray], events: EventColumns) -> None:
        """Add and count what the clock shows at the times of the events."""
        columns["clock"] = events.clock
        if events.available is not None and events.available_clock is not None:
            # An event that is available at once is moved together with its time.
            at_once = (events.available == events.time) & (events.clock > END_OF_DAY)
            columns["available"] = np.where(at_once, NO_TIME, events.available)
            columns["available_clock"] = np.where(at_once, 0, events.available_clock)
        n_codes = len(self._words["code"])
        known = {"clock": columns["time"], "available_clock": columns.get("available")}
        for name, times in known.items():
            counts = self._clocks[name]
            counts = np.pad(counts, ((0, 0), (0, n_codes - counts.shape[1])))
            self._clocks[name] = counts
            if times is None or name not in columns:
                continue
            clock = columns[name]
            timed = (times != NO_TIME) & (clock != END_OF_DAY)
            midnight, hour = clock > END_OF_DAY, clock == FULL_HOUR
            for row, wanted in enumerate((midnight, hour, timed)):
                chosen = columns["code"][wanted]
                counts[row] += np.bincount(chosen, minlength=n_codes)

    def _has_dates(self, name: str) -> np.ndarray:
        """Return whether the times of each code at midnight are dates."""
        midnight, hours, total = self._clocks[name]
        if not len(midnight):
            return np.zeros(len(self._words["code"]), dtype=bool)
        if self._date_only == "midnight":
            return midnight > 0
        often = (midnight >= LEAST_SHARE * total) | (midnight >= LEAST_NUMBER)
        return (midnight > 0) & (midnight >= hours) & often

    def _warn_of_dates(self, shifted: dict[str, np.ndarray]) -> None:
        """Warn about dates among times, and dates of availability."""
        if self._date_only == "midnight":  # As it was asked for.
            return
        midnight, hours, total = self._clocks["clock"]
        mixed = shifted["clock"][: len(midnight)] & (midnight < total)
        # Of times of day, a few are at midnight, and may make up a rare code.
        if midnight[mixed].sum() > BY_CHANCE * hours.sum():
            warn_user(
                f"EventStore: got {midnight[mixed].sum()} of {total[mixed].sum()} "
                f"events of {mixed.sum()} codes at midnight, more than times of day "
                "explain. They are treated as dates and moved to the end of their day. "
                "If they are times, pass date_only=None.",
                DataWarning,
            )
        midnight, hours, total = self._clocks["available_clock"]
        dates = shifted["available_clock"][: len(midnight)]
        if midnight[dates].sum() > BY_CHANCE * hours.sum():
            warn_user(
                f"EventStore: got {midnight[dates].sum()} of {total[dates].sum()} "
                f"available times of {dates.sum()} codes at midnight. They are treated "
                "as dates and moved to the end of their day. If they are times, pass "
                "date_only=None.",
                DataWarning,
            )

    def _look_at_order(self, subject: np.ndarray, time: np.ndarray) -> None:
        if not self._sorted:
            return
        before = np.concatenate([[self._last[0]], subject[:-1]])
        earlier = np.concatenate([[self._last[1]], time[:-1]])
        fine = (subject > before) | ((subject == before) & (time >= earlier))
        self._sorted = bool(fine.all())
        self._last = int(subject[-1]), int(time[-1])

    def _append(self, name: str, column: np.ndarray | None, n: int) -> None:
        kind, nothing = RAW[name]
        if column is None and name not in self._files:
            return
        if name not in self._files:
            self._files[name] = open(self._work / f"{name}.bin", "wb")  # noqa: SIM115
            np.full(self.n_events, nothing, kind).tofile(self._files[name])
        if column is None:
            column = np.full(n, nothing, kind)
        column.astype(kind, copy=False).tofile(self._files[name])

    def _raw(self, name: str) -> Iterator[np.ndarray]:
        with open(self._work / f"{name}.bin", "rb") as file:
            while len(part := np.fromfile(file, RAW[name][0], PIECE)):
                yield part

    def _sort(self, offsets: np.ndarray, shifted: dict[str, np.ndarray]) -> None:
        """Sort by subject and time in pieces, with a stable order of ties."""
        pieces = np.unique(
            np.searchsorted(offsets, np.arange(0, self.n_events, PIECE), "left")
        )
        bounds = pieces[(pieces > 0) & (pieces < len(offsets) - 1)]
        folders = [self._work / f"piece-{i}" for i in range(len(bounds) + 1)]
        for folder in folders:
            folder.mkdir()
        names = list(self._files)
        for parts in zip(*(self._raw(name) for name in names), strict=True):
            columns = dict(zip(names, parts, strict=True))
            for time, clock in (("time", "clock"), ("available", "available_clock")):
                if clock in columns:
                    _move_dates(columns, time, clock, shifted[clock])
            piece = np.searchsorted(bounds, columns["subject"], "right")
            for i in np.unique(piece):
                for name, column in columns.items():
                    with open(folders[i] / name, "ab") as file:
                        column[piece == i].tofile(file)
        files = {name: open(self._work / f"{name}.bin", "wb") for name in names}  # noqa: SIM115
        for folder in folders:
            columns = {n: np.fromfile(folder / n, RAW[n][0]) for n in names}
            shutil.rmtree(folder)
            order = np.lexsort((columns["time"], columns["subject"]))
            for name, file in files.items():
                columns[name][order].tofile(file)
        for file in files.values():
            file.close()

    def _describe(self, shifted: np.ndarray, stays: str | None) -> str:
        """Write the vocabulary and the metadata, and return the fingerprint."""
        zone = self._zone_name()
        content: dict[str, Any] = {
            "version": VERSION,
            "zone": zone is not None,
            "n_events": self.n_events,
            "columns": [
                name for name in KINDS if name in self._files and name != "subject"
            ],
            "date_only": [
                code
                for code, number in self._words["code"].items()
                if shifted[number] or code in self._moved
            ],
            "words": {name: list(words) for name, words in self._words.items()},
            "subjects": list(map(_plain, self._subjects)),
        }
        if zone not in (None, "UTC"):
            content["zone_name"] = zone
        labels = labels_of_codes(self._labels, self._words["code"], "EventStore")
        if labels:
            content["labels"] = write_labels(self._work, labels)
        if stays is not None:  # Stores without stays keep their fingerprint.
            content["stays"] = stays
        words = json.dumps(content)
        (self._work / WORDS).write_text(words, encoding="utf-8")
        fingerprint = content_fingerprint(self._work, content["columns"], words)
        seal(self._work, MANIFEST, {"fingerprint": fingerprint})
        return fingerprint


def _move_dates(
    columns: dict[str, np.ndarray], time: str, clock: str, shifted: np.ndarray
) -> None:
    """Move the dates of some codes to the last microsecond of their day."""
    moved = shifted[columns["code"]] & (columns[clock] > END_OF_DAY)
    length = columns[clock].astype(np.int64) * QUARTER - 1
    columns[time] = columns[time] + np.where(moved, length, 0)


def _is_there(target: Path, fingerprint: str, beside: Mapping[str, str]) -> bool:
    """Return whether a folder has the events and files, taking away a damaged one.

    Raises
    ------
    ValueError
        If the folder has other content.
    """
    if not (names := names_in(target)):
        return False
    if not EventFiles.may_have(names):
        raise ValueError(
            f"EventStore: got a path with other content than events, {target}. Choose "
            "another path."
        )
    try:
        existing = EventFiles(target)
        if not existing.is_intact():
            raise existing.damage(MANIFEST)
        if existing.fingerprint != fingerprint:
            raise ValueError(
                "EventStore: got a path that already contains other events, "
                f"{target}. Remove that folder, or choose another path."
            )
        if _has(existing, beside):
            return True
    except (FileNotFoundError, NotADirectoryError, DamagedFolderError):
        pass  # Damaged, or another process takes it away.
    take_away(target)
    return False


def _has(files: EventFiles, beside: Mapping[str, str]) -> bool:
    """Return whether a store has some files with the same texts."""
    return all(
        files.holds(name) and files.read_whole(name) == text.encode()
        for name, text in beside.items()
    )


def _plain(subject: Any) -> Any:
    return subject if isinstance(subject, str) else int(subject)
