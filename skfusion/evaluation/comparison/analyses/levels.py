"""Variables of a cohort as a few named levels, for subgroups and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["MISSING", "is_numeric", "levels_of", "variables_of"]


MISSING = "missing"
MOST_LEVELS = 20
# A number with more distinct values is divided at its terciles.
MOST_DISTINCT = 5
TERCILES = (1 / 3, 2 / 3)
MOST_DIGITS = 17


def variables_of(
    columns: Any, X: pd.DataFrame | None, n_rows: int, owner: str
) -> dict[str, pd.Series]:
    """Return variables by name, from names of columns or from arrays.

    Parameters
    ----------
    columns : column label, list of column labels, DataFrame or dict of arrays
        Variables.
    X : DataFrame or None
        Cohort, None if it is not known.
    n_rows : int
        Number of rows of the cohort.
    owner : str
        Name of the method, for messages.

    Returns
    -------
    dict of str to Series of shape (n_rows,)

    Raises
    ------
    ValueError
        If there is no column, a column is unknown, a length differs, or names are given
        without a cohort.
    """
    given: dict[Any, Any]
    if isinstance(columns, pd.DataFrame):
        given = {name: columns[name] for name in columns}
    elif isinstance(columns, Mapping):
        given = dict(columns)
    else:
        given = _from_cohort(columns, X, owner)
    if not given:
        raise ValueError(f"{owner}: columns is empty. Name at least one column.")
    found = {}
    for name, values in given.items():
        series = pd.Series(values) if np.ndim(values) == 1 else None
        if series is None or len(series) != n_rows:
            raise ValueError(
                f"{owner}: {name!r} must have one value for each of the {n_rows} rows "
                f"of the cohort, got shape {np.shape(values)}."
            )
        found[str(name)] = series.reset_index(drop=True)
    return found


def _from_cohort(columns: Any, X: pd.DataFrame | None, owner: str) -> dict[Any, Any]:
    is_one = isinstance(columns, str) or not isinstance(columns, Iterable)
    names = [columns] if is_one else list(columns)
    if X is None:
        raise ValueError(
            f"{owner}: the comparison does not have its cohort, so columns must be a "
            f"DataFrame or a dict of arrays, got {len(names)} name(s)."
        )
    unknown = [name for name in names if name not in X.columns]
    if unknown:
        raise ValueError(
            f"{owner}: {unknown} are not columns of X. Pass names of its "
            f"{X.shape[1]} columns, or a dict of arrays."
        )
    return {name: X[name] for name in names}


def is_numeric(values: pd.Series) -> bool:
    """Return whether values are numbers with more than a few distinct ones."""
    kind = values.dtype
    if pd.api.types.is_bool_dtype(kind) or not pd.api.types.is_numeric_dtype(kind):
        return False
    return int(values.nunique()) > MOST_DISTINCT


def levels_of(values: pd.Series, name: str, owner: str) -> tuple[np.ndarray, list[str]]:
    """Return the level of each row, and the names of the levels in order.

    Numbers with more than 5 distinct values are divided at their terciles. Other values
    are levels in their order, or in that of their categories.

    Parameters
    ----------
    values : Series of shape (n_rows,)
        Variable.
    name : str
        Its name, for messages.
    owner : str
        Name of the method, for messages.

    Returns
    -------
    codes : ndarray of int of shape (n_rows,)
        Level of each row.
    names : list of str
        Names of the levels. Missing values are the last level, ``"missing"``.

    Raises
    ------
    ValueError
        If there are more than 20 levels, or a value cannot be a level.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.evaluation.comparison.analyses.levels import levels_of
    >>> codes, names = levels_of(pd.Series([61, 48, None, 70, 52, 33, 80]), "age", "f")
    >>> names, codes.tolist()
    (['<= 50.7', '> 50.7 to 64', '> 64', 'missing'], [1, 0, 3, 2, 1, 0, 2])
    """
    missing = values.isna().to_numpy()
    known = values[~missing]
    if is_numeric(known):
        found, names = _terciles(known.to_numpy(dtype=np.float64))
    else:
        found, names = _categories(known, name, owner)
    codes = np.full(len(values), len(names))
    codes[~missing] = found
    if missing.any():
        names = [*names, MISSING]
    return codes, names


def _terciles(numbers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    cuts = np.unique(np.quantile(numbers, TERCILES))
    cuts = cuts[cuts < numbers.max()]
    codes = np.searchsorted(cuts, numbers)
    texts = _distinct_texts(cuts.tolist())
    if not texts:
        return codes, ["all values"]
    between = [f"> {a} to {b}" for a, b in zip(texts[:-1], texts[1:], strict=True)]
    return codes, [f"<= {texts[0]}", *between, f"> {texts[-1]}"]


def _categories(
    known: pd.Series, name: str, owner: str
) -> tuple[np.ndarray, list[str]]:
    try:
        n_levels = int(known.nunique())
    except TypeError:
        raise ValueError(
            f"{owner}: the cells of {name!r} cannot be levels, because they are not "
            "text or numbers. Choose another column."
        ) from None
    if n_levels > MOST_LEVELS:
        raise ValueError(
            f"{owner}: {name!r} has {n_levels} levels, but {MOST_LEVELS} is the most. "
            "Merge levels, or pass a dict of arrays with groups of them."
        )
    if isinstance(known.dtype, pd.CategoricalDtype):
        category = known.cat.remove_unused_categories().cat
        return category.codes.to_numpy(), [str(label) for label in category.categories]
    try:
        codes, labels = pd.factorize(known, sort=True)
    except TypeError:  # of several types
        codes, labels = pd.factorize(known.astype(str), sort=True)
    if all(isinstance(label, float) for label in labels):
        return codes, _distinct_texts(list(labels))
    return codes, [str(label) for label in labels]


def _distinct_texts(numbers: list[float]) -> list[str]:
    """Return numbers with as many digits as tell them apart, at least three."""
    digits = 3
    while digits < MOST_DIGITS and len({f"{x:.{digits}g}" for x in numbers}) < len(
        numbers
    ):
        digits += 1
    return [
        str(int(x)) if float(x).is_integer() else f"{x:.{digits}g}" for x in numbers
    ]
