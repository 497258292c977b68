"""Validated training data of a cohort, and checks of patient ids."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.utils.validation import column_or_1d

from skfusion._fitting.pipelines import looks_up_by
from skfusion._image_cells.recognition import inspect_cells
from skfusion._validation import (
    check_unique_labels,
    first_unhashable,
    ids_of,
    is_every_row,
    is_number,
    refuse_unknown_table,
)
from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.modality import Modality, is_identifier, names_patient, one_label
from skfusion.vectors.cells import with_arrays

__all__ = [
    "TrainingData",
    "as_pandas",
    "check_groups",
    "column_of_role",
    "column_or_ids",
    "is_partition",
    "relative_weights",
    "repeated_ids",
    "warn_of_id_features",
    "warn_repeated_ids",
]


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
        Sample weights, including class weights. `relative_weights` has scaled those of
        all training rows. They are not scaled again for some of the rows.
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
        if is_every_row(index, len(self.y)):
            return self
        return TrainingData(
            self.X.iloc[index].reset_index(drop=True),
            self.y[index],
            None if self.sample_weight is None else self.sample_weight[index],
            None if self.groups is None else self.groups[index],
            self.presence[index],
            None if self.auxiliary is None else self.auxiliary.iloc[index],
        )


# Scaling by a factor that is no power of two changes the last bits of a weight. Trees
# break ties by such bits. Weights that differ by a factor are equal after rounding.
WEIGHT_BITS = 32


def relative_weights(sample_weight: np.ndarray, owner: str) -> np.ndarray:
    """Return weights of mean 1, so that their scale has no effect.

    Many parts of a fusion read the sum of the weights as a number of rows, e.g. the
    penalty of a learner, the cases that Platt's method adds, relative ranks and the
    mean loss of a mini-batch. Weights that sum to 1 would be one row to them.

    Parameters
    ----------
    sample_weight : ndarray of shape (n_samples,)
        Weights of 0 or more. A row of weight 0 counts as left out.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    ndarray of float64 of shape (n_samples,)
        Weights with a mean of 1 over the rows whose weight is above 0, rounded to 32
        bits.

    Raises
    ------
    ValueError
        If all weights are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.cohort import relative_weights
    >>> relative_weights(np.array([0.01, 0.03, 0.0]), "EarlyFusionClassifier").tolist()
    [0.5, 1.5, 0.0]
    """
    largest = sample_weight.max(initial=0.0)
    if largest == 0:
        raise ValueError(
            f"{owner}: no training row has a weight above 0, which is the product of "
            "sample_weight and class_weight. Give some class that has rows a weight "
            "above 0."
        )
    shares = sample_weight / largest  # whose sum cannot overflow
    scaled = shares / shares[shares > 0].mean()
    mantissa, exponent = np.frexp(scaled)
    return np.ldexp(np.round(mantissa * 2.0**WEIGHT_BITS), exponent - WEIGHT_BITS)


def column_of_role(column: Any, role: str, frame: pd.DataFrame, owner: str) -> Any:
    """Return the label of a column that a parameter of a constructor names.

    Parameters
    ----------
    column : column label or int
        Label or position of the column.
    role : str
        Name of the parameter, used in messages.
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    owner : str
        Name of the estimator, used in messages.

    Returns
    -------
    column label

    Raises
    ------
    TypeError
        If values are given instead of a column.
    ValueError
        If the column does not exist, or an integer is the position of one column and
        the label of another.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohort import column_of_role
    >>> X = pd.DataFrame({"age": [61, 48], "patient_id": ["a", "b"]})
    >>> column_of_role(1, "groups", X, "EarlyFusionClassifier")
    'patient_id'
    """
    if not isinstance(column, Hashable):
        remedy = ""
        if role == "groups":
            remedy = " Pass the patient ids to fit, fit(X, y, groups=...)."
        raise TypeError(
            f"{owner}: {role} must be the name of a column of X or None, got "
            f"{type(column).__name__}.{remedy}"
        )
    return one_label(column, frame, owner=owner, where=f"{role}= names")


def column_or_ids(groups: Any) -> tuple[Any, Any]:
    """Split an argument that is a column or patient ids into ``(column, ids)``.

    Examples
    --------
    >>> from skfusion.cohort import column_or_ids
    >>> column_or_ids("patient_id"), column_or_ids([1, 1, 2])
    (('patient_id', None), (None, [1, 1, 2]))
    """
    if isinstance(groups, str) or not hasattr(groups, "__iter__"):
        return groups, None
    return None, groups


def check_groups(
    groups: Any, frame: pd.DataFrame, *, column: Any, owner: str
) -> np.ndarray | None:
    """Check patient ids and encode them as integers.

    Parameters
    ----------
    groups : array-like of shape (n_samples,) or None
        Patient ids. None takes them from `column`.
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    column : column label, int or None
        Label or position of the column with the patient ids.
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
        If an id is a list or another object that cannot be compared, or values are
        given as `column`.

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
        column = column_of_role(column, "groups", frame, owner)
        groups = frame[column]
    where = "groups" if column is None else f"groups column {column!r}"
    values = ids_of(_one_dimensional(groups, where, owner))
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
    _refuse_numbers_as_text(values, where, owner)
    return pd.factorize(values)[0]


def _refuse_numbers_as_text(ids: pd.Series, where: str, owner: str) -> None:
    """Raise an error if an id is a number in one row and its text in another."""
    if ids.dtype != object:
        return
    different = set(ids.tolist())
    texts = {one.strip() for one in different if isinstance(one, str)}
    if not texts or len(texts) == len(different):
        return
    whole = [int(one) for one in different if is_number(one) and one == int(one)]
    both = texts.intersection(map(str, whole))
    if both:
        raise ValueError(
            f"{owner}: {len(both)} patient ids in {where} are a number in one row and "
            "text in another, so that rows of one patient could be on both sides of a "
            "split. Convert the ids, e.g. with astype(str)."
        )


def _one_dimensional(groups: Any, where: str, owner: str) -> Any:
    """Return patient ids as a 1-D array, and check that they can be compared."""
    if isinstance(groups, list | tuple) and not all(
        isinstance(entry, list | tuple) and len(entry) == 1 for entry in groups
    ):
        groups = ids_of(groups)  # NumPy would make it text, or 2-D, or fail
    if isinstance(groups, str):
        raise TypeError(
            f"{owner}: got a str as {where}; expected one patient id per row. Pass "
            "the column itself, X[name]. Only the parameter groups is a name."
        )
    if np.ndim(groups) != 1 and np.shape(groups)[1:] != (1,):
        raise ValueError(
            f"{owner}: got {type(groups).__name__} of shape {np.shape(groups)} as "
            f"{where}; expected one column with one patient id per row."
        )
    values = column_or_1d(groups)
    row = first_unhashable(values) if values.dtype == object else None
    if row is not None:
        raise TypeError(
            f"{owner}: got {type(values[row]).__name__} in {where}, row position "
            f"{row}; expected one patient id per row, such as text or an integer."
        )
    return values


def repeated_ids(frame: pd.DataFrame) -> list[Any]:
    """Return the columns that look like ids and have repeated values.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohort import repeated_ids
    >>> repeated_ids(pd.DataFrame({"age": [61, 61], "patient_id": ["a", "a"]}))
    ['patient_id']
    """
    identifiers = [c for c in frame.columns if is_identifier(c, frame)]
    # Patient ids come first, because a lesion or study id is a finer unit.
    identifiers.sort(key=lambda column: not names_patient(column))
    found = []
    for column in identifiers:
        ids = frame[column]
        if first_unhashable(ids.dropna()) is not None:
            ids = ids.dropna().map(repr)  # lists: equal if they look the same
        if ids.nunique() < frame[column].notna().sum():
            found.append(column)
    return found


def warn_repeated_ids(frame: pd.DataFrame, owner: str) -> None:
    """Warn if a column looks like a patient id and has repeated values."""
    for column in repeated_ids(frame)[:1]:
        warn_user(
            f"{owner}: column {column!r} looks like a patient id and repeats "
            f"({len(frame)} rows, {frame[column].dropna().map(repr).nunique()} values)"
            ", but no groups were given, so one patient can end up on both sides of a "
            f"split. Pass groups={column!r}.",
            LeakageWarning,
        )


def warn_of_id_features(
    modalities: Iterable[Modality],
    frame: pd.DataFrame,
    patients: np.ndarray | None,
    owner: str,
) -> None:
    """Warn if a feature has one value per patient, and another for each patient.

    Only whole numbers and text can be ids. Columns that a transformer receives as a
    `Series`, such as texts and images, and those of modalities that look up events of
    the patients are no features.

    Parameters
    ----------
    modalities : iterable of Modality
        The modalities.
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    patients : ndarray of int of shape (n_samples,) or None
        Number of the patient of each row.
    owner : str
        Name of the estimator, used in the message.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.cohort import warn_of_id_features
    >>> from skfusion.modality import Modality
    >>> X = pd.DataFrame({"number": [70, 71, 70, 72], "age": [61, 48, 62, 48]})
    >>> labs = Modality("labs", StandardScaler(), ("number", "age"))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_of_id_features([labs], X, np.array([0, 1, 0, 2]), "cohort")
    >>> str(caught[0].message)[:48]
    "cohort: column 'number' of modality 'labs' has o"
    """
    if patients is None or len(np.unique(patients)) in (1, len(patients)):
        return
    for modality in modalities:
        columns = modality.columns
        keys = any(looks_up_by(modality.transformer, column) for column in columns)
        for column in () if keys or modality.scalar else columns:
            if not is_partition(frame[column], patients):
                continue
            warn_user(
                f"{owner}: column {column!r} of modality {modality.name!r} has one "
                "value for each patient (groups) and a different one for every "
                "patient, as a patient id has. If it is an id, leave it out of the "
                "modality.",
                LeakageWarning,
            )


def is_partition(column: pd.Series, patients: np.ndarray) -> bool:
    """Return whether whole numbers or texts are equal exactly for equal patients.

    Parameters
    ----------
    column : Series of shape (n_samples,)
        Column of a cohort. With a missing value, it is no partition.
    patients : ndarray of int of shape (n_samples,)
        Number of the patient of each row.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion.cohort import is_partition
    >>> patients = np.array([0, 1, 0])
    >>> is_partition(pd.Series([70, 71, 70]), patients)
    True
    >>> is_partition(pd.Series([70, 71, 72]), patients)
    False
    """
    values = column.dropna()
    head = values.iloc[: 2 * PARTITION_ROWS]
    if len(values) < len(column) or not _can_be_id(head):
        return False
    try:
        # Most columns differ in the first rows, without a look at all of them.
        if not _same_partition(head, patients[: len(head)]):
            return False
        return _can_be_id(values) and _same_partition(values, patients)
    except TypeError:  # lists and other cells that cannot be compared
        return False


PARTITION_ROWS = 50


def _same_partition(values: pd.Series, patients: np.ndarray) -> bool:
    codes = pd.factorize(values)[0]
    pairs = len(set(zip(codes.tolist(), patients.tolist(), strict=True)))
    return len(set(codes.tolist())) == pairs == len(np.unique(patients))


def _can_be_id(values: pd.Series) -> bool:
    types = pd.api.types
    if types.is_bool_dtype(values) or types.is_complex_dtype(values):
        return False
    if types.is_numeric_dtype(values):
        numbers = values.to_numpy(dtype=np.float64)
        return bool((numbers == np.floor(numbers)).all())
    if isinstance(values.dtype, pd.CategoricalDtype):
        return True
    whole = all(isinstance(cell, str | int | np.integer) for cell in values)
    return whole and not inspect_cells(values).has_paths


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
        If `X` is a table of another package, a dict or a list of dicts.
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
    _refuse_records(X, owner)
    root = type(X).__module__.partition(".")[0]
    if root == "pyarrow" and hasattr(X, "to_pandas") and hasattr(X, "num_columns"):
        check_unique_labels(X.schema.names, owner)
        X = X.to_pandas()
    if isinstance(X, pd.DataFrame):
        check_unique_labels(list(X.columns), owner)
        kinds = set(map(type, X.dtypes))
        if any(issubclass(kind, pd.ArrowDtype) for kind in kinds):
            X = _with_vectors(X)
        if any(issubclass(kind, pd.SparseDtype) for kind in kinds):
            X = _with_dense_gaps(X)
        return X
    if root == "polars" and hasattr(X, "get_column"):
        columns = {}
        for name in X.columns:
            column = X.get_column(name)
            numeric = column.dtype.is_numeric()
            vectors = with_arrays(column)
            if isinstance(vectors, pd.Series):
                columns[name] = vectors
            else:
                columns[name] = column.to_numpy() if numeric else column.to_list()
        return pd.DataFrame(columns)
    return None


def _refuse_records(X: Any, owner: str) -> None:
    """Raise an error for containers of named values that are not tables."""
    found, remedy = (
        f"{type(X).__module__}.{type(X).__qualname__}",
        "pandas.DataFrame(X)",
    )
    if found.startswith("xarray."):
        remedy = "X.to_pandas()" if hasattr(X, "dtype") else "X.to_dataframe()"
    elif isinstance(X, list | tuple) and len(X) and isinstance(X[0], Mapping):
        found = f"a {type(X).__name__} of {type(X[0]).__name__}"
    elif isinstance(X, Mapping) and not scipy.sparse.issparse(X):  # dok_array is one
        found = type(X).__name__
    elif isinstance(X, np.ndarray) and X.dtype.names:
        found = "a structured array"
    else:
        return
    raise TypeError(
        f"{owner}: X must be a table with one row per case or an array, got {found}. "
        f"Convert it with {remedy} first."
    )


def _with_vectors(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which pyarrow's lists of floats are arrays."""
    columns = [with_arrays(frame.iloc[:, place]) for place in range(frame.shape[1])]
    if all(c.dtype == t for c, t in zip(columns, frame.dtypes, strict=True)):
        return frame
    return pd.concat(columns, axis=1).set_axis(frame.columns, axis=1)


def _with_dense_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose sparse columns all leave out zeros.

    A column that leaves out NaN or another value is stored densely, because
    scikit-learn reads only zeros as left out.
    """
    dense = {
        position: pd.Series(np.asarray(frame.iloc[:, position]), index=frame.index)
        for position, kind in enumerate(frame.dtypes)
        if isinstance(kind, pd.SparseDtype) and kind.fill_value != 0
    }
    if not dense:
        return frame
    columns = [
        dense.get(position, frame.iloc[:, position])
        for position in range(frame.shape[1])
    ]
    return pd.concat(columns, axis=1).set_axis(frame.columns, axis=1)
