"""Parallel fits of all strategies on all folds, with progress and counted warnings."""

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
from skfusion.exceptions import warn_user

__all__ = ["Outcome", "Study", "run_strategies"]


# `compare_fusion` issues these warnings once before the first fit. For a baseline, "no
# modality at all" only means that its modality is absent, and notes count such rows.
SAID_BEFORE = ("no modality at all", "looks like a patient id and repeats")


@dataclass(frozen=True)
class Outcome:
    """Predictions of one strategy on one fold, with run time and warnings.

    Attributes
    ----------
    predictions : Predictions
        Predictions for the rows of the test set.
    seconds : float
        Time for fit and prediction, in seconds.
    warnings : list of (type, str)
        Category and message of the warnings of fit and prediction.
    """

    predictions: Predictions
    seconds: float
    warnings: list[tuple[type[Warning], str]]


@dataclass(frozen=True)
class Study:
    """Checked cohort with the folds that all strategies share.

    Attributes
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        Cohort.
    y : ndarray of shape (n_samples,)
        Target values.
    classes : ndarray or None
        Sorted class labels, None for a regression.
    groups : ndarray of int of shape (n_samples,) or None
        Patient numbers, passed to estimators whose `fit` accepts groups.
    folds : list of (ndarray, ndarray)
        Row positions of the training and test set of each fold.
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
    """Fit every strategy on the training set of every fold and predict the test set.

    Parameters
    ----------
    strategies : list of Strategy
        Strategies to compare.
    study : Study
        Cohort and folds.
    labels : bool
        Whether to predict classes in addition to probabilities.
    n_jobs : int or None
        Number of fits that run in parallel.
    verbose : int
        If not 0, progress is printed to standard error.

    Returns
    -------
    list of list of Outcome
        One list per strategy, with one outcome per fold.
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
    # A search accepts groups for its splitter as **params, with and without routing.
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
            f"{type(estimator).__name__} has no predict_proba, which the comparison "
            "needs. Wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    scores = np.asarray(estimator.predict_proba(X), dtype=np.float64)
    return Predictions(scores, estimator.predict(X) if labels else None)


def _warn_once(strategies: list[Strategy], outcomes: list[list[Outcome]]) -> None:
    """Issue the warnings of the fits once, also those that differ in numbers only."""
    seen: dict[tuple[str, type[Warning], str], list[str]] = {}
    for strategy, folds in zip(strategies, outcomes, strict=True):
        for outcome in folds:
            for category, text in outcome.warnings:
                key = (strategy.name, category, re.sub(r"\d+", "#", text))
                seen.setdefault(key, []).append(text)
    for (name, category, _), texts in seen.items():
        times = f"{len(texts)} times on {len(outcomes[0])} folds, first warning: "
        warn_user(
            f"compare_fusion, {name!r} warned {times if len(texts) > 1 else ''}"
            f"{texts[0]}",
            category,
        )
