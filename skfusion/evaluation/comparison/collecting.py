"""Result of a comparison from its fits: tables, verdict, cohort facts and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion.evaluation.comparison.design import Design
from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.results import FusionComparison
from skfusion.evaluation.comparison.running import Run
from skfusion.evaluation.comparison.scoring import prediction_table, score_and_test
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import Study
from skfusion.evaluation.comparison.verdict import Facts, facts_of, judge
from skfusion.evaluation.metrics import Metric, SearchScore
from skfusion.evaluation.statistics.disclosure import MIN_CELL, WITHHELD, count_text
from skfusion.fusion.estimator_kinds import last_step
from skfusion.fusion.inner_estimators import ends_in_predictor
from skfusion.fusion.restriction import fusions_within
from skfusion.modality import Modality, presence_mask

__all__ = ["collect", "searches_of"]


# Values of a parameter of a search that are written out.
MOST_VALUES = 8


def collect(
    arms: Sequence[Strategy],
    run: Run,
    metrics: list[Metric],
    modalities: Sequence[Modality],
    study: Study,
    design: Design,
    claims: Claims,
    *,
    seed: int,
    quick: bool,
    notes: Sequence[str],
    warned: Sequence[tuple[str, type[Warning]]],
) -> FusionComparison:
    """Compute a `FusionComparison` from the predictions of all fits.

    Parameters
    ----------
    arms : list of Strategy
        Arms of the comparison.
    run : Run
        Fits.
    metrics : list of Metric
        Metrics to compute. The first one determines the verdict.
    modalities : list of Modality
        Modalities for the description of the cohort.
    study : Study
        Cohort.
    design : Design
        Splits.
    claims : Claims
        What was declared before.
    seed : int
        Seed of the folds and the estimators.
    quick : bool
        Whether p-values are left out.
    notes : sequence of str
        Caveats of the data.
    warned : sequence of (str, type of Warning)
        Warnings from before the first fit.

    Returns
    -------
    FusionComparison

    Raises
    ------
    ValueError
        If a score is undefined on a fold.
    """
    found = score_and_test(
        arms, run, metrics, study, design, claims, seed=seed, quick=quick
    )
    described = _described_arms(arms, run)
    presence = presence_mask(modalities, study.X)
    told = [*warned, *((line, category) for category, line in run.warnings)]
    facts = facts_of(
        found,
        dict(described["label"]),
        claims,
        told,
        splits=_splits_in_short(study, design, run),
        n_trained=round(np.mean([study.n_patients(s.train) for s in design.splits])),
    )
    return FusionComparison(
        scores_=found.scored.score_table(),
        differences_=found.differences,
        tests_=found.tests,
        folds_=found.scored.folds,
        predictions_=prediction_table(arms, run, study, design),
        chosen_=_chosen(arms, run),
        spread_=found.scored.spread_table(),
        strategies_=described,
        metrics_=metrics,
        verdict_=judge(found.tests, found.differences, facts),
        cohort_=_facts(modalities, presence, study),
        settings_={
            **_settings_of(design, facts, claims),
            "searches": searches_of(arms, study),
            "n_repeats": int(described["n_repeats"].max()),
            "seed": seed,
            "quick": quick,
            "positive_is_known": study.task.positive_is_known,
        },
        notes_=[
            *notes,
            *_absence_notes(arms, modalities, presence, study),
            *design.notes,
            *run.notes,
            *(f"Warning: {line}" for line, _ in told),
        ],
    )


def _settings_of(design: Design, facts: Facts, claims: Claims) -> dict[str, Any]:
    """Return the splits and claims that tables and texts name."""
    return {
        "design": design.kind,
        "folds": _describe(design),
        "splits": facts.splits,
        "n_folds": design.n_folds,
        "n_trained": facts.n_trained,
        "n_tested": facts.n_patients,
        "unit": facts.unit,
        "primary": claims.primary,
        "smallest_gain": claims.smallest_gain,
        "margin": claims.margin,
    }


def searches_of(arms: Sequence[Strategy], study: Study) -> list[dict[str, str]]:
    """Return what searches try, by which score and on which folds.

    Parameters
    ----------
    arms : list of Strategy
        Arms of the comparison.
    study : Study
        Cohort.

    Returns
    -------
    list of dict of str to str
        ``strategy``, ``grid``, ``score`` and ``folds`` of each search. Single
        modalities in the learner of a fusion have its search and are left out.
    """
    found = []
    for arm in arms:
        search = arm.estimator
        grid = getattr(search, "param_grid", None)
        if grid is None:
            grid = getattr(search, "param_distributions", None)
        is_matched = arm.role != "fusion" and bool(arm.fusion)
        if is_matched or grid is None:
            continue
        found.append(
            {
                "strategy": arm.name,
                "grid": _grid_text(grid),
                "score": _score_text(search.scoring),
                "folds": _fold_text(search.cv, study),
            }
        )
    return found


def _grid_text(grid: Any) -> str:
    parts = [grid] if isinstance(grid, Mapping) else list(grid)
    texts = []
    for part in parts:
        named = [f"{name} ({_values_text(part[name])})" for name in part]
        texts.append(", ".join(named) or "the parameters as they are")
    return ", or ".join(texts)


def _values_text(values: Any) -> str:
    """Return the values of a parameter, of which objects are named by their class."""
    if not isinstance(values, (list, tuple, np.ndarray)):
        return "from a distribution"
    plain = (str, bool, int, float, np.generic, type(None))
    texts = [
        str(value) if isinstance(value, plain) else type(value).__name__
        for value in values
    ]
    if len(texts) <= MOST_VALUES:
        return ", ".join(texts)
    return f"{texts[0]} to {texts[-1]}, {len(texts)} values"


def _score_text(scoring: Any) -> str:
    if isinstance(scoring, SearchScore):
        return f"the {scoring.metric.label}"
    if scoring is None:
        return "the default score of the estimator"
    return scoring if isinstance(scoring, str) else "a scorer of the user"


def _fold_text(cv: Any, study: Study) -> str:
    n_folds = 5 if cv is None else cv
    if not isinstance(n_folds, (int, np.integer)):
        n_folds = getattr(cv, "n_splits", None)
    text = "the folds of a splitter" if n_folds is None else f"{n_folds} inner folds"
    return text if study.groups is None else f"{text} by patient"


def _described_arms(arms: Sequence[Strategy], run: Run) -> pd.DataFrame:
    """Return the table of strategies."""
    return pd.DataFrame(
        {
            "label": [arm.label for arm in arms],
            "role": [arm.role for arm in arms],
            "single": [arm.role == "single" for arm in arms],
            "modality": [arm.modality for arm in arms],
            "fusion": [arm.fusion or None for arm in arms],
            "estimator": [_class_of(arm, arms) for arm in arms],
            "learner": [_learner_of(arm, arms) for arm in arms],
            "n_repeats": [run.n_repeats[arm.name] for arm in arms],
        },
        index=pd.Index([arm.name for arm in arms], name="strategy"),
    )


def _class_of(arm: Strategy, arms: Sequence[Strategy]) -> str:
    if arm.estimator is not None:
        return type(arm.estimator).__name__
    fusion = next(other for other in arms if other.name == arm.fusion)
    return f"member of {type(fusion.estimator).__name__}"


def _learner_of(arm: Strategy, arms: Sequence[Strategy]) -> str:
    """Return the class of what learns in a strategy, as the default may be unknown."""
    estimator = arm.estimator
    if estimator is None:
        estimator = next(other.estimator for other in arms if other.name == arm.fusion)
    fusion = next(iter(fusions_within(estimator).values()), None)
    if fusion is None:
        return type(last_step(estimator)).__name__
    if not hasattr(fusion, "estimator"):
        return "network"
    learners = [
        transformer
        if not isinstance(transformer, str) and ends_in_predictor(transformer)
        else fusion._estimator_of("estimator")
        for name, transformer, _ in fusion.modalities
        if arm.modality in (None, name)
    ]
    names = [type(last_step(learner)).__name__ for learner in learners]
    return ", ".join(dict.fromkeys(names))


def _describe(design: Design) -> str:
    if design.n_repeats > 1:
        return f"{design.text}, repeated {design.n_repeats} times"
    return design.text


def _splits_in_short(study: Study, design: Design, run: Run) -> str:
    """Return such as ``"10 x 5 folds by patient"``."""
    if design.kind != "folds":
        return design.text
    most = max(run.n_repeats.values())
    repeats = f"{most} x " if most > 1 else ""
    by_patient = "" if study.groups is None else " by patient"
    return f"{repeats}{design.n_folds} folds{by_patient}"


def _chosen(arms: Sequence[Strategy], run: Run) -> pd.DataFrame:
    """Return the parameters that searches have chosen in each fold."""
    order = {arm.name: number for number, arm in enumerate(arms)}
    rows = [
        {
            "strategy": name,
            "repeat": repeat,
            "fold": fold,
            "parameter": parameter,
            "value": value,
        }
        for (name, repeat, fold), fit in run.fits.items()
        for parameter, value in (fit.chosen or {}).items()
    ]
    rows.sort(key=lambda row: (order[str(row["strategy"])], row["repeat"], row["fold"]))
    columns = ["strategy", "repeat", "fold", "parameter", "value"]
    return pd.DataFrame(rows, columns=columns)


def _described(transformer: Any) -> str:
    """Return the class of a transformer, and whether its network is untrained."""
    kind = type(transformer).__name__
    last = transformer[-1] if isinstance(transformer, Pipeline) else transformer
    if not getattr(last, "is_untrained", False):
        return kind
    return (
        f"{kind}, untrained"
        if last is transformer
        else (f"{kind} of an untrained {type(last).__name__}")
    )


def _facts(
    modalities: Sequence[Modality], presence: np.ndarray, study: Study
) -> dict[str, Any]:
    task = study.task
    facts: dict[str, Any] = {
        "task": task.kind,
        "n_rows": len(study.y),
        "n_patients": None if study.groups is None else len(np.unique(study.groups)),
        "modalities": [
            {
                "name": modality.name,
                "transformer": _described(modality.transformer),
                "columns": [str(column) for column in modality.columns],
                "n_present": int(presence[:, j].sum()),
            }
            for j, modality in enumerate(modalities)
        ],
        "absences": _absences(modalities, presence, study),
    }
    if task.kind == "regression":
        facts["mean"], facts["sd"] = float(study.y.mean()), float(study.y.std(ddof=1))
    elif task.kind == "survival":
        facts["n_events"] = int(study.y["event"].sum())
        facts["median_time"] = float(np.median(study.y["time"]))
    elif task.kind == "multilabel":
        counts = study.y.sum(axis=0)
        facts["labels"] = [
            {"label": name, "n": int(n)}
            for name, n in zip(task.labels, counts, strict=True)
        ]
    else:
        assert task.classes is not None
        facts["classes"] = [
            {"label": str(label), "n": int((study.y == label).sum())}
            for label in task.classes
        ]
    return facts


def _absences(
    modalities: Sequence[Modality], presence: np.ndarray, study: Study
) -> list[dict[str, Any]]:
    """Return who lacks each modality, and who lacks any, without small counts.

    Counts of two classes are withheld if one of the four of present and absent rows by
    class is small, because it would follow from the others.
    """
    absent = ~presence
    columns = [(modality.name, absent[:, j]) for j, modality in enumerate(modalities)]
    if len(modalities) > 1:
        columns.append(("at least one modality", np.any(absent, axis=1)))
    found = []
    for name, lacks in columns:
        if not lacks.any():
            continue
        n_rows, n_absent = len(lacks), int(lacks.sum())
        counted = {"n": n_absent, "total": n_rows}
        record: dict[str, Any] = {"name": name, "n_absent": counted}
        shown = count_text(n_absent, n_rows)
        if shown != f"{n_absent:,}":
            record["n_absent"] = shown
        if study.task.kind == "binary":
            strata = study.task.numbers(study.y)
            counts = np.array(
                [[(lacks[strata == k] == gone).sum() for gone in (True, False)]
                 for k in (1, 0)]
            )  # fmt: skip
            is_small = bool(((counts > 0) & (counts < MIN_CELL)).any())
            for (gone, there), part in zip(counts, ("events", "others"), strict=True):
                known = {"n": int(gone), "total": int(gone + there)}
                record[part] = WITHHELD if is_small else known
        found.append(record)
    return found


def _absence_notes(
    arms: Sequence[Strategy],
    modalities: Sequence[Modality],
    presence: np.ndarray,
    study: Study,
) -> list[str]:
    baselines = {arm.modality for arm in arms if arm.role == "single"}
    prior = {
        "regression": "mean",
        "survival": "mean risk",
    }.get(study.task.kind, "class frequencies")
    notes = []
    for j, modality in enumerate(modalities):
        absent = int((~presence[:, j]).sum())
        if absent == 0:
            continue
        note = f"{modality.name} is absent in {absent} of {len(presence)} rows."
        if modality.name in baselines:
            note += (
                f" For these rows, its single-modality baseline predicts the {prior} "
                "of the training rows with this modality."
            )
        notes.append(note)
    nothing = int((~presence.any(axis=1)).sum()) if len(modalities) else 0
    if nothing:
        notes.append(
            f"{nothing} rows have no modality at all. For these rows, every strategy "
            f"predicts the {prior} of the training rows."
        )
    return notes
