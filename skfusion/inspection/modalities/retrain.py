"""Retrain game: contribution of each modality to the score of retrained models.

The model is fitted again on every set of modalities. The result describes the data and
the type of model, not one fitted model (as in HAIM).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone

from skfusion._fitting.modality_warnings import run_parallel
from skfusion._fitting.pipelines import take_rows
from skfusion.evaluation.statistics.resampling import corrected_resampled_interval
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.inner_estimators import fit_learner
from skfusion.fusion.restriction import restricted_to
from skfusion.inspection.modalities.coalitions import table_of
from skfusion.inspection.modalities.results import ModalityScores, make_scores
from skfusion.inspection.modalities.scoring import Scoring, ask_for
from skfusion.inspection.models import OWNER, FusionModel, TableModel
from skfusion.inspection.shapley import CoalitionPlan
from skfusion.splits import Fold, inner_folds

__all__ = ["FitsFailedError", "refit_scores"]


class FitsFailedError(ValueError):
    """Error of a model of the retrain game, not of the parameters of the game."""


def refit_scores(
    model: FusionModel | TableModel,
    X: Any,
    y: Any,
    plan: CoalitionPlan,
    scoring: Scoring,
    *,
    cv: Any,
    groups: np.ndarray | None,
    confidence_level: float,
    n_jobs: int | None,
    random_state: int,
) -> ModalityScores:
    """Fit and score the model on every set of modalities, in every fold.

    Parameters
    ----------
    model : FusionModel or TableModel
        The fitted model, of which clones are fitted.
    X, y : DataFrame or ndarray of n rows, array-like of n rows
        The cases and their outcome.
    plan : CoalitionPlan
        The coalitions of modalities.
    scoring : Scoring
        The score, with the outcome of these cases.
    cv : int or splitter
        Cross-validation folds.
    groups : ndarray of int of shape (n,) or None
        Number of the patient of each case. All cases of a patient are on the same side
        of a split.
    confidence_level : float
        Confidence level of the intervals.
    n_jobs : int or None
        Number of models fitted in parallel.
    random_state : int
        Seed of the folds.

    Returns
    -------
    ModalityScores

    Raises
    ------
    FitsFailedError
        If a model cannot be fitted or scored in a fold.
    ValueError
        If the folds are invalid.
    """
    table, outcome = table_of(X), scoring.y
    folds = inner_folds(
        cv,
        _strata(model, outcome),
        groups,
        n_rows=len(table),
        random_state=random_state,
        owner=OWNER,
    )
    jobs = [
        (model, table, y, members, fold, groups, scoring)
        for fold in folds
        for members in plan.coalitions[1:]
    ]
    try:
        scores = run_parallel(_fit_and_score, jobs, n_jobs)
    except ValueError as error:
        raise FitsFailedError(*error.args) from error
    values = np.empty((len(folds), len(plan.coalitions)))
    values[:, 1:] = np.reshape(scores, (len(folds), -1))
    values[:, 0] = [_chance(model, scoring, fold) for fold in folds]
    contributions = plan.shapley(values.T).T  # (folds, M)
    train, test = (
        [_n_units(side, groups) for side in sides] for sides in zip(*folds, strict=True)
    )
    found = [
        corrected_resampled_interval(
            column, train, test, confidence_level=confidence_level
        )
        for column in contributions.T
    ]
    ratio = np.mean(np.divide(test, train))
    return make_scores(
        "retrain",
        scoring.name,
        model.modalities,
        plan,
        values.mean(axis=0),
        limits=(
            np.array([interval.low for interval in found]),
            np.array([interval.high for interval in found]),
        ),
        errors=np.sqrt((1 / len(folds) + ratio) * contributions.var(axis=0, ddof=1)),
        method=f"{len(folds)} folds, corrected (Nadeau-Bengio)",
        confidence_level=confidence_level,
    )


def _n_units(rows: np.ndarray, groups: np.ndarray | None) -> int:
    """Return the number of patients, or of rows without patients."""
    return len(rows) if groups is None else len(np.unique(groups[rows]))


def _strata(model: FusionModel | TableModel, outcome: np.ndarray) -> np.ndarray | None:
    """Return the stratum of each case for the folds, None without strata."""
    if model.kind == "classes":
        return np.searchsorted(np.asarray(model.labels), outcome)
    if model.kind == "labels":
        return np.asarray(outcome)
    if outcome.dtype.names is not None and not outcome["event"].all():
        return outcome["event"].astype(np.int64)
    return None


def _fit_and_score(
    model: FusionModel | TableModel,
    table: Any,
    y: Any,
    members: np.ndarray,
    fold: Fold,
    groups: np.ndarray | None,
    scoring: Scoring,
) -> float:
    train, test = fold
    kept = [m for m, inside in zip(model.modalities, members, strict=True) if inside]
    if isinstance(model, FusionModel):
        estimator = restricted_to(model.estimator, kept)
    else:
        estimator = clone(_inside(model.estimator))
        table = _columns_of(model, table, kept)
    outcome = take_rows(y if hasattr(y, "iloc") else np.asarray(y), train)
    part = None if groups is None else groups[train]
    with warnings.catch_warnings():
        # Cases without any modality of the set are expected in this game.
        warnings.filterwarnings("ignore", ".*no modality at all.*", UserWarning)
        if isinstance(estimator, BaseFusion):
            estimator.fit(take_rows(table, train), outcome, groups=part)
        else:
            fit_learner(estimator, take_rows(table, train), outcome, groups=part)
        asked: FusionModel | TableModel
        if isinstance(estimator, BaseFusion):
            asked = FusionModel(estimator)
        else:
            asked = TableModel(estimator, {"all": list(pd.DataFrame(table).columns)})
        parts, _ = asked.encode(take_rows(table, test))
        predicted = ask_for(asked, scoring)(parts)
    return scoring.score(predicted, test)


def _inside(estimator: Any) -> BaseEstimator:
    """Return the best estimator of a search, to avoid another search."""
    return getattr(estimator, "best_estimator_", estimator)


def _columns_of(model: TableModel, table: Any, kept: list[str]) -> Any:
    frame = pd.DataFrame(table)
    chosen = [
        column
        for modality in model.resolve(frame)
        if modality.name in kept
        for column in modality.columns
    ]
    ordered = [column for column in frame.columns if column in chosen]
    return frame[ordered] if hasattr(table, "iloc") else frame[ordered].to_numpy()


def _chance(model: FusionModel | TableModel, scoring: Scoring, fold: Fold) -> float:
    """Return the score of a constant prediction, the mean of the training outcome."""
    train, test = fold
    y = scoring.y[train]
    if scoring.is_auroc or y.dtype.names is not None:
        return 0.5
    if model.kind == "classes":
        answer = (y[:, None] == np.asarray(model.labels)).mean(axis=0)
    else:
        answer = np.atleast_1d(y.mean(axis=0))
    return scoring.score(np.tile(answer, (len(test), 1)), test)
