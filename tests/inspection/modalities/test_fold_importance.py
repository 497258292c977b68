"""Importance over the models of the folds of a comparison."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import (
    EarlyFusionClassifier,
    EarlyFusionRegressor,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    ModalityImportance,
    compare_fusion,
)
from skfusion.exceptions import LeakageWarning
from skfusion.fusion.survival import CoxRidge
from skfusion.image import Preprocessing
from skfusion.inspection import FoldImportance
from skfusion.survival import EarlyFusionSurvival

mpl.use("Agg")
TWO = [("image", StandardScaler(), ["a", "b"]), ("ehr", StandardScaler(), ["c", "d"])]
QUICK = {"n_background": 20}


def early(**options):
    return EarlyFusionClassifier(
        TWO, estimator=LogisticRegression(), absence_copies=0, **options
    )


def cohort(n_cases=120, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_cases, 4)), columns=list("abcd"))
    y = (1.5 * X["a"] + X["c"] + rng.normal(size=n_cases) > 0).astype(int)
    return X, y.to_numpy()


def compared(estimators, X, y, **options):
    options = {"scoring": "roc_auc", "n_repeats": 1, "cv": 3, **options}
    return compare_fusion(estimators, X, y, random_state=0, **options)


@pytest.fixture(scope="module")
def grouped():
    """A comparison of two fusions of patients with 1 to 4 rows."""
    X, y = cohort(150)
    rng = np.random.default_rng(0)
    X["pid"] = np.sort(rng.integers(0, 60, 150))
    fusions = {"early": early(), "late": LateFusionClassifier(TWO)}
    return compared(fusions, X, y, groups="pid", n_repeats=2), X, y


def splits_of(comparison, repeat=0):
    table = comparison.predictions_
    table = table[table["repeat"] == repeat]
    rows = np.arange(table["row"].max() + 1)
    for _, part in table.groupby("fold"):
        test = np.sort(part["row"].to_numpy())
        yield np.setdiff1d(rows, test), test


@pytest.mark.long
def test_scores_are_those_of_the_comparison(grouped):
    comparison, *_ = grouped
    found = comparison.importance(n_repeats=2, **QUICK)
    assert repr(found) == "FoldImportance(early, late, 2 modalities, 6 models)"
    folds = comparison.folds_[comparison.folds_["metric"] == "roc_auc"]
    keys = ["strategy", "repeat", "fold"]
    both = found.scores.merge(folds, on=keys, suffixes=("", "_compared"))
    assert len(both) == 12
    np.testing.assert_allclose(both["score"], both["score_compared"], atol=1e-12)
    sums = found.models.groupby(keys, sort=False)["contribution"].sum().to_numpy()
    np.testing.assert_allclose(sums, found.scores["score"] - 0.5, atol=1e-12)
    # The means have the weights of the comparison.
    scores = comparison.scores_.set_index("strategy")["estimate"]
    means = found.to_frame()["contribution"].groupby("strategy").sum()
    for name in ("early", "late"):
        assert means[name] + 0.5 == pytest.approx(scores[name], abs=1e-12)
    sizes = folds.groupby("fold")["patients_test"].first()
    assert sizes.nunique() > 1  # or the weights would not matter


def test_each_fold_is_explained_by_its_own_model(grouped):
    comparison, X, y = grouped
    found = comparison.importance(strategies="early", **QUICK)
    shares = found.models.set_index(["fold", "modality"])["share"]
    patients = X["pid"].to_numpy()
    for fold, (train, test) in enumerate(splits_of(comparison)):
        assert not set(patients[train]) & set(patients[test])
        model = early(random_state=0).fit(
            X.iloc[train], y[train], groups=patients[train]
        )
        expected = ModalityImportance(model, background=X.iloc[train], **QUICK)
        expected = expected.explain(X.iloc[test], groups="pid").share()["share"]
        np.testing.assert_allclose(shares[fold], expected)
        rows = found.models[found.models["fold"] == fold]
        assert (rows["n_cases"] == len(test)).all()
        assert (rows["n_patients"] == len(set(patients[test]))).all()
    frame = found.to_frame()
    by_modality = shares.unstack("modality")
    for name in ("image", "ehr"):
        row = frame.loc[("early", name)]
        assert row["share_lowest"] == by_modality[name].min()
        assert row["share_highest"] == by_modality[name].max()
        assert row[["n_models", "n_present"]].tolist() == [3, 150]
        assert row["n_patients"] == X["pid"].nunique()
    assert frame["share"].sum() == pytest.approx(1.0)


def test_repetitions_are_counted_once_and_their_number_is_checked(grouped):
    comparison, X, _ = grouped
    frame = comparison.importance(strategies=["late"], n_repeats=2, **QUICK).to_frame()
    assert (frame["n_models"] == 6).all()
    assert (frame["n_present"] == 150).all()
    assert (frame["n_patients"] == X["pid"].nunique()).all()
    with pytest.raises(ValueError, match=r"n_repeats=3, but the comparison has 2"):
        comparison.importance(n_repeats=3)


def test_other_cases_are_explained_by_every_model(grouped):
    comparison, X, y = grouped
    new, outcome = cohort(40, seed=9)
    new["pid"] = np.arange(1000, 1040) // 2 * 2
    found = comparison.importance(new, outcome, strategies="early", **QUICK)
    assert found.cases == "40 cases that were passed"
    frame = found.to_frame()
    assert (frame["n_patients"] == 20).all()
    assert (frame["n_present"] == 40).all()
    assert found.scores["score"].notna().all()
    # Equal weights, because every model explains the same cases.
    by_modality = found.models.groupby("modality")["contribution"].mean()
    assert frame["contribution"]["early", "image"] == pytest.approx(
        by_modality["image"]
    )
    without = comparison.importance(new, strategies="early", **QUICK)
    np.testing.assert_allclose(
        without.to_frame()["share"].to_numpy(), frame["share"].to_numpy()
    )
    assert without.to_frame()["contribution"].isna().all()
    with pytest.raises(ValueError, match="no outcome"):
        without.plot("contribution")
    with pytest.raises(ValueError, match="must have the 2 classes"):
        comparison.importance(new, outcome * 3, **QUICK)
    with pytest.raises(ValueError, match="belong to X, which is None"):
        comparison.importance(y=y)


@pytest.mark.parametrize("with_outcome", [False, True])
def test_rows_and_patients_of_the_comparison_are_noticed(grouped, with_outcome):
    comparison, X, y = grouped
    given = (y[:40],) if with_outcome else ()
    with pytest.warns(LeakageWarning) as caught:
        comparison.importance(X[:40], *given, strategies="early", **QUICK)
    said = " ".join(str(warning.message) for warning in caught)
    assert "40 of 40 external rows are copies" in said
    assert "equal to rows that the model was fitted on" in said  # told once
    assert said.count("fitted on") == 1
    new, outcome = cohort(40, seed=9)
    new["pid"] = X["pid"].to_numpy()[:40]
    given = (outcome,) if with_outcome else ()
    with pytest.warns(LeakageWarning, match="external patients have the id"):
        comparison.importance(new, *given, strategies="early", **QUICK)


@pytest.mark.long
def test_the_declared_class_is_the_positive_one():
    X, y = cohort()
    names = np.where(y == 1, "cancer", "healthy")  # the alphabet would say healthy
    comparison = compared(
        {"early": early()}, X, names, scoring="average_precision", pos_label="cancer"
    )
    found = comparison.importance(**QUICK)
    assert found.output == "log-odds of cancer"
    expected = comparison.folds_.query("strategy == 'early'")["score"]
    np.testing.assert_allclose(found.scores["score"], expected)
    with_auroc = comparison.importance(scoring="roc_auc", **QUICK)
    assert with_auroc.scoring == "AUROC"


@pytest.mark.long
def test_scores_know_the_positive_class():
    X, y = cohort(200)
    names = np.where(y == 1, "cancer", "healthy")
    names[::2] = "healthy"  # prevalences differ, so that the two scores do
    model = early().fit(X[:100], names[:100])
    given = {"scoring": "average_precision", "n_resamples": 20}
    scores = {}
    for label in ("cancer", "healthy"):
        importance = ModalityImportance(
            model, background=X[:100], pos_label=label, **QUICK
        )
        found = importance.score(X[100:], names[100:], **given)
        proba = model.predict_proba(X[100:])[:, int(label == "healthy")]
        expected = average_precision_score(names[100:] == label, proba)
        assert found.coalition_scores.iloc[-1] == pytest.approx(expected)
        refits = importance.refit(X, names, cv=2, scoring="average_precision")
        scores[label] = refits.coalition_scores.iloc[-1]
    assert scores["healthy"] > scores["cancer"] + 0.1
    unclear = ModalityImportance(model, background=X[:100], **QUICK)
    with pytest.raises(ValueError, match="depends on which class is positive"):
        unclear.score(X[100:], names[100:], **given)


@pytest.mark.parametrize("kind", ["classes", "numbers", "times", "labels"])
@pytest.mark.slow
def test_outcomes_of_every_kind(kind):
    X, y = cohort()
    options = {"absence_copies": 0, "random_state": 0}
    score, chance = None, 0.5
    if kind == "classes":
        y = np.array(["a", "b", "c"])[y + (X["c"] > 0.8).to_numpy()]
        model = early()
    elif kind == "numbers":
        y = (2 * X["a"] + X["c"]).to_numpy()
        model, score = EarlyFusionRegressor(TWO, estimator=Ridge(), **options), "r2"
        chance = None
    elif kind == "times":
        rng = np.random.default_rng(0)
        y = np.array(
            list(zip(rng.random(120) < 0.8, rng.random(120) + 1, strict=True)),
            dtype=[("event", bool), ("time", float)],
        )
        model = EarlyFusionSurvival(TWO, estimator=CoxRidge(), **options)
        score = "concordance"
    else:
        y = np.column_stack([y, X["c"] > 0]).astype(int)
        model = EarlyFusionClassifier(TWO, estimator=LogisticRegression(), **options)
    comparison = compared({"early": model}, X, y, scoring=score)
    found = comparison.importance(**QUICK)
    expected = comparison.folds_.query("strategy == 'early'")
    expected = expected[expected["metric"] == comparison.metrics_[0].name]
    np.testing.assert_allclose(found.scores["score"], expected["score"], atol=1e-9)
    if chance is not None:
        np.testing.assert_allclose(found.scores["chance"], chance)
    assert found.to_frame()["share"].sum() == pytest.approx(1.0)


@pytest.mark.parametrize("around", ["pipeline", "calibrated"])
@pytest.mark.long
def test_estimators_around_fusions(around):
    X, y = cohort()
    model = make_pipeline(early())
    if around == "calibrated":
        model = CalibratedClassifierCV(model, cv=2)
    estimators = {"fusion": model, "plain": make_pipeline(LogisticRegression())}
    comparison = compared(estimators, X, y)
    found = comparison.importance(**QUICK)
    assert found.scores["strategy"].unique().tolist() == ["fusion"]
    expected = comparison.folds_.query("strategy == 'fusion'")["score"]
    np.testing.assert_allclose(found.scores["score"], expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"\['plain'\] is not among the fusions"):
        comparison.importance(strategies="plain")


@pytest.mark.long
def test_networks_of_images_are_trained_again_as_they_were():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    images = rng.integers(0, 200, (60, 16, 16)) + 50 * y[:, None, None]
    X = pd.DataFrame({"scan": list(images.astype(np.uint8))})
    X["age"] = rng.normal(size=60) + y
    X.loc[::7, "scan"] = None
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 4, 5, stride=4)
    net.preprocessing = Preprocessing(16, (0.5,) * 3, (0.25,) * 3)
    embedder = ImageEmbedder(net, input_size=16, trainable="all", store=None)
    modalities = [("scan", embedder, "scan"), ("age", StandardScaler(), ["age"])]
    joint = JointFusionClassifier(modalities, max_epochs=2, hidden_dims=(4,))
    comparison = compared({"joint": joint}, X, y, cv=2)
    found = comparison.importance(n_background=5)
    expected = comparison.folds_.query("strategy == 'joint'")["score"]
    np.testing.assert_allclose(found.scores["score"], expected, atol=1e-6)
    assert found.to_frame()["n_present"].tolist() == [51, 60]


@pytest.mark.long
def test_null_shares_are_those_of_the_folds():
    X, y = cohort()
    comparison = compared({"early": early()}, X, y)
    frame = comparison.importance(null_share=True, **QUICK).to_frame()
    assert (frame["null_share"] < frame["share"]).all()
    assert "null_share" not in comparison.importance(**QUICK).to_frame()


@pytest.mark.long
def test_a_test_set_has_one_model_and_small_folds_are_refused():
    X, y = cohort(60)
    comparison = compared({"early": early()}, X, y, test=0.3, cv=None)
    frame = comparison.importance(**QUICK).to_frame()
    assert (frame["n_models"] == 1).all()
    assert (frame["share_lowest"] == frame["share_highest"]).all()
    numbers = (X["a"] + X["c"]).to_numpy()
    model = EarlyFusionRegressor(TWO, estimator=Ridge(), absence_copies=0)
    with pytest.raises(ValueError, match="1 of 1 models would explain a single"):
        comparison.importance(X[:1] + 1)
    losses = compared({"early": model}, X, numbers, cv=KFold(2), scoring="mae")
    found = losses.importance(**QUICK)
    assert (found.scores["score"] < 0).all()
    assert (found.to_frame()["contribution"] > 0).all()


def test_a_modality_that_no_case_has_gets_no_number(grouped):
    comparison, *_ = grouped
    new, outcome = cohort(40, seed=9)
    new["pid"] = np.arange(1000, 1040)
    gone = new.assign(a=np.nan, b=np.nan)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = comparison.importance(gone, outcome, strategies="late", **QUICK)
    told = [
        str(w.message) for w in caught if "absent in all 40 cases" in str(w.message)
    ]
    assert len(told) == 1  # of three models
    assert "3 times in 3 fits" in told[0]
    frame = found.to_frame()
    assert frame.loc[("late", "image"), ["share", "contribution"]].isna().all()
    assert frame.loc[("late", "ehr"), ["share", "contribution"]].notna().all()
    assert frame["n_present"].tolist() == [0, 40]
    found.plot()
    pyplot.close("all")
    half = new.assign(a=new["a"].where(new["c"] > 0), b=np.nan)
    frame = comparison.importance(half, strategies="late", **QUICK).to_frame()
    assert frame["n_present"].tolist() == [int((new["c"] > 0).sum()), 40]


def test_parameters_of_the_comparison_are_not_taken(grouped):
    comparison, X, _ = grouped
    with pytest.raises(TypeError, match=r"\['background', 'random_state'\] cannot"):
        comparison.importance(background=X, random_state=1)
    with pytest.raises(ValueError, match="kind must be one of"):
        comparison.importance(kind="mean")
    with pytest.raises(ValueError, match=r"\['nobody'\] is not among"):
        comparison.importance(strategies=["nobody"])


@pytest.mark.long
def test_figures_show_every_model(grouped):
    comparison, *_ = grouped
    found = comparison.importance(**QUICK)
    for kind in ("share", "contribution"):
        axis = found.plot(kind).ax_
        names = [label.get_text() for label in axis.get_yticklabels()]
        assert names == [
            f"{m}\n({s})" for s in ("early", "late") for m in ("image", "ehr")
        ]
        drawn = [part.get_offsets()[:, 0] for part in axis.collections]
        expected = found.models.groupby(["strategy", "modality"], sort=False)[kind]
        for dots, (_, values) in zip(drawn, expected, strict=True):
            np.testing.assert_allclose(dots, values)
        caption = axis.get_title(loc="left").replace("\n", " ")
        assert "range of 3 models (no confidence interval)" in caption
    pyplot.close("all")


@pytest.mark.long
def test_results_can_be_saved_and_parallel_runs_agree(grouped):
    comparison, *_ = grouped
    found = comparison.importance(strategies="early", **QUICK)
    again = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(again.to_frame(), found.to_frame())
    assert isinstance(again, FoldImportance)
    copied = pickle.loads(pickle.dumps(comparison))
    pd.testing.assert_frame_equal(
        copied.importance(strategies="early", **QUICK).models, found.models
    )


@pytest.mark.long
def test_a_comparison_does_not_load_the_inspection():
    code = (
        "import sys; from skfusion.evaluation import FusionComparison, compare_fusion;"
        "FusionComparison.importance;"
        "import skfusion.evaluation.comparison.fold_models;"
        "print([m for m in sys.modules if m.startswith('skfusion.inspection')])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


@pytest.mark.long
def test_models_are_those_that_a_clone_gives():
    """Seeds of the user are kept, and None becomes the seed of the comparison."""
    X, y = cohort()
    model = clone(early(random_state=5))
    comparison = compared({"early": model}, X, y)
    first = comparison.importance(**QUICK).models
    pd.testing.assert_frame_equal(first, comparison.importance(**QUICK).models)
