"""Claim: windows of events take 2.5 times less memory than pandas, for the same matrix.

Synthetic events on disk, one index time a subject; count, last, mean, minimum and
maximum of each code over 30 days and over the whole history, as one dense float32
matrix with NaN where nothing is known. Ours reads its store, pandas its Parquet file,
joins the index times, filters and groups; each in a process of its own, and what is
compared is the peak of its resident memory above that after the imports. The matrices
must agree. Of very many events, which pandas cannot hold, `--alone` measures what ours
takes beside the matrix, against a limit of 600 MB.

Run: python benchmarks/bench_events_memory.py [--events 5000000] [--codes 50]
     python benchmarks/bench_events_memory.py --events 100000000 --alone
"""

from __future__ import annotations

import argparse
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet

import skfusion
from skfusion import EventStore, EventWindows

GOAL = 2.5
GOAL_BEYOND_MB = 600  # beside the matrix, however many events there are
PART = 1_000_000
STATISTICS = ("count", "last", "mean", "min", "max")


def peak_mb() -> float:
    """Give the peak of resident memory of this process so far."""
    status = Path("/proc/self/status")
    if not status.exists():  # what macOS counts begins with the process
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # Linux's ru_maxrss begins with the peak of the process that started this one
    line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1e3


def make(n_events: int, n_codes: int, folder: Path) -> None:
    """Write events, as a store and as Parquet, and cases, never holding all of them."""
    start = np.datetime64("2020-01-01", "us")
    names = np.array([f"c{i:03d}" for i in range(n_codes)], dtype=object)
    writer = None

    def parts() -> Iterator[pd.DataFrame]:
        nonlocal writer
        for part in range(0, n_events, PART):
            rng = np.random.default_rng((0, part))
            size = min(PART, n_events - part)
            seconds = rng.integers(1, 365 * 86_400, size)
            events = pd.DataFrame(
                {
                    "subject_id": part // 100 + rng.integers(0, size // 100, size),
                    "time": start + (seconds * 1_000_000).astype("timedelta64[us]"),
                    "number": (rng.zipf(1.5, size) % n_codes).astype(np.int32),
                    "numeric_value": rng.normal(size=size).astype(np.float32),
                }
            ).drop_duplicates(["subject_id", "time", "number"])
            events = events.sort_values(["subject_id", "time"], ignore_index=True)
            table = pyarrow.Table.from_pandas(events)
            if writer is None:
                writer = pyarrow.parquet.ParquetWriter(
                    folder / "events.parquet", table.schema
                )
            writer.write_table(table)
            yield events.assign(code=names[events["number"]]).drop(columns="number")

    EventStore.from_frame(parts(), folder / "store")
    writer.close()
    index_time = start + np.timedelta64(200, "D")
    cases = pd.DataFrame(
        {"subject_id": np.arange(n_events // 100), "index_time": index_time}
    )
    cases.to_parquet(folder / "cases.parquet")


def ours(folder: Path, n_codes: int) -> np.ndarray:
    """Make the matrix by `EventWindows`."""
    cases = pd.read_parquet(folder / "cases.parquet")
    windows = EventWindows(
        EventStore(folder / "store"),
        windows=("30d", None),
        aggs=STATISTICS,
        totals=(),
        min_subjects=1,
        shared_subjects="ignore",
        engine="numpy",
    )
    return windows.fit_transform(cases)


def by_pandas(folder: Path, n_codes: int) -> np.ndarray:
    """Make the matrix by merging, filtering and grouping."""
    cases = pd.read_parquet(folder / "cases.parquet")
    events = pd.read_parquet(folder / "events.parquet").merge(cases, on="subject_id")
    events = events[events["time"] < events["index_time"]]
    shape = len(cases), n_codes, 2, len(STATISTICS)
    matrix = np.full(shape, np.nan, dtype=np.float32)
    matrix[..., 0] = 0
    for w, days in enumerate((30, None)):
        part = events
        if days is not None:
            since = events["index_time"] - pd.Timedelta(days=days)
            part = events[events["time"] >= since]
        found = part.groupby(["subject_id", "number"], sort=False)["numeric_value"].agg(
            list(STATISTICS)
        )
        rows = found.index.get_level_values(0).to_numpy()
        codes = found.index.get_level_values(1).to_numpy()
        matrix[rows, codes, w] = found.to_numpy(dtype=np.float32)
    return matrix.reshape(len(cases), -1)


def measure(way: str, folder: Path, n_codes: int) -> tuple[float, float]:
    """Run one way in a process of its own; give its peak and its matrix in MB."""
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    command += ["--codes", str(n_codes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, size, taken = (float(word) for word in done.stdout.split())
    print(f"{way}: {peak:.0f} MB, of which the matrix {size:.0f}; {taken:.1f} s")
    return peak, size


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--codes", type=int, default=50)
    parser.add_argument("--alone", action="store_true", help="do not run pandas")
    parser.add_argument("--way", choices=("ours", "pandas"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        before = peak_mb()
        function = ours if arguments.way == "ours" else by_pandas
        start = time.perf_counter()
        matrix = function(arguments.folder, arguments.codes)
        taken = time.perf_counter() - start
        print(peak_mb() - before, matrix.nbytes / 1e6, taken)
        np.save(arguments.folder / f"{arguments.way}.npy", matrix)
        return 0
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(
        f"skfusion {skfusion.__version__}, NumPy {np.__version__}, pandas "
        f"{pd.__version__}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(arguments.events, arguments.codes, folder)
        if arguments.alone:
            peak, size = measure("ours", folder, arguments.codes)
            ratio = GOAL_BEYOND_MB / (peak - size)
            print(f"events_memory_alone: ratio {ratio:.2f} (goal 1.00)")
            return int(ratio < 1)
        peaks = {
            way: measure(way, folder, arguments.codes)[0] for way in ("ours", "pandas")
        }
        first, second = (np.load(folder / f"{way}.npy", mmap_mode="r") for way in peaks)
        for start in range(0, len(first), 10_000):
            rows = slice(start, start + 10_000)
            np.testing.assert_allclose(first[rows], second[rows], rtol=1e-3, atol=1e-5)
    ratio = peaks["pandas"] / peaks["ours"]
    print(f"events_memory: ratio {ratio:.2f} (goal {GOAL:.2f})")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
