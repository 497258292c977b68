"""Scores of predictions, and the bootstrap of their confidence intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.model_selection import (
    FixedThresholdClassifier,
    TunedThresholdClassifierCV,
)

from skfusion._validation import check_confidence_level
from skfusion.evaluation.metrics import LABELS, Metric, Predictions, resolve_metrics
from skfusion.evaluation.statistics.auroc import estimate_aurocs
from skfusion.evaluation.statistics.bootstrap import resampled_rows
from skfusion.fusion.survival import check_survival, concordance
from skfusion.inspection.models import (
    OWNER,
    FusionModel,
    Parts,
    Question,
    TableModel,
    make_output,
)

__all__ = [
    "Scoring",
    "ask_for",
    "least_error",
    "logit_limits",
    "make_scoring",
    "percentile_interval",
    "rarest_count",
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


def rarest_count(scoring: Scoring, rows: Any, patients: np.ndarray | None) -> int:
    """Return the number of patients of the rarest class, or of all without classes.

    Parameters
    ----------
    scoring : Scoring
        The score, with the outcome.
    rows : ndarray of int or slice
        Rows that count.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case. None counts cases.
    """
    y = scoring.y[rows]
    units = np.arange(len(scoring.y)) if patients is None else patients
    if scoring.positive is not None:
        sides = scoring.positive[rows].reshape(len(y), -1)
        sides = np.hstack([sides, ~sides]).T
    elif y.dtype.names is not None:
        sides = y["event"][None]
    elif y.dtype.kind == "f":
        sides = np.ones((1, len(y)), dtype=bool)
    else:
        sides = np.array([y == label for label in np.unique(y)])
    return min(len(np.unique(units[rows][side])) for side in sides)


def least_error(
    scoring: Scoring, values: np.ndarray, rows: Any, patients: np.ndarray | None
) -> float:
    """Return the smallest standard error of a score that so few patients allow.

    The estimated error is 0 if no patient differs from the others, as where classes are
    separated perfectly. With n patients of the rarest class, one of whom is ranked as
    by chance, the error is 1 / (2 n) of the range of the score.

    Parameters
    ----------
    scoring : Scoring
        The score, with the outcome.
    values : ndarray of shape (n_coalitions, ...)
        Scores of the coalitions, whose range stands for that of an unbounded score.
    rows : ndarray of int or slice
        Rows that are scored.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case.

    Returns
    -------
    float
        NaN if an unbounded score is the same for all coalitions.
    """
    width = 1.0 if scoring.is_bounded else float(np.ptp(values))
    n_rarest = max(rarest_count(scoring, rows, patients), 1)
    return width / (2.0 * n_rarest) if width > 0 else float("nan")


def logit_limits(
    value: float, error: float, n_rarest: int, confidence_level: float
) -> tuple[float, float]:
    """Return the limits of a mean AUROC of several classes, by its logit.

    For the AUROC of two classes, see `skfusion.evaluation.auroc_interval`.

    Parameters
    ----------
    value, error : float
        The AUROC and its standard error.
    n_rarest : int
        Number of patients of the rarest class, for an AUROC of 0 or 1.
    confidence_level : float
        Confidence level of the interval.

    Examples
    --------
    >>> from skfusion.inspection.modalities.scoring import logit_limits
    >>> low, high = logit_limits(1.0, 0.0, 5, 0.95)
    >>> round(low, 2), high
    (0.5, 1.0)
    """
    edge = 1.0 / (2.0 * max(n_rarest, 1))
    if edge >= 0.5:
        return 0.0, 1.0
    inner = float(np.clip(value, edge, 1.0 - edge))
    reach = norm.ppf(0.5 + confidence_level / 2.0) * max(error, edge)
    low, high = expit(logit(inner) + np.array([-1, 1]) * reach / (inner * (1 - inner)))
    # Beyond the edge, only the value itself is known to be possible.
    return float(min(low, value)), float(1.0 if value > 1 - edge else high)


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
    range : tuple of two floats
        Smallest and largest possible score.
    on_link : bool
        Whether the score is computed from log-odds, which rank the cases in the same
        order, instead of all predicted probabilities or numbers.
    needs_labels : bool
        Whether the score is computed from predicted classes. They follow from the
        probabilities, unless `score` receives others as its third argument.
    """

    name: str
    y: np.ndarray
    is_auroc: bool
    score: Callable[..., float]
    positive: np.ndarray | None = None
    is_bounded: bool = True
    range: tuple[float, float] = (0.0, 1.0)
    on_link: bool = False
    needs_labels: bool = False


def ask_for(
    model: FusionModel | TableModel, scoring: Scoring
) -> Callable[[Parts], np.ndarray]:
    """Return the function that computes the outputs (n, C) that a score needs."""
    if scoring.on_link:
        return make_output(model, "link").ask
    return Question(model, "proba")


def make_scoring(
    model: FusionModel | TableModel, y: Any, scoring: Any, pos_label: Any = None
) -> Scoring:
    """Validate the outcome and return the score.

    Parameters
    ----------
    model : FusionModel or TableModel
        The fitted model.
    y : array-like of n rows
        The outcome.
    scoring : str, callable, Metric or None
        As in `compare_fusion`. None is the AUROC, R² or the concordance.
    pos_label : class label or None, default=None
        The positive one of two classes. None is the second one.

    Returns
    -------
    Scoring

    Raises
    ------
    ValueError
        If `y` has a class that the model was not fitted on, or only one value, the
        score does not support the task, or it depends on the positive class, which is
        not known.
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
    if getattr(scoring, "name", scoring) in (None, *AUROCS):
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
    decide = _decision_of(model.estimator, classes)
    return _of_metric(values, classes, scoring, decide, pos_label)


def _auroc_of(positive: np.ndarray) -> Callable[..., float]:
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


def _decision_of(estimator: Any, classes: np.ndarray) -> Callable[..., np.ndarray]:
    """Return the function from probabilities (n, C) to the classes of `predict`."""
    while hasattr(estimator, "best_estimator_"):
        estimator = estimator.best_estimator_
    place, threshold = None, 0.5
    if isinstance(estimator, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        if estimator.response_method == "decision_function":
            raise ValueError(
                f"{OWNER}: the threshold of {type(estimator).__name__} is one of its "
                "decision_function, so that it cannot be applied to mean probabilities "
                "of background cases. Use response_method='predict_proba'."
            )
        given = getattr(estimator, "pos_label", None)
        place = 1 if given is None else int(np.flatnonzero(classes == given)[0])
        if isinstance(estimator, TunedThresholdClassifierCV):
            threshold = float(estimator.best_threshold_)
        elif not isinstance(estimator.threshold, str):  # "auto" is 0.5
            threshold = float(estimator.threshold)

    def decide(predicted: np.ndarray) -> np.ndarray:
        if place is None:
            return classes[predicted.argmax(axis=1)]
        return np.where(
            predicted[:, place] >= threshold, classes[place], classes[1 - place]
        )

    return decide


def _unclear(classes: np.ndarray | None) -> np.ndarray | None:
    """Return two classes if nothing says which of them is positive."""
    if classes is None or len(classes) != 2:
        return None
    known = classes.dtype.kind in "biuf" and set(classes.tolist()) == {0, 1}
    return None if known else classes


def _of_metric(
    y: np.ndarray,
    classes: np.ndarray | None,
    scoring: Any,
    decide: Callable[..., np.ndarray] | None = None,
    pos_label: Any = None,
) -> Scoring:
    metric = scoring
    if not isinstance(scoring, Metric):
        n_classes = None if classes is None else len(classes)
        unclear = _unclear(classes) if pos_label is None else None
        metric = resolve_metrics(scoring, n_classes, unclear_classes=unclear)[0]
    # The scores of two classes take the last one as the positive class.
    turned = classes is not None and len(classes) == 2 and pos_label == classes[0]
    ordered = classes[::-1] if turned and classes is not None else classes
    sign = 1.0 if metric.greater_is_better else -1.0

    def score(
        predicted: np.ndarray, rows: np.ndarray, labels: np.ndarray | None = None
    ) -> float:
        if labels is None and decide is not None:
            labels = decide(predicted)
        if classes is None and predicted.shape[1] == 1:
            predicted = predicted[:, 0]
        given = Predictions(predicted[:, ::-1] if turned else predicted, labels)
        return sign * metric.score(given, np.zeros((len(rows), 1)), y[rows], ordered)

    bounded = (metric.lowest, metric.highest) == (0.0, 1.0)
    ends = sorted((sign * metric.lowest, sign * metric.highest))
    return Scoring(
        metric.label,
        y,
        False,
        score,
        is_bounded=bounded,
        range=(ends[0], ends[1]),
        needs_labels=metric.needs_labels,
    )
