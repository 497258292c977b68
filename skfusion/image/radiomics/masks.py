"""Reading of segmentation masks: stored values, one rule for background, and position.

A mask is not a picture. Its values are not rescaled, inverted, windowed or looked up in
a palette, and its padding is not filled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.geometry import apply_orientation
from skfusion.image.reading.intensity import Decoded
from skfusion.image.reading.read import MedicalImage, decoded

__all__ = ["read_mask"]


_NEAR = 16  # grey levels around 0 and 255 that lossy compression reaches
_FEW = 0.05  # share of pixels between them, at the edge of the region
_TOLERANCE = 0.5  # voxels by which a mask may lie beside its image


def read_mask(source: Any, image: MedicalImage, *, max_pixels: int) -> np.ndarray:
    """Read the mask of an image, in the arrangement of the image.

    Parameters
    ----------
    source : image cell
        As in `skfusion.read_image`. Positive values mark the region.
    image : MedicalImage
        The image that the mask belongs to.
    max_pixels : int
        As in `skfusion.read_image`.

    Returns
    -------
    ndarray of bool, of the spatial shape of the image

    Raises
    ------
    ImageReadError
        If the mask cannot be read, marks nothing, or has another shape or position
        than the image.

    Warns
    -----
    DataWarning
        If the mask was compressed with loss, if its background is not 0, or if it does
        not state its position although its image was rearranged.
    """
    stored = decoded(source, max_pixels, as_stored=True)
    marked = _marked(stored)
    n_spatial = 2 if image.axes[0] == "Y" else 3
    marked = _arranged(marked, stored, image, n_spatial)
    shape = image.array.shape[:n_spatial]
    if marked.shape != shape:
        raise ImageReadError(
            f"The mask has the shape {marked.shape} and the image {shape}; expected "
            "the same shape."
        )
    _check_position(stored, image, n_spatial)
    if not marked.any():
        raise ImageReadError("The mask marks no pixel.")
    return marked


def _marked(stored: Decoded) -> np.ndarray:
    """Return which pixels belong to the region."""
    values = stored.pixels
    if stored.axes.endswith("C"):
        if values.shape[-1] == 4:  # transparent pixels are background
            values = np.where(values[..., 3:] > 0, values[..., :3], 0)
        values = values.max(axis=-1)
    if values.dtype == bool:
        return values
    low, high = values.min(), values.max()
    if _is_smeared(values, stored):
        middle = (float(low) + float(high)) / 2
        _warn(
            "has intermediate values as after lossy compression or resizing. It is "
            f"divided at {middle:g}, half of its range"
        )
        return values > middle
    if low >= 0 and (low == 0 or low == high):
        return values > 0
    if high > 0 and low < 0:
        n_negative = int((values < 0).sum())
        _warn(f"has {n_negative} negative values, which count as background")
        return values > 0
    _warn(f"has no pixel of value 0. Its smallest value ({low:g}) counts as background")
    return values > low


def _is_smeared(values: np.ndarray, stored: Decoded) -> bool:
    """Return whether a mask of two levels was stored with intermediate values."""
    if values.dtype.kind not in "iu" or values.max() <= 127 or values.max() > 255:
        return False
    counts = np.bincount(values.reshape(-1).clip(0), minlength=256)
    n_levels = np.count_nonzero(counts)
    if n_levels <= (2 if stored.metadata.get("lossy") else 4):  # labels, not noise
        return False
    between = counts[_NEAR : 256 - _NEAR].sum() / values.size
    beside = counts[1:_NEAR].sum() + counts[256 - _NEAR : 255].sum()
    is_lossy = bool(stored.metadata.get("lossy"))
    return is_lossy or (between < _FEW and beside > 0)


def _arranged(
    marked: np.ndarray, stored: Decoded, image: MedicalImage, n_spatial: int
) -> np.ndarray:
    """Arrange a mask without a position as its image was."""
    orientation = image.arrangement
    if stored.affine is not None or orientation is None or orientation.is_identity:
        return marked
    volume = marked[None] if n_spatial == 2 and marked.ndim == 2 else marked
    if volume.ndim != 3:
        return marked
    _warn(
        "does not state its position, and its image was rearranged for display. The "
        "mask is rearranged alike, as if it were stored in the order of the image file"
    )
    moved = apply_orientation(volume, orientation)
    return moved[0] if n_spatial == 2 and len(moved) == 1 else moved


def _check_position(stored: Decoded, image: MedicalImage, n_spatial: int) -> None:
    """Check that mask and image lie at the same place, if both state it."""
    if stored.affine is None or image.affine is None:
        if stored.spacing is not None and image.spacing is not None:
            _check_spacing(stored.spacing, image.spacing)
        return
    lengths = (1, *image.array.shape[:2]) if n_spatial == 2 else image.array.shape[:3]
    corners = np.array(
        [
            [i * (lengths[0] - 1), j * (lengths[1] - 1), k * (lengths[2] - 1), 1]
            for i in (0, 1)
            for j in (0, 1)
            for k in (0, 1)
        ]
    ).T
    apart = ((stored.affine - image.affine) @ corners)[:3]
    distance = float(np.linalg.norm(apart, axis=0).max())
    voxel = float(np.linalg.norm(image.affine[:3, 1:3], axis=0).min())
    if distance > _TOLERANCE * voxel:
        raise ImageReadError(
            f"The mask lies up to {distance:.1f} mm beside the image: their positions, "
            "orientations or spacings in the headers differ. Resample the mask to the "
            "grid of the image, or pass it as an array."
        )


def _check_spacing(mask: tuple[float, ...], image: tuple[float, ...]) -> None:
    if len(mask) == len(image) and not np.allclose(mask, image, rtol=0.01):
        raise ImageReadError(
            f"The mask has a spacing of {_listed(mask)} mm and the image of "
            f"{_listed(image)} mm. Resample the mask to the grid of the image."
        )


def _listed(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{step:g}" for step in spacing)


def _warn(what: str) -> None:
    warn_user(f"A mask {what}.", DataWarning)
