"""A small fusion estimator that keeps the contract, and variants with one defect each.

`SimpleFusion` is written on scikit-learn alone, as a user would: each modality gets a
transformer and a logistic regression, and a second one combines their log-odds.
"""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    TransformerMixin,
    clone,
    is_classifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold
from sklearn.utils.validation import check_is_fitted

EPSILON = 1e-3


class SimpleFusion(ClassifierMixin, TransformerMixin, BaseEstimator):
    """Stacking of one logistic regression a modality, by patient."""

    __metadata_request__fit = {"groups": True}

    def __init__(self, modalities=(), groups=None, random_state=None):
        self.modalities = modalities
        self.groups = groups
        self.random_state = random_state

    # -- parameters by the name of a modality ---------------------------------------

    def get_params(self, deep=True):
        params = super().get_params(deep=False)
        if deep:
            for name, transformer, _ in self.modalities:
                params[name] = transformer
                nested = transformer.get_params()
                params |= {f"{name}__{key}": value for key, value in nested.items()}
        return params

    def set_params(self, **params):
        own = super().get_params(deep=False)
        for key in own.keys() & params.keys():
            setattr(self, key, params.pop(key))
        for name, transformer, _ in list(self.modalities):
            if name in params:
                new = params.pop(name)
                self.modalities = [
                    (n, new if n == name else t, c) for n, t, c in self.modalities
                ]
            prefix = f"{name}__"
            for key in [key for key in params if key.startswith(prefix)]:
                transformer.set_params(**{key.removeprefix(prefix): params.pop(key)})
        if params:
            raise ValueError(f"unknown parameters {sorted(params)}")
        return self

    # -- fit --------------------------------------------------------------------------

    def fit(self, X, y, groups=None, sample_weight=None):
        learned = self._learn(X, np.asarray(y), groups, sample_weight)
        self.__dict__.update(learned)
        return self

    def _learn(self, X, y, groups, sample_weight):
        if len(X) != len(y):
            raise ValueError("X and y are of unlike length")
        if self.groups is not None:
            groups = X[self.groups].to_numpy()
        labels = self._classes(y)
        codes = np.searchsorted(labels, y) if self._sorted else self._codes(labels, y)
        weights = self._weights(sample_weight, len(y))
        presence = self._presence(X)
        odds, members = [], []
        for (_, transformer, columns), present in zip(
            self.modalities, presence.T, strict=True
        ):
            member = self._member(transformer)
            part = X[columns].to_numpy(float)
            odds.append(self._held_out(member, part, codes, weights, groups, present))
            fitted = self._new(member)
            members.append(self._fit_member(fitted, part, codes, weights, present))
        combined = LogisticRegression(**self._combiner())
        combined.fit(np.column_stack(odds), codes, sample_weight=weights)
        return {
            "classes_": labels,
            "members_": members,
            "combined_": combined,
            "modalities_": [
                (name, member[0], columns)
                for (name, _, columns), member in zip(
                    self.modalities, members, strict=True
                )
            ],
            "n_features_in_": X.shape[1],
            "feature_names_in_": np.asarray(X.columns, dtype=object),
        }

    _sorted = True

    def _classes(self, y):
        return np.unique(y)

    def _codes(self, labels, y):
        return pd.Index(labels).get_indexer(y)

    def _weights(self, sample_weight, n_rows):
        return np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight)

    def _combiner(self):
        return {}

    def _member(self, transformer):
        if is_classifier(transformer):
            return [None, clone(transformer)]
        return [clone(transformer), LogisticRegression()]

    def _new(self, member):
        return [None if step is None else clone(step) for step in member]

    def _fit_member(self, member, part, codes, weights, present):
        scaler, learner = member
        Z = part[present]
        if scaler is not None:
            Z = self._fit_scaler(scaler, part, present).transform(Z)
        if isinstance(learner, LogisticRegression):
            learner.fit(Z, codes[present], sample_weight=weights[present])
        else:
            learner.fit(Z, codes[present])
        return [scaler, learner]

    def _fit_scaler(self, scaler, part, present):
        return scaler.fit(part[present])

    def _splits(self, codes, groups):
        if groups is None:
            return KFold(3).split(codes)
        return GroupKFold(3).split(codes, groups=groups)

    def _held_out(self, member, part, codes, weights, groups, present):
        odds = np.zeros(len(codes))
        for train, test in self._splits(codes, groups):
            inner = np.zeros(len(codes), dtype=bool)
            inner[train] = True
            fitted = self._new(member)
            fitted = self._fit_member(fitted, part, codes, weights, present & inner)
            rows = test[present[test]]
            odds[rows] = self._odds(fitted, part[rows])
        return odds

    # -- predictions ------------------------------------------------------------------

    def _odds(self, member, Z):
        if len(Z) == 0:
            return np.zeros(0)
        scaler, learner = member
        Z = Z if scaler is None else self._transform(scaler, Z)
        proba = np.clip(learner.predict_proba(Z)[:, 1], EPSILON, 1 - EPSILON)
        return np.log(proba / (1 - proba))

    def _transform(self, scaler, Z):
        return scaler.transform(Z)

    def _presence(self, X):
        return np.column_stack(
            [X[columns].notna().any(axis=1) for _, _, columns in self.modalities]
        )

    def presence(self, X):
        names = [name for name, _, _ in self.modalities]
        return pd.DataFrame(self._presence(X), columns=names, index=X.index)

    def _all_odds(self, X):
        check_is_fitted(self)
        presence = self._presence(X)
        odds = np.full(presence.shape, self._placeholder)
        for m, (_, _, columns) in enumerate(self.modalities):
            rows = np.flatnonzero(presence[:, m])
            part = X[columns].to_numpy(float)[rows]
            odds[rows, m] = self._odds(self.members_[m], part)
        return odds

    _placeholder = 0.0

    def transform(self, X):
        return self._all_odds(X)

    def get_feature_names_out(self, input_features=None):
        return np.asarray([f"{name}__odds" for name, _, _ in self.modalities])

    def predict_proba(self, X):
        odds = self._all_odds(X)
        lost = np.isnan(odds).any(axis=1)
        proba = self.combined_.predict_proba(np.nan_to_num(odds))
        proba[lost] = np.nan
        return proba

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class SplitsPatients(SimpleFusion):
    def _splits(self, codes, groups):
        return KFold(3, shuffle=True, random_state=0).split(codes)


class CombinesInSample(SimpleFusion):
    def _held_out(self, member, part, codes, weights, groups, present):
        fitted = self._new(member)
        fitted = self._fit_member(fitted, part, codes, weights, present)
        odds = np.zeros(len(codes))
        odds[present] = self._odds(fitted, part[present])
        return odds


class ScalesByTheRowsAsked(SimpleFusion):
    def _transform(self, scaler, Z):
        Z = scaler.transform(Z)
        return Z - Z.mean(axis=0) if Z.shape[1] == 2 else Z


class NoAnswerWithoutAModality(SimpleFusion):
    _placeholder = np.nan


class LearnsFromGaps(SimpleFusion):
    def _fit_scaler(self, scaler, part, present):
        return scaler.fit(np.nan_to_num(part))


class LosesTheModel(SimpleFusion):
    def fit(self, X, y, groups=None, sample_weight=None):
        for name in ("combined_", "members_"):
            self.__dict__.pop(name, None)
        return super().fit(X, y, groups, sample_weight)


class RemembersTheFirstFit(SimpleFusion):
    def _learn(self, X, y, groups, sample_weight):
        learned = super()._learn(X, y, groups, sample_weight)
        if hasattr(self, "members_"):
            learned["members_"] = self.members_
        return learned


class UsesTheGlobalGenerator(SimpleFusion):
    def _combiner(self):
        np.random.seed(0)  # noqa: NPY002
        return {"C": float(np.random.uniform(0.1, 1))}  # noqa: NPY002


class HasNoSeed(SimpleFusion):
    def _combiner(self):
        return {"C": float(np.random.default_rng().uniform(0.01, 1))}


class SharesStateOfThreads(SimpleFusion):
    working = 0

    def _combiner(self):
        cls = SharesStateOfThreads
        cls.working += 1
        time.sleep(0.05)
        alone = cls.working == 1
        time.sleep(0.05)
        cls.working -= 1
        return {"C": 1.0 if alone else 0.1}


class DependsOnTheProcess(SimpleFusion):
    home = os.environ.setdefault("SKFUSION_TEST_HOME_PROCESS", str(os.getpid()))

    def _combiner(self):
        return {"C": 1.0 if str(os.getpid()) == self.home else 0.1}


class ChangesTheTable(SimpleFusion):
    def _learn(self, X, y, groups, sample_weight):
        learned = super()._learn(X, y, groups, sample_weight)
        X["patient"] = "seen"
        return learned


class ReadsThePatient(SimpleFusion):
    def _all_odds(self, X):
        odds = super()._all_odds(X)
        if self.groups is not None:
            odds[:, 0] += pd.factorize(X[self.groups])[0]
        return odds


class ClassesByAppearance(SimpleFusion):
    _sorted = False

    def _classes(self, y):
        return pd.unique(y)


class IgnoresWeights(SimpleFusion):
    def _weights(self, sample_weight, n_rows):
        return np.ones(n_rows)


class RequestsNoPatients(SimpleFusion):
    __metadata_request__fit = {"groups": None}


class CountsTheColumnsUsed(SimpleFusion):
    def _learn(self, X, y, groups, sample_weight):
        learned = super()._learn(X, y, groups, sample_weight)
        return learned | {"n_features_in_": sum(len(c) for _, _, c in self.modalities)}


class KeepsALock(SimpleFusion):
    def _learn(self, X, y, groups, sample_weight):
        learned = super()._learn(X, y, groups, sample_weight)
        return learned | {"lock_": threading.Lock()}


class FitsTheUsersTransformers(SimpleFusion):
    def _member(self, transformer):
        if is_classifier(transformer):
            return [None, transformer]
        return [transformer, LogisticRegression()]

    def _learn(self, X, y, groups, sample_weight):
        learned = super()._learn(X, y, groups, sample_weight)
        for (_, transformer, columns), present in zip(
            self.modalities, self._presence(X).T, strict=True
        ):
            if not is_classifier(transformer):
                transformer.fit(X[columns].to_numpy(float)[present])
        return learned


class ReadsLabelsOfRows(SimpleFusion):
    def _learn(self, X, y, groups, sample_weight):
        return super()._learn(X, y, groups, sample_weight)

    def fit(self, X, y, groups=None, sample_weight=None):
        if isinstance(y, pd.Series):
            y = y.loc[X.index]
        return super().fit(X, y, groups, sample_weight)


#: Each defect, and the checks that must fail of it: no others may.
BROKEN = {
    SplitsPatients: {"check_patients_stay_on_one_side", "check_metadata_routing"},
    CombinesInSample: {"check_cross_fitting"},
    ScalesByTheRowsAsked: {
        "check_absent_modalities_at_prediction",
        "check_rows_are_independent",
    },
    NoAnswerWithoutAModality: {
        "check_absent_modalities_at_fit",
        "check_absent_modalities_at_prediction",
    },
    LearnsFromGaps: {"check_absent_modalities_at_fit"},
    LosesTheModel: {"check_failed_refit_keeps_the_model"},
    RemembersTheFirstFit: {"check_refit_equals_a_new_fit"},
    UsesTheGlobalGenerator: {"check_global_random_state_is_untouched"},
    HasNoSeed: {
        "check_cross_fitting",
        "check_labels_of_rows_and_columns",
        "check_patients_are_no_feature",
        "check_refit_equals_a_new_fit",
        "check_same_result_in_processes",
        "check_same_result_in_threads",
        "check_same_seed_same_result",
        "check_sample_weights_count",
    },
    SharesStateOfThreads: {"check_same_result_in_threads"},
    DependsOnTheProcess: {"check_same_result_in_processes"},
    ChangesTheTable: {"check_fit_changes_no_argument"},
    ReadsThePatient: {"check_patients_are_no_feature"},
    ClassesByAppearance: {"check_classes"},
    IgnoresWeights: {"check_sample_weights_count"},
    RequestsNoPatients: {"check_metadata_routing"},
    CountsTheColumnsUsed: {"check_features_of_the_input"},
    KeepsALock: {"check_pickle"},
    FitsTheUsersTransformers: {"check_fit_changes_no_argument"},
    ReadsLabelsOfRows: {"check_labels_of_rows_and_columns"},
}
