"""A folder of MIMIC-III or MIMIC-IV in, chunks of events out.

Read next: `skfusion.ehr.sources.mimic_tables`, which tables, and known when.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import pandas as pd

from skfusion._validation import did_you_mean
from skfusion.ehr.sources.mimic_tables import LAYOUTS, EventQuery
from skfusion.ehr.sources.shaping import Losses
from skfusion.ehr.sources.sql_tables import DuckTables

__all__ = ["read_mimic"]


def read_mimic(
    folder: str | os.PathLike[str],
    *,
    tables: Sequence[str] | None = None,
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read the events of MIMIC-III [1]_ or MIMIC-IV [2]_.

    Which of the two it is, the columns of the table ``patients`` tell.

    Parameters
    ----------
    folder : str or PathLike
        Folder of the tables, as CSV, CSV with gzip or Parquet, in it or below (``hosp``
        and ``icu``).
    tables : sequence of str or None, default=None
        Which tables, such as ``("labevents", "diagnoses_icd")``. None takes those with
        events that are there; ``patients`` and ``admissions`` must be.
    chunk_size : int, default=200_000
        About how many events a chunk has.

    Yields
    ------
    DataFrame
        Columns of events. Codes begin with ``DIAGNOSIS//ICD9CM//`` or ``ICD10CM//``,
        ``PROCEDURE//``, ``LAB//LOINC//`` (MIMIC-III, where its table has one) or
        ``LAB//MIMIC//`` and the item, ``VITAL//``, ``CHART//``, ``OUTPUT//``,
        ``MEDICATION//INPATIENT//``, ``MICROBIOLOGY//``, ``VISIT//``, ``DISCHARGE//``,
        ``ICU//``, ``ICU_END//``, ``SERVICE//``, ``DRG//``, ``RACE//``, and there are
        ``MEDS_BIRTH``, ``MEDS_DEATH`` and, without time, ``GENDER//``.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the layout is neither, a table or column is missing, or a file is damaged.

    Warns
    -----
    UserWarning
        If rows are left out.

    Notes
    -----
    When events are known: diagnoses, procedures and groups that are billed, at
    discharge; results, charts and inputs when they were stored, where a table says so.
    It does not for laboratory values of MIMIC-III, which are known when drawn (give
    them time with `skfusion.EventStore.with_lags`), nor for its cultures, which are
    known at discharge. Dates without a time count as the end of their day. Births of
    MIMIC-IV are at the beginning of the year ``anchor_year - anchor_age``.

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
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"read_mimic: there is no folder {place}.")
    opened = DuckTables.of_folder(place, "read_mimic", chunk_size)
    try:
        queries = _chosen(opened, tables)
    except BaseException:
        opened.close()
        raise
    return _events(opened, queries)


def _chosen(opened: DuckTables, tables: Sequence[str] | None) -> list[EventQuery]:
    """Return the queries to ask, after a look at tables and columns."""
    for name in ("patients", "admissions"):
        if not opened.columns(name):
            raise ValueError(
                f"read_mimic: there is no table {name!r}. Pass the folder of "
                "MIMIC-III, or that of MIMIC-IV above 'hosp' and 'icu'."
            )
    about = opened.columns("patients")
    layout = "iv" if "anchor_age" in about else "iii" if "dob" in about else None
    if layout is None:
        raise ValueError(
            "read_mimic: neither MIMIC-III nor MIMIC-IV: the table 'patients' has no "
            f"column 'dob' and no 'anchor_age'; it has {about}."
        )
    queries = LAYOUTS[layout]
    known = sorted({query.table for query in queries})
    for name in tables or ():
        if name not in known:
            raise ValueError(
                f"read_mimic: no events are read from a table {name!r}."
                f"{did_you_mean(name, known)} Those of MIMIC-{layout.upper()} are "
                f"{', '.join(known)}."
            )
        if not opened.columns(name):
            raise ValueError(f"read_mimic: there is no table {name!r} in the folder.")
    there = [name for name in known if opened.columns(name)]
    chosen = [q for q in queries if q.table in (there if tables is None else tables)]
    for query in chosen:
        _check(opened, query)
    return sorted(chosen, key=lambda query: query.table)


def _check(opened: DuckTables, query: EventQuery) -> None:
    columns = opened.columns(query.table)
    lacking = [name for name in ("subject_id", *query.needs) if name not in columns]
    if lacking:
        raise ValueError(
            f"read_mimic: the table {query.table!r} has no column {lacking}; it has "
            f"{columns}."
        )
    for name in query.uses:
        if not opened.columns(name):
            raise ValueError(
                f"read_mimic: the table {query.table!r} is read with {name!r}, which "
                "is not in the folder."
            )


def _events(opened: DuckTables, queries: list[EventQuery]) -> Iterator[pd.DataFrame]:
    try:
        for table, parts in groupby(queries, key=lambda query: query.table):
            losses = Losses("read_mimic", table)
            for query in parts:
                static = query.time.startswith("CAST(NULL")
                for chunk in opened.chunks(query.sql(), table):
                    if query.code.startswith("CASE WHEN t.dod"):  # the living
                        chunk = chunk[chunk["code"].notna()]
                    yield chunk if static else losses.keep_events(chunk)
            losses.warn()
    finally:
        opened.close()
