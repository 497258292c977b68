"""Functions that draw contributions on matplotlib axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

__all__ = [
    "ABOVE",
    "AGAINST",
    "FAINT",
    "FOR",
    "GRID",
    "INK",
    "MARKS",
    "OUTSIDE",
    "draw_bar",
    "draw_bars",
    "draw_cases",
    "draw_matrix",
    "draw_plane",
    "draw_swarm",
    "draw_triangle",
    "draw_waterfall",
    "legend_handle",
    "name_rows",
    "outcome_groups",
    "outcome_handles",
    "swarm_offsets",
]


FOR, AGAINST = "#0072B2", "#D55E00"
PALE = "#A6CFE6"
INK, FAINT, GRID = "#222222", "#8a8f98", "#e3e5e8"
# One marker style per outcome. Styles also differ in lightness.
MARKS = [
    {"marker": "o", "color": "#E69F00", "facecolor": "none"},
    {"marker": "^", "color": "#0072B2", "facecolor": "#0072B2"},
    {"marker": "s", "color": "#000000", "facecolor": "#999999"},
    {"marker": "D", "color": "#009E73", "facecolor": "none"},
    {"marker": "v", "color": "#CC79A7", "facecolor": "#CC79A7"},
    {"marker": "P", "color": "#56B4E9", "facecolor": "none"},
]
BAR = 0.56  # height of a bar, relative to the height of a row
ABOVE: dict[str, Any] = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 2,
}
OUTSIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}


def draw_bar(
    axis: Any, row: int, start: float, end: float, *, pale: bool = False
) -> None:
    """Draw the bar of a row, filled if positive and hatched if negative.

    A confidence interval is visible on a pale bar.
    """
    upward = end >= start
    axis.barh(
        row,
        end - start,
        left=start,
        height=BAR,
        color=(PALE if pale else FOR) if upward else "white",
        edgecolor=FOR if upward else AGAINST,
        hatch=None if upward else "////",
        linewidth=1.2,
        zorder=2,
    )


def name_rows(axis: Any, names: list[str]) -> None:
    """Label the rows from top to bottom and simplify the axes."""
    axis.set_yticks(range(len(names)), names, fontsize=10.5, color=INK)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=9.5, colors=INK)
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)


def draw_cases(axis: Any, x: np.ndarray, y: np.ndarray, mark: dict[str, Any]) -> None:
    """Draw one marker per case, in the style of an entry of `MARKS`."""
    axis.scatter(
        x,
        y,
        s=18 if len(x) < 100 else 12,
        marker=mark["marker"],
        edgecolors=mark["color"],
        facecolors=mark["facecolor"],
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


def outcome_handles(groups: list[tuple[str | None, np.ndarray]]) -> list[Any]:
    """Return the legend handles of the groups of `outcome_groups`."""
    return [
        legend_handle(
            f"{name} (n={members.sum()})",
            marker=mark["marker"],
            color=mark["color"],
            markerfacecolor=mark["facecolor"],
        )
        for mark, (name, members) in zip(MARKS, groups, strict=False)
        if name is not None
    ]


def legend_handle(label: str, **style: Any) -> Any:
    """Return one legend handle."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "none", "markersize": 6, **style}
    return Line2D([], [], label=label, **style)


DASHES = (0, (4, 4))
PROBABILITIES = (
    *(1e-6, 1e-4, 0.001, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5),
    *(0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.999999),
)


def draw_bars(axis: Any, table: pd.DataFrame, label: str) -> None:
    """Draw a horizontal bar for each row, with its interval and its value.

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    table : DataFrame of shape (M, 1 to 3)
        ``estimate`` and, if known, ``low`` and ``high``, by name.
    label : str
        Label of the x-axis.
    """
    has_interval = "low" in table
    ends = table.to_numpy()
    span = max(np.nanmax(ends), 0.0) - min(np.nanmin(ends), 0.0)
    for row, (_, found) in enumerate(table.iterrows()):
        value = float(found["estimate"])
        draw_bar(axis, row, 0.0, value, pale=has_interval)
        text, end = f"{value:.2f}", max(value, 0.0)
        if has_interval:
            low, high = float(found["low"]), float(found["high"])
            axis.plot([low, high], [row, row], color=INK, linewidth=1.6, zorder=3)
            for limit in (low, high):
                axis.plot(
                    [limit] * 2, [row - 0.12, row + 0.12], color=INK, lw=1.6, zorder=3
                )
            text, end = f"{text} ({low:.2f} to {high:.2f})", max(high, 0.0)
        axis.annotate(
            text,
            (end, row),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
        )
    low_end = min(np.nanmin(ends), 0.0)
    room = 0.75 if has_interval else 0.25  # space for the values
    axis.set_xlim(low_end - 0.04 * span, low_end + span * (1.04 + room))
    ticks = [t for t in axis.get_xticks() if low_end <= t <= low_end + 1.04 * span]
    axis.set_xticks(ticks)
    axis.axvline(0.0, color=INK, linewidth=1.0)
    name_rows(axis, list(table.index))
    axis.set_xlabel(label, color=INK)


def draw_waterfall(
    axis: Any,
    names: Sequence[str],
    values: np.ndarray,
    base: float,
    label: str,
    *,
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
    as_probability : bool, default=False
        Whether to add an axis that converts log-odds to probabilities.
    """
    steps = np.concatenate([[base], base + np.cumsum(values)])
    span = max(float(np.ptp(steps)), 1e-9)
    for row, value in enumerate(values, start=1):
        start, end = steps[row - 1], steps[row]
        draw_bar(axis, row, start, end)
        axis.plot([start] * 2, [row - 1, row], color=FAINT, linewidth=0.9, zorder=1)
        right = value >= 0
        axis.annotate(
            f"{value:+.2f}",
            (end, row),
            xytext=(5 if right else -5, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            fontsize=9.5,
            color=INK,
        )
    last = len(values) + 1
    axis.plot([steps[-1]] * 2, [last - 1, last], color=FAINT, linewidth=0.9, zorder=1)
    for row, value in ((0, base), (last, steps[-1])):
        axis.plot(value, row, marker="D", color=INK, markersize=6, zorder=3)
        axis.annotate(
            f"{value:.2f}",
            (value, row),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            color=INK,
        )
    name_rows(axis, ["base value", *names, "prediction"])
    axis.set_xlim(steps.min() - 0.22 * span, steps.max() + 0.22 * span)
    axis.set_xlabel(label, color=INK)
    if as_probability:
        _probability_axis(axis)


def _probability_axis(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    ends = np.array(axis.get_xlim())
    inside = [p for p in PROBABILITIES if ends[0] < logit(p) < ends[1]]
    if len(inside) < 3:
        inside = list(MaxNLocator(5).tick_values(*expit(ends)))
    shown: list[float] = []
    for p in inside:
        place = _log_odds_of(p)
        far = not shown or place - _log_odds_of(shown[-1]) > 0.09 * np.ptp(ends)
        if far and ends[0] < place < ends[1]:
            shown.append(p)
    top = axis.secondary_xaxis("top", functions=(expit, _log_odds_of))
    top.set_xticks(shown, [f"{p:g}" for p in shown])
    top.tick_params(labelsize=8.5, colors=FAINT)
    top.set_xlabel("probability", color=FAINT, fontsize=9)
    top.spines["top"].set_color(FAINT)


def _log_odds_of(probability: Any) -> Any:
    # Matplotlib evaluates the function slightly outside the limits of the axis.
    return logit(np.clip(probability, 1e-9, 1 - 1e-9))


def draw_swarm(
    axis: Any,
    names: Sequence[str],
    values: np.ndarray,
    label: str,
    *,
    outcome: np.ndarray | None = None,
    presence: np.ndarray | None = None,
) -> None:
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
    outcome : ndarray of shape (n,) or None, default=None
        The outcome, which determines the markers.
    presence : ndarray of bool of shape (n, M) or None, default=None
        Whether a modality is present. Absent modalities are drawn as crosses.
    """
    axis.axvline(0.0, color=INK, linewidth=1.0)
    there = np.ones(values.shape, bool) if presence is None else presence
    groups = outcome_groups(outcome, len(values))
    for j in range(len(names)):
        places = j + swarm_offsets(values[:, j])
        for mark, (_, members) in zip(MARKS, groups, strict=False):
            shown = members & there[:, j]
            draw_cases(axis, values[shown, j], places[shown], mark)
        gone = ~there[:, j]
        axis.scatter(
            values[gone, j], places[gone], marker="x", s=16, color=FAINT, linewidth=0.9
        )
    name_rows(axis, list(names))
    axis.set_xlabel(label, color=INK)
    handles = outcome_handles(groups)
    if not there.all():
        handles.append(legend_handle("modality absent", marker="x", color=FAINT))
    if handles:
        axis.legend(handles=handles, fontsize=9, frameon=False, **OUTSIDE)


def draw_matrix(
    axis: Any, names: Sequence[str], table: np.ndarray, label: str, *, signed: bool
) -> None:
    """Draw a matrix of contributions (diagonal) and interactions (below it).

    Parameters
    ----------
    axis : matplotlib Axes
        Axes to draw on.
    names : sequence of M str
        Names of the modalities.
    table : ndarray of shape (M, M)
        The values, of which only the diagonal and the lower triangle are drawn. The
        colour shows the absolute value.
    label : str
        Description of the values, for the label of the x-axis.
    signed : bool
        Whether the values are written with their sign. Otherwise, they are absolute
        values.
    """
    n_names = len(names)
    shown = np.tril(np.ones((n_names, n_names), dtype=bool))
    sizes = np.ma.masked_array(np.abs(table), mask=~shown)
    largest = float(sizes.max()) or 1.0
    axis.imshow(sizes, cmap="Blues", vmin=0, vmax=1.25 * largest)
    for i, j in zip(*np.nonzero(shown), strict=True):
        dark = abs(table[i, j]) > 0.55 * largest
        axis.text(
            j,
            i,
            f"{table[i, j]:+.2f}" if signed else f"{table[i, j]:.2f}",
            ha="center",
            va="center",
            color="white" if dark else INK,
            fontsize=11,
            fontweight="bold" if i == j else "normal",
        )
    axis.set_xticks(range(n_names), names)
    axis.set_yticks(range(n_names), names)
    axis.tick_params(length=0, labelsize=10.5, colors=INK)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(f"{label}\n(diagonal: modality, below: interaction)", color=INK)


def draw_plane(
    axis: Any,
    names: Sequence[str],
    values: np.ndarray,
    label: str,
    outcome: np.ndarray | None,
) -> None:
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
    """
    reach = 1.08 * float(np.abs(values).max() or 1.0)
    for level in np.linspace(-2, 2, 9) * reach:
        ends = np.array([-3.0, 3.0]) * reach
        axis.plot(ends, level - ends, color=FAINT, linewidth=0.6, linestyle=DASHES)
    axis.axhline(0.0, color=FAINT, linewidth=0.9)
    axis.axvline(0.0, color=FAINT, linewidth=0.9)
    groups = outcome_groups(outcome, len(values))
    for mark, (_, members) in zip(MARKS, groups, strict=False):
        draw_cases(axis, values[members, 0], values[members, 1], mark)
    room = 0.06 * reach
    for set_limits, column in ((axis.set_xlim, 0), (axis.set_ylim, 1)):
        found = values[:, column]
        set_limits(min(found.min(), 0.0) - room, max(found.max(), 0.0) + room)
    axis.set_aspect("equal")
    axis.set_xlabel(f"contribution of {names[0]} to the {label}", color=INK)
    axis.set_ylabel(f"contribution of {names[1]}", color=INK)
    axis.spines[["top", "right"]].set_visible(False)
    line = legend_handle("same prediction", color=FAINT, linestyle=DASHES)
    handles = [*outcome_handles(groups), line]
    axis.legend(handles=handles, fontsize=9, frameon=False, **ABOVE)


def draw_triangle(
    axis: Any, names: Sequence[str], values: np.ndarray, outcome: np.ndarray | None
) -> None:
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
    """
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    for level in (0.25, 0.5, 0.75):
        for j in range(3):
            a, b = np.delete(np.arange(3), j)
            ends = np.full((2, 3), 0.0)
            ends[:, j] = level
            ends[0, a] = ends[1, b] = 1 - level
            axis.plot(*(ends @ corners).T, color=GRID, linewidth=0.9)
    outline = np.vstack([corners, corners[:1]])
    axis.plot(*outline.T, color=FAINT, linewidth=1.0)
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
            color=INK,
        )
    axis.set(xlim=(-0.12, 1.12), ylim=(-0.1, 0.98), aspect="equal")
    axis.set_axis_off()
    handles = outcome_handles(groups)
    if handles:
        axis.legend(handles=handles, fontsize=9, frameon=False, **OUTSIDE)
