"""Scores along a rate of missing modalities or a number of patients, as panels.

One panel shows one fusion beside its own single modalities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from skfusion.evaluation.report.figures.marks import shown_fusions, strategy_marks
from skfusion.evaluation.report.figures.panels import Curve, Panel, Plot
from skfusion.evaluation.report.figures.subgroups import check_columns
from skfusion.evaluation.report.protocol import Comparison

__all__ = ["learning_plot", "missing_plots", "reasons_in"]


SINGLES = ("single", "single2", "single3")
DODGE = 0.012  # of the width, between the markers of two strategies
COLUMNS = ("strategy", "metric", "estimate", "low", "high")


def missing_plots(
    result: Comparison, given: pd.DataFrame | Sequence[pd.DataFrame]
) -> list[Plot]:
    """Return the scores of the fusions as a modality is taken away.

    Parameters
    ----------
    result : Comparison
        Comparison.
    given : DataFrame or sequence of DataFrame
        Results of `FusionComparison.missing_curve`.

    Returns
    -------
    list of Plot
        One plot per modality.
    """
    frames = [given] if isinstance(given, pd.DataFrame) else list(given)
    plots = []
    for frame in frames:
        columns = ("modality", "mechanism", "rate", *COLUMNS)
        check_columns(frame, columns, "missing", "missing_curve")
        for (modality, mechanism), part in frame.groupby(
            ["modality", "mechanism"], sort=False
        ):
            label = f"share of the rows that lose {modality}"
            caption = (
                f"Scores on test sets in which {modality} was taken away from some of "
                f"the rows that have it ({str(mechanism).upper()}), of the models of "
                f"the first repetition. {INTERVALS}"
            )
            panels = _panels(result, part, "rate", label, (-0.05, 1.05))
            plots.append(Plot("missing", panels, caption))
    return plots


INTERVALS = (
    "Lines are 95% confidence intervals by patient. Markers at the same place are "
    "moved apart."
)


def learning_plot(result: Comparison, frame: pd.DataFrame) -> Plot:
    """Return the scores of the fusions by the number of training patients.

    Parameters
    ----------
    result : Comparison
        Comparison.
    frame : DataFrame
        Result of `FusionComparison.learning_curve`.

    Returns
    -------
    Plot
    """
    columns = ("fraction", "n_train", *COLUMNS)
    check_columns(frame, columns, "learning", "learning_curve")
    unit = result.settings_["unit"]
    caption = (
        f"Scores of models that were trained on fewer {unit}, on the same test sets. "
        f"{INTERVALS} The curve does not show what more {unit} than these would bring."
    )
    reach = (0.0, 1.06 * float(frame["n_train"].max()))
    panels = _panels(result, frame, "n_train", f"{unit} to train on", reach)
    return Plot("learning", panels, caption)


def reasons_in(result: Comparison, frame: pd.DataFrame) -> list[str]:
    """Return why strategies have no estimate, one sentence for each."""
    if "reason" not in frame:
        return []
    labels = result.strategies_["label"]
    without = frame[frame["estimate"].isna() & (frame["reason"].astype(str) != "")]
    pairs = dict.fromkeys(zip(without["strategy"], without["reason"], strict=True))
    return [
        f"{labels[name]} lacks estimates: {str(reason).rstrip('.')}."
        for name, reason in pairs
    ]


def _panels(
    result: Comparison,
    frame: pd.DataFrame,
    x: str,
    x_label: str,
    x_range: tuple[float, float],
) -> list[Panel]:
    marks, labels = strategy_marks(result), result.strategies_["label"]
    known = {metric.name: metric.label for metric in result.metrics_}
    name = str(frame["metric"].iloc[0])
    values = frame[["estimate", "low", "high"]].to_numpy(dtype=np.float64)
    found = values[np.isfinite(values)]
    low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.05
    there = set(frame["strategy"])
    panels = []
    fusions = [fusion for fusion in shown_fusions(result) if fusion in there]
    for fusion in fusions or sorted(there)[:1]:
        members = [other for other in _singles_of(result, fusion) if other in there]
        names = {
            other: SINGLES[k % len(SINGLES)] for k, other in enumerate(members)
        } | {fusion: marks[fusion]}
        curves = [
            _curve(frame, other, mark, str(labels[other]), x, x_range, place)
            for place, (other, mark) in enumerate(names.items())
        ]
        panels.append(
            Panel(
                *(str(labels[fusion]), marks[fusion], curves, []),
                *(x_label, known.get(name, name)),
                *(x_range, (float(low - pad), float(high + pad))),
            )
        )
    return panels


def _singles_of(result: Comparison, fusion: str) -> list[str]:
    """Return the single modalities in the learner of a fusion, or all without any."""
    table = result.strategies_
    singles = table[table["role"] == "single"]
    own = singles.index[singles["fusion"] == fusion]
    return [str(name) for name in (own if len(own) else singles.index)]


def _curve(
    frame: pd.DataFrame,
    name: str,
    mark: str,
    label: str,
    x: str,
    x_range: tuple[float, float],
    place: int,
) -> Curve:
    own = frame[(frame["strategy"] == name) & frame["estimate"].notna()]
    shift = DODGE * (x_range[1] - x_range[0]) * ((place + 1) // 2)
    shift = shift if place % 2 else -shift
    places, estimate, low, high = (
        own[column].to_numpy(np.float64) for column in (x, "estimate", "low", "high")
    )
    return Curve(label, mark, places + shift, estimate, low, high, form="points")
