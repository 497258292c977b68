"""EventWindows by NumPy and numba, against the SQL of another engine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skfusion import EventStore, EventWindows
from skfusion.ehr.windows.kernel import STATISTICS

duckdb = pytest.importorskip("duckdb")

DAYS = (1, 30, 365, None)
START = np.datetime64("2020-01-01", "us")


def make(n_events, n_codes):
    """Return events with gaps, zeros and ties of time, and two rows a subject."""
    rng = np.random.default_rng(0)
    n_subjects = n_events // 100
    minutes = rng.integers(1, 400 * 1440, n_events)
    number = rng.normal(size=n_events).astype(np.float32).round(2)
    events = pd.DataFrame(
        {
            "subject_id": rng.integers(0, n_subjects, n_events),
            "time": START + minutes.astype("timedelta64[m]"),
            "code": rng.zipf(1.5, n_events) % n_codes,
            "numeric_value": np.where(rng.random(n_events) < 0.2, np.nan, number),
        }
    )
    # two events of one code at one time have no order in SQL
    events = events.drop_duplicates(["subject_id", "time", "code"])
    cases = pd.DataFrame({"subject_id": np.repeat(np.arange(n_subjects), 2)})
    day = rng.integers(30, 400, len(cases)).astype("timedelta64[D]")
    cases["index_time"] = START + day
    return events, cases


def by_sql(events, cases, n_codes):
    """Return (n_rows, n_codes, n_windows, n_statistics), NaN where there is none."""
    cases = cases.reset_index(names="row")
    wanted = []
    for days in DAYS:
        inside = "TRUE" if days is None else f"ahead <= {days}"
        valued = f"{inside} AND value IS NOT NULL"
        only, some = f"FILTER ({inside})", f"FILTER ({valued})"
        reach = f"max(ahead) {some} - min(ahead) {some}"
        shortest = max(1 / 24, 0.01 * (days or 0))
        last, mean = f"arg_min(value, ahead) {some}", f"avg(value) {some}"
        low, high = f"min(value) {some}", f"max(value) {some}"
        wanted += [
            f"CASE WHEN count(*) {only} > 0 THEN 1 END",
            f"count(*) {only}",
            f"count(DISTINCT day) {only}",
            last,
            f"arg_max(value, ahead) {some}",
            mean,
            low,
            high,
            f"{high} - {low}",
            f"stddev_samp(value) {some}",
            f"CASE WHEN {reach} >= {shortest} THEN regr_slope(value, -ahead) {some} "
            "END",
            f"min(ahead) {only}",
            f"max(ahead) {only}",
            f"{last} - {mean}",
        ]
    connection = duckdb.connect()
    connection.register("events", events)
    connection.register("cases", cases)
    found = connection.execute(
        "WITH seen AS (SELECT c.row AS row, e.code AS code, time::DATE AS day, "
        "CASE WHEN isnan(e.numeric_value) THEN NULL ELSE e.numeric_value::DOUBLE END "
        "AS value, "
        "(epoch_us(c.index_time) - epoch_us(e.time)) / 86400000000.0 AS ahead "
        "FROM events e JOIN cases c ON c.subject_id = e.subject_id "
        "WHERE e.time < c.index_time) "
        f"SELECT row, code, {', '.join(wanted)} FROM seen GROUP BY ALL"
    ).fetchnumpy()
    row, code, *columns = found.values()
    table = np.full((len(cases), n_codes, len(columns)), np.nan)
    table[row, code] = np.stack(
        [np.ma.filled(column.astype(float), np.nan) for column in columns], axis=1
    )
    return table.reshape(len(cases), n_codes, len(DAYS), len(STATISTICS))


def agrees(n_events, n_codes, engine):
    events, cases = make(n_events, n_codes)
    wanted = by_sql(events, cases, n_codes)
    names = np.array([f"c{i:03d}" for i in range(n_codes)], dtype=object)
    store = EventStore.from_frame(events.assign(code=names[events["code"]]))
    windows = EventWindows(
        store,
        windows=tuple(None if days is None else f"{days}d" for days in DAYS),
        aggs=STATISTICS,
        totals=(),
        min_subjects=1,
        engine=engine,
    )
    found = windows.fit_transform(cases)
    assert windows.codes_ == list(names)
    found = found.reshape(wanted.shape)
    counts = [STATISTICS.index(name) for name in ("present", "count", "n_days")]
    wanted[..., counts] = np.nan_to_num(wanted[..., counts])
    for k, name in enumerate(STATISTICS):
        np.testing.assert_allclose(
            found[..., k], wanted[..., k], rtol=1e-6, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_all_statistics_are_those_of_sql(engine):
    if engine == "numba":
        pytest.importorskip("numba")
    agrees(40_000, 40, engine)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:EventWindows. .* features")  # their size
@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_all_statistics_of_a_million_events_are_those_of_sql(engine):
    if engine == "numba":
        pytest.importorskip("numba")
    agrees(1_000_000, 40, engine)
