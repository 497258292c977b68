"""TabularEncoder: static EHR columns in, one numeric block out.

Numbers, booleans, categories and dates are told apart by the columns' types; all
that is learned (medians, scales, categories) is learned in `fit`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._validation import check_weights

__all__ = ["TabularEncoder"]

SECONDS_PER_DAY = 86_400.0


class TabularEncoder(TransformerMixin, BaseEstimator):
    """Turn static EHR columns into one numeric block.

    Numbers are imputed and scaled, booleans become 0 and 1, categories are one-hot
    encoded (rare ones merged, unseen ones ignored), dates become days before or
    after an index time. Columns with gaps in the training rows get a missing
    indicator.

    Parameters
    ----------
    impute : {"median", "mean"} or None, default="median"
        How gaps in numbers are filled (the median is the lower one, a value that
        occurs); gaps in booleans get the commoner value.
        None keeps NaN, for learners that take it, such as XGBoost.
    scale : bool, default=True
        Whether numbers and intervals are standardised (mean 0, variance 1).
    missing_indicator : bool, default=True
        Whether a column with gaps in the training rows gets a 0/1 column that says
        where they are.
    min_frequency : int, float or None, default=0.01
        Categories rarer than this (a count, or a share of the rows) are merged into
        one. None merges none.
    max_categories : int or None, default=30
        Most columns that one categorical column may turn into.
    index_time : str or None, default=None
        Name of the column that holds the moment of prediction. Other date columns
        become days from it (negative: before). The column itself is no feature.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of those columns, where all are strings.
    kinds_ : dict of str to list
        The columns by kind: ``"number"``, ``"boolean"``, ``"category"``, ``"date"``.

    Raises
    ------
    ValueError
        If there are date columns but no `index_time`, or a column mixes kinds that
        cannot be encoded.

    Notes
    -----
    Huang et al. 2020 [1]_ name missing EHR values among the practical obstacles to
    fusion; here imputation happens inside the fold and leaves a trace.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import TabularEncoder
    >>> X = pd.DataFrame({"age": [40.0, 60.0, None], "sex": ["f", "m", "f"]})
    >>> encoder = TabularEncoder().fit(X)
    >>> list(encoder.get_feature_names_out())
    ['age', 'age_missing', 'sex_f', 'sex_m']
    >>> encoder.transform(X).round(2).tolist()[2]
    [-0.71, 1.0, 1.0, 0.0]
    """

    def __init__(
        self,
        *,
        impute: str | None = "median",
        scale: bool = True,
        missing_indicator: bool = True,
        min_frequency: int | float | None = 0.01,
        max_categories: int | None = 30,
        index_time: str | None = None,
    ) -> None:
        self.impute = impute
        self.scale = scale
        self.missing_indicator = missing_indicator
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.index_time = index_time

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> TabularEncoder:
        """Learn kinds, medians, scales and categories.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The EHR columns.
        y : ignored
            Present for the API's sake.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights for medians, means and scales. Categories are counted unweighted,
            over the rows of positive weight.

        Returns
        -------
        TabularEncoder
            The fitted encoder.
        """
        if self.impute not in ("median", "mean", None):
            raise ValueError(
                "TabularEncoder: impute must be 'median', 'mean' or None, got "
                f"{self.impute!r}."
            )
        frame = self._as_frame(X, reset=True)
        weights = check_weights(
            1.0 if sample_weight is None else sample_weight,
            len(frame),
            "TabularEncoder",
        )
        frame, weights = frame[weights > 0], weights[weights > 0]
        self.kinds_ = self._sort_columns(frame)
        numbers = self._numbers(frame)
        gaps = numbers.isna()
        self._indicated = [
            column
            for column in numbers
            if self.missing_indicator and gaps[column].any()
        ]
        values = numbers.to_numpy()
        self._fill = self._typical(values, weights)
        if self.impute is not None:
            values = np.where(np.isnan(values), self._fill, values)
        n_measured = self._n_measured()
        if self.scale and n_measured:
            self._scaler = StandardScaler().fit(
                values[:, :n_measured], sample_weight=weights
            )
        if self.kinds_["category"]:
            self._one_hot = OneHotEncoder(
                handle_unknown="infrequent_if_exist",
                min_frequency=self.min_frequency,
                max_categories=self.max_categories,
                sparse_output=False,
            )
            self._one_hot.fit(_as_categories(frame[self.kinds_["category"]]))
        self._n_features_out = len(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Encode columns.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The columns seen in `fit`.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_features)
            The encoded block.
        """
        check_is_fitted(self)
        frame = self._as_frame(X, reset=False)
        numbers = self._numbers(frame)
        values = numbers.to_numpy(copy=True)
        if self.impute is not None:
            values = np.where(np.isnan(values), self._fill, values)
        n_measured = self._n_measured()
        if self.scale and n_measured:
            values[:, :n_measured] = self._scaler.transform(values[:, :n_measured])
        parts = [values]
        if self._indicated:
            parts.append(numbers[self._indicated].isna().to_numpy(dtype=np.float64))
        if self.kinds_["category"]:
            categories = _as_categories(frame[self.kinds_["category"]])
            parts.append(self._one_hot.transform(categories))
        return np.hstack(parts)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input columns; only checked, as they are known from `fit`.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``column`` for numbers and booleans, ``column_days`` for dates,
            ``column_missing`` for indicators and ``column_category`` for categories.
        """
        check_is_fitted(self, "kinds_")
        named = self._check_input_features(input_features)
        names = [named[column] for column in self.kinds_["number"]]
        names += [f"{named[column]}_days" for column in self.kinds_["date"]]
        names += [named[column] for column in self.kinds_["boolean"]]
        names += [f"{named[column]}_missing" for column in self._indicated]
        if self.kinds_["category"]:
            names += list(
                self._one_hot.get_feature_names_out(
                    [named[column] for column in self.kinds_["category"]]
                )
            )
        return np.asarray(names, dtype=object)

    def _check_input_features(self, input_features: Any) -> dict[Any, str]:
        known = list(self._columns)
        if input_features is None:
            return {column: self._name(column) for column in known}
        given = np.asarray(input_features, dtype=object)
        if len(given) != len(known):
            raise ValueError(
                "input_features should have length equal to number of features "
                f"({len(known)}), got {len(given)}"
            )
        if hasattr(self, "feature_names_in_") and list(given) != known:
            raise ValueError("input_features is not equal to feature_names_in_")
        return dict(zip(known, (str(name) for name in given), strict=True))

    def _name(self, column: Any) -> str:
        return column if isinstance(column, str) else f"x{column}"

    def _as_frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            if len(X) == 0 or X.shape[1] == 0:
                raise ValueError(
                    f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} "
                    f"feature(s) (shape={X.shape}) while a minimum of 1 is required by "
                    "TabularEncoder."
                )
            frame = X
        else:
            frame = pd.DataFrame(
                validate_data(
                    self,
                    X,
                    reset=reset,
                    dtype="numeric",
                    ensure_all_finite="allow-nan",
                )
            )
            if not reset and hasattr(self, "feature_names_in_"):
                frame.columns = self.feature_names_in_
        if reset:
            self._columns = list(frame.columns)
        return frame

    def _sort_columns(self, frame: pd.DataFrame) -> dict[str, list[Any]]:
        kinds: dict[str, list[Any]] = {
            "number": [],
            "boolean": [],
            "category": [],
            "date": [],
        }
        for column in frame.columns:
            if column != self.index_time:
                kinds[_kind(frame[column])].append(column)
        if self.index_time is not None and self.index_time not in frame.columns:
            raise ValueError(
                f"TabularEncoder: index_time={self.index_time!r} is not among the "
                f"{frame.shape[1]} columns. Add it to the columns of the modality."
            )
        if kinds["date"] and self.index_time is None:
            raise ValueError(
                f"TabularEncoder: column {kinds['date'][0]!r} holds dates, which only "
                "mean something as intervals. Give the name of the column with the "
                "moment of prediction as index_time=, or leave the column out."
            )
        return kinds

    def _n_measured(self) -> int:
        return len(self.kinds_["number"]) + len(self.kinds_["date"])

    def _typical(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return what fills the gaps of each column; 0 where nothing was measured."""
        typical = np.zeros(values.shape[1])
        for j, column in enumerate(values.T):
            known = ~np.isnan(column)
            if not known.any():
                continue
            if j < self._n_measured() and self.impute == "mean":
                typical[j] = np.average(column[known], weights=weights[known])
            else:
                # The lower median: a value that occurs, so booleans stay booleans.
                typical[j] = np.quantile(
                    column[known], 0.5, weights=weights[known], method="inverted_cdf"
                )
        return typical

    def _numbers(self, frame: pd.DataFrame) -> pd.DataFrame:
        columns = {}
        for column in self.kinds_["number"]:
            columns[column] = _to_float(frame[column])
        for column in self.kinds_["date"]:
            interval = _to_time(frame[column]) - _to_time(frame[self.index_time])
            columns[column] = interval.dt.total_seconds().to_numpy() / SECONDS_PER_DAY
        for column in self.kinds_["boolean"]:
            columns[column] = _to_float(frame[column])
        return pd.DataFrame(columns, index=frame.index, dtype=np.float64)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags


def _kind(column: pd.Series) -> str:
    if column.dtype == object:
        column = column.infer_objects()
        filled = column.dropna()
        if len(filled) and all(isinstance(cell, (bool, np.bool_)) for cell in filled):
            return "boolean"
        if len(filled) and all(_is_real(cell) for cell in filled):
            return "number"
        if len(filled) == 0:
            return "number"
    if pd.api.types.is_bool_dtype(column):
        return "boolean"
    if pd.api.types.is_numeric_dtype(column):
        if pd.api.types.is_complex_dtype(column):
            raise ValueError(
                f"Complex data not supported: TabularEncoder found complex numbers in "
                f"column {column.name!r}."
            )
        return "number"
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    return "category"


def _is_real(cell: Any) -> bool:
    return isinstance(cell, (int, float, np.integer, np.floating))


def _to_float(column: pd.Series) -> np.ndarray:
    try:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"TabularEncoder: column {column.name!r} held numbers in fit but now holds "
            f"{column.dtype} values that are none. Convert it as it was in fit."
        ) from error
    if np.isinf(values).any():
        rows = np.flatnonzero(np.isinf(values))
        raise ValueError(
            f"TabularEncoder: column {column.name!r} holds infinity in {len(rows)} "
            f"row(s), first at row position {rows[0]}. Replace it by NaN or a bound."
        )
    return values


def _to_time(column: pd.Series) -> pd.Series:
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise ValueError(
            f"TabularEncoder: column {column.name!r} must hold dates, found "
            f"{column.dtype}. Convert it with pandas.to_datetime."
        )
    return column


def _as_categories(frame: pd.DataFrame) -> np.ndarray:
    # One type for all, so that 1 and "1" in one column do not break the sorting;
    # a gap is a category of its own, called "missing".
    text = frame.astype(object).where(frame.notna(), "missing")
    return text.map(str).to_numpy(dtype=object)
