"""Writing of events into a folder of binary arrays, sorted by subject and time.

Each column is one file of fixed-width numbers, and text is stored as integer codes. An
offset of each subject allows reading the events of a few subjects only. Events may
arrive in any order, because they are sorted in pieces that fit in memory.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from skfusion.ehr.events.columns import DAY, NO_TIME, EventColumns, Labels
from skfusion.ehr.events.reader import (
    KINDS,
    EventFiles,
    content_fingerprint,
    file_stamps,
)

__all__ = ["EventWriter"]


VERSION = 1
PIECE = 4_000_000  # Number of events sorted at a time.


class EventWriter:
    """Writer of events, in any order and any number of parts, into a folder.

    The target folder appears only in `finish`. An earlier error, or `discard`, removes
    all files. Use the writer in a ``with`` statement.

    Parameters
    ----------
    folder : Path
        Parent folder of the stores. A missing folder is created for the user only.
    date_only : bool
        Whether codes whose events are all at midnight have dates without time. Their
        events are moved to the last microsecond of their day.
    moved : iterable of str, default=()
        Codes that were already moved.
    """

    def __init__(
        self, folder: Path, *, date_only: bool, moved: Iterable[str] = ()
    ) -> None:
        self._date_only = date_only
        self._moved = set(moved)
        self._place = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._work = folder / f".writing-{uuid.uuid4().hex}"
        self._work.mkdir(mode=0o700)
        self._files: dict[str, BinaryIO] = {}
        self._words: dict[str, dict[str, int]] = {"code": {}, "unit": {}, "text": {}}
        self._subjects: dict[Any, int] = {}
        self._zone: bool | None = None
        self._timed = np.zeros(0, dtype=np.int64)  # Events per code not at midnight.
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
        self._count_timed(code, events)
        self._look_at_order(subject, events.time)
        columns = {"subject": subject, "time": events.time, "code": code}
        columns["value"] = events.value.astype(np.float32, copy=False)
        if events.available is not None:
            columns["available"] = events.available
        for name, labels in (("unit", events.unit), ("text", events.text)):
            if labels is not None:
                columns[name] = self._number_words(name, labels)
        for name in KINDS:
            self._append(name, columns.get(name), len(subject))
        self.n_events += len(subject)

    def finish(self, path: Path | None = None) -> tuple[Path, str]:
        """Sort the events and move them to the target folder.

        Parameters
        ----------
        path : Path or None, default=None
            The target folder. None uses a folder named by the content.

        Returns
        -------
        Path
            Folder of the events.
        str
            Fingerprint of the content.

        Raises
        ------
        ValueError
            If there are no events, or `path` already has other content.
        """
        if not self.n_events:
            raise ValueError("EventStore: events must have at least 1 row, got 0.")
        for file in self._files.values():
            file.close()
        shifted = np.zeros(len(self._timed), dtype=bool)
        if self._date_only:
            shifted = self._timed == 0
        offsets = np.zeros(len(self._subjects) + 1, dtype=np.int64)
        for part in self._raw("subject"):
            offsets[1:] += np.bincount(part, minlength=len(self._subjects))
        np.cumsum(offsets, out=offsets)
        if not self._sorted or shifted.any():
            self._sort(offsets, shifted)
        (self._work / "subject.bin").unlink()
        offsets.tofile(self._work / "offset.bin")
        fingerprint = self._describe(shifted)
        target = path or self._place / fingerprint
        if (target / "events.json").exists():
            existing = EventFiles(target)
            if existing.fingerprint != fingerprint:
                raise ValueError(
                    f"EventStore: got a path that already contains other events, "
                    f"{target}. Remove that folder, or choose another path."
                )
            if existing.is_whole():
                self.discard()  # The same events were already written.
                return target, fingerprint
            shutil.rmtree(target)
        elif target.is_file() or (target.is_dir() and any(target.iterdir())):
            raise ValueError(
                f"EventStore: got a path with other content than events, {target}. "
                "Choose another path."
            )
        os.replace(self._work, target)
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
        if self._zone is not None and self._zone != events.zone:
            raise ValueError(
                "EventStore: got a time zone in some events and none in others, so "
                "that intervals may be wrong by hours. Set the time zone of all."
            )
        self._zone = events.zone

    def _count_timed(self, code: np.ndarray, events: EventColumns) -> None:
        n_codes = len(self._words["code"])
        self._timed.resize(n_codes, refcheck=False)
        timed = ~events.midnight & (events.time != NO_TIME)
        self._timed += np.bincount(code[timed], minlength=n_codes)

    def _look_at_order(self, subject: np.ndarray, time: np.ndarray) -> None:
        if not self._sorted:
            return
        before = np.concatenate([[self._last[0]], subject[:-1]])
        earlier = np.concatenate([[self._last[1]], time[:-1]])
        fine = (subject > before) | ((subject == before) & (time >= earlier))
        self._sorted = bool(fine.all())
        self._last = int(subject[-1]), int(time[-1])

    def _append(self, name: str, column: np.ndarray | None, n: int) -> None:
        kind, nothing = KINDS[name]
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
            while len(part := np.fromfile(file, KINDS[name][0], PIECE)):
                yield part

    def _sort(self, offsets: np.ndarray, shifted: np.ndarray) -> None:
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
            moved = shifted[columns["code"]] & (columns["time"] != NO_TIME)
            columns["time"] = columns["time"] + moved * (DAY - 1)
            piece = np.searchsorted(bounds, columns["subject"], "right")
            for i in np.unique(piece):
                for name, column in columns.items():
                    with open(folders[i] / name, "ab") as file:
                        column[piece == i].tofile(file)
        files = {name: open(self._work / f"{name}.bin", "wb") for name in names}  # noqa: SIM115
        for folder in folders:
            columns = {n: np.fromfile(folder / n, KINDS[n][0]) for n in names}
            shutil.rmtree(folder)
            order = np.lexsort((columns["time"], columns["subject"]))
            for name, file in files.items():
                columns[name][order].tofile(file)
        for file in files.values():
            file.close()

    def _describe(self, shifted: np.ndarray) -> str:
        """Write the vocabulary and the metadata, and return the fingerprint."""
        content: dict[str, Any] = {
            "version": VERSION,
            "zone": bool(self._zone),
            "n_events": self.n_events,
            "columns": [name for name in self._files if name != "subject"],
            "date_only": [
                code
                for code, number in self._words["code"].items()
                if shifted[number] or code in self._moved
            ],
            "words": {name: list(words) for name, words in self._words.items()},
            "subjects": list(map(_plain, self._subjects)),
        }
        words = json.dumps(content)
        fingerprint = content_fingerprint(self._work, content["columns"], words)
        stamps = file_stamps(self._work, content["columns"])
        (self._work / "words.json").write_text(words, encoding="utf-8")
        about = {"fingerprint": fingerprint, "stamps": stamps}
        (self._work / "events.json").write_text(json.dumps(about), encoding="utf-8")
        return fingerprint


def _plain(subject: Any) -> Any:
    return subject if isinstance(subject, str) else int(subject)
