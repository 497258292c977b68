"""Verdict of a comparison: whether fusion helps, effect size and significance."""

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
    """Verdict of a comparison about fusion.

    Attributes
    ----------
    outcome : {"helps", "unclear", "worse", "untested"}
        Result for the primary metric at a family-wise error rate of 5%.
    headline : str
        Outcome in words.
    details : str
        Estimates and tests of the primary metric, and results of the other metrics.
    """

    outcome: str
    headline: str
    details: str

    @property
    def text(self) -> str:
        """Headline and details in one text."""
        return f"{self.headline}. {self.details}"


def judge(
    differences: pd.DataFrame,
    scores: pd.DataFrame,
    metrics: Sequence[Metric],
    labels: Mapping[str, str],
) -> Verdict:
    """Return the verdict of a comparison.

    Parameters
    ----------
    differences : DataFrame
        Table as in `FusionComparison.differences_`, empty without a fusion strategy or
        a single modality.
    scores : DataFrame
        Table as in `FusionComparison.scores_`.
    metrics : list of Metric
        Metrics, of which the first one determines the outcome.
    labels : dict of str to str
        Name of each strategy in the text.

    Returns
    -------
    Verdict
    """
    if differences.empty:
        return Verdict(
            "untested",
            "Not tested whether fusion helps",
            "The test requires at least one fusion strategy and at least one single "
            "modality in the comparison.",
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
        f"{metric.text(leading['estimate'], signed=True)} (95% confidence interval "
        f"{metric.text(leading['low'], signed=True)} to "
        f"{metric.text(leading['high'], signed=True)}, {format_p(leading['p_holm'])}"
        f"{' after Holm adjustment' if len(rows) > 1 else ''})"
    )
    name = labels[leading["strategy"]]
    if len(better):
        outcome = "helps"
        text = (
            f"By {metric.label}, {name} was better than the best single modality, "
            f"{reference}. The difference was statistically significant"
        )
    elif len(worse) == len(rows):
        outcome = "worse"
        text = (
            f"By {metric.label}, even the best fusion strategy, {name}, was worse than "
            f"the best single modality, {reference}. The difference was statistically "
            "significant"
        )
    else:
        outcome = "unclear"
        text = (
            f"By {metric.label}, the best fusion strategy was {name}. Its difference "
            f"from the best single modality, {reference}, was not statistically "
            "significant"
        )
    text += f": {figures}."
    if outcome == "unclear":
        most = leading["high" if metric.greater_is_better else "low"]
        if metric.favours(most):
            # The gain is limited by the range of the score.
            start = both[leading["reference"]]
            gain = metric.text(abs(metric.clip(start + most) - start))
            text += f" The confidence interval does not exclude a gain of up to {gain}."
    if len(better) > 1:
        text += (
            " The improvement was also statistically significant for "
            f"{_names(better[1:], labels)}."
        )
    if len(worse) and outcome != "worse":
        text += (
            f" The difference in favour of {reference} was statistically significant "
            f"for {_names(worse, labels)}."
        )
    return outcome, text


def _secondary(
    differences: pd.DataFrame, metric: Metric, labels: Mapping[str, str]
) -> str:
    rows = _rows(differences, metric)
    better, worse = _significant(rows, metric)
    reference = labels[rows.iloc[0]["reference"]]
    parts = []
    if len(better):
        parts.append(
            f"the improvement over {reference} was statistically significant for "
            f"{_names(better, labels)}"
        )
    if len(worse):
        parts.append(
            f"the difference in favour of {reference} was statistically significant "
            f"for {_names(worse, labels)}"
        )
    if not parts:
        parts.append(
            f"no difference from the best single modality, {reference}, was "
            "statistically significant"
        )
    return f"By {metric.label}, {' and '.join(parts)}."


def _rows(differences: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """Return the differences of one metric, sorted from best to worst."""
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
