"""Parsing of numeric values from text, such as ``"<0.1"``."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd

from skfusion._validation import check_option

__all__ = ["parse_values"]


NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
COMPARATORS = {
    "<": "<",
    "<=": "<=",
    "≤": "<=",
    "=<": "<=",
    "less than": "<",
    "below": "<",
    "under": "<",
    ">": ">",
    ">=": ">=",
    "≥": ">=",
    "=>": ">=",
    "greater than": ">",
    "more than": ">",
    "above": ">",
    "over": ">",
}


def parse_values(text: pd.Series, *, decimal: Literal[".", ","] = ".") -> pd.DataFrame:
    """Parse numbers from text values, such as ``"<0.1"`` or ``"GREATER THAN 300"``.

    Parameters
    ----------
    text : Series of str
        Values as a laboratory reports them.
    decimal : {".", ","}, default="."
        The decimal separator. The other character separates thousands.

    Returns
    -------
    DataFrame of shape (n_values, 3)
        ``numeric_value`` is the number, or NaN if the text is not a number (such as a
        range or a date). ``comparator`` is ``"<"``, ``"<="``, ``">"``, ``">="`` or
        ``""``, and relates the true value to the number. ``unit`` is the text after
        the number.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.measurements.text_values import parse_values
    >>> parse_values(pd.Series(["<0.1", "1,200 mg/dL", "negative", None]))
       numeric_value comparator   unit
    0            0.1          <
    1         1200.0             mg/dL
    2            NaN
    3            NaN
    """
    check_option(decimal, "decimal", (".", ","), "parse_values")
    thousands = "," if decimal == "." else "."
    cells = text.dropna().unique()
    different = {cell: _parse(str(cell), decimal, thousands) for cell in cells}
    rows = [different.get(cell, (np.nan, "", "")) for cell in text]
    columns = ["numeric_value", "comparator", "unit"]
    return pd.DataFrame(rows, columns=columns, index=text.index)


def _parse(cell: str, decimal: str, thousands: str) -> tuple[float, str, str]:
    words = "|".join(sorted(map(re.escape, COMPARATORS), key=len, reverse=True))
    grouped = rf"(?<=\d){re.escape(thousands)}(?=\d{{3}}(?!\d))"
    plain = re.sub(grouped, "", cell.strip()).replace(decimal, ".")
    found = re.fullmatch(
        rf"({words})?\s*({NUMBER})\s*([^\W\d].*|[%°\[{{(].*)?",
        plain,
        flags=re.IGNORECASE,
    )
    if found is None:
        return np.nan, "", ""
    comparator = COMPARATORS.get((found[1] or "").lower(), "")
    return float(found[2]), comparator, (found[3] or "").strip()
