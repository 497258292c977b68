"""Cohorts whose leaks, or their absence, are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

N_ROWS, N_PATIENTS, N_AFFECTED = 300, 200, 20


@dataclass
class Cohort:
    """Cohort of 300 rows, the arguments of the audit beside it."""

    X: pd.DataFrame
    y: np.ndarray
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def audited(self) -> tuple[pd.DataFrame, np.ndarray, str]:
        return self.X, self.y, "patient_id"


def clean(seed: int, prevalence: float = 0.3) -> Cohort:
    """Return 300 rows of 200 patients, half of whom have two rows, without a leak.

    The record has some signal, values that are missing at random, a category of a few
    rows and measurements of several resolutions. Each row has an image of its own.
    """
    rng = np.random.default_rng(seed)
    patient = np.concatenate([np.arange(N_PATIENTS), np.arange(N_ROWS - N_PATIENTS)])
    sick = rng.permutation(np.arange(N_PATIENTS) < prevalence * N_PATIENTS)
    rng.shuffle(patient)
    y = sick[patient].astype(int)
    years = rng.integers(30, 90, N_PATIENTS)[patient]
    X = pd.DataFrame(
        {
            "patient_id": [
                f"P{number:04d}" for number in rng.permutation(999)[patient]
            ],
            "age": years + rng.integers(0, 2, N_ROWS),
            "sex": rng.choice(["f", "m"], N_PATIENTS)[patient],
            "crp": np.round(rng.lognormal(1.5 + 0.5 * y, 0.8), 1),
            "creatinine": np.round(rng.normal(1.0 + 0.1 * y, 0.2), 2),
            "sodium": rng.integers(130, 148, N_ROWS),
            "diagnosis": rng.choice(
                ["a", "b", "c", "rare"], N_ROWS, p=[0.5, 0.3, 0.15, 0.05]
            ),
            "scanner": rng.choice(["old", "new", "mobile"], N_ROWS),
            "index_time": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(rng.integers(0, 300, N_ROWS), "D"),
        }
    )
    X["last_visit"] = X["index_time"] - pd.to_timedelta(
        rng.integers(1, 90, N_ROWS), "D"
    )
    for column in ("crp", "creatinine"):
        X.loc[rng.random(N_ROWS) < 0.15, column] = np.nan
    X["scan"] = list(rng.integers(0, 255, (N_ROWS, 24, 24), dtype=np.uint8))
    return Cohort(X, y)


def few(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 20 positions of rows of a mask, of different patients where possible."""
    return rng.permutation(np.flatnonzero(mask))[:N_AFFECTED]
