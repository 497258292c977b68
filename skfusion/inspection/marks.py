"""Colours, marks and rows that the drawings of inspection share.

Blue and vermilion of Okabe and Ito are apart for every kind of colour vision; shape,
filling or hatching says the same once more, so that a copy in grey can be read. Read
next: `skfusion.inspection.drawing`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

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
    "draw_cases",
    "legend_handle",
    "name_rows",
    "outcome_groups",
    "outcome_handles",
    "swarm_offsets",
]

FOR, AGAINST = "#0072B2", "#D55E00"
PALE = "#A6CFE6"
INK, FAINT, GRID = "#222222", "#8a8f98", "#e3e5e8"
# one mark for each outcome; from light to dark as well
MARKS = [
    {"marker": "o", "color": "#E69F00", "facecolor": "none"},
    {"marker": "^", "color": "#0072B2", "facecolor": "#0072B2"},
    {"marker": "s", "color": "#000000", "facecolor": "#999999"},
    {"marker": "D", "color": "#009E73", "facecolor": "none"},
    {"marker": "v", "color": "#CC79A7", "facecolor": "#CC79A7"},
    {"marker": "P", "color": "#56B4E9", "facecolor": "none"},
]
BAR = 0.56  # height, of the 1 that a row has
ABOVE: dict[str, Any] = {
    "loc": "lower center",
    "bbox_to_anchor": (0.5, 1.0),
    "ncols": 2,
}
OUTSIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}


def draw_bar(
    axis: Any, row: int, start: float, end: float, *, pale: bool = False
) -> None:
    """Draw one bar of a row: filled to the right, hatched to the left.

    A pale one lets an interval be seen on it.
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
    """Name the rows from top to bottom, and leave only what helps to read them."""
    axis.set_yticks(range(len(names)), names, fontsize=10.5, color=INK)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=9.5, colors=INK)
    axis.grid(axis="x", color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color(FAINT)


def draw_cases(axis: Any, x: np.ndarray, y: np.ndarray, mark: dict[str, Any]) -> None:
    """Draw one of `MARKS` for each case."""
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
    """Spread marks that would cover each other, as wide as they are dense."""
    offsets = np.zeros(len(values))
    spread = np.ptp(values)
    if spread == 0:
        return offsets
    bins = np.floor((values - values.min()) / spread * 80).astype(int)
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        members = members[np.argsort(values[members], kind="stable")]
        ranks = np.arange(len(members))
        # to the one side and the other in turn, from the middle outwards
        sides = np.where(ranks % 2 == 0, -1, 1) * ((ranks + 1) // 2)
        offsets[members] = sides * min(0.07, 0.8 / len(members))
    return offsets


def outcome_groups(
    outcome: np.ndarray | None, n_cases: int
) -> list[tuple[str | None, np.ndarray]]:
    """Return name and members (n,) of each outcome; a number is cut at its median."""
    if outcome is None or outcome.dtype.names or outcome.ndim > 1:
        return [(None, np.ones(n_cases, dtype=bool))]
    levels = pd.unique(pd.Series(outcome).sort_values())
    if len(levels) <= len(MARKS):
        return [(f"outcome {level}", outcome == level) for level in levels]
    if np.asarray(outcome).dtype.kind not in "iuf":
        return [(None, np.ones(n_cases, dtype=bool))]
    middle = float(np.median(outcome))
    high = outcome > middle
    return [(f"outcome to {middle:.3g}", ~high), (f"outcome above {middle:.3g}", high)]


def outcome_handles(groups: list[tuple[str | None, np.ndarray]]) -> list[Any]:
    """Return what a legend shows of the groups of `outcome_groups`."""
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
    """Return one mark of a legend."""
    from matplotlib.lines import Line2D

    style = {"linestyle": "none", "markersize": 6, **style}
    return Line2D([], [], label=label, **style)
