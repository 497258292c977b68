"""Designs: one test set, held-out sites, own folds, and what each of them is about."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import linear, make_cohort, modalities, scores_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, LeaveOneOut, RepeatedStratifiedKFold
from sklearn.naive_bayes import GaussianNB

from skfusion import EarlyFusionClassifier, LateFusionClassifier, compare_fusion
from skfusion.evaluation import delong_test
from skfusion.evaluation.comparison import scoring
from skfusion.evaluation.comparison.comparison import plan_comparison
from skfusion.evaluation.statistics.auroc import auroc_interval
from skfusion.evaluation.statistics.resampling import corrected_resampled_ttest
from skfusion.exceptions import DataWarning

SETTINGS = {"scoring": "roc_auc", "random_state": 0}


@pytest.fixture(scope="module")
def cohort():
    return make_cohort(100, noise=0.5)


def compare(X, y, given=None, **settings):
    """Compare a fusion that is fast."""
    given = {"early": linear()} if given is None else given
    return compare_fusion(given, X, y, **{**SETTINGS, **settings})


def split_of(X, y, **settings):
    """Training and test rows of the first split, without a fit."""
    plan = plan_comparison({"early": linear()}, X, y, **SETTINGS, **settings)
    return plan.design.splits[0], plan.design


# -- one test set ----------


def test_a_fraction_is_drawn_by_patient_and_class(cohort):
    X, y = cohort
    split, design = split_of(X, y, groups="patient_id", test=0.3)
    patients = X["patient_id"].to_numpy()
    assert not set(patients[split.train]) & set(patients[split.test])
    assert len(split.train) + len(split.test) == len(X)
    assert len(np.unique(patients[split.test])) == pytest.approx(30, abs=1)
    assert y[split.test].mean() == pytest.approx(y.mean(), abs=0.1)
    assert design.kind == "test"
    again = split_of(X, y, groups="patient_id", test=0.3)[0]
    np.testing.assert_array_equal(again.test, split.test)


@pytest.mark.parametrize("fraction", [0.1, np.float32(0.5)])
def test_a_fraction_of_rows_keeps_the_rare_class(fraction):
    X, _ = make_cohort(100, per_patient=1)
    y = (np.arange(100) % 20 == 0).astype(int)
    split, _ = split_of(X, y, test=fraction)
    assert y[split.test].sum() == max(1, round(5 * fraction))
    assert len(split.test) == pytest.approx(100 * fraction, abs=1)


@pytest.mark.parametrize(
    "choose",
    [
        lambda rows: rows,  # positions
        lambda rows: rows.tolist(),
        lambda rows: np.isin(np.arange(200), rows),  # a mask
        lambda rows: pd.Series(np.isin(np.arange(200), rows), index=range(7, 207)),
    ],
)
def test_positions_and_masks_choose_the_same_test_set(cohort, choose):
    X, y = cohort
    rows = np.arange(0, 60)
    split, _ = split_of(X, y, groups="patient_id", test=choose(rows))
    np.testing.assert_array_equal(split.test, rows)
    np.testing.assert_array_equal(split.train, np.arange(60, 200))


def test_rows_of_tested_patients_leave_the_training_set(cohort):
    X, y = cohort
    # Each patient has two rows next to each other: the first test row is a half.
    rows = np.arange(1, 61)
    split, design = split_of(X, y, groups="patient_id", test=rows)
    np.testing.assert_array_equal(split.test, rows)
    np.testing.assert_array_equal(split.train, np.arange(62, 200))
    (note,) = design.notes
    assert note.startswith("2 rows of patients in the test set were left out")
    result = compare(X, y, groups="patient_id", test=rows)
    assert note in result.notes_


def with_dates(X, timezone=None):
    days = pd.date_range("2022-12-01", periods=len(X) // 2, freq="D", tz=timezone)
    return X.assign(index_time=np.repeat(days, 2))


@pytest.mark.parametrize("timezone", [None, "Europe/Berlin"])
def test_cases_from_a_date_on_are_the_test_set(cohort, timezone):
    X, y = cohort
    dated = with_dates(X, timezone)
    split, design = split_of(
        dated, y, groups="patient_id", test="after:2023-01-31", time="index_time"
    )
    limit = pd.Timestamp("2023-01-31", tz=timezone)
    expected = np.flatnonzero(dated["index_time"] >= limit)
    np.testing.assert_array_equal(split.test, expected)
    assert 0 < len(expected) < 200
    assert "cases from 2023-01-31 on" in design.text
    # Without time=, the only column of dates is used, and text is read if it is named.
    alone, _ = split_of(dated, y, groups="patient_id", test="after: 2023-01-31")
    np.testing.assert_array_equal(alone.test, expected)
    text = dated.assign(index_time=dated["index_time"].astype(str))
    read, _ = split_of(
        text, y, groups="patient_id", test="after:2023-01-31", time="index_time"
    )
    np.testing.assert_array_equal(read.test, expected)


def test_patients_on_both_sides_of_a_date_are_tested_only(cohort):
    X, y = cohort
    dated = with_dates(X)
    patients = np.tile(np.arange(100), 2)  # seen in both halves of the time
    split, design = split_of(dated, y, groups=patients, test="after:2023-02-09")
    assert len(split.test) == 60
    assert not set(patients[split.train]) & set(patients[split.test])
    assert len(split.train) == 200 - 2 * 60
    assert "60 rows of patients" in design.notes[0]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"test": 1.5}, ValueError, "above 0 and below 1, got 1.5"),
        ({"test": 0.0}, ValueError, "above 0 and below 1, got 0.0"),
        ({"test": "2023"}, ValueError, "test as text must be 'after:DATE'"),
        ({"test": "after:2023"}, ValueError, "0 columns have dates. Pass time="),
        ({"test": [500]}, ValueError, "row positions outside of 0 to 199"),
        ({"test": [-1, 3]}, ValueError, "row positions outside of 0 to 199"),
        ({"test": np.zeros(200, bool)}, ValueError, "test set has 0 of 200 rows"),
        ({"test": np.ones(200, bool)}, ValueError, "training set has 0 of 200"),
        ({"test": np.ones(5, bool)}, TypeError, "boolean mask of 200 entries"),
        ({"test": {"a": 1}}, TypeError, "got dict"),
        ({"test": 0.3, "cv": 5}, ValueError, "cv and test exclude each other"),
        ({"test": 0.3, "sites": "s"}, ValueError, "test and sites exclude each"),
        ({"test": "after:2023", "time": "when"}, ValueError, "'when'"),
    ],
)
def test_refused_test_sets(cohort, settings, error, message):
    X, y = cohort
    with pytest.raises(error, match=message):
        split_of(X, y, groups="patient_id", **settings)


def test_a_class_missing_from_the_test_set(cohort):
    X, y = cohort
    rows = np.flatnonzero(y == 1)[:20]
    with pytest.raises(ValueError, match="class is missing from the test set of 20"):
        split_of(X.drop(columns="patient_id"), y, test=rows)


def test_missing_times_are_refused(cohort):
    X, y = cohort
    dated = with_dates(X)
    dated.iloc[3, -1] = pd.NaT
    with pytest.raises(ValueError, match=r"missing in 1 of 200 rows.*\[3\]"):
        split_of(dated, y, groups="patient_id", test="after:2023-01-31")


@pytest.mark.parametrize("grouped", [True, False])
def test_one_test_set_is_tested_by_delong(cohort, grouped):
    X, y = cohort
    test = np.arange(0, 80)
    groups = X["patient_id"].to_numpy() if grouped else None
    X = X[["lesion", "age"]]
    result = compare(X, y, groups=groups, test=test)
    train = np.arange(80, 200)
    model = LogisticRegression(C=1.0)
    by_hand = {}
    for name, columns in (("image", ["lesion"]), ("ehr", ["age"]), ("", None)):
        Z = X if columns is None else X[columns]
        Z = (Z - Z.iloc[train].mean()) / Z.iloc[train].std(ddof=0)
        model.fit(Z.iloc[train].to_numpy(), y[train])
        key = f"{name} in early" if name else "early"
        by_hand[key] = model.predict_proba(Z.iloc[test].to_numpy())[:, 1]
    table = result.predictions_
    np.testing.assert_array_equal(table["row"], test)
    for key, predicted in by_hand.items():
        np.testing.assert_allclose(table[key], predicted, atol=1e-6)
    ids = None if groups is None else groups[test]
    for row in result.differences_.to_dict("records"):
        single = by_hand[row["reference"]]
        expected = delong_test(y[test], by_hand["early"], single, groups=ids)
        assert row["estimate"] == pytest.approx(expected.difference)
        assert row["p"] == pytest.approx(expected.pvalue, rel=1e-4)
        assert (row["low"], row["high"]) == pytest.approx(expected.interval, abs=1e-5)
    for row in result.scores_.to_dict("records"):
        limits = auroc_interval(y[test], by_hand[row["strategy"]], groups=ids)
        assert row["estimate"] == pytest.approx(
            roc_auc_score(y[test], by_hand[row["strategy"]])
        )
        assert (row["low"], row["high"]) == pytest.approx((limits.low, limits.high))
    details = result.verdict_.details
    assert "About these fitted models, on " in details
    assert ("(DeLong, clustered by patient)" in details) == grouped
    assert "Nadeau" not in details


def test_other_scores_of_a_test_set_are_bootstrapped(cohort, monkeypatch):
    monkeypatch.setattr(scoring, "N_RESAMPLES", 200)
    X, y = cohort
    kwargs = {"groups": "patient_id", "test": np.arange(100)}
    result = compare(X, y, scoring=["brier", "roc_auc"], **kwargs)
    row = result.differences_.iloc[0]
    table = result.predictions_
    truth = table["y"].to_numpy()
    squares = {n: (table[n] - truth) ** 2 for n in ("early", row["reference"])}
    loss = squares["early"] - squares[row["reference"]]
    assert row["estimate"] == pytest.approx(loss.mean())
    # The standard error of a mean over patients of two rows each.
    by_patient = loss.groupby(table["group"].to_numpy()).mean()
    error = by_patient.std() / np.sqrt(len(by_patient))
    assert (row["high"] - row["low"]) / 3.92 == pytest.approx(error, rel=0.2)
    assert "(bootstrap of patients, clustered by patient)" in result.verdict_.details
    assert np.isfinite(result.scores_[["low", "high"]]).all(axis=None)


def test_one_fold_is_refused_and_told_of_the_test_set(cohort):
    X, y = cohort
    X = X[["lesion", "age"]]
    folds = [(np.arange(100), np.arange(100, 200))]
    with pytest.raises(ValueError, match="cv gives 1 fold.* or test= for one test set"):
        compare(X, y, cv=folds)
    # The same split as a test set is possible.
    result = compare(X, y, test=np.arange(100, 200))
    assert result.settings_["design"] == "test"
    assert result.settings_["n_tested"] == 100


# -- folds ----------


def test_own_folds_are_weighted_by_their_patients():
    # Four parts of 80, 40, 24 and 16 patients, two rows each.
    X, y = make_cohort(160, noise=0.5, seed=2)
    patient = pd.factorize(X["patient_id"])[0]
    part = np.digitize(patient, [80, 120, 144])
    folds = [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(4)]
    folds += [
        (np.flatnonzero(patient % 10 != k), np.flatnonzero(patient % 10 == k))
        for k in range(2)
    ]
    result = compare(X, y, groups="patient_id", cv=folds)
    sizes = np.array([80, 40, 24, 16, 16, 16])
    tested = result.folds_.drop_duplicates("fold")
    assert tested["patients_test"].tolist() == sizes.tolist()
    for row in result.scores_.to_dict("records"):
        values = scores_of(result, row["strategy"])
        expected = (values * sizes).sum() / sizes.sum()
        assert row["estimate"] == pytest.approx(expected)
        assert row["estimate"] != pytest.approx(values.mean(), abs=1e-6)
    a, b = scores_of(result, "early"), scores_of(result, "ehr in early")
    expected = corrected_resampled_ttest(a, b, 160 - sizes, sizes, weights=sizes)
    row = result.differences_.set_index("reference").loc["ehr in early"]
    assert row["p"] == pytest.approx(expected.pvalue)
    assert row["estimate"] == pytest.approx(expected.difference)
    # By hand: se² = (1/m + n_test/n_train) s²
    w = sizes / sizes.sum()
    d = a - b
    m = 1 / (w**2).sum()
    mean = (w * d).sum()
    s2 = (w * (d - mean) ** 2).sum() * m / (m - 1)
    ratio = (w * sizes / (160 - sizes)).sum()
    error = np.sqrt((1 / m + ratio) * s2)
    assert result.tests_["standard_error"].iloc[0] in (
        pytest.approx(error),
        pytest.approx(scoring_error(result, sizes)),
    )


def scoring_error(result, sizes):
    a, b = scores_of(result, "early"), scores_of(result, "image in early")
    return corrected_resampled_ttest(
        a, b, 160 - sizes, sizes, weights=sizes
    ).standard_error


def test_splitters_are_repeated_only_if_they_shuffle(cohort):
    X, y = cohort
    X = X[["lesion", "age"]]
    arms = {"early": linear()}
    folds = KFold(4, shuffle=True, random_state=3)
    plan = plan_comparison(arms, X, y, cv=folds, n_repeats=3, **SETTINGS)
    assert plan.design.n_repeats == 3
    tests = [tuple(s.test) for s in plan.design.splits]
    assert len(set(tests)) == 12
    first = [tuple(test) for _, test in folds.split(X)]
    assert tests[:4] == first
    with pytest.raises(ValueError, match="n_repeats=3 needs cv as a number"):
        plan_comparison(arms, X, y, cv=KFold(4), n_repeats=3, **SETTINGS)
    once = plan_comparison(arms, X, y, cv=KFold(4), **SETTINGS)
    assert once.design.n_repeats == 1
    repeated = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    plan = plan_comparison(arms, X, y, cv=repeated, **SETTINGS)
    found = [(s.repeat, s.fold) for s in plan.design.splits]
    assert found == list(product(range(2), range(3)))


def test_two_folds_have_an_interval_and_no_test(cohort):
    X, y = cohort
    result = compare(X, y, groups="patient_id", cv=2, n_repeats=1)
    assert result.verdict_.outcome == "untested"
    assert result.differences_["p"].isna().all()
    assert result.differences_["low"].notna().all()
    assert "There is no test, because there are 2 scores of folds" in (
        result.verdict_.details
    )
    assert ".." not in result.verdict_.details


def test_quick_comparisons_make_no_claim(cohort):
    X, y = cohort
    result = compare(X, y, groups="patient_id", quick=True, n_repeats=10)
    assert result.strategies_["n_repeats"].tolist() == [1, 1, 1]
    assert result.differences_["p"].isna().all()
    assert result.tests_["outcome"].tolist() == ["untested"]
    assert result.verdict_.outcome == "untested"
    assert "one quick repetition has no test" in result.verdict_.details
    assert result.settings_["quick"]
    assert "p =" not in result.summary()
    assert "p <" not in result.summary()


def test_folds_with_few_of_a_class_become_three():
    X, _ = make_cohort(90, per_patient=1)
    y = (np.arange(90) % 5 == 0).astype(int)  # 18 positives: 3 or 4 in each of 5 folds
    design = split_of(X, y)[1]
    assert design.n_folds == 3
    assert design.notes[0].startswith("3 folds were used, because 5 folds would have")
    design = split_of(X, y, cv=5)[1]  # asked for
    assert design.n_folds == 5
    assert "fewer than 5 patients of a class" in design.notes[0]
    y = (np.arange(90) % 8 == 0).astype(int)  # 12
    message = r"there are 12 rows of class number 1 .* need 15 or more.*cv=3"
    with pytest.raises(ValueError, match=message):
        split_of(X, y)
    assert split_of(X, y, cv=3)[1].n_folds == 3


def test_folds_are_drawn_again_until_both_classes_are_there():
    # 24 positives, but in few patients: many draws have folds with few of them.
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 7, 60)
    patient = np.repeat(np.arange(60), sizes)
    sick = rng.permutation(60) < 30
    y = sick[patient].astype(int)
    X = pd.DataFrame(rng.normal(size=(len(y), 2)), columns=["lesion", "age"])
    plan = plan_comparison({"early": linear()}, X, y, groups=patient, **SETTINGS)
    assert plan.design.n_folds == 5
    assert plan.design.n_repeats == 10
    for split in plan.design.splits:
        for label in (0, 1):
            tested = split.test[y[split.test] == label]
            assert len(np.unique(patient[tested])) >= 5
        assert not set(patient[split.train]) & set(patient[split.test])


@pytest.mark.parametrize(
    ("cv", "groups", "message"),
    [
        (6, np.repeat(np.arange(5), 8), "6 folds need .* patients .*there are 5"),
        (21, None, "class number 0 .* has 20 rows, fewer than"),
        (5, np.r_[np.zeros(20, int), np.arange(1, 21)], "class number 0 .* 1 patients"),
        (None, np.repeat(np.arange(2), 20), "patients"),
    ],
)
def test_too_few_patients_for_the_folds(cv, groups, message):
    X = pd.DataFrame({"lesion": np.arange(40.0), "age": np.arange(40.0) % 7})
    y = np.repeat([0, 1], 20)
    with pytest.raises(ValueError, match=message):
        split_of(X, y, cv=cv, groups=groups)


def test_leave_one_out_has_no_auroc():
    X, y = make_cohort(20, per_patient=1)
    with pytest.raises(ValueError, match="class"):
        compare(X, y, cv=LeaveOneOut())


# -- sites ----------


def site_cohort(n_sites, seed=0, per_site=32):
    rng = np.random.default_rng(seed)
    n = n_sites * per_site
    X = pd.DataFrame(rng.normal(size=(n, 2)), columns=["lesion", "age"])
    y = (X.sum(axis=1) + 0.7 * rng.normal(size=n) > 0).astype(int).to_numpy()
    return X.assign(hospital=rng.permutation(np.arange(n) % n_sites)), y


@pytest.mark.parametrize("n_sites", [6, 7])
def test_p_of_sites_is_that_of_all_sign_changes(n_sites):
    X, y = site_cohort(n_sites)
    result = compare(X, y, sites="hospital")
    a, b = scores_of(result, "early"), scores_of(result, "ehr in early")
    differences = a - b
    n_extreme = sum(
        abs(np.dot(signs, differences)) >= abs(differences.sum()) - 1e-12
        for signs in product([-1, 1], repeat=n_sites)
    )
    row = result.differences_.set_index("reference").loc["ehr in early"]
    assert row["p"] == pytest.approx(n_extreme / 2**n_sites)
    assert row["estimate"] == pytest.approx(differences.mean())  # sites count equally
    assert np.isnan(row["low"])
    assert result.scores_[["low", "high"]].isna().all(axis=None)
    details = result.verdict_.details
    assert "About models trained on the other sites and tested on one" in details
    assert f"one of {n_sites} sites held out at a time" in details
    if (differences > 0).all():  # the smallest p of six sites is 2 / 64
        assert row["p"] == 2 / 2**n_sites


def test_each_site_is_held_out_with_its_patients():
    X, y = site_cohort(6)
    result = compare(X, y, sites=X["hospital"])
    folds = result.folds_.drop_duplicates("fold")
    assert sorted(folds["site"]) == list("012345")
    table = result.predictions_
    for fold, site in zip(folds["fold"], folds["site"], strict=True):
        rows = table.loc[table["fold"] == fold, "row"]
        assert (X["hospital"].iloc[rows].astype(str) == site).all()
    # A patient with rows at two sites is never on both sides.
    patient = np.arange(len(X)) // 2
    plan = plan_comparison(
        {"early": linear()}, X, y, sites="hospital", groups=patient, **SETTINGS
    )
    for split in plan.design.splits:
        assert not set(patient[split.train]) & set(patient[split.test])
    assert "training rows of patients who also have rows" in plan.design.notes[0]


@pytest.mark.parametrize("n_sites", [2, 5])
def test_fewer_than_six_sites_have_no_p(n_sites):
    X, y = site_cohort(n_sites)
    result = compare(X, y, sites="hospital")
    assert result.differences_["p"].isna().all()
    assert result.verdict_.outcome == "untested"
    details = result.verdict_.details
    assert f"{n_sites} sites are too few for a test, which needs 6" in details
    assert f"over {n_sites} sites, above 0 in " in details


def test_small_sites_are_warned_of_in_the_notes():
    X, y = site_cohort(6, per_site=20)
    with pytest.warns(DataWarning, match="6 of 6 sites have fewer than 30 patients"):
        result = compare(X, y, sites="hospital")
    assert any("fewer than 30 patients" in note for note in result.notes_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: ("clinic", y), "clinic"),
        (lambda X, y: (np.zeros(len(X)), y), "sites names one site"),
        (lambda X, y: (X["hospital"].replace(0, np.nan), y), "40 of them missing"),
        (lambda X, y: ([np.nan, *"ab" * 119, "a"], y), "1 of them missing"),
        (lambda X, y: (np.arange(3), y), "one site for each of 240 rows, got 3"),
        (
            lambda X, y: ("hospital", y * (X["hospital"] != 2)),
            "a class is missing from the test set of 40 rows",
        ),
    ],
)
def test_refused_sites(change, message):
    X, y = site_cohort(6, per_site=40)
    sites, y = change(X, y)
    with pytest.raises(ValueError, match=message):
        split_of(X, np.asarray(y), sites=sites)


# -- extreme scores ----------


def separated(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = pd.DataFrame({"lesion": y + 0.01 * rng.normal(size=n), "age": 1.0 * y})
    return X, y


@pytest.mark.parametrize(
    "settings",
    [
        {"cv": 3, "n_repeats": 1},
        {"cv": 5, "n_repeats": 2},
        {"test": 0.5},
        {"cv": 3, "n_repeats": 1, "groups": np.arange(30) // 2 * 2 + np.arange(30) % 2},
    ],
)
def test_perfect_separation_has_an_interval_of_positive_width(settings):
    X, y = separated(30)
    result = compare(X, y, **settings)
    scores = result.scores_
    assert (scores["estimate"] == 1).all()
    assert (scores["high"] == 1).all()
    assert ((scores["low"] > 0.3) & (scores["low"] < 0.97)).all()
    # The models rank all cases alike: no difference, p = 1.
    assert (result.differences_["estimate"] == 0).all()
    if result.tests_["outcome"].iloc[0] != "untested":
        assert (result.differences_["p"] == 1).all()
    assert result.verdict_.outcome in ("unclear", "untested")


@pytest.mark.parametrize("settings", [{"cv": 5, "n_repeats": 1}, {"test": 0.5}])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_other_perfect_scores_have_intervals_too(settings, n_classes, monkeypatch):
    monkeypatch.setattr(scoring, "N_RESAMPLES", 50)
    rng = np.random.default_rng(0)
    y = np.arange(60) % n_classes
    near = y[:, None] + 0.01 * rng.normal(size=(60, 2))
    X = pd.DataFrame(near, columns=["lesion", "age"])
    bayes = {"early": EarlyFusionClassifier(modalities(), estimator=GaussianNB())}
    names = ["balanced_accuracy", "accuracy", "roc_auc"]
    scores = compare(X, y, bayes, scoring=names, **settings).scores_
    assert (scores["estimate"] == 1).all()
    assert (scores["high"] == 1).all()
    n = (60 if "cv" in settings else 30) // n_classes  # of the rarest class
    others = scores[scores["metric"] != "roc_auc"]
    np.testing.assert_allclose(others["low"], 0.025 ** (1 / n))
    assert ((scores["low"] > 0.5) & (scores["low"] < 0.97)).all()


def test_fewer_separated_patients_have_a_wider_interval():
    few, many = (
        compare(*separated(n), cv=3, n_repeats=1).scores_["low"].iloc[0]
        for n in (12, 60)
    )
    assert few < many < 1


@pytest.mark.parametrize("settings", [{"n_repeats": 1}, {"test": 0.4}])
def test_identical_models_have_no_difference(settings):
    X, y = make_cohort(80, per_patient=1)
    X["age"] = X["lesion"]
    same = LateFusionClassifier(modalities())
    result = compare(X, y, {"late": same}, **settings)
    assert (result.differences_["estimate"] == 0).all()
    assert (result.differences_["p"] == 1).all()
    assert result.tests_["p_helps"].tolist() == [1.0]
    assert result.verdict_.outcome == "unclear"


@pytest.mark.parametrize("settings", [{"n_repeats": 1}, {"test": 0.4}])
def test_constant_predictions_tie_all_cases(settings):
    X, y = make_cohort(80, per_patient=1)
    X[["lesion", "age"]] = 3.0
    result = compare(X, y, groups=np.arange(80), **settings)
    assert (result.scores_["estimate"] == 0.5).all()
    assert (result.differences_["p"] == 1).all()
    assert result.verdict_.outcome == "unclear"
