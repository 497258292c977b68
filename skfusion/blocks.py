"""Feature blocks of the modalities of a cohort.

The transformer of a modality is fitted on the rows in which the modality is present.
The other rows of its block are NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from numpy.typing import ArrayLike

from skfusion._fitting.modality_warnings import (
    joined_warnings,
    of_modality,
    run_parallel,
)
from skfusion._fitting.pipelines import (
    fit_transform_steps,
    scatter_rows,
    take_rows,
    transform_steps,
)
from skfusion.modality import Modality, presence_mask

__all__ = [
    "Blocks",
    "ModalityBlocks",
    "as_numbers",
    "check_finite_block",
    "located_errors",
    "weighted_means",
]


@dataclass(frozen=True)
class Blocks:
    """2-D block of features of each modality, and the presence of the modalities.

    Attributes
    ----------
    arrays : dict of str to ndarray of shape (n_samples, n_features_m)
        Features of each modality. Rows in which it is absent are NaN. A modality of
        which nothing was learned has no features and is absent in every row.
    presence : ndarray of bool of shape (n_samples, M)
        Presence of each modality in each row.
    """

    arrays: dict[str, np.ndarray]
    presence: np.ndarray


class ModalityBlocks:
    """Transformers of the modalities, fitted on the rows with the modality.

    Parameters
    ----------
    modalities : list of Modality
        The modalities, whose transformers are fitted.
    n_jobs : int or None, default=None
        Number of modalities that are fitted in parallel with joblib.

    Attributes
    ----------
    modalities_ : list of Modality
        The modalities with their fitted transformers.
    feature_names_ : dict of str to ndarray of str
        Names of the features of each block, without the prefix of the modality.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.blocks import ModalityBlocks
    >>> from skfusion.modality import Modality
    >>> X = pd.DataFrame({"age": [40.0, 60.0, None]})
    >>> blocks = ModalityBlocks([Modality("ehr", StandardScaler(), ("age",))])
    >>> blocks.fit_transform(X).arrays["ehr"].ravel()
    array([-1.,  1., nan])
    """

    def __init__(
        self, modalities: Sequence[Modality], n_jobs: int | None = None
    ) -> None:
        self.modalities = list(modalities)
        self.n_jobs = n_jobs

    def fit_transform(
        self,
        X: pd.DataFrame,
        y: Any = None,
        sample_weight: np.ndarray | None = None,
        groups: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
        presence: np.ndarray | None = None,
    ) -> Blocks:
        """Fit each transformer on its present rows and return the blocks of `X`.

        Each transformer, and each step of a `Pipeline`, receives the weights and
        groups that its `fit` accepts. Steps that may use `y` are not fitted on the rows
        of the mask `held_out`. `presence` is the `presence_mask` of `X`, if known.
        """
        mask = presence_mask(self.modalities, X) if presence is None else presence
        metadata = {"sample_weight": sample_weight, "groups": groups}
        with joined_warnings():
            fitted = run_parallel(
                _fit_block,
                (
                    (modality, X, y, metadata, mask[:, j], held_out)
                    for j, modality in enumerate(self.modalities)
                ),
                self.n_jobs,
            )
        self.modalities_: list[Modality] = [modality for modality, _ in fitted]
        arrays = {modality.name: block for modality, block in fitted}
        self.feature_names_: dict[str, np.ndarray] = {
            modality.name: _feature_names(modality.transformer, block.shape[1])
            for modality, block in fitted
        }
        return Blocks(arrays, _refine(mask, arrays))

    def transform(self, X: pd.DataFrame) -> Blocks:
        """Return the blocks of `X`, with NaN in absent rows."""
        with joined_warnings():
            return self._transform(X)

    def _transform(self, X: pd.DataFrame) -> Blocks:
        mask = presence_mask(self.modalities_, X)
        arrays: dict[str, np.ndarray] = {}
        for j, modality in enumerate(self.modalities_):
            rows = np.flatnonzero(mask[:, j])
            width = len(self.feature_names_[modality.name])
            if len(rows) == 0:
                arrays[modality.name] = np.full((len(X), width), np.nan)
                continue
            with located_errors(modality, rows, X):
                part = modality.select(take_rows(X, rows))
                values = transform_steps(modality.transformer, part, width=width)
                values = as_numbers(values, modality.columns)
                check_finite_block(values, self.feature_names_[modality.name], rows)
            arrays[modality.name] = _scatter(values, rows, len(X), modality)
        return Blocks(arrays, _refine(mask, arrays))


def _fit_block(
    modality: Modality,
    X: pd.DataFrame,
    y: Any,
    metadata: Mapping[str, np.ndarray | None],
    present: np.ndarray,
    held_out: np.ndarray | None,
) -> tuple[Modality, np.ndarray]:
    """Fit the transformer of a modality on its present rows and return its block."""
    rows = np.flatnonzero(present)
    if len(rows) == 0:
        raise ValueError(
            f"{modality.label} is absent in all {len(X)} rows, so its transformer "
            "cannot be fitted. Check the column, or remove the modality."
        )
    transformer = modality.transformer
    target = None if y is None else np.asarray(y)[rows]
    of_rows = {
        key: None if value is None else value[rows] for key, value in metadata.items()
    }
    with located_errors(modality, rows, X):
        values = fit_transform_steps(
            transformer,
            modality.select(take_rows(X, rows)),
            target,
            of_rows,
            None if held_out is None else held_out[rows],
        )
        values = as_numbers(values, modality.columns)
        check_finite_block(
            values, lambda width: _feature_names(transformer, width), rows
        )
    modality = replace(modality, transformer=transformer)
    return modality, _scatter(values, rows, len(X), modality)


@contextmanager
def located_errors(
    modality: Modality, rows: np.ndarray, X: pd.DataFrame | pd.Series | None = None
) -> Iterator[None]:
    """Add the modality and the row position in the cohort to a transformer's error.

    If the cohort `X` is given, an error about infinite values also names the columns
    that contain them.
    """
    try:
        with of_modality(modality.name):
            yield
    except (ValueError, TypeError) as error:
        text = str(error)
        row = getattr(error, "row", None)
        if row is not None:
            # The transformer receives a subset of the rows, the user passed all rows.
            error.row = int(rows[row])  # type: ignore[union-attr]
            text = re.sub(rf"row position {row}\b", f"row position {rows[row]}", text)
        if X is not None and re.search(r"\binf(init|\b)", text, re.IGNORECASE):
            part = pd.DataFrame(X).iloc[rows][list(modality.columns)]
            text += _infinite_columns(part)
        error.args = (f"In {modality.label}: {text}",)
        raise


def _infinite_columns(part: pd.DataFrame) -> str:
    """Return which columns have infinite values, as a sentence for a message."""
    found = []
    infinite = np.zeros(len(part), dtype=bool)
    for label in part.columns:
        column = part[label]
        if not pd.api.types.is_numeric_dtype(column):
            column = pd.to_numeric(column, errors="coerce")
        here = np.isinf(np.asarray(column, dtype=np.float64))
        infinite |= here
        if here.any():
            found.append(f"{label!r} ({here.sum()} rows)")
    if not found:
        return ""
    more = f" and {len(found) - 5} more columns" if len(found) > 5 else ""
    rows = np.flatnonzero(infinite)
    return (
        f" Infinite values are in {', '.join(found[:5])}{more}, first at row "
        f"position(s) {part.index[rows[:5]].tolist()}. Replace them, e.g. by NaN for "
        "unknown: X.replace([numpy.inf, -numpy.inf], numpy.nan)."
    )


def check_finite_block(
    values: Any,
    names: ArrayLike | Callable[[int], ArrayLike] = (),
    rows: np.ndarray | None = None,
) -> None:
    """Check that features have no infinite values. NaN is a missing value.

    Parameters
    ----------
    values : array-like or sparse matrix of n rows
        Output of the transformer of a modality.
    names : sequence of length n_features or callable, default=()
        Names of the features, or a function that returns them for their number.
    rows : ndarray of int of shape (n,) or None, default=None
        Positions of the rows in the cohort.

    Raises
    ------
    ValueError
        If a value is infinite. The message gives the number of rows and, if they are
        known, the features and the positions of the first rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.blocks import check_finite_block
    >>> check_finite_block(np.array([[1.0, np.nan]]))
    >>> check_finite_block(np.array([[1.0, np.inf], [2.0, 0.0]]), ["dose", "age"])
    Traceback (most recent call last):
    ValueError: the features are infinite in 1 of 2 rows, in feature(s) 'age'.
    """
    if scipy.sparse.issparse(values):
        values = values.tocoo()
        here = np.isinf(values.data)
        infinite_rows, columns = values.row[here], values.col[here]
    else:
        values = np.asarray(values)
        if values.dtype.kind not in "fc" or values.ndim == 0:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()):  # the rule, in one pass
                return
        infinite = np.isinf(values.reshape(len(values), -1))
        infinite_rows, columns = np.nonzero(infinite) if infinite.any() else ((), ())
    if len(infinite_rows) == 0:
        return
    positions, features = np.unique(infinite_rows), np.unique(columns)
    width = values.shape[1] if values.ndim == 2 else 1
    all_names = np.asarray(names(width) if callable(names) else names).tolist()
    is_narrow = values.dtype == np.float32
    precision = " in float32" if is_narrow else ""
    text = (
        f"the features are infinite{precision} in {len(positions)} of "
        f"{values.shape[0]} rows"
    )
    if len(all_names) == width:
        listed = ", ".join(repr(all_names[i]) for i in features[:5])
        more = f" and {len(features) - 5} more" if len(features) > 5 else ""
        text += f", in feature(s) {listed}{more}"
    if rows is not None:
        text += f", first at row position(s) {rows[positions[:5]].tolist()}"
    remedy = " Scale numbers beyond 3e38, its largest number." if is_narrow else ""
    raise ValueError(f"{text}.{remedy}")


def as_numbers(values: Any, columns: Sequence[Any] = ()) -> Any:
    """Return features of objects or text as float64, and others unchanged.

    Missing values of any kind, such as None and `pandas.NA`, are NaN.

    Parameters
    ----------
    values : array-like or sparse matrix of n rows
        Features.
    columns : sequence, default=()
        Names of the features in the message, unless `values` is a DataFrame.

    Returns
    -------
    array-like or sparse matrix of n rows
        A DataFrame if `values` is one.

    Raises
    ------
    TypeError
        If a value is no number. The message does not contain it. The attribute ``row``
        of the error is the position of its row.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.blocks import as_numbers
    >>> as_numbers(np.array([[1, None]], dtype=object))
    array([[ 1., nan]])
    >>> as_numbers(np.array([[1, ["a"]]], dtype=object), ["age", "ward"])
    Traceback (most recent call last):
    TypeError: got list in feature 'ward', row position 0. The argument must be a ...
    """
    if isinstance(values, pd.DataFrame):
        if all(isinstance(d, np.dtype) and d.kind not in "OUS" for d in values.dtypes):
            return values
        array = as_numbers(values.to_numpy(dtype=object), list(values.columns))
        return pd.DataFrame(array, index=values.index, columns=values.columns)
    kind = getattr(getattr(values, "dtype", None), "kind", "f")
    if kind not in "OUS" or np.ndim(values) != 2:
        return values
    cells = np.where(pd.isna(values), np.nan, values)
    try:
        return cells.astype(np.float64)
    except (TypeError, ValueError):  # The message of NumPy contains the value.
        raise _no_number(cells, columns) from None


def _no_number(cells: np.ndarray, columns: Sequence[Any]) -> TypeError:
    """Return the error about the first cell that is no number."""
    numbers = np.vectorize(_is_number, otypes=[bool])(cells)
    row, place = np.argwhere(~numbers)[0]
    feature = columns[place] if len(columns) == cells.shape[1] else f"x{place}"
    error = TypeError(
        f"got {type(cells[row, place]).__name__} in feature {feature!r}, row position "
        f"{row}. The argument must be a string of digits or a number. Use a "
        "transformer that encodes the column, e.g. TabularEncoder."
    )
    error.row = int(row)  # type: ignore[attr-defined]
    return error


def _is_number(cell: Any) -> bool:
    try:
        return np.asarray(cell, dtype=np.float64).ndim == 0
    except (TypeError, ValueError):
        return False


def weighted_means(block: np.ndarray, sample_weight: np.ndarray | None) -> np.ndarray:
    """Return the mean of the known values of each column, and 0 without any.

    Parameters
    ----------
    block : ndarray of shape (n_samples, n_features)
        Features. NaN is a missing value.
    sample_weight : ndarray of shape (n_samples,) or None
        Weights of the rows.

    Returns
    -------
    ndarray of float64 of shape (n_features,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.blocks import weighted_means
    >>> block = np.array([[1.0, np.nan], [4.0, 5.0], [9.0, np.nan]])
    >>> weighted_means(block, np.array([2.0, 1.0, 0.0])).tolist()
    [2.0, 5.0]
    """
    known = ~np.isnan(block)
    weights = np.ones(len(block)) if sample_weight is None else sample_weight
    totals = weights @ np.where(known, block, 0.0)
    counts = weights @ known
    return np.divide(totals, counts, out=np.zeros(len(counts)), where=counts > 0)


def _scatter(
    values: Any, rows: np.ndarray, n_rows: int, modality: Modality
) -> np.ndarray:
    if scipy.sparse.issparse(values):
        values = values.toarray()
    values = np.asarray(values)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or len(values) != len(rows):
        raise ValueError(
            f"{modality.label} must return one row of features per case: expected "
            f"({len(rows)}, n_features), got an array of shape {values.shape}."
        )
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if len(rows) == n_rows:
        return values
    return scatter_rows(values, rows, n_rows)


def _refine(mask: np.ndarray, arrays: dict[str, np.ndarray]) -> np.ndarray:
    # An image that could not be read (on_error="missing") is absent, although its
    # cell is not missing.
    # A block without features is absent too: its transformer learned nothing.
    refined = mask.copy()
    for j, block in enumerate(arrays.values()):
        refined[:, j] &= ~np.isnan(block).all(axis=1)
    return refined


def _feature_names(transformer: Any, width: int) -> np.ndarray:
    if width == 0:  # Later steps of a Pipeline may not be fitted.
        return np.empty(0, dtype=object)
    try:
        names = np.asarray(transformer.get_feature_names_out(), dtype=object)
    except AttributeError:  # a transformer or a step without feature names
        names = np.empty(0, dtype=object)
    if len(names) == width:
        return names
    return np.asarray([f"x{i}" for i in range(width)], dtype=object)
