"""Scaling of incomplete numeric features with `ObservedScaler`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Self

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._fitting.state import undone_on_failure
from skfusion.cohort import as_pandas
from skfusion.ehr.tabular.cells import LARGEST
from skfusion.ehr.tabular.missing_indicators import (
    check_indicators,
    select_informative_indicators,
)

__all__ = ["ObservedScaler"]


class ObservedScaler(TransformerMixin, BaseEstimator):
    """Transformer that standardises observed values and sets missing values to 0.

    Zero is the mean of the training rows, so that linear models and neural networks
    treat a missing value as an average one. Separate indicator columns encode which
    values were observed. A sparse matrix stays sparse: its unstored cells are missing
    values, and its stored zeros are observed values.

    Parameters
    ----------
    indicators : {"all", "selective"}, bool or None, default="all"
        Which columns with missing values in the training rows get a 0/1 indicator of
        the observed values. ``"all"`` (or True) adds all of them. ``"selective"`` adds
        those associated with the target (false discovery rate 0.1). None (or False)
        adds none. Columns observed in the same training rows share one indicator.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features_in_,)
        Mean of the observed values, 0 for a column without observed values.
    scale_ : ndarray of shape (n_features_in_,)
        Standard deviation of the observed values, replaced by 1 where it is 0. Infinite
        for a column without observed values, so that later values become 0.
    indicated_ : ndarray of int
        Positions of the columns that have an indicator.
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns seen in `fit`, if all are strings.

    See Also
    --------
    TabularEncoder : Impute, scale and encode static columns.
    sklearn.impute.SimpleImputer : Impute missing values in a dense array.

    Notes
    -----
    Tree-based estimators that support NaN do not need this transformer. For linear
    models and neural networks the indicators matter, because in EHR data the absence
    of a measurement is informative [1]_. Uninformative indicators reduce accuracy,
    hence ``"selective"`` [2]_.

    References
    ----------
    .. [1] Perez-Lebel A et al. (2022). Benchmarking missing-values approaches for
       predictive models on health databases. GigaScience 11:giac013.
    .. [2] Van Ness M et al. (2023). The missing indicator method: from low to high
       dimensions. KDD '23.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr import ObservedScaler
    >>> X = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, np.nan]])
    >>> ObservedScaler().fit_transform(X).round(2)
    array([[-1.22,  0.  ,  1.  ],
           [ 0.  ,  0.  ,  0.  ],
           [ 1.22,  0.  ,  0.  ]])
    """

    __module__ = "skfusion.ehr"

    def __init__(self, *, indicators: str | bool | None = "all") -> None:
        self.indicators = indicators

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn means, standard deviations and the columns with an indicator.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Numbers. NaN or an unstored cell is a missing value.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            The target, used by ``indicators="selective"`` only.

        Returns
        -------
        self
            The fitted scaler.

        Raises
        ------
        ValueError
            If ``indicators`` is not among its options, or requires a missing `y`.
        """
        choice = check_indicators(self.indicators, "ObservedScaler", "indicators")
        X = self._check(X, reset=True)
        if scipy.sparse.issparse(X):
            cells = X.tocoo()
        else:
            rows, columns = np.nonzero(~np.isnan(X))
            places = X[rows, columns], (rows, columns)
            cells = scipy.sparse.coo_array(places, shape=X.shape)
        n_observed = np.bincount(cells.col, minlength=cells.shape[1])
        counts = np.maximum(n_observed, 1)
        self.mean_ = _sums(cells.data, cells) / counts
        deviations = _sums((cells.data - self.mean_[cells.col]) ** 2, cells)
        spread = np.sqrt(deviations / counts)
        # Rounding errors give a constant column a tiny standard deviation.
        varies = spread > 10 * np.finfo(np.float64).eps * np.abs(self.mean_)
        self.scale_ = np.where(varies, spread, 1.0)
        # Values of a column that was never observed become 0: there is no scale.
        self.scale_[n_observed == 0] = np.inf
        self.indicated_ = self._choose_indicators(cells, y, choice)
        self._n_features_out = cells.shape[1] + len(self.indicated_)
        return self

    def transform(self, X: Any) -> Any:
        """Standardise the values and append the indicators.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features_in_)
            Numbers. NaN or an unstored cell is a missing value.

        Returns
        -------
        ndarray or CSR array of shape (n_samples, n_features_in_ + n_indicators)
            Sparse if `X` is sparse. float32 if `X` is float32, else float64.
        """
        check_is_fitted(self)
        X = self._check(X, reset=False)
        if not scipy.sparse.issparse(X):
            seen = ~np.isnan(X)
            values = np.where(seen, (X - self.mean_) / self.scale_, 0.0)
            flags = seen[:, self.indicated_]
            return np.hstack([values, flags], dtype=X.dtype, casting="unsafe")
        scaled = (X.data - self.mean_[X.indices]) / self.scale_[X.indices]
        values = _like(X, scaled.astype(X.dtype, copy=False))
        flags = _like(X, np.ones_like(X.data))[:, self.indicated_]
        return scipy.sparse.hstack([values, flags], format="csr")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input columns, if `fit` got none.

        Returns
        -------
        ndarray of str of shape (n_features_out,)
            The input names, then ``<column>_observed`` for the indicators.
        """
        check_is_fitted(self)
        names = self._input_names(input_features)
        flags = [f"{names[j]}_observed" for j in self.indicated_]
        return np.asarray([*names, *flags], dtype=object)

    def _input_names(self, input_features: Any) -> np.ndarray:
        known = getattr(self, "feature_names_in_", None)
        if input_features is None:
            default = [f"x{j}" for j in range(self.n_features_in_)]
            return np.asarray(default if known is None else known, dtype=object)
        names = np.asarray(input_features, dtype=object)
        if len(names) != self.n_features_in_:
            raise ValueError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        if known is not None and list(names) != list(known):
            raise ValueError("input_features is not equal to feature_names_in_")
        return names

    def _check(self, X: Any, *, reset: bool) -> Any:
        """Return a dense array, or a CSR array that stores the observed values."""
        frame = as_pandas(X, "ObservedScaler")
        with np.errstate(over="ignore", invalid="ignore"):  # Sums of large numbers.
            X = validate_data(
                self,
                X if frame is None else frame,
                reset=reset,
                accept_sparse=("csr", "csc", "coo"),
                dtype=(np.float64, np.float32),
                ensure_all_finite="allow-nan",
            )
            numbers = X.data if scipy.sparse.issparse(X) else X
            n_extreme = int((np.abs(numbers) > LARGEST).sum())
        if n_extreme:
            raise ValueError(
                f"ObservedScaler: X contains {n_extreme} numbers beyond {LARGEST:.0e}, "
                "the squares of which are infinite. Replace them by NaN or a bound."
            )
        if not scipy.sparse.issparse(X):
            return X
        X = scipy.sparse.csr_array(X)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        if np.isnan(X.data).any():
            cells = X.tocoo()
            kept = ~np.isnan(cells.data)
            places = cells.row[kept], cells.col[kept]
            X = scipy.sparse.csr_array((cells.data[kept], places), shape=X.shape)
        return X

    def _choose_indicators(
        self, cells: scipy.sparse.coo_array, y: Any, choice: str | None
    ) -> np.ndarray:
        if choice is None:
            return np.empty(0, dtype=np.intp)
        ones = np.ones(len(cells.row))
        shape = cells.shape
        seen = scipy.sparse.coo_array((ones, (cells.row, cells.col)), shape=shape)
        seen = seen.tocsc()
        seen.sort_indices()
        # The statistics of one code are missing in the same rows.
        first: dict[bytes, int] = {}
        for j, (start, stop) in enumerate(pairwise(seen.indptr)):
            if 0 < stop - start < shape[0]:
                first.setdefault(seen.indices[start:stop].tobytes(), j)
        columns = np.array(list(first.values()), dtype=np.intp)
        if choice == "selective":
            return columns[
                select_informative_indicators(seen[:, columns], y, "ObservedScaler")
            ]
        return columns

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _sums(values: np.ndarray, cells: scipy.sparse.coo_array) -> np.ndarray:
    return np.bincount(cells.col, weights=values, minlength=cells.shape[1])


def _like(X: scipy.sparse.csr_array, data: np.ndarray) -> scipy.sparse.csr_array:
    return scipy.sparse.csr_array((data, X.indices, X.indptr), shape=X.shape)
