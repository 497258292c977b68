"""Predictions of a fitted model from coalitions (sets) of modalities.

A modality outside the coalition is withheld. It is replaced by the values of background
cases, over which the output is averaged. Alternatively, it is left out if the model was
trained with the modality absent. Cases and background are encoded once, and mixed rows
are created in chunks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._fitting.pipelines import take_rows
from skfusion._validation import check_option
from skfusion.cohort import (
    as_pandas,
    check_groups,
    column_of_role,
    column_or_ids,
)
from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.inspection.models import OWNER, FusionModel, Parts, TableModel, find_model
from skfusion.inspection.shapley import CoalitionPlan, exact_plan, sampled_plan

__all__ = [
    "Cases",
    "coalition_table",
    "find_patients",
    "make_plan",
    "permuted",
    "prepare",
    "table_of",
    "take_parts",
]


MOST_EXACT = 8
CHUNK_BYTES = 64 * 2**20
CHUNK_ROWS = 20_000


@dataclass(frozen=True)
class Cases:
    """Cases to explain, with their encoded modalities.

    Attributes
    ----------
    model : FusionModel or TableModel
        The fitted model.
    parts : dict of str to array of n rows
        The encoded modalities of the cases.
    background : dict of str to array of K rows, or None
        The encoded modalities of the background cases. None if withheld modalities are
        left out.
    presence : DataFrame of bool of shape (n, M)
        Whether a modality is present in a case.
    """

    model: FusionModel | TableModel
    parts: Parts
    background: Parts | None
    presence: pd.DataFrame

    def __len__(self) -> int:
        return len(self.presence)


def make_plan(
    n_players: int, n_permutations: int | None, rng: np.random.RandomState, cost: str
) -> CoalitionPlan:
    """Plan the game of M modalities, exactly or with sampled permutations.

    Parameters
    ----------
    n_players : int
        Number of modalities, M.
    n_permutations : int or None
        Number of pairs of permutations to sample. None evaluates all 2**M coalitions.
    rng : RandomState
        Random state of the permutations.
    cost : str
        Cost of each coalition, for the error message.

    Returns
    -------
    CoalitionPlan

    Raises
    ------
    ValueError
        If there are more than 8 modalities and `n_permutations` is None.
    """
    if n_permutations is not None:
        return sampled_plan(n_players, n_permutations, rng)
    if n_players > MOST_EXACT:
        raise ValueError(
            f"{OWNER}: {n_players} modalities have 2**{n_players} = "
            f"{2**n_players:,} sets, each of which costs {cost}. Exact Shapley values "
            f"are computed for at most {MOST_EXACT} modalities. Use "
            "n_permutations=100 to sample permutations, or merge modalities."
        )
    return exact_plan(n_players)


def coalition_table(
    cases: Cases, plan: CoalitionPlan, ask: Callable[[Parts], np.ndarray]
) -> np.ndarray:
    """Compute the output of the model from each coalition of modalities.

    Parameters
    ----------
    cases : Cases
        n cases with M modalities.
    plan : CoalitionPlan
        The coalitions. The first is empty, and the last contains all modalities.
    ask : callable
        Maps the modalities of any number of cases to outputs (n, C).

    Returns
    -------
    ndarray of shape (n_coalitions, n, C)

    Raises
    ------
    ValueError
        If an output is not finite.
    """
    with _expected_absences():
        full = ask(cases.parts)
        table = np.empty((len(plan.coalitions), *full.shape))
        table[-1] = full
        if cases.background is None:
            for number, members in enumerate(plan.coalitions[:-1]):
                table[number] = ask(_hidden(cases, members))
        else:
            table[0] = ask(cases.background).mean(axis=0)
            for number, members in enumerate(plan.coalitions[1:-1], start=1):
                table[number] = _marginal(cases, members, ask)
    bad = int((~np.isfinite(table)).any(axis=(0, 2)).sum())
    if bad:
        raise ValueError(
            f"{OWNER}: the output is not finite in {bad} of {len(cases)} cases. Check "
            "the values that the estimator, or the function passed as output=, returns."
        )
    return table


def permuted(cases: Cases, name: str, rng: np.random.RandomState) -> Parts:
    """Return the modalities of the cases with one of them permuted between cases."""
    order = rng.permutation(len(cases))
    return {**cases.parts, name: _take(cases.parts[name], order)}


def take_parts(parts: Parts, rows: np.ndarray) -> Parts:
    """Return the selected rows of every modality."""
    return {name: _take(part, rows) for name, part in parts.items()}


def _marginal(
    cases: Cases, members: np.ndarray, ask: Callable[[Parts], np.ndarray]
) -> np.ndarray:
    """Average the output over background values of the withheld modalities."""
    background = cases.background
    assert background is not None  # noqa: S101 - the caller's branch
    names = cases.model.modalities
    n_background = len(background[names[0]])
    step = max(1, _most_rows(cases.parts) // n_background)
    means = []
    for start in range(0, len(cases), step):
        own = np.arange(start, min(start + step, len(cases)))
        own_rows = np.repeat(own, n_background)
        other_rows = np.tile(np.arange(n_background), len(own))
        mixed = {
            name: _take(cases.parts[name], own_rows)
            if inside
            else _take(background[name], other_rows)
            for name, inside in zip(names, members, strict=True)
        }
        outputs = ask(mixed)
        means.append(outputs.reshape(len(own), n_background, -1).mean(axis=1))
    return np.concatenate(means)


def _hidden(cases: Cases, members: np.ndarray) -> Parts:
    return {
        name: part if inside else np.full_like(part, np.nan)
        for (name, part), inside in zip(cases.parts.items(), members, strict=True)
    }


def _most_rows(parts: Parts) -> int:
    """Return the maximum number of mixed rows per chunk."""
    row = sum(
        part.shape[1] * (part.dtype.itemsize if isinstance(part, np.ndarray) else 8)
        for part in parts.values()
    )
    return min(CHUNK_ROWS, CHUNK_BYTES // max(1, row))


def _take(part: Any, rows: np.ndarray) -> Any:
    if isinstance(part, np.ndarray):
        return part[rows]
    taken = part.take(rows)
    taken.index = pd.RangeIndex(len(taken))
    return taken


@contextmanager
def _expected_absences() -> Iterator[None]:
    # A case without any remaining modality is expected when modalities are withheld, so
    # the warning would not inform the user.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have no modality at all.*", UserWarning)
        yield


REMOVALS = ("background", "native")
FEWEST_BACKGROUND = 2
# Two cases can be equal by chance, especially with few columns.
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
    """Encode the cases and the background once, and plan the game.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    estimator, modalities, removal, background, n_background, n_permutations
        See `ModalityImportance`.
    rng : RandomState
        Random state of the background and the permutations.

    Returns
    -------
    cases : Cases
    plan : CoalitionPlan

    Raises
    ------
    ValueError
        If a setting is unknown, the background is too small, or there are too many
        modalities. Also if `removal` is ``"native"`` and the model was not trained with
        a modality absent.
    """
    check_option(removal, "removal", REMOVALS, OWNER)
    model, (inside, others) = find_model(estimator, modalities, X, background)
    cost = f"up to {n_background} predictions for every case"
    plan = make_plan(len(model.modalities), n_permutations, rng, cost)
    if removal == "native":
        _check_supports_missing(model)
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
    """Return the number of the patient of each case.

    Parameters
    ----------
    groups : str, int, array-like of shape (n,) or None
        The patient ids, or the column that contains them.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    modalities : dict of str to list of column labels, or None
        The columns of each modality. None for a fusion, which defines its modalities.

    Returns
    -------
    patients : ndarray of int of shape (n,) or None
        None if `groups` is None.
    X : DataFrame or ndarray
        The cases. The column of ids is dropped if `modalities` is a dict, because the
        estimator is fitted without it.

    Raises
    ------
    ValueError
        If an id is missing, the number of ids differs from the number of cases, or all
        ids are equal.
    """
    if groups is None:
        return None, X
    column, ids = column_or_ids(groups)
    table = table_of(X)
    frame = pd.DataFrame(table)
    patients = check_groups(ids, frame, column=column, owner=OWNER)
    assert patients is not None  # noqa: S101 - groups were given
    if patients.max(initial=0) == 0:
        raise ValueError(
            f"{OWNER}: all {len(patients)} cases belong to one patient (group), so the "
            "variation between patients cannot be estimated. Pass cases of more "
            "patients."
        )
    if column is not None and modalities is not None:
        label = column_of_role(column, "groups", frame, OWNER)
        X = frame.drop(columns=label)
        X = X if hasattr(table, "iloc") else X.to_numpy()
    return patients, X


def table_of(X: Any) -> Any:
    """Return a data frame as a pandas DataFrame, and other inputs as an array."""
    frame = as_pandas(X, OWNER)
    return np.asarray(X) if frame is None else frame


def _check_supports_missing(model: FusionModel | TableModel) -> None:
    lacking = [
        name for name in model.modalities if not model.supports_missing.get(name, False)
    ]
    if lacking:
        raise ValueError(
            f"{OWNER}: removal='native' leaves modalities out, but the estimator was "
            f"never trained with {lacking} absent (see supports_missing_ of a fusion), "
            "so its predictions would not be meaningful. Use removal='background', or "
            "fit a fusion with absence_copies (early) or modality_dropout (joint)."
        )


def _check_background(n_others: int, n_background: int) -> None:
    if min(n_others, n_background) < FEWEST_BACKGROUND:
        raise ValueError(
            f"{OWNER}: got {min(n_others, n_background)} background case(s), but the "
            "output must be averaged over several cases. Use background=X_train with "
            "n_background=100."
        )


def _warn_trained(cases: Any, background: Any) -> None:
    n_seen = int(np.isin(_row_keys(background), _row_keys(cases)).sum())
    if n_seen > CHANCE_EQUALS * len(background):
        warn_user(
            f"{OWNER}: {n_seen} of {len(background)} background cases are among the "
            f"{len(cases)} cases to explain. If the background is training data, these "
            "are training cases, on which the reliance on overfitted noise is highest. "
            "Explain held-out cases.",
            LeakageWarning,
        )


def _row_keys(table: Any) -> np.ndarray:
    """Return one hash per row, which is the same for equal rows."""
    frame = pd.DataFrame(table)
    texts = frame.select_dtypes(exclude="number").columns
    frame = frame.astype(dict.fromkeys(texts, str))
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()
