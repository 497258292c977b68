"""Models given by a formula, and cohorts in which the answer is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from skfusion import ModalityImportance


class Formula(RegressorMixin, BaseEstimator):
    """Predicts what a formula says of the columns."""

    def __init__(self, formula: Callable[[np.ndarray], np.ndarray]) -> None:
        self.formula = formula

    def fit(self, X: Any, y: Any) -> Formula:
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> np.ndarray:
        return self.formula(np.asarray(X))


class LogitFormula(ClassifierMixin, BaseEstimator):
    """Predicts probabilities whose log-odds a formula gives."""

    def __init__(self, formula: Callable[[np.ndarray], np.ndarray]) -> None:
        self.formula = formula

    def fit(self, X: Any, y: Any) -> LogitFormula:
        self.classes_ = np.array([0, 1])
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        p = 1 / (1 + np.exp(-self.formula(np.asarray(X))))
        return np.column_stack([1 - p, p])


def play(formula: Any, modalities: Any, background: np.ndarray, **options: Any) -> Any:
    """Return the importance of a formula whose background is used whole."""
    kind = options.pop("kind", Formula)
    return ModalityImportance(
        kind(formula).fit(None, None),
        modalities=modalities,
        background=background,
        n_background=len(background),
        **options,
    )


def noise_image_cohort(
    n_cases: int, seed: int, n_image: int = 128, n_ehr: int = 20
) -> tuple[pd.DataFrame, np.ndarray, list[str], list[str]]:
    """The record carries all there is to know, the image is noise."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(n_cases, n_image))
    ehr = rng.normal(size=(n_cases, n_ehr))
    weights = np.zeros(n_ehr)
    weights[:5] = [1.0, -0.8, 0.7, 0.6, -0.5]
    y = (rng.random(n_cases) < 1 / (1 + np.exp(-ehr @ weights))).astype(int)
    images = [f"i{j}" for j in range(n_image)]
    records = [f"e{j}" for j in range(n_ehr)]
    frame = pd.DataFrame(np.hstack([image, ehr]), columns=images + records)
    return frame, y, images, records
