"""Arrangement of volumes: radiological display, choice among several, slice steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from skfusion._validation import check_number
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.geometry import (
    Orientation,
    apply_orientation,
    radiological_orientation,
    spacing_of,
    to_radiological,
)
from skfusion.image.reading.intensity import Decoded

__all__ = ["check_volume_index", "new_volume", "oriented", "steps_vary"]


_VARIES = 0.02  # relative difference of the steps between slices that is reported


def check_volume_index(n_volumes: int, volume_index: Any, found: str) -> None:
    """Check the choice of a volume.

    Parameters
    ----------
    n_volumes : int
        Number of volumes of the image.
    volume_index : int or None
        The choice, from 0.
    found : str
        Description of an image with several volumes, for the message.

    Raises
    ------
    ImageReadError
        If there are several volumes and none is chosen, or if it does not exist.
    ValueError
        If `volume_index` is not an integer.
    """
    if volume_index is None:
        if n_volumes == 1:
            return
        raise ImageReadError(
            f"{found}. Choose one of its {n_volumes} volumes with "
            f"volume_index=0 to {n_volumes - 1}."
        )
    check_number(volume_index, "volume_index", "read_image", integer=True, also="None")
    if not 0 <= volume_index < n_volumes:
        raise ImageReadError(
            f"volume_index={volume_index} does not exist: the image has {n_volumes} "
            f"volume(s), expected 0 to {n_volumes - 1}."
        )


def new_volume(
    shape: tuple[int, int, int],
    dtype: np.dtype,
    affine: np.ndarray | None,
    *,
    slices: int = 0,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return memory for the pixels of a volume, which `oriented` need not copy.

    Parameters
    ----------
    shape : tuple of three ints
        Shape of the volume as stored.
    dtype : dtype
        Type of the pixels.
    affine : ndarray of shape (4, 4) or None
        From indices of the stored volume to RAS mm. None if it is not arranged.
    slices : int, default=0
        As in `oriented`.

    Returns
    -------
    pixels : ndarray of the shape and dtype
        Not initialised. A view of an array in radiological display.
    memory : ndarray of float32 or None
        As in `Decoded`. None for pixels of less than two or more than four bytes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.volumes import new_volume
    >>> pixels, memory = new_volume((2, 3, 4), np.dtype("int16"), np.eye(4))
    >>> pixels.shape, memory.shape
    ((2, 3, 4), (2, 4, 3))
    """
    orientation = Orientation((0, 1, 2), (False, False, False))
    if affine is not None:
        orientation = radiological_orientation(affine, slices)
    final = tuple(shape[axis] for axis in orientation.order)
    memory = None
    if 2 <= dtype.itemsize <= 4:
        memory = np.empty(final, dtype=np.float32)
        pixels = memory.reshape(-1).view(dtype)[-memory.size :].reshape(final)
    else:
        pixels = np.empty(final, dtype=dtype)
    flips = tuple(slice(None, None, -1 if flip else 1) for flip in orientation.flips)
    return pixels[flips].transpose(np.argsort(orientation.order)), memory


def oriented(image: Decoded, *, slices: int = 0) -> Decoded:
    """Arrange an image whose affine is known for radiological display.

    Parameters
    ----------
    image : Decoded
        With three spatial axes and an affine, changed in place.
    slices : int, default=0
        Array axis of the slices.

    Returns
    -------
    Decoded
        The image. A single plane loses its first axis.
    """
    assert image.affine is not None
    orientation = radiological_orientation(image.affine, slices)
    if not orientation.is_identity:
        shape = image.pixels.shape[:3]
        image.pixels = np.ascontiguousarray(
            apply_orientation(image.pixels, orientation)
        )
        if image.valid is not None:
            image.valid = np.ascontiguousarray(
                apply_orientation(image.valid, orientation)
            )
        image.affine = to_radiological(image.affine, orientation, shape)
        _reverse_positions(image, orientation.flips[0])
    image.orientation = orientation
    distances = spacing_of(image.affine)
    if image.spacing is None:
        image.spacing = distances
    elif orientation.order[1] != 1:  # rows and columns are exchanged
        image.spacing = (*image.spacing[:-2], image.spacing[-1], image.spacing[-2])
    if len(image.pixels) == 1:
        image.pixels = image.pixels[0]
        image.valid = None if image.valid is None else image.valid[0]
        image.axes = image.axes[1:]
        image.spacing = image.spacing[-2:]
    return image


def _reverse_positions(image: Decoded, is_reversed: bool) -> None:
    places = image.metadata.get("slice_positions")
    if places is not None and is_reversed:
        image.metadata["slice_positions"] = tuple(
            places[-1] - place for place in reversed(places)
        )


def steps_vary(positions: np.ndarray) -> bool:
    """Return whether the steps between slices differ by more than two percent.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.volumes import steps_vary
    >>> steps_vary(np.array([0.0, 4.0, 8.0, 15.0])), steps_vary(np.arange(4.0))
    (True, False)
    """
    steps = np.abs(np.diff(positions))
    return len(steps) > 1 and float(np.ptp(steps)) > _VARIES * float(np.median(steps))
