"""What modalities add to a score: known truths, the bootstrap, sage-importance."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from known_models import Formula, LogitFormula, noise_image_cohort, play
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, r2_score, roc_auc_score
from sklearn.naive_bayes import GaussianNB

from skfusion import ModalityImportance
from skfusion.evaluation.statistics.auroc import auroc_interval, estimate_aurocs
from skfusion.inspection.modalities.coalitions import coalition_table
from skfusion.inspection.modalities.performance import auroc_scores
from skfusion.inspection.modalities.scoring import Scoring, ask_for, make_scoring
from skfusion.inspection.shapley import exact_plan

TWO = {"a": [0], "b": [1]}


def outcome(X, weights, seed=0):
    p = 1 / (1 + np.exp(-(X @ weights)))
    return (np.random.default_rng(seed).random(len(X)) < p).astype(int)


@pytest.fixture(scope="module")
def logit():
    """Cases, outcomes, and the importance of a model with the true log-odds."""
    X = np.random.default_rng(0).normal(size=(700, 2))
    weights = np.array([1.5, 0.7])
    y = outcome(X, weights)
    return (
        X[100:],
        y[100:],
        play(lambda x: x @ weights, TWO, X[:100], kind=LogitFormula),
    )


def test_adds_up_to_the_auroc_above_chance(logit):
    X, y, importance = logit
    found = importance.score(X, y)
    auroc = roc_auc_score(y, X @ [1.5, 0.7])
    assert found.coalition_scores["a + b"] == pytest.approx(auroc, abs=1e-12)
    assert found.coalition_scores["none"] == 0.5
    # an additive model without the other modality orders cases by this one alone
    assert found.coalition_scores["a"] == pytest.approx(roc_auc_score(y, X[:, 0]))
    assert found.estimate.sum() == pytest.approx(auroc - 0.5, abs=1e-12)
    assert found.estimate[0] > found.estimate[1] > 0
    np.testing.assert_allclose(
        found.drop_one,
        [auroc - roc_auc_score(y, X[:, 1]), auroc - found.coalition_scores["a"]],
    )
    frame = found.to_frame()
    limits = ["low_this_model", "high_this_model"]
    assert list(frame.columns) == ["estimate", *limits, "n_present"]
    assert (frame["n_present"] == len(y)).all()
    assert list(frame.index) == ["a", "b"]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.slow
def test_sets_have_their_own_auroc_and_interval(logit, grouped):
    X, y, importance = logit
    patients = np.repeat(np.arange(len(y) // 2 + 1), 2)[: len(y)] if grouped else None
    found = importance.score(X, y, groups=patients)
    table = found.subsets()
    whole = importance.estimator.predict_proba(X)[:, 1]
    expected = auroc_interval(y, whole, groups=patients)
    row = table.iloc[-1]
    assert row["score"] == pytest.approx(expected.estimate)
    assert row["low_this_model"] == pytest.approx(expected.low)
    assert row["high_this_model"] == pytest.approx(expected.high)
    assert table.loc["none", "score"] == 0.5
    inside = table.drop("none")
    assert (inside["low_this_model"] < inside["score"]).all()
    assert (inside["score"] < inside["high_this_model"]).all()
    losses = importance.score(X, y, groups=patients, scoring="log_loss")
    table = losses.subsets()
    assert (table["score"] < 0).all()
    assert table["score"].idxmax() == found.coalition_scores.index[-1]


@pytest.mark.parametrize("scoring", ["accuracy", "brier", "log_loss"])
def test_sets_of_perfect_predictions_have_an_interval(scoring):
    X = np.random.default_rng(0).normal(size=(60, 2)).round(1) + 0.05
    X[:, 1] = X[:, 0]
    y = (X[:, 0] > 0).astype(int)
    importance = play(lambda x: 300 * np.sign(x[:, 0]), TWO, X[:20], kind=LogitFormula)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = importance.score(X[20:], y[20:], scoring=scoring, n_resamples=50)
    table = found.subsets()
    best = 1.0 if scoring == "accuracy" else 0.0
    assert table["score"].iloc[-1] == pytest.approx(best, abs=1e-9)
    assert (table["high_this_model"] <= best).all()
    assert (table["high_this_model"] - table["low_this_model"] > 0.005).all()
    if scoring == "accuracy":
        assert (table["low_this_model"] >= 0).all()


@pytest.mark.long
def test_interval_is_that_of_the_bootstrap(logit):
    X, y, importance = logit
    analytic = importance.score(X, y)
    cases, plan = importance._prepare(X)
    scored = make_scoring(cases.model, y, None)
    table = coalition_table(cases, plan, ask_for(cases.model, scored))
    rng = np.random.default_rng(0)
    draws = []
    for rows in rng.integers(0, len(y), (300, len(y))):
        values = [0.5, *(roc_auc_score(y[rows], part[rows, -1]) for part in table[1:])]
        draws.append(plan.shapley(np.array(values)))
    ratio = analytic.standard_errors / np.std(draws, axis=0)
    assert (ratio > 0.9).all()  # 300 draws give their error to 4 %
    assert (ratio < 1.1).all()
    np.testing.assert_allclose(
        analytic.high - analytic.estimate, 1.96 * analytic.standard_errors, rtol=1e-4
    )


def test_patients_with_many_cases_widen_the_interval(logit):
    X, y, importance = logit
    few = np.repeat(np.arange(60), 5)
    X, y = np.repeat(X[:60], 5, axis=0), np.repeat(y[:60], 5)
    rows, patients = (importance.score(X, y, groups=g) for g in (None, few))
    ratio = patients.standard_errors / rows.standard_errors
    np.testing.assert_allclose(ratio, 5**0.5, rtol=0.05)
    assert (rows.method, patients.method) == ("DeLong", "Obuchowski, by patient")
    frame = pd.DataFrame({0: X[:, 0], 1: X[:, 1]})
    named = importance.score(frame, y, groups=few.tolist())
    np.testing.assert_array_equal(named.low, patients.low)
    # a column of ids is none that the model is given
    with_ids = importance.score(frame.assign(patient=few), y, groups="patient")
    np.testing.assert_array_equal(with_ids.low, patients.low)


@pytest.mark.long
def test_log_loss_agrees_with_sage():
    sage = pytest.importorskip("sage", reason="sage-importance is an oracle here")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 5))
    y = outcome(X[:, [0, 3]], np.array([1.5, 1.0]))
    model = GaussianNB().fit(X[:200], y[:200])
    background = X[:60]
    groups = [[0, 1, 2], [3, 4]]
    imputer = sage.GroupedMarginalImputer(model, background, groups)
    estimator = sage.PermutationEstimator(imputer, "cross entropy", random_state=0)
    theirs = estimator(X[200:], y[200:], thresh=0.02, bar=False, verbose=False)
    ours = ModalityImportance(
        model,
        modalities={"a": groups[0], "b": groups[1]},
        background=background,
    ).score(X[200:], y[200:], scoring="log_loss", n_resamples=20)
    z = (ours.estimate - theirs.values) / theirs.std
    assert np.abs(z).max() < 3
    assert theirs.std.max() < 0.05 * ours.estimate.max()
    # contributions to a loss are what it is lowered by
    whole = -log_loss(y[200:], model.predict_proba(X[200:]))
    assert ours.coalition_scores["a + b"] == pytest.approx(whole)
    chance = -log_loss(
        y[200:], np.tile(model.predict_proba(background).mean(axis=0), (300, 1))
    )
    assert ours.estimate.sum() == pytest.approx(whole - chance)


def test_bootstrap_of_another_score(logit):
    X, y, importance = logit
    brier = importance.score(X, y, scoring="brier", n_resamples=200)
    assert (brier.low > 0).all()
    assert (brier.low < brier.estimate).all()
    assert (brier.estimate < brier.high).all()
    again = importance.score(X, y, scoring="brier", n_resamples=200)
    np.testing.assert_array_equal(brier.low, again.low)
    accuracy = importance.score(X, y, scoring="accuracy", n_resamples=50)
    assert accuracy.coalition_scores["a + b"] == pytest.approx(
        np.mean((X @ [1.5, 0.7] > 0) == y)
    )
    own = importance.score(
        X,
        y,
        scoring=lambda model, X, y: roc_auc_score(y, model.predict_proba(X)[:, 1]),
        n_resamples=50,
    )
    assert own.coalition_scores["a + b"] == pytest.approx(
        importance.score(X, y).coalition_scores["a + b"]
    )


def test_regression_and_its_chance():
    X = np.random.default_rng(0).normal(size=(300, 2))
    y = 2 * X[:, 0] + np.random.default_rng(1).normal(size=300)
    importance = play(lambda x: 2 * x[:, 0] + 0 * x[:, 1], TWO, X[:100])
    found = importance.score(X[100:], y[100:], n_resamples=100)
    assert found.coalition_scores["a + b"] == pytest.approx(
        r2_score(y[100:], 2 * X[100:, 0])
    )
    assert found.estimate[1] == pytest.approx(0, abs=1e-12)
    chance = r2_score(y[100:], np.full(200, 2 * X[:100, 0].mean()))
    assert found.coalition_scores["none"] == pytest.approx(chance)


def test_censored_times():
    pytest.importorskip("sksurv")
    from sksurv.metrics import concordance_index_censored

    X = np.random.default_rng(0).normal(size=(200, 2))
    time = np.exp(-X[:, 0]) * np.random.default_rng(1).exponential(size=200)
    event = np.random.default_rng(2).random(200) < 0.7
    y = np.array(list(zip(event, time, strict=True)), dtype="?,f8")
    importance = play(lambda x: x[:, 0], TWO, X[:50])
    found = importance.score(X[50:], y[50:], n_resamples=50)
    whole = concordance_index_censored(event[50:], time[50:], X[50:, 0])[0]
    assert found.scoring == "concordance"
    assert found.estimate[0] == pytest.approx(whole - 0.5)
    assert found.estimate[1] == pytest.approx(0, abs=1e-12)
    assert found.low[0] > 0.05


def test_several_classes():
    rng = np.random.default_rng(0)
    labels = np.array(["x", "y", "z"])[rng.integers(0, 3, 400)]
    X = rng.normal(size=(400, 4))
    X[:, 0] += (labels == "x") * 2.0
    X[:, 1] += (labels == "y") * 2.0
    model = LogisticRegression().fit(X[:200], labels[:200])
    found = ModalityImportance(
        model, modalities={"signal": [0, 1], "noise": [2, 3]}, background=X[:200]
    ).score(X[200:], labels[200:])
    whole = roc_auc_score(labels[200:], model.predict_proba(X[200:]), multi_class="ovr")
    assert found.coalition_scores["signal + noise"] == pytest.approx(whole, abs=1e-12)
    assert found.low[0] > 0.2
    assert found.low[1] < 0.02
    assert abs(found.estimate[1]) < 0.05


def test_sampled_orders_widen_intervals():
    X = np.random.default_rng(0).normal(size=(300, 9))
    weights = np.linspace(0.2, 1.0, 9)
    y = outcome(X, weights)
    columns = {f"m{j}": [j] for j in range(9)}
    found = play(
        lambda x: x @ weights, columns, X[:20], kind=LogitFormula, n_permutations=4
    ).score(X[20:], y[20:])
    whole = roc_auc_score(y[20:], X[20:] @ weights)
    assert found.estimate.sum() == pytest.approx(whole - 0.5, abs=1e-12)
    assert found.interactions == {}
    assert (found.low < found.estimate).all()


# -- noise as an image ------------------------------------------------------------


def models_on_noise(seed):
    xgboost = pytest.importorskip("xgboost")
    X, y, images, records = noise_image_cohort(1600, seed)
    model = xgboost.XGBClassifier(
        n_estimators=100, max_depth=3, learning_rate=0.1, n_jobs=1, random_state=0
    ).fit(X[:800], y[:800])
    importance = ModalityImportance(
        model,
        modalities={"image": images, "ehr": records},
        background=X[:800],
        n_background=50,
    )
    by_column = model.get_booster().predict(
        xgboost.DMatrix(X[800:]), pred_contribs=True
    )
    size = np.abs(by_column[:, :-1]).mean(axis=0)
    return {
        "naive": size[:128].sum() / size.sum(),
        "gain": model.feature_importances_[:128].sum(),
        "reliance": importance.explain(X[800:]),
        "score": importance.score(X[800:], y[800:]),
    }


@pytest.mark.parametrize(
    "seeds",
    [[0, 1], pytest.param(list(range(12)), marks=pytest.mark.slow)],
    ids=["2 draws", "12 draws"],
)
def test_noise_image(seeds):
    found = [models_on_noise(seed) for seed in seeds]
    for one in found:
        assert one["naive"] > 0.35  # what the sum of |SHAP| over columns says
        assert one["gain"] > 0.75  # and the gain of the trees
        assert one["reliance"].share("variance")["share"]["image"] < 0.18
        assert one["reliance"].share()["share"]["image"] < 0.32
        assert abs(one["score"].estimate[0]) < 0.05
        assert 0.22 < one["score"].estimate[1] < 0.38
    covers = [one["score"].low[0] <= 0 <= one["score"].high[0] for one in found]
    assert np.mean(covers) >= 0.75


# -- bad input --------------------------------------------------------------------


def test_bad_outcomes(logit):
    X, y, importance = logit
    with pytest.raises(ValueError, match="one value in all 600 cases"):
        importance.score(X, np.ones(600, int))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        importance.score(X, y[:-1])
    with pytest.raises(ValueError, match=r"1 of 600 cases have a class.*\[0\]"):
        importance.score(X, np.r_[7, y[1:]])
    with pytest.raises(ValueError, match=r"missing in 2 of 600 rows.*\[0, 1\]"):
        importance.score(X, np.r_[np.nan, np.nan, y[2:]])
    with pytest.raises(ValueError, match="all 600 cases belong to one patient"):
        importance.score(X, y, groups=["p"] * 600)
    with pytest.raises(ValueError, match="groups has 3 entries but X has 600"):
        importance.score(X, y, groups=["p", "q", "r"])
    with pytest.raises(ValueError, match="confidence_level"):
        importance.score(X, y, confidence_level=95)
    with pytest.raises(ValueError, match="is neither a scorer of scikit-learn"):
        importance.score(X, y, scoring="auc")


def test_a_class_without_cases():
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.arange(60) % 3
    model = LogisticRegression().fit(X, y)
    importance = ModalityImportance(model, modalities=TWO)
    with pytest.raises(ValueError, match="1 of 3 classes have no case"):
        importance.score(X[y < 2], y[y < 2])


def test_auroc_of_a_regression_is_refused():
    model = Formula(lambda x: x[:, 0]).fit(None, None)
    with pytest.raises(ValueError, match="requires classes, but the target is numeric"):
        ModalityImportance(model, modalities=TWO).score(
            np.random.default_rng(0).normal(size=(20, 2)),
            np.arange(20.0),
            scoring="roc_auc",
        )


@pytest.mark.slow
@pytest.mark.parametrize("n_cases", [20, 60])
@pytest.mark.parametrize("prevalence", [0.2, 0.5])
def test_intervals_cover_near_the_ceiling(n_cases, prevalence):
    rng = np.random.default_rng(0)
    plan = exact_plan(2)

    def scores(n_rows):
        positive = np.arange(n_rows) < round(n_rows * prevalence)
        x = rng.normal(size=(n_rows, 2)) + positive[:, None] * norm.ppf(0.95)
        return positive, np.stack([0 * x[:, 0], *x.T, x.sum(axis=1)])

    positive, table = scores(200_000)
    truth = np.r_[0.5, estimate_aurocs(positive, table[1:]).values]
    drop = truth[3] - truth[2]
    covers = []
    for _ in range(400):
        positive, table = scores(n_cases)
        scoring = Scoring("AUROC", positive.astype(int), True, max, positive)
        found = auroc_scores(scoring, table[..., None], plan, ("a", "b"), None, 0.95)
        covers.append(
            [
                found.low[0] <= plan.shapley(truth)[0] <= found.high[0],
                found.drop_one_low[0] <= drop <= found.drop_one_high[0],
            ]
        )
    assert (np.mean(covers, axis=0) > 0.91).all()
