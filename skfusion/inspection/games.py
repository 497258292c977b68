"""A model and cases in, what it predicts from every set of modalities out.

A modality outside of the set is withheld: replaced by those of background cases, over
which the output is averaged, or left out where the model has learned to do without.
Nothing is encoded here, and only a chunk of mixed rows exists at a time. Read next:
`skfusion.inspection.importance`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.inspection.models import OWNER, FusionModel, Parts, TableModel
from skfusion.inspection.shapley import CoalitionPlan, exact_plan, sampled_plan

__all__ = ["Cases", "coalition_table", "make_plan", "permuted", "take_parts"]

MOST_EXACT = 8
CHUNK_BYTES = 64 * 2**20
CHUNK_ROWS = 20_000


@dataclass(frozen=True)
class Cases:
    """Cases to explain, their modalities taken apart.

    Attributes
    ----------
    model : FusionModel or TableModel
        What predicts.
    parts : dict of str to array of n rows
        The modalities of the cases, encoded.
    background : dict of str to array of K rows, or None
        Those that stand for what is withheld; None where it is left out.
    presence : DataFrame of bool of shape (n, M)
        Which modality is there in which case.
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
    """Plan the game of M modalities: exact, or by sampled permutations.

    Parameters
    ----------
    n_players : int
        Number of modalities, M.
    n_permutations : int or None
        Pairs of permutations to sample; None asks all 2**M coalitions.
    rng : RandomState
        Draws them.
    cost : str
        What each coalition costs, for the message.

    Returns
    -------
    CoalitionPlan

    Raises
    ------
    ValueError
        If there are more than 8 modalities and none are to be sampled.
    """
    if n_permutations is not None:
        return sampled_plan(n_players, n_permutations, rng)
    if n_players > MOST_EXACT:
        raise ValueError(
            f"{OWNER}: {n_players} modalities have 2**{n_players} = "
            f"{2**n_players:,} sets, each of which costs {cost}; exact games are "
            f"played with {MOST_EXACT} at most. Give n_permutations=100 to sample "
            "orders, or join modalities."
        )
    return exact_plan(n_players)


def coalition_table(
    cases: Cases, plan: CoalitionPlan, ask: Callable[[Parts], np.ndarray]
) -> np.ndarray:
    """Ask the model what it predicts from each set of modalities.

    Parameters
    ----------
    cases : Cases
        n cases with M modalities.
    plan : CoalitionPlan
        The sets to ask; the first is empty, the last holds all.
    ask : callable
        From modalities of any number of cases to outputs (n, C).

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
            "what the estimator, or the function given as output=, returns."
        )
    return table


def permuted(cases: Cases, name: str, rng: np.random.RandomState) -> Parts:
    """Return the modalities of the cases with one of them shuffled between cases."""
    order = rng.permutation(len(cases))
    return {**cases.parts, name: _take(cases.parts[name], order)}


def take_parts(parts: Parts, rows: np.ndarray) -> Parts:
    """Return some rows of every modality."""
    return {name: _take(part, rows) for name, part in parts.items()}


def _marginal(
    cases: Cases, members: np.ndarray, ask: Callable[[Parts], np.ndarray]
) -> np.ndarray:
    """Average the output over the background in place of what is withheld."""
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
    """Return how many mixed rows may exist at a time."""
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
    # A case with the image only, its image withheld, has nothing left: that is what
    # the game asks, and no news for the user.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have no modality at all.*", UserWarning)
        yield
