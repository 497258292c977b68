"""Metrics of a comparison: scorers, their direction and range, and number formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import (
    average_precision_score,
    get_scorer,
    get_scorer_names,
    roc_auc_score,
)

from skfusion._validation import did_you_mean
from skfusion.evaluation.statistics.survival_scores import integrated_brier_score
from skfusion.fusion.survival import concordance

__all__ = [
    "Metric",
    "Predictions",
    "SearchScore",
    "class_numbers",
    "format_p",
    "resolve_metrics",
]


LABELS = {
    "roc_auc": "AUROC",
    "roc_auc_ovr": "AUROC (one vs rest)",
    "roc_auc_ovo": "AUROC (one vs one)",
    "average_precision": "average precision",
    "brier": "Brier score",
    "log_loss": "log loss",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "r2": "R²",
    "mae": "mean absolute error",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "concordance": "concordance",
    "integrated_brier": "integrated Brier score",
}
# Loss -> scikit-learn's negated scorer. The sign is reversed to report the loss itself.
LOSSES = {
    "log_loss": "neg_log_loss",
    "mae": "neg_mean_absolute_error",
    "mse": "neg_mean_squared_error",
    "rmse": "neg_root_mean_squared_error",
}
BRIER_NAMES = ("brier", "neg_brier_score", "brier_score")
FROM_PROBABILITIES = ("roc_auc", "average_precision", "brier", "log_loss")
UNIT_INTERVAL = ("roc_auc", "average_precision", "accuracy", "balanced_accuracy", "f1")
# Scores of two classes that change if the classes are exchanged.
OF_THE_POSITIVE_CLASS = ("average_precision", "f1", "precision", "recall", "jaccard")
SURVIVAL = ("concordance", "integrated_brier")
MULTILABEL = ("roc_auc", "average_precision", "brier", "log_loss")
DEFAULTS = {
    "classes": ("roc_auc", "average_precision", "brier"),
    "multilabel": ("roc_auc", "average_precision", "brier"),
    "regression": ("r2", "mae"),
    "survival": SURVIVAL,
}


@dataclass(frozen=True)
class Predictions:
    """Predictions of one fitted strategy for the test set of one fold.

    Attributes
    ----------
    scores : ndarray of shape (n_test, n_classes), (n_test, n_labels) or (n_test,)
        Probabilities of the classes or labels, predicted values of a regression, or
        risks of a survival model.
    labels : ndarray of shape (n_test,) or None
        Predicted classes in the original labels. None if no metric needs them.
    survival : ndarray of shape (n_test, n_times) or None
        Predicted probability of no event until each time of `times`.
    times : ndarray of shape (n_times,) or None
        Times of the survival probabilities.
    """

    scores: np.ndarray
    labels: np.ndarray | None = None
    survival: np.ndarray | None = None
    times: np.ndarray | None = None


@dataclass(frozen=True)
class Metric:
    """Score function with its direction and range.

    Attributes
    ----------
    name : str
        Short name, the key in tables.
    label : str
        Name in reports.
    greater_is_better : bool
        False for a loss.
    lowest, highest : float
        Range of possible values. Confidence intervals are clipped to this range.
    needs_labels : bool
        Whether the metric needs predicted classes in addition to probabilities.
    score : callable
        Function of ``(predictions, X, y, classes)`` for the test set of a fold.
        `classes` contains the class labels, the positive one last, and is None for a
        regression.
    """

    name: str
    label: str
    greater_is_better: bool
    lowest: float
    highest: float
    needs_labels: bool
    score: Callable[[Predictions, Any, np.ndarray, np.ndarray | None], float]

    @property
    def heading(self) -> str:
        """Label as a heading, with the direction if lower is better."""
        label = self.label[:1].upper() + self.label[1:]
        return label if self.greater_is_better else f"{label} (lower is better)"

    def text(self, value: float, *, signed: bool = False) -> str:
        """Format a value with three decimals in [0, 1], or three significant digits."""
        bounded = (self.lowest, self.highest) == (0.0, 1.0) or self.name == "brier"
        kind = ".3f" if bounded or self.name == "r2" else ".3g"
        if not bounded and abs(value) >= 1000:
            kind = ",.0f"
        text = format(value, f"{'+' if signed else ''}{kind}")
        # A value that is rounded to zero has no sign.
        return (
            text if any(digit in text for digit in "123456789") else text.lstrip("+-")
        )

    def clip(self, value: float) -> float:
        """Clip the limit of an interval to the range of the metric."""
        return min(max(value, self.lowest), self.highest)

    def favours(self, difference: float) -> bool:
        """Return whether a difference of scores is an improvement."""
        return difference > 0 if self.greater_is_better else difference < 0


@dataclass(frozen=True)
class SearchScore:
    """Scorer of a search that computes a metric as the comparison does.

    Attributes
    ----------
    metric : Metric
        Metric.
    classes : ndarray or None
        Class labels, the positive one last, None without classes.
    """

    metric: Metric
    classes: np.ndarray | None

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """Return the score of a fitted estimator, where greater is better."""
        labels = None
        if self.classes is None:
            scores = np.asarray(estimator.predict(X), dtype=np.float64)
        else:
            scores = np.asarray(estimator.predict_proba(X), dtype=np.float64)
            if np.ndim(y) == 1:
                scores = scores[:, np.argsort(np.argsort(self.classes))]
            labels = estimator.predict(X) if self.metric.needs_labels else None
        found = self.metric.score(
            Predictions(scores, labels), X, np.asarray(y), self.classes
        )
        return found if self.metric.greater_is_better else -found


def resolve_metrics(
    scoring: Any,
    n_classes: int | None,
    *,
    kind: str | None = None,
    unclear_classes: Any = None,
) -> list[Metric]:
    """Resolve the `scoring` parameter to metrics, of which the first is the primary.

    Parameters
    ----------
    scoring : str, callable, list of str, dict of str to str or callable, or None
        Names of scikit-learn scorers, or ``"brier"``, ``"log_loss"``, ``"mae"``,
        ``"mse"``, ``"rmse"`` for losses with a positive sign. Names that start with
        ``neg_`` are converted to these. Callables take ``(estimator, X, y)``. If None,
        AUROC, average precision and Brier score are used. A regression uses R² and
        mean absolute error. A survival analysis has the scores ``"concordance"`` and
        ``"integrated_brier"``.
    n_classes : int or None
        Number of classes, None without classes.
    kind : {"classes", "multilabel", "regression", "survival"} or None, default=None
        Kind of the task. None derives it from `n_classes`.
    unclear_classes : ndarray of shape (2,) or None, default=None
        Two classes of which it is unknown which one is positive.

    Returns
    -------
    list of Metric

    Raises
    ------
    ValueError
        If a scorer is unknown, `scoring` is empty, a score for classes is requested
        for a regression, or a score needs to know the positive class.

    Examples
    --------
    >>> from skfusion.evaluation.metrics import resolve_metrics
    >>> [metric.heading for metric in resolve_metrics(None, 2)]
    ['AUROC', 'Average precision', 'Brier score (lower is better)']
    """
    if kind is None:
        kind = "regression" if n_classes is None else "classes"
    if scoring is None:
        scoring = list(DEFAULTS[kind])
    if isinstance(scoring, str):
        scoring = [scoring]
    elif callable(scoring):
        scoring = {getattr(scoring, "__name__", "score"): scoring}
    if not isinstance(scoring, Mapping):
        scoring = {_own_name(name, n_classes): name for name in scoring}
    if not scoring:
        raise ValueError(
            "scoring is empty. Name at least one score, or omit it to use the default "
            "scores."
        )
    if unclear_classes is not None:
        _check_positive(scoring, unclear_classes)
    if kind in ("survival", "multilabel"):
        return [_special(str(name), given, kind) for name, given in scoring.items()]
    return [_metric(str(name), given, n_classes) for name, given in scoring.items()]


def _check_positive(scoring: Mapping[Any, Any], classes: Any) -> None:
    for given in scoring.values():
        if isinstance(given, str) and given in OF_THE_POSITIVE_CLASS:
            first, second = (str(label) for label in classes)
            raise ValueError(
                f"scoring={given!r} depends on which class is positive, and the "
                f"classes are {first!r} and {second!r}. Pass pos_label=, or scores "
                "that do not depend on it, e.g. scoring=['roc_auc', 'brier']."
            )


def _special(name: str, given: Any, kind: str) -> Metric:
    """Return a metric of a survival analysis or of several labels."""
    known = SURVIVAL if kind == "survival" else MULTILABEL
    own = given if callable(given) else _own_name(given, None)
    if own not in known:
        raise ValueError(
            f"scoring={given!r} is not a score for this outcome "
            f"({kind}). The scores are {list(known)}."
        )
    loss = own in ("brier", "log_loss", "integrated_brier")
    highest = np.inf if own == "log_loss" else 1.0
    score = partial(_survival_score if kind == "survival" else _multilabel_score, own)
    label = LABELS[own] + (", mean over labels" if kind == "multilabel" else "")
    return Metric(name, label, not loss, 0.0, highest, False, score)


def _survival_score(
    own: str, predictions: Predictions, X: Any, y: np.ndarray, classes: Any
) -> float:
    if own == "concordance":
        return concordance(y, predictions.scores)
    if predictions.survival is None or predictions.times is None:
        raise ValueError(
            "The integrated Brier score needs survival probabilities, but an estimator "
            "predicts risks only. Use scoring='concordance'."
        )
    return integrated_brier_score(y, predictions.survival, predictions.times)


def _multilabel_score(
    own: str, predictions: Predictions, X: Any, y: np.ndarray, classes: Any
) -> float:
    scores = predictions.scores
    if own == "brier":
        return float(((scores - y) ** 2).mean())
    if own == "log_loss":
        clipped = np.clip(scores, 1e-15, 1 - 1e-15)
        return float(-np.where(y == 1, np.log(clipped), np.log(1 - clipped)).mean())
    function = roc_auc_score if own == "roc_auc" else average_precision_score
    varied = np.ptp(y, axis=0) > 0
    if not varied.all():
        return np.nan
    return float(function(y, scores, average="macro"))


def _own_name(name: Any, n_classes: int | None) -> str:
    if not isinstance(name, str):
        raise ValueError(
            "scoring must contain the names of scores, got an object of type "
            f"{type(name).__name__}. Pass callables in a dict, {{name: callable}}, so "
            "that each score has a name."
        )
    if name in BRIER_NAMES:
        return "brier"
    if name == "roc_auc" and n_classes is not None and n_classes > 2:
        return "roc_auc_ovr"
    ours = {theirs: own for own, theirs in LOSSES.items()}
    return ours.get(name, name.removeprefix("neg_"))


def _metric(name: str, given: Any, n_classes: int | None) -> Metric:
    if callable(given):
        score = partial(_user_score, given)
        return Metric(name, name, True, -np.inf, np.inf, True, score)
    own = _own_name(given, n_classes)
    label = LABELS.get(name, LABELS.get(own, own) if name == own else name)
    known = own.startswith(FROM_PROBABILITIES)
    if own == "brier":
        _refuse_regression(given, n_classes)
        return Metric(name, label, False, 0.0, np.inf, False, _brier)
    loss = own in LOSSES or given.startswith("neg_")
    theirs = LOSSES.get(own, f"neg_{own}" if loss else own)
    try:
        scorer = get_scorer(theirs)
    except ValueError as error:
        raise ValueError(
            f"scoring={given!r} is neither a scorer of scikit-learn nor one of "
            f"{['brier', *LOSSES]}."
            f"{did_you_mean(given, ['brier', *LOSSES, *get_scorer_names()])} "
            "sklearn.metrics.get_scorer_names() returns the names of all scorers."
        ) from error
    if known:
        _refuse_regression(given, n_classes)
    # R² is bounded above only, losses are bounded below only.
    lowest = 0.0 if loss or own.startswith(UNIT_INTERVAL) else -np.inf
    highest = 1.0 if own == "r2" or own.startswith(UNIT_INTERVAL) else np.inf
    score = partial(_named_score, scorer, -1.0 if loss else 1.0)
    return Metric(name, label, not loss, lowest, highest, not known, score)


def _refuse_regression(name: str, n_classes: int | None) -> None:
    if n_classes is None:
        raise ValueError(
            f"scoring={name!r} requires classes, but the target is numeric. Use a "
            "regression score such as 'r2', 'mae' or 'rmse', or pass "
            "task='classification'."
        )


def _brier(
    predictions: Predictions, X: Any, y: np.ndarray, classes: np.ndarray | None
) -> float:
    # The definition is that of scikit-learn, which supports more than two classes only
    # since version 1.7. Two classes: squared error of the second class. Otherwise: sum
    # over the classes.
    observed = y[:, None] == classes
    squares = (predictions.scores - observed) ** 2
    return float((squares[:, 1] if squares.shape[1] == 2 else squares.sum(1)).mean())


def _named_score(
    scorer: Callable[[Any, Any, Any], float],
    sign: float,
    predictions: Predictions,
    X: Any,
    y: np.ndarray,
    classes: np.ndarray | None,
) -> float:
    if classes is None:
        return sign * float(scorer(_RecordedRegressor(predictions), X, y))
    # Integer-coded classes make class 1 the positive class for every binary scorer.
    labels = predictions.labels
    numbered = Predictions(
        predictions.scores,
        None if labels is None else class_numbers(labels, classes),
    )
    recorded = _RecordedClassifier(numbered, np.arange(len(classes)))
    return sign * float(scorer(recorded, X, class_numbers(y, classes)))


def class_numbers(labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the position of each label in the classes, which may be unsorted.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.metrics import class_numbers
    >>> class_numbers(np.array(["no", "yes"]), np.array(["yes", "no"])).tolist()
    [1, 0]
    """
    order = np.argsort(classes)
    return order[np.searchsorted(classes[order], labels)]


def _user_score(
    scorer: Callable[[Any, Any, Any], float],
    predictions: Predictions,
    X: Any,
    y: np.ndarray,
    classes: np.ndarray | None,
) -> float:
    if classes is None:
        return float(scorer(_RecordedRegressor(predictions), X, y))
    return float(scorer(_RecordedClassifier(predictions, classes), X, y))


class _RecordedClassifier(ClassifierMixin, BaseEstimator):
    """Classifier that returns stored predictions to a scorer."""

    def __init__(self, predictions: Predictions, classes: np.ndarray) -> None:
        self.predictions = predictions
        self.classes = classes
        self.classes_ = classes

    def predict(self, X: Any) -> np.ndarray | None:
        return self.predictions.labels

    def predict_proba(self, X: Any) -> np.ndarray:
        return self.predictions.scores


class _RecordedRegressor(RegressorMixin, BaseEstimator):
    """Regressor that returns stored predictions to a scorer."""

    def __init__(self, predictions: Predictions) -> None:
        self.predictions = predictions
        self.fitted_ = True

    def predict(self, X: Any) -> np.ndarray:
        return self.predictions.scores


def format_p(value: float) -> str:
    """Format a p-value in the style of medical journals.

    Parameters
    ----------
    value : float
        The p-value.

    Returns
    -------
    str

    Examples
    --------
    >>> from skfusion.evaluation.metrics import format_p
    >>> format_p(0.0000123), format_p(0.0312), format_p(0.5)
    ('p < 0.001', 'p = 0.031', 'p = 0.50')
    """
    if np.isnan(value):
        return "p not defined"
    if value < 0.001:
        return "p < 0.001"
    return f"p = {value:.3f}" if value < 0.1 else f"p = {value:.2f}"
