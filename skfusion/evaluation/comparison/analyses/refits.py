"""Models of the first repetition, fitted again to predict other rows or from fewer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.comparison.analyses.held_out import (
    HeldOutSet,
    held_out_sets,
    n_patients_of,
)
from skfusion.evaluation.comparison.analyses.jackknife import (
    PatientScore,
    patient_blocks,
    score_sets,
)
from skfusion.evaluation.comparison.analyses.subgroups import Predicted
from skfusion.evaluation.comparison.design import Split
from skfusion.evaluation.comparison.running import (
    Context,
    Request,
    fit_split,
    predict,
    predict_members,
)
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import Study
from skfusion.evaluation.metrics import Predictions
from skfusion.exceptions import DataWarning

__all__ = [
    "PROBABILITIES",
    "REMEDY",
    "Refit",
    "arms_to_fit",
    "column_of",
    "prediction_frame",
    "refit",
    "score_of",
]


PROBABILITIES = Request(labels=False, survival=False)
# Part of the warning of a fusion that was never trained without a modality.
NEVER_ABSENT = "never trained with"
REMEDY = (
    "use late fusion, absence_copies=1.0 of an early fusion or modality_dropout= of a "
    "joint fusion"
)
REFUSED = (
    "the model does not predict rows without the modality: set missing='auto' and use "
    "an estimator that accepts NaN or a pipeline with an imputer"
)
UNTRAINED = f"the model was never trained with the modality absent: {REMEDY}"


@dataclass(frozen=True)
class Refit:
    """Predictions of a model that was fitted again, for several tables.

    Attributes
    ----------
    scores : dict of str to list of ndarray of shape (n_test,)
        Predictions of each table, by strategy. Late fusions also have those of their
        members.
    reasons : dict of str to str
        Why a strategy cannot predict the tables. Empty if it can.
    """

    scores: Mapping[str, list[np.ndarray]]
    reasons: Mapping[str, str]


def arms_to_fit(arms: Sequence[Strategy], names: Sequence[str]) -> list[Strategy]:
    """Return the arms that must be fitted for the predictions of some strategies.

    Members of a late fusion are fitted with it.
    """
    known = {arm.name: arm for arm in arms}
    wanted = []
    for name in names:
        arm = known[name]
        wanted.append(arm if arm.estimator is not None else known[str(arm.fusion)])
    return list({arm.name: arm for arm in wanted}.values())


def column_of(predictions: Predictions) -> np.ndarray:
    """Return the probabilities of the positive class, or the predicted values."""
    scores = predictions.scores
    return scores[:, 1] if scores.ndim == 2 else scores


def refit(
    arm: Strategy,
    context: Context,
    split: Split,
    versions: Callable[[Context], Iterable[pd.DataFrame]],
) -> Refit:
    """Fit the model of a split again and predict its test rows in several tables.

    Parameters
    ----------
    arm : Strategy
        Arm with an estimator.
    context : Context
        Cohort and arms.
    split : Split
        Split of the first repetition.
    versions : callable
        Function that returns versions of the cohort, of which the test rows are
        predicted. They are made one at a time, because a cohort can be large.

    Returns
    -------
    Refit
    """
    members = {
        str(other.modality): other.name
        for other in context.arms
        if other.estimator is None and other.fusion == arm.name
    }
    study = context.study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the comparison has issued them
        estimator = fit_split(arm, context, split)
    scores: dict[str, list[np.ndarray]] = {name: [] for name in members.values()}
    reasons: dict[str, str] = {}
    found: list[np.ndarray] = []
    for table in versions(context):
        rows = table.iloc[split.test]
        values, reason = _predicted(estimator, rows, study, split)
        found.append(values)
        if reason:
            reasons.setdefault(arm.name, reason)
        parts = _predicted_members(arm, estimator, rows, study, split)
        for modality, name in members.items():
            if parts is None:
                scores[name].append(np.full(len(rows), np.nan))
                reasons.setdefault(name, REFUSED)
            else:
                scores[name].append(column_of(parts[modality]))
    return Refit(scores | {arm.name: found}, reasons)


def _predicted(
    estimator: Any, rows: pd.DataFrame, study: Study, split: Split
) -> tuple[np.ndarray, str]:
    """Return predictions, and why they do not count as those of a supported absence."""
    nothing = np.full(len(rows), np.nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = predict(estimator, rows, study, split.train, PROBABILITIES)
        except (ValueError, TypeError):
            return nothing, REFUSED
    if any(NEVER_ABSENT in str(warning.message) for warning in caught):
        return nothing, UNTRAINED
    return column_of(found), ""


def _predicted_members(
    arm: Strategy, estimator: Any, rows: pd.DataFrame, study: Study, split: Split
) -> dict[str, Predictions] | None:
    """Return the predictions of members, None if the model refuses the rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            return predict_members(arm, estimator, rows, study, split.train)
        except (ValueError, TypeError):
            return None


def prediction_frame(
    context: Context, scores: Sequence[Sequence[np.ndarray]]
) -> pd.DataFrame:
    """Return predictions as a table like `FusionComparison.predictions_`.

    Parameters
    ----------
    context : Context
        Cohort and splits of the first repetition.
    scores : sequence of sequence of ndarray
        Predictions of one strategy by draw and split. Each draw is a repetition.

    Returns
    -------
    DataFrame
        The predictions are in the column ``"score"``.
    """
    study = context.study
    parts = []
    for draw, by_split in enumerate(scores):
        for split, values in zip(context.splits, by_split, strict=True):
            groups = -1 if study.groups is None else study.groups[split.test]
            part = {"row": split.test, "repeat": draw, "fold": split.fold}
            part |= {"group": groups, "y": study.y[split.test], "score": values}
            parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def score_of(
    predicted: Predicted, frame: pd.DataFrame, column: str, positive: str | None
) -> tuple[PatientScore, list[HeldOutSet]]:
    """Return the score of a table of predictions of all patients, and its test sets."""
    sets = held_out_sets(frame, column, positive)
    patients = np.concatenate([part.patient for part in sets])
    blocks, n_blocks = patient_blocks([patients], n_patients_of(sets))
    found = score_sets(
        sets,
        predicted.score,
        blocks,
        n_blocks,
        equal_weights=predicted.equal_weights,
        classes=predicted.classes,
        inflation=predicted.inflation,
    )
    return found, sets
