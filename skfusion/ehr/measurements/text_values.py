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
        range, a date, a rank or "3 of 5"). Flags of abnormal values after the number
        ("H", "(L)", "*") are removed. ``comparator`` is ``"<"``, ``"<="``, ``">"``,
        ``">="`` or ``""``, and relates the true value to the number. ``unit`` is the
        text after the number.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import parse_values
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


# Flags of abnormal values after a number: high, low, abnormal, normal, critical.
_FLAG = re.compile(
    r"\s*(?:[(\[](?:HH?|LL?|A{1,2}|N|C)[)\]]|(?<=\s)(?:HH?|LL?|A{1,2})|\*+)$"
)
_POWER = re.compile(r"[x×*]\s*10\s*(?:\^|\*\*|[eE])?\s*([+-]?\d+)")
_UNIT = re.compile(r"(?:(?:[^\W\d]|[%°℃℉\[{(×µ]|/\s*[^\W\d]|10[\^*eE(]).*)?")
_MONTHS = (
    r"jan(?:uar[yi]?)?|feb(?:ruar[yi]?)?|mar(?:ch)?|mär(?:z)?|apr(?:il)?|ma[yi]"
    r"|jun[ei]?|jul[yi]?|aug(?:ust)?|sept?(?:ember)?|o[ck]t(?:ober)?|nov(?:ember)?"
    r"|de[cz](?:ember)?"
)
# A remainder that shows that the number is part of a range, a date, a count or a rank.
_NO_UNIT = re.compile(
    r"(?:to|of|bis|von|or|oder|and|und|vs|out)\b"
    r"|in\s+\S"
    r"|(?:st|nd|rd|th)(?![a-z])"
    rf"|(?:{_MONTHS})(?:\.|\s|\d|$)"
    r"|.*\s[<>=~]*\d",
    re.IGNORECASE,
)


def _parse(cell: str, decimal: str, thousands: str) -> tuple[float, str, str]:
    words = "|".join(sorted(map(re.escape, COMPARATORS), key=len, reverse=True))
    grouped = rf"(?<=\d){re.escape(thousands)}(?=\d{{3}}(?!\d))"
    plain = re.sub(grouped, "", cell.strip()).replace(decimal, ".")
    found = re.match(rf"({words})?\s*({NUMBER})\s*", plain, flags=re.IGNORECASE)
    if found is None:
        return np.nan, "", ""
    number, rest = float(found[2]), _FLAG.sub("", plain[found.end(2) :]).strip()
    power = _POWER.fullmatch(rest)
    if power is not None:
        number, rest = number * 10.0 ** int(power[1]), ""
    is_unit = _UNIT.fullmatch(rest) is not None
    if not is_unit or _NO_UNIT.match(rest) or not np.isfinite(number):
        return np.nan, "", ""
    return number, COMPARATORS.get((found[1] or "").lower(), ""), rest
