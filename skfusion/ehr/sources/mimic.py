"""Reader of events from the tables of MIMIC-III or MIMIC-IV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from skfusion._validation import did_you_mean
from skfusion.ehr.sources.databases import DuckTables
from skfusion.ehr.sources.shaping import Losses

__all__ = ["EventQuery", "LAYOUTS", "read_mimic"]


END = "+ INTERVAL 1 DAY - INTERVAL 1 MICROSECOND"  # Moves a date to the end of its day.
# A left join, so that rows of an unknown stay have no time and are counted as dropped.
STAY = " LEFT JOIN admissions a ON a.hadm_id = t.hadm_id"


class EventQuery(NamedTuple):
    """Events of one table, with an SQL expression for each column."""

    table: str
    needs: tuple[str, ...]  # Required columns.
    time: str
    code: str
    available: str | None = None
    value: str | None = None
    unit: str | None = None
    text: str | None = None
    join: str = ""
    uses: tuple[str, ...] = ()  # Other required tables.

    def sql(self) -> str:
        """Return the SQL query."""
        parts = ["CAST(t.subject_id AS BIGINT) AS subject_id"]
        parts += [f"{self.time} AS time", f"{self.code} AS code"]
        if self.value:
            parts.append(f"TRY_CAST({self.value} AS DOUBLE) AS numeric_value")
        if self.available:
            known = f"greatest({self.time}, {self.available})"
            parts.append(f"{known} AS available_time")
        if self.unit:
            parts.append(f"{self.unit} AS unit")
        if self.text:
            text = f"CASE WHEN TRY_CAST({self.value} AS DOUBLE) IS NULL"
            parts.append(f"{text} THEN {self.text} END AS text_value")
        return f"SELECT {', '.join(parts)} FROM {self.table} t{self.join}"


def at(column: str, alias: str = "t") -> str:
    """Return an SQL expression that casts a column to a timestamp."""
    return f"CAST({alias}.{column} AS TIMESTAMP)"


def on(column: str) -> str:
    """Return an SQL expression for the end of the day of a date column."""
    return f"(date_trunc('day', {at(column)}) {END})"


DISCHARGED = at("dischtime", "a")
# Vital signs of CareVue, and of MetaVision where the items have no category.
VITAL_ITEMS = (
    *(211, 220045, 51, 442, 455, 6701, 220179, 220050, 8368, 8440, 8441, 8555),
    *(220180, 220051, 456, 52, 6702, 443, 220052, 220181, 225312, 615, 618, 220210),
    *(224690, 223761, 678, 223762, 676, 646, 220277),
)
CHARTED = (
    f"CASE WHEN CAST(t.itemid AS INTEGER) IN {VITAL_ITEMS} THEN 'VITAL' "
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
        "t.valuenum", "t.valueuom", "t.value",
    ),
    EventQuery(
        "outputevents", ("itemid", "charttime", "storetime", "value"),
        at("charttime"), "'OUTPUT//MIMIC//' || t.itemid", at("storetime"),
        "t.value", "t.valueuom",
    ),
)  # fmt: skip

MIMIC_III = (
    EventQuery("patients", ("gender",), "CAST(NULL AS TIMESTAMP)",
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
        uses=("admissions",),
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
        "t.valuenum", "t.valueuom", "t.value",
        " LEFT JOIN d_labitems d ON d.itemid = t.itemid", ("d_labitems",),
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

ICD = "CASE t.icd_version WHEN '9' THEN '{}' ELSE '{}' END || '//' || trim(t.icd_code)"

MIMIC_IV = (
    EventQuery("patients", ("gender",), "CAST(NULL AS TIMESTAMP)",
               "'GENDER//' || t.gender"),
    EventQuery(
        "patients", ("anchor_year", "anchor_age"),
        "make_timestamp(CAST(t.anchor_year AS BIGINT) - CAST(t.anchor_age AS BIGINT), "
        "1, 1, 0, 0, 0)", "'MEDS_BIRTH'",
    ),
    EventQuery(
        "patients", ("dod",),
        "coalesce(d.deathtime, " + on("dod") + ")",
        "CASE WHEN t.dod IS NOT NULL OR d.deathtime IS NOT NULL THEN 'MEDS_DEATH' END",
        join=" LEFT JOIN (SELECT subject_id, max(CAST(deathtime AS TIMESTAMP)) AS "
        "deathtime FROM admissions GROUP BY subject_id) d ON d.subject_id = "
        "t.subject_id",
        uses=("admissions",),
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
        "t.valuenum", "t.valueuom", "t.value",
    ),
    EventQuery(
        "omr", ("chartdate", "result_name", "result_value"), on("chartdate"),
        "'VITAL//MIMIC//' || t.result_name", None, "t.result_value",
        text="t.result_value",
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


def read_mimic(
    folder: str | os.PathLike[str],
    *,
    tables: Sequence[str] | None = None,
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read events from the tables of MIMIC-III [1]_ or MIMIC-IV [2]_.

    The columns of the table ``patients`` determine the version.

    Parameters
    ----------
    folder : str or PathLike
        Folder of the tables as CSV, gzipped CSV or Parquet files, in the folder itself
        or in subfolders (``hosp`` and ``icu``).
    tables : sequence of str or None, default=None
        Tables to read, such as ``("labevents", "diagnoses_icd")``. None reads all
        existing tables of events. ``patients`` and ``admissions`` are required.
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
        If rows are dropped.

    Notes
    -----
    Diagnoses, procedures and billing groups become available at discharge. Results,
    chart and input events become available at their store time, if the table has one.
    Laboratory values of MIMIC-III have none and are available when drawn (use
    `skfusion.EventStore.with_lags` for a delay). Cultures of MIMIC-III become available
    at discharge. Dates without a time are moved to the end of their day. Births of
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
        raise FileNotFoundError(f"read_mimic: got a missing folder, {place}.")
    opened = DuckTables.of_folder(place, "read_mimic", chunk_size)
    try:
        queries = _chosen(opened, tables)
    except BaseException:
        opened.close()
        raise
    return _events(opened, queries)


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
    chosen = [q for q in queries if q.table in (there if tables is None else tables)]
    for query in chosen:
        _check(opened, query)
    return sorted(chosen, key=lambda query: query.table)


def _check(opened: DuckTables, query: EventQuery) -> None:
    columns = opened.columns(query.table)
    lacking = [name for name in ("subject_id", *query.needs) if name not in columns]
    if lacking:
        raise ValueError(
            f"read_mimic: table {query.table!r} must have the columns {lacking}, got "
            f"{columns}."
        )
    for name in query.uses:
        if not opened.columns(name):
            raise ValueError(
                f"read_mimic: table {query.table!r} requires the table {name!r}, but "
                "got a folder without it."
            )


def _events(opened: DuckTables, queries: list[EventQuery]) -> Iterator[pd.DataFrame]:
    try:
        for table, parts in groupby(queries, key=lambda query: query.table):
            losses = Losses("read_mimic", table)
            for query in parts:
                static = query.time.startswith("CAST(NULL")
                for chunk in opened.chunks(query.sql(), table):
                    if query.code.startswith("CASE WHEN t.dod"):
                        # Patients without a recorded death yield no event.
                        chunk = chunk[chunk["code"].notna()]
                    yield chunk if static else losses.keep_events(chunk)
            losses.warn()
    finally:
        opened.close()
