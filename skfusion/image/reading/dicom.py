"""Decoding of DICOM files with pydicom: pixels, rescale, window and geometry.

The rules are those of DICOM PS3.3 C.7.6.3 (pixels), C.11.1 (modality LUT) and C.11.2
(VOI LUT and window).
"""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import (
    MAX_PLANES,
    ImageReadError,
    as_read_errors,
    check_size,
)
from skfusion.image.reading.intensity import Decoded, LookupTable, Window

__all__ = [
    "along_normal",
    "decode_dataset",
    "decode_dicom",
    "frame_item",
    "frame_positions",
    "open_dataset",
    "plane_position",
    "plane_spacing",
    "stored_pixels",
]


def frame_item(dataset: Any, frame: int, name: str) -> Any:
    """Return an item of a frame's functional groups, else of the shared ones."""
    for groups, number in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        sequence = dataset.get(groups)
        if sequence and number < len(sequence) and sequence[number].get(name):
            return sequence[number].get(name)[0]
    return None


def plane_spacing(dataset: Any) -> tuple[float, float] | None:
    """Return the distance between rows and between columns in mm, or None if unknown.

    For projection radiographs this is the spacing at the detector. It exceeds the
    spacing in the patient by the geometric magnification.
    """
    measures = frame_item(dataset, 0, "PixelMeasuresSequence")
    for source, name in (
        (measures, "PixelSpacing"),
        (dataset, "PixelSpacing"),
        (dataset, "ImagerPixelSpacing"),
        (dataset, "NominalScannedPixelSpacing"),
    ):
        value = None if source is None else source.get(name)
        found = _numbers(value, 2)
        if found is not None and min(found) > 0:
            return float(found[0]), float(found[1])
    return None


def plane_position(dataset: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the orientation (6 cosines) and position (x, y, z in mm) of a plane."""
    orientation = _numbers(dataset.get("ImageOrientationPatient"), 6)
    position = _numbers(dataset.get("ImagePositionPatient"), 3)
    if orientation is None or position is None:
        return None
    return orientation, position


def along_normal(orientation: np.ndarray, position: np.ndarray) -> float:
    """Return the position of a plane along its normal in mm, increasing to the head."""
    return float(np.cross(orientation[:3], orientation[3:]) @ position)


def frame_positions(dataset: Any, n_frames: int) -> np.ndarray | None:
    """Return the position of each frame along the normal in mm, or None if unknown."""
    offsets = _numbers(dataset.get("GridFrameOffsetVector"), n_frames)
    if offsets is not None:  # radiotherapy doses
        return offsets
    places, first = [], None
    for frame in range(n_frames):
        plane = frame_item(dataset, frame, "PlanePositionSequence")
        turned = frame_item(dataset, frame, "PlaneOrientationSequence")
        if plane is None or turned is None:
            return None
        position = _numbers(plane.get("ImagePositionPatient"), 3)
        orientation = _numbers(turned.get("ImageOrientationPatient"), 6)
        if position is None or orientation is None:
            return None
        first = orientation if first is None else first
        if not np.allclose(orientation, first, atol=1e-3):
            return None
        places.append(along_normal(orientation, position))
    return np.array(places)


def _numbers(value: Any, length: int) -> np.ndarray | None:
    try:
        numbers = np.array([float(number) for number in value])
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == length and np.isfinite(numbers).all() else None


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
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:  # a file without a preamble (PS3.5 A.1)
        uid = require("pydicom.uid", "images")
        dataset.file_meta.TransferSyntaxUID = syntax = uid.ImplicitVRLittleEndian
    if syntax not in _DECODERS:
        return _uncompressed(dataset, syntax)
    plugins, package = _DECODERS[syntax]
    installed = pixels.get_decoder(syntax).available_plugins
    usable = [plugin for plugin in plugins if plugin in installed]
    for plugin in usable:
        try:
            return pixels.pixel_array(dataset, decoding_plugin=plugin)
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


def _uncompressed(dataset: Any, syntax: Any) -> np.ndarray:
    pixels = require("pydicom.pixels", "images")
    try:
        return pixels.pixel_array(dataset)
    except NotImplementedError:
        raise ImageReadError(
            f"The transfer syntax {syntax.name} is not supported. Convert the file to "
            "an uncompressed transfer syntax, e.g. with `gdcmconv --raw`."
        ) from None


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


def decode_dicom(handle: io.BufferedIOBase, max_pixels: int) -> Decoded:
    """Decode an open DICOM file.

    Parameters
    ----------
    handle : binary file object
        At the start of the file.
    max_pixels : int
        Maximum number of pixels per plane. All planes together may have eight times
        as many.

    Returns
    -------
    Decoded
        Values after the modality LUT or rescale, e.g. Hounsfield units.

    Raises
    ------
    ImageReadError
        If there are no pixels, or they cannot be decoded.
    """
    return decode_dataset(open_dataset(handle, max_pixels), max_pixels)


def open_dataset(
    handle: io.BufferedIOBase, max_pixels: int, *, header_only: bool = False
) -> Any:
    """Parse an open DICOM file and return pydicom's Dataset."""
    pydicom = require("pydicom", "images")
    _check_deflated(handle, max_pixels)
    with lenient(), as_read_errors():
        return pydicom.dcmread(handle, force=True, stop_before_pixels=header_only)


def decode_dataset(dataset: Any, max_pixels: int) -> Decoded:
    """Decode the pixels of a dataset as in `decode_dicom`."""
    with lenient(), as_read_errors():
        n_frames = _checked_size(dataset, max_pixels)
        stored = stored_pixels(dataset)
        samples = int(dataset.get("SamplesPerPixel", 1))
        is_multiframe = stored.ndim == 3 + (samples > 1)
        if is_multiframe and n_frames == 1:
            stored, is_multiframe = stored[0], False
        metadata = _metadata(dataset)
        if samples > 1 or metadata["mode"] == "PALETTE COLOR":
            image = _colour(dataset, stored, metadata)
        else:
            image = _grey(dataset, stored, n_frames, metadata)
        if is_multiframe:
            return _ordered(dataset, image, n_frames)
        image.axes = "YXC" if image.pixels.ndim == 3 else "YX"
        image.spacing = plane_spacing(dataset)
        return image


def _checked_size(dataset: Any, max_pixels: int) -> int:
    if not any(name in dataset for name in _PIXELS):
        kind = dataset.get("Modality") or "unknown modality"
        raise ImageReadError(
            f"The DICOM file contains no pixel data (modality: {kind}): it is a "
            "report, a presentation state or a header only, or was truncated before "
            "its pixels."
        )
    missing = [name for name in ("Rows", "Columns") if dataset.get(name) is None]
    if missing:
        raise ImageReadError(
            f"The DICOM header lacks {' and '.join(missing)}. The pixels cannot be "
            "decoded without these attributes."
        )
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    check_size(int(dataset.Rows), int(dataset.Columns), n_frames, max_pixels)
    return n_frames


def _grey(
    dataset: Any, stored: np.ndarray, n_frames: int, metadata: dict[str, Any]
) -> Decoded:
    valid = _valid(dataset, stored)
    window = _window(dataset, stored)
    values, type_range = _rescaled(dataset, stored, n_frames)
    if valid is not None:
        metadata["n_padded"] = int(valid.size - valid.sum())
    return Decoded(
        values,
        type_range=type_range,
        window=window,
        white_is_low=metadata["mode"] == "MONOCHROME1",
        valid=valid,
        metadata=metadata,
    )


def _valid(dataset: Any, stored: np.ndarray) -> np.ndarray | None:
    """Return a mask of the pixels that are not padding, or None without padding."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    ends = [
        _as_stored(dataset, dataset.get(name, dataset.PixelPaddingValue))
        for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")
    ]
    padded = (stored >= min(ends)) & (stored <= max(ends))
    # If every pixel counts as padding, the padding value in the header is wrong.
    return None if padded.all() or not padded.any() else ~padded


def _as_stored(dataset: Any, value: Any) -> int:
    """Reinterpret a 16-bit header value with the signedness of the pixels.

    Some writers store the value with the wrong signedness.
    """
    number = int(value)
    signed = dataset.get("PixelRepresentation", 0) == 1
    if signed and number > 0x7FFF:
        return number - 0x10000
    return number + 0x10000 if not signed and number < 0 else number


def _rescaled(
    dataset: Any, stored: np.ndarray, n_frames: int
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Apply the modality LUT or the rescale, which may differ between frames."""
    if dataset.get("ModalityLUTSequence"):
        pixels = require("pydicom.pixels", "images")
        values = pixels.apply_modality_lut(stored, dataset)
        bits = int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])
        return values, (0.0, 2.0**bits - 1)
    lines = [_line(dataset, frame) for frame in range(n_frames)]
    limits = _stored_range(dataset, stored)
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
        out[...] = plane.astype(np.float64) * slope + shift
    return values, type_range


def _line(dataset: Any, frame: int) -> tuple[float, float]:
    if dataset.get("DoseGridScaling") is not None:
        return float(dataset.DoseGridScaling), 0.0
    source = frame_item(dataset, frame, "PixelValueTransformationSequence") or dataset
    slope, shift = source.get("RescaleSlope"), source.get("RescaleIntercept")
    # A slope of 0 would erase the image. Writers use it for "no rescale".
    return float(slope or 1), float(shift or 0)


def _stored_range(dataset: Any, stored: np.ndarray) -> tuple[float, float] | None:
    if stored.dtype.kind == "f":
        return None
    bits = int(dataset.get("BitsStored") or 8 * stored.itemsize)
    if dataset.get("PixelRepresentation", 0) == 1:
        return -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    return 0.0, 2.0**bits - 1


def _window(dataset: Any, stored: np.ndarray) -> Window | LookupTable | None:
    """Return the first VOI LUT or window in the header, or None."""
    if dataset.get("VOILUTSequence"):
        return _table(dataset, stored)
    source = frame_item(dataset, 0, "FrameVOILUTSequence") or dataset
    centre, width = (
        _first(source.get(name)) for name in ("WindowCenter", "WindowWidth")
    )
    if centre is None or width is None:
        return None
    function = str(source.get("VOILUTFunction") or "LINEAR")
    if width <= 0 or (function == "LINEAR" and width < 1):
        return None  # invalid according to C.11.2.1.2, without a defined meaning
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    return Window(centre, width, function)


def _table(dataset: Any, stored: np.ndarray) -> LookupTable:
    pixels = require("pydicom.pixels", "images")
    n_entries, first, bits = (int(v) for v in dataset.VOILUTSequence[0].LUTDescriptor)
    first = _as_stored(dataset, first)
    n_entries = n_entries or 2**16  # C.11.2.1.1: 0 means 2^16
    inputs = np.arange(first, first + n_entries).astype(
        np.int32 if first < 0 else np.uint32
    )
    table = pixels.apply_voi(inputs, dataset).astype(np.float64)
    return LookupTable(first, np.clip(table / (2.0**bits - 1), 0, 1))


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) and hasattr(value, "__len__"):
        if len(value) == 0:
            return None
        value = value[0]
    number = float(value)
    return number if np.isfinite(number) else None


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


def _ordered(dataset: Any, image: Decoded, n_frames: int) -> Decoded:
    """Sort the frames of a volume in space, and keep the order of a time series."""
    image.axes = "TYXC" if image.pixels.ndim == 4 else "TYX"
    spacing = plane_spacing(dataset)
    image.spacing = spacing
    positions = frame_positions(dataset, n_frames)
    if positions is None:
        return image
    order = np.argsort(positions, kind="stable")
    steps = np.diff(positions[order])
    if steps.min() <= 0:  # phases, echoes or diffusion directions at one position
        return image
    image.axes = image.axes.replace("T", "Z")
    image.pixels = image.pixels[order]
    if image.valid is not None:
        image.valid = image.valid[order]
    if spacing is not None:
        image.spacing = (float(np.median(steps)), *spacing)
    return image


def _metadata(dataset: Any) -> dict[str, Any]:
    modality = str(dataset.get("Modality") or "")
    unit = str(dataset.get("RescaleType") or dataset.get("Units") or "")
    if dataset.get("DoseGridScaling") is not None:
        unit = str(dataset.get("DoseUnits") or "")
    if not unit and modality == "CT" and dataset.get("RescaleIntercept") is not None:
        unit = "HU"  # C.8.2.1: the default unit of CT
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    return {
        "format": "DICOM",
        "mode": str(dataset.get("PhotometricInterpretation") or ""),
        "modality": modality,
        "transfer_syntax": getattr(syntax, "name", "Implicit VR Little Endian"),
        "unit": None if unit in ("", "US") else unit,
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
