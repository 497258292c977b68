"""Further tables of the page: absences, net benefit, settings, and frames of users."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd

from skfusion._figures.texts import format_number
from skfusion.evaluation.report.marks import references_of, shown_fusions
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.report.subgroups import check_columns
from skfusion.evaluation.report.tables import DASH, Cell, Table
from skfusion.evaluation.statistics.disclosure import count_text
from skfusion.exceptions import DataWarning

__all__ = [
    "absence_table",
    "characteristics_table",
    "decision_table",
    "frame_table",
    "operating_table",
    "settings_table",
]


MOST_ROWS = 200
# Columns that count patients, rows or cases.
COUNT = re.compile(r"n|n_.*|count|events|others|rows|patients|missing")


def absence_table(result: Comparison) -> Table | None:
    """Return who lacks each modality, by outcome, None if nobody does."""
    absences = result.cohort_.get("absences", [])
    if not absences:
        return None
    classes = result.cohort_.get("classes") or []
    positive = classes[1]["label"] if result.cohort_["task"] == "binary" else None
    columns = ["Absent", "#Rows"]
    if positive is not None:
        columns += [f"#Of class {positive}", "#Of the others"]
    rows = []
    for record in absences:
        cells = [Cell(record["name"]), _count_cell(record["n_absent"])]
        if positive is not None:
            cells += [_count_cell(record[part]) for part in ("events", "others")]
        rows.append(cells)
    caption = (
        "Rows without a modality. The last line counts the rows that an analysis of "
        "complete cases would leave out."
    )
    if positive is not None:
        caption += " Per cents are of all rows of the class."
    return Table(caption, columns, rows)


def _count_cell(value: Any) -> Cell:
    """Return a cell of a count with its share, or of a text for a small count."""
    if isinstance(value, str):
        return Cell(value)
    n, total = value
    return Cell(f"{n:,}", f"{n / total:.1%}" if total else "")


def settings_table(result: Comparison) -> Table:
    """Return the design, the claims, the seed and the time of a comparison."""
    settings = result.settings_
    primary = result.metrics_[0]
    declared = settings["primary"]
    label = "none" if declared is None else result.strategies_.loc[declared, "label"]
    texts = [
        ("Design", settings["folds"]),
        ("Seed", str(settings["seed"])),
        ("Primary score", primary.label),
        ("Other scores", ", ".join(m.label for m in result.metrics_[1:]) or "none"),
        ("Primary fusion", str(label)),
    ]
    for name, words in (
        ("smallest_gain", "Smallest gain that matters"),
        ("margin", "Margin of equivalence"),
    ):
        value = settings[name]
        texts.append((words, "none" if value is None else primary.text(value)))
    texts.append(("Quick comparison", "yes" if settings["quick"] else "no"))
    texts.append(("Time of all fits", _duration(_seconds(result))))
    rows = [[Cell(name), Cell(text)] for name, text in texts]
    return Table(
        "Settings of the comparison, and the time of its fits.",
        ["Setting", "Value"],
        rows,
    )


def _seconds(result: Comparison) -> float:
    """Return the time of all fits, in which members are fitted with their fusion."""
    estimators = result.strategies_["estimator"].astype(str)
    fitted = estimators.index[~estimators.str.startswith("member of")]
    folds = result.folds_[result.folds_["metric"] == result.metrics_[0].name]
    return float(folds.loc[folds["strategy"].isin(fitted), "seconds"].sum())


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def characteristics_table(
    result: Comparison, given: pd.DataFrame | None
) -> tuple[Table | None, list[str]]:
    """Return the cohort by outcome, and notes about what is left out.

    Parameters
    ----------
    result : Comparison
        Comparison.
    given : DataFrame or None
        Result of `FusionComparison.table_one`. None computes it if the comparison has
        its cohort.

    Returns
    -------
    table : Table or None
        None without a cohort or without columns that can be described.
    notes : list of str
        Warnings of the table, and why there is none.
    """
    frame, notes = given, []
    if frame is None:
        if result.context_ is None:
            return None, ["The comparison was loaded without its cohort."]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            try:
                frame = result.table_one()
            except ValueError as error:
                return None, [str(error)]
        notes = [str(warning.message) for warning in caught]
    check_columns(frame, ("variable", "missing", "overall"), "table_one", "table_one")
    shown = frame.drop(columns=["level"], errors="ignore")
    names = [str(name) for name in shown.columns]
    rows = []
    for row in frame.to_dict("records"):
        level = str(row.get("level", ""))
        cells = [Cell(str(row["variable"]), level)]
        cells += [_described_cell(row[name]) for name in shown.columns[1:]]
        rows.append(cells)
    words = {"overall": "All", "smd": "Standardised difference", "missing": "Missing"}
    unit = "patient" if result.cohort_["n_patients"] is not None else "row"
    classes = [words.get(name, f"Class {name}") for name in names]
    caption = (
        f"The cohort by outcome, one {unit} each: numbers as mean (SD) or median "
        "[quartiles], categories as n (%). There are no p-values, because the patients "
        "are described and not tested."
    )
    return Table(caption, ["Variable", *(f"#{name}" for name in classes[1:])], rows), (
        notes
    )


def _described_cell(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell(DASH if np.isnan(value) else format_number(value))
    return Cell(str(value).replace(" -", " \N{MINUS SIGN}"))


def decision_table(result: Comparison) -> Table:
    """Return the net benefit of the fusions at the default thresholds."""
    labels = result.strategies_["label"]
    rows = []
    for row in result.net_benefit().to_dict("records"):
        limits = f"{_number(row['low'])} to {_number(row['high'])}"
        rows.append(
            [
                Cell(str(labels[row["strategy"]]), mark="fusion"),
                Cell(f"{row['threshold']:.2f}"),
                Cell(_number(row["net_benefit"])),
                Cell(_number(row["net_benefit_reference"])),
                Cell(_number(row["treat_all"])),
                Cell(_number(row["difference"]), limits),
            ]
        )
    caption = (
        "Net benefit of the held-out probabilities. The difference is from the best "
        "single modality, with a pointwise 95% confidence interval from a bootstrap of "
        "patients. Treating none has a net benefit of 0."
    )
    columns = ["Fusion", "#Threshold", "#Net benefit", "#Best single modality"]
    return Table(caption, [*columns, "#Treat all", "#Difference"], rows)


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
            value, low, high = (float(row[f"{part}{e}"]) for e in ("", "_low", "_high"))
            limits = f"{_number(low)} to {_number(high)}" if np.isfinite(low) else ""
            cells.append(Cell(_number(value), limits))
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
    )
    columns = ["Strategy", "#Threshold", "#Sensitivity", "#Specificity"]
    columns += ["#Positive predictive value", "#Negative predictive value"]
    return Table(caption, columns, rows)


OPERATING = (
    *("strategy", "rule", "target", "threshold", "threshold_low", "threshold_high"),
    *("sensitivity", "specificity", "ppv", "npv"),
)


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
        name.startswith(end) or name == f"{names[place]}_{end}"
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
        known = [limit for limit in limits if pd.notna(limit)]
        small = " to ".join(_number(float(limit)) for limit in known)
        return Cell(_number(float(value)), small if len(known) == 2 else "")
    return Cell(str(value))


def _number(value: float) -> str:
    if np.isnan(value):
        return DASH
    text = f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    if float(value).is_integer() and abs(value) >= 10:
        text = f"{value:,.0f}"
    text = text.lstrip("-") if not any(c in text for c in "123456789") else text
    return text.replace("-", "\N{MINUS SIGN}")
