"""Cohorts of a known kind, of which the guidelines give the order of attempts."""

from __future__ import annotations

import numpy as np
import pandas as pd


def two_modalities(
    n_patients: int,
    *,
    shared: float = 0.0,
    missing: float = 0.0,
    missing_in_cases: float = 0.0,
    rows_per_patient: int = 1,
    seed: int = 0,
):
    """Return X, y and columns of two modalities with noise in common.

    Within the classes of the outcome, the direction that tells the outcome has the
    covariance `shared` between the modalities. Rows of a patient share most noise.
    """
    rng = np.random.default_rng(seed)
    y = (rng.random(n_patients) < 0.4).astype(int)
    common = np.sqrt(shared) * rng.normal(size=n_patients)
    parts = {}
    for name, width in (("image", 12), ("ehr", 5)):
        block = rng.normal(size=(n_patients, width))
        block[:, 0] += 1.2 * y + common
        parts |= {f"{name}_{place}": block[:, place] for place in range(width)}
    X = pd.DataFrame(parts).loc[np.repeat(np.arange(n_patients), rows_per_patient)]
    X = X.reset_index(drop=True)
    y = np.repeat(y, rows_per_patient)
    if rows_per_patient > 1:
        X += rng.normal(0, 0.2, X.shape)
    images = [column for column in X if column.startswith("image")]
    chance = np.where(y == 1, missing + missing_in_cases, missing)
    X.loc[rng.random(len(X)) < chance, images] = np.nan
    X["patient_id"] = np.repeat(np.arange(n_patients), rows_per_patient)
    columns = {"image": images, "ehr": [c for c in X if c.startswith("ehr")]}
    return X, y, columns


# The arguments of each cohort, and the order of its attempts.
KINDS = {
    "complete, of medium size, dependent": (
        {"n_patients": 500, "shared": 1.5},
        ["early", "late", "joint"],
    ),
    "often without a modality": (
        {"n_patients": 500, "shared": 1.5, "missing": 0.35},
        ["late", "early", "joint"],
    ),
    "small": (
        {"n_patients": 90, "shared": 1.5},
        ["late", "early", "joint"],
    ),
    "conditionally independent": (
        {"n_patients": 700, "shared": 0.0},
        ["late", "early", "joint"],
    ),
    "large, complete, dependent": (
        {"n_patients": 1_200, "shared": 1.5},
        ["early", "joint", "late"],
    ),
}
