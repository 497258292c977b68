"""What a user passes in; the model inside, and the cases that have a modality, out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skfusion.fusion.base import BaseFusion

__all__ = ["having", "unwrapped"]


def unwrapped(estimator: Any, *tables: Any) -> tuple[Any, ...]:
    """Go to the fusion, or the model, inside searches and pipelines.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    tables : DataFrame, ndarray or None
        What the estimator predicts from.

    Returns
    -------
    estimator, *tables
        A `Pipeline` stays one unless it ends in a fusion; then the tables have gone
        through the steps before it.
    """
    check_is_fitted(estimator)
    if hasattr(estimator, "best_estimator_"):
        return unwrapped(estimator.best_estimator_, *tables)
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], BaseFusion):
        before = estimator[:-1]
        through = (None if t is None else before.transform(t) for t in tables)
        return estimator[-1], *(through if len(before) else tables)
    return estimator, *tables


def having(estimator: BaseFusion, X: Any, name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the rows that have a modality, and these rows of the cohort.

    Parameters
    ----------
    estimator : early, late or joint fusion
        Fitted.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        A cohort.
    name : str
        The modality.

    Returns
    -------
    rows : ndarray of int
        Row positions.
    cases : DataFrame of shape (len(rows), n_columns)
        The columns that the estimator uses.

    Raises
    ------
    ValueError
        If there are none.
    """
    frame = estimator._read_cohort(X)
    rows = np.flatnonzero(estimator.presence(X)[name])
    if len(rows) == 0:
        raise ValueError(
            f"Modality {name!r} is absent in all {len(frame)} rows, so there is "
            "nothing to explain. Leave it out, or give rows that have it."
        )
    return rows, frame.iloc[rows].reset_index(drop=True)
