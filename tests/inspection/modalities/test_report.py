"""What the report says where the truth is known, and what it warns of."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from known_models import noise_image_cohort
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.preprocessing import FunctionTransformer

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    LateFusionClassifier,
    ModalityImportance,
)
from skfusion.exceptions import LeakageWarning
from skfusion.inspection.modalities.report import find_pitfalls
from skfusion.inspection.modalities.results import ModalityScores
from skfusion.survival import LateFusionSurvival

RAW = FunctionTransformer()


@pytest.fixture(scope="module")
def noise():
    """A model that overfits the noise of an image; training and held-out cases."""
    pytest.importorskip("xgboost")
    X, y, images, records = noise_image_cohort(2000, 1, n_image=64)
    modalities = [("image", RAW, images), ("ehr", RAW, records)]
    model = EarlyFusionClassifier(modalities, random_state=0).fit(X[:600], y[:600])
    return model, X, y


@pytest.mark.long
def test_each_sentence_has_its_quantity_and_interval(noise):
    model, X, y = noise
    report = ModalityImportance(model, background=X[:600], n_background=30).report(
        X[600:], y[600:], cv=5, train=(X[:600], y[:600])
    )
    said = report.sentences["image"]
    assert said.startswith("The model relies on image (share 0.")
    assert re.search(r"to the AUROC on new rows cannot be told from 0: -?0\.0", said)
    limits = report.to_frame().loc["image", "performance"]
    assert limits["low_this_model"] < 0 < limits["high_this_model"]
    # that it improves the score is neither said of this model nor of refits
    assert "it improves" not in said
    assert "have a higher" not in said
    record = report.sentences["ehr"]
    assert "Its contribution to the AUROC on new rows is above 0: 0." in record
    assert "it improves the AUROC of this model on new rows by 0." in record
    assert "have a higher AUROC than models fitted without it, by 0." in record
    assert report.pitfalls == []
    frame = report.to_frame()
    assert list(frame.index) == ["image", "ehr"]
    assert set(frame.columns.get_level_values(0)) == {
        "reliance",
        "performance",
        "retrain",
        "drop_one",
        "retrain_drop_one",
        "permutation",
        "cases",
    }
    assert frame.loc["image", ("reliance", "share")] > 0.15
    for measure in ("drop_one", "permutation"):
        part = frame[measure]
        assert list(part) == ["fall", "low_this_model", "high_this_model"]
        assert (part["low_this_model"] < part["fall"]).all()
        assert (part["fall"] < part["high_this_model"]).all()
        assert abs(part.loc["image", "fall"]) < 0.02
        assert part.loc["ehr", "low_this_model"] > 0.1
    assert list(frame["retrain_drop_one"]) == ["fall", "low_refits", "high_refits"]
    assert (frame["cases", "n_present"] == 1400).all()
    assert said in str(report)
    assert "AUROC of all modalities on new rows: 0." in str(report)


def test_games_of_the_report_are_those_asked_alone(noise):
    model, X, y = noise
    importance = ModalityImportance(model, background=X[:600], n_background=10)
    report = importance.report(X[600:900], y[600:900], cv=None, n_repeats=2)
    np.testing.assert_array_equal(
        report.reliance.values, importance.explain(X[600:900]).values
    )
    np.testing.assert_array_equal(
        report.performance.low, importance.score(X[600:900], y[600:900]).low
    )
    assert report.retrain is None


def test_a_contribution_that_is_the_same_in_all_folds_has_no_interval():
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 40)
    X = pd.DataFrame({"a": y + rng.normal(size=80), "constant": 0.0})
    model = EarlyFusionClassifier(
        [("image", RAW, ["constant"]), ("ehr", RAW, ["a"])],
        estimator=LogisticRegression(),
        random_state=0,
    ).fit(X[:50], y[:50])
    report = ModalityImportance(model, background=X[:50]).report(
        X[50:], y[50:], train=(X[:50], y[:50])
    )
    assert (
        "is 0.000 in every fold, which gives no interval" in report.sentences["image"]
    )
    assert "nan" not in report.sentences["image"]
    assert "models fitted without it" in report.sentences["ehr"]


def test_training_rows_are_noticed(noise):
    model, X, y = noise
    importance = ModalityImportance(model, background=X[:600], n_background=20)
    with pytest.warns(LeakageWarning, match="600 of 600 cases are equal to rows"):
        trained = importance.explain(X[:600])
    # this is why: on training rows the noise seems to matter more
    assert (
        trained.share()["share"]["image"]
        > importance.explain(X[600:]).share()["share"]["image"] + 0.05
    )
    with pytest.warns(LeakageWarning, match="600 of 600 cases"):
        report = importance.report(X[:600], y[:600], cv=None)
    assert "Explain held-out cases" in report.pitfalls[0]
    said = "".join(report.sentences.values())
    assert "new" not in said
    assert "improves" not in said
    assert "Withheld alone, the AUROC on training rows is lower by" in said


def test_modalities_that_say_the_same_are_noticed():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=600)
    X = pd.DataFrame({"a": latent, "b": latent}) + 0.2 * rng.normal(size=(600, 2))
    y = (latent + rng.normal(size=600) > 0).astype(int)
    model = LateFusionClassifier(
        [("a", RAW, ["a"]), ("b", RAW, ["b"])], aggregation="product"
    ).fit(X[:300], y[:300])
    report = ModalityImportance(model, background=X[:300]).report(
        X[300:], y[300:], cv=None
    )
    assert any("are correlated (r = 0.9" in pitfall for pitfall in report.pitfalls)
    for name in "ab":
        assert "This is less than half of the 0." in report.sentences[name]


def test_model_that_is_not_above_chance_is_noticed():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 2)), rng.integers(0, 2, 400)
    model = LogisticRegression().fit(X[:100], y[:100])
    report = ModalityImportance(
        model, modalities={"a": [0], "b": [1]}, background=X[:100]
    ).report(X[100:], y[100:], cv=None)
    assert any("not shown to be above chance" in pitfall for pitfall in report.pitfalls)


def test_few_patients_and_probabilities_are_noticed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (2 * X.sum(axis=1) + rng.normal(size=300) > 0).astype(int)
    model = LogisticRegression().fit(X[:200], y[:200])
    report = ModalityImportance(
        model,
        modalities={"a": [0], "b": [1]},
        background=X[:200],
        output="proba",
    ).report(X[200:], y[200:], groups=np.repeat(np.arange(10), 10), cv=None)
    assert any("only 10 patients" in pitfall for pitfall in report.pitfalls)
    assert any("Probabilities were explained" in p for p in report.pitfalls)


def test_a_modality_that_is_hardly_used():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = 5 * X[:, 0] + 0.01 * X[:, 1] + rng.normal(size=400)
    model = LinearRegression().fit(X[:200], y[:200])
    report = ModalityImportance(
        model, modalities={"a": [0], "b": [1]}, background=X[:200]
    ).report(X[200:], y[200:], cv=None, n_resamples=50)
    assert report.sentences["b"].startswith("The model hardly relies on b (share 0.0")
    assert "it improves the R² of this model on these cases" in report.sentences["a"]


def test_one_case_cannot_be_scored_but_several_patients_can(noise):
    model, X, y = noise
    importance = ModalityImportance(model, background=X[:600], n_background=10)
    with pytest.raises(ValueError, match="one value in all 1 cases"):
        importance.report(X[600:601], y[600:601], cv=None)


@pytest.mark.parametrize("position", [0, 1])
def test_an_undefined_interval_of_any_modality_is_a_pitfall(position):
    low = np.array([0.1, 0.1])
    low[position] = np.nan
    estimate = np.array([0.1, 0.1])
    values = pd.Series([0.5, 0.6, 0.6, 0.7])
    scores = ModalityScores(
        *("performance", "AUROC", ("a", "b"), estimate, low, estimate, estimate),
        *("m", 0.95, values, {}, estimate),
    )
    reliance = SimpleNamespace(scale="link", coalition_values=None, modalities="ab")
    scoring = SimpleNamespace(positive=None, is_auroc=False, y=np.arange(99.0))
    found = find_pitfalls(range(99), scoring, reliance, scores, None)
    assert any("1 of 2 intervals are undefined" in pitfall for pitfall in found)


class NeedsRows(FunctionTransformer):
    """A transformer that refuses small training sets."""

    def fit(self, X, y=None):
        if len(X) < 100:
            raise ValueError("got 60 rows, expected 100 rows.")
        return super().fit(X, y)


def test_what_was_computed_is_reported_if_a_fit_of_the_retrain_game_fails():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["a", "b"])
    y = (X["a"] + rng.normal(size=200) > 0).to_numpy().astype(int)
    modalities = [("first", NeedsRows(), ["a"]), ("second", RAW, ["b"])]
    model = EarlyFusionClassifier(modalities, estimator=LogisticRegression())
    importance = ModalityImportance(model.fit(X[:120], y[:120]), background=X[:30])
    train = (X[:120], y[:120])
    with pytest.warns(UserWarning, match="retrain game is left out.*In modality 'fi"):
        report = importance.report(X[120:], y[120:], cv=2, train=train)
    assert report.retrain is None
    assert "because a fit failed: In modality 'first'" in str(report)
    whole = importance.report(X[120:], y[120:], cv=None)
    assert whole.pitfalls == report.pitfalls[:-1]
    pd.testing.assert_frame_equal(whole.to_frame(), report.to_frame())
    with pytest.raises(ValueError, match="In modality 'first'.*got 60 rows"):
        importance.refit(*train, cv=2)
    with pytest.raises(ValueError, match="cv"):  # A parameter, and no fit.
        importance.report(X[120:], y[120:], cv=1, train=train)


@pytest.mark.long
def test_reports_of_numbers_labels_and_censored_times():
    pytest.importorskip("sksurv")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(160, 2)), columns=["a", "b"])
    two = [("a", RAW, ["a"]), ("b", RAW, ["b"])]
    signal = (X["a"] + 0.5 * X["b"]).to_numpy()
    labels = np.column_stack([X["a"] > 0, X["b"] > 0]).astype(int)
    times = np.array(
        [(k % 4 > 0, np.exp(-v)) for k, v in enumerate(signal)],
        dtype=[("event", bool), ("time", float)],
    )
    fusions = [
        (EarlyFusionRegressor(two, estimator=Ridge()), signal),
        (EarlyFusionClassifier(two, estimator=LogisticRegression()), labels),
        (LateFusionSurvival(two, cv=2, random_state=0), times),
    ]
    for model, y in fusions:
        importance = ModalityImportance(model.fit(X[:80], y[:80]), background=X[:80])
        report = importance.report(
            X[80:], y[80:], train=(X[:80], y[:80]), cv=2, n_repeats=2, n_resamples=30
        )
        frame = report.to_frame()
        assert np.isfinite(frame.to_numpy(dtype=float)).all()
        assert (frame["drop_one", "low_this_model"] < frame["drop_one", "fall"]).all()
        low, high = report.performance.whole_limits
        assert low < report.performance.coalition_scores.iloc[-1] < high + 1e-9
        assert "nan" not in str(report).lower()


def test_a_report_of_sampled_sets():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 9)), columns=list("abcdefghi"))
    y = (X.sum(axis=1) > 0).astype(int)
    triples = [(f"m{j}", RAW, [c]) for j, c in enumerate(X)]
    model = EarlyFusionClassifier(
        triples, estimator=LogisticRegression(), absence_copies=0
    ).fit(X[:60], y[:60])
    report = ModalityImportance(
        model, background=X[:60], n_background=5, n_permutations=2
    ).report(X[60:], y[60:], cv=None, n_repeats=2)
    assert "nan" not in "".join(report.sentences.values())
    assert np.isfinite(report.performance.estimate).all()
