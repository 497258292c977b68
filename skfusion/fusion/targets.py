"""Targets: labels or numbers in, what a learner is given out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from skfusion.fusion.cohort import TrainingData

__all__ = ["ClassifierTarget", "RegressorTarget"]


class ClassifierTarget:
    """Checks a classifier's target and turns labels into class numbers."""

    classes_: np.ndarray
    _is_classifier = True

    def _set_fallback(self, data: TrainingData) -> None:
        """Keep the class shares: the prediction where nothing is known."""
        shares = np.bincount(data.y, data.sample_weight, minlength=len(self.classes_))
        self._fallback = shares / shares.sum()

    def _check_target(self, y: Any) -> np.ndarray:
        owner = type(self).__name__
        values = _valid_target(y, owner)
        check_classification_targets(values)
        self._label_encoder = LabelEncoder().fit(values)
        self.classes_ = self._label_encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"{owner}: y holds one class only, so there is nothing to tell apart. "
                "A classifier needs at least two classes."
            )
        return self._label_encoder.transform(values)


class RegressorTarget:
    """Checks a regressor's target."""

    _is_classifier = False

    def _set_fallback(self, data: TrainingData) -> None:
        """Keep the mean: the prediction where nothing is known."""
        self._fallback = np.average(data.y, weights=data.sample_weight)

    def _check_target(self, y: Any) -> np.ndarray:
        values = _valid_target(y, type(self).__name__)
        try:
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"{type(self).__name__}: y must hold numbers, found {values.dtype}."
            ) from error


def _valid_target(y: Any, owner: str) -> np.ndarray:
    values = column_or_1d(y, warn=True)
    unknown = np.flatnonzero(pd.isna(pd.Series(values)))
    if len(unknown):
        raise ValueError(
            f"{owner}: Input y contains NaN in {len(unknown)} of {len(values)} rows, "
            f"first at row position(s) {unknown[:5].tolist()}. Drop rows whose outcome "
            "is unknown."
        )
    if values.dtype.kind == "f":
        assert_all_finite(values, input_name="y")
    return values
