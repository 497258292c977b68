"""Vocabularies of FHIR codes, and the choice of one code of several."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

__all__ = ["Coder", "PREFERRED", "is_reason", "qualitative_word", "vocabulary_of"]


#: Order of preference of the vocabularies if a concept has several codings.
PREFERRED = (
    *("LOINC", "ICD10CM", "ICD10GM", "ICD10CA", "ICD10AM", "ICD10", "ICD9CM"),
    *("ICD10PCS", "ICD9Proc", "OPS", "CPT4", "HCPCS", "SNOMED"),
    *("RxNorm", "ATC", "NDC", "PZN", "CVX", "MIMIC"),
)
#: URI of a code system without scheme, "www." and last slash -> vocabulary in OMOP.
SYSTEMS = {
    "loinc.org": "LOINC",
    "snomed.info/sct": "SNOMED",
    "cms.gov/medicare/coding/icd10": "ICD10PCS",
    "hl7.org/fhir/sid/icd-9-cm/diagnosis": "ICD9CM",
    "hl7.org/fhir/sid/icd-9-cm/procedure": "ICD9Proc",
    "id.who.int/icd/release/11/mms": "ICD11",
    "nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "whocc.no/atc": "ATC",
    "ama-assn.org/go/cpt": "CPT4",
    "cms.gov/medicare/coding/hcpcsreleasecodesets": "HCPCS",
    "fhir.de/codesystem/bfarm/ops": "OPS",
    "fhir.de/codesystem/dimdi/ops": "OPS",
    "fhir.de/codesystem/ifa/pzn": "PZN",
}
#: Last part of a URI -> vocabulary, for servers with copies of a code system.
COPIES = {
    "loinc": "LOINC",
    "snomed": "SNOMED",
    "snomedct": "SNOMED",
    "rxnorm": "RxNorm",
    "atc": "ATC",
    "atc-de": "ATC",
    "ndc": "NDC",
    "cvx": "CVX",
    "cpt": "CPT4",
    "hcpcs": "HCPCS",
    "icd-11": "ICD11",
    # MIMIC-IV on FHIR, with the names that `read_mimic` gives.
    "mimic-diagnosis-icd9": "ICD9CM",
    "mimic-diagnosis-icd10": "ICD10CM",
    "mimic-procedure-icd9": "ICD9Proc",
    "mimic-procedure-icd10": "ICD10PCS",
    "mimic-medication-ndc": "NDC",
    "mimic-medication-name": "MIMIC",
    "mimic-medication-icu": "MIMIC",
    "mimic-d-items": "MIMIC",
    "mimic-chartevents-d-items": "MIMIC",
    "mimic-d-labitems": "MIMIC",
}
OIDS = {
    "2.16.840.1.113883.6.1": "LOINC",
    "2.16.840.1.113883.6.96": "SNOMED",
    "2.16.840.1.113883.6.90": "ICD10CM",
    "2.16.840.1.113883.6.3": "ICD10",
    "2.16.840.1.113883.6.4": "ICD10PCS",
    "2.16.840.1.113883.6.42": "ICD9CM",
    "2.16.840.1.113883.6.103": "ICD9CM",
    "2.16.840.1.113883.6.104": "ICD9Proc",
    "2.16.840.1.113883.6.135": "ICD10AM",
    "2.16.840.1.113883.6.88": "RxNorm",
    "2.16.840.1.113883.6.73": "ATC",
    "2.16.840.1.113883.6.69": "NDC",
    "2.16.840.1.113883.6.12": "CPT4",
    "2.16.840.1.113883.6.285": "HCPCS",
    "2.16.840.1.113883.12.292": "CVX",
    "2.16.840.1.113883.12.78": "v2-0078",
    "2.16.840.1.113883.5.83": "v3-observationinterpretation",
    "2.16.840.1.113883.5.1008": "v3-nullflavor",
}
_OID = re.compile(r"(?:urn:)?(?:oid:)?([0-2](?:\.\d+)+)")
_SCHEME = re.compile(r"^[a-z][a-z+.-]*://(?:www\.)?")
_ICD = re.compile(r"icd-?(9|10)-?([a-z]*)")
_NATIONAL = ("am", "be", "ca", "cm", "cn", "gm", "nl", "se")
# Modifications of ICD, by the end of the name of the code system.
_ICD_NAMES = {
    "9": {"": "ICD9CM", "cm": "ICD9CM", "proc": "ICD9Proc", "pcs": "ICD9Proc"},
    "10": {
        "": "ICD10",
        "who": "ICD10",
        "de": "ICD10GM",
        "us": "ICD10CM",
        "pcs": "ICD10PCS",
        **{end: f"ICD10{end.upper()}" for end in _NATIONAL},
    },
}
# Publishers of code systems whose last part is unique.
_PUBLISHED = re.compile(
    r"(?:terminology\.hl7\.org/(?:\d[^/]*/)?codesystem|hl7\.org/fhir"
    r"|mimic\.mit\.edu/fhir/mimic/codesystem)/"
)
# Code systems that say why there is no code.
_NO_CODES = {"data-absent-reason", "v3-nullflavor"}

_POSITIVE, _NEGATIVE = "POSITIVE", "NEGATIVE"
_WORDS = {
    **dict.fromkeys(
        ("positive", "pos", "detected", "reactive", "present", "+"), _POSITIVE
    ),
    **dict.fromkeys(
        (
            *("negative", "neg", "not detected", "undetected", "none detected"),
            *("nonreactive", "non-reactive", "not reactive", "absent", "not present"),
        ),
        _NEGATIVE,
    ),
}
_RESULTS = {
    **{f"SNOMED//{code}": _POSITIVE for code in (10828004, 260373001, 11214006)},
    **{f"SNOMED//{code}": _NEGATIVE for code in (260385009, 260415000, 131194007)},
    "SNOMED//52101004": _POSITIVE,  # Present.
    "SNOMED//2667000": _NEGATIVE,  # Absent.
    **{f"LOINC//{code}": _POSITIVE for code in ("LA6576-8", "LA11882-0", "LA9633-4")},
    **{f"LOINC//{code}": _NEGATIVE for code in ("LA6577-6", "LA11883-8", "LA9634-2")},
    **{
        f"{system}//{code}": word
        for system in ("v3-observationinterpretation", "v2-0078")
        for word, codes in ((_POSITIVE, "POS DET RR"), (_NEGATIVE, "NEG ND NR"))
        for code in codes.split()
    },
}


@lru_cache(maxsize=10_000)
def vocabulary_of(system: str) -> str:
    """Return the name of a code system in event codes.

    Parameters
    ----------
    system : str
        URI of a code system, as in ``Coding.system``.

    Returns
    -------
    str
        Name of the vocabulary in OMOP, if it is known under any of its spellings (with
        ``https``, a slash at the end, a version after ``|``, or as ``urn:oid:``).
        Otherwise the OID, or the last part of a URI of HL7 or MIMIC, or the last part
        of any other URI and six digits of its SHA-256, so that lists with the same last
        part are kept apart.

    Examples
    --------
    >>> from skfusion.ehr.sources.fhir_codes import vocabulary_of
    >>> vocabulary_of("https://loinc.org/")
    'LOINC'
    >>> vocabulary_of("urn:oid:2.16.840.1.113883.6.1")
    'LOINC'
    >>> vocabulary_of("http://fhir.de/CodeSystem/bfarm/icd-10-gm")
    'ICD10GM'
    >>> vocabulary_of("http://hospital.example/analyser-1/items")
    'items-08222d'
    """
    text = system.strip().lower().partition("|")[0]
    oid = _OID.fullmatch(text)
    if oid:
        return OIDS.get(oid[1], oid[1])
    key = _SCHEME.sub("", text).rstrip("/#")
    if key in SYSTEMS:
        return SYSTEMS[key]
    if key.startswith("snomed.info/sct/"):  # An edition and its version.
        return "SNOMED"
    last = re.split("[/:#]", key)[-1]
    icd = _ICD.fullmatch(last)
    if icd and icd[2] in _ICD_NAMES[icd[1]]:
        return _ICD_NAMES[icd[1]][icd[2]]
    if last in COPIES:
        return COPIES[last]
    if _PUBLISHED.match(key):
        end = key.rpartition("/v2/")[2] if "/v2/" in key else None
        return f"v2-{end}" if end else f"v3-{last}" if "/v3/" in key else last
    return f"{last}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"


# Texts of concepts that may be names of codes.
_LONGEST_NAME = 200  # Characters.
_MOST_TEXTS = 20  # Of a code.
_SHARED = "//"  # No id of a patient.


@lru_cache(maxsize=100_000)
def _named(system: Any, code: Any, domain: str) -> tuple[str, str] | None:
    """Return the vocabulary and the code, or None for the reason of a missing code."""
    code = str(code).strip()
    if not code:
        return None
    if not system:
        return "SOURCE", code
    name = vocabulary_of(system)
    if name in _NO_CODES:
        return None
    if name.startswith(("ICD9", "ICD10")):
        if name == "ICD9CM" and domain == "PROCEDURE":
            name = "ICD9Proc"  # FHIR has one URI for both volumes.
        code = code.replace(".", "").upper()  # As in MIMIC and in claims.
    return name, code


def is_reason(coding: Mapping[str, Any]) -> bool:
    """Return whether a coding says why there is no code or value."""
    system = coding.get("system")
    return bool(system) and vocabulary_of(str(system)) in _NO_CODES


class Coder:
    """Choice of the code of a concept that may have codings of several systems.

    Parameters
    ----------
    systems : sequence of str, default=PREFERRED
        Vocabularies or URIs of code systems, from the most to the least preferred.
        Other code systems follow in the order of their names, then codings without a
        system. Of two codings of one system, the first code in the order of text is
        chosen, so that the order of the codings does not matter.

    Examples
    --------
    >>> from skfusion.ehr.sources.fhir_codes import Coder
    >>> concept = {"coding": [
    ...     {"system": "http://snomed.info/sct", "code": "44054006"},
    ...     {"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "E11.9"},
    ... ]}
    >>> Coder()(concept), Coder(["SNOMED"])(concept)
    ('ICD10CM//E119', 'SNOMED//44054006')
    """

    def __init__(self, systems: Sequence[str] = PREFERRED) -> None:
        names = [vocabulary_of(name) if ":" in name else name for name in systems]
        self._rank = {name: i for i, name in reversed(list(enumerate(names)))}
        #: The patient of the resource that is read.
        self.patient: str | None = None
        # Vocabulary and code -> how often each display names it, and the patient of
        # each text, or `_SHARED`.
        self._displays: dict[str, Counter[str]] = {}
        self._texts: dict[str, dict[str, str | None]] = {}

    def __call__(
        self, concept: Any, domain: str = "", identifiers: Any = ()
    ) -> str | None:
        """Return vocabulary and code, or ``SOURCE`` and a code without a system.

        Identifiers, of a medication for example, count as codings if their system is
        among the preferred ones, or if the concept has no code.
        """
        concept = concept or {}
        codings = concept.get("coding") or ()
        found = self._pairs(codings, "code", domain)
        if identifiers:
            pairs = self._pairs(identifiers, "value", domain)
            found += [pair for pair in pairs if not found or pair[0] in self._rank]
        if found:
            pair = found[0] if len(found) == 1 else min(found, key=self._key)
            coded = "//".join(pair)
            self._note(coded, pair, concept, domain)
            return coded
        text = str(concept.get("text") or "").strip()
        return f"SOURCE//{text}" if text else None

    def _note(
        self, coded: str, pair: tuple[str, str], concept: Any, domain: str
    ) -> None:
        """Note the display of the coding that was chosen, or else the text."""
        for coding in concept.get("coding") or ():
            display = coding.get("display")
            if isinstance(display, str) and pair == _named(
                coding.get("system"), coding.get("code"), domain
            ):
                self._displays.setdefault(coded, Counter())[display] += 1
                return
        text = concept.get("text")
        if isinstance(text, str) and len(text) <= _LONGEST_NAME:
            known = self._texts.setdefault(coded, {})
            if text not in known and len(known) < _MOST_TEXTS:
                known[text] = self.patient
            elif known.get(text, _SHARED) != self.patient:
                known[text] = _SHARED

    def label_of(self, coded: str) -> str | None:
        """Return the name of a vocabulary and code, or None without one.

        The name is the most frequent display. Without a display, it is a text that is
        used of several patients, because a user may have entered it about one.
        """
        counts = self._displays.get(coded)
        if counts:
            return min(counts, key=lambda name: (-counts[name], name))
        texts = self._texts.get(coded, {})
        return min((text for text in texts if texts[text] == _SHARED), default=None)

    def _pairs(self, codings: Any, name: str, domain: str) -> list[tuple[str, str]]:
        """Return vocabulary and code of each coding that has a code."""
        pairs = []
        for coding in codings:
            code = coding.get(name)
            pair = _named(coding.get("system"), code, domain) if code else None
            if pair is not None:
                pairs.append(pair)
        return pairs

    def _key(self, pair: tuple[str, str]) -> tuple[int, bool, str, str]:
        name, code = pair
        return self._rank.get(name, len(self._rank)), name == "SOURCE", name, code


def qualitative_word(concept: Mapping[str, Any], coder: Coder) -> str | None:
    """Return ``POSITIVE``, ``NEGATIVE`` or the code of a result, or None without one.

    Examples
    --------
    >>> from skfusion.ehr.sources.fhir_codes import Coder, qualitative_word
    >>> qualitative_word({"text": "Not detected"}, Coder())
    'NEGATIVE'
    >>> qualitative_word({"coding": [{"code": "r"}]}, Coder())
    'R'
    """
    codings = concept.get("coding") or ()
    for coding in codings:
        pair = _named(coding.get("system"), coding.get("code") or "", "")
        word = _RESULTS.get("//".join(pair)) if pair else None
        if word:
            return word
    for text in (concept.get("text"), *(coding.get("display") for coding in codings)):
        word = _WORDS.get(str(text or "").strip(" .\n").lower())
        if word:
            return word
    coded = coder({"coding": codings})
    return coded.partition("//")[2].upper() if coded else None
