"""The sentence at the end: whether fusion helps, by how much, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from skfusion.evaluation.metrics import Metric, format_p

__all__ = ["Verdict", "judge"]


ALPHA = 0.05
HEADLINES = {
    "helps": "Fusion helps",
    "unclear": "No evidence that fusion helps",
    "worse": "Fusion is worse",
}


@dataclass(frozen=True)
class Verdict:
    """What a comparison says about fusion.

    Attributes
    ----------
    outcome : {"helps", "unclear", "worse", "untested"}
        By the primary metric, at a family-wise error of 5%.
    headline : str
        The same in words.
    details : str
        The figures, and what the other scores say.
    """

    outcome: str
    headline: str
    details: str

    @property
    def text(self) -> str:
        """Headline and details."""
        return f"{self.headline}. {self.details}"


def judge(
    differences: pd.DataFrame,
    scores: pd.DataFrame,
    metrics: Sequence[Metric],
    labels: Mapping[str, str],
) -> Verdict:
    """Put a comparison into words.

    Parameters
    ----------
    differences : DataFrame
        As `FusionComparison.differences_`; empty if there was nothing to compare.
    scores : DataFrame
        As `FusionComparison.scores_`.
    metrics : list of Metric
        The first one decides.
    labels : dict of str to str
        How each strategy is written.

    Returns
    -------
    Verdict
    """
    if differences.empty:
        return Verdict(
            "untested",
            "Nothing can be said about whether fusion helps",
            "That takes at least one fusion and at least one single modality in the "
            "comparison.",
        )
    primary, *others = metrics
    outcome, details = _primary(differences, scores, primary, labels)
    for metric in others:
        details += " " + _secondary(differences, metric, labels)
    return Verdict(outcome, HEADLINES[outcome], details)


def _primary(
    differences: pd.DataFrame,
    scores: pd.DataFrame,
    metric: Metric,
    labels: Mapping[str, str],
) -> tuple[str, str]:
    rows = _rows(differences, metric)
    better, worse = _significant(rows, metric)
    leading = (better if len(better) else rows).iloc[0]
    both = scores[scores["metric"] == metric.name].set_index("strategy")["estimate"]
    reference = labels[leading["reference"]]
    figures = (
        f"{metric.text(both[leading['strategy']])} against "
        f"{metric.text(both[leading['reference']])}, difference "
        f"{metric.text(leading['estimate'], signed=True)} (95% interval "
        f"{metric.text(leading['low'], signed=True)} to "
        f"{metric.text(leading['high'], signed=True)}; {format_p(leading['p_holm'])}"
        f"{' after Holm' if len(rows) > 1 else ''})"
    )
    name = labels[leading["strategy"]]
    if len(better):
        outcome = "helps"
        text = f"By {metric.label}, {name} beats the best single modality, {reference}"
    elif len(worse) == len(rows):
        outcome = "worse"
        text = f"By {metric.label}, even the best of the fusions, {name}, falls behind "
        text += f"the best single modality, {reference}"
    else:
        outcome = "unclear"
        text = f"By {metric.label}, the best of the fusions, {name}, cannot be told "
        text += f"from the best single modality, {reference}"
    text += f": {figures}."
    if outcome == "unclear":
        most = leading["high" if metric.greater_is_better else "low"]
        if metric.favours(most):
            # no further than to the end of the score's range
            start = both[leading["reference"]]
            gain = metric.text(abs(metric.clip(start + most) - start))
            text += f" A gain of up to {gain} is not excluded."
    if len(better) > 1:
        text += f" So does {_names(better[1:], labels)}."
    if len(worse) and outcome != "worse":
        text += f" Worse than {reference}: {_names(worse, labels)}."
    return outcome, text


def _secondary(
    differences: pd.DataFrame, metric: Metric, labels: Mapping[str, str]
) -> str:
    rows = _rows(differences, metric)
    better, worse = _significant(rows, metric)
    reference = labels[rows.iloc[0]["reference"]]
    parts = []
    if len(better):
        parts.append(f"better than {reference}: {_names(better, labels)}")
    if len(worse):
        parts.append(f"worse than {reference}: {_names(worse, labels)}")
    if not parts:
        parts.append(f"no fusion can be told from the best single one, {reference}")
    return f"By {metric.label}, {'; '.join(parts)}."


def _rows(differences: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the differences of one metric, the most favourable one first."""
    rows = differences[differences["metric"] == metric.name]
    return rows.sort_values(
        "estimate", ascending=not metric.greater_is_better, kind="stable"
    )


def _significant(
    rows: pd.DataFrame, metric: Metric
) -> tuple[pd.DataFrame, pd.DataFrame]:
    sure = (rows["p_holm"] < ALPHA).to_numpy()
    good = np.array([metric.favours(value) for value in rows["estimate"]], dtype=bool)
    return rows[sure & good], rows[sure & ~good]


def _names(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    return ", ".join(labels[name] for name in rows["strategy"])
