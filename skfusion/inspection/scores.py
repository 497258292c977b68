"""What each modality adds to a score: the result of `score` and `refit`.

Read next: `skfusion.inspection.performance`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skfusion.inspection.shapley import player_pairs

__all__ = ["ModalityScores", "coalition_name", "named_pairs"]


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
        Shapley interaction index of each pair: below 0 the two repeat each other.
        Empty where sets were sampled.
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


def named_pairs(
    modalities: tuple[str, ...], values: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Name the rows of an array of pairs, in the order of `player_pairs`."""
    pairs = player_pairs(len(modalities))
    return {
        (modalities[i], modalities[j]): value
        for (i, j), value in zip(pairs, values, strict=True)
    }
