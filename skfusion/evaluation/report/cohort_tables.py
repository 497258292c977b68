"""Further tables of the page: absences, characteristics, net benefit and settings."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from skfusion._figures.texts import format_number, true_minus
from skfusion.evaluation.report.figures.subgroups import check_columns
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.report.tables import DASH, Cell, Table
from skfusion.evaluation.statistics.disclosure import WITHHELD
from skfusion.exceptions import DataWarning

__all__ = [
    "absence_table",
    "characteristics_table",
    "decision_table",
    "settings_table",
]


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
    caption += _hidden_words(cell.text for row in rows for cell in row[1:])
    return Table(caption, columns, rows)


def _count_cell(value: Any) -> Cell:
    """Return a cell of a count with its share, or of a text for a small count."""
    if isinstance(value, str):
        return Cell(value)
    n, total = value["n"], value["total"]
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
    ) + _hidden_words(str(cell) for name in shown.columns[1:] for cell in shown[name])
    return Table(caption, ["Variable", *(f"#{name}" for name in classes[1:])], rows), (
        notes
    )


def _hidden_words(cells: Iterable[str]) -> str:
    """Return what the cells without a number mean, if there are any."""
    cells = set(cells)
    words = ""
    limits = {int(n) for text in cells for n in re.findall(r"<(\d+)(?![\d%])", text)}
    for limit in sorted(limits):
        words += f' "<{limit}" is a count from 1 to {limit - 1}, which could identify '
        words += "a patient."
    if any(WITHHELD in text for text in cells):
        words += f' "{WITHHELD}" is a value from which a small count would follow.'
    return words


def _described_cell(value: Any) -> Cell:
    if isinstance(value, float):
        return Cell(DASH if np.isnan(value) else format_number(value))
    return Cell(true_minus(str(value)))


def decision_table(result: Comparison, thresholds: Any = None) -> Table:
    """Return the net benefit of the fusions at some thresholds."""
    labels = result.strategies_["label"]
    rows = []
    for row in result.net_benefit(thresholds).to_dict("records"):
        limits = [format_number(row[end], 3) for end in ("low", "high")]
        rows.append(
            [
                Cell(str(labels[row["strategy"]]), mark="fusion"),
                Cell(f"{row['threshold']:.2f}"),
                Cell(format_number(row["net_benefit"], 3)),
                Cell(format_number(row["net_benefit_reference"], 3)),
                Cell(format_number(row["treat_all"], 3)),
                Cell(format_number(row["difference"], 3), " to ".join(limits)),
            ]
        )
    caption = (
        "Net benefit of the held-out probabilities. The difference is from the best "
        "single modality, with a pointwise 95% confidence interval from a bootstrap of "
        "patients. Treating none has a net benefit of 0."
    )
    columns = ["Fusion", "#Threshold", "#Net benefit", "#Best single modality"]
    return Table(caption, [*columns, "#Treat all", "#Difference"], rows)
