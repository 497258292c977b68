"""Bags: several images (views, dates or slices) in one cell, pooled to one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_option
from skfusion.image.reading.files import is_missing

__all__ = ["BAG_POOLINGS", "Bags", "check_bag_pooling", "is_bag", "unpack"]


BAG_POOLINGS = ("mean", "max", "recent", "attention")


@dataclass(frozen=True)
class Bags:
    """Images of a column and the rows that they belong to.

    Attributes
    ----------
    images : list of n_images cells
        The images. A row without any image contributes one missing value.
    rows : ndarray of shape (n_images,), int
        Position of the row of each image.
    times : list of n_images
        Time of each image, None if unknown.
    n_rows : int
        Number of rows.
    places : ndarray of shape (n_images,), int
        Position of each image in its cell.
    sizes : ndarray of shape (n_rows,), int
        Number of images of each cell, including missing ones.
    """

    images: list[Any]
    rows: np.ndarray
    times: list[Any]
    n_rows: int
    places: np.ndarray
    sizes: np.ndarray

    @property
    def has_several(self) -> bool:
        """Whether any row has more than one image."""
        return len(self.images) > self.n_rows

    def check_single(self) -> None:
        """Check that no row has more than one image.

        Raises
        ------
        ValueError
            If a row has several images.
        """
        if self.has_several:
            row = int(self.rows[np.flatnonzero(np.diff(self.rows) == 0)[0]])
            raise ValueError(
                f"ImageEmbedder: got several images at row position {row}. A network "
                "that is trained on pixels takes one per row. Freeze its trunk "
                "(trainable='head' or 'last_block', and no augmentation), or pass each "
                "image in a separate row."
            )

    def counts(self, presence: np.ndarray) -> np.ndarray:
        """Count the present images of each row, as float32."""
        return np.bincount(self.rows[presence], minlength=self.n_rows).astype("f4")

    def pool(
        self,
        values: np.ndarray,
        presence: np.ndarray,
        pooling: str,
        half_life: Any,
        *,
        owner: str = "ImageEmbedder",
        item: str = "image",
    ) -> np.ndarray:
        """Pool the arrays of the images to one array per row.

        Parameters
        ----------
        values : ndarray of shape (n_images, ...)
            One array per image.
        presence : ndarray of shape (n_images,), bool
            Which images are present.
        pooling : {"mean", "max", "recent"}
            ``"recent"`` is a weighted mean. The weight of an image halves with every
            `half_life` of its age relative to the latest image of its bag.
        half_life : timedelta or str
            Half-life of ``pooling="recent"``.
        owner, item : str, default="ImageEmbedder" and "image"
            Name of the estimator and of what a bag contains, for messages.

        Returns
        -------
        ndarray of shape (n_rows, ...)
            NaN for rows without a present image.

        Raises
        ------
        ValueError
            If ``pooling="recent"`` and a bag of several images lacks a time, or only
            some times have a time zone, or with ``pooling="attention"``, which joint
            fusion trains.
        """
        if pooling == "attention":
            raise ValueError(
                "ImageEmbedder: bag_pooling='attention' is trained in joint fusion "
                "only, as the transformer of a modality. Use JointFusionClassifier (or "
                "its regressor or survival estimator), or bag_pooling='mean', 'max' or "
                "'recent'."
            )
        if not self.has_several:
            return values
        weights = np.ones(len(self.images))
        if pooling == "recent":
            age = pd.Timedelta(half_life)
            weights = self._recency(presence, age, owner, item)
        pooled = np.full((self.n_rows, *values.shape[1:]), np.nan, dtype=values.dtype)
        there = np.flatnonzero(presence)
        order = there[np.argsort(self.rows[there], kind="stable")]
        starts = np.flatnonzero(np.diff(self.rows[order], prepend=-1))
        for part in np.split(order, starts[1:]) if len(order) else []:
            row = self.rows[part[0]]
            if len(part) == 1:  # exact, without the rounding of an average
                pooled[row] = values[part[0]]
            elif pooling == "max":
                pooled[row] = values[part].max(axis=0)
            else:
                pooled[row] = np.average(values[part], axis=0, weights=weights[part])
        return pooled

    def _recency(
        self, presence: np.ndarray, half_life: pd.Timedelta, owner: str, item: str
    ) -> np.ndarray:
        several = np.bincount(self.rows[presence], minlength=self.n_rows) > 1
        wanted = presence & several[self.rows]
        untimed = [
            int(self.rows[i]) for i in np.flatnonzero(wanted) if self.times[i] is None
        ]
        if untimed:
            raise ValueError(
                f"{owner}: bag_pooling='recent' needs the time of every {item}, "
                f"got {len(untimed)} {item}s without one (first at row position "
                f"{untimed[0]}). Pass each {item} of a bag as a pair ({item}, time)."
            )
        weights = np.ones(len(self.images))
        times = [self.times[i] for i in np.flatnonzero(wanted)]
        if not times:
            return weights
        n_zoned = sum(time.tzinfo is not None for time in times)
        if 0 < n_zoned < len(times):
            raise ValueError(
                f"{owner}: got a time zone in {n_zoned} of {len(times)} times of "
                f"{item}s, so that their ages are not known. Set the zone of the "
                "others, e.g. with pandas.Timestamp.tz_localize."
            )
        moments = pd.Series(pd.to_datetime(times, utc=n_zoned > 0))
        ages = moments.groupby(self.rows[wanted]).transform("max") - moments
        weights[wanted] = 0.5 ** (ages / half_life).to_numpy(dtype=float)
        return weights


def check_bag_pooling(owner: str, pooling: Any, half_life: Any) -> None:
    """Check the pooling parameters, with the estimator name `owner` in messages.

    Raises
    ------
    ValueError
        If `pooling` is unknown, or the half-life is not longer than 0.
    """
    check_option(pooling, "bag_pooling", BAG_POOLINGS, owner)
    if pooling == "recent" and not pd.Timedelta(half_life) > pd.Timedelta(0):
        raise ValueError(
            f"{owner}: bag_half_life must be longer than 0, got {half_life!r}."
        )


def is_bag(cell: Any) -> bool:
    """Return whether a cell is a bag: a list, a tuple or an array of objects.

    Examples
    --------
    >>> from skfusion.image.cells.bags import is_bag
    >>> is_bag(["frontal.png", "lateral.png"]), is_bag("frontal.png")
    (True, False)
    """
    if isinstance(cell, np.ndarray):
        return cell.dtype == object
    return isinstance(cell, list | tuple)


def unpack(cells: Sequence[Any]) -> Bags:
    """Flatten the bags of a column into single images.

    Parameters
    ----------
    cells : sequence of n cells
        Each cell is an image, a missing value, or a bag. A bag is a list of images or
        of pairs (image, time), some of which may be missing.

    Returns
    -------
    Bags

    Examples
    --------
    >>> from skfusion.image.cells.bags import unpack
    >>> bags = unpack(["a.png", ["b.png", None, "c.png"], []])
    >>> bags.images, bags.rows
    (['a.png', 'b.png', 'c.png', None], array([0, 1, 1, 2]))
    """
    n_rows = len(cells)
    if all(type(cell) is str and cell for cell in cells):  # most columns are of paths
        one, first = np.ones(n_rows, dtype=np.intp), np.zeros(n_rows, dtype=np.intp)
        rows_of = np.arange(n_rows, dtype=np.intp)
        return Bags(list(cells), rows_of, [None] * n_rows, n_rows, first, one)
    images: list[Any] = []
    rows: list[int] = []
    times: list[Any] = []
    places: list[int] = []
    sizes: list[int] = []
    for row, cell in enumerate(cells):
        if type(cell) is str and cell:  # most cells are paths
            images.append(cell)
            times.append(None)
            rows.append(row)
            places.append(0)
            sizes.append(1)
            continue
        parts = [_timed(part) for part in cell] if is_bag(cell) else [(cell, None)]
        found = [(i, *part) for i, part in enumerate(parts) if not is_missing(part[0])]
        for place, image, time in found or [(0, None, None)]:
            images.append(image)
            times.append(time)
            rows.append(row)
            places.append(place)
        sizes.append(len(parts))
    return Bags(
        images,
        np.array(rows, dtype=np.intp),
        times,
        len(cells),
        np.array(places, dtype=np.intp),
        np.array(sizes, dtype=np.intp),
    )


def _timed(part: Any) -> tuple[Any, Any]:
    """Split a pair (image, time), but not a tuple of two images."""
    if isinstance(part, tuple) and len(part) == 2:
        time = part[1]
        if (
            time is None
            or isinstance(time, np.datetime64)
            or hasattr(time, "isoformat")
        ):
            return part[0], None if pd.isna(time) else pd.Timestamp(time)
    return part, None
