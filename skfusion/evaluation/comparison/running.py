"""Fit every strategy on every fold, in parallel, with progress and counted warnings."""

from __future__ import annotations

import re
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.utils.validation import has_fit_parameter

from skfusion._progress import progress
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.metrics import Predictions

__all__ = ["Outcome", "Study", "run_strategies"]


# Said once for all fits, before the first of them. What is "no modality at all" for a
# baseline is an absent modality by design; notes count those.
SAID_BEFORE = ("no modality at all", "looks like a patient id and repeats")


@dataclass(frozen=True)
class Outcome:
    """One strategy on one fold.

    Attributes
    ----------
    predictions : Predictions
        For the rows of the test part.
    seconds : float
        Time to fit and predict.
    warnings : list of (type, str)
        What the fit and the prediction warned of.
    """

    predictions: Predictions
    seconds: float
    warnings: list[tuple[type[Warning], str]]


@dataclass(frozen=True)
class Study:
    """What every strategy is given: one checked cohort, split once.

    Attributes
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The cohort.
    y : ndarray of shape (n_samples,)
        The target.
    classes : ndarray or None
        Sorted class labels; None for a regression.
    groups : ndarray of int of shape (n_samples,) or None
        Patients, handed to estimators whose fit takes groups.
    folds : list of (ndarray, ndarray)
        Row positions of the training and test part of each fold.
    """

    X: pd.DataFrame
    y: np.ndarray
    classes: np.ndarray | None
    groups: np.ndarray | None
    folds: list[tuple[np.ndarray, np.ndarray]]


def run_strategies(
    strategies: list[Strategy],
    study: Study,
    *,
    labels: bool,
    n_jobs: int | None,
    verbose: int,
) -> list[list[Outcome]]:
    """Fit every strategy on the training part of every fold, predict its test part.

    Parameters
    ----------
    strategies : list of Strategy
        What is compared.
    study : Study
        The cohort and the folds.
    labels : bool
        Whether to predict classes besides probabilities.
    n_jobs : int or None
        Fits at a time.
    verbose : int
        Not 0: progress on standard error.

    Returns
    -------
    list of list of Outcome
        By strategy, then by fold.
    """
    n_folds = len(study.folds)
    tasks = [(s, k) for s in strategies for k in range(n_folds)]
    running = Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_run_one)(s, study, k, labels) for s, k in tasks
    )
    steps = [f"{s.label}, fold {k + 1} of {n_folds}" for s, k in tasks]
    outcomes = []
    with progress(
        len(steps), verbose=verbose, title="Compare", unit="fit", steps=steps
    ) as advance:
        for outcome in running:
            advance(1)
            outcomes.append(outcome)
    by_strategy = [outcomes[i : i + n_folds] for i in range(0, len(outcomes), n_folds)]
    _warn_once(strategies, by_strategy)
    return by_strategy


def _run_one(strategy: Strategy, study: Study, k: int, labels: bool) -> Outcome:
    train, test = study.folds[k]
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        try:
            estimator = _fit(
                clone(strategy.estimator),
                study.X.iloc[train],
                study.y[train],
                None if study.groups is None else study.groups[train],
            )
            held_out = study.X.iloc[test]
            predictions = _predict(estimator, held_out, study.classes, labels)
        except (ValueError, TypeError) as error:
            where = f"{strategy.name!r}, fold {k + 1} of {len(study.folds)}"
            error.args = (f"compare_fusion, {where}: {error}",)
            raise
    told = [
        (warning.category, str(warning.message))
        for warning in caught
        if not any(part in str(warning.message) for part in SAID_BEFORE)
    ]
    return Outcome(predictions, time.perf_counter() - start, told)


def _fit(
    estimator: Any, X: pd.DataFrame, y: np.ndarray, groups: np.ndarray | None
) -> Any:
    # A search takes groups for its splitter through **params, whatever the routing.
    searches = hasattr(estimator, "refit") and hasattr(estimator, "cv")
    if groups is not None and (searches or has_fit_parameter(estimator, "groups")):
        return estimator.fit(X, y, groups=groups)
    return estimator.fit(X, y)


def _predict(
    estimator: Any, X: pd.DataFrame, classes: np.ndarray | None, labels: bool
) -> Predictions:
    if classes is None:
        return Predictions(np.asarray(estimator.predict(X), dtype=np.float64))
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(estimator).__name__} gives no probabilities, which the comparison "
            "needs. Wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    scores = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    return Predictions(scores, estimator.predict(X) if labels else None)


def _warn_once(strategies: list[Strategy], outcomes: list[list[Outcome]]) -> None:
    """Repeat the warnings of the fits, those that differ in numbers only once."""
    seen: dict[tuple[str, type[Warning], str], list[str]] = {}
    for strategy, folds in zip(strategies, outcomes, strict=True):
        for outcome in folds:
            for category, text in outcome.warnings:
                key = (strategy.name, category, re.sub(r"\d+", "#", text))
                seen.setdefault(key, []).append(text)
    for (name, category, _), texts in seen.items():
        times = f"{len(texts)} times on {len(outcomes[0])} folds; the first: "
        warnings.warn(
            f"compare_fusion, {name!r} warned {times if len(texts) > 1 else ''}"
            f"{texts[0]}",
            category,
            stacklevel=4,
        )
