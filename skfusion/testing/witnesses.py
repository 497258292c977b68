"""Transformers and classifiers that report how an estimator uses them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

__all__ = ["FailingScaler", "Memoriser", "PatientWitness"]


class PatientWitness(TransformerMixin, BaseEstimator):
    """Transformer that notes rows held out from its fit whose patients are in it.

    The first column is the number of the row, the second that of the patient. The
    third is returned as the only feature.

    Parameters
    ----------
    log : str
        Name of the list in `LOGS` to which the numbers of such rows are appended.
        Clones share it.
    """

    LOGS: dict[str, list[int]] = {}

    def __init__(self, log: str = "") -> None:
        self.log = log

    def fit(self, X: Any, y: Any = None) -> Self:
        """Note the rows and patients of the training."""
        rows, patients, _ = np.asarray(X, dtype=float).T
        self.rows_, self.patients_ = set(rows), set(patients)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the values, and note rows whose patients were in the training."""
        values = np.asarray(X, dtype=float)
        leaks = self.LOGS.setdefault(self.log, [])
        for row, patient in values[:, :2]:
            if row not in self.rows_ and patient in self.patients_:
                leaks.append(int(row))
        return values[:, [2]]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the name of the only feature."""
        return np.asarray(["value"], dtype=object)


class Memoriser(ClassifierMixin, BaseEstimator):
    """Classifier that knows its training rows by heart and guesses all others.

    The only column is the number of the row.

    Parameters
    ----------
    remembers : bool, default=True
        False guesses the training rows, too.
    """

    def __init__(self, remembers: bool = True) -> None:
        self.remembers = remembers

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the class of each row by heart."""
        self.classes_, codes = np.unique(y, return_inverse=True)
        rows = np.asarray(X, dtype=float).ravel()
        self.known_ = dict(zip(rows, codes, strict=True)) if self.remembers else {}
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return near certainty for known rows, and guesses for others."""
        rows = np.asarray(X, dtype=float).ravel()
        last = len(self.classes_) - 1
        # A fraction of the golden ratio: without relation to any target.
        guesses = (rows * 0.6180339887) % 1.0
        known = np.array([self.known_.get(row, -1) for row in rows])
        high = np.where(known < 0, guesses, np.where(known == last, 0.999, 0.001))
        proba = np.tile(((1 - high) / last)[:, None], (1, last + 1))
        proba[:, last] = high
        return proba

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable classes."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class FailingScaler(TransformerMixin, BaseEstimator):
    """Scaler that refuses training rows with large values."""

    LARGEST = 1e3

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the means, or fail."""
        values = np.asarray(X, dtype=float)
        if np.nanmax(np.abs(values)) > self.LARGEST:
            raise ValueError("FailingScaler: got values that it is made to refuse.")
        self.mean_ = np.nanmean(values, axis=0)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Subtract the means."""
        return np.asarray(X, dtype=float) - self.mean_

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns."""
        names = getattr(input_features, "tolist", lambda: input_features)()
        return np.asarray(names or [f"x{i}" for i in range(len(self.mean_))], object)
