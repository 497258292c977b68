"""Transformation of the rows of a table, by several processes or machines."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_is_fitted

from skfusion._progress import progress
from skfusion._validation import check_number, ids_of
from skfusion.distributed.parts import current_client, mapped, repeat_warnings

__all__ = ["transform"]


def transform(
    transformer: Any,
    X: Any,
    *,
    groups: Any = None,
    client: Any = None,
    n_parts: int | None = None,
    verbose: int = 0,
) -> Any:
    """Apply a fitted transformer to the rows of a table, part by part.

    Use it for transformers that treat each row by itself, such as `EventWindows`.

    Parameters
    ----------
    transformer : transformer
        Fitted transformer.
    X : table of n rows
        As in ``transformer.transform``.
    groups : array-like of shape (n,) or None, default=None
        Groups whose rows stay in one part, such as the subjects of `EventWindows`, so
        that the events of a subject are read once.
    client : distributed.Client or None, default=None
        Client of Dask, as in `embed`.
    n_parts : int or None, default=None
        Number of parts. None is 4 for each worker, and 1 without a client.
    verbose : int, default=0
        If positive, show the progress on standard error.

    Returns
    -------
    ndarray, sparse matrix or DataFrame of n rows
        As of ``transformer.transform``, in the order of `X`.

    Raises
    ------
    ValueError
        If `groups` has another shape than (n,), or `n_parts` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.distributed import transform
    >>> X = np.arange(6.0).reshape(-1, 1)
    >>> scaler = StandardScaler().fit(X)
    >>> bool((transform(scaler, X, n_parts=3) == scaler.transform(X)).all())
    True
    """
    check_is_fitted(transformer)
    n_rows = _num_samples(X)
    client = current_client(client)
    if n_parts is None:
        n_parts = 1 if client is None else 4 * max(len(client.nthreads()), 1)
    check_number(n_parts, "n_parts", "transform", low=1, integer=True)
    rows = _row_parts(n_rows, groups, n_parts)
    parts = [(transformer, _safe_indexing(X, part)) for part in rows]
    results: list[Any] = [None] * len(parts)
    with progress(n_rows, verbose=verbose, title="Transform", unit="row") as advance:
        for number, result in mapped(_transform_part, parts, client):
            results[number] = result
            advance(len(rows[number]))
    repeat_warnings(results)
    return _in_order([result.values for result in results], np.concatenate(rows))


class TransformedPart(NamedTuple):
    """Result of a part of `transform`."""

    values: Any
    warnings: list[tuple[type[Warning], str]]


def _transform_part(transformer: Any, X: Any) -> TransformedPart:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values = transformer.transform(X)
    return TransformedPart(values, [(w.category, str(w.message)) for w in caught])


def _row_parts(n_rows: int, groups: Any, n_parts: int) -> list[np.ndarray]:
    """Split rows into parts of about equal size, without splitting groups."""
    if groups is None:
        return np.array_split(np.arange(n_rows), min(n_parts, max(n_rows, 1)))
    if np.shape(groups) != (n_rows,):
        raise ValueError(
            f"transform: groups must have one entry for each of {n_rows} rows of X, "
            f"got {type(groups).__name__} of shape {np.shape(groups)}."
        )
    codes = pd.factorize(ids_of(groups), use_na_sentinel=False)[0]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    wanted = np.linspace(0, n_rows, min(n_parts, max(len(starts), 1)) + 1)[1:-1]
    cuts = np.unique(starts[np.clip(np.searchsorted(starts, wanted), 1, None) - 1])
    return [part for part in np.split(order, cuts) if len(part)] or [order]


def _in_order(values: list[Any], rows: np.ndarray) -> Any:
    """Join the results of parts, and put the rows back into their order."""
    back = np.argsort(rows, kind="stable")
    if type(values[0]).__module__.partition(".")[0] == "polars":
        return importlib.import_module("polars").concat(values)[back]
    if hasattr(values[0], "iloc"):
        return pd.concat(values).iloc[back]
    if hasattr(values[0], "tocsr"):
        return sparse.vstack(values).tocsr()[back]
    return _safe_indexing(np.concatenate([np.asarray(v) for v in values]), back)
