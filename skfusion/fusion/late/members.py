"""Members of late fusion: per-modality models and out-of-fold predictions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from skfusion._fitting.modality_warnings import joined_warnings, run_parallel
from skfusion._fitting.pipelines import take_rows
from skfusion._validation import is_every_row
from skfusion.blocks import located_errors
from skfusion.cohort import TrainingData
from skfusion.fusion.early_stopping import EarlyStopping
from skfusion.fusion.inner_estimators import (
    ends_in_predictor,
    fit_on_target,
    scores_of,
    seed,
)
from skfusion.fusion.targets import Target
from skfusion.modality import Modality, presence_mask
from skfusion.splits import Fold

__all__ = ["predict_members", "fit_members", "new_member", "predictor_name"]


def new_member(
    modality: Modality,
    estimator: Any,
    target: Target,
    rng: np.random.RandomState,
    owner: str,
) -> Modality:
    """Return a modality with its unfitted, seeded model in place of the transformer.

    Parameters
    ----------
    modality : Modality
        Modality whose entry is a transformer or ends in a predictor. A predictor is
        used unchanged.
    estimator : estimator
        Estimator that follows a transformer.
    target : Target
        Prediction task.
    rng : RandomState
        Seed of every nested estimator whose `random_state` is None.
    owner : str
        Name of the fusion estimator, for error messages.

    Returns
    -------
    Modality

    Raises
    ------
    ValueError
        If the entry ends in a predictor of another kind than the target.
    """
    part = clone(modality.transformer)
    if ends_in_predictor(part):
        target.check_learner(part, f"{owner}: {modality.label}")
    else:
        part = make_pipeline(part, estimator)
    return replace(modality, transformer=target.adapt(seed(part, rng)))


def predictor_name(member: Modality) -> str:
    """Return the class name of the final estimator of a member."""
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
    stopping: EarlyStopping | None = None,
    n_jobs: int | None,
) -> tuple[list[Modality], np.ndarray]:
    """Fit each member on all rows and once per fold for out-of-fold predictions.

    Parameters
    ----------
    members : list of Modality
        Results of `new_member`, which are cloned before they are fitted.
    data : TrainingData
        Cohort. A member is fitted on the rows in which its modality is present.
    folds : list of (ndarray, ndarray)
        Inner folds. An empty list omits the out-of-fold predictions.
    target : Target
        Prediction task.
    stopping : EarlyStopping or None, default=None
        Choice of the rows held out from members that stop early.
    n_jobs : int or None
        Number of fits (members and inner folds) at a time, by joblib.

    Returns
    -------
    fitted : list of Modality
        The members, fitted on all rows.
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Out-of-fold predictions, NaN where a modality is absent. Without folds, all are
        NaN.

    Raises
    ------
    ValueError
        If the training rows of a member, in all or outside a fold, are not sufficient.
    """
    everything = np.arange(len(data.y))
    tasks = [(everything, everything[:0]), *folds]
    # The columns before the rows, because a cohort can have many other columns.
    cells = [member.select(data.X) for member in members]
    shared = replace(data, X=data.X.iloc[:, :0])
    # All fits of a member follow each other, because its columns may fit into a cache.
    results = iter(
        run_parallel(
            _fit_member,
            (
                (member, cells[j], shared, j, train, test, target, stopping)
                for j, member in enumerate(members)
                for train, test in tasks
            ),
            n_jobs,
        )
    )
    fitted = []
    P = np.full((len(data.y), len(members), target.n_outputs), np.nan)
    for j, member in enumerate(members):
        fitted.append(replace(member, transformer=next(results)[0]))
        for _, test in folds:
            P[test, j] = next(results)[1]
    return fitted, P


def predict_members(
    members: list[Modality], cohort: pd.DataFrame, target: Target
) -> np.ndarray:
    """Return the predictions of each fitted member.

    Parameters
    ----------
    members : list of Modality
        Fitted members.
    cohort : DataFrame of shape (n_samples, n_columns)
        Cohort that has been checked.
    target : Target
        Prediction task.

    Returns
    -------
    ndarray of shape (n_samples, n_members, n_outputs)
        Predictions, NaN where a modality is absent or could not be read.
    """
    present = presence_mask(members, cohort)
    P = np.full((len(cohort), len(members), target.n_outputs), np.nan)
    with joined_warnings():
        for j, member in enumerate(members):
            rows = np.flatnonzero(present[:, j])
            P[rows, j] = _predict_member(member, member.select(cohort), rows, target)
    return P


class _Decisions(Target):
    """Target of classifiers without probabilities, with score 1 for the prediction."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.kind = target.kind  # type: ignore[misc]
        self.n_outputs = target.n_outputs

    def encode(self, y: Any) -> np.ndarray:
        return np.asarray(y)

    def ask(self, estimator: Any, X: Any) -> np.ndarray:
        chosen = self.target.decisions(estimator, X)
        return (np.eye(self.n_outputs)[chosen] if chosen.ndim == 1 else chosen) * 1.0


def _fit_member(
    member: Modality,
    cells: pd.DataFrame | pd.Series,
    data: TrainingData,
    j: int,
    train: np.ndarray,
    test: np.ndarray,
    target: Target,
    stopping: EarlyStopping | None,
) -> tuple[Any, np.ndarray]:
    """Fit one member on its training rows and predict the held-out rows.

    `cells` are the columns of the member, and `data` is the rest of the cohort.
    """
    rows = train[data.presence[train, j]]
    if len(rows) == 0:
        raise ValueError(
            f"{member.label} is absent in all {len(train)} rows on which its model "
            "should be fitted. Check the column, or leave the modality out."
        )
    problem = target.problem(data.y[rows])
    if problem:
        raise ValueError(
            f"{member.label}: {problem} among the {len(rows)} rows where it is present "
            "(whole training data or one inner fold). Use fewer folds, merge rare "
            "classes, or leave the modality out."
        )
    seen = cells
    if not is_every_row(rows, len(data.y)):
        seen = cells.iloc[rows].reset_index(drop=True)
    weight, groups = data.sample_weight, data.groups
    with located_errors(member, rows, cells):
        fitted = fit_on_target(
            clone(member.transformer),
            seen,
            data.y[rows],
            target,
            sample_weight=None if weight is None else weight[rows],
            groups=None if groups is None else groups[rows],
            stopping=stopping,
        )
    predicted = np.full((len(test), target.n_outputs), np.nan)
    has = data.presence[test, j]
    predicted[has] = _predict_member(
        replace(member, transformer=fitted), cells, test[has], target
    )
    return fitted, predicted


def _predict_member(
    member: Modality,
    cells: pd.DataFrame | pd.Series,
    rows: np.ndarray,
    target: Target,
) -> np.ndarray:
    if len(rows) == 0:
        return np.empty((0, target.n_outputs))
    decides = target.kind in ("classes", "labels")
    if decides and not hasattr(member.transformer, "predict_proba"):
        target = _Decisions(target)
    with located_errors(member, rows, cells):
        return scores_of(member.transformer, take_rows(cells, rows), target)
