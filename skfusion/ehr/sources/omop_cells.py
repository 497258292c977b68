"""Cells of OMOP tables as ids, codes, times and values of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pandas as pd

from skfusion.ehr.sources.shaping import as_ids, as_times, end_of_day, filled

__all__ = [
    "CONCEPT_WORDS",
    "Clock",
    "Words",
    "check_zone",
    "coded",
    "persons_of",
    "values_of",
]


# Concepts of operators. A value below or above a limit is not a number.
_OPERATORS = {4171756: "<", 4171754: "<=", 4172704: ">", 4171755: ">="}
# Common answers, for databases without their concepts.
_ANSWERS = {
    45884084: "Positive",
    45878583: "Negative",
    9191: "Positive",
    9189: "Negative",
    4181412: "Present",
    4132135: "Absent",
}


CONCEPT_WORDS = ("concept_code", "concept_name")


class Words(NamedTuple):
    """Words for concepts, by their ids."""

    codes: dict[int, str]  # With the vocabulary, such as LOINC//718-7.
    units: dict[int, str]
    names: dict[int, str]

    def add(self, ids: pd.Series, chunk: pd.DataFrame) -> None:
        """Add rows of the table of concepts."""
        if {"vocabulary_id", "concept_code"} <= set(chunk):
            codes = chunk["vocabulary_id"].astype(str) + "//"
            codes += chunk["concept_code"].astype(str)
            self.codes.update(zip(ids, codes, strict=True))
        for words, column in zip(self[1:], CONCEPT_WORDS, strict=True):
            if column in chunk:
                words.update(zip(ids, chunk[column].astype(str), strict=True))


class Clock(NamedTuple):
    """Conversion of the times of all tables of a database to one kind.

    Parameters
    ----------
    zone : str or None
        Time zone of dates and of times without a time zone. None if no table of the
        database has times with a time zone.
    """

    zone: str | None

    def when(self, chunk: pd.DataFrame, start: str, name: str) -> pd.Series:
        """Return event times, or the end of the day for dates without time."""
        where = f"read_omop: {name}.{start}"
        given = as_times(chunk[f"{start}_datetime"], f"{where}_datetime")
        dates = as_times(chunk[f"{start}_date"], f"{where}_date")
        times = self._local(given, where).fillna(self._local(dates, where))
        moved = end_of_day(times)
        found = self._absolute(moved)
        if given.dt.tz is None:
            return found
        # Local times are ambiguous for one hour of the year, but these are not.
        return found.where(given.isna() | (moved != times), given)

    def births(self, chunk: pd.DataFrame) -> pd.Series:
        """Return birth times, in the middle of a month or year if no more is known."""
        where = "read_omop: person.birth_datetime"
        given = as_times(chunk["birth_datetime"], where)
        parts = pd.DataFrame(
            {
                part: pd.to_numeric(chunk[f"{part}_of_birth"], errors="coerce")
                for part in ("year", "month", "day")
            },
            dtype="float64",
        )
        parts["day"] = parts["day"].fillna(15)
        parts.loc[parts["month"].isna(), "day"] = 1
        parts["month"] = parts["month"].fillna(7)
        dates = pd.to_datetime(parts, errors="coerce").astype("datetime64[us]")
        found = self._absolute(self._local(given, where).fillna(dates))
        return found if given.dt.tz is None else found.where(given.isna(), given)

    def _local(self, times: pd.Series, where: str) -> pd.Series:
        """Return times without a time zone, as clocks of `zone` show them."""
        if times.dt.tz is None:
            return times
        if self.zone is None:
            raise ValueError(
                f"{where}: got times with a time zone, after times without. Set "
                "time_zone to that of the times without, such as 'UTC'."
            )
        return times.dt.tz_convert(self.zone).dt.tz_localize(None)

    def _absolute(self, times: pd.Series) -> pd.Series:
        if self.zone is None:
            return times
        zoned = times.dt.tz_localize(
            self.zone, ambiguous=False, nonexistent="shift_forward"
        )
        return zoned.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def check_zone(time_zone: str, owner: str) -> None:
    """Raise an error for an unknown time zone."""
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError, TypeError):
        raise ValueError(
            f"{owner}: time_zone must be a name such as 'Europe/Berlin', got "
            f"{time_zone!r}."
        ) from None


def persons_of(chunk: pd.DataFrame, name: str) -> pd.Series:
    """Return the person id of each row."""
    ids = as_ids(chunk["person_id"], f"read_omop: {name}.person_id")
    return ids if ids.isna().any() else ids.astype("int64")


def coded(column: pd.Series, words: Mapping[int, str], name: str) -> pd.Series:
    """Return the codes of concepts, with null for concept 0 (no matching concept)."""
    ids = as_ids(column, f"read_omop: {name}.{column.name}")
    return _named(ids, words, "OMOP//")


def _named(ids: pd.Series, words: Mapping[int, str], start: str) -> pd.Series:
    has = ids.fillna(0) != 0
    unnamed = (start + ids.astype(str)).astype(object).where(has, None)
    return filled(ids.map(words).astype(object).where(has), unnamed)


def values_of(
    chunk: pd.DataFrame,
    text: str | None,
    words: Words,
    name: str,
) -> tuple[pd.DataFrame, pd.Series]:
    """Return values, units and texts of results, and the names of coded answers.

    Parameters
    ----------
    chunk : DataFrame
        Rows of a clinical table.
    text : str or None
        Column of results as text.
    words : Words
        Words for the concepts of units and of qualitative results.
    name : str
        Name of the table for messages.

    Returns
    -------
    DataFrame
        ``numeric_value``, ``unit`` and ``text_value``. A value with an operator such as
        "<" is a text. Without a number, the text is the coded answer, or else that of
        the source.
    Series
        The coded answer of each row without a number, or null.
    """
    given = chunk["value_as_number"].astype(object)
    numbers = pd.to_numeric(given, errors="coerce").astype("float64")
    operators = as_ids(
        chunk["operator_concept_id"], f"read_omop: {name}.operator_concept_id"
    )
    sign = operators.map(_OPERATORS).astype(object)
    bounded = sign.notna() & numbers.notna()
    ids = as_ids(chunk["unit_concept_id"], f"read_omop: {name}.unit_concept_id")
    unit = ids.map(words.units).astype(object).where(ids.fillna(0) != 0)
    ids = as_ids(chunk["value_as_concept_id"], f"read_omop: {name}.value_as_concept_id")
    answer = _named(ids, {**_ANSWERS, **words.names}, "OMOP//").where(
        numbers.isna(), None
    )
    is_named = answer.notna() & ~answer.astype(str).str.startswith("OMOP//")
    texts = answer.where(is_named, None)
    for column in (given, *([chunk[text]] if text else ()), answer):
        texts = texts.where(texts.notna(), column.astype(object))
    texts = texts.where(numbers.isna(), None).map(str, "ignore").astype(object)
    if bounded.any():
        limits = sign[bounded] + numbers[bounded].map("{:.15g}".format)
        texts = texts.where(~bounded, limits.reindex(texts.index))
    frame = pd.DataFrame(
        {
            "numeric_value": numbers.mask(bounded),
            "unit": filled(unit, chunk["unit_source_value"].astype(object)),
            "text_value": texts.where(texts.notna(), None),
        }
    )
    return frame, answer
