"""Scores of one test set under many weights of its rows at once.

Bootstrap samples and leave-one-out samples of patients are weights of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skfusion._validation import check_option
from skfusion.evaluation.comparison.analyses.held_out import HeldOutSet

__all__ = ["SCORES", "WeightedScore", "distinct_totals", "weighted_score"]


# Function of a test set and weights of shape (n_samples, n) that returns one score for
# each sample, NaN where it is undefined.
WeightedScore = Callable[[HeldOutSet, np.ndarray], np.ndarray]


def distinct_totals(
    part: HeldOutSet, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of positive and negative cases from each distinct score on.

    Parameters
    ----------
    part : HeldOutSet
        Test set of two classes with n rows and k distinct scores.
    weights : ndarray of shape (n_samples, n)
        Weights of the rows.

    Returns
    -------
    positive, negative : ndarray of shape (n_samples, k)
        Totals in the order of descending scores.
    """
    last = np.append(part.score[1:] != part.score[:-1], True)
    positive = np.cumsum(weights * part.y, axis=1)[:, last]
    negative = np.cumsum(weights * (1.0 - part.y), axis=1)[:, last]
    return positive, negative


def _auroc(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
    positive, negative = distinct_totals(part, weights)
    gained = np.diff(positive, axis=1, prepend=0.0)
    passed = np.diff(negative, axis=1, prepend=0.0)
    beaten = negative[:, -1:] - negative + passed / 2.0
    return _ratio((gained * beaten).sum(axis=1), positive[:, -1] * negative[:, -1])


def _average_precision(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
    positive, negative = distinct_totals(part, weights)
    gained = np.diff(positive, axis=1, prepend=0.0)
    named = positive + negative
    precision = positive / np.where(named > 0, named, 1.0)
    return _ratio((gained * precision).sum(axis=1), positive[:, -1])


def _mean_of(loss: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> WeightedScore:
    def score(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
        return _ratio(weights @ loss(part.y, part.score), weights.sum(axis=1))

    return score


def _squares(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    return (y - score) ** 2


def _log_loss(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    least = np.finfo(np.float64).eps  # as in scikit-learn
    p = np.clip(score, least, 1.0 - least)
    return -np.where(y == 1.0, np.log(p), np.log(1.0 - p))


def _root_mean_square(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
    return np.sqrt(_mean_of(_squares)(part, weights))


def _r2(part: HeldOutSet, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(axis=1)
    middle = _ratio(weights @ part.y, total)
    about = (weights * (part.y - middle[:, None]) ** 2).sum(axis=1)
    return 1.0 - _ratio(weights @ _squares(part.y, part.score), about)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    known = below > 0
    return np.where(known, above / np.where(known, below, 1.0), np.nan)


SCORES: dict[str, dict[str, WeightedScore]] = {
    "binary": {
        "roc_auc": _auroc,
        "average_precision": _average_precision,
        "brier": _mean_of(_squares),
        "log_loss": _mean_of(_log_loss),
    },
    "regression": {
        "mae": _mean_of(lambda y, score: np.abs(y - score)),
        "mse": _mean_of(_squares),
        "rmse": _root_mean_square,
        "r2": _r2,
    },
}


def weighted_score(
    score: Any, metrics: list[Any], task: str, owner: str
) -> tuple[str, WeightedScore]:
    """Return the name of a score and its function.

    Parameters
    ----------
    score : str or None
        Name of the score. None uses the first metric of the comparison that has one.
    metrics : list of Metric
        Metrics of the comparison.
    task : str
        Kind of the outcome.
    owner : str
        Name of the method, for the message.

    Returns
    -------
    name : str
    function : callable

    Raises
    ------
    ValueError
        If the outcome is of another kind, or the score is not known.
    """
    known = SCORES.get(task)
    if known is None:
        raise ValueError(
            f"FusionComparison.{owner} needs an outcome of two classes or a numeric "
            f"outcome, but the outcome is {task}."
        )
    name = score
    if name is None:
        names = [metric.name for metric in metrics if metric.name in known]
        name = names[0] if names else next(iter(known))
    check_option(name, "score", list(known), f"FusionComparison.{owner}")
    return name, known[name]
