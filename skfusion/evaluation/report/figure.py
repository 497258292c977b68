"""Forest plots for matplotlib, legible in grey and with colour vision deficiency."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd

from skfusion._dependencies import require
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.report.protocol import Comparison, pairs_to_draw

__all__ = ["draw_differences", "draw_scores"]


# Blue and vermilion of Okabe and Ito are distinct for every kind of colour vision and
# differ in lightness. Marker shape and fill encode the same distinction.
SINGLE, FUSION = "#D55E00", "#0072B2"
INK, FAINT = "#222222", "#8a8f98"
ROW_INCHES = 0.36
LABEL_WIDTH = 34
# Fonts with other scripts than the default font, used where they are installed.
MORE_FONTS = (
    *(
        "Noto Sans CJK SC",
        "Noto Sans CJK JP",
        "Source Han Sans SC",
        "WenQuanYi Zen Hei",
    ),
    *("PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei"),
    *("Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari"),
)


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
    roles = result.strategies_["role"].tolist()
    labels = result.strategies_["label"].tolist()
    single = [role == "single" for role in roles]
    with _fonts(labels):
        figure, axes = _panels(metrics, len(labels))
        for axis, metric in zip(axes, metrics, strict=True):
            rows = _of_metric(result, metric)
            _draw_folds(axis, result, metric)
            if any(single):
                best = rows.loc[single, "estimate"]
                value = best.max() if metric.greater_is_better else best.min()
                axis.axvline(value, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
            _draw_rows(axis, rows, single, [not alone for alone in single])
            _finish(axis, metric, labels)
        _settle(figure)
    return figure


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
    matched = [keys[pair] == "matched" for pair in pairs]
    with _fonts(labels):
        figure, axes = _panels(metrics, len(labels))
        for axis, metric in zip(axes, metrics, strict=True):
            table = result.differences_
            table = table[table["metric"] == metric.name]
            rows = table.set_index(["strategy", "reference"]).loc[pairs]
            axis.axvline(0.0, color=INK, linewidth=1.0)
            _draw_rows(axis, rows, [False] * len(rows), matched)
            _finish(axis, metric, labels)
            if not metric.greater_is_better:
                axis.invert_xaxis()
        _settle(figure)
    return figure


@contextmanager
def _fonts(labels: Sequence[str]) -> Iterator[None]:
    """Add installed fonts of other scripts where a label needs them."""
    require("matplotlib", "report")
    from matplotlib import font_manager, rc_context, rcParams

    if all(label.isascii() for label in labels):
        yield
        return
    installed = {font.name for font in font_manager.fontManager.ttflist}
    more = [name for name in MORE_FONTS if name in installed]
    with rc_context({"font.family": [*rcParams["font.family"], *more]}):
        yield


def _settle(figure: Any) -> None:
    """Compute the layout once while the fonts are set."""
    figure.draw_without_rendering()


def _panels(metrics: list[Metric], n_rows: int) -> tuple[Any, Any]:
    pyplot = require("matplotlib.pyplot", "report")
    figure, axes = pyplot.subplots(
        1,
        len(metrics),
        figsize=(2.2 + 3.2 * len(metrics), 1.1 + ROW_INCHES * n_rows),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    return figure, axes[0]


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
            [position + 0.24] * len(values),
            linestyle="none",
            marker="o",
            markersize=2.6,
            markeredgewidth=0,
            color=FAINT,
        )


def _draw_rows(
    axis: Any, rows: pd.DataFrame, single: list[bool], filled: list[bool]
) -> None:
    for position, (row, alone, full) in enumerate(
        zip(rows.to_dict("records"), single, filled, strict=True)
    ):
        colour = SINGLE if alone else FUSION
        axis.plot(
            [row["low"], row["high"]], [position] * 2, color=colour, linewidth=1.8
        )
        axis.plot(
            row["estimate"],
            position,
            marker="o" if alone else "D",
            markersize=7 if alone else 6.5,
            markerfacecolor=colour if full else "white",
            markeredgecolor=colour,
            markeredgewidth=1.6,
        )


def _finish(axis: Any, metric: Metric, labels: list[str]) -> None:
    shown = [textwrap.fill(label, LABEL_WIDTH) for label in labels]
    axis.set_title(metric.heading, fontsize=11, color=INK)
    axis.set_yticks(range(len(labels)), shown, fontsize=10, color=INK)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=9.5, colors=INK)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.locator_params(axis="x", nbins=6)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)
