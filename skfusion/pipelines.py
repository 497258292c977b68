"""How an estimator is fitted step by step: who gets weights and patients, which rows.

scikit-learn's `Pipeline` hands weights and groups on only if every one is addressed to
its step. Here each step gets what its `fit` takes, and rows that a step cannot read (an
image of which nothing came out) are kept from the steps behind it.
"""

from __future__ import annotations

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


def accepted_metadata(estimator: Any, metadata: Metadata) -> dict[str, np.ndarray]:
    """Choose what the `fit` of an estimator takes.

    Parameters
    ----------
    estimator : estimator
        The estimator about to be fitted.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``; None is none.

    Returns
    -------
    dict of str to ndarray
        The arguments that stand in the signature of its `fit`, and, where metadata
        routing is on, those that a part of it has requested.

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
        # A search or a ColumnTransformer names none in its signature, but routes them.
        taken |= set(get_routing_for_object(estimator).consumes("fit", given))
    return {name: value for name, value in given.items() if name in taken}


def fit_transform_steps(
    transformer: Any, X: Any, y: Any, metadata: Metadata
) -> np.ndarray | Any:
    """Fit a transformer, and each step if it is a `Pipeline`; return its output.

    Parameters
    ----------
    transformer : transformer
        Fitted in place; the steps of a `Pipeline` that caches are replaced.
    X : array-like of n_samples rows
        Input of the first step.
    y : ndarray of n_samples rows, or None
        Target, given to every step.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``, given to every step that takes them.

    Returns
    -------
    array-like of n_samples rows
        Rows that a step made all NaN are NaN: the steps behind it never saw them.

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
                f"the step {name!r} ({type(step).__name__}) changes which rows there "
                "are, so it cannot stand among a modality's transformers. Put it right "
                "before the learner: imblearn.pipeline.make_pipeline(sampler, learner)."
            )
        if rows is not None and len(rows) == 0:
            raise ValueError(
                f"the steps before {name!r} could read none of the {n_rows} rows, so "
                f"there is nothing that {type(step).__name__} could learn from. Check "
                "the images of the modality."
            )
        if memory.location is None:
            X = fit_transform_steps(step, X, y, metadata)
        else:
            step, X = cached(clone(step), X, y, metadata)
            transformer.steps[position] = (name, step)
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
    """Transform with a fitted transformer, step by step if it is a `Pipeline`.

    Parameters
    ----------
    transformer : transformer
        Fitted by `fit_transform_steps`.
    X : array-like of n_samples rows
        Input of the first step.
    width : int, default=1
        Number of features of the result where no row can be read, so that the last
        step is never asked.

    Returns
    -------
    array-like of n_samples rows
        Rows that a step made all NaN are NaN.
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
        if position < len(steps) - 1:
            X, kept = _readable(X)
            if kept is not None:
                rows = kept if rows is None else rows[kept]
    return X if rows is None else scatter_rows(X, rows, n_rows)


def is_passthrough(step: Any) -> bool:
    """Tell whether a step of a `Pipeline` is none."""
    return step is None or (isinstance(step, str) and step == "passthrough")


def is_sampler(step: Any) -> bool:
    """Tell whether a step changes which rows there are (imbalanced-learn's samplers).

    They work in `fit` only: a prediction passes them by.
    """
    return hasattr(step, "fit_resample") and not isinstance(step, Pipeline)


def looks_up_by(transformer: Any, column: Any) -> bool:
    """Tell whether a transformer looks rows up by a column, which is no feature then.

    Its parameter ``subject`` names the column (`EventWindows`, `EventGrid`); of a
    `Pipeline` the first step counts, which alone sees the columns of the table.
    """
    while isinstance(transformer, Pipeline):
        transformer = next(
            (step for _, step in transformer.steps if not is_passthrough(step)), None
        )
    return bool(getattr(transformer, "subject", None) == column)


def resample(
    sampler: Any, X: Any, y: Any, metadata: Metadata
) -> tuple[Any, Any, Metadata]:
    """Let a sampler choose or make the rows to learn from.

    Parameters
    ----------
    sampler : sampler
        With the `fit_resample` of imbalanced-learn.
    X, y : array-like of n_samples rows
        Features and target.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``.

    Returns
    -------
    X, y : array-like of n_resampled rows
        What to learn from.
    metadata : dict of str to ndarray or None
        Of the chosen rows; without ``groups`` where the sampler made new rows, which
        belong to no patient.

    Raises
    ------
    ValueError
        If weights are given and the sampler makes new rows, which have none.

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
            "neither sample_weight nor class_weight can be used with it. Leave the "
            "weights out, or take a sampler that only chooses rows."
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
    """Tell which rows of a step's output are all NaN.

    Parameters
    ----------
    Z : array-like of n_samples rows
        What a step gave.

    Returns
    -------
    ndarray of bool of shape (n_samples,)
        All False where `Z` is sparse, not 2-D or holds no floats.
    """
    if scipy.sparse.issparse(Z) or getattr(Z, "ndim", 0) != 2 or Z.shape[1] == 0:
        return np.zeros(count_rows(Z), dtype=bool)
    values = np.asarray(Z)
    if values.dtype.kind != "f":
        return np.zeros(len(values), dtype=bool)
    return np.isnan(values).all(axis=1)


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return some rows of an array, frame, series, sparse matrix or list."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, (list, tuple)):
        return [X[row] for row in rows]
    return X[rows]


def scatter_rows(values: Any, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Put rows into an array of NaN.

    Parameters
    ----------
    values : array-like of shape (len(rows), n_features)
        The rows that are known.
    rows : ndarray of int
        Where they belong.
    n_rows : int
        Number of rows of the result.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Float; float32 where `values` is.
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
    # What a cache keeps: the fitted step as well as its output.
    Z = fit_transform_steps(transformer, X, y, metadata)
    return transformer, Z
