"""Reading of one image as a float32 array with axes, spacing and metadata.

The content of a file determines its format, not the suffix of its name. Values are
clipped only by a window or by percentiles.
"""

from __future__ import annotations

import copy
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfusion._image_cells.recognition import is_url
from skfusion._paths import FileReadError
from skfusion._validation import check_number, check_option
from skfusion.image.reading.arrays import as_array, decode_array, decode_npy, is_array
from skfusion.image.reading.dicom import decode_dataset, is_dataset, open_dataset
from skfusion.image.reading.files import (
    MAX_PIXELS,
    MAX_PLANES,
    ImageReadError,
    as_memory_errors,
    as_read_errors,
    is_folder,
    is_pil,
    opened,
    recognise,
    unwrapped,
)
from skfusion.image.reading.geometry import Orientation
from skfusion.image.reading.intensity import (
    Decoded,
    blocks,
    check_intensity,
    is_byte_scaled,
    scaled,
)
from skfusion.image.reading.itk import decode_itk
from skfusion.image.reading.nifti import (
    as_gzip_errors,
    decode_nibabel_image,
    decode_nifti,
    is_nibabel_image,
    unpacked,
)
from skfusion.image.reading.raster import (
    EXIF_ORIENTATION,
    decode_pil,
    decode_raster,
    stored_pil,
    whole_pil,
)
from skfusion.image.reading.series import decode_series, folder_files
from skfusion.image.reading.tiff import decode_tiff
from skfusion.image.reading.volumes import check_volume_index

__all__ = [
    "ImageReadError",
    "MAX_PIXELS",
    "MedicalImage",
    "ReadOptions",
    "content_digest",
    "decoded",
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
    affine : ndarray of shape (4, 4) or None
        From array indices (plane, row, column, 1) to millimetres to the right, to the
        front and to the head of the patient (RAS+, as in NIfTI). For a single plane,
        the plane index is 0. None if the position is not known.
    arrangement : Orientation or None
        Permutation and flips of the stored axes for radiological display. None if the
        orientation in the patient is not known.
    metadata : dict
        ``format``, ``mode`` (as stored), ``dtype`` and ``value_range`` (of the decoded
        values), ``scaling`` (as applied), ``limits`` (the values mapped to 0 and 1),
        ``saturated`` (the shares of pixels below and above them),
        ``alpha`` (``"none"``, ``"opaque"`` or ``"composited"``, i.e. over black),
        ``orientation`` (the EXIF value that was undone, 1 for upright). DICOM adds
        ``modality``, ``unit`` (``"HU"``), ``transfer_syntax``, ``n_padded``,
        ``n_missing_slices``, ``n_repeated_slices``, ``slice_positions`` (distance of
        each slice from the first along their normal, in mm) and ``steps_vary``. No
        patient attributes.

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
    affine: np.ndarray | None = None
    arrangement: Orientation | None = None


NAN_OPTIONS = ("raise", "min")


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading that `skfusion.read_image` and the encoders share.

    Parameters
    ----------
    max_pixels, nan, volume_index
        As in `skfusion.read_image`.

    Examples
    --------
    >>> from skfusion.image.reading.read import ReadOptions
    >>> ReadOptions(nan="min").key
    " nan='min'"
    """

    max_pixels: int = MAX_PIXELS
    nan: str = "raise"
    volume_index: int | None = None

    @classmethod
    def from_params(cls, params: Any, owner: str) -> ReadOptions:
        """Check a dict of options, with the estimator name `owner` in messages."""
        given = {} if params is None else params
        known = tuple(cls.__dataclass_fields__)
        wrong = (
            [given]
            if not isinstance(given, dict)
            else [k for k in given if k not in known]
        )
        if wrong:
            raise ValueError(
                f"{owner}: read_params must be a dict with some of the keys {known}, "
                f"got {wrong[0]!r}."
            )
        options = cls(**given)
        options.check(owner)
        return options

    def check(self, owner: str) -> None:
        """Check the values of the options.

        Raises
        ------
        ValueError
            If a value is invalid.
        """
        check_option(self.nan, "nan", NAN_OPTIONS, owner)
        check_number(self.max_pixels, "max_pixels", owner, low=1, integer=True)
        if self.volume_index is not None:
            check_number(
                self.volume_index,
                "volume_index",
                owner,
                low=0,
                integer=True,
                also="None",
            )

    @property
    def key(self) -> str:
        """Return the options that determine the values, as part of store keys."""
        changed = [
            f" {name}={getattr(self, name)!r}"
            for name in ("nan", "volume_index")
            if getattr(self, name) != getattr(ReadOptions(), name)
        ]
        return "".join(changed)


def read_image(
    source: Any,
    *,
    window: str | tuple[float, float] | None = None,
    scaling: str = "auto",
    max_pixels: int = MAX_PIXELS,
    nan: str = "raise",
    volume_index: int | None = None,
) -> MedicalImage:
    """Read an image from a file, bytes, an array or an object of another library.

    DICOM, NIfTI, MGH, NRRD, MetaImage, NPY, PNG, JPEG, JPEG 2000, TIFF, BMP, GIF, WebP,
    AVIF and PGM are recognised by their content, also if compressed with gzip. A
    folder is read as a DICOM series, sorted by the position of the slices in the
    patient. The pages of a TIFF are the planes of a volume.

    Grey images of up to 32 bits keep every level. Palettes, CMYK and YBR become RGB.
    An EXIF orientation is undone. Transparent pixels are composited over black. Images
    in which small values are bright (``MONOCHROME1``) are inverted. Padding of the
    scanner is black.

    Images whose orientation in the patient is known have the same arrangement in every
    format: the planes are those of the acquisition, in radiological display. Axial
    planes run from foot to head, with rows from front to back and columns from the
    patient's right to the left. Sagittal planes run from left to right and coronal
    planes from front to back, with rows from head to foot.

    Parameters
    ----------
    source : path, URL, bytes, file object, array, tensor or image object
        The image. Arrays are (H, W), (D, H, W), (H, W, C) or (D, H, W, C). A last axis
        of length 1, 3 or 4 is interpreted as channels (grey, RGB, or RGB and alpha).
        Tensors of torch have their channels first. Objects are PIL images, pydicom
        Datasets, nibabel images, `zipfile.Path`, and dicts with the keys ``"bytes"``
        or ``"path"`` as in Hugging Face datasets. Relative paths start from the
        working directory. URLs are read with fsspec.
    window : {"lung", "bone", "soft", "brain"}, (centre, width) or None, default=None
        Window of a grey image, in its own units. The named windows are in Hounsfield
        units: lung -600/1500, bone 400/1800, soft tissue 40/400, brain 40/80.
    scaling : str, default="auto"
        How values become intensities: ``"auto"``, ``"window"``, ``"hounsfield"``,
        ``"percentile"``, ``"minmax"``, ``"zscore"``, ``"dtype"`` or ``"none"``.

        - ``"auto"``: `window` if given. Otherwise CT in Hounsfield units is scaled
          from -1024 to 3071, the same for every scan. The windows in CT headers differ
          between scans and clip most of the range, so pass the window that your task
          needs. For other images, the window or table (VOI LUT) in the header is used.
          Without one, 8-bit and boolean pixels are scaled by their type, floats in
          [0, 1] are unchanged, and all others are scaled by their smallest and largest
          value. A 12-bit image is therefore neither saturated nor black.
        - ``"window"``: `window` if given, else that of the header. An image without a
          window raises an error.
        - ``"hounsfield"``: from -1024 to 3071. Only DICOM states the unit of CT, so
          pass this for CT in other formats, e.g. NIfTI.
        - ``"percentile"``: from the 0.5th to the 99.5th percentile.
        - ``"minmax"``: from the smallest to the largest value.
        - ``"zscore"``: mean 0 and standard deviation 1, not limited to [0, 1].
        - ``"dtype"``: integers by the range of the stored type, floats unchanged.
        - ``"none"``: values unchanged, e.g. in Hounsfield units.
    max_pixels : int, default=89478485
        Images with more pixels per plane, or eight times as many in all planes, are
        rejected before decoding. Above this default, Pillow's
        ``PIL.Image.MAX_IMAGE_PIXELS`` must be raised as well.
    nan : {"raise", "min"}, default="raise"
        ``"min"`` treats NaN and infinite values as padding, which is black. They occur
        outside of the brain, for example, after resampling.
    volume_index : int or None, default=None
        Which volume to read, from 0, if there are several: times, directions or echoes
        in the fourth dimension of NIfTI, slices at the same positions, or several
        multi-frame files in a folder. None raises an error if there are several.

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
    DataWarning
        If a series has missing or duplicate slices or varying steps, if attributes of
        a DICOM header are unreadable or absent, if 16-bit colours lose depth, if the
        image is probably a CT in an unknown unit, if a window does not fit, or if
        channels are probably first.

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
    options = ReadOptions(max_pixels, nan, volume_index)
    options.check("read_image")
    return _read(source, window, scaling, options)


def read_bytes_image(
    source: Any,
    *,
    window: Any,
    scaling: str,
    options: ReadOptions = ReadOptions(),  # noqa: B008 (frozen)
) -> MedicalImage:
    """Read an image as `read_image` does, but keep 8-bit pixels as stored.

    If `scaling` only maps the pixels to [0, 1] by their type, the array stays
    ``uint8``. It needs a quarter of the memory and is resized several times faster.
    Division by 255 gives the result of `read_image`.
    """
    return _read(source, window, scaling, options, keep_bytes=True)


def _read(
    source: Any,
    window: Any,
    scaling: str,
    options: ReadOptions,
    *,
    keep_bytes: bool = False,
) -> MedicalImage:
    check_intensity(window, scaling)
    with as_memory_errors():
        image = decoded(source, options.max_pixels, volume_index=options.volume_index)
        image = _checked(image, options.nan)
        image.metadata |= {"dtype": str(image.pixels.dtype)}
        is_plain = keep_bytes and is_byte_scaled(image, window, scaling)
        array = image.pixels if is_plain else scaled(image, window, scaling)
    return MedicalImage(
        array=array,
        axes=image.axes,
        spacing=image.spacing,
        photometric="rgb" if image.axes.endswith("C") else "grey",
        metadata=image.metadata,
        affine=image.affine,
        arrangement=image.orientation,
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
    cell = unwrapped(cell)
    if is_array(cell):
        return _digest_array(as_array(cell))
    if is_pil(cell):
        return _digest_pil(cell)
    if is_dataset(cell):
        content = io.BytesIO()
        with as_read_errors():
            cell.save_as(content, enforce_file_format=False)
        return content_digest(content.getvalue())
    if is_nibabel_image(cell):
        get_dim_info = getattr(cell.header, "get_dim_info", None)
        dim_info = None if get_dim_info is None else get_dim_info()
        head = f"nibabel {np.asarray(cell.affine).tolist()} {dim_info}".encode()
        return hashlib.sha256(
            head + _digest_array(np.asarray(cell.dataobj)).encode()
        ).hexdigest()
    if is_folder(cell):
        # Sorted digests, because file names do not matter to a series.
        digests = sorted(content_digest(path, memo) for path in folder_files(cell))
        return hashlib.sha256(f"folder {digests}".encode()).hexdigest()
    is_path = isinstance(cell, str | os.PathLike) and cell != ""
    is_path = is_path and not (isinstance(cell, str) and is_url(cell))
    if memo is not None and is_path:
        try:
            return memo(cell)
        except FileReadError:
            with opened(cell):  # raises an error that describes the problem of the file
                raise
    with opened(cell) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _digest_array(array: np.ndarray) -> str:
    if array.dtype.hasobject:
        raise TypeError("Got an array of objects; expected a numeric array.")
    head = f"array {array.dtype.str} {array.shape} ".encode()
    digest = hashlib.sha256(head)
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _digest_pil(image: Any) -> str:
    whole_pil(image)
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


def decoded(
    source: Any,
    max_pixels: int,
    *,
    volume_index: int | None = None,
    as_stored: bool = False,
) -> Decoded:
    """Decode an image with the reader for its format or type.

    Parameters
    ----------
    source : image cell
        As in `read_image`.
    max_pixels, volume_index
        As in `read_image`.
    as_stored : bool, default=False
        Whether to return the stored values, e.g. of a mask: without rescale, padding,
        inversion, and with the indices of a palette.

    Returns
    -------
    Decoded
    """
    source = unwrapped(source)
    chosen = volume_index
    if is_array(source):
        return _single(chosen, lambda: decode_array(source))
    if is_pil(source):
        whole_pil(source)
        if as_stored:
            return stored_pil(source)
        return _single(chosen, lambda: decode_pil(source, max_pixels))
    if is_dataset(source):
        # The reader completes attributes, which must not change the user's object.
        return decode_dataset(
            copy.deepcopy(source), max_pixels, volume_index=chosen, as_stored=as_stored
        )
    if is_nibabel_image(source):
        return decode_nibabel_image(source, max_pixels, chosen)
    if is_folder(source):
        return decode_series(
            source, max_pixels, volume_index=chosen, as_stored=as_stored
        )
    path = source if isinstance(source, str | os.PathLike) else None
    with opened(source) as handle:
        name = recognise(handle)
        if name == "gzip":
            return _decode_gzip(handle, max_pixels, chosen, as_stored)
        return _decode_file(handle, name, max_pixels, chosen, as_stored, path)


def _decode_file(
    handle: Any,
    name: str,
    max_pixels: int,
    chosen: int | None,
    as_stored: bool,
    path: Any = None,
) -> Decoded:
    """Decode an open file of a known format."""
    if name == "DICOM":
        dataset = open_dataset(handle, max_pixels)
        return decode_dataset(
            dataset, max_pixels, volume_index=chosen, as_stored=as_stored
        )
    if name in ("NIfTI", "MGH"):
        return decode_nifti(handle, max_pixels, compressed=False, volume_index=chosen)
    if name in ("MetaImage", "NRRD"):
        return decode_itk(handle, name, max_pixels, path=path, volume_index=chosen)
    if name == "NPY":
        return _single(chosen, lambda: decode_npy(handle, max_pixels))
    if name == "TIFF":
        return decode_tiff(handle, max_pixels, chosen, as_stored=as_stored)
    return _single(
        chosen, lambda: decode_raster(handle, name, max_pixels, as_stored=as_stored)
    )


def _decode_gzip(
    handle: Any, max_pixels: int, chosen: int | None, as_stored: bool
) -> Decoded:
    """Decode a compressed file: NIfTI and MGH plane by plane, others as a whole."""
    start = handle.tell()
    with as_gzip_errors(), unpacked(handle) as inner:
        head = io.BytesIO(inner.read(1024))
    try:
        name = recognise(head)
    except ImageReadError as error:
        raise ImageReadError(
            f"In a file that is compressed with gzip: {error}"
        ) from None
    handle.seek(start)
    if name in ("NIfTI", "MGH"):
        return decode_nifti(handle, max_pixels, compressed=True, volume_index=chosen)
    if name == "gzip":
        raise ImageReadError("The image is compressed twice with gzip. Unpack it.")
    limit = MAX_PLANES * max_pixels * 8  # bytes of the widest pixels
    with as_gzip_errors(), unpacked(handle) as inner:
        content = inner.read(limit + 1)
    if len(content) > limit:
        raise ImageReadError(
            f"The compressed file unpacks to more than {limit} bytes (decompression "
            "bomb?). It was not read."
        )
    return _decode_file(io.BytesIO(content), name, max_pixels, chosen, as_stored)


def _single(volume_index: int | None, decode: Callable[[], Decoded]) -> Decoded:
    """Decode a format that contains one volume only."""
    check_volume_index(1, volume_index, "The image is one volume")
    return decode()


def _checked(image: Decoded, nan: str) -> Decoded:
    """Check the values and composite transparent pixels over black."""
    pixels = image.pixels
    if pixels.size == 0:
        raise ImageReadError(f"The image has no pixels: its shape is {pixels.shape}.")
    if pixels.dtype.kind == "f":
        _handle_nan(image, nan)
    image.metadata = {"alpha": "none", "orientation": 1, **image.metadata}
    if image.axes.endswith("C") and pixels.shape[-1] == 4:
        image.pixels, image.metadata["alpha"] = _flatten(pixels)
        if image.metadata["mode"] in ("L", "LA", "La"):  # grey with transparency
            image.pixels, image.axes = image.pixels[..., 0], image.axes[:-1]
    return image


def _handle_nan(image: Decoded, nan: str) -> None:
    finite = np.isfinite(image.pixels)
    n_bad = int(finite.size - finite.sum())
    if n_bad == 0:
        return
    is_usable = nan == "min" and n_bad < finite.size and not image.axes.endswith("C")
    if not is_usable:
        remedy = "Replace them before reading"
        if nan == "raise":
            remedy = "Pass nan='min' to treat them as background, or replace them"
        raise ImageReadError(
            f"The image contains {n_bad} NaN or infinite values of {finite.size}. "
            f"{remedy}."
        )
    image.valid = finite if image.valid is None else image.valid & finite
    image.pixels = np.where(finite, image.pixels, image.pixels[finite].min())
    image.metadata["n_padded"] = int(image.valid.size - image.valid.sum())


def _flatten(pixels: np.ndarray) -> tuple[np.ndarray, str]:
    """Composite RGBA over black, with the same dtype and exact opaque pixels."""
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    opaque = 1 if pixels.dtype.kind in "bf" else np.iinfo(pixels.dtype).max
    if (alpha == opaque).all():
        return colour, "opaque"
    blended = np.empty(colour.shape, dtype=pixels.dtype)
    for block in blocks(pixels.shape):
        part = colour[block].astype(np.float64) * (alpha[block] / opaque)
        blended[block] = part if pixels.dtype.kind == "f" else np.rint(part)
    return blended, "composited"
