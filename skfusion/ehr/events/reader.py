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

__all__ = [
    "EventFiles",
    "KINDS",
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


def content_fingerprint(folder: Path, columns: list[str], words: str) -> str:
    """Return the digest of the content of a folder of events."""
    digest = hashlib.blake2b(words.encode(), digest_size=16)
    for name in ["offset", *columns]:
        with open(folder / f"{name}.bin", "rb") as file:
            while part := file.read(1 << 22):
                digest.update(part)
    return digest.hexdigest()


def file_stamps(folder: Path, columns: list[str]) -> dict[str, list[int]]:
    """Return the size and modification time of the files of a folder."""
    stamps = {}
    for name in ["offset", *columns]:
        state = (folder / f"{name}.bin").stat()
        stamps[name] = [state.st_size, state.st_mtime_ns]
    return stamps


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
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = json.loads((folder / "events.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"EventStore: got a folder without events, {folder}. Write them again "
                "with EventStore.from_frame or another from_ method."
            ) from None
        self.fingerprint: str = about["fingerprint"]
        self._stamps: dict[str, list[int]] = about["stamps"]

    @cached_property
    def _content(self) -> dict[str, Any]:
        return json.loads((self.folder / "words.json").read_text(encoding="utf-8"))

    @property
    def zone(self) -> bool:
        """Return whether the times had a time zone."""
        return self._content["zone"]

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
        return self._content.get("dropped", [])

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
            raise ValueError(
                f"EventStore: got files in {self.folder} that changed since they were "
                "written, so that features would differ. Write the events again."
            )

    def is_whole(self) -> bool:
        """Return whether the files are unchanged since they were written."""
        try:
            now = file_stamps(self.folder, self.columns)
        except FileNotFoundError:
            now = {}
        if now == self._stamps:
            return True
        sizes, written = (
            {name: stamp[0] for name, stamp in stamps.items()}
            for stamps in (now, self._stamps)
        )
        if sizes != written:
            return False
        # Copying a folder changes the modification times but not the content.
        words = (self.folder / "words.json").read_text(encoding="utf-8")
        if content_fingerprint(self.folder, self.columns, words) != self.fingerprint:
            return False
        self._stamps = now
        return True

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
        np.zeros(len(rows), dtype=bool),
        files.column("available")[rows] if "available" in files.columns else None,
        labels("unit"),
        labels("text"),
        files.zone,
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
