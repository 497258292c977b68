"""Synthetic events of skewed codes, one row a subject, for several benchmarks."""

from __future__ import annotations

import numpy as np
import pandas as pd

__all__ = ["make"]


def make(n_events: int, n_codes: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return events and cases."""
    rng = np.random.default_rng(0)
    n_subjects = max(n_events // 100, 1)
    start = np.datetime64("2020-01-01", "us")
    year = 365 * 86_400_000_000
    names = np.array([f"c{i:03d}" for i in range(n_codes)], dtype=object)
    events = pd.DataFrame(
        {
            "subject_id": rng.integers(0, n_subjects, n_events),
            "time": start + rng.integers(1, year, n_events).astype("timedelta64[us]"),
            "code": names[rng.zipf(1.5, n_events) % n_codes],
            "numeric_value": rng.normal(size=n_events).astype(np.float32),
        }
    )
    cases = pd.DataFrame({"subject_id": np.arange(n_subjects)})
    days = rng.integers(60, 365, n_subjects).astype("timedelta64[D]")
    cases["index_time"] = start + days
    return events, cases
