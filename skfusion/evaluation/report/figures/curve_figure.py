"""Panels of curves as figures of matplotlib."""

from __future__ import annotations

from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion._figures.style import (
    LABEL_SIZE,
    NAME_SIZE,
    STRATEGY_MARKS,
    Theme,
    theme_of,
)
from skfusion._figures.texts import plain_texts, text_width, wrap_name, wrap_sentence
from skfusion.evaluation.report.figures.panels import (
    Curve,
    Guide,
    Histogram,
    Panel,
    Plot,
)
from skfusion.evaluation.statistics.disclosure import MIN_CELL

__all__ = ["draw_plot"]


MOST_COLUMNS = 3
SIDE = 2.3  # inches of the axes
LINE = 11.0  # points between two lines
GUIDES: dict[str, Any] = {"dashed": (0, (4, 3)), "dotted": (0, (1, 2)), "solid": "-"}


def draw_plot(plot: Plot) -> Any:
    """Draw the panels of a plot, with one legend for all.

    Parameters
    ----------
    plot : Plot
        Panels.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pyplot = require("matplotlib.pyplot", "report")
    n_panels = len(plot.panels)
    n_columns = min(MOST_COLUMNS, n_panels)
    n_rows = -(-n_panels // n_columns)
    below = 1.6 if any(panel.histogram for panel in plot.panels) else 0.9
    figure, axes = pyplot.subplots(
        n_rows,
        n_columns,
        figsize=((SIDE + 0.75) * n_columns, (SIDE + below) * n_rows + 0.4),
        squeeze=False,
        layout="constrained",
    )
    handles: dict[str, Any] = {}
    for axis, panel in zip(axes.flat, plot.panels, strict=False):
        handles |= _draw_panel(axis, panel)
    for axis in axes.flat[n_panels:]:
        axis.set_axis_off()
    _write_legend(figure, axes[0, 0], handles)
    for axis in axes.flat[:n_panels]:
        plain_texts(axis)
    # The first layout does not know the height of the legend below.
    figure.draw_without_rendering()
    return figure


def _draw_panel(axis: Any, panel: Panel) -> dict[str, Any]:
    theme = theme_of(axis)
    handles = {}
    for guide in panel.guides:
        handles[guide.label] = _draw_guide(axis, guide, theme)
    for curve in panel.curves:
        draw = _draw_points if curve.form == "points" else _draw_line
        handles[curve.label] = draw(axis, curve, theme, thin=curve.mark == "single")
    if panel.point is not None:
        (cross,) = axis.plot(
            *panel.point,
            linestyle="none",
            marker="+",
            markersize=11,
            markeredgewidth=1.8,
            color=theme.ink,
            zorder=5,
        )
        handles["operating point"] = cross
    if panel.histogram is not None:
        _draw_histogram(axis, panel.histogram, theme)
    if panel.reason and not panel.curves:
        text = wrap_sentence(panel.reason, 0.8 * SIDE, LABEL_SIZE)
        axis.text(
            *(0.5, 0.6, text),
            transform=axis.transAxes,
            ha="center",
            va="center",
            fontsize=LABEL_SIZE,
            color=theme.secondary,
        )
    _finish(axis, panel, theme)
    return handles


def _draw_guide(axis: Any, guide: Guide, theme: Theme) -> Any:
    (line,) = axis.plot(
        guide.x,
        guide.y,
        color=theme.secondary,
        linewidth=1.0,
        linestyle=GUIDES[guide.kind],
        zorder=1,
    )
    return line


def _draw_line(axis: Any, curve: Curve, theme: Theme, *, thin: bool) -> Any:
    mark = STRATEGY_MARKS[curve.mark]
    colour = getattr(theme, mark.colour)
    if curve.low is not None:
        axis.fill_between(
            *(curve.x, curve.low, curve.high), color=colour, alpha=0.16, linewidth=0
        )
    (line,) = axis.plot(
        curve.x,
        curve.y,
        color=colour,
        linewidth=1.0 if thin else 1.8,
        linestyle=(0, mark.dashes) if mark.dashes else "-",
        zorder=2 if thin else 3,
    )
    return line


def _draw_points(axis: Any, curve: Curve, theme: Theme, *, thin: bool) -> Any:
    mark = STRATEGY_MARKS[curve.mark]
    colour = getattr(theme, mark.colour)
    if curve.low is not None:
        axis.vlines(
            *(curve.x, curve.low, curve.high), color=colour, linewidth=1.5, zorder=2
        )
    (line,) = axis.plot(
        curve.x,
        curve.y,
        color=colour,
        linewidth=0.9,
        linestyle=(0, mark.dashes) if mark.dashes else "-",
        marker=mark.marker,
        markersize=5.5,
        markerfacecolor=colour if mark.filled else theme.surface,
        markeredgecolor=theme.ink if mark.colour == "late" else colour,
        markeredgewidth=0.8 if mark.filled else 1.2,
        zorder=3,
    )
    return line


def _draw_histogram(axis: Any, found: Histogram, theme: Theme) -> None:
    """Draw the distribution in a strip below the curve."""
    strip = axis.inset_axes((0.0, -0.34, 1.0, 0.18), sharex=axis)
    widths = np.diff(found.edges)
    for counts, sign in ((found.events, 1.0), (found.others, -1.0)):
        few = np.isnan(counts)
        heights = sign * np.where(few, MIN_CELL, counts)
        strip.bar(
            found.edges[:-1],
            heights,
            widths,
            align="edge",
            color=[theme.surface if hidden else theme.secondary for hidden in few],
            edgecolor=theme.secondary,
            linewidth=0.6,
        )
    strip.axhline(0.0, color=theme.ink, linewidth=0.75)
    strip.patch.set_alpha(0.0)
    strip.set_yticks([])
    strip.spines[:].set_visible(False)
    strip.tick_params(labelbottom=False, bottom=False)
    texts = (("event", 1.0, "top"), ("no event", 0.0, "bottom"))
    for text, place, vertical in texts:
        strip.text(
            *(1.02, place, text),
            transform=strip.transAxes,
            fontsize=6.5,
            va=vertical,
            color=theme.secondary,
        )


def _finish(axis: Any, panel: Panel, theme: Theme) -> None:
    pad = 0.02 * (panel.y_range[1] - panel.y_range[0])
    axis.set_xlim(panel.x_range)
    axis.set_ylim(panel.y_range[0] - pad, panel.y_range[1] + pad)
    axis.set_box_aspect(1.0)
    facts = [wrap_sentence(fact, SIDE, LABEL_SIZE) for fact in panel.facts]
    n_lines = sum(fact.count("\n") + 1 for fact in facts)
    axis.set_title(
        wrap_name(panel.title, 30),
        loc="left",
        fontsize=NAME_SIZE,
        fontweight="bold",
        color=theme.ink,
        pad=5 + LINE * n_lines,
    )
    axis.annotate(
        "\n".join(facts),
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        va="bottom",
        fontsize=LABEL_SIZE,
        color=theme.ink,
        annotation_clip=False,
    )
    below = 0.3 * SIDE * 72 if panel.histogram is not None else 3
    axis.set_xlabel(panel.x_label, fontsize=LABEL_SIZE, color=theme.ink, labelpad=below)
    axis.set_ylabel(panel.y_label, fontsize=LABEL_SIZE, color=theme.ink)
    axis.tick_params(labelsize=7, colors=theme.ink)
    axis.grid(color=theme.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(theme.secondary)


def _write_legend(figure: Any, axis: Any, handles: dict[str, Any]) -> None:
    theme = theme_of(axis)
    labels = {label: wrap_name(label, 34) for label in handles}
    widest = max(text_width(text, LABEL_SIZE) for text in labels.values()) + 0.5
    legend = figure.legend(
        list(handles.values()),
        list(labels.values()),
        loc="outside lower left",
        ncols=max(1, min(len(handles), int(figure.get_figwidth() / widest))),
        fontsize=LABEL_SIZE,
        frameon=False,
        labelcolor=theme.ink,
        handlelength=2.6,
    )
    plain_texts(legend)
