"""Geometry of the forest plots of the page.

Positions are percentages of the width, so that a plot fits any screen. The template
draws them, and names stay text in any script.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.report.figures.marks import strategy_marks
from skfusion.evaluation.report.figures.ticks import round_values
from skfusion.evaluation.report.protocol import (
    Comparison,
    pairs_to_draw,
    signed,
    with_limits,
)

__all__ = ["Forest", "Row", "difference_forest", "forest_of", "score_forest"]


MARGIN = 4.0  # per cent of the width on either side


@dataclass(frozen=True)
class Row:
    """Interval of one strategy or difference.

    Attributes
    ----------
    label, text : str
        Name, and the estimate with its interval.
    kind : {"fusion", "single", "without", "matched", "other"}
        Role of the strategy, or relation of a difference.
    mark : str
        Key of `STRATEGY_MARKS`.
    values : (float, float, float)
        Estimate and limits, which are NaN without an interval.
    middle : float or None
        Position of the estimate, None without one.
    low, high : float or None
        Positions of the limits, None without an interval.
    dots : list of float
        Positions of the values of single sites.
    site_values : list of float
        These values.
    """

    label: str
    text: str
    kind: str
    mark: str
    values: tuple[float, float, float]
    middle: float | None
    low: float | None = None
    high: float | None = None
    dots: list[float] = field(default_factory=list)
    site_values: list[float] = field(default_factory=list)


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
    reference : float or None
        Its value.
    reverse : bool
        Whether small values are at the right.
    """

    heading: str
    groups: list[tuple[str, list[Row]]]
    ticks: list[tuple[float, str]]
    line: float | None = None
    reference: float | None = None
    reverse: bool = False


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

    def row(
        self,
        label: str,
        text: str,
        kind: str,
        mark: str,
        record: Mapping[Any, Any],
        of_sites: Sequence[float] = (),
    ) -> Row:
        """Return a row of the estimate and the limits of a record."""
        estimate, low, high = (float(record[k]) for k in ("estimate", "low", "high"))
        return Row(
            label,
            text,
            kind,
            mark,
            (estimate, low, high),
            self.place(estimate) if np.isfinite(estimate) else None,
            *self.limits(low, high),
            dots=[self.place(value) for value in of_sites],
            site_values=list(of_sites),
        )


def _axis_of(values: Sequence[float], *, reverse: bool = False) -> _Axis:
    known = [value for value in values if np.isfinite(value)]
    lowest, highest = min(known), max(known)
    if highest - lowest < 1e-9:
        reach = max(abs(highest), 1.0) * 0.05
        lowest, highest = lowest - reach, highest + reach
    return _Axis(lowest, highest, reverse)


def _ticks(axis: _Axis, *, sign: bool = False) -> list[tuple[float, str]]:
    """Return the positions and texts of round values within the axis."""
    found = round_values(axis.lowest, axis.highest, sign=sign)
    return [(axis.place(value), text) for value, text in found]


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
    marks = strategy_marks(result)
    rows = []
    for record in table.to_dict("records"):
        name = str(record["strategy"])
        limits = with_limits(metric, record["low"], record["high"])
        text = metric.text(record["estimate"]).replace("-", "\N{MINUS SIGN}")
        rows.append(
            axis.row(
                str(result.strategies_.loc[name, "label"]),
                f"{text} ({limits})" if limits else text,
                str(result.strategies_.loc[name, "role"]),
                marks[name],
                record,
                by_site.get(name, []),
            )
        )
    roles = table["strategy"].map(result.strategies_["role"])
    singles = table.loc[(roles == "single").to_numpy(), "estimate"]
    best = singles.max() if metric.greater_is_better else singles.min()
    if not len(singles):
        return Forest(metric.heading, [("", rows)], _ticks(axis))
    return Forest(
        metric.heading, [("", rows)], _ticks(axis), axis.place(best), float(best)
    )


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
    marks = strategy_marks(result)
    groups = []
    for fusion, part in pairs.items():
        rows = []
        for record in part.to_dict("records"):
            limits = with_limits(metric, record["low"], record["high"], sign=True)
            text = signed(metric, record["estimate"])
            rows.append(
                axis.row(
                    _minus(result, record),
                    f"{text} ({limits})" if limits else text,
                    str(record["relation"]),
                    marks[fusion],
                    record,
                    dots.get((fusion, record["reference"]), []),
                )
            )
        groups.append((str(labels[fusion]), rows))
    ticks = _ticks(axis, sign=True)
    return Forest(
        metric.heading, groups, ticks, axis.place(0.0), 0.0, reverse=axis.reverse
    )


def forest_of(
    heading: str,
    groups: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    mark: str,
    *,
    reference: float | None,
    reverse: bool = False,
) -> Forest:
    """Return the forest plot of estimates in groups, such as subgroups of patients.

    Parameters
    ----------
    heading : str
        What is shown.
    groups : sequence of (str, sequence of dict)
        Title and rows: ``label``, ``text``, ``estimate``, ``low`` and ``high``.
    mark : str
        Key of `STRATEGY_MARKS`.
    reference : float or None
        Value of the reference line.
    reverse : bool, default=False
        Whether small values are at the right.

    Returns
    -------
    Forest
    """
    every = [] if reference is None else [reference]
    for _, records in groups:
        for record in records:
            every += [record[key] for key in ("estimate", "low", "high")]
    axis = _axis_of(every, reverse=reverse)
    found = [
        (
            title,
            [axis.row(r["label"], r["text"], "level", mark, r) for r in records],
        )
        for title, records in groups
    ]
    line = None if reference is None else axis.place(reference)
    ticks = _ticks(axis, sign=reference == 0)
    return Forest(heading, found, ticks, line, reference, reverse=reverse)


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
