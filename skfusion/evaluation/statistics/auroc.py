"""AUROCs of several scores on the same cases, and how they vary together.

Pure numpy and scipy.
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
    """AUROCs and their covariance.

    Attributes
    ----------
    values : ndarray of shape (n_scores,)
        The AUROCs.
    covariance : ndarray of shape (n_scores, n_scores)
        Their estimated covariance.
    n_clusters : int
        Number of patients, or of cases where none were told apart.
    """

    values: np.ndarray
    covariance: np.ndarray
    n_clusters: int


def estimate_aurocs(y: Any, scores: Any, groups: Any = None) -> AurocEstimates:
    r"""Estimate AUROCs on the same cases, and their covariance.

    Each case has a component: the share of cases of the other class that its score
    orders rightly. Their spread gives the covariance of the AUROCs (DeLong [1]_);
    components are summed by patient first where a patient has several cases
    (Obuchowski [2]_), which is the same where each has one. Components come from
    midranks, in :math:`O(n \log n)` (Sun and Xu [3]_).

    Parameters
    ----------
    y : array-like of bool of shape (n,) or (n, L)
        Which cases are positive; of several classes or labels, one column each.
    scores : array-like of shape (n_scores, n) or (n_scores, n, L)
        Greater where a case is more likely positive. With L columns, the AUROC is the
        mean over them (one against the rest).
    groups : array-like of shape (n,) or None, default=None
        Patient ids; None takes every case for a patient of its own.

    Returns
    -------
    AurocEstimates

    Raises
    ------
    ValueError
        If the shapes do not belong together, a class is missing, or there are fewer
        than two patients.

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
            f"All {n_cases} cases belong to one patient (group), which says nothing "
            "about how far patients differ. Give the cases of more patients."
        )
    n_labels = positive.shape[1]
    values = np.zeros(len(table))
    # by patient: what its positive and its negative cases add to each AUROC
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
    """Add up the products of two AUROCs' parts over the patients."""
    diseased, healthy = among
    across = diseased.T @ healthy * (n_clusters / (n_clusters - 1))
    covariance = across + across.T
    for part, count in zip(among, with_side, strict=True):
        # one patient with that side says nothing about its spread: count as two
        covariance += part.T @ part * (count / max(count - 1, 1))
    return covariance


def _components(
    positive: np.ndarray, score: np.ndarray
) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the AUROC, and rows and centred components of both classes."""
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
            f"scores must be of shape (n_scores, n) or (n_scores, n, L) beside y of "
            f"shape (n,) or (n, L), got {np.shape(scores)} and {np.shape(y)}."
        )
    counts = positive.sum(axis=0)
    lacking = np.flatnonzero((counts == 0) | (counts == len(positive)))
    if len(lacking):
        raise ValueError(
            f"The AUROC needs positive and negative cases, but all {len(positive)} "
            f"cases are of one kind in {len(lacking)} of {len(counts)} column(s) of y."
        )
    return positive, table
