"""Files of events and positions in, these events out: as columns, as a table.

Read next: `skfusion.ehr.events`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.event_columns import NO_TIME, EventColumns, Labels, as_series
from skfusion.ehr.event_files import EventFiles

__all__ = ["event_pieces", "event_rows", "event_table"]

PIECE = 2_000_000  # events at a time


def event_pieces(files: EventFiles) -> Iterator[EventColumns]:
    """Yield all events, some at a time."""
    for start in range(0, files.n_events, PIECE):
        yield event_rows(files, np.arange(start, min(start + PIECE, files.n_events)))


def event_rows(files: EventFiles, rows: np.ndarray) -> EventColumns:
    """Return some events as columns, by their positions."""

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
    """Return some events as a table of the columns that there are."""
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
