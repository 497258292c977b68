"""EventGrid, against a plain loop over events, and against what must not get in."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skfusion import EventStore
from skfusion.ehr import EventGrid, event_grid
from skfusion.ehr.point_in_time import visibility


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path))


def stored(table):
    return EventStore.from_frame(table, date_only=None, no_time="static")


def at(text):
    return pd.Timestamp(text)


@pytest.fixture
def case():
    """Two rows of one subject, one of another, one without events on its event_grid."""
    X = pd.DataFrame(
        {
            "subject_id": [1, 1, 2, 2],
            "index_time": [
                at("2020-01-01 12:00"),
                at("2020-01-01 14:00"),
                at("2020-01-01 12:00"),
                at("2021-01-01 12:00"),
            ],
        },
        index=[10, 11, 12, 13],
    )
    events = pd.DataFrame(
        [
            (1, "2020-01-01 12:00", "hr", 99.0),  # at the index time of row 0
            (1, "2020-01-01 11:30", "hr", 80.0),
            (1, "2020-01-01 11:10", "hr", 70.0),
            (1, "2020-01-01 11:00", "crp", 5.0),
            (1, "2020-01-01 08:30", "crp", np.nan),  # no number: says nothing
            (1, "2020-01-01 09:59", "visit", np.nan),
            (1, "2020-01-01 09:10", "visit", np.nan),
            (1, "2020-01-01 07:00", "hr", 1000.0),  # before the grid of both rows
            (2, "2020-01-01 08:00", "hr", 60.0),  # at the beginning of the grid
        ],
        columns=["subject_id", "time", "code", "numeric_value"],
    )
    events["time"] = pd.to_datetime(events["time"])
    return X, events


def grids(encoder, X):
    return encoder.transform(X).reshape(len(X), encoder.n_steps_, 3, -1)


def test_events_fall_into_steps(case):
    X, events = case
    encoder = EventGrid(stored(events), horizon="4h", step="1h", min_subjects=1).fit(X)
    assert encoder.codes_ == ["crp", "hr", "visit"]
    assert encoder.counted_.tolist() == [False, False, True]
    result = grids(encoder, X)
    gap = np.nan
    # rows x steps, crp / hr / visit; the last step is [11:00, 12:00) for row 0
    seen = [
        [[0, 0, 0], [0, 0, 1], [0, 0, 0], [1, 1, 0]],
        [[0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]],
        [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
        np.full((4, 3), gap),
    ]
    np.testing.assert_array_equal(result[:, :, 1], seen)
    values = result[:, :, 0] * encoder.scale_ + encoder.mean_
    np.testing.assert_allclose(values[0, 3, :2], [5, 75])
    np.testing.assert_allclose(values[1, 1, :2], [5, 75])
    np.testing.assert_allclose(values[1, 2, 1], 99, rtol=1e-6)
    np.testing.assert_allclose(values[2, 0, 1], 60)
    np.testing.assert_allclose(values[0, 1, 2], 2)  # two visits
    since = [[0, 1, 2, 3], [0, 1, 1, 1], [0, 1, 1, 2]]
    np.testing.assert_allclose(result[0, :, 2, 1], np.array(since[0]) / 4)
    np.testing.assert_allclose(result[1, :, 2, 1], np.array(since[1]) / 4)
    np.testing.assert_allclose(result[2, :, 2, 1], np.array([0, 1, 2, 3]) / 4)
    last = EventGrid(
        stored(events), horizon="4h", min_subjects=1, aggregation="last"
    ).fit(X)
    values = grids(last, X)[:, :, 0] * last.scale_ + last.mean_
    np.testing.assert_allclose(values[0, 3, :2], [5, 80])


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = 3000
    table = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 40, n),
            "time": at("2020-01-01") + pd.to_timedelta(rng.integers(0, 96, n), "h"),
            "code": rng.choice(["a", "b", "c", "flag"], n),
            "numeric_value": rng.normal(size=n).round(1),
        }
    )
    table.loc[(table["code"] == "flag") | (rng.random(n) < 0.1), "numeric_value"] = (
        np.nan
    )
    late = pd.to_timedelta(rng.integers(0, 10, n), "h")
    table["available_time"] = table["time"] + late
    X = pd.DataFrame(
        {
            "subject_id": rng.integers(0, 40, 60),
            "index_time": at("2020-01-02")
            + pd.to_timedelta(rng.integers(0, 48, 60), "h"),
        }
    )
    return X, table


def slow_grid(X, table, codes, n_steps, hours, closed, gap):
    """Return values and presences (n, T, C), one event after the other."""
    cells = {}
    for row, (subject, index) in enumerate(X.itertuples(index=False)):
        end = index - gap
        for event in table.itertuples():
            known = event.available_time
            visible = known < end or (closed == "right" and known == end)
            if event.subject_id != subject or not visible or event.code not in codes:
                continue
            if np.isnan(event.numeric_value) and event.code != "flag":
                continue
            for step in range(n_steps):
                begin = end - pd.Timedelta(hours=hours * (n_steps - step))
                stop = begin + pd.Timedelta(hours=hours)
                inside = begin <= event.time < stop
                if closed == "right":
                    inside = begin < event.time <= stop
                if inside:
                    place = row, step, codes.index(event.code)
                    cells.setdefault(place, []).append(event.numeric_value)
    value = np.zeros((len(X), n_steps, len(codes)))
    seen = np.zeros_like(value)
    for place, numbers in cells.items():
        flag = codes[place[2]] == "flag"
        value[place] = len(numbers) if flag else np.mean(numbers)
        seen[place] = 1
    return value, seen


@pytest.mark.parametrize(("closed", "gap"), [("left", "0h"), ("right", "5h")])
def test_a_plain_loop_gives_the_same(closed, gap):
    X, table = random_case(0)
    X = X[:12]
    encoder = EventGrid(
        stored(table),
        horizon="24h",
        step="6h",
        min_subjects=1,
        closed=closed,
        gap=gap,
    ).fit(X)
    result = grids(encoder, X)
    value, seen = slow_grid(X, table, encoder.codes_, 4, 6, closed, pd.Timedelta(gap))
    here = seen.any(axis=(1, 2))
    np.testing.assert_array_equal(result[here, :, 1], seen[here])
    assert np.isnan(result[~here]).all()
    shown = (result[:, :, 0] * encoder.scale_ + encoder.mean_) * seen
    np.testing.assert_allclose(shown[here], value[here], atol=1e-5)
    for j in range(3):
        numbers = value[:, :, j][seen[:, :, j] > 0]
        assert encoder.mean_[j] == pytest.approx(numbers.mean(), abs=1e-6)
        assert encoder.scale_[j] == pytest.approx(numbers.std(), abs=1e-6)


def test_nothing_after_the_index_time_gets_in():
    X, table = random_case(1)
    encoder = EventGrid(stored(table), horizon="24h", min_subjects=1)
    before = encoder.fit_transform(X)
    latest = X.groupby("subject_id")["index_time"].max()
    late = table["available_time"] >= table["subject_id"].map(latest)
    changed = table.copy()
    changed.loc[late, "numeric_value"] = 1e9
    changed = pd.concat([changed, changed[late].assign(code="new")])
    after = clone(encoder).set_params(events=stored(changed)).fit_transform(X)
    np.testing.assert_array_equal(after, before)


def test_rows_are_independent_and_in_their_order():
    X, table = random_case(2)
    encoder = EventGrid(stored(table), horizon="24h", min_subjects=1).fit(X)
    whole = encoder.transform(X)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(encoder.transform(X.iloc[order]), whole[order])
    np.testing.assert_array_equal(encoder.transform(X[5:6]), whole[5:6])


def test_only_training_rows_choose_codes():
    X, table = random_case(3)
    train = X[X["subject_id"] < 20]
    encoder = EventGrid(stored(table), horizon="24h", max_codes=2).fit(train)
    kept = table[table["subject_id"] < 20]
    alone = clone(encoder).set_params(events=stored(kept)).fit(train)
    assert encoder.codes_ == alone.codes_
    assert len(encoder.codes_) == 2
    np.testing.assert_array_equal(encoder.mean_, alone.mean_)
    np.testing.assert_array_equal(encoder.scale_, alone.scale_)


def test_events_without_a_time_are_on_no_grid(case):
    X, events = case
    encoder = EventGrid(stored(events), horizon="4h", min_subjects=1).fit(X)
    static = pd.DataFrame({"subject_id": [1], "code": ["hr"], "numeric_value": [7.0]})
    more = stored(pd.concat([events, static], ignore_index=True))
    again = clone(encoder).set_params(events=more).fit(X)
    np.testing.assert_array_equal(again.transform(X), encoder.transform(X))


def test_names_tell_the_cell(case):
    X, events = case
    encoder = EventGrid(stored(events), horizon="4h", min_subjects=1).fit(X)
    table = encoder.set_output(transform="pandas").transform(X)
    assert table.loc[10, "hr__0__observed"] == 1
    assert table.loc[10, "visit__2__value"] > 0
    assert table.loc[12, "hr__3__observed"] == 1
    assert table.loc[13].isna().all()


def test_what_cannot_be_read_says_why(case):
    X, events = case
    store = stored(events)
    for parameters, message in (
        ({"horizon": "90min"}, "horizon must be a positive multiple of .*'90min'"),
        ({"aggregation": "max"}, "aggregation must be one of"),
        ({"closed": "both"}, "closed must be one of"),
        ({"min_subjects": 0}, "EventGrid: min_subjects must be an integer"),
        ({"codes": ["hr", "crb"]}, "1 of 2 codes that are not .* Did you mean 'crp'"),
        ({"unknown_subject": "skip"}, "unknown_subject must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            EventGrid(**{"events": store, "horizon": "4h", **parameters}).fit(X)
    encoder = EventGrid(store, horizon="4h", min_subjects=1)
    with pytest.raises(
        ValueError,
        match=r"null in column 'index_time' in 1 of 4 rows \(row positions 2\)",
    ):
        encoder.fit(X.assign(index_time=X["index_time"].where(X.index != 12)))
    with pytest.raises(ValueError, match="X must have a column 'index_time'"):
        encoder.fit(X[["subject_id"]])
    with pytest.raises(TypeError, match="must contain times, got"):
        encoder.fit(X.assign(index_time="2020"))
    with pytest.raises(TypeError, match="EventGrid: events must be an EventStore"):
        EventGrid().fit(X)
    with pytest.raises(ValueError, match="subjects without events in 1 of 4 rows"):
        encoder.fit(X.assign(subject_id=[1, 1, 2, 3]))
    zone = X["index_time"].dt.tz_localize("UTC")
    with pytest.raises(ValueError, match="got index times with a time zone and ev"):
        encoder.fit(X.assign(index_time=zone))
    with pytest.raises(TypeError, match="X must be a DataFrame"):
        encoder.fit(X.to_numpy())


def test_subjects_without_events_may_be_empty(case):
    X, events = case
    X = X.assign(subject_id=[1, 1, 2, 3])
    encoder = EventGrid(
        stored(events), horizon="4h", min_subjects=1, unknown_subject="empty"
    )
    assert np.isnan(encoder.fit_transform(X)[3]).all()


def test_codes_of_outcomes_are_on_no_grid_unless_asked_for(case):
    X, events = case
    events = events.replace({"code": {"visit": "DISCHARGE//HOME"}})
    encoder = EventGrid(stored(events), horizon="4h", min_subjects=1)
    with pytest.warns(UserWarning, match="left out 1 of 3 codes.*'DISCHARGE//HOME'"):
        encoder.fit(X)
    assert encoder.codes_ == ["crp", "hr"]
    asked = clone(encoder).set_params(exclude=None).fit(X)
    assert asked.codes_ == ["DISCHARGE//HOME", "crp", "hr"]
    only = clone(encoder).set_params(include=("c*",)).fit(X)
    assert only.codes_ == ["crp"]


def test_other_rows_of_the_same_subjects_are_counted(case):
    X, events = case
    encoder = EventGrid(stored(events), horizon="4h", min_subjects=1).fit(X[:2])
    later = X[:1].assign(index_time=at("2020-01-01 13:00"))
    with pytest.warns(UserWarning, match="EventGrid: got 1 of 1 rows of subjects"):
        encoder.transform(later)
    encoder.set_params(shared_subjects="ignore").transform(later)


def test_many_rows_are_binned_in_parts(monkeypatch):
    X, table = random_case(4)
    encoder = EventGrid(stored(table), horizon="24h", min_subjects=1).fit(X)
    whole = encoder.transform(X)
    monkeypatch.setattr(event_grid, "CHUNK", 7)
    monkeypatch.setattr(visibility, "CHUNK", 50)
    np.testing.assert_array_equal(encoder.transform(X), whole)
