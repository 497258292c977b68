"""Conversion of FHIR resources to events with codes, times and values.

The elements are those of FHIR R4, and those of R5 where the names differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from skfusion.ehr.sources.shaping import VITAL_SIGNS

__all__ = [
    "Event",
    "Known",
    "RESOURCES",
    "identifier",
    "is_retracted",
    "note",
    "subject_of",
]


#: URI of a code system -> name of the vocabulary in OMOP.
SYSTEMS = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD9CM",
    "http://www.cms.gov/Medicare/Coding/ICD10": "ICD10PCS",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://www.whocc.no/atc": "ATC",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://www.ama-assn.org/go/cpt": "CPT4",
}
_INPATIENT = {"IMP", "ACUTE", "NONAC", "EMER", "SS", "OBSENC"}
_GENDERS = {"female": "F", "male": "M"}  # The codes used by the other readers.
_OUTSIDE = {
    *("entered-in-error", "cancelled", "not-done"),
    *("registered", "preliminary", "draft", "planned", "preparation"),
}
_NO_ORDERS = {"proposal", "plan", "option"}
_DENIED = {"entered-in-error", "refuted", "unconfirmed", "provisional", "differential"}


class Event(NamedTuple):
    """Event of a resource, with times as text."""

    subject_id: str | None
    time: str | None
    code: str | None
    numeric_value: float | None = None
    available_time: str | None = None
    unit: str | None = None
    text_value: str | None = None


class Known(NamedTuple):
    """Referenced data: class and end of encounters, and codes of medications."""

    encounters: dict[str, tuple[str, str | None]]
    medications: dict[str, str]


def identifier(reference: Any) -> str | None:
    """Return the id at the end of a reference such as ``Patient/12``.

    Examples
    --------
    >>> from skfusion.ehr.sources.fhir_resources import identifier
    >>> identifier({"reference": "Patient/12"}), identifier({"reference": "urn:uuid:a"})
    ('12', 'a')
    """
    text = (reference or {}).get("reference")
    if not text:
        return None
    text = text.partition("/_history/")[0]
    return str(text.rpartition(":" if text.startswith("urn:") else "/")[2]) or None


def subject_of(resource: Mapping[str, Any]) -> str | None:
    """Return the patient id of a resource, or None for other subjects."""
    subject = resource.get("subject")
    text = (subject or {}).get("reference") or ""
    kind = text.partition("/_history/")[0].rpartition("/")[0].rpartition("/")[2]
    if text.startswith("#") or kind not in ("", "Patient"):
        return None
    return identifier(subject)


def _known_at(resource: Mapping[str, Any], known: Known, name: str) -> str | None:
    """Return the recording time, or else the end of the encounter."""
    encounter = identifier(resource.get("encounter")) or ""
    return resource.get(name) or known.encounters.get(encounter, ("", None))[1]


def coding_of(concept: Any) -> str | None:
    """Return vocabulary and code of the first coding with a known code system."""
    concept = concept or {}
    first = None
    for coding in concept.get("coding", ()):
        code = coding.get("code")
        if not code:
            continue
        system = SYSTEMS.get(coding.get("system"))
        if system is not None:
            return f"{system}//{code}"
        first = first or code
    first = first or concept.get("text")
    return f"SOURCE//{first}" if first else None


def _domain(domain: str, coded: str | None) -> str | None:
    return None if coded is None else f"{domain}//{coded}"


def _when(resource: Mapping[str, Any], *names: str) -> str | None:
    """Return the first time found, using the end of a period to avoid leakage."""
    for name in names:
        for kind in ("DateTime", "Instant", "Date", ""):
            value = resource.get(name + kind)
            if isinstance(value, str):
                return value
        period = resource.get(name + "Period")
        if isinstance(period, dict):
            found = period.get("end") or period.get("start")
            if found:
                return str(found)
    return None


def _value(element: Mapping[str, Any]) -> tuple[float | None, str | None, str | None]:
    """Return the numeric value, unit and text of an element."""
    quantity = element.get("valueQuantity")
    if isinstance(quantity, dict):
        unit = quantity.get("code") or quantity.get("unit")
        number = quantity.get("value")
        if number is not None and quantity.get("comparator"):
            return None, unit, f"{quantity['comparator']}{number}"
        return (None if number is None else float(number)), unit, None
    for name in ("valueInteger", "valueBoolean"):
        if element.get(name) is not None:
            return float(element[name]), None, None
    if element.get("valueCodeableConcept"):
        return None, None, coding_of(element["valueCodeableConcept"])
    text = element.get("valueString")
    return None, None, None if text is None else str(text)


def _categories(resource: Mapping[str, Any]) -> set[str]:
    categories = resource.get("category") or []
    listed = categories if isinstance(categories, list) else [categories]
    codings = [coding for part in listed for coding in part.get("coding", [])]
    return {str(coding.get("code", "")).lower() for coding in codings}


def _observation(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject, time = subject_of(resource), _when(resource, "effective")
    issued = resource.get("issued")
    categories = _categories(resource)
    parts = [resource, *(resource.get("component") or [])]
    for part in parts:
        coded = coding_of(part.get("code"))
        number, unit, text = _value(part)
        if part is resource and len(parts) > 1 and (number, text) == (None, None):
            continue  # A panel has values in its components only.
        domain = "OBSERVATION"
        if "laboratory" in categories:
            domain = "LAB"
        elif "vital-signs" in categories or coded in VITAL_SIGNS:
            domain = "VITAL"
        code = _domain(domain, coded)
        yield Event(subject, time or issued, code, number, issued, unit, text)


def _condition(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    recorded = resource.get("recordedDate")
    onset = resource.get("onsetDateTime") or resource.get("onsetPeriod", {}).get(
        "start"
    )
    yield Event(
        subject_of(resource),
        onset or recorded,
        _domain("DIAGNOSIS", coding_of(resource.get("code"))),
        available_time=_known_at(resource, known, "recordedDate"),
    )


def _procedure(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    yield Event(
        subject_of(resource),
        _when(resource, "performed", "occurrence"),
        _domain("PROCEDURE", coding_of(resource.get("code"))),
        available_time=_known_at(resource, known, "recorded"),
    )


def _drug(resource: Mapping[str, Any], known: Known) -> str | None:
    concept = resource.get("medicationCodeableConcept")
    medication = resource.get("medication")  # R5
    if concept is None and isinstance(medication, dict):
        concept = medication.get("concept")
    if concept is not None:
        return coding_of(concept)
    reference = resource.get("medicationReference")
    if reference is None and isinstance(medication, dict):
        reference = medication.get("reference")
    text = (reference or {}).get("reference", "")
    if text.startswith("#"):
        for part in resource.get("contained", []):
            if part.get("id") == text[1:]:
                return coding_of(part.get("code"))
    return known.medications.get(identifier(reference) or "")


def _request(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    reference = identifier(resource.get("encounter")) or ""
    encounter, _ = known.encounters.get(reference, (None, None))
    categories = _categories(resource)
    is_inpatient = "inpatient" in categories or (
        not categories & {"outpatient", "community", "discharge"}
        and encounter in _INPATIENT
    )
    place = "INPATIENT" if is_inpatient else "OUTPATIENT"
    yield Event(
        subject_of(resource),
        resource.get("authoredOn"),
        _domain(f"MEDICATION//{place}", _drug(resource, known)),
    )


def _administration(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    quantity = (resource.get("dosage") or {}).get("dose") or {}
    number, unit, text = _value({"valueQuantity": quantity})
    yield Event(
        subject_of(resource),
        _when(resource, "effective", "occurrence", "occurence"),
        _domain("MEDICATION//INPATIENT", _drug(resource, known)),
        number,
        unit=unit,
        text_value=text,
    )


def encounter_class(resource: Mapping[str, Any]) -> str:
    """Return the class of an encounter, such as ``IMP`` for inpatient."""
    found = resource.get("class")
    if isinstance(found, list):  # R5
        found = found[0] if found else None
    if isinstance(found, dict) and "coding" in found:
        found = found["coding"][0] if found["coding"] else None
    return str((found or {}).get("code") or "UNKNOWN")


def _period(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    return resource.get("period") or resource.get("actualPeriod") or {}


def note(resource: Mapping[str, Any], known: Known) -> None:
    """Store the data of a resource that other resources refer to."""
    name, key = resource["resourceType"], str(resource.get("id"))
    if name == "Encounter":
        stay = encounter_class(resource), _period(resource).get("end")
        known.encounters[key] = stay
    elif name == "Medication":
        coded = coding_of(resource.get("code"))
        if coded is not None:
            known.medications[key] = coded


def _encounter(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject, kind = subject_of(resource), encounter_class(resource)
    period = _period(resource)
    yield Event(subject, period.get("start"), f"VISIT//{kind}")
    if period.get("end"):
        yield Event(subject, period["end"], f"VISIT_END//{kind}")


def _patient(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject = resource.get("id")
    if resource.get("birthDate"):
        yield Event(subject, resource["birthDate"], "MEDS_BIRTH")
    if resource.get("deceasedDateTime"):
        yield Event(subject, resource["deceasedDateTime"], "MEDS_DEATH")
    gender = resource.get("gender")
    if gender:
        yield Event(subject, None, f"GENDER//{_GENDERS.get(gender, gender)}")


def is_retracted(resource: Mapping[str, Any]) -> bool:
    """Return whether a resource is retracted, did not happen or is not final."""
    verified = resource.get("verificationStatus")
    codings = verified.get("coding", []) if isinstance(verified, dict) else []
    denied = any(coding.get("code") in _DENIED for coding in codings)
    no_order = resource.get("doNotPerform") or resource.get("intent") in _NO_ORDERS
    outside = resource.get("status") in _OUTSIDE
    return bool(denied or no_order or outside)


#: Resource type -> function that yields its events.
RESOURCES: dict[str, Callable[[Mapping[str, Any], Known], Iterator[Event]]] = {
    "Condition": _condition,
    "Encounter": _encounter,
    "MedicationAdministration": _administration,
    "MedicationRequest": _request,
    "Observation": _observation,
    "Patient": _patient,
    "Procedure": _procedure,
}
