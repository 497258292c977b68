"""Decoding of NIfTI and MGH files with nibabel's headers, plane by plane.

Volumes are arranged as a DICOM series of the same scan: in the plane of acquisition, in
radiological display (`skfusion.image.reading.geometry`).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import math
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError, as_read_errors, check_size
from skfusion.image.reading.geometry import slice_axis
from skfusion.image.reading.intensity import Decoded
from skfusion.image.reading.volumes import check_volume_index, new_volume, oriented

__all__ = [
    "as_gzip_errors",
    "decode_nibabel_image",
    "decode_nifti",
    "is_nibabel_image",
    "unpacked",
]


_HEADER_BYTES = 540  # of NIfTI-2, the longest of the headers
_CIFTI_INTENTS = range(3000, 3100)
_MILLIMETRES = {"micron": 1e-3, "meter": 1e3}  # other units are millimetres or unknown


def decode_nifti(
    handle: io.BufferedIOBase,
    max_pixels: int,
    *,
    compressed: bool,
    volume_index: int | None = None,
) -> Decoded:
    """Decode an open NIfTI-1, NIfTI-2 or MGH file.

    ``scl_slope`` and ``scl_inter`` are applied.

    Parameters
    ----------
    handle : binary file object
        At the start of the file.
    max_pixels : int
        Maximum number of pixels per plane. All planes together may have eight times
        as many.
    compressed : bool
        Whether the bytes are compressed with gzip.
    volume_index : int or None, default=None
        Which volume of an image with four dimensions to read, from 0.

    Returns
    -------
    Decoded
        Axes ``"ZYX"``, or ``"YX"`` for a single plane.

    Raises
    ------
    ImageReadError
        If the image has several volumes and `volume_index` is None, is damaged, or is
        in another format.
    """
    nibabel = require("nibabel", "images")
    with unpacked(handle) if compressed else contextlib.nullcontext(handle) as source:
        with as_gzip_errors(compressed):
            head = source.read(_HEADER_BYTES)
        kind = _kind(nibabel, head)
        with as_read_errors():
            header = kind.header_class.from_fileobj(io.BytesIO(head))
            layout = _layout(header, max_pixels, volume_index)
            is_mgh = kind is nibabel.MGHImage
            affine, slices = _placement(layout.shape, *_geometry(header, is_mgh))
            stream = _Stream(source, head, compressed)
            with as_gzip_errors(compressed):
                voxels, memory = _voxels(stream, layout, affine, slices)
            metadata = {
                "format": "MGH" if is_mgh else "NIfTI",
                "mode": str(layout.dtype),
                "unit": None,
            }
            image = Decoded(
                voxels, "ZYX", affine=affine, memory=memory, metadata=metadata
            )
            return oriented(image, slices=slices)


def is_nibabel_image(source: Any) -> bool:
    """Return whether an object is an image of nibabel, without importing it."""
    is_nibabel = type(source).__module__.partition(".")[0] == "nibabel"
    return is_nibabel and hasattr(source, "dataobj") and hasattr(source, "affine")


def decode_nibabel_image(
    image: Any, max_pixels: int, volume_index: int | None = None
) -> Decoded:
    """Decode an image object of nibabel, as a file with the same content."""
    with as_read_errors():
        shape = _spatial(image.shape, volume_index)
        check_size(shape[1], shape[0], shape[2], max_pixels)
        if np.dtype(image.get_data_dtype()).kind not in "buif":
            raise _no_grey_values()
        proxy = image.dataobj
        index: tuple[Any, ...] = (slice(None),) * min(3, len(image.shape))
        if len(image.shape) > 3:
            index += tuple(
                int(n)
                for n in np.unravel_index(volume_index or 0, image.shape[3:], order="F")
            )
        voxels = np.asarray(proxy[index]).reshape(shape).transpose(2, 1, 0)
        if voxels.dtype == np.float64:
            voxels = voxels.astype(np.float32)
        stated = None
        if hasattr(image.header, "get_dim_info"):
            stated = image.header.get_dim_info()[2]
        affine = np.eye(4) if image.affine is None else np.asarray(image.affine, float)
        metadata = {
            "format": "nibabel",
            "mode": str(image.get_data_dtype()),
            "unit": None,
        }
        affine, slices = _placement(voxels.shape[::-1], affine, stated)
        voxels = np.ascontiguousarray(voxels)
        image = Decoded(voxels, "ZYX", affine=affine, metadata=metadata)
        return oriented(image, slices=slices)


@dataclass(frozen=True)
class _Layout:
    """Where the voxels of a file lie and how they are stored."""

    shape: tuple[int, int, int]  # columns, rows and planes as stored: the first is fast
    dtype: np.dtype
    start: int  # byte of the first voxel of the volume
    slope: float
    shift: float


class _Stream:
    """Forward reading of a file whose first bytes have been read already."""

    def __init__(self, source: Any, head: bytes, compressed: bool) -> None:
        self._source = source
        self._head = head
        self._position = 0
        self._compressed = compressed

    def skip_to(self, start: int) -> None:
        """Move forward to a byte."""
        if not self._compressed and start >= len(self._head):
            self._source.seek(start)
            self._head, self._position = b"", start
        while self._position < start:
            if not self.read(min(start - self._position, 1 << 20)):
                raise ImageReadError("The image is truncated.")

    def read(self, n_bytes: int) -> bytes:
        """Read up to a number of bytes."""
        kept = self._head[self._position : self._position + n_bytes]
        rest = n_bytes - len(kept)
        found = kept + self._source.read(rest) if rest > 0 else kept
        self._position += len(found)
        return found


def _kind(nibabel: Any, head: bytes) -> Any:
    if head[344:347] == b"n+1":
        return nibabel.Nifti1Image
    if head[4:7] == b"n+2":
        return nibabel.Nifti2Image
    if head[:4] == b"\0\0\0\1":
        return nibabel.MGHImage
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise ImageReadError(
            "The NIfTI header has its voxels in a second file (.hdr and .img). Store "
            "both in one .nii file, e.g. with nibabel."
        )
    raise ImageReadError("The content is not a NIfTI or MGH file.")


def _layout(header: Any, max_pixels: int, volume_index: int | None) -> _Layout:
    # int() everywhere: products of the header's 16-bit numbers overflow.
    shape = tuple(int(length) for length in header.get_data_shape())
    if "intent_code" in header and int(header["intent_code"]) in _CIFTI_INTENTS:
        raise ImageReadError(
            "The NIfTI file is in CIFTI format: values on a surface of the brain, not "
            "an image. Pass them as numeric columns instead."
        )
    if len(shape) < 2:
        raise ImageReadError(
            f"The image has the shape {shape}; expected at least 2 dimensions."
        )
    spatial = _spatial(shape, volume_index)
    check_size(spatial[1], spatial[0], spatial[2], max_pixels)
    dtype = np.dtype(header.get_data_dtype())
    if dtype.kind not in "buif":
        raise _no_grey_values()
    if dtype.itemsize > 8:
        raise ImageReadError(
            f"The image contains {dtype} values; expected at most 64 bits per voxel."
        )
    n_bytes = math.prod(spatial) * dtype.itemsize
    first = max(0, int(header.get_data_offset()))
    slope, shift = _scale(header)
    return _Layout(
        shape=spatial,
        dtype=dtype,
        start=first + (volume_index or 0) * n_bytes,
        slope=slope,
        shift=shift,
    )


def _scale(header: Any) -> tuple[float, float]:
    """Return slope and intercept. A slope of 0 or NaN means that there are none."""
    if "scl_slope" not in header:  # MGH
        return 1.0, 0.0
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):
        return 1.0, 0.0
    return slope, shift if np.isfinite(shift) else 0.0


def _spatial(shape: tuple[int, ...], volume_index: int | None) -> tuple[int, int, int]:
    """Return the first three lengths, and check the index of the volume."""
    n_volumes = math.prod(int(length) for length in shape[3:])
    check_volume_index(
        n_volumes,
        volume_index,
        f"The image has the shape {tuple(int(n) for n in shape)}: its fourth dimension "
        "(time, directions or classes) is not part of a volume",
    )
    columns, rows, planes = (*(int(length) for length in shape[:3]), 1)[:3]
    return columns, rows, planes


def _no_grey_values() -> ImageReadError:
    return ImageReadError(
        "The image contains colours or complex numbers; expected grey values."
    )


def _voxels(
    stream: _Stream, layout: _Layout, affine: np.ndarray, slices: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the voxels of one volume as (planes, rows, columns), without a copy.

    Returns what `skfusion.image.reading.volumes.new_volume` does, filled in.
    """
    columns, rows, planes = layout.shape
    is_scaled = (layout.slope, layout.shift) != (1.0, 0.0)
    dtype = layout.dtype.newbyteorder("=")
    if is_scaled or dtype == np.float64:
        dtype = np.dtype(np.float32)
    shape = (planes, rows, columns)
    voxels, memory = new_volume(shape, dtype, affine, slices=slices)
    n_bytes = rows * columns * layout.dtype.itemsize
    stream.skip_to(layout.start)
    for plane in range(planes):
        content = stream.read(n_bytes)
        if len(content) < n_bytes:
            raise ImageReadError("The image is truncated.")
        stored = np.frombuffer(content, layout.dtype).reshape(rows, columns)
        if is_scaled:
            voxels[plane] = stored * layout.slope + layout.shift
        else:
            voxels[plane] = stored
    return voxels, memory


def _geometry(header: Any, is_mgh: bool) -> tuple[np.ndarray, int | None]:
    """Return the affine in mm, and the slice axis that the header states."""
    affine = np.asarray(_best_affine(header), dtype=float)
    if is_mgh:
        return affine, None
    affine = affine.copy()
    affine[:3] *= _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    return affine, header.get_dim_info()[2]


def _best_affine(header: Any) -> np.ndarray:
    """Return the first valid one of sform, qform and spacing of a header."""
    candidates = []
    if hasattr(header, "get_sform"):
        if int(header["sform_code"]) != 0:
            candidates.append(header.get_sform)
        if int(header["qform_code"]) != 0:
            candidates.append(header.get_qform)
        candidates.append(header.get_base_affine)
    else:
        candidates.append(header.get_affine)
    for candidate in candidates:
        with contextlib.suppress(Exception):  # of quaternions that are no rotation
            affine = np.asarray(candidate(), dtype=float)
            if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12:
                return affine
    return np.eye(4)


def _placement(
    shape: tuple[int, ...], affine: np.ndarray, stated: int | None
) -> tuple[np.ndarray, int]:
    """Return the affine and the slice axis of an array (planes, rows, columns).

    The given ones are for the axes (columns, rows, planes) of the file.
    """
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-12
    affine = affine if usable else np.eye(4)
    axis = _slice_axis(shape, affine, stated)
    return affine[:, [2, 1, 0, 3]], 2 - axis


def _slice_axis(shape: tuple[int, ...], affine: np.ndarray, stated: int | None) -> int:
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:  # a plane, along whichever axis it is stored
        return single[0]
    return slice_axis(affine, stated, default=2)


def unpacked(handle: io.BufferedIOBase) -> Any:
    """Open a file that is compressed with gzip, unpacking no more than is read.

    The package isal unpacks twice as fast as zlib and is used where it is installed.
    """
    library = "isal.igzip" if _has_isal() else "gzip"
    return importlib.import_module(library).GzipFile(fileobj=handle)


@functools.cache
def _has_isal() -> bool:
    return importlib.util.find_spec("isal") is not None


def _damages() -> tuple[type[Exception], ...]:
    """Return the errors of a stream that is not gzip behind its header."""
    isal = sys.modules.get("isal.isal_zlib")
    return (OSError, zlib.error, *(() if isal is None else (isal.error,)))


@contextlib.contextmanager
def as_gzip_errors(compressed: bool = True) -> Iterator[None]:
    """Convert the errors of truncated and damaged gzip streams to ImageReadError."""
    try:
        yield
    except EOFError:
        raise ImageReadError("The image is truncated.") from None
    except _damages():
        if not compressed:
            raise
        raise ImageReadError(
            "The image is damaged: it starts with a gzip header but cannot be unpacked."
        ) from None
