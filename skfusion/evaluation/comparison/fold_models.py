"""Models of the folds of a comparison, which are fitted again to explain them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_number
from skfusion.evaluation.comparison.design import Split
from skfusion.evaluation.comparison.running import Context, fit_split
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import Study, as_frame, find_patients
from skfusion.evaluation.comparison.validation import external_study, warn_of_seen
from skfusion.fusion.restriction import fusions_within

__all__ = ["OWNER", "Cases", "FoldModels", "find_fold_models"]

OWNER = "FusionComparison.importance"


@dataclass(frozen=True)
class Cases:
    """Rows of a cohort.

    Attributes
    ----------
    X : DataFrame of shape (n, n_columns)
        The rows.
    rows : ndarray of int of shape (n,)
        Their positions in the cohort.
    groups : ndarray of int of shape (n,) or None
        Number of the patient of each row.
    """

    X: pd.DataFrame
    rows: np.ndarray
    groups: np.ndarray | None

    @property
    def units(self) -> np.ndarray:
        """Patients of the rows, or the rows without patients."""
        return np.unique(self.rows if self.groups is None else self.groups)

    def ids(self, column: Any) -> Any:
        """Return the column of the patients if the rows have it, else their ids."""
        return column if column in self.X.columns else self.groups


@dataclass(frozen=True)
class FoldModels:
    """Fusions of a comparison and the splits on which they were fitted.

    Attributes
    ----------
    context : Context
        Estimators and cohort of the comparison.
    arms : list of Strategy
        The fusions.
    splits : list of Split
        The splits, of the first repetitions.
    external : Study or None
        Cases of another cohort that every model explains. None for the test set of
        each split.
    """

    context: Context
    arms: list[Strategy]
    splits: list[Split]
    external: Study | None = None

    @property
    def cohort(self) -> Study:
        """The cohort of the explained cases."""
        return self.context.study if self.external is None else self.external

    @property
    def positive_class(self) -> Any:
        """The declared positive one of two classes, None for other outcomes."""
        task = self.context.study.task
        if task.kind != "binary" or task.classes is None:
            return None
        return task.classes[1]

    def fit(self, arm: Strategy, split: Split) -> Any:
        """Return the model of a split, fitted as it was in the comparison."""
        return fit_split(arm, self.context, split)

    def training_cases(self, split: Split) -> Cases:
        """Return the training rows of a split."""
        return _rows_of(self.context.study, split.train)

    def explained_cases(self, split: Split) -> Cases:
        """Return the rows that the model of a split explains."""
        rows = split.test
        if self.external is not None:
            rows = np.arange(len(self.external.X))
        return _rows_of(self.cohort, rows)


def _rows_of(study: Study, rows: np.ndarray) -> Cases:
    groups = None if study.groups is None else study.groups[rows]
    return Cases(study.X.iloc[rows], rows, groups)


def find_fold_models(
    context: Context,
    X: Any = None,
    y: Any = None,
    *,
    groups: Any = None,
    strategies: Iterable[str] | str | None = None,
    n_repeats: int = 1,
    repeats_of: Any = None,
) -> FoldModels:
    """Return the fusions and splits of a comparison, and the cases to explain.

    Parameters
    ----------
    context : Context
        Estimators and cohort of the comparison.
    X, y, groups, strategies, n_repeats : any
        As in `FusionComparison.importance`.
    repeats_of : mapping of str to int or None, default=None
        Number of repetitions of each strategy in the comparison.

    Returns
    -------
    FoldModels

    Raises
    ------
    ValueError
        If a strategy or repetition does not exist, or there is no fusion.

    Warns
    -----
    LeakageWarning
        If cases of `X` are rows or patients of the comparison.
    """
    if context.design is None:
        raise ValueError(
            f"{OWNER}: this comparison was made without its splits, so the models of "
            "its folds cannot be fitted again."
        )
    arms = _chosen(context, strategies)
    check_number(n_repeats, "n_repeats", OWNER, low=1, integer=True)
    known = dict(repeats_of or {})
    most = min(known.get(arm.name, context.design.n_repeats) for arm in arms)
    if n_repeats > most:
        raise ValueError(
            f"{OWNER}: n_repeats={n_repeats}, but the comparison has {most} "
            "repetition(s) of these strategies. Use fewer."
        )
    splits = [split for split in context.design.splits if split.repeat < n_repeats]
    external = None
    if X is not None:
        external = _external(context.study, X, y, groups)
        warn_of_seen(context, external, OWNER)
    elif y is not None or groups is not None:
        raise ValueError(
            f"{OWNER}: y and groups belong to X, which is None. Leave them out to "
            "explain the held-out rows of each fold, or pass X."
        )
    return FoldModels(context, arms, splits, external)


def _chosen(context: Context, strategies: Any) -> list[Strategy]:
    fusions = {
        arm.name: arm
        for arm in context.arms
        if arm.role == "fusion" and fusions_within(arm.estimator)
    }
    if isinstance(strategies, str):
        strategies = [strategies]
    names = list(fusions if strategies is None else strategies)
    unknown = [name for name in names if name not in fusions]
    if unknown or not names:
        raise ValueError(
            f"{OWNER}: {(unknown or names)!r} is not among the fusions of this "
            f"comparison, {list(fusions)}. Single modalities and models without "
            "modalities cannot be explained by modality."
        )
    return [fusions[name] for name in names]


def _external(study: Study, X: Any, y: Any, groups: Any) -> Study:
    if y is not None:
        return external_study(study, X, y, groups, OWNER)
    frame = as_frame(X)
    if groups is None and study.id_column in frame.columns:
        groups = study.id_column
    patients = find_patients(frame, groups, None)
    return Study(frame, np.empty(0), study.task, patients.numbers, patients.column)
