"""One cell of an image column in, one float32 array with its meaning out.

The content decides what an image is, never the suffix of its name, and no value is
clipped on the way. Read next: `skfusion.image.store`, which keeps what is computed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfusion.image.decoding import (
    EXIF_ORIENTATION,
    MAX_PIXELS,
    ImageReadError,
    as_read_errors,
    decode_file,
    decode_pil,
    is_missing,
    is_pil,
    opened,
)

__all__ = [
    "MAX_PIXELS",
    "ImageReadError",
    "MedicalImage",
    "content_digest",
    "is_missing",
    "read_image",
]

SCALINGS = ("auto", "dtype", "minmax", "none")


@dataclass(frozen=True, eq=False)
class MedicalImage:
    """Pixels and what they mean.

    Attributes
    ----------
    array : ndarray of shape (H, W) or (H, W, 3), float32
        The pixels, scaled as `read_image` was asked to.
    axes : str
        ``"YX"`` for a grey image, ``"YXC"`` for a colour image.
    spacing : tuple of float or None
        Distance of neighbouring pixels in mm along the spatial axes. None where the
        format does not measure anatomy: the print resolution that a PNG, JPEG or TIFF
        may state is not taken for it.
    photometric : str
        ``"grey"`` (larger is brighter) or ``"rgb"``.
    metadata : dict
        ``format``, ``mode`` (as stored), ``dtype`` (of the decoded pixels),
        ``value_range`` (smallest and largest decoded value), ``alpha`` (``"none"``,
        ``"opaque"`` or ``"composited"``, i.e. laid over black), ``orientation`` (the
        EXIF value that was undone; 1 is upright). Nothing about the patient.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import read_image
    >>> image = read_image(np.array([[0, 51], [102, 255]], dtype=np.uint8))
    >>> image.axes, image.photometric, image.array.tolist()[0]
    ('YX', 'grey', [0.0, 0.20000000298023224])
    """

    array: np.ndarray
    axes: str
    spacing: tuple[float, ...] | None
    photometric: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read_image(
    source: Any, *, scaling: str = "auto", max_pixels: int = MAX_PIXELS
) -> MedicalImage:
    """Read one image, from wherever it is.

    PNG, JPEG, TIFF, BMP and WebP are recognised by their content. Grey images of up to
    32 bits keep every level; palette, CMYK and 1-bit images become RGB or grey; an
    EXIF orientation is undone; transparent pixels are laid over black.

    Parameters
    ----------
    source : str, PathLike, bytes, file object, PIL image or ndarray
        The image. Arrays are (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) with the
        channels last: RGB, then alpha.
    scaling : {"auto", "dtype", "minmax", "none"}, default="auto"
        ``"auto"`` takes 8-bit and boolean pixels to [0, 1] by their type, leaves floats
        in [0, 1], and all else takes to [0, 1] by the smallest and largest value of the
        image: a 12-bit image neither saturates nor turns black. ``"dtype"`` takes
        integers to [0, 1] by the range of their type and leaves floats. ``"minmax"``
        goes by the values of the image. ``"none"`` leaves all values.
    max_pixels : int, default=89478485
        Larger images are refused before they are decoded. Above this default, Pillow's
        ``PIL.Image.MAX_IMAGE_PIXELS`` must be raised as well.

    Returns
    -------
    MedicalImage
        The pixels as float32, and what they mean.

    Raises
    ------
    ImageReadError
        If the image is absent, empty, damaged, too large, unknown or no 2-D image.
    TypeError
        If `source` is nothing that could hold an image.
    ValueError
        If `scaling` is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import read_image
    >>> read_image(np.arange(4096, dtype=np.uint16).reshape(64, 64)).array.max()
    np.float32(1.0)
    """
    if scaling not in SCALINGS:
        raise ValueError(
            f"scaling={scaling!r} is unknown; choose one of {', '.join(SCALINGS)}."
        )
    pixels, metadata = _plain(source, max_pixels)
    metadata["dtype"] = str(pixels.dtype)
    metadata["value_range"] = (pixels.min().item(), pixels.max().item())
    grey = pixels.ndim == 2
    return MedicalImage(
        array=_scaled(pixels, scaling),
        axes="YX" if grey else "YXC",
        spacing=None,
        photometric="grey" if grey else "rgb",
        metadata=metadata,
    )


def content_digest(cell: Any, memo: Callable[[Any], str] | None = None) -> str:
    """Digest what a cell holds: equal content gives an equal digest.

    Files and bytes are digested as they are stored, arrays by dtype, shape and values,
    PIL images by what decides their pixels.

    Parameters
    ----------
    cell : str, PathLike, bytes, file object, PIL image or ndarray
        An image that is not missing.
    memo : callable or None, default=None
        Called with a path in place of reading the file, e.g.
        `EmbeddingStore.digest_file`, which remembers files it has seen.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    ImageReadError
        If there is nothing to digest: missing cell or file, unreadable file.
    TypeError
        If the cell is nothing that could hold an image.

    Examples
    --------
    >>> from skfusion.image.reading import content_digest
    >>> content_digest(b"abc")[:16]
    'ba7816bf8f01cfea'
    """
    if isinstance(cell, np.ndarray):
        if cell.dtype.hasobject:
            raise TypeError("An array of objects is no image; give a numeric array.")
        head = f"array {cell.dtype.str} {cell.shape} ".encode()
        return hashlib.sha256(head + np.ascontiguousarray(cell).tobytes()).hexdigest()
    if is_pil(cell):
        return _digest_pil(cell)
    if memo is not None and isinstance(cell, str | os.PathLike) and cell != "":
        return memo(cell)
    with opened(cell) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _digest_pil(image: Any) -> str:
    with as_read_errors():
        content = image.tobytes()
        describe = (
            image.mode,
            image.size,
            image.info.get("transparency"),
            image.getpalette() if image.mode in ("P", "PA") else None,
            image.getexif().get(EXIF_ORIENTATION),  # which read_image will undo
        )
    return hashlib.sha256(f"PIL {describe} ".encode() + content).hexdigest()


def _plain(source: Any, max_pixels: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Give grey or RGB pixels of any depth, and how they came about."""
    metadata: dict[str, Any]
    if isinstance(source, np.ndarray):
        pixels, metadata = source, {"format": "array", "mode": str(source.dtype)}
    elif is_pil(source):
        pixels, metadata = decode_pil(source, max_pixels)
    else:
        with opened(source) as handle:
            pixels, metadata = decode_file(handle, max_pixels)
    metadata = {"alpha": "none", "orientation": 1, **metadata}
    pixels = _checked(pixels)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, metadata["alpha"] = _flatten(pixels)
        if metadata["mode"] in ("L", "LA", "La"):  # grey with transparent parts
            pixels = pixels[:, :, 0]
    return pixels, metadata


def _checked(pixels: np.ndarray) -> np.ndarray:
    """Check kind and shape; give (H, W), (H, W, 3) or (H, W, 4)."""
    if pixels.dtype.kind not in "buif":
        raise ImageReadError(
            f"An array of dtype {pixels.dtype} is no image; expected booleans, "
            f"integers or floats."
        )
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise ImageReadError(
            f"An array of shape {pixels.shape} is no two-dimensional image; expected "
            f"(H, W), (H, W, 1), (H, W, 3) or (H, W, 4), channels last. Volumes "
            f"(D, H, W) are not supported."
        )
    if pixels.size == 0:
        raise ImageReadError(f"The image holds no pixels: its shape is {pixels.shape}.")
    if pixels.dtype.kind == "f":
        n_bad = int(pixels.size - np.isfinite(pixels).sum())
        if n_bad:
            raise ImageReadError(
                f"The image holds {n_bad} NaN or infinite values of {pixels.size}; "
                f"replace them before reading."
            )
    return pixels


def _flatten(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Lay RGBA over black; the type stays, and opaque pixels stay exact."""
    colour, alpha = pixels[:, :, :3], pixels[:, :, 3:]
    opaque = 1 if pixels.dtype.kind in "bf" else np.iinfo(pixels.dtype).max
    if (alpha == opaque).all():
        return colour, "opaque"
    blended = colour.astype(np.float64) * (alpha / opaque)
    if pixels.dtype.kind != "f":
        blended = np.rint(blended)
    return blended.astype(pixels.dtype), "composited"


def _scaled(pixels: np.ndarray, scaling: str) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())
    kind = pixels.dtype.kind
    if scaling == "auto":
        unit_floats = kind == "f" and low >= 0 and high <= 1
        scaling = "minmax"
        if kind == "b" or pixels.dtype == np.uint8 or unit_floats:
            scaling = "dtype"
    if scaling == "none" or (scaling == "dtype" and kind in "bf"):
        return np.array(pixels, dtype=np.float32, order="C")
    if scaling == "dtype":
        low, high = (float(v) for v in _integer_range(pixels.dtype))
    span = high - low if high > low else 1.0
    # float64 in between: float32 would merge levels of deep integers
    return np.ascontiguousarray((pixels.astype(np.float64) - low) / span, np.float32)


def _integer_range(dtype: np.dtype) -> tuple[int, int]:
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
