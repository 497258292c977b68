"""Data-quality report of a store of events: what a data scientist reads first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.events.columns import NO_TIME
from skfusion.ehr.events.labels import readable_names
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.measurements.analytes import BASE_UNITS
from skfusion.ehr.measurements.units import Units, plain_unit, states_no_unit
from skfusion.ehr.sources.shaping import ABSENT, UNREAD

__all__ = ["QualityReport", "quality_report"]


COLUMNS = ["table", "reason", "n_rows", "n_subjects", "share"]
#: Parts of codes that name a source instead of a vocabulary.
SOURCE_VOCABULARIES = ("OMOP", "SOURCE", "MIMIC")
#: Texts of results that state that there is none, in lower case.
NO_RESULT = ("n/a", "na", "nan", "none", "null", "___", "error", "unknown", "")
BIRTH, DEATH = "MEDS_BIRTH", "MEDS_DEATH"
_CHUNK = 5_000_000  # events that are searched for duplicates at a time
_DAY = 86_400_000_000  # microseconds
_LINES = 40  # of a printed report


@dataclass(frozen=True, eq=False)
class QualityReport:
    """Findings about the events of a store and about the reading of their source.

    Attributes
    ----------
    frame : DataFrame
        One row per finding: ``table`` (a table of the source, or the first part of the
        codes), ``reason``, ``n_rows``, ``n_subjects`` and ``share`` (of the rows of the
        table). Tables of events that the source does not have, and tables that were
        not read, have 0 rows. The findings contain no identifiers and no values of
        patients.
    n_events, n_subjects : int
        Size of the store.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore
    >>> events = pd.DataFrame({
    ...     "subject_id": [1, 1, 2], "time": pd.Timestamp("2024-05-01 08:00"),
    ...     "code": "LAB//crp", "numeric_value": [3.0, 3.0, 5.0],
    ...     "unit": ["mg/L", "mg/L", "mg/dL"],
    ... })
    >>> report = EventStore.from_frame(events).quality()
    >>> report.frame[["table", "reason", "n_rows"]].head(2)
      table                                    reason  n_rows
    0   LAB                          exact duplicates       1
    1   LAB  LAB//crp is in 2 units: mg/L 2, mg/dL 1       1
    """

    __module__ = "skfusion.ehr"

    frame: pd.DataFrame
    n_events: int
    n_subjects: int

    def __str__(self) -> str:
        """Return the findings as text, the most frequent first, on one screen."""
        head = f"{self.n_events:,} events of {self.n_subjects:,} subjects"
        if self.frame.empty:
            return f"{head}. No findings."
        of_tables = self.frame["reason"].isin((ABSENT, UNREAD))
        lines = [
            f"  {reason}: {', '.join(group['table'])}"
            for reason, group in self.frame[of_tables].groupby("reason", sort=False)
        ]
        head = "\n".join([f"{head}.", *lines])
        if of_tables.all():
            return head
        head += "\n" if lines else " "
        rest = self.frame[~of_tables]
        ordered = rest.sort_values("n_rows", ascending=False, kind="stable")
        lines = [
            f"  {row.n_rows:>9,} {row.share:>6.1%}  {row.table}: {row.reason}"
            f"{_subjects(row.n_subjects)}"
            for row in ordered.head(_LINES).itertuples()
        ]
        more = len(ordered) - _LINES
        if more > 0:
            lines.append(f"  and {more} more findings in the frame")
        return "\n".join(
            [f"{head}Findings (rows, share of the rows they are about):", *lines]
        )

    __repr__ = __str__


def _subjects(number: Any) -> str:
    """Return a number of subjects in words, nothing where it is not known."""
    return f" ({number:,} subject{'s' * (number != 1)})" if number else ""


def quality_report(files: EventFiles, dropped: Iterable[Any] = ()) -> QualityReport:
    """Check the events of a store.

    Parameters
    ----------
    files : EventFiles
        The events.
    dropped : iterable of (table, reason, n_rows, n_subjects, n_read)
        Rows that were left out when the source was read.

    Returns
    -------
    QualityReport
    """
    events = _Events(files)
    findings = [
        (table, reason, n_rows, n_subjects, n_rows / max(n_read, 1))
        for table, reason, n_rows, n_subjects, n_read in dropped
    ]
    for check in (
        *(_duplicates, _texts_without_result, _words_for_no_unit, _several_units),
        _unknown_units,
        *(_implausible, _own_vocabulary, _unknown_availability, _dates, _births),
        *(_outside_life, _silent_months),
    ):
        findings += check(events)
    frame = pd.DataFrame(findings, columns=COLUMNS)
    return QualityReport(frame, files.n_events, len(files.subjects))


class _Events:
    """Columns of a store as arrays, with the table (first part of the code) of each."""

    def __init__(self, files: EventFiles) -> None:
        self.files = files
        self.codes = files.words("code")
        self.code = np.asarray(files.column("code"))
        self.time = np.asarray(files.column("time"))
        self.value = np.asarray(files.column("value"))
        self.subject = np.repeat(
            np.arange(len(files.subjects), dtype=np.int32), np.diff(files.offsets)
        )
        parts = pd.Series(self.codes, dtype=object).str.split("//").str[0]
        number, self.tables = pd.factorize(parts.to_numpy(object))
        self.table = number[self.code] if len(number) else self.code
        self.sizes = np.bincount(self.table, minlength=len(self.tables))

    def shown(self, code: int) -> str:
        """Return a code with its name, if it has one."""
        return readable_names([self.codes[code]], self.files.labels)[0]

    def column(self, name: str) -> np.ndarray | None:
        """Return a column, or None if the store does not have it."""
        known = name in self.files.columns
        return np.asarray(self.files.column(name)) if known else None

    def by_table(self, found: np.ndarray, reason: str) -> Iterator[tuple[Any, ...]]:
        """Yield one finding for each table with rows that were found."""
        counts = np.bincount(self.table[found], minlength=len(self.tables))
        for number in np.flatnonzero(counts):
            rows = found & (self.table == number)
            yield self._finding(int(number), reason, rows)

    def of_code(self, code: int, rows: np.ndarray, reason: str) -> tuple[Any, ...]:
        """Return a finding about one code, with its share of the code's rows."""
        n_rows = int(rows.sum())
        n_subjects = len(np.unique(self.subject[rows]))
        n_of_code = int((self.code == code).sum())
        table = str(self.codes[code]).partition("//")[0]
        return table, reason, n_rows, n_subjects, n_rows / max(n_of_code, 1)

    def _finding(self, number: int, reason: str, rows: np.ndarray) -> tuple[Any, ...]:
        n_rows = int(rows.sum())
        n_subjects = len(np.unique(self.subject[rows]))
        share = n_rows / self.sizes[number]
        return str(self.tables[number]), reason, n_rows, n_subjects, float(share)


def _duplicates(events: _Events) -> Iterator[tuple[Any, ...]]:
    found = np.zeros(len(events.code), dtype=bool)
    offsets = events.files.offsets
    names = [name for name in events.files.columns if name != "subject"]
    start = 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + _CHUNK, side="right")) - 1
        stop = max(stop, start + 1)
        part = slice(int(offsets[start]), int(offsets[stop]))
        columns = {name: np.asarray(events.files.column(name))[part] for name in names}
        table = pd.DataFrame(columns | {"subject": events.subject[part]})
        found[part] = table.duplicated().to_numpy()
        start = stop
    yield from events.by_table(found, "exact duplicates")


def _texts_without_result(events: _Events) -> Iterator[tuple[Any, ...]]:
    text = events.column("text")
    if text is None:
        return
    words = events.files.words("text")
    for number, word in enumerate(words):
        if str(word).strip().casefold() in NO_RESULT:
            yield from events.by_table(text == number, f"the text is {word!r}")


def _several_units(events: _Events) -> Iterator[tuple[Any, ...]]:
    unit = events.column("unit")
    if unit is None:
        return
    words = [str(word) for word in events.files.words("unit")]
    plain = pd.factorize(np.array([plain_unit(word) for word in words], dtype=object))
    there = (unit >= 0) & ~np.isnan(events.value)
    pairs = pd.DataFrame({"code": events.code[there], "unit": unit[there]})
    pairs["plain"] = plain[0][pairs["unit"]] if len(words) else 0
    counts = pairs.groupby(["code", "plain"], sort=True)["unit"].agg(["size", "first"])
    several = counts.groupby(level="code").filter(lambda table: len(table) > 1)
    for code in several.index.get_level_values("code").unique():
        table = several.loc[code].sort_values("size", ascending=False, kind="stable")
        sizes, first = table["size"].tolist(), table["first"].tolist()
        listed = ", ".join(f"{words[u]} {n}" for n, u in zip(sizes, first, strict=True))
        rows = there & (events.code == code)
        rows[rows] = plain[0][unit[rows]] != table.index[0]
        reason = f"{events.shown(code)} is in {len(table)} units: {listed}"
        yield events.of_code(code, rows, reason)


def _words_for_no_unit(events: _Events) -> Iterator[tuple[Any, ...]]:
    unit = events.column("unit")
    if unit is None:
        return
    for number, word in enumerate(events.files.words("unit")):
        # Units of insulin and of heparin are units.
        is_dose = str(word).strip().casefold() in ("unit", "units")
        if states_no_unit(str(word)) and not is_dose:
            yield from events.by_table(unit == number, f"the unit is {word!r}")


def _unknown_units(events: _Events) -> Iterator[tuple[Any, ...]]:
    unit = events.column("unit")
    if unit is None:
        return
    words = [str(word) for word in events.files.words("unit")]
    is_unknown = np.array(
        [plain_unit(w) not in BASE_UNITS and not states_no_unit(w) for w in words]
        + [False]
    )
    found = is_unknown[unit] & ~np.isnan(events.value)
    yield from events.by_table(found, "the unit is not known")


def _implausible(events: _Events) -> Iterator[tuple[Any, ...]]:
    unit = events.column("unit")
    words = [] if unit is None else [str(word) for word in events.files.words("unit")]
    for prefix in ("LAB//LOINC//", "VITAL//LOINC//", "LOINC//"):
        units = Units.loinc(prefix)
        for number, code in enumerate(events.codes):
            if code not in units.codes:
                continue
            rows = events.code == number
            written = np.array([*words, None], dtype=object)
            of_rows = written[unit[rows]] if unit is not None else None
            status = units.status(
                pd.Series(code, index=range(int(rows.sum()))),
                pd.Series(events.value[rows]),
                pd.Series(of_rows, index=range(int(rows.sum())), dtype=object),
            )
            outside = rows.copy()
            outside[rows] = status == "out of bounds"
            if outside.any():
                shown = events.shown(number)
                reason = f"{shown} is outside of plausible bounds"
                yield events.of_code(number, outside, reason)


def _own_vocabulary(events: _Events) -> Iterator[tuple[Any, ...]]:
    is_own = np.array(
        [
            any(part in SOURCE_VOCABULARIES for part in str(code).split("//")[1:-1])
            for code in events.codes
        ],
        dtype=bool,
    )
    if len(is_own):
        reason = "the code is of the source itself and of no vocabulary"
        yield from events.by_table(is_own[events.code], reason)


def _unknown_availability(events: _Events) -> Iterator[tuple[Any, ...]]:
    available = events.column("available")
    timed = events.time != NO_TIME
    unknown = timed if available is None else timed & (available == NO_TIME)
    reason = "no time of availability, so that the time of the event is used"
    yield from events.by_table(unknown, reason)


def _dates(events: _Events) -> Iterator[tuple[Any, ...]]:
    is_date = np.isin(np.array(events.codes, dtype=object), events.files.date_only)
    if len(is_date):
        reason = "a date without a time, moved to the end of its day"
        yield from events.by_table(is_date[events.code], reason)


def _times_of(events: _Events, prefix: str) -> np.ndarray:
    """Return the last time of an event of each subject, NO_TIME without one."""
    is_wanted = np.array([str(c).startswith(prefix) for c in events.codes], dtype=bool)
    found = np.full(len(events.files.subjects), NO_TIME)
    if is_wanted.any():
        rows = is_wanted[events.code] & (events.time != NO_TIME)
        found[events.subject[rows]] = events.time[rows]
    return found


def _births(events: _Events) -> Iterator[tuple[Any, ...]]:
    n_without = int((_times_of(events, BIRTH) == NO_TIME).sum())
    if n_without:
        n_subjects = max(len(events.files.subjects), 1)
        share = n_without / n_subjects
        yield "subjects", "no time of birth", n_without, n_without, share


def _outside_life(events: _Events) -> Iterator[tuple[Any, ...]]:
    timed = events.time != NO_TIME
    for prefix, sign, reason in (
        (BIRTH, -1, "more than a day before the birth"),
        (DEATH, 1, "more than a day after the death"),
    ):
        limit = _times_of(events, prefix)[events.subject]
        beyond = sign * (events.time - limit) > _DAY
        yield from events.by_table(timed & (limit != NO_TIME) & beyond, reason)


def _silent_months(events: _Events) -> Iterator[tuple[Any, ...]]:
    """Find months without an event of a table that has several in most months."""
    timed = events.time != NO_TIME
    for number, table in enumerate(events.tables):
        times = events.time[timed & (events.table == number)]
        if len(times) < 100:
            continue
        months = times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
        first, last = np.quantile(months, [0.05, 0.95]).round().astype(np.int64)
        span = last - first + 1
        inside = months[(months >= first) & (months <= last)]
        silent = span - len(np.unique(inside))
        if span > 3 and 0 < silent < span / 2 and len(inside) / span >= 5:
            reason = f"{silent} of {span} months without an event"
            yield str(table), reason, 0, 0, float(silent / span)
