"""Words of the report: what each sentence may claim, and from which interval.

Each row of `CLAIMS` is a quantity with its interval. A sentence says that something is
larger or smaller only if the interval of this very quantity says so, and that a
difference is of no importance only within a margin that was declared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion.inspection.modalities.provenance import Provenance
from skfusion.inspection.modalities.results import ModalityScores

__all__ = ["CLAIMS", "FORBIDDEN", "Claim", "describe"]

# A model hardly relies on a modality whose share is smaller.
HARDLY = 0.05
# Words for which no run of this module has the evidence.
FORBIDDEN = (
    "new patients",
    "no information",
    "carries no",
    "no such gain",
    "no gain",
    "nothing",
    "does not use",
    "can stand for",
    "can replace",
    "important",
)


@dataclass(frozen=True)
class Claim:
    """Quantity of a sentence of the report, with its interval and words.

    Attributes
    ----------
    estimand : str
        The quantity.
    interval : str
        What its interval describes.
    above, below, open : str
        Words if the interval is above `threshold`, below it, or contains it.
    threshold : float
        The number that the interval is compared with.
    """

    estimand: str
    interval: str
    above: str
    below: str
    open: str
    threshold: float = 0.0

    def say(self, estimate: float, low: float, high: float, **words: str) -> str:
        """Return the sentence that an interval allows."""
        numbers = f"{estimate:.3f} ({low:.3f} to {high:.3f})"
        size = f"{abs(estimate):.3f} ({low:.3f} to {high:.3f})"
        if low > self.threshold:
            text = self.above
        elif high < self.threshold:
            text = self.below
            size = f"{abs(estimate):.3f} ({-high:.3f} to {-low:.3f})"
        else:
            text = self.open
        return text.format(numbers=numbers, size=size, **words)


CLAIMS = {
    "reliance": Claim(
        "share of the modality in the size of the contributions to predictions",
        "patients resampled, for this model and background",
        "The model relies on {name} (share {share}).",
        "The model hardly relies on {name} (share {share}).",
        "How much the model relies on {name} is uncertain (share {share}).",
        HARDLY,
    ),
    "contribution": Claim(
        "Shapley value of the score",
        "sampling of patients, for this model and background",
        "Its contribution to the {score} on {cases} is above 0: {numbers}.",
        "Its contribution to the {score} on {cases} is below 0: {numbers}.",
        "Its contribution to the {score} on {cases} cannot be told from 0: {numbers}.",
    ),
    "drop_one": Claim(
        "score of all modalities minus that without this one, on new rows",
        "sampling of patients, for this model and background",
        "Beside the other modalities, it improves the {score} of this model on {cases} "
        "by {size}.",
        "Beside the other modalities, it lowers the {score} of this model on {cases} "
        "by {size}.",
        "Whether it improves the {score} beside the other modalities is not shown: "
        "withheld alone, the difference is {numbers}.",
    ),
    "drop_one_of_known_rows": Claim(
        "score of all modalities minus that without this one, on other rows",
        "sampling of patients, for this model and background",
        "Withheld alone, the {score} on {cases} is lower by {size}.",
        "Withheld alone, the {score} on {cases} is higher by {size}.",
        "Withheld alone, the difference in {score} on {cases} is {numbers}, which "
        "cannot be told from 0.",
    ),
    "refits": Claim(
        "score of models with all modalities minus that of models fitted without it",
        "training and test sets (Nadeau and Bengio)",
        "Models that are fitted with it have a higher {score} than models fitted "
        "without it, by {size} in {folds} folds.",
        "Models that are fitted with it have a lower {score} than models fitted "
        "without it, by {size} in {folds} folds.",
        "Whether models fitted with it do better than models fitted without it is not "
        "shown: the difference is {numbers} in {folds} folds.",
    ),
}


def describe(
    shares: pd.DataFrame,
    performance: ModalityScores,
    retrain: ModalityScores | None,
    provenance: Provenance,
    *,
    margin: float | None = None,
) -> dict[str, str]:
    """Return the results in sentences, by modality.

    Parameters
    ----------
    shares : DataFrame of shape (M, 3) or (M, 4)
        ``estimate``, ``low`` and ``high`` of the shares of the reliance, and
        ``null_share`` if it was computed.
    performance, retrain
        Results of the games.
    provenance : Provenance
        Where the cases come from.
    margin : float or None, default=None
        Largest difference of the score that is of no importance.

    Returns
    -------
    dict of str to str
        Sentences for each modality.
    """
    said = {}
    for j, name in enumerate(performance.modalities):
        sentences = [_reliance(name, shares.iloc[j])]
        if np.isnan(performance.estimate[j]):
            sentences.append(
                f"{name} is absent in all cases, so that its contribution to the "
                f"{performance.scoring} cannot be computed from them."
            )
        else:
            sentences += _performance(performance, j, provenance, margin)
        if retrain is not None and not np.isnan(retrain.drop_one[j]):
            sentences.append(_refits(retrain, j, margin))
        said[name] = " ".join(sentences)
    return said


def _reliance(name: str, share: pd.Series) -> str:
    estimate, low, high = share["estimate"], share["low"], share["high"]
    if not np.isfinite(estimate):
        return f"No modality, with {name}, changes a prediction of these cases."
    text = f"{estimate:.2f}"
    if np.isfinite(low):
        text += f", {low:.2f} to {high:.2f}"
        limits = float(low), float(high)
    else:  # of one case
        limits = float(estimate), float(estimate)
    null = share.get("null_share", np.nan)
    if np.isfinite(null):
        text += f"; {null:.2f} if it is shuffled among patients before the fit"
    return CLAIMS["reliance"].say(estimate, *limits, name=name, share=text)


def _performance(
    found: ModalityScores, j: int, provenance: Provenance, margin: float | None
) -> list[str]:
    words = {"score": found.scoring, "cases": provenance.words}
    contribution = CLAIMS["contribution"].say(
        found.estimate[j], found.low[j], found.high[j], **words
    )
    low, high = _drop_limits(found, j)
    if np.isnan(found.drop_one[j]) or np.isnan(low):
        return [contribution]
    if _within(low, high, margin):
        return [contribution, _no_difference(found, j, low, high, margin)]
    # An improvement is one of rows that the model has not seen.
    seen = provenance.n_training is not None and provenance.n_training > 0
    kind = "drop_one_of_known_rows" if seen else "drop_one"
    drop = CLAIMS[kind].say(found.drop_one[j], low, high, **words)
    expected = _gain_if_independent(found, j)
    if found.low[j] > 0 and high < 0.5 * expected:
        drop += (
            f" This is less than half of the {expected:.3f} that a modality with the "
            "same AUROC alone would add if it were independent of the others."
        )
    return [contribution, drop]


def _refits(retrain: ModalityScores, j: int, margin: float | None) -> str:
    low, high = _drop_limits(retrain, j)
    if _within(low, high, margin):
        return _no_difference(retrain, j, low, high, margin)
    folds = retrain.fold_scores
    n_folds = 0 if folds is None else len(folds)
    if folds is not None and _is_same_in_all(folds, retrain, j):
        return (
            "The difference between models fitted with and without it is "
            f"{retrain.drop_one[j]:.3f} in every fold, which gives no interval."
        )
    return CLAIMS["refits"].say(
        retrain.drop_one[j], low, high, score=retrain.scoring, folds=str(n_folds)
    )


def _is_same_in_all(folds: pd.DataFrame, retrain: ModalityScores, j: int) -> bool:
    names = retrain.modalities
    others = " + ".join(name for name in names if name != names[j]) or "none"
    return float(np.ptp(folds[" + ".join(names)] - folds[others])) < 1e-12


def _within(low: float, high: float, margin: float | None) -> bool:
    return margin is not None and -margin < low and high < margin


def _no_difference(
    found: ModalityScores, j: int, low: float, high: float, margin: float | None
) -> str:
    whose = "of this model" if found.game == "performance" else "of models fitted again"
    return (
        f"Without it alone, the {found.scoring} {whose} differs by less than the "
        f"margin of {margin:g}: {found.drop_one[j]:.3f} ({low:.3f} to {high:.3f})."
    )


def _drop_limits(found: ModalityScores, j: int) -> tuple[float, float]:
    if found.drop_one_low is None or found.drop_one_high is None:
        return np.nan, np.nan
    return float(found.drop_one_low[j]), float(found.drop_one_high[j])


def _gain_if_independent(found: ModalityScores, j: int) -> float:
    """Return what a modality would add to the AUROC of independent other ones.

    AUROCs of independent modalities are not additive, because they have a ceiling. For
    two normal scores, the squares of ``sqrt(2) * norm.ppf(AUROC)`` are additive.
    """
    scores, names = found.coalition_scores, found.modalities
    others = " + ".join(name for name in names if name != names[j])
    if scores.iloc[0] != 0.5 or not {names[j], others} <= set(scores.index):
        return 0.0  # another score than the AUROC, or sets that were not sampled
    apart = np.clip(scores[[names[j], others]], 0.5, 1 - 1e-6)
    together = norm.cdf(np.hypot(*norm.ppf(apart)))
    return float(together - apart.iloc[1])
