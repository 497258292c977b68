"""The shared folds: patients on one side, classes in every part, clear errors."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, ShuffleSplit

from skfusion.cohort import check_groups
from skfusion.splits import outer_folds


def split(cv, y, groups=None, *, classifier=True, seed=0):
    return outer_folds(cv, y, groups, classifier=classifier, random_state=seed)


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), rng.integers(1, 5, 40))
    return rng.integers(0, 2, len(groups)), groups


@pytest.mark.parametrize("classifier", [True, False])
def test_default_folds_hold_out_every_row_once_and_split_no_patient(cohort, classifier):
    y, groups = cohort
    folds = split(None, y, groups, classifier=classifier)
    assert len(folds) == 5
    held_out = np.concatenate([test for _, test in folds])
    assert sorted(held_out) == list(range(len(y)))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert len(train) + len(test) == len(y)


def test_folds_are_shuffled_by_the_seed(cohort):
    y, groups = cohort
    first, again, other = (split(5, y, groups, seed=s) for s in (0, 0, 1))
    assert all((a[1] == b[1]).all() for a, b in zip(first, again, strict=True))
    assert any(set(a[1]) != set(b[1]) for a, b in zip(first, other, strict=True))


def test_classes_are_stratified_without_groups():
    y = np.repeat([0, 1], [90, 10])
    assert [y[test].sum() for _, test in split(5, y)] == [2] * 5


def test_own_splitter_and_own_folds(cohort):
    y, _ = cohort
    assert len(split(KFold(3, shuffle=True, random_state=0), y)) == 3
    rows = np.arange(len(y))
    folds = [(rows[::2], rows[1::2]), (rows[1::2], rows[::2])]
    assert [len(test) for _, test in split(folds, y)] == [
        len(rows[1::2]),
        len(rows[::2]),
    ]


def test_groups_by_column_and_by_array():
    X = pd.DataFrame({"patient": ["b", "a", "b"]}, index=[7, 8, 9])
    assert check_groups(None, X, column="patient", owner="compare_fusion").tolist() == [
        0,
        1,
        0,
    ]
    assert check_groups(
        X["patient"], X, column=None, owner="compare_fusion"
    ).tolist() == [0, 1, 0]
    distinct = X.iloc[:2]
    assert check_groups(None, distinct, column=None, owner="compare_fusion") is None


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("subject", "groups= names column 'subject', which X does not have.*: 'p'"),
        ([1, 2], "groups has 2 entries but X has 3 rows"),
        ([1, None, 2], r"missing in 1 of 3 rows, first at row position\(s\) \[1\]"),
    ],
)
def test_bad_groups(groups, message):
    frame = pd.DataFrame({"p": [1, 2, 3]})
    column, ids = (groups, None) if isinstance(groups, str) else (None, groups)
    with pytest.raises(ValueError, match=message):
        check_groups(ids, frame, column=column, owner="compare_fusion")


def test_one_single_patient():
    y = np.tile([0, 1], 10)
    for cv in (5, KFold(2)):
        with pytest.raises(ValueError, match="one single patient"):
            split(cv, y, np.zeros(20, dtype=int))


def test_fewer_patients_than_folds():
    y = np.tile([0, 1], 10)
    with pytest.raises(ValueError, match="5 folds need .* patients .*there are 4"):
        split(5, y, np.repeat(np.arange(4), 5))


def test_too_few_of_a_class():
    y, groups = np.zeros(30, dtype=int), np.arange(30)
    y[:3] = 1
    with pytest.raises(ValueError, match="class number 1 .* has 3 rows, fewer than"):
        split(5, y)
    groups[:3] = 0  # three rows, but one patient
    with pytest.raises(ValueError, match="class number 1 .* has 1 patients"):
        split(5, y, groups)


@pytest.mark.parametrize(("part", "turn"), [("test", 1), ("training", -1)])
def test_class_missing_from_a_part_of_a_fold(part, turn):
    y = np.array([0, 0, 0, 1, 1, 0, 1, 0])
    good = (np.array([0, 3, 5, 6]), np.array([1, 2, 4, 7]))
    bad = (np.array([3, 4, 5, 6]), np.array([0, 1, 2, 7]))[::turn]
    with pytest.raises(ValueError, match=f"number 1 .* the {part} part of fold 2 of 2"):
        split([good, bad], y)


def test_splitter_that_does_not_mind_groups(cohort):
    y, groups = cohort
    with pytest.raises(ValueError, match="both sides of fold 1 of 5"):
        split(KFold(5), y, groups)


@pytest.mark.parametrize(
    ("cv", "error", "message"),
    [
        (1, ValueError, "at least 2 folds, got 1"),
        (ShuffleSplit(1, random_state=0), ValueError, "cv gives 1 fold"),
        ("five", TypeError, "cv must be a number of folds"),
        (2.5, TypeError, "cv must be a number of folds"),
        ([([0, 1], [1, 2]), ([2], [0])], ValueError, "1 row.* of fold 1 of 2"),
        ([([0, 1], []), ([2], [0])], ValueError, "2 training and 0 test rows"),
    ],
)
def test_bad_cv(cv, error, message):
    with pytest.raises(error, match=message):
        split(cv, np.tile([0.0, 1.0], 10), classifier=False)


def test_regression_fold_of_one_row():
    with pytest.raises(ValueError, match="1 test row"):
        split(6, np.arange(6.0), classifier=False)
