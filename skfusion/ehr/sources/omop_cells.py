"""Columns of OMOP's tables in, columns of events out.

Read next: `skfusion.ehr.sources.omop`.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from skfusion.ehr.sources.omop_tables import INPATIENT_VISITS, ClinicalTable
from skfusion.ehr.sources.shaping import as_ids, as_times, end_of_day
from skfusion.ehr.sources.vocabularies import VITAL_SIGNS

__all__ = ["births_of", "coded", "domain_of", "persons_of", "values_of", "when"]


def persons_of(chunk: pd.DataFrame, name: str) -> pd.Series:
    """Return whose the rows are."""
    ids = as_ids(chunk["person_id"], f"read_omop: {name}.person_id")
    return ids if ids.isna().any() else ids.astype("int64")


def coded(column: pd.Series, words: Mapping[int, str], name: str) -> pd.Series:
    """Return the codes of concepts; null for none, which is concept 0."""
    ids = as_ids(column, f"read_omop: {name}.{column.name}")
    unnamed = ("OMOP//" + ids.astype(str)).where(ids.fillna(0) != 0, None)
    return ids.map(words).astype(object).where(ids.fillna(0) != 0).fillna(unnamed)


def when(chunk: pd.DataFrame, start: str, name: str) -> pd.Series:
    """Return the time, or the end of the day where only that is known."""
    where = f"read_omop: {name}.{start}"
    times = as_times(chunk[f"{start}_datetime"], f"{where}_datetime")
    dates = as_times(chunk[f"{start}_date"], f"{where}_date")
    if times.dt.tz is not None and dates.dt.tz is None:
        dates = dates.dt.tz_localize("UTC")
    return end_of_day(times.fillna(dates))


def births_of(chunk: pd.DataFrame) -> pd.Series:
    """Return when persons were born, as well as it is known."""
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
    """Return what the codes begin with."""
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
    """Return the number, its unit, and the text where there is no number."""
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
