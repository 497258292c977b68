"""Lesion outlines of several readers: matching, diameter and rasterisation.

Contours are in mm, as polygons of one slice or as point clouds of one reader. The
functions do not depend on a database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from scipy.spatial.distance import pdist

__all__ = ["Contour", "diameter_mm", "draw_outlines", "group_readers", "signed_area"]

_SUBPIXELS = 4  # factor of the finer grid on which polygons are filled, then averaged


class Contour(NamedTuple):
    """Closed polygon that a reader drew on one axial slice.

    Attributes
    ----------
    z : float
        Position of the slice along the body axis, in mm.
    points : ndarray of shape (n_points, 2)
        Corners ``(x, y)`` in mm.
    inclusion : bool
        False if the polygon is a hole of the outline.
    """

    z: float
    points: NDArray[np.float64]
    inclusion: bool


def group_readers(
    clouds: Sequence[NDArray[np.float64]], tolerance_mm: float, max_readers: int = 4
) -> NDArray[np.intp]:
    """Group the outlines of one scan that show the same lesion.

    Two outlines are neighbours if the distance of their closest points is at most
    `tolerance_mm`. A lesion is a connected component of neighbours. A component with
    more outlines than readers consists of several touching lesions. It is split by
    average linkage of the centroids into the fewest parts of at most `max_readers`.

    Parameters
    ----------
    clouds : sequence of ndarray of shape (n_points, 3)
        The contour points of each outline, in mm.
    tolerance_mm : float
        Largest gap between two outlines of one lesion, in mm.
    max_readers : int, default=4
        Number of readers of the scan. Each reader outlines a lesion at most once.

    Returns
    -------
    ndarray of shape (n_clouds,)
        Group of each outline, numbered from 0 in the order of first appearance.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.datasets.outlines import group_readers
    >>> square = np.array([[0.0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]])
    >>> group_readers([square, square + 30, square + 1], tolerance_mm=2.0)
    array([0, 1, 0])
    """
    labels = connected_components(_neighbours(clouds, tolerance_mm), directed=False)[1]
    centroids = np.array([cloud.mean(axis=0) for cloud in clouds])
    groups = labels.astype(np.intp)
    for label in range(labels.max() + 1):
        rows = np.flatnonzero(labels == label)
        if len(rows) > max_readers:
            groups[rows] = groups.max() + 1 + _split(centroids[rows], max_readers)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first.argsort().argsort()[inverse]


def _neighbours(
    clouds: Sequence[NDArray[np.float64]], tolerance_mm: float
) -> NDArray[np.bool_]:
    low = np.array([cloud.min(axis=0) for cloud in clouds])
    high = np.array([cloud.max(axis=0) for cloud in clouds])
    # The gap between bounding boxes is a lower bound of the distance. It excludes
    # nearly all pairs of a scan before points are compared.
    gap = np.maximum(low[:, None] - high[None], low[None] - high[:, None]).clip(0)
    near = np.linalg.norm(gap, axis=-1) <= tolerance_mm
    trees: dict[int, KDTree] = {}
    bound = np.nextafter(tolerance_mm, np.inf)  # the tree's own bound is exclusive
    for i, j in np.argwhere(np.triu(near, 1)):
        if i not in trees:
            trees[i] = KDTree(clouds[i], balanced_tree=False, compact_nodes=False)
        # Most of these pairs are one lesion, so every eighth point is often sufficient.
        for points in (clouds[j][::8], clouds[j]):
            gaps = trees[i].query(points, distance_upper_bound=bound)[0]
            near[i, j] = near[j, i] = gaps.min() <= tolerance_mm
            if near[i, j]:
                break
    return near


def _split(centroids: NDArray[np.float64], max_size: int) -> NDArray[np.intp]:
    cuts = cut_tree(linkage(centroids, "average"))  # column k: n - k clusters
    for labels in cuts.T[::-1]:
        if np.bincount(labels).max() <= max_size:
            break
    return np.asarray(labels, dtype=np.intp)


def signed_area(contour: Contour) -> float:
    """Return the area of a polygon in mm² (shoelace formula), negative for a hole.

    Parameters
    ----------
    contour : Contour
        A polygon.

    Returns
    -------
    float
        Area in mm².

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.datasets.outlines import Contour, signed_area
    >>> corners = np.array([[0.0, 0], [3, 0], [3, 2], [0, 2]])
    >>> signed_area(Contour(0.0, corners, False))
    -6.0
    """
    x, y = contour.points.T - contour.points[0][:, None]  # the last term is then 0
    area = abs(float(x[:-1] @ y[1:] - y[:-1] @ x[1:])) / 2
    return area if contour.inclusion else -area


def diameter_mm(contours: Sequence[Contour]) -> float:
    """Return the largest extent of one reader's outline within a slice.

    Parameters
    ----------
    contours : sequence of Contour
        Contours of one lesion by one reader.

    Returns
    -------
    float
        Largest distance between two corners on the same slice, in mm.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.datasets.outlines import Contour, diameter_mm
    >>> diameter_mm([Contour(0.0, np.array([[0.0, 0], [3, 0], [3, 4]]), True)])
    5.0
    """
    slices: dict[float, list[NDArray[np.float64]]] = {}
    for contour in contours:
        slices.setdefault(contour.z, []).append(contour.points)
    corners = [np.vstack(parts) for parts in slices.values()]
    return max(float(pdist(c).max()) if len(c) > 1 else 0.0 for c in corners)


def draw_outlines(
    readers: Sequence[Sequence[Contour]], image_size: int, mm_per_pixel: float
) -> NDArray[np.uint8]:
    """Draw the agreement of readers on the slice in which a lesion is largest.

    Parameters
    ----------
    readers : sequence of sequences of Contour
        Contours of one lesion by each reader.
    image_size : int
        Height and width of the image, in pixels.
    mm_per_pixel : float
        Side of a pixel, in mm. Parts outside of the image are cropped.

    Returns
    -------
    ndarray of uint8, shape (image_size, image_size)
        255 times the share of readers whose outline covers the pixel. The image is
        centred on the bounding box of the outlines.

    Raises
    ------
    ValueError
        If the contours of all readers are holes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.datasets.outlines import Contour, draw_outlines
    >>> square = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])
    >>> draw_outlines([[Contour(0.0, square, True)], []], 4, mm_per_pixel=1.0)
    array([[  0,   0,   0,   0],
           [  0, 128, 128,   0],
           [  0, 128, 128,   0],
           [  0,   0,   0,   0]], dtype=uint8)
    """
    total_area: dict[float, float] = {}
    for contour in (c for contours in readers for c in contours):
        area = total_area.get(contour.z, 0.0)
        total_area[contour.z] = area + signed_area(contour)
    # For equal areas, use the lower slice. Rounding removes differences of summation.
    size = {z: (round(area, 6), -z) for z, area in total_area.items()}
    largest = max(size, key=size.__getitem__, default=None)
    drawn = [[c for c in contours if c.z == largest] for contours in readers]
    outer = [c.points for contours in drawn for c in contours if c.inclusion]
    if not outer:
        raise ValueError(
            f"No outline to draw: got {len(readers)} readers with {len(total_area)} "
            "slices, none with a contour that is not a hole. Exclude this lesion."
        )
    corners = np.vstack(outer)
    centre = (corners.min(axis=0) + corners.max(axis=0)) / 2
    agreement = np.zeros((image_size, image_size))
    for contours in drawn:
        covered = np.zeros((image_size, image_size))
        for contour in sorted(contours, key=lambda c: not c.inclusion):  # holes last
            pixels = (contour.points - centre) / mm_per_pixel + image_size / 2
            cover = _fill(pixels, image_size)
            if contour.inclusion:
                covered = np.maximum(covered, cover)
            else:
                covered = np.minimum(covered, 1 - cover)
        agreement += covered
    # Round half up. np.round would round half to even.
    return (agreement * (255 / len(readers)) + 0.5).astype(np.uint8)


def _fill(corners: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the share of each pixel that a polygon covers (even-odd rule)."""
    fine = size * _SUBPIXELS
    x0, y0 = corners.T * _SUBPIXELS
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    # An edge crosses the centre lines (row + 0.5) of the rows [first, last).
    first = np.ceil(np.minimum(y0, y1) - 0.5).clip(0, fine).astype(int)
    last = np.ceil(np.maximum(y0, y1) - 0.5).clip(0, fine).astype(int)
    n_rows = last - first
    edge = np.repeat(np.arange(len(corners)), n_rows)
    row = np.arange(len(edge)) - np.repeat(n_rows.cumsum() - n_rows, n_rows)
    row += first[edge]
    slope = (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
    crossing = x0[edge] + (row + 0.5 - y0[edge]) * slope
    column = np.ceil(crossing - 0.5).clip(0, fine).astype(int)

    share = np.zeros((size, size))
    if not len(edge):
        return share
    # Only the bounding box of the polygon is filled: most of an image is empty, and the
    # cumulative sum below dominates the run time.
    top, bottom = row.min() // _SUBPIXELS, row.max() // _SUBPIXELS + 1
    left, right = column.min() // _SUBPIXELS, -(-column.max() // _SUBPIXELS)
    height, width = bottom - top, right - left
    crossings = np.zeros((height * _SUBPIXELS, width * _SUBPIXELS + 1), dtype=np.int32)
    np.add.at(crossings, (row - top * _SUBPIXELS, column - left * _SUBPIXELS), 1)
    inside = crossings.cumsum(axis=1, dtype=np.int32)[:, :-1] & 1
    blocks = inside.reshape(height, _SUBPIXELS, width, _SUBPIXELS)
    share[top:bottom, left:right] = blocks.mean(axis=(1, 3))
    return share
