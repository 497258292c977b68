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
from scipy.stats import norm
from sklearn.base import clone

from skfusion._fitting.metadata import fit_with_metadata
from skfusion._fitting.modality_warnings import run_parallel
from skfusion._fitting.pipelines import take_rows
from skfusion.evaluation.statistics.auroc import cross_validated_auroc_interval
from skfusion.evaluation.statistics.resampling import corrected_resampled_ttest
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
    presence: np.ndarray | None = None,
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
    presence : ndarray of bool of shape (n, M) or None, default=None
        Whether each modality is present in each case.

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
    values, held_out = _played(
        estimator,
        model,
        table_of(X),
        y,
        plan,
        scoring,
        folds,
        groups,
        n_jobs,
        random_state,
    )
    level = _Folds.of(folds, groups, scoring, values, confidence_level)
    contributions = np.array([level.limits(one) for one in plan.shapley(values.T)])
    dropped = [
        (np.nan,) * 3 if k is None else level.limits(values[:, -1], values[:, k])
        for k in without_one(plan)
    ]
    of_sets, set_method = _set_limits(level, scoring, folds, values, held_out, groups)
    most = 1.0 if scoring.is_bounded else np.inf
    columns = [coalition_name(m, model.modalities) for m in plan.coalitions]
    return make_scores(
        "retrain",
        scoring.name,
        model.modalities,
        plan,
        np.average(values, axis=0, weights=level.n_test),
        limits=_clipped(contributions, -most, most),
        drop_limits=_clipped(np.array(dropped), -most, most),
        set_limits=_clipped(of_sets, *scoring.range),
        errors=contributions[:, 2],
        method=f"{len(folds)} folds, corrected (Nadeau-Bengio)",
        set_method=set_method,
        confidence_level=confidence_level,
        fold_scores=pd.DataFrame(values, columns=columns).rename_axis("fold"),
        presence=presence,
        n_cases=len(scoring.y),
        n_patients=None if groups is None else len(np.unique(groups)),
    )


def _played(
    estimator: Any,
    model: FusionModel | TableModel,
    table: Any,
    y: Any,
    plan: CoalitionPlan,
    scoring: Scoring,
    folds: list[Fold],
    groups: np.ndarray | None,
    n_jobs: int | None,
    random_state: int,
) -> tuple[np.ndarray, list[list[np.ndarray]] | None]:
    """Return the scores of models fitted on every set.

    Returns
    -------
    scores : ndarray of shape (n_folds, n_coalitions)
    held_out : list of lists of ndarray, or None
        By set, the predictions for each test set, which the AUROC of two classes ranks.
    """
    refits = [
        _refit(estimator, model, table, members, random_state)
        for members in plan.coalitions[1:]
    ]
    jobs = [(refit, y, fold, groups, scoring) for fold in folds for refit in refits]
    try:
        found = run_parallel(_fit_and_score, jobs, n_jobs)
    except ValueError as error:
        raise FitsFailedError(*error.args) from error
    values = np.empty((len(folds), len(plan.coalitions)))
    values[:, 1:] = np.reshape([score for score, _ in found], (len(folds), -1))
    values[:, 0] = [_chance(model, scoring, fold) for fold in folds]
    if not scoring.is_auroc or scoring.positive is None or scoring.positive.ndim > 1:
        return values, None
    ranked = [predicted for _, predicted in found]
    return values, [ranked[k :: len(refits)] for k in range(len(refits))]


def _repeats_of(folds: list[Fold], n_rows: int) -> np.ndarray | None:
    """Return the number of the repetition of each fold.

    None if they are no repeated folds, such as random splits whose test sets overlap.
    """
    numbers = []
    tested = np.zeros((0, n_rows), dtype=bool)
    for _, test in folds:
        free = np.flatnonzero(~tested[:, test].any(axis=1))
        if not len(free):
            tested = np.vstack([tested, np.zeros((1, n_rows), dtype=bool)])
            free = np.array([len(tested) - 1])
        tested[free[0], test] = True
        numbers.append(int(free[0]))
    several = (np.bincount(numbers) > 1).all()
    return np.array(numbers) if several and (tested == tested[0]).all() else None


def _set_limits(
    level: _Folds,
    scoring: Scoring,
    folds: list[Fold],
    values: np.ndarray,
    held_out: list[list[np.ndarray]] | None,
    groups: np.ndarray | None,
) -> tuple[np.ndarray, str]:
    """Return the limits of the score of each set (n_coalitions, 2), and their method.

    The method is empty if it is that of the contributions.
    """
    limits = np.array([level.limits(scores)[:2] for scores in values.T])
    limits[0] = np.nan  # chance is not estimated
    repeats = None if held_out is None else _repeats_of(folds, len(scoring.y))
    if held_out is None or repeats is None:
        return limits, ""
    limits[1:] = [
        _auroc_limits(scoring, one, folds, repeats, groups, level.confidence_level)
        for one in held_out
    ]
    return limits, "placements within the test folds"


def _auroc_limits(
    scoring: Scoring,
    held_out: list[np.ndarray],
    folds: list[Fold],
    repeats: np.ndarray,
    groups: np.ndarray | None,
    confidence_level: float,
) -> tuple[float, float]:
    """Return the limits of the AUROC of one set, as in `compare_fusion`."""
    positive = scoring.positive
    assert positive is not None  # noqa: S101 - true of AUROCs
    scores = np.full((int(repeats.max()) + 1, len(positive)), np.nan)
    numbers = np.full(scores.shape, -1)
    for k, ((_, test), predicted) in enumerate(zip(folds, held_out, strict=True)):
        scores[repeats[k], test] = predicted
        numbers[repeats[k], test] = k
    rows = (numbers >= 0).any(axis=0)  # own folds can leave rows out
    found = cross_validated_auroc_interval(
        positive[rows],
        scores[:, rows],
        numbers[:, rows],
        groups=None if groups is None else groups[rows],
        confidence_level=confidence_level,
    )
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class _Folds:
    """Numbers of patients of the folds, from which every interval is computed.

    Attributes
    ----------
    n_train, n_test : ndarray of shape (n_folds,)
        Patients, or rows without patients. The folds are weighted by `n_test`, as in
        `compare_fusion`.
    least : float
        Smallest standard error, for scores that are the same in all folds.
    confidence_level : float
        Confidence level of the intervals.
    """

    n_train: np.ndarray
    n_test: np.ndarray
    least: float
    confidence_level: float

    @classmethod
    def of(
        cls,
        folds: list[Fold],
        groups: np.ndarray | None,
        scoring: Scoring,
        values: np.ndarray,
        confidence_level: float,
    ) -> _Folds:
        train, test = (
            np.array([_n_units(side, groups) for side in sides])
            for sides in zip(*folds, strict=True)
        )
        of_folds = [
            least_error(scoring, values.mean(axis=0), rows, groups) for _, rows in folds
        ]
        # As in the correction of Nadeau and Bengio, with the same weights.
        share = (test**2).sum() / test.sum() ** 2
        factor = np.sqrt(share + np.average(test / train, weights=test))
        least = float(factor * np.average(of_folds, weights=test))
        return cls(train, test, least, confidence_level)

    def limits(
        self, scores: np.ndarray, others: np.ndarray | None = None
    ) -> tuple[float, float, float]:
        """Return the limits and the standard error of a mean over the folds.

        With `others`, it is the difference of the two, by the test of `compare_fusion`
        for matched strategies. The width is never zero.
        """
        with warnings.catch_warnings():
            # Scores that are equal in all folds get the smallest standard error.
            warnings.filterwarnings("ignore", "The difference is the same in all")
            found = corrected_resampled_ttest(
                scores,
                np.zeros_like(scores) if others is None else others,
                self.n_train,
                self.n_test,
                weights=self.n_test,
                confidence_level=self.confidence_level,
            )
        if found.high - found.low > 1e-9 * self.least:
            return float(found.low), float(found.high), float(found.standard_error)
        reach = norm.ppf(0.5 + self.confidence_level / 2.0) * self.least
        return found.difference - reach, found.difference + reach, self.least


def _clipped(
    limits: np.ndarray, least: float, most: float
) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.clip(limits[:, :2], least, most).T
    return low, high


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
) -> tuple[float, np.ndarray]:
    """Return the score of a fold, and the last column of the predictions."""
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
    return scoring.score(predicted, test, *given), predicted[:, -1]


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
