"""Forest plots of a comparison, legible in grey and with colour vision deficiency."""

from __future__ import annotations

import io
import re
from typing import Any, Protocol

import pandas as pd

from skfusion._dependencies import require
from skfusion.evaluation.metrics import Metric

__all__ = ["difference_svg", "draw_scores", "score_svg"]


class _Comparison(Protocol):
    """Protocol of a comparison with the tables of the figures and the HTML report."""

    @property
    def scores_(self) -> pd.DataFrame: ...

    @property
    def differences_(self) -> pd.DataFrame: ...

    @property
    def folds_(self) -> pd.DataFrame: ...

    @property
    def strategies_(self) -> pd.DataFrame: ...

    @property
    def metrics_(self) -> list[Metric]: ...

    @property
    def verdict_(self) -> Any: ...

    @property
    def cohort_(self) -> dict[str, Any]: ...

    @property
    def settings_(self) -> dict[str, Any]: ...

    @property
    def notes_(self) -> list[str]: ...

    def to_frame(self) -> pd.DataFrame: ...


# Blue and vermilion of Okabe and Ito are distinct for every kind of colour vision and
# differ in lightness. Marker shape and fill encode the same distinction.
SINGLE, FUSION = "#D55E00", "#0072B2"
INK, FAINT = "#222222", "#8a8f98"
ROW_INCHES = 0.36


def draw_scores(result: _Comparison, metrics: list[Metric]) -> Any:
    """Plot the scores of all strategies, one panel per metric.

    Parameters
    ----------
    result : _Comparison
        Comparison to plot.
    metrics : list of Metric
        Metrics to plot.

    Returns
    -------
    matplotlib.figure.Figure
    """
    pyplot = require("matplotlib.pyplot", "report")
    height = 1.1 + ROW_INCHES * len(result.strategies_)
    figure, axes = pyplot.subplots(
        1,
        len(metrics),
        figsize=(1.3 + 3.2 * len(metrics), height),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        _draw_panel(axis, result, metric)
        axis.set_title(metric.heading, fontsize=11, color=INK)
    return figure


def score_svg(result: _Comparison, metric: Metric) -> str:
    """Plot the scores of one metric and return SVG text for an HTML page.

    Parameters
    ----------
    result : _Comparison
        Comparison to plot.
    metric : Metric
        Metric to plot.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    figure, axis = _new_figure(len(result.strategies_))
    _draw_panel(axis, result, metric)
    return _as_svg(figure, f"scores-{metric.name}")


def difference_svg(result: _Comparison, metric: Metric) -> str:
    """Plot the differences from the best single modality and return SVG text.

    Parameters
    ----------
    result : _Comparison
        Comparison to plot.
    metric : Metric
        Metric to plot. Improvements are always on the right, so the axis of a loss is
        reversed.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    table = result.differences_
    rows = table[table["metric"] == metric.name].set_index("strategy")
    figure, axis = _new_figure(len(rows))
    axis.axvline(0.0, color=INK, linewidth=1.0)
    labels = result.strategies_["label"].loc[rows.index]
    _draw_rows(axis, rows, labels, [False] * len(rows))
    if not metric.greater_is_better:
        axis.invert_xaxis()
    return _as_svg(figure, f"differences-{metric.name}")


def _new_figure(n_rows: int) -> tuple[Any, Any]:
    # Without pyplot, no window is opened and no figure stays registered.
    require("matplotlib", "report")
    from matplotlib.figure import Figure

    height = 0.45 + ROW_INCHES * n_rows
    figure = Figure(figsize=(4.0, height), layout="constrained")
    return figure, figure.subplots()


def _draw_panel(axis: Any, result: _Comparison, metric: Metric) -> None:
    table, folds = result.scores_, result.folds_
    rows = table[table["metric"] == metric.name].set_index("strategy")
    rows = rows.loc[result.strategies_.index]
    of_folds = folds[folds["metric"] == metric.name]
    for position, name in enumerate(rows.index):
        values = of_folds.loc[of_folds["strategy"] == name, "score"]
        axis.plot(
            values,
            [position + 0.24] * len(values),
            linestyle="none",
            marker="o",
            markersize=2.6,
            markeredgewidth=0,
            color=FAINT,
        )
    single = result.strategies_["single"].tolist()
    if any(single):
        best = rows.loc[single, "estimate"]
        best_value = best.max() if metric.greater_is_better else best.min()
        axis.axvline(best_value, color=FAINT, linewidth=0.9, linestyle=(0, (4, 3)))
    _draw_rows(axis, rows, result.strategies_["label"], single)


def _draw_rows(
    axis: Any, rows: pd.DataFrame, labels: pd.Series, single: list[bool]
) -> None:
    for position, (row, alone) in enumerate(
        zip(rows.to_dict("records"), single, strict=True)
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
            markerfacecolor="white" if alone else colour,
            markeredgecolor=colour,
            markeredgewidth=1.6,
        )
    axis.set_yticks(range(len(rows)), labels, fontsize=11, color=INK)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=9.5, colors=INK)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#e3e5e8", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.locator_params(axis="x", nbins=6)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)


def _as_svg(figure: Any, name: str) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    # A fixed salt and no metadata make the output reproducible. Text as paths does not
    # depend on the installed fonts.
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Several figures share a page, where every id must be unique.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{_slug(name)}-", text)


def _slug(name: str) -> str:
    return re.sub(r"[^0-9A-Za-z-]", "-", name)
