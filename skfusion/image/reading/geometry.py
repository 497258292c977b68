"""Orientation and position of images in the patient, by one rule for every format.

Positions are in millimetres in the RAS+ system of NIfTI: x increases to the right of
the patient, y to the front (anterior) and z to the head (superior). DICOM uses LPS+,
whose x and y have the opposite sign.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

__all__ = [
    "Orientation",
    "affine_of_planes",
    "apply_orientation",
    "lps_to_ras",
    "radiological_orientation",
    "slice_axis",
    "spacing_of",
    "to_radiological",
]


# For the anatomical axis (x, y, z) along which the slices follow each other: the
# anatomical axes of slices, rows and columns, and the signs of their directions in RAS.
# The planes are displayed as in radiology, and slices are ordered along the normal
# (columns x rows), as a DICOM series is.
_DISPLAY = {
    2: ((2, 1, 0), (1, -1, -1)),  # axial: foot to head; front to back; right to left
    0: ((0, 2, 1), (1, -1, -1)),  # sagittal: left to right; head to foot; front to back
    1: ((1, 2, 0), (-1, -1, -1)),  # coronal: front to back; head to foot; right to left
}
_ALIKE = 0.01  # relative difference of spacings that counts as equal
_THICK = 1.5  # an axis that is this much coarser than both others is the slice axis


@dataclass(frozen=True)
class Orientation:
    """Permutation and flips of the three spatial axes of an array.

    Attributes
    ----------
    order : tuple of three ints
        For each axis of the result (slices, rows, columns), the axis of the input.
    flips : tuple of three bools
        Whether each axis of the result is reversed.

    Examples
    --------
    >>> from skfusion.image.reading.geometry import Orientation
    >>> Orientation((0, 1, 2), (False, False, False)).is_identity
    True
    """

    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def is_identity(self) -> bool:
        """Whether an array stays unchanged."""
        return self.order == (0, 1, 2) and not any(self.flips)


def lps_to_ras(affine: np.ndarray) -> np.ndarray:
    """Convert an affine from the coordinates of DICOM and ITK to those of NIfTI."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def affine_of_planes(
    cosines: np.ndarray,
    first: np.ndarray,
    step: np.ndarray | None,
    spacing: tuple[float, float],
) -> np.ndarray:
    """Return the affine of DICOM planes, from indices (slice, row, column) to RAS mm.

    Parameters
    ----------
    cosines : ndarray of shape (6,)
        ImageOrientationPatient: directions of increasing column and row index in LPS.
    first : ndarray of shape (3,)
        ImagePositionPatient of the first plane in LPS, in mm.
    step : ndarray of shape (3,) or None
        Vector from a plane to the next in LPS, in mm. None uses 1 mm along the normal.
    spacing : tuple of two floats
        Distance of rows and of columns in mm.

    Returns
    -------
    ndarray of shape (4, 4)
    """
    along_row, along_column = cosines[:3], cosines[3:]
    affine = np.eye(4)
    affine[:3, 0] = np.cross(along_row, along_column) if step is None else step
    affine[:3, 1] = along_column * spacing[0]
    affine[:3, 2] = along_row * spacing[1]
    affine[:3, 3] = first
    return lps_to_ras(affine)


def slice_axis(
    affine: np.ndarray, stated: int | None = None, *, default: int = 0
) -> int:
    """Return the array axis along which the acquired slices follow each other.

    A format without this information, such as NIfTI, can be stored along any axis. A
    much coarser axis is the slice axis. Otherwise it is the `stated` one, or the one
    whose spacing differs from those of both others. The `default` is used for an
    isotropic volume.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.geometry import slice_axis
    >>> slice_axis(np.diag([0.5, 0.5, 4.0, 1.0]))
    2
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not (steps > 0).all():
        return default
    coarsest, second = np.argsort(steps)[::-1][:2]
    if steps[coarsest] >= _THICK * steps[second]:
        return int(coarsest)
    if stated is not None:
        return stated
    logs = np.log(steps)
    differences = np.abs(logs - np.median(logs))
    odd = int(differences.argmax())
    return odd if differences[odd] > _ALIKE else default


def radiological_orientation(affine: np.ndarray, slices: int) -> Orientation:
    """Return how to arrange an array as slices of planes in radiological display.

    Axial planes run from foot to head, with rows from front to back and columns from
    the patient's right to the left. Sagittal planes run from left to right, with rows
    from head to foot and columns from front to back. Coronal planes run from front to
    back, with rows from head to foot and columns from right to left. Oblique planes
    follow the closest of these. The plane of acquisition is kept.

    Parameters
    ----------
    affine : ndarray of shape (4, 4)
        From array indices to RAS mm.
    slices : int
        Array axis of the slices.

    Returns
    -------
    Orientation

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.geometry import radiological_orientation
    >>> radiological_orientation(np.eye(4), slices=2).order
    (2, 1, 0)
    """
    columns = affine[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    directions = columns / np.where(lengths > 0, lengths, 1)
    # anatomical[i] is the anatomical axis that is closest to array axis i.
    anatomical = max(
        itertools.permutations(range(3)),
        key=lambda axes: sum(abs(directions[axes[i], i]) for i in range(3)),
    )
    axes, signs = _DISPLAY[anatomical[slices]]
    order = tuple(anatomical.index(axis) for axis in axes)
    flips = tuple(
        bool(directions[axis, source] * sign < 0)
        for axis, source, sign in zip(axes, order, signs, strict=True)
    )
    return Orientation(order, flips)  # type: ignore[arg-type]


def apply_orientation(array: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Arrange the first three axes of an array, as a view."""
    extra = tuple(range(3, array.ndim))
    moved = array.transpose((*orientation.order, *extra))
    return moved[
        tuple(slice(None, None, -1 if flip else 1) for flip in orientation.flips)
    ]


def to_radiological(
    affine: np.ndarray, orientation: Orientation, shape: tuple[int, ...]
) -> np.ndarray:
    """Return the affine of an array after `apply_orientation`.

    Parameters
    ----------
    affine : ndarray of shape (4, 4)
        Of the array before.
    orientation : Orientation
        The arrangement.
    shape : tuple of three ints
        Of the array before.

    Returns
    -------
    ndarray of shape (4, 4)
    """
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for target, (source, flip) in enumerate(
        zip(orientation.order, orientation.flips, strict=True)
    ):
        change[source, target] = -1 if flip else 1
        change[source, 3] = shape[source] - 1 if flip else 0
    return affine @ change


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Return the distances of slices, rows and columns in mm.

    The distance of slices is measured along their normal, as they can be displaced
    within their plane (gantry tilt).

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.geometry import spacing_of
    >>> spacing_of(np.diag([4.0, 0.5, 0.5, 1.0]))
    (4.0, 0.5, 0.5)
    """
    step, down, across = affine[:3, 0], affine[:3, 1], affine[:3, 2]
    normal = np.cross(across, down)
    length = float(np.linalg.norm(normal))
    between = abs(float(step @ normal)) / length if length > 0 else 0.0
    return between, float(np.linalg.norm(down)), float(np.linalg.norm(across))
