"""What each modality adds to a score: the result of `score` and `refit`.

Read next: `skfusion.inspection.performance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion.inspection.interactions import interaction_matrix, player_pairs
from skfusion.inspection.shapley import CoalitionPlan

__all__ = ["ModalityScores", "coalition_name", "make_scores", "named_pairs"]


def coalition_name(members: np.ndarray, modalities: tuple[str, ...]) -> str:
    """Write a set of modalities, such as ``"cxr + ehr"``."""
    names = [m for m, inside in zip(modalities, members, strict=True) if inside]
    return " + ".join(names) if names else "none"


@dataclass(frozen=True, eq=False)
class ModalityScores:
    """What each modality adds to a score, with intervals.

    Attributes
    ----------
    game : {"performance", "retrain"}
        Whether modalities are withheld from one fitted model, or the model is fitted
        again on each set of them.
    scoring : str
        Name of the score. Of a loss, contributions are what it is lowered by.
    modalities : tuple of str
        The M modalities.
    estimate, low, high : ndarray of shape (M,)
        Shapley values of the score and limits of their intervals. They sum to the
        score of all modalities less that of none.
    standard_errors : ndarray of shape (M,)
        Standard errors of the estimates.
    method : str
        How the intervals were computed, in words.
    confidence_level : float
        Their coverage.
    coalition_scores : Series
        The score of each set of modalities that was asked, named like ``"cxr + ehr"``;
        greater is better. ``"none"`` is chance.
    interactions : dict of (str, str) to float
        Shapley interaction index of each pair: below 0 the two repeat each other, or
        come near the ceiling of the score. Empty where sets were sampled.
    drop_one : ndarray of shape (M,)
        What the score loses when the modality alone is withheld; NaN where that set
        was not sampled. Of two that repeat each other, neither loses anything.
    """

    game: str
    scoring: str
    modalities: tuple[str, ...]
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_errors: np.ndarray
    method: str
    confidence_level: float
    coalition_scores: pd.Series
    interactions: dict[tuple[str, str], float]
    drop_one: np.ndarray

    def to_frame(self) -> pd.DataFrame:
        """Return the contributions of the modalities.

        Returns
        -------
        DataFrame of shape (M, 3)
            ``estimate``, ``low`` and ``high``, by modality.
        """
        return pd.DataFrame(
            {"estimate": self.estimate, "low": self.low, "high": self.high},
            index=pd.Index(self.modalities, name="modality"),
        )

    def plot(self, kind: str = "bars", **options: Any) -> Any:
        """Draw, see `skfusion.inspection.display.ModalityScoresDisplay.plot`.

        Returns
        -------
        ModalityScoresDisplay
        """
        from skfusion.inspection.display import ModalityScoresDisplay

        return ModalityScoresDisplay(self).plot(kind, **options)


def named_pairs(
    modalities: tuple[str, ...], values: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Name the rows of an array of pairs, in the order of `player_pairs`."""
    pairs = player_pairs(len(modalities))
    return {
        (modalities[i], modalities[j]): value
        for (i, j), value in zip(pairs, values, strict=True)
    }


def make_scores(
    game: str,
    scoring: str,
    modalities: tuple[str, ...],
    plan: CoalitionPlan,
    values: np.ndarray,
    *,
    limits: tuple[np.ndarray, np.ndarray],
    errors: np.ndarray,
    method: str,
    confidence_level: float,
) -> ModalityScores:
    """Put together what a game of scores found.

    Parameters
    ----------
    game, scoring, modalities, method, confidence_level
        As in `ModalityScores`.
    plan : CoalitionPlan
        The sets of modalities that were asked.
    values : ndarray of shape (n_coalitions,)
        Their scores.
    limits : tuple of two ndarrays of shape (M,)
        Limits of the Shapley values' intervals, which know nothing of sampled sets:
        where sets were sampled, they are widened by what that leaves uncertain.
    errors : ndarray of shape (M,)
        Standard errors, likewise.

    Returns
    -------
    ModalityScores
    """
    estimate = plan.shapley(values)
    low, high = limits
    sampling = plan.standard_errors(values)
    if sampling is not None:
        reach = norm.ppf(0.5 + confidence_level / 2.0) * sampling
        low = estimate - np.hypot(estimate - low, reach)
        high = estimate + np.hypot(high - estimate, reach)
        errors = np.hypot(errors, sampling)
    pairs: dict[tuple[str, str], np.ndarray] = {}
    if plan.is_exact:
        pairs = named_pairs(modalities, interaction_matrix(len(modalities)) @ values)
    names = [coalition_name(members, modalities) for members in plan.coalitions]
    return ModalityScores(
        game=game,
        scoring=scoring,
        modalities=modalities,
        estimate=estimate,
        low=low,
        high=high,
        standard_errors=errors,
        method=method,
        confidence_level=confidence_level,
        coalition_scores=pd.Series(values, index=names, name=scoring),
        interactions={pair: float(value) for pair, value in pairs.items()},
        drop_one=_drop_one(plan, values),
    )


def _drop_one(plan: CoalitionPlan, values: np.ndarray) -> np.ndarray:
    n_players = plan.coalitions.shape[1]
    lost = np.full(n_players, np.nan)
    for player in range(n_players):
        others = np.arange(n_players) != player
        found = np.flatnonzero((plan.coalitions == others).all(axis=1))
        if len(found):
            lost[player] = values[-1] - values[found[0]]
    return lost
