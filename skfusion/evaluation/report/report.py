"""Self-contained HTML report of a comparison, rendered from a template.

The page needs no network and contains no patient values.
"""

from __future__ import annotations

import platform
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import skfusion
from skfusion._dependencies import require
from skfusion.evaluation.report import tables
from skfusion.evaluation.report.counts import (
    as_text,
    disclosed,
    shown_cohort,
    shown_settings,
)
from skfusion.evaluation.report.forest import (
    calibration_panel,
    difference_forest,
    score_forest,
)
from skfusion.evaluation.report.methods import about, declares_baselines, methods
from skfusion.evaluation.report.protocol import Comparison

__all__ = ["render"]


TEMPLATE = Path(__file__).with_name("report.html")
PACKAGES = (
    *("numpy", "scipy", "pandas", "scikit-learn", "xgboost", "xgboost-cpu"),
    *("torch", "torchvision", "skorch"),
)
WARNING = "Warning: "


def render(result: Comparison, *, title: str | None = None) -> str:
    """Render a comparison as an HTML page.

    Parameters
    ----------
    result : Comparison
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
        If jinja2 is not installed.
    """
    result = disclosed(result)
    jinja2 = require("jinja2", "report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    primary, *others = result.metrics_
    differences = [difference_forest(result, metric) for metric in result.metrics_]
    text: str = template.render(
        title=title or "Does fusion help?",
        written=date.today().isoformat(),
        design=_DESIGNS[result.settings_["design"]],
        verdict=result.verdict_,
        **_notes(result),
        facts=_facts(result),
        modalities=tables.modality_table(result),
        scores=tables.score_table(result, ("single", "fusion")),
        scores_without=tables.score_table(result, ("without",)),
        score_forest=score_forest(result, primary),
        other_scores=[score_forest(result, metric) for metric in others],
        difference_forest=differences[0],
        other_differences=[forest for forest in differences[1:] if forest],
        claims=tables.claim_table(result),
        differences=tables.difference_table(result),
        removals=tables.removal_table(result),
        sites=tables.site_table(result),
        calibration=tables.calibration_table(result, main=True),
        calibration_of_others=tables.calibration_table(result, main=False),
        **_curves(result),
        about=about(result),
        methods=methods(result),
        folds=tables.fold_table(result),
        chosen=tables.chosen_table(result),
        repetitions=tables.repetition_table(result),
        estimators=tables.estimator_table(result),
        versions=_versions(),
        baselines_are_declared=declares_baselines(result),
        is_sites=result.settings_["design"] == "sites",
    )
    return text.lstrip()


_DESIGNS = {
    "folds": "identical folds",
    "test": "one test set",
    "sites": "held-out sites",
}


def _notes(result: Comparison) -> dict[str, Any]:
    """Return the caveat of the data, the warnings and the other notes."""
    caveat = result.settings_.get("caveat", "")
    warned = [note for note in result.notes_ if note.startswith(WARNING)]
    return {
        "caveat": caveat,
        "warnings": [note.removeprefix(WARNING) for note in warned],
        "notes": [n for n in result.notes_ if n not in warned and n != caveat],
    }


def _facts(result: Comparison) -> list[tuple[str, str]]:
    """Return the description of the cohort as pairs (value, caption)."""
    cohort, settings = shown_cohort(result.cohort_), shown_settings(result.settings_)
    facts = [(as_text(cohort["n_rows"]), "rows")]
    if cohort["n_patients"] is not None:
        facts.append((as_text(cohort["n_patients"]), "patients"))
    facts += _OUTCOMES[cohort["task"]](cohort)
    if settings["design"] == "folds":
        text = f"{settings['n_folds']} \N{MULTIPLICATION SIGN} {settings['n_repeats']}"
        facts.append((text, "folds and repetitions, the same for all strategies"))
    elif settings["design"] == "test":
        unit = settings["unit"]
        facts.append((as_text(settings["n_tested"]), f"{unit} to test"))
        facts.append((as_text(settings["n_trained"]), f"{unit} to train on"))
    else:
        facts.append((str(settings["n_folds"]), "sites, one held out at a time"))
    return facts


def _of_regression(cohort: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"{cohort['mean']:.3g}", f"mean target (SD {cohort['sd']:.3g})")]


def _of_survival(cohort: dict[str, Any]) -> list[tuple[str, str]]:
    n_events = cohort["n_events"]
    share = _share(n_events, cohort["n_rows"])
    return [
        (as_text(n_events), f"events ({share} of the rows)" if share else "events"),
        (f"{cohort['median_time']:.3g}", "median time, to event or censoring"),
    ]


def _share(n: int | str, total: int | str) -> str:
    """Return a share as text, an empty one if it would reveal a count."""
    if isinstance(n, str) or isinstance(total, str):
        return ""
    return f"{n / total:.1%}"


def _of_labels(cohort: dict[str, Any]) -> list[tuple[str, str]]:
    most, fewest = _extremes(cohort["labels"])
    spread = f"labels, positive in {most} down to {fewest} rows"
    return [(str(len(cohort["labels"])), spread)]


def _extremes(parts: list[dict[str, Any]]) -> tuple[str, str]:
    """Return the largest and the smallest count of classes or labels as text."""
    counts = [part["n"] for part in parts]
    known = sorted(n for n in counts if not isinstance(n, str))
    hidden = sorted(n for n in counts if isinstance(n, str))
    return as_text(known[-1] if known else hidden[-1]), as_text([*hidden, *known][0])


def _of_two_classes(cohort: dict[str, Any]) -> list[tuple[str, str]]:
    positive = cohort["classes"][1]
    n, share = positive["n"], _share(positive["n"], cohort["n_rows"])
    if not share:
        return [(as_text(n), f"rows of class {positive['label']} (positive)")]
    return [(share, f"positive ({as_text(n)} rows of class {positive['label']})")]


def _of_classes(cohort: dict[str, Any]) -> list[tuple[str, str]]:
    most, fewest = _extremes(cohort["classes"])
    spread = f"classes, of {most} down to {fewest} rows"
    return [(str(len(cohort["classes"])), spread)]


_OUTCOMES = {
    "regression": _of_regression,
    "survival": _of_survival,
    "multilabel": _of_labels,
    "binary": _of_two_classes,
    "multiclass": _of_classes,
}


def _curves(result: Comparison) -> dict[str, Any]:
    """Return the calibration curves of the fusions, and why there is none."""
    is_test_set = result.settings_["design"] == "test"
    cases = "test set" if is_test_set else "first repetition"
    nothing = {"curves": [], "no_curve": "", "curve_cases": cases}
    if result.cohort_["task"] != "binary" or result.settings_["design"] == "sites":
        return nothing
    fusions = result.strategies_[result.strategies_["role"] == "fusion"]
    reasons, panels = [], []
    for name, label in fusions["label"].items():
        curve = result.calibration_curve(str(name))
        panels.append(calibration_panel(str(label), curve))
        reasons.append(curve.reason)
    drawn = [panel for panel in panels if panel is not None]
    reason = "" if drawn else next(iter(reasons), "")
    return nothing | {"curves": drawn, "no_curve": reason}


def _versions() -> list[tuple[str, str]]:
    found = [("skfusion", skfusion.__version__), ("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:  # optional package
            continue
    return found
