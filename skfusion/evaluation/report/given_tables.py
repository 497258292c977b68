"""Tables of results that the user passes to the page: frames and their summaries."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd

from skfusion._figures.texts import format_number
from skfusion.evaluation.report.figures.marks import references_of, shown_fusions
from skfusion.evaluation.report.figures.subgroups import (
    SUBGROUP_COLUMNS,
    check_columns,
    metric_of,
)
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.report.tables import DASH, Cell, Table
from skfusion.evaluation.statistics.disclosure import count_text

__all__ = ["estimate_cell", "frame_table", "operating_table", "subgroup_table"]


MOST_ROWS = 200
# Columns that count patients, rows or cases.
COUNT = re.compile(
    r"(?:n|n_|count_)?(?:rows|event_rows|patients|cases|events|others|shared|present|absent|missing)|n"
)


def estimate_cell(row: dict[Hashable, Any], part: str, *, sign: bool = False) -> Cell:
    """Return a cell of an estimate with its limits, of a row of a frame."""
    ends = ("low", "high") if part == "estimate" else (f"{part}_low", f"{part}_high")
    value, low, high = (float(row.get(name, np.nan)) for name in (part, *ends))
    if np.isnan(value):
        return Cell(DASH)
    small = ""
    if np.isfinite([low, high]).all():
        small = " to ".join(format_number(v, 3, sign=sign) for v in (low, high))
    return Cell(format_number(value, 3, sign=sign), small)


def operating_table(result: Comparison, frame: pd.DataFrame) -> Table:
    """Return the rates at the operating point, of fusions and best single modalities.

    Parameters
    ----------
    result : Comparison
        Comparison.
    frame : DataFrame
        Result of `FusionComparison.operating_point`.

    Returns
    -------
    Table
    """
    check_columns(frame, OPERATING, "operating_point", "operating_point")
    labels, roles = result.strategies_["label"], result.strategies_["role"]
    main = {*shown_fusions(result), *references_of(result).values()}
    rows = []
    for row in frame.to_dict("records"):
        if row["strategy"] not in main:
            continue
        spread = f"{row['threshold_low']:.3f} to {row['threshold_high']:.3f}"
        cells = [Cell(str(labels[row["strategy"]]), mark=str(roles[row["strategy"]]))]
        cells.append(Cell(f"{row['threshold']:.3f}", spread))
        for part in ("sensitivity", "specificity", "ppv", "npv"):
            cells.append(estimate_cell(row, part))
        rows.append(cells)
    rule, target = str(frame["rule"].iloc[0]), float(frame["target"].iloc[0])
    asked = (
        f"a false negative that costs {target:g} times a false positive"
        if rule == "cost"
        else f"a {rule} of at least {target:g}"
    )
    caption = (
        f"Operating point for {asked}. The threshold of each test fold was chosen on "
        "the other folds, so the target is not met exactly. Given are its median and "
        "range over the folds, and rates with 95% confidence intervals by patient. "
        "Predictive values are those at the prevalence of the cohort."
        f"{_unit_of(frame)}"
    )
    columns = ["Strategy", "#Threshold", "#Sensitivity", "#Specificity"]
    columns += ["#Positive predictive value", "#Negative predictive value"]
    return Table(caption, columns, rows)


def _unit_of(frame: pd.DataFrame) -> str:
    """Return what the rates are of, if patients have several rows."""
    if "unit" not in frame or str(frame["unit"].iloc[0]) != "row":
        return ""
    first = frame.iloc[0]
    counts = [
        count_text(int(first[name]))
        for name in ("n_rows", "n_patients", "n_event_rows", "n_events")
    ]
    return (
        " The rates are of rows, not of patients: {} rows of {} patients, of which {} "
        "rows of {} patients have the event.".format(*counts)
    )


OPERATING = (
    *("strategy", "rule", "target", "threshold", "threshold_low", "threshold_high"),
    *("sensitivity", "specificity", "ppv", "npv"),
)


def subgroup_table(result: Comparison, frame: pd.DataFrame) -> Table:
    """Return the scores in subgroups, the differences and their interactions."""
    check_columns(frame, SUBGROUP_COLUMNS, "subgroups", "by_group")
    labels, roles = result.strategies_["label"], result.strategies_["role"]
    rows = []
    for row in frame.to_dict("records"):
        name = row["strategy"]
        cells = [Cell(str(row["variable"])), Cell(str(row["level"]))]
        cells += [Cell(str(labels[name]), mark=str(roles[name]))]
        cells += [Cell(str(row["n_patients"])), Cell(str(row.get("n_events", DASH)))]
        for part in ("estimate", "difference", "interaction"):
            cells.append(estimate_cell(row, part, sign=part != "estimate"))
        rows.append(cells)
    metric = metric_of(result, frame)
    label = str(frame["metric"].iloc[0]) if metric is None else metric.heading
    caption = (
        "Subgroups are descriptive, without p-values and without adjusted intervals. "
        "The interaction is the difference in this level minus that in all others. A "
        "difference in one level only is no evidence that the levels differ."
    )
    if "n_shared" in frame and (frame["n_shared"].astype(str) != "0").any():
        caption += (
            " A patient with rows in several levels counts as a patient of each, so "
            "the patients of the levels do not add up to those of the cohort."
        )
    columns = ["Variable", "Level", "Strategy", "#Patients", "#With event", f"#{label}"]
    return Table(caption, [*columns, "#Difference", "#Interaction"], rows)


def frame_table(frame: pd.DataFrame, caption: str, *, owner: str) -> Table:
    """Return a frame of numbers and texts as a table of the page.

    Parameters
    ----------
    frame : DataFrame
        Summary with one row per modality, group or finding. A column that is followed
        by ``low...`` and ``high...`` is written with these limits.
    caption : str
        What the table shows.
    owner : str
        Parameter that gave the frame, for messages.

    Returns
    -------
    Table
        Counts from 1 to 9 are written as ``"<10"``.

    Raises
    ------
    ValueError
        If the frame has more than 200 rows, which is no summary.
    """
    if len(frame) > MOST_ROWS:
        raise ValueError(
            f"FusionComparison.to_html: the frame of {owner}= has {len(frame)} rows, "
            f"expected a summary of at most {MOST_ROWS}. The page has no values of "
            "single patients."
        )
    named = any(name is not None for name in frame.index.names)
    is_plain = isinstance(frame.index, pd.RangeIndex) and not named
    table = frame if is_plain else frame.reset_index()
    names = [_heading(name) for name in table.columns]
    columns, cells, place = [], [], 0
    while place < len(names):
        values = table.iloc[:, place]
        is_number = pd.api.types.is_numeric_dtype(values) and values.dtype != bool
        is_limited = is_number and _has_limits(names, place)
        columns.append(("#" if is_number else "") + names[place].replace("_", " "))
        limits = [table.iloc[:, place + k] for k in (1, 2)] if is_limited else []
        cells.append(
            [
                _cell(names[place], value, [limit.iloc[row] for limit in limits])
                for row, value in enumerate(values)
            ]
        )
        place += 3 if is_limited else 1
    return Table(caption, columns, [list(row) for row in zip(*cells, strict=True)])


def _heading(name: Any) -> str:
    parts = name if isinstance(name, tuple) else (name,)
    return " ".join(str(part) for part in parts if str(part))


def _has_limits(names: list[str], place: int) -> bool:
    following = names[place + 1 : place + 3]
    return len(following) == 2 and all(
        name.startswith((end, f"{names[place]}_{end}"))
        for name, end in zip(following, ("low", "high"), strict=True)
    )


def _cell(name: str, value: Any, limits: list[Any]) -> Cell:
    if isinstance(value, (list, tuple)):
        return Cell(", ".join(map(str, value)))
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return Cell(DASH)
    if isinstance(value, (bool, np.bool_)):
        return Cell("yes" if value else "no")
    if isinstance(value, (int, float, np.number)):
        if COUNT.fullmatch(name) and float(value).is_integer():
            return Cell(count_text(int(value)))
        if isinstance(value, (int, np.integer)):
            return Cell(f"{value:,}".replace("-", "\N{MINUS SIGN}"))
        known = [limit for limit in limits if pd.notna(limit)]
        small = " to ".join(_number(float(limit)) for limit in known)
        return Cell(_number(float(value)), small if len(known) == 2 else "")
    return Cell(str(value))


def _number(value: float) -> str:
    if np.isnan(value):
        return DASH
    text = f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    text = text.lstrip("-") if not any(c in text for c in "123456789") else text
    return text.replace("-", "\N{MINUS SIGN}")
