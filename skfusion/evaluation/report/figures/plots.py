"""Figures of a comparison, as ``result.plot(kind=...)`` or ``result.plot.kind()``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from skfusion._validation import check_option
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.report.figures import forest_figure, panels
from skfusion.evaluation.report.figures.curve_figure import draw_plot
from skfusion.evaluation.report.figures.forest import difference_forest
from skfusion.evaluation.report.figures.series_panels import (
    learning_plot,
    missing_plots,
)
from skfusion.evaluation.report.figures.subgroups import (
    SIDES,
    by_group_frame,
    subgroup_forests,
)
from skfusion.evaluation.report.protocol import Comparison

__all__ = ["ComparisonPlots"]


OWNER = "FusionComparison.plot"
KINDS = (
    *("scores", "differences", "forest", "roc", "pr", "calibration", "decision"),
    *("subgroups", "missing", "learning"),
)


class ComparisonPlots:
    """Figures of a `FusionComparison`.

    It is the attribute ``plot`` of a comparison. ``result.plot(kind="roc")`` and
    ``result.plot.roc()`` are the same.

    Parameters
    ----------
    result : FusionComparison
        The comparison.

    Notes
    -----
    Strategies differ in colour, marker, fill and line, so that figures can be read in
    grey print and with any colour vision. Names of strategies are drawn as they are,
    without formulae, in lines of a limited length.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import compare_fusion
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(300, 2)), columns=["lesion_mm", "age"])
    >>> y = (X.sum(axis=1) + rng.normal(size=300) > 0).astype(int)
    >>> result = compare_fusion(
    ...     [("image", StandardScaler(), ["lesion_mm"]),
    ...      ("ehr", StandardScaler(), ["age"])],
    ...     X, y, scoring="roc_auc", strategies=("single", "late"), cv=3, n_repeats=1,
    ...     random_state=0,
    ... )
    >>> figure = result.plot.decision([0.2, 0.4])
    >>> figure.axes[0].get_xlabel()
    'threshold probability'
    """

    __module__ = "skfusion.evaluation"

    def __init__(self, result: Comparison) -> None:
        self._result = result

    def __call__(
        self, metrics: Any = None, *, kind: str = "scores", **options: Any
    ) -> Any:
        """Plot one kind of figure.

        Parameters
        ----------
        metrics : list of str or None, default=None
            Names of the metrics of the kinds ``"scores"``, ``"differences"`` and
            ``"forest"``. None plots all metrics, and the primary one as a forest.
        kind : str, default="scores"
            Name of a method: ``"scores"``, ``"differences"``, ``"forest"``, ``"roc"``,
            ``"pr"``, ``"calibration"``, ``"decision"``, ``"subgroups"``, ``"missing"``
            or ``"learning"``.
        **options : any
            Parameters of the method.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the kind or a metric does not exist, or the comparison does not have
            what the figure needs.
        """
        check_option(kind, "kind", KINDS, OWNER)
        if metrics is not None:
            if kind not in ("scores", "differences", "forest"):
                raise ValueError(
                    f"{OWNER}: metrics={metrics!r} is for scores, differences and "
                    f"forest plots, but kind={kind!r}. Leave it out."
                )
            options["metrics"] = metrics
        return getattr(self, kind)(**options)

    def __repr__(self) -> str:
        return f"<plots of a comparison: {', '.join(KINDS)}>"

    def scores(self, metrics: Any = None) -> Any:
        """Plot the score of each strategy, with that of each test set as a small dot.

        Parameters
        ----------
        metrics : list of str or None, default=None
            Names of the metrics, a panel each. None plots all metrics.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return forest_figure.draw_scores(self._result, self._metrics(metrics))

    def differences(self, metrics: Any = None) -> Any:
        """Plot each fusion minus its single modalities and minus the best of all.

        Parameters
        ----------
        metrics : list of str or None, default=None
            Names of the metrics, a panel each. None plots all metrics.

        Returns
        -------
        matplotlib.figure.Figure
            Filled marks are differences from the same learner. The right side favours
            fusion.
        """
        chosen = self._metrics(metrics)
        self._need_differences()
        return forest_figure.draw_differences(self._result, chosen)

    def forest(self, metrics: Any = None) -> Any:
        """Plot the differences of one metric by fusion, with their numbers.

        Parameters
        ----------
        metrics : list of one str or None, default=None
            Name of the metric. None plots the primary metric.

        Returns
        -------
        matplotlib.figure.Figure
        """
        default = [self._result.metrics_[0].name] if metrics is None else metrics
        chosen = self._metrics(default)
        if len(chosen) > 1:
            raise ValueError(
                f"{OWNER}: a forest plot shows one metric, got {list(default)}. Use "
                "kind='differences' for several."
            )
        self._need_differences()
        forest = difference_forest(self._result, chosen[0])
        assert forest is not None  # there are differences
        has_interval = self._result.settings_["design"] != "sites"
        label = f"difference in {chosen[0].label}"
        return forest_figure.draw_forest(
            forest,
            x_label=f"{label}, 95% CI" if has_interval else label,
            sides=("single modality better", "fusion better"),
        )

    def roc(
        self,
        strategies: Sequence[str] | None = None,
        *,
        operating_point: pd.DataFrame | None = None,
    ) -> Any:
        """Plot the ROC curve of each fusion with that of the best single modality.

        Parameters
        ----------
        strategies : sequence of str or None, default=None
            Strategies to plot, a panel each. None plots the fusions.
        operating_point : DataFrame or None, default=None
            Result of `FusionComparison.operating_point`, to mark it.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return draw_plot(panels.roc_plot(self._result, strategies, operating_point))

    def pr(self, strategies: Sequence[str] | None = None) -> Any:
        """Plot the precision-recall curve of each fusion, with the prevalence.

        Parameters
        ----------
        strategies : sequence of str or None, default=None
            Strategies to plot, a panel each. None plots the fusions.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return draw_plot(panels.precision_recall_plot(self._result, strategies))

    def calibration(self, strategies: Sequence[str] | None = None) -> Any:
        """Plot the calibration curve of each fusion above its probabilities.

        Parameters
        ----------
        strategies : sequence of str or None, default=None
            Strategies to plot, a panel each. None plots the fusions.

        Returns
        -------
        matplotlib.figure.Figure
            Below 100 patients with and 100 without the event, there is no curve.
        """
        return draw_plot(panels.calibration_plot(self._result, strategies))

    def decision(
        self,
        thresholds: Any = None,
        *,
        strategies: Sequence[str] | None = None,
        prevalence: float | None = None,
    ) -> Any:
        """Plot the net benefit of each fusion against treating all and none.

        Parameters
        ----------
        thresholds : array-like of shape (n_thresholds,) or None, default=None
            Threshold probabilities. None plots those from 0.01 to 0.5.
        strategies : sequence of str or None, default=None
            Fusions to plot, a panel each. None plots all.
        prevalence : float or None, default=None
            As in `FusionComparison.net_benefit`.

        Returns
        -------
        matplotlib.figure.Figure
        """
        return draw_plot(
            panels.decision_plot(self._result, strategies, thresholds, prevalence)
        )

    def subgroups(self, subgroups: Any, *, strategy: str | None = None) -> Any:
        """Plot the difference of a fusion from the best single modality by subgroup.

        Parameters
        ----------
        subgroups : DataFrame, column label, list of column labels or dict of arrays
            Result of `FusionComparison.by_group`, or its parameter ``columns``.
        strategy : str or None, default=None
            Fusion to plot. None plots the first one.

        Returns
        -------
        matplotlib.figure.Figure
            Levels with too few events have their reason in place of an interval.
        """
        frame = by_group_frame(self._result, subgroups)
        if strategy is not None:
            known = list(dict.fromkeys(frame["strategy"]))
            check_option(strategy, "strategy", known, OWNER)
            frame = frame[frame["strategy"] == strategy]
        forests = subgroup_forests(self._result, frame)
        if not forests:
            raise ValueError(
                f"{OWNER}: no subgroup has enough patients with and without an event "
                "for an estimate."
            )
        forest = forests[0]
        has_reference = forest.reference is not None
        return forest_figure.draw_forest(
            forest,
            x_label=f"{forest.heading}, 95% CI",
            sides=SIDES if has_reference else None,
        )

    def missing(self, missing: Any, **options: Any) -> Any:
        """Plot the scores of each fusion as a modality is taken away.

        Parameters
        ----------
        missing : DataFrame or str
            Result of `FusionComparison.missing_curve`, or the name of the modality.
        **options : any
            Parameters of `missing_curve`, with the name of a modality.

        Returns
        -------
        matplotlib.figure.Figure
        """
        is_name = isinstance(missing, str)
        frame = self._result.missing_curve(missing, **options) if is_name else missing
        return draw_plot(missing_plots(self._result, frame)[0])

    def learning(self, learning: pd.DataFrame | None = None, **options: Any) -> Any:
        """Plot the scores of each fusion by the number of training patients.

        Parameters
        ----------
        learning : DataFrame or None, default=None
            Result of `FusionComparison.learning_curve`. None computes it, which fits
            the strategies again.
        **options : any
            Parameters of `learning_curve`, without a frame.

        Returns
        -------
        matplotlib.figure.Figure
        """
        if learning is None:
            learning = self._result.learning_curve(**options)
        return draw_plot(learning_plot(self._result, learning))

    def _metrics(self, names: Any) -> list[Metric]:
        known = {metric.name: metric for metric in self._result.metrics_}
        chosen = list(known) if names is None else list(names)
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise ValueError(
                f"{OWNER}: {(unknown or chosen)!r} was not computed. The computed "
                f"metrics are {list(known)}."
            )
        return [known[name] for name in chosen]

    def _need_differences(self) -> None:
        if not len(self._result.differences_):
            raise ValueError(
                f"{OWNER}: there is no difference to plot without a fusion and a "
                "single modality. Use kind='scores'."
            )
