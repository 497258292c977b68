"""A FHIR bulk export in, chunks of events out."""

from __future__ import annotations

import gzip
import json
import os
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from skfusion.ehr.sources.fhir_resources import (
    RESOURCES,
    Event,
    Known,
    is_retracted,
    note,
)
from skfusion.ehr.sources.shaping import Losses, later_of

__all__ = ["read_fhir"]


try:
    import orjson

    _loads: Callable[[bytes], Any] = orjson.loads
except ImportError:  # three times slower, and otherwise the same
    _loads = json.loads

# what the code of a resource raises where an element has another type
MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
SUFFIXES = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")
_ZONE = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"
_DATE = r"^\d{4}(?:-\d{2}(?:-\d{2})?)?$"


def read_fhir(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    time_zone: str = "UTC",
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read a FHIR bulk export: files with one resource a line (R4 or R5).

    Parameters
    ----------
    source : str, PathLike or iterable of those
        Folder with ``.ndjson`` files, also gzipped, at any depth; or such files.
    time_zone : str, default="UTC"
        Of dates, and of times that do not state theirs.
    chunk_size : int, default=200_000
        About how many events a chunk has.

    Yields
    ------
    DataFrame
        Columns of events, times in UTC. Codes are ``LAB//``, ``VITAL//`` and
        ``OBSERVATION//`` (Observation and its components), ``DIAGNOSIS//``
        (Condition), ``PROCEDURE//``, ``MEDICATION//INPATIENT//`` and
        ``MEDICATION//OUTPATIENT//`` (MedicationRequest and MedicationAdministration),
        then vocabulary and code (``LOINC//718-7``), or ``SOURCE//`` and what the
        resource has. Beside them ``VISIT//`` and ``VISIT_END//`` and the class
        (Encounter), ``MEDS_BIRTH``, ``MEDS_DEATH`` and, without time, ``GENDER//``
        (Patient). Ids are texts.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is no JSON or no such resource (the message has its number), a file
        is cut off, or the time zone is unknown.

    Warns
    -----
    UserWarning
        With the numbers of resources that were retracted (entered in error, refuted,
        cancelled, not done) or are not final (preliminary, planned, suspected), have
        no patient, readable time or code, or are of other types; of Conditions of
        which nothing says when they were known.

    Notes
    -----
    When events are known: an Observation when it was issued; a Condition or Procedure
    when it was recorded, else when its encounter ended, as codes are assigned then;
    all others when they happened. Encounters and Medications are kept in memory, and
    the files read twice for them. A date counts from the end of its day, a month or a
    year from its end. Values with a comparator ("<0.1") are texts:
    `skfusion.EventStore.read_text`.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from skfusion.ehr.sources import read_fhir
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
    try:
        ZoneInfo(time_zone)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"read_fhir: time_zone={time_zone!r} is unknown; expected a name such as "
            "'Europe/Berlin'."
        ) from None
    files = _files(source)
    return _chunks(files, time_zone, chunk_size)


def _files(source: Any) -> list[Path]:
    is_one = isinstance(source, str | os.PathLike)
    places = [Path(part).expanduser() for part in ([source] if is_one else source)]
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            found = (p for p in place.rglob("*") if p.name.lower().endswith(SUFFIXES))
            files += sorted(path for path in found if path.is_file())
        elif place.is_file():
            files.append(place)
    if not files:
        raise FileNotFoundError(
            f"read_fhir: there is no file with one resource a line at {places[:3]}; "
            f"expected names that end in {', '.join(SUFFIXES)}, as a bulk export has "
            "them."
        )
    return files


def _resources(
    path: Path, only: tuple[bytes, ...] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read a file line by line, with their numbers; say which line is broken.

    With `only`, lines that have none of these words are passed over unread.
    """
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    number = 0
    try:
        with opened(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip() and (not only or any(word in line for word in only)):
                    yield number, _parsed(line, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"read_fhir: {path.name} is damaged or cut off behind line {number} "
            f"({type(error).__name__}). Nothing was kept: export it again."
        ) from None


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        resource = _loads(line)
    except ValueError as error:  # its message holds the place, never the text
        reason = getattr(error, "msg", type(error).__name__)
        raise ValueError(
            f"read_fhir: line {number} of {path.name} is no JSON ({reason}). Nothing "
            "was kept: expected one resource a line. Repair or remove the line."
        ) from None
    if not isinstance(resource, dict) or "resourceType" not in resource:
        raise ValueError(
            f"read_fhir: line {number} of {path.name} is no FHIR resource: it has no "
            "resourceType. Nothing was kept."
        )
    return resource


def _chunks(
    files: list[Path], time_zone: str, chunk_size: int
) -> Iterator[pd.DataFrame]:
    known = _known(files)
    losses = {name: Losses("read_fhir", name) for name in RESOURCES}
    retracted: Counter[str] = Counter()
    others: Counter[str] = Counter()
    waiting: dict[str, list[Event]] = {name: [] for name in RESOURCES}
    n_waiting = n_early = 0
    for path in files:
        for number, resource in _resources(path):
            name = str(resource["resourceType"])
            if name not in RESOURCES:
                others[name] += 1
                continue
            try:
                events = _events(name, resource, known)
            except MISSHAPEN:
                raise _misshapen(name, path, number) from None
            if events is None:
                retracted[name] += 1
                continue
            waiting[name] += events
            if name == "Condition":
                n_early += sum(event.available_time is None for event in events)
            n_waiting += len(events)
            if n_waiting >= chunk_size:
                yield from _tables(waiting, losses, time_zone)
                n_waiting = 0
    yield from _tables(waiting, losses, time_zone)
    for loss in losses.values():
        loss.warn()
    if n_early:
        warnings.warn(
            f"read_fhir: {n_early} events of Condition say neither when they were "
            "recorded nor in which encounter that ended: they count as known when they "
            "began, which may be before. Delay them with EventStore.with_lags.",
            stacklevel=2,
        )
    _warn_of(retracted, "resources were retracted or not final and left out")
    others.pop("Medication", None)  # what requests refer to
    _warn_of(others, "resources of other types were left out")


def _warn_of(counts: Counter[str], what: str) -> None:
    if counts:
        listed = ", ".join(f"{name} {n}" for name, n in counts.most_common(8))
        warnings.warn(f"read_fhir: {counts.total()} {what}: {listed}.", stacklevel=3)


def _events(name: str, resource: dict[str, Any], known: Known) -> list[Event] | None:
    """Return the events of a resource, None where it says that they are none."""
    if is_retracted(resource):
        return None
    return list(RESOURCES[name](resource, known))


def _misshapen(name: str, path: Path, number: int) -> ValueError:
    """Say which resource is not built as it must be, and nothing of its content."""
    return ValueError(
        f"read_fhir: line {number} of {path.name} is no {name} as FHIR R4 or R5 "
        "describes it: an element has another type. Nothing was kept. Repair or "
        "remove the line."
    )


def _known(files: list[Path]) -> Known:
    """Read what others refer to; it may stand behind them, and in any file."""
    known = Known({}, {})
    for path in files:
        for number, resource in _resources(path, (b'"Encounter"', b'"Medication"')):
            try:
                note(resource, known)
            except MISSHAPEN:
                name = str(resource["resourceType"])
                raise _misshapen(name, path, number) from None
    return known


def _tables(
    waiting: Mapping[str, list[Event]], losses: Mapping[str, Losses], time_zone: str
) -> Iterator[pd.DataFrame]:
    for name, events in waiting.items():
        if not events:
            continue
        table = pd.DataFrame(events, columns=list(Event._fields))
        events.clear()
        stated = table["available_time"].notna()
        for column in ("time", "available_time"):
            table[column] = _as_utc(table[column], time_zone)
        # when it was known cannot be read: nobody can say in which windows it is
        table["time"] = table["time"].mask(stated & table["available_time"].isna())
        table["available_time"] = later_of(table["time"], table["available_time"])
        table["numeric_value"] = table["numeric_value"].astype(float)
        static = table["code"].str.startswith("GENDER//", na=False).astype(bool)
        kept = losses[name].keep_events(table[~static])
        parts = [part for part in (kept, table[static]) if len(part)]
        if parts:
            yield pd.concat(parts, ignore_index=True)


def _as_utc(column: pd.Series, time_zone: str) -> pd.Series:
    """Read FHIR's times; a date is the end of its day, a month or a year its end."""
    texts = column.astype("string")
    is_date = texts.str.match(_DATE).fillna(False).astype(bool)
    found = pd.to_datetime(
        texts.where(~is_date), format="ISO8601", utc=True, errors="coerce"
    ).astype("datetime64[us, UTC]")
    # no zone, which FHIR forbids: as dates, of the place
    is_local = ~is_date & texts.notna() & ~texts.str.contains(_ZONE, na=False)
    if is_local.any():
        found = found.where(~is_local, _local(texts[is_local], time_zone))
    if is_date.any():
        found = found.where(~is_date, _ends(texts[is_date], time_zone))
    return found


def _local(texts: pd.Series, time_zone: str) -> pd.Series:
    times = pd.to_datetime(texts, format="ISO8601", errors="coerce")
    return _zoned(times, time_zone)


def _zoned(times: pd.Series, time_zone: str) -> pd.Series:
    local = times.dt.tz_localize(
        time_zone, ambiguous=False, nonexistent="shift_forward"
    )
    return local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")


def _ends(texts: pd.Series, time_zone: str) -> pd.Series:
    lengths = texts.str.len()
    start = pd.to_datetime(texts, format="ISO8601", errors="coerce")
    ends = start + pd.Timedelta(1, "D")
    for length, step in ((7, pd.DateOffset(months=1)), (4, pd.DateOffset(years=1))):
        chosen = (lengths == length).to_numpy(dtype=bool)
        if chosen.any():
            ends = ends.where(~chosen, start + step)
    return _zoned(ends - pd.Timedelta(1, "us"), time_zone)
