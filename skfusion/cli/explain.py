"""Command ``skfusion explain``: the importance of the modalities of a fusion."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._progress import progress
from skfusion.cli.cohort import Cohort, read_cohort
from skfusion.cli.compare import comparison_options, embed
from skfusion.cli.console import progress_level, show, write_json
from skfusion.cli.problems import failures_of_the_run
from skfusion.cli.settings import check_outputs, read_settings
from skfusion.evaluation.comparison.comparison import (
    Plan,
    context_of,
    plan_comparison,
)
from skfusion.evaluation.comparison.design import Split
from skfusion.evaluation.comparison.fold_models import FoldModels, find_fold_models
from skfusion.inspection.modalities.importance import ModalityImportance
from skfusion.inspection.modalities.report import ModalityReport

__all__ = ["run"]


REFIT_FOLDS = 5
MEASURES = {"reliance": "share", "performance": "estimate", "drop_one": "fall"}


# Kinds of pitfalls in a few words, with the option that settles them, if there is one.
PITFALLS = {
    "chance": "The score is not shown to be above chance, so what the model relies on "
    "need not be related to the outcome",
    "absences": "Not every case has every modality, and all cases are counted",
    "correlated": "Predictions from single modalities are correlated given the "
    "outcome. --test PART --refit fits models again on each set of modalities",
    "few": "There are few test cases or few of a class, so that intervals can be too "
    "narrow. A smaller --cv, such as --cv 3, gives larger test sets",
    "undefined": "Some intervals are not defined, because a class or a modality has "
    "too few cases. A smaller --cv, such as --cv 3, gives larger test sets",
    "scale": "Most interactions come from the scale of the output",
}
OTHER_PITFALL = "There were further remarks"


@dataclass(frozen=True)
class Settings:
    """Fusion to explain, its score, and whether it is fitted again.

    Attributes
    ----------
    strategy : {"early", "late", "joint"}
        Fusion.
    scoring : str or None
        Score. None is the usual one of the task.
    refit : bool
        Whether models are fitted again on each set of modalities.
    """

    strategy: str
    scoring: str | None
    refit: bool


def run(arguments: argparse.Namespace) -> None:
    """Fit a fusion, and explain cases that it was not fitted on.

    Parameters
    ----------
    arguments : Namespace
        Options of the command line.

    Raises
    ------
    ProblemsError
        If the table or a setting has a problem, before the first embedding.
    ValueError
        If ``--refit`` is given without ``--test``.
    """
    settings = read_settings(arguments)
    read = {**settings, "config": arguments.config}
    check_outputs({"json": settings.get("json")}, read)
    scoring = settings.get("scoring") or [None]
    how = Settings(arguments.strategy, scoring[0], bool(arguments.refit))
    cohort = read_cohort(settings)
    options = _options(settings, cohort, how)
    plan: Plan = cohort.check(
        lambda: plan_comparison(cohort.modalities, cohort.X, cohort.y, **options)
    )
    if how.refit and plan.design.kind != "test":
        raise ValueError("--refit needs one test set, --test PART")
    with failures_of_the_run():
        embed(cohort)
        reports = _explain(plan, how)
        text, content = _results(plan, how, reports, cohort)
        show(text)
        write_json(settings.get("json"), content)


def _options(
    settings: Mapping[str, Any], cohort: Cohort, how: Settings
) -> dict[str, Any]:
    """Return the parameters of a comparison of the fusion alone."""
    known = ("cv", "test", "time", "task", "pos_label", "groups", "random_state")
    options = comparison_options(settings, cohort)
    options = {key: value for key, value in options.items() if key in known}
    return {
        "random_state": 0,
        **options,
        "strategies": [how.strategy],
        "scoring": how.scoring,
        "quick": True,
    }


def _explain(plan: Plan, how: Settings) -> list[ModalityReport]:
    """Return the report of each model, on the test set of its split."""
    folds = find_fold_models(context_of(plan), strategies=how.strategy)
    reports = []
    with progress(
        len(folds.splits),
        verbose=progress_level(),
        title="Explain",
        unit="model",
    ) as advance:
        for split in folds.splits:
            reports.append(_report(folds, split, how))
            advance(1)
    return reports


def _report(folds: FoldModels, split: Split, how: Settings) -> ModalityReport:
    train, cases = folds.training_cases(split), folds.explained_cases(split)
    study = folds.cohort
    importance = ModalityImportance(
        folds.fit(folds.arms[0], split),
        background=train.X,
        pos_label=folds.positive_class,
        random_state=folds.context.seed,
    )
    return importance.report(
        cases.X,
        study.y[cases.rows],
        groups=cases.ids(study.id_column),
        scoring=how.scoring,
        cv=REFIT_FOLDS if how.refit else None,
        train=(train.X, study.y[train.rows], train.ids(study.id_column)),
    )


# -- results --------------------------------------------------------------------------


def _results(
    plan: Plan, how: Settings, reports: list[ModalityReport], cohort: Cohort
) -> tuple[str, dict[str, Any]]:
    """Return the text and the content of the JSON file."""
    content: dict[str, Any] = {
        "strategy": how.strategy,
        "modalities": [name for name, _, _ in cohort.modalities],
        "n_rows": len(cohort.X),
        "n_patients": plan.study.n_patients(np.arange(len(cohort.X))),
        "splits": plan.design.text,
        "seed": plan.seed,
        "changes": cohort.findings.caveats,
        "models": [_content(report) for report in reports],
    }
    if len(reports) == 1:
        return str(reports[0]), content
    table = _over_models(reports)
    content["over_models"] = _records(table)
    score = reports[0].performance
    scores = [report.performance.coalition_scores.iloc[-1] for report in reports]
    lines = [
        f"{how.strategy} fusion, {plan.design.text}. {len(reports)} models, each "
        "explained on the cases that it was not fitted on.",
        f"{score.scoring} of all modalities: {np.mean(scores):.3f} (models: "
        f"{min(scores):.3f} to {max(scores):.3f}).",
        "",
        table.to_string(float_format=lambda value: f"{value:.3f}"),
        "",
        "reliance: share of a modality in what moves the predictions. performance: "
        "its part of the score above chance. drop_one: fall of the score without it.",
        "Lowest and highest are those of the models. They are no confidence interval.",
        *(f"Note: {pitfall}" for pitfall in _shared_pitfalls(reports)),
    ]
    return "\n".join(lines), content


def _over_models(reports: list[ModalityReport]) -> pd.DataFrame:
    """Return mean, lowest and highest value of each measure over the models."""
    parts = {}
    for measure, column in MEASURES.items():
        values = pd.concat([r.to_frame()[measure][column] for r in reports], axis=1)
        parts[measure] = pd.DataFrame(
            {
                "mean": values.mean(axis=1),
                "lowest": values.min(axis=1),
                "highest": values.max(axis=1),
            }
        )
    return pd.concat(parts, names=["measure"])


def _shared_pitfalls(reports: list[ModalityReport]) -> list[str]:
    """Return each kind of pitfall once, in how many models it is, and the remedy."""
    kinds = [
        {getattr(pitfall, "kind", "") for pitfall in report.pitfalls}
        for report in reports
    ]
    lines = []
    for kind, words in {**PITFALLS, "": OTHER_PITFALL}.items():
        n_models = sum(kind in some for some in kinds)
        if n_models:
            lines.append(f"In {n_models} of {len(reports)} models: {words}.")
    if lines:
        lines.append("--json FILE has the sentences and numbers of each model.")
    return lines


def _content(report: ModalityReport) -> dict[str, Any]:
    table = report.to_frame()
    table.columns = ["_".join(map(str, names)) for names in table.columns]
    return {
        "score": report.performance.scoring,
        "score_of_all": float(report.performance.coalition_scores.iloc[-1]),
        "cases": report.provenance.words,
        "n_cases": report.performance.n_cases,
        "n_patients": report.performance.n_patients,
        "measures": _records(table),
        "sentences": dict(report.sentences),
        "pitfalls": list(report.pitfalls),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as JSON has them, with null for what is not defined."""
    rows = json.loads(table.reset_index().to_json(orient="records"))
    return [dict(row) for row in rows]
