"""Conversion of FHIR resources to events with codes, times and values.

The elements are those of FHIR R4, and those of R5 where the names differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from skfusion.ehr.sources.fhir_codes import Coder, is_reason, qualitative_word
from skfusion.ehr.sources.fhir_files import identifier
from skfusion.ehr.sources.shaping import VITAL_SIGNS
from skfusion.ehr.sources.stays.fhir import Encounters

__all__ = [
    "Event",
    "Known",
    "RESOURCES",
    "is_retracted",
    "note",
    "subject_of",
]


_INPATIENT = {"IMP", "ACUTE", "NONAC", "EMER", "SS", "OBSENC"}
_GENDERS = {"female": "F", "male": "M"}  # The codes used by the other readers.
_OUTSIDE = {
    *("entered-in-error", "cancelled", "not-done"),
    *("registered", "preliminary", "draft", "planned", "preparation"),
}
_NO_ORDERS = {"proposal", "plan", "option"}
# Reasons of an absent value that do not deny that the result exists.
_HIDDEN = {
    *("masked", "not-permitted", "as-text", "unsupported", "negative-infinity"),
    *("positive-infinity", "MSK", "NINF", "PINF"),
}
_VALUES = ("value", "_value")
_LONG_TEXT = 40  # Characters from which a text is not looked up as a word.
_ENDED = "encounter that ended"
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


class Result(NamedTuple):
    """Result of an Observation, with the word that is a part of its code."""

    number: float | None = None
    unit: str | None = None
    text: str | None = None
    word: str | None = None


class Drug(NamedTuple):
    """Code of a medication, or what it is a mix of."""

    code: str | None
    #: Code, or else id of the medication, of each ingredient.
    ingredients: tuple[tuple[str | None, str | None], ...] = ()
    name: str | None = None  # Identifier, if nothing else has a code.


@dataclass
class Known:
    """Options, referenced resources, and counts of what yields no event.

    Parameters
    ----------
    coder : Coder
        Choice of one code of several.
    qualitative : {"text", "code"}, default="text"
        Whether qualitative results are texts only, or also a part of the code.
    """

    coder: Coder = field(default_factory=Coder)
    qualitative: str = "text"
    #: Class and end of the encounters by id.
    encounters: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    medications: dict[str, Drug] = field(default_factory=dict)
    #: Number of events that are left out by resource type and reason.
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: Encounters as stays, None if they are not wanted.
    stays: Encounters | None = None


def subject_of(resource: Mapping[str, Any]) -> str | None:
    """Return the patient id of a resource, or None for other subjects."""
    return _patient_of((resource.get("subject") or {}).get("reference") or "")


@lru_cache(maxsize=10_000)  # The resources of a patient mostly follow one another.
def _patient_of(text: str) -> str | None:
    kind = text.partition("/_history/")[0].rpartition("/")[0].rpartition("/")[2]
    if text.startswith("#") or kind not in ("", "Patient"):
        return None
    return identifier({"reference": text})


def _encounter_end(resource: Mapping[str, Any], known: Known) -> str | None:
    encounter = identifier(resource.get("encounter") or resource.get("context")) or ""
    return known.encounters.get(encounter, ("", None))[1]


def _domain(domain: str, coded: str | None) -> str | None:
    return None if coded is None else f"{domain}//{coded}"


def _when(
    resource: Mapping[str, Any], *names: str, ends: tuple[str, str] = ("end", "start")
) -> str | None:
    """Return the first time found, using the end of a period to avoid leakage."""
    for name in names:
        for kind in ("DateTime", "Instant", "Date", ""):
            value = resource.get(name + kind)
            if isinstance(value, str):
                return value
        period = resource.get(name + "Period")
        if isinstance(period, dict):
            found = period.get(ends[0]) or period.get(ends[1])
            if found:
                return str(found)
    return None


def _quantity(quantity: Mapping[str, Any]) -> Result:
    unit = quantity.get("code") or quantity.get("unit")
    number = quantity.get("value")
    if number is not None and quantity.get("comparator"):
        return Result(None, unit, f"{quantity['comparator']}{number}")
    return Result(None if number is None else float(number), unit)


def _range(found: Mapping[str, Any], coder: Coder) -> Result:
    """Return a range as text, such as ``5-10``, or ``>=5`` if it has no end."""
    low, high = (_quantity(found.get(name) or {}) for name in ("low", "high"))
    numbers = [None if q.number is None else f"{q.number:g}" for q in (low, high)]
    start, end = numbers
    text = f"{start}-{end}" if start and end else None
    if text is None and (start or end):
        text = f">={start}" if start else f"<={end}"
    return Result(None, low.unit or high.unit, text)


def _ratio(found: Mapping[str, Any], coder: Coder) -> Result:
    """Return a titer as text, such as ``1:128``, and a rate as a number with a unit."""
    parts = [_quantity(found.get(name) or {}) for name in ("numerator", "denominator")]
    above, below = parts
    if above.number is not None and below.number and below.unit:
        return Result(above.number / below.number, f"{above.unit or 1}/{below.unit}")
    texts = [q.text or ("" if q.number is None else f"{q.number:g}") for q in parts]
    return Result(None, above.unit, ":".join(texts) if all(texts) else None)


def _concept(found: Mapping[str, Any], coder: Coder) -> Result:
    return Result(None, None, coder(found), qualitative_word(found, coder))


def _text(found: Any, coder: Coder) -> Result:
    text = str(found)
    word = qualitative_word({"text": text}, coder) if len(text) < _LONG_TEXT else None
    return Result(None, None, text, word)


def _verbatim(found: Any, coder: Coder) -> Result:
    if isinstance(found, Mapping):  # A period.
        found = "/".join(str(found.get(name) or "") for name in ("start", "end"))
    return Result(None, None, str(found))


def _number(found: Any, coder: Coder) -> Result:
    return Result(float(found))


#: Element with a result -> function that converts it.
_RESULTS: dict[str, Callable[[Any, Coder], Result]] = {
    "valueQuantity": lambda found, coder: _quantity(found),
    "valueString": _text,
    "valueCodeableConcept": _concept,
    "valueInteger": _number,
    "valueDecimal": _number,
    "valueBoolean": _number,
    "valueRange": _range,
    "valueRatio": _ratio,
    "valueDateTime": _verbatim,
    "valueDate": _verbatim,
    "valueTime": _verbatim,
    "valuePeriod": _verbatim,
}


def _value(element: Mapping[str, Any], coder: Coder) -> Result:
    """Return the value of an Observation or component."""
    for name, convert in _RESULTS.items():
        if element.get(name) is not None:
            return convert(element[name], coder)
    return Result()


def _interpretation(element: Mapping[str, Any], coder: Coder) -> Result:
    """Return the first interpretation, such as ``POSITIVE``, as a result."""
    said = element.get("interpretation") or ()
    for concept in [said] if isinstance(said, Mapping) else said:
        word = qualitative_word(concept, coder)
        if word:
            return Result(None, None, word, word)
    return Result()


def _is_obtained(element: Mapping[str, Any], result: Result) -> bool:
    """Return whether nothing says that a result was not obtained."""
    absent = element.get("dataAbsentReason")
    if not absent and result.number is not None:
        return True
    reasons: list[Any] = []
    if absent:
        codes = [coding.get("code") for coding in absent.get("coding") or ()]
        reasons += codes or ["unknown"]
    values = [element[name] for name in element if name.startswith(_VALUES)]
    for value in (value for value in values if isinstance(value, Mapping)):
        for part in (value, value.get("_value") or {}):
            for extension in part.get("extension") or ():
                if str(extension.get("url")).endswith("/data-absent-reason"):
                    reasons.append(extension.get("valueCode"))
        codings = value.get("coding") or ()
        reasons += [coding.get("code") for coding in codings if is_reason(coding)]
    return all(reason in _HIDDEN for reason in reasons)


def _categories(resource: Mapping[str, Any]) -> set[str]:
    categories = resource.get("category") or []
    listed = categories if isinstance(categories, list) else [categories]
    codings = [coding for part in listed for coding in part.get("coding", [])]
    return {str(coding.get("code", "")).lower() for coding in codings}


def _observation(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject, time = subject_of(resource), _when(resource, "effective")
    issued = resource.get("issued")
    if time is None:
        issued = issued or _encounter_end(resource, known)
    categories = _categories(resource)
    components = resource.get("component") or []
    for part in (resource, *components):
        result = _value(part, known.coder)
        if result.number is None and result.text is None:
            if part is resource and components:
                continue  # A panel has values in its components only.
            result = _interpretation(part, known.coder)
        if not _is_obtained(part, result):
            known.left_out["Observation", "have a result that was not obtained"] += 1
            continue
        coded = known.coder(part.get("code"))
        domain = "OBSERVATION"
        if "laboratory" in categories:
            domain = "LAB"
        elif "vital-signs" in categories or coded in VITAL_SIGNS:
            domain = "VITAL"
        code = _domain(domain, coded)
        if code and result.word and known.qualitative == "code":
            code = f"{code}//{result.word}"
        yield Event(
            subject, time or issued, code, result.number, issued, result.unit,
            result.text,
        )  # fmt: skip


def _condition(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    period = resource.get("onsetPeriod") or {}
    onset = resource.get("onsetDateTime") or period.get("start")
    available = resource.get("recordedDate") or _encounter_end(resource, known)
    if not available:  # The onset may be years before the diagnosis.
        lacking = "recording time" if onset else "time"
        known.left_out["Condition", f"have no {lacking} and no {_ENDED}"] += 1
        return
    code = _domain("DIAGNOSIS", known.coder(resource.get("code"), "DIAGNOSIS"))
    time = onset or available
    yield Event(subject_of(resource), time, code, available_time=available)


def _procedure(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    performed = _when(resource, "performed", "occurrence")
    available = resource.get("recorded") or _encounter_end(resource, known)
    if not available and (resource.get("encounter") or not performed):
        lacking = "recording time" if performed else "time"
        known.left_out["Procedure", f"have no {lacking} and no {_ENDED}"] += 1
        return
    code = _domain("PROCEDURE", known.coder(resource.get("code"), "PROCEDURE"))
    time = performed or available
    yield Event(subject_of(resource), time, code, available_time=available)


def _drugs(resource: Mapping[str, Any], known: Known) -> list[str | None]:
    """Return the code of a medication, or those of the ingredients of a mix."""
    concept = resource.get("medicationCodeableConcept")
    medication = resource.get("medication")  # R5
    if concept is None and isinstance(medication, dict):
        concept = medication.get("concept")
    if concept is not None:
        return [known.coder(concept)]
    reference = resource.get("medicationReference")
    if reference is None and isinstance(medication, dict):
        reference = medication.get("reference")
    medications = known.medications
    key = (reference or {}).get("reference") or ""
    if key.startswith("#"):
        parts = resource.get("contained") or ()
        inner = {f"#{part.get('id')}": _drug(part, known.coder) for part in parts}
        medications = {**medications, **inner}
    else:
        key = identifier(reference) or ""
    return list(dict.fromkeys(_codes_of(key, medications))) or [None]


def _drug(resource: Mapping[str, Any], coder: Coder) -> Drug:
    concept, names = resource.get("code"), resource.get("identifier") or ()
    if coder(concept) is not None:
        return Drug(coder(concept, identifiers=names))
    parts = resource.get("contained") or ()
    inner = {f"#{part.get('id')}": coder(part.get("code")) for part in parts}
    found = []
    for ingredient in resource.get("ingredient") or ():
        item = ingredient.get("item") or {}  # R5
        reference = ingredient.get("itemReference") or item.get("reference")
        code = coder(ingredient.get("itemCodeableConcept") or item.get("concept"))
        name = (reference or {}).get("reference")
        key = name if name in inner else identifier(reference)
        if ingredient.get("isActive") is not False:
            found.append((code or inner.get(key or ""), key))
    return Drug(None, tuple(found), coder(None, identifiers=names))


def _codes_of(
    key: str, medications: Mapping[str, Drug], above: tuple[str, ...] = ()
) -> list[str]:
    """Return the code of a medication, or else of its ingredients, or else its name."""
    drug = medications.get(key, Drug(None))
    if drug.code is not None:
        return [drug.code]
    path = (*above, key)  # Against medications that contain themselves.
    found = []
    for code, inner in drug.ingredients:
        if code is not None:
            found.append(code)
        elif inner is not None and inner not in path:
            found += _codes_of(inner, medications, path)
    return found or ([drug.name] if drug.name else [])


def _request(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    reference = identifier(resource.get("encounter")) or ""
    encounter, _ = known.encounters.get(reference, (None, None))
    categories = _categories(resource)
    is_inpatient = "inpatient" in categories or (
        not categories & {"outpatient", "community", "discharge"}
        and encounter in _INPATIENT
    )
    place = "INPATIENT" if is_inpatient else "OUTPATIENT"
    subject = subject_of(resource)
    time = resource.get("authoredOn") or _encounter_end(resource, known)
    for drug in _drugs(resource, known):
        yield Event(subject, time, _domain(f"MEDICATION//{place}", drug))


def _administration(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject = subject_of(resource)
    # From its start, a drug is known to be given, even while an infusion runs.
    names = ("effective", "occurrence", "occurence")  # codespell:ignore
    time = _when(resource, *names, ends=("start", "end"))
    drugs = _drugs(resource, known)
    dose = Result()
    if len(drugs) == 1:  # The dose of a mix is none of an ingredient.
        dose = _quantity((resource.get("dosage") or {}).get("dose") or {})
    for drug in drugs:
        code = _domain("MEDICATION//INPATIENT", drug)
        yield Event(
            subject, time, code, dose.number, unit=dose.unit, text_value=dose.text
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
    if name == "Encounter" and not is_retracted(resource):
        stay = encounter_class(resource), _period(resource).get("end")
        known.encounters[key] = stay
    elif name == "Medication":
        known.medications[key] = _drug(resource, known.coder)
    elif name == "Location" and known.stays is not None:
        known.stays.note_location(resource)


def _encounter(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject, kind = subject_of(resource), encounter_class(resource)
    period = _period(resource)
    if known.stays is not None:
        known.stays.add(resource, subject)
    yield Event(subject, period.get("start"), f"VISIT//{kind}")
    if period.get("end"):
        yield Event(subject, period["end"], f"VISIT_END//{kind}")


def _patient(resource: Mapping[str, Any], known: Known) -> Iterator[Event]:
    subject = resource.get("id")
    if known.stays is not None:
        known.stays.note_patient(resource)
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
