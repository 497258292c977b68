"""Decoding of TIFF files: with Pillow where it is exact, else with tifffile.

Pillow changes values without an error for some TIFFs: planar 16-bit colours, signed
and 32-bit integers, and volumes that ImageJ stores behind a single page. Its result is
therefore only used if the tags show that it is exact.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError, as_read_errors, check_size
from skfusion.image.reading.intensity import Decoded
from skfusion.image.reading.raster import (
    decode_pil,
    open_with_pillow,
    stored_pil,
    upright,
)
from skfusion.image.reading.volumes import check_volume_index

__all__ = ["decode_tiff"]


_COMPRESSION, _BITS, _PHOTOMETRIC, _DESCRIPTION, _SAMPLES, _PLANAR = (
    259,
    258,
    262,
    270,
    277,
    284,
)
_ORIENTATION, _PREDICTOR, _SAMPLE_FORMAT, _IMAGE_DEPTH = 274, 317, 339, 32997
_WITHOUT_PREDICTOR = (1, 32773)  # no compression, and PackBits
_UNSIGNED, _FLOAT = 1, 3  # values of SampleFormat
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = 0, 1, 2, 3
_WHOLE_SLIDES = ("is_svs", "is_ndpi", "is_scn", "is_bif", "is_philips", "is_avs")


def decode_tiff(
    handle: io.BufferedIOBase,
    max_pixels: int,
    volume_index: int | None = None,
    *,
    as_stored: bool = False,
) -> Decoded:
    """Decode an open TIFF file.

    Parameters
    ----------
    handle : binary file object
        At the start of the file.
    max_pixels : int
        Maximum number of pixels per plane. All planes together may have eight times
        as many.
    volume_index : int or None, default=None
        Which time of an ImageJ or OME file with planes and times to read, from 0.
    as_stored : bool, default=False
        Whether to return palette indices, and values in which white is 0 unchanged.

    Returns
    -------
    Decoded
        Axes ``"YX"``, ``"ZYX"`` or ``"TYX"``, with ``"C"`` for colours.

    Raises
    ------
    ImageReadError
        If the image is damaged, a whole slide, has channels that are not colours, or
        is compressed in a way for which no decoder is installed.
    """
    start = handle.tell()
    image = _opened_by_pillow(handle)
    if image is not None and _is_exact_with_pillow(image):
        check_volume_index(1, volume_index, "The image is one volume")
        if not as_stored:
            return decode_pil(image, max_pixels)
        if getattr(image, "n_frames", 1) == 1:
            return stored_pil(image)
    handle.seek(start)
    return _decode_with_tifffile(handle, max_pixels, volume_index, as_stored=as_stored)


def _opened_by_pillow(handle: io.BufferedIOBase) -> Any:
    try:
        return open_with_pillow(handle, "TIFF")
    except ImageReadError:
        return None  # tifffile reads more variants, and reports what it cannot read


def _is_exact_with_pillow(image: Any) -> bool:
    """Return whether the tags describe an image that Pillow decodes without loss."""
    tags = image.tag_v2
    text = str(tags.get(_DESCRIPTION) or "")
    if "ImageJ=" in text or "<OME" in text or text.startswith("Aperio"):
        return False
    if int(tags.get(_IMAGE_DEPTH) or 1) > 1:
        return False
    # libtiff, which Pillow uses, ignores the predictor of these compressions.
    has_predictor = int(tags.get(_PREDICTOR) or 1) > 1
    if has_predictor and int(tags.get(_COMPRESSION) or 1) in _WITHOUT_PREDICTOR:
        return False
    bits = set(_as_tuple(tags.get(_BITS, 1)))
    formats = set(_as_tuple(tags.get(_SAMPLE_FORMAT, _UNSIGNED)))
    n_samples = int(tags.get(_SAMPLES) or 1)
    if formats == {_UNSIGNED} and max(bits) <= 8 and n_samples <= 4:
        return n_samples == 1 or bits == {8}
    is_plain = n_samples == 1 and tags.get(_PHOTOMETRIC) in (0, 1)
    if formats == {_FLOAT}:
        return is_plain and bits == {32}
    return is_plain and formats == {_UNSIGNED} and bits == {16}


def _as_tuple(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),)


def _decode_with_tifffile(
    handle: io.BufferedIOBase,
    max_pixels: int,
    volume_index: int | None,
    *,
    as_stored: bool,
) -> Decoded:
    tifffile = require("tifffile", "images")
    with as_read_errors(), _quiet(tifffile), tifffile.TiffFile(handle) as file:
        if any(getattr(file, flag, False) for flag in _WHOLE_SLIDES):
            raise ImageReadError(
                "The TIFF is a whole-slide image of pathology. Cut tiles, e.g. with "
                "OpenSlide or tifffile, and pass them as arrays, one or a list."
            )
        if (file.is_imagej or file.is_ome) and len(file.series) == 1:
            mode = (file.imagej_metadata or {}).get("mode", "grayscale")
            # ImageJ calls the planes of a simple stack channels.
            is_stack = file.is_imagej and mode == "grayscale"
            return _from_series(
                file.series[0], max_pixels, volume_index, as_stored, is_stack=is_stack
            )
        check_volume_index(1, volume_index, "The image is one volume")
        return _from_pages(file, max_pixels, as_stored)


class _quiet:
    """Context manager that keeps tifffile's log messages from the user."""

    def __init__(self, tifffile: Any) -> None:
        self._logger = tifffile.logger()

    def __enter__(self) -> None:
        self._was_disabled = self._logger.disabled
        self._logger.disabled = True

    def __exit__(self, *details: Any) -> None:
        self._logger.disabled = self._was_disabled


def _from_pages(file: Any, max_pixels: int, as_stored: bool) -> Decoded:
    """Decode the full-size pages of a file as planes."""
    pages = [
        page
        for number, page in enumerate(file.pages)
        if not number or not (page.subfiletype & 0b101)  # reduced copies and masks
    ]
    shapes = {(page.shape, str(page.dtype)) for page in pages}
    if len(shapes) > 1:
        listed = ", ".join(
            f"{' x '.join(map(str, shape))} ({dtype})"
            for shape, dtype in sorted(shapes)
        )
        raise ImageReadError(
            f"The {len(pages)} pages of the image do not form a volume: they differ in "
            f"size or type ({listed}). Store the page to be used as a separate image."
        )
    first = pages[0]
    axes = _without_single(first.axes, first.shape)
    _check(first, axes, len(pages), max_pixels)
    planes = np.empty((len(pages), *first.shape), dtype=_native(first.dtype))
    for number, page in enumerate(pages):
        planes[number] = _decoded_page(page)
    axes = "Z" + first.axes
    return _arranged(planes, axes, first, as_stored)


def _from_series(
    series: Any,
    max_pixels: int,
    volume_index: int | None,
    as_stored: bool,
    *,
    is_stack: bool,
) -> Decoded:
    """Decode the stack that an ImageJ or OME file describes."""
    axes, shape = series.axes, tuple(int(length) for length in series.shape)
    page = series.keyframe
    sizes = dict(zip(axes, shape, strict=True))
    if is_stack and "Z" not in sizes:
        axes = axes.replace("C", "Z")
        sizes = dict(zip(axes, shape, strict=True))
    if sizes.get("C", 1) > 1:
        raise ImageReadError(
            f"The TIFF has {sizes['C']} channels that are not red, green and blue. "
            "Read it with tifffile, and pass the channels to be used as arrays."
        )
    n_planes = math.prod(n for axis, n in sizes.items() if axis not in "YXST")
    n_times = sizes.get("T", 1)
    is_volumes = n_times > 1 and n_planes > 1
    check_volume_index(
        n_times if is_volumes else 1,
        volume_index,
        f"The TIFF has {n_planes} planes at {n_times} times",
    )
    _check(page, "YXS" if "S" in axes else "YX", n_planes * n_times, max_pixels)
    pixels = _decoded_page(series)
    if is_volumes:
        pixels = np.take(pixels, volume_index or 0, axis=axes.index("T"))
        axes = axes.replace("T", "")
    return _arranged(pixels, axes, page, as_stored)


def _decoded_page(page: Any) -> np.ndarray:
    try:
        return page.asarray()
    except (ValueError, ImportError, KeyError) as error:
        if "imagecodecs" not in str(error):
            raise
        compression = getattr(getattr(page, "compression", None), "name", "unknown")
        raise ImageReadError(
            f"The TIFF is compressed ({compression}), which needs a decoder that is "
            "not installed: `pip install imagecodecs` installs it."
        ) from None


def _native(dtype: Any) -> np.dtype:
    return np.dtype(dtype).newbyteorder("=")


def _without_single(axes: str, shape: tuple[int, ...]) -> str:
    return "".join(
        axis
        for axis, length in zip(axes, shape, strict=True)
        if axis in "YX" or length > 1
    )


def _check(page: Any, axes: str, n_planes: int, max_pixels: int) -> None:
    """Check the size and the kind of values of a page before it is decoded."""
    n_samples = int(page.samplesperpixel) if "S" in axes else 1
    check_size(
        *(int(page.imagelength), int(page.imagewidth), n_planes, max_pixels),
        n_channels=n_samples,
    )
    if page.dtype is None or np.dtype(page.dtype).kind not in "buif":
        raise ImageReadError(
            f"The TIFF has values of type {page.dtype}; expected booleans, integers or "
            "floats."
        )
    if n_samples > 1 and np.dtype(page.dtype).kind == "b":
        raise ImageReadError(
            "The TIFF has colours of 1 bit per channel; expected at least 8 bits. "
            "Convert it to 8 bits."
        )
    if n_samples not in (1, 3, 4):
        raise ImageReadError(
            f"The TIFF has {n_samples} samples per pixel; expected 1 (grey), 3 (RGB) "
            "or 4 (RGB and alpha). Read it with tifffile, and pass the channels to be "
            "used as an array."
        )
    photometric = int(page.photometric)
    allowed = (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE)
    if n_samples > 1 and photometric not in (*allowed, 6):  # 6: YCbCr in JPEG
        raise ImageReadError(
            f"The TIFF has the colour space {page.photometric.name}; expected grey or "
            "RGB. Convert it to RGB."
        )


def _arranged(pixels: np.ndarray, axes: str, page: Any, as_stored: bool) -> Decoded:
    """Order axes as planes, rows, columns and channels, and drop those of length 1."""
    keep = tuple(
        slice(None) if axis in "YX" or length > 1 else 0
        for axis, length in zip(axes, pixels.shape, strict=True)
    )
    axes = _without_single(axes, pixels.shape)
    pixels = pixels[keep]
    if "S" in axes:
        pixels, axes = np.moveaxis(pixels, axes.index("S"), -1), axes.replace("S", "")
        channels = "C"
    else:
        channels = ""
    outer = axes.replace("Y", "").replace("X", "")
    if len(outer) > 1:
        raise ImageReadError(
            f"The TIFF has the axes {axes}; expected planes, rows and columns. Read it "
            "with tifffile, and pass the planes to be used as an array."
        )
    pixels = _upright_planes(pixels, bool(outer), page)
    pixels = np.ascontiguousarray(pixels.astype(_native(pixels.dtype), copy=False))
    if pixels.dtype.kind == "f" and pixels.dtype != np.float32:
        pixels = pixels.astype(np.float32)
    if not as_stored:
        pixels, channels = _as_displayed(pixels, channels, page)
    kind = {"": "", "T": "T"}.get(outer, "Z")
    metadata = {
        "format": "TIFF",
        "mode": f"{page.samplesperpixel} x {page.dtype}",
        "unit": None,
    }
    return Decoded(pixels, f"{kind}YX{channels}", metadata=metadata)


def _upright_planes(pixels: np.ndarray, has_planes: bool, page: Any) -> np.ndarray:
    tag = page.tags.get(_ORIENTATION)
    orientation = 1 if tag is None else int(tag.value)
    if not has_planes:
        return upright(pixels, orientation)
    return np.moveaxis(upright(np.moveaxis(pixels, 0, -1), orientation), -1, 0)


def _as_displayed(
    pixels: np.ndarray, channels: str, page: Any
) -> tuple[np.ndarray, str]:
    """Apply the palette, or make large values bright."""
    photometric = int(page.photometric)
    if channels and pixels.shape[-1] == 4 and _is_opaque_or_premultiplied(page):
        pixels = np.ascontiguousarray(pixels[..., :3])
    if photometric == _PALETTE and page.colormap is not None and not channels:
        colours = np.asarray(page.colormap)  # (3, n), 16 bits
        indices = np.clip(pixels, 0, colours.shape[1] - 1)
        return np.moveaxis(colours[:, indices], 0, -1), "C"
    if photometric != _WHITE_IS_ZERO:
        return pixels, channels
    if pixels.dtype.kind == "b":
        return ~pixels, channels
    if pixels.dtype.kind == "f":
        return -pixels, channels
    bits = int(page.bitspersample)
    if pixels.dtype.kind == "u":
        return (2**bits - 1 - pixels).astype(pixels.dtype), channels
    return (-1 - pixels).astype(pixels.dtype), channels


def _is_opaque_or_premultiplied(page: Any) -> bool:
    """Return whether the colours are right over black without the fourth sample."""
    kinds = [int(kind) for kind in (page.extrasamples or ())]
    return not kinds or kinds[0] in (0, 1)
