"""Training rows in; copies of them with modalities hidden out.

A model that never saw a modality absent has no idea what absence means: with the images
of 842 skin photos gone, XGBoost on NaN fell to an AUROC of 0.25, against 0.88 for the
record alone and 0.91 with both. Copies teach it: the model learns from the whole, from
the image alone and from the record alone at once, from as many rows each as if it were
the only one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from skfusion._validation import is_number
from skfusion.cohort import TrainingData
from skfusion.fusion.inner_estimators import accepts_nan
from skfusion.fusion.targets import last_step

__all__ = ["add_absence_copies", "copy_weight"]


DEFAULT_WEIGHT = 1.0
# AUROC over five folds of whole patients with three seeds, XGBoost, copies of weight
# 0 | 0.5 | 1. Complete rows: LIDC .949 .950 .951, PAD-UFES-20 .910 .913 .913. Without
# images: LIDC (record alone .920) .920 and .920, PAD (.883) .886 and .885. Without the
# record: LIDC (images alone .908) .910 and .910, PAD (.822) .822 and .825. One copy per
# row of half its weight, with one modality hidden at random, stayed below the record
# alone on LIDC (.913). With 150 training rows (12 draws), copies of weight 0 | 1 on
# complete rows: LIDC .913 .938, PAD .856 .879.


def copy_weight(absence_copies: Any, estimator: Any, *, owner: str) -> float:
    """Resolve the parameter `absence_copies`.

    Parameters
    ----------
    absence_copies : float or "auto"
        What the user gave.
    estimator : estimator
        What is to learn. ``"auto"`` leaves out an estimator that takes no NaN, because
        one that is linear pays for the copies on complete rows, and one that splits
        its rows again (``cv``, ``early_stopping``), because a row and its copy could
        come to lie on both sides.
    owner : str
        Name of the fusion estimator, for the messages.

    Returns
    -------
    float
        Weight of a copy, relative to that of its row; 0 for no copies.

    Raises
    ------
    ValueError
        If it is no number from 0 to 1.
    """
    if isinstance(absence_copies, str) and absence_copies == "auto":
        splits = any(
            bool(value)
            for name, value in estimator.get_params(deep=True).items()
            if name.rpartition("__")[2]
            in ("cv", "early_stopping", "early_stopping_rounds")
        )
        return DEFAULT_WEIGHT if accepts_nan(estimator) and not splits else 0.0
    if not is_number(absence_copies) or not 0 <= absence_copies <= 1:
        raise ValueError(
            f"{owner}: absence_copies must be 'auto' or a number from 0 to 1 (weight "
            f"of a copy, relative to its row), got {absence_copies!r}."
        )
    return float(absence_copies)


def add_absence_copies(
    arrays: dict[str, np.ndarray],
    data: TrainingData,
    weight: float,
    estimator: Any,
    rng: np.random.RandomState,
) -> tuple[dict[str, np.ndarray], TrainingData]:
    """Add two copies of each row, which share its modalities between them.

    Of two modalities each copy has one. More are dealt out at random, at least one to
    each copy, so that absences of every size are learned.

    Parameters
    ----------
    arrays : dict of str to ndarray of shape (n_samples, n_features_m)
        The blocks.
    data : TrainingData
        The rows they belong to, with the presence of the blocks.
    weight : float
        Weight of a copy, relative to that of its row.
    estimator : estimator
        What is to learn; without weights, copies count as much as rows.
    rng : RandomState
        Deals the modalities.

    Returns
    -------
    arrays : dict of str to ndarray of shape (n_samples + n_copies, n_features_m)
        The rows, then the copies, NaN where hidden.
    data : TrainingData
        Outcome, weights, patients and presence of all of them.
    """
    # a row with one modality only has nothing to share out
    rows = np.flatnonzero(data.presence.sum(axis=1) > 1)
    here = data.presence[rows]
    first = here & (rng.random_sample(here.shape) < 0.5)
    # two modalities that are there, drawn at random, go to different copies
    drawn = np.where(here, rng.random_sample(here.shape), 2.0).argsort(axis=1)
    each = np.arange(len(rows))
    first[each, drawn[:, 0]] = True
    first[each, drawn[:, 1]] = False
    presence = np.vstack([first, here & ~first])
    rows = np.concatenate([rows, rows])
    extended = {
        name: np.vstack([block, np.where(presence[:, [j]], block[rows], np.nan)])
        for j, (name, block) in enumerate(arrays.items())
    }
    weights = data.sample_weight
    if weights is not None or has_fit_parameter(last_step(estimator), "sample_weight"):
        weights = np.ones(len(data.y)) if weights is None else weights
        weights = np.concatenate([weights, weight * weights[rows]])
    both = data.rows(np.concatenate([np.arange(len(data.y)), rows]))
    return extended, replace(
        both, sample_weight=weights, presence=np.vstack([data.presence, presence])
    )
