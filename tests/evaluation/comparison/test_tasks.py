"""Kinds of outcomes: positive class, classes, labels, numbers, times to an event."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import LATE, linear, make_cohort, modalities, scores_of
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier, LateFusionRegressor, compare_fusion
from skfusion.evaluation.comparison.running import seeded
from skfusion.evaluation.statistics.survival_scores import integrated_brier_score
from skfusion.fusion import EarlyFusionSurvival, LateFusionSurvival
from skfusion.fusion.survival import XGBoostSurvival, concordance

ONCE = {"n_repeats": 1, "random_state": 0, "cv": 3}


@pytest.fixture(scope="module")
def cohort():
    X, y = make_cohort(150, per_patient=1)
    return X, np.where(X["age"] > 0.8, y, 0)  # a rare class


def compare(X, y, given=None, **settings):
    given = {"early": linear()} if given is None else given
    return compare_fusion(given, X, y, **{**ONCE, **settings})


def folds_of(result):
    """Each fold with its predictions, in order."""
    for _, part in result.predictions_.groupby(["repeat", "fold"]):
        yield part


# -- the positive class ----------

CODES = [
    ("healthy", "sick", "sick"),  # the later label is positive
    ("normal", "cancer", "cancer"),  # the earlier label is positive
    (2, 1, 1),  # numbers that are not 0 and 1
    (1, 0, 0),  # reversed on purpose
    (True, False, False),
]


@pytest.fixture(scope="module")
def numbered(cohort):
    X, y = cohort
    scoring = ["roc_auc", "average_precision", "brier", "f1", "balanced_accuracy"]
    return scoring, compare(X, y, scoring=scoring)


@pytest.mark.parametrize(("negative", "positive", "pos_label"), CODES)
def test_scores_do_not_depend_on_the_names_of_the_classes(
    cohort, numbered, negative, positive, pos_label
):
    X, y = cohort
    scoring, expected = numbered
    coded = np.where(y == 1, positive, negative)
    result = compare(X, coded, scoring=scoring, pos_label=pos_label)
    pd.testing.assert_frame_equal(result.scores_, expected.scores_)
    pd.testing.assert_frame_equal(result.differences_, expected.differences_)
    # The column of a strategy is the probability of the positive class.
    np.testing.assert_allclose(
        result.predictions_["early"], expected.predictions_["early"]
    )
    assert result.predictions_["y"].tolist() == coded.tolist()
    assert result.cohort_["classes"] == [
        {"label": str(negative), "n": int((y == 0).sum())},
        {"label": str(positive), "n": int((y == 1).sum())},
    ]


def test_scores_of_the_positive_class_by_hand(cohort):
    X, y = cohort
    coded = np.where(y == 1, "cancer", "normal")
    scoring = ["average_precision", "f1", "brier", "log_loss"]
    result = compare(X, coded, scoring=scoring, pos_label="cancer")
    for number, part in enumerate(folds_of(result)):
        truth, p = part["y"] == "cancer", part["early"]
        found = {name: scores_of(result, "early", name)[number] for name in scoring}
        assert found["average_precision"] == pytest.approx(
            average_precision_score(truth, p)
        )
        assert found["f1"] == pytest.approx(f1_score(truth, p > 0.5))
        assert found["brier"] == pytest.approx(((p - truth) ** 2).mean())
        assert found["log_loss"] == pytest.approx(log_loss(truth, p))
    other = compare(X, coded, scoring="average_precision", pos_label="normal")
    for part, score in zip(
        folds_of(other), scores_of(other, "early", "average_precision"), strict=True
    ):
        truth = part["y"] == "normal"
        assert score == pytest.approx(average_precision_score(truth, part["early"]))
    np.testing.assert_allclose(
        other.predictions_["early"], 1 - result.predictions_["early"]
    )


@pytest.mark.parametrize("codes", [("sick", "well"), (1, 2), (-1, 1), (0.5, 1.5)])
@pytest.mark.parametrize("score", [None, "average_precision", "f1", "recall"])
def test_a_score_that_needs_the_positive_class_asks_for_it(cohort, codes, score):
    X, y = cohort
    coded = np.array(codes)[y]
    with pytest.raises(ValueError, match="pos_label") as caught:
        compare(X, coded, scoring=score, task="classification")
    message = str(caught.value)
    assert all(repr(str(code)) in message for code in codes)


@pytest.mark.parametrize("score", ["roc_auc", "brier", "balanced_accuracy", "log_loss"])
def test_other_scores_need_no_positive_class(cohort, score):
    X, y = cohort
    named = compare(X, np.where(y == 1, "a", "b"), scoring=score)
    expected = compare(X, y, scoring=score)
    np.testing.assert_allclose(named.scores_["estimate"], expected.scores_["estimate"])


@pytest.mark.parametrize("kind", [int, bool, float])
def test_one_and_true_are_positive(cohort, kind):
    X, y = cohort
    result = compare(X, y.astype(kind), scoring="average_precision")
    part = next(folds_of(result))
    expected = average_precision_score(part["y"], part["early"])
    assert scores_of(result, "early", "average_precision")[0] == pytest.approx(expected)


@pytest.mark.slow
def test_members_and_searches_have_the_positive_class(cohort):
    # The columns of members, and the score that a search maximises.
    X, y = cohort
    late = {"late": LateFusionClassifier(modalities())}
    coded = np.where(y == 1, "a", "b")
    result = compare(X, coded, late, scoring="average_precision", pos_label="a")
    expected = compare(X, y, late, scoring="average_precision")
    pd.testing.assert_frame_equal(result.scores_, expected.scores_)
    settings = {
        "scoring": "f1",
        "cv": 2,
        "baselines": None,
        "search": {"early": {"estimator__C": [1e-4, 1.0]}},
    }
    found = compare(X, coded, pos_label="a", **settings)
    expected = compare(X, y, **settings)
    pd.testing.assert_frame_equal(found.chosen_, expected.chosen_)
    pd.testing.assert_frame_equal(found.scores_, expected.scores_)


def test_pos_label_of_more_classes_is_refused(cohort):
    X, y = cohort
    three = y + (X["lesion"] > 0).to_numpy()
    with pytest.raises(ValueError, match="pos_label=1 needs an outcome of two classes"):
        compare(X, three, pos_label=1)


# -- more than two classes ----------


@pytest.mark.parametrize(
    "labels", [[0, 1, 2], ["unsure", "benign", "malignant"], [30, 10, 20]]
)
@pytest.mark.parametrize("kind", ["early", "late"])
def test_multiclass(kind, labels):
    X, _ = make_cohort(120, per_patient=1)
    number = np.digitize(X["lesion"] + X["age"], [-0.7, 0.7])
    y = np.asarray(labels)[number]
    given = {
        "early": {"early": linear()},
        "late": {"late": LateFusionClassifier(modalities())},
    }[kind]
    scoring = ["roc_auc", "brier", "balanced_accuracy"]
    result = compare(X, y, given, scoring=scoring)
    names = ["roc_auc_ovr", "brier", "balanced_accuracy"]
    assert [metric.name for metric in result.metrics_] == names
    ordered = sorted(labels)
    for strategy in (kind, f"ehr in {kind}"):
        columns = [f"{strategy}__{label}" for label in ordered]
        for part, *found in zip(
            folds_of(result),
            *(scores_of(result, strategy, name) for name in names),
            strict=True,
        ):
            p = part[columns].to_numpy()
            np.testing.assert_allclose(p.sum(axis=1), 1)
            truth = part["y"].to_numpy()
            auroc = roc_auc_score(truth, p, multi_class="ovr", labels=ordered)
            one_hot = truth[:, None] == np.array(ordered)
            brier = ((p - one_hot) ** 2).sum(axis=1).mean()
            predicted = np.array(ordered)[p.argmax(axis=1)]
            expected = [auroc, brier, balanced_accuracy_score(truth, predicted)]
            np.testing.assert_allclose(found, expected)
    assert result.differences_["p"].isna().all()  # three folds


@pytest.mark.long
def test_multiclass_on_a_test_set(monkeypatch):
    from skfusion.evaluation.comparison import scoring

    monkeypatch.setattr(scoring, "N_RESAMPLES", 100)
    X, _ = make_cohort(120, per_patient=1)
    y = np.digitize(X["lesion"] + X["age"], [-0.7, 0.7])
    result = compare(X, y, scoring="roc_auc", test=0.5, cv=None)
    assert result.differences_["p"].notna().all()
    low, high = result.scores_["low"], result.scores_["high"]
    assert ((low < result.scores_["estimate"]) & (low < high)).all()
    assert "(bootstrap of patients)" in result.verdict_.details


@pytest.mark.long
def test_multilabel_on_a_test_set_is_not_tested_by_delong(monkeypatch):
    from skfusion.evaluation.comparison import scoring

    monkeypatch.setattr(scoring, "N_RESAMPLES", 100)
    X, _ = make_cohort(120, per_patient=1)
    Y = np.column_stack([X["lesion"] > 0, X["age"] > 0.2]).astype(int)
    result = compare(X, Y, scoring="roc_auc", test=0.5, cv=None)
    assert result.differences_["p"].notna().all()
    assert "(bootstrap of patients)" in result.verdict_.details


# -- labels that are not exclusive ----------


@pytest.mark.parametrize("kind", ["early", "late"])
def test_multilabel(kind):
    X, _ = make_cohort(120, per_patient=1)
    rng = np.random.default_rng(0)
    noisy = X[["lesion", "age"]] + 0.5 * rng.normal(size=(120, 2))
    Y = pd.DataFrame({"effusion": noisy["lesion"] > 0.5, "edema": noisy["age"] > 0})
    Y = Y.astype(int).reset_index(drop=True)
    given = {
        "early": {"early": linear()},
        "late": {"late": LateFusionClassifier(modalities())},
    }[kind]
    result = compare(X, Y, given)
    names = ["roc_auc", "average_precision", "brier"]
    assert [metric.name for metric in result.metrics_] == names
    assert result.cohort_["task"] == "multilabel"
    counts = [{"label": c, "n": int(Y[c].sum())} for c in Y]
    assert result.cohort_["labels"] == counts
    table = result.predictions_
    np.testing.assert_array_equal(table[["y__effusion", "y__edema"]], Y)
    for strategy in (kind, f"image in {kind}"):
        columns = [f"{strategy}__{label}" for label in Y]
        for part, *found in zip(
            folds_of(result),
            *(scores_of(result, strategy, name) for name in names),
            strict=True,
        ):
            truth, p = Y.iloc[part["row"]].to_numpy(), part[columns].to_numpy()
            expected = [
                np.mean([roc_auc_score(truth[:, j], p[:, j]) for j in (0, 1)]),
                np.mean(
                    [average_precision_score(truth[:, j], p[:, j]) for j in (0, 1)]
                ),
                ((p - truth) ** 2).mean(),
            ]
            np.testing.assert_allclose(found, expected)
    # Each modality tells one label; both tell both.
    means = result.to_frame()["roc_auc"]["estimate"]
    assert means[kind] > means[[f"image in {kind}", f"ehr in {kind}"]].max()


def test_multilabel_members_are_those_of_late_fusion():
    X, y = make_cohort(80, per_patient=1)
    Y = np.column_stack([y, X["age"] > 0.3]).astype(int)
    late = LateFusionClassifier(modalities())
    table = compare(X, Y, {"late": late}, cv=2).predictions_
    for j in ("0", "1"):
        members = table[[f"image in late__{j}", f"ehr in late__{j}"]]
        np.testing.assert_allclose(table[f"late__{j}"], members.mean(axis=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y: np.column_stack([Y, np.zeros(80, int)]), r"1 of 3 labels .*\[2\]"),
        (lambda Y: Y * 3, "table of labels of 0 and 1"),
        (lambda Y: Y[:5], "y has 5 entries but X has 80"),
        (lambda Y: np.where(np.arange(80)[:, None] == 3, np.nan, Y), "of 0 and 1"),
    ],
)
def test_refused_labels(change, message):
    X, y = make_cohort(80, per_patient=1)
    Y = change(np.column_stack([y, 1 - y]))
    with pytest.raises(ValueError, match=message):
        compare(X, Y)


# -- numbers ----------


def test_regression():
    X, _ = make_cohort(150)
    y = X["lesion"] + X["age"]
    pair = [
        (name, make_pipeline(StandardScaler(), LinearRegression()), columns)
        for name, _, columns in modalities()
    ]
    result = compare_fusion(
        pair, X, y, groups="patient_id", strategies=LATE, n_repeats=2, random_state=0
    )
    assert [metric.name for metric in result.metrics_] == ["r2", "mae"]
    assert result.cohort_["task"] == "regression"
    for strategy in ("late", "ehr in late"):
        for part, r2, mae in zip(
            folds_of(result),
            scores_of(result, strategy, "r2"),
            scores_of(result, strategy, "mae"),
            strict=True,
        ):
            assert r2 == pytest.approx(r2_score(part["y"], part[strategy]))
            assert mae == pytest.approx(mean_absolute_error(part["y"], part[strategy]))
    # The mean of two halves of a sum explains 3/4 of its variance, one of them half.
    estimates = result.to_frame()["r2"]["estimate"]
    assert estimates["late"] == pytest.approx(0.75, abs=0.05)
    assert estimates["image in late"] == pytest.approx(0.5, abs=0.1)
    assert result.verdict_.outcome == "helps"


def test_whole_numbers_of_many_values_are_a_quantity():
    X, _ = make_cohort(100, per_patient=1)
    y = np.round(10 * (X["lesion"] + X["age"])).astype(int)
    given = modalities()
    settings = {"strategies": LATE, "scoring": None}
    assert compare(X, y, given, **settings).cohort_["task"] == "regression"
    few = (y > 0).astype(float)
    found = compare(X, few, given, task="regression", **settings)
    assert found.metrics_[0].name == "r2"


def test_a_loss_leads_a_regression():
    X, _ = make_cohort(100, per_patient=1)
    rng = np.random.default_rng(1)
    y = X["lesion"] + X["age"] + 0.2 * rng.normal(size=100)
    late = LateFusionRegressor(modalities(), estimator=LinearRegression())
    settings = {"scoring": ["mae", "rmse"], "cv": 5, "n_repeats": 2}
    result = compare(X, y, {"late": late}, **settings)
    assert (result.differences_["estimate"] < 0).all()
    assert result.verdict_.outcome == "helps"
    assert "is below each single modality" in result.verdict_.details


# -- times to an event ----------


@pytest.fixture(scope="module")
def times():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(120, 2)), columns=["lesion", "age"])
    hazard = np.exp(X.sum(axis=1))
    death = rng.exponential(1 / hazard)
    end = rng.exponential(2.0, 120)
    y = np.empty(120, dtype=[("event", bool), ("time", float)])
    y["event"], y["time"] = death <= end, np.minimum(death, end)
    return X, y


@pytest.mark.parametrize("kind", ["early", "late"])
@pytest.mark.long
def test_survival(times, kind):
    X, y = times
    model = {"early": EarlyFusionSurvival, "late": LateFusionSurvival}[kind]
    learner = XGBoostSurvival(n_estimators=15)
    given = {kind: model(modalities(), estimator=learner, random_state=0)}
    result = compare(X, y, given, cv=2)
    names = ["concordance", "integrated_brier"]
    assert [metric.name for metric in result.metrics_] == names
    assert result.cohort_["n_events"] == y["event"].sum()
    table = result.predictions_
    np.testing.assert_array_equal(table["event"], y["event"])
    np.testing.assert_array_equal(table["time"], y["time"])
    for strategy in (kind, f"ehr in {kind}"):
        for part, found in zip(
            folds_of(result), scores_of(result, strategy, "concordance"), strict=True
        ):
            expected = concordance(y[part["row"]], part[strategy].to_numpy())
            assert found == pytest.approx(expected)
            assert found > 0.55
    # The integrated Brier score of the fusion, fitted apart on the first fold.
    part = next(folds_of(result))
    test = part["row"].to_numpy()
    train = np.setdiff1d(np.arange(len(X)), test)
    fitted = seeded(given[kind], 0).fit(X.iloc[train], y[train])
    np.testing.assert_allclose(fitted.predict(X.iloc[test]), part[kind], rtol=1e-6)
    events = y["time"][train][y["event"][train]]
    grid = np.linspace(*np.quantile(events, [0.1, 0.9]), 50)
    curves = fitted.predict_survival_function(X.iloc[test], times=grid)
    expected = integrated_brier_score(y[test], np.vstack(list(curves)), grid)
    assert scores_of(result, kind, "integrated_brier")[0] == pytest.approx(expected)
    means = result.to_frame()["integrated_brier"]["estimate"]
    assert means[kind] < 0.25


@pytest.mark.slow
def test_survival_folds_have_events_and_accept_a_table(times):
    X, y = times
    learner = XGBoostSurvival(n_estimators=15)
    given = {"late": LateFusionSurvival(modalities(), estimator=learner)}
    frame = pd.DataFrame({"event": y["event"], "time": y["time"]})
    result = compare(X, frame, given, scoring="concordance", cv=2)
    expected = compare(X, y, given, scoring="concordance", cv=2)
    pd.testing.assert_frame_equal(result.predictions_, expected.predictions_)
    shares = [part["event"].mean() for part in folds_of(result)]
    np.testing.assert_allclose(shares, y["event"].mean(), atol=0.02)


def test_scores_of_another_kind_of_outcome_are_refused(times):
    X, y = times
    given = {"late": LateFusionSurvival(modalities())}
    with pytest.raises(ValueError, match=r"scoring='roc_auc' .*\(survival\)"):
        compare(X, y, given, scoring="roc_auc")
    with pytest.raises(ValueError, match="task='regression', but .* survival"):
        compare(X, y, given, task="regression")
    Y = np.column_stack([y["event"], ~y["event"]]).astype(int)
    with pytest.raises(ValueError, match=r"scoring='f1' .*\(multilabel\)"):
        compare(X, Y, scoring="f1")


def test_classes_that_look_like_numbers_follow_the_estimators():
    X, _ = make_cohort(100, per_patient=1)
    y = np.round(10 * (X["lesion"] + X["age"])).astype(int) % 2
    result = compare(X, y, {"early": linear()}, scoring="roc_auc")
    assert result.cohort_["task"] == "binary"
    plain = make_pipeline(StandardScaler(), LogisticRegression())
    assert compare(X, y, {"plain": plain}).cohort_["task"] == "binary"
