"""Optimisation of the members' weights on out-of-fold predictions.

The weights are 0 or more and sum to 1. Smooth losses are minimised by their gradient.
A score that changes in steps, such as the AUROC, is maximised by a direct search. The
search is deterministic, so the same predictions give the same weights.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.late.aggregation import SMALLEST_PROBABILITY, weighted_mean

__all__ = ["learn_weights", "score_function", "search_weights"]


def learn_weights(
    P: np.ndarray,
    present: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    score: Callable[[np.ndarray], float] | None = None,
) -> np.ndarray:
    """Return the best weights of the mean of out-of-fold predictions.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Out-of-fold predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.
    y : ndarray of shape (n_samples,)
        Class numbers, or numbers if ``n_outputs`` is 1.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.
    score : callable or None, default=None
        Score to maximise, a function of the fused predictions (n_samples, n_outputs).
        None minimises the log-loss for classes and the squared error for numbers.

    Returns
    -------
    ndarray of shape (n_members,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.weights import learn_weights
    >>> y = np.array([1.0, 2.0, 3.0, 4.0])
    >>> P = np.column_stack([y, 5 - y])[:, :, None]
    >>> learn_weights(P, np.ones((4, 2), dtype=bool), y).round(3).tolist()
    [1.0, 0.0]
    """
    n_members = P.shape[1]
    result = _least_loss(P, present, y, sample_weight)
    if score is not None:
        starts = [_simplex(result.x)] if result.success else []
        return search_weights(
            lambda weights: score(weighted_mean(P, present, weights)),
            n_members,
            starts,
        )
    if result.success:
        return _simplex(result.x)
    warn_user(
        f"The weights of the members could not be fitted ({result.message}), so equal "
        "weights are used. Set weights=, or use another aggregation.",
        FallbackWarning,
    )
    return np.full(n_members, 1.0 / n_members)


def _least_loss(
    P: np.ndarray,
    present: np.ndarray,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> OptimizeResult:
    n_members = P.shape[1]
    scale = max(float(np.var(y)), np.finfo(float).tiny)

    def loss(weights: np.ndarray) -> float:
        fused = weighted_mean(P, present, np.clip(weights, 0.0, None))
        if P.shape[2] == 1:
            errors = (fused[:, 0] - y) ** 2 / scale
        else:
            errors = -np.log(
                np.clip(fused[np.arange(len(y)), y], SMALLEST_PROBABILITY, None)
            )
        return float(np.average(errors, weights=sample_weight))

    return minimize(
        loss,
        np.full(n_members, 1.0 / n_members),
        method="SLSQP",
        bounds=[(0.0, 1.0)] * n_members,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1.0},
    )


def _simplex(weights: np.ndarray) -> np.ndarray:
    positive = np.clip(weights, 0.0, None)
    return positive / positive.sum()


def search_weights(
    score: Callable[[np.ndarray], float],
    n_members: int,
    starts: list[np.ndarray] | None = None,
    *,
    smallest_step: float = 1 / 128,
) -> np.ndarray:
    """Return the weights with the highest score, which may change in steps.

    The search starts from the best of the initial weights. It moves weight from one
    member to another as long as the score increases. Then it halves the amount that is
    moved. Among weights with the same score, the first ones found are returned, and
    equal weights come first.

    Parameters
    ----------
    score : callable
        Score to maximise, a function of weights of shape (n_members,). The weights are
        0 or more and sum to 1.
    n_members : int
        Number of members.
    starts : list of ndarray of shape (n_members,) or None, default=None
        Initial weights in addition to equal weights and each member alone.
    smallest_step : float, default=1/128
        Smallest amount of weight that is moved.

    Returns
    -------
    ndarray of shape (n_members,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.weights import search_weights
    >>> best = np.array([0.75, 0.25])
    >>> search_weights(lambda w: -np.abs(w - best).sum(), 2).tolist()
    [0.75, 0.25]
    """
    even = np.full(n_members, 1.0 / n_members)
    candidates = [even, *(starts or []), *np.eye(n_members)]
    scores = [score(weights) for weights in candidates]
    highest = max(scores)
    first = next(i for i, s in enumerate(scores) if s >= highest - 1e-12)
    weights, found = candidates[first], scores[first]
    step = 0.25
    while step >= smallest_step:
        moved = False
        for giver, taker in permutations(range(n_members), 2):
            amount = min(step, weights[giver])
            if amount == 0:
                continue
            trial = weights.copy()
            trial[giver] -= amount
            trial[taker] += amount
            value = score(trial)
            if value > found + 1e-9:
                weights, found, moved = trial, value, True
        if not moved:
            step /= 2
    return weights / weights.sum()


def score_function(
    scoring: Any, kind: str, classes: Any = None
) -> Callable[..., float]:
    """Return a function that scores fused predictions with a scikit-learn scorer.

    Parameters
    ----------
    scoring : str or callable
        Name of a scorer, e.g. ``"roc_auc"``, or a result of `make_scorer`.
    kind : {"classes", "labels", "numbers"}
        Kind of the target.
    classes : ndarray of shape (n_outputs,), list of ndarray or None, default=None
        Labels of the classes, or the values 0 and 1 of each label.

    Returns
    -------
    callable
        Function of fused predictions (n_samples, n_outputs), y and sample_weight.

    Raises
    ------
    ValueError
        If the name of the scorer is unknown. The function raises the error if the
        scorer does not support the target or gives NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.weights import score_function
    >>> auroc = score_function("roc_auc", "classes", np.array([0, 1]))
    >>> P = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    >>> float(auroc(P, np.array([0, 1, 1])))
    1.0
    """
    scorer = get_scorer(scoring)
    reader: Any = _Numbers() if kind == "numbers" else _Probabilities(kind)
    if classes is not None:
        reader.classes_ = classes

    def score(
        fused: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> float:
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        try:
            found = float(scorer(reader, fused, y, **weighted))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"weights={scoring!r} cannot score the members' predictions: {error} "
                "Use a scorer for this kind of target, or weights=None."
            ) from error
        if np.isnan(found):
            raise ValueError(
                f"weights={scoring!r} gives NaN for the members' predictions. Use a "
                "scorer that is defined on the training rows, e.g. where a class or "
                "label has one value only, or weights=None."
            )
        return found

    return score


class _Probabilities(ClassifierMixin, BaseEstimator):
    """Classifier that returns its input as the prediction, for scorers."""

    classes_: Any

    def __init__(self, kind: str = "classes") -> None:
        self.kind = kind

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return X

    def predict(self, X: np.ndarray) -> np.ndarray:
        if self.kind == "labels":
            return (X > 0.5).astype(np.int64)
        return self.classes_[X.argmax(axis=1)]

    def __sklearn_is_fitted__(self) -> bool:
        return True


class _Numbers(RegressorMixin, BaseEstimator):
    """Regressor that returns its input as the prediction, for scorers."""

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0] if X.shape[1] == 1 else X

    def __sklearn_is_fitted__(self) -> bool:
        return True
