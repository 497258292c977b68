"""One setting of windows for all event modalities of a search, prepared once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.ehr import (
    EventGrid,
    ObservedScaler,
    domain_modalities,
    prepare_modalities,
    windows_grid,
    with_events,
)
from skfusion.ehr.windows.prepared import PreparedWindows

N = 60
INDEX = pd.Timestamp("2026-06-01")
CANDIDATES = [("3d",), ("3d", "200d")]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SKFUSION_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path) -> EventStore:
    rng = np.random.default_rng(0)
    n = N * 20
    subject = np.repeat(np.arange(N), 20)
    code = rng.choice(["LAB//a", "LAB//b", "DIAGNOSIS//c"], n)
    days = rng.uniform(0.1, 200, n) * rng.choice([0.01, 1], n)
    frame = pd.DataFrame(
        {
            "subject_id": subject,
            "time": INDEX - pd.to_timedelta(days, unit="D").floor("us"),
            "code": code,
            # The value tells the outcome early only.
            "numeric_value": rng.normal(size=n) + (subject % 2) * (days > 3),
        }
    )
    return EventStore.from_frame(frame, tmp_path / "store", date_only=None)


@pytest.fixture
def cohort() -> tuple[pd.DataFrame, np.ndarray]:
    X = pd.DataFrame({"subject_id": np.arange(N), "index_time": INDEX})
    X["age"] = np.random.default_rng(1).normal(60, 9, N)
    return X, np.arange(N) % 2


def modalities(store):
    domains = {"labs": ("LAB//*",), "diagnoses": ("DIAGNOSIS//*",)}
    made = domain_modalities(
        store,
        demographics=None,
        domains=domains,
        windows=("200d",),
        aggs=("count", "mean"),
        min_subjects=2,
        shared_subjects="ignore",
    )
    return [
        *((n, make_pipeline(t, ObservedScaler()), c) for n, t, c in made[:1]),
        *made[1:],
        ("age", TabularEncoder(), ["age"]),
    ]


MODELS = {
    "early": (EarlyFusionClassifier, {"estimator": LogisticRegression(max_iter=2000)}),
    "late": (LateFusionClassifier, {"estimator": LogisticRegression(max_iter=2000)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("is_prepared", [False, True])
@pytest.mark.parametrize("in_pipeline", [False, True])
@pytest.mark.parametrize("strategy", MODELS)
def test_a_search_gives_what_each_setting_gives(
    store, cohort, strategy, in_pipeline, is_prepared
):
    X, y = cohort
    kind, options = MODELS[strategy]
    options = {**options, "groups": "subject_id", "random_state": 0}
    triples = modalities(store)
    prepared = prepare_modalities(triples, X, windows=CANDIDATES)

    def model(of):
        fusion = kind(clone_of(of), **options)
        if not in_pipeline:
            return fusion
        return Pipeline([("same", FunctionTransformer()), ("fusion", fusion)])

    searched = model(prepared if is_prepared else triples)
    grid = windows_grid(searched, CANDIDATES)
    prefix = "fusion__" if in_pipeline else ""
    names = [f"{prefix}labs__eventwindows__windows", f"{prefix}diagnoses__windows"]
    assert grid == [{name: [w] for name in names} for w in CANDIDATES]
    how = {"cv": StratifiedGroupKFold(3), "scoring": "neg_log_loss"}
    search = GridSearchCV(searched, grid, error_score="raise", **how)
    search.fit(X, y, groups=X["subject_id"])
    for number, windows in enumerate(CANDIDATES):
        by_hand = model(triples).set_params(**dict.fromkeys(names, windows))
        alone = GridSearchCV(by_hand, {}, error_score="raise", **how)
        alone.fit(X, y, groups=X["subject_id"])
        np.testing.assert_allclose(
            search.cv_results_["mean_test_score"][number],
            alone.cv_results_["mean_test_score"][0],
            rtol=1e-5,
        )
    assert len(set(search.cv_results_["mean_test_score"])) == 2
    assert search.best_params_[names[0]] == CANDIDATES[1]
    assert search.predict(X).shape == (N,)


def clone_of(triples):
    return [
        (name, clone(transformer), columns) for name, transformer, columns in triples
    ]


def test_each_event_encoder_is_prepared_and_others_stay(store, cohort):
    X, _ = cohort
    scaler = StandardScaler()
    grid = EventGrid(store, horizon="10d", step="1d", min_subjects=2)
    nested = make_pipeline("passthrough", EventWindows(store, min_subjects=2), scaler)
    triples = [*modalities(store), ("grid", grid, []), ("deep", nested, [])]
    made = prepare_modalities(triples, X, windows=("3d",))
    assert [name for name, *_ in made] == [name for name, *_ in triples]
    assert isinstance(made[0][1][0].events, PreparedWindows)
    assert isinstance(made[1][1].events, PreparedWindows)
    assert made[2][1] is triples[2][1]
    assert made[3][1] is grid
    assert made[4][1].steps[0][1] == "passthrough"
    assert isinstance(made[4][1][1].events, PreparedWindows)
    assert made[4][1][2] is not scaler  # clones, so that steps are not shared
    assert isinstance(nested[1].events, EventStore)  # as it was
    assert isinstance(triples[1][1].events, EventStore)


def test_rows_in_which_a_modality_is_absent(store, cohort):
    X, _ = cohort
    X = X.astype({"subject_id": "Int64"})
    X.loc[3, ["subject_id", "index_time"]] = None
    X.loc[4, "index_time"] = None
    made = prepare_modalities(modalities(store), X)
    assert made[1][1].events.files.n_rows == N - 2


def test_a_prepared_model_reads_other_events(store, cohort, tmp_path):
    X, y = cohort
    made = prepare_modalities(modalities(store), X)
    model = EarlyFusionClassifier(made, **MODELS["early"][1], random_state=0).fit(X, y)
    moved = store.to_frame().assign(subject_id=lambda e: e["subject_id"] + 1000)
    other = EventStore.from_frame(moved, tmp_path / "other", date_only=None)
    new = X.assign(subject_id=X["subject_id"] + 1000)
    found = with_events(model, other).predict_proba(new)
    np.testing.assert_allclose(found, model.predict_proba(X), rtol=1e-4)


def test_a_grid_of_an_encoder_alone_and_in_a_pipeline(store):
    windows = EventWindows(store)
    assert windows_grid(windows, [("1d",)]) == [{"windows": [("1d",)]}]
    steps = make_pipeline(windows, StandardScaler())
    expected = [{"eventwindows__windows": [(None,)]}]
    assert windows_grid(steps, [(None,)]) == expected


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        ([], ValueError, "at least 1 entry"),
        (("1d", "365d"), TypeError, "each candidate must be a tuple of windows"),
        ([None], TypeError, "got None"),
    ],
)
def test_bad_candidates(store, candidates, error, message):
    with pytest.raises(error, match=message):
        windows_grid(EventWindows(store), candidates)


def test_models_without_windows(store, cohort):
    X, _ = cohort
    plain = [("age", TabularEncoder(), ["age"])]
    with pytest.raises(ValueError, match="LateFusionClassifier without an EventWind"):
        windows_grid(LateFusionClassifier(plain), CANDIDATES)
    with pytest.raises(ValueError, match="got 1 modalities, and none of them"):
        prepare_modalities(plain, X)
    with pytest.raises(ValueError, match="X must be a DataFrame, got ndarray"):
        prepare_modalities(plain, X.to_numpy())
    for wrong in (LateFusionClassifier(plain), "auto", None):
        with pytest.raises(TypeError, match="modalities must be a list of"):
            prepare_modalities(wrong, X)


def test_what_cannot_be_prepared_is_named(store, cohort):
    clipped = EventWindows(store, clip=(0.01, 0.99))
    triples = [("labs", clipped, ["subject_id", "index_time"])]
    with pytest.raises(ValueError, match="In modality 'labs': .*clip"):
        prepare_modalities(triples, cohort[0])
