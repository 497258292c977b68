"""Cells of words: categories, several values in one cell, free text.

Read next: `skfusion.ehr.tabular`, which uses them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

__all__ = ["MultiHot", "Terms", "split_cell", "to_words"]


class MultiHot:
    """One 0/1 column for each value that occurs often enough, one for all others.

    Parameters
    ----------
    separator : str or None
        What stands between the values of a text cell; None where cells are lists.
    min_frequency : int, float or None
        Values in fewer rows than this (a count, or a share of the rows) are merged
        into one column.
    max_values : int or None
        Most columns; the values in most rows are kept.

    Attributes
    ----------
    values_ : list of str
        Values that have a column of their own, sorted.
    has_infrequent_ : bool
        Whether there is a last column for the merged ones. Unseen values join them, and
        are ignored where there are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.words import MultiHot
    >>> cells = pd.Series(["left arm & back", "back", None])
    >>> hot = MultiHot("&", min_frequency=None, max_values=None).fit(cells)
    >>> hot.values_, hot.transform(cells).tolist()
    (['back', 'left arm'], [[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    """

    def __init__(
        self,
        separator: str | None,
        min_frequency: int | float | None,
        max_values: int | None,
    ) -> None:
        self.separator = separator
        self.min_frequency = min_frequency
        self.max_values = max_values

    def fit(self, column: pd.Series) -> Self:
        """Count in how many rows each value stands."""
        counts = Counter(
            value for cell in column for value in split_cell(cell, self.separator)
        )
        least = self.min_frequency or 1
        if isinstance(least, float):
            least *= len(column)
        # by frequency, then by name, so that a tie does not depend on the row order
        frequent = sorted(
            (value for value in counts if counts[value] >= least),
            key=lambda value: (-counts[value], value),
        )
        if self.max_values is not None and (
            len(frequent) > self.max_values
            or (len(frequent) == self.max_values and len(counts) > len(frequent))
        ):
            frequent = frequent[: self.max_values - 1]
        self.values_ = sorted(frequent)
        self.has_infrequent_ = len(counts) > len(frequent)
        return self

    def transform(self, column: pd.Series) -> np.ndarray:
        """Return a 0/1 array of shape (n_rows, n_columns)."""
        places = {value: place for place, value in enumerate(self.values_)}
        width = len(self.values_)
        hot = np.zeros((len(column), width + 1))
        for row, cell in enumerate(column):
            for value in split_cell(cell, self.separator):
                hot[row, places.get(value, width)] = 1.0
        return hot if self.has_infrequent_ else hot[:, :width]

    def names(self, column: str) -> list[str]:
        """Return the names of the columns: ``column_value``."""
        merged = ["infrequent"] * self.has_infrequent_
        return [f"{column}_{value}" for value in [*self.values_, *merged]]


def split_cell(cell: Any, separator: str | None) -> set[str]:
    """Return the different values in one cell, without the spaces around them.

    Examples
    --------
    >>> from skfusion.ehr.words import split_cell
    >>> sorted(split_cell("I10& E11&I10", "&")), split_cell(None, "&")
    (['E11', 'I10'], set())
    """
    if isinstance(cell, (list, tuple, set, frozenset, np.ndarray)):
        parts: Iterable[Any] = (part for part in cell if not pd.isna(part))
    elif pd.isna(cell):
        return set()
    else:
        parts = [cell] if separator is None else str(cell).split(separator)
    return {word for part in parts if (word := str(part).strip())}


class Terms:
    """TF-IDF weights of the words of a text column.

    Parameters
    ----------
    min_frequency : int, float or None
        Words in fewer rows than this (a count, or a share of the rows) are left out.
    max_terms : int
        Most words; the commonest are kept.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.words import Terms
    >>> column = pd.Series(["no effusion", "large effusion", None])
    >>> Terms(2, 10).fit(column).transform(column).tolist()
    [[1.0], [1.0], [0.0]]
    """

    def __init__(self, min_frequency: int | float | None, max_terms: int) -> None:
        self.min_frequency = min_frequency
        self.max_terms = max_terms

    def fit(self, column: pd.Series) -> Self:
        """Learn the words and in how many rows they stand."""
        least = 1 if self.min_frequency is None else self.min_frequency
        vectorizer = TfidfVectorizer(min_df=least, max_features=self.max_terms)
        text = _as_text(column)
        count_words = vectorizer.build_analyzer()
        n_rows = Counter(word for cell in text for word in set(count_words(cell)))
        least_rows = least * len(text) if isinstance(least, float) else least
        # scikit-learn refuses a vocabulary of none; here the column then says nothing
        self._vectorizer = None
        if any(count >= least_rows for count in n_rows.values()):
            self._vectorizer = vectorizer.fit(text)
        return self

    def transform(self, column: pd.Series) -> np.ndarray:
        """Return weights of shape (n_rows, n_words)."""
        if self._vectorizer is None:
            return np.empty((len(column), 0))
        return self._vectorizer.transform(_as_text(column)).toarray()

    def names(self, column: str) -> list[str]:
        """Return the names of the columns: ``column_word``."""
        if self._vectorizer is None:
            return []
        return [f"{column}_{w}" for w in self._vectorizer.get_feature_names_out()]


def _as_text(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), "").map(str)


def to_words(frame: pd.DataFrame) -> np.ndarray:
    """Return categories as text, a gap as the category "missing"."""
    # One type for all, so that 1 and "1" in one column do not break the sorting.
    text = frame.astype(object).where(frame.notna(), "missing")
    return text.map(str).to_numpy(dtype=object)
