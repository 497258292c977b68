"""Headers of DICOM files, read for a scan of many files.

Common files are read here, without the conversion of all their attributes by pydicom,
which takes most of the time of a scan. Everything unusual is left to pydicom.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

from skfusion._image_cells.signatures import HEAD_BYTES, image_format
from skfusion.cohorts.dicom_times import Moment, acquired_at
from skfusion.image.reading.dicom import lenient, open_dataset
from skfusion.image.reading.files import MAX_PIXELS, ImageReadError, as_read_errors
from skfusion.image.reading.header import Header

__all__ = ["Found", "ImageHeader", "read_headers"]


class ImageHeader(NamedTuple):
    """Attributes of a header that a scan keeps."""

    patient: str
    study: str
    series: str
    modality: str
    view: str
    laterality: str
    body_part: str
    series_number: int | str | None  # UNREAD if it is no whole number
    rows: int
    columns: int
    frames: int | str
    acquired: Moment | None


class Found(NamedTuple):
    """A file: its header, or else why it has none."""

    path: str
    size: int
    changed: int  # nanoseconds since 1970
    header: ImageHeader | None
    #: ``"format PNG"``, ``"no image"`` or ``"unreadable: truncated"``, and the like.
    reason: str = ""


OTHER, NO_IMAGE, UNREADABLE = "format ", "no image", "unreadable: "
#: In place of a number that cannot be read, whose text may be anything.
UNREAD = "?"
_TEXTS = {
    0x00080016: "SOPClassUID",
    0x00080020: "StudyDate",
    0x00080021: "SeriesDate",
    0x00080022: "AcquisitionDate",
    0x00080023: "ContentDate",
    0x0008002A: "AcquisitionDateTime",
    0x00080030: "StudyTime",
    0x00080031: "SeriesTime",
    0x00080032: "AcquisitionTime",
    0x00080033: "ContentTime",
    0x00080060: "Modality",
    0x00080201: "TimezoneOffsetFromUTC",
    0x00100020: "PatientID",
    0x00180015: "BodyPartExamined",
    0x00185101: "ViewPosition",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
    0x00200011: "SeriesNumber",
    0x00200060: "Laterality",
    0x00200062: "ImageLaterality",
    0x00280008: "NumberOfFrames",
}
_SHORTS = {0x00280010: "Rows", 0x00280011: "Columns"}
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_GROUPS = (0x52009229, 0x52009230)  # functional groups of enhanced objects
_IMPLICIT = b"1.2.840.10008.1.2"
_UNUSUAL = (b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.2", b"")
_LONG = frozenset(
    (
        *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV"),
        *(b"UC", b"UN", b"UR", b"UT", b"UV"),
    )
)
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_WINDOW = 1 << 15  # bytes that are read at a time
_LONGEST = 1 << 12  # bytes of a value that is kept
_DEEPEST = 16  # sequences inside sequences
_NO_PADDING = 1  # byte that some writers leave out at the end of the pixels


class _Unusual(Exception):
    """A file that pydicom must read."""


class _Truncated(Exception):
    """An element that ends after the file."""


def read_headers(paths: Iterable[str]) -> list[Found]:
    """Read the headers of files.

    Parameters
    ----------
    paths : iterable of str
        The files. Their formats are recognised by their content.

    Returns
    -------
    list of Found
        In the order of the paths. No file raises an error.
    """
    with lenient():
        return [_read(path) for path in paths]


def _read(path: str) -> Found:
    size = changed = 0
    try:
        with open(path, "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            size, changed = status.st_size, status.st_mtime_ns
            head = file.read(_WINDOW)
            if not head:
                return Found(path, size, changed, None, f"{UNREADABLE}empty")
            name = image_format(head[:HEAD_BYTES])
            if name != "DICOM":
                reason = f"{OTHER}{name}" if name else f"{OTHER}no image format"
                return Found(path, size, changed, None, reason)
            header = _header(file, head, size)
    except OSError as error:
        reason = f"{UNREADABLE}{type(error).__name__}"
        return Found(path, size, changed, None, reason)
    if isinstance(header, str):
        return Found(path, size, changed, None, header)
    return Found(path, size, changed, header)


def _header(file: BinaryIO, head: bytes, size: int) -> ImageHeader | str:
    try:
        values = _Walk(file, head, size).values()
        return _shaped(values.get)
    except _Truncated:
        return f"{UNREADABLE}truncated"
    except (_Unusual, struct.error, UnicodeDecodeError, ValueError, IndexError):
        pass
    file.seek(0)
    try:
        return _with_pydicom(file, size)
    except ImageReadError as error:
        cut_off = "truncated" in str(error)
        return f"{UNREADABLE}{'truncated' if cut_off else 'damaged'}"


# -- common files ---------------------------------------------------------------------


class _Walk:
    """Walk over the elements of a file of little-endian bytes."""

    def __init__(self, file: BinaryIO, head: bytes, size: int) -> None:
        self.file, self.data, self.size = file, head, size
        self.base = 0  # position of `data` in the file
        self.at = 132  # position in the file
        self.implicit = False

    def values(self) -> dict[str, Any]:
        """Return the wanted attributes by keyword."""
        if self.data[128:132] != b"DICM":
            raise _Unusual
        self._meta()
        found: dict[str, Any] = {}
        last = 0
        while self.at < self.size:
            tag, length, start = self._element()
            if tag <= last or tag >> 16 == 0xFFFE:
                raise _Unusual  # not in order, so that an element may be hidden
            last = tag
            if tag in _PIXELS:
                self._check_pixels(start, length)
                break
            if tag in _GROUPS:
                raise _Unusual  # attributes are in functional groups
            if tag in _TEXTS or tag in _SHORTS:
                if length == _UNDEFINED or length > _LONGEST:
                    raise _Unusual
                value = self._bytes(start, length)
                found[_TEXTS.get(tag) or _SHORTS[tag]] = _value(tag, value)
            self.at = self._after(start, length)
        return found

    def _meta(self) -> None:
        """Read the file meta information, which is always explicit."""
        syntax = b""
        while self.at + 8 <= self.size:
            before = self.at
            tag, length, start = self._element()
            if tag >> 16 != 2:
                self.at = before
                break
            if tag == 0x00020010:
                syntax = self._bytes(start, length).rstrip(b"\0 ")
            self.at = self._after(start, length)
        if syntax in _UNUSUAL:
            raise _Unusual
        self.implicit = syntax == _IMPLICIT

    def _bytes(self, start: int, length: int) -> bytes:
        """Return a part of the file."""
        if start + length > self.size:
            raise _Truncated
        place = start - self.base
        if place < 0 or place + length > len(self.data):
            self.file.seek(start)
            self.data = self.file.read(max(_WINDOW, length))
            self.base, place = start, 0
            if len(self.data) < length:
                raise _Truncated
        return self.data[place : place + length]

    def _element(self) -> tuple[int, int, int]:
        """Return the tag, the length and the start of the value of an element."""
        head = self._bytes(self.at, 8)
        group, element = struct.unpack_from("<HH", head)
        tag = group << 16 | element
        if self.implicit or group == 0xFFFE:
            return tag, struct.unpack_from("<L", head, 4)[0], self.at + 8
        kind = head[4:6]
        if kind in _LONG:
            length = struct.unpack("<L", self._bytes(self.at + 8, 4))[0]
            return tag, length, self.at + 12
        if not kind.isalpha() or not kind.isupper():
            raise _Unusual  # implicit elements where explicit ones are announced
        return tag, struct.unpack_from("<H", head, 6)[0], self.at + 8

    def _after(self, start: int, length: int, depth: int = 0) -> int:
        """Return the position after a value."""
        if length != _UNDEFINED:
            if start + length > self.size:
                raise _Truncated
            return start + length
        if depth > _DEEPEST:
            raise _Unusual
        # A sequence of undefined length ends at a delimiter of its own level.
        self.at = start
        while True:
            tag, size, inner = self._element()
            if tag == _SEQUENCE_END:
                return inner
            if tag != _ITEM:
                raise _Unusual
            self.at = self._after_item(inner, size, depth)

    def _after_item(self, start: int, length: int, depth: int) -> int:
        if length != _UNDEFINED:
            return self._after(start, length)
        self.at = start
        while True:
            tag, size, inner = self._element()
            if tag == _ITEM_END:
                return inner
            self.at = self._after(inner, size, depth + 1)

    def _check_pixels(self, start: int, length: int) -> None:
        if length == _UNDEFINED:
            if start + 8 > self.size:
                raise _Truncated
        elif start + length > self.size + _NO_PADDING:
            raise _Truncated


def _value(tag: int, value: bytes) -> Any:
    if tag in _SHORTS:
        if len(value) != 2:
            raise _Unusual
        return struct.unpack("<H", value)[0]
    text = value.decode("ascii")  # other characters are decoded by pydicom
    if "\x1b" in text:  # which ISO 2022 writes in ASCII
        raise _Unusual
    return text.partition("\\")[0].strip(" \0\t\r\n")


# -- all files ------------------------------------------------------------------------


def _with_pydicom(file: Any, size: int) -> ImageHeader | str:
    """Read a header with pydicom."""
    dataset = open_dataset(file, MAX_PIXELS, header_only=True)
    with as_read_errors():
        header = Header(dataset)

        def get(name: str, default: Any = None) -> Any:
            if name in ("Rows", "Columns"):
                number = header.number(name)
                return default if number is None else int(number)
            return header.text(name) or default

        shaped = _shaped(get)
        if isinstance(shaped, ImageHeader) and _is_cut_off(file, dataset, size):
            return f"{UNREADABLE}truncated"
    return shaped


def _is_cut_off(file: Any, dataset: Any, size: int) -> bool:
    """Return whether the pixels, before which pydicom has stopped, end too early."""
    meta = getattr(dataset, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", "")) if meta is not None else ""
    if syntax.encode() == _UNUSUAL[0]:  # deflated bytes end elsewhere
        return False
    start = file.tell()
    head = file.read(12)
    if len(head) < 12:
        return False
    is_little = bool(dataset.original_encoding[1])
    order = "<" if is_little else ">"
    group, element = struct.unpack_from(f"{order}HH", head)
    if group << 16 | element not in _PIXELS:
        return False
    long = head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN")
    place = 8 if long else 4
    length = struct.unpack_from(f"{order}L", head, place)[0]
    end = start + place + 4 + length
    return bool(length != _UNDEFINED and end > size + _NO_PADDING)


def _shaped(get: Callable[..., Any]) -> ImageHeader | str:
    """Return a header from its attributes by keyword."""

    def text(name: str) -> str:
        return str(get(name) or "")

    rows, columns = get("Rows"), get("Columns")
    if not rows or not columns:
        return NO_IMAGE  # a directory, a report, a presentation state, ...
    return ImageHeader(
        text("PatientID"),
        text("StudyInstanceUID"),
        text("SeriesInstanceUID"),
        text("Modality").upper(),
        text("ViewPosition"),
        text("ImageLaterality") or text("Laterality"),
        text("BodyPartExamined"),
        _whole(text("SeriesNumber")),
        int(rows),
        int(columns),
        _whole(text("NumberOfFrames")) or 1,
        acquired_at(text),
    )


def _whole(text: str) -> int | str | None:
    if not text:
        return None
    try:
        number = float(text)
        return int(number) if number == int(number) else UNREAD
    except (ValueError, OverflowError):
        return UNREAD
