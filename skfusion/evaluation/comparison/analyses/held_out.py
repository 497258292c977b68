"""Held-out predictions of a strategy by test set, as arrays with patient numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__ = [
    "HeldOutSet",
    "at_once",
    "bootstrap_counts",
    "held_out_sets",
    "n_patients_of",
    "weighted_mean",
]


# Weights of rows that are kept at once, by samples and rows.
MOST_WEIGHTS = 2_000_000


@dataclass(frozen=True)
class HeldOutSet:
    """Held-out predictions of one fold, sorted by descending score.

    Attributes
    ----------
    repeat, fold : int
        Number of the repetition and of the fold in it, from 0.
    row : ndarray of int of shape (n,)
        Row positions in the cohort.
    patient : ndarray of int of shape (n,)
        Patient numbers from 0, the same in all test sets of a comparison. Without
        patients, each row of the cohort is one.
    y : ndarray of shape (n,)
        Outcome: 1.0 for the positive class and 0.0 otherwise, or the target values of
        a regression.
    score : ndarray of shape (n,)
        Probability of the positive class, or the predicted value.
    """

    repeat: int
    fold: int
    row: np.ndarray
    patient: np.ndarray
    y: np.ndarray
    score: np.ndarray

    @property
    def n_patients(self) -> int:
        """Number of patients of the test set."""
        return len(np.unique(self.patient))

    def part(self, chosen: np.ndarray) -> HeldOutSet:
        """Return the rows of a boolean mask."""
        return HeldOutSet(
            self.repeat,
            self.fold,
            self.row[chosen],
            self.patient[chosen],
            self.y[chosen],
            self.score[chosen],
        )


def held_out_sets(
    predictions: pd.DataFrame, strategy: str, positive: str | None
) -> list[HeldOutSet]:
    """Return the test sets of all repetitions that a strategy has.

    Parameters
    ----------
    predictions : DataFrame
        Table as in `FusionComparison.predictions_`, of two classes or a regression.
    strategy : str
        Name of the strategy.
    positive : str or None
        Positive class as text. None for a regression.

    Returns
    -------
    list of HeldOutSet
    """
    groups = predictions["group"].to_numpy()
    ids = predictions["row"].to_numpy() if (groups < 0).all() else groups
    known = predictions[strategy].notna().to_numpy()
    y = predictions["y"]
    target = y if positive is None else y.astype(str) == positive
    values = target.to_numpy(dtype=np.float64)
    scores = predictions[strategy].to_numpy(dtype=np.float64)
    if positive is not None:  # can be outside of [0, 1] by a rounding error
        scores = np.clip(scores, 0.0, 1.0)
    rows = predictions["row"].to_numpy()
    found = []
    places = predictions[["repeat", "fold"]].to_numpy()
    for repeat, fold in np.unique(places[known], axis=0):
        of_fold = known & (places == (repeat, fold)).all(axis=1)
        chosen = np.flatnonzero(of_fold)
        chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
        parts = (rows[chosen], ids[chosen], values[chosen], scores[chosen])
        found.append(HeldOutSet(int(repeat), int(fold), *parts))
    return found


def n_patients_of(sets: Sequence[HeldOutSet]) -> int:
    """Return one more than the largest patient number."""
    return 1 + max(int(part.patient.max(initial=-1)) for part in sets)


def at_once(n_rows: int) -> int:
    """Return how many samples of weights of rows are kept in memory at once."""
    return max(1, MOST_WEIGHTS // max(n_rows, 1))


def bootstrap_counts(
    sets: Sequence[HeldOutSet], n_resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Draw how often each patient is in each bootstrap sample.

    Parameters
    ----------
    sets : sequence of HeldOutSet
        Test sets, of which the patients are drawn.
    n_resamples : int
        Number of bootstrap samples.
    seed : int
        Random state.

    Yields
    ------
    ndarray of shape (n_samples, n_patients)
        Counts by patient number, for as many samples as fit into memory.
    """
    n_rows = sum(len(part.y) for part in sets if part.repeat == sets[0].repeat)
    size = at_once(n_rows)
    rng = np.random.RandomState(seed)
    patients = np.unique(np.concatenate([part.patient for part in sets]))
    share = np.full(len(patients), 1.0 / len(patients))
    for start in range(0, n_resamples, size):
        drawn = rng.multinomial(
            len(patients), share, size=min(size, n_resamples - start)
        )
        counts = np.zeros((len(drawn), n_patients_of(sets)))
        counts[:, patients] = drawn
        yield counts


def weighted_mean(values: Any, weights: Any) -> np.ndarray:
    """Return the mean over the first axis, where values that are NaN are left out.

    Parameters
    ----------
    values : array-like of shape (n_sets, ...)
        Values of each test set.
    weights : array-like of shape (n_sets,)
        Weights of the test sets.

    Returns
    -------
    ndarray of shape (...)
        NaN where no value is defined.
    """
    table = np.asarray(values, dtype=np.float64)
    weight = np.asarray(weights, dtype=np.float64).reshape(
        (-1,) + (1,) * (table.ndim - 1)
    )
    known = np.isfinite(table)
    total = np.where(known, weight, 0.0).sum(axis=0)
    summed = np.where(known, weight * np.where(known, table, 0.0), 0.0).sum(axis=0)
    return np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)
