from __future__ import annotations

import importlib.util
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings, strategies as st
from sklearn.base import clone
from window_oracle import DAY, HOUR, oracle

from skfusion import EventStore, EventWindows
from skfusion.ehr import parse_feature
from skfusion.ehr.point_in_time import visibility
from skfusion.ehr.windows.kernel import STATISTICS

WINDOWS = ("6h", "3d", "40d", None)
LENGTHS = {"0": 0, "6h": 6 * HOUR, "3d": 3 * DAY, "40d": 40 * DAY, "all": None}
NUMBERS = st.one_of(
    st.just(math.nan),
    st.sampled_from([0.0, -1.0, 7.5, 1e4]),
    st.floats(-1e3, 1e3, width=32),
)
OTHERS = [("numpy", "sparse"), ("numba", "dense"), ("numba", "sparse")]
if importlib.util.find_spec("numba") is None:
    OTHERS = OTHERS[:1]
EXACT = ("present", "count", "n_days", "last", "first", "min", "max")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path))


def times(values, zone=None):
    column = naive_times(values)
    return column.dt.tz_localize("UTC").dt.tz_convert(zone) if zone else column


def naive_times(values):
    numbers = [np.iinfo(np.int64).min if v is None else v for v in values]
    return pd.Series(np.array(numbers, dtype=np.int64).view("datetime64[us]"))


HUGE = 2**53 + 1  # Subjects above it differ by one, which floats cannot tell.
ZONES = (None, None, "Asia/Tokyo", "America/New_York")


def store_of(rows, zone=None):
    """Make a store of (subject, time, lag, code, value), times in microseconds."""
    subject, time, lag, code, value = zip(*rows, strict=True)
    known = [None if t is None else t + wait for t, wait in zip(time, lag, strict=True)]
    frame = pd.DataFrame(
        {
            "subject_id": np.add(subject, HUGE),
            "time": times(time, zone),
            "available_time": times(known, zone),
            "code": code,
            "numeric_value": value,
        }
    )
    return EventStore.from_frame(frame, date_only=None, no_time="static")


def cases_of(rows, zone=None):
    subject, end = zip(*rows, strict=True)
    return pd.DataFrame(
        {"subject_id": np.add(subject, HUGE), "index_time": times(end, zone)}
    )


EVENT = st.tuples(
    st.integers(0, 3),
    st.one_of(
        st.none(),
        st.integers(0, 100 * DAY),
        st.sampled_from([30 * DAY, 40 * DAY, 40 * DAY - 6 * HOUR, 37 * DAY]),
    ),
    st.sampled_from([0, 0, 0, 2 * HOUR, 5 * DAY]),
    st.sampled_from("abc"),
    NUMBERS,
)
CASE = st.tuples(
    st.integers(0, 4),
    st.one_of(st.integers(0, 120 * DAY), st.sampled_from([40 * DAY, 30 * DAY])),
)


def sees(rows, case, closed):
    """Tell whether a case sees any event."""
    seen = [
        (time, None if time is None else time + lag, value)
        for who, time, lag, _, value in rows
        if who == case[0]
    ]
    return oracle(seen, case[1], 0, None, closed, "present") is not None


def expected(rows, case, name, closed, zone):
    code, window, statistic = parse_feature(name)
    subject, end = case
    of_code = [
        (time, None if time is None else time + lag, value)
        for who, time, lag, what, value in rows
        if who == subject and what == code
    ]
    near, _, far = window.rpartition("-")
    lengths = LENGTHS[near or "0"], LENGTHS[far]
    return oracle(of_code, end, *lengths, closed, statistic, zone)


@pytest.mark.filterwarnings("ignore:EventWindows. got .* with an index time")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    rows=st.lists(EVENT, min_size=1, max_size=40),
    cases=st.lists(CASE, min_size=1, max_size=6),
    closed=st.sampled_from(["left", "right"]),
    nested=st.booleans(),
    zone=st.sampled_from(ZONES),
    chunk=st.sampled_from([1, 3, 100_000]),
)
@pytest.mark.long
def test_every_statistic_is_that_of_the_oracle(
    rows, cases, closed, nested, zone, chunk, monkeypatch
):
    # Chunks of few events are often chunks without a visible event.
    monkeypatch.setattr(visibility, "CHUNK", chunk)
    windows = EventWindows(
        store_of(rows, zone),
        windows=WINDOWS,
        nested=nested,
        aggs=STATISTICS,
        totals=(),
        min_subjects=1,
        closed=closed,
        unknown_subject="empty",
        engine="numpy",
    )
    table = cases_of(cases, zone)
    if not any(sees(rows, case, closed) for case in cases):
        with pytest.warns(UserWarning, match="none of them in at least"):
            windows.fit(table)
        assert windows.transform(table).shape == (len(table), 0)
        return
    found = windows.fit_transform(table)
    for engine, output in OTHERS:
        other = clone(windows).set_params(engine=engine, output=output)
        np.testing.assert_array_equal(filled(other.fit_transform(table), other), found)
        for i in range(len(table)):
            alone = filled(other.transform(table.iloc[[i]]), other)
            np.testing.assert_array_equal(alone, found[[i]])
    names = windows.get_feature_names_out()
    for row, case in zip(found, cases, strict=True):
        for name, value in zip(names, row, strict=True):
            wanted = expected(rows, case, name, closed, zone)
            assert_same(value, wanted, name)


def filled(found, windows):
    """Make a sparse result dense: nothing is counted, or nothing is known."""
    if not scipy.sparse.issparse(found):
        return found
    statistics = [parse_feature(n).statistic for n in windows.get_feature_names_out()]
    empty = np.where(np.isin(statistics, EXACT[:3]), 0, np.nan).astype(np.float32)
    dense = np.tile(empty, (found.shape[0], 1))
    cells = found.tocoo()
    dense[cells.row, cells.col] = cells.data
    return dense


def assert_same(value, wanted, name):
    statistic = parse_feature(name).statistic
    if wanted is None:
        assert math.isnan(value) or (statistic in EXACT[:3] and value == 0), name
    elif statistic in EXACT:
        assert value == np.float32(wanted), name
    else:
        assert value == pytest.approx(wanted, rel=1e-5, abs=1e-5), name
