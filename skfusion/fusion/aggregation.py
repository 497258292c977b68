"""The rules of late fusion: predictions of the members in, one prediction out.

Pure functions on arrays. ``P`` has shape (n_samples, n_members, n_outputs):
probabilities of the classes, or one number for a regression. ``present`` is the
boolean mask (n_samples, n_members); entries of absent members are ignored, whatever
they hold. Every row must have at least one member.
"""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import minimize

__all__ = ["learn_weights", "log_odds", "mean", "vote", "weighted_mean"]

# Probabilities of 0 and 1 have no finite logarithm; float32 models do give them.
SMALLEST_PROBABILITY = 1e-6


def mean(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Average the members that are present.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.aggregation import mean
    >>> P = np.array([[[0.2, 0.8], [0.6, 0.4]], [[0.2, 0.8], [np.nan, np.nan]]])
    >>> mean(P, np.array([[True, True], [True, False]])).round(2).tolist()
    [[0.4, 0.6], [0.2, 0.8]]
    """
    return weighted_mean(P, present, np.ones(P.shape[1]))


def weighted_mean(
    P: np.ndarray, present: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Average the members that are present, weighted; weights are renormalised.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.
    weights : ndarray of shape (n_members,)
        Weights, 0 or more. In a row whose present members all have weight 0, they
        count equally.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.aggregation import weighted_mean
    >>> P = np.array([[[0.0], [10.0]]])
    >>> weighted_mean(P, np.array([[True, True]]), np.array([3.0, 1.0])).tolist()
    [[2.5]]
    """
    shares = present * np.asarray(weights, dtype=np.float64)
    idle = shares.sum(axis=1) == 0
    shares[idle] = present[idle]
    shares /= shares.sum(axis=1, keepdims=True)
    return np.einsum("nm,nmc->nc", shares, np.where(present[:, :, None], P, 0.0))


def vote(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Majority vote: the share of the present members that choose each class.

    Where several classes have the most votes, their votes are shared out among them
    by their mean probability, which breaks the tie.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.aggregation import vote
    >>> P = np.array([[[0.6, 0.4], [0.55, 0.45], [0.1, 0.9]],
    ...               [[0.6, 0.4], [0.1, 0.9], [np.nan, np.nan]]])
    >>> vote(P, np.array([[True, True, True], [True, True, False]])).round(2).tolist()
    [[0.67, 0.33], [0.35, 0.65]]
    """
    n_classes = P.shape[2]
    filled = np.where(present[:, :, None], P, 0.0)
    ballots = np.eye(n_classes)[filled.argmax(axis=2)]  # (n, M, C)
    shares = mean(ballots, present)
    leading = np.isclose(shares, shares.max(axis=1, keepdims=True))
    tied = leading.sum(axis=1) > 1
    averages = np.where(leading, mean(P, present), 0.0)
    pot = np.where(leading, shares, 0.0).sum(axis=1, keepdims=True)
    split = averages / averages.sum(axis=1, keepdims=True) * pot
    return np.where(tied[:, None] & leading, split, shares)


def log_odds(P: np.ndarray) -> np.ndarray:
    """Turn probabilities into log-odds, the scale on which evidence adds up.

    Parameters
    ----------
    P : ndarray of shape (..., n_classes)
        Probabilities.

    Returns
    -------
    ndarray of shape (..., 1) or (..., n_classes)
        For two classes the log-odds of the second; for more, each class's own.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.aggregation import log_odds
    >>> log_odds(np.array([[0.5, 0.5], [0.1, 0.9]])).round(3).tolist()
    [[0.0], [2.197]]
    """
    low = SMALLEST_PROBABILITY
    clipped = np.clip(P[..., 1:] if P.shape[-1] == 2 else P, low, 1 - low)
    return np.log(clipped) - np.log1p(-clipped)


def learn_weights(
    P: np.ndarray,
    present: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
) -> np.ndarray:
    """Find the weights of the mean that lose least on out-of-fold predictions.

    The loss is the log-loss for classes and the squared error for numbers; the
    weights are 0 or more and sum to 1.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Out-of-fold predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.
    y : ndarray of shape (n_samples,)
        Class numbers, or numbers if ``n_outputs`` is 1.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.

    Returns
    -------
    ndarray of shape (n_members,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.aggregation import learn_weights
    >>> y = np.array([1.0, 2.0, 3.0, 4.0])
    >>> P = np.column_stack([y, 5 - y])[:, :, None]
    >>> learn_weights(P, np.ones((4, 2), dtype=bool), y).round(3).tolist()
    [1.0, 0.0]
    """
    n_members = P.shape[1]

    def loss(weights: np.ndarray) -> float:
        fused = weighted_mean(P, present, np.clip(weights, 0.0, None))
        if P.shape[2] == 1:
            errors = (fused[:, 0] - y) ** 2 / scale
        else:
            errors = -np.log(
                np.clip(fused[np.arange(len(y)), y], SMALLEST_PROBABILITY, None)
            )
        return float(np.average(errors, weights=sample_weight))

    scale = max(float(np.var(y)), np.finfo(float).tiny)
    start = np.full(n_members, 1.0 / n_members)
    result = minimize(
        loss,
        start,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1.0},
    )
    if not result.success:
        warnings.warn(
            f"The weights of the members could not be learned ({result.message}); they "
            "count equally. Give weights=, or use another aggregation.",
            UserWarning,
            stacklevel=3,
        )
    weights = np.clip(result.x if result.success else start, 0.0, None)
    return weights / weights.sum()
