"""Decoding of NIfTI files with nibabel, in the orientation of a DICOM series."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError, as_read_errors, check_size
from skfusion.image.reading.intensity import Decoded

__all__ = ["decode_nifti"]


_HEADER_BYTES = 540  # of NIfTI-2, whose header is longer than that of NIfTI-1


def decode_nifti(
    handle: io.BufferedIOBase, max_pixels: int, *, compressed: bool
) -> Decoded:
    """Decode an open NIfTI-1 or NIfTI-2 file.

    The affine determines the closest canonical orientation. The axes are then arranged
    as in a DICOM series: planes from foot to head, rows from front to back, columns
    from the patient's right to the left. ``scl_slope`` and ``scl_inter`` are applied.

    Parameters
    ----------
    handle : binary file object
        At the start of the file.
    max_pixels : int
        Maximum number of pixels per plane. All planes together may have eight times
        as many.
    compressed : bool
        Whether the bytes are compressed with gzip.

    Returns
    -------
    Decoded
        Axes ``"ZYX"``, or ``"YX"`` for a single plane.

    Raises
    ------
    ImageReadError
        If the volume has a fourth dimension, is damaged, or is not a NIfTI file.
    """
    nibabel = require("nibabel", "images")
    with _unpacked(handle) if compressed else contextlib.nullcontext(handle) as source:
        with _as_nifti_errors(compressed):
            head = source.read(_HEADER_BYTES)
        kind = _kind(nibabel, head)
        with as_read_errors():
            header = kind.header_class.from_fileobj(io.BytesIO(head))
            n_values = _checked_shape(header, max_pixels)
            n_bytes = int(header["vox_offset"]) + n_values * header["bitpix"] // 8
            with _as_nifti_errors(compressed):
                content = head + source.read(max(0, int(n_bytes) - len(head)))
            if len(content) < n_bytes:
                raise ImageReadError("The image is truncated.")
            volume = nibabel.as_closest_canonical(kind.from_bytes(content))
            return _decoded(volume)


def _kind(nibabel: Any, head: bytes) -> Any:
    if head[344:347] == b"n+1":
        return nibabel.Nifti1Image
    if head[4:7] == b"n+2":
        return nibabel.Nifti2Image
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise ImageReadError(
            "The NIfTI header has its voxels in a second file (.hdr and .img). Store "
            "both in one .nii file, e.g. with nibabel."
        )
    raise ImageReadError(
        "The content is compressed with gzip but is not a NIfTI file. Unpack it first."
    )


def _checked_shape(header: Any, max_pixels: int) -> int:
    shape = tuple(int(length) for length in header.get_data_shape())
    if any(length != 1 for length in shape[3:]):
        raise ImageReadError(
            f"The NIfTI image has the shape {shape}: its fourth dimension (time, "
            f"directions or classes) is not part of a volume. Split it, e.g. with "
            f"nibabel.four_to_three, and pass the volumes to be used, one or a list."
        )
    if len(shape) < 2:
        raise ImageReadError(
            f"The NIfTI image has the shape {shape}; expected at least 2 dimensions."
        )
    width, height, n_planes = (*shape[:3], 1)[:3]
    check_size(height, width, n_planes, max_pixels)
    return width * height * n_planes


def _decoded(volume: Any) -> Decoded:
    proxy = volume.dataobj
    if np.dtype(volume.get_data_dtype()).fields or volume.get_data_dtype() == "c":
        raise ImageReadError(
            "The NIfTI image contains colours or complex numbers; expected grey values."
        )
    raw = np.asarray(proxy)  # scaled if the header contains a scale, else as stored
    if raw.dtype == np.float64:
        raw = raw.astype(np.float32)
    raw = raw.reshape((*raw.shape, 1)[:3])
    pixels = np.ascontiguousarray(raw[::-1, ::-1].transpose(2, 1, 0))
    zooms = [float(zoom) for zoom in volume.header.get_zooms()[: raw.ndim]]
    spacing = tuple((*zooms, 1.0)[:3][::-1])
    metadata = {"format": "NIfTI", "mode": str(volume.get_data_dtype()), "unit": None}
    if pixels.shape[0] == 1:
        return Decoded(pixels[0], "YX", spacing[1:], metadata=metadata)
    return Decoded(pixels, "ZYX", spacing, metadata=metadata)


def _unpacked(handle: io.BufferedIOBase) -> Any:
    # GzipFile.read(n) unpacks no more than n bytes.
    return gzip.GzipFile(fileobj=handle)


@contextlib.contextmanager
def _as_nifti_errors(compressed: bool) -> Iterator[None]:
    try:
        yield
    except EOFError:
        raise ImageReadError("The image is truncated.") from None
    except (OSError, zlib.error):
        if not compressed:
            raise
        raise ImageReadError(
            "The image is damaged: it starts with a gzip header but cannot be unpacked."
        ) from None
