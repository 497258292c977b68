"""First-order, texture, shape and colour features of an image region.

First-order features follow the definitions of the Image Biomarker Standardisation
Initiative (Zwanenburg et al., Radiology 2020;295:328-338). Texture and shape features
are computed with scikit-image.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError

__all__ = ["GROUPS", "colour", "first_order", "names_and_units", "shape", "texture"]


N_NEIGHBOURS, N_ORIENTATIONS = 8, 9
_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
_GLCM = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation", "entropy")
_HOG_SIDE = 64  # side in pixels of the resized region for gradient orientations
# Directions of the lines of Crofton's formula, as steps of rows and columns. On square
# pixels, neighbouring directions are 18 or 27 degrees apart.
_LINES = ((0, 1), (1, 2), (1, 1), (2, 1), (1, 0), (2, -1), (1, -1), (1, -2))

#: Feature name -> unit by group. "I" is the unit of the image values, "L" of length.
GROUPS: dict[str, dict[str, str]] = {
    "first_order": {
        "mean": "I",
        "std": "I",
        "min": "I",
        "p10": "I",
        "median": "I",
        "p90": "I",
        "max": "I",
        "range": "I",
        "iqr": "I",
        "mad": "I",
        "rms": "I",
        "skewness": "1",
        "kurtosis": "1",
        "entropy": "bit",
        "uniformity": "1",
    },
    "texture": {
        **{f"glcm_{name.lower()}": "1" for name in _GLCM[:-1]},
        "glcm_entropy": "bit",
        **{f"lbp_{i}": "1" for i in range(N_NEIGHBOURS + 2)},
        **{f"hog_{i}": "1" for i in range(N_ORIENTATIONS)},
    },
    "shape": {
        "area": "L2",
        "perimeter": "L",
        "equivalent_diameter": "L",
        "major_axis": "L",
        "minor_axis": "L",
        "max_diameter": "L",
        "eccentricity": "1",
        "solidity": "1",
        "extent": "1",
        "circularity": "1",
        "n_parts": "1",
    },
    "colour": {
        f"{channel}_{kind}": "I"
        for channel in ("red", "green", "blue")
        for kind in ("mean", "std")
    },
}


def names_and_units(groups: tuple[str, ...], length: str) -> dict[str, str]:
    """Return the names and units of the features of some groups.

    Parameters
    ----------
    groups : tuple of str
        Keys of `GROUPS`.
    length : {"pixel", "mm"}
        Unit of length.

    Returns
    -------
    dict from name to unit
        ``"intensity"`` is the unit of the image values, ``"1"`` means dimensionless.
    """
    units = {"I": "intensity", "L": length, "L2": f"{length}^2", "1": "1", "bit": "bit"}
    return {
        name: units[unit] for group in groups for name, unit in GROUPS[group].items()
    }


def first_order(values: np.ndarray, n_levels: int) -> dict[str, float]:
    """Compute first-order features: statistics of the distribution of values.

    Parameters
    ----------
    values : ndarray of shape (n_pixels,)
        Values of the region.
    n_levels : int
        Number of bins between the smallest and largest value, for entropy and
        uniformity.

    Returns
    -------
    dict
        Value of each feature. ``kurtosis`` is the excess kurtosis. Skewness and
        kurtosis of constant values are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.radiomics.features import first_order
    >>> found = first_order(np.array([1.0, 2.0, 3.0, 4.0]), n_levels=2)
    >>> float(found["mean"]), float(found["entropy"])
    (2.5, 1.0)
    """
    values = values.astype(np.float64)
    low, p10, q1, median, q3, p90, high = np.percentile(
        values, [0, 10, 25, 50, 75, 90, 100]
    )
    mean, std = values.mean(), values.std()
    scaled = (values - mean) / std if std > 0 else np.zeros_like(values)
    share = np.bincount(levels(values, n_levels), minlength=n_levels) / len(values)
    filled = share[share > 0]
    return {
        "mean": mean,
        "std": std,
        "min": low,
        "p10": p10,
        "median": median,
        "p90": p90,
        "max": high,
        "range": high - low,
        "iqr": q3 - q1,
        "mad": np.abs(values - mean).mean(),
        "rms": np.sqrt((values**2).mean()),
        "skewness": (scaled**3).mean(),
        "kurtosis": (scaled**4).mean() - 3 if std > 0 else 0.0,
        "entropy": -(filled * np.log2(filled)).sum() + 0.0,
        "uniformity": (share**2).sum(),
    }


def levels(values: np.ndarray, n_levels: int) -> np.ndarray:
    """Discretise values into levels of equal width between minimum and maximum."""
    low, high = values.min(), values.max()
    width = (high - low) / n_levels if high > low else 1.0
    return np.minimum(((values - low) / width).astype(np.intp), n_levels - 1)


def texture(plane: np.ndarray, region: np.ndarray, n_levels: int) -> dict[str, float]:
    """Compute texture features: co-occurrence, local binary patterns and gradients.

    Parameters
    ----------
    plane : ndarray of shape (H, W), float
        Grey values.
    region : ndarray of shape (H, W), bool
        Mask of the region. Pairs with a pixel outside are not counted.
    n_levels : int
        Number of grey levels of the co-occurrence matrix.

    Returns
    -------
    dict
        ``glcm_*``: features of the symmetric co-occurrence matrix of neighbours,
        averaged over four directions (Haralick et al. 1973). ``lbp_*``: shares of the
        uniform local binary patterns of 8 neighbours (Ojala et al. 2002). ``hog_*``:
        shares of nine gradient orientations in the bounding box of the region (Dalal
        and Triggs 2005).
    """
    return {
        **_glcm(plane, region, n_levels),
        **_lbp(plane, region),
        **_hog(plane, region),
    }


def _glcm(plane: np.ndarray, region: np.ndarray, n_levels: int) -> dict[str, float]:
    feature = require("skimage.feature", "radiomics")
    binned = np.zeros(plane.shape, dtype=np.uint16)
    binned[region] = levels(plane[region], n_levels) + 1  # 0 is outside
    box = _box(region)
    counts = feature.graycomatrix(
        binned[box], [1], list(_ANGLES), levels=n_levels + 1, symmetric=True
    )[1:, 1:].astype(np.float64)
    pairs = counts.sum(axis=(0, 1))
    if not pairs.all():  # a region without neighbours in some direction
        return dict.fromkeys((f"glcm_{name.lower()}" for name in _GLCM), np.nan)
    counts /= pairs
    found = {
        f"glcm_{name.lower()}": float(feature.graycoprops(counts, name).mean())
        for name in _GLCM[:-1]
    }
    logs = np.log2(counts, where=counts > 0, out=np.zeros_like(counts))
    found["glcm_entropy"] = float(-(counts * logs).sum(axis=(0, 1)).mean()) + 0.0
    return found


def _lbp(plane: np.ndarray, region: np.ndarray) -> dict[str, float]:
    feature = require("skimage.feature", "radiomics")
    # The patterns only compare values, and integer ranks avoid rounding differences.
    _, ranks = np.unique(plane, return_inverse=True)
    ranked = ranks.reshape(plane.shape).astype(np.int64)
    codes = feature.local_binary_pattern(ranked, N_NEIGHBOURS, 1, method="uniform")
    counts = np.bincount(codes[region].astype(np.intp), minlength=N_NEIGHBOURS + 2)
    return {f"lbp_{i}": float(n / region.sum()) for i, n in enumerate(counts)}


def _hog(plane: np.ndarray, region: np.ndarray) -> dict[str, float]:
    feature = require("skimage.feature", "radiomics")
    transform = require("skimage.transform", "radiomics")
    part = plane[_box(region)].astype(np.float64)
    spread = part.max() - part.min()
    part = (part - part.min()) / (spread if spread > 0 else 1.0)
    square = transform.resize(part, (_HOG_SIDE, _HOG_SIDE), anti_aliasing=True)
    cell = (_HOG_SIDE // 4, _HOG_SIDE // 4)
    found = feature.hog(
        square,
        orientations=N_ORIENTATIONS,
        pixels_per_cell=cell,
        cells_per_block=(1, 1),
        feature_vector=False,
    )
    shares = found.reshape(-1, N_ORIENTATIONS).mean(axis=0)
    total = shares.sum()
    shares = shares / total if total > 0 else shares
    return {f"hog_{i}": float(share) for i, share in enumerate(shares)}


def shape(region: np.ndarray, spacing: tuple[float, float]) -> dict[str, float]:
    """Compute shape features of a region.

    Parameters
    ----------
    region : ndarray of shape (H, W), bool
        Mask of the region with at least one pixel. Several parts count as one region.
    spacing : (float, float)
        Distance between rows and between columns.

    Returns
    -------
    dict
        Value of each feature, in the unit of `spacing`. The axes are those of the
        ellipse with the same second moments. ``perimeter`` follows Crofton's formula
        and includes the boundaries of holes. ``circularity`` is
        4 pi area / perimeter^2, which is 1 for a disc.

    Notes
    -----
    Crofton's formula estimates the length of the boundary before it was sampled by
    pixels, from the number of times that lines in eight directions cross the boundary.
    The perimeter is too small, and the circularity can exceed 1, for regions that are
    only a few pixels wide, and for shapes with corners: by 2 % for a square of 50
    pixels and by 11 % for one of 5 pixels.

    References
    ----------
    L. A. Santaló, "Integral Geometry and Geometric Probability", Addison-Wesley 1976.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.radiomics.features import shape
    >>> rows, columns = np.indices((41, 41)) - 20.3
    >>> disc = rows**2 + columns**2 <= 15**2
    >>> found = shape(disc, (0.5, 0.5))
    >>> round(found["perimeter"] / (2 * np.pi * 7.5), 2), round(found["circularity"], 2)
    (1.0, 1.0)
    """
    measure = require("skimage.measure", "radiomics")
    regions = measure.regionprops(region.astype(np.uint8), spacing=spacing)
    found: Any = regions[0]
    area = float(found.area)
    perimeter = _perimeter(region[_box(region)], spacing, _line_steps(spacing))
    rows, columns = np.nonzero(region)
    return {
        "area": area,
        "perimeter": perimeter,
        "equivalent_diameter": float(np.sqrt(4 * area / np.pi)),
        "major_axis": float(found.axis_major_length),
        "minor_axis": float(found.axis_minor_length),
        "max_diameter": _widest(rows * spacing[0], columns * spacing[1]),
        "eccentricity": float(found.eccentricity),
        "solidity": _solidity(region),
        "extent": float(region[_box(region)].mean()),
        "circularity": 4 * np.pi * area / perimeter**2,
        "n_parts": float(measure.label(region, connectivity=2).max()),
    }


def _line_steps(spacing: tuple[float, float]) -> list[tuple[int, int]]:
    """Return directions of lines, spread over the angles for this spacing.

    The longer side of a pixel is matched by several of the shorter sides. Otherwise,
    all oblique lines would be nearly parallel to the longer side.
    """
    down, right = spacing
    rows, columns = max(1, round(right / down)), max(1, round(down / right))
    steps = set()
    for row, column in _LINES:
        step = row * rows, column * columns
        common = math.gcd(*step)
        steps.add((step[0] // common, step[1] // common))
    return sorted(steps)


def _perimeter(
    region: np.ndarray, spacing: tuple[float, float], steps: list[tuple[int, int]]
) -> float:
    """Estimate the length of the boundary of a region by Crofton's formula.

    The length is the integral, over the angles of half a turn, of the number of times
    that parallel lines enter the region, times their distance. The lines go through
    the centres of the pixels. A line in the direction of a step enters the region at
    each pixel whose predecessor, one step before, is outside.

    Parameters
    ----------
    region : ndarray of shape (H, W), bool
        Mask of the region.
    spacing : (float, float)
        Distance between rows and between columns.
    steps : list of (int, int)
        Directions, as steps of rows and columns without common divisor. Rows are not
        negative.

    Returns
    -------
    float
        Length in the unit of `spacing`.
    """
    lines = sorted(
        (math.atan2(row * spacing[0], column * spacing[1]), row, column)
        for row, column in steps
    )
    angles = np.array([angle for angle, _, _ in lines])
    ahead = np.roll(angles, -1) + np.pi * (np.arange(len(angles)) == len(angles) - 1)
    behind = np.roll(angles, 1) - np.pi * (np.arange(len(angles)) == 0)
    length = 0.0
    for share, (_, row, column) in zip((ahead - behind) / 2, lines, strict=True):
        between = math.prod(spacing) / math.hypot(row * spacing[0], column * spacing[1])
        entries = int(region.sum()) - _n_pairs(region, row, column)
        length += float(share) * between * entries
    return length


def _n_pairs(region: np.ndarray, row: int, column: int) -> int:
    """Return the number of pixels whose successor by a step is also in the region."""
    height, width = region.shape
    if row >= height or abs(column) >= width:
        return 0
    first = region[: height - row, max(0, -column) : width - max(0, column)]
    second = region[row:, max(0, column) : width - max(0, -column)]
    return int((first & second).sum())


def _widest(rows: np.ndarray, columns: np.ndarray) -> float:
    """Return the largest distance between the centres of two pixels of a region.

    Only the first and last pixel of each row can have this distance.
    """
    first = np.unique(rows)
    points = []
    for row in first:
        inside = columns[rows == row]
        points += [(row, inside.min()), (row, inside.max())]
    ends = np.array(points)
    gaps = ends[:, None] - ends[None]
    return float(np.sqrt((gaps**2).sum(axis=2)).max())


def _solidity(region: np.ndarray) -> float:
    morphology = require("skimage.morphology", "radiomics")
    part = region[_box(region)]
    if min(part.shape) < 2 or np.linalg.matrix_rank(_centred(part)) < 2:
        return 1.0  # the convex hull of a line is the line
    return float(part.sum() / morphology.convex_hull_image(part).sum())


def _centred(part: np.ndarray) -> np.ndarray:
    points = np.argwhere(part).astype(np.float64)
    return points - points.mean(axis=0)


def colour(pixels: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Compute colour features of a region, NaN for a grey image.

    Parameters
    ----------
    pixels : ndarray of shape (H, W) or (H, W, 3)
        The image.
    region : ndarray of shape (H, W), bool
        Mask of the region.

    Returns
    -------
    dict
        Mean and standard deviation of red, green and blue.
    """
    if pixels.ndim == 2:
        return dict.fromkeys(GROUPS["colour"], np.nan)
    found: dict[str, float] = {}
    for i, channel in enumerate(("red", "green", "blue")):
        values = pixels[:, :, i][region].astype(np.float64)
        found |= {f"{channel}_mean": values.mean(), f"{channel}_std": values.std()}
    return found


def _box(region: np.ndarray) -> tuple[slice, slice]:
    rows, columns = (
        np.flatnonzero(region.any(axis=1)),
        np.flatnonzero(region.any(axis=0)),
    )
    if len(rows) == 0:
        raise ImageReadError("The mask marks no pixel.")
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
