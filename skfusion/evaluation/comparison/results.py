"""Results of `compare_fusion` as tables, text, figures and an HTML report."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.comparison.verdict import Verdict
from skfusion.evaluation.metrics import Metric, format_p

__all__ = ["FusionComparison"]


@dataclass(frozen=True, eq=False, repr=False)
class FusionComparison:
    """Result of `compare_fusion`.

    Attributes
    ----------
    scores_ : DataFrame
        One row per strategy and metric: ``strategy``, ``metric``, ``estimate`` (mean
        over the folds), ``low`` and ``high`` (95% confidence interval of Nadeau and
        Bengio, clipped to the range of the metric), ``n_folds``.
    differences_ : DataFrame
        Each fusion strategy minus the best single modality, by metric: ``strategy``,
        ``metric``, ``reference``, ``estimate``, ``low``, ``high``, ``p`` (corrected
        resampled t-test), ``p_holm`` (adjusted over the strategies of the metric).
    folds_ : DataFrame
        One row per strategy, fold and metric: ``strategy``, ``fold``, ``metric``,
        ``score``, ``n_train``, ``n_test`` (rows), ``seconds``.
    oof_ : DataFrame
        Out-of-fold predictions, one row per held-out row: ``row`` (position in `X`),
        ``fold``, ``group`` (number of the patient in order of appearance, -1 without
        groups) and ``y``. One column per strategy contains the probability of the
        second class, or the predicted value of a regression. With more than two
        classes, each class has a column ``strategy__class``.
    strategies_ : DataFrame
        One row per strategy: ``label``, ``single``, ``estimator`` (class name).
    metrics_ : list of Metric
        Metrics, of which the first one determines the verdict.
    verdict_ : Verdict
        Statement whether fusion helps.
    cohort_ : dict
        Description of the cohort, in counts.
    settings_ : dict
        Folds and seed.
    notes_ : list of str
        Notes for the reader, such as the number of rows with an absent modality.
    """

    __module__ = "skfusion.evaluation"

    scores_: pd.DataFrame
    differences_: pd.DataFrame
    folds_: pd.DataFrame
    oof_: pd.DataFrame
    strategies_: pd.DataFrame
    metrics_: list[Metric]
    verdict_: Verdict
    cohort_: dict[str, Any]
    settings_: dict[str, Any]
    notes_: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a table with one row per strategy.

        Returns
        -------
        DataFrame of shape (n_strategies, 3 * n_metrics)
            Columns ``(metric, "estimate" | "low" | "high")``.
        """
        wide = self.scores_.pivot(
            index="strategy", columns="metric", values=["estimate", "low", "high"]
        ).swaplevel(axis=1)
        names = [metric.name for metric in self.metrics_]
        columns = [
            (name, part) for name in names for part in ("estimate", "low", "high")
        ]
        return wide.loc[self.strategies_.index, columns]

    def summary(self) -> str:
        """Return the scores, the differences and the verdict as text.

        Returns
        -------
        str
        """
        facts = self.cohort_
        units = f"{facts['n_rows']} rows"
        if facts["n_patients"] is not None:
            units += f" of {facts['n_patients']} patients"
        lines = [f"{units}. {self.settings_['folds']}. Seed {self.settings_['seed']}."]
        lines += ["", *_aligned(self._score_rows())]
        if len(self.differences_):
            lines += ["", "Difference from the best single modality:"]
            lines += _aligned(self._difference_rows())
        lines += ["", self.verdict_.text]
        lines += [f"Note: {note}" for note in self.notes_]
        return "\n".join(lines)

    def plot(self, metrics: Any = None) -> Any:
        """Plot the scores with confidence intervals, one panel per metric.

        Parameters
        ----------
        metrics : list of str or None, default=None
            Names of the metrics to plot. None plots all metrics.

        Returns
        -------
        matplotlib.figure.Figure
            Figure that also shows the score of each fold as a small dot.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a metric was not computed.
        """
        from skfusion.evaluation.report.figure import draw_scores

        known = {metric.name: metric for metric in self.metrics_}
        chosen = list(known) if metrics is None else list(metrics)
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise ValueError(
                f"FusionComparison.plot: {unknown[0]!r} was not computed. The "
                f"computed metrics are {list(known)}."
            )
        return draw_scores(self, [known[name] for name in chosen])

    def to_html(
        self, path: str | os.PathLike[str], *, title: str | None = None
    ) -> None:
        """Write the comparison to a self-contained HTML page.

        Parameters
        ----------
        path : str or PathLike
            Output file.
        title : str or None, default=None
            Heading of the page.

        Raises
        ------
        ImportError
            If jinja2 or matplotlib is not installed.
        """
        from skfusion.evaluation.report.report import render

        page = render(self, title=title)
        with open(path, "w", encoding="utf-8") as file:
            file.write(page)

    def __repr__(self) -> str:
        names = ", ".join(self.strategies_.index)
        return (
            f"<FusionComparison of {names} on {self.settings_['n_folds']} folds: "
            f"{self.verdict_.outcome}>"
        )

    def _score_rows(self) -> list[list[str]]:
        table = self.to_frame()
        rows = [["", *(metric.heading for metric in self.metrics_)]]
        for name, label in dict(self.strategies_["label"]).items():
            row = [label]
            for metric in self.metrics_:
                values = table.loc[name, metric.name].to_numpy(dtype=np.float64)
                estimate, low, high = (metric.text(value) for value in values)
                row.append(f"{estimate} [{low}, {high}]")
            rows.append(row)
        return rows

    def _difference_rows(self) -> list[list[str]]:
        labels = dict(self.strategies_["label"])
        known = {metric.name: metric for metric in self.metrics_}
        rows = [["", "metric", "reference", "difference", "Holm-adjusted p"]]
        for row in self.differences_.to_dict("records"):
            metric = known[row["metric"]]
            estimate, low, high = (
                metric.text(row[part], signed=True)
                for part in ("estimate", "low", "high")
            )
            rows.append(
                [
                    labels[row["strategy"]],
                    metric.heading,
                    labels[row["reference"]],
                    f"{estimate} [{low}, {high}]",
                    format_p(row["p_holm"]),
                ]
            )
        return rows


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
