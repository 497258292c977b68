"""What many rows see, counted in one pass, is what each row sees."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.coverage import _range_minima, coverage
from skfusion.ehr.point_in_time.visibility import Sight, Windows, visible_events
from skfusion.ehr.point_in_time.vocabulary import count_subjects, learn_bounds

N_CODES = 6


def made_store(folder, seed, *, with_available):
    rng = np.random.default_rng(seed)
    n = 900
    minutes = rng.integers(0, 3_000, n)
    events = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 12, n),
            "time": pd.Timestamp("2020-01-01") + pd.to_timedelta(minutes, "min"),
            "code": rng.choice([f"LAB//{i}" for i in range(N_CODES)], n),
            "numeric_value": rng.normal(size=n).round(1),
        }
    )
    events.loc[rng.random(n) < 0.2, "numeric_value"] = np.nan
    events.loc[rng.random(n) < 0.05, "time"] = pd.NaT  # static events
    if with_available:
        late = pd.to_timedelta(rng.choice([0, 0, 5, 900], n), "min")
        events["available_time"] = events["time"] + late
    return EventStore.from_frame(events, folder, no_time="static")


def some_cases(seed, n=150):
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01").value // 1000
    end = start + rng.integers(-100, 3_500, n) * 60_000_000
    return Cases(rng.integers(-1, 12, n), end)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_available", [False, True])
@pytest.mark.parametrize("closed", ["left", "right"])
@pytest.mark.parametrize("windows", [(None,), ("6h",), ("1h", "1d")])
def test_counts_and_bounds_are_those_of_the_events_of_each_row(
    tmp_path, seed, with_available, closed, windows
):
    store = made_store(tmp_path / "store", seed, with_available=with_available)
    cases = some_cases(seed)
    codes = np.arange(N_CODES) != 2
    sight = Sight(Windows.parse(windows, True), closed, codes, days=False)
    parts = list(visible_events(store.files, cases, sight))
    row, code, value = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("row", "code", "value")
    )
    pairs = np.unique(np.column_stack([cases.subject[row], code]), axis=0)
    counts, no_events = count_subjects(store.files, cases, sight)
    np.testing.assert_array_equal(counts, np.bincount(pairs[:, 1], minlength=N_CODES))
    np.testing.assert_array_equal(np.flatnonzero(~no_events), np.unique(row))
    chosen = np.array([5, 0, 2, 3])
    bounds = learn_bounds(store.files, cases, sight, chosen, (0.05, 0.9))
    for i, number in enumerate(chosen):
        seen = value[(code == number) & ~np.isnan(value)]
        expected = np.quantile(seen, [0.05, 0.9]) if len(seen) else [np.nan, np.nan]
        np.testing.assert_array_equal(bounds[:, i], np.float32(expected))
    total = sum(int(part.n_rows.sum()) for part in coverage(store.files, cases, sight))
    assert total == len(row)


def test_minima_of_ranges():
    rng = np.random.default_rng(0)
    for n in (1, 63, 64, 65, 1_000):
        values = rng.integers(0, 10**6, n)
        low = rng.integers(0, n + 1, 500)
        high = np.minimum(low + rng.integers(0, n + 1, 500), n)
        found = _range_minima(values, low, high)
        largest = np.iinfo(np.int64).max
        expected = [
            values[a:b].min() if b > a else largest
            for a, b in zip(low, high, strict=True)
        ]
        np.testing.assert_array_equal(found, expected)
