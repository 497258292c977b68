"""What each modality adds to each prediction: the result of `explain`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import check_random_state

from skfusion._dependencies import require
from skfusion._validation import check_option
from skfusion.inspection.modalities.coalitions import Cases
from skfusion.inspection.modalities.scoring import percentile_interval, resampled_rows
from skfusion.inspection.models import Output, log_odds
from skfusion.inspection.shapley import (
    CoalitionPlan,
    check_efficiency,
    interaction_matrix,
    moebius_matrix,
    player_pairs,
)

__all__ = [
    "ModalityExplanation",
    "ModalityScores",
    "coalition_name",
    "make_explanation",
    "make_scores",
    "named_pairs",
]


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
        """Draw, see `skfusion.inspection.plots.display.ModalityScoresDisplay.plot`.

        Returns
        -------
        ModalityScoresDisplay
        """
        from skfusion.inspection.plots.display import ModalityScoresDisplay

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


# What the log-odds of a probability of 1 are cut at
LARGEST = float(log_odds(np.ones(1))[0])
SHARES = ("centred_abs", "variance", "covariance", "abs")


@dataclass(frozen=True, eq=False)
class ModalityExplanation:
    """What each modality adds to each prediction (reliance).

    A prediction is the base value plus what its modalities add. n is the number of
    cases, M of modalities, C of outputs; the last axis is left out where there is one
    output, as for two classes.

    Attributes
    ----------
    values : ndarray of shape (n, M[, C])
        Shapley values, in the unit of `output`.
    base_values : ndarray of shape () or (C,)
        Prediction where no modality is known.
    modalities : tuple of str
        Their names.
    output : str
        What is explained, in words, such as ``"log-odds of 1"``.
    scale : {"link", "proba", "custom"}
        On which scale; see `interaction_share`.
    classes : tuple or None
        What the C outputs stand for; None where there is one output.
    coalition_values : ndarray of shape (n, 2**M[, C]) or None
        Predictions from each set of modalities, in the order of
        `skfusion.inspection.shapley.all_coalitions`; None where sets were sampled.
    interactions : dict of (str, str) to ndarray of shape (n[, C])
        Shapley interaction index of each pair: above 0 the two say more together than
        apart. Empty where sets were sampled.
    standard_errors : ndarray of shape (n, M[, C]) or None
        Uncertainty of sampled values; None where they are exact.
    presence : DataFrame of bool of shape (n, M)
        Which modality is there in which case; its index is that of the cases.
    outcome : ndarray of shape (n,) or None
        What happened, if it was given.
    """

    values: np.ndarray
    base_values: np.ndarray
    modalities: tuple[str, ...]
    output: str
    scale: str
    classes: tuple[Any, ...] | None
    coalition_values: np.ndarray | None
    interactions: dict[tuple[str, str], np.ndarray]
    standard_errors: np.ndarray | None
    presence: pd.DataFrame
    outcome: np.ndarray | None = None

    @property
    def predictions(self) -> np.ndarray:
        """The predictions that are explained, of shape (n[, C])."""
        return self.base_values + self.values.sum(axis=1)

    def share(self, kind: str = "centred_abs", *, per_class: bool = False) -> Any:
        """Return the share of each modality in what is explained, over all cases.

        Parameters
        ----------
        kind : {"centred_abs", "variance", "covariance", "abs"}, default="centred_abs"
            What is compared: the mean distance of the values from their own mean,
            which does not depend on which cases the background happened to hold; their
            variance; their covariance with the prediction (below 0 for a modality that
            works against it); or the mean of their absolute values.
        per_class : bool, default=False
            Whether each output gets shares of its own. Else they are summed first.

        Returns
        -------
        Series of shape (M,), or DataFrame of shape (M, C) if `per_class`
            Shares, which sum to 1; NaN where no modality moves any prediction.

        Raises
        ------
        ValueError
            If the kind is unknown, or spread is asked of a single case.
        """
        _check_kind(kind, len(self.values))
        sizes = _sizes(self._three_dimensional(), kind)  # (M, C)
        if not per_class or self.classes is None:
            sizes = sizes.sum(axis=1, keepdims=True)
        shares = _normalised(sizes)
        names = pd.Index(self.modalities, name="modality")
        if per_class and self.classes is not None:
            return pd.DataFrame(shares, index=names, columns=list(self.classes))
        return pd.Series(shares[:, 0], index=names, name="share")

    def share_interval(
        self,
        kind: str = "centred_abs",
        *,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
        random_state: Any = 0,
    ) -> pd.DataFrame:
        """Return the shares with bootstrap intervals over cases, or whole patients.

        The model and the background stay as they are: the intervals say how far the
        choice of cases moves the shares.

        Parameters
        ----------
        kind : str, default="centred_abs"
            As in `share`.
        groups : array-like of shape (n,) or None, default=None
            Patient ids; whole patients are drawn.
        confidence_level : float, default=0.95
            Coverage.
        n_resamples : int, default=1000
            Number of draws.
        random_state : int, RandomState or None, default=0
            Seed of the draws.

        Returns
        -------
        DataFrame of shape (M, 3)
            ``estimate``, ``low`` and ``high``, by modality.
        """
        estimate = self.share(kind)
        values = self._three_dimensional()
        rng = check_random_state(random_state)
        drawn = np.stack(
            [
                _normalised(_sizes(values[rows], kind).sum(axis=1, keepdims=True))[:, 0]
                for rows in resampled_rows(len(values), groups, n_resamples, rng)
            ]
        )
        low, high = percentile_interval(drawn, confidence_level)
        return pd.DataFrame(
            {"estimate": estimate, "low": low, "high": high}, index=estimate.index
        )

    def moebius(self) -> dict[tuple[str, ...], np.ndarray]:
        """Return what each set of modalities adds beyond all its subsets.

        Returns
        -------
        dict of tuple of str to ndarray of shape (n[, C])
            Möbius terms; those of all sets sum to the prediction less the base value.

        Raises
        ------
        ValueError
            If sets were sampled, so that most are not known.
        """
        if self.coalition_values is None:
            raise ValueError(
                f"Permutations of {len(self.modalities)} modalities were sampled, so "
                "the values of most sets are not known. Leave n_permutations at None, "
                "or join modalities until there are 8 at most."
            )
        n_players = len(self.modalities)
        terms = np.tensordot(moebius_matrix(n_players), self.coalition_values, (1, 1))
        return {
            tuple(m for j, m in enumerate(self.modalities) if number >> j & 1): terms[
                number
            ]
            for number in range(1, 2**n_players)
        }

    def interaction_share(self) -> float:
        """Return how much of what moves predictions needs two modalities or more.

        Returns
        -------
        float
            Variance over the cases of the Möbius terms of two modalities and more,
            divided by that of all terms: 0 for a model that adds its modalities up, 1
            for an exclusive or. NaN where nothing moves.

        Raises
        ------
        ValueError
            If sets were sampled, or there is a single case.

        Warns
        -----
        UserWarning
            If probabilities were explained. They are bent at both ends, so that
            modalities whose log-odds add up seem to interact.
        """
        _check_kind("variance", len(self.values))
        if self.scale == "proba":
            warnings.warn(
                "Interactions of probabilities are no property of the model: where "
                "log-odds add up they are not 0. Explain output='link'.",
                UserWarning,
                stacklevel=2,
            )
        sizes = {
            names: term.var(axis=0).sum() for names, term in self.moebius().items()
        }
        total = sum(sizes.values())
        shared = sum(size for names, size in sizes.items() if len(names) > 1)
        return float(shared / total) if total > 0 else float("nan")

    def to_frame(self) -> pd.DataFrame:
        """Return one row per case: the base value, the modalities, the prediction.

        Returns
        -------
        DataFrame of shape (n, M + 2)
            Where there are several outputs the columns have two levels, the output
            first.
        """
        names = ["base", *self.modalities, "prediction"]
        values, base = self._three_dimensional(), np.atleast_1d(self.base_values)
        columns = np.concatenate(
            [
                np.broadcast_to(base, (len(values), 1, len(base))),
                values,
                (base + values.sum(axis=1))[:, None],
            ],
            axis=1,
        )
        if self.classes is None:
            return pd.DataFrame(
                columns[:, :, 0], index=self.presence.index, columns=names
            )
        wide = np.moveaxis(columns, 1, 2).reshape(len(values), -1)
        levels = pd.MultiIndex.from_product([list(self.classes), names])
        return pd.DataFrame(wide, index=self.presence.index, columns=levels)

    def to_shap(self) -> Any:
        """Return the same as a `shap.Explanation`, which shap's own plots take.

        Returns
        -------
        shap.Explanation
            Its features are the modalities; their data is 1 where the modality is
            there and 0 where it is absent.

        Raises
        ------
        ImportError
            If shap is not installed.
        """
        n_cases = len(self.values)
        base = np.broadcast_to(self.base_values, (n_cases, *self.base_values.shape))
        classes = self.classes
        return require("shap", "explain").Explanation(
            values=self.values,
            base_values=np.array(base),
            data=self.presence.to_numpy().astype(np.float64),
            feature_names=list(self.modalities),
            output_names=None if classes is None else [str(c) for c in classes],
        )

    def plot(self, kind: str = "share", **options: Any) -> Any:
        """Draw, see `skfusion.inspection.plots.display.ModalityDisplay.plot`.

        Returns
        -------
        ModalityDisplay
        """
        from skfusion.inspection.plots.display import ModalityDisplay

        return ModalityDisplay(self).plot(kind, **options)

    def _three_dimensional(self) -> np.ndarray:
        return self.values if self.values.ndim == 3 else self.values[:, :, None]


def make_explanation(
    cases: Cases, plan: CoalitionPlan, output: Output, table: np.ndarray, y: Any
) -> ModalityExplanation:
    """Turn what a model predicts from sets of modalities into an explanation.

    Parameters
    ----------
    cases : Cases
        The n cases.
    plan : CoalitionPlan
        The sets.
    output : Output
        What was asked.
    table : ndarray of shape (n_coalitions, n, C)
        What was answered.
    y : array-like of shape (n,) or None
        The outcome.

    Returns
    -------
    ModalityExplanation
    """
    if output.scale == "link" and cases.model.kind == "classes":
        _warn_cut(table[-1])
    phi = plan.shapley(table)
    check_efficiency(phi, table[0], table[-1])
    names, n_outputs = cases.model.modalities, table.shape[-1]

    def shaped(array: np.ndarray) -> np.ndarray:
        """Put the cases first, and leave out the axis of a single output."""
        array = np.moveaxis(array, 1, 0)
        return array[..., 0] if n_outputs == 1 else array

    pairs: dict[tuple[str, str], np.ndarray] = {}
    if plan.is_exact and len(names) > 1:
        index = np.tensordot(interaction_matrix(len(names)), table, axes=1)
        pairs = named_pairs(names, np.moveaxis(shaped(index), 1, 0))
    errors = plan.standard_errors(table)
    return ModalityExplanation(
        values=shaped(phi),
        # the same for every case, of which nothing is known
        base_values=np.asarray(shaped(table)[0, 0]),
        modalities=names,
        output=output.name,
        scale=output.scale,
        classes=None if n_outputs == 1 else output.classes or tuple(range(n_outputs)),
        coalition_values=shaped(table) if plan.is_exact else None,
        interactions=pairs,
        standard_errors=None if errors is None else shaped(errors),
        presence=cases.presence,
        outcome=None if y is None else np.asarray(y),
    )


def _warn_cut(margins: np.ndarray) -> None:
    count = int(np.isclose(np.abs(margins), LARGEST, atol=1e-3).any(axis=1).sum())
    if count:
        warnings.warn(
            f"The predicted probability is 0 or 1 in {count} of {len(margins)} cases, "
            f"whose log-odds are cut at {LARGEST:.1f} and weigh heavily. Explain "
            "output='proba', or calibrate the model.",
            UserWarning,
            stacklevel=5,
        )


def _check_kind(kind: str, n_cases: int) -> None:
    check_option(kind, "kind", SHARES, "ModalityExplanation")
    if n_cases < 2 and kind != "abs":
        raise ValueError(
            f"The spread of the values ({kind!r}) needs two cases or more, got "
            f"{n_cases}. Explain more cases, or take kind='abs'."
        )


def _sizes(values: np.ndarray, kind: str) -> np.ndarray:
    """Return how large the values (n, M, C) are, of shape (M, C)."""
    if kind == "abs":
        return np.abs(values).mean(axis=0)
    centred = values - values.mean(axis=0)
    if kind == "centred_abs":
        return np.abs(centred).mean(axis=0)
    if kind == "variance":
        return (centred**2).mean(axis=0)
    return (centred * centred.sum(axis=1, keepdims=True)).mean(axis=0)


def _normalised(sizes: np.ndarray) -> np.ndarray:
    total = sizes.sum(axis=0)
    return np.divide(
        sizes, total, out=np.full_like(sizes, np.nan), where=np.abs(total) > 0
    )
