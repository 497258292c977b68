"""Kinds of the columns of a static EHR table, and conversion of cells to numbers."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain, compress
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

from skfusion.ehr.tabular.cells import (
    LISTS,
    NUMBERS,
    as_float,
    holds_vectors,
    refuse_extremes,
)
from skfusion.ehr.tabular.words import MISSING, Vocabulary, word_of

__all__ = [
    "MultiLabelColumn",
    "SECONDS_PER_DAY",
    "TextColumn",
    "check_ages",
    "days_between",
    "kind_of",
    "looks_standardised",
    "sort_columns",
    "split_cell",
    "to_float",
    "to_ranks",
    "typical_values",
    "check_bounds",
    "check_orders",
    "within_bounds",
]


SECONDS_PER_DAY = 86_400.0
# Standardised values are below this, and more than this share is below the mean.
_FEWEST_SCORES, _LARGEST_SCORE, _SHARE_BELOW_MEAN = 4, 15.0, 0.2
# Matches "age", "Age", "patient_age", "age_at_scan" and "age_years", but not "image"
# or "age_gap".
AGES = re.compile(r"(.*[\W_])?age([\W_](at|in|years|months|days)([\W_].*)?)?", re.I)
# Kind of a column whose dtype tells it, by the kind of dtype of NumPy.
_PLAIN = {"i": "number", "u": "number", "f": "number", "b": "boolean"}
KINDS = (
    *("number", "date", "ordered", "vector", "boolean"),
    *("category", "multivalued", "text"),
)


def kind_of(column: pd.Series) -> str:
    """Return the kind of a column from its dtype, or from its cells for objects.

    Parameters
    ----------
    column : Series
        Any column of a cohort table.

    Returns
    -------
    {"number", "boolean", "ordered", "category", "date", "vector", "multivalued"}
        ``"vector"`` is for cells that are floats of one length. Lists of text or of
        integers are ``"multivalued"``.

    Raises
    ------
    ValueError
        If the column contains complex numbers, or vectors of several lengths.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.columns import kind_of
    >>> kind_of(pd.Series(["f", "m"])), kind_of(pd.Series([["I10", "E11"], []]))
    ('category', 'multivalued')
    """
    if column.dtype == object:
        # pandas 2 raises at a whole number that is too large for a float.
        with suppress(OverflowError):
            column = column.infer_objects()
    if column.dtype == object:
        return _kind_of_cells(column.dropna())
    types = pd.api.types
    if types.is_bool_dtype(column):
        return "boolean"
    if types.is_complex_dtype(column):
        raise ValueError(
            f"Complex data not supported: TabularEncoder got complex numbers in "
            f"column {column.name!r}."
        )
    if types.is_numeric_dtype(column):
        return "number"
    if types.is_datetime64_any_dtype(column):
        return "date"
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) and dtype.ordered:
        return "ordered"
    return "category"


def _kind_of_cells(filled: pd.Series) -> str:
    kinds = {"number": NUMBERS, "date": (datetime.date, np.datetime64)}
    if len(filled) and all(isinstance(cell, (bool, np.bool_)) for cell in filled):
        return "boolean"
    for kind, types in kinds.items():  # An empty column is of kind "number".
        if all(isinstance(cell, types) for cell in filled):
            return kind
    lists = np.array([isinstance(cell, LISTS) for cell in filled], dtype=bool)
    if not lists.any():
        return "category"
    if not holds_vectors(filled[lists]):
        return "multivalued"  # a value that is not in a list is a list of one value
    if not lists.all():
        raise ValueError(
            f"TabularEncoder: column {filled.name!r} has {lists.sum()} vectors and "
            f"{(~lists).sum()} cells that are not. Expected vectors of one length. "
            "Correct the cells, set them to None, or leave the column out."
        )
    return "vector"


def sort_columns(
    frame: pd.DataFrame,
    said: Mapping[str, tuple[str, Collection[Any]]],
    index_time: str | None,
) -> dict[str, list[Any]]:
    """Sort the columns of a table by kind.

    Parameters
    ----------
    frame : DataFrame
        The table.
    said : mapping of str to (str, collection of str)
        Kind -> the parameter that sets this kind, and the columns named there.
    index_time : str or None
        Name of the column with the index time, which is not a feature.

    Returns
    -------
    dict of str to list
        Kind -> columns in the order of the table.

    Raises
    ------
    ValueError
        If a named column does not exist or is of another kind, or if there are date
        columns without an index time.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.columns import sort_columns
    >>> kinds = sort_columns(pd.DataFrame({"age": [40], "note": ["ok"]}), {}, None)
    >>> kinds["number"], kinds["category"]
    (['age'], ['note'])
    """
    named = {"index_time": [] if index_time is None else [index_time]}
    for parameter, columns in [*named.items(), *said.values()]:
        for column in columns:
            if column not in frame.columns:
                raise ValueError(
                    f"TabularEncoder: got {parameter}={column!r}, which is not among "
                    f"the {frame.shape[1]} columns. Add it to the columns of the "
                    "modality."
                )
    kinds: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if column in named["index_time"]:
            continue
        wanted = [kind for kind, (_, columns) in said.items() if column in columns]
        if not wanted and isinstance(dtype, np.dtype) and dtype.kind in _PLAIN:
            kinds[_PLAIN[dtype.kind]].append(column)
            continue
        kind = wanted[0] if wanted else kind_of(frame[column])
        if len(wanted) > 1 or (kind == "number" and kind_of(frame[column]) != kind):
            raise ValueError(
                f"TabularEncoder: column {column!r} is of kind "
                f"{kind_of(frame[column])} by its cells, but got it in "
                f"{' and '.join(said[kind][0] for kind in wanted)}. Name it in one "
                "parameter that fits."
            )
        kinds[kind].append(column)
    if kinds["date"] and index_time is None:
        raise ValueError(
            f"TabularEncoder: got dates in column {kinds['date'][0]!r}, which are "
            "encoded as intervals from the index time. Set index_time= to the name of "
            "the column with the index time, or remove the column."
        )
    return kinds


def to_float(column: pd.Series) -> np.ndarray:
    """Return a column of numbers or booleans as float64, with NaN for missing cells.

    Raises
    ------
    ValueError
        If a cell is not a number, is infinite, or beyond 1e150.
    """
    try:
        if pd.api.types.is_complex_dtype(column):
            raise TypeError("complex numbers have no order")
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except OverflowError:  # A whole number of more than 308 digits.
        values = column.map(as_float).to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"TabularEncoder: column {column.name!r} was numeric in fit, got "
            f"{column.dtype} values that are not numbers. Convert it as in fit."
        ) from error
    refuse_extremes(values, f"column {column.name!r}")
    return values


def check_orders(orders: Mapping[Any, Any], owner: str) -> None:
    """Raise an error unless the order of each column is a sequence.

    Raises
    ------
    TypeError
        If it is a set, whose order is not defined, or a text.
    """
    for column, order in orders.items():
        if isinstance(order, (str, bytes, set, frozenset)):
            raise TypeError(
                f"{owner}: orders[{column!r}] must be a sequence from the least to the "
                f"greatest value, got {type(order).__name__}. Pass a list."
            )


def check_bounds(bounds: Mapping[Any, tuple[float, float]], owner: str) -> None:
    """Raise an error unless the bounds of each column are two increasing numbers."""
    for column, (low, high) in bounds.items():
        if not low < high:
            raise ValueError(
                f"{owner}: bounds[{column!r}] must be two increasing numbers, got "
                f"{(low, high)}."
            )


def within_bounds(
    values: np.ndarray, bounds: tuple[float, float]
) -> tuple[np.ndarray, int]:
    """Replace implausible values by NaN and count them.

    Parameters
    ----------
    values : ndarray of float64
        Measurements.
    bounds : (float, float)
        Least and greatest plausible value, both inclusive.

    Returns
    -------
    values : ndarray of float64
        A copy with NaN for each value outside the bounds.
    n_outside : int
        Number of values outside the bounds.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.tabular.columns import within_bounds
    >>> within_bounds(np.array([-1.0, 40.0, np.nan]), (0, 120))
    (array([nan, 40., nan]), 1)
    """
    outside = (values < bounds[0]) | (values > bounds[1])
    return np.where(outside, np.nan, values), int(outside.sum())


def check_ages(values: np.ndarray, name: Any) -> None:
    """Raise a ValueError if a column named as an age contains negative numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.tabular.columns import check_ages
    >>> check_ages(np.array([40.0, -1.0]), "image_quality")
    >>> check_ages(np.array([40.0, -1.0]), "age_at_scan")
    Traceback (most recent call last):
    ...
    ValueError: TabularEncoder: got negative ages in column 'age_at_scan', in 1 of 2 ...
    """
    if not AGES.fullmatch(str(name).strip()):
        return
    negative = np.flatnonzero(values < 0)
    if len(negative):
        raise ValueError(
            f"TabularEncoder: got negative ages in column {name!r}, in {len(negative)} "
            f"of {len(values)} rows (row positions "
            f"{', '.join(map(str, negative[:5]))}). Correct them, or treat them as "
            f"missing with bounds={{{name!r}: (0, 130)}}. If the column is "
            "standardised or is not an age, set "
            f"bounds={{{name!r}: (-np.inf, np.inf)}}."
        )


def looks_standardised(values: np.ndarray) -> bool:
    """Return whether numbers are probably scores: small, and many of them negative.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.tabular.columns import looks_standardised
    >>> looks_standardised(np.array([-1.2, 0.1, 1.3, -0.2]))
    True
    >>> looks_standardised(np.array([61.0, 48.0, -1.0]))
    False
    """
    known = values[~np.isnan(values)]
    if len(known) < _FEWEST_SCORES:
        return False
    is_small = bool(np.abs(known).max() < _LARGEST_SCORE)
    return is_small and float((known < 0).mean()) > _SHARE_BELOW_MEAN


def days_between(column: pd.Series, index_time: pd.Series) -> np.ndarray:
    """Return the days from the index time to each date, negative before the index time.

    Raises
    ------
    ValueError
        If a column does not contain dates, or only one of the two has a time zone.
    """
    times, origin = _to_time(column), _to_time(index_time)
    if (times.dt.tz is None) != (origin.dt.tz is None):
        with_zone, without = (
            (column, index_time) if origin.dt.tz is None else (index_time, column)
        )
        raise ValueError(
            f"TabularEncoder: got column {with_zone.name!r} with a time zone and "
            f"column {without.name!r} without one, so that intervals may be wrong by "
            "hours. Set the time zone of both with .dt.tz_localize."
        )
    interval = times - origin
    return interval.dt.total_seconds().to_numpy(np.float64) / SECONDS_PER_DAY


def _to_time(column: pd.Series) -> pd.Series:
    if kind_of(column) == "date" and column.dtype == object:
        return pd.to_datetime(column)
    empty = column.isna().all()
    if not (pd.api.types.is_datetime64_any_dtype(column) or empty):
        raise ValueError(
            f"TabularEncoder: column {column.name!r} must contain dates, got "
            f"{column.dtype}. Convert it with pandas.to_datetime."
        )
    return pd.to_datetime(column)


def typical_values(
    values: np.ndarray, weights: np.ndarray, use_mean: np.ndarray
) -> np.ndarray:
    """Return the fill value of each column, which is 0 for a column without values.

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_columns)
        Numbers, with NaN for missing values.
    weights : ndarray of shape (n_samples,)
        Positive weights of the rows.
    use_mean : ndarray of bool of shape (n_columns,)
        Whether to use the mean of a column instead of its lower median.

    Returns
    -------
    ndarray of shape (n_columns,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.tabular.columns import typical_values
    >>> values = np.array([[0.0, 0.0], [3.0, 3.0]])
    >>> typical_values(values, np.ones(2), np.array([True, False]))
    array([1.5, 0. ])
    """
    typical = np.zeros(values.shape[1])
    is_equal = bool((weights == 1.0).all())
    for j, column in enumerate(values.T):
        known = ~np.isnan(column)
        if not known.any():
            continue
        if use_mean[j]:
            typical[j] = np.average(column[known], weights=weights[known])
        elif is_equal:  # The lower median too, without a sort.
            middle = (int(known.sum()) - 1) // 2
            typical[j] = np.partition(column[known], middle)[middle]
        else:
            # The lower median is an observed value, so that booleans stay booleans.
            typical[j] = np.quantile(
                column[known], 0.5, weights=weights[known], method="inverted_cdf"
            )
    return typical


def to_ranks(column: pd.Series, order: Sequence[Any]) -> np.ndarray:
    """Return the rank of each cell in an order (from 0), or NaN for other values.

    Numbers of equal value and words in another case have the same rank.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.columns import to_ranks
    >>> to_ranks(pd.Series(["II", "i", "X", None]), ["I", "II", "III"])
    array([ 1.,  0., nan, nan])
    >>> to_ranks(pd.Series(["1", 2.0]), [1, 2, 3])
    array([0., 1.])
    """
    vocabulary = Vocabulary().fit(pd.Series(list(order), dtype=object))
    listed = vocabulary.match(pd.Series(list(order), dtype=object))
    places = {word: place for place, word in reversed(list(enumerate(listed)))}
    words = vocabulary.match(column)
    return np.array([places.get(word, np.nan) for word in words], dtype=np.float64)


class MultiLabelColumn:
    """Multi-hot encoding with one column for each frequent value.

    Parameters
    ----------
    separator : str or None
        Separator of the values in a text cell. None is for cells that are lists.
    min_frequency : int, float or None
        Values in fewer rows than this (a count, or a fraction of the rows) are merged
        into one column.
    max_values : int or None
        Maximum number of columns. The values found in most rows are kept.

    Attributes
    ----------
    values_ : list of str
        Sorted values that have a separate column.
    has_infrequent_ : bool
        Whether the last column merges infrequent and unseen values. Unseen values are
        ignored without it.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.columns import MultiLabelColumn
    >>> cells = pd.Series(["left arm & back", "back", None])
    >>> hot = MultiLabelColumn("&", min_frequency=None, max_values=None).fit(cells)
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
        """Count the rows of each value and select the frequent values."""
        rows = [split_cell(cell, self.separator) for cell in column]
        every = pd.Series([word for row in rows for word in row], dtype=object)
        self._vocabulary = Vocabulary().fit(every)
        counts = Counter(chain.from_iterable(self._matched(rows)))
        least = self.min_frequency or 1
        if isinstance(least, float):
            least *= len(column)
        # Sort by frequency, then by name, so that ties do not depend on the row order.
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
        rows = self._matched(split_cell(cell, self.separator) for cell in column)
        for row, words in enumerate(rows):
            for value in words:
                hot[row, places.get(value, width)] = 1.0
        return hot if self.has_infrequent_ else hot[:, :width]

    def find_unseen(self, column: pd.Series) -> np.ndarray:
        """Return which cells have a value that was not found in `fit`."""
        rows = self._matched(split_cell(cell, self.separator) for cell in column)
        every = list(set(chain.from_iterable(rows)))
        unseen = set(compress(every, self._vocabulary.are_unseen(every)))
        return np.array([not unseen.isdisjoint(words) for words in rows], dtype=bool)

    def _matched(self, rows: Iterable[set[str]]) -> list[set[str]]:
        """Return the words of each cell as spelled in `fit`, without missing ones."""
        cells = list(rows)
        every = list(set(chain.from_iterable(cells)))
        spelled = self._vocabulary.match(pd.Series(every, dtype=object))
        found = dict(zip(every, spelled, strict=True))
        return [{found[word] for word in words} - {MISSING} for words in cells]

    def names(self, column: str) -> list[str]:
        """Return the names of the columns: ``column_value``."""
        merged = ["infrequent"] * self.has_infrequent_
        return [f"{column}_{value}" for value in [*self.values_, *merged]]


def split_cell(cell: Any, separator: str | None) -> set[str]:
    """Return the distinct values in one cell, without surrounding whitespace.

    Examples
    --------
    >>> from skfusion.ehr.tabular.columns import split_cell
    >>> sorted(split_cell("I10& E11&I10", "&")), split_cell(None, "&")
    (['E11', 'I10'], set())
    """
    if isinstance(cell, LISTS):
        parts: Iterable[Any] = (part for part in cell if not pd.isna(part))
    elif pd.isna(cell):
        return set()
    else:
        parts = [cell] if separator is None else str(cell).split(separator)
    return {word for part in parts if (word := word_of(part))}


class TextColumn:
    """TF-IDF weights of the words of a text column.

    Parameters
    ----------
    min_frequency : int, float or None
        Words in fewer rows than this (a count, or a fraction of the rows) are ignored.
    max_terms : int
        Maximum number of words. The most frequent words are kept.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr.tabular.columns import TextColumn
    >>> column = pd.Series(["no effusion", "large effusion", None])
    >>> TextColumn(2, 10).fit(column).transform(column).tolist()
    [[1.0], [1.0], [0.0]]
    """

    def __init__(self, min_frequency: int | float | None, max_terms: int) -> None:
        self.min_frequency = min_frequency
        self.max_terms = max_terms

    def fit(self, column: pd.Series) -> Self:
        """Learn the vocabulary and the document frequencies."""
        least = 1 if self.min_frequency is None else self.min_frequency
        vectorizer = TfidfVectorizer(min_df=least, max_features=self.max_terms)
        text = _as_text(column)
        count_words = vectorizer.build_analyzer()
        n_rows = Counter(word for cell in text for word in set(count_words(cell)))
        least_rows = least * len(text) if isinstance(least, float) else least
        # scikit-learn rejects an empty vocabulary. Here the column yields no feature.
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
