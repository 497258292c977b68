"""Decisions from several tests: adjusted p-values, and their union.

The module depends only on numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["holm_adjust", "intersection_union"]


def holm_adjust(pvalues: Any) -> np.ndarray:
    """Adjust p-values for multiple testing by Holm's step-down method.

    The sorted p-values are multiplied by m, m - 1, ..., 1, made monotone and limited
    to 1 [1]_. The method controls the family-wise error rate under any dependence
    between the tests.

    Parameters
    ----------
    pvalues : array-like of shape (n_tests,)
        Unadjusted p-values. NaN remains NaN and is counted in the number of tests.

    Returns
    -------
    ndarray of float64 of shape (n_tests,)
        Adjusted p-values, in the order of `pvalues`.

    Raises
    ------
    ValueError
        If a value lies outside [0, 1].

    References
    ----------
    .. [1] Holm S (1979). A simple sequentially rejective multiple test procedure.
       Scandinavian Journal of Statistics 6:65-70.

    Examples
    --------
    >>> from skfusion.evaluation import holm_adjust
    >>> holm_adjust([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(pvalues, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"pvalues must be one-dimensional, got shape {values.shape}.")
    _check_range(values)
    order = np.argsort(values)  # NaN is sorted last.
    factors = len(values) - np.arange(len(values))
    adjusted = np.full(len(values), np.nan)
    stepped = np.maximum.accumulate(values[order] * factors)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def intersection_union(
    pvalues: Any, differences: Any, *, axis: int = -1
) -> float | np.ndarray:
    """Compute the p-value that all of several differences are above zero.

    A fusion helps if it is better than each single modality. This alternative is the
    intersection of those of the tests against one single modality each. The
    intersection-union test rejects if each of these tests rejects, so its p-value is
    the largest of theirs [1]_. The tests need no adjustment among each other.

    Parameters
    ----------
    pvalues : array-like of shape (..., n_tests)
        Two-sided p-values, one per comparison. The fusions are in the other axes.
    differences : array-like of the shape of `pvalues`
        The differences that were tested, positive if the fusion is better.
    axis : int, default=-1
        Axis of the tests of one decision. It is reduced.

    Returns
    -------
    float or ndarray of float64
        The largest p-value of each decision. It is 1 if any difference is 0 or less,
        and NaN if any p-value or difference is NaN. The shape is that of `pvalues`
        without `axis`, a float for one decision.

    Raises
    ------
    ValueError
        If the shapes differ, there is no test, or a p-value lies outside [0, 1].

    Notes
    -----
    Several fusions are several decisions. Adjust their p-values by `holm_adjust`. The
    level of each decision is half of that of the two-sided tests, because only one
    direction counts.

    References
    ----------
    .. [1] Berger RL (1982). Multiparameter hypothesis testing and acceptance sampling.
       Technometrics 24:295-300.

    Examples
    --------
    >>> from skfusion.evaluation import intersection_union
    >>> intersection_union([0.01, 0.03], [0.05, 0.02])
    0.03
    >>> intersection_union([[0.01, 0.03], [0.01, 0.001]], [[0.05, 0.02], [0.05, -0.1]])
    array([0.03, 1.  ])
    """
    values = np.asarray(pvalues, dtype=np.float64)
    signs = np.asarray(differences, dtype=np.float64)
    if values.shape != signs.shape or values.ndim == 0:
        raise ValueError(
            "pvalues and differences must have the same shape, with an axis of tests, "
            f"got {values.shape} and {signs.shape}."
        )
    if values.shape[axis] == 0:
        raise ValueError(
            f"pvalues has no test along axis {axis}, got shape {values.shape}. Pass at "
            "least one comparison."
        )
    _check_range(values)
    # A maximum is NaN if any of its values is.
    largest = np.where(signs <= 0, 1.0, values).max(axis=axis)
    unknown = (np.isnan(values) | np.isnan(signs)).any(axis=axis)
    found = np.where(unknown, np.nan, largest)
    return float(found) if found.ndim == 0 else found


def _check_range(values: np.ndarray) -> None:
    outside = np.flatnonzero((values < 0) | (values > 1))
    if len(outside):
        raise ValueError(
            "pvalues must be between 0 and 1, got values outside this range in "
            f"{len(outside)} of {values.size} entries, first at position(s) "
            f"{outside[:5].tolist()}."
        )
