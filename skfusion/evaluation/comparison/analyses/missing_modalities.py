"""Scores of strategies as a modality is taken away from the rows that are predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from skfusion._validation import check_number, check_option
from skfusion.datasets import drop_modality
from skfusion.evaluation.comparison.analyses.jackknife import PatientScore
from skfusion.evaluation.comparison.analyses.refits import (
    REMEDY,
    Refit,
    arms_to_fit,
    prediction_frame,
    refit,
    score_of,
)
from skfusion.evaluation.comparison.analyses.subgroups import Predicted
from skfusion.evaluation.comparison.running import Context
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.fusion.restriction import fusions_within
from skfusion.modality import presence_mask

__all__ = ["Removal", "missing_table"]


OWNER = "FusionComparison.missing_curve"
UNKNOWN = (
    "it is unknown whether the estimator supports absent modalities, because it is no "
    f"fusion of skfusion: {REMEDY}"
)


@dataclass(frozen=True)
class Removal:
    """Modality that is taken away, and how.

    Attributes
    ----------
    modality : str
        Name of the modality.
    rates : tuple of float
        Shares of the rows with the modality that lose it.
    mechanism : {"mcar", "mar", "mnar"}
        Mechanism as in `drop_modality`.
    driver : column label, array-like or None
        Driver as in `drop_modality`.
    n_repeats : int
        Number of draws of the rows for each rate between 0 and 1.
    """

    modality: str
    rates: tuple[float, ...]
    mechanism: str
    driver: Any
    n_repeats: int

    @classmethod
    def of(
        cls,
        modality: Any,
        rates: Any,
        mechanism: str,
        driver: Any,
        n_repeats: Any,
        context: Context,
    ) -> Removal:
        """Check what the user has given.

        Raises
        ------
        ValueError
            If the modality is unknown, or a rate is out of range.
        """
        names = [part.name for part in context.modalities]
        check_option(modality, "modality", names, OWNER)
        shares = tuple(float(rate) for rate in np.unique(np.atleast_1d(rates)))
        for share in shares:
            check_number(share, "rates", OWNER, low=0, high=1)
        check_number(n_repeats, "n_repeats", OWNER, low=1, integer=True)
        return cls(modality, shares, mechanism, driver, int(n_repeats))

    @property
    def places(self) -> list[tuple[float, int]]:
        """Rates with the number of the draw, without the rate of 0."""
        return [
            (rate, draw)
            for rate in self.rates
            if rate > 0
            for draw in range(1 if rate == 1 else self.n_repeats)
        ]

    def tables(self, context: Context) -> Iterator[pd.DataFrame]:
        """Yield the cohort without the modality, one table per rate and draw.

        The rows that lose it at a rate also lose it at higher rates of the same draw.
        """
        parts = [(m.name, None, list(m.columns)) for m in context.modalities]
        for rate, draw in self.places:
            yield drop_modality(
                context.study.X,
                {self.modality: rate},
                modalities=parts,
                mechanism=self.mechanism,  # type: ignore[arg-type]
                driver=self.driver,
                allow_empty=True,
                random_state=context.seed + draw,
            )


def missing_table(
    removal: Removal,
    context: Context,
    predicted: Predicted,
    predictions: pd.DataFrame,
    positive: str | None,
) -> pd.DataFrame:
    """Return the score of each strategy at each rate.

    Parameters
    ----------
    removal : Removal
        Modality and rates.
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
        One row per strategy and rate.
    """
    arms = {arm.name: arm for arm in context.arms}
    names = [name for name in predicted.sets if _is_affected(arms[name], removal)]
    found = _refits(removal, context, names)
    first = predictions[predictions["repeat"] == 0]
    lacking = _share_lacking(removal, context, first["row"].unique())
    rows = []
    for name in predicted.sets:
        base, _ = score_of(predicted, first, name, positive)
        reason = _reason(name, arms, found)
        for rate in removal.rates:
            score: PatientScore | None = base
            if rate > 0 and name in names:
                score = None
                if not reason:
                    frame = prediction_frame(context, _at(removal, found, name, rate))
                    score, _ = score_of(predicted, frame, "score", positive)
            row: dict[str, Any] = {"modality": removal.modality}
            row["mechanism"] = removal.mechanism
            row |= {"strategy": name, "rate": rate}
            # The loss is of the rows that have the modality.
            row["absent"] = lacking + rate * (1.0 - lacking)
            row["metric"] = predicted.metric.name
            rows.append(row | _numbers(predicted, score, base, reason))
    return pd.DataFrame(rows)


def _share_lacking(removal: Removal, context: Context, rows: np.ndarray) -> float:
    """Return the share of rows that lack the modality before any is taken away."""
    own = [part for part in context.modalities if part.name == removal.modality]
    return float(1.0 - presence_mask(own, context.study.X.iloc[rows]).mean())


def _is_affected(arm: Strategy, removal: Removal) -> bool:
    """Return whether a strategy uses the modality."""
    return arm.role != "single" or arm.modality == removal.modality


def _refits(
    removal: Removal, context: Context, names: Sequence[str]
) -> list[dict[str, Refit]]:
    """Return the refits of each split, by strategy."""
    arms = [
        arm for arm in arms_to_fit(context.arms, names) if fusions_within(arm.estimator)
    ]
    if not removal.places:
        return [{} for _ in context.splits]
    next(removal.tables(context))  # a wrong driver raises an error before the fits
    tasks = [(arm, split) for split in context.splits for arm in arms]
    fits = Parallel(n_jobs=context.n_jobs)(
        delayed(refit)(arm, context, split, removal.tables) for arm, split in tasks
    )
    found: list[dict[str, Refit]] = [{} for _ in context.splits]
    for number, fit in enumerate(fits):
        own = found[number // max(len(arms), 1)]
        own.update(dict.fromkeys(fit.scores, fit))
    return found


def _reason(
    name: str, arms: dict[str, Strategy], found: Sequence[dict[str, Refit]]
) -> str:
    """Return why a strategy has no scores without the modality."""
    estimator = arms[name].estimator
    if estimator is not None and not fusions_within(estimator):
        return UNKNOWN
    reasons = [fits[name].reasons.get(name, "") for fits in found if name in fits]
    return next((reason for reason in reasons if reason), "")


def _at(
    removal: Removal, found: Sequence[dict[str, Refit]], name: str, rate: float
) -> list[list[np.ndarray]]:
    """Return the predictions of a strategy at a rate by draw and split."""
    places = [k for k, (share, _) in enumerate(removal.places) if share == rate]
    return [[fits[name].scores[name][k] for fits in found] for k in places]


def _numbers(
    predicted: Predicted,
    score: PatientScore | None,
    base: PatientScore,
    reason: str,
) -> dict[str, Any]:
    empty = ("estimate", "low", "high", "change", "change_low", "change_high")
    row: dict[str, Any] = dict.fromkeys(empty, np.nan)
    if score is None:
        return row | {"reason": reason}
    low, high = predicted.limits(score)
    row |= {"estimate": score.estimate, "low": low, "high": high}
    change = score - base
    low, high = predicted.limits_of_difference(change)
    row |= {"change": change.estimate, "change_low": low, "change_high": high}
    return row | {"reason": ""}
