"""Text of table files: recognition of the encoding, and text in two encodings."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field

from skfusion.cli.problems import Problem

__all__ = ["Decoded", "decode", "repaired", "strange_characters"]


_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8 with a byte order mark"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)
_INSPECTED = 4096  # bytes in which zeros show UTF-16
_ZERO_SHARE = 0.3
_UNDEFINED = b"\x81\x8d\x8f\x90\x9d"  # in Windows-1252
# Bytes that are no UTF-8 are kept as characters of a private area until the cells are
# known, so that a problem can name the columns.
_PRIVATE = 0xF700
_MARKED = re.compile("[\uf780-\uf7ff]")
# UTF-8 that was read as Windows-1252 and written as UTF-8 again.
_TWICE = re.compile(r"[\xc2-\xf4](?:[\x80-\xbf\u0152-\u2122])+")
_ANOTHER = "--encoding NAME if the file has another encoding"


@dataclass(frozen=True)
class Decoded:
    """Text of a file.

    Attributes
    ----------
    text : str
        The text, with private characters for bytes of another encoding if `is_mixed`.
    notes : list of str
        What was recognised.
    problems : list of Problem
        Why the text may be wrong.
    is_mixed : bool
        Whether parts of the text are in UTF-8 and others are not.
    """

    text: str
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    is_mixed: bool = False


def decode(data: bytes, encoding: str | None = None) -> Decoded:
    """Decode the bytes of a text file.

    Parameters
    ----------
    data : bytes
        Content of the file.
    encoding : str or None, default=None
        Name of the encoding, or ``"mixed"`` for UTF-8 with parts in Windows-1252. None
        recognises UTF-8, UTF-16, UTF-32 and, failing these, Windows-1252.

    Returns
    -------
    Decoded

    Examples
    --------
    >>> from skfusion.cli.tables.encodings import decode
    >>> found = decode("größe;1".encode("cp1252"))
    >>> found.text, found.notes[0][:44]
    ('größe;1', 'Read as Windows-1252 (cp1252), because it is')
    """
    if encoding and encoding.lower() != "mixed":
        return _declared(data, encoding)
    for bom, name, words in _BOMS:
        if data.startswith(bom) and not _is_utf8_in_part(data, bom):
            return _strict(data, name, f"Read as {words}.")
    name = _utf16_without_mark(data)
    if name:
        return _strict(data, name, "Read as UTF-16 without a byte order mark.")
    return _utf8_or_windows(data)


def _is_utf8_in_part(data: bytes, bom: bytes) -> bool:
    """Return whether text with the mark of UTF-8 has other bytes after all."""
    if bom != codecs.BOM_UTF8:
        return False
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return True
    return False


def _declared(data: bytes, encoding: str) -> Decoded:
    try:
        name = codecs.lookup(encoding).name
    except LookupError:
        problem = Problem(
            f"--encoding {encoding}: there is no encoding of this name",
            other="a name such as utf-8, cp1252, latin-1, utf-16, cp1250 or mac-roman",
        )
        return Decoded(data.decode("latin-1"), problems=[problem])
    return _strict(data, "utf-8-sig" if name == "utf-8" else name, "")


def _strict(data: bytes, name: str, note: str) -> Decoded:
    try:
        return Decoded(data.decode(name), [note] if note else [])
    except UnicodeDecodeError as error:
        problem = Problem(
            f"the file is not in {name}: byte {error.start} of {len(data)} cannot be "
            "decoded",
            other=_ANOTHER,
        )
        return Decoded(data.decode(name, errors="replace"), problems=[problem])


def _utf16_without_mark(data: bytes) -> str:
    head = data[:_INSPECTED]
    if len(head) < 4:
        return ""
    first, second = head[0::2].count(0), head[1::2].count(0)
    half = len(head) / 2
    if second > _ZERO_SHARE * half and first < second / 4:
        return "utf-16-le"
    if first > _ZERO_SHARE * half and second < first / 4:
        return "utf-16-be"
    return ""


def _keep_byte(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return chr(_PRIVATE + error.object[error.start]), error.start + 1


codecs.register_error("skfusion-keep-byte", _keep_byte)


def _utf8_or_windows(data: bytes) -> Decoded:
    try:
        return Decoded(data.decode("utf-8"))
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", errors="skfusion-keep-byte")
    has_utf8 = any(
        ord(character) > 127 for character in set(text) if not _MARKED.match(character)
    )
    if has_utf8:
        return Decoded(text, is_mixed=True)
    if any(byte in data for byte in _UNDEFINED):
        problem = Problem(
            "the encoding is not recognised: the text is neither UTF-8, UTF-16 nor "
            "Windows-1252",
            other="--encoding NAME, such as mac-roman, shift_jis or gb18030",
        )
        return Decoded(data.decode("latin-1"), problems=[problem])
    note = (
        "Read as Windows-1252 (cp1252), because it is not UTF-8. Pass --encoding NAME "
        "if names or words look wrong."
    )
    return Decoded(data.decode("cp1252"), [note])


def strange_characters(text: str) -> bool:
    """Return whether a text is in another encoding than the file, or encoded twice.

    Examples
    --------
    >>> from skfusion.cli.tables.encodings import strange_characters
    >>> strange_characters("Größe"), strange_characters("GrÃ¶ÃŸe")
    (False, True)
    """
    return bool(_MARKED.search(text)) or _decoded_again(text) != text


def repaired(text: str) -> str:
    r"""Return a text with the parts of other encodings as they were meant.

    Examples
    --------
    >>> from skfusion.cli.tables.encodings import repaired
    >>> repaired("GrÃ¶ÃŸe"), repaired("Gr\uf7f6\uf7dfe")
    ('Größe', 'Größe')
    """
    return _decoded_again(_MARKED.sub(_as_windows, text))


def _as_windows(mark: re.Match[str]) -> str:
    byte = bytes([ord(mark[0]) - _PRIVATE])
    return byte.decode("cp1252" if byte not in _UNDEFINED else "latin-1")


def _decoded_again(text: str) -> str:
    if not _TWICE.search(text):
        return text
    try:
        return text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return text
