"""Claim: a prediction for one case costs about as much as one of a plain pipeline.

Two modalities of numbers, scaled, with logistic regressions. The rival is a pipeline of
a ``ColumnTransformer`` with the same scalers and one logistic regression, which knows
nothing of absent modalities. Predictions of 1 row are timed in turns for 10, 200 and
2,000 columns. The last line is the greatest ratio of the median CPU seconds on one
thread. Ratios of 1,000 rows are printed beside them, where joint fusion also computes
its two networks.

Run: python benchmarks/bench_predict.py [--columns 10 200 2000] [--repeats 15]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skfusion
from skfusion import EarlyFusionClassifier, JointFusionClassifier, LateFusionClassifier

GOAL = 1.5
ROWS = (1, 1_000)


def models(columns: list[str]) -> dict[str, Any]:
    """Return the rival and the three fusions."""
    half = len(columns) // 2
    modalities = [
        ("image", StandardScaler(), columns[:half]),
        ("ehr", StandardScaler(), columns[half:]),
    ]
    scaled = ColumnTransformer(modalities)
    learner = LogisticRegression()
    return {
        "plain": make_pipeline(scaled, learner),
        "early": EarlyFusionClassifier(modalities, estimator=learner),
        "late": LateFusionClassifier(modalities, estimator=learner),
        "joint": JointFusionClassifier(modalities, max_epochs=1, random_state=0),
    }


def seconds(call: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(n_columns: int, repeats: int) -> dict[tuple[str, int], float]:
    """Return the median seconds of each model and number of rows."""
    rng = np.random.default_rng(0)
    columns = [f"x{i}" for i in range(n_columns)]
    X = pd.DataFrame(rng.normal(size=(1_000, n_columns)), columns=columns)
    y = rng.integers(0, 2, 1_000)
    fitted = {name: model.fit(X, y) for name, model in models(columns).items()}
    times: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeats):
        for n_rows in ROWS:
            part = X.iloc[:n_rows]
            for name, model in fitted.items():
                # one row takes about as long as the clock can tell apart
                n_calls = 5 if n_rows == 1 else 1
                taken = seconds(lambda m=model, p=part, n=n_calls: _repeat(m, p, n))
                times.setdefault((name, n_rows), []).append(taken / n_calls)
    return {key: statistics.median(values) for key, values in times.items()}


def _repeat(model: Any, part: pd.DataFrame, n_calls: int) -> None:
    for _ in range(n_calls):
        model.predict_proba(part)


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--columns", type=int, nargs="+", default=[10, 200, 2_000])
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, 1 thread")
    print(f"skfusion {skfusion.__version__}, pandas {pd.__version__}")
    worst = 0.0
    with threadpool_limits(1):
        for n_columns in arguments.columns:
            found = measure(n_columns, arguments.repeats)
            for n_rows in ROWS:
                plain = found["plain", n_rows]
                line = (
                    f"{n_columns:5d} columns, {n_rows:5d} rows: {plain * 1e3:7.2f} ms"
                )
                for name in ("early", "late", "joint"):
                    ratio = found[name, n_rows] / plain
                    worst = max(worst, ratio) if n_rows == 1 else worst
                    line += f", {name} {ratio:.2f}"
                print(line)
    print(f"predict: ratio {worst:.2f} (goal {GOAL})")
    return 0 if worst <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
