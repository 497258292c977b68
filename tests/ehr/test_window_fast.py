"""numba's sums are those of NumPy, bit for bit, whatever the events are."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from skfusion import EventStore, EventWindows
from skfusion.ehr import window_fast
from skfusion.ehr.window_kernel import STATISTICS, WindowEvents, sum_bands

pytest.importorskip("numba")


def events_of(n: int, seed: int, *, n_bands: int = 3) -> WindowEvents:
    """Events ordered by row and time, with ties, gaps, zeros and large numbers."""
    rng = np.random.default_rng(seed)
    row = np.sort(rng.integers(0, 4, n))
    ahead = np.round(rng.uniform(0, 30, n), rng.integers(0, 3))
    order = np.lexsort((-ahead, row))
    row, ahead = row[order], ahead[order]
    value = rng.choice([0.0, -1.5, 3.25e7, 1e-9, np.nan], n) + rng.choice([0, 1], n) * (
        rng.normal(size=n)
    )
    return WindowEvents(
        row,
        rng.integers(0, 3, n),
        np.minimum(ahead // 11, n_bands - 1).astype(np.int64),
        ahead,
        np.floor(-ahead).astype(np.int64),
        value.astype(np.float32),
    )


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 60), seed=st.integers(0, 10**6))
def test_sums_are_the_same_bits(n, seed):
    events = events_of(n, seed)
    first, second = (sum_bands(events, 3, 3, engine) for engine in ("numpy", "numba"))
    for one, other in zip(first[:2], second[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    for name, one, other in zip(first[2]._fields, first[2], second[2], strict=True):
        assert one.tobytes() == other.tobytes() or np.array_equal(
            one, other, equal_nan=True
        ), name


@pytest.mark.parametrize("output", ["dense", "sparse"])
@pytest.mark.parametrize("nested", [True, False])
def test_features_are_the_same_bits(tmp_path, output, nested):
    rng = np.random.default_rng(0)
    n = 3000
    index = pd.Timestamp("2026-06-01")
    frame = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 50, n),
            "time": index
            - pd.to_timedelta(rng.uniform(-50, 400, n), unit="D").floor("us"),
            "code": rng.choice(["a", "b", "c"], n),
            "numeric_value": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
        }
    )
    store = EventStore.from_frame(frame, tmp_path / "store")
    X = pd.DataFrame({"subject_id": np.arange(50), "index_time": index})
    windows = EventWindows(
        store, aggs=STATISTICS, nested=nested, output=output, engine="numpy"
    )
    expected = windows.fit_transform(X)
    for settings_ in ({"engine": "numba"}, {"engine": "numba", "n_jobs": 2}):
        found = clone(windows).set_params(**settings_).fit_transform(X)
        if output == "sparse":
            np.testing.assert_array_equal(found.indices, expected.indices)
            np.testing.assert_array_equal(found.data, expected.data)
        else:
            np.testing.assert_array_equal(found, expected)


def test_which_engine_sums(monkeypatch):
    many, few = window_fast._ENOUGH, window_fast._ENOUGH - 1
    assert window_fast.uses_numba("auto", many)
    assert not window_fast.uses_numba("auto", few)
    assert not window_fast.uses_numba("numpy", many)
    assert window_fast.uses_numba("numba", few)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"skfusion\[fast\]"):
        window_fast.uses_numba("numba", few)
    monkeypatch.setattr(window_fast.importlib.util, "find_spec", lambda name: None)
    assert not window_fast.uses_numba("auto", many)


def test_an_unknown_engine(tmp_path):
    X = pd.DataFrame({"subject_id": [1], "index_time": [pd.Timestamp("2026-06-01")]})
    frame = pd.DataFrame({"subject_id": [1], "time": [pd.Timestamp("2026-05-01")]})
    store = EventStore.from_frame(frame.assign(code="a"), tmp_path / "store")
    with pytest.raises(ValueError, match="engine"):
        EventWindows(store, engine="cython", min_subjects=1).fit(X)
