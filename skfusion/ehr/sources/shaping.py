"""Conversion of source columns to event columns, and counts of dropped rows."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion.exceptions import DataWarning, warn_user

__all__ = [
    "ABSENT",
    "DroppedRows",
    "EVENT_COLUMNS",
    "Losses",
    "NEVER",
    "UNREAD",
    "VITAL_SIGNS",
    "add_names_with_answers",
    "answer_of",
    "as_ids",
    "as_times",
    "end_of_day",
    "filled",
    "has_time_zone",
    "later_of",
    "prefixed",
    "with_answers",
    "without_events",
]


EVENT_COLUMNS = (
    *("subject_id", "time", "code", "numeric_value"),
    *("available_time", "unit", "text_value"),
)
DAY = (pd.Timedelta(1, "D") - pd.Timedelta(1, "us")).as_unit("us")
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}([T ]|$)")
# Availability of events whose availability is unknown. A null would mean "at once".
NEVER = pd.Timestamp("9999-12-31 23:59:59").as_unit("us")


#: Reasons of tables without any event, which have no number of rows.
ABSENT = "the source has no such table"
UNREAD = "the table was not read"


class DroppedRows(NamedTuple):
    """Number of rows of a table that were dropped for one reason.

    A whole table that is `ABSENT` or `UNREAD` has 0 rows.
    """

    table: str
    reason: str
    n_rows: int
    n_subjects: int
    n_read: int


class Losses:
    """Filter that drops rows without a valid event and counts them for a warning.

    Parameters
    ----------
    owner : str
        Name of the reader for the warning.
    source : str
        Name of the table or resource type.
    into : list of DroppedRows or None, default=None
        List of the caller to which `warn` appends the counts.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import Losses
    >>> losses = Losses("read_omop", "measurement")
    >>> table = pd.DataFrame({"subject_id": [1, 2], "code": ["LAB//1", None]})
    >>> len(losses.keep(table, table["code"].notna(), "have no code"))
    1
    >>> losses.rows()
    [DroppedRows(table='measurement', reason='have no code', ..., n_read=0)]
    """

    def __init__(
        self, owner: str, source: str, into: list[DroppedRows] | None = None
    ) -> None:
        self._owner, self._source, self._into = owner, source, into
        self._subjects: dict[str, set[Any]] = {}
        self.counts: Counter[str] = Counter()
        self.n_rows = 0

    def keep(self, frame: pd.DataFrame, wanted: pd.Series, reason: str) -> pd.DataFrame:
        """Return the wanted rows and count the others under `reason`."""
        n_lost = len(frame) - int(wanted.sum())
        if not n_lost:
            return frame
        self.counts[reason] += n_lost
        if "subject_id" in frame:
            lost = frame.loc[~wanted.astype(bool), "subject_id"].dropna()
            self._subjects.setdefault(reason, set()).update(lost.unique())
        return frame[wanted]

    def keep_events(
        self, frame: pd.DataFrame, *, needs_time: bool = True
    ) -> pd.DataFrame:
        """Return the event columns of rows that have a subject, a time and a code.

        Static events have no time, and are kept with `needs_time=False`.
        """
        self.n_rows += len(frame)
        for name, reason in (
            ("subject_id", "have no subject"),
            ("time", "have no time"),
            ("code", "have no code"),
        ):
            if name != "time" or needs_time:
                frame = self.keep(frame, frame[name].notna(), reason)
        return frame[[name for name in EVENT_COLUMNS if name in frame]]

    def rows(self) -> list[DroppedRows]:
        """Return the counts of dropped rows, one entry for each reason."""
        return [
            DroppedRows(
                self._source,
                reason,
                n,
                len(self._subjects.get(reason, ())),
                self.n_rows,
            )
            for reason, n in self.counts.items()
        ]

    def warn(self) -> None:
        """Warn about dropped rows, if there are any, and report them to the caller."""
        if self._into is not None:
            self._into += self.rows()
        if self.counts:
            lost = ", ".join(f"{n} {reason}" for reason, n in self.counts.items())
            warn_user(
                f"{self._owner}: {self._source}: dropped {self.counts.total()} of "
                f"{self.n_rows} rows: {lost}.",
                DataWarning,
            )


def without_events(absent: Iterable[str], unread: Iterable[str]) -> list[DroppedRows]:
    """Return entries of tables that are absent or were not read."""
    reasons = {ABSENT: absent, UNREAD: unread}
    return [
        DroppedRows(table, reason, 0, 0, 0)
        for reason, tables in reasons.items()
        for table in sorted(tables)
    ]


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
            with warnings.catch_warnings():  # Of pandas 2, about mixed offsets.
                warnings.simplefilter("error", FutureWarning)
                column = pd.to_datetime(texts, format="ISO8601")
        except (ValueError, TypeError, FutureWarning):  # Messages contain the cell.
            column = _times_one_by_one(texts, where)
    if column.dt.tz is None:
        return column.astype("datetime64[us]")
    return column.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _times_one_by_one(texts: pd.Series, where: str) -> pd.Series:
    """Convert cells of unlike offsets from UTC, or outside the range of nanoseconds."""
    times = [_as_time(cell) for cell in texts]
    bad = [i for i, time in enumerate(times) if time is None]
    zoned = {
        time.tzinfo is not None for time in times if time is not None and time == time
    }
    if bad or len(zoned) > 1:
        raise ValueError(
            f"{where}: got {len(bad) or 'some'} of {len(texts)} cells that are not "
            f"times (row positions {', '.join(map(str, bad[:5])) or 'unknown'} of "
            "this chunk), or mixed time zones. Expected ISO 8601 such as "
            "2024-05-01 12:30:00."
        )
    unit = "datetime64[us, UTC]" if True in zoned else "datetime64[us]"
    if True in zoned:
        times = [t if t is pd.NaT else t.tz_convert("UTC") for t in times]
    whole = [pd.NaT if t is pd.NaT else t.as_unit("us") for t in times]
    return pd.Series(pd.DatetimeIndex(whole, dtype=unit), index=texts.index)


def _as_time(cell: Any) -> Any:
    """Return a Timestamp, NaT for a null, or None for what is not a time."""
    if cell is None or cell is pd.NaT:
        return pd.NaT
    if isinstance(cell, str) and not _ISO.match(cell.strip()):
        return None  # Timestamp accepts much more, such as "today".
    try:
        return pd.Timestamp(cell)
    except (ValueError, TypeError):
        return None


def has_time_zone(cells: pd.Series) -> bool | None:
    """Return whether times have a time zone, or None if no cell is a time."""
    if not pd.api.types.is_datetime64_any_dtype(cells):
        cells = cells.dropna()
    try:
        times = as_times(cells, "")
    except ValueError:
        return None
    return times.dt.tz is not None if len(times) else None


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


def filled(column: pd.Series, others: Any) -> pd.Series:
    """Return a column of objects with its nulls replaced, without a change of type."""
    return column.astype(object).where(column.notna(), others)


def prefixed(start: str, column: pd.Series) -> pd.Series:
    """Return the column with a prefix before each cell that is not null."""
    words = column.astype(object).map(lambda cell: f"{start}{cell}", "ignore")
    return words.astype(object).where(column.notna(), None)


def later_of(times: pd.Series, others: pd.Series) -> pd.Series:
    """Return the elementwise later time, ignoring nulls in `others`."""
    return times.where(~(others > times), others)


def as_ids(column: pd.Series, where: str) -> pd.Series:
    """Convert a column of integers, as numbers or text, to a nullable integer column.

    All 64 bits are kept, also beside nulls. A float column holds whole numbers up to
    2**53 exactly, and larger ones are refused.

    Raises
    ------
    ValueError
        If a cell is not an integer, or not certain to be the original one.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import as_ids
    >>> as_ids(pd.Series(["8507", "9007199254740993.0", None]), "read_omop").tolist()
    [8507, 9007199254740993, <NA>]
    """
    if pd.api.types.is_integer_dtype(column) and column.dtype != "uint64":
        return column.astype("Int64")
    there = column.notna()
    present = column[there]
    numbers = pd.to_numeric(present, errors="coerce") if len(present) else present
    if pd.api.types.is_signed_integer_dtype(numbers):
        exact = numbers.astype("Int64")
    else:  # Numbers went through float64, which merges ids above 2**53.
        places, values = pd.factorize(present)
        whole = pd.array([_whole(value) for value in values], dtype="Int64")
        exact = pd.Series(whole.take(places), index=present.index)
    bad = exact.isna().to_numpy()
    if bad.any():
        listed = ", ".join(str(i) for i in np.flatnonzero(there)[bad][:5])
        raise ValueError(
            f"{where}: got {bad.sum()} of {len(column)} cells that are not integers of "
            f"64 bits, or too large for a float column (row positions {listed} of this "
            "chunk). Export ids as integers or text."
        )
    return exact.reindex(column.index) if len(present) < len(column) else exact


def _whole(value: Any) -> int | None:
    """Return the integer that a number or text certainly means, or None."""
    if isinstance(value, float | np.floating) and not abs(float(value)) < 2**53:
        return None
    try:
        number = Decimal(value if isinstance(value, str) else str(value))
    except (ArithmeticError, ValueError):
        return None
    if not number.is_finite() or abs(number) >= 2**63 or number != int(number):
        return None
    return int(number)


# Laboratory words for the two common answers of a qualitative test.
_ANSWERS = {
    **dict.fromkeys(("pos", "positive", "detected", "present", "reactive"), "POSITIVE"),
    **dict.fromkeys(
        (
            *("neg", "negative", "not detected", "none detected", "undetected"),
            *("absent", "nonreactive", "non-reactive", "not reactive"),
        ),
        "NEGATIVE",
    ),
}


def answer_of(text: str) -> str | None:
    """Return POSITIVE or NEGATIVE for a word with this meaning, and None otherwise.

    Examples
    --------
    >>> from skfusion.ehr.sources.shaping import answer_of
    >>> answer_of("NEG."), answer_of("Not detected"), answer_of("no growth so far")
    ('NEGATIVE', 'NEGATIVE', None)
    """
    return _ANSWERS.get(" ".join(text.lower().split()).strip(" .*"))


def with_answers(
    code: pd.Series, texts: pd.Series, concepts: pd.Series | None = None
) -> pd.Series:
    """Return codes with the answer of a qualitative result appended.

    Parameters
    ----------
    code : Series of str
        Codes of events.
    texts : Series of str
        Texts of results without a number. Only words that `answer_of` knows become
        part of a code, because other texts may be notes.
    concepts : Series of str or None, default=None
        Names of coded answers, which become part of the code in upper case.

    Returns
    -------
    Series of str

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import with_answers
    >>> code = pd.Series(["LAB//1", "LAB//1", "LAB//1"])
    >>> with_answers(code, pd.Series(["POS", "see note", None])).tolist()
    ['LAB//1//POSITIVE', 'LAB//1', 'LAB//1']
    """
    answers = texts.astype(object).map(lambda text: answer_of(str(text)), "ignore")
    if concepts is not None:
        named = concepts.astype(object).map(
            lambda name: answer_of(str(name)) or str(name).upper(), "ignore"
        )
        answers = named.where(named.notna(), answers)
    suffix = prefixed("//", answers).where(answers.notna(), "")
    return (code.astype(object) + suffix).where(code.notna(), None)


def add_names_with_answers(
    labels: dict[str, str], before: pd.Series, after: pd.Series
) -> None:
    """Add the names of codes to which `with_answers` appended an answer.

    Parameters
    ----------
    labels : dict of str to str
        Code -> name. The names of codes with an answer are those of the codes without,
        a colon and the answer.
    before, after : Series of str
        Codes without and with the answers.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.sources.shaping import add_names_with_answers
    >>> labels = {"LAB//1": "Ketone"}
    >>> codes = pd.Series(["LAB//1", "LAB//1//POSITIVE"])
    >>> add_names_with_answers(labels, pd.Series(["LAB//1"] * 2), codes)
    >>> labels["LAB//1//POSITIVE"]
    'Ketone: POSITIVE'
    """
    changed = (before != after) & after.notna()
    pairs = pd.DataFrame({"before": before[changed], "after": after[changed]})
    for old, new in pairs.drop_duplicates().itertuples(index=False):
        if old in labels:
            answer = new.removeprefix(old).strip("/")
            labels.setdefault(new, f"{labels[old]}: {answer}")


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
