"""Feature blocks of the modalities of a cohort.

The transformer of a modality is fitted on the rows in which the modality is present.
The other rows of its block are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
from joblib import Parallel, delayed
from sklearn.base import clone

from skfusion.modality import Modality, presence_mask
from skfusion.pipelines import (
    fit_transform_steps,
    joined_warnings,
    of_modality,
    scatter_rows,
    transform_steps,
)

__all__ = [
    "Blocks",
    "ModalityBlocks",
    "check_no_infinity",
    "located_errors",
    "located_infinity",
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
        The modalities. Their transformers are cloned before they are fitted.
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
    ) -> Blocks:
        """Fit each transformer on its present rows and return the blocks of `X`.

        Each transformer, and each step of a `Pipeline`, receives the weights and
        groups that its `fit` accepts.
        """
        mask = presence_mask(self.modalities, X)
        metadata = {"sample_weight": sample_weight, "groups": groups}
        with joined_warnings():
            fitted = Parallel(n_jobs=self.n_jobs)(
                delayed(_fit_block)(modality, X, y, metadata, mask[:, j])
                for j, modality in enumerate(self.modalities)
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
            with located_infinity(modality, X), located_errors(modality, rows):
                part = modality.select(X.iloc[rows])
                values = transform_steps(modality.transformer, part, width=width)
            arrays[modality.name] = _scatter(values, rows, len(X), modality)
        return Blocks(arrays, _refine(mask, arrays))


def _fit_block(
    modality: Modality,
    X: pd.DataFrame,
    y: Any,
    metadata: Mapping[str, np.ndarray | None],
    present: np.ndarray,
) -> tuple[Modality, np.ndarray]:
    """Fit the transformer of a modality on its present rows and return its block."""
    rows = np.flatnonzero(present)
    if len(rows) == 0:
        raise ValueError(
            f"{modality.label} is absent in all {len(X)} rows, so its transformer "
            "cannot be fitted. Check the column, or remove the modality."
        )
    transformer = clone(modality.transformer)
    target = None if y is None else np.asarray(y)[rows]
    of_rows = {
        key: None if value is None else value[rows] for key, value in metadata.items()
    }
    with located_infinity(modality, X), located_errors(modality, rows):
        values = fit_transform_steps(
            transformer, modality.select(X.iloc[rows]), target, of_rows
        )
    modality = replace(modality, transformer=transformer)
    return modality, _scatter(values, rows, len(X), modality)


@contextmanager
def located_errors(modality: Modality, rows: np.ndarray) -> Iterator[None]:
    """Add the modality and the row position in the cohort to a transformer's error."""
    try:
        with of_modality(modality.name):
            yield
    except (ValueError, TypeError) as error:
        text = str(error)
        row = getattr(error, "row", None)
        if row is not None:
            # The transformer receives a subset of the rows, the user passed all rows.
            error.row = int(rows[row])  # type: ignore[union-attr]
            text = text.replace(f"row position {row}:", f"row position {rows[row]}:")
        error.args = (f"In {modality.label}: {text}",)
        raise


def check_no_infinity(
    modality: Modality, X: pd.DataFrame, values: np.ndarray, names: Sequence[Any] = ()
) -> None:
    """Raise an error if the transformer of a modality passes infinity on.

    Parameters
    ----------
    modality : Modality
        The modality.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort, in which infinite cells are looked up.
    values : ndarray of float of shape (n_samples, ...)
        Features of the modality. NaN is allowed.
    names : sequence of length n_features, default=()
        Names of the features, for a 2-D array.

    Raises
    ------
    ValueError
        If a feature is infinite. The message gives the modality, the columns with
        infinite cells (or the features, if there are no such cells) and the number of
        rows.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.preprocessing import FunctionTransformer
    >>> from skfusion.blocks import check_no_infinity
    >>> from skfusion.modality import Modality
    >>> X = pd.DataFrame({"age": [40.0, np.inf]})
    >>> ehr = Modality("ehr", FunctionTransformer(), ("age",))
    >>> check_no_infinity(ehr, X, X.to_numpy())
    Traceback (most recent call last):
        ...
    ValueError: In modality 'ehr' (FunctionTransformer on 'age'): 1 of 2 rows ...
    """
    flat = values.reshape(len(values), -1)
    ends = [end.reduce(flat, axis=None, initial=0) for end in (np.fmin, np.fmax)]
    if not np.isinf(ends).any():
        return
    infinite = np.isinf(flat)
    rows = np.flatnonzero(infinite.any(axis=1))
    largest = float(np.finfo(values.dtype).max)
    found = [c for c in modality.columns if _exceeds(X[c], largest)]
    if found:
        place = f"column(s) {_listed(found)}"
    else:
        all_names = names if len(names) == flat.shape[1] else range(flat.shape[1])
        infinite_names = np.asarray(all_names)[infinite.any(axis=0)].tolist()
        place = f"feature(s) {_listed(infinite_names)}"
    raise ValueError(
        f"In {modality.label}: {len(rows)} of {len(values)} rows contain infinity, or "
        f"a number beyond the range of {values.dtype}, in {place}, first at row "
        f"position(s) {rows[:5].tolist()}. {_REMEDY}"
    )


@contextmanager
def located_infinity(modality: Modality, X: pd.DataFrame) -> Iterator[None]:
    """Add columns and rows to the error of a transformer that refuses infinity.

    Parameters
    ----------
    modality : Modality
        The modality whose transformer is called.
    X : DataFrame of shape (n_samples, n_columns)
        The cohort, in which infinite cells are looked up.
    """
    try:
        yield
    except ValueError as error:
        found = [c for c in modality.columns if _exceeds(X[c], np.finfo(float).max)]
        if found and "infinity" in str(error):
            cells = X[found].to_numpy(dtype=np.float64, na_value=np.nan)
            rows = np.flatnonzero(np.isinf(cells).any(axis=1))
            error.args = (
                f"{error} Infinite are cells of {len(rows)} of {len(X)} rows in "
                f"column(s) {_listed(found)}, first at row position(s) "
                f"{rows[:5].tolist()}. {_REMEDY}",
            )
        raise


_REMEDY = "Replace infinity by NaN if the value is unknown, or scale the values."


def _listed(names: Sequence[Any]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(repr(name) for name in names[:5]) + more


def _exceeds(column: pd.Series, largest: float) -> bool:
    """Return whether a number of a column is infinite or beyond a limit."""
    if not pd.api.types.is_float_dtype(column.dtype):
        return False
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return bool((np.abs(numbers) > largest).any())


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
