"""Sections of the page for results that the user passes to it."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from skfusion._dependencies import require
from skfusion.evaluation.report.figures.forest import Forest
from skfusion.evaluation.report.figures.page_figures import Figure, figure_of
from skfusion.evaluation.report.figures.series_panels import (
    learning_plot,
    missing_plots,
    reasons_in,
)
from skfusion.evaluation.report.figures.subgroups import (
    SIDES,
    by_group_frame,
    subgroup_forests,
)
from skfusion.evaluation.report.given_tables import (
    estimate_cell,
    frame_table,
    subgroup_table,
)
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.report.tables import Cell, Table
from skfusion.evaluation.statistics.disclosure import count_text

__all__ = [
    "Part",
    "audit_part",
    "importance_part",
    "learning_part",
    "missing_part",
    "subgroup_part",
]


OWNER = "FusionComparison.to_html"


@dataclass(frozen=True)
class Part:
    """Section of the page.

    Attributes
    ----------
    anchor, heading : str
        Name in links, and heading.
    texts : list of str
        Paragraphs.
    tables : list of Table
        Tables.
    forests : list of Forest
        Forest plots, between the two `sides`.
    sides : (str, str)
        What the left and the right side of their reference line mean.
    figures : list of Figure
        Panels of curves.
    picture : str
        Picture as SVG in base64.
    """

    anchor: str
    heading: str
    texts: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    forests: list[Forest] = field(default_factory=list)
    sides: tuple[str, str] = ("", "")
    figures: list[Figure] = field(default_factory=list)
    picture: str = ""


def importance_part(importance: Any) -> Part:
    """Return the section of the importance of the modalities.

    Parameters
    ----------
    importance : object
        Object with ``to_frame()`` and ``plot()``, such as a report of
        `ModalityImportance`. Sentences and pitfalls are shown if it has them.

    Returns
    -------
    Part

    Raises
    ------
    TypeError
        If it has no ``to_frame`` or ``plot``.
    ValueError
        If the frame has too many rows for a summary.
    """
    frame = _frame_of(importance, "importance")
    if not callable(getattr(importance, "plot", None)):
        raise TypeError(
            f"{OWNER}: importance must have the methods to_frame and plot, got "
            f"{type(importance).__name__} without plot. Pass the result of "
            "ModalityImportance.report or ModalityImportance.score."
        )
    sentences = getattr(importance, "sentences", None) or {}
    texts = list(sentences.values() if isinstance(sentences, dict) else sentences)
    pitfalls = [f"Pitfall: {text}" for text in getattr(importance, "pitfalls", [])]
    return Part(
        "importance",
        "What the predictions depend on",
        [str(text) for text in [*texts, *pitfalls]],
        _tables_of(frame, "importance"),
        picture=_picture(importance.plot()),
    )


def missing_part(result: Comparison, missing: Any) -> Part:
    """Return the section of the scores without a modality.

    Parameters
    ----------
    result : Comparison
        Comparison.
    missing : DataFrame or sequence of DataFrame
        Results of `FusionComparison.missing_curve`.

    Returns
    -------
    Part
    """
    plots = missing_plots(result, missing)
    frames = [missing] if isinstance(missing, pd.DataFrame) else list(missing)
    frame = pd.concat(frames, ignore_index=True)
    tables = [
        _wide_table(result, part, "rate", f"{_label(result, part)} without {modality}")
        for modality, part in frame.groupby("modality", sort=False)
    ]
    return Part(
        "missing",
        "If a modality is missing",
        reasons_in(result, frame),
        tables,
        figures=[figure_of(plot) for plot in plots],
    )


def learning_part(result: Comparison, learning: pd.DataFrame) -> Part:
    """Return the section of the scores by the number of training patients.

    Parameters
    ----------
    result : Comparison
        Comparison.
    learning : DataFrame
        Result of `FusionComparison.learning_curve`.

    Returns
    -------
    Part
    """
    plot = learning_plot(result, learning)
    words = f"{_label(result, learning)} with fewer {result.settings_['unit']}"
    return Part(
        "learning",
        f"With fewer {result.settings_['unit']}",
        reasons_in(result, learning),
        [_wide_table(result, learning, "n_train", words)],
        figures=[figure_of(plot)],
    )


def _label(result: Comparison, frame: pd.DataFrame) -> str:
    known = {metric.name: metric.label for metric in result.metrics_}
    name = str(frame["metric"].iloc[0])
    label = known.get(name, name)
    return label[:1].upper() + label[1:]


def _wide_table(result: Comparison, frame: pd.DataFrame, x: str, words: str) -> Table:
    """Return a table of scores with a row per strategy and a column per place."""
    labels, roles = result.strategies_["label"], result.strategies_["role"]
    places = sorted(frame[x].unique())
    rows = []
    for name, own in frame.groupby("strategy", sort=False):
        cells = [Cell(str(labels[name]), mark=str(roles[name]))]
        records = {row[x]: row for row in own.to_dict("records")}
        cells += [estimate_cell(records.get(place, {}), "estimate") for place in places]
        rows.append(cells)
    names = [
        f"{place:.0%}" if x == "rate" else count_text(round(place)) for place in places
    ]
    what = (
        "the share of the rows that lose it"
        if x == "rate"
        else f"the number of {result.settings_['unit']} to train on"
    )
    caption = f"{words}, by {what}, with 95% confidence intervals by patient."
    return Table(caption, ["Strategy", *(f"#{name}" for name in names)], rows)


def subgroup_part(result: Comparison, subgroups: Any) -> Part:
    """Return the section of the subgroups.

    Parameters
    ----------
    result : Comparison
        Comparison.
    subgroups : DataFrame, column label, list of column labels or dict of arrays
        Result of `FusionComparison.by_group`, or its parameter ``columns``.

    Returns
    -------
    Part
    """
    frame = by_group_frame(result, subgroups)
    forests = subgroup_forests(result, frame)
    has_line = any(forest.reference is not None for forest in forests)
    return Part(
        "subgroups",
        "Subgroups",
        tables=[subgroup_table(result, frame)],
        forests=forests,
        sides=SIDES if has_line else ("", ""),
    )


def audit_part(audit: Any) -> Part:
    """Return the section of the audit of the cohort.

    Parameters
    ----------
    audit : object
        Object with ``to_frame()``, a row per finding, such as the result of
        `audit_cohort`.

    Returns
    -------
    Part

    Raises
    ------
    TypeError
        If it has no ``to_frame``.
    """
    frame = _frame_of(audit, "audit")
    texts = [] if len(frame) else ["The audit found nothing to report."]
    caption = "Findings of the audit of the cohort, before the comparison."
    tables = [frame_table(frame, caption, owner="audit")] if len(frame) else []
    return Part("audit", "Audit of the cohort", texts, tables)


def _frame_of(given: Any, name: str) -> pd.DataFrame:
    if not callable(getattr(given, "to_frame", None)):
        raise TypeError(
            f"{OWNER}: {name} must have a method to_frame, got {type(given).__name__}."
        )
    return pd.DataFrame(given.to_frame())


def _tables_of(frame: pd.DataFrame, owner: str) -> list[Table]:
    """Return one table for each measure of a frame with two levels of columns."""
    if frame.columns.nlevels == 1:
        return [frame_table(frame, "Importance of the modalities.", owner=owner)]
    tables = []
    for measure in frame.columns.unique(0):
        part = pd.DataFrame(frame.xs(measure, axis=1))
        caption = f"{str(measure).replace('_', ' ').capitalize()}."
        tables.append(frame_table(part, caption, owner=owner))
    return tables


def _picture(drawn: Any) -> str:
    """Return a figure of matplotlib as SVG in base64."""
    pyplot = require("matplotlib.pyplot", "report")
    figure = drawn
    for name in ("figure_", "figure"):
        figure = figure if hasattr(figure, "savefig") else getattr(figure, name, None)
    if not hasattr(figure, "savefig"):
        raise TypeError(
            f"{OWNER}: plot() of importance must return a figure of matplotlib or a "
            f"display with figure_, got {type(drawn).__name__}."
        )
    from matplotlib import rc_context

    file = io.BytesIO()
    # Names stay text, and equal figures are equal files.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "skfusion"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return base64.b64encode(file.getvalue()).decode("ascii")
