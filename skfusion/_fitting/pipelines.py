"""Step-by-step fitting of transformers, with metadata and unreadable rows.

scikit-learn's `Pipeline` passes weights and groups only to steps that they are
addressed to. Here each step receives the metadata that its `fit` accepts. Rows that a
step cannot read, e.g. an unreadable image, are not passed to the following steps.
"""

from __future__ import annotations

from inspect import Parameter, signature
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_memory

from skfusion._dependencies import loaded
from skfusion._fitting.metadata import (
    fit_with_metadata,
    is_sampler,
    nested_estimators,
)
from skfusion._fitting.modality_warnings import (
    joined_warnings,
    of_modality,
    warn_of_modality,
)
from skfusion._fitting.survival_steps import (
    DECLARATION,
    is_survival,
    takes_survival_times,
    target_of_step,
)
from skfusion._validation import is_every_row

__all__ = [
    "count_rows",
    "has_no_features",
    "joined_warnings",
    "of_modality",
    "warn_of_modality",
    "fit_transform_steps",
    "is_passthrough",
    "is_sampler",
    "last_step",
    "looks_up_by",
    "may_use_target",
    "resample",
    "scatter_rows",
    "take_rows",
    "transform_steps",
    "unreadable_rows",
]

Metadata = dict[str, np.ndarray | None]


def has_no_features(Z: Any) -> bool:
    """Return whether the output of a step is a table without columns.

    A transformer that learned nothing returns such a table, e.g. `EventWindows` if no
    code is visible in enough subjects. Its modality is absent in every row.
    """
    return len(getattr(Z, "shape", ())) == 2 and Z.shape[1] == 0


def fit_transform_steps(
    transformer: Any,
    X: Any,
    y: Any,
    metadata: Metadata,
    held_out: np.ndarray | None = None,
) -> np.ndarray | Any:
    """Fit a transformer, or each step of a `Pipeline`, and return its output.

    Parameters
    ----------
    transformer : transformer
        Fitted in place. The steps of a `Pipeline` with a cache are replaced.
    X : array-like of n_samples rows
        Input of the first step.
    y : ndarray of n_samples rows, or None
        Target, passed to each step. Steps that are not written for times to an event
        get martingale residuals instead of them, see `target_of_step`.
    metadata : dict of str to ndarray or None
        ``sample_weight`` and ``groups``, passed to each step that accepts them.
    held_out : ndarray of bool of shape (n_samples,) or None, default=None
        Rows on which a step that may use the target is not fitted. It transforms them
        as it does new rows.

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
    >>> from skfusion._fitting.pipelines import fit_transform_steps
    >>> X = np.array([[0.0, 1.0], [2.0, 5.0], [np.nan, np.nan]])
    >>> steps = make_pipeline(StandardScaler(), PCA(1))
    >>> np.abs(fit_transform_steps(steps, X, None, {})).round(3).ravel()
    array([1.414, 1.414,   nan])
    """
    if not isinstance(transformer, Pipeline):
        return _fit_transform(transformer, X, y, metadata, held_out)
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
            X = fit_transform_steps(step, X, y, metadata, held_out)
        else:
            step, X = cached(clone(step), X, y, metadata, held_out)
            transformer.steps[position] = (name, step)
        if has_no_features(X):  # The following steps have nothing to learn from.
            return np.empty((n_rows, 0))
        if position < len(transformer.steps) - 1:
            X, kept = _readable(X)
            if kept is not None:
                rows = kept if rows is None else rows[kept]
                y = None if y is None else y[kept]
                held_out = None if held_out is None else held_out[kept]
                metadata = _metadata_of(metadata, kept)
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


def last_step(transformer: Any) -> Any:
    """Return the last step of a `Pipeline`, and other transformers unchanged."""
    return transformer[-1] if isinstance(transformer, Pipeline) else transformer


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
        If weights are given and the sampler makes new rows, which have no weight, or
        `y` contains times to an event.

    Examples
    --------
    >>> import numpy as np
    >>> from imblearn.under_sampling import RandomUnderSampler
    >>> from skfusion._fitting.pipelines import resample
    >>> X, y = np.arange(5.0)[:, None], np.array([0, 0, 0, 1, 1])
    >>> sampler = RandomUnderSampler(random_state=0)
    >>> X, y, rest = resample(sampler, X, y, {"groups": np.array(list("aabcc"))})
    >>> X.ravel().tolist(), y.tolist(), rest["groups"].tolist()
    ([2.0, 1.0, 3.0, 4.0], [0, 0, 1, 1], ['b', 'a', 'c', 'c'])
    """
    if is_survival(y) and not takes_survival_times(sampler):
        raise ValueError(
            f"{type(sampler).__name__} balances classes, but y contains times to an "
            "event. Remove it, or pass weights (sample_weight)."
        )
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
    found = np.zeros(len(values), dtype=bool)
    if values.dtype.kind == "f":
        rows = np.flatnonzero(np.isnan(values[:, 0]))  # which are few or none
        found[rows] = np.isnan(values[rows]).all(axis=1)
    return found


def take_rows(X: Any, rows: np.ndarray) -> Any:
    """Return the selected rows of an array, frame, series, sparse matrix or list."""
    if hasattr(X, "iloc"):
        return X if is_every_row(rows, len(X)) else X.iloc[rows]
    if isinstance(X, (list, tuple)):
        return [X[row] for row in rows]
    if isinstance(X, np.ndarray) and is_every_row(rows, len(X)):
        return X
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


def _metadata_of(metadata: Metadata, rows: np.ndarray) -> dict[str, Any]:
    return {
        key: None if value is None else value[rows] for key, value in metadata.items()
    }


def _fit_transform(
    transformer: Any,
    X: Any,
    y: Any,
    metadata: Metadata,
    held_out: np.ndarray | None,
) -> Any:
    # If all rows are held out, there are no others to fit on.
    if (
        held_out is None
        or y is None
        or not held_out.any()
        or held_out.all()
        or not may_use_target(transformer)
    ):
        return _fit_on_target(transformer, X, y, metadata)
    fitted, others = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    Z = _fit_on_target(
        transformer, take_rows(X, fitted), y[fitted], _metadata_of(metadata, fitted)
    )
    new = transformer.transform(take_rows(X, others))
    return take_rows(_stacked(Z, new), np.argsort(np.r_[fitted, others]))


def _fit_on_target(transformer: Any, X: Any, y: Any, metadata: Metadata) -> Any:
    """Fit and transform with a target that the transformer can use."""
    target = target_of_step(transformer, y, metadata.get("sample_weight"))
    try:
        return fit_with_metadata(
            transformer, X, target, metadata, method="fit_transform"
        )
    except Exception as error:
        if target is not y:
            error.add_note(
                f"{type(transformer).__name__} got martingale residuals as y, a number "
                "per row, because it does not declare that it takes times to an "
                f"event. If it does, set its attribute {DECLARATION} = True."
            )
        raise


def _stacked(first: Any, second: Any) -> Any:
    if scipy.sparse.issparse(first):
        return scipy.sparse.vstack([first, second], format="csr")
    if isinstance(first, pd.DataFrame):
        return pd.concat([first, second])
    return np.concatenate([np.asarray(first), np.asarray(second)])


def may_use_target(transformer: Any) -> bool:
    """Return whether a transformer, or an estimator inside it, may learn from `y`.

    Transformers of scikit-learn and of skfusion say so or are selectors. Others may use
    every `y` that their `fit` accepts.

    Examples
    --------
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.feature_selection import SelectKBest
    >>> from skfusion._fitting.pipelines import may_use_target
    >>> may_use_target(PCA()), may_use_target(SelectKBest())
    (False, True)
    """
    return any(
        _learns_from_target(part.estimator) for part in nested_estimators(transformer)
    )


def _learns_from_target(estimator: Any) -> bool:
    fit = getattr(estimator, "fit", None)
    y = None if fit is None else signature(fit).parameters.get("y")
    if type(estimator).__module__.partition(".")[0] not in ("sklearn", "skfusion"):
        return y is not None
    if isinstance(estimator, loaded("sklearn.feature_selection", "VarianceThreshold")):
        return False
    return (
        isinstance(estimator, loaded("sklearn.feature_selection", "SelectorMixin"))
        or get_tags(estimator).target_tags.required
        or (y is not None and y.default is Parameter.empty)
    )


def _fit_and_transform(
    transformer: Any,
    X: Any,
    y: Any,
    metadata: Metadata,
    held_out: np.ndarray | None,
) -> tuple[Any, Any]:
    # The cache stores the fitted step in addition to its output.
    Z = fit_transform_steps(transformer, X, y, metadata, held_out)
    return transformer, Z
