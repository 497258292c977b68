"""Scores of predictions, and the bootstrap of their confidence intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_confidence_level
from skfusion.evaluation.metrics import LABELS, Metric, Predictions, resolve_metrics
from skfusion.evaluation.statistics.auroc import estimate_aurocs
from skfusion.evaluation.statistics.bootstrap import resampled_rows
from skfusion.fusion.survival import check_survival, concordance
from skfusion.inspection.models import (
    OWNER,
    FusionModel,
    Parts,
    TableModel,
    make_output,
)

__all__ = [
    "Scoring",
    "ask_for",
    "make_scoring",
    "percentile_interval",
    "resampled_rows",
]


def percentile_interval(
    draws: np.ndarray, confidence_level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of the percentile bootstrap interval.

    Parameters
    ----------
    draws : ndarray of shape (n_resamples, ...)
        Bootstrap samples of a statistic. NaN (undefined) samples are ignored.
    confidence_level : float
        Fraction of the samples between the limits.

    Returns
    -------
    low, high : ndarray of shape (...)

    Raises
    ------
    ValueError
        If `confidence_level` is not between 0 and 1.
    """
    check_confidence_level(confidence_level, OWNER)
    tail = (1.0 - confidence_level) / 2.0
    low, high = np.nanquantile(draws, [tail, 1.0 - tail], axis=0)
    return low, high


AUROCS = ("roc_auc", "roc_auc_ovr")


@dataclass(frozen=True)
class Scoring:
    """Score for which greater is better, with the outcome it is computed from.

    Attributes
    ----------
    name : str
        Name of the score in reports.
    y : ndarray of n rows
        The validated outcome.
    is_auroc : bool
        Whether the score is the AUROC (one-vs-rest), whose covariance is known.
    score : callable
        Maps predictions (n, n_outputs) and their row positions to a number.
    positive : ndarray of bool of shape (n,) or (n, L), or None
        Whether a case is positive, for the AUROC.
    is_bounded : bool
        Whether the score is between 0 and 1, so that a difference of 0.02 is small.
    on_link : bool
        Whether the score is computed from log-odds, which rank the cases in the same
        order, instead of all predicted probabilities or numbers.
    """

    name: str
    y: np.ndarray
    is_auroc: bool
    score: Callable[[np.ndarray, np.ndarray], float]
    positive: np.ndarray | None = None
    is_bounded: bool = True
    on_link: bool = False


def ask_for(
    model: FusionModel | TableModel, scoring: Scoring
) -> Callable[[Parts], np.ndarray]:
    """Return the function that computes the outputs (n, C) that a score needs."""
    return make_output(model, "link").ask if scoring.on_link else model.predict


def make_scoring(model: FusionModel | TableModel, y: Any, scoring: Any) -> Scoring:
    """Validate the outcome and return the score.

    Parameters
    ----------
    model : FusionModel or TableModel
        The fitted model.
    y : array-like of n rows
        The outcome.
    scoring : str, callable or None
        As in `compare_fusion`. None is the AUROC, R² or the concordance.

    Returns
    -------
    Scoring

    Raises
    ------
    ValueError
        If `y` has a class that the model was not fitted on, or only one value, or the
        score does not support the task.
    """
    survival = model.kind == "survival" or np.asarray(y).dtype.names is not None
    if survival:
        return _concordance(y, scoring)
    values = np.asarray(y)
    unknown = np.flatnonzero(pd.DataFrame(values).isna().any(axis=1))
    if len(unknown):
        raise ValueError(
            f"{OWNER}: y is missing in {len(unknown)} of {len(values)} rows, first at "
            f"row position(s) {unknown[:5].tolist()}. Leave those cases out."
        )
    if len(np.unique(values, axis=0)) < 2:
        raise ValueError(
            f"{OWNER}: y has one value in all {len(values)} cases, so the score is not "
            "defined. Pass cases with different outcomes."
        )
    if model.kind == "numbers":
        return _of_metric(values.astype(np.float64), None, scoring or "r2")
    if model.kind == "labels":
        return _labels(values, scoring)
    classes = np.asarray(model.labels)
    strange = np.flatnonzero(~np.isin(values, classes))
    if len(strange):
        raise ValueError(
            f"{OWNER}: {len(strange)} of {len(values)} cases have a class that the "
            "model was not fitted on, first at row position(s) "
            f"{strange[:5].tolist()}. Leave those cases out."
        )
    if scoring in (None, *AUROCS):
        of_class = values[:, None] == classes
        if not of_class.any(axis=0).all():
            raise ValueError(
                f"{OWNER}: {int((~of_class.any(axis=0)).sum())} of {len(classes)} "
                "classes have no case, so their AUROC is not defined. Pass cases of "
                "every class, or use another scoring."
            )
        binary = len(classes) == 2
        positive = of_class[:, 1] if binary else of_class
        name = "AUROC" if binary else LABELS["roc_auc_ovr"]
        score = _auroc_of(positive)
        return Scoring(name, values, True, score, positive, on_link=binary)
    return _of_metric(values, classes, scoring)


def _auroc_of(positive: np.ndarray) -> Callable[[np.ndarray, np.ndarray], float]:
    def score(predicted: np.ndarray, rows: np.ndarray) -> float:
        if positive.ndim == 1:
            return _auroc(positive[rows], predicted[:, -1])
        columns = zip(positive[rows].T, predicted.T, strict=True)
        return float(np.mean([_auroc(there, part) for there, part in columns]))

    return score


def _auroc(positive: np.ndarray, score: np.ndarray) -> float:
    if positive.all() or not positive.any():
        return float("nan")  # a bootstrap sample or a fold can lack a class
    return float(estimate_aurocs(positive, score[None]).values[0])


def _labels(values: np.ndarray, scoring: Any) -> Scoring:
    if scoring not in (None, *AUROCS):
        raise ValueError(
            f"{OWNER}: scoring={scoring!r} does not support multilabel outcomes. Use "
            "scoring=None for the mean AUROC of the labels."
        )
    positive = values.astype(bool)
    name = "AUROC (mean of labels)"
    return Scoring(name, values, True, _auroc_of(positive), positive, on_link=True)


def _concordance(y: Any, scoring: Any) -> Scoring:
    if scoring not in (None, "concordance"):
        raise ValueError(
            f"{OWNER}: scoring={scoring!r} does not support censored times. Use "
            "scoring=None for the concordance."
        )
    times = check_survival(y, OWNER)

    def score(predicted: np.ndarray, rows: np.ndarray) -> float:
        part = times[rows]
        if not part["event"].any():
            return float("nan")
        return concordance(part, predicted[:, 0])

    return Scoring("concordance", times, False, score)


def _of_metric(y: np.ndarray, classes: np.ndarray | None, scoring: Any) -> Scoring:
    n_classes = None if classes is None else len(classes)
    metric: Metric = resolve_metrics(scoring, n_classes)[0]
    sign = 1.0 if metric.greater_is_better else -1.0

    def score(predicted: np.ndarray, rows: np.ndarray) -> float:
        labels = None if classes is None else classes[predicted.argmax(axis=1)]
        if classes is None and predicted.shape[1] == 1:
            predicted = predicted[:, 0]
        given = Predictions(predicted, labels)
        return sign * metric.score(given, np.zeros((len(rows), 1)), y[rows], classes)

    bounded = (metric.lowest, metric.highest) == (0.0, 1.0)
    return Scoring(metric.label, y, False, score, is_bounded=bounded)
