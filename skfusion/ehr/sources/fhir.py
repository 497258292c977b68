"""Reader of events from a FHIR bulk export."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from skfusion._validation import check_option
from skfusion.ehr.sources.fhir_codes import PREFERRED, Coder
from skfusion.ehr.sources.fhir_files import find_files, place_of, resources_of
from skfusion.ehr.sources.fhir_resources import (
    RESOURCES,
    Event,
    Known,
    is_retracted,
    note,
    subject_of,
)
from skfusion.ehr.sources.fhir_times import Clock, Offsets, as_zone, to_times
from skfusion.ehr.sources.shaping import DroppedRows, Losses, later_of
from skfusion.ehr.sources.stays.fhir import Encounters
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["read_fhir"]


# Errors raised by the conversion of a resource with an element of the wrong type.
MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
QUALITATIVE = ("text", "code")
#: Prefixes of codes that a `Coder` chose.
DOMAINS = (
    *("LAB//", "VITAL//", "OBSERVATION//", "DIAGNOSIS//", "PROCEDURE//"),
    *("MEDICATION//INPATIENT//", "MEDICATION//OUTPATIENT//"),
)
BIRTH = "MEDS_BIRTH"
_REFERENCED = (b'"Encounter"', b'"Medication"', b'"Location"')  # Also in a Bundle.


def read_fhir(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    time_zone: str | None = None,
    systems: Sequence[str] = PREFERRED,
    qualitative: str = "text",
    chunk_size: int = 200_000,
    dropped: list[DroppedRows] | None = None,
    labels: dict[str, str] | None = None,
    stays: list[pd.DataFrame] | None = None,
) -> Iterator[pd.DataFrame]:
    """Read events from a FHIR export (R4 or R5).

    Parameters
    ----------
    source : str, PathLike or iterable of those
        Folder with files at any depth, or such files, also gzipped. ``.ndjson`` and
        ``.jsonl`` have one resource or Bundle per line. ``.json`` have that too, or are
        one document with a resource, a Bundle or a list of resources.
    time_zone : str or None, default=None
        Name of the time zone of the source, such as ``"America/New_York"``, for dates
        and for times without a time zone. If the offsets from UTC of all other times
        are those of this zone, the events have the local times of the source, without
        a time zone. Otherwise, and for ``"UTC"`` and None, they are in UTC. With None,
        dates and times without a zone have the offset of the other times, or the one in
        which a day ends last.
    systems : sequence of str, default=PREFERRED
        Vocabularies or URIs of code systems, from the most to the least preferred, for
        concepts with several codings. The default is ``LOINC``, ``ICD10CM``,
        ``ICD10GM``, ``ICD10CA``, ``ICD10AM``, ``ICD10``, ``ICD9CM``, ``ICD10PCS``,
        ``ICD9Proc``, ``OPS``, ``CPT4``, ``HCPCS``, ``SNOMED``, ``RxNorm``, ``ATC``,
        ``NDC``, ``PZN``, ``CVX``, ``MIMIC``. Other code systems follow by name.
    qualitative : {"text", "code"}, default="text"
        Treatment of results of Observations that are concepts or words. ``"text"``
        stores them as text. ``"code"`` also appends them to the code, so that they can
        be features: ``POSITIVE`` or ``NEGATIVE`` (also for detected, reactive, present
        and their opposites), or the code of the concept in upper case.
    chunk_size : int, default=200_000
        Approximate number of events in a chunk.
    dropped : list or None, default=None
        List to which the numbers of dropped resources are appended, as in
        `skfusion.ehr.sources.read_omop`.
    labels : dict or None, default=None
        Dictionary to which the names of codes are added, the most frequent display of
        each. Without any display, it is the text of concepts of several patients. Names
        that it already has are kept.
    stays : list or None, default=None
        List to which a table of the Encounters is appended, see
        `skfusion.EventStore.stays`. None collects no stays.

    Yields
    ------
    DataFrame
        Columns of events. Codes are ``LAB//``, ``VITAL//`` and ``OBSERVATION//``
        (Observation and its components), ``DIAGNOSIS//`` (Condition), ``PROCEDURE//``,
        ``MEDICATION//INPATIENT//`` and ``MEDICATION//OUTPATIENT//`` (MedicationRequest
        and MedicationAdministration), then vocabulary and code (``LOINC//718-7``).
        Further codes are ``VISIT//`` and ``VISIT_END//`` with the class (Encounter),
        ``MEDS_BIRTH``, ``MEDS_DEATH`` and, without time, ``GENDER//`` (Patient). Ids
        are text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line or document is not JSON or not a valid resource (the message gives
        the place), a file is truncated, or a parameter has an unknown value.
    TypeError
        If `systems` is not a sequence of text.

    Warns
    -----
    DataWarning
        With the numbers of dropped resources: retracted (entered in error, refuted,
        cancelled, not done), not final (preliminary, planned, suspected), without a
        patient, readable time or code, without a result because it was not obtained
        (``dataAbsentReason``), with an unknown recording time, or of other types. Lines
        of more than 64 MB, i.e. attachments, are among the other types. Also with the
        numbers of skipped items of logs and manifests and of other JSON documents, of
        codes without a code system, of offsets from UTC that are not those of
        `time_zone`, and of dates in an export with several offsets and no `time_zone`.

    Notes
    -----
    An Observation becomes available when it was issued. A Condition or Procedure
    becomes available when it was recorded, or else when its encounter ended, because
    codes are assigned then. Without a time of their own, these three and a
    MedicationRequest happen at the end of their encounter. Conditions with neither a
    recording time nor an encounter that ended are dropped, as are Procedures of an
    encounter that has not ended. All other events become available when they happen,
    also Procedures without an encounter, and a MedicationAdministration with a period
    at its start, with the dose of the whole period.

    A date is moved to the end of its day, and a month or a year to its end. Births of
    which only the month or year is known are at noon of the middle day. Files are read
    twice, and Encounters and Medications are kept in memory.

    A code system is known under all its spellings (``https``, a slash at the end,
    ``urn:oid:``), and ICD codes have no dot, as in `read_mimic`. The name of another
    code system is the last part of its URI and six digits of its SHA-256
    (``items-08222d``), or its OID. Codes without a system and texts are ``SOURCE//``.
    The ingredients of a medication without a code are one event each, without a dose if
    there are several. A medication without both has its identifier as its code.

    Values with a comparator ("<0.1"), ranges ("5-10") and titers ("1:128") are stored
    as text, see `skfusion.EventStore.read_text`. A ratio of quantities with units is a
    number, and a Boolean is 1 or 0. Without a value, the interpretation is the result.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from skfusion.ehr import read_fhir
    >>> resource = {
    ...     "resourceType": "Observation", "subject": {"reference": "Patient/7"},
    ...     "category": [{"coding": [{"code": "laboratory"}]}],
    ...     "code": {"coding": [{"system": "http://loinc.org", "code": "718-7"}]},
    ...     "effectiveDateTime": "2024-05-01T08:00:00+02:00",
    ...     "valueQuantity": {"value": 13.1, "code": "g/dL"},
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "Observation.ndjson").write_text(json.dumps(resource))
    ...     chunk = next(read_fhir(folder))
    >>> chunk["code"][0], chunk["time"][0].isoformat()
    ('LAB//LOINC//718-7', '2024-05-01T06:00:00+00:00')
    """
    zone = as_zone(time_zone)
    check_option(qualitative, "qualitative", QUALITATIVE, "read_fhir")
    if isinstance(systems, str) or not all(isinstance(name, str) for name in systems):
        raise TypeError(
            "read_fhir: systems must be a sequence of names such as ('SNOMED', "
            f"'ICD10CM') or URIs of code systems, got {systems!r}."
        )
    files = find_files(source)
    known = Known(Coder(systems), qualitative)
    known.stays = None if stays is None else Encounters()
    return _chunks(files, known, Offsets(zone), chunk_size, dropped, labels, stays)


@dataclass
class _Tally:
    """Counts of what is dropped or assumed, for warnings."""

    losses: dict[str, Losses]
    retracted: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    codes: set[str] = field(default_factory=set)
    n_assumed: int = 0

    def left_out(self) -> list[DroppedRows]:
        """Return the numbers of resources without events."""
        counts = {
            "are retracted or not final": self.retracted,
            "are of an unsupported type": self.others,
        }
        return [
            DroppedRows(name, reason, n, 0, n)
            for reason, of_types in counts.items()
            for name, n in of_types.items()
        ]

    def warn(self, known: Known, clock: Clock) -> None:
        """Warn about everything that is not as it should be."""
        for (name, reason), n in known.left_out.items():
            self.losses[name].counts[reason] += n
            self.losses[name].n_rows += n
        for loss in self.losses.values():
            loss.warn()
        _warn_of(self.retracted, "dropped {} resources that are retracted or not final")
        self.others.pop("Medication", None)  # Used through references.
        _warn_of(self.others, "dropped {} resources of unsupported types")
        _warn_of(self.skipped, "skipped {} lines or documents")
        _warn_of(
            self.unnamed,
            "got {} events with a code without a code system, named SOURCE//, so that "
            "equal codes of different systems are one",
        )
        if self.n_assumed and not clock.is_certain:
            warn_user(
                f"read_fhir: got {self.n_assumed} times that are dates or have no time "
                "zone, in an export with several offsets from UTC. They are taken in "
                "the offset in which a day ends last, which may be up to hours too "
                "late. Pass time_zone with the zone of the source.",
                DataWarning,
            )


def _chunks(
    files: list[Path],
    known: Known,
    offsets: Offsets,
    chunk_size: int,
    dropped: list[DroppedRows] | None,
    labels: dict[str, str] | None,
    stays: list[pd.DataFrame] | None,
) -> Iterator[pd.DataFrame]:
    _note_all(files, known, offsets)
    clock = offsets.clock()
    tally = _Tally({name: Losses("read_fhir", name, dropped) for name in RESOURCES})
    waiting: dict[str, list[Event]] = {name: [] for name in RESOURCES}
    n_waiting = 0
    for path in files:
        for number, resource in resources_of(path, tally.skipped):
            name = str(resource["resourceType"])
            if name not in RESOURCES:
                tally.others[name] += 1
                continue
            try:
                events = _events(name, resource, known)
            except MISSHAPEN:
                raise _misshapen(name, place_of(path, number)) from None
            if events is None:
                tally.retracted[name] += 1
                continue
            waiting[name] += events
            n_waiting += len(events)
            if n_waiting >= chunk_size:
                yield from _tables(waiting, tally, clock)
                n_waiting = 0
    yield from _tables(waiting, tally, clock)
    tally.warn(known, clock)
    if labels is not None:
        _add_names(tally.codes, known.coder, labels)
    if known.stays is not None and stays is not None:
        stays += known.stays.stays(clock, dropped)
    if dropped is not None:
        dropped += tally.left_out()


def _warn_of(counts: Counter[str], what: str) -> None:
    if counts:
        listed = ", ".join(f"{name} {n}" for name, n in counts.most_common(8))
        said = what.format(counts.total())
        warn_user(f"read_fhir: {said}: {listed}.", DataWarning)


def _events(name: str, resource: dict[str, Any], known: Known) -> list[Event] | None:
    """Return the events of a resource, or None if it is retracted or not final."""
    if is_retracted(resource):
        return None
    known.coder.patient = subject_of(resource)
    return list(RESOURCES[name](resource, known))


def _add_names(codes: Iterable[str], coder: Coder, labels: dict[str, str]) -> None:
    """Add the names of events' codes, which have a domain and may have an answer."""
    for code in codes:
        start = next((start for start in DOMAINS if code.startswith(start)), None)
        if start is None:
            continue
        coded = code.removeprefix(start)
        name = coder.label_of(coded)
        if name is None:
            coded, _, answer = coded.rpartition("//")
            name = coder.label_of(coded)
            name = None if name is None else f"{name}: {answer}"
        if name is not None:
            labels.setdefault(code, name)


def _misshapen(name: str, place: str) -> ValueError:
    """Return an error that names the position of a resource but not its content."""
    return ValueError(
        f"read_fhir: {place} is not a valid {name} of FHIR R4 or R5, "
        "because an element has the wrong type. No events were stored. Repair or "
        "remove the resource."
    )


def _note_all(files: list[Path], known: Known, offsets: Offsets) -> None:
    """Read referenced resources first, because they may be in any file."""
    for path in files:
        found = resources_of(path, Counter(), _REFERENCED, offsets.look)
        for number, resource in found:
            try:
                note(resource, known)
            except MISSHAPEN:
                name = str(resource["resourceType"])
                raise _misshapen(name, place_of(path, number)) from None


def _tables(
    waiting: dict[str, list[Event]], tally: _Tally, clock: Clock
) -> Iterator[pd.DataFrame]:
    for name, events in waiting.items():
        if not events:
            continue
        table = pd.DataFrame(events, columns=list(Event._fields))
        events.clear()
        births = table["code"] == BIRTH if name == "Patient" else None
        stated = table["available_time"].notna()
        for column in ("time", "available_time"):
            times, n_assumed = to_times(table[column], clock, births)
            table[column] = times
            tally.n_assumed += n_assumed
        # Events with an unreadable availability time are dropped to avoid leakage.
        table["time"] = table["time"].mask(stated & table["available_time"].isna())
        table["available_time"] = later_of(table["time"], table["available_time"])
        table["numeric_value"] = table["numeric_value"].astype(float)
        static = table["code"].str.startswith("GENDER//", na=False).astype(bool)
        kept = tally.losses[name].keep_events(table[~static])
        unnamed = kept["code"].str.contains("//SOURCE//", regex=False)
        if unnamed.any():
            tally.unnamed[name] += int(unnamed.sum())
        tally.codes.update(kept["code"].unique())
        parts = [part for part in (kept, table[static]) if len(part)]
        if parts:
            yield pd.concat(parts, ignore_index=True)
