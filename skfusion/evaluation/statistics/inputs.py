"""Validation of outcomes, scores and patient ids, shared by the statistics."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import ids_of

__all__ = [
    "check_outcome",
    "check_patients",
    "check_probability",
    "check_scores",
    "need_both_classes",
]


def check_outcome(y: Any, owner: str, *, columns: bool = False) -> np.ndarray:
    """Check that an outcome is coded as 0 and 1, and return it as booleans.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, L)
        The outcome from the user.
    owner : str
        Name of the function, for the message.
    columns : bool, default=False
        Whether the outcome may have columns, one per class or label.

    Returns
    -------
    ndarray of bool of the shape of `y`

    Raises
    ------
    ValueError
        If a value is missing or is not 0 or 1. Other codes are not converted, because
        they do not tell which class is positive.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.inputs import check_outcome
    >>> check_outcome([0, 1, 1], "delong_test").tolist()
    [False, True, True]
    >>> check_outcome(["no", "yes"], "delong_test")
    Traceback (most recent call last):
    ValueError: delong_test: y must be coded as 0 and 1, got the 2 values 'no' and ...
    """
    values = np.asarray(y)
    if values.ndim != 1 and not (columns and values.ndim == 2):
        expected = "(n,) or (n, L)" if columns else "(n,)"
        raise ValueError(
            f"{owner}: y must have shape {expected}, got {values.shape}. Pass one "
            "outcome per row."
        )
    if values.dtype == bool:
        return values
    missing = np.asarray(pd.isna(values), dtype=bool)
    if missing.any():
        rows = np.atleast_1d(missing.reshape(len(values), -1).any(axis=1))
        raise ValueError(
            f"{owner}: y is missing in {_places(rows)}. Leave these rows out of all "
            "arguments."
        )
    number = values.dtype.kind in "iuf" or all(
        isinstance(value, numbers.Real | np.bool_) for value in values.flat
    )
    if not number or not np.isin(values.astype(np.float64), (0.0, 1.0)).all():
        raise ValueError(
            f"{owner}: y must be coded as 0 and 1, got {_distinct(values)}"
        )
    return values.astype(bool)


def _distinct(values: np.ndarray) -> str:
    """Describe the classes of an outcome, and how to code it."""
    remedy = "Code the positive class as 1 and the other as 0"
    try:
        found = pd.unique(pd.Series(values.ravel())).tolist()
    except TypeError:  # cells that are lists or dicts
        return f"values of type {values.dtype}. {remedy}."
    if len(found) != 2:
        return f"{len(found)} distinct value(s) of type {values.dtype}. {remedy}."
    first, second = sorted(found, key=str)
    return (
        f"the 2 values {first!r} and {second!r}. {remedy}, such as (y == {second!r}) "
        f"if {second!r} is the positive class."
    )


def need_both_classes(positive: np.ndarray, owner: str) -> None:
    """Check that an outcome has positive and negative cases.

    Raises
    ------
    ValueError
        If all cases belong to one class, in a column if there are several.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.statistics.inputs import need_both_classes
    >>> need_both_classes(np.array([True, False]), "delong_test")
    """
    table = positive[:, None] if positive.ndim == 1 else positive
    counts = table.sum(axis=0)
    lacking = np.flatnonzero((counts == 0) | (counts == len(table)))
    if len(lacking):
        where = "" if positive.ndim == 1 else f" in {len(lacking)} of {len(counts)}"
        raise ValueError(
            f"{owner} needs positive and negative cases, but all {len(table)} cases "
            f"belong to one class{where and f'{where} column(s) of y'}."
        )


def check_scores(
    scores: Any, shape: tuple[int, ...], owner: str, name: str = "scores"
) -> np.ndarray:
    """Check that scores are finite numbers of the shape of the outcome.

    Parameters
    ----------
    scores : array-like
        The scores from the user.
    shape : tuple of int
        Expected shape.
    owner, name : str
        Names of the function and of the argument, for the message.

    Returns
    -------
    ndarray of float64

    Raises
    ------
    ValueError
        If the shape differs, or a score is not a finite number.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.inputs import check_scores
    >>> check_scores([1, 2], (2,), "delong_test")
    array([1., 2.])
    >>> check_scores([1, float("nan")], (2,), "delong_test", "a")
    Traceback (most recent call last):
    ValueError: delong_test: a is NaN or infinite in 1 of 2 rows, first at position...
    """
    table = as_numbers(scores, owner, name)
    if table.shape != shape:
        raise ValueError(
            f"{owner}: {name} must have shape {shape}, one per case of y, got shape "
            f"{table.shape}."
        )
    refuse_not_finite(table, owner, name)
    return table


def as_numbers(scores: Any, owner: str, name: str) -> np.ndarray:
    """Return scores as an array of float64, or raise an error without their values."""
    try:
        return np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        # The message of NumPy would quote a cell.
        raise ValueError(
            f"{owner}: {name} must be numbers in arrays of equal length, got "
            f"{type(scores).__name__}. Pass one number per case, without missing "
            "values."
        ) from None


def refuse_not_finite(table: np.ndarray, owner: str, name: str, axis: int = 0) -> None:
    """Raise an error with the number of rows where scores are NaN or infinite."""
    bad = ~np.isfinite(table)
    if bad.any():
        rows = bad.any(axis=tuple(i for i in range(table.ndim) if i != axis))
        raise ValueError(
            f"{owner}: {name} is NaN or infinite in {_places(rows)}. Leave these rows "
            "out of all arguments, or give a finite score for them."
        )


def check_probability(
    probability: Any, n_rows: int, owner: str, name: str = "probability"
) -> np.ndarray:
    """Check that probabilities are numbers from 0 to 1, one per case.

    Raises
    ------
    ValueError
        If the shape is wrong, or a value is not a number from 0 to 1.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.inputs import check_probability
    >>> check_probability([0.2, 1.0], 2, "net_benefit")
    array([0.2, 1. ])
    """
    values = check_scores(probability, (n_rows,), owner, name)
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise ValueError(
            f"{owner}: {name} must be between 0 and 1, but is outside this range in "
            f"{_places(outside)}. Pass predicted probabilities of the positive class, "
            "not decision values."
        )
    return values


def check_patients(groups: Any, n_rows: int, owner: str) -> tuple[np.ndarray, int]:
    """Check patient ids and return the number of the patient of each row.

    Parameters
    ----------
    groups : array-like of shape (n_rows,) or None
        Patient ids. If None, every row is a separate patient.
    n_rows : int
        Number of rows.
    owner : str
        Name of the function, for the message.

    Returns
    -------
    numbers : ndarray of int of shape (n_rows,)
        Number of the patient of each row, from 0.
    n_patients : int

    Raises
    ------
    ValueError
        If an id is missing, the length differs, or there are fewer than two patients.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.inputs import check_patients
    >>> numbers, n_patients = check_patients(["b", "a", "b"], 3, "delong_test")
    >>> numbers.tolist(), n_patients
    ([0, 1, 0], 2)
    """
    patient = np.arange(n_rows)
    if groups is not None:
        shape = np.shape(groups)
        if shape != (n_rows,):
            raise ValueError(
                f"{owner}: groups must have shape ({n_rows},), one patient id per "
                f"case of y, got shape {shape}."
            )
        patient = pd.factorize(ids_of(groups))[0]
        if (patient < 0).any():
            raise ValueError(
                f"{owner}: groups is missing in {_places(patient < 0)}. Give every "
                "row the id of its patient."
            )
    n_patients = int(patient.max(initial=-1)) + 1
    if n_patients < 2:
        raise ValueError(
            f"{owner}: all {n_rows} cases belong to one patient (group), so the "
            "variance between patients cannot be estimated. Pass cases of at least "
            "two patients."
        )
    return patient, n_patients


def _places(rows: np.ndarray) -> str:
    positions = np.flatnonzero(rows)
    return (
        f"{len(positions)} of {len(rows)} rows, first at position(s) "
        f"{positions[:5].tolist()}"
    )
