"""Numeric columns as they are, for ``"passthrough"``."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._fitting.state import undone_on_failure

__all__ = ["Passthrough"]


class Passthrough(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Transformer that returns numeric columns unchanged.

    It takes the place of ``"passthrough"`` in a list of modalities. Missing values
    stay missing and sparse columns stay sparse.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns, if all are strings.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion._fitting.passthrough import Passthrough
    >>> X = pd.DataFrame({"age": [61, None], "smoker": [True, False]})
    >>> Passthrough().fit_transform(X).tolist()
    [[61.0, 1.0], [nan, 0.0]]
    """

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check that all columns are numeric.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Numeric values. NaN is a missing value.
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a column is not numeric.
        """
        self._values(X, reset=True)
        return self

    def transform(self, X: Any) -> Any:
        """Return the values.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Numeric values. NaN is a missing value.

        Returns
        -------
        ndarray or sparse matrix of shape (n_samples, n_features)
            float32 if all columns are, else float64.
        """
        check_is_fitted(self, "n_features_in_")
        return self._values(X, reset=False)

    def _values(self, X: Any, *, reset: bool) -> Any:
        if isinstance(X, pd.Series):
            X = X.to_frame()
        if not isinstance(X, pd.DataFrame):
            return validate_data(
                self,
                X,
                accept_sparse=True,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                reset=reset,
            )
        validate_data(self, X, skip_check_array=True, reset=reset)
        kinds = X.dtypes.unique()
        if all(isinstance(kind, np.dtype) and kind.kind in "biuf" for kind in kinds):
            is_narrow = all(kind == np.float32 for kind in kinds)
            return X.to_numpy(dtype=np.float32 if is_narrow else np.float64)
        columns = {label: _as_floats(X[label], label) for label in X.columns}
        sparse = [isinstance(part.dtype, pd.SparseDtype) for part in columns.values()]
        if sparse and all(sparse):
            table: Any = pd.DataFrame(columns)
            return scipy.sparse.csr_array(table.sparse.to_coo())
        return np.column_stack(
            [np.asarray(part, dtype=np.float64) for part in columns.values()]
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _as_floats(column: pd.Series, label: Any) -> pd.Series:
    """Return a numeric column as floats, with NaN for null."""
    kind = column.dtype
    if isinstance(kind, pd.SparseDtype) and kind.fill_value == 0:
        return column.astype(pd.SparseDtype(np.float64, 0.0))
    numeric = pd.api.types.is_numeric_dtype(kind)  # includes bool
    if not numeric and kind == np.dtype(object):
        # Numbers with None, e.g. from JSON.
        known = column[column.notna()]
        numeric = all(isinstance(cell, int | float | np.number) for cell in known)
    if not numeric or pd.api.types.is_complex_dtype(kind):
        raise ValueError(
            f"column {label!r} is not numeric (dtype {kind}), so it cannot be passed "
            "through. Use a transformer for it, e.g. a TabularEncoder."
        )
    return column.astype("Float64").astype(np.float64)
