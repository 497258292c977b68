"""Claim: stacking costs the fits of its members and next to nothing besides.

With K inner folds each member is fitted K + 1 times: once on all rows, once beside each
fold. Timed side by side, interleaved, medians of several rounds:

- ours: `LateFusionClassifier(aggregation="stacking")`, and the same with calibrated
  members and weights learned by the AUROC;
- one round: each member fitted once on all rows by scikit-learn alone;
- by hand: the same K + 1 fits and K predictions in a loop over scikit-learn's
  estimators, and the meta-model.

The ratio is that of our stacking to K + 1 rounds; it can be below 1, since a fit beside
a fold has (K - 1)/K of the rows. Our overhead over the loop by hand is printed too and
must stay below 5 %.

Besides: four modalities of 672 columns with a logistic regression each, which is fitted
fast, so that the rest counts. CPU seconds with one thread; at most 1.1 of the loop by
hand.

Run: python benchmarks/bench_late.py [--rows 4000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pandas as pd
import sklearn
from scipy.special import logit
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skfusion
from skfusion import LateFusionClassifier
from skfusion.datasets import make_fusion_cohort

GOAL = 1.05
OVERHEAD = 1.05
WIDE_OVERHEAD = 1.10
WIDTHS = (512, 20, 40, 100)
K = 5


def members(cohort: object) -> list[tuple[str, object, list[str]]]:
    """Return a linear model of the image, forests of the EHR and of a part of it."""
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    forest = RandomForestClassifier(
        20, min_samples_leaf=5, n_jobs=1, random_state=0, max_features=None
    )
    return [
        ("image", linear, cohort.image_columns),
        ("ehr", forest, cohort.ehr_columns),
        ("vitals", forest, cohort.ehr_columns[:4]),
    ]


def one_round(parts: list, X: pd.DataFrame, y: np.ndarray) -> None:
    """Fit each member once on all rows."""
    for _, part, columns in parts:
        clone(part).fit(X[columns], y)


def by_hand(parts: list, X: pd.DataFrame, y: np.ndarray, folds: list) -> None:
    """Stack as one would without a library."""
    odds = np.empty((len(y), len(parts)))
    for j, (_, part, columns) in enumerate(parts):
        block = X[columns]
        clone(part).fit(block, y)
        for train, test in folds:
            fitted = clone(part).fit(block.iloc[train], y[train])
            p = fitted.predict_proba(block.iloc[test])[:, 1]
            odds[test, j] = logit(np.clip(p, 1e-6, 1 - 1e-6))
    LogisticRegression().fit(odds, y)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def wide(n_rows: int, rounds: int) -> float:
    """Compare the stacking of wide modalities with the loop by hand."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(n_rows, sum(WIDTHS)))).add_prefix("c")
    y = (X["c0"] + X["c520"] + rng.normal(size=n_rows) > 0).to_numpy(dtype=int)
    ends = np.cumsum((0, *WIDTHS))
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    parts = [
        (f"m{j}", linear, list(X.columns[ends[j] : ends[j + 1]]))
        for j in range(len(WIDTHS))
    ]
    folds = list(StratifiedKFold(K, shuffle=True, random_state=0).split(X, y))
    model = LateFusionClassifier(parts, cv=folds, aggregation="stacking")
    times = []
    with threadpool_limits(1):
        for number in range(rounds + 1):
            start = time.process_time()
            by_hand(parts, X, y, folds)
            middle = time.process_time()
            model.fit(X, y)
            if number:  # the first has imports
                times.append((time.process_time() - middle) / (middle - start))
    print(f"{n_rows} rows of {sum(WIDTHS)} columns: {median(times):.2f} of the loop")
    return median(times)


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, scikit-learn {sklearn.__version__}")
    cohort = make_fusion_cohort(arguments.rows, rows_per_patient=2, random_state=0)
    X, y, groups = cohort.data, cohort.target, cohort.groups
    parts = members(cohort)
    folds = list(
        StratifiedGroupKFold(K, shuffle=True, random_state=0).split(X, y, groups)
    )
    print(
        f"{arguments.rows} rows, {len(parts)} members, {K} folds of whole patients, "
        f"medians of {arguments.rounds} interleaved rounds, one thread"
    )

    def ours(**settings: object) -> None:
        model = LateFusionClassifier(parts, cv=folds, groups="patient_id", **settings)
        model.fit(X, y)

    tasks = {
        "one round of member fits": lambda: one_round(parts, X, y),
        "stacking by hand": lambda: by_hand(parts, X, y, folds),
        "stacking": lambda: ours(aggregation="stacking"),
        "stacking, calibrated": lambda: ours(
            aggregation="stacking",
            calibration="sigmoid",
            final_calibration="sigmoid",
        ),
        "weights by AUROC": lambda: ours(aggregation="weighted", weights="roc_auc"),
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for work in tasks.values():  # imports and caches
        work()
    for _ in range(arguments.rounds):
        for name, work in tasks.items():
            times[name].append(seconds(work))
    middle = {name: median(values) for name, values in times.items()}
    rounds = (K + 1) * middle["one round of member fits"]
    for name, spent in middle.items():
        print(f"{name:26s} {spent:7.2f} s   {spent / rounds:5.2f} of {K + 1} rounds")
    overhead = middle["stacking"] / middle["stacking by hand"]
    print(f"stacking against the loop by hand: {overhead:.3f} (at most {OVERHEAD})")
    wides = [wide(n_rows, 2 * arguments.rounds) for n_rows in (500, 2000, 8000)]
    print(f"wide modalities: {max(wides):.2f} of the loop (at most {WIDE_OVERHEAD})")
    ratio = middle["stacking"] / rounds
    print(f"late_stacking: ratio {ratio:.3f} (goal {GOAL})")
    narrow = ratio <= GOAL and overhead <= OVERHEAD
    return 0 if narrow and max(wides) <= WIDE_OVERHEAD else 1


if __name__ == "__main__":
    sys.exit(main())
