"""Functions that draw contributions on matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from skfusion._figures.style import (
    LABEL_SIZE,
    LIGHT,
    NAME_SIZE,
    SMALLEST_SIZE,
    ink_on,
    theme_of,
)
from skfusion._figures.texts import (
    format_interval,
    format_number,
    text_width,
    wrap_name,
    wrap_sentence,
)

__all__ = [
    "AGAINST",
    "CELL",
    "FOR",
    "INK",
    "MARKS",
    "PALE",
    "draw_bar",
    "draw_bars",
    "draw_cases",
    "draw_dots",
    "draw_matrix",
    "draw_models",
    "draw_plane",
    "draw_sizes",
    "draw_swarm",
    "draw_triangle",
    "draw_waterfall",
    "legend_handle",
    "name_rows",
    "null_handle",
    "outcome_groups",
    "outcome_handles",
    "swarm_offsets",
    "write_above",
    "write_label",
]


FOR, AGAINST, PALE, INK = LIGHT.towards, LIGHT.away, LIGHT.towards_pale, LIGHT.ink
# One style per outcome, by the names of colours in a theme. Marker and fill differ, so
# that outcomes are told apart in grey.
MARKS: list[dict[str, Any]] = [
    {"marker": "o", "color": "secondary", "filled": False},
    {"marker": "^", "color": "towards", "filled": True},
    {"marker": "s", "color": "away", "filled": False},
    {"marker": "D", "color": "ink", "filled": True},
    {"marker": "v", "color": "away", "filled": True},
    {"marker": "P", "color": "towards", "filled": False},
]
BAR = 0.56  # height of a bar, relative to the height of a row
CELL = 0.62  # width of a cell of a matrix in inches
NARROW = 1.2  # the least width of a line of text in inches
TICK = 0.5  # inches between two ticks
LEADING = 1.4  # height of a line, relative to the size of its letters
ABOVE: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (0.0, 1.0),
    "fontsize": LABEL_SIZE,
    "frameon": False,
    "borderaxespad": 0.3,
    "borderpad": 0.0,
    "handletextpad": 0.3,
    "columnspacing": 1.2,
}


def draw_bar(
    axis: Any, row: int, start: float, end: float, *, pale: bool = False
) -> None:
    """Draw the bar of a row, filled if positive and hatched if negative.

    A confidence interval is visible on a pale bar.
    """
    theme = theme_of(axis)
    upward = end >= start
    filled = theme.towards_pale if pale else theme.towards
    axis.barh(
        row,
        end - start,
        left=start,
        height=BAR,
        color=filled if upward else theme.surface,
        edgecolor=theme.towards if upward else theme.away,
        hatch=None if upward else "////",
        linewidth=1.2,
        zorder=2,
    )


def name_rows(axis: Any, names: list[str]) -> None:
    """Label the rows from top to bottom and simplify the axes."""
    theme = theme_of(axis)
    axis.set_yticks(range(len(names)), names, fontsize=NAME_SIZE, color=theme.ink)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=LABEL_SIZE, colors=theme.ink)
    axis.grid(axis="x", color=theme.grid, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(theme.secondary)


def _space_ticks(axis: Any, width: float) -> None:
    """Set as many ticks on the x-axis as there is room for."""
    from matplotlib.ticker import MaxNLocator

    n_ticks = int(np.clip(width / TICK, 2, 5))
    axis.xaxis.set_major_locator(MaxNLocator(n_ticks, steps=[1, 2, 2.5, 5, 10]))


def write_label(axis: Any, label: str, width: float | None) -> None:
    """Write the label of the x-axis, in lines of a width in inches.

    None measures the axes, after the names of their rows are laid out.
    """
    width = _settled(axis, width)
    text = wrap_sentence(label, max(width, 1.5 * NARROW), NAME_SIZE)
    axis.set_xlabel(text, color=theme_of(axis).ink, fontsize=NAME_SIZE)


def _settled(axis: Any, width: float | None) -> float:
    """Return the width of the axes in inches, measured if it is None."""
    if width is not None:
        return width
    axis.figure.draw_without_rendering()
    return float(axis.get_window_extent().width / axis.figure.dpi)


def _shrink_names(axis: Any) -> None:
    """Make the names of rows smaller if the rows of given axes are too low."""
    from matplotlib.ticker import FixedLocator

    labels = axis.get_yticklabels()
    if not labels or not isinstance(axis.yaxis.get_major_locator(), FixedLocator):
        return  # no names, or numbers
    axis.figure.draw_without_rendering()
    height = 72 * axis.get_window_extent().height / axis.figure.dpi
    row = height / float(np.ptp(axis.get_ylim()))
    n_lines = max(label.get_text().count("\n") + 1 for label in labels)
    axis.tick_params(
        axis="y", labelsize=np.clip(row / n_lines / LEADING, SMALLEST_SIZE, NAME_SIZE)
    )
    for text in axis.texts:
        n_lines = text.get_text().count("\n") + 1
        text.set_fontsize(
            min(text.get_fontsize(), max(row / n_lines / LEADING, SMALLEST_SIZE))
        )


def _space_for_caption(axis: Any) -> float:
    """Return the inches from the left end of the axes to that of the figure."""
    axis.figure.draw_without_rendering()
    left = float(axis.get_window_extent().x0 / axis.figure.dpi)
    # A figure with several axes has others at the right.
    width = float(axis.get_window_extent().width / axis.figure.dpi)
    others = len(axis.figure.axes) > 1
    return width if others else float(axis.figure.get_figwidth()) - left - 0.05


def write_above(
    axis: Any, caption: str, handles: list[Any], width: float | None
) -> None:
    """Write a caption and a legend above the axes, at the left.

    Parameters
    ----------
    axis : matplotlib Axes
        The axes.
    caption : str
        The caption.
    handles : list
        Handles of the legend. Without any, the caption is the title of the axes.
    width : float or None
        Width of the lines in inches. None measures the room.
    """
    theme = theme_of(axis)
    is_given = width is None
    width = max(NARROW, _space_for_caption(axis) if width is None else width)
    caption = wrap_sentence(caption, width, LABEL_SIZE)
    style = {"fontsize": LABEL_SIZE, "color": theme.secondary}
    if handles:
        _write_legend(axis, caption, handles, width)
    else:
        axis.set_title(caption, loc="left", **style)
    if is_given:
        _shrink_names(axis)


def _write_legend(axis: Any, caption: str, handles: list[Any], width: float) -> None:
    theme = theme_of(axis)
    widest = max(text_width(handle.get_label(), LABEL_SIZE) for handle in handles)
    legend = axis.legend(
        handles=handles,
        title=caption or None,
        ncols=min(len(handles), max(1, int(width / (widest + 0.3)))),
        labelcolor=theme.ink,
        title_fontproperties={"size": LABEL_SIZE},
        alignment="left",
        **ABOVE,
    )
    legend.get_title().set_color(theme.secondary)


def draw_cases(axis: Any, x: np.ndarray, y: np.ndarray, mark: dict[str, Any]) -> None:
    """Draw one marker per case, in the style of an entry of `MARKS`."""
    colour = getattr(theme_of(axis), mark["color"])
    axis.scatter(
        x,
        y,
        s=18 if len(x) < 100 else 12,
        marker=mark["marker"],
        edgecolors=colour,
        facecolors=colour if mark["filled"] else "none",
        linewidths=0.9,
        alpha=0.85,
        zorder=2,
    )


def swarm_offsets(values: np.ndarray) -> np.ndarray:
    """Return vertical offsets that separate overlapping markers."""
    offsets = np.zeros(len(values))
    spread = np.ptp(values)
    if spread == 0:
        return offsets
    bins = np.floor((values - values.min()) / spread * 80).astype(int)
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        members = members[np.argsort(values[members], kind="stable")]
        ranks = np.arange(len(members))
        # Markers alternate between both sides, from the middle outwards.
        sides = np.where(ranks % 2 == 0, -1, 1) * ((ranks + 1) // 2)
        offsets[members] = sides * min(0.07, 0.8 / len(members))
    return offsets


def outcome_groups(
    outcome: np.ndarray | None, n_cases: int
) -> list[tuple[str | None, np.ndarray]]:
    """Return the name and the members (n,) of each outcome group.

    Numeric outcomes with many values are divided at the median.
    """
    if outcome is None or outcome.dtype.names or outcome.ndim > 1:
        return [(None, np.ones(n_cases, dtype=bool))]
    levels = pd.unique(pd.Series(outcome).sort_values())
    if len(levels) <= len(MARKS):
        return [(f"outcome {level}", outcome == level) for level in levels]
    if np.asarray(outcome).dtype.kind not in "iuf":
        return [(None, np.ones(n_cases, dtype=bool))]
    middle = float(np.median(outcome))
    high = outcome > middle
    return [
        (f"outcome at most {middle:.3g}", ~high),
        (f"outcome above {middle:.3g}", high),
    ]


def outcome_handles(
    axis: Any, groups: list[tuple[str | None, np.ndarray]]
) -> list[Any]:
    """Return the legend handles of the groups of `outcome_groups`."""
    theme = theme_of(axis)
    handles = []
    for mark, (name, members) in zip(MARKS, groups, strict=False):
        if name is None:
            continue
        colour = getattr(theme, mark["color"])
        handles.append(
            legend_handle(
                f"{wrap_name(name, 30)} (n={members.sum()})",
                marker=mark["marker"],
                color=colour,
                markerfacecolor=colour if mark["filled"] else "none",
            )
        )
    return handles


def legend_handle(label: str, **style: Any) -> Any:
    """Return one legend handle."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "none", "markersize": 5.5, **style}
    return Line2D([], [], label=label, **style)


DASHES = (0, (4, 4))
PROBABILITIES = (
    *(1e-6, 1e-4, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5),
    *(0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.999999),
)


def draw_bars(
    axis: Any,
    table: pd.DataFrame,
    label: str,
    *,
    width: float | None,
    notes: Sequence[str] | None = None,
    whole: bool = False,
    nulls: np.ndarray | None = None,
) -> None:
    """Draw a horizontal bar for each row, with its interval and its value.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    table : DataFrame of shape (M, 1 to 3)
        ``estimate`` and, if known, ``low`` and ``high``, by name.
    label : str
        Label of the x-axis.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.
    notes : sequence of M str or None, default=None
        Text behind the value of each row.
    whole : bool, default=False
        Whether the values are parts of 1, so that the axis ends at 1 if they are large.
    nulls : ndarray of shape (M,) or None, default=None
        Value of each row by chance, which is marked by a tick.
    """
    theme = theme_of(axis)
    for row, (_, found) in enumerate(table.iterrows()):
        draw_bar(axis, row, 0.0, float(found["estimate"]), pale="low" in table)
        _draw_interval(axis, row, found, "" if notes is None else notes[row])
    values = table.to_numpy(dtype=np.float64).ravel()
    if nulls is not None:
        axis.scatter(nulls, range(len(table)), **_null_style(axis), zorder=5)
        values = np.append(values, nulls)
    low_end, high_end = min(np.nanmin(values), 0.0), max(np.nanmax(values), 0.0)
    span = (high_end - low_end) or 1.0
    high_end += 0.04 * span
    if whole and high_end > 0.5:
        high_end = max(high_end, 1.0)
    axis.set_xlim(low_end - 0.04 * span * (low_end < 0), high_end)
    axis.axvline(0.0, color=theme.ink, linewidth=0.75)
    names = list(table.index)
    name_rows(axis, names)
    width = _settled(axis, width)
    _space_ticks(axis, width)
    # The label may reach below the numbers beside the axes.
    write_label(axis, label, width + TICK)


def _null_style(axis: Any) -> dict[str, Any]:
    # A tick as high as the bar, which no limit of an interval is.
    return {"marker": "|", "color": theme_of(axis).away, "s": 360, "linewidths": 2.2}


def null_handle(axis: Any) -> Any:
    """Return the legend handle of the ticks of `draw_bars`."""
    return legend_handle(
        "null: shuffled among patients, fitted again",
        marker="|",
        color=theme_of(axis).away,
        markersize=11,
        markeredgewidth=2.2,
    )


def _draw_interval(
    axis: Any, row: int, found: pd.Series, note: str, *, capped: bool = True
) -> None:
    """Draw the limits of a row, and write its value and limits beside the axes.

    A range that is no confidence interval has no caps.
    """
    theme = theme_of(axis)
    limits = [float(found[end]) for end in ("low", "high") if end in found]
    if limits:
        axis.plot(limits, [row, row], color=theme.ink, linewidth=1.5, zorder=3)
    for limit in limits if capped else []:
        ends = [row - 0.12, row + 0.12]
        axis.plot([limit] * 2, ends, color=theme.ink, linewidth=1.5, zorder=3)
    text = format_interval(float(found["estimate"]), *limits)
    if note:
        text += f"\n{note}"
    # Beside the axes, where no bar is, and the layout makes room for them.
    axis.annotate(
        text,
        (1.0, row),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        fontsize=LABEL_SIZE,
        color=theme.ink,
        annotation_clip=False,
    )


def draw_dots(
    axis: Any,
    table: pd.DataFrame,
    chance: float,
    label: str,
    *,
    width: float | None,
    notes: Sequence[str],
) -> None:
    """Draw a dot for each row, with its interval and its value.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    table : DataFrame of shape (n_rows, 3)
        ``estimate``, ``low`` and ``high``, by name.
    chance : float
        Value of a dashed line.
    label : str
        Label of the x-axis.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.
    notes : sequence of n_rows str
        Text behind the value of each row.
    """
    theme = theme_of(axis)
    for row, (_, found) in enumerate(table.iterrows()):
        axis.plot(
            found["estimate"],
            row,
            marker="o",
            markersize=6.5,
            color=theme.towards,
            zorder=4,
        )
        _draw_interval(axis, row, found, notes[row])
    axis.axvline(chance, color=theme.secondary, linewidth=1.0, linestyle=DASHES)
    values = np.append(table.to_numpy(dtype=np.float64).ravel(), chance)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * ((high - low) or 1.0)
    axis.set_xlim(low - margin, high + margin)
    name_rows(axis, list(table.index))
    width = _settled(axis, width)
    _space_ticks(axis, width)
    write_label(axis, label, width + TICK)


def draw_models(
    axis: Any,
    table: pd.DataFrame,
    models: Sequence[np.ndarray],
    label: str,
    *,
    width: float | None,
    nulls: np.ndarray | None = None,
) -> None:
    """Draw the mean of each row with the range over models, and a dot for each model.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    table : DataFrame of shape (n_rows, 3)
        ``estimate`` (mean), ``low`` and ``high`` (range), by name.
    models : sequence of n_rows ndarrays
        Values of the models.
    label : str
        Label of the x-axis.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.
    nulls : ndarray of shape (n_rows,) or None, default=None
        Value of each row by chance, which is marked by a tick.
    """
    theme = theme_of(axis)
    for row, (values, (_, found)) in enumerate(
        zip(models, table.iterrows(), strict=True)
    ):
        draw_bar(axis, row, 0.0, float(found["estimate"]), pale=True)
        _draw_interval(axis, row, found, "", capped=False)
        draw_cases(axis, values, row + 0.36 * np.ones(len(values)), MARKS[0])
    values = np.append(table.to_numpy(dtype=np.float64), 0.0)
    if nulls is not None:
        axis.scatter(nulls, range(len(table)), **_null_style(axis), zorder=5)
        values = np.append(values, nulls)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * ((high - low) or 1.0)
    axis.set_xlim(low - margin * (low < 0), high + margin)
    axis.axvline(0.0, color=theme.ink, linewidth=0.75)
    name_rows(axis, list(table.index))
    width = _settled(axis, width)
    _space_ticks(axis, width)
    write_label(axis, label, width + TICK)


def draw_sizes(axis: Any, table: pd.DataFrame, chance: float, label: str) -> None:
    """Draw the scores of many sets, by their number of modalities.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    table : DataFrame of n_sets rows
        ``n_modalities`` and ``score``.
    chance : float
        Score of the empty set, the value of a dashed line.
    label : str
        Label of the y-axis.
    """
    theme = theme_of(axis)
    means = table.groupby("n_modalities")["score"].mean()
    sizes = means.index.to_numpy(dtype=np.float64)
    for size in sizes:
        known = np.sort(table["score"][table["n_modalities"] == size].dropna())
        # Side by side where they would lie upon one another.
        draw_cases(axis, size + 0.8 * swarm_offsets(known), known, MARKS[0])
    axis.plot(sizes, means, color=theme.towards, marker="o", zorder=3)
    axis.axhline(chance, color=theme.secondary, linewidth=1.0, linestyle=DASHES)
    axis.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    axis.set_xlabel("number of modalities", color=theme.ink, fontsize=NAME_SIZE)
    lines = wrap_sentence(label, 2.4, NAME_SIZE)
    axis.set_ylabel(lines, color=theme.ink, fontsize=NAME_SIZE)
    axis.tick_params(labelsize=LABEL_SIZE, colors=theme.ink)
    axis.grid(axis="y", color=theme.grid, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def draw_waterfall(
    axis: Any,
    names: Sequence[str],
    values: np.ndarray,
    base: float,
    label: str,
    *,
    width: float | None,
    as_probability: bool = False,
) -> None:
    """Draw the contributions to one prediction, starting at the base value.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    names : sequence of M str
        Names of the contributions, in their order in the plot.
    values : ndarray of shape (M,)
        The contributions.
    base : float
        The base value.
    label : str
        Label of the x-axis.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.
    as_probability : bool, default=False
        Whether to add an axis that converts log-odds to probabilities.
    """
    theme = theme_of(axis)
    steps = np.concatenate([[base], base + np.cumsum(values)])
    span = max(float(np.ptp(steps)), 1e-9)
    decimals = 2 if span >= 0.2 else 3
    style: dict[str, Any] = {
        "textcoords": "offset points",
        "va": "center",
        "fontsize": LABEL_SIZE,
        "color": theme.ink,
    }
    for row, value in enumerate(values, start=1):
        start, end = steps[row - 1], steps[row]
        draw_bar(axis, row, start, end)
        axis.plot([start] * 2, [row - 1, row], color=theme.secondary, lw=0.9, zorder=1)
        right = value >= 0
        axis.annotate(
            format_number(value, decimals, sign=True),
            (end, row),
            xytext=(5 if right else -5, 0),
            ha="left" if right else "right",
            **style,
        )
    last = len(values) + 1
    ends = [last - 1, last]
    axis.plot([steps[-1]] * 2, ends, color=theme.secondary, lw=0.9, zorder=1)
    middle = (steps.min() + steps.max()) / 2
    for row, value in ((0, base), (last, steps[-1])):
        axis.plot(value, row, marker="D", color=theme.ink, markersize=5.5, zorder=3)
        text = format_number(value, decimals)
        if as_probability:
            text += f" (P = {format_number(float(expit(value)), decimals)})"
        right = value <= middle  # where there is room
        axis.annotate(
            text,
            (value, row),
            xytext=(8 if right else -8, 0),
            ha="left" if right else "right",
            **style,
        )
    name_rows(axis, ["base value", *names, "prediction"])
    width = _settled(axis, width)
    _space_ticks(axis, width)
    axis.set_xlim(steps.min() - 0.26 * span, steps.max() + 0.26 * span)
    write_label(axis, label, width)
    if as_probability:
        _probability_axis(axis, width)


def _probability_axis(axis: Any, width: float) -> None:
    from matplotlib.ticker import MaxNLocator

    theme = theme_of(axis)
    ends = np.array(axis.get_xlim())
    inside = [p for p in PROBABILITIES if ends[0] < logit(p) < ends[1]]
    if len(inside) < 3:
        inside = list(MaxNLocator(5).tick_values(*expit(ends)))
    shown: list[float] = []
    for p in inside:
        place = _log_odds_of(p)
        near = 0.5 / max(width, NARROW) * np.ptp(ends)
        far = not shown or place - _log_odds_of(shown[-1]) > near
        if far and ends[0] < place < ends[1]:
            shown.append(p)
    top = axis.secondary_xaxis("top", functions=(expit, _log_odds_of))
    top.set_xticks(shown, [f"{p:g}" for p in shown])
    top.tick_params(labelsize=LABEL_SIZE, colors=theme.secondary)
    top.set_xlabel("probability", color=theme.secondary, fontsize=LABEL_SIZE)
    top.spines["top"].set_color(theme.secondary)


def _log_odds_of(probability: Any) -> Any:
    # Matplotlib evaluates the function slightly outside the limits of the axis.
    return logit(np.clip(probability, 1e-9, 1 - 1e-9))


def draw_swarm(
    axis: Any,
    names: Sequence[str],
    values: np.ndarray,
    label: str,
    *,
    width: float | None,
    outcome: np.ndarray | None = None,
    presence: np.ndarray | None = None,
) -> list[Any]:
    """Draw the contributions in all cases as markers, with one row per modality.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    names : sequence of M str
        Names of the modalities.
    values : ndarray of shape (n, M)
        Contributions of the modalities in each case.
    label : str
        Label of the x-axis.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.
    outcome : ndarray of shape (n,) or None, default=None
        The outcome, which determines the markers.
    presence : ndarray of bool of shape (n, M) or None, default=None
        Whether a modality is present. Absent modalities are drawn as crosses.

    Returns
    -------
    list
        Handles of the legend.
    """
    theme = theme_of(axis)
    axis.axvline(0.0, color=theme.ink, linewidth=0.75)
    there = np.ones(values.shape, bool) if presence is None else presence
    groups = outcome_groups(outcome, len(values))
    for j in range(len(names)):
        places = j + swarm_offsets(values[:, j])
        for mark, (_, members) in zip(MARKS, groups, strict=False):
            shown = members & there[:, j]
            draw_cases(axis, values[shown, j], places[shown], mark)
        gone = ~there[:, j]
        axis.scatter(
            values[gone, j],
            places[gone],
            marker="x",
            s=16,
            color=theme.secondary,
            linewidth=0.9,
        )
    name_rows(axis, list(names))
    width = _settled(axis, width)
    _space_ticks(axis, width)
    write_label(axis, label, width)
    handles = outcome_handles(axis, groups)
    if not there.all():
        handles.append(
            legend_handle("modality absent", marker="x", color=theme.secondary)
        )
    return handles


def draw_matrix(
    axis: Any,
    names: Sequence[str],
    table: np.ndarray,
    label: str,
    *,
    width: float | None,
    signed: bool,
) -> None:
    """Draw a matrix of contributions (diagonal) and interactions (below it).

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    names : sequence of M str
        Names of the modalities.
    table : ndarray of shape (M, M)
        The values, of which only the diagonal and the lower triangle are drawn.
    label : str
        Description of the values, for the label of the x-axis.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.
    signed : bool
        Whether the values are signed, in two colours, and written with their sign.
        Otherwise, they are absolute values, in one colour.
    """
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    theme = theme_of(axis)
    n_names = len(names)
    shown = np.tril(np.ones((n_names, n_names), dtype=bool))
    drawn = np.ma.masked_array(table, mask=~shown)
    largest = float(np.abs(drawn).max()) or 1.0
    colours = theme.diverging if signed else theme.sequential
    scale = LinearSegmentedColormap.from_list("contributions", colours)
    norm = Normalize(-largest if signed else 0.0, largest)
    # The cell of a single modality is as wide as the label needs, and no square.
    aspect = "equal" if n_names > 1 else "auto"
    image = axis.imshow(drawn, cmap=scale, norm=norm, aspect=aspect)
    width = _settled(axis, width)
    size = _size_in_cells(width / n_names, f"{largest:+.2f}")
    for i, j in zip(*np.nonzero(shown), strict=True):
        if size is None:
            break
        axis.text(
            j,
            i,
            format_number(float(table[i, j]), sign=signed),
            ha="center",
            va="center",
            color=ink_on(scale(norm(table[i, j]))),
            fontsize=size,
            fontweight="bold" if i == j else "normal",
        )
    widest = max(text_width(name, NAME_SIZE) for name in names)
    turned = widest > 0.95 * width / n_names
    axis.set_xticks(
        range(n_names),
        names,
        rotation=40 if turned else 0,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
    )
    axis.set_yticks(range(n_names), names)
    axis.tick_params(length=0, labelsize=NAME_SIZE, colors=theme.ink)
    axis.spines[:].set_visible(False)
    bar = axis.figure.colorbar(image, ax=axis, shrink=0.6, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=LABEL_SIZE, colors=theme.ink, length=2)
    write_label(axis, label, width)


def _size_in_cells(cell: float, widest: str) -> float | None:
    """Return the size of figures that fit into cells of a width, None if none does."""
    size = min(NAME_SIZE, NAME_SIZE * 0.9 * cell / text_width(widest, NAME_SIZE))
    return size if size >= SMALLEST_SIZE else None


def draw_plane(
    axis: Any,
    names: Sequence[str],
    values: np.ndarray,
    label: str,
    outcome: np.ndarray | None,
    *,
    width: float | None,
) -> list[Any]:
    """Draw the contributions of two modalities against each other.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    names : sequence of 2 str
        Names of the modalities.
    values : ndarray of shape (n, 2)
        Contributions of the modalities in each case. Their sum is constant along a
        dashed line.
    label : str
        Description of the output, for the label of the x-axis.
    outcome : ndarray of shape (n,) or None
        The outcome, which determines the markers.
    width : float or None
        Width of the axes in inches, for the lines of texts. None measures it.

    Returns
    -------
    list
        Handles of the legend.
    """
    theme = theme_of(axis)
    faint = {"color": theme.secondary, "linewidth": 0.6}
    reach = 1.08 * float(np.abs(values).max() or 1.0)
    for level in np.linspace(-2, 2, 9) * reach:
        ends = np.array([-3.0, 3.0]) * reach
        axis.plot(ends, level - ends, linestyle=DASHES, **faint)
    axis.axhline(0.0, **faint)
    axis.axvline(0.0, **faint)
    groups = outcome_groups(outcome, len(values))
    for mark, (_, members) in zip(MARKS, groups, strict=False):
        draw_cases(axis, values[members, 0], values[members, 1], mark)
    low, high = np.minimum(values.min(axis=0), 0), np.maximum(values.max(axis=0), 0)
    half = 0.56 * (float((high - low).max()) or 1.0)
    for set_limits, middle in zip(
        (axis.set_xlim, axis.set_ylim), (low + high) / 2, strict=True
    ):
        set_limits(middle - half, middle + half)
    axis.set_aspect("equal")
    first, second = (" ".join(str(name).split("\n")) for name in names)
    write_label(axis, f"contribution of {first} to the {label}", width)
    width = max(_settled(axis, width), NARROW)
    text = wrap_sentence(f"contribution of {second}", 0.8 * width, NAME_SIZE)
    axis.set_ylabel(text, color=theme.ink, fontsize=NAME_SIZE)
    axis.tick_params(labelsize=LABEL_SIZE, colors=theme.ink)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(theme.secondary)
    line = legend_handle("same prediction", color=theme.secondary, linestyle=DASHES)
    return [*outcome_handles(axis, groups), line]


def draw_triangle(
    axis: Any, names: Sequence[str], values: np.ndarray, outcome: np.ndarray | None
) -> list[Any]:
    """Draw the shares of three modalities in each case as a point in a triangle.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    names : sequence of 3 str
        Names of the modalities, one per corner.
    values : ndarray of shape (n, 3)
        Contributions of the modalities in each case. Shares are computed from absolute
        values. Cases without any contribution are left out.
    outcome : ndarray of shape (n,) or None
        The outcome, which determines the markers.

    Returns
    -------
    list
        Handles of the legend.
    """
    theme = theme_of(axis)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    for level in (0.25, 0.5, 0.75):
        for j in range(3):
            a, b = np.delete(np.arange(3), j)
            ends = np.full((2, 3), 0.0)
            ends[:, j] = level
            ends[0, a] = ends[1, b] = 1 - level
            axis.plot(*(ends @ corners).T, color=theme.grid, linewidth=0.9)
    outline = np.vstack([corners, corners[:1]])
    axis.plot(*outline.T, color=theme.secondary, linewidth=1.0)
    centre = corners.mean(axis=0)
    axis.plot(*centre, marker="+", color=theme.secondary, markersize=9, zorder=1)
    sizes = np.abs(values)
    moved = sizes.sum(axis=1) > 0
    places = np.zeros((len(values), 2))
    places[moved] = sizes[moved] / sizes[moved].sum(axis=1, keepdims=True) @ corners
    groups = outcome_groups(outcome, len(values))
    for mark, (_, members) in zip(MARKS, groups, strict=False):
        x, y = places[members & moved].T
        draw_cases(axis, x, y, mark)
    for j, (name, (x, y)) in enumerate(zip(names, corners, strict=True)):
        axis.annotate(
            f"{name} only",
            (x, y),
            xytext=(0, 8 if j == 2 else -8),
            textcoords="offset points",
            ha="center",
            va="bottom" if j == 2 else "top",
            color=theme.ink,
            fontsize=NAME_SIZE,
        )
    # Above the corner, there is room for three lines of a name.
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.13), aspect="equal")
    axis.set_axis_off()
    handles = outcome_handles(axis, groups)
    handles.append(legend_handle("equal shares", marker="+", color=theme.secondary))
    return handles
