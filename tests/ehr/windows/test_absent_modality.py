"""Rows and chunks without visible events, and modalities without codes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    EventStore,
    EventWindows,
    LateFusionClassifier,
    LateFusionRegressor,
    ModalityImportance,
    compare_fusion,
)
from skfusion.ehr import EventGrid, LeakageAudit, ObservedScaler
from skfusion.ehr.windows.kernel import STATISTICS
from skfusion.exceptions import LeakageWarning

KEYS = ["subject_id", "index_time"]
N = 120
X = pd.DataFrame({"subject_id": range(N), "index_time": pd.Timestamp("2024-01-05")})
Y = np.arange(N) % 2
NO_CODES = "In modality 'rare': Event.*none of them in at least"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store():
    every = pd.DataFrame(
        {
            "subject_id": range(N),
            "time": pd.Timestamp("2024-01-02 05:10"),
            "code": "LAB//a",
            "numeric_value": np.arange(N) * 1.0,
        }
    )
    rare = every[every["subject_id"] % 10 == 0].assign(code="LAB//rare")
    return EventStore.from_frame(pd.concat([every, rare]))


def modality(store, name, **parameters):
    aggs = {"aggs": ("count", "last"), "windows": (None,)}
    windows = EventWindows(store, include=(f"LAB//{name}",), **{**aggs, **parameters})
    return name, windows, KEYS


def both(store, least=50):
    return [modality(store, "a"), modality(store, "rare", min_subjects=least)]


# One row, or one chunk, that sees nothing


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("output", ["dense", "sparse"])
@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("totals", [(), ("count", "n_codes", "history")])
@pytest.mark.parametrize("why", ["code", "available", "unknown"])
@pytest.mark.long
def test_one_row_that_sees_nothing(store, engine, output, prepared, totals, why):
    pytest.importorskip("numba")
    what = {"engine": engine, "output": output, "unknown_subject": "empty"}
    how = {**what, "aggs": STATISTICS, "totals": totals, "min_subjects": 1}
    how["shared_subjects"] = "ignore"
    windows = EventWindows(store, include=("LAB//rare",), **how)
    row = X.iloc[[1]]  # Without the code.
    if why == "available":
        windows.set_params(events=store.with_lags({"LAB//rare": "9d"}))
        windows.set_params(include=None)
        row = X.iloc[[0]].assign(index_time=pd.Timestamp("2024-01-02 05:00"))
    elif why == "unknown":
        row = row.assign(subject_id=N + 1)
    if prepared:
        windows = windows.prepare(pd.concat([X, row]))
    found = windows.fit(X).transform(row)
    assert found.shape == (1, len(windows.get_feature_names_out()))
    if output == "sparse":
        assert found.nnz == 0
    else:
        assert np.nan_to_num(found).sum() == 0
        assert np.isnan(found).any()


def test_one_row_that_sees_nothing_on_a_grid(store):
    grid = EventGrid(store, include=("LAB//rare",), horizon="4d", step="1d")
    found = grid.fit(X).transform(X.iloc[[1]])
    assert found.shape == (1, 12)
    assert np.isnan(found).all()
    named = EventGrid(store, codes=["LAB//rare"], horizon="1h", step="1h").fit(X[1:2])
    assert np.isnan(named.transform(X[:1])).all()


def test_bounds_of_rows_that_see_nothing(store):
    windows = EventWindows(store, windows=("1h",), min_subjects=1, clip=(0.1, 0.9))
    with pytest.warns(UserWarning, match="none of them in at least"):
        assert windows.fit(X).clip_bounds_.shape == (2, 0)


# Codes in too few subjects


def test_a_transformer_without_codes_warns_and_has_no_features(store):
    windows = EventWindows(store, min_subjects=500)
    with pytest.warns(UserWarning, match=r"got 2 codes .* min_subjects=500 of their"):
        windows.fit(X)
    assert windows.codes_ == []
    assert windows.transform(X).shape == (N, 0)
    assert windows.set_params(output="sparse").transform(X).shape == (N, 0)
    grid = EventGrid(store, min_subjects=500, horizon="4d")
    with pytest.warns(UserWarning, match="EventGrid: got 2 codes .*=500 of their"):
        assert grid.fit_transform(X).shape == (N, 0)


@pytest.mark.parametrize(
    ("share", "codes"), [(0.1, ["LAB//a", "LAB//rare"]), (0.11, ["LAB//a"])]
)
def test_the_fewest_subjects_may_be_a_share(store, share, codes):
    assert EventWindows(store, min_subjects=share).fit(X).codes_ == codes
    half = X[X["subject_id"] % 10 < 5]  # 12 of 60.
    rare = EventWindows(store, min_subjects=0.2).fit(half)
    assert rare.codes_ == ["LAB//a", "LAB//rare"]
    grid = EventGrid(store, min_subjects=share, horizon="4d")
    assert grid.fit(X).codes_ == codes


@pytest.mark.parametrize("least", [0.0, 1.5, -0.1, True, "10%", float("nan")])
def test_what_is_neither_a_number_nor_a_share(store, least):
    with pytest.raises((ValueError, TypeError), match="min_subjects must be"):
        EventWindows(store, min_subjects=least).fit(X)


FUSIONS = [
    (EarlyFusionClassifier, {}),
    (EarlyFusionClassifier, {"balance": "scale", "missing": "complete_case"}),
    (EarlyFusionClassifier, {"join": "pool", "missing": "error"}),
    (LateFusionClassifier, {}),
    (LateFusionClassifier, {"missing": "error"}),
    (LateFusionClassifier, {"aggregation": "weighted"}),
    (LateFusionClassifier, {"aggregation": "stacking"}),
    (LateFusionClassifier, {"aggregation": "rank"}),
    (LateFusionClassifier, {"calibration": "sigmoid"}),
]


@pytest.mark.parametrize(("kind", "parameters"), FUSIONS)
def test_it_is_an_absent_modality_of_a_fusion(store, kind, parameters):
    model = kind(both(store), random_state=0, **parameters)
    with pytest.warns(UserWarning, match=NO_CODES) as caught:
        model.fit(X, Y)
    assert sum("none of them" in str(one.message) for one in caught) == 1
    alone = kind(both(store)[:1], random_state=0, **parameters).fit(X, Y)
    found, wanted = (m.predict_proba(X) for m in (model, alone))
    if not {"aggregation", "calibration"} & parameters.keys():  # No inner folds.
        np.testing.assert_allclose(found, wanted)
    assert np.isnan(model.encode_modalities(X)["rare"]).all()
    assert model.predict_proba(X.iloc[[0]]).shape == (1, 2)
    np.testing.assert_allclose(model.predict_encoded(model.encode_modalities(X)), found)


def test_it_is_an_absent_modality_of_a_joint_fusion(store):
    pytest.importorskip("torch")
    from skfusion import JointFusionClassifier
    from skfusion.fusion import TorchEncoder

    grid = EventGrid(store, include=("LAB//rare",), min_subjects=50)
    steps = make_pipeline(grid, TorchEncoder())
    for last in (both(store)[1], ("rare", steps, KEYS)):
        model = JointFusionClassifier([both(store)[0], last], max_epochs=1)
        with pytest.warns(UserWarning, match=NO_CODES):
            model.set_params(random_state=0).fit(X, Y)
        assert np.isfinite(model.predict_proba(X)).all()
        assert np.isnan(model.encode_modalities(X)["rare"]).all()


def test_later_steps_of_a_modality_are_skipped(store):
    name, windows, keys = both(store)[1]
    steps = make_pipeline(windows.set_params(output="sparse"), ObservedScaler())
    model = EarlyFusionClassifier([both(store)[0], (name, steps, keys)])
    with pytest.warns(UserWarning, match=NO_CODES):
        model.fit(X, Y)
    assert model.transform(X).shape == (N, 5)


def test_a_fusion_of_nothing_predicts_the_average(store):
    for kind in (EarlyFusionClassifier, LateFusionClassifier):
        model = kind(both(store)[1:], random_state=0)
        with pytest.warns(UserWarning, match=NO_CODES):
            model.fit(X, Y)
        with pytest.warns(UserWarning, match="have no modality at all"):
            np.testing.assert_allclose(model.predict_proba(X), 0.5)


@pytest.mark.filterwarnings("ignore:.*none of them in at least")
@pytest.mark.filterwarnings("ignore:.*no modality at all")
@pytest.mark.long
def test_it_ends_no_search_no_audit_and_no_report(store):
    model = EarlyFusionClassifier(both(store, least=10), random_state=0)
    scores = cross_validate(model, X, Y, cv=4, error_score="raise")
    assert np.isfinite(scores["test_score"]).all()
    grid = {"rare__windows": [("1h",), (None,)]}
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    model.fit(X, Y)
    assert LeakageAudit(n_rows=30, random_state=0).run(model, X, Y).passed
    importance = ModalityImportance(model, background=X[:60])
    with pytest.warns(LeakageWarning, match="60 of 60 cases are equal to rows"):
        report = importance.report(X[60:], Y[60:], train=(X[:40], Y[:40]), cv=2)
    assert report is not None


@pytest.mark.parametrize("kind", [EarlyFusionRegressor, LateFusionRegressor])
def test_it_is_an_absent_modality_of_a_regressor(store, kind):
    model = kind(both(store), random_state=0)
    with pytest.warns(UserWarning, match=NO_CODES):
        model.fit(X, np.arange(N) * 1.0)
    alone = kind(both(store)[:1], random_state=0).fit(X, np.arange(N) * 1.0)
    np.testing.assert_allclose(model.predict(X), alone.predict(X))


def test_a_comparison_has_its_baseline_and_warns_once(store):
    model = EarlyFusionClassifier(both(store), random_state=0)
    with pytest.warns(UserWarning, match="warned 4 times") as caught:
        found = compare_fusion(
            {"early": model}, X, Y, cv=2, n_repeats=1, random_state=0
        )
    (text,) = [str(one.message) for one in caught]
    assert "'rare in early', 'early' warned 4 times in 4 fits" in text
    assert "none of them in at least" in text
    scores = found.to_frame().loc["rare in early", ("roc_auc", "estimate")]
    assert scores == 0.5  # It predicts the average.


@pytest.mark.long
def test_models_fitted_again_without_codes_warn_once(store):
    model = EarlyFusionClassifier(both(store, least=10), random_state=0).fit(X, Y)
    importance = ModalityImportance(model, background=X[:60], random_state=0)
    with pytest.warns(UserWarning, match=NO_CODES) as caught:
        scores = importance.refit(X[:60], Y[:60], cv=3)
    texts = [str(one.message) for one in caught]
    assert len(texts) == 1  # Of 9 models.
    assert texts[0].startswith("In modality 'rare': EventWindows: got 1 codes visible")
    np.testing.assert_allclose(scores.to_frame().loc["rare", "estimate"], 0, atol=1e-9)
    relative = EarlyFusionClassifier(both(store, least=0.05), random_state=0).fit(X, Y)
    share = ModalityImportance(relative, background=X[:60], random_state=0)
    share.refit(X[:60], Y[:60], cv=3)  # Without a warning.


def test_an_audit_of_few_rows_has_the_rare_codes(store):
    windows = EventWindows(store, windows=(None,), aggs=("count",), totals=())
    report = LeakageAudit(n_rows=60, random_state=0).run(windows, X)
    assert report.n_features == 2


@pytest.mark.parametrize("in_fusion", [False, True])
def test_an_audit_of_nothing_says_so(store, in_fusion):
    model = EventWindows(store, include=("LAB//none",))
    if in_fusion:
        model = EarlyFusionClassifier([("none", model, KEYS)])
    with (
        pytest.warns(UserWarning, match="no features of the 30 audited rows"),
        pytest.warns(UserWarning, match="got 0 codes visible"),
    ):
        report = LeakageAudit(n_rows=30, random_state=0).run(model, X)
    assert report.n_features == 0


# Warnings with the name of the modality


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_known_patients_are_warned_of_once(store, kind):
    check_known_patients(kind(both(store, least=5), random_state=0))


def test_known_patients_are_warned_of_once_by_joint_fusion(store):
    pytest.importorskip("torch")
    from skfusion import JointFusionClassifier

    parameters = {"max_epochs": 1, "random_state": 0}
    check_known_patients(JointFusionClassifier(both(store, least=5), **parameters))


def check_known_patients(model):
    model.fit(X, Y)
    later = X[:3].assign(index_time=pd.Timestamp("2024-01-06"))
    with pytest.warns(UserWarning, match="shared_subjects") as caught:
        model.predict_proba(later)
    texts = [str(one.message) for one in caught]
    assert len(texts) == 1
    assert texts[0].startswith(
        "In modality 'a' (and in 'rare'): EventWindows: got 3 of 3"
    )
