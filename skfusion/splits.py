"""Inner and outer splits of a cohort that keep every patient on one side."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv

from skfusion._fitting.patient_folds import kind_of_folds, seeded_splitter

__all__ = [
    "Fold",
    "inner_folds",
    "outer_folds",
    "unchecked_folds",
    "validation_rows",
    "validation_rows_left",
]

Fold = tuple[np.ndarray, np.ndarray]


# Early stopping on the validation part of fewer rows than these would be chance.
FEWEST_ROWS = 40


def inner_folds(
    cv: Any,
    strata: np.ndarray | None,
    groups: np.ndarray | None,
    *,
    n_rows: int,
    random_state: int,
    owner: str,
    labels: np.ndarray | None = None,
    names: dict[int, str] | None = None,
) -> list[Fold]:
    """Split rows into folds for out-of-fold predictions, by patient.

    Parameters
    ----------
    cv : int or splitter
        Number of folds, a scikit-learn splitter, or the folds themselves. An int gives
        folds stratified by `strata`, and of whole patients if `groups` are given.
    strata : ndarray of shape (n_samples,) or (n_samples, n_labels) or None
        Class numbers, in proportion in every fold and none missing in a training part.
        The columns of an indicator matrix are neither stratified nor checked.
    groups : ndarray of shape (n_samples,) or None
        Patients.
    n_rows : int
        Number of rows, n_samples.
    random_state : int
        Seed of the shuffling, also of a copy of a splitter that shuffles without one.
    owner : str
        Name of the estimator, for the messages.
    labels : ndarray of shape (n_samples,) or None, default=None
        Class labels of the user, passed to a given splitter in place of the numbers.
    names : dict of int to str or None, default=None
        Names of the classes that every training part must contain. None is all of them.

    Returns
    -------
    list of (ndarray, ndarray)
        Row positions of the training and the held-out part of each fold.

    Raises
    ------
    ValueError
        If there are too few rows or patients, a patient is on both sides of a fold,
        or a class is missing from the training part of a fold.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.splits import inner_folds
    >>> y, groups = np.tile([0, 1], 6), np.repeat(np.arange(6), 2)
    >>> folds = inner_folds(
    ...     3, y, groups, n_rows=12, random_state=0, owner="LateFusionClassifier")
    >>> [len(np.intersect1d(groups[train], groups[test])) for train, test in folds]
    [0, 0, 0]
    """
    stratified = strata is not None and strata.ndim == 1
    if _is_number_of_folds(cv):
        labels = None
        units = n_rows if groups is None else len(np.unique(groups))
        what = "rows" if groups is None else "patients (groups)"
        if cv < 2 or units < cv:
            raise ValueError(
                f"{owner}: cv={cv} folds need at least 2 folds and as many {what}, got "
                f"{units} {what} (n_samples = {n_rows}). Pass more data or fewer folds."
            )
    cv = _resolve_cv(cv, groups is not None, stratified, random_state, owner)
    if strata is not None and strata.ndim == 1:
        _check_class_sizes(strata, groups, names, owner)
    folds = _split(cv, n_rows, strata if labels is None else labels, groups)
    _check_folds(folds, strata, groups, names, n_rows=n_rows, owner=owner)
    return folds


def outer_folds(
    cv: Any,
    y: np.ndarray,
    groups: np.ndarray | None,
    *,
    classifier: bool,
    random_state: int,
    owner: str = "compare_fusion",
) -> list[Fold]:
    """Split a cohort into the folds that all strategies share.

    Parameters
    ----------
    cv : None, int, splitter or iterable of (train, test)
        None is 5. A number gives shuffled folds: of whole patients with `groups`,
        stratified for a classifier.
    y : ndarray of shape (n_samples,)
        The target.
    groups : ndarray of int of shape (n_samples,) or None
        Patients.
    classifier : bool
        Whether `y` holds classes.
    random_state : int
        Seed of the shuffling, also of a copy of a splitter that shuffles without one.
    owner : str, default="compare_fusion"
        Name for the messages.

    Returns
    -------
    list of (ndarray, ndarray)
        Row positions of the training and test part of each fold.

    Raises
    ------
    ValueError
        If there are too few rows, patients or cases of a class, a patient is on both
        sides of a fold, or a class is missing from a part of a fold.
    TypeError
        If `cv` is nothing that splits.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.splits import outer_folds
    >>> y, groups = np.tile([0, 1], 10), np.repeat(np.arange(10), 2)
    >>> folds = outer_folds(None, y, groups, classifier=True, random_state=0)
    >>> [len(test) for _, test in folds]
    [4, 4, 4, 4, 4]
    """
    folds = unchecked_folds(
        cv, y, groups, classifier=classifier, random_state=random_state, owner=owner
    )
    if len(folds) < 2:
        raise ValueError(
            f"{owner}: cv gives {len(folds)} fold, but intervals need at least 2. Use "
            "a K-fold splitter, cv=5, or test= for one test set."
        )
    for number, (train, test) in enumerate(folds, start=1):
        where = f"fold {number} of {len(folds)}"
        _check_sides(train, test, where, owner)
        _check_patients_apart(train, test, groups, where, owner)
        if classifier:
            _check_classes(train, test, y, where, owner)
        elif len(test) < 2:
            raise ValueError(
                f"{owner}: {where} has {len(test)} test row, but scores such as R² "
                "need at least 2. Use fewer folds."
            )
    return folds


def unchecked_folds(
    cv: Any,
    y: np.ndarray,
    groups: np.ndarray | None,
    *,
    classifier: bool,
    random_state: int,
    owner: str,
) -> list[Fold]:
    """Split a cohort as `outer_folds` does, without a check of the two sides.

    Parameters
    ----------
    cv, y, groups, classifier, random_state, owner : any
        As in `outer_folds`.

    Returns
    -------
    list of (ndarray, ndarray)
        Row positions of the training and test part of each fold. A patient can be on
        both sides of folds that the user gives.

    Raises
    ------
    ValueError
        If there are too few rows, patients or cases of a class for a number of folds.
    TypeError
        If `cv` is nothing that splits.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import KFold
    >>> from skfusion.splits import unchecked_folds
    >>> y, groups = np.tile([0, 1], 3), np.repeat(np.arange(3), 2)
    >>> folds = unchecked_folds(
    ...     KFold(2), y, groups, classifier=True, random_state=0, owner="audit_cohort"
    ... )
    >>> [groups[test].tolist() for _, test in folds]
    [[0, 0, 1], [1, 2, 2]]
    """
    cv = 5 if cv is None else cv
    if groups is not None:
        _check_patients(groups, owner)
    if _is_number_of_folds(cv):
        _check_enough(int(cv), y, groups, classifier=classifier, owner=owner)
    cv = _resolve_cv(cv, groups is not None, classifier, random_state, owner)
    with warnings.catch_warnings():
        # Whether it matters that groups are ignored is seen in the folds.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        return _split(cv, len(y), y, groups)


def validation_rows(
    fraction: float,
    strata: np.ndarray | None,
    groups: np.ndarray | None,
    *,
    n_rows: int,
    random_state: int,
    owner: str,
) -> np.ndarray:
    """Choose the validation rows of early stopping, by patient.

    Parameters
    ----------
    fraction : float
        Share of the rows (or patients) to hold out. With 0, no row is held out.
    strata : ndarray of shape (n_samples,) or (n_samples, n_labels) or None
        Class numbers, which are held out in proportion, or an indicator matrix.
    groups : ndarray of shape (n_samples,) or None
        Patients.
    n_rows : int
        Number of rows, n_samples.
    random_state : int
        Seed.
    owner : str
        Name of the estimator, for the messages.

    Returns
    -------
    ndarray of int
        Positions of the rows held out. None are where there are fewer than 40 rows, or
        where a class, label or event would be missing from the rest, or a class or
        event from them: too little to stop on.

    Raises
    ------
    ValueError
        If all rows belong to one patient.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.splits import validation_rows
    >>> y, groups = np.tile([0, 1], 40), np.repeat(np.arange(40), 2)
    >>> rows = validation_rows(
    ...     0.2, y, groups, n_rows=80, random_state=0, owner="JointFusionClassifier")
    >>> len(rows)
    16
    """
    if groups is not None and len(np.unique(groups)) < 2 and fraction > 0:
        raise ValueError(
            f"{owner}: all {n_rows} rows belong to one patient (group), so none can be "
            "held out for early stopping. Give more patients, or set "
            "validation_fraction=0."
        )
    n_folds = max(2, round(1 / fraction)) if fraction > 0 else 0
    units = n_rows if groups is None else len(np.unique(groups))
    stratified = strata is not None and strata.ndim == 1
    rarest = n_rows
    if strata is not None and strata.ndim == 1:
        rarest = np.bincount(strata).min()
    if not n_folds or n_rows < FEWEST_ROWS or units < n_folds or rarest < n_folds:
        return np.empty(0, dtype=int)
    splitter = _splitter(n_folds, groups is not None, stratified, random_state)
    for _, held_out in splitter.split(np.zeros((n_rows, 1)), strata, groups):
        if _has_every_class(strata, held_out):
            return np.sort(held_out)
    return np.empty(0, dtype=int)


def validation_rows_left(
    held_out: np.ndarray, kept: np.ndarray, strata: np.ndarray | None
) -> np.ndarray:
    """Return the positions of validation rows among the rows that are kept.

    Parameters
    ----------
    held_out : ndarray of int
        Result of `validation_rows`.
    kept : ndarray of int of shape (n_kept,)
        Positions of the rows that are left, in ascending order.
    strata : ndarray of shape (n_kept,) or (n_kept, n_labels) or None
        As in `validation_rows`, of the rows that are left.

    Returns
    -------
    ndarray of int
        Positions among the kept rows. None are where `validation_rows` would choose
        none, because too few rows or classes are left.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.splits import validation_rows_left
    >>> validation_rows_left(np.array([3, 30, 50]), np.arange(10, 60), None)
    array([20, 40])
    """
    left = np.flatnonzero(np.isin(kept, held_out))
    if len(kept) < FEWEST_ROWS or not _has_every_class(strata, left):
        return np.empty(0, dtype=int)
    return left


def _has_every_class(strata: np.ndarray | None, held_out: np.ndarray) -> bool:
    """Return whether no class, label or event is missing from a side of the split."""
    if strata is None:
        return True
    sides = [np.setdiff1d(np.arange(len(strata)), held_out)]
    if strata.ndim == 1:
        # A loss over rows of one class, or without any event, says little of a model.
        sides.append(held_out)
    return all(_n_classes(strata[side]) == _n_classes(strata) for side in sides)


def _is_number_of_folds(cv: Any) -> bool:
    return isinstance(cv, (int, np.integer)) and not isinstance(cv, bool)


def _resolve_cv(
    cv: Any, grouped: bool, stratified: bool, random_state: int, owner: str
) -> Any:
    """Return a splitter for a number of folds, a splitter, or the folds themselves."""
    if _is_number_of_folds(cv):
        return _splitter(int(cv), grouped, stratified, random_state)
    if isinstance(cv, (bool, str)) or not (
        hasattr(cv, "split") or isinstance(cv, Iterable)
    ):
        raise TypeError(
            f"{owner}: cv must be a number of folds, a scikit-learn splitter or a list "
            f"of (train, test) row positions, got {type(cv).__name__}."
        )
    return check_cv(seeded_splitter(cv, random_state))


def _splitter(n_splits: int, grouped: bool, stratified: bool, seed: int) -> Any:
    return kind_of_folds(grouped, stratified)(
        n_splits=n_splits, shuffle=True, random_state=seed
    )


def _split(
    cv: Any, n_rows: int, strata: np.ndarray | None, groups: np.ndarray | None
) -> list[Fold]:
    return [
        (np.asarray(train), np.asarray(test))
        for train, test in cv.split(np.zeros((n_rows, 1)), strata, groups)
    ]


def _check_patients_apart(
    train: np.ndarray,
    test: np.ndarray,
    groups: np.ndarray | None,
    where: str,
    owner: str,
) -> None:
    """Check that no patient is on both sides of a fold."""
    if groups is None:
        return
    shared = np.intersect1d(groups[train], groups[test])
    if len(shared):
        raise ValueError(
            f"{owner}: {len(shared)} patient(s) are on both sides of {where}. Use a "
            "group-aware splitter, such as StratifiedGroupKFold, or pass cv as a "
            "number."
        )


def _check_patients(groups: np.ndarray, owner: str) -> None:
    if len(np.unique(groups)) == 1:
        raise ValueError(
            f"{owner}: all {len(groups)} rows belong to one single patient (group), so "
            "no fold can be tested on a patient it was not trained on. Check the "
            "groups column, or leave groups out if rows are independent."
        )


def _n_classes(strata: np.ndarray) -> int:
    """Count the classes, over all columns."""
    return sum(len(np.unique(column)) for column in strata.reshape(len(strata), -1).T)


def _check_class_sizes(
    y: np.ndarray, groups: np.ndarray | None, names: dict[int, str] | None, owner: str
) -> None:
    units = np.arange(len(y)) if groups is None else groups
    what = "row" if groups is None else "patient"
    remedy = "Merge it with another class, or leave it out."
    if names is not None:
        remedy = "More data are needed."
    for number, name in _required(y, names).items():
        count = len(np.unique(units[y == number]))
        if count < 2:
            raise ValueError(
                f"{owner}: {name} has {count} {what} only, so the fold that holds it "
                f"out would be trained without it. {remedy}"
            )


def _required(y: np.ndarray, names: dict[int, str] | None) -> dict[int, str]:
    """Return the names of the classes that every training part must contain."""
    if names is not None:
        return names
    return {n: f"class number {n} (in sorted order)" for n in np.unique(y).tolist()}


def _check_folds(
    folds: list[Fold],
    strata: np.ndarray | None,
    groups: np.ndarray | None,
    names: dict[int, str] | None,
    *,
    n_rows: int,
    owner: str,
) -> None:
    required = {}
    if strata is not None and strata.ndim == 1:  # a rare label costs itself only
        required = _required(strata, names)
    held_out = np.zeros(n_rows, dtype=int)
    for number, (train, test) in enumerate(folds):
        held_out[test] += 1
        _check_patients_apart(train, test, groups, f"inner fold {number}", owner)
        absent = [required[n] for n in required if not (strata[train] == n).any()]  # type: ignore[index]
        if absent:
            raise ValueError(
                f"{owner}: {', '.join(absent[:5])} is missing from the training part "
                f"of inner fold {number} ({len(train)} rows). Use fewer folds, or "
                "merge rare classes."
            )
    if (held_out != 1).any():
        raise ValueError(
            f"{owner}: the inner folds must hold out every row exactly once, but "
            f"{(held_out != 1).sum()} of {n_rows} rows are held out another number of "
            "times. Use a K-fold splitter."
        )


def _check_enough(
    n_folds: int,
    y: np.ndarray,
    groups: np.ndarray | None,
    *,
    classifier: bool,
    owner: str,
) -> None:
    if n_folds < 2:
        raise ValueError(f"{owner}: cv must be at least 2 folds, got {n_folds}.")
    units = np.arange(len(y)) if groups is None else groups
    what = "rows" if groups is None else "patients (groups)"
    n_units = len(np.unique(units))
    if n_units < n_folds:
        raise ValueError(
            f"{owner}: {n_folds} folds need at least as many {what}, but there "
            f"are {n_units}. Use cv={max(n_units, 2)} or fewer, or more data."
        )
    if not classifier:
        return
    for number, label in enumerate(np.unique(y)):
        count = len(np.unique(units[y == label]))
        if count < n_folds:
            raise ValueError(
                f"{owner}: class number {number} (in sorted order) has {count} "
                f"{what}, fewer than the {n_folds} folds, so it would be missing from "
                "the test part of a fold and scores such as AUROC undefined there. Use "
                f"cv={count if count > 1 else 2} or fewer, merge rare classes, or "
                "leave the class out."
            )


def _check_sides(train: np.ndarray, test: np.ndarray, where: str, owner: str) -> None:
    if len(train) == 0 or len(test) == 0:
        raise ValueError(
            f"{owner}: {where} has {len(train)} training and {len(test)} test "
            "rows. Both parts need some."
        )
    shared = np.intersect1d(train, test)
    if len(shared):
        raise ValueError(
            f"{owner}: {len(shared)} row(s) are in the training and the test "
            f"part of {where}."
        )


def _check_classes(
    train: np.ndarray, test: np.ndarray, y: np.ndarray, where: str, owner: str
) -> None:
    classes = np.unique(y)
    for part, rows in (("training", train), ("test", test)):
        lacking = np.flatnonzero(~np.isin(classes, y[rows]))
        if len(lacking):
            raise ValueError(
                f"{owner}: class number {lacking[0]} (in sorted order) of "
                f"{len(classes)} is missing from the {part} part of {where} "
                f"({len(rows)} rows), so scores such as AUROC are undefined there. Use "
                "fewer folds, another random_state, a stratified splitter, or merge "
                "rare classes."
            )
