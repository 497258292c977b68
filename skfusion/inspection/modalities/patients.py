"""Patients of the cases, for every entry point that splits or computes an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from skfusion.cohort import (
    as_pandas,
    check_groups,
    column_of_role,
    column_or_ids,
    warn_repeated_ids,
)
from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.fusion.restriction import fusions_within
from skfusion.inspection.models import OWNER, receives_table

__all__ = ["UNKNOWN", "Patients", "find_patients", "table_of"]

# What happens in each place if rows of one patient count as independent.
HARMS = {
    "split": "one patient can end up on both sides of a split",
    "interval": "the confidence intervals treat rows of one patient as independent",
}


@dataclass(frozen=True)
class Patients:
    """Patients of the cases.

    Attributes
    ----------
    numbers : ndarray of int of shape (n,) or None
        Number of the patient of each case. None if nobody knows the patients.
    column : column label or None
        Column of the table that contains the ids and is not a feature.
    """

    numbers: np.ndarray | None
    column: Any = None

    @property
    def repeated(self) -> np.ndarray | None:
        """The numbers, or None if every case is another patient."""
        numbers = self.numbers
        if numbers is None or len(np.unique(numbers)) == len(numbers):
            return None
        return numbers

    def without_ids(self, table: Any) -> Any:
        """Return a table without the column of ids, for a model fitted without it."""
        if self.column is None or table is None:
            return table
        given = table_of(table)
        frame = pd.DataFrame(given)
        if self.column not in frame.columns:
            return table
        rest = frame.drop(columns=self.column)
        return rest if hasattr(given, "iloc") else rest.to_numpy()

    def check_several(self) -> Patients:
        """Return the patients, or raise an error if all cases belong to one."""
        if self.numbers is not None and self.numbers.max(initial=0) == 0:
            raise ValueError(
                f"{OWNER}: all {len(self.numbers)} cases belong to one patient "
                "(group), so the variation between patients cannot be estimated. Pass "
                "cases of more patients."
            )
        return self


UNKNOWN = Patients(None)


def find_patients(
    groups: Any, X: Any, estimator: Any, *, harm: str = "interval"
) -> Patients:
    """Return the patients of the cases.

    Parameters
    ----------
    groups : str, int, array-like of shape (n,) or None
        The patient ids, or the column that contains them. None takes the column that
        the estimator, or a fusion inside it, has as its parameter `groups`.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    estimator : estimator
        The fitted estimator.
    harm : {"interval", "split"}, default="interval"
        What unknown patients would spoil, for the warnings.

    Returns
    -------
    Patients

    Raises
    ------
    ValueError
        If an id is missing, the number of ids differs from the number of cases, or the
        column that was passed does not exist.

    Warns
    -----
    LeakageWarning
        If the table lacks the column of the estimator, or the estimator was fitted with
        ids that are not passed here. Also if nobody knows the patients and a column
        looks like a patient id and repeats.
    """
    frame = pd.DataFrame(table_of(X))
    if groups is not None:
        column, ids = column_or_ids(groups)
        numbers = check_groups(ids, frame, column=column, owner=OWNER)
        if column is not None:
            column = column_of_role(column, "groups", frame, OWNER)
        return Patients(numbers, column)
    fusions = fusions_within(estimator)
    columns = {k: one.groups for k, one in fusions.items() if one.groups is not None}
    for prefix, column in columns.items():
        direct = receives_table(estimator, prefix)
        ids = _ids_of(column, frame, X, estimator, direct=direct)
        if ids is not None:
            numbers = check_groups(ids, frame, column=None, owner=OWNER)
            return Patients(numbers, ids.name)
    if columns:
        _warn_without_ids(
            "the estimator knows its patients by column "
            f"{next(iter(columns.values()))!r}, which X does not have",
            harm,
        )
    elif any(getattr(one, "_had_patients", False) for one in fusions.values()):
        _warn_without_ids(
            "the estimator was fitted with patient ids, but no groups were given here",
            harm,
        )
    else:
        warn_repeated_ids(frame, OWNER)
    return UNKNOWN


def table_of(X: Any) -> Any:
    """Return a data frame as a pandas DataFrame, and other inputs as an array."""
    frame = as_pandas(X, OWNER)
    return np.asarray(X) if frame is None else frame


def _ids_of(
    column: Any, frame: pd.DataFrame, X: Any, estimator: Any, *, direct: bool
) -> Any:
    """Return the ids in the column of a fusion, or None if the table has none."""
    # A position refers to the table that the fusion itself receives.
    if direct or not isinstance(column, (int, np.integer)):
        try:
            return frame[column_of_role(column, "groups", frame, OWNER)]
        except ValueError:
            pass
    model = getattr(estimator, "best_estimator_", estimator)
    if direct or not isinstance(model, Pipeline):
        return None
    try:  # A step before the fusion can make the column.
        inside = pd.DataFrame(table_of(model[:-1].transform(X)))
        return inside[column_of_role(column, "groups", inside, OWNER)]
    except (ValueError, AttributeError):
        return None


def _warn_without_ids(reason: str, harm: str) -> None:
    warn_user(
        f"{OWNER}: {reason}, so {HARMS[harm]}. Pass groups= with the patient ids or "
        "their column.",
        LeakageWarning,
    )
