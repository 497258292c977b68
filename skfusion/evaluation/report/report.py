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
from skfusion._figures.style import DARK, LIGHT, STRATEGY_MARKS, css_variables
from skfusion._figures.texts import true_minus
from skfusion.evaluation.report import tables
from skfusion.evaluation.report.checklist import checklist
from skfusion.evaluation.report.cohort_tables import (
    absence_table,
    characteristics_table,
    decision_table,
    settings_table,
)
from skfusion.evaluation.report.counts import (
    as_text,
    disclosed,
    shown_cohort,
    shown_settings,
)
from skfusion.evaluation.report.extras import (
    audit_part,
    importance_part,
    learning_part,
    missing_part,
    subgroup_part,
)
from skfusion.evaluation.report.figures import panels
from skfusion.evaluation.report.figures.forest import difference_forest, score_forest
from skfusion.evaluation.report.figures.marks import shown_fusions, strategy_marks
from skfusion.evaluation.report.figures.page_figures import figure_of, marker_path
from skfusion.evaluation.report.given_tables import operating_table
from skfusion.evaluation.report.methods import (
    about,
    abstract,
    declares_baselines,
    methods,
)
from skfusion.evaluation.report.protocol import Comparison

__all__ = ["render"]


FOLDER = Path(__file__).parent
PACKAGES = (
    *("numpy", "scipy", "pandas", "scikit-learn", "xgboost", "xgboost-cpu"),
    *("torch", "torchvision", "skorch"),
)
WARNING = "Warning: "


def render(
    result: Comparison,
    *,
    title: str | None = None,
    table_one: pd.DataFrame | None = None,
    operating_point: pd.DataFrame | None = None,
    thresholds: Any = None,
    subgroups: Any = None,
    missing: Any = None,
    learning: Any = None,
    importance: Any = None,
    audit: Any = None,
) -> str:
    """Render a comparison as an HTML page.

    Parameters
    ----------
    result : Comparison
        Comparison to report.
    title : str or None, default=None
        Heading of the page.
    table_one, operating_point, thresholds, subgroups, missing, learning : any
        Further results, as in `FusionComparison.to_html`.
    importance, audit : any
        Further results, as in `FusionComparison.to_html`.

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
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["breakable"] = lambda text: _breakable(text, jinja2)
    extras = [
        *([] if missing is None else [missing_part(result, missing)]),
        *([] if subgroups is None else [subgroup_part(result, subgroups)]),
        *([] if learning is None else [learning_part(result, learning)]),
        *([] if importance is None else [importance_part(importance)]),
        *([] if audit is None else [audit_part(audit)]),
    ]
    values = (
        {"title": title or "Does fusion help?", "extras": extras}
        | _look(result)
        | _opening(result, table_one)
        | _results(result)
        | _curves(result, operating_point, thresholds)
        | _closing(result)
    )
    values["contents"] = _contents(values)
    sections = {anchor for anchor, _ in values["contents"]}
    sections |= {"operating"} if values["operating"] else set()
    values["checklist"] = checklist(result, sections)
    text: str = environment.get_template("report.html").render(values)
    return text.lstrip()


def _breakable(text: str, jinja2: Any) -> Any:
    """Return an escaped name that may be broken behind its underscores."""
    escape = jinja2.utils.markupsafe.escape
    return escape(text).replace(
        "_", escape("_") + jinja2.utils.markupsafe.Markup("<wbr>")
    )


def _look(result: Comparison) -> dict[str, Any]:
    """Return the colours, the shapes of the marks, and the mark of each strategy."""
    marks = strategy_marks(result)
    labels = result.strategies_["label"]
    shapes = {
        name: {"path": marker_path(name), "open": not mark.filled}
        for name, mark in STRATEGY_MARKS.items()
    }
    return {
        "light": css_variables(LIGHT),
        "dark": css_variables(DARK),
        "marks": list(STRATEGY_MARKS.items()),
        "shapes": shapes,
        "mark_of": {str(labels[name]): mark for name, mark in marks.items()},
        "fusions": [(str(labels[n]), marks[n]) for n in shown_fusions(result)],
    }


def _opening(result: Comparison, table_one: pd.DataFrame | None) -> dict[str, Any]:
    """Return what the page begins with, and the cohort."""
    characteristics, left_out = characteristics_table(result, table_one)
    return {
        "written": date.today().isoformat(),
        "design": _DESIGNS[result.settings_["design"]],
        "abstract": abstract(result),
        "verdict": result.verdict_,
        # The same sign as in the tables and figures.
        "details": true_minus(result.verdict_.details),
        "facts": _facts(result),
        "modalities": tables.modality_table(result),
        "absences": absence_table(result),
        "characteristics": characteristics,
        "left_out": left_out,
        **_notes(result),
    }


def _results(result: Comparison) -> dict[str, Any]:
    """Return the scores and differences."""
    primary, *others = result.metrics_
    differences = [difference_forest(result, metric) for metric in result.metrics_]
    return {
        "scores": tables.score_table(result, ("single", "fusion")),
        "scores_without": tables.score_table(result, ("without",)),
        "score_forest": score_forest(result, primary),
        "other_scores": [score_forest(result, metric) for metric in others],
        "difference_forest": differences[0],
        "other_differences": [forest for forest in differences[1:] if forest],
        "claims": tables.claim_table(result),
        "differences": tables.difference_table(result),
        "removals": tables.removal_table(result),
        "sites": tables.site_table(result),
        "baselines_are_declared": declares_baselines(result),
        "is_sites": result.settings_["design"] == "sites",
    }


def _closing(result: Comparison) -> dict[str, Any]:
    """Return the methods, the settings and the versions."""
    return {
        "about": about(result),
        "methods": methods(result),
        "folds": tables.fold_table(result),
        "chosen": tables.chosen_table(result),
        "repetitions": tables.repetition_table(result),
        "settings": settings_table(result),
        "estimators": tables.estimator_table(result),
        "versions": _versions(),
    }


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the anchors and names of the sections that the page has."""
    optional = (
        ("cohort", "Cohort", True),
        ("characteristics", "Characteristics", values["characteristics"]),
        ("scores", "Scores", True),
        ("differences", "Differences", values["difference_forest"]),
        ("tests", "Tests", values["claims"]),
        ("sites", "Sites", values["sites"]),
        ("removals", "Modalities", values["removals"]),
        ("discrimination", "Discrimination", values["roc"]),
        (
            "calibration",
            "Calibration",
            values["calibration"] or values["calibration_of_others"],
        ),
        ("decision", "Decision curves", values["decision"]),
        *((part.anchor, part.heading, True) for part in values["extras"]),
        ("methods", "Methods", True),
        ("settings", "Settings", True),
        ("checklist", "Checklist", True),
    )
    return [(anchor, name) for anchor, name, there in optional if there]


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


def _curves(
    result: Comparison, operating: pd.DataFrame | None, thresholds: Any
) -> dict[str, Any]:
    """Return the curves of two classes, and the tables beside them."""
    is_binary = result.cohort_["task"] == "binary"
    is_sites = result.settings_["design"] == "sites"
    found: dict[str, Any] = dict.fromkeys(_CURVES)
    if not is_binary:
        return found
    if not result.settings_.get("positive_is_known", True):
        label = result.cohort_["classes"][1]["label"]
        found["positive_note"] = (
            f"The positive class was not declared. Class {label} counts as the event, "
            "because it is the last one in sorted order. Precision, calibration and "
            "net benefit depend on this choice. Pass pos_label= to make it."
        )
    if operating is not None:
        found["operating"] = operating_table(result, operating)
    found["roc"] = figure_of(panels.roc_plot(result, operating=operating))
    found["precision_recall"] = figure_of(panels.precision_recall_plot(result))
    if is_sites:
        return found
    found["calibration"] = tables.calibration_table(result, main=True)
    found["calibration_of_others"] = tables.calibration_table(result, main=False)
    found["calibration_curves"] = figure_of(panels.calibration_plot(result))
    if len(result.tests_):
        plot = panels.decision_plot(result, thresholds=thresholds)
        found["decision"] = figure_of(plot)
        found["decision_table"] = decision_table(result, thresholds)
    return found


_CURVES = (
    "positive_note",
    *("roc", "precision_recall", "operating", "calibration", "calibration_of_others"),
    *("calibration_curves", "decision", "decision_table"),
)


def _versions() -> list[tuple[str, str]]:
    found = [("skfusion", skfusion.__version__), ("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:  # optional package
            continue
    return found
