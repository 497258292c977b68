"""Result tables of a comparison: fold scores, intervals, differences, cohort facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion.evaluation.comparison.results import FusionComparison
from skfusion.evaluation.comparison.running import Outcome, Study
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.verdict import judge
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.statistics.multiplicity import holm_adjust
from skfusion.evaluation.statistics.resampling import (
    corrected_resampled_interval,
    corrected_resampled_ttest,
)
from skfusion.modality import Modality, presence_mask

__all__ = ["collect"]


Sizes = tuple[np.ndarray, np.ndarray]


def collect(
    strategies: Sequence[Strategy],
    outcomes: Sequence[Sequence[Outcome]],
    metrics: list[Metric],
    modalities: Sequence[Modality],
    study: Study,
    *,
    cv: Any,
    seed: int,
) -> FusionComparison:
    """Compute a `FusionComparison` from the predictions of all fits.

    Parameters
    ----------
    strategies : list of Strategy
        Strategies that were compared.
    outcomes : list of list of Outcome
        One list per strategy, with one outcome per fold.
    metrics : list of Metric
        Metrics to compute. The first one determines the verdict.
    modalities : list of Modality
        Modalities for the description of the cohort.
    study : Study
        Cohort and folds.
    cv : any
        `cv` parameter of `compare_fusion`, for the description of the folds.
    seed : int
        Seed of the folds and the estimators.

    Returns
    -------
    FusionComparison

    Raises
    ------
    ValueError
        If a score is undefined on a fold.
    """
    by_fold = _fold_scores(strategies, outcomes, metrics, study)
    sizes = _sizes(study)
    scores = _intervals(by_fold, strategies, metrics, sizes)
    differences = _differences(by_fold, scores, strategies, metrics, sizes)
    described = pd.DataFrame(
        {
            "label": [s.label for s in strategies],
            "single": [s.single for s in strategies],
            "estimator": [type(s.estimator).__name__ for s in strategies],
        },
        index=pd.Index([s.name for s in strategies], name="strategy"),
    )
    presence = presence_mask(modalities, study.X)
    return FusionComparison(
        scores_=scores,
        differences_=differences,
        folds_=by_fold,
        oof_=_out_of_fold(strategies, outcomes, study),
        strategies_=described,
        metrics_=metrics,
        verdict_=judge(differences, scores, metrics, dict(described["label"])),
        cohort_=_facts(modalities, presence, study),
        settings_={
            "folds": _describe_folds(cv, study),
            "n_folds": len(study.folds),
            "test_train_ratio": float(np.mean(sizes[1] / sizes[0])),
            "seed": seed,
        },
        notes_=_notes(strategies, modalities, presence, study),
    )


def _fold_scores(
    strategies: Sequence[Strategy],
    outcomes: Sequence[Sequence[Outcome]],
    metrics: list[Metric],
    study: Study,
) -> pd.DataFrame:
    rows = []
    for strategy, by_fold in zip(strategies, outcomes, strict=True):
        for k, outcome in enumerate(by_fold):
            train, test = study.folds[k]
            for metric in metrics:
                score = metric.score(
                    outcome.predictions,
                    study.X.iloc[test],
                    study.y[test],
                    study.classes,
                )
                if not np.isfinite(score):
                    raise ValueError(
                        f"compare_fusion: {metric.label} of {strategy.name!r} is "
                        f"{score} on fold {k + 1} of {len(by_fold)} ({len(test)} test "
                        "rows), so its mean is undefined. Use fewer folds or another "
                        "score."
                    )
                rows.append(
                    {
                        "strategy": strategy.name,
                        "fold": k,
                        "metric": metric.name,
                        "score": score,
                        "n_train": len(train),
                        "n_test": len(test),
                        "seconds": outcome.seconds,
                    }
                )
    return pd.DataFrame(rows)


def _sizes(study: Study) -> Sizes:
    """Count patients, or rows without groups, in the training and test sets."""

    def count(rows: np.ndarray) -> int:
        return len(rows if study.groups is None else np.unique(study.groups[rows]))

    return (
        np.array([count(train) for train, _ in study.folds]),
        np.array([count(test) for _, test in study.folds]),
    )


def _values(by_fold: pd.DataFrame, strategy: str, metric: Metric) -> np.ndarray:
    chosen = (by_fold["strategy"] == strategy) & (by_fold["metric"] == metric.name)
    return by_fold.loc[chosen, "score"].to_numpy()


def _intervals(
    by_fold: pd.DataFrame,
    strategies: Sequence[Strategy],
    metrics: list[Metric],
    sizes: Sizes,
) -> pd.DataFrame:
    rows = []
    for strategy in strategies:
        for metric in metrics:
            values = _values(by_fold, strategy.name, metric)
            interval = corrected_resampled_interval(values, *sizes)
            rows.append(
                {
                    "strategy": strategy.name,
                    "metric": metric.name,
                    "estimate": interval.estimate,
                    "low": metric.clip(interval.low),
                    "high": metric.clip(interval.high),
                    "n_folds": len(values),
                }
            )
    return pd.DataFrame(rows)


def _differences(
    by_fold: pd.DataFrame,
    scores: pd.DataFrame,
    strategies: Sequence[Strategy],
    metrics: list[Metric],
    sizes: Sizes,
) -> pd.DataFrame:
    columns = ["strategy", "metric", "reference", "estimate", "low", "high"]
    rows: list[dict[str, Any]] = []
    baselines = [strategy.name for strategy in strategies if strategy.single]
    fusions = [strategy.name for strategy in strategies if not strategy.single]
    for metric in metrics if baselines else []:
        means = scores[scores["metric"] == metric.name].set_index("strategy")
        of_baselines = means.loc[baselines, "estimate"]
        best = of_baselines.idxmax() if metric.greater_is_better else None
        reference = str(of_baselines.idxmin() if best is None else best)
        for name in fusions:
            test = corrected_resampled_ttest(
                _values(by_fold, name, metric),
                _values(by_fold, reference, metric),
                *sizes,
            )
            values = (test.difference, test.low, test.high)
            row = dict(
                zip(columns, (name, metric.name, reference, *values), strict=True)
            )
            rows.append({**row, "p": test.pvalue})
    table = pd.DataFrame(rows, columns=[*columns, "p"])
    table["p_holm"] = np.nan
    for metric in metrics:
        family = (table["metric"] == metric.name).to_numpy()
        table.loc[family, "p_holm"] = holm_adjust(table.loc[family, "p"].to_numpy())
    return table


def _out_of_fold(
    strategies: Sequence[Strategy], outcomes: Sequence[Sequence[Outcome]], study: Study
) -> pd.DataFrame:
    rows = np.concatenate([test for _, test in study.folds])
    table = pd.DataFrame(
        {
            "row": rows,
            "fold": np.repeat(
                np.arange(len(study.folds)), [len(test) for _, test in study.folds]
            ),
            "group": -1 if study.groups is None else study.groups[rows],
            "y": study.y[rows],
        }
    )
    for strategy, by_fold in zip(strategies, outcomes, strict=True):
        predicted = np.concatenate([o.predictions.scores for o in by_fold])
        if study.classes is None:
            table[strategy.name] = predicted
        elif len(study.classes) == 2:
            table[strategy.name] = predicted[:, 1]
        else:
            for j, label in enumerate(study.classes):
                table[f"{strategy.name}__{label}"] = predicted[:, j]
    return table.sort_values(["row", "fold"], kind="stable").reset_index(drop=True)


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
    facts: dict[str, Any] = {
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
    }
    if study.classes is None:
        facts["task"] = "regression"
        facts["mean"], facts["sd"] = float(study.y.mean()), float(study.y.std(ddof=1))
    else:
        facts["task"] = "binary" if len(study.classes) == 2 else "multiclass"
        facts["classes"] = [
            {"label": str(label), "n": int((study.y == label).sum())}
            for label in study.classes
        ]
    return facts


def _describe_folds(cv: Any, study: Study) -> str:
    patients = "" if study.groups is None else ", grouped by patient"
    if cv is None or isinstance(cv, (int, np.integer)):
        stratified = "" if study.classes is None else "stratified "
        return f"{len(study.folds)} {stratified}folds, shuffled{patients}"
    kind = type(cv).__name__ if hasattr(cv, "split") else "custom"
    return f"{len(study.folds)} folds ({kind}){patients}"


def _notes(
    strategies: Sequence[Strategy],
    modalities: Sequence[Modality],
    presence: np.ndarray,
    study: Study,
) -> list[str]:
    baselines = {strategy.modality for strategy in strategies if strategy.single}
    prior = "mean" if study.classes is None else "class frequencies"
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
