"""Random event tables, cases and settings give what is documented."""

from __future__ import annotations

import decimal

import numpy as np
import pandas as pd
import pytest
from fuzz_events import EXTREMES, fuzz

from skfusion import EventStore, EventWindows
from skfusion.ehr import EventGrid
from skfusion.ehr.events.columns import as_microseconds_of
from skfusion.ehr.windows.kernel import STATISTICS

X = pd.DataFrame({"subject_id": [1, 2], "index_time": pd.Timestamp("2024-02-01")})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("seed", "n_cases"),
    [(0, 25), *(pytest.param(s, 600, marks=pytest.mark.slow) for s in range(1, 6))],
)
@pytest.mark.timeout(600)
def test_random_tables(seed, n_cases):
    facts = fuzz(seed, n_cases)
    assert facts["unexpected"] == []
    assert facts["share"] >= 0.6


def table(values, dtype=None, codes="LAB//a"):
    n = len(values)
    return pd.DataFrame(
        {
            "subject_id": [1, 2] * (n // 2),
            "time": pd.date_range("2024-01-01 01:07", periods=n, freq="61min"),
            "code": codes,
            "numeric_value": pd.Series(values, dtype=dtype),
        }
    )


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("seed", range(6))
def test_no_statistic_of_extreme_values_is_infinite(seed, engine):
    pytest.importorskip(engine)
    values = np.random.default_rng(seed).choice(EXTREMES, 60)
    with pytest.warns(UserWarning, match="infinite values in 60 events, or values bey"):
        store = EventStore.from_frame(table(values))
    windows = EventWindows(
        store, windows=("1d", "30d", None), aggs=STATISTICS, engine=engine
    ).set_params(min_subjects=1)
    assert not np.isinf(windows.fit_transform(X)).any()
    grid = EventGrid(store, min_subjects=1, horizon="31d", step="1d")
    assert not np.isinf(grid.fit_transform(X)).any()


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), decimal.Decimal("1e5000"), 1e39, np.inf]
)
def test_numbers_that_fit_no_float_are_gaps_with_a_warning(value):
    with pytest.warns(UserWarning, match="EventStore: got 1 infinite values in 4"):
        store = EventStore.from_frame(table([value, 2, 3, 4], object))
    assert store.to_frame()["numeric_value"].tolist()[1:] == [3.0, 2.0, 4.0]
    assert np.isnan(store.to_frame()["numeric_value"][0])


@pytest.mark.parametrize("year", ["300000", "-300000"])
def test_times_that_fit_no_microsecond_are_refused(year):
    """They wrapped around, to a year long ago."""
    when = np.array([f"{year}-01-01", "2020-01-01"], dtype="datetime64[s]")
    frame = table([1.0, 2.0])
    message = "got 1 of 2 times in '{}' beyond"
    for name in ("time", "available_time"):
        with pytest.raises(ValueError, match=f"EventStore: {message.format(name)}"):
            EventStore.from_frame(frame.assign(**{name: when}))
    windows = EventWindows(EventStore.from_frame(frame), min_subjects=1)
    with pytest.raises(ValueError, match=f"Windows: {message.format('index_time')}"):
        windows.fit(X.assign(index_time=when))


@pytest.mark.parametrize("unit", ["s", "ms"])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_last_time_that_fits_into_microseconds(unit, sign):
    last = sign * ((2**63 - 1) // {"s": 10**6, "ms": 10**3}[unit])
    fits = pd.Series(np.array([last, 0], dtype=f"datetime64[{unit}]"))
    found = as_microseconds_of(fits, "time", "EventStore")
    assert found.tolist() == [last * {"s": 10**6, "ms": 10**3}[unit], 0]
    beyond = pd.Series(np.array([last + sign, "NaT"], dtype=f"datetime64[{unit}]"))
    with pytest.raises(ValueError, match="EventStore: got 1 of 2 times in 'time'"):
        as_microseconds_of(beyond, "time", "EventStore")


def test_a_signalling_nan_is_a_gap():
    frame = table([decimal.Decimal("sNaN"), decimal.Decimal(2)], object)
    assert np.isnan(EventStore.from_frame(frame).to_frame()["numeric_value"][0])


def test_values_beyond_the_limit_after_a_change_are_gaps():
    def enlarge(code, value, unit):
        return pd.DataFrame({"code": code, "numeric_value": value * 1e9, "unit": unit})

    store = EventStore.from_frame(table([1e29, 1.0]))
    with pytest.warns(UserWarning, match="1 infinite values"):
        assert np.isnan(store.convert_units(enlarge).to_frame()["numeric_value"][0])


@pytest.mark.parametrize("output", ["dense", "sparse"])
def test_a_code_with_the_name_of_the_totals_is_refused(output):
    frame = table([1.0] * 8, codes=["*", "*", "b", "b"] * 2)
    windows = EventWindows(EventStore.from_frame(frame), min_subjects=1, output=output)
    with pytest.raises(ValueError, match=r"got a code '\*'.*exclude=\('\[\*\]',\)"):
        windows.fit(X)
    for setting in ({"totals": ()}, {"exclude": ("[*]",)}):
        names = windows.set_params(**setting).fit(X).get_feature_names_out()
        assert len(set(names)) == len(names)
        windows.set_params(totals=("count",), exclude="outcomes")
