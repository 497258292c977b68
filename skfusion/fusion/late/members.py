"""The members of a late fusion: one model per modality, fitted, asked, held out.

Goes in: modalities and a cohort. Comes out: fitted members and their predictions, of
training rows by models that did not see the row's fold.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from skfusion.blocks import located_errors
from skfusion.cohort import TrainingData
from skfusion.fusion.inner_estimators import (
    ends_in_predictor,
    fit_learner,
    scores_of,
    seed,
)
from skfusion.fusion.targets import Target
from skfusion.modality import Modality, presence_mask
from skfusion.splits import Fold

__all__ = ["ask_members", "fit_members", "new_member", "predictor_name"]


def new_member(
    modality: Modality, estimator: Any, target: Target, rng: np.random.RandomState
) -> Modality:
    """Return a modality with its unfitted, seeded model in place of the transformer.

    Parameters
    ----------
    modality : Modality
        Its entry is a transformer, or ends in a predictor and is used as it is.
    estimator : estimator
        Fitted behind a transformer.
    target : Target
        The task.
    rng : RandomState
        Seeds every part that has chance in it and no seed of its own.

    Returns
    -------
    Modality
    """
    part = clone(modality.transformer)
    if not ends_in_predictor(part):
        part = make_pipeline(part, estimator)
    return replace(modality, transformer=target.adapt(seed(part, rng)))


def predictor_name(member: Modality) -> str:
    """Return the class name of the estimator that a member ends in."""
    part = member.transformer
    while isinstance(part, Pipeline):
        part = part.steps[-1][1]
    return type(part).__name__


def fit_members(
    members: list[Modality],
    data: TrainingData,
    folds: list[Fold],
    target: Target,
    *,
    n_jobs: int | None,
) -> tuple[list[Modality], np.ndarray]:
    """Fit every member on all rows, and once per fold for out-of-fold predictions.

    Parameters
    ----------
    members : list of Modality
        From `new_member`; they are cloned before they are fitted.
    data : TrainingData
        The cohort; a member learns from the rows that have its modality.
    folds : list of (ndarray, ndarray)
        Inner folds, none if no predictions are wanted.
    target : Target
        The task.
    n_jobs : int or None
        Fits at a time.

    Returns
    -------
    fitted : list of Modality
        The members, fitted on all rows.
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Out-of-fold predictions; NaN where a modality is absent, and everywhere if
        there are no folds.

    Raises
    ------
    ValueError
        If a member, or the part of it beside a fold, has too little to learn from.
    """
    everything = np.arange(len(data.y))
    tasks = [(everything, everything[:0]), *folds]
    results = Parallel(n_jobs=n_jobs)(
        delayed(_fit_member)(member, data, j, train, test, target)
        for train, test in tasks
        for j, member in enumerate(members)
    )
    fitted = [
        replace(member, transformer=model)
        for member, (model, _) in zip(members, results[: len(members)], strict=True)
    ]
    P = np.full((len(data.y), len(members), target.n_outputs), np.nan)
    held_out = iter(results[len(members) :])
    for _, test in folds:
        for j in range(len(members)):
            P[test, j] = next(held_out)[1]
    return fitted, P


def ask_members(
    members: list[Modality], cohort: pd.DataFrame, target: Target
) -> np.ndarray:
    """Return what each fitted member predicts.

    Parameters
    ----------
    members : list of Modality
        Fitted members.
    cohort : DataFrame of shape (n_samples, n_columns)
        A checked cohort.
    target : Target
        The task.

    Returns
    -------
    ndarray of shape (n_samples, n_members, n_outputs)
        NaN where a modality is absent, or could not be read.
    """
    present = presence_mask(members, cohort)
    P = np.full((len(cohort), len(members), target.n_outputs), np.nan)
    for j, member in enumerate(members):
        rows = np.flatnonzero(present[:, j])
        P[rows, j] = _ask_member(member, cohort, rows, target)
    return P


class _Decisions(Target):
    """Asks for decisions where there are no probabilities: 1 for what is chosen."""

    def __init__(self, target: Target) -> None:
        self.kind = target.kind  # type: ignore[misc]
        self.n_outputs = target.n_outputs

    def encode(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        chosen = np.asarray(estimator.predict(X)).astype(np.int64)
        return (np.eye(self.n_outputs)[chosen] if chosen.ndim == 1 else chosen) * 1.0


def _fit_member(
    member: Modality,
    data: TrainingData,
    j: int,
    train: np.ndarray,
    test: np.ndarray,
    target: Target,
) -> tuple[Any, np.ndarray]:
    """Fit one member on the training rows that have it; predict the held-out rows."""
    rows = train[data.presence[train, j]]
    if len(rows) == 0:
        raise ValueError(
            f"{member.label} is absent in all {len(train)} rows that its model should "
            "learn from. Check the column, or leave the modality out."
        )
    problem = target.problem(data.y[rows])
    if problem:
        raise ValueError(
            f"{member.label}: {problem} among the {len(rows)} rows that have it (whole "
            "training data or one inner fold). Use fewer folds, merge rare classes, or "
            "leave the modality out."
        )
    part = data.rows(rows)
    with located_errors(member, rows):
        fitted = fit_learner(
            clone(member.transformer),
            member.select(part.X),
            part.y,
            sample_weight=part.sample_weight,
            groups=part.groups,
        )
    predicted = np.full((len(test), target.n_outputs), np.nan)
    has = data.presence[test, j]
    predicted[has] = _ask_member(
        replace(member, transformer=fitted), data.X, test[has], target
    )
    return fitted, predicted


def _ask_member(
    member: Modality, X: pd.DataFrame, rows: np.ndarray, target: Target
) -> np.ndarray:
    if len(rows) == 0:
        return np.empty((0, target.n_outputs))
    decides = target.kind in ("classes", "labels")
    if decides and not hasattr(member.transformer, "predict_proba"):
        target = _Decisions(target)
    with located_errors(member, rows):
        return scores_of(member.transformer, member.select(X.iloc[rows]), target)
