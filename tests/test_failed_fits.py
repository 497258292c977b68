"""A fit that fails or is interrupted leaves the estimator as it was."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.validation import check_is_fitted

import skfusion
from skfusion import (
    EarlyFusionClassifier,
    EventStore,
    JointFusionClassifier,
    LateFusionClassifier,
    TextEmbedder,
)
from skfusion._fitting.modality_warnings import warn_of_modality
from skfusion._fitting.passthrough import Passthrough
from skfusion.fusion.survival import XGBoostSurvival

PACKAGE = Path(skfusion.__file__).parent
MECHANISM = str(PACKAGE / "_fitting" / "state.py")
FACES = (
    *("skfusion.ehr", "skfusion.feature_selection", "skfusion.fusion"),
    *("skfusion.image", "skfusion.inspection", "skfusion.survival"),
    "skfusion.text",
)
N_ROWS = 40
NAMES = list("abcd")
TWO = [("x", StandardScaler(), ["a", "b"]), ("z", StandardScaler(), ["c", "d"])]


def public_estimators() -> dict[str, type]:
    faces = map(import_module, FACES)
    public = [getattr(face, name) for face in faces for name in face.__all__]
    return {
        part.__name__: part
        for part in public
        if inspect.isclass(part)
        and issubclass(part, BaseEstimator)
        and hasattr(part, "fit")
    }


ESTIMATORS = public_estimators() | {"Passthrough": Passthrough}


class Stopped(BaseException):
    """Like KeyboardInterrupt: no `except Exception` of the package stops it."""


class Stopper:
    """Raise `Stopped` at the n-th line of the package, or count its lines.

    With a `part`, only the lines of the files whose path ends with it count.
    """

    def __init__(self, at: int | None = None, part: str = "") -> None:
        self.at = at
        self.part = part
        self.n_lines = 0

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.enter)
        return self

    def __exit__(self, *error) -> None:
        sys.settrace(self.before)

    def enter(self, frame, event, arg):
        file = frame.f_code.co_filename
        counts = file.startswith(str(PACKAGE)) and file.endswith(self.part)
        return self.line if counts and file != MECHANISM else None

    def line(self, frame, event, arg):
        if event == "line":
            self.n_lines += 1
            if self.n_lines == self.at:
                sys.settrace(self.before)
                raise Stopped
        return self.line


def events() -> EventStore:
    rng = np.random.default_rng(0)
    n_events = 20 * N_ROWS
    return EventStore.from_frame(
        pd.DataFrame(
            {
                "subject_id": rng.integers(0, N_ROWS, n_events),
                "time": pd.Timestamp("2024-01-01")
                + pd.to_timedelta(rng.integers(0, 200, n_events), "h"),
                "code": rng.choice(["LAB//a", "LAB//b", "VITAL//c"], n_events),
                "numeric_value": rng.normal(size=n_events),
            }
        )
    )


def table(seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(seed, 1 + seed, (N_ROWS, 4))
    return pd.DataFrame(values, columns=NAMES)


def cases(seed: int) -> pd.DataFrame:
    hours = 150 + np.random.default_rng(seed).integers(0, 20 + 10 * seed, N_ROWS)
    return pd.DataFrame(
        {
            "subject_id": range(N_ROWS),
            "index_time": pd.Timestamp("2024-01-01") + pd.to_timedelta(hours, "h"),
        }
    )


def images(seed: int) -> pd.Series:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 32, 32), np.uint8)
    return pd.Series(list(pixels), name=f"scan{seed}")


def codes(seed: int) -> pd.DataFrame:
    return pd.DataFrame({f"codes{seed}": [["I50.9"], ["E11.9", "N18.3"], []]})


def outcome(name: str, seed: int) -> np.ndarray:
    labels = (np.arange(N_ROWS) + seed) % 2
    if name.endswith(("Survival", "CoxRidge")):
        y = np.empty(N_ROWS, dtype=[("event", bool), ("time", float)])
        y["event"], y["time"] = labels, 1 + np.random.default_rng(seed).random(N_ROWS)
        return y
    if name.endswith("Regressor"):
        return labels + np.random.default_rng(seed).random(N_ROWS)
    return labels


def prepared(name: str, kind: type) -> BaseEstimator:
    """Return an estimator that is quick to fit, with several parts where possible."""
    parameters = {
        "EventWindows": lambda: {"events": events(), "min_subjects": 1},
        "EventGrid": lambda: {"events": events(), "horizon": "72h", "step": "24h"},
        "Demographics": lambda: {"events": births()},
        "EventNotes": lambda: {"events": letters()},
        "ImageEmbedder": lambda: {"input_size": 32, "store": None},
        "TextEmbedder": lambda: {"encoder": lengths, "store": None},
        "GeneticSelector": lambda: {"population_size": 4, "n_generations": 1, "cv": 2},
        "ModelFeatures": lambda: {"estimator": LogisticRegression(), "cv": 2},
        "XGBoostSurvival": lambda: {"n_estimators": 3},
    }
    found = parameters.get(name, dict)()
    if "Fusion" in name:
        found = {"modalities": TWO, "random_state": 0}
        if name.startswith("Joint"):
            found |= {"max_epochs": 2, "lr": 0.01}
        elif name.endswith("Survival"):
            found |= {"estimator": XGBoostSurvival(n_estimators=3), "cv": 2}
        elif name.endswith("Regressor"):
            found |= {"estimator": Ridge()}
        else:
            found |= {"estimator": LogisticRegression()}
        if name.startswith("Late"):
            found |= {"aggregation": "stacking", "cv": 2}
    return kind(**found)


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([[len(text), text.count("a")] for text in texts])


def letters() -> EventStore:
    notes = {"code": "NOTE//letter", "text_value": "a letter"}
    people = pd.DataFrame({"subject_id": range(N_ROWS), **notes})
    return EventStore.from_frame(people.assign(time=pd.Timestamp("2024-01-02 09:00")))


def births() -> EventStore:
    people = pd.DataFrame(
        {
            "subject_id": range(N_ROWS),
            "time": pd.Timestamp("1960-01-01")
            + pd.to_timedelta(np.arange(N_ROWS) * 200, "D"),
            "code": "MEDS_BIRTH",
        }
    )
    return EventStore.from_frame(people)


def arguments(name: str, seed: int) -> tuple:
    if name in ("EventWindows", "EventGrid", "EventNotes", "Demographics"):
        return (cases(seed),)
    if name in ("ImageEmbedder", "RadiomicsEncoder"):
        return (images(seed),)
    if name == "TextEmbedder":
        return (pd.Series(["a note", None, "another"], name=f"note{seed}"),)
    if name == "ComorbidityEncoder":
        return (codes(seed),)
    return table(seed), outcome(name, seed)


def answer(model: BaseEstimator, X) -> np.ndarray:
    for method in ("predict_proba", "predict", "transform"):
        if hasattr(model, method):
            return np.asarray(getattr(model, method)(X))
    raise AssertionError(f"{model} neither predicts nor transforms")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.long
def test_a_fit_that_is_interrupted_changes_nothing(name):
    model = prepared(name, ESTIMATORS[name])
    X, *_ = arguments(name, 0)
    other = clone(model).fit(*arguments(name, 1))  # fills the caches
    with Stopper() as count:
        other.fit(*arguments(name, 1))
    model.fit(*arguments(name, 0))
    state, before = dict(vars(model)), answer(model, X)
    new = clone(model)
    unfitted = dict(vars(new))
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        line = 1 + int(share * (count.n_lines - 1))
        for estimator, expected in ((model, state), (new, unfitted)):
            with pytest.raises(Stopped), Stopper(at=line):
                estimator.fit(*arguments(name, 1))
            assert vars(estimator).keys() == expected.keys()
            changed = [k for k in expected if vars(estimator)[k] is not expected[k]]
            assert changed == []
    np.testing.assert_array_equal(answer(model, X), before)
    with pytest.raises(NotFittedError):
        check_is_fitted(new)


def counted(texts: list[str]) -> np.ndarray:
    return np.array([[len(text)] for text in texts])


def of_letters() -> EarlyFusionClassifier:
    embedder = TextEmbedder(counted, store=None)
    modalities = [("text", embedder, ["note"]), ("table", StandardScaler(), ["a"])]
    return EarlyFusionClassifier(modalities, estimator=LogisticRegression())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        of_letters(),
        *(
            prepared(name, ESTIMATORS[name])
            for name in ("LateFusionClassifier", "JointFusionClassifier")
        ),
    ],
    ids=["early", "late", "joint"],
)
@pytest.mark.long
def test_warnings_after_an_interrupt_name_no_modality(model, nested):
    part = str(Path("_fitting") / "modality_warnings.py")
    X = table(0).assign(note=["a note", "another"] * (N_ROWS // 2))
    y = outcome("", 0)
    if nested:
        model = Pipeline([("scale", FunctionTransformer()), ("fusion", model)])
    with Stopper(part=part) as count:
        clone(model).fit(X, y)
    assert count.n_lines > 20
    for line in range(1, 1 + count.n_lines):
        with pytest.raises(Stopped), Stopper(at=line, part=part):
            clone(model).fit(X, y)
        with pytest.warns(UserWarning, match="the message") as caught:
            warn_of_modality("kind", "the message", UserWarning)
        assert [str(warning.message) for warning in caught] == ["the message"]


def test_fit_transform_out_of_fold_is_undone_too():
    model = prepared("ModelFeatures", ESTIMATORS["ModelFeatures"])
    model.fit_transform(*arguments("ModelFeatures", 0))
    state = dict(vars(model))
    with Stopper() as count:
        clone(model).fit_transform(*arguments("ModelFeatures", 1))
    for line in (count.n_lines // 2, count.n_lines * 4 // 5):
        with pytest.raises(Stopped), Stopper(at=line):
            model.fit_transform(*arguments("ModelFeatures", 1))
        assert {k: vars(model)[k] is v for k, v in state.items()} == dict.fromkeys(
            state, True
        )


class Picky(LogisticRegression):
    """Refuses a target with few negatives."""

    def fit(self, X, y, sample_weight=None):
        if np.mean(y) > 0.9:
            raise RuntimeError("too few controls")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("kind", [EarlyFusionClassifier, LateFusionClassifier])
def test_a_refit_that_the_learner_refuses(kind):
    X = table(0)
    model = kind(TWO, estimator=Picky()).fit(X, np.arange(N_ROWS) % 2)
    before = model.predict_proba(X)
    with pytest.raises(RuntimeError, match="too few controls"):
        model.fit(9 * X + 50, np.r_[0, 0, np.ones(N_ROWS - 2, int)])
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize(
    "kind", [EarlyFusionClassifier, LateFusionClassifier, JointFusionClassifier]
)
def test_refits_that_are_refused_for_their_arguments(kind):
    X, y = table(0), np.arange(N_ROWS) % 2
    quick = {"max_epochs": 1} if kind is JointFusionClassifier else {}
    if kind is EarlyFusionClassifier:
        quick = {"estimator": LogisticRegression()}
    model = kind(TWO, random_state=0, **quick).fit(X, y)
    before = model.predict_proba(X)
    gap = np.where(np.arange(N_ROWS) == 3, np.nan, y)
    for refused, target, given, words in (
        (X, y, {"sample_weight": -np.ones(N_ROWS)}, "Negative values"),
        (X, gap, {}, "contains NaN"),
        (X, np.ones(N_ROWS), {}, "one class only"),
        (X, y, {"groups": [1, 2]}, "groups has 2 entries"),
        (X[["d", "c"]].to_numpy(), y, {}, "needs column 'a'"),
    ):
        with pytest.raises(ValueError, match=words):
            model.fit(refused, target, **given)
        np.testing.assert_array_equal(model.predict_proba(X), before)
