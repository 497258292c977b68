"""Words of categories: equal spellings and equal numbers are one word."""

from __future__ import annotations

import decimal
import enum
import numbers
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import pandas as pd

__all__ = ["MISSING", "Vocabulary", "word_of"]


MISSING = "missing"
#: Texts that state that a value is missing, in lower case.
NULL_WORDS = frozenset(
    ("", "nan", "na", "n/a", "n.a.", "#n/a", "null", "none", "nil", "<na>", "nat")
    + (".", "-", "--", "?")
)
_WHOLE = re.compile(r"([+-]?)(0|[1-9]\d*)\.0+")
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")


def word_of(cell: Any) -> str:
    """Return a cell as a word: without surrounding blanks, whole numbers as integers.

    Examples
    --------
    >>> from skfusion.ehr.tabular.words import word_of
    >>> word_of(1.0), word_of("1.0"), word_of(" F "), word_of(True), word_of("01")
    ('1', '1', 'F', 'True', '01')
    """
    if isinstance(cell, bool | np.bool_ | enum.Enum):
        return str(cell)
    if isinstance(cell, numbers.Real | decimal.Decimal):
        number: Any = cell
        is_whole = number == number // 1 and -(2**63) < number < 2**63
        return str(int(number)) if is_whole else str(number)
    text = str(cell).strip()
    found = _WHOLE.fullmatch(text)
    return text if found is None else f"{found[1].replace('+', '')}{found[2]}"


class Vocabulary:
    """Words of a column, with which the cells of other tables are matched.

    A table that was written to a file and read again has other types: the category 1
    can come back as 1.0 or "1", and the category "01" as 1. People write the same word
    with small and capital letters. A cell is therefore matched by its exact word, else
    without regard to case, and else by its number.

    Attributes
    ----------
    words_ : list of str
        The different words, each in its most frequent spelling.
    n_spellings_ : int
        Number of further spellings that were merged with these.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.words import Vocabulary
    >>> vocabulary = Vocabulary().fit(pd.Series(["F", "f ", "M", "F", "01"]))
    >>> vocabulary.words_, vocabulary.n_spellings_
    (['01', 'F', 'M'], 1)
    >>> vocabulary.match(pd.Series(["f", "m", 1, "N/A", "x"])).tolist()
    ['F', 'M', '01', 'missing', 'x']
    """

    def fit(self, column: pd.Series) -> Self:
        """Collect the words of the cells, and their most frequent spellings."""
        counts = Counter(word_of(cell) for cell in column[column.notna()])
        spellings: dict[str, Counter[str]] = {}
        for word, n_cells in counts.items():
            if word.casefold() not in NULL_WORDS:
                spellings.setdefault(word.casefold(), Counter())[word] += n_cells
        self._folded = {
            folded: min(found, key=lambda word: (-found[word], word))
            for folded, found in spellings.items()
        }
        self.words_ = sorted(self._folded.values())
        self.n_spellings_ = sum(len(found) - 1 for found in spellings.values())
        self._numbers = _by_number(self.words_)
        return self

    def match(self, column: pd.Series) -> np.ndarray:
        """Return the word of each cell, ``"missing"`` for a missing one.

        A word that was not collected is returned as it is.
        """
        cells = column.astype(object).where(column.notna(), None)
        known: dict[Any, str] = {}
        words = []
        for cell in cells:
            key = (type(cell), cell)
            if key not in known:
                known[key] = self._matched(cell)
            words.append(known[key])
        return np.array(words, dtype=object)

    def _matched(self, cell: Any) -> str:
        if cell is None:
            return MISSING
        word = word_of(cell)
        folded = word.casefold()
        if folded in NULL_WORDS:
            return MISSING
        if folded in self._folded:
            return self._folded[folded]
        number = _number_of(word)
        return word if number is None else self._numbers.get(number, word)

    def count_unseen(self, words: Iterable[str]) -> tuple[int, int]:
        """Return how many words were not collected, and of how many not missing."""
        there = [word for word in words if word != MISSING]
        return int(self.are_unseen(there).sum()), len(there)

    def are_unseen(self, words: Iterable[str]) -> np.ndarray:
        """Return which words, as `match` returns them, were not collected."""
        known = {*self.words_, MISSING}
        return np.array([word not in known for word in words], dtype=bool)


def _number_of(word: str) -> decimal.Decimal | None:
    return decimal.Decimal(word) if _NUMBER.fullmatch(word) else None


def _by_number(words: list[str]) -> dict[decimal.Decimal, str]:
    """Return the words by their numbers, without numbers that several words have."""
    found: dict[decimal.Decimal, list[str]] = {}
    for word in words:
        number = _number_of(word)
        if number is not None:
            found.setdefault(number, []).append(word)
    return {number: same[0] for number, same in found.items() if len(same) == 1}
