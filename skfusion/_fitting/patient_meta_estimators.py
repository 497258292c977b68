"""Meta-estimators of scikit-learn that split patients, and not rows.

Their splitter gets no groups by routing. `fit_with_metadata` gives them these classes
for the time of a fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.linear_model import RidgeCV

from skfusion._fitting.metadata import PatientSplits, consumed, fit_with_metadata
from skfusion._fitting.patient_folds import folds_of_patients

__all__ = [
    "SUBSTITUTES",
    "PatientCalibratedClassifierCV",
    "PatientRidgeCV",
    "PatientStackingClassifier",
    "PatientStackingRegressor",
]

Metadata = dict[str, np.ndarray | None]


def _is_routed_groups(estimator: Any) -> bool:
    routed = get_config()["enable_metadata_routing"]
    return routed and bool(consumed(estimator, "fit", ["groups"]))


class _StackingFit(PatientSplits):
    """`fit` of stacking, which hands weights and groups to the final estimator too."""

    fits_final = True

    def fit(self, X: Any, y: Any, groups: Any = None, **fit_params: Any) -> Any:
        """Fit with folds of whole patients."""
        self._final_metadata: Metadata = {
            "groups": None if groups is None else np.asarray(groups),
            "sample_weight": fit_params.get("sample_weight"),
        }
        members = [part for _, part in self.estimators if not isinstance(part, str)]
        if groups is not None and any(_is_routed_groups(part) for part in members):
            fit_params["groups"] = groups
        with self._split_by(X, y, groups):
            try:
                super().fit(X, y, **fit_params)  # type: ignore[misc]
            finally:
                del self._final_metadata
        self.final_estimator_ = self.final_estimator_.estimator
        return self

    def _validate_final_estimator(self) -> None:
        super()._validate_final_estimator()  # type: ignore[misc]
        self.final_estimator_ = _FinalEstimator(
            self.final_estimator_, self._final_metadata
        )


class _FinalEstimator:
    """Meta-model of stacking during its fit."""

    def __init__(self, estimator: Any, metadata: Metadata) -> None:
        self.estimator = estimator
        self.metadata = metadata

    def fit(self, X: Any, y: Any, **ignored: Any) -> Any:
        """Fit the meta-model with the metadata that it accepts."""
        fit_with_metadata(self.estimator, X, y, self.metadata)
        return self


class PatientStackingClassifier(_StackingFit, StackingClassifier):
    """`StackingClassifier` with folds of whole patients."""

    _plain = StackingClassifier


class PatientStackingRegressor(_StackingFit, StackingRegressor):
    """`StackingRegressor` with folds of whole patients."""

    _plain = StackingRegressor


class PatientCalibratedClassifierCV(PatientSplits, CalibratedClassifierCV):
    """`CalibratedClassifierCV` with folds of whole patients."""

    _plain = CalibratedClassifierCV

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        **fit_params: Any,
    ) -> Any:
        """Fit with folds of whole patients."""
        if groups is not None and _is_routed_groups(self.estimator):
            fit_params["groups"] = groups
        with self._split_by(X, y, groups):
            return super().fit(X, y, sample_weight=sample_weight, **fit_params)


class PatientRidgeCV(PatientSplits, RidgeCV):
    """`RidgeCV` with a penalty per target, chosen by folds of whole patients."""

    _plain = RidgeCV

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        groups: Any = None,
        **params: Any,
    ) -> Any:
        """Choose the penalty of each target by folds instead of leave-one-out."""
        if groups is None:
            return super().fit(X, y, sample_weight=sample_weight, **params)
        targets = np.asarray(y).reshape(len(y), -1)
        folds = folds_of_patients(self, X, targets, np.asarray(groups))
        options = {**self.get_params(), "cv": folds, "alpha_per_target": False}
        fits = []
        for target in targets.T:
            single = RidgeCV(**options)
            metadata = {"sample_weight": sample_weight}
            fits.append(fit_with_metadata(single, X, target, metadata))
        single_target = np.ndim(y) == 1
        for name in ("coef_", "intercept_", "alpha_", "best_score_"):
            values = [getattr(single, name) for single in fits]
            setattr(self, name, values[0] if single_target else np.array(values))
        self.n_features_in_ = fits[0].n_features_in_
        if hasattr(fits[0], "feature_names_in_"):
            self.feature_names_in_ = fits[0].feature_names_in_
        return self


#: Class of scikit-learn -> the class that splits patients.
SUBSTITUTES: dict[type, type[PatientSplits]] = {
    kind._plain: kind
    for kind in (
        PatientStackingClassifier,
        PatientStackingRegressor,
        PatientCalibratedClassifierCV,
        PatientRidgeCV,
    )
}
