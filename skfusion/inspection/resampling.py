"""Cases or whole patients drawn with replacement, and what the draws say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["percentile_interval", "resampled_rows"]


def resampled_rows(
    n_rows: int, groups: Any, n_resamples: int, rng: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Draw rows with replacement, all rows of a patient together.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    groups : array-like of shape (n_rows,) or None
        Patient ids; None draws single rows.
    n_resamples : int
        Number of draws.
    rng : RandomState
        Draws them.

    Yields
    ------
    ndarray of int
        Row positions of one draw.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.resampling import resampled_rows
    >>> draws = resampled_rows(4, ["a", "a", "b", "b"], 3, np.random.RandomState(0))
    >>> [rows.tolist() for rows in draws]
    [[0, 1, 2, 3], [2, 3, 0, 1], [2, 3, 2, 3]]
    """
    if groups is None:
        for _ in range(n_resamples):
            yield rng.randint(n_rows, size=n_rows)
        return
    numbers, patients = pd.factorize(np.asarray(groups))
    order = np.argsort(numbers, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    for _ in range(n_resamples):
        drawn = rng.randint(len(patients), size=len(patients))
        yield np.concatenate([members[patient] for patient in drawn])


def percentile_interval(
    draws: np.ndarray, confidence_level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits that hold the middle of the draws.

    Parameters
    ----------
    draws : ndarray of shape (n_resamples, ...)
        Draws of a statistic; those that are NaN (undefined) do not count.
    confidence_level : float
        Share of the draws between the limits.

    Returns
    -------
    low, high : ndarray of shape (...)

    Raises
    ------
    ValueError
        If the level does not lie between 0 and 1.
    """
    if not 0.0 < confidence_level < 1.0:
        raise ValueError(
            f"confidence_level must lie between 0 and 1, got {confidence_level!r}."
        )
    tail = (1.0 - confidence_level) / 2.0
    low, high = np.nanquantile(draws, [tail, 1.0 - tail], axis=0)
    return low, high
