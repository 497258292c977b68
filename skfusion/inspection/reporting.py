"""The three games side by side, in figures and in sentences.

Read next: `skfusion.inspection.importance`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from skfusion._dependencies import require
from skfusion.inspection.explanation import ModalityExplanation
from skfusion.inspection.games import Cases, permuted
from skfusion.inspection.scores import ModalityScores
from skfusion.inspection.scoring import Scoring, ask_for
from skfusion.inspection.sentences import describe, find_pitfalls

__all__ = ["ModalityReport", "make_report"]


@dataclass(frozen=True, eq=False)
class ModalityReport:
    """What each modality contributes, by three games and two simpler measures.

    Attributes
    ----------
    reliance : ModalityExplanation
        How far each modality moves each prediction.
    performance : ModalityScores
        What each adds to the score on held-out cases.
    retrain : ModalityScores or None
        What each adds when the model is fitted again; None if that was left out.
    permutation : Series of shape (M,)
        What the score falls by when the modality is shuffled between cases, on average.
    sentences : dict of str to str
        What the figures say of each modality.
    pitfalls : list of str
        What is known to mislead, and was found here.
    """

    reliance: ModalityExplanation
    performance: ModalityScores
    retrain: ModalityScores | None
    permutation: pd.Series
    sentences: dict[str, str] = field(default_factory=dict)
    pitfalls: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return all measures, by modality.

        Returns
        -------
        DataFrame of shape (M, n_measures)
            Two levels of columns: ``reliance`` (share), ``performance`` and ``retrain``
            (estimate, low, high), ``drop_one`` and ``permutation`` (fall of the score).
        """
        share = self.reliance.share() if len(self.reliance.values) > 1 else None
        if share is None:
            share = self.reliance.share("abs")
        parts = {
            "reliance": share.to_frame("share"),
            "performance": self.performance.to_frame(),
        }
        if self.retrain is not None:
            parts["retrain"] = self.retrain.to_frame()
        index = share.index
        drop = pd.DataFrame({"fall": self.performance.drop_one}, index=index)
        parts["drop_one"] = drop
        parts["permutation"] = self.permutation.to_frame("fall")
        return pd.concat(parts, axis=1)

    def plot(self) -> Any:
        """Draw the games side by side.

        Returns
        -------
        matplotlib.figure.Figure
            What moves the predictions, what helps on these cases and, if it was
            played, what there is to learn.
        """
        pyplot = require("matplotlib.pyplot", "report")
        games = [g for g in (self.performance, self.retrain) if g is not None]
        n_panels, n_rows = 1 + len(games), len(self.permutation)
        figure, axes = pyplot.subplots(
            1,
            n_panels,
            figsize=(4.6 * n_panels, 1.1 + 0.5 * n_rows),
            sharey=True,
            layout="constrained",
        )
        self.reliance.plot("share", ax=axes[0])
        for axis, game in zip(axes[1:], games, strict=True):
            game.plot(ax=axis)
        return figure

    def __str__(self) -> str:
        scores = self.performance.coalition_scores
        level = self.performance.confidence_level
        lines = [
            f"{self.performance.scoring} of all modalities: {scores.iloc[-1]:.3f} "
            f"(chance {scores.iloc[0]:.3f}); intervals {level:.0%}, "
            f"{self.performance.method}",
            "",
            self.to_frame().to_string(float_format=lambda value: f"{value:.3f}"),
            "",
            *(f"- {sentence}" for sentence in self.sentences.values()),
        ]
        if self.pitfalls:
            lines += ["", "Mind:", *(f"- {pitfall}" for pitfall in self.pitfalls)]
        return "\n".join(lines)


def make_report(
    cases: Cases,
    scoring: Scoring,
    reliance: ModalityExplanation,
    performance: ModalityScores,
    retrain: ModalityScores | None,
    *,
    patients: np.ndarray | None,
    n_repeats: int,
    rng: np.random.RandomState,
    noticed: list[str],
) -> ModalityReport:
    """Put the games side by side with permutation, and say what they mean together.

    Parameters
    ----------
    cases : Cases
        The held-out cases.
    scoring : Scoring
        The score.
    reliance, performance, retrain
        The results of the games.
    patients : ndarray of int of shape (n,) or None
        Patients of the cases.
    n_repeats : int
        How often each modality is shuffled.
    rng : RandomState
        Shuffles.
    noticed : list of str
        Warnings that the cases are training cases.

    Returns
    -------
    ModalityReport
    """
    shuffled = _permutation(cases, scoring, n_repeats, rng)
    report = ModalityReport(reliance, performance, retrain, shuffled)
    report.sentences.update(
        describe(
            reliance,
            performance,
            retrain,
            is_bounded=scoring.is_bounded,
            cases="these training cases" if noticed else "new patients",
        )
    )
    report.pitfalls.extend(noticed)
    report.pitfalls.extend(
        find_pitfalls(cases, scoring, reliance, performance, patients)
    )
    return report


def _permutation(
    cases: Cases, scoring: Scoring, n_repeats: int, rng: np.random.RandomState
) -> pd.Series:
    """Return how far the score falls when a modality is shuffled between cases."""
    ask = ask_for(cases.model, scoring)
    rows = np.arange(len(cases))
    whole = scoring.score(ask(cases.parts), rows)
    falls = {
        name: np.mean(
            [
                whole - scoring.score(ask(permuted(cases, name, rng)), rows)
                for _ in range(n_repeats)
            ]
        )
        for name in cases.model.modalities
    }
    return pd.Series(falls, name="fall").rename_axis("modality")
