"""Curves of a comparison as panels, which matplotlib and the page draw alike.

One panel shows one fusion beside the best single modality, so that bands do not cover
one another and the figure can be read in grey.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from skfusion._figures.texts import format_interval, format_number
from skfusion.evaluation.report.figures.marks import (
    references_of,
    shown_fusions,
    strategy_marks,
)
from skfusion.evaluation.report.protocol import Comparison
from skfusion.evaluation.statistics.disclosure import MIN_CELL, without_small_counts

__all__ = [
    "Curve",
    "Guide",
    "Histogram",
    "Panel",
    "Plot",
    "calibration_plot",
    "decision_plot",
    "precision_recall_plot",
    "roc_plot",
]


@dataclass(frozen=True)
class Curve:
    """Values of one strategy along the x-axis.

    Attributes
    ----------
    label : str
        Name of the strategy.
    mark : str
        Key of `STRATEGY_MARKS`.
    x, y : ndarray of shape (n,)
        Points.
    low, high : ndarray of shape (n,) or None
        Limits of the confidence intervals of `y`.
    form : {"line", "points"}
        A line with a band, or markers with intervals, joined by a thin line.
    """

    label: str
    mark: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    form: str = "line"


@dataclass(frozen=True)
class Guide:
    """Line of reference, such as the diagonal.

    Attributes
    ----------
    label : str
        What it means.
    x, y : array-like of shape (n,)
        Points.
    kind : {"dashed", "dotted", "solid"}
        Pattern of the line.
    """

    label: str
    x: Any
    y: Any
    kind: str = "dashed"


@dataclass(frozen=True)
class Histogram:
    """Distribution of probabilities, relative to the largest bin.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        Edges of the bins.
    events, others : ndarray of shape (n_bins,)
        Number of cases with and without the event.
    """

    edges: np.ndarray
    events: np.ndarray
    others: np.ndarray


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes
    ----------
    title : str
        Name of the strategy or modality.
    mark : str
        Key of `STRATEGY_MARKS` of the title, or empty.
    curves : list of Curve
        What is drawn.
    guides : list of Guide
        Lines of reference.
    x_label, y_label : str
        Titles of the axes.
    x_range, y_range : (float, float)
        Their limits.
    facts : list of str
        Numbers below the title.
    point : (float, float) or None
        Operating point.
    histogram : Histogram or None
        Distribution below the curve.
    reason : str
        Why there is no curve, empty if there is one.
    """

    title: str
    mark: str
    curves: list[Curve]
    guides: list[Guide]
    x_label: str
    y_label: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    facts: list[str] = field(default_factory=list)
    point: tuple[float, float] | None = None
    histogram: Histogram | None = None
    reason: str = ""


@dataclass(frozen=True)
class Plot:
    """Panels of one kind.

    Attributes
    ----------
    kind : str
        Name of the plot.
    panels : list of Panel
        Panels.
    caption : str
        What is shown.
    """

    kind: str
    panels: list[Panel]
    caption: str


def _label(result: Comparison, name: str) -> str:
    return str(result.strategies_.loc[name, "label"])


def _with_reference(
    result: Comparison, strategies: Sequence[str] | None
) -> list[tuple[str, list[str]]]:
    """Return each strategy to show, with the best single modality behind it."""
    references = references_of(result)
    names = shown_fusions(result) if strategies is None else list(strategies)
    unknown = [name for name in names if name not in result.strategies_.index]
    if unknown or not names:
        raise ValueError(
            f"FusionComparison.plot: {unknown or names} are not strategies of the "
            f"comparison, which are {list(result.strategies_.index)}."
        )
    return [
        (name, [references[name], name] if name in references else [name])
        for name in names
    ]


def _score_text(result: Comparison, name: str, metric: str) -> list[str]:
    """Return a score with its interval, as in the table of scores."""
    known = {m.name: m for m in result.metrics_}
    if metric not in known:
        return []
    table = result.scores_
    row = table[(table["strategy"] == name) & (table["metric"] == metric)].iloc[0]
    low, high = row["low"], row["high"]
    limits = () if np.isnan(low) else (low, high)
    label = known[metric].label
    text = format_interval(row["estimate"], *limits)
    return [f"{label[:1].upper()}{label[1:]} {text}"]


def _band_text(result: Comparison) -> str:
    """Return what the bands and the thin line are."""
    if result.settings_["design"] == "sites":
        band = "The curve is the mean over the sites, which has no band."
    else:
        band = (
            "Bands are pointwise 95% confidence intervals from a bootstrap of patients."
        )
    return f"{band} The thin line is the best single modality."


def _curve(
    result: Comparison,
    name: str,
    frame: pd.DataFrame,
    x: str,
    y: str,
    *,
    band: bool = True,
) -> Curve:
    # Held-out sites have no band.
    has_band = band and bool(frame["low"].notna().any())
    return Curve(
        _label(result, name),
        strategy_marks(result)[name],
        frame[x].to_numpy(dtype=np.float64),
        frame[y].to_numpy(dtype=np.float64),
        frame["low"].to_numpy(dtype=np.float64) if has_band else None,
        frame["high"].to_numpy(dtype=np.float64) if has_band else None,
    )


def roc_plot(
    result: Comparison,
    strategies: Sequence[str] | None = None,
    operating: pd.DataFrame | None = None,
) -> Plot:
    """Return the ROC curve of each fusion.

    Parameters
    ----------
    result : Comparison
        Comparison of an outcome of two classes.
    strategies : sequence of str or None, default=None
        Strategies to show. None shows the fusions.
    operating : DataFrame or None, default=None
        Result of `FusionComparison.operating_point`, to mark it.

    Returns
    -------
    Plot
    """
    marks = strategy_marks(result)
    # Several fusions have the same single modality, whose curve is computed once.
    frame_of = cache(result.roc_curve)
    panels = []
    for name, shown in _with_reference(result, strategies):
        curves = [
            _curve(
                result,
                other,
                frame_of(other),
                "false_positive_rate",
                "sensitivity",
                band=other == name,
            )
            for other in shown
        ]
        panels.append(
            Panel(
                _label(result, name),
                marks[name],
                curves,
                [Guide("chance", (0, 1), (0, 1))],
                "1 \N{MINUS SIGN} specificity",
                "sensitivity",
                facts=_score_text(result, name, "roc_auc"),
                point=_operating_point(operating, name),
            )
        )
    caption = (
        f"Receiver operating characteristic of the held-out cases. {_band_text(result)}"
    )
    if operating is not None:
        caption += " The cross is the operating point, which was chosen on other folds."
    return Plot("roc", panels, caption)


def _operating_point(
    operating: pd.DataFrame | None, name: str
) -> tuple[float, float] | None:
    if operating is None or name not in set(operating["strategy"]):
        return None
    row = operating[operating["strategy"] == name].to_dict("records")[0]
    point = 1.0 - float(row["specificity"]), float(row["sensitivity"])
    return point if np.isfinite(point).all() else None


def precision_recall_plot(
    result: Comparison, strategies: Sequence[str] | None = None
) -> Plot:
    """Return the precision-recall curve of each fusion, with the prevalence.

    Parameters
    ----------
    result : Comparison
        Comparison of an outcome of two classes.
    strategies : sequence of str or None, default=None
        Strategies to show. None shows the fusions.

    Returns
    -------
    Plot
    """
    marks = strategy_marks(result)
    cohort = result.cohort_
    prevalence = cohort["classes"][1]["n"] / cohort["n_rows"]
    is_small = min(each["n"] for each in cohort["classes"]) < MIN_CELL
    # Several fusions have the same single modality, whose curve is computed once.
    frame_of = cache(result.precision_recall_curve)
    panels = []
    for name, shown in _with_reference(result, strategies):
        curves = [
            _curve(
                result,
                other,
                frame_of(other),
                "recall",
                "precision",
                band=other == name,
            )
            for other in shown
        ]
        # A share would reveal a small count.
        guide = "prevalence" if is_small else f"prevalence {format_number(prevalence)}"
        panels.append(
            Panel(
                _label(result, name),
                marks[name],
                curves,
                [Guide(guide, (0, 1), (prevalence, prevalence))],
                "recall (sensitivity)",
                "precision (positive predictive value)",
                facts=_score_text(result, name, "average_precision"),
            )
        )
    caption = f"Precision and recall of the held-out cases. {_band_text(result)}"
    return Plot("pr", panels, caption)


def calibration_plot(
    result: Comparison, strategies: Sequence[str] | None = None
) -> Plot:
    """Return the calibration curve and the distribution of each fusion.

    Parameters
    ----------
    result : Comparison
        Comparison of an outcome of two classes.
    strategies : sequence of str or None, default=None
        Strategies to show. None shows the fusions.

    Returns
    -------
    Plot
    """
    marks = strategy_marks(result)
    table = result.calibration().set_index("strategy")
    panels = []
    for name, _ in _with_reference(result, strategies):
        found = result.calibration_curve(name)
        curve = Curve(
            _label(result, name),
            marks[name],
            found.predicted,
            found.observed,
            found.low,
            found.high,
            form="points",
        )
        panels.append(
            Panel(
                _label(result, name),
                marks[name],
                [curve] if len(found.predicted) else [],
                [Guide("perfect calibration", (0, 1), (0, 1))],
                "predicted probability",
                "observed proportion",
                facts=_calibration_texts(table.loc[name].to_dict()),
                histogram=_histogram(result.risk_distribution(name)),
                reason=without_small_counts(found.reason),
            )
        )
    is_test = result.settings_["design"] == "test"
    cases = "test set" if is_test else "first repetition"
    caption = (
        f"Bars show how the probabilities of the {cases} are distributed, upwards with "
        "and downwards without the event. Open bars have fewer than 10 cases."
    )
    if any(panel.curves for panel in panels):
        caption = (
            f"Observed proportions of tenths of the cases of the {cases}, with "
            "pointwise 95% confidence intervals from a bootstrap of patients. "
        ) + caption
    return Plot("calibration", panels, caption)


def _calibration_texts(row: dict[Hashable, Any]) -> list[str]:
    """Return the calibration intercept and slope with their intervals."""
    facts = []
    for part in ("intercept", "slope"):
        value, low, high = (float(row[f"{part}{end}"]) for end in ENDS)
        if np.isfinite(value):
            limits = (low, high) if np.isfinite(low) else ()
            facts.append(f"{part} {format_interval(value, *limits)}")
    return facts


ENDS = ("", "_low", "_high")


def _histogram(frame: pd.DataFrame) -> Histogram:
    edges = np.append(frame["low"].to_numpy(), frame["high"].iloc[-1])
    counts = [frame[name].to_numpy(dtype=np.float64) for name in ("events", "others")]
    return Histogram(edges, *counts)


def decision_plot(
    result: Comparison,
    strategies: Sequence[str] | None = None,
    thresholds: Any = None,
    prevalence: float | None = None,
) -> Plot:
    """Return the decision curve of each fusion against treating all and none.

    Parameters
    ----------
    result : Comparison
        Comparison of an outcome of two classes with a fusion and a single modality.
    strategies : sequence of str or None, default=None
        Fusions to show. None shows all.
    thresholds, prevalence
        As in `FusionComparison.net_benefit`. Without thresholds, a fine grid of those
        from 0.01 to 0.5 is drawn.

    Returns
    -------
    Plot
    """
    marks = strategy_marks(result)
    given = GRID if thresholds is None else thresholds
    table = result.net_benefit(given, prevalence=prevalence)
    panels = []
    highest = float(table[["net_benefit", "treat_all"]].to_numpy().max())
    lowest = float(table[["net_benefit", "net_benefit_reference"]].to_numpy().min())
    for name, part in table.groupby("strategy", sort=False):
        if strategies is not None and name not in strategies:
            continue
        reference = str(part["reference"].iloc[0])
        cuts = part["threshold"].to_numpy()
        curves = [
            Curve(_label(result, other), marks[other], cuts, part[column].to_numpy())
            for other, column in (
                (reference, "net_benefit_reference"),
                (str(name), "net_benefit"),
            )
        ]
        guides = [
            Guide("treat all", cuts, part["treat_all"].to_numpy(), "dotted"),
            Guide("treat none", (cuts[0], cuts[-1]), (0.0, 0.0), "solid"),
        ]
        panels.append(
            Panel(
                _label(result, str(name)),
                marks[str(name)],
                curves,
                guides,
                "threshold probability",
                "net benefit",
                (float(cuts.min()), float(cuts.max())),
                (min(lowest, -0.05 * highest), 1.05 * highest),
            )
        )
    caption = (
        "Decision curves of the held-out probabilities. The thin line is the best "
        "single modality. A strategy is useful at a threshold where it is above the "
        "other lines."
    )
    if thresholds is None:
        caption += " The range of thresholds was not declared before."
    return Plot("decision", panels, caption)


GRID = tuple(round(0.01 * k, 2) for k in range(1, 51))
