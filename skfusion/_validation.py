"""Validation of parameters and sample weights, shared by several subpackages."""

from __future__ import annotations

import difflib
import math
import numbers
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import assert_all_finite

__all__ = [
    "NULL_WORDS",
    "check_confidence_level",
    "check_number",
    "check_option",
    "check_unique_labels",
    "check_weights",
    "did_you_mean",
    "examples_of",
    "first_unhashable",
    "ids_of",
    "is_every_row",
    "is_null",
    "is_number",
    "refuse_unknown_table",
]

#: What conversions to text make of nulls, and text without letters.
NULL_WORDS = frozenset(("", "nan", "NaN", "<NA>", "NaT", "None"))

# Tables that are not read as they are: root package of the class -> conversion. They
# are told by the name of the package, which is not imported for it.
_CONVERSIONS = {
    "cudf": ".to_pandas()",
    "dask": ".compute()",
    "dask_expr": ".compute()",
    "daft": ".to_pandas()",
    "datatable": ".to_pandas()",
    "duckdb": ".df()",
    "ibis": ".to_pandas()",
    "modin": ".modin.to_pandas()",
    "pyspark": ".toPandas()",
    "snowflake": ".to_pandas()",
    "vaex": ".to_pandas_df()",
}


def check_weights(sample_weight: Any, n_rows: int, owner: str) -> np.ndarray:
    """Check sample weights and return them as an array.

    Parameters
    ----------
    sample_weight : array-like of shape (n_rows,) or float
        The weights. A single number above 0 is used for all rows.
    n_rows : int
        Expected number of weights.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    ndarray of float64 of shape (n_rows,)

    Raises
    ------
    ValueError
        If the shape is wrong, or weights are negative, not finite or all zero.

    Examples
    --------
    >>> from skfusion._validation import check_weights
    >>> check_weights([1, 0, 2], 3, "EarlyFusionClassifier").tolist()
    [1.0, 0.0, 2.0]
    """
    if np.isscalar(sample_weight) or getattr(sample_weight, "shape", None) == ():
        check_number(
            sample_weight, "sample_weight", owner, low=0, exclude_low=True, also="array"
        )
        return np.full(n_rows, float(sample_weight))
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (n_rows,):
        raise ValueError(
            f"{owner}: sample_weight.shape == {weights.shape}, expected {(n_rows,)}!"
        )
    assert_all_finite(weights, input_name="sample_weight")
    if (weights < 0).any():
        raise ValueError(
            f"{owner}: Negative values in sample_weight at {(weights < 0).sum()} rows. "
            "Weights must be 0 or more."
        )
    if not weights.any():
        raise ValueError(f"{owner}: all entries of sample_weight are zero.")
    return weights


def check_number(
    value: Any,
    name: str,
    estimator_name: str,
    *,
    low: float | None = None,
    high: float | None = None,
    exclude_low: bool = False,
    exclude_high: bool = False,
    integer: bool = False,
    also: str = "",
) -> None:
    """Check that a parameter is a finite number within its range.

    Parameters
    ----------
    value : object
        The value from the user.
    name : str
        Name of the parameter.
    estimator_name : str
        Name of the estimator or function, for the message.
    low, high : float or None, default=None
        Ends of the range. None is no end.
    exclude_low, exclude_high : bool, default=False
        Whether the end itself is outside the range.
    integer : bool, default=False
        Whether the number must be an integer.
    also : str, default=""
        What is allowed besides and has been checked before, for the message, e.g.
        ``"None"``.

    Raises
    ------
    ValueError
        If `value` is not such a number. Booleans are not numbers.

    Examples
    --------
    >>> from skfusion._validation import check_number
    >>> check_number(3, "patience", "JointFusionClassifier", low=1, integer=True)
    >>> check_number(2.5, "n_slices", "ImageEmbedder", low=1, integer=True)
    Traceback (most recent call last):
    ValueError: ImageEmbedder: n_slices must be an integer of 1 or more, got 2.5.
    """
    fits = is_number(value) and (not integer or isinstance(value, numbers.Integral))
    if fits and low is not None:
        fits = value > low if exclude_low else value >= low
    if fits and high is not None:
        fits = value < high if exclude_high else value <= high
    if fits:
        return
    ends = []
    if None not in (low, high) and not (exclude_low or exclude_high):
        ends.append(f"from {low} to {high}")
        low = high = None
    if low is not None:
        ends.append(f"above {low}" if exclude_low else f"of {low} or more")
    if high is not None:
        ends.append(f"below {high}" if exclude_high else f"at most {high}")
    kind = "an integer" if integer else "a number"
    allowed = " ".join([kind, " and ".join(ends)]).strip()
    other = f" or {also}" if also else ""
    raise ValueError(
        f"{estimator_name}: {name} must be {allowed}{other}, got {value!r}."
    )


def check_confidence_level(value: Any, estimator_name: str) -> None:
    """Check that a confidence level is a number between 0 and 1, both excluded.

    Parameters
    ----------
    value : object
        The value from the user.
    estimator_name : str
        Name of the estimator or function, for the message.

    Raises
    ------
    ValueError
        If `value` is not such a number, e.g. 95 instead of 0.95.

    Examples
    --------
    >>> from skfusion._validation import check_confidence_level
    >>> check_confidence_level(0.95, "compare_fusion")
    """
    check_number(
        value,
        "confidence_level",
        estimator_name,
        low=0,
        high=1,
        exclude_low=True,
        exclude_high=True,
    )


def check_option(
    value: Any,
    name: str,
    allowed: Iterable[Any],
    estimator_name: str,
    *,
    also: str = "",
) -> None:
    """Check that a parameter has one of its allowed values.

    Parameters
    ----------
    value : object
        The value given by the user.
    name : str
        Name of the parameter.
    allowed : iterable
        The allowed values.
    estimator_name : str
        Name of the estimator or function, used in the error message.
    also : str, default=""
        Description of other allowed values, e.g. ``"a callable"``. It is added to the
        error message. The caller has checked these values before.

    Raises
    ------
    ValueError
        If `value` is not one of `allowed`.

    Examples
    --------
    >>> from skfusion._validation import check_option
    >>> check_option("mean", "pooling", ("mean", "max"), "ImageEmbedder")
    >>> check_option("meen", "pooling", ("mean", "max"), "ImageEmbedder")
    Traceback (most recent call last):
    ValueError: ImageEmbedder: pooling must be one of ('mean', 'max'), got 'meen'. ...
    """
    known = tuple(allowed)
    if isinstance(value, Hashable) and value in known:
        return
    other = f" or {also}" if also else ""
    hint = did_you_mean(value, [option for option in known if isinstance(option, str)])
    raise ValueError(
        f"{estimator_name}: {name} must be one of {known}{other}, got {value!r}."
        f"{hint if isinstance(value, str) else ''}"
    )


def refuse_unknown_table(X: Any, estimator_name: str) -> None:
    """Check that a table is not of a type that NumPy would convert without its columns.

    Parameters
    ----------
    X : object
        Table of the user.
    estimator_name : str
        Name of the estimator or function, for the message.

    Raises
    ------
    TypeError
        If `X` is a table of another package than pandas, polars and pyarrow, such as
        dask, or a query that has not been run.

    Examples
    --------
    >>> import polars as pl
    >>> from skfusion._validation import refuse_unknown_table
    >>> refuse_unknown_table(pl.DataFrame({"age": [61]}), "TabularEncoder")
    >>> refuse_unknown_table(pl.LazyFrame({"age": [61]}), "TabularEncoder")
    Traceback (most recent call last):
    TypeError: TabularEncoder: X must be a table in memory of pandas, polars or ...
    """
    roots = [base.__module__.partition(".")[0] for base in type(X).__mro__]
    if "pandas" in roots:  # also of packages that extend pandas, such as geopandas
        return
    root = roots[0]
    remedy = _CONVERSIONS.get(root)
    if root == "pyarrow":  # tables that are not in memory
        readers = ("read_all", "to_table")
        remedy = next((f".{name}()" for name in readers if hasattr(X, name)), None)
    if remedy is None and root not in ("polars", "pyarrow", "numpy"):
        # A table of any other package has columns and a way to pandas.
        ways = ("to_pandas", "toPandas", "to_pandas_df", "to_df", "compute", "collect")
        known = [way for way in ways if callable(getattr(X, way, None))]
        if known and hasattr(X, "columns"):
            remedy = f".{known[0]}()"
    if root == "polars" and type(X).__name__ == "LazyFrame":
        remedy = ".collect()"
    if remedy is not None:
        raise TypeError(
            f"{estimator_name}: X must be a table in memory of pandas, polars or "
            f"pyarrow, or an array, got {type(X).__module__}.{type(X).__qualname__}. "
            f"Convert it with {remedy} first."
        )


def check_unique_labels(labels: Sequence[Any], estimator_name: str) -> None:
    """Check that the column labels of a table are unique and not missing.

    Raises
    ------
    ValueError
        If a label is used more than once, or is None or NaN.

    Examples
    --------
    >>> from skfusion._validation import check_unique_labels
    >>> check_unique_labels(["age", "sex"], "TabularEncoder")
    >>> check_unique_labels(["age", "sex", "age"], "TabularEncoder")
    Traceback (most recent call last):
    ValueError: TabularEncoder: X has duplicate column labels: it has more than one ...
    """
    counts = Counter(labels)
    repeated = [repr(label) for label, count in counts.items() if count > 1]
    if repeated:
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        raise ValueError(
            f"{estimator_name}: X has duplicate column labels: it has more than one "
            f"column named {', '.join(repeated[:5])}{more}. Column names must be "
            "unique. Rename or remove the columns."
        )
    missing = [
        position
        for position, label in enumerate(labels)
        if label is None
        or (isinstance(label, float) and math.isnan(label))
        or type(label).__name__ in ("NAType", "NaTType")
    ]
    if missing:
        raise ValueError(
            f"{estimator_name}: X has missing column labels (None or NaN) at column "
            f"position(s) {missing[:5]}. Name the columns."
        )


def first_unhashable(cells: Iterable[Any]) -> int | None:
    """Return the position of the first cell that cannot be a key, such as a list.

    Examples
    --------
    >>> from skfusion._validation import first_unhashable
    >>> first_unhashable(["a", None, ["a", "b"]])
    2
    """
    for position, cell in enumerate(cells):
        try:
            hash(cell)
        except TypeError:
            return position
    return None


def ids_of(given: Any) -> pd.Series:
    """Return ids, such as those of patients, as a column whose nulls are nulls.

    An array of NumPy has one dtype. Beside text, it makes text of numbers, so that 1
    and "1" are one id, which is not done here with lists. Blank text, and the words
    that conversions to text make of nulls, such as ``"nan"``, are nulls. Otherwise all
    rows without an id would be of one patient.

    Parameters
    ----------
    given : array-like of shape (n,)
        Ids of any type.

    Returns
    -------
    Series of shape (n,)
        The ids, with the index 0 to n - 1.

    Examples
    --------
    >>> from skfusion._validation import ids_of
    >>> ids_of(["a", float("nan"), "a", "nan", " "]).isna().tolist()
    [False, True, False, True, True]
    """
    if isinstance(given, list | tuple):
        ids = pd.Series(given, dtype=object)
    elif isinstance(given, pd.Series | pd.Index | pd.api.extensions.ExtensionArray):
        ids = pd.Series(given).reset_index(drop=True)
    else:
        ids = pd.Series(np.asarray(given))
    if ids.dtype.kind != "O":  # numbers, times
        return ids
    ids = ids.astype(object)
    is_lost = [isinstance(one, str) and one.strip() in NULL_WORDS for one in ids]
    return ids.mask(np.array(is_lost, dtype=bool), None)


def is_null(cell: Any) -> bool:
    """Return whether a cell is None, NaN, NA or NaT.

    Examples
    --------
    >>> from skfusion._validation import is_null
    >>> is_null(float("nan")), is_null(""), is_null([None])
    (True, False, False)
    """
    return bool(pd.api.types.is_scalar(cell) and pd.isna(cell))


def is_number(value: Any) -> bool:
    """Return whether a value is a finite real number and not a boolean.

    Examples
    --------
    >>> from skfusion._validation import is_number
    >>> is_number(0.5), is_number(True), is_number("1"), is_number(float("nan"))
    (True, False, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return math.isfinite(value)


def did_you_mean(word: Any, known: Sequence[str] | Mapping[str, Any]) -> str:
    """Return " Did you mean 'x'?" if a known word is similar, else an empty string.

    Examples
    --------
    >>> from skfusion._validation import did_you_mean
    >>> did_you_mean("concatt", ["concat", "pool"])
    " Did you mean 'concat'?"
    """
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def examples_of(names: Sequence[str], near: str, n: int = 5) -> str:
    """Return a few of the possible names, those similar to `near` first.

    Examples
    --------
    >>> from skfusion._validation import examples_of
    >>> examples_of(["densenet121", "resnet18", "resnet50"], "resnet", n=2)
    'resnet50, resnet18'
    """
    close = difflib.get_close_matches(near, names, n=n, cutoff=0.5)
    rest = [name for name in names if name not in close]
    return ", ".join([*close, *rest][:n])


def is_every_row(rows: np.ndarray, n_rows: int) -> bool:
    """Return whether positions are those of all rows in their order.

    A table of which all rows are selected need not be copied, which for a matrix of
    embeddings is most of the memory that a fit takes.

    Parameters
    ----------
    rows : ndarray of int
        Positions of rows.
    n_rows : int
        Number of rows of the table.

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion._validation import is_every_row
    >>> is_every_row(np.array([0, 1, 2]), 3), is_every_row(np.array([0, 2, 1]), 3)
    (True, False)
    """
    rows = np.asarray(rows)
    is_position = rows.ndim == 1 and rows.dtype.kind in "iu"
    if not is_position or len(rows) != n_rows:  # also a mask
        return False
    return bool((rows == np.arange(n_rows)).all())
