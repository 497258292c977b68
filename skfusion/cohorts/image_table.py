"""The one shape of tables of images, whatever their source is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import (
    did_you_mean,
    is_null,
    is_number,
    refuse_unknown_table,
)
from skfusion.cohorts.instants import instants_of
from skfusion.ehr.events.columns import as_ids
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["COLUMNS", "as_frame", "image_table", "patient_ids", "with_files"]


#: Columns of a table of images.
COLUMNS = (
    *("path", "patient", "study", "series", "series_number", "modality", "view"),
    *("laterality", "body_part", "acquired", "available", "rows", "columns"),
    *("instances", "frames", "split"),
)
_DAY = pd.Timedelta(1, "D") - pd.Timedelta(1, "us")
_NUMBERS = ("series_number", "rows", "columns", "instances", "frames")
_TIMES = ("acquired", "available")
_UIDS = ("study", "series")
_LARGEST = 2**53
# What the header of a file knows better than the record.
_OF_FILES = (
    *("path", "series_number", "modality", "view", "laterality", "body_part"),
    *("rows", "columns", "instances", "frames"),
)


def image_table(cells: Mapping[str, Any], n_rows: int, owner: str) -> pd.DataFrame:
    """Return a table with all columns of images and their dtypes.

    Parameters
    ----------
    cells : mapping of str to array-like of shape (n_rows,)
        Some of `COLUMNS`. Times are datetimes, with or without a time zone.
    n_rows : int
        Number of images.
    owner : str
        Name of the function for messages.

    Returns
    -------
    DataFrame of shape (n_rows, n_columns)
        All of `COLUMNS`, null where nothing is known.

    Warns
    -----
    DataWarning
        With the numbers of cells that are no whole numbers where one is expected.

    Examples
    --------
    >>> from skfusion.cohorts.image_table import image_table
    >>> table = image_table({"path": ["a.dcm"], "rows": [512]}, 1, "scan_images")
    >>> table[["path", "rows", "view"]]
        path  rows  view
    0  a.dcm   512  None
    """
    index = pd.RangeIndex(n_rows)
    zone = next(
        (
            column.dt.tz
            for name in _TIMES
            if isinstance(column := cells.get(name), pd.Series)
        ),
        None,
    )
    unit: Any = "datetime64[us]" if zone is None else f"datetime64[us, {zone}]"
    table: dict[str, Any] = {}
    unread: dict[str, int] = {}
    for name in COLUMNS:
        given = cells.get(name)
        if given is None:
            given = [None] * n_rows
        column = pd.Series(given).set_axis(index)
        if name in _NUMBERS:
            column, unread[name] = _whole_numbers(column)
        elif name in _TIMES:
            column = column.astype(unit)
        elif name in _UIDS:
            column = column.map(_uid).astype(object)
            column = column.where(column.notna(), None)
        elif name != "patient" or not pd.api.types.is_integer_dtype(column):
            column = column.astype(object)
            column = column.where(column.notna(), None)
        table[name] = column
    lost = [f"{n} of {name!r}" for name, n in unread.items() if n]
    if lost:
        warn_user(
            f"{owner}: {', '.join(lost)} of {n_rows} images are no whole numbers, and "
            "are null.",
            DataWarning,
        )
    return pd.DataFrame(table, index=index)


def _uid(cell: Any) -> str | None:
    """Return a unique identifier as text, which some databases keep as a number."""
    if is_null(cell):
        return None
    is_whole = is_number(cell) and cell == int(cell)
    return str(int(cell) if is_whole else cell).strip() or None


def _whole_numbers(column: pd.Series) -> tuple[pd.Series, int]:
    """Return whole numbers, null for other cells, and how many of those are no null."""
    is_text = column.map(lambda cell: isinstance(cell, str) and not cell.strip())
    there = column.notna() & ~is_text.astype(bool)
    read = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    # Larger ones may not be those that were written.
    is_whole = (np.abs(read) < _LARGEST) & (read == np.round(read))
    numbers = pd.array(np.where(is_whole, read, 0).astype(np.int64), dtype="Int64")
    numbers[~is_whole] = pd.NA
    n_unread = int((there.to_numpy(bool) & ~is_whole).sum())
    return pd.Series(numbers, index=column.index), n_unread


def as_frame(table: Any, name: str, owner: str) -> pd.DataFrame:
    """Return a table of pandas, polars or pyarrow as a pandas DataFrame.

    Parameters
    ----------
    table : DataFrame of pandas or polars, or Table of pyarrow
        The table.
    name, owner : str
        Names of the parameter and of the function for messages.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if isinstance(table, pd.DataFrame):
        return table
    refuse_unknown_table(table, owner)
    if hasattr(table, "columns") and hasattr(table, "to_pandas"):
        return table.to_pandas()
    raise TypeError(f"{owner}: {name} must be a DataFrame, got {type(table).__name__}.")


def patient_ids(column: pd.Series, name: str, owner: str) -> np.ndarray:
    """Return ids of patients without nulls as integers, or as text without padding.

    Parameters
    ----------
    column : Series of shape (n,)
        Integers, also as floats beside nulls, or text.
    name, owner : str
        Names of the column and of the function for messages.

    Returns
    -------
    ndarray of int64 or of str objects of shape (n,)

    Raises
    ------
    TypeError, ValueError
        If ids are of another type, or do not fit into 64 bits.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohorts.image_table import patient_ids
    >>> patient_ids(pd.Series([7.0, 9.0]), "patient", "link_images").tolist()
    [7, 9]
    """
    if column.dtype == object and all(map(is_number, column)):
        column = column.infer_objects()
    if pd.api.types.is_float_dtype(column) and (column % 1 == 0).all():
        column = column.astype("int64")
    ids = as_ids(column, name, owner)
    if ids.dtype == object:  # CSV and Excel files pad text
        ids = np.array([text.strip() for text in ids], dtype=object)
    return ids


def _times(column: pd.Series, owner: str) -> pd.Series:
    """Return the times of a scan as datetimes, also those that a file has as text."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return column
    read = instants_of(column, "acquired", owner)
    times = pd.Series(read.numbers.view("datetime64[us]"), index=column.index)
    return times.dt.tz_localize("UTC") if read.has_zone else times


def with_files(images: pd.DataFrame, files: Any, owner: str) -> pd.DataFrame:
    """Return a table of series with the files that a scan found for them.

    Parameters
    ----------
    images : DataFrame
        Series of a record, with the columns `COLUMNS`.
    files : DataFrame
        Images of `scan_images`.
    owner : str
        Name of the function for messages.

    Returns
    -------
    DataFrame
        One row per file of each series, in the order of `images`. Patients, studies,
        and times are those of the record, and everything else that of the header. The
        time of the header is used if both have a time zone, or neither, and the record
        has none, or has the date of the same day only.

    Raises
    ------
    TypeError, ValueError
        If `files` is not a table with the columns ``path`` and ``series``, or its times
        are no times.

    Warns
    -----
    DataWarning
        With the number of series without a file.
    """
    table = as_frame(files, "files", owner)
    missing = [name for name in ("path", "series") if name not in table.columns]
    if missing:
        names = list(map(str, table.columns))
        raise ValueError(
            f"{owner}: files must have the columns {missing}, got {names}."
            f"{did_you_mean(missing[0], names)} Pass the table of scan_images."
        )
    known = table[table["series"].notna() & table["path"].notna()]
    known = known.assign(series=known["series"].map(_uid))
    of_series = known.reset_index(drop=True).groupby("series", sort=False).indices
    places = [of_series.get(series) for series in images["series"]]
    rows = np.repeat(
        np.arange(len(images)), [1 if p is None else len(p) for p in places]
    )
    nothing = np.array([-1])
    taken = np.concatenate(
        [nothing[:0], *(nothing if p is None else p for p in places)]
    ).astype(np.intp)
    found = taken >= 0
    joined = images.iloc[rows].reset_index(drop=True)
    others = known.iloc[taken[found]]
    for name in _OF_FILES:
        if name in others:
            column = joined[name].astype(object)
            cells = others[name].astype(object).set_axis(joined.index[found])
            column[found] = cells.where(cells.notna(), column[found])
            joined[name] = column
    if "acquired" in others and len(others):
        times = _times(others["acquired"], owner).set_axis(joined.index[found])
        if (times.dt.tz is None) == (joined["acquired"].dt.tz is None):
            zone = joined["acquired"].dt.tz
            times = times if zone is None else times.dt.tz_convert(zone)
            times = times.astype(joined["acquired"].dtype).reindex(joined.index)
            stated = joined["acquired"]
            # A date without a time is the end of its day.
            is_date = stated - stated.dt.normalize() == _DAY
            better = stated.isna() | (is_date & (times.dt.normalize() + _DAY == stated))
            joined["acquired"] = stated.where(~(better & times.notna()), times)
    n_lost = int((~found).sum())
    if n_lost:
        warn_user(
            f"{owner}: found no file for {n_lost} of {len(images)} series, which have "
            "no path. Scan the folder in which they are, or drop them.",
            DataWarning,
        )
    return image_table({name: joined[name] for name in COLUMNS}, len(joined), owner)
