"""Fitted models of every kind on one small cohort, to be saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from xgboost import XGBClassifier

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    ImageEmbedder,
    LateFusionClassifier,
    TabularEncoder,
)

N = 32
INDEX = pd.Timestamp("2026-06-01")
SEED = {"groups": "subject_id", "random_state": 0}


def table() -> pd.DataFrame:
    """A cohort of 32 cases with images, gaps, categories and dates."""
    rng = np.random.default_rng(0)
    y = target()
    X = pd.DataFrame({"subject_id": np.arange(N), "index_time": INDEX})
    X["scan"] = list(rng.integers(0, 200, (N, 24, 24), dtype=np.uint8))
    X["age"] = rng.normal(60, 10, N) + 5 * y
    X["sex"] = rng.choice(["f", "m", "ünbekannt"], N)
    X["crp"] = np.where(rng.random(N) < 0.2, np.nan, rng.exponential(5, N) + y)
    X["since"] = INDEX - pd.to_timedelta(rng.integers(1, 900, N), unit="D")
    return X


def target() -> np.ndarray:
    return np.arange(N) % 2


def times() -> np.ndarray:
    rng = np.random.default_rng(1)
    rows = zip(rng.random(N) < 0.7, rng.exponential(10, N) + 0.1, strict=True)
    return np.array(list(rows), dtype=[("event", bool), ("time", float)])


def events(folder: Path) -> EventStore:
    rng = np.random.default_rng(2)
    days = rng.uniform(1, 300, (N, 6))
    return EventStore.from_frame(
        pd.DataFrame(
            {
                "subject_id": np.repeat(np.arange(N), 6),
                "time": INDEX - pd.to_timedelta(days.ravel(), unit="D").floor("us"),
                "code": "LAB//crp",
                "numeric_value": rng.normal(size=days.size),
            }
        ),
        folder,
    )


TABULAR = [
    ("who", TabularEncoder(), ["age", "sex"]),
    ("lab", TabularEncoder(index_time="index_time"), ["crp", "since", "index_time"]),
]
XGB = {"n_estimators": 8, "max_depth": 2, "n_jobs": 1}


def early(**parameters: Any) -> Any:
    learner = XGBClassifier(**XGB)
    return EarlyFusionClassifier(
        TABULAR, **{"estimator": learner, **SEED, **parameters}
    )


def late(**parameters: Any) -> Any:
    return LateFusionClassifier(TABULAR, **{**SEED, **parameters})


def makers(folder: Path) -> dict[str, Callable[[], Any]]:
    """Functions that fit a model, by name. Images and events need the folder."""
    from skfusion.fusion import JointFusionClassifier, TrainingSettings
    from skfusion.survival import (
        EarlyFusionSurvival,
        JointFusionSurvival,
        LateFusionSurvival,
    )

    X, y, Y = table(), target(), times()
    settings = TrainingSettings(validation_fraction=0)
    joint = {"max_epochs": 1, "training": settings, **SEED}
    images = ImageEmbedder(input_size=32, store=folder / "embeddings")
    windows = EventWindows(
        events(folder / "events"), windows=(None,), min_subjects=1, aggs=("mean",)
    )
    with_images = [
        ("scan", images, "scan"),
        ("lab", windows, ["subject_id", "index_time"]),
    ]
    logistic = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    nested = CalibratedClassifierCV(logistic, cv=2)
    return {
        "early": lambda: early().fit(X, y),
        "early_images": lambda: EarlyFusionClassifier(
            with_images, estimator=XGBClassifier(**XGB), **SEED
        ).fit(X, y),
        "late": lambda: late(estimator=logistic).fit(X, y),
        "late_stacked": lambda: late(
            estimator=nested, aggregation="stacking", calibration="sigmoid", cv=2
        ).fit(X, y),
        "joint_images": lambda: JointFusionClassifier(with_images, **joint).fit(X, y),
        "early_survival": lambda: EarlyFusionSurvival(TABULAR, **SEED).fit(X, Y),
        "late_survival": lambda: LateFusionSurvival(TABULAR, cv=2, **SEED).fit(X, Y),
        "joint_survival": lambda: JointFusionSurvival(TABULAR, **joint).fit(X, Y),
        "pipeline": lambda: Pipeline(
            [("same", FunctionTransformer()), ("fusion", early())]
        ).fit(X, y),
        "search": lambda: GridSearchCV(
            early(), {"estimator__max_depth": [1, 2]}, cv=2
        ).fit(X, y),
        "calibrated": lambda: CalibratedClassifierCV(
            FrozenEstimator(early().fit(X, y)), method="isotonic"
        ).fit(X, y),
    }


def predictions(model: Any, X: pd.DataFrame) -> np.ndarray:
    """The probabilities of a classifier, or the risk of a survival model."""
    if hasattr(model, "predict_proba"):
        return np.asarray(model.predict_proba(X))
    return np.asarray(model.predict(X))
