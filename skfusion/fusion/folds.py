"""Inner splits that keep every patient on one side, and what is fitted on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

__all__ = ["Fold", "inner_folds", "validation_rows"]

Fold = tuple[np.ndarray, np.ndarray]


def inner_folds(
    cv: Any,
    strata: np.ndarray | None,
    groups: np.ndarray | None,
    *,
    n_rows: int,
    random_state: int,
    owner: str,
) -> list[Fold]:
    """Split rows for out-of-fold predictions, patients kept together.

    Parameters
    ----------
    cv : int or splitter
        Number of folds, a scikit-learn splitter, or the folds themselves. An int gives
        folds stratified by `strata`; with `groups`, folds of whole patients.
    strata : ndarray of shape (n_samples,) or (n_samples, n_labels) or None
        Class numbers, in proportion in every fold and none missing in a training part.
        Of an indicator matrix each label keeps both its values in every training
        part, without being stratified.
    groups : ndarray of shape (n_samples,) or None
        Patients.
    n_rows : int
        Number of rows, n_samples.
    random_state : int
        Seed of the shuffling.
    owner : str
        Name of the estimator that asks, for the messages.

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
    >>> from skfusion.fusion.folds import inner_folds
    >>> y, groups = np.tile([0, 1], 6), np.repeat(np.arange(6), 2)
    >>> folds = inner_folds(3, y, groups, n_rows=12, random_state=0, owner="me")
    >>> [len(np.intersect1d(groups[train], groups[test])) for train, test in folds]
    [0, 0, 0]
    """
    units = n_rows if groups is None else len(np.unique(groups))
    what = "rows" if groups is None else "patients (groups)"
    if isinstance(cv, (int, np.integer)):
        if cv < 2 or units < cv:
            raise ValueError(
                f"{owner}: cv={cv} folds need at least 2 folds and as many {what}; "
                f"there are {units} {what} (n_samples = {n_rows}). Give more data or "
                "fewer folds."
            )
        stratified = strata is not None and strata.ndim == 1
        cv = _splitter(int(cv), groups is not None, stratified, random_state)
    elif not hasattr(cv, "split") and not isinstance(cv, Iterable):
        raise TypeError(
            f"{owner}: cv must be a number of folds, a scikit-learn splitter or a list "
            f"of (train, test) row positions, got {type(cv).__name__}."
        )
    else:
        cv = check_cv(cv)
    if strata is not None and strata.ndim == 1:
        _check_class_sizes(strata, groups, owner)
    folds = [
        (np.asarray(train), np.asarray(test))
        for train, test in cv.split(np.zeros((n_rows, 1)), strata, groups)
    ]
    _check_folds(folds, strata, groups, n_rows=n_rows, owner=owner)
    return folds


def validation_rows(
    fraction: float,
    strata: np.ndarray | None,
    groups: np.ndarray | None,
    *,
    n_rows: int,
    random_state: int,
    owner: str,
) -> np.ndarray:
    """Choose the rows that early stopping watches, patients kept together.

    Parameters
    ----------
    fraction : float
        Share of the rows (or patients) to hold out; 0 holds out none.
    strata : ndarray of shape (n_samples,) or (n_samples, n_labels) or None
        Class numbers, which are held out in proportion, or an indicator matrix.
    groups : ndarray of shape (n_samples,) or None
        Patients.
    n_rows : int
        Number of rows, n_samples.
    random_state : int
        Seed.
    owner : str
        Name of the estimator that asks, for the messages.

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
    >>> from skfusion.fusion.folds import validation_rows
    >>> y, groups = np.tile([0, 1], 40), np.repeat(np.arange(40), 2)
    >>> rows = validation_rows(0.2, y, groups, n_rows=80, random_state=0, owner="me")
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
    if not n_folds or n_rows < 40 or units < n_folds or rarest < n_folds:
        return np.empty(0, dtype=int)
    splitter = _splitter(n_folds, groups is not None, stratified, random_state)
    for train, held_out in splitter.split(np.zeros((n_rows, 1)), strata, groups):
        # a loss over rows of one class, or without any event, says nothing of the model
        sides = [train, held_out] if stratified else [train]
        if strata is None or all(
            _n_classes(strata[side]) == _n_classes(strata) for side in sides
        ):
            return np.sort(held_out)
    return np.empty(0, dtype=int)


def _splitter(n_splits: int, grouped: bool, stratified: bool, seed: int) -> Any:
    kinds = {
        (True, True): StratifiedGroupKFold,
        (True, False): GroupKFold,
        (False, True): StratifiedKFold,
        (False, False): KFold,
    }
    kind = kinds[grouped, stratified]
    return kind(n_splits=n_splits, shuffle=True, random_state=seed)


def _n_classes(strata: np.ndarray) -> int:
    """Count the classes, over all columns."""
    return sum(len(np.unique(column)) for column in strata.reshape(len(strata), -1).T)


def _check_class_sizes(y: np.ndarray, groups: np.ndarray | None, owner: str) -> None:
    units = np.arange(len(y)) if groups is None else groups
    what = "row" if groups is None else "patient"
    for number in np.unique(y):
        count = len(np.unique(units[y == number]))
        if count < 2:
            raise ValueError(
                f"{owner}: class number {number} (in sorted order) has {count} {what} "
                "only, so the fold that holds it out would be trained without that "
                "class. Merge it with another class, or leave it out."
            )


def _check_folds(
    folds: list[Fold],
    strata: np.ndarray | None,
    groups: np.ndarray | None,
    *,
    n_rows: int,
    owner: str,
) -> None:
    n_classes = 0 if strata is None else _n_classes(strata)
    held_out = np.zeros(n_rows, dtype=int)
    for number, (train, test) in enumerate(folds):
        held_out[test] += 1
        if groups is not None:
            shared = np.intersect1d(groups[train], groups[test])
            if len(shared):
                raise ValueError(
                    f"{owner}: {len(shared)} patient(s) are on both sides of inner "
                    f"fold {number}. Use a splitter that minds groups, such as "
                    "StratifiedGroupKFold, or give cv as a number."
                )
        if strata is not None and _n_classes(strata[train]) < n_classes:
            raise ValueError(
                f"{owner}: a class is missing from the training part of inner fold "
                f"{number} ({len(train)} rows, {_n_classes(strata[train])} of "
                f"{n_classes} classes). Use fewer folds, or merge rare classes."
            )
    if (held_out != 1).any():
        raise ValueError(
            f"{owner}: the inner folds must hold out every row exactly once, but "
            f"{(held_out != 1).sum()} of {n_rows} rows are held out another number of "
            "times. Use a K-fold splitter."
        )
