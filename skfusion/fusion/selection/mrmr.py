"""Feature selection by minimum redundancy and maximum relevance (mRMR)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.utils import Tags, check_random_state

from skfusion._fitting.state import undone_on_failure
from skfusion._fitting.survival_steps import is_survival, martingale_residuals
from skfusion._validation import check_number, check_option
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.selection.univariate import TargetSelector, check_n_features

__all__ = ["MRMRSelector"]


class MRMRSelector(TargetSelector):
    r"""Feature selector by minimum redundancy and maximum relevance (mRMR).

    Features are added one by one [1]_. Each step adds the feature with the largest
    :math:`I(x_j; y) - \frac{1}{|S|}\sum_{s \in S} I(x_j; x_s)` (``"difference"``), or
    with the largest quotient of the two terms. I is the mutual information, and S is
    the set of the features selected so far. An et al. applied it to measurements of the
    optic disc and of the patient [2]_.

    Parameters
    ----------
    n_features_to_select : int, float or None, default=None
        Number of features to select, or their fraction in (0, 1]. None selects half of
        the features.
    scheme : {"difference", "quotient"}, default="difference"
        Combination of relevance and redundancy.
    estimate : {"bins", "neighbors"}, default="bins"
        Estimator of the mutual information. ``"bins"`` counts the values of each
        feature in bins of equal frequency, as `sklearn.metrics.mutual_info_score` does
        for labels. Missing values have a separate bin. ``"neighbors"`` is the
        nearest-neighbour estimate of `sklearn.feature_selection.mutual_info_classif`.
        It supports neither missing values nor weights and is about 100 times slower.
    n_bins : int, default=5
        Number of bins. A feature with at most this number of distinct values is not
        binned.
    n_neighbors : int, default=3
        Number of neighbours for ``estimate="neighbors"``.
    random_state : int, RandomState or None, default=None
        Seed of the noise that the nearest-neighbour estimate adds to break ties.

    Attributes
    ----------
    relevance_ : ndarray of shape (n_features,)
        Mutual information (nats) of each feature with the target.
    order_ : ndarray of int of shape (n_kept,)
        Indices of the selected features in the order in which they were added.
    support_ : ndarray of bool of shape (n_features,)
        Mask of the selected features.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the features, if all are strings.

    See Also
    --------
    GiniSelector : Scores each feature separately.
    sklearn.feature_selection.SelectKBest : Relevance alone, with `mutual_info_classif`.

    Notes
    -----
    Floats in `y` are numbers, and everything else is classes. With several outputs or
    labels, relevance is the mean over them. Times to an event, some of them censored,
    are replaced by their martingale residuals, which are numbers [3]_.

    References
    ----------
    .. [1] Peng H, Long F, Ding C (2005). Feature selection based on mutual
       information. IEEE Trans Pattern Anal Mach Intell 27:1226-1238.
    .. [2] An G et al. (2018). Comparison of machine-learning classification models for
       glaucoma management. J Healthc Eng 2018:6874765.
    .. [3] Therneau TM, Grambsch PM, Fleming TR (1990). Martingale-based residuals for
       survival models. Biometrika 77:147-160.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.feature_selection import MRMRSelector
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(size=(2, 300))
    >>> X = np.column_stack([a, a, b])  # the first two are equal
    >>> MRMRSelector(n_features_to_select=2).fit(X, a + 0.6 * b > 0).order_.tolist()
    [0, 2]
    """

    __module__ = "skfusion.feature_selection"

    def __init__(
        self,
        n_features_to_select: int | float | None = None,
        *,
        scheme: str = "difference",
        estimate: str = "bins",
        n_bins: int = 5,
        n_neighbors: int = 3,
        random_state: Any = None,
    ) -> None:
        self.n_features_to_select = n_features_to_select
        self.scheme = scheme
        self.estimate = estimate
        self.n_bins = n_bins
        self.n_neighbors = n_neighbors
        self.random_state = random_state

    @undone_on_failure
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Select features one by one.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, which may contain NaN with ``estimate="bins"``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Classes, numbers, or a structured array of events and times.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows. Rows of weight 0 are ignored.

        Returns
        -------
        self
            The fitted selector.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        self._check_parameters()
        X, y, weights = self._check(X, y, sample_weight)
        n_kept = check_n_features(
            self.n_features_to_select, X.shape[1], type(self).__name__
        )
        X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        if is_survival(y):
            y = martingale_residuals(y, weights)
        information = self._information(X, weights)
        outputs = y.T if y.ndim == 2 else [y]
        self.relevance_ = np.mean([information(output) for output in outputs], axis=0)
        order: list[int] = []
        redundancy = np.zeros(X.shape[1])
        scores = self.relevance_
        for _ in range(n_kept):
            open_ = np.delete(np.arange(X.shape[1]), order)
            order.append(int(open_[np.argmax(scores[open_])]))
            if len(order) < n_kept:
                redundancy += information(X[:, order[-1]])
                scores = self._score(redundancy / len(order))
        self.order_ = np.asarray(order)
        self.support_ = np.zeros(X.shape[1], dtype=bool)
        self.support_[self.order_] = True
        return self

    def _score(self, redundancy: np.ndarray) -> np.ndarray:
        if self.scheme == "difference":
            return self.relevance_ - redundancy
        return self.relevance_ / np.maximum(redundancy, np.finfo(np.float64).eps)

    def _information(
        self, X: np.ndarray, weights: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function of a vector: its mutual information with each feature."""
        if self.estimate == "bins":
            bins = np.column_stack([_bins(x, weights, self.n_bins) for x in X.T])

            def by_bins(vector: np.ndarray) -> np.ndarray:
                other = _bins(vector, weights, self.n_bins)
                return _mutual_information(bins, other, weights)

            return by_bins
        if np.ptp(weights) > 0:
            warn_user(
                "MRMRSelector: estimate='neighbors' does not support weights, so the "
                f"weights of {len(weights)} rows are ignored. Use estimate='bins'.",
                FallbackWarning,
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))

        def by_neighbors(vector: np.ndarray) -> np.ndarray:
            numeric = vector.dtype.kind == "f"
            ask = mutual_info_regression if numeric else mutual_info_classif
            return ask(X, vector, n_neighbors=self.n_neighbors, random_state=seed)

        return by_neighbors

    def _check_parameters(self) -> None:
        for name, allowed in (
            ("scheme", ("difference", "quotient")),
            ("estimate", ("bins", "neighbors")),
        ):
            value = getattr(self, name)
            check_option(value, name, allowed, "MRMRSelector")
        for name, least in (("n_bins", 2), ("n_neighbors", 1)):
            value = getattr(self, name)
            check_number(value, name, "MRMRSelector", low=least, integer=True)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.estimate != "neighbors"
        return tags


def _bins(x: np.ndarray, weights: np.ndarray, n_bins: int) -> np.ndarray:
    """Return the equal-frequency bin of each value, and 0 for missing values."""
    missing = np.isnan(x) if x.dtype.kind == "f" else np.zeros(len(x), dtype=bool)
    distinct, value = np.unique(x[~missing], return_inverse=True)
    if x.dtype.kind == "f" and len(distinct) > n_bins:
        mass = np.bincount(value, weights[~missing])
        middle = (np.cumsum(mass) - mass / 2) / mass.sum()
        value = np.unique((middle * n_bins).astype(int), return_inverse=True)[1][value]
    bins = np.zeros(len(x), dtype=np.int64)
    bins[~missing] = value + 1
    return bins


def _mutual_information(
    bins: np.ndarray, other: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return the mutual information (nats) of each column of `bins` with `other`."""
    n_columns = bins.shape[1]
    n_a, n_b = int(bins.max()) + 1, int(other.max()) + 1
    cell = (np.arange(n_columns) * n_a + bins) * n_b + other[:, None]
    mass = np.repeat(weights, n_columns)
    joint = np.bincount(cell.ravel(), mass, minlength=n_columns * n_a * n_b)
    joint = joint.reshape(n_columns, n_a, n_b) / weights.sum()
    apart = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    filled = joint > 0
    terms = np.zeros_like(joint)
    terms[filled] = joint[filled] * np.log(joint[filled] / apart[filled])
    return np.maximum(terms.sum(axis=(1, 2)), 0.0)
