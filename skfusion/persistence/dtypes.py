"""Dtypes of the training table: kinds of cells, and casts without loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from skfusion.exceptions import DataWarning, warn_user

__all__ = ["dates_in_dtype", "in_dtype", "is_whole", "is_zoned", "kind_of"]

#: Largest whole number up to which float64 has every whole number.
_LARGEST_IN_FLOAT = 2**53


def kind_of(dtype: str) -> str:
    """Return the kind of cells of a column of a dtype.

    Parameters
    ----------
    dtype : str
        Name of a dtype of numpy, pandas or pyarrow.

    Returns
    -------
    {"number", "boolean", "date", "category"}

    Examples
    --------
    >>> from skfusion.persistence.dtypes import kind_of
    >>> [kind_of(name) for name in ("Int64", "boolean", "datetime64[ns]", "str")]
    ['number', 'boolean', 'date', 'category']
    """
    kind = _named(dtype)
    if kind is None:
        return "category"
    if pd.api.types.is_bool_dtype(kind):
        return "boolean"
    if pd.api.types.is_numeric_dtype(kind):
        return "number"
    is_date = pd.api.types.is_datetime64_any_dtype(kind) or dtype.startswith("date")
    return "date" if is_date else "category"


def is_whole(dtype: str) -> bool:
    """Return whether a dtype holds whole numbers only.

    Parameters
    ----------
    dtype : str
        Name of a dtype of numpy, pandas or pyarrow.
    """
    kind = _named(dtype)
    return kind is not None and pd.api.types.is_integer_dtype(kind)


def is_zoned(dtype: str) -> bool:
    """Return whether a dtype holds times of a time zone.

    Parameters
    ----------
    dtype : str
        Name of a dtype of numpy, pandas or pyarrow.
    """
    return isinstance(_named(dtype), pd.DatetimeTZDtype) or "tz=" in dtype


def dates_in_dtype(values: Sequence[str | None], dtype: str) -> pd.Series:
    """Return dates in ISO 8601 in a dtype of dates.

    Parameters
    ----------
    values : sequence of str or None
        Dates, all with a time zone if the dtype has one, else all without.
    dtype : str
        Name of the dtype of the training.

    Raises
    ------
    ValueError
        If a value is no date, or its time zone is not known or has no meaning.
    TypeError
        If the dtype holds no dates.

    Examples
    --------
    >>> from skfusion.persistence.dtypes import dates_in_dtype
    >>> dates_in_dtype(["2026-01-05T12:00+02:00"], "datetime64[s, UTC]")[0].hour
    10
    """
    zoned = is_zoned(dtype)
    times = [pd.Timestamp(value) for value in values if value is not None]
    if any((time.tzinfo is not None) != zoned for time in times if pd.notna(time)):
        raise ValueError
    cells = np.array(values, dtype=object)
    dates: Any = pd.Series(pd.to_datetime(cells, format="ISO8601", utc=zoned))
    return dates.astype(_named(dtype) or "datetime64[ns]")


def in_dtype(values: pd.Series, dtype: str, column: object) -> pd.Series:
    """Return numbers in a dtype of whole numbers if it holds each of them exactly.

    Equal numbers are the same to a model in every dtype. A cast must therefore not
    change one: 3.5 and 300 are no numbers of 8 bits.

    Parameters
    ----------
    values : Series
        Numbers, None or NaN where missing.
    dtype : str
        Name of the dtype of the training. Other dtypes than those of whole numbers
        change nothing.
    column : object
        Label of the column, for the warning.

    Returns
    -------
    Series
        In the dtype of the training. Missing cells make it float64, or the nullable
        Int64 for numbers that float64 would round, unless the dtype is nullable.

    Warns
    -----
    DataWarning
        If the dtype does not hold some of the numbers. They are kept as they are.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.persistence.dtypes import in_dtype
    >>> in_dtype(pd.Series([3.0, 7.0]), "int8", "stage").tolist()
    [3, 7]
    """
    if not is_whole(dtype):
        return values
    target: Any = _named(dtype)
    limits = np.iinfo(getattr(target, "numpy_dtype", target))
    there = values.notna()
    known = values[there]
    fits = _fits(known, int(limits.min), int(limits.max))
    if not fits.all():
        warn_user(
            f"column {column!r}: {int((~fits).sum())} of {len(values)} numbers are not "
            f"of the dtype {dtype} of the training. They are kept as they are.",
            DataWarning,
        )
        return values.astype(np.float64) if values.dtype == object else values
    if there.all() or not isinstance(target, np.dtype):
        return values.astype(target)
    is_large = known.map(abs).gt(_LARGEST_IN_FLOAT).any()
    return values.astype("Int64" if is_large else np.float64)


def _fits(known: pd.Series, low: int, high: int) -> np.ndarray:
    """Return which numbers are whole and within limits."""
    if known.dtype == object:  # of any size
        return np.array([low <= v <= high and int(v) == v for v in known], dtype=bool)
    numbers = known.to_numpy()
    # The next number after the limit is a power of two, which a float has.
    is_within = (numbers >= low) & (
        numbers < float(high + 1) if numbers.dtype.kind == "f" else numbers <= high
    )
    return np.asarray(is_within & (numbers == np.floor(numbers)), dtype=bool)


def _named(dtype: str) -> Any:
    """Return a dtype by its name, None if it has none."""
    try:
        return pd.api.types.pandas_dtype(dtype)
    except (TypeError, ImportError):
        return None
