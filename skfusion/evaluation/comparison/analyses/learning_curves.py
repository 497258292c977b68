"""Scores of strategies that are trained on a share of the training patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from skfusion._validation import check_number
from skfusion.evaluation.comparison.analyses.refits import (
    PROBABILITIES,
    arms_to_fit,
    column_of,
    prediction_frame,
    score_of,
)
from skfusion.evaluation.comparison.analyses.subgroups import Predicted
from skfusion.evaluation.comparison.checkpoint import Checkpoint, Fit
from skfusion.evaluation.comparison.design import Split
from skfusion.evaluation.comparison.running import (
    Context,
    add_members,
    fit_arm,
    tell_once,
)
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import Study

__all__ = ["check_fractions", "learning_table"]


OWNER = "FusionComparison.learning_curve"


def check_fractions(fractions: Any) -> tuple[float, ...]:
    """Return sorted fractions, each above 0 and at most 1."""
    shares = tuple(float(share) for share in np.unique(np.atleast_1d(fractions)))
    for share in shares:
        check_number(share, "fractions", OWNER, low=0, high=1, exclude_low=True)
    return shares


def learning_table(
    fractions: Sequence[float],
    context: Context,
    predicted: Predicted,
    predictions: pd.DataFrame,
    positive: str | None,
) -> pd.DataFrame:
    """Return the score of each strategy for each fraction of the training patients.

    Parameters
    ----------
    fractions : sequence of float
        Fractions of the training patients.
    context : Context
        Estimators, cohort and splits.
    predicted : Predicted
        Strategies and score.
    predictions : DataFrame
        Table as in `FusionComparison.predictions_`.
    positive : str or None
        Positive class as text, None for a numeric outcome.

    Returns
    -------
    DataFrame
        One row per strategy and fraction.
    """
    names = list(predicted.sets)
    first = predictions[predictions["repeat"] == 0]
    by_fraction: dict[float, dict[str, list[np.ndarray]]] = {}
    failures: dict[float, dict[str, str]] = {}
    for fraction in fractions:
        if fraction < 1:
            found = _fits(fraction, context, names)
            by_fraction[fraction], failures[fraction] = found
    rows = []
    for name in names:
        for fraction in fractions:
            row: dict[str, Any] = {"strategy": name, "fraction": fraction}
            row["n_train"] = _mean_size(context, fraction)
            row["metric"] = predicted.metric.name
            reason = failures.get(fraction, {}).get(name, "")
            if reason:
                nothing = dict.fromkeys(("estimate", "low", "high"), np.nan)
                rows.append(row | nothing | {"reason": reason})
                continue
            frame, column = first, name
            if fraction < 1:
                scores = by_fraction[fraction][name]
                frame, column = prediction_frame(context, [scores]), "score"
            score, _ = score_of(predicted, frame, column, positive)
            low, high = predicted.limits(score)
            row |= {"estimate": score.estimate, "low": low, "high": high}
            rows.append(row | {"reason": ""})
    return pd.DataFrame(rows)


def _fits(
    fraction: float, context: Context, names: Sequence[str]
) -> tuple[dict[str, list[np.ndarray]], dict[str, str]]:
    """Return predictions by strategy and split, and why a strategy has none."""
    arms = arms_to_fit(context.arms, names)
    splits = [
        Split(
            split.repeat,
            split.fold,
            _part(context.study, split, fraction, context.seed),
            split.test,
            split.site,
        )
        for split in context.splits
    ]
    tasks = [(arm, split) for arm in arms for split in splits]
    results = Parallel(n_jobs=context.n_jobs)(
        delayed(_try_fit)(arm, context, split) for arm, split in tasks
    )
    fits: dict[tuple[str, int, int], Fit] = {}
    failures: dict[str, str] = {}
    for (arm, split), fit in zip(tasks, results, strict=True):
        if isinstance(fit, str):
            failures.setdefault(arm.name, fit)
        else:
            fits[arm.name, split.repeat, split.fold] = fit
    tell_once(arms, fits)
    members = [arm for arm in context.arms if arm.estimator is None]
    members = [arm for arm in members if str(arm.fusion) in {a.name for a in arms}]
    failures |= {
        arm.name: failures[str(arm.fusion)]
        for arm in members
        if str(arm.fusion) in failures
    }
    add_members(members, fits, dict.fromkeys((arm.name for arm in arms), 1))
    scores = {
        name: [
            column_of(fits[name, split.repeat, split.fold].predictions)
            for split in splits
        ]
        for name in names
        if name not in failures
    }
    return scores, failures


def _try_fit(arm: Strategy, context: Context, split: Split) -> Fit | str:
    """Return the fit, or why it failed."""
    try:
        return fit_arm(
            arm, context.study, split, PROBABILITIES, context.seed, Checkpoint()
        )
    except (ValueError, TypeError) as error:
        return f"a fit failed with {type(error).__name__}"


def _part(study: Study, split: Split, fraction: float, seed: int) -> np.ndarray:
    """Return the rows of a share of the training patients, of each class alike.

    The patients of a fraction are also those of larger fractions.
    """
    patients = split.train if study.groups is None else study.groups[split.train]
    units, place = np.unique(patients, return_inverse=True)
    strata = study.task.strata(study.y)
    highest = np.zeros(len(units), dtype=np.int64)
    if strata is not None:
        np.maximum.at(highest, place, strata[split.train])
    rng = np.random.RandomState([seed, split.fold])
    kept: list[np.ndarray] = []
    for number in np.unique(highest):
        members = rng.permutation(np.flatnonzero(highest == number))
        kept.append(members[: max(1, round(fraction * len(members)))])
    return split.train[np.isin(place, np.concatenate(kept))]


def _mean_size(context: Context, fraction: float) -> float:
    """Return the mean number of training patients over the splits."""
    study = context.study
    sizes = [
        study.n_patients(
            split.train
            if fraction == 1
            else _part(study, split, fraction, context.seed)
        )
        for split in context.splits
    ]
    return float(np.mean(sizes))
