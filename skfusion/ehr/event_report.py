"""Files of events in, counts by code out. Read next: `skfusion.ehr.events`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skfusion.ehr.event_changes import measurements
from skfusion.ehr.event_files import EventFiles
from skfusion.ehr.event_rows import event_pieces
from skfusion.ehr.units import Units

__all__ = ["report_events", "report_units"]


def report_events(files: EventFiles) -> pd.DataFrame:
    """Count what is there, code by code; see `EventStore.report`."""
    code = np.asarray(files.column("code"))
    codes = files.words("code")
    subject = np.repeat(np.arange(len(files.subjects)), np.diff(files.offsets))
    pairs = np.unique(subject * len(codes) + code)
    valued = ~np.isnan(files.column("value"))
    table = pd.DataFrame(
        {
            "n_events": np.bincount(code, minlength=len(codes)),
            "n_subjects": np.bincount(pairs % len(codes), minlength=len(codes)),
            "n_values": np.bincount(code[valued], minlength=len(codes)),
            "units": _units(files, code, len(codes)),
            "date_only": np.isin(codes, files.date_only),
        },
        index=pd.Index(codes, name="code"),
    )
    return table.sort_index()


def report_units(files: EventFiles, units: Units) -> pd.DataFrame:
    """Count what would become of the numbers, by code and unit; see `Units.report`."""
    tables = [units.report(*measurements(piece)) for piece in event_pieces(files)]
    return pd.concat(tables).groupby(level=["code", "unit"]).sum()


def _units(files: EventFiles, code: np.ndarray, n_codes: int) -> list[dict[str, int]]:
    counts: list[dict[str, int]] = [{} for _ in range(n_codes)]
    if "unit" in files.columns:
        unit, words = np.asarray(files.column("unit")), files.words("unit")
        both = code[unit >= 0].astype(np.int64) * len(words) + unit[unit >= 0]
        for pair, number in zip(*np.unique(both, return_counts=True), strict=True):
            counts[pair // len(words)][words[pair % len(words)]] = int(number)
    return counts
