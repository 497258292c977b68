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
from skfusion.exceptions import DataWarning, warn_user
from skfusion.inspection.modalities.patients import table_of
from skfusion.inspection.modalities.provenance import Provenance, find_provenance
from skfusion.inspection.modalities.withheld.additive import additive_values
from skfusion.inspection.modalities.withheld.mixing import mean_outputs, take_part
from skfusion.inspection.modalities.withheld.tree_sums import tree_means
from skfusion.inspection.models import OWNER, FusionModel, Parts, TableModel
from skfusion.inspection.shapley import CoalitionPlan, exact_plan, sampled_plan
from skfusion.inspection.wrapped import find_any_model

__all__ = [
    "Cases",
    "coalition_table",
    "make_plan",
    "permuted",
    "prepare",
    "shuffled_order",
    "take_parts",
]


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
    provenance : Provenance
        What is known of the origin of the cases.
    """

    model: FusionModel | TableModel
    parts: Parts
    background: Parts | None
    presence: pd.DataFrame
    provenance: Provenance

    def __len__(self) -> int:
        return len(self.presence)


def make_plan(
    n_players: int,
    n_permutations: int | None,
    rng: np.random.RandomState,
    cost: str,
    max_exact: int,
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
    max_exact : int
        Largest number of modalities for which all coalitions are evaluated.

    Returns
    -------
    CoalitionPlan

    Raises
    ------
    ValueError
        If there are more than `max_exact` modalities and `n_permutations` is None.
    """
    if n_permutations is not None:
        return sampled_plan(n_players, n_permutations, rng)
    if n_players > max_exact:
        raise ValueError(
            f"{OWNER}: {n_players} modalities have 2**{n_players} = "
            f"{2**n_players:,} sets, each of which costs {cost}. Exact Shapley values "
            f"are computed for at most max_exact={max_exact} modalities. Use "
            "n_permutations=100 to sample permutations, "
            f"max_exact={n_players} to evaluate every set, or merge modalities."
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
            _fill_means(table, cases, plan, ask)
    bad = int((~np.isfinite(table)).any(axis=(0, 2)).sum())
    if bad:
        raise ValueError(
            f"{OWNER}: the output is not finite in {bad} of {len(cases)} cases. Check "
            "the values that the estimator, or the function passed as output=, returns."
        )
    return table


def _fill_means(
    table: np.ndarray,
    cases: Cases,
    plan: CoalitionPlan,
    ask: Callable[[Any], np.ndarray],
) -> None:
    """Fill in the outputs averaged over the background, behind those of the cases."""
    background = cases.background
    assert background is not None  # noqa: S101 - the caller's branch
    other = ask(background)
    table[0] = other.mean(axis=0)
    between = plan.coalitions[1:-1]
    if len(between) == 0:
        return
    encoded = (cases.model, cases.parts, background, between, ask)
    found = additive_values(*encoded, table[-1], other)
    if found is None:
        found = tree_means(*encoded, table[-1], other)
    table[1:-1] = mean_outputs(*encoded) if found is None else found


def permuted(
    cases: Cases, name: str, patients: np.ndarray | None, rng: np.random.RandomState
) -> Parts:
    """Return the modalities with one of them permuted between cases or patients."""
    order = shuffled_order(len(cases), patients, rng)
    return {**cases.parts, name: take_part(cases.parts[name], order)}


def shuffled_order(
    n_rows: int, patients: np.ndarray | None, rng: np.random.RandomState
) -> np.ndarray:
    """Return the rows that replace those of a table, which are those of other patients.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    patients : ndarray of int of shape (n_rows,) or None
        Number of the patient of each row, from 0 and without gaps. All rows of a
        patient are replaced by rows of one other patient. None replaces single rows.
    rng : RandomState
        Random state of the order.

    Returns
    -------
    ndarray of int of shape (n_rows,)
    """
    if patients is None:
        return rng.permutation(n_rows)
    rows = [np.flatnonzero(patients == p) for p in range(patients.max() + 1)]
    order = np.empty(n_rows, dtype=int)
    for own, donor in zip(rows, rng.permutation(len(rows)), strict=True):
        order[own] = np.resize(rng.permutation(rows[donor]), len(own))
    return order


def take_parts(parts: Parts, rows: np.ndarray) -> Parts:
    """Return the selected rows of every modality."""
    return {name: take_part(part, rows) for name, part in parts.items()}


def _hidden(cases: Cases, members: np.ndarray) -> Parts:
    return {
        name: part if inside else np.full_like(part, np.nan)
        for (name, part), inside in zip(cases.parts.items(), members, strict=True)
    }


@contextmanager
def _expected_absences() -> Iterator[None]:
    # A case without any remaining modality is expected when modalities are withheld, so
    # the warning would not inform the user.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have no modality at all.*", UserWarning)
        yield


REMOVALS = ("background", "native")
FEWEST_BACKGROUND = 2


def prepare(
    X: Any,
    estimator: Any,
    modalities: Any,
    *,
    removal: str,
    background: Any,
    n_background: int,
    n_permutations: int | None,
    max_exact: int,
    rng: np.random.RandomState,
) -> tuple[Cases, CoalitionPlan]:
    """Encode the cases and the background once, and plan the game.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    estimator, modalities, removal, background, n_background, n_permutations, max_exact
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
        If a setting is unknown, the background is too small or lacks a modality in all
        cases, or there are too many modalities. Also if `removal` is ``"native"`` and
        the model was not trained with a modality absent.

    Warns
    -----
    LeakageWarning
        If cases are training rows.
    DataWarning
        If a modality is absent in all of several cases.
    """
    check_option(removal, "removal", REMOVALS, OWNER)
    model, (inside, others) = find_any_model(estimator, modalities, X, background)
    cost = f"up to {n_background} predictions for every case"
    plan = make_plan(len(model.modalities), n_permutations, rng, cost, max_exact)
    if removal == "native":
        _check_supports_missing(model)
    else:
        n_others = len(table_of(inside if others is None else others))
        _check_background(n_others, n_background)
    parts, present = model.encode(inside)
    provenance = find_provenance(
        model, table_of(inside), None if others is None else table_of(others)
    )
    provenance.warn()
    drawn: Parts | None = None
    if removal == "background":
        rows = np.arange(n_others)
        if n_others > n_background:
            rows = np.sort(rng.choice(n_others, n_background, replace=False))
        if others is None:
            drawn, known = take_parts(parts, rows), present[rows]
        else:
            drawn, known = model.encode(take_rows(table_of(others), rows))
        _check_known(model, known, present, is_given=others is not None)
    index = X.index if isinstance(X, pd.DataFrame) else None
    presence = pd.DataFrame(present, columns=list(model.modalities), index=index)
    _warn_absent(presence)
    return Cases(model, parts, drawn, presence, provenance), plan


def _check_known(
    model: FusionModel | TableModel,
    known: np.ndarray,
    present: np.ndarray,
    *,
    is_given: bool,
) -> None:
    """Refuse a background without any case that has a modality."""
    lacking = np.asarray(~known.any(axis=0))
    if not is_given:
        lacking &= present.any(axis=0)
    if lacking.any():
        names = [m for m, j in zip(model.modalities, lacking, strict=True) if j]
        raise ValueError(
            f"{OWNER}: {names} absent in all {len(known)} background cases, so a "
            "withheld modality would be replaced by its absence. Pass background cases "
            "that have it, or a larger n_background."
        )


def _warn_absent(presence: pd.DataFrame) -> None:
    absent = [name for name in presence if not presence[name].any()]
    if absent and len(presence) > 1:
        warn_user(
            f"{OWNER}: {absent} absent in all {len(presence)} cases, so their "
            "contributions are the effect of the absence and say nothing about the "
            "modality. Explain cases that have it.",
            DataWarning,
        )


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
