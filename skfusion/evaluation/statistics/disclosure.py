"""Suppression of small counts, so that tables do not disclose single patients.

A count from 1 to 9 is shown as "<10". Where it would follow from the total, the next
smallest counts are withheld too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

__all__ = ["MIN_CELL", "WITHHELD", "count_text", "shown_counts", "without_small_counts"]


MIN_CELL = 10
WITHHELD = "withheld"

# A count before its unit, such as "3 of 120 rows", unless a rule is stated.
_RULES = ("fewer than", "less than", "more than", "at least", "at most", "below")
_COUNT = re.compile(
    "".join(f"(?<!{words} )" for words in _RULES)
    + r"(?<![\w.,<-])([1-9])(?= (?:of [\d,]+ )?"
    r"(?:(?:training|test|external|held-out|other|positive|negative|censored) )?"
    r"(?:rows?|patients?|cases?|events?)\b)"
)
_POSITIONS = re.compile(r",? first at (?:row )?position(?:\(s\)|s)? \[[^\]]*\]")


def count_text(n: int, total: int | None = None, min_cell: int = MIN_CELL) -> str:
    """Return a count as text, without disclosing a small one.

    Parameters
    ----------
    n : int
        Number of patients or cases.
    total : int or None, default=None
        Known number of which `n` is a part. The others are then protected as well.
    min_cell : int, default=10
        Smallest count that is shown, except for 0. With 0 or 1, all are shown.

    Returns
    -------
    str
        The count with thousands separators, ``"<10"`` for 1 to 9, or such as
        ``">110"`` if 1 to 9 of the total are left.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.disclosure import count_text
    >>> count_text(1234), count_text(9), count_text(0), count_text(115, total=120)
    ('1,234', '<10', '0', '>110')
    """
    if 0 < n < min_cell:
        return f"<{min_cell}"
    if n and total is not None and 0 < total - n < min_cell:
        return f">{total - min_cell:,}"
    return f"{n:,}"


def shown_counts(counts: Sequence[int], min_cell: int = MIN_CELL) -> list[int | str]:
    """Return counts that add up to a known total, without disclosing a small one.

    Parameters
    ----------
    counts : sequence of int
        Counts of all parts of the total.
    min_cell : int, default=10
        Smallest count that is shown, except for 0. With 0 or 1, all are shown.

    Returns
    -------
    list of int or str
        Counts as numbers. Counts from 1 to 9 are ``"<10"``. The next smallest counts
        are ``"withheld"`` until each small count could be any number from 1 to 9.

    Notes
    -----
    The reader is assumed to know the total, the smallest count that is shown, and this
    rule. From ``"withheld"``, such a reader knows that the count is at least 10.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.disclosure import shown_counts
    >>> shown_counts([120, 4, 60])
    [120, '<10', 'withheld']
    >>> shown_counts([120, 4, 7])
    ['withheld', '<10', '<10']
    >>> shown_counts([120, 0, 60])
    [120, 0, 60]
    """
    numbers = np.asarray(counts, dtype=np.int64)
    small = (numbers > 0) & (numbers < min_cell)
    shown: list[int | str] = [int(n) for n in numbers]
    if not small.any():
        return shown
    hidden = small.copy()
    large = np.flatnonzero(numbers >= min_cell)
    for place in large[np.argsort(numbers[large], kind="stable")]:
        if _is_protected(numbers[hidden], small[hidden], min_cell):
            break
        hidden[place] = True
    for place in np.flatnonzero(hidden):
        shown[place] = f"<{min_cell}" if small[place] else WITHHELD
    return shown


def _is_protected(numbers: np.ndarray, small: np.ndarray, min_cell: int) -> bool:
    """Return whether each small count could be any one, given the sum of the hidden."""
    rest = int(numbers.sum())
    n_small, n_large = int(small.sum()), int((~small).sum())
    least_of_others = (n_small - 1) + min_cell * n_large
    can_be_most = rest - least_of_others >= min_cell - 1
    can_be_one = n_large > 0 or rest - 1 <= (min_cell - 1) * (n_small - 1)
    return can_be_most and can_be_one


def without_small_counts(text: str, min_cell: int = MIN_CELL) -> str:
    """Return a sentence in which small counts of patients or rows are not disclosed.

    Parameters
    ----------
    text : str
        Note or warning.
    min_cell : int, default=10
        Smallest count that is shown, at most 10.

    Returns
    -------
    str
        Text with ``"<10"`` in place of a number from 1 to 9 before rows, patients,
        cases or events. Lists of row positions are left out. Limits, such as in "fewer
        than 5 patients", are kept.

    Examples
    --------
    >>> from skfusion.evaluation.statistics.disclosure import without_small_counts
    >>> without_small_counts("The image is absent in 3 of 120 rows.")
    'The image is absent in <10 of 120 rows.'
    >>> without_small_counts("Sets of fewer than 5 patients vary a lot.")
    'Sets of fewer than 5 patients vary a lot.'
    """
    text = _POSITIONS.sub("", text)
    return _COUNT.sub(
        lambda found: f"<{min_cell}" if int(found[1]) < min_cell else found[1], text
    )
