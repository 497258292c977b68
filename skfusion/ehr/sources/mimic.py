"""Reader of events from the tables of MIMIC-III or MIMIC-IV."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from skfusion._paths import expanded_path
from skfusion._validation import check_option, did_you_mean
from skfusion.ehr.sources.duckdb_tables import DuckTables, FileLayout
from skfusion.ehr.sources.shaping import (
    NEVER,
    DroppedRows,
    Losses,
    add_names_with_answers,
    with_answers,
    without_events,
)
from skfusion.ehr.sources.stays.mimic import STAY_TABLES, mimic_stays
from skfusion.ehr.sources.table_files import other_tables, warn_of_unread
from skfusion.exceptions import DataWarning, LeakageWarning, warn_user

__all__ = ["read_mimic"]


END = "+ INTERVAL 1 DAY - INTERVAL 1 MICROSECOND"  # Moves a date to the end of its day.
# Tables that are not read and are about no patient.
NO_PATIENTS = ("caregiver", "caregivers", "provider")
# Tables to join, with one row for each key. Of repeated rows, the latest discharge and
# the first code are used.
JOINED = {
    "stays": (
        "admissions",
        ("subject_id", "hadm_id", "dischtime"),
        "SELECT subject_id, hadm_id, max(CAST(dischtime AS TIMESTAMP)) AS dischtime "
        "FROM admissions WHERE hadm_id IS NOT NULL GROUP BY subject_id, hadm_id",
    ),
    "lab_items": (
        "d_labitems",
        ("itemid", "loinc_code"),
        "SELECT itemid, min(loinc_code) AS loinc_code FROM d_labitems "
        "WHERE itemid IS NOT NULL GROUP BY itemid",
    ),
}
# A left join, so that rows of an unknown stay are counted.
STAY = " LEFT JOIN stays a ON a.hadm_id = t.hadm_id AND a.subject_id = t.subject_id"
# Why a row is dropped, by the number in the column `wrong` of a query.
REASONS = {
    1: "are marked as rewritten, cancelled or wrong",
    2: "have no stay in admissions",
    3: "have an unknown icd_version",
}
# Columns with which the source marks rows that are not true.
FLAGS = {
    "statusdescription": "lower(trim(t.statusdescription)) IN "
    "('rewritten', 'cancelled', 'canceled')",
    "cancelreason": "TRY_CAST(t.cancelreason AS DOUBLE) <> 0",
    "error": "TRY_CAST(t.error AS DOUBLE) <> 0",
    "iserror": "TRY_CAST(t.iserror AS DOUBLE) <> 0",
}


class EventQuery(NamedTuple):
    """Events of one table, with an SQL expression for each column."""

    table: str
    needs: tuple[str, ...]  # Required columns.
    time: str
    code: str
    available: str | None = None
    value: str | None = None
    unit: str | None = None
    text: tuple[str, ...] = ()  # Columns of results that are not numbers, if present.
    join: str = ""
    uses: tuple[str, ...] = ()  # Other required tables.
    may_lack_code: bool = False  # Whether rows without a code are not events.

    @property
    def is_static(self) -> bool:
        """Return whether the events have no time."""
        return self.time == STATIC

    def sql(self, columns: Collection[str]) -> str:
        """Return the SQL query for a table with some columns."""
        parts = ["t.subject_id AS subject_id"]
        parts += [f"{self.time} AS time", f"{self.code} AS code"]
        parts.append(f"{self._wrong(columns)} AS wrong")
        if self.value:
            parts.append(f"TRY_CAST({self.value} AS DOUBLE) AS numeric_value")
        if self.available:  # The greatest of a time and null would be the time.
            parts.append(
                f"CASE WHEN {self.available} IS NOT NULL THEN "
                f"greatest({self.time}, {self.available}) END AS available_time"
            )
        if self.unit:
            parts.append(f"{self.unit} AS unit")
        there = [name for name in self.text if name in columns]
        if there:
            cells = [f"nullif(nullif(trim(t.{name}), '___'), '')" for name in there]
            text = f"CASE WHEN TRY_CAST({self.value} AS DOUBLE) IS NULL"
            parts.append(f"{text} THEN coalesce({', '.join(cells)}) END AS text_value")
        return f"SELECT {', '.join(parts)} FROM {self.table} t{self.join}"

    def _wrong(self, columns: Collection[str]) -> str:
        """Return an SQL expression of a key of `REASONS`, or 0 for a right row."""
        flags = [test for name, test in FLAGS.items() if name in columns]
        cases = [f"WHEN {' OR '.join(flags)} THEN 1"] if flags else []
        if self.time == DISCHARGED:
            cases.append("WHEN a.hadm_id IS NULL THEN 2")
        if "icd_version" in self.needs:
            cases.append(f"WHEN {VERSION} IS NULL OR {VERSION} NOT IN (9, 10) THEN 3")
        return f"CASE {' '.join(cases)} ELSE 0 END" if cases else "0"


def at(column: str) -> str:
    """Return an SQL expression that casts a column to a timestamp."""
    return f"CAST(t.{column} AS TIMESTAMP)"


def on(column: str) -> str:
    """Return an SQL expression for the end of the day of a date column."""
    return f"(date_trunc('day', {at(column)}) {END})"


STATIC = "CAST(NULL AS TIMESTAMP)"
DISCHARGED = "a.dischtime"
VERSION = "TRY_CAST(t.icd_version AS DOUBLE)"
# Vital signs of CareVue, and of MetaVision where the items have no category.
VITAL_ITEMS = (
    *(211, 220045, 51, 442, 455, 6701, 220179, 220050, 8368, 8440, 8441, 8555),
    *(220180, 220051, 456, 52, 6702, 443, 220052, 220181, 225312, 615, 618, 220210),
    *(224690, 223761, 678, 223762, 676, 646, 220277),
)
CHARTED = (
    f"CASE WHEN t.itemid IN {VITAL_ITEMS} THEN 'VITAL' "
    "ELSE 'CHART' END || '//MIMIC//' || t.itemid"
)
DRUG = "'MEDICATION//INPATIENT//MIMIC//' || trim(t.drug)"
ITEM = "'MEDICATION//INPATIENT//MIMIC//' || t.itemid"
CULTURE = (
    "'MICROBIOLOGY//' || t.spec_type_desc || '//' || coalesce(t.org_name, 'NEGATIVE')"
)

SHARED = (
    EventQuery(
        "admissions", ("hadm_id", "admission_type", "admittime", "dischtime"),
        at("admittime"), "'VISIT//' || t.admission_type",
    ),
    EventQuery(
        "admissions", ("discharge_location",),
        at("dischtime"), "'DISCHARGE//' || coalesce(t.discharge_location, 'UNKNOWN')",
    ),
    EventQuery(
        "icustays", ("intime", "first_careunit"),
        at("intime"), "'ICU//' || t.first_careunit",
    ),
    EventQuery(
        "icustays", ("outtime", "last_careunit"),
        at("outtime"), "'ICU_END//' || t.last_careunit",
    ),
    EventQuery(
        "services", ("transfertime", "curr_service"),
        at("transfertime"), "'SERVICE//' || t.curr_service",
    ),
    EventQuery(
        "drgcodes", ("hadm_id", "drg_type", "drg_code"),
        DISCHARGED, "'DRG//' || t.drg_type || '//' || t.drg_code",
        join=STAY, uses=("admissions",),
    ),
    EventQuery(
        "chartevents", ("itemid", "charttime", "storetime", "value", "valuenum"),
        at("charttime"), CHARTED, at("storetime"),
        "t.valuenum", "t.valueuom", ("value",),
    ),
    EventQuery(
        "outputevents", ("itemid", "charttime", "storetime", "value"),
        at("charttime"), "'OUTPUT//MIMIC//' || t.itemid", at("storetime"),
        "t.value", "t.valueuom",
    ),
)  # fmt: skip

MIMIC_III = (
    EventQuery("patients", ("gender",), STATIC,
               "'GENDER//' || t.gender"),
    # Ages above 89 are masked by births 300 years earlier. Their median is 91.4 years.
    EventQuery(
        "patients", ("dob",),
        "CASE WHEN a.first - " + at("dob") + " > INTERVAL 54750 DAY THEN a.first - "
        "INTERVAL 33384 DAY ELSE " + at("dob") + " END", "'MEDS_BIRTH'",
        join=" LEFT JOIN (SELECT subject_id, min(CAST(admittime AS TIMESTAMP)) AS first"
        " FROM admissions GROUP BY subject_id) a ON a.subject_id = t.subject_id",
        uses=("admissions",),
    ),
    EventQuery(
        "patients", ("dod",),
        "coalesce(d.deathtime, " + on("dod") + ")",
        "CASE WHEN t.dod IS NOT NULL OR d.deathtime IS NOT NULL THEN 'MEDS_DEATH' END",
        join=" LEFT JOIN (SELECT subject_id, max(CAST(deathtime AS TIMESTAMP)) AS "
        "deathtime FROM admissions GROUP BY subject_id) d ON d.subject_id = "
        "t.subject_id",
        uses=("admissions",), may_lack_code=True,
    ),
    EventQuery("admissions", ("ethnicity",), at("admittime"),
               "'RACE//' || t.ethnicity"),
    EventQuery(
        "diagnoses_icd", ("hadm_id", "icd9_code"),
        DISCHARGED, "'DIAGNOSIS//ICD9CM//' || t.icd9_code", join=STAY,
        uses=("admissions",),
    ),
    EventQuery(
        "procedures_icd", ("hadm_id", "icd9_code"),
        DISCHARGED, "'PROCEDURE//ICD9Proc//' || t.icd9_code", join=STAY,
        uses=("admissions",),
    ),
    EventQuery(
        "cptevents", ("hadm_id", "chartdate", "cpt_cd"),
        "coalesce(" + on("chartdate") + f", {DISCHARGED})",
        "'PROCEDURE//CPT4//' || t.cpt_cd", DISCHARGED, join=STAY, uses=("admissions",),
    ),
    EventQuery(
        "labevents", ("itemid", "charttime", "value", "valuenum"), at("charttime"),
        "'LAB//' || coalesce('LOINC//' || d.loinc_code, 'MIMIC//' || t.itemid)", None,
        "t.valuenum", "t.valueuom", ("value",),
        " LEFT JOIN lab_items d ON d.itemid = t.itemid", ("d_labitems",),
    ),
    EventQuery(
        "prescriptions", ("startdate", "drug"), on("startdate"), DRUG, None,
        "t.dose_val_rx", "t.dose_unit_rx",
    ),
    *(
        EventQuery(f"inputevents_{system}", ("itemid", start, "storetime", "amount"),
                   at(start), ITEM, at("storetime"), "t.amount", "t.amountuom")
        for system, start in (("mv", "starttime"), ("cv", "charttime"))
    ),
    EventQuery(
        "procedureevents_mv", ("itemid", "starttime", "storetime"), at("starttime"),
        "'PROCEDURE//MIMIC//' || t.itemid", at("storetime"),
    ),
    # The report time of a culture is not recorded, so the discharge is an upper bound.
    EventQuery(
        "microbiologyevents", ("hadm_id", "chartdate", "charttime", "spec_type_desc",
                               "org_name"),
        "coalesce(" + at("charttime") + ", " + on("chartdate") + ")", CULTURE,
        DISCHARGED, join=STAY, uses=("admissions",),
    ),
)  # fmt: skip

ICD = (
    f"CASE {VERSION} WHEN 9 THEN '{{}}' WHEN 10 THEN '{{}}' END || '//' || "
    "trim(t.icd_code)"
)

MIMIC_IV = (
    EventQuery("patients", ("gender",), STATIC,
               "'GENDER//' || t.gender"),
    # The year is known only, and its middle is half a year off at most.
    EventQuery(
        "patients", ("anchor_year", "anchor_age"),
        "make_timestamp(CAST(t.anchor_year AS BIGINT) - CAST(t.anchor_age AS BIGINT), "
        "7, 1, 0, 0, 0)", "'MEDS_BIRTH'",
    ),
    EventQuery(
        "patients", ("dod",),
        "coalesce(d.deathtime, " + on("dod") + ")",
        "CASE WHEN t.dod IS NOT NULL OR d.deathtime IS NOT NULL THEN 'MEDS_DEATH' END",
        join=" LEFT JOIN (SELECT subject_id, max(CAST(deathtime AS TIMESTAMP)) AS "
        "deathtime FROM admissions GROUP BY subject_id) d ON d.subject_id = "
        "t.subject_id",
        uses=("admissions",), may_lack_code=True,
    ),
    EventQuery("admissions", ("race",), at("admittime"), "'RACE//' || t.race"),
    EventQuery(
        "diagnoses_icd", ("hadm_id", "icd_code", "icd_version"), DISCHARGED,
        "'DIAGNOSIS//' || " + ICD.format("ICD9CM", "ICD10CM"), join=STAY,
        uses=("admissions",),
    ),
    EventQuery(
        "procedures_icd", ("hadm_id", "chartdate", "icd_code", "icd_version"),
        on("chartdate"), "'PROCEDURE//' || " + ICD.format("ICD9Proc", "ICD10PCS"),
        DISCHARGED, join=STAY, uses=("admissions",),
    ),
    EventQuery(
        "hcpcsevents", ("hadm_id", "chartdate", "hcpcs_cd"), on("chartdate"),
        "'PROCEDURE//HCPCS//' || t.hcpcs_cd", DISCHARGED, join=STAY,
        uses=("admissions",),
    ),
    EventQuery(
        "labevents", ("itemid", "charttime", "storetime", "value", "valuenum"),
        at("charttime"), "'LAB//MIMIC//' || t.itemid", at("storetime"),
        "t.valuenum", "t.valueuom", ("value", "comments"),
    ),
    EventQuery(
        "omr", ("chartdate", "result_name", "result_value"), on("chartdate"),
        "'VITAL//MIMIC//' || t.result_name", None, "t.result_value",
        text=("result_value",),
    ),
    EventQuery(
        "prescriptions", ("starttime", "drug"), at("starttime"), DRUG, None,
        "t.dose_val_rx", "t.dose_unit_rx",
    ),
    EventQuery(
        "inputevents", ("itemid", "starttime", "storetime", "amount"),
        at("starttime"), ITEM, at("storetime"), "t.amount", "t.amountuom",
    ),
    EventQuery(
        "procedureevents", ("itemid", "starttime", "storetime"), at("starttime"),
        "'PROCEDURE//MIMIC//' || t.itemid", at("storetime"),
    ),
    EventQuery(
        "microbiologyevents", ("chartdate", "charttime", "storetime", "spec_type_desc",
                               "org_name"),
        "coalesce(" + at("charttime") + ", " + on("chartdate") + ")", CULTURE,
        f"coalesce({at('storetime')}, {DISCHARGED})",
        join=STAY, uses=("admissions",),
    ),
)  # fmt: skip

LAYOUTS = {"iii": (*MIMIC_III, *SHARED), "iv": (*MIMIC_IV, *SHARED)}


class CodeNames(NamedTuple):
    """Dictionary of the codes of a table of events."""

    dictionary: str
    names: tuple[str, ...]  # Columns of names, of which the first one counts.
    key: str  # Column of the codes in the table of events.
    named: str | None = None  # The same column in the dictionary, if it differs.
    is_large: bool = False  # Whether only the codes with events are read.


ITEMS = CodeNames("d_items", ("label",), "itemid")
ICD_TITLES = ("long_title", "short_title")
#: Table of events -> dictionaries of its codes, of which the first one counts.
DICTIONARIES: dict[str, tuple[CodeNames, ...]] = {
    "labevents": (CodeNames("d_labitems", ("label",), "itemid"),),
    **dict.fromkeys(
        (
            *("chartevents", "outputevents", "inputevents", "inputevents_mv"),
            *("inputevents_cv", "procedureevents", "procedureevents_mv"),
        ),
        (ITEMS,),
    ),
    **{
        f"{kind}_icd": tuple(
            CodeNames(f"d_icd_{kind}", ICD_TITLES, key, is_large=True)
            for key in ("icd_code", "icd9_code")
        )
        for kind in ("diagnoses", "procedures")
    },
    "hcpcsevents": (
        CodeNames(
            "d_hcpcs",
            ("short_description", "long_description"),
            "hcpcs_cd",
            "code",
            is_large=True,
        ),
        CodeNames("hcpcsevents", ("short_description",), "hcpcs_cd"),
    ),
    "drgcodes": (CodeNames("drgcodes", ("description",), "drg_code"),),
}


def mimic_files() -> FileLayout:
    """Return the tables of both versions, with their columns of integers."""
    queries = [query for layout in LAYOUTS.values() for query in layout]
    known = {query.table for query in queries}
    known.update(name for query in queries for name in query.uses)
    known.update(STAY_TABLES)
    dictionaries = {name.dictionary for some in DICTIONARIES.values() for name in some}
    dictionaries -= known
    whole = ("subject_id", "hadm_id", "itemid", "stay_id", "icustay_id")
    return FileLayout(
        frozenset(known | dictionaries),
        whole=frozenset(whole),
        dictionaries=frozenset(dictionaries),
    )


def read_mimic(
    folder: str | os.PathLike[str],
    *,
    tables: Sequence[str] | None = None,
    qualitative: str = "text",
    unknown_availability: str = "never",
    encoding: str | None = None,
    delimiter: str | None = None,
    dropped: list[DroppedRows] | None = None,
    labels: dict[str, str] | None = None,
    stays: list[pd.DataFrame] | None = None,
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read events from the tables of MIMIC-III or MIMIC-IV.

    The columns of the table ``patients`` determine the version, MIMIC-III [1]_ or
    MIMIC-IV [2]_.

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
        reason, n_rows, n_subjects, n_read)``. With ``tables=None``, these include
        tables of events that are absent and tables that are not read, with 0 rows.
    labels : dict or None, default=None
        Dictionary to which the names of codes are added, of the tables ``d_labitems``,
        ``d_items``, ``d_icd_diagnoses``, ``d_icd_procedures`` and ``d_hcpcs``, and of
        the descriptions in ``hcpcsevents`` and ``drgcodes``. Names that it already has
        are kept. Of several names of a code, the first one as text counts.
    stays : list or None, default=None
        List to which a table of the hospital, ICU and emergency stays is appended, see
        `skfusion.EventStore.stays`. None reads no stays.
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
    DataWarning
        If rows are dropped, stays or laboratory items are repeated, or tables of events
        are missing. Also if other tables of the folder are not read, with their shares
        of its bytes.
    LeakageWarning
        If it is not known when events were available.

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
    >>> from skfusion.ehr import read_mimic
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
    place = expanded_path(folder)
    if not place.is_dir():
        raise FileNotFoundError(f"read_mimic: got a missing folder, {place}.")
    opened = DuckTables.of_folder(place, "read_mimic", chunk_size, layout)
    try:
        queries = _chosen(opened, tables)
        others = _unread(place, layout.known)
        if tables is None:
            warn_of_unread(place, others, "read_mimic")
        if dropped is not None and tables is None:
            dropped += _tables_without_events(opened, queries, others)
        for name in JOINED:
            if any(f" JOIN {name} " in query.join for query in queries):
                _join(opened, name)
    except BaseException:
        opened.close()
        raise
    is_coded, is_early = qualitative == "code", unknown_availability == "event_time"
    names = None if labels is None else _Names(opened, labels)
    return _events(opened, queries, is_coded, is_early, dropped, names, stays)


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
        warn_user(
            f"read_mimic: got no tables {missing}, so there are no events of them. Set "
            "tables= to silence this warning.",
            DataWarning,
        )
    chosen = [q for q in queries if q.table in (there if tables is None else tables)]
    for query in chosen:
        _check(opened, query)
    return sorted(chosen, key=lambda query: query.table)


def _unread(folder: Path, known: Collection[str]) -> dict[str, int]:
    """Return the names and sizes of the tables that are not read."""
    sizes = other_tables(folder, known)
    return {
        name: size
        for name, size in sizes.items()
        if not name.startswith("d_") and name not in NO_PATIENTS
    }


def _tables_without_events(
    opened: DuckTables, queries: Sequence[EventQuery], others: Iterable[str]
) -> list[DroppedRows]:
    """Return the tables of events that are absent, and the tables that are not read."""
    is_fourth = "anchor_age" in opened.columns("patients")
    known = {query.table for query in LAYOUTS["iv" if is_fourth else "iii"]}
    there = {name for name in known if opened.columns(name)}
    read = {query.table for query in queries}
    return without_events(known - there, [*(there - read), *others])


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
        warn_user(
            f"read_mimic: {n_repeated:,} rows of {source} repeat another one. One row "
            "of each is joined.",
            DataWarning,
        )


def _events(
    opened: DuckTables,
    queries: list[EventQuery],
    is_coded: bool,
    is_early: bool,
    dropped: list[DroppedRows] | None,
    names: _Names | None,
    stays: list[pd.DataFrame] | None,
) -> Iterator[pd.DataFrame]:
    try:
        if stays is not None:
            stays += mimic_stays(opened, dropped)
        for table, parts in groupby(queries, key=lambda query: query.table):
            losses = Losses("read_mimic", table, dropped)
            n_unknown = 0
            for query in parts:
                if names is not None:
                    names.add_of(query)
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
                        if names is not None:
                            add_names_with_answers(names.labels, events["code"], codes)
                        events = events.assign(code=codes)
                    yield events
            losses.warn()
            _warn_of_unknown(table, n_unknown, is_early)
    finally:
        opened.close()


class _Names:
    """Names of codes from the dictionaries of a folder."""

    def __init__(self, opened: DuckTables, labels: dict[str, str]) -> None:
        self._opened = opened
        self.labels = labels
        self._read: set[tuple[str, str]] = set()

    def add_of(self, query: EventQuery) -> None:
        """Add the names of the codes of a query, if there is a dictionary."""
        for names in DICTIONARIES.get(query.table, ()):
            own = names.named or names.key
            columns = self._opened.columns(names.dictionary)
            there = [name for name in names.names if name in columns]
            # Only the code of the query is read, which the dictionary must have.
            if f"t.{names.key}" not in query.code or own not in columns or not there:
                continue
            if (names.dictionary, query.code) in self._read:
                continue
            self._read.add((names.dictionary, query.code))
            sql = self._sql(names, query, there)
            try:
                chunks = list(self._opened.chunks(sql, names.dictionary))
            except ValueError as error:  # Events do not need it.
                warn_user(f"{error} Its codes have no names.", DataWarning)
                continue
            for chunk in chunks:
                for code, label in zip(chunk["code"], chunk["label"], strict=True):
                    self.labels.setdefault(code, label)

    @staticmethod
    def _sql(names: CodeNames, query: EventQuery, there: Sequence[str]) -> str:
        """Return an SQL query of codes and their names."""
        own = names.named or names.key
        renamed = f", {own} AS {names.key}" if names.named else ""
        rows = f"SELECT *{renamed} FROM {names.dictionary}"
        if names.is_large:
            trimmed = "trim(CAST({} AS VARCHAR))"
            used = f"SELECT {trimmed.format(names.key)} FROM {query.table}"
            rows += f" WHERE {trimmed.format(own)} IN ({used})"
        join = query.join if " d " in query.join else ""
        cells = ", ".join(f"nullif(trim(t.{name}), '')" for name in there)
        # Materialized, so that codes are computed of the rows that are used only.
        return (
            f"WITH t AS MATERIALIZED ({rows}), n AS (SELECT {query.code} AS code, "
            f"coalesce({cells}) AS label FROM t{join}) SELECT code, min(label) AS "
            "label FROM n WHERE code IS NOT NULL AND label IS NOT NULL GROUP BY code"
        )


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
        warn_user(
            f"read_mimic: {table}: {n_unknown:,} events have no store time, or no end "
            f"of their stay. {effect}",
            LeakageWarning,
        )
