"""Stays in the tables of MIMIC-III and MIMIC-IV."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import pandas as pd

from skfusion.ehr.sources.duckdb_tables import DuckTables
from skfusion.ehr.sources.shaping import DroppedRows
from skfusion.ehr.sources.stays.outcomes import as_flags, complete_stays

__all__ = ["STAY_TABLES", "mimic_stays"]


OWNER = "read_mimic"
#: Tables of stays, apart from that of admissions.
STAY_TABLES = ("icustays", "edstays")


class StayQuery(NamedTuple):
    """Stays of one table, with an SQL expression for each column."""

    table: str
    needs: tuple[str, ...]  # Required columns.
    stay: str
    kind: str
    start: str
    end: str
    parent: str = "NULL"
    died: str | None = None  # Columns that may be absent.
    words: str | None = None
    source_kind: str | None = None
    where: str = ""
    destination: str | None = None  # Of all stays.

    def sql(self, columns: Collection[str]) -> str:
        """Return the SQL query for a table with some columns."""
        texts = {
            "died": self.died,
            "source_discharge": self.words,
            "source_kind": self.source_kind,
        }
        parts = [
            "t.subject_id AS subject_id",
            f"t.{self.stay} AS {self.stay}",
            f"{self.kind} AS kind",
            f"CAST(t.{self.start} AS TIMESTAMP) AS start_time",
            f"CAST(t.{self.end} AS TIMESTAMP) AS end_time",
        ]
        if self.parent != "NULL" and self.parent != self.stay:
            parts.append(f"t.{self.parent} AS {self.parent}")
        parts += [
            f"nullif(trim(CAST(t.{column} AS VARCHAR)), '') AS {name}"
            for name, column in texts.items()
            if column in columns
        ]
        return f"SELECT {', '.join(parts)} FROM {self.table} t{self.where}"


OBSERVED = "CASE WHEN t.admission_type ILIKE '%OBSERVATION%' THEN 'observation' ELSE "
QUERIES = (
    StayQuery(
        "admissions", ("hadm_id", "admittime", "dischtime", "admission_type"),
        "hadm_id", OBSERVED + "'hospital' END", "admittime", "dischtime",
        died="hospital_expire_flag", words="discharge_location",
        source_kind="admission_type",
    ),
    StayQuery(
        "icustays", ("hadm_id", "stay_id", "intime", "outtime"),
        "stay_id", "'icu'", "intime", "outtime", "hadm_id",
        source_kind="first_careunit",
    ),
    StayQuery(
        "icustays", ("hadm_id", "icustay_id", "intime", "outtime"),
        "icustay_id", "'icu'", "intime", "outtime", "hadm_id",
        source_kind="first_careunit",
    ),
    StayQuery(
        "edstays", ("hadm_id", "stay_id", "intime", "outtime"),
        "stay_id", "'emergency'", "intime", "outtime", "hadm_id",
        words="disposition",
    ),
)  # fmt: skip
# Without the table of the emergency department, its times are those of the admission.
ADMITTED = StayQuery(
    "admissions", ("hadm_id", "edregtime", "edouttime"),
    "hadm_id", "'emergency'", "edregtime", "edouttime", "hadm_id",
    where=" WHERE t.edregtime IS NOT NULL", destination="admitted",
)  # fmt: skip


def mimic_stays(
    opened: DuckTables, dropped: list[DroppedRows] | None
) -> list[pd.DataFrame]:
    """Return the stays of a folder of MIMIC, as a list of at most one table.

    Hospital stays have the id ``hadm_id``, and their kind is ``observation`` if the
    type of admission says so. ICU stays have the id ``stay_id`` or ``icustay_id``.
    Emergency stays are those of ``edstays``, or else those before an admission, with
    the id of the admission.
    """
    parts = []
    queries = list(QUERIES)
    if not opened.columns("edstays"):
        queries.append(ADMITTED)
    for query in queries:
        columns = opened.columns(query.table)
        if {"subject_id", *query.needs} <= set(columns):
            parts += [
                _as_stays(chunk, query)
                for chunk in opened.chunks(query.sql(columns), query.table)
            ]
    if not parts:
        return []
    stays = pd.concat(parts, ignore_index=True)
    return [complete_stays(stays, _deaths(opened), OWNER, dropped)]


def _as_stays(chunk: pd.DataFrame, query: StayQuery) -> pd.DataFrame:
    nothing = pd.Series(None, index=chunk.index, dtype=object)
    has_parent = query.parent != "NULL"
    ids = chunk[query.stay].astype("Int64")
    missing = pd.Series(pd.NA, index=chunk.index, dtype="Int64")
    parent = chunk[query.parent].astype("Int64") if has_parent else missing
    words = chunk.get("source_discharge", nothing).astype(object)
    died = as_flags(chunk.get("died", nothing), chunk.index)
    return pd.DataFrame(
        {
            "stay_id": ids,
            "subject_id": chunk["subject_id"].astype("Int64"),
            "kind": chunk["kind"].astype(object),
            "start": chunk["start_time"].astype("datetime64[us]"),
            "end": chunk["end_time"].astype("datetime64[us]"),
            "parent_id": parent,
            "died": died,
            "discharged_to": nothing.fillna(query.destination)
            if query.destination
            else nothing,
            "source_kind": chunk.get("source_kind", nothing).astype(object),
            "source_discharge": words,
        }
    )


def _deaths(opened: DuckTables) -> pd.DataFrame | None:
    """Return the times of deaths in hospital, and the days of the others."""
    if "dod" not in opened.columns("patients"):
        return None
    has_time = "deathtime" in opened.columns("admissions")
    time = (
        "max(CAST(deathtime AS TIMESTAMP))" if has_time else "CAST(NULL AS TIMESTAMP)"
    )
    query = (
        f"SELECT p.subject_id AS subject_id, CAST(p.dod AS TIMESTAMP) AS day, d.died "
        f"FROM patients p LEFT JOIN (SELECT subject_id, {time} AS died FROM admissions "
        "GROUP BY subject_id) d ON d.subject_id = p.subject_id "
        "WHERE p.dod IS NOT NULL OR d.died IS NOT NULL"
    )
    parts = list(opened.chunks(query, "patients"))
    if not parts:
        return pd.DataFrame({"subject_id": [], "from": [], "to": []}).astype(
            {"subject_id": "Int64", "from": "datetime64[us]", "to": "datetime64[us]"}
        )
    table = pd.concat(parts, ignore_index=True)
    day = table["day"].astype("datetime64[us]").dt.normalize()
    died = table["died"].astype("datetime64[us]")
    end = day + pd.Timedelta(1, "D") - pd.Timedelta(1, "us")
    return pd.DataFrame(
        {
            "subject_id": table["subject_id"].astype("Int64"),
            "from": died.fillna(day),
            "to": died.fillna(end),
        }
    )
