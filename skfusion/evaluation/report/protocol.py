"""Protocol of a comparison for tables and figures, and the differences they show."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd

from skfusion.evaluation.metrics import Metric

__all__ = ["Comparison", "pairs_to_draw", "signed", "with_limits"]


class Comparison(Protocol):
    """Tables of a comparison, as documented in `FusionComparison`."""

    @property
    def scores_(self) -> pd.DataFrame:
        """Scores of the strategies."""
        ...

    @property
    def differences_(self) -> pd.DataFrame:
        """Differences of the fusions."""
        ...

    @property
    def tests_(self) -> pd.DataFrame:
        """Tests of the fusions."""
        ...

    @property
    def folds_(self) -> pd.DataFrame:
        """Scores on each test set."""
        ...

    @property
    def chosen_(self) -> pd.DataFrame:
        """Chosen parameters."""
        ...

    @property
    def strategies_(self) -> pd.DataFrame:
        """Strategies."""
        ...

    @property
    def metrics_(self) -> list[Metric]:
        """Scores, the primary one first."""
        ...

    @property
    def verdict_(self) -> Any:
        """Verdict."""
        ...

    @property
    def cohort_(self) -> dict[str, Any]:
        """Counts of the cohort."""
        ...

    @property
    def settings_(self) -> dict[str, Any]:
        """Design and claims."""
        ...

    @property
    def notes_(self) -> list[str]:
        """Notes and warnings."""
        ...

    @property
    def context_(self) -> Any:
        """Cohort, None without one."""
        ...

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a wide table."""
        ...

    def calibration(self) -> pd.DataFrame:
        """Return the calibration of the strategies."""
        ...

    def calibration_curve(self, strategy: str) -> Any:
        """Return the calibration curve of a strategy."""
        ...

    def risk_distribution(self, strategy: str) -> pd.DataFrame:
        """Return the distribution of the probabilities of a strategy."""
        ...

    def roc_curve(self, strategy: str) -> pd.DataFrame:
        """Return the ROC curve of a strategy."""
        ...

    def precision_recall_curve(self, strategy: str) -> pd.DataFrame:
        """Return the precision-recall curve of a strategy."""
        ...

    def by_group(self, columns: Any) -> pd.DataFrame:
        """Return the scores in subgroups."""
        ...

    def missing_curve(self, modality: str) -> pd.DataFrame:
        """Return the scores as a modality is taken away."""
        ...

    def learning_curve(self) -> pd.DataFrame:
        """Return the scores by the number of training patients."""
        ...

    def table_one(self) -> pd.DataFrame:
        """Return the cohort by outcome."""
        ...

    def net_benefit(
        self, thresholds: Any = None, prevalence: float | None = None
    ) -> pd.DataFrame:
        """Return the net benefit of each fusion."""
        ...


def signed(metric: Metric, value: float) -> str:
    """Return a difference of scores with a sign of the same width as a plus."""
    return metric.text(value, signed=True).replace("-", "\N{MINUS SIGN}")


def with_limits(metric: Metric, low: float, high: float, *, sign: bool = False) -> str:
    """Return the limits of an interval, an empty string if there is none."""
    if np.isnan(low) or np.isnan(high):
        return ""
    text = (
        (lambda value: signed(metric, value))
        if sign
        else (lambda value: metric.text(value).replace("-", "\N{MINUS SIGN}"))
    )
    return f"{text(low)} to {text(high)}"


def pairs_to_draw(result: Comparison, metric: Metric) -> dict[str, pd.DataFrame]:
    """Return the differences that a figure shows, by fusion.

    These are the differences from the single modalities in the learner of the fusion,
    and from the best of all single modalities.

    Parameters
    ----------
    result : Comparison
        The comparison.
    metric : Metric
        Score.

    Returns
    -------
    dict of str to DataFrame
        Rows of `differences_` by fusion, without empty tables.
    """
    table = result.differences_
    if not len(table):
        return {}
    own = table[(table["metric"] == metric.name) & (table["relation"] != "without")]
    scores = result.scores_[result.scores_["metric"] == metric.name]
    found = {}
    for fusion, part in own.groupby("strategy", sort=False):
        values = scores.set_index("strategy")["estimate"].loc[part["reference"]]
        best = values.idxmax() if metric.greater_is_better else values.idxmin()
        shown = (part["relation"] == "matched") | (part["reference"] == best)
        chosen = part[shown].assign(best=part["reference"] == best)
        own_first = chosen["relation"].ne("matched").sort_values(kind="stable").index
        found[str(fusion)] = chosen.loc[own_first]
    return found
