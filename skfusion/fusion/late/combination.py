"""Combination of the members' predictions by a rule, weights, ranks or a meta-model.

Weights, rank tables and meta-models are fitted to out-of-fold predictions of the
members. The rules of `skfusion.fusion.late.aggregation` support one target only.
Several labels or numbers are therefore reshaped to one row per label or number.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion.cohort import TrainingData
from skfusion.fusion.early_stopping import EarlyStopping
from skfusion.fusion.inner_estimators import accepts_nan, fit_on_target, scores_of
from skfusion.fusion.late import aggregation as rules
from skfusion.fusion.late.aggregation import (
    RankTable,
    matching_offsets,
    rank_average,
)
from skfusion.fusion.late.weights import learn_weights, score_function, search_weights
from skfusion.fusion.survival import CoxRidge, concordance
from skfusion.fusion.targets import Target
from skfusion.splits import Fold

__all__ = [
    "Combination",
    "RULES",
    "VOTES",
    "WEIGHTED",
    "cross_combine",
    "default_meta_model",
]


Rule = str | Callable[[np.ndarray, np.ndarray], np.ndarray]
VOTES = ("vote", "weighted_vote")  # need no probabilities
WEIGHTED = ("weighted", "weighted_vote")
_PLAIN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": rules.mean,
    "max": rules.maximum,
    "min": rules.minimum,
    "median": rules.median,
    "product": rules.product,
    "vote": rules.vote,
}
RULES = (*_PLAIN, *WEIGHTED, "bayes", "rank", "stacking")


class Combination:
    """Combination of the predictions of the members that are present.

    Parameters
    ----------
    aggregation : str or callable
        Name of the rule, or a callable.
    target : Target
        Prediction task.
    weights : ndarray of shape (n_members,), str, callable or None, default=None
        Given weights, or the scorer that they maximise. None minimises the log-loss or
        the squared error.
    final_estimator : estimator or None, default=None
        Meta-model for ``aggregation="stacking"``.

    Attributes
    ----------
    weights_ : ndarray of shape (n_members,)
        Weights of the members, for rules with weights.
    tables_ : list of RankTable
        Table of the training scores of each member, for ``aggregation="rank"``.
    offsets_ : ndarray of shape (n_outputs,)
        What is added to the fused ranks before the class or the labels are decided, for
        ``aggregation="rank"`` of a classifier.
    final_estimator_ : estimator
        The fitted meta-model.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.combination import Combination
    >>> from skfusion.fusion.targets import classifier_target
    >>> target = classifier_target(y := [0, 0, 1, 1], "LateFusionClassifier")
    >>> _ = target.encode(y)
    >>> P = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.3, 0.7], [np.nan, np.nan]]])
    >>> Combination("mean", target).combine(P).round(2).tolist()
    [[0.7, 0.3], [0.3, 0.7]]
    """

    def __init__(
        self,
        aggregation: Rule,
        target: Target,
        *,
        weights: Any = None,
        final_estimator: Any = None,
    ) -> None:
        self.aggregation = aggregation
        self.target = target
        self.weights = weights
        self.final_estimator = final_estimator
        self.stopping: EarlyStopping | None = None  # of the meta-model
        if isinstance(weights, np.ndarray):
            self.weights_ = weights

    @property
    def learns(self) -> bool:
        """Whether `fit` needs out-of-fold predictions."""
        if self.aggregation in WEIGHTED:
            return not isinstance(self.weights, np.ndarray)
        return self.aggregation in ("stacking", "rank")

    def fit(
        self,
        P: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> Combination:
        """Fit the weights, the rank tables or the meta-model of the rule.

        Parameters
        ----------
        P : ndarray of shape (n_samples, n_members, n_outputs)
            Out-of-fold predictions, NaN where a member is absent. Each row needs at
            least one member that is present.
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Encoded target.
        sample_weight : ndarray of shape (n_samples,) or None, default=None
            Weights of the rows.
        groups : ndarray of shape (n_samples,) or None, default=None
            Patient ids, passed to the meta-model if its `fit` accepts them.

        Returns
        -------
        Combination
            The fitted combination.
        """
        if not self.learns:
            return self
        present = _present(P)
        if self.aggregation == "stacking":
            self._fit_meta_model(P, present, y, sample_weight, groups)
        elif self.aggregation == "rank":
            self.tables_ = [
                RankTable.learn(
                    P[rows, j], None if sample_weight is None else sample_weight[rows]
                )
                for j, rows in enumerate(present.T)
            ]
            if self.target.kind in ("classes", "labels"):
                self._fit_offsets(P, y, sample_weight)
        else:
            self._fit_weights(P, present, y, sample_weight)
        return self

    def combine(self, P: np.ndarray) -> np.ndarray:
        """Return the fused prediction.

        Parameters
        ----------
        P : ndarray of shape (n_samples, n_members, n_outputs)
            Predictions, NaN where a member is absent. Each row needs at least one
            member that is present.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)

        Raises
        ------
        ValueError
            If the result of a callable is not a valid prediction.
        """
        present = _present(P)
        if self.aggregation == "stacking":
            features = self._meta_features(P, present)
            return scores_of(self.final_estimator_, features, self.target)
        if self.aggregation == "rank":
            ranks = rank_average(P, present, self.tables_)
            return rules.normalised(ranks) if self.target.kind == "classes" else ranks
        single, has = self._as_single_questions(P, present)
        if callable(self.aggregation):
            fused = _checked(self.aggregation, single, has)
        elif self.aggregation == "bayes":
            fused = rules.bayes(single, has, self._priors(len(P)))
        elif self.aggregation == "weighted":
            fused = rules.weighted_mean(single, has, self.weights_)
        elif self.aggregation == "weighted_vote":
            fused = rules.weighted_vote(single, has, self.weights_)
        else:
            fused = _PLAIN[self.aggregation](single, has)
        return self._as_outputs(fused)

    def _fit_offsets(
        self, P: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
    ) -> None:
        """Match the predicted classes, or labels, to their shares in training."""
        ranks = self.combine(P)
        if self.target.kind == "classes":
            shares = np.bincount(y, sample_weight, minlength=self.target.n_outputs)
            shares = shares / shares.sum()
            self.offsets_ = matching_offsets(ranks, shares, sample_weight)
            return
        shares = np.average(y, axis=0, weights=sample_weight)
        pairs = [np.column_stack([np.full(len(r), 0.5), r]) for r in ranks.T]
        self.offsets_ = np.array(
            [
                matching_offsets(pair, np.array([1 - share, share]), sample_weight)[1]
                for pair, share in zip(pairs, shares, strict=True)
            ]
        )

    # -- several labels or numbers ------------------------------------------------

    def _as_single_questions(
        self, P: np.ndarray, present: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        n_rows, n_members, n_outputs = P.shape
        if self.target.kind == "classes" or n_outputs == 1:
            return P, present
        single = np.moveaxis(P, 2, 1).reshape(n_rows * n_outputs, n_members, 1)
        if self.target.kind == "labels":
            single = np.concatenate([1 - single, single], axis=2)
        return single, present.repeat(n_outputs, axis=0)

    def _as_outputs(self, fused: np.ndarray) -> np.ndarray:
        if self.target.kind == "classes":
            return fused
        return fused[:, -1].reshape(-1, self.target.n_outputs)

    def _priors(self, n_rows: int) -> np.ndarray:
        shares = self.target.fallback
        if self.target.kind == "labels":
            return np.tile(np.column_stack([1 - shares, shares]), (n_rows, 1))
        return shares

    # -- weights ------------------------------------------------------------------

    def _fit_weights(
        self,
        P: np.ndarray,
        present: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
    ) -> None:
        if self.target.kind == "survival":
            self.weights_ = search_weights(
                lambda w: concordance(y, rules.weighted_mean(P, present, w)[:, 0]),
                P.shape[1],
            )
            return
        answers, row_weight = y, sample_weight
        if y.ndim == 2:
            row_weight = None if row_weight is None else row_weight.repeat(y.shape[1])
            if self.target.kind == "numbers":
                spread = np.maximum(np.std(y, axis=0), np.finfo(float).tiny)
                P, answers = P / spread, y / spread  # independent of units
        single, has = self._as_single_questions(P, present)
        if self.aggregation == "weighted_vote":
            single = rules.ballots(single, has)
        score = None
        if self.weights is not None:
            ask = score_function(self.weights, self.target.kind, self._scored_classes())
            truth = answers  # on the scale of the predictions
            if self.target.kind == "classes":
                truth = self._scored_classes()[y]

            scored = self._scored_labels(y)

            def score(fused: np.ndarray) -> float:
                outputs = self._as_outputs(fused)
                if scored is None:
                    return ask(outputs, truth, sample_weight)
                return ask(outputs[:, scored], truth[:, scored], sample_weight)

        self.weights_ = learn_weights(
            single, has, answers.reshape(-1), row_weight, score=score
        )

    def _scored_classes(self) -> Any:
        """Return the labels that a scorer reads, as those of a fitted classifier."""
        if self.target.kind == "labels":
            return [np.arange(2)] * self.target.n_outputs
        if self.target.kind != "classes":
            return None
        classes = self.target.classes  # type: ignore[attr-defined]
        # Scorers by name, such as "f1", regard the class 1 as positive. The second of
        # two classes has this number.
        named = isinstance(self.weights, str) and len(classes) == 2
        return np.arange(2) if named else classes

    def _scored_labels(self, y: np.ndarray) -> np.ndarray | None:
        """Return the labels that a scorer reads, or None if it reads all outputs."""
        # A scorer of the user may depend on the positions of the labels.
        if self.target.kind != "labels" or not isinstance(self.weights, str):
            return None
        varies = np.ptp(y, axis=0) > 0
        return None if varies.all() else np.flatnonzero(varies)

    # -- meta-model ---------------------------------------------------------------

    def _fit_meta_model(
        self,
        P: np.ndarray,
        present: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        groups: np.ndarray | None,
    ) -> None:
        absent = ~present.all(axis=0)
        self._keeps_nan = absent & accepts_nan(self.final_estimator)
        self._flagged = np.flatnonzero(absent & ~self._keeps_nan)
        # Missing member predictions are imputed with the training mean.
        # A member of which nothing was learned makes no prediction at all.
        never = ~present.any(axis=0)
        evidence = self._evidence(P)
        evidence[:, never] = 0.0
        self._neutral = np.nanmean(evidence, axis=0)
        self._neutral[self._keeps_nan & ~never] = np.nan
        self.final_estimator_ = fit_on_target(
            self.target.adapt(clone(self.final_estimator)),
            self._meta_features(P, present),
            y,
            self.target,
            sample_weight=sample_weight,
            groups=groups,
            stopping=self.stopping,
        )

    def _evidence(self, P: np.ndarray) -> np.ndarray:
        if self.target.kind == "classes":
            return rules.log_odds(P)
        if self.target.kind == "labels":
            return rules.log_odds(np.stack([1 - P, P], axis=-1))[..., 0]
        return P

    def _meta_features(self, P: np.ndarray, present: np.ndarray) -> np.ndarray:
        evidence = np.where(present[:, :, None], self._evidence(P), self._neutral)
        return np.hstack([evidence.reshape(len(P), -1), present[:, self._flagged]])


def cross_combine(
    combination: Combination, P: np.ndarray, data: TrainingData, folds: list[Fold]
) -> np.ndarray:
    """Return out-of-fold fused predictions of the training rows.

    Parameters
    ----------
    combination : Combination
        Combination of the members. A copy is fitted on the other folds for each fold.
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Out-of-fold predictions of the members.
    data : TrainingData
        Training rows of the predictions.
    folds : list of (ndarray, ndarray)
        Row positions outside and inside each fold.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
    """
    if not combination.learns:
        return combination.combine(P)
    fused = np.full((len(P), combination.target.n_outputs), np.nan)
    for outside, inside in folds:
        part = data.rows(outside)
        own = copy(combination).fit(P[outside], part.y, part.sample_weight, part.groups)
        fused[inside] = own.combine(P[inside])
    return fused


def default_meta_model(kind: str) -> Any:
    """Return the default meta-model for a kind of target."""
    if kind == "survival":
        # The penalty keeps the weights finite if a risk orders all events perfectly.
        return CoxRidge(alpha=1e-3)
    if kind != "numbers":
        return LogisticRegression()
    ridge = RidgeCV(np.logspace(-3, 3, 13), alpha_per_target=True)
    return make_pipeline(StandardScaler(), ridge)


def _present(P: np.ndarray) -> np.ndarray:
    return np.asarray(~np.isnan(P).all(axis=2))


def _checked(rule: Any, P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Call a custom rule and check that its result is a valid prediction."""
    name = getattr(rule, "__name__", type(rule).__name__)
    fused = np.asarray(rule(P, present), dtype=np.float64)
    expected = (len(P), P.shape[2])
    if fused.shape != expected:
        raise ValueError(
            f"aggregation {name!r} must return one prediction per row, an array of "
            f"shape {expected}, got {fused.shape}."
        )
    problems = [(~np.isfinite(fused), "is not finite", "Leave out absent members.")]
    if P.shape[2] > 1:
        outside = (fused < -1e-9) | (fused > 1 + 1e-9)
        off = np.abs(fused.sum(axis=1, keepdims=True) - 1) > 1e-6
        problems += [
            (outside, "leaves [0, 1]", "Rescale its result."),
            (off, "does not sum to 1 over the classes", "Divide it by its sum."),
        ]
    for wrong, what, remedy in problems:
        count = int(wrong.any(axis=1).sum())
        if count:
            raise ValueError(
                f"aggregation {name!r} {what} in {count} of {len(fused)} rows. {remedy}"
            )
    return fused
