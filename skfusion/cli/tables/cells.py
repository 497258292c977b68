"""Cells of a table: numbers, booleans, dates and words, with what is in doubt."""

from __future__ import annotations

import datetime
import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.measurements.text_values import parse_values
from skfusion.ehr.tabular.cells import LARGEST
from skfusion.ehr.tabular.words import NULL_WORDS

__all__ = ["MISSING_WORDS", "TypedColumn", "as_dates", "find_decimal", "typed_column"]


# Null words of pandas.read_csv, and the errors of cells of Excel in two languages.
MISSING_WORDS = NULL_WORDS | frozenset(
    ("#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "-nan", "1.#ind", "1.#qnan", "#nv")
    + ("#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!", "#spill!")
    + ("#wert!", "#bezug!", "#zahl!")
)
MOST_DIGITS = 15  # of a whole number that a float represents
# Share of the cells of a column that are numbers, from which other text is in doubt.
NUMBER_SHARE = 0.5
DATE_SHARE = 0.5
_POINT = r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_COMMA = r"[+-]?(?:0|[1-9]\d{0,2}(?:\.\d{3})+|[1-9]\d*)(?:,\d+)?(?:[eE][+-]?\d+)?"
_PLAIN = {".": re.compile(_POINT), ",": re.compile(_COMMA)}
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+")
_INFINITE = re.compile(r"[+-]?(?:inf(?:inity)?|∞)", re.IGNORECASE)
_YEAR_FIRST = re.compile(r"\d{4}-\d{1,2}-\d{1,2}(?:[T ]\d.*)?")
_DAY_OR_MONTH_FIRST = re.compile(
    r"(\d{1,2})([./-])(\d{1,2})\2(\d{4}|\d{2})(?:,? \d.*)?"
)
_SCALARS = (str, int, float, bool, np.generic, datetime.date, type(None))
# Kinds of odd cells, in the order in which messages list them.
COMPARED, DECIMAL, SEPARATED, UNIT, WORD = (
    "with a comparator such as < or >",
    "with a decimal comma",
    "with a separator of thousands",
    "with other text after the number",
    "words",
)


@dataclass
class TypedColumn:
    """Column of a table with its type, and the cells that are in doubt.

    Attributes
    ----------
    values : Series of shape (n_samples,)
        Cells by type. Cells in doubt are as they are if the column is text, else NaN.
    kind : {"number", "boolean", "text", "date", "other"}
        Type of the cells.
    infinite : ndarray of bool of shape (n_samples,)
        Cells that are infinite, or so large that their square is.
    odd : ndarray of bool of shape (n_samples,)
        Text among numbers.
    parsed : Series of float of shape (n_samples,)
        Numbers of the odd cells, NaN for words.
    kinds_of_odd : dict of str to int
        Counts of the odd cells by kind.
    n_filled : int
        Number of cells that are not missing.
    n_null_words : int
        Number of words for missing values, such as ``"n/a"``.
    n_dates : int
        Number of cells of a text column that are dates.
    n_numbers : int
        Number of cells of a text column that are plain numbers.
    """

    values: pd.Series
    kind: str
    infinite: np.ndarray
    odd: np.ndarray
    parsed: pd.Series
    kinds_of_odd: dict[str, int] = field(default_factory=dict)
    n_filled: int = 0
    n_null_words: int = 0
    n_dates: int = 0
    n_numbers: int = 0


def find_decimal(frame: pd.DataFrame, separator: str) -> str:
    """Return the decimal separator of a text table, a comma only if all agree.

    A comma before three digits may separate thousands, and is not counted.

    Parameters
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        Cells as text.
    separator : str
        Separator of the fields. Numbers with a decimal comma are not looked for in
        fields that are separated by commas.

    Returns
    -------
    {".", ","}

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.tables.cells import find_decimal
    >>> find_decimal(pd.DataFrame({"crp": ["12,5", "3,0", ""]}), ";")
    ','
    """
    if separator in (",", ""):
        return "."
    cells = pd.unique(frame.to_numpy(dtype=object).ravel())
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    n_commas = sum(
        _DECIMAL_COMMA.fullmatch(text) is not None and _is_decimal_comma(text, ".")
        for text in texts
    )
    n_points = sum(_DECIMAL_POINT.fullmatch(text) is not None for text in texts)
    return "," if n_commas and not n_points else "."


def typed_column(cells: pd.Series, decimal: str = ".") -> TypedColumn:
    """Determine the type of a column, without a decision on cells in doubt.

    Parameters
    ----------
    cells : Series of shape (n_samples,)
        Cells of a file: text, or values with a type.
    decimal : {".", ","}, default="."
        Decimal separator of numbers in text.

    Returns
    -------
    TypedColumn

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.tables.cells import typed_column
    >>> ages = typed_column(pd.Series(["63", "> 89", "71", "n/a", "unknown"]))
    >>> ages.kind, ages.values.tolist(), ages.parsed.tolist()
    ('number', [63.0, nan, 71.0, nan, nan], [nan, 89.0, nan, nan, nan])
    >>> ages.kinds_of_odd
    {'with a comparator such as < or >': 1, 'words': 1}
    """
    if not _is_object(cells):
        return _typed_already(cells)
    values = cells.to_numpy(dtype=object)
    is_text = np.array([isinstance(cell, str) for cell in values], dtype=bool)
    if not is_text.any() or not all(isinstance(cell, _SCALARS) for cell in values):
        return _typed_already(cells.infer_objects())
    is_date = np.array(
        [isinstance(cell, datetime.date | np.datetime64) for cell in values], dtype=bool
    )
    known = pd.notna(values)
    words = np.array([_as_word(cell, decimal) for cell in values], dtype=object)
    null = np.array([word.casefold() in MISSING_WORDS for word in words], dtype=bool)
    n_null_words = int((null & is_text & (words != "")).sum())
    filled = ~null & known
    return _from_words(cells, words, filled, is_date, n_null_words, decimal)


def _is_object(cells: pd.Series) -> bool:
    types = pd.api.types
    is_category = isinstance(cells.dtype, pd.CategoricalDtype)
    return not is_category and (
        types.is_object_dtype(cells) or types.is_string_dtype(cells)
    )


def _as_word(cell: Any, decimal: str) -> str:
    """Return a cell as text, numbers as they would be in a text file."""
    if isinstance(cell, str):
        return cell.strip().strip("\xa0").strip()
    if cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, bool | np.bool_):
        return str(bool(cell))
    return str(cell).replace(".", decimal) if _is_number(cell) else str(cell)


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float | np.number)


def _typed_already(cells: pd.Series) -> TypedColumn:
    """Return a column whose cells have a type in the file."""
    types, n = pd.api.types, len(cells)
    infinite = np.zeros(n, dtype=bool)
    kind = "other"
    if types.is_bool_dtype(cells):
        kind = "boolean"
    elif types.is_numeric_dtype(cells) and not types.is_complex_dtype(cells):
        kind = "number"
        numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        infinite = np.abs(np.nan_to_num(numbers, nan=0.0, posinf=np.inf)) > LARGEST
    elif types.is_datetime64_any_dtype(cells):
        kind = "date"
    nothing = pd.Series(np.nan, index=cells.index)
    return TypedColumn(
        cells,
        kind,
        infinite,
        np.zeros(n, dtype=bool),
        nothing,
        n_filled=int(cells.notna().sum()),
    )


def _from_words(
    cells: pd.Series,
    words: np.ndarray,
    filled: np.ndarray,
    is_date: np.ndarray,
    n_null_words: int,
    decimal: str,
) -> TypedColumn:
    """Return the type of a column of text."""
    plain = np.array([_PLAIN[decimal].fullmatch(w) is not None for w in words])
    plain &= filled & ~np.array([_is_code(word) for word in words], dtype=bool)
    values = np.full(len(words), np.nan)
    values[plain] = [_to_number(word, decimal) for word in words[plain]]
    infinite = filled & np.array([_INFINITE.fullmatch(w) is not None for w in words])
    infinite |= plain & (np.abs(values) > LARGEST)
    others = filled & ~plain & ~infinite
    is_code = any(map(_is_code, words[others]))
    kinds, parsed = _odd_cells(words, others, cells.index, decimal)
    n_filled = int(filled.sum())
    n_numbers = int((plain | infinite).sum()) + sum(
        kind in (COMPARED, DECIMAL, SEPARATED) for kind in kinds
    )
    text = pd.Series(words, index=cells.index, dtype=object, name=cells.name)
    found = TypedColumn(
        text.where(filled, None),
        "text",
        np.zeros(len(cells), dtype=bool),
        np.zeros(len(cells), dtype=bool),
        parsed,
        n_filled=n_filled,
        n_null_words=n_null_words,
        n_dates=int(is_date.sum()) + _count_dates(words[others]),
        n_numbers=n_numbers,
    )
    if not is_code and n_numbers >= NUMBER_SHARE * n_filled:
        numbers = pd.Series(values, cells.index, name=cells.name)
        found.kind, found.values = "number", _whole(numbers)
        found.infinite, found.odd = infinite, others
        counts = Counter(kinds)
        order = (COMPARED, DECIMAL, SEPARATED, UNIT, WORD)
        found.kinds_of_odd = {kind: counts[kind] for kind in order if counts[kind]}
    elif {word.casefold() for word in words[filled]} <= {"true", "false"}:
        is_true = text.map(lambda word: word.casefold() == "true").astype(object)
        found.kind = "boolean"
        found.values = is_true.where(filled, None).infer_objects()
    return found


def _is_code(word: str) -> bool:
    """Return whether digits are a code: with leading zeros, or not exact as a float."""
    is_long = len(word) > MOST_DIGITS or (len(word) > 1 and word.startswith("0"))
    return is_long and word.isdigit()


def _to_number(word: str, decimal: str) -> float:
    if decimal == ",":
        word = word.replace(".", "").replace(",", ".")
    return float(word)


def _whole(numbers: pd.Series) -> pd.Series:
    """Return numbers as integers if all of them are whole and none is missing."""
    values = numbers.to_numpy()
    is_whole = np.isfinite(values).all() and (values == np.floor(values)).all()
    if len(values) and is_whole and np.abs(values).max() < 10**MOST_DIGITS:
        return numbers.astype(np.int64)
    return numbers


def _odd_cells(
    words: np.ndarray, others: np.ndarray, index: pd.Index, decimal: str
) -> tuple[list[str], pd.Series]:
    """Return the kind of each cell that is no plain number, and its number."""
    different = pd.Series(pd.unique(words[others]), dtype=object)
    is_comma = np.array([_is_decimal_comma(text, decimal) for text in different])
    usual = parse_values(different, decimal="," if decimal == "," else ".")
    if is_comma.any():
        usual[is_comma] = parse_values(different[is_comma], decimal=",")
    found: dict[str, tuple[str, float]] = {}
    for text, comma, amount, comparator, unit in zip(
        different,
        is_comma,
        usual["numeric_value"].to_numpy(dtype=np.float64),
        usual["comparator"],
        usual["unit"],
        strict=True,
    ):
        is_separated = decimal == "." and "," in text and not comma
        # "1,200" beside "12,5" may be either, so that it is no number.
        is_unclear = is_separated and bool(is_comma.any())
        number = np.nan if is_unclear else float(amount)
        kind = DECIMAL if comma else SEPARATED
        if np.isnan(number):
            kind = WORD
        elif comparator:
            kind = COMPARED
        elif unit:
            kind = UNIT
        found[text] = (kind, number)
    parsed = np.full(len(words), np.nan)
    parsed[others] = [found[word][1] for word in words[others]]
    return [found[word][0] for word in words[others]], pd.Series(parsed, index)


def _is_decimal_comma(text: str, decimal: str) -> bool:
    if decimal == "," or text.count(",") != 1:
        return False
    found = re.search(r"\d,(\d+)(?![\d,.])", text)
    if found is None:
        return False
    return len(found[1]) != 3 or re.search(r"(?<!\d)0,\d", text) is not None


# -- dates ----------------------------------------------------------------------------


def _count_dates(words: np.ndarray) -> int:
    return sum(_is_date(word) for word in words)


def _is_date(word: str) -> bool:
    return bool(_YEAR_FIRST.fullmatch(word) or _DAY_OR_MONTH_FIRST.fullmatch(word))


def as_dates(cells: pd.Series, order: str | None = None) -> tuple[pd.Series, int, bool]:
    """Convert texts to dates.

    Parameters
    ----------
    cells : Series of shape (n_samples,)
        Dates, or texts such as ``"2024-05-31"``, ``"31.05.2024"`` and ``"5/31/2024"``.
    order : {"day-first", "month-first"} or None, default=None
        Order of day and month. None takes the only order in which all are dates, and
        the day first before a point.

    Returns
    -------
    dates : Series of datetime
        NaT for other text.
    n_lost : int
        Number of texts that are no dates.
    is_ambiguous : bool
        Whether day and month can be exchanged in all dates.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cli.tables.cells import as_dates
    >>> dates, n_lost, _ = as_dates(pd.Series(["31/05/2024", "01/06/2024", "soon"]))
    >>> dates.dt.month.tolist(), n_lost
    ([5.0, 6.0, nan], 1)
    """
    if pd.api.types.is_datetime64_any_dtype(cells):
        return cells, 0, False
    words = cells.map(lambda cell: "" if pd.isna(cell) else str(cell).strip())
    parts = [_DAY_OR_MONTH_FIRST.fullmatch(word) for word in words]
    given = [(int(p[1]), p[2], int(p[3])) for p in parts if p is not None]
    has_day_first = any(first > 12 for first, _, _ in given) or (
        bool(given) and all(mark == "." for _, mark, _ in given)
    )
    has_month_first = any(second > 12 for _, _, second in given)
    is_ambiguous = bool(given) and order is None and has_day_first == has_month_first
    day_first = order == "day-first" or (order is None and has_day_first)
    dates = pd.to_datetime(
        words.where(words.map(_is_date), None),
        errors="coerce",
        format="mixed",
        dayfirst=day_first,
    )
    n_lost = int(((words != "") & dates.isna()).sum())
    dates.name = cells.name
    return dates, n_lost, is_ambiguous
