"""Nonparametric estimates of correlated AUROCs and their covariance (DeLong).

The module depends only on numpy, scipy and pandas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

__all__ = ["AurocEstimates", "estimate_aurocs"]


@dataclass(frozen=True)
class AurocEstimates:
    """AUROCs of several scores and their estimated covariance.

    Attributes
    ----------
    values : ndarray of shape (n_scores,)
        AUROC of each score.
    covariance : ndarray of shape (n_scores, n_scores)
        Estimated covariance of the AUROCs.
    n_clusters : int
        Number of patients, or of cases if no patient ids were given.
    """

    __module__ = "skfusion.evaluation"

    values: np.ndarray
    covariance: np.ndarray
    n_clusters: int


def estimate_aurocs(y: Any, scores: Any, groups: Any = None) -> AurocEstimates:
    r"""Estimate AUROCs of several scores on the same cases, and their covariance.

    The structural component of a case is the proportion of cases of the other class
    that its score ranks correctly. The covariance of the AUROCs is estimated from these
    components (DeLong [1]_). For clustered data, the components are first summed by
    patient (Obuchowski [2]_). With one case per patient, both estimates are equal. The
    components are computed from midranks in :math:`O(n \log n)` (Sun and Xu [3]_).

    Parameters
    ----------
    y : array-like of bool of shape (n,) or (n, L)
        True for positive cases. Several classes or labels have one column each.
    scores : array-like of shape (n_scores, n) or (n_scores, n, L)
        Scores that increase with the probability of a positive case. With L columns,
        the AUROC is the mean over the columns (one-vs-rest).
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, every case is treated as a separate patient.

    Returns
    -------
    AurocEstimates

    Raises
    ------
    ValueError
        If the shapes are inconsistent, a class is missing, or there are fewer than two
        patients.

    References
    ----------
    .. [1] DeLong ER, DeLong DM, Clarke-Pearson DL (1988). Comparing the areas under
       two or more correlated receiver operating characteristic curves. Biometrics
       44:837-845.
    .. [2] Obuchowski NA (1997). Nonparametric analysis of clustered ROC curve data.
       Biometrics 53:567-578.
    .. [3] Sun X, Xu W (2014). Fast implementation of DeLong's algorithm. IEEE Signal
       Processing Letters 21:1389-1393.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.auroc import estimate_aurocs
    >>> found = estimate_aurocs([0, 0, 1, 1, 1], [[1, 3, 2, 4, 5], [5, 1, 2, 3, 4]])
    >>> found.values.round(3).tolist()
    [0.833, 0.5]
    >>> found.covariance.diagonal().round(4).tolist()
    [0.0556, 0.25]
    """
    positive, table = _check(y, scores)
    n_cases = len(positive)
    patient = np.arange(n_cases)
    if groups is not None:
        patient = pd.factorize(np.asarray(groups))[0]
    n_clusters = int(patient.max()) + 1
    if n_clusters < 2:
        raise ValueError(
            f"All {n_cases} cases belong to one patient (group), so the variance "
            "between patients cannot be estimated. Pass cases of at least two patients."
        )
    n_labels = positive.shape[1]
    values = np.zeros(len(table))
    # Contribution of the positive and the negative cases of a patient to each AUROC.
    among = np.zeros((2, n_clusters, len(table)))
    for label in range(n_labels):
        for number, score in enumerate(table[:, :, label]):
            area, parts = _components(positive[:, label], score)
            values[number] += area / n_labels
            for side, (rows, part) in enumerate(parts):
                among[side, :, number] += np.bincount(
                    patient[rows], part / n_labels, n_clusters
                )
    with_side = [
        len(np.unique(patient[rows.any(axis=1)])) for rows in (positive, ~positive)
    ]
    return AurocEstimates(
        values, _clustered_covariance(among, with_side, n_clusters), n_clusters
    )


def _clustered_covariance(
    among: np.ndarray, with_side: list[int], n_clusters: int
) -> np.ndarray:
    """Return the covariance of AUROCs from their components summed by patient."""
    diseased, healthy = among
    across = diseased.T @ healthy * (n_clusters / (n_clusters - 1))
    covariance = across + across.T
    for part, count in zip(among, with_side, strict=True):
        # The factor is undefined if one patient only has cases of this class. The count
        # is then treated as two.
        covariance += part.T @ part * (count / max(count - 1, 1))
    return covariance


def _components(
    positive: np.ndarray, score: np.ndarray
) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the AUROC, and the rows and centred components of both classes."""
    rows = [np.flatnonzero(positive), np.flatnonzero(~positive)]
    n_positive, n_negative = map(len, rows)
    rank = rankdata(score)
    within = [rankdata(score[side]) for side in rows]
    right_positive = (rank[rows[0]] - within[0]) / n_negative
    right_negative = 1.0 - (rank[rows[1]] - within[1]) / n_positive
    area = float(right_positive.mean())
    return area, [
        (rows[0], (right_positive - area) / n_positive),
        (rows[1], (right_negative - area) / n_negative),
    ]


def _check(y: Any, scores: Any) -> tuple[np.ndarray, np.ndarray]:
    positive = np.asarray(y).astype(bool)
    table = np.asarray(scores, dtype=np.float64)
    if positive.ndim == 1:
        positive = positive[:, None]
        table = table[..., None] if table.ndim == 2 else table
    if table.ndim != 3 or table.shape[1:] != positive.shape:
        raise ValueError(
            "scores must have shape (n_scores, n) or (n_scores, n, L) for y of shape "
            f"(n,) or (n, L), got {np.shape(scores)} and {np.shape(y)}."
        )
    counts = positive.sum(axis=0)
    lacking = np.flatnonzero((counts == 0) | (counts == len(positive)))
    if len(lacking):
        raise ValueError(
            f"The AUROC needs positive and negative cases, but all {len(positive)} "
            f"cases belong to one class in {len(lacking)} of {len(counts)} column(s) "
            "of y."
        )
    return positive, table
