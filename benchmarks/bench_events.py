"""Claim: windows of events are computed faster than by polars and duckdb.

Synthetic events of skewed codes; each subject has one index time. The default windows
and statistics of each code (count, last, mean, minimum, maximum, slope, time since the
last), as one dense float32 matrix with NaN where nothing is known: the same matrix from
all three, which is checked. Each has one thread. Polars and duckdb have their tables in
memory; ours reads its store from disk (from the page cache). Medians of interleaved
rounds. The claim is that of the NumPy path; the numba path, which gives the same bits,
and the practical floor (decoding the events from Parquet, and one pass over them) stand
beside it.

Run: python benchmarks/bench_events.py [--events 1000000] [--codes 200]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ["POLARS_MAX_THREADS"] = "1"

import duckdb
import numpy as np
import pandas as pd
import polars
import pyarrow.parquet
from sklearn.base import clone

import skfusion
from skfusion import EventStore, EventWindows

GOAL = 1.5
STATISTICS = ("count", "last", "mean", "min", "max", "slope", "since_last")
DAYS = (1, 30, 365, None)


def make(n_events: int, n_codes: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return events, sorted by subject and time, and cases."""
    rng = np.random.default_rng(0)
    n_subjects = max(n_events // 100, 1)
    start = pd.Timestamp("2020-01-01")
    microseconds = rng.integers(1, 365 * 86_400_000_000, n_events)
    events = pd.DataFrame(
        {
            "subject_id": rng.integers(0, n_subjects, n_events),
            "time": start + pd.to_timedelta(microseconds, unit="us"),
            "number": rng.zipf(1.5, n_events) % n_codes,
            "numeric_value": rng.normal(size=n_events).astype(np.float32),
        }
    )
    events["time"] = events["time"].astype("datetime64[us]")
    # two events of one code at one time have no order in SQL
    events = events.drop_duplicates(["subject_id", "time", "number"])
    events = events.sort_values(["subject_id", "time"], ignore_index=True)
    cases = pd.DataFrame({"subject_id": np.arange(n_subjects)})
    day = rng.integers(60, 365, n_subjects)
    cases["index_time"] = (start + pd.to_timedelta(day, unit="D")).astype(
        "datetime64[us]"
    )
    return events, cases


def spread(
    row: np.ndarray, code: np.ndarray, columns: list, n_rows: int, n_codes: int
) -> Any:
    """Put statistics of pairs into a dense matrix, as `EventWindows` does."""
    shape = n_rows, n_codes, len(DAYS), len(STATISTICS)
    matrix = np.full(shape, np.nan, dtype=np.float32)
    matrix[..., 0] = 0
    for place, column in enumerate(columns):
        window, statistic = divmod(place, len(STATISTICS))
        matrix[row, code, window, statistic] = column
    return matrix.reshape(n_rows, -1)


def shortest(days: int | None) -> float:
    """Return over how many days numbers must reach for a slope."""
    return max(1 / 24, 0.01 * (days or 0))


def by_polars(
    events: polars.DataFrame, cases: polars.DataFrame, n_codes: int
) -> np.ndarray:
    """Join, filter, group and spread."""
    day = 86_400_000_000.0
    ahead = (polars.col("index_time") - polars.col("time")).dt.total_microseconds()
    wanted = []
    for i, days in enumerate(DAYS):
        inside = polars.lit(True) if days is None else polars.col("ahead") <= days
        value = polars.col("numeric_value").filter(inside).cast(polars.Float64)
        time_ = -polars.col("ahead").filter(inside)
        reach = time_.max() - time_.min()
        slope = polars.cov(value, time_) / time_.var()
        count = polars.len() if days is None else inside.sum()
        wanted += [
            count.cast(polars.Float32).alias(f"count{i}"),
            value.last().alias(f"last{i}"),
            value.mean().alias(f"mean{i}"),
            value.min().alias(f"min{i}"),
            value.max().alias(f"max{i}"),
            polars.when(reach >= shortest(days)).then(slope).alias(f"slope{i}"),
            (-time_.max()).alias(f"since{i}"),
        ]
    found = (
        events.lazy()
        .join(cases.lazy().with_row_index("row"), on="subject_id")
        .filter(polars.col("time") < polars.col("index_time"))
        .with_columns((ahead / day).alias("ahead"))
        .sort("row", "number", "time")
        .group_by("row", "number", maintain_order=True)
        .agg(wanted)
        .collect()
    )
    columns = [found[name].to_numpy() for name in found.columns[2:]]
    return spread(
        found["row"].to_numpy(),
        found["number"].to_numpy(),
        columns,
        len(cases),
        n_codes,
    )


def by_duckdb(connection: Any, n_rows: int, n_codes: int) -> np.ndarray:
    """Join, filter, group and spread."""
    wanted = []
    for i, days in enumerate(DAYS):
        only = "" if days is None else f" FILTER (ahead <= {days})"
        reach = f"max(ahead){only} - min(ahead){only}"
        wanted += [
            f"count(*){only} AS count{i}",
            f"arg_min(numeric_value, ahead){only} AS last{i}",
            f"avg(numeric_value){only} AS mean{i}",
            f"min(numeric_value){only} AS min{i}",
            f"max(numeric_value){only} AS max{i}",
            f"CASE WHEN {reach} >= {shortest(days)} THEN "
            f"regr_slope(numeric_value, -ahead){only} END AS slope{i}",
            f"min(ahead){only} AS since{i}",
        ]
    found = connection.execute(
        "WITH seen AS (SELECT c.subject_id AS row, number, numeric_value, "
        "(epoch_us(c.index_time) - epoch_us(e.time)) / 86400000000.0 AS ahead "
        "FROM events e JOIN cases c ON c.subject_id = e.subject_id "
        "WHERE e.time < c.index_time) "
        f"SELECT row, number, {', '.join(wanted)} FROM seen GROUP BY ALL"
    ).fetchnumpy()
    columns = [np.ma.filled(found[n].astype(float), np.nan) for n in list(found)[2:]]
    return spread(found["row"], found["number"], columns, n_rows, n_codes)


def floor(parquet: Path) -> float:
    """Decode the events and pass over them once."""
    table = pyarrow.parquet.read_table(parquet, use_threads=False)
    number, value = (table[name].to_numpy() for name in ("number", "numeric_value"))
    return float(np.bincount(number, weights=value).sum())


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
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(
        f"skfusion {skfusion.__version__}, NumPy {np.__version__}, polars "
        f"{polars.__version__}, duckdb {duckdb.__version__}; one thread each"
    )
    events, cases = make(arguments.events, arguments.codes)
    print(f"{len(events):,} events, {len(cases):,} rows, {arguments.codes} codes")
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("CREATE TABLE events AS SELECT * FROM events")
    connection.execute("CREATE TABLE cases AS SELECT * FROM cases")
    tables = polars.from_pandas(events), polars.from_pandas(cases)
    with tempfile.TemporaryDirectory() as folder:
        names = np.array([f"c{i:03d}" for i in range(arguments.codes)], dtype=object)
        table = events.assign(code=names[events["number"]]).drop(columns="number")
        store = EventStore.from_frame(table, f"{folder}/store")
        windows = EventWindows(
            store,
            windows=tuple(None if days is None else f"{days}d" for days in DAYS),
            aggs=STATISTICS,
            totals=(),
            min_subjects=1,
            shared_subjects="ignore",
            engine="numpy",
        ).fit(cases)
        compiled = clone(windows).set_params(engine="numba").fit(cases)
        parquet = Path(folder, "events.parquet")
        events.to_parquet(parquet)
        used = np.isin(names, windows.codes_).repeat(len(DAYS) * len(STATISTICS))
        tasks = {
            "skfusion": lambda: windows.transform(cases),
            "skfusion, numba": lambda: compiled.transform(cases),
            "polars": lambda: by_polars(*tables, arguments.codes),
            "duckdb": lambda: by_duckdb(connection, len(cases), arguments.codes),
            "floor": lambda: floor(parquet),
        }
        wanted = tasks["skfusion"]()
        np.testing.assert_array_equal(tasks["skfusion, numba"](), wanted)
        for name in ("polars", "duckdb"):
            found = tasks[name]()[:, used]
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
        times: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(arguments.rounds):
            for name, task in tasks.items():
                times[name].append(seconds(task))
    for name, taken in times.items():
        print(f"{name}: {median(taken):.3f} s ({min(taken):.3f} to {max(taken):.3f})")
    ours, polars_s = median(times["skfusion, numba"]), median(times["polars"])
    print(f"numba is {polars_s / ours:.2f} times as fast as polars")
    shortfall = median(times["skfusion"]) / median(times["floor"])
    print(f"the NumPy path takes {shortfall:.1f} times the practical floor")
    best = min(median(times[name]) for name in ("polars", "duckdb"))
    ratio = best / median(times["skfusion"])
    print(f"events: ratio {ratio:.2f} (goal {GOAL:.2f})")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
