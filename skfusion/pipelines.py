"""Step-by-step fitting of transformers, with metadata and unreadable rows.

scikit-learn's `Pipeline` passes weights and groups only to steps that they are
addressed to. Here each step receives the metadata that its `fit` accepts. Rows that a
step cannot read, e.g. an unreadable image, are not passed to the following steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import scipy.sparse
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import check_memory, has_fit_parameter

__all__ = [
    "accepted_metadata",
    "count_rows",
    "has_no_features",
    "joined_warnings",
    "of_modality",
    "warn_of_modality",
    "fit_transform_steps",
    "is_passthrough",
    "is_sampler",
    "looks_up_by",
    "resample",
    "scatter_rows",
    "take_rows",
    "transform_steps",
    "unreadable_rows",
]

Metadata = dict[str, np.ndarray | None]
# The modality whose transformer is called, and the warnings of all modalities so far.
_current: ContextVar[str | None] = ContextVar("_current", default=None)
_joined: ContextVar[dict[str, tuple[str, list[str]]] | None] = ContextVar(
    "_joined", default=None
)


@contextmanager
def of_modality(name: str) -> Iterator[None]:
    """Name the modality whose transformer is called in the block."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def joined_warnings() -> Iterator[None]:
    """Issue the warnings of a kind by `warn_of_modality` once for all modalities."""
    if _joined.get() is not None:  # The outer block issues them.
        yield
        return
    found: dict[str, tuple[str, list[str]]] = {}
    token = _joined.set(found)
    try:
        yield
    finally:
        _joined.reset(token)
    for message, names in found.values():
        warnings.warn(_located(message, names), UserWarning, stacklevel=4)


def warn_of_modality(kind: str, message: str, *, stacklevel: int = 2) -> None:
    """Issue a warning that names the modality whose transformer is called.

    Parameters
    ----------
    kind : str
        Kind of the warning. In a block of `joined_warnings`, each kind is issued once,
        with the message of the first modality and the names of all.
    message : str
        The message.
    stacklevel : int, default=2
        Stack level of the warning, relative to the caller.
    """
    name, found = _current.get(), _joined.get()
    if name is None or found is None:
        names = [] if name is None else [name]
        warnings.warn(_located(message, names), UserWarning, stacklevel=stacklevel + 1)
        return
    names = found.setdefault(kind, (message, []))[1]
    if name not in names:
        names.append(name)


def _located(message: str, names: list[str]) -> str:
    if not names:
        return message
    others = f" (and in {', '.join(map(repr, names[1:]))})" if names[1:] else ""
    return f"In modality {names[0]!r}{others}: {message}"


def has_no_features(Z: Any) -> bool:
    """Return whether the output of a step is a table without columns.

    A transformer that learned nothing returns such a table, e.g. `EventWindows` if no
    code is visible in enough subjects. Its modality is absent in every row.
    """
    return len(getattr(Z, "shape", ())) == 2 and Z.shape[1] == 0


def accepted_metadata(estimator: Any, metadata: Metadata) -> dict[str, np.ndarray]:
    """Select the metadata that the `fit` of an estimator accepts.

    Parameters
    ----------
    estimator : estimator
        The estimator to be fitted.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``. None means not given.

    Returns
    -------
    dict of str to ndarray
        The arguments in the signature of its `fit`. If metadata routing is enabled,
        also the arguments that a nested estimator has requested.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.pipelines import accepted_metadata
    >>> weights = np.array([1.0, 2.0])
    >>> list(accepted_metadata(StandardScaler(), {"sample_weight": weights,
    ...                                           "groups": weights}))
    ['sample_weight']
    """
    given = {name: value for name, value in metadata.items() if value is not None}
    taken = {name for name in given if has_fit_parameter(estimator, name)}
    routing = get_config()["enable_metadata_routing"]
    if given and routing and hasattr(estimator, "get_metadata_routing"):
        # A search or a ColumnTransformer routes metadata without it in the signature.
        taken |= set(get_routing_for_object(estimator).consumes("fit", given))
    return {name: value for name, value in given.items() if name in taken}


def fit_transform_steps(
    transformer: Any, X: Any, y: Any, metadata: Metadata
) -> np.ndarray | Any:
    """Fit a transformer, or each step of a `Pipeline`, and return its output.

    Parameters
    ----------
    transformer : transformer
        Fitted in place. The steps of a `Pipeline` with a cache are replaced.
    X : array-like of n_samples rows
        Input of the first step.
    y : ndarray of n_samples rows, or None
        Target, passed to each step.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``, passed to each step that accepts them.

    Returns
    -------
    array-like of n_samples rows
        Rows in which the output of a step is all NaN are NaN. They are not passed to
        the following steps.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.pipelines import fit_transform_steps
    >>> X = np.array([[0.0, 1.0], [2.0, 5.0], [np.nan, np.nan]])
    >>> steps = make_pipeline(StandardScaler(), PCA(1))
    >>> np.abs(fit_transform_steps(steps, X, None, {})).round(3).ravel()
    array([1.414, 1.414,   nan])
    """
    if not isinstance(transformer, Pipeline):
        return _fit_transform(transformer, X, y, metadata)
    memory = check_memory(transformer.memory)
    cached = memory.cache(_fit_and_transform)
    rows = None
    n_rows = count_rows(X)
    for position, (name, step) in enumerate(transformer.steps):
        if is_passthrough(step):
            continue
        if is_sampler(step):
            raise TypeError(
                f"the step {name!r} ({type(step).__name__}) resamples the rows, so it "
                "cannot be part of a modality's transformer. Put it directly before "
                "the final estimator: imblearn.pipeline.make_pipeline(sampler, "
                "estimator)."
            )
        if rows is not None and len(rows) == 0:
            raise ValueError(
                f"the steps before {name!r} could read none of the {n_rows} rows, so "
                f"{type(step).__name__} cannot be fitted. Check the images of the "
                "modality."
            )
        if memory.location is None:
            X = fit_transform_steps(step, X, y, metadata)
        else:
            step, X = cached(clone(step), X, y, metadata)
            transformer.steps[position] = (name, step)
        if has_no_features(X):  # The following steps have nothing to learn from.
            return np.empty((n_rows, 0))
        if position < len(transformer.steps) - 1:
            X, kept = _readable(X)
            if kept is not None:
                rows = kept if rows is None else rows[kept]
                y = None if y is None else y[kept]
                metadata = {
                    key: None if value is None else value[kept]
                    for key, value in metadata.items()
                }
    return X if rows is None else scatter_rows(X, rows, n_rows)


def transform_steps(transformer: Any, X: Any, *, width: int = 1) -> Any:
    """Apply a fitted transformer, or each step of a fitted `Pipeline`.

    Parameters
    ----------
    transformer : transformer
        Transformer fitted by `fit_transform_steps`.
    X : array-like of n_samples rows
        Input of the first step.
    width : int, default=1
        Number of features of the result if no row can be read, so that the last step
        is not called.

    Returns
    -------
    array-like of n_samples rows
        Rows in which the output of a step is all NaN are NaN.
    """
    if not isinstance(transformer, Pipeline):
        return transformer.transform(X)
    rows = None
    n_rows = count_rows(X)
    steps = [step for _, step in transformer.steps if not is_passthrough(step)]
    for position, step in enumerate(steps):
        if rows is not None and len(rows) == 0:
            return np.full((n_rows, width), np.nan)
        X = transform_steps(step, X)
        if has_no_features(X):
            return np.empty((n_rows, 0))
        if position < len(steps) - 1:
            X, kept = _readable(X)
            if kept is not None:
                rows = kept if rows is None else rows[kept]
    return X if rows is None else scatter_rows(X, rows, n_rows)


def is_passthrough(step: Any) -> bool:
    """Return whether a step of a `Pipeline` is None or ``"passthrough"``."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def is_sampler(step: Any) -> bool:
    """Return whether a step is a sampler of imbalanced-learn.

    A sampler changes the rows in `fit` only and is skipped in prediction.
    """
    return hasattr(step, "fit_resample") and not isinstance(step, Pipeline)


def looks_up_by(transformer: Any, column: Any) -> bool:
    """Return whether a transformer uses a column as a key and not as a feature.

    The parameter ``subject`` of the transformer names the column (`EventWindows`,
    `EventGrid`). For a `Pipeline` the first step is checked, because only this step
    receives the columns of the table.
    """
    while isinstance(transformer, Pipeline):
        transformer = next(
            (step for _, step in transformer.steps if not is_passthrough(step)), None
        )
    return bool(getattr(transformer, "subject", None) == column)


def resample(
    sampler: Any, X: Any, y: Any, metadata: Metadata
) -> tuple[Any, Any, Metadata]:
    """Resample the training rows with a sampler.

    Parameters
    ----------
    sampler : sampler
        Sampler with the method `fit_resample` of imbalanced-learn.
    X, y : array-like of n_samples rows
        Features and target.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``.

    Returns
    -------
    X, y : array-like of n_resampled rows
        Resampled features and target.
    metadata : dict of str to ndarray or None
        Metadata of the selected rows. ``groups`` is None if the sampler makes new rows,
        because these do not belong to a patient.

    Raises
    ------
    ValueError
        If weights are given and the sampler makes new rows, which have no weight.

    Examples
    --------
    >>> import numpy as np
    >>> from imblearn.under_sampling import RandomUnderSampler
    >>> from skfusion.pipelines import resample
    >>> X, y = np.arange(5.0)[:, None], np.array([0, 0, 0, 1, 1])
    >>> sampler = RandomUnderSampler(random_state=0)
    >>> X, y, rest = resample(sampler, X, y, {"groups": np.array(list("aabcc"))})
    >>> X.ravel().tolist(), y.tolist(), rest["groups"].tolist()
    ([2.0, 1.0, 3.0, 4.0], [0, 0, 1, 1], ['b', 'a', 'c', 'c'])
    """
    X, y = sampler.fit_resample(X, y)
    chosen = getattr(sampler, "sample_indices_", None)
    if chosen is None and metadata.get("sample_weight") is not None:
        raise ValueError(
            f"{type(sampler).__name__} makes new rows, which have no weight, so "
            "neither sample_weight nor class_weight can be used with it. Remove the "
            "weights, or use a sampler that only selects rows."
        )
    return (
        X,
        y,
        {
            name: None if value is None or chosen is None else value[chosen]
            for name, value in metadata.items()
        },
    )


def unreadable_rows(Z: Any) -> np.ndarray:
    """Return which rows of the output of a step are all NaN.

    Parameters
    ----------
    Z : array-like of n_samples rows
        Output of a step.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        All False if `Z` is sparse, not 2-D or not of a float type.
    """
    # A polars frame has a shape, but no number of dimensions.
    if scipy.sparse.issparse(Z) or len(getattr(Z, "shape", ())) != 2 or not Z.shape[1]:
        return np.zeros(count_rows(Z), dtype=bool)
    values = np.asarray(Z)
    if values.dtype.kind != "f":
        return np.zeros(len(values), dtype=bool)
    return np.isnan(values).all(axis=1)


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return the selected rows of an array, frame, series, sparse matrix or list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, (list, tuple)):
        return [X[row] for row in rows]
    return X[rows]


def scatter_rows(values: Any, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Insert rows into an array that is NaN elsewhere.

    Parameters
    ----------
    values : array-like of shape (len(rows), n_features)
        Values of the rows.
    rows : ndarray of int
        Positions of the rows in the result.
    n_rows : int
        Number of rows of the result.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Array of float32 if `values` is float32, else of float64.
    """
    if scipy.sparse.issparse(values):
        values = values.toarray()
    values = np.asarray(values)
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    block = np.full((n_rows, *values.shape[1:]), np.nan, dtype=values.dtype)
    block[rows] = values
    return block


def _readable(Z: Any) -> tuple[Any, np.ndarray | None]:
    lost = unreadable_rows(Z)
    if not lost.any():
        return Z, None
    rows = np.flatnonzero(~lost)
    return take_rows(Z, rows), rows


def count_rows(X: Any) -> int:
    """Return the number of rows of an array, frame, sparse matrix or list."""
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def _fit_transform(transformer: Any, X: Any, y: Any, metadata: Metadata) -> Any:
    keywords = accepted_metadata(transformer, metadata)
    if hasattr(transformer, "fit_transform"):
        return transformer.fit_transform(X, y, **keywords)
    return transformer.fit(X, y, **keywords).transform(X)


def _fit_and_transform(
    transformer: Any, X: Any, y: Any, metadata: Metadata
) -> tuple[Any, Any]:
    # The cache stores the fitted step in addition to its output.
    Z = fit_transform_steps(transformer, X, y, metadata)
    return transformer, Z
