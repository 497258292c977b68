"""Features from sums that rows share are those of the kernel, to the bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import Sight, Windows, visible_events
from skfusion.ehr.windows import compute, exact_sums, plan as plan_module, shared
from skfusion.ehr.windows.exact_sums import ExactSums
from skfusion.ehr.windows.kernel import STATISTICS, join_bands, sum_bands

START = pd.Timestamp("2024-03-01")
N_SUBJECTS, N_EACH, N_HOURS = 3, 400, 60


def values(kind, rng, n):
    """Return values that are hard to add up in one way or another."""
    normal = rng.normal(size=n)
    kinds = {
        "normal": normal,
        "rounded": rng.lognormal(size=n).round(2),
        "halves": rng.choice([0.5, 1.0, 98.6], n),  # sums between two floats
        "constant": np.full(n, 0.1),
        "offset": 1e6 + 0.01 * normal,
        "wide": normal * 10.0 ** rng.integers(-12, 12, n),  # sums of which round
    }
    return np.where(rng.random(n) < 0.1, np.nan, kinds[kind])


def store_of(kind, folder, *, lag=None, zone=None, span_h=N_HOURS):
    rng = np.random.default_rng(0)
    n = N_SUBJECTS * N_EACH
    minutes = rng.integers(0, 60 * span_h, n)
    time = pd.Series(START + pd.to_timedelta(minutes, "min"))
    frame = pd.DataFrame(
        {
            "subject_id": np.repeat(np.arange(N_SUBJECTS), N_EACH),
            "time": time.dt.tz_localize(zone) if zone else time,
            "code": rng.choice(["a", "b", "c"], n),
            "numeric_value": values(kind, rng, n),
        }
    )
    if lag is not None:
        lags = {"equal": np.full(n, 90), "unequal": rng.integers(0, 400, n)}[lag]
        frame["available_time"] = frame["time"] + pd.to_timedelta(lags, "min")
    return EventStore.from_frame(frame, folder, date_only=None)


def hourly(zone=None, span_h=N_HOURS):
    hours = np.linspace(0, span_h * 1.1, N_HOURS)
    index = START + pd.to_timedelta(np.tile(hours, N_SUBJECTS), "h")
    return pd.DataFrame(
        {
            "subject_id": np.repeat(np.arange(N_SUBJECTS), N_HOURS),
            "index_time": pd.Series(index).dt.tz_localize(zone) if zone else index,
        }
    )


def windows_of(store, **parameters):
    chosen = {
        "windows": ("3h", "1d", None),
        "aggs": STATISTICS,
        "min_subjects": 1,
        "shared_subjects": "ignore",
    }
    return EventWindows(store, **{**chosen, **parameters})


@pytest.fixture
def counted(monkeypatch):
    """Count the pairs, and those that are left to the kernel."""
    counts = {"pairs": 0, "kernel": 0}
    features, by_kernel = shared._features, shared._by_kernel

    def counting(*arguments):
        found = features(*arguments)
        counts["pairs"] += len(found.row)
        return found

    def counting_kernel(ranges, pairs, *others):
        counts["kernel"] += len(pairs)
        return by_kernel(ranges, pairs, *others)

    monkeypatch.setattr(shared, "_features", counting)
    monkeypatch.setattr(shared, "_by_kernel", counting_kernel)
    monkeypatch.setattr(shared, "FEWEST_WITH_MOMENTS", 0)
    monkeypatch.setattr(shared, "SHARED", 1)
    return counts


def both(windows, X, monkeypatch):
    """Return the features by shared sums and those by copies of the events."""
    found = windows.fit(X).transform(X)
    with monkeypatch.context() as patch:
        patch.setattr(shared, "SHARED", np.inf)
        wanted = windows.transform(X)
    if windows.output == "sparse":
        np.testing.assert_array_equal(found.indptr, wanted.indptr)
        np.testing.assert_array_equal(found.indices, wanted.indices)
        return found.data, wanted.data
    return found, wanted


@pytest.mark.parametrize(
    ("kind", "lag", "parameters"),
    [
        ("normal", None, {}),
        ("normal", "equal", {"nested": False, "closed": "right"}),
        ("rounded", "unequal", {"output": "sparse", "clip": (0.1, 0.9)}),
        ("halves", None, {"windows": ("2h",), "totals": ()}),
        ("constant", "equal", {"windows": (None,), "max_codes": 2}),
        ("offset", None, {"windows": ("90min", "5h"), "n_jobs": 2}),
        ("wide", "unequal", {"windows": tuple(f"{h}h" for h in range(1, 11))}),
        ("wide", None, {"aggs": ("count", "min", "max", "n_days"), "totals": ()}),
    ],
)
def test_features_are_those_of_the_kernel(
    tmp_path, monkeypatch, counted, kind, lag, parameters
):
    windows = windows_of(store_of(kind, tmp_path / "s", lag=lag), **parameters)
    found, wanted = both(windows, hourly(), monkeypatch)
    np.testing.assert_array_equal(found.view(np.int32), wanted.view(np.int32))
    assert counted["pairs"] > 300
    if kind == "wide" and "aggs" not in parameters:
        assert counted["kernel"] >= counted["pairs"]
    elif lag != "unequal":
        assert counted["kernel"] < 0.05 * counted["pairs"]


def test_days_are_those_of_the_time_zone(tmp_path, monkeypatch, counted):
    zone = "Asia/Tokyo"
    store = store_of("rounded", tmp_path / "s", zone=zone)
    found, wanted = both(windows_of(store), hourly(zone), monkeypatch)
    np.testing.assert_array_equal(found, wanted)
    assert counted["pairs"] > 300


def test_long_records_and_short_windows(tmp_path, monkeypatch, counted):
    years = 24 * 365 * 30
    store = store_of("normal", tmp_path / "s", span_h=years)
    windows = windows_of(store, windows=("400d", "4000d"))
    found, wanted = both(windows, hourly(span_h=years), monkeypatch)
    np.testing.assert_array_equal(found, wanted)
    assert counted["kernel"] < 0.2 * counted["pairs"]


@pytest.mark.parametrize("output", ["dense", "sparse"])
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_the_order_of_the_rows_changes_nothing(tmp_path, counted, output, engine):
    if engine == "numba":
        pytest.importorskip("numba")
    store, X = store_of("normal", tmp_path / "s"), hourly()
    windows = windows_of(store, output=output, engine=engine).fit(X)
    wanted = windows.transform(X)
    n_shared = counted["pairs"]
    by_time = np.argsort(X["index_time"], kind="stable")
    found = windows.transform(X.iloc[by_time])
    assert counted["pairs"] == 2 * n_shared
    alone = windows.transform(X.iloc[[7]])
    if output == "sparse":
        wanted, found, alone = (part.toarray() for part in (wanted, found, alone))
    np.testing.assert_array_equal(found, wanted[by_time])
    np.testing.assert_array_equal(alone, wanted[[7]])


def test_a_distance_that_is_not_known_is_left_to_the_kernel(
    tmp_path, monkeypatch, counted
):
    monkeypatch.setattr(shared, "FEW", 1.0)
    store = store_of("normal", tmp_path / "s")
    found, wanted = both(windows_of(store), hourly(), monkeypatch)
    np.testing.assert_array_equal(found, wanted)
    assert counted["kernel"] > 0.5 * counted["pairs"]


def test_groups_of_very_many_events_are_left_to_the_kernel(
    tmp_path, monkeypatch, counted
):
    monkeypatch.setattr(exact_sums, "MOST", 10)
    windows = windows_of(store_of("normal", tmp_path / "s"), aggs=("mean", "std"))
    found, wanted = both(windows, hourly(), monkeypatch)
    np.testing.assert_array_equal(found, wanted)
    assert counted["kernel"] == counted["pairs"] > 300


def test_many_rows_of_a_subject_take_no_copies(tmp_path, monkeypatch):
    def copies(*_):
        raise AssertionError

    windows = windows_of(store_of("normal", tmp_path / "s"), aggs=("count", "mean"))
    windows.fit(hourly())
    monkeypatch.setattr(compute, "visible_events", copies)
    assert np.isfinite(windows.transform(hourly())).any()


def test_rows_without_a_visible_code(tmp_path, counted):
    store = store_of("normal", tmp_path / "s")
    windows = windows_of(store, aggs=("count",), totals=("n_codes",), windows=(None,))
    windows.fit(hourly())
    windows.set_params(exclude=("a", "b", "c"))
    X = pd.concat([hourly(), hourly()])
    found = windows.transform(X)
    assert not found[:, -1].any()
    assert counted["pairs"] == 0


# the bounds of sums of squares


@pytest.mark.parametrize("kind", ["normal", "rounded", "halves", "constant", "offset"])
@pytest.mark.parametrize("nested", [True, False])
def test_sums_of_squares_are_within_their_bounds(tmp_path, kind, nested):
    store = store_of(kind, tmp_path / "s")
    files = store.files
    X = hourly()
    end = X["index_time"].to_numpy("datetime64[us]").astype(np.int64)
    cases = Cases(X["subject_id"].to_numpy(), end)
    windows = Windows.parse(("3h", "1d", None), nested)
    sight = Sight(windows, "left", np.ones(3, dtype=bool))
    n_checked = 0
    for copies in visible_events(files, cases, sight):
        row, code, sums = sum_bands(copies, 3, 3)
        sums = join_bands(sums) if nested else sums
        for r in np.unique(row)[::7]:
            for c in code[row == r]:
                here = (copies.row == r) & (copies.code == c)
                pair = np.flatnonzero((row == r) & (code == c))
                value, band = copies.value[here], copies.band[here]
                time = np.round(-copies.ahead[here] * 86_400e6).astype(np.int64)
                exact = ExactSums(value, time, np.array([0]))
                w = np.arange(3)
                low = np.searchsorted(-band, -w)[:, None]
                high = np.searchsorted(-band, -w, "right")[:, None]
                if nested:
                    high = np.full_like(high, len(value))
                n = sums.n_values[:, pair]
                moments = exact.moments(low, high, np.array([0]), n)
                largest = np.fmax(abs(sums.v_min), abs(sums.v_max))[:, pair]
                bounds = moments.errors(n, largest, sums.oldest[:, pair], 3)
                for name, bound in zip(("m2_v", "m2_t", "co_tv"), bounds, strict=True):
                    kernel, ours = getattr(sums, name)[:, pair], getattr(moments, name)
                    some = n > 1
                    assert (abs(kernel - ours)[some] <= bound[some]).all()
                    n_checked += some.sum()
                few = 1e-9 * moments.m2_t + 1e-12
                assert (bounds[1][n > 1] <= few[n > 1]).all()
    assert n_checked > 300


def test_sums_of_values_are_those_of_python():
    rng = np.random.default_rng(0)
    value = rng.normal(size=300).astype(np.float32)
    value[::11] = np.nan
    starts = np.array([0, 100, 101, 250])
    exact = ExactSums(value, np.arange(300), starts)
    low = rng.integers(100, 101, 50), rng.integers(101, 200, 50)
    for group, first in zip((1, 2), low, strict=True):
        last = np.minimum(first + rng.integers(0, 60, 50), [101, 250][group - 1])
        found = exact.values(first, last, np.full(50, group))
        wanted = [
            np.nansum(value[a:b], dtype=float) for a, b in zip(first, last, strict=True)
        ]
        np.testing.assert_array_equal(found, wanted)
    assert exact.is_exact.all()
    wild = np.array([1e30, 1e-30, 1.0], dtype=np.float32)
    assert not ExactSums(wild, np.arange(3), np.array([0])).is_exact[0]


# the plan of the features


def test_the_plan_is_made_once(tmp_path, monkeypatch):
    made = []
    real = plan_module.FeaturePlan.__init__

    def counting(self, *arguments):
        made.append(1)
        real(self, *arguments)

    monkeypatch.setattr(plan_module.FeaturePlan, "__init__", counting)
    plan_module._kept_plan.cache_clear()
    X = hourly()
    windows = windows_of(store_of("normal", tmp_path / "s"), aggs=["count"]).fit(X)
    for _ in range(3):
        windows.transform(X[:1])
        windows.get_feature_names_out()
    assert len(made) == 1
    n_features = windows.transform(X[:1]).shape[1]
    windows.aggs.append("mean")  # in place, as a user may do
    assert windows.transform(X[:1]).shape[1] > n_features
    with pytest.raises(ValueError, match="windows must be a tuple"):
        windows.set_params(windows={"1d": 1}).transform(X[:1])
