"""Feature selection by a genetic algorithm with the score of a model."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, check_random_state, get_tags

from skfusion._fitting.state import undone_on_failure
from skfusion._fitting.survival_steps import target_of_step
from skfusion._validation import check_number
from skfusion.fusion.inner_estimators import (
    default_member,
    fit_learner,
    seed,
    target_for,
)
from skfusion.fusion.selection.univariate import TargetSelector, check_n_features
from skfusion.fusion.survival import CoxRidge
from skfusion.splits import inner_folds

__all__ = ["GeneticSelector"]


class GeneticSelector(TargetSelector):
    """Feature selector that maximises a cross-validated score by a genetic algorithm.

    The algorithm evolves a population of feature sets. Tournaments between sets drawn
    at random select the parents. A child takes each feature from one of its parents
    and mutates, and the best sets survive unchanged. The fitness of a set is the
    cross-validated score of `estimator`, with patient-grouped folds if groups are
    given. An et al. used this selection after a filter [1]_. Use a filter before it for
    wide modalities, because the number of generations needed increases with the number
    of features.

    Parameters
    ----------
    estimator : estimator or None, default=None
        Model that scores a set. None is a regularised linear model on standardised
        features: `LogisticRegression`, `Ridge`, or Cox's model for times to an event.
    n_features_to_select : int, float or None, default=None
        Number of features to select, or their fraction in (0, 1]. None includes the
        number in the search, and the smaller of two sets with equal scores is better.
    population_size : int, default=30
        Number of feature sets in a generation.
    n_generations : int, default=15
        Maximum number of generations.
    patience : int or None, default=5
        Number of generations without a better score after which the search stops. None
        disables early stopping.
    crossover_rate : float, default=0.8
        Probability that a child has two parents.
    mutation_rate : float or None, default=None
        Probability that a feature is added to or removed from a child. None is
        1 / n_features.
    tournament_size : int, default=3
        Number of sets drawn at random, of which the best becomes a parent.
    n_elite : int, default=2
        Number of the best sets that survive unchanged.
    cv : int, splitter or iterable, default=3
        Inner cross-validation folds. An integer gives folds stratified by class. They
        are patient-grouped if groups are passed to `fit`.
    scoring : str, callable or None, default=None
        Score to maximise. None is the default score of the estimator.
    n_jobs : int or None, default=None
        Number of sets scored at a time, by joblib. It does not change the result.
    random_state : int, RandomState or None, default=None
        Seed of the search, the folds and the estimator.

    Attributes
    ----------
    support_ : ndarray of bool of shape (n_features,)
        Mask of the selected features.
    best_score_ : float
        Cross-validated score of the selected features. It is over-optimistic, because
        the search maximised it. Evaluate the selection on held-out rows.
    history_ : ndarray of shape (n_generations_run + 1,)
        Best score of the first population and of each generation after it.
    n_evaluations_ : int
        Number of different sets that were scored.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the features, if all are strings.

    See Also
    --------
    MRMRSelector : Selects features by a filter, which is much faster.
    sklearn.feature_selection.SequentialFeatureSelector : Adds features one by one.

    References
    ----------
    .. [1] An G et al. (2018). Comparison of machine-learning classification models for
       glaucoma management. J Healthc Eng 2018:6874765.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.feature_selection import GeneticSelector
    >>> X = np.random.default_rng(0).normal(size=(120, 6))
    >>> y = X[:, 1] + X[:, 4] > 0
    >>> GeneticSelector(n_features_to_select=2, random_state=0).fit(X, y).get_support(
    ...     indices=True)
    array([1, 4])
    """

    __module__ = "skfusion.feature_selection"

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_features_to_select: int | float | None = None,
        population_size: int = 30,
        n_generations: int = 15,
        patience: int | None = 5,
        crossover_rate: float = 0.8,
        mutation_rate: float | None = None,
        tournament_size: int = 3,
        n_elite: int = 2,
        cv: Any = 3,
        scoring: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_features_to_select = n_features_to_select
        self.population_size = population_size
        self.n_generations = n_generations
        self.patience = patience
        self.crossover_rate = crossover_rate
        self.mutation_rate = mutation_rate
        self.tournament_size = tournament_size
        self.n_elite = n_elite
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.random_state = random_state

    # Metadata routing passes `groups` without `set_fit_request`, because every split
    # must keep patients together.
    __metadata_request__fit = {"groups": True}

    @undone_on_failure
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Search for the best set of features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, which may contain NaN if the estimator supports it.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes or labels for a classifier, else numbers. Without an estimator,
            floats are numbers. A structured array of events and times is the target of
            survival estimators, whose score is the concordance. For a regressor, it is
            replaced by martingale residuals.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows when the estimator is fitted. The score is unweighted.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids. Every inner fold keeps the rows of a patient on one side.

        Returns
        -------
        self
            The fitted selector.

        Raises
        ------
        ValueError
            If a parameter is out of range, the score of a set is not finite, or the
            estimator is a classifier and `y` contains times to an event.
        """
        self._check_parameters()
        X, y, weights = self._check(X, y, sample_weight)
        self._n_kept = None
        if self.n_features_to_select is not None:
            self._n_kept = check_n_features(
                self.n_features_to_select, X.shape[1], type(self).__name__
            )
        rng = check_random_state(self.random_state)
        task = self._new_task(
            X, y, None if sample_weight is None else weights, groups, rng
        )
        scores: dict[bytes, float] = {}
        population = self._first_population(X.shape[1], rng)
        history: list[float] = []
        while True:
            self._score(population, task, scores)
            order = sorted(
                range(len(population)),
                key=lambda i: (-scores[population[i].tobytes()], population[i].sum()),
            )
            population = population[order]
            history.append(scores[population[0].tobytes()])
            if len(history) > self.n_generations or self._stalled(history):
                break
            population = self._next_generation(population, rng)
        best = population[0]
        self.support_ = best.copy()
        self.best_score_ = scores[best.tobytes()]
        self.history_ = np.asarray(history)
        self.n_evaluations_ = len(scores)
        return self

    def _stalled(self, history: list[float]) -> bool:
        if self.patience is None or len(history) <= self.patience:
            return False
        return history[-1] <= history[-1 - self.patience]

    def _new_task(
        self,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray | None,
        groups: Any,
        rng: np.random.RandomState,
    ) -> dict[str, Any]:
        if self.estimator is not None:
            y = target_of_step(self.estimator, y, weights)
        target = target_for(self.estimator, y, type(self).__name__)
        y = target.encode(y)
        estimator = self._new_estimator(target.kind)
        patients = None if groups is None else np.unique(groups, return_inverse=True)[1]
        folds = inner_folds(
            self.cv,
            target.strata(y),
            patients,
            n_rows=len(y),
            random_state=int(rng.randint(np.iinfo(np.int32).max)),
            owner=type(self).__name__,
        )
        estimator = seed(target.adapt(estimator), rng)
        scorer = check_scoring(estimator, scoring=self.scoring)
        return {
            "estimator": estimator,
            "scorer": scorer,
            "folds": folds,
            "X": X,
            "y": y,
            "weights": weights,
            "patients": patients,
        }

    def _new_estimator(self, kind: str) -> Any:
        if self.estimator is not None:
            return clone(self.estimator)
        if kind != "survival":
            return default_member(kind)
        return make_pipeline(StandardScaler(), CoxRidge(alpha=1.0))

    def _score(
        self, population: np.ndarray, task: dict[str, Any], scores: dict[bytes, float]
    ) -> None:
        new = {mask.tobytes(): mask for mask in population}
        masks = [mask for key, mask in new.items() if key not in scores]
        found = Parallel(n_jobs=self.n_jobs)(
            delayed(_cross_validate)(mask, **task) for mask in masks
        )
        for mask, score in zip(masks, found, strict=True):
            if not np.isfinite(score):
                raise ValueError(
                    f"GeneticSelector: the score of a set of {mask.sum()} features in "
                    f"the inner folds must be finite, got {score}. Use a score that is "
                    "defined on every fold, or fewer folds."
                )
            scores[mask.tobytes()] = score

    # -- evolution ----------------------------------------------------------------

    def _first_population(
        self, n_features: int, rng: np.random.RandomState
    ) -> np.ndarray:
        shares = rng.uniform(0, 1, size=(self.population_size, 1))
        population = rng.uniform(size=(self.population_size, n_features)) < shares
        return np.array([self._repair(mask, rng) for mask in population])

    def _next_generation(
        self, population: np.ndarray, rng: np.random.RandomState
    ) -> np.ndarray:
        """Return the next generation of a population sorted by falling score."""
        rate = self.mutation_rate
        if rate is None:
            rate = 1 / population.shape[1]
        children = list(population[: self.n_elite])
        while len(children) < len(population):
            # The population is sorted, so the smallest position wins a tournament.
            size = (2, self.tournament_size)
            first, second = rng.randint(len(population), size=size).min(axis=1)
            child = population[first].copy()
            if rng.uniform() < self.crossover_rate:
                swap = rng.uniform(size=len(child)) < 0.5
                child[swap] = population[second][swap]
            child ^= rng.uniform(size=len(child)) < rate
            children.append(self._repair(child, rng))
        return np.array(children)

    def _repair(self, mask: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        """Add or remove random features to reach the requested number, at least 1."""
        wanted = self._n_kept or max(1, int(mask.sum()))
        mask = mask.copy()
        inside, outside = np.flatnonzero(mask), np.flatnonzero(~mask)
        excess = len(inside) - wanted
        if excess > 0:
            mask[rng.choice(inside, size=excess, replace=False)] = False
        elif excess < 0:
            mask[rng.choice(outside, size=-excess, replace=False)] = True
        return mask

    # -- parameters ---------------------------------------------------------------

    def _check_parameters(self) -> None:
        least = {
            "population_size": 2,
            "n_generations": 1,
            "tournament_size": 1,
            "n_elite": 1,
            "patience": 1,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if name == "patience" and value is None:
                continue
            check_number(value, name, "GeneticSelector", low=bound, integer=True)
        for name in ("crossover_rate", "mutation_rate"):
            value = getattr(self, name)
            if name == "mutation_rate" and value is None:
                continue
            check_number(value, name, "GeneticSelector", low=0, high=1)
        if self.n_elite >= self.population_size:
            raise ValueError(
                f"GeneticSelector: n_elite={self.n_elite} must be smaller than "
                f"population_size={self.population_size}. Otherwise no generation "
                "contains new sets."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False
        if self.estimator is not None:
            tags.input_tags.allow_nan = get_tags(self.estimator).input_tags.allow_nan
        return tags


def _cross_validate(
    mask: np.ndarray,
    *,
    estimator: Any,
    scorer: Any,
    folds: list[tuple[np.ndarray, np.ndarray]],
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None,
    patients: np.ndarray | None,
) -> float:
    scores = []
    for train, test in folds:
        fitted = fit_learner(
            clone(estimator),
            X[np.ix_(train, mask)],
            y[train],
            sample_weight=None if weights is None else weights[train],
            groups=None if patients is None else patients[train],
        )
        scores.append(scorer(fitted, X[np.ix_(test, mask)], y[test]))
    return float(np.mean(scores))
