"""Forest plots for matplotlib, legible in grey and with colour vision deficiency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion._figures.style import (
    LABEL_SIZE,
    NAME_SIZE,
    STRATEGY_MARKS,
    Theme,
    theme_of,
)
from skfusion._figures.texts import (
    plain_texts,
    text_width,
    wrap_name,
    wrap_names,
    wrap_sentence,
)
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.report.figures.forest import Forest, Row
from skfusion.evaluation.report.figures.marks import strategy_marks
from skfusion.evaluation.report.protocol import Comparison, pairs_to_draw

__all__ = ["draw_differences", "draw_forest", "draw_scores"]


ROW_INCHES, LINE_INCHES = 0.3, 0.15
PANEL_INCHES = 2.6
MARKER = 5.5
LABEL_WIDTH, LABEL_LINES = 34, 4  # "NAME alone (NAME)" is longer than a name


def draw_scores(result: Comparison, metrics: list[Metric]) -> Any:
    """Plot the scores of all strategies, one panel per metric.

    Parameters
    ----------
    result : Comparison
        Comparison to plot.
    metrics : list of Metric
        Metrics to plot.

    Returns
    -------
    matplotlib.figure.Figure
    """
    names = [str(name) for name in result.strategies_.index]
    labels = result.strategies_["label"].tolist()
    single = (result.strategies_["role"] == "single").to_numpy()
    marks = strategy_marks(result)
    kinds = [marks[name] for name in names]
    hollow = (result.strategies_["role"] == "without").to_numpy()
    figure, axes = _panels(metrics, labels)
    for axis, metric in zip(axes, metrics, strict=True):
        rows = _of_metric(result, metric)
        _draw_folds(axis, result, metric)
        if single.any():
            best = rows.loc[single, "estimate"]
            value = best.max() if metric.greater_is_better else best.min()
            axis.axvline(
                value,
                color=theme_of(axis).secondary,
                linewidth=1.0,
                linestyle=(0, (4, 3)),
            )
        _draw_rows(axis, rows, kinds, hollow)
        _finish(axis, metric, labels)
    return _settled(figure, axes)


def draw_differences(result: Comparison, metrics: list[Metric]) -> Any:
    """Plot the differences of each fusion from its single modalities and the best one.

    Parameters
    ----------
    result : Comparison
        Comparison to plot.
    metrics : list of Metric
        Metrics to plot. The axis of a loss is reversed, so that the right side always
        favours fusion.

    Returns
    -------
    matplotlib.figure.Figure
    """
    # A single modality that is the best by any of the metrics has a row in each panel.
    drawn = [pairs_to_draw(result, metric) for metric in metrics]
    keys = {
        (fusion, reference): relation
        for parts in drawn
        for fusion, part in parts.items()
        for reference, relation in zip(part["reference"], part["relation"], strict=True)
    }
    order = list(result.strategies_.index)
    pairs = sorted(keys, key=lambda pair: (order.index(pair[0]), order.index(pair[1])))
    names = result.strategies_["label"]
    labels = [
        f"{names[fusion]} \N{MINUS SIGN} {names[other]}" for fusion, other in pairs
    ]
    marks = strategy_marks(result)
    kinds = [marks[fusion] for fusion, _ in pairs]
    hollow = np.array([keys[pair] != "matched" for pair in pairs])
    figure, axes = _panels(metrics, labels)
    for axis, metric in zip(axes, metrics, strict=True):
        table = result.differences_
        table = table[table["metric"] == metric.name]
        rows = table.set_index(["strategy", "reference"]).loc[pairs]
        axis.axvline(0.0, color=theme_of(axis).ink, linewidth=0.9)
        _draw_rows(axis, rows, kinds, hollow)
        _finish(axis, metric, labels)
        if not metric.greater_is_better:
            axis.invert_xaxis()
    return _settled(figure, axes)


def draw_forest(
    forest: Forest, *, x_label: str, sides: tuple[str, str] | None = None
) -> Any:
    """Plot rows with intervals and their numbers beside them.

    Parameters
    ----------
    forest : Forest
        Rows by group.
    x_label : str
        Title of the x-axis.
    sides : (str, str) or None, default=None
        What the left and the right side of the reference line mean.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pyplot = require("matplotlib.pyplot", "report")
    rows: list[tuple[str, Row | None]] = []
    for title, members in forest.groups:
        rows += [(title, None)] if title else []
        rows += [(row.label, row) for row in members]
    names = _shown([name for name, _ in rows])
    texts = {row.text: wrap_name(row.text, 34) for _, row in rows if row is not None}
    right = max(text_width(text, LABEL_SIZE) for text in texts.values())
    left = max(text_width(name, NAME_SIZE) for name in names)
    height = sum(_height_of(name) for name in names) + 0.95
    figure, axis = pyplot.subplots(
        figsize=(left + PANEL_INCHES + right + 0.4, height), layout="constrained"
    )
    theme = theme_of(axis)
    if forest.reference is not None:
        axis.axvline(
            forest.reference,
            color=theme.ink if sides else theme.secondary,
            linewidth=0.9,
            linestyle="-" if sides else (0, (4, 3)),
        )
    for place, (_, row) in enumerate(rows):
        if row is not None:
            _draw_row(axis, place, row, texts[row.text])
    _name_rows(axis, names, theme)
    for tick, (_, row) in zip(axis.get_yticklabels(), rows, strict=True):
        tick.set_fontweight("bold" if row is None else "normal")
    # Longer than the axes, the label would be cut.
    label = wrap_sentence(x_label, PANEL_INCHES + right, LABEL_SIZE)
    if sides:
        label += f"\n\N{LEFTWARDS ARROW} {sides[0]}    {sides[1]} "
        label += "\N{RIGHTWARDS ARROW}"
    axis.set_xlabel(label, fontsize=LABEL_SIZE, color=theme.ink)
    if forest.reverse:
        axis.invert_xaxis()
    return _settled(figure, [axis])


def _draw_row(axis: Any, place: int, row: Row, text: str) -> None:
    theme = theme_of(axis)
    if row.middle is not None:
        _draw_mark(axis, place, row.values, row.mark, hollow=row.kind == "other")
    for value in row.site_values:
        axis.plot(
            *(value, place + 0.28),
            marker="o",
            markersize=2.6,
            markeredgewidth=0,
            color=theme.secondary,
        )
    axis.annotate(
        text,
        (1.0, place),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=LABEL_SIZE,
        color=theme.ink,
        annotation_clip=False,
    )


def _height_of(name: str) -> float:
    return max(ROW_INCHES, LINE_INCHES * (name.count("\n") + 1) + 0.08)


def _shown(labels: Sequence[str]) -> list[str]:
    """Return labels in lines, numbered where they would look alike."""
    return wrap_names(labels, LABEL_WIDTH, LABEL_LINES)


def _panels(metrics: list[Metric], labels: list[str]) -> tuple[Any, Any]:
    pyplot = require("matplotlib.pyplot", "report")
    shown = _shown(labels)
    left = max(text_width(name, NAME_SIZE) for name in shown)
    figure, axes = pyplot.subplots(
        1,
        len(metrics),
        figsize=(
            left + 0.3 + PANEL_INCHES * len(metrics),
            0.95 + sum(_height_of(name) for name in shown),
        ),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    return figure, axes[0]


def _settled(figure: Any, axes: Any) -> Any:
    """Draw names as they are, in fonts that have them, and compute the layout."""
    for axis in axes:
        plain_texts(axis)
    figure.draw_without_rendering()
    return figure


def _of_metric(result: Comparison, metric: Metric) -> pd.DataFrame:
    table = result.scores_
    rows = table[table["metric"] == metric.name].set_index("strategy")
    return rows.loc[result.strategies_.index]


def _draw_folds(axis: Any, result: Comparison, metric: Metric) -> None:
    folds = result.folds_[result.folds_["metric"] == metric.name]
    for position, name in enumerate(result.strategies_.index):
        values = folds.loc[folds["strategy"] == name, "score"]
        axis.plot(
            values,
            [position + 0.28] * len(values),
            linestyle="none",
            marker="o",
            markersize=2.4,
            markeredgewidth=0,
            color=theme_of(axis).secondary,
        )


def _draw_rows(
    axis: Any, rows: pd.DataFrame, kinds: list[str], hollow: np.ndarray
) -> None:
    records = rows.to_dict("records")
    for place, (row, kind, empty) in enumerate(
        zip(records, kinds, hollow, strict=True)
    ):
        values = (row["estimate"], row["low"], row["high"])
        _draw_mark(axis, place, values, kind, hollow=bool(empty))


def _draw_mark(
    axis: Any,
    place: int,
    values: tuple[float, float, float],
    kind: str,
    *,
    hollow: bool,
) -> None:
    theme, mark = theme_of(axis), STRATEGY_MARKS[kind]
    colour = getattr(theme, mark.colour)
    axis.plot(values[1:], [place] * 2, color=colour, linewidth=1.5)
    filled = mark.filled and not hollow
    axis.plot(
        values[0],
        place,
        marker=mark.marker,
        markersize=MARKER,
        markerfacecolor=colour if filled else theme.surface,
        markeredgecolor=theme.ink if filled and mark.colour == "late" else colour,
        markeredgewidth=0.8 if filled else 1.2,
    )


def _name_rows(axis: Any, names: list[str], theme: Theme) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=NAME_SIZE, color=theme.ink)
    axis.set_ylim(len(names) - 0.5, -0.6)
    axis.tick_params(axis="x", labelsize=7, colors=theme.ink)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color=theme.grid, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.locator_params(axis="x", nbins=6)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(theme.secondary)


def _finish(axis: Any, metric: Metric, labels: list[str]) -> None:
    theme = theme_of(axis)
    _name_rows(axis, _shown(labels), theme)
    # Metric.heading is tested as the title, so it stays on one line where it fits.
    axis.set_title(
        wrap_sentence(metric.heading, PANEL_INCHES, NAME_SIZE),
        fontsize=NAME_SIZE,
        fontweight="bold",
        color=theme.ink,
        loc="left",
    )
    axis.set_xlabel("95% CI", fontsize=LABEL_SIZE, color=theme.ink)
