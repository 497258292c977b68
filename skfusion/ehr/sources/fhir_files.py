"""Resources of the files of a FHIR export: lines, documents and Bundles."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from skfusion._paths import expanded_path

__all__ = ["SUFFIXES", "find_files", "identifier", "place_of", "resources_of"]


try:
    import orjson

    _loads: Callable[[bytes], Any] = orjson.loads
except ImportError:  # The standard library is three times slower, but equivalent.
    _loads = json.loads

SUFFIXES = tuple(
    f"{end}{packed}" for end in (".ndjson", ".jsonl", ".json") for packed in ("", ".gz")
)
#: Bytes of the longest line that is parsed. Longer ones are attachments, not events.
LONGEST_LINE = 1 << 26
_TOO_LONG = b'{"resourceType": "line of more than 64 MB"}\n'
#: Bytes of the longest document (``.json``) that is parsed.
LONGEST_DOCUMENT = 1 << 30
_TOO_LARGE = {"resourceType": "document of more than 1 GB"}
_BUFFER = 1 << 17
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Names of the files that clients of the bulk export write beside the resources.
_LOG = re.compile(r"^(?:log|manifest)(?:[._-].*)?$")
#: Key under which lines and files of a log or manifest are counted.
LOG = "items of a log or manifest"
STRANGER = "JSON documents that are no FHIR resources"

Handler = Callable[[bytes], None]


def find_files(source: Any) -> list[Path]:
    """Return the files of folders (at any depth) and the given files.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    is_one = isinstance(source, str | os.PathLike)
    places = [expanded_path(part) for part in ([source] if is_one else source)]
    files: list[Path] = []
    for place in places:
        if place.is_dir():
            found = (p for p in place.rglob("*") if p.name.lower().endswith(SUFFIXES))
            files += sorted(path for path in found if path.is_file())
        elif place.is_file():
            files.append(place)
    if not files:
        raise FileNotFoundError(
            "read_fhir: expected files with one resource per line or Bundles, and a "
            f"name that ends in {', '.join(SUFFIXES)}, as in a bulk export, got none "
            f"at {places[:3]}."
        )
    return files


def resources_of(
    path: Path,
    skipped: Counter[str],
    only: tuple[bytes, ...] = (),
    look: Handler | None = None,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of the line, or of the resource in a document, and the resource.

    Parameters
    ----------
    path : Path
        File of lines, or a document (``.json``) of one resource, a Bundle or a list.
    skipped : Counter
        Increased by items of logs, manifests and other JSON documents.
    only : tuple of bytes, default=()
        Words of which a line must contain one to be parsed. All lines by default.
    look : callable or None, default=None
        Called with each line or document before it is parsed.

    Yields
    ------
    tuple of int and dict
        The number and the resource. Bundles are opened. A line or document that is too
        long is a resource of an unsupported type.

    Raises
    ------
    ValueError
        If a line is not JSON or not a resource, or the file is truncated.
    """
    number = 0
    try:
        with _opened(path) as lines:
            if _is_document(path):
                document = _document(lines, path, skipped, look)
                if document is not None:
                    yield from document
                    return
                lines.seek(0)
            for number, line in enumerate(_lines(lines), 1):
                if look is not None:
                    look(line)
                if line.isspace() or (only and not _has(line, only)):
                    continue
                resource = _parsed(line, path, number, skipped)
                if resource.get("resourceType") == "Bundle":
                    for inner in _entries(resource, path, f"line {number}"):
                        yield number, inner
                elif resource:
                    yield number, resource
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"read_fhir: {path.name} is damaged or truncated after line {number} "
            f"({type(error).__name__}). No events were stored. Export the file again."
        ) from None


def _opened(path: Path) -> Any:
    if path.name.lower().endswith(".gz"):
        return io.BufferedReader(gzip.open(path), _BUFFER)  # Faster for lines.
    return path.open("rb")


def _has(line: bytes, words: tuple[bytes, ...]) -> bool:
    return any(map(line.__contains__, words))


def place_of(path: Path, number: int) -> str:
    """Return where a resource is, for messages."""
    return f"{'resource' if _is_document(path) else 'line'} {number} of {path.name}"


def _is_document(path: Path) -> bool:
    return path.name.lower().endswith((".json", ".json.gz"))


def _lines(handle: Any) -> Iterator[bytes]:
    """Iterate over lines, of which none takes more memory than `LONGEST_LINE`."""
    is_first = True
    while line := handle.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            while rest := handle.readline(LONGEST_LINE):
                if rest.endswith(b"\n"):
                    break
            line = _TOO_LONG
        if is_first:
            line, is_first = line.removeprefix(_BYTE_ORDER_MARK), False
        yield line


def _parsed(
    line: bytes, path: Path, number: int, skipped: Counter[str]
) -> dict[str, Any]:
    """Return the resource of a line, or an empty one for an item of a log."""
    try:
        resource = _loads(line)
    except ValueError as error:
        if _LOG.match(path.name.lower()):
            skipped[LOG] += 1
            return {}
        raise _not_json(error, path, f"line {number}") from None
    if isinstance(resource, dict) and "resourceType" in resource:
        return resource
    if _LOG.match(path.name.lower()) or _is_log_item(resource):
        skipped[LOG] += 1
        return {}
    if _is_document(path):
        skipped[STRANGER] += 1
        return {}
    raise ValueError(
        f"read_fhir: line {number} of {path.name} is not a FHIR resource, because it "
        "has no resourceType. No events were stored."
    )


def _not_json(error: ValueError, path: Path, place: str) -> ValueError:
    # The message of the parser contains the position, not the text.
    reason = getattr(error, "msg", type(error).__name__)
    return ValueError(
        f"read_fhir: {place} of {path.name} is not JSON ({reason}). No events were "
        "stored. Expected one resource per line, or a document with the ending .json. "
        "Repair or remove it."
    )


def _is_log_item(content: Any) -> bool:
    """Return whether a JSON object is an item of the log or manifest of a bulk export.

    The elements are those of the Bulk Data Access specification and its log format.
    """
    if not isinstance(content, dict):
        return False
    is_event = "eventId" in content and bool({"exportId", "timestamp"} & set(content))
    return is_event or ("transactionTime" in content and "output" in content)


def _document(
    handle: Any, path: Path, skipped: Counter[str], look: Handler | None
) -> list[tuple[int, dict[str, Any]]] | None:
    """Return the resources of a document, or None if it consists of lines."""
    text = handle.readline(LONGEST_LINE).removeprefix(_BYTE_ORDER_MARK)
    if _is_object(text):
        return None
    text += handle.read(LONGEST_DOCUMENT)
    if handle.read(1):
        return [(1, _TOO_LARGE)]
    if not text.strip():
        return []
    try:
        content = _loads(text)
    except ValueError as error:
        if _LOG.match(path.name.lower()):
            skipped[LOG] += 1
            return []
        raise _not_json(error, path, "the document") from None
    if look is not None:
        look(text)
    listed = content if isinstance(content, list) else [content]
    if not all(isinstance(part, dict) and "resourceType" in part for part in listed):
        skipped[LOG if _is_log_item(content) else STRANGER] += 1
        return []
    return list(enumerate(_flat(listed, path), 1))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(_loads(line), dict)
    except ValueError:
        return False


def _flat(resources: list[dict[str, Any]], path: Path) -> Iterator[dict[str, Any]]:
    for resource in resources:
        if resource.get("resourceType") == "Bundle":
            yield from _entries(resource, path, "the document")
        else:
            yield resource


def _entries(
    bundle: dict[str, Any], path: Path, place: str
) -> Iterator[dict[str, Any]]:
    """Yield the resources of a Bundle and of Bundles inside it."""
    entries = bundle.get("entry") or []
    if not isinstance(entries, list):
        entries = [None]
    referenced: set[str] | None = None
    for entry in entries:
        resource = entry.get("resource") if isinstance(entry, dict) else 0
        if resource is None:  # The response to a deletion, for example.
            continue
        if not isinstance(resource, dict) or "resourceType" not in resource:
            raise ValueError(
                f"read_fhir: {place} of {path.name} is not a valid Bundle, because an "
                "entry has no resource with a resourceType. No events were stored. "
                "Repair or remove it."
            )
        if resource["resourceType"] == "Bundle":
            yield from _entries(resource, path, place)
            continue
        # In a transaction, resources refer to the temporary name of the entry.
        name = entry.get("fullUrl")
        temporary = identifier({"reference": name}) if isinstance(name, str) else None
        if temporary is not None and temporary != resource.get("id"):
            if referenced is None:
                referenced = set(_references(entries))
            if name in referenced or not resource.get("id"):
                resource = {**resource, "id": temporary}
        yield resource


def _references(content: Any) -> Iterator[str]:
    """Yield all references in a JSON value."""
    parts = content if isinstance(content, list) else []
    if isinstance(content, dict):
        found = content.get("reference")
        if isinstance(found, str):
            yield found
        parts = list(content.values())
    for part in parts:
        if isinstance(part, list | dict):
            yield from _references(part)


def identifier(reference: Any) -> str | None:
    """Return the id at the end of a reference such as ``Patient/12``.

    Examples
    --------
    >>> from skfusion.ehr.sources.fhir_files import identifier
    >>> identifier({"reference": "Patient/12"}), identifier({"reference": "urn:uuid:a"})
    ('12', 'a')
    """
    text = (reference or {}).get("reference")
    if not text:
        return None
    text = text.partition("/_history/")[0]
    return str(text.rpartition(":" if text.startswith("urn:") else "/")[2]) or None
