"""Conversion of columns as they come: durations, periods, and numbers as text."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.measurements.text_values import parse_values
from skfusion.ehr.tabular.cells import NUMBERS, as_float
from skfusion.ehr.tabular.words import NULL_WORDS

__all__ = [
    "Understood",
    "as_booleans",
    "as_numbers",
    "guess_measurements",
    "holds_text",
    "understood",
    "without_durations",
]


_MANY_LEVELS = 30  # a category has fewer
_MOST = 0.8  # share of the cells of a column of numbers or dates that are text
_INSPECTED = 1000  # different texts
_SECONDS_PER_DAY = 86_400.0
_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0"), False
)
_DURATIONS = (datetime.timedelta, np.timedelta64)


@dataclass
class Understood:
    """Column as an encoder uses it, with what was converted.

    Attributes
    ----------
    column : Series
        The cells after conversion.
    note : str
        What was converted, ``""`` for nothing. It has no values of cells.
    is_warned : bool
        Whether the note is a warning: the conversion is a guess or loses something.
    """

    column: pd.Series
    note: str = ""
    is_warned: bool = False


def without_durations(column: pd.Series) -> Understood:
    """Convert durations to days, and periods to their first moment.

    Parameters
    ----------
    column : Series
        Column of any type.

    Returns
    -------
    Understood
        The column itself unless all of its values are durations or periods.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.understanding import without_durations
    >>> without_durations(pd.Series(pd.to_timedelta(["36h", None]))).column.tolist()
    [1.5, nan]
    """
    if is_object(column):
        kinds = {type(cell) for cell in column[column.notna()]}
        if kinds and all(issubclass(kind, _DURATIONS) for kind in kinds):
            column = pd.to_timedelta(column)
        elif kinds == {pd.Period}:
            column = pd.Series(pd.PeriodIndex(column), column.index, name=column.name)
    if pd.api.types.is_timedelta64_dtype(column) or "duration" in str(column.dtype):
        days = pd.to_timedelta(column).dt.total_seconds() / _SECONDS_PER_DAY
        return Understood(days.astype(np.float64), "durations, as days")
    if isinstance(column.dtype, pd.PeriodDtype):
        return Understood(column.dt.to_timestamp(), "periods, as their first moment")
    return Understood(column)


def understood(column: pd.Series) -> Understood:
    """Convert numbers that are mixed with text to numbers.

    At least 80 percent of the values must be numbers, in number or in text.

    Parameters
    ----------
    column : Series
        Column of known cells.

    Returns
    -------
    Understood

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.understanding import understood
    >>> found = understood(pd.Series([3.5, "<5", 2.0, 1.0, "N/A"]))
    >>> found.column.tolist(), found.note
    ([3.5, 5.0, 2.0, 1.0, nan], '1 numbers as text (1 ...) and 1 words for missing ...')
    """
    if not is_object(column):
        return Understood(column)
    filled = column[column.notna()]
    is_text = filled.map(lambda cell: isinstance(cell, str)).to_numpy(dtype=bool)
    if not is_text.any():
        return Understood(column)
    is_number = filled.map(_is_number).to_numpy(dtype=bool)
    if not is_number.any() or not (is_text | is_number).all():
        return Understood(column)
    found = as_numbers(column)
    is_null = filled.map(_is_null_word).to_numpy(dtype=bool)
    n_there = max(1, len(filled) - int(is_null.sum()))
    is_mostly_numbers = found.column.notna().sum() >= _MOST * n_there
    return found if is_mostly_numbers else Understood(column)


def holds_text(column: pd.Series) -> bool:
    """Return whether a cell of a column is text."""
    if not is_object(column):
        return bool(pd.api.types.is_string_dtype(column))
    return any(isinstance(cell, str) for cell in column)


def is_object(column: pd.Series) -> bool:
    """Return whether a column holds objects of any type."""
    return bool(pd.api.types.is_object_dtype(column))


def _is_null_word(cell: Any) -> bool:
    return isinstance(cell, str) and cell.strip().casefold() in NULL_WORDS


def _is_number(cell: Any) -> bool:
    return isinstance(cell, NUMBERS) and not isinstance(cell, bool | np.bool_)


def as_numbers(column: pd.Series) -> Understood:
    """Convert numbers that are mixed with text, such as ``"<5"`` or ``"unknown"``.

    The comparator of a text is ignored, i.e. the bound is used. Texts without a number
    are missing.
    """
    cells = column.astype(object)
    is_text = cells.map(lambda cell: isinstance(cell, str)).to_numpy(dtype=bool)
    parsed = parse_values(cells[is_text])
    numbers = cells.where(~is_text, None)
    try:
        values = pd.to_numeric(numbers, errors="coerce").astype(np.float64)
    except OverflowError:  # A whole number of more than 308 digits.
        values = numbers.map(as_float).astype(np.float64)
    values[is_text] = parsed["numeric_value"]
    is_null = cells[is_text].map(_is_null_word)
    n_found = int(parsed["numeric_value"].notna().sum())
    n_bounds = int((parsed["comparator"] != "").sum())
    n_lost = int((parsed["numeric_value"].isna() & ~is_null).sum())
    said = []
    if n_found:
        bounds = f" ({n_bounds} with a comparator, of which the bound is used)"
        said.append(f"{n_found} numbers as text{bounds if n_bounds else ''}")
    if n_lost:
        said.append(f"{n_lost} other texts, treated as missing")
    if is_null.any():
        said.append(f"{int(is_null.sum())} words for missing values")
    return Understood(values, " and ".join(said), is_warned=n_bounds + n_lost > 0)


def as_booleans(column: pd.Series) -> Understood:
    """Convert words such as ``"true"`` and ``"no"`` to booleans, others to missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.understanding import as_booleans
    >>> as_booleans(pd.Series(["True", "no", None])).column.tolist()
    [True, False, None]
    """
    values, n_lost = [], 0
    for cell in column.astype(object).where(column.notna(), None):
        value = cell
        if isinstance(cell, str):
            value = _BOOLEANS.get(cell.strip().casefold())
            n_lost += value is None and not _is_null_word(cell)
        values.append(value)
    note = f"{n_lost} texts that are no booleans, treated as missing" if n_lost else ""
    result = pd.Series(values, column.index, dtype=object, name=column.name)
    return Understood(result, note, is_warned=n_lost > 0)


def guess_measurements(column: pd.Series, is_age: Any = False) -> Understood:
    """Convert or report a column of texts that are probably numbers or dates.

    Texts with comparators, and ages, are converted to numbers, because no code is
    written so. Other columns stay categories, and the note names the remedy.

    Parameters
    ----------
    column : Series
        Column without a clear type.
    is_age : bool, default=False
        Whether the column has the name of an age.

    Returns
    -------
    Understood

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.understanding import guess_measurements
    >>> ages = pd.Series([*map(str, range(20, 90)), "> 89"])
    >>> guess_measurements(ages).column.tail(2).tolist()
    [89.0, 89.0]
    """
    what, is_bounded = _looks_like(column)
    if what == "numbers" and (is_bounded or is_age):
        found = as_numbers(column)
        return Understood(found.column, found.note, is_warned=True)
    if what:
        remedy = {
            "numbers": "skfusion.ehr.parse_values or pandas.to_numeric",
            "dates": "pandas.to_datetime",
        }[what]
        note = (
            f"{column.nunique()} different texts that look like {what}, encoded as "
            f"categories; convert them with {remedy}"
        )
        return Understood(column, note, is_warned=True)
    return Understood(column)


def _looks_like(column: pd.Series) -> tuple[str, bool]:
    """Return what texts probably are, and whether some of them have a comparator.

    A column with few different texts is a category whatever they are.
    """
    is_text = is_object(column) or pd.api.types.is_string_dtype(column)
    if not is_text or isinstance(column.dtype, pd.CategoricalDtype):
        return "", False
    texts = column[column.notna()].astype(object)
    if not all(isinstance(cell, str) for cell in texts):
        return "", False
    levels = pd.Series(texts.str.strip().unique(), dtype=object)
    is_null = [level.casefold() in NULL_WORDS for level in levels]
    levels = levels[~np.array(is_null, dtype=bool)]
    if len(levels) <= _MANY_LEVELS:
        return "", False
    levels = levels.iloc[:_INSPECTED]
    parsed = parse_values(levels.str.replace(",", ".", regex=False))
    if parsed["numeric_value"].notna().mean() >= _MOST:
        return "numbers", bool((parsed["comparator"] != "").any())
    is_date = levels.str.contains(r"\d") & levels.str.contains(r"[-/.:]|[A-Za-z]{3}")
    times = pd.to_datetime(levels.where(is_date), errors="coerce", format="mixed")
    return "dates" if times.notna().mean() >= _MOST else "", False
