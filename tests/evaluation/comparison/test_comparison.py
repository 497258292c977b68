"""compare_fusion as a user sees it: same folds, right numbers, clear refusals."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion.evaluation import FusionComparison
from skfusion.evaluation.statistics.multiplicity import holm_adjust
from skfusion.evaluation.statistics.resampling import (
    corrected_resampled_interval,
    corrected_resampled_ttest,
)

LATE = ("single", "late")


def make_cohort(n_patients=120, *, per_patient=2, noise=1.0, seed=0):
    """Two columns that each tell half of the outcome."""
    rng = np.random.default_rng(seed)
    n_rows = n_patients * per_patient
    X = pd.DataFrame(
        rng.normal(size=(n_rows, 2)),
        columns=["lesion", "age"],
        index=range(7, 7 + n_rows),
    )
    y = (X.sum(axis=1) + noise * rng.normal(size=n_rows) > 0).astype(int)
    X["patient_id"] = np.repeat(rng.permutation(n_patients), per_patient)
    return X, y.to_numpy()


def modalities(image="image"):
    return [
        (image, StandardScaler(), ["lesion"]),
        ("ehr", StandardScaler(), ["age"]),
    ]


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


@pytest.fixture(scope="module")
def result(cohort):
    X, y = cohort
    return compare_fusion(
        modalities(), X, y, groups="patient_id", strategies=LATE, random_state=0
    )


# -- the numbers ----------


def test_every_row_is_held_out_once_with_its_patient(result, cohort):
    X, y = cohort
    oof = result.oof_
    assert oof["row"].tolist() == list(range(len(X)))
    np.testing.assert_array_equal(oof["y"], y)
    assert oof.groupby(X["patient_id"].to_numpy())["fold"].nunique().max() == 1
    assert sorted(oof["fold"].unique()) == [0, 1, 2, 3, 4]


def test_scores_are_those_of_the_predictions(result):
    functions = {
        "roc_auc": roc_auc_score,
        "average_precision": average_precision_score,
        "brier": brier_score_loss,
    }
    for row in result.folds_.to_dict("records"):
        part = result.oof_[result.oof_["fold"] == row["fold"]]
        by_hand = functions[row["metric"]](part["y"], part[row["strategy"]])
        assert row["score"] == pytest.approx(by_hand, abs=1e-12)
        assert row["n_test"] == len(part)
        assert row["n_train"] == len(result.oof_) - len(part)


def fold_scores(result, strategy, metric):
    folds = result.folds_
    chosen = (folds["strategy"] == strategy) & (folds["metric"] == metric)
    return folds.loc[chosen, "score"].to_numpy()


def test_intervals_use_the_patients_of_the_folds(result, cohort):
    patients = cohort[0]["patient_id"].to_numpy()
    fold = result.oof_["fold"].to_numpy()
    n_test = [len(np.unique(patients[fold == k])) for k in range(5)]
    n_train = [len(np.unique(patients[fold != k])) for k in range(5)]
    assert sum(n_test) == 120
    for row in result.scores_.to_dict("records"):
        values = fold_scores(result, row["strategy"], row["metric"])
        expected = corrected_resampled_interval(values, n_train, n_test)
        assert row["estimate"] == pytest.approx(expected.estimate)
        assert row["low"] == pytest.approx(max(expected.low, 0))
        bound = np.inf if row["metric"] == "brier" else 1
        assert row["high"] == pytest.approx(min(expected.high, bound))


def test_differences_are_against_the_best_single_modality(cohort):
    X, y = cohort
    members = modalities()
    result = compare_fusion(
        {
            "mean": LateFusionClassifier(members),
            "stacking": LateFusionClassifier(members, aggregation="stacking"),
            "lesion": LateFusionClassifier(members[:1]),
            "age": LateFusionClassifier(members[1:]),
        },
        X,
        y,
        groups="patient_id",
        scoring=["roc_auc", "brier"],
        random_state=0,
    )
    assert result.strategies_["single"].tolist() == [False, False, True, True]
    frame = result.to_frame()
    sizes = (96, 24)
    for metric, best in (("roc_auc", "idxmax"), ("brier", "idxmin")):
        singles = frame.loc[["lesion", "age"], (metric, "estimate")]
        reference = getattr(singles, best)()
        rows = result.differences_[result.differences_["metric"] == metric]
        assert rows["strategy"].tolist() == ["mean", "stacking"]
        assert rows["reference"].unique().tolist() == [reference]
        tests = [
            corrected_resampled_ttest(
                fold_scores(result, name, metric),
                fold_scores(result, reference, metric),
                *sizes,
            )
            for name in ("mean", "stacking")
        ]
        # 24 patients in each test part: 120 patients, 5 folds, all alike in size
        assert result.settings_["test_train_ratio"] == pytest.approx(0.25, abs=0.01)
        np.testing.assert_allclose(
            rows["estimate"], [test.difference for test in tests], rtol=1e-9
        )
        np.testing.assert_allclose(rows["p"], [t.pvalue for t in tests], rtol=0.05)
        np.testing.assert_allclose(rows["p_holm"], holm_adjust(rows["p"]))


def test_single_modality_is_the_member_of_late_fusion(result, cohort):
    X, y = cohort
    oof = result.oof_
    test = oof.loc[oof["fold"] == 0, "row"].to_numpy()
    train = np.setdiff1d(np.arange(len(X)), test)
    fused = LateFusionClassifier(modalities(), random_state=0).fit(
        X.iloc[train], y[train], groups=X["patient_id"].to_numpy()[train]
    )
    members = fused.encode_modalities(X.iloc[test])
    for name in ("image", "ehr"):
        np.testing.assert_allclose(oof.loc[test, name], members[name][:, 1], rtol=1e-12)
    mean = (members["image"] + members["ehr"])[:, 1] / 2
    np.testing.assert_allclose(oof.loc[test, "late"], mean, rtol=1e-12)


def test_tables_keep_their_shape(result):
    assert list(result.scores_.columns) == [
        *("strategy", "metric", "estimate", "low", "high", "n_folds")
    ]
    assert result.scores_["n_folds"].unique().tolist() == [5]
    frame = result.to_frame()
    assert frame.index.tolist() == ["image", "ehr", "late"]
    assert frame.columns[:3].tolist() == [
        ("roc_auc", part) for part in ("estimate", "low", "high")
    ]
    assert (frame["roc_auc"]["low"] < frame["roc_auc"]["estimate"]).all()
    text = result.summary()
    assert "240 rows of 120 patients" in text
    assert "Brier score (lower is better)" in text
    assert result.verdict_.text in text


def test_all_four_strategies_by_default(cohort):
    X, y = cohort
    result = compare_fusion(
        modalities(), X, y, groups="patient_id", cv=3, random_state=0
    )
    assert result.strategies_.index.tolist() == [
        *("image", "ehr", "early", "late", "joint")
    ]
    assert result.strategies_.loc["joint", "estimator"] == "JointFusionClassifier"
    estimates = result.to_frame()["roc_auc"]["estimate"]
    singles = estimates[["image", "ehr"]].max()
    assert (estimates[["early", "late", "joint"]] > singles).all()


# -- same seed, same result ----------


def test_result_does_not_depend_on_n_jobs(cohort):
    X, y = cohort
    one, two = (
        compare_fusion(
            modalities(),
            X,
            y,
            groups="patient_id",
            strategies=("single", "early", "late"),
            random_state=0,
            n_jobs=n_jobs,
        )
        for n_jobs in (1, 2)
    )
    pd.testing.assert_frame_equal(one.oof_, two.oof_)
    pd.testing.assert_frame_equal(one.scores_, two.scores_)


def test_seed_is_kept_and_repeats_the_run(cohort):
    X, y = cohort
    kwargs = {"groups": "patient_id", "strategies": LATE, "scoring": "roc_auc"}
    first = compare_fusion(modalities(), X, y, **kwargs)
    seed = first.settings_["seed"]
    again = compare_fusion(modalities(), X, y, random_state=seed, **kwargs)
    pd.testing.assert_frame_equal(first.oof_, again.oof_)
    other = compare_fusion(modalities(), X, y, random_state=seed + 1, **kwargs)
    assert not first.oof_["fold"].equals(other.oof_["fold"])


def test_nothing_that_was_given_is_changed(cohort):
    X, y = cohort
    before, given = X.copy(), modalities()
    compare_fusion(given, X, y, strategies=LATE, groups="patient_id", random_state=0)
    pd.testing.assert_frame_equal(X, before)
    assert not hasattr(given[0][1], "mean_")


def test_result_survives_pickling(result):
    copy = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(copy.scores_, result.scores_)
    assert copy.summary() == result.summary()
    assert isinstance(copy, FusionComparison)
    assert repr(copy).startswith("<FusionComparison of image, ehr, late on 5 folds")


# -- patients ----------


class Recorder(ClassifierMixin, BaseEstimator):
    """Says 0.5 or so, and keeps what it was given."""

    log: list = []

    def fit(self, X, y, groups=None):
        self.classes_ = np.unique(y)
        self.log.append((X.index.to_numpy(), groups))
        return self

    def predict_proba(self, X):
        p = 0.5 + 1e-3 * X["lesion"].to_numpy()
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.predict_proba(X).argmax(axis=1)


def test_groups_reach_the_estimators(cohort):
    X, y = cohort
    X = X.reset_index(drop=True)
    Recorder.log = []
    result = compare_fusion(
        {"recorder": Recorder()}, X, y, groups="patient_id", random_state=0
    )
    numbers = pd.factorize(X["patient_id"])[0]
    assert len(Recorder.log) == 5
    for fold, (rows, groups) in enumerate(Recorder.log):
        np.testing.assert_array_equal(groups, numbers[rows])
        held_out = result.oof_.loc[result.oof_["fold"] == fold, "group"]
        assert not set(groups) & set(held_out)


def test_nested_search_splits_no_patient(cohort):
    X, y = cohort
    inner = []

    class RecordingFolds(GroupKFold):
        def split(self, X, y=None, groups=None):
            for train, test in super().split(X, y, groups):
                inner.append(set(groups[train]) & set(groups[test]))
                yield train, test

    search = GridSearchCV(
        EarlyFusionClassifier(modalities(), estimator=LogisticRegression()),
        {"estimator__C": [0.1, 10.0]},
        cv=RecordingFolds(3),
        scoring="roc_auc",
    )
    result = compare_fusion(
        {"tuned": search}, X, y, groups="patient_id", cv=3, random_state=0
    )
    assert len(inner) == 9
    assert inner == [set()] * 9
    # the modalities inside the search give the baselines
    assert result.strategies_.index.tolist() == ["image", "ehr", "tuned"]
    assert len(result.differences_) == 3


def test_repeated_patients_without_groups_warn_once(cohort):
    X, y = cohort
    with pytest.warns(UserWarning, match="looks like a patient id") as caught:
        compare_fusion(modalities(), X, y, strategies=LATE, random_state=0)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message).startswith("compare_fusion: column 'patient_id'")


def test_memorised_patients_score_no_better_than_chance_on_new_ones():
    # Every patient has a place of his own and a random outcome.
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 4)
    X = pd.DataFrame(rng.normal(size=(100, 4))[patient], columns=list("abcd"))
    X += rng.normal(scale=0.01, size=X.shape)
    y = rng.integers(0, 2, 100)[patient]
    near = make_pipeline(StandardScaler(), KNeighborsClassifier(3))
    pair = [("image", near, ["a", "b"]), ("ehr", near, ["c", "d"])]
    kwargs = {"strategies": LATE, "scoring": "roc_auc", "random_state": 0}
    grouped = compare_fusion(pair, X, y, groups=patient, **kwargs)
    assert ((grouped.scores_["low"] < 0.5) & (grouped.scores_["high"] > 0.5)).all()
    leaking = compare_fusion(pair, X, y, **kwargs)
    assert (leaking.scores_["estimate"] > 0.95).all()


# -- absent modalities ----------


def test_absent_modality_gets_the_prior_and_is_counted(cohort):
    X, y = cohort
    X = X.copy()
    X.iloc[:30, 0] = np.nan
    result = compare_fusion(
        modalities(), X, y, groups="patient_id", strategies=LATE, random_state=0
    )
    absent = result.oof_[result.oof_["row"] < 30]
    for fold, part in absent.groupby("fold"):
        train = (result.oof_["fold"] != fold) & (result.oof_["row"] >= 30)
        prior = result.oof_.loc[train, "y"].mean()
        np.testing.assert_allclose(part["image"], prior)
        np.testing.assert_allclose(part["late"], part["ehr"])
    assert result.notes_ == [
        "image is absent in 30 of 240 rows. For these rows, its single-modality "
        "baseline predicts the class frequencies of the training rows with this "
        "modality."
    ]
    assert result.cohort_["modalities"][0]["n_present"] == 210


def test_rows_without_any_modality_are_warned_of_once(cohort):
    X, y = cohort
    X = X.copy()
    X.iloc[3:6, :2] = np.nan
    with pytest.warns(UserWarning, match="3 of 240 rows have no modality") as caught:
        result = compare_fusion(
            modalities(), X, y, groups="patient_id", strategies=LATE, random_state=0
        )
    assert len(caught) == 1
    assert "[3, 4, 5]" in str(caught[0].message)
    assert any("3 rows have no modality at all" in note for note in result.notes_)


class Complaining(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        warnings.warn(f"{len(X)} rows are not enough", UserWarning, stacklevel=1)
        return super().fit(X, y)


def test_warnings_of_the_fits_are_gathered(cohort):
    X, y = cohort
    pair = [(n, make_pipeline(t, Complaining()), c) for n, t, c in modalities()]
    with pytest.warns(UserWarning, match="rows are not enough") as caught:
        compare_fusion(
            pair, X, y, groups="patient_id", strategies="single", random_state=0
        )
    assert len(caught) == 2
    assert "'image' warned 5 times on 5 folds" in str(caught[0].message)


# -- other tasks, other inputs ----------


def test_regression(cohort):
    X, _ = cohort
    y = X["lesion"] + X["age"]
    pair = [
        (name, make_pipeline(StandardScaler(), LinearRegression()), columns)
        for name, _, columns in modalities()
    ]
    result = compare_fusion(
        pair, X, y, groups="patient_id", strategies=LATE, random_state=0
    )
    assert [metric.name for metric in result.metrics_] == ["r2", "mae"]
    assert result.cohort_["task"] == "regression"
    residual = result.oof_["y"] - result.oof_["image"]
    by_fold = residual.abs().groupby(result.oof_["fold"]).mean()
    np.testing.assert_allclose(fold_scores(result, "image", "mae"), by_fold)
    # the mean of two halves of a sum explains 3/4 of its variance, one of them half
    estimates = result.to_frame()["r2"]["estimate"]
    assert estimates["late"] == pytest.approx(0.75, abs=0.05)
    assert estimates["image"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("labels", [[0, 1, 2], ["benign", "malignant", "unsure"]])
def test_multiclass(cohort, labels):
    X, _ = cohort
    total = X["lesion"] + X["age"]
    y = np.asarray(labels)[np.digitize(total, [-0.7, 0.7])]
    result = compare_fusion(
        modalities(), X, y, groups="patient_id", strategies=LATE, random_state=0
    )
    assert result.metrics_[0].name == "roc_auc_ovr"
    columns = [f"late__{label}" for label in labels]
    np.testing.assert_allclose(result.oof_[columns].sum(axis=1), 1)
    part = result.oof_[result.oof_["fold"] == 0]
    by_hand = roc_auc_score(part["y"], part[columns], multi_class="ovr", labels=labels)
    assert fold_scores(result, "late", "roc_auc_ovr")[0] == pytest.approx(by_hand)


def test_text_labels_and_their_predictions(cohort):
    X, y = cohort
    text = np.where(y == 1, "sick", "healthy")
    kwargs = {"groups": "patient_id", "strategies": LATE, "random_state": 0}
    scoring = ["roc_auc", "balanced_accuracy"]
    named = compare_fusion(modalities(), X, pd.Series(text), scoring=scoring, **kwargs)
    numbered = compare_fusion(modalities(), X, y, scoring=scoring, **kwargs)
    pd.testing.assert_frame_equal(named.scores_, numbered.scores_)
    assert named.cohort_["classes"][1] == {"label": "sick", "n": int(y.sum())}


def test_whole_numbers_of_many_values_are_a_quantity(cohort):
    X, _ = cohort
    y = np.round(10 * (X["lesion"] + X["age"])).astype(int)
    kwargs = {"groups": "patient_id", "strategies": LATE, "random_state": 0}
    assert compare_fusion(modalities(), X, y, **kwargs).cohort_["task"] == "regression"
    few = (y > 0).astype(float)
    kwargs["task"] = "regression"
    assert compare_fusion(modalities(), X, few, **kwargs).metrics_[0].name == "r2"


def test_array_and_integer_columns(cohort):
    X, y = cohort
    pair = [("image", StandardScaler(), [0]), ("ehr", StandardScaler(), [1])]
    kwargs = {"strategies": LATE, "random_state": 0, "groups": X["patient_id"]}
    by_array = compare_fusion(pair, X[["lesion", "age"]].to_numpy(), y, **kwargs)
    by_frame = compare_fusion(modalities(), X, y, **kwargs)
    pd.testing.assert_frame_equal(by_array.scores_, by_frame.scores_)


def test_modality_with_the_name_of_a_strategy(cohort):
    X, y = cohort
    result = compare_fusion(
        modalities("late"), X, y, groups="patient_id", strategies=LATE, random_state=0
    )
    assert result.strategies_.index.tolist() == ["late only", "ehr", "late"]


# -- the verdict ----------


def test_verdict_when_fusion_helps():
    X, y = make_cohort(400, noise=0.2, seed=1)
    result = compare_fusion(
        modalities(), X, y, groups="patient_id", strategies=LATE, random_state=0
    )
    assert result.verdict_.outcome == "helps"
    assert result.verdict_.text.startswith(
        "Fusion helps. By AUROC, late fusion was better than the best single modality, "
    )
    assert "The difference was statistically significant: " in result.verdict_.text


def test_verdict_when_there_is_nothing_to_add():
    X, y = make_cohort(200, seed=2)
    X["age"] = np.random.default_rng(0).normal(size=len(X))
    result = compare_fusion(
        modalities(), X, y, groups="patient_id", strategies=LATE, random_state=0
    )
    assert result.verdict_.outcome in ("unclear", "worse")
    assert not result.verdict_.text.startswith("Fusion helps")


def test_verdict_when_fusion_is_worse():
    X, y = make_cohort(400, noise=0.2, seed=3)
    rng = np.random.default_rng(0)
    X["junk"] = rng.normal(size=len(X))
    strong = ("both", StandardScaler(), ["lesion", "age"])
    weak = ("junk", StandardScaler(), ["junk"])
    vote = LateFusionClassifier([strong, weak], aggregation="vote")
    result = compare_fusion(
        {"vote": vote}, X, y, groups="patient_id", scoring="roc_auc", random_state=0
    )
    assert result.verdict_.outcome == "worse"
    assert (
        "was worse than the best single modality, both alone. The difference was "
        "statistically significant: "
    ) in result.verdict_.text


@pytest.mark.parametrize("strategies", ["single", "late"])
def test_no_verdict_without_both_sides(cohort, strategies):
    X, y = cohort
    result = compare_fusion(
        modalities(), X, y, groups="patient_id", strategies=strategies, random_state=0
    )
    assert result.verdict_.outcome == "untested"
    assert result.differences_.empty
    assert "Not tested whether fusion helps" in result.summary()


# -- refusals ----------


def with_gap(values):
    values = values.astype(float)
    values[[4, 9]] = np.nan
    return values


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a: a.update(y=with_gap(a["y"])), ValueError, r"in 2 of 240 rows.*4, 9"),
        (
            lambda a: a.update(y=a["y"][1:]),
            ValueError,
            "y has 239 entries but X has 240",
        ),
        (lambda a: a.update(y=a["y"] * 0), ValueError, "y contains one class only"),
        (
            lambda a: a.update(groups="mrn"),
            ValueError,
            "groups= names column 'mrn', which",
        ),
        (
            lambda a: a.update(groups=with_gap(a["X"]["patient_id"].to_numpy())),
            ValueError,
            r"patient id \(groups\) is missing in 2 of 240",
        ),
        (lambda a: a.update(groups=np.ones(240)), ValueError, "one single patient"),
        (lambda a: a.update(cv=200), ValueError, "200 folds need at least as many"),
        (lambda a: a.update(strategies=["middle"]), ValueError, "got .'middle'."),
        (lambda a: a.update(strategies=[]), ValueError, "strategies must be some of"),
        (
            lambda a: a.update(scoring="r2d2"),
            ValueError,
            "neither a scorer of scikit-learn",
        ),
        (lambda a: a.update(task="survival"), ValueError, "task must be"),
        (
            lambda a: a.update(given=modalities()[:1]),
            ValueError,
            "1 modality was given",
        ),
        (lambda a: a.update(given=[]), ValueError, "list of modalities is empty"),
        (lambda a: a.update(given={}), ValueError, "dict of estimators is empty"),
        (lambda a: a.update(given={"a": 3}), TypeError, "'a' must be a classifier"),
        (
            lambda a: a.update(given={"a": LinearRegression(), "b": Recorder()}),
            ValueError,
            r"got \['classifier', 'regressor'\]",
        ),
        (lambda a: a.update(X=a["X"]["age"]), TypeError, "X must be a table"),
        (lambda a: a.update(X=a["X"].drop(columns="age")), ValueError, "column 'age'"),
    ],
)
def test_refusals(cohort, change, error, message):
    X, y = cohort
    arguments = {
        "given": modalities(),
        "X": X,
        "y": y,
        "groups": "patient_id",
        "strategies": LATE,
        "random_state": 0,
    }
    change(arguments)
    given = arguments.pop("given")
    with pytest.raises(error, match=message):
        compare_fusion(given, arguments.pop("X"), arguments.pop("y"), **arguments)


def test_predictor_cannot_be_joined_early(cohort):
    X, y = cohort
    pair = [*modalities()[:1], ("ehr", LogisticRegression(), ["age"])]
    with pytest.raises(ValueError, match="'ehr' .* ends in a predictor, which early"):
        compare_fusion(pair, X, y, groups="patient_id", strategies=("single", "early"))


def test_error_of_a_fit_says_where(cohort):
    X, y = cohort
    X = X.copy()
    # the modality is there in 1 fold only, in none of the training rows of that fold
    X.iloc[1:, 0] = np.nan
    X.loc[X["patient_id"] == X["patient_id"].iloc[0], "lesion"] = 1.0
    with pytest.raises(ValueError, match=r"compare_fusion, 'image', fold \d of 5"):
        compare_fusion(modalities(), X, y, groups="patient_id", random_state=0)


def test_classifier_without_probabilities(cohort):
    from sklearn.svm import LinearSVC

    X, y = cohort
    with pytest.raises(TypeError, match="'svm', fold 1 of 5: LinearSVC has no pred"):
        compare_fusion({"svm": LinearSVC()}, X, y, groups="patient_id", random_state=0)


def test_score_that_is_undefined_on_a_fold(cohort):
    X, y = cohort

    def never(estimator, X, y):
        return float("nan")

    with pytest.raises(ValueError, match="never of 'image' is nan on fold 1 of 5"):
        compare_fusion(
            modalities(), X, y, groups="patient_id", strategies=LATE, scoring=never
        )


def test_progress_is_shown_on_demand(cohort, capsys):
    X, y = cohort
    kwargs = {"groups": "patient_id", "strategies": "single", "random_state": 0}
    compare_fusion(modalities(), X, y, **kwargs)
    assert capsys.readouterr() == ("", "")
    compare_fusion(modalities(), X, y, verbose=1, **kwargs)
    out, err = capsys.readouterr()
    assert out == ""
    assert "10/10" in err
    assert "image alone, fold 1 of 5" in err
    assert "finished" in err


@pytest.mark.parametrize(
    ("y", "found"),
    [
        (np.zeros((40, 2), dtype=int), "2 columns"),
        (np.zeros(40, dtype=[("event", bool), ("time", float)]), "events and times"),
    ],
)
def test_outcomes_of_several_columns_are_refused(y, found):
    X = pd.DataFrame({"lesion_mm": np.arange(40.0), "age": np.arange(40.0)})
    modalities = [("image", StandardScaler(), ["lesion_mm"])]
    with pytest.raises(ValueError, match=f"got {found}.*cross_validate"):
        compare_fusion(modalities, X, y, strategies=("single",))
