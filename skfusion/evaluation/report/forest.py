"""Geometry of the forest plots and calibration curves of the page.

Positions are percentages of the width, so that a plot fits any screen. The template
draws them, and names stay text in any script.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.report.protocol import (
    Comparison,
    pairs_to_draw,
    signed,
    with_limits,
)

__all__ = ["Forest", "calibration_panel", "difference_forest", "score_forest"]


MARGIN = 4.0  # per cent of the width on either side
N_TICKS = 5


@dataclass(frozen=True)
class Row:
    """Interval of one strategy or difference.

    Attributes
    ----------
    label, text : str
        Name, and the estimate with its interval.
    kind : {"fusion", "single", "without", "matched", "other"}
        Marker.
    middle : float
        Position of the estimate.
    low, high : float or None
        Positions of the limits, None without an interval.
    dots : list of float
        Positions of the values of single sites.
    """

    label: str
    text: str
    kind: str
    middle: float
    low: float | None = None
    high: float | None = None
    dots: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Forest:
    """Forest plot.

    Attributes
    ----------
    heading : str
        Name of the score.
    groups : list of (str, list of Row)
        Rows below a title, which can be empty.
    ticks : list of (float, str)
        Position and text of the ticks.
    line : float or None
        Position of the reference line.
    """

    heading: str
    groups: list[tuple[str, list[Row]]]
    ticks: list[tuple[float, str]]
    line: float | None = None


@dataclass(frozen=True)
class _Axis:
    """Linear map from values to per cent of the width."""

    lowest: float
    highest: float
    reverse: bool = False

    def place(self, value: float) -> float:
        share = (value - self.lowest) / (self.highest - self.lowest)
        share = 1.0 - share if self.reverse else share
        return round(MARGIN + (100.0 - 2.0 * MARGIN) * share, 2)

    def limits(self, low: float, high: float) -> tuple[float | None, float | None]:
        if np.isnan(low) or np.isnan(high):
            return None, None
        first, second = sorted((self.place(low), self.place(high)))
        return first, second


def _axis_of(values: Sequence[float], *, reverse: bool = False) -> _Axis:
    known = [value for value in values if np.isfinite(value)]
    lowest, highest = min(known), max(known)
    if highest - lowest < 1e-9:
        reach = max(abs(highest), 1.0) * 0.05
        lowest, highest = lowest - reach, highest + reach
    return _Axis(lowest, highest, reverse)


def _ticks(axis: _Axis, *, sign: bool = False) -> list[tuple[float, str]]:
    """Return about five round values within the axis."""
    width = axis.highest - axis.lowest
    power = 10.0 ** math.floor(math.log10(width / N_TICKS))
    step = next(
        power * factor for factor in (1, 2, 2.5, 5, 10) if width / power / factor <= 5
    )
    decimals = max(
        0, -math.floor(math.log10(step)) + (1 if "25" in f"{step:.6g}" else 0)
    )
    first, last = math.ceil(axis.lowest / step), math.floor(axis.highest / step)
    found = []
    for number in range(first, last + 1):
        value = number * step
        text = f"{value:{'+' if sign and number else ''},.{decimals}f}"
        found.append((axis.place(value), text.replace("-", "\N{MINUS SIGN}")))
    return found


def score_forest(result: Comparison, metric: Metric) -> Forest:
    """Return the forest plot of the scores of one metric.

    Parameters
    ----------
    result : Comparison
        Comparison to show.
    metric : Metric
        Score.

    Returns
    -------
    Forest
        Fusions without a modality are left out. The reference line is the best single
        modality.
    """
    role = result.scores_["strategy"].map(result.strategies_["role"])
    shown = (result.scores_["metric"] == metric.name) & (role != "without")
    table = result.scores_[shown]
    by_site = _values_of_sites(result, metric)
    every = [*table[["estimate", "low", "high"]].to_numpy().ravel()]
    every += [v for name in table["strategy"] for v in by_site.get(name, [])]
    axis = _axis_of(every)
    rows = []
    for record in table.to_dict("records"):
        name = record["strategy"]
        low, high = axis.limits(record["low"], record["high"])
        limits = with_limits(metric, record["low"], record["high"])
        text = metric.text(record["estimate"]).replace("-", "\N{MINUS SIGN}")
        rows.append(
            Row(
                str(result.strategies_.loc[name, "label"]),
                f"{text} ({limits})" if limits else text,
                str(result.strategies_.loc[name, "role"]),
                axis.place(record["estimate"]),
                low,
                high,
                [axis.place(value) for value in by_site.get(name, [])],
            )
        )
    roles = table["strategy"].map(result.strategies_["role"])
    singles = table.loc[(roles == "single").to_numpy(), "estimate"]
    best = singles.max() if metric.greater_is_better else singles.min()
    line = axis.place(best) if len(singles) else None
    return Forest(metric.heading, [("", rows)], _ticks(axis), line)


def difference_forest(result: Comparison, metric: Metric) -> Forest | None:
    """Return the forest plot of the differences of one metric, by fusion.

    Parameters
    ----------
    result : Comparison
        Comparison to show.
    metric : Metric
        Score. The axis of a loss is reversed, so that the right side favours fusion.

    Returns
    -------
    Forest or None
        None without a fusion or a single modality.
    """
    pairs = pairs_to_draw(result, metric)
    if not pairs:
        return None
    dots = _differences_of_sites(result, metric, pairs)
    every = [0.0, *(value for values in dots.values() for value in values)]
    for part in pairs.values():
        every += [*part[["estimate", "low", "high"]].to_numpy().ravel()]
    axis = _axis_of(every, reverse=not metric.greater_is_better)
    labels = result.strategies_["label"]
    groups = []
    for fusion, part in pairs.items():
        rows = []
        for record in part.to_dict("records"):
            low, high = axis.limits(record["low"], record["high"])
            limits = with_limits(metric, record["low"], record["high"], sign=True)
            text = signed(metric, record["estimate"])
            of_sites = dots.get((fusion, record["reference"]), [])
            rows.append(
                Row(
                    _minus(result, record),
                    f"{text} ({limits})" if limits else text,
                    str(record["relation"]),
                    axis.place(record["estimate"]),
                    low,
                    high,
                    [axis.place(value) for value in of_sites],
                )
            )
        groups.append((str(labels[fusion]), rows))
    ticks = _ticks(axis, sign=True)
    return Forest(metric.heading, groups, ticks, axis.place(0.0))


def _minus(result: Comparison, record: dict[Hashable, Any]) -> str:
    """Return the name of a reference below the name of its fusion."""
    reference = result.strategies_.loc[record["reference"]]
    name = reference["label"]
    if record["relation"] == "matched" and pd.notna(reference["fusion"]):
        name = f"{reference['modality']} alone"
    return f"minus {name}{' (best of all)' if record['best'] else ''}"


def _values_of_sites(result: Comparison, metric: Metric) -> dict[str, list[float]]:
    if result.settings_["design"] != "sites":
        return {}
    folds = result.folds_[result.folds_["metric"] == metric.name]
    return {
        str(name): part["score"].tolist()
        for name, part in folds.groupby("strategy", sort=False)
    }


def _differences_of_sites(
    result: Comparison, metric: Metric, pairs: dict[str, pd.DataFrame]
) -> dict[tuple[str, str], list[float]]:
    values = _values_of_sites(result, metric)
    if not values:
        return {}
    return {
        (fusion, reference): [
            a - b for a, b in zip(values[fusion], values[reference], strict=True)
        ]
        for fusion, part in pairs.items()
        for reference in part["reference"]
    }


def calibration_panel(label: str, curve: Any) -> dict[str, Any] | None:
    """Return the points of a calibration curve in a square of 100 units.

    Parameters
    ----------
    label : str
        Name of the strategy.
    curve : CalibrationCurve
        Curve with at least 100 cases of each class, or an empty one.

    Returns
    -------
    dict or None
        Label and points, None if the curve is empty.
    """
    if not len(curve.predicted):
        return None
    points = [
        {
            "x": round(100.0 * float(x), 2),
            "y": round(100.0 - 100.0 * float(y), 2),
            "low": round(100.0 - 100.0 * float(low), 2),
            "high": round(100.0 - 100.0 * float(high), 2),
        }
        for x, y, low, high in zip(
            curve.predicted, curve.observed, curve.low, curve.high, strict=True
        )
    ]
    return {"label": label, "points": points}
