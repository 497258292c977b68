"""Transformer from columns of vectors to a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._fitting.passthrough import Passthrough
from skfusion._fitting.state import undone_on_failure
from skfusion._image_cells.recognition import may_hold_objects
from skfusion._validation import check_option, refuse_unknown_table
from skfusion.vectors.cells import (
    VectorBags,
    has_elements,
    holds_vectors,
    stack_bags,
    with_arrays,
)

__all__ = ["VectorColumns", "expanded"]


BAG_POOLINGS = ("mean", "max", "attention")


class VectorColumns(TransformerMixin, BaseEstimator):
    """Transformer from columns of vectors to a matrix.

    A cell of a column of vectors is a list, tuple, array or tensor of numbers, e.g. an
    embedding that was computed before. All vectors of a column have one length. Other
    numeric columns are kept.

    Parameters
    ----------
    bag_pooling : {"mean", "max", "attention"}, default="mean"
        Pooling of a cell with several vectors (a list of vectors or a 2-D array).
        ``"attention"`` is the gated attention of Ilse et al. [1]_. It is trained in
        joint fusion and needs it.

    Attributes
    ----------
    lengths_ : dict of column label to int
        Length of the vectors of each column of vectors.
    dtype_ : dtype
        float32 if all values are float32 or shorter floats in `fit`, else float64.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns, if all are strings.

    See Also
    --------
    skfusion.read_embeddings : Read vectors by id from a file.
    skfusion.ImageEmbedder : Transformer from images to vectors.

    Notes
    -----
    The fusion estimators put this transformer before ``"passthrough"`` and before every
    transformer or estimator of a matrix, such as `StandardScaler`, if a column of the
    modality has vectors. A transformer that reads the cells itself says so with the tag
    ``input_tags.two_d_array = False``.

    A missing cell (None, NaN, an empty list, or a vector without any number) is a row
    of NaN. Single missing numbers are NaN.

    References
    ----------
    .. [1] Ilse M, Tomczak J, Welling M (2018). Attention-based deep multiple instance
       learning. ICML, PMLR 80:2127-2136.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import VectorColumns
    >>> X = pd.DataFrame({"emb": [[0.5, 1.0], None, [2.0, 3.5]]})
    >>> VectorColumns().set_output(transform="pandas").fit_transform(X)
       emb_0  emb_1
    0    0.5    1.0
    1    NaN    NaN
    2    2.0    3.5
    """

    __module__ = "skfusion.vectors"

    def __init__(self, bag_pooling: str = "mean") -> None:
        self.bag_pooling = bag_pooling

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the columns of vectors and their lengths.

        Parameters
        ----------
        X : Series, DataFrame or array-like of shape (n_samples, n_columns)
            Columns of vectors and numeric columns. A list or a 1-D array of objects is
            one column.
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        TypeError
            If a cell is neither a vector of numbers nor a bag of vectors.
        ValueError
            If the vectors of a column have several lengths, a column without vectors is
            not numeric, or two features would have one name.
        """
        check_option(self.bag_pooling, "bag_pooling", BAG_POOLINGS, "VectorColumns")
        self._fitted(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """Fit the transformer and return the matrix.

        Parameters
        ----------
        X : Series, DataFrame or array-like of shape (n_samples, n_columns)
            As in `fit`.
        y : ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            As in `transform`.
        """
        self.fit(X)
        return self.transform(X)

    def transform(self, X: Any) -> np.ndarray:
        """Return the vectors as rows of a matrix.

        Parameters
        ----------
        X : Series, DataFrame or array-like of shape (n_samples, n_columns)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features), of type `dtype_`
            NaN in the rows of missing cells.

        Raises
        ------
        ValueError
            If a vector has another length than in `fit`, or with
            ``bag_pooling="attention"``.
        TypeError
            If a cell is neither a vector of numbers nor a bag of vectors.
        """
        check_is_fitted(self, "lengths_")
        if self.bag_pooling == "attention":
            raise ValueError(
                "VectorColumns: bag_pooling='attention' is trained in joint fusion "
                "only, as the transformer of a modality. Use JointFusionClassifier (or "
                "its regressor or survival estimator), or bag_pooling='mean' or 'max'."
            )
        frame = _as_table(X)
        validate_data(self, frame, skip_check_array=True, reset=False)
        parts = [
            stack_bags(
                frame.iloc[:, places[0]], self._lengths[places[0]], "VectorColumns"
            ).pool(self.bag_pooling)
            if is_vector
            else _numbers(frame.iloc[:, places])
            for is_vector, places in self._runs()
        ]
        with np.errstate(over="ignore"):  # refused with its place by the fusion
            parts = [part.astype(self.dtype_, copy=False) for part in parts]
        return parts[0] if len(parts) == 1 else np.column_stack(parts)

    def bags(self, X: Any) -> VectorBags:
        """Return the single vectors of the only column.

        Parameters
        ----------
        X : Series, DataFrame or array-like of shape (n_samples, 1)
            As in `fit`.

        Returns
        -------
        VectorBags

        Raises
        ------
        ValueError
            If the transformer was not fitted on one column of vectors.
        """
        check_is_fitted(self, "lengths_")
        if list(self._lengths) != [0] or self.n_features_in_ != 1:
            raise ValueError(
                "VectorColumns: bag_pooling='attention' takes one column of vectors, "
                f"got {len(self._lengths)} columns of vectors and "
                f"{self.n_features_in_ - len(self._lengths)} others. Make each column "
                "a modality of its own."
            )
        frame = _as_table(X)
        validate_data(self, frame, skip_check_array=True, reset=False)
        return stack_bags(frame.iloc[:, 0], self._lengths[0], "VectorColumns")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features.

        Parameters
        ----------
        input_features : ignored
            Not used, present for API consistency.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``column_0``, ``column_1``, ... for the elements of vectors, ``column`` for
            numeric columns. Columns without names are ``x0``, ``x1``, ...
        """
        check_is_fitted(self, "lengths_")
        return np.array(self._names, dtype=object)

    def _fitted(self, X: Any) -> None:
        frame = _as_table(X)
        validate_data(self, frame, skip_check_array=True, reset=True)
        self._lengths: dict[int, int] = {}
        narrow = True
        for place, kind in enumerate(frame.dtypes):
            if not may_hold_objects(kind) or not _has_vector(frame.iloc[:, place]):
                continue
            found = stack_bags(frame.iloc[:, place], None, "VectorColumns")
            self._lengths[place] = found.values.shape[1]
            narrow = narrow and found.values.dtype == np.float32
        for is_vector, places in self._runs():
            if not is_vector:
                narrow = _numbers(frame.iloc[:, places]).dtype == np.float32 and narrow
        self.dtype_ = np.dtype(np.float32 if narrow else np.float64)
        labels = list(frame.columns)
        self.lengths_ = {labels[place]: n for place, n in self._lengths.items()}
        texts = getattr(self, "feature_names_in_", None)
        texts = [f"x{i}" for i in range(len(labels))] if texts is None else list(texts)
        self._names = []
        for place, text in enumerate(texts):
            length = self._lengths.get(place)
            self._names += (
                [text] if length is None else [f"{text}_{i}" for i in range(length)]
            )
        if len(set(self._names)) < len(self._names):
            raise ValueError(
                "VectorColumns: the elements of a vector are named column_0, column_1 "
                "..., and another column has such a name. Rename one of the columns "
                f"{[labels[place] for place in self._lengths]}."
            )

    def _runs(self) -> list[tuple[bool, list[int]]]:
        """Return the columns of vectors, and adjacent numeric columns together."""
        runs = []
        for key, places in groupby(
            range(self.n_features_in_),
            key=lambda place: place if place in self._lengths else -1,
        ):
            runs.append((key >= 0, list(places)))
        return runs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _as_table(X: Any) -> pd.DataFrame:
    refuse_unknown_table(X, "VectorColumns")
    root = type(X).__module__.partition(".")[0]
    if root == "pyarrow" and hasattr(X, "to_pandas"):
        X = X.to_pandas()
    if isinstance(X, pd.Series):
        return with_arrays(X).to_frame()
    if isinstance(X, pd.DataFrame):
        return X
    if root == "polars" and hasattr(X, "get_column"):
        columns = {name: with_arrays(X.get_column(name)) for name in X.columns}
        return pd.DataFrame(
            {
                name: column if isinstance(column, pd.Series) else column.to_list()
                for name, column in columns.items()
            }
        )
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return pd.DataFrame(X)
    cells = np.empty(len(X), dtype=object)
    for row, cell in enumerate(X):
        cells[row] = cell
    return pd.DataFrame({0: cells})


def _has_vector(column: pd.Series) -> bool:
    return any(has_elements(cell) for cell in column[column.notna()])


def _numbers(frame: pd.DataFrame) -> np.ndarray:
    values = Passthrough().fit_transform(frame)
    return values.toarray() if scipy.sparse.issparse(values) else values


def expanded(transformer: Any, columns: Sequence[pd.Series]) -> Any:
    """Put a `VectorColumns` before a transformer of a matrix, if a column has vectors.

    Parameters
    ----------
    transformer : estimator
        Transformer or estimator of a modality, which may be a `Pipeline`.
    columns : sequence of Series of shape (n_samples,)
        Columns of the modality whose cells may be objects.

    Returns
    -------
    estimator
        `transformer` itself if no column has vectors, or if it reads cells. Otherwise
        a `Pipeline`.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.decomposition import PCA
    >>> from skfusion.vectors.columns import expanded
    >>> X = pd.DataFrame({"emb": [[0.5, 1.0], [2.0, 3.5]]})
    >>> [name for name, _ in expanded(PCA(1), [X["emb"]]).steps]
    ['vectorcolumns', 'pca']
    """
    if not columns or not _reads_matrix(transformer):
        return transformer
    if not any(map(holds_vectors, columns)):
        return transformer
    if not isinstance(transformer, Pipeline):
        return make_pipeline(VectorColumns(), transformer)
    names = {name for name, _ in transformer.steps}
    name = "vectorcolumns"
    while name in names:
        name += "_"
    # The class can be that of imbalanced-learn, and the cache of the user stays.
    longer = clone(transformer)
    return longer.set_params(steps=[(name, VectorColumns()), *longer.steps])


def _reads_matrix(transformer: Any) -> bool:
    """Return whether a transformer takes a matrix of numbers, by its first step."""
    while isinstance(transformer, Pipeline):
        steps = [step for _, step in transformer.steps]
        transformer = next((s for s in steps if s not in (None, "passthrough")), None)
    if isinstance(transformer, FunctionTransformer):
        return bool(transformer.validate) or transformer.func is None
    if hasattr(transformer, "transformers") or transformer is None:
        return transformer is None  # a ColumnTransformer names columns of the table
    try:
        tags = get_tags(transformer).input_tags
    except (AttributeError, TypeError):  # not an estimator of scikit-learn
        return False
    return bool(tags.two_d_array and not tags.string and not tags.categorical)
