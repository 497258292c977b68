"""Claim: 1,000,000 images are linked to 200,000 cases within 10 s.

Patients, times of acquisition, delays of reports, studies and series numbers are drawn.
Most cases see several images. CPU seconds on one thread, for the last image and for
bags of all images. The links of some cases are compared with a search over all images.

Run: python benchmarks/bench_link.py [--images 1000000] [--cases 200000]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time

import numpy as np
import pandas as pd

import skfusion
from skfusion.cohorts import link_images, link_report

GOAL = 10.0  # seconds
N_CHECKED = 200  # cases
IMAGES_PER_PATIENT = 10
MINUTES = 365 * 24 * 60


def make_tables(n_cases: int, n_images: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw cases and images of one year."""
    rng = np.random.default_rng(0)
    n_patients = max(n_images // IMAGES_PER_PATIENT, 1)
    start = pd.Timestamp("2024-01-01 00:00:30")  # midnight would be a date

    def times(n: int) -> pd.DatetimeIndex:
        return start + pd.to_timedelta(rng.integers(1, MINUTES, n), "min")

    acquired = times(n_images)
    delay = pd.to_timedelta(rng.integers(0, 48 * 60, n_images), "min")
    images = pd.DataFrame(
        {
            "patient": rng.integers(0, n_patients, n_images),
            "path": [f"/archive/{i:07}.dcm" for i in range(n_images)],
            "acquired": acquired,
            "available": acquired + delay,
            "study": [f"1.2.{i // 2}" for i in range(n_images)],
            "series_number": rng.integers(1, 9, n_images),
        }
    )
    cases = pd.DataFrame(
        {"patient": rng.integers(0, n_patients, n_cases), "index_time": times(n_cases)}
    )
    return cases, images


def last_by_search(case: pd.Series, images: pd.DataFrame) -> str | None:
    """Return the last image of a case by looking at all images."""
    seen = images[
        (images["patient"] == case["patient"])
        & (images["acquired"] < case["index_time"])
        & (images["available"] < case["index_time"])
    ]
    if seen.empty:
        return None
    order = seen.sort_values(["acquired", "series_number", "path"])
    return str(order["path"].iloc[-1])


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--cases", type=int, default=200_000)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, pandas {pd.__version__}")
    cases, images = make_tables(arguments.cases, arguments.images)
    seconds = {}
    for select in ("last", "all"):
        start, wall = time.process_time(), time.perf_counter()
        linked = link_images(cases, images, on="patient", select=select)
        seconds[select] = time.process_time() - start
        wall = time.perf_counter() - wall
        print(f"select={select!r:8} {seconds[select]:6.2f} s CPU, {wall:6.2f} s wall")
        if select == "last":
            last = linked
    print(link_report(last))
    checked = cases.head(N_CHECKED)
    wanted = [last_by_search(case, images) for _, case in checked.iterrows()]
    found = last["image"].head(len(wanted))
    wrong = sum(a != b for a, b in zip(found, wanted, strict=True))
    holds = not wrong and max(seconds.values()) <= GOAL
    print(f"{wrong} of {len(wanted)} links differ from a search over all images")
    print("holds" if holds else "FAILS")
    return not holds


if __name__ == "__main__":
    sys.exit(main())
