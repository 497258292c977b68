"""Weights of rows from weights of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import compute_sample_weight

from skfusion._validation import did_you_mean

__all__ = ["class_weight_of_rows"]


def class_weight_of_rows(
    class_weight: Any,
    target: np.ndarray,
    sample_weight: np.ndarray | None,
    *,
    classes: np.ndarray | None,
    owner: str,
) -> np.ndarray:
    """Return the weight of the class of each row.

    Parameters
    ----------
    class_weight : dict, list of dict or "balanced"
        Weight of each class, by label. Classes that a dict omits have weight 1. A list
        has one dict per label of an indicator matrix. ``"balanced"`` weights a class
        by the inverse of its share of the sample weights.
    target : ndarray of shape (n_samples,) or (n_samples, n_labels)
        Class numbers, or an indicator matrix.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows. A row of weight 0 counts as left out.
    classes : ndarray of shape (n_classes,) or None
        Labels of the classes. None for an indicator matrix.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    ndarray of float64 of shape (n_samples,)

    Raises
    ------
    ValueError
        If a dict has a label that is not a class, unless it has all classes as well, or
        if a weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.class_weights import class_weight_of_rows
    >>> target, weights = np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 0.0, 1.0])
    >>> class_weight_of_rows("balanced", target, weights, classes=np.array(["a", "b"]),
    ...                      owner="EarlyFusionClassifier").tolist()
    [0.75, 0.75, 0.75, 1.5]
    """
    if isinstance(class_weight, str) and class_weight == "balanced":
        columns = target[:, None] if target.ndim == 1 else target
        parts = [_balanced(column, sample_weight) for column in columns.T]
        return np.prod(parts, axis=0)
    if isinstance(class_weight, Mapping) and classes is not None:
        class_weight = _by_number(class_weight, classes, owner)
    weights = compute_sample_weight(class_weight, target)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"{owner}: class_weight must have finite weights of 0 or more, got "
            f"{class_weight!r}."
        )
    return weights


def _balanced(column: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    totals = np.bincount(column, sample_weight)
    seen = totals > 0
    weights = np.zeros(len(totals))
    weights[seen] = totals.sum() / (seen.sum() * totals[seen])
    return weights[column]


def _by_number(
    class_weight: Mapping[Any, float], classes: np.ndarray, owner: str
) -> dict[int, float]:
    labels = classes.tolist()
    unknown = [label for label in class_weight if label not in labels]
    omitted = [label for label in labels if label not in class_weight]
    # A dict of all classes may have more, e.g. a rare class that a fold lacks.
    if unknown and omitted:
        hint = did_you_mean(unknown[0], [str(label) for label in labels])
        raise ValueError(
            f"{owner}: class_weight has {unknown[:5]}, which are no classes of y. The "
            f"classes are {labels[:20]}.{hint} {omitted[:5]} would have weight 1."
        )
    return {i: class_weight.get(label, 1.0) for i, label in enumerate(labels)}
