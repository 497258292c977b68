"""Reading and integrity checks of events in a folder of binary arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.events.columns import NO_TIME, EventColumns, Labels, as_series
from skfusion.ehr.events.folders import DamagedFolderError, read_json
from skfusion.ehr.events.labels import LABELS, labels_digest
from skfusion.ehr.events.stay_table import STAY_FILES, read_stays, stay_digest

__all__ = [
    "EventFiles",
    "KINDS",
    "DROPPED",
    "MANIFEST",
    "content_fingerprint",
    "event_pieces",
    "event_rows",
    "event_table",
    "file_stamps",
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


def content_fingerprint(folder: Path, columns: list[str], words: str) -> str:
    """Return the digest of the content of a folder of events."""
    digest = hashlib.blake2b(words.encode(), digest_size=16)
    for name in ["offset", *columns]:
        with open(folder / f"{name}.bin", "rb") as file:
            while part := file.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()


def file_stamps(
    folder: Path,
    columns: list[str],
    *,
    labels: bool = False,
    stays: bool = False,
) -> dict[str, list[int]]:
    """Return the size and modification time of the files of a folder."""
    files = {name: folder / f"{name}.bin" for name in ["offset", *columns]}
    files["words"] = folder / WORDS
    if labels:
        files["labels"] = folder / LABELS
    if stays:
        files |= {name: folder / name for name in STAY_FILES}
    states = {name: file.stat() for name, file in files.items()}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}


class EventFiles:
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
        If the description of the events cannot be parsed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = read_json(folder / MANIFEST, "EventStore")
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"EventStore: got a folder without events, {folder}. Write them again "
                "with EventStore.from_frame or another from_ method. To predict for "
                "other events with a fitted model, use skfusion.ehr.with_events(model, "
                "store)."
            ) from None
        stamps = about.get("stamps")
        if not isinstance(about.get("fingerprint"), str) or not isinstance(
            stamps, dict
        ):
            raise self._damage(MANIFEST)
        self.fingerprint: str = about["fingerprint"]
        self._stamps: dict[str, list[int]] = stamps

    def _damage(self, name: str) -> DamagedFolderError:
        return DamagedFolderError(
            f"EventStore: got a damaged file {name} in {self.folder}. Write the "
            "events again."
        )

    @cached_property
    def _content(self) -> dict[str, Any]:
        try:
            content = read_json(self.folder / WORDS, "EventStore")
        except FileNotFoundError:
            raise self._damage(WORDS) from None
        if not content.keys() >= {"zone", "n_events", "columns", "words", "subjects"}:
            raise self._damage(WORDS)
        return content

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
        try:
            return read_json(self.folder / DROPPED, "EventStore")["dropped"]
        except (FileNotFoundError, DamagedFolderError):
            return []  # a store that was not read from a source

    @cached_property
    def labels(self) -> dict[str, str]:
        """Return the names of codes."""
        digest = self._content.get("labels")
        if digest is None:
            return {}
        content = self._labels_content()
        if labels_digest(content) != digest:
            raise self._damage(LABELS)
        return json.loads(content)

    def _labels_content(self) -> bytes:
        """Return the content of the file of names, empty if it is missing."""
        try:
            return (self.folder / LABELS).read_bytes()
        except FileNotFoundError:
            return b""

    @property
    def stay_digest(self) -> str | None:
        """Return the digest of the table of stays, None without one."""
        return self._content.get("stays")

    def stays(self) -> pd.DataFrame | None:
        """Return the table of stays, None without one."""
        return None if self.stay_digest is None else read_stays(self.folder)

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
        return np.fromfile(self.folder / "offset.bin", np.int64)

    @cached_property
    def _maps(self) -> dict[str, np.ndarray]:
        return {
            name: np.memmap(self.folder / f"{name}.bin", KINDS[name][0], "r")
            for name in self.columns
        }

    def check(self) -> None:
        """Raise a ValueError if a file changed since it was written."""
        if not self.is_whole():
            self._raise_changed()

    def verify(self) -> None:
        """Raise a ValueError if the content is not that of the fingerprint."""
        if not self.is_intact():
            self._raise_changed()

    def _raise_changed(self) -> None:
        raise ValueError(
            f"EventStore: got files in {self.folder} that changed since they were "
            "written, so that features would differ. Write the events again."
        )

    def is_whole(self) -> bool:
        """Return whether the files are unchanged since they were written."""
        try:
            there = {
                "labels": "labels" in self._content,
                "stays": "stays" in self._content,
            }
            now = file_stamps(self.folder, self.columns, **there)
        except (FileNotFoundError, DamagedFolderError):
            return False
        if now == self._stamps:
            return True
        # Earlier versions did not stamp all files.
        if any(now.get(k, [None])[0] != v[0] for k, v in self._stamps.items()):
            return False
        # Copying a folder changes the modification times but not the content.
        if not self.is_intact():
            return False
        self._stamps = now
        return True

    def is_intact(self) -> bool:
        """Return whether the content is that of the fingerprint, reading all of it."""
        try:
            words = (self.folder / WORDS).read_text(encoding="utf-8")
            found = content_fingerprint(self.folder, self.columns, words)
            digest = self._content.get("labels")
            stays = self.stay_digest
            kept = stays is None or stay_digest(self.folder) == stays
        except (FileNotFoundError, UnicodeDecodeError, DamagedFolderError):
            return False
        # The words contain the digest of the names.
        fits = digest is None or labels_digest(self._labels_content()) == digest
        return kept and fits and found == self.fingerprint

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
