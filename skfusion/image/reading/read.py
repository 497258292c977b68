"""Reading of one image as a float32 array with axes, spacing and metadata.

The content of a file determines its format, not the suffix of its name. Values are
clipped only by a window or by percentiles.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfusion._paths import FileReadError
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
    """Image array with its axes, voxel spacing and metadata.

    Attributes
    ----------
    array : ndarray, float32
        The pixels, scaled according to the arguments of `read_image`. Larger values
        are brighter. The axes are those in `axes`.
    axes : str
        ``"YX"``: one plane, rows then columns. ``"ZYX"``: planes that are neighbours
        in space. ``"TYX"``: planes whose positions are not known, such as the frames of
        a video. For a colour image, ``"C"`` (red, green, blue) is appended.
    spacing : tuple of float or None
        Distance between neighbouring pixels in mm, along those of the axes Z, Y and X
        that are present. None if the format does not measure anatomy. The print
        resolution in a PNG, JPEG or TIFF is not used as a spacing.
    photometric : str
        ``"grey"`` or ``"rgb"``.
    metadata : dict
        ``format``, ``mode`` (as stored), ``dtype`` and ``value_range`` (of the decoded
        values), ``scaling`` (as applied), ``limits`` (the values mapped to 0 and 1),
        ``saturated`` (the shares of pixels below and above them),
        ``alpha`` (``"none"``, ``"opaque"`` or ``"composited"``, i.e. over black),
        ``orientation`` (the EXIF value that was undone, 1 for upright). DICOM adds
        ``modality``, ``unit`` (``"HU"``), ``transfer_syntax``, ``n_padded``,
        ``n_missing_slices`` and ``n_repeated_slices``. No patient attributes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import read_image
    >>> image = read_image(np.array([[0, 51], [102, 255]], dtype=np.uint8))
    >>> image.axes, image.photometric, image.array.tolist()[0]
    ('YX', 'grey', [0.0, 0.20000000298023224])
    """

    __module__ = "skfusion.image"

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
    """Read an image from a path, bytes, a file object, a PIL image or an array.

    DICOM, NIfTI (also gzipped), PNG, JPEG, TIFF, BMP and WebP are recognised by their
    content. A folder is read as a DICOM series, sorted by the position of the slices
    in the patient. The pages of a TIFF are the planes of a volume.

    Grey images of up to 32 bits keep every level. Palettes, CMYK and YBR become RGB.
    An EXIF orientation is undone. Transparent pixels are composited over black. Images
    in which small values are bright (``MONOCHROME1``) are inverted. Padding of the
    scanner is black.

    Parameters
    ----------
    source : str, PathLike, bytes, file object, PIL image or ndarray
        The image. Arrays are (H, W), (D, H, W), (H, W, C) or (D, H, W, C). A last axis
        of length 1, 3 or 4 is interpreted as channels (grey, RGB, or RGB and alpha).
    window : {"lung", "bone", "soft", "brain"}, (centre, width) or None, default=None
        Window of a grey image, in its own units. The named windows are in Hounsfield
        units: lung -600/1500, bone 400/1800, soft tissue 40/400, brain 40/80.
    scaling : str, default="auto"
        How values become intensities: ``"auto"``, ``"window"``, ``"percentile"``,
        ``"minmax"``, ``"zscore"``, ``"dtype"`` or ``"none"``.

        - ``"auto"``: `window` if given. Otherwise CT in Hounsfield units is scaled
          from -1024 to 3071, the same for every scan. The windows in CT headers differ
          between scans and clip most of the range, so pass the window that your task
          needs. For other images, the window or table (VOI LUT) in the header is used.
          Without one, 8-bit and boolean pixels are scaled by their type, floats in
          [0, 1] are unchanged, and all others are scaled by their smallest and largest
          value. A 12-bit image is therefore neither saturated nor black.
        - ``"window"``: `window` if given, else that of the header. An image without a
          window raises an error.
        - ``"percentile"``: from the 0.5th to the 99.5th percentile.
        - ``"minmax"``: from the smallest to the largest value.
        - ``"zscore"``: mean 0 and standard deviation 1, not limited to [0, 1].
        - ``"dtype"``: integers by the range of the stored type, floats unchanged.
        - ``"none"``: values unchanged, e.g. in Hounsfield units.
    max_pixels : int, default=89478485
        Images with more pixels per plane, or eight times as many in all planes, are
        rejected before decoding. Above this default, Pillow's
        ``PIL.Image.MAX_IMAGE_PIXELS`` must be raised as well.

    Returns
    -------
    MedicalImage
        The pixels as float32, with axes, spacing and metadata.

    Raises
    ------
    ImageReadError
        If the image is missing, empty, damaged, too large or of an unknown format, if
        no decoder for it is installed, or if the window is not valid for it.
    TypeError
        If `source` has a type that cannot contain an image.
    ValueError
        If `scaling` or `window` is unknown.

    Warns
    -----
    UserWarning
        If a series has missing or duplicate slices, or if 16-bit colours lose depth.

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
    """Read an image as `read_image` does, but keep 8-bit pixels as stored.

    If `scaling` only maps the pixels to [0, 1] by their type, the array stays
    ``uint8``. It needs a quarter of the memory and is resized several times faster.
    Division by 255 gives the result of `read_image`.
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
    """Compute a digest of the content of a cell, equal for equal content.

    Files and bytes are digested as stored, folders by their files, arrays by dtype,
    shape and values, and PIL images by all attributes that determine their pixels.

    Parameters
    ----------
    cell : str, PathLike, bytes, file object, PIL image or ndarray
        An image that is not missing.
    memo : callable or None, default=None
        Called with a path instead of reading the file, e.g.
        `EmbeddingStore.digest_file`, which caches the digests of files.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.

    Raises
    ------
    ImageReadError
        If the cell or file is missing, or the file cannot be read.
    TypeError
        If the cell has a type that cannot contain an image.

    Examples
    --------
    >>> from skfusion.image.reading.read import content_digest
    >>> content_digest(b"abc")[:16]
    'ba7816bf8f01cfea'
    """
    if isinstance(cell, np.ndarray):
        if cell.dtype.hasobject:
            raise TypeError("Got an array of objects; expected a numeric array.")
        head = f"array {cell.dtype.str} {cell.shape} ".encode()
        digest = hashlib.sha256(head)
        digest.update(np.ascontiguousarray(cell).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()
    if is_pil(cell):
        return _digest_pil(cell)
    if is_folder(cell):
        # Sorted digests, because file names do not matter to a series.
        digests = sorted(content_digest(path, memo) for path in folder_files(cell))
        return hashlib.sha256(f"folder {digests}".encode()).hexdigest()
    if memo is not None and isinstance(cell, str | os.PathLike) and cell != "":
        try:
            return memo(cell)
        except FileReadError:
            with opened(cell):  # raises an error that describes the problem of the file
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
            image.getexif().get(EXIF_ORIENTATION),  # undone by `read_image`
        )
    return hashlib.sha256(f"PIL {describe} ".encode() + content).hexdigest()


def _decoded(source: Any, max_pixels: int) -> Decoded:
    """Decode an image with the reader for its format."""
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
    """Infer the axes of an array: planes, rows, columns and channels."""
    if pixels.dtype.kind not in "buif":
        raise ImageReadError(
            f"Got an array of dtype {pixels.dtype}; expected booleans, integers or "
            f"floats."
        )
    metadata = {"format": "array", "mode": str(pixels.dtype)}
    if pixels.ndim > 2 and pixels.shape[-1] in (2, 5):  # too narrow for a volume
        raise ImageReadError(
            f"Got an array of shape {pixels.shape} with {pixels.shape[-1]} channels; "
            f"expected 1 (grey), 3 (RGB) or 4 (RGB and alpha), channels last."
        )
    has_channels = pixels.ndim in (3, 4) and pixels.shape[-1] in (1, 3, 4)
    if pixels.ndim not in (2, 3) and not (pixels.ndim == 4 and has_channels):
        raise ImageReadError(
            f"Got an array of shape {pixels.shape}; expected (H, W), (D, H, W) or one "
            f"of these with 1, 3 or 4 channels last."
        )
    if has_channels and pixels.shape[-1] == 1:
        pixels, has_channels = pixels[..., 0], False
    axes = "ZYX"[-(pixels.ndim - has_channels) :] + ("C" if has_channels else "")
    return Decoded(pixels, axes, metadata=metadata)


def _checked(image: Decoded) -> Decoded:
    """Check the values and composite transparent pixels over black."""
    pixels = image.pixels
    if pixels.size == 0:
        raise ImageReadError(f"The image has no pixels: its shape is {pixels.shape}.")
    if pixels.dtype.kind == "f":
        n_bad = int(pixels.size - np.isfinite(pixels).sum())
        if n_bad:
            raise ImageReadError(
                f"The image contains {n_bad} NaN or infinite values of {pixels.size}. "
                f"Replace them before reading."
            )
    image.metadata = {"alpha": "none", "orientation": 1, **image.metadata}
    if image.axes.endswith("C") and pixels.shape[-1] == 4:
        image.pixels, image.metadata["alpha"] = _flatten(pixels)
        if image.metadata["mode"] in ("L", "LA", "La"):  # grey with transparency
            image.pixels, image.axes = image.pixels[..., 0], image.axes[:-1]
    return image


def _flatten(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Composite RGBA over black, with the same dtype and exact opaque pixels."""
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    opaque = 1 if pixels.dtype.kind in "bf" else np.iinfo(pixels.dtype).max
    if (alpha == opaque).all():
        return colour, "opaque"
    blended = colour.astype(np.float64) * (alpha / opaque)
    if pixels.dtype.kind != "f":
        blended = np.rint(blended)
    return blended.astype(pixels.dtype), "composited"
