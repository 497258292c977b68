"""Self-contained HTML report of a comparison, rendered from a template.

The page needs no network and contains no patient values.
"""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

import skfusion
from skfusion._dependencies import require
from skfusion.evaluation.metrics import Metric, format_p
from skfusion.evaluation.report.figure import _Comparison, difference_svg, score_svg

__all__ = ["render"]


TEMPLATE = Path(__file__).with_name("report.html")
PACKAGES = (
    *("numpy", "scipy", "pandas", "scikit-learn", "xgboost", "xgboost-cpu"),
    *("torch", "torchvision", "skorch"),
)
MOST_COLUMNS = 12


def render(result: _Comparison, *, title: str | None = None) -> str:
    """Render a comparison as an HTML page.

    Parameters
    ----------
    result : _Comparison
        Comparison to report.
    title : str or None, default=None
        Heading of the page.

    Returns
    -------
    str
        Complete HTML page with embedded styles and figures.

    Raises
    ------
    ImportError
        If jinja2 or matplotlib is not installed.
    """
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text: str = template.render(
        title=title or "Does fusion help?",
        written=date.today().isoformat(),
        verdict=result.verdict_,
        facts=_facts(result),
        modalities=_modalities(result),
        metrics=[_panel(result, metric) for metric in result.metrics_],
        strategies=_score_table(result),
        differences=_difference_table(result),
        folds=_fold_table(result),
        settings=result.settings_,
        notes=result.notes_,
        n_patients=result.cohort_["n_patients"],
        estimators=result.strategies_.to_dict("records"),
        versions=_versions(),
    )
    return text


def _facts(result: _Comparison) -> list[tuple[str, str]]:
    """Return the description of the cohort as pairs (value, caption)."""
    cohort = result.cohort_
    facts = [(f"{cohort['n_rows']:,}", "rows")]
    if cohort["n_patients"] is not None:
        facts.append((f"{cohort['n_patients']:,}", "patients"))
    if cohort["task"] == "regression":
        facts.append((f"{cohort['mean']:.3g}", f"mean target (SD {cohort['sd']:.3g})"))
    elif cohort["task"] == "binary":
        positive = cohort["classes"][1]
        share = positive["n"] / cohort["n_rows"]
        caption = f"positive ({positive['n']:,} rows of class {positive['label']})"
        facts.append((f"{share:.1%}", caption))
    else:
        counts = sorted((c["n"] for c in cohort["classes"]), reverse=True)
        spread = f"classes, of {counts[0]:,} down to {counts[-1]:,} rows"
        facts.append((str(len(counts)), spread))
    facts.append((str(result.settings_["n_folds"]), "folds, same for all strategies"))
    return facts


def _modalities(result: _Comparison) -> list[dict[str, Any]]:
    n_rows = result.cohort_["n_rows"]
    rows = []
    for modality in result.cohort_["modalities"]:
        columns = modality["columns"]
        more = len(columns) - MOST_COLUMNS
        shown = ", ".join(columns[:MOST_COLUMNS])
        rows.append(
            {
                **modality,
                "shown": shown + (f" and {more} more" if more > 0 else ""),
                "share": f"{modality['n_present'] / n_rows:.1%}",
                "present": f"{modality['n_present']:,}",
            }
        )
    return rows


def _panel(result: _Comparison, metric: Metric) -> dict[str, Any]:
    tested = (result.differences_["metric"] == metric.name).any()
    return {
        "name": metric.name,
        "heading": metric.heading,
        "direction": "higher is better"
        if metric.greater_is_better
        else "lower is better",
        # The template does not escape the SVG, because matplotlib has escaped its text.
        "scores": score_svg(result, metric),
        "differences": difference_svg(result, metric) if tested else "",
    }


def _score_table(result: _Comparison) -> list[dict[str, Any]]:
    table = result.to_frame()
    best = {
        metric.name: (
            table[metric.name]["estimate"].max()
            if metric.greater_is_better
            else table[metric.name]["estimate"].min()
        )
        for metric in result.metrics_
    }
    rows = []
    for name, strategy in result.strategies_.iterrows():
        cells = []
        for metric in result.metrics_:
            values = table[metric.name].loc[str(name)]
            cells.append(
                {
                    "estimate": metric.text(values["estimate"]),
                    "interval": f"{metric.text(values['low'])} to "
                    f"{metric.text(values['high'])}",
                    "best": values["estimate"] == best[metric.name],
                }
            )
        rows.append({**strategy, "cells": cells, "seconds": _seconds(result, name)})
    return rows


def _seconds(result: _Comparison, strategy: Any) -> str:
    folds = result.folds_
    first = folds[
        (folds["strategy"] == strategy) & (folds["metric"] == result.metrics_[0].name)
    ]
    mean = first["seconds"].mean()
    return f"{mean:.1f}" if mean >= 1 else f"{mean:.2f}"


def _difference_table(result: _Comparison) -> list[dict[str, Any]]:
    labels = dict(result.strategies_["label"])
    known = {metric.name: metric for metric in result.metrics_}
    rows = []
    for row in result.differences_.to_dict("records"):
        metric = known[row["metric"]]
        sure = row["p_holm"] < 0.05
        better = metric.favours(row["estimate"])
        rows.append(
            {
                "metric": metric.heading,
                "strategy": labels[row["strategy"]],
                "reference": labels[row["reference"]],
                "estimate": _signed(metric, row["estimate"]),
                "interval": f"{_signed(metric, row['low'])} to "
                f"{_signed(metric, row['high'])}",
                "p": format_p(row["p"]).removeprefix("p ").removeprefix("= "),
                "p_holm": format_p(row["p_holm"]).removeprefix("p ").removeprefix("= "),
                "reading": ("better" if better else "worse")
                if sure
                else "not significant",
            }
        )
    return rows


def _signed(metric: Metric, value: float) -> str:
    return metric.text(value, signed=True).replace("-", "\N{MINUS SIGN}")


def _fold_table(result: _Comparison) -> list[dict[str, Any]]:
    """Return the sizes and the scores of the primary metric for each fold."""
    primary = result.metrics_[0]
    folds = result.folds_[result.folds_["metric"] == primary.name]
    wide = folds.pivot(index="fold", columns="strategy", values="score")
    sizes = folds.drop_duplicates("fold").set_index("fold")
    rows = []
    for fold in wide.index:
        scores = wide.loc[fold, list(result.strategies_.index)]
        rows.append(
            {
                "number": int(fold) + 1,
                "n_train": f"{_count(sizes, fold, 'n_train'):,}",
                "n_test": f"{_count(sizes, fold, 'n_test'):,}",
                "scores": [primary.text(value) for value in scores],
            }
        )
    return rows


def _count(sizes: pd.DataFrame, fold: Any, column: str) -> int:
    return int(sizes.loc[[fold], column].iloc[0])


def _versions() -> list[tuple[str, str]]:
    found = [("skfusion", skfusion.__version__), ("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:  # optional package
            continue
    return found
