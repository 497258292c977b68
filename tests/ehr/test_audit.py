"""The audit passes what is honest, and finds each planted leak by its kind."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.ehr import Demographics, EventGrid, LeakageAudit, ObservedScaler
from skfusion.ehr.audit import CHANGES, _aurocs

INDEX = pd.Timestamp("2026-06-01")
N = 40


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Events of a year around the index time, some known later than they happened."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(N), 30)
    n = len(subjects)
    time = INDEX + pd.to_timedelta(rng.uniform(-180, 180, n), unit="D").floor("us")
    return pd.DataFrame(
        {
            "subject_id": subjects,
            "time": time,
            "available_time": time
            + pd.to_timedelta(rng.uniform(0, 60, n), unit="D").floor("us"),
            "code": rng.choice(["LAB//crp", "LAB//hb", "DIAGNOSIS//J18"], n),
            "numeric_value": rng.normal(size=n),
        }
    )


@pytest.fixture(scope="module")
def store(frame, tmp_path_factory) -> EventStore:
    return EventStore.from_frame(frame, tmp_path_factory.mktemp("events") / "store")


@pytest.fixture
def X() -> pd.DataFrame:
    """Two rows of each subject, of which the later may see more."""
    rows = pd.DataFrame({"subject_id": np.arange(N), "index_time": INDEX, "age": 60.0})
    earlier = rows.assign(index_time=INDEX - pd.Timedelta("90D"))
    return pd.concat([rows, earlier], ignore_index=True)


def windows(store, **settings):
    options = {"windows": ("60d", None), "min_subjects": 3, "shared_subjects": "ignore"}
    return EventWindows(store, **(options | settings))


def audit(features, X, y=None, **settings):
    return LeakageAudit(random_state=0, **settings).run(features, X, y)


@pytest.mark.parametrize(
    "settings", [{}, {"output": "sparse"}, {"gap": "2d"}, {"nested": False}]
)
def test_windows_pass(store, X, settings):
    report = audit(windows(store, **settings), X)
    assert report.passed
    assert report.n_rows == len(X)
    assert report.changes["change"].tolist() == list(CHANGES)
    assert (report.changes["n_rows"] == 0).all()
    assert str(report).startswith("LeakageAudit: passed (80 rows, ")
    assert report.to_frame()["passed"].all()


def test_grids_pass(store, X):
    grid = EventGrid(
        store, horizon="60d", step="5d", min_subjects=3, shared_subjects="ignore"
    )
    assert audit(grid, X).passed
    seeing = clone(grid).set_params(closed="right")
    assert not audit(seeing, X).passed


def test_an_event_at_the_index_time_is_a_matter_of_the_definition(store, X):
    right = windows(store, closed="right")
    assert not audit(right, X).passed
    assert audit(right, X, closed="right").passed


def test_pipelines_and_fusions_pass(store, X):
    y = np.arange(len(X)) % 2
    pipeline = make_pipeline(windows(store), ObservedScaler(), LogisticRegression())
    assert audit(pipeline, X, y).passed
    fusion = EarlyFusionClassifier(
        [
            ("events", windows(store), ["subject_id", "index_time"]),
            ("ehr", TabularEncoder(), ["age"]),
        ],
        estimator=LogisticRegression(max_iter=2000),
    )
    assert audit(fusion, X, y).passed


# ---------------------------------------------------------------- planted leaks


class Careless(TransformerMixin, BaseEstimator):
    """Means of each code of events before the index time, in one careless way."""

    def __init__(self, events=None, *, leak="none"):
        self.events = events
        self.leak = leak

    def fit(self, X, y=None):
        self.codes_ = ["DIAGNOSIS//J18", "LAB//crp", "LAB//hb"]
        if self.leak == "codes":
            self.codes_ = sorted(self.events.to_frame()["code"].unique())
        self.mean_ = self.events.to_frame()["numeric_value"].mean()
        return self

    def transform(self, X):
        events = self.events.to_frame()
        rows = []
        for subject, index_time in zip(X["subject_id"], X["index_time"], strict=True):
            own = events[events["subject_id"] == subject]
            column = "time" if self.leak == "event time" else "available_time"
            seen = own[own[column] < index_time]
            if self.leak == "whole record":
                seen = own
            means = seen.groupby("code")["numeric_value"].mean().reindex(self.codes_)
            rows.append(means.to_numpy())
        values = np.array(rows)
        return np.nan_to_num(values, nan=self.mean_) if self.leak == "fit" else values


@pytest.mark.parametrize(
    ("leak", "found"),
    [
        ("none", ()),
        ("event time", ("deleted", "perturbed", "inserted late")),
        ("whole record", ("deleted", "perturbed", "inserted", "inserted late")),
        ("fit", ("deleted", "perturbed", "inserted", "inserted late")),
        ("codes", ("deleted",)),
    ],
)
def test_planted_leaks_are_found(store, leak, found):
    X = pd.DataFrame(
        {"subject_id": np.arange(10), "index_time": INDEX - pd.Timedelta("170D")}
    )
    report = audit(Careless(store, leak=leak), X)
    changed = report.changes.set_index("change")["n_features"]
    assert set(changed.index[changed > 0]) == set(found)
    assert report.passed is (not found)
    if found:
        text = str(report)
        assert "LEAKAGE FOUND" in text
        assert f"events after the index time {found[0]}" in text
        assert not report.to_frame()["passed"].all()
        assert "<table" in report._repr_html_()


def test_functions_are_audited(store, X):
    def honest(events, rows):
        return windows(events).fit_transform(rows)

    def whole_record(events, rows):
        later = rows.assign(index_time=rows["index_time"] + pd.Timedelta("900D"))
        return windows(events).fit_transform(later)

    check = LeakageAudit(random_state=0)
    assert check.run(honest, X, events=store).passed
    assert not check.run(whole_record, X, events=store).passed


# ---------------------------------------------------------------- suspicious features


def test_a_feature_that_is_the_outcome_is_named(frame, X, tmp_path):
    rows = X.iloc[:N]
    y = np.arange(N) % 2
    told = pd.DataFrame(
        {
            "subject_id": np.flatnonzero(y),
            "time": INDEX - pd.Timedelta("3D"),
            "available_time": INDEX - pd.Timedelta("3D"),
            "code": "LAB//outcome",
            "numeric_value": 1.0,
        }
    )
    store = EventStore.from_frame(pd.concat([frame, told]), tmp_path / "store")
    report = audit(windows(store), rows, y)
    assert (report.changes["n_features"] == 0).all()
    assert not report.passed
    assert report.suspects["feature"].str.startswith("LAB//outcome").sum() > 5
    assert report.suspects["auroc"].max() == 1
    assert "predicts the outcome alone (AUROC 1.000)" in str(report)
    assert audit(windows(store), rows).passed  # no outcome, no search


def test_codes_that_say_how_a_stay_ended_are_named(frame, X, tmp_path):
    ended = frame.assign(code=frame["code"].replace("DIAGNOSIS//J18", "MEDS_DEATH"))
    store = EventStore.from_frame(ended, tmp_path / "store")
    with pytest.warns(UserWarning, match="reveal an outcome: 'MEDS_DEATH'") as caught:
        assert audit(windows(store), X).passed  # left out by default
    assert len(caught) == 1
    report = audit(windows(store, exclude=None), X)
    assert report.suspects["reason"].str.contains("leaks the outcome").all()
    assert len(report.suspects) > 0


# ---------------------------------------------------------------- the audit itself


def test_it_is_repeatable_draws_rows_and_leaves_nothing(
    store, X, tmp_path, monkeypatch
):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path))
    careless = Careless(store, leak="whole record")
    first, again = (audit(careless, X, n_rows=15) for _ in range(2))
    assert first.n_rows == 15
    pd.testing.assert_frame_equal(first.changes, again.changes)
    assert list(tmp_path.iterdir()) == []
    assert store.fingerprint == EventStore(store.path).fingerprint


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"closed": "both"}, "closed must be"),
        ({"threshold": 0.5}, "threshold must be a number above 0.5"),
    ],
)
def test_bad_settings(store, X, settings, match):
    with pytest.raises(ValueError, match=f"LeakageAudit: {match}"):
        audit(windows(store), X, **settings)


def test_bad_input(store, X):
    with pytest.raises(ValueError, match="got TabularEncoder without an EventStore"):
        audit(TabularEncoder(), X)
    with pytest.raises(
        ValueError, match="events must be an EventStore if features is a fun"
    ):
        audit(lambda events, rows: rows, X)
    with pytest.raises(ValueError, match="X must be a DataFrame, got ndarray"):
        audit(windows(store), X.to_numpy())
    with pytest.raises(
        ValueError, match="without a subject that has events in the store"
    ):
        audit(windows(store), X.assign(subject_id=np.arange(len(X)) + 1000))


# ------------------------------------------- events that the audit itself makes


def zoned(frame, X, zone):
    events = frame.assign(time=frame["time"].dt.tz_localize("UTC"))
    if "available_time" in events:
        known = events["available_time"].dt.tz_localize("UTC")
        events = events.assign(available_time=known)
    return events, X.assign(index_time=X["index_time"].dt.tz_localize(zone))


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_times_with_a_zone_are_audited(frame, X, tmp_path, zone):
    events, rows = zoned(frame, X, zone)
    store = EventStore.from_frame(events, tmp_path / "store", time_zone=zone)
    report = audit(windows(store), rows)
    assert report.passed
    assert not audit(Careless(store, leak="whole record"), rows).passed


def test_births_are_not_invented(tmp_path):
    who = np.arange(40)
    events = pd.DataFrame({"subject_id": who, "time": pd.Timestamp("2024-01-01 08:00")})
    births = events[:20].assign(code="MEDS_BIRTH", time=pd.Timestamp("1950-03-04"))
    both = pd.concat([events.assign(code="LAB//a"), births])
    store = EventStore.from_frame(both, tmp_path / "store")
    X = pd.DataFrame({"subject_id": who, "index_time": pd.Timestamp("2024-02-01")})
    assert LeakageAudit(random_state=0).run(Demographics(store), X).passed
    only = EventStore.from_frame(births, tmp_path / "births")
    assert LeakageAudit(random_state=0).run(Demographics(only), X[:20]).passed


@pytest.mark.parametrize("all_later", [False, True])
def test_subjects_whose_events_are_all_later_stay_known(all_later, tmp_path):
    who = np.arange(12)
    time = pd.Timestamp("2024-03-01 08:00")
    events = pd.DataFrame({"subject_id": who, "time": time, "code": "LAB//a"})
    X = pd.DataFrame({"subject_id": who, "index_time": pd.Timestamp("2024-04-01")})
    X.loc[: 11 if all_later else 3, "index_time"] = pd.Timestamp("2024-02-01")
    store = EventStore.from_frame(events, tmp_path / "store")
    features = EventWindows(store, windows=(None,), min_subjects=1)
    if all_later:
        with pytest.warns(
            UserWarning, match="none of them in at least|before all ev|no features"
        ):
            assert LeakageAudit(random_state=0).run(features, X).passed
    else:
        assert LeakageAudit(random_state=0).run(features, X).passed


def test_names_of_outcomes_follow_the_rule_of_the_windows(tmp_path):
    codes = ["discharge//died", "DX//VAGINAL DISCHARGE", "ICU_DISCHARGE", "LAB//a"]
    events = pd.DataFrame({"subject_id": 1, "code": codes})
    events["time"] = pd.Timestamp("2024-05-01 08:00")
    store = EventStore.from_frame(events, tmp_path / "store")
    X = pd.DataFrame({"subject_id": [1], "index_time": pd.Timestamp("2024-05-10")})
    features = EventWindows(store, windows=(None,), min_subjects=1, exclude=None)
    found = LeakageAudit(random_state=0).run(features, X).suspects["feature"]
    assert set(found.str.partition("__")[0]) == {"discharge//died"}


# ---------------------------------------------------------------- fusions and cost


class Counting(TabularEncoder):
    """Encoder that counts how often it is fitted."""

    n_fits = 0

    def fit(self, X, y=None):
        type(self).n_fits += 1
        return super().fit(X, y)


class Costly(LogisticRegression):
    """Learner that must not be fitted."""

    def fit(self, X, y=None, sample_weight=None):
        raise AssertionError("a learner was fitted")


@pytest.mark.parametrize(
    "strategy", [EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier]
)
@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.long
def test_every_fusion_is_audited_by_its_features(store, X, strategy, in_pipeline):
    y = np.arange(len(X)) % 2
    Counting.n_fits = 0
    options = {} if strategy is JointFusionClassifier else {"estimator": Costly()}
    keys = ["subject_id", "index_time"]

    def model(leak):
        fusion = strategy(
            [
                ("labs", windows(store, include=("LAB//*",)), keys),
                ("careless", Careless(store, leak=leak), keys),
                ("ehr", Counting(), ["age"]),
            ],
            **options,
        )
        return make_pipeline(FunctionTransformer(), fusion) if in_pipeline else fusion

    report = audit(model("none"), X, y, n_rows=12)
    assert report.passed
    assert Counting.n_fits == 1
    found = audit(model("whole record"), X, y, n_rows=12)
    changes = found.changes.set_index("change")
    assert (changes["n_features"] > 0).all()
    names = {name for some in changes["features"] for name in some}
    assert names <= {f"careless__{i}" for i in range(3)}


def test_modalities_of_one_store_share_its_changed_events(store, X, monkeypatch):
    written = []
    original = EventStore.from_frame.__func__

    def counted(cls, *args, **kwargs):
        written.append(len(args[0]))
        return original(cls, *args, **kwargs)

    keys = ["subject_id", "index_time"]
    parts = [(f"m{i}", windows(store, include=("LAB//*",)), keys) for i in range(4)]
    monkeypatch.setattr(EventStore, "from_frame", classmethod(counted))
    assert audit(LateFusionClassifier(parts), X, n_rows=12).passed
    assert len(written) == 1 + len(CHANGES)


def test_rows_in_which_a_modality_of_a_fusion_is_absent(store, X):
    X = X.assign(age=X["age"].where(np.arange(len(X)) % 3 > 0))
    keys = ["subject_id", "index_time"]
    fusion = EarlyFusionClassifier(
        [("labs", windows(store), keys), ("ehr", TabularEncoder(), ["age"])]
    )
    report = audit(fusion, X, np.arange(len(X)) % 2)
    assert report.passed


def test_a_fitted_search_is_audited_by_its_best_estimator(store, X, monkeypatch):
    keys = ["subject_id", "index_time"]
    modalities = [("labs", windows(store, windows=("30d",)), keys)]
    fusion = LateFusionClassifier(modalities, random_state=0)
    X, y = X.iloc[:N], np.arange(N) % 2
    search = GridSearchCV(fusion, {"labs__aggs": [("count",), ("mean",)]}, cv=2)
    search.fit(X, y)

    def never(*_):
        raise AssertionError("searched again")

    monkeypatch.setattr(GridSearchCV, "fit", never)
    found, best = (audit(m, X, n_rows=20) for m in (search, search.best_estimator_))
    assert found.passed
    assert found.n_features == best.n_features > 0
    pd.testing.assert_frame_equal(found.changes, best.changes)


def test_codes_of_an_outcome_are_found_in_a_fusion_too(frame, X, tmp_path):
    ended = frame.assign(code=frame["code"].replace("DIAGNOSIS//J18", "MEDS_DEATH"))
    store = EventStore.from_frame(
        ended, tmp_path / "store", labels={"MEDS_DEATH": "Death", "LAB//crp": "CRP"}
    )
    keys = ["subject_id", "index_time"]
    fusion = LateFusionClassifier([("labs", windows(store, exclude=None), keys)])
    report = audit(fusion, X, n_rows=20)
    assert report.suspects["reason"].str.contains("leaks the outcome").all()
    first = report.suspects["feature"].iloc[0]
    assert first.startswith("labs__MEDS_DEATH__")
    # Shown with names, and kept as they are in the tables.
    assert "  labs__Death (MEDS_DEATH) count 60d: code of death" in str(report)
    assert (
        report.to_frame()["check"].str.contains("labs__Death (MEDS_", regex=False).any()
    )


def test_changed_features_are_shown_with_names(frame, X, tmp_path):
    store = EventStore.from_frame(frame, tmp_path / "s", labels={"LAB//crp": "CRP"})
    report = audit(windows(store, closed="right", aggs=("mean",)), X, n_rows=20)
    assert not report.passed
    assert any("CRP (LAB//crp) mean" in line for line in str(report).splitlines())
    assert "LAB//crp__60d__mean" in set(report.changes["features"].explode())


@pytest.mark.parametrize("unit", ["ns", "us"])
def test_dates_that_were_shifted_for_privacy(frame, X, unit):
    """A century after them, nanoseconds have ended."""
    later = pd.Timedelta(60_000, "D")
    times = ["time", "available_time"]
    shifted = frame.assign(**{t: (frame[t] + later).dt.as_unit(unit) for t in times})
    index_time = (X["index_time"] + later).dt.as_unit(unit)
    store = EventStore.from_frame(shifted)
    report = audit(windows(store), X.assign(index_time=index_time), n_rows=20)
    assert report.passed


def test_progress_is_shown_with_the_time_left(store, X, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    audit(windows(store), X, n_rows=12, verbose=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "LeakageAudit: 0 of 5 rounds, events as they are"
    assert "1 of 5 rounds" in lines[1]
    assert re.search(r" 0:0\d left, events deleted$", lines[1])
    assert lines[5].endswith("finished")
    audit(windows(store), X, n_rows=12)
    assert capsys.readouterr().err == ""


@pytest.mark.long
def test_outcomes_told_alone_are_those_of_roc_auc_score():
    rng = np.random.default_rng(0)
    # More than one part, with ties.
    values = rng.integers(0, 4, (60, 300)).astype(float)
    values[rng.uniform(size=values.shape) < 0.3] = np.nan
    values[:, :4] = [np.nan, 1.0, np.inf, -np.inf]
    target = rng.uniform(size=60) < 0.4
    values[:, 4] = np.where(target, np.nan, 0)  # Told by what is missing.
    expected = []
    for column in values.T:
        missing = np.isnan(column)
        ranked = [pd.Series(column).fillna(fill).rank() for fill in (-np.inf, np.inf)]
        scores = [roc_auc_score(target, one) for one in (missing, *ranked)]
        expected.append(max(max(score, 1 - score) for score in scores))
    found = _aurocs(target, values)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[4] == 1
