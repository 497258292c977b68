"""The retrain game: redundancy, noise, what is fitted, and on what."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from known_models import noise_image_cohort
from matplotlib import pyplot
from scipy.stats import t
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    JointFusionClassifier,
    LateFusionClassifier,
    ModalityImportance,
)
from skfusion.evaluation import (
    corrected_resampled_interval,
    cross_validated_auroc_interval,
)
from skfusion.fusion.restriction import restricted_to
from skfusion.survival import LateFusionSurvival

mpl.use("Agg")
TWO = {"a": [0, 1], "b": [2, 3]}


def redundant(seed, n_cases=800):
    """Two modalities that are noisy copies of the same thing."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=n_cases)
    X = np.repeat(latent[:, None], 4, axis=1) + 0.1 * rng.normal(size=(n_cases, 4))
    y = (rng.random(n_cases) < 1 / (1 + np.exp(-1.5 * latent))).astype(int)
    return X, y


@pytest.mark.parametrize("seed", range(4))
def test_of_two_that_say_the_same_each_gets_half(seed):
    X, y = redundant(seed)
    model = LogisticRegression().fit(X, y)
    found = ModalityImportance(model, modalities=TWO).refit(X, y)
    assert np.abs(found.drop_one).max() < 0.02  # leave-one-out: both useless
    assert (found.estimate > 0.10).all()
    assert found.interactions["a", "b"] < -0.2
    auroc = found.coalition_scores["a + b"]
    assert found.estimate.sum() == pytest.approx(auroc - 0.5, abs=1e-12)
    assert (found.low > 0.05).all()


def test_scores_are_those_of_cross_validation():
    X, y = redundant(0, 200)
    cv = StratifiedKFold(4)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    found = ModalityImportance(model, modalities=TWO).refit(X, y, cv=cv)
    for columns, name in (([0, 1], "a"), ([2, 3], "b"), ([0, 1, 2, 3], "a + b")):
        expected = cross_val_score(model, X[:, columns], y, cv=cv, scoring="roc_auc")
        assert found.coalition_scores[name] == pytest.approx(expected.mean())
    losses = ModalityImportance(model, modalities=TWO).refit(
        X, y, cv=cv, scoring="log_loss"
    )
    expected = cross_val_score(model, X, y, cv=cv, scoring="neg_log_loss")
    assert losses.coalition_scores["a + b"] == pytest.approx(expected.mean())
    assert losses.coalition_scores["none"] == pytest.approx(-np.log(2), abs=0.02)


def test_interval_is_corrected_for_overlap():
    X, y = redundant(0, 200)
    model = LogisticRegression().fit(X, y)
    found = ModalityImportance(model, modalities={"all": [0, 1, 2, 3]}).refit(X, y)
    # one modality: what it adds is the AUROC above chance; Nadeau and Bengio
    scores = found.coalition_scores["all"] - 0.5
    assert found.estimate[0] == pytest.approx(scores)
    assert "Nadeau" in found.method
    reach = found.high[0] - found.estimate[0]
    assert reach == pytest.approx(t.ppf(0.975, 4) * found.standard_errors[0])


@pytest.mark.parametrize("grouped", [False, True])
def test_errors_and_limits_are_those_of_one_interval(grouped):
    X, y = redundant(0, 200)
    patients = np.repeat(np.arange(100), 2) if grouped else np.arange(200)
    given = {"groups": patients} if grouped else {}
    parts = np.array_split(np.arange(200), [20, 60, 120])  # unequal test sets
    cv = [(np.setdiff1d(np.arange(200), test), test) for test in parts]
    model = LogisticRegression().fit(X, y)
    found = ModalityImportance(model, modalities=TWO).refit(X, y, cv=cv, **given)
    quantile = t.ppf(0.975, len(parts) - 1)
    expected = quantile * found.standard_errors
    np.testing.assert_allclose(found.high - found.estimate, expected)
    np.testing.assert_allclose(found.estimate - found.low, expected)
    # By hand, of the first modality: weights, ratios and variance of patients.
    scores = found.fold_scores
    one = (scores["a"] - 0.5) / 2 + (scores["a + b"] - scores["b"]) / 2
    n_test = np.array([len(np.unique(patients[test])) for test in parts])
    weight = n_test / n_test.sum()
    effective = 1 / (weight**2).sum()
    mean = weight @ one
    spread = weight @ (one - mean) ** 2 * effective / (effective - 1)
    n_all = len(np.unique(patients))
    ratio = weight @ (n_test / (n_all - n_test))
    error = np.sqrt((1 / effective + ratio) * spread)
    assert found.standard_errors[0] == pytest.approx(error)
    unweighted = np.sqrt(1 / 4 + np.mean(n_test / (n_all - n_test))) * one.std(ddof=1)
    assert abs(error / unweighted - 1) > 1e-3


def test_sets_have_the_scores_and_intervals_of_cross_validation():
    X, y = redundant(0, 200)
    cv = StratifiedKFold(4)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    importance = ModalityImportance(model, modalities=TWO)
    found = importance.refit(X, y, cv=cv)
    table = found.subsets()
    assert table["n_modalities"].tolist() == [0, 1, 1, 2]
    limits = ["low_refits", "high_refits"]
    assert list(table) == ["n_modalities", "score", *limits, "n_present"]
    assert table["score"].iloc[1] <= table["score"].iloc[2]
    folds = np.empty(200)
    for number, (_, test) in enumerate(cv.split(X, y)):
        folds[test] = number
    losses = importance.refit(X, y, cv=cv, scoring="log_loss").subsets()
    for columns, name in (([0, 1], "a"), ([2, 3], "b"), ([0, 1, 2, 3], "a + b")):
        scores = cross_val_score(model, X[:, columns], y, cv=cv, scoring="roc_auc")
        row = table.loc[name]
        assert row["score"] == pytest.approx(scores.mean())
        method = {"method": "predict_proba", "cv": cv}
        p = cross_val_predict(model, X[:, columns], y, **method)[:, 1]
        expected = cross_validated_auroc_interval(y, p, folds)
        assert row[limits].tolist() == pytest.approx([expected.low, expected.high])
        scores = cross_val_score(model, X[:, columns], y, cv=cv, scoring="neg_log_loss")
        expected = corrected_resampled_interval(scores, 150, 50)
        other = losses.loc[name, limits].tolist()
        assert other == pytest.approx([expected.low, expected.high])
    assert table.loc["none", ["score", "n_present"]].tolist() == [0.5, 0]
    assert table.loc["none", limits].isna().all()
    assert found.whole_limits == tuple(row[limits])
    caption = found.plot("subsets").ax_.get_title(loc="left")
    assert "placements within the test folds" in caption.replace("\n", " ")
    pyplot.close("all")


def test_intervals_of_sets_are_within_the_range_of_the_score():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    y = X[:, 0] + 0.2 * X[:, 2] + 0.05 * rng.normal(size=40)
    y[:2] += 3  # in one or two of the folds
    model = LinearRegression().fit(X, y)
    table = ModalityImportance(model, modalities=TWO).refit(X, y, cv=4).subsets()
    assert table["high_refits"].max() == 1.0  # R² is bounded above only
    assert table["low_refits"].min() < 0


def test_intervals_of_sets_follow_the_kind_of_the_folds():
    X, y = redundant(0, 120)
    model = LogisticRegression().fit(X, y)
    importance = ModalityImportance(model, modalities=TWO)
    repeated = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    assert importance.refit(X, y, cv=repeated).set_method.startswith("placements")
    # The test sets of random splits overlap, so that they are no folds.
    random = StratifiedShuffleSplit(4, test_size=0.3, random_state=0)
    found = importance.refit(X, y, cv=random)
    assert found.set_method == ""
    scores = cross_val_score(model, X, y, cv=random, scoring="roc_auc")
    expected = corrected_resampled_interval(scores, 84, 36)
    assert found.whole_limits == pytest.approx((expected.low, expected.high))


def test_noise_adds_nothing_whatever_the_model_relies_on():
    X, y, images, records = noise_image_cohort(600, 0, n_image=64)
    model = LogisticRegression(C=0.1, max_iter=500).fit(X, y)
    found = ModalityImportance(
        model, modalities={"image": images, "ehr": records}
    ).refit(X, y)
    assert found.low[0] < 0.01
    assert abs(found.estimate[0]) < 0.04
    assert found.low[1] > 0.1


def test_same_result_in_parallel_and_in_folds_of_patients():
    X, y = redundant(0, 240)
    patients = np.repeat(np.arange(60), 4)
    model = LogisticRegression().fit(X, y)
    scores = [
        ModalityImportance(model, modalities=TWO, n_jobs=n_jobs).refit(
            X, y, groups=patients
        )
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(scores[0].low, scores[1].low)
    mixed = StratifiedKFold(4, shuffle=True, random_state=0)
    with pytest.raises(ValueError, match=r"patient\(s\) are on both sides"):
        ModalityImportance(model, modalities=TWO).refit(
            X, y, groups=patients, cv=list(mixed.split(X, y))
        )
    ModalityImportance(model, modalities=TWO).refit(
        X, y, groups=patients, cv=GroupKFold(3)
    )


def test_regression():
    X = np.random.default_rng(0).normal(size=(200, 4))
    y = X[:, 0] + 0.5 * np.random.default_rng(1).normal(size=200)
    model = LinearRegression().fit(X, y)
    found = ModalityImportance(model, modalities=TWO).refit(X, y)
    assert found.estimate[0] == pytest.approx(0.8, abs=0.07)
    assert abs(found.estimate[1]) < 0.03


# -- fusions ----------------------------------------------------------------------


def fusion_cohort():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(240, 4)), columns=list("abcd"))
    y = np.where(frame["a"] + frame["c"] + rng.normal(size=240) > 0, "yes", "no")
    frame.loc[:20, ["c", "d"]] = np.nan
    frame["patient_id"] = np.repeat(np.arange(120), 2)
    return frame, y


MODALITIES = [
    ("image", StandardScaler(), ["a", "b"]),
    ("ehr", StandardScaler(), ["c", "d"]),
]


@pytest.mark.parametrize(
    "model",
    [
        EarlyFusionClassifier(
            MODALITIES, estimator=LogisticRegression(), groups="patient_id"
        ),
        LateFusionClassifier(
            MODALITIES,
            aggregation="weighted",
            weights={"image": 0.7, "ehr": 0.3},
            calibration={"image": "sigmoid"},
            cv=2,
            groups="patient_id",
        ),
        JointFusionClassifier(
            MODALITIES,
            encoders=["image"],
            max_epochs=15,
            groups="patient_id",
            random_state=0,
        ),
    ],
    ids=["early", "late", "joint"],
)
@pytest.mark.long
def test_fusions_are_fitted_again_on_each_set(model):
    X, y = fusion_cohort()
    model.fit(X, y)
    before = model.predict_proba(X)
    found = ModalityImportance(model).refit(X, y, cv=3, groups="patient_id")
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert found.modalities == ("image", "ehr")
    assert set(found.coalition_scores.index) == {"none", "image", "ehr", "image + ehr"}
    assert (found.estimate > 0.08).all()


@pytest.mark.parametrize(
    "model",
    [
        EarlyFusionClassifier(estimator=LogisticRegression()),
        LateFusionClassifier(aggregation="weighted", weights=[0.5, 0.5]),
        pytest.param(
            JointFusionClassifier(max_epochs=20, random_state=0),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["early", "late", "joint"],
)
def test_fusions_of_two_that_say_the_same(model):
    X, y = redundant(0)
    X = pd.DataFrame(X, columns=list("abcd"))
    model.set_params(modalities=MODALITIES).fit(X, y)
    found = ModalityImportance(model).refit(X, y)
    assert np.abs(found.drop_one).max() < 0.02
    assert (found.estimate > 0.10).all()
    assert found.interactions["image", "ehr"] < -0.2


def test_inferred_modalities_are_fitted_again():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(80, 3)), columns=list("abc"))
    y = (X["a"] > 0).astype(int)
    model = LateFusionClassifier().fit(X, y)
    (triple,) = restricted_to(model, ["ehr"]).modalities
    assert triple[0] == "ehr"
    assert triple[2] == ["a", "b", "c"]
    assert ModalityImportance(model).refit(X, y).estimate[0] > 0.3


def test_pipelines_before_a_fusion_are_passed_through():
    X, y = fusion_cohort()
    X = X.drop(columns="patient_id")
    keep = FunctionTransformer()
    model = make_pipeline(keep, LateFusionClassifier(MODALITIES)).fit(X, y)
    found = ModalityImportance(model).refit(X, y, cv=3)
    direct = ModalityImportance(model[-1]).refit(X, y, cv=3)
    np.testing.assert_array_equal(found.estimate, direct.estimate)


@pytest.mark.long
def test_censored_times():
    pytest.importorskip("sksurv")
    pytest.importorskip("xgboost")
    X, _ = fusion_cohort()
    X = X.drop(columns="patient_id").fillna(0.0)
    time = np.exp(-X["a"].to_numpy()) + 0.01
    y = np.array([(True, t) for t in time], dtype=[("event", bool), ("time", float)])
    y["event"][::5] = False
    model = LateFusionSurvival(MODALITIES, cv=2, random_state=0).fit(X, y)
    found = ModalityImportance(model).refit(X, y, cv=2)
    assert found.scoring == "concordance"
    assert found.coalition_scores["none"] == 0.5
    assert found.estimate[0] > 0.2
    assert found.estimate[1] < 0.05


def test_bad_requests():
    X, y = redundant(0, 60)
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="ModalityImportance: 99 folds need"):
        ModalityImportance(model, modalities=TWO).refit(X, y, cv=99)
    nine = {f"m{j}": [j] for j in range(9)}
    wide = np.random.default_rng(0).normal(size=(60, 9))
    model = LogisticRegression().fit(wide, y)
    with pytest.raises(ValueError, match="costs one fit in every fold"):
        ModalityImportance(model, modalities=nine).refit(wide, y)
