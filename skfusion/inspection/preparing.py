"""What a user passes in; cases taken apart into modalities, and their background, out.

Read next: `skfusion.inspection.games`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from skfusion.fusion.cohort import as_pandas, check_groups
from skfusion.inspection.games import Cases, make_plan, take_parts
from skfusion.inspection.models import (
    OWNER,
    FusionModel,
    Parts,
    TableModel,
    find_model,
)
from skfusion.inspection.shapley import CoalitionPlan
from skfusion.pipelines import take_rows

__all__ = ["check_level", "find_patients", "prepare", "table_of"]

REMOVALS = ("background", "native")
FEWEST_BACKGROUND = 2
# Two cases can be equal by chance, above all where there are few columns.
CHANCE_EQUALS = 0.05


def prepare(
    X: Any,
    estimator: Any,
    modalities: Any,
    *,
    removal: str,
    background: Any,
    n_background: int,
    n_permutations: int | None,
    rng: np.random.RandomState,
) -> tuple[Cases, CoalitionPlan]:
    """Encode the cases and their background, each once, and plan the game.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    estimator, modalities, removal, background, n_background, n_permutations
        As in `ModalityImportance`.
    rng : RandomState
        Draws the background and the permutations.

    Returns
    -------
    cases : Cases
    plan : CoalitionPlan

    Raises
    ------
    ValueError
        If a setting is unknown, the background is too small, there are too many
        modalities, or the model has not learned to do without one.
    """
    if removal not in REMOVALS:
        raise ValueError(
            f"{OWNER}: removal must be one of {REMOVALS}, got {removal!r}."
        )
    model, (inside, others) = find_model(estimator, modalities, X, background)
    cost = f"up to {n_background} predictions for every case"
    plan = make_plan(len(model.modalities), n_permutations, rng, cost)
    if removal == "native":
        _check_bears(model)
    else:
        n_others = len(table_of(inside if others is None else others))
        _check_background(n_others, n_background)
    parts, present = model.encode(inside)
    drawn: Parts | None = None
    if removal == "background":
        rows = np.arange(n_others)
        if n_others > n_background:
            rows = np.sort(rng.choice(n_others, n_background, replace=False))
        if others is None:
            drawn = take_parts(parts, rows)
        else:
            chosen = take_rows(table_of(others), rows)
            _warn_trained(table_of(inside), chosen)
            drawn, _ = model.encode(chosen)
    index = X.index if isinstance(X, pd.DataFrame) else None
    presence = pd.DataFrame(present, columns=list(model.modalities), index=index)
    return Cases(model, parts, drawn, presence), plan


def find_patients(groups: Any, X: Any, modalities: Any) -> tuple[Any, Any]:
    """Give each case the number of its patient.

    Parameters
    ----------
    groups : str, array-like of shape (n,) or None
        The column that holds their ids, or the ids.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    modalities : dict of str to list of column labels, or None
        Columns of the modalities; None for a fusion, which takes its own.

    Returns
    -------
    patients : ndarray of int of shape (n,) or None
        None where no groups are given.
    X : DataFrame or ndarray
        The cases, without the column of ids where the modalities are columns: the
        estimator knows no patients.

    Raises
    ------
    ValueError
        If an id is missing, there is not one per case, or all are the same.
    """
    if groups is None:
        return None, X
    column = groups if isinstance(groups, str) else None
    table = table_of(X)
    given = groups if column is None else None
    patients = check_groups(given, pd.DataFrame(table), column=column, owner=OWNER)
    assert patients is not None  # noqa: S101 - groups were given
    if patients.max(initial=0) == 0:
        raise ValueError(
            f"{OWNER}: all {len(patients)} cases belong to one patient (group), which "
            "says nothing about how far patients differ. Give cases of more patients."
        )
    if column is not None and modalities is not None:
        X = table.drop(columns=column)
    return patients, X


def check_level(confidence_level: float) -> None:
    """Refuse a coverage that does not lie between 0 and 1."""
    if not 0.0 < confidence_level < 1.0:
        raise ValueError(
            f"confidence_level must lie between 0 and 1, got {confidence_level!r}."
        )


def table_of(X: Any) -> Any:
    """Return a frame as pandas', and anything else as an array."""
    frame = as_pandas(X)
    return np.asarray(X) if frame is None else frame


def _check_bears(model: FusionModel | TableModel) -> None:
    lacking = [name for name in model.modalities if not model.bears.get(name, False)]
    if lacking:
        raise ValueError(
            f"{OWNER}: removal='native' leaves modalities out, but the estimator has "
            f"not learned to do without {lacking} (supports_missing_ of a fusion says "
            "so), and what it would answer means nothing. Use removal='background', "
            "or fit a fusion of several modalities with modality_dropout."
        )


def _check_background(n_others: int, n_background: int) -> None:
    if min(n_others, n_background) < FEWEST_BACKGROUND:
        raise ValueError(
            f"{OWNER}: the background has {min(n_others, n_background)} case(s), but "
            "one case cannot stand for all others. Give background=X_train, of which "
            "n_background=100 are drawn."
        )


def _warn_trained(cases: Any, background: Any) -> None:
    n_seen = int(np.isin(_row_keys(background), _row_keys(cases)).sum())
    if n_seen > CHANCE_EQUALS * len(background):
        warnings.warn(
            f"{OWNER}: {n_seen} of {len(background)} background cases are among the "
            f"{len(cases)} cases to explain. If the background is training data, these "
            "are training cases, where a model relies most on what it has learned by "
            "heart. Explain held-out cases.",
            UserWarning,
            stacklevel=5,
        )


def _row_keys(table: Any) -> np.ndarray:
    """Return one number per row, the same for equal rows."""
    frame = pd.DataFrame(table)
    texts = frame.select_dtypes(exclude="number").columns
    frame = frame.astype(dict.fromkeys(texts, str))
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()
