"""Time and memory of the jobs of a user for n, 4n and 16n cases, in one table.

A job is prepared for each size, is run once, and is then timed in CPU seconds of one
thread (median). Memory is the peak of the process during the first run, beyond that
before, with the result. The last column is the exponent of the growth of the time from
n to 16n: 1 is linear, 2 is quadratic, and below 1 a fixed part prevails.

Run: python benchmarks/growth.py [--jobs events lookup ...] [--repeats 3]
"""

from __future__ import annotations

import argparse
import gc
import math
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from bench_events_hourly import cases, events, memory_mb, windows
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from synthetic_events import make
from threadpoolctl import threadpool_limits
from xgboost import XGBClassifier

import skfusion
from skfusion import (
    EarlyFusionClassifier,
    EmbeddingStore,
    EventStore,
    EventWindows,
    ImageEmbedder,
    ModalityImportance,
    compare_fusion,
)
from skfusion.store.tables import SETTLING_SECONDS

FACTORS = (1, 4, 16)
Work = Callable[[], Any]


def subjects(n: int, folder: Path) -> Iterator[tuple[str, Work]]:
    """Yield a fit and a transform of one index time of each of `n` subjects."""
    frame, table = make(100 * n, 200)
    store = EventStore.from_frame(frame, folder / "events")
    chosen = EventWindows(store, windows=("30d", None), shared_subjects="ignore")
    fitted = chosen.fit(table)
    yield "event features, fit (100 events a case)", lambda: chosen.fit(table)
    yield "event features (100 events a case)", lambda: fitted.transform(table)


def index_times(n: int, folder: Path) -> Iterator[tuple[str, Work]]:
    """Yield transforms of `n` index times of 20 subjects with 5,000 events."""
    store, table = events(20, 5_000, folder / "events"), cases(20, n // 20)
    for name, aggs in (
        ("counts and means", ("count", "mean", "last")),
        ("all default statistics", EventWindows().aggs),
    ):
        fitted = windows(store).set_params(aggs=aggs).fit(table)
        title = f"index times of 20 subjects, {name}"
        yield title, lambda fitted=fitted: fitted.transform(table)


def lookup(n: int, folder: Path) -> Iterator[tuple[str, Work]]:
    """Yield look-ups of `n` stored embeddings, of files that the process knows or not.

    The embeddings are random numbers, because only their number matters here.
    """
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i}.png") for i in range(n)]
    for path in paths:
        pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    time.sleep(SETTLING_SECONDS)
    images = pd.Series(paths)
    embedder = ImageEmbedder(input_size=32, store=folder / "store").fit(images)
    store = EmbeddingStore(folder / "store")
    keys = embedder._look_up(images).rows_of
    vectors = rng.random((n, embedder.n_features_out_), dtype=np.float32)
    store.put_many(dict(zip(keys, vectors, strict=True)))

    def from_the_file() -> None:
        with store._database.remembered() as remembered:
            remembered.forget()
        embedder.transform(images)

    yield "embeddings from the store, first time in a process", from_the_file
    yield "embeddings from the store, again", lambda: embedder.transform(images)


def table_of(n: int) -> tuple[list[Any], pd.DataFrame, np.ndarray]:
    """Return modalities of 512 and 40 columns, `n` cases and their outcomes."""
    rng = np.random.default_rng(0)
    columns = [f"c{i}" for i in range(552)]
    X = pd.DataFrame(rng.normal(size=(n, 552)), columns=columns)
    y = (rng.random(n) < 1 / (1 + np.exp(-X["c0"] - X["c520"]))).to_numpy().astype(int)
    image = ("image", StandardScaler(), columns[:512])
    return [image, ("ehr", StandardScaler(), columns[512:])], X, y


def trees() -> XGBClassifier:
    """Return the learner of the fusions."""
    return XGBClassifier(n_estimators=50, max_depth=4, n_jobs=1)


def models(n: int, folder: Path) -> Iterator[tuple[str, Work]]:
    """Yield a fit of early fusion, its predictions and their explanation."""
    modalities, X, y = table_of(n)
    fusion = EarlyFusionClassifier(modalities, estimator=trees(), random_state=0)
    yield "early fusion, fit (552 columns)", lambda: fusion.fit(X, y)
    some = slice(0, 1_000)
    fitted = EarlyFusionClassifier(modalities, estimator=trees(), random_state=0)
    fitted.fit(X[some], y[some])
    yield "early fusion, predict", lambda: fitted.predict_proba(X)
    importance = ModalityImportance(fitted, background=X[some], n_background=50)
    yield "importance of two modalities", lambda: importance.explain(X)


def compare(n: int, folder: Path) -> Iterator[tuple[str, Work]]:
    """Yield a comparison of early fusion with its single modalities."""
    modalities, X, y = table_of(n)
    learner = LogisticRegression(C=0.01, max_iter=200)
    fusion = EarlyFusionClassifier(modalities, estimator=learner, random_state=0)
    how = {"cv": 3, "n_repeats": 1, "random_state": 0}
    yield "compare_fusion", lambda: compare_fusion({"early": fusion}, X, y, **how)


#: Jobs by name, with n. What n counts is in the names of the lines.
JOBS: dict[str, tuple[Callable[..., Iterator[tuple[str, Work]]], int]] = {
    "events": (subjects, 2_500),
    "index_times": (index_times, 800),
    "lookup": (lookup, 1_000),
    "models": (models, 1_000),
    "compare": (compare, 250),
}


def measured(work: Work, repeats: int) -> tuple[float, float]:
    """Return the CPU seconds and the memory of some work, in MB."""
    gc.collect()
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    work()
    peak = memory_mb("VmHWM") - before
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken), max(peak, 0.0)


def main() -> int:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # of small and random cohorts
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, 1 thread")
    print(f"skfusion {skfusion.__version__}, scikit-learn {sklearn.__version__}\n")
    titles = ("n", "n, s", "4n, s", "16n, s", "16n, MB", "exponent")
    print(f"| job | {' | '.join(titles)} |\n|{' --- |' * (len(titles) + 1)}")
    with threadpool_limits(1):
        for name in arguments.jobs:
            job, n = JOBS[name]
            found: dict[str, list[tuple[float, float]]] = {}
            for factor in FACTORS:
                with tempfile.TemporaryDirectory() as folder:
                    for title, work in job(factor * n, Path(folder)):
                        pair = measured(work, arguments.repeats)
                        found.setdefault(title, []).append(pair)
            for title, pairs in found.items():
                times = [pair[0] for pair in pairs]
                power = math.log(times[-1] / times[0]) / math.log(FACTORS[-1])
                cells = [f"{seconds:.3g}" for seconds in times]
                line = [title, f"{n:,}", *cells, f"{pairs[-1][1]:.0f}", f"{power:.2f}"]
                print(f"| {' | '.join(line)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
