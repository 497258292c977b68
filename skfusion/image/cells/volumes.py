"""Slice selection, resampling and pooling of volumes for 2.5-D and 3-D networks.

In the 2.5-D approach, a 2-D network processes single slices and its outputs are pooled,
as in PENet and Qiu et al. (both reviewed by Huang et al. 2020). In the 3-D approach, a
network processes the whole volume.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skfusion._validation import check_number, check_option
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.intensity import as_floats, check_intensity
from skfusion.image.reading.read import MedicalImage, ReadOptions, read_bytes_image

__all__ = ["Reading", "pool_slices", "resample", "select_slices"]


SELECTIONS = ("even", "largest")
VOLUMES = ("slices", "3d")
# Part of every store key. Increment it when the same cell is read as other pixels.
_VERSION = 3
# The settings in store keys, beside the scaling and the options of reading.
_KEY_SETTINGS = (
    *("window", "volume", "n_slices", "slice_selection", "slice_pooling"),
    "voxel_size",
)
_MAX_VOXELS = 1 << 29  # 2 GB: maximum size of a resampled volume


@dataclass(frozen=True)
class Reading:
    """Settings for reading a cell as the input of a network.

    Parameters
    ----------
    scaling, window
        As in `skfusion.read_image`.
    volume : {"slices", "3d"}, default="slices"
        Whether the network processes single slices of a volume or the whole.
    n_slices : int or None, default=16
        Number of slices of a volume to use. None uses all.
    slice_selection : {"even", "largest"}, default="even"
        As in `select_slices`.
    slice_pooling : {"mean", "max"} or int, default="mean"
        As in `pool_slices`.
    voxel_size : float or None, default=None
        Edge in mm of the cubic voxels after resampling. None does not resample.
    options : ReadOptions, default=ReadOptions()
        Further options of `skfusion.read_image`.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.cells.volumes import Reading
    >>> volume = np.repeat(np.arange(10, dtype=np.uint8), 64).reshape(10, 8, 8)
    >>> [int(p.array[0, 0]) for p in Reading(n_slices=2).planes(volume)]
    [2, 7]
    """

    scaling: str = "auto"
    window: Any = None
    volume: str = "slices"
    n_slices: int | None = 16
    slice_selection: str = "even"
    slice_pooling: str | int = "mean"
    voxel_size: float | None = None
    options: ReadOptions = ReadOptions()

    def check(self, owner: str) -> None:
        """Check the settings, with the estimator name `owner` in messages.

        Raises
        ------
        ValueError
            If a setting is unknown or contradicts another.
        """
        try:
            check_intensity(self.window, self.scaling)
        except ValueError as error:
            raise ValueError(f"{owner}: {error}") from None
        for name, allowed in (
            ("volume", VOLUMES),
            ("slice_selection", SELECTIONS),
        ):
            value = getattr(self, name)
            check_option(value, name, allowed, owner)
        pooling = self.slice_pooling
        if pooling not in ("mean", "max") and not _is_positive_integer(pooling):
            raise ValueError(
                f"{owner}: slice_pooling must be 'mean', 'max' or the number of "
                f"largest values to average, got {pooling!r}."
            )
        if self.n_slices is not None:
            check_number(
                self.n_slices, "n_slices", owner, low=1, integer=True, also="None"
            )
        if self.volume == "3d" and self.n_slices is None:
            raise ValueError(
                f"{owner}: volume='3d' needs a number of slices, got n_slices=None."
            )
        if self.voxel_size is not None:
            check_number(
                self.voxel_size,
                "voxel_size",
                owner,
                low=0,
                exclude_low=True,
                also="None",
            )

    @property
    def key(self) -> str:
        """Return the settings that determine the pixels, as part of store keys."""
        version = f" reading {_VERSION}{self.options.key}"
        plain = replace(self, options=ReadOptions())
        if plain == Reading(scaling=self.scaling):
            return self.scaling + version
        settings = ", ".join(
            f"{name}={getattr(self, name)!r}" for name in _KEY_SETTINGS
        )
        return f"{self.scaling} Reading(scaling='', {settings}){version}"

    def image(self, cell: Any) -> MedicalImage:
        """Read a cell, resampled if `voxel_size` is set, with 8-bit pixels kept."""
        image = read_bytes_image(
            cell, scaling=self.scaling, window=self.window, options=self.options
        )
        if self.voxel_size is not None and _n_planes(image) > 1:
            image = resample(image, self.voxel_size)
        return image

    def planes(self, cell: Any) -> list[MedicalImage]:
        """Read a cell as a list of planes for a 2-D network.

        Returns
        -------
        list of MedicalImage
            The image itself, or the selected slices of a volume.
        """
        image = self.image(cell)
        if _n_planes(image) == 1:
            return [image if image.axes[0] == "Y" else _plane(image, 0)]
        chosen = select_slices(image, self.n_slices, self.slice_selection)
        return [_plane(image, int(number)) for number in chosen]


def select_slices(
    image: MedicalImage, n_slices: int | None, selection: str = "even"
) -> np.ndarray:
    """Select slices of a volume.

    Parameters
    ----------
    image : MedicalImage
        Axes ``"ZYX"``, ``"TYX"`` or one of these in colour.
    n_slices : int or None
        Number of slices. None, or at least the number of slices of the volume,
        selects all.
    selection : {"even", "largest"}, default="even"
        ``"even"``: the middle slices of `n_slices` equal parts. ``"largest"``:
        neighbours of the slice in which most pixels are brighter than the mean of the
        volume, e.g. the slice with the largest area of a cropped lesion.

    Returns
    -------
    ndarray of int
        Indices of the slices, in ascending order.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion import read_image
    >>> from skfusion.image.cells.volumes import select_slices
    >>> image = read_image(np.zeros((9, 8, 8), dtype=np.uint8))
    >>> select_slices(image, 3)
    array([1, 4, 7])
    """
    depth = _n_planes(image)
    if n_slices is None or depth <= n_slices:
        return np.arange(depth)
    if selection == "even":
        return ((np.arange(n_slices) + 0.5) * depth / n_slices).astype(np.intp)
    bright = image.array > image.array.mean(dtype=np.float64)
    areas = bright.sum(axis=tuple(range(1, image.array.ndim)))
    first = int(areas.argmax()) - (n_slices - 1) // 2
    first = min(max(first, 0), depth - n_slices)
    return np.arange(first, first + n_slices)


def resample(image: MedicalImage, voxel_size: float) -> MedicalImage:
    """Resample a volume to cubic voxels, with antialiased linear interpolation.

    Parameters
    ----------
    image : MedicalImage
        A grey volume with a spacing.
    voxel_size : float
        Edge of the voxels in mm.

    Returns
    -------
    MedicalImage
        Volume of the same extent, up to half a voxel. `spacing` is the spacing that
        was reached.

    Raises
    ------
    ImageReadError
        If the volume has no spacing, is in colour, or would become too large.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image import MedicalImage
    >>> from skfusion.image.cells.volumes import resample
    >>> volume = MedicalImage(np.zeros((4, 8, 8), "f4"), "ZYX", (2.0, 0.5, 0.5), "grey")
    >>> resample(volume, 1.0).array.shape
    (8, 4, 4)
    """
    if image.axes != "ZYX" or image.spacing is None or len(image.spacing) != 3:
        raise ImageReadError(
            f"The volume cannot be resampled to {voxel_size} mm: expected a grey "
            f"volume whose header contains the distance of slices, rows and columns, "
            f"got axes {image.axes} and spacing {image.spacing}. Use "
            f"voxel_size=None."
        )
    places = _slice_places(image)
    extent = [
        n * step for n, step in zip(image.array.shape, image.spacing, strict=True)
    ]
    if places is not None:
        extent[0] = float(places[-1]) + float(np.diff(places)[[0, -1]].mean())
    wanted = [max(1, round(length / voxel_size)) for length in extent]
    if np.prod([float(n) for n in wanted]) > _MAX_VOXELS:
        raise ImageReadError(
            f"The volume would have {' x '.join(map(str, wanted))} voxels of "
            f"{voxel_size} mm, more than {_MAX_VOXELS}. Increase voxel_size."
        )
    array = as_floats(image.array)
    if places is not None:
        array = _at_even_distances(array, places, wanted[0], extent[0])
    for axis, length in enumerate(wanted):
        array = _resized(array, axis, length)
    spacing = tuple(side / n for side, n in zip(extent, wanted, strict=True))
    return replace(
        image, array=np.ascontiguousarray(array), spacing=spacing, affine=None
    )


def _slice_places(image: MedicalImage) -> np.ndarray | None:
    """Return the positions of slices in mm if their distances vary, else None."""
    if not image.metadata.get("steps_vary"):
        return None
    return np.array(image.metadata["slice_positions"])


def _at_even_distances(
    array: np.ndarray, places: np.ndarray, length: int, extent: float
) -> np.ndarray:
    """Interpolate slices at uneven positions linearly at even ones.

    The first half of the first step lies before the first slice. Where the slices are
    closer than the new distance, all slices in reach are averaged, each with the weight
    of the part of the body that it covers.
    """
    steps = np.diff(places)
    step = extent / length
    centres = (np.arange(length) + 0.5) * step - steps[0] / 2
    centres = np.clip(centres, places[0], places[-1])
    covered = np.convolve(np.concatenate([steps[:1], steps, steps[-1:]]), [0.5, 0.5])
    covered = covered[1:-1]
    weights = np.zeros((length, len(places)))
    for row, centre in enumerate(centres):
        right = int(np.clip(np.searchsorted(places, centre), 1, len(places) - 1))
        gap = steps[right - 1]
        if gap >= step:
            share = (centre - places[right - 1]) / gap
            weights[row, right - 1 : right + 1] = 1 - share, share
        else:
            reach = np.clip(1 - np.abs(places - centre) / step, 0, None)
            weights[row] = reach * covered
    weights /= weights.sum(axis=1, keepdims=True)
    return np.tensordot(weights.astype(np.float32), array, axes=(1, 0))


def _resized(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Resize along one axis with a triangular kernel as wide as the coarser grid.

    Pillow and torch use the same kernel in their antialiased bilinear resize.
    """
    n_before = array.shape[axis]
    if n_before == length:
        return array
    scale = n_before / length
    support = max(scale, 1.0)
    centres = (np.arange(length) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(n_before)[None] - centres[:, None]) / support
    weights = np.clip(1 - distance, 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    moved = np.tensordot(weights.astype(np.float32), array, axes=(1, axis))
    return np.moveaxis(moved, 0, axis)


def pool_slices(values: np.ndarray, pooling: str | int) -> np.ndarray:
    """Pool the outputs of a network for the slices of one volume.

    Parameters
    ----------
    values : ndarray of shape (n_slices, ...)
        One array per slice.
    pooling : {"mean", "max"} or int
        ``"max"`` is the pooling of PENet over its windows. A number averages that many
        of the largest values, separately for each feature.

    Returns
    -------
    ndarray of shape (...)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.cells.volumes import pool_slices
    >>> pool_slices(np.array([[1.0, 8.0], [2.0, 4.0], [3.0, 0.0]]), 2)
    array([2.5, 6. ])
    """
    if len(values) == 1:
        return values[0]
    if pooling == "mean":
        return values.mean(axis=0)
    if pooling == "max":
        return values.max(axis=0)
    k = min(int(pooling), len(values))
    return np.partition(values, len(values) - k, axis=0)[-k:].mean(axis=0)


def _n_planes(image: MedicalImage) -> int:
    return 1 if image.axes[0] == "Y" else len(image.array)


def _plane(image: MedicalImage, number: int) -> MedicalImage:
    spacing = None if image.spacing is None else image.spacing[-2:]
    return replace(
        image,
        array=image.array[number],
        axes=image.axes[1:],
        spacing=spacing,
        affine=None,
    )


def _is_positive_integer(value: Any) -> bool:
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_integer and int(value) > 0
