"""Images of a FHIR export, from its ImagingStudies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from skfusion.cohorts.image_table import image_table, with_files
from skfusion.ehr.sources.fhir_files import find_files, place_of, resources_of
from skfusion.ehr.sources.fhir_resources import subject_of
from skfusion.ehr.sources.fhir_times import Offsets, as_zone, to_times
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["read_fhir_images"]


OWNER = "read_fhir_images"
KIND = "ImagingStudy"
_RETRACTED = ("cancelled", "entered-in-error", "inactive")
_NOT_FINAL = ("registered",)
_MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError)
_SINGLE = ("uid", "number", "started", "numberOfInstances")
_UID_SYSTEM = "urn:dicom:uid"
_NAMES = (
    *("study", "patient", "series", "series_number", "modality", "laterality"),
    *("body_part", "instances", "started"),
)


def read_fhir_images(
    source: Any, *, files: Any = None, time_zone: str | None = None
) -> pd.DataFrame:
    """Read the ImagingStudies of a FHIR export, of the versions DSTU2 to R5.

    Parameters
    ----------
    source : str, PathLike or iterable of those
        As in `skfusion.ehr.sources.read_fhir`: a folder with NDJSON files, documents or
        Bundles, also gzipped, or such files.
    files : DataFrame or None, default=None
        Images of `scan_images`, from which the paths of the series are taken. The
        resources have none.
    time_zone : str or None, default=None
        Time zone of the source, such as "America/New_York". Pass the same export and
        the same zone to `skfusion.EventStore.from_fhir`. The times are then of the same
        kind, local or in UTC.

    Returns
    -------
    DataFrame
        One row per series, or per study without series, with the columns of
        `scan_images`. Patients are the ids of their resources, as in an
        `~skfusion.EventStore`. ``acquired`` is when the series, or else the study, was
        started, and a date is the end of its day. With `files`, one row per file.

    Raises
    ------
    FileNotFoundError
        If there is no file of an export.
    ValueError
        If a line is not JSON or an element has the wrong type. The message gives the
        place.

    Warns
    -----
    DataWarning
        With the numbers of studies that are retracted, registered only or without a
        patient, of series that are listed again, of those without a start or a file,
        and of numbers that cannot be read.

    Notes
    -----
    A resource states when a study was started, but not when its images were available.
    Set ``reporting_delay`` in `link_images`.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from skfusion.cohorts import read_fhir_images
    >>> study = {
    ...     "resourceType": "ImagingStudy", "status": "available",
    ...     "subject": {"reference": "Patient/7"}, "started": "2024-03-01T08:30:00Z",
    ...     "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2"}],
    ...     "series": [{"uid": "1.2.3", "number": 2, "modality": {"code": "CT"}}],
    ... }
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "ImagingStudy.ndjson").write_text(json.dumps(study))
    ...     images = read_fhir_images(folder)
    >>> images[["patient", "study", "series", "modality"]]
      patient study series modality
    0       7   1.2  1.2.3       CT
    """
    offsets = Offsets(as_zone(time_zone))
    counts: Counter[str] = Counter()
    rows: list[tuple[Any, ...]] = []
    skipped: Counter[str] = Counter()
    for path in find_files(source):
        found = resources_of(path, skipped, (f'"{KIND}"'.encode(),), offsets.look)
        for number, resource in found:
            if resource["resourceType"] != KIND:
                continue
            try:
                rows += _series_of(resource, counts)
            except _MISSHAPEN:
                raise ValueError(
                    f"{OWNER}: {place_of(path, number)} is not a valid {KIND}, because "
                    "an element has the wrong type. Repair or remove the resource."
                ) from None
    table = pd.DataFrame(rows, columns=list(_NAMES), dtype=object)
    again = table["series"].notna() & table.duplicated()
    counts["series that are listed again (left out)"] = int(again.sum())
    table = table[~again].reset_index(drop=True)
    acquired, _ = to_times(table["started"], offsets.clock())
    counts["series without a readable start"] = int(acquired.isna().sum())
    cells = {name: table[name] for name in _NAMES[:-1]}
    images = image_table({**cells, "acquired": acquired}, len(table), OWNER)
    said = [f"{n} {reason}" for reason, n in counts.items() if n]
    if said:
        warn_user(f"{OWNER}: got {', '.join(said)}.", DataWarning)
    return images if files is None else with_files(images, files, OWNER)


def _series_of(
    study: Mapping[str, Any], counts: Counter[str]
) -> Iterator[tuple[Any, ...]]:
    """Yield a row for each series of a study, or one for a study without any."""
    status = str(study.get("status") or "")
    if status in _RETRACTED:
        counts["studies that are retracted (left out)"] += 1
        return
    if status in _NOT_FINAL:
        counts["studies that are registered only (left out)"] += 1
        return
    subject = subject_of(study) or subject_of({"subject": study.get("patient")})
    if subject is None:
        counts["studies without a patient (left out)"] += 1
        return
    head = _study_uid(study), subject
    started = study.get("started")
    if isinstance(started, list | dict):
        raise TypeError
    listed = study.get("series") or []
    if not isinstance(listed, list):
        raise TypeError
    for series in listed or [{}]:
        if any(isinstance(series.get(name), list | dict) for name in _SINGLE):
            raise TypeError
        yield (
            *head,
            _bare(series.get("uid")),
            series.get("number"),
            _code(
                series.get("modality")
                or (study.get("modality") if not listed else None)
            ),
            _code(series.get("laterality")),
            _word(series.get("bodySite")),
            _count(series, study if not listed else {}),
            series.get("started") or started,
        )


def _study_uid(study: Mapping[str, Any]) -> str | None:
    if study.get("uid"):  # before R4
        return _bare(study["uid"])
    for part in study.get("identifier") or ():
        value = str(part.get("value") or "")
        if part.get("system") == _UID_SYSTEM or value.startswith("urn:oid:"):
            return _bare(value)
    return None


def _bare(uid: Any) -> str | None:
    return str(uid).removeprefix("urn:oid:").strip() or None if uid else None


def _codings(concept: Any) -> list[Mapping[str, Any]]:
    """Return the codings of a Coding, CodeableConcept or CodeableReference."""
    parts = concept if isinstance(concept, list) else [concept]
    found: list[Mapping[str, Any]] = []
    for part in parts:
        if part is None:
            continue
        inner = part.get("concept") or part
        found += inner.get("coding") or [inner]
    return found


def _code(concept: Any) -> str | None:
    codes = [str(c["code"]) for c in _codings(concept) if c.get("code")]
    return codes[0] if codes else None


def _word(concept: Any) -> str | None:
    """Return the name of a concept, or else its code."""
    for coding in _codings(concept):
        word = coding.get("display") or coding.get("text") or coding.get("code")
        if word:
            return str(word)
    return None


def _count(series: Mapping[str, Any], study: Mapping[str, Any]) -> Any:
    stated = series.get("numberOfInstances", study.get("numberOfInstances"))
    return stated if stated is not None else len(series.get("instance") or []) or None
