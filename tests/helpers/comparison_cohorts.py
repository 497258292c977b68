"""Small cohorts of an image and a record, and what a comparison of them needs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import EarlyFusionClassifier

LATE = ("single", "late")


def make_cohort(n_patients=120, *, per_patient=2, noise=1.0, seed=0):
    """Two columns that each tell half of the outcome."""
    rng = np.random.default_rng(seed)
    n_rows = n_patients * per_patient
    X = pd.DataFrame(
        rng.normal(size=(n_rows, 2)),
        columns=["lesion", "age"],
        index=range(7, 7 + n_rows),
    )
    y = (X.sum(axis=1) + noise * rng.normal(size=n_rows) > 0).astype(int)
    if per_patient > 1:
        X["patient_id"] = np.repeat(rng.permutation(n_patients), per_patient)
    return X, y.to_numpy()


def modalities(image="image", ehr="ehr"):
    return [
        (image, StandardScaler(), ["lesion"]),
        (ehr, StandardScaler(), ["age"]),
    ]


def linear(given=None, *, C=1.0, **settings):
    """An early fusion that is fast: logistic regression on all columns."""
    return EarlyFusionClassifier(
        modalities() if given is None else given,
        estimator=LogisticRegression(C=C),
        **settings,
    )


def three_modalities():
    """One column each, without a transformer that has something to learn."""
    return [(name, FunctionTransformer(), [name]) for name in ("scan", "labs", "notes")]


def scores_of(result, strategy, metric="roc_auc"):
    """Scores of the folds of a strategy, in the order of repetitions."""
    folds = result.folds_
    chosen = (folds["strategy"] == strategy) & (folds["metric"] == metric)
    return folds.loc[chosen, "score"].to_numpy()
