"""Claim: a search over windows is 1.5 times as fast with what it tries prepared once.

Synthetic events of skewed codes; each subject has one index time. Eight settings of
windows and statistics, five folds, and a learner that costs nothing, so that only
features are timed: `GridSearchCV` around `EventWindows` as it is, beside the same
search after `EventWindows.prepare`, whose own time counts too, from an empty folder.
Scores of both must agree. Medians of interleaved rounds.

Run: python benchmarks/bench_prepare.py [--events 1000000] [--codes 200]
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline

import skfusion
from skfusion import EventStore, EventWindows

GOAL = 1.5
WINDOWS = [("30d",), ("1d", "30d"), ("30d", "365d"), ("1d", "30d", "365d", None)]
STATISTICS = [("count", "last"), ("count", "mean", "min", "max", "slope", "last")]


class MeanOfFeatures(ClassifierMixin, BaseEstimator):
    """Predict by the number of features that are known: no training, one pass."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> MeanOfFeatures:
        """Learn the median."""
        self.classes_ = np.unique(y)
        self.middle_ = np.median(np.isnan(X).sum(axis=1))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Compare with it."""
        return self.classes_[(np.isnan(X).sum(axis=1) > self.middle_).astype(int)]


def make(n_events: int, n_codes: int) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Return events, cases and an outcome."""
    rng = np.random.default_rng(0)
    n_subjects = max(n_events // 100, 1)
    start = np.datetime64("2020-01-01", "us")
    year = 365 * 86_400_000_000
    names = np.array([f"c{i:03d}" for i in range(n_codes)], dtype=object)
    events = pd.DataFrame(
        {
            "subject_id": rng.integers(0, n_subjects, n_events),
            "time": start + rng.integers(1, year, n_events).astype("timedelta64[us]"),
            "code": names[rng.zipf(1.5, n_events) % n_codes],
            "numeric_value": rng.normal(size=n_events).astype(np.float32),
        }
    )
    cases = pd.DataFrame({"subject_id": np.arange(n_subjects)})
    days = rng.integers(60, 365, n_subjects).astype("timedelta64[D]")
    cases["index_time"] = start + days
    return events, cases, rng.integers(0, 2, n_subjects)


def search(windows: EventWindows, X: pd.DataFrame, y: np.ndarray) -> np.ndarray:
    """Give the scores of all settings."""
    settings = {"events__windows": WINDOWS, "events__aggs": STATISTICS}
    model = Pipeline([("events", windows), ("learner", MeanOfFeatures())])
    found = GridSearchCV(model, settings, cv=5, refit=False).fit(X, y)
    return found.cv_results_["mean_test_score"]


def seconds(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Time one call."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--codes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "EventWindows: .* features")  # their size
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(
        f"skfusion {skfusion.__version__}, NumPy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}"
    )
    events, X, y = make(arguments.events, arguments.codes)
    n_settings = len(WINDOWS) * len(STATISTICS)
    print(f"{len(events):,} events, {len(X):,} rows, {n_settings} settings, 5 folds")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = EventStore.from_frame(events, folder / "store")
        windows = EventWindows(store, shared_subjects="ignore", engine="numpy")
        every = [w for windows_ in WINDOWS for w in windows_]
        union = tuple(dict.fromkeys(every)), tuple({s for x in STATISTICS for s in x})

        def prepared() -> np.ndarray:
            shutil.rmtree(folder / "prepared", ignore_errors=True)
            made = windows.prepare(
                X, windows=union[0], aggs=union[1], path=folder / "prepared"
            )
            return search(made, X, y)

        plain_s, prepared_s = [], []
        for _ in range(arguments.rounds):
            taken, plain_scores = seconds(lambda: search(windows, X, y))
            plain_s.append(taken)
            taken, scores = seconds(prepared)
            prepared_s.append(taken)
            np.testing.assert_array_equal(scores, plain_scores)
    for name, times in (("as it is", plain_s), ("prepared", prepared_s)):
        print(f"{name}: {median(times):.2f} s ({min(times):.2f} to {max(times):.2f})")
    ratio = median(plain_s) / median(prepared_s)
    print(f"prepare: ratio {ratio:.2f} (goal {GOAL:.2f})")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
