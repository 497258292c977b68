"""Small cohorts with images, EHR columns, patients and gaps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from joint_parameters import joint_parameters

from skfusion import ImageEmbedder, TabularEncoder

SMALL = {
    "Early": {},
    "Late": {},
    "Joint": {"max_epochs": 4, "trainable": "head"},
}


@dataclass
class Cohort:
    """A cohort of 48 cases of 24 patients, two cases each."""

    X: pd.DataFrame
    y: np.ndarray
    groups: np.ndarray
    modalities: list


def disc(radius: float, rng: np.random.Generator, size: int = 32) -> np.ndarray:
    """Draw a bright disc on a noisy ground."""
    rows, columns = np.mgrid[:size, :size]
    centre = size / 2 + rng.normal(0, 1, 2)
    inside = np.hypot(rows - centre[0], columns - centre[1]) < radius
    noise = rng.normal(60, 10, (size, size))
    return np.clip(noise + 150 * inside, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def store_path(tmp_path_factory) -> Path:
    """A store that all tests of fusion share: the images are the same."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def cohort(store_path) -> Cohort:
    rng = np.random.default_rng(0)
    n_cases = 48
    y = np.tile([0, 0, 1, 1], n_cases // 4)
    X = pd.DataFrame(
        {
            "patient_id": np.repeat([f"P{i}" for i in range(n_cases // 2)], 2),
            "scan": [disc(5 + 5 * label, rng) for label in y],
            "age": rng.normal(60, 10, n_cases) + 8 * y,
            "sex": rng.choice(["f", "m"], n_cases),
        }
    )
    modalities = [
        ("cxr", ImageEmbedder(input_size=32, store=store_path), "scan"),
        ("ehr", TabularEncoder(), ["age", "sex"]),
    ]
    return Cohort(X, y, X["patient_id"].to_numpy(), modalities)


@pytest.fixture
def make(cohort):
    """Return a maker of small, seeded estimators for the cohort."""

    def build(kind: type, **parameters):
        strategy = kind.__name__.partition("Fusion")[0]
        settings = {
            "modalities": cohort.modalities,
            "groups": "patient_id",
            "random_state": 0,
            **SMALL[strategy],
        }
        settings |= parameters
        return kind(**(joint_parameters(settings) if strategy == "Joint" else settings))

    return build
