"""What late fusion does: one member per modality, their predictions combined.

The members are in `skfusion.fusion.members`, what combines them in
`skfusion.fusion.combination`, the rules in `skfusion.fusion.aggregation`. The
estimators are in `skfusion.fusion.late`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.calibration import Calibrator, cross_calibrate
from skfusion.fusion.cohort import TrainingData
from skfusion.fusion.combination import (
    Combination,
    cross_combine,
    default_meta_model,
)
from skfusion.fusion.folds import Fold, inner_folds
from skfusion.fusion.late_settings import (
    check_calibration,
    check_probabilities,
    check_rule,
    given_weights,
)
from skfusion.fusion.learners import seed
from skfusion.fusion.members import ask_members, fit_members, new_member
from skfusion.modality import Modality

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
        owner = type(self).__name__
        check_rule(self.aggregation, self.weights, known=self._rules, owner=owner)
        data = self._start_fit(X, y, sample_weight, groups)
        self._target.summarise(data.y, data.sample_weight)
        rng = check_random_state(self.random_state)
        members = [
            new_member(modality, self.estimator, self._target, rng)
            for modality in self._modalities
        ]
        fold_seed = int(rng.randint(np.iinfo(np.int32).max))
        self._combination = self._new_combination(members, rng)
        methods = self._check_members(members)
        learned = self._combination.learns or methods or self._final_calibration
        folds = self._folds(data, fold_seed) if learned else []
        self._log(
            f"{len(data.y)} rows, {len(members)} members, each fitted once and in "
            f"{len(folds)} inner folds"
        )
        self._members, P = fit_members(
            members, data, folds, self._target, n_jobs=self.n_jobs
        )
        self._calibrators: dict[str, Calibrator] = {}
        self._final_calibrator: Calibrator | None = None
        if folds:
            self._learn(P, data, folds, methods)
        self._publish()
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
        P = self._predict_members(X)
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
        P = self._predict_members(X)
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
        return self._combine(P)

    # -- fitting ------------------------------------------------------------------

    @property
    def _final_calibration(self) -> str | None:
        return getattr(self, "final_calibration", None)

    def _new_combination(
        self, members: list[Modality], rng: np.random.RandomState
    ) -> Combination:
        final = None
        if self.aggregation == "stacking" and self.final_estimator is None:
            final = seed(default_meta_model(self._target.kind), rng)
        elif self.aggregation == "stacking":
            final = seed(clone(self.final_estimator), rng)
        names = [member.name for member in members]
        weights = given_weights(self.weights, names, owner=type(self).__name__)
        return Combination(
            self.aggregation, self._target, weights=weights, final_estimator=final
        )

    def _check_members(self, members: list[Modality]) -> dict[str, str]:
        """Return how each member is calibrated; refuse what cannot be combined."""
        owner = type(self).__name__
        methods = check_calibration(
            getattr(self, "calibration", None),
            self._final_calibration,
            [member.name for member in members],
            owner=owner,
        )
        if self._target.kind in ("classes", "labels"):
            check_probabilities(
                members, self.aggregation, methods, self.final_estimator, owner=owner
            )
        return methods

    def _folds(self, data: TrainingData, fold_seed: int) -> list[Fold]:
        return inner_folds(
            self.cv,
            self._target.strata(data.y),
            data.groups,
            n_rows=len(data.y),
            random_state=fold_seed,
            owner=type(self).__name__,
        )

    def _learn(
        self,
        P: np.ndarray,
        data: TrainingData,
        folds: list[Fold],
        methods: dict[str, str],
    ) -> None:
        """Learn calibrators, combination, final calibrator, in this order."""
        # A row whose every member is silent out of fold (unreadable image) teaches
        # nothing.
        spoken = ~np.isnan(P).all(axis=(1, 2))
        number = np.cumsum(spoken) - 1
        folds = [
            (number[train[spoken[train]]], number[test[spoken[test]]])
            for train, test in folds
        ]
        rows = np.flatnonzero(spoken)
        P, data = P[rows], data.rows(rows)
        y, weights = data.y, data.sample_weight
        for j, member in enumerate(self._members):
            method = methods.get(member.name)
            if method:
                self._calibrators[member.name], P[:, j] = self._calibrate(
                    method, P[:, j], y, folds, weights, what=member.label
                )
        self._combination.fit(P, y, weights, data.groups)
        self._finish_learning(P, data, folds)

    def _calibrate(self, *arguments: Any, what: str) -> tuple[Any, np.ndarray]:
        return cross_calibrate(*arguments, what=what)

    def _finish_learning(
        self, P: np.ndarray, data: TrainingData, folds: list[Fold]
    ) -> None:
        """Learn what comes behind the rule."""
        if self._final_calibration:
            fused = cross_combine(self._combination, P, data, folds)
            self._final_calibrator, _ = cross_calibrate(
                self._final_calibration,
                fused,
                data.y,
                folds,
                data.sample_weight,
                what="the fused prediction",
            )

    def _publish(self) -> None:
        """Show what was learned as attributes; those of an earlier rule go."""
        found = {
            "weights_": getattr(self._combination, "weights_", None),
            "final_estimator_": getattr(self._combination, "final_estimator_", None),
            "calibrators_": self._calibrators or None,
            "final_calibrator_": self._final_calibrator,
        }
        for name, value in found.items():
            if value is not None:
                setattr(self, name, value)
            elif hasattr(self, name):
                delattr(self, name)

    # -- predictions --------------------------------------------------------------

    def _predict_members(self, X: Any) -> np.ndarray:
        cohort = self._read_cohort(X)  # raises NotFittedError first
        P = ask_members(self._members, cohort, self._target)
        for j, member in enumerate(self._members):
            rows = ~np.isnan(P[:, j]).all(axis=1)
            if member.name in self._calibrators and rows.any():
                P[rows, j] = self._calibrators[member.name].predict(P[rows, j])
        return P

    def _combine(self, P: np.ndarray) -> np.ndarray:
        nothing = self._check_predictable(np.asarray(~np.isnan(P).all(axis=2)))
        fused = np.empty((len(P), self._target.n_outputs))
        fused[nothing] = self._target.fallback
        some = ~nothing
        if some.any():
            fused[some] = self._combination.combine(P[some])
            if self._final_calibrator is not None:
                fused[some] = self._final_calibrator.predict(fused[some])
        return self._target.result(fused)
