"""Calibration of predicted probabilities, fitted to out-of-fold predictions.

A model that is fitted to calibrated predictions must use the cross-fitted ones that
`cross_calibrate` returns. The calibrator of a row is then not fitted on its outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.late.aggregation import SMALLEST_PROBABILITY, log_odds
from skfusion.splits import Fold

__all__ = ["Calibrator", "METHODS", "cross_calibrate"]


METHODS = ("sigmoid", "isotonic", "temperature")
_Curve = Callable[[np.ndarray], np.ndarray]


class Calibrator:
    """Calibrator that maps predicted probabilities to calibrated ones.

    Parameters
    ----------
    method : {"sigmoid", "isotonic", "temperature"}
        ``"sigmoid"`` is a logistic regression on the log-odds with Platt's targets. It
        has two parameters per class and suits any sample size. ``"isotonic"`` is the
        best increasing function of the probability and needs about 1000 cases.
        ``"temperature"`` is one factor of all log-probabilities, which does not change
        the most probable class.

    Attributes
    ----------
    n_outputs_ : int
        Number of columns of the probabilities in `fit`.
    uncalibrated_ : ndarray of int
        Labels that fewer than two rows have or lack. They stay as they are.

    Notes
    -----
    Three or more classes are calibrated one against the rest and divided by their sum.
    ``"temperature"`` calibrates them together. Each of several labels is calibrated
    separately. With sample weights, all counts and means are weighted.

    References
    ----------
    Platt, Probabilistic outputs for support vector machines, 1999. Zadrozny and Elkan,
    Transforming classifier scores into accurate multiclass probability estimates, 2002.
    Guo et al., On calibration of modern neural networks, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.calibration import Calibrator
    >>> P = np.tile([[0.6, 0.4], [0.4, 0.6]], (50, 1))  # under-confident
    >>> y = np.tile([0, 1], 50)
    >>> calibrated = Calibrator("temperature").fit(P, y).predict(P[:2])
    >>> bool(calibrated[0, 0] > 0.99)
    True
    """

    def __init__(self, method: str) -> None:
        self.method = method

    def fit(
        self, P: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> Calibrator:
        """Fit the calibration curves.

        Parameters
        ----------
        P : ndarray of shape (n_samples, n_outputs)
            Probabilities of the classes, or of the labels if `y` has two dimensions.
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Class numbers, or an indicator matrix.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the rows.

        Returns
        -------
        Calibrator
            The fitted calibrator.

        Raises
        ------
        ValueError
            If fewer than two rows have a class.
        """
        self.n_outputs_ = P.shape[1]
        self._labels = y.ndim == 2
        hits = y.astype(bool) if self._labels else y[:, None] == np.arange(P.shape[1])
        rare = _rare(hits, sample_weight, labels=self._labels)
        self.uncalibrated_ = np.flatnonzero(rare) if self._labels else rare[:0]
        if self.method == "temperature" and not self._labels:
            self._curves: list[_Curve] = [_temperature(P, y, sample_weight)]
            return self
        first = 1 if not self._labels and P.shape[1] == 2 else 0
        fit = {
            "sigmoid": _sigmoid,
            "isotonic": _isotonic,
            "temperature": _label_temperature,
        }[self.method]
        self._curves = [
            _unchanged
            if c in self.uncalibrated_
            else fit(P[:, c], hits[:, c], sample_weight)
            for c in range(first, P.shape[1])
        ]
        return self

    def predict(self, P: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities of shape (n_samples, n_outputs)."""
        if self.method == "temperature" and not self._labels:
            return self._curves[0](P)
        if not self._labels and self.n_outputs_ == 2:
            second = self._curves[0](P[:, 1])
            return np.column_stack([1 - second, second])
        raw = np.column_stack([f(P[:, c]) for c, f in enumerate(self._curves)])
        if self._labels:
            return raw
        totals = raw.sum(axis=1, keepdims=True)
        even = np.full_like(raw, 1 / raw.shape[1])
        return np.divide(raw, totals, out=even, where=totals > 0)


def cross_calibrate(
    method: str,
    P: np.ndarray,
    y: np.ndarray,
    folds: list[Fold],
    sample_weight: np.ndarray | None = None,
    *,
    what: str,
) -> tuple[Calibrator, np.ndarray]:
    """Fit a calibrator and return cross-fitted calibrated probabilities.

    The probabilities of each fold are calibrated by a calibrator that was fitted on the
    other folds.

    Parameters
    ----------
    method : {"sigmoid", "isotonic", "temperature"}
        Method of `Calibrator`.
    P : ndarray of shape (n_samples, n_outputs)
        Out-of-fold probabilities, NaN in rows without one.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Class numbers, or an indicator matrix.
    folds : list of (ndarray, ndarray)
        Row positions outside and inside each fold.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.
    what : str
        Name of the predictions, for error messages.

    Returns
    -------
    calibrator : Calibrator
        Calibrator fitted on all rows, for new rows.
    calibrated : ndarray of shape (n_samples, n_outputs)
        Cross-fitted calibrated probabilities, NaN where `P` is NaN.

    Raises
    ------
    ValueError
        If all rows, or the rows outside one fold, contain too few rows of a class.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.calibration import cross_calibrate
    >>> P, y = np.tile([[0.6, 0.4], [0.4, 0.6]], (6, 1)), np.tile([0, 1], 6)
    >>> halves = [(np.arange(6), np.arange(6, 12)), (np.arange(6, 12), np.arange(6))]
    >>> calibrator, crossed = cross_calibrate("sigmoid", P, y, halves, what="'ehr'")
    >>> bool(crossed[1, 1] > crossed[0, 1])
    True
    """
    has = ~np.isnan(P).any(axis=1)

    def learn(rows: np.ndarray, where: str) -> Calibrator:
        weights = None if sample_weight is None else sample_weight[rows]
        try:
            return Calibrator(method).fit(P[rows], y[rows], weights)
        except ValueError as error:
            raise ValueError(
                f"calibration={method!r} of {what}, {where}: {error} Use fewer folds, "
                "merge rare classes, or set no calibration."
            ) from error

    calibrated = np.full(P.shape, np.nan)
    rare: set[int] = set()
    for number, (outside, inside) in enumerate(folds):
        held_out = inside[has[inside]]
        if len(held_out):
            part = learn(outside[has[outside]], f"outside inner fold {number}")
            calibrated[held_out] = part.predict(P[held_out])
            rare.update(part.uncalibrated_.tolist())
    final = learn(np.flatnonzero(has), "on all rows")
    rare.update(final.uncalibrated_.tolist())
    if y.ndim == 2:  # The target has warned about labels with one value in all rows.
        rare -= set(np.flatnonzero(np.ptp(y, axis=0) == 0).tolist())
    if rare:
        warn_user(
            f"calibration={method!r} of {what}: fewer than two rows, of all or outside "
            f"an inner fold, have or lack label(s) {sorted(rare)[:5]}, which are not "
            "calibrated there.",
            FallbackWarning,
        )
    return final, calibrated


def _rare(
    hits: np.ndarray, sample_weight: np.ndarray | None, *, labels: bool
) -> np.ndarray:
    """Return which labels have, or lack, fewer than two rows. Raise for classes."""
    counted = hits if sample_weight is None else hits[sample_weight > 0]
    counts = counted.sum(axis=0)
    if labels:
        return np.asarray(np.minimum(counts, len(counted) - counts) < 2)
    for c, count in enumerate(counts):
        if count < 2:
            raise ValueError(
                f"{count} of {len(counted)} row(s) has class number {c}, but "
                "calibration needs at least two."
            )
    return np.zeros(len(counts), dtype=bool)


def _unchanged(p: np.ndarray) -> np.ndarray:
    return p


def _sigmoid(
    p: np.ndarray, hit: np.ndarray, sample_weight: np.ndarray | None
) -> _Curve:
    weights = np.ones(len(p)) if sample_weight is None else sample_weight
    n_hits, n_misses = weights[hit].sum(), weights[~hit].sum()
    # Platt's targets are the frequencies after adding one case of each kind.
    target = np.where(hit, (n_hits + 1) / (n_hits + 2), 1 / (n_misses + 2))
    odds = _column_odds(p)
    # No penalty. scikit-learn 1.8 warns of an infinite C.
    model = LogisticRegression(C=1e300, tol=1e-8, max_iter=1000)
    # A target between 0 and 1 is represented by two weighted cases, one of each kind.
    model.fit(
        np.vstack([odds, odds]),
        np.repeat([1, 0], len(p)),
        sample_weight=np.concatenate([weights * target, weights * (1 - target)]),
    )
    return partial(_on_sigmoid, model)


def _on_sigmoid(model: LogisticRegression, p: np.ndarray) -> np.ndarray:
    return model.predict_proba(_column_odds(p))[:, 1]


def _isotonic(
    p: np.ndarray, hit: np.ndarray, sample_weight: np.ndarray | None
) -> _Curve:
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit(p, hit.astype(np.float64), sample_weight=sample_weight)
    return model.predict


def _label_temperature(
    p: np.ndarray, hit: np.ndarray, sample_weight: np.ndarray | None
) -> _Curve:
    number = hit.astype(np.int64)
    return partial(_second, _temperature(_two_columns(p), number, sample_weight))


def _second(curve: _Curve, p: np.ndarray) -> np.ndarray:
    return curve(_two_columns(p))[:, 1]


def _temperature(
    P: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
) -> _Curve:
    logs = _logs(P)
    rows = np.arange(len(y))

    def loss(log_factor: float) -> float:
        likelihood = log_softmax(np.exp(log_factor) * logs, axis=1)[rows, y]
        return -float(np.average(likelihood, weights=sample_weight))

    found: Any = minimize_scalar(
        loss, bounds=(-10.0, 10.0), method="bounded", options={"xatol": 1e-10}
    )
    return partial(_on_temperature, float(np.exp(found.x)))


def _on_temperature(factor: float, P: np.ndarray) -> np.ndarray:
    return softmax(factor * _logs(P), axis=1)


def _logs(P: np.ndarray) -> np.ndarray:
    return np.log(np.clip(P, SMALLEST_PROBABILITY, None))


def _two_columns(p: np.ndarray) -> np.ndarray:
    return np.column_stack([1 - p, p])


def _column_odds(p: np.ndarray) -> np.ndarray:
    return log_odds(_two_columns(p))
