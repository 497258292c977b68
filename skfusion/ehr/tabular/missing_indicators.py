"""Selection of informative missing indicators.

Many uninformative indicators let a model overfit. Only indicators that are associated
with the target are kept [1]_.

References
----------
.. [1] Van Ness M et al. (2023). The missing indicator method: from low to high
   dimensions. KDD '23.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.stats

__all__ = ["association", "check_indicators", "select_informative_indicators"]


FALSE_DISCOVERY_RATE = 0.1
# A numeric target with more distinct values is treated as continuous.
MOST_CLASSES = 10


def check_indicators(choice: Any, owner: str, parameter: str) -> str | None:
    """Return the choice of missing indicators as "all", "selective" or None.

    Raises
    ------
    ValueError
        If `choice` is not True, False, None, "all" or "selective".
    """
    if isinstance(choice, (bool, np.bool_)) or choice is None:
        return "all" if choice else None
    if choice not in ("all", "selective"):
        raise ValueError(
            f"{owner}: {parameter} must be 'all' (or True), 'selective', or None (or "
            f"False), got {choice!r}."
        )
    return str(choice)


def select_informative_indicators(flags: Any, y: Any, owner: str) -> np.ndarray:
    """Return which 0/1 columns are associated with the target.

    The tests are chi-squared tests for classes, and tests of the correlation for
    numeric targets with more than ten distinct values. The false discovery rate is 0.1.

    Parameters
    ----------
    flags : ndarray or sparse array of shape (n_samples, n_columns)
        The missing indicators or their complement, which give the same result.
    y : array-like of shape (n_samples,) or (n_samples, n_targets), or None
        The target of any kind. The fields of a structured array are several targets.
    owner : str
        Name of the estimator for the error message.

    Returns
    -------
    ndarray of bool of shape (n_columns,)

    Raises
    ------
    ValueError
        If `y` is None.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.tabular.missing_indicators import (
    ...     select_informative_indicators)
    >>> y = np.arange(40) % 2
    >>> flags = np.column_stack([y == 1, np.arange(40) % 4 < 2, y > 5])
    >>> select_informative_indicators(flags, y, "TabularEncoder")
    array([ True, False, False])
    """
    if y is None:
        raise ValueError(
            f"{owner}: selective indicators are those associated with the target, but "
            "fit got y=None. Pass y, or use 'all'."
        )
    counts = np.asarray(flags.sum(axis=0)).ravel()
    varies = (counts > 0) & (counts < flags.shape[0])
    chosen = np.zeros(flags.shape[1], dtype=bool)
    if varies.any():
        tested = flags[:, np.flatnonzero(varies)].astype(np.float64)
        targets = _targets(y)
        pvalues = np.array([association(tested, target) for target in targets])
        # Bonferroni over the targets, then Benjamini-Hochberg over the columns.
        least = np.minimum(pvalues.min(axis=0) * len(targets), 1.0)
        adjusted = scipy.stats.false_discovery_control(least)
        chosen[varies] = adjusted <= FALSE_DISCOVERY_RATE
    return chosen


def _targets(y: Any) -> list[np.ndarray]:
    target = np.asarray(y)
    if target.dtype.names:
        return [target[name] for name in target.dtype.names]
    return list(target.reshape(len(target), -1).T)


def association(flags: Any, target: np.ndarray) -> np.ndarray:
    """Return the p-value of the association of each 0/1 column with one target.

    Parameters
    ----------
    flags : ndarray or sparse array of float of shape (n_samples, n_columns)
        Columns that are not constant.
    target : ndarray of shape (n_samples,)
        Classes, or numbers if there are more than ten distinct values.

    Returns
    -------
    ndarray of shape (n_columns,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.tabular.missing_indicators import association
    >>> flags = np.array([[1.0], [1.0], [0.0], [0.0]])
    >>> association(flags, np.array(["a", "a", "b", "b"])).round(4)
    array([0.0455])
    """
    values, places = np.unique(target, return_inverse=True)
    if len(values) < 2:
        return np.ones(flags.shape[1])
    n_rows = len(target)
    share = np.asarray(flags.sum(axis=0)).ravel() / n_rows
    if target.dtype.kind in "fiu" and len(values) > MOST_CLASSES:
        scores = (target - target.mean()) / target.std()
        correlation = flags.T @ scores / n_rows / np.sqrt(share * (1 - share))
        unexplained = np.maximum(1 - correlation**2, 1e-300)
        t = np.abs(correlation) * np.sqrt((n_rows - 2) / unexplained)
        return 2 * scipy.stats.t.sf(t, n_rows - 2)
    classes = np.eye(len(values))[places]  # (n_samples, n_classes)
    excess = flags.T @ classes - share[:, None] * classes.sum(axis=0)
    statistic = (excess**2 / classes.sum(axis=0)).sum(axis=1) / (share * (1 - share))
    return scipy.stats.chi2.sf(statistic, len(values) - 1)
