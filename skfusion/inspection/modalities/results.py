"""Results of the games: contributions to predictions and to scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import check_random_state

from skfusion._dependencies import require
from skfusion._validation import check_option
from skfusion.exceptions import DataWarning, warn_user
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
    "without_one",
]


# What the limits of a game are conditional on, as a part of the names of columns.
CONDITIONAL_ON = {"performance": "this_model", "retrain": "refits"}


def coalition_name(members: np.ndarray, modalities: tuple[str, ...]) -> str:
    """Return the name of a set of modalities, such as ``"cxr + ehr"``."""
    names = [m for m, inside in zip(modalities, members, strict=True) if inside]
    return " + ".join(names) if names else "none"


@dataclass(frozen=True, eq=False)
class ModalityScores:
    """Contributions of modalities to a score, with confidence intervals.

    Attributes
    ----------
    game : {"performance", "retrain"}
        ``"performance"`` withholds modalities from one fitted model. ``"retrain"`` fits
        the model again on each set of modalities.
    scoring : str
        Name of the score. For a loss, contributions are decreases of the loss.
    modalities : tuple of str
        Names of the M modalities.
    estimate, low, high : ndarray of shape (M,)
        Shapley values of the score, and the limits of their confidence intervals. The
        estimates sum to the score of all modalities minus the score of the empty set.
        NaN for a modality that no case has.
    standard_errors : ndarray of shape (M,)
        Standard errors of the estimates.
    method : str
        Method that computed the intervals.
    confidence_level : float
        Confidence level of the intervals.
    coalition_scores : Series
        The score of each set of modalities that was evaluated, named as in
        ``"cxr + ehr"``. Greater is better. ``"none"`` is chance.
    interactions : dict of (str, str) to float
        Shapley interaction index of each pair. It is negative if the two are redundant,
        or if the score is near its ceiling. Empty if sets were sampled.
    drop_one : ndarray of shape (M,)
        Decrease of the score when only this modality is withheld. NaN if that set was
        not sampled. For two modalities with the same information, both are close to 0.
    drop_one_low, drop_one_high : ndarray of shape (M,) or None
        Limits of the confidence intervals of `drop_one`.
    whole_limits : tuple of two floats or None
        Limits of the confidence interval of the score of all modalities.
    n_present : ndarray of int of shape (M,) or None
        Number of cases with the modality.
    n_cases, n_patients : int or None
        Number of cases, and of patients if they are known.
    fold_scores : DataFrame of shape (n_folds, n_coalitions) or None
        Scores of the refitted models in each fold. None for one fitted model.
    """

    __module__ = "skfusion.inspection"

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
    drop_one_low: np.ndarray | None = None
    drop_one_high: np.ndarray | None = None
    whole_limits: tuple[float, float] | None = None
    n_present: np.ndarray | None = None
    n_cases: int | None = None
    n_patients: int | None = None
    fold_scores: pd.DataFrame | None = None

    def to_frame(self) -> pd.DataFrame:
        """Return the contributions of the modalities.

        Returns
        -------
        DataFrame of shape (M, 4)
            By modality: ``estimate``, its limits, and ``n_present``, the number of
            cases with the modality. The limits are named by what they are conditional
            on: ``low_this_model`` and ``high_this_model`` hold for this fitted model
            and these background cases, ``low_refits`` and ``high_refits`` for models
            that are fitted again.
        """
        return self._frame(self.estimate, self.low, self.high)

    def drop_one_frame(self) -> pd.DataFrame:
        """Return what the score loses when one modality alone is withheld.

        Returns
        -------
        DataFrame of shape (M, 4)
            As `to_frame`, of `drop_one`.
        """
        unknown = np.full(len(self.modalities), np.nan)
        low, high = self.drop_one_low, self.drop_one_high
        return self._frame(
            self.drop_one,
            unknown if low is None else low,
            unknown if high is None else high,
        )

    def _frame(
        self, estimate: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> pd.DataFrame:
        given = CONDITIONAL_ON[self.game]
        columns = {"estimate": estimate, f"low_{given}": low, f"high_{given}": high}
        if self.n_present is not None:
            columns["n_present"] = self.n_present
        return pd.DataFrame(columns, index=pd.Index(self.modalities, name="modality"))

    def plot(self, kind: str = "bars", **options: Any) -> Any:
        """Plot the contributions to the score.

        Parameters
        ----------
        kind : {"bars", "interactions"}, default="bars"
            Type of the plot.
        **options : any
            See `skfusion.inspection.plots.display.ModalityScoresDisplay.plot`.

        Returns
        -------
        ModalityScoresDisplay
        """
        from skfusion.inspection.plots.display import ModalityScoresDisplay

        return ModalityScoresDisplay(self).plot(kind, **options)


def named_pairs(
    modalities: tuple[str, ...], values: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """Return the rows of an array by pair, in the order of `player_pairs`."""
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
    drop_limits: tuple[np.ndarray, np.ndarray],
    n_present: np.ndarray | None = None,
    **more: Any,
) -> ModalityScores:
    """Compute contributions to a score from the scores of the coalitions.

    Parameters
    ----------
    game, scoring, modalities, method, confidence_level
        See `ModalityScores`.
    plan : CoalitionPlan
        The coalitions that were evaluated.
    values : ndarray of shape (n_coalitions,)
        The scores of the coalitions.
    limits : tuple of two ndarrays of shape (M,)
        Limits of the confidence intervals of the Shapley values, without the error of
        sampling coalitions. They are widened by this error if coalitions were sampled.
    errors : ndarray of shape (M,)
        Standard errors of the Shapley values, also without the sampling error.
    drop_limits : tuple of two ndarrays of shape (M,)
        Limits of the confidence intervals of what each modality alone is worth.
    n_present : ndarray of int of shape (M,) or None, default=None
        Number of cases with each modality. What no case has, has no contribution.
    **more : any
        Further attributes of `ModalityScores`.

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

    def known(numbers: Any) -> Any:
        if numbers is None or n_present is None:
            return numbers
        return np.where(n_present > 0, numbers, np.nan)

    return ModalityScores(
        game=game,
        scoring=scoring,
        modalities=modalities,
        estimate=known(estimate),
        low=known(low),
        high=known(high),
        standard_errors=known(errors),
        method=method,
        confidence_level=confidence_level,
        coalition_scores=pd.Series(values, index=names, name=scoring),
        interactions={pair: float(value) for pair, value in pairs.items()},
        drop_one=known(_drop_one(plan, values)),
        drop_one_low=known(drop_limits[0]),
        drop_one_high=known(drop_limits[1]),
        n_present=n_present,
        **more,
    )


def without_one(plan: CoalitionPlan) -> list[int | None]:
    """Return where the coalition without each player is, None if it was not sampled."""
    n_players = plan.coalitions.shape[1]
    places: list[int | None] = []
    for player in range(n_players):
        others = np.arange(n_players) != player
        found = np.flatnonzero((plan.coalitions == others).all(axis=1))
        places.append(int(found[0]) if len(found) else None)
    return places


def _drop_one(plan: CoalitionPlan, values: np.ndarray) -> np.ndarray:
    places = without_one(plan)
    return np.array([np.nan if k is None else values[-1] - values[k] for k in places])


# Log-odds at which a probability of 1 is clipped.
LARGEST = float(log_odds(np.ones(1))[0])
SHARES = ("centred_abs", "variance", "covariance", "abs")


@dataclass(frozen=True, eq=False)
class ModalityExplanation:
    """Contributions of modalities to predictions (reliance).

    A prediction is the sum of the base value and the contributions of the modalities.
    In the shapes below, n is the number of cases, M of modalities and C of outputs. The
    last axis is omitted for a single output, as for two classes.

    Attributes
    ----------
    values : ndarray of shape (n, M[, C])
        Shapley values, in the unit of `output`.
    base_values : ndarray of shape () or (C,)
        Prediction without any modality.
    modalities : tuple of str
        Names of the modalities.
    output : str
        Description of the explained output, such as ``"log-odds of 1"``.
    scale : {"link", "proba", "custom"}
        Scale of the output, see `interaction_share`.
    classes : tuple or None
        Class or label of each of the C outputs. None for a single output.
    coalition_values : ndarray of shape (n, 2**M[, C]) or None
        Predictions from each set of modalities, in the order of
        `skfusion.inspection.shapley.all_coalitions`. None if sets were sampled.
    interactions : dict of (str, str) to ndarray of shape (n[, C])
        Shapley interaction index of each pair, which is positive if the joint
        contribution is larger than the sum of the two. Empty if sets were sampled.
    standard_errors : ndarray of shape (n, M[, C]) or None
        Standard errors of sampled values. None if the values are exact.
    presence : DataFrame of bool of shape (n, M)
        Whether a modality is present in a case, with the index of the cases.
    outcome : ndarray of shape (n,) or None
        The outcome, if it was passed.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case, if known.
    """

    __module__ = "skfusion.inspection"

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
    patients: np.ndarray | None = None

    @property
    def predictions(self) -> np.ndarray:
        """Explained predictions, of shape (n[, C])."""
        return self.base_values + self.values.sum(axis=1)

    def share(self, kind: str = "centred_abs", *, per_class: bool = False) -> Any:
        """Return the relative contribution of each modality over all cases.

        Parameters
        ----------
        kind : {"centred_abs", "variance", "covariance", "abs"}, default="centred_abs"
            The quantity that is compared. ``"centred_abs"`` is the mean absolute
            deviation of the values from their mean, which does not depend on the choice
            of background cases. ``"variance"`` is their variance. ``"covariance"`` is
            their covariance with the prediction, which can be negative. ``"abs"`` is
            the mean of their absolute values.
        per_class : bool, default=False
            Whether to return shares for each output. Otherwise, the outputs are summed
            first.

        Returns
        -------
        Series of shape (M,), or DataFrame of shape (M, C) if `per_class`
            Shares, which sum to 1. NaN if no modality changes any prediction.

        Raises
        ------
        ValueError
            If `kind` is unknown, or needs more than one case.
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
        """Return the shares with bootstrap confidence intervals.

        The intervals describe the sampling of cases, for a fixed model and background.

        Parameters
        ----------
        kind : str, default="centred_abs"
            As in `share`.
        groups : array-like of shape (n,) or None, default=None
            Patient ids, so that whole patients are resampled. None uses `patients`.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        n_resamples : int, default=1000
            Number of bootstrap samples.
        random_state : int, RandomState or None, default=0
            Seed of the bootstrap.

        Returns
        -------
        DataFrame of shape (M, 3)
            ``estimate``, ``low`` and ``high``, by modality.
        """
        estimate = self.share(kind)
        groups = self.patients if groups is None else groups
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
        """Return the contribution of each set of modalities beyond all its subsets.

        Returns
        -------
        dict of tuple of str to ndarray of shape (n[, C])
            Möbius terms. Their sum is the prediction minus the base value.

        Raises
        ------
        ValueError
            If sets were sampled, so that the values of most sets are unknown.
        """
        if self.coalition_values is None:
            raise ValueError(
                f"Permutations of {len(self.modalities)} modalities were sampled, so "
                "the values of most sets are not known. Leave n_permutations=None, and "
                "merge modalities if there are more than 8."
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
        """Return the share of the interactions in the variance of all Möbius terms.

        Returns
        -------
        float
            Sum of the variances of the Möbius terms of two or more modalities, divided
            by the sum over all terms. It is 0 for a model that is additive in its
            modalities, and 1 for an exclusive or. NaN if all terms are constant.

        Raises
        ------
        ValueError
            If sets were sampled, or there is only one case.

        Warns
        -----
        UserWarning
            If probabilities were explained. They are nonlinear in the log-odds, so
            modalities that are additive in the log-odds appear to interact.
        """
        _check_kind("variance", len(self.values))
        if self.scale == "proba":
            warn_user(
                "Interactions of probabilities are not a property of the model. They "
                "are not 0 for modalities that are additive in the log-odds. Use "
                "output='link'.",
                UserWarning,
            )
        sizes = {
            names: term.var(axis=0).sum() for names, term in self.moebius().items()
        }
        total = sum(sizes.values())
        shared = sum(size for names, size in sizes.items() if len(names) > 1)
        return float(shared / total) if total > 0 else float("nan")

    def to_frame(self) -> pd.DataFrame:
        """Return the base value, the contributions and the prediction of each case.

        Returns
        -------
        DataFrame of shape (n, M + 2)
            For several outputs, the columns have two levels, of which the output is the
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
        """Return the contributions as a `shap.Explanation`, for the plots of shap.

        Returns
        -------
        shap.Explanation
            An explanation whose features are the modalities. Their data are 1 if the
            modality is present and 0 if it is absent.

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
        """Plot the contributions to the predictions.

        Parameters
        ----------
        kind : str, default="share"
            Type of the plot.
        **options : any
            See `skfusion.inspection.plots.display.ModalityDisplay.plot`.

        Returns
        -------
        ModalityDisplay
        """
        from skfusion.inspection.plots.display import ModalityDisplay

        return ModalityDisplay(self).plot(kind, **options)

    def _three_dimensional(self) -> np.ndarray:
        return self.values if self.values.ndim == 3 else self.values[:, :, None]


def make_explanation(
    cases: Cases,
    plan: CoalitionPlan,
    output: Output,
    table: np.ndarray,
    y: Any,
    *,
    patients: np.ndarray | None = None,
) -> ModalityExplanation:
    """Compute an explanation from the predictions of the coalitions.

    Parameters
    ----------
    cases : Cases
        The n cases.
    plan : CoalitionPlan
        The coalitions.
    output : Output
        The output that is explained.
    table : ndarray of shape (n_coalitions, n, C)
        Outputs of the model from each coalition.
    y : array-like of shape (n,) or None
        The outcome.
    patients : ndarray of int of shape (n,) or None, default=None
        Number of the patient of each case.

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
        """Move the cases to the first axis, and drop the axis of a single output."""
        array = np.moveaxis(array, 1, 0)
        return array[..., 0] if n_outputs == 1 else array

    pairs: dict[tuple[str, str], np.ndarray] = {}
    if plan.is_exact and len(names) > 1:
        index = np.tensordot(interaction_matrix(len(names)), table, axes=1)
        pairs = named_pairs(names, np.moveaxis(shaped(index), 1, 0))
    errors = plan.standard_errors(table)
    return ModalityExplanation(
        values=shaped(phi),
        # The value of the empty coalition is the same for all cases.
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
        patients=patients,
    )


def _warn_cut(margins: np.ndarray) -> None:
    count = int(np.isclose(np.abs(margins), LARGEST, atol=1e-3).any(axis=1).sum())
    if count:
        warn_user(
            f"The predicted probability is 0 or 1 in {count} of {len(margins)} cases, "
            f"whose log-odds are clipped at {LARGEST:.1f} and have a large influence. "
            "Use output='proba', or calibrate the model.",
            DataWarning,
        )


def _check_kind(kind: str, n_cases: int) -> None:
    check_option(kind, "kind", SHARES, "ModalityExplanation")
    if n_cases < 2 and kind != "abs":
        raise ValueError(
            f"The spread of the values ({kind!r}) needs two cases or more, got "
            f"{n_cases}. Explain more cases, or use kind='abs'."
        )


def _sizes(values: np.ndarray, kind: str) -> np.ndarray:
    """Return the size of the values (n, M, C) over the cases, of shape (M, C)."""
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
