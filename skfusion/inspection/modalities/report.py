"""Report of the three games: tables, figures, interpretation and pitfalls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion._dependencies import require
from skfusion.evaluation.statistics.auroc import estimate_aurocs
from skfusion.inspection.modalities.coalitions import Cases, permuted
from skfusion.inspection.modalities.results import ModalityExplanation, ModalityScores
from skfusion.inspection.modalities.scoring import Scoring, ask_for

__all__ = ["ModalityReport", "describe", "find_pitfalls", "make_report"]


# A model hardly relies on a modality with a smaller reliance share.
HARDLY = 0.05
# For a score between 0 and 1, a gain whose upper limit is at most this is reported as
# no information.
NOTHING = 0.02
# Correlation above which predictions from two single modalities are a pitfall.
CORRELATED = 0.5
FEW_PATIENTS = 30


def describe(
    reliance: ModalityExplanation,
    performance: ModalityScores,
    retrain: ModalityScores | None,
    *,
    is_bounded: bool,
    cases: str = "new patients",
) -> dict[str, str]:
    """Return an interpretation of the results in sentences, by modality.

    Parameters
    ----------
    reliance, performance, retrain
        Results of the three games.
    is_bounded : bool
        Whether the score is between 0 and 1.
    cases : str, default="new patients"
        Description of the cases that are scored.

    Returns
    -------
    dict of str to str
        One to three sentences for each modality.
    """
    share = reliance.share("centred_abs" if len(reliance.values) > 1 else "abs")
    said = {}
    for j, name in enumerate(reliance.modalities):
        low, high = float(performance.low[j]), float(performance.high[j])
        is_little = is_bounded and high <= NOTHING
        what = f"{performance.scoring} on {cases}"
        relies, much = _relies(name, float(share.iloc[j]))
        text = f"{relies}{_adds(much, low, high, what, is_little)}."
        if low > 0 and _repeats(performance, j):
            text += (
                f" Removing it alone lowers the score by only "
                f"{performance.drop_one[j]:.3f}: its information is largely redundant "
                "with other modalities."
            )
        if retrain is not None:
            text += _again(name, low, retrain, j)
        said[name] = text
    return said


def _repeats(performance: ModalityScores, j: int) -> bool:
    """Return whether a modality is redundant with the others.

    A modality is redundant if its gain over the others is less than half of the gain
    of independent information. AUROCs of independent information are not additive,
    because they have a ceiling. For two normal scores, the squares of
    ``sqrt(2) * norm.ppf(AUROC)`` are additive.
    """
    scores, names = performance.coalition_scores, performance.modalities
    others = " + ".join(name for name in names if name != names[j])
    if performance.coalition_scores.iloc[0] != 0.5 or not {
        names[j],
        others,
    } <= set(scores.index):
        return False  # another score than the AUROC, or coalitions not sampled
    apart = np.clip(scores[[names[j], others]], 0.5, 1 - 1e-6)
    expected = norm.cdf(np.hypot(*norm.ppf(apart)))
    return bool(performance.drop_one[j] < 0.5 * (expected - apart.iloc[1]))


def _relies(name: str, share: float) -> tuple[str, bool]:
    if not np.isfinite(share):
        return f"No modality, including {name}, changes any prediction", False
    if share < HARDLY:
        return f"The model hardly relies on {name} ({share:.2f})", False
    return f"The model relies on {name} ({share:.2f})", True


def _adds(relies: bool, low: float, high: float, score: str, is_little: bool) -> str:
    interval = f"({low:.3f} to {high:.3f})"
    if low > 0:
        link = ", and it" if relies else ", yet it"
        return f"{link} improves the {score} {interval}"
    link = " although" if relies else ", and"
    if high < 0:
        return f"{link} it makes the {score} worse {interval}"
    if is_little:
        _, _, cases = score.partition(" on ")
        return f"{link} it carries no information that helps on {cases} {interval}"
    return f"{link} no gain in {score} was shown {interval}"


def _again(name: str, low: float, retrain: ModalityScores, j: int) -> str:
    """Return a sentence about the retrain game and its agreement with performance."""
    if np.isnan(retrain.low[j]):
        return (
            f" The contribution of {name} to retrained models is "
            f"{retrain.estimate[j]:.3f} in every fold, which gives no interval."
        )
    interval = f"({retrain.low[j]:.3f} to {retrain.high[j]:.3f})"
    gains = retrain.low[j] > 0
    if gains and low <= 0:
        return (
            f" Retrained models do gain from {name} {interval}: the data contain "
            "information that this model does not use."
        )
    if gains:
        return f" Retrained models also gain from it {interval}."
    return (
        f" Retrained models show no gain either {interval}."
        if low <= 0
        else (f" Retrained models show no such gain {interval}.")
    )


def find_pitfalls(
    cases: Cases,
    scoring: Scoring,
    reliance: ModalityExplanation,
    performance: ModalityScores,
    patients: np.ndarray | None,
) -> list[str]:
    """Return descriptions of known pitfalls that apply to the results.

    Parameters
    ----------
    cases : Cases
        The cases that were explained.
    scoring : Scoring
        The score.
    reliance, performance
        Results of the games.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case.

    Returns
    -------
    list of str
        One or more sentences for each pitfall.
    """
    found = [
        *_chance(scoring, reliance, performance, patients),
        *_correlated(reliance),
    ]
    if reliance.scale == "proba":
        found.append(
            "Probabilities were explained. They are nonlinear in the log-odds, so "
            "modalities that are additive in the log-odds appear to interact. Use "
            "output='link' to explain the model on its additive scale."
        )
    n_patients = len(cases) if patients is None else int(patients.max()) + 1
    if n_patients < FEW_PATIENTS:
        found.append(
            f"There are only {n_patients} patients. The intervals are valid for large "
            "samples."
        )
    undefined = np.isnan(performance.low) | np.isnan(performance.high)
    if undefined.any():
        found.append(
            f"{undefined.sum()} of {len(undefined)} intervals are undefined, because a "
            "class has too few cases."
        )
    return found


def _chance(
    scoring: Scoring,
    reliance: ModalityExplanation,
    performance: ModalityScores,
    patients: np.ndarray | None,
) -> list[str]:
    if scoring.positive is None or scoring.positive.ndim > 1:
        return []
    predictions = reliance.predictions
    if predictions.ndim > 1 or reliance.scale == "custom":
        return []
    whole = estimate_aurocs(scoring.positive, predictions[None], patients)
    value, error = float(whole.values[0]), float(np.sqrt(whole.covariance[0, 0]))
    if value - 1.96 * error > 0.5:
        return []
    return [
        f"The AUROC of the model is {value:.3f} ({value - 1.96 * error:.3f} to "
        f"{value + 1.96 * error:.3f}), which is not above chance. Its reliance on "
        "modalities is not informative about the outcome."
    ]


def _correlated(reliance: ModalityExplanation) -> list[str]:
    """Return the pairs of modalities whose single predictions are correlated."""
    values, names = reliance.coalition_values, reliance.modalities
    if values is None or len(values) < 3:
        return []
    flat = values.reshape(*values.shape[:2], -1)
    found = []
    for i in range(len(names)):
        for j in range(i):
            both = [flat[:, 2**k] for k in (i, j)]
            columns = zip(both[0].T, both[1].T, strict=True)
            strongest = max(abs(_correlation(a, b)) for a, b in columns)
            if strongest > CORRELATED:
                found.append(
                    f"The predictions from {names[j]} alone and from {names[i]} alone "
                    f"are correlated (r = {strongest:.2f}). Withholding one of them "
                    "creates combinations that may not occur in patients, and either "
                    "can replace the other. Interpret the retrain game and the "
                    "interactions, not the effect of removing one alone."
                )
    return found


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    spread = a.std() * b.std()
    if spread < 1e-12:
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread)


@dataclass(frozen=True, eq=False)
class ModalityReport:
    """Report of modality importance by three games and two simpler measures.

    Attributes
    ----------
    reliance : ModalityExplanation
        Contribution of each modality to each prediction.
    performance : ModalityScores
        Contribution of each modality to the score on held-out cases.
    retrain : ModalityScores or None
        Contribution of each modality to the score of retrained models. None if the
        game was omitted.
    permutation : Series of shape (M,)
        Mean decrease of the score when the modality is permuted between cases.
    sentences : dict of str to str
        Interpretation of the results, by modality.
    pitfalls : list of str
        Known pitfalls that apply to the results.
    """

    __module__ = "skfusion.inspection"

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
            Columns with two levels: ``reliance`` (share), ``performance`` and
            ``retrain`` (estimate, low, high), ``drop_one`` and ``permutation``
            (``fall``, the decrease of the score).
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
        """Plot the games side by side.

        Returns
        -------
        matplotlib.figure.Figure
            Panels of the reliance, the performance and, if computed, the retrain game.
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
            f"(chance {scores.iloc[0]:.3f}), confidence intervals {level:.0%}, "
            f"{self.performance.method}",
            "",
            self.to_frame().to_string(float_format=lambda value: f"{value:.3f}"),
            "",
            *(f"- {sentence}" for sentence in self.sentences.values()),
        ]
        if self.pitfalls:
            lines += ["", "Pitfalls:", *(f"- {pitfall}" for pitfall in self.pitfalls)]
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
    """Combine the games with permutation importance, an interpretation and pitfalls.

    Parameters
    ----------
    cases : Cases
        The held-out cases.
    scoring : Scoring
        The score.
    reliance, performance, retrain
        Results of the games.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case.
    n_repeats : int
        Number of permutations of each modality.
    rng : RandomState
        Random state of the permutations.
    noticed : list of str
        Warnings that cases to explain are training cases.

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
    """Return the decrease of the score when a modality is permuted between cases."""
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
