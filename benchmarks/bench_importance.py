"""Claim: the game of modalities is 150 times cheaper per case than shap's explainers.

The model is an XGBoost of 200 trees on 512 columns of an image and 40 of a record; the
background has 100 cases. Timed in processor seconds of one thread, interleaved, medians
of several rounds:

- ours: `ModalityImportance.explain` on all held-out cases;
- shap's `PartitionExplainer` with a tree that joins the columns of each modality first,
  on a few cases: the same values, to its own precision. As it comes it goes on into the
  columns (500 evaluations a case); stopped behind the modalities (`max_evals=10`) it is
  timed too, but that works for two modalities only;
- shap's `KernelExplainer`, as it comes, on one case.

The ratio is that of the partition explainer, as it comes, to ours, per case. Besides:
a joint net is shown each image once, against a prediction for each mixed row (rows
counted, and time), the mixed rows that exist at a time stay below a bound, boosted
trees of four and eight modalities are explained in at most 1.2 times the time that
XGBoost takes to predict all mixed rows from matrices, eight modalities of 2,000 cases
take at most 60 s, and a linear model is explained 20 times faster than scikit-learn
predicts all mixed rows.

Run: python benchmarks/bench_importance.py [--cases 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import shap
import sklearn
import torch
import xgboost
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

import skfusion
from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    ModalityImportance,
)

GOAL = 150.0
MOST_OF_BARE = 1.2
MOST_SECONDS = 60.0
FEWER_LINEAR = 20.0
FEWER_ROWS = 10.0
MOST_MEGABYTES = 400.0
N_IMAGE, N_RECORD, K = 512, 40, 100


def seconds(work: Callable[[], Any]) -> float:
    """Time one call in processor seconds: other users of the machine do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def fitted_table(n_cases: int) -> tuple[Any, pd.DataFrame, pd.DataFrame]:
    """Return an early fusion, its training cases and as many held-out ones."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(2 * n_cases, N_IMAGE + N_RECORD)))
    X.columns = [f"c{i}" for i in range(X.shape[1])]
    margin = X["c0"] + X["c512"] * (1 + X["c1"]) + X["c513"]
    y = (rng.random(len(X)) < 1 / (1 + np.exp(-margin))).astype(int)
    names = list(X.columns)
    model = EarlyFusionClassifier(
        [
            ("image", FunctionTransformer(), names[:N_IMAGE]),
            ("record", FunctionTransformer(), names[N_IMAGE:]),
        ],
        estimator=xgboost.XGBClassifier(n_estimators=200, max_depth=6, n_jobs=1),
        absence_copies=0,
        random_state=0,
    ).fit(X[:n_cases], y[:n_cases])
    return model, X[:n_cases], X[n_cases:]


def group_tree() -> np.ndarray:
    """Return a linkage that joins the image, then the record, then both."""
    steps = []
    next_id = N_IMAGE + N_RECORD
    ends = []
    for first, size in ((0, N_IMAGE), (N_IMAGE, N_RECORD)):
        last = first
        for count, column in enumerate(range(first + 1, first + size), start=2):
            steps.append([last, column, 0.1, count])
            last = next_id
            next_id += 1
        ends.append(last)
    steps.append([*ends, 1.0, N_IMAGE + N_RECORD])
    return np.array(steps, dtype=float)


def per_case(n_cases: int, rounds: int) -> tuple[float, float]:
    """Time ours against shap's explainers; return both ratios."""
    model, train, test = fitted_table(n_cases)
    rng = np.random.RandomState(0)
    background = train.iloc[np.sort(rng.choice(len(train), K, replace=False))]
    learner = model.estimator_

    def margin(rows: np.ndarray) -> np.ndarray:
        return learner.predict(np.asarray(rows), output_margin=True)

    ours = ModalityImportance(model, background=background, n_background=K)
    masker = shap.maskers.Partition(
        background.to_numpy(), clustering=group_tree(), max_samples=K
    )
    partition = shap.PartitionExplainer(margin, masker)
    kernel = shap.KernelExplainer(margin, background.to_numpy())
    few = test.iloc[:3].to_numpy()
    work: dict[str, tuple[Callable[[], Any], int]] = {
        "exact game": (lambda: ours.explain(test), len(test)),
        "PartitionExplainer": (lambda: partition(few, silent=True), len(few)),
        "PartitionExplainer, max_evals=10": (
            lambda: partition(few, max_evals=10, silent=True),
            len(few),
        ),
        "KernelExplainer": (lambda: kernel.shap_values(few[:1], silent=True), 1),
    }
    theirs = partition(few, max_evals=10, silent=True).values
    sums = np.column_stack([theirs[:, :N_IMAGE].sum(1), theirs[:, N_IMAGE:].sum(1)])
    gap = np.abs(ours.explain(test.iloc[:3]).values - sums).max()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, (task, count) in work.items():
            times[name].append(seconds(task) / count)
    middle = {name: median(values) for name, values in times.items()}
    for name, spent in middle.items():
        print(f"{name:32s} {1e3 * spent:10.2f} ms a case")
    print(f"largest difference to PartitionExplainer: {gap:.1e}")
    tracemalloc.start()
    ours.explain(test)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    whole = 8 * len(test) * K * (N_IMAGE + N_RECORD) / 2**20
    print(
        f"memory: peak {peak:.0f} MB (at most {MOST_MEGABYTES:.0f}); all mixed rows of "
        f"one set would be {whole:.0f} MB"
    )
    base = middle["exact game"]
    if peak > MOST_MEGABYTES or gap > 1e-3:  # float32 margins, through log-odds
        return 0.0, 0.0
    return middle["PartitionExplainer"] / base, middle["KernelExplainer"] / base


def several_modalities(estimator: Any, M: int) -> tuple[Any, pd.DataFrame, Any]:
    """Return a fitted early fusion, held-out cases and its importance."""
    rng = np.random.default_rng(0)
    width = N_IMAGE + N_RECORD
    X = pd.DataFrame(rng.normal(size=(4000, width))).add_prefix("c")
    margin = X["c0"] + X["c100"] + X["c500"] + rng.normal(size=len(X))
    parts = np.array_split(X.columns, M)
    model = EarlyFusionClassifier(
        [(f"m{j}", FunctionTransformer(), list(part)) for j, part in enumerate(parts)],
        estimator=estimator,
        absence_copies=0,
        random_state=0,
    ).fit(X[:2000], (margin[:2000] > 0).astype(int))
    importance = ModalityImportance(model, background=X[:2000], n_background=K)
    return model, X[2000:], importance


def trees_of_several(rounds: int) -> tuple[float, float]:
    """Compare boosted trees with bare predictions of all mixed rows.

    Returns the ratio of the times, and the seconds of eight modalities.
    """
    worst, whole = 0.0, 0.0
    for M in (4, 8):
        trees = xgboost.XGBClassifier(n_estimators=100, max_depth=4, n_jobs=1)
        model, cases, importance = several_modalities(trees, M)
        rng = np.random.default_rng(1)
        rows = rng.normal(size=(20_000, N_IMAGE + N_RECORD)).astype(np.float32)
        n_mixed = len(cases) * K * (2**M - 2)
        learner, times = model.estimator_, []
        for _ in range(rounds):
            ours = seconds(
                lambda importance=importance, cases=cases: importance.explain(cases)
            )
            bare = seconds(
                lambda learner=learner, rows=rows: [
                    learner.predict_proba(rows) for _ in range(5)
                ]
            )
            times.append((ours, bare / 5 / len(rows) * n_mixed))
        whole, bare = (median(column) for column in zip(*times, strict=True))
        worst = max(worst, whole / bare)
        print(
            f"{M} modalities, XGBoost, {len(cases)} cases: {whole:.2f} s, "
            f"{1e6 * whole / n_mixed:.3f} us for each of {n_mixed:,} mixed rows, which "
            f"take XGBoost {1e6 * bare / n_mixed:.2f} us: {whole / bare:.3f} times"
        )
    return worst, whole


def linear_model(rounds: int) -> float:
    """Compare a linear model with bare predictions of all mixed rows."""
    model, cases, importance = several_modalities(LogisticRegression(C=0.01), 8)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, N_IMAGE + N_RECORD))
    times = [
        (
            seconds(lambda: importance.explain(cases)),
            seconds(lambda: model.estimator_.predict_proba(rows)) / len(rows),
            seconds(lambda: model.predict(cases)),
        )
        for _ in range(2 * rounds)
    ]
    ours, bare, predicted = (median(column) for column in zip(*times, strict=True))
    ratio = bare * len(cases) * K * (2**8 - 2) / ours
    print(
        f"8 modalities, logistic regression, {len(cases)} cases: {1e3 * ours:.0f} ms "
        f"({ours / predicted:.1f} predictions of the cases), all mixed rows by "
        f"scikit-learn alone {ratio * ours:.0f} s: {ratio:.0f} times"
    )
    return ratio


class Counting(nn.Module):
    """A small CNN that counts the images it is shown."""

    seen = 0

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a map of 64 channels."""
        Counting.seen += len(x)
        return self.layers(x)


def encode_once(rounds: int) -> tuple[float, float]:
    """Count and time encoding once against predicting every mixed row."""
    rng = np.random.default_rng(0)
    n_cases, n_background = 64, 32
    n_rows = n_cases + n_background
    images = rng.integers(0, 255, (n_rows, 64, 64)).astype(np.uint8)
    X = pd.DataFrame({"scan": list(images), "age": rng.normal(60, 9, n_rows)})
    torch.manual_seed(0)
    embedder = ImageEmbedder(Counting(), input_size=64, trainable="all", store=None)
    model = JointFusionClassifier(
        [("scan", embedder, "scan"), ("age", StandardScaler(), ["age"])],
        max_epochs=1,
        random_state=0,
    ).fit(X, np.arange(n_rows) % 2)
    background, cases = X[:n_background], X[n_background:].reset_index(drop=True)
    importance = ModalityImportance(
        model, background=background, n_background=n_background
    )

    def naive() -> np.ndarray:
        own = np.repeat(np.arange(n_cases), n_background)
        other = np.tile(np.arange(n_background), n_cases)
        first, second = cases.iloc[own], background.iloc[other]
        image_of = first.reset_index(drop=True).assign(age=second["age"].to_numpy())
        age_of = second.reset_index(drop=True).assign(age=first["age"].to_numpy())
        means = []
        for part in (background, image_of, age_of, cases):
            p = model.predict_proba(part)[:, 1]
            means.append(np.log(p / (1 - p)))
        mixed = [m.reshape(n_cases, n_background).mean(axis=1) for m in means[1:3]]
        empty = np.full(n_cases, means[0].mean())
        return np.column_stack([empty, *mixed, means[3]])

    counts, found = [], []
    for work in (naive, lambda: importance.explain(cases).coalition_values):
        Counting.seen = 0
        found.append(work())
        counts.append(Counting.seen)
    gap = np.abs(found[0] - found[1]).max()
    times = [
        (seconds(naive), seconds(lambda: importance.explain(cases)))
        for _ in range(rounds)
    ]
    slow, fast = (median(column) for column in zip(*times, strict=True))
    fewer = counts[0] / counts[1]
    print(
        f"joint net, {n_cases} cases, background {n_background}: {counts[0]} images "
        f"through the encoder against {counts[1]} ({fewer:.1f} times fewer, at least "
        f"{FEWER_ROWS:.0f}), {slow:.2f} s against {fast:.3f} s ({slow / fast:.1f} "
        f"times), largest difference {gap:.1e}"
    )
    return (fewer if gap < 1e-4 else 0.0), slow / fast


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(
        f"skfusion {skfusion.__version__}, shap {shap.__version__}, xgboost "
        f"{xgboost.__version__}, scikit-learn {sklearn.__version__}, torch "
        f"{torch.__version__}"
    )
    print(
        f"{arguments.cases} cases of {N_IMAGE} + {N_RECORD} columns, background {K}, "
        f"medians of {arguments.rounds} interleaved rounds, one thread"
    )
    partition, kernel = per_case(arguments.cases, arguments.rounds)
    fewer, _ = encode_once(arguments.rounds)
    row, eight = trees_of_several(arguments.rounds)
    linear = linear_model(arguments.rounds)
    print(f"against KernelExplainer: {kernel:.0f} times (at least {GOAL:.0f})")
    print(f"importance: ratio {partition:.0f} (goal {GOAL:.0f})")
    print(f"a mixed row: {row:.3f} times XGBoost's (at most {MOST_OF_BARE})")
    print(f"eight modalities, 2,000 cases: {eight:.1f} s (at most {MOST_SECONDS:.0f})")
    print(f"a linear model: {linear:.0f} times faster (at least {FEWER_LINEAR:.0f})")
    fast = min(partition, kernel) >= GOAL and fewer >= FEWER_ROWS
    fast = fast and row <= MOST_OF_BARE and eight <= MOST_SECONDS
    return 0 if fast and linear >= FEWER_LINEAR else 1


if __name__ == "__main__":
    sys.exit(main())
