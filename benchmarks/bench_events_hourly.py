"""Claim: the vocabulary of hourly index times costs a few times that of one index time.

200 subjects with 5,000 events each in a week, whole history. The codes are learned from
the events that some training row sees. With 168 index times a subject, pairs of rows
and events are 84 times the events, and a fit may cost 3 times that of one index time a
subject. The rival is that fit, in turns, in CPU seconds. The last line is the ratio.
`--alone` measures a fit and a transform of one subject of 4 million events with
50 index times, against a limit of 600 MB of memory beyond that before.

Run: python benchmarks/bench_events_hourly.py [--repeats 5]
     python benchmarks/bench_events_hourly.py --alone
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

import skfusion
from skfusion import EventStore, EventWindows

GOAL = 3.0
LIMIT_MB = 600
START = pd.Timestamp("2020-01-01")
WEEK_S = 7 * 86_400


def events(n_subjects: int, n_each: int, folder: Path) -> EventStore:
    """Return a store of events at random times of a week."""
    rng = np.random.default_rng(0)
    n = n_subjects * n_each
    frame = pd.DataFrame(
        {
            "subject_id": np.repeat(np.arange(n_subjects), n_each),
            "time": START + pd.to_timedelta(rng.integers(0, WEEK_S, n), "s"),
            "code": rng.choice([f"LAB//{i}" for i in range(50)], n),
            "numeric_value": rng.normal(size=n).astype(np.float32),
        }
    )
    return EventStore.from_frame(frame, folder)


def cases(n_subjects: int, n_each: int) -> pd.DataFrame:
    """Return index times at equal distances in the week."""
    hours = np.linspace(WEEK_S / n_each, WEEK_S, n_each)
    return pd.DataFrame(
        {
            "subject_id": np.repeat(np.arange(n_subjects), n_each),
            "index_time": START + pd.to_timedelta(np.tile(hours, n_subjects), "s"),
        }
    )


def windows(store: EventStore) -> EventWindows:
    """Return the transformer that is fitted."""
    return EventWindows(
        store,
        windows=(None,),
        totals=(),
        shared_subjects="ignore",
        aggs=("count", "mean", "last"),
        min_subjects=1,
    )


def compare(store: EventStore, n_subjects: int, repeats: int) -> float:
    """Print the seconds of fits in turns and return their ratio."""
    tables = {k: cases(n_subjects, k) for k in (1, 168)}
    taken: dict[int, list[float]] = {k: [] for k in tables}
    found: dict[int, list[float]] = {k: [] for k in tables}
    for _ in range(repeats):
        for k, table in tables.items():
            start = time.process_time()
            fitted = windows(store).fit(table)
            taken[k].append(time.process_time() - start)
            start = time.process_time()
            fitted.transform(table)
            found[k].append(time.process_time() - start)
    for k in tables:
        fit, transform = statistics.median(taken[k]), statistics.median(found[k])
        print(f"{k:4d} index times: fit {fit:.3f}, transform {transform:.3f} CPU s")
    return statistics.median(taken[168]) / statistics.median(taken[1])


def memory_mb(name: str) -> float:
    """Return a line of the memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1e3


def alone(folder: Path) -> int:
    """Print the memory of a fit and a transform of one subject, return 1 if above."""
    store = events(1, 4_000_000, folder)
    table = cases(1, 50)
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    windows(store).fit(table).transform(table)
    peak = memory_mb("VmHWM") - before
    print(f"events_hourly: ratio {peak / LIMIT_MB:.2f} (goal 1.0), {peak:.0f} MB")
    return 0 if peak <= LIMIT_MB else 1


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--events", type=int, default=5_000, help="of each subject")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--alone", action="store_true")
    arguments = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, pandas {pd.__version__}")
    with tempfile.TemporaryDirectory() as name:
        if arguments.alone:
            return alone(Path(name) / "store")
        store = events(arguments.subjects, arguments.events, Path(name) / "store")
        ratio = compare(store, arguments.subjects, arguments.repeats)
    print(f"events_hourly: ratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
