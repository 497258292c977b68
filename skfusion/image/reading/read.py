"""One cell of an image column in, one float32 array with its meaning out.

The content decides what an image is, never the suffix of its name, and no value is
clipped unless a window or a percentile asks for it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfusion._files import FileReadError
from skfusion.image.reading.dicom import decode_dicom
from skfusion.image.reading.files import (
    MAX_PIXELS,
    ImageReadError,
    as_read_errors,
    is_folder,
    is_pil,
    opened,
    recognise,
)
from skfusion.image.reading.intensity import (
    Decoded,
    check_intensity,
    is_byte_scaled,
    scaled,
)
from skfusion.image.reading.nifti import decode_nifti
from skfusion.image.reading.raster import EXIF_ORIENTATION, decode_pil, decode_raster
from skfusion.image.reading.series import decode_series, folder_files

__all__ = [
    "ImageReadError",
    "MAX_PIXELS",
    "MedicalImage",
    "content_digest",
    "read_bytes_image",
    "read_image",
]


@dataclass(frozen=True, eq=False)
class MedicalImage:
    """Pixels and what they mean.

    Attributes
    ----------
    array : ndarray, float32
        The pixels, scaled as `read_image` was asked to; larger is brighter. Its axes
        are those that `axes` names.
    axes : str
        ``"YX"``: one plane, rows then columns. ``"ZYX"``: planes that are neighbours
        in space. ``"TYX"``: planes whose places are not known, such as the frames of a
        film. A colour image has ``"C"`` (red, green, blue) behind.
    spacing : tuple of float or None
        Distance of neighbouring pixels in mm, along the axes Z, Y and X that there
        are. None where the format does not measure anatomy: the print resolution that
        a PNG, JPEG or TIFF may state is not taken for it.
    photometric : str
        ``"grey"`` or ``"rgb"``.
    metadata : dict
        ``format``; ``mode`` (as stored); ``dtype`` and ``value_range`` (of the decoded
        values); ``scaling`` (what was applied), ``limits`` (the values that became 0
        and 1) and ``saturated`` (the shares of pixels below and above them);
        ``alpha`` (``"none"``, ``"opaque"`` or ``"composited"``, i.e. laid over black);
        ``orientation`` (the EXIF value that was undone; 1 is upright). Of DICOM also
        ``modality``, ``unit`` (``"HU"``), ``transfer_syntax``, ``n_padded``,
        ``n_missing_slices``, ``n_repeated_slices``. Nothing about the patient.

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
    source: Any,
    *,
    window: str | tuple[float, float] | None = None,
    scaling: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> MedicalImage:
    """Read one image, from wherever it is.

    DICOM, NIfTI (also gzipped), PNG, JPEG, TIFF, BMP and WebP are recognised by their
    content. A folder is read as a DICOM series, sorted by the slices' place in the
    patient; the pages of a TIFF are the planes of a volume. Grey images of up to 32
    bits keep every level; palettes, CMYK and YBR become RGB; an EXIF orientation is
    undone; transparent pixels are laid over black. Where small values are meant to be
    bright (``MONOCHROME1``), the image is inverted; where a scanner padded, it is
    black.

    Parameters
    ----------
    source : str, PathLike, bytes, file object, PIL image or ndarray
        The image. Arrays are (H, W), (D, H, W), (H, W, C) or (D, H, W, C): a last axis
        of 1, 3 or 4 is taken for the channels (grey; RGB; RGB and alpha).
    window : {"lung", "bone", "soft", "brain"}, (centre, width) or None, default=None
        Window of a grey image, in its own units; the names are in Hounsfield units:
        lung -600/1500, bone 400/1800, soft tissue 40/400, brain 40/80.
    scaling : str, default="auto"
        How values become intensities: ``"auto"``, ``"window"``, ``"percentile"``,
        ``"minmax"``, ``"zscore"``, ``"dtype"`` or ``"none"``.

        - ``"auto"``: `window` if given. Else CT in Hounsfield units from -1024 to 3071,
          the same for every scan (the windows that headers of CT propose differ from
          scan to scan and hide most of the range; pass the one that your question
          needs). Else the window or the table (VOI LUT) that the header proposes;
          else 8-bit and boolean pixels by their type, floats in [0, 1] as they are, and
          all others by their smallest and largest value: a 12-bit image neither
          saturates nor turns black.
        - ``"window"``: `window` if given, else that of the header; an image without a
          window is an error.
        - ``"percentile"``: from the 0.5th to the 99.5th percentile.
        - ``"minmax"``: from the smallest to the largest value.
        - ``"zscore"``: mean 0 and standard deviation 1; no longer in [0, 1].
        - ``"dtype"``: integers by the range that could be stored, floats as they are.
        - ``"none"``: values as they are, e.g. in Hounsfield units.
    max_pixels : int, default=89478485
        Images with more pixels per plane, or eight times as many in all planes, are
        refused before they are decoded. Above this default, Pillow's
        ``PIL.Image.MAX_IMAGE_PIXELS`` must be raised as well.

    Returns
    -------
    MedicalImage
        The pixels as float32, and what they mean.

    Raises
    ------
    ImageReadError
        If the image is absent, empty, damaged, too large or unknown, no decoder for it
        is installed, or the window does not fit it.
    TypeError
        If `source` is nothing that could hold an image.
    ValueError
        If `scaling` or `window` is unknown.

    Warns
    -----
    UserWarning
        If a series lacks slices or has some twice; if 16-bit colours lose depth.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import read_image
    >>> read_image(np.arange(4096, dtype=np.uint16).reshape(64, 64)).array.max()
    np.float32(1.0)
    >>> ct = np.array([[-1000, 40, 240]], dtype=np.int16)
    >>> read_image(ct, window="soft").array.tolist()
    [[0.0, 0.5, 1.0]]
    """
    return _read(source, window, scaling, max_pixels)


def read_bytes_image(source: Any, *, window: Any, scaling: str) -> MedicalImage:
    """Read an image as `read_image` does, but leave 8-bit pixels as they are stored.

    Where `scaling` takes them to [0, 1] by their type, the array stays ``uint8``: it is
    a quarter of the memory, and is resized several times faster. Dividing by 255 gives
    what `read_image` gives.
    """
    return _read(source, window, scaling, MAX_PIXELS, keep_bytes=True)


def _read(
    source: Any, window: Any, scaling: str, max_pixels: int, *, keep_bytes: bool = False
) -> MedicalImage:
    check_intensity(window, scaling)
    image = _checked(_decoded(source, max_pixels))
    image.metadata |= {"dtype": str(image.pixels.dtype)}
    is_plain = keep_bytes and is_byte_scaled(image, window, scaling)
    array = image.pixels if is_plain else scaled(image, window, scaling)
    return MedicalImage(
        array=array,
        axes=image.axes,
        spacing=image.spacing,
        photometric="rgb" if image.axes.endswith("C") else "grey",
        metadata=image.metadata,
    )


def content_digest(cell: Any, memo: Callable[[Any], str] | None = None) -> str:
    """Digest what a cell holds: equal content gives an equal digest.

    Files and bytes are digested as they are stored, folders by their files, arrays by
    dtype, shape and values, PIL images by what decides their pixels.

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
    >>> from skfusion.image.reading.read import content_digest
    >>> content_digest(b"abc")[:16]
    'ba7816bf8f01cfea'
    """
    if isinstance(cell, np.ndarray):
        if cell.dtype.hasobject:
            raise TypeError("An array of objects is no image; give a numeric array.")
        head = f"array {cell.dtype.str} {cell.shape} ".encode()
        digest = hashlib.sha256(head)
        digest.update(np.ascontiguousarray(cell).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()
    if is_pil(cell):
        return _digest_pil(cell)
    if is_folder(cell):
        # of all files and whatever their order: names do not matter to a series
        digests = sorted(content_digest(path, memo) for path in folder_files(cell))
        return hashlib.sha256(f"folder {digests}".encode()).hexdigest()
    if memo is not None and isinstance(cell, str | os.PathLike) and cell != "":
        try:
            return memo(cell)
        except FileReadError:
            with opened(cell):  # which says of an image what is wrong with its file
                raise
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


def _decoded(source: Any, max_pixels: int) -> Decoded:
    """Decode by whichever reader the content asks for."""
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if is_pil(source):
        return decode_pil(source, max_pixels)
    if is_folder(source):
        return decode_series(source, max_pixels)
    with opened(source) as handle:
        name = recognise(handle)
        if name == "DICOM":
            return decode_dicom(handle, max_pixels)
        if name in ("NIfTI", "gzip"):
            return decode_nifti(handle, max_pixels, compressed=name == "gzip")
        return decode_raster(handle, name, max_pixels)


def _from_array(pixels: np.ndarray) -> Decoded:
    """Tell planes from channels."""
    if pixels.dtype.kind not in "buif":
        raise ImageReadError(
            f"An array of dtype {pixels.dtype} is no image; expected booleans, "
            f"integers or floats."
        )
    metadata = {"format": "array", "mode": str(pixels.dtype)}
    if pixels.ndim > 2 and pixels.shape[-1] in (2, 5):  # no volume is so narrow
        raise ImageReadError(
            f"An array of shape {pixels.shape} has {pixels.shape[-1]} channels; "
            f"expected 1 (grey), 3 (RGB) or 4 (RGB and alpha), channels last."
        )
    has_channels = pixels.ndim in (3, 4) and pixels.shape[-1] in (1, 3, 4)
    if pixels.ndim not in (2, 3) and not (pixels.ndim == 4 and has_channels):
        raise ImageReadError(
            f"An array of shape {pixels.shape} is no image; expected (H, W), (D, H, W) "
            f"or one of these with 1, 3 or 4 channels last."
        )
    if has_channels and pixels.shape[-1] == 1:
        pixels, has_channels = pixels[..., 0], False
    axes = "ZYX"[-(pixels.ndim - has_channels) :] + ("C" if has_channels else "")
    return Decoded(pixels, axes, metadata=metadata)


def _checked(image: Decoded) -> Decoded:
    """Check the values; lay what is transparent over black."""
    pixels = image.pixels
    if pixels.size == 0:
        raise ImageReadError(f"The image holds no pixels: its shape is {pixels.shape}.")
    if pixels.dtype.kind == "f":
        n_bad = int(pixels.size - np.isfinite(pixels).sum())
        if n_bad:
            raise ImageReadError(
                f"The image holds {n_bad} NaN or infinite values of {pixels.size}; "
                f"replace them before reading."
            )
    image.metadata = {"alpha": "none", "orientation": 1, **image.metadata}
    if image.axes.endswith("C") and pixels.shape[-1] == 4:
        image.pixels, image.metadata["alpha"] = _flatten(pixels)
        if image.metadata["mode"] in ("L", "LA", "La"):  # grey with transparent parts
            image.pixels, image.axes = image.pixels[..., 0], image.axes[:-1]
    return image


def _flatten(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Lay RGBA over black; the type stays, and opaque pixels stay exact."""
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    opaque = 1 if pixels.dtype.kind in "bf" else np.iinfo(pixels.dtype).max
    if (alpha == opaque).all():
        return colour, "opaque"
    blended = colour.astype(np.float64) * (alpha / opaque)
    if pixels.dtype.kind != "f":
        blended = np.rint(blended)
    return blended.astype(pixels.dtype), "composited"
