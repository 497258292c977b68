"""Claim: hourly features cost a few times those of one index time, not cases x events.

200 subjects with 5,000 events each in a week, whole history. With 168 index times a
subject, pairs of rows and events are 84 times the events, and the features of all rows
may take 6 times the CPU seconds of those of one index time a subject. The rival is that
transform, in turns. Copies of the events for each row, which is how the features were
computed before, stand beside them, and must give the same bits. The last line is the
ratio.

Run: python benchmarks/bench_events_sums.py [--repeats 5] [--aggs count mean last]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from bench_events_hourly import cases, events, windows

import skfusion
from skfusion import EventWindows
from skfusion.ehr.windows import shared

GOAL = 6.0


def seconds(fitted: EventWindows, table: pd.DataFrame) -> tuple[float, np.ndarray]:
    """Return the CPU seconds of a transform, and the features."""
    start = time.process_time()
    found = fitted.transform(table)
    return time.process_time() - start, found


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, default=200)
    parser.add_argument("--events", type=int, default=5_000, help="of each subject")
    parser.add_argument("--times", type=int, default=168, help="of each subject")
    parser.add_argument("--aggs", nargs="+", default=["count", "mean", "last"])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, numpy {np.__version__}")
    one = cases(arguments.subjects, 1)
    many = cases(arguments.subjects, arguments.times)
    taken: dict[str, list[float]] = {"one": [], "many": []}
    with tempfile.TemporaryDirectory() as name:
        store = events(arguments.subjects, arguments.events, Path(name) / "store")
        fitted = windows(store).set_params(aggs=tuple(arguments.aggs)).fit(many)
        for _ in range(arguments.repeats):
            taken["one"].append(seconds(fitted, one)[0])
            spent, found = seconds(fitted, many)
            taken["many"].append(spent)
        with mock.patch.object(shared, "SHARED", np.inf):
            copied, wanted = seconds(fitted, many)
    pairs = zip(taken["many"], taken["one"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    same = np.array_equal(found, wanted, equal_nan=True)
    print(f"   1 index time  {statistics.median(taken['one']):8.3f} CPU s")
    print(f"{arguments.times:4d} index times {statistics.median(taken['many']):8.3f}")
    print(f"  by copies      {copied:8.3f}, the same bits: {same}")
    print(f"events_sums: ratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio <= GOAL and same else 1


if __name__ == "__main__":
    sys.exit(main())
