"""Retrain game: contribution of each modality to the score of retrained models.

The model is fitted again on every set of modalities. The result describes the data and
the type of model, not one fitted model (as in HAIM).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from skfusion._fitting.metadata import fit_with_metadata
from skfusion._fitting.modality_warnings import run_parallel
from skfusion._fitting.pipelines import take_rows
from skfusion.evaluation.statistics.resampling import (
    corrected_resampled_interval,
    corrected_resampled_ttest,
)
from skfusion.fusion.inner_estimators import seed
from skfusion.fusion.restriction import fusions_within, restricted_to
from skfusion.inspection.modalities.patients import table_of
from skfusion.inspection.modalities.results import (
    ModalityScores,
    coalition_name,
    make_scores,
    without_one,
)
from skfusion.inspection.modalities.scoring import (
    Scoring,
    ask_for,
    least_error,
)
from skfusion.inspection.models import OWNER, FusionModel, TableModel
from skfusion.inspection.shapley import CoalitionPlan
from skfusion.splits import Fold, inner_folds, outer_folds

__all__ = ["FitsFailedError", "refit_scores", "seed_of"]

# The game has warned of the first, and expects the second.
SAID_BEFORE = ".*(looks like a patient id and repeats|no modality at all).*"


class FitsFailedError(ValueError):
    """Error of a model of the retrain game, not of the parameters of the game."""


def seed_of(random_state: Any, rng: np.random.RandomState) -> int:
    """Return the seed of folds and estimators, the same as in `compare_fusion`."""
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(rng.randint(np.iinfo(np.int32).max))


@dataclass(frozen=True)
class Refit:
    """One estimator of the retrain game, for all folds.

    Attributes
    ----------
    estimator : estimator
        Unfitted estimator: all of what the user gave, restricted to a set of
        modalities.
    table : DataFrame or ndarray of shape (n, n_columns)
        The cases. An estimator without modalities sees the columns of the set.
    kind : str
        Kind of the task, see `FusionModel`.
    is_table : bool
        Whether the estimator has no modalities of its own.
    """

    estimator: Any
    table: Any
    kind: str
    is_table: bool


def refit_scores(
    estimator: Any,
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
    n_present: np.ndarray | None = None,
) -> ModalityScores:
    """Fit and score an estimator on every set of modalities, in every fold.

    Parameters
    ----------
    estimator : estimator
        What the user gave, of which clones are fitted: with the steps before a fusion,
        and the search or calibration around it.
    model : FusionModel or TableModel
        The same, as a model with modalities.
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
        Seed of the folds and of estimators without a seed.
    n_present : ndarray of int of shape (M,) or None, default=None
        Number of cases with each modality.

    Returns
    -------
    ModalityScores

    Raises
    ------
    FitsFailedError
        If a model cannot be fitted or scored in a fold.
    ValueError
        If the folds are invalid, or a part of the estimator cannot be fitted again.
    """
    folds = _folds(model, scoring, cv, groups, random_state)
    refits = [
        _refit(estimator, model, table_of(X), members, random_state)
        for members in plan.coalitions[1:]
    ]
    jobs = [(refit, y, fold, groups, scoring) for fold in folds for refit in refits]
    try:
        scores = run_parallel(_fit_and_score, jobs, n_jobs)
    except ValueError as error:
        raise FitsFailedError(*error.args) from error
    values = np.empty((len(folds), len(plan.coalitions)))
    values[:, 1:] = np.reshape(scores, (len(folds), -1))
    values[:, 0] = [_chance(model, scoring, fold) for fold in folds]
    sizes = tuple(
        np.array([_n_units(side, groups) for side in sides])
        for sides in zip(*folds, strict=True)
    )
    factor = np.sqrt(1 / len(folds) + np.mean(sizes[1] / sizes[0]))
    errors = [
        least_error(scoring, values.mean(axis=0), test, groups) for _, test in folds
    ]
    floor = float(factor * np.mean(errors))
    contributions = plan.shapley(values.T)  # (M, folds)
    limits = [_limits(one, sizes, floor, confidence_level) for one in contributions]
    most = 1.0 if scoring.is_bounded else np.inf
    whole = _limits(values[:, -1], sizes, floor, confidence_level)
    whole_low, whole_high = np.clip(whole, 0.0 if scoring.is_auroc else -most, most)
    columns = [coalition_name(m, model.modalities) for m in plan.coalitions]
    return make_scores(
        "retrain",
        scoring.name,
        model.modalities,
        plan,
        np.average(values, axis=0, weights=sizes[1]),
        limits=_transposed(np.clip(limits, -most, most)),
        drop_limits=_drop_limits(
            plan,
            values,
            sizes,
            floor,
            confidence_level,
            is_bounded=scoring.is_bounded,
        ),
        whole_limits=(float(whole_low), float(whole_high)),
        errors=factor * contributions.std(axis=1, ddof=1),
        method=f"{len(folds)} folds, corrected (Nadeau-Bengio)",
        confidence_level=confidence_level,
        fold_scores=pd.DataFrame(values, columns=columns).rename_axis("fold"),
        n_present=n_present,
        n_cases=len(scoring.y),
        n_patients=None if groups is None else len(np.unique(groups)),
    )


def _folds(
    model: FusionModel | TableModel,
    scoring: Scoring,
    cv: Any,
    groups: np.ndarray | None,
    random_state: int,
) -> list[Fold]:
    """Return the folds, which are those of `compare_fusion` for the same seed."""
    common: dict[str, Any] = {"random_state": random_state, "owner": OWNER}
    if model.kind in ("classes", "numbers"):
        is_class = model.kind == "classes"
        return outer_folds(cv, scoring.y, groups, classifier=is_class, **common)
    strata: np.ndarray | None = scoring.y
    if model.kind == "survival":
        events = scoring.y["event"]
        strata = None if events.all() else events.astype(np.int64)
    return inner_folds(cv, strata, groups, n_rows=len(scoring.y), **common)


def _limits(
    values: np.ndarray, sizes: Any, floor: float, confidence_level: float
) -> tuple[float, float]:
    """Return the limits of the mean over folds, never of zero width."""
    found = corrected_resampled_interval(
        values, *sizes, weights=sizes[1], confidence_level=confidence_level
    )
    return _widened(found.estimate, found.low, found.high, floor)


def _drop_limits(
    plan: CoalitionPlan,
    values: np.ndarray,
    sizes: Any,
    floor: float,
    confidence_level: float,
    *,
    is_bounded: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of the difference to the models without one modality.

    The test is that of `compare_fusion` for matched strategies.
    """
    limits = []
    for place in without_one(plan):
        if place is None:
            limits.append((np.nan, np.nan))
            continue
        with warnings.catch_warnings():
            # Equal differences in all folds get limits of the smallest width.
            warnings.filterwarnings("ignore", "The difference is the same in all")
            found = corrected_resampled_ttest(
                values[:, -1],
                values[:, place],
                *sizes,
                weights=sizes[1],
                confidence_level=confidence_level,
            )
        limits.append(_widened(found.difference, found.low, found.high, floor))
    most = 1.0 if is_bounded else np.inf
    return _transposed(np.clip(limits, -most, most))


def _widened(
    estimate: float, low: float, high: float, floor: float
) -> tuple[float, float]:
    if high - low > 1e-9 * floor:
        return float(low), float(high)
    return float(estimate - 1.96 * floor), float(estimate + 1.96 * floor)


def _transposed(limits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = limits.T
    return low, high


def _n_units(rows: np.ndarray, groups: np.ndarray | None) -> int:
    """Return the number of patients, or of rows without patients."""
    return len(rows) if groups is None else len(np.unique(groups[rows]))


def _refit(
    estimator: Any,
    model: FusionModel | TableModel,
    table: Any,
    members: np.ndarray,
    random_state: int,
) -> Refit:
    kept = [m for m, inside in zip(model.modalities, members, strict=True) if inside]
    names = {
        name for part in fusions_within(estimator).values() for name in _names(part)
    }
    # Columns of a user by the names of the modalities of a fusion inside stand for it.
    is_table = isinstance(model, TableModel) and names != set(model.modalities)
    if isinstance(model, TableModel) and is_table:
        restricted, table = clone(estimator), _columns_of(model, table, kept)
    else:
        restricted = restricted_to(estimator, kept)
    # A generator of its own, so that the seeds do not depend on the other sets.
    ready = seed(restricted, np.random.RandomState(random_state))
    return Refit(ready, table, model.kind, is_table)


def _names(fusion: Any) -> list[str]:
    given = fusion.modalities
    return [] if isinstance(given, str) else [name for name, *_ in given]


def _fit_and_score(
    refit: Refit,
    y: Any,
    fold: Fold,
    groups: np.ndarray | None,
    scoring: Scoring,
) -> float:
    train, test = fold
    outcome = take_rows(y if hasattr(y, "iloc") else np.asarray(y), train)
    patients = None if groups is None else groups[train]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", SAID_BEFORE, UserWarning)
        estimator = clone(refit.estimator)
        fit_with_metadata(
            estimator, take_rows(refit.table, train), outcome, {"groups": patients}
        )
        held_out = take_rows(refit.table, test)
        if refit.is_table:
            columns = list(pd.DataFrame(refit.table).columns)
            asked = TableModel(estimator, {"all": columns})
            predicted = ask_for(asked, scoring)(asked.encode(held_out)[0])
        else:
            predicted = _predict(estimator, held_out, refit.kind)
        labels = estimator.predict(held_out) if scoring.needs_labels else None
    given = () if labels is None else (np.asarray(labels),)
    return scoring.score(predicted, test, *given)


def _predict(estimator: Any, X: Any, kind: str) -> np.ndarray:
    """Return probabilities, numeric predictions or risks (n, n_outputs)."""
    if kind in ("numbers", "survival"):
        predicted = estimator.predict(X)
    elif hasattr(estimator, "predict_proba"):
        predicted = estimator.predict_proba(X)
    else:
        raise TypeError(
            f"{OWNER}: {type(estimator).__name__} has no predict_proba. Wrap its "
            "learner in sklearn.calibration.CalibratedClassifierCV."
        )
    predicted = np.asarray(predicted, dtype=np.float64)
    return predicted.reshape(len(predicted), -1)


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
