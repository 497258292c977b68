"""Interpretation of arrays, tensors and NPY files as images."""

from __future__ import annotations

import io
import math
import sys
from typing import Any

import numpy as np

from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.reading.files import (
    ImageReadError,
    as_read_errors,
    check_size,
)
from skfusion.image.reading.intensity import Decoded

__all__ = ["as_array", "decode_array", "decode_npy", "is_array"]


_CHANNELS = (1, 3, 4)  # grey, RGB, or RGB and alpha
_SMALLEST_PLANE = 17  # from this height and width, three planes are likely colours


def is_array(source: Any) -> bool:
    """Return whether an object is an array of numpy, or a tensor of torch."""
    return isinstance(source, np.ndarray) or _is_tensor(source)


def _is_tensor(source: Any) -> bool:
    torch = sys.modules.get("torch")  # imported if any tensor exists
    return torch is not None and isinstance(source, torch.Tensor)


def as_array(source: Any) -> np.ndarray:
    """Convert a tensor to an array with the channels last. Arrays are unchanged.

    Tensors of torch have their channels first: (C, H, W) or (C, D, H, W) with one,
    three or four channels.
    """
    if not _is_tensor(source):
        return source
    tensor = source.detach().cpu()
    if tensor.is_floating_point() and tensor.element_size() < 4:  # also bfloat16
        tensor = tensor.float()
    if tensor.is_sparse or tensor.is_quantized or tensor.is_complex():
        raise ImageReadError(
            f"Got a tensor of dtype {tensor.dtype} and layout {tensor.layout}; "
            "expected a dense tensor of booleans, integers or floats."
        )
    array = tensor.numpy()
    is_first = array.ndim in (3, 4) and array.shape[0] in _CHANNELS
    if is_first and not (array.shape[-1] in _CHANNELS and array.ndim == 3):
        return np.moveaxis(array, 0, -1)
    return array


def decode_array(source: Any) -> Decoded:
    """Infer the axes of an array: planes, rows, columns and channels.

    Parameters
    ----------
    source : ndarray or torch.Tensor
        (H, W), (D, H, W), (H, W, C) or (D, H, W, C), for a tensor with the channels
        first. C is 1, 3 or 4.

    Returns
    -------
    Decoded

    Raises
    ------
    ImageReadError
        If the dtype or the shape is not that of an image.

    Warns
    -----
    DataWarning
        If three planes of an array are probably the channels of a colour image.
    """
    pixels = as_array(source)
    if pixels.dtype.kind not in "buif":
        raise ImageReadError(
            f"Got an array of dtype {pixels.dtype}; expected booleans, integers or "
            f"floats."
        )
    metadata = {"format": "array", "mode": str(pixels.dtype), "unit": None}
    if pixels.ndim > 2 and pixels.shape[-1] in (2, 5):  # too narrow for a volume
        raise ImageReadError(
            f"Got an array of shape {pixels.shape} with {pixels.shape[-1]} channels; "
            f"expected 1 (grey), 3 (RGB) or 4 (RGB and alpha), channels last."
        )
    has_channels = pixels.ndim in (3, 4) and pixels.shape[-1] in _CHANNELS
    if pixels.ndim not in (2, 3) and not (pixels.ndim == 4 and has_channels):
        remedy = ""
        if pixels.ndim == 4 and pixels.shape[0] in _CHANNELS:
            remedy = " Move its channels to the end: numpy.moveaxis(array, 0, -1)."
        raise ImageReadError(
            f"Got an array of shape {pixels.shape}; expected (H, W), (D, H, W) or one "
            f"of these with 1, 3 or 4 channels last.{remedy}"
        )
    _warn_channels_first(pixels, has_channels)
    if has_channels and pixels.shape[-1] == 1:
        pixels, has_channels = pixels[..., 0], False
    axes = "ZYX"[-(pixels.ndim - has_channels) :] + ("C" if has_channels else "")
    return Decoded(pixels, axes, metadata=metadata)


def _warn_channels_first(pixels: np.ndarray, has_channels: bool) -> None:
    if (
        pixels.ndim == 3
        and not has_channels
        and pixels.shape[0] in (3, 4)
        and min(pixels.shape[1:]) >= _SMALLEST_PLANE
    ):
        warn_user(
            f"An array of shape {pixels.shape} is read as {pixels.shape[0]} grey "
            "slices of a volume. If its first axis is the channels of a colour image, "
            "move it to the end: numpy.moveaxis(array, 0, -1). If it is a volume, pass "
            "a list of its planes.",
            DataWarning,
        )


def decode_npy(handle: io.BufferedIOBase, max_pixels: int) -> Decoded:
    """Decode an open NPY file. Pickled objects in it are never loaded."""
    start = handle.tell()
    with as_read_errors():
        version = np.lib.format.read_magic(handle)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ImageReadError(
                f"The NPY file has version {version[0]}.{version[1]}; expected 1.0 or "
                "2.0. Save it again with numpy.save."
            )
        shape, _, dtype = read_header(handle)
        if dtype.hasobject:
            raise ImageReadError(
                "The NPY file contains Python objects, which can execute code and are "
                "not read. Save a numeric array."
            )
        _check_shape(tuple(int(length) for length in shape), max_pixels)
        handle.seek(start)
        pixels = np.load(handle, allow_pickle=False)
    image = decode_array(pixels)
    image.metadata |= {"format": "NPY"}
    return image


def _check_shape(shape: tuple[int, ...], max_pixels: int) -> None:
    if len(shape) < 2:
        return  # `decode_array` raises the error
    has_channels = len(shape) > 2 and shape[-1] in _CHANNELS
    height, width = shape[-3:-1] if has_channels else shape[-2:]
    n_planes = math.prod(shape) // max(height * width, 1)
    check_size(height, width, n_planes, max_pixels)
