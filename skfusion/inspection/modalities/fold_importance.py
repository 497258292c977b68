"""Importance of the modalities over the models of the folds of a comparison."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from skfusion._validation import check_option
from skfusion.evaluation.comparison.design import Split
from skfusion.evaluation.comparison.fold_models import (
    OWNER,
    Cases,
    FoldModels,
    find_fold_models,
)
from skfusion.evaluation.comparison.running import Context, tell_once
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.metrics import Metric
from skfusion.exceptions import DataWarning, warn_user
from skfusion.inspection.modalities.importance import (
    ModalityImportance,
    explain_and_score,
)
from skfusion.inspection.modalities.results import SHARES, shares_of

__all__ = ["FoldImportance", "importance_of_folds"]

# Seeds of the models are those of the comparison.
N_SHUFFLES = 1


@dataclass(frozen=True, eq=False, repr=False)
class FoldImportance:
    """Importance of the modalities over the models of the folds of a comparison.

    It is made by `skfusion.evaluation.FusionComparison.importance`.

    Attributes
    ----------
    models : DataFrame
        One row per strategy, repetition, fold and modality: ``strategy``, ``repeat``,
        ``fold``, ``modality``, ``share`` (of the contributions to the predictions),
        ``contribution`` (to the score, NaN without an outcome), ``null_share`` (if it
        was computed), ``n_present`` (explained cases with the modality), ``n_cases``
        and ``n_patients`` (explained). NaN for a modality that no explained case has.
    scores : DataFrame
        One row per strategy, repetition and fold: ``strategy``, ``repeat``, ``fold``,
        ``score`` of all modalities, ``chance``, ``n_patients``. Losses are negative.
    scoring : str
        Name of the score.
    output : str
        Description of the explained output, such as ``"log-odds of 1"``.
    cases : str
        What each model explained: ``"held-out rows of each fold"``, or the cases that
        were passed.
    counts : DataFrame
        By strategy and modality, the number of distinct explained cases with the
        modality, ``n_present``, and of distinct patients, ``n_patients``.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion import compare_fusion
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> result = compare_fusion(
    ...     modalities, cohort.data, cohort.target, strategies=("single", "late"), cv=3,
    ...     n_repeats=1, scoring="roc_auc", random_state=0)
    >>> found = result.importance(n_background=20)
    >>> found.models.groupby("modality")["fold"].nunique().to_dict()
    {'ehr': 3, 'image': 3}
    """

    __module__ = "skfusion.inspection"

    models: pd.DataFrame
    scores: pd.DataFrame
    scoring: str
    output: str
    cases: str
    counts: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        names = ", ".join(map(str, self.scores["strategy"].unique()))
        n_models = self.scores.groupby("strategy").size().max()
        n_modalities = self.models["modality"].nunique()
        return (
            f"FoldImportance({names}, {n_modalities} modalities, {n_models} "
            f"model{'s' if n_models > 1 else ''})"
        )

    def to_frame(self) -> pd.DataFrame:
        """Return the mean and the range over the models.

        Returns
        -------
        DataFrame
            By strategy and modality: ``share`` with ``share_lowest`` and
            ``share_highest``, ``contribution`` with ``contribution_lowest`` and
            ``contribution_highest``, ``null_share`` if it was computed, ``n_models``,
            ``n_present`` and ``n_patients`` (distinct explained cases and patients).
            Means are weighted by the explained patients of each model, as the scores of
            the comparison are.

        Notes
        -----
        The range shows how much the importance differs between models that were fitted
        on other training sets and explain other cases. It is not a confidence interval.
        """
        tables = []
        for (strategy, modality), part in self.models.groupby(
            ["strategy", "modality"], sort=False
        ):
            row: dict[str, Any] = {"strategy": strategy, "modality": modality}
            for name in ("share", "contribution"):
                row[name] = _mean(part[name], part["n_patients"])
                row[f"{name}_lowest"] = part[name].min()
                row[f"{name}_highest"] = part[name].max()
            if "null_share" in part:
                row["null_share"] = _mean(part["null_share"], part["n_patients"])
            tables.append({**row, "n_models": len(part)})
        frame = pd.DataFrame(tables).set_index(["strategy", "modality"])
        return frame.join(self.counts)

    def plot(self, kind: str = "share", *, ax: Any = None) -> Any:
        """Plot the mean and the range over the models, with a dot for each model.

        Parameters
        ----------
        kind : {"share", "contribution"}, default="share"
            Shares of the contributions to the predictions, or contributions to the
            score.
        ax : matplotlib Axes or None, default=None
            Axes to plot on. None creates a new figure.

        Returns
        -------
        FoldImportanceDisplay

        Raises
        ------
        ValueError
            If `kind` is unknown, or is ``"contribution"`` without an outcome.
        ImportError
            If matplotlib is not installed.
        """
        from skfusion.inspection.plots.display import FoldImportanceDisplay

        return FoldImportanceDisplay(self).plot(kind, ax=ax)


def _mean(values: pd.Series, weights: pd.Series) -> float:
    known = values.notna().to_numpy()
    if not known.any():
        return float("nan")
    return float(np.average(values[known], weights=weights[known]))


@dataclass(frozen=True)
class _Found:
    """What one model gave, with the warnings about its cases."""

    modalities: tuple[str, ...]
    shares: np.ndarray
    contributions: np.ndarray
    null_shares: np.ndarray | None
    score: float
    chance: float
    presence: np.ndarray
    scoring: str
    output: str
    warnings: list[tuple[str, str]]


@dataclass(frozen=True)
class _Request:
    """How each model is explained."""

    scoring: Any
    kind: str
    null_share: bool
    parameters: dict[str, Any]


def importance_of_folds(
    context: Context,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    strategies: Any = None,
    scoring: Any = None,
    metric: Metric | None = None,
    repeats_of: Any = None,
    n_repeats: int = 1,
    kind: str = "centred_abs",
    null_share: bool = False,
    n_jobs: int | None = None,
    **parameters: Any,
) -> FoldImportance:
    """Explain and score the models of the folds of a comparison.

    Parameters
    ----------
    context : Context
        Estimators, cohort and splits of the comparison.
    X, y, groups, strategies, scoring, n_repeats, kind, null_share, n_jobs : any
        As in `skfusion.evaluation.FusionComparison.importance`.
    metric : Metric or None, default=None
        Primary metric of the comparison, the default of `scoring`.
    repeats_of : mapping of str to int or None, default=None
        Number of repetitions of each strategy.
    **parameters : any
        Parameters of `ModalityImportance`.

    Returns
    -------
    FoldImportance
    """
    check_option(kind, "kind", SHARES, OWNER)
    taken = {"background", "pos_label", "random_state", "modalities"} & set(parameters)
    if taken:
        raise TypeError(
            f"{OWNER}: {sorted(taken)} cannot be passed, because they follow from the "
            "comparison: its training rows, positive class, seed and modalities."
        )
    folds = find_fold_models(
        context,
        X,
        y,
        groups=groups,
        strategies=strategies,
        n_repeats=n_repeats,
        repeats_of=repeats_of,
    )
    _check_sizes(folds)
    task = context.study.task
    if scoring is None and task.kind not in ("survival", "multilabel"):
        scoring = metric
    request = _Request(scoring, kind, null_share, parameters)
    places = [(arm, split) for arm in folds.arms for split in folds.splits]
    found = Parallel(n_jobs=context.n_jobs if n_jobs is None else n_jobs)(
        delayed(_explain)(folds, arm, split, request) for arm, split in places
    )
    tell_once(
        folds.arms,
        {
            (arm.name, split.repeat, split.fold): one
            for (arm, split), one in zip(places, found, strict=True)
        },
    )
    return _collected(folds, places, found)


def _check_sizes(folds: FoldModels) -> None:
    small = [s for s in folds.splits if len(folds.explained_cases(s).rows) < 2]
    if small:
        raise ValueError(
            f"{OWNER}: {len(small)} of {len(folds.splits)} models would explain a "
            "single case, but a share is a spread over cases. Compare with fewer and "
            "larger folds, or pass X with the cases that every model explains."
        )


def _explain(
    folds: FoldModels, arm: Strategy, split: Split, request: _Request
) -> _Found:
    """Fit the model of a fold, explain its cases and score them."""
    with warnings.catch_warnings():
        # The comparison has told what its fits warn of.
        warnings.simplefilter("ignore")
        model = folds.fit(arm, split)
    train, cases = folds.training_cases(split), folds.explained_cases(split)
    cohort = folds.cohort
    importance = ModalityImportance(
        model,
        background=train.X,
        pos_label=folds.positive_class,
        random_state=folds.context.seed,
        **request.parameters,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        explanation, scores = explain_and_score(
            importance,
            cases.X,
            cohort.y if len(cohort.y) else None,
            cases.rows,
            _ids(cases, cohort.id_column),
            request.scoring,
            train=_train(folds, train) if request.null_share else None,
            n_shuffles=N_SHUFFLES,
        )
    names = explanation.modalities
    presence = explanation.presence.to_numpy()
    # What no case has, has an effect by its absence only.
    absent = np.where(presence.any(axis=0), 0.0, np.nan)
    nulls = None
    if request.null_share:
        nulls = absent + explanation.null_shares(request.kind)[:, 0]
    return _Found(
        names,
        absent + shares_of(explanation.values, request.kind),
        absent + (np.full(len(names), np.nan) if scores is None else scores.shapley),
        nulls,
        np.nan if scores is None else scores.whole,
        np.nan if scores is None else scores.chance,
        presence,
        "" if scores is None else scores.name,
        explanation.output,
        [(w.category.__name__, str(w.message)) for w in caught],
    )


def _ids(cases: Cases, column: Any) -> Any:
    """Return the argument ``groups`` of an explanation."""
    return np.arange(len(cases.rows)) if cases.groups is None else cases.ids(column)


def _train(folds: FoldModels, train: Cases) -> tuple[Any, Any, Any]:
    study = folds.context.study
    return train.X, study.y[train.rows], _ids(train, study.id_column)


def _collected(
    folds: FoldModels, places: list[tuple[Strategy, Split]], found: list[_Found]
) -> FoldImportance:
    rows, scores = [], []
    for (arm, split), one in zip(places, found, strict=True):
        place = {"strategy": arm.name, "repeat": split.repeat, "fold": split.fold}
        cases = folds.explained_cases(split)
        counted = {"n_cases": len(cases.rows), "n_patients": len(cases.units)}
        for j, name in enumerate(one.modalities):
            row = {**place, "modality": name, "share": one.shares[j]}
            row["contribution"] = one.contributions[j]
            if one.null_shares is not None:
                row["null_share"] = one.null_shares[j]
            row["n_present"] = int(one.presence[:, j].sum())
            rows.append({**row, **counted})
        scores.append(
            {
                **place,
                "score": one.score,
                "chance": one.chance,
                "n_patients": len(cases.units),
            }
        )
    table = pd.DataFrame(scores)
    has_outcome = len(folds.cohort.y) > 0
    undefined = int(table["score"].isna().sum())
    if has_outcome and undefined:
        warn_user(
            f"{OWNER}: the score is not defined in {undefined} of {len(table)} folds, "
            "whose contributions are left out of the means.",
            DataWarning,
        )
    return FoldImportance(
        pd.DataFrame(rows),
        table,
        found[0].scoring,
        found[0].output,
        "held-out rows of each fold"
        if folds.external is None
        else f"{len(folds.external.X)} cases that were passed",
        _counts(folds, places, found),
    )


def _counts(
    folds: FoldModels, places: list[tuple[Strategy, Split]], found: list[_Found]
) -> pd.DataFrame:
    """Return the distinct cases with each modality, and the distinct patients."""
    present: dict[tuple[str, str], set[int]] = {}
    patients: dict[str, set[int]] = {}
    for (arm, split), one in zip(places, found, strict=True):
        cases = folds.explained_cases(split)
        patients.setdefault(arm.name, set()).update(cases.units.tolist())
        for j, name in enumerate(one.modalities):
            there = cases.rows[one.presence[:, j]]
            present.setdefault((arm.name, name), set()).update(there.tolist())
    index = pd.MultiIndex.from_tuples(list(present), names=["strategy", "modality"])
    return pd.DataFrame(
        {
            "n_present": [len(rows) for rows in present.values()],
            "n_patients": [len(patients[arm]) for arm, _ in present],
        },
        index=index,
    )
