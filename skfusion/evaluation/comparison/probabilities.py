"""Calibration and net benefit of the held-out probabilities of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.statistics.calibration import (
    CalibrationCurve,
    calibration_curve_data,
    calibration_summary,
)
from skfusion.evaluation.statistics.decision import (
    net_benefit,
    net_benefit_difference,
)
from skfusion.evaluation.statistics.disclosure import MIN_CELL

__all__ = [
    "DEFAULT_THRESHOLDS",
    "calibration_row",
    "calibration_table",
    "curve_of",
    "held_out",
    "net_benefit_table",
    "risk_distribution",
]


DEFAULT_THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 11))
N_RESAMPLES = 1000


def held_out(
    predictions: pd.DataFrame, strategy: str, positive: str, *, first: bool = False
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Return the outcome, the held-out probabilities and the patients of a strategy.

    Parameters
    ----------
    predictions : DataFrame
        Table as in `FusionComparison.predictions_`, of two classes.
    strategy : str
        Name of the strategy.
    positive : str
        Positive class as text.
    first : bool, default=False
        Whether to use the first repetition only.

    Returns
    -------
    y : ndarray of int of shape (n,)
        Outcome of 0 and 1.
    probability : ndarray of shape (n,)
    groups : ndarray of shape (n,) or None
        Patients. Without patients, these are the rows if a row occurs several times.
    """
    known = predictions[strategy].notna()
    if first:
        known &= predictions["repeat"] == 0
    part = predictions[known]
    y = (part["y"].astype(str) == positive).to_numpy(dtype=np.int64)
    groups: Any = part["group"].to_numpy()
    if (groups < 0).all():
        rows = part["row"].to_numpy()
        groups = rows if len(np.unique(rows)) < len(rows) else None
    # A probability can be outside of [0, 1] by a rounding error.
    return y, np.clip(part[strategy].to_numpy(dtype=np.float64), 0.0, 1.0), groups


def calibration_table(
    names: Sequence[str], found: Sequence[tuple[np.ndarray, np.ndarray, Any]]
) -> pd.DataFrame:
    """Return the calibration of several strategies, one row each.

    Parameters
    ----------
    names : sequence of str
        Names of the strategies.
    found : sequence of (ndarray, ndarray, ndarray or None)
        Outcome, probabilities and patients of each strategy.

    Returns
    -------
    DataFrame
    """
    rows = [
        calibration_row(name, *parts) for name, parts in zip(names, found, strict=True)
    ]
    return pd.DataFrame(rows)


def calibration_row(
    name: str, y: np.ndarray, p: np.ndarray, groups: Any
) -> dict[str, Any]:
    """Return the calibration of one strategy as a row of a table."""
    found = calibration_summary(y, p, groups=groups)
    row: dict[str, Any] = {"strategy": name}
    for part in ("intercept", "slope", "in_the_large", "observed_expected"):
        value = getattr(found, part)
        row |= {part: value.estimate, f"{part}_low": value.low}
        row[f"{part}_high"] = value.high
    row["brier"] = float(np.mean((p - y) ** 2))
    row["n_clipped"] = found.n_clipped
    return row | {"reason": found.reason}


def curve_of(
    y: np.ndarray, p: np.ndarray, groups: Any, *, random_state: int
) -> CalibrationCurve:
    """Return the calibration curve of one strategy."""
    return calibration_curve_data(
        y, p, groups=groups, n_resamples=N_RESAMPLES, random_state=random_state
    )


def net_benefit_table(
    predictions: pd.DataFrame,
    pairs: Mapping[str, str],
    positive: str,
    thresholds: Any,
    *,
    prevalence: float | None,
    random_state: int,
) -> pd.DataFrame:
    """Return the net benefit of fusions beside that of single modalities.

    Parameters
    ----------
    predictions : DataFrame
        Table as in `FusionComparison.predictions_`, of two classes.
    pairs : dict of str to str
        Reference of each fusion.
    positive : str
        Positive class as text.
    thresholds : array-like or None
        Threshold probabilities. None uses `DEFAULT_THRESHOLDS`.
    prevalence : float or None
        Prevalence of the target population.
    random_state : int
        Seed of the bootstrap.

    Returns
    -------
    DataFrame
        One row per fusion and threshold.
    """
    cuts = DEFAULT_THRESHOLDS if thresholds is None else thresholds
    parts = []
    for strategy, reference in pairs.items():
        y, p, groups = held_out(predictions, strategy, positive, first=True)
        _, q, _ = held_out(predictions, reference, positive, first=True)
        own = net_benefit(y, p, cuts, prevalence=prevalence)
        other = net_benefit(y, q, cuts, prevalence=prevalence)
        gain = net_benefit_difference(
            *(y, p, q, cuts),
            groups=groups,
            prevalence=prevalence,
            n_resamples=N_RESAMPLES,
            random_state=random_state,
        )
        part = pd.DataFrame(
            {
                "strategy": strategy,
                "reference": reference,
                "threshold": own.thresholds,
                "net_benefit": own.model,
                "net_benefit_reference": other.model,
                "treat_all": own.treat_all,
                "difference": gain.difference,
                "low": gain.low,
                "high": gain.high,
                "prevalence": own.prevalence,
                "thresholds_given": thresholds is not None,
            }
        )
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def risk_distribution(y: np.ndarray, p: np.ndarray, n_bins: int) -> pd.DataFrame:
    """Return the number of events and other cases in bins of the probability.

    Parameters
    ----------
    y : ndarray of int of shape (n,)
        Outcome of 0 and 1.
    p : ndarray of shape (n,)
        Probabilities.
    n_bins : int
        Number of bins of equal width.

    Returns
    -------
    DataFrame of shape (n_bins, 4)
        ``low``, ``high``, ``events``, ``others``. Small counts are NaN.
    """
    edges = np.linspace(0.0, 1.0, n_bins + 1)
    found = {"low": edges[:-1], "high": edges[1:]}
    for name, part in (("events", p[y == 1]), ("others", p[y == 0])):
        counts = np.histogram(part, edges)[0].astype(np.float64)
        found[name] = np.where((counts > 0) & (counts < MIN_CELL), np.nan, counts)
    return pd.DataFrame(found)
