"""Image formats by their first bytes and by the suffix of a name."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

__all__ = [
    "HEAD_BYTES",
    "IMAGE_SUFFIXES",
    "has_image_suffix",
    "holds_image",
    "image_format",
    "is_text",
]


#: Number of bytes from which a format is recognised (the length of a NIfTI-1 header).
HEAD_BYTES = 352
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib"),
    *(".webp", ".gif", ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".avif"),
    *(".pgm", ".ppm", ".pbm", ".pnm", ".npy", ".svs", ".ndpi", ".scn", ".qptiff"),
    *(".dcm", ".dicom", ".ima", ".nii", ".mgh", ".mgz", ".mha", ".mhd", ".nrrd"),
    *(".nhdr", ".dcm.gz", ".dicom.gz", ".ima.gz", ".nii.gz", ".mgh.gz", ".nrrd.gz"),
)

_SIGNATURES = (
    (b"\x89PNG", "PNG"),  # the other four bytes show whether line ends were changed
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
    (b"\x1f\x8b", "gzip"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\x93NUMPY", "NPY"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51\x00", "JPEG 2000"),  # a codestream without a container
    (b"NRRD000", "NRRD"),
)
# "P5", then white space or comments, then the width.
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+\d")
_META_IMAGE = re.compile(rb"(?:^|\n)\s*(?:ObjectType\s*=\s*Image|NDims\s*=\s*\d)", re.I)
_AVIF_BRANDS = (b"avif", b"avis")
_VALUE_REPRESENTATIONS = (
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"IS", b"LO", b"LT", b"OB"),
    *(b"OW", b"PN", b"SH", b"SQ", b"ST", b"TM", b"UI", b"UL", b"UN", b"US", b"UT"),
)
_GROUP_LENGTH = b"\x00\x00"
_LONGEST_FIRST_ELEMENT = 1024  # bytes; the first elements are UIDs, dates and codes


def image_format(head: bytes) -> str | None:
    """Return the name of the image format that some bytes begin with.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` bytes of a file, or all of a shorter file.

    Returns
    -------
    str or None
        ``"DICOM"``, ``"NIfTI"``, ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"BMP"``,
        ``"WEBP"``, ``"gzip"``, ``"GIF"``, ``"NPY"``, ``"PNM"``, ``"JPEG 2000"``,
        ``"AVIF"``, ``"MGH"``, ``"MetaImage"`` or ``"NRRD"``, None if it is none of
        these. ``"gzip"`` may hold anything, see `holds_image`.

    Examples
    --------
    >>> from skfusion._image_cells.signatures import image_format
    >>> image_format(b"GIF89a..."), image_format(b"BMI 23.4")
    ('GIF', None)
    """
    if head[128:132] == b"DICM":  # first, because the preamble can contain any bytes
        return "DICOM"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0"):
        return "NIfTI"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    for name, recognises in _RECOGNISERS.items():
        if recognises(head):
            return name
    return None


def holds_image(head: bytes) -> bool:
    """Return whether bytes begin an image, or the gzip file of an image.

    Examples
    --------
    >>> import gzip
    >>> from skfusion._image_cells.signatures import holds_image
    >>> holds_image(gzip.compress(b"GIF89a...")), holds_image(gzip.compress(b"a,b"))
    (True, False)
    """
    name = image_format(head)
    if name != "gzip":
        return name is not None
    try:
        inner = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error:
        return False
    return image_format(inner) not in (None, "gzip")


def is_text(head: bytes) -> bool:
    """Return whether bytes look like text without control characters."""
    return all(byte in b"\t\n\r\f" or byte >= 32 for byte in head)


def has_image_suffix(name: str) -> bool:
    """Return whether a name, a path or a URL has the suffix of an image format.

    Examples
    --------
    >>> from skfusion._image_cells.signatures import has_image_suffix
    >>> has_image_suffix("scan.NII.GZ"), has_image_suffix("https://x.org/a.png?v=2")
    (True, True)
    >>> has_image_suffix(".png"), has_image_suffix("report.txt")
    (False, False)
    """
    if "://" in name:
        name = re.split(r"[?#]", name, maxsplit=1)[0]
    last = re.split(r"[/\\]", name.strip().lower())[-1]
    return last.endswith(IMAGE_SUFFIXES) and last not in IMAGE_SUFFIXES


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and not is_text(head)


def _is_avif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and any(brand in head[8:64] for brand in _AVIF_BRANDS)


def _is_mgh(head: bytes) -> bool:
    """Recognise FreeSurfer's format: version 1, four lengths and a type of voxel."""
    if head[:4] != b"\x00\x00\x00\x01" or len(head) < 24:
        return False
    *lengths, voxel = (
        int.from_bytes(head[start : start + 4], "big") for start in range(4, 24, 4)
    )
    return all(0 < length < 65_536 for length in lengths) and voxel in (0, 1, 3, 4, 10)


def _is_bare_dicom(head: bytes) -> bool:
    """Recognise DICOM without a preamble, which begins with group 2 or 8."""
    if len(head) < 8 or head[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    if head[4:6] in _VALUE_REPRESENTATIONS:
        return True
    # Implicit little endian: the length of the value instead of its representation.
    length = int.from_bytes(head[4:8], "little")
    if head[:2] == b"\x00\x08" or head[3] != 0 or length > _LONGEST_FIRST_ELEMENT:
        return False
    return length == 4 if head[2:4] == _GROUP_LENGTH else length % 2 == 0


_RECOGNISERS: dict[str, Callable[[bytes], object]] = {
    "WEBP": _is_webp,
    "BMP": _is_bmp,
    "PNM": _PNM.match,
    "MetaImage": _META_IMAGE.search,
    "AVIF": _is_avif,
    "MGH": _is_mgh,
    "DICOM": _is_bare_dicom,  # last, because it has the shortest signature
}
