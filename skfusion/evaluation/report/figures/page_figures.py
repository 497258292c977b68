"""Geometry of the panels of the page, which the template draws as SVG.

Names and numbers stay text. Colours come from the style sheet by the class of a mark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfusion._figures.style import STRATEGY_MARKS
from skfusion.evaluation.report.figures.panels import Curve, Histogram, Panel, Plot
from skfusion.evaluation.report.figures.ticks import round_values
from skfusion.evaluation.statistics.disclosure import MIN_CELL

__all__ = ["Drawing", "Figure", "KeyItem", "Shape", "figure_of", "marker_path"]


SIDE = 100.0  # units of a square panel
BEYOND = 4.0  # units above and below the square in which lines are drawn
STRIP = (121.0, 10.0)  # middle and half of the height of a histogram below it
PATTERNS = {"dashed": "3 2", "dotted": ".7 1.6", "solid": ""}


@dataclass(frozen=True)
class Shape:
    """Path of SVG.

    Attributes
    ----------
    kind, mark : str
        Classes in the style sheet: what it is, and a key of `STRATEGY_MARKS`.
    d : str
        Path data.
    dash : str
        Lengths of dashes and gaps, empty for a solid line.
    is_open : bool
        Whether a marker is not filled.
    x, y : float
        Position of a marker.
    """

    kind: str
    mark: str
    d: str
    dash: str = ""
    is_open: bool = False
    x: float = 0.0
    y: float = 0.0


@dataclass(frozen=True)
class KeyItem:
    """Line of the key below a figure.

    Attributes
    ----------
    label, mark, dash : str
        Text, class and pattern of the line.
    path : str
        Path of the marker, empty for a line without markers.
    is_open : bool
        Whether the marker is not filled.
    """

    label: str
    mark: str
    dash: str = ""
    path: str = ""
    is_open: bool = True


@dataclass(frozen=True)
class Drawing:
    """One panel as texts and paths in a square of 100 units.

    Attributes
    ----------
    title, mark : str
        Name and key of `STRATEGY_MARKS`.
    facts : list of str
        Numbers below the title.
    x_label, y_label : str
        Titles of the axes.
    x_ticks, y_ticks : list of (float, str)
        Positions and texts.
    shapes : list of Shape
        Bands, lines and markers.
    height : float
        Units below the top of the square, without the titles of the axes.
    reason : str
        Why there is no curve.
    description : str
        Text for readers who do not see the panel.
    """

    title: str
    mark: str
    facts: list[str]
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    shapes: list[Shape]
    height: float
    reason: str
    description: str


@dataclass(frozen=True)
class Figure:
    """Panels of one kind with their key and caption.

    Attributes
    ----------
    panels : list of Drawing
        Panels.
    key : list of KeyItem
        What the lines mean.
    caption : str
        What is shown.
    """

    panels: list[Drawing]
    key: list[KeyItem] = field(default_factory=list)
    caption: str = ""


def marker_path(mark: str, size: float = 2.0) -> str:
    """Return the path of a marker about the origin.

    Parameters
    ----------
    mark : str
        Key of `STRATEGY_MARKS`.
    size : float, default=2.0
        Half of its width.

    Returns
    -------
    str
        Path data of SVG.

    Examples
    --------
    >>> from skfusion.evaluation.report.figures.page_figures import marker_path
    >>> marker_path("early", 1.0)
    'M-0.9 -0.9L0.9 -0.9L0.9 0.9L-0.9 0.9Z'
    """
    shape = STRATEGY_MARKS[mark].marker
    if shape == "o":
        r = _text(size)
        return f"M-{r} 0A{r} {r} 0 1 1 {r} 0A{r} {r} 0 1 1 -{r} 0Z"
    corners = [(size * x, size * y) for x, y in CORNERS[shape]]
    return _path(corners) + "Z"


_THIRD = 0.4
CORNERS: dict[str, list[tuple[float, float]]] = {
    "s": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "D": [(0.0, -1.15), (1.15, 0.0), (0.0, 1.15), (-1.15, 0.0)],
    "^": [(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
    "v": [(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
    "<": [(-1.15, 0.0), (0.85, -1.1), (0.85, 1.1)],
    ">": [(1.15, 0.0), (-0.85, -1.1), (-0.85, 1.1)],
    "P": [
        *((-_THIRD, -1.1), (_THIRD, -1.1), (_THIRD, -_THIRD), (1.1, -_THIRD)),
        *((1.1, _THIRD), (_THIRD, _THIRD), (_THIRD, 1.1), (-_THIRD, 1.1)),
        *((-_THIRD, _THIRD), (-1.1, _THIRD), (-1.1, -_THIRD), (-_THIRD, -_THIRD)),
    ],
    "X": [
        *((-1.1, -0.6), (-0.6, -1.1), (0.0, -0.5), (0.6, -1.1), (1.1, -0.6)),
        *((0.5, 0.0), (1.1, 0.6), (0.6, 1.1), (0.0, 0.5), (-0.6, 1.1)),
        *((-1.1, 0.6), (-0.5, 0.0)),
    ],
}


def figure_of(plot: Plot) -> Figure:
    """Return the drawing of a plot.

    Parameters
    ----------
    plot : Plot
        Panels.

    Returns
    -------
    Figure
    """
    key: dict[str, KeyItem] = {}
    for panel in plot.panels:
        for curve in panel.curves:
            key[curve.label] = KeyItem(
                curve.label,
                curve.mark,
                _dash(curve.mark),
                marker_path(curve.mark) if curve.form == "points" else "",
                not STRATEGY_MARKS[curve.mark].filled,
            )
        for guide in panel.guides:
            key[guide.label] = KeyItem(guide.label, "guide", PATTERNS[guide.kind])
        if panel.point is not None:
            key["operating point"] = KeyItem("operating point", "cross", path=CROSS)
    drawings = [_drawing(panel) for panel in plot.panels]
    return Figure(drawings, list(key.values()), plot.caption)


CROSS = "M-3 0L3 0M0 -3L0 3"


def _dash(mark: str) -> str:
    return " ".join(_text(0.8 * length) for length in STRATEGY_MARKS[mark].dashes)


def _drawing(panel: Panel) -> Drawing:
    shapes = [
        Shape("guide", "guide", _path(_points(panel, g.x, g.y)), PATTERNS[g.kind])
        for g in panel.guides
    ]
    for curve in panel.curves:
        shapes += _shapes_of(panel, curve)
    if panel.point is not None:
        ((x, y),) = _points(panel, [panel.point[0]], [panel.point[1]])
        shapes.append(Shape("cross", "cross", CROSS, x=x, y=y))
    height = SIDE
    if panel.histogram is not None:
        shapes += _bars(panel, panel.histogram)
        height = STRIP[0] + STRIP[1]
    names = ", ".join(curve.label for curve in panel.curves) or "no curve"
    return Drawing(
        panel.title,
        panel.mark,
        panel.facts,
        panel.x_label,
        panel.y_label,
        [(_x(panel, v), text) for v, text in round_values(*panel.x_range)],
        [(_y(panel, v), text) for v, text in round_values(*panel.y_range)],
        shapes,
        height,
        panel.reason if not panel.curves else "",
        f"{panel.title}: {panel.y_label} by {panel.x_label} of {names}.",
    )


def _shapes_of(panel: Panel, curve: Curve) -> list[Shape]:
    """Return the band or the intervals of a curve, its line and its markers."""
    mark, shapes = curve.mark, []
    is_line = curve.form == "line"
    if curve.low is not None and curve.high is not None:
        lower = _points(panel, curve.x, curve.low)
        upper = _points(panel, curve.x, curve.high)
        if is_line:
            shapes.append(Shape("band", mark, _path([*upper, *lower[::-1]]) + "Z"))
        else:
            bars = "".join(_path(pair) for pair in zip(lower, upper, strict=True))
            shapes.append(Shape("interval", mark, bars))
    points = _points(panel, curve.x, curve.y)
    kind = "line" if is_line and mark != "single" else "thin"
    shapes.append(Shape(kind, mark, _path(points), _dash(mark)))
    if not is_line:
        path, is_open = marker_path(mark), not STRATEGY_MARKS[mark].filled
        shapes += [
            Shape("marker", mark, path, is_open=is_open, x=x, y=y) for x, y in points
        ]
    return shapes


def _bars(panel: Panel, found: Histogram) -> list[Shape]:
    """Return the bars of a histogram, upwards with and downwards without the event."""
    counts = np.concatenate([found.events, found.others])
    largest = float(np.nanmax(np.append(counts, MIN_CELL)))
    middle, reach = STRIP
    shapes = []
    for part, sign in ((found.events, -1.0), (found.others, 1.0)):
        for left, right, count in zip(
            found.edges[:-1], found.edges[1:], part, strict=True
        ):
            if count == 0:
                continue
            is_few = bool(np.isnan(count))
            end = middle + sign * reach * (MIN_CELL if is_few else count) / largest
            corners = [(_x(panel, left), middle), (_x(panel, left), end)]
            corners += [(_x(panel, right), end), (_x(panel, right), middle)]
            kind = "few" if is_few else "bar"
            shapes.append(Shape(kind, "guide", _path(corners) + "Z"))
    base = _path([(0.0, middle), (SIDE, middle)])
    shapes.append(Shape("base", "guide", base))
    return shapes


def _x(panel: Panel, value: float) -> float:
    low, high = panel.x_range
    return SIDE * (value - low) / (high - low)


def _y(panel: Panel, value: float) -> float:
    low, high = panel.y_range
    return SIDE - SIDE * (value - low) / (high - low)


def _points(panel: Panel, x: Any, y: Any) -> list[tuple[float, float]]:
    """Return the positions of points, without those far above or below the axes."""
    found = [
        (_x(panel, float(a)), _y(panel, float(b)))
        for a, b in zip(x, y, strict=True)
        if np.isfinite(a) and np.isfinite(b)
    ]
    return [point for point in found if -BEYOND <= point[1] <= SIDE + BEYOND]


def _path(points: Sequence[tuple[float, float]]) -> str:
    pairs = [f"{_text(x)} {_text(y)}" for x, y in points]
    return f"M{'L'.join(pairs)}" if pairs else ""


def _text(value: float) -> str:
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
