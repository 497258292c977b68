"""Reader of events from a database in the OMOP Common Data Model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from skfusion._validation import check_option, did_you_mean
from skfusion.ehr.sources.databases import Tables, open_tables
from skfusion.ehr.sources.shaping import (
    VITAL_SIGNS,
    Losses,
    as_ids,
    as_times,
    end_of_day,
    later_of,
    prefixed,
)

__all__ = [
    "CLINICAL_TABLES",
    "ClinicalTable",
    "INPATIENT_VISITS",
    "births_of",
    "coded",
    "domain_of",
    "persons_of",
    "read_omop",
    "values_of",
    "when",
]


# Visit concepts: inpatient, emergency, both, intensive care, inpatient hospital.
INPATIENT_VISITS = frozenset({9201, 9203, 262, 32037, 8717})


class ClinicalTable(NamedTuple):
    """Columns of a clinical table that contain code, time and value.

    `after_visit` marks tables whose codes are assigned at the end of a visit.
    """

    domain: str
    stem: str  # Prefix of the concept columns.
    start: str  # Prefix of the time columns.
    after_visit: bool = False
    with_value: bool = False
    text: str | None = None


CLINICAL_TABLES = {
    "condition_occurrence": ClinicalTable(
        "DIAGNOSIS", "condition", "condition_start", after_visit=True
    ),
    "procedure_occurrence": ClinicalTable(
        "PROCEDURE", "procedure", "procedure", after_visit=True
    ),
    "drug_exposure": ClinicalTable("MEDICATION", "drug", "drug_exposure_start"),
    "measurement": ClinicalTable(
        "LAB", "measurement", "measurement", with_value=True, text="value_source_value"
    ),
    "observation": ClinicalTable(
        "OBSERVATION",
        "observation",
        "observation",
        with_value=True,
        text="value_as_string",
    ),
    "device_exposure": ClinicalTable("DEVICE", "device", "device_exposure_start"),
}


def persons_of(chunk: pd.DataFrame, name: str) -> pd.Series:
    """Return the person id of each row."""
    ids = as_ids(chunk["person_id"], f"read_omop: {name}.person_id")
    return ids if ids.isna().any() else ids.astype("int64")


def coded(column: pd.Series, words: Mapping[int, str], name: str) -> pd.Series:
    """Return the codes of concepts, with null for concept 0 (no matching concept)."""
    ids = as_ids(column, f"read_omop: {name}.{column.name}")
    unnamed = ("OMOP//" + ids.astype(str)).where(ids.fillna(0) != 0, None)
    return ids.map(words).astype(object).where(ids.fillna(0) != 0).fillna(unnamed)


def when(chunk: pd.DataFrame, start: str, name: str) -> pd.Series:
    """Return event times, or the end of the day for dates without time."""
    where = f"read_omop: {name}.{start}"
    times = as_times(chunk[f"{start}_datetime"], f"{where}_datetime")
    dates = as_times(chunk[f"{start}_date"], f"{where}_date")
    if times.dt.tz is not None and dates.dt.tz is None:
        dates = dates.dt.tz_localize("UTC")
    return end_of_day(times.fillna(dates))


def births_of(chunk: pd.DataFrame) -> pd.Series:
    """Return birth times, completed from year, month and day if necessary."""
    given = as_times(chunk["birth_datetime"], "read_omop: person.birth_datetime")
    parts = {
        part: pd.to_numeric(chunk[f"{part}_of_birth"], errors="coerce")
        for part in ("year", "month", "day")
    }
    parts = {part: column.astype("float64") for part, column in parts.items()}
    parts["month"], parts["day"] = parts["month"].fillna(1), parts["day"].fillna(1)
    dates = pd.to_datetime(pd.DataFrame(parts), errors="coerce")
    if given.dt.tz is not None:
        dates = dates.dt.tz_localize("UTC")
    return given.fillna(dates.astype(given.dtype))


def domain_of(
    chunk: pd.DataFrame, code: pd.Series, table: ClinicalTable, name: str
) -> pd.Series:
    """Return the domain prefix of each code."""
    start = pd.Series(f"{table.domain}//", index=chunk.index, dtype=object)
    if name == "measurement":
        return start.mask(code.isin(VITAL_SIGNS), "VITAL//")
    if name == "drug_exposure":
        inside = pd.Series(False, index=chunk.index)
        if "visit_concept_id" in chunk:
            visits = as_ids(chunk["visit_concept_id"], "read_omop: visit_concept_id")
            inside = visits.isin(INPATIENT_VISITS)
        setting = inside.map({True: "INPATIENT//", False: "OUTPATIENT//"})
        return start + setting.astype(object)
    return start


def values_of(
    chunk: pd.DataFrame, table: ClinicalTable, units: Mapping[int, str], name: str
) -> pd.DataFrame:
    """Return the numeric value and its unit, or the text of other values."""
    given = chunk["value_as_number"]
    numbers = pd.to_numeric(given, errors="coerce").astype("float64")
    frame = pd.DataFrame({"numeric_value": numbers})
    ids = as_ids(chunk["unit_concept_id"], f"read_omop: {name}.unit_concept_id")
    unit = ids.map(units).astype(object).where(ids.fillna(0) != 0)
    frame["unit"] = unit.fillna(chunk["unit_source_value"].astype(object))
    text = given.astype(object).where(numbers.isna())
    if table.text:
        words = chunk[table.text].astype(object).where(numbers.isna())
        text = text.where(text.notna(), words)
    frame["text_value"] = text.map(str, "ignore")
    return frame


TABLES = ("person", *CLINICAL_TABLES, "visit_occurrence", "death")
VISIT = "visit_occurrence"


def read_omop(
    source: Any,
    *,
    schema: str | None = None,
    tables: Sequence[str] | None = None,
    concepts: str = "standard",
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read events from a database in the OMOP Common Data Model, version 5.

    Parameters
    ----------
    source : connection, engine, str or PathLike
        A connection of DB-API 2.0 or duckdb, or a connection or engine of SQLAlchemy
        (results are streamed if the database supports it). Alternatively a duckdb file,
        or a folder of CSV or Parquet files named after the tables.
    schema : str or None, default=None
        Schema of the tables, such as ``"cdm"``.
    tables : sequence of str or None, default=None
        Tables to read, among ``person``, ``condition_occurrence``,
        ``procedure_occurrence``, ``drug_exposure``, ``measurement``, ``observation``,
        ``device_exposure``, ``visit_occurrence`` and ``death``. None reads all
        existing tables.
    concepts : {"standard", "source"}, default="standard"
        Standard concepts (SNOMED, RxNorm, LOINC), or source concepts (such as ICD10CM)
        if available.
    chunk_size : int, default=200_000
        Approximate number of events in a chunk.

    Yields
    ------
    DataFrame
        Columns of events. Codes are ``DIAGNOSIS//``, ``PROCEDURE//``, ``LAB//``,
        ``VITAL//``, ``OBSERVATION//``, ``DEVICE//``, ``MEDICATION//INPATIENT//`` or
        ``MEDICATION//OUTPATIENT//``, then vocabulary and code (``LOINC//718-7``).
        ``SOURCE//`` and the source value replace an unknown concept. Further codes are
        ``VISIT//``, ``VISIT_END//``, ``MEDS_BIRTH``, ``MEDS_DEATH``, and, without time,
        ``GENDER//``, ``RACE//`` and ``ETHNICITY//``.

    Raises
    ------
    ValueError
        If a table or column is missing, or a cell has an invalid value.
    ConnectionError
        If the database fails.

    Warns
    -----
    UserWarning
        If rows are dropped, or an existing table lacks columns and is skipped.

    Notes
    -----
    Conditions and procedures of a visit become available at its end, because codes are
    assigned at discharge. All other events become available when they happen. OMOP has
    no column for the time at which a result was reported, so use
    `skfusion.EventStore.with_lags` for a delay. A time of midnight is a date without
    time by the conventions of OMOP, and is moved to the end of its day. A drug is of an
    inpatient if its visit is an inpatient visit.

    References
    ----------
    .. [1] OMOP Common Data Model v5.4. https://ohdsi.github.io/CommonDataModel/

    Examples
    --------
    >>> import sqlite3
    >>> from skfusion.ehr.sources import read_omop
    >>> db = sqlite3.connect(":memory:")
    >>> _ = db.execute("create table person (person_id, gender_concept_id, "
    ...                "year_of_birth)")
    >>> _ = db.execute("insert into person values (1, 8532, 1950)")
    >>> [chunk["code"].tolist() for chunk in read_omop(db)]
    [['MEDS_BIRTH', 'GENDER//F']]
    >>> db.close()
    """
    check_option(concepts, "concepts", ("standard", "source"), "read_omop")
    if schema is not None and not re.fullmatch(r"\w+(\.\w+)*", schema):
        raise ValueError(
            f"read_omop: schema must be a name such as 'cdm', got {schema!r}."
        )
    for table in tables or ():
        if table not in TABLES:
            raise ValueError(
                f"read_omop: got an unsupported table {table!r} in tables."
                f"{did_you_mean(table, TABLES)} The options are {', '.join(TABLES)}."
            )
    opened = open_tables(source, "read_omop", chunk_size)
    try:
        reader = _Reader(opened, schema, concepts)
        chosen = reader.chosen(tables)
    except BaseException:
        opened.close()
        raise
    return reader.events(chosen)


class _Reader:
    """Reader of the tables of a database, one after the other."""

    def __init__(self, tables: Tables, schema: str | None, concepts: str) -> None:
        self._tables = tables
        self._start = f"{schema}." if schema else ""
        self._concepts = concepts
        self._columns = {
            name: tables.columns(self._start + name) for name in (*TABLES, "concept")
        }

    def chosen(self, tables: Sequence[str] | None) -> list[str]:
        """Return the tables to read, after checking tables and columns."""
        missing = [name for name in tables or ("person",) if not self._columns[name]]
        if missing:
            there = [name for name in TABLES if self._columns[name]]
            raise ValueError(
                f"read_omop: got a database without the table {missing}, or without "
                f"permission to read it. The OMOP tables found are {there}. Set the "
                "schema if the tables are in another one."
            )
        chosen = []
        for name in tables or [name for name in TABLES if self._columns[name]]:
            lacking = [c for c in _required(name) if c not in self._columns[name]]
            if lacking and (tables or name == "person"):
                raise ValueError(
                    f"read_omop: table {name!r} must have the columns {lacking}, got "
                    f"{self._columns[name]}."
                )
            if lacking:
                warnings.warn(
                    f"read_omop: skipped table {name!r}, which has no column "
                    f"{lacking}. Set tables= to silence this warning.",
                    stacklevel=3,
                )
                continue
            chosen.append(name)
        needing = [n for n in chosen if n in CLINICAL_TABLES and n != "measurement"]
        if needing and not self._columns[VISIT]:
            warnings.warn(
                "read_omop: got no table 'visit_occurrence'. Diagnoses and procedures "
                "are treated as available when they happened, which may be before they "
                "were coded, and all medication as outpatient medication.",
                stacklevel=3,
            )
        return chosen

    def events(self, chosen: list[str]) -> Iterator[pd.DataFrame]:
        """Yield the events of the selected tables."""
        special: dict[str, Callable[[], Iterator[pd.DataFrame]]] = {
            "person": self._persons,
            VISIT: self._visits,
            "death": self._deaths,
        }
        try:
            for name in chosen:
                losses = Losses("read_omop", name)
                chunks = special[name]() if name in special else self._clinical(name)
                for chunk in chunks:
                    if name == "person":  # These chunks include static events.
                        yield chunk
                    else:
                        yield losses.keep_events(chunk)
                losses.warn()
        finally:
            self._tables.close()

    def _chunks(
        self, name: str, columns: Sequence[str], with_visit: bool = False
    ) -> Iterator[pd.DataFrame]:
        """Yield some columns of a table, with nulls for missing columns."""
        there = [column for column in columns if column in self._columns[name]]
        query = ", ".join(f"t.{column}" for column in there)
        join = ""
        if with_visit and self._columns[VISIT]:
            extra = ("visit_concept_id", "visit_end_datetime", "visit_end_date")
            chosen = [c for c in extra if c in self._columns[VISIT]]
            there += chosen
            query = ", ".join([query, *(f"v.{column}" for column in chosen)])
            join = (
                f" LEFT JOIN {self._start}{VISIT} v"
                " ON v.visit_occurrence_id = t.visit_occurrence_id"
            )
            columns = [*columns, *extra]
        query = f"SELECT {query} FROM {self._start}{name} t{join}"
        for chunk in self._tables.chunks(query, name):
            yield chunk.reindex(columns=list(dict.fromkeys(columns)))

    def _words(self, name: str, column: str, *wanted: str) -> Mapping[int, str]:
        """Return the text of the concepts of a column, from columns of `concept`."""
        there = self._columns["concept"]
        if column not in self._columns[name] or "concept_id" not in there:
            return {}
        query = (
            f"SELECT concept_id, {', '.join(wanted)} FROM {self._start}concept WHERE "
            f"concept_id IN (SELECT DISTINCT {column} FROM {self._start}{name})"
        )
        words: dict[int, str] = {}
        for chunk in self._tables.chunks(query, "concept"):
            ids = as_ids(chunk["concept_id"], "read_omop: concept.concept_id")
            parts = chunk[list(wanted)].astype(str).agg("//".join, axis=1)
            words.update(zip(ids, parts, strict=True))
        return words

    def _clinical(self, name: str) -> Iterator[pd.DataFrame]:
        """Yield the events of a clinical table."""
        table = CLINICAL_TABLES[name]
        concept = f"{table.stem}_concept_id"
        source = f"{table.stem}_source_concept_id"
        order = [concept, source]
        if self._concepts == "source":
            order.reverse()
        wanted = "vocabulary_id", "concept_code"
        words = {column: self._words(name, column, *wanted) for column in order}
        units = self._words(name, "unit_concept_id", "concept_code")
        columns = ["person_id", *order, f"{table.stem}_source_value"]
        columns += [f"{table.start}_datetime", f"{table.start}_date"]
        if table.with_value:
            columns += ["value_as_number", "unit_concept_id", "unit_source_value"]
            columns += [table.text] if table.text else []
        visits = "visit_occurrence_id" in self._columns[name]
        for chunk in self._chunks(name, columns, with_visit=visits):
            code = pd.Series(None, index=chunk.index, dtype=object)
            for column in order:
                code = code.fillna(coded(chunk[column], words[column], name))
            given = chunk[f"{table.stem}_source_value"]
            code = code.fillna(prefixed("SOURCE//", given))
            code = code.fillna("OMOP//0")
            frame = pd.DataFrame({"subject_id": persons_of(chunk, name)})
            frame["time"] = when(chunk, table.start, name)
            frame["code"] = domain_of(chunk, code, table, name) + code
            if table.after_visit and "visit_end_date" in chunk:
                ends = when(chunk, "visit_end", VISIT)
                frame["available_time"] = later_of(frame["time"], ends)
            if table.with_value:
                frame = frame.join(values_of(chunk, table, units, name))
            yield frame

    def _persons(self) -> Iterator[pd.DataFrame]:
        """Yield births and static events."""
        words = {
            kind: self._words("person", f"{kind}_concept_id", "concept_name")
            for kind in ("race", "ethnicity")
        }
        columns = ["person_id", "birth_datetime", "year_of_birth", "month_of_birth"]
        columns += ["day_of_birth", "gender_concept_id", "gender_source_value"]
        for kind in words:
            columns += [f"{kind}_concept_id", f"{kind}_source_value"]
        for chunk in self._chunks("person", columns):
            subject = persons_of(chunk, "person")
            births = pd.DataFrame({"subject_id": subject, "time": births_of(chunk)})
            parts = [births.assign(code="MEDS_BIRTH").dropna(subset="time")]
            genders = coded(
                chunk["gender_concept_id"], {8507: "M", 8532: "F"}, "person"
            )
            genders = genders.where(~genders.astype(str).str.startswith("OMOP"), None)
            facts = {"GENDER": genders.fillna(chunk["gender_source_value"])}
            for kind, known in words.items():
                ids = as_ids(chunk[f"{kind}_concept_id"], f"read_omop: person.{kind}")
                named = ids.map(known).astype(object).where(ids.fillna(0) != 0)
                given = chunk[f"{kind}_source_value"].astype(object)
                facts[kind.upper()] = named.where(named.notna(), given)
            for kind, fact in facts.items():
                code = prefixed(f"{kind}//", fact)
                frame = pd.DataFrame({"subject_id": subject, "code": code})
                frame["time"] = pd.Series(pd.NaT, frame.index, dtype="datetime64[us]")
                parts.append(frame.dropna(subset="code"))
            yield pd.concat([part[["subject_id", "time", "code"]] for part in parts])

    def _visits(self) -> Iterator[pd.DataFrame]:
        """Yield the start and the end of each visit."""
        words = self._words(VISIT, "visit_concept_id", "concept_name")
        columns = ["person_id", "visit_concept_id"]
        columns += [
            f"visit_{side}_{kind}"
            for side in ("start", "end")
            for kind in ("datetime", "date")
        ]
        for chunk in self._chunks(VISIT, columns):
            ids = as_ids(chunk["visit_concept_id"], "read_omop: visit_concept_id")
            named = ids.map(words).astype(object).fillna("OMOP//" + ids.astype(str))
            subject = persons_of(chunk, VISIT)
            for start, side in (("VISIT", "start"), ("VISIT_END", "end")):
                time = when(chunk, f"visit_{side}", VISIT)
                codes = f"{start}//" + named
                yield pd.DataFrame({"subject_id": subject, "time": time, "code": codes})

    def _deaths(self) -> Iterator[pd.DataFrame]:
        for chunk in self._chunks(
            "death", ["person_id", "death_datetime", "death_date"]
        ):
            frame = pd.DataFrame({"subject_id": persons_of(chunk, "death")})
            frame["time"] = when(chunk, "death", "death")
            yield frame.assign(code="MEDS_DEATH")


def _required(name: str) -> list[str]:
    if name == "person":
        return ["person_id", "gender_concept_id", "year_of_birth"]
    if name == "death":
        return ["person_id", "death_date"]
    if name == VISIT:
        dates = ["visit_start_date", "visit_end_date"]
        return ["visit_occurrence_id", "person_id", "visit_concept_id", *dates]
    table = CLINICAL_TABLES[name]
    return ["person_id", f"{table.stem}_concept_id", f"{table.start}_date"]
