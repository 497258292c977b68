"""Mean scores of test sets with standard errors by a jackknife of patients.

All results keep what each patient contributes, so that differences between strategies
or groups on the same patients are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from skfusion.evaluation.comparison.analyses.held_out import (
    HeldOutSet,
    at_once,
    weighted_mean,
)
from skfusion.evaluation.comparison.analyses.weighted_scores import WeightedScore

__all__ = ["PatientScore", "Sizes", "patient_blocks", "score_sets"]


# Up to this number, patients are left out one at a time, otherwise in blocks.
MOST_SINGLE = 400
N_BLOCKS = 200
# Least variance of a score between 0 and 1, as a share of that of a proportion.
VARIANCE_FLOOR = 0.25
ROUNDING = 1e-12


@dataclass(frozen=True)
class Sizes:
    """Numbers of patients with and without an event.

    Attributes
    ----------
    n_patients, n_rows : int
        Number of patients and of rows of the cohort.
    n_events, n_others : int
        Number of patients with an event, and of patients with a row without one. For a
        numeric outcome, both are the number of patients.
    """

    n_patients: int
    n_rows: int
    n_events: int
    n_others: int

    @classmethod
    def of(cls, sets: Sequence[HeldOutSet], *, classes: bool) -> Sizes:
        """Count the patients of test sets, each once."""
        patient = np.concatenate([part.patient for part in sets])
        row = np.concatenate([part.row for part in sets])
        y = np.concatenate([part.y for part in sets])
        n_patients = len(np.unique(patient))
        counts = (n_patients, n_patients)
        if classes:
            counts = tuple(len(np.unique(patient[y == k])) for k in (1, 0))  # type: ignore[assignment]
        return cls(n_patients, len(np.unique(row)), *counts)

    @property
    def fewest(self) -> int:
        """Number of patients of the rarer class."""
        return min(self.n_events, self.n_others)


@dataclass(frozen=True)
class PatientScore:
    """Mean score of test sets and what each block of patients contributes to it.

    Attributes
    ----------
    estimate : float
        The score, NaN if it is undefined on all test sets.
    shares : ndarray of shape (n_blocks,)
        Contributions, of which the sum of squares is the variance.
    fewest : int
        Number of patients of the rarer class, less 1 the degrees of freedom.
    n_sets : int
        Number of test sets on which the score is defined.
    """

    estimate: float
    shares: np.ndarray
    fewest: int
    n_sets: int

    def __sub__(self, other: PatientScore) -> PatientScore:
        """Return the paired difference."""
        return PatientScore(
            self.estimate - other.estimate,
            self.shares - other.shares,
            min(self.fewest, other.fewest),
            min(self.n_sets, other.n_sets),
        )

    @property
    def standard_error(self) -> float:
        """Standard error of the estimate."""
        return float(np.sqrt((self.shares**2).sum()))

    def limits(self, *, unit_interval: bool = False) -> tuple[float, float]:
        """Return 95% limits, on the logit scale for a score between 0 and 1."""
        if not np.isfinite(self.estimate) or self.fewest < 2:
            return np.nan, np.nan
        reach = float(stats.t.ppf(0.975, self.fewest - 1))
        error = self.standard_error
        if not unit_interval:
            return self.estimate - reach * error, self.estimate + reach * error
        if min(self.estimate, 1.0 - self.estimate) < ROUNDING:
            bound = 0.025 ** (1.0 / self.fewest)  # Clopper and Pearson
            return (bound, 1.0) if self.estimate > 0.5 else (0.0, 1.0 - bound)
        spread = self.estimate * (1.0 - self.estimate)
        error = max(error, float(np.sqrt(VARIANCE_FLOOR * spread / self.fewest)))
        middle, width = logit(self.estimate), reach * error / spread
        return float(expit(middle - width)), float(expit(middle + width))


def patient_blocks(
    patients: Sequence[np.ndarray], n_numbers: int
) -> tuple[np.ndarray, int]:
    """Assign patients to the blocks that are left out together.

    Parameters
    ----------
    patients : sequence of ndarray of int
        Patient numbers of each group, such as a level and the rest. A patient of
        several groups belongs to the first.
    n_numbers : int
        One more than the largest patient number.

    Returns
    -------
    blocks : ndarray of int of shape (n_numbers,)
        Block of each patient, -1 for other patients.
    n_blocks : int
    """
    blocks = np.full(n_numbers, -1)
    start = 0
    for members in patients:
        own = np.unique(members)
        own = own[blocks[own] < 0]
        n_own = len(own) if len(own) <= MOST_SINGLE else N_BLOCKS
        order = np.random.RandomState(0).permutation(len(own))
        blocks[own[order]] = start + np.arange(len(own)) % max(n_own, 1)
        start += n_own
    return blocks, start


def score_sets(
    sets: Sequence[HeldOutSet],
    score: WeightedScore,
    blocks: np.ndarray,
    n_blocks: int,
    *,
    equal_weights: bool,
    classes: bool,
    inflation: float = 1.0,
) -> PatientScore:
    """Return the mean score of test sets with its variance by a jackknife of patients.

    Parameters
    ----------
    sets : sequence of HeldOutSet
        Test sets. Those on which the score is undefined are left out.
    score : callable
        Score of a test set under weights.
    blocks : ndarray of int of shape (n_patients,)
        Block of each patient.
    n_blocks : int
        Number of blocks.
    equal_weights : bool
        Whether test sets count equally, otherwise by their patients.
    classes : bool
        Whether the outcome has two classes.
    inflation : float, default=1.0
        Factor of the variance.

    Returns
    -------
    PatientScore
    """
    sizes = Sizes.of(sets, classes=classes)
    full, left_out, weights, weights_left = [], [], [], []
    for part in sets:
        of_row = blocks[part.patient]
        present = np.unique(of_row)
        weight = 1.0 if equal_weights else float(part.n_patients)
        alone = float(score(part, np.ones((1, len(of_row))))[0])
        values = np.full(n_blocks, alone)
        size = at_once(len(of_row))
        for start in range(0, len(present), size):
            some = present[start : start + size]
            values[some] = score(part, (of_row != some[:, None]).astype(np.float64))
        remaining = np.full(n_blocks, weight)
        if not equal_weights:
            owners = part.patient[np.unique(part.patient, return_index=True)[1]]
            np.subtract.at(remaining, blocks[owners], 1.0)
        full.append(alone)
        left_out.append(values)
        weights.append(weight)
        weights_left.append(remaining)
    estimate = float(weighted_mean(full, weights))
    shares = _contributions(np.array(left_out), np.array(weights_left), sets, blocks)
    n_sets = int(np.isfinite(full).sum())
    return PatientScore(estimate, shares * np.sqrt(inflation), sizes.fewest, n_sets)


def _contributions(
    values: np.ndarray,
    weights: np.ndarray,
    sets: Sequence[HeldOutSet],
    blocks: np.ndarray,
) -> np.ndarray:
    """Return centred values without each block, scaled so that their squares add up."""
    known = np.isfinite(values) & (weights > 0)
    total = np.where(known, weights, 0.0).sum(axis=0)
    summed = (np.where(known, weights, 0.0) * np.where(known, values, 0.0)).sum(axis=0)
    without = np.where(total > 0, summed / np.where(total > 0, total, 1.0), np.nan)
    own = np.unique(blocks[np.concatenate([part.patient for part in sets])])
    shares = np.zeros(values.shape[1])
    if len(own) > 1:
        shares[own] = without[own] - np.nanmean(without[own])
        shares *= np.sqrt((len(own) - 1) / len(own))
    return np.nan_to_num(shares)
