"""Cohorts on which the checks fit an estimator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

__all__ = ["PATIENT", "CheckedCohort", "checked_cohort", "fitted", "output_of"]

#: Column of the patients.
PATIENT = "patient"
IMAGE, EHR = ["image_a", "image_b"], ["ehr_a", "ehr_b"]


@dataclass(frozen=True)
class CheckedCohort:
    """A cohort with the estimator that is fitted to it.

    Attributes
    ----------
    estimator : estimator
        Unfitted, with modalities on the columns of `X` and a fixed seed.
    X : DataFrame of shape (n_samples, n_columns)
        The cases.
    y : ndarray of shape (n_samples,)
        Target of the kind that the estimator predicts.
    patients : ndarray of shape (n_samples,) or None
        Patient of each row, passed to `fit` as `groups`.
    """

    estimator: Any
    X: pd.DataFrame
    y: np.ndarray
    patients: np.ndarray | None

    def rows(self, chosen: np.ndarray) -> CheckedCohort:
        """Return some of the rows, by position."""
        patients = None if self.patients is None else self.patients[chosen]
        return replace(self, X=self.X.iloc[chosen], y=self.y[chosen], patients=patients)


def checked_cohort(
    estimator: Any, *, n_patients: int = 30, seed: int = 0
) -> CheckedCohort:
    """Return a cohort of two modalities with two rows a patient.

    Parameters
    ----------
    estimator : estimator
        The estimator to be checked. A clone gets the modalities ``"image"`` and
        ``"ehr"`` of the cohort.
    n_patients : int, default=30
        Number of patients.
    seed : int, default=0
        Seed of the values.
    """
    rng = np.random.default_rng(seed)
    n_rows = 2 * n_patients
    # Both rows of a patient have the same outcome, so that a patient can be recognised.
    signal = np.repeat(rng.permutation(np.resize([-1.0, 1.0], n_patients)), 2)
    X = pd.DataFrame(
        rng.normal(size=(n_rows, 4)) + 0.8 * signal[:, None],
        columns=[*IMAGE, *EHR],
        # Neither sorted nor positions, so that a mix-up of labels and rows shows.
        index=rng.permutation(n_rows) + 1000,
    )
    patients = np.repeat([f"P{i:03d}" for i in range(n_patients)], 2)
    X.insert(0, PATIENT, patients)
    target = target_for(estimator, signal, rng)
    return CheckedCohort(prepared(estimator, default_modalities()), X, target, patients)


def default_modalities() -> list[tuple[str, Any, list[str]]]:
    """Return the two modalities of the cohort."""
    return [("image", StandardScaler(), IMAGE), ("ehr", StandardScaler(), EHR)]


def prepared(estimator: Any, modalities: Any) -> Any:
    """Return a clone with other modalities and, where it takes one, a fixed seed."""
    params = estimator.get_params(deep=False)
    changed: dict[str, Any] = {"modalities": modalities}
    if "groups" in params:
        changed["groups"] = None
    if params.get("random_state", 0) is None:
        changed["random_state"] = 0
    return clone(estimator).set_params(**changed)


def target_for(
    estimator: Any, signal: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return a target of the kind that an estimator predicts."""
    if is_classifier(estimator):
        return np.where(signal > 0, "sick", "fit")
    numbers = signal + rng.normal(0, 0.3, len(signal))
    if is_regressor(estimator):
        return numbers
    times = np.empty(len(signal), dtype=[("event", bool), ("time", float)])
    times["event"] = rng.random(len(signal)) < 0.7
    times["time"] = np.exp(1 - numbers)
    return times


def fitted(cohort: CheckedCohort, **metadata: Any) -> Any:
    """Return a clone of the estimator, fitted with the patients if it takes them."""
    if cohort.patients is not None and has_fit_parameter(cohort.estimator, "groups"):
        metadata.setdefault("groups", cohort.patients)
    return clone(cohort.estimator).fit(cohort.X, cohort.y, **metadata)


def output_of(model: Any, X: Any) -> np.ndarray:
    """Return the probabilities of a classifier, else the predictions, as floats."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(X), dtype=float)
    return np.asarray(model.predict(X), dtype=float)
