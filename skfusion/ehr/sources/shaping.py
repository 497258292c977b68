"""Conversion of source columns to event columns, and counts of dropped rows."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import pandas as pd

__all__ = [
    "EVENT_COLUMNS",
    "Losses",
    "VITAL_SIGNS",
    "as_ids",
    "as_times",
    "end_of_day",
    "later_of",
    "prefixed",
]


EVENT_COLUMNS = (
    *("subject_id", "time", "code", "numeric_value"),
    *("available_time", "unit", "text_value"),
)
DAY = pd.Timedelta(1, "D") - pd.Timedelta(1, "us")


class Losses:
    """Filter that drops rows without a valid event and counts them for a warning.

    Parameters
    ----------
    owner : str
        Name of the reader for the warning.
    source : str
        Name of the table or resource type.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import Losses
    >>> losses = Losses("read_omop", "measurement")
    >>> table = pd.DataFrame({"subject_id": [1, 2], "code": ["LAB//1", None]})
    >>> len(losses.keep(table, table["code"].notna(), "have no code"))
    1
    >>> losses.counts["have no code"]
    1
    """

    def __init__(self, owner: str, source: str) -> None:
        self._owner, self._source = owner, source
        self.counts: Counter[str] = Counter()
        self.n_rows = 0

    def keep(self, frame: pd.DataFrame, wanted: pd.Series, reason: str) -> pd.DataFrame:
        """Return the wanted rows and count the others under `reason`."""
        n_lost = len(frame) - int(wanted.sum())
        if not n_lost:
            return frame
        self.counts[reason] += n_lost
        return frame[wanted]

    def keep_events(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the event columns of rows that have a subject, a time and a code."""
        self.n_rows += len(frame)
        for name, reason in (
            ("subject_id", "have no subject"),
            ("time", "have no time"),
            ("code", "have no code"),
        ):
            frame = self.keep(frame, frame[name].notna(), reason)
        return frame[[name for name in EVENT_COLUMNS if name in frame]]

    def warn(self) -> None:
        """Warn about dropped rows, if there are any."""
        if self.counts:
            lost = ", ".join(f"{n} {reason}" for reason, n in self.counts.items())
            warnings.warn(
                f"{self._owner}: {self._source}: dropped {self.counts.total()} of "
                f"{self.n_rows} rows: {lost}.",
                stacklevel=2,
            )


def as_times(column: pd.Series, where: str) -> pd.Series:
    """Convert a column of dates, times or ISO 8601 texts to times.

    Parameters
    ----------
    column : Series
        Dates, times or texts, all with a time zone or all without.
    where : str
        Name of the reader and the column for the error message.

    Returns
    -------
    Series of datetime64[us]

    Raises
    ------
    ValueError
        If a cell is not a time, or only some cells have a time zone.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import as_times
    >>> as_times(pd.Series(["2024-05-01", None]), "read_omop: person").dt.year.tolist()
    [2024.0, nan]
    """
    if not pd.api.types.is_datetime64_any_dtype(column):
        texts = column.astype(object).where(column.notna(), None)
        try:
            column = pd.to_datetime(texts, format="ISO8601")
        except (ValueError, TypeError):  # The message of pandas contains the cell.
            bad = [i for i, cell in enumerate(texts) if not _is_time(cell)]
            raise ValueError(
                f"{where}: got {len(bad) or 'some'} of {len(texts)} cells that are not "
                f"times (row positions {', '.join(map(str, bad[:5])) or 'unknown'} of "
                "this chunk), or mixed time zones. Expected ISO 8601 such as "
                "2024-05-01 12:30:00."
            ) from None
    if column.dt.tz is None:
        return column.astype("datetime64[us]")
    return column.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _is_time(cell: Any) -> bool:
    try:
        pd.to_datetime(cell, format="ISO8601")
    except (ValueError, TypeError):
        return False
    return True


def end_of_day(times: pd.Series, where: pd.Series | None = None) -> pd.Series:
    """Move dates without a time to the last microsecond of their day.

    Parameters
    ----------
    times : Series of datetime64[us]
        Event times.
    where : Series of bool or None, default=None
        Which times are dates without time. None selects times at midnight.

    Returns
    -------
    Series of datetime64[us]

    Notes
    -----
    With a date as midnight, features in the morning would include the evening.
    """
    if where is None:
        where = times == times.dt.normalize()
    return times.where(~where, times + DAY)


def prefixed(start: str, column: pd.Series) -> pd.Series:
    """Return the column with a prefix before each cell that is not null."""
    words = column.astype(object).map(lambda cell: f"{start}{cell}", "ignore")
    return words.astype(object).where(column.notna(), None)


def later_of(times: pd.Series, others: pd.Series) -> pd.Series:
    """Return the elementwise later time, ignoring nulls in `others`."""
    return times.where(~(others > times), others)


def as_ids(column: pd.Series, where: str) -> pd.Series:
    """Convert a column of integers, as numbers or text, to a nullable integer column.

    Raises
    ------
    ValueError
        If a cell is not an integer.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import as_ids
    >>> as_ids(pd.Series(["8507", None]), "read_omop: person").tolist()
    [8507, <NA>]
    """
    if pd.api.types.is_integer_dtype(column):
        return column.astype("Int64")
    numbers = pd.to_numeric(column, errors="coerce")
    bad = (numbers.isna() & column.notna()) | (numbers % 1 > 0)
    if bad.any():
        places = ", ".join(str(i) for i in bad.to_numpy().nonzero()[0][:5])
        raise ValueError(
            f"{where}: got {bad.sum()} of {len(bad)} cells that are not integers (row "
            f"positions {places} of this chunk)."
        )
    return numbers.astype("Int64")


# Codes of the FHIR vital signs profile, and the equivalent SNOMED CT concepts.
VITAL_SIGNS = frozenset(
    f"LOINC//{code}"
    for code in (
        *("8867-4", "9279-1", "8310-5", "8302-2", "29463-7", "39156-5", "9843-4"),
        *("8480-6", "8462-4", "8478-0", "85354-9", "85353-1", "2708-6", "59408-5"),
    )
) | frozenset(
    f"SNOMED//{code}"
    for code in (
        *("364075005", "86290005", "386725007", "50373000", "27113001", "60621009"),
        *("271649006", "271650006", "75367002", "431314004"),
    )
)
