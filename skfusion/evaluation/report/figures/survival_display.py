"""Calibration plots of predicted risks by a time, with the API of scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from skfusion._dependencies import require
from skfusion._figures.style import LABEL_SIZE, STRATEGY_MARKS, StrategyMark, theme_of
from skfusion._figures.texts import format_interval, plain_texts, wrap_name
from skfusion.evaluation.statistics.resampling import Interval
from skfusion.evaluation.statistics.survival_calibration import (
    CalibrationAtTime,
    calibration_at_time,
)

__all__ = ["SurvivalCalibrationDisplay"]


# Mark of each calibration in the same axes.
STYLES = tuple(STRATEGY_MARKS[name] for name in ("early", "joint", "late", "single"))
COUNTS = "counts of a calibration"  # marks the texts below the axes
LINE = 13.0  # points between two rows of counts
FIRST_LINE = 42.0  # points from the axes to the first of them


class SurvivalCalibrationDisplay:
    """Visualization of the calibration of predicted risks of an event by a time.

    Observed risks (Kaplan-Meier) with confidence intervals are plotted against the
    predicted ones, in groups of rising predicted risk. The number of rows and events of
    each group is printed below the axes. Use `from_estimator` or `from_predictions` to
    create a display.

    Parameters
    ----------
    calibration : CalibrationAtTime
        The calibration to plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the plot.
    figure_ : matplotlib Figure
        Figure of the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import SurvivalCalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> rate = np.exp(rng.normal(size=500))
    >>> y = np.empty(500, dtype=[("event", bool), ("time", float)])
    >>> y["event"], y["time"] = True, rng.exponential(1 / rate)
    >>> display = SurvivalCalibrationDisplay.from_predictions(
    ...     y, np.exp(-rate * 0.5), 0.5)
    >>> display.ax_.get_xlabel()
    'predicted risk by time 0.5'
    """

    __module__ = "skfusion.evaluation"

    def __init__(self, calibration: CalibrationAtTime) -> None:
        self.calibration = calibration

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        time: float,
        *,
        n_groups: int = 5,
        groups: Any = None,
        confidence_level: float = 0.95,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the calibration of a fitted survival estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted estimator with the method ``predict_survival_function(X, times)``.
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cases that were not used to fit the estimator.
        y : structured array of shape (n_samples,)
            Their events and times.
        time : float
            Time within the follow-up.
        n_groups, groups, confidence_level
            See `calibration_at_time`.
        name : str or None, default=None
            Name in the legend. None uses the name of the class of the estimator.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        SurvivalCalibrationDisplay

        Raises
        ------
        TypeError
            If the estimator does not predict survival curves.
        ValueError
            If `calibration_at_time` raises an error.
        ImportError
            If matplotlib is not installed.
        """
        if not hasattr(estimator, "predict_survival_function"):
            raise TypeError(
                f"SurvivalCalibrationDisplay: {type(estimator).__name__} has no method "
                "predict_survival_function. Use a survival fusion, or "
                "from_predictions with probabilities of survival."
            )
        curves = estimator.predict_survival_function(X, [time])
        return cls.from_predictions(
            y,
            curves,
            time,
            n_groups=n_groups,
            groups=groups,
            confidence_level=confidence_level,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        survival: Any,
        time: float,
        *,
        n_groups: int = 5,
        groups: Any = None,
        confidence_level: float = 0.95,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the calibration of predicted probabilities of survival.

        Parameters
        ----------
        y : structured array of shape (n_samples,)
            Events and times of cases that were not used to fit the model.
        survival : array-like of shape (n_samples,) or (n_samples, 1)
            Predicted probability of survival at the time.
        time : float
            Time within the follow-up.
        n_groups, groups, confidence_level
            See `calibration_at_time`.
        name : str or None, default=None
            Name in the legend. None is ``"model"``.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        SurvivalCalibrationDisplay

        Raises
        ------
        ValueError
            If `calibration_at_time` raises an error.
        ImportError
            If matplotlib is not installed.
        """
        found = calibration_at_time(
            y,
            survival,
            time,
            n_groups=n_groups,
            groups=groups,
            confidence_level=confidence_level,
        )
        return cls(found).plot(name=name, ax=ax)

    def plot(self, *, name: str | None = None, ax: Any = None) -> Self:
        """Plot the calibration.

        Parameters
        ----------
        name : str or None, default=None
            Name in the legend. None is ``"model"``.
        ax : matplotlib Axes or None, default=None
            Axes to plot on, also with other calibrations in them. None creates a new
            figure.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot = require("matplotlib.pyplot", "report")
        from matplotlib.text import Text

        if ax is None:
            self.figure_, ax = pyplot.subplots(figsize=(5.2, 5.4), layout="constrained")
        else:
            self.figure_ = ax.figure
        self.ax_ = ax
        before = sum(text.get_gid() == COUNTS for text in ax.texts)
        given = [text for text in ax.findobj(Text) if text.get_text()]
        mark = STYLES[before % len(STYLES)]
        if not before:
            self._draw_frame()
        label = wrap_name(name or "model", 40, 1)
        self._draw_groups(label, mark)
        self._draw_counts(label, mark, before)
        plain_texts(ax, given)
        return self

    def _draw_frame(self) -> None:
        axis, theme = self.ax_, theme_of(self.ax_)
        axis.axline(
            (0, 0),
            slope=1,
            color=theme.secondary,
            linewidth=1,
            linestyle=(0, (4, 3)),
            zorder=1,
        )
        axis.set_xlim(0, 0.01)
        axis.set_ylim(0, 0.01)
        axis.grid(color=theme.grid, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=LABEL_SIZE, colors=theme.ink)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(theme.secondary)
        time = f"by time {self.calibration.time:g}"
        level = f"{100 * self.calibration.confidence_level:g} % CI"
        axis.set_xlabel(f"predicted risk {time}", color=theme.ink)
        axis.set_ylabel(
            f"observed risk {time}\n(Kaplan-Meier, {level})", color=theme.ink
        )

    def _draw_groups(self, name: str, mark: StrategyMark) -> None:
        axis, table, theme = self.ax_, self.calibration.table, theme_of(self.ax_)
        ratio, slope = self.calibration.oe_ratio, self.calibration.slope
        color = getattr(theme, mark.colour)
        axis.vlines(
            table["predicted"],
            table["low"],
            table["high"],
            color=color,
            linewidth=1.5,
            zorder=2,
        )
        axis.plot(
            table["predicted"],
            table["observed"],
            marker=mark.marker,
            markersize=6.5,
            markerfacecolor=theme.surface,
            markeredgecolor=color,
            markeredgewidth=1.4,
            color=color,
            linewidth=0.9,
            linestyle=(0, mark.dashes) if mark.dashes else "-",
            label=f"{name}\nO:E {_text(ratio)}\nslope {_text(slope)}",
            zorder=3,
        )
        ends = np.nanmax(table[["predicted", "observed", "high"]].to_numpy())
        limit = max(min(1.06 * ends, 1.0), axis.get_xlim()[1])
        axis.set_xlim(0, limit)
        axis.set_ylim(0, limit)
        axis.legend(
            loc="upper left", fontsize=LABEL_SIZE, frameon=False, labelcolor=theme.ink
        )

    def _draw_counts(self, name: str, mark: StrategyMark, before: int) -> None:
        """Print the numbers of rows and events of each group below the axes."""
        axis, table, theme = self.ax_, self.calibration.table, theme_of(self.ax_)
        top = FIRST_LINE + 3.4 * LINE * before
        style = {
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "fontsize": LABEL_SIZE,
            "annotation_clip": False,
            "va": "top",
        }
        heading = f"{name}, groups from the lowest to the highest risk"
        # The colour of late fusion has too little contrast for a text.
        color = theme.ink if mark.colour == "late" else getattr(theme, mark.colour)
        below = (0, -top)
        text = axis.annotate(heading, (0, 0), xytext=below, color=color, **style)
        text.set_gid(COUNTS)
        style["color"] = theme.ink
        places = np.linspace(0.05, 0.95, len(table)) if len(table) > 1 else [0.5]
        for line, column in ((1, "n"), (2, "events")):
            down = -top - LINE * line
            axis.annotate(column, (0, 0), xytext=(-8, down), ha="right", **style)
            for place, number in zip(places, table[column], strict=True):
                axis.annotate(
                    f"{number:,}", (place, 0), xytext=(0, down), ha="center", **style
                )


def _text(interval: Interval) -> str:
    if np.isnan(interval.estimate):
        return "unknown"
    return format_interval(interval.estimate, interval.low, interval.high)
