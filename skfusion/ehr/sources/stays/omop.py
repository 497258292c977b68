"""Stays in the tables of visits of an OMOP database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import pandas as pd

from skfusion.ehr.sources.shaping import DroppedRows, as_ids
from skfusion.ehr.sources.stays.outcomes import complete_stays
from skfusion.ehr.sources.stays.vocabulary import HOSPITAL_KINDS, parents_of

__all__ = ["DETAIL", "VisitTable", "omop_stays"]


OWNER = "read_omop"
DETAIL = "visit_detail"
DAY = pd.Timedelta(1, "D") - pd.Timedelta(1, "us")
#: Kind -> concepts of visits. Their descendants are of the same kind, unless they are
#: listed themselves. Of two kinds, the first holds.
ROOTS = {
    "icu": (32037, 581379, 581382, 581383),
    "observation": (581385,),
    # An emergency visit that became an inpatient visit is a hospital stay.
    "hospital": (262, 9201, 8717, 8920, 8971, 8970, 581384),
    "emergency": (9203, 8870, 581381),
    "virtual": (5083, 581399),
    "home": (581476,),
    "outpatient": (9202, 581477, 8756, 8940, 8782),
    "other": (42898160, 32036, 581478),
}
#: Concepts of ``discharged_to_concept_id``. Others are understood by their name.
DESTINATIONS = {
    8536: "home",
    38004519: "home_care",
    8863: "skilled_facility",
    8676: "skilled_facility",
    8615: "skilled_facility",
    8827: "skilled_facility",
    8920: "rehabilitation",
    8970: "long_term_care",
    8971: "psychiatric",
    8913: "psychiatric",
    8546: "hospice",
    8717: "other_hospital",
    4021968: "against_advice",
    44814693: "against_advice",
    4216643: "died",
    8602: "other",
    8844: "other",
}


class VisitTable(NamedTuple):
    """Columns of a table of visits."""

    name: str
    stem: str
    parent: str | None = None

    def columns(self) -> list[str]:
        """Return the columns to read, of which those of discharges may be absent."""
        start = self.stem
        names = [f"{self.name}_id", "person_id", f"{start}_concept_id"]
        names += [
            f"{start}_{side}_{kind}"
            for side in ("start", "end")
            for kind in ("datetime", "date")
        ]
        names += [self.parent] if self.parent else []
        return names + self.discharge() + [f"{start}_source_value"]

    @staticmethod
    def discharge() -> list[str]:
        """Return the columns of discharges, in the versions 5.4, 5.3 and before."""
        return [
            f"{stem}_{kind}"
            for stem in ("discharged_to", "discharge_to")
            for kind in ("concept_id", "source_value")
        ]

    def required(self) -> set[str]:
        """Return the columns without which there are no stays."""
        dates = {f"{self.stem}_{side}_date" for side in ("start", "end")}
        parent = {self.parent} if self.parent else set()
        return (
            {f"{self.name}_id", "person_id", f"{self.stem}_concept_id"} | dates | parent
        )


VISITS = VisitTable("visit_occurrence", "visit")
DETAILS = VisitTable(DETAIL, DETAIL, "visit_occurrence_id")


class Reading(Protocol):
    """Access to the tables of a database, which its reader gives."""

    def columns_of(self, table: str) -> list[str]:
        """Return the columns of a table."""

    def parts_of(self, table: str, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns of a table, with nulls for missing columns."""

    def names_of(self, table: str, columns: Sequence[str]) -> Mapping[int, str]:
        """Return the names of the concepts in columns of a table."""

    def descendants_of(self, concepts: Sequence[int]) -> set[int]:
        """Return the descendants of concepts, none without their hierarchy."""

    def when(self, chunk: pd.DataFrame, start: str, name: str) -> pd.Series:
        """Return the times of a table."""


def omop_stays(
    reading: Reading, dropped: list[DroppedRows] | None
) -> list[pd.DataFrame]:
    """Return the stays of a database, as a list of at most one table.

    The kinds are those of the concepts of visits by their hierarchy. Rows of
    ``visit_detail`` are parts of their visit, and left out if they repeat it, with the
    same concept and the same times.
    """
    if not VISITS.required() <= set(reading.columns_of(VISITS.name)):
        return []
    kind_of = _kinds(reading)
    parts = list(_stays_of(VISITS, reading, kind_of))
    if DETAILS.required() <= set(reading.columns_of(DETAIL)):
        parts += _stays_of(DETAILS, reading, kind_of)
    parts = [part for part in parts if len(part)]
    if not parts:
        return []
    stays = pd.concat(parts, ignore_index=True)
    stays = _without_copies(stays)
    is_unit = stays["parent_id"].notna() & stays["kind"].isin(HOSPITAL_KINDS)
    stays["kind"] = stays["kind"].mask(is_unit, "unit")
    return [complete_stays(stays, _deaths(reading), OWNER, dropped)]


def _kinds(reading: Reading) -> Callable[[int], str | None]:
    listed = {concept: kind for kind, roots in ROOTS.items() for concept in roots}
    below: dict[int, str] = {}
    for kind in ("icu", "observation", "emergency", "hospital"):
        for concept in reading.descendants_of(ROOTS[kind]):
            below.setdefault(concept, kind)
    for kind in ("virtual", "home", "outpatient", "other"):
        for concept in reading.descendants_of(ROOTS[kind]):
            below.setdefault(concept, kind)
    known = {**below, **listed}
    return known.get


def _stays_of(
    table: VisitTable, reading: Reading, kind_of: Callable[[int], str | None]
) -> Iterator[pd.DataFrame]:
    there = reading.columns_of(table.name)
    concepts = [f"{table.stem}_concept_id"]
    concepts += [c for c in table.discharge()[::2] if c in there]
    names = reading.names_of(table.name, concepts)
    for chunk in reading.parts_of(table.name, table.columns()):
        where = f"{OWNER}: {table.name}"

        def ids(
            column: str, chunk: pd.DataFrame = chunk, where: str = where
        ) -> pd.Series:
            return as_ids(chunk[column], f"{where}.{column}")

        concept = ids(f"{table.stem}_concept_id")
        named = concept.map(names).astype(object)
        code = "OMOP//" + concept.astype("string")
        missing = pd.Series(pd.NA, index=chunk.index, dtype="Int64")
        destination, words = _discharges(chunk, ids, names)
        yield pd.DataFrame(
            {
                "stay_id": ids(f"{table.name}_id"),
                "subject_id": ids("person_id"),
                "kind": concept.map(kind_of, "ignore").astype(object),
                "start": reading.when(chunk, f"{table.stem}_start", table.name),
                "end": reading.when(chunk, f"{table.stem}_end", table.name),
                "parent_id": ids(table.parent) if table.parent else missing,
                "died": pd.Series(pd.NA, index=chunk.index, dtype="boolean"),
                "discharged_to": destination,
                "source_kind": named.where(named.notna(), code.astype(object)),
                "source_discharge": words,
                "concept": concept,
            }
        )


def _ids(chunk: pd.DataFrame, name: str, column: str) -> pd.Series:
    return as_ids(chunk[column], f"{OWNER}: {name}.{column}")


def _discharges(
    chunk: pd.DataFrame, ids: Callable[[str], pd.Series], names: Mapping[int, str]
) -> tuple[pd.Series, pd.Series]:
    """Return the destinations of concepts that are listed, and the words of others."""
    nothing = pd.Series(None, index=chunk.index, dtype=object)
    destination, words = nothing, nothing
    for concept, source in (VisitTable.discharge()[:2], VisitTable.discharge()[2:]):
        given = ids(concept)
        given = given.mask(given == 0)
        found = given.map(DESTINATIONS).astype(object)
        destination = destination.where(destination.notna(), found)
        named = given.map(names).astype(object)
        unnamed = ("OMOP//" + given.astype("string")).astype(object)
        for column in (chunk[source].astype(object), named, unnamed):
            words = words.where(words.notna(), column.where(column.notna(), None))
        # A text of the source may be a number, of which the concept tells the meaning.
        read = named.where(named.notna(), None)
        words = words.mask(words.astype(str).str.fullmatch(r"\d+") & read.notna(), read)
    return destination, words


def _without_copies(stays: pd.DataFrame) -> pd.DataFrame:
    """Leave out the parts of visits that are the whole visit."""
    parents = parents_of(stays)
    same = parents >= 0
    for name in ("concept", "start", "end"):
        here, there = stays[name], stays[name].iloc[parents].set_axis(stays.index)
        equal = (here == there).fillna(False) | (here.isna() & there.isna())
        same &= equal.to_numpy(bool)
    return stays[~same].drop(columns="concept").reset_index(drop=True)


def _deaths(reading: Reading) -> pd.DataFrame | None:
    """Return the days of deaths, or their times. None without a death in the table."""
    if not {"person_id", "death_date"} <= set(reading.columns_of("death")):
        return None
    parts = []
    columns = ["person_id", "death_datetime", "death_date"]
    for chunk in reading.parts_of("death", columns):
        last = reading.when(chunk, "death", "death")
        day_end = (last + pd.Timedelta(1, "us")).dt.second.eq(
            0
        ) & last.dt.microsecond.ne(0)
        first = last.where(
            ~day_end, last - pd.Timedelta(1, "D") + pd.Timedelta(1, "us")
        )
        ids = as_ids(chunk["person_id"], f"{OWNER}: death.person_id")
        parts.append(pd.DataFrame({"subject_id": ids, "from": first, "to": last}))
    return pd.concat(parts, ignore_index=True) if parts else None
