"""What late fusion does: one member per modality, their predictions combined.

The rules are in `skfusion.fusion.aggregation`, the inner splits in
`skfusion.fusion.folds`. The estimators are in `skfusion.fusion.late`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skfusion.blocks import located_errors
from skfusion.fusion import aggregation as rules
from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.cohort import TrainingData
from skfusion.fusion.folds import inner_folds
from skfusion.fusion.learners import (
    default_member,
    ends_in_predictor,
    fit_learner,
    scores_of,
    seed,
)
from skfusion.fusion.targets import Target
from skfusion.modality import Modality, presence_mask

__all__ = ["BaseLateFusion"]


class BaseLateFusion(BaseFusion):
    """Fit one member per modality and combine what they predict."""

    _rules: tuple[str, ...]

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> BaseLateFusion:
        """Fit one member per modality, and what combines them.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The cohort, one row per case.
        y : array-like of shape (n_samples,)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, handed to the members and to the meta-model.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids; they override the column named by the parameter `groups`.
            The inner folds keep a patient on one side.

        Returns
        -------
        self
            The fitted estimator.
        """
        self._check_rule()
        data = self._start_fit(X, y, sample_weight, groups)
        self._target.summarise(data.y, data.sample_weight)
        rng = check_random_state(self.random_state)
        members = [self._new_member(modality, rng) for modality in self._modalities]
        learned = self.aggregation == "stacking" or (
            self.aggregation == "weighted" and self.weights is None
        )
        fold_seed = int(rng.randint(np.iinfo(np.int32).max))
        folds = self._folds(data, fold_seed) if learned else []
        everything = np.arange(len(data.y))
        self._log(
            f"{len(data.y)} rows, {len(members)} members, each fitted once and in "
            f"{len(folds)} inner folds"
        )
        tasks = [(everything, everything[:0]), *folds]
        results = Parallel(n_jobs=self.n_jobs)(
            delayed(_fit_member)(member, data, j, train, test, self._target)
            for train, test in tasks
            for j, member in enumerate(members)
        )
        self._members = [
            replace(member, transformer=fitted)
            for member, (fitted, _) in zip(
                members, results[: len(members)], strict=True
            )
        ]
        if learned:
            P = np.full((len(data.y), len(members), self._target.n_outputs), np.nan)
            held_out = iter(results[len(members) :])
            for _, test in folds:
                for j in range(len(members)):
                    P[test, j] = next(held_out)[1]
            self._fit_combination(P, data, rng)
        elif self.aggregation == "weighted":
            self.weights_ = self._given_weights()
        self.modalities_ = with_transformers(
            self._members, lambda member: member.transformer
        )
        # every member does without the others
        self._set_support(np.ones(len(members), dtype=bool))
        self._n_features_out = len(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return what each member predicts.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_members * n_outputs)
            Probabilities of each class (of the second one only where there are two),
            or the predicted number; NaN where the modality is absent.
        """
        P, _ = self._predict_members(X)
        return self._target.informative(P).reshape(len(P), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the members' predictions.

        Parameters
        ----------
        input_features : ignored
            The names are known from `fit`.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``modality__class``, or ``modality__prediction`` for a regression.
        """
        check_is_fitted(self, "modalities_")
        names = [
            f"{member.name}__{output}"
            for member in self._members
            for output in self._target.output_names
        ]
        return np.asarray(names, dtype=object)

    def encode_modalities(self, X: Any) -> dict[str, np.ndarray]:
        """Return what each member predicts, by modality.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_outputs)
            Probabilities of the classes, or one number; NaN where absent.
        """
        P, _ = self._predict_members(X)
        return {member.name: P[:, j] for j, member in enumerate(self._members)}

    def predict_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Combine predictions of the members that `encode_modalities` gave.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_outputs)
            One entry per modality; an all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            What ``predict_proba`` (classifier) or ``predict`` (regressor) gives.
        """
        check_is_fitted(self, "modalities_")
        P = np.stack([np.asarray(Z[member.name]) for member in self._members], axis=1)
        return self._combine(P, ~np.isnan(P).all(axis=2))

    # -- members ------------------------------------------------------------------

    def _new_member(self, modality: Modality, rng: np.random.RandomState) -> Modality:
        part = clone(modality.transformer)
        if not ends_in_predictor(part):
            learner = (
                default_member(self._target.kind)
                if self.estimator is None
                else clone(self.estimator)
            )
            part = make_pipeline(part, learner)
        part = self._target.adapt(seed(part, rng))
        return replace(modality, transformer=part)

    def _predict_members(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        cohort = self._read_cohort(X)
        present = presence_mask(self._modalities, cohort)
        P = np.full((len(cohort), len(self._members), self._target.n_outputs), np.nan)
        for j, member in enumerate(self._members):
            rows = np.flatnonzero(present[:, j])
            P[rows, j] = _ask_member(member, cohort, rows, self._target)
        return P, np.asarray(~np.isnan(P).all(axis=2))

    # -- combination --------------------------------------------------------------

    def _check_rule(self) -> None:
        if self.aggregation not in self._rules:
            raise ValueError(
                f"{type(self).__name__}: aggregation must be one of {self._rules}, got "
                f"{self.aggregation!r}."
            )
        if self.weights is not None and self.aggregation != "weighted":
            raise ValueError(
                f"{type(self).__name__}: weights are given but "
                f"aggregation={self.aggregation!r} has no use for them. Set "
                "aggregation='weighted'."
            )

    def _given_weights(self) -> np.ndarray:
        names = [member.name for member in self._members]
        weights = self.weights
        if isinstance(weights, dict):
            if set(weights) != set(names):
                raise ValueError(
                    f"{type(self).__name__}: weights must name every modality once: "
                    f"expected {sorted(names)}, got {sorted(weights)}."
                )
            weights = [weights[name] for name in names]
        values = np.asarray(weights, dtype=np.float64)
        if values.shape != (len(names),) or (values < 0).any() or not values.sum() > 0:
            raise ValueError(
                f"{type(self).__name__}: weights must be {len(names)} numbers of 0 or "
                f"more, one per modality and not all 0, got shape {values.shape}."
            )
        return values / values.sum()

    def _folds(self, data: TrainingData, fold_seed: int) -> list[Any]:
        return inner_folds(
            self.cv,
            self._target.strata(data.y),
            data.groups,
            n_rows=len(data.y),
            random_state=fold_seed,
            owner=type(self).__name__,
        )

    def _fit_combination(
        self, P: np.ndarray, data: TrainingData, rng: np.random.RandomState
    ) -> None:
        present = ~np.isnan(P).all(axis=2)
        # A row whose every member is silent out of fold (unreadable image) teaches
        # the combination nothing.
        rows = np.flatnonzero(present.any(axis=1))
        P, present, data = P[rows], present[rows], data.rows(rows)
        if self.aggregation == "weighted":
            y, weight = data.y, data.sample_weight
            if y.ndim == 2 and self._target.kind == "numbers":
                spread = np.maximum(np.std(y, axis=0), np.finfo(float).tiny)
                P, y = P / spread, y / spread  # no unit may outweigh the others
            flat = _as_single_questions(self._target, P, present)
            if weight is not None and y.ndim == 2:
                weight = weight.repeat(y.shape[1])
            self.weights_ = rules.learn_weights(*flat, y.reshape(-1), weight)
            return
        self._flagged = np.flatnonzero(~present.all(axis=0))
        # Where a member is silent, it says what it says on average.
        self._neutral = np.nanmean(self._evidence(P), axis=0)
        if self.final_estimator is not None:
            final = clone(self.final_estimator)
        elif self._target.kind != "numbers":
            final = LogisticRegression()
        else:
            ridge = RidgeCV(np.logspace(-3, 3, 13), alpha_per_target=True)
            final = make_pipeline(StandardScaler(), ridge)
        self.final_estimator_ = fit_learner(
            self._target.adapt(seed(final, rng)),
            self._meta_features(P, present),
            data.y,
            sample_weight=data.sample_weight,
            groups=data.groups,
        )

    def _evidence(self, P: np.ndarray) -> np.ndarray:
        if self._target.kind == "numbers":
            return P
        if self._target.kind == "labels":
            return rules.log_odds(np.stack([1 - P, P], axis=-1))[..., 0]
        return rules.log_odds(P)

    def _meta_features(self, P: np.ndarray, present: np.ndarray) -> np.ndarray:
        evidence = np.where(present[:, :, None], self._evidence(P), self._neutral)
        return np.hstack([evidence.reshape(len(P), -1), present[:, self._flagged]])

    def _combine(self, P: np.ndarray, present: np.ndarray) -> np.ndarray:
        nothing = self._check_predictable(present)
        fused = np.empty((len(P), self._target.n_outputs))
        fused[nothing] = self._target.fallback
        some = ~nothing
        if some.any():
            fused[some] = self._apply_rule(P[some], present[some])
        return self._target.result(fused)

    def _apply_rule(self, P: np.ndarray, present: np.ndarray) -> np.ndarray:
        if self.aggregation == "stacking":
            features = self._meta_features(P, present)
            return scores_of(self.final_estimator_, features, self._target)
        flat = _as_single_questions(self._target, P, present)
        if self.aggregation == "weighted":
            fused = rules.weighted_mean(*flat, self.weights_)
        else:
            fused = getattr(rules, self.aggregation)(*flat)
        return fused[:, -1].reshape(len(P), -1) if len(fused) > len(P) else fused


def _fit_member(
    member: Modality,
    data: TrainingData,
    j: int,
    train: np.ndarray,
    test: np.ndarray,
    target: Target,
) -> tuple[Any, np.ndarray]:
    """Fit one member on the training rows that have it; predict the held-out rows."""
    rows = train[data.presence[train, j]]
    if len(rows) == 0:
        raise ValueError(
            f"{member.label} is absent in all {len(train)} rows that its model should "
            "learn from. Check the column, or leave the modality out."
        )
    problem = target.problem(data.y[rows])
    if problem:
        raise ValueError(
            f"{member.label}: {problem} among the {len(rows)} rows that have it (whole "
            "training data or one inner fold). Use fewer folds, merge rare classes, or "
            "leave the modality out."
        )
    part = data.rows(rows)
    with located_errors(member, rows):
        fitted = fit_learner(
            clone(member.transformer),
            member.select(part.X),
            part.y,
            sample_weight=part.sample_weight,
            groups=part.groups,
        )
    predicted = np.full((len(test), target.n_outputs), np.nan)
    has = data.presence[test, j]
    predicted[has] = _ask_member(
        replace(member, transformer=fitted), data.X, test[has], target
    )
    return fitted, predicted


def _ask_member(
    member: Modality, X: pd.DataFrame, rows: np.ndarray, target: Target
) -> np.ndarray:
    if len(rows) == 0:
        return np.empty((0, target.n_outputs))
    with located_errors(member, rows):
        return scores_of(member.transformer, member.select(X.iloc[rows]), target)


def _as_single_questions(
    target: Target, P: np.ndarray, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Lay several labels or numbers out as rows: rules know one question a row."""
    n_rows, n_members, n_outputs = P.shape
    if target.kind == "classes" or (target.kind == "numbers" and n_outputs == 1):
        return P, present
    single = np.moveaxis(P, 2, 1).reshape(n_rows * n_outputs, n_members, 1)
    if target.kind == "labels":
        single = np.concatenate([1 - single, single], axis=2)
    return single, present.repeat(n_outputs, axis=0)
