"""Encoding of static EHR columns as numeric features with `TabularEncoder`.

The kind of a column follows from its dtype. All statistics (medians, scales,
categories, terms) are learned in `fit`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._fitting.state import undone_on_failure
from skfusion._image_cells.recognition import inspect_cells
from skfusion._validation import check_option, check_weights
from skfusion.cohort import as_pandas
from skfusion.ehr.tabular.cells import LISTS, check_scalars, known_cells, to_vectors
from skfusion.ehr.tabular.columns import (
    AGES,
    MultiLabelColumn,
    TextColumn,
    check_ages,
    check_bounds,
    check_orders,
    days_between,
    looks_standardised,
    sort_columns,
    to_float,
    to_ranks,
    typical_values,
    within_bounds,
)
from skfusion.ehr.tabular.missing_indicators import (
    check_indicators,
    select_informative_indicators,
)
from skfusion.ehr.tabular.understanding import (
    as_booleans,
    as_numbers,
    guess_measurements,
    holds_text,
    understood,
    without_durations,
)
from skfusion.ehr.tabular.words import Vocabulary
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["TabularEncoder"]


MEASURED = ("number", "date", "ordered")
FEWEST_TO_WARN = 3  # values of a column of which most are unseen
SINGLE = ("ordered", "category", "text")  # kinds of cells with one value


class TabularEncoder(TransformerMixin, BaseEstimator):
    """Transformer that encodes static EHR columns as one numeric block.

    Numbers are imputed and scaled. Ordered categories become ranks, booleans become 0
    and 1, and dates become days from the index time. Other categories are one-hot
    encoded, and cells with several values are multi-hot encoded. Vectors of numbers,
    such as embeddings, become one number per element. Rare categories are merged and
    unseen ones are ignored. Columns with missing values in the training rows get a
    missing indicator.

    Parameters
    ----------
    impute : {"median", "mean"} or None, default="median"
        Imputation of missing numbers. The median is the lower median, which is an
        observed value. Missing booleans get the more frequent value. None keeps NaN,
        for estimators that support it, such as XGBoost.
    scale : bool, default=True
        Whether numbers, intervals and ranks are standardised (mean 0, variance 1).
    missing_indicator : bool, "all" or "selective", default=True
        Which columns with missing values in the training rows get a 0/1 missing
        indicator. ``"all"`` (or True) adds all of them. ``"selective"`` adds those
        associated with the target (false discovery rate 0.1).
    min_frequency : int, float or None, default=0.01
        Minimum frequency of a category, as a count or a fraction of the rows. This
        also applies to the values of multi-valued cells. Rarer values are merged into
        one column, and rarer terms of texts are ignored. None merges none.
    max_categories : int or None, default=30
        Maximum number of output columns of one categorical or multi-valued column.
    index_time : str or None, default=None
        Name of the column that contains the index time. Other date columns become
        days from the index time (negative: before). The column itself is not a feature.
    orders : mapping of str to sequence, or None, default=None
        The categories of a column from low to high. A pandas column of an ordered
        categorical dtype needs no entry. A value that is not listed is missing.
    multivalued : mapping of str to str, or None, default=None
        Separator of the values in the cells of a column, such as ``"&"``. Columns of
        lists or sets need no entry.
    text : sequence of str, default=()
        Columns of free text, encoded as TF-IDF weights of their words.
    max_terms : int, default=100
        Maximum number of words of a text column.
    bounds : mapping of str to (float, float), or None, default=None
        Least and greatest plausible number of a column. Values outside the bounds are
        treated as missing, and a warning gives their number. A column named as an age
        must not contain negative numbers unless it has bounds.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns seen in `fit`, if all are strings.
    summary_ : DataFrame of shape (n_features_in_, 5)
        How each column was understood: ``kind``, the share ``missing``, the number of
        ``levels`` of a category, the number of ``features``, and a ``note`` on what
        was converted, merged or not understood. It contains no values of cells.
    kinds_ : dict of str to list
        The columns by kind: ``"number"``, ``"date"``, ``"ordered"``, ``"boolean"``,
        ``"vector"``, ``"category"``, ``"multivalued"``, ``"text"``.

    Raises
    ------
    ValueError
        If there are date columns but no `index_time`, a column mixes kinds that cannot
        be encoded, vectors have several lengths, ages are negative, or a column has
        images or paths of files instead of categories.
    TypeError
        If a cell is of an unknown type, such as dict or bytes.

    See Also
    --------
    ObservedScaler : Standardise sparse or incomplete event features.

    Notes
    -----
    Huang et al. 2020 [1]_ list missing EHR values among the practical obstacles to
    fusion. Here, imputation is fitted on the training rows of each fold, and missing
    indicators mark the imputed values.

    Tables come as people filled them in. Words are compared without surrounding blanks
    and without regard to case, and whole numbers by their value, so that ``"f "`` is
    ``"F"`` and ``1.0`` is ``"1"``. ``"N/A"``, ``"null"`` and the like are missing.
    Durations become days, and periods their first moment. In a column of numbers,
    texts such as ``"<5"`` become the number, and other texts are missing, with a
    warning that gives their number. A column that is empty in `fit` stays without
    information. `summary_` says in one line per column how it was understood.

    Cells that are arrays, tensors or lists of floats of one length are vectors. Their
    elements are imputed and scaled like other numbers, and one indicator marks missing
    vectors. Lists and arrays of integers are codes, which are multi-hot encoded. Pass
    codes as integers or text, and vectors as floats.

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

    Several diagnoses in one cell, and a stage with an order:

    >>> X = pd.DataFrame({"stage": ["II", "I", "III"], "icd": ["I10&E11", "I10", None]})
    >>> encoder = TabularEncoder(
    ...     orders={"stage": ["I", "II", "III"]}, multivalued={"icd": "&"}, scale=False
    ... )
    >>> encoder.set_output(transform="pandas").fit_transform(X)
       stage  icd_missing  icd_E11  icd_I10
    0    1.0          0.0      1.0      1.0
    1    0.0          0.0      0.0      1.0
    2    2.0          1.0      0.0      0.0
    """

    __module__ = "skfusion.ehr"

    def __init__(
        self,
        *,
        impute: str | None = "median",
        scale: bool = True,
        missing_indicator: bool | str | None = True,
        min_frequency: int | float | None = 0.01,
        max_categories: int | None = 30,
        index_time: str | None = None,
        orders: Mapping[str, Sequence[Any]] | None = None,
        multivalued: Mapping[str, str] | None = None,
        text: Sequence[str] = (),
        max_terms: int = 100,
        bounds: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.impute = impute
        self.scale = scale
        self.missing_indicator = missing_indicator
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.index_time = index_time
        self.orders = orders
        self.multivalued = multivalued
        self.text = text
        self.max_terms = max_terms
        self.bounds = bounds

    @undone_on_failure
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> TabularEncoder:
        """Learn kinds, fill values, scales, categories and terms.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The EHR columns. Tables of polars and pyarrow are converted to pandas.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            The target, used by ``missing_indicator="selective"`` only.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights for medians, means and scales. Category counts are unweighted and
            include the rows of positive weight.

        Returns
        -------
        TabularEncoder
            The fitted encoder.
        """
        check_option(self.impute, "impute", ("median", "mean", None), "TabularEncoder")
        choice = check_indicators(
            self.missing_indicator, "TabularEncoder", "missing_indicator"
        )
        check_orders(self.orders or {}, "TabularEncoder")
        check_bounds(self.bounds or {}, "TabularEncoder")
        frame = self._as_frame(X, reset=True)
        weights = check_weights(
            1.0 if sample_weight is None else sample_weight,
            len(frame),
            "TabularEncoder",
        )
        kept = weights > 0
        frame, weights = frame[kept], weights[kept]
        frame = self._understand(frame)
        self._sort_columns(frame)
        _warn(
            "values that are not in the order of their column are missing",
            self._unlisted(frame, share=0.0),
        )
        self._check_paths(frame)
        self._check_single(frame)
        known = {column: to_float(frame[column]) for column in self.kinds_["number"]}
        self._scores = [
            column for column, values in known.items() if looks_standardised(values)
        ]
        numbers = self._numbers(frame, known)
        gaps = self._gaps(frame, numbers)
        gap_table = _stacked(gaps, len(frame), dtype=bool)
        indicated = np.full(len(gaps), choice is not None)
        indicated &= gap_table.any(axis=0)
        if choice == "selective":
            target = None if y is None else np.asarray(y)[kept]
            indicated = select_informative_indicators(
                gap_table, target, "TabularEncoder"
            )
        self._indicated = [c for c, is_ in zip(gaps, indicated, strict=True) if is_]
        self._fit_numbers(_stacked(numbers, len(frame)), weights)
        self._fit_words(frame)
        self._n_features_out = len(self.get_feature_names_out())
        self._summary_lines = self._summarise(frame)
        return self

    @property
    def summary_(self) -> pd.DataFrame:
        """How each column was understood, one line per column."""
        if not hasattr(self, "_summary_lines"):
            raise AttributeError(
                f"{type(self).__name__} object has no attribute 'summary_' before fit."
            )
        index = pd.Index(self._columns, name="column", tupleize_cols=False)
        levels = pd.array(self._summary_lines["levels"], dtype="Int64")
        return pd.DataFrame({**self._summary_lines, "levels": levels}, index=index)

    def transform(self, X: Any) -> np.ndarray:
        """Encode the columns.

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
        frame = self._convert(self._as_frame(X, reset=False))
        self._check_single(frame)
        numbers = self._numbers(frame)
        values = _stacked(numbers, len(frame))
        if self.impute is not None:
            values = np.where(np.isnan(values), self._fill, values)
        n_measured = self._n_measured()
        if self.scale and n_measured:
            # As the scaler does, whose checks were done for each column.
            values[:, :n_measured] -= self._scaler.mean_
            values[:, :n_measured] /= self._scaler.scale_
        parts = [values]
        if self._indicated:
            gaps = self._gaps(frame, numbers)
            indicated = {column: gaps[column] for column in self._indicated}
            parts.append(_stacked(indicated, len(frame)))
        unseen = self._unlisted(frame, share=0.5)
        if self.kinds_["category"]:
            words = self._matched(frame)
            unseen = self._unseen(words) | unseen
            parts.append(self._one_hot.transform(words))
        _warn("most values were not seen in fit, and are ignored", unseen)
        for column, encoder in self._words.items():
            parts.append(encoder.transform(frame[column]))
        return np.hstack(parts)

    def find_unseen(self, X: Any) -> pd.DataFrame:
        """Find the categories that were not seen in `fit`, which `transform` ignores.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The columns seen in `fit`.

        Returns
        -------
        DataFrame of bool of shape (n_samples, n_categorical_columns)
            Whether the cell has a category that `fit` has not seen, also as one of
            several values, or a value that is not in the order of its column. Missing
            cells are False.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion import TabularEncoder
        >>> X = pd.DataFrame({"smokes": ["yes", "no", "unknown"], "age": [40, 50, 60]})
        >>> encoder = TabularEncoder().fit(X)
        >>> new = pd.DataFrame({"smokes": ["Yes", "y", None], "age": [30, 40, 50]})
        >>> encoder.find_unseen(new)["smokes"].tolist()
        [False, True, False]
        """
        check_is_fitted(self)
        frame = self._convert(self._as_frame(X, reset=False))
        found = {}
        for column in self.kinds_["category"]:
            vocabulary = self._vocabularies[column]
            found[column] = vocabulary.are_unseen(vocabulary.match(frame[column]))
        for column in self._orders:
            found[column] = self._is_unlisted(frame, column)
        for column, words in self._words.items():
            if isinstance(words, MultiLabelColumn):
                found[column] = words.find_unseen(frame[column])
        return pd.DataFrame(found, index=frame.index, dtype=bool)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the input columns, validated against those seen in `fit`.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``column`` for numbers, ordered categories and booleans, ``column_days`` for
            dates, ``column_0``, ``column_1``, ... for the elements of vectors,
            ``column_missing`` for indicators, ``column_value`` for the rest.
        """
        check_is_fitted(self, "kinds_")
        named = self._check_input_features(input_features)
        names = [named[column] for column in self.kinds_["number"]]
        names += [f"{named[column]}_days" for column in self.kinds_["date"]]
        names += [named[column] for column in self.kinds_["ordered"]]
        for column, length in self._lengths.items():
            names += [f"{named[column]}_{element}" for element in range(length)]
        names += [named[column] for column in self.kinds_["boolean"]]
        names += [f"{named[column]}_missing" for column in self._indicated]
        if self.kinds_["category"]:
            names += list(
                self._one_hot.get_feature_names_out(
                    [named[column] for column in self.kinds_["category"]]
                )
            )
        for column, encoder in self._words.items():
            names += encoder.names(named[column])
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
        frame = as_pandas(X, "TabularEncoder")
        if frame is not None:
            if reset or not self._has_names_of_fit(frame):
                validate_data(self, frame, reset=reset, skip_check_array=True)
            if len(frame) == 0 or frame.shape[1] == 0:
                raise ValueError(
                    f"Found array with {frame.shape[0]} sample(s) and {frame.shape[1]} "
                    f"feature(s) (shape={frame.shape}) while a minimum of 1 is "
                    "required by TabularEncoder."
                )
        else:
            values = validate_data(
                self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan"
            )
            frame = pd.DataFrame(values)
            if not reset:
                frame = frame.set_axis(self._columns, axis=1)
        if reset:
            self._columns: list[Any] = list(frame.columns)
        else:
            self._check_labels(frame)
        return self._with_known_cells(frame, reset=reset)

    def _has_names_of_fit(self, frame: pd.DataFrame) -> bool:
        """Return whether scikit-learn's check of the names passes, which takes long."""
        known = getattr(self, "feature_names_in_", None)
        return known is not None and list(frame.columns) == self._columns

    def _with_known_cells(self, frame: pd.DataFrame, *, reset: bool) -> pd.DataFrame:
        """Convert durations and periods, and check the types of all other cells."""
        changed, notes = {}, {}
        for name in _without_plain_numbers(frame):
            cells = frame[name]
            found = without_durations(cells)
            known = known_cells(found.column, "TabularEncoder")
            if found.note:
                notes[name] = found.note
            if known is not cells:
                changed[name] = known
        if reset:
            self._notes: dict[Any, str] = notes
        return _with(frame, changed)

    def _check_labels(self, frame: pd.DataFrame) -> None:
        """Check labels that are not text, which scikit-learn does not compare."""
        lacking = [name for name in self._columns if name not in frame.columns]
        if lacking:
            raise ValueError(
                f"TabularEncoder: X lacks {len(lacking)} of the {len(self._columns)} "
                f"columns seen in fit, such as {lacking[0]!r}. Pass the same columns."
            )

    def _check_single(self, frame: pd.DataFrame) -> None:
        for kind in SINGLE:
            for column in self.kinds_[kind]:
                check_scalars(frame[column], "TabularEncoder")

    def _check_paths(self, frame: pd.DataFrame) -> None:
        """Check that no column of categories has images or paths of files."""
        for column in self.kinds_["category"]:
            found = inspect_cells(frame[column])
            if not found.has_paths:
                continue
            message = (
                f"TabularEncoder: column {column!r} would be encoded as categories, "
                f"but {found.description}. Use ImageEmbedder for images. Leave other "
                "paths out. If the cells are text or several codes, name the column "
                "in text= or multivalued=."
            )
            if found.is_certain:
                raise ValueError(message)
            warn_user(message, DataWarning)

    def _sort_columns(self, frame: pd.DataFrame) -> None:
        """Set the kind of each column from the parameters, or else from its dtype."""
        said = {
            "ordered": ("orders", self.orders or {}),
            "multivalued": ("multivalued", self.multivalued or {}),
            "text": ("text", self.text),
            "number": ("bounds", self.bounds or {}),
        }
        self.kinds_ = sort_columns(frame, said, self.index_time)
        self._orders = {
            column: list((self.orders or {}).get(column, ()))
            or list(frame[column].cat.categories)
            for column in self.kinds_["ordered"]
        }
        self._lengths = {
            column: next(len(cell) for cell in frame[column] if _is_vector(cell))
            for column in self.kinds_["vector"]
        }

    def _understand(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Convert the columns of `fit`, and warn of conversions that are guesses."""
        said = {*self.text, *(self.multivalued or ()), *(self.orders or ())}
        self._converted: list[Any] = []
        gaps: np.ndarray = frame.isna().to_numpy(dtype=bool)
        is_empty = np.atleast_1d(gaps.all(axis=0))
        self._empty = [
            column for column, empty in zip(frame, is_empty, strict=True) if empty
        ]
        changed, warned = {}, {}
        for column in _without_plain_numbers(frame):
            if column in said or column == self.index_time:
                continue
            cells = frame[column]
            found = understood(cells)
            if not found.note:
                found = guess_measurements(cells, AGES.fullmatch(str(column)))
            if found.note:
                self._notes[column] = found.note
            if found.is_warned:
                warned[column] = found.note
            if found.column is not cells:
                changed[column] = found.column
                if pd.api.types.is_float_dtype(found.column):
                    self._converted.append(column)
        _warn("columns were not understood as they are", warned)
        return _with(frame, changed)

    def _convert(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Convert columns as in `fit`, and warn of texts that are no numbers."""
        changed, warned = {}, {}
        uncertain = set(_without_plain_numbers(frame))
        for column in self._columns:
            if column in self._empty or column not in uncertain:
                continue
            cells = frame[column]
            found = understood(cells)
            was_number = column in self.kinds_["number"]
            if was_number and not pd.api.types.is_numeric_dtype(found.column):
                as_number = as_numbers(cells)
                if as_number.column.notna().any() or column in self._converted:
                    found = as_number
            if column in self.kinds_["boolean"] and holds_text(cells):
                found = as_booleans(cells)
            if found.note and found.is_warned:
                warned[column] = found.note
            if found.column is not cells:
                changed[column] = found.column
        _warn("columns have texts that are not plain numbers", warned)
        return _with(frame, changed)

    def _matched(self, frame: pd.DataFrame) -> np.ndarray:
        """Return the words of the categories, as spelled in `fit`."""
        return np.column_stack(
            [
                vocabulary.match(frame[column])
                for column, vocabulary in self._vocabularies.items()
            ]
        )

    def _unseen(self, words: np.ndarray) -> dict[Any, str]:
        """Return the columns of which most categories were not seen in `fit`."""
        found = {}
        for column, cells in zip(self._vocabularies, words.T, strict=True):
            n_unseen, n_there = self._vocabularies[column].count_unseen(cells)
            if n_there >= FEWEST_TO_WARN and n_unseen > n_there / 2:
                found[column] = f"{n_unseen} of {n_there} values"
        return found

    def _unlisted(self, frame: pd.DataFrame, share: float) -> dict[Any, str]:
        """Return the columns with more than a share of values outside their order."""
        found = {}
        for column in self._orders:
            n_unlisted = int(self._is_unlisted(frame, column).sum())
            n_there = int(frame[column].notna().sum())
            enough = not share or n_there >= FEWEST_TO_WARN
            if enough and n_unlisted > share * n_there:
                found[column] = f"{n_unlisted} of {n_there} values"
        return found

    def _is_unlisted(self, frame: pd.DataFrame, column: Any) -> np.ndarray:
        there = frame[column].notna().to_numpy(dtype=bool)
        return there & np.isnan(to_ranks(frame[column], self._orders[column]))

    def _summarise(self, frame: pd.DataFrame) -> dict[str, list[Any]]:
        """Return the columns of `summary_`, of which few users read the table."""
        kind_of_column = {
            column: kind for kind, columns in self.kinds_.items() for column in columns
        }
        n_features = self._count_features()
        missing = frame.isna().to_numpy(dtype=bool).mean(axis=0)
        share = dict(zip(frame.columns, missing.tolist(), strict=True))
        lines: dict[str, list[Any]] = {
            name: [] for name in ("kind", "missing", "levels", "features", "note")
        }
        for column in self._columns:
            notes = [self._notes[column]] if column in self._notes else []
            if column in self._empty:
                notes.append("no value in fit, so that later values are ignored")
            merged = getattr(self, "_vocabularies", {}).get(column)
            if merged is not None and merged.n_spellings_:
                notes.append(f"{merged.n_spellings_} spellings merged")
            kind = kind_of_column.get(column, "index time")
            is_word = kind in ("category", "ordered")
            lines["kind"].append(kind)
            lines["missing"].append(share[column])
            lines["levels"].append(frame[column].nunique() if is_word else None)
            lines["features"].append(n_features.get(column, 0))
            lines["note"].append("; ".join(notes))
        return lines

    def _count_features(self) -> dict[Any, int]:
        counts: dict[Any, int] = {}
        for kind in ("number", "date", "ordered", "boolean"):
            counts |= dict.fromkeys(self.kinds_[kind], 1)
        counts |= self._lengths
        if self.kinds_["category"]:
            categories = self.kinds_["category"]
            places = [str(place) for place in range(len(categories))]
            names = self._one_hot.get_feature_names_out(places)
            found = [int(name.partition("_")[0]) for name in names]
            counts |= {c: found.count(i) for i, c in enumerate(categories)}
        counts |= {c: len(part.names("")) for c, part in self._words.items()}
        for column in self._indicated:
            counts[column] += 1
        return counts

    def _n_measured(self) -> int:
        n_columns = sum(len(self.kinds_[kind]) for kind in MEASURED)
        return n_columns + sum(self._lengths.values())

    def _fit_numbers(self, values: np.ndarray, weights: np.ndarray) -> None:
        n_measured = self._n_measured()
        use_mean = np.arange(values.shape[1]) < n_measured
        self._fill = typical_values(values, weights, use_mean & (self.impute == "mean"))
        if self.impute is not None:
            values = np.where(np.isnan(values), self._fill, values)
        if self.scale and n_measured:
            self._scaler = StandardScaler().fit(
                values[:, :n_measured], sample_weight=weights
            )

    def _fit_words(self, frame: pd.DataFrame) -> None:
        if self.kinds_["category"]:
            self._one_hot = OneHotEncoder(
                handle_unknown="infrequent_if_exist",
                min_frequency=self.min_frequency,
                max_categories=self.max_categories,
                sparse_output=False,
            )
            self._vocabularies = {
                column: Vocabulary().fit(frame[column])
                for column in self.kinds_["category"]
            }
            self._one_hot.fit(self._matched(frame))
        separators = self.multivalued or {}
        self._words: dict[Any, MultiLabelColumn | TextColumn] = {}
        for column in self.kinds_["multivalued"]:
            self._words[column] = MultiLabelColumn(
                separators.get(column), self.min_frequency, self.max_categories
            ).fit(frame[column])
        for column in self.kinds_["text"]:
            terms = TextColumn(self.min_frequency, self.max_terms)
            self._words[column] = terms.fit(frame[column])

    def _numbers(
        self, frame: pd.DataFrame, known: Mapping[Any, np.ndarray] | None = None
    ) -> dict[Any, np.ndarray]:
        """Return the numbers of each column (2-D for vectors), NaN where missing.

        `known` are those of the columns of kind ``"number"``, if they were read before.
        """
        columns: dict[Any, np.ndarray] = {}
        outside: dict[Any, int] = {}
        for column in self.kinds_["number"]:
            if column in self._empty:  # nothing was learned of its values
                columns[column] = np.full(len(frame), np.nan)
                continue
            columns[column] = (
                to_float(frame[column]) if known is None else known[column]
            )
            if column not in (self.bounds or {}) and column not in self._scores:
                check_ages(columns[column], column)
        for column, bounds in (self.bounds or {}).items():
            columns[column], outside[column] = within_bounds(columns[column], bounds)
        if any(outside.values()):
            counts = ", ".join(f"{name!r}: {n}" for name, n in outside.items() if n)
            warn_user(
                "TabularEncoder: values outside their bounds were treated as missing "
                f"({counts}).",
                DataWarning,
            )
        for column in self.kinds_["date"]:
            columns[column] = days_between(frame[column], frame[self.index_time])
        for column, order in self._orders.items():
            columns[column] = to_ranks(frame[column], order)
        for column, length in self._lengths.items():
            columns[column] = to_vectors(frame[column], length)
        for column in self.kinds_["boolean"]:
            columns[column] = to_float(frame[column])
        return columns

    def _gaps(
        self, frame: pd.DataFrame, numbers: dict[Any, np.ndarray]
    ) -> dict[Any, np.ndarray]:
        """Return where cells are missing, except categories, which encode it."""
        gaps = {
            column: np.isnan(values).reshape(len(frame), -1).all(axis=1)
            for column, values in numbers.items()
        }
        for column in self.kinds_["multivalued"] + self.kinds_["text"]:
            gaps[column] = frame[column].isna().to_numpy(dtype=bool)
        return gaps

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags


def _stacked(
    columns: dict[Any, np.ndarray], n_rows: int, dtype: type = np.float64
) -> np.ndarray:
    return np.column_stack([np.empty((n_rows, 0), dtype), *columns.values()])


def _without_plain_numbers(frame: pd.DataFrame) -> list[Any]:
    """Return the columns whose cells need a look, because they can be of any type."""
    return [
        column
        for column, kind in zip(frame.columns, frame.dtypes, strict=True)
        if not isinstance(kind, np.dtype) or kind.kind not in "biuf"
    ]


def _warn(what: str, columns: dict[Any, str]) -> None:
    if columns:
        listed = "; ".join(f"{name!r}: {note}" for name, note in columns.items())
        warn_user(
            f"TabularEncoder: {what} ({listed}). See summary_.",
            DataWarning,
        )


def _with(frame: pd.DataFrame, changed: dict[Any, pd.Series]) -> pd.DataFrame:
    if changed:
        frame = frame.copy(deep=False)
        for name, column in changed.items():
            frame[name] = column
    return frame


def _is_vector(cell: Any) -> bool:
    return isinstance(cell, LISTS) and len(cell) > 0
