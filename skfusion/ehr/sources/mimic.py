"""Reader of events from the tables of MIMIC-III or MIMIC-IV."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd

from skfusion._validation import check_option, did_you_mean
from skfusion.ehr.sources.duckdb_tables import DuckTables
from skfusion.ehr.sources.mimic_queries import (
    JOINED,
    LAYOUTS,
    REASONS,
    EventQuery,
    mimic_files,
)
from skfusion.ehr.sources.shaping import NEVER, DroppedRows, Losses, with_answers

__all__ = ["read_mimic"]


def read_mimic(
    folder: str | os.PathLike[str],
    *,
    tables: Sequence[str] | None = None,
    qualitative: str = "text",
    unknown_availability: str = "never",
    encoding: str | None = None,
    delimiter: str | None = None,
    dropped: list[DroppedRows] | None = None,
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read events from the tables of MIMIC-III [1]_ or MIMIC-IV [2]_.

    The columns of the table ``patients`` determine the version.

    Parameters
    ----------
    folder : str or PathLike
        Folder of the tables as CSV, gzipped CSV or Parquet files, in the folder itself
        or in subfolders (``hosp`` and ``icu``). A table may also be a folder of part
        files (``labevents/part-0000.parquet``). Other files are ignored.
    tables : sequence of str or None, default=None
        Tables to read, such as ``("labevents", "diagnoses_icd")``. None reads all
        existing tables of events. ``patients`` and ``admissions`` are required.
    qualitative : {"text", "code"}, default="text"
        Place of a result without a number, such as "NEG". "text" is ``text_value``.
        "code" also appends ``//POSITIVE`` or ``//NEGATIVE`` to the code, if the text
        means one of these.
    unknown_availability : {"never", "event_time"}, default="never"
        When an event becomes available that has no store time, or no end of its stay,
        although its table has them. "never" is the year 9999. "event_time" may be too
        early.
    encoding : str or None, default=None
        Encoding of CSV files, such as "latin-1". None is UTF-8, or UTF-16 if a file
        begins like it.
    delimiter : str or None, default=None
        Delimiter of CSV files. None is that of the header of each file, one of comma,
        semicolon, tab and bar.
    dropped : list or None, default=None
        List to which the numbers of dropped rows are appended, as tuples ``(table,
        reason, n_rows, n_subjects)``.
    chunk_size : int, default=200_000
        Approximate number of events in a chunk.

    Yields
    ------
    DataFrame
        Columns of events. Codes begin with ``DIAGNOSIS//ICD9CM//`` or ``ICD10CM//``,
        ``PROCEDURE//``, ``LAB//LOINC//`` (MIMIC-III, if its table has one) or
        ``LAB//MIMIC//`` and the item, ``VITAL//``, ``CHART//``, ``OUTPUT//``,
        ``MEDICATION//INPATIENT//``, ``MICROBIOLOGY//``, ``VISIT//``, ``DISCHARGE//``,
        ``ICU//``, ``ICU_END//``, ``SERVICE//``, ``DRG//`` or ``RACE//``. Further codes
        are ``MEDS_BIRTH``, ``MEDS_DEATH`` and, without time, ``GENDER//``.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the version is unknown, a table or column is missing, or a file is damaged.

    Warns
    -----
    UserWarning
        If rows are dropped or have an unknown availability, stays or laboratory items
        are repeated, or tables of events are missing.

    Notes
    -----
    Rows that MIMIC itself marks as rewritten, cancelled or wrong
    (``statusdescription``, ``cancelreason``, ``error`` and ``iserror``) are dropped. A
    laboratory result without ``value`` is the text in ``comments``.

    Diagnoses, procedures and billing groups become available at discharge. Results,
    chart and input events become available at their store time, if the table has one.
    Laboratory values of MIMIC-III have none and are available when drawn (use
    `skfusion.EventStore.with_lags` for a delay). Cultures of MIMIC-III become available
    at discharge. Dates without a time are moved to the end of their day. Births of
    MIMIC-IV are in the middle (1 July) of the year ``anchor_year - anchor_age``. Words
    such as "NULL" and "NA" in columns of numbers and dates are nulls.

    References
    ----------
    .. [1] Johnson AEW et al. (2016). MIMIC-III, a freely accessible critical care
       database. Scientific Data 3:160035.
    .. [2] Johnson AEW et al. (2023). MIMIC-IV, a freely accessible electronic health
       record dataset. Scientific Data 10:1.

    Examples
    --------
    >>> from skfusion.ehr.sources import read_mimic
    >>> def stored(folder):
    ...     from skfusion import EventStore
    ...     return EventStore.from_frame(read_mimic(folder), no_time="static")
    """
    for option, name, allowed in (
        (qualitative, "qualitative", ("text", "code")),
        (unknown_availability, "unknown_availability", ("never", "event_time")),
    ):
        check_option(option, name, allowed, "read_mimic")
    layout = mimic_files()._replace(encoding=encoding, delimiter=delimiter)
    layout.check("read_mimic")
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"read_mimic: got a missing folder, {place}.")
    opened = DuckTables.of_folder(place, "read_mimic", chunk_size, layout)
    try:
        queries = _chosen(opened, tables)
        for name in JOINED:
            if any(f" JOIN {name} " in query.join for query in queries):
                _join(opened, name)
    except BaseException:
        opened.close()
        raise
    is_coded, is_early = qualitative == "code", unknown_availability == "event_time"
    return _events(opened, queries, is_coded, is_early, dropped)


def _chosen(opened: DuckTables, tables: Sequence[str] | None) -> list[EventQuery]:
    """Return the queries to run, after checking tables and columns."""
    for name in ("patients", "admissions"):
        if not opened.columns(name):
            raise ValueError(
                f"read_mimic: got a folder without the table {name!r}. Pass the folder "
                "of MIMIC-III, or that of MIMIC-IV above 'hosp' and 'icu'."
            )
    about = opened.columns("patients")
    layout = "iv" if "anchor_age" in about else "iii" if "dob" in about else None
    if layout is None:
        raise ValueError(
            "read_mimic: the table 'patients' must have the column 'dob' (MIMIC-III) "
            f"or 'anchor_age' (MIMIC-IV), got {about}."
        )
    queries = LAYOUTS[layout]
    known = sorted({query.table for query in queries})
    for name in tables or ():
        if name not in known:
            raise ValueError(
                f"read_mimic: got an unsupported table {name!r} in tables."
                f"{did_you_mean(name, known)} The options of MIMIC-{layout.upper()} "
                f"are {', '.join(known)}."
            )
        if not opened.columns(name):
            raise ValueError(f"read_mimic: got a folder without the table {name!r}.")
    there = [name for name in known if opened.columns(name)]
    if tables is None and len(there) < len(known):
        missing = ", ".join(name for name in known if name not in there)
        warnings.warn(
            f"read_mimic: got no tables {missing}, so there are no events of them. Set "
            "tables= to silence this warning.",
            stacklevel=3,
        )
    chosen = [q for q in queries if q.table in (there if tables is None else tables)]
    for query in chosen:
        _check(opened, query)
    return sorted(chosen, key=lambda query: query.table)


def _check_columns(opened: DuckTables, table: str, needs: Sequence[str]) -> None:
    columns = opened.columns(table)
    lacking = [name for name in needs if name not in columns]
    if lacking:
        raise ValueError(
            f"read_mimic: table {table!r} must have the columns {lacking}, got "
            f"{columns}."
        )


def _check(opened: DuckTables, query: EventQuery) -> None:
    _check_columns(opened, query.table, ("subject_id", *query.needs))
    for name in query.uses:
        if not opened.columns(name):
            raise ValueError(
                f"read_mimic: table {query.table!r} requires the table {name!r}, but "
                "got a folder without it."
            )


def _join(opened: DuckTables, name: str) -> None:
    """Create a table to join, and count its repeated rows."""
    source, needs, query = JOINED[name]
    _check_columns(opened, source, needs)
    n_repeated = opened.materialize(name, query, source)
    if n_repeated:
        warnings.warn(
            f"read_mimic: {n_repeated:,} rows of {source} repeat another one. One row "
            "of each is joined.",
            stacklevel=3,
        )


def _events(
    opened: DuckTables,
    queries: list[EventQuery],
    is_coded: bool,
    is_early: bool,
    dropped: list[DroppedRows] | None,
) -> Iterator[pd.DataFrame]:
    try:
        for table, parts in groupby(queries, key=lambda query: query.table):
            losses = Losses("read_mimic", table, dropped)
            n_unknown = 0
            for query in parts:
                sql = query.sql(opened.columns(table))
                for chunk in opened.chunks(sql, table):
                    events = _kept(chunk, query, losses)
                    if query.available:
                        unknown = events["available_time"].isna()
                        n_unknown += int(unknown.sum())
                        if not is_early and unknown.any():
                            events = events.assign(
                                available_time=events["available_time"].fillna(NEVER)
                            )
                    if is_coded and "text_value" in events:
                        codes = with_answers(events["code"], events["text_value"])
                        events = events.assign(code=codes)
                    yield events
            losses.warn()
            _warn_of_unknown(table, n_unknown, is_early)
    finally:
        opened.close()


def _kept(chunk: pd.DataFrame, query: EventQuery, losses: Losses) -> pd.DataFrame:
    """Return the events of a chunk, without rows that are wrong."""
    if query.may_lack_code:  # Patients without a recorded death yield no event.
        chunk = chunk[chunk["code"].notna()]
    n_rows = len(chunk)
    if chunk["wrong"].any():
        for key, reason in REASONS.items():
            chunk = losses.keep(chunk, chunk["wrong"] != key, reason)
    losses.n_rows += n_rows - len(chunk)
    return losses.keep_events(chunk, needs_time=not query.is_static)


def _warn_of_unknown(table: str, n_unknown: int, is_early: bool) -> None:
    if n_unknown:
        effect = (
            "They are available when they happened, which may be too early."
            if is_early
            else "They are in the store, but never become available. Set "
            "unknown_availability='event_time' to make them available when they "
            "happened."
        )
        warnings.warn(
            f"read_mimic: {table}: {n_unknown:,} events have no store time, or no end "
            f"of their stay. {effect}",
            stacklevel=2,
        )
