"""Base class of late fusion: members, combination and checks of the parameters.

A member is the model of one modality.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import get_scorer
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_option
from skfusion.cohort import TrainingData
from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.early_stopping import EarlyStopping, check_fraction
from skfusion.fusion.estimator_kinds import has_method
from skfusion.fusion.inner_estimators import (
    default_member,
    seed,
    warn_of_unstored_values,
)
from skfusion.fusion.late.calibration import METHODS, Calibrator, cross_calibrate
from skfusion.fusion.late.combination import (
    RULES,
    VOTES,
    WEIGHTED,
    Combination,
    cross_combine,
    default_meta_model,
)
from skfusion.fusion.late.members import (
    fit_members,
    new_member,
    predict_members,
    predictor_name,
)
from skfusion.modality import Modality
from skfusion.splits import Fold, inner_folds

__all__ = [
    "BaseLateFusion",
    "check_calibration",
    "check_probabilities",
    "check_rule",
    "given_weights",
]


def check_rule(
    aggregation: Any, weights: Any, *, known: tuple[str, ...], owner: str
) -> None:
    """Check the parameters `aggregation` and `weights` before anything is fitted.

    Parameters
    ----------
    aggregation, weights : any
        Parameters of the estimator.
    known : tuple of str
        Names of the rules that the task supports.
    owner : str
        Name of the estimator, for error messages.

    Raises
    ------
    ValueError
        If the rule is unknown, the task or the rule does not support the parameters, or
        the scorer is unknown.
    """
    if not callable(aggregation):
        if aggregation in RULES and aggregation not in known:
            raise ValueError(
                f"{owner}: aggregation={aggregation!r} combines classes, and the "
                f"target has none. Choose one of {known}."
            )
        check_option(aggregation, "aggregation", known, owner, also="a callable")
    if weights is None:
        return
    if aggregation not in WEIGHTED:
        raise ValueError(
            f"{owner}: weights are given but aggregation={aggregation!r} does not use "
            f"them. Set aggregation to one of {[r for r in WEIGHTED if r in known]}"
            "."
        )
    if isinstance(weights, str):
        try:
            get_scorer(weights)
        except ValueError as error:
            raise ValueError(
                f"{owner}: weights must be numbers, None, a scorer or a name of "
                f"sklearn.metrics.get_scorer_names(), got {weights!r}."
            ) from error


def given_weights(
    weights: Any,
    names: list[str],
    *,
    owner: str,
    listed: Mapping[str, bool] | None = None,
) -> Any:
    """Check and normalise given weights, and return scorers and None unchanged.

    Parameters
    ----------
    weights : dict, array-like of shape (n_members,), str, callable or None
        Parameter of the estimator.
    names : list of str
        Names of the members.
    owner : str
        Name of the estimator, for error messages.
    listed : mapping of str to bool or None, default=None
        Whether each modality of the user is dropped, in their order. An array has a
        weight for the dropped ones as well. A dict may have one.

    Returns
    -------
    ndarray of shape (n_members,), str, callable or None
        Weights of sum 1.

    Raises
    ------
    ValueError
        If the number of weights is wrong, a weight is negative, or all are 0.

    Examples
    --------
    >>> from skfusion.fusion.late.base import given_weights
    >>> given_weights(
    ...     {"ehr": 1, "cxr": 3}, ["cxr", "ehr"], owner="LateFusionClassifier"
    ... ).tolist()
    [0.75, 0.25]
    """
    if weights is None or isinstance(weights, str) or callable(weights):
        return weights
    listed = dict.fromkeys(names, False) if listed is None else listed
    dropped = {name for name, gone in listed.items() if gone}
    if isinstance(weights, pd.Series) and not isinstance(weights.index, pd.RangeIndex):
        weights = dict(zip(weights.index, weights, strict=True))
    if isinstance(weights, Mapping):
        if set(weights) - dropped != set(names):
            raise ValueError(
                f"{owner}: weights must name every modality once: expected "
                f"{sorted(names)}, got {sorted(weights, key=str)}."
            )
        weights = [weights[name] for name in names]
        expected = names
    else:
        expected = list(listed)
    values = np.asarray(weights, dtype=np.float64)
    if values.shape == (len(expected),) and dropped:
        values = values[[name in names for name in expected]]
        expected = names
    # The negated comparisons also reject NaN.
    if values.shape != (len(expected),) or not (values.min() >= 0 and values.sum() > 0):
        raise ValueError(
            f"{owner}: weights must be {len(expected)} numbers of 0 or more, one per "
            f"modality and not all 0, got shape {values.shape}."
        )
    return values / values.sum()


def check_calibration(
    calibration: Any,
    final_calibration: Any,
    names: list[str],
    *,
    owner: str,
    dropped: Collection[str] = (),
    aggregation: Any = None,
) -> dict[str, str]:
    """Check the parameters `calibration` and `final_calibration`.

    Parameters
    ----------
    calibration : str, dict or None
        One method for all members, or one method for each key.
    final_calibration : str or None
        Method for the fused prediction.
    names : list of str
        Names of the members.
    owner : str
        Name of the estimator, for error messages.
    dropped : collection of str
        Names of dropped modalities, which `calibration` may have.
    aggregation : str, callable or None, default=None
        The rule, whose result is calibrated.

    Returns
    -------
    dict of str to str
        The method of each member that is calibrated.

    Raises
    ------
    ValueError
        If a method or a member is unknown, or the method does not suit the rule.

    Examples
    --------
    >>> from skfusion.fusion.late.base import check_calibration
    >>> check_calibration("sigmoid", None, ["cxr"], owner="LateFusionClassifier")
    {'cxr': 'sigmoid'}
    """
    if not isinstance(calibration, dict):
        calibration = dict.fromkeys(names, calibration)
    calibration = {k: calibration[k] for k in calibration if k not in dropped}
    unknown = sorted(set(calibration) - set(names), key=str)
    if unknown:
        raise ValueError(
            f"{owner}: calibration names {unknown}, but the modalities are {names}."
        )
    asked = {f"calibration of {name!r}": m for name, m in calibration.items()}
    for what, method in (asked | {"final_calibration": final_calibration}).items():
        if method is not None and method not in METHODS:
            raise ValueError(
                f"{owner}: {what} must be None or one of {METHODS}, got {method!r}."
            )
    if aggregation == "rank" and final_calibration == "temperature":
        raise ValueError(
            f"{owner}: final_calibration='temperature' does not move a probability of "
            "0.5, which for aggregation='rank' is an average case and not an even "
            "chance. Choose 'sigmoid' or 'isotonic'."
        )
    return {name: method for name, method in calibration.items() if method}


def check_probabilities(
    members: list[Modality],
    aggregation: Any,
    calibrations: dict[str, str],
    final_estimator: Any,
    *,
    owner: str,
) -> None:
    """Raise an error for classifiers without probabilities where these are needed.

    Parameters
    ----------
    members : list of Modality
        Unfitted members.
    aggregation : str or callable
        Name of the rule, or a callable.
    calibrations : dict of str to str
        Calibration method of each calibrated member.
    final_estimator : estimator or None
        Meta-model of ``aggregation="stacking"``.
    owner : str
        Name of the estimator, for error messages.

    Raises
    ------
    TypeError
        If a member, or the meta-model, has no ``predict_proba``.
    """
    name = aggregation if isinstance(aggregation, str) else "a callable"
    remedy = (
        "Wrap it in sklearn.calibration.CalibratedClassifierCV, or set "
        "aggregation='vote', which only needs predicted classes."
    )
    for member in members:
        needs = None if aggregation in VOTES else f"aggregation={name!r}"
        if member.name in calibrations:
            needs = f"calibration={calibrations[member.name]!r}"
        if needs and not has_method(member.transformer, "predict_proba"):
            raise TypeError(
                f"{owner}: {member.label}: {predictor_name(member)} has no "
                f"predict_proba, which {needs} needs. {remedy}"
            )
    if (
        aggregation == "stacking"
        and final_estimator is not None
        and not has_method(final_estimator, "predict_proba")
    ):
        raise TypeError(
            f"{owner}: final_estimator={type(final_estimator).__name__} has no "
            "predict_proba. Wrap it in sklearn.calibration.CalibratedClassifierCV, or "
            "choose another estimator."
        )


class BaseLateFusion(BaseFusion):
    """Base class of late fusion estimators, with one member per modality."""

    _DEFAULTED = ("estimator", "final_estimator")
    _rules: tuple[str, ...]
    _task: str

    def _default_of(self, name: str) -> Any:
        make = default_member if name == "estimator" else default_meta_model
        return make(self._task)

    @undone_on_failure
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> BaseLateFusion:
        """Fit one member per modality and the combination of their predictions.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.
        y : array-like of shape (n_samples,)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, passed to the members and to the meta-model.
            Only their ratios count: they are scaled to a mean of 1 over the rows of
            weight above 0.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids, which override the column named by the parameter `groups`.
            They make the inner folds patient-grouped.

        Returns
        -------
        self
            The fitted estimator.
        """
        owner = type(self).__name__
        check_rule(self.aggregation, self.weights, known=self._rules, owner=owner)
        self._check_rule_params(owner)
        check_fraction(self.validation_fraction, owner)
        data = self._start_fit(X, y, sample_weight, groups)
        self._target.summarise(data.y, data.sample_weight)
        rng = check_random_state(self.random_state)
        self._target.check_learner(self._estimator_of("estimator"), owner)
        members = [
            new_member(
                modality, self._estimator_of("estimator"), self._target, rng, owner
            )
            for modality in self._modalities
        ]
        if self.estimator is None and self._task != "survival":  # XGBoost knows NaN
            for modality in self._modalities:
                warn_of_unstored_values(modality, owner)
        fold_seed = int(rng.randint(np.iinfo(np.int32).max))
        self._combination = self._new_combination(members, rng)
        methods = self._check_members(members)
        stopping = EarlyStopping.of(
            self.validation_fraction,
            [self._combination.final_estimator, *(m.transformer for m in members)],
            rng,
            owner,
        )
        self._combination.stopping = stopping
        learned = self._combination.learns or methods or self._final_calibration
        folds = self._folds(data, fold_seed) if learned else []
        self._log(
            f"{len(data.y)} rows, {len(members)} members, each fitted once and in "
            f"{len(folds)} inner folds"
        )
        self._members, P = fit_members(
            members, data, folds, self._target, stopping=stopping, n_jobs=self.n_jobs
        )
        nothing = [
            getattr(member.transformer, "learned_nothing_", False)
            for member in self._members
        ]
        self._learned = ~np.array(nothing, dtype=bool)
        self._calibrators: dict[str, Calibrator] = {}
        self._final_calibrator: Calibrator | None = None
        if folds:
            self._learn(P, data, folds, methods)
        self._publish()
        self.modalities_ = with_transformers(
            self._members, lambda member: member.transformer
        )
        # A member never needs the other modalities.
        self._set_support(np.ones(len(members), dtype=bool))
        self._n_features_out = len(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the predictions of each member.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_members * n_outputs)
            Probabilities of each class (with two classes only of the second), or the
            predicted number, and NaN where the modality is absent.
        """
        P = self._predict_members(X)
        return self._target.informative(P).reshape(len(P), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the members' predictions.

        Parameters
        ----------
        input_features : ignored
            Not used, because `fit` sets the names.

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
        """Return the predictions of each member, by modality.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_outputs)
            Probabilities of the classes, or one number, and NaN where absent.
        """
        P = self._predict_members(X)
        return {member.name: P[:, j] for j, member in enumerate(self._members)}

    def predict_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Combine the predictions of the members that `encode_modalities` returned.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_outputs)
            One entry per modality, where an all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Result of ``predict_proba`` (classifier) or ``predict`` (regressor).
        """
        return self._combine(self._stacked(Z))

    def joined_columns(self) -> dict[str, list[slice]]:
        """Return the columns of each member in `joined_matrix`.

        Returns
        -------
        dict of str to list of slice
        """
        check_is_fitted(self, "modalities_")
        width = self._target.n_outputs
        return {
            member.name: [slice(j * width, (j + 1) * width)]
            for j, member in enumerate(self._members)
        }

    def joined_matrix(self, Z: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return what `predict_joined` predicts from, of the members' predictions.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_outputs)
            One entry per modality, where an all-NaN row is an absent modality.

        Returns
        -------
        matrix : ndarray of shape (n_samples, n_members * n_outputs)
            The predictions.
        presence : ndarray of bool of shape (n_samples, n_members)
            Whether each modality is present.
        """
        P = self._stacked(Z)
        return P.reshape(len(P), -1), ~np.isnan(P).all(axis=2)

    def predict_joined(self, matrix: np.ndarray, presence: np.ndarray) -> np.ndarray:
        """Combine the predictions of the members in a matrix.

        Parameters
        ----------
        matrix : ndarray of shape (n_samples, n_members * n_outputs)
            Rows of `joined_matrix`, or rows whose members are from several of them.
        presence : ndarray of bool of shape (n_samples, n_members)
            Not used, because the predictions of an absent modality are NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            Result of ``predict_proba`` (classifier) or ``predict`` (regressor).
        """
        return self._combine(matrix.reshape(len(matrix), len(self._members), -1))

    def _stacked(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Return the predictions of the members (n_samples, n_members, n_outputs)."""
        check_is_fitted(self, "modalities_")
        return np.stack(
            [np.asarray(Z[member.name]) for member in self._members], axis=1
        )

    # -- fitting ------------------------------------------------------------------

    @property
    def _final_calibration(self) -> str | None:
        return getattr(self, "final_calibration", None)

    def _check_rule_params(self, owner: str) -> None:
        params = self.aggregation_params
        if params is not None and not isinstance(params, Mapping):
            raise TypeError(
                f"{owner}: aggregation_params must be a dict or None, got "
                f"{type(params).__name__}."
            )
        if params and not callable(self.aggregation):
            raise ValueError(
                f"{owner}: aggregation={self.aggregation!r} has no options, got "
                f"aggregation_params with {', '.join(map(repr, params))}. They are "
                "keyword arguments of a callable aggregation."
            )

    def _new_combination(
        self, members: list[Modality], rng: np.random.RandomState
    ) -> Combination:
        final = None
        if self.aggregation == "stacking":
            final = self._estimator_of("final_estimator")
            where = f"{type(self).__name__}: final_estimator"
            self._target.check_learner(final, where)
            final = seed(final, rng)
        names = [member.name for member in members]
        weights = given_weights(
            self.weights, names, owner=type(self).__name__, listed=self._listed
        )
        rule = self.aggregation
        if self.aggregation_params:
            rule = functools.partial(rule, **self.aggregation_params)
        return Combination(rule, self._target, weights=weights, final_estimator=final)

    def _check_members(self, members: list[Modality]) -> dict[str, str]:
        """Return the calibration method of each member after checking the members."""
        owner = type(self).__name__
        methods = check_calibration(
            getattr(self, "calibration", None),
            self._final_calibration,
            [member.name for member in members],
            owner=owner,
            dropped=[name for name, gone in self._listed.items() if gone],
            aggregation=self.aggregation,
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
            labels=self._target.labels(data.y),
            names=self._target.names_of_strata(),
        )

    def _learn(
        self,
        P: np.ndarray,
        data: TrainingData,
        folds: list[Fold],
        methods: dict[str, str],
    ) -> None:
        """Fit calibrators, combination and final calibrator, in this order."""
        # Rows without any out-of-fold prediction (unreadable images) are excluded.
        predicted = ~np.isnan(P).all(axis=(1, 2))
        if not predicted.any():  # Nothing was learned of any modality.
            return
        number = np.cumsum(predicted) - 1
        folds = [
            (number[train[predicted[train]]], number[test[predicted[test]]])
            for train, test in folds
        ]
        rows = np.flatnonzero(predicted)
        P, data = P[rows], data.rows(rows)
        y, weights = data.y, data.sample_weight
        for j, member in enumerate(self._members):
            method = methods.get(member.name)
            if method and not np.isnan(P[:, j]).all():
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
        """Fit the final calibrator on out-of-fold fused predictions."""
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
        """Set the fitted attributes and delete those of an earlier fit."""
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
        P = predict_members(self._members, cohort, self._target)
        for j, member in enumerate(self._members):
            rows = ~np.isnan(P[:, j]).all(axis=1)
            if member.name in self._calibrators and rows.any():
                P[rows, j] = self._calibrators[member.name].predict(P[rows, j])
        return P

    def _scores_to_decide(self, P: np.ndarray) -> np.ndarray:
        """Return the fused prediction, with ranks shifted to the training shares."""
        fused = self._combine(P)
        offsets = getattr(self._combination, "offsets_", None)
        # Calibrated ranks are probabilities, and rows without modalities have none.
        if offsets is not None and self._final_calibrator is None:
            some = ~np.isnan(P).all(axis=(1, 2))
            fused[some] = fused[some] + offsets
        return fused

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
