"""Validated training data of a cohort, and checks of patient ids."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import column_or_1d

from skfusion._validation import (
    check_unique_labels,
    first_unhashable,
    refuse_unknown_table,
)
from skfusion.modality import find_column_roles, missing_column_message

__all__ = ["TrainingData", "as_pandas", "check_groups", "warn_repeated_ids"]


@dataclass(frozen=True)
class TrainingData:
    """Validated training data of a cohort.

    Attributes
    ----------
    X : DataFrame of shape (n_samples, n_columns)
        The columns that the modalities use, with a positional index.
    y : ndarray of shape (n_samples,)
        The target, encoded as integers for a classifier.
    sample_weight : ndarray of shape (n_samples,) or None
        Sample weights, including class weights.
    groups : ndarray of shape (n_samples,) or None
        Groups (patients), encoded as integers.
    presence : ndarray of bool of shape (n_samples, M)
        Presence of each modality in each row.
    auxiliary : Series of shape (n_samples,) or None
        Auxiliary target, for a fusion strategy that uses one.
    """

    X: pd.DataFrame
    y: np.ndarray
    sample_weight: np.ndarray | None
    groups: np.ndarray | None
    presence: np.ndarray
    auxiliary: pd.Series | None = None

    def rows(self, index: np.ndarray) -> TrainingData:
        """Return the data of some rows."""
        return TrainingData(
            self.X.iloc[index].reset_index(drop=True),
            self.y[index],
            None if self.sample_weight is None else self.sample_weight[index],
            None if self.groups is None else self.groups[index],
            self.presence[index],
            None if self.auxiliary is None else self.auxiliary.iloc[index],
        )


def check_groups(
    groups: Any, frame: pd.DataFrame, *, column: str | None, owner: str
) -> np.ndarray | None:
    """Check patient ids and encode them as integers.

    Parameters
    ----------
    groups : array-like of shape (n_samples,) or None
        Patient ids. None takes them from `column`.
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    column : str or None
        Name of the column with the patient ids.
    owner : str
        Name of the estimator, used in messages.

    Returns
    -------
    ndarray of int of shape (n_samples,) or None
        None if neither ids nor a column are given. A warning is then issued if a
        column looks like a patient id and repeats.

    Raises
    ------
    ValueError
        If the column does not exist, an id is missing, or the number of ids differs
        from the number of rows.
    TypeError
        If an id is a list or another object that cannot be compared.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohort import check_groups
    >>> X = pd.DataFrame({"patient_id": ["b", "a", "b"]})
    >>> check_groups(
    ...     None, X, column="patient_id", owner="EarlyFusionClassifier"
    ... ).tolist()
    [0, 1, 0]
    """
    if groups is None and column is None:
        warn_repeated_ids(frame, owner)
        return None
    if groups is None:
        if column not in frame.columns:
            raise ValueError(
                missing_column_message(
                    column, frame, owner=owner, name="groups"
                ).replace("modality 'groups' needs", "groups= names")
            )
        groups = frame[column]
    where = "groups" if column is None else f"groups column {column!r}"
    values = pd.Series(_one_dimensional(groups, where, owner))
    if len(values) != len(frame):
        raise ValueError(
            f"{owner}: groups has {len(values)} entries but X has {len(frame)} "
            "rows. Give one patient id per row."
        )
    unknown = np.flatnonzero(values.isna())
    if len(unknown):
        raise ValueError(
            f"{owner}: the patient id (groups) is missing in {len(unknown)} of "
            f"{len(values)} rows, first at row position(s) "
            f"{unknown[:5].tolist()}. Fill the ids or drop the rows, because a row "
            "without a patient cannot be assigned to one side of a split."
        )
    return pd.factorize(values)[0]


def _one_dimensional(groups: Any, where: str, owner: str) -> Any:
    """Return patient ids as a 1-D array, and check that they can be compared."""
    if isinstance(groups, list | tuple) and any(
        isinstance(entry, list | tuple) and len(entry) != 1 for entry in groups
    ):
        groups = pd.Series(groups, dtype=object)  # NumPy would make it 2-D, or fail
    values = column_or_1d(groups)
    row = first_unhashable(values) if values.dtype == object else None
    if row is not None:
        raise TypeError(
            f"{owner}: got {type(values[row]).__name__} in {where}, row position "
            f"{row}; expected one patient id per row, such as text or an integer."
        )
    return values


def warn_repeated_ids(frame: pd.DataFrame, owner: str) -> None:
    """Warn if a column looks like a patient id and has repeated values."""
    identifiers = find_column_roles(frame.iloc[:0]).identifiers
    # Patient ids come first, because a lesion or study id is a finer unit.
    identifiers.sort(key=lambda c: not any(w in str(c) for w in ("patient", "subject")))
    for column in identifiers:
        ids = frame[column]
        if first_unhashable(ids.dropna()) is not None:
            ids = ids.dropna().map(repr)  # lists: equal if they look the same
        n_values = ids.nunique()
        if n_values < frame[column].notna().sum():
            warnings.warn(
                f"{owner}: column {column!r} looks like a patient id and repeats "
                f"({len(frame)} rows, {n_values} values), but no groups were given, so "
                f"one patient can end up on both sides of a split. Pass "
                f"groups={column!r}.",
                UserWarning,
                stacklevel=5,
            )
            return


def as_pandas(X: Any, owner: str = "skfusion") -> pd.DataFrame | None:
    """Return a table of pandas, polars or pyarrow as a pandas frame.

    Parameters
    ----------
    X : object
        Cohort of the user.
    owner : str, default="skfusion"
        Name of the estimator or function, used in messages.

    Returns
    -------
    DataFrame or None
        None if `X` is not a table, e.g. an array.

    Raises
    ------
    TypeError
        If `X` is a table of another package.
    ValueError
        If column labels are not unique, or missing.

    Examples
    --------
    >>> import polars as pl
    >>> from skfusion.cohort import as_pandas
    >>> as_pandas(pl.DataFrame({"age": [61, 48]}))["age"].tolist()
    [61, 48]
    >>> as_pandas([[61], [48]]) is None
    True
    """
    refuse_unknown_table(X, owner)
    root = type(X).__module__.partition(".")[0]
    if root == "pyarrow" and hasattr(X, "to_pandas") and hasattr(X, "num_columns"):
        check_unique_labels(X.schema.names, owner)
        X = X.to_pandas()
    if isinstance(X, pd.DataFrame):
        check_unique_labels(list(X.columns), owner)
        return X
    if root == "polars" and hasattr(X, "get_column"):
        columns = {}
        for name in X.columns:
            column = X.get_column(name)
            numeric = column.dtype.is_numeric()
            columns[name] = column.to_numpy() if numeric else column.to_list()
        return pd.DataFrame(columns)
    return None
