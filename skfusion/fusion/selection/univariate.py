"""Base class of supervised feature selectors, and selection by the Gini coefficient.

A selector in the `Pipeline` of a modality is fitted on the training rows of each fold.
scikit-learn has selectors by variance and by mutual information, and PCA and LDA.
"""

from __future__ import annotations

import numbers
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skfusion._fitting.state import undone_on_failure
from skfusion._fitting.survival_steps import is_survival
from skfusion._validation import check_weights
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.fusion.survival import check_survival, concordance

__all__ = ["GiniSelector", "TargetSelector", "check_n_features"]


class TargetSelector(SelectorMixin, BaseEstimator):
    """Base class of supervised feature selectors, with input checks and tags.

    Attributes
    ----------
    takes_survival_times : bool
        True, so that a selector gets the times to an event inside a fusion.
    """

    takes_survival_times = True
    support_: np.ndarray

    def _check(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features, target (1-D, or one column per output) and weights.

        Times to an event are a structured array with the fields ``event`` and ``time``.
        """
        owner = type(self).__name__
        outcome = None
        if is_survival(y):
            outcome = check_survival(y, owner)
            y = outcome["time"]
        finite = "allow-nan" if self.__sklearn_tags__().input_tags.allow_nan else True
        X, y = validate_data(
            self,
            X,
            y,
            dtype=np.float64,
            ensure_all_finite=finite,
            ensure_min_samples=2,
            multi_output=True,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        target = y if outcome is None else outcome
        if sample_weight is None:
            return X, target, np.ones(len(X))
        return X, target, check_weights(sample_weight, len(X), owner)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return all features, with 0 for those that were not selected.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_kept)
            Result of `transform`. NaN stays NaN.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Features in the order of the input of `fit`.
        """
        support = self.get_support()
        kept = check_array(X, dtype=None, ensure_all_finite="allow-nan")
        if kept.shape[1] != support.sum():
            raise ValueError(
                f"{type(self).__name__}: inverse_transform expects the "
                f"{support.sum()} selected features, got {kept.shape[1]}."
            )
        restored = np.zeros((len(kept), len(support)), dtype=kept.dtype)
        restored[:, support] = kept
        return restored

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self, "support_")
        return self.support_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = True
        return tags


class GiniSelector(TargetSelector):
    r"""Feature selector by the Gini coefficient of each feature for the classes.

    The Gini coefficient of a feature is :math:`|2 A - 1|`, where A is the AUROC of the
    feature as a score. It is 0 if the feature is not informative, and 1 if it separates
    the classes in either direction. With three or more classes, it is the mean over the
    classes, each against the rest. With several labels, it is the mean over the labels.
    With times to an event, A is the concordance [2]_ of the feature as a risk.

    Hyun et al. selected clinical and radiomic features by "Gini coefficient scores"
    [1]_. The abstract gives no formula, so that this ranking is an interpretation and
    not verified. The scores may also be decreases of the Gini impurity of trees.

    Parameters
    ----------
    n_features_to_select : int, float or None, default=None
        Number of features to select, or their fraction in (0, 1]. None selects half of
        the features.

    Attributes
    ----------
    scores_ : ndarray of shape (n_features,)
        The Gini coefficients.
    support_ : ndarray of bool of shape (n_features,)
        Mask of the selected features.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the features, if all are strings.

    See Also
    --------
    MRMRSelector : Selects features with low redundancy.
    GeneticSelector : Selects features by the score of a model.

    Notes
    -----
    Missing values (NaN) are ignored in the AUROC of their feature and remain NaN in the
    output.

    References
    ----------
    .. [1] Hyun SH et al. (2019). A machine-learning approach using PET-based radiomics
       to predict the histological subtypes of lung cancer. Clin Nucl Med 44:956-960.
    .. [2] Harrell FE, Lee KL, Mark DB (1996). Multivariable prognostic models.
       Statistics in Medicine 15:361-387.

    Examples
    --------
    >>> from skfusion.feature_selection import GiniSelector
    >>> X = [[1.0, 5.0], [2.0, 3.0], [3.0, 4.0], [4.0, 5.0]]
    >>> selector = GiniSelector(n_features_to_select=1).fit(X, [0, 0, 1, 1])
    >>> selector.scores_.round(2).tolist(), selector.get_support().tolist()
    ([1.0, 0.25], [True, False])
    """

    __module__ = "skfusion.feature_selection"

    def __init__(self, n_features_to_select: int | float | None = None) -> None:
        self.n_features_to_select = n_features_to_select

    @undone_on_failure
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Compute the Gini coefficients and select the features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, which may contain NaN.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Classes, a 0/1 column per label, or a structured array of events and times.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows in the AUROC or the concordance.

        Returns
        -------
        self
            The fitted selector.

        Raises
        ------
        ValueError
            If `y` contains neither classes nor times to an event, or
            `n_features_to_select` is out of range.
        """
        X, y, weights = self._check(X, y, sample_weight)
        if not is_survival(y):
            check_classification_targets(y)
        n_kept = check_n_features(
            self.n_features_to_select, X.shape[1], type(self).__name__
        )
        used = weights > 0
        X, y, weights = X[used], y[used], weights[used]
        if is_survival(y):
            aurocs = [_censored_auroc(x, y, weights) for x in X.T]
        else:
            positives = _positives(y)
            aurocs = [_aurocs(x, positives, weights) for x in X.T]
        self.scores_ = np.asarray([abs(2 * auroc - 1).mean() for auroc in aurocs])
        self.support_ = _best(self.scores_, n_kept)
        return self


def check_n_features(wanted: Any, n_features: int, owner: str) -> int:
    """Return the number of features that `n_features_to_select` requests.

    Parameters
    ----------
    wanted : int, float or None
        Number of features, fraction in (0, 1], or None for half of the features.
    n_features : int
        Number of input features.
    owner : str
        Name of the selector, for error messages.

    Returns
    -------
    int
        Number from 1 to `n_features`. A larger request gives `n_features` and a
        warning.

    Raises
    ------
    ValueError
        If the number or fraction is out of range.

    Examples
    --------
    >>> from skfusion.fusion.selection.univariate import check_n_features
    >>> [check_n_features(wanted, 10, "GiniSelector") for wanted in (3, 0.25, None)]
    [3, 2, 5]
    """
    if wanted is None:
        return max(1, n_features // 2)
    is_bool = type(wanted) is bool  # bool is a subclass of int
    if isinstance(wanted, numbers.Integral) and not is_bool:
        count = int(wanted)
        if count > n_features:
            warn_user(
                f"{owner}: n_features_to_select={count} is greater than the number of "
                f"features, {n_features}. All features are selected.",
                FallbackWarning,
            )
        if count >= 1:
            return min(count, n_features)
    elif isinstance(wanted, numbers.Real) and not is_bool:
        share = float(wanted)
        if 0 < share <= 1:
            return max(1, int(share * n_features))
    raise ValueError(
        f"{owner}: n_features_to_select must be a number of features (an integer of 1 "
        f"or more), a fraction (a float in (0, 1]) or None, got {wanted!r}."
    )


def _positives(y: np.ndarray) -> np.ndarray:
    """Return one 0/1 column per class or label, and only one for two classes."""
    if y.ndim == 2:
        return np.asarray(y, dtype=np.float64)
    classes = np.unique(y)
    shown = classes[1:] if len(classes) == 2 else classes
    return (y[:, None] == shown).astype(np.float64)


def _aurocs(x: np.ndarray, positives: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC of `x` for each column of `positives`, 0.5 if undefined."""
    known = ~np.isnan(x)
    _, value = np.unique(x[known], return_inverse=True)
    weights = weights[known]
    total = np.bincount(value, weights)
    aurocs = np.full(positives.shape[1], 0.5)
    for k, positive in enumerate(positives[known].T):
        above = np.bincount(value, weights * positive)
        rest = total - above
        pairs = above.sum() * rest.sum()
        if pairs > 0:
            below = np.cumsum(rest) - rest
            aurocs[k] = (above * (below + rest / 2)).sum() / pairs
    return aurocs


def _censored_auroc(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the concordance of `x`, 0.5 if no known rows are comparable, as (1,)."""
    known = ~np.isnan(x)
    # Ranks, because the concordance ties risks that differ by little.
    ranks = np.unique(x[known], return_inverse=True)[1]
    time, event = y["time"][known], y["event"][known]
    first = time[event].min(initial=np.inf)
    if not ((time > first) | (~event & (time == first))).any():
        return np.array([0.5])
    return np.array([concordance(y[known], ranks, weights[known])])


def _best(scores: np.ndarray, n_kept: int) -> np.ndarray:
    # Rounding and the stable sort select the first of several equal scores.
    order = np.argsort(-scores.round(12), kind="stable")
    support = np.zeros(len(scores), dtype=bool)
    support[order[:n_kept]] = True
    return support
