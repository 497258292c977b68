"""Copies of training rows with absent modalities, the `absence_copies` of early fusion.

A model trained on complete rows fails where a modality is missing. Without the 842 skin
photos, XGBoost on NaN had an AUROC of 0.25. The record alone had 0.88 and both had
0.91. With the copies, one model is trained on the complete rows, on the images alone
and on the record alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skfusion._fitting.metadata import (
    holds_rows_out,
    nested_estimators,
    own_folds,
    supports_weights,
)
from skfusion._fitting.parameters import own_params
from skfusion._validation import check_number
from skfusion.cohort import TrainingData
from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.fusion.inner_estimators import accepts_nan

__all__ = [
    "add_absence_copies",
    "copy_weight",
    "parts_that_hold_rows_out",
    "sources_of_copies",
    "warn_of_held_out_copies",
]


DEFAULT_WEIGHT = 1.0
# AUROC of XGBoost over five patient-grouped folds and three seeds, for copies of weight
# 0 | 0.5 | 1. Complete rows: LIDC .949 .950 .951, PAD-UFES-20 .910 .913 .913. Without
# images: LIDC (record alone .920) .920 and .920, PAD (.883) .886 and .885. Without the
# record: LIDC (images alone .908) .910 and .910, PAD (.822) .822 and .825. One copy per
# row of half its weight, with one modality removed at random, stayed below the record
# alone on LIDC (.913). With 150 training rows (12 draws), copies of weight 0 | 1 on
# complete rows: LIDC .913 .938, PAD .856 .879.


def copy_weight(absence_copies: Any, estimator: Any, *, owner: str) -> float:
    """Return the weight of a copy that the parameter `absence_copies` selects.

    Parameters
    ----------
    absence_copies : float or "auto"
        Parameter of the fusion estimator.
    estimator : estimator
        Estimator to be fitted. ``"auto"`` gives 0 for an estimator without NaN support,
        because copies make linear models worse on complete rows. It also gives 0 for
        an estimator that holds out some of its rows, see `parts_that_hold_rows_out`. A
        row and its copy could be on different sides. Boosted trees that stop early hold
        out no rows: the fusion does, with their copies.
    owner : str
        Name of the fusion estimator, for error messages.

    Returns
    -------
    float
        Weight of a copy, relative to that of its row, and 0 for no copies.

    Raises
    ------
    ValueError
        If the parameter is neither ``"auto"`` nor a number from 0 to 1.
    """
    if isinstance(absence_copies, str) and absence_copies == "auto":
        usable = accepts_nan(estimator) and not parts_that_hold_rows_out(estimator)
        return DEFAULT_WEIGHT if usable else 0.0
    check_number(absence_copies, "absence_copies", owner, low=0, high=1, also="'auto'")
    return float(absence_copies)


def parts_that_hold_rows_out(estimator: Any) -> list[str]:
    """Return the parts of an estimator that hold out some of their training rows.

    Parameters
    ----------
    estimator : estimator
        Estimator to be fitted.

    Returns
    -------
    list of str
        Class and parameter of each part with folds (``cv``, also None), an out-of-bag
        score or early stopping.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion.fusion.early.absence_copies import parts_that_hold_rows_out
    >>> parts_that_hold_rows_out(
    ...     make_pipeline(RandomForestClassifier(oob_score=True)))
    ['RandomForestClassifier (oob_score=True)']
    """
    found = []
    for part in nested_estimators(estimator):
        params = own_params(part.estimator)
        held_out = holds_rows_out(part.estimator) or own_folds(part.estimator)
        if "cv" in params and not isinstance(params["cv"], str):
            held_out = "cv"
        if held_out:
            found.append(f"{type(part.estimator).__name__} ({held_out})")
    return found


def warn_of_held_out_copies(estimator: Any, data: TrainingData, *, owner: str) -> None:
    """Warn if an estimator holds out rows whose copies it is trained on.

    Parameters
    ----------
    estimator : estimator
        Estimator to be fitted.
    data : TrainingData
        Training rows. With patients, the inner folds keep a row and its copies together
        and other held-out rows are counted where the estimator is fitted.
    owner : str
        Name of the fusion estimator.
    """
    parts = parts_that_hold_rows_out(estimator)
    if data.groups is not None or not parts:
        return
    n_copied = int((data.presence.sum(axis=1) > 1).sum())
    warn_user(
        f"{owner}: absence_copies adds two copies of {n_copied} of {len(data.y)} rows, "
        f"and {', '.join(parts)} holds out rows without their copies, so what it "
        "learns from the rows held out is too optimistic. Set absence_copies='auto' or "
        "0, or pass groups.",
        LeakageWarning,
    )


def add_absence_copies(
    data: TrainingData, weight: float, estimator: Any, rng: np.random.RandomState
) -> TrainingData:
    """Add two copies of each row, with its modalities divided between them.

    Each modality of the row is present in exactly one of the copies. With two
    modalities, each copy contains one. Three or more are assigned at random, at least
    one to each copy. The model is thus trained on any number of absent modalities.

    Parameters
    ----------
    data : TrainingData
        Training rows, with the presence of the blocks of features.
    weight : float
        Weight of a copy, relative to that of its row.
    estimator : estimator
        Estimator to be fitted. If it does not support weights, a copy counts as much as
        a row.
    rng : RandomState
        Generator of the assignment of modalities to copies.

    Returns
    -------
    TrainingData
        Outcome, weights, patients and presence of the rows, then of the copies, whose
        rows `sources_of_copies` returns. They have no table.
    """
    rows = _rows_to_copy(data.presence)
    here = data.presence[rows]
    first = here & (rng.random_sample(here.shape) < 0.5)
    # Two of the present modalities, drawn at random, are assigned to different copies,
    # so that neither copy is empty.
    drawn = np.where(here, rng.random_sample(here.shape), 2.0).argsort(axis=1)
    each = np.arange(len(rows))
    first[each, drawn[:, 0]] = True
    first[each, drawn[:, 1]] = False
    presence = np.vstack([first, here & ~first])
    rows = np.concatenate([rows, rows])
    weights = data.sample_weight
    if weights is not None or supports_weights(estimator):
        weights = np.ones(len(data.y)) if weights is None else weights
        weights = np.concatenate([weights, weight * weights[rows]])
    features_only = replace(data, X=data.X.iloc[:, :0])
    both = features_only.rows(np.concatenate([np.arange(len(data.y)), rows]))
    return replace(
        both, sample_weight=weights, presence=np.vstack([data.presence, presence])
    )


def sources_of_copies(presence: np.ndarray) -> np.ndarray:
    """Return the row of which each row of `add_absence_copies` is a copy.

    Parameters
    ----------
    presence : ndarray of bool of shape (n_samples, M)
        Presence of the modalities in the rows without the copies.

    Returns
    -------
    ndarray of int of shape (n_samples + n_copies,)
        Positions of the rows, then those of the rows of the copies.
    """
    rows = _rows_to_copy(presence)
    return np.concatenate([np.arange(len(presence)), rows, rows])


def _rows_to_copy(presence: np.ndarray) -> np.ndarray:
    # The modalities of a row with only one of them cannot be divided.
    return np.flatnonzero(presence.sum(axis=1) > 1)
