"""Bootstrap confidence intervals, with whole patients as the unit of resampling.

The module depends only on numpy, and on pandas for patient ids.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skfusion._validation import check_confidence_level, check_number, ids_of
from skfusion.evaluation.statistics.inputs import check_patients
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["BootstrapEstimate", "patient_bootstrap", "resampled_rows"]

# Share of undefined samples from which the interval is doubtful, and this is warned of.
MANY_UNDEFINED = 0.05


@dataclass(frozen=True)
class BootstrapEstimate:
    """Estimate with its percentile bootstrap interval.

    Attributes
    ----------
    estimate : float or ndarray of shape (n_values,)
        The statistic of all rows.
    low, high : float or ndarray of shape (n_values,)
        Limits of the confidence interval, NaN if fewer than two samples are defined.
    standard_error : float or ndarray of shape (n_values,)
        Standard deviation of the statistic over the samples.
    n_resamples : int
        Number of bootstrap samples.
    n_undefined : int or ndarray of int of shape (n_values,)
        Number of samples in which the statistic was undefined, such as an AUROC of one
        class. They are left out.
    n_clusters : int
        Number of patients, or of rows if no patient ids were given.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import patient_bootstrap
    >>> found = patient_bootstrap(
    ...     np.mean, [0, 1, 1, 1], groups=["a", "a", "b", "b"], random_state=0)
    >>> found.estimate, found.n_clusters, found.n_resamples
    (0.75, 2, 2000)
    """

    __module__ = "skfusion.evaluation"

    estimate: Any
    low: Any
    high: Any
    standard_error: Any
    n_resamples: int
    n_undefined: Any
    n_clusters: int


def patient_bootstrap(
    statistic: Callable[..., Any],
    *arrays: Any,
    groups: Any = None,
    n_resamples: int = 2000,
    confidence_level: float = 0.95,
    random_state: Any = None,
) -> BootstrapEstimate:
    """Compute a bootstrap confidence interval of any statistic, by patient.

    Patients are drawn with replacement, each with all rows [1]_, and the statistic is
    computed on the rows of each sample. The limits are percentiles. For a difference
    between two models on the same cases, use a statistic of both scores.

    Parameters
    ----------
    statistic : callable
        Function of the resampled arrays that returns a number or a one-dimensional
        array. It is undefined in a sample if it returns NaN or raises a ValueError.
    *arrays : array-like of shape (n, ...)
        Arguments of the statistic, one entry per row. They are passed as NumPy arrays.
    groups : array-like of shape (n,) or None, default=None
        Patient ids. If None, single rows are resampled.
    n_resamples : int, default=2000
        Number of bootstrap samples.
    confidence_level : float, default=0.95
        Nominal coverage of the confidence interval.
    random_state : int, RandomState or None, default=None
        Random state of the samples.

    Returns
    -------
    BootstrapEstimate

    Raises
    ------
    ValueError
        If the lengths differ, there are fewer than two patients, an id is missing, or
        the statistic is undefined for all rows together or changes its shape.

    Warns
    -----
    DataWarning
        If the statistic is undefined in more than 5 % of the samples. The interval is
        then conditional on samples where it is defined.

    Notes
    -----
    Percentile intervals are too narrow for few patients. A statistic that is the same
    in all samples, such as an accuracy of 1, has an interval of no width, which is not
    evidence of certainty. For AUROCs prefer `auroc_interval` and `delong_test`.

    References
    ----------
    .. [1] Davison AC, Hinkley DV (1997). Bootstrap methods and their application.
       Cambridge University Press, section 3.8.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation import patient_bootstrap
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 100)
    >>> a, b = y + rng.normal(size=(2, 100))
    >>> def gain(y, a, b):
    ...     return np.mean((a > 0.5) == y) - np.mean((b > 0.5) == y)
    >>> found = patient_bootstrap(
    ...     gain, y, a, b, groups=np.repeat(np.arange(50), 2), random_state=0)
    >>> print(f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})")
    0.05 (-0.09 to 0.18)
    """
    owner = "patient_bootstrap"
    check_confidence_level(confidence_level, owner)
    check_number(n_resamples, "n_resamples", owner, low=2, integer=True)
    columns = [np.asarray(array) for array in arrays]
    lengths = [len(column) if column.ndim else 0 for column in columns]
    if not columns or len(set(lengths)) > 1:
        raise ValueError(
            f"{owner} needs arrays of the same number of rows, got {len(columns)} "
            f"array(s) of {lengths} rows."
        )
    _, n_clusters = check_patients(groups, lengths[0], owner)
    estimate = np.asarray(statistic(*columns), dtype=np.float64)
    if estimate.ndim > 1 or not np.isfinite(estimate).all():
        raise ValueError(
            f"{owner}: the statistic of all {lengths[0]} rows must be a finite number "
            f"or a one-dimensional array of them, got shape {estimate.shape} with "
            f"{(~np.isfinite(estimate)).sum()} value(s) that are not finite."
        )
    rng = check_random_state(random_state)
    draws = np.stack(
        [
            _of_sample(statistic, [column[rows] for column in columns], estimate.shape)
            for rows in resampled_rows(lengths[0], groups, n_resamples, rng)
        ]
    )
    return _summary(draws, estimate, confidence_level, n_clusters)


def _of_sample(
    statistic: Callable[..., Any], columns: list[np.ndarray], shape: tuple[int, ...]
) -> np.ndarray:
    """Return the statistic of a sample, NaN where it is undefined."""
    with warnings.catch_warnings():
        # Such as an AUROC of one class and the mean of no value.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            value = np.asarray(statistic(*columns), dtype=np.float64)
        except ValueError:
            return np.full(shape, np.nan)
    if value.shape != shape:
        raise ValueError(
            f"patient_bootstrap: the statistic has shape {value.shape} in a bootstrap "
            f"sample and {shape} for all rows. Return NaN for undefined values."
        )
    return np.where(np.isfinite(value), value, np.nan)


def _summary(
    draws: np.ndarray, estimate: np.ndarray, confidence_level: float, n_clusters: int
) -> BootstrapEstimate:
    undefined = np.isnan(draws).sum(axis=0)
    most = int(undefined.max(initial=0))
    if most > MANY_UNDEFINED * len(draws):
        warn_user(
            f"patient_bootstrap: the statistic is undefined in {most} of {len(draws)} "
            "bootstrap samples, which are left out. The interval is doubtful with so "
            "few patients.",
            DataWarning,
        )
    few = undefined > len(draws) - 2
    usable = np.where(few, 0.0, draws)  # percentiles of no value would warn
    tail = 0.5 - confidence_level / 2.0
    low, high = np.nanquantile(usable, [tail, 1.0 - tail], axis=0)
    error = np.nanstd(usable, axis=0, ddof=1)
    low, high, error = (np.where(few, np.nan, part) for part in (low, high, error))
    parts: list[Any] = [estimate, low, high, error, undefined]
    if estimate.ndim == 0:
        parts = [part.item() for part in parts]
    estimate, low, high, error, undefined = parts
    return BootstrapEstimate(
        estimate, low, high, error, len(draws), undefined, n_clusters
    )


def resampled_rows(
    n_rows: int, groups: Any, n_resamples: int, rng: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Draw bootstrap samples of rows, or of whole patients.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    groups : array-like of shape (n_rows,) or None
        Patient ids. None draws single rows.
    n_resamples : int
        Number of bootstrap samples.
    rng : RandomState
        Random state of the samples.

    Yields
    ------
    ndarray of int
        Row positions of one sample.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.statistics.bootstrap import resampled_rows
    >>> draws = resampled_rows(4, ["a", "a", "b", "b"], 3, np.random.RandomState(0))
    >>> [rows.tolist() for rows in draws]
    [[0, 1, 2, 3], [2, 3, 0, 1], [2, 3, 2, 3]]
    """
    if groups is None:
        for _ in range(n_resamples):
            yield rng.randint(n_rows, size=n_rows)
        return
    numbers, patients = pd.factorize(ids_of(groups))
    order = np.argsort(numbers, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    for _ in range(n_resamples):
        drawn = rng.randint(len(patients), size=len(patients))
        yield np.concatenate([members[patient] for patient in drawn])
