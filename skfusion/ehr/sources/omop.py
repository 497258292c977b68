"""Reader of events from a database in the OMOP Common Data Model."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._validation import check_option, did_you_mean
from skfusion.ehr.sources.databases import Tables, open_tables
from skfusion.ehr.sources.duckdb_tables import FileLayout
from skfusion.ehr.sources.omop_cells import (
    CONCEPT_WORDS,
    Clock,
    Words,
    check_zone,
    coded,
    persons_of,
    values_of,
)
from skfusion.ehr.sources.omop_visits import (
    INPATIENT_ROOTS,
    INPATIENT_VISITS,
    Visits,
    VisitUse,
)
from skfusion.ehr.sources.shaping import (
    VITAL_SIGNS,
    DroppedRows,
    Losses,
    add_names_with_answers,
    as_ids,
    filled,
    has_time_zone,
    prefixed,
    with_answers,
    without_events,
)
from skfusion.ehr.sources.stays.omop import DETAIL, omop_stays
from skfusion.ehr.sources.table_files import other_tables, warn_of_unread
from skfusion.exceptions import DataWarning, LeakageWarning, warn_user

__all__ = ["CLINICAL_TABLES", "ClinicalTable", "read_omop"]


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


TABLES = ("person", *CLINICAL_TABLES, "visit_occurrence", "death")
VISIT, VISIT_ID = "visit_occurrence", "visit_occurrence_id"
VOCABULARY = ("concept", "concept_ancestor")
# Tables without patients, which are in a folder with the others.
VOCABULARIES = frozenset(
    (
        *("concept_class", "concept_relationship", "concept_synonym", "domain"),
        *("drug_strength", "relationship", "source_to_concept_map", "vocabulary"),
        *("cdm_source", "metadata", "concept_cpt4"),
    )
)
LAYOUT = FileLayout(frozenset((*TABLES, *VOCABULARY, DETAIL)), frozenset(VOCABULARY))
GENDERS = {8507: "M", 8532: "F"}
NO_NAMES = ("", "None", "nan", "<NA>")  # Null as text.
UNKNOWN_SHARE = 0.05  # Share of codes without a concept that calls for a warning.


def read_omop(
    source: Any,
    *,
    schema: str | None = None,
    tables: Sequence[str] | None = None,
    concepts: str = "standard",
    qualitative: str = "text",
    inpatient_visits: Collection[int] | None = None,
    unknown_availability: str = "never",
    time_zone: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    dropped: list[DroppedRows] | None = None,
    labels: dict[str, str] | None = None,
    stays: list[pd.DataFrame] | None = None,
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read events from a database in the OMOP Common Data Model, version 5.

    Parameters
    ----------
    source : connection, engine, str or PathLike
        A connection of DB-API 2.0 or duckdb, or a connection or engine of SQLAlchemy
        (results are streamed if the database supports it). Alternatively a duckdb file,
        or a folder of CSV or Parquet files named after the tables. A table may also be
        a folder of part files (``person/part-0000.parquet``). Other files are ignored.
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
    qualitative : {"text", "code"}, default="text"
        Place of a result without a number, such as "Positive". "text" is
        ``text_value``. "code" also appends it to the code, as ``//POSITIVE`` or
        ``//NEGATIVE``, or as the name of its concept in upper case. Texts of the source
        are appended only if they mean one of these two.
    inpatient_visits : collection of int or None, default=None
        Concepts of the visits whose medication is that of inpatients. None takes
        inpatient visits and emergency visits with their descendants in
        ``concept_ancestor``. Without this table, it takes a fixed list: 262, 8717,
        8870, 8920, 8971, 9201, 9203, 32037, 581379 and 581381 to 581385.
    unknown_availability : {"never", "event_time"}, default="never"
        When a diagnosis or procedure becomes available if its visit is missing or has
        no end. "never" is the year 9999. "event_time" may be before it was coded.
    time_zone : str or None, default=None
        Time zone of dates, and of times without a time zone, such as "Europe/Berlin".
        None is UTC if some times of the database have a time zone. Otherwise, all times
        are without one.
    encoding : str or None, default=None
        Encoding of CSV files, such as "latin-1". None is UTF-8, or UTF-16 if a file
        begins like it.
    delimiter : str or None, default=None
        Delimiter of CSV files. None is that of the header of each file, one of comma,
        semicolon, tab and bar.
    dropped : list or None, default=None
        List to which the numbers of dropped rows are appended, as tuples ``(table,
        reason, n_rows, n_subjects, n_read)``. With ``tables=None``, these include
        tables of events that are absent and tables of a folder that are not read, with
        0 rows.
    labels : dict or None, default=None
        Dictionary to which the names of codes are added, the column ``concept_name`` of
        ``concept``. Names that it already has are kept.
    stays : list or None, default=None
        List to which a table of the visits is appended, see
        `skfusion.EventStore.stays`. None reads no stays. Otherwise they are read from
        ``visit_occurrence`` and ``visit_detail``, whatever `tables` are, and kept in
        memory, about 100 bytes for each.
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
    DataWarning
        If rows are dropped, or an existing table lacks columns and is skipped. Also if
        visits are repeated, if more than 5% of the codes of a table have no concept, or
        if only some times have a time zone. Also if other tables of a folder are not
        read, with their shares of its bytes.
    LeakageWarning
        If visits are missing or have no end, so that it is not known when their codes
        were available.

    Notes
    -----
    Conditions and procedures of a visit become available at its end, because codes are
    assigned at discharge. Those that name no visit become available when they happen,
    as all other events do. OMOP has no column for the time at which a result was
    reported, so use `skfusion.EventStore.with_lags` for a delay.

    A time of midnight is a date without time by the conventions of OMOP, and is moved
    to the end of its day. Births without a day are in the middle of their month, and
    births without a month in the middle of their year (1 July). A value with an
    operator is a text such as "<5", see `skfusion.EventStore.read_text`. A drug is of
    an inpatient if its visit is an inpatient visit. Visits are kept in memory, 25 bytes
    for each. Words such as "NULL" and "NA" in columns of numbers and dates are nulls.

    References
    ----------
    .. [1] OMOP Common Data Model v5.4. https://ohdsi.github.io/CommonDataModel/

    Examples
    --------
    >>> import sqlite3
    >>> from skfusion.ehr import read_omop
    >>> db = sqlite3.connect(":memory:")
    >>> _ = db.execute("create table person (person_id, gender_concept_id, "
    ...                "year_of_birth)")
    >>> _ = db.execute("insert into person values (1, 8532, 1950)")
    >>> [chunk["code"].tolist() for chunk in read_omop(db)]
    [['MEDS_BIRTH', 'GENDER//F']]
    >>> db.close()
    """
    for option, name, allowed in (
        (concepts, "concepts", ("standard", "source")),
        (qualitative, "qualitative", ("text", "code")),
        (unknown_availability, "unknown_availability", ("never", "event_time")),
    ):
        check_option(option, name, allowed, "read_omop")
    if time_zone is not None:
        check_zone(time_zone, "read_omop")
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
    layout = LAYOUT._replace(encoding=encoding, delimiter=delimiter).check("read_omop")
    settings = _Settings(
        concepts, qualitative, unknown_availability, time_zone, inpatient_visits
    )
    opened = open_tables(source, "read_omop", chunk_size, layout)
    try:
        reader = _Reader(opened, schema, settings, dropped, labels, stays)
        chosen = reader.chosen(tables)
        if tables is None:
            others = _unread(source, layout.known)
            warn_of_unread(source, others, "read_omop")
            if dropped is not None:
                dropped += reader.tables_without_events(chosen)
                dropped += without_events((), others)
    except BaseException:
        opened.close()
        raise
    return reader.events(chosen)


def _unread(source: Any, known: Collection[str]) -> dict[str, int]:
    """Return the names and sizes of the tables of a folder that are not read."""
    if not isinstance(source, str | os.PathLike) or not Path(source).is_dir():
        return {}
    sizes = other_tables(Path(source), known)
    return {name: size for name, size in sizes.items() if name not in VOCABULARIES}


class _Settings(NamedTuple):
    """Parameters of `read_omop` that concern events."""

    concepts: str
    qualitative: str
    unknown_availability: str
    time_zone: str | None
    inpatient_visits: Collection[int] | None


class _Reader:
    """Reader of the tables of a database, one after the other."""

    def __init__(
        self,
        tables: Tables,
        schema: str | None,
        settings: _Settings,
        dropped: list[DroppedRows] | None,
        labels: dict[str, str] | None,
        stays: list[pd.DataFrame] | None = None,
    ) -> None:
        self._tables = tables
        self._start = f"{schema}." if schema else ""
        self._settings, self._dropped = settings, dropped
        self._labels, self._stays = labels, stays
        self._columns = {
            name: tables.columns(self._start + name)
            for name in (*TABLES, *VOCABULARY, DETAIL)
        }
        self._clock = Clock(settings.time_zone)
        self._visits: Visits | None = None
        self._coded: dict[str, tuple[int, int]] = {}  # Rows with a concept, unknown.

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
                warn_user(
                    f"read_omop: skipped table {name!r}, which has no column "
                    f"{lacking}. Set tables= to silence this warning.",
                    DataWarning,
                )
                continue
            chosen.append(name)
        needing = [n for n in chosen if n in CLINICAL_TABLES and n != "measurement"]
        if needing and not self._columns[VISIT]:
            warn_user(
                "read_omop: got no table 'visit_occurrence'. Diagnoses and procedures "
                "are treated as available when they happened, which may be before they "
                "were coded, and all medication as outpatient medication.",
                LeakageWarning,
            )
        return chosen

    def tables_without_events(self, chosen: list[str]) -> list[DroppedRows]:
        """Return the tables of events that are absent or not read."""
        there = {name for name in TABLES if self._columns[name]}
        return without_events({*TABLES} - there, there - {*chosen})

    def events(self, chosen: list[str]) -> Iterator[pd.DataFrame]:
        """Yield the events of the selected tables."""
        special: dict[str, Callable[[Losses], Iterator[pd.DataFrame]]] = {
            "person": self._persons,
            VISIT: self._visit_events,
            "death": self._deaths,
        }
        try:
            self._clock = self._chosen_clock(chosen)
            if self._stays is not None:
                self._stays += omop_stays(self, self._dropped)
            for name in chosen:
                losses = Losses("read_omop", name, self._dropped)
                if name in special:
                    yield from special[name](losses)
                else:
                    yield from self._clinical(name, losses)
                losses.warn()
            self._warn_of_concepts()
        finally:
            self._tables.close()

    def _chosen_clock(self, chosen: Sequence[str]) -> Clock:
        """Return a clock with a time zone if any column of times has one."""
        given = self._settings.time_zone
        if given is not None:
            return Clock(given)
        zoned: list[str] = []
        plain: list[str] = []
        others = [VISIT] if self._stays is None else [VISIT, "death", DETAIL]
        for name in dict.fromkeys([*chosen, *others]):
            columns = [c for c in _times_of(name) if c in self._columns[name]]
            if not columns:
                continue
            sample = self._tables.sample(self._start + name, columns)
            for column in columns:
                has_zone = has_time_zone(sample[column])
                if has_zone is not None:
                    (zoned if has_zone else plain).append(f"{name}.{column}")
        if zoned and plain:
            warn_user(
                f"read_omop: {len(zoned)} columns of times have a time zone, such as "
                f"{zoned[0]}, and {len(plain)} have none, such as {plain[0]}. The "
                "latter are read as UTC. Set time_zone= to that of the hospital.",
                DataWarning,
            )
        return Clock("UTC" if zoned else None)

    def _chunks(self, name: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns of a table, with nulls for missing columns."""
        there = [column for column in columns if column in self._columns[name]]
        query = f"SELECT {', '.join(there)} FROM {self._start}{name}"
        for chunk in self._tables.chunks(query, name):
            yield chunk.reindex(columns=list(columns))

    def _words(self, name: str, *columns: str) -> Words:
        """Return the words for the concepts in columns of a table."""
        there = self._columns["concept"]
        wanted = [c for c in ("vocabulary_id", *CONCEPT_WORDS) if c in there]
        columns = tuple(c for c in columns if c in self._columns[name])
        words = Words({}, {}, {})
        if not columns or not wanted or "concept_id" not in there:
            return words
        used = self._tables.values(self._start + name, columns)
        query = (
            f"SELECT concept_id, {', '.join(wanted)} FROM {self._start}concept WHERE "
            f"{self._tables.number('concept_id')} IN ({used})"
        )
        for chunk in self._tables.chunks(query, "concept"):
            words.add(as_ids(chunk["concept_id"], "read_omop: concept_id"), chunk)
        return words

    def _inpatient_concepts(self) -> frozenset[int]:
        """Return the concepts of inpatient visits."""
        given = self._settings.inpatient_visits
        if given is not None:
            return frozenset(given)
        return INPATIENT_VISITS | self.descendants_of(INPATIENT_ROOTS)

    def descendants_of(self, concepts: Sequence[int]) -> set[int]:
        """Return the descendants of concepts, none without their hierarchy."""
        names = ("ancestor_concept_id", "descendant_concept_id")
        if not {*names} <= {*self._columns["concept_ancestor"]}:
            return set()
        roots = ", ".join(map(str, concepts))
        query = (
            f"SELECT {names[1]} FROM {self._start}concept_ancestor WHERE "
            f"{self._tables.number(names[0])} IN ({roots})"
        )
        found: set[int] = set()
        for chunk in self._tables.chunks(query, "concept_ancestor"):
            where = f"read_omop: concept_ancestor.{names[1]}"
            found.update(as_ids(chunk[names[1]], where).dropna())
        return found

    def columns_of(self, table: str) -> list[str]:
        """Return the columns of a table."""
        return self._columns[table]

    def parts_of(self, table: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns of a table, with nulls for missing columns."""
        return self._chunks(table, columns)

    def names_of(self, table: str, columns: Sequence[str]) -> Mapping[int, str]:
        """Return the names of the concepts in columns of a table."""
        return self._words(table, *columns).names

    def when(self, chunk: pd.DataFrame, start: str, name: str) -> pd.Series:
        """Return the times of a table, dates at the end of their day."""
        return self._clock.when(chunk, start, name)

    def _all_visits(self) -> Visits:
        """Return the visits, which are read once."""
        if self._visits is None:
            columns = [VISIT_ID, "person_id", "visit_concept_id"]
            columns += ["visit_end_datetime", "visit_end_date"]
            inpatient = self._inpatient_concepts()
            self._visits = Visits(
                pd.DataFrame(
                    {
                        "visit": as_ids(chunk[VISIT_ID], f"read_omop: {VISIT}.id"),
                        "person": persons_of(chunk, VISIT),
                        "end": self._clock.when(chunk, "visit_end", VISIT),
                        "inpatient": as_ids(
                            chunk["visit_concept_id"], "read_omop: visit_concept_id"
                        ).isin(inpatient),
                    }
                )
                for chunk in self._chunks(VISIT, columns)
            )
            if self._visits.n_repeated:
                warn_user(
                    f"read_omop: {self._visits.n_repeated:,} rows of visit_occurrence "
                    f"repeat one of the {len(self._visits):,} visits. Of each visit, "
                    "the row with the latest end is used.",
                    DataWarning,
                )
        return self._visits

    def _use_of_visits(self, name: str, table: ClinicalTable) -> VisitUse | None:
        needed = table.after_visit or name == "drug_exposure"
        there = VISIT_ID in self._columns[name] and VISIT_ID in self._columns[VISIT]
        if not needed or not there:
            return None
        return VisitUse(self._all_visits(), name, self._settings.unknown_availability)

    def _clinical(self, name: str, losses: Losses) -> Iterator[pd.DataFrame]:
        """Yield the events of a clinical table."""
        table = CLINICAL_TABLES[name]
        columns, order = _clinical_columns(table)
        if self._settings.concepts == "source":
            order.reverse()
        words = self._words(name, *order, "unit_concept_id", "value_as_concept_id")
        use = self._use_of_visits(name, table)
        self._add_names(words, table, name)
        for chunk in self._chunks(name, columns):
            code = pd.Series(None, index=chunk.index, dtype=object)
            for column in order:
                code = filled(code, coded(chunk[column], words.codes, name))
            self._count_concepts(name, code)
            given = chunk[f"{table.stem}_source_value"]
            code = filled(filled(code, prefixed("SOURCE//", given)), "OMOP//0")
            frame = pd.DataFrame({"subject_id": persons_of(chunk, name)})
            frame["time"] = self._clock.when(chunk, table.start, name)
            inpatient = np.zeros(len(chunk), dtype=bool)
            if use is not None:
                ids = as_ids(chunk[VISIT_ID], f"read_omop: {name}.{VISIT_ID}")
                stays = use.of(ids, frame["subject_id"])
                inpatient = use.inpatient(stays)
                if table.after_visit:
                    frame["available_time"] = use.available(frame["time"], stays)
            frame["code"] = _domain(code, table, name, inpatient) + code
            if table.with_value:
                values, answer = values_of(chunk, table.text, words, name)
                frame = frame.join(values)
                if self._settings.qualitative == "code":
                    plain = frame["code"]
                    frame["code"] = with_answers(
                        plain,
                        frame["text_value"].where(frame["numeric_value"].isna()),
                        answer,
                    )
                    if self._labels is not None:
                        add_names_with_answers(self._labels, plain, frame["code"])
            yield losses.keep_events(frame)
        if use is not None:
            use.warn(after_visit=table.after_visit)

    def _add_names(self, words: Words, table: ClinicalTable, name: str) -> None:
        """Add the names of the concepts of a table, with each of its domains."""
        if self._labels is None or not words.names:
            return
        ids = list(words.names)
        coded = pd.Series([words.codes.get(i, f"OMOP//{i}") for i in ids], dtype=object)
        names = list(words.names.values())
        for inpatient in (False, True)[: 1 + (name == "drug_exposure")]:
            of_all = np.full(len(ids), inpatient)
            codes = _domain(coded, table, name, of_all) + coded
            for code, label in zip(codes, names, strict=True):
                if label not in NO_NAMES:
                    self._labels.setdefault(code, label)

    def _count_concepts(self, name: str, code: pd.Series) -> None:
        n_coded, n_unknown = self._coded.get(name, (0, 0))
        unknown = code.str.startswith("OMOP//", na=False)
        self._coded[name] = (
            n_coded + int(code.notna().sum()),
            n_unknown + int(unknown.sum()),
        )

    def _warn_of_concepts(self) -> None:
        """Warn about codes without a vocabulary."""
        listed = [
            f"{n_unknown:,} of {n_coded:,} of {name}"
            for name, (n_coded, n_unknown) in self._coded.items()
            if n_unknown > UNKNOWN_SHARE * n_coded
        ]
        if listed:
            has = {"concept_id", "concept_code", "vocabulary_id"} <= {
                *self._columns["concept"]
            }
            reason = "its entry" if has else "a table 'concept' with these columns"
            columns = "" if has else "concept_id, concept_code and vocabulary_id; "
            warn_user(
                f"read_omop: got codes of concepts without {reason} ({columns}"
                f"{', '.join(listed)}). These codes are OMOP// and the concept id, "
                "and no modality, unit or group of codes knows them. Add CONCEPT.csv "
                "of Athena, or the table of the database.",
                DataWarning,
            )

    def _persons(self, losses: Losses) -> Iterator[pd.DataFrame]:
        """Yield births and static events."""
        kinds = "race", "ethnicity"
        words = self._words("person", *(f"{kind}_concept_id" for kind in kinds))
        columns = ["person_id", "birth_datetime", "year_of_birth", "month_of_birth"]
        columns += ["day_of_birth", "gender_concept_id", "gender_source_value"]
        for kind in kinds:
            columns += [f"{kind}_concept_id", f"{kind}_source_value"]
        for chunk in self._chunks("person", columns):
            subject = persons_of(chunk, "person")
            births = pd.DataFrame(
                {"subject_id": subject, "time": self._clock.births(chunk)}
            )
            parts = [losses.keep_events(births.assign(code="MEDS_BIRTH"))]
            genders = coded(chunk["gender_concept_id"], GENDERS, "person")
            genders = genders.where(~genders.astype(str).str.startswith("OMOP"), None)
            facts = {"GENDER": filled(genders, chunk["gender_source_value"])}
            for kind in kinds:
                ids = as_ids(chunk[f"{kind}_concept_id"], f"read_omop: person.{kind}")
                named = ids.map(words.names).astype(object).where(ids.fillna(0) != 0)
                given = chunk[f"{kind}_source_value"].astype(object)
                facts[kind.upper()] = named.where(named.notna(), given)
            for kind, fact in facts.items():
                code = prefixed(f"{kind}//", fact)
                frame = pd.DataFrame({"subject_id": subject, "code": code})
                frame["time"] = pd.Series(pd.NaT, frame.index, births["time"].dtype)
                frame = frame[frame["code"].notna() & frame["subject_id"].notna()]
                parts.append(frame)
            yield pd.concat([part[["subject_id", "time", "code"]] for part in parts])

    def _visit_events(self, losses: Losses) -> Iterator[pd.DataFrame]:
        """Yield the start and the end of each visit."""
        words = self._words(VISIT, "visit_concept_id")
        columns = [VISIT_ID, "person_id", "visit_concept_id"]
        columns += [
            f"visit_{side}_{kind}"
            for side in ("start", "end")
            for kind in ("datetime", "date")
        ]
        visits = self._all_visits()
        seen = np.zeros(len(visits), dtype=bool)
        for chunk in self._chunks(VISIT, columns):
            ids = as_ids(chunk["visit_concept_id"], "read_omop: visit_concept_id")
            named = filled(ids.map(words.names), "OMOP//" + ids.astype(str))
            subject = persons_of(chunk, VISIT)
            place, _ = visits.find(as_ids(chunk[VISIT_ID], "read_omop: visit"), subject)
            ends = self._clock.when(chunk, "visit_end", VISIT)
            is_first = pd.Series(visits.first_of_each(place, ends, seen), chunk.index)
            for start, time in (
                ("VISIT", self._clock.when(chunk, "visit_start", VISIT)),
                ("VISIT_END", ends),
            ):
                codes = f"{start}//" + named
                frame = pd.DataFrame(
                    {"subject_id": subject, "time": time, "code": codes}
                )
                reason = "repeat a visit"
                losses.n_rows += len(frame) - int(is_first.sum())
                yield losses.keep_events(losses.keep(frame, is_first, reason))

    def _deaths(self, losses: Losses) -> Iterator[pd.DataFrame]:
        for chunk in self._chunks(
            "death", ["person_id", "death_datetime", "death_date"]
        ):
            frame = pd.DataFrame({"subject_id": persons_of(chunk, "death")})
            frame["time"] = self._clock.when(chunk, "death", "death")
            yield losses.keep_events(frame.assign(code="MEDS_DEATH"))


def _domain(
    code: pd.Series, table: ClinicalTable, name: str, inpatient: np.ndarray
) -> pd.Series:
    """Return the domain prefix of each code."""
    start = pd.Series(f"{table.domain}//", index=code.index, dtype=object)
    if name == "measurement":
        return start.mask(code.isin(VITAL_SIGNS), "VITAL//")
    if name == "drug_exposure":
        return start + np.where(inpatient, "INPATIENT//", "OUTPATIENT//")
    return start


def _clinical_columns(table: ClinicalTable) -> tuple[list[str], list[str]]:
    """Return the columns to read of a clinical table, and those of its concepts."""
    order = [f"{table.stem}_concept_id", f"{table.stem}_source_concept_id"]
    columns = ["person_id", *order, f"{table.stem}_source_value", VISIT_ID]
    columns += [f"{table.start}_datetime", f"{table.start}_date"]
    if table.with_value:
        columns += ["value_as_number", "value_as_concept_id", "operator_concept_id"]
        columns += ["unit_concept_id", "unit_source_value"]
        columns += [table.text] if table.text else []
    return columns, order


def _times_of(name: str) -> list[str]:
    """Return the columns of times of a table."""
    if name == "person":
        return ["birth_datetime"]
    starts = ["death"] if name == "death" else ["visit_start", "visit_end"]
    if name == DETAIL:
        starts = [f"{DETAIL}_start", f"{DETAIL}_end"]
    if name in CLINICAL_TABLES:
        starts = [CLINICAL_TABLES[name].start]
    return [f"{start}_{kind}" for start in starts for kind in ("datetime", "date")]


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
