"""Reading and integrity checks of events in a folder of binary arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.events.columns import NO_TIME, EventColumns, Labels, as_series
from skfusion.ehr.events.labels import LABELS, labels_digest
from skfusion.ehr.events.sealing import SealedFolder, parsed
from skfusion.ehr.events.stay_table import STAY_FILES, stay_digest, stays_from

__all__ = [
    "BESIDE",
    "DROPPED",
    "EventFiles",
    "KINDS",
    "MANIFEST",
    "OFFSETS",
    "WORDS",
    "content_fingerprint",
    "event_pieces",
    "event_rows",
    "event_table",
]


KINDS = {  # Column -> dtype and null value.
    "subject": (np.int32, -1),
    "time": (np.int64, NO_TIME),
    "code": (np.int32, -1),
    "value": (np.float32, np.nan),
    "available": (np.int64, NO_TIME),
    "unit": (np.int32, -1),
    "text": (np.int32, -1),
}


MANIFEST = "events.json"
#: Counts of rows that were left out of the source, for the data-quality report.
DROPPED = "dropped.json"
WORDS = "words.json"
OFFSETS = "offset.bin"
#: Files that a store may have besides its events. They are sealed with the others, and
#: are not part of the fingerprint.
BESIDE = (DROPPED,)


def content_fingerprint(folder: Path, columns: list[str], words: str) -> str:
    """Return the digest of the content of a folder of events."""
    digest = hashlib.blake2b(words.encode(), digest_size=16)
    for name in [OFFSETS, *(f"{column}.bin" for column in columns)]:
        with open(folder / name, "rb") as file:
            while part := file.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()


class EventFiles(SealedFolder):
    """Reader of a folder written by `EventWriter`.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist or does not contain events.
    DamagedFolderError
        If the description of the events is damaged.
    """

    owner = "EventStore"
    manifest = MANIFEST
    names = frozenset(
        {
            WORDS,
            OFFSETS,
            *(f"{name}.bin" for name in KINDS),
            *STAY_FILES,
            LABELS,
            *BESIDE,
        }
    )
    nothing = "events"
    remedy = (
        "Write the events again with EventStore.from_frame or another from_ method. To "
        "predict for other events with a fitted model, use "
        "skfusion.ehr.with_events(model, store)."
    )

    def is_intact(self) -> bool:
        """Return whether the content is as written and that of the fingerprint."""
        if not super().is_intact():
            return False
        words = self.read_whole(WORDS).decode("utf-8")
        found = content_fingerprint(self.folder, self.columns, words)
        if found != self.fingerprint:
            return False
        # The words contain the digests of the names and of the stays.
        digest = self._content.get("labels")
        if digest is not None and labels_digest(self.read_whole(LABELS)) != digest:
            return False
        if self.stay_digest is None:
            return True
        return stay_digest(*map(self.read_whole, STAY_FILES)) == self.stay_digest

    @cached_property
    def _content(self) -> dict[str, Any]:
        return parsed(self.read_whole(WORDS))

    @property
    def zone(self) -> bool:
        """Return whether the times had a time zone."""
        return self._content["zone"]

    @property
    def zone_name(self) -> str | None:
        """Return the time zone of calendar days, None for times without a zone."""
        return self._content.get("zone_name", "UTC") if self.zone else None

    @property
    def n_events(self) -> int:
        """Return the number of events."""
        return self._content["n_events"]

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns."""
        return self._content["columns"]

    @property
    def dropped(self) -> list[list[Any]]:
        """Return the rows left out of the source: table, reason and numbers."""
        if not self.holds(DROPPED):
            return []  # a store that was not read from a source
        return parsed(self.read_whole(DROPPED))["dropped"]

    @cached_property
    def labels(self) -> dict[str, str]:
        """Return the names of codes."""
        digest = self._content.get("labels")
        if digest is None:
            return {}
        content = self.read_whole(LABELS)
        if labels_digest(content) != digest:
            raise self.damage(LABELS)
        return parsed(content)

    @property
    def stay_digest(self) -> str | None:
        """Return the digest of the table of stays, None without one."""
        return self._content.get("stays")

    def stays(self) -> pd.DataFrame | None:
        """Return the table of stays, None without one."""
        if self.stay_digest is None:
            return None
        contents = [self.read_whole(name) for name in STAY_FILES]
        try:
            return stays_from(*contents)
        except ValueError:  # Of another version.
            raise self.damage(STAY_FILES[0]) from None

    @property
    def date_only(self) -> list[str]:
        """Return the codes that were moved to the end of their day."""
        return self._content["date_only"]

    def words(self, name: str) -> list[str]:
        """Return the vocabulary of a column of integer codes."""
        return self._content["words"][name]

    @cached_property
    def subjects(self) -> pd.Index:
        """Return all subjects."""
        return pd.Index(self._content["subjects"])

    @cached_property
    def offsets(self) -> np.ndarray:
        """Return the position of the first event of each subject, and of the end."""
        return np.frombuffer(self.read_whole(OFFSETS), np.int64)

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        return {
            name: np.memmap(self.folder / f"{name}.bin", KINDS[name][0], "r")
            for name in self.columns
        }

    def column(self, name: str) -> np.ndarray:
        """Return a memory-mapped column."""
        return self._maps[name]

    def read(self, name: str, start: int, stop: int) -> np.ndarray:
        """Read a slice of a column into memory."""
        kind = np.dtype(KINDS[name][0])
        place = self.folder / f"{name}.bin"
        return np.fromfile(place, kind, stop - start, offset=start * kind.itemsize)

    def take(self, name: str, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
        """Return concatenated slices of a column."""
        if not len(starts):
            return np.zeros(0, KINDS[name][0])
        # Contiguous slices are read, because mapped pages would stay in memory.
        if (starts[1:] == stops[:-1]).all():
            return self.read(name, int(starts[0]), int(stops[-1]))
        n = stops - starts
        shift = np.repeat(starts - (np.cumsum(n) - n), n)
        return self.column(name)[np.arange(n.sum()) + shift]


PIECE = 2_000_000  # Number of events in a piece.


def event_pieces(files: EventFiles) -> Iterator[EventColumns]:
    """Yield all events in pieces."""
    for start in range(0, files.n_events, PIECE):
        yield event_rows(files, np.arange(start, min(start + PIECE, files.n_events)))


def event_rows(files: EventFiles, rows: np.ndarray) -> EventColumns:
    """Return the events at some positions as columns."""

    def labels(name: str) -> Labels | None:
        if name not in files.columns:
            return None
        return Labels(files.column(name)[rows], files.words(name))

    owner = np.searchsorted(files.offsets, rows, "right") - 1
    return EventColumns(
        files.subjects.to_numpy()[owner],
        files.column("time")[rows],
        Labels(files.column("code")[rows], files.words("code")),
        files.column("value")[rows],
        np.zeros(len(rows), dtype=np.uint8),
        files.column("available")[rows] if "available" in files.columns else None,
        None,
        labels("unit"),
        labels("text"),
        files.zone_name,
    )


def event_table(files: EventFiles, rows: np.ndarray) -> pd.DataFrame:
    """Return the events at some positions as a table of the stored columns."""
    columns = event_rows(files, rows)
    table: dict[str, Any] = {
        "subject_id": columns.subject,
        "time": _as_times(columns.time, files.zone),
        "code": as_series(columns.code).to_numpy(),
        "numeric_value": columns.value,
    }
    if columns.available is not None:
        known = columns.available
        known = np.where(known == NO_TIME, columns.time, known)
        table["available_time"] = _as_times(known, files.zone)
    for name, labels in (("unit", columns.unit), ("text_value", columns.text)):
        if labels is not None:
            table[name] = as_series(labels).to_numpy()
    return pd.DataFrame(table)


def _as_times(times: np.ndarray, zone: bool) -> pd.Series:
    column = pd.Series(times.view("datetime64[us]"))
    return column.dt.tz_localize("UTC") if zone else column
