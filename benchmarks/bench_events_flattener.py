"""Claim: windows of events are computed 15 times as fast as by timeseriesflattener.

Synthetic events of skewed codes; each subject has one index time. Count, mean, minimum
and maximum of each code over 1, 30 and 365 days and over the whole history: the same
numbers from both, which is checked. (The latest value is left out: theirs is missing
where a later event lies outside the window.) timeseriesflattener has its events in
memory, split by code beforehand, and one thread; ours reads its store from disk (from
the page cache), by NumPy and one thread. Medians of interleaved rounds.

Run: pip install timeseriesflattener attrs pyarrow
     python benchmarks/bench_events_flattener.py [--events 1000000] [--codes 200]
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from statistics import median

os.environ["POLARS_MAX_THREADS"] = "1"

import numpy as np
import pandas as pd
import polars
from synthetic_events import make
from timeseriesflattener import (
    Flattener,
    PredictionTimeFrame,
    PredictorSpec,
    ValueFrame,
)
from timeseriesflattener.aggregators import (
    CountAggregator,
    MaxAggregator,
    MeanAggregator,
    MinAggregator,
)

import skfusion
from skfusion import EventStore, EventWindows

GOAL = 15.0
STATISTICS = {
    "count": CountAggregator(),
    "mean": MeanAggregator(),
    "min": MinAggregator(),
    "max": MaxAggregator(),
}
DAYS = (1, 30, 365, 36_500)  # the last one is the whole history


def specs(events: pd.DataFrame) -> list[PredictorSpec]:
    """Say to timeseriesflattener what is wanted of each code."""
    return [
        PredictorSpec(
            ValueFrame(
                init_df=polars.from_pandas(
                    part.drop(columns="code").rename(columns={"numeric_value": code})
                ),
                entity_id_col_name="subject_id",
                value_timestamp_col_name="time",
            ),
            lookbehind_distances=[datetime.timedelta(days=days) for days in DAYS],
            aggregators=list(STATISTICS.values()),
            fallback=np.nan,
        )
        for code, part in events.groupby("code")
    ]


def flattened(cases: polars.DataFrame, wanted: list[PredictorSpec]) -> polars.DataFrame:
    """Compute the features by timeseriesflattener, which prints what it does."""
    frame = PredictionTimeFrame(
        init_df=cases,
        entity_id_col_name="subject_id",
        timestamp_col_name="index_time",
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return Flattener(frame).aggregate_timeseries(wanted).df


def check(theirs: polars.DataFrame, ours: np.ndarray, codes: list[str]) -> None:
    """Compare the matrices."""
    names = [
        f"pred_{code}_within_0_to_{days}_days_{name}_fallback_nan"
        for code in codes
        for days in DAYS
        for name in STATISTICS
    ]
    found = theirs.sort("subject_id").select(names).to_numpy()
    np.testing.assert_allclose(found, ours, rtol=1e-5, atol=1e-6)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--codes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "EventWindows: .* features")  # their size
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(
        f"skfusion {skfusion.__version__}, timeseriesflattener "
        f"{version('timeseriesflattener')}, NumPy {np.__version__}, polars "
        f"{polars.__version__}; one thread each"
    )
    events, cases = make(arguments.events, arguments.codes)
    print(f"{len(events):,} events, {len(cases):,} rows, {arguments.codes} codes")
    wanted, frame = specs(events), polars.from_pandas(cases)
    with tempfile.TemporaryDirectory() as folder:
        windows = EventWindows(
            EventStore.from_frame(events, f"{folder}/store"),
            windows=(*(f"{days}d" for days in DAYS[:-1]), None),
            aggs=tuple(STATISTICS),
            totals=(),
            min_subjects=1,
            shared_subjects="ignore",
            engine="numpy",
        ).fit(cases)
        check(flattened(frame, wanted), windows.transform(cases), windows.codes_)
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            for _ in range(3):  # it is short, and other work on the machine is not
                ours.append(seconds(lambda: windows.transform(cases)))
            theirs.append(seconds(lambda: flattened(frame, wanted)))
    for name, taken in (("skfusion", ours), ("timeseriesflattener", theirs)):
        print(f"{name}: {median(taken):.3f} s ({min(taken):.3f} to {max(taken):.3f})")
    ratio = median(theirs) / median(ours)
    print(f"events_flattener: ratio {ratio:.1f} (goal {GOAL:.1f})")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
