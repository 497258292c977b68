"""Inner splits: patients on one side, and clear words where that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold

from skfusion.splits import inner_folds, validation_rows

GROUPS = np.repeat(np.arange(20), 3)
Y = np.tile([0, 1, 1], 20)


def folds(cv, y=Y, groups=GROUPS, classifier=True):
    strata = y if classifier else None
    return inner_folds(
        cv, strata, groups, n_rows=len(y), random_state=0, owner="LateFusion"
    )


@pytest.mark.parametrize("classifier", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_every_row_is_held_out_once_and_no_patient_is_split(classifier, grouped):
    groups = GROUPS if grouped else None
    found = folds(4, groups=groups, classifier=classifier)
    held_out = np.concatenate([test for _, test in found])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(60))
    for train, test in found:
        assert not set(train) & set(test)
        if grouped:
            assert not set(GROUPS[train]) & set(GROUPS[test])


def test_a_list_of_folds_is_taken():
    given = list(KFold(3).split(Y))
    for (train, test), (expected_train, expected_test) in zip(
        folds(given, groups=None), given, strict=True
    ):
        np.testing.assert_array_equal(train, expected_train)
        np.testing.assert_array_equal(test, expected_test)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
@pytest.mark.parametrize(
    ("cv", "y", "groups", "words"),
    [
        (1, Y, None, "at least 2 folds"),
        (21, Y, GROUPS, "20 patients"),
        (5, Y, np.zeros(60), "1 patients"),
        (StratifiedKFold(3), Y, GROUPS, "on both sides of inner fold 0"),
        (ShuffleSplit(3), Y, None, "held out another number of times"),
        (3, np.r_[np.zeros(59, int), 1], None, "class number 1 .* has 1 row only"),
        (3, np.r_[np.zeros(57, int), 1, 1, 1], GROUPS, "1 patient only"),
        (KFold(2), np.r_[np.zeros(58, int), 1, 1], None, "missing from the training"),
    ],
)
def test_impossible_folds_say_why(cv, y, groups, words):
    with pytest.raises(ValueError, match=words):
        folds(cv, y, groups)


def test_cv_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="number of folds, a scikit-learn splitter"):
        folds(0.5)


def rows(fraction, y=Y, groups=GROUPS, classifier=True):
    strata = y if classifier else None
    return validation_rows(
        fraction, strata, groups, n_rows=len(y), random_state=0, owner="JointFusion"
    )


def test_validation_rows_keep_patients_together_and_classes_in_proportion():
    held_out = rows(0.2)
    assert len(held_out) == 12
    rest = np.setdiff1d(np.arange(60), held_out)
    assert not set(GROUPS[held_out]) & set(GROUPS[rest])
    assert Y[held_out].mean() == pytest.approx(2 / 3)


def test_nothing_is_held_out_of_little():
    assert len(rows(0.0)) == 0
    assert len(rows(0.2, Y[:39], GROUPS[:39])) == 0
    assert len(rows(0.1, np.r_[np.zeros(57, int), 1, 1, 1], None)) == 0


@pytest.mark.parametrize("n_patients", [1, 2, 3])
def test_both_sides_have_every_class_or_nothing_is_held_out(n_patients):
    """All rows of a class, or all events, may be of a patient or two."""
    y = np.zeros(60, int)
    y[: 3 * n_patients] = 1
    groups = np.r_[np.repeat(np.arange(n_patients), 3), np.arange(9, 69)][:60]
    for seed in range(5):
        held_out = validation_rows(
            1 / 3, y, groups, n_rows=60, random_state=seed, owner="JointFusion"
        )
        assert (len(held_out) > 0) == (n_patients > 1)
        if len(held_out):
            assert 0 < y[held_out].sum() < y.sum()


def test_one_patient_cannot_be_split():
    with pytest.raises(ValueError, match="belong to one patient"):
        rows(0.2, groups=np.zeros(60))
