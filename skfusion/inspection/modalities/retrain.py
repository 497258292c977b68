"""Retrain game: contribution of each modality to the score of retrained models.

The model is fitted again on every set of modalities. The result describes the data and
the type of model, not one fitted model (as in HAIM).
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone

from skfusion.evaluation.statistics.resampling import corrected_resampled_interval
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.inner_estimators import fit_learner
from skfusion.inspection.modalities.coalitions import table_of
from skfusion.inspection.modalities.results import ModalityScores, make_scores
from skfusion.inspection.modalities.scoring import Scoring, ask_for
from skfusion.inspection.models import OWNER, FusionModel, TableModel
from skfusion.inspection.shapley import CoalitionPlan
from skfusion.pipelines import take_rows
from skfusion.splits import Fold, inner_folds

__all__ = ["refit_scores", "with_modalities"]


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
    jobs = [(members, fold) for fold in folds for members in plan.coalitions[1:]]
    scores = Parallel(n_jobs=n_jobs)(
        delayed(_fit_and_score)(model, table, y, members, fold, groups, scoring)
        for members, fold in jobs
    )
    values = np.empty((len(folds), len(plan.coalitions)))
    values[:, 1:] = np.reshape(scores, (len(folds), -1))
    values[:, 0] = [_chance(model, scoring, fold) for fold in folds]
    contributions = plan.shapley(values.T).T  # (folds, M)
    train, test = (
        [
            len(side) if groups is None else len(np.unique(groups[side]))
            for side in sides
        ]
        for sides in zip(*folds, strict=True)
    )
    found = [
        corrected_resampled_interval(
            column, train, test, confidence_level=confidence_level
        )
        for column in contributions.T
    ]
    spread = contributions.var(axis=0, ddof=1)
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
        errors=np.sqrt((1 / len(folds) + ratio) * spread),
        method=f"{len(folds)} folds, corrected (Nadeau-Bengio)",
        confidence_level=confidence_level,
    )


def _strata(model: FusionModel | TableModel, outcome: np.ndarray) -> np.ndarray | None:
    """Return the stratum of each case for the folds, None without strata."""
    if model.kind == "classes":
        return np.searchsorted(np.asarray(model.labels), outcome)
    if model.kind == "labels":
        return np.asarray(outcome)
    if outcome.dtype.names is not None and not outcome["event"].all():
        return outcome["event"].astype(np.int64)
    return None


def with_modalities(estimator: Any, kept: list[str]) -> Any:
    """Return an unfitted clone of a fusion with a subset of its modalities.

    Parameters
    ----------
    estimator : early, late or joint fusion
        A fitted fusion.
    kept : list of str
        Names of the modalities to keep.

    Returns
    -------
    estimator
    """
    triples = [
        (m.name, m.transformer, m.columns[0] if m.scalar else list(m.columns))
        for m in estimator.modality_specs()
    ]
    chosen = [triple for triple in triples if triple[0] in kept]
    names = [name for name, *_ in triples]
    given = estimator.get_params(deep=False)
    changed = {
        parameter: _restricted(value, names, kept)
        for parameter, value in given.items()
        if parameter != "groups" and _is_by_modality(parameter, value, names)
    }
    changed["modalities"] = chosen
    if "encoders" in given and not _encoded(estimator, changed, kept):
        changed["encoders"] = "all"  # without networks, an encoder must be trained
    return clone(estimator).set_params(**changed)


def _is_by_modality(parameter: str, value: Any, names: list[str]) -> bool:
    """Return whether a parameter has one entry per modality."""
    if isinstance(value, dict):
        return bool(value) and set(value) <= set(names)
    if parameter == "weights":  # in late fusion, one number per modality
        return isinstance(value, (list, tuple, np.ndarray))
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(part, str) and part in names for part in value)
    )


def _restricted(value: Any, names: list[str], kept: list[str]) -> Any:
    if isinstance(value, dict):
        return {name: part for name, part in value.items() if name in kept}
    if all(isinstance(part, str) for part in value):
        return [name for name in value if name in kept]
    pairs = zip(names, value, strict=True)
    return [weight for name, weight in pairs if name in kept]


def _encoded(estimator: Any, changed: dict[str, Any], kept: list[str]) -> bool:
    encoders = changed.get("encoders", estimator.encoders)
    if encoders == "networks":
        return bool(set(estimator.network_modalities()) & set(kept))
    return bool(encoders)


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
        estimator = with_modalities(model.estimator, kept)
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
