"""Scores of strategies in subgroups of patients, with small counts suppressed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    Sizes,
    patient_blocks,
    score_sets,
)
from skfusion.evaluation.comparison.analyses.levels import levels_of
from skfusion.evaluation.comparison.analyses.weighted_scores import WeightedScore
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.statistics.disclosure import WITHHELD, shown_counts

__all__ = ["Predicted", "subgroup_table"]


OWNER = "FusionComparison.by_group"
FEWEST = 10  # patients with and without an event, for an estimate
UNIT_INTERVAL = ("roc_auc", "average_precision")
NO_LIMITS = (np.nan, np.nan)


@dataclass(frozen=True)
class Predicted:
    """Held-out predictions of a comparison, and the score of any part of them.

    Attributes
    ----------
    sets : dict of str to list of HeldOutSet
        Test sets of each strategy.
    references : dict of str to str
        Best single modality of each fusion.
    metric : Metric
        Score, of which the name and the range are used.
    score : callable
        Score of a test set under weights.
    classes : bool
        Whether the outcome has two classes.
    equal_weights : bool
        Whether the test sets are sites, which count equally and have no limits.
    inflation : float
        Factor of the variance, because training sets overlap.
    """

    sets: Mapping[str, list[HeldOutSet]]
    references: Mapping[str, str]
    metric: Metric
    score: WeightedScore
    classes: bool
    equal_weights: bool
    inflation: float

    @classmethod
    def of(
        cls,
        predictions: pd.DataFrame,
        names: list[str],
        references: Mapping[str, str],
        metric: Metric,
        score: WeightedScore,
        positive: str | None,
        settings: Mapping[str, Any],
    ) -> Predicted:
        """Collect the test sets of some strategies of a comparison."""
        n_folds = settings["n_folds"]
        return cls(
            {name: held_out_sets(predictions, name, positive) for name in names},
            {a: b for a, b in references.items() if a in names and b in names},
            metric,
            score,
            positive is not None,
            settings["design"] == "sites",
            n_folds / (n_folds - 1) if settings["design"] == "folds" else 1.0,
        )

    def limits(self, found: PatientScore) -> tuple[float, float]:
        """Return the limits of a score within its range."""
        if self.equal_weights:
            return NO_LIMITS
        low, high = found.limits(unit_interval=self.metric.name in UNIT_INTERVAL)
        return self.metric.clip(low), self.metric.clip(high)

    def limits_of_difference(self, found: PatientScore) -> tuple[float, float]:
        """Return the limits of a difference of scores."""
        return NO_LIMITS if self.equal_weights else found.limits()


@dataclass
class _Part:
    """Rows of a level or of the rest, with the scores that were computed on them."""

    predicted: Predicted
    chosen: np.ndarray
    blocks: np.ndarray
    n_blocks: int
    known: dict[tuple[str, int], PatientScore] = field(default_factory=dict)

    def sets(self, name: str, n_repeats: int) -> list[HeldOutSet]:
        parts = [
            part.part(self.chosen[part.row])
            for part in self.predicted.sets[name]
            if part.repeat < n_repeats
        ]
        return [part for part in parts if len(part.y)]

    def score(self, name: str, n_repeats: int) -> PatientScore:
        key = name, n_repeats
        if key not in self.known:
            predicted = self.predicted
            self.known[key] = score_sets(
                self.sets(name, n_repeats),
                predicted.score,
                self.blocks,
                self.n_blocks,
                equal_weights=predicted.equal_weights,
                classes=predicted.classes,
                inflation=predicted.inflation,
            )
        return self.known[key]


def subgroup_table(
    predicted: Predicted, variables: Mapping[str, pd.Series], *, min_cell: int
) -> pd.DataFrame:
    """Return the scores of each level of each variable.

    Parameters
    ----------
    predicted : Predicted
        Predictions and score.
    variables : dict of str to Series of shape (n_samples,)
        Variables, with one entry per row of the cohort.
    min_cell : int
        Smallest count that is shown.

    Returns
    -------
    DataFrame
        One row per variable, level and strategy.
    """
    rows: list[dict[str, Any]] = []
    for variable, values in variables.items():
        codes, names = levels_of(values, variable, OWNER)
        masks = [codes == number for number in range(len(names))]
        sizes = [_sizes(predicted, mask) for mask in masks]
        shared = [_n_shared(predicted, mask) for mask in masks]
        counts = _counts(sizes, shared, min_cell, classes=predicted.classes)
        for level, mask, size, shown in zip(names, masks, sizes, counts, strict=True):
            rest = _sizes(predicted, ~mask)
            found = _of_level(predicted, mask, size, rest)
            for name in predicted.sets:
                row = {"variable": variable, "level": level, "strategy": name} | shown
                rows.append(row | {"metric": predicted.metric.name} | found[name])
    return pd.DataFrame(rows)


def _sizes(predicted: Predicted, chosen: np.ndarray) -> Sizes:
    first = next(iter(predicted.sets.values()))
    return Sizes.of(
        [part.part(chosen[part.row]) for part in first], classes=predicted.classes
    )


def _n_shared(predicted: Predicted, mask: np.ndarray) -> int:
    """Return the number of patients who have rows inside and outside of a level."""
    first = next(iter(predicted.sets.values()))
    patient = np.concatenate([part.patient for part in first])
    inside = np.concatenate([mask[part.row] for part in first])
    return len(np.intersect1d(patient[inside], patient[~inside]))


def _counts(
    sizes: list[Sizes], shared: list[int], min_cell: int, *, classes: bool
) -> list[dict[str, Any]]:
    """Return the counts of each level as they are shown."""
    patients = shown_counts([size.n_patients for size in sizes], min_cell)
    rows = shown_counts([size.n_rows for size in sizes], min_cell)
    events = shown_counts([size.n_events for size in sizes], min_cell)
    others = shown_counts([size.n_others for size in sizes], min_cell)
    found = []
    for number in range(len(sizes)):
        is_hidden = isinstance(patients[number], str)
        shown = {"n_patients": patients[number]}
        shown["n_shared"] = _shown_shared(
            shared[number], sizes[number], min_cell, is_hidden=is_hidden
        )
        shown["n_rows"] = rows[number]
        if is_hidden and not isinstance(rows[number], str):
            shown["n_rows"] = WITHHELD
        if classes:
            event = events[number]
            # The others would follow from the patients and the events.
            if not isinstance(event, str) and (
                is_hidden or isinstance(others[number], str)
            ):
                event = WITHHELD
            shown["n_events"] = event
        found.append(shown)
    return found


def _shown_shared(
    n_shared: int, size: Sizes, min_cell: int, *, is_hidden: bool
) -> int | str:
    """Return the patients of several levels as they are shown.

    The patients of this level alone would follow from them and the patients.
    """
    if 0 < n_shared < min_cell:
        return f"<{min_cell}"
    alone = size.n_patients - n_shared
    if n_shared and (is_hidden or 0 < alone < min_cell):
        return WITHHELD
    return n_shared


def _of_level(
    predicted: Predicted, mask: np.ndarray, size: Sizes, rest: Sizes
) -> dict[str, dict[str, Any]]:
    """Return the scores of a level, and what differs from the rest, by strategy."""
    reason = _too_few(size, predicted.classes)
    if reason:
        return {name: _nothing(reason) for name in predicted.sets}
    first = next(iter(predicted.sets.values()))
    patients = np.concatenate([part.patient for part in first])
    inside = np.concatenate([mask[part.row] for part in first])
    blocks, n_blocks = patient_blocks(
        [patients[inside], patients], n_patients_of(first)
    )
    level = _Part(predicted, mask, blocks, n_blocks)
    others = None
    if not _too_few(rest, predicted.classes):
        others = _Part(predicted, ~mask, blocks, n_blocks)
    return {name: _row(predicted, name, level, others) for name in predicted.sets}


def _too_few(size: Sizes, classes: bool) -> str:
    """Return why there is no estimate, empty if there is one."""
    if not classes:
        return f"fewer than {FEWEST} patients" if size.n_patients < FEWEST else ""
    if size.n_events < FEWEST:
        return f"fewer than {FEWEST} patients with an event"
    if size.n_others < FEWEST:
        return f"fewer than {FEWEST} patients without an event"
    return ""


def _nothing(reason: str) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("estimate", "low", "high"), np.nan)
    empty |= {"n_test_sets": 0, "reference": ""}
    for part in ("difference", "interaction"):
        empty |= dict.fromkeys((part, f"{part}_low", f"{part}_high"), np.nan)
    return empty | {"reason": reason}


def _row(
    predicted: Predicted, name: str, level: _Part, others: _Part | None
) -> dict[str, Any]:
    n_repeats = _n_repeats(predicted, name)
    own = level.score(name, n_repeats)
    row = _nothing("")
    if not np.isfinite(own.estimate):
        return row | {"reason": "the score is undefined on every test set"}
    low, high = predicted.limits(own)
    row |= {"estimate": own.estimate, "low": low, "high": high}
    row["n_test_sets"] = own.n_sets
    reference = predicted.references.get(name)
    if reference is None:
        return row
    common = min(n_repeats, _n_repeats(predicted, reference))
    gain = level.score(name, common) - level.score(reference, common)
    row |= {"reference": reference} | _signed(predicted, "difference", gain)
    if others is None:
        return row | {"reason": "there are too few other patients to compare with"}
    elsewhere = others.score(name, common) - others.score(reference, common)
    return row | _signed(predicted, "interaction", gain - elsewhere)


def _n_repeats(predicted: Predicted, name: str) -> int:
    return 1 + max(part.repeat for part in predicted.sets[name])


def _signed(predicted: Predicted, part: str, found: PatientScore) -> dict[str, float]:
    low, high = predicted.limits_of_difference(found)
    return {part: found.estimate, f"{part}_low": low, f"{part}_high": high}
