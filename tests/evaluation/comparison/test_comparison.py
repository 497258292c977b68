"""compare_fusion as a user sees it: same folds, right numbers, clear refusals."""

from __future__ import annotations

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import LATE, linear, make_cohort, modalities, scores_of
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfusion import LateFusionClassifier, compare_fusion
from skfusion.evaluation import FusionComparison
from skfusion.evaluation.comparison import design
from skfusion.evaluation.comparison.comparison import plan_comparison
from skfusion.evaluation.comparison.verdict import deciding_difference
from skfusion.evaluation.statistics.auroc import cross_validated_auroc_interval
from skfusion.evaluation.statistics.multiplicity import holm_adjust
from skfusion.evaluation.statistics.resampling import (
    corrected_resampled_interval,
    corrected_resampled_ttest,
)

ONCE = {"n_repeats": 1, "scoring": "roc_auc", "random_state": 0}


@pytest.fixture(scope="module")
def cohort():
    return make_cohort()


def compare(X, y, given=None, **settings):
    """Compare by one repetition, which is fast."""
    settings = {"groups": "patient_id", "strategies": LATE, **ONCE, **settings}
    return compare_fusion(modalities() if given is None else given, X, y, **settings)


@pytest.fixture(scope="module")
def result(cohort):
    X, y = cohort
    return compare(X, y, n_repeats=2, scoring=None)


# -- the numbers ----------


def test_every_row_is_held_out_once_in_each_repetition(result, cohort):
    X, y = cohort
    table = result.predictions_
    assert table["repeat"].tolist() == [0] * len(X) + [1] * len(X)
    patients = X["patient_id"].to_numpy()
    for _, part in table.groupby("repeat"):
        assert part["row"].tolist() == list(range(len(X)))
        np.testing.assert_array_equal(part["y"], y)
        np.testing.assert_array_equal(part["group"], pd.factorize(patients)[0])
        assert part.groupby(patients)["fold"].nunique().max() == 1
        assert sorted(part["fold"].unique()) == [0, 1, 2, 3, 4]
    first, second = (table.loc[table["repeat"] == r, "fold"] for r in (0, 1))
    assert first.tolist() != second.tolist()


def test_scores_are_those_of_the_predictions(result):
    functions = {
        "roc_auc": roc_auc_score,
        "average_precision": average_precision_score,
        "brier": brier_score_loss,
    }
    table = result.predictions_
    assert len(result.folds_) == 3 * 3 * 10  # strategies, scores and test sets
    for row in result.folds_.to_dict("records"):
        in_fold = table["fold"] == row["fold"]
        part = table[in_fold & (table["repeat"] == row["repeat"])]
        by_hand = functions[row["metric"]](part["y"], part[row["strategy"]])
        assert row["score"] == pytest.approx(by_hand, abs=1e-12)
        assert row["n_test"] == len(part)
        assert row["n_train"] == 240 - len(part)
        assert row["patients_test"] == part["group"].nunique()
        assert row["patients_train"] == 120 - part["group"].nunique()


def sizes_of(result):
    """Patients of the training and the test set of each fold."""
    folds = result.folds_.drop_duplicates(["repeat", "fold"])
    return folds["patients_train"].to_numpy(), folds["patients_test"].to_numpy()


def test_intervals_use_the_patients_of_the_folds(result):
    train, test = sizes_of(result)
    for row in result.scores_.to_dict("records"):
        values = scores_of(result, row["strategy"], row["metric"])
        assert row["estimate"] == pytest.approx(np.average(values, weights=test))
        assert row["n_repeats"] == 2
        assert row["n_folds"] == 10
        if row["metric"] == "roc_auc":
            continue
        expected = corrected_resampled_interval(values, train, test, weights=test)
        assert row["low"] == pytest.approx(max(expected.low, 0))
        bound = np.inf if row["metric"] == "brier" else 1
        assert row["high"] == pytest.approx(min(expected.high, bound))


def test_intervals_of_the_auroc_are_those_of_the_placements(result, cohort):
    table = result.predictions_
    folds = table["fold"].to_numpy().reshape(2, -1)
    for name in ("image in late", "ehr in late", "late"):
        scores = table[name].to_numpy().reshape(2, -1)
        expected = cross_validated_auroc_interval(
            cohort[1], scores, folds, groups=cohort[0]["patient_id"].to_numpy()
        )
        low, high = result.to_frame().loc[name, "roc_auc"][["low", "high"]]
        assert (low, high) == pytest.approx((expected.low, expected.high))


@pytest.mark.long
def test_differences_are_against_each_single_modality(cohort):
    X, y = cohort
    members = modalities()
    result = compare(
        X,
        y,
        {
            "mean": LateFusionClassifier(members),
            "stacking": LateFusionClassifier(members, aggregation="stacking", cv=2),
            "lesion": LateFusionClassifier(members[:1]),
        },
        strategies=None,
        scoring=["roc_auc", "brier"],
    )
    own = [f"{m} in {f}" for f in ("mean", "stacking") for m in ("image", "ehr")]
    assert result.strategies_.index.tolist() == ["lesion", *own, "mean", "stacking"]
    assert result.strategies_["single"].tolist() == [True] * 5 + [False] * 2
    train, test = sizes_of(result)
    assert len(result.differences_) == 2 * 2 * 5  # fusions, scores and singles
    for row in result.differences_.to_dict("records"):
        a, b = (
            scores_of(result, row[side], row["metric"])
            for side in ("strategy", "reference")
        )
        expected = corrected_resampled_ttest(a, b, train, test, weights=test)
        found = row["estimate"], row["low"], row["high"]
        by_hand = expected.difference, expected.low, expected.high
        assert found == pytest.approx(by_hand, abs=1e-12)
        is_own = row["reference"].endswith(f" in {row['strategy']}")
        assert row["relation"] == ("matched" if is_own else "other")
        if row["metric"] == "roc_auc":
            assert row["p"] == pytest.approx(expected.pvalue, rel=1e-9)
        else:
            assert np.isnan(row["p"])


@pytest.mark.slow
def test_tests_are_those_of_the_differences(cohort):
    X, y = cohort
    fusions = {"weak": linear(C=1e-3), "strong": linear()}
    result = compare(X, y, fusions, strategies=None, n_repeats=2)
    rows = result.differences_.groupby("strategy", sort=False)
    tests = result.tests_.set_index("strategy")
    helps = {}
    for name, part in rows:
        helps[name] = part["p"].max() if (part["estimate"] > 0).all() else 1.0
        assert tests.loc[name, "p_helps"] == pytest.approx(helps[name])
        own = part[part["relation"] == "matched"]
        assert len(own) == 2
        above = (own["estimate"] > 0).all()
        matched = own["p"].max() if above else 1.0
        assert tests.loc[name, "p_matched"] == pytest.approx(matched)
    adjusted = holm_adjust(list(helps.values()))
    np.testing.assert_allclose(tests["p_helps_holm"], adjusted)
    means = result.to_frame()["roc_auc"]["estimate"]
    singles = means[result.strategies_["single"]]
    assert (tests["reference"] == singles.idxmax()).all()


def test_tables_keep_their_shape(result):
    assert list(result.scores_.columns) == [
        *("strategy", "metric", "estimate", "low", "high", "n_repeats", "n_folds")
    ]
    frame = result.to_frame()
    assert frame.index.tolist() == ["image in late", "ehr in late", "late"]
    assert frame.columns[:3].tolist() == [
        ("roc_auc", part) for part in ("estimate", "low", "high")
    ]
    assert (frame["roc_auc"]["low"] < frame["roc_auc"]["estimate"]).all()
    text = result.summary()
    assert "240 rows of 120 patients" in text
    assert "Brier score (lower is better)" in text
    assert result.verdict_.text in text


@pytest.mark.parametrize("p", [(1e-9, 0.4), (np.nan, np.nan)])
def test_the_difference_that_decides_is_printed(result, p):
    differences = result.differences_.copy()
    best = result.tests_["reference"].iloc[0]
    names = sorted(differences["reference"].unique(), key=lambda name: name != best)
    for name, value in zip(names, p, strict=True):
        differences.loc[differences["reference"] == name, "p"] = value
    differences["relation"] = "other"  # no single in the learner of the fusion
    shown = replace(result, differences_=differences).summary()
    table = shown.partition("Differences in")[2].partition("\n\n")[0]
    labels = [result.strategies_.loc[name, "label"] for name in names]
    decided = deciding_difference("late", differences, result.metrics_[0])[0]
    for name, label in zip(names, labels, strict=True):
        is_shown = name in (best, differences.loc[decided, "reference"])
        assert (label in table) == is_shown
    if p[1] == 0.4:
        assert differences.loc[decided, "reference"] == names[1]


def test_all_four_strategies_are_planned_by_default(cohort):
    X, y = cohort
    arms = plan_comparison(modalities(), X, y, groups="patient_id").strategies
    names = ("early", "late", "joint")
    singles = [f"{m} in {f}" for f in names for m in ("image", "ehr")]
    assert [arm.name for arm in arms] == [*singles, *names]
    trained = [arm.name for arm in arms if arm.trains_network]
    assert trained == ["image in joint", "ehr in joint", "joint"]


@pytest.mark.slow
def test_all_four_strategies_by_default(cohort):
    X, y = cohort
    result = compare(X, y, strategies=None, cv=3)
    roles = result.strategies_["role"]
    assert roles.index[roles == "fusion"].tolist() == ["early", "late", "joint"]
    assert result.strategies_.loc["joint", "estimator"] == "JointFusionClassifier"
    estimates = result.to_frame()["roc_auc"]["estimate"]
    for name in ("early", "late", "joint"):
        own = estimates[result.strategies_["fusion"] == name]
        assert own.index.tolist() == [f"image in {name}", f"ehr in {name}"]
        assert (estimates[name] > own).all()


@pytest.mark.long
def test_networks_get_three_repetitions_and_others_more(cohort, monkeypatch):
    from skfusion.evaluation.comparison.strategies import Strategy

    X, y = cohort
    given = {"net": linear(), "plain": linear(C=0.5)}
    # A network in name only, which is fast.
    monkeypatch.setattr(
        Strategy,
        "trains_network",
        property(
            lambda arm: arm.estimator is not None and arm.estimator.estimator.C == 1
        ),
    )
    monkeypatch.setattr(design, "MOST_REPEATS", 4)  # 10
    result = compare(X, y, given, strategies=None, cv=2, n_repeats="auto")
    n_repeats = result.strategies_["n_repeats"]
    assert n_repeats[["net", "image in net"]].tolist() == [3, 3]
    assert n_repeats[["plain", "ehr in plain"]].tolist() == [4, 4]
    assert len(scores_of(result, "net")) == 6
    pair = result.differences_.set_index(["strategy", "reference"])
    # Both have the first three repetitions.
    shared = scores_of(result, "plain")[:6] - scores_of(result, "image in net")
    weights = result.folds_.drop_duplicates(["repeat", "fold"])["patients_test"][:6]
    expected = np.average(shared, weights=weights)
    assert pair.loc[("plain", "image in net"), "estimate"] == pytest.approx(expected)
    assert any("train a network use 3 repetitions" in n for n in result.notes_)


# -- same seed, same result ----------


@pytest.mark.long
def test_result_does_not_depend_on_n_jobs(cohort):
    X, y = cohort
    given = {"early": linear(), "late": LateFusionClassifier(modalities())}
    one, two = (compare(X, y, given, strategies=None, n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one.predictions_, two.predictions_, check_exact=True)
    for table in ("scores_", "differences_", "tests_"):
        first, second = getattr(one, table), getattr(two, table)
        pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert one.verdict_ == two.verdict_


def test_seed_is_kept_and_repeats_the_run(cohort):
    X, y = cohort
    first = compare(X, y, random_state=None)
    seed = first.settings_["seed"]
    again = compare(X, y, random_state=seed)
    pd.testing.assert_frame_equal(first.predictions_, again.predictions_)
    other = compare(X, y, random_state=seed + 1)
    assert not first.predictions_["fold"].equals(other.predictions_["fold"])


def test_fewer_repetitions_are_the_first_of_more(cohort, result):
    X, y = cohort
    once = compare(X, y, scoring=None)
    first = result.predictions_[result.predictions_["repeat"] == 0]
    pd.testing.assert_frame_equal(once.predictions_, first)


def test_nothing_that_was_given_is_changed(cohort):
    X, y = cohort
    before, given = X.copy(), modalities()
    compare(X, y, given)
    pd.testing.assert_frame_equal(X, before)
    assert not hasattr(given[0][1], "mean_")


def test_result_survives_pickling(result):
    copy = pickle.loads(pickle.dumps(result))
    pd.testing.assert_frame_equal(copy.scores_, result.scores_)
    assert copy.summary() == result.summary()
    assert isinstance(copy, FusionComparison)
    assert repr(copy) == (
        f"<FusionComparison of late, 2 x 5 folds by patient: {copy.verdict_.outcome}>"
    )


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
    result = compare(X, y, {"recorder": Recorder()}, strategies=None)
    numbers = pd.factorize(X["patient_id"])[0]
    assert len(Recorder.log) == 5
    table = result.predictions_
    for fold, (rows, groups) in enumerate(Recorder.log):
        np.testing.assert_array_equal(groups, numbers[rows])
        assert not set(groups) & set(table.loc[table["fold"] == fold, "group"])


@pytest.mark.slow
def test_nested_search_splits_no_patient(cohort):
    X, y = cohort
    inner = []

    class RecordingFolds(GroupKFold):
        def split(self, X, y=None, groups=None):
            for train, test in super().split(X, y, groups):
                inner.append(set(groups[train]) & set(groups[test]))
                yield train, test

    search = GridSearchCV(
        linear(), {"estimator__C": [0.1, 10.0]}, cv=RecordingFolds(3), scoring="roc_auc"
    )
    result = compare(X, y, {"tuned": search}, strategies=None, cv=3)
    names = ["image in tuned", "ehr in tuned", "tuned"]
    assert result.strategies_.index.tolist() == names
    assert inner == [set()] * 27  # three arms, three outer and three inner folds
    chosen = result.chosen_
    assert chosen["strategy"].tolist() == sorted(names * 3, key=names.index)
    assert set(chosen["value"]) <= {"0.1", "10.0"}


def test_memorised_patients_score_no_better_than_chance():
    # Every patient has a place of his own and a random outcome.
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 4)
    X = pd.DataFrame(rng.normal(size=(100, 4))[patient], columns=list("abcd"))
    X += rng.normal(scale=0.01, size=X.shape)
    y = rng.integers(0, 2, 100)[patient]
    near = make_pipeline(StandardScaler(), KNeighborsClassifier(3))
    pair = [("image", near, ["a", "b"]), ("ehr", near, ["c", "d"])]
    grouped = compare(X, y, pair, groups=patient)
    assert ((grouped.scores_["low"] < 0.5) & (grouped.scores_["high"] > 0.5)).all()
    leaking = compare(X, y, pair, groups=None)
    assert (leaking.scores_["estimate"] > 0.95).all()


# -- absent modalities ----------


def test_absent_modality_gets_the_prior_and_is_counted(cohort):
    X, y = cohort
    X = X.copy()
    X.iloc[:30, 0] = np.nan
    result = compare(X, y)
    table = result.predictions_
    absent = table[table["row"] < 30]
    for fold, part in absent.groupby("fold"):
        train = (table["fold"] != fold) & (table["row"] >= 30)
        prior = table.loc[train, "y"].mean()
        np.testing.assert_allclose(part["image in late"], prior)
        np.testing.assert_allclose(part["late"], part["ehr in late"])
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
        result = compare(X, y)
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
        result = compare(X, y, pair, strategies="single")
    assert len(caught) == 1
    assert "'image', 'ehr' warned 10 times in 10 fits" in str(caught[0].message)
    (note,) = result.notes_
    assert note.startswith("Warning: 'image', 'ehr' warned 10 times in 10 fits")


# -- other inputs ----------


def test_array_and_integer_columns(cohort):
    X, y = cohort
    pair = [("image", StandardScaler(), [0]), ("ehr", StandardScaler(), [1])]
    array, groups = X[["lesion", "age"]].to_numpy(), X["patient_id"]
    by_array = compare(array, y, pair, groups=groups)
    by_frame = compare(X, y, groups=groups)
    pd.testing.assert_frame_equal(by_array.scores_, by_frame.scores_)


def test_modality_with_the_name_of_a_strategy(cohort):
    X, y = cohort
    given = modalities("late")
    matched = compare(X, y, given).strategies_.index
    assert matched.tolist() == ["late in late", "ehr in late", "late"]
    default = compare(X, y, given, baselines="default").strategies_.index
    assert default.tolist() == ["late alone", "ehr", "late"]


# -- the verdict ----------


def test_verdict_when_fusion_helps():
    X, y = make_cohort(200, noise=0.2, seed=1)
    result = compare(X, y)
    assert result.verdict_.outcome == "helps"
    assert result.verdict_.text.startswith(
        "Fusion helps. By AUROC, late fusion is above each single modality in the same "
        "learner; above the best of them, "
    )


def test_verdict_when_there_is_nothing_to_add():
    X, y = make_cohort(150, seed=2)
    X["age"] = np.random.default_rng(0).normal(size=len(X))
    result = compare(X, y)
    assert result.verdict_.outcome in ("unclear", "worse")
    assert not result.verdict_.text.startswith("Fusion helps")


def test_verdict_when_fusion_is_worse():
    X, y = make_cohort(200, noise=0.2, seed=4)
    X["junk"] = np.random.default_rng(0).normal(size=len(X))
    strong = ("both", StandardScaler(), ["lesion", "age"])
    weak = ("junk", StandardScaler(), ["junk"])
    weights = {"both": 1, "junk": 30}
    late = LateFusionClassifier([strong, weak], aggregation="weighted", weights=weights)
    result = compare(X, y, {"late": late}, strategies=None, n_repeats=3)
    assert result.verdict_.outcome == "worse"
    details = result.verdict_.details
    assert details.startswith("Late is worse than both alone (late): in this learner")
    assert "No statement about what they hold." in details


@pytest.mark.parametrize("strategies", ["single", "late"])
def test_no_verdict_without_both_sides(cohort, strategies):
    X, y = cohort
    result = compare(X, y, strategies=strategies)
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
        (lambda a: a.update(task="ranking"), ValueError, "task must be"),
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
            r"got \['classification', 'regression'\]",
        ),
        (lambda a: a.update(X=a["X"]["age"]), TypeError, "X must be a table"),
        (lambda a: a.update(X=a["X"].iloc[:0]), ValueError, "X has 0 rows"),
        (lambda a: a.update(X=a["X"].drop(columns="age")), ValueError, "column 'age'"),
        (lambda a: a.update(n_repeats=0), ValueError, "n_repeats must be 'auto' or"),
        (lambda a: a.update(n_repeats=True), ValueError, "n_repeats must be 'auto' or"),
        (
            lambda a: a.update(baselines="weak"),
            ValueError,
            "baselines must be .*got 'weak'",
        ),
        (lambda a: a.update(baselines=["ehr"]), ValueError, r"contains \['ehr'\]"),
        (
            lambda a: a.update(primary="early"),
            ValueError,
            r"primary='early' is not a fusion. The fusions are \['late'\]",
        ),
        (lambda a: a.update(smallest_gain=0), ValueError, "smallest_gain"),
        (lambda a: a.update(margin=-0.1), ValueError, "margin"),
        (
            lambda a: a.update(search={"early": {}}),
            ValueError,
            r"parameter grid by strategy, got \['early'\]",
        ),
        (lambda a: a.update(pos_label="sick"), ValueError, "not a class of y"),
        (lambda a: a.update(checkpoint=__file__), NotADirectoryError, "be a folder"),
    ],
)
def test_refusals(cohort, change, error, message):
    X, y = cohort
    arguments = {"given": modalities(), "X": X, "y": y}
    change(arguments)
    with pytest.raises(error, match=message):
        compare(**arguments)


def test_predictor_cannot_be_joined_early(cohort):
    X, y = cohort
    pair = [*modalities()[:1], ("ehr", LogisticRegression(), ["age"])]
    with pytest.raises(ValueError, match="'ehr' .* ends in a predictor, which early"):
        compare(X, y, pair, strategies=("single", "early"))


def test_error_of_a_fit_says_where(cohort):
    X, y = cohort

    class Failing(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            raise ValueError("this matrix is ill")

    pair = [(n, make_pipeline(t, Failing()), c) for n, t, c in modalities()]
    message = r"compare_fusion, 'image', fold 1: .*this matrix is ill"
    with pytest.raises(ValueError, match=message):
        compare(X, y, pair, strategies="single")


def test_classifier_without_probabilities(cohort):
    from sklearn.svm import LinearSVC

    X, y = cohort
    with pytest.raises(TypeError, match="'svm', fold 1: LinearSVC has no predict_pr"):
        compare(X, y, {"svm": LinearSVC()}, strategies=None)


def test_score_that_is_undefined_on_a_fold(cohort):
    X, y = cohort

    def never(estimator, X, y):
        return float("nan")

    with pytest.raises(ValueError, match="never of 'image.*' is nan on fold 1 of 5"):
        compare(X, y, scoring=never)


def test_progress_is_shown_on_demand(cohort, capsys):
    X, y = cohort
    compare(X, y, strategies="single")
    assert capsys.readouterr() == ("", "")
    compare(X, y, strategies="single", verbose=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert "2/2" in err  # the first fold
    assert "8/8" in err
    assert "image alone, fold 1 of 5" in err
    assert "finished" in err
