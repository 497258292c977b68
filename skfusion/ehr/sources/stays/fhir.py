"""Stays from the Encounters of a FHIR export."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from skfusion.ehr.sources.fhir_files import identifier
from skfusion.ehr.sources.fhir_times import Clock, to_times
from skfusion.ehr.sources.shaping import DroppedRows
from skfusion.ehr.sources.stays.outcomes import complete_stays
from skfusion.ehr.sources.stays.vocabulary import (
    HOSPITAL_KINDS,
    discharge_of_code,
    discharge_of_words,
    says_nothing,
)

__all__ = ["Encounters", "kind_of_encounter"]


#: Class of an Encounter in lower case -> kind: codes of v3-ActCode (R4 and R5), and of
#: patient classes of HL7 v2 (table 0004). Some servers use the words instead.
CLASSES = {
    **dict.fromkeys(("imp", "acute", "nonac", "ss", "i", "inpatient"), "hospital"),
    **dict.fromkeys(("obsenc", "observation"), "observation"),
    **dict.fromkeys(("emer", "e", "emergency"), "emergency"),
    **dict.fromkeys(("amb", "o", "r", "outpatient", "ambulatory"), "outpatient"),
    **dict.fromkeys(("daytime", "wellness"), "outpatient"),
    **dict.fromkeys(("hh", "home"), "home"),
    **dict.fromkeys(("vr", "virtual"), "virtual"),
    **dict.fromkeys(("icu", "ccu", "picu", "nicu"), "icu"),
    **dict.fromkeys(("fld", "prenc", "p", "b", "c", "n", "u", "field"), "other"),
    "other": "other",
}
#: End of the URI of the system of an identifier, or a code, that tells the kind
#: whatever the class is: of MIMIC-IV on FHIR, and of contacts in German hospitals.
_MARKS = {
    "encounter-hosp": "hospital",
    "encounter-icu": "icu",
    "encounter-ed": "emergency",
    "intensivstationaer": "icu",
}
#: Concepts of SNOMED CT of intensive care, in types and services of Encounters.
_INTENSIVE = {"309904001", "305351004", "408478003"}
#: Types of Locations (v3-RoleCode) of intensive care.
_INTENSIVE_UNITS = {"icu", "picu", "pedicu", "pednicu", "nicu", "ccu"}
_DAY = pd.Timedelta(1, "D") - pd.Timedelta(1, "us")


def _codings(concepts: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the codings of concepts, or of codings, single or in a list."""
    for concept in concepts if isinstance(concepts, list) else [concepts]:
        if not isinstance(concept, Mapping):
            continue
        inner = concept.get("concept") or concept  # A CodeableReference of R5.
        yield from inner.get("coding") or (() if "text" in inner else [inner])


def kind_of_encounter(
    resource: Mapping[str, Any], intensive: Container[str]
) -> str | None:
    """Return the kind of the stay of an Encounter, without regard to its parent.

    None is a class that is not known.

    Parameters
    ----------
    resource : mapping
        An Encounter of R4 or R5.
    intensive : container of str
        Ids of the Locations of intensive care.

    Examples
    --------
    >>> from skfusion.ehr.sources.stays.fhir import kind_of_encounter
    >>> kind_of_encounter({"class": {"code": "OBSENC"}}, set())
    'observation'
    >>> kind_of_encounter({"class": [{"coding": [{"code": "VR"}]}]}, set())
    'virtual'
    """
    codes = [str(coding.get("code")) for coding in _codings(resource.get("class"))]
    kinds = [CLASSES.get(code.strip().lower()) for code in codes]
    kind = next((kind for kind in kinds if kind), None)
    marks = [str(part.get("system")) for part in resource.get("identifier") or ()]
    for name in ("type", "serviceType"):
        for coding in _codings(resource.get(name)):
            marks.append(str(coding.get("code")).lower())
            if str(coding.get("code")) in _INTENSIVE:
                return "icu"
    for mark in marks:
        found = _MARKS.get(mark.rstrip("/").rpartition("/")[2])
        if found == "hospital" and kind == "observation":
            return kind
        if found:
            return found
    places = [
        identifier(part.get("location")) for part in resource.get("location") or ()
    ]
    # The places of a whole stay include wards.
    is_part = bool(resource.get("partOf") and places)
    if is_part and all(place in intensive for place in places):
        return "icu"
    return kind


def _destination(resource: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return where a patient went, and the words of the source for it."""
    admission = resource.get("hospitalization") or resource.get("admission") or {}
    concept = admission.get("dischargeDisposition") or {}
    words = []
    found = None
    parts = concept.get("extension") or ()  # The reasons of German hospitals.
    inner = [part for outer in parts for part in outer.get("extension") or (outer,)]
    coded = [part["valueCoding"] for part in inner if "valueCoding" in part]
    for coding in (*(concept.get("coding") or ()), *coded):
        system, code = str(coding.get("system") or ""), str(coding.get("code") or "")
        texts = [coding.get("display"), code if not code.isdigit() else None]
        words += [text for text in (*texts, code) if text]
        found = found or discharge_of_code(system, code)
    words = [*([concept["text"]] if concept.get("text") else []), *words]
    if found is None:
        read = (discharge_of_words(str(w)) for w in words if not says_nothing(w))
        found = next((destination for destination in read if destination), None)
    return found, str(words[0]) if words else None


@dataclass
class Encounters:
    """Encounters of an export, and what is needed to understand them.

    Examples
    --------
    >>> from skfusion.ehr.sources.stays.fhir import Encounters
    >>> encounters = Encounters()
    >>> encounters.add({"id": "a", "class": {"code": "IMP"},
    ...                 "period": {"start": "2024-05-01T08:00:00Z"}}, "7")
    >>> len(encounters.rows)
    1
    """

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    #: Subject -> time of death as text, True for a death without a time.
    deaths: dict[str, str | bool] = field(default_factory=dict)
    #: Whether any Patient is said to be dead or alive.
    states_deaths: bool = False
    _intensive: set[str] = field(default_factory=set)

    def note_location(self, resource: Mapping[str, Any]) -> None:
        """Store whether a Location is one of intensive care."""
        codes = {str(c.get("code")).lower() for c in _codings(resource.get("type"))}
        if codes & (_INTENSIVE_UNITS | _INTENSIVE):
            self._intensive.add(str(resource.get("id")))

    def note_patient(self, resource: Mapping[str, Any]) -> None:
        """Store the death of a Patient."""
        died = resource.get("deceasedDateTime") or resource.get("deceasedBoolean")
        self.states_deaths |= "deceasedBoolean" in resource or bool(died)
        if died:
            self.deaths[str(resource.get("id"))] = died

    def add(self, resource: Mapping[str, Any], subject: str | None) -> None:
        """Add an Encounter that is neither retracted nor planned."""
        period = resource.get("period") or resource.get("actualPeriod") or {}
        given = next(_codings(resource.get("class")), {})
        destination, words = _destination(resource)
        self.rows.append(
            (
                resource.get("id"),
                subject,
                kind_of_encounter(resource, self._intensive),
                period.get("start"),
                period.get("end"),
                identifier(resource.get("partOf")),
                destination,
                given.get("display") or given.get("code"),
                words,
            )
        )

    def stays(
        self, clock: Clock, dropped: list[DroppedRows] | None
    ) -> list[pd.DataFrame]:
        """Return the stays of all Encounters, as a list of at most one table."""
        if not self.rows:
            return []
        names = ["stay_id", "subject_id", "kind", "start", "end", "parent_id"]
        names += ["discharged_to", "source_kind", "source_discharge"]
        stays = pd.DataFrame(self.rows, columns=names).astype(
            {"subject_id": object, "kind": object, "parent_id": object}
        )
        self.rows.clear()
        for name in ("start", "end"):
            stays[name], _ = to_times(stays[name], clock)
        _climb(stays)
        is_part = stays["parent_id"].notna()
        is_unit = is_part & stays["kind"].isin(HOSPITAL_KINDS)
        stays["kind"] = stays["kind"].mask(is_unit, "unit")
        stays["died"] = pd.Series(pd.NA, stays.index, dtype="boolean")
        deaths = self._times_of_death(clock)
        return [complete_stays(stays, deaths, "read_fhir", dropped)]

    def _times_of_death(self, clock: Clock) -> pd.DataFrame | None:
        """Return times of death, None if the export has none."""
        if not self.states_deaths:
            return None
        texts = [
            time if isinstance(time, str) else None for time in self.deaths.values()
        ]
        column = pd.Series(texts, dtype=object)
        last, _ = to_times(column, clock)
        lengths = column.map(len, "ignore")
        first = last.copy()
        for length, size in ((10, _DAY), (7, 31 * _DAY), (4, 366 * _DAY)):
            first = first.where(lengths != length, last - size)
        never = last.isna()  # A death without a time may have been in any stay.
        return pd.DataFrame(
            {
                "subject_id": pd.Series(list(self.deaths), dtype=object),
                "from": first.mask(never, _extreme(last, 1700)),
                "to": last.mask(never, _extreme(last, 9999)),
            }
        )


def _extreme(like: pd.Series, year: int) -> pd.Timestamp:
    time = pd.Timestamp(year=year, month=1, day=1).as_unit("us")
    return time if like.dt.tz is None else time.tz_localize("UTC")


def _climb(stays: pd.DataFrame) -> None:
    """Replace each parent by the outermost stay of which it is a part."""
    above = dict(zip(stays["stay_id"], stays["parent_id"], strict=True))
    above = {stay: parent for stay, parent in above.items() if isinstance(parent, str)}

    def outermost(stay: Any) -> Any:
        seen = set()
        while stay in above and stay not in seen:
            seen.add(stay)
            stay = above[stay]
        return stay

    parents = stays["parent_id"]
    stays["parent_id"] = parents.map(outermost, "ignore").astype(object)
