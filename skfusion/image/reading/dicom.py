"""Decoding of DICOM files with pydicom: pixels, rescale, window and geometry.

The rules are those of DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality LUT) and C.11.2
(VOI LUT and window).
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.reading.files import (
    MAX_PLANES,
    ImageReadError,
    as_read_errors,
    check_size,
)
from skfusion.image.reading.geometry import affine_of_planes
from skfusion.image.reading.header import Header, along_normal
from skfusion.image.reading.intensity import Decoded, LookupTable, Window, blocks
from skfusion.image.reading.volumes import check_volume_index, oriented, steps_vary

__all__ = [
    "decode_dataset",
    "decode_dicom",
    "decode_plane",
    "is_dataset",
    "note_positions",
    "open_dataset",
    "plain_pixels",
    "stored_pixels",
]


_RLE = (("pylibjpeg", "pydicom"), "pylibjpeg-rle")
_BASELINE = (("pillow", "pylibjpeg"), "pillow")
_LIBJPEG = (("pylibjpeg",), "pylibjpeg-libjpeg")
_JPEG_LS = (("pyjpegls", "pylibjpeg"), "pyjpegls")
_JPEG_2000 = (("pylibjpeg", "pillow"), "pylibjpeg-openjpeg")
# Transfer syntax -> pydicom's decoders to use, the fastest (as measured) first, and the
# package that provides it. GDCM is excluded because damaged bytes abort the process.
_DECODERS = {
    "1.2.840.10008.1.2.5": _RLE,
    "1.2.840.10008.1.2.4.50": _BASELINE,
    "1.2.840.10008.1.2.4.51": _LIBJPEG,
    "1.2.840.10008.1.2.4.57": _LIBJPEG,
    "1.2.840.10008.1.2.4.70": _LIBJPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _JPEG_2000,
    "1.2.840.10008.1.2.4.202": _JPEG_2000,
    "1.2.840.10008.1.2.4.203": _JPEG_2000,
}


def stored_pixels(dataset: Any) -> np.ndarray:
    """Decompress the pixels of a dataset, with colours as RGB.

    Raises
    ------
    ImageReadError
        If no decoder is installed, or none can read the pixels. Other exceptions of
        pydicom are not converted.
    """
    pixels = require("pydicom.pixels", "images")
    syntax = _transfer_syntax(dataset)
    if syntax not in _DECODERS:
        return _uncompressed(dataset, syntax)
    _correct_colour_space(dataset, syntax)
    if _DECODERS[syntax] is _JPEG_2000:
        _check_boxes(dataset)
    plugins, package = _DECODERS[syntax]
    installed = pixels.get_decoder(syntax).available_plugins
    usable = [plugin for plugin in plugins if plugin in installed]
    for plugin in usable:
        try:
            decoded = pixels.pixel_array(dataset, decoding_plugin=plugin)
            return _without_overlays(dataset, decoded)
        except (RuntimeError, ValueError) as error:
            # Other decoders would pad truncated data without an error.
            if "truncated" in str(error):
                break
    remedy = f"`pip install {package}` installs a decoder for it"
    if not usable:
        raise ImageReadError(
            f"No decoder for the transfer syntax {syntax.name} is installed: {remedy}."
        )
    raise ImageReadError(
        f"No installed decoder can read the pixel data ({syntax.name}): the data are "
        f"damaged, truncated, or use a rare variant of the format ({remedy})."
    )


def _transfer_syntax(dataset: Any) -> Any:
    if (
        getattr(dataset, "file_meta", None) is None
    ):  # a dataset that was never in a file
        dataset.file_meta = require("pydicom.dataset", "images").FileMetaDataset()
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:  # a file without a preamble (PS3.5 A.1)
        uid = require("pydicom.uid", "images")
        dataset.file_meta.TransferSyntaxUID = syntax = uid.ImplicitVRLittleEndian
    return syntax


def _uncompressed(dataset: Any, syntax: Any) -> np.ndarray:
    pixels = require("pydicom.pixels", "images")
    # The values can lie in the upper bits, which pydicom would cut off.
    stored = int(dataset.get("BitsStored") or 0)
    high = dataset.get("HighBit")
    is_shifted = high is not None and stored and stored <= int(high) < 32
    shift = int(high) + 1 - stored if is_shifted else 0
    if shift and int(high) < int(dataset.get("BitsAllocated") or 0):
        dataset.BitsStored = stored + shift
    else:
        shift = 0
    try:
        decoded = pixels.pixel_array(dataset)
    except NotImplementedError:
        raise ImageReadError(
            f"The transfer syntax {syntax.name} is not supported. Convert the file to "
            "an uncompressed transfer syntax, e.g. with `gdcmconv --raw`."
        ) from None
    finally:
        if shift:
            dataset.BitsStored = stored
    return decoded >> shift if shift else decoded


def _without_overlays(dataset: Any, pixels: np.ndarray) -> np.ndarray:
    """Clear overlays that are stored in the bits above those of the pixels.

    Decoders of JPEG-LS and JPEG 2000 return these bits as parts of the values.
    """
    bits, allocated = int(dataset.get("BitsStored") or 0), 8 * pixels.itemsize
    has_overlay = any(
        int(dataset[group, 0x0102].value or 0) >= bits
        for group in range(0x6000, 0x6020, 2)
        if (group, 0x0102) in dataset
    )
    if not has_overlay or not 0 < bits < allocated or pixels.dtype.kind not in "iu":
        return pixels
    unused = allocated - bits
    return (pixels << unused) >> unused  # also extends the sign of signed values


_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")


def _correct_colour_space(dataset: Any, syntax: Any) -> None:
    """Correct a header that says RGB where a JPEG stream is certainly YCbCr.

    This is certain if the Adobe marker says so, or if two channels are subsampled.
    """
    if syntax not in _JPEG or dataset.get("PhotometricInterpretation") != "RGB":
        return
    encaps = require("pydicom.encaps", "images")
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    stream = encaps.get_frame(dataset.PixelData, 0, number_of_frames=n_frames)
    if _is_ycbcr(stream):
        dataset.PhotometricInterpretation = "YBR_FULL_422"


_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "


def _check_boxes(dataset: Any) -> None:
    """Raise an error for JPEG 2000 frames with damaged boxes around the stream.

    DICOM does not allow boxes, but they occur. pydicom skips them, and never ends at a
    box that is shorter than its own header.
    """
    if _JP2_SIGNATURE not in dataset.PixelData:
        return
    encaps = require("pydicom.encaps", "images")
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    for frame in encaps.generate_frames(dataset.PixelData, number_of_frames=n_frames):
        place = 12 if frame.startswith(_JP2_SIGNATURE) else len(frame)
        while place < len(frame) and frame[place + 4 : place + 8] != b"jp2c":
            length = int.from_bytes(frame[place : place + 4], "big")
            if length < 8:
                raise ImageReadError(
                    "The image is damaged: a JPEG 2000 frame has an invalid box."
                )
            place += length


def _is_ycbcr(stream: bytes) -> bool:
    place, transform, factors = 2, None, []
    while place + 4 <= len(stream) and stream[place] == 0xFF:
        marker, length = (
            stream[place + 1],
            int.from_bytes(stream[place + 2 : place + 4]),
        )
        segment = stream[place + 4 : place + 2 + length]
        if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            transform = segment[11]
        if marker in (0xC0, 0xC1, 0xC2) and len(segment) >= 6 and segment[5] == 3:
            factors = [segment[i] for i in (7, 10, 13) if i < len(segment)]
        if marker == 0xDA:
            break
        place += 2 + length
    is_subsampled = len(factors) == 3 and factors[0] > factors[1] == factors[2]
    return transform == 1 or (transform is None and is_subsampled)


_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


class _Lenient:
    """Context manager that stops pydicom from quoting header values in warnings.

    pydicom's setting and Python's warning filters are global to the process. The first
    reader in any thread changes them and the last one restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_readers = 0
        self._mode: Any = None
        self._filter: Any = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        settings = require("pydicom.config", "images").settings
        with self._lock:
            if self._n_readers == 0:
                self._enter(settings)
            self._n_readers += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_readers -= 1
                if self._n_readers == 0:
                    self._leave(settings)

    def _enter(self, settings: Any) -> None:
        self._mode = settings.reading_validation_mode
        settings.reading_validation_mode = require("pydicom.config", "images").IGNORE
        warnings.filterwarnings("ignore", module=r"pydicom|skfusion\.image")
        self._filter = warnings.filters[0]

    def _leave(self, settings: Any) -> None:
        settings.reading_validation_mode = self._mode
        # catch_warnings would also revert the filters that other threads have added.
        with contextlib.suppress(ValueError):
            warnings.filters.remove(self._filter)  # type: ignore[attr-defined]


lenient = _Lenient()


def decode_dicom(
    handle: io.BufferedIOBase, max_pixels: int, *, volume_index: int | None = None
) -> Decoded:
    """Decode an open DICOM file.

    Parameters
    ----------
    handle : binary file object
        At the start of the file.
    max_pixels : int
        Maximum number of pixels per plane. All planes together may have eight times
        as many.
    volume_index : int or None, default=None
        Which volume of a multi-frame image with several frames at each position to
        read, from 0. None returns all frames in their order, as a time series.

    Returns
    -------
    Decoded
        Values after the modality LUT or rescale, e.g. Hounsfield units. A plane whose
        position in the patient is known is in radiological display.

    Raises
    ------
    ImageReadError
        If there are no pixels, or they cannot be decoded.
    """
    dataset = open_dataset(handle, max_pixels)
    return decode_dataset(dataset, max_pixels, volume_index=volume_index)


def open_dataset(
    handle: io.BufferedIOBase, max_pixels: int, *, header_only: bool = False
) -> Any:
    """Parse an open DICOM file and return pydicom's Dataset."""
    pydicom = require("pydicom", "images")
    _check_deflated(handle, max_pixels)
    with lenient(), as_read_errors():
        return pydicom.dcmread(handle, force=True, stop_before_pixels=header_only)


def is_dataset(source: Any) -> bool:
    """Return whether an object is a Dataset of pydicom, without importing it."""
    module = sys.modules.get("pydicom.dataset")  # imported if any Dataset exists
    return module is not None and isinstance(source, module.Dataset)


def decode_dataset(
    dataset: Any,
    max_pixels: int,
    *,
    volume_index: int | None = None,
    as_stored: bool = False,
    arrange: bool = True,
) -> Decoded:
    """Decode the pixels of a dataset as in `decode_dicom`.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Missing attributes of the pixels are added to it.
    max_pixels, volume_index
        As in `decode_dicom`.
    as_stored : bool, default=False
        Whether to return stored values: without rescale, padding, palette, window and
        inversion.
    arrange : bool, default=True
        Whether planes with a known position are arranged for display.
    """
    with lenient(), as_read_errors():
        header = Header(dataset)
        assumed = _complete(header)
        n_frames = _checked_size(header, max_pixels)
        stored = stored_pixels(dataset)
        samples = int(dataset.SamplesPerPixel)
        is_multiframe = stored.ndim == 3 + (samples > 1)
        if is_multiframe and n_frames == 1:
            stored, is_multiframe = stored[0], False
        metadata = _metadata(header)
        if as_stored:
            image = _as_stored_image(header, stored, metadata)
        elif samples > 1 or metadata["mode"] == "PALETTE COLOR":
            image = _colour(dataset, stored, metadata)
        else:
            image = _grey(header, stored, n_frames, metadata)
        if is_multiframe:
            image = _ordered(header, image, n_frames, volume_index)
        else:
            check_volume_index(1, volume_index, "The image is one plane")
            image.axes = "YXC" if image.pixels.ndim == 3 else "YX"
            image.spacing = header.spacing()
            image = _placed(header, image) if arrange else image
    _warn_header(header, assumed)
    return image


def decode_plane(header: Header, stored: np.ndarray, *, as_stored: bool) -> Decoded:
    """Decode the grey pixels of a plane as `decode_dataset` does, not arranged.

    Parameters
    ----------
    header : Header
        Of a dataset that was read without its pixels.
    stored : ndarray of shape (n_rows, n_columns)
        Result of `plain_pixels`.
    as_stored : bool
        As in `decode_dataset`.

    Returns
    -------
    Decoded
    """
    with lenient(), as_read_errors():
        _check_kind(header, has_pixels=True)
        metadata = _metadata(header)
        if as_stored:
            image = _as_stored_image(header, stored, metadata)
        else:
            image = _grey(header, stored, 1, metadata)
        image.spacing = header.spacing()
    _warn_header(header, [])
    return image


def _as_stored_image(
    header: Header, stored: np.ndarray, metadata: dict[str, Any]
) -> Decoded:
    is_lossy = header.text("LossyImageCompression") == "01"
    return Decoded(stored, metadata=metadata | {"lossy": is_lossy})


def plain_pixels(
    handle: io.BufferedIOBase, start: int, header: Header
) -> np.ndarray | None:
    """Read the uncompressed grey pixels of a plane, whose header was read before.

    Parameters
    ----------
    handle : binary file object
        The open file.
    start : int
        Position of the pixel data, at which a parser of the header stops.
    header : Header
        The header.

    Returns
    -------
    ndarray of shape (n_rows, n_columns) or None
        Stored values. None if they are stored in any other way, which
        `stored_pixels` knows.
    """
    meta = getattr(header.dataset, "file_meta", None)
    syntax = str((meta or {}).get("TransferSyntaxUID") or "")
    numbers = [header.number(name) for name in _PIXEL_NUMBERS]
    n_rows, n_columns, n_frames, samples, allocated, bits, high, signed = numbers
    is_plain = (
        syntax in (_IMPLICIT, _EXPLICIT)
        and header.text("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and n_frames in (None, 1.0)
        and samples == 1
        and allocated in (8.0, 16.0, 32.0)
        and bits is not None
        and 1 <= bits <= allocated
        and high == bits - 1
        and signed in (0.0, 1.0)
    )
    if not (is_plain and n_rows and n_columns and allocated and bits):
        return None
    dtype = np.dtype(f"<{'i' if signed else 'u'}{int(allocated) // 8}")
    n_bytes = int(n_rows) * int(n_columns) * dtype.itemsize
    handle.seek(start)
    head = handle.read(12)
    is_explicit = syntax == _EXPLICIT
    kinds = (b"OW\0\0", b"OB\0\0") if is_explicit else (head[4:8],)
    length = int.from_bytes(head[8:12] if is_explicit else head[4:8], "little")
    if head[:4] != b"\xe0\x7f\x10\0" or head[4:8] not in kinds:
        return None
    if length not in (n_bytes, n_bytes + n_bytes % 2):
        return None
    handle.seek(start + (12 if is_explicit else 8))
    stored = np.empty((int(n_rows), int(n_columns)), dtype=dtype)
    values: Any = stored.reshape(-1).view(np.uint8)
    if handle.readinto(values) != n_bytes:
        return None
    unused = int(allocated - bits)
    if unused:  # Other data may be in the upper bits.
        np.left_shift(stored, unused, out=stored)
        np.right_shift(stored, unused, out=stored)  # extends the sign
    return stored


def _warn_header(header: Header, assumed: list[str]) -> None:
    said = []
    if header.unreadable:
        said.append(
            f"Unreadable attributes of a DICOM header count as absent: "
            f"{', '.join(header.unreadable)}."
        )
    if assumed:
        said.append(
            f"The usual values are assumed for absent attributes of a DICOM header: "
            f"{', '.join(assumed)}."
        )
    if said:
        warn_user(" ".join(said), DataWarning)


_PIXEL_NUMBERS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation"),
)
_DIRECTORY = "1.2.840.10008.1.3.10"
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def _complete(header: Header) -> list[str]:
    """Add the usual values of absent attributes of the pixels, and return their names.

    The pixels cannot be decoded without these attributes, but they are often missing
    in files of small vendors and of anonymisers.
    """
    dataset = header.dataset
    _check_kind(header)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    assumed = []

    def assume(name: str, value: Any) -> None:
        if header.value(name) is None:
            header.set(name, value)
            assumed.append(name)

    assume("SamplesPerPixel", 1)
    samples = int(dataset.SamplesPerPixel)
    assume("PhotometricInterpretation", "MONOCHROME2" if samples == 1 else "RGB")
    if samples > 1:
        assume("PlanarConfiguration", 0)
    if "PixelData" in dataset:
        n_frames = int(header.number("NumberOfFrames") or 1)
        n_values = max(rows * columns * samples * n_frames, 1)
        assume("BitsAllocated", 8 * max(1, len(dataset.PixelData) // n_values))
        assume("BitsStored", int(dataset.BitsAllocated))
        assume("HighBit", int(dataset.BitsStored) - 1)
        assume("PixelRepresentation", 0)
    return assumed


def _check_kind(header: Header, *, has_pixels: bool = False) -> None:
    """Raise an error for objects without pixels, and for those of other programs."""
    dataset = header.dataset
    kind = str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") or "")
    if kind == _DIRECTORY or "DirectoryRecordSequence" in dataset:
        raise ImageReadError(
            "The file is a DICOMDIR, the index of a folder, without pixels. Pass the "
            "folder of one series, or the image files."
        )
    if header.text("SOPClassUID") == _WHOLE_SLIDE:
        raise ImageReadError(
            "The DICOM file is a whole-slide image of pathology. Cut tiles, e.g. with "
            "wsidicom, and pass them as arrays, one or a list."
        )
    if "MOSAIC" in (header.value("ImageType") or ()):
        raise ImageReadError(
            "The DICOM image is a mosaic: the slices of a volume, side by side in one "
            "plane. Convert it to NIfTI, e.g. with dcm2niix."
        )
    if not (has_pixels or any(name in dataset for name in _PIXELS)):
        modality = header.text("Modality") or "unknown modality"
        raise ImageReadError(
            f"The DICOM file contains no pixel data (modality: {modality}): it is a "
            "report, a presentation state or a header only, or was truncated before "
            "its pixels."
        )
    invalid = [
        name
        for name in _PIXEL_NUMBERS
        if header.value(name) is not None and header.number(name) is None
    ]
    if invalid:
        raise ImageReadError(
            f"The DICOM header has values of {', '.join(invalid)} that are not "
            "numbers, without which the pixels cannot be decoded. Correct the header."
        )
    missing = [name for name in ("Rows", "Columns") if header.number(name) is None]
    if not missing:
        check_size(int(dataset.Rows), int(dataset.Columns), 1, sys.maxsize)
    if missing:
        raise ImageReadError(
            f"The DICOM header lacks {' and '.join(missing)}. The pixels cannot be "
            "decoded without these attributes."
        )


def _checked_size(header: Header, max_pixels: int) -> int:
    dataset = header.dataset
    n_frames = int(header.number("NumberOfFrames") or 1)
    check_size(
        *(int(dataset.Rows), int(dataset.Columns), n_frames, max_pixels),
        n_channels=int(dataset.SamplesPerPixel),
    )
    return n_frames


def _grey(
    header: Header, stored: np.ndarray, n_frames: int, metadata: dict[str, Any]
) -> Decoded:
    valid = _valid(header, stored)
    window = _common_window(header, n_frames)
    values, type_range = _rescaled(header, stored, n_frames, metadata)
    if valid is not None:
        metadata["n_padded"] = int(valid.size - valid.sum())
    is_inverse = header.text("PresentationLUTShape") == "INVERSE"
    return Decoded(
        values,
        type_range=type_range,
        window=window,
        white_is_low=metadata["mode"] == "MONOCHROME1" or is_inverse,
        valid=valid,
        metadata=metadata,
    )


def _valid(header: Header, stored: np.ndarray) -> np.ndarray | None:
    """Return a mask of the pixels that are not padding, or None without padding."""
    prefix = {"f": {4: "Float", 8: "DoubleFloat"}.get(stored.itemsize, "")}.get(
        stored.dtype.kind, ""
    )
    value = header.number(f"{prefix}PixelPaddingValue")
    if value is None:
        return None
    limit = header.number(f"{prefix}PixelPaddingRangeLimit")
    ends = [value, value if limit is None else limit]
    if not prefix:
        ends = [_as_stored(header, end) for end in ends]
    padded = (stored >= min(ends)) & (stored <= max(ends))
    # If every pixel counts as padding, the padding value in the header is wrong.
    return None if padded.all() or not padded.any() else ~padded


def _as_stored(header: Header, value: float) -> int:
    """Reinterpret a 16-bit header value with the signedness of the pixels.

    Some writers store the value with the wrong signedness.
    """
    number = int(value)
    signed = header.number("PixelRepresentation") == 1
    if signed and number > 0x7FFF:
        return number - 0x10000
    return number + 0x10000 if not signed and number < 0 else number


def _rescaled(
    header: Header, stored: np.ndarray, n_frames: int, metadata: dict[str, Any]
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Apply the modality LUT or the rescale, which may differ between frames."""
    looked_up = _modality_lut(header, stored)
    if looked_up is not None:
        return looked_up
    lines = [_line(header, frame) for frame in range(n_frames)]
    if {"RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"} & set(
        header.unreadable
    ):
        lines, metadata["unit"] = [(1.0, 0.0)] * n_frames, None  # values as stored
    limits = _stored_range(header, stored)
    ends = (
        None
        if limits is None
        else [slope * end + shift for slope, shift in set(lines) for end in limits]
    )
    type_range = None if ends is None else (min(ends), max(ends))
    if set(lines) == {(1.0, 0.0)}:
        return stored, type_range
    exact = stored.dtype.kind in "bui" and all(
        float(value).is_integer() for line in lines for value in line
    )
    fits = ends is not None and max(abs(end) for end in ends) < 2**31
    dtype = np.dtype(np.int32 if exact and fits else np.float32)
    values = np.empty(stored.shape, dtype=dtype)
    planes = [(stored, values)] if n_frames == 1 else zip(stored, values, strict=True)
    for (plane, out), (slope, shift) in zip(planes, lines, strict=True):
        if dtype.kind == "i":  # wraps around and back where only a part overflows
            np.multiply(plane, np.int32(slope), out=out, casting="unsafe", dtype="i4")
            out += np.int32(shift)
            continue
        for block in blocks(plane.shape):
            out[block] = plane[block].astype(np.float64) * slope + shift
    return values, type_range


def _modality_lut(
    header: Header, stored: np.ndarray
) -> tuple[np.ndarray, tuple[float, float]] | None:
    """Apply the modality LUT, if there is one that can be read."""
    table = header.item("ModalityLUTSequence")
    if table is None:
        return None
    pixels = require("pydicom.pixels", "images")
    try:
        bits = int(table.LUTDescriptor[2])
        values = pixels.apply_modality_lut(stored, header.dataset)
    except Exception:  # of a table without data or with a wrong descriptor
        header.unreadable.append("ModalityLUTSequence")
        return None
    return values, (0.0, 2.0**bits - 1)


def _line(header: Header, frame: int) -> tuple[float, float]:
    dose = header.number("DoseGridScaling")
    if dose is not None:
        return dose, 0.0
    slope = header.number("RescaleSlope", frame)
    shift = header.number("RescaleIntercept", frame)
    # A slope of 0 would erase the image. Writers use it for "no rescale".
    return slope or 1.0, shift or 0.0


def _stored_range(header: Header, stored: np.ndarray) -> tuple[float, float] | None:
    if stored.dtype.kind == "f":
        return None
    bits = int(header.number("BitsStored") or 8 * stored.itemsize)
    if header.number("PixelRepresentation") == 1:
        return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1


def _common_window(header: Header, n_frames: int) -> Window | LookupTable | None:
    """Return the first VOI LUT or window in the header, or None.

    A window that changes between frames would create steps in the volume.
    """
    table = header.item("VOILUTSequence")
    if table is not None:
        found = _table(header, table)
        if found is not None:
            return found
    first = _window(header, 0)
    if any(_window(header, frame) != first for frame in range(1, n_frames)):
        return None
    return first


def _window(header: Header, frame: int) -> Window | None:
    centre = header.number("WindowCenter", frame)
    width = header.number("WindowWidth", frame)
    if centre is None or width is None:
        return None
    function = header.text("VOILUTFunction", frame) or "LINEAR"
    if width <= 0 or (function == "LINEAR" and width < 1):
        return None  # invalid according to C.11.2.1.2, without a defined meaning
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    return Window(centre, width, function)


def _table(header: Header, item: Any) -> LookupTable | None:
    """Return a VOI LUT, or None, noted as unreadable, if it is incomplete."""
    try:
        n_entries, first, bits = (int(v) for v in item.LUTDescriptor)
        first = _as_stored(header, first)
        n_entries = n_entries or 2**16  # C.11.2.1.1: 0 means 2^16
        data = _table_data(item, n_entries)
        if len(data) < n_entries:
            raise ValueError("fewer entries than described")
    except Exception:  # of absent or invalid attributes of the table
        header.unreadable.append("VOILUTSequence")
        return None
    largest = float(data.max())
    # Some descriptors state the wrong number of bits: 12 for data of 16, or 16 for 12.
    needed = 2.0 ** max(1, math.ceil(math.log2(largest + 1))) - 1 if largest else 1.0
    full = 2.0**bits - 1
    if largest > full or needed <= full / 4:
        full = needed
    return LookupTable(first, np.clip(data[:n_entries] / full, 0, 1))


def _table_data(item: Any, n_entries: int) -> np.ndarray:
    """Return the entries of a table, stored as numbers or as 8- or 16-bit words."""
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.array([int(value) for value in data], dtype=np.float64)
    is_narrow = len(data) < 2 * n_entries
    return np.frombuffer(data, "u1" if is_narrow else "<u2").astype(np.float64)


def _colour(dataset: Any, stored: np.ndarray, metadata: dict[str, Any]) -> Decoded:
    pixels = require("pydicom.pixels", "images")
    if metadata["mode"] != "PALETTE COLOR":
        return Decoded(stored, metadata=metadata)
    shown = pixels.apply_color_lut(stored, dataset)
    if shown.dtype == np.uint16:
        # C.7.9.2: 8-bit entries occupy the lower or the upper byte of 16-bit words.
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        low_byte = bits == 16 and shown.max() <= 0xFF
        shown = shown.astype(np.uint8) if low_byte or bits == 8 else shown
    return Decoded(np.ascontiguousarray(shown[..., :3]), metadata=metadata)


def _placed(header: Header, image: Decoded) -> Decoded:
    """Arrange a single plane for display, if its position is known."""
    plane, spacing = header.plane(), header.spacing()
    if plane is None or spacing is None:
        return image
    image.pixels = image.pixels[None]
    image.valid = None if image.valid is None else image.valid[None]
    image.axes = "Z" + image.axes
    image.affine = affine_of_planes(plane[0], plane[1], None, spacing)
    image.spacing = (1.0, *spacing)
    return oriented(image)


_SAME_PLACE = 1e-3  # mm


def _ordered(
    header: Header, image: Decoded, n_frames: int, volume_index: int | None
) -> Decoded:
    """Sort the frames of a volume in space, and keep the order of a time series."""
    image.axes = "TYXC" if image.pixels.ndim == 4 else "TYX"
    image.spacing = header.spacing()
    offsets = header.numbers("GridFrameOffsetVector", n_frames)
    planes = [] if offsets is not None else _frame_planes(header, n_frames)
    if offsets is None and not planes:  # a time series, or no position is known
        check_volume_index(1, volume_index, "The frames have no known position")
        return image
    if offsets is None:
        cosines = planes[0][0]
        positions = np.array([along_normal(cosines, place) for _, place in planes])
    else:  # radiotherapy doses
        positions = offsets
    chosen = _chosen_frames(header, positions, volume_index)
    if chosen is None:
        return image
    image.axes = image.axes.replace("T", "Z")
    image.pixels = image.pixels[chosen]
    image.valid = None if image.valid is None else image.valid[chosen]
    note_positions(image, positions[chosen])
    first = planes[chosen[0]] if planes else header.plane()
    spacing = header.spacing()
    if first is None or spacing is None or len(chosen) < 2:
        return image
    if planes:
        step = (planes[chosen[-1]][1] - first[1]) / (len(chosen) - 1)
    else:
        normal = np.cross(first[0][:3], first[0][3:])
        step = normal * np.diff(positions[chosen]).mean()
    image.affine = affine_of_planes(first[0], first[1], step, spacing)
    return oriented(image)


def note_positions(image: Decoded, positions: np.ndarray) -> None:
    """Record the positions of slices along their normal, and their median distance."""
    steps = np.diff(positions)
    if image.spacing is not None:
        image.spacing = (float(np.median(steps)), *image.spacing[-2:])
    relative = positions - positions[0]
    image.metadata["slice_positions"] = tuple(float(place) for place in relative)
    image.metadata["steps_vary"] = steps_vary(positions)


def _frame_planes(header: Header, n_frames: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return orientation and position of all frames, or nothing if they do not fit."""
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for frame in range(n_frames):
        plane = header.plane(frame)
        if plane is None or (
            found and not np.allclose(plane[0], found[0][0], atol=1e-3)
        ):
            return []
        found.append(plane)
    return found


def _chosen_frames(
    header: Header, positions: np.ndarray, volume_index: int | None
) -> np.ndarray | None:
    """Return the frames of one volume in space, or None for a time series.

    Phases, echoes or diffusion directions are several frames at each position.
    """
    order = np.argsort(positions, kind="stable")
    steps = np.diff(positions[order])
    starts = np.flatnonzero(np.concatenate([[True], steps > _SAME_PLACE]))
    counts = np.diff([*starts, len(order)])
    n_volumes = int(counts[0]) if len(set(counts)) == 1 else 1
    is_series = len(set(counts)) > 1 or (n_volumes > 1 and volume_index is None)
    if len(starts) < 2 or is_series:
        if volume_index is not None:
            check_volume_index(1, volume_index, "The frames are a time series")
        return None
    check_volume_index(
        n_volumes, volume_index, f"There are {n_volumes} frames at each position"
    )
    return np.array(
        [
            _by_time(header, order[start : start + n_volumes])[volume_index or 0]
            for start in starts
        ]
    )


def _by_time(header: Header, frames: np.ndarray) -> list[int]:
    """Sort the frames at one position by time, acquisition and number."""

    def key(frame: int) -> tuple[float, float, int]:
        time = header.number("TemporalPositionIdentifier", frame)
        acquisition = header.number("AcquisitionNumber", frame)
        return time or 0.0, acquisition or 0.0, frame

    return sorted((int(frame) for frame in frames), key=key)


def _metadata(header: Header) -> dict[str, Any]:
    syntax = header.dataset.file_meta.get("TransferSyntaxUID")
    return {
        "format": "DICOM",
        "mode": header.text("PhotometricInterpretation"),
        "modality": header.text("Modality"),
        "transfer_syntax": getattr(syntax, "name", "Implicit VR Little Endian"),
        "unit": header.unit(),
    }


def _check_deflated(handle: io.BufferedIOBase, max_pixels: int) -> None:
    """Raise an error for a deflated file that unpacks to more than the size limit."""
    start = handle.tell()
    head = handle.read(1024)
    if _DEFLATED.encode() in head and head[132:140] == b"\x02\x00\x00\x00UL\x04\x00":
        handle.seek(start + 144 + int.from_bytes(head[140:144], "little"))
        limit = MAX_PLANES * max_pixels * 8  # bytes of the widest pixels
        unpacker, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
        with as_read_errors():
            data = handle.read(1 << 16)
            while data and not unpacker.eof:
                n_bytes += len(unpacker.decompress(data, 1 << 24))
                data = unpacker.unconsumed_tail or handle.read(1 << 16)
                if n_bytes > limit:
                    raise ImageReadError(
                        f"The deflated DICOM file unpacks to more than {limit} bytes "
                        "(decompression bomb?). It was not read."
                    )
    handle.seek(start)
