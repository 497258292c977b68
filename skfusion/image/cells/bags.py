"""Cells with several images in: views, dates or slices of one patient; one row out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_option
from skfusion.image.reading.files import is_missing

__all__ = ["BAG_POOLINGS", "Bags", "check_bag_pooling", "is_bag", "unpack"]


BAG_POOLINGS = ("mean", "max", "recent")


@dataclass(frozen=True)
class Bags:
    """The images of a column, one by one, and the rows that they belong to.

    Attributes
    ----------
    images : list of n_images cells
        Missing where a row has no image at all.
    rows : ndarray of shape (n_images,), int
        Position of the row of each image.
    times : list of n_images
        When each image was taken, None where that is not said.
    n_rows : int
        Number of rows.
    """

    images: list[Any]
    rows: np.ndarray
    times: list[Any]
    n_rows: int

    @property
    def has_several(self) -> bool:
        """Whether any row has more than one image."""
        return len(self.images) > self.n_rows

    def check_single(self) -> None:
        """Refuse rows with several images.

        Raises
        ------
        ValueError
            If there are any.
        """
        if self.has_several:
            row = int(self.rows[np.flatnonzero(np.diff(self.rows) == 0)[0]])
            raise ValueError(
                f"ImageEmbedder: got several images at row position {row}; a network "
                "that is trained on pixels takes one per row. Freeze its trunk "
                "(trainable='head' or 'last_block', and no augmentation), or give each "
                "image a row of its own."
            )

    def counts(self, presence: np.ndarray) -> np.ndarray:
        """Count the images of each row that are there, as float32."""
        return np.bincount(self.rows[presence], minlength=self.n_rows).astype("f4")

    def pool(
        self, values: np.ndarray, presence: np.ndarray, pooling: str, half_life: Any
    ) -> np.ndarray:
        """Pool what was computed of each image to one array per row.

        Parameters
        ----------
        values : ndarray of shape (n_images, ...)
            One array per image.
        presence : ndarray of shape (n_images,), bool
            Which of them are there.
        pooling : {"mean", "max", "recent"}
            ``"recent"`` is a mean whose weights halve with every `half_life` that an
            image is older than the last one of its bag.
        half_life : timedelta or str
            Of ``"recent"``.

        Returns
        -------
        ndarray of shape (n_rows, ...)
            NaN where no image is there.

        Raises
        ------
        ValueError
            If ``pooling="recent"`` and a bag of several images lacks a time.
        """
        if not self.has_several:
            return values
        weights = np.ones(len(self.images))
        if pooling == "recent":
            weights = self._recency(presence, pd.Timedelta(half_life))
        pooled = np.full((self.n_rows, *values.shape[1:]), np.nan, dtype=values.dtype)
        there = np.flatnonzero(presence)
        order = there[np.argsort(self.rows[there], kind="stable")]
        starts = np.flatnonzero(np.diff(self.rows[order], prepend=-1))
        for part in np.split(order, starts[1:]) if len(order) else []:
            row = self.rows[part[0]]
            if len(part) == 1:  # to the last digit
                pooled[row] = values[part[0]]
            elif pooling == "max":
                pooled[row] = values[part].max(axis=0)
            else:
                pooled[row] = np.average(values[part], axis=0, weights=weights[part])
        return pooled

    def _recency(self, presence: np.ndarray, half_life: pd.Timedelta) -> np.ndarray:
        several = np.bincount(self.rows[presence], minlength=self.n_rows) > 1
        wanted = presence & several[self.rows]
        untimed = [
            int(self.rows[i]) for i in np.flatnonzero(wanted) if self.times[i] is None
        ]
        if untimed:
            raise ValueError(
                f"ImageEmbedder: bag_pooling='recent' needs the time of every image; "
                f"{len(untimed)} images have none (first at row position {untimed[0]})."
                " Give each image of a bag as a pair (image, time)."
            )
        weights = np.ones(len(self.images))
        times = pd.Series([self.times[i] for i in np.flatnonzero(wanted)])
        if len(times) == 0:
            return weights
        moments = pd.to_datetime(times)
        ages = moments.groupby(self.rows[wanted]).transform("max") - moments
        weights[wanted] = 0.5 ** (ages / half_life).to_numpy(dtype=float)
        return weights


def check_bag_pooling(owner: str, pooling: Any, half_life: Any) -> None:
    """Refuse settings that cannot be; `owner` is named in the message.

    Raises
    ------
    ValueError
        If a setting is unknown, or the half-life not longer than 0.
    """
    check_option(pooling, "bag_pooling", BAG_POOLINGS, owner)
    if pooling == "recent" and not pd.Timedelta(half_life) > pd.Timedelta(0):
        raise ValueError(
            f"{owner}: bag_half_life must be longer than 0, got {half_life!r}."
        )


def is_bag(cell: Any) -> bool:
    """Tell a cell that holds several images: a list, a tuple, an array of objects.

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
    """Take the images out of the bags of a column.

    Parameters
    ----------
    cells : sequence of n cells
        An image, a missing value, or a bag: a list of images, of which some may be
        missing, or of pairs (image, time).

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
    images: list[Any] = []
    rows: list[int] = []
    times: list[Any] = []
    for row, cell in enumerate(cells):
        parts = [_timed(part) for part in cell] if is_bag(cell) else [(cell, None)]
        found = [part for part in parts if not is_missing(part[0])]
        for image, time in found or [(None, None)]:
            images.append(image)
            times.append(time)
            rows.append(row)
    return Bags(images, np.array(rows, dtype=np.intp), times, len(cells))


def _timed(part: Any) -> tuple[Any, Any]:
    """Split a pair (image, time); two images are no pair."""
    if isinstance(part, tuple) and len(part) == 2:
        time = part[1]
        if (
            time is None
            or isinstance(time, np.datetime64)
            or hasattr(time, "isoformat")
        ):
            return part[0], None if pd.isna(time) else pd.Timestamp(time)
    return part, None
