"""Subgroups of a comparison as forest plots."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from skfusion._figures.texts import format_number
from skfusion.evaluation.report.figures.forest import Forest, forest_of
from skfusion.evaluation.report.figures.marks import strategy_marks
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.statistics.disclosure import WITHHELD

__all__ = [
    "SIDES",
    "SUBGROUP_COLUMNS",
    "by_group_frame",
    "check_columns",
    "metric_of",
    "subgroup_forests",
]


SUBGROUP_COLUMNS = (
    "variable",
    "level",
    "strategy",
    "n_patients",
    "estimate",
    "difference",
)
SIDES = ("single modality better", "fusion better")


def by_group_frame(result: Comparison, given: Any) -> pd.DataFrame:
    """Return the result of `FusionComparison.by_group`, which is computed if needed.

    Parameters
    ----------
    result : Comparison
        Comparison.
    given : DataFrame, column label, list of column labels or dict of arrays
        Result of `by_group`, or its parameter ``columns``.

    Returns
    -------
    DataFrame
    """
    is_result = isinstance(given, pd.DataFrame) and set(SUBGROUP_COLUMNS) <= set(given)
    return given if is_result else result.by_group(given)


def subgroup_forests(result: Comparison, frame: pd.DataFrame) -> list[Forest]:
    """Return a forest plot for each fusion, by variable and level.

    Parameters
    ----------
    result : Comparison
        Comparison.
    frame : DataFrame
        Result of `FusionComparison.by_group`.

    Returns
    -------
    list of Forest
        Differences of each fusion from the best single modality. Without such
        differences, the scores of the strategies.

    Raises
    ------
    ValueError
        If the frame lacks columns of `by_group`.
    """
    check_columns(frame, SUBGROUP_COLUMNS, "subgroups", "by_group")
    has_difference = frame["difference"].notna()
    part = "difference" if has_difference.any() else "estimate"
    names = list(dict.fromkeys(frame.loc[frame[part].notna(), "strategy"]))
    metric = metric_of(result, frame)
    lower = metric is not None and not metric.greater_is_better
    marks, labels = strategy_marks(result), result.strategies_["label"]
    forests = []
    for name in names:
        own = frame[frame["strategy"] == name]
        groups = [
            (str(variable), [_record(row, part) for row in rows.to_dict("records")])
            for variable, rows in own.groupby("variable", sort=False)
        ]
        heading = f"{labels[name]}: {_what(result, own, part)}"
        forests.append(
            forest_of(
                heading,
                groups,
                marks[str(name)],
                reference=0.0 if part == "difference" else None,
                reverse=lower and part == "difference",
            )
        )
    return forests


def _what(result: Comparison, own: pd.DataFrame, part: str) -> str:
    metric = metric_of(result, own)
    label = str(own["metric"].iloc[0]) if metric is None else metric.label
    if part == "estimate":
        return label
    known = own.loc[own["difference"].notna(), "reference"]
    reference = result.strategies_.loc[known.iloc[0], "label"]
    return f"difference in {label} from {reference}"


def metric_of(result: Comparison, frame: pd.DataFrame) -> Any:
    """Return the metric of a frame of scores, None if the comparison lacks it."""
    known = {metric.name: metric for metric in result.metrics_}
    return known.get(str(frame["metric"].iloc[0]))


def _record(row: dict[Hashable, Any], part: str) -> dict[str, Any]:
    """Return the label, the text and the values of a row of a forest plot."""
    ends = ("low", "high") if part == "estimate" else (f"{part}_low", f"{part}_high")
    estimate, low, high = (float(row[name]) for name in (part, *ends))
    sign = part == "difference"
    if np.isnan(estimate):
        text = str(row.get("reason", "")) or "no estimate"
    else:
        text = format_number(estimate, 3, sign=sign)
    if np.isfinite(low):
        limits = (format_number(value, 3, sign=sign) for value in (low, high))
        text += f" ({' to '.join(limits)})"
    return {
        "label": f"{row['level']} ({_counts(row)})",
        "text": text,
        **{"estimate": estimate, "low": low, "high": high},
    }


def _counts(row: dict[Hashable, Any]) -> str:
    """Return the numbers of patients and events, as far as they can be shown."""
    n_patients, n_events = row["n_patients"], row.get("n_events", "")
    patients = "" if n_patients == WITHHELD else f"{n_patients} patients"
    events = "" if n_events in (None, "", WITHHELD) else f"{n_events} with event"
    return ", ".join(filter(None, (patients, events))) or "numbers withheld"


def check_columns(frame: Any, columns: tuple[str, ...], name: str, method: str) -> None:
    """Check that a frame is the result of a method of a comparison.

    Parameters
    ----------
    frame : DataFrame
        Frame of the user.
    columns : tuple of str
        Columns that it needs.
    name, method : str
        Parameter, and method that returns such a frame.

    Raises
    ------
    TypeError
        If it is not a DataFrame.
    ValueError
        If a column is absent, or there is no row.
    """
    if not isinstance(frame, pd.DataFrame):
        raise TypeError(
            f"FusionComparison: {name} must be the DataFrame that {method} returns, "
            f"got {type(frame).__name__}."
        )
    absent = [column for column in columns if column not in frame]
    if absent or not len(frame):
        problem = f"lacks the columns {absent}" if absent else "has no rows"
        raise ValueError(
            f"FusionComparison: the frame of {name} {problem}. Pass the result of "
            f"FusionComparison.{method}."
        )
