"""Folds of whole patients for the inner splits of scikit-learn's estimators."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from copy import copy
from itertools import islice
from typing import Any

import numpy as np
from sklearn.base import is_regressor
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.preprocessing import TargetEncoder
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.multiclass import type_of_target

from skfusion._dependencies import loaded
from skfusion._fitting.parameters import own_params
from skfusion.exceptions import LeakageWarning, warn_user

__all__ = [
    "PatientFolds",
    "RoutedFolds",
    "count_repeated",
    "count_shared_patients",
    "folds_of_patients",
    "is_grouped",
    "kind_of_folds",
    "needs_seed",
    "patient_splitter",
    "seeded_splitter",
]

Folds = list[tuple[np.ndarray, np.ndarray]]
# A count over more folds, e.g. of LeaveOneOut, would take longer than the fit.
MOST_FOLDS_COUNTED = 50


class PatientFolds(BaseCrossValidator):
    """K folds of whole patients, stratified by class where `y` has classes.

    It replaces the number of folds in the `cv` of an estimator inside a fusion. The
    folds are those of `StratifiedGroupKFold` or `GroupKFold`. Without patients they are
    those that the number stands for in scikit-learn.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds.
    stratify : bool, default=True
        Whether to stratify by the classes of `y`.
    shuffle : bool, default=False
        Whether to shuffle before the split.
    random_state : int or None, default=None
        Seed of the shuffling.
    expects_groups : bool, default=False
        Whether to warn if `split` gets no groups.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion._fitting.patient_folds import PatientFolds
    >>> X, y, groups = np.zeros((6, 1)), np.tile([0, 1], 3), np.array(list("aabbcc"))
    >>> [groups[test].tolist() for _, test in PatientFolds(3).split(X, y, groups)]
    [['a', 'a'], ['b', 'b'], ['c', 'c']]
    """

    # Metadata routing passes `groups` to `split` without a request of the user.
    __metadata_request__split = {"groups": True}

    def __init__(
        self,
        n_splits: int = 5,
        *,
        stratify: bool = True,
        shuffle: bool = False,
        random_state: int | None = None,
        expects_groups: bool = False,
    ) -> None:
        self.n_splits = n_splits
        self.stratify = stratify
        self.shuffle = shuffle
        self.random_state = random_state
        self.expects_groups = expects_groups

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return self.n_splits

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the row positions of the training and test part of each fold.

        Parameters
        ----------
        X : array-like of n_samples rows
            Only its length is used.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Target.
        groups : array-like of shape (n_samples,), default=None
            Patients.

        Yields
        ------
        train, test : ndarray of int
            Row positions.

        Raises
        ------
        ValueError
            If there are fewer patients than folds.
        """
        stratified = self.stratify and _has_classes(y)
        if groups is None:
            if self.expects_groups:
                warn_user(
                    f"The patients (groups) did not reach the {self.n_splits} inner "
                    "folds of an estimator, so rows of one patient can be on both "
                    "sides.",
                    LeakageWarning,
                )
        else:
            n_patients = len(np.unique(np.asarray(groups)))
            if n_patients < self.n_splits:
                raise ValueError(
                    f"cv={self.n_splits} inner folds of whole patients need at least "
                    f"as many patients (groups), got {n_patients}. Use fewer folds, "
                    "or pass more data."
                )
        splitter = kind_of_folds(groups is not None, stratified)(
            self.n_splits, shuffle=self.shuffle, random_state=self.random_state
        )
        yield from splitter.split(X, y, groups)


def kind_of_folds(grouped: bool, stratified: bool) -> Any:
    """Return the splitter class of scikit-learn for a number of folds."""
    kinds = {
        (True, True): StratifiedGroupKFold,
        (True, False): GroupKFold,
        (False, True): StratifiedKFold,
        (False, False): KFold,
    }
    return kinds[grouped, stratified]


class GivenFolds(list[tuple[np.ndarray, np.ndarray]]):
    """Row positions of folds, with a short representation for messages."""

    def __repr__(self) -> str:
        """Return the number of folds."""
        return f"GivenFolds({len(self)})"


class RoutedFolds(BaseCrossValidator):
    """Splitter that requests groups and splits without them.

    `TargetEncoder` of scikit-learn 1.9 fails with metadata routing if its splitter
    requests no groups (KeyError).

    Parameters
    ----------
    cv : int, splitter or iterable
        Splitter that takes no groups.
    """

    __metadata_request__split = {"groups": True}

    def __init__(self, cv: Any) -> None:
        self.cv = cv

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds."""
        return int(check_cv(self.cv).get_n_splits(X, y))

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the folds of the splitter, without `groups`."""
        yield from check_cv(self.cv).split(X, y)


def patient_splitter(estimator: Any) -> Any:
    """Return the splitter of whole patients that the `cv` of an estimator means.

    Parameters
    ----------
    estimator : estimator with the parameter `cv`
        Its `cv` is None, a number of folds, a fraction or anything else.

    Returns
    -------
    splitter or None
        None if `cv` is neither None nor a number, so that it is left as it is.

    Examples
    --------
    >>> from sklearn.linear_model import LassoCV
    >>> from skfusion._fitting.patient_folds import patient_splitter
    >>> patient_splitter(LassoCV(cv=3)).n_splits
    3
    """
    cv = estimator.cv
    params = own_params(estimator)
    seed = params.get("random_state")
    if isinstance(cv, bool):
        return None
    if cv is None or (isinstance(cv, (int, np.integer)) and cv >= 2):
        learner = params.get("estimator", estimator)
        shuffled = _cross_fits_shuffled(estimator)
        return PatientFolds(
            5 if cv is None else int(cv),
            stratify=not is_regressor(learner),
            shuffle=shuffled,
            random_state=seed if shuffled and isinstance(seed, int) else None,
        )
    if isinstance(cv, (float, np.floating)) and 0 < cv < 1:
        return GroupShuffleSplit(1, test_size=float(cv), random_state=seed)
    return None


def folds_of_patients(
    estimator: Any, X: Any, y: Any, groups: np.ndarray
) -> GivenFolds | None:
    """Return the inner folds of an estimator if no patient is on both sides of one.

    Parameters
    ----------
    estimator : estimator with the parameter `cv`
        The estimator that is to be fitted on `X`.
    X, y : array-like of n_samples rows
        Arguments of its `fit`.
    groups : ndarray of shape (n_samples,)
        Patients.

    Returns
    -------
    GivenFolds or None
        None if `cv` is a splitter of the user that does not keep patients together, or
        does not split.
    """
    splitter = patient_splitter(estimator)
    if splitter is not None:
        return GivenFolds(splitter.split(X, y, groups))
    folds = _simulated(estimator.cv, X, y, groups)
    if folds is None or (_shared(folds, groups) and not is_grouped(estimator.cv)):
        return None
    return GivenFolds(folds)


def count_shared_patients(estimator: Any, X: Any, y: Any, groups: np.ndarray) -> int:
    """Count the patients with rows on both sides of an inner split of an estimator.

    Parameters
    ----------
    estimator : estimator with the parameter `cv`
        An estimator whose splits do not depend on `groups`.
    X, y : array-like of n_samples rows
        Training rows.
    groups : ndarray of shape (n_samples,)
        Patients.

    Returns
    -------
    int
        0 if `cv` does not split, or cannot split these rows.
    """
    splitter = patient_splitter(estimator)
    cv = estimator.cv
    ridges = loaded("sklearn.linear_model", "RidgeCV", "RidgeClassifierCV")
    if cv is None and isinstance(estimator, ridges):
        return count_repeated(groups)  # leave-one-out
    if isinstance(splitter, PatientFolds):
        cv = copy(splitter)
        if cv.shuffle and cv.random_state is None:
            cv.random_state = 0
        folds = list(cv.split(X, y))
    elif splitter is not None:
        return count_repeated(groups)
    else:
        simulated = _simulated(cv, X, y, None)
        if simulated is None:
            return 0
        folds = simulated
    if len(folds) > MOST_FOLDS_COUNTED:
        return count_repeated(groups)
    return len(_shared(folds, groups))


def count_repeated(groups: np.ndarray) -> int:
    """Count the patients with more than one row."""
    return int((np.unique(groups, return_counts=True)[1] > 1).sum())


def is_grouped(cv: Any) -> bool:
    """Return whether a splitter requests groups, as `GroupKFold` does."""
    if not hasattr(cv, "split") or not hasattr(cv, "get_metadata_routing"):
        return False
    return "groups" in get_routing_for_object(cv).consumes("split", ["groups"])


def seeded_splitter(cv: Any, seed: int) -> Any:
    """Return a splitter with a seed, or `cv` itself if it needs none.

    Parameters
    ----------
    cv : any
        Splitter, or another value of a parameter `cv`.
    seed : int
        Seed of a splitter that shuffles and whose `random_state` is None.

    Returns
    -------
    any
        A copy with the seed, so that the splitter of the user is unchanged.

    Examples
    --------
    >>> from sklearn.model_selection import KFold
    >>> from skfusion._fitting.patient_folds import seeded_splitter
    >>> seeded_splitter(KFold(3, shuffle=True), 7)
    KFold(n_splits=3, random_state=7, shuffle=True)
    >>> seeded_splitter(KFold(3), 7)
    KFold(n_splits=3, random_state=None, shuffle=False)
    """
    if not needs_seed(cv):
        return cv
    seeded = copy(cv)
    seeded.random_state = seed
    return seeded


def needs_seed(cv: Any) -> bool:
    """Return whether a splitter shuffles without a seed."""
    return (
        hasattr(cv, "split")
        and getattr(cv, "random_state", 0) is None
        and bool(getattr(cv, "shuffle", True))
    )


def _cross_fits_shuffled(estimator: Any) -> bool:
    # TargetEncoder shuffles the rows of a number of folds.
    return isinstance(estimator, TargetEncoder) and estimator.shuffle is not False


def _has_classes(y: Any) -> bool:
    if y is None or getattr(np.asarray(y).dtype, "names", None):
        return False
    return type_of_target(y) in ("binary", "multiclass")


def _simulated(cv: Any, X: Any, y: Any, groups: np.ndarray | None) -> Folds | None:
    """Return the first folds of a splitter, or None if it cannot split these rows."""
    if isinstance(cv, str) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        return None
    if isinstance(cv, Iterator):  # Splits of a generator would be used up.
        return None
    n_rows = int(X.shape[0]) if hasattr(X, "shape") else len(X)
    with warnings.catch_warnings():
        # E.g. that groups are ignored, or that a class has few rows.
        warnings.simplefilter("ignore")
        try:
            splits = check_cv(cv).split(X, y, groups)
            limit = None if groups is not None else MOST_FOLDS_COUNTED + 1
            folds = list(islice(splits, limit))
        except (ValueError, TypeError, IndexError):
            if groups is not None and is_grouped(cv):
                raise
            return None  # `fit` raises the error.
    valid = all(
        len(part) == 0 or np.max(part) < n_rows for fold in folds for part in fold
    )
    return folds if valid else None


def _shared(folds: Folds, groups: np.ndarray) -> set[Any]:
    shared: set[Any] = set()
    for train, test in folds:
        shared |= set(np.intersect1d(groups[train], groups[test]).tolist())
    return shared
