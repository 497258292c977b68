"""A fitted model predicts for events of other subjects than those of the training."""

import pickle
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    EventWindows,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.ehr import Demographics, EventGrid, ObservedScaler, with_events
from skfusion.exceptions import DataWarning
from skfusion.fusion.early import ModelFeatures

DAY = pd.Timestamp("2024-01-10")


def cohort(subjects, seed):
    """Return events of two domains, their cases and outcomes."""
    rng = np.random.default_rng(seed)
    n = len(subjects)
    y = rng.integers(0, 2, n)
    table = pd.DataFrame({"subject_id": subjects, "time": DAY + pd.Timedelta("6h")})
    events = pd.concat(
        [
            table.assign(code="LAB//crp", numeric_value=rng.normal(size=n) + 2 * y),
            table.assign(code="LAB//na", numeric_value=rng.normal(size=n)),
            table.assign(code="VITAL//hr", numeric_value=rng.normal(size=n) - y),
        ]
    )
    X = table[["subject_id"]].assign(index_time=DAY + pd.Timedelta("12h"))
    return events, X.assign(a=rng.normal(size=n)), y


EVENTS, X, Y = cohort(np.arange(60), 0)
NEW_EVENTS, X_NEW, _ = cohort(np.arange(1000, 1020), 1)
KEYS = ["subject_id", "index_time"]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Return the store of the training, another one, and the union of both."""
    folder = tmp_path_factory.mktemp("stores")
    return (
        EventStore.from_frame(EVENTS, folder / "old"),
        EventStore.from_frame(NEW_EVENTS, folder / "new"),
        EventStore.from_frame(pd.concat([EVENTS, NEW_EVENTS]), folder / "both"),
    )


def windows(store, what):
    return EventWindows(
        store,
        include=(f"{what}//*",),
        windows=("1d",),
        aggs=("count", "mean"),
        min_subjects=5,
        shared_subjects="ignore",
    )


def modalities(store):
    labs = make_pipeline(windows(store, "LAB"), ObservedScaler())
    return [
        ("labs", labs, KEYS),
        ("vitals", windows(store, "VITAL"), KEYS),
        ("rest", StandardScaler(), ["a"]),
    ]


def fusion(store, **params):
    return EarlyFusionClassifier(
        modalities(store), estimator=LogisticRegression(), random_state=0, **params
    )


MODELS = {
    "early": fusion,
    "early, boosted": lambda s: EarlyFusionClassifier(modalities(s), random_state=0),
    "late": lambda s: LateFusionClassifier(modalities(s), random_state=0),
    "late, stacking": lambda s: LateFusionClassifier(
        modalities(s), aggregation="stacking", random_state=0
    ),
    "nested": lambda s: EarlyFusionClassifier(
        [
            (
                "record",
                ModelFeatures(LateFusionClassifier(modalities(s))),
                [*KEYS, "a"],
            ),
            ("rest", StandardScaler(), ["a"]),
        ],
        estimator=LogisticRegression(),
        random_state=0,
    ),
    "joint": lambda s: JointFusionClassifier(
        modalities(s), max_epochs=2, random_state=0
    ),
    "pipeline": lambda s: Pipeline([("fusion", fusion(s))]),
    "union": lambda s: make_pipeline(
        FeatureUnion([("l", windows(s, "LAB")), ("v", windows(s, "VITAL"))]),
        ObservedScaler(),
        LogisticRegression(),
    ),
    "search": lambda s: GridSearchCV(fusion(s), {"estimator__C": [0.1, 1]}, cv=2),
    "calibrated": lambda s: CalibratedClassifierCV(fusion(s), cv=2),
    "threshold": lambda s: TunedThresholdClassifierCV(fusion(s), cv=2),
    "voting": lambda s: VotingClassifier([("f", fusion(s))], voting="soft"),
    "stacked": lambda s: StackingClassifier([("f", fusion(s))], cv=2),
    "bagging in an object array": lambda s: MultiOutputClassifier(fusion(s)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.slow
def test_predictions_equal_those_of_a_model_of_all_events(stores, name):
    old, new, both = stores
    target = np.column_stack([Y, 1 - Y]) if "object array" in name else Y
    model = MODELS[name](old).fit(X, target)
    reference = MODELS[name](both).fit(X, target)
    before = np.asarray(model.predict_proba(X))
    copy = with_events(model, new)
    assert type(copy) is type(model)
    np.testing.assert_array_equal(
        np.asarray(copy.predict_proba(X_NEW)),
        np.asarray(reference.predict_proba(X_NEW)),
    )
    # The model itself still knows its own subjects, and no others.
    np.testing.assert_array_equal(np.asarray(model.predict_proba(X)), before)
    with pytest.raises(ValueError, match=r"skfusion\.ehr\.with_events\(model, store\)"):
        model.predict_proba(X_NEW)


def test_what_was_learned_is_shared(stores):
    old, new, _ = stores
    model = EarlyFusionClassifier(modalities(old), random_state=0).fit(X, Y)
    copy = model.with_events(new)
    assert copy is not model
    assert copy.estimator_ is model.estimator_
    assert copy.modalities_[2][1] is model.modalities_[2][1]
    labs, mine = copy.modalities_[0][1], model.modalities_[0][1]
    assert labs[0].codes_ is mine[0].codes_
    assert labs[1] is mine[1]
    assert labs[0].events == new
    assert mine[0].events == old
    # The parameters agree with what is used.
    assert copy.get_params()["vitals__events"] == new
    assert model.get_params()["vitals__events"] == old


def test_the_network_of_joint_fusion_is_shared(stores):
    old, new, _ = stores
    model = MODELS["joint"](old).fit(X, Y)
    assert with_events(model, new).network_ is model.network_


def test_events_of_some_modalities_by_name(stores):
    old, new, _ = stores
    model = fusion(old).fit(X, Y)
    copy = with_events(make_pipeline(model), {"labs": new})[-1]
    assert copy.modalities_[0][1][0].events == new
    assert copy.modalities_[1][1].events == old
    # The name of a step inside of the modality is a name, too.
    assert with_events(model, {"eventwindows": new}).modalities_[0][1][0].events == new
    with pytest.raises(ValueError, match="events for 'lab'.*Did you mean 'labs'"):
        with_events(model, {"lab": new})
    # A modality without events is no place for them.
    with pytest.raises(ValueError, match="events for 'rest'"):
        with_events(model, {"rest": new})


def test_transformers_alone_and_a_path(stores):
    old, new, both = stores
    for transformer in (windows(old, "LAB"), EventGrid(old, min_subjects=5)):
        fitted = transformer.fit(X)
        expected = type(fitted)(**(fitted.get_params() | {"events": both}))
        np.testing.assert_array_equal(
            with_events(fitted, new.path).transform(X_NEW),
            expected.fit(X).transform(X_NEW),
        )


def test_demographics_of_new_subjects(tmp_path):
    def store(subjects, name):
        table = pd.DataFrame(
            {"subject_id": subjects, "time": pd.Timestamp("1950-01-01")}
        )
        return EventStore.from_frame(
            table.assign(code="MEDS_BIRTH"), tmp_path / name, date_only=None
        )

    plain = TabularEncoder(scale=False)
    fitted = Demographics(store(np.arange(60), "old"), encoder=plain).fit(X)
    ages = with_events(fitted, store(X_NEW["subject_id"], "new")).transform(X_NEW)
    assert np.nanmin(np.asarray(ages, dtype=float)) == pytest.approx(74.02, abs=0.1)


def test_prepared_features_are_those_of_the_training_only(stores):
    old, new, both = stores
    prepared = windows(old, "LAB").prepare(X)
    model = make_pipeline(prepared, ObservedScaler(), LogisticRegression()).fit(X, Y)
    plain = make_pipeline(windows(both, "LAB"), ObservedScaler(), LogisticRegression())
    np.testing.assert_allclose(
        with_events(model, new).predict_proba(X_NEW),
        plain.fit(X, Y).predict_proba(X_NEW),
        rtol=1e-5,
    )


def test_a_subject_with_none_of_the_codes_has_an_absent_modality(stores, tmp_path):
    old, _, _ = stores
    model = fusion(old).fit(X, Y)
    strange = NEW_EVENTS.assign(code="OTHER//x")
    events = EventStore.from_frame(strange, tmp_path / "strange")
    with pytest.warns(DataWarning, match=r"none of the \d codes that EventWindows of"):
        copy = with_events(model, events)
    proba = copy.predict_proba(X_NEW.head(1))
    assert np.isfinite(proba).all()


def test_the_copy_can_be_pickled_and_changed_again(stores):
    old, new, both = stores
    copy = pickle.loads(pickle.dumps(with_events(fusion(old).fit(X, Y), new)))
    again = with_events(copy, both)
    np.testing.assert_array_equal(again.predict_proba(X_NEW), copy.predict_proba(X_NEW))
    assert again.fit(X, Y).predict(X_NEW).shape == (20,)


class Holder(LogisticRegression):
    """An estimator of a user with state of its own: slots, a cycle and a function."""

    __slots__ = ("kept",)

    def __init__(self, encoder=None):
        super().__init__()
        self.encoder = encoder

    def __getstate__(self):
        raise RuntimeError("the state must not be copied through pickle")

    def fit(self, X, y):
        self.kept = {"encoder": self.encoder.fit(X)}
        self.loop_ = [self, lambda value: value]
        return super().fit(np.nan_to_num(self.kept["encoder"].transform(X)), y)

    def predict_proba(self, X):
        return super().predict_proba(np.nan_to_num(self.kept["encoder"].transform(X)))


def test_estimators_of_users(stores):
    old, new, both = stores
    model = Holder(windows(old, "LAB")).fit(X, Y)
    copy = with_events(model, new)
    assert copy.loop_[0] is copy
    assert copy.loop_[1] is model.loop_[1]
    reference = Holder(windows(both, "LAB")).fit(X, Y)
    np.testing.assert_array_equal(
        copy.predict_proba(X_NEW), reference.predict_proba(X_NEW)
    )


def test_bagged_models_by_the_columns_of_each(stores):
    old, new, both = stores
    frames = X.drop(columns="a"), X_NEW.drop(columns="a")

    def bag(store):
        inner = make_pipeline(
            windows(store, "LAB"), ObservedScaler(), LogisticRegression()
        )
        return BaggingClassifier(
            AsFrame(inner), n_estimators=3, bootstrap=False, random_state=0
        )

    number = [
        f.assign(index_time=f["index_time"].astype("datetime64[us]").astype("int64"))
        for f in frames
    ]
    model, reference = bag(old).fit(number[0], Y), bag(both).fit(number[0], Y)
    np.testing.assert_array_equal(
        with_events(model, new).predict_proba(number[1]),
        reference.predict_proba(number[1]),
    )


class AsFrame(LogisticRegression):
    """An estimator that gives an array its columns back."""

    def __init__(self, inner=None):
        super().__init__()
        self.inner = inner

    @staticmethod
    def _frame(A):
        frame = pd.DataFrame(np.asarray(A), columns=KEYS)
        return frame.assign(index_time=frame["index_time"].astype("datetime64[us]"))

    def fit(self, A, y, sample_weight=None):
        self.inner_ = self.inner.fit(self._frame(A), y)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, A):
        return self.inner_.predict_proba(self._frame(A))


@pytest.mark.parametrize("model", [StandardScaler(), make_pipeline(StandardScaler())])
def test_a_model_without_events_is_refused(stores, model):
    with pytest.raises(ValueError, match="no part of it reads events"):
        with_events(model, stores[1])


@pytest.mark.parametrize("events", [None, 3, pd.DataFrame(), {"labs": None}])
def test_events_of_another_type_are_refused(stores, events):
    with pytest.raises(TypeError, match="with_events: events must be an EventStore"):
        with_events(fusion(stores[0]).fit(X, Y), events)


def test_setting_events_of_a_fitted_fusion_says_when_it_takes_effect(stores):
    old, new, _ = stores
    model = fusion(old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(vitals__events=old)
    model.fit(X, Y)
    with pytest.warns(UserWarning, match=r"'vitals__events' takes effect at the next"):
        model.set_params(vitals__events=new)
    with pytest.warns(UserWarning, match=r"with_events\(model, store\)"):
        make_pipeline(model).set_params(
            earlyfusionclassifier__labs__eventwindows__events=new
        )
    assert model.get_params()["labs__eventwindows__events"] == new
    # Until then, the model reads the events of its training.
    assert model.predict_proba(X).shape == (60, 2)


# -- other codes and units ---------------------------------------------------------


def changed(tmp_path, **change):
    """Return a store of the new events with another column."""
    return EventStore.from_frame(NEW_EVENTS.assign(**change), tmp_path / "changed")


@pytest.mark.parametrize("name", ["early", "late", "pipeline", "calibrated", "union"])
def test_other_codes_in_place_of_those_learned_are_warned_of(stores, tmp_path, name):
    model = MODELS[name](stores[0]).fit(X, Y)
    names = {"LAB//crp": "LAB//1", "LAB//na": "LAB//2"}
    other = changed(tmp_path, code=NEW_EVENTS["code"].replace(names))
    wanted = (
        r"none of the 2 codes that EventWindows of .*'LAB//crp', .* such as 'LAB//1'"
    )
    with pytest.warns(DataWarning, match=wanted):
        with_events(model, other)


def test_codes_of_another_spelling_are_warned_of_in_every_modality(stores, tmp_path):
    model = fusion(stores[0]).fit(X, Y)
    other = changed(tmp_path, code=NEW_EVENTS["code"].str.lower())
    with (
        pytest.warns(DataWarning, match=r"2 codes that EventWindows of 'labs'"),
        pytest.warns(DataWarning, match=r"1 codes that EventWindows of 'vitals'"),
    ):
        with_events(model, other)


def test_a_subject_without_laboratory_tests_is_no_other_vocabulary(stores, tmp_path):
    model = fusion(stores[0]).fit(X, Y)
    few = NEW_EVENTS[NEW_EVENTS["code"] == "VITAL//hr"].head(1)
    with_events(model, EventStore.from_frame(few, tmp_path / "few"))  # no warning


@pytest.mark.parametrize("name", ["early", "joint", "search", "union"])
def test_other_units_than_in_training_are_warned_of(tmp_path, name):
    def in_units(events, folder, crp, na="mmol/L"):
        unit = events["code"].map({"LAB//crp": crp, "LAB//na": na})
        return EventStore.from_frame(events.assign(unit=unit), tmp_path / folder)

    model = MODELS[name](in_units(EVENTS, "old", "mg/L")).fit(X, Y)
    wanted = r"values of 1 of 2 codes .*'LAB//crp' \(mg/l, now mg/dl\)"
    with pytest.warns(DataWarning, match=wanted):
        with_events(model, in_units(NEW_EVENTS, "other", "mg/dL"))
    # Another spelling, or no unit, is no other unit.
    with_events(model, in_units(NEW_EVENTS, "same", "MG/L"))
    with_events(model, in_units(NEW_EVENTS, "none", None, None))


def test_units_are_compared_without_the_store_of_the_training(tmp_path):
    units = dict.fromkeys(["LAB//crp", "LAB//na", "VITAL//hr"], "g")
    path = tmp_path / "old"
    old = EventStore.from_frame(EVENTS.assign(unit=EVENTS["code"].map(units)), path)
    stored = pickle.dumps(EventGrid(old, horizon="24h", step="6h").fit(X))
    shutil.rmtree(path)
    new = changed(tmp_path, unit="kg")
    with pytest.warns(DataWarning, match=r"values of 3 of 3 codes .*\(g, now kg\)"):
        with_events(pickle.loads(stored), new)
