"""Features that were prepared are those computed of the events, and only those."""

from __future__ import annotations

import pickle
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from skfusion import EventStore, EventWindows
from skfusion.ehr import LeakageAudit, ObservedScaler
from skfusion.ehr.windows import prepared as window_prepared
from skfusion.ehr.windows.kernel import STATISTICS
from skfusion.ehr.windows.prepared import PreparedWindows

START = pd.Timestamp("2023-01-01")
UNION = ("1d", "7d", "30d", "90d", None)


pytestmark = pytest.mark.filterwarnings(r"ignore:EventWindows. left out 1 of \d codes")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store():
    rng = np.random.default_rng(0)
    n = 4000
    return EventStore.from_frame(
        pd.DataFrame(
            {
                "subject_id": rng.integers(0, 80, n),
                "time": START + pd.to_timedelta(rng.integers(1, 576000, n), unit="min"),
                "code": rng.choice(["z", "LAB//a", "LAB//b", "VISIT", "DEATH"], n),
                "numeric_value": np.where(
                    rng.random(n) < 0.8, rng.normal(size=n), np.nan
                ),
            }
        )
    )


def cases(n=200, seed=1):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "subject_id": rng.integers(0, 80, n),
            "index_time": START + pd.to_timedelta(rng.integers(0, 400, n), unit="D"),
        }
    )


def windows(events, **parameters):
    default = {"windows": UNION, "aggs": STATISTICS, "min_subjects": 5}
    return EventWindows(
        events, shared_subjects="ignore", **{**default, **parameters}
    ).set_output(transform="pandas")


SETTINGS = [
    {},
    {"windows": ("7d", "90d"), "aggs": ("mean", "slope")},
    {"windows": (None,), "aggs": ("present",), "totals": ("history",)},
    {"windows": ("720h",), "include": ("LAB//*",)},
    {"max_codes": 2, "totals": ("n_codes", "count")},
    {"aggs": ("last",), "aggs_by_prefix": {"LAB//": ("std", "n_days")}, "totals": ()},
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("nested", [True, False])
def test_settings_give_what_the_events_give(store, setting, nested):
    if not nested:
        setting = {k: v for k, v in setting.items() if k != "windows"}
    X = cases()
    prepared = windows(store, nested=nested).prepare(X)
    one = windows(store, nested=nested, **setting)
    other = windows(prepared.events, nested=nested, **setting)
    one.fit(X[:150]), other.fit(X[:150])
    assert one.codes_ == other.codes_
    np.testing.assert_array_equal(one.code_counts_, other.code_counts_)
    assert one.n_rows_without_events_ == other.n_rows_without_events_
    pd.testing.assert_frame_equal(
        one.transform(X[120:]), other.transform(X[120:]), rtol=3e-6, atol=1e-6
    )


def test_counts_and_extremes_are_the_same_bits(store):
    X = cases()
    exact = ("count", "n_days", "last", "first", "min", "max", "since_last")
    one = windows(store, windows=("30d",), aggs=exact)
    other = one.prepare(X, windows=UNION).set_params(windows=("30d",))
    pd.testing.assert_frame_equal(
        one.fit_transform(X), other.fit_transform(X), check_exact=True
    )


def test_sparse_features_store_the_same_cells(store):
    X = cases()
    one = windows(store, output="sparse").set_output(transform="default")
    found, wanted = one.prepare(X).fit_transform(X), one.fit_transform(X)
    for table in (found, wanted):
        table.sort_indices()
    np.testing.assert_array_equal(found.indptr, wanted.indptr)
    np.testing.assert_array_equal(found.indices, wanted.indices)
    np.testing.assert_allclose(found.data, wanted.data, rtol=3e-6, atol=1e-6)


def test_nothing_prepared_is_computed_again(store, monkeypatch):
    X = cases()
    prepared = windows(store).prepare(X)

    def fail(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(window_prepared, "computed_features", fail)
    prepared.set_params(windows=("7d", None), aggs=("mean",)).fit_transform(X)
    assert windows(store).prepare(X).events == prepared.events


def test_rows_that_were_not_prepared_are_computed_and_counted(store):
    X, new = cases(), cases(30, seed=2)
    prepared = windows(store).prepare(X)
    mixed = pd.concat([X[:20], new, X[20:40]], ignore_index=True)
    found = prepared.fit(X).transform(mixed)
    wanted = windows(store).fit(X).transform(mixed)
    pd.testing.assert_frame_equal(found, wanted, rtol=3e-6, atol=1e-6)
    with pytest.warns(
        UserWarning, match="30 of 70 training rows that were not prepared"
    ):
        prepared.fit(mixed)
    with pytest.warns(UserWarning, match="another gap"):
        prepared.set_params(gap="2h").fit(X)


def test_subjects_without_events_are_empty(store):
    X = cases()
    X.loc[:4, "subject_id"] = 10_000
    one = windows(store, unknown_subject="empty")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "EventWindows: left out 1 of 5 codes")
        found = one.prepare(X).fit_transform(X)
    pd.testing.assert_frame_equal(found, one.fit_transform(X), rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"windows": ("2d",)}, r"windows \['2d'\] that were not prepared"),
        ({"aggs": ("std",)}, r"statistics \['std'\] that were not prepared"),
        ({"closed": "right"}, "closed='right', but 'left' was prepared"),
        ({"exclude": None}, "include and exclude with 1 codes not prepared"),
        ({"clip": (0.1, 0.9)}, "clip must be None .* Clipping changes the values"),
        ({"nested": False}, "were not prepared. Prepared are the nested windows"),
    ],
)
def test_what_was_not_prepared_is_refused(store, setting, message):
    X = cases()
    prepared = windows(store, aggs=("mean",)).prepare(X).set_params(**setting)
    with pytest.raises(ValueError, match=message):
        prepared.fit_transform(X)


def test_what_cannot_be_prepared_is_refused(store, tmp_path):
    X = cases()
    with pytest.raises(ValueError, match="one setting at a time"):
        windows(store, nested=False).prepare(X, windows=("2d",))
    with pytest.raises(ValueError, match="got an unknown statistic 'maen'"):
        windows(store).prepare(X, aggs=("maen",))
    with pytest.raises(ValueError, match="clip="):
        windows(store, clip=(0.1, 0.9)).prepare(X).fit(X)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="other content than prepared features"):
        windows(store).prepare(X, path=tmp_path / "mine")


def test_the_handle_is_small_and_knows_when_files_changed(store, tmp_path):
    X = cases()
    prepared = windows(store).prepare(X, path=tmp_path / "kept")
    handle = prepared.events
    assert clone(prepared).events is handle
    assert len(pickle.dumps(prepared)) < 2000
    assert pickle.loads(pickle.dumps(handle)) == handle
    assert repr(handle).startswith("PreparedWindows(")
    other = windows(store, aggs=("mean",))
    with pytest.raises(ValueError, match="do not match the fingerprint of this handle"):
        other.prepare(X, path=tmp_path / "kept")
    values = np.load(handle.path / "value.npy")
    np.save(handle.path / "value.npy", values + 1)
    with pytest.raises(ValueError, match="changed since they were written"):
        prepared.fit(X)
    (handle.path / "prepared.json").unlink()
    with pytest.raises(FileNotFoundError, match="without prepared features"):
        PreparedWindows(handle.path)


def test_a_folder_that_was_removed_is_prepared_again(store, tmp_path):
    X, place = cases(), tmp_path / "kept"
    one = windows(store)
    wanted = one.prepare(X, path=place).fit_transform(X)
    shutil.rmtree(place)
    pd.testing.assert_frame_equal(one.prepare(X, path=place).fit_transform(X), wanted)


def test_rows_that_see_nothing_are_empty_in_every_setting(store):
    X = cases(60)
    early = cases(5).assign(index_time=START - pd.Timedelta("1D"))
    one = windows(store)
    prepared = one.prepare(pd.concat([X, early])).fit(X)
    found, wanted = prepared.transform(early), one.fit(X).transform(early)
    pd.testing.assert_frame_equal(found, wanted)


def test_nothing_is_left_of_a_preparation_that_failed(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(window_prepared.np, "save", full)
    with pytest.raises(OSError, match="no space"):
        windows(store).prepare(cases(), path=tmp_path / "new" / "kept")
    assert not list((tmp_path / "new").iterdir())


def test_a_search_finds_the_same_with_one_process_and_two(store):
    X = cases(160)
    y = np.random.default_rng(0).integers(0, 2, len(X))
    part = windows(store, aggs=("mean", "count"), output="sparse", min_subjects=3)
    grid = {"eventwindows__windows": [("30d",), UNION]}
    scores = []
    for estimator, n_jobs in (
        (part, None),
        (part.prepare(X), None),
        (part.prepare(X), 2),
    ):
        model = make_pipeline(
            estimator.set_output(transform="default"),
            ObservedScaler(),
            LogisticRegression(max_iter=500),
        )
        search = GridSearchCV(
            model, grid, cv=StratifiedGroupKFold(3), scoring="roc_auc", n_jobs=n_jobs
        )
        search.fit(X, y, groups=X["subject_id"])
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(scores[1], scores[2])
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-3)


def test_the_audit_computes_of_changed_events(store):
    X = cases(40)
    prepared = windows(store).set_output(transform="default").prepare(X)
    report = LeakageAudit(random_state=0).run(prepared, X)
    assert report.passed
    assert report.n_features == prepared.fit_transform(X).shape[1]
