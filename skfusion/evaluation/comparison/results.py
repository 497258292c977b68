"""Results of `compare_fusion` as tables, text, figures and an HTML report."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.running import Context, fit_on, seeded
from skfusion.evaluation.comparison.validation import ExternalValidation, validate
from skfusion.evaluation.comparison.verdict import Verdict
from skfusion.evaluation.metrics import Metric, format_p
from skfusion.fusion.restriction import restricted_to

__all__ = ["FusionComparison"]


@dataclass(frozen=True, eq=False, repr=False)
class FusionComparison:
    """Result of `compare_fusion`.

    Attributes
    ----------
    scores_ : DataFrame
        One row per strategy and metric: ``strategy``, ``metric``, ``estimate`` (mean
        over the test sets, weighted by their patients), ``low`` and ``high`` (95%
        confidence interval, NaN for held-out sites), ``n_repeats``, ``n_folds`` (test
        sets of all repetitions).
    differences_ : DataFrame
        Each fusion minus each single modality, and minus itself without a modality:
        ``strategy``, ``reference``, ``relation`` (``"matched"`` for the same learner,
        ``"other"`` or ``"without"``), ``metric``, ``estimate``, ``low``, ``high`` (95%
        confidence interval, not adjusted), ``p`` (two-sided and not adjusted, only for
        the primary metric).
    tests_ : DataFrame
        One row per fusion, for the primary metric: ``strategy``, ``reference`` (the
        best single modality), ``estimate``, ``low``, ``high``, ``standard_error``,
        ``df``. P-values ``p_helps`` (above each single modality), ``p_matched`` (above
        each single modality of the same learner) and ``p_worse`` (below one of the
        same learner, ``worse_than``), each with ``*_holm`` (adjusted over the
        fusions). ``n_matched``, ``detectable`` (gain found with a probability of 80%),
        ``n_needed`` (patients to find `smallest_gain`), ``p_equivalent``,
        ``p_noninferior``, ``outcome``, ``reason`` (why there is no test), ``by_site``
        (differences of held-out sites).
    folds_ : DataFrame
        One row per strategy, test set and metric: ``strategy``, ``repeat``, ``fold``,
        ``metric``, ``score``, ``n_train``, ``n_test`` (rows), ``patients_train``,
        ``patients_test``, ``seconds``, and ``site`` for held-out sites.
    predictions_ : DataFrame
        Predictions of the test sets, one row per row and repetition: ``row`` (position
        in `X`), ``repeat``, ``fold``, ``group`` (number of the patient in order of
        appearance, -1 without groups) and ``y``. One column per strategy contains the
        probability of the positive class, the predicted value or the risk. With more
        classes or labels, each has a column ``strategy__class``.
    chosen_ : DataFrame
        Parameters that searches have chosen: ``strategy``, ``repeat``, ``fold``,
        ``parameter``, ``value``.
    spread_ : DataFrame
        Standard deviation of the primary score, one row per strategy: ``sd_folds``
        (within a repetition), ``sd_repeats`` (of the means of the repetitions),
        ``sd_seeds`` (of three seeds on the first fold, for fusions that train a
        network).
    strategies_ : DataFrame
        One row per strategy: ``label``, ``role`` (``"fusion"``, ``"single"`` or
        ``"without"``), ``single``, ``modality``, ``fusion`` (of which it is a
        restriction), ``estimator`` (class name), ``n_repeats``.
    metrics_ : list of Metric
        Metrics, of which the first one determines the verdict.
    verdict_ : Verdict
        Statement whether fusion helps.
    cohort_ : dict
        Description of the cohort, in counts.
    settings_ : dict
        Design, splits, claims and seed.
    notes_ : list of str
        Caveats of the data, absent modalities, changes of the design, and all warnings.
    context_ : object
        Estimators and cohort, for `final_estimator` and `validate`.
    """

    __module__ = "skfusion.evaluation"

    scores_: pd.DataFrame
    differences_: pd.DataFrame
    tests_: pd.DataFrame
    folds_: pd.DataFrame
    predictions_: pd.DataFrame
    chosen_: pd.DataFrame
    spread_: pd.DataFrame
    strategies_: pd.DataFrame
    metrics_: list[Metric]
    verdict_: Verdict
    cohort_: dict[str, Any]
    settings_: dict[str, Any]
    notes_: list[str] = field(default_factory=list)
    context_: Context | None = None

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
            primary = self.metrics_[0]
            lines += ["", f"Differences in {primary.label} (95% confidence interval):"]
            lines += _aligned(self._difference_rows())
        lines += ["", self.verdict_.text]
        lines += [f"Note: {note}" for note in self.notes_]
        return "\n".join(lines)

    def final_estimator(self, strategy: str) -> Any:
        """Fit a strategy on all rows of the comparison.

        Parameters
        ----------
        strategy : str
            Name of the strategy, as in `strategies_`.

        Returns
        -------
        estimator
            The fitted estimator. No score of the comparison is about it, because it
            was trained on all rows.

        Raises
        ------
        ValueError
            If the strategy does not exist.
        """
        context = self._context()
        known = {arm.name: arm for arm in context.arms}
        if strategy not in known:
            raise ValueError(
                f"FusionComparison.final_estimator: {strategy!r} is not one of the "
                f"strategies {list(known)}."
            )
        arm = known[strategy]
        estimator = arm.estimator
        if estimator is None:  # a member of a late fusion
            late = known[str(arm.fusion)].estimator
            estimator = restricted_to(late, [str(arm.modality)])
        every_row = np.arange(len(context.study.y))
        return fit_on(seeded(estimator, context.seed), context.study, every_row)

    def validate(self, X: Any, y: Any, *, groups: Any = None) -> ExternalValidation:
        """Fit the fusions and single modalities on all rows and test other cases.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            External cohort with the columns of the comparison.
        y : array-like of shape (n_samples,)
            Its outcome.
        groups : str, array-like of shape (n_samples,) or None, default=None
            Its patients. None uses the column of the comparison if it exists.

        Returns
        -------
        ExternalValidation
            Scores with confidence intervals, differences of the fitted models, and
            calibration with and without recalibration.
        """
        settings = self.settings_
        return validate(
            self._context(),
            X,
            y,
            groups=groups,
            metrics=self.metrics_,
            labels=dict(self.strategies_["label"]),
            claims=Claims(
                settings["primary"], settings["smallest_gain"], settings["margin"]
            ),
        )

    def _context(self) -> Context:
        if self.context_ is None:
            raise ValueError(
                "This comparison was made without its estimators and cohort, so "
                "nothing can be fitted again."
            )
        return self.context_

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
        fusions = self.strategies_.index[self.strategies_["role"] == "fusion"]
        names = ", ".join(fusions if len(fusions) else self.strategies_.index)
        return (
            f"<FusionComparison of {names}, {self.settings_['splits']}: "
            f"{self.verdict_.outcome}>"
        )

    def _score_rows(self) -> list[list[str]]:
        table = self.to_frame()
        rows = [["", *(metric.heading for metric in self.metrics_)]]
        for name, label in dict(self.strategies_["label"]).items():
            row = [label]
            for metric in self.metrics_:
                values = table.loc[name, metric.name].to_numpy(dtype=np.float64)
                row.append(_with_interval(metric, *values))
            rows.append(row)
        return rows

    def _difference_rows(self) -> list[list[str]]:
        labels = dict(self.strategies_["label"])
        primary = self.metrics_[0]
        rows = [["", "minus", "difference", "p, not adjusted"]]
        for row in self._shown_differences().to_dict("records"):
            values = (row["estimate"], row["low"], row["high"])
            rows.append(
                [
                    labels[row["strategy"]],
                    labels[row["reference"]],
                    _with_interval(primary, *values, signed=True),
                    format_p(row["p"]) if np.isfinite(row["p"]) else "",
                ]
            )
        return rows

    def _shown_differences(self) -> pd.DataFrame:
        """Return differences in the primary metric, of other learners the best only."""
        table = self.differences_
        table = table[table["metric"] == self.metrics_[0].name]
        best = self.tests_.set_index("strategy")["reference"]
        is_best = table["reference"] == table["strategy"].map(best)
        return table[(table["relation"] != "other") | is_best]


def _with_interval(
    metric: Metric, estimate: float, low: float, high: float, *, signed: bool = False
) -> str:
    text = metric.text(estimate, signed=signed)
    if np.isnan(low):
        return text
    limits = (metric.text(value, signed=signed) for value in (low, high))
    return f"{text} [{', '.join(limits)}]"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
