"""numba's numbers are those of NumPy, to the bit, and when it is taken."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skfusion import EventStore, EventWindows
from skfusion.ehr.windows import compute, engines
from skfusion.ehr.windows.kernel import STATISTICS

pytest.importorskip("numba")

INDEX = pd.Timestamp("2026-06-01")
X = pd.DataFrame({"subject_id": np.arange(50), "index_time": INDEX})


@pytest.fixture
def store(tmp_path):
    """Events with ties, gaps, zeros, and numbers that are large beside their spread."""
    rng = np.random.default_rng(0)
    n = 3000
    number = rng.choice([0.0, -1.5, 3.25e7, 1e-9], n) + rng.normal(size=n)
    frame = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 50, n),
            "time": INDEX - pd.to_timedelta(rng.integers(-50 * 24, 9600, n), unit="h"),
            "code": rng.choice(["a", "b", "LAB//c", "d"], n),
            "numeric_value": np.where(rng.random(n) < 0.2, np.nan, number),
        }
    )
    return EventStore.from_frame(frame, tmp_path / "store")


@pytest.mark.parametrize(
    "parameters",
    [
        {"nested": False, "closed": "right"},
        {"output": "sparse", "windows": ("36h", "90d"), "n_jobs": 2},
        {"clip": (0.1, 0.9), "include": ("a", "b", "LAB//c"), "max_codes": 2},
        {"aggs_by_prefix": {"LAB//": ("std", "slope")}, "totals": ()},
    ],
)
def test_features_are_the_same_bits(store, parameters):
    windows = EventWindows(store, engine="numpy").set_params(
        **{"aggs": STATISTICS, **parameters}
    )
    wanted = windows.fit_transform(X)
    found = clone(windows).set_params(engine="numba").fit_transform(X)
    if windows.output == "sparse":
        np.testing.assert_array_equal(found.indptr, wanted.indptr)
        np.testing.assert_array_equal(found.indices, wanted.indices)
        found, wanted = found.data, wanted.data
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(found).mean() > 0.2


def test_which_engine_computes(monkeypatch):
    many, few = engines.ENOUGH, engines.ENOUGH - 1
    assert engines.uses_numba("auto", many)
    assert not engines.uses_numba("auto", few)
    assert not engines.uses_numba("numpy", many)
    assert engines.uses_numba("numba", few)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match=r"skfusion\[fast\]"):
        engines.uses_numba("numba", few)
    monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
    assert not engines.uses_numba("auto", many)


def test_many_events_are_numbas_by_default(store, monkeypatch):
    def compiled(*_):
        raise ArithmeticError

    windows = EventWindows(store).fit(X)
    monkeypatch.setattr(compute, "write_compiled", compiled)
    windows.transform(X)
    monkeypatch.setattr(engines, "ENOUGH", 1000)
    with pytest.raises(ArithmeticError):
        windows.transform(X)


def test_machine_code_need_not_be_kept(monkeypatch):
    from skfusion.ehr.windows import numba_kernel

    njit = numba_kernel.numba.njit

    def without_a_folder(**options):
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(**options)

    monkeypatch.setattr(numba_kernel.numba, "njit", without_a_folder)
    assert numba_kernel._compiled(lambda a: a + 1)(2) == 3


def test_an_unknown_engine(store):
    with pytest.raises(ValueError, match="engine must be one of"):
        EventWindows(store, engine="cython").fit(X)
