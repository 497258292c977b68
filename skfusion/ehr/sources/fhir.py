"""Reader of events from a FHIR bulk export."""

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
except ImportError:  # The standard library is three times slower, but equivalent.
    _loads = json.loads

# Errors raised by the conversion of a resource with an element of the wrong type.
MISSHAPEN = (AttributeError, IndexError, KeyError, TypeError, ValueError)
SUFFIXES = (".ndjson", ".ndjson.gz", ".jsonl", ".jsonl.gz")
#: Bytes of the longest line that is parsed. Longer ones are attachments, not events.
LONGEST_LINE = 1 << 26
_TOO_LONG = b'{"resourceType": "line of more than 64 MB"}\n'
_ZONE = r"(?:[Zz]|[+-]\d{2}:?\d{2})$"
_DATE = r"^\d{4}(?:-\d{2}(?:-\d{2})?)?$"


def read_fhir(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    time_zone: str = "UTC",
    chunk_size: int = 200_000,
) -> Iterator[pd.DataFrame]:
    """Read events from a FHIR bulk export with one resource per line (R4 or R5).

    Parameters
    ----------
    source : str, PathLike or iterable of those
        Folder with ``.ndjson`` files (also gzipped) at any depth, or such files.
    time_zone : str, default="UTC"
        Time zone of dates, and of times without a time zone.
    chunk_size : int, default=200_000
        Approximate number of events in a chunk.

    Yields
    ------
    DataFrame
        Columns of events, times in UTC. Codes are ``LAB//``, ``VITAL//`` and
        ``OBSERVATION//`` (Observation and its components), ``DIAGNOSIS//``
        (Condition), ``PROCEDURE//``, ``MEDICATION//INPATIENT//`` and
        ``MEDICATION//OUTPATIENT//`` (MedicationRequest and MedicationAdministration),
        then vocabulary and code (``LOINC//718-7``), or ``SOURCE//`` and the code or
        text of the resource. Further codes are ``VISIT//`` and ``VISIT_END//`` with the
        class (Encounter), ``MEDS_BIRTH``, ``MEDS_DEATH`` and, without time,
        ``GENDER//`` (Patient). Ids are text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a line is not JSON or not a valid resource (the message gives the line
        number), a file is truncated, or the time zone is unknown.

    Warns
    -----
    UserWarning
        With the numbers of dropped resources: retracted (entered in error, refuted,
        cancelled, not done), not final (preliminary, planned, suspected), without a
        patient, readable time or code, or of other types. Lines of more than 64 MB,
        i.e. attachments, are among the other types. Also with the number of Conditions
        without a recording time or an encounter end.

    Notes
    -----
    An Observation becomes available when it was issued. A Condition or Procedure
    becomes available when it was recorded, or else when its encounter ended, because
    codes are assigned then. All other events become available when they happen. Files
    are read twice, and Encounters and Medications are kept in memory. A date is moved
    to the end of its day, and a month or a year to its end. Values with a comparator
    ("<0.1") are stored as text, see `skfusion.EventStore.read_text`.

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
            "read_fhir: time_zone must be a name such as 'Europe/Berlin', got "
            f"{time_zone!r}."
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
            "read_fhir: expected files with one resource per line and a name that ends "
            f"in {', '.join(SUFFIXES)}, as in a bulk export, got none at {places[:3]}."
        )
    return files


def _resources(
    path: Path, only: tuple[bytes, ...] = ()
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the resource of each line of a file.

    With `only`, lines without any of these words are skipped without parsing. A line
    that is too long is returned as a resource of an unsupported type.
    """
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    number = 0
    try:
        with opened(path, "rb") as lines:
            for number, line in enumerate(_lines(lines), 1):
                if line.strip() and (not only or any(word in line for word in only)):
                    yield number, _parsed(line, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"read_fhir: {path.name} is damaged or truncated after line {number} "
            f"({type(error).__name__}). No events were stored. Export the file again."
        ) from None


def _lines(handle: Any) -> Iterator[bytes]:
    """Iterate over lines, of which none takes more memory than `LONGEST_LINE`."""
    while line := handle.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while rest := handle.readline(LONGEST_LINE):
                if rest.endswith(b"\n"):
                    break
            line = _TOO_LONG
        yield line


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        resource = _loads(line)
    except ValueError as error:  # Its message contains the position, not the text.
        reason = getattr(error, "msg", type(error).__name__)
        raise ValueError(
            f"read_fhir: line {number} of {path.name} is not JSON ({reason}). No "
            "events were stored. Expected one resource per line. Repair or remove the "
            "line."
        ) from None
    if not isinstance(resource, dict) or "resourceType" not in resource:
        raise ValueError(
            f"read_fhir: line {number} of {path.name} is not a FHIR resource, because "
            "it has no resourceType. No events were stored."
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
            f"read_fhir: got {n_early} events of Condition without a recording time or "
            "an encounter end. They are treated as available at their onset, which may "
            "be too early. Delay them with EventStore.with_lags.",
            stacklevel=2,
        )
    _warn_of(retracted, "resources that are retracted or not final")
    others.pop("Medication", None)  # Medications are used through references.
    _warn_of(others, "resources of unsupported types")


def _warn_of(counts: Counter[str], what: str) -> None:
    if counts:
        listed = ", ".join(f"{name} {n}" for name, n in counts.most_common(8))
        warnings.warn(
            f"read_fhir: dropped {counts.total()} {what}: {listed}.", stacklevel=3
        )


def _events(name: str, resource: dict[str, Any], known: Known) -> list[Event] | None:
    """Return the events of a resource, or None if it is retracted or not final."""
    if is_retracted(resource):
        return None
    return list(RESOURCES[name](resource, known))


def _misshapen(name: str, path: Path, number: int) -> ValueError:
    """Return an error that names the position of a resource but not its content."""
    return ValueError(
        f"read_fhir: line {number} of {path.name} is not a valid {name} of FHIR R4 or "
        "R5, because an element has the wrong type. No events were stored. Repair or "
        "remove the line."
    )


def _known(files: list[Path]) -> Known:
    """Read referenced resources first, because they may be in any file."""
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
        # Events with an unreadable availability time are dropped to avoid leakage.
        table["time"] = table["time"].mask(stated & table["available_time"].isna())
        table["available_time"] = later_of(table["time"], table["available_time"])
        table["numeric_value"] = table["numeric_value"].astype(float)
        static = table["code"].str.startswith("GENDER//", na=False).astype(bool)
        kept = losses[name].keep_events(table[~static])
        parts = [part for part in (kept, table[static]) if len(part)]
        if parts:
            yield pd.concat(parts, ignore_index=True)


def _as_utc(column: pd.Series, time_zone: str) -> pd.Series:
    """Convert FHIR times to UTC, with dates, months and years at their end."""
    texts = column.astype("string")
    is_date = texts.str.match(_DATE).fillna(False).astype(bool)
    found = pd.to_datetime(
        texts.where(~is_date), format="ISO8601", utc=True, errors="coerce"
    ).astype("datetime64[us, UTC]")
    # FHIR forbids times without a zone. They are treated as local times, like dates.
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
