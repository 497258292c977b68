"""Results of the games: contributions to predictions and to scores."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.utils import check_random_state

from skfusion._dependencies import require
from skfusion._fitting.pipelines import take_rows
from skfusion._validation import check_option, ids_of
from skfusion.exceptions import DataWarning, warn_user
from skfusion.inspection.features.explain import explain_features, treeshap_sums
from skfusion.inspection.modalities.coalitions import Cases
from skfusion.inspection.modalities.scoring import percentile_interval, resampled_rows
from skfusion.inspection.models import LARGEST_LOG_ODDS, Output
from skfusion.inspection.shapley import (
    CoalitionPlan,
    check_efficiency,
    interaction_matrix,
    moebius_matrix,
    player_pairs,
)

__all__ = [
    "ADDITIVE",
    "CONDITIONAL_ON",
    "ExplainedCases",
    "ModalityExplanation",
    "ModalityScores",
    "SHARES",
    "coalition_name",
    "make_explanation",
    "make_scores",
    "named_pairs",
    "shares_of",
    "without_one",
]


# Share of the interactions in the variance below which a scale is additive.
ADDITIVE = 0.01
# What the limits of a game are conditional on, as a part of the names of columns.
CONDITIONAL_ON = {"performance": "this_model", "retrain": "refits"}


def coalition_name(members: np.ndarray, modalities: tuple[str, ...]) -> str:
    """Return the name of a set of modalities, such as ``"cxr + ehr"``."""
    names = [m for m, inside in zip(modalities, members, strict=True) if inside]
    return " + ".join(names) if names else "none"


@dataclass(frozen=True, eq=False, repr=False)
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
        or if the score is near its ceiling. NaN if no case has one of the two. Empty
        if sets were sampled.
    drop_one : ndarray of shape (M,)
        Decrease of the score when only this modality is withheld. NaN if that set was
        not sampled. For two modalities with the same information, both are close to 0.
    drop_one_low, drop_one_high : ndarray of shape (M,) or None
        Limits of the confidence intervals of `drop_one`.
    coalitions : ndarray of bool of shape (n_coalitions, M) or None
        Which modalities are in each set of `coalition_scores`.
    coalition_low, coalition_high : ndarray of shape (n_coalitions,) or None
        Limits of the confidence intervals of `coalition_scores`, NaN where a score is
        not estimated (chance).
    set_method : str
        Method that computed these limits. Empty for `method`.
    coalition_present : ndarray of int of shape (n_coalitions,) or None
        Number of cases with at least one modality of the set.
    n_present : ndarray of int of shape (M,) or None
        Number of cases with the modality.
    n_cases, n_patients : int or None
        Number of cases, and of patients if they are known.
    fold_scores : DataFrame of shape (n_folds, n_coalitions) or None
        Scores of the refitted models in each fold. None for one fitted model.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier, ModalityImportance
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> late = LateFusionClassifier(
    ...     modalities, estimator=LogisticRegression(), random_state=0)
    >>> X, y = cohort.data, cohort.target
    >>> importance = ModalityImportance(late.fit(X[:100], y[:100]), background=X[:100])
    >>> scores = importance.score(X[100:], y[100:])
    >>> scores.game, scores.coalition_scores.index.tolist()
    ('performance', ['none', 'image', 'ehr', 'image + ehr'])
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
    coalitions: np.ndarray | None = None
    coalition_low: np.ndarray | None = None
    coalition_high: np.ndarray | None = None
    set_method: str = ""
    coalition_present: np.ndarray | None = None
    n_present: np.ndarray | None = None
    n_cases: int | None = None
    n_patients: int | None = None
    fold_scores: pd.DataFrame | None = None

    def __repr__(self) -> str:
        return (
            f"ModalityScores({self.game}, {self.scoring}, "
            f"{len(self.modalities)} modalities)"
        )

    @property
    def whole_limits(self) -> tuple[float, float] | None:
        """Limits of the confidence interval of the score of all modalities."""
        if self.coalition_low is None or self.coalition_high is None:
            return None
        return float(self.coalition_low[-1]), float(self.coalition_high[-1])

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

    def subsets(self) -> pd.DataFrame:
        """Return the score of each set of modalities.

        Returns
        -------
        DataFrame of shape (n_coalitions, 5)
            By set, named as in ``"cxr + ehr"``, in the order of size and score:
            ``n_modalities``, ``score``, its limits, named by what they are conditional
            on as in `to_frame`, and ``n_present``, the number of cases with at least
            one modality of the set. Greater scores are better, so losses are negative.
            The set ``"none"`` is chance. If sets were sampled, only those are listed.
            A score is NaN if no case has a modality of the set.

        Raises
        ------
        ValueError
            If the members of the sets are not known.

        Notes
        -----
        The intervals are those of single scores, as in `compare_fusion` if models are
        fitted again. Whether two sets differ does not follow from them, because the
        scores of the same cases are correlated. For one modality more or less, see
        `drop_one_frame`.

        Examples
        --------
        >>> from sklearn.linear_model import LogisticRegression
        >>> from skfusion import ModalityImportance
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(n_samples=300, random_state=0)
        >>> columns = {"image": cohort.image_columns, "ehr": cohort.ehr_columns}
        >>> X, y = cohort.data[[*columns["image"], *columns["ehr"]]], cohort.target
        >>> model = LogisticRegression(C=0.01, max_iter=1000).fit(X[:200], y[:200])
        >>> importance = ModalityImportance(
        ...     model, modalities=columns, background=X[:200])
        >>> list(importance.score(X[200:], y[200:]).subsets().index)
        ['none', 'ehr', 'image', 'image + ehr']
        """
        given = CONDITIONAL_ON[self.game]
        names = self.coalition_scores.index
        unknown = np.full(len(names), np.nan)
        low, high = self.coalition_low, self.coalition_high
        columns = {
            "n_modalities": self._sets().sum(axis=1),
            "score": self.coalition_scores.to_numpy(),
            f"low_{given}": unknown if low is None else low,
            f"high_{given}": unknown if high is None else high,
        }
        if self.coalition_present is not None:
            columns["n_present"] = self.coalition_present
        table = pd.DataFrame(columns, index=names.rename("modalities"))
        return table.iloc[self.set_order]

    @property
    def set_order(self) -> np.ndarray:
        """Positions of the sets in `coalition_scores`, by size and score."""
        sizes = self._sets().sum(axis=1)
        return np.lexsort((self.coalition_scores.to_numpy(), sizes))

    def _sets(self) -> np.ndarray:
        if self.coalitions is None:
            raise ValueError(
                "These ModalityScores were made without `coalitions`, so the members "
                "of their sets are not known. Use the result of score or refit."
            )
        return self.coalitions

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
        kind : {"bars", "interactions", "subsets"}, default="bars"
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
    set_limits: tuple[np.ndarray, np.ndarray],
    presence: np.ndarray | None = None,
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
    set_limits : tuple of two ndarrays of shape (n_coalitions,)
        Limits of the confidence intervals of the scores of the coalitions.
    presence : ndarray of bool of shape (n, M) or None, default=None
        Whether each modality is present in each case. What no case has, has no
        contribution.
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
    pairs = _interactions(modalities, plan, values, presence)
    names = [coalition_name(members, modalities) for members in plan.coalitions]
    n_present = None if presence is None else presence.sum(axis=0)
    of_sets = None if presence is None else _n_with_any(presence, plan.coalitions)

    def known(numbers: Any, counts: Any = n_present) -> Any:
        return numbers if counts is None else np.where(counts > 0, numbers, np.nan)

    # Chance, the score of the empty set, needs no case with a modality.
    countable = None if of_sets is None else of_sets + (~plan.coalitions.any(axis=1))
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
        coalition_scores=pd.Series(known(values, countable), index=names, name=scoring),
        coalitions=plan.coalitions,
        interactions={pair: float(value) for pair, value in pairs.items()},
        drop_one=known(_drop_one(plan, values)),
        drop_one_low=known(drop_limits[0]),
        drop_one_high=known(drop_limits[1]),
        coalition_low=known(set_limits[0], countable),
        coalition_high=known(set_limits[1], countable),
        coalition_present=of_sets,
        n_present=n_present,
        **more,
    )


def _interactions(
    modalities: tuple[str, ...],
    plan: CoalitionPlan,
    values: np.ndarray,
    presence: np.ndarray | None,
) -> dict[tuple[str, str], np.ndarray]:
    """Return the interaction of each pair, NaN for one with an absent modality.

    Empty if coalitions were sampled.
    """
    if not plan.is_exact:
        return {}
    index = interaction_matrix(len(modalities)) @ values
    if presence is not None:
        there = np.atleast_1d(presence.any(axis=0))
        both = [there[i] and there[j] for i, j in player_pairs(len(modalities))]
        index = np.where(both, index, np.nan)
    return named_pairs(modalities, index)


def _n_with_any(presence: np.ndarray, coalitions: np.ndarray) -> np.ndarray:
    """Return the number of cases with at least one modality of each set."""
    return (presence.astype(int) @ coalitions.T > 0).sum(axis=0)


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


SHARES = ("centred_abs", "variance", "covariance", "abs")
METHODS = ("game", "treeshap_sum")


@dataclass(frozen=True, eq=False, repr=False)
class ExplainedCases:
    """The model and the cases of an explanation, for what is computed later from them.

    Attributes
    ----------
    estimator : estimator
        The fitted estimator.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    background : DataFrame, ndarray or None
        The background cases.
    modalities : dict of str to list of column labels, or None
        The columns of each modality. None for a fusion, which defines its modalities.
    pos_label : class label or None
        The class that is explained alone.
    random_state : int, RandomState or None
        Seed of random draws.
    rows : ndarray of int or None
        Row positions of the cases that are explained. None for all.
    """

    estimator: Any
    X: Any
    background: Any
    modalities: Any
    pos_label: Any
    random_state: Any
    rows: np.ndarray | None = None

    def table(self) -> Any:
        """Return the rows of X that are explained."""
        return self.X if self.rows is None else take_rows(self.X, self.rows)

    def columns_of(self, names: Sequence[str]) -> Any:
        """Return the argument ``modalities`` of `explain_features`."""
        if self.modalities is None:
            return list(names)
        return {name: self.modalities[name] for name in names}


@dataclass(frozen=True, eq=False, repr=False)
class ModalityExplanation:
    """Contributions of modalities to predictions (reliance).

    A prediction is the sum of the base value and the contributions of the modalities.
    In the shapes below, n is the number of cases, M of modalities and C of outputs. The
    last axis is omitted for a single output, as for two classes. ``explanation[rows]``
    selects cases by positions, a slice or a mask.

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
    null_values : dict of str to ndarray of shape (n_shuffles, n, M[, C]) or None
        By modality, the values of models that were fitted with this modality shuffled
        among patients, for cases in which it was shuffled too. See `share`.
    cases : ExplainedCases or None
        The model and the cases, for `features`. It is left out of copies and of saved
        explanations, so that these contain no values of patients.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier, ModalityImportance
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> late = LateFusionClassifier(
    ...     modalities, estimator=LogisticRegression(), random_state=0)
    >>> X, y = cohort.data, cohort.target
    >>> importance = ModalityImportance(late.fit(X[:100], y[:100]), background=X[:100])
    >>> explanation = importance.explain(X[100:], y[100:])
    >>> explanation
    ModalityExplanation(50 cases, 2 modalities, log-odds of 1)
    >>> explanation[:2].values.shape
    (2, 2)
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
    null_values: dict[str, np.ndarray] | None = None
    cases: ExplainedCases | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "cases": None}

    def __repr__(self) -> str:
        several = "" if self.classes is None else f" of {len(self.classes)} outputs"
        return (
            f"ModalityExplanation({len(self)} cases, {len(self.modalities)} "
            f"modalities, {self.output}{several})"
        )

    def __getitem__(self, rows: Any) -> ModalityExplanation:
        """Return the explanation of some cases.

        Parameters
        ----------
        rows : int, slice, array-like of int or of bool
            Positions of the cases, or a mask of all cases.

        Returns
        -------
        ModalityExplanation
            An explanation with all that belongs to these cases. An int keeps one case.

        Raises
        ------
        IndexError
            If a position is out of range, or a mask has another length.
        """
        if isinstance(rows, tuple):
            raise IndexError(
                "A ModalityExplanation is indexed by cases only. Use to_shap() to "
                "index modalities and outputs too, or select_output() for one output."
            )
        chosen = rows if isinstance(rows, slice) else np.asarray(rows)
        if not isinstance(chosen, slice) and chosen.size == 0:
            chosen = chosen.astype(int)
        kept = np.atleast_1d(np.arange(len(self))[chosen])
        source = self.cases
        if source is not None:
            before = np.arange(len(self)) if source.rows is None else source.rows
            source = replace(source, rows=before[kept])

        def part(whole: Any) -> Any:
            return None if whole is None else whole[kept]

        return replace(
            self,
            values=self.values[kept],
            coalition_values=part(self.coalition_values),
            interactions={k: value[kept] for k, value in self.interactions.items()},
            standard_errors=part(self.standard_errors),
            presence=self.presence.iloc[kept],
            outcome=part(self.outcome),
            patients=part(self.patients),
            null_values=self._of_nulls(lambda values: values[:, kept]),
            cases=source,
        )

    def select_output(self, output: Any) -> ModalityExplanation:
        """Return the explanation of one of several outputs.

        Parameters
        ----------
        output : class label, or list of int
            The class or label, or the positions of several.

        Returns
        -------
        ModalityExplanation

        Raises
        ------
        ValueError
            If there is only one output, or `output` is not among the classes.
        """
        if self.classes is None:
            raise ValueError("There is only one output, so none can be selected.")
        if isinstance(output, list):
            numbers = np.asarray(output, dtype=int)
        elif output in self.classes:
            numbers = np.array([list(self.classes).index(output)])
        else:
            raise ValueError(
                f"output={output!r} is not among the outputs {list(self.classes)}."
            )
        single = len(numbers) == 1
        kept: Any = int(numbers[0]) if single else numbers

        def part(whole: Any) -> Any:
            return None if whole is None else whole[..., kept]

        names = tuple(self.classes[number] for number in numbers)
        return replace(
            self,
            values=self.values[..., kept],
            base_values=np.asarray(self.base_values[..., kept]),
            output=f"{self.output} of {names[0]}" if single else self.output,
            classes=None if single else names,
            coalition_values=part(self.coalition_values),
            interactions={
                k: value[..., kept] for k, value in self.interactions.items()
            },
            standard_errors=part(self.standard_errors),
            null_values=self._of_nulls(part),
        )

    def _of_nulls(self, part: Callable[[np.ndarray], Any]) -> Any:
        if self.null_values is None:
            return None
        return {name: part(values) for name, values in self.null_values.items()}

    @property
    def predictions(self) -> np.ndarray:
        """Explained predictions, of shape (n[, C])."""
        return self.base_values + self.values.sum(axis=1)

    def share(
        self,
        kind: str = "centred_abs",
        *,
        method: str = "game",
        per_class: bool = False,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
        random_state: Any = 0,
    ) -> pd.DataFrame:
        """Return the relative contribution of each modality over all cases.

        The limits are those of bootstrap intervals. They describe the sampling of
        patients, for a fixed model and background.

        Parameters
        ----------
        kind : {"centred_abs", "variance", "covariance", "abs"}, default="centred_abs"
            The quantity that is compared. ``"centred_abs"`` is the mean absolute
            deviation of the values from their mean, which does not depend on the choice
            of background cases. ``"variance"`` is their variance. ``"covariance"`` is
            their covariance with the prediction, which can be negative. ``"abs"`` is
            the mean of their absolute values.
        method : {"game", "treeshap_sum"}, default="game"
            ``"treeshap_sum"`` adds a column with the shares of the sums of the absolute
            TreeSHAP values of the features of each modality, to compare with published
            figures. It depends on the number of columns: the absolute values of many
            noisy columns add up, while their signs would cancel. For pure noise in 128
            columns and a signal in 20, it assigns half to the noise. It is never a
            replacement for the game, and only defined for trees in early fusion or of a
            table.
        per_class : bool, default=False
            Whether to return shares for each output. Otherwise, the outputs are summed
            first.
        groups : array-like of shape (n,) or None, default=None
            Patient ids, so that whole patients are resampled. None uses `patients`, and
            single cases if they are not known.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        n_resamples : int, default=1000
            Number of bootstrap samples.
        random_state : int, RandomState or None, default=0
            Seed of the bootstrap.

        Returns
        -------
        DataFrame of shape (M, 5), or (C * M, 5) if `per_class`
            By modality, or by output and modality: ``share``, which sums to 1 and is
            NaN if no modality changes any prediction, its limits ``low`` and ``high``,
            the number of cases with the modality, ``n_present``, and of patients,
            ``n_patients`` (of cases, if patients are not known). If the cases were
            explained with `null_from`, also ``null_share``: the mean share of the
            modality if it is shuffled among patients before the fit. A share that is
            not larger than this is that of noise.

        Raises
        ------
        ValueError
            If `kind` or `method` is unknown, or `kind` needs more than one case. If
            ``"treeshap_sum"`` is not defined for the model.
        """
        _check_kind(kind, len(self))
        check_option(method, "method", METHODS, "ModalityExplanation.share")
        patients: Any = self.patients if groups is None else ids_of(groups)
        if patients is not None and len(patients) != len(self):
            raise ValueError(
                f"groups has {len(patients)} ids, but there are {len(self)} cases."
            )
        if groups is not None and patients.isna().any():
            raise ValueError(
                f"groups is missing in {int(patients.isna().sum())} of {len(self)} "
                "cases. Give every case the id of its patient."
            )
        values = self._three_dimensional()
        summed = not per_class or self.classes is None
        rng = check_random_state(random_state)
        drawn = np.stack(
            [
                _shares(values[rows], kind, summed)
                for rows in resampled_rows(len(values), patients, n_resamples, rng)
            ]
        )
        low, high = _limits(drawn, confidence_level)
        n_patients = len(self) if patients is None else pd.Series(patients).nunique()
        labels: tuple[Any, ...] = (None,) if summed else self.classes or ()
        parts = {}
        for c, label in enumerate(labels):
            parts[label] = pd.DataFrame(
                {
                    "share": _shares(values, kind, summed)[:, c],
                    "low": low[:, c],
                    "high": high[:, c],
                    "n_present": self.presence.to_numpy().sum(axis=0),
                    "n_patients": n_patients,
                },
                index=pd.Index(self.modalities, name="modality"),
            )
        table = parts[None] if summed else pd.concat(parts, names=["output"])
        if self.null_values is not None:
            table["null_share"] = self.null_shares(kind, summed).T.ravel()
        if method == "treeshap_sum":
            beside = self._treeshap_sums()
            table[method] = beside[table.index.get_level_values("modality")].to_numpy()
        return table

    def null_shares(self, kind: str = "centred_abs", summed: bool = True) -> np.ndarray:
        """Return the share of each modality in models that learned it shuffled.

        Parameters
        ----------
        kind : str, default="centred_abs"
            As in `share`.
        summed : bool, default=True
            Whether the outputs are summed first.

        Returns
        -------
        ndarray of shape (M, 1) or (M, C)
            NaN for a modality that cannot be shuffled alone, or if the explanation has
            no `null_values`.
        """
        several = self.values.ndim == 3
        n_outputs = 1 if summed or not several else self.values.shape[2]
        found = np.full((len(self.modalities), n_outputs), np.nan)
        for j, name in enumerate(self.modalities):
            if name in (self.null_values or {}):
                draws = self.null_values[name]  # type: ignore[index]
                draws = draws if several else draws[..., None]
                found[j] = np.mean([_shares(one, kind, summed)[j] for one in draws], 0)
        return found

    def _treeshap_sums(self) -> pd.Series:
        source = self._source("share(method='treeshap_sum')")
        found = treeshap_sums(
            source.estimator, source.table(), source.columns_of(self.modalities)
        )
        return found / found.sum()

    def features(self, modality: str, **options: Any) -> Any:
        """Explain the predictions of the same cases by the features of one modality.

        Parameters
        ----------
        modality : str
            Name of the modality.
        **options : any
            Parameters of `skfusion.explain_features`, such as ``method``.

        Returns
        -------
        FeatureExplanation
            A `shap.Explanation` of the cases that have the modality. Their positions
            in this explanation are its ``rows``. The base value of a case is not the
            mean prediction: it is the prediction of this case without the features of
            this modality, see `skfusion.explain_features`. The features do not sum to
            the contribution of the modality, which is averaged over the sets of the
            other modalities.

        Raises
        ------
        ValueError
            If the modality is unknown, or the explanation was copied or saved, which
            leaves out the cases.
        ImportError
            If shap is not installed.
        """
        if modality not in self.modalities:
            raise ValueError(
                f"{modality!r} is not a modality of the explanation. Its modalities "
                f"are {list(self.modalities)}."
            )
        source = self._source(f"features({modality!r})")
        given = {
            "background": source.background,
            "random_state": source.random_state,
            "pos_label": source.pos_label,
            **options,
        }
        return explain_features(
            source.estimator,
            source.table(),
            modalities=source.columns_of([modality]),
            **given,
        )[modality]

    def _source(self, what: str) -> ExplainedCases:
        if self.cases is None:
            raise ValueError(
                f"{what} needs the model and the cases, which a copied or saved "
                "explanation does not contain. Explain the cases again, or use "
                "explain_features(model, X)."
            )
        return self.cases

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
        DataWarning
            If probabilities were explained and the model is not additive in them.
            Modalities that are additive in the log-odds, as in a logistic regression,
            interact in the probabilities. Late fusion by the mean is additive in the
            probabilities and interacts in the log-odds.
        """
        _check_kind("variance", len(self.values))
        sizes = {
            names: term.var(axis=0).sum() for names, term in self.moebius().items()
        }
        total = sum(sizes.values())
        shared = sum(size for names, size in sizes.items() if len(names) > 1)
        share = float(shared / total) if total > 0 else float("nan")
        if self.scale == "proba" and share > ADDITIVE:
            warn_user(
                f"Interactions make up {share:.3f} of the variance of the "
                "probabilities. Modalities that are additive in the log-odds interact "
                "in the probabilities, so these interactions can come from the scale. "
                "Compare with output='link'.",
                DataWarning,
            )
        return share

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
        ModalityShapExplanation
            A subclass of `shap.Explanation` whose features are the modalities. Its
            ``display_data`` are the texts ``"present"`` and ``"absent"``, and its
            ``data`` 1 and 0. What belongs to the cases is indexed with it.

        Raises
        ------
        ImportError
            If shap is not installed.
        """
        require("shap", "explain")
        # The module defines a subclass of a class of shap, so it cannot be imported
        # where shap is not installed.
        objects = importlib.import_module("skfusion.inspection.shap_objects")
        return objects.ModalityShapExplanation(self)

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
    null_values: dict[str, np.ndarray] | None = None,
    source: ExplainedCases | None = None,
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
    null_values : dict of str to ndarray of shape (n_shuffles, n, M, C) or None, \
            default=None
        Values of models that were fitted with a modality shuffled.
    source : ExplainedCases or None, default=None
        The model and the cases, for explanations by features.

    Returns
    -------
    ModalityExplanation
    """
    if output.scale == "link" and cases.model.kind in ("classes", "labels"):
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
        null_values=None
        if null_values is None
        else {k: v[..., 0] if n_outputs == 1 else v for k, v in null_values.items()},
        cases=source,
    )


def _warn_cut(margins: np.ndarray) -> None:
    # A probability of 0 or 1 has exactly this log-odds, for any number of classes.
    clipped = np.isclose(np.abs(margins), LARGEST_LOG_ODDS, rtol=0, atol=1e-3)
    count = int(clipped.any(axis=1).sum())
    if count:
        warn_user(
            f"The predicted probability is 0 or 1 in {count} of {len(margins)} cases, "
            f"whose log-odds are clipped at {LARGEST_LOG_ODDS:.1f} and have a large "
            "influence. Use output='proba', or calibrate the model.",
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


def shares_of(values: np.ndarray, kind: str) -> np.ndarray:
    """Return the shares of the modalities, with the outputs summed.

    Parameters
    ----------
    values : ndarray of shape (n, M[, C])
        Contributions.
    kind : str
        As in `ModalityExplanation.share`.

    Returns
    -------
    ndarray of shape (M,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.modalities.results import shares_of
    >>> shares_of(np.array([[3.0, 1.0], [-3.0, -1.0]]), "abs").tolist()
    [0.75, 0.25]
    """
    return _shares(values.reshape(*values.shape[:2], -1), kind, True)[:, 0]


def _shares(values: np.ndarray, kind: str, summed: bool) -> np.ndarray:
    """Return the shares (M, C) of values (n, M, C), or (M, 1) of summed outputs."""
    sizes = _sizes(values, kind)
    return _normalised(sizes.sum(axis=1, keepdims=True) if summed else sizes)


def _limits(drawn: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return limits of the shares, NaN where no modality changes any prediction."""
    undefined = np.isnan(drawn).all(axis=0)
    low, high = percentile_interval(np.where(undefined, 0.0, drawn), level)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def _normalised(sizes: np.ndarray) -> np.ndarray:
    total = sizes.sum(axis=0)
    return np.divide(
        sizes, total, out=np.full_like(sizes, np.nan), where=np.abs(total) > 0
    )
